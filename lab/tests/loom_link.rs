//! Every interleaving of two willing ends of a link on rings of two descriptors, with rpmsg on it.
//!
//! Both ends are threads of their own beside the one that makes the memory: loom lets no thread see an old value again
//! that it saw before it yielded, and who wrote the first values has seen them.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::Cell;

use loom::sync::{Arc, Notify};
use loom::thread;
use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_rpmsg::host::HostLink;
use sidecore_rpmsg::link::vring::{Buffers, Device, Driver};
use sidecore_rpmsg::remote::RemoteLink;
use sidecore_rpmsg::{Endpoint, Event, Link, Message, Rpmsg, SendError, Slot};
use sidecore_virtio::RingFeatures;
use sidecore_virtio::split::{self, Parts};
use sidecore_wire::split::Layout;

const NUM: u16 = 2;
/// A header and four bytes, as a pool wants them: in multiples of eight.
const SIZE: usize = 24;
/// Where each ring begins, and behind them the pools.
const RINGS: [usize; 2] = [0, 96];
const POOLS: [usize; 2] = [192, 240];
const LEN: usize = 288;

const MODES: [RingFeatures; 2] = [
    RingFeatures { event_index: false, indirect: false },
    RingFeatures { event_index: true, indirect: false },
];

type Slots = [split::Slot; NUM as usize];
type Cancelled = [Cell<u16>; NUM as usize];
type Host = Side<HostLink<Slots, Bell, ()>>;
type Remote = Side<RemoteLink<Bell, Cancelled, (), 1>>;

/// One end: rpmsg, its endpoint, and the bell that it sleeps beside.
struct Side<L: Link> {
    rpmsg: Rpmsg<L, [Slot; 1]>,
    endpoint: Endpoint,
    bell: Arc<Notify>,
}

/// Rings the peer's bell.
struct Bell(Arc<Notify>);

impl sidecore_virtio::Notify for Bell {
    fn notify(&self, _: u16) {
        self.0.notify();
    }
}

fn explore(
    features: RingFeatures,
    host: impl Fn(Host) + Copy + Send + Sync + 'static,
    remote: impl Fn(Remote) + Copy + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let (one, other) = pair(features);
        let host = thread::spawn(move || host(one));
        let remote = thread::spawn(move || remote(other));
        host.join().unwrap();
        remote.join().unwrap();
    });
}

fn pair(features: RingFeatures) -> (Host, Remote) {
    let memory = Region::model(LEN);
    let layout = Layout::new(NUM, 4).unwrap();
    let ring = |queue: usize| Parts::contiguous(&memory.slice(RINGS[queue], 96).unwrap(), &layout).unwrap();
    let pool = |queue: usize| Buffers {
        region: memory.slice(POOLS[queue], SIZE * usize::from(NUM)).unwrap(),
        addr: DeviceAddr(POOLS[queue] as u64),
        size: SIZE as u32,
    };
    let driver = |queue| split::Driver::new(ring(queue), features, Slots::default()).unwrap();
    let device = |queue| split::Device::new(ring(queue), features);
    let (host_bell, remote_bell) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let host = Driver::new(driver(0), driver(1), pool(0), pool(1), Bell(remote_bell.clone())).unwrap();
    let mut map = AddressMap::new();
    map.insert(DeviceAddr(0), memory.clone()).unwrap();
    let remote =
        Device::new(device(0), device(1), map, Bell(host_bell.clone()), Cancelled::default()).unwrap();
    (Side::new(host, [1024, 7], host_bell), Side::new(remote, [7, 1024], remote_bell))
}

impl<L: Link> Side<L> {
    fn new(link: L, [ours, theirs]: [u32; 2], bell: Arc<Notify>) -> Self {
        let rpmsg = Rpmsg::new(link, [Slot::new()]);
        let endpoint = rpmsg.open(ours, theirs).unwrap();
        Self { rpmsg, endpoint, bell }
    }

    /// The next message; sleeps until there is one.
    fn message(&self) -> Message<'_, L, [Slot; 1]> {
        loop {
            match self.rpmsg.poll().unwrap() {
                Some(Event::Message(message)) => return message,
                Some(other) => panic!("{other:?}"),
                None => self.sleep(),
            }
        }
    }

    /// Sends; sleeps until there is a buffer.
    fn send(&self, payload: [u8; 4]) {
        while let Err(error) = self.rpmsg.send(self.endpoint, &payload) {
            assert_eq!(error, SendError::Full);
            self.sleep();
        }
    }

    fn sleep(&self) {
        if !self.rpmsg.link().arm() {
            self.bell.wait();
        }
        self.rpmsg.link().disarm();
    }
}

fn payload<L: Link>(message: &Message<'_, L, [Slot; 1]>) -> [u8; 4] {
    let mut bytes = [0; 4];
    assert_eq!(message.copy_to(&mut bytes).unwrap().len(), 4);
    bytes
}

/// RPMSG: a message arrives whole, and so does its answer; nobody sleeps beside either.
#[test]
fn a_message_is_answered_and_nobody_sleeps_beside_one() {
    for features in MODES {
        explore(
            features,
            |host| {
                host.send(*b"ping");
                let answer = host.message();
                assert_eq!((payload(&answer), answer.src()), (*b"pong", 7));
            },
            |remote| {
                let message = remote.message();
                assert_eq!((payload(&message), message.src()), (*b"ping", 1024));
                message.reply(b"pong").unwrap();
            },
        );
    }
}

/// RPMSG: a message that is put aside keeps its buffer, whatever is sent meanwhile; its release gives the room back, and
/// wakes who waits for it.
#[test]
fn a_held_buffer_is_left_alone_and_its_release_wakes_the_sender() {
    for features in MODES {
        explore(
            features,
            |host| {
                for number in 0..3 {
                    host.send([number; 4]);
                }
            },
            |remote| {
                let held = remote.message().hold().unwrap();
                assert_eq!(payload(&remote.message()), [1; 4]);
                assert_eq!(payload(&remote.message()), [2; 4]);
                assert_eq!(payload(&remote.rpmsg.resume(held).unwrap()), [0; 4]);
            },
        );
    }
}

/// RPMSG: the same with the roles changed: here the buffers are the receiver's.
#[test]
fn a_remote_that_waits_for_buffers_gets_them_back() {
    for features in MODES {
        explore(
            features,
            |host| {
                let held = host.message().hold().unwrap();
                assert_eq!(payload(&host.message()), [1; 4]);
                assert_eq!(payload(&host.message()), [2; 4]);
                assert_eq!(payload(&host.rpmsg.resume(held).unwrap()), [0; 4]);
            },
            |remote| {
                for number in 0..3 {
                    remote.send([number; 4]);
                }
            },
        );
    }
}
