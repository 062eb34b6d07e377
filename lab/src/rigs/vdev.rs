//! A vdev with two rings in memory of its own, and both of rpmsg's links on it.

use std::cell::Cell;
use std::sync::Arc;

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_rpmsg::host::{HostLink, UNDERSTOOD, bring_up};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_virtio::Notify;
use sidecore_virtio::split::{Parts, Slot};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::resource_table::vring;
use sidecore_wire::split::Layout;

use super::{Heap, Shared, shared};

/// Where the vdev's memory lies in the remote's address space.
const BASE: u64 = 0x2000_0000;
/// What rings and pools begin on a multiple of.
const ALIGN: u32 = 64;

/// What the two queues of a vdev are like; queue 0 is the one to the host.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Features that the device offers; the host takes all of them that it understands.
    pub features: u64,
    /// Descriptors of each queue.
    pub num: [u16; 2],
    /// Bytes of a buffer of each queue, header included: a multiple of 8.
    pub size: [u32; 2],
}

/// A vdev's entry, rings and buffers in one memory, as firmware leaves them to its host.
#[derive(Clone, Debug)]
pub struct Vdev {
    /// All of it: the entry, then both rings, then both pools.
    pub memory: Shared,
    /// Where in the memory each ring begins.
    pub rings: [usize; 2],
    /// How each ring is divided.
    pub layouts: [Layout; 2],
    /// Where in the memory each pool of buffers begins.
    pub pools: [usize; 2],
    shape: Shape,
}

/// The host's link of a [`Vdev`].
pub type Host<N> = HostLink<Box<[Slot]>, N, Arc<Heap>>;

/// The remote's link of a [`Vdev`].
pub type Remote<N> = RemoteLink<N, Box<[Cell<u16>]>, Arc<Heap>, 8>;

impl Vdev {
    /// A device that waits for its driver.
    ///
    /// # Panics
    /// A number of descriptors is no power of two, or all of it does not fit 32 bits.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let layouts = shape.num.map(|num| Layout::new(num, ALIGN).expect("a power of two"));
        let mut end = 0;
        let mut place = |len: usize| {
            let at = end;
            end = (at + len).next_multiple_of(ALIGN as usize);
            at
        };
        place(offset::VRINGS + 2 * vring::SIZE);
        let rings = layouts.map(|layout| place(layout.size() as usize));
        let pools = [0, 1].map(|queue| place(shape.size[queue] as usize * usize::from(shape.num[queue])));
        let vdev = Self { memory: shared(end), rings, layouts, pools, shape };
        vdev.describe();
        vdev
    }

    /// Writes the entry as firmware has it.
    fn describe(&self) {
        let word = |at: usize, value: u32| self.memory.store(at, value).expect("inside the entry");
        word(offset::DFEATURES, self.shape.features as u32);
        self.memory.store(offset::NUM_VRINGS, 2_u8).expect("inside the entry");
        for (queue, at) in self.rings.into_iter().enumerate() {
            let da = u32::try_from(BASE + at as u64).expect("below 4 GiB");
            let fields = [da, ALIGN, self.shape.num[queue].into(), queue as u32];
            for (field, value) in fields.into_iter().enumerate() {
                word(offset::VRINGS + vring::SIZE * queue + 4 * field, value);
            }
        }
    }

    /// Brings the device up, as its host.
    ///
    /// # Panics
    /// The memory was written to by someone else.
    pub fn host<N: Notify>(&self, notify: N) -> Host<N> {
        let slots = self.shape.num.map(|num| vec![Slot::default(); num.into()].into_boxed_slice());
        let driver = table::Driver::new(&self.memory, 0).expect("the entry is whole");
        let (rings, buffers) = ([0, 1].map(|queue| self.ring(queue)), [0, 1].map(|queue| self.pool(queue)));
        let (link, _) = bring_up(&driver, UNDERSTOOD, rings, slots, buffers, notify).expect("a fresh device");
        link
    }

    /// Attaches to the driver that is up, as the remote.
    ///
    /// # Panics
    /// There is none, or the memory was written to by someone else.
    pub fn remote<N: Notify>(&self, notify: N) -> Remote<N> {
        let device = table::Device::new(&self.memory, 0).expect("the entry is whole");
        assert_eq!(device.poll(), Change::Started);
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(BASE), self.memory.clone()).expect("the only window");
        let cancelled = vec![Cell::new(0); self.shape.num[0].into()].into_boxed_slice();
        let (link, features) = attach(&device, map, cancelled, |_| notify).expect("a driver that is up");
        assert_eq!(features, self.shape.features & UNDERSTOOD);
        link
    }

    fn ring(&self, queue: usize) -> Parts<Arc<Heap>> {
        let layout = &self.layouts[queue];
        let memory = self.memory.slice(self.rings[queue], layout.size() as usize).expect("inside the memory");
        Parts::contiguous(&memory, layout).expect("memory of the layout's size")
    }

    fn pool(&self, queue: usize) -> Buffers<Arc<Heap>> {
        let (at, size) = (self.pools[queue], self.shape.size[queue]);
        let len = size as usize * usize::from(self.shape.num[queue]);
        let region = self.memory.slice(at, len).expect("inside the memory");
        Buffers { region, addr: DeviceAddr(BASE + at as u64), size }
    }
}
