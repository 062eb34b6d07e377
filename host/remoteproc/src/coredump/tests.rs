use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use sidecore_mem::{DeviceAddr, Memory as Bytes, Window};

use super::*;

const FACTS: &[(&str, &str)] = &[("image", "blinky.elf"), ("trace", "one\ntwo=2")];

fn crash(machine: u16, len: usize) -> Crash {
    Crash {
        kind: CrashKind::Fault { address: DeviceAddr(0xf000_0000) },
        signal: 11,
        pc: Some(DeviceAddr(0x1000)),
        registers: Some(Registers { machine, bytes: (0..len).map(|byte| byte as u8).collect() }),
        allegation: None,
    }
}

fn windows() -> [Window; 2] {
    let code = Box::leak(Box::<Bytes<4096>>::default()).region();
    let data = Box::leak(Box::<Bytes<131_072>>::default()).region();
    code.write(0, b"code").unwrap();
    data.write(131_068, b"data").unwrap();
    let window = |start, region| Window { start: DeviceAddr(start), region };
    [window(0x1000, code), window(0x2000_0000, data)]
}

fn memories() -> [Memory; 3] {
    let memory = |name: &str, at, len, access| Memory {
        name: name.into(),
        at: Some(DeviceAddr(at)),
        len,
        align: 1,
        access,
    };
    [
        memory("code", 0x1000, 4096, Access::ReadExecute),
        memory("data", 0x2000_0000, 131_072, Access::ReadWrite),
        memory("far", 0x9000_0000, 64, Access::ReadWrite),
    ]
}

fn subject<'a>(machine: Machine, crash: &'a Crash) -> Subject<'a> {
    let build_id = Some(&[0xab; 20][..]);
    Subject { machine, flags: 0x500_0000, build_id, crash: Some(crash), registers: None, facts: FACTS }
}

fn written(dump: &CoreDump<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let wrote: Result<(), ()> = dump.write(&mut |piece| {
        put(&mut bytes, piece);
        Ok(())
    });
    assert_eq!(wrote, Ok(()));
    assert_eq!(bytes.len() as u64, dump.len());
    bytes
}

fn put(bytes: &mut Vec<u8>, piece: Piece<'_>) {
    match piece {
        Piece::Bytes(some) => {
            assert!(some.len() <= PIECE || bytes.is_empty());
            bytes.extend(some);
        }
        Piece::Zeros(len) => bytes.resize(bytes.len() + len as usize, 0),
    }
}

#[test]
fn a_dump_has_registers_facts_and_every_byte_of_memory() {
    for (machine, len) in [
        (Machine::ARM, 72),
        (Machine::AARCH64, 272),
        (Machine::RISCV32, 128),
        (Machine::RISCV64, 256),
        (Machine::X86_64, 216),
    ] {
        let crash = crash(machine.number, len);
        let dump = CoreDump::new(&subject(machine, &crash), &windows(), &memories(), Include::All).unwrap();
        let bytes = written(&dump);
        let told = Told::parse(&bytes).unwrap();
        assert_eq!((told.machine, told.has_registers, &told.build_id[..]), (machine, true, &[0xab; 20][..]));
        let facts: Vec<(&str, &str)> = told.facts.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            facts[..4],
            [("crash", "fault"), ("signal", "11"), ("pc", "0x1000"), ("address", "0xf0000000")]
        );
        assert_eq!(facts[4..], [("image", "blinky.elf"), ("trace", "one\\ntwo=2")]);
        let flags: Vec<_> =
            told.memories.iter().map(|one| (one.at.0, one.len, one.has_bytes, one.is_writable)).collect();
        let expected =
            [(0x1000, 4096, true, false), (0x2000_0000, 131_072, true, true), (0x9000_0000, 64, false, true)];
        assert_eq!(flags, expected);
        assert!(bytes.ends_with(b"data"));
        assert_eq!(&bytes[bytes.len() - 131_072 - 4096..][..4], b"code");
    }
}

#[test]
fn a_dump_of_what_can_be_written_has_no_code() {
    let crash = crash(40, 72);
    let dump =
        CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &memories(), Include::Writable).unwrap();
    let told = Told::parse(&written(&dump)).unwrap();
    let bytes: Vec<bool> = told.memories.iter().map(|memory| memory.has_bytes).collect();
    assert_eq!(bytes, [true, false, false]);
}

