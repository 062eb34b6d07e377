//! The device's side: takes buffers out of the driver's rings.

use core::cell::Cell;

use sidecore_mem::{AddressMap, Located, Span};
use sidecore_virtio::{Buffer, DeviceQueue, Direction, Notify};
use sidecore_wire::rpmsg::Header;

use super::{FROM_DEVICE, TO_DEVICE};
use crate::link::{Link, LinkError, MAX_FRAME};

/// A link over two queues of which this side is the device.
///
/// Buffers are where the driver says, as far as `map` reaches. `S` is room for cancelled transmit buffers, which
/// wait there for the next message, since the driver takes back none that carries no frame: at least as many
/// words as queue 0 has descriptors.
#[derive(Debug)]
pub struct Device<Q, N, S, O = (), const W: usize = 8> {
    tx: Q,
    rx: Q,
    map: AddressMap<O, W>,
    notify: N,
    cancelled: S,
    cancelled_count: Cell<usize>,
    /// Someone found no transmit buffer, and none has come since.
    starved: Cell<bool>,
}

impl<Q: DeviceQueue, N: Notify, S: AsRef<[Cell<u16>]>, O, const W: usize> Device<Q, N, S, O, W> {
    /// A link over queues that the driver has set up; `tx` is queue 0.
    ///
    /// # Errors
    /// The storage for cancelled buffers is too small.
    pub fn new(tx: Q, rx: Q, map: AddressMap<O, W>, notify: N, cancelled: S) -> Result<Self, LinkError> {
        let (len, room) = (usize::from(tx.num()), cancelled.as_ref().len());
        if room < len {
            return Err(LinkError::Bounds { at: 0, len, room });
        }
        tx.disable_notifications();
        let cancelled_count = Cell::new(0);
        Ok(Self { tx, rx, map, notify, cancelled, cancelled_count, starved: Cell::new(false) })
    }

    /// The doorbell.
    pub fn notifier(&self) -> &N {
        &self.notify
    }

    /// The next buffer to send in, and its bytes.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn next_tx(&self) -> Result<Frame<'_>, LinkError> {
        if self.cancelled_count.get() > 0 {
            return self.cancelled();
        }
        match self.tx.pop_single(Direction::FromDevice)? {
            Some((head, buffer)) => self.frame(head, buffer),
            None => Err(self.no_buffer()),
        }
    }

    #[cold]
    fn no_buffer(&self) -> LinkError {
        if self.is_closed() {
            return LinkError::Closed;
        }
        self.starved.set(true);
        LinkError::Full
    }

    #[cold]
    fn cancelled(&self) -> Result<Frame<'_>, LinkError> {
        let last = self.cancelled_count.get() - 1;
        let head = self.cancelled.as_ref().get(last).ok_or(LinkError::Closed)?.get();
        self.cancelled_count.set(last);
        self.frame(head, self.tx.single(head, Direction::FromDevice)?)
    }

    /// The buffer of a chain: one that holds a header at least, and lies in memory that we reach.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn frame(&self, head: u16, buffer: Buffer) -> Result<Frame<'_>, LinkError> {
        let Buffer { addr, len, .. } = buffer;
        if (len as usize) < Header::SIZE {
            return Err(LinkError::PeerBufferLength { len });
        }
        match self.map.find(addr, len as usize) {
            Some(span) => Ok(Frame { head, len, span }),
            None => Err(LinkError::PeerBufferAddress { addr, len }),
        }
    }
}

/// A buffer that the driver made available, as it was when it was taken. It holds a header at least.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the driver"]
pub struct Frame<'l> {
    head: u16,
    len: u32,
    span: Span<'l>,
}

/// A buffer that the driver made available, as plain data that borrows nothing.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the driver"]
pub struct Parked {
    head: u16,
    len: u32,
    place: Located,
}

impl Frame<'_> {
    #[cold]
    fn outside(&self, at: usize, len: usize) -> LinkError {
        LinkError::Bounds { at, len, room: self.len as usize - Header::SIZE }
    }
}

impl<Q: DeviceQueue, N: Notify, S: AsRef<[Cell<u16>]>, O, const W: usize> Link for Device<Q, N, S, O, W> {
    type Tx<'l>
        = Frame<'l>
    where
        Self: 'l;
    type Rx<'l>
        = Frame<'l>
    where
        Self: 'l;
    type Held = Parked;

