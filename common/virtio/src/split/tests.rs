extern crate std;

mod resume;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use sidecore_mem::{AddressMap, DeviceAddr, Memory, Region};
use sidecore_wire::split::{AVAIL_NO_INTERRUPT, Layout};

use super::*;
use crate::{Buffer, DeviceQueue, Direction, DriverQueue, QueueError, RingFeatures, Used};

const PLAIN: RingFeatures = RingFeatures { event_index: false, indirect: false };
const FULL: RingFeatures = RingFeatures { event_index: true, indirect: true };

struct Pair {
    driver: Driver<Box<[Slot]>>,
    device: Device,
    parts: Parts,
}

fn pair(num: u16, features: RingFeatures) -> Pair {
    let memory: &'static Memory<16384> = Box::leak(Box::default());
    let layout = Layout::new(num, 64).expect("a valid layout");
    let parts = Parts::contiguous(&memory.region(), &layout).expect("it fits");
    let slots = vec![Slot::default(); usize::from(num)].into_boxed_slice();
    let driver = Driver::new(parts.clone(), features, slots).expect("enough slots");
    let device = Device::new(parts.clone(), features);
    Pair { driver, device, parts }
}

fn buffer(addr: u64, len: u32) -> Buffer {
    Buffer { addr: DeviceAddr(addr), len, direction: Direction::ToDevice }
}

fn writable(addr: u64, len: u32) -> Buffer {
    Buffer { direction: Direction::FromDevice, ..buffer(addr, len) }
}

fn walk(device: &Device, head: u16, map: &AddressMap) -> Result<Vec<Buffer>, QueueError> {
    device.walk(head, map).collect()
}

#[test]
fn vring_2_7_13_nothing_is_visible_before_it_is_published() {
    let Pair { driver, device, .. } = pair(4, PLAIN);
    let head = driver.add(&[buffer(0x1000, 16)]).unwrap();
    assert_eq!(device.pop_available(), Ok(None));
    assert!(driver.publish());
    assert_eq!(device.pop_available(), Ok(Some(head)));
    assert_eq!(device.single(head, Direction::ToDevice), Ok(buffer(0x1000, 16)));
    device.add_used(head, 7);
    assert_eq!(driver.pop_used(), Ok(None));
    assert!(device.publish());
    assert_eq!(driver.pop_used(), Ok(Some(Used { head, len: 7 })));
}

#[test]
fn a_ring_goes_round_its_indices_many_times_with_every_buffer_in_use() {
    let Pair { driver, device, .. } = pair(4, FULL);
    for round in 0..40_000_u32 {
        let mut sent = Vec::new();
        while let Some(head) = driver.reserve() {
            driver.offer(head, buffer(u64::from(round), u32::from(head))).unwrap();
            sent.push(head);
        }
        assert_eq!(sent.len(), 4);
        let _ = driver.publish();
        // Given back in another order than taken.
        let taken: Vec<u16> = std::iter::from_fn(|| device.pop_available().unwrap()).collect();
        assert_eq!(taken, sent);
        for head in taken.iter().rev() {
            assert_eq!(device.single(*head, Direction::ToDevice).unwrap().addr, DeviceAddr(u64::from(round)));
            device.add_used(*head, 0);
        }
        let _ = device.publish();
        while let Some(used) = driver.pop_used().unwrap() {
            driver.free(used.head).unwrap();
        }
        assert_eq!(driver.free_count(), 4);
    }
}

