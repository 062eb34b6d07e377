use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sidecore_mem::DeviceAddr;

use super::Machine;
use crate::codes::{self, Code};

/// Why a file is no firmware that can be loaded. Every message names the header field and its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The file does not begin with the four bytes of ELF.
    #[error(
        "e_ident begins with {:02x} {:02x} {:02x} {:02x}: an ELF file begins with 7f 45 4c 46",
        .found[0], .found[1], .found[2], .found[3]
    )]
    NotElf {
        /// What it begins with.
        found: [u8; 4],
    },
    /// The file ends inside the ELF header.
    #[error("the file has {len} bytes: the ELF header, from e_ident to e_shstrndx, needs {needed}")]
    TooShort {
        /// Bytes that the header needs, as far as known.
        needed: u64,
        /// Bytes that the file has.
        len: u64,
    },
    /// The file ends before what a field describes does.
    #[error("{field} is {value:#x}: that needs {needed} bytes, but the file has {len}")]
    Truncated {
        /// The field.
        field: Field,
        /// Its value.
        value: u64,
        /// Bytes that the file would have at least; `u64::MAX` also for anything above.
        needed: u64,
        /// Bytes that it has.
        len: u64,
    },
    /// The file is neither 32-bit nor 64-bit ELF.
    #[error("e_ident[EI_CLASS] is {value}: must be 1 (32-bit) or 2 (64-bit)")]
    Class {
        /// The class.
        value: u8,
    },
    /// The file is not little endian.
    #[error("e_ident[EI_DATA] is {value}{}: must be 1 (little endian)", if *.value == 2 { " (big endian)" } else { "" })]
    ByteOrder {
        /// The byte order.
        value: u8,
    },
    /// The version of the format is not 1.
    #[error("{field} is {value}: must be 1")]
    Version {
        /// Which of the two versions.
        field: Field,
        /// The version.
        value: u32,
    },
    /// The file is ELF but nothing to run.
    #[error("e_type is {value:#x} ({}): must be 2 (executable) or 3 (position independent)", type_name(*.value))]
    FileType {
        /// The type.
        value: u16,
    },
    /// The firmware is for another kind of processor.
    #[error("e_machine is {found}: the remote is {}", list(.wanted))]
    ForeignMachine {
        /// What the firmware is for.
        found: Machine,
        /// What the remote is.
        wanted: Vec<Machine>,
    },
    /// There is nothing to load.
    #[error("e_phnum is {headers}, and none of them is a PT_LOAD with memory: there is nothing to load")]
    NoSegments {
        /// Number of program headers.
        headers: u32,
    },
    /// The entries of a header table have another size than the class prescribes.
    #[error("{field} is {value}: must be {expected}")]
    EntrySize {
        /// The field.
        field: Field,
        /// Its value.
        value: u16,
        /// The size in bytes of the class's entries.
        expected: u16,
    },
    /// There is more of something than the limit allows.
    #[error("{field} is {value}: {what} than the limit of {limit}")]
    TooMany {
        /// The field.
        field: Field,
        /// Its value.
        value: u32,
        /// What there are more of, as the message says it.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// A segment holds more bytes in the file than it takes in memory.
    #[error(
        "p_filesz of program header {header} is {filesz:#x}: must not exceed p_memsz, which is {memsz:#x}"
    )]
    SegmentSize {
        /// Number of the program header.
        header: u32,
        /// Bytes in the file.
        filesz: u64,
        /// Bytes in memory.
        memsz: u64,
    },
    /// A segment runs past the end of the address space.
    #[error("{field} is {address:#x} and p_memsz {memsz:#x}: that runs past {last:#x}, the last address")]
    SegmentWraps {
        /// `p_paddr` or `p_vaddr`.
        field: Field,
        /// Its value.
        address: u64,
        /// Bytes in memory.
        memsz: u64,
        /// The last address of the file's class.
        last: u64,
    },
    /// Two segments would be loaded over each other.
    #[error(
        "p_paddr of program header {header} is {at}: the segment of program header {other} reaches from {} to {}",
        .other_at, DeviceAddr(.other_at.0.saturating_add(*.other_memsz))
    )]
    SegmentsOverlap {
        /// Number of the program header with the higher address.
        header: u32,
        /// Its load address.
        at: DeviceAddr,
        /// Number of the program header with the lower address.
        other: u32,
        /// Its load address.
        other_at: DeviceAddr,
        /// Its bytes in memory.
        other_memsz: u64,
    },
    /// A segment's alignment is no power of two.
    #[error("p_align of program header {header} is {align:#x}: must be 0 or a power of two")]
    SegmentAlign {
        /// Number of the program header.
        header: u32,
        /// The alignment.
        align: u64,
    },
    /// The entry point lies in no segment.
    #[error("e_entry is {entry}: no segment holds that address")]
    EntryOutside {
        /// The entry point.
        entry: DeviceAddr,
    },
    /// The segments need more memory than the limit allows.
    #[error(
        "p_memsz of program header {header} is {memsz:#x}: all segments together exceed the limit of {limit:#x} bytes"
    )]
    MemoryLimit {
        /// Number of the program header with which the limit is exceeded.
        header: u32,
        /// Its bytes in memory.
        memsz: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The names of the sections cannot be found.
    #[error("{field} is {value:#x}: must be less than {limit:#x}")]
    Names {
        /// `e_shstrndx` or a section's `sh_name`.
        field: Field,
        /// Its value.
        value: u32,
        /// Number of sections, or bytes of the names.
        limit: u64,
    },
    /// The resource table has no bytes in the file.
    #[error(
        "sh_type of section header {section} (.resource_table) is 8 (no bytes in the file): the table must have some"
    )]
    TableWithoutBytes {
        /// Number of the section header.
        section: u32,
    },
}

