//! One end of any link, as an object.

use std::any::Any;

use sidecore_rpmsg::{Header, Link, LinkError};

/// One end of a link: [`Link`] with tokens of which the type is not known.
pub trait End {
    /// [`Link::reserve`].
    ///
    /// # Errors
    /// As there.
    fn reserve(&self) -> Result<Tx, LinkError>;

    /// [`Link::room`].
    fn room(&self, tx: &Tx) -> usize;

    /// [`Link::write`].
    ///
    /// # Errors
    /// As there.
    fn write(&self, tx: &Tx, at: usize, bytes: &[u8]) -> Result<(), LinkError>;

    /// [`Link::read_back`].
    ///
    /// # Errors
    /// As there.
    fn read_back(&self, tx: &Tx, at: usize, to: &mut [u8]) -> Result<(), LinkError>;

    /// [`Link::commit`].
    ///
    /// # Errors
    /// As there.
    fn commit(&self, tx: Tx, header: &Header) -> Result<(), LinkError>;

    /// [`Link::send`].
    ///
    /// # Errors
    /// As there.
    fn send(&self, header: &Header, payload: &[u8]) -> Result<(), LinkError>;

    /// [`Link::cancel`].
    fn cancel(&self, tx: Tx);

    /// [`Link::receive`].
    ///
    /// # Errors
    /// As there.
    fn receive(&self) -> Result<Option<(Header, Rx)>, LinkError>;

    /// [`Link::payload_room`].
    fn payload_room(&self, rx: &Rx) -> usize;

    /// [`Link::read`].
    ///
    /// # Errors
    /// As there.
    fn read(&self, rx: &Rx, at: usize, to: &mut [u8]) -> Result<(), LinkError>;

    /// [`Link::release`].
    fn release(&self, rx: Rx);

    /// [`Link::hold`].
    fn hold(&self, rx: Rx) -> Option<Back>;

    /// [`Link::resume`].
    fn resume(&self, held: Back) -> Option<Rx>;

    /// [`Link::flush`].
    fn flush(&self);

    /// [`Link::arm`].
    #[must_use]
    fn arm(&self) -> bool;

    /// [`Link::disarm`].
    fn disarm(&self);
}

/// A link's `Tx`.
pub struct Tx(Box<dyn Any>);

/// A link's `Rx`.
pub struct Rx(Box<dyn Any>);

/// A link's `Held`.
pub struct Back(Box<dyn Any>);

/// A link as an object. It is never freed, so that its tokens may be kept as values.
pub(super) fn leak<L: Link + 'static>(link: L) -> Box<dyn End> {
    Box::new(Leaked { link: Box::leak(Box::new(link)) })
}

struct Leaked<L: 'static> {
    link: &'static L,
}

const OWN: &str = "a token of this link";

impl<L: Link + 'static> End for Leaked<L> {
    fn reserve(&self) -> Result<Tx, LinkError> {
        self.link.reserve().map(|tx| Tx(Box::new(tx)))
    }

    fn room(&self, tx: &Tx) -> usize {
        self.link.room(tx.0.downcast_ref::<L::Tx<'static>>().expect(OWN))
    }

    fn write(&self, tx: &Tx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(tx.0.downcast_ref::<L::Tx<'static>>().expect(OWN), at, bytes)
    }

    fn read_back(&self, tx: &Tx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read_back(tx.0.downcast_ref::<L::Tx<'static>>().expect(OWN), at, to)
    }

    fn commit(&self, tx: Tx, header: &Header) -> Result<(), LinkError> {
        self.link.commit(*tx.0.downcast::<L::Tx<'static>>().expect(OWN), header)
    }

    fn send(&self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        self.link.send(header, payload)
    }

    fn cancel(&self, tx: Tx) {
        self.link.cancel(*tx.0.downcast::<L::Tx<'static>>().expect(OWN));
    }

    fn receive(&self) -> Result<Option<(Header, Rx)>, LinkError> {
        self.link.receive(|header, rx| (header, Rx(Box::new(rx))))
    }

    fn payload_room(&self, rx: &Rx) -> usize {
        self.link.payload_room(rx.0.downcast_ref::<L::Rx<'static>>().expect(OWN))
    }

    fn read(&self, rx: &Rx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read(rx.0.downcast_ref::<L::Rx<'static>>().expect(OWN), at, to)
    }

    fn release(&self, rx: Rx) {
        self.link.release(*rx.0.downcast::<L::Rx<'static>>().expect(OWN));
    }

    fn hold(&self, rx: Rx) -> Option<Back> {
        let held = self.link.hold(*rx.0.downcast::<L::Rx<'static>>().expect(OWN))?;
        Some(Back(Box::new(held)))
    }

    fn resume(&self, held: Back) -> Option<Rx> {
        let rx = self.link.resume(*held.0.downcast::<L::Held>().expect(OWN))?;
        Some(Rx(Box::new(rx)))
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

impl dyn End + '_ {
    /// Sends a copy of the payload and shows it to the peer.
    pub(super) fn post(&self, payload: &[u8]) -> Result<(), LinkError> {
        self.send(&header(payload.len()), payload)?;
        self.flush();
        Ok(())
    }

    /// The next frame, which must be there.
    pub(super) fn take(&self) -> (Header, Rx) {
        self.receive().expect("a peer that keeps the rules").expect("a frame")
    }

    /// The payload of the next frame; its buffer goes back.
    pub(super) fn collect(&self) -> Option<Vec<u8>> {
        let (header, rx) = self.receive().expect("a peer that keeps the rules")?;
        let payload = self.payload(&header, &rx);
        self.release(rx);
        self.flush();
        Some(payload)
    }

    pub(super) fn payload(&self, header: &Header, rx: &Rx) -> Vec<u8> {
        let mut payload = vec![0; header.len.into()];
        self.read(rx, 0, &mut payload).expect("inside the frame");
        payload
    }
}

/// A header for a payload of this length.
pub(super) fn header(len: usize) -> Header {
    Header { src: 1, dst: 2, reserved: 0, len: u16::try_from(len).expect("payloads are short"), flags: 0 }
}
