//! A simulated remote: firmware as an object that is stepped from `wait`, in one thread and in the same order every
//! time. For tests of what stands on a backend.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sidecore_mem::{DeviceAddr, MapError, Region};
use sidecore_os::{Mapping, SharedMemory};
use sidecore_remoteproc::{Backend, BackendError, Boot, Crash, Doorbell, Event, Memory, MemoryMap};

use crate::room::{find_room, place_again};
use crate::{JOURNAL_SIZE, Kind};

/// The simulation's row in the table of kinds.
pub const KIND: Kind = Kind { name: "sim", help: "firmware as an object in the same process, for tests" };

/// Bytes that a simulated remote may have in all.
const MEMORY_LIMIT: u64 = 4 << 30;
/// Steps that one `wait` lets firmware make without ringing, so that firmware which only works does not keep its caller
/// for ever.
const STEPS_PER_WAIT: u32 = 1 << 16;

/// What a simulated remote runs. Closures are firmware.
pub trait Firmware {
    /// Does a little work on the remote's memory and says how it goes on.
    fn step(&mut self, remote: &mut Remote<'_>) -> Step;
}

impl<F: FnMut(&mut Remote<'_>) -> Step> Firmware for F {
    fn step(&mut self, remote: &mut Remote<'_>) -> Step {
        self(remote)
    }
}

/// How firmware goes on after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// With the next step.
    Work,
    /// When somebody rings. If somebody has since the step began, that is at once.
    Sleep,
    /// Not at all: it exits with this code.
    Exit(i32),
    /// Not at all: it crashes like this.
    Crash(Crash),
}

/// What firmware sees of its machine during a step.
#[derive(Debug)]
pub struct Remote<'a> {
    /// Its memory, by device address.
    pub memories: &'a MemoryMap<Arc<Mapping>>,
    /// How it was started.
    pub boot: &'a Boot,
    /// Steps since then, this one not counted.
    pub steps: u64,
    /// The notify ids that the main side rang since the last step, each once, in ascending order.
    pub rung: BTreeSet<u32>,
    /// Set by firmware to ring the main side.
    pub ring: bool,
}

/// A simulated remote.
pub struct Sim {
    firmware: Box<dyn Firmware>,
    state: State,
    memories: MemoryMap<Arc<Mapping>>,
    journal: Option<Region<Arc<Mapping>>>,
    keeps_journal: bool,
    /// Names, addresses and lengths of the memories.
    spans: Vec<(String, DeviceAddr, u64)>,
    boot: Boot,
    bell: SimDoorbell,
    steps: u64,
    asleep: bool,
    /// It crashed, and its owner has started it since.
    restarted: bool,
    script: VecDeque<(u64, Event)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Offline,
    Prepared,
    Running,
    Halted,
    /// Without a main side: it stands still until somebody attaches.
    Detached,
}

impl Sim {
    /// A remote that will run this firmware.
    pub fn new(firmware: impl Firmware + 'static) -> Self {
        Self {
            firmware: Box::new(firmware),
            state: State::Offline,
            memories: MemoryMap::new(),
            journal: None,
            keeps_journal: false,
            spans: Vec::new(),
            boot: Boot { entry: DeviceAddr(0), table: None },
            bell: SimDoorbell::default(),
            steps: 0,
            asleep: false,
            restarted: false,
            script: VecDeque::new(),
        }
    }

    /// As it is, with a journal for main sides.
    #[must_use]
    pub fn with_journal(self) -> Self {
        Self { keeps_journal: true, ..self }
    }

    /// Has `event` come from `wait` instead of the firmware's next step, once that has made `steps` since a start. An
    /// exit or a crash halts the remote. Events come in the order in which they were put in; one that is late comes at
    /// once.
    pub fn inject(&mut self, steps: u64, event: Event) {
        self.script.push_back((steps, event));
    }

    /// Its main side died: it stands still until another one attaches.
    pub fn bereave(&mut self) {
        if self.state == State::Running {
            self.state = State::Detached;
        }
    }

    /// Its owner, who is not this main side, starts it anew after a crash: it stands still until somebody attaches.
    pub fn owner_starts(&mut self) {
        if self.state == State::Halted {
            (self.steps, self.asleep) = (0, false);
            self.bell.take();
            self.restarted = true;
        }
    }

    /// Whether it runs without a main side.
    pub fn is_bereft(&self) -> bool {
        self.state == State::Detached
    }

    fn expect_state(&self, operation: &'static str, expected: State) -> Result<(), BackendError> {
        if self.state == expected {
            return Ok(());
        }
        let state = match self.state {
            State::Offline => "offline",
            State::Prepared => "prepared",
            State::Running => "running",
            State::Halted => "halted",
            State::Detached => "detached",
        };
        Err(BackendError::WrongState { operation, state })
    }

