//! What goes in comes out, whole and in order.

use std::iter::from_fn;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::{Buffer, Direction, QueueError, Used};

use super::{Bench, readable, writable};
use crate::rigs::DATA_ADDR;

pub(super) fn vring_2_7_13_nothing_is_visible_before_it_is_published(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let head = pair.driver.add(&[readable(0x10, 16)]).unwrap();
    assert_eq!(pair.device.pop_available(), Ok(None));
    assert!(pair.driver.publish(), "a new ring wants to hear of its first chain");
    assert_eq!(pair.device.pop_available(), Ok(Some(head)));
    assert_eq!(pair.device.pop_available(), Ok(None));
    assert_eq!(pair.device.single(head, Direction::ToDevice), Ok(readable(0x10, 16)));
    pair.device.add_used(head, 7);
    assert_eq!(pair.driver.pop_used(), Ok(None));
    assert!(pair.device.publish());
    assert_eq!(pair.driver.pop_used(), Ok(Some(Used { head, len: 7 })));
    assert_eq!(pair.driver.pop_used(), Ok(None));
}

/// Each ring of one to 32768 descriptors, always full, until all indices have passed 65535.
pub(super) fn vring_2_7_13_indices_wrap_with_every_descriptor_in_use(bench: &dyn Bench) {
    for num in [1, 2, 8, 256, 0x8000] {
        let pair = bench.pair(num);
        for round in 0..0x1_2000 / u64::from(num) {
            let sent: Vec<u16> = from_fn(|| pair.driver.reserve()).collect();
            assert_eq!(sent.len(), usize::from(num));
            for head in &sent {
                pair.driver.offer(*head, readable(round, u32::from(*head))).unwrap();
            }
            let _ = pair.driver.publish();
            let taken: Vec<u16> = from_fn(|| pair.device.pop_available().unwrap()).collect();
            assert_eq!(taken, sent, "ring of {num}, round {round}");
            // Given back from the last to the first.
            for head in taken.iter().rev() {
                let buffer = pair.device.single(*head, Direction::ToDevice);
                assert_eq!(buffer, Ok(readable(round, u32::from(*head))));
                pair.device.add_used(*head, u32::from(*head));
            }
            let _ = pair.device.publish();
            for head in taken.iter().rev() {
                let used = Used { head: *head, len: u32::from(*head) };
                assert_eq!(pair.driver.pop_used(), Ok(Some(used)), "ring of {num}, round {round}");
                pair.driver.free(*head).unwrap();
            }
        }
    }
}

pub(super) fn vring_2_7_13_buffers_are_filled_and_offered_in_one_step(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let buffer = |head: u16| readable(0x100 * u64::from(head), 0);
    for head in from_fn(|| pair.driver.reserve()).collect::<Vec<u16>>() {
        pair.driver.bind(head, buffer(head)).unwrap();
        pair.driver.free(head).unwrap();
    }
    for round in 0..100 {
        let mut filled = Vec::new();
        for len in 0..4 {
            let mut fill = |head| {
                filled.push(Buffer { len, ..buffer(head) });
                Some(len)
            };
            assert_eq!(pair.driver.fill_next(&mut fill), Ok(true), "round {round}");
        }
        let _ = pair.driver.publish();
        let taken: Vec<(u16, Buffer)> =
            from_fn(|| pair.device.pop_single(Direction::ToDevice).unwrap()).collect();
        assert!(taken.iter().map(|(_, buffer)| buffer).eq(&filled), "{taken:?} for {filled:?}");
        for (head, _) in taken {
            pair.device.add_used(head, 0);
        }
        let _ = pair.device.publish();
    }
}

pub(super) fn vring_2_7_13_the_descriptors_of_a_chain_that_came_back_stand_alone(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let chain = [readable(0x100, 16), readable(0x200, 16), writable(0x300, 16), writable(0x400, 16)];
    let head = pair.driver.add(&chain).unwrap();
    let _ = pair.driver.publish();
    assert_eq!(pair.device.pop_available(), Ok(Some(head)));
    pair.device.add_used(head, 0);
    let _ = pair.device.publish();
    assert_eq!(pair.driver.pop_used(), Ok(Some(Used { head, len: 0 })));
    for head in from_fn(|| pair.driver.reserve()).chain([head]).collect::<Vec<u16>>() {
        // As long as it was, so that there is nothing to be told.
        pair.driver.offer_bound(head, 16).unwrap();
    }
    let _ = pair.driver.publish();
    let mut alone: Vec<Buffer> = from_fn(|| pair.device.pop_available().unwrap())
        .map(|head| {
            let direction = [Direction::ToDevice, Direction::FromDevice];
            direction.iter().find_map(|direction| pair.device.single(head, *direction).ok()).unwrap()
        })
        .collect();
    alone.sort_unstable_by_key(|buffer| buffer.addr);
    assert_eq!(alone, chain);
}

pub(super) fn vring_2_7_13_a_bound_descriptor_keeps_its_address_and_direction(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let buffers = |head: u16| {
        let bound = if head.is_multiple_of(2) { readable } else { writable };
        bound(0x100 * u64::from(head), 16)
    };
    let mut heads: Vec<u16> = from_fn(|| pair.driver.reserve()).collect();
    for head in &heads {
        pair.driver.bind(*head, buffers(*head)).unwrap();
    }
    for len in [16, 16, 0, 0, 7, u32::MAX, 16, 3].into_iter().cycle().take(100) {
        for head in heads.drain(..) {
            pair.driver.offer_bound(head, len).unwrap();
        }
        let _ = pair.driver.publish();
        while let Some(head) = pair.device.pop_available().unwrap() {
            let there = Buffer { len, ..buffers(head) };
            assert_eq!(pair.device.single(head, there.direction), Ok(there));
            pair.device.add_used(head, 0);
        }
        let _ = pair.device.publish();
        heads.extend(from_fn(|| pair.driver.pop_used().unwrap()).map(|used| used.head));
        assert_eq!(heads.len(), 4);
    }
}

