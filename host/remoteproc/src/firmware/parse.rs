//! From checked headers to a [`Firmware`].

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use object::LittleEndian;
use object::elf::{FileHeader32, FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::{FileHeader, NoteIterator};
use sidecore_mem::DeviceAddr;

use super::elf::{self, Headers, Program, Section};
use super::error::{Field, FirmwareError, Header};
use super::{Class, Firmware, Machine, Segment, TableSection, inspect};
use crate::codes;
use crate::finding::Finding;
use crate::text::escape;
use crate::{Limits, resource};

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const SHT_NOBITS: u32 = 8;
const SHF_ALLOC: u64 = 2;

/// Build ids are 16, 20 or 32 bytes; more is not one.
const BUILD_ID_LIMIT: usize = 64;
/// A build id is looked for in so many PT_NOTE segments of so many bytes at most: file headers may all name the same
/// notes, and a search through all of them would be quadratic.
const NOTES_LIMIT: (usize, u64) = (8, 64 << 10);

pub(super) fn firmware<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Firmware<'a>, FirmwareError> {
    let headers = elf::read(bytes, limits)?;
    if !matches!(headers.file_type, ET_EXEC | ET_DYN) {
        return Err(FirmwareError::FileType { value: headers.file_type });
    }

    let mut findings = Vec::new();
    let mut segments = segments(bytes, &headers, limits, &mut findings)?;
    name_segments(&mut segments, &headers.sections);
    check_overlaps(&segments)?;
    check_entry(&headers, &segments)?;
    let table = table(bytes, &headers.sections, &segments, &mut findings)?;
    let interpreter = interpreter(bytes, &headers.programs)?;
    let build_id = build_id(bytes, headers.machine.class, &headers.programs, &mut findings);

    let mut firmware = Firmware {
        machine: headers.machine,
        flags: headers.flags,
        entry: DeviceAddr(headers.entry),
        segments,
        table,
        build_id,
        interpreter,
        findings: Vec::new(),
    };
    inspect::file(bytes, &headers, &firmware, &mut findings);
    resource::inspect(&firmware, &mut findings);
    firmware.findings = findings;
    Ok(firmware)
}

fn segments<'a>(
    bytes: &'a [u8],
    headers: &Headers<'_>,
    limits: &Limits,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Segment<'a>>, FirmwareError> {
    let loads = || headers.programs.iter().filter(|program| program.kind == PT_LOAD);
    let no_paddr = loads().all(|program| program.paddr == 0) && loads().any(|program| program.vaddr != 0);
    if no_paddr {
        let text = "p_paddr of every PT_LOAD is 0: loading to p_vaddr".to_owned();
        findings.push(Finding::warning(codes::LOAD_ADDRESS_MISSING, text));
    }

    let mut segments: Vec<Segment<'a>> = Vec::new();
    let mut empty = 0_u32;
    let mut memory = 0_u64;
    for program in loads() {
        let segment = segment(bytes, program, headers.machine.class, no_paddr)?;
        if segment.memsz == 0 {
            empty += 1;
            continue;
        }
        memory = memory.saturating_add(segment.memsz);
        if memory > limits.memory {
            let (header, memsz, limit) = (segment.header, segment.memsz, limits.memory);
            return Err(FirmwareError::MemoryLimit { header, memsz, limit });
        }
        segments.push(segment);
        if segments.len() > limits.segments as usize {
            return Err(FirmwareError::TooMany {
                field: Field { name: "e_phnum", of: Header::File },
                value: headers.programs.len() as u32,
                what: "more PT_LOAD with memory",
                limit: limits.segments,
            });
        }
    }
    if empty > 0 {
        let text = format!("p_memsz of {empty} PT_LOAD program header(s) is 0");
        findings.push(Finding::note(codes::SEGMENT_EMPTY, text));
    }
    if segments.is_empty() {
        return Err(FirmwareError::NoSegments { headers: headers.programs.len() as u32 });
    }
    Ok(segments)
}

