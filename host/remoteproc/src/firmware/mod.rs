//! Firmware images: ELF files, checked and taken apart.
//!
//! Whatever the file says is checked here, once, and every error names the header field and its value. Sources: the
//! System V ABI (ELF), and Linux `drivers/remoteproc/remoteproc_elf_loader.c` for what a loader makes of it:
//!
//! - **A segment is loaded to `p_paddr`**, as Linux does it, and that is its device address. Where every `p_paddr` is 0
//!   but the `p_vaddr` are not (some linkers leave the field out), the latter count; a finding says so.
//! - **The resource table** is the first section named `.resource_table`. Its device address is where its segment puts
//!   it; Linux takes `sh_addr`, which is the same unless the segment is loaded elsewhere than it runs (a finding).
//! - **The entry point** is `e_entry` as it stands. It must lie in a segment, at the address where the segment runs or
//!   where it is loaded. 0 means, by the ABI, that there is none.

use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::{Table, TableError};

mod elf;
mod error;
mod inspect;
mod machine;
mod parse;

pub use error::{Field, FirmwareError, Header};
pub use machine::{Class, Machine};

use crate::finding::Finding;
use crate::{Access, Limits};

/// A firmware image that can be loaded, as far as its ELF headers go. Borrows from the file's bytes.
#[derive(Clone, Debug)]
pub struct Firmware<'a> {
    machine: Machine,
    flags: u32,
    entry: DeviceAddr,
    segments: Vec<Segment<'a>>,
    table: Option<TableSection<'a>>,
    build_id: Option<&'a [u8]>,
    interpreter: Option<String>,
    findings: Vec<Finding>,
}

impl<'a> Firmware<'a> {
    /// Takes a firmware file apart, within the [default limits](Limits::DEFAULT).
    ///
    /// Time is linear in the number of headers, and memory bounded by the file's length.
    ///
    /// # Errors
    /// The file is no little-endian ELF file, is cut, or has segments that cannot be loaded.
    pub fn parse(bytes: &'a [u8]) -> Result<Firmware<'a>, FirmwareError> {
        Self::parse_within(bytes, &Limits::DEFAULT)
    }

    /// As [`parse`](Self::parse), within limits of the caller's.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_within(bytes: &'a [u8], limits: &Limits) -> Result<Firmware<'a>, FirmwareError> {
        parse::firmware(bytes, limits)
    }

    /// Checks that the firmware is for one of these machines.
    ///
    /// # Errors
    /// It is for none of them.
    pub fn check_machine(&self, machines: &[Machine]) -> Result<(), FirmwareError> {
        if machines.contains(&self.machine) {
            return Ok(());
        }
        Err(FirmwareError::ForeignMachine { found: self.machine, wanted: machines.to_vec() })
    }

    /// What kind of processor it is for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The machine's own flags, `e_flags`.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Address of the first instruction; for Arm, bit 0 set means Thumb.
    #[must_use]
    pub fn entry(&self) -> DeviceAddr {
        self.entry
    }

    /// The segments with memory, in the order of their program headers. They do not overlap.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// The section that holds the resource table.
    #[must_use]
    pub fn table_section(&self) -> Option<&TableSection<'a>> {
        self.table.as_ref()
    }

    /// The resource table, if the firmware has one.
    ///
    /// # Errors
    /// Its frame is malformed. (Its entries are judged one by one, see [`Table::entries`].)
    pub fn table(&self) -> Result<Option<Table<'a>>, TableError> {
        self.table.as_ref().map(|section| Table::parse(section.bytes)).transpose()
    }

    /// The GNU build id, at most 64 bytes.
    #[must_use]
    pub fn build_id(&self) -> Option<&'a [u8]> {
        self.build_id
    }

    /// The interpreter that the file asks for (`PT_INTERP`), made printable.
    #[must_use]
    pub fn interpreter(&self) -> Option<&str> {
        self.interpreter.as_deref()
    }

    /// What is odd about the file and its resource table.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// A part of the firmware and the memory that it wants. Has at least one byte of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Number of its program header.
    pub header: u32,
    /// Name of its best-known section (`.text`, `.rodata`, `.data`, `.bss`) or else its first, made printable;
    /// `segment3` for the segment of program header 3 if it has no section.
    pub name: String,
    /// Where it is loaded: its device address.
    pub at: DeviceAddr,
    /// Where it runs, `p_vaddr`.
    pub runs_at: u64,
    /// What is loaded; the rest of the memory is zero.
    pub bytes: &'a [u8],
    /// Bytes of memory.
    pub memsz: u64,
    /// `p_flags`.
    pub flags: u32,
    /// `p_align`: 0 or a power of two.
    pub align: u64,
}

impl Segment<'_> {
    /// What the remote may do with the segment.
    #[must_use]
    pub fn access(&self) -> Access {
        let write = if self.flags & flags::WRITE == 0 { Access::Read } else { Access::ReadWrite };
        let execute = if self.flags & flags::EXECUTE == 0 { Access::Read } else { Access::ReadExecute };
        write.union(execute)
    }

    /// Whether `address` is one of the segment's where it runs.
    fn runs(&self, address: u64) -> bool {
        address.checked_sub(self.runs_at).is_some_and(|offset| offset < self.memsz)
    }

    /// Whether `address` is one of the segment's where it is loaded.
    fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.at.0).is_some_and(|offset| offset < self.memsz)
    }
}

/// The section `.resource_table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSection<'a> {
    /// Number of its section header.
    pub section: u32,
    /// Its bytes in the file.
    pub bytes: &'a [u8],
    /// Device address of the loaded table; none if no segment holds it.
    pub at: Option<DeviceAddr>,
}

/// Bits of `p_flags`.
mod flags {
    pub(super) const EXECUTE: u32 = 1;
    pub(super) const WRITE: u32 = 2;
}

#[cfg(test)]
mod tests;
