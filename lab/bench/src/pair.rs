//! Two ends of a link over one piece of memory.

use std::cell::Cell;

use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_rpmsg::link::vring::{Buffers, Device, Driver};
use sidecore_rpmsg::{Endpoint, Rpmsg, Slot};
use sidecore_virtio::RingFeatures;
use sidecore_virtio::split::{self, Parts};
use sidecore_wire::split::Layout;

/// Descriptors of each ring, as Linux has them.
const NUM: u16 = 256;
/// Bytes of a buffer, as Linux has them.
const SIZE: u32 = 512;
/// Where the memory begins, as the ring names it.
const BASE: u64 = 0x1000_0000;
const RING: usize = 0x4000;
/// Bytes that a pair needs.
pub const LEN: usize = 2 * RING + 2 * NUM as usize * SIZE as usize;

thread_local! {
    static KICKS: Cell<u64> = const { Cell::new(0) };
}

/// A doorbell that counts.
pub fn count_kick(_queue: u16) {
    KICKS.set(KICKS.get() + 1);
}

type Kick = fn(u16);
/// The host's end.
pub type Host = Rpmsg<Driver<split::Driver<Vec<split::Slot>>, Kick>, [Slot; 16]>;
/// The remote's end.
pub type Remote = Rpmsg<Device<split::Device, Kick, Vec<Cell<u16>>>, [Slot; 16]>;

/// The memory that two ends share.
pub struct Pair {
    memory: Region,
}

impl Pair {
    /// Ends in this process.
    pub fn in_memory() -> Self {
        let memory: &'static sidecore_mem::Memory<LEN> = Box::leak(Box::default());
        Self { memory: memory.region() }
    }

    fn rings(&self) -> [Parts; 2] {
        let layout = Layout::new(NUM, 4096).expect("a valid layout");
        [0, RING].map(|at| {
            let region = self.memory.slice(at, RING).expect("in bounds");
            Parts::contiguous(&region, &layout).expect("it fits")
        })
    }

    /// The host's end; clears the rings, so to be made first.
    pub fn host(&self) -> Host {
        let slots = || vec![split::Slot::default(); usize::from(NUM)];
        let [rx, tx] = self.rings();
        let rx = split::Driver::new(rx, RingFeatures::default(), slots()).expect("enough slots");
        let tx = split::Driver::new(tx, RingFeatures::default(), slots()).expect("enough slots");
        let buffers = |at: usize| Buffers {
            region: self.memory.slice(at, NUM as usize * SIZE as usize).expect("in bounds"),
            addr: DeviceAddr(BASE + at as u64),
            size: SIZE,
        };
        let pool = 2 * RING;
        let link = Driver::new(
            rx,
            tx,
            buffers(pool),
            buffers(pool + NUM as usize * SIZE as usize),
            count_kick as Kick,
        );
        Rpmsg::new(link.expect("a valid link"), [const { Slot::new() }; 16])
    }

    /// The remote's end.
    pub fn remote(&self) -> Remote {
        let [tx, rx] = self.rings();
        let features = RingFeatures::default();
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(BASE), self.memory.clone()).expect("one window");
        let cancelled = vec![Cell::new(0); usize::from(NUM)];
        let link = Device::new(
            split::Device::new(tx, features),
            split::Device::new(rx, features),
            map,
            count_kick as Kick,
            cancelled,
        );
        Rpmsg::new(link.expect("a valid link"), [const { Slot::new() }; 16])
    }

    /// An endpoint on each side, each other's peer.
    pub fn connect(host: &Host, remote: &Remote) -> (Endpoint, Endpoint) {
        let ours = host.open(1024, 1025).expect("a free address");
        let theirs = remote.open(1025, 1024).expect("a free address");
        (ours, theirs)
    }
}
