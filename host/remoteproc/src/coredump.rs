//! Core dumps: a remote's registers and memory as an ELF core file, which debuggers open.
//!
//! A [`CoreDump`] is made at once and holds no copy of any memory: it keeps the memories of the run that crashed, so that
//! the remote can be started again (with new ones) while the dump is still being written. Whoever writes it does so in
//! pieces, however large the memories are, and zeros cost next to nothing.
//!
//! The file: header, program headers, notes, then the bytes of each memory, with no padding. Memories that the main side
//! cannot reach have a header without bytes, as the kernel leaves out what is in the executable: debuggers take code and
//! constants from there. Notes: `CORE`/`NT_PRSTATUS` with the registers, `GNU`/`NT_GNU_BUILD_ID` with the firmware's
//! build id, and `sidecore`/1 with what is known of the crash, lines of `key=value`.
//!
//! Sources: System V ABI, chapters 4 and 5; Linux `include/linux/elfcore.h` (`struct elf_prstatus`),
//! `drivers/remoteproc/remoteproc_coredump.c`.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use sidecore_mem::{Region, Window};

use crate::codes::{self, Code};
use crate::firmware::{Class, Machine};
use crate::{Access, Crash, CrashKind, Memory, Registers};

mod told;

pub use told::{Told, ToldMemory};

/// What a dump is made of besides memory.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The kind of processor.
    pub machine: Machine,
    /// ELF `e_flags`: the calling convention, among others.
    pub flags: u32,
    /// The firmware's build id.
    pub build_id: Option<&'a [u8]>,
    /// How it crashed, if it did.
    pub crash: Option<&'a Crash>,
    /// The registers of one that was halted and has not crashed.
    pub registers: Option<&'a Registers>,
    /// What its user wants to be told of it, beside what is known of the crash.
    pub facts: &'a [(&'a str, &'a str)],
}

/// Which memories are dumped with their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// All that can be reached.
    #[default]
    All,
    /// Those alone that the remote may write: what it cannot is in the firmware file.
    Writable,
}

/// A core dump that is ready to be written.
#[derive(Clone)]
pub struct CoreDump<O> {
    /// Everything before the memories' bytes.
    head: Vec<u8>,
    memories: Vec<Region<O>>,
}

/// A part of a core file, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

/// What a memory has at some place, for whoever can tell without reading it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many bytes, copied from there. None: they are to be read through the region.
    Copied(usize),
    /// So many zeros, which were not copied.
    Zeros(usize),
}

/// Whoever tells: it is given a memory, a place in it, and room for a copy.
pub type Look<'a, O> = dyn FnMut(&Region<O>, usize, &mut [u8]) -> Found + 'a;

/// Bytes of memory in a piece.
const PIECE: usize = 64 << 10;

const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
/// Name and type of our own note.
const OURS: (&str, u32) = ("sidecore", 1);

/// The one process that a remote is to a debugger.
const PID: u32 = 1;

impl<O: Clone> CoreDump<O> {
    /// A dump of these windows, as far as they are to be [included](Include); `memories` tell what the remote may do
    /// with them, and of those that cannot be reached.
    ///
    /// # Errors
    /// There are no windows, or the file's class cannot describe them.
    pub fn new(
        subject: &Subject<'_>,
        windows: &[Window<O>],
        memories: &[Memory],
        include: Include,
    ) -> Result<Self, CoreDumpError> {
        let mut parts: Vec<(Load, Region<O>)> = Vec::new();
        let mut unreached: Vec<Load> = Vec::new();
        for window in windows {
            let (at, len) = (window.start.0, window.region.len() as u64);
            let within = |memory: &&Memory| memory.at.is_some_and(|start| start.0.wrapping_sub(at) < len);
            let all = memories.iter().filter(within).map(|memory| memory.access).reduce(Access::union);
            // None: the backend's own, a stack or a hand-over page.
            let access = all.unwrap_or(Access::ReadWrite);
            if include == Include::All || access.is_writable() {
                parts.push((Load { at, len, file: len, access }, window.region.clone()));
            } else {
                unreached.push(Load { at, len, file: 0, access });
            }
        }
        for memory in memories {
            let Some(at) = memory.at else { continue };
            let within = |window: &Window<O>| at.0.wrapping_sub(window.start.0) < window.region.len() as u64;
            if !windows.iter().any(within) {
                unreached.push(Load { at: at.0, len: memory.len, file: 0, access: memory.access });
            }
        }
        if parts.is_empty() {
            return Err(CoreDumpError::NoMemory);
        }
        let mut loads: Vec<Load> = parts.iter().map(|(load, _)| load).chain(&unreached).copied().collect();
        let last = |load: &Load| load.at.checked_add(load.len.saturating_sub(1));
        let most = subject.machine.class.last_address();
        if loads.iter().any(|load| last(load).is_none_or(|last| last > most)) {
            return Err(CoreDumpError::TooLarge { class: subject.machine.class });
        }
        let head =
            head(subject, &mut loads).ok_or(CoreDumpError::TooLarge { class: subject.machine.class })?;
        Ok(Self { head, memories: parts.into_iter().map(|(_, region)| region).collect() })
    }
}

