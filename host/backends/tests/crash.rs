//! How a remote ends: every kind of crash told apart, with what is known of it.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod bench;

use std::time::Duration;

use bench::code::nr;
use bench::*;
use rustix::process::Signal;
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, CrashKind, Event};
use sidecore_wire::sandbox as layout;

/// `EM_X86_64`, and the size of its `user_regs_struct`.
const MACHINE: (u16, usize) = (62, 27 * 8);

/// A word by which the test tells the firmware to go on, and one by which that says how far it is.
const GO: u64 = DATA + 0x100;
const REACHED: u64 = DATA + 0x104;

fn fault(address: u64) -> CrashKind {
    CrashKind::Fault { address: DeviceAddr(address) }
}

/// Runs the code after a few bytes of harmless one and expects a crash at its beginning, of this kind and signal.
fn crashes(kind: CrashKind, signal: u8, code: impl FnOnce(Code) -> Code) -> sidecore_remoteproc::Crash {
    let dir = Dir::new();
    let prologue = Code::new().store(DATA, 0x600d);
    let at = prologue.len() as u64;
    let mut sandbox = run(dir.config(), |_| code(prologue));
    let crash = crash(&mut sandbox);
    assert_eq!((crash.kind, crash.signal), (kind, signal), "{crash:?}");
    assert_eq!(load32(&sandbox, DATA), 0x600d, "memory stays readable");
    let registers = crash.registers.as_ref().expect("registers");
    assert_eq!((registers.machine, registers.bytes.len()), MACHINE);
    let pc = crash.pc.unwrap().0;
    assert_eq!(u64::from_le_bytes(registers.bytes[128..136].try_into().unwrap()), pc);
    assert!((TEXT + at..TEXT + at + 64).contains(&pc) || kind == fault(pc), "pc {pc:#x}");
    crash
}

#[test]
fn a_bad_access_is_a_fault_with_its_address() {
    crashes(fault(0), 11, |code| code.read_far(0));
    crashes(fault(0xdead_0000), 11, |code| code.read_far(0xdead_0000));
    crashes(fault(0x7fff_ffff_f000), 11, |code| code.read_far(0x7fff_ffff_f000));
}

#[test]
fn text_cannot_be_written_and_data_cannot_be_executed() {
    crashes(fault(TEXT), 11, |code| code.store(TEXT, 0));
    let crash = crashes(fault(DATA), 11, |code| code.go_to(DATA));
    assert_eq!(crash.pc, Some(DeviceAddr(DATA)));
}

#[test]
fn the_stack_has_guards() {
    let dir = Dir::new();
    for below in [true, false] {
        let mut sandbox = sidecore_backends::sandbox::Sandbox::new(dir.config()).unwrap();
        prepare(&mut sandbox);
        let stack = sandbox.memories().windows().last().unwrap().clone();
        assert_eq!(stack.region.len(), 256 << 10);
        let at = if below { stack.start.0 - 1 } else { stack.start.0 + stack.region.len() as u64 };
        start(&mut sandbox, |_| Code::new().read_far(stack.start.0).read_far(at));
        assert_eq!(crash(&mut sandbox).kind, fault(at));
    }
}

#[test]
fn an_address_that_cannot_be_has_a_signal_alone() {
    // The processor does not tell it.
    crashes(CrashKind::Other, 11, |code| code.read_far(0xdead_beef_dead_beef));
}

#[test]
fn bad_instructions_are_told_from_bad_accesses() {
    crashes(CrashKind::IllegalInstruction, 4, Code::trap);
    crashes(CrashKind::IllegalInstruction, 4, Code::privileged);
}

#[test]
fn a_division_by_zero_has_its_signal() {
    crashes(CrashKind::Other, 8, |code| code.raw(&[0x31, 0xc9, 0xf7, 0xf1])); // xor ecx, ecx; div ecx
}