fn segment<'a>(
    bytes: &'a [u8],
    program: &Program,
    class: Class,
    no_paddr: bool,
) -> Result<Segment<'a>, FirmwareError> {
    let &Program { number: header, flags, offset, vaddr, paddr, filesz, memsz, align, .. } = program;
    if filesz > memsz {
        return Err(FirmwareError::SegmentSize { header, filesz, memsz });
    }
    if align != 0 && !align.is_power_of_two() {
        return Err(FirmwareError::SegmentAlign { header, align });
    }
    // The last byte, not the end: a segment may reach up to the very top of the address space.
    let last = class.last_address();
    for (name, address) in [("p_paddr", paddr), ("p_vaddr", vaddr)] {
        if memsz > 0 && address.checked_add(memsz - 1).is_none_or(|end| end > last) {
            let field = Field { name, of: Header::Program(header) };
            return Err(FirmwareError::SegmentWraps { field, address, memsz, last });
        }
    }
    // Linkers give a segment without bytes any offset they like.
    let loaded = if filesz == 0 {
        &[]
    } else {
        elf::range(bytes, Field { name: "p_offset", of: Header::Program(header) }, offset, filesz)?
    };
    let at = DeviceAddr(if no_paddr { vaddr } else { paddr });
    let name = format!("segment{header}");
    Ok(Segment { header, name, at, runs_at: vaddr, bytes: loaded, memsz, flags, align })
}

/// Names each segment after the best-known of its sections, or else its first.
fn name_segments(segments: &mut [Segment<'_>], sections: &[Section<'_>]) {
    let fame = |name: &[u8]| {
        let known: [&[u8]; 4] = [b".text", b".rodata", b".data", b".bss"];
        known.iter().position(|known| *known == name).unwrap_or(known.len())
    };
    for segment in segments {
        let inside = sections.iter().filter(|section| {
            let named = section.size > 0 && !section.name.is_empty();
            named && section.flags & SHF_ALLOC != 0 && segment.runs(section.addr)
        });
        if let Some(section) = inside.min_by_key(|section| (fame(section.name), section.addr)) {
            segment.name = escape(section.name, 32);
        }
    }
}

/// Two segments must not be loaded over each other. If any two overlap, then two that are neighbours by address do.
fn check_overlaps(segments: &[Segment<'_>]) -> Result<(), FirmwareError> {
    let mut sorted: Vec<&Segment<'_>> = segments.iter().collect();
    sorted.sort_by_key(|segment| segment.at);
    for pair in sorted.windows(2) {
        let [low, high] = pair else { continue };
        if low.holds(high.at.0) {
            return Err(FirmwareError::SegmentsOverlap {
                header: high.header,
                at: high.at,
                other: low.header,
                other_at: low.at,
                other_memsz: low.memsz,
            });
        }
    }
    Ok(())
}

fn check_entry(headers: &Headers<'_>, segments: &[Segment<'_>]) -> Result<(), FirmwareError> {
    let address = instruction(headers.machine, headers.entry);
    if headers.entry == 0 || entry_segment(segments, address).is_some() {
        return Ok(());
    }
    Err(FirmwareError::EntryOutside { entry: DeviceAddr(headers.entry) })
}

/// The address of the instruction at an entry point: on Arm, bit 0 tells the instruction set.
pub(super) fn instruction(machine: Machine, entry: u64) -> u64 {
    if machine.number == Machine::ARM.number { entry & !1 } else { entry }
}

/// The segment that an address of code lies in: where it runs, or else where it is loaded.
pub(super) fn entry_segment<'s, 'a>(segments: &'s [Segment<'a>], address: u64) -> Option<&'s Segment<'a>> {
    let running = segments.iter().find(|segment| segment.runs(address));
    running.or_else(|| segments.iter().find(|segment| segment.holds(address)))
}