    /// The scripted event that is due.
    fn scripted(&mut self) -> Option<Event> {
        let due = self.script.front().is_some_and(|(steps, _)| *steps <= self.steps);
        due.then(|| self.script.pop_front()).flatten().map(|(_, event)| event)
    }

    /// One step of the firmware, and what the main side gets to know of it.
    fn step(&mut self) -> Option<Event> {
        let rung = self.bell.take();
        let mut remote =
            Remote { memories: &self.memories, boot: &self.boot, steps: self.steps, rung, ring: false };
        let step = self.firmware.step(&mut remote);
        let kick = remote.ring.then_some(Event::Kick);
        self.steps += 1;
        let end = match step {
            Step::Work => return kick,
            Step::Sleep => {
                self.asleep = true;
                return kick;
            }
            Step::Exit(code) => Event::Exited { code },
            Step::Crash(crash) => Event::Crashed(crash),
        };
        match kick {
            None => Some(end),
            // What it rang for comes before its end.
            Some(kick) => {
                self.script.push_front((0, end));
                Some(kick)
            }
        }
    }
}

impl Backend for Sim {
    type Owner = Arc<Mapping>;
    type Doorbell = SimDoorbell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.expect_state("prepare", State::Offline)?;
        let mut taken: Vec<_> =
            memories.iter().filter_map(|memory| Some((memory.at?.0, memory.len))).collect();
        let mut map = MemoryMap::new();
        let mut addresses = Vec::new();
        let mut total = 0_u64;
        for memory in memories.iter() {
            let refuse = |reason: String| BackendError::MemoryRefused {
                name: memory.name.clone(),
                at: memory.at,
                len: memory.len,
                reason,
            };
            if !memory.align.is_power_of_two() {
                return Err(refuse(format!("its alignment {:#x} is no power of two", memory.align)));
            }
            total = total.saturating_add(memory.len);
            if total > MEMORY_LIMIT || memory.len == 0 {
                return Err(refuse(format!("not between 1 and {MEMORY_LIMIT} bytes in all")));
            }
            let at = memory.at.map(|at| at.0).or_else(|| find_room(&taken, memory.len, memory.align, 0));
            let at = DeviceAddr(at.ok_or_else(|| refuse("no room for it is left below 4 GiB".to_owned()))?);
            if memory.at.is_none() {
                taken.push((at.0, memory.len));
            }
            let len = usize::try_from(memory.len).map_err(|error| refuse(error.to_string()))?;
            let shared = SharedMemory::create("sidecore-sim", len).and_then(|shared| shared.map());
            let region = shared.map_err(|refused| refuse(refused.to_string()))?.region();
            let named = |error: MapError| BackendError::Memory { name: memory.name.clone(), error };
            map.insert(at, region).map_err(named)?;
            addresses.push(at);
        }
        memories.iter_mut().zip(&addresses).for_each(|(memory, at)| memory.at = Some(*at));
        let spans = memories.iter().zip(addresses);
        self.spans = spans.map(|(memory, at)| (memory.name.clone(), at, memory.len)).collect();
        if self.keeps_journal {
            let journal =
                SharedMemory::create("sidecore-journal", JOURNAL_SIZE).and_then(|shared| shared.map());
            self.journal = journal.ok().map(|mapping| mapping.region());
        }
        self.memories = map;
        self.state = State::Prepared;
        Ok(())
    }

    fn journal(&self) -> Option<Region<Self::Owner>> {
        self.journal.clone()
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        &self.memories
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.expect_state("start", State::Prepared)?;
        self.boot = boot.clone();
        (self.steps, self.asleep) = (0, false);
        self.bell.take();
        self.state = State::Running;
        Ok(())
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        if self.state != State::Halted {
            self.expect_state("stop", State::Running)?;
        }
        self.state = State::Prepared;
        Ok(())
    }

    fn unprepare(&mut self) {
        (self.memories, self.journal) = (MemoryMap::new(), None);
        self.state = State::Offline;
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        if !std::mem::take(&mut self.restarted) {
            self.expect_state("attach", State::Detached)?;
        }
        self.state = State::Running;
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        self.boot.table
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        place_again(&self.spans, memories)
    }

    fn detach(&mut self) -> Result<(), BackendError> {
        if self.state == State::Halted {
            return Ok(());
        }
        self.expect_state("detach", State::Running)?;
        self.state = State::Detached;
        Ok(())
    }

    fn doorbell(&self) -> Self::Doorbell {
        self.bell.clone()
    }

    /// Steps the firmware until something comes of it. A timeout is over when the firmware sleeps, or has made 65536
    /// steps without ringing: no time passes here.
    ///
    /// # Errors
    /// Without a timeout: the firmware sleeps, and nobody is left who could ring.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        self.expect_state("wait", State::Running)?;
        if ready() {
            return Ok(Some(Event::Kick));
        }
        for _ in 0..STEPS_PER_WAIT {
            let event = match self.scripted() {
                Some(event) => Some(event),
                None if self.asleep && !self.bell.is_rung() => break,
                None => {
                    self.asleep = false;
                    self.step()
                }
            };
            if matches!(event, Some(Event::Exited { .. } | Event::Crashed(_))) {
                self.state = State::Halted;
            }
            if event.is_some() {
                return Ok(event);
            }
        }
        if timeout.is_some() || !self.asleep {
            return Ok(None);
        }
        let operation = "wait for a simulated remote".to_owned();
        Err(BackendError::System { operation, reason: "it sleeps, and nobody can wake it".to_owned() })
    }
}