pub(super) fn vring_2_7_8_used_elements_name_chain_and_length_in_the_order_of_use(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let heads: Vec<u16> = (0..4).map(|i| pair.driver.add(&[writable(i * 16, 16)]).unwrap()).collect();
    let _ = pair.driver.publish();
    while pair.device.pop_available().unwrap().is_some() {}
    let returned = [(heads[2], 0), (heads[0], 16), (heads[3], u32::MAX), (heads[1], 0x1_0000)];
    for (head, len) in returned {
        pair.device.add_used(head, len);
    }
    let _ = pair.device.publish();
    // Lengths are the device's allegation and go through unchanged.
    for (head, len) in returned {
        assert_eq!(pair.driver.pop_used(), Ok(Some(Used { head, len })));
    }
}

pub(super) fn vring_2_7_5_chains_arrive_in_order(bench: &dyn Bench) {
    let pair = bench.pair(8);
    let chain =
        [readable(0, 1), readable(0x20, 0), readable(0x10, u32::MAX), writable(0x30, 3), writable(0, 4)];
    for len in 1..=chain.len() {
        let head = pair.driver.add(&chain[..len]).unwrap();
        let _ = pair.driver.publish();
        assert_eq!(pair.device.pop_available(), Ok(Some(head)));
        assert_eq!(pair.device.walk(head, &pair.map), Ok(chain[..len].to_vec()));
        pair.device.add_used(head, 0);
        let _ = pair.device.publish();
        let used = pair.driver.pop_used().unwrap().unwrap();
        pair.driver.free(used.head).unwrap();
    }
}

pub(super) fn vring_2_7_5_3_indirect_chains_arrive_in_order(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let chain = [readable(0x10, 1), readable(0x20, 2), writable(0x30, 3), writable(0x40, 4)];
    for len in 1..=chain.len() {
        let table = pair.data.slice(0x100 * len, 0x40).unwrap();
        let at = DeviceAddr(DATA_ADDR.0 + 0x100 * len as u64);
        let head = pair.driver.add_indirect(&chain[..len], &table, at).unwrap();
        let _ = pair.driver.publish();
        assert_eq!(pair.device.pop_available(), Ok(Some(head)));
        let walked = pair.device.walk(head, &pair.map);
        if bench.features().indirect {
            assert_eq!(walked, Ok(chain[..len].to_vec()));
        } else {
            // A table that was not negotiated is the driver's fault.
            assert!(walked.is_err_and(|error| error.is_peer()));
        }
    }
}

pub(super) fn vring_2_7_4_a_single_buffer_is_neither_chain_nor_table_nor_of_the_other_direction(
    bench: &dyn Bench,
) {
    let pair = bench.pair(8);
    let guilty = |head, direction| {
        let answer = pair.device.single(head, direction);
        assert!(
            matches!(answer, Err(QueueError::PeerBadDescriptor { index, .. }) if index == head),
            "{answer:?}"
        );
    };
    let out = pair.driver.add(&[readable(0, 1)]).unwrap();
    let into = pair.driver.add(&[writable(0, 1)]).unwrap();
    let both = pair.driver.add(&[readable(0, 1), writable(0, 1)]).unwrap();
    let reads = pair.driver.add(&[readable(0, 1), readable(0, 1)]).unwrap();
    let table = pair.driver.add_indirect(&[readable(0, 1)], &pair.data, DATA_ADDR).unwrap();
    let _ = pair.driver.publish();
    while pair.device.pop_available().unwrap().is_some() {}
    assert_eq!(pair.device.single(out, Direction::ToDevice), Ok(readable(0, 1)));
    assert_eq!(pair.device.single(into, Direction::FromDevice), Ok(writable(0, 1)));
    guilty(out, Direction::FromDevice);
    guilty(into, Direction::ToDevice);
    for head in [both, reads, table] {
        guilty(head, Direction::ToDevice);
        guilty(head, Direction::FromDevice);
    }
}

pub(super) fn vring_2_7_4_who_takes_single_buffers_takes_nothing_else(bench: &dyn Bench) {
    let pair = bench.pair(8);
    assert_eq!(pair.device.pop_single(Direction::ToDevice), Ok(None));
    let out = pair.driver.add(&[readable(0, 1)]).unwrap();
    let into = pair.driver.add(&[writable(0, 1)]).unwrap();
    let both = pair.driver.add(&[readable(0, 1), writable(0, 1)]).unwrap();
    assert_eq!(pair.device.pop_single(Direction::ToDevice), Ok(None), "not published yet");
    let _ = pair.driver.publish();
    assert!(pair.device.pop_single(Direction::FromDevice).is_err_and(|error| error.is_peer()));
    assert_eq!(pair.device.pop_single(Direction::ToDevice), Ok(Some((out, readable(0, 1)))));
    assert_eq!(pair.device.pop_single(Direction::FromDevice), Ok(Some((into, writable(0, 1)))));
    // What is refused stays where it is.
    for direction in [Direction::ToDevice, Direction::FromDevice, Direction::ToDevice] {
        assert!(pair.device.pop_single(direction).is_err_and(|error| error.is_peer()));
        assert_eq!(pair.device.outstanding(), 2);
    }
    assert_eq!(pair.device.pop_available(), Ok(Some(both)));
}
