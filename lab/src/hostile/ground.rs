//! A split ring as its bytes, for those who write to it what they like.

use std::num::Wrapping;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::{Buffer, Direction, RingFeatures};
use sidecore_wire::split::{
    AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, Layout, USED_NO_NOTIFY, UsedElement,
};

use crate::rigs::{DATA_ADDR, Split};
use crate::tape::Tape;

/// Bytes of a ground's memory for buffers and indirect tables.
const DATA: usize = 512;

/// A split ring and what is written to it past our own queues.
pub(super) struct Ground {
    pub(super) rig: Split,
    pub(super) features: RingFeatures,
}

/// The bytes of a ring, in the parts that different sides write, and those of its buffers.
#[derive(PartialEq, Eq)]
pub(super) struct Picture {
    /// Descriptors and available ring: the driver's.
    pub(super) driver: Vec<u8>,
    /// Used ring: the device's.
    pub(super) device: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl Ground {
    /// A ring of up to 16 descriptors, with the features that the byte has. (Its two highest bits are for the device.)
    pub(super) fn new(choice: u8) -> Self {
        let features = RingFeatures { event_index: choice & 0x10 != 0, indirect: choice & 0x20 != 0 };
        Self { rig: Split::new(1 << (choice % 5), features, DATA), features }
    }

    pub(super) fn num(&self) -> u16 {
        self.layout().num()
    }

    fn layout(&self) -> &Layout {
        &self.rig.layout
    }

    pub(super) fn word(&self, at: u32) -> u16 {
        self.rig.ring.load(at as usize).expect("inside the layout")
    }

    pub(super) fn set_word(&self, at: u32, value: u16) {
        self.rig.ring.store(at as usize, value).expect("inside the layout");
    }

    pub(super) fn available_index(&self) -> u16 {
        self.word(self.layout().available_index())
    }

    pub(super) fn used_index(&self) -> u16 {
        self.word(self.layout().used_index())
    }

    /// The available ring's entry for this index.
    pub(super) fn available(&self, index: u16) -> u16 {
        self.word(self.layout().available_ring() + 2 * u32::from(index % self.num()))
    }

    /// The used ring's entry for this index.
    pub(super) fn used(&self, index: u16) -> UsedElement {
        UsedElement::parse(&self.rig.ring.read_array(self.used_at(index)).expect("inside the layout"))
    }

    fn used_at(&self, index: u16) -> usize {
        (self.layout().used_ring() + 8 * u32::from(index % self.num())) as usize
    }

    pub(super) fn descriptor(&self, index: u16) -> Descriptor {
        Descriptor::parse(&self.rig.ring.read_array(16 * usize::from(index)).expect("inside the ring"))
    }

    /// A descriptor of an indirect table, where it lies in memory.
    pub(super) fn indirect(&self, table: u64, index: u16) -> Option<Descriptor> {
        let offset = table.checked_sub(DATA_ADDR.0)?.checked_add(16 * u64::from(index))?;
        self.rig.data.read_array(usize::try_from(offset).ok()?).ok().map(|bytes| Descriptor::parse(&bytes))
    }

    /// Writes a chain to the descriptor table: of one or more descriptors, at times ending in an indirect table.
    pub(super) fn build(&self, tape: &mut Tape<'_>) -> u16 {
        let num = usize::from(self.num());
        let (head, len) = (tape.below(num), 1 + tape.below(num));
        let mut at = (0..len).map(|i| ((head + i) % num) as u16).peekable();
        while let Some(index) = at.next() {
            let mut descriptor = Self::entry(tape, at.peek().copied());
            // Odd numbers: the chain goes on in a table, and the highest of them: which goes on in itself.
            let choice = if at.peek().is_none() { tape.u8() } else { 0 };
            if choice % 2 == 1 {
                let (first, count) = (tape.below(4), 1 + tape.below(num));
                let addr = DATA_ADDR.0 + 16 * first as u64;
                descriptor = Descriptor { addr, len: 16 * count as u32, flags: DESC_INDIRECT, next: 0 };
                for i in 0..count {
                    let next = (i + 1 < count).then_some(i as u16 + 1);
                    let mut entry = Self::entry(tape, next);
                    if next.is_none() && choice > 200 {
                        entry = descriptor;
                    }
                    self.rig.data.write(16 * (first + i), &entry.emit()).expect("at most 19 entries");
                }
            }
            self.rig.ring.write(16 * usize::from(index), &descriptor.emit()).expect("inside the ring");
        }
        head as u16
    }

    /// A part of a chain; most of them readable, so that chains get long before they break a rule.
    fn entry(tape: &mut Tape<'_>, next: Option<u16>) -> Descriptor {
        let write = if tape.u8() > 200 { DESC_WRITE } else { 0 };
        let chained = if next.is_some() { DESC_NEXT } else { 0 };
        Descriptor {
            addr: address(tape),
            len: tape.u8().into(),
            flags: write | chained,
            next: next.unwrap_or_default(),
        }
    }

    /// Makes a chain available, as a driver does: next in line, where the device has taken up to `taken` and can
    /// take `limit`; which mends an index that lies.
    pub(super) fn offer(&self, taken: u16, limit: u16, head: u16) {
        let claim = self.available_index();
        let index = if claim.wrapping_sub(taken) < limit { claim } else { taken };
        self.set_word(self.layout().available_ring() + 2 * u32::from(index % self.num()), head);
        self.set_word(self.layout().available_index(), index.wrapping_add(1));
    }

    /// Gives a chain back, as a device does: next in line, where the driver has taken up to `taken` and `limit` are
    /// out; which mends an index that lies.
    pub(super) fn complete(&self, taken: u16, limit: u16, element: UsedElement) {
        let claim = self.used_index();
        let index = if claim.wrapping_sub(taken) < limit { claim } else { taken };
        self.rig.ring.write(self.used_at(index), &element.emit()).expect("inside the layout");
        self.set_word(self.layout().used_index(), index.wrapping_add(1));
    }

    /// Whether an index that moves on from `old` to `new` passes what the other side wishes for, found by counting
    /// (2.7.7, 2.7.10). `event` and `flags` are where the wish lies.
    fn wished(&self, old: u16, new: u16, event: u32, flags: u32, suppressed: u16) -> bool {
        if !self.features.event_index {
            return old != new && self.word(flags) & suppressed == 0;
        }
        let event = self.word(event);
        let mut index = Wrapping(old);
        while index.0 != new {
            if index.0 == event {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Whether the device wishes to hear of entries `old..new`.
    pub(super) fn device_wishes(&self, old: u16, new: u16) -> bool {
        let layout = self.layout();
        self.wished(old, new, layout.available_event(), layout.used_flags(), USED_NO_NOTIFY)
    }

    /// Whether the driver wishes to hear of entries `old..new`.
    pub(super) fn driver_wishes(&self, old: u16, new: u16) -> bool {
        let layout = self.layout();
        self.wished(old, new, layout.used_event(), layout.available_flags(), AVAIL_NO_INTERRUPT)
    }

    /// All bytes as they are.
    pub(super) fn picture(&self) -> Picture {
        let mut driver = vec![0; self.rig.ring.len()];
        self.rig.ring.read(0, &mut driver).expect("all of it");
        let device = driver.split_off(self.layout().used_flags() as usize);
        let mut data = vec![0; DATA];
        self.rig.data.read(0, &mut data).expect("all of it");
        Picture { driver, device, data }
    }

    /// A buffer as a tape has it; some lie in memory.
    pub(super) fn buffer(tape: &mut Tape<'_>) -> Buffer {
        let direction = if tape.flag() { Direction::FromDevice } else { Direction::ToDevice };
        Buffer { addr: DeviceAddr(address(tape)), len: tape.u32(), direction }
    }

    /// Writes any 16-bit word of the ring, or of the data behind it.
    pub(super) fn write_any_word(&self, tape: &mut Tape<'_>) {
        let words = self.rig.ring.len() / 2 + DATA / 2;
        let at = 2 * (usize::from(tape.u16()) % words);
        let value = tape.u16();
        let stored = match at.checked_sub(self.rig.ring.len()) {
            None => self.rig.ring.store(at, value),
            Some(at) => self.rig.data.store(at, value),
        };
        stored.expect("inside");
    }

    /// Writes a lie where it hurts: a field with a value that is nearly right, or not at all.
    pub(super) fn lie(&self, tape: &mut Tape<'_>) {
        let layout = *self.layout();
        match tape.below(9) {
            0 => self.set_word(layout.available_index(), near(self.available_index(), tape)),
            1 => self.set_word(layout.used_index(), near(self.used_index(), tape)),
            2 => {
                let at = layout.available_ring() + 2 * tape.below(self.num().into()) as u32;
                self.set_word(at, self.index(tape));
            }
            3 => {
                let slot = tape.below(self.num().into()) as u16;
                let id = if tape.flag() { u32::from(self.index(tape)) } else { tape.u32() };
                let element = UsedElement { id, len: tape.u32() };
                self.rig.ring.write(self.used_at(slot), &element.emit()).expect("inside the layout");
            }
            4 | 5 => {
                let at = 16 * tape.below(self.num().into());
                self.rig.ring.write(at, &self.lying_descriptor(tape).emit()).expect("inside the layout");
            }
            6 | 7 => {
                let at = 16 * tape.below(DATA / 16);
                self.rig.data.write(at, &self.lying_descriptor(tape).emit()).expect("inside");
            }
            _ => {
                let at = [
                    layout.available_flags(),
                    layout.used_flags(),
                    layout.available_event(),
                    layout.used_event(),
                ][tape.below(4)];
                self.set_word(at, near(self.word(at), tape));
            }
        }
    }

    fn lying_descriptor(&self, tape: &mut Tape<'_>) -> Descriptor {
        let flags = match tape.below(8) {
            0 => tape.u16(),
            bits => {
                [0, DESC_NEXT, DESC_WRITE, DESC_NEXT | DESC_WRITE, DESC_INDIRECT, DESC_INDIRECT, DESC_NEXT]
                    [bits - 1]
            }
        };
        let len = if tape.flag() { 16 * tape.below(20) as u32 } else { tape.u32() };
        Descriptor { addr: address(tape), len, flags, next: self.index(tape) }
    }

    /// A descriptor's number: most are in the ring, or just outside.
    fn index(&self, tape: &mut Tape<'_>) -> u16 {
        match tape.u8() {
            255 => tape.u16(),
            byte => u16::from(byte) % (self.num() + 2),
        }
    }
}

/// An address: in memory, about its edges, or anywhere.
fn address(tape: &mut Tape<'_>) -> u64 {
    match tape.below(4) {
        0 => tape.u64(),
        1 => DATA_ADDR.0.wrapping_add_signed((tape.u8() as i8).into()),
        2 => (DATA_ADDR.0 + DATA as u64).wrapping_add_signed((tape.u8() as i8).into()),
        _ => DATA_ADDR.0 + 16 * tape.below(DATA / 16) as u64,
    }
}

/// A number at most a few steps away, or any.
fn near(word: u16, tape: &mut Tape<'_>) -> u16 {
    match tape.u8() {
        0 => tape.u16(),
        1 => word ^ 0x8000,
        step => word.wrapping_add_signed((step as i8).into()),
    }
}
