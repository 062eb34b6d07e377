//! Remotes that are held still for somebody who looks at them.

#![allow(clippy::unwrap_used, missing_docs)] // A test binary.

mod bench;

use std::time::Duration;

use rustix::process::Signal;
use sidecore_backends::sandbox::{Config, Halted, Sandbox};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::coredump::{Include, Piece, Told};
use sidecore_remoteproc::{Backend as _, BackendError, Boot, CrashKind, Event};

use bench::{Code, DATA, Dir, TEXT, crash, kill, load32, pid, prepare, run, state, unique, until};

/// Counts as fast as it can.
fn counting(_: u64) -> Code {
    let code = Code::new();
    let again = code.here();
    code.increment(DATA).jump(again)
}

fn hold(dir: &Dir, name: &str) -> Result<Halted, BackendError> {
    Halted::hold(&unique(name), Some(dir.path()))
}

fn refused(held: Result<Halted, BackendError>, why: &str) {
    let error = held.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[track_caller]
fn runs(sandbox: &Sandbox) {
    let before = load32(sandbox, DATA);
    until("it counts", || load32(sandbox, DATA) != before);
}

#[track_caller]
fn stands(sandbox: &Sandbox) {
    let before = load32(sandbox, DATA);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(load32(sandbox, DATA), before, "it counts");
}

/// The whole dump, and what it tells.
fn dumped(halted: &Halted) -> (Vec<u8>, Told) {
    let mut bytes = Vec::new();
    let dump = halted.core_dump(Include::All, &[("state", "running")]).unwrap();
    let Ok(()) = dump.write(&mut |piece| {
        match piece {
            Piece::Bytes(some) => bytes.extend(some),
            Piece::Zeros(len) => bytes.resize(bytes.len() + len as usize, 0),
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let told = Told::parse(&bytes).unwrap();
    (bytes, told)
}

#[test]
fn a_remote_stands_still_while_it_is_looked_at_and_runs_on_then() {
    let dir = Dir::new();
    let sandbox = run(dir.named("held"), counting);
    for _ in 0..3 {
        runs(&sandbox);
        let halted = hold(&dir, "held").unwrap();
        stands(&sandbox);
        let pc = halted.pc().unwrap().0;
        assert!((TEXT..TEXT + 32).contains(&pc), "{pc:#x}");
        refused(hold(&dir, "held"), "somebody looks at it already");
        let (bytes, told) = dumped(&halted);
        assert!(told.has_registers && told.fact("crash").is_none(), "{told:?}");
        let count = load32(&sandbox, DATA).to_le_bytes();
        assert!(bytes.windows(4).any(|four| four == count), "the memory as it stands");
        assert!(halted.is_held() && halted.ended().is_none());
    }
    runs(&sandbox);
    refused(hold(&dir, "nobody"), "no such remote");
}

#[test]
fn those_who_come_and_go_at_once_do_not_hold_it() {
    let dir = Dir::new();
    let sandbox = run(dir.named("often"), counting);
    let mut held = 0;
    for _ in 0..200 {
        // The one before may not be known to be gone yet.
        held += u32::from(hold(&dir, "often").is_ok());
    }
    assert!(held > 10, "{held}");
    runs(&sandbox);
}

#[test]
fn a_crash_is_shown_with_its_registers_and_before_it_was_claimed() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("crashed"), |_| Code::new().increment(DATA).trap());
    assert_eq!(crash(&mut sandbox).kind, CrashKind::IllegalInstruction);
    let halted = hold(&dir, "crashed").unwrap();
    assert!(matches!(halted.ended(), Some(Event::Crashed(_))), "{halted:?}");
    let (_, told) = dumped(&halted);
    assert!(told.has_registers && told.fact("crash") == Some("illegal-instruction"), "{told:?}");
}

#[test]
fn its_main_side_stops_and_starts_it_whoever_looks() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("stopped"), counting);
    runs(&sandbox);
    let halted = hold(&dir, "stopped").unwrap();
    let count = load32(&sandbox, DATA).to_le_bytes();
    sandbox.stop().unwrap();
    sandbox.unprepare();
    prepare(&mut sandbox);
    bench::start(&mut sandbox, counting);
    runs(&sandbox);
    let (bytes, told) = dumped(&halted);
    assert!(told.has_registers && bytes.windows(4).any(|four| four == count), "the run that was looked at");
    drop(halted);
    runs(&sandbox);
    until("others may look", || hold(&dir, "stopped").is_ok());
}

