//! Daemons, buses and keepers that die while remotes work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zbus::{OwnedObjectPath, Variant};

use crate::house::{Bus, Options, SOON, echo, error_of, exchange, until};

#[tokio::test]
async fn links_go_on_while_their_daemon_is_killed_and_started_again_and_again() {
    let mut bus = Bus::lasting("outlive").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = std::thread::spawn({
        let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                exchange(&socket, &count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
            }
            socket
        }
    });
    for _ in 0..5 {
        let before = count.load(Ordering::Relaxed);
        bus.kill_daemon();
        assert!(until(|| count.load(Ordering::Relaxed) > before + 100), "it stands still without a daemon");
        bus.start_daemon().await;
        // The next one knows everything of it.
        let processor = client.processor(&path).await;
        assert_eq!(processor.get_property::<String>("State").await.unwrap(), "running");
        let services: Vec<(u32, String, u32)> = processor.call("ListServices", &()).await.unwrap();
        assert_eq!(services, [(0, "rpmsg-echo".to_owned(), 1024)]);
        exchange(&client.open(&path).await, b"a new one");
    }
    is_over.store(true, Ordering::Relaxed);
    let socket = load.join().unwrap();
    let (): () = client.processor(&path).await.call("Remove", &(Options::new(),)).await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    assert!(until(|| bus.sandboxes() == 0 && bus.keeper("radio").is_none()));
}

#[tokio::test]
async fn a_remote_that_is_tied_to_a_client_ends_also_when_that_left_while_there_was_no_daemon() {
    let mut bus = Bus::lasting("tied-gap").await;
    let (client, leaving) = (bus.client().await, bus.client().await);
    let stays = client.start("stays").await;
    let tied = || Options::from([("lease", Variant::from("tied"))]);
    client.start_of("mine", &echo(), tied()).await.unwrap();
    leaving.start_of("goes", &echo(), tied()).await.unwrap();
    bus.kill_daemon();
    leaving.0.close().await.unwrap();
    bus.start_daemon().await;
    assert!(until(|| bus.sandboxes() == 2));
    exchange(&client.open(&stays).await, b"still here");
    exchange(&client.open(&sidecore_dbus::processor_path("mine")).await, b"me, too");
}

#[tokio::test]
async fn a_bus_that_goes_away_and_comes_back_costs_no_link() {
    let mut bus = Bus::lasting("bus-back").await;
    let client = bus.client().await;
    let socket = client.open(&client.start("radio").await).await;
    exchange(&socket, b"before");
    bus.restart_bus();
    exchange(&socket, b"meanwhile");
    let begin = Instant::now();
    let client = bus.client().await;
    let path = sidecore_dbus::processor_path("radio");
    // The daemon looks for the bus, and may not have found it yet.
    while client.processor(&path).await.get_property::<String>("State").await.is_err() {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    exchange(&client.open(&path).await, b"afterwards");
    exchange(&socket, b"the old one, too");
}

#[tokio::test]
async fn two_daemons_at_once_are_one_and_a_refusal() {
    let bus = Bus::lasting("two").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sidecored"))
        .arg("--session")
        .env("DBUS_SESSION_BUS_ADDRESS", &bus.address)
        .env("XDG_RUNTIME_DIR", &bus.place)
        .output();
    let second = tokio::task::spawn_blocking(|| second).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another daemon is at work"), "{said}");
    exchange(&client.open(&path).await, b"nothing happened");
}

#[tokio::test]
async fn a_remote_whose_keeper_is_killed_runs_on_with_another() {
    let bus = Bus::lasting("keeper").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    exchange(&socket, b"before");
    // One that lived for long enough: what dies at once would die again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    rustix::process::kill_process(bus.keeper("radio").unwrap(), Signal::KILL).unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap_or(0), 0, "the end");
    let begin = Instant::now();
    loop {
        match client.try_open(&path).await {
            Ok((fd, ..)) => {
                let socket = std::os::unix::net::UnixDatagram::from(std::os::fd::OwnedFd::from(fd));
                socket.set_read_timeout(Some(SOON)).unwrap();
                break exchange(&socket, b"the same run");
            }
            Err(error) => assert!(begin.elapsed() < SOON, "{:?}", error_of::<()>(Err(error))),
        }
    }
    let known: Vec<OwnedObjectPath> = client.manager().await.call("ListProcessors", &()).await.unwrap();
    assert_eq!(known, [path]);
}

#[tokio::test]
async fn a_daemon_that_is_killed_in_mid_job_leaves_the_remote_working() {
    let mut bus = Bus::lasting("mid-job").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    for round in 0..3 {
        let file = std::fs::File::create_new(bus.place.join(format!("core{round}"))).unwrap();
        let arguments = (zbus::Fd::from(&file), Options::new());
        let _: OwnedObjectPath = client.processor(&path).await.call("Dump", &arguments).await.unwrap();
        bus.kill_daemon();
        exchange(&socket, b"let go of");
        bus.start_daemon().await;
        // What it did is finished by the process that does it, or was never begun.
        assert!(until(|| file.metadata().unwrap().len() == 0 || {
            let mut head = [0; 4];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0).is_ok() && &head == b"\x7fELF"
        }));
    }
    exchange(&client.open(&path).await, b"afterwards");
}

