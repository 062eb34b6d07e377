//! Every interleaving of two willing peers over a ring of two descriptors, as the memory model allows them.
//!
//! `cargo xtask loom`, or
//! `RUSTFLAGS="--cfg loom" cargo test -p sidecore-lab --release --test loom_ring`
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use loom::sync::{Arc, Notify};
use loom::thread;
use sidecore_mem::{DeviceAddr, Region};
use sidecore_virtio::split::{Device, Driver, Parts, Slot};
use sidecore_virtio::{Buffer, DeviceQueue, Direction, DriverQueue, QueueError, RingFeatures};
use sidecore_wire::split::Layout;

const NUM: u16 = 2;
/// Where the buffers begin; each has four bytes, which the model moves in two halves.
const DATA: usize = 96;

const MODES: [RingFeatures; 2] = [
    RingFeatures { event_index: false, indirect: false },
    RingFeatures { event_index: true, indirect: false },
];

type OurDriver = Driver<[Slot; NUM as usize]>;

fn explore(features: RingFeatures, model: impl Fn(OurDriver, Device, Region) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let memory = Region::model(DATA + 4 * usize::from(NUM));
        let layout = Layout::new(NUM, 4).unwrap();
        let parts = Parts::contiguous(&memory, &layout).unwrap();
        let driver = Driver::new(parts.clone(), features, Default::default()).unwrap();
        model(driver, Device::new(parts, features), memory);
    });
}

fn buffer(head: u16) -> Buffer {
    Buffer { addr: DeviceAddr(at(head) as u64), len: 4, direction: Direction::ToDevice }
}

fn at(head: u16) -> usize {
    DATA + 4 * usize::from(head)
}

/// A message whose halves are known by each other.
fn message(number: u32) -> u32 {
    0x0101_0101 * (number + 1)
}

/// 2.7.13.3: whoever sees the index sees entry, descriptor and buffer; and 2.7.8.2, the other way.
#[test]
fn what_is_published_is_seen_whole() {
    for features in MODES {
        explore(features, |driver, device, memory| {
            let theirs = memory.clone();
            let peer = thread::spawn(move || {
                for number in 0..2 {
                    let head = driver.reserve().unwrap();
                    theirs.store(at(head), message(number)).unwrap();
                    driver.offer(head, buffer(head)).unwrap();
                    let _ = driver.publish();
                }
                let mut back = 0;
                while back < 2 {
                    let Some(used) = driver.pop_used().unwrap() else {
                        thread::yield_now();
                        continue;
                    };
                    assert_eq!(used.len, back + 10);
                    assert_eq!(theirs.load::<u32>(at(used.head)).unwrap(), message(back + 10));
                    back += 1;
                }
            });
            let mut received = 0;
            while received < 2 {
                let Some(head) = device.pop_available().unwrap() else {
                    thread::yield_now();
                    continue;
                };
                assert_eq!(device.single(head, Direction::ToDevice), Ok(buffer(head)));
                assert_eq!(memory.load::<u32>(at(head)).unwrap(), message(received));
                memory.store(at(head), message(received + 10)).unwrap();
                device.add_used(head, received + 10);
                let _ = device.publish();
                received += 1;
            }
            peer.join().unwrap();
        });
    }
}

/// Three messages through two descriptors: one is used a second time, when the device is done with it and not
/// before.
#[test]
fn a_descriptor_is_used_again_only_when_it_came_back() {
    explore(MODES[0], |driver, device, memory| {
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            for number in 0..3 {
                let head = loop {
                    match driver.acquire() {
                        Ok(head) => break head,
                        Err(error) => assert_eq!(error, QueueError::Full),
                    }
                    thread::yield_now();
                };
                theirs.store(at(head), message(number)).unwrap();
                driver.offer(head, buffer(head)).unwrap();
                let _ = driver.publish();
            }
        });
        let mut received = 0;
        while received < 3 {
            let Some(head) = device.pop_available().unwrap() else {
                thread::yield_now();
                continue;
            };
            assert_eq!(device.single(head, Direction::ToDevice), Ok(buffer(head)));
            assert_eq!(memory.load::<u32>(at(head)).unwrap(), message(received));
            device.add_used(head, 0);
            let _ = device.publish();
            received += 1;
        }
        peer.join().unwrap();
    });
}