impl<O> CoreDump<O> {
    /// Bytes of the file.
    #[expect(clippy::len_without_is_empty, reason = "it has a header at least")]
    pub fn len(&self) -> u64 {
        self.memories.iter().fold(self.head.len() as u64, |sum, region| sum + region.len() as u64)
    }

    /// Writes the file from its beginning, in pieces; the memories are read meanwhile, 64 KiB at a time. Zeros come
    /// as such, however many there are.
    ///
    /// # Errors
    /// What the writer answers first.
    pub fn write<E>(&self, write: &mut dyn FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        self.write_by(&mut |_, _, _| Found::Copied(0), write)
    }

    /// The same for whoever has a better way to the memories than to read them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_by<E>(
        &self,
        look: &mut Look<'_, O>,
        write: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(Piece::Bytes(&self.head))?;
        let (mut room, mut zeros) = (vec![0; PIECE], 0);
        for region in &self.memories {
            let mut at = 0;
            while at < region.len() {
                let rest = region.len() - at;
                let some = &mut room[..PIECE.min(rest)];
                let len = match look(region, at, some) {
                    Found::Zeros(len) if len > 0 => {
                        let len = len.min(rest);
                        zeros += len as u64;
                        at += len;
                        continue;
                    }
                    Found::Copied(len) if len > 0 => len.min(some.len()),
                    _ => {
                        // Cannot leave the region.
                        let _ = region.read(at, some);
                        some.len()
                    }
                };
                let some = &some[..len];
                at += len;
                if is_zero(some) {
                    zeros += len as u64;
                    continue;
                }
                if zeros > 0 {
                    write(Piece::Zeros(core::mem::take(&mut zeros)))?;
                }
                write(Piece::Bytes(some))?;
            }
        }
        if zeros > 0 { write(Piece::Zeros(zeros)) } else { Ok(()) }
    }
}

/// A page at a time, so that the compiler can look at many bytes at once.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|page| page.iter().fold(0, |any, byte| any | byte) == 0)
}

impl<O> fmt::Debug for CoreDump<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreDump").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A memory in the file.
#[derive(Clone, Copy)]
struct Load {
    at: u64,
    len: u64,
    /// Bytes of it in the file: all or none.
    file: u64,
    access: Access,
}

