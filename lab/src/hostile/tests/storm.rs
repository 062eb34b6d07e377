//! A peer that writes at the very same time: our side's calls meet it in the middle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::{Buffer, DeviceQueue, Direction, DriverQueue, RingFeatures};

use crate::rigs::{Shared, Split};
use crate::tape::{Seed, Tape};
use crate::watchdog;

const LIMIT: Duration = Duration::from_secs(120);
const NUM: u16 = 8;
/// How often our side gets on before the storm ends.
const ENOUGH: usize = 10_000;
const ALL: RingFeatures = RingFeatures { event_index: true, indirect: true };

#[test]
fn a_driver_keeps_its_books_while_the_device_writes_everywhere() {
    in_a_storm(|rig| {
        let driver = rig.driver();
        // Whether a chain's head is with the device; whether we hold it; and how many descriptors are neither.
        let (mut away, mut held) = ([0; NUM as usize], [false; NUM as usize]);
        let mut back = 0;
        for step in 0_usize.. {
            if back == ENOUGH {
                break;
            }
            breathe(step);
            let len = 1 + step % 3;
            if let Ok(head) = driver.add(&[BUFFER; 3][..len]) {
                assert!(away[usize::from(head)] == 0 && !held[usize::from(head)], "{head} is given twice");
                away[usize::from(head)] = len as u16;
            }
            let _ = driver.publish();
            let _ = driver.enable_notifications();
            match driver.pop_used() {
                Ok(Some(used)) => {
                    let head = usize::from(used.head);
                    assert!(away[head] > 0, "{head} was not with the device");
                    away[head] = 0;
                    held[head] = true;
                    back += 1;
                }
                Ok(None) => {}
                Err(error) => assert!(error.is_peer(), "{error}"),
            }
            if let Some(head) = held.iter().position(|held| *held).filter(|_| step % 2 == 0) {
                driver.free(head as u16).unwrap();
                held[head] = false;
            }
            let taken = away.iter().sum::<u16>() + held.iter().filter(|held| **held).count() as u16;
            assert_eq!(driver.free_count(), NUM - taken);
        }
    });
}

#[test]
fn a_device_ends_every_walk_while_the_driver_writes_everywhere() {
    in_a_storm(|rig| {
        let (device, map) = (rig.device(), rig.map());
        let mut out = Vec::new();
        let mut walked = 0;
        for step in 0_usize.. {
            if walked >= ENOUGH {
                break;
            }
            breathe(step);
            match device.pop_available() {
                Ok(Some(head)) => {
                    assert!(head < NUM);
                    out.push(head);
                    assert!(out.len() <= NUM.into());
                }
                Ok(None) => {}
                Err(error) => assert!(error.is_peer(), "{error}"),
            }
            if let Some(head) = out.last().copied() {
                assert!(device.walk(head, &map).count() <= usize::from(NUM) + 1);
                walked += device.walk(head, &map).filter(Result::is_ok).count();
                if let Err(error) = device.single(head, Direction::ToDevice) {
                    assert!(error.is_peer(), "{error}");
                }
            }
            if step % 2 == 0
                && let Some(head) = out.pop()
            {
                device.add_used(head, 0);
            }
            let _ = device.publish();
            let _ = device.enable_notifications();
            assert_eq!(usize::from(device.outstanding()), out.len());
        }
    });
}

const BUFFER: Buffer = Buffer { addr: DeviceAddr(0x4000_0000), len: 16, direction: Direction::ToDevice };

/// Lets `ours` work while another thread writes to the ring and its buffers.
fn in_a_storm(ours: impl FnOnce(&Split) + Send + 'static) {
    watchdog::within(LIMIT, || {
        let rig = Split::new(NUM, ALL, 512);
        let calm = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut seed = Seed::new(1);
                while !calm.load(Ordering::Relaxed) {
                    let bytes = seed.bytes(4096);
                    let mut tape = Tape::new(&bytes);
                    while !tape.is_at_end() {
                        write(&rig, &mut tape);
                    }
                    thread::yield_now();
                }
            });
            // Also where `ours` panics: the scope waits for the thread.
            let _calm = OnDrop(|| calm.store(true, Ordering::Relaxed));
            ours(&rig);
        });
    });
}

/// Lets the other thread in where there is one processor for both.
fn breathe(step: usize) {
    if step.is_multiple_of(512) {
        thread::yield_now();
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// Half of what is written is small, so that it often is a number that could be right.
fn write(rig: &Split, tape: &mut Tape<'_>) {
    let store = |region: &Shared, at: usize, value: u16| {
        region.store(2 * (at % (region.len() / 2)), value).expect("inside");
    };
    let value = if tape.flag() { u16::from(tape.u8()) % (NUM + 1) } else { tape.u16() };
    let (ring, layout) = (&rig.ring, &rig.layout);
    let index = |at: u32| ring.load::<u16>(at as usize).expect("inside");
    let near = |event: u32| index(event).wrapping_add(value % (NUM + 1));
    match tape.below(5) {
        0 => {
            let at = layout.used_ring() as usize + 8 * tape.below(NUM.into());
            ring.store(at, u32::from(value)).expect("inside");
        }
        1 => store(ring, tape.u8().into(), value),
        2 => store(&rig.data, tape.u8().into(), value),
        // A little beyond where the other end says that it is.
        3 => store(ring, layout.used_index() as usize / 2, near(layout.used_event())),
        _ => store(ring, layout.available_index() as usize / 2, near(layout.available_event())),
    }
}
