//! Every interleaving of a host and a remote that start at the same moment.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::Cell;

use loom::sync::{Arc, Notify};
use loom::thread;
use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_rpmsg::host::bring_up;
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::remote::attach;
use sidecore_rpmsg::{Event, Link, Name, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::{F_EPOCH, F_NS};
use sidecore_wire::split::Layout;

const NUM: u16 = 2;
const SIZE: usize = 56;
/// The vdev entry, the two rings, the two pools.
const RINGS: [usize; 2] = [80, 176];
const POOLS: [usize; 2] = [272, 384];
const LEN: usize = 496;

/// START-1: a remote that looks at the status whenever it likes, and at the rings only after DRIVER_OK, finds both rings
/// whole, reads the message that was sent right after, and announces itself once.
#[test]
fn start_1_a_remote_that_waits_for_driver_ok_finds_rings_and_message_whole() {
    explore(Speaks::First, || (|_: u16| {}, thread::yield_now));
}

/// START-1: one that sleeps until it is kicked is kicked when the driver is ready, also by a host that has nothing to
/// say. (Where the kick is missing the host waits for ever, and loom gives up.)
#[test]
fn start_1_the_kick_after_driver_ok_wakes_a_remote_that_sleeps() {
    explore(Speaks::WhenSpokenTo, || {
        let bell = Arc::new(Notify::new());
        let theirs = bell.clone();
        (move |_: u16| theirs.notify(), move || bell.wait())
    });
}

/// RESET-18: what a remote did for the host before is over, and seen to be, when it has acknowledged the reset: an index of
/// the old life never ends in the cleared ring, wherever the reset met it.
#[test]
fn reset_18_an_acknowledged_reset_comes_after_all_that_the_remote_did_before() {
    loom::model(|| {
        let memory = Region::model(80);
        for (at, value) in [(0, 3), (4, 7), (12, F_EPOCH as u32), (20, 8)] {
            memory.store::<u32>(at, value).unwrap();
        }
        memory.store(24, 7_u8).unwrap();
        memory.store(25, 1_u8).unwrap();
        let theirs = memory.clone();
        let host = thread::spawn(move || {
            let driver = table::Driver::new(&theirs, 0).unwrap();
            let reset = driver.reset().unwrap();
            while !driver.is_acknowledged(reset) {
                thread::yield_now();
            }
            theirs.store(56, 0_u16).unwrap();
        });
        let theirs = memory.clone();
        let remote = thread::spawn(move || {
            let device = table::Device::new(&theirs, 0).unwrap();
            if device.poll() == Change::Started {
                theirs.store(56, 7_u16).unwrap();
            }
            // It has let go, be it that it saw the reset or not.
            while !device.acknowledge() {
                thread::yield_now();
            }
        });
        host.join().unwrap();
        remote.join().unwrap();
        assert_eq!(memory.load::<u16>(56), Ok(0));
    });
}

/// What a host does once it is up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    First,
    WhenSpokenTo,
}

/// Starts both sides in every order: `doorbell` makes how the host kicks, and how the remote waits for its driver.
///
/// Both are threads of their own beside the one that makes the memory: loom lets no thread see an old value again that it
/// saw before it yielded, and who wrote the first values has seen them.
fn explore<K, W>(speaks: Speaks, doorbell: impl Fn() -> (K, W) + Send + Sync + 'static)
where
    K: Fn(u16) + Send + 'static,
    W: Fn() + Send + 'static,
{
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let memory = memory();
        let theirs = memory.clone();
        let (kick, wait) = doorbell();
        let host = thread::spawn(move || host(&theirs, speaks, kick));
        let remote = thread::spawn(move || remote(memory, wait));
        host.join().unwrap();
        remote.join().unwrap();
    });
}

/// The entry as firmware has it; the rings are as the last driver left them, which was none that one would want.
fn memory() -> Region {
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
    for at in (RINGS[0]..POOLS[0]).step_by(2) {
        memory.store(at, 0xdddd_u16).unwrap();
    }
    memory
}

fn host(memory: &Region, speaks: Speaks, kick: impl Fn(u16)) {
    let layout = Layout::new(NUM, 4).unwrap();
    let rings = RINGS.map(|at| Parts::contiguous(&memory.slice(at, 96).unwrap(), &layout).unwrap());
    let buffers = POOLS.map(|at| Buffers {
        region: memory.slice(at, SIZE * usize::from(NUM)).unwrap(),
        addr: DeviceAddr(at as u64),
        size: SIZE as u32,
    });
    let driver = table::Driver::new(memory, 0).unwrap();
    let slots: [[split::Slot; NUM as usize]; 2] = Default::default();
    let (link, _) = bring_up(&driver, F_NS, rings, slots, buffers, kick).unwrap();
    let host = Rpmsg::new(link, [Slot::new()]);
    let endpoint = host.open(1024, 7).unwrap();
    if speaks == Speaks::First {
        host.send(endpoint, b"whole").unwrap();
    }
    let Event::Announcement(found) = next(&host) else { panic!("no announcement") };
    assert_eq!((found.name, found.addr), (Name::new("here").unwrap(), 7));
    if speaks == Speaks::WhenSpokenTo {
        host.send(endpoint, b"whole").unwrap();
    }
    // Nothing came between: it announced itself once.
    let Event::Message(answer) = next(&host) else { panic!("announced again") };
    assert_eq!(answer.copy_to(&mut [0; 8]).unwrap(), b"yes");
}

fn remote(memory: Region, wait_for_driver: impl Fn()) {
    let vdev = table::Device::new(&memory, 0).unwrap();
    while vdev.poll() != Change::Started {
        wait_for_driver();
    }
    let mut map = AddressMap::<(), 1>::new();
    map.insert(DeviceAddr(0), memory).unwrap();
    let cancelled: [Cell<u16>; NUM as usize] = Default::default();
    let (link, features) = attach(&vdev, map, cancelled, |_| |_: u16| {}).unwrap();
    assert_eq!(features, F_NS);
    let remote = Rpmsg::new(link, [Slot::new()]);
    let service = remote.open(7, 1024).unwrap();
    remote.announce(service, &Name::new("here").unwrap()).unwrap();
    let Event::Message(message) = next(&remote) else { panic!("no message") };
    assert_eq!((message.src(), message.copy_to(&mut [0; 8]).unwrap()), (1024, &b"whole"[..]));
    message.reply(b"yes").unwrap();
}

fn next<L: Link>(rpmsg: &Rpmsg<L, [Slot; 1]>) -> Event<'_, L, [Slot; 1]> {
    loop {
        match rpmsg.poll().unwrap() {
            Some(event) => return event,
            None => thread::yield_now(),
        }
    }
}
