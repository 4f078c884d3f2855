//! Data connections: how they are negotiated over IPv4 and IPv6, and which peers may open them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};

use serde_json::json;

use super::client::{Client, stream_from, stream_to};
use super::{Scene, configuration, listening};
use crate::support::{PASSWORD, Place, wait_until};

fn descriptors(scene: &Scene) -> usize {
    scene.server.program.descriptors()
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("file", b"0123456789");
    scene
}

fn active() -> Scene {
    let scene = Scene::with(json!({"active": true}), json!({}), &[]);
    scene.write("file", b"0123456789");
    scene
}

/// A server on `[::1]`, or `None` where the machine has no such address.
fn scene_v6(ftp: serde_json::Value) -> Option<Scene> {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6 loopback address");
        return None;
    }
    let mut keys = json!({"listen": "[::1]:0"});
    for (key, value) in ftp.as_object().expect("an object") {
        keys[key] = value.clone();
    }
    let place = Place::with(configuration(keys, json!({})));
    place.add("ann", &[]);
    let scene = Scene::of(place);
    scene.write("file", b"0123456789");
    Some(scene)
}

// ---- Passive ------------------------------------------------------------------------------

#[test]
fn pasv_and_epsv_name_a_port_that_takes_one_transfer() {
    let scene = scene();
    let mut client = scene.login();
    for command in ["PASV", "EPSV", "EPSV 1"] {
        let port = match command {
            "PASV" => {
                let announced = client.passive_v4();
                assert_eq!(announced.ip(), &Ipv4Addr::LOCALHOST);
                announced.port()
            }
            _ => {
                let reply = client.ask(command).expect(&[229]);
                let (_, rest) = reply.text().split_once("(|||").unwrap_or_else(|| panic!("{reply:?}"));
                rest.split_once("|)").expect("RFC 2428").0.parse().expect("a port")
            }
        };
        let address = SocketAddr::new(scene.ftp.ip(), port);
        let stream = stream_to(address);
        client.say("RETR file");
        assert_eq!(client.begin_now(stream).read_all(), b"0123456789");
        client.reply().expect(&[226]);
        wait_until("nobody listens any more", || TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_data_connection_may_come_behind_its_command() {
    let scene = scene();
    let mut client = scene.login();
    let address = client.passive();
    client.say("RETR file");
    let stream = stream_to(address);
    assert_eq!(client.begin_now(stream).read_all(), b"0123456789");
    client.reply().expect(&[226]);
}

#[test]
fn data_sent_before_the_150_reply_is_stored() {
    let scene = scene();
    let mut client = scene.login();
    let mut stream = stream_to(client.passive());
    stream.write_all(b"early").expect("it is open");
    client.say("STOR new");
    let data = client.begin_now(stream);
    data.finish();
    client.reply().expect(&[226]);
    scene.holds("new", b"early");
}

#[test]
fn an_upload_that_was_sent_and_ended_before_its_command_is_stored() {
    let scene = scene();
    let mut client = scene.login();
    let mut stream = stream_to(client.passive());
    stream.write_all(b"early").expect("it is open");
    drop(stream);
    client.say("STOR new");
    client.reply().expect(&[125, 150]);
    client.reply().expect(&[226]);
    scene.holds("new", b"early");
}

#[test]
fn a_transfer_without_an_address_is_refused() {
    let scene = scene();
    let mut client = scene.login();
    for command in ["RETR file", "STOR new", "APPE new", "LIST", "NLST", "MLSD"] {
        client.ask(command).expect(&[425, 503]);
    }
    assert!(!scene.exists("new"));
    // One address, one transfer.
    assert_eq!(client.get("RETR file"), b"0123456789");
    client.ask("RETR file").expect(&[425, 503]);
}

#[test]
fn a_new_address_takes_the_place_of_the_last() {
    let scene = scene();
    let mut client = scene.login();
    let first = client.passive();
    let waiting = stream_to(first);
    let stream = stream_to(client.passive());
    wait_until("the first is gone", || TcpStream::connect(first).is_err());
    client.say("RETR file");
    assert_eq!(client.begin_now(stream).read_all(), b"0123456789");
    client.reply().expect(&[226]);
    let mut waiting = waiting;
    assert!(matches!(waiting.read(&mut [0]), Ok(0) | Err(_)), "nothing came on the first");
}

#[test]
fn after_a_refused_transfer_the_next_one_succeeds() {
    let scene = scene();
    let mut client = scene.login();
    client.try_open("RETR none").err().expect("not there").expect(&[550]);
    assert_eq!(client.get("RETR file"), b"0123456789");
}

#[test]
fn after_epsv_all_other_data_commands_are_refused() {
    let scene = active();
    let mut client = scene.login();
    client.ask("EPSV ALL").expect(&[200]);
    for command in ["PASV", "PORT 127,0,0,1,200,200", "EPRT |1|127.0.0.1|51400|"] {
        client.ask(command).expect(&[501, 503, 520, 522]);
    }
    assert_eq!(client.get("RETR file"), b"0123456789");
}

#[test]
fn another_network_protocol_is_refused_with_what_there_is() {
    let scene = scene();
    let mut client = scene.login();
    assert!(client.ask("EPSV 2").expect(&[522]).text().contains("(1)"));
    client.ask("EPSV 3").expect(&[522]);
    client.ask("EPSV x").expect(&[501, 522]);
}

#[test]
fn ports_are_taken_from_the_range_that_is_configured() {
    // Two that are free now.
    let held: Vec<_> =
        (20_000..30_000).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(200).collect();
    let ports: Vec<u16> = held.iter().map(|it| it.local_addr().expect("bound").port()).collect();
    let first = ports.windows(2).rfind(|pair| pair[0] + 1 == pair[1]).expect("two in a row")[0];
    drop(held);
    let scene = Scene::with(json!({"passive_ports": format!("{first}-{}", first + 1)}), json!({}), &[]);
    scene.write("file", b"0123456789");
    let mut clients = [scene.login(), scene.login(), scene.login()];
    for _ in 0..4 {
        assert!((first..=first + 1).contains(&clients[0].passive().port()));
        assert_eq!(clients[0].get("RETR file"), b"0123456789");
    }
    let mut seen = [clients[0].passive().port(), clients[1].passive().port()];
    seen.sort_unstable();
    assert_eq!(seen, [first, first + 1]);
    clients[2].ask("EPSV").expect(&[421, 425, 450]);
    clients[0].ask("ABOR").expect(&[225, 226]);
    clients[2].ask("EPSV").expect(&[229]);
}

/// An address of this machine that others have for it, found without sending anything.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// An address of this machine that means something on one link only.
fn link_local_address() -> Option<SocketAddrV6> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, link, _, "20", ..] = words[..] else { return None };
        let ip = u128::from_str_radix(address, 16).ok()?.into();
        Some(SocketAddrV6::new(ip, 0, 0, u32::from_str_radix(link, 16).ok()?))
    })
}

