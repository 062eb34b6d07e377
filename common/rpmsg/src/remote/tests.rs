extern crate std;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use sidecore_mem::{AddressMap, DeviceAddr, Memory, Region};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::{EVENT_IDX, F_NS};
use sidecore_wire::resource_table::Vring;
use sidecore_wire::split::{AVAIL_NO_INTERRUPT, DESC_WRITE, Layout};

use super::*;
use crate::link::Link;
use crate::{Event, Header, Rpmsg, Slot};

const NUM: u16 = 4;
const ALIGN: u32 = 16;
const SIZE: usize = 64;
const BASE: u64 = 0x4000_0000;
const RINGS: [usize; 2] = [0, 0x200];
const BUFFERS: [usize; 2] = [0x400, 0x500];
const TURNS: u32 = 70_000;

/// A driver that goes its own way: it keeps its buffers where they are, and never touches an event index.
struct Foreign {
    memory: Region,
    layout: Layout,
    available: [u16; 2],
    used: [u16; 2],
}

impl Foreign {
    /// Rings filled as other stacks fill them; `credits`: transmit buffers are handed over as used ones, and marked
    /// writable as all others are.
    fn new(credits: bool) -> Self {
        let memory: &'static Memory<0x600> = Box::leak(Box::default());
        let layout = Layout::new(NUM, ALIGN).unwrap();
        let mut driver = Self { memory: memory.region(), layout, available: [0; 2], used: [0; 2] };
        for id in 0..NUM {
            driver.describe(0, id, DESC_WRITE);
            driver.offer(0, id);
            driver.describe(1, id, if credits { DESC_WRITE } else { 0 });
            if credits {
                let element = RINGS[1] + driver.layout.used_ring() as usize + 8 * usize::from(id);
                driver.memory.store(element, u32::from(id)).unwrap();
                driver.memory.store(element + 4, SIZE as u32).unwrap();
                driver.store(1, driver.layout.used_index(), id + 1);
            }
        }
        driver
    }

    fn describe(&self, queue: usize, id: u16, flags: u16) {
        let at = RINGS[queue] + 16 * usize::from(id);
        self.memory.store(at, BASE + self.buffer(queue, id) as u64).unwrap();
        self.memory.store(at + 8, SIZE as u32).unwrap();
        self.memory.store(at + 12, flags).unwrap();
    }

    fn buffer(&self, queue: usize, id: u16) -> usize {
        BUFFERS[queue] + SIZE * usize::from(id)
    }

    fn offer(&mut self, queue: usize, id: u16) {
        let at = self.layout.available_ring() + 2 * u32::from(self.available[queue] % NUM);
        self.store(queue, at, id);
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.store(queue, self.layout.available_index(), self.available[queue]);
    }

    fn take_used(&mut self, queue: usize) -> Option<u16> {
        if self.load(queue, self.layout.used_index()) == self.used[queue] {
            return None;
        }
        let at = RINGS[queue] + self.layout.used_ring() as usize + 8 * usize::from(self.used[queue] % NUM);
        self.used[queue] = self.used[queue].wrapping_add(1);
        Some(self.memory.load::<u32>(at).unwrap() as u16)
    }

    /// Sends `payload` in a buffer that is free or has come back.
    fn send(&mut self, id: u16, payload: u32) {
        let header = Header { src: 7, dst: 9, reserved: 0xdead_beef, len: 4, flags: 0 };
        let at = self.buffer(1, id);
        self.memory.write(at, &header.emit()).unwrap();
        self.memory.write(at + Header::SIZE, &payload.to_le_bytes()).unwrap();
        self.offer(1, id);
    }

    /// Takes the answer and gives its buffer back.
    fn receive(&mut self) -> Option<u32> {
        let id = self.take_used(0)?;
        let at = self.buffer(0, id);
        let header = Header::parse(&self.memory.read_array(at).unwrap());
        assert_eq!((header.src, header.dst, header.len), (9, 7, 4));
        let payload = u32::from_le_bytes(self.memory.read_array(at + Header::SIZE).unwrap());
        self.offer(0, id);
        Some(payload)
    }

    fn load(&self, queue: usize, at: u32) -> u16 {
        self.memory.load(RINGS[queue] + at as usize).unwrap()
    }

    fn store(&self, queue: usize, at: u32, value: u16) {
        self.memory.store(RINGS[queue] + at as usize, value).unwrap();
    }

    fn map(&self) -> AddressMap<(), 8> {
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(BASE), self.memory.clone()).unwrap();
        map
    }
}

fn vring(queue: usize) -> Vring {
    let da = BASE as u32 + RINGS[queue] as u32;
    Vring { da, align: ALIGN, num: NUM.into(), notifyid: queue as u32, ..Vring::default() }
}

fn kicks() -> (Rc<RefCell<Vec<u16>>>, impl Fn(u16)) {
    let kicks = Rc::new(RefCell::new(Vec::new()));
    let ours = kicks.clone();
    (kicks, move |queue| ours.borrow_mut().push(queue))
}

