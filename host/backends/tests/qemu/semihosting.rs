//! Firmware that calls for a debugger's help: answered where that is wanted, told where not.

use std::time::Duration;

use sidecore_backends::qemu::{self, Board, Config, Qemu};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, Boot, CrashKind, Event};

use crate::bench::{PATIENCE, config, crash, memory, run, run_with};
use crate::tests;
use crate::thumb::{Firmware, IMAGE, SHARED};

tests! {
    calls_of_an_an386_are_answered,
    calls_of_an_an521_are_answered,
    calls_of_a_riscv32_are_answered,
    calls_of_an_aarch64_are_answered,
    calls_of_a_zcu102_r5_are_answered,
    a_call_that_locks_the_core_up_is_told,
    a_call_whose_handler_never_ends_is_told_when_the_watchdog_bites,
    a_call_of_a_riscv32_is_told,
    a_call_of_an_aarch64_is_told,
    standard_output_and_error_are_its_console_too,
    all_that_was_written_is_there_at_the_end,
    calls_that_start_programs_or_are_none_cost_the_remote,
}

/// Numbers of calls.
const OPEN: u16 = 1;
const WRITE: u16 = 5;
const WRITE0: u16 = 4;
const SYSTEM: u16 = 0x12;
const EXIT_EXTENDED: u16 = 0x20;
/// The reason "it ended", of which the other word is the exit code.
const ENDED: u32 = 0x2_0026;

const CONFIG: fn(Board) -> Config =
    |board| Config { semihosting: Some(vec!["fw.elf".into()]), ..Config::new(board) };

/// The remote's end, and what it wrote until then.
fn end(qemu: &mut Qemu) -> (Event, Vec<u8>) {
    let mut written = Vec::new();
    loop {
        let event = qemu.wait(Some(PATIENCE), &mut || false).unwrap().expect("something happens");
        written.extend(qemu.take_semihosting());
        if event != Event::Kick {
            return (event, written);
        }
    }
}

/// The remote, that runs; `None` if this machine cannot.
fn start(board: &str, config: impl Fn(Board) -> Config, at: u64, entry: u64, image: &[u8]) -> Option<Qemu> {
    let board = Board::find(board).unwrap();
    if let Err(error) = qemu::check(&board) {
        eprintln!("not run: {}: {error}", board.name);
        return None;
    }
    let mut qemu = Qemu::new(config(board)).unwrap();
    qemu.prepare(&mut [memory("image", at, 0x1000)]).unwrap();
    qemu.load(DeviceAddr(at), image).unwrap();
    qemu.start(&Boot { entry: DeviceAddr(entry), table: None }).unwrap();
    Some(qemu)
}

/// Runs an image that says "hi" and ends with code 42.
fn answered(board: &str, at: u64, entry: u64, image: &[u8]) {
    let Some(mut qemu) = start(board, CONFIG, at, entry, image) else { return };
    for _ in 0..2 {
        let (event, written) = end(&mut qemu);
        let written = String::from_utf8(written).unwrap();
        // On a busy machine, words of the emulator's own may be taken for the firmware's last ones.
        assert!(event == Event::Exited { code: 42 } && written.starts_with("hi\n"), "{event:?}: {written:?}");
        qemu.stop().unwrap();
        qemu.start(&Boot { entry: DeviceAddr(entry), table: None }).unwrap();
    }
}

/// Code, then what it points to: a text at 0x40, and how it ends, in words of this many bytes, at 0x60.
fn image(code: &[u32], word: usize) -> Vec<u8> {
    let mut image = vec![0; 0x100];
    let put =
        |at: usize, bytes: &[u8], image: &mut Vec<u8>| image[at..at + bytes.len()].copy_from_slice(bytes);
    for (number, word) in code.iter().enumerate() {
        put(4 * number, &word.to_le_bytes(), &mut image);
    }
    put(0x40, b"hi\n", &mut image);
    put(0x60, &ENDED.to_le_bytes(), &mut image);
    put(0x60 + word, &[42], &mut image);
    image
}

impl Firmware {
    /// Calls with what lies there.
    fn call(self, number: u16, block: u32) -> Self {
        self.constant(1, block).half(0x2000 | number).half(0xbeab) // movs r0, #number; bkpt 0xab
    }

    /// Says "hi" and ends with code 42; uses memory there.
    fn hi(self, at: u32) -> Self {
        let firmware = self.store(at, u32::from_le_bytes(*b"hi\n\0")).call(WRITE0, at);
        firmware.store(at, ENDED).store(at + 4, 42).call(EXIT_EXTENDED, at)
    }
}

fn calls_of_an_an386_are_answered() {
    let firmware = Firmware::at(IMAGE).hi(SHARED);
    answered("mps2-an386", IMAGE, firmware.entry(), &firmware.finish());
}

