//! What a driver gave away and did not get back: for whoever sends it again to the next device.

use super::{Driver, Journal, Slot};
use crate::DriverQueue as _;

/// A single buffer that is with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// How many buffers were offered since then, itself included: the greater, the older.
    pub age: u16,
    /// Number of the descriptor.
    pub head: u16,
    /// Bytes of the buffer, as the device was told.
    pub len: u32,
}

impl<S: AsRef<[Slot]>, O, J: Journal> Driver<S, O, J> {
    /// Takes all back that the device has used, to be called when that device is gone. Nothing can be offered any more
    /// afterwards; what is [outstanding](Self::outstanding) then was never used. A device that broke the rules of the ring
    /// gets no more out of it than that what it used last counts as never used.
    pub fn settle(&self) {
        // Each of them takes a free descriptor or a used one.
        for _ in 0..self.parts.num {
            if self.acquire().is_err() {
                break;
            }
        }
    }

    /// The single buffers that are with the device, in no particular order; none but the ages tells in which they were
    /// offered. That is by the driver's own record: nothing that the device can write has a part in it. Ages are of no use
    /// where the journal keeps no order ([`Journal::ORDERS`]), nor of a buffer that the device holds while 65536 others are
    /// offered.
    pub fn outstanding(&self) -> impl Iterator<Item = Outstanding> + '_ {
        (0..self.parts.num).zip(self.slots.as_ref()).filter_map(|(head, slot)| {
            let is_out = slot.state.get() == super::driver::State::Single;
            let age = self.offered.get().wrapping_sub(slot.next.get());
            is_out.then(|| Outstanding { age, head, len: slot.len.get() })
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    extern crate std;

    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    use sidecore_mem::{DeviceAddr, Memory};
    use sidecore_wire::split::Layout;

    use super::*;
    use crate::split::{Device, Parts};
    use crate::{Buffer, DeviceQueue as _, Direction, RingFeatures};

    const NUM: u16 = 8;

    /// What is outstanding, oldest first, by the lengths.
    fn lens<S: AsRef<[Slot]>, J: Journal>(driver: &Driver<S, (), J>) -> Vec<u32> {
        driver.settle();
        let mut all: Vec<_> = driver.outstanding().collect();
        all.sort_by_key(|outstanding| core::cmp::Reverse(outstanding.age));
        all.iter().map(|outstanding| outstanding.len).collect()
    }

    #[test]
    fn what_a_device_held_back_is_found_in_the_order_in_which_it_was_offered() {
        let region = Box::leak(Box::<Memory<1024>>::default()).region();
        let parts = Parts::contiguous(&region, &Layout::new(NUM, 64).unwrap()).unwrap();
        let features = RingFeatures::of(0);
        let slots = vec![Slot::default(); NUM.into()];
        let driver = Driver::journaled(parts.clone(), features, slots, None::<crate::split::Ledger>).unwrap();
        let device = Device::new(parts, features);
        let offer = |len| {
            let head = driver.acquire().unwrap();
            let buffer = Buffer { addr: DeviceAddr(0x1000), len: 64, direction: Direction::ToDevice };
            driver.bind(head, buffer).unwrap();
            driver.offer_bound(head, len).unwrap();
            let _ = driver.publish();
        };
        let take = || device.pop_single(Direction::ToDevice).unwrap().unwrap().0;
        // Two are held back while the ring goes round often enough that their entries are written over.
        offer(1);
        offer(2);
        let held = [take(), take()];
        for len in 10..1000 {
            offer(len);
            device.add_used(take(), 0);
            let _ = device.publish();
        }
        (1000..1003).for_each(offer);
        let last = take();
        assert_ne!(held[0], last);
        // The device scribbles over the available ring, which it should only read.
        region.write(NUM as usize * 16, &[0xff; 24]).unwrap();
        assert_eq!(lens(&driver), [1, 2, 1000, 1001, 1002]);
    }
}
