//! The daemon on a bus of its own, as its clients see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zbus::{Connection, OwnedFd, OwnedObjectPath, Proxy};
use zbus::{Fd, Variant};

const SOON: Duration = Duration::from_secs(20);

/// A bus and a daemon, in a directory that goes with them.
struct Bus {
    place: PathBuf,
    address: String,
    bus: Child,
    daemon: Child,
}

impl Bus {
    async fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("sidecored-{name}-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
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
        let address = address.trim_end().to_owned();
        let daemon = Command::new(env!("CARGO_BIN_EXE_sidecored"))
            .arg("--session")
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .env("XDG_RUNTIME_DIR", &place)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let bus = Self { place, address, bus, daemon };
        let client = bus.client().await;
        let names = zbus::fdo::DBusProxy::new(&client.0).await.unwrap();
        let begin = Instant::now();
        while !names.name_has_owner(sidecore_dbus::NAME.try_into().unwrap()).await.unwrap() {
            assert!(begin.elapsed() < SOON, "no daemon");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bus
    }

    async fn client(&self) -> Client {
        let builder = zbus::connection::Builder::address(self.address.as_str());
        Client(builder.build().await.unwrap())
    }

    /// The sockets of sandboxes, which go with them.
    fn sandboxes(&self) -> usize {
        fs::read_dir(self.place.join("sidecore")).map_or(0, Iterator::count)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = until(|| self.sandboxes() == 0);
        let _ = fs::remove_dir_all(&self.place);
    }
}

fn until(is_so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

struct Client(Connection);

type Options = HashMap<&'static str, Variant<'static>>;

impl Client {
    async fn manager(&self) -> Proxy<'_> {
        Proxy::new(&self.0, sidecore_dbus::NAME, sidecore_dbus::ROOT, sidecore_dbus::MANAGER).await.unwrap()
    }

    async fn start_of(&self, name: &str, file: &Path, options: Options) -> zbus::Result<OwnedObjectPath> {
        let file = File::open(file).unwrap();
        self.manager().await.call("Start", &(name, Fd::from(&file), options)).await
    }

    async fn start(&self, name: &str) -> OwnedObjectPath {
        self.start_of(name, &echo(), Options::new()).await.unwrap()
    }

    async fn processor(&self, path: &OwnedObjectPath) -> Proxy<'_> {
        let path = path.clone();
        Proxy::new(&self.0, sidecore_dbus::NAME, path, sidecore_dbus::PROCESSOR).await.unwrap()
    }

    async fn open(&self, path: &OwnedObjectPath) -> UnixDatagram {
        let arguments = ("rpmsg-echo", Options::new());
        let opened = self.processor(path).await.call("OpenEndpoint", &arguments).await;
        let (fd, addr, max): (OwnedFd, u32, u32) = opened.unwrap();
        assert!(addr >= 1024 && max == 496, "{addr} {max}");
        let socket = UnixDatagram::from(std::os::fd::OwnedFd::from(fd));
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }
}

fn echo() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_sidecored")).ancestors().nth(2).unwrap();
    let images = target.join(format!("images/{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    let echo = images.join("echo");
    assert!(echo.exists(), "{}: `cargo xtask images` makes it", echo.display());
    echo
}

#[track_caller]
fn exchange(socket: &UnixDatagram, message: &[u8]) {
    socket.send(message).unwrap();
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).unwrap();
    assert_eq!(&answer[..len], message);
}

