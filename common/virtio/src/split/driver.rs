//! The driver's end of a split ring.

use core::cell::Cell;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{DeviceAddr, Region};
use sidecore_wire::split::{
    AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, USED_NO_NOTIFY, need_event,
};

use super::journal::Journal;
use super::{Parts, index_jump, pack};
use crate::{Buffer, Direction, DriverQueue, QueueError, RingFeatures, Used};

/// The driver's end of a split ring.
///
/// `S` is the storage for the driver's own record of each descriptor, at least as many slots as the ring has
/// descriptors: an array in firmware, a boxed slice on Linux. Nothing that the driver relies on lies where the
/// device can write: descriptors are written and never read back.
///
/// `J` notes what changes hands, for a driver that another one may have to follow ([`Driver::resume`]).
#[derive(Debug)]
pub struct Driver<S, O = (), J = ()> {
    pub(super) parts: Parts<O>,
    pub(super) slots: S,
    pub(super) journal: J,
    /// First of the free descriptors, linked by [`Slot::next`]; `num` where none is free.
    pub(super) free: Cell<u16>,
    pub(super) free_count: Cell<u16>,
    /// Entries written to the available ring.
    pub(super) offered: Cell<u16>,
    /// Entries that the device was shown.
    pub(super) published: Cell<u16>,
    /// Entries taken from the used ring.
    pub(super) taken: Cell<u16>,
    /// The device's index when it was read last.
    pub(super) seen: Cell<u16>,
    pub(super) event_index: bool,
}

/// What a driver remembers of one descriptor.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub(super) state: Cell<State>,
    /// Whether its buffer is the device's to write.
    pub(super) writable: Cell<bool>,
    /// The next free descriptor, or the next of the chain in flight. Of a single buffer in flight, where the journal wants
    /// that: the count of those that were offered before it.
    pub(super) next: Cell<u16>,
    /// Bytes of its buffer, as the device was told last.
    pub(super) len: Cell<u32>,
}

impl Slot {
    #[inline(always)]
    fn write(&self, direction: Direction, len: u32) {
        self.writable.set(direction == Direction::FromDevice);
        self.len.set(len);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Free,
    /// Reserved, or used and not yet given back: the caller's.
    Held,
    /// The head of a chain of one that is with the device.
    Single,
    /// The head of a longer chain that is with the device, or of an indirect one.
    Chain,
    /// Another part of a chain that is with the device.
    Part,
}

impl<S: AsRef<[Slot]>, O: Clone> Driver<S, O> {
    /// A driver for the ring, which is cleared: the device must not be looking at it yet.
    ///
    /// # Errors
    /// [`QueueError::Storage`] where there are fewer slots than descriptors.
    pub fn new(parts: Parts<O>, features: RingFeatures, storage: S) -> Result<Self, QueueError> {
        Self::journaled(parts, features, storage, ())
    }
}

impl<S: AsRef<[Slot]>, O: Clone, J: Journal> Driver<S, O, J> {
    /// As [`new`](Driver::new), with a journal that begins anew.
    ///
    /// # Errors
    /// As for [`new`](Driver::new).
    pub fn journaled(
        parts: Parts<O>,
        features: RingFeatures,
        storage: S,
        journal: J,
    ) -> Result<Self, QueueError> {
        let num = parts.num;
        let slots = storage.as_ref();
        if slots.len() < usize::from(num) {
            return Err(QueueError::Storage { slots: slots.len(), num });
        }
        for (slot, next) in slots.iter().zip(1..=num) {
            // As the cleared ring describes it.
            slot.write(Direction::ToDevice, 0);
            slot.state.set(State::Free);
            slot.next.set(next);
        }
        parts.clear();
        journal.begins();
        Ok(Self {
            parts,
            slots: storage,
            journal,
            free: Cell::new(0),
            free_count: Cell::new(num),
            offered: Cell::new(0),
            published: Cell::new(0),
            taken: Cell::new(0),
            seen: Cell::new(0),
            event_index: features.event_index,
        })
    }
}

impl<S: AsRef<[Slot]>, O, J: Journal> Driver<S, O, J> {
    /// Descriptors that [`DriverQueue::reserve`] can still give.
    pub fn free_count(&self) -> u16 {
        self.free_count.get()
    }

