//! Who outlives whom, and that nothing is left behind, whoever dies first.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod bench;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::code::nr;
use bench::*;
use rustix::process::Signal;
use sidecore_backends::sandbox::{Config, Lifetime, Sandbox};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, BackendError, Doorbell, Event};
use sidecore_wire::sandbox as layout;

const GO: u64 = DATA + 0x100;
const SEEN: u64 = DATA + 0x104;

/// Works until it is told to exit.
fn working(_: u64) -> Code {
    let code = Code::new().store(SEEN, 0x5ee);
    let again = code.here();
    code.increment(DATA).jump_if_zero(GO, again).exit(9)
}

fn with(lifetime: Lifetime, config: Config) -> Config {
    Config { lifetime, ..config }
}

/// The warden and the remote, to be looked for when they should be gone.
fn pids(name: &str) -> [i32; 2] {
    [pid(name, "warden"), pid(name, "remote")]
}

/// Nothing is left: no process, not even a zombie, and no socket.
fn assert_gone(dir: &Dir, pids: [i32; 2]) {
    until("its processes are gone, and reaped", || pids.iter().all(|pid| state(*pid).is_none()));
    until("its socket is gone", || dir.files().is_empty());
}

/// Takes over a remote, under way or not.
fn attach(config: Config) -> Sandbox {
    let mut sandbox = Sandbox::find(config).unwrap();
    sandbox.attach().unwrap();
    sandbox
}

#[test]
fn a_tied_remote_ends_with_its_sandbox() {
    let dir = Dir::new();
    let sandbox = run(dir.named("tied"), working);
    until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
    assert_eq!(processes("tied").len(), 2);
    drop(sandbox);
    // At once: dropping waits for it.
    assert_eq!(processes("tied"), []);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn a_detached_remote_goes_on_and_is_attached_to() {
    let dir = Dir::new();
    let sandbox = run(with(Lifetime::Detached, dir.named("free")), working);
    until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
    let pids = pids("free");
    drop(sandbox);
    for _ in 0..3 {
        let sandbox = attach(dir.named("free"));
        assert_eq!(sandbox.boot().unwrap().entry, DeviceAddr(TEXT));
        assert_eq!(sandbox.boot().unwrap().table, Some((DeviceAddr(DATA), 0x100)));
        let count = load32(&sandbox, DATA);
        until("it goes on", || load32(&sandbox, DATA) != count);
        assert!(
            sandbox.findings().iter().any(|finding| finding.contains("Landlock")),
            "{:?}",
            sandbox.findings()
        );
    }
    let mut sandbox = attach(dir.named("free"));
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 9 });
    // It can do everything that the first could.
    sandbox.stop().unwrap();
    store32(&sandbox, GO, 0);
    start(&mut sandbox, working);
    sandbox.unprepare();
    prepare(&mut sandbox);
    start(&mut sandbox, |_| Code::new().exit(1));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 1 });
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn a_remote_learns_that_its_main_side_is_gone_and_of_the_next_one() {
    const GONE: u64 = DATA + 0x108;
    const COUNT: u64 = DATA + 0x10c;
    let watching = |page: u64| {
        let code = Code::new().store(SEEN, 0x5ee);
        let again = code.here();
        code.unless_zero(page + layout::MAIN_SIDE_GONE as u64, |code| code.store(GONE, 1))
            .copy(page + layout::MAIN_SIDES as u64, COUNT)
            .jump(again)
    };
    let dir = Dir::new();
    let sandbox = run(with(Lifetime::Detached, dir.named("bereft")), watching);
    until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
    until("it counts one", || load32(&sandbox, COUNT) == 1);
    assert_eq!(load32(&sandbox, GONE), 0);
    drop(sandbox);
    let mut sandbox = attach(dir.named("bereft"));
    until("it counts the next one", || load32(&sandbox, COUNT) == 2);
    // On a busy machine the remote may not have run in between.
    for round in 0..100 {
        if load32(&sandbox, GONE) == 1 {
            return sandbox.stop().unwrap();
        }
        drop(sandbox);
        std::thread::sleep(Duration::from_millis(10 * round));
        sandbox = attach(dir.named("bereft"));
    }
    panic!("it was never told that nobody is there");
}

