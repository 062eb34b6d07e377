//! Several remotes in one schedule, all served by one thread. Some crash now and then, some again and again, some flood
//! their main side; the clients of those that crash acknowledge late or never. What is promised: the policy's bounds are
//! kept, a restart waits for clients exactly as long as it has to, and nobody's recovery delays a message of another.

mod client;
mod server;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sidecore_backends::sim::Sim;
use sidecore_processor::{Ended, Endpoint, Event, Processor, SendError};
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery, Remedy};
use sidecore_remoteproc::{Backend as _, Crash, CrashKind, State};

use self::client::Onlooker;
use self::server::{SERVICE, Server};
use crate::clock::{Bell, Clock, Kicks, LOOK};
use crate::schedule::{load, options};
use crate::world::Survivor;
use sidecore_sim::bounds::Bounds;
use sidecore_sim::luck::Luck;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) remotes: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    /// Restarts that some client had not acknowledged.
    pub(crate) unacknowledged: u64,
    pub(crate) given_up: u64,
    /// Times that a remote that is somebody else's was not there yet.
    pub(crate) attempts: u64,
    pub(crate) answers: u64,
    /// Microseconds that a message and its answer took at most while no other remote was recovering.
    pub(crate) slowest: u64,
    /// And while one was.
    pub(crate) slowest_beside: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, more: &Self) {
        self.remotes += more.remotes;
        self.crashes += more.crashes;
        self.restarts += more.restarts;
        self.unacknowledged += more.unacknowledged;
        self.given_up += more.given_up;
        self.attempts += more.attempts;
        self.answers += more.answers;
        self.slowest = self.slowest.max(more.slowest);
        self.slowest_beside = self.slowest_beside.max(more.slowest_beside);
    }
}

/// Microseconds between two looks of the main side.
const TICK: u64 = 1_000;
const TICKS: u64 = 200;

/// Microseconds that a message and its answer may take: its kick is lost, the look of the remote falls between two of
/// the main side, and so does the answer.
const BOUND: u64 = LOOK + 3 * TICK;

/// Runs the schedule of a seed.
///
/// # Panics
/// A promise was broken.
pub(crate) fn run(seed: u64, tally: &mut Tally, kicks: &mut Kicks) -> u64 {
    let (clock, mut luck) = (Clock::default(), Luck::new(seed));
    let count = 2 + luck.index(3);
    let mut sites: Vec<Site> = (0..count)
        .map(|number| {
            let temper = match luck.below(4) {
                _ if number == 0 => Temper::Calm,
                0 => Temper::Crashes(20),
                1 => Temper::Crashes(3),
                2 => Temper::Floods,
                _ => Temper::Calm,
            };
            Site::new(temper, &clock, Luck::new(luck.below(u64::MAX)))
        })
        .collect();
    tally.remotes += count as u64;
    for _ in 0..TICKS {
        let recovering = sites.iter().filter(|site| site.is_recovering()).count();
        for site in &mut sites {
            let beside = recovering > usize::from(site.is_recovering());
            site.tick(beside, tally);
        }
        clock.pass(TICK);
    }
    for site in sites {
        kicks.add(site.bell.kicks());
        site.end();
    }
    clock.trace()
}

/// What a remote is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Temper {
    Calm,
    /// Once in so many ticks.
    Crashes(u64),
    /// It sends what nobody asked for, as much as it can.
    Floods,
}

/// A remote, and all that its main side has of it.
struct Site {
    temper: Temper,
    clock: Clock,
    luck: Luck,
    sim: Rc<RefCell<Sim>>,
    bell: Bell,
    processor: Processor<Survivor>,
    remedy: Remedy,
    recovery: Recovery,
    bounds: Bounds,
    onlookers: Vec<Onlooker>,
    phase: Phase,
    endpoint: Option<Endpoint>,
    /// What has no answer yet.
    waiting: VecDeque<Sent>,
    next: u32,
    /// When it was started the last time.
    restarted: u64,
}

enum Phase {
    Up,
    /// It crashed. It is started again when that is due and nobody is waited for any more; or attached to, once its owner
    /// has started it.
    Down {
        crashed: u64,
        due: u64,
        deadline: u64,
        owner: u64,
    },
    /// It stays crashed.
    Left,
}

struct Sent {
    id: u32,
    at: u64,
    /// Another remote was recovering meanwhile.
    beside: bool,
    /// It was under way when the remote crashed and was restarted silently.
    is_again: bool,
}