fn calls_of_an_an521_are_answered() {
    let firmware = Firmware::at(0x1000_0000).hi(0x8000_0000);
    answered("mps2-an521", 0x1000_0000, firmware.entry(), &firmware.finish());
}

fn calls_of_a_riscv32_are_answered() {
    let code = [
        0x0000_0297, // auipc t0, 0
        0x0402_8593, // addi a1, t0, 0x40
        0x0040_0513, // li a0, 4
        0x01f0_1013, // slli x0, x0, 0x1f
        0x0010_0073, // ebreak
        0x4070_5013, // srai x0, x0, 7
        0x0602_8593, // addi a1, t0, 0x60
        0x0200_0513, // li a0, 0x20
        0x01f0_1013, // slli x0, x0, 0x1f
        0x0010_0073, // ebreak
        0x4070_5013, // srai x0, x0, 7
    ];
    answered("riscv32-virt", 0x8000_0000, 0x8000_0000, &image(&code, 4));
}

fn calls_of_an_aarch64_are_answered() {
    let code = [
        0x1000_0201, // adr x1, .+0x40
        0x5280_0080, // mov w0, #4
        0xd45e_0000, // hlt #0xf000
        0x1000_02a1, // adr x1, .+0x54
        0x5280_0300, // mov w0, #0x18, which has a code here, too
        0xd45e_0000, // hlt #0xf000
    ];
    answered("aarch64-virt", 0x4020_0000, 0x4020_0000, &image(&code, 8));
}

fn calls_of_a_zcu102_r5_are_answered() {
    let code = [
        0xe28f_1038, // add r1, pc, #0x38
        0xe3a0_0004, // mov r0, #4
        0xef12_3456, // svc 0x123456
        0xe28f_104c, // add r1, pc, #0x4c
        0xe3a0_0020, // mov r0, #0x20
        0xef12_3456, // svc 0x123456
    ];
    answered("zcu102-r5", 0x10_0000, 0x10_0000, &image(&code, 4));
}

fn a_call_that_locks_the_core_up_is_told() {
    let firmware = Firmware::at(IMAGE).no_vector(3);
    let call = u64::from(firmware.clone().constant(1, 0).half(0x2004).address());
    let crash = crash(&mut run(&firmware.call(WRITE0, 0)));
    assert_eq!((crash.kind, crash.pc), (CrashKind::SemihostingCall, Some(DeviceAddr(call))));
    assert_eq!(crash.signal, 5);
}

fn a_call_whose_handler_never_ends_is_told_when_the_watchdog_bites() {
    let firmware = Firmware::at(IMAGE).call(WRITE0, 0).vector(3);
    let spot = firmware.here();
    let config = Config { watchdog: Some(Duration::from_millis(300)), ..config() };
    let crash = crash(&mut run_with(config, &firmware.jump(spot)));
    assert_eq!((crash.kind, crash.pc), (CrashKind::SemihostingCall, Some(DeviceAddr(IMAGE + 0x8a))));
}

/// Runs an image whose handler of exceptions tells of them as an SDK's does.
fn told(board: &str, at: u64, call: u64, image: &[u8]) {
    let Some(mut qemu) = start(board, Config::new, at, at, image) else { return };
    let crash = crash(&mut qemu);
    assert_eq!((crash.kind, crash.pc), (CrashKind::SemihostingCall, Some(DeviceAddr(at + call))));
}

fn a_call_of_a_riscv32_is_told() {
    let code = [
        0x0000_0297, // auipc t0, 0
        0x0182_8293, // addi t0, t0, 24
        0x3052_9073, // csrw mtvec, t0
        0x01f0_1013, // slli x0, x0, 0x1f
        0x0010_0073, // ebreak
        0x4070_5013, // srai x0, x0, 7
        0x8080_12b7, // lui t0, 0x80801
        0x3410_2373, // csrr t1, mepc
        0x8262_a023, // sw t1, -2016(t0): the place
        0x3420_2373, // csrr t1, mcause
        0x8262_ac23, // sw t1, -1992(t0): the cause
        0x0010_0313, // li t1, 1
        0x8462_a423, // sw t1, -1976(t0): both are there
        0x8080_02b7, // lui t0, 0x80800
        0x0030_0313, // li t1, 3
        0x0c62_a423, // sw t1, 200(t0): it crashed
        0x1000_03b7, // lui t2, 0x10000
        0x0ff0_0313, // li t1, 0xff
        0x0063_8023, // sb t1, 0(t2)
        0x1050_0073, // wfi
        0xffdf_f06f, // j .-4
    ];
    let bytes: Vec<u8> = code.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    told("riscv32-virt", 0x8000_0000, 16, &bytes);
}