#[test]
fn a_tied_remote_can_be_detached() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("let-go"), working);
    let pids = pids("let-go");
    sandbox.detach().unwrap();
    let wrong = sandbox.stop().unwrap_err();
    assert_eq!(wrong, BackendError::WrongState { operation: "stop", state: "detached" });
    drop(sandbox);
    let mut sandbox = attach(dir.named("let-go"));
    sandbox.stop().unwrap();
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn who_lets_go_of_a_remote_takes_it_back_with_the_same_sandbox() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("again"), working);
    for _ in 0..3 {
        sandbox.detach().unwrap();
        sandbox.attach().unwrap();
        let count = load32(&sandbox, DATA);
        until("it goes on", || load32(&sandbox, DATA) != count);
    }
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 9 });
}

#[test]
fn a_remote_is_asked_for_on_behalf_of_another_process_which_takes_its_time() {
    let dir = Dir::new();
    let mut first = run(dir.named("handed"), working);
    let Config { name, runtime_dir, .. } = dir.named("handed");
    let asked = || Sandbox::ask_for(name.as_deref().unwrap(), runtime_dir.as_deref()).unwrap();
    let over = |connection| {
        let config = Config { name: Some("mine".to_owned()), ..Config::default() };
        Sandbox::over(connection, config).unwrap()
    };
    // Refused while it has a main side; whoever looks is told.
    let refused = over(asked()).attach().unwrap_err().to_string();
    assert!(refused.contains("is its main side"), "{refused}");
    first.detach().unwrap();
    let connection = asked();
    // Longer than a warden waits for those who say nothing.
    std::thread::sleep(Duration::from_millis(2500));
    let mut mine = over(connection);
    mine.attach().unwrap();
    let count = load32(&mine, DATA);
    until("it goes on", || load32(&mine, DATA) != count);
    // Closing it lets the remote run on.
    drop(mine);
    first.attach().unwrap();
    store32(&first, GO, 1);
    assert_eq!(end(&mut first), Event::Exited { code: 9 });
    let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
    let config = Config { name: Some("stream".to_owned()), ..Config::default() };
    assert!(Sandbox::over(socket.into(), config).is_err());
}

#[test]
fn a_remote_is_ended_whoever_is_its_main_side() {
    let dir = Dir::new();
    let mut sandbox = run(with(Lifetime::Detached, dir.named("unwanted")), working);
    let pids = pids("unwanted");
    let Config { name, runtime_dir, .. } = dir.named("unwanted");
    let end = || Sandbox::end(name.as_deref().unwrap(), runtime_dir.as_deref());
    end().unwrap();
    let lost = sandbox.stop().unwrap_err().to_string();
    assert!(lost.contains("somebody else ended it"), "{lost}");
    drop(sandbox);
    assert_gone(&dir, pids);
    assert!(end().is_err());
}

#[test]
fn a_remote_without_a_socket_cannot_be_detached() {
    let dir = Dir::new();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut sandbox = run(Config { runtime_dir: Some(file), ..config() }, working);
    assert!(sandbox.findings()[0].starts_with("nobody can attach"), "{:?}", sandbox.findings());
    let error = sandbox.detach().unwrap_err();
    assert!(error.to_string().contains("nobody could attach"), "{error}");
    assert_eq!(sandbox.wait(Some(Duration::ZERO), &mut || false), Ok(None), "it runs on");
}

#[test]
fn there_is_one_main_side_at_a_time() {
    let dir = Dir::new();
    let sandbox = run(with(Lifetime::Detached, dir.named("busy")), working);
    let mut second = Sandbox::find(dir.named("busy")).unwrap();
    let error = second.attach().unwrap_err();
    assert!(
        error.to_string().contains(&format!("process {} is its main side", std::process::id())),
        "{error}"
    );
    drop(second);
    let taken = Sandbox::new(dir.named("busy")).err().unwrap();
    assert!(taken.to_string().contains("the name is taken"), "{taken}");
    drop(sandbox);
    let mut sandbox = attach(dir.named("busy"));
    sandbox.stop().unwrap();
}