/// Rings a simulated remote.
#[derive(Clone, Debug, Default)]
pub struct SimDoorbell(Arc<Mutex<BTreeSet<u32>>>);

impl SimDoorbell {
    fn take(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_rung(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Doorbell for SimDoorbell {
    fn ring(&self, notify_id: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(notify_id);
    }
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::{Access, CrashKind};

    use super::*;

    const BOOT: Boot = Boot { entry: DeviceAddr(0x1000), table: None };

    /// Doubles the word at 0x1000 whenever it is rung, and exits with a hundred.
    fn doubler(remote: &mut Remote<'_>) -> Step {
        if remote.rung.is_empty() {
            return Step::Sleep;
        }
        let word = remote.memories.resolve(DeviceAddr(0x1000), 4).unwrap().word::<u32>(0).unwrap();
        remote.ring = true;
        match word.load() {
            100 => Step::Exit(7),
            value => {
                word.store(2 * value);
                Step::Sleep
            }
        }
    }

    fn started(firmware: impl Firmware + 'static) -> Sim {
        let mut sim = Sim::new(firmware);
        let at = Some(DeviceAddr(0x1000));
        let memory =
            Memory { name: "ram".to_owned(), at, len: 64, align: 4, access: Access::ReadWriteExecute };
        let placed =
            Memory { name: "ring".to_owned(), at: None, len: 64, align: 4096, access: Access::ReadWrite };
        let mut memories = [memory, placed];
        sim.prepare(&mut memories).unwrap();
        assert_eq!(memories[1].at, Some(DeviceAddr(0x2000_0000)));
        sim.start(&BOOT).unwrap();
        sim
    }

    fn next(sim: &mut Sim) -> Option<Event> {
        sim.wait(Some(Duration::from_secs(1)), &mut || false).unwrap()
    }

    #[test]
    fn firmware_answers_when_it_is_rung_and_exits_once() {
        let mut sim = started(doubler);
        let word = sim.memories().resolve(DeviceAddr(0x1000), 4).unwrap().word::<u32>(0).unwrap();
        assert_eq!(next(&mut sim), None);
        assert!(sim.wait(None, &mut || false).unwrap_err().to_string().contains("nobody can wake it"));
        word.store(21);
        sim.doorbell().ring(3);
        assert_eq!(next(&mut sim), Some(Event::Kick));
        assert_eq!(word.load(), 42);
        word.store(100);
        sim.doorbell().ring(3);
        assert_eq!(next(&mut sim), Some(Event::Kick), "what it rang for comes before its end");
        assert_eq!(next(&mut sim), Some(Event::Exited { code: 7 }));
        let over = sim.wait(None, &mut || false);
        assert_eq!(over, Err(BackendError::WrongState { operation: "wait", state: "halted" }));
        sim.stop().unwrap();
        sim.start(&BOOT).unwrap();
        assert_eq!(next(&mut sim), None);
    }

    #[test]
    fn scripted_events_come_at_their_step() {
        let crash = Crash { kind: CrashKind::Hang, signal: 9, pc: None, registers: None, allegation: None };
        let mut sim = started(|remote: &mut Remote<'_>| {
            remote.ring = remote.steps == 1;
            Step::Work
        });
        sim.inject(5, Event::Crashed(crash.clone()));
        assert_eq!(next(&mut sim), Some(Event::Kick));
        assert_eq!(next(&mut sim), Some(Event::Crashed(crash)));
    }

    #[test]
    fn firmware_that_only_works_does_not_keep_its_caller() {
        let mut sim = started(|_: &mut Remote<'_>| Step::Work);
        assert_eq!(sim.wait(None, &mut || false), Ok(None));
        assert_eq!(sim.wait(None, &mut || true), Ok(Some(Event::Kick)));
    }

    #[test]
    fn memories_that_overlap_leave_nothing_behind() {
        let mut sim = Sim::new(doubler);
        let memory = |at| Memory {
            name: "ram".to_owned(),
            at: Some(DeviceAddr(at)),
            len: 64,
            align: 4,
            access: Access::ReadWrite,
        };
        assert!(matches!(sim.prepare(&mut [memory(0), memory(63)]), Err(BackendError::Memory { .. })));
        assert_eq!(sim.memories().windows().count(), 0);
        sim.prepare(&mut [memory(0), memory(64)]).unwrap();
    }
}
