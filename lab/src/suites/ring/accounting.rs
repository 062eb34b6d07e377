//! Every descriptor is in one place at a time, and comes back.

use std::collections::HashSet;
use std::iter::from_fn;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::QueueError;

use super::{Bench, readable, writable};
use crate::rigs::DATA_ADDR;

pub(super) fn vring_2_7_13_a_descriptor_is_offered_only_by_who_holds_it(bench: &dyn Bench) {
    let driver = bench.pair(2).driver;
    let refused = |head| {
        assert_eq!(driver.offer(head, readable(0, 0)), Err(QueueError::NotHeld { head }));
        assert_eq!(driver.bind(head, readable(0, 0)), Err(QueueError::NotHeld { head }));
        assert_eq!(driver.offer_bound(head, 0), Err(QueueError::NotHeld { head }));
        assert_eq!(driver.free(head), Err(QueueError::NotHeld { head }));
    };
    for head in [0, 1, 2, u16::MAX] {
        refused(head);
    }
    let head = driver.reserve().unwrap();
    driver.free(head).unwrap();
    refused(head);
    let head = driver.reserve().unwrap();
    driver.offer(head, readable(0, 0)).unwrap();
    refused(head);
    let other = driver.reserve().unwrap();
    assert_ne!(other, head);
    assert_eq!(driver.reserve(), None);
}

pub(super) fn vring_2_7_13_acquire_takes_what_is_free_or_came_back(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let acquire = || pair.driver.acquire();
    let mut first = HashSet::new();
    for _ in 0..4 {
        let head = acquire().unwrap();
        assert!(first.insert(head), "{head} is given twice");
        pair.driver.offer(head, readable(0, 1)).unwrap();
    }
    assert_eq!(acquire(), Err(QueueError::Full), "nothing was even published");
    let _ = pair.driver.publish();
    for round in 0..100 {
        assert_eq!(acquire(), Err(QueueError::Full));
        let head = pair.device.pop_available().unwrap().unwrap();
        pair.device.add_used(head, 0);
        assert_eq!(acquire(), Err(QueueError::Full), "not published yet");
        let _ = pair.device.publish();
        assert_eq!(acquire(), Ok(head), "round {round}");
        assert_eq!((acquire(), pair.driver.pop_used()), (Err(QueueError::Full), Ok(None)));
        pair.driver.offer(head, readable(0, 1)).unwrap();
        let _ = pair.driver.publish();
    }
}

pub(super) fn vring_2_7_13_what_is_not_filled_is_not_offered(bench: &dyn Bench) {
    let pair = bench.pair(2);
    let fill_next = |len: Option<u32>| pair.driver.fill_next(&mut |_| len);
    for _ in 0..10 {
        assert_eq!((fill_next(None), pair.driver.free_count()), (Ok(false), 2));
        assert_eq!((fill_next(Some(1)), pair.driver.free_count()), (Ok(true), 1));
        assert_eq!((fill_next(Some(2)), pair.driver.free_count()), (Ok(true), 0));
        let full = pair.driver.fill_next(&mut |head| panic!("{head} is not free"));
        assert_eq!(full, Err(QueueError::Full));
        let _ = pair.driver.publish();
        for _ in 0..2 {
            let head = pair.device.pop_available().unwrap().unwrap();
            pair.device.add_used(head, 0);
        }
        assert_eq!(pair.device.pop_available(), Ok(None));
        let _ = pair.device.publish();
        // One that came back and is not filled either is free from then on.
        assert_eq!((fill_next(None), pair.driver.free_count()), (Ok(false), 1));
        let used = pair.driver.pop_used().unwrap().unwrap();
        pair.driver.free(used.head).unwrap();
    }
}

pub(super) fn vring_2_7_13_a_full_ring_takes_nothing_and_loses_nothing(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let three = [readable(0, 1), readable(0, 2), writable(0, 3)];
    assert_eq!(pair.driver.add(&[]), Err(QueueError::ChainLength { len: 0 }));
    assert_eq!(pair.driver.add(&[readable(0, 1); 5]), Err(QueueError::ChainLength { len: 5 }));
    pair.driver.add(&three).unwrap();
    for _ in 0..10 {
        assert_eq!(pair.driver.add(&three), Err(QueueError::Full));
        assert_eq!(pair.driver.add(&three[..2]), Err(QueueError::Full));
        assert_eq!(pair.driver.free_count(), 1);
    }
    pair.driver.add(&three[2..]).unwrap();
    assert_eq!(pair.driver.add_indirect(&three, &pair.data, DATA_ADDR), Err(QueueError::Full));
    // Only what was taken arrives.
    let _ = pair.driver.publish();
    assert_eq!(from_fn(|| pair.device.pop_available().unwrap()).count(), 2);
}

