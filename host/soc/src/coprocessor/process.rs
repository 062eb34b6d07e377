//! This process as the coprocessor: it works the rings, and executes nothing of what Linux loads.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_os::Lent;
use sidecore_rpmsg::Name;
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_vhost_user::{Channel, Serve, Serving, Talk};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::resource_table::{Entry, Table, vdev};

use super::{Core, Turn};
use crate::image::{TABLE, TABLE_LEN, TRACE, TRACE_LEN};
use crate::soc::{Event, offset};

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

pub(crate) struct Process {
    memory: Arc<Lent>,
    channels: Vec<Channel>,
    crasher: Crasher,
    running: Option<Running>,
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

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process {
    pub(crate) fn new(memory: &Arc<Lent>, channels: Vec<Channel>, crasher: Crasher) -> Self {
        Self { memory: Arc::clone(memory), channels, crasher, running: None, kicks: Rc::default() }
    }

    /// Works its rings for a while.
    fn work(&mut self, tell: &mut dyn FnMut(Event)) -> Turn {
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
            Ok(more) => Turn { kicks: self.kicks.take(), more, ..Turn::default() },
            Err(error) => {
                running.link = None;
                tell(Event::Broken { why: error.to_string() });
                Turn::default()
            }
        }
    }
}

impl Core for Process {
    /// Begins anew, as firmware at its entry point: says so in the trace, and finds the table that Linux loaded.
    fn start(&mut self, count: u32, _: &mut dyn FnMut(Event)) {
        self.kicks.set(0);
        let region = self.memory.region();
        let trace = format!("coprocessor: start {count}\n\0");
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
        let talk = Talk::new(&mut self.channels);
        self.running = Some(Running { vdev, talk, link: None, crashed: false });
    }

    fn stop(&mut self, _: &mut dyn FnMut(Event)) -> bool {
        self.running.take().is_some()
    }

    fn turn(&mut self, _: u32, tell: &mut dyn FnMut(Event)) -> Turn {
        let turn = self.work(tell);
        let crashed = self.crasher.take() && self.running.is_some();
        if let Some(running) = self.running.as_mut().filter(|_| crashed) {
            running.crashed = true;
            tell(Event::Crashed { why: "a message told it to".to_owned() });
        }
        // What Linux sends is taken at once: the rings have it.
        Turn { taken: u32::MAX, crashed, ..turn }
    }

    fn idle(&mut self, _: &mut dyn FnMut(Event)) {}
}

fn bring_up(
    memory: &Arc<Lent>,
    registers: &table::Device<Arc<Lent>>,
    channels: usize,
    kicks: &Rc<Cell<u32>>,
) -> Result<Serving<Link>, String> {
    let mut map = AddressMap::<_, 1>::new();
    let start = DeviceAddr(u64::from(crate::soc::RAM.start));
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

    /// A coprocessor with the memory that its firmware lies in.
    fn coprocessor() -> Process {
        let memory = memory(0x1000_4000);
        memory.region().write(offset(TABLE), &crate::image()[0xcc..0xcc + TABLE_LEN]).unwrap();
        Process::new(&memory, Vec::new(), Crasher::default())
    }

    #[test]
    fn firmware_begins_with_its_trace_and_finds_its_device() {
        let mut coprocessor = coprocessor();
        coprocessor.start(1, &mut |_| ());
        let mut trace = [0; 24];
        coprocessor.memory.region().read(offset(TRACE), &mut trace).unwrap();
        assert_eq!(&trace[..23], b"coprocessor: start 1\n\0\0");
        assert!(coprocessor.running.as_ref().unwrap().vdev.is_some());
        // Linux has not said that its driver is ready.
        assert_eq!(coprocessor.turn(0, &mut |_| ()), Turn { taken: u32::MAX, ..Turn::default() });
        assert!(coprocessor.stop(&mut |_| ()) && !coprocessor.stop(&mut |_| ()));
    }

    #[test]
    fn a_crash_is_told_once_and_ends_all_work() {
        let mut coprocessor = coprocessor();
        coprocessor.start(1, &mut |_| ());
        coprocessor.crasher.crash();
        let mut events = Vec::new();
        let crashes: Vec<bool> =
            (0..3).map(|_| coprocessor.turn(0, &mut |event| events.push(event)).crashed).collect();
        assert_eq!((crashes, events.len()), (vec![true, false, false], 1));
        // One that does not run has nothing to crash.
        coprocessor.stop(&mut |_| ());
        coprocessor.crasher.crash();
        assert!(!coprocessor.turn(0, &mut |_| ()).crashed);
    }

    #[test]
    fn rings_that_lie_nowhere_break_the_link_alone() {
        let mut coprocessor = coprocessor();
        coprocessor.start(1, &mut |_| ());
        // DRIVER_OK, with the rings at no address. The device's entry is the first one.
        let mut table = [0; TABLE_LEN];
        coprocessor.memory.region().read(offset(TABLE), &mut table).unwrap();
        let entry = Table::parse(&table).unwrap().entries().flatten().next().unwrap().offset as usize;
        coprocessor.memory.region().write(offset(TABLE) + entry + vdev::offset::STATUS, &[7]).unwrap();
        let mut events = Vec::new();
        for _ in 0..3 {
            coprocessor.turn(0, &mut |event| events.push(event));
        }
        assert!(matches!(events[..], [Event::Broken { .. }]), "{events:?}");
    }
}