#[test]
fn data_goes_both_ways_between_addresses_of_one_link() {
    let Some(address) = link_local_address() else { return println!("skipped: no address of one link") };
    let listen = format!("[{}%{}]:0", address.ip(), address.scope_id());
    let scene = Scene::with(json!({"listen": listen, "active": true}), json!({}), &[]);
    scene.write("file", b"0123456789");
    let mut client = scene.login();
    assert_eq!(client.get("RETR file"), b"0123456789");
    let listener = TcpListener::bind(address).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    client.ask(&format!("EPRT |2|{}|{port}|", address.ip())).expect(&[200]);
    assert_eq!(client.open_active(&listener, "RETR file").read_all(), b"0123456789");
}

#[test]
fn pasv_announces_the_public_address_to_all_but_the_own_network() {
    let outer = outer_address();
    let host = outer.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let scene = Scene::with(json!({"public_address": "192.0.2.7", "listen": format!("{host}:0")}), json!({}), &[]);
    let mut client = scene.login();
    let announced = client.passive_v4();
    // Who is in the same private network cannot reach the server by that.
    let expected = match host {
        IpAddr::V4(host) if host.is_private() || host.is_loopback() || host.is_link_local() => host,
        _ => Ipv4Addr::new(192, 0, 2, 7),
    };
    assert_eq!(announced.ip(), &expected);
    let stream = stream_to(SocketAddr::new(host, announced.port()));
    client.say("NLST");
    assert_eq!(client.begin_now(stream).read_all(), b"");
    client.reply().expect(&[226]);
    // Who is on this machine knows it by its own addresses.
    let scene = Scene::with(json!({"public_address": "192.0.2.7"}), json!({}), &[]);
    assert_eq!(scene.login().passive_v4().ip(), &Ipv4Addr::LOCALHOST);
}

