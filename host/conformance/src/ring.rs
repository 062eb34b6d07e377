//! A split ring as plain bytes: each field can be read and written by whoever wants to, right or wrong.

use sidecore_wire::resource_table::Vring;
use sidecore_wire::split::{Descriptor, Layout, UsedElement};

use crate::peer::Ground;

/// Where a ring lies.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// Device address of its first byte.
    pub at: u64,
    /// Where its parts are.
    pub layout: Layout,
    /// What a kick for it carries.
    pub notifyid: u32,
}

impl Ring {
    /// The ring that a table's entry describes; `None` where none can have these dimensions.
    #[must_use]
    pub fn new(vring: &Vring) -> Option<Self> {
        let layout = Layout::new(u16::try_from(vring.num).ok()?, vring.align).ok()?;
        Some(Self { at: u64::from(vring.da), layout, notifyid: vring.notifyid })
    }

    /// Number of descriptors.
    #[must_use]
    pub fn num(&self) -> u16 {
        self.layout.num()
    }

    fn place(&self, offset: u32) -> u64 {
        self.at + u64::from(offset)
    }

    /// Clears the whole ring.
    pub fn clear(&self, ground: &dyn Ground) -> bool {
        ground.write(self.at, &vec![0; self.layout.size() as usize])
    }

    /// All bytes that the host writes: descriptors and the available part.
    #[must_use]
    pub fn hosts_part(&self, ground: &dyn Ground) -> Vec<u8> {
        let mut bytes = vec![0; self.layout.used_event() as usize + 2];
        ground.read(self.at, &mut bytes);
        bytes
    }

    /// All bytes that the remote writes: the used part.
    #[must_use]
    pub fn remotes_part(&self, ground: &dyn Ground) -> Vec<u8> {
        let mut bytes = vec![0; (self.layout.size() - self.layout.used_flags()) as usize];
        ground.read(self.place(self.layout.used_flags()), &mut bytes);
        bytes
    }

    /// A descriptor.
    #[must_use]
    pub fn descriptor(&self, ground: &dyn Ground, index: u16) -> Descriptor {
        let mut bytes = [0; Descriptor::SIZE];
        ground.read(self.at + 16 * u64::from(index), &mut bytes);
        Descriptor::parse(&bytes)
    }

    /// Writes a descriptor.
    pub fn describe(&self, ground: &dyn Ground, index: u16, descriptor: &Descriptor) {
        ground.write(self.at + 16 * u64::from(index), &descriptor.emit());
    }

    /// The slot of an entry, counted from the beginning of time, of the available ring.
    #[must_use]
    pub fn available(&self, ground: &dyn Ground, entry: u16) -> u16 {
        ground.load(self.available_slot(entry)).unwrap_or(0)
    }

    /// Writes a slot of the available ring.
    pub fn offer(&self, ground: &dyn Ground, entry: u16, head: u16) {
        ground.store(self.available_slot(entry), head);
    }

    fn available_slot(&self, entry: u16) -> u64 {
        self.place(self.layout.available_ring()) + 2 * u64::from(entry % self.num())
    }

    /// The slot of an entry of the used ring.
    #[must_use]
    pub fn used(&self, ground: &dyn Ground, entry: u16) -> UsedElement {
        let mut bytes = [0; UsedElement::SIZE];
        ground.read(self.used_slot(entry), &mut bytes);
        UsedElement::parse(&bytes)
    }

    /// Writes a slot of the used ring.
    pub fn give(&self, ground: &dyn Ground, entry: u16, element: &UsedElement) {
        ground.write(self.used_slot(entry), &element.emit());
    }

    fn used_slot(&self, entry: u16) -> u64 {
        self.place(self.layout.used_ring()) + 8 * u64::from(entry % self.num())
    }

    /// Device address of the flags of the available ring.
    #[must_use]
    pub fn available_flags(&self) -> u64 {
        self.place(self.layout.available_flags())
    }

    /// Device address of the index of the available ring.
    #[must_use]
    pub fn available_index(&self) -> u64 {
        self.place(self.layout.available_index())
    }

    /// Device address of the flags of the used ring.
    #[must_use]
    pub fn used_flags(&self) -> u64 {
        self.place(self.layout.used_flags())
    }

    /// Device address of the index of the used ring.
    #[must_use]
    pub fn used_index(&self) -> u64 {
        self.place(self.layout.used_index())
    }

    /// Device address of the used event, which the host writes.
    #[must_use]
    pub fn used_event(&self) -> u64 {
        self.place(self.layout.used_event())
    }

    /// Device address of the available event, which the remote writes.
    #[must_use]
    pub fn available_event(&self) -> u64 {
        self.place(self.layout.available_event())
    }
}
