//! A main side that dies, and the one that comes after it. Deaths at every store are in `lab/sim`; here one of each kind
//! is looked at closely.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::bench::{ParseName as _, SOON, TABLE, Vdev, echo, elf, simulated};
use sidecore_backends::sim::{Sim, SimDoorbell};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::Mapping;
use sidecore_processor::{Endpoint, Event, Lost, MessageOnly, Notice, Options, Processor, Room, SendError};
use sidecore_remoteproc::held::Spinlocks;
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery, Remedy};
use sidecore_remoteproc::{
    self as remoteproc, Backend, BackendError, Boot, Crash, CrashKind, Doorbell, Firmware, Memory, MemoryMap,
};
use sidecore_wire::resource_table::vdev;

/// A remote that outlives its main sides: forgetting the processor is what a kill is.
struct Outliving(Rc<RefCell<Sim>>, MemoryMap<Arc<Mapping>>);

/// Its doorbell, which a main side that dies right before it does not reach any more.
#[derive(Clone)]
struct Bell(SimDoorbell);

thread_local! {
    /// No bell of this thread's is heard.
    static MUTE: Cell<bool> = const { Cell::new(false) };
}

impl Doorbell for Bell {
    fn ring(&self, notify_id: u32) {
        if !MUTE.get() {
            self.0.ring(notify_id);
        }
    }
}

impl Backend for Outliving {
    type Owner = Arc<Mapping>;
    type Doorbell = Bell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.0.borrow_mut().prepare(memories)?;
        self.1 = self.0.borrow().memories().clone();
        Ok(())
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        &self.1
    }

    fn journal(&self) -> Option<Region<Self::Owner>> {
        self.0.borrow().journal()
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.0.borrow_mut().start(boot)
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        self.0.borrow_mut().stop()
    }

    fn unprepare(&mut self) {
        self.0.borrow_mut().unprepare();
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        self.0.borrow_mut().attach()?;
        self.1 = self.0.borrow().memories().clone();
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        self.0.borrow().table()
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.0.borrow_mut().place(memories)
    }

    fn detach(&mut self) -> Result<(), BackendError> {
        self.0.borrow_mut().detach()
    }

    fn doorbell(&self) -> Self::Doorbell {
        Bell(self.0.borrow().doorbell())
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<remoteproc::Event>, BackendError> {
        self.0.borrow_mut().wait(timeout, ready)
    }
}

fn options() -> Options {
    Options { spin: Duration::ZERO, quiesce: Duration::ZERO, ..Options::new("sim") }
}

/// An echo that has announced itself, its main side, and the endpoint to talk to it.
fn first() -> (Rc<RefCell<Sim>>, Processor<Outliving>, Endpoint) {
    let sim = Rc::new(RefCell::new(simulated(echo("echo")).with_journal()));
    let mut processor = Processor::new(Outliving(Rc::clone(&sim), MemoryMap::new()), options());
    processor.load(&Firmware::parse(&elf(&[Vdev::rpmsg(1)], true)).unwrap()).unwrap();
    processor.start().unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    (sim, processor, endpoint)
}

/// Kills a main side: nothing of it is tidied up.
fn kill(sim: &RefCell<Sim>, processor: Processor<Outliving>) {
    std::mem::forget(processor);
    sim.borrow_mut().bereave();
}

fn next(sim: &Rc<RefCell<Sim>>, options: Options) -> Processor<Outliving> {
    let mut processor = Processor::detached(Outliving(Rc::clone(sim), MemoryMap::new()), options);
    processor.attach(None).unwrap();
    processor
}

/// The time that a main side which begins anew gives the remote to see status 0: no time passes in a simulated one.
fn quiesce(sim: &RefCell<Sim>) {
    let mut sim = sim.borrow_mut();
    let table = sim.memories().resolve(DeviceAddr(TABLE.into()), 64).unwrap();
    table.store(20 + vdev::offset::STATUS, 0_u8).unwrap();
    sim.attach().unwrap();
    sim.doorbell().ring(0);
    sim.wait(Some(Duration::ZERO), &mut || false).unwrap();
    sim.bereave();
}

fn events(processor: &Processor<Outliving>) -> Vec<Event> {
    std::iter::from_fn(|| processor.event()).collect()
}

fn received(processor: &Processor<Outliving>, endpoint: Endpoint) -> (Vec<u8>, bool) {
    let message = processor.receive(endpoint, Some(SOON)).unwrap();
    (message.to_vec().unwrap(), message.may_be_repeated())
}