impl Site {
    fn new(temper: Temper, clock: &Clock, mut luck: Luck) -> Self {
        let server = Server::new(temper == Temper::Floods, Luck::new(luck.below(u64::MAX)));
        let sim = Rc::new(RefCell::new(Sim::new(server)));
        let bell = Bell::new(clock, Luck::new(luck.below(u64::MAX)), sim.borrow().doorbell());
        let survivor = || Survivor::new(&sim, clock, &bell, None);
        let mut processor = Processor::new(survivor(), options());
        load(&mut processor);
        processor.start().expect("it can be started");
        let remedy = match luck.below(3) {
            0 => Remedy::Restart,
            1 => Remedy::RestartSilently { within: Duration::from_secs(3600) },
            _ => {
                // Whoever started it is somebody else.
                processor.detach().expect("it runs");
                processor = Processor::detached(survivor(), options());
                processor.attach(None).expect("it runs");
                Remedy::AttachAgain
            }
        };
        let ms = |luck: &mut Luck, from, below| Duration::from_millis(from + luck.below(below));
        let policy = Policy {
            remedy,
            most: luck.below(5) as u32,
            within: ms(&mut luck, 20, 300),
            pause: ms(&mut luck, 1, 15),
            longest_pause: ms(&mut luck, 5, 40),
        };
        let onlookers = (0..luck.below(4)).map(|number| Onlooker::join(&processor, number, &mut luck));
        Self {
            onlookers: onlookers.collect(),
            temper,
            clock: clock.clone(),
            sim,
            bell,
            processor,
            remedy,
            recovery: Recovery::new(policy),
            bounds: Bounds::new(policy),
            phase: Phase::Up,
            endpoint: None,
            waiting: VecDeque::new(),
            next: 0,
            restarted: 0,
            luck,
        }
    }

    fn is_recovering(&self) -> bool {
        matches!(self.phase, Phase::Down { .. })
    }

    /// One turn of the main side. `beside`: another remote is recovering.
    fn tick(&mut self, beside: bool, tally: &mut Tally) {
        if let (Phase::Up, Temper::Crashes(times)) = (&self.phase, self.temper)
            && self.luck.once_in(times)
        {
            let crash =
                Crash { kind: CrashKind::Hang, signal: 9, pc: None, registers: None, allegation: None };
            self.sim.borrow_mut().inject(0, sidecore_remoteproc::Event::Crashed(crash));
        }
        self.processor.wait(Some(Duration::ZERO));
        self.hear();
        let now = self.clock.now();
        self.onlookers.iter_mut().for_each(|onlooker| onlooker.act(now));
        match self.phase {
            Phase::Up if self.processor.ended().is_some() => self.crashed(tally),
            Phase::Up => self.talk(beside, tally),
            Phase::Down { .. } | Phase::Left => {
                let state = self.processor.remote().state();
                let is_given_up = self.remedy == Remedy::AttachAgain && state == State::Detached;
                assert!(state == State::Crashed || is_given_up, "it is {state}, and nobody started it");
            }
        }
        self.restart_if_due(tally);
    }

    fn hear(&self) {
        while let Some(event) = self.processor.event() {
            let is_fatal = matches!(event, Event::LinkBroken { .. } | Event::DeviceFailed { .. });
            assert!(!is_fatal, "{event}");
        }
    }

    fn crashed(&mut self, tally: &mut Tally) {
        let ended = self.processor.ended();
        assert!(matches!(ended, Some(Ended::Crashed(_))), "{ended:?}");
        tally.crashes += 1;
        let now = self.clock.now();
        let owner = now + self.luck.below(30 * TICK);
        let goes_on = self.decide(now, owner, tally);
        if let Some(endpoint) = self.endpoint {
            let refused = self.processor.try_send(endpoint, b"late").expect_err("nobody is there");
            assert_eq!(matches!(refused, SendError::Lost(_)), !goes_on, "{refused}");
        }
        if !goes_on {
            self.endpoint = None;
            self.waiting.clear();
        }
    }

    /// What becomes of a crash of that time, in a remote that its owner starts again at that one. Whether endpoints stay
    /// open.
    fn decide(&mut self, crashed: u64, owner: u64, tally: &mut Tally) -> bool {
        let now = self.clock.now();
        let decision = self.processor.decide(&mut self.recovery, Duration::from_micros(now));
        assert_eq!(decision, self.bounds.crashed(Duration::from_micros(now)), "against the policy");
        self.clock.note(u64::MAX);
        let Decision::Restart { after, remedy, .. } = decision else {
            tally.given_up += 1;
            assert_eq!(self.processor.clients().owing(), [""; 0], "nobody waits for them any more");
            self.phase = Phase::Left;
            return false;
        };
        let deadline = now + self.luck.below(20 * TICK);
        self.phase = Phase::Down { crashed, due: now + after.as_micros() as u64, deadline, owner };
        matches!(remedy, Remedy::RestartSilently { .. })
    }