#[test]
fn a_remote_that_nobody_has_is_said_to_be_none() {
    let dir = Dir::new();
    let error = Sandbox::find(dir.named("nobody")).err().unwrap();
    assert!(error.to_string().contains("\": no such remote"), "{error}");
    let error = Sandbox::find(dir.named("../nobody")).err().unwrap();
    assert!(error.to_string().contains("a name is"), "{error}");
}

/// Crashes when it is told to.
fn doomed(_: u64) -> Code {
    let code = Code::new();
    let again = code.here();
    code.jump_if_zero(GO, again).store(DATA, 0xdead).read_far(0)
}

#[test]
fn the_end_of_a_detached_remote_waits_for_the_next_main_side() {
    let dir = Dir::new();
    // Whether the warden notices first that the main side is gone or that the remote is.
    for _ in 0..10 {
        let sandbox = run(with(Lifetime::Detached, dir.named("late")), doomed);
        let go = sandbox.memories().resolve(DeviceAddr(GO), 4).unwrap();
        let pids = pids("late");
        drop(sandbox);
        go.store(0, 1_u32).unwrap();
        let mut sandbox = attach(dir.named("late"));
        assert_eq!(crash(&mut sandbox).signal, 11);
        assert_eq!(load32(&sandbox, DATA), 0xdead);
        drop(sandbox);
        assert_gone(&dir, pids);
    }
}

#[test]
fn the_end_of_a_remote_that_its_main_side_has_not_seen_waits_for_the_next() {
    let dir = Dir::new();
    let sandbox = run(with(Lifetime::Detached, dir.named("unseen")), doomed);
    let pids = pids("unseen");
    store32(&sandbox, GO, 1);
    until("it crashed", || state(pids[1]).is_none());
    drop(sandbox);
    let mut sandbox = attach(dir.named("unseen"));
    assert_eq!(crash(&mut sandbox).signal, 11);
    sandbox.stop().unwrap();
    store32(&sandbox, GO, 0);
    start(&mut sandbox, doomed);
    drop(sandbox);
    let mut sandbox = attach(dir.named("unseen"));
    assert_eq!(sandbox.wait(Some(Duration::from_millis(20)), &mut || false), Ok(None), "that end is history");
    sandbox.stop().unwrap();
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn a_detached_remote_that_never_started_ends_with_its_main_side() {
    let dir = Dir::new();
    let mut sandbox = Sandbox::new(with(Lifetime::Detached, dir.named("never"))).unwrap();
    prepare(&mut sandbox);
    drop(sandbox);
    assert_eq!(processes("never"), []);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn a_leased_remote_ends_with_its_lease() {
    let dir = Dir::new();
    let mut sandbox = run(with(Lifetime::Lease, dir.named("leased")), working);
    let pids = pids("leased");
    let refused = sandbox.detach().unwrap_err();
    assert_eq!(refused, BackendError::WrongState { operation: "detach", state: "leased to this main side" });
    let lease = sandbox.take_lease().unwrap();
    let copy = lease.try_clone().unwrap();
    drop(sandbox);
    drop(lease);
    // One copy is left.
    let mut sandbox = attach(dir.named("leased"));
    assert_eq!(sandbox.wait(Some(Duration::from_millis(50)), &mut || false), Ok(None));
    drop(copy);
    let error = sandbox.wait(Some(PATIENCE), &mut || false).unwrap_err();
    assert_eq!(error.to_string(), "warden is gone: the lease ended");
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn a_lease_that_nobody_took_ends_with_the_sandbox() {
    let dir = Dir::new();
    drop(run(with(Lifetime::Lease, dir.named("kept")), working));
    assert_eq!(processes("kept"), []);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn the_thread_that_made_a_remote_need_not_stay() {
    let dir = Dir::new();
    let config = dir.config();
    let mut sandbox = std::thread::spawn(|| run(config, working)).join().unwrap();
    until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 9 });
}

#[test]
fn a_killed_warden_takes_the_remote_with_it_and_is_missed() {
    let dir = Dir::new();
    for (signal, reason) in [
        (Signal::KILL, "warden is gone: it was killed by SIGKILL"),
        (Signal::TERM, "warden is gone: it was told to end by SIGTERM"),
    ] {
        let mut sandbox = run(dir.named("lost"), working);
        until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
        let pids = pids("lost");
        kill(pids[0], signal);
        let error = sandbox.wait(Some(PATIENCE), &mut || false).unwrap_err();
        assert_eq!(error.to_string(), reason);
        // The main side's part is done already, before the sandbox is dropped.
        assert_gone(&dir, pids);
        assert_eq!(load32(&sandbox, SEEN), 0x5ee, "memory stays readable");
        sandbox.doorbell().ring(0);
        assert_eq!(sandbox.stop(), Err(error), "and stays so");
        sandbox.unprepare();
    }
}

#[test]
fn a_killed_warden_is_missed_by_a_main_side_that_attached() {
    let dir = Dir::new();
    drop(run(with(Lifetime::Detached, dir.named("adopted")), working));
    let mut sandbox = attach(dir.named("adopted"));
    let pids = pids("adopted");
    kill(pids[0], Signal::KILL);
    let error = sandbox.wait(Some(PATIENCE), &mut || false).unwrap_err();
    assert_eq!(error.to_string(), "warden is gone: it closed the connection");
    assert_gone(&dir, pids);
}

#[test]
fn a_warden_that_is_stopped_for_a_while_goes_on() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("slow"), working);
    kill(pid("slow", "warden"), Signal::STOP);
    assert_eq!(sandbox.wait(Some(Duration::from_millis(20)), &mut || false), Ok(None));
    kill(pid("slow", "warden"), Signal::CONT);
    sandbox.stop().unwrap();
}

