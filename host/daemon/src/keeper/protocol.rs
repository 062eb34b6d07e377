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
    /// Say who you are, then what a daemon that knows nothing of you has to know.
    Hello,
    /// Load the firmware in the file that comes with it, and start it.
    Load(Load),
    /// Take a sandbox over that runs already.
    Attach(Load),
    /// Start other firmware, in the file that comes with it, in place of what there is.
    Replace { file: String },
    /// Start the firmware once more, from the beginning.
    Start,
    /// Stop the remote.
    Stop,
    /// Stop it if it runs, and start it from the beginning.
    Restart,
    /// Let it run on without us, and end.
    Detach,
    /// End, and the remote first.
    End,
    /// Refuse if somebody has a lease.
    CheckFree,
    /// Take all leases back; what somebody had to itself ends by that.
    BreakLeases,
    /// Open an endpoint bound to a service, as soon as that is announced; the answer has its socket.
    Open { service: String, within_ms: u64, queue: Option<u32>, client: String },
    /// Open an endpoint at an address, bound to an address of the remote; `None` for any.
    OpenAt { device: u32, local: Option<u32>, peer: Option<u32>, queue: Option<u32>, client: String },
    /// Close the endpoint with this number.
    Close(u64),
    /// How many messages the endpoint with this number moved.
    Count(u64),
    /// The services that the remote has announced.
    Services,
    /// A socket of the firmware's console.
    Console,
    /// A lease; the answer has its socket.
    Lease { mode: Mode, client: String },
    /// Write its memory to the file that comes with it.
    Dump,
}

/// A remote to be made, or to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// What the remote is called.
    pub(crate) name: String,
    /// Where its sandbox's socket is made, and the keeper's own: a keeper has no environment.
    pub(crate) runtime_dir: PathBuf,
    /// Where the log of its traces is kept; nowhere if it is not said.
    pub(crate) logs: Option<PathBuf>,
    /// What the firmware is called.
    pub(crate) file: String,
    /// What executes it: `sandbox`, or `qemu:BOARD`.
    pub(crate) on: String,
    /// The firmware's arguments.
    pub(crate) arguments: Vec<String>,
    /// When it is a hang; 0 for never.
    pub(crate) watchdog_us: u64,
    /// What becomes of it when it crashes: how often within a minute it is started again.
    pub(crate) restarts: u32,
    /// Whether endpoints stay open over that.
    pub(crate) silently: bool,
    /// The client that it ends with: the bus' identity, and its unique name there.
    pub(crate) tied_to: Option<(String, String)>,
    /// Whether it goes on when the daemon ends.
    pub(crate) outlives: bool,
    /// Bytes of the longest firmware file.
    pub(crate) max_firmware: u64,
    /// Endpoints that a client may have open.
    pub(crate) max_endpoints: u32,
    /// Messages of the remote's that may wait for a client's endpoint where it asks for no other number.
    pub(crate) queue: u32,
    /// Where emulators of boards are looked for.
    pub(crate) path: String,
    /// Whether it is not started before somebody asks for that.
    pub(crate) is_idle: bool,
}

/// How a remote is leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// To nobody.
    #[default]
    None,
    /// To several, who keep it from being stopped.
    Shared,
    /// To one, with whose lease it ends.
    Tied,
    /// To one, who is its main side.
    Exclusive,
}

impl Mode {
    /// As it is called on the bus.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shared => "shared",
            Self::Tied => "tied",
            Self::Exclusive => "exclusive",
        }
    }
}

/// What a keeper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The answer to the request with this number.
    Answer { number: u64, answer: Result<Answer, Refusal> },
    /// Something that a daemon knows of it changed.
    News(News),
}

/// What a keeper tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum News {
    /// The remote's state, in the kernel's words.
    State(String),
    /// How it is leased.
    Lease(Mode),
    /// How often it was started again.
    Restarts(u64),
    /// Its firmware.
    Firmware(FirmwareFacts),
    /// An endpoint was opened.
    Opened(Opened),
    /// It was closed.
    Closed(u64),
    /// A service was announced, or withdrawn.
    Service { service: Service, is_there: bool },
    /// Something happened, in words; with a code where somebody should look at it.
    Happened { what: String, code: Option<String> },
}

/// What is known of firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirmwareFacts {
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) build_id: String,
    /// Names of the trace buffers.
    pub(crate) traces: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// The load that was asked for; nothing yet where there was none.
    Known(Option<Load>),
    /// An endpoint; its socket comes with it.
    Endpoint(Opened),
    Services(Vec<Service>),
    /// Messages to the remote, and from it; messages that were lost for nobody took them.
    Counted {
        sent: u64,
        received: u64,
        lost: u64,
    },
    /// A socket comes with it.
    Socket,
}

/// An endpoint that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// One of the keeper's own, never used again.
    pub(crate) number: u64,
    /// Number of the device.
    pub(crate) device: u32,
    /// Its own address.
    pub(crate) addr: u32,
    /// Bytes of the longest message.
    pub(crate) max_payload: u32,
    /// The service that it is bound to, or nothing.
    pub(crate) service: String,
    /// Who asked for it, by the name on the bus.
    pub(crate) client: String,
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
    NotFound,
    Leased,
    Unsupported,
    Failed,
}

impl Kind {
    /// A refusal of this kind.
    pub(crate) fn because(self, why: impl std::fmt::Display) -> Refusal {
        Refusal { kind: self, why: why.to_string() }
    }
}
