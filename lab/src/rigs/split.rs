//! A split ring in memory of its own.

use std::sync::Arc;

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_virtio::RingFeatures;
use sidecore_virtio::split::{Device, Driver, Parts, Slot};
use sidecore_wire::split::Layout;

use super::{Heap, Shared, shared};

/// Where a rig's buffers lie in the address space of its ring.
pub const DATA_ADDR: DeviceAddr = DeviceAddr(0x4000_0000);

/// A split ring, the memory behind it and some memory for buffers.
#[derive(Clone, Debug)]
pub struct Split {
    /// The ring, as `layout` divides it.
    pub ring: Shared,
    /// Where in `ring` each part lies.
    pub layout: Layout,
    /// Memory for buffers and indirect tables; its first byte is at [`DATA_ADDR`].
    pub data: Shared,
    features: RingFeatures,
}

impl Split {
    /// A ring of `num` descriptors and `data` bytes for buffers.
    ///
    /// # Panics
    /// `num` is no power of two, or `data` is zero.
    #[must_use]
    pub fn new(num: u16, features: RingFeatures, data: usize) -> Self {
        let layout = Layout::new(num, 64).expect("a power of two");
        Self { ring: shared(layout.size() as usize), layout, data: shared(data), features }
    }

    /// The driver's end. It clears the ring.
    #[must_use]
    pub fn driver(&self) -> Driver<Box<[Slot]>, Arc<Heap>> {
        let slots = vec![Slot::default(); usize::from(self.layout.num())];
        Driver::new(self.parts(), self.features, slots.into_boxed_slice())
            .expect("a slot for each descriptor")
    }

    /// The device's end, which finds the ring as it is.
    #[must_use]
    pub fn device(&self) -> Device<Arc<Heap>> {
        Device::new(self.parts(), self.features)
    }

    /// The ring's address space: its buffers.
    #[must_use]
    pub fn map(&self) -> AddressMap<Arc<Heap>> {
        let mut map = AddressMap::new();
        map.insert(DATA_ADDR, self.data.clone()).expect("the only window");
        map
    }

    fn parts(&self) -> Parts<Arc<Heap>> {
        Parts::contiguous(&self.ring, &self.layout).expect("memory of the layout's size")
    }
}