#[test]
fn a_panic_is_an_abort_that_alleges_its_reason() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        let mut code = Code::new();
        for (index, bytes) in b"m.rs:7: \x1b[31mno\0\0".as_chunks::<4>().0.iter().enumerate() {
            code =
                code.store(page + layout::PANIC_TEXT as u64 + 4 * index as u64, u32::from_le_bytes(*bytes));
        }
        code.store(page + layout::PANIC_LEN as u64, 15).trap()
    });
    let crash = crash(&mut sandbox);
    assert_eq!((crash.kind, crash.signal), (CrashKind::Abort, 6));
    assert_eq!(crash.allegation.as_deref(), Some("m.rs:7: \\u{1b}[31mno"));
    assert!(crash.pc.is_some() && crash.registers.is_some());
    // The record of one run is not that of the next.
    sandbox.stop().unwrap();
    start(&mut sandbox, |_| Code::new().trap());
    let crash = bench::crash(&mut sandbox);
    assert_eq!((crash.kind, crash.allegation), (CrashKind::IllegalInstruction, None));
}

#[test]
fn a_forbidden_call_is_named_by_its_number() {
    let forbidden = |number, call: u32, arguments| {
        crashes(CrashKind::ForbiddenCall { number }, 31, |code| code.call(call, arguments));
    };
    forbidden(39, nr::GETPID, [0; 3]);
    forbidden(257, nr::OPENAT, [0, TEXT, 0]);
    // Not these descriptors, not in this direction.
    forbidden(1, nr::WRITE, [1, TEXT, 1]);
    forbidden(1, nr::WRITE, [3, TEXT, 8]);
    forbidden(1, nr::WRITE, [6, TEXT, 8]);
    forbidden(0, nr::READ, [0, DATA, 8]);
    forbidden(3, nr::CLOSE, [3, 0, 0]);
    // FUTEX_LOCK_PI
    forbidden(202, nr::FUTEX, [DATA, 6, 0]);
    // The x32 numbers of the same instruction set.
    forbidden(0x4000_0027, 0x4000_0000 | nr::GETPID, [0; 3]);
}

#[test]
fn calls_of_another_instruction_set_kill() {
    let dir = Dir::new();
    // mov eax, 20; int 0x80: i386's getpid
    let mut sandbox = run(dir.config(), |_| Code::new().raw(&[0xb8, 20, 0, 0, 0, 0xcd, 0x80]).exit(0));
    let crash = crash(&mut sandbox);
    assert_eq!(crash.kind, CrashKind::Other);
    // A kernel without that instruction set answers with a fault.
    assert!([31, 11].contains(&crash.signal), "{crash:?}");
}

#[test]
fn silence_for_a_watchdog_period_is_a_hang() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        let code = Code::new().store(page + layout::WATCHDOG_PERIOD_MS as u64, 100);
        let again = code.here();
        code.jump(again)
    });
    let crash = crash(&mut sandbox);
    assert_eq!((crash.kind, crash.signal), (CrashKind::Hang, 9));
    assert!((TEXT..TEXT + 64).contains(&crash.pc.unwrap().0), "{crash:?}");
    assert_eq!(crash.registers.unwrap().bytes.len(), MACHINE.1);
    assert_eq!(processes(sandbox.name()).len(), 1, "the warden alone");
}

#[test]
fn a_wait_that_nobody_was_told_of_is_a_hang() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        Code::new().store(page + layout::WATCHDOG_PERIOD_MS as u64, 100).call(nr::READ, [3, DATA, 8]).exit(0)
    });
    assert_eq!(crash(&mut sandbox).kind, CrashKind::Hang);
}

#[test]
fn a_watchdog_that_is_imposed_needs_no_arming() {
    let dir = Dir::new();
    let config =
        sidecore_backends::sandbox::Config { watchdog: Some(Duration::from_millis(80)), ..dir.config() };
    let mut sandbox = run(config, |_| {
        let code = Code::new();
        let again = code.here();
        code.jump(again)
    });
    assert_eq!(crash(&mut sandbox).kind, CrashKind::Hang);
}

