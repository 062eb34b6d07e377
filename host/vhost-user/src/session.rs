//! The requests of one front end, one after the other, and what they make of the device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sidecore_rpmsg::LinkError;
use sidecore_wire::features::{EVENT_IDX, F_NS, VERSION_1};
use sidecore_wire::status::Status;

use crate::connection::Message;
use crate::device::Device;
use crate::memory::{MEMORY_SLOTS, Memory};
use crate::message::{Bell as Which, Request, name, pair};
use crate::ring::{Bell, Due, Kick, Outward, RINGS, Ring};
use crate::server::Event;
use crate::{Channel, Fault, Talk};

/// `VHOST_USER_F_PROTOCOL_FEATURES`: a feature bit that belongs to vhost-user alone.
const PROTOCOL_FEATURES: u64 = 1 << 30;

/// What the device offers to the driver.
const OFFERED: u64 = F_NS | EVENT_IDX | VERSION_1 | PROTOCOL_FEATURES;

/// Protocol features (`VHOST_USER_PROTOCOL_F_`).
mod protocol {
    pub(super) const MQ: u64 = 1 << 0;
    pub(super) const REPLY_ACK: u64 = 1 << 3;
    pub(super) const BACKEND_REQ: u64 = 1 << 5;
    pub(super) const CONFIG: u64 = 1 << 9;
    pub(super) const RESET_DEVICE: u64 = 1 << 13;
    pub(super) const INBAND_NOTIFICATIONS: u64 = 1 << 14;
    pub(super) const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const OFFERED: u64 = MQ
        | REPLY_ACK
        | BACKEND_REQ
        | CONFIG
        | RESET_DEVICE
        | INBAND_NOTIFICATIONS
        | CONFIGURE_MEM_SLOTS
        | STATUS;
}

/// Faults in a row, without the rings having been at work between, after which a connection is closed.
const FAULTS_MAX: u32 = 64;

/// One front end, and the device that it has of us.
pub(crate) struct Session<'c> {
    channels: &'c mut [Channel],
    features: Option<u64>,
    protocol: u64,
    status: Status,
    memory: Memory,
    rings: [Ring; RINGS],
    outward: Option<Outward>,
    due: Due,
    /// The driver is there: it kicked, or said so by the status.
    is_awake: bool,
    device: Option<Device>,
    talk: Talk,
    /// The rings have been at work on this connection.
    was_up: bool,
    /// The rings are of no use until something about them changes.
    is_broken: bool,
    faults: u32,
    events: Vec<Event>,
}

/// What a request is answered with.
enum Answer {
    /// Nothing but that it was done, if the front end wants to know.
    Done,
    Reply(Vec<u8>),
}

impl<'c> Session<'c> {
    pub(crate) fn new(channels: &'c mut [Channel]) -> Self {
        let talk = Talk::new(channels);
        Self {
            channels,
            features: None,
            protocol: 0,
            status: Status::RESET,
            memory: Memory::default(),
            rings: Default::default(),
            outward: None,
            due: Due::default(),
            is_awake: false,
            device: None,
            talk,
            was_up: false,
            is_broken: false,
            faults: 0,
            events: Vec::new(),
        }
    }

    /// Does what a message asks for, and answers the payload to reply with, if any.
    ///
    /// # Errors
    /// It cannot be done, and the front end did not ask how it went: there is no going on.
    pub(crate) fn handle(&mut self, message: Message) -> Result<Option<Vec<u8>>, Fault> {
        let header = message.header;
        let done = self.dispatch(message);
        let wants_ack = header.needs_reply() && self.protocol & protocol::REPLY_ACK != 0;
        match done {
            Ok(Answer::Reply(payload)) => Ok(Some(payload)),
            Ok(Answer::Done) => Ok(wants_ack.then(|| 0_u64.to_ne_bytes().to_vec())),
            Err(fault) if wants_ack => {
                self.faults += 1;
                self.events.push(Event::Refused { request: name(header.request), fault });
                Ok(Some(1_u64.to_ne_bytes().to_vec()))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Works the rings, if they are up, brings them up, if they can be; `true` where there is more to do.
    ///
    /// # Errors
    /// The front end took memory away that it had lent.
    pub(crate) fn turn(&mut self) -> Result<bool, Fault> {
        self.listen();
        self.start();
        let more = match &self.device {
            Some(device) => device.serving.turn(&mut self.talk),
            None => Ok(false),
        };
        // Before anything is believed that was read: it may have been zeros.
        if let Some(lost) = self.memory.lost() {
            self.device = None;
            return Err(lost);
        }
        let more = match more {
            Ok(more) => {
                if self.device.is_some() {
                    self.faults = 0;
                }
                more
            }
            Err(error) => {
                self.fail(error);
                false
            }
        };
        let count = self.talk.dropped();
        if count > 0 {
            self.events.push(Event::Dropped { count });
        }
        self.call();
        match self.faults {
            count if count > FAULTS_MAX => Err(Fault::TooMany { count }),
            _ => Ok(more),
        }
    }

    /// Tells the guest that nobody will be there any more.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(device) = &self.device {
            device.serving.withdraw(&mut self.talk);
        }
        self.call();
    }

    /// What happened since the last time.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Event> + use<'_, 'c> {
        self.events.drain(..)
    }

