//! Two ends of a link over one piece of memory, as Linux lays it out: 256 buffers of 512 bytes each way.

use std::cell::Cell;

use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_rpmsg::link::vring::{Buffers, Device, Driver};
use sidecore_rpmsg::{Endpoint, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::{Notify, RingFeatures};
use sidecore_wire::split::Layout;

/// The host's end: the driver of both rings.
pub type Host<N, O = ()> = Rpmsg<Driver<split::Driver<Box<[split::Slot]>, O>, N, O>, [Slot; 16]>;
/// The remote's end: the device.
pub type Remote<N, O = ()> = Rpmsg<Device<split::Device<O>, N, Box<[Cell<u16>]>, O>, [Slot; 16]>;

/// The memory that two ends share, and what they agreed on.
#[derive(Clone, Debug)]
pub struct Pair<O = ()> {
    memory: Region<O>,
    features: RingFeatures,
}

/// Descriptors of each ring.
const NUM: u16 = 256;
/// Bytes of a buffer.
const SIZE: u32 = 512;
/// Bytes of all buffers of a direction.
const POOL: usize = NUM as usize * SIZE as usize;
/// Bytes between the rings.
const RING: usize = 0x4000;
/// Where the memory begins, as the rings name it.
const BASE: u64 = 0x1000_0000;

impl<O: Clone> Pair<O> {
    /// Bytes that a pair needs.
    pub const LEN: usize = 2 * RING + 2 * POOL;

    /// A pair over the first bytes of `memory`.
    ///
    /// # Panics
    /// There are fewer than [`Pair::LEN`].
    pub fn new(memory: &Region<O>, features: RingFeatures) -> Self {
        Self { memory: memory.slice(0, Self::LEN).expect("room for two rings and their buffers"), features }
    }

    /// The host's end. It clears the rings, so it comes first.
    pub fn host<N: Notify>(&self, notify: N) -> Host<N, O> {
        let [rx, tx] = self.rings().map(|ring| {
            let slots = vec![split::Slot::default(); usize::from(NUM)].into_boxed_slice();
            split::Driver::new(ring, self.features, slots).expect("enough slots")
        });
        let buffers = |at: usize| Buffers {
            region: self.memory.slice(at, POOL).expect("in bounds"),
            addr: DeviceAddr(BASE + at as u64),
            size: SIZE,
        };
        let link = Driver::new(rx, tx, buffers(2 * RING), buffers(2 * RING + POOL), notify);
        Rpmsg::new(link.expect("pools of the right size"), [const { Slot::new() }; 16])
    }

    /// The remote's end.
    pub fn remote<N: Notify>(&self, notify: N) -> Remote<N, O> {
        let [tx, rx] = self.rings().map(|ring| split::Device::new(ring, self.features));
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(BASE), self.memory.clone()).expect("one window");
        let cancelled = vec![Cell::new(0); usize::from(NUM)].into_boxed_slice();
        let link = Device::new(tx, rx, map, notify, cancelled).expect("room for all buffers");
        Rpmsg::new(link, [const { Slot::new() }; 16])
    }

    fn rings(&self) -> [Parts<O>; 2] {
        let layout = Layout::new(NUM, 4096).expect("a valid layout");
        [0, RING].map(|at| {
            let region = self.memory.slice(at, RING).expect("in bounds");
            Parts::contiguous(&region, &layout).expect("it fits")
        })
    }
}

impl Pair {
    /// The host's endpoint, whose peer is [`Pair::remote_endpoint`].
    pub fn host_endpoint<N: Notify, O>(host: &Host<N, O>) -> Endpoint {
        host.open(1024, 1025).expect("a free address")
    }

    /// The remote's endpoint, whose peer is [`Pair::host_endpoint`].
    pub fn remote_endpoint<N: Notify, O>(remote: &Remote<N, O>) -> Endpoint {
        remote.open(1025, 1024).expect("a free address")
    }
}
