//! What the tests are made with: a writer of ELF files, and a backend of plain memory.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use sidecore_mem::{DeviceAddr, MapError, Memory as Bytes, Region};
use sidecore_wire::resource_table::vdev::ID_RPMSG;
use sidecore_wire::resource_table::{
    ADDR_ANY, Builder, Carveout, Devmem, FixedName, Trace, VdevHeader, Vring,
};

use crate::firmware::Class;
use crate::{Backend, BackendError, Boot, Doorbell, Event, Memory, MemoryMap};

/// An ELF file in the making. Its parts lie in the file as: header, program headers, segments, section names, section
/// headers, so that a file cut anywhere lacks something.
#[derive(Clone)]
pub(crate) struct Elf {
    pub(crate) class: Class,
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) entry: u64,
    pub(crate) programs: Vec<Program>,
    pub(crate) sections: Vec<Section>,
}

#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memsz: u64,
    pub(crate) align: u64,
}

/// A section whose bytes are a part of a segment's.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) program: usize,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

pub(crate) const LOAD: u32 = 1;
pub(crate) const R: u32 = 4;
pub(crate) const RW: u32 = 6;
pub(crate) const RX: u32 = 5;
pub(crate) const RWX: u32 = 7;

pub(crate) const TEXT: u64 = 0x1000_0000;
pub(crate) const DATA: u64 = 0x1000_1000;

impl Elf {
    /// No segments yet; for Arm or AArch64.
    pub(crate) fn new(class: Class) -> Elf {
        let machine = if class == Class::Elf32 { 40 } else { 183 };
        Elf { class, kind: 2, machine, entry: TEXT, programs: Vec::new(), sections: Vec::new() }
    }

    /// Code at [`TEXT`], and data at [`DATA`] that begins with the resource table and ends in 0x800 bytes of BSS.
    pub(crate) fn with_table(class: Class, table: &[u8]) -> Elf {
        let mut data = table.to_vec();
        data.resize(table.len().next_multiple_of(16), 0);
        data.extend_from_slice(b"fresh data");
        let memsz = data.len() as u64 + 0x800;
        Elf::new(class)
            .segment(".text", TEXT, RX, &[0x90; 64], 64)
            .segment(".data", DATA, RW, &data, memsz)
            .section(".resource_table", 1, 0, table.len() as u64)
    }

    /// Adds a segment that runs where it is loaded, and a section of its name over its bytes.
    pub(crate) fn segment(
        mut self,
        name: &'static str,
        at: u64,
        flags: u32,
        bytes: &[u8],
        memsz: u64,
    ) -> Elf {
        let bytes = bytes.to_vec();
        self.programs.push(Program { kind: LOAD, flags, vaddr: at, paddr: at, bytes, memsz, align: 4 });
        let program = self.programs.len() - 1;
        let size = self.programs[program].bytes.len() as u64;
        self.section(name, program, 0, size)
    }

    /// Adds an allocated section in a segment.
    pub(crate) fn section(mut self, name: &'static str, program: usize, offset: u64, size: u64) -> Elf {
        self.sections.push(Section { name, kind: 1, flags: 2, program, offset, size });
        self
    }

    /// Adds a program header with bytes but no memory.
    pub(crate) fn info(mut self, kind: u32, bytes: &[u8]) -> Elf {
        let bytes = bytes.to_vec();
        self.programs.push(Program { kind, flags: R, vaddr: 0, paddr: 0, bytes, memsz: 0, align: 4 });
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let wide = self.class == Class::Elf64;
        let (header, program, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
        let mut body = vec![0; header + program * self.programs.len()];
        let mut offsets = Vec::new();
        for part in &self.programs {
            body.resize(body.len().next_multiple_of(4), 0);
            offsets.push(body.len() as u64);
            body.extend_from_slice(&part.bytes);
        }
        let names_at = body.len() as u64;
        let mut names = b"\0.shstrtab\0".to_vec();
        let name_at: Vec<u32> =
            self.sections.iter().map(|section| push_name(&mut names, section.name)).collect();
        body.extend_from_slice(&names);
        body.resize(body.len().next_multiple_of(8), 0);
        let sections_at = body.len() as u64;

        let mut table = Fields { wide, bytes: vec![0; section] };
        for (part, name) in self.sections.iter().zip(name_at) {
            let segment = &self.programs[part.program];
            table.u32(name).u32(part.kind).word(part.flags).word(segment.vaddr + part.offset);
            table.word(offsets[part.program] + part.offset).word(part.size);
            table.u32(0).u32(0).word(4).word(0);
        }
        table.u32(1).u32(3).word(0).word(0).word(names_at).word(names.len() as u64);
        table.u32(0).u32(0).word(1).word(0);
        body.extend_from_slice(&table.bytes);

        let mut fields = Fields { wide, bytes: b"\x7fELF".to_vec() };
        fields.bytes.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fields.u16(self.kind).u16(self.machine).u32(1);
        fields.word(self.entry).word(header as u64).word(sections_at);
        fields.u32(0x0500_0000).u16(header as u16).u16(program as u16).u16(self.programs.len() as u16);
        fields.u16(section as u16).u16(self.sections.len() as u16 + 2).u16(self.sections.len() as u16 + 1);
        for (part, &offset) in self.programs.iter().zip(&offsets) {
            fields.u32(part.kind);
            if wide {
                fields.u32(part.flags);
            }
            fields.word(offset).word(part.vaddr).word(part.paddr);
            fields.word(part.bytes.len() as u64).word(part.memsz);
            if !wide {
                fields.u32(part.flags);
            }
            fields.word(part.align);
        }
        body[..fields.bytes.len()].copy_from_slice(&fields.bytes);
        body
    }
}

fn push_name(names: &mut Vec<u8>, name: &str) -> u32 {
    let at = names.len() as u32;
    names.extend_from_slice(name.as_bytes());
    names.push(0);
    at
}

struct Fields {
    wide: bool,
    bytes: Vec<u8>,
}

impl Fields {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn word(&mut self, value: u64) -> &mut Self {
        if self.wide {
            self.bytes.extend(value.to_le_bytes());
            return self;
        }
        self.u32(value as u32)
    }
}

/// A table with the entries that `fill` adds.
pub(crate) fn table(fill: impl FnOnce(&mut Entries<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut entries = Entries(Builder::new(&mut bytes, 32).unwrap());
    fill(&mut entries);
    entries.0.finish().to_vec()
}

/// A table in the making, for which there is always room.
pub(crate) struct Entries<'b>(Builder<'b>);

impl Entries<'_> {
    pub(crate) fn carveout(&mut self, name: &str, da: u32, len: u32) {
        let carveout = Carveout { da, pa: ADDR_ANY, len, flags: 0, reserved: 0, name: fixed(name) };
        self.0.carveout(&carveout).unwrap();
    }

