//! Remotes that come to their end, and those that do what they should not.

use std::time::{Duration, Instant};

use sidecore_backends::qemu::Config;
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, BackendError, Boot, CrashKind, Doorbell, Event};

use crate::bench::{config, crash, end, load, run, run_with, shared, until};
use crate::tests;
use crate::thumb::{DATA, Firmware, IMAGE, INTSTATUS, PAGE, SHARED, UART};

tests! {
    a_firmware_that_says_it_ended_does_nothing_more,
    an_exit_is_told_with_its_code,
    a_panic_is_told_with_its_record_and_registers,
    a_fault_is_told_with_its_address,
    a_core_that_locks_up_is_seen,
    a_firmware_that_resets_its_processor_is_seen,
    a_firmware_that_computes_without_end_bites_its_watchdog,
    a_firmware_that_sleeps_is_not_hung,
    nonsense_in_the_mailbox_is_kicks_at_most,
    an_image_that_the_core_would_not_find_is_refused,
    after_any_end_the_remote_can_be_started_again,
    calls_in_the_wrong_order_are_refused,
}

fn an_exit_is_told_with_its_code() {
    let mut qemu = run(&Firmware::at(IMAGE).up().store(PAGE + 204, 42).state(2).sleep());
    assert_eq!(end(&mut qemu), Event::Exited { code: 42 });
    assert!(matches!(
        qemu.wait(None, &mut || false),
        Err(BackendError::WrongState { operation: "wait", state: "halted" })
    ));
}

