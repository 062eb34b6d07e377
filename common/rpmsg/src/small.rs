//! A remote for parts with a few KiB: messages on split rings, and nothing else.
//!
//! [`Remote`] does what [`remote::attach_bare`](crate::remote::attach_bare) and an [`Rpmsg`](crate::Rpmsg) on top do,
//! in a quarter of their code and stack, for who can live with less of it: rings and buffers lie in one memory, at
//! places that both sides know; no features; endpoints are addresses in read-only memory; a message is given back
//! when the call that handed it out returns; errors name the broken rule, not the value. The peer is as little trusted
//! as anywhere.
//!
//! ```
//! use sidecore_mem::{DeviceAddr, Memory};
//! use sidecore_rpmsg::small::{Error, Places, Remote};
//! use sidecore_rpmsg::{Announcement, NAME_SERVICE_ADDR, Name};
//!
//! const ECHO: u32 = 1024;
//! static SHARED: Memory<16384> = Memory::new();
//!
//! let places = Places { num: 8, to_host: 0, to_remote: 1024, align: 64 };
//! let remote = Remote::new(SHARED.region(), DeviceAddr(0x2000_0000), &places, &[ECHO], |_queue| ())?;
//! // Nobody has given us buffers yet.
//! let announcement = Announcement { name: Name::new("rpmsg-echo").unwrap(), addr: ECHO, flags: 0 };
//! assert_eq!(remote.send(ECHO, NAME_SERVICE_ADDR, &announcement.emit()), Err(Error::Full));
//! assert_eq!(remote.receive(|message| message.len()), Ok(None));
//! # Ok::<(), sidecore_mem::AccessError>(())
//! ```

use core::cell::Cell;
use core::fmt;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AccessError, DeviceAddr, Pairs, Region, Ring, Span, Word};
use sidecore_virtio::Notify;
use sidecore_wire::rpmsg::{ADDR_ANY, Header};
use sidecore_wire::split::{
    AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Layout, USED_NO_NOTIFY,
};

use crate::link::vring::{FROM_DEVICE, TO_DEVICE};

/// Offsets in the header.
const SRC: usize = 0;
const DST: usize = 4;
const LEN: usize = 12;

/// A remote on two split rings of which this side is the device.
#[derive(Debug)]
pub struct Remote<'e, N> {
    shared: Region,
    start: DeviceAddr,
    to_host: Queue,
    to_remote: Queue,
    endpoints: &'e [u32],
    notify: N,
}

/// Where the rings lie, as both sides know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Descriptors of each ring, a power of two.
    pub num: u16,
    /// Offset of the ring to the host in the shared memory, in bytes.
    pub to_host: usize,
    /// Offset of the ring to the remote.
    pub to_remote: usize,
    /// Alignment of the used part of each ring in bytes, a power of two.
    pub align: u32,
}

/// A received message. It lies where the peer may write, so it is copied out and only then looked at.
#[derive(Debug)]
pub struct Message<'r> {
    buffer: Span<'r>,
    src: u32,
    endpoint: usize,
    len: u16,
}

/// A message being written in the buffer that it travels in.
#[derive(Debug)]
pub struct Outgoing<'r> {
    buffer: Span<'r>,
    len: usize,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// All transmit buffers are with the host.
    Full,
    /// The payload is longer than the buffer whose turn it is takes.
    TooLong,
    /// The host took the rings down, or started anew.
    Closed,
    /// The host shows more available buffers than its ring has.
    PeerIndex,
    /// The host named a descriptor that there is not.
    PeerHead,
    /// The host's buffer is of several parts, or not to be written or read as this ring's are.
    PeerFlags,
    /// The host's buffer does not lie in the shared memory, on a multiple of 4 bytes.
    PeerAddress,
    /// The host's buffer holds no header.
    PeerLength,
}

impl<'e, N: Notify> Remote<'e, N> {
    /// A remote on rings that the host has set up, or is about to set up: its first notification says that it has.
    ///
    /// `start` is the address that the host knows the first byte of `shared` by. Messages are taken for `endpoints`
    /// alone.
    ///
    /// # Errors
    /// A ring does not fit its place.
    #[inline]
    pub fn new(
        shared: Region,
        start: DeviceAddr,
        places: &Places,
        endpoints: &'e [u32],
        notify: N,
    ) -> Result<Self, AccessError> {
        let to_host = Queue::new(&shared, places.to_host, places)?;
        let to_remote = Queue::new(&shared, places.to_remote, places)?;
        // Nobody waits for a transmit buffer: who finds none tries again later.
        to_host.used_flags.store(USED_NO_NOTIFY);
        Ok(Self { shared, start, to_host, to_remote, endpoints, notify })
    }

