//! The device's end of a split ring.

use core::cell::Cell;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_wire::split::{
    AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, USED_NO_NOTIFY, need_event,
};

use super::{Parts, Walk, index_jump, pack, unpack};
use crate::{Buffer, DeviceQueue, Direction, QueueError, RingFeatures};

/// The device's end of a split ring.
///
/// It has no memory of its own for each descriptor: a chain that was taken is known by its head, and the caller
/// keeps what it read of the descriptors (the driver can change them at any time).
#[derive(Debug)]
pub struct Device<O = ()> {
    parts: Parts<O>,
    /// Entries taken from the available ring.
    taken: Cell<u16>,
    /// The driver's index when it was read last.
    seen: Cell<u16>,
    /// Entries written to the used ring.
    returned: Cell<u16>,
    /// Entries that the driver was shown; [`NOTHING`] besides until the first was.
    published: Cell<u32>,
    /// The used index that was found at the start.
    first: u16,
    /// How far the driver's index can be ahead of `returned`.
    window: u16,
    features: RingFeatures,
    /// Whether the driver tells by the event index what it wants to be notified of.
    by_event: bool,
    /// The driver's flags that say that it wants no notification.
    heeded: u16,
    /// What a descriptor's word must not have of flags where one buffer to be read is expected.
    unreadable: u64,
}

impl<O: Clone> Device<O> {
    /// The device's end of a ring that the driver has set up.
    ///
    /// The used index is taken as it is found, not as zero: rpmsg-lite's driver hands its transmit buffers over as
    /// entries that are used already.
    pub fn new(parts: Parts<O>, features: RingFeatures) -> Self {
        let used = parts.used_index.load_acquire();
        let num = parts.num;
        Self {
            parts,
            taken: Cell::new(0),
            seen: Cell::new(0),
            returned: Cell::new(used),
            published: Cell::new(NOTHING | u32::from(used)),
            first: used,
            window: num.wrapping_sub(used),
            features,
            by_event: features.event_index,
            heeded: AVAIL_NO_INTERRUPT,
            unreadable: pack(0, DESC_NEXT | DESC_INDIRECT | DESC_WRITE, 0),
        }
    }

    /// The device's end of a ring that was in use before and stood still meanwhile: the next entry to take is number
    /// `base` (modulo 2^16) of the available ring, and all that are before it in the used ring have been given back.
    ///
    /// # Errors
    /// [`QueueError::PeerIndexJump`]: `base` is not in the window that the used index, which is in the ring, allows.
    pub fn resume(parts: Parts<O>, features: RingFeatures, base: u16) -> Result<Self, QueueError> {
        let fresh = Self::new(parts, features);
        let (used, num) = (fresh.found(), fresh.parts.num);
        if base.wrapping_sub(used) > num {
            return Err(index_jump(used, base, num));
        }
        let (taken, seen) = (Cell::new(base), Cell::new(base));
        Ok(Self { taken, seen, first: used.wrapping_sub(base), window: num, ..fresh })
    }

    /// Notifies the driver of everything, whatever it says: for drivers that do not mean it. rpmsg-lite's says once
    /// and for all that it wants no notification, and waits for them; OpenAMP's accepts the event index and then
    /// neither reads nor writes it. What this device says of its own wishes, both kinds of driver understand.
    #[must_use]
    pub fn notifying_always(self) -> Self {
        Self { by_event: false, heeded: 0, ..self }
    }

    /// Takes single buffers to be read that are marked as writable, too: rpmsg-lite's driver marks all of them.
    #[must_use]
    pub fn reading_writable(self) -> Self {
        Self { unreadable: pack(0, DESC_NEXT | DESC_INDIRECT, 0), ..self }
    }
}

impl<O> Device<O> {
    /// All buffers of a chain that was taken, each checked as it comes (2.7.4, 2.7.5). Ends after at most `num`
    /// buffers, whatever the driver does meanwhile. Indirect tables are looked up in `map`.
    pub fn walk<'q, const N: usize>(&'q self, head: u16, map: &'q AddressMap<O, N>) -> Walk<'q, O, N> {
        Walk::new(self, head, map)
    }

    /// Puts the chain that was taken last back, as if it had not been taken.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`] where no chain is out.
    pub fn undo_pop(&self, head: u16) -> Result<(), QueueError> {
        if self.outstanding() == 0 {
            return Err(QueueError::NotHeld { head });
        }
        self.taken.set(self.taken.get().wrapping_sub(1));
        Ok(())
    }

    /// The used index that the ring had when this end of it was made: 0 where the driver had just set it up, but for
    /// rpmsg-lite's.
    pub const fn found(&self) -> u16 {
        self.first
    }

    /// Chains taken and not yet given back.
    pub fn outstanding(&self) -> u16 {
        self.taken.get().wrapping_sub(self.returned.get().wrapping_sub(self.first))
    }