/// The name of a method's error, and what it says.
fn error_of<T: std::fmt::Debug>(result: zbus::Result<T>) -> (String, String) {
    match result.unwrap_err() {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_remote_is_started_talked_with_over_a_socket_stopped_started_again_and_removed() {
    let bus = Bus::new("life").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    assert_eq!(path, sidecore_dbus::processor_path("radio"));
    let socket = client.open(&path).await;
    for len in [1, 16, 496] {
        exchange(&socket, &vec![len as u8; len]);
    }
    let processor = client.processor(&path).await;
    let services: Vec<(u32, String, u32)> = processor.call("ListServices", &()).await.unwrap();
    assert_eq!(services, [(0, "rpmsg-echo".to_owned(), 1024)]);
    assert_eq!(processor.get_property::<String>("State").await.unwrap(), "running");

    let (): () = processor.call("Stop", &(Options::new(),)).await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    let begin = Instant::now();
    while processor.get_property::<String>("State").await.unwrap() != "offline" {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (): () = processor.call("Start", &(Options::new(),)).await.unwrap();
    exchange(&client.open(&path).await, b"once more");
    assert_eq!(bus.sandboxes(), 1);

    let (): () = processor.call("Remove", &(Options::new(),)).await.unwrap();
    let manager = client.manager().await;
    let begin = Instant::now();
    while !manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap().is_empty() {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(until(|| bus.sandboxes() == 0));
    exchange(&client.open(&client.start("radio").await).await, b"the name is free");
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name_and_costs_nobody_anything() {
    let bus = Bus::new("refused").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    let known = |key, value: &'static str| HashMap::from([(key, Variant::from(value))]);
    let cases = [
        ("radio", echo(), Options::new(), "NameTaken", "radio"),
        ("two", echo(), known("lease", "forever"), "BadOption", "forever"),
        ("two", echo(), known("leese", "tied"), "BadOption", "leese"),
        ("two", PathBuf::from("/dev/null"), Options::new(), "BadFirmware", ""),
        ("two", PathBuf::from("/dev/zero"), Options::new(), "BadFirmware", "no file"),
        ("two", PathBuf::from("/proc/self/exe"), Options::new(), "", ""),
        ("../two", echo(), Options::new(), "Failed", "../two"),
        ("", echo(), Options::new(), "Failed", ""),
    ];
    for (name, file, options, error, word) in cases {
        let (found, text) = error_of(client.start_of(name, &file, options).await);
        assert!(
            found.starts_with("org.sidecore.Sidecore1.Error.") && found.ends_with(error),
            "{found}: {text}"
        );
        assert!(text.contains(word), "{found}: {text}");
    }
    let processor = client.processor(&path).await;
    let soon = HashMap::from([("timeout", Variant::from(1000_u64))]);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &("nobody", soon)).await;
    let (found, text) = error_of(opened);
    assert!(found.ends_with("NotAnnounced") && text.contains("rpmsg-echo"), "{found}: {text}");
    let long = "x".repeat(100_000);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &(&*long, Options::new())).await;
    assert!(error_of(opened).0.ends_with("NoRoom"));
    let nonsense = HashMap::from([("timeout", Variant::from("soon"))]);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &("rpmsg-echo", nonsense)).await;
    assert!(error_of(opened).0.ends_with("BadOption"));
    // Longer than any message: that endpoint is closed, and no other.
    let other = client.open(&path).await;
    other.send(&[0; 497]).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 0, "the end");
    exchange(&socket, b"all is well");
    let manager = client.manager().await;
    assert_eq!(manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap(), [path]);
}

#[tokio::test]
async fn clients_see_their_own_messages_and_none_takes_the_others_buffers() {
    let bus = Bus::new("shared").await;
    let (flooder, other) = (bus.client().await, bus.client().await);
    let path = flooder.start("shared").await;
    let (flood, quiet) = (flooder.open(&path).await, other.open(&path).await);
    flood.set_nonblocking(true).unwrap();
    for round in 0..200_u32 {
        // It sends as long as anybody takes it, and reads nothing.
        loop {
            match flood.send(b"flood") {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        exchange(&quiet, &round.to_le_bytes());
    }
    flood.set_nonblocking(false).unwrap();
    flood.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = [0; 512];
    assert_eq!(flood.recv(&mut answer).unwrap(), 5);
    assert_eq!(&answer[..5], b"flood");
    drop(flood);
    exchange(&quiet, b"it left in the middle of it");
}

#[tokio::test]
async fn a_remote_that_is_tied_to_its_client_ends_when_that_leaves_the_bus_and_another_does_not() {
    let bus = Bus::new("tied").await;
    let (client, leaving) = (bus.client().await, bus.client().await);
    let stays = client.start("stays").await;
    let tied = HashMap::from([("lease", Variant::from("tied"))]);
    let path = leaving.start_of("goes", &echo(), tied).await.unwrap();
    let socket = client.open(&path).await;
    exchange(&socket, b"hello");
    leaving.0.close().await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    let manager = client.manager().await;
    let begin = Instant::now();
    while manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap() != [stays.clone()]
    {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    exchange(&client.open(&stays).await, b"still here");
}

#[tokio::test]
async fn a_daemon_that_is_killed_leaves_nothing_behind() {
    let mut bus = Bus::new("killed").await;
    let client = bus.client().await;
    let sockets =
        [client.open(&client.start("one").await).await, client.open(&client.start("two").await).await];
    sockets.iter().for_each(|socket| exchange(socket, b"hello"));
    assert_eq!(bus.sandboxes(), 2);
    bus.daemon.kill().unwrap();
    for socket in &sockets {
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    }
    assert!(until(|| bus.sandboxes() == 0), "sandboxes are left");
}

/// The client in the book.
fn books_client() -> &'static str {
    let page = include_str!("../../../book/src/guide/daemon.md");
    page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[tokio::test]
async fn the_program_of_the_book_in_another_language_starts_a_remote_and_talks_with_it() {
    let python = "/usr/bin/python3";
    let has_dbus = Command::new(python).args(["-c", "import dbus"]).stderr(Stdio::null()).status();
    if !has_dbus.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {python} has no module dbus (Debian: python3-dbus)");
        return;
    }
    let bus = Bus::new("python").await;
    std::os::unix::fs::symlink(echo(), bus.place.join("echo.elf")).unwrap();
    let mut script = Command::new(python);
    script.args(["-c", books_client()]).env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    script.current_dir(&bus.place).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || script.output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.stdout, b"b'hello'\n");
}