#[test]
fn a_hundred_addresses_nobody_connects_to_cost_no_descriptor() {
    let scene = scene();
    let mut client = scene.login();
    client.passive();
    let before = descriptors(&scene);
    for _ in 0..100 {
        client.passive();
        client.passive_v4();
    }
    assert!(descriptors(&scene) <= before, "{} instead of {before}", descriptors(&scene));
    drop(client);
    wait_until("all are closed", || descriptors(&scene) + 2 <= before);
}

#[test]
fn connections_that_wait_for_a_command_cost_one_descriptor() {
    let scene = scene();
    let mut client = scene.login();
    let before = descriptors(&scene);
    let address = client.passive();
    let _crowd: Vec<_> = (0..50).filter_map(|_| TcpStream::connect(address).ok()).collect();
    assert_eq!(client.ask("PWD").code, 257);
    assert!(descriptors(&scene) <= before + 2, "{} instead of {before}", descriptors(&scene));
    drop(client);
}

#[test]
fn a_data_connection_that_never_comes_ends_the_wait_and_not_the_session() {
    let scene = Scene::with(json!({"data_timeout": 1}), json!({}), &[]);
    scene.write("file", b"0123456789");
    let mut idle = scene.login();
    // The first upload opens the home's staging directory, which stays open.
    idle.stores("other", b"content");
    let before = descriptors(&scene);
    std::thread::scope(|scope| {
        for command in ["RETR file", "STOR new", "LIST"] {
            let scene = &scene;
            scope.spawn(move || {
                let mut client = scene.login();
                client.passive();
                client.say(command);
                client.reply().expect(&[150]);
                client.reply().expect(&[425]);
                assert_eq!(client.get("RETR file"), b"0123456789");
                client.ask("QUIT").expect(&[221]);
            });
        }
    });
    assert!(!scene.exists("new") && scene.parts().is_empty());
    wait_until("nothing is left open", || descriptors(&scene) <= before);
    drop(idle);
}

#[test]
fn a_data_connection_from_another_address_is_refused() {
    let scene = scene();
    let other: SocketAddr = "127.0.0.2:0".parse().expect("an address");
    let mut client = scene.login();
    let address = client.passive();
    let mut foreign = stream_from(other, address).expect("a loopback address");
    client.say("RETR file");
    let mut stolen = Vec::new();
    let _ = foreign.read_to_end(&mut stolen);
    assert_eq!(stolen, b"");
    // Either it still waits for the right one, or it has given up.
    match TcpStream::connect(address) {
        Ok(stream) => {
            if let Ok(data) = client.begin(stream) {
                assert_eq!(data.read_all(), b"0123456789");
                client.reply().expect(&[226]);
            }
        }
        Err(_) => drop(client.reply().expect(&[425, 426])),
    }
    let address = client.passive();
    let mut foreign = stream_from(other, address).expect("a loopback address");
    let _ = foreign.write_all(b"planted");
    drop(foreign);
    client.say("STOR new");
    if let Ok(stream) = TcpStream::connect(address)
        && let Ok(data) = client.begin(stream)
    {
        data.finish();
        client.reply().expect(&[226]);
        scene.holds("new", b"");
    }
    assert!(!scene.exists("new") || scene.read("new").is_empty());
}

// ---- Active -------------------------------------------------------------------------------

fn port_command(listener: &TcpListener) -> String {
    let [high, low] = listener.local_addr().expect("bound").port().to_be_bytes();
    format!("PORT 127,0,0,1,{high},{low}")
}

