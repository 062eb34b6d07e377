//! One schedule: lives of main sides, one after the other, until nothing is under way any more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use sidecore_backends::sim::Sim;
use sidecore_mem::mortal::{self, Death};
use sidecore_processor::{Endpoint, Event, Message, Options, Processor, SendError};
use sidecore_remoteproc::{Backend as _, Crash, CrashKind, Firmware, State};

use crate::clock::{Bell, Clock, Kicks, LOOK};
use crate::firmware::Talker;
use crate::image::image;
use crate::world::{CHANNELS, Survivor, World, channel};
use sidecore_sim::luck::Luck;

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) deaths: u64,
    pub(crate) resumed: u64,
    pub(crate) restarts: u64,
    pub(crate) messages: u64,
    pub(crate) repeated: u64,
    pub(crate) kicks: Kicks,
    pub(crate) fleet: crate::fleet::Tally,
    /// The traces of all schedules.
    pub(crate) trace: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, more: &Self) {
        self.deaths += more.deaths;
        self.resumed += more.resumed;
        self.restarts += more.restarts;
        self.messages += more.messages;
        self.repeated += more.repeated;
        self.kicks.add(more.kicks);
        self.fleet.add(&more.fleet);
        self.trace = self.trace.wrapping_add(more.trace);
    }
}

/// Runs the schedule of a seed. Answers its trace.
///
/// # Panics
/// A promise was broken.
pub(crate) fn run(seed: u64, tally: &mut Tally) -> u64 {
    let clock = Clock::default();
    let mut luck = Luck::new(seed);
    let world = Rc::new(RefCell::new(World::default()));
    let talker = Talker::new(Rc::clone(&world), Luck::new(luck.below(u64::MAX)));
    let sim = Rc::new(RefCell::new(Sim::new(talker).with_journal()));
    let bell = Bell::new(&clock, Luck::new(luck.below(u64::MAX)), sim.borrow().doorbell());
    let lives = 1 + luck.below(4);
    let mut is_running = false;
    for life in 0..=lives {
        let is_last = life == lives;
        // Early deaths are the more interesting ones: in the attach itself.
        let stores = if is_last {
            u64::MAX
        } else if luck.once_in(3) {
            luck.below(40)
        } else {
            luck.below(1500)
        };
        let survivor = Survivor::new(&sim, &clock, &bell, Some(Luck::new(luck.below(u64::MAX))));
        let luck = Luck::new(luck.below(u64::MAX));
        let mut one = Life { world: Rc::clone(&world), clock: &clock, bell: &bell, luck, tally };
        mortal::die_after(stores);
        let lived = catch_unwind(AssertUnwindSafe(|| one.live(survivor, is_running, is_last)));
        mortal::revive();
        match lived {
            Ok(left_running) => is_running = left_running,
            Err(panic) if panic.is::<Death>() => {
                tally.deaths += 1;
                clock.note(stores);
                world.borrow_mut().main_side_died();
                sim.borrow_mut().bereave();
                is_running = sim.borrow().is_bereft();
                if !is_running {
                    // It died before the remote ran; nobody can go on from there.
                    break;
                }
            }
            Err(panic) => resume_unwind(panic),
        }
    }
    let world = world.borrow();
    tally.messages +=
        world.to_remote.iter().chain(&world.to_main).map(|lane| lane.seen() as u64).sum::<u64>();
    tally.kicks.add(bell.kicks());
    clock.trace()
}

struct Life<'t> {
    world: Rc<RefCell<World>>,
    clock: &'t Clock,
    bell: &'t Bell,
    luck: Luck,
    tally: &'t mut Tally,
}

pub(crate) fn options() -> Options {
    Options { spin: Duration::ZERO, quiesce: Duration::ZERO, ..Options::new("sim") }
}

pub(crate) fn load(processor: &mut Processor<Survivor>) {
    let image = image();
    processor.load(&Firmware::parse(&image).expect("an ELF file")).expect("it can be loaded");
}

type Loan<'p> = (Message<'p, Survivor>, usize, usize);