fn a_firmware_that_says_it_ended_does_nothing_more() {
    let firmware = Firmware::at(IMAGE).up().state(2);
    let spot = firmware.here();
    let mut qemu = run(&firmware.increment(SHARED).jump(spot));
    assert_eq!(end(&mut qemu), Event::Exited { code: 0 });
    let count = shared(&qemu, 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(shared(&qemu, 0), count);
}

fn a_panic_is_told_with_its_record_and_registers() {
    let text = u32::from_le_bytes(*b"a.rs");
    let firmware =
        Firmware::at(IMAGE).up().store(PAGE + 260, text).store(PAGE + 256, 4).state(3).constant(7, 77);
    let spot = firmware.here();
    let mut qemu = run(&firmware.jump(spot));
    let crash = crash(&mut qemu);
    assert_eq!((crash.kind, crash.signal), (CrashKind::Abort, 6));
    assert_eq!(crash.allegation.as_deref(), Some("a.rs"));
    let registers = crash.registers.unwrap();
    assert_eq!((registers.machine, registers.bytes.len()), (40, 72));
    assert!((IMAGE..IMAGE + 0x1000).contains(&crash.pc.unwrap().0), "{:?}", crash.pc);
}

fn a_fault_is_told_with_its_address() {
    // What an SDK's handler writes.
    let fault = PAGE + 2080;
    let firmware = Firmware::at(IMAGE)
        .up()
        .store(fault, 0x2100_0abc)
        .store(fault + 24, 0x8200)
        .store(fault + 32, 0x5000_0000)
        .store(fault + 40, 1);
    let mut qemu = run(&firmware.state(3).sleep());
    let crash = crash(&mut qemu);
    assert_eq!(crash.kind, CrashKind::Fault { address: DeviceAddr(0x5000_0000) });
    assert_eq!((crash.signal, crash.pc), (11, Some(DeviceAddr(0x2100_0abc))));
}

fn a_core_that_locks_up_is_seen() {
    let firmware = Firmware::at(IMAGE).no_vector(3).up().undefined();
    let mut qemu = run(&firmware);
    let crash = crash(&mut qemu);
    assert_eq!((crash.kind, crash.signal), (CrashKind::LockUp, 6));
    assert!(crash.pc.is_some());
}

fn a_firmware_that_resets_its_processor_is_seen() {
    let mut qemu = run(&Firmware::at(IMAGE).up().store(0xe000_ed0c, 0x05fa_0004).sleep());
    assert_eq!(crash(&mut qemu).kind, CrashKind::Reset);
}

fn a_firmware_that_computes_without_end_bites_its_watchdog() {
    // The promise is made, and nobody rings for it, when the main side sleeps already.
    let firmware = Firmware::at(IMAGE).up();
    let idle = firmware.here();
    let firmware =
        firmware.sleep().jump(idle).vector(16 + 2).store(UART + INTSTATUS, 2).store(PAGE + 192, 100);
    let spot = firmware.here();
    let mut qemu = run(&firmware.jump(spot));
    qemu.doorbell().ring(0);
    let crash = crash(&mut qemu);
    assert_eq!((crash.kind, crash.signal), (CrashKind::Hang, 9));
    assert!((IMAGE..IMAGE + 0x1000).contains(&crash.pc.unwrap().0), "{:?}", crash.pc);
}

fn a_firmware_that_sleeps_is_not_hung() {
    let firmware = Firmware::at(IMAGE).up();
    let spot = firmware.here();
    let watchdog = Some(Duration::from_millis(100));
    let mut qemu = run_with(Config { watchdog, ..config() }, &firmware.sleep().jump(spot));
    let deadline = Instant::now() + Duration::from_millis(500);
    while Instant::now() < deadline {
        let event = qemu.wait(Some(Duration::from_millis(100)), &mut || false).unwrap();
        assert!(matches!(event, None | Some(Event::Kick)), "{event:?}");
    }
}

fn nonsense_in_the_mailbox_is_kicks_at_most() {
    // All bytes again and again, the page says nothing.
    let firmware = Firmware::at(IMAGE).up();
    let begin = firmware.here();
    let firmware = firmware.copy(SHARED, UART + DATA).increment(SHARED).until(SHARED, 0);
    let firmware = firmware.copy(SHARED, UART + DATA).increment(SHARED).jump(begin).vector(16 + 2);
    let firmware = firmware.store(UART + INTSTATUS, 2).copy(UART + DATA, SHARED + 4).give_back();
    let mut qemu = run(&firmware);
    until(&mut qemu, "it floods", |qemu| shared(qemu, 0) > 100_000);
    for number in 0..1000 {
        qemu.doorbell().ring(number);
    }
    for _ in 0..100 {
        assert_eq!(qemu.wait(Some(Duration::from_secs(10)), &mut || false), Ok(Some(Event::Kick)));
    }
    qemu.stop().unwrap();
}

fn an_image_that_the_core_would_not_find_is_refused() {
    let (mut qemu, _) = load(config(), &Firmware::at(IMAGE).sleep(), IMAGE);
    let error = qemu.start(&Boot { entry: DeviceAddr(0x2100_1000), table: None }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("at 0x21000000 is 0x21000081"), "{text}");
    assert!(qemu.pid().is_none());
}

fn after_any_end_the_remote_can_be_started_again() {
    let firmware = Firmware::at(IMAGE).no_vector(3).increment(SHARED).up().undefined();
    let (mut qemu, boot) = load(config(), &firmware, IMAGE);
    for count in 1..=3 {
        qemu.start(&boot).unwrap();
        assert_eq!(crash(&mut qemu).kind, CrashKind::LockUp);
        qemu.stop().unwrap();
        assert_eq!(shared(&qemu, 0), count);
    }
}

fn calls_in_the_wrong_order_are_refused() {
    let (mut qemu, boot) = load(config(), &Firmware::at(IMAGE).up().sleep(), IMAGE);
    let wrong =
        |result: Result<(), BackendError>| assert!(matches!(result, Err(BackendError::WrongState { .. })));
    wrong(qemu.prepare(&mut []));
    wrong(qemu.stop());
    wrong(qemu.pause());
    wrong(qemu.wait(None, &mut || false).map(drop));
    qemu.start(&boot).unwrap();
    wrong(qemu.start(&boot));
    wrong(qemu.load(DeviceAddr(IMAGE), &[0]));
    wrong(qemu.resume());
    qemu.unprepare();
    wrong(qemu.start(&boot));
}
