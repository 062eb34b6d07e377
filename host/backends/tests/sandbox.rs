//! The sandbox with willing firmware: it starts, rings, sleeps, ends, and starts again.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod bench;

use std::time::{Duration, Instant};

use bench::code::nr;
use bench::*;
use rustix::event::{PollFd, PollFlags, poll};
use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_mem::{DeviceAddr, MapError};
use sidecore_remoteproc::{Access, Backend, BackendError, Boot, Doorbell, Event};
use sidecore_wire::sandbox as layout;

const GO: u64 = DATA + 0x100;
const SEEN: u64 = DATA + 0x104;
const ASLEEP: u64 = DATA + 0x108;

#[test]
fn firmware_exits_with_its_code_and_starts_again() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| Code::new().increment(DATA).exit(42));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 42 });
    for code in 0..5 {
        sandbox.stop().unwrap();
        start(&mut sandbox, |_| Code::new().increment(DATA).exit(code));
        assert_eq!(end(&mut sandbox), Event::Exited { code: code as i32 });
    }
    assert_eq!(load32(&sandbox, DATA), 6, "memory is kept from run to run");
    sandbox.unprepare();
    prepare(&mut sandbox);
    assert_eq!(load32(&sandbox, DATA), 0, "and fresh after `prepare`");
    start(&mut sandbox, |_| Code::new().exit(255));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 255 });
}

#[test]
fn a_running_remote_is_stopped_at_once_and_starts_again() {
    let dir = Dir::new();
    let forever = |_| {
        let code = Code::new().store(SEEN, 1);
        let again = code.here();
        code.increment(DATA).jump(again)
    };
    let mut sandbox = run(dir.config(), forever);
    for _ in 0..3 {
        until("it runs", || load32(&sandbox, SEEN) == 1);
        sandbox.stop().unwrap();
        let count = load32(&sandbox, DATA);
        assert_eq!(processes(sandbox.name()).len(), 1, "the warden alone");
        assert_eq!(load32(&sandbox, DATA), count);
        store32(&sandbox, SEEN, 0);
        start(&mut sandbox, forever);
    }
}

#[test]
fn firmware_begins_with_the_hand_over_page_a_stack_and_nothing_else() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| Code::new().dump(DATA).exit(0));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
    let page = sandbox.memories().resolve(DeviceAddr(page(&sandbox)), layout::SIZE).unwrap();
    let hand_over = layout::HandOver::parse(&page.read_array(0).unwrap()).unwrap();
    assert_eq!((hand_over.table_da, hand_over.table_len), (DATA, 0x100));
    assert_eq!((hand_over.doorbell_in, hand_over.doorbell_out), (3, 4));
    assert_eq!((hand_over.stack_size, hand_over.memories_count), (256 << 10, 2));
    assert_eq!(hand_over.cpu_count, sidecore_os::cpu_count());
    let stack = sandbox.memories().windows().last().unwrap().clone();
    assert_eq!(hand_over.stack_top, stack.start.0 + stack.region.len() as u64);

    let dumped = sandbox.memories().resolve(DeviceAddr(DATA), 256).unwrap();
    let registers: Vec<u64> = (0..16).map(|n| dumped.load(8 * n).unwrap()).collect();
    let (stack_pointer, argument) = (registers[4], registers[7]);
    assert_eq!(argument, sandbox.memories().windows().nth(2).unwrap().start.0);
    assert_eq!(stack_pointer, hand_over.stack_top - 8, "as after a call");
    assert_eq!(stack_pointer % 16, 8);
    assert!(
        registers.iter().enumerate().all(|(n, value)| matches!(n, 4 | 7) || *value == 0),
        "{registers:x?}"
    );
    assert_eq!(dumped.load::<u64>(128).unwrap() & 0x400, 0, "direction flag");
    assert_eq!(dumped.read_array::<16>(136), Ok([0; 16]), "vector registers");
}

