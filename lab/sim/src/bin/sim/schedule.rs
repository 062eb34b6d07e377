//! One schedule: lives of main sides, one after the other, until nothing is under way any more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use sidecore_backends::sim::Sim;
use sidecore_mem::mortal::{self, Death};
use sidecore_processor::{Endpoint, Event, Message, Options, Processor, SendError};
use sidecore_remoteproc::{Crash, CrashKind, Firmware, State};

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
}

/// Runs the schedule of a seed.
///
/// # Panics
/// A promise was broken.
pub(crate) fn run(seed: u64, tally: &mut Tally) {
    let mut luck = Luck::new(seed);
    let world = Rc::new(RefCell::new(World::default()));
    let talker = Talker::new(Rc::clone(&world), Luck::new(luck.below(u64::MAX)));
    let sim = Rc::new(RefCell::new(Sim::new(talker).with_journal()));
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
        let survivor = Survivor::new(&sim, Luck::new(luck.below(u64::MAX)));
        let mut one = Life { world: Rc::clone(&world), luck: Luck::new(luck.below(u64::MAX)), tally };
        mortal::die_after(stores);
        let lived = catch_unwind(AssertUnwindSafe(|| one.live(survivor, is_running, is_last)));
        mortal::revive();
        match lived {
            Ok(left_running) => is_running = left_running,
            Err(panic) if panic.is::<Death>() => {
                tally.deaths += 1;
                world.borrow_mut().main_side_died();
                sim.borrow_mut().bereave();
                is_running = sim.borrow().is_bereft();
                if !is_running {
                    // It died before the remote ran; nobody can go on from there.
                    return;
                }
            }
            Err(panic) => resume_unwind(panic),
        }
    }
    let world = world.borrow();
    tally.messages +=
        world.to_remote.iter().chain(&world.to_main).map(|lane| lane.seen() as u64).sum::<u64>();
}

struct Life<'t> {
    world: Rc<RefCell<World>>,
    luck: Luck,
    tally: &'t mut Tally,
}

fn load(processor: &mut Processor<Survivor>) {
    let image = image();
    processor.load(&Firmware::parse(&image).expect("an ELF file")).expect("it can be loaded");
}

type Loan<'p> = (Message<'p, Survivor>, usize, usize);

impl Life<'_> {
    /// A whole life. Whether the remote runs on after it.
    fn live(&mut self, survivor: Survivor, is_running: bool, is_last: bool) -> bool {
        let options = Options { spin: Duration::ZERO, quiesce: Duration::ZERO, ..Options::new("sim") };
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
            processor.stop().expect("it runs");
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
        for _ in 0..40 {
            processor.wait(Some(Duration::ZERO));
            for _ in 0..2 * CHANNELS {
                if let Some(loan) = self.receive(processor) {
                    self.release(loan);
                }
            }
        }
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

    fn send(&mut self, processor: &Processor<Survivor>) {
        let index = self.luck.index(CHANNELS);
        let Some(endpoint) = self.open(processor, index) else { return };
        let id = self.world.borrow_mut().to_remote[index].offered();
        match processor.try_send(endpoint, &id.to_le_bytes()) {
            Ok(()) => self.world.borrow_mut().to_remote[index].accepted(),
            Err(SendError::Full | SendError::Lost(_)) => self.world.borrow_mut().to_remote[index].refused(),
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
