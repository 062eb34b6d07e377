//! What front ends and guests do wrong.

use sidecore_mem::{AccessError, MapError};
use sidecore_os::{Errno, Refused};
use sidecore_rpmsg::LinkError;
use sidecore_virtio::QueueError;

/// A rule that the front end or its guest broke, or something that it asked for in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A field of a message's header has a value that it cannot have.
    #[error("the header of a message has {field} {value:#x}")]
    Header {
        /// Which one.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A message of a kind that this device does not know.
    #[error("there is no request {number} here")]
    Unknown {
        /// The kind's number.
        number: u32,
    },
    /// A message with another payload than its kind has.
    #[error("{request} has {len} bytes of payload; it needs {wanted}")]
    Payload {
        /// The kind of message.
        request: &'static str,
        /// Bytes that came.
        len: usize,
        /// Bytes that belong there.
        wanted: usize,
    },
    /// A message with another number of descriptors than its kind has.
    #[error("{request} came with {count} descriptors; {wanted} belong to it")]
    Descriptors {
        /// The kind of message.
        request: &'static str,
        /// Descriptors that came.
        count: usize,
        /// Descriptors that belong there.
        wanted: usize,
    },
    /// A field of a message has a value that it cannot have.
    #[error("{request}: {field} is {value:#x}")]
    Field {
        /// The kind of message.
        request: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A message that belongs to a protocol feature which was not agreed on.
    #[error("{request} belongs to the protocol feature {feature}, which is not in use")]
    NotAgreed {
        /// The kind of message.
        request: &'static str,
        /// The feature's name.
        feature: &'static str,
    },
    /// Feature bits that were not offered.
    #[error("{request}: the bits {bits:#x} were never offered")]
    NotOffered {
        /// The kind of message.
        request: &'static str,
        /// The bits in question.
        bits: u64,
    },
    /// The connection ended in the middle of a message.
    #[error("the connection ended within a message, {missing} bytes before its end")]
    Partial {
        /// Bytes that are missing: of the header, or of the payload.
        missing: usize,
    },
    /// The front end does not read what it is answered.
    #[error("the front end does not read its answers, {waiting} bytes of them")]
    Unread {
        /// Bytes that wait.
        waiting: usize,
    },
    /// Nothing but faults, for too long.
    #[error("{count} faults in a row, and no link that works")]
    TooMany {
        /// How many.
        count: u32,
    },
    /// The socket, or a descriptor that was sent over it, does not do what it should.
    #[error("{what}: {errno}")]
    Descriptor {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// A memory that the front end lends cannot be used.
    #[error("memory {number} (guest {guest:#x}, {len:#x} bytes, file offset {offset:#x}): {refused}")]
    Memory {
        /// Its number in the message.
        number: usize,
        /// Where the guest has it.
        guest: u64,
        /// Its length in bytes.
        len: u64,
        /// Where it begins in its file.
        offset: u64,
        /// Why.
        refused: Refused,
    },
    /// The memories that the front end lends do not go together.
    #[error("memory {number}, by {space} addresses: {error}")]
    MemoryMap {
        /// Number of the one that does not fit in.
        number: usize,
        /// Whose addresses: the guest's or the front end's.
        space: &'static str,
        /// Why.
        error: MapError,
    },
    /// A memory is to be taken away that is not there.
    #[error("there is no memory at guest {guest:#x} of {len:#x} bytes")]
    NoSuchMemory {
        /// Where the guest should have it.
        guest: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// The file of a memory became shorter under us.
    #[error("the file behind the memory at guest {guest:#x} was truncated")]
    MemoryLost {
        /// Where the guest has the memory.
        guest: u64,
    },
    /// A part of a ring lies in no memory that was lent.
    #[error("ring {queue}: {part} at {address:#x}, {len} bytes, is in no memory that was lent")]
    RingAddress {
        /// Index of the ring.
        queue: u16,
        /// Which part.
        part: &'static str,
        /// Where the front end says that it is.
        address: u64,
        /// Bytes that it has.
        len: usize,
    },
    /// A ring is not aligned as it should be.
    #[error("ring {queue}: {error}")]
    RingMemory {
        /// Index of the ring.
        queue: u16,
        /// What is wrong.
        error: AccessError,
    },
    /// A ring cannot be taken up where the front end says.
    #[error("ring {queue}: {error}")]
    Ring {
        /// Index of the ring.
        queue: u16,
        /// What is wrong.
        error: QueueError,
    },
    /// The guest broke the rules of its rings.
    #[error("the guest's link: {0}")]
    Link(LinkError),
}

impl Fault {
    /// The ring that it is about; 0 where it is about both.
    pub(crate) fn queue(&self) -> u16 {
        match self {
            Self::RingAddress { queue, .. } | Self::RingMemory { queue, .. } | Self::Ring { queue, .. } => {
                *queue
            }
            _ => 0,
        }
    }
}