fn a_call_of_an_aarch64_is_told() {
    let begin = [
        0x1000_4000, // adr x0, .+0x800
        0xd518_c000, // msr vbar_el1, x0
        0xd503_3fdf, // isb
        0xd45e_0000, // hlt #0xf000
    ];
    let handler = [
        0xd2a8_1000, // mov x0, #0x40800000
        0xd538_4021, // mrs x1, elr_el1
        0x9120_8002, // add x2, x0, #0x820
        0xf900_0041, // str x1, [x2]: the place
        0xd538_5201, // mrs x1, esr_el1
        0xf900_0c41, // str x1, [x2, #24]: the cause
        0x5280_0021, // mov w1, #1
        0xb900_2841, // str w1, [x2, #40]: both are there
        0x5280_0061, // mov w1, #3
        0xb900_c801, // str w1, [x0, #200]: it crashed
        0xd2a1_2002, // mov x2, #0x9000000
        0x5280_1fe1, // mov w1, #0xff
        0xb900_0041, // str w1, [x2]
        0xd503_207f, // wfi
        0x17ff_ffff, // b .-4
    ];
    let mut code = vec![0_u32; 0x400];
    code[..begin.len()].copy_from_slice(&begin);
    // Exceptions of the same level on its own stack come to 0x200 behind the base.
    code[0x280..0x280 + handler.len()].copy_from_slice(&handler);
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    told("aarch64-virt", 0x4020_0000, 12, &bytes);
}

fn standard_output_and_error_are_its_console_too() {
    let open_and_write = |firmware: Firmware, mode: u32, text: &[u8; 4]| {
        let (name, words) = (SHARED + 16, SHARED + 20);
        let firmware = firmware.store(name, u32::from_le_bytes(*b":tt\0")).store(SHARED, name);
        let firmware = firmware.store(SHARED + 4, mode).store(SHARED + 8, 3).call(OPEN, SHARED);
        // Its handle is the first word of the next call's block.
        let firmware = firmware.constant(2, SHARED).half(0x6010); // str r0, [r2]
        let firmware = firmware.store(words, u32::from_le_bytes(*text)).store(SHARED + 4, words);
        firmware.store(SHARED + 8, 4).call(WRITE, SHARED)
    };
    let (write, append) = (4, 8);
    let firmware = open_and_write(Firmware::at(IMAGE), append, b"err\n");
    let firmware = open_and_write(firmware, write, b"out\n").hi(SHARED);
    let (event, written) = end(&mut run_with(CONFIG(crate::bench::board()), &firmware));
    assert_eq!(event, Event::Exited { code: 42 });
    let written = String::from_utf8(written).unwrap();
    let mut lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.pop(), Some("err"), "it comes last");
    lines.sort_unstable();
    assert_eq!(lines, ["hi", "out"]);
}

fn all_that_was_written_is_there_at_the_end() {
    const TIMES: usize = 3000;
    let mut firmware = Firmware::at(IMAGE);
    for at in 0..15 {
        firmware = firmware.store(SHARED + 4 * at, u32::from_le_bytes(*b"0123"));
    }
    let text = firmware.store(SHARED + 60, u32::from_le_bytes(*b"45\n\0")).constant(1, SHARED);
    let lines = (0..TIMES).fold(text, |text, _| text.half(0x2000 | WRITE0).half(0xbeab));
    let mut qemu = run_with(CONFIG(crate::bench::board()), &lines.hi(SHARED));
    // It may run into its end before anybody looks.
    std::thread::sleep(Duration::from_millis(100));
    let (event, written) = end(&mut qemu);
    assert_eq!((event, written.len()), (Event::Exited { code: 42 }, TIMES * 63 + 3));
    assert!(written.ends_with(b"012345\nhi\n"), "{:?}", written.last_chunk::<20>());
}

fn calls_that_start_programs_or_are_none_cost_the_remote() {
    let name = std::env::temp_dir().join(format!("sidecore-test-{}", std::process::id()));
    let command = format!("> {}", name.display());
    let padded = format!("{command:\0<64}");
    let place = SHARED + 16;
    let mut firmware = Firmware::at(IMAGE).store(SHARED, place).store(SHARED + 4, command.len() as u32);
    for (at, word) in (place..).step_by(4).zip(padded.as_bytes().chunks_exact(4)) {
        firmware = firmware.store(at, u32::from_le_bytes(word.try_into().unwrap()));
    }
    let mut qemu = run_with(CONFIG(crate::bench::board()), &firmware.call(SYSTEM, SHARED).hi(SHARED));
    match end(&mut qemu).0 {
        // Killed by its filter, or only refused; that depends on the version.
        Event::Crashed(crash) => assert_eq!((crash.kind, crash.signal), (CrashKind::Other, 31)),
        event => assert_eq!(event, Event::Exited { code: 42 }),
    }
    assert!(!name.exists(), "no program was started");

    let mut qemu = run_with(CONFIG(crate::bench::board()), &Firmware::at(IMAGE).call(0xff, SHARED));
    let Event::Crashed(crash) = end(&mut qemu).0 else { panic!("no crash") };
    assert_eq!(crash.kind, CrashKind::SemihostingCall);
}
