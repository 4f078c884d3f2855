//! Password guesses from many IPv6 addresses of one site with a /48, in a network namespace that has all of them.

use std::env;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use serde_json::json;

use crate::support::ftp_client::{FtpClient, configuration, listening};
use crate::support::needs::{IP, OWN_NETWORK, ROOT, UNSHARE, tests};
use crate::support::peer::{Peer, has_input, stream_from};
use crate::support::{PASSWORD, Place};
use berth::wire::Reply;

tests! {
    [UNSHARE, IP, ROOT, OWN_NETWORK]
        guesses_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits,
        guesses_by_ftp_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits;
}

/// Says to the test that it runs in such a network.
const IN_NETWORK: &str = "BERTH_TEST_IN_NETWORK";

/// Runs this test again in a network of its own. Returns whether it is there.
fn is_in_network(test: &str) -> bool {
    if env::var_os(IN_NETWORK).is_some() {
        return true;
    }
    let script = "ip link set lo up && ip -6 route add local 2001:db8::/32 dev lo \
                  && echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).arg(env::current_exe().expect("a path"));
    command.args(["--exact", &format!("guesses::{test}"), "--nocapture"]).env(IN_NETWORK, "1");
    assert!(command.status().expect("util-linux is installed").success(), "{test}, in a network of its own");
    false
}

/// An address of a /64 by the numbers of its /48, of the /56 within, and of the /64 within that.
fn address(site: u16, wide: u8, narrow: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, site, u16::from_be_bytes([wide, narrow]), 0, 0, 0, 1).into()
}

const ATTACKER: u16 = 0xbad;
const ELSEWHERE: u16 = 0x600d;
/// So many failures are free in a /56 and in a /48; the first one beyond them is checked at once, too.
const IN_56: u8 = 8;
const IN_48: u8 = 32;
/// A bound on further checks: after each one the others wait twice as long, up to eight seconds, and the test ends
/// before ten of them are over.
const WAITED_FOR: usize = 10;

/// One protocol.
trait Client: Sized {
    /// Connects from there.
    fn from(from: IpAddr, server: SocketAddr) -> Self;

    /// Sends a wrong password, and waits for nothing.
    fn guess(&mut self);

    /// Waits for the answer to it.
    fn is_refused(&mut self) -> bool;

    /// Whether there is an answer.
    fn has_answer(&self) -> bool;

    /// Logs in with the right password.
    fn logs_in(&mut self, account: &str) -> bool;
}

impl Client for Peer {
    fn from(from: IpAddr, server: SocketAddr) -> Self {
        Self::over(stream_from(from, server))
    }

    fn guess(&mut self) {
        Self::guess(self, "ann");
    }

    fn is_refused(&mut self) -> bool {
        self.receive().is_ok()
    }

    fn has_answer(&self) -> bool {
        Self::has_answer(self)
    }

    fn logs_in(&mut self, account: &str) -> bool {
        self.greet();
        matches!(self.prove(account, PASSWORD), Reply::Welcome { .. })
    }
}

impl Client for FtpClient {
    fn from(from: IpAddr, server: SocketAddr) -> Self {
        Self::over(stream_from(from, server))
    }

    fn guess(&mut self) {
        self.ask("USER ann");
        self.say("PASS wrong");
    }

    fn is_refused(&mut self) -> bool {
        self.reply().starts_with("530 ")
    }

    fn has_answer(&self) -> bool {
        has_input(self.stream())
    }

    fn logs_in(&mut self, account: &str) -> bool {
        self.ask(&format!("USER {account}"));
        self.ask(&format!("PASS {PASSWORD}")).starts_with("230 ")
    }
}

/// A guess from there, which is checked before the next one is sent.
#[track_caller]
fn fail_from<C: Client>(from: IpAddr, server: SocketAddr) {
    let mut client = C::from(from, server);
    client.guess();
    assert!(client.is_refused(), "{from}");
}

#[track_caller]
fn check_login<C: Client>(account: &str, from: IpAddr, server: SocketAddr) {
    assert!(C::from(from, server).logs_in(account), "{account} from {from}");
}

/// Guesses from links that have never guessed before. Few of them are checked, and no other user waits. Each
/// is another account: a password that was right lately is known to an FTP server, wherever it comes from.
fn check<C: Client>(server: SocketAddr) {
    check_login::<C>("ann", address(ATTACKER, 0xff, 1), server);

    // One of its /56.
    for narrow in 0..=IN_56 {
        fail_from::<C>(address(ATTACKER, 0, narrow), server);
    }
    let mut links: Vec<C> = (100..120).map(|narrow| C::from(address(ATTACKER, 0, narrow), server)).collect();
    links.iter_mut().for_each(C::guess);
    check_login::<C>("bob", address(ATTACKER, 1, 0), server);
    assert!(answered(&links) < WAITED_FOR, "{} guesses of one /56", answered(&links));

    // All of the /48, one guess from each /56. Once a link that waits was checked, too, the next one may wait.
    let mut failed = usize::from(IN_56) + 1;
    for wide in 2..=(IN_48 - IN_56) + 1 {
        if answered(&links) > 0 {
            break;
        }
        fail_from::<C>(address(ATTACKER, wide, 0), server);
        failed += 1;
    }
    let mut sites: Vec<C> = (100..150).map(|wide| C::from(address(ATTACKER, wide, 0), server)).collect();
    sites.iter_mut().for_each(C::guess);
    // Elsewhere, of an origin that is new, and of one among the guessers that has logged in before.
    check_login::<C>("cid", address(ELSEWHERE, 0, 0), server);
    check_login::<C>("ann", address(ATTACKER, 0xff, 1), server);
    assert!(answered(&links) < WAITED_FOR, "{} guesses of one /56", answered(&links));
    failed += answered(&links) + answered(&sites);
    assert!(failed <= usize::from(IN_48) + 1 + WAITED_FOR, "{failed} guesses of one /48");
}

/// How many of these guesses have been checked.
fn answered<C: Client>(guessers: &[C]) -> usize {
    guessers.iter().filter(|guesser| guesser.has_answer()).count()
}

fn place() -> Place {
    let listen = "[2001:db8:5e4::1]:0";
    let limits = json!({"listen": listen, "limits": {"sessions_per_address": 200, "sessions_per_account": 200}});
    let place = Place::with(configuration(json!({"listen": listen}), limits));
    ["ann", "bob", "cid"].into_iter().for_each(|account| place.add(account, &[]));
    place
}

fn guesses_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits() {
    if is_in_network("guesses_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits") {
        let place = place();
        let server = place.serve();
        check::<Peer>(server.address);
    }
}

fn guesses_by_ftp_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits() {
    if is_in_network("guesses_by_ftp_from_all_links_of_a_site_are_few_that_are_checked_and_nobody_else_waits") {
        let place = place();
        let server = place.serve();
        check::<FtpClient>(listening(&server, "ftp"));
    }
}
