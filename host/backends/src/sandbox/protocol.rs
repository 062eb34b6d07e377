//! What main side, warden and boot stub say to each other: one message a packet, little endian.
//!
//! All three are the same executable, but a peer that attaches may be anything of the same user, or an older or newer
//! sidecore. So decoding is total and bounded, and every message that opens a conversation carries [`VERSION`].

use std::fmt;

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Access, BackendError, Boot, Crash, CrashKind, Event, Registers};

/// Version of these messages. Wardens of another one are refused by name, never guessed at.
pub(super) const VERSION: u32 = 4;

/// Bytes that a message may have.
pub(super) const MAX_MESSAGE: usize = 16 * 1024;

/// Elements of a list, which is more than there can be memories.
const MAX_LIST: usize = 64;
/// Bytes of a text; a longer one is cut when it is sent.
const MAX_TEXT: usize = 2048;

/// A message that makes no sense: the part that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message with a bad {}", self.0)
    }
}

/// Something with a place in a message.
pub(super) trait Wire: Sized {
    /// Appends it.
    fn put(&self, to: &mut Vec<u8>);
    /// Takes it off the front.
    fn take(from: &mut &[u8]) -> Result<Self, Garbled>;

    /// A whole message.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        self.put(&mut bytes);
        bytes
    }

    /// Reads a whole message, with nothing behind it.
    fn decode(mut bytes: &[u8]) -> Result<Self, Garbled> {
        let value = Self::take(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err(Garbled("length")) }
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $t:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) struct $name { $($(#[$field_doc])* pub(super) $field: $t,)* }

        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $(self.$field.put(to);)*
            }

            fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
                Ok(Self { $($field: Wire::take(from)?,)* })
            }
        }
    )*};
    ($($(#[$doc:meta])* enum $name:ident { $($(#[$item_doc:meta])* $tag:literal $item:ident($t:ty),)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($(#[$item_doc])* $item($t),)* }

        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                match self {
                    $(Self::$item(value) => {
                        to.push($tag);
                        value.put(to);
                    })*
                }
            }

            fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
                match u8::take(from)? {
                    $($tag => Wire::take(from).map(Self::$item),)*
                    _ => Err(Garbled("kind")),
                }
            }
        }
    )*};
}

messages! {
    /// The first message to a warden. Descriptors: the listener and its directory if `listens`, the warden's end of
    /// the lease if `leased`, the directory of logs if `logs`.
    struct Setup {
        version: u32,
        /// What the remote is called, and its socket if there is one.
        name: String,
        listens: bool,
        leased: bool,
        /// Whether the warden keeps a log of the remote's traces.
        logs: bool,
        /// What that says of the firmware.
        firmware: String,
        /// Whether the remote may outlive the main side that starts it.
        outlives: bool,
        /// Whether a start without Landlock fails.
        strict: bool,
        /// The longest watchdog period in milliseconds; 0 leaves that to the firmware.
        watchdog_ms: u32,
    }

    /// Pages of the remote's memory: where it sees them and where they lie in the shared memory.
    struct Span {
        name: String,
        at: u64,
        offset: u64,
        len: u64,
        access: Access,
    }

    /// The whole address space of a remote.
    struct Plan {
        /// Bytes of the shared memory.
        total: u64,
        memories: Vec<Span>,
        hand_over: Span,
        stack: Span,
        /// Bytes below and above the stack that stay unmapped.
        guard: u64,
    }

    /// What a boot stub is to do. Descriptors: the memory, the doorbell that it reads, the one that it writes, and the one
    /// that it writes for the reader of its traces.
    struct StubOrder {
        /// Process number of the warden, to die with.
        warden: i32,
        strict: bool,
        plan: Plan,
        entry: u64,
    }

    /// What an attached main side gets to know. Descriptors: as for a prepared one.
    struct Attached {
        plan: Plan,
        boot: Boot,
        findings: Vec<String>,
    }

    /// A remote that stands still as long as this connection lasts. Descriptor: the memory.
    struct Halted {
        plan: Plan,
        /// How it ended, if it had already; then there is nothing to hold.
        ended: Option<Event>,
        pc: Option<DeviceAddr>,
        registers: Option<Registers>,
    }

    /// Something could not be done: [`BackendError::System`].
    struct Refusal {
        operation: String,
        reason: String,
    }
}

