//! One rpmsg device of a remote: its registers, its link, and who gets the messages.

use std::cell::{Cell, RefCell};

use sidecore_remoteproc::Backend;
use sidecore_rpmsg::host::{self, UNDERSTOOD};
use sidecore_rpmsg::link::vring::Resumable;
use sidecore_rpmsg::link::{Link as _, Tracer};
use sidecore_rpmsg::{ADDR_ANY, Announcement, Directory, Endpoint, Entry, Header, LinkError, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::DriverTransport as _;
use sidecore_virtio::transport::table;
use sidecore_wire::name_service::CREATE;
use sidecore_wire::status::Status;

use crate::capture::Tap;
use crate::event::{Event, Events};
use crate::gap::Gap;
use crate::ground::{Bell, DeviceError, Ground, NotResumed, slots};
use crate::journal::{self, Section};
use crate::port::{Parcel, Ports};

/// The link of a device: split rings, with someone looking at the frames where that was asked for.
pub(crate) type Link<B> = Tracer<Resumable<Box<[split::Slot]>, Bell<B>, <B as Backend>::Owner>, Tap>;
pub(crate) type Messages<B> = Rpmsg<Link<B>, Box<[Slot]>>;

/// How many of everything a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Endpoints that can be open at once.
    pub endpoints: u16,
    /// Announced services that are remembered.
    pub services: u16,
    /// Messages that wait at one endpoint for the application; those above are lost, and an event says so.
    pub waiting: u32,
}

impl Room {
    /// 64 endpoints, 64 services, 1024 messages.
    pub const DEFAULT: Self = Self { endpoints: 64, services: 64, waiting: 1024 };
}

impl Default for Room {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A device whose link is up, or was until the peer broke it.
pub(crate) struct Device<B: Backend> {
    pub(crate) index: u32,
    pub(crate) features: u64,
    /// The longest payload that can be sent, in bytes, and how many at once.
    pub(crate) max_payload: usize,
    pub(crate) transmit_buffers: u16,
    pub(crate) messages: Messages<B>,
    pub(crate) ports: RefCell<Ports<B>>,
    pub(crate) directory: RefCell<Directory<Box<[Entry]>>>,
    registers: table::Driver<B::Owner>,
    journal: Option<Section<B::Owner>>,
    broken: Cell<Option<LinkError>>,
    pub(crate) reported: Cell<Dropped>,
    /// What there is still to catch up with after a silent restart.
    pub(crate) gap: RefCell<Option<Gap>>,
    /// Frames that one poll takes before other devices get a turn: all that the ring can hold.
    turn: usize,
}

/// Frames that were dropped because nothing else could be done with them, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// No endpoint has the destination address.
    pub unknown_destination: u32,
    /// The frame is shorter than a header, or than its header claims.
    pub malformed: u32,
    /// An announcement of the wrong length, or with a name that is none.
    pub bad_announcement: u32,
}

impl<B: Backend> Device<B> {
    /// Brings the device up as a driver does: features, rings, buffers, DRIVER_OK, first kick. `keep`: with a journal,
    /// where there is memory for one.
    pub(crate) fn bring_up(ground: Ground<B>, tap: Tap, keep: bool) -> Result<Self, DeviceError> {
        let Ground { index, registers, rings, pools, bell, journal, room } = ground;
        let slots = slots(&rings);
        // Should we die on the way, then there is nothing to go on in.
        journal.iter().for_each(Section::end);
        let journal = journal.filter(|_| keep);
        let ledgers = match &journal {
            Some(journal) => journal.ledgers()?.map(Some),
            None => [None, None],
        };
        let shape = (rings.each_ref().map(Parts::num), pools[1].size);
        let (link, features) =
            host::bring_up_journaled(&registers, UNDERSTOOD, rings, slots, pools, ledgers, bell)?;
        journal.iter().for_each(|journal| journal.begin(features));
        Ok(Self::new(index, features, shape, link, registers, journal, room, tap))
    }

    /// Goes on where another main side died. Answers what it had received and not given back, oldest first, to be
    /// [delivered again](Self::deliver_again).
    pub(crate) fn resume(ground: Ground<B>, tap: Tap) -> Result<(Self, Vec<split::Left>), NotResumed> {
        let Ground { index, registers, rings, pools, bell, journal, room } = ground;
        let journal = journal.ok_or(NotResumed::NoJournal)?;
        let features = journal.left_in_use().ok_or(NotResumed::NoJournal)?;
        let ledgers = journal.ledgers().map_err(|_| NotResumed::NoJournal)?;
        let slots = slots(&rings);
        let shape = (rings.each_ref().map(Parts::num), pools[1].size);
        let link = host::resume(&registers, features, rings, slots, pools, ledgers, bell)?;
        let mut left: Vec<_> = link.left().collect();
        left.sort_by_key(|left| std::cmp::Reverse(left.age));
        let device = Self::new(index, features, shape, link, registers, Some(journal), room, tap);
        device.recall();
        Ok((device, left))
    }