/// What a service manager does: keeps descriptors under names, and hands them to the next daemon.
const SERVICE_MANAGER: &str = r#"
import array, os, signal, socket, subprocess, sys, time
place, daemon = sys.argv[1], sys.argv[2]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(place + "/notify")
store = {}
def start():
    fds = list(store.items())
    def child():
        moved = [os.dup(fd) for _, fd in fds]
        moved = [__import__("fcntl").fcntl(fd, 1030, 100) for fd in moved]
        for at, fd in enumerate(moved):
            os.dup2(fd, 3 + at)
        os.environ["LISTEN_FDS"] = str(len(fds))
        os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in fds)
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["NOTIFY_SOCKET"] = place + "/notify"
        os.execv(daemon, [daemon, "--session"])
    pid = os.fork()
    if pid == 0:
        child()
    return pid
def serve(until):
    while True:
        data, anc, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(64))
        fields = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
        got = array.array("i")
        for level, kind, payload in anc:
            got.frombytes(payload[:len(payload) - len(payload) % 4])
        if "FDSTORE" in fields:
            for fd in got:
                store[fields["FDNAME"]] = fd
        if "FDSTOREREMOVE" in fields:
            store.pop(fields["FDNAME"], None)
        print("told", " ".join(sorted(fields)), flush=True)
        if until in fields:
            return
pid = start()
serve("READY")
print("ready", flush=True)
serve("FDSTORE")
sys.stdin.readline()
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
os.rename(place + "/sidecore/keepers", place + "/sidecore/hidden")
pid = start()
serve("READY")
print("again", " ".join(sorted(store)), flush=True)
sys.stdin.readline()
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
os.rename(place + "/sidecore/hidden", place + "/sidecore/keepers")
"#;

#[tokio::test]
async fn a_service_manager_keeps_the_conversations_for_the_next_daemon() {
    use std::io::{BufRead as _, Write as _};
    let mut bus = Bus::lasting("fdstore").await;
    bus.kill_daemon();
    let mut manager = std::process::Command::new("python3")
        .args(["-c", SERVICE_MANAGER])
        .args([bus.place.as_os_str(), env!("CARGO_BIN_EXE_sidecored").as_ref()])
        .env("DBUS_SESSION_BUS_ADDRESS", &bus.address)
        .env("XDG_RUNTIME_DIR", &bus.place)
        .env("XDG_STATE_HOME", bus.place.join("state"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("there is a python3");
    let mut said = std::io::BufReader::new(manager.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line == "ready"));
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    exchange(&socket, b"before");
    manager.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let again = said.find(|line| line.starts_with("again"));
    assert_eq!(again.as_deref(), Some("again radio"));
    exchange(&socket, b"meanwhile");
    // Its keeper cannot be found by its socket, so it is known by what was kept.
    exchange(&client.open(&path).await, b"afterwards");
    manager.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(manager.wait().unwrap().success());
}
