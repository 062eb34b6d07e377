//! The remote: it does not die, and notices its main side's death by nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sidecore_backends::sim::{Firmware, Remote, Step};
use sidecore_os::Mapping;
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_rpmsg::{ADDR_ANY, Endpoint, Event, Held, Link as _, Name, Rpmsg, Slot};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;

use crate::image::NUM;
use crate::world::{CHANNELS, World, channel, extra};
use sidecore_sim::luck::Luck;

pub(crate) type Link = RemoteLink<Box<dyn Fn(u16)>, Vec<Cell<u16>>, Arc<Mapping>, 32>;
pub(crate) type Messages = Rpmsg<Link, Vec<Slot>>;

/// A remote's half of its device: the registers, and whether it is to ring.
#[derive(Default)]
pub(crate) struct Half {
    registers: Option<table::Device<Arc<Mapping>>>,
    ring: Rc<Cell<bool>>,
}

/// What a look at the registers tells.
pub(crate) enum Look {
    Same,
    Gone,
    New(Box<Messages>),
}

impl Half {
    /// `is_closed`: the link that there is has heard of its end.
    pub(crate) fn look(&mut self, remote: &Remote<'_>, is_closed: bool) -> Look {
        let registers = self.registers.get_or_insert_with(|| {
            let (at, len) = remote.boot.table.expect("the image has a table");
            let table = remote.memories.resolve(at, len as usize).expect("it is mapped");
            let offset = table.load::<u32>(16).expect("it has an entry") as usize;
            table::Device::new(&table, offset).expect("the entry is in the table")
        });
        if is_closed {
            registers.start_over();
        }
        match registers.poll() {
            Change::Started => {}
            Change::Reset | Change::Failed => return Look::Gone,
            _ => return if is_closed { Look::Gone } else { Look::Same },
        }
        let ring = Rc::clone(&self.ring);
        let bell = move |_| Box::new(move |_: u16| ring.set(true)) as Box<dyn Fn(u16)>;
        let cancelled = vec![Cell::new(0); usize::from(NUM)];
        let link = attach(registers, remote.memories.clone(), cancelled, bell);
        let (link, _) = link.expect("the main side keeps to the rules");
        Look::New(Box::new(Rpmsg::new(link, vec![Slot::new(); 8])))
    }

    /// Whether to ring, once.
    pub(crate) fn rings(&self) -> bool {
        self.ring.take()
    }
}

/// What the remote runs.
pub(crate) struct Talker {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) luck: Luck,
    half: Half,
    up: Option<Up>,
}

/// The link while it is up.
struct Up {
    messages: Box<Messages>,
    channels: [Endpoint; CHANNELS],
    /// Announcements that found no buffer.
    unsaid: Vec<(Endpoint, Name)>,
    /// Services that come and go.
    extras: Vec<(Endpoint, Name)>,
    held: Vec<(Held<Link>, usize, usize)>,
}

impl Talker {
    pub(crate) fn new(world: Rc<RefCell<World>>, luck: Luck) -> Self {
        Self { world, luck, half: Half::default(), up: None }
    }

    fn look(&mut self, remote: &Remote<'_>) {
        let is_closed = self.up.as_ref().is_some_and(|up| up.messages.link().is_closed());
        match self.half.look(remote, is_closed) {
            Look::Same => {}
            Look::Gone => self.up = None,
            Look::New(messages) => {
                let open = || messages.open(ADDR_ANY, ADDR_ANY).expect("there is room");
                let channels = [(); CHANNELS].map(|()| open());
                let unsaid = (0..CHANNELS).map(|index| (channels[index], channel(index))).collect();
                self.world.borrow_mut().link_is_new();
                self.up = Some(Up { messages, channels, unsaid, extras: Vec::new(), held: Vec::new() });
            }
        }
    }
}

