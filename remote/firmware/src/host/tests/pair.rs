//! Two cores: a host, and an ordinary remote that acts whenever the host sleeps.

extern crate std;

use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use sidecore_mem::{AddressMap, MapError, Memory};
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_rpmsg::{ADDR_ANY, Name};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::DeviceTransport as _;
use sidecore_wire::features::{EVENT_IDX, F_EPOCH, F_NS};

use crate::host::*;
use crate::platform::Misbehaviour;
use crate::{Resources, Rpmsg as Wanted};

/// Entries of each ring.
pub(super) const NUM: u16 = 4;
pub(super) const ALIGN: u32 = 64;
pub(super) const RESOURCES: Resources = Resources::new()
    .rpmsg(Wanted {
        to_host: NUM,
        to_remote: NUM,
        features: F_NS | F_EPOCH | EVENT_IDX,
        align: ALIGN,
        buffers: None,
    })
    .trace(64);
pub(super) const TABLE: [u8; RESOURCES.table_len()] = RESOURCES.table();
pub(super) const DEVICE: usize = RESOURCES.rpmsg_at().unwrap();
pub(super) const BASE: u64 = 0x2000_0000;
pub(super) const SIZE_MAX: usize = 496;

type Wire = RemoteLink<Box<dyn Fn(u16)>, Vec<Cell<u16>>, (), 2>;
pub(super) type HostOf<'m> = Host<'m, { NUM as usize }, Pair>;

/// The sibling: an ordinary remote that sends back what it gets.
pub(super) struct Other {
    pub(super) table: Region,
    pub(super) memory: Region,
    pub(super) vdev: table::Device,
    pub(super) rpmsg: Option<Rpmsg<Wire, Vec<Slot>>>,
}

impl Other {
    fn new(table: Region, memory: Region) -> Self {
        let vdev = table::Device::new(&table, DEVICE).unwrap();
        Self { table, memory, vdev, rpmsg: None }
    }

    /// Its processor was reset: it knows nothing, and its table is as it was.
    pub(super) fn restart(&mut self) {
        self.vdev = table::Device::new(&self.table, DEVICE).unwrap();
        self.rpmsg = None;
    }

    /// Its firmware was loaded again.
    pub(super) fn reload(&mut self) {
        self.table.write(0, &TABLE).unwrap();
        self.restart();
    }

    /// Looks at its device and its rings once, and sends back what is there.
    pub(super) fn turn(&mut self) {
        if self.rpmsg.is_none() {
            self.vdev.acknowledge();
        }
        match self.vdev.poll() {
            Change::Started => match self.attach() {
                Ok(rpmsg) => self.rpmsg = Some(rpmsg),
                Err(()) => self.vdev.set_needs_reset(),
            },
            Change::Reset | Change::Failed => self.rpmsg = None,
            _ => {}
        }
        self.answer();
    }

    /// Sends back what is in its rings, whatever became of its device.
    pub(super) fn answer(&mut self) {
        let Some(rpmsg) = &self.rpmsg else { return };
        let error = loop {
            match rpmsg.poll() {
                Ok(Some(Event::Message(message))) => {
                    let mut bytes = vec![0; message.len()];
                    message.read(0, &mut bytes).unwrap();
                    let (endpoint, src) = (message.endpoint(), message.src());
                    drop(message);
                    let _full_where_nobody_takes_them = rpmsg.send_to(endpoint, src, &bytes);
                }
                Ok(Some(Event::Announcement(_))) => {}
                Ok(None) => return,
                Err(error) => break error,
            };
        };
        match error {
            LinkError::Closed => self.vdev.start_over(),
            _ => self.vdev.set_needs_reset(),
        }
        self.rpmsg = None;
    }

