//! What can go wrong in an image, in one type for `?`.

use core::fmt;

use embedded_io::ErrorKind;
use sidecore_rpmsg::host::BringUpError;
use sidecore_rpmsg::{LinkError, OpenError, ReadError, SendError};
use sidecore_services::{console, file};
use sidecore_virtio::transport::table::RegisterError;
use sidecore_wire::name_service::NameError;
use sidecore_wire::resource_table::TableError;

/// Whatever went wrong. Each function says what it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The image offers no rpmsg device, so there is nothing to connect.
    NoDevice,
    /// The main side left the device's registers in a state that makes no sense.
    Device(RegisterError),
    /// The link to the main side is down: [`LinkError::Closed`] where the main side took it down.
    Link(LinkError),
    /// This board has one core only, so there is nobody to be the host of.
    NoSibling,
    /// The resource table of the other core's firmware is none.
    SiblingTable(TableError),
    /// The other core's firmware asks for a ring that cannot be, or is too long.
    SiblingRing {
        /// Its number of descriptors.
        num: u32,
        /// Its alignment in bytes.
        align: u32,
    },
    /// The device of the other core's firmware did not come up.
    BringUp(BringUpError),
    /// A message was not sent.
    Send(SendError),
    /// A message was not read.
    Read(ReadError),
    /// An endpoint was not opened.
    Open(OpenError),
    /// This is no name for a channel.
    Name(NameError),
    /// The main side does not speak the name service, so nothing can be announced to it.
    NoNameService,
    /// The console did not do as it was asked.
    Console(console::client::CallError),
    /// A file request was not made.
    FileCall(file::client::CallError),
    /// This is no path.
    Path(file::PathError),
    /// The main side refused a file request, or it failed there.
    File(file::Error),
    /// The main side's answer is not one to the request.
    PeerAnswer,
    /// A position before the beginning of a file, or behind any.
    BadPosition,
    /// A buffer of the caller's is too short.
    NoRoom {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that there are.
        room: usize,
    },
}

macro_rules! from {
    ($($variant:ident($source:ty)),* $(,)?) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Device(RegisterError),
    Open(OpenError),
    Name(NameError),
    Console(console::client::CallError),
    FileCall(file::client::CallError),
    Path(file::PathError),
    File(file::Error),
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Link(error) => Self::Link(error),
            error => Self::Send(error),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Link(error) => Self::Link(error),
            error => Self::Read(error),
        }
    }
}

impl From<sidecore_services::NoRoom> for Error {
    fn from(error: sidecore_services::NoRoom) -> Self {
        Self::NoRoom { needed: error.needed, room: error.room }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("the image offers no rpmsg device"),
            Self::Device(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
            Self::NoSibling => f.write_str("this board has no other core"),
            Self::SiblingTable(error) => write!(f, "the other core's resource table: {error}"),
            Self::SiblingRing { num, align } => {
                write!(f, "the other core's firmware asks for a ring of {num} entries and alignment {align}")
            }
            Self::BringUp(error) => write!(f, "the other core's device: {error}"),
            Self::Send(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::NoNameService => f.write_str("the main side does not speak the name service"),
            Self::Console(error) => error.fmt(f),
            Self::FileCall(error) => error.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::PeerAnswer => f.write_str("the main side's answer is not one to the request"),
            Self::BadPosition => f.write_str("a file has no such position"),
            Self::NoRoom { needed, room } => write!(f, "{needed} bytes are needed and there are {room}"),
        }
    }
}

impl core::error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Link(LinkError::Closed) => ErrorKind::ConnectionReset,
            Self::Link(_) => ErrorKind::ConnectionAborted,
            Self::Send(SendError::Full | SendError::NoPeer) => ErrorKind::NotConnected,
            Self::Send(_) | Self::Name(_) | Self::Path(_) | Self::BadPosition => ErrorKind::InvalidInput,
            Self::Read(_) | Self::PeerAnswer => ErrorKind::InvalidData,
            Self::Console(error) => error.kind(),
            Self::FileCall(error) => error.kind(),
            Self::File(error) => error.kind(),
            Self::NoRoom { .. } => ErrorKind::OutOfMemory,
            Self::NoNameService | Self::NoSibling => ErrorKind::Unsupported,
            Self::NoDevice
            | Self::Device(_)
            | Self::Open(_)
            | Self::SiblingTable(_)
            | Self::SiblingRing { .. }
            | Self::BringUp(_) => ErrorKind::Other,
        }
    }
}