    pub(crate) fn trace(&mut self, name: &str, da: u32, len: u32) {
        self.0.trace(&Trace { da, len, reserved: 0, name: fixed(name) }).unwrap();
    }

    pub(crate) fn devmem(&mut self, da: u32, pa: u32, len: u32) {
        self.0.devmem(&Devmem { da, pa, len, flags: 2, reserved: 0, name: fixed("uart") }).unwrap();
    }

    pub(crate) fn rpmsg(&mut self, vrings: &[Vring]) {
        self.vdev(&rpmsg(), vrings, &[]);
    }

    pub(crate) fn vdev(&mut self, header: &VdevHeader, vrings: &[Vring], config: &[u8]) {
        self.0.vdev(header, vrings, config).unwrap();
    }

    pub(crate) fn entry(&mut self, kind: u32, body: &[u8]) {
        self.0.entry(kind, body).unwrap();
    }
}

fn fixed(text: &str) -> FixedName {
    let mut bytes = [0; FixedName::SIZE];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    FixedName(bytes)
}

pub(crate) fn ring(da: u32, num: u32, notifyid: u32) -> Vring {
    Vring { da, align: 16, num, notifyid, pa: 0 }
}

pub(crate) fn rpmsg() -> VdevHeader {
    VdevHeader { id: ID_RPMSG, dfeatures: 1, ..VdevHeader::default() }
}

/// A backend whose memory is the test's own. It insists on the order of calls that the trait documents.
#[derive(Debug)]
pub(crate) struct Mock {
    memories: MemoryMap<()>,
    prepared: bool,
    started: bool,
    /// Where memories are placed that have no address.
    place_at: u64,
    /// The operation that fails next.
    pub(crate) fail: Option<&'static str>,
    /// What `wait` will report.
    pub(crate) events: VecDeque<Result<Event, BackendError>>,
    pub(crate) calls: Vec<String>,
    pub(crate) boot: Option<Boot>,
}

#[derive(Clone)]
pub(crate) struct Silent;

impl Doorbell for Silent {
    fn ring(&self, _notify_id: u32) {}
}

impl Mock {
    pub(crate) fn new() -> Mock {
        Mock::placing_at(0x2000_0000)
    }

    pub(crate) fn placing_at(place_at: u64) -> Mock {
        Mock {
            memories: MemoryMap::new(),
            prepared: false,
            started: false,
            place_at,
            fail: None,
            events: VecDeque::new(),
            calls: Vec::new(),
            boot: None,
        }
    }

    fn call(&mut self, operation: &'static str, allowed: bool) -> Result<(), BackendError> {
        self.calls.push(operation.into());
        if !allowed {
            return Err(BackendError::WrongState { operation, state: "in another state" });
        }
        if self.fail == Some(operation) {
            self.fail = None;
            return Err(BackendError::System { operation: operation.into(), reason: "no".into() });
        }
        Ok(())
    }
}

impl Backend for Mock {
    type Owner = ();
    type Doorbell = Silent;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.call("prepare", !self.prepared)?;
        let mut next = self.place_at;
        for memory in memories {
            let at = memory.at.unwrap_or_else(|| {
                let at = next.next_multiple_of(memory.align);
                next = at.saturating_add(memory.len);
                DeviceAddr(at)
            });
            memory.at = Some(at);
            let refuse = |error: MapError| BackendError::Memory { name: memory.name.clone(), error };
            self.memories.insert(at, bytes(memory.len as usize)).map_err(refuse)?;
        }
        self.prepared = true;
        Ok(())
    }

    fn memories(&self) -> &MemoryMap<()> {
        &self.memories
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.call("start", self.prepared && !self.started)?;
        self.started = true;
        self.boot = Some(boot.clone());
        Ok(())
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        self.call("stop", self.prepared)
    }

    fn unprepare(&mut self) {
        self.calls.push("unprepare".into());
        self.memories = MemoryMap::new();
        self.prepared = false;
        self.started = false;
    }

    fn doorbell(&self) -> Silent {
        Silent
    }

    fn wait(
        &mut self,
        _timeout: Option<Duration>,
        _ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        self.events.pop_front().transpose()
    }
}

/// Zeroed memory for as long as the test program runs.
fn bytes(len: usize) -> Region {
    const SMALL: usize = 0x8000;
    const LARGE: usize = 0x60000;
    let region = if len <= SMALL {
        Box::leak(Box::<Bytes<SMALL>>::default()).region()
    } else {
        Box::leak(Box::<Bytes<LARGE>>::default()).region()
    };
    region.slice(0, len).unwrap()
}
