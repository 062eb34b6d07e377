//! Every board: its image is found, its core runs it, its page and its mailbox are where the file says.

use sidecore_backends::qemu::{self, Board, Config, Qemu};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, Boot, Event};

use crate::bench::{end, memory};
use crate::tests;
use crate::thumb::Firmware;

tests! {
    mps2_an386_runs_its_image,
    mps2_an521_runs_its_image,
    riscv32_virt_runs_its_image,
    aarch64_virt_runs_its_image,
    zcu102_r5_runs_its_image,
}

/// Runs code that says on the page at the beginning of the window that it ended with code 42, and rings.
fn runs(board: &str, at: u64, entry: u64, image: &[u8]) {
    let board = Board::find(board).unwrap();
    if let Err(error) = qemu::check(&board) {
        eprintln!("not run: {}: {error}", board.name);
        return;
    }
    let mut qemu = Qemu::new(Config::new(board)).unwrap();
    qemu.prepare(&mut [memory("image", at, 0x1000)]).unwrap();
    qemu.load(DeviceAddr(at), image).unwrap();
    let boot = Boot { entry: DeviceAddr(entry), table: None };
    for _ in 0..2 {
        qemu.start(&boot).unwrap();
        assert_eq!(end(&mut qemu), Event::Exited { code: 42 });
        qemu.stop().unwrap();
    }
}

fn cortex_m(board: &str, at: u64, page: u32, uart: u32) {
    let firmware = Firmware::at(at).store(page + 204, 42).store(page + 200, 2);
    let firmware = firmware.store(uart + 16, 16).store(uart + 8, 1).store(uart, 0xff);
    let spot = firmware.here();
    let firmware = firmware.sleep().jump(spot);
    runs(board, at, firmware.entry(), &firmware.finish());
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn mps2_an386_runs_its_image() {
    cortex_m("mps2-an386", 0x2100_0000, 0x2180_0000, 0x4000_5000);
}

fn mps2_an521_runs_its_image() {
    cortex_m("mps2-an521", 0x1000_0000, 0x8080_0000, 0x5020_1000);
}

fn riscv32_virt_runs_its_image() {
    let code = [
        0x8080_02b7, // lui t0, 0x80800
        0x02a0_0313, // li t1, 42
        0x0c62_a623, // sw t1, 204(t0)
        0x0020_0313, // li t1, 2
        0x0c62_a423, // sw t1, 200(t0)
        0x1000_03b7, // lui t2, 0x10000
        0x0ff0_0313, // li t1, 0xff
        0x0063_8023, // sb t1, 0(t2)
        0x1050_0073, // wfi
        0xffdf_f06f, // j .-4
    ];
    runs("riscv32-virt", 0x8000_0000, 0x8000_0000, &words(&code));
}

fn aarch64_virt_runs_its_image() {
    let code = [
        0xd2a8_1000, // mov x0, #0x40800000
        0x5280_0541, // mov w1, #42
        0xb900_cc01, // str w1, [x0, #204]
        0x5280_0041, // mov w1, #2
        0xb900_c801, // str w1, [x0, #200]
        0xd2a1_2002, // mov x2, #0x09000000
        0x5280_1fe1, // mov w1, #0xff
        0xb900_0041, // str w1, [x2]
        0xd503_207f, // wfi
        0x17ff_ffff, // b .-4
    ];
    runs("aarch64-virt", 0x4020_0000, 0x4020_0000, &words(&code));
}

fn zcu102_r5_runs_its_image() {
    let code = [
        0xe3a0_0502, // mov r0, #0x800000
        0xe3a0_102a, // mov r1, #42
        0xe580_10cc, // str r1, [r0, #204]
        0xe3a0_1002, // mov r1, #2
        0xe580_10c8, // str r1, [r0, #200]
        0xe300_2000, // movw r2, #0
        0xe34f_2f01, // movt r2, #0xff01
        0xe3a0_1014, // mov r1, #0x14: receiver and transmitter on
        0xe582_1000, // str r1, [r2]
        0xe3a0_10ff, // mov r1, #0xff
        0xe582_1030, // str r1, [r2, #0x30]
        0xe320_f003, // wfi
        0xeaff_fffd, // b .-4
    ];
    runs("zcu102-r5", 0x10_0000, 0x10_0000, &words(&code));
}
