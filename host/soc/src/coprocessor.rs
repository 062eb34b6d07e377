//! The coprocessor: this process, as Linux' `stm32_rproc` starts, stops and resets it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_os::{Lent, Registers};
use sidecore_rpmsg::Name;
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_vhost_user::{Channel, Serve, Serving, Talk};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::resource_table::{Entry, Table, vdev};

use crate::image::{TABLE, TABLE_LEN, TRACE, TRACE_LEN};
use crate::soc::{Event, RAM};

/// The register of the system controller by which Linux says start and stop, and is answered.
const POWER: usize = 0x14;
/// Its values: Linux writes the first two, we make the others of them.
const START: u32 = 0;
const STOP: u32 = 1;
const STARTED: u32 = 2;
const STOPPED: u32 = 3;

/// The registers by which firmware that runs already tells Linux so: where its table lies, and the state of the core.
const TABLE_AT: usize = 0x144;
const CORE: usize = 0x148;
/// The core runs.
const CORE_RUNS: u32 = 2;

type Link = RemoteLink<Box<dyn Fn(u16)>, Box<[Cell<u16>]>, Arc<Lent>, 1>;

/// Has a coprocessor crash, from any thread: its watchdog tells Linux. A service of it is the channel that does so when a
/// message comes.
#[derive(Clone, Debug, Default)]
pub struct Crasher(Arc<AtomicBool>);

impl Crasher {
    /// Lets it crash, soon.
    pub fn crash(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Serve for Crasher {
    fn receive(&mut self, _: &[u8], _: &mut Vec<u8>) -> bool {
        self.crash();
        false
    }
}

/// The channels that a coprocessor has by itself: echoes for Linux' drivers and for whoever opens an endpoint, a sink, and
/// `rpmsg-crash`, at which any message has it crash.
#[must_use]
pub fn channels(crasher: &Crasher) -> Vec<Channel> {
    let services = ["raw", "tty", "echo", "discard"];
    let mut channels: Vec<Channel> = services.iter().filter_map(|name| name.parse().ok()).collect();
    let crasher = crasher.clone();
    let name = Name::new("rpmsg-crash").expect("channels can have that name");
    channels.push(Channel::new(name, move || Box::new(crasher.clone())));
    channels
}

pub(crate) struct Coprocessor {
    memory: Arc<Lent>,
    system: Registers,
    reset: Registers,
    channels: Vec<Channel>,
    running: Option<Running>,
    /// How often it was started.
    starts: u32,
    /// Kicks of the link, one bit for each channel of the mailbox, which has the number of the ring.
    kicks: Rc<Cell<u32>>,
}

/// What it has while it runs.
struct Running {
    vdev: Option<table::Device<Arc<Lent>>>,
    talk: Talk,
    link: Option<Serving<Link>>,
    /// It crashed: it does nothing more.
    crashed: bool,
}

/// What a turn came to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Turn {
    /// The channels to be kicked, one bit each.
    pub(crate) kicks: u32,
    /// There is more to do.
    pub(crate) more: bool,
}

impl fmt::Debug for Coprocessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coprocessor").field("starts", &self.starts).finish_non_exhaustive()
    }
}

impl Coprocessor {
    pub(crate) fn new(
        memory: &Arc<Lent>,
        system: Registers,
        reset: Registers,
        channels: Vec<Channel>,
    ) -> Self {
        system.store(POWER, STOPPED);
        Self {
            memory: Arc::clone(memory),
            system,
            reset,
            channels,
            running: None,
            starts: 0,
            kicks: Rc::default(),
        }
    }

    /// Runs before Linux does, as firmware that a boot loader started.
    pub(crate) fn run_early(&mut self) {
        // It is in the memory, whose size is ours.
        let _ = self.memory.region().write(offset(TABLE), &crate::image::table());
        self.system.store(TABLE_AT, TABLE);
        self.system.store(CORE, CORE_RUNS);
        self.system.store(POWER, STARTED);
        self.starts += 1;
        self.running = Some(self.boot());
    }