/// 2.7.13.4.1: the device asks and looks, the driver publishes and looks. One of them sees the other.
#[test]
fn the_driver_hears_the_wish_or_the_device_finds_the_chain() {
    for (features, batch) in MODES.into_iter().flat_map(|mode| [(mode, 1), (mode, 2)]) {
        explore(features, move |driver, device, _| {
            // The wish of a new ring has been answered, and taken back.
            driver.add(&[buffer(0)]).unwrap();
            assert!(driver.publish());
            let head = device.pop_available().unwrap().unwrap();
            device.add_used(head, 0);
            let _ = device.publish();
            driver.free(driver.pop_used().unwrap().unwrap().head).unwrap();
            device.disable_notifications();

            let peer = thread::spawn(move || {
                for _ in 0..batch {
                    driver.add(&[buffer(1)]).unwrap();
                }
                driver.publish()
            });
            let found = device.enable_notifications();
            let told = peer.join().unwrap();
            assert!(told || found, "the device sleeps beside a chain");
        });
    }
}

/// 2.7.8.2 and 2.7.7: the same with the roles changed.
#[test]
fn the_device_hears_the_wish_or_the_driver_finds_the_chain() {
    for (features, batch) in MODES.into_iter().flat_map(|mode| [(mode, 1), (mode, 2)]) {
        explore(features, move |driver, device, _| {
            driver.add(&[buffer(0)]).unwrap();
            let _ = driver.publish();
            let head = device.pop_available().unwrap().unwrap();
            device.add_used(head, 0);
            assert!(device.publish());
            driver.free(driver.pop_used().unwrap().unwrap().head).unwrap();
            for head in 0..batch {
                driver.add(&[buffer(head)]).unwrap();
            }
            let _ = driver.publish();
            driver.disable_notifications();

            let peer = thread::spawn(move || {
                while let Some(head) = device.pop_available().unwrap() {
                    device.add_used(head, 0);
                }
                device.publish()
            });
            let found = driver.enable_notifications();
            let told = peer.join().unwrap();
            assert!(told || found, "the driver sleeps beside a used chain");
        });
    }
}

/// Both ends sleep whenever they find nothing to do, and three messages get through: one wake-up lost and the model
/// ends in a deadlock, which loom reports.
#[test]
fn sleepers_are_woken() {
    for features in MODES {
        explore(features, |driver, device, _| {
            let (to_device, to_driver) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (ring, wait) = (to_device.clone(), to_driver.clone());
            let peer = thread::spawn(move || {
                let mut received = 0;
                while received < 3 {
                    if let Some(head) = device.pop_available().unwrap() {
                        received += 1;
                        device.add_used(head, 0);
                        if device.publish() {
                            to_driver.notify();
                        }
                        continue;
                    }
                    if !device.enable_notifications() {
                        to_device.wait();
                    }
                    device.disable_notifications();
                }
            });
            let mut back = 0;
            for number in 0..NUM {
                let head = driver.reserve().unwrap();
                driver.offer(head, buffer(number)).unwrap();
                if driver.publish() {
                    ring.notify();
                }
            }
            while back < 3 {
                if let Some(used) = driver.pop_used().unwrap() {
                    back += 1;
                    if back == 1 {
                        driver.offer(used.head, buffer(2)).unwrap();
                        if driver.publish() {
                            ring.notify();
                        }
                    }
                    continue;
                }
                if !driver.enable_notifications() {
                    wait.wait();
                }
                driver.disable_notifications();
            }
            peer.join().unwrap();
        });
    }
}

/// A device that writes what it likes in any order: no chain comes back twice, and none is lost.
#[test]
fn a_hostile_device_confuses_no_books() {
    explore(MODES[0], |driver, device, memory| {
        drop(device);
        let layout = Layout::new(NUM, 4).unwrap();
        let (used, index) = (layout.used_ring() as usize, layout.used_index() as usize);
        driver.add(&[buffer(0)]).unwrap();
        driver.add(&[buffer(1)]).unwrap();
        let _ = driver.publish();
        let peer = thread::spawn(move || {
            memory.store(used, 1_u16).unwrap();
            memory.store(index, 2_u16).unwrap();
            memory.store(used + 8, 1_u16).unwrap();
            memory.store(used, 7_u16).unwrap();
            memory.store(index, 1_u16).unwrap();
            memory.store(index, 9_u16).unwrap();
        });
        let mut back = [false; NUM as usize];
        for _ in 0..3 {
            match driver.pop_used() {
                Ok(Some(used)) => {
                    let came = std::mem::replace(&mut back[usize::from(used.head)], true);
                    assert!(!came, "{} came back twice", used.head);
                }
                Ok(None) => {}
                Err(error) => assert!(error.is_peer(), "{error}"),
            }
        }
        for head in 0..NUM {
            assert_eq!(driver.free(head).is_ok(), back[usize::from(head)]);
        }
        peer.join().unwrap();
    });
}
