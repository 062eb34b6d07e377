//! What of a driver outlives it: enough to go on in its rings where it stood.
//!
//! A driver's own record of its descriptors is gone when its process is killed, and the rings alone do not tell what it
//! held: the entries that named such a buffer are written over while it is held. So the driver notes each change of
//! hands in memory of its own that is still there afterwards (a page cache file, a descriptor that another process
//! keeps), and [`Driver::resume`](super::Driver::resume) makes a driver of that and of the rings. The device takes no
//! part in it and notices nothing.
//!
//! ```text
//! byte 0   taken      u32   elements taken from the used ring
//!      4   offered    u32   entries written to the available ring; the low 16 bits count
//!      8   state      u32   for each descriptor: whose it is, and the value of `taken` when it came
//!  8+4n    length     u32   for each descriptor: what the device said that it wrote
//! ```
//!
//! The order of the stores is what makes it good at any moment: a descriptor counts as taken once `taken` has passed
//! its element, and as offered once `offered` has passed its entry. A state that lags behind is put right from the
//! rings. Only the death of a process is survived, not that of the machine: stores are seen in program order.

use core::cell::Cell;

use sidecore_mem::{AccessError, Region, Ring, Word};

/// Notes which descriptors change hands. `()` notes nothing.
pub trait Journal {
    /// Whether the driver itself keeps in mind, too, in which order it gave buffers away: see
    /// [`outstanding`](super::Driver::outstanding). That takes an instruction a buffer.
    const ORDERS: bool = true;

    /// The ring is cleared, and all descriptors are the driver's.
    fn begins(&self);

    /// The element at `taken` of the used ring is taken: its descriptor is the driver's.
    fn takes(&self, head: u16, len: u32);

    /// The entry at `offered` of the available ring names this descriptor, which is the device's as of its next look
    /// at the index.
    fn offers(&self, head: u16);
}

impl Journal for () {
    const ORDERS: bool = false;

    fn begins(&self) {}

    #[inline(always)]
    fn takes(&self, _: u16, _: u32) {}

    #[inline(always)]
    fn offers(&self, _: u16) {}
}

/// No journal is one as well, for those who find out at run time.
impl<J: Journal> Journal for Option<J> {
    const ORDERS: bool = J::ORDERS;

    fn begins(&self) {
        self.iter().for_each(Journal::begins);
    }

    #[inline(always)]
    fn takes(&self, head: u16, len: u32) {
        if let Some(journal) = self {
            journal.takes(head, len);
        }
    }

    #[inline(always)]
    fn offers(&self, head: u16) {
        if let Some(journal) = self {
            journal.offers(head);
        }
    }
}

/// A journal in memory that outlives the driver. One driver at a time writes it.
#[derive(Debug)]
pub struct Ledger<O = ()> {
    taken: Word<u32, O>,
    offered: Word<u32, O>,
    states: Ring<u32, O>,
    lens: Ring<u32, O>,
    /// Both counts as they were written last.
    counts: [Cell<u32>; 2],
}

/// The descriptor is with the device.
const WITH_DEVICE: u32 = 1 << 31;
/// It is with the driver, and came from the device. The low bits tell when.
const TAKEN: u32 = 1 << 30;
/// Elements after which `taken` begins anew, in a state.
const AGES: u32 = TAKEN;

/// A descriptor that a driver had taken and not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many elements were taken since then, itself included: the greater, the older.
    pub age: u32,
    /// Number of the descriptor.
    pub head: u16,
    /// Bytes that the device claims to have written, at that time.
    pub len: u32,
}

impl<O: Clone> Ledger<O> {
    /// Bytes that the journal of a ring of `num` descriptors takes.
    #[must_use]
    pub const fn size(num: u16) -> usize {
        8 + 8 * num as usize
    }

    /// A journal as it lies in memory: all zero for a new ring, or as another driver left it.
    ///
    /// # Errors
    /// The region is shorter than [`size`](Self::size), or not aligned to 4 bytes.
    pub fn open(region: &Region<O>, num: u16) -> Result<Self, AccessError> {
        let n = usize::from(num);
        let (taken, offered) = (region.word(0)?, region.word(4)?);
        let counts = [Word::load(&taken), Word::load(&offered)].map(Cell::new);
        Ok(Self { taken, offered, states: region.ring(8, n)?, lens: region.ring(8 + 4 * n, n)?, counts })
    }
}

impl<O> Ledger<O> {
    /// What the last driver had taken and not given back, in no particular order.
    pub fn left(&self) -> impl Iterator<Item = Left> + '_ {
        (0..self.states.count()).filter_map(|index| {
            let state = self.states.load(index);
            let age = self.counts[0].get().wrapping_sub(state) % AGES;
            let is_left = state & (WITH_DEVICE | TAKEN) == TAKEN;
            is_left.then(|| Left { age, head: index as u16, len: self.len_of(index as u16) })
        })
    }

    /// Bytes that the device claimed to have written when this descriptor was taken last.
    pub fn len_of(&self, head: u16) -> u32 {
        self.lens.load(usize::from(head))
    }

    pub(super) fn taken(&self) -> u16 {
        self.counts[0].get() as u16
    }

    pub(super) fn offered(&self) -> u16 {
        self.counts[1].get() as u16
    }

    pub(super) fn is_with_device(&self, head: u16) -> bool {
        self.states.load(usize::from(head)) & WITH_DEVICE != 0
    }

    /// Whether this state was written by someone who died before `taken` was: for the element that comes next.
    pub(super) fn is_half_taken(&self, head: u16) -> bool {
        self.states.load(usize::from(head)) == TAKEN | (self.counts[0].get() % AGES)
    }

    /// What lagged behind is put right.
    pub(super) fn set_with_device(&self, head: u16) {
        self.states.store(usize::from(head), WITH_DEVICE);
    }

    fn count(&self, which: usize, value: u32) {
        let (word, known) = match which {
            0 => (&self.taken, &self.counts[0]),
            _ => (&self.offered, &self.counts[1]),
        };
        word.store(value);
        known.set(value);
    }
}

impl<O> Journal for Ledger<O> {
    fn begins(&self) {
        for index in 0..self.states.count() {
            self.states.store(index, 0);
        }
        self.count(0, 0);
        self.count(1, 0);
    }

    #[inline]
    fn takes(&self, head: u16, len: u32) {
        let taken = self.counts[0].get();
        self.lens.store(usize::from(head), len);
        self.states.store(usize::from(head), TAKEN | (taken % AGES));
        self.count(0, taken.wrapping_add(1));
    }

    #[inline]
    fn offers(&self, head: u16) {
        self.count(1, self.counts[1].get().wrapping_add(1));
        self.states.store(usize::from(head), WITH_DEVICE);
    }
}
