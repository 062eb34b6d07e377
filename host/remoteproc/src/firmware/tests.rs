use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::codes::{self, Code};
use crate::testing::{DATA, Elf, LOAD, R, RW, RWX, RX, TEXT, table};

const CLASSES: [Class; 2] = [Class::Elf32, Class::Elf64];

fn small_table() -> Vec<u8> {
    table(|entries| {
        entries.trace("log", DATA as u32 + 0x100, 64);
    })
}

fn plain(class: Class) -> Elf {
    Elf::with_table(class, &small_table())
}

fn error(elf: &Elf) -> FirmwareError {
    Firmware::parse(&elf.build()).unwrap_err()
}

fn codes(firmware: &Firmware<'_>) -> Vec<Code> {
    firmware.findings().iter().map(|finding| finding.code).collect()
}

/// Replaces the bytes of a field. `at` is for (ELF32, ELF64).
fn patched(class: Class, at: (usize, usize), bytes: &[u8]) -> Vec<u8> {
    let mut file = plain(class).build();
    let at = if class == Class::Elf32 { at.0 } else { at.1 };
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// What holds for any file that is accepted.
fn check(file: &[u8], limits: &Limits) {
    let Ok(firmware) = Firmware::parse_within(file, limits) else { return };
    let range = file.as_ptr_range();
    let last = firmware.machine().class.last_address();
    let mut total = 0_u64;
    for segment in firmware.segments() {
        assert!(segment.memsz > 0 && segment.bytes.len() as u64 <= segment.memsz);
        assert!(segment.bytes.is_empty() || range.contains(&segment.bytes.as_ptr()));
        assert!(segment.at.0.checked_add(segment.memsz - 1).unwrap() <= last);
        total = total.checked_add(segment.memsz).unwrap();
        for other in firmware.segments().iter().filter(|other| other.header != segment.header) {
            assert!(!other.holds(segment.at.0), "{segment:?} {other:?}");
        }
    }
    assert!(total <= limits.memory && firmware.segments().len() <= limits.segments as usize);
    assert!(!firmware.segments().is_empty());
    if let Some(table) = firmware.table_section() {
        assert!(table.bytes.is_empty() || range.contains(&table.bytes.as_ptr()));
        let loaded = table.at.map(|at| firmware.segments().iter().any(|segment| segment.holds(at.0)));
        assert_ne!(loaded, Some(false));
    }
    assert!(firmware.findings().len() < 2000);
}

#[test]
fn both_classes_are_taken_apart_alike() {
    for class in CLASSES {
        let file = plain(class).build();
        let firmware = Firmware::parse(&file).unwrap();
        assert_eq!(firmware.machine(), if class == Class::Elf32 { Machine::ARM } else { Machine::AARCH64 });
        assert_eq!((firmware.entry(), firmware.flags()), (DeviceAddr(TEXT), 0x0500_0000));
        let [text, data] = firmware.segments() else { panic!("{:?}", firmware.segments()) };
        assert_eq!(
            (text.name.as_str(), text.at, text.access()),
            (".text", DeviceAddr(TEXT), Access::ReadExecute)
        );
        assert_eq!(
            (data.name.as_str(), data.at, data.access()),
            (".data", DeviceAddr(DATA), Access::ReadWrite)
        );
        assert_eq!((text.bytes, text.memsz), (&[0x90; 64][..], 64));
        assert!(data.bytes.ends_with(b"fresh data") && data.memsz == data.bytes.len() as u64 + 0x800);
        let section = firmware.table_section().unwrap();
        assert_eq!((section.bytes, section.at), (&small_table()[..], Some(DeviceAddr(DATA))));
        assert_eq!(firmware.table().unwrap().unwrap().header().count, 1);
        assert_eq!(firmware.findings(), []);
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    for class in CLASSES {
        let elf =
            plain(class).info(4, b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0\x01\x02\x03\x04").info(3, b"/ld\0");
        let file = elf.build();
        assert!(Firmware::parse(&file).is_ok());
        for len in 0..file.len() {
            let error = Firmware::parse(&file[..len]).unwrap_err();
            assert_eq!(error.code(), codes::ELF_TRUNCATED, "{len}: {error}");
        }
    }
}

#[test]
fn a_file_at_an_odd_address_is_read_all_the_same() {
    let mut shifted = vec![0];
    shifted.extend(plain(Class::Elf64).build());
    assert!(Firmware::parse(&shifted[1..]).is_ok());
}

#[test]
fn every_byte_of_the_headers_may_be_anything() {
    for class in CLASSES {
        let file = plain(class).build();
        for at in 0..file.len() {
            for value in
                [0, 1, 2, 3, 0x7f, 0x80, 0xff, file[at] ^ 1, file[at] ^ 0x80, file[at].wrapping_add(1)]
            {
                let mut changed = file.clone();
                changed[at] = value;
                check(&changed, &Limits::DEFAULT);
            }
        }
    }
}

#[test]
fn every_header_field_may_be_extreme() {
    for class in CLASSES {
        let file = plain(class).build();
        for at in (0..file.len() - 8).step_by(2) {
            for width in [2, 4, 8] {
                for value in [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, 1 << 31, u64::MAX >> 1, 0xffff_fff0] {
                    let mut changed = file.clone();
                    changed[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                    check(&changed, &Limits { memory: u64::MAX, ..Limits::DEFAULT });
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_firmware(
        wide in any::<bool>(),
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut file = plain(if wide { Class::Elf64 } else { Class::Elf32 }).build();
        file.extend(tail);
        for (at, value) in patches {
            let at = at.index(file.len());
            file[at] = value;
        }
        check(&file, &Limits::DEFAULT);
    }

    #[test]
    fn any_bytes_behind_a_true_ident_are_an_error_or_a_firmware(
        wide in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut file = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1];
        file.extend(bytes);
        check(&file, &Limits::DEFAULT);
    }
}

#[test]
fn a_foreign_file_is_recognised_and_named() {
    let message = |file: &[u8]| Firmware::parse(file).unwrap_err().to_string();
    assert_eq!(
        message(b"#!/bin/sh\n"),
        "e_ident begins with 23 21 2f 62: an ELF file begins with 7f 45 4c 46"
    );
    assert_eq!(message(b""), "the file has 0 bytes: the ELF header, from e_ident to e_shstrndx, needs 16");
    let class = patched(Class::Elf64, (4, 4), &[3]);
    assert_eq!(message(&class), "e_ident[EI_CLASS] is 3: must be 1 (32-bit) or 2 (64-bit)");
    let big = patched(Class::Elf64, (5, 5), &[2]);
    assert_eq!(message(&big), "e_ident[EI_DATA] is 2 (big endian): must be 1 (little endian)");
    let ident_version = patched(Class::Elf32, (6, 6), &[0]);
    assert_eq!(message(&ident_version), "e_ident[EI_VERSION] is 0: must be 1");
    let version = patched(Class::Elf32, (20, 20), &[9]);
    assert_eq!(message(&version), "e_version is 9: must be 1");
    let object = patched(Class::Elf32, (16, 16), &[1]);
    let expected = "e_type is 0x1 (relocatable object): must be 2 (executable) or 3 (position independent)";
    assert_eq!(message(&object), expected);
}

#[test]
fn the_machine_is_checked_with_its_class() {
    let file = plain(Class::Elf32).build();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(firmware.check_machine(&[Machine::RISCV32, Machine::ARM]), Ok(()));
    let error = firmware.check_machine(&[Machine::X86_64, Machine::AARCH64]).unwrap_err();
    let expected =
        "e_machine is 40 (Arm), 32-bit: the remote is 62 (x86-64), 64-bit or 183 (AArch64), 64-bit";
    assert_eq!(error.to_string(), expected);
    let x32 = Machine { class: Class::Elf32, ..Machine::X86_64 };
    assert_ne!(x32, Machine::X86_64);
}

#[test]
fn header_tables_that_lie_are_refused() {
    // (field at in ELF32, in ELF64, bytes, message)
    let cases: &[((usize, usize), &[u8], &str)] = &[
        ((42, 54), &[40, 0], "e_phentsize is 40: must be "),
        ((46, 58), &[39, 0], "e_shentsize is 39: must be "),
        ((44, 56), &[0xfe, 0xff], "e_phoff is "),
        ((44, 56), &[0, 0], "e_phnum is 0, and none of them is a PT_LOAD with memory"),
        ((28, 32), &[0xff, 0xff, 0xff, 0xff], "e_phoff is 0xffffffff: that needs "),
        ((32, 40), &[0xff, 0xff, 0xff, 0xff], "e_shoff is 0xffffffff: that needs "),
        ((48, 60), &[0xff, 0xff], "e_shoff is "),
        ((50, 62), &[5, 0], "e_shstrndx is 0x5: must be less than 0x5"),
    ];
    for class in CLASSES {
        for &(at, bytes, message) in cases {
            let error = Firmware::parse(&patched(class, at, bytes)).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
    let mut elf = plain(Class::Elf64);
    elf.sections[1].kind = 8;
    elf.sections[2].kind = 8;
    let message = error(&elf).to_string();
    assert!(message.starts_with("sh_type of section header 3 (.resource_table) is 8"), "{message}");
}

#[test]
fn section_names_that_lie_are_refused() {
    let file = plain(Class::Elf32).build();
    let sections_at = u32::from_le_bytes(file[32..36].try_into().unwrap()) as usize;
    let mut changed = file.clone();
    changed[sections_at + 40..sections_at + 44].copy_from_slice(&0x1000_u32.to_le_bytes());
    let error = Firmware::parse(&changed).unwrap_err().to_string();
    assert!(error.starts_with("sh_name of section header 1 is 0x1000: must be less than"), "{error}");
}

#[test]
fn counts_above_16_bits_are_found_in_the_first_section() {
    for class in CLASSES {
        let elf = plain(class);
        let mut file = elf.build();
        let wide = class == Class::Elf64;
        let (phnum, shnum, shstrndx) = if wide { (56, 60, 62) } else { (44, 48, 50) };
        let sections = file.len() - (elf.sections.len() + 2) * if wide { 64 } else { 40 };
        let (size, link, info) = if wide { (32, 40, 44) } else { (20, 24, 28) };
        file[phnum..phnum + 2].fill(0xff);
        file[shnum..shnum + 2].fill(0);
        file[shstrndx..shstrndx + 2].fill(0xff);
        file[sections + info] = elf.programs.len() as u8;
        file[sections + size] = elf.sections.len() as u8 + 2;
        file[sections + link] = elf.sections.len() as u8 + 1;
        let firmware = Firmware::parse(&file).unwrap();
        assert_eq!(firmware.segments().len(), 2);
        assert!(firmware.table_section().is_some());

        // The same count with nothing behind it.
        file[sections + info..sections + info + 4].fill(0xff);
        assert_eq!(Firmware::parse(&file).unwrap_err().code(), codes::ELF_TRUNCATED);
    }
}

#[test]
fn segments_that_lie_are_refused_by_name() {
    for class in CLASSES {
        let message = |change: &dyn Fn(&mut Elf)| {
            let mut elf = plain(class);
            change(&mut elf);
            error(&elf).to_string()
        };
        let text = message(&|elf| elf.programs[0].memsz = 63);
        assert_eq!(text, "p_filesz of program header 0 is 0x40: must not exceed p_memsz, which is 0x3f");
        let text = message(&|elf| elf.programs[1].align = 24);
        assert_eq!(text, "p_align of program header 1 is 0x18: must be 0 or a power of two");
        let last = class.last_address();
        let text = message(&|elf| elf.programs[0].paddr = last - 62);
        assert!(text.starts_with("p_paddr of program header 0 is "), "{text}");
        let text = message(&|elf| elf.programs[0].vaddr = last - 62);
        assert!(text.starts_with("p_vaddr of program header 0 is "), "{text}");
        let text = message(&|elf| elf.programs[1].paddr = TEXT + 63);
        let expected = "p_paddr of program header 1 is 0x1000003f: the segment of program header 0 reaches from \
                        0x10000000 to 0x10000040";
        assert_eq!(text, expected);
        let text = message(&|elf| elf.programs[0].paddr = DATA + 0x10);
        assert!(text.starts_with("p_paddr of program header 0 is 0x10001010: the segment of"), "{text}");
        let text = message(&|elf| elf.entry = TEXT + 64);
        assert_eq!(text, "e_entry is 0x10000040: no segment holds that address");
        let text = message(&|elf| elf.programs.iter_mut().for_each(|part| part.kind = 6));
        assert_eq!(text, "e_phnum is 2, and none of them is a PT_LOAD with memory: there is nothing to load");
    }
}

#[test]
fn a_segment_may_reach_the_top_of_the_address_space() {
    for class in CLASSES {
        let last = class.last_address();
        let elf = Elf::new(class).segment(".text", last - 63, RX, &[1; 64], 64);
        let file = Elf { entry: last - 63, ..elf }.build();
        assert_eq!(Firmware::parse(&file).unwrap().segments()[0].at, DeviceAddr(last - 63));
    }
}

#[test]
fn limits_hold_for_segments_sections_and_memory() {
    let limits = Limits { segments: 2, sections: 5, memory: 0x2000, ..Limits::DEFAULT };
    let parse =
        |elf: &Elf| Firmware::parse_within(&elf.build(), &limits).map(|_| ()).map_err(|e| e.to_string());
    assert_eq!(parse(&plain(Class::Elf64)), Ok(()));
    let many = plain(Class::Elf64).info(LOAD, b"");
    assert_eq!(parse(&many), Ok(()), "an empty segment does not count");
    let mut many = plain(Class::Elf64).segment(".more", 0x3000_0000, R, b"x", 1);
    many.sections.pop();
    let error = parse(&many).unwrap_err();
    assert_eq!(error, "e_phnum is 3: more PT_LOAD with memory than the limit of 2");
    let mut huge = plain(Class::Elf64);
    huge.programs[1].memsz = 0x1fc1;
    let error = parse(&huge).unwrap_err();
    let expected =
        "p_memsz of program header 1 is 0x1fc1: all segments together exceed the limit of 0x2000 bytes";
    assert_eq!(error, expected);
    let sections = plain(Class::Elf64).section(".more", 0, 0, 1);
    assert_eq!(parse(&sections).unwrap_err(), "e_shnum is 6: more sections than the limit of 5");
}

#[test]
fn segments_are_loaded_to_p_paddr_and_the_table_with_them() {
    let mut elf = plain(Class::Elf32);
    elf.programs[1].paddr = 0x0800_0000;
    let file = elf.build();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(firmware.segments()[1].at, DeviceAddr(0x0800_0000));
    assert_eq!(firmware.table_section().unwrap().at, Some(DeviceAddr(0x0800_0000)));
    assert_eq!(codes(&firmware), [codes::TABLE_MOVED, codes::LOADED_ELSEWHERE, codes::SEGMENTS_GAP]);
}

#[test]
fn where_no_p_paddr_is_given_p_vaddr_counts() {
    let mut elf = plain(Class::Elf64);
    elf.programs.iter_mut().for_each(|part| part.paddr = 0);
    let file = elf.build();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(firmware.segments()[1].at, DeviceAddr(DATA));
    assert_eq!(codes(&firmware), [codes::LOAD_ADDRESS_MISSING]);

    // A single segment at 0 that runs at 0 is nothing special.
    let file = Elf { entry: 0, ..Elf::new(Class::Elf32).segment(".text", 0, RX, b"x", 1) }.build();
    assert_eq!(codes(&Firmware::parse(&file).unwrap()), [codes::NO_TABLE]);
}

#[test]
fn the_entry_point_may_be_thumb_or_missing_and_is_checked_for_execution() {
    let mut elf = plain(Class::Elf32);
    elf.programs[0].memsz = 64;
    elf.entry = TEXT + 64 + 1;
    assert_eq!(error(&elf).code(), codes::ELF_ENTRY);
    elf.entry = TEXT + 62 + 1;
    let file = elf.build();
    assert_eq!(Firmware::parse(&file).unwrap().entry(), DeviceAddr(TEXT + 63));

    elf.entry = 0;
    let file = elf.build();
    assert_eq!(codes(&Firmware::parse(&file).unwrap()), [codes::ENTRY_MISSING]);
    elf.entry = DATA;
    let file = elf.build();
    assert_eq!(codes(&Firmware::parse(&file).unwrap()), [codes::ENTRY_NOT_EXECUTABLE]);
}

#[test]
fn build_id_and_interpreter_are_read() {
    for class in CLASSES {
        let note = b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0\xde\xad\xbe\xef";
        let other = b"\x04\0\0\0\x00\0\0\0\x07\0\0\0ABC\0";
        let file = plain(class).info(4, other).info(4, note).info(3, b"/lib/ld\x1b.so\0junk").build();
        let firmware = Firmware::parse(&file).unwrap();
        assert_eq!(firmware.build_id(), Some(&[0xde, 0xad, 0xbe, 0xef][..]));
        assert_eq!(firmware.interpreter(), Some("/lib/ld\\x1b.so"));
        assert_eq!(codes(&firmware), [codes::INTERPRETER]);

        let many = (0..8).fold(plain(class), |elf, _| elf.info(4, other)).info(4, note).build();
        assert_eq!(Firmware::parse(&many).unwrap().build_id(), None, "only the first eight are looked at");

        let file = plain(class).info(4, &note[..14]).build();
        let firmware = Firmware::parse(&file).unwrap();
        assert_eq!((firmware.build_id(), codes(&firmware)), (None, vec![codes::NOTE_MALFORMED]));
    }
}

#[test]
fn a_thousand_headers_that_name_the_same_notes_cost_no_more_than_a_few() {
    let note = b"\x04\0\0\0\0\0\0\0\x07\0\0\0ABC\0";
    let elf = (0..1000).fold(plain(Class::Elf64), |elf, _| elf.info(4, b""));
    let mut file = elf.build();
    let notes = file.len() as u64;
    for header in 2..1002 {
        let at = 64 + 56 * header;
        file[at + 8..at + 16].copy_from_slice(&notes.to_le_bytes());
        file[at + 32..at + 40].copy_from_slice(&(16 * 250_000_u64).to_le_bytes());
    }
    file.extend(note.repeat(250_000));
    let begin = std::time::Instant::now();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!((firmware.build_id(), codes(&firmware)), (None, vec![]));
    assert!(begin.elapsed().as_secs() < 5, "a search through all of them takes minutes");
}

#[test]
fn a_segment_is_named_after_its_best_known_section() {
    let file = Elf::new(Class::Elf64)
        .segment(".vectors", TEXT, RX, &[0; 64], 64)
        .section(".text", 0, 32, 8)
        .segment("\x1b[31m", DATA, RW, &[0; 8], 8)
        .segment("", DATA + 0x1000, RW, &[0; 8], 8)
        .build();
    let firmware = Firmware::parse(&file).unwrap();
    let names: Vec<&str> = firmware.segments().iter().map(|segment| segment.name.as_str()).collect();
    assert_eq!(names, [".text", "\\x1b[31m", "segment2"]);
}

#[test]
fn odd_segments_are_found() {
    let mut elf = Elf::new(Class::Elf64)
        .segment(".everything", TEXT, RWX, &[0; 16], 32 << 20)
        .segment(".far", 0x4000_0000, RW, &[0; 16], 16)
        .info(LOAD, b"");
    elf.kind = 3;
    elf.programs[0].align = 4096;
    elf.programs[1].vaddr = TEXT + 8;
    let file = elf.build();
    let firmware = Firmware::parse(&file).unwrap();
    let expected = [
        codes::SEGMENT_EMPTY,
        codes::POSITION_INDEPENDENT,
        codes::SEGMENT_RWX,
        codes::BSS_LARGE,
        codes::LOADED_ELSEWHERE,
        codes::SEGMENTS_GAP,
        codes::RUNS_OVERLAP,
        codes::SEGMENT_OFFSET,
        codes::NO_TABLE,
    ];
    assert_eq!(codes(&firmware), expected);
    let texts: Vec<String> = firmware.findings().iter().map(ToString::to_string).collect();
    assert_eq!(texts[2], "warning[F0102]: p_flags of program header 0 (.everything) is 0x7");
}

#[test]
fn odd_sections_are_found() {
    let mut elf = plain(Class::Elf64).section(".resource_table", 0, 0, 16).section(".debug", 0, 0, 1 << 40);
    elf.sections[4].flags = 0;
    let file = elf.build();
    assert_eq!(codes(&Firmware::parse(&file).unwrap()), [codes::TABLE_DUPLICATE, codes::SECTION_OUTSIDE]);

    // A table that is not allocated is not loaded, whatever its address.
    let mut elf = plain(Class::Elf64);
    elf.sections[2].flags = 0;
    let file = elf.build();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(firmware.table_section().unwrap().at, None);
    assert_eq!(codes(&firmware), [codes::TABLE_NOT_LOADED]);

    // Nor is one that its segment holds only in part.
    let mut elf = plain(Class::Elf64);
    elf.programs[1].memsz -= 0x800;
    elf.sections[2].offset = elf.programs[1].memsz - elf.sections[2].size + 1;
    let mut file = elf.build();
    file.push(0);
    assert_eq!(Firmware::parse(&file).unwrap().table_section().unwrap().at, None);

    // No section headers at all.
    let file = patched(Class::Elf64, (32, 40), &[0; 4]);
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(codes(&firmware), [codes::NO_SECTIONS, codes::NO_TABLE]);
    let file = patched(Class::Elf64, (40, 52), &[65]);
    assert_eq!(codes(&Firmware::parse(&file).unwrap()), [codes::HEADER_SIZE]);
}

#[test]
fn a_malformed_table_does_not_keep_the_file_from_being_looked_at() {
    let mut bytes = small_table();
    bytes[0] = 2;
    let file = Elf::with_table(Class::Elf64, &bytes).build();
    let firmware = Firmware::parse(&file).unwrap();
    assert!(firmware.table().is_err());
    assert_eq!(codes(&firmware), [codes::TABLE_ENTRY_MALFORMED]);
}

#[test]
fn the_test_program_itself_is_read() {
    let path = std::env::current_exe().unwrap();
    let file = std::fs::read(path).unwrap();
    let firmware = Firmware::parse(&file).unwrap();
    assert_eq!(Some(firmware.machine()), Machine::NATIVE);
    assert!(
        firmware.segments().iter().any(|segment| segment.name == ".text" || segment.access().is_executable())
    );
    assert!(codes(&firmware).contains(&codes::NO_TABLE));
}