    /// Gives a chain to the device through one descriptor, by a table of descriptors in memory of the caller's
    /// (2.7.5.3). The table must stay untouched until the chain comes back. For devices that accepted
    /// `VIRTIO_F_INDIRECT_DESC`.
    ///
    /// # Errors
    /// [`QueueError::Full`], [`QueueError::ChainLength`], or [`QueueError::Access`] where the table is shorter
    /// than 16 bytes a buffer.
    pub fn add_indirect(
        &self,
        chain: &[Buffer],
        table: &Region<O>,
        table_addr: DeviceAddr,
    ) -> Result<u16, QueueError> {
        if chain.is_empty() || chain.len() > usize::from(self.parts.num) {
            return Err(QueueError::ChainLength { len: chain.len() });
        }
        for (i, buffer) in chain.iter().enumerate() {
            let next = if i + 1 < chain.len() { i as u16 + 1 } else { 0 };
            table.store(16 * i, buffer.addr.0)?;
            table.store(16 * i + 8, describe(buffer, (next != 0).then_some(next)))?;
        }
        let (head, slot) = self.unused().ok_or(QueueError::Full)?;
        let len = 16 * chain.len() as u32;
        slot.write(Direction::ToDevice, len);
        self.parts.descriptors.store(usize::from(head), [table_addr.0, pack(len, DESC_INDIRECT, 0)]);
        slot.state.set(State::Chain);
        slot.next.set(self.parts.num);
        self.enqueue(head);
        Ok(head)
    }

    #[inline(always)]
    fn slot(&self, index: u16) -> Option<&Slot> {
        self.slots.as_ref().get(usize::from(index))
    }

    #[inline(always)]
    fn describe_at(&self, index: u16, slot: &Slot, buffer: &Buffer, next: Option<u16>) {
        slot.write(buffer.direction, buffer.len);
        self.parts.descriptors.store(usize::from(index), [buffer.addr.0, describe(buffer, next)]);
    }

    #[inline(always)]
    fn enqueue(&self, head: u16) {
        let offered = self.offered.get();
        // Buffers that are used in the order in which they were offered come round in the same order.
        self.parts.available.renew(usize::from(offered), head);
        self.journal.offers(head);
        self.offered.set(offered.wrapping_add(1));
    }

    #[inline(always)]
    fn held(&self, head: u16) -> Result<&Slot, QueueError> {
        match self.slot(head) {
            Some(slot) if slot.state.get() == State::Held => Ok(slot),
            _ => Err(QueueError::NotHeld { head }),
        }
    }

    /// Reads the device's index again, everything up to the old one having been taken; tells whether there is more.
    #[inline(always)]
    fn look(&self, taken: u16) -> Result<bool, QueueError> {
        // Acquire: the elements, and what the device wrote to the buffers, are read after the index.
        let theirs = self.parts.used_index.load_acquire();
        let limit = self.published.get().wrapping_sub(taken);
        if theirs.wrapping_sub(taken) > limit {
            return Err(index_jump(taken, theirs, limit));
        }
        self.seen.set(theirs);
        Ok(theirs != taken)
    }

    /// The next descriptor for a buffer, marked as a chain of one that is with the device, as it is about to be.
    #[inline(always)]
    fn next(&self) -> Result<(u16, &Slot), QueueError> {
        let taken = self.taken.get();
        if taken == self.seen.get() {
            return self.next_round();
        }
        self.take(taken, self.parts.used.load_first(usize::from(taken)), 0)
    }

    /// [`Self::next`] where all that the device was known to have used is taken: the descriptors that were never used
    /// come before its index is read again, so that it is read once in a whole round and not once a message.
    #[cold]
    #[inline(never)]
    fn next_round(&self) -> Result<(u16, &Slot), QueueError> {
        let taken = self.taken.get();
        match self.unused() {
            Some(unused) => Ok(unused),
            None if self.look(taken)? => self.take(taken, self.parts.used.load_first(usize::from(taken)), 0),
            None => Err(QueueError::Full),
        }
    }