    /// Follows Linux' orders; whether it was reset.
    pub(crate) fn obey(&mut self, tell: &mut dyn FnMut(Event)) -> bool {
        // Power first, then reset: Linux resets, then starts, and a start must not be undone by the reset before it.
        let power = self.system.load(POWER);
        let was_reset = self.reset.load(0) & 1 != 0;
        if was_reset {
            // It clears itself.
            self.reset.store(0, 0);
            self.running = None;
        }
        match power {
            START if self.system.replace(POWER, START, STARTED) => {
                self.starts += 1;
                self.running = Some(self.boot());
                tell(Event::Started { count: self.starts });
            }
            STOP if self.system.replace(POWER, STOP, STOPPED) && self.running.take().is_some() => {
                tell(Event::Stopped);
            }
            _ => {}
        }
        was_reset
    }

    /// Works its rings for a while.
    pub(crate) fn turn(&mut self, tell: &mut dyn FnMut(Event)) -> Turn {
        let Some(running) = self.running.as_mut().filter(|running| !running.crashed) else {
            return Turn::default();
        };
        let Some(registers) = &running.vdev else { return Turn::default() };
        match registers.poll() {
            Change::Started => match bring_up(&self.memory, registers, self.channels.len(), &self.kicks) {
                Ok(serving) => {
                    running.talk = Talk::new(&mut self.channels);
                    running.link = Some(serving);
                }
                Err(why) => tell(Event::Broken { why }),
            },
            Change::Reset | Change::Failed => running.link = None,
            _ => {}
        }
        let Some(serving) = &running.link else { return Turn::default() };
        match serving.turn(&mut running.talk) {
            Ok(more) => Turn { kicks: self.kicks.take(), more },
            Err(error) => {
                running.link = None;
                tell(Event::Broken { why: error.to_string() });
                Turn::default()
            }
        }
    }

    /// Stops doing anything, as firmware that crashed.
    pub(crate) fn crash(&mut self) {
        if let Some(running) = &mut self.running {
            running.crashed = true;
        }
    }

    /// Begins anew, as firmware at its entry point: says so in the trace, and finds the table that Linux loaded.
    fn boot(&mut self) -> Running {
        self.kicks.set(0);
        let region = self.memory.region();
        let trace = format!("coprocessor: start {}\n\0", self.starts);
        // Both are in the memory, whose size is ours.
        let _ = region.clear(offset(TRACE), TRACE_LEN);
        let _ = region.write(offset(TRACE), trace.as_bytes());
        let mut table = [0; TABLE_LEN];
        let _ = region.read(offset(TABLE), &mut table);
        let at = Table::parse(&table).ok().and_then(|table| {
            table.entries().flatten().find_map(|located| match located.entry {
                Entry::Vdev(entry) if entry.id == vdev::ID_RPMSG => Some(located.offset as usize),
                _ => None,
            })
        });
        let vdev = at.and_then(|at| table::Device::new(&region, offset(TABLE) + at).ok());
        Running { vdev, talk: Talk::new(&mut self.channels), link: None, crashed: false }
    }
}

/// Where a device address lies in the memory's file.
const fn offset(address: u32) -> usize {
    (address - RAM.start) as usize
}