pub(super) fn vring_2_7_5_chains_free_all_their_descriptors(bench: &dyn Bench) {
    let pair = bench.pair(8);
    for len in (1..=8).cycle().take(200) {
        let head = pair.round_trip(&[readable(0, 1); 8][..len]);
        // The head is held, the others are free already.
        assert_eq!(pair.driver.free_count(), 7, "after a chain of {len}");
        pair.driver.free(head).unwrap();
        let all: Vec<u16> = from_fn(|| pair.driver.reserve()).collect();
        assert_eq!(all.len(), 8, "after a chain of {len}");
        assert!((0..8).all(|head| all.contains(&head)), "each once: {all:?}");
        for head in all {
            pair.driver.free(head).unwrap();
        }
    }
}

pub(super) fn vring_2_7_5_3_an_indirect_chain_takes_one_descriptor(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let chain = [readable(0, 1); 4];
    for _ in 0..100 {
        for i in 0..4 {
            let table = pair.data.slice(64 * i, 64).unwrap();
            pair.driver.add_indirect(&chain, &table, DeviceAddr(DATA_ADDR.0 + 64 * i as u64)).unwrap();
        }
        assert_eq!((pair.driver.reserve(), pair.driver.free_count()), (None, 0));
        let _ = pair.driver.publish();
        while let Some(head) = pair.device.pop_available().unwrap() {
            pair.device.add_used(head, 0);
        }
        let _ = pair.device.publish();
        while let Some(used) = pair.driver.pop_used().unwrap() {
            pair.driver.free(used.head).unwrap();
        }
        assert_eq!(pair.driver.free_count(), 4);
    }
    let short = pair.data.slice(0, 63).unwrap();
    assert!(matches!(pair.driver.add_indirect(&chain, &short, DATA_ADDR), Err(QueueError::Access(_))));
    let long = pair.driver.add_indirect(&[readable(0, 1); 5], &pair.data, DATA_ADDR);
    assert_eq!(long, Err(QueueError::ChainLength { len: 5 }));
    assert_eq!(pair.driver.free_count(), 4);
}

pub(super) fn vring_2_7_6_a_chain_that_was_put_back_is_taken_again(bench: &dyn Bench) {
    let pair = bench.pair(4);
    assert_eq!(pair.device.undo_pop(0), Err(QueueError::NotHeld { head: 0 }));
    let heads = [0, 1].map(|i| pair.driver.add(&[readable(i, 1)]).unwrap());
    let _ = pair.driver.publish();
    for _ in 0..3 {
        assert_eq!(pair.device.pop_available(), Ok(Some(heads[0])));
        assert_eq!(pair.device.pop_available(), Ok(Some(heads[1])));
        assert_eq!(pair.device.pop_available(), Ok(None));
        pair.device.undo_pop(heads[1]).unwrap();
        assert_eq!(pair.device.outstanding(), 1);
        pair.device.undo_pop(heads[0]).unwrap();
        assert_eq!(pair.device.outstanding(), 0);
        assert_eq!(pair.device.undo_pop(heads[0]), Err(QueueError::NotHeld { head: heads[0] }));
        assert!(pair.device.enable_notifications(), "both are there to be taken");
    }
}

pub(super) fn vring_2_7_8_given_back_chains_are_no_longer_outstanding(bench: &dyn Bench) {
    let pair = bench.pair(4);
    for round in 0..100 {
        for _ in 0..4 {
            pair.driver.add(&[readable(0, 1)]).unwrap();
        }
        let _ = pair.driver.publish();
        let taken: Vec<u16> = from_fn(|| pair.device.pop_available().unwrap()).collect();
        assert_eq!(pair.device.outstanding(), 4, "round {round}");
        for (left, head) in (0..4).rev().zip(taken) {
            pair.device.add_used(head, 0);
            assert_eq!(pair.device.outstanding(), left);
        }
        let _ = pair.device.publish();
        while let Some(used) = pair.driver.pop_used().unwrap() {
            pair.driver.free(used.head).unwrap();
        }
    }
}