#[test]
fn the_server_connects_to_nobody_unless_the_configuration_allows_it() {
    let scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client = scene.login();
    client.ask(&port_command(&listener)).expect(&[500, 501, 502, 504, 522, 550]);
    let port = listener.local_addr().expect("bound").port();
    client.ask(&format!("EPRT |1|127.0.0.1|{port}|")).expect(&[500, 501, 502, 504, 522, 550]);
    client.ask("LIST").expect(&[425, 503]);
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "it connected");
}

#[test]
fn the_server_connects_where_port_and_eprt_say() {
    let scene = active();
    let mut client = scene.login();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for command in [port_command(&listener), format!("EPRT |1|127.0.0.1|{port}|"), format!("EPRT #1#127.0.0.1#{port}#")]
    {
        client.ask(&command).expect(&[200]);
        assert_eq!(client.open_active(&listener, "RETR file").read_all(), b"0123456789");
        client.reply().expect(&[226]);
        client.ask(&command).expect(&[200]);
        let mut data = client.open_active(&listener, "STOR new");
        data.write(b"content");
        data.finish();
        client.reply().expect(&[226]);
        scene.holds("new", b"content");
        // PORT counts once.
        client.ask("LIST").expect(&[425, 503]);
    }
}

#[test]
fn a_listing_of_one_file_is_not_empty_where_the_server_connects() {
    let scene = active();
    let mut client = scene.login();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    client.ask(&format!("EPRT |1|127.0.0.1|{port}|")).expect(&[200]);
    assert!(client.open_active(&listener, "LIST file").read_all().ends_with(b" file\r\n"));
    client.reply().expect(&[226]);
}

#[test]
fn the_server_connects_to_the_client_and_to_no_low_port() {
    let scene = active();
    let mut client = scene.login();
    for command in [
        "PORT 127,0,0,2,200,200",
        "PORT 10,0,0,1,200,200",
        "PORT 0,0,0,0,200,200",
        "PORT 255,255,255,255,200,200",
        "PORT 127,0,0,1,0,25",
        "PORT 127,0,0,1,3,255",
        "PORT 127,0,0,1,0,0",
        "EPRT |1|127.0.0.2|51400|",
        "EPRT |1|127.0.0.1|25|",
        "EPRT |1|127.0.0.1|1023|",
        "EPRT |1|127.0.0.1|0|",
        "EPRT |2|::1|51400|",
    ] {
        let reply = client.ask(command);
        assert!([500, 501, 504, 522, 550, 553].contains(&reply.code), "{command}: {reply:?}");
        client.ask("LIST").expect(&[425, 503]);
    }
    for command in [
        "PORT",
        "PORT 1",
        "PORT 127,0,0,1,200",
        "PORT 127,0,0,1,200,256",
        "PORT 127,0,0,1,200,200,1",
        "PORT a,b,c,d,e,f",
        "PORT -127,0,0,1,200,200",
        "EPRT",
        "EPRT x",
        "EPRT |1|127.0.0.1|",
        "EPRT |1|127.0.0.1|65536|",
        "EPRT |1|::1|51400|",
        "EPRT |1||51400|",
        "EPRT ||||",
    ] {
        let reply = client.ask(command);
        assert!([501, 522].contains(&reply.code), "{command}: {reply:?}");
    }
    client.ask("EPRT |3|127.0.0.1|51400|").expect(&[522]);
}

#[test]
fn an_address_where_nobody_listens_ends_the_transfer_and_not_the_session() {
    let scene = active();
    let mut client = scene.login();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let command = port_command(&listener);
    drop(listener);
    client.ask(&command).expect(&[200]);
    client.say("STOR new");
    if client.reply().expect(&[150, 425]).code == 150 {
        client.reply().expect(&[425, 426]);
    }
    assert!(!scene.exists("new"));
    assert_eq!(client.get("RETR file"), b"0123456789");
}

// ---- IPv6 ---------------------------------------------------------------------------------

