//! The driver's side: owns all buffers of both directions.

use core::cell::Cell;

use sidecore_mem::{Block, Blocks, DeviceAddr, Region};
use sidecore_virtio::{Buffer, Direction, DriverQueue, Notify, QueueError, Used};
use sidecore_wire::rpmsg::Header;

use super::{FROM_DEVICE, TO_DEVICE};
use crate::link::{Link, LinkError};

/// The buffers of one direction: as many as the queue has descriptors, one behind the other.
#[derive(Clone, Debug)]
pub struct Buffers<O = ()> {
    /// Their memory, at least `size` times the queue's descriptors, on a multiple of 8 bytes.
    pub region: Region<O>,
    /// Address of the first one, as descriptors name it.
    pub addr: DeviceAddr,
    /// Bytes of each, header included: a multiple of 8, from 16 on.
    pub size: u32,
}

/// A link over two queues of which this side is the driver.
///
/// A descriptor's number is its buffer's number, in both directions: which bytes a token names never depends on
/// anything that the device can write, and descriptors keep their addresses for the life of the link.
#[derive(Debug)]
pub struct Driver<Q, N, O = ()> {
    pub(super) rx: Q,
    pub(super) tx: Q,
    pub(super) rx_pool: Pool<O>,
    pub(super) tx_pool: Pool<O>,
    pub(super) notify: N,
    /// Someone found no transmit buffer, and none has come back since.
    pub(super) starved: Cell<bool>,
}

impl<Q: DriverQueue, N: Notify, O: Clone> Driver<Q, N, O> {
    /// A link over fresh queues. All receive buffers are given to the device at once; the device is not
    /// notified of that, since DRIVER_OK is still to come.
    ///
    /// # Errors
    /// The memory of a direction is too short for its buffers, or their size is of no use.
    pub fn new(
        rx: Q,
        tx: Q,
        rx_buffers: Buffers<O>,
        tx_buffers: Buffers<O>,
        notify: N,
    ) -> Result<Self, LinkError> {
        let rx_pool = Pool::new(&rx_buffers, rx.num())?;
        let tx_pool = Pool::new(&tx_buffers, tx.num())?;
        while let Some(head) = rx.reserve() {
            rx.offer(head, rx_pool.buffer(head, Direction::FromDevice))?;
        }
        for head in 0..tx.num() {
            let reserved = tx.reserve();
            debug_assert_eq!(reserved, Some(head), "a fresh queue gives its descriptors in order");
            tx.bind(head, tx_pool.buffer(head, Direction::ToDevice))?;
        }
        for head in (0..tx.num()).rev() {
            tx.free(head)?;
        }
        let _not_yet = rx.publish();
        tx.disable_notifications();
        Ok(Self { rx, tx, rx_pool, tx_pool, notify, starved: Cell::new(false) })
    }
}

impl<Q, N, O> Driver<Q, N, O> {
    /// The doorbell.
    pub const fn notifier(&self) -> &N {
        &self.notify
    }

    /// The frame in a receive buffer of which the device says that it wrote `len` bytes.
    #[inline(always)]
    pub(super) fn open(&self, head: u16, len: u32) -> Result<(Header, DriverRx<'_>), LinkError> {
        if len as usize > self.rx_pool.blocks.size() || (len as usize) < Header::SIZE {
            return Err(self.bad_length(head, len));
        }
        let block = self.rx_pool.block(head);
        let mut header = [0; Header::SIZE];
        block.read(0, &mut header).ok_or(LinkError::Closed)?;
        Ok((Header::parse(&header), DriverRx { head, len, block }))
    }

    #[cold]
    fn refused(&self, error: QueueError) -> LinkError {
        if error == QueueError::Full {
            self.starved.set(true);
        }
        LinkError::from(error)
    }

    #[cold]
    fn too_long(&self, len: usize) -> LinkError {
        LinkError::TooLong { len, max: self.tx_pool.room }
    }

    #[cold]
    fn bad_length(&self, head: u16, len: u32) -> LinkError {
        let room = self.rx_pool.blocks.size() as u32;
        if len > room {
            LinkError::Queue(QueueError::PeerBadLength { head, len, room })
        } else {
            LinkError::PeerBufferLength { len }
        }
    }
}

/// The buffers of one direction, checked.
#[derive(Debug)]
pub(super) struct Pool<O> {
    blocks: Blocks<O>,
    addr: DeviceAddr,
    /// Bytes of the longest payload that a buffer takes and a header tells.
    room: usize,
}

impl<O: Clone> Pool<O> {
    pub(super) fn new(buffers: &Buffers<O>, num: u16) -> Result<Self, LinkError> {
        if (buffers.size as usize) < Header::SIZE {
            return Err(LinkError::BufferSize { size: buffers.size });
        }
        let size = buffers.size as usize;
        let blocks = Blocks::new(&buffers.region, usize::from(num), size).map_err(LinkError::Memory)?;
        Ok(Self { blocks, addr: buffers.addr, room: (size - Header::SIZE).min(usize::from(u16::MAX)) })
    }
}

impl<O> Pool<O> {
    pub(super) fn buffer(&self, head: u16, direction: Direction) -> Buffer {
        let offset = self.blocks.offset(usize::from(head)) as u64;
        let addr = DeviceAddr(self.addr.0.wrapping_add(offset));
        Buffer { addr, len: self.blocks.size() as u32, direction }
    }

    #[inline(always)]
    pub(super) fn block(&self, head: u16) -> Block<'_> {
        self.blocks.block(usize::from(head))
    }

    #[cold]
    fn outside(&self, at: usize, len: usize) -> LinkError {
        LinkError::Bounds { at, len, room: self.room }
    }
}