#[test]
fn chains_are_walked_in_order_and_free_all_their_descriptors() {
    let Pair { driver, device, .. } = pair(8, PLAIN);
    let map = AddressMap::new();
    let chain = [buffer(0x10, 1), buffer(0x20, 2), writable(0x30, 3)];
    for _ in 0..20 {
        let head = driver.add(&chain).unwrap();
        let other = driver.add(&chain).unwrap();
        assert_eq!(driver.add(&chain), Err(QueueError::Full));
        let _ = driver.publish();
        for expected in [head, other] {
            let head = device.pop_available().unwrap().unwrap();
            assert_eq!(head, expected);
            assert_eq!(walk(&device, head, &map), Ok(chain.to_vec()));
            assert!(device.single(head, Direction::ToDevice).unwrap_err().is_peer());
            device.add_used(head, 3);
        }
        let _ = device.publish();
        for _ in 0..2 {
            driver.free(driver.pop_used().unwrap().unwrap().head).unwrap();
        }
        assert_eq!(driver.free_count(), 8);
    }
}

#[test]
fn indirect_2_7_5_3_a_table_carries_a_whole_chain_in_one_descriptor() {
    let Pair { driver, device, .. } = pair(4, FULL);
    let memory: &'static Memory<64> = Box::leak(Box::default());
    let mut map = AddressMap::new();
    map.insert(DeviceAddr(0x9000), memory.region()).unwrap();
    let chain = [buffer(0x10, 1), buffer(0x20, 2), writable(0x30, 3)];
    let head = driver.add_indirect(&chain, &memory.region(), DeviceAddr(0x9000)).unwrap();
    assert_eq!(driver.free_count(), 3);
    let _ = driver.publish();
    assert_eq!(device.pop_available(), Ok(Some(head)));
    assert_eq!(walk(&device, head, &map), Ok(chain.to_vec()));
    let short =
        driver.add_indirect(&[buffer(0, 0); 4], &memory.region().slice(0, 63).unwrap(), DeviceAddr(0));
    assert!(matches!(short, Err(QueueError::Access(_))));
    assert_eq!(driver.free_count(), 3);
}

#[test]
fn a_descriptor_is_given_once_and_only_by_who_holds_it() {
    let Pair { driver, .. } = pair(2, PLAIN);
    assert_eq!(driver.offer(0, buffer(0, 0)), Err(QueueError::NotHeld { head: 0 }));
    assert_eq!(driver.free(1), Err(QueueError::NotHeld { head: 1 }));
    assert_eq!(driver.free(9), Err(QueueError::NotHeld { head: 9 }));
    let head = driver.reserve().unwrap();
    driver.offer(head, buffer(0, 0)).unwrap();
    assert_eq!(driver.offer(head, buffer(0, 0)), Err(QueueError::NotHeld { head }));
    assert_eq!(driver.free(head), Err(QueueError::NotHeld { head }));
    assert!(driver.reserve().is_some());
    assert_eq!(driver.reserve(), None);
}

#[test]
fn a_descriptor_is_taken_filled_and_given_in_one_step_or_comes_back() {
    let Pair { driver, device, parts } = pair(2, PLAIN);
    for head in 0..2 {
        assert_eq!(driver.reserve(), Some(head));
        driver.bind(head, buffer(0x100 * u64::from(head), 0)).unwrap();
    }
    driver.free(1).unwrap();
    driver.free(0).unwrap();
    for turn in 0..70_000_u32 {
        let give = || driver.offer_next(|_| Some(turn));
        assert_eq!(driver.offer_next(|_| None), Ok(false));
        assert_eq!((give(), give(), give()), (Ok(true), Ok(true), Err(QueueError::Full)));
        let _ = driver.publish();
        let mut heads = [0, 1].map(|_| device.pop_available().unwrap().unwrap());
        for head in heads {
            let len = turn;
            assert_eq!(device.single(head, Direction::ToDevice), Ok(buffer(0x100 * u64::from(head), len)));
            device.add_used(head, 0);
        }
        heads.sort_unstable();
        assert_eq!(heads, [0, 1]);
        let _ = device.publish();
    }
    parts.used.store(usize::from(parts.used_index.load()) - 1, [2, 0]);
    let peer = Err(QueueError::PeerBadId { id: 2, num: 2 });
    assert_eq!(driver.acquire().map(|_| ()), Ok(()));
    assert_eq!(driver.offer_next(|_| Some(0)), peer);
}