#[test]
fn registers_of_another_machine_are_left_out() {
    for crash in [crash(62, 216), crash(40, 71)] {
        let dump = CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &[], Include::All).unwrap();
        assert!(!Told::parse(&written(&dump)).unwrap().has_registers);
    }
}

#[test]
fn what_cannot_be_described_is_refused() {
    let crash = crash(40, 72);
    let high = [Memory { at: Some(DeviceAddr(0xffff_fff0)), len: 32, ..memories()[2].clone() }];
    let refused = CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &high, Include::All);
    assert_eq!(refused.unwrap_err(), CoreDumpError::TooLarge { class: Class::Elf32 });
    assert!(CoreDump::new(&subject(Machine::AARCH64, &crash), &windows(), &high, Include::All).is_ok());
    let none = CoreDump::<()>::new(&subject(Machine::ARM, &crash), &[], &memories(), Include::All);
    assert_eq!(none.unwrap_err(), CoreDumpError::NoMemory);
}

#[test]
fn the_first_error_of_the_writer_ends_it() {
    let crash = crash(40, 72);
    let dump = CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &memories(), Include::All).unwrap();
    for at in 1..=5 {
        let mut pieces = 0;
        let wrote = dump.write(&mut |_| {
            pieces += 1;
            if pieces == at { Err("full") } else { Ok(()) }
        });
        // The head, the code, zeros, the data's last piece: four.
        assert_eq!((wrote, pieces), if at > 4 { (Ok(()), 4) } else { (Err("full"), at) });
    }
}

#[test]
fn whoever_knows_what_a_memory_has_is_believed_within_its_bounds() {
    let crash = crash(40, 72);
    let dump = CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &memories(), Include::All).unwrap();
    let expected = written(&dump);
    for step in [0, 1, 1000, 4096, 65_535, usize::MAX] {
        let mut bytes = Vec::new();
        let mut look = |region: &Region<()>, at: usize, to: &mut [u8]| {
            let len = step.min(to.len()).min(region.len() - at);
            region.read(at, &mut to[..len]).unwrap();
            let zeros = to[..len].iter().all(|byte| *byte == 0) && at.is_multiple_of(2);
            // Longer than it may be, at the end.
            if zeros && at > 0 && at + len == region.len() {
                Found::Zeros(usize::MAX)
            } else if zeros {
                Found::Zeros(len)
            } else {
                Found::Copied(len)
            }
        };
        let wrote: Result<(), ()> = dump.write_by(&mut look, &mut |piece| {
            put(&mut bytes, piece);
            Ok(())
        });
        assert_eq!(wrote, Ok(()));
        assert!(bytes == expected, "{step}");
    }
}

#[test]
fn registers_of_one_that_has_not_crashed_are_there_too() {
    let registers = Registers { machine: 40, bytes: vec![1; 72] };
    let subject = Subject {
        machine: registers.machine().unwrap(),
        flags: 0,
        build_id: None,
        crash: None,
        registers: Some(&registers),
        facts: &[],
    };
    assert_eq!(subject.machine, Machine::ARM);
    let dump = CoreDump::new(&subject, &windows(), &[], Include::All).unwrap();
    let told = Told::parse(&written(&dump)).unwrap();
    assert!(told.has_registers && told.fact("crash").is_none());
    assert_eq!(Registers { machine: 243, bytes: vec![0; 256] }.machine(), Some(Machine::RISCV64));
    assert_eq!(Registers { machine: 243, bytes: vec![0; 255] }.machine(), None);
}

#[test]
fn a_head_cut_anywhere_is_none() {
    let crash = crash(40, 72);
    let dump = CoreDump::new(&subject(Machine::ARM, &crash), &windows(), &memories(), Include::All).unwrap();
    for len in 0..dump.head.len() {
        assert_eq!(Told::parse(&dump.head[..len]), None, "{len}");
    }
    assert!(Told::parse(&dump.head).is_some());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(at in 0..400_usize, byte: u8, noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        let crash = crash(183, 272);
        let dump = CoreDump::new(&subject(Machine::AARCH64, &crash), &windows(), &memories(), Include::All).unwrap();
        let mut head = dump.head.clone();
        let at = at % head.len();
        head[at] = byte;
        let _ = Told::parse(&head);
        let _ = Told::parse(&noise);
        let _ = Told::parse(&[vec![0x7f, b'E', b'L', b'F', 1 + byte % 2, 1, 1], noise].concat());
    }
}
