//! Services that the main side runs for its remotes: what a remote gets when it announces a channel of their name.

use std::fmt;

use sidecore_services::PeerError;

/// One service at work for one channel of a remote.
///
/// It is called by [`Processor::poll`](crate::Processor::poll), and must neither block for long nor keep what it is
/// given.
pub trait Serve: Send {
    /// The service's name, as in [`sidecore_services::SERVICES`].
    fn name(&self) -> &'static str;

    /// Takes a message of the remote, a private copy.
    ///
    /// # Errors
    /// The remote broke the service's rules; the message changed nothing.
    fn receive(&mut self, message: &[u8]) -> Result<(), PeerError>;

    /// Writes the next message to send into `out`, which is as long as a message can be, and answers its length; `None`
    /// while there is none. Asked after every message that came and at every poll, until there is none. What was
    /// written is sent, unless the link breaks.
    ///
    /// # Errors
    /// What came earlier and waited here broke the service's rules, and is dropped.
    fn transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, PeerError>;

    /// The next thing that the application should know.
    fn event(&mut self) -> Option<ServiceEvent> {
        None
    }
}

/// Something that a service tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// Both sides have greeted each other.
    Started {
        /// The version of the protocol that both speak.
        version: u16,
    },
    /// The firmware is done, and says how it went. It may run on all the same.
    Finished {
        /// Its exit code.
        code: i32,
    },
    /// The service cannot do what it is there for.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// Something that the remote asked for was refused.
    Denied {
        /// What, and why.
        what: String,
    },
}

impl fmt::Display for ServiceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { version } => write!(f, "started, version {version}"),
            Self::Finished { code } => write!(f, "the firmware is done, exit code {code}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Denied { what } => write!(f, "denied: {what}"),
        }
    }
}

/// A service that is offered to a remote: makes one [`Serve`] for each channel that the remote announces.
pub struct Offer {
    /// The channels: those of this name, and of this name with an instance suffix (`name-1`).
    pub channel: &'static str,
    /// Makes the service for one more channel; `None` refuses it.
    pub open: Box<dyn FnMut() -> Option<Box<dyn Serve>> + Send>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("channel", &self.channel).finish_non_exhaustive()
    }
}