    fn restart_if_due(&mut self, tally: &mut Tally) {
        let Phase::Down { crashed, due, deadline, owner } = self.phase else { return };
        let now = self.clock.now();
        let owing = self.processor.clients().owing();
        if now < due || !owing.is_empty() && now < deadline {
            return;
        }
        // When that has to be, by what the clients were going to do.
        let acknowledged = self.onlookers.iter().map(|onlooker| onlooker.lets_go(crashed)).max().unwrap_or(0);
        let expected = due.max(deadline.min(acknowledged));
        assert!(now >= expected && now < expected + TICK, "started again at {now} in place of {expected}");
        let is_there = self.remedy != Remedy::AttachAgain || now >= owner;
        if is_there && self.remedy == Remedy::AttachAgain {
            self.sim.borrow_mut().owner_starts();
        }
        let restarted = self.processor.restart(Duration::ZERO);
        assert_eq!(restarted.is_ok(), is_there, "{restarted:?}");
        let Ok(late) = restarted else {
            tally.attempts += 1;
            self.decide(crashed, owner, tally);
            return;
        };
        let stuck = self.onlookers.iter().filter(|onlooker| onlooker.lets_go(crashed) > now);
        assert_eq!(late, stuck.map(Onlooker::name).collect::<Vec<_>>(), "who had not acknowledged");
        tally.restarts += 1;
        tally.unacknowledged += u64::from(!late.is_empty());
        self.clock.note(now - crashed);
        // What was under way is sent again.
        self.waiting.iter_mut().for_each(|sent| (sent.at, sent.is_again) = (now, true));
        self.restarted = now;
        self.phase = Phase::Up;
    }

    fn talk(&mut self, beside: bool, tally: &mut Tally) {
        let Some(endpoint) = self.endpoint.or_else(|| self.processor.open(SERVICE, Duration::ZERO).ok())
        else {
            return;
        };
        self.endpoint = Some(endpoint);
        self.waiting.iter_mut().for_each(|sent| sent.beside |= beside);
        while let Ok(Some(message)) = self.processor.try_receive(endpoint) {
            let mut id = [0; 4];
            if message.len() != 4 || message.read(0, &mut id).is_err() {
                continue;
            }
            let (id, now) = (u32::from_le_bytes(id), self.clock.now());
            let Some(sent) = self.waiting.pop_front() else { panic!("{id} was answered twice") };
            assert_eq!(id, sent.id, "answers out of order");
            tally.answers += 1;
            self.clock.note(id.into());
            let slowest = if sent.beside { &mut tally.slowest_beside } else { &mut tally.slowest };
            if self.temper != Temper::Floods && !sent.is_again {
                *slowest = (*slowest).max(now - sent.at);
            }
        }
        let now = self.clock.now();
        if let Some(sent) = self.waiting.front().filter(|_| self.temper != Temper::Floods) {
            let (id, age) = (sent.id, now - sent.at);
            // Both looks of a remote that comes up, and that of one that does.
            let bound = if sent.is_again { LOOK + LOOK + BOUND } else { BOUND };
            assert!(age < bound, "{id} has no answer for {age} µs (beside a recovery: {})", sent.beside);
        }
        if self.waiting.len() < 2 && self.luck.once_in(2) {
            match self.processor.try_send(endpoint, &self.next.to_le_bytes()) {
                Ok(()) => {
                    self.waiting.push_back(Sent { id: self.next, at: now, beside, is_again: false });
                    self.next += 1;
                }
                Err(SendError::Full) if self.temper == Temper::Floods => {}
                // What is sent again comes first.
                Err(SendError::Full) if self.restarted > 0 && now < self.restarted + LOOK + LOOK + BOUND => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn end(mut self) {
        self.bounds.check();
        if matches!(self.phase, Phase::Up) && self.processor.ended().is_none() {
            let is_ours = self.remedy != Remedy::AttachAgain;
            let done = if is_ours { self.processor.stop() } else { self.processor.detach() };
            done.expect("it runs");
        }
        drop(self.processor);
        assert_eq!(Rc::strong_count(&self.sim), 1, "somebody still has the remote");
    }
}