#[test]
fn ipv6_is_spoken_by_epsv() {
    let Some(scene) = scene_v6(json!({})) else { return };
    assert!(scene.ftp.is_ipv6());
    let mut client = scene.login();
    client.stores("new", b"content");
    scene.holds("new", b"content");
    assert_eq!(client.get("RETR file"), b"0123456789");
    assert_eq!(client.list("NLST"), ["file", "new"]);
    client.ask("EPSV 2").expect(&[229]);
    client.ask("EPSV 1").expect(&[522]);
    client.ask("PASV").expect(&[425, 500, 501, 502, 522, 550]);
}

#[test]
fn ipv6_is_spoken_by_eprt() {
    let Some(scene) = scene_v6(json!({"active": true})) else { return };
    let mut client = scene.login();
    let listener = TcpListener::bind("[::1]:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    client.ask(&format!("EPRT |2|::1|{port}|")).expect(&[200]);
    assert_eq!(client.open_active(&listener, "RETR file").read_all(), b"0123456789");
    client.reply().expect(&[226]);
    client.ask("EPRT |1|127.0.0.1|51400|").expect(&[501, 504, 522]);
    client.ask("EPRT |2|fe80::1|51400|").expect(&[500, 501, 504, 522, 550]);
    client.ask("PORT 127,0,0,1,200,200").expect(&[500, 501, 502, 504, 522, 550]);
}

#[test]
fn both_protocols_are_spoken_on_one_socket_of_both() {
    if TcpListener::bind("[::]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let place = Place::with(configuration(json!({"listen": "[::]:0", "active": true}), json!({})));
    place.add("ann", &[]);
    let server = place.serve();
    let port = listening(&server, "ftp").port();
    for host in ["127.0.0.1", "::1"] {
        let Ok(ip) = host.parse() else { panic!("an address") };
        let address = SocketAddr::new(ip, port);
        if TcpStream::connect(address).is_err() && host == "::1" {
            println!("skipped: this machine has no IPv6 loopback address");
            continue;
        }
        let mut client = Client::login(address, "ann");
        client.stores("file", host.as_bytes());
        assert_eq!(client.get("RETR file"), host.as_bytes());
        if host == "127.0.0.1" {
            // The client's address is one of IPv4 to both.
            assert_eq!(client.passive_v4().ip(), &Ipv4Addr::LOCALHOST);
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            client.ask(&port_command(&listener)).expect(&[200]);
            assert_eq!(client.open_active(&listener, "RETR file").read_all(), host.as_bytes());
            client.reply().expect(&[226]);
        }
    }
    let mut client = Client::connect(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    client.enter("ann", PASSWORD).expect(&[230]);
}

#[test]
fn a_refused_transfer_closes_its_data_connection() {
    let scene = scene();
    let mut client = scene.login();
    for command in [
        "RETR none",
        "RETR ../.berth/x",
        "STOR none/file",
        "STOR /",
        "APPE none/file",
        "LIST none",
        "NLST none",
        "MLSD file",
        "LIST -z",
        "REST 50|STOR file",
        "RETR",
        "RETR ",
        "REST 5|RETR",
        "STOR",
        "APPE",
        "retr a\0b",
        "LIST a\0b",
        &format!("RETR {}", "a".repeat(9000)),
    ] {
        // One that the client is connected to, and one that it is not yet.
        for is_connected in [true, false] {
            let address = client.passive();
            let mut stream = is_connected.then(|| stream_to(address));
            let mut commands = command.split('|');
            let (first, last) = (commands.next().expect("one"), commands.next());
            if let Some(last) = last {
                client.ask(first).expect(&[350]);
                client.say(last);
            } else {
                client.say(first);
            }
            let refusal = client.reply();
            assert!((400..600).contains(&refusal.code), "{command}: {refusal:?}");
            match &mut stream {
                // Nobody waits for it in vain: it ends, or is reset.
                Some(stream) => assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)), "{command}"),
                None => wait_until("nobody listens", || TcpStream::connect(address).is_err()),
            }
        }
    }
    assert_eq!(client.get("RETR file"), b"0123456789");
}
