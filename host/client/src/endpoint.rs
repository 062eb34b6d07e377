//! Messages.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::direct::{self, Node, Rings};
use crate::error::{Error, Result};
use crate::socket::Socket;

/// An open endpoint of a remote: it sends messages to a service or an address there, and receives those that come back. A
/// message is of 65535 bytes at most, and kept whole.
///
/// Its descriptor ([`AsFd`]) is readable when there may be something to receive, or the end, and can be polled with any
/// others. It is for polling alone.
///
/// Dropping it closes it; what still waits there is lost. Clients do not see each other's messages, and none takes others'
/// room by not reading: what is too much for its [queue](crate::OpenOptions::queue) is lost to it alone, and an event says so.
pub struct Endpoint {
    way: Way,
}

/// By which way messages go.
pub(crate) enum Way {
    /// By a socket, to whoever is the remote's main side.
    Socket(Socket),
    /// By the rings, for this program is its main side.
    Rings(Rings),
    /// By a device of the kernel's.
    Node(Node),
}

/// The same call on whichever it is.
macro_rules! on {
    ($way:expr, $one:ident => $call:expr) => {
        match $way {
            Way::Socket($one) => $call,
            Way::Rings($one) => $call,
            Way::Node($one) => $call,
        }
    };
}

impl Endpoint {
    pub(crate) fn new(way: Way) -> Self {
        Self { way }
    }

    /// Its own address on the remote's link; where the kernel has it and does not say, `u32::MAX`.
    #[must_use]
    pub fn addr(&self) -> u32 {
        self.way.address()
    }

    /// Bytes of the longest message that can be sent.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.way.max_payload()
    }

    /// Sends a message, copying it, and waits for room as long as `timeout` (`None`: for ever).
    ///
    /// # Errors
    /// Nothing was sent: [`Error::Full`] when the time is over, [`Error::TooLong`], [`Error::NoPeer`], or [`Error::Ended`].
    /// Through the daemon also [`Error::Empty`].
    pub fn send(&self, message: &[u8], timeout: impl Into<Option<Duration>>) -> Result<()> {
        // Almost always there is room, and what the time is does not matter.
        match self.way.try_send(message) {
            Err(Error::Full) => {}
            other => return other,
        }
        let deadline = deadline(timeout.into());
        on!(&self.way, one => one.send(message, deadline))
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.way.try_send(message)
    }

    /// Takes the oldest message, waiting for one as long as `timeout` (`None`: for ever).
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Ended`] where none will ever come; what came before has been received then.
    pub fn receive(&self, timeout: impl Into<Option<Duration>>) -> Result<Vec<u8>> {
        let timeout = timeout.into();
        let received = on!(&self.way, one => one.receive(deadline(timeout)))?;
        received.ok_or_else(|| timed_out(timeout))
    }

    /// The same, to a buffer. Answers the message's length.
    ///
    /// # Errors
    /// As of [`receive`](Self::receive); [`Error::BufferTooSmall`] where the message is longer, which it stays the next then.
    pub fn receive_into(&self, to: &mut [u8], timeout: impl Into<Option<Duration>>) -> Result<usize> {
        let timeout = timeout.into();
        let received = on!(&self.way, one => one.receive_into(to, deadline(timeout)))?;
        received.ok_or_else(|| timed_out(timeout))
    }

    /// Takes the oldest message if there is one now.
    ///
    /// # Errors
    /// [`Error::Ended`]: there is none, and none will ever come.
    pub fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        self.way.try_receive()
    }

    /// The same, to a buffer. Answers the message's length.
    ///
    /// # Errors
    /// As of [`receive_into`](Self::receive_into).
    pub fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        self.way.try_receive_into(to)
    }

    /// Waits until a message can be received, or the end, as long as `timeout` (`None`: for ever); whether one can.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn poll(&self, timeout: impl Into<Option<Duration>>) -> Result<bool> {
        let deadline = deadline(timeout.into());
        on!(&self.way, one => one.poll(deadline))
    }

    /// Closes it. So does dropping it.
    pub fn close(self) {
        drop(self);
    }
}

impl Way {
    pub(crate) fn address(&self) -> u32 {
        on!(self, one => one.address())
    }

    pub(crate) fn max_payload(&self) -> usize {
        on!(self, one => one.max_payload())
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        on!(self, one => one.try_send(message))
    }

    pub(crate) fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        on!(self, one => one.try_receive())
    }

    pub(crate) fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        on!(self, one => one.try_receive_into(to))
    }
}

impl From<direct::Endpoint> for Way {
    fn from(endpoint: direct::Endpoint) -> Self {
        match endpoint {
            direct::Endpoint::Rings(rings) => Self::Rings(rings),
            direct::Endpoint::Node(node) => Self::Node(node),
        }
    }
}

impl AsFd for Way {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on!(self, one => one.as_fd())
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.way.as_fd()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// When a time is over; `None`: never.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

pub(crate) fn timed_out(timeout: Option<Duration>) -> Error {
    Error::TimedOut { waited: timeout.unwrap_or(Duration::MAX) }
}