#[test]
fn a_remote_that_feeds_its_watchdog_or_waits_does_not_hang() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        let code = Code::new().store(page + layout::WATCHDOG_PERIOD_MS as u64, 50);
        let again = code.here();
        code.increment(page + layout::WATCHDOG_COUNT as u64)
            .jump_if_zero(GO, again)
            .store(page + layout::REMOTE_ASLEEP as u64, 1)
            .call(nr::READ, [3, DATA, 8])
            .exit(0)
    });
    let quiet = |sandbox: &mut sidecore_backends::sandbox::Sandbox| {
        assert_eq!(sandbox.wait(Some(Duration::from_millis(400)), &mut || false), Ok(None));
    };
    quiet(&mut sandbox);
    store32(&sandbox, GO, 1);
    quiet(&mut sandbox);
    sidecore_remoteproc::Doorbell::ring(&sandbox.doorbell(), 0);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
}

/// Says that it is there, then works until it is told to exit, under a watchdog that it feeds.
fn working(page: u64) -> Code {
    let code = Code::new().store(page + layout::WATCHDOG_PERIOD_MS as u64, 100).store(REACHED, 1);
    let again = code.here();
    code.increment(page + layout::WATCHDOG_COUNT as u64).jump_if_zero(GO, again).exit(3)
}

#[test]
fn a_signal_from_outside_is_no_crash_of_the_firmware() {
    let dir = Dir::new();
    for (signal, number) in [(Signal::KILL, 9), (Signal::TERM, 15), (Signal::SEGV, 11), (Signal::ILL, 4)] {
        let mut sandbox = run(dir.config(), working);
        kill(pid(sandbox.name(), "remote"), signal);
        let crash = crash(&mut sandbox);
        assert_eq!((crash.kind, crash.signal), (CrashKind::Killed, number));
        sandbox.stop().unwrap();
        start(&mut sandbox, |_| Code::new().exit(0));
        assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
    }
}

#[test]
fn job_control_and_ignored_signals_change_nothing() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), working);
    until("the firmware runs", || load32(&sandbox, REACHED) == 1);
    let remote = pid(sandbox.name(), "remote");
    let count = |sandbox: &_| load32(sandbox, page(sandbox) + layout::WATCHDOG_COUNT as u64);
    for _ in 0..2 {
        kill(remote, Signal::STOP);
        until("it is stopped", || matches!(state(remote), Some('t' | 'T')));
        let before = count(&sandbox);
        // Longer than the firmware's watchdog allows.
        assert_eq!(sandbox.wait(Some(Duration::from_millis(500)), &mut || false), Ok(None));
        assert_eq!(count(&sandbox), before, "it stays stopped");
        kill(remote, Signal::CONT);
        until("it goes on", || count(&sandbox) != before);
    }
    // The terminal's kinds of stop do not work in a session without one.
    for signal in [Signal::WINCH, Signal::CONT, Signal::URG, Signal::TSTP, Signal::TTIN] {
        kill(remote, signal);
        let before = count(&sandbox);
        until("it goes on", || count(&sandbox) != before);
    }
    assert_eq!(sandbox.wait(Some(Duration::ZERO), &mut || false), Ok(None));
    // And a stopped one can be stopped for good.
    kill(remote, Signal::STOP);
    sandbox.stop().unwrap();
    assert_eq!(state(remote), None);
    start(&mut sandbox, working);
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 3 });
}

#[test]
fn a_crash_leaves_no_core_file() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| {
        let code = Code::new().store(REACHED, 1);
        let again = code.here();
        code.jump_if_zero(GO, again).read_far(0)
    });
    until("the firmware runs", || load32(&sandbox, REACHED) == 1);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid(sandbox.name(), "remote"))).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    store32(&sandbox, GO, 1);
    assert_eq!(crash(&mut sandbox).kind, fault(0));
}