    /// Reads the driver's index again, everything up to the old one having been taken; tells whether there is more.
    #[inline(always)]
    fn look(&self, taken: u16) -> Result<bool, QueueError> {
        // Acquire: entries, descriptors and buffers are read after the index that published them.
        let theirs = self.parts.available_index.load_acquire();
        let limit = self.window.wrapping_add(self.returned.get()).wrapping_sub(taken);
        let more = theirs.wrapping_sub(taken);
        if more > limit {
            return Err(index_jump(taken, theirs, limit));
        }
        self.seen.set(theirs);
        Ok(more > 0)
    }

    /// The driver took back what it was shown, or was shown nothing yet and has cleared another ring.
    #[cold]
    fn is_cleared_for(&self, cleared: impl FnOnce() -> bool) -> bool {
        self.is_cleared() || cleared()
    }

    #[cold]
    fn bad_head(&self, head: u16) -> QueueError {
        QueueError::PeerBadId { id: u32::from(head), num: self.parts.num }
    }

    pub(super) fn features(&self) -> RingFeatures {
        self.features
    }

    /// A private copy of a descriptor: address, length, flags, next.
    #[inline(always)]
    pub(super) fn descriptor(&self, index: u16) -> (DeviceAddr, u32, u16, u16) {
        let [addr, word] = self.parts.descriptors.load(usize::from(index));
        let (len, flags, next) = unpack(word);
        (DeviceAddr(addr), len, flags, next)
    }
}

/// Beside an index: that it was found, and not written by this side.
const NOTHING: u32 = 1 << 16;

#[cold]
fn bad_flags(index: u16, flags: u16) -> QueueError {
    QueueError::PeerBadDescriptor { index, field: "flags", value: u64::from(flags) }
}

impl<O> DeviceQueue for Device<O> {
    #[inline(always)]
    fn num(&self) -> u16 {
        self.parts.num
    }

    #[inline(always)]
    fn pop_available(&self) -> Result<Option<u16>, QueueError> {
        let taken = self.taken.get();
        if taken == self.seen.get() && !self.look(taken)? {
            return Ok(None);
        }
        let head = self.parts.available.load(usize::from(taken));
        if head >= self.parts.num {
            return Err(self.bad_head(head));
        }
        self.taken.set(taken.wrapping_add(1));
        Ok(Some(head))
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn pop_single(&self, direction: Direction) -> Result<Option<(u16, Buffer)>, QueueError> {
        let taken = self.taken.get();
        if taken == self.seen.get() && !self.look(taken)? {
            return Ok(None);
        }
        let head = self.parts.available.load(usize::from(taken));
        let buffer = self.single(head, direction)?;
        self.taken.set(taken.wrapping_add(1));
        Ok(Some((head, buffer)))
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn single(&self, head: u16, direction: Direction) -> Result<Buffer, QueueError> {
        let Some([addr, word]) = self.parts.descriptors.get(usize::from(head)) else {
            return Err(self.bad_head(head));
        };
        let (looked_at, wanted) = match direction {
            Direction::ToDevice => (self.unreadable, 0),
            Direction::FromDevice => {
                (pack(0, DESC_NEXT | DESC_INDIRECT | DESC_WRITE, 0), pack(0, DESC_WRITE, 0))
            }
        };
        let (len, flags, _) = unpack(word);
        // As they lie in the word, which costs two instructions less than taking them out.
        if word & looked_at != wanted {
            return Err(bad_flags(head, flags));
        }
        Ok(Buffer { addr: DeviceAddr(addr), len, direction })
    }

    #[inline(always)]
    fn is_cleared(&self) -> bool {
        self.parts.used_index.load() != self.published.get() as u16
    }

    #[inline(always)]
    fn add_used(&self, head: u16, written: u32) {
        let returned = self.returned.get();
        self.parts.used.renew(usize::from(returned), [u32::from(head), written]);
        self.returned.set(returned.wrapping_add(1));
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn publish(&self) -> bool {
        self.publish_unless(|| false)
    }

    #[inline(always)]
    fn publish_unless(&self, cleared: impl FnOnce() -> bool) -> bool {
        let new = self.returned.get();
        let old = self.published.get() as u16;
        if new == old {
            return false;
        }
        // As wide as it is kept, so that one comparison tells both exceptions from the rule.
        if u32::from(self.parts.used_index.load()) != self.published.get() && self.is_cleared_for(cleared) {
            return false;
        }
        // Release: whoever sees the index sees the elements, and what was written to the buffers (2.7.8.2).
        self.parts.used_index.store_release(new);
        self.published.set(u32::from(new));
        // Full: as in the driver's `publish`.
        full_fence();
        if self.by_event {
            need_event(self.parts.used_event.load(), new, old)
        } else {
            self.parts.available_flags.load() & self.heeded == 0
        }
    }

    fn enable_notifications(&self) -> bool {
        let taken = self.taken.get();
        if self.features.event_index {
            self.parts.available_event.store(taken);
        } else {
            self.parts.used_flags.store(0);
        }
        // Full: as in the driver's `enable_notifications`.
        full_fence();
        self.parts.available_index.load_acquire() != taken
    }

    fn disable_notifications(&self) {
        if !self.features.event_index {
            self.parts.used_flags.store(USED_NO_NOTIFY);
        }
    }
}
