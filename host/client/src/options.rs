//! What is asked for, and what is told, in either half.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// How firmware is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartOptions {
    /// What executes it: `sandbox`, as where nothing is said, or `qemu:BOARD`.
    pub on: Option<String>,
    /// Whom it belongs to from its first moment on: nobody, where nothing is said.
    pub lease: Option<LeaseMode>,
    /// The firmware's arguments.
    pub arguments: Vec<String>,
    /// How long it may compute without a sign of life before it is taken to hang.
    pub watchdog: Option<Duration>,
    /// What the firmware is called.
    pub file: Option<String>,
}

impl StartOptions {
    /// As where nothing is said: in the sandbox, nobody's, without arguments.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what executes it: `sandbox` or `qemu:BOARD`.
    #[must_use]
    pub fn on(mut self, what: impl Into<String>) -> Self {
        self.on = Some(what.into());
        self
    }

    /// Says whom it belongs to.
    #[must_use]
    pub fn lease(mut self, mode: LeaseMode) -> Self {
        self.lease = Some(mode);
        self
    }

    /// Gives the firmware arguments.
    #[must_use]
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a watchdog.
    #[must_use]
    pub fn watchdog(mut self, period: Duration) -> Self {
        self.watchdog = Some(period);
        self
    }

    /// Says what the firmware is called.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Self {
        self.file = Some(name.into());
        self
    }
}

/// How an endpoint is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// How long the service may take to be announced: 5 seconds where nothing is said.
    pub timeout: Duration,
    /// Messages of the remote's that may wait for this client: 256 where nothing is said, 1 at least. Those above are lost,
    /// and an event says so: who does not read takes no buffers from those who do.
    pub queue: u32,
}

impl OpenOptions {
    /// 5 seconds, 256 messages.
    pub const DEFAULT: Self = Self { timeout: Duration::from_secs(5), queue: 256 };

    /// As where nothing is said.
    #[must_use]
    pub fn new() -> Self {
        Self::DEFAULT
    }

    /// Says how long to wait for the service.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Says how many messages may wait.
    #[must_use]
    pub fn queue(mut self, messages: u32) -> Self {
        self.queue = messages;
        self
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// In which way a client has a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseMode {
    /// Nobody else can stop or take it.
    Shared,
    /// As shared, and the remote ends with the lease.
    Tied,
    /// To itself: the client is the remote's main side, and messages go to and fro without anybody between.
    Exclusive,
}

impl LeaseMode {
    /// The word on the bus.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Tied => "tied",
            Self::Exclusive => "exclusive",
        }
    }
}

impl fmt::Display for LeaseMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which half a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// Through the daemon of the session's bus.
    Session,
    /// Through the daemon of the system's bus.
    System,
    /// Through the daemon of a bus that was named.
    Bus,
    /// Without a daemon.
    Direct,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "the session's daemon",
            Self::System => "the system's daemon",
            Self::Bus => "a daemon",
            Self::Direct => "direct",
        })
    }
}

/// A remote that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// What it is called. Of those that Linux drives, the name of its driver or device tree, or the kernel's number for it.
    pub name: String,
    /// What executes it: `sandbox`, `qemu:BOARD`, `linux:remoteprocN`.
    pub kind: String,
    /// What it is doing, in the kernel's words: `offline`, `suspended`, `running`, `crashed`, `attached`, `detached`.
    pub state: String,
}

impl Info {
    /// A name that stands for this one alone: `linux:remoteproc0`, `sandbox:NAME`, else its plain name.
    #[must_use]
    pub fn qualified(&self) -> String {
        match &*self.kind {
            kind if kind.starts_with("linux:") => kind.to_owned(),
            "sandbox" => format!("sandbox:{}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// A service that a remote has announced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Number of the device that it was announced on.
    pub device: u32,
    /// Its name.
    pub name: String,
    /// Its address at the remote.
    pub address: u32,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

/// Something that happened to a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// The remote's name.
    pub processor: String,
    /// Which kind of event: `added`, `removed`, `state`, `name-appeared`, `name-gone`, `lease`, `endpoint-opened`,
    /// `endpoint-closed`, `job`, `notice`, `warning`. There may be more one day.
    pub kind: String,
    /// What, in words.
    pub what: String,
    /// By the kind more: `state`; `service`, `device`, `address`; `code`.
    pub details: BTreeMap<String, Detail>,
}

/// A detail of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// A word or a name.
    Text(String),
    /// A number.
    Number(u64),
}

impl Event {
    /// A detail that is a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.details.get(key)? {
            Detail::Text(text) => Some(text),
            Detail::Number(_) => None,
        }
    }

    /// A detail that is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.details.get(key)? {
            Detail::Number(number) => Some(*number),
            Detail::Text(_) => None,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}