    #[expect(clippy::too_many_arguments, reason = "all that a device is made of, from two places")]
    fn new(
        index: u32,
        features: u64,
        ([from, to], size): ([u16; 2], u32),
        link: Resumable<Box<[split::Slot]>, Bell<B>, B::Owner>,
        registers: table::Driver<B::Owner>,
        journal: Option<Section<B::Owner>>,
        room: Room,
        tap: Tap,
    ) -> Self {
        let max = (size as usize).saturating_sub(Header::SIZE).min(usize::from(u16::MAX));
        let endpoints = vec![Slot::new(); room.endpoints.into()].into_boxed_slice();
        let entries: Box<[Entry]> = vec![None; room.services.into()].into();
        // What is copied has been given back, and would be lost with us.
        let may_hold = usize::from(if journal.is_some() { from } else { from / 2 });
        Self {
            index,
            features,
            max_payload: max,
            transmit_buffers: to,
            messages: Rpmsg::new(Tracer::new(link, tap), endpoints),
            ports: RefCell::new(Ports::new(may_hold, max, room.waiting as usize)),
            directory: RefCell::new(Directory::new(entries)),
            registers,
            journal,
            broken: Cell::new(None),
            reported: Cell::default(),
            gap: RefCell::default(),
            turn: usize::from(from),
        }
    }

    /// Opens what was open, and knows what was known, by the journal.
    fn recall(&self) {
        let Some(journal) = &self.journal else { return };
        for journal::Port { addr, peer, channel, is_served } in journal.ports() {
            // What a service of ours knew is gone: its peer begins anew, and what is still on the way to the old one
            // is dropped and counted.
            match self.messages.open(addr, peer) {
                Ok(endpoint) if !is_served => {
                    let learns = peer == ADDR_ANY;
                    self.ports.borrow_mut().add(endpoint, channel, None, true, learns);
                }
                Ok(endpoint) => {
                    self.messages.close(endpoint);
                    journal.forget_port(addr);
                }
                Err(_) => journal.forget_port(addr),
            }
        }
        self.messages.go_on_from(journal.next());
        let mut directory = self.directory.borrow_mut();
        for service in journal.announced() {
            let _ = directory.apply(&Announcement { name: service.name, addr: service.addr, flags: CREATE });
        }
    }

    /// Delivers what a main side before this one had received and not given back, lets services begin anew, and shows
    /// the remote that somebody is there.
    pub(crate) fn deliver_again(
        &self,
        left: Vec<split::Left>,
        events: &Events,
        announced: &mut dyn FnMut(&Self, &Announcement),
    ) {
        let link = self.messages.link().inner();
        // Nothing is shown to the remote before it has been noted: we may die in this as well.
        let batch = self.messages.batch();
        let unsure: Vec<_> = link.unsure().collect();
        for announcement in unsure {
            if !self.knows(&announcement) {
                self.announcement(&announcement, events);
            }
        }
        for left in left {
            match link.again(left) {
                Ok((header, rx)) => match self.messages.hand_in(header, rx) {
                    Some(sidecore_rpmsg::Event::Message(message)) => {
                        self.ports.borrow_mut().deliver_again(message);
                    }
                    Some(sidecore_rpmsg::Event::Announcement(announcement)) if !self.knows(&announcement) => {
                        self.announcement(&announcement, events);
                    }
                    _ => {}
                },
                Err(error) => return self.fail(error, events),
            }
        }
        let services: Vec<_> = self.directory.borrow().services().collect();
        for service in services {
            announced(self, &Announcement { name: service.name, addr: service.addr, flags: CREATE });
        }
        drop(batch);
        link.go_on();
        self.report_drops(events);
    }

    /// Whether an announcement has been taken note of.
    fn knows(&self, announcement: &Announcement) -> bool {
        let is_there = self
            .directory
            .borrow()
            .services()
            .any(|service| (service.name, service.addr) == (announcement.name, announcement.addr));
        is_there != announcement.is_destroy()
    }

    /// Notes an endpoint that was opened, for whoever comes after us.
    pub(crate) fn note_port(&self, endpoint: Endpoint) {
        let Some(journal) = &self.journal else { return };
        let ports = self.ports.borrow();
        let Some(port) = ports.get(endpoint) else { return };
        let peer = self.messages.peer(endpoint).unwrap_or(ADDR_ANY);
        let (channel, is_served) = (port.channel, port.is_served());
        let port = journal::Port { addr: endpoint.addr(), peer, channel, is_served };
        journal.keep_port(&port, self.messages.next_addr());
    }

    /// Why the link is of no use any more, if it is not.
    pub(crate) fn broken(&self) -> Option<LinkError> {
        self.broken.get()
    }