#[test]
fn what_was_sent_before_a_death_is_answered_after_it_once_and_in_order() {
    let (sim, processor, endpoint) = first();
    for number in 0..5_u8 {
        processor.send(endpoint, &[number], SOON).unwrap();
    }
    kill(&sim, processor);
    let processor = next(&sim, options());
    assert!(matches!(events(&processor)[..], [Event::DeviceResumed { device: 0, again: 0, .. }]));
    let again = processor.open("echo", SOON).unwrap();
    assert_eq!(again.addr(), endpoint.addr(), "the channel is the same");
    for number in 0..5_u8 {
        assert_eq!(received(&processor, again), (vec![number], false));
    }
    processor.send(again, b"and on", SOON).unwrap();
    assert_eq!(received(&processor, again).0, b"and on");
}

#[test]
fn a_message_that_was_published_and_not_rung_for_is_rung_for_by_the_next_main_side() {
    let (sim, processor, endpoint) = first();
    // The remote sleeps now, and nobody rings.
    while processor.wait(Some(Duration::ZERO)) {}
    MUTE.set(true);
    processor.try_send(endpoint, b"unheard").unwrap();
    kill(&sim, processor);
    MUTE.set(false);
    let processor = next(&sim, options());
    let again = processor.open("echo", SOON).unwrap();
    assert_eq!(received(&processor, again), (b"unheard".to_vec(), false));
}

#[test]
fn what_was_received_and_not_released_comes_again_and_says_so_before_what_is_new() {
    let (sim, processor, endpoint) = first();
    for number in 0..4_u8 {
        processor.send(endpoint, &[number], SOON).unwrap();
    }
    assert_eq!(received(&processor, endpoint), (vec![0], false), "released");
    let held = processor.receive(endpoint, Some(SOON)).unwrap();
    assert_eq!(held.to_vec().unwrap(), [1]);
    std::mem::forget(held);
    kill(&sim, processor);
    let processor = next(&sim, options());
    let again = processor.open("echo", SOON).unwrap();
    processor.send(again, &[4], SOON).unwrap();
    let all: Vec<_> = (0..4).map(|_| received(&processor, again)).collect();
    assert_eq!(all, [(vec![1], true), (vec![2], true), (vec![3], true), (vec![4], false)]);
}

#[test]
fn endpoints_that_nobody_asks_for_keep_their_messages_and_can_be_closed() {
    let (sim, processor, endpoint) = first();
    let raw = processor.open_at(0, Some(77), Some(1024)).unwrap();
    processor.send(raw, b"raw", SOON).unwrap();
    processor.send(endpoint, b"channel", SOON).unwrap();
    kill(&sim, processor);
    let processor = next(&sim, options());
    let orphans = processor.orphans();
    let services: Vec<_> = orphans.iter().map(|orphan| (orphan.endpoint.addr(), orphan.service)).collect();
    assert_eq!(services, [(endpoint.addr(), Some("echo".parse_name())), (77, None)]);
    processor.wait(Some(SOON));
    let raw = processor.open_at(0, Some(77), Some(1024)).unwrap();
    assert_eq!(received(&processor, raw).0, b"raw");
    processor.close(orphans[0].endpoint);
    assert_eq!(processor.orphans(), []);
    // A death later nothing of the closed one is left, and its address does not come back at once.
    kill(&sim, processor);
    let processor = next(&sim, options());
    assert_eq!(processor.orphans().len(), 1);
    assert_ne!(processor.open("echo", SOON).unwrap().addr(), endpoint.addr());
}

#[test]
fn a_main_side_that_does_not_fit_the_journal_or_does_not_want_it_begins_anew() {
    let (sim, processor, _) = first();
    kill(&sim, processor);
    let room = Room { endpoints: 7, ..Room::DEFAULT };
    for options in [Options { room, ..options() }, Options { resume: false, ..options() }] {
        let processor = next(&sim, options);
        assert!(matches!(events(&processor)[0], Event::DeviceUp { .. }));
        assert_eq!(processor.orphans(), []);
        let endpoint = processor.open("echo", SOON).unwrap();
        processor.send(endpoint, b"anew", SOON).unwrap();
        assert_eq!(received(&processor, endpoint), (b"anew".to_vec(), false));
        kill(&sim, processor);
    }
}

