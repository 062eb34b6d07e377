//! What a remote on a board has: its memories and what was put into them.

use std::sync::Arc;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{Mapping, SharedMemory};
use sidecore_remoteproc::{BackendError, Boot, Memory, MemoryMap};
use sidecore_wire::sandbox::{self as page, HandOver};

use super::beside::Beside;
use super::board::{Board, Start};
use super::place::place;
use super::trouble::{lost, system};

/// The machine's RAM and what is in it and beside it.
#[derive(Debug)]
pub(super) struct Estate {
    pub(super) ram: SharedMemory,
    pub(super) whole: Region<Arc<Mapping>>,
    pub(super) page: Region<Arc<Mapping>>,
    pub(super) mapped: MemoryMap<Arc<Mapping>>,
    /// Memories that are the machine's own, and what is to be put there at every start.
    unmapped: Vec<(u64, u64)>,
    pub(super) loads: Vec<(DeviceAddr, Vec<u8>)>,
    /// The memories in the window, of which the firmware is told.
    shared: Vec<(u64, u64)>,
    /// The other core's page, where that has an image.
    pub(super) second_page: Option<Region<Arc<Mapping>>>,
}

impl Estate {
    /// All memories, zeroed; those without an address get one.
    pub(super) fn new(
        board: &Board,
        memories: &mut [Memory],
        beside: Option<&Beside>,
    ) -> Result<Self, BackendError> {
        let mut placed = memories.to_vec();
        let others = beside.map(|beside| beside.taken(board)).transpose()?.unwrap_or_default();
        place(board, &mut placed, others)?;
        let len = usize::try_from(board.ram.len).unwrap_or(usize::MAX);
        let ram = SharedMemory::create("sidecore: ram", len);
        let ram = ram.map_err(|refused| system(refused.operation, refused.errno))?;
        let whole = ram.map().map_err(|refused| system(refused.operation, refused.errno))?.region();
        let slice = |at: u64, len: u64| slice(board, &whole, at, len);
        let page = slice(board.window.at, page::SIZE as u64)?;
        let mut mapped = MemoryMap::new();
        let (mut unmapped, mut shared) = (Vec::new(), Vec::new());
        for memory in &placed {
            let Some(at) = memory.at else { continue };
            if !board.ram.holds(at.0, memory.len) {
                unmapped.push((at.0, memory.len));
                continue;
            }
            let inserted = mapped.insert(at, slice(at.0, memory.len)?);
            inserted.map_err(|error| BackendError::Memory { name: memory.name.clone(), error })?;
            if board.window.holds(at.0, memory.len) {
                shared.push((at.0, memory.len));
            }
        }
        let mut loads = Vec::new();
        for (at, bytes) in beside.into_iter().flat_map(Beside::loads) {
            if board.ram.holds(at.0, bytes.len() as u64) {
                let region = slice(at.0, bytes.len() as u64)?;
                region.write(0, bytes).map_err(|error| lost(error.to_string()))?;
            } else {
                loads.push((at, bytes.to_vec()));
            }
        }
        let second = board.sibling.as_ref().filter(|_| beside.is_some());
        let second_page = second.map(|second| slice(second.window.at, page::SIZE as u64)).transpose()?;
        memories.clone_from_slice(&placed);
        Ok(Self { whole, ram, page, mapped, unmapped, loads, shared, second_page })
    }

    /// Gives memories to a main side that comes to a remote that runs, in place of what an earlier one had in the window.
    pub(super) fn give(
        &mut self,
        board: &Board,
        memories: &mut [Memory],
        beside: Option<&Beside>,
    ) -> Result<(), BackendError> {
        let mut placed = memories.to_vec();
        let others = beside.map(|beside| beside.taken(board)).transpose()?.unwrap_or_default();
        place(board, &mut placed, others)?;
        let mut mapped = MemoryMap::new();
        let kept = self.mapped.windows().filter(|window| !board.window.holds(window.start.0, 1));
        let kept: Vec<_> = kept.map(|window| (window.start, window.region.len() as u64)).collect();
        let named = |memory: &Memory| memory.at.map(|at| (at, memory.len));
        let mut shared = Vec::new();
        for (at, len) in kept.into_iter().chain(placed.iter().filter_map(named)) {
            if !board.ram.holds(at.0, len) || mapped.resolve(at, len as usize).is_ok() {
                continue;
            }
            let inserted = mapped.insert(at, slice(board, &self.whole, at.0, len)?);
            inserted.map_err(|error| BackendError::Memory { name: "given later".to_owned(), error })?;
            if board.window.holds(at.0, len) {
                shared.push((at.0, len));
            }
        }
        (self.mapped, self.shared) = (mapped, shared);
        memories.clone_from_slice(&placed);
        let mut list = [0; page::MEMORY_SIZE * page::MEMORIES_MAX];
        self.list(&mut list);
        self.page.write(page::MEMORIES, &list).map_err(|error| lost(error.to_string()))
    }