    #[inline(always)]
    fn unused(&self) -> Option<(u16, &Slot)> {
        if self.free_count.get() == 0 {
            return None;
        }
        let index = self.free.get();
        let slot = self.slot(index)?;
        slot.state.set(State::Single);
        self.free.set(slot.next.get());
        self.free_count.set(self.free_count.get() - 1);
        Some((index, slot))
    }

    /// Takes the chain that the device named in the element at `taken`.
    #[inline(always)]
    fn take(&self, taken: u16, id: u32, len: u32) -> Result<(u16, &Slot), QueueError> {
        let slot = self.slots.as_ref().get(id as usize).ok_or_else(|| self.bad_id(id))?;
        if slot.state.get() != State::Single {
            self.unchain(id, slot)?;
        }
        self.journal.takes(id as u16, len);
        self.taken.set(taken.wrapping_add(1));
        Ok((id as u16, slot))
    }

    #[inline(always)]
    pub(super) fn put_free(&self, index: u16, slot: &Slot) {
        slot.state.set(State::Free);
        slot.next.set(self.free.get());
        self.free.set(index);
        self.free_count.set(self.free_count.get() + 1);
    }

    #[cold]
    #[inline(never)]
    fn unfilled(&self, head: u16, slot: &Slot) {
        self.put_free(head, slot);
    }

    #[cold]
    #[inline(never)]
    fn bad_id(&self, id: u32) -> QueueError {
        QueueError::PeerBadId { id, num: self.parts.num }
    }

    /// Frees all of a chain but its head, which is a chain of one then; all are bound to their buffers alone.
    #[cold]
    #[inline(never)]
    fn unchain(&self, id: u32, head: &Slot) -> Result<(), QueueError> {
        if head.state.get() != State::Chain {
            return Err(self.bad_id(id));
        }
        let mut next = head.next.get();
        while let Some(slot) = self.slot(next).filter(|slot| slot.state.get() == State::Part) {
            let index = next;
            next = slot.next.get();
            self.tell_length(index, slot, slot.len.get());
            self.put_free(index, slot);
        }
        self.tell_length(id as u16, head, head.len.get());
        head.state.set(State::Single);
        Ok(())
    }

    /// Gives a descriptor to the device that is bound to its buffer.
    #[inline(always)]
    fn enqueue_bound(&self, head: u16, slot: &Slot, len: u32) {
        // Address, direction and at best the length stand in the descriptor already. Should the device have written
        // over them, then that is where the device will look: it can only mislead itself.
        if slot.len.get() != len {
            self.tell_length(head, slot, len);
        }
        self.enqueue_single(head, slot);
    }

    #[inline(always)]
    fn enqueue_single(&self, head: u16, slot: &Slot) {
        if J::ORDERS {
            slot.next.set(self.offered.get());
        }
        self.enqueue(head);
    }

    /// Writes the half of a single buffer's descriptor that has its length.
    // Out of line: inlined, it costs those whose lengths are always the same two instructions.
    #[inline(never)]
    fn tell_length(&self, index: u16, slot: &Slot, len: u32) {
        slot.len.set(len);
        let flags = if slot.writable.get() { DESC_WRITE } else { 0 };
        self.parts.descriptors.store_second(usize::from(index), pack(len, flags, 0));
    }
}

#[inline(always)]
fn describe(buffer: &Buffer, next: Option<u16>) -> u64 {
    let write = match buffer.direction {
        Direction::ToDevice => 0,
        Direction::FromDevice => DESC_WRITE,
    };
    match next {
        Some(next) => pack(buffer.len, write | DESC_NEXT, next),
        None => pack(buffer.len, write, 0),
    }
}

impl<S: AsRef<[Slot]>, O, J: Journal> DriverQueue for Driver<S, O, J> {
    #[inline(always)]
    fn num(&self) -> u16 {
        self.parts.num
    }

    #[inline(always)]
    fn reserve(&self) -> Option<u16> {
        let (head, slot) = self.unused()?;
        slot.state.set(State::Held);
        Some(head)
    }

    #[inline(always)]
    fn acquire(&self) -> Result<u16, QueueError> {
        let (head, slot) = self.next()?;
        slot.state.set(State::Held);
        Ok(head)
    }