impl Life<'_> {
    /// A whole life. Whether the remote runs on after it.
    fn live(&mut self, survivor: Survivor, is_running: bool, is_last: bool) -> bool {
        let options = options();
        let sim = Rc::clone(&survivor.sim);
        let mut processor = if is_running {
            let mut processor = Processor::detached(survivor, options);
            processor.attach(None).expect("it runs");
            processor
        } else {
            let mut processor = Processor::new(survivor, options);
            load(&mut processor);
            processor.start().expect("it can be started");
            processor
        };
        self.hear(&processor);
        if !is_last && self.luck.once_in(4) {
            self.act(&processor);
            let crash =
                Crash { kind: CrashKind::Hang, signal: 9, pc: None, registers: None, allegation: None };
            sim.borrow_mut().inject(0, sidecore_remoteproc::Event::Crashed(crash));
            self.crash(&mut processor);
        }
        self.act(&processor);
        if is_last {
            self.mend(&mut processor);
            self.end(&processor);
            self.leaks(processor, &sim);
            return false;
        }
        if self.luck.once_in(2) {
            // Lives until it dies, most of the time.
            for _ in 0..50 {
                self.act(&processor);
            }
        }
        self.mend(&mut processor);
        processor.detach().expect("it runs");
        true
    }

    /// A crash that a main side before this one did not live to see is seen by this one.
    fn mend(&mut self, processor: &mut Processor<Survivor>) {
        for _ in 0..4 {
            processor.wait(Some(Duration::ZERO));
        }
        if processor.remote().state() == State::Crashed {
            load(processor);
            processor.start().expect("it can be started again");
        }
    }

    /// The remote crashes, and is started anew: endpoints of the run that is over stay closed for good.
    fn crash(&mut self, processor: &mut Processor<Survivor>) {
        let old: Vec<Endpoint> = (0..CHANNELS).filter_map(|index| self.open(processor, index)).collect();
        for _ in 0..50 {
            processor.wait(Some(Duration::ZERO));
            if processor.ended().is_some() {
                break;
            }
        }
        if processor.remote().state() != State::Crashed {
            return;
        }
        let refused = |processor: &Processor<Survivor>| {
            old.iter().all(|old| matches!(processor.try_send(*old, b"late"), Err(SendError::Lost(_))))
        };
        assert!(refused(processor), "an endpoint of a remote that crashed sends");
        load(processor);
        processor.start().expect("it can be started again");
        self.tally.restarts += 1;
        for _ in 0..4 {
            processor.wait(Some(Duration::ZERO));
            assert!(refused(processor), "an endpoint of an earlier run sends");
        }
    }

    /// Does what applications do, for a while.
    fn act(&mut self, processor: &Processor<Survivor>) {
        let mut loans: Vec<Loan<'_>> = Vec::new();
        for _ in 0..self.luck.below(30) {
            match self.luck.below(8) {
                0..=2 => {
                    processor.wait(Some(Duration::ZERO));
                }
                3 | 4 => self.send(processor),
                5 | 6 => loans.extend(self.receive(processor)),
                _ if !loans.is_empty() => {
                    let which = self.luck.index(loans.len());
                    self.release(loans.swap_remove(which));
                }
                _ => self.hear(processor),
            }
        }
        for loan in loans {
            self.release(loan);
        }
    }

    /// Nobody sends anything new: everything arrives, and both sides know the same.
    fn end(&mut self, processor: &Processor<Survivor>) {
        self.world.borrow_mut().is_ending = true;
        self.settle(processor);
        self.hear(processor);
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        world.to_remote.iter_mut().chain(&mut world.to_main).for_each(|lane| lane.is_quiet());
        let channels: Vec<_> = (0..CHANNELS).map(channel).collect();
        let known = processor.services().into_iter().map(|service| (service.name, service.addr));
        let known: BTreeSet<_> = known.filter(|(name, _)| !channels.contains(name)).collect();
        assert_eq!(known, world.services.iter().copied().collect(), "what the remote announced is not known");
        assert!(processor.orphans().len() <= CHANNELS, "endpoints were made of nothing");
    }

    /// Time for everything that is under way, kicks that were lost included.
    fn settle(&mut self, processor: &Processor<Survivor>) {
        let end = self.clock.now() + 5 * LOOK;
        while self.clock.now() < end {
            processor.wait(Some(Duration::ZERO));
            for _ in 0..2 * CHANNELS {
                if let Some(loan) = self.receive(processor) {
                    self.release(loan);
                }
            }
        }
    }

    /// Nothing is under way: every buffer is there, and once all is closed nothing is left, in the journal neither.
    fn leaks(&mut self, processor: Processor<Survivor>, sim: &Rc<RefCell<Sim>>) {
        if let Some(endpoint) = self.open(&processor, 0) {
            let before = self.world.borrow().to_remote[0].sent();
            while self.send_on(&processor, endpoint, 0) {}
            let sent = self.world.borrow().to_remote[0].sent() - before;
            let all = usize::from(processor.transmit_buffers(endpoint));
            assert_eq!(sent, all, "buffers of the main side are missing");
        }
        self.world.borrow_mut().fills = true;
        self.settle(&processor);
        {
            let mut world = self.world.borrow_mut();
            let world = &mut *world;
            world.to_remote.iter_mut().chain(&mut world.to_main).for_each(|lane| lane.is_quiet());
        }
        processor.endpoints().into_iter().for_each(|endpoint| processor.close(endpoint));
        processor.orphans().into_iter().for_each(|orphan| processor.close(orphan.endpoint));
        assert_eq!((processor.endpoints().len(), processor.orphans().len()), (0, 0));
        // It dies with nothing left to do.
        drop(processor);
        sim.borrow_mut().bereave();
        let survivor = Survivor::new(sim, self.clock, self.bell, None);
        let mut processor = Processor::detached(survivor, options());
        processor.attach(None).expect("it runs");
        let again: Vec<u32> = std::iter::from_fn(|| processor.event())
            .filter_map(|event| match event {
                Event::DeviceResumed { again, .. } => Some(again),
                _ => None,
            })
            .collect();
        assert_eq!(again, [0], "messages that nobody had, or a link that was not gone on in");
        assert_eq!(processor.orphans().len(), 0, "the journal has endpoints that were closed");
        processor.stop().expect("it runs");
        drop(processor);
        assert_eq!(
            Rc::strong_count(sim),
            2,
            "somebody still has the remote: the schedule and its life aside"
        );
    }

    fn send(&mut self, processor: &Processor<Survivor>) {
        let index = self.luck.index(CHANNELS);
        let Some(endpoint) = self.open(processor, index) else { return };
        self.send_on(processor, endpoint, index);
    }

    /// Whether it was sent.
    fn send_on(&self, processor: &Processor<Survivor>, endpoint: Endpoint, index: usize) -> bool {
        let id = self.world.borrow_mut().to_remote[index].offered();
        match processor.try_send(endpoint, &id.to_le_bytes()) {
            Ok(()) => {
                self.world.borrow_mut().to_remote[index].accepted();
                true
            }
            Err(SendError::Full | SendError::Lost(_)) => {
                self.world.borrow_mut().to_remote[index].refused();
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn receive<'p>(&mut self, processor: &'p Processor<Survivor>) -> Option<Loan<'p>> {
        let index = self.luck.index(CHANNELS);
        let endpoint = self.open(processor, index)?;
        let message = processor.try_receive(endpoint).ok().flatten()?;
        let mut id = [0; 4];
        message.read(0, &mut id).expect("a number");
        self.tally.repeated += u64::from(message.may_be_repeated());
        let lane = &mut self.world.borrow_mut().to_main[index];
        let at = lane.arrives(u32::from_le_bytes(id), message.may_be_repeated());
        self.clock.note(u64::from(u32::from_le_bytes(id)) << 8 | index as u64);
        Some((message, index, at))
    }

    fn release(&mut self, (message, index, at): Loan<'_>) {
        drop(message);
        self.world.borrow_mut().to_main[index].released(at);
    }

    /// The endpoint of a channel, opened where need be. A message tells the remote of it.
    fn open(&mut self, processor: &Processor<Survivor>, index: usize) -> Option<Endpoint> {
        let name = channel(index);
        let is_it = |endpoint: &&Endpoint| processor.service_of(**endpoint) == Some(name);
        if let Some(open) = processor.endpoints().iter().find(is_it) {
            return Some(*open);
        }
        processor.open(name.as_str().unwrap_or_default(), Duration::ZERO).ok()
    }

    fn hear(&mut self, processor: &Processor<Survivor>) {
        while let Some(event) = processor.event() {
            match event {
                Event::DeviceResumed { .. } => self.tally.resumed += 1,
                Event::LinkBroken { .. }
                | Event::DeviceFailed { .. }
                | Event::DeviceNotResumed { .. }
                | Event::MessagesLost { .. }
                | Event::NeedsReset { .. } => panic!("{event}"),
                _ => {}
            }
        }
    }
}