#[test]
fn a_chain_that_was_put_back_is_taken_again() {
    let Pair { driver, device, .. } = pair(4, PLAIN);
    let heads = [driver.add(&[buffer(0, 1)]).unwrap(), driver.add(&[buffer(0, 2)]).unwrap()];
    let _ = driver.publish();
    assert_eq!(device.pop_available(), Ok(Some(heads[0])));
    assert_eq!(device.pop_available(), Ok(Some(heads[1])));
    device.undo_pop(heads[1]).unwrap();
    assert_eq!(device.outstanding(), 1);
    assert_eq!(device.pop_available(), Ok(Some(heads[1])));
    assert_eq!(device.pop_available(), Ok(None));
}

#[test]
fn notifications_2_7_7_are_sent_only_while_they_are_wanted() {
    let Pair { driver, device, .. } = pair(4, PLAIN);
    device.disable_notifications();
    driver.add(&[buffer(0, 0)]).unwrap();
    assert!(!driver.publish());
    assert!(device.enable_notifications(), "something came meanwhile");
    driver.add(&[buffer(0, 0)]).unwrap();
    assert!(driver.publish());
    driver.disable_notifications();
    let head = device.pop_available().unwrap().unwrap();
    device.add_used(head, 0);
    assert!(!device.publish());
    assert!(driver.enable_notifications());
    let head = device.pop_available().unwrap().unwrap();
    device.add_used(head, 0);
    assert!(device.publish());
    assert!(!device.publish(), "nothing new to tell");
}

#[test]
fn event_idx_2_7_10_notifies_once_for_each_wish_also_where_indices_wrap() {
    let Pair { driver, device, .. } = pair(2, FULL);
    for turn in 0..70_000_u32 {
        let armed = turn % 3 != 0;
        if armed {
            assert!(!device.enable_notifications());
        }
        let head = driver.add(&[buffer(0, 0)]).unwrap();
        let wanted = driver.publish();
        // Without a new wish the old one has been answered, but for the ring's very first entry.
        assert_eq!(wanted, armed || turn == 0, "turn {turn}");
        assert_eq!(device.pop_available(), Ok(Some(head)));
        device.add_used(head, 0);
        let _ = device.publish();
        driver.free(driver.pop_used().unwrap().unwrap().head).unwrap();
    }
}

#[test]
fn a_batch_is_published_once_and_notifies_if_the_wish_lies_inside() {
    let Pair { driver, device, .. } = pair(8, FULL);
    assert!(!device.enable_notifications());
    for _ in 0..5 {
        driver.add(&[buffer(0, 0)]).unwrap();
    }
    assert!(driver.publish());
    assert_eq!(std::iter::from_fn(|| device.pop_available().unwrap()).count(), 5);
}

#[test]
fn a_device_starts_at_the_used_index_it_finds() {
    // rpmsg-lite's driver hands its transmit buffers over as used entries.
    let memory: &'static Memory<1024> = Box::leak(Box::default());
    let layout = Layout::new(8, 16).unwrap();
    let parts = Parts::contiguous(&memory.region(), &layout).unwrap();
    parts.used_index.store(8);
    let device = Device::new(parts.clone(), PLAIN);
    parts.available.store(0, 3);
    parts.available_index.store_release(1);
    assert_eq!(device.pop_available(), Ok(Some(3)));
    device.add_used(3, 0);
    let _ = device.publish();
    assert_eq!((parts.used_index.load(), parts.used.load(0)[0]), (9, 3));
}

