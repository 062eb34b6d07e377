//! A test bench: a platform without a machine, and the main side that does something whenever the remote sleeps.

extern crate std;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use sidecore_mem::{AddressMap, DeviceAddr, MapError, Memory, Region};
use sidecore_rpmsg::host::{HostLink, UNDERSTOOD, bring_up};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::{Announcement, Endpoint, Event, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::{DriverTransport, table};
use sidecore_wire::features::{EVENT_IDX, F_NS};
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::resource_table::vring;
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

use crate::image::start;
use crate::platform::{Misbehaviour, Platform};
use crate::{Machine, Remote, Resources, Rpmsg as Device};

/// Entries of each ring.
pub(crate) const NUM: u16 = 4;
const SIZE: u32 = 128;
const BASE: u64 = 0x2000_0000;
const ALIGN: u32 = 64;

const RESOURCES: Resources = Resources::new()
    .rpmsg(Device { to_host: NUM, to_remote: NUM, features: F_NS | EVENT_IDX, align: ALIGN, buffers: None })
    .carveout("frames", 64);
const TABLE_LEN: usize = RESOURCES.table_len();

type Host = Rpmsg<HostLink<Vec<split::Slot>, Box<dyn Fn(u16)>, ()>, Vec<Slot>>;

/// The main side, from its driver upwards.
pub(crate) struct Main {
    table: Region,
    memory: Region,
    driver: table::Driver,
    pub(crate) host: Option<Host>,
    /// Everything that came and was not looked at: channels and messages.
    pub(crate) announced: VecDeque<Announcement>,
    pub(crate) received: VecDeque<(Endpoint, Vec<u8>)>,
}

impl Main {
    fn new(table: Region, memory: Region) -> Self {
        let driver = table::Driver::new(&table, RESOURCES.rpmsg_at().unwrap()).unwrap();
        Self { table, memory, driver, host: None, announced: VecDeque::new(), received: VecDeque::new() }
    }

    fn ring(index: u64) -> u64 {
        BASE + 1024 * index
    }

    fn pool(index: u64) -> u64 {
        BASE + 2048 + 1024 * index
    }

    fn at(&self, addr: u64, len: usize) -> Region {
        self.memory.slice((addr - BASE) as usize, len).unwrap()
    }

    /// Places the rings and brings the device up. A kick reaches the remote in any case: it looks when it can.
    pub(crate) fn start(&mut self) {
        self.start_with(UNDERSTOOD);
    }

    pub(crate) fn start_with(&mut self, understood: u64) {
        for index in [0, 1] {
            self.set_ring(index, vring::offset::DA, Self::ring(index as u64) as u32);
        }
        let frames = RESOURCES.table_len() - 56 + 4;
        self.table.store(frames, (BASE + 4096) as u32).unwrap();
        self.memory.clear(0, 2048).unwrap();
        let layout = Layout::new(NUM, ALIGN).unwrap();
        let rings = [0, 1].map(|i| Parts::contiguous(&self.at(Self::ring(i), 1024), &layout).unwrap());
        let slots = [(); 2].map(|()| vec![split::Slot::default(); usize::from(NUM)]);
        let buffers = [0, 1].map(|i| Buffers {
            region: self.at(Self::pool(i), 1024),
            addr: DeviceAddr(Self::pool(i)),
            size: SIZE,
        });
        let kick: Box<dyn Fn(u16)> = Box::new(|_| ());
        let (link, _) = bring_up(&self.driver, understood, rings, slots, buffers, kick).unwrap();
        self.host = Some(Rpmsg::new(link, vec![Slot::new(); 8]));
    }

    /// Changes a field of a ring's entry in the table.
    pub(crate) fn set_ring(&self, index: usize, field: usize, value: u32) {
        let entry = RESOURCES.rpmsg_at().unwrap() + offset::VRINGS;
        self.table.store(entry + vring::SIZE * index + field, value).unwrap();
    }

    /// Takes the device back, in silence as Linux does.
    pub(crate) fn reset(&mut self) {
        self.driver.set_status(Status::RESET);
        self.host = None;
        self.announced.clear();
        self.received.clear();
    }

    pub(crate) fn status(&self) -> Status {
        self.driver.status()
    }

    /// Breaks the rules: makes an index of the ring to the remote jump.
    pub(crate) fn break_ring(&self) {
        let index = (Self::ring(1) - BASE) as usize + 16 * usize::from(NUM) + 2;
        self.memory.store(index, 0x7777_u16).unwrap();
    }

    /// Takes everything that came.
    pub(crate) fn collect(&mut self) {
        let Some(host) = &self.host else { return };
        while let Some(event) = host.poll().unwrap() {
            match event {
                Event::Announcement(announcement) => self.announced.push_back(announcement),
                Event::Message(message) => {
                    let mut bytes = vec![0; message.len()];
                    message.read(0, &mut bytes).unwrap();
                    self.received.push_back((message.endpoint(), bytes));
                }
            }
        }
    }

    /// An endpoint for the next channel that the remote announces under this name, if it has done so.
    pub(crate) fn probe(&mut self, name: &str) -> Option<Endpoint> {
        self.collect();
        let found = self.announced.iter().position(|announcement| {
            announcement.name.as_bytes() == name.as_bytes() && !announcement.is_destroy()
        })?;
        let announcement = self.announced.remove(found)?;
        let host = self.host.as_ref()?;
        Some(host.open(sidecore_rpmsg::ADDR_ANY, announcement.addr).unwrap())
    }

    pub(crate) fn send(&self, endpoint: Endpoint, bytes: &[u8]) {
        self.host.as_ref().expect("the device is up").send(endpoint, bytes).unwrap();
    }
}

/// What the main side does each time the remote sleeps.
type Script = Box<dyn FnMut(&mut Main)>;

/// A machine that sleeps by letting the main side act, for a millisecond each time. A script that leaves the remote
/// asleep for long fails the test, for on a real machine that would be a hang.
pub(crate) struct Bench {
    main: Rc<RefCell<Main>>,
    script: RefCell<Script>,
    ticks: Cell<u64>,
    waits: Cell<u32>,
    memory: Region,
}

const MILLISECOND: u64 = 1_000_000;
const PATIENCE: u64 = 10;

impl Platform for Bench {
    fn ring(&self, notify_id: u32) {
        assert!([1, 2].contains(&notify_id), "the notify ids are those of the table");
    }

    fn wait(&self, until: Option<u64>, ready: &mut dyn FnMut() -> bool) {
        self.waits.set(self.waits.get() + 1);
        assert!(self.waits.get() < 100_000, "the remote waits for ever");
        if ready() {
            return;
        }
        (self.script.borrow_mut())(&mut self.main.borrow_mut());
        let next = self.ticks.get() + MILLISECOND;
        self.ticks.set(until.map_or(next, |until| until.min(next).max(self.ticks.get())));
    }

    fn patience(&self) -> u64 {
        PATIENCE
    }

    fn now(&self) -> u64 {
        // Time goes by while one looks at it, or nobody would ever lose patience.
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    fn ticks_per_second(&self) -> u64 {
        1000 * MILLISECOND
    }

    fn arm_watchdog(&self, _period: Duration) {}

    fn feed_watchdog(&self) {}

    fn shared<const N: usize>(&self, map: &mut AddressMap<(), N>) -> Result<(), MapError> {
        map.insert(DeviceAddr(BASE), self.memory.clone())
    }

    fn exit(&self, code: i32) -> ! {
        panic!("exit {code}")
    }

    fn misbehave(&self, how: Misbehaviour) -> ! {
        panic!("{how:?}")
    }

    fn halt(record: &str) -> ! {
        panic!("{record}")
    }
}

/// Runs a firmware against a script of the main side; gives what it returned, and the main side.
pub(crate) fn run<T>(
    firmware: impl for<'s> FnOnce(Remote<'s, Bench>) -> T,
    script: impl FnMut(&mut Main) + 'static,
) -> (T, Rc<RefCell<Main>>) {
    let table: &'static Memory<512> = Box::leak(Box::default());
    let table = table.region().slice(0, TABLE_LEN).unwrap();
    table.write(0, &RESOURCES.table::<TABLE_LEN>()).unwrap();
    let memory: &'static Memory<8192> = Box::leak(Box::default());
    let memory = memory.region();
    let main = Rc::new(RefCell::new(Main::new(table.clone(), memory.clone())));
    let platform = Bench {
        main: main.clone(),
        script: RefCell::new(Box::new(script)),
        ticks: Cell::new(0),
        waits: Cell::new(0),
        memory,
    };
    let machine = Machine::new(platform);
    const N: usize = NUM as usize;
    let result = start::<_, _, N, N>(&machine, &table, RESOURCES.rpmsg_at(), firmware);
    (result, main)
}

/// A machine with nobody on the other side.
pub(crate) fn alone<T>(firmware: impl for<'s> FnOnce(Remote<'s, Bench>) -> T) -> T {
    run(firmware, |_| ()).0
}

/// A message's payload as text.
pub(crate) fn text(message: &crate::Message<'_, '_, Bench>) -> String {
    let mut bytes = [0; SIZE as usize];
    String::from_utf8(message.copy_to(&mut bytes).unwrap().to_vec()).unwrap()
}