#[test]
fn a_journal_of_nonsense_costs_a_reset_and_nothing_else() {
    // Both counts and the first states of the ring from the remote, and the same of the other ring (8 descriptors).
    for at in [32, 36, 40, 44, 104, 108, 112, 116] {
        for value in [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let (sim, processor, endpoint) = first();
            processor.send(endpoint, b"under way", SOON).unwrap();
            kill(&sim, processor);
            sim.borrow().journal().unwrap().store(at, value).unwrap();
            let processor = next(&sim, options());
            let begun = events(&processor);
            let endpoint = processor.open("echo", SOON).unwrap();
            let resumed = matches!(begun[0], Event::DeviceResumed { .. });
            let reset = matches!(begun[..], [Event::DeviceNotResumed { .. }, Event::DeviceUp { .. }]);
            assert!(resumed || reset, "{at}: {value:#x}: {begun:?}");
            if reset {
                processor.send(endpoint, b"anew", SOON).unwrap();
                assert_eq!(received(&processor, endpoint), (b"anew".to_vec(), false));
            }
        }
    }
}

#[test]
fn a_remote_that_scribbles_over_its_rings_before_the_next_main_side_comes_costs_the_link_at_most() {
    // Both rings: their descriptors (8 of 16 bytes), available and used parts, as 16-bit words.
    let words = (0..128).step_by(6).chain((128..152).step_by(2)).chain((192..264).step_by(2));
    for at in words {
        for queue in 0..2 {
            for value in [0_u16, 5, 0x8000, u16::MAX] {
                let (sim, processor, endpoint) = first();
                for number in 0..3_u8 {
                    processor.send(endpoint, &[number], SOON).unwrap();
                }
                let held = processor.receive(endpoint, Some(SOON)).unwrap();
                let ring = processor.remote().vdevs()[0].vrings[queue].at;
                std::mem::forget(held);
                kill(&sim, processor);
                let ring = sim.borrow().memories().resolve(ring, 264).unwrap();
                ring.store(at, value).unwrap();
                let processor = next(&sim, options());
                for _ in 0..20 {
                    let opened = processor.orphans().first().map(|orphan| orphan.endpoint);
                    opened.into_iter().for_each(|endpoint| processor.adopt(endpoint));
                    for endpoint in processor.endpoints() {
                        let _ = processor.try_send(endpoint, b"and on");
                        while processor.try_receive(endpoint).is_ok_and(|message| message.is_some()) {}
                    }
                    processor.wait(Some(Duration::ZERO));
                }
                // Whatever came of it, a main side that begins anew has a remote that works.
                kill(&sim, processor);
                quiesce(&sim);
                let processor = next(&sim, Options { resume: false, ..options() });
                let endpoint = processor.open("echo", SOON).unwrap();
                processor.send(endpoint, b"anew", SOON).unwrap();
                let answer = received(&processor, endpoint);
                assert_eq!(answer, (b"anew".to_vec(), false), "ring {queue}, {at}: {value:#x}");
            }
        }
    }
}

#[test]
fn a_remote_that_its_owner_starts_anew_closes_endpoints_and_is_attached_to_again() {
    let (sim, owner, _) = first();
    kill(&sim, owner);
    let backend = Outliving(Rc::clone(&sim), MemoryMap::new());
    let mut messages = MessageOnly::attach(backend, options(), None).unwrap();
    let endpoint = messages.open("echo", SOON).unwrap();
    messages.send(endpoint, b"one", SOON).unwrap();
    assert_eq!(messages.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"one");
    // What an owner does to start it: the table as the image has it, status 0.
    let registers = messages.remote().table_region().unwrap();
    registers.store(20 + vdev::offset::STATUS, 0_u8).unwrap();
    messages.wait(Some(SOON));
    let events: Vec<_> = std::iter::from_fn(|| messages.event()).collect();
    assert!(events.contains(&Event::DeviceReset { device: 0 }), "{events:?}");
    assert!(matches!(messages.try_send(endpoint, b"late"), Err(SendError::Lost(Lost::Link { .. }))));
    messages.attach_again().unwrap();
    assert_eq!(messages.try_send(endpoint, b"late"), Err(SendError::Lost(Lost::EarlierRun)));
    let endpoint = messages.open("echo", SOON).unwrap();
    messages.send(endpoint, b"two", SOON).unwrap();
    assert_eq!(messages.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"two");
    drop(messages);
    assert!(sim.borrow().is_bereft(), "it runs on");
}