#[test]
fn the_time_stamp_counter_has_the_frequency_that_firmware_is_told() {
    let dir = Dir::new();
    let sandbox = run(dir.config(), |_| Code::new().exit(0));
    let told: u64 =
        sandbox.memories().resolve(DeviceAddr(page(&sandbox)), 64).unwrap().load(layout::TICK_HZ).unwrap();
    let ticks = sidecore_os::Ticks::begin();
    std::thread::sleep(Duration::from_millis(20));
    let measured = ticks.frequency();
    assert!(told.abs_diff(measured) <= measured / 100, "told {told}, measured {measured}");
}

/// Waits for its doorbell as the contract says, counts what it was rung for, and rings back.
fn echo(page: u64) -> Code {
    let (remote_asleep, host_asleep) =
        (page + layout::REMOTE_ASLEEP as u64, page + layout::HOST_ASLEEP as u64);
    // The word that a write to a doorbell writes.
    let code = Code::new().store(DATA + 0x200, 1);
    let again = code.here();
    code.store(remote_asleep, 1)
        .fence()
        .increment(ASLEEP)
        .call(nr::READ, [3, DATA + 0x210, 8])
        .store(remote_asleep, 0)
        .copy(GO, SEEN)
        .fence()
        .unless_zero(host_asleep, |code| code.call(nr::WRITE, [4, DATA + 0x200, 8]))
        .jump(again)
}

#[test]
fn doorbells_wake_both_sides() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), echo);
    let bell = sandbox.doorbell();
    for round in 1..=100 {
        until("the remote sleeps", || load32(&sandbox, ASLEEP) == round);
        store32(&sandbox, GO, round);
        sidecore_mem::sync::full_fence();
        bell.ring(0);
        // `ready` looks at what the ring would hold; by the protocol nothing is missed between it and the sleep.
        let seen = sandbox.memories().resolve(DeviceAddr(SEEN), 4).unwrap().word::<u32>(0).unwrap();
        while seen.load() != round {
            let came = sandbox.wait(Some(PATIENCE), &mut || seen.load() == round);
            assert_eq!(came, Ok(Some(Event::Kick)));
        }
    }
}

#[test]
fn a_remote_that_is_awake_is_not_rung() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| {
        let code = Code::new();
        let again = code.here();
        // Once told to, looks whether there is a ring; a read would sleep for ever if there is none.
        code.jump_if_zero(GO, again)
            .store(DATA + 0x200, 3)
            .store(DATA + 0x204, 1) // struct pollfd { fd: 3, events: POLLIN }
            .call(nr::POLL, [DATA + 0x200, 1, 0])
            .unless_zero(DATA + 0x204, |code| code.copy(DATA + 0x204, SEEN))
            .exit(0)
    });
    sandbox.doorbell().ring(0);
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
    assert_eq!(load32(&sandbox, SEEN), 1, "`events` alone, no `revents`");
}

#[test]
fn an_armed_sandbox_can_be_polled() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), echo);
    let readable = |sandbox: &Sandbox, timeout: Duration| {
        let timeout = rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: 0 };
        poll(&mut [PollFd::new(sandbox, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    until("the remote sleeps", || load32(&sandbox, ASLEEP) == 1);
    assert!(!readable(&sandbox, Duration::ZERO));
    sandbox.arm();
    sandbox.doorbell().ring(0);
    assert!(readable(&sandbox, PATIENCE));
    assert_eq!(sandbox.wait(Some(Duration::ZERO), &mut || false), Ok(Some(Event::Kick)));
    assert!(!readable(&sandbox, Duration::ZERO));
    kill(pid(sandbox.name(), "remote"), rustix::process::Signal::KILL);
    assert!(readable(&sandbox, PATIENCE));
    assert!(matches!(sandbox.wait(Some(Duration::ZERO), &mut || false), Ok(Some(Event::Crashed(_)))));
}

#[test]
fn another_thread_ends_a_wait() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| Code::new().call(nr::READ, [3, DATA, 8]).exit(0));
    let waker = sandbox.waker().unwrap();
    // Nobody waits: the next wait ends.
    waker();
    assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Kick)));
    assert_eq!(sandbox.wait(Some(Duration::from_millis(20)), &mut || false), Ok(None));
    let thread = std::thread::spawn(move || waker());
    assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Kick)));
    thread.join().unwrap();
}

