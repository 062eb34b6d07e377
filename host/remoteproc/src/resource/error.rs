use alloc::string::String;
use core::fmt;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::TableError;
use sidecore_wire::split::Layout;

use crate::codes::{self, Code};

/// Why no remote can be given what a firmware image asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The resource table, or one of its entries, is malformed.
    #[error("{0}")]
    Table(TableError),
    /// The table has more entries than the limit allows.
    #[error("resource table: count is {count}: more entries than the limit of {limit}")]
    TooManyEntries {
        /// Entries that it has.
        count: u32,
        /// The limit.
        limit: u32,
    },
    /// An entry asks for something that cannot be.
    #[error("resource table, {place}{}: {fault}", Value(.place, *.value))]
    Entry {
        /// Which entry and field.
        place: Place,
        /// The field's value.
        value: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// All memories together exceed the limit.
    #[error("memory {name:?} of {len:#x} bytes: all memories together exceed the limit of {limit:#x} bytes")]
    MemoryLimit {
        /// The memory with which the limit is exceeded.
        name: String,
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There are more memories than can be mapped.
    #[error("the firmware needs {count} separate memories: at most {limit} can be mapped")]
    TooManyMemories {
        /// Memories that it needs.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The file wants an interpreter.
    #[error("PT_INTERP is {path:?}: this is a program of an operating system and not firmware")]
    Interpreter {
        /// Path of the interpreter, made printable.
        path: String,
    },
    /// The backend placed a memory where the table's 32-bit addresses cannot name it, or did not place it at all.
    #[error("memory {name:?} was placed at {at:?}: the resource table can name addresses below 4 GiB only")]
    PlacedHigh {
        /// Name of the memory.
        name: String,
        /// Where the backend placed it.
        at: Option<DeviceAddr>,
    },
}

impl PlanError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Table(_) => codes::TABLE_MALFORMED,
            Self::TooManyEntries { .. } => codes::RESOURCE_TOO_MANY,
            Self::Entry { fault, .. } => fault.code(),
            Self::MemoryLimit { .. } => codes::MEMORY_LIMIT,
            Self::TooManyMemories { .. } => codes::MEMORY_COUNT,
            Self::Interpreter { .. } => codes::ELF_INTERPRETER,
            Self::PlacedHigh { .. } => codes::MEMORY_PLACED_HIGH,
        }
    }
}

/// A field of an entry of the resource table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the entry, from 0.
    pub entry: u32,
    /// What kind of entry it is.
    pub kind: &'static str,
    /// Number of the ring, if the field is a ring's.
    pub ring: Option<u8>,
    /// Name of the field in the format's definition.
    pub field: &'static str,
}

impl Place {
    pub(super) fn with(self, value: u64, fault: Fault) -> PlanError {
        PlanError::Entry { place: self, value, fault }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { entry, kind, ring, field } = self;
        write!(f, "entry {entry} ({kind}): {field}")?;
        ring.map_or(Ok(()), |ring| write!(f, " of vring {ring}"))
    }
}

/// Addresses in hexadecimal, everything else as a number.
struct Value<'p>(&'p Place, u64);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.field {
            "da" | "pa" | "len" | "align" => write!(f, " is {:#x}", self.1),
            _ => write!(f, " is {}", self.1),
        }
    }
}

/// What is wrong with a field of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is nothing at all.
    Zero,
    /// What it describes runs past the last 32-bit address.
    Wraps {
        /// First address.
        at: u64,
        /// Length in bytes.
        len: u64,
    },
    /// What it describes is larger than the limit.
    TooLarge {
        /// Bytes that it needs.
        needed: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// What it describes overlaps something else.
    Overlaps {
        /// First address of the thing.
        at: u64,
        /// Its last address.
        last: u64,
        /// Name of the other thing.
        other: String,
        /// First address of the other thing.
        other_at: u64,
        /// Its last address.
        other_last: u64,
    },
    /// What it describes lies partly inside something that should hold all of it.
    Straddles {
        /// First address of the thing.
        at: u64,
        /// Its last address.
        last: u64,
        /// Name of the other thing.
        other: String,
        /// First address of the other thing.
        other_at: u64,
        /// Its last address.
        other_last: u64,
    },
    /// A ring cannot have so many descriptors.
    RingNum,
    /// A ring cannot have that alignment.
    RingAlign,
    /// An address does not fit the alignment.
    Misaligned {
        /// The alignment in bytes.
        align: u64,
    },
    /// There are more of it than the limit allows, all devices together.
    TooMany {
        /// The limit.
        limit: u32,
    },
    /// It is too small for its purpose.
    TooSmall {
        /// What it is for.
        purpose: &'static str,
        /// What it must be at least.
        needed: u64,
    },
    /// The ring is at a fixed address, but the carveout of its name is not.
    Elsewhere,
}

impl Fault {
    fn code(&self) -> Code {
        match self {
            Self::Zero => codes::RESOURCE_ZERO,
            Self::Wraps { .. } => codes::RESOURCE_WRAPS,
            Self::TooLarge { .. } => codes::RESOURCE_TOO_LARGE,
            Self::Overlaps { .. } => codes::RESOURCE_OVERLAPS,
            Self::Straddles { .. } => codes::RESOURCE_STRADDLES,
            Self::RingNum | Self::RingAlign => codes::RESOURCE_RING,
            Self::Misaligned { .. } => codes::RESOURCE_MISALIGNED,
            Self::TooMany { .. } => codes::RESOURCE_TOO_MANY,
            Self::TooSmall { .. } => codes::RESOURCE_TOO_SMALL,
            Self::Elsewhere => codes::RESOURCE_ELSEWHERE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("must not be 0"),
            Self::Wraps { at, len } => {
                write!(f, "{len:#x} bytes at {at:#x} run past 0xffffffff, the last address")
            }
            Self::TooLarge { needed, limit } => {
                write!(f, "that needs {needed:#x} bytes, and the limit is {limit:#x}")
            }
            Self::Overlaps { at, last, other, other_at, other_last } => {
                write!(f, "{at:#x} to {last:#x} overlaps {other} at {other_at:#x} to {other_last:#x}")
            }
            Self::Straddles { at, last, other, other_at, other_last } => write!(
                f,
                "{at:#x} to {last:#x} lies only partly inside {other} at {other_at:#x} to {other_last:#x}"
            ),
            Self::RingNum => write!(f, "must be a power of two from 1 to {}", Layout::MAX_NUM),
            Self::RingAlign => f.write_str("must be a power of two of at least 4"),
            Self::Misaligned { align } => write!(f, "must be a multiple of {align:#x}"),
            Self::TooMany { limit } => {
                write!(f, "all devices together have more than the limit of {limit}")
            }
            Self::TooSmall { purpose, needed } => write!(f, "{purpose} needs at least {needed}"),
            Self::Elsewhere => f.write_str("the carveout of the ring's name has no fixed address"),
        }
    }
}