fn bring_up(
    memory: &Arc<Lent>,
    registers: &table::Device<Arc<Lent>>,
    channels: usize,
    kicks: &Rc<Cell<u32>>,
) -> Result<Serving<Link>, String> {
    let mut map = AddressMap::<_, 1>::new();
    let start = DeviceAddr(u64::from(RAM.start));
    map.insert(start, memory.region()).map_err(|error| error.to_string())?;
    let num = registers.vring(0).map_err(|error| error.to_string())?.num.min(u32::from(u16::MAX)) as usize;
    let kicks = Rc::clone(kicks);
    let notify =
        |_| Box::new(move |queue: u16| kicks.set(kicks.get() | 1 << (queue & 1))) as Box<dyn Fn(u16)>;
    let cancelled = vec![Cell::new(0); num].into_boxed_slice();
    let (link, _) = attach(registers, map, cancelled, notify).map_err(|error| error.to_string())?;
    Serving::new(link, channels).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soc::tests::memory;

    /// A coprocessor with the memory that its firmware lies in, and the two registers that Linux writes.
    fn coprocessor() -> (Coprocessor, Registers, Registers) {
        let memory = memory(0x1000_4000);
        memory.region().write(offset(TABLE), &crate::image()[0xcc..0xcc + TABLE_LEN]).unwrap();
        let registers = |at| Registers::new(&memory, at, 0x1000).unwrap();
        let (system, reset) = (registers(0), registers(0x1000));
        (Coprocessor::new(&memory, system.clone(), reset.clone(), Vec::new()), system, reset)
    }

    fn obey(coprocessor: &mut Coprocessor) -> (bool, Vec<Event>) {
        let mut events = Vec::new();
        let was_reset = coprocessor.obey(&mut |event| events.push(event));
        (was_reset, events)
    }

    #[test]
    fn orders_are_followed_and_acknowledged() {
        let (mut coprocessor, system, reset) = coprocessor();
        assert_eq!((obey(&mut coprocessor), system.load(POWER)), ((false, vec![]), STOPPED));
        system.store(POWER, START);
        assert_eq!(obey(&mut coprocessor), (false, vec![Event::Started { count: 1 }]));
        assert_eq!((obey(&mut coprocessor), system.load(POWER)), ((false, vec![]), STARTED));
        // Linux resets before it stops.
        reset.store(0, 1);
        system.store(POWER, STOP);
        assert_eq!(obey(&mut coprocessor), (true, vec![]));
        assert_eq!((system.load(POWER), reset.load(0)), (STOPPED, 0));
    }

    #[test]
    fn a_start_is_not_undone_by_the_reset_before_it() {
        let (mut coprocessor, system, reset) = coprocessor();
        system.store(POWER, START);
        obey(&mut coprocessor);
        // Stopped and started again between two looks.
        reset.store(0, 1);
        system.store(POWER, START);
        assert_eq!(obey(&mut coprocessor), (true, vec![Event::Started { count: 2 }]));
        assert!(coprocessor.running.is_some());
    }

    #[test]
    fn firmware_begins_with_its_trace_and_finds_its_device() {
        let (mut coprocessor, system, _) = coprocessor();
        system.store(POWER, START);
        obey(&mut coprocessor);
        let mut trace = [0; 24];
        coprocessor.memory.region().read(offset(TRACE), &mut trace).unwrap();
        assert_eq!(&trace[..23], b"coprocessor: start 1\n\0\0");
        assert!(coprocessor.running.as_ref().unwrap().vdev.is_some());
        // Linux has not said that its driver is ready.
        assert_eq!(coprocessor.turn(&mut |_| ()).kicks, 0);
        coprocessor.crash();
        assert_eq!(coprocessor.turn(&mut |_| ()).kicks, 0);
    }

    #[test]
    fn rings_that_lie_nowhere_break_the_link_alone() {
        let (mut coprocessor, system, _) = coprocessor();
        system.store(POWER, START);
        obey(&mut coprocessor);
        // DRIVER_OK, with the rings at no address. The device's entry is the first one.
        let mut table = [0; TABLE_LEN];
        coprocessor.memory.region().read(offset(TABLE), &mut table).unwrap();
        let entry = Table::parse(&table).unwrap().entries().flatten().next().unwrap().offset as usize;
        coprocessor.memory.region().write(offset(TABLE) + entry + vdev::offset::STATUS, &[7]).unwrap();
        let mut events = Vec::new();
        for _ in 0..3 {
            coprocessor.turn(&mut |event| events.push(event));
        }
        assert!(matches!(events[..], [Event::Broken { .. }]), "{events:?}");
    }
}