#[test]
fn a_warden_that_does_not_end_is_killed() {
    let dir = Dir::new();
    let sandbox = run(dir.named("frozen"), working);
    let pids = pids("frozen");
    kill(pids[0], Signal::STOP);
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn keys_and_hang_ups_of_a_terminal_do_not_reach_the_warden() {
    let dir = Dir::new();
    let sandbox = run(dir.named("quiet"), working);
    let session =
        |pid: i32| rustix::process::getsid(rustix::process::Pid::from_raw(pid)).unwrap().as_raw_pid();
    let (warden, remote) = (pid("quiet", "warden"), pid("quiet", "remote"));
    assert_eq!(session(warden), warden, "the warden leads a session of its own");
    assert_eq!(session(remote), warden);
    drop(sandbox);
}

#[test]
fn a_warden_and_a_remote_keep_nothing_of_their_starter_open() {
    let dir = Dir::new();
    if !in_own_process("a_warden_and_a_remote_keep_nothing_of_their_starter_open") {
        return;
    }
    // Inheritable, as a shell's redirections are.
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let mut sandbox =
        run(dir.named("closed"), |_| Code::new().store(SEEN, 1).call(nr::READ, [3, DATA, 8]).exit(0));
    until("it runs", || load32(&sandbox, SEEN) == 1);
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody else holds the other end");
    let remote = pid("closed", "remote");
    let mut open: Vec<_> = std::fs::read_dir(format!("/proc/{remote}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["3", "4", "5"]);
    let status = std::fs::read_to_string(format!("/proc/{remote}/status")).unwrap();
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Threads:\t1",
        "SigBlk:\t0000000000000000",
        "SigCgt:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(std::fs::read(format!("/proc/{remote}/environ")).unwrap(), b"");
    let maps = std::fs::read_to_string(format!("/proc/{remote}/maps")).unwrap();
    let ours: Vec<_> = maps.lines().filter(|line| line.contains("memfd:sidecore")).collect();
    assert_eq!(ours.len(), 4, "text, data, page, stack: {ours:?}");
    assert!(ours.iter().all(|line| !line.contains("rwx")), "{ours:?}");
    sandbox.stop().unwrap();
}

/// A main side in a process of its own: this test binary again, running [`main_side`].
struct MainSide {
    child: Child,
    /// What the remote is called.
    name: String,
}

const SCENARIO: &str = "SIDECORE_TEST_MAIN_SIDE";

impl MainSide {
    fn start(lifetime: &str, name: &str, dir: &Dir) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "main_side", "--nocapture"])
            .env(SCENARIO, format!("{lifetime}:{}:{}", unique(name), dir.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "up"), "the main side did not come up");
        Self { child, name: name.to_owned() }
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.name
    }
}