    fn attach(&self) -> Result<Rpmsg<Wire, Vec<Slot>>, ()> {
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(BASE), self.memory.clone()).unwrap();
        let bell = |_| -> Box<dyn Fn(u16)> { Box::new(|_| ()) };
        let (link, _) = attach(&self.vdev, map, vec![Cell::new(0); usize::from(NUM)], bell).map_err(drop)?;
        link.disarm();
        let rpmsg = Rpmsg::new(link, vec![Slot::new(); 2]);
        let echo = rpmsg.open(ADDR_ANY, ADDR_ANY).unwrap();
        rpmsg.announce(echo, &Name::new("echo").unwrap()).map_err(drop)?;
        Ok(rpmsg)
    }

    /// Shows an element in the ring to the host that no remote would.
    pub(super) fn lie(&self, element: Option<[u32; 2]>, by: u16) {
        let used = used_index();
        let index: u16 = self.memory.load(used).unwrap();
        if let Some([head, len]) = element {
            let at = used + 2 + 8 * usize::from(index % NUM);
            self.memory.store(at, head).unwrap();
            self.memory.store(at + 4, len).unwrap();
        }
        self.memory.store(used, index.wrapping_add(by)).unwrap();
    }

    pub(super) fn status(&self) -> Status {
        self.vdev.status()
    }
}

/// Where the host places the used index of the ring from the sibling.
pub(super) fn used_index() -> usize {
    Layout::new(NUM, ALIGN).unwrap().used_flags() as usize + 2
}

pub(super) type Script = Box<dyn FnMut(&mut Other)>;

/// A machine with two cores, of which the other acts whenever the first sleeps, for a millisecond each time.
pub(super) struct Pair {
    other: Rc<RefCell<Other>>,
    pub(super) script: RefCell<Script>,
    ticks: Cell<u64>,
    pub(super) waits: Cell<u32>,
    pub(super) has_begun: Cell<bool>,
}

const MILLISECOND: u64 = 1_000_000;

impl Platform for Pair {
    fn ring(&self, _: u32) {
        panic!("there is no main side");
    }

    fn wait(&self, until: Option<u64>, ready: &mut dyn FnMut() -> bool) {
        self.waits.set(self.waits.get() + 1);
        assert!(self.waits.get() < 100_000, "the host waits for ever");
        if ready() {
            return;
        }
        (self.script.borrow_mut())(&mut self.other.borrow_mut());
        let next = self.ticks.get() + MILLISECOND;
        self.ticks.set(until.map_or(next, |until| until.min(next).max(self.ticks.get())));
    }

    fn patience(&self) -> u64 {
        0
    }

    fn now(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    fn ticks_per_second(&self) -> u64 {
        1000 * MILLISECOND
    }

    fn arm_watchdog(&self, _: Duration) {}

    fn feed_watchdog(&self) {}

    fn shared<const N: usize>(&self, _: &mut AddressMap<(), N>) -> Result<(), MapError> {
        Ok(())
    }

    fn sibling(&self) -> Option<Sibling> {
        let other = self.other.borrow();
        Some(Sibling { table: other.table.clone(), memory: other.memory.clone(), at: DeviceAddr(BASE) })
    }

    fn release_sibling(&self) {
        self.has_begun.set(true);
    }

    fn ring_sibling(&self) {}

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

/// A machine whose other core does this in every millisecond, and that other core.
pub(super) fn pair(script: impl FnMut(&mut Other) + 'static) -> (Machine<Pair>, Rc<RefCell<Other>>) {
    let table: &'static Memory<512> = Box::leak(Box::default());
    let memory: &'static Memory<8192> = Box::leak(Box::default());
    let table = table.region();
    table.write(0, &TABLE).unwrap();
    let other = Rc::new(RefCell::new(Other::new(table, memory.region())));
    let platform = Pair {
        other: Rc::clone(&other),
        script: RefCell::new(Box::new(script)),
        ticks: Cell::new(0),
        waits: Cell::new(0),
        has_begun: Cell::new(false),
    };
    (Machine::new(platform), other)
}
