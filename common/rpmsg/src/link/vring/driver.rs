//! The driver's side: owns all buffers of both directions.

use core::cell::Cell;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_virtio::{Buffer, Direction, DriverQueue, Notify, QueueError};

use super::{FROM_DEVICE, TO_DEVICE};
use crate::link::{Link, LinkError};

/// The buffers of one direction: as many as the queue has descriptors, one behind the other.
#[derive(Clone, Debug)]
pub struct Buffers<O = ()> {
    /// Their memory, at least `size` times the queue's descriptors.
    pub region: Region<O>,
    /// Address of the first one, as descriptors name it.
    pub addr: DeviceAddr,
    /// Bytes of each, header included; a multiple of 8, so that headers are aligned.
    pub size: u32,
}

impl<O> Buffers<O> {
    #[inline(always)]
    fn offset(&self, head: u16) -> usize {
        usize::from(head) * self.size as usize
    }

    #[inline(always)]
    fn buffer(&self, head: u16, len: u32, direction: Direction) -> Buffer {
        let addr = DeviceAddr(self.addr.0.wrapping_add(self.offset(head) as u64));
        Buffer { addr, len, direction }
    }

    fn check(&self, num: u16) -> Result<(), LinkError> {
        let total = usize::from(num).saturating_mul(self.size as usize);
        if !(16..=1 << 30).contains(&self.size) || !self.size.is_multiple_of(8) {
            return Err(LinkError::PeerBufferLength { len: self.size });
        }
        if total > self.region.len() {
            return Err(LinkError::Bounds { at: 0, len: total, room: self.region.len() });
        }
        Ok(())
    }

    #[inline(always)]
    fn check_frame(&self, at: usize, len: usize, room: usize) -> Result<(), LinkError> {
        if len <= room && at <= room - len { Ok(()) } else { Err(LinkError::Bounds { at, len, room }) }
    }
}

/// A link over two queues of which this side is the driver.
///
/// A descriptor's number is its buffer's number, in both directions: which bytes a token names never depends on
/// anything that the device can write.
#[derive(Debug)]
pub struct Driver<Q, N, O = ()> {
    rx: Q,
    tx: Q,
    rx_buffers: Buffers<O>,
    tx_buffers: Buffers<O>,
    notify: N,
    /// Someone found no transmit buffer, and none has come back since.
    starved: Cell<bool>,
}

impl<Q: DriverQueue, N: Notify, O> Driver<Q, N, O> {
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
        rx_buffers.check(rx.num())?;
        tx_buffers.check(tx.num())?;
        while let Some(head) = rx.reserve() {
            rx.offer(head, rx_buffers.buffer(head, rx_buffers.size, Direction::FromDevice))?;
        }
        let _not_yet = rx.publish();
        tx.disable_notifications();
        Ok(Self { rx, tx, rx_buffers, tx_buffers, notify, starved: Cell::new(false) })
    }

    /// The doorbell.
    pub fn notifier(&self) -> &N {
        &self.notify
    }
}

/// A transmit buffer of the driver's side.
#[derive(Debug)]
#[must_use = "a buffer that is neither committed nor cancelled is lost"]
pub struct DriverTx {
    head: u16,
}

/// A received frame on the driver's side.
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
        self.tx_buffers.size as usize
    }

    #[inline(always)]
    fn write(&self, tx: &DriverTx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let buffers = &self.tx_buffers;
        buffers.check_frame(at, bytes.len(), buffers.size as usize)?;
        buffers.region.write(buffers.offset(tx.head) + at, bytes).map_err(LinkError::Memory)
    }

    fn read_back(&self, tx: &DriverTx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let buffers = &self.tx_buffers;
        buffers.check_frame(at, to.len(), buffers.size as usize)?;
        buffers.region.read(buffers.offset(tx.head) + at, to).map_err(LinkError::Memory)
    }

    #[inline(always)]
    fn commit(&self, tx: DriverTx, len: usize) -> Result<(), LinkError> {
        let buffers = &self.tx_buffers;
        let room = buffers.size as usize;
        if len > room {
            self.cancel(tx);
            return Err(LinkError::Bounds { at: 0, len, room });
        }
        // The descriptor says how long the frame is, as Linux' does.
        self.tx.offer(tx.head, buffers.buffer(tx.head, len as u32, Direction::ToDevice))?;
        Ok(())
    }

    fn cancel(&self, tx: DriverTx) {
        let freed = self.tx.free(tx.head);
        debug_assert!(freed.is_ok(), "a token is made by `reserve` alone and consumed once");
    }

    #[inline(always)]
    fn receive(&self) -> Result<Option<DriverRx>, LinkError> {
        let Some(used) = self.rx.pop_used()? else { return Ok(None) };
        if used.len > self.rx_buffers.size {
            return Err(LinkError::Queue(QueueError::PeerBadLength {
                head: used.head,
                len: used.len,
                room: self.rx_buffers.size,
            }));
        }
        Ok(Some(DriverRx { head: used.head, len: used.len }))
    }

    #[inline(always)]
    fn frame_len(&self, rx: &DriverRx) -> usize {
        rx.len as usize
    }

    #[inline(always)]
    fn read(&self, rx: &DriverRx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let buffers = &self.rx_buffers;
        buffers.check_frame(at, to.len(), rx.len as usize)?;
        buffers.region.read(buffers.offset(rx.head) + at, to).map_err(LinkError::Memory)
    }

    #[inline(always)]
    fn release(&self, rx: DriverRx) {
        let buffers = &self.rx_buffers;
        let given = self.rx.offer(rx.head, buffers.buffer(rx.head, buffers.size, Direction::FromDevice));
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
