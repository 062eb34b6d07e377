//! The rings at work: messages and announcements.

use std::cell::Cell;
use std::sync::Arc;

use sidecore_os::Lent;
use sidecore_rpmsg::link::vring::{Device as VringLink, FROM_DEVICE, TO_DEVICE};
use sidecore_rpmsg::remote::RemoteLink;
use sidecore_rpmsg::{
    Endpoint, Event, FIRST_DYNAMIC_ADDR, Link as _, LinkError, Name, Rpmsg, SendError, Slot,
};
use sidecore_virtio::RingFeatures;

use crate::memory::{MEMORY_SLOTS, Memory};
use crate::ring::{Due, RINGS, Ring};
use crate::{Channel, Fault, Serve};

/// Messages that are taken before the socket gets a turn.
const MESSAGES_A_TURN: usize = 256;

type Link = RemoteLink<Due, Box<[Cell<u16>]>, Arc<Lent>, MEMORY_SLOTS>;

/// What has to survive when rings stand still for a while and go on in the same driver's hands.
#[derive(Default)]
pub(crate) struct Talk {
    channels: Vec<(Name, Box<dyn Serve>)>,
    /// Channels that the guest has been told of.
    announced: usize,
    /// An answer that found no buffer: to be sent by an endpoint to an address before anything else is received.
    unsent: Option<(usize, u32)>,
    answer: Vec<u8>,
    message: Vec<u8>,
    /// Answers that were longer than the guest's buffers, and so dropped.
    pub(crate) too_long: u64,
}

impl Talk {
    /// A talk that has not begun.
    pub(crate) fn new(channels: &mut [Channel]) -> Self {
        let channels = channels.iter_mut().map(|channel| (channel.name, channel.open())).collect();
        Self { channels, ..Self::default() }
    }

    /// The driver used its rings before this link. It was told of all channels then: if not by us, by another process.
    pub(crate) fn resume(&mut self, is_first: bool) {
        if is_first {
            self.announced = self.channels.len();
        }
    }
}

/// The link to a driver, with an endpoint for each channel.
#[derive(Debug)]
pub(crate) struct Device {
    rpmsg: Rpmsg<Link, Box<[Slot]>>,
    endpoints: Vec<Endpoint>,
    /// Whether this driver has used its rings before.
    pub(crate) is_resumed: bool,
}

impl Device {
    /// Takes up the rings where they stand, with as many endpoints as there are channels.
    ///
    /// # Errors
    /// The rings are not where the front end says.
    pub(crate) fn start(
        rings: &[Ring; RINGS],
        memory: &Memory,
        features: u64,
        due: Due,
        channels: usize,
    ) -> Result<Self, Fault> {
        let features = RingFeatures::of(features);
        let [from_device, to_device] = rings;
        let tx = from_device.device(FROM_DEVICE, memory, features)?;
        let rx = to_device.device(TO_DEVICE, memory, features)?;
        let untouched = |ring: &Ring, queue| ring.base == 0 && ring.used_index(queue, memory) == Some(0);
        let is_resumed = !(untouched(from_device, FROM_DEVICE) && untouched(to_device, TO_DEVICE));
        let cancelled = vec![Cell::new(0); usize::from(from_device.num)].into_boxed_slice();
        let link = VringLink::new(tx, rx, memory.guest_map(), due, cancelled).map_err(Fault::Link)?;
        let rpmsg = Rpmsg::new(link, vec![Slot::new(); channels.max(1)].into_boxed_slice());
        // Always the same addresses: a guest that was told of them by an earlier link, even one of an earlier process,
        // finds the same services there.
        let open = |at| rpmsg.open(FIRST_DYNAMIC_ADDR + at as u32, sidecore_rpmsg::ADDR_ANY);
        let endpoints = (0..channels).map(open).collect::<Result<_, _>>();
        let endpoints = endpoints.map_err(|_| Fault::Link(LinkError::Closed))?;
        Ok(Self { rpmsg, endpoints, is_resumed })
    }

    /// Works until there is nothing to do, or for as long as one turn may be; `true` where there is more.
    ///
    /// # Errors
    /// The guest broke the rules of its rings, or took them down without a word.
    pub(crate) fn turn(&self, talk: &mut Talk) -> Result<bool, LinkError> {
        let link = self.rpmsg.link();
        link.disarm();
        for _ in 0..MESSAGES_A_TURN {
            let has_room = self.send_what_waits(talk)?;
            if has_room && self.receive(talk)? {
                continue;
            }
            // A buffer to send in may have come between the last look and now. Where only messages have, which cannot
            // be answered yet, there is nothing to stay awake for.
            if !link.arm() || !(has_room || self.send_what_waits(talk)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells the guest that the channels it knows of are gone, as far as it has buffers for that.
    pub(crate) fn withdraw(&self, talk: &mut Talk) {
        let _batch = self.rpmsg.batch();
        while let Some(last) = talk.announced.checked_sub(1) {
            let told = (self.endpoints.get(last).zip(talk.channels.get(last)))
                .is_some_and(|(endpoint, (name, _))| self.rpmsg.withdraw(*endpoint, name).is_ok());
            if !told {
                break;
            }
            talk.announced = last;
        }
    }

    /// The answer that waits, and announcements; `false` where the guest has no buffer for one of them.
    fn send_what_waits(&self, talk: &mut Talk) -> Result<bool, LinkError> {
        if let Some((channel, to)) = talk.unsent
            && let Some(endpoint) = self.endpoints.get(channel)
        {
            match self.rpmsg.send_to(*endpoint, to, &talk.answer) {
                Ok(()) => {}
                Err(SendError::Full) => return Ok(false),
                Err(SendError::TooLong { .. }) => talk.too_long += 1,
                Err(error) => return Err(broken(error)),
            }
            talk.unsent = None;
        }
        while let Some((endpoint, (name, _))) =
            self.endpoints.get(talk.announced).zip(talk.channels.get(talk.announced))
        {
            match self.rpmsg.announce(*endpoint, name) {
                Ok(()) => talk.announced += 1,
                Err(SendError::Full) => return Ok(false),
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(true)
    }

    /// Takes one message, if there is one, and has it served.
    fn receive(&self, talk: &mut Talk) -> Result<bool, LinkError> {
        let message = match self.rpmsg.poll()? {
            None => return Ok(false),
            // What services the guest has, nobody here asks for.
            Some(Event::Announcement(_)) => return Ok(true),
            Some(Event::Message(message)) => message,
        };
        let (from, endpoint) = (message.src(), message.endpoint());
        talk.message.resize(message.len(), 0);
        // All of it is there: it is as long as it says.
        let read = message.read(0, &mut talk.message);
        drop(message);
        let channel = self.endpoints.iter().position(|own| *own == endpoint);
        if let Some(channel) = channel.filter(|_| read.is_ok())
            && let Some((_, service)) = talk.channels.get_mut(channel)
        {
            talk.answer.clear();
            if service.receive(&talk.message, &mut talk.answer) {
                talk.unsent = Some((channel, from));
            }
        }
        Ok(true)
    }

    /// The guest took its rings down, or they are broken: never to be touched again.
    pub(crate) fn is_closed(&self) -> bool {
        self.rpmsg.link().is_closed()
    }
}

/// Only errors of the link are left where a message fits, and goes from an endpoint that is open to a given address. One
/// that does not even fit an announcement comes from buffers that are of no use.
fn broken(error: SendError) -> LinkError {
    match error {
        SendError::Link(error) => error,
        SendError::TooLong { len, max } => LinkError::TooLong { len, max },
        _ => LinkError::Closed,
    }
}