messages! {
    /// Main side to warden.
    enum Request {
        /// Get memory. Answered with [`Reply::Prepared`].
        1 Prepare(Plan),
        /// Let the remote run. Answered with [`Reply::Started`].
        2 Start(Boot),
        /// Kill the remote. Answered with [`Reply::Done`].
        3 Stop(()),
        /// Give the memory back. Answered with [`Reply::Done`].
        4 Unprepare(()),
        /// Let the remote live on without a main side. Answered with [`Reply::Done`].
        5 Detach(()),
        /// A new main side, with its [`VERSION`]. Answered with [`Reply::Attached`].
        6 Attach(u32),
        /// Somebody who wants to look at the remote while it stands still, with their [`VERSION`], beside any main side.
        /// Answered with [`Reply::Halted`].
        7 Halt(u32),
        /// Somebody who wants the remote to end, with their [`VERSION`], whoever is its main side.
        8 End(u32),
    }

    /// Warden to main side: one answer to each request, and the end of a remote when it comes.
    enum Reply {
        /// Done.
        1 Done(()),
        /// Descriptors: the memory, the remote's doorbell, the main side's doorbell, the journal.
        2 Prepared(()),
        /// It runs; what is to be known of its confinement.
        3 Started(Vec<String>),
        /// See there.
        4 Attached(Attached),
        /// Not done.
        5 Refused(Refusal),
        /// No answer: the remote ended.
        6 Ended(Event),
        /// No answer: the warden ends, for this reason.
        7 Farewell(String),
        /// See there.
        8 Halted(Halted),
    }

    /// Boot stub to warden.
    enum StubReport {
        /// Something to be known.
        1 Finding(String),
        /// All is done but the last step. The end of the connection after this means that firmware runs.
        2 Ready(()),
        /// It cannot be done; the stub ends.
        3 Refused(Refusal),
    }
}

impl Plan {
    /// All spans: the memories, the hand-over page, the stack.
    pub(super) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.memories.iter().chain([&self.hand_over, &self.stack])
    }
}

impl Refusal {
    /// What was tried and why it failed.
    pub(super) fn new(operation: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { operation: operation.into(), reason: reason.to_string() }
    }
}

impl From<sidecore_os::Refused> for Refusal {
    fn from(refused: sidecore_os::Refused) -> Self {
        Self::new(refused.operation, refused.errno)
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        Self::System { operation: refusal.operation, reason: refusal.reason }
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
                let (bytes, rest) = from.split_first_chunk().ok_or(Garbled("length"))?;
                *from = rest;
                Ok(Self::from_le_bytes(*bytes))
            }
        }
    )*};
}

integers!(u8, u16, i32, u32, u64);

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut &[u8]) -> Result<Self, Garbled> {
        Ok(())
    }
}

impl Wire for bool {
    fn put(&self, to: &mut Vec<u8>) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbled("flag")),
        }
    }
}