#[test]
fn what_was_rung_for_comes_before_the_end() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        let code = Code::new().store(DATA + 0x200, 1);
        let again = code.here();
        code.jump_if_zero(page + layout::HOST_ASLEEP as u64, again)
            .call(nr::WRITE, [4, DATA + 0x200, 8])
            .exit(5)
    });
    assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Kick)));
    assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Exited { code: 5 })));
}

#[test]
fn waiting_ends_with_its_time_and_asks_once_what_is_ready() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| Code::new().call(nr::READ, [3, DATA, 8]).exit(0));
    let (began, mut asked) = (Instant::now(), 0);
    let mut ready = || {
        asked += 1;
        false
    };
    assert_eq!(sandbox.wait(Some(Duration::from_millis(30)), &mut ready), Ok(None));
    assert!(began.elapsed() >= Duration::from_millis(30));
    assert_eq!(asked, 1);
    assert_eq!(sandbox.wait(None, &mut || true), Ok(Some(Event::Kick)));
}

#[test]
fn calls_in_the_wrong_order_are_refused() {
    let dir = Dir::new();
    let boot = Boot { entry: DeviceAddr(TEXT), table: None };
    let mut sandbox = Sandbox::new(dir.config()).unwrap();
    let wrong = |operation, state| Err(BackendError::WrongState { operation, state });
    assert_eq!(sandbox.start(&boot), wrong("start", "offline"));
    assert_eq!(sandbox.stop(), wrong("stop", "offline"));
    assert_eq!(sandbox.detach(), wrong("detach", "offline"));
    assert_eq!(sandbox.attach(), wrong("attach", "offline"));
    assert_eq!(sandbox.wait(None, &mut || true).map(drop), wrong("wait", "offline"));
    sandbox.doorbell().ring(0);
    sandbox.unprepare();
    prepare(&mut sandbox);
    assert_eq!(sandbox.prepare(&mut []), wrong("prepare", "prepared"));
    assert_eq!(sandbox.stop(), wrong("stop", "prepared"));
    start(&mut sandbox, |_| Code::new().exit(0));
    assert_eq!(sandbox.start(&boot), wrong("start", "running"));
    assert_eq!(sandbox.prepare(&mut []), wrong("prepare", "running"));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
    assert_eq!(sandbox.wait(None, &mut || true).map(drop), wrong("wait", "halted"));
    assert_eq!(sandbox.start(&boot), wrong("start", "halted"));
    sandbox.unprepare();
    assert_eq!(sandbox.start(&boot), wrong("start", "offline"));
}

#[test]
fn memories_that_cannot_be_had_leave_nothing_behind() {
    let dir = Dir::new();
    let config = Config { memory_limit: 1 << 20, ..dir.config() };
    let mut sandbox = Sandbox::new(config).unwrap();
    let mut refused = |memories: &mut [_]| sandbox.prepare(memories).unwrap_err();
    let rw = Access::ReadWrite;
    let overlap =
        refused(&mut [memory("a", Some(DATA), 0x1000, rw), memory("b", Some(DATA + 0xfff), 0x1000, rw)]);
    assert!(
        matches!(overlap, BackendError::Memory { name, error: MapError::Overlaps { .. } } if name == "b")
    );
    let large = refused(&mut [memory("a", None, 1 << 19, rw), memory("b", None, 1 << 19, rw)]);
    assert!(large.to_string().contains("limit of 0x100000 bytes"), "{large}");
    let both = refused(&mut [memory("both", Some(DATA), 16, Access::ReadWriteExecute)]);
    assert!(both.to_string().contains("\"both\""), "{both}");
    let mut placed = [memory("a", None, 1, rw), memory("b", Some(DATA), 1, rw)];
    sandbox.prepare(&mut placed).unwrap();
    assert_eq!(placed[0].at, Some(DeviceAddr(0x2000_0000)));
    let whole = sandbox.memories().resolve(DeviceAddr(0x2000_0000), 4096).unwrap();
    assert_eq!(whole.read_array::<4096>(0), Ok([0; 4096]), "zeroed, to the end of its page");
    sandbox.unprepare();
    assert_eq!(sandbox.memories().windows().count(), 0);
    sandbox.prepare(&mut []).unwrap();
}

