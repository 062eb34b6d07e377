//! Endpoints and their addresses.

use core::cell::Cell;

use sidecore_wire::rpmsg::{ADDR_ANY, FIRST_DYNAMIC_ADDR, NAME_SERVICE_ADDR};

use crate::OpenError;

/// Room for one endpoint, in storage that the caller gives.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The endpoint's address; `ADDR_ANY` while the slot is free.
    addr: Cell<u32>,
    /// Where its messages go unless a destination is named; `ADDR_ANY` until that is known, and while the slot is free,
    /// so that a message to `ADDR_ANY` is looked at twice.
    peer: Cell<u32>,
}

impl Slot {
    /// A free slot.
    #[must_use]
    pub const fn new() -> Self {
        Self { addr: Cell::new(ADDR_ANY), peer: Cell::new(ADDR_ANY) }
    }

    fn free(&self) {
        self.addr.set(ADDR_ANY);
        self.peer.set(ADDR_ANY);
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// An open endpoint of one [`Rpmsg`](crate::Rpmsg): its address, and the slot that it lives in. After it was closed,
/// every use answers [`SendError::EndpointClosed`](crate::SendError::EndpointClosed), until its address is opened again
/// in the same slot: a dynamic one comes back after all others, a static one whenever somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    slot: u16,
    addr: u32,
}

impl Endpoint {
    /// The endpoint's address.
    #[inline]
    #[must_use]
    pub const fn addr(self) -> u32 {
        self.addr
    }
}

/// All endpoints of a link.
///
/// A dynamic address is `1024 + n` where `n` modulo the number of slots is the slot, so a message finds its endpoint
/// without a search. `n` grows by whole rounds each time the slot is used again: an address comes back only after
/// all of its slot's others, and never while it is in use.
#[derive(Debug)]
pub(crate) struct Endpoints<S> {
    slots: S,
    /// The dynamic address to try first.
    next: Cell<u32>,
}

impl<S: AsRef<[Slot]>> Endpoints<S> {
    pub(crate) fn new(slots: S) -> Self {
        for slot in slots.as_ref() {
            slot.free();
        }
        Self { slots, next: Cell::new(FIRST_DYNAMIC_ADDR) }
    }

    /// Opens an endpoint; `ADDR_ANY` asks for a dynamic address.
    pub(crate) fn open(&self, addr: u32, peer: u32) -> Result<Endpoint, OpenError> {
        let endpoint = if addr == ADDR_ANY { self.dynamic()? } else { self.fixed(addr)? };
        if let Some(slot) = self.slots.as_ref().get(usize::from(endpoint.slot)) {
            slot.addr.set(endpoint.addr);
            slot.peer.set(peer);
        }
        Ok(endpoint)
    }

    /// The dynamic address to try first.
    pub(crate) fn next(&self) -> u32 {
        self.next.get()
    }

    /// Has dynamic addresses go on from here; one that cannot be changes nothing.
    pub(crate) fn go_on_from(&self, next: u32) {
        if (FIRST_DYNAMIC_ADDR..ADDR_ANY - u32::from(self.capacity())).contains(&next) {
            self.next.set(next);
        }
    }

    /// Closes an endpoint; `false` where it was closed already.
    pub(crate) fn close(&self, endpoint: Endpoint) -> bool {
        let slot = self.slot(endpoint);
        if let Some(slot) = slot {
            slot.free();
        }
        slot.is_some()
    }

    /// The endpoint with this address.
    #[inline(always)]
    pub(crate) fn find(&self, addr: u32) -> Option<Endpoint> {
        // What free slots have in place of an address belongs to no endpoint, whatever the peer writes to.
        if addr == ADDR_ANY {
            return None;
        }
        let slots = self.slots.as_ref();
        let natural = self.natural(addr);
        match slots.get(natural) {
            Some(slot) if slot.addr.get() == addr => Some(Endpoint { slot: natural as u16, addr }),
            _ => self.search(addr),
        }
    }

    /// Where the endpoint's messages go; `None` where it was closed.
    #[inline(always)]
    pub(crate) fn peer(&self, endpoint: Endpoint) -> Option<u32> {
        Some(self.slot(endpoint)?.peer.get())
    }

    /// The endpoint with this address; one that has no peer yet is bound to the writer.
    #[inline(always)]
    pub(crate) fn find_and_learn(&self, addr: u32, writer: u32) -> Option<Endpoint> {
        let natural = self.natural(addr);
        match self.slots.as_ref().get(natural) {
            Some(slot) if slot.addr.get() == addr && slot.peer.get() != ADDR_ANY => {
                Some(Endpoint { slot: natural as u16, addr })
            }
            _ => self.search_and_learn(addr, writer),
        }
    }

