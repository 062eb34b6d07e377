//! A link that shows every frame to someone.

use sidecore_wire::rpmsg::Header;

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
    /// A frame passes. `room` is how many bytes there are behind the header, which may claim more; `payload` copies
    /// some of them from an offset on, and answers `false` for bytes that are not there.
    fn frame(&self, toward: Toward, header: &Header, room: usize, payload: &dyn Fn(usize, &mut [u8]) -> bool);
}

impl<L: Link, S: Sink> Tracer<L, S> {
    /// A link that shows its frames to `sink`.
    pub const fn new(link: L, sink: S) -> Self {
        Self { link, sink }
    }

    /// The link itself.
    pub const fn inner(&self) -> &L {
        &self.link
    }

    /// Who looks.
    pub const fn sink(&self) -> &S {
        &self.sink
    }
}

impl<L: Link, S: Sink> Link for Tracer<L, S> {
    type Tx<'l>
        = L::Tx<'l>
    where
        Self: 'l;
    type Rx<'l>
        = L::Rx<'l>
    where
        Self: 'l;
    type Held = L::Held;

    fn reserve(&self) -> Result<L::Tx<'_>, LinkError> {
        self.link.reserve()
    }

    fn room(&self, tx: &L::Tx<'_>) -> usize {
        self.link.room(tx)
    }

    fn write(&self, tx: &L::Tx<'_>, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(tx, at, bytes)
    }

    fn read_back(&self, tx: &L::Tx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read_back(tx, at, to)
    }

    fn commit(&self, tx: L::Tx<'_>, header: &Header) -> Result<(), LinkError> {
        let payload = |at: usize, to: &mut [u8]| self.link.read_back(&tx, at, to).is_ok();
        self.sink.frame(Toward::Peer, header, self.link.room(&tx), &payload);
        self.link.commit(tx, header)
    }

    fn cancel(&self, tx: L::Tx<'_>) {
        self.link.cancel(tx);
    }

    fn receive<'l, R>(&'l self, take: impl FnOnce(Header, L::Rx<'l>) -> R) -> Result<Option<R>, LinkError> {
        self.link.receive(|header, rx| {
            let payload = |at: usize, to: &mut [u8]| self.link.read(&rx, at, to).is_ok();
            self.sink.frame(Toward::Us, &header, self.link.payload_room(&rx), &payload);
            take(header, rx)
        })
    }

    fn payload_room(&self, rx: &L::Rx<'_>) -> usize {
        self.link.payload_room(rx)
    }

    fn read(&self, rx: &L::Rx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read(rx, at, to)
    }

    fn release(&self, rx: L::Rx<'_>) {
        self.link.release(rx);
    }

    fn hold(&self, rx: L::Rx<'_>) -> Option<L::Held> {
        self.link.hold(rx)
    }

    fn resume(&self, held: L::Held) -> Option<L::Rx<'_>> {
        self.link.resume(held)
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

    fn is_closed(&self) -> bool {
        self.link.is_closed()
    }
}