#[test]
fn an_entry_outside_of_the_text_is_a_crash_of_the_firmware() {
    let dir = Dir::new();
    let mut sandbox = Sandbox::new(dir.config()).unwrap();
    prepare(&mut sandbox);
    sandbox.start(&Boot { entry: DeviceAddr(0xffff_ffff_0000), table: None }).unwrap();
    assert_eq!(crash(&mut sandbox).signal, 11);
}

#[test]
fn a_warden_that_cannot_be_started_is_an_error_that_names_it() {
    let dir = Dir::new();
    let start = |warden: &str| Sandbox::new(Config { warden: warden.into(), ..dir.config() }).err().unwrap();
    assert!(start("/nonexistent/warden").to_string().contains("/nonexistent/warden"));
    assert_eq!(dir.files(), [""; 0]);
    // One that is no warden is found out when it is spoken to.
    let mut sandbox = match Sandbox::new(Config { warden: "/bin/true".into(), ..dir.config() }) {
        Ok(sandbox) => sandbox,
        Err(error) => return assert!(matches!(error, BackendError::ExecutorLost { .. }), "{error}"),
    };
    let error = sandbox.prepare(&mut []).unwrap_err();
    assert_eq!(error.to_string(), "warden is gone: it ended with code 0");
    drop(sandbox);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn eight_remotes_run_at_once() {
    let dir = Dir::new();
    let mut all: Vec<_> = (0..8)
        .map(|number| {
            run(dir.named(&format!("core{number}")), |_| {
                let code = Code::new().store(SEEN, number + 1);
                let again = code.here();
                code.jump_if_zero(GO, again).exit(number)
            })
        })
        .collect();
    for (number, sandbox) in all.iter().enumerate() {
        until("it runs", || load32(sandbox, SEEN) == number as u32 + 1);
    }
    let mut files = dir.files();
    files.sort();
    assert_eq!(files, sockets(["core0", "core1", "core2", "core3", "core4", "core5", "core6", "core7"]));
    // One that crashes harms no other.
    kill(pid("core3", "remote"), rustix::process::Signal::KILL);
    assert_eq!(crash(&mut all[3]).signal, 9);
    for (number, sandbox) in all.iter_mut().enumerate().filter(|(number, _)| *number != 3) {
        store32(sandbox, GO, 1);
        assert_eq!(end(sandbox), Event::Exited { code: number as i32 });
    }
    drop(all);
    assert_eq!(dir.files(), [""; 0]);
    assert!((0..8).all(|number| processes(&format!("core{number}")).is_empty()));
}

#[test]
fn nothing_is_left_in_the_main_process() {
    let dir = Dir::new();
    // Of all tests this alone runs in a process of its own, or descriptors come and go by others.
    if !in_own_process("nothing_is_left_in_the_main_process") {
        return;
    }
    let count = |what: &str| std::fs::read_dir(what).unwrap().count();
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("memfd:sidecore").count();
    drop(run(dir.config(), |_| Code::new().exit(0)));
    let before = (count("/proc/self/fd"), count("/proc/self/task"), mappings());
    for _ in 0..10 {
        let mut sandbox = run(dir.config(), |_| Code::new().exit(0));
        let (bell, region) =
            (sandbox.doorbell(), sandbox.memories().windows().next().unwrap().region.clone());
        assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
        drop(sandbox);
        // Handles that outlive it keep the memory, and no more.
        bell.ring(0);
        assert!(region.load::<u32>(0).is_ok());
    }
    assert_eq!((count("/proc/self/fd"), count("/proc/self/task"), mappings()), before);
    assert_eq!(before.2, 0);
    assert_eq!(zombies(), Vec::<i32>::new());
}