#[test]
fn a_remote_that_is_killed_while_it_is_looked_at_has_ended_for_its_main_side() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("killed"), counting);
    let halted = hold(&dir, "killed").unwrap();
    kill(pid("killed", "remote"), Signal::KILL);
    assert_eq!(crash(&mut sandbox).kind, CrashKind::Killed);
    assert!(halted.is_held() && dumped(&halted).1.has_registers);
}

#[test]
fn a_warden_that_is_killed_is_told_and_the_memory_stays_as_it_was() {
    let dir = Dir::new();
    let sandbox = run(dir.named("orphan"), counting);
    let halted = hold(&dir, "orphan").unwrap();
    let remote = pid("orphan", "remote");
    kill(pid("orphan", "warden"), Signal::KILL);
    until("the remote is gone", || state(remote).is_none());
    until("that is told", || !halted.is_held());
    assert!(dumped(&halted).1.has_registers, "as it stood, or a little later");
    drop(sandbox);
}

#[test]
fn no_watchdog_bites_while_it_is_held() {
    let dir = Dir::new();
    let watchdog = Some(Duration::from_millis(500));
    let fed = |page: u64| {
        let code = Code::new().store(page + sidecore_wire::sandbox::WATCHDOG_PERIOD_MS as u64, 200);
        let again = code.here();
        code.increment(DATA).increment(page + sidecore_wire::sandbox::WATCHDOG_COUNT as u64).jump(again)
    };
    let mut sandbox = run(Config { watchdog, ..dir.named("watched") }, fed);
    runs(&sandbox);
    let halted = hold(&dir, "watched").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    stands(&sandbox);
    drop(halted);
    runs(&sandbox);
    let event = sandbox.wait(Some(Duration::from_millis(600)), &mut || false).unwrap();
    assert!(matches!(event, None | Some(Event::Kick)), "{event:?}");
}

#[test]
fn what_job_control_stopped_stays_stopped() {
    let dir = Dir::new();
    let sandbox = run(dir.named("job"), counting);
    runs(&sandbox);
    let remote = pid("job", "remote");
    kill(remote, Signal::STOP);
    until("it is stopped", || state(remote).is_some_and(|state| matches!(state, 't' | 'T')));
    let halted = hold(&dir, "job").unwrap();
    assert!(halted.pc().is_some());
    drop(halted);
    stands(&sandbox);
    kill(remote, Signal::CONT);
    runs(&sandbox);
}

#[test]
fn one_that_was_not_started_is_refused() {
    let dir = Dir::new();
    let mut sandbox = Sandbox::new(dir.named("early")).unwrap();
    refused(hold(&dir, "early"), "it has not been started");
    prepare(&mut sandbox);
    refused(hold(&dir, "early"), "it has not been started");
    let boot = Boot { entry: DeviceAddr(TEXT), table: None };
    sandbox.load(DeviceAddr(TEXT), &counting(0).finish()).unwrap();
    sandbox.start(&boot).unwrap();
    assert!(hold(&dir, "early").is_ok());
}

#[test]
fn its_own_main_side_halts_it_and_lets_it_run_on() {
    let dir = Dir::new();
    let mut sandbox = run(dir.named("own"), counting);
    for _ in 0..3 {
        runs(&sandbox);
        let standing = sandbox.halt().unwrap();
        assert!(standing.pc.is_some() && standing.registers.is_some());
        stands(&sandbox);
        sandbox.resume().unwrap();
    }
    runs(&sandbox);
    let error = sandbox.resume().unwrap_err().to_string();
    assert!(error.contains("not halted"), "{error}");
    sandbox.stop().unwrap();
    assert!(sandbox.halt().is_err(), "it does not run");
}
