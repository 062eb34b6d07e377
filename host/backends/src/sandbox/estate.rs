//! What a prepared remote has, on the main side: its memory and the doorbells.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use sidecore_mem::{DeviceAddr, Region, Word, sync};
use sidecore_os::{EventFd, Mapping, SharedMemory};
use sidecore_remoteproc::{BackendError, Doorbell, Memory, MemoryMap};
use sidecore_wire::sandbox as page;

use super::client::{lost, system};
use super::protocol::Plan;
use crate::room::place_again;

/// The doorbells, and the word that asks for ours to be rung.
pub(super) struct Estate {
    host_asleep: Word<u32, Arc<Mapping>>,
    /// Rung by the main side.
    pub(super) doorbell: SandboxDoorbell,
    /// Rung by the remote.
    pub(super) bell: EventFd,
    /// What main sides note for those that come after them.
    pub(super) journal: Region<Arc<Mapping>>,
    /// Names, addresses and lengths of the memories.
    spans: Vec<(String, DeviceAddr, u64)>,
}

impl Estate {
    /// Maps what a warden sent: memory, the remote's doorbell, the main side's doorbell, the journal.
    pub(super) fn take(
        plan: &Plan,
        fds: Vec<OwnedFd>,
    ) -> Result<(Self, MemoryMap<Arc<Mapping>>), BackendError> {
        let [memory, doorbell_in, doorbell_out, journal] =
            <[_; 4]>::try_from(fds).map_err(|_| lost("it sent too few descriptors".to_owned()))?;
        let map = |fd| SharedMemory::adopt(fd).and_then(|memory| memory.map()).map_err(system);
        let (region, journal) = (map(memory)?.region(), map(journal)?.region());
        let mut memories = MemoryMap::new();
        for span in plan.spans() {
            let bytes = slice(&region, span.offset, span.len)?;
            memories
                .insert(DeviceAddr(span.at), bytes)
                .map_err(|error| BackendError::Memory { name: span.name.clone(), error })?;
        }
        let page = slice(&region, plan.hand_over.offset, page::SIZE as u64)?;
        let word = |at| page.word::<u32>(at).map_err(|error| lost(error.to_string()));
        let bell =
            Bell { asleep: word(page::REMOTE_ASLEEP)?, event: EventFd::adopt(doorbell_in).map_err(system)? };
        let estate = Self {
            host_asleep: word(page::HOST_ASLEEP)?,
            doorbell: SandboxDoorbell(Some(Arc::new(bell))),
            bell: EventFd::adopt(doorbell_out).map_err(system)?,
            journal,
            spans: plan.spans().map(|span| (span.name.clone(), DeviceAddr(span.at), span.len)).collect(),
        };
        Ok((estate, memories))
    }

    /// Where memories were put that had no address of their own, by their names.
    ///
    /// # Errors
    /// There is none of such a name, or it is too short.
    pub(super) fn place(&self, memories: &mut [Memory]) -> Result<(), BackendError> {
        place_again(&self.spans, memories)
    }

    /// Asks the remote to ring from now on.
    pub(super) fn arm(&self) {
        self.host_asleep.store(1);
        // Against the remote's "publish, then look whether the main side sleeps": whoever looks at the rings after
        // this misses nothing that the remote does not ring for.
        sync::full_fence();
    }

    /// Takes that back.
    pub(super) fn disarm(&self) {
        self.host_asleep.store(0);
    }
}

/// Rings a sandboxed remote: one load while it is awake, one system call while it sleeps. Clones ring the same remote,
/// from any thread.
#[derive(Clone, Debug, Default)]
pub struct SandboxDoorbell(Option<Arc<Bell>>);

#[derive(Debug)]
struct Bell {
    asleep: Word<u32, Arc<Mapping>>,
    event: EventFd,
}

impl Doorbell for SandboxDoorbell {
    /// There is one doorbell for all rings: `notify_id` says nothing to a sandboxed remote, which looks at all of
    /// them. Never sleeps.
    fn ring(&self, _notify_id: u32) {
        if let Some(bell) = &self.0
            && bell.asleep.load() != 0
        {
            bell.event.ring();
        }
    }
}

/// A part of what a warden sent, where it says that it is.
pub(super) fn slice(
    region: &Region<Arc<Mapping>>,
    offset: u64,
    len: u64,
) -> Result<Region<Arc<Mapping>>, BackendError> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    region.slice(offset, len).map_err(|error| lost(format!("its memory is not as planned: {error}")))
}
