//! The firmware's console, for any number of clients: all see what it says, and any may type.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::EventFlags;
use sidecore_processor::console::{Console, Input};
use sidecore_services::console::Stream;

use super::watched::Watched;

/// Bytes that are kept of what the firmware said last, for those who come later.
const BACKLOG: usize = 64 << 10;

/// How often it may be open.
const MOST: usize = 64;

/// Bytes that a client may be behind. What it misses then is what was said last.
const BEHIND: usize = 256 << 10;

/// Bytes that are taken of what clients typed before the firmware asks for them.
const TYPED: usize = 4 << 10;

/// Everybody who has the console open.
#[derive(Clone, Default)]
pub(super) struct Consoles(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    backlog: VecDeque<u8>,
    written: usize,
    typed: VecDeque<u8>,
    clients: Vec<Client>,
}

struct Client {
    socket: UnixStream,
    unsent: VecDeque<u8>,
    /// It has typed all that it will.
    is_silent: bool,
    watched: Watched,
}

impl Consoles {
    /// Another client: gets what was said last.
    pub(super) fn open(&self, poll: &OwnedFd) -> io::Result<OwnedFd> {
        if self.inner().clients.len() >= MOST {
            return Err(io::Error::other(format!("it is open {MOST} times, and may not be more often")));
        }
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let watched = Watched::new(poll, &ours)?;
        let mut inner = self.inner();
        let unsent = inner.backlog.clone();
        let mut client = Client { socket: ours, unsent, is_silent: false, watched };
        client.write();
        inner.clients.push(client);
        Ok(theirs.into())
    }

    /// Moves what there is both ways; whether anything was typed.
    pub(super) fn turn(&self, poll: &OwnedFd) -> bool {
        let inner = &mut *self.inner();
        let before = inner.typed.len();
        let typed = &mut inner.typed;
        inner.clients.retain_mut(|client| {
            let stays = client.write() && client.read(typed);
            let reads = !client.is_silent && typed.len() < TYPED;
            let mut wanted = EventFlags::empty();
            wanted.set(EventFlags::IN, reads);
            wanted.set(EventFlags::OUT, !client.unsent.is_empty());
            client.watched.set(poll, &client.socket, Some(wanted).filter(|wanted| !wanted.is_empty()));
            stays
        });
        inner.typed.len() > before
    }

    /// A run of the firmware ended: nothing that was typed is for the next one.
    pub(super) fn begin_anew(&self) {
        self.inner().typed.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in there is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console for Consoles {
    fn output(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.written += bytes.len();
        inner.backlog.extend(bytes);
        let over = inner.backlog.len().saturating_sub(BACKLOG);
        inner.backlog.drain(..over);
        for client in &mut inner.clients {
            if client.unsent.len() + bytes.len() <= BEHIND {
                client.unsent.extend(bytes);
            }
        }
        Ok(())
    }

    fn written(&mut self) -> usize {
        std::mem::take(&mut self.inner().written)
    }

    fn input(&mut self, to: &mut [u8]) -> Input {
        match self.inner().typed.read(to) {
            Ok(len) if len > 0 => Input::Bytes(len),
            _ => Input::Wait,
        }
    }
}

impl Client {
    /// `false` when nobody is there any more.
    fn write(&mut self) -> bool {
        while !self.unsent.is_empty() {
            let (first, _) = self.unsent.as_slices();
            match self.socket.write(first) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// `false` when nobody is there any more.
    fn read(&mut self, typed: &mut VecDeque<u8>) -> bool {
        let mut bytes = [0; 512];
        while !self.is_silent && typed.len() < TYPED {
            match self.socket.read(&mut bytes) {
                Ok(0) => self.is_silent = true,
                Ok(len) => typed.extend(&bytes[..len]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        // One who only closed its own direction still listens, but that cannot be told from one who left until
        // something is written.
        !self.is_silent || !self.unsent.is_empty()
    }
}