fn cancelled() -> Vec<Cell<u16>> {
    vec![Cell::new(0); usize::from(NUM)]
}

/// Answers the next message with what is in it.
fn echo<L: Link>(rpmsg: &Rpmsg<L, Vec<Slot>>) {
    let Some(Event::Message(message)) = rpmsg.poll().unwrap() else { panic!("no message") };
    let mut payload = [0; 4];
    message.read(0, &mut payload).unwrap();
    message.reply(&payload).unwrap();
}

#[test]
fn a_driver_without_registers_is_served_for_all_that_its_flags_say() {
    let mut driver = Foreign::new(true);
    for queue in 0..2 {
        driver.store(queue, driver.layout.available_flags(), AVAIL_NO_INTERRUPT);
    }
    let (kicks, notify) = kicks();
    let link = attach_bare([vring(0), vring(1)], driver.map(), cancelled(), notify).unwrap();
    let rpmsg = Rpmsg::new(link, vec![Slot::new(); 1]);
    rpmsg.open(9, 7).unwrap();
    for turn in 0..TURNS {
        let credit = driver.take_used(1).expect("a transmit buffer");
        driver.send(credit, turn);
        echo(&rpmsg);
        assert_eq!(kicks.take(), [FROM_DEVICE], "turn {turn}");
        assert_eq!(driver.receive(), Some(turn));
    }
    assert_eq!(
        (0..=NUM).filter_map(|_| driver.take_used(1)).count(),
        usize::from(NUM),
        "all credits are there"
    );
}

#[test]
fn the_rings_of_a_driver_without_registers_must_be_somewhere() {
    let driver = Foreign::new(true);
    let nowhere = Vring { da: 0x10, ..vring(1) };
    let error = attach_bare([vring(0), nowhere], driver.map(), cancelled(), |_: u16| {}).err().unwrap();
    assert!(matches!(error, AttachError::PeerRingAddress { queue: TO_DEVICE, .. }), "{error}");
}

/// A vdev whose driver accepts all that is offered and has reached `status`.
fn vdev(status: u8) -> table::Device {
    let memory: &'static Memory<256> = Box::leak(Box::default());
    let entry = memory.region();
    for (at, value) in [(0, 3), (4, 7), (12, (F_NS | EVENT_IDX) as u32), (16, (F_NS | EVENT_IDX) as u32)] {
        entry.store(at, value).unwrap();
    }
    entry.store(25, 2_u8).unwrap();
    for queue in 0..2 {
        entry.write(28 + 20 * queue, &vring(queue).emit()).unwrap();
    }
    let vdev = table::Device::new(&entry, 0).unwrap();
    entry.store(24, status).unwrap();
    assert_eq!(vdev.poll(), Change::Started);
    vdev
}

#[test]
fn a_driver_that_skipped_the_negotiation_is_not_held_to_the_event_index() {
    // DRIVER_OK alone.
    let vdev = vdev(0x04);
    let mut driver = Foreign::new(false);
    let (kicks, notify) = kicks();
    let (link, features) = attach(&vdev, driver.map(), cancelled(), |_| notify).unwrap();
    assert_eq!(features, F_NS | EVENT_IDX);
    let rpmsg = Rpmsg::new(link, vec![Slot::new(); 1]);
    rpmsg.open(9, 7).unwrap();
    for turn in 0..TURNS {
        driver.send((turn % u32::from(NUM)) as u16, turn);
        echo(&rpmsg);
        assert!(kicks.take().contains(&FROM_DEVICE), "turn {turn}");
        assert_eq!(driver.receive(), Some(turn));
        assert!(driver.take_used(1).is_some());
        assert!(!rpmsg.link().arm());
        // Whether it minds the flag or the event, it finds that we want to be kicked for its next frame.
        assert_eq!(driver.load(1, driver.layout.used_flags()), 0);
        assert_eq!(driver.load(1, driver.layout.available_event()), driver.available[1]);
    }
}

#[test]
fn a_driver_that_negotiated_the_event_index_is_held_to_it() {
    // ACKNOWLEDGE, DRIVER and DRIVER_OK, as Linux leaves it.
    let vdev = vdev(0x07);
    let mut driver = Foreign::new(false);
    let (kicks, notify) = kicks();
    let (link, _) = attach(&vdev, driver.map(), cancelled(), |_| notify).unwrap();
    let rpmsg = Rpmsg::new(link, vec![Slot::new(); 1]);
    rpmsg.open(9, 7).unwrap();
    for turn in 0..2 {
        driver.send(turn as u16, turn);
        echo(&rpmsg);
        let asked = turn == 0;
        assert_eq!(kicks.take().contains(&FROM_DEVICE), asked, "the event index still says 0");
        assert_eq!(driver.receive(), Some(turn));
    }
}
