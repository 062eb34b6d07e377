//! A link that shows every frame to someone.

use super::{Link, LinkError};

/// Passes everything through to `L` and shows each frame to a [`Sink`]: sent ones when they are committed, received
/// ones when they are taken.
#[derive(Debug)]
pub struct Tracer<L, S> {
    link: L,
    sink: S,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From us.
    Peer,
    /// From the peer.
    Us,
}

/// Looks at frames.
pub trait Sink {
    /// A frame of `len` bytes passes; `read` copies bytes of it from an offset on. Bytes that cannot be read any
    /// more (the peer's memory is gone) answer `false`.
    fn frame(&self, toward: Toward, len: usize, read: &dyn Fn(usize, &mut [u8]) -> bool);
}

impl<L: Link, S: Sink> Tracer<L, S> {
    /// A link that shows its frames to `sink`.
    pub const fn new(link: L, sink: S) -> Self {
        Self { link, sink }
    }

    /// Who looks.
    pub const fn sink(&self) -> &S {
        &self.sink
    }
}

impl<L: Link, S: Sink> Link for Tracer<L, S> {
    type Tx = L::Tx;
    type Rx = L::Rx;

    fn reserve(&self) -> Result<L::Tx, LinkError> {
        self.link.reserve()
    }

    fn room(&self, tx: &L::Tx) -> usize {
        self.link.room(tx)
    }

    fn write(&self, tx: &L::Tx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(tx, at, bytes)
    }

    fn read_back(&self, tx: &L::Tx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read_back(tx, at, to)
    }

    fn commit(&self, tx: L::Tx, len: usize) -> Result<(), LinkError> {
        self.sink.frame(Toward::Peer, len, &|at, to| self.link.read_back(&tx, at, to).is_ok());
        self.link.commit(tx, len)
    }

    fn cancel(&self, tx: L::Tx) {
        self.link.cancel(tx);
    }

    fn receive(&self) -> Result<Option<L::Rx>, LinkError> {
        let received = self.link.receive()?;
        if let Some(rx) = &received {
            let len = self.link.frame_len(rx);
            self.sink.frame(Toward::Us, len, &|at, to| self.link.read(rx, at, to).is_ok());
        }
        Ok(received)
    }

    fn frame_len(&self, rx: &L::Rx) -> usize {
        self.link.frame_len(rx)
    }

    fn read(&self, rx: &L::Rx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read(rx, at, to)
    }

    fn release(&self, rx: L::Rx) {
        self.link.release(rx);
    }

    fn flush(&self) {
        self.link.flush();
    }

    fn arm(&self) -> bool {
        self.link.arm()
    }

    fn disarm(&self) {
        self.link.disarm();
    }
}