    /// Sends a message, copying it.
    ///
    /// # Errors
    /// [`Error::Full`]: nothing was sent, later there may be room. [`Error::TooLong`]: the caller's fault. All others
    /// mean the end of the link.
    pub fn send(&self, src: u32, dst: u32, payload: &[u8]) -> Result<(), Error> {
        self.send_in_place(src, dst, payload.len(), |outgoing| outgoing.write(0, payload))
    }

    /// Sends a message of `len` bytes that `fill` writes where it travels.
    ///
    /// # Errors
    /// As for [`send`](Self::send); [`Error::TooLong`] also where `fill` answers `None`. Meanwhile there is
    /// [no room](Error::Full) for other messages: `fill` sends none.
    #[inline]
    pub fn send_in_place(
        &self,
        src: u32,
        dst: u32,
        len: usize,
        fill: impl FnOnce(&Outgoing<'_>) -> Option<()>,
    ) -> Result<(), Error> {
        let queue = &self.to_host;
        let taken = queue.taken.get();
        if taken != queue.returned.get() {
            // We are called by a `fill`, whose buffer is not given back yet.
            return Err(Error::Full);
        }
        let head = next(queue)?.ok_or(Error::Full)?;
        let buffer = self.buffer(queue, head, DESC_WRITE)?;
        if len > buffer.len() - Header::SIZE || len > usize::from(u16::MAX) {
            return Err(Error::TooLong);
        }
        queue.taken.set(taken.wrapping_add(1));
        let outgoing = Outgoing { buffer, len };
        let header = Header { src, dst, reserved: 0, len: len as u16, flags: 0 };
        if fill(&outgoing).is_none() || outgoing.buffer.write(0, &header.emit()).is_none() {
            queue.taken.set(taken);
            return Err(Error::TooLong);
        }
        self.give_back(queue, FROM_DEVICE, head, (Header::SIZE + len) as u32);
        Ok(())
    }

    /// Hands the next message for one of the endpoints to `take` and gives it back afterwards; `None` where there is
    /// none, or only others, which are dropped.
    ///
    /// # Errors
    /// [`Error::Closed`], or the rule that the host broke: the end of the link.
    pub fn receive<R>(&self, take: impl FnOnce(&Message<'_>) -> R) -> Result<Option<R>, Error> {
        let queue = &self.to_remote;
        let Some(head) = next(queue)? else { return Ok(None) };
        let buffer = self.buffer(queue, head, 0)?;
        queue.taken.set(queue.taken.get().wrapping_add(1));
        let len = buffer.len() as u32;
        let answer = self.sort(buffer).map(|message| take(&message));
        // Nothing was written, but OpenAMP's driver takes this length as the buffer's capacity.
        self.give_back(queue, TO_DEVICE, head, len);
        Ok(answer)
    }

    /// Asks the host for a notification when there is a message. `true` means that there is one already.
    #[must_use = "what is there already raises no notification"]
    pub fn arm(&self) -> bool {
        let queue = &self.to_remote;
        queue.used_flags.store(0);
        // Full: as in `split::Device::enable_notifications`.
        full_fence();
        queue.available_index.load_acquire() != queue.taken.get()
    }

    /// Lets the host know that no notification is wanted for now.
    pub fn disarm(&self) {
        self.to_remote.used_flags.store(USED_NO_NOTIFY);
    }

    /// The message in a buffer, if it is one and for us.
    fn sort<'b>(&self, buffer: Span<'b>) -> Option<Message<'b>> {
        let (dst, len) = (buffer.load(DST)?, buffer.load::<u16>(LEN)?);
        if dst == ADDR_ANY || usize::from(len) > buffer.len() - Header::SIZE {
            return None;
        }
        let endpoint = self.endpoints.iter().position(|addr| *addr == dst)?;
        Some(Message { src: buffer.load(SRC)?, buffer, endpoint, len })
    }

