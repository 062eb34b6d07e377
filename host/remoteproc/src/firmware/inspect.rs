//! What is odd about an ELF file that can be loaded.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::vec::Vec;

use super::elf::Headers;
use super::parse::{entry_segment, instruction};
use super::{Firmware, Segment};
use crate::Access;
use crate::codes;
use crate::finding::Finding;

/// A gap between segments worth a note, in bytes.
const LARGE_GAP: u64 = 16 << 20;
/// Memory without bytes in the file worth a note, in bytes.
const LARGE_BSS: u64 = 16 << 20;

pub(super) fn file(
    bytes: &[u8],
    headers: &Headers<'_>,
    firmware: &Firmware<'_>,
    findings: &mut Vec<Finding>,
) {
    header(headers, findings);
    for segment in &firmware.segments {
        one_segment(segment, findings);
    }
    neighbours(&firmware.segments, findings);
    entry(firmware, findings);
    alignment(headers, findings);
    sections(bytes, headers, findings);
    if let Some(path) = &firmware.interpreter {
        let text = format!("PT_INTERP is {path:?}: a program of an operating system");
        findings.push(Finding::error(codes::INTERPRETER, text));
    }
    if firmware.table.is_none() {
        findings.push(Finding::note(codes::NO_TABLE, "no section is named .resource_table".to_owned()));
    }
}

fn header(headers: &Headers<'_>, findings: &mut Vec<Finding>) {
    let (found, expected) = headers.header_size;
    if found != expected {
        let text = format!("e_ehsize is {found}: should be {expected}");
        findings.push(Finding::note(codes::HEADER_SIZE, text));
    }
    if headers.file_type == 3 {
        let text = "e_type is 3 (position independent): loaded at its own addresses".to_owned();
        findings.push(Finding::warning(codes::POSITION_INDEPENDENT, text));
    }
    if headers.sections.is_empty() {
        findings.push(Finding::warning(codes::NO_SECTIONS, "e_shnum is 0".to_owned()));
    }
}

fn one_segment(segment: &Segment<'_>, findings: &mut Vec<Finding>) {
    let &Segment { header, ref name, at, runs_at, memsz, .. } = segment;
    if segment.access() == Access::ReadWriteExecute {
        let text = format!("p_flags of program header {header} ({name}) is {:#x}", segment.flags);
        findings.push(Finding::warning(codes::SEGMENT_RWX, text));
    }
    if at.0 != runs_at {
        let text = format!("program header {header} ({name}) is loaded to {at}, but p_vaddr is {runs_at:#x}");
        findings.push(Finding::note(codes::LOADED_ELSEWHERE, text));
    }
    let bss = memsz - segment.bytes.len() as u64;
    if bss > LARGE_BSS {
        let text =
            format!("program header {header} ({name}): {bss:#x} of {memsz:#x} bytes are not in the file");
        findings.push(Finding::note(codes::BSS_LARGE, text));
    }
}

fn neighbours(segments: &[Segment<'_>], findings: &mut Vec<Finding>) {
    let mut sorted: Vec<&Segment<'_>> = segments.iter().collect();
    sorted.sort_by_key(|segment| segment.at);
    let gaps = sorted.windows(2).filter_map(|pair| {
        let end = pair[0].at.0.saturating_add(pair[0].memsz);
        Some((pair[1].at.0.checked_sub(end)?, end, pair[1].at))
    });
    if let Some((gap, end, next)) = gaps.max_by_key(|&(gap, _, _)| gap).filter(|&(gap, _, _)| gap > LARGE_GAP)
    {
        let text = format!("nothing is loaded between {end:#x} and {next}, {gap:#x} bytes");
        findings.push(Finding::note(codes::SEGMENTS_GAP, text));
    }

    sorted.sort_by_key(|segment| segment.runs_at);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].runs(pair[1].runs_at)) {
        let text = format!(
            "p_vaddr of program header {} is {:#x}: the segment of program header {} runs there, too",
            pair[1].header, pair[1].runs_at, pair[0].header
        );
        findings.push(Finding::note(codes::RUNS_OVERLAP, text));
    }
}

fn entry(firmware: &Firmware<'_>, findings: &mut Vec<Finding>) {
    let address = instruction(firmware.machine, firmware.entry.0);
    match entry_segment(&firmware.segments, address) {
        None => {
            let text = "e_entry is 0, and nothing is loaded there".to_owned();
            findings.push(Finding::warning(codes::ENTRY_MISSING, text));
        }
        Some(segment) if !segment.access().is_executable() => {
            let text = format!(
                "e_entry is {}: p_flags of program header {} ({}) is {:#x}",
                firmware.entry, segment.header, segment.name, segment.flags
            );
            findings.push(Finding::warning(codes::ENTRY_NOT_EXECUTABLE, text));
        }
        Some(_) => {}
    }
}

fn alignment(headers: &Headers<'_>, findings: &mut Vec<Finding>) {
    let odd = headers.programs.iter().find(|program| {
        let loads = program.kind == 1 && program.filesz > 0 && program.align > 1;
        loads && !program.vaddr.wrapping_sub(program.offset).is_multiple_of(program.align)
    });
    if let Some(program) = odd {
        let text = format!(
            "p_offset of program header {} is {:#x} and p_vaddr {:#x}: they differ modulo p_align, which is {:#x}",
            program.number, program.offset, program.vaddr, program.align
        );
        findings.push(Finding::note(codes::SEGMENT_OFFSET, text));
    }
}

fn sections(bytes: &[u8], headers: &Headers<'_>, findings: &mut Vec<Finding>) {
    let len = bytes.len() as u64;
    let outside = headers.sections.iter().find(|section| {
        let end = section.offset.checked_add(section.size);
        // Types 0 (unused) and 8 (no bits) have no bytes in the file.
        !matches!(section.kind, 0 | 8) && end.is_none_or(|end| end > len)
    });
    if let Some(section) = outside {
        let text = format!(
            "sh_offset of section header {} is {:#x} and sh_size {:#x}, but the file has {len} bytes",
            section.number, section.offset, section.size
        );
        findings.push(Finding::warning(codes::SECTION_OUTSIDE, text));
    }
}
