//! What a prepared remote has, on its warden's side: its memory and the doorbells.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{EventFd, Mapping, SharedMemory};
use sidecore_remoteproc::MemoryMap;
use sidecore_wire::sandbox as page;

use super::super::protocol::{Plan, Refusal};
use crate::JOURNAL_SIZE;

/// What a prepared remote has.
pub(super) struct Estate {
    pub(super) plan: Plan,
    pub(super) memory: SharedMemory,
    /// What main sides note for those that come after them. The remote never sees it.
    pub(super) journal: SharedMemory,
    /// The hand-over page.
    pub(super) page: Region<Arc<Mapping>>,
    pub(super) stack: Region<Arc<Mapping>>,
    /// Read by the remote.
    pub(super) doorbell_in: EventFd,
    /// Read by the main side.
    pub(super) doorbell_out: EventFd,
    /// Read by whoever keeps the log of its traces, if somebody does; otherwise the main side reads them, too.
    pub(super) trace_bell: Option<EventFd>,
    /// What the remote sees, at its addresses.
    pub(super) memories: MemoryMap<Arc<Mapping>>,
}

impl Estate {
    pub(super) fn new(plan: Plan, logs: bool) -> Result<Self, Refusal> {
        let check = "check the memory plan";
        let total = usize::try_from(plan.total).map_err(|_| Refusal::new(check, "too much memory"))?;
        let memory = SharedMemory::create("sidecore", total)?;
        let journal = SharedMemory::create("sidecore-journal", JOURNAL_SIZE)?;
        let region = memory.map()?.region();
        let slice = |offset: u64, len: u64| {
            let (offset, len) = (usize::try_from(offset), usize::try_from(len));
            let (Ok(offset), Ok(len)) = (offset, len) else {
                return Err(Refusal::new(check, "too much memory"));
            };
            region.slice(offset, len).map_err(|error| Refusal::new(check, error))
        };
        let mut memories = MemoryMap::new();
        for span in &plan.memories {
            let added = memories.insert(DeviceAddr(span.at), slice(span.offset, span.len)?);
            added.map_err(|error| Refusal::new(check, error))?;
        }
        let (page, stack) =
            (slice(plan.hand_over.offset, page::SIZE as u64)?, slice(plan.stack.offset, plan.stack.len)?);
        // The remote sleeps in its reads; ours must never.
        let (doorbell_in, doorbell_out) = (EventFd::new(true)?, EventFd::new(false)?);
        let trace_bell = if logs { Some(EventFd::new(false)?) } else { None };
        Ok(Self { plan, memory, journal, page, stack, doorbell_in, doorbell_out, trace_bell, memories })
    }

    /// Tells the remote that a main side came, or that it is gone.
    pub(super) fn tell_of_main_side(&self, came: bool) {
        let Ok(count) = self.page.load::<u32>(page::MAIN_SIDES) else { return };
        let _ = self.page.store(page::MAIN_SIDES, count.wrapping_add(came.into()));
        let _ = self.page.store(page::MAIN_SIDE_GONE, u32::from(!came));
        self.doorbell_in.ring();
    }

    /// What the remote gets.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        let trace_bell = self.trace_bell.as_ref().unwrap_or(&self.doorbell_out);
        [self.memory.as_fd(), self.doorbell_in.as_fd(), self.doorbell_out.as_fd(), trace_bell.as_fd()]
    }

    /// What a main side gets.
    pub(super) fn descriptors_and_journal(&self) -> [BorrowedFd<'_>; 4] {
        let [memory, doorbell_in, doorbell_out, _] = self.descriptors();
        [memory, doorbell_in, doorbell_out, self.journal.as_fd()]
    }
}
