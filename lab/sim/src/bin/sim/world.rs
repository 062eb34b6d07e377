//! What outlives every main side: the remote with its memory, and the record of what was promised.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sidecore_backends::sim::Sim;
use sidecore_mem::{DeviceAddr, Region, mortal};
use sidecore_os::Mapping;
use sidecore_remoteproc::{Backend, BackendError, Boot, Event, Memory, MemoryMap};
use sidecore_rpmsg::Name;

use crate::clock::{Bell, Clock};
use sidecore_sim::history::Lane;
use sidecore_sim::luck::Luck;

/// Channels with numbered messages both ways.
pub(crate) const CHANNELS: usize = 2;

/// Their names.
pub(crate) fn channel(index: usize) -> Name {
    Name::new(["sim-one", "sim-two"][index]).expect("a name")
}

/// Names of services that come and go.
pub(crate) fn extra(index: usize) -> Name {
    Name::new(["sim-red", "sim-blue"][index]).expect("a name")
}

/// What was promised, of the link as it is now.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) to_remote: [Lane; CHANNELS],
    pub(crate) to_main: [Lane; CHANNELS],
    /// The services that come and go, as the remote has them.
    pub(crate) services: Vec<(Name, u32)>,
    /// Nobody sends anything new.
    pub(crate) is_ending: bool,
    /// The remote sends as much as there is room for, once.
    pub(crate) fills: bool,
    /// Links that the remote has brought up.
    pub(crate) links: u32,
}

impl World {
    /// Both sides begin anew, and know it.
    pub(crate) fn link_is_new(&mut self) {
        self.to_remote = [(); CHANNELS].map(|()| Lane::new("to the remote"));
        self.to_main = [(); CHANNELS].map(|()| Lane::new("to the main side"));
        self.services.clear();
        self.links += 1;
    }

    pub(crate) fn main_side_died(&mut self) {
        self.to_main.iter_mut().for_each(Lane::receiver_died);
    }
}

/// The remote, as each of the main sides that come one after the other has it.
pub(crate) struct Survivor {
    pub(crate) sim: Rc<RefCell<Sim>>,
    memories: MemoryMap<Arc<Mapping>>,
    clock: Clock,
    bell: Bell,
    /// How late a call may be, and by whose decision.
    delays: Option<RefCell<Luck>>,
}

/// Microseconds that a main side may do something else before it looks.
const DELAY: u64 = 2_000;

impl Survivor {
    /// `delays`: time passes in each wait; otherwise somebody else lets it pass.
    pub(crate) fn new(sim: &Rc<RefCell<Sim>>, clock: &Clock, bell: &Bell, delays: Option<Luck>) -> Self {
        Self {
            sim: Rc::clone(sim),
            memories: MemoryMap::new(),
            clock: clock.clone(),
            bell: bell.clone(),
            delays: delays.map(RefCell::new),
        }
    }

    fn keep(&mut self) {
        self.memories = self.sim.borrow().memories().clone();
    }
}

impl Backend for Survivor {
    type Owner = Arc<Mapping>;
    type Doorbell = Bell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.sim.borrow_mut().prepare(memories)?;
        self.keep();
        Ok(())
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        &self.memories
    }

    fn journal(&self) -> Option<Region<Self::Owner>> {
        self.sim.borrow().journal()
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.sim.borrow_mut().start(boot)
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        // The dead do nothing, whatever their destructors try.
        if mortal::is_dead() { Ok(()) } else { self.sim.borrow_mut().stop() }
    }

    fn unprepare(&mut self) {
        if !mortal::is_dead() {
            self.sim.borrow_mut().unprepare();
        }
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        self.sim.borrow_mut().attach()?;
        self.keep();
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        self.sim.borrow().table()
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.sim.borrow_mut().place(memories)
    }

    fn detach(&mut self) -> Result<(), BackendError> {
        if mortal::is_dead() { Ok(()) } else { self.sim.borrow_mut().detach() }
    }

    fn doorbell(&self) -> Self::Doorbell {
        self.bell.clone()
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        // This side's part of it is asked here, where it can die in it.
        if ready() {
            return Ok(Some(Event::Kick));
        }
        if let Some(delays) = &self.delays {
            self.clock.pass(delays.borrow_mut().below(DELAY));
        }
        self.bell.deliver();
        let mut sim = self.sim.borrow_mut();
        let happened = mortal::spared(|| sim.wait(timeout, &mut || false));
        if let (Ok(None), Some(timeout)) = (&happened, timeout) {
            // Whoever waits in here lets everybody else wait.
            self.clock.pass(timeout.as_micros() as u64);
        }
        happened
    }
}