    /// A descriptor's buffer, which holds a header at least.
    #[inline(always)]
    fn buffer(&self, queue: &Queue, head: u16, direction: u16) -> Result<Span<'_>, Error> {
        let [addr, word] = queue.descriptors.get(usize::from(head)).ok_or(Error::PeerHead)?;
        let (len, flags) = (word as u32 as usize, (word >> 32) as u16);
        if flags & (DESC_NEXT | DESC_INDIRECT | DESC_WRITE) != direction {
            return Err(Error::PeerFlags);
        }
        if len < Header::SIZE {
            return Err(Error::PeerLength);
        }
        // An address below the memory wraps to a huge offset.
        let at = usize::try_from(addr.wrapping_sub(self.start.0)).map_err(|_| Error::PeerAddress)?;
        self.shared.span(at, len).filter(|_| at % 4 == 0).ok_or(Error::PeerAddress)
    }

    /// Gives a buffer back, and notifies the host where it wants that.
    #[inline(never)]
    fn give_back(&self, queue: &Queue, index: u16, head: u16, len: u32) {
        let returned = queue.returned.get();
        queue.used.store(usize::from(returned), [u32::from(head), len]);
        let returned = returned.wrapping_add(1);
        queue.returned.set(returned);
        // Release: whoever sees the index sees the element, and what was written to the buffer.
        queue.used_index.store_release(returned);
        // Full: as in `split::Device::publish`.
        full_fence();
        if queue.available_flags.load() & AVAIL_NO_INTERRUPT == 0 {
            self.notify.notify(index);
        }
    }
}

/// The descriptor of the buffer whose turn it is, which is not taken yet.
#[inline(never)]
fn next(queue: &Queue) -> Result<Option<u16>, Error> {
    let taken = queue.taken.get();
    // Acquire: entries, descriptors and buffers are read after the index that published them.
    let more = queue.available_index.load_acquire().wrapping_sub(taken);
    if queue.used_index.load() != queue.returned.get() {
        // The driver cleared the ring, and nobody else writes there.
        return Err(Error::Closed);
    }
    if more == 0 {
        return Ok(None);
    }
    let out = taken.wrapping_sub(queue.returned.get());
    if usize::from(more) + usize::from(out) > queue.descriptors.count() {
        return Err(Error::PeerIndex);
    }
    Ok(Some(queue.available.load(usize::from(taken))))
}

impl Message<'_> {
    /// Which of the endpoints the message is for: its place among them.
    #[must_use]
    pub const fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// The address that it came from.
    #[must_use]
    pub const fn src(&self) -> u32 {
        self.src
    }

    /// Length of the payload in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty message is a message")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Copies the payload from byte `at` on into `to`; `None` where there are not as many bytes.
    pub fn read(&self, at: usize, to: &mut [u8]) -> Option<()> {
        if to.len() > self.len() || at > self.len() - to.len() {
            return None;
        }
        self.buffer.read(Header::SIZE + at, to)
    }
}

impl Outgoing<'_> {
    /// Writes bytes of the payload from byte `at` on; `None` where they leave the message.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        if bytes.len() > self.len || at > self.len - bytes.len() {
            return None;
        }
        self.buffer.write(Header::SIZE + at, bytes)
    }
}

/// The device's end of a split ring.
#[derive(Debug)]
struct Queue {
    descriptors: Pairs<u64>,
    available_flags: Word<u16>,
    available_index: Word<u16>,
    available: Ring<u16>,
    used_flags: Word<u16>,
    used_index: Word<u16>,
    used: Pairs<u32>,
    /// Entries taken from the available ring.
    taken: Cell<u16>,
    /// Entries written to the used ring.
    returned: Cell<u16>,
}

impl Queue {
    fn new(shared: &Region, at: usize, places: &Places) -> Result<Self, AccessError> {
        let num = usize::from(places.num);
        let layout = Layout::new(places.num, places.align);
        // A region of no bytes, where there can be no ring: the first handle is refused.
        let (size, used) =
            layout.map_or((0, 0), |layout| (layout.size() as usize, layout.used_flags() as usize));
        let ring = shared.slice(at, size)?;
        let available = 16 * num;
        let queue = Self {
            descriptors: ring.pairs(0, num)?,
            available_flags: ring.word(available)?,
            available_index: ring.word(available + 2)?,
            available: ring.ring(available + 4, num)?,
            used_flags: ring.word(used)?,
            used_index: ring.word(used + 2)?,
            used: ring.pairs(used + 4, num)?,
            taken: Cell::new(0),
            returned: Cell::new(0),
        };
        queue.returned.set(queue.used_index.load());
        Ok(queue)
    }
}

impl Error {
    /// Whether the other side broke the rules.
    #[must_use]
    pub const fn is_peer(self) -> bool {
        !matches!(self, Self::Full | Self::TooLong | Self::Closed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "all transmit buffers are with the host",
            Self::TooLong => "the message is longer than the buffer",
            Self::Closed => "the host took the link down",
            Self::PeerIndex => "the host shows more buffers than its ring has",
            Self::PeerHead => "the host named a descriptor that there is not",
            Self::PeerFlags => "the host's buffer has flags that it must not have here",
            Self::PeerAddress => {
                "the host's buffer does not lie in the shared memory, on a multiple of 4 bytes"
            }
            Self::PeerLength => "the host's buffer holds no header",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