    /// The doorbells to wait for.
    pub(crate) fn kicks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().filter_map(|ring| match &ring.kick {
            Kick::Bell(bell) => Some(bell.as_fd()),
            Kick::Never | Kick::Silent => None,
        })
    }

    /// The channel to wait for room in, where a call could not be made.
    pub(crate) fn full(&self) -> Option<BorrowedFd<'_>> {
        let outward = self.outward.as_ref().filter(|_| self.due.queues().next().is_some());
        outward.map(AsFd::as_fd)
    }

    /// Whether the driver kicks nobody, so that its rings are to be looked at from time to time.
    pub(crate) fn is_silent(&self) -> bool {
        let is_silent = |ring: &Ring| matches!(ring.kick, Kick::Silent);
        self.protocol & protocol::INBAND_NOTIFICATIONS == 0 && self.rings.iter().any(is_silent)
    }

    fn dispatch(&mut self, message: Message) -> Result<Answer, Fault> {
        let Message { header, payload, mut fds } = message;
        let number = header.request;
        let request = Request::parse(number, &payload)?;
        self.check_agreed(&request, number)?;
        let takes_fds = matches!(
            request,
            Request::SetMemTable(_)
                | Request::AddMemReg(_)
                | Request::RemMemReg(_)
                | Request::SetBackendReqFd
                | Request::SetBell { .. }
        );
        if !takes_fds && !fds.is_empty() {
            return Err(Fault::Descriptors { request: name(number), count: fds.len(), wanted: 0 });
        }
        let field = |field, value| Fault::Field { request: name(number), field, value };
        let reply = |value: u64| Ok(Answer::Reply(value.to_ne_bytes().to_vec()));
        match request {
            Request::GetFeatures => return reply(OFFERED),
            Request::SetFeatures(features) => self.set_features(features)?,
            Request::SetOwner => {}
            Request::ResetOwner | Request::ResetDevice => self.reset(),
            Request::SetMemTable(table) => self.change_memory(|memory| memory.replace(&table, fds))?,
            Request::AddMemReg(lending) => self.change_memory(|memory| memory.add(&lending, &fds))?,
            Request::RemMemReg(lending) => self.change_memory(|memory| memory.remove(&lending))?,
            Request::GetMaxMemSlots => return reply(MEMORY_SLOTS as u64),
            Request::GetProtocolFeatures => return reply(protocol::OFFERED),
            Request::SetProtocolFeatures(features) => {
                let bits = features & !protocol::OFFERED;
                if bits != 0 {
                    return Err(Fault::NotOffered { request: name(number), bits });
                }
                self.protocol = features;
            }
            Request::GetQueueNum => return reply(RINGS as u64),
            Request::SetVringNum { index, num } => {
                let valid = u16::try_from(num).ok().filter(|num| num.is_power_of_two());
                let num = valid.ok_or_else(|| field("num", u64::from(num)))?;
                self.ring(index, number)?.num = num;
            }
            Request::SetVringAddr { index, flags, addresses } => {
                if flags != 0 {
                    return Err(field("flags", u64::from(flags)));
                }
                self.ring(index, number)?.addresses = Some(addresses);
            }
            Request::SetVringBase { index, base } => {
                let base = u16::try_from(base).map_err(|_| field("base", u64::from(base)))?;
                self.ring(index, number)?.base = base;
            }
            Request::GetVringBase { index } => {
                let ring = self.ring(index, number)?;
                ring.kick = Kick::Never;
                return Ok(Answer::Reply(pair(index, u32::from(ring.base)).to_vec()));
            }
            Request::SetBell { bell, index, has_fd } => {
                let wanted = usize::from(has_fd);
                if fds.len() != wanted {
                    return Err(Fault::Descriptors { request: name(number), count: fds.len(), wanted });
                }
                self.set_bell(bell, index, number, fds.pop())?;
            }
            Request::SetVringEnable { index, enable } => {
                if enable > 1 {
                    return Err(field("enable", u64::from(enable)));
                }
                self.ring(index, number)?.is_enabled = enable == 1;
            }
            Request::SetBackendReqFd => {
                let count = fds.len();
                let fd = fds.pop().filter(|_| count == 1);
                let fd = fd.ok_or(Fault::Descriptors { request: name(number), count, wanted: 1 })?;
                self.outward = Some(Outward::new(fd)?);
            }
            // There is no configuration: no payload says so.
            Request::GetConfig { .. } => return Ok(Answer::Reply(Vec::new())),
            Request::SetConfig => return Err(field("size", payload.len() as u64)),
            Request::VringKick { index } => {
                if index as usize >= RINGS {
                    return Err(field("index", u64::from(index)));
                }
                self.is_awake = true;
            }
            Request::SetStatus(status) => {
                let status = u8::try_from(status).map_err(|_| field("status", status))?;
                self.set_status(Status(status));
            }
            Request::GetStatus => {
                let broken = if self.is_broken { Status::NEEDS_RESET } else { Status::RESET };
                return reply(u64::from(self.status.with(broken).0));
            }
        }
        Ok(Answer::Done)
    }

    /// Whether a request belongs to what was agreed on.
    fn check_agreed(&self, request: &Request, number: u32) -> Result<(), Fault> {
        let (bit, feature) = match request {
            Request::GetQueueNum => (protocol::MQ, "MQ"),
            Request::SetBackendReqFd => (protocol::BACKEND_REQ, "BACKEND_REQ"),
            Request::GetConfig { .. } | Request::SetConfig => (protocol::CONFIG, "CONFIG"),
            Request::ResetDevice => (protocol::RESET_DEVICE, "RESET_DEVICE"),
            Request::VringKick { .. } => (protocol::INBAND_NOTIFICATIONS, "INBAND_NOTIFICATIONS"),
            Request::GetMaxMemSlots | Request::AddMemReg(_) | Request::RemMemReg(_) => {
                (protocol::CONFIGURE_MEM_SLOTS, "CONFIGURE_MEM_SLOTS")
            }
            Request::SetStatus(_) | Request::GetStatus => (protocol::STATUS, "STATUS"),
            _ => return Ok(()),
        };
        let request = name(number);
        if self.protocol & bit == 0 { Err(Fault::NotAgreed { request, feature }) } else { Ok(()) }
    }

    fn set_features(&mut self, features: u64) -> Result<(), Fault> {
        let bits = features & !OFFERED;
        if bits != 0 {
            return Err(Fault::NotOffered { request: "SET_FEATURES", bits });
        }
        if self.features != Some(features) {
            self.stop();
            self.features = Some(features);
        }
        Ok(())
    }

    fn set_status(&mut self, status: Status) {
        if status == Status::RESET {
            self.reset();
        }
        self.status = status;
    }

    fn set_bell(&mut self, which: Which, index: u32, number: u32, fd: Option<OwnedFd>) -> Result<(), Fault> {
        let kick = match (which, fd) {
            (Which::Kick, Some(fd)) => {
                let (bell, was_rung) = Bell::to_answer(fd)?;
                self.is_awake |= was_rung;
                Kick::Bell(bell)
            }
            (Which::Kick, None) => Kick::Silent,
            (Which::Call | Which::Err, fd) => {
                let bell = fd.map(Bell::to_ring).transpose()?;
                // No reason to stop the ring: only who is told changes.
                let ring = self.ring_at(index, number)?;
                *(if which == Which::Call { &mut ring.call } else { &mut ring.err }) = bell;
                return Ok(());
            }
        };
        self.ring(index, number)?.kick = kick;
        Ok(())
    }

    /// A ring that is about to change, and so stands still.
    fn ring(&mut self, index: u32, number: u32) -> Result<&mut Ring, Fault> {
        self.ring_at(index, number)?;
        self.stop();
        self.ring_at(index, number)
    }

    fn ring_at(&mut self, index: u32, number: u32) -> Result<&mut Ring, Fault> {
        let wrong = Fault::Field { request: name(number), field: "index", value: u64::from(index) };
        self.rings.get_mut(index as usize).ok_or(wrong)
    }

    fn change_memory(&mut self, change: impl FnOnce(&mut Memory) -> Result<(), Fault>) -> Result<(), Fault> {
        // Nothing of what is taken away may be in use; what stays is where it was.
        self.stop();
        change(&mut self.memory)
    }

    /// The driver started anew, or is about to.
    fn reset(&mut self) {
        self.stop();
        self.status = Status::RESET;
        self.is_awake = false;
        for ring in &mut self.rings {
            (ring.addresses, ring.base, ring.is_enabled) = (None, 0, false);
        }
    }

    /// Brings the rings up, if all is known that they need, and the driver is there.
    fn start(&mut self) {
        let Some(features) = self.features else { return };
        let by_status = self.protocol & protocol::STATUS != 0;
        let is_there = if by_status { self.status.contains(Status::DRIVER_OK) } else { self.is_awake };
        // Without protocol features, nobody enables rings.
        let is_enabled = |ring: &Ring| ring.is_enabled || features & PROTOCOL_FEATURES == 0;
        let is_inband = self.protocol & protocol::INBAND_NOTIFICATIONS != 0;
        let is_ready = |ring: &Ring| ring.is_set_up(is_inband) && is_enabled(ring);
        if self.device.is_some() || self.is_broken || !is_there || !self.rings.iter().all(is_ready) {
            return;
        }
        let count = self.channels.len();
        match Device::start(&self.rings, &self.memory, features, self.due.clone(), count) {
            Ok(device) => {
                let is_resumed = device.is_resumed;
                if is_resumed {
                    self.talk.resume(!self.was_up);
                } else {
                    self.talk = Talk::new(self.channels);
                }
                self.was_up = true;
                self.events.push(Event::Started { features, is_resumed });
                self.device = Some(device);
            }
            Err(fault) => self.break_down(fault),
        }
    }

    /// Takes the rings down, remembering where they stood.
    fn stop(&mut self) {
        self.is_broken = false;
        if self.device.take().is_some() {
            for (queue, ring) in (0..).zip(&mut self.rings) {
                // Nothing is taken in advance, so that where the used ring is, the available ring is, too.
                ring.base = ring.used_index(queue, &self.memory).unwrap_or(ring.base);
            }
            self.events.push(Event::Stopped);
        }
    }

    /// The link is over.
    fn fail(&mut self, error: LinkError) {
        let is_closed = error == LinkError::Closed
            || self.device.as_ref().is_some_and(|device| device.serving.is_closed());
        self.stop();
        if is_closed {
            // The driver cleared its rings: it starts anew, and kicks when it is ready. Those of it that began
            // somewhere else begin where it says.
            self.is_awake = false;
            self.rings.iter_mut().for_each(|ring| ring.base = 0);
        } else {
            self.break_down(Fault::Link(error));
        }
    }

    /// Says to everybody who can be told that the rings are of no use.
    fn break_down(&mut self, fault: Fault) {
        self.is_broken = true;
        self.faults += 1;
        let queue = fault.queue();
        if let Some(bell) = self.rings.get(usize::from(queue)).and_then(|ring| ring.err.as_ref()) {
            // Nobody there to hear it, then.
            let _ = bell.ring();
        } else if let Some(outward) = self.inband() {
            let _ = outward.error(queue);
        }
        self.events.push(Event::Broken { fault });
    }

    /// Answers the doorbells.
    fn listen(&mut self) {
        let mut has_ended = false;
        for ring in &mut self.rings {
            match &ring.kick {
                Kick::Bell(bell) => match bell.answer() {
                    Ok(was_rung) => self.is_awake |= was_rung,
                    Err(fault) => {
                        self.events.push(Event::Broken { fault });
                        ring.kick = Kick::Never;
                        has_ended = true;
                    }
                },
                // Nobody will say when.
                Kick::Silent => self.is_awake |= self.protocol & protocol::INBAND_NOTIFICATIONS == 0,
                Kick::Never => {}
            }
        }
        if has_ended {
            self.stop();
        }
    }

    /// Calls the driver for all rings that it is to be called for.
    fn call(&mut self) {
        for queue in self.due.queues().collect::<Vec<_>>() {
            let ring = self.rings.get_mut(usize::from(queue));
            let is_told = if let Some(ring) = ring.filter(|ring| ring.call.is_some()) {
                if ring.call.as_ref().is_some_and(|bell| bell.ring().is_err()) {
                    ring.call = None;
                }
                true
            } else if let Some(outward) = self.inband() {
                match outward.call(queue) {
                    Err(sidecore_os::Errno::AGAIN) => false,
                    Ok(()) => true,
                    Err(_) => {
                        self.outward = None;
                        true
                    }
                }
            } else {
                true
            };
            if is_told {
                self.due.done(queue);
            }
        }
    }

    fn inband(&self) -> Option<&Outward> {
        self.outward.as_ref().filter(|_| self.protocol & protocol::INBAND_NOTIFICATIONS != 0)
    }
}
