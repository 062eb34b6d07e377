//! What a guest finds at the other end of a channel.

use std::fmt;
use std::str::FromStr;

use sidecore_rpmsg::Name;

/// One service at work for one channel of a guest.
pub trait Serve: Send {
    /// Takes a message, a private copy, and puts the answer behind what is in `answer` (nothing); whether it is to be
    /// sent, to where the message came from. It is called again only after the answer is on its way, so that a guest
    /// which takes no answers cannot have more than one of them kept.
    fn receive(&mut self, message: &[u8], answer: &mut Vec<u8>) -> bool;

    /// Whether the channel is to go, once the answer is on its way.
    fn is_over(&self) -> bool {
        false
    }
}

/// A kind of service that is built in.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// As people call it.
    pub name: &'static str,
    /// The channel by which guests know it.
    pub channel: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    open: fn() -> Box<dyn Serve>,
}

/// All that are built in, by name.
pub const SERVICES: &[Service] = &[
    Service {
        name: "discard",
        channel: "rpmsg-discard",
        summary: "takes every message and answers none",
        open: || Box::new(Discard),
    },
    Service {
        name: "echo",
        channel: "rpmsg-echo",
        summary: "sends every message back",
        open: || Box::new(Echo),
    },
    Service {
        name: "raw",
        channel: "rpmsg-raw",
        summary: "an echo for Linux' rpmsg_char: /dev/rpmsg0",
        open: || Box::new(Echo),
    },
    Service {
        name: "sample",
        channel: "rpmsg-client-sample",
        summary: "an echo that goes on \"goodbye!\": for Linux' and OpenAMP's samples",
        open: || Box::new(Sample { is_over: false }),
    },
    Service {
        name: "tty",
        channel: "rpmsg-tty",
        summary: "an echo for Linux' rpmsg_tty: /dev/ttyRPMSG0",
        open: || Box::new(Echo),
    },
];

/// A channel that guests are to find, with what serves it: made by its text, `SERVICE` for a service on its own channel
/// or `CHANNEL=SERVICE` for one on another; or of a name and anything that serves.
pub struct Channel {
    /// The name that is announced.
    pub name: Name,
    open: Box<dyn FnMut() -> Box<dyn Serve> + Send>,
}

impl Channel {
    /// A channel that is served by what `open` makes, anew for each driver that comes.
    pub fn new(name: Name, open: impl FnMut() -> Box<dyn Serve> + Send + 'static) -> Self {
        Self { name, open: Box::new(open) }
    }

    /// One more of what serves the channel.
    pub(crate) fn open(&mut self) -> Box<dyn Serve> {
        (self.open)()
    }
}

impl FromStr for Channel {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, ChannelError> {
        let (channel, wanted) = text.split_once('=').map_or((None, text), |(name, rest)| (Some(name), rest));
        let service = SERVICES.iter().find(|service| service.name == wanted);
        let service = service.ok_or_else(|| ChannelError::NoSuchService { name: wanted.to_owned() })?;
        let name = channel.unwrap_or(service.channel);
        let name = Name::new(name).map_err(|_| ChannelError::Name { name: name.to_owned() })?;
        Ok(Self::new(name, service.open))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A text that names no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// There is no service of that name.
    #[error("there is no service {name} (there are {})", names())]
    NoSuchService {
        /// The name.
        name: String,
    },
    /// No channel can have that name.
    #[error("`{name}` is no name for a channel: 1 to 31 printable ASCII characters")]
    Name {
        /// The name.
        name: String,
    },
}

fn names() -> String {
    SERVICES.iter().map(|service| service.name).collect::<Vec<_>>().join(", ")
}

struct Echo;

impl Serve for Echo {
    fn receive(&mut self, message: &[u8], answer: &mut Vec<u8>) -> bool {
        answer.extend_from_slice(message);
        true
    }
}

/// OpenAMP's sample host ends when the channel is gone to which it said so.
struct Sample {
    is_over: bool,
}

impl Serve for Sample {
    fn receive(&mut self, message: &[u8], answer: &mut Vec<u8>) -> bool {
        self.is_over = message == b"goodbye!";
        Echo.receive(message, answer)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

struct Discard;

impl Serve for Discard {
    fn receive(&mut self, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_name_of_its_own_and_a_channel_that_can_be_announced() {
        assert!(SERVICES.is_sorted_by(|a, b| a.name < b.name));
        for service in SERVICES {
            let channel: Channel = service.name.parse().unwrap();
            assert_eq!(channel.name.as_str(), Some(service.channel));
        }
    }

    #[test]
    fn a_service_can_be_had_under_another_name() {
        let mut channel: Channel = "rpmsg-eeprom-1=echo".parse().unwrap();
        assert_eq!(channel.name.as_str(), Some("rpmsg-eeprom-1"));
        let mut answer = Vec::new();
        assert!(channel.open().receive(b"hello", &mut answer));
        assert_eq!(answer, b"hello");
        let error = "x=toast".parse::<Channel>().unwrap_err().to_string();
        assert_eq!(error, "there is no service toast (there are discard, echo, raw, sample, tty)");
        for name in ["=echo", "a name that is longer than a channel's=echo", "\u{e9}=echo"] {
            assert!(matches!(name.parse::<Channel>(), Err(ChannelError::Name { .. })), "{name}");
        }
    }
}
