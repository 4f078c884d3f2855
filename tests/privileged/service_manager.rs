//! Notifications to the service manager, as systemd expects them of the types `notify` and `notify-reload`: at a
//! path and at an abstract address, as another user, and under Landlock.

use std::fs;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::support::needs::{ROOT, tests};
use crate::support::process::Program;
use crate::support::{PATIENCE, Place, wait_until};

tests! {
    []
        a_supervisor_at_a_path_is_told_of_start_reload_and_end,
        a_supervisor_at_an_abstract_address_is_told_although_the_server_is_confined,
        a_watchdog_hears_of_an_idle_server_again_and_again_until_its_end,
        a_supervisor_that_cannot_be_reached_is_named_in_the_log_and_no_obstacle;
    [ROOT]
        a_server_that_becomes_another_user_still_tells_its_supervisor;
}

/// The end of the socket that systemd holds.
struct Listener {
    socket: UnixDatagram,
    /// As it stands in `$NOTIFY_SOCKET`.
    address: String,
}

impl Listener {
    fn at_path(place: &Place) -> Self {
        let path = place.path("notify");
        let socket = UnixDatagram::bind(&path).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("ours");
        Self::over(socket, path.to_str().expect("UTF-8").into())
    }

    fn abstract_one(place: &Place) -> Self {
        let name = format!("berth{}", place.path("notify").display());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        Self::over(UnixDatagram::bind_addr(&address).expect("of this test alone"), format!("@{name}"))
    }

    fn over(socket: UnixDatagram, address: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket, address }
    }

    fn start(&self, place: &Place) -> Program {
        let mut command = place.berthd(&["serve"]);
        command.env("NOTIFY_SOCKET", &self.address);
        place.start(command)
    }

    /// The next message, line by line.
    #[track_caller]
    fn receive(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the server says something");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_string).collect()
    }

    /// Whether nothing more was said.
    fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        self.socket.recv(&mut [0; 64]).is_err()
    }
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// A whole life: ready once it serves, away while it reloads, stopping before it stops.
#[track_caller]
fn follow(place: &Place, listener: &Listener) {
    let mut server = listener.start(place);
    let ready = listener.receive();
    assert_eq!(ready[0], "READY=1");
    let address = ready[1].strip_prefix("STATUS=listening on ").expect("where it listens");
    TcpStream::connect(address).expect("it is ready");

    place.configure(json!({"timeouts": {"drain": 7}, "plaintext": false}));
    let before = monotonic_us();
    server.signal(Signal::HUP);
    let reloading = listener.receive();
    assert_eq!(reloading[0], "RELOADING=1");
    let at: i64 = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|at| at.parse().ok()).expect("a time");
    assert!((before..=monotonic_us()).contains(&at), "{before} {at}");
    assert_eq!(listener.receive(), ["READY=1"]);
    assert!(server.stderr().contains("configuration read again"), "ready means that it was read");

    fs::write(place.path("conf/berthd.json"), "{").expect("writable");
    server.signal(Signal::HUP);
    assert_eq!(listener.receive()[0], "RELOADING=1");
    assert_eq!(listener.receive(), ["READY=1"], "it serves on with the old one");

    server.signal(Signal::TERM);
    let stopping = listener.receive();
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(stopping.contains(&"EXTEND_TIMEOUT_USEC=17000000".to_string()), "{stopping:?}");
    server.wait().expect_code(0);
    assert!(listener.is_silent());
}

fn a_supervisor_at_a_path_is_told_of_start_reload_and_end() {
    let place = Place::new();
    follow(&place, &Listener::at_path(&place));
}

fn a_supervisor_at_an_abstract_address_is_told_although_the_server_is_confined() {
    let place = Place::new();
    follow(&place, &Listener::abstract_one(&place));
}

fn a_server_that_becomes_another_user_still_tells_its_supervisor() {
    let place = Place::with(json!({"user": "nobody"}));
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).expect("ours");
    let listener = Listener::at_path(&place);
    // Only root can pass here, and it does so before it gives that up.
    let directory = place.path("closed");
    fs::create_dir(&directory).expect("writable");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("ours");
    fs::rename(place.path("notify"), directory.join("notify")).expect("ours");
    let address = directory.join("notify").to_str().expect("UTF-8").to_string();
    let listener = Listener { address, ..listener };
    let mut server = listener.start(&place);
    assert_eq!(listener.receive()[0], "READY=1");
    server.signal(Signal::HUP);
    assert_eq!(listener.receive()[0], "RELOADING=1");
    assert_eq!(listener.receive(), ["READY=1"]);
    server.signal(Signal::TERM);
    assert_eq!(listener.receive()[0], "STOPPING=1");
    server.wait().expect_code(0);
}

fn a_watchdog_hears_of_an_idle_server_again_and_again_until_its_end() {
    let place = Place::new();
    let listener = Listener::at_path(&place);
    let mut command = place.berthd(&["serve"]);
    command.env("NOTIFY_SOCKET", &listener.address).env("WATCHDOG_USEC", "200000");
    let server = place.serve_as(command);
    assert_eq!(listener.receive()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(listener.receive(), ["WATCHDOG=1"]);
    }
    let client = TcpStream::connect(server.address).expect("it listens");
    server.program.signal(Signal::TERM);
    let told: Vec<_> =
        std::iter::repeat_with(|| listener.receive()).take_while(|told| told[0] == "WATCHDOG=1").collect();
    assert!(told.len() < 100, "it stops");
    drop(client);
}

fn a_supervisor_that_cannot_be_reached_is_named_in_the_log_and_no_obstacle() {
    let place = Place::new();
    for address in ["@berth-nobody-listens-here", "no address"] {
        let mut command = place.berthd(&["serve"]);
        command.env("NOTIFY_SOCKET", address);
        let server = place.serve_as(command);
        let told = || server.program.stderr().contains("the service manager at $NOTIFY_SOCKET cannot be reached");
        wait_until("the log says so", told);
    }
}
