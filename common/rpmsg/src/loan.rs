//! Buffers on loan from the link: received messages and messages being written.

use core::fmt;

use crate::{Endpoint, Link, LinkError, ReadError, Rpmsg, SendError, Slot};

/// A received message in the buffer that it came in. Dropping it gives the buffer back to the peer.
///
/// The header was checked once and is a private copy. The payload stays where the peer may write, so it is copied out
/// and only then looked at.
#[must_use = "a message that is dropped unread is a message lost"]
pub struct Message<'r, L: Link, S: AsRef<[Slot]>> {
    rpmsg: &'r Rpmsg<L, S>,
    /// Taken by `drop` and `hold` alone.
    rx: Option<L::Rx<'r>>,
    endpoint: Endpoint,
    src: u32,
    len: u16,
}

impl<'r, L: Link, S: AsRef<[Slot]>> Message<'r, L, S> {
    #[inline(always)]
    pub(crate) fn new(rpmsg: &'r Rpmsg<L, S>, rx: L::Rx<'r>, endpoint: Endpoint, src: u32, len: u16) -> Self {
        Self { rpmsg, rx: Some(rx), endpoint, src, len }
    }

    /// The endpoint that the message is for.
    #[inline]
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The address that it came from.
    #[inline]
    pub const fn src(&self) -> u32 {
        self.src
    }

    /// Length of the payload in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "an empty message is a message")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Copies `to.len()` bytes of the payload out, from byte `at` on.
    ///
    /// # Errors
    /// They are not all in the payload.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [u8]) -> Result<(), ReadError> {
        let (len, payload) = (to.len(), self.len());
        if len > payload || at > payload - len {
            return Err(ReadError::Length { at, len, payload });
        }
        let rx = self.rx.as_ref().ok_or(ReadError::Link(LinkError::Closed))?;
        self.rpmsg.link().read(rx, at, to).map_err(ReadError::Link)
    }

    /// Copies the whole payload into `buffer` and answers that part of it.
    ///
    /// # Errors
    /// The payload is longer than the buffer. Nothing is cut off in silence.
    pub fn copy_to<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], ReadError> {
        let (payload, room) = (self.len(), buffer.len());
        let to = buffer.get_mut(..payload).ok_or(ReadError::Length { at: 0, len: room, payload })?;
        self.read(0, to)?;
        Ok(to)
    }

    /// Sends an answer to where the message came from, from the endpoint that it was for.
    ///
    /// # Errors
    /// As for [`Rpmsg::send`].
    pub fn reply(&self, payload: &[u8]) -> Result<(), SendError> {
        self.rpmsg.send_to(self.endpoint, self.src, payload)
    }

    /// Puts the message aside as plain data, to be taken up by [`Rpmsg::resume`].
    pub fn hold(mut self) -> Option<Held<L>> {
        let rx = self.rpmsg.link().hold(self.rx.take()?)?;
        Some(Held { rx, endpoint: self.endpoint, src: self.src, len: self.len })
    }
}

impl<L: Link, S: AsRef<[Slot]>> Drop for Message<'_, L, S> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(rx) = self.rx.take() {
            self.rpmsg.release(rx);
        }
    }
}

impl<L: Link, S: AsRef<[Slot]>> fmt::Debug for Message<'_, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes {:#x} -> {:#x})", self.len, self.src, self.endpoint.addr())
    }
}

/// A received message that was put aside: it borrows nothing, and nothing gives it back but [`Rpmsg::resume`] on
/// the link that it came from.
#[derive(Debug)]
#[must_use = "a message that is held and never resumed is a buffer lost"]
pub struct Held<L: Link> {
    pub(crate) rx: L::Held,
    pub(crate) endpoint: Endpoint,
    pub(crate) src: u32,
    pub(crate) len: u16,
}

impl<L: Link> Held<L> {
    /// The endpoint that the message is for.
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }
}

/// A message being written in the buffer that it will travel in. Dropping it sends nothing and gives the buffer
/// back.
#[must_use = "a message is sent by `send`"]
pub struct Outgoing<'r, L: Link, S: AsRef<[Slot]>> {
    rpmsg: &'r Rpmsg<L, S>,
    /// Taken by `drop` and `send` alone.
    tx: Option<L::Tx<'r>>,
    src: u32,
    dst: u32,
    len: usize,
}

impl<'r, L: Link, S: AsRef<[Slot]>> Outgoing<'r, L, S> {
    pub(crate) fn new(rpmsg: &'r Rpmsg<L, S>, tx: L::Tx<'r>, src: u32, dst: u32) -> Self {
        Self { rpmsg, tx: Some(tx), src, dst, len: 0 }
    }

    /// The longest payload that the buffer takes, in bytes.
    pub fn capacity(&self) -> usize {
        self.tx.as_ref().map_or(0, |tx| self.rpmsg.link().room(tx))
    }

    /// Length of the payload so far, in bytes: up to the last byte written.
    #[expect(clippy::len_without_is_empty, reason = "an empty message is a message")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Writes bytes of the payload from byte `at` on. Bytes before that were never written hold whatever the
    /// buffer held.
    ///
    /// # Errors
    /// They do not fit the buffer; nothing was written.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), SendError> {
        let max = self.capacity();
        let len = at.saturating_add(bytes.len());
        if len > max {
            return Err(SendError::TooLong { len, max });
        }
        let tx = self.tx.as_ref().ok_or(SendError::Link(LinkError::Closed))?;
        self.rpmsg.link().write(tx, at, bytes)?;
        self.len = self.len.max(len);
        Ok(())
    }

    /// Writes bytes behind the last one written.
    ///
    /// # Errors
    /// They do not fit the buffer; nothing was written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.write(self.len, bytes)
    }

    /// Sends the message.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub fn send(mut self) -> Result<(), SendError> {
        let tx = self.tx.take().ok_or(SendError::Link(LinkError::Closed))?;
        self.rpmsg.finish(tx, self.src, self.dst, self.len)
    }
}

impl<L: Link, S: AsRef<[Slot]>> Drop for Outgoing<'_, L, S> {
    fn drop(&mut self) {
        if let Some(tx) = self.tx.take() {
            self.rpmsg.link().cancel(tx);
        }
    }
}

impl<L: Link, S: AsRef<[Slot]>> fmt::Debug for Outgoing<'_, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes {:#x} -> {:#x})", self.len, self.src, self.dst)
    }
}

impl<L: Link, S: AsRef<[Slot]>> fmt::Write for Outgoing<'_, L, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