#[test]
fn a_device_knows_by_its_own_index_that_the_driver_cleared_the_ring() {
    let Pair { driver, device, parts } = pair(4, PLAIN);
    let head = driver.add(&[buffer(0, 8)]).unwrap();
    let _ = driver.publish();
    assert_eq!(device.pop_available(), Ok(Some(head)));
    device.add_used(head, 0);
    assert!(!device.is_cleared());
    let _ = device.publish();
    assert!(!device.is_cleared());
    let _anew = Driver::new(parts.clone(), PLAIN, vec![Slot::default(); 4]).unwrap();
    assert!(device.is_cleared());
    assert!(!Device::new(parts, PLAIN).is_cleared());
}

#[test]
fn a_driver_that_is_not_believed_is_notified_of_everything_and_told_every_wish() {
    for features in [PLAIN, FULL] {
        let Pair { driver, device, parts } = pair(4, features);
        let device = device.notifying_always();
        for turn in 0..10 {
            // Neither the flag nor the event index asks for anything.
            parts.available_flags.store(AVAIL_NO_INTERRUPT);
            parts.used_event.store(0x8000);
            let head = driver.add(&[buffer(0, 0)]).unwrap();
            let _ = driver.publish();
            assert_eq!(device.pop_available(), Ok(Some(head)));
            device.add_used(head, 0);
            assert!(device.publish(), "{features:?}, turn {turn}");
            assert!(!device.publish(), "nothing new to tell");
            driver.free(driver.pop_used().unwrap().unwrap().head).unwrap();
            // A driver without the event index looks at the flag, one with it at the event.
            device.disable_notifications();
            assert!(!device.enable_notifications());
            assert_eq!(parts.used_flags.load(), 0);
            if features.event_index {
                assert_eq!(parts.available_event.load(), turn + 1);
            }
        }
    }
}

#[test]
fn buffers_to_be_read_may_be_marked_writable_only_where_that_was_asked_for() {
    let Pair { driver, device, .. } = pair(4, PLAIN);
    driver.add(&[writable(0x100, 8)]).unwrap();
    driver.add(&[buffer(0x200, 8)]).unwrap();
    driver.add(&[buffer(0x300, 8), buffer(0x400, 8)]).unwrap();
    let _ = driver.publish();
    assert!(device.pop_single(Direction::ToDevice).is_err_and(|error| error.is_peer()));
    let device = device.reading_writable();
    let next = || device.pop_single(Direction::ToDevice).map(|popped| popped.unwrap().1);
    assert_eq!(next(), Ok(buffer(0x100, 8)));
    assert_eq!(next(), Ok(buffer(0x200, 8)));
    assert!(next().is_err_and(|error| error.is_peer()), "a chain is none the less a chain");
    // What is to be written must be writable for all that.
    assert!(device.single(1, Direction::FromDevice).is_err_and(|error| error.is_peer()));
}

#[test]
fn parts_want_room_and_alignment() {
    let memory: &'static Memory<1024> = Box::leak(Box::default());
    let layout = Layout::new(8, 16).unwrap();
    let region = |at, len| -> Region { memory.region().slice(at, len).unwrap() };
    assert!(Parts::contiguous(&region(0, 230), &layout).is_ok());
    assert!(Parts::contiguous(&region(0, 229), &layout).is_err());
    assert!(Parts::contiguous(&region(1, 400), &layout).is_err());
    let parts = Parts::contiguous(&region(0, 230), &layout).unwrap();
    let error = Driver::new(parts, PLAIN, vec![Slot::default(); 7]).unwrap_err();
    assert_eq!(error, QueueError::Storage { slots: 7, num: 8 });
}

mod hostile {
    use super::*;

    #[test]
    fn a_driver_index_that_jumps_is_refused_again_and_again() {
        let Pair { device, parts, .. } = pair(4, PLAIN);
        parts.available_index.store(5);
        let jump = Err(QueueError::PeerIndexJump { ours: 0, theirs: 5, limit: 4 });
        assert_eq!(device.pop_available(), jump);
        assert_eq!(device.pop_available(), jump);
        parts.available_index.store(u16::MAX);
        assert!(device.pop_available().unwrap_err().is_peer());
    }

