//! Connections to an emulator: pairs of sockets, so that nothing lies in any directory, and a deadline on every wait.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sidecore_os::poll_until;

/// Our end of a connection.
#[derive(Debug)]
pub(super) struct Stream(OwnedFd);

/// Why nothing came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The other end is closed.
    Closed,
    /// It did not do its part in time.
    Late,
}

impl Stream {
    /// A connection: our end, and the one for the emulator.
    pub(super) fn pair() -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// Takes what is there, never waits: how many bytes, 0 for none.
    pub(super) fn take(&self, to: &mut [u8]) -> Result<usize, Broken> {
        // Bytes that were never written are not asked for.
        let room = to.len();
        let mut some = [MaybeUninit::uninit(); 4096];
        let some = &mut some[..room.min(4096)];
        match rustix::net::recv(&self.0, some, RecvFlags::DONTWAIT) {
            Ok(((_, _), 0)) => Err(Broken::Closed),
            Ok(((bytes, _), len)) => {
                to[..bytes.len()].copy_from_slice(bytes);
                Ok(len)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(_) => Err(Broken::Closed),
        }
    }

    /// Takes what comes until the deadline, at least a byte.
    pub(super) fn receive(&self, to: &mut [u8], deadline: Instant) -> Result<usize, Broken> {
        loop {
            match self.take(to)? {
                0 => self.wait(PollFlags::IN, deadline)?,
                len => return Ok(len),
            }
        }
    }

    /// Sends all of it.
    pub(super) fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.offer(bytes) {
                Ok(0) => self.wait(PollFlags::OUT, deadline)?,
                Ok(len) => bytes = &bytes[len..],
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    /// Sends as much of it as there is room for, never waits: how many bytes.
    pub(super) fn offer(&self, bytes: &[u8]) -> Result<usize, Broken> {
        match rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(len) => Ok(len),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
            Err(_) => Err(Broken::Closed),
        }
    }

    /// Lets few bytes lie in the connection at once on their way to the emulator.
    pub(super) fn keep_short(&self) {
        // The system takes the least that it can do with; refused, there is only more in it.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.0, 1);
    }

    /// The descriptor, for somebody else to go on with.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    fn wait(&self, flags: PollFlags, deadline: Instant) -> Result<(), Broken> {
        match poll_until(&mut [PollFd::new(&self.0, flags)], Some(deadline)) {
            Ok(0) => Err(Broken::Late),
            Ok(_) => Ok(()),
            Err(_) => Err(Broken::Closed),
        }
    }
}

impl From<OwnedFd> for Stream {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
