//! A buffer with words: what is new in it is told by counting, and so is what was missed.

use alloc::vec::Vec;

use sidecore_mem::sync::{Ordering, fence, full_fence};
use sidecore_mem::{AccessError, Region};
use sidecore_wire::resource_table::TraceWords;

use super::drain::{Look, Lost, Trouble};

/// Reads a buffer with words.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    /// Number of the next byte that was not told, modulo 2^32.
    next: u32,
}

/// Numbers that are further apart were not counted from one to the other: the one that should be less is more.
const HALF: u32 = 1 << 31;

impl Counted {
    /// Looks at the buffer once more. Bytes that the firmware overwrites meanwhile are counted as lost, never told.
    ///
    /// Takes time and memory linear in the buffer's length, whatever the words say.
    pub(super) fn look<O: Clone>(
        &mut self,
        buffer: &Region<O>,
        words: &Region<O>,
    ) -> Result<Look, AccessError> {
        let copied = self.copy(buffer, words)?;
        self.check(copied, words)
    }

    /// A copy of what was not told, which the firmware may have overwritten meanwhile.
    fn copy<O>(&self, buffer: &Region<O>, words: &Region<O>) -> Result<Copied, AccessError> {
        // Without the NUL that goes ahead of the text.
        let room = u32::try_from(buffer.len()).unwrap_or(0).saturating_sub(1);
        let total: u32 = words.load(TraceWords::TOTAL_AT)?;
        // Bytes below the total that are copied now are those that were counted, or newer ones.
        fence(Ordering::Acquire);
        let (mut unread, mut trouble) = (total.wrapping_sub(self.next), None);
        if unread >= HALF {
            trouble = Some(Trouble::WentBack { from: self.next, to: total });
            // What there is now; nobody knows what it is the rest of.
            unread = total.min(room);
        }
        let len = unread.min(room);
        let bytes = copy(buffer, total.wrapping_sub(len), len)?;
        // Of bytes that were newer, the claim is seen from here on.
        fence(Ordering::Acquire);
        Ok(Copied { room, total, unread, bytes, trouble })
    }

    /// What of the copy is what was counted.
    fn check<O>(&mut self, copied: Copied, words: &Region<O>) -> Result<Look, AccessError> {
        let Copied { room, total, unread, mut bytes, mut trouble } = copied;
        let claimed: u32 = words.load(TraceWords::CLAIMED_AT)?;
        let mut ahead = claimed.wrapping_sub(total);
        if ahead >= HALF {
            trouble = trouble.or(Some(Trouble::ClaimsLess { total, claimed }));
            ahead = 0;
        }
        let intact = bytes.len().min(room.saturating_sub(ahead) as usize);
        bytes.drain(..bytes.len() - intact);
        self.next = total;
        let lost = match u64::from(unread) - intact as u64 {
            0 => Lost::Nothing,
            lost => Lost::Bytes(lost),
        };
        Ok(Look { bytes, lost, trouble })
    }

    /// Tells the firmware how far we are, and for how many unread bytes it shall ring. Whether it wrote so many already.
    pub(super) fn answer<O>(&self, words: &Region<O>, wake: u32) -> Result<bool, AccessError> {
        words.store(TraceWords::READ_AT, self.next)?;
        words.store(TraceWords::WAKE_AT, wake)?;
        // Against the firmware's "publish the total, then look whether the reader wants to be woken".
        full_fence();
        let total: u32 = words.load(TraceWords::TOTAL_AT)?;
        Ok(wake != 0 && total.wrapping_sub(self.next) >= wake)
    }
}

/// A copy of a buffer that is still to be held against what was claimed.
struct Copied {
    /// Bytes of text that the buffer has room for.
    room: u32,
    total: u32,
    /// Bytes that were written since the last look.
    unread: u32,
    /// The newest of them.
    bytes: Vec<u8>,
    trouble: Option<Trouble>,
}

/// The bytes from this number on, fewer than the buffer has.
fn copy<O>(buffer: &Region<O>, number: u32, len: u32) -> Result<Vec<u8>, AccessError> {
    let mut bytes = alloc::vec![0; len as usize];
    let start = number as usize & buffer.len().saturating_sub(1);
    let (here, wrapped) = bytes.split_at_mut((len as usize).min(buffer.len().saturating_sub(start)));
    buffer.read(start, here)?;
    buffer.read(0, wrapped)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