    #[test]
    fn a_driver_cannot_have_more_chains_out_than_the_ring_has_descriptors() {
        let Pair { device, parts, .. } = pair(2, PLAIN);
        parts.available_index.store(2);
        assert!(device.pop_available().unwrap().is_some());
        assert!(device.pop_available().unwrap().is_some());
        parts.available_index.store(3);
        assert_eq!(device.pop_available(), Err(QueueError::PeerIndexJump { ours: 2, theirs: 3, limit: 0 }));
    }

    #[test]
    fn a_head_outside_the_ring_is_refused() {
        let Pair { device, parts, .. } = pair(4, PLAIN);
        parts.available.store(0, 4);
        parts.available_index.store(1);
        assert_eq!(device.pop_available(), Err(QueueError::PeerBadId { id: 4, num: 4 }));
    }

    #[test]
    fn a_device_index_that_jumps_is_refused() {
        let Pair { driver, parts, .. } = pair(4, PLAIN);
        driver.add(&[buffer(0, 0)]).unwrap();
        let _ = driver.publish();
        parts.used_index.store(2);
        assert_eq!(driver.pop_used(), Err(QueueError::PeerIndexJump { ours: 0, theirs: 2, limit: 1 }));
    }

    #[test]
    fn a_used_id_that_is_not_in_flight_is_refused() {
        let Pair { driver, parts, .. } = pair(4, PLAIN);
        let head = driver.add(&[buffer(0, 0), buffer(0, 0)]).unwrap();
        let held = driver.reserve().unwrap();
        let _ = driver.publish();
        parts.used_index.store(1);
        let part = if head == 0 { 1 } else { 0 };
        for id in [part, u32::from(held), 3, 4, 0x1_0000, u32::MAX] {
            parts.used.store(0, [id, 0]);
            assert_eq!(driver.pop_used(), Err(QueueError::PeerBadId { id, num: 4 }), "id {id}");
        }
        parts.used.store(0, [u32::from(head), 0]);
        assert_eq!(driver.pop_used().unwrap().unwrap().head, head);
    }

    #[test]
    fn the_same_chain_cannot_be_used_twice() {
        let Pair { driver, parts, .. } = pair(4, PLAIN);
        let head = driver.add(&[buffer(0, 0)]).unwrap();
        driver.add(&[buffer(0, 0)]).unwrap();
        let _ = driver.publish();
        parts.used.store(0, [u32::from(head), 0]);
        parts.used.store(1, [u32::from(head), 0]);
        parts.used_index.store(2);
        assert!(driver.pop_used().unwrap().is_some());
        assert!(driver.pop_used().unwrap_err().is_peer());
    }

    #[test]
    fn what_the_device_writes_over_the_descriptors_moves_nothing() {
        let Pair { driver, device, parts } = pair(4, PLAIN);
        let head = driver.add(&[buffer(1, 1), buffer(2, 2), buffer(3, 3)]).unwrap();
        let _ = driver.publish();
        device.pop_available().unwrap();
        for at in 0..4 {
            parts.descriptors.store(at, [u64::MAX; 2]);
        }
        device.add_used(head, u32::MAX);
        let _ = device.publish();
        assert_eq!(driver.pop_used(), Ok(Some(Used { head, len: u32::MAX })));
        driver.free(head).unwrap();
        assert_eq!(driver.free_count(), 4);
    }

    fn chain_of(parts: &Parts, descriptors: &[(u64, u32, u16, u16)]) {
        for (i, (addr, len, flags, next)) in descriptors.iter().enumerate() {
            parts.descriptors.store(i, [*addr, pack(*len, *flags, *next)]);
        }
    }

