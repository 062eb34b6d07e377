//! The daemon and a service manager: readiness, signs of life, the end.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(20);

/// How often the manager wants to hear of the daemon, in microseconds.
const WATCHDOG: &str = "200000";

struct Managed {
    place: PathBuf,
    told: UnixDatagram,
    bus: Child,
    daemon: Child,
}

impl Managed {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("sidecored-managed-{name}-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let told = UnixDatagram::bind(place.join("notify")).unwrap();
        told.set_read_timeout(Some(SOON)).unwrap();
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:path={}", place.join("bus").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a dbus-daemon (Debian: dbus)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        // As a manager hands over what it kept: open from number 3 on, for this process alone.
        let daemon = Command::new("sh")
            .args(["-c", r#"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=nobody exec "$0" --session 3>"$1""#])
            .arg(env!("CARGO_BIN_EXE_sidecored"))
            .arg(place.join("kept"))
            .env("DBUS_SESSION_BUS_ADDRESS", address.trim_end())
            .env("XDG_RUNTIME_DIR", &place)
            .env("XDG_CONFIG_HOME", &place)
            .env("NOTIFY_SOCKET", place.join("notify"))
            .env("WATCHDOG_USEC", WATCHDOG)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { place, told, bus, daemon }
    }

    /// What the daemon says next.
    fn hears(&self) -> String {
        let mut said = [0; 4096];
        let len = self.told.recv(&mut said).expect("the daemon says something");
        String::from_utf8_lossy(&said[..len]).into_owned()
    }

    /// Waits until it says a line.
    fn waits_for(&self, line: &str) {
        let begin = Instant::now();
        while !self.hears().lines().any(|said| said == line) {
            assert!(begin.elapsed() < SOON, "not a word of {line}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).unwrap();
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

#[test]
fn a_daemon_says_that_it_is_ready_once_it_has_its_name_and_when_it_ends() {
    let mut managed = Managed::new("ready");
    managed.waits_for("READY=1");
    // Its name is what was waited for.
    let mut send = Command::new("dbus-send");
    send.args(["--session", "--print-reply", "--dest=org.sidecore.Sidecore1", "/org/sidecore/Sidecore1"]);
    send.arg("org.sidecore.Sidecore1.Manager.ListProcessors").stdout(Stdio::null());
    let address = format!("unix:path={}", managed.place.join("bus").display());
    assert!(send.env("DBUS_SESSION_BUS_ADDRESS", address).status().unwrap().success());
    managed.signal(Signal::TERM);
    managed.waits_for("STOPPING=1");
    assert!(managed.daemon.wait().unwrap().success());
}

#[test]
fn what_was_kept_and_nobody_knows_is_given_back() {
    let managed = Managed::new("kept");
    let told: Vec<String> = std::iter::repeat_with(|| managed.hears())
        .take_while(|told| !told.lines().any(|line| line == "READY=1"))
        .filter(|told| told != "WATCHDOG=1\n")
        .collect();
    assert_eq!(told, ["FDSTOREREMOVE=1\nFDNAME=nobody\n"]);
    let open = fs::read_dir(format!("/proc/{}/fd", managed.daemon.id())).unwrap();
    let mut targets = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    assert!(!targets.any(|target| target.ends_with("kept")), "it is closed here, too");
}

#[test]
fn a_daemon_gives_signs_of_life_and_none_while_it_hangs() {
    let managed = Managed::new("watchdog");
    managed.waits_for("READY=1");
    for _ in 0..3 {
        managed.waits_for("WATCHDOG=1");
    }
    managed.signal(Signal::STOP);
    managed.told.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    // What was on its way.
    while managed.told.recv(&mut [0; 4096]).is_ok() {}
    assert!(managed.told.recv(&mut [0; 4096]).is_err());
    managed.told.set_read_timeout(Some(SOON)).unwrap();
    managed.signal(Signal::CONT);
    managed.waits_for("WATCHDOG=1");
}