/// Header, program headers and notes; `None` where offsets leave the file's class.
fn head(subject: &Subject<'_>, loads: &mut [Load]) -> Option<Vec<u8>> {
    let class = subject.machine.class;
    let notes = notes(subject);
    let (header_len, program_len) = match class {
        Class::Elf32 => (52, 32),
        Class::Elf64 => (64, 56),
    };
    let count = 1 + loads.len();
    let notes_at = header_len + program_len * count;

    let mut out = Writer { bytes: Vec::new(), class };
    let class_byte = if class == Class::Elf32 { 1 } else { 2 };
    // Little endian, version 1, no particular system.
    out.bytes.extend([0x7f, b'E', b'L', b'F', class_byte, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.half(ET_CORE);
    out.half(subject.machine.number);
    out.word(1);
    // Entry, program headers, sections.
    out.long(0)?;
    out.long(header_len as u64)?;
    out.long(0)?;
    out.word(subject.flags);
    for field in [header_len, program_len, count, 0, 0, 0] {
        out.half(u16::try_from(field).ok()?);
    }

    out.program(PT_NOTE, 0, [notes_at as u64, 0, 0, notes.len() as u64, 0], 4)?;
    let mut offset = (notes_at + notes.len()) as u64;
    for load in loads {
        let flags = 4 | u32::from(load.access.is_writable()) << 1 | u32::from(load.access.is_executable());
        out.program(PT_LOAD, flags, [offset, load.at, load.at, load.file, load.len], 1)?;
        offset = offset.checked_add(load.file)?;
    }
    out.bytes.extend(notes);
    Some(out.bytes)
}

fn notes(subject: &Subject<'_>) -> Vec<u8> {
    let mut notes = Vec::new();
    let signal = subject.crash.map_or(0, |crash| crash.signal);
    let registers = subject.crash.map_or(subject.registers, |crash| crash.registers.as_ref());
    if let Some(status) = registers.and_then(|registers| status(subject.machine, registers, signal)) {
        note(&mut notes, "CORE", NT_PRSTATUS, &status);
    }
    if let Some(id) = subject.build_id {
        note(&mut notes, "GNU", NT_GNU_BUILD_ID, id);
    }
    let mut text = String::new();
    let mut fact = |key: &str, value: &str| {
        text.extend([key, "="]);
        text.extend(value.escape_debug());
        text.push('\n');
    };
    if let Some(crash) = subject.crash {
        fact("crash", crash.kind.word());
        fact("signal", &crash.signal.to_string());
        if let Some(pc) = crash.pc {
            fact("pc", &pc.to_string());
        }
        if let CrashKind::Fault { address } = crash.kind {
            fact("address", &address.to_string());
        }
        if let Some(allegation) = &crash.allegation {
            fact("allegation", allegation);
        }
    }
    subject.facts.iter().for_each(|(key, value)| fact(key, value));
    note(&mut notes, OURS.0, OURS.1, text.as_bytes());
    notes
}

fn note(notes: &mut Vec<u8>, name: &str, kind: u32, bytes: &[u8]) {
    for word in [name.len() as u32 + 1, bytes.len() as u32, kind] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(name.as_bytes());
    notes.push(0);
    notes.resize(notes.len().next_multiple_of(4), 0);
    notes.extend(bytes);
    notes.resize(notes.len().next_multiple_of(4), 0);
}

/// `struct elf_prstatus` of a machine: its size, and the offsets of signal, process number and registers.
struct Layout {
    size: usize,
    signal: usize,
    pid: usize,
    registers: usize,
    len: usize,
}

const fn layout(machine: Machine) -> Option<Layout> {
    let (size, len) = match (machine.number, machine.class) {
        (62, Class::Elf64) => (336, 216),
        (183, Class::Elf64) => (392, 272),
        (243, Class::Elf64) => (376, 256),
        (40, Class::Elf32) => (148, 72),
        (243, Class::Elf32) => (204, 128),
        _ => return None,
    };
    Some(match machine.class {
        Class::Elf32 => Layout { size, signal: 12, pid: 24, registers: 72, len },
        Class::Elf64 => Layout { size, signal: 12, pid: 32, registers: 112, len },
    })
}

impl Registers {
    /// The kind of processor that they are of, where a dump can have them.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        let known = [Machine::ARM, Machine::AARCH64, Machine::RISCV32, Machine::RISCV64, Machine::X86_64];
        let is_it = |machine: &Machine| {
            machine.number == self.machine
                && layout(*machine).is_some_and(|layout| layout.len == self.bytes.len())
        };
        known.into_iter().find(is_it)
    }
}

/// The registers as debuggers read them; `None` for a machine whose layout is not known here, or registers of another.
fn status(machine: Machine, registers: &Registers, signal: u8) -> Option<Vec<u8>> {
    let Layout { size, signal: at, pid, registers: first, len } = layout(machine)?;
    if registers.machine != machine.number || registers.bytes.len() != len {
        return None;
    }
    let mut status = vec![0; size];
    // `pr_info.si_signo` as well as `pr_cursig`.
    status[0] = signal;
    status[at] = signal;
    status[pid..pid + 4].copy_from_slice(&PID.to_le_bytes());
    status[first..first + len].copy_from_slice(&registers.bytes);
    Some(status)
}

/// Writes the fields of headers, whose width is the class's.
struct Writer {
    bytes: Vec<u8>,
    class: Class,
}

impl Writer {
    fn half(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn long(&mut self, value: u64) -> Option<()> {
        match self.class {
            Class::Elf32 => self.word(u32::try_from(value).ok()?),
            Class::Elf64 => self.bytes.extend(value.to_le_bytes()),
        }
        Some(())
    }

    /// A program header; `fields` are offset, both addresses, and the lengths in the file and in memory.
    fn program(&mut self, kind: u32, flags: u32, fields: [u64; 5], align: u64) -> Option<()> {
        self.word(kind);
        if self.class == Class::Elf64 {
            self.word(flags);
        }
        for field in fields {
            self.long(field)?;
        }
        if self.class == Class::Elf32 {
            self.word(flags);
        }
        self.long(align)
    }
}

/// Why there is no core dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreDumpError {
    /// The remote has no memories, or none that can be reached.
    #[error("cannot dump: no memory of the remote can be reached")]
    NoMemory,
    /// It is not known what kind of processor it is: it was attached to, and tells no registers.
    #[error("cannot dump: it is not known what kind of processor the remote is")]
    NoMachine,
    /// A memory or the file is beyond what its class can describe.
    #[error("cannot dump: a {class} core file cannot describe that much")]
    TooLarge {
        /// The class.
        class: Class,
    },
}

impl CoreDumpError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        codes::NO_DUMP
    }
}

#[cfg(test)]
mod tests;