impl FirmwareError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotElf { .. } => codes::ELF_NOT_ELF,
            Self::TooShort { .. } | Self::Truncated { .. } => codes::ELF_TRUNCATED,
            Self::Class { .. } => codes::ELF_CLASS,
            Self::ByteOrder { .. } => codes::ELF_BYTE_ORDER,
            Self::Version { .. } => codes::ELF_VERSION,
            Self::FileType { .. } => codes::ELF_TYPE,
            Self::ForeignMachine { .. } => codes::ELF_MACHINE,
            Self::NoSegments { .. } => codes::ELF_NO_SEGMENTS,
            Self::EntrySize { .. } => codes::ELF_ENTRY_SIZE,
            Self::TooMany { .. } => codes::ELF_TOO_MANY,
            Self::SegmentSize { .. } => codes::ELF_SEGMENT_SIZE,
            Self::SegmentWraps { .. } => codes::ELF_SEGMENT_WRAPS,
            Self::SegmentsOverlap { .. } => codes::ELF_SEGMENTS_OVERLAP,
            Self::SegmentAlign { .. } => codes::ELF_SEGMENT_ALIGN,
            Self::EntryOutside { .. } => codes::ELF_ENTRY,
            Self::MemoryLimit { .. } => codes::ELF_MEMORY,
            Self::Names { .. } => codes::ELF_NAMES,
            Self::TableWithoutBytes { .. } => codes::ELF_TABLE_SECTION,
        }
    }
}

/// A field of an ELF file, and which header it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name in the ELF specification.
    pub name: &'static str,
    /// The header.
    pub of: Header,
}

/// One of the headers of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The one at the beginning.
    File,
    /// The program header with this number.
    Program(u32),
    /// The section header with this number.
    Section(u32),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Header::File => f.write_str(self.name),
            Header::Program(number) => write!(f, "{} of program header {number}", self.name),
            Header::Section(number) => write!(f, "{} of section header {number}", self.name),
        }
    }
}

fn type_name(value: u16) -> &'static str {
    match value {
        0 => "none",
        1 => "relocatable object",
        4 => "core dump",
        _ => "unknown",
    }
}

fn list(machines: &[Machine]) -> String {
    let mut text = String::new();
    for (index, machine) in machines.iter().enumerate() {
        if index > 0 {
            text.push_str(" or ");
        }
        fmt::Write::write_fmt(&mut text, format_args!("{machine}")).expect("writing to a string cannot fail");
    }
    text
}
