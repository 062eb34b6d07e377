//! A bus of its own with a daemon, and clients.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sidecore_backends::sandbox::Sandbox;
use sidecore_os::Channel;
use zbus::{Connection, OwnedFd, OwnedObjectPath, Proxy};
use zbus::{Fd, Variant};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A bus and a daemon, in a directory that goes with them.
pub(crate) struct Bus {
    pub(crate) place: PathBuf,
    pub(crate) address: String,
    pub(crate) bus: Child,
    pub(crate) daemon: Child,
    /// Whether the daemon leaves remotes when it ends.
    leaves: bool,
}

impl Bus {
    /// With a daemon that takes its remotes along.
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, "--transient").await
    }

    /// With one that leaves them to the next.
    pub(crate) async fn lasting(name: &str) -> Self {
        Self::with(name, "--session").await
    }

    async fn with(name: &str, how: &str) -> Self {
        let place = std::env::temp_dir().join(format!("sidecored-{name}-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let (bus, address) = start_bus(&place);
        let (daemon, leaves) = (start_daemon(&address, &place, how), how == "--session");
        let bus = Self { place, address, bus, daemon, leaves };
        bus.await_daemon(true).await;
        bus
    }

    /// Until there is a daemon, or none any more: the bus hears of a death a little later.
    async fn await_daemon(&self, is_there: bool) {
        let client = self.client().await;
        let names = zbus::fdo::DBusProxy::new(&client.0).await.unwrap();
        let begin = Instant::now();
        while names.name_has_owner(sidecore_dbus::NAME.try_into().unwrap()).await.unwrap() != is_there {
            assert!(begin.elapsed() < SOON, "no daemon, or still one");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    pub(crate) async fn start_daemon(&mut self) {
        self.await_daemon(false).await;
        self.daemon = start_daemon(&self.address, &self.place, "--session");
        self.await_daemon(true).await;
    }

    /// A bus at the same address, in place of the one that was killed.
    pub(crate) fn restart_bus(&mut self) {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
        let _ = fs::remove_file(self.place.join("bus"));
        self.bus = start_bus(&self.place).0;
    }

    /// The keeper of a remote.
    pub(crate) fn keeper(&self, name: &str) -> Option<Pid> {
        let place = File::open(self.place.join("sidecore/keepers")).ok()?;
        Pid::from_raw(Channel::connect(place.as_fd(), name).ok()?.peer().ok()?.pid)
    }

    fn end_keepers(&self) {
        for entry in fs::read_dir(self.place.join("sidecore/keepers")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if let Some(keeper) = self.keeper(&name) {
                let _ = rustix::process::kill_process(keeper, Signal::KILL);
            }
            let _ = Sandbox::end(&name, Some(&self.place.join("sidecore")));
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let builder = zbus::connection::Builder::address(self.address.as_str());
        Client(builder.build().await.unwrap())
    }

    /// The sockets of sandboxes, which go with them.
    pub(crate) fn sandboxes(&self) -> usize {
        let entries = fs::read_dir(self.place.join("sidecore")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sock")).count()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.leaves {
            self.end_keepers();
        }
        let _ = until(|| self.sandboxes() == 0);
        let _ = fs::remove_dir_all(&self.place);
    }
}

fn start_bus(place: &Path) -> (Child, String) {
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
    // Without what tells two of them apart.
    (bus, address.split(',').next().unwrap().trim_end().to_owned())
}

fn start_daemon(address: &str, place: &Path, how: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sidecored"))
        .args(["--session"].into_iter().chain(Some(how).filter(|how| *how != "--session")))
        .env("DBUS_SESSION_BUS_ADDRESS", address)
        .env("XDG_RUNTIME_DIR", place)
        .env("XDG_STATE_HOME", place.join("state"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn until(is_so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

pub(crate) struct Client(pub(crate) Connection);

pub(crate) type Options = HashMap<&'static str, Variant<'static>>;

impl Client {
    pub(crate) async fn manager(&self) -> Proxy<'_> {
        Proxy::new(&self.0, sidecore_dbus::NAME, sidecore_dbus::ROOT, sidecore_dbus::MANAGER).await.unwrap()
    }

    pub(crate) async fn start_of(
        &self,
        name: &str,
        file: &Path,
        options: Options,
    ) -> zbus::Result<OwnedObjectPath> {
        let file = File::open(file).unwrap();
        self.manager().await.call("Start", &(name, Fd::from(&file), options)).await
    }

    pub(crate) async fn start(&self, name: &str) -> OwnedObjectPath {
        self.start_of(name, &echo(), Options::new()).await.unwrap()
    }

    pub(crate) async fn processor(&self, path: &OwnedObjectPath) -> Proxy<'_> {
        let path = path.clone();
        Proxy::new(&self.0, sidecore_dbus::NAME, path, sidecore_dbus::PROCESSOR).await.unwrap()
    }

    pub(crate) async fn try_open(&self, path: &OwnedObjectPath) -> zbus::Result<(OwnedFd, u32, u32)> {
        let arguments = ("rpmsg-echo", Options::new());
        self.processor(path).await.call("OpenEndpoint", &arguments).await
    }

    pub(crate) async fn open(&self, path: &OwnedObjectPath) -> UnixDatagram {
        let (fd, addr, max) = self.try_open(path).await.unwrap();
        assert!(addr >= 1024 && max == 496, "{addr} {max}");
        let socket = UnixDatagram::from(std::os::fd::OwnedFd::from(fd));
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }
}

pub(crate) fn echo() -> PathBuf {
    image("echo")
}

/// The echo for a board, and whether there is what emulates it.
pub(crate) fn board_image(target: &str) -> Option<PathBuf> {
    let images = Path::new(env!("CARGO_BIN_EXE_sidecored")).ancestors().nth(2).unwrap().join("images");
    let image = images.join(target).join("firmware/echo");
    let emulator = Command::new("qemu-system-arm").arg("--version").stdout(Stdio::null()).status();
    if !image.exists() || emulator.is_err() {
        eprintln!("skipped: no {} (`cargo xtask images --all`), or no qemu-system-arm", image.display());
        return None;
    }
    Some(image)
}

pub(crate) fn image(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_sidecored")).ancestors().nth(2).unwrap();
    let images = target.join(format!("images/{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    let image = images.join(name);
    assert!(image.exists(), "{}: `cargo xtask images` makes it", image.display());
    image
}

#[track_caller]
pub(crate) fn exchange(socket: &UnixDatagram, message: &[u8]) {
    socket.send(message).unwrap();
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).unwrap();
    assert_eq!(&answer[..len], message);
}

/// The name of a method's error, and what it says.
pub(crate) fn error_of<T: std::fmt::Debug>(result: zbus::Result<T>) -> (String, String) {
    match result.unwrap_err() {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        other => panic!("{other}"),
    }
}
