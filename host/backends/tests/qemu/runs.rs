//! Remotes that do what they should.

use std::time::Duration;

use sidecore_backends::qemu::{Board, Config, Start};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, Doorbell};

use crate::bench::{config, end, load, run, shared, until};
use crate::tests;
use crate::thumb::{CTRL, DATA, Firmware, IMAGE, INTSTATUS, SHARED, UART};

tests! {
    bells_ring_both_ways_by_interrupt,
    bells_are_heard_by_firmware_that_opens_its_mailbox_late_and_in_silence,
    firmware_finds_the_board_page,
    memories_that_cannot_be_mapped_are_loaded_through_the_debug_port,
    a_paused_core_does_nothing_and_hears_its_bell_later,
    memory_is_kept_over_a_stop_and_a_reset,
    the_boards_own_console_is_heard,
    a_held_core_waits_for_its_debugger,
    a_board_is_all_data,
}

/// Counts its bells at the beginning of the shared memory and rings back with the same byte.
fn echo(base: u64) -> Firmware {
    let firmware = Firmware::at(base).up();
    let idle = firmware.here();
    firmware
        .sleep()
        .jump(idle)
        .vector(16 + 2)
        .store(UART + INTSTATUS, 2)
        .copy(UART + DATA, SHARED + 4)
        .increment(SHARED)
        .copy(SHARED + 4, UART + DATA)
        .give_back()
}

fn bells_ring_both_ways_by_interrupt() {
    let mut qemu = run(&echo(IMAGE));
    let doorbell = qemu.doorbell();
    for count in 1..=100 {
        doorbell.ring(count);
        until(&mut qemu, "the bell is heard", |qemu| shared(qemu, 0) == count);
        assert_eq!(shared(&qemu, 4), count);
    }
    qemu.stop().unwrap();
    doorbell.ring(1);
}

fn bells_are_heard_by_firmware_that_opens_its_mailbox_late_and_in_silence() {
    // The flag is a word of the memory that both sides have.
    let firmware = Firmware::at(IMAGE).until(SHARED + 8, 0).store(UART + 16, 16).store(UART + CTRL, 0b1011);
    let firmware = firmware.store(0xe000_e100, 1 << 2);
    let idle = firmware.here();
    let firmware = firmware.sleep().jump(idle).vector(16 + 2).store(UART + INTSTATUS, 2);
    let mut qemu = run(&firmware.copy(UART + DATA, SHARED + 4).increment(SHARED).give_back());
    qemu.doorbell().ring(5);
    qemu.wait(Some(Duration::from_millis(300)), &mut || false).unwrap();
    let flag = qemu.memories().resolve(DeviceAddr((SHARED + 8).into()), 4).unwrap();
    flag.store(0, 1_u32).unwrap();
    until(&mut qemu, "the bell of before is heard", |qemu| shared(qemu, 0) == 1);
    assert_eq!(shared(&qemu, 4), 5);
}

fn firmware_finds_the_board_page() {
    let page = crate::thumb::PAGE;
    let firmware =
        Firmware::at(IMAGE).copy(page, SHARED).copy(page + 1048, SHARED + 4).up().store(SHARED + 8, 1);
    let firmware = firmware.sleep();
    let mut qemu = run(&firmware);
    until(&mut qemu, "it looked at the page", |qemu| shared(qemu, 8) == 1);
    assert_eq!(shared(&qemu, 0), sidecore_wire::sandbox::MAGIC_VALUE);
    assert_eq!(shared(&qemu, 4), SHARED);
}

fn memories_that_cannot_be_mapped_are_loaded_through_the_debug_port() {
    let mut board = Board::find("mps2-an386").unwrap();
    board.emulator.arguments.clear();
    board.start = Start::Vectors(0);
    let (mut qemu, boot) = load(Config::new(board), &echo(0), 0);
    assert!(qemu.memories().resolve(DeviceAddr(0), 4).is_err());
    for _ in 0..2 {
        qemu.start(&boot).unwrap();
        let before = shared(&qemu, 0);
        qemu.doorbell().ring(7);
        until(&mut qemu, "the bell is heard", |qemu| shared(qemu, 0) == before + 1);
        qemu.stop().unwrap();
    }
}