    #[inline(always)]
    fn reserve(&self) -> Result<Frame<'_>, LinkError> {
        self.next_tx()
    }

    #[inline(always)]
    fn room(&self, tx: &Frame<'_>) -> usize {
        (tx.len as usize).min(MAX_FRAME) - Header::SIZE
    }

    #[inline(always)]
    fn write(&self, tx: &Frame<'_>, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let written = tx.span.write(at.saturating_add(Header::SIZE), bytes);
        written.ok_or_else(|| tx.outside(at, bytes.len()))
    }

    fn read_back(&self, tx: &Frame<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.read(tx, at, to)
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn commit(&self, tx: Frame<'_>, header: &Header) -> Result<(), LinkError> {
        let len = Header::SIZE + usize::from(header.len);
        if len > tx.len as usize || tx.span.write(0, &header.emit()).is_none() {
            let error = tx.outside(0, usize::from(header.len));
            self.cancel(tx);
            return Err(error);
        }
        self.tx.add_used(tx.head, len as u32);
        Ok(())
    }

    #[inline(always)]
    fn send(&self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        let tx = self.next_tx()?;
        let (len, max) = (payload.len(), self.room(&tx));
        if len > max {
            self.cancel(tx);
            return Err(LinkError::TooLong { len, max });
        }
        self.write(&tx, 0, payload)?;
        self.commit(tx, header)
    }

    fn cancel(&self, tx: Frame<'_>) {
        let count = self.cancelled_count.get();
        if let Some(slot) = self.cancelled.as_ref().get(count) {
            slot.set(tx.head);
            self.cancelled_count.set(count + 1);
        }
    }

    #[inline(always)]
    fn receive<'l, R>(&'l self, take: impl FnOnce(Header, Frame<'l>) -> R) -> Result<Option<R>, LinkError> {
        let Some((head, buffer)) = self.rx.pop_single(Direction::ToDevice)? else {
            return if self.is_closed() { Err(LinkError::Closed) } else { Ok(None) };
        };
        let frame = self.frame(head, buffer)?;
        let header = Header::parse(&frame.span.read_array(0).ok_or(LinkError::Closed)?);
        Ok(Some(take(header, frame)))
    }

    #[inline(always)]
    fn payload_room(&self, rx: &Frame<'_>) -> usize {
        rx.len as usize - Header::SIZE
    }

    #[inline(always)]
    fn read(&self, rx: &Frame<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let read = rx.span.read(at.saturating_add(Header::SIZE), to);
        read.ok_or_else(|| rx.outside(at, to.len()))
    }

    #[inline(always)]
    fn release(&self, rx: Frame<'_>) {
        // Nothing was written, which virtio would have us say as 0. But OpenAMP's driver takes this length as the
        // buffer's capacity when it sends the next time, and other drivers ignore it.
        self.rx.add_used(rx.head, rx.len);
    }

    fn hold(&self, rx: Frame<'_>) -> Option<Parked> {
        Some(Parked { head: rx.head, len: rx.len, place: self.map.place_of(&rx.span)? })
    }

    fn resume(&self, held: Parked) -> Option<Frame<'_>> {
        let span = self.map.span(held.place, held.len as usize)?;
        Some(Frame { head: held.head, len: held.len, span })
    }

    // Out of line, as the driver's.
    #[inline(never)]
    fn flush(&self) {
        if self.tx.publish_unless(|| self.rx.is_cleared()) {
            self.notify.notify(FROM_DEVICE);
        }
        if self.rx.publish_unless(|| self.tx.is_cleared()) {
            self.notify.notify(TO_DEVICE);
        }
    }

    fn arm(&self) -> bool {
        let frames = self.rx.enable_notifications();
        // A cancelled buffer is one that the driver tells nothing of.
        let buffers =
            self.starved.get() && (self.cancelled_count.get() > 0 || self.tx.enable_notifications());
        if buffers {
            // Told once: whoever gave up sending in the meantime must not be kept awake by it.
            self.starved.set(false);
        }
        frames || buffers
    }

    fn disarm(&self) {
        self.rx.disable_notifications();
        self.tx.disable_notifications();
    }

    // A driver that resets and is ready again before this side looks at the status: only its rings tell.
    fn is_closed(&self) -> bool {
        self.tx.is_cleared() || self.rx.is_cleared()
    }
}