fn table<'a>(
    bytes: &'a [u8],
    sections: &[Section<'_>],
    segments: &[Segment<'_>],
    findings: &mut Vec<Finding>,
) -> Result<Option<TableSection<'a>>, FirmwareError> {
    let mut named = sections.iter().filter(|section| section.name == b".resource_table");
    let Some(section) = named.next() else { return Ok(None) };
    let others = named.count();
    if others > 0 {
        let text = format!(
            "sections named .resource_table: {}; that of section header {} counts",
            others + 1,
            section.number
        );
        findings.push(Finding::warning(codes::TABLE_DUPLICATE, text));
    }

    if section.kind == SHT_NOBITS {
        return Err(FirmwareError::TableWithoutBytes { section: section.number });
    }
    let field = Field { name: "sh_offset", of: Header::Section(section.number) };
    let bytes = elf::range(bytes, field, section.offset, section.size)?;

    // A section without SHF_ALLOC has no address, whatever its header says.
    let allocated = section.flags & SHF_ALLOC != 0;
    let holder = segments.iter().find(|segment| {
        let offset = section.addr.checked_sub(segment.runs_at);
        let end = offset.and_then(|offset| offset.checked_add(section.size));
        allocated && segment.runs(section.addr) && end.is_some_and(|end| end <= segment.memsz)
    });
    let at = holder.map(|segment| DeviceAddr(segment.at.0 + (section.addr - segment.runs_at)));
    match at {
        None => {
            let text = format!("sh_addr of .resource_table is {:#x}: no segment holds it", section.addr);
            findings.push(Finding::warning(codes::TABLE_NOT_LOADED, text));
        }
        Some(at) if at.0 != section.addr => {
            let text = format!("sh_addr of .resource_table is {:#x}, but it is loaded to {at}", section.addr);
            findings.push(Finding::warning(codes::TABLE_MOVED, text));
        }
        Some(_) => {}
    }
    Ok(Some(TableSection { section: section.number, bytes, at }))
}

fn interpreter(bytes: &[u8], programs: &[Program]) -> Result<Option<String>, FirmwareError> {
    let Some(program) = programs.iter().find(|program| program.kind == PT_INTERP) else { return Ok(None) };
    let field = Field { name: "p_offset", of: Header::Program(program.number) };
    let path = elf::range(bytes, field, program.offset, program.filesz)?;
    let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(escape(path, 256)))
}

fn build_id<'a>(
    bytes: &'a [u8],
    class: Class,
    programs: &[Program],
    findings: &mut Vec<Finding>,
) -> Option<&'a [u8]> {
    let (count, size) = NOTES_LIMIT;
    for program in programs.iter().filter(|program| program.kind == PT_NOTE).take(count) {
        let field = Field { name: "p_offset", of: Header::Program(program.number) };
        let found =
            elf::range(bytes, field, program.offset, program.filesz.min(size)).ok().and_then(|notes| {
                // The size of a note's parts does not depend on the class; only `NoteIterator` does.
                match class {
                    Class::Elf32 => build_id_in::<FileHeader32<LittleEndian>>(notes, program.align as u32),
                    Class::Elf64 => build_id_in::<FileHeader64<LittleEndian>>(notes, program.align),
                }
            });
        match found {
            Some(Some(id)) => return Some(id),
            Some(None) => {}
            None => {
                let text = format!(
                    "p_offset of program header {} (PT_NOTE) is {:#x}: no notes there",
                    program.number, program.offset
                );
                findings.push(Finding::note(codes::NOTE_MALFORMED, text));
                return None;
            }
        }
    }
    None
}

/// The build id among the notes; `None` if they cannot be read.
fn build_id_in<H>(notes: &[u8], align: H::Word) -> Option<Option<&[u8]>>
where
    H: FileHeader<Endian = LittleEndian>,
{
    for note in NoteIterator::<H>::new(LittleEndian, align, notes).ok()? {
        let note = note.ok()?;
        let is_id = note.name() == b"GNU" && note.n_type(LittleEndian) == NT_GNU_BUILD_ID;
        if is_id && (1..=BUILD_ID_LIMIT).contains(&note.desc().len()) {
            return Some(Some(note.desc()));
        }
    }
    Some(None)
}
