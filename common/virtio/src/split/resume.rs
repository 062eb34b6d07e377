//! A driver that goes on where another one was killed.

use core::cell::Cell;
use core::fmt;

use super::driver::State;
use super::{Driver, Ledger, Parts, Slot};
use crate::{Direction, QueueError, RingFeatures};

impl<S: AsRef<[Slot]>, O: Clone> Driver<S, O, Option<Ledger<O>>> {
    /// A driver for a ring that another driver, which is gone, has left as it was at that moment: nothing is cleared,
    /// and the device notices nothing. For rings of single buffers, each bound to its descriptor.
    ///
    /// What that driver had offered is with the device, published or not: [`publish`](crate::DriverQueue::publish)
    /// shows it what was not, and whoever resumes rings the device once, since the last ring may be missing. All else
    /// is *held*: what had never been offered, and what had been taken and not given back ([`Ledger::left`] of
    /// [`ledger`](Self::ledger) names it). The caller [binds](crate::DriverQueue::bind) each of them again, and then
    /// [frees](crate::DriverQueue::free) or offers it.
    ///
    /// `direction` is that of all buffers of this ring.
    ///
    /// # Errors
    /// The journal is not of this ring, or was written by something else: nothing has been changed then but what the
    /// journal itself had left half done.
    pub fn resume(
        parts: Parts<O>,
        features: RingFeatures,
        direction: Direction,
        storage: S,
        ledger: Ledger<O>,
    ) -> Result<Self, ResumeError> {
        let num = parts.num;
        let slots = storage.as_ref();
        if slots.len() < usize::from(num) {
            return Err(QueueError::Storage { slots: slots.len(), num }.into());
        }
        let (taken, offered) = (ledger.taken(), ledger.offered());
        let published = parts.available_index.load_acquire();
        let outstanding = offered.wrapping_sub(taken);
        let hidden = offered.wrapping_sub(published);
        if outstanding > num || hidden > outstanding {
            return Err(ResumeError::Counts { taken, offered, published, num });
        }
        // Whoever died between an entry and its descriptor's state had not published that entry yet.
        for entry in 0..hidden {
            let head = parts.available.load(usize::from(published.wrapping_add(entry)));
            if head >= num {
                return Err(ResumeError::Entry { head, num });
            }
            ledger.set_with_device(head);
        }
        // Likewise between a descriptor's state and the count of those that were taken.
        let next = parts.used.load_first(usize::from(taken));
        if let Some(head) = u16::try_from(next).ok().filter(|head| *head < num)
            && ledger.is_half_taken(head)
        {
            ledger.set_with_device(head);
        }
        let driver = Self {
            parts,
            slots: storage,
            journal: Some(ledger),
            free: Cell::new(num),
            free_count: Cell::new(0),
            offered: Cell::new(offered),
            published: Cell::new(published),
            taken: Cell::new(taken),
            seen: Cell::new(taken),
            event_index: features.event_index,
        };
        driver.recall(outstanding, direction)?;
        Ok(driver)
    }

    /// Finds out whose each descriptor is.
    fn recall(&self, outstanding: u16, direction: Direction) -> Result<(), ResumeError> {
        let mut found = 0;
        for (head, slot) in (0..self.parts.num).zip(self.slots.as_ref()) {
            let theirs = self.journal.as_ref().is_some_and(|ledger| ledger.is_with_device(head));
            // No length is like this one, so that the next one is told.
            slot.len.set(u32::MAX);
            slot.writable.set(direction == Direction::FromDevice);
            slot.state.set(if theirs { State::Single } else { State::Held });
            found += u16::from(theirs);
        }
        if found != outstanding {
            return Err(ResumeError::Outstanding { found, outstanding });
        }
        // In which order, as far as the ring still tells: what is written over there is older than all that is not.
        let (offered, num) = (self.offered.get(), self.parts.num);
        self.slots.as_ref().iter().for_each(|slot| slot.next.set(offered.wrapping_sub(num)));
        for at in (1..=num).rev().map(|back| offered.wrapping_sub(back)) {
            let named = self.parts.available.load(usize::from(at));
            if let Some(slot) = self.slots.as_ref().get(usize::from(named)) {
                slot.next.set(at);
            }
        }
        Ok(())
    }

    /// The descriptors that were offered and that the device has not been shown, oldest first.
    pub fn unpublished(&self) -> impl Iterator<Item = u16> + '_ {
        let count = self.offered.get().wrapping_sub(self.published.get());
        (0..count).map(|entry| {
            let at = self.published.get().wrapping_add(entry);
            self.parts.available.load(usize::from(at))
        })
    }

    /// The journal, if there is one.
    pub const fn ledger(&self) -> Option<&Ledger<O>> {
        self.journal.as_ref()
    }
}

/// Why a driver cannot go on in a ring; only a reset of the device helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeError {
    /// The storage is too small.
    Queue(QueueError),
    /// The counts of journal and ring cannot be of one ring.
    Counts {
        /// Elements taken, by the journal.
        taken: u16,
        /// Entries offered, by the journal.
        offered: u16,
        /// Entries published, by the ring.
        published: u16,
        /// Descriptors of the ring.
        num: u16,
    },
    /// An entry that was offered names a descriptor that the ring does not have.
    Entry {
        /// What it names.
        head: u16,
        /// Descriptors of the ring.
        num: u16,
    },
    /// More or fewer descriptors are with the device than were given to it.
    Outstanding {
        /// By their states.
        found: u16,
        /// By the counts.
        outstanding: u16,
    },
}

impl From<QueueError> for ResumeError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(error) => error.fmt(f),
            Self::Counts { taken, offered, published, num } => write!(
                f,
                "the journal says {taken} taken and {offered} offered, the ring {published} published: a ring of {num} \
                 cannot have that"
            ),
            Self::Entry { head, num } => {
                write!(f, "an entry names descriptor {head}; the ring has {num}")
            }
            Self::Outstanding { found, outstanding } => {
                write!(
                    f,
                    "{found} descriptors are with the device by the journal, {outstanding} by its counts"
                )
            }
        }
    }
}

impl core::error::Error for ResumeError {}
