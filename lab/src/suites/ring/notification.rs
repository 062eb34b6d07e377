//! Who is told, and who is not.

use std::iter::from_fn;

use super::{Bench, Pair, readable};

pub(super) fn vring_2_7_7_notifications_are_sent_while_they_are_wanted(bench: &dyn Bench) {
    let pair = bench.pair(4);
    let there = || {
        pair.driver.add(&[readable(0, 1)]).unwrap();
        pair.driver.publish()
    };
    let back = || {
        let head = pair.device.pop_available().unwrap().unwrap();
        pair.device.add_used(head, 0);
        let wanted = pair.device.publish();
        let used = pair.driver.pop_used().unwrap().unwrap();
        pair.driver.free(used.head).unwrap();
        wanted
    };
    assert!(there() && back(), "both ends of a new ring want to hear of the first");
    for turn in 0..300 {
        if turn % 3 == 0 {
            assert!(!pair.device.enable_notifications() && !pair.driver.enable_notifications());
            assert!(there() && back(), "turn {turn}: wanted");
        } else {
            pair.device.disable_notifications();
            pair.driver.disable_notifications();
            assert!(!there() && !back(), "turn {turn}: not wanted");
        }
    }
}

pub(super) fn vring_2_7_7_nothing_new_raises_no_notification(bench: &dyn Bench) {
    let pair = bench.pair(4);
    assert!(!pair.driver.publish() && !pair.device.publish());
    pair.driver.add(&[readable(0, 1)]).unwrap();
    assert!(pair.driver.publish());
    assert!(!pair.driver.publish(), "published already");
    let head = pair.device.pop_available().unwrap().unwrap();
    assert!(!pair.device.publish(), "taken is not used");
    pair.device.add_used(head, 0);
    assert!(pair.device.publish());
    assert!(!pair.device.publish());
}

pub(super) fn vring_2_7_7_a_wish_tells_what_came_meanwhile(bench: &dyn Bench) {
    let pair = bench.pair(4);
    assert!(!pair.device.enable_notifications());
    pair.driver.add(&[readable(0, 1)]).unwrap();
    assert!(!pair.device.enable_notifications(), "not published yet");
    let _ = pair.driver.publish();
    assert!(pair.device.enable_notifications());
    let head = pair.device.pop_available().unwrap().unwrap();
    assert!(!pair.device.enable_notifications());
    pair.device.add_used(head, 0);
    assert!(!pair.driver.enable_notifications(), "not published yet");
    let _ = pair.device.publish();
    assert!(pair.driver.enable_notifications());
    assert!(pair.driver.pop_used().unwrap().is_some());
    assert!(!pair.driver.enable_notifications());
}

pub(super) fn vring_2_7_13_a_batch_is_told_of_once(bench: &dyn Bench) {
    let pair = bench.pair(8);
    for _ in 0..100 {
        assert!(!pair.device.enable_notifications() && !pair.driver.enable_notifications());
        for _ in 0..5 {
            pair.driver.add(&[readable(0, 1)]).unwrap();
        }
        assert!(pair.driver.publish() && !pair.driver.publish());
        for head in from_fn(|| pair.device.pop_available().unwrap()) {
            pair.device.add_used(head, 0);
        }
        assert!(pair.device.publish() && !pair.device.publish());
        let back: Vec<_> = from_fn(|| pair.driver.pop_used().unwrap()).collect();
        assert_eq!(back.len(), 5);
        for used in back {
            pair.driver.free(used.head).unwrap();
        }
    }
}

/// A wish is answered by the publication that passes it and by no other, over more than 65536 of them.
pub(super) fn vring_2_7_10_a_wish_is_answered_once_also_where_indices_wrap(bench: &dyn Bench) {
    if !bench.features().event_index {
        return flags_are_answered_every_time(&bench.pair(2));
    }
    for batch in [1_usize, 3] {
        let pair = bench.pair(4);
        for turn in 0..70_000_usize {
            let wished = turn % 3 == 0;
            if wished {
                assert!(!pair.device.enable_notifications() && !pair.driver.enable_notifications());
            }
            for _ in 0..batch {
                pair.driver.add(&[readable(0, 1)]).unwrap();
            }
            assert_eq!(pair.driver.publish(), wished, "batch of {batch}, turn {turn}");
            for head in from_fn(|| pair.device.pop_available().unwrap()) {
                pair.device.add_used(head, 0);
            }
            assert_eq!(pair.device.publish(), wished, "batch of {batch}, turn {turn}");
            for used in from_fn(|| pair.driver.pop_used().unwrap()) {
                pair.driver.free(used.head).unwrap();
            }
        }
    }
}

fn flags_are_answered_every_time(pair: &Pair) {
    for turn in 0..70_000 {
        pair.driver.add(&[readable(0, 1)]).unwrap();
        assert!(pair.driver.publish(), "turn {turn}");
        let head = pair.device.pop_available().unwrap().unwrap();
        pair.device.add_used(head, 0);
        assert!(pair.device.publish(), "turn {turn}");
        let used = pair.driver.pop_used().unwrap().unwrap();
        pair.driver.free(used.head).unwrap();
    }
}

/// Who asks while something lies there already has been told, and is not told again by what comes next.
pub(super) fn vring_2_7_10_a_wish_for_what_has_passed_is_not_answered(bench: &dyn Bench) {
    let pair = bench.pair(8);
    for _ in 0..3 {
        pair.driver.add(&[readable(0, 1)]).unwrap();
        let _ = pair.driver.publish();
    }
    let first = pair.device.pop_available().unwrap().unwrap();
    assert!(pair.device.enable_notifications());
    pair.driver.add(&[readable(0, 1)]).unwrap();
    assert_eq!(pair.driver.publish(), !bench.features().event_index);

    pair.device.add_used(first, 0);
    let _ = pair.device.publish();
    assert!(pair.driver.enable_notifications());
    let second = pair.device.pop_available().unwrap().unwrap();
    pair.device.add_used(second, 0);
    assert_eq!(pair.device.publish(), !bench.features().event_index);
}
