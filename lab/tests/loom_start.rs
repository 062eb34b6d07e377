//! Every interleaving of a host and a remote that start at the same moment.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::Cell;

use loom::thread;
use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_rpmsg::host::bring_up;
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::remote::attach;
use sidecore_rpmsg::{Event, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::F_NS;
use sidecore_wire::split::Layout;

const NUM: u16 = 2;
const SIZE: usize = 24;
/// The vdev entry, the two rings, the two pools.
const RINGS: [usize; 2] = [80, 176];
const POOLS: [usize; 2] = [272, 320];
const LEN: usize = 368;

/// START-1: a remote that looks at the status whenever it likes, and at the rings only after DRIVER_OK, finds them whole
/// and reads the message that was sent right after.
#[test]
fn start_1_a_remote_that_waits_for_driver_ok_finds_rings_and_message_whole() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let memory = Region::model(LEN);
        for (at, value) in [(0, 3), (4, 7), (12, F_NS as u32)] {
            memory.store::<u32>(at, value).unwrap();
        }
        memory.store(25, 2_u8).unwrap();
        for (i, da) in RINGS.into_iter().enumerate() {
            for (field, value) in [(0, da as u32), (4, 4), (8, u32::from(NUM)), (12, i as u32)] {
                memory.store(28 + 20 * i + field, value).unwrap();
            }
        }
        let vdev = table::Device::new(&memory, 0).unwrap();
        let theirs = memory.clone();
        let host = thread::spawn(move || {
            let layout = Layout::new(NUM, 4).unwrap();
            let rings = RINGS.map(|at| Parts::contiguous(&theirs.slice(at, 96).unwrap(), &layout).unwrap());
            let buffers = POOLS.map(|at| Buffers {
                region: theirs.slice(at, SIZE * usize::from(NUM)).unwrap(),
                addr: DeviceAddr(at as u64),
                size: SIZE as u32,
            });
            let driver = table::Driver::new(&theirs, 0).unwrap();
            let slots: [[split::Slot; NUM as usize]; 2] = Default::default();
            let (link, _) = bring_up(&driver, F_NS, rings, slots, buffers, |_: u16| {}).unwrap();
            let host = Rpmsg::new(link, [Slot::new()]);
            let endpoint = host.open(1024, 7).unwrap();
            host.send(endpoint, b"whole").unwrap();
        });
        while vdev.poll() != Change::Started {
            thread::yield_now();
        }
        let mut map = AddressMap::<(), 1>::new();
        map.insert(DeviceAddr(0), memory).unwrap();
        let cancelled: [Cell<u16>; NUM as usize] = Default::default();
        let (link, features) = attach(&vdev, map, cancelled, |_| |_: u16| {}).unwrap();
        assert_eq!(features, F_NS);
        let remote = Rpmsg::new(link, [Slot::new()]);
        remote.open(7, 1024).unwrap();
        loop {
            match remote.poll().unwrap() {
                Some(Event::Message(message)) => {
                    assert_eq!((message.src(), message.copy_to(&mut [0; 8]).unwrap()), (1024, &b"whole"[..]));
                    break;
                }
                Some(other) => panic!("{other:?}"),
                None => thread::yield_now(),
            }
        }
        host.join().unwrap();
    });
}