impl Firmware for Talker {
    fn step(&mut self, remote: &mut Remote<'_>) -> Step {
        if remote.steps == 0 {
            (self.half, self.up) = (Half::default(), None);
        }
        self.look(remote);
        if let Some(up) = &mut self.up {
            up.act(&mut self.luck, &mut self.world.borrow_mut());
        }
        remote.ring = self.half.rings();
        let waiting = self.up.as_ref().is_some_and(|up| up.messages.link().arm());
        if waiting || self.luck.once_in(4) { Step::Work } else { Step::Sleep }
    }
}

impl Up {
    fn act(&mut self, luck: &mut Luck, world: &mut World) {
        let messages = &self.messages;
        self.unsaid.retain(|(endpoint, name)| messages.announce(*endpoint, name).is_err());
        for _ in 0..luck.below(6) {
            match luck.below(8) {
                0..=2 => self.receive(luck, world),
                3 | 4 if !world.is_ending => self.send(luck.index(CHANNELS), world),
                5 if !self.held.is_empty() => self.release(luck.index(self.held.len()), world),
                6 if !world.is_ending => self.come_and_go(luck, world),
                // A message that is thought better of.
                7 => drop(self.messages.reserve(self.channels[luck.index(CHANNELS)])),
                _ => {}
            }
        }
        if std::mem::take(&mut world.fills) {
            self.fill(world);
        }
        if world.is_ending {
            while !self.held.is_empty() {
                self.release(0, world);
            }
            for _ in 0..NUM {
                self.receive(luck, world);
            }
            while !self.held.is_empty() {
                self.release(0, world);
            }
        }
    }

    fn receive(&mut self, luck: &mut Luck, world: &mut World) {
        let event = self.messages.poll().expect("the main side keeps to the rules");
        let Some(Event::Message(message)) = event else { return };
        let mut id = [0; 4];
        message.read(0, &mut id).expect("a number");
        let found = self.channels.iter().position(|endpoint| *endpoint == message.endpoint());
        let Some(index) = found else { return };
        let at = world.to_remote[index].arrives(u32::from_le_bytes(id), false);
        if luck.once_in(3) {
            self.held.extend(message.hold().map(|held| (held, index, at)));
        } else {
            drop(message);
            world.to_remote[index].released(at);
        }
    }

    fn release(&mut self, which: usize, world: &mut World) {
        let (held, index, at) = self.held.swap_remove(which);
        drop(self.messages.resume(held));
        world.to_remote[index].released(at);
    }

    fn send(&self, index: usize, world: &mut World) {
        let endpoint = self.channels[index];
        if self.messages.peer(endpoint).is_none() {
            return;
        }
        let id = world.to_main[index].offered();
        match self.messages.send(endpoint, &id.to_le_bytes()) {
            Ok(()) => world.to_main[index].accepted(),
            Err(_) => world.to_main[index].refused(),
        }
    }

    /// Sends until there is no buffer any more: all of them are there, where nothing else is under way.
    fn fill(&self, world: &mut World) {
        if self.messages.peer(self.channels[0]).is_none() {
            return;
        }
        let before = world.to_main[0].sent();
        loop {
            let now = world.to_main[0].sent();
            self.send(0, world);
            if world.to_main[0].sent() == now {
                assert_eq!(now - before, usize::from(NUM), "buffers of the remote are missing");
                return;
            }
        }
    }

    /// Announces a service, or withdraws one.
    fn come_and_go(&mut self, luck: &mut Luck, world: &mut World) {
        if luck.once_in(2)
            && let Some((endpoint, name)) = self.extras.pop()
        {
            if self.messages.withdraw(endpoint, &name).is_ok() {
                self.messages.close(endpoint);
                world.services.retain(|known| *known != (name, endpoint.addr()));
            } else {
                self.extras.push((endpoint, name));
            }
        } else if self.extras.len() < 3 {
            let Ok(endpoint) = self.messages.open(ADDR_ANY, ADDR_ANY) else { return };
            let name = extra(luck.index(2));
            if self.messages.announce(endpoint, &name).is_ok() {
                world.services.push((name, endpoint.addr()));
                self.extras.push((endpoint, name));
            } else {
                self.messages.close(endpoint);
            }
        }
    }
}
