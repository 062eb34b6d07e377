//! The seam between queues and what is built on them: one trait for each role, for every ring format.

use sidecore_mem::DeviceAddr;

use crate::QueueError;

/// The driver's end of a virtqueue: makes buffers available and takes them back used.
///
/// A descriptor is *free*, *held* by the caller (after [`reserve`](DriverQueue::reserve) or
/// [`pop_used`](DriverQueue::pop_used)), or *in flight*. A held one is given to the device by
/// [`offer`](DriverQueue::offer) or back to the queue by [`free`](DriverQueue::free); nothing else makes it usable
/// again, so a buffer that is bound to it stays the caller's for as long as it is held.
///
/// Nothing that was offered is visible to the device before [`publish`](DriverQueue::publish).
pub trait DriverQueue {
    /// Number of descriptors.
    fn num(&self) -> u16;

    /// Takes a free descriptor, or `None` where all are held or in flight.
    fn reserve(&self) -> Option<u16>;

    /// Takes a descriptor for the next buffer: a free one, else the next one that the device has used. For queues
    /// of single buffers that the device only reads, and about which its answer tells nothing.
    ///
    /// # Errors
    /// [`QueueError::Full`] where all are held or in flight; the device broke a rule (`Peer…`).
    fn acquire(&self) -> Result<u16, QueueError>;

    /// Binds a held descriptor to a buffer, which stays its own until it is bound or offered with another one.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`].
    fn bind(&self, head: u16, buffer: Buffer) -> Result<(), QueueError>;

    /// Gives a held descriptor to the device with the buffer that it is bound to, of which `len` bytes are meant: as
    /// many as the buffer has, or fewer. What the device reads of the ring is left alone where nothing of it changes.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`].
    fn offer_bound(&self, head: u16, len: u32) -> Result<(), QueueError>;

    /// Takes a descriptor as [`acquire`](DriverQueue::acquire) does, has `fill` write its buffer and tell the length,
    /// and gives it to the device as [`offer_bound`](DriverQueue::offer_bound) does: all three in one step. Where
    /// `fill` answers `None` the descriptor is given back to the queue, and the answer is `false`.
    ///
    /// # Errors
    /// As for [`acquire`](DriverQueue::acquire).
    fn offer_next(&self, fill: impl FnOnce(u16) -> Option<u32>) -> Result<bool, QueueError>
    where
        Self: Sized;

    /// Gives a held descriptor to the device with one buffer.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`].
    fn offer(&self, head: u16, buffer: Buffer) -> Result<(), QueueError>;

    /// Gives a chain of buffers to the device, those that it may write last, and answers the chain's head.
    ///
    /// # Errors
    /// [`QueueError::Full`] and [`QueueError::ChainLength`]; nothing has been taken then.
    fn add(&self, chain: &[Buffer]) -> Result<u16, QueueError>;

    /// Makes everything that was offered visible and tells whether the device wants a notification for it.
    #[must_use = "a wanted notification that is not sent stalls the device"]
    fn publish(&self) -> bool;

    /// Takes the next used chain, or `None` where the device has used nothing more. The chain's head is held by
    /// the caller then; the rest of a longer chain is free.
    ///
    /// # Errors
    /// The device broke a rule (`Peer…`). The queue stays as it is.
    fn pop_used(&self) -> Result<Option<Used>, QueueError>;

    /// Gives a held descriptor back to the queue.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`].
    fn free(&self, head: u16) -> Result<(), QueueError>;

    /// Asks the device to notify when it uses a buffer, and tells whether something was used meanwhile (then look
    /// before sleeping).
    #[must_use = "what came meanwhile raises no notification"]
    fn enable_notifications(&self) -> bool;

    /// Lets the device know that no notification is wanted. A hint: some may come all the same.
    fn disable_notifications(&self);
}

/// The device's end of a virtqueue: takes what the driver made available and gives it back used.
///
/// Nothing that was given back is visible to the driver before [`publish`](DeviceQueue::publish).
pub trait DeviceQueue {
    /// Number of descriptors.
    fn num(&self) -> u16;

    /// Takes the next available chain, or `None` where there is none. Its head must be given back once, by
    /// [`add_used`](DeviceQueue::add_used).
    ///
    /// # Errors
    /// The driver broke a rule (`Peer…`).
    fn pop_available(&self) -> Result<Option<u16>, QueueError>;

    /// Takes the next available chain, which has just one buffer: what an rpmsg ring carries.
    ///
    /// # Errors
    /// The driver broke a rule, or the chain is longer, or indirect, or its buffer has the wrong direction (`Peer…`).
    fn pop_single(&self, direction: Direction) -> Result<Option<(u16, Buffer)>, QueueError>;

    /// The one buffer of a chain that was taken and has just one, as it is now.
    ///
    /// # Errors
    /// The chain is longer, or indirect, or its buffer has the wrong direction (`Peer…`).
    fn single(&self, head: u16, direction: Direction) -> Result<Buffer, QueueError>;

    /// Whether the driver has taken back all that this device showed it, as it does to start anew: what only the
    /// device writes is no longer what it wrote last. Only a fresh device end helps. A device that has shown nothing yet
    /// cannot tell.
    fn is_cleared(&self) -> bool;

    /// Gives a chain back, of whose writable part `written` bytes were written.
    fn add_used(&self, head: u16, written: u32);

    /// Makes everything that was given back visible and tells whether the driver wants a notification for it. To a
    /// driver that has started anew, nothing is shown: see [`is_cleared`](DeviceQueue::is_cleared).
    #[must_use = "a wanted notification that is not sent stalls the driver"]
    fn publish(&self) -> bool;

    /// As [`publish`](DeviceQueue::publish); but a queue that has shown nothing yet, and so cannot tell whether the
    /// driver has started anew, asks `cleared` first and shows nothing where the answer is yes. For devices of several
    /// queues, which are all cleared together.
    #[must_use = "a wanted notification that is not sent stalls the driver"]
    fn publish_unless(&self, cleared: impl FnOnce() -> bool) -> bool
    where
        Self: Sized;

    /// Asks the driver to notify when it makes a buffer available, and tells whether one came meanwhile.
    #[must_use = "what came meanwhile raises no notification"]
    fn enable_notifications(&self) -> bool;

    /// Lets the driver know that no notification is wanted. A hint: some may come all the same.
    fn disable_notifications(&self);
}

/// Rings the peer's doorbell for a queue.
pub trait Notify {
    /// Tells the peer that the queue with this index has something for it. Called after the publication, behind
    /// a full fence. May be spurious, may not be lost.
    fn notify(&self, queue: u16);
}

impl<F: Fn(u16)> Notify for F {
    #[inline]
    fn notify(&self, queue: u16) {
        self(queue);
    }
}

/// One buffer of a chain, as a descriptor tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where it is, in the address space that the ring uses.
    pub addr: DeviceAddr,
    /// Its length in bytes.
    pub len: u32,
    /// Who writes it.
    pub direction: Direction,
}

/// Who writes a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The driver: the device may only read it.
    ToDevice,
    /// The device may write it.
    FromDevice,
}

/// A chain that the device has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// First descriptor of the chain, now held by the caller.
    pub head: u16,
    /// Bytes that the device claims to have written. A claim: check it against the buffer. Some devices (OpenAMP)
    /// put the buffer's size here even for buffers that they may only read.
    pub len: u32,
}
