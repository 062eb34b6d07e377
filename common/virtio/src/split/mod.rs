//! The split virtqueue (2.7): descriptor table, available ring, used ring.

mod device;
mod driver;
mod journal;
mod outstanding;
mod resume;
mod walk;

pub use device::Device;
pub use driver::{Driver, Slot};
pub use journal::{Journal, Ledger, Left};
pub use outstanding::Outstanding;
pub use resume::ResumeError;
pub use walk::Walk;

use sidecore_mem::{AccessError, Pairs, Region, Ring, Word};
use sidecore_wire::split::Layout;

use crate::QueueError;

/// The parts of a split ring as checked handles, made once at start-up.
#[derive(Clone, Debug)]
pub struct Parts<O = ()> {
    pub(crate) num: u16,
    /// The address; length, flags and next.
    pub(crate) descriptors: Pairs<u64, O>,
    pub(crate) available_flags: Word<u16, O>,
    pub(crate) available_index: Word<u16, O>,
    pub(crate) available: Ring<u16, O>,
    pub(crate) used_event: Word<u16, O>,
    pub(crate) used_flags: Word<u16, O>,
    pub(crate) used_index: Word<u16, O>,
    /// Head and length.
    pub(crate) used: Pairs<u32, O>,
    pub(crate) available_event: Word<u16, O>,
}

impl<O: Clone> Parts<O> {
    /// A ring in one piece of memory (2.7.2), as a resource table describes it.
    ///
    /// # Errors
    /// The region is shorter than [`Layout::size`] or not aligned to 16 bytes.
    pub fn contiguous(region: &Region<O>, layout: &Layout) -> Result<Self, AccessError> {
        let at = |offset: u32| offset as usize;
        let used = at(layout.used_flags());
        let available = at(layout.available_flags());
        let whole = region.slice(0, at(layout.size()))?;
        Self::separate(
            &whole.slice(0, available)?,
            &whole.slice(available, used - available)?,
            &whole.slice(used, whole.len() - used)?,
            layout.num(),
        )
    }

    /// A ring of three areas that lie anywhere, as virtio-mmio, PCI and vhost-user describe it. `num` is a power
    /// of two.
    ///
    /// # Errors
    /// An area is too short, or not aligned as 2.7 wants it (16, 2 and 4 bytes).
    pub fn separate(
        descriptors: &Region<O>,
        available: &Region<O>,
        used: &Region<O>,
        num: u16,
    ) -> Result<Self, AccessError> {
        let n = usize::from(num);
        Ok(Self {
            num,
            descriptors: descriptors.pairs(0, n)?,
            available_flags: available.word(0)?,
            available_index: available.word(2)?,
            available: available.ring(4, n)?,
            used_event: available.word(4 + 2 * n)?,
            used_flags: used.word(0)?,
            used_index: used.word(2)?,
            used: used.pairs(4, n)?,
            available_event: used.word(4 + 8 * n)?,
        })
    }

    /// Number of descriptors.
    pub const fn num(&self) -> u16 {
        self.num
    }

    /// Sets indices, flags and events to zero, as a driver does before it shows the ring to the device. The
    /// descriptors and rings need none of it: nothing looks at an entry before it has been written.
    pub fn clear(&self) {
        for word in [
            &self.available_flags,
            &self.available_index,
            &self.used_event,
            &self.used_flags,
            &self.used_index,
            &self.available_event,
        ] {
            word.store(0);
        }
    }
}

/// Length, flags and next of a descriptor in the word that holds them.
#[inline(always)]
const fn pack(len: u32, flags: u16, next: u16) -> u64 {
    len as u64 | (flags as u64) << 32 | (next as u64) << 48
}

#[inline(always)]
const fn unpack(word: u64) -> (u32, u16, u16) {
    (word as u32, (word >> 32) as u16, (word >> 48) as u16)
}

#[cold]
#[inline(never)]
fn index_jump(ours: u16, theirs: u16, limit: u16) -> QueueError {
    QueueError::PeerIndexJump { ours, theirs, limit }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
