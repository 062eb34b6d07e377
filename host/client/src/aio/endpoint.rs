//! Messages, for tasks.

use std::fmt;
use std::future::Future;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::endpoint::{Way, timed_out};
use crate::error::{Error, Result};

/// How often room is asked for where nothing tells of it.
const LOOK: Duration = Duration::from_millis(1);

/// An open endpoint of a remote, as [`Endpoint`](crate::Endpoint).
pub struct Endpoint {
    way: Way,
    /// A copy of its descriptor, for waiting: the runtime has no type for descriptors of any kind that is safe.
    readiness: UnixDatagram,
}

impl Endpoint {
    pub(super) fn new(way: Way) -> Result<Self> {
        let copied = way.as_fd().try_clone_to_owned().map(std::os::unix::net::UnixDatagram::from);
        let readiness = copied.and_then(|copied| {
            copied.set_nonblocking(true)?;
            UnixDatagram::from_std(copied)
        });
        let readiness = readiness.map_err(|error| Error::system("wait for an endpoint", error))?;
        Ok(Self { way, readiness })
    }

    /// As [`Endpoint::addr`](crate::Endpoint::addr).
    #[must_use]
    pub fn addr(&self) -> u32 {
        self.way.address()
    }

    /// As [`Endpoint::max_payload`](crate::Endpoint::max_payload).
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.way.max_payload()
    }

    /// As [`Endpoint::send`](crate::Endpoint::send). Giving up the wait sends nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, message: &[u8], timeout: impl Into<Option<Duration>>) -> Result<()> {
        let sent = async {
            loop {
                match (self.way.try_send(message), &self.way) {
                    (Err(Error::Full), Way::Socket(_)) => {
                        let room = self.readiness.async_io(Interest::WRITABLE, || {
                            match self.way.try_send(message) {
                                Err(Error::Full) => Err(ErrorKind::WouldBlock.into()),
                                other => Ok(other),
                            }
                        });
                        return room.await.map_err(|error| Error::system("wait for room", error))?;
                    }
                    (Err(Error::Full), _) => tokio::time::sleep(LOOK).await,
                    (other, _) => return other,
                }
            }
        };
        within(timeout.into(), sent).await.unwrap_or(Err(Error::Full))
    }

    /// As [`Endpoint::try_send`](crate::Endpoint::try_send).
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, message: &[u8]) -> Result<()> {
        self.way.try_send(message)
    }

    /// As [`Endpoint::receive`](crate::Endpoint::receive). Giving up the wait loses nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn receive(&self, timeout: impl Into<Option<Duration>>) -> Result<Vec<u8>> {
        self.take(timeout.into(), || self.way.try_receive()).await
    }

    /// As [`Endpoint::receive_into`](crate::Endpoint::receive_into). Giving up the wait loses nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn receive_into(&self, to: &mut [u8], timeout: impl Into<Option<Duration>>) -> Result<usize> {
        self.take(timeout.into(), || self.way.try_receive_into(to)).await
    }

    /// As [`Endpoint::try_receive`](crate::Endpoint::try_receive).
    ///
    /// # Errors
    /// As there.
    pub fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        self.way.try_receive()
    }

    /// As [`Endpoint::try_receive_into`](crate::Endpoint::try_receive_into).
    ///
    /// # Errors
    /// As there.
    pub fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        self.way.try_receive_into(to)
    }

    /// Closes it. So does dropping it.
    pub fn close(self) {
        drop(self);
    }

    async fn take<T>(
        &self,
        timeout: Option<Duration>,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        if let Some(taken) = attempt()? {
            return Ok(taken);
        }
        let taken = self.readiness.async_io(Interest::READABLE, || match attempt() {
            Ok(Some(taken)) => Ok(Ok(taken)),
            Ok(None) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => Ok(Err(error)),
        });
        match within(timeout, taken).await {
            Some(Ok(taken)) => taken,
            Some(Err(error)) => Err(Error::system("wait for a message", error)),
            None => Err(timed_out(timeout)),
        }
    }
}

/// What comes in time.
async fn within<T>(timeout: Option<Duration>, what: impl Future<Output = T>) -> Option<T> {
    match timeout {
        None => Some(what.await),
        Some(timeout) => tokio::time::timeout(timeout, what).await.ok(),
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
