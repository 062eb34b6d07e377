//! Time as the schedules have it, and what becomes of kicks in it.
//!
//! Nothing here waits: time passes where somebody is said to wait or to be late. A kick may be lost altogether. What
//! stands against that is that remotes look by themselves every [`LOOK`], so that whatever was sent arrives within that,
//! and a little more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sidecore_backends::sim::SimDoorbell;
use sidecore_mem::mortal;
use sidecore_remoteproc::Doorbell;
use sidecore_sim::luck::Luck;

/// Microseconds between a remote's looks that nobody asked for.
pub(crate) const LOOK: u64 = 10_000;
/// Microseconds that a kick may take.
const LATE: u64 = 5_000;

/// The time of one schedule in microseconds, and a sum of all that happened in it and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Rc<(Cell<u64>, Cell<u64>)>);

impl Clock {
    pub(crate) fn now(&self) -> u64 {
        self.0.0.get()
    }

    pub(crate) fn pass(&self, microseconds: u64) {
        self.0.0.set(self.now() + microseconds);
    }

    /// Something happened.
    pub(crate) fn note(&self, what: u64) {
        // FNV-1a, 64 bits at a time.
        let add = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0.1.set(add(add(self.0.1.get(), self.now()), what));
    }

    /// The same for whoever does the same at the same times.
    pub(crate) fn trace(&self) -> u64 {
        self.0.1.get()
    }
}

/// What became of a schedule's kicks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kicks {
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) early: u64,
}

impl Kicks {
    pub(crate) fn add(&mut self, more: Self) {
        self.lost += more.lost;
        self.late += more.late;
        self.early += more.early;
    }
}

/// The way from main sides to a remote's doorbell. It outlives each of them.
#[derive(Clone)]
pub(crate) struct Bell(Rc<RefCell<Way>>);

struct Way {
    clock: Clock,
    luck: Luck,
    remote: SimDoorbell,
    /// Kicks that come later, and when.
    late: Vec<u64>,
    next_look: u64,
    kicks: Kicks,
}

impl Bell {
    pub(crate) fn new(clock: &Clock, luck: Luck, remote: SimDoorbell) -> Self {
        let (late, kicks) = (Vec::new(), Kicks::default());
        let way = Way { clock: clock.clone(), luck, remote, late, next_look: clock.now() + LOOK, kicks };
        Self(Rc::new(RefCell::new(way)))
    }

    /// Rings for all that has come by now.
    pub(crate) fn deliver(&self) {
        let mut way = self.0.borrow_mut();
        let now = way.clock.now();
        let before = way.late.len();
        way.late.retain(|due| *due > now);
        let mut rings = way.late.len() < before;
        if now >= way.next_look {
            way.next_look = now + LOOK;
            rings = true;
        }
        if way.luck.once_in(16) {
            // Nothing has been sent that it would be for, or not yet.
            way.kicks.early += 1;
            rings = true;
        }
        if rings {
            way.remote.ring(0);
        }
    }

    pub(crate) fn kicks(&self) -> Kicks {
        self.0.borrow().kicks
    }
}

impl Doorbell for Bell {
    fn ring(&self, _notify_id: u32) {
        if mortal::is_dead() {
            return;
        }
        let mut way = self.0.borrow_mut();
        match way.luck.below(8) {
            0 => way.kicks.lost += 1,
            1 | 2 => {
                let due = way.clock.now() + way.luck.below(LATE);
                way.late.push(due);
                way.kicks.late += 1;
            }
            _ => way.remote.ring(0),
        }
    }
}