impl Wire for String {
    fn put(&self, to: &mut Vec<u8>) {
        let text = &self[..self.floor_char_boundary(MAX_TEXT)];
        (text.len() as u16).put(to);
        to.extend_from_slice(text.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        let len = usize::from(u16::take(from)?);
        let (text, rest) = from.split_at_checked(len).filter(|_| len <= MAX_TEXT).ok_or(Garbled("text"))?;
        *from = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Garbled("text"))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        let count = self.len().min(MAX_LIST);
        (count as u16).put(to);
        self.iter().take(count).for_each(|element| element.put(to));
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        let count = usize::from(u16::take(from)?);
        if count > MAX_LIST {
            return Err(Garbled("count"));
        }
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        self.iter().for_each(|value| value.put(to));
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl Wire for DeviceAddr {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        u64::take(from).map(Self)
    }
}

impl Wire for Access {
    fn put(&self, to: &mut Vec<u8>) {
        let tag: u8 = match self {
            Self::Read => 0,
            Self::ReadWrite => 1,
            Self::ReadExecute => 2,
            Self::ReadWriteExecute => 3,
        };
        tag.put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        match u8::take(from)? {
            0 => Ok(Self::Read),
            1 => Ok(Self::ReadWrite),
            2 => Ok(Self::ReadExecute),
            _ => Err(Garbled("access")), // No sandbox maps memory that is both writable and executable.
        }
    }
}

impl Wire for Boot {
    fn put(&self, to: &mut Vec<u8>) {
        self.entry.put(to);
        self.table.put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        Ok(Self { entry: Wire::take(from)?, table: Wire::take(from)? })
    }
}

impl Wire for Event {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Exited { code } => (1_u8, *code).put(to),
            Self::Crashed(crash) => {
                2_u8.put(to);
                crash.put(to);
            }
            // Kicks come by the doorbell, and there are no other events today.
            _ => 0_u8.put(to),
        }
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        match u8::take(from)? {
            0 => Ok(Self::Kick),
            1 => Wire::take(from).map(|code| Self::Exited { code }),
            2 => Wire::take(from).map(Self::Crashed),
            _ => Err(Garbled("event")),
        }
    }
}

impl Wire for Crash {
    fn put(&self, to: &mut Vec<u8>) {
        self.kind.put(to);
        self.signal.put(to);
        self.pc.put(to);
        self.registers.put(to);
        self.allegation.put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        let (kind, signal, pc) = (Wire::take(from)?, Wire::take(from)?, Wire::take(from)?);
        let (registers, allegation) = (Wire::take(from)?, Wire::take(from)?);
        Ok(Self { kind, signal, pc, registers, allegation })
    }
}

impl Wire for Registers {
    fn put(&self, to: &mut Vec<u8>) {
        u32::from(self.machine).put(to);
        let bytes = &self.bytes[..self.bytes.len().min(MAX_TEXT)];
        (bytes.len() as u16).put(to);
        to.extend_from_slice(bytes);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        let machine = u16::try_from(u32::take(from)?).map_err(|_| Garbled("machine"))?;
        let len = usize::from(u16::take(from)?);
        let (bytes, rest) = from.split_at_checked(len).filter(|_| len <= MAX_TEXT).ok_or(Garbled("bytes"))?;
        *from = rest;
        Ok(Self { machine, bytes: bytes.to_vec() })
    }
}

impl Wire for CrashKind {
    fn put(&self, to: &mut Vec<u8>) {
        let (tag, detail): (u8, u64) = match *self {
            Self::Fault { address } => (1, address.0),
            Self::IllegalInstruction => (2, 0),
            Self::Abort => (3, 0),
            Self::ForbiddenCall { number } => (4, number),
            Self::Hang => (5, 0),
            Self::Killed => (6, 0),
            _ => (0, 0),
        };
        (tag, detail).put(to);
    }

    fn take(from: &mut &[u8]) -> Result<Self, Garbled> {
        let (tag, detail): (u8, u64) = Wire::take(from)?;
        match tag {
            0 => Ok(Self::Other),
            1 => Ok(Self::Fault { address: DeviceAddr(detail) }),
            2 => Ok(Self::IllegalInstruction),
            3 => Ok(Self::Abort),
            4 => Ok(Self::ForbiddenCall { number: detail }),
            5 => Ok(Self::Hang),
            6 => Ok(Self::Killed),
            _ => Err(Garbled("crash")),
        }
    }
}

#[cfg(test)]
mod tests;
