//! Channels at work on a link: announcements, messages, answers.

use sidecore_rpmsg::{
    ADDR_ANY, Endpoint, Event, FIRST_DYNAMIC_ADDR, Link, LinkError, Name, Rpmsg, SendError, Slot,
};

use crate::{Channel, Serve};

/// Messages that are taken before others get a turn.
const MESSAGES_A_TURN: usize = 256;

/// What has to survive when rings stand still for a while and go on in the same driver's hands.
#[derive(Default)]
pub struct Talk {
    channels: Vec<(Name, Box<dyn Serve>)>,
    /// Channels that the other side has been told of.
    announced: usize,
    /// Nothing is announced any more.
    is_leaving: bool,
    /// A channel that is over, and whose other side is to hear of that behind the answer.
    going: Option<usize>,
    /// An answer that found no buffer: to be sent by an endpoint to an address before anything else is received.
    unsent: Option<(usize, u32)>,
    answer: Vec<u8>,
    message: Vec<u8>,
    /// Answers that were longer than the other side's buffers, and so dropped.
    too_long: u64,
}

impl Talk {
    /// A talk that has not begun, with what serves each of the channels anew.
    #[must_use]
    pub fn new(channels: &mut [Channel]) -> Self {
        let channels = channels.iter_mut().map(|channel| (channel.name, channel.open())).collect();
        Self { channels, ..Self::default() }
    }

    /// The driver used its rings before this link. It was told of all channels then: if not by us, by another process.
    pub(crate) fn resume(&mut self, is_first: bool) {
        if is_first {
            self.announced = self.channels.len();
        }
    }

    /// Has the other side told of no channel: a main side that does not take part in the name service.
    pub fn say_no_names(&mut self) {
        self.announced = self.channels.len();
    }

    /// How many answers were dropped since this was asked last, for being longer than the other side's buffers.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("announced", &self.announced).finish_non_exhaustive()
    }
}

/// A link with an endpoint for each channel.
#[derive(Debug)]
pub struct Serving<L> {
    rpmsg: Rpmsg<L, Box<[Slot]>>,
    endpoints: Vec<Endpoint>,
}

impl<L: Link> Serving<L> {
    /// As many endpoints as there are channels, on a link that is up.
    ///
    /// # Errors
    /// There are more channels than dynamic addresses.
    pub fn new(link: L, channels: usize) -> Result<Self, LinkError> {
        let rpmsg = Rpmsg::new(link, vec![Slot::new(); channels.max(1)].into_boxed_slice());
        // Always the same addresses: a guest that was told of them by an earlier link, even one of an earlier process,
        // finds the same services there.
        let open = |at| rpmsg.open(FIRST_DYNAMIC_ADDR + at as u32, ADDR_ANY);
        let endpoints = (0..channels).map(open).collect::<Result<_, _>>().map_err(|_| LinkError::Closed)?;
        Ok(Self { rpmsg, endpoints })
    }

    /// Works until there is nothing to do, or for as long as one turn may be; `true` where there is more.
    ///
    /// # Errors
    /// The other side broke the rules of its rings, or took them down without a word.
    pub fn turn(&self, talk: &mut Talk) -> Result<bool, LinkError> {
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

    /// Tells the other side that the channels it knows of are gone, as far as it has buffers for that. Nothing is announced
    /// in this talk afterwards.
    pub fn withdraw(&self, talk: &mut Talk) {
        let _batch = self.rpmsg.batch();
        talk.is_leaving = true;
        while let Some(last) = talk.announced.checked_sub(1) {
            let told = (self.endpoints.get(last).zip(talk.channels.get(last)))
                .is_some_and(|(endpoint, (name, _))| self.rpmsg.withdraw(*endpoint, name).is_ok());
            if !told {
                break;
            }
            talk.announced = last;
        }
    }

    /// The answer that waits, and announcements; `false` where the other side has no buffer for one of them.
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
        if let Some(channel) = talk.going
            && let Some((endpoint, (name, _))) = self.endpoints.get(channel).zip(talk.channels.get(channel))
        {
            match self.rpmsg.withdraw(*endpoint, name) {
                Ok(()) => talk.going = None,
                Err(SendError::Full) => return Ok(false),
                Err(error) => return Err(broken(error)),
            }
        }
        while !talk.is_leaving
            && let Some((endpoint, (name, _))) =
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
            // What services it has, nobody here asks for.
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
            if service.is_over() {
                talk.going = Some(channel);
            }
        }
        Ok(true)
    }

    /// The other side took its rings down, or they are broken: never to be touched again.
    pub fn is_closed(&self) -> bool {
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