fn a_paused_core_does_nothing_and_hears_its_bell_later() {
    let mut qemu = run(&echo(IMAGE));
    qemu.doorbell().ring(1);
    until(&mut qemu, "it is up", |qemu| shared(qemu, 0) == 1);
    qemu.pause().unwrap();
    qemu.doorbell().ring(2);
    // What comes is a bell of before.
    while qemu.wait(Some(Duration::from_millis(50)), &mut || false).unwrap().is_some() {}
    assert_eq!(shared(&qemu, 0), 1);
    qemu.resume().unwrap();
    until(&mut qemu, "it goes on", |qemu| shared(qemu, 0) == 2);
}

fn memory_is_kept_over_a_stop_and_a_reset() {
    let counts = Firmware::at(IMAGE).increment(SHARED).up().sleep();
    let (mut qemu, boot) = load(config(), &counts, IMAGE);
    qemu.start(&boot).unwrap();
    until(&mut qemu, "the first start", |qemu| shared(qemu, 0) == 1);
    qemu.reset(&boot).unwrap();
    until(&mut qemu, "the reset", |qemu| shared(qemu, 0) == 2);
    qemu.stop().unwrap();
    assert_eq!(shared(&qemu, 0), 2);
    qemu.start(&boot).unwrap();
    until(&mut qemu, "the second start", |qemu| shared(qemu, 0) == 3);
    qemu.unprepare();
    assert!(qemu.memories().windows().next().is_none());
}

fn the_boards_own_console_is_heard() {
    let uart = 0x4000_4000;
    let firmware = Firmware::at(IMAGE).store(uart + 16, 16).store(uart + 8, 1).store(uart, b'h'.into());
    let mut qemu = run(&firmware.store(uart, b'i'.into()).up().sleep());
    let mut text = Vec::new();
    let heard = &mut text;
    let deadline = std::time::Instant::now() + crate::bench::PATIENCE;
    while heard.len() < 2 && std::time::Instant::now() < deadline {
        qemu.wait(Some(Duration::from_millis(1)), &mut || false).unwrap();
        heard.extend(qemu.take_console());
    }
    assert_eq!(text, b"hi");
}

fn a_held_core_waits_for_its_debugger() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let firmware = Firmware::at(IMAGE).store(SHARED, 1).up().sleep();
    let mut qemu = crate::bench::run_with(Config { held: true, ..config() }, &firmware);
    assert_eq!(qemu.wait(Some(Duration::from_millis(50)), &mut || false), Ok(None));
    assert_eq!(shared(&qemu, 0), 0);
    let mut debugger = UnixStream::from(qemu.take_debug_port().unwrap());
    assert!(qemu.take_debug_port().is_none());
    debugger.write_all(b"$?#3f").unwrap();
    let mut answer = [0; 64];
    let len = debugger.read(&mut answer).unwrap();
    assert!(answer[..len].starts_with(b"+"));
    debugger.write_all(b"+$c#63").unwrap();
    until(&mut qemu, "it runs", |qemu| shared(qemu, 0) == 1);
}

fn a_board_is_all_data() {
    let text = include_str!("../../boards/mps2-an386.toml");
    let text = text.replace("mps2-an386", "mps2-an500").replace("name = \"mps2-an500\"", "name = \"m7\"");
    // The an500 has its PSRAM elsewhere.
    let text = text.replace("0x2100_0000", "0x6000_0000").replace("0x21000000", "0x60000000");
    let text = text.replace("0x2180_0000", "0x6080_0000").replace("0x21c0_0000", "0x60c0_0000");
    let board = Board::parse(&text).unwrap();
    let base = 0x6000_0000;
    let page = 0x6080_0000;
    let firmware = Firmware::at(base).store(page + 204, 9).store(page + 200, 2).store(UART + 16, 16);
    let firmware = firmware.store(UART + 8, 1).store(UART, 0xff).sleep();
    let mut qemu = sidecore_backends::qemu::Qemu::new(Config::new(board)).unwrap();
    qemu.prepare(&mut [crate::bench::memory("image", base, 0x1000)]).unwrap();
    qemu.load(DeviceAddr(base), &firmware.finish()).unwrap();
    let boot = sidecore_remoteproc::Boot { entry: DeviceAddr(firmware.entry()), table: None };
    qemu.start(&boot).unwrap();
    assert_eq!(end(&mut qemu), sidecore_remoteproc::Event::Exited { code: 9 });
}