    /// Takes what the remote sent, hands it out, and lets the services answer. Whether anything was there.
    ///
    /// `announced` is asked what to do about a service that came.
    pub(crate) fn poll(&self, events: &Events, announced: &mut dyn FnMut(&Self, &Announcement)) -> bool {
        if self.broken.get().is_some() {
            return false;
        }
        let batch = self.messages.batch();
        let drained = self.messages.drain(self.turn, |event| match event {
            sidecore_rpmsg::Event::Message(message) => {
                let endpoint = message.endpoint();
                let is_new = self.ports.borrow_mut().deliver(self.index, message, events);
                if is_new {
                    // Whoever comes after us must know whom it talks to.
                    self.note_port(endpoint);
                    self.bound_again(endpoint);
                }
            }
            sidecore_rpmsg::Event::Announcement(announcement) => {
                if self.announcement(&announcement, events) {
                    announced(self, &announcement);
                }
            }
        });
        self.report_drops(events);
        let served = drained.and_then(|count| {
            let sent = self.ports.borrow_mut().serve(self.index, &self.messages, events)?;
            let caught_up = self.gap.borrow().is_some() && self.catch_up()?;
            Ok(count > 0 || sent || caught_up)
        });
        drop(batch);
        self.report_drops(events);
        served.unwrap_or_else(|error| {
            self.fail(error, events);
            true
        })
    }

    /// Closes an endpoint. What still waits there goes back to the remote unread.
    pub(crate) fn close(&self, endpoint: Endpoint, events: &Events) {
        let waiting = self.ports.borrow_mut().remove(self.index, endpoint, events);
        for parcel in waiting.into_iter().flatten() {
            if let Parcel::InPlace { held, .. } = parcel {
                drop(self.messages.resume(held));
            }
        }
        self.messages.close(endpoint);
        self.journal.iter().for_each(|journal| journal.forget_port(endpoint.addr()));
        self.gap.borrow_mut().iter_mut().for_each(|gap| gap.closed(endpoint));
    }

    /// Asks for a notification of what comes; whether something is there already.
    pub(crate) fn arm(&self) -> bool {
        self.broken.get().is_none() && self.messages.link().arm()
    }

    pub(crate) fn disarm(&self) {
        if self.broken.get().is_none() {
            self.messages.link().disarm();
        }
    }

    /// Looks whether the remote asks for a reset, which it does where the device no longer works, and whether somebody else
    /// made one.
    pub(crate) fn look_at_status(&self, events: &Events) {
        if self.broken.get().is_some() {
            return;
        }
        let (status, device) = (self.registers.status(), self.index);
        let event = if status.contains(Status::NEEDS_RESET) {
            Event::NeedsReset { device }
        } else if !status.contains(Status::DRIVER_OK) {
            Event::DeviceReset { device }
        } else {
            return;
        };
        self.broken.set(Some(LinkError::Closed));
        events.push(event);
    }

    /// Gives the link up: the peer broke its rules. The remote sees FAILED.
    pub(crate) fn fail(&self, error: LinkError, events: &Events) {
        if self.broken.replace(Some(error)).is_none() {
            self.registers.set_status(self.registers.status().with(Status::FAILED));
            events.push(Event::LinkBroken { device: self.index, error });
        }
    }

    /// Tells the remote that rings and buffers are no longer its own.
    pub(crate) fn reset(&self) {
        self.journal.iter().for_each(Section::end);
        self.registers.set_status(Status::RESET);
    }

    /// Takes an announcement in. Whether a service came.
    fn announcement(&self, announcement: &Announcement, events: &Events) -> bool {
        let applied = self.directory.borrow_mut().apply(announcement);
        let &Announcement { name, addr, .. } = announcement;
        let device = self.index;
        match applied {
            Ok(()) if announcement.is_destroy() => {
                self.journal.iter().for_each(|journal| journal.forget_service(&name, addr));
                let served = self.ports.borrow_mut().withdraw(&name, addr);
                served.into_iter().for_each(|endpoint| self.close(endpoint, events));
                events.push(Event::ServiceWithdrawn { device, name, addr });
                false
            }
            Ok(()) => {
                self.journal.iter().for_each(|journal| journal.keep_service(&name, addr));
                if !self.is_back(&name, addr) {
                    events.push(Event::ServiceAnnounced { device, name, addr });
                }
                true
            }
            Err(error) => {
                events.push(Event::AnnouncementRefused { device, error, count: 1 });
                false
            }
        }
    }

    fn report_drops(&self, events: &Events) {
        let drops = self.messages.drops();
        let now = Dropped {
            unknown_destination: drops.unknown_destination.get(),
            malformed: drops.malformed.get(),
            bad_announcement: drops.bad_announcement.get(),
        };
        let before = self.reported.replace(now);
        if before != now {
            let new = Dropped {
                unknown_destination: now.unknown_destination - before.unknown_destination,
                malformed: now.malformed - before.malformed,
                bad_announcement: now.bad_announcement - before.bad_announcement,
            };
            events.push(Event::Dropped { device: self.index, frames: new });
        }
    }
}

impl<B: Backend> std::fmt::Debug for Device<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("index", &self.index)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
