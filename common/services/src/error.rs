use core::{error, fmt};

use embedded_io::ErrorKind;
use sidecore_wire::Malformed;

/// The peer broke the rules of a service. The message that did changed nothing, and the service goes on; whoever
/// serves many remotes counts these and may give up on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// A field of the message has no meaning.
    Malformed(Malformed),
    /// The message has a meaning, but not now.
    OutOfTurn {
        /// What came.
        message: &'static str,
        /// Why it is too early, too late or not wanted.
        why: &'static str,
    },
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::OutOfTurn { message, why } => write!(f, "{message} is out of turn: {why}"),
        }
    }
}

impl error::Error for PeerError {}

impl embedded_io::Error for PeerError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidData
    }
}

impl From<Malformed> for PeerError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