/// A transmit buffer of the driver's side.
#[derive(Debug)]
#[must_use = "a buffer that is neither committed nor cancelled is lost"]
pub struct DriverTx {
    head: u16,
}

/// A received frame on the driver's side: its buffer, and the length that the device claims, checked to hold a header
/// and to fit the buffer.
#[derive(Debug)]
#[must_use = "a frame that is not released is a buffer lost"]
pub struct DriverRx<'l> {
    head: u16,
    len: u32,
    block: Block<'l>,
}

/// A received frame on the driver's side that was put aside.
#[derive(Debug)]
#[must_use = "a frame that is not resumed is a buffer lost"]
pub struct DriverHeld {
    head: u16,
    len: u32,
}

impl<Q: DriverQueue, N, O> Driver<Q, N, O> {
    /// Whether there is a transmit buffer that somebody took and did not send: the device tells nothing of it.
    fn has_free(&self) -> bool {
        self.tx.reserve().is_some_and(|head| self.tx.free(head).is_ok())
    }
}

impl<Q: DriverQueue, N: Notify, O> Link for Driver<Q, N, O> {
    type Tx<'l>
        = DriverTx
    where
        Self: 'l;
    type Rx<'l>
        = DriverRx<'l>
    where
        Self: 'l;
    type Held = DriverHeld;

    #[inline(always)]
    fn reserve(&self) -> Result<DriverTx, LinkError> {
        match self.tx.acquire() {
            Ok(head) => Ok(DriverTx { head }),
            Err(error) => Err(self.refused(error)),
        }
    }

    #[inline(always)]
    fn room(&self, _: &DriverTx) -> usize {
        self.tx_pool.room
    }

    #[inline(always)]
    fn write(&self, tx: &DriverTx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let written = self.tx_pool.block(tx.head).write(at.saturating_add(Header::SIZE), bytes);
        written.ok_or_else(|| self.tx_pool.outside(at, bytes.len()))
    }

    fn read_back(&self, tx: &DriverTx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let read = self.tx_pool.block(tx.head).read(at.saturating_add(Header::SIZE), to);
        read.ok_or_else(|| self.tx_pool.outside(at, to.len()))
    }

    #[inline(always)]
    fn commit(&self, tx: DriverTx, header: &Header) -> Result<(), LinkError> {
        let len = usize::from(header.len);
        let fits = len <= self.tx_pool.room;
        if !fits || self.tx_pool.block(tx.head).write(0, &header.emit()).is_none() {
            self.cancel(tx);
            return Err(self.tx_pool.outside(0, len));
        }
        // The descriptor says how long the frame is, as Linux' does.
        Ok(self.tx.offer_bound(tx.head, (Header::SIZE + len) as u32)?)
    }

    #[inline(always)]
    fn send(&self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        let len = payload.len();
        let sent = self.tx.offer_next(|head| {
            let fits = usize::from(header.len) == len;
            let block = self.tx_pool.block(head);
            (fits && block.write_parts(&header.emit(), payload).is_some())
                .then_some((Header::SIZE + len) as u32)
        });
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.too_long(len)),
            // No buffer that comes back will do.
            Err(QueueError::Full) if len > self.tx_pool.room => Err(self.too_long(len)),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn cancel(&self, tx: DriverTx) {
        let freed = self.tx.free(tx.head);
        debug_assert!(freed.is_ok(), "a token is made by `reserve` alone and consumed once");
    }

    #[inline(always)]
    fn receive<'l, R>(
        &'l self,
        take: impl FnOnce(Header, DriverRx<'l>) -> R,
    ) -> Result<Option<R>, LinkError> {
        let Some(Used { head, len }) = self.rx.pop_used()? else { return Ok(None) };
        let (header, rx) = self.open(head, len)?;
        Ok(Some(take(header, rx)))
    }

    #[inline(always)]
    fn payload_room(&self, rx: &DriverRx<'_>) -> usize {
        rx.len as usize - Header::SIZE
    }

    #[inline(always)]
    fn read(&self, rx: &DriverRx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let read = rx.block.read(at.saturating_add(Header::SIZE), to);
        read.ok_or_else(|| self.rx_pool.outside(at, to.len()))
    }

    #[inline(always)]
    fn release(&self, rx: DriverRx<'_>) {
        let given = self.rx.offer_bound(rx.head, self.rx_pool.blocks.size() as u32);
        debug_assert!(given.is_ok(), "a token is made by `receive` alone and consumed once");
    }

    fn hold(&self, DriverRx { head, len, .. }: DriverRx<'_>) -> Option<DriverHeld> {
        Some(DriverHeld { head, len })
    }

    fn resume(&self, DriverHeld { head, len }: DriverHeld) -> Option<DriverRx<'_>> {
        (len as usize <= self.rx_pool.blocks.size()).then(|| DriverRx {
            head,
            len,
            block: self.rx_pool.block(head),
        })
    }

    // Out of line, so that what surrounds it (loans that flush when they are dropped, above all) stays small enough to
    // be compiled into the loops that it is called in: 22 instructions a message of a batch, measured.
    #[inline(never)]
    fn flush(&self) {
        if self.tx.publish() {
            self.notify.notify(TO_DEVICE);
        }
        if self.rx.publish() {
            self.notify.notify(FROM_DEVICE);
        }
    }

    fn arm(&self) -> bool {
        let frames = self.rx.enable_notifications();
        let buffers = self.starved.get() && (self.has_free() || self.tx.enable_notifications());
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
}
