//! An endpoint behind a socket that keeps message boundaries: what the daemon answers. All of it is plain system calls.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sidecore_os::poll_until;

use crate::codes;
use crate::error::{Error, Result};

/// Bytes of the longest message that a link can carry: its header has 16 bits for that.
const LONGEST: usize = 65536;

/// The client's end.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    address: u32,
    max: usize,
    /// A message that was longer than the buffer for it.
    kept: Mutex<Option<Vec<u8>>>,
    has_kept: AtomicBool,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, address: u32, max: usize) -> Self {
        Self { fd, address, max, kept: Mutex::default(), has_kept: AtomicBool::new(false) }
    }

    pub(crate) fn address(&self) -> u32 {
        self.address
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.max
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        match message.len() {
            0 => return Err(Error::Empty),
            len if len > self.max => return Err(Error::TooLong { len, max: self.max }),
            _ => {}
        }
        loop {
            match rustix::net::send(&self.fd, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Err(Error::Full),
                Err(errno) => return Err(end("send a message", errno)),
            }
        }
    }

    pub(crate) fn send(&self, message: &[u8], deadline: Option<Instant>) -> Result<()> {
        loop {
            match self.try_send(message) {
                Err(Error::Full) => {}
                other => return other,
            }
            if !self.wait(PollFlags::OUT, deadline)? {
                return Err(Error::Full);
            }
        }
    }

    /// Takes a message if there is one, and shows it to `take`, which may refuse it: then it is the next once more.
    fn try_take<T>(&self, take: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        if self.has_kept.load(Ordering::Acquire) {
            let kept = self.kept().take();
            self.has_kept.store(false, Ordering::Release);
            if let Some(message) = kept {
                return self.give(&message, take).map(Some);
            }
        }
        // Room that nothing is written to costs nothing, and no message is longer.
        let mut room = [MaybeUninit::<u8>::uninit(); LONGEST];
        loop {
            match rustix::net::recv(&self.fd, &mut room[..], RecvFlags::DONTWAIT) {
                Ok((([], _), _)) => return Err(ended()),
                Ok(((message, _), _)) => return self.give(message, take).map(Some),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(end("receive a message", errno)),
            }
        }
    }

    /// Takes a message, waiting for one; `None`: none came in time.
    fn take<T>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        loop {
            if let Some(taken) = self.try_take(&mut take)? {
                return Ok(Some(taken));
            }
            if !self.wait(PollFlags::IN, deadline)? {
                return Ok(None);
            }
        }
    }

    pub(crate) fn receive(&self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>> {
        self.take(deadline, |message| Ok(message.to_vec()))
    }

    pub(crate) fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        self.try_take(|message| Ok(message.to_vec()))
    }

    pub(crate) fn receive_into(&self, to: &mut [u8], deadline: Option<Instant>) -> Result<Option<usize>> {
        self.take(deadline, |message| put(message, to))
    }

    pub(crate) fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        self.try_take(|message| put(message, to))
    }

    /// Waits until something can be received, the end included.
    pub(crate) fn poll(&self, deadline: Option<Instant>) -> Result<bool> {
        Ok(self.has_kept.load(Ordering::Acquire) || self.wait(PollFlags::IN, deadline)?)
    }

    fn give<T>(&self, message: &[u8], take: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        take(message).inspect_err(|_| {
            *self.kept() = Some(message.to_vec());
            self.has_kept.store(true, Ordering::Release);
        })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        // Nothing in there is ever half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, wanted: PollFlags, deadline: Option<Instant>) -> Result<bool> {
        Ok(poll_until(&mut [PollFd::new(&self.fd, wanted)], deadline)? > 0)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn put(message: &[u8], to: &mut [u8]) -> Result<usize> {
    let (len, room) = (message.len(), to.len());
    to.get_mut(..len).ok_or(Error::BufferTooSmall { len, room })?.copy_from_slice(message);
    Ok(len)
}

/// What a refusal of the socket's means.
fn end(operation: &str, errno: Errno) -> Error {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => ended(),
        errno => Error::system(operation, errno),
    }
}

fn ended() -> Error {
    let why = "the endpoint came to its end: the remote stopped or crashed, or its service was withdrawn";
    Error::Ended { code: codes::ENDPOINT_ENDED, why: why.to_owned() }
}