    #[inline(always)]
    fn bind(&self, head: u16, buffer: Buffer) -> Result<(), QueueError> {
        self.describe_at(head, self.held(head)?, &buffer, None);
        Ok(())
    }

    #[inline(always)]
    fn offer_bound(&self, head: u16, len: u32) -> Result<(), QueueError> {
        let slot = self.held(head)?;
        slot.state.set(State::Single);
        self.enqueue_bound(head, slot, len);
        Ok(())
    }

    #[inline(always)]
    fn offer_next(&self, fill: impl FnOnce(u16) -> Option<u32>) -> Result<bool, QueueError> {
        // Never held in between, so there is no state to be changed and checked.
        let (head, slot) = self.next()?;
        let filled = fill(head);
        match filled {
            Some(len) => self.enqueue_bound(head, slot, len),
            None => self.unfilled(head, slot),
        }
        Ok(filled.is_some())
    }

    #[inline(always)]
    fn offer(&self, head: u16, buffer: Buffer) -> Result<(), QueueError> {
        let slot = self.held(head)?;
        slot.state.set(State::Single);
        self.describe_at(head, slot, &buffer, None);
        self.enqueue_single(head, slot);
        Ok(())
    }

    fn add(&self, chain: &[Buffer]) -> Result<u16, QueueError> {
        let Some((last, rest)) = chain.split_last() else {
            return Err(QueueError::ChainLength { len: 0 });
        };
        if chain.len() > usize::from(self.parts.num) {
            return Err(QueueError::ChainLength { len: chain.len() });
        }
        if chain.len() > usize::from(self.free_count.get()) {
            return Err(QueueError::Full);
        }
        // Written from the last to the first, so that each descriptor knows the next.
        let (mut head, mut slot) = self.unused().ok_or(QueueError::Full)?;
        self.describe_at(head, slot, last, None);
        for buffer in rest.iter().rev() {
            slot.state.set(State::Part);
            let next = head;
            (head, slot) = self.unused().ok_or(QueueError::Full)?;
            slot.next.set(next);
            self.describe_at(head, slot, buffer, Some(next));
        }
        slot.state.set(if rest.is_empty() { State::Single } else { State::Chain });
        self.enqueue(head);
        Ok(head)
    }

    #[inline(always)]
    fn publish(&self) -> bool {
        let new = self.offered.get();
        let old = self.published.get();
        if new == old {
            return false;
        }
        // Release: whoever sees the index sees the entries, descriptors and buffers behind it (2.7.13.3).
        self.parts.available_index.store_release(new);
        self.published.set(new);
        // Full: our index must be out before we look at the device's wish (2.7.13.4.1), else both sides may miss
        // each other: it asks and finds nothing, we look and find no question.
        full_fence();
        if self.event_index {
            need_event(self.parts.available_event.load(), new, old)
        } else {
            self.parts.used_flags.load() & USED_NO_NOTIFY == 0
        }
    }

    #[inline(always)]
    fn pop_used(&self) -> Result<Option<Used>, QueueError> {
        let taken = self.taken.get();
        if taken == self.seen.get() && !self.look(taken)? {
            return Ok(None);
        }
        let [id, len] = self.parts.used.load(usize::from(taken));
        let (head, slot) = self.take(taken, id, len)?;
        slot.state.set(State::Held);
        Ok(Some(Used { head, len }))
    }

    #[inline(always)]
    fn free(&self, head: u16) -> Result<(), QueueError> {
        self.put_free(head, self.held(head)?);
        Ok(())
    }

    fn enable_notifications(&self) -> bool {
        let taken = self.taken.get();
        if self.event_index {
            self.parts.used_event.store(taken);
        } else {
            self.parts.available_flags.store(0);
        }
        // Full: the wish must be out before we look for the last time; the other half of the one in the
        // device's `publish`.
        full_fence();
        self.parts.used_index.load_acquire() != taken
    }

    fn disable_notifications(&self) {
        // With the event index the wish simply ages: the device notifies once, when it passes the old one.
        if !self.event_index {
            self.parts.available_flags.store(AVAIL_NO_INTERRUPT);
        }
    }
}
