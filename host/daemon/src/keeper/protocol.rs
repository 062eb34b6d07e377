//! What the daemon and a keeper say to each other: one message a packet, in postcard.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 << 10;

/// What the daemon asks. The answer has the same number; there may be others before it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) what: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Load the firmware in the file that comes with it, and start it.
    Load {
        /// What the remote is called.
        name: String,
        /// Where its sandbox's socket is made: a keeper has no environment.
        runtime_dir: PathBuf,
    },
    /// Start the firmware once more, from the beginning.
    Start,
    /// Stop the remote.
    Stop,
    /// Open an endpoint bound to a service, as soon as that is announced; the answer has its socket.
    Open { service: String, within_ms: u64 },
    /// Open an endpoint at an address, bound to an address of the remote; `None` for any.
    OpenAt { device: u32, local: Option<u32>, peer: Option<u32> },
    /// The services that the remote has announced.
    Services,
}

/// What a keeper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The answer to the request with this number.
    Answer { number: u64, answer: Result<Answer, Refusal> },
    /// The remote's state changed.
    State(String),
    /// Something happened, in words.
    Happened { what: String, is_warning: bool },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// An endpoint; its socket comes with it.
    Endpoint(Opened),
    Services(Vec<Service>),
}

/// An endpoint that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Number of the device.
    pub(crate) device: u32,
    /// Its own address.
    pub(crate) addr: u32,
    /// Bytes of the longest message.
    pub(crate) max_payload: u32,
}

/// A service that is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) device: u32,
    pub(crate) name: String,
    pub(crate) addr: u32,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// In words, with the code that explains it.
    pub(crate) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    BadFirmware,
    WrongState,
    NotAnnounced,
    NoRoom,
    Failed,
}
