//! What can go wrong for an application that talks to a remote.

use std::time::Duration;

use sidecore_remoteproc::codes::Code;
use sidecore_rpmsg::{self as rpmsg, LinkError, Name};

use crate::codes;
use crate::event::Ended;
use crate::ground::DeviceError;

/// Why nothing can be sent or received any more over an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The endpoint was closed.
    #[error("the endpoint was closed")]
    Closed,
    /// The endpoint is one of an earlier run of the remote, and stays so: open another one.
    #[error("the endpoint is one of an earlier run of the remote: it was restarted, or attached to again")]
    EarlierRun,
    /// The remote withdrew the service that the endpoint is bound to.
    #[error("the remote withdrew {service}")]
    Withdrawn {
        /// The service's name.
        service: Name,
    },
    /// The device's link is closed, because the remote broke its rules or asked for a reset.
    #[error("the link of vdev{device} is closed: {error}")]
    Link {
        /// Number of the device.
        device: u32,
        /// What happened to it.
        error: LinkError,
    },
    /// The remote is no longer running.
    #[error("{0}")]
    Ended(Ended),
}

impl Lost {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Closed => codes::ENDPOINT_CLOSED,
            Self::EarlierRun => codes::EARLIER_RUN,
            Self::Withdrawn { .. } => codes::SERVICE_WITHDRAWN,
            Self::Link { .. } => codes::LINK_BROKEN,
            Self::Ended(Ended::Exited { .. } | Ended::Stopped | Ended::Detached) => codes::REMOTE_ENDED,
            Self::Ended(Ended::Crashed(_)) => codes::REMOTE_CRASHED,
            Self::Ended(Ended::Lost(error)) => error.code(),
        }
    }
}

/// A message that was not sent. Nothing of it reaches the remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The payload is longer than a buffer takes.
    #[error("a message of {len} bytes: at most {max} fit a buffer")]
    TooLong {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload that a buffer takes.
        max: usize,
    },
    /// All transmit buffers are with the remote. For those that wait: and were until the end.
    #[error("all transmit buffers are with the remote")]
    Full,
    /// The endpoint is bound to no address of the remote yet.
    #[error("the endpoint has no peer yet")]
    NoPeer,
    /// The endpoint is of no use any more.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl SendError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => codes::MESSAGE_TOO_LONG,
            Self::Full => codes::RING_FULL,
            Self::NoPeer => codes::NO_PEER,
            Self::Lost(lost) => lost.code(),
        }
    }

    /// What an error of rpmsg on this device means.
    pub(crate) fn of(device: u32, error: rpmsg::SendError) -> Self {
        match error {
            rpmsg::SendError::TooLong { len, max } => Self::TooLong { len, max },
            rpmsg::SendError::Full => Self::Full,
            rpmsg::SendError::NoPeer => Self::NoPeer,
            rpmsg::SendError::Link(error) => Self::Lost(Lost::Link { device, error }),
            _ => Self::Lost(Lost::Closed),
        }
    }
}

/// No message was received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// None came in time.
    #[error("no message within {} ms", .waited.as_millis())]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The endpoint is of no use any more, and nothing waits there.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl ReceiveError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TimedOut { .. } => codes::RECEIVE_TIMED_OUT,
            Self::Lost(lost) => lost.code(),
        }
    }
}

/// An endpoint that was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such service was announced in time.
    #[error("{service:?} was not announced within {} ms; announced were: {}", .waited.as_millis(), list(.announced))]
    NotAnnounced {
        /// The name asked for.
        service: String,
        /// How long was waited.
        waited: Duration,
        /// The services that there are.
        announced: Vec<Name>,
    },
    /// There is no such device, or it did not come up.
    #[error("there is no vdev{device}, or it did not come up")]
    NoDevice {
        /// Number of the device.
        device: u32,
    },
    /// The address is not to be had, or there is no room for more endpoints.
    #[error(transparent)]
    Endpoint(#[from] rpmsg::OpenError),
    /// The device or the remote is of no use any more.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl OpenError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotAnnounced { .. } => codes::NOT_ANNOUNCED,
            Self::NoDevice { .. } => codes::NO_DEVICE,
            Self::Endpoint(_) => codes::ENDPOINT_REFUSED,
            Self::Lost(lost) => lost.code(),
        }
    }
}

impl DeviceError {
    /// The code that stands for every error of this kind.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoDriver { .. } => codes::DEVICE_UNKNOWN,
            _ => codes::DEVICE_DOWN,
        }
    }
}

fn list(names: &[Name]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
}
