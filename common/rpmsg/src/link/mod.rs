//! The seam below rpmsg: whole frames to the peer and back.

mod faulty;
mod loopback;
mod tracer;
pub mod vring;

use core::fmt;

pub use faulty::{Faults, Faulty, Tally};
pub use loopback::{Loopback, Wire};
pub use tracer::{Sink, Toward, Tracer};

use sidecore_mem::{AccessError, DeviceAddr};
use sidecore_virtio::QueueError;
use sidecore_wire::rpmsg::Header;

/// Carries whole frames (a header and its payload) to the peer and back, in order.
///
/// Buffers are tokens of the link's: a transmit buffer is reserved, its payload written, and then it is committed
/// with a header or cancelled; a received frame is read and then released. Each token is good once and on the link
/// that made it; on another link it names other bytes, which is a nuisance and never unsafe. Any number may be out, and
/// they come back in any order. All offsets are the payload's.
///
/// Commits and releases are shown to the peer by [`Link::flush`], so that a batch costs one publication.
pub trait Link {
    /// A transmit buffer that was reserved.
    type Tx<'l>
    where
        Self: 'l;
    /// A received frame.
    type Rx<'l>
    where
        Self: 'l;
    /// A received frame that was put aside: plain data that borrows nothing.
    type Held: fmt::Debug;

    /// Takes a transmit buffer.
    ///
    /// # Errors
    /// [`LinkError::Full`] where all are with the peer; the link then remembers that someone waits, and
    /// [`Link::arm`] asks for a notification when one comes back.
    fn reserve(&self) -> Result<Self::Tx<'_>, LinkError>;

    /// Length of the longest payload that the buffer takes, in bytes; at most 65535, which is all that a header can
    /// say.
    fn room(&self, tx: &Self::Tx<'_>) -> usize;

    /// Writes bytes of the payload.
    ///
    /// # Errors
    /// They leave the buffer.
    fn write(&self, tx: &Self::Tx<'_>, at: usize, bytes: &[u8]) -> Result<(), LinkError>;

    /// Reads back what was written. The peer cannot be expected to have left it alone.
    ///
    /// # Errors
    /// The bytes leave the buffer.
    fn read_back(&self, tx: &Self::Tx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError>;

    /// Sends the buffer as a frame with this header, whose `len` tells the payload's length.
    ///
    /// # Errors
    /// The payload leaves the buffer (which is cancelled then), or the link is of no use any more.
    fn commit(&self, tx: Self::Tx<'_>, header: &Header) -> Result<(), LinkError>;

    /// Reserves, writes and commits in one step: a link that can do that cheaper does.
    ///
    /// # Errors
    /// Nothing was sent: [`LinkError::TooLong`] where the payload is longer than the buffer's room, else as for the
    /// three steps. `header.len` is the payload's length.
    #[inline(always)]
    fn send(&self, header: &Header, payload: &[u8]) -> Result<(), LinkError> {
        let tx = self.reserve()?;
        let max = self.room(&tx);
        if payload.len() > max {
            self.cancel(tx);
            return Err(LinkError::TooLong { len: payload.len(), max });
        }
        self.write(&tx, 0, payload)?;
        self.commit(tx, header)
    }

    /// Gives an unused transmit buffer back.
    fn cancel(&self, tx: Self::Tx<'_>);

    /// Takes the next frame that the peer sent and hands it to `take`, with a private copy of its header in which
    /// nothing has been checked; `None` where there is none.
    ///
    /// # Errors
    /// The peer broke a rule of the link; only a new link helps.
    // Handed on and not answered: in a value that may as well be an error, the frame's fields share bytes with the
    // error's and are taken apart and put together again for that (measured).
    fn receive<'l, R>(&'l self, take: impl FnOnce(Header, Self::Rx<'l>) -> R)
    -> Result<Option<R>, LinkError>;

    /// Bytes behind the frame's header, as the link knows it: an upper bound for what the header may claim.
    fn payload_room(&self, rx: &Self::Rx<'_>) -> usize;

    /// Copies bytes of the payload out.
    ///
    /// # Errors
    /// They leave the buffer. (Where the payload ends in it, the header tells, and the caller knows.)
    fn read(&self, rx: &Self::Rx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError>;

    /// Gives a received frame's buffer back.
    fn release(&self, rx: Self::Rx<'_>);

    /// Puts a received frame aside; `None` where it is another link's.
    fn hold(&self, rx: Self::Rx<'_>) -> Option<Self::Held>;

    /// Takes a frame up again that was put aside; `None` where it was held on another link.
    fn resume(&self, held: Self::Held) -> Option<Self::Rx<'_>>;

    /// Shows the peer all commits and releases since the last flush, and wakes it where it wants that.
    fn flush(&self);

    /// Asks the peer for a notification when there is something to do: a frame, or a transmit buffer where one was
    /// missed. `true` means that there is something already; then look before sleeping.
    #[must_use = "what is there already raises no notification"]
    fn arm(&self) -> bool;

    /// Lets the peer know that no notification is wanted for now.
    fn disarm(&self);

    /// Whether the peer took the link down without a word: what it left may look broken, and no rule was.
    fn is_closed(&self) -> bool {
        false
    }
}

/// The most that a frame takes: a header, and as much payload as it can tell.
const MAX_FRAME: usize = Header::SIZE + u16::MAX as usize;

/// Why a link did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// All transmit buffers are with the peer.
    Full,
    /// The payload is longer than a buffer takes.
    TooLong {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload that this buffer takes.
        max: usize,
    },
    /// The ring is broken; [`QueueError::is_peer`] tells by whom.
    Queue(QueueError),
    /// The peer named a buffer that lies in no shared memory.
    PeerBufferAddress {
        /// Its address.
        addr: DeviceAddr,
        /// Its length in bytes.
        len: u32,
    },
    /// The peer gave a buffer that holds no header, or none that we can take.
    PeerBufferLength {
        /// Its length in bytes.
        len: u32,
    },
    /// Buffers of a size that holds no header.
    BufferSize {
        /// The size in bytes.
        size: u32,
    },
    /// Bytes outside of the frame or buffer.
    Bounds {
        /// First byte.
        at: usize,
        /// Number of bytes.
        len: usize,
        /// Bytes that there are.
        room: usize,
    },
    /// The memory that buffers live in is too short for them.
    Memory(AccessError),
    /// The link was closed or reset.
    Closed,
}

impl LinkError {
    /// Whether the other side broke the rules, so that only a reset helps.
    #[must_use]
    pub const fn is_peer(&self) -> bool {
        match self {
            Self::Queue(error) => error.is_peer(),
            Self::PeerBufferAddress { .. } | Self::PeerBufferLength { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("all transmit buffers are with the peer"),
            Self::TooLong { len, max } => write!(f, "a message of {len} bytes; at most {max} fit a buffer"),
            Self::Queue(error) => error.fmt(f),
            Self::PeerBufferAddress { addr, len } => {
                write!(f, "the peer's buffer at {addr} of {len} bytes lies in no shared memory")
            }
            Self::PeerBufferLength { len } => write!(f, "the peer's buffer of {len} bytes is of no use"),
            Self::BufferSize { size } => write!(f, "buffers of {size} bytes hold no header"),
            Self::Bounds { at, len, room } => {
                write!(f, "{len} bytes from byte {at} on leave a frame of {room}")
            }
            Self::Memory(error) => write!(f, "buffer memory: {error}"),
            Self::Closed => f.write_str("the link was closed"),
        }
    }
}

impl core::error::Error for LinkError {}

impl From<QueueError> for LinkError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Full => Self::Full,
            error => Self::Queue(error),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