    #[cold]
    fn search_and_learn(&self, addr: u32, writer: u32) -> Option<Endpoint> {
        let endpoint = self.find(addr)?;
        if self.peer(endpoint) == Some(ADDR_ANY) {
            self.bind(endpoint, writer);
        }
        Some(endpoint)
    }

    /// Binds an endpoint to a peer, or with `ADDR_ANY` to none; `false` where it was closed.
    pub(crate) fn bind(&self, endpoint: Endpoint, peer: u32) -> bool {
        let slot = self.slot(endpoint);
        if let Some(slot) = slot {
            slot.peer.set(peer);
        }
        slot.is_some()
    }

    /// The slot in which an address is looked for first.
    #[inline(always)]
    fn natural(&self, addr: u32) -> usize {
        addr.wrapping_sub(FIRST_DYNAMIC_ADDR) as usize % self.slots.as_ref().len().max(1)
    }

    #[inline(always)]
    fn slot(&self, endpoint: Endpoint) -> Option<&Slot> {
        let slot = self.slots.as_ref().get(usize::from(endpoint.slot))?;
        (slot.addr.get() == endpoint.addr).then_some(slot)
    }

    /// An endpoint at a static address may be in any slot, if another one was in its own.
    #[cold]
    fn search(&self, addr: u32) -> Option<Endpoint> {
        let slot = self.slots.as_ref().iter().position(|slot| slot.addr.get() == addr)?;
        Some(Endpoint { slot: slot as u16, addr })
    }

    fn fixed(&self, addr: u32) -> Result<Endpoint, OpenError> {
        if addr == NAME_SERVICE_ADDR {
            return Err(OpenError::AddressReserved { addr });
        }
        if self.find(addr).is_some() {
            return Err(OpenError::AddressInUse { addr });
        }
        let is_free = |slot: &Slot| slot.addr.get() == ADDR_ANY;
        let slots = self.slots.as_ref();
        // Where it is found at once, else at the end, so that dynamic addresses find theirs free for longer.
        let natural = self.natural(addr);
        let free = match slots.get(natural) {
            Some(slot) if is_free(slot) => Some(natural),
            _ => slots.iter().rposition(is_free),
        };
        let slot = free.ok_or(self.no_slot())?;
        Ok(Endpoint { slot: slot as u16, addr })
    }

    fn dynamic(&self) -> Result<Endpoint, OpenError> {
        let capacity = self.capacity();
        let is_free =
            |slot: usize| self.slots.as_ref().get(slot).is_some_and(|slot| slot.addr.get() == ADDR_ANY);
        if !(0..usize::from(capacity)).any(is_free) {
            return Err(self.no_slot());
        }
        // Each free slot comes up once a round. Each static address can spoil one candidate in all, and so can the
        // end of the addresses: there are fewer of both than rounds.
        for _ in 0..=u32::from(capacity) + 1 {
            for _ in 0..capacity {
                let addr = self.next.get();
                let slot = (addr - FIRST_DYNAMIC_ADDR) % u32::from(capacity);
                // The last incomplete round below "any" is left out, so that slot and address stay in step.
                let top = ADDR_ANY - u32::from(capacity);
                self.next.set(if addr >= top { FIRST_DYNAMIC_ADDR } else { addr + 1 });
                if is_free(slot as usize) && addr < top && self.find(addr).is_none() {
                    return Ok(Endpoint { slot: slot as u16, addr });
                }
            }
        }
        Err(self.no_slot())
    }

    fn capacity(&self) -> u16 {
        self.slots.as_ref().len().min(usize::from(u16::MAX)) as u16
    }

