//! What can go wrong with messages and endpoints.

use core::fmt;

use crate::LinkError;

/// A message that was not sent. Nothing of it reaches the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The payload is longer than a buffer takes.
    TooLong {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload that this buffer takes.
        max: usize,
    },
    /// All transmit buffers are with the peer. The link notifies when one comes back.
    Full,
    /// The endpoint has no peer yet and no destination was named.
    NoPeer,
    /// The endpoint was closed.
    EndpointClosed,
    /// The link is of no use any more.
    Link(LinkError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "a message of {len} bytes; at most {max} fit a buffer"),
            Self::Full => f.write_str("all transmit buffers are with the peer"),
            Self::NoPeer => f.write_str("the endpoint has no peer yet"),
            Self::EndpointClosed => f.write_str("the endpoint was closed"),
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}

impl From<LinkError> for SendError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Full => Self::Full,
            LinkError::TooLong { len, max } => Self::TooLong { len, max },
            error => Self::Link(error),
        }
    }
}

/// An endpoint that was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The storage holds no more endpoints.
    NoSlot {
        /// How many it holds.
        capacity: usize,
    },
    /// The address belongs to another endpoint.
    AddressInUse {
        /// The address.
        addr: u32,
    },
    /// The address is the name service's, or stands for "any".
    AddressReserved {
        /// The address.
        addr: u32,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot { capacity } => write!(f, "no room for more than {capacity} endpoints"),
            Self::AddressInUse { addr } => write!(f, "address {addr:#x} is in use"),
            Self::AddressReserved { addr } => write!(f, "address {addr:#x} is reserved"),
        }
    }
}

impl core::error::Error for OpenError {}

/// A payload that was not copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes asked for are not all in the payload, or the payload does not fit the buffer.
    Length {
        /// First byte asked for.
        at: usize,
        /// Bytes asked for, or room in the buffer.
        len: usize,
        /// Length of the payload in bytes.
        payload: usize,
    },
    /// The link is of no use any more.
    Link(LinkError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { at, len, payload } => {
                write!(f, "{len} bytes from byte {at} on do not match a payload of {payload} bytes")
            }
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReadError {}
