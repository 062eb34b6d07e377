//! The driver's side: owns all buffers of both directions.

use core::cell::Cell;

use sidecore_mem::{Blocks, DeviceAddr, Region};
use sidecore_virtio::{Buffer, Direction, DriverQueue, Notify, QueueError, Used};
use sidecore_wire::rpmsg::Header;

use super::{FROM_DEVICE, TO_DEVICE};
use crate::link::{Link, LinkError, MAX_FRAME};

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
/// anything that the device can write.
#[derive(Debug)]
pub struct Driver<Q, N, O = ()> {
    rx: Q,
    tx: Q,
    rx_pool: Pool<O>,
    tx_pool: Pool<O>,
    notify: N,
    /// Someone found no transmit buffer, and none has come back since.
    starved: Cell<bool>,
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
            rx.offer(head, rx_pool.whole(head, Direction::FromDevice))?;
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
}

/// The buffers of one direction, checked.
#[derive(Debug)]
struct Pool<O> {
    blocks: Blocks<O>,
    addr: DeviceAddr,
}

impl<O: Clone> Pool<O> {
    fn new(buffers: &Buffers<O>, num: u16) -> Result<Self, LinkError> {
        if (buffers.size as usize) < Header::SIZE {
            return Err(LinkError::BufferSize { size: buffers.size });
        }
        let blocks = Blocks::new(&buffers.region, usize::from(num), buffers.size as usize);
        Ok(Self { blocks: blocks.map_err(LinkError::Memory)?, addr: buffers.addr })
    }
}

impl<O> Pool<O> {
    #[inline(always)]
    fn buffer(&self, head: u16, len: u32, direction: Direction) -> Buffer {
        let offset = self.blocks.offset(usize::from(head)) as u64;
        Buffer { addr: DeviceAddr(self.addr.0.wrapping_add(offset)), len, direction }
    }

    #[inline(always)]
    fn whole(&self, head: u16, direction: Direction) -> Buffer {
        self.buffer(head, self.blocks.size() as u32, direction)
    }

    #[inline(always)]
    fn write(&self, head: u16, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let written = self.blocks.write(usize::from(head), at, bytes);
        written.ok_or(LinkError::Bounds { at, len: bytes.len(), room: self.blocks.size() })
    }

    #[inline(always)]
    fn read(&self, head: u16, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let read = self.blocks.read(usize::from(head), at, to);
        read.ok_or(LinkError::Bounds { at, len: to.len(), room: self.blocks.size() })
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
pub struct DriverRx {
    head: u16,
    len: u32,
}

impl<Q: DriverQueue, N: Notify, O> Link for Driver<Q, N, O> {
    type Tx = DriverTx;
    type Rx = DriverRx;

    #[inline(always)]
    fn reserve(&self) -> Result<DriverTx, LinkError> {
        // Never-used buffers first: used ones are then looked for once in a whole round, not once a message.
        if let Some(head) = self.tx.reserve() {
            return Ok(DriverTx { head });
        }
        match self.tx.pop_used()? {
            // The device's claim of a length means nothing for a buffer that it only reads.
            Some(used) => Ok(DriverTx { head: used.head }),
            None => {
                self.starved.set(true);
                Err(LinkError::Full)
            }
        }
    }

    #[inline(always)]
    fn room(&self, _: &DriverTx) -> usize {
        self.tx_pool.blocks.size().min(MAX_FRAME) - Header::SIZE
    }

    #[inline(always)]
    fn write(&self, tx: &DriverTx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.tx_pool.write(tx.head, at.saturating_add(Header::SIZE), bytes)
    }

    fn read_back(&self, tx: &DriverTx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.tx_pool.read(tx.head, at.saturating_add(Header::SIZE), to)
    }

    #[inline(always)]
    fn commit(&self, tx: DriverTx, header: &Header) -> Result<(), LinkError> {
        let len = Header::SIZE + usize::from(header.len);
        let room = self.tx_pool.blocks.size();
        if len > room {
            self.cancel(tx);
            return Err(LinkError::Bounds { at: 0, len, room });
        }
        self.tx_pool.write(tx.head, 0, &header.emit())?;
        // The descriptor says how long the frame is, as Linux' does.
        self.tx.offer(tx.head, self.tx_pool.buffer(tx.head, len as u32, Direction::ToDevice))?;
        Ok(())
    }

    fn cancel(&self, tx: DriverTx) {
        let freed = self.tx.free(tx.head);
        debug_assert!(freed.is_ok(), "a token is made by `reserve` alone and consumed once");
    }

    #[inline(always)]
    fn receive(&self) -> Result<Option<(Header, DriverRx)>, LinkError> {
        let Some(Used { head, len }) = self.rx.pop_used()? else { return Ok(None) };
        let room = self.rx_pool.blocks.size();
        if len as usize > room {
            return Err(LinkError::Queue(QueueError::PeerBadLength { head, len, room: room as u32 }));
        }
        if (len as usize) < Header::SIZE {
            return Err(LinkError::PeerBufferLength { len });
        }
        let mut header = [0; Header::SIZE];
        self.rx_pool.read(head, 0, &mut header)?;
        Ok(Some((Header::parse(&header), DriverRx { head, len })))
    }

    #[inline(always)]
    fn payload_room(&self, rx: &DriverRx) -> usize {
        rx.len as usize - Header::SIZE
    }

    #[inline(always)]
    fn read(&self, rx: &DriverRx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.rx_pool.read(rx.head, at.saturating_add(Header::SIZE), to)
    }

    #[inline(always)]
    fn release(&self, rx: DriverRx) {
        let given = self.rx.offer(rx.head, self.rx_pool.whole(rx.head, Direction::FromDevice));
        debug_assert!(given.is_ok(), "a token is made by `receive` alone and consumed once");
    }

    #[inline(always)]
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
        let buffers = self.starved.get() && self.tx.enable_notifications();
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