    fn no_slot(&self) -> OpenError {
        OpenError::NoSlot { capacity: self.slots.as_ref().len() }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn endpoints(capacity: usize) -> Endpoints<Vec<Slot>> {
        Endpoints::new(vec![Slot::new(); capacity])
    }

    #[test]
    fn dynamic_addresses_start_at_1024_and_never_repeat_while_in_use() {
        let endpoints = endpoints(7);
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        for turn in 0..10_000 {
            match endpoints.open(ADDR_ANY, ADDR_ANY) {
                Ok(endpoint) => {
                    assert!(endpoint.addr() >= 1024);
                    assert!(seen.insert(endpoint.addr()), "{} again in turn {turn}", endpoint.addr());
                    open.push(endpoint);
                }
                Err(error) => {
                    assert_eq!((error, open.len()), (OpenError::NoSlot { capacity: 7 }, 7));
                    assert!(endpoints.close(open.swap_remove(turn % 7)));
                }
            }
            assert!(open.iter().all(|endpoint| endpoints.find(endpoint.addr()) == Some(*endpoint)));
        }
    }

    #[test]
    fn a_closed_endpoint_stays_closed_when_its_slot_is_used_again() {
        let endpoints = endpoints(1);
        let old = endpoints.open(ADDR_ANY, 5).unwrap();
        assert!(endpoints.close(old));
        assert!(!endpoints.close(old));
        let new = endpoints.open(ADDR_ANY, 6).unwrap();
        assert_ne!(old.addr(), new.addr());
        assert_eq!((endpoints.peer(old), endpoints.peer(new)), (None, Some(6)));
        assert_eq!(endpoints.find(old.addr()), None);
    }

    #[test]
    fn static_addresses_are_kept_apart_from_each_other_and_from_dynamic_ones() {
        let endpoints = endpoints(4);
        let fixed = endpoints.open(1025, ADDR_ANY).unwrap();
        assert_eq!(endpoints.open(1025, ADDR_ANY), Err(OpenError::AddressInUse { addr: 1025 }));
        assert_eq!(endpoints.open(53, ADDR_ANY), Err(OpenError::AddressReserved { addr: 53 }));
        let low = endpoints.open(0, ADDR_ANY).unwrap();
        assert_eq!(endpoints.find(0), Some(low));
        for _ in 0..2 {
            assert_ne!(endpoints.open(ADDR_ANY, ADDR_ANY).unwrap().addr(), 1025);
        }
        assert_eq!(endpoints.find(1025), Some(fixed));
        assert_eq!(endpoints.open(9, ADDR_ANY), Err(OpenError::NoSlot { capacity: 4 }));
        assert_eq!(endpoints.find(ADDR_ANY), None);
    }

    #[test]
    fn static_addresses_in_each_others_slots_hide_no_free_slot() {
        for capacity in [1, 2, 4, 16, 64] {
            let endpoints = endpoints(capacity);
            let first = endpoints.open(ADDR_ANY, ADDR_ANY).unwrap();
            // All of them belong into the first one's slot, and none of them gets it.
            for i in 1..capacity as u32 {
                endpoints.open(first.addr() + i * capacity as u32, ADDR_ANY).unwrap();
            }
            assert!(endpoints.close(first));
            let last = endpoints.open(ADDR_ANY, ADDR_ANY).unwrap();
            assert_eq!(last.addr(), first.addr() + (capacity * capacity) as u32);
        }
    }

    #[test]
    fn addresses_wrap_below_any_and_into_the_dynamic_range() {
        let endpoints = endpoints(3);
        endpoints.next.set(ADDR_ANY - 5);
        for _ in 0..20 {
            let endpoint = endpoints.open(ADDR_ANY, ADDR_ANY).unwrap();
            assert!((1024..ADDR_ANY).contains(&endpoint.addr()));
            assert_eq!(endpoints.find(endpoint.addr()), Some(endpoint));
            endpoints.close(endpoint);
        }
        assert!(endpoints.next.get() < 2000);
    }

    #[test]
    fn no_storage_means_no_endpoint_and_no_panic() {
        let endpoints = endpoints(0);
        assert_eq!(endpoints.find(1024), None);
        assert_eq!(endpoints.open(ADDR_ANY, ADDR_ANY), Err(OpenError::NoSlot { capacity: 0 }));
        assert_eq!(endpoints.open(7, ADDR_ANY), Err(OpenError::NoSlot { capacity: 0 }));
    }

    #[test]
    fn any_is_no_endpoint_whatever_its_slot_held_before() {
        for capacity in [1, 2, 3, 4, 8] {
            let used_before = endpoints(capacity);
            while used_before.open(ADDR_ANY, 7).is_ok() {}
            let endpoints = Endpoints::new(used_before.slots);
            assert_eq!(endpoints.find_and_learn(ADDR_ANY, 9), None);
            let open: Vec<_> = (0..capacity).map(|_| endpoints.open(ADDR_ANY, 7).unwrap()).collect();
            for endpoint in open {
                endpoints.close(endpoint);
                assert_eq!((endpoints.find(ADDR_ANY), endpoints.find_and_learn(ADDR_ANY, 9)), (None, None));
            }
        }
    }

    #[test]
    fn the_first_writer_becomes_the_peer_of_an_unbound_endpoint() {
        let endpoints = endpoints(1);
        let endpoint = endpoints.open(ADDR_ANY, ADDR_ANY).unwrap();
        assert_eq!(endpoints.find_and_learn(endpoint.addr(), 1030), Some(endpoint));
        assert_eq!(endpoints.find_and_learn(endpoint.addr(), 1031), Some(endpoint));
        assert_eq!(endpoints.peer(endpoint), Some(1030));
        assert!(endpoints.bind(endpoint, 4));
        assert_eq!(endpoints.peer(endpoint), Some(4));
    }
}
