//! What can go wrong at a virtqueue, by who is guilty.

use core::fmt;

use sidecore_mem::AccessError;

/// An operation on a virtqueue that did not succeed.
///
/// The `Peer…` variants mean that the other side broke the rules of the ring: its queue is of no use any more and
/// wants a reset. The others are the caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// Not enough free descriptors; some come back when the device has used buffers.
    Full,
    /// A chain of no buffers, or of more than the ring has descriptors.
    ChainLength {
        /// Buffers in the chain.
        len: usize,
    },
    /// A descriptor number that the caller does not hold.
    NotHeld {
        /// The number.
        head: u16,
    },
    /// The ring or a table does not lie where it should.
    Access(AccessError),
    /// The driver's storage has fewer slots than the ring has descriptors.
    Storage {
        /// Slots there are.
        slots: usize,
        /// Descriptors of the ring.
        num: u16,
    },
    /// The peer's index claims more entries than can be there (`available.idx` or `used.idx`).
    PeerIndexJump {
        /// Where we have read up to.
        ours: u16,
        /// What the peer's index says.
        theirs: u16,
        /// The most entries that can be outstanding.
        limit: u16,
    },
    /// The peer named a descriptor that the ring does not have, or that is not with it.
    PeerBadId {
        /// The number it named.
        id: u32,
        /// Descriptors of the ring.
        num: u16,
    },
    /// A chain with more descriptors than the ring has: a loop.
    PeerChainLoop {
        /// First descriptor of the chain.
        head: u16,
    },
    /// A descriptor that breaks a rule of the specification.
    PeerBadDescriptor {
        /// Its number, in the ring or in an indirect table.
        index: u16,
        /// Which field is wrong.
        field: &'static str,
        /// The field's value.
        value: u64,
    },
    /// The peer claims to have written more than it was given.
    PeerBadLength {
        /// First descriptor of the chain.
        head: u16,
        /// Bytes that it claims.
        len: u32,
        /// Bytes that were there.
        room: u32,
    },
}

impl QueueError {
    /// Whether the other side broke the rules, so that only a reset helps.
    #[must_use]
    pub const fn is_peer(&self) -> bool {
        matches!(
            self,
            Self::PeerIndexJump { .. }
                | Self::PeerBadId { .. }
                | Self::PeerChainLoop { .. }
                | Self::PeerBadDescriptor { .. }
                | Self::PeerBadLength { .. }
        )
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the ring is full"),
            Self::ChainLength { len } => write!(f, "a chain of {len} buffers does not fit the ring"),
            Self::NotHeld { head } => write!(f, "descriptor {head} is not held by the caller"),
            Self::Access(error) => write!(f, "ring memory: {error}"),
            Self::Storage { slots, num } => {
                write!(f, "storage of {slots} slots for a ring of {num} descriptors")
            }
            Self::PeerIndexJump { ours, theirs, limit } => {
                write!(
                    f,
                    "the peer's index jumped from {ours} to {theirs}; at most {limit} entries can be there"
                )
            }
            Self::PeerBadId { id, num } => {
                write!(f, "the peer named descriptor {id}, which is not with it (the ring has {num})")
            }
            Self::PeerChainLoop { head } => write!(f, "the peer's chain at descriptor {head} never ends"),
            Self::PeerBadDescriptor { index, field, value } => {
                write!(f, "the peer's descriptor {index} has a bad {field}: {value:#x}")
            }
            Self::PeerBadLength { head, len, room } => {
                write!(f, "the peer claims {len} bytes written at descriptor {head}, which has {room}")
            }
        }
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Access(error) => Some(error),
            _ => None,
        }
    }
}

impl From<AccessError> for QueueError {
    fn from(error: AccessError) -> Self {
        Self::Access(error)
    }
}