/// What other tests kill: starts a remote, says so, and waits for the end of its input. By itself it does not wait, and
/// leaves nothing behind.
#[test]
fn main_side() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        let dir = Dir::new();
        let sandbox = run(dir.named("main-side"), working);
        until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
        let pids = pids("main-side");
        drop(sandbox);
        return assert_gone(&dir, pids);
    };
    let [lifetime, name, dir] = scenario.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap();
    let lifetime = if lifetime == "detached" { Lifetime::Detached } else { Lifetime::Tied };
    let config = Config { name: Some(name.to_owned()), runtime_dir: Some(dir.into()), lifetime, ..config() };
    let sandbox = run(config, working);
    until("it runs", || load32(&sandbox, SEEN) == 0x5ee);
    println!("\nup");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_killed_main_side_takes_a_tied_remote_with_it() {
    let dir = Dir::new();
    let main = MainSide::start("tied", "orphan", &dir);
    let pids = pids("orphan");
    main.kill();
    assert_gone(&dir, pids);
}

#[test]
fn a_killed_main_side_leaves_a_detached_remote_to_the_next() {
    let dir = Dir::new();
    let name = MainSide::start("detached", "heir", &dir).kill();
    assert_eq!(dir.files(), sockets(["heir"]));
    let pids = pids(&name);
    let mut sandbox = attach(dir.named(&name));
    let count = load32(&sandbox, DATA);
    until("it goes on", || load32(&sandbox, DATA) != count);
    sandbox.stop().unwrap();
    drop(sandbox);
    assert_gone(&dir, pids);
}

#[test]
fn a_killed_main_side_that_slept_leaves_doorbells_that_work() {
    let dir = Dir::new();
    let name = MainSide::start("detached", "sleepy", &dir).kill();
    let mut sandbox = attach(dir.named(&name));
    // As if it had died in its sleep.
    store32(&sandbox, page(&sandbox) + layout::HOST_ASLEEP as u64, 1);
    assert_eq!(sandbox.wait(Some(Duration::from_millis(20)), &mut || false), Ok(None));
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 9 });
}

#[test]
fn what_both_left_is_swept_by_the_next_start() {
    let dir = Dir::new();
    let main = MainSide::start("detached", "stale", &dir);
    let warden = pid("stale", "warden");
    // The main side first, or it would clean up after its warden; stopped, so that the warden does not either.
    kill(warden, Signal::STOP);
    let name = main.kill();
    kill(warden, Signal::KILL);
    until("all processes are gone", || processes(&name).is_empty());
    assert_eq!(dir.files(), sockets(["stale"]));
    let error = Sandbox::find(dir.named(&name)).err().unwrap();
    assert!(error.to_string().contains("its warden is gone"), "{error}");
    let other = run(dir.named("other"), working);
    assert_eq!(dir.files(), sockets(["other"]));
    // And the name is free.
    drop(run(dir.named(&name), working));
    drop(other);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn a_killed_warden_without_a_main_side_takes_the_remote_with_it() {
    let dir = Dir::new();
    drop(run(with(Lifetime::Detached, dir.named("alone")), working));
    let (warden, remote) = (pid("alone", "warden"), pid("alone", "remote"));
    kill(warden, Signal::KILL);
    until("the remote is gone", || state(remote).is_none());
    until("the warden is reaped", || state(warden).is_none());
}