    /// The list of what the firmware is given in the window.
    fn list(&self, bytes: &mut [u8]) {
        let places = bytes.chunks_exact_mut(page::MEMORY_SIZE);
        for (place, (at, len)) in places.zip(&self.shared).take(page::MEMORIES_MAX) {
            place[..8].copy_from_slice(&at.to_le_bytes());
            place[8..].copy_from_slice(&len.to_le_bytes());
        }
    }

    /// Puts bytes into a memory of a remote that runs.
    pub(super) fn patch(&self, at: DeviceAddr, bytes: &[u8]) -> Result<(), BackendError> {
        let region = self.mapped.resolve(at, bytes.len());
        let written = region.ok().and_then(|region| region.write(0, bytes).ok());
        written.ok_or(BackendError::Unreachable { at, len: bytes.len() })
    }

    /// Puts bytes into a memory; into one of the machine's own at the next start.
    pub(super) fn load(&mut self, at: DeviceAddr, bytes: &[u8]) -> Result<(), BackendError> {
        let unreachable = BackendError::Unreachable { at, len: bytes.len() };
        if let Ok(region) = self.mapped.resolve(at, bytes.len()) {
            return region.write(0, bytes).map_err(|_| unreachable);
        }
        let end = at.0.checked_add(bytes.len() as u64);
        let holds = |(start, len): &(u64, u64)| *start <= at.0 && end.is_some_and(|end| end <= start + len);
        if !self.unmapped.iter().any(holds) {
            return Err(unreachable);
        }
        self.loads.push((at, bytes.to_vec()));
        Ok(())
    }

    /// What the firmware finds.
    pub(super) fn fill_page(&self, boot: &Boot) -> Result<(), BackendError> {
        let (table_da, table_len) = boot.table.map_or((0, 0), |(at, len)| (at.0, len));
        let hand_over = HandOver {
            table_da,
            table_len,
            cpu_count: sidecore_os::cpu_count(),
            doorbell_in: -1,
            doorbell_out: -1,
            trace_bell: 0,
            memories_count: (self.mapped.windows().count() + self.unmapped.len()) as u32,
            ..HandOver::default()
        };
        let mut bytes = hand_over.emit();
        self.list(&mut bytes[page::MEMORIES..]);
        if let Some(second) = &self.second_page {
            second.clear(0, page::SIZE).map_err(|error| lost(error.to_string()))?;
        }
        self.page.write(0, &bytes).map_err(|error| lost(error.to_string()))
    }

    /// Whether the core will begin at the image's entry point.
    pub(super) fn check_entry(&self, board: &Board, boot: &Boot) -> Result<(), BackendError> {
        let name = &board.name;
        // Bit 0 of a vector says that the code is Thumb.
        let is_entry = |at: u64| at & !1 == boot.entry.0 & !1;
        let reason = match board.start {
            Start::Cpu(_) => return Ok(()),
            Start::At(at) if is_entry(at) => return Ok(()),
            Start::At(at) => format!("the core of {name} begins at {at:#x}: link it so"),
            Start::Vectors(at) => match self.word(at + 4) {
                Some(word) if is_entry(word.into()) => return Ok(()),
                Some(word) => {
                    format!("the second word of the vector table of {name} at {at:#x} is {word:#x}")
                }
                None => {
                    format!("the core of {name} looks for a vector table at {at:#x}, where there is nothing")
                }
            },
        };
        Err(BackendError::MemoryRefused {
            name: "entry point".to_owned(),
            at: Some(boot.entry),
            len: 4,
            reason,
        })
    }

    /// Half a word of the machine's RAM as it is, or of the image as it was loaded.
    pub(super) fn half(&self, board: &Board, at: u64) -> Option<u16> {
        if board.ram.holds(at, 2) {
            let mut bytes = [0; 2];
            self.whole.read(usize::try_from(at - board.ram.at).ok()?, &mut bytes).ok()?;
            return Some(u16::from_le_bytes(bytes));
        }
        self.loaded(at).map(u16::from_le_bytes)
    }

    /// A word of the image, wherever it was loaded to.
    fn word(&self, at: u64) -> Option<u32> {
        if let Ok(region) = self.mapped.resolve(DeviceAddr(at), 4) {
            return region.load(0).ok();
        }
        self.loaded(at).map(u32::from_le_bytes)
    }

    /// Bytes that were loaded to where we cannot look.
    fn loaded<const LEN: usize>(&self, at: u64) -> Option<[u8; LEN]> {
        self.loads.iter().rev().find_map(|(start, bytes)| {
            let offset = usize::try_from(at.checked_sub(start.0)?).ok()?;
            bytes.get(offset..)?.first_chunk().copied()
        })
    }
}

/// Some of the machine's RAM.
fn slice(
    board: &Board,
    whole: &Region<Arc<Mapping>>,
    at: u64,
    len: u64,
) -> Result<Region<Arc<Mapping>>, BackendError> {
    let (at, len) = (usize::try_from(at - board.ram.at), usize::try_from(len));
    let slice = whole.slice(at.unwrap_or(usize::MAX), len.unwrap_or(usize::MAX));
    slice.map_err(|error| lost(error.to_string()))
}
