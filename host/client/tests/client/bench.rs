//! Where clients are tried: a bus with a daemon, or a directory of sandboxes.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sidecore_backends::sandbox::{Process, Role};
use sidecore_client::{Client, Endpoint, LeaseMode, OpenOptions, Places, Processor, StartOptions};

/// Longer than anything takes here.
pub const SOON: Duration = Duration::from_secs(20);
/// Shorter than anybody waits for.
pub const SHORT: Duration = Duration::from_millis(30);

/// By which way the clients go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Daemon,
    Direct,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daemon => "daemon",
            Self::Direct => "direct",
        })
    }
}

/// A place of its own, which goes with all that runs there.
pub struct Bench {
    pub half: Half,
    place: tempfile::TempDir,
    number: usize,
    bus: Option<Child>,
    daemon: Option<Child>,
}

impl Bench {
    pub fn new(half: Half) -> Self {
        let place = tempfile::Builder::new().prefix("sidecore-client-").tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut bench = Self { half, place, number, bus: None, daemon: None };
        if half == Half::Daemon {
            bench.start_bus();
            bench.start_daemon();
        }
        bench
    }

    /// A remote's name that no other test has: processes are found by it.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}-{}", std::process::id(), self.number)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.path("bus").display())
    }

    pub fn start_bus(&mut self) {
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address={}", self.address()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a dbus-daemon (Debian: dbus)");
        // Once it says where it is, it listens there.
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        self.bus = Some(bus);
    }

    pub fn start_daemon(&mut self) {
        let program = beside("sidecored", "`cargo build -p sidecored`");
        let daemon = Command::new(program)
            .arg("--session")
            .env("DBUS_SESSION_BUS_ADDRESS", self.address())
            .env("XDG_RUNTIME_DIR", self.place.path())
            .env("XDG_STATE_HOME", self.place.path())
            .env("XDG_CONFIG_HOME", self.place.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        assert!(until(|| Client::bus(&self.address()).is_ok()), "no daemon");
    }

    pub fn kill_bus(&mut self) {
        self.bus.take().into_iter().for_each(end);
        let _ = fs::remove_file(self.path("bus"));
    }

    pub fn kill_daemon(&mut self) {
        self.daemon.take().into_iter().for_each(end);
    }

    pub fn places(&self) -> Places {
        Places::new().runtime_dir(Some(self.path("sidecore"))).logs_in(self.path("logs"))
    }

    /// One more client, as another program would be one.
    pub fn client(&self) -> Client {
        match self.half {
            Half::Daemon => Client::bus(&self.address()).unwrap(),
            Half::Direct => Client::direct_in(self.places()),
        }
    }

    /// A remote that runs an image, and goes with the client.
    pub fn start(&self, client: &Client, name: &str, image: &str) -> Processor {
        client.start(&self.name(name), &firmware(image), &StartOptions::new().lease(LeaseMode::Tied)).unwrap()
    }

    /// One that echoes, and an endpoint of it.
    pub fn echo(&self, client: &Client) -> (Processor, Endpoint) {
        let processor = self.start(client, "radio", "echo");
        let endpoint = open(&processor);
        (processor, endpoint)
    }

    /// Kills what executes a remote's firmware.
    pub fn kill_remote(&self, name: &str) {
        Process::find(&self.name(name), Role::Remote).unwrap().kill().unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.kill_daemon();
        self.kill_bus();
        // What was left running is nobody's now: keepers wait for the next daemon, which does not come.
        let number = format!("-{}-{}", std::process::id(), self.number);
        let left = || {
            let all = fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
            let is_ours = |pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut arguments = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                let is_one = arguments.next().is_some_and(|name| name.starts_with("sidecore: "));
                is_one && arguments.next().is_some_and(|remote| remote.ends_with(&number))
            };
            pids.filter(is_ours).filter_map(Pid::from_raw).collect::<Vec<_>>()
        };
        for pid in left() {
            // It may be gone with another one already.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = until(|| left().is_empty());
    }
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Opens the echo.
pub fn open(processor: &Processor) -> Endpoint {
    processor.open("rpmsg-echo", OpenOptions::new().timeout(SOON)).unwrap()
}

/// Sends something and has it back.
#[track_caller]
pub fn exchange(endpoint: &Endpoint, message: &[u8]) {
    endpoint.send(message, SOON).unwrap();
    assert_eq!(endpoint.receive(SOON).unwrap(), message);
}

pub fn until(is_so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

pub fn firmware(image: &str) -> File {
    let path = format!("images/{}-unknown-linux-gnu/release/{image}", std::env::consts::ARCH);
    let target = target().parent().unwrap().to_owned();
    let path = target.join(path);
    assert!(path.exists(), "{}: `cargo xtask images` makes it", path.display());
    File::open(path).unwrap()
}

fn beside(program: &str, how: &str) -> PathBuf {
    let path = target().join(program);
    assert!(path.exists(), "{}: {how} makes it", path.display());
    path
}

/// Where programs of this profile are: this one is in `deps` there.
fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    Path::new(&this).ancestors().nth(2).unwrap().to_owned()
}
