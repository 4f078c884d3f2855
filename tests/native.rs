//! wip
mod support;
use support::*;
#[test]
fn smoke() {
    let mut server = Server::new();
    let mut peer = server.log_in();
    println!("{:?}", peer.put(&mut server, "/a", b"hello"));
    assert_eq!(peer.get(&mut server, "/a").expect("got"), b"hello");
}
