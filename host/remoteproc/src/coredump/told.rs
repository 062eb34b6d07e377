//! What the head of a core dump tells. The file may have been anyone's since it was written.

use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;

use super::{ET_CORE, NT_GNU_BUILD_ID, NT_PRSTATUS, OURS, PT_LOAD, PT_NOTE};
use crate::firmware::{Class, Machine};

/// What is known of a dumped remote without its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// The kind of processor.
    pub machine: Machine,
    /// Whether its registers are there.
    pub has_registers: bool,
    /// The firmware's build id; empty where it has none.
    pub build_id: Vec<u8>,
    /// What is known of the crash, and what its user added, in the order in which it was written. The values are escaped
    /// as Rust escapes text.
    pub facts: Vec<(String, String)>,
    /// The memories.
    pub memories: Vec<ToldMemory>,
}

/// A memory in a core dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToldMemory {
    /// Its address as the remote has it.
    pub at: DeviceAddr,
    /// Its length in bytes.
    pub len: u64,
    /// Whether its bytes are in the file.
    pub has_bytes: bool,
    /// Whether the remote may write it.
    pub is_writable: bool,
    /// Whether the remote may execute it.
    pub is_executable: bool,
}

/// Bytes of a head, at most: this many program headers and far more notes than there ever are.
const MOST: usize = 1 << 20;

impl Told {
    /// Bytes that are enough for [`Told::parse`], whatever follows.
    pub const ENOUGH: usize = MOST;

    /// Reads the beginning of a core dump, up to [`ENOUGH`](Self::ENOUGH) bytes of it; `None` where they are none that
    /// sidecore wrote.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..MOST).unwrap_or(bytes);
        let class = match bytes.get(..7)? {
            b"\x7fELF\x01\x01\x01" => Class::Elf32,
            b"\x7fELF\x02\x01\x01" => Class::Elf64,
            _ => return None,
        };
        let reader = Reader { bytes, class };
        if reader.half(16)? != ET_CORE {
            return None;
        }
        let machine = Machine { number: reader.half(18)?, class };
        let (header_len, program_len) = if class == Class::Elf32 { (52, 32) } else { (64, 56) };
        let count = usize::from(reader.half(header_len - 8)?);
        let mut told = Self {
            machine,
            has_registers: false,
            build_id: Vec::new(),
            facts: Vec::new(),
            memories: Vec::new(),
        };
        let mut is_ours = false;
        for number in 0..count {
            let program = reader.program(header_len + program_len * number)?;
            match program.kind {
                PT_NOTE => is_ours |= told.read_notes(program.bytes(bytes)?)?,
                PT_LOAD => told.memories.push(program.memory()),
                _ => {}
            }
        }
        is_ours.then_some(told)
    }

    /// The value of a fact.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// Whether our own note is among them.
    fn read_notes(&mut self, mut notes: &[u8]) -> Option<bool> {
        let mut is_ours = false;
        while !notes.is_empty() {
            let word = |at: usize| {
                let word = notes.get(at..)?.first_chunk()?;
                usize::try_from(u32::from_le_bytes(*word)).ok()
            };
            let (name_len, len, kind) = (word(0)?, word(4)?, word(8)? as u32);
            let name = notes.get(12..12_usize.checked_add(name_len)?)?;
            let start = 12_usize.checked_add(name_len)?.checked_next_multiple_of(4)?;
            let end = start.checked_add(len)?;
            let bytes = notes.get(start..end)?;
            match (name, kind) {
                (b"CORE\0", NT_PRSTATUS) => self.has_registers = true,
                (b"GNU\0", NT_GNU_BUILD_ID) => self.build_id = bytes.to_vec(),
                (name, kind) if kind == OURS.1 && name.strip_suffix(b"\0") == Some(OURS.0.as_bytes()) => {
                    let lines = core::str::from_utf8(bytes).ok()?.lines();
                    let facts = lines.filter_map(|line| line.split_once('='));
                    self.facts = facts.map(|(key, value)| (key.into(), value.into())).collect();
                    is_ours = true;
                }
                _ => {}
            }
            notes = notes.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
        }
        Some(is_ours)
    }
}

/// A program header.
struct Program {
    kind: u32,
    flags: u32,
    offset: u64,
    at: u64,
    file: u64,
    len: u64,
}

impl Program {
    fn bytes<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let start = usize::try_from(self.offset).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(self.file).ok()?)?)
    }

    fn memory(&self) -> ToldMemory {
        ToldMemory {
            at: DeviceAddr(self.at),
            len: self.len,
            has_bytes: self.file > 0,
            is_writable: self.flags & 2 != 0,
            is_executable: self.flags & 1 != 0,
        }
    }
}

/// Reads the fields of headers, whose width is the class's.
struct Reader<'b> {
    bytes: &'b [u8],
    class: Class,
}

impl Reader<'_> {
    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn program(&self, at: usize) -> Option<Program> {
        let long = |at: usize| Some(u64::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?));
        let word = |at| self.word(at).map(u64::from);
        let kind = self.word(at)?;
        Some(match self.class {
            Class::Elf32 => Program {
                kind,
                offset: word(at + 4)?,
                at: word(at + 8)?,
                file: word(at + 16)?,
                len: word(at + 20)?,
                flags: self.word(at + 24)?,
            },
            Class::Elf64 => Program {
                kind,
                flags: self.word(at + 4)?,
                offset: long(at + 8)?,
                at: long(at + 16)?,
                file: long(at + 32)?,
                len: long(at + 40)?,
            },
        })
    }
}
