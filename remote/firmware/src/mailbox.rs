//! Messages that came for an endpoint other than the one that was being looked at.

use core::cell::Cell;

use sidecore_rpmsg::{Endpoint, Held, Link};

/// Received messages put aside, in the order in which they came, in slots that the caller gives. With as many slots as
/// the link has receive buffers it is never full.
pub(crate) struct Mailbox<'s, L: Link> {
    slots: &'s [MailSlot<L>],
    count: Cell<usize>,
    /// Number of the message that comes next.
    next: Cell<u32>,
}

/// Room for one message.
pub(crate) struct MailSlot<L: Link> {
    /// Whose it is, and its number.
    label: Cell<Option<(Endpoint, u32)>>,
    held: Cell<Option<Held<L>>>,
}

impl<L: Link> MailSlot<L> {
    pub(crate) const fn new() -> Self {
        Self { label: Cell::new(None), held: Cell::new(None) }
    }
}

impl<'s, L: Link> Mailbox<'s, L> {
    /// An empty mailbox. Messages of an older link that are left in the slots are forgotten.
    pub(crate) fn new(slots: &'s [MailSlot<L>]) -> Self {
        for slot in slots {
            slot.label.set(None);
            slot.held.set(None);
        }
        Self { slots, count: Cell::new(0), next: Cell::new(0) }
    }

    /// Puts a message aside; gives it back where there is no room.
    pub(crate) fn put(&self, held: Held<L>) -> Result<(), Held<L>> {
        let Some(slot) = self.slots.iter().find(|slot| slot.label.get().is_none()) else { return Err(held) };
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        self.count.set(self.count.get() + 1);
        slot.label.set(Some((held.endpoint(), number)));
        slot.held.set(Some(held));
        Ok(())
    }

    /// The oldest message for an endpoint (`None`: for any).
    #[inline]
    pub(crate) fn take(&self, endpoint: Option<Endpoint>) -> Option<Held<L>> {
        if self.count.get() == 0 { None } else { self.search(endpoint) }
    }

    fn search(&self, wanted: Option<Endpoint>) -> Option<Held<L>> {
        let age = |slot: &MailSlot<L>| {
            let (endpoint, number) = slot.label.get()?;
            // Modulo 2^32; never so many are here at once.
            (wanted.is_none() || wanted == Some(endpoint)).then(|| self.next.get().wrapping_sub(number))
        };
        let (_, slot) =
            self.slots.iter().filter_map(|slot| Some((age(slot)?, slot))).max_by_key(|(age, _)| *age)?;
        slot.label.set(None);
        self.count.set(self.count.get() - 1);
        slot.held.take()
    }
}