    #[test]
    fn a_chain_that_loops_or_leaves_the_ring_ends() {
        let Pair { device, parts, .. } = pair(4, FULL);
        let map = AddressMap::new();
        chain_of(&parts, &[(0, 1, 1, 1), (0, 1, 1, 0)]);
        assert_eq!(walk(&device, 0, &map), Err(QueueError::PeerChainLoop { head: 0 }));
        assert_eq!(device.walk(0, &map).count(), 5);
        chain_of(&parts, &[(0, 1, 1, 4)]);
        let outside = QueueError::PeerBadDescriptor { index: 0, field: "next", value: 4 };
        assert_eq!(walk(&device, 0, &map), Err(outside));
    }

    #[test]
    fn readable_buffers_do_not_follow_writable_ones() {
        let Pair { device, parts, .. } = pair(4, FULL);
        chain_of(&parts, &[(0, 1, 3, 1), (0, 1, 0, 0)]);
        let bad = QueueError::PeerBadDescriptor { index: 1, field: "flags", value: 0 };
        assert_eq!(walk(&device, 0, &AddressMap::new()), Err(bad));
    }

    #[test]
    fn indirect_tables_that_lie_are_refused() {
        let Pair { device, parts, .. } = pair(4, FULL);
        let memory: &'static Memory<128> = Box::leak(Box::default());
        let table = memory.region();
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(0x100), table.clone()).unwrap();
        let cases = [
            ((0x100, 0, 4, 0), "len"),
            ((0x100, 17, 4, 0), "len"),
            ((0x100, 80, 4, 0), "len"),
            ((0x0ff, 16, 4, 0), "addr"),
            ((u64::MAX, 16, 4, 0), "addr"),
            ((0x171, 16, 4, 0), "addr"),
            ((0x100, 16, 5, 0), "flags"),
        ];
        for (descriptor, guilty) in cases {
            chain_of(&parts, &[descriptor]);
            let error = walk(&device, 0, &map).unwrap_err();
            assert!(
                matches!(error, QueueError::PeerBadDescriptor { field, .. } if field == guilty),
                "{descriptor:x?}: {error}"
            );
        }
        // A table in a table, a next outside of it, a loop in it.
        chain_of(&parts, &[(0x100, 32, 4, 0)]);
        for (word, guilty) in [(pack(16, 4, 0), "flags"), (pack(1, 1, 2), "next")] {
            table.store(8, word).unwrap();
            let error = walk(&device, 0, &map).unwrap_err();
            assert!(
                matches!(error, QueueError::PeerBadDescriptor { field, .. } if field == guilty),
                "{error}"
            );
        }
        table.store(8, pack(1, 1, 0)).unwrap();
        assert_eq!(walk(&device, 0, &map), Err(QueueError::PeerChainLoop { head: 0 }));
    }

    #[test]
    fn a_chain_that_goes_on_in_a_table_is_no_longer_than_the_ring() {
        let Pair { device, parts, .. } = pair(4, FULL);
        let memory: &'static Memory<64> = Box::leak(Box::default());
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(0x100), memory.region()).unwrap();
        for i in 0..3 {
            memory.region().store(16 * i + 8, pack(1, 1, i as u16 + 1)).unwrap();
        }
        memory.region().store(56, pack(1, 0, 0)).unwrap();
        chain_of(&parts, &[(0x100, 64, 4, 0)]);
        assert_eq!(walk(&device, 0, &map).unwrap().len(), 4);
        chain_of(&parts, &[(0, 1, 1, 1), (0x100, 64, 4, 0)]);
        assert_eq!(walk(&device, 0, &map), Err(QueueError::PeerChainLoop { head: 0 }));
        assert_eq!(device.walk(0, &map).count(), 5);
    }

    #[test]
    fn an_indirect_table_that_was_not_negotiated_is_refused() {
        let Pair { device, parts, .. } = pair(4, PLAIN);
        chain_of(&parts, &[(0x100, 16, 4, 0)]);
        assert!(walk(&device, 0, &AddressMap::new()).unwrap_err().is_peer());
    }
}