#[test]
fn a_peer_that_crashed_is_attached_to_again_once_its_owner_has_started_it_and_no_oftener_than_is_allowed() {
    let (sim, owner, _) = first();
    kill(&sim, owner);
    let backend = Outliving(Rc::clone(&sim), MemoryMap::new());
    let mut messages = MessageOnly::attach(backend, options(), None).unwrap();
    let client = messages.clients().join("client");
    let mut recovery = Recovery::new(Policy::of(Remedy::AttachAgain, 3));
    let crash = Crash { kind: CrashKind::Hang, signal: 9, pc: None, registers: None, allegation: None };
    let mut told = Vec::new();
    for round in 0..4 {
        sim.borrow_mut().inject(0, remoteproc::Event::Crashed(crash.clone()));
        while messages.ended().is_none() {
            messages.wait(Some(SOON));
        }
        let decision = messages.decide(&mut recovery, Duration::from_secs(30 * round.min(2)));
        told.push(decision.to_string());
        let Decision::Restart { .. } = decision else { break };
        assert_eq!(client.notice(), Some(Notice::Crashed));
        client.acknowledge();
        if round == 1 {
            // It is not there yet, which is decided on anew.
            let error = messages.attach_again().unwrap_err();
            assert!(error.to_string().contains("the remote is halted"), "{error}");
            told.push(messages.decide(&mut recovery, Duration::from_secs(30 * round.min(2))).to_string());
        }
        sim.borrow_mut().owner_starts();
        messages.attach_again().unwrap();
        assert_eq!(client.notice(), Some(Notice::Restarted));
        let endpoint = messages.open("echo", SOON).unwrap();
        messages.send(endpoint, b"there?", SOON).unwrap();
        assert_eq!(messages.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"there?");
    }
    let begin = "attached to again";
    assert_eq!(
        told,
        [
            format!("{begin}: attempt 1 of 3 at most"),
            format!("{begin} in 100ms: attempt 2 of 3 at most"),
            format!("{begin} in 200ms: attempt 3 of 3 at most"),
            // The first one is long ago, and the others are not.
            format!("{begin} in 200ms: attempt 3 of 3 at most"),
            "given up: 4 crashes within 60 s".to_owned(),
        ]
    );
}

#[test]
fn a_spinlock_that_a_remote_died_with_is_taken_back_once_before_anybody_is_told() {
    const LOCKS: u64 = TABLE as u64 + 0x800;
    let mut talk = echo("echo");
    let firmware = move |side: &crate::bench::Side<'_>| {
        let bank = side.remote.memories.resolve(DeviceAddr(LOCKS), 32).unwrap();
        if side.remote.steps == 0 {
            // Its own, two of them; that of another; and one that it gives back.
            for (lock, holder) in [(3, 2_u32), (5, 2), (4, 1), (6, 2), (6, 0)] {
                bank.store(4 * lock, holder).unwrap();
            }
        }
        talk(side)
    };
    let mut processor = crate::bench::started(firmware);
    processor.register(Box::new(Spinlocks::at(DeviceAddr(LOCKS), 8, 2)));
    processor.register(Box::new(Spinlocks::in_memory("nowhere", 2)));
    let bank = processor.remote().backend().memories().resolve(DeviceAddr(LOCKS), 32).unwrap();
    let locks = || [3, 4, 5, 6].map(|lock| bank.load::<u32>(4 * lock).unwrap());
    assert_eq!(locks(), [2, 1, 2, 0]);
    let log = |processor: &Processor<Sim>| -> Vec<String> {
        processor.remote().log().since(5).map(|entry| entry.what.to_string()).collect()
    };
    processor.stop().unwrap();
    assert_eq!(locks(), [0, 1, 0, 0]);
    let at = DeviceAddr(LOCKS);
    assert_eq!(
        log(&processor),
        [
            format!("taken back: spinlock 3 of the bank at {at}, held by 2"),
            format!("taken back: spinlock 5 of the bank at {at}, held by 2"),
            "what it held was not taken back: there is no memory \"nowhere\"".to_owned(),
            "stop: running -> offline".to_owned(),
        ]
    );
    processor.start().unwrap();
    assert!(processor.stop().is_ok());
    let count = log(&processor).iter().filter(|line| line.starts_with("taken back")).count();
    assert_eq!(count, 2, "it had not run as far as that");
}
