//! What the front end said about a ring, and the ring's doorbells.

use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SocketType;
use sidecore_mem::Region;
use sidecore_os::Lent;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::{Notify, RingFeatures};

use crate::Fault;
use crate::connection::send;
use crate::memory::Memory;
use crate::message::{HEADER, RingAddresses, VRING_CALL, VRING_ERR, emit, pair};

/// Number of rings of an rpmsg device.
pub(crate) const RINGS: usize = 2;

/// A ring, as far as the front end has told.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Number of descriptors; 0 until it is told.
    pub(crate) num: u16,
    pub(crate) addresses: Option<RingAddresses>,
    /// The next entry of the available ring to take.
    pub(crate) base: u16,
    pub(crate) kick: Kick,
    pub(crate) call: Option<Bell>,
    pub(crate) err: Option<Bell>,
    /// Said by the front end, once it knows that rings are to be enabled.
    pub(crate) is_enabled: bool,
}

/// How the front end tells that there is something in a ring.
#[derive(Debug, Default)]
pub(crate) enum Kick {
    /// Not at all yet: the ring stands still.
    #[default]
    Never,
    /// By a doorbell.
    Bell(Bell),
    /// By messages, where those are agreed on; else not at all, and the ring is looked at from time to time.
    Silent,
}

impl Ring {
    /// Whether all is known that a ring at work needs. Where kicks are messages, nobody need say that there are any.
    pub(crate) fn is_set_up(&self, is_inband: bool) -> bool {
        let is_started = is_inband || !matches!(self.kick, Kick::Never);
        self.num > 0 && self.addresses.is_some() && is_started
    }

    /// The device's end of the ring, where it stands.
    ///
    /// # Errors
    /// It is not in the memory that was lent, not aligned, or its base is in no relation to its used index.
    pub(crate) fn device(
        &self,
        queue: u16,
        memory: &Memory,
        features: RingFeatures,
    ) -> Result<split::Device<Arc<Lent>>, Fault> {
        let RingAddresses { descriptors, available, .. } = self.addresses.unwrap_or_default();
        let num = usize::from(self.num);
        let part = |part, address, len| {
            memory.user(address, len).ok_or(Fault::RingAddress { queue, part, address, len })
        };
        let descriptors = part("the descriptor table", descriptors, 16 * num)?;
        let available = part("the available ring", available, 6 + 2 * num)?;
        let used = self.used(queue, memory)?;
        let parts = Parts::separate(&descriptors, &available, &used, self.num);
        let parts = parts.map_err(|error| Fault::RingMemory { queue, error })?;
        split::Device::resume(parts, features, self.base).map_err(|error| Fault::Ring { queue, error })
    }

    /// How far the used ring is: where a device that takes nothing in advance goes on.
    pub(crate) fn used_index(&self, queue: u16, memory: &Memory) -> Option<u16> {
        self.used(queue, memory).ok()?.load(2).ok()
    }

    fn used(&self, queue: u16, memory: &Memory) -> Result<Region<Arc<Lent>>, Fault> {
        let address = self.addresses.unwrap_or_default().used;
        let len = 6 + 8 * usize::from(self.num);
        let outside = Fault::RingAddress { queue, part: "the used ring", address, len };
        memory.user(address, len).ok_or(outside)
    }
}

/// A descriptor for notifications, which may be of any kind that the front end likes: an eventfd, a pipe, a socket.
#[derive(Debug)]
pub(crate) struct Bell {
    fd: OwnedFd,
    is_socket: bool,
}

impl Bell {
    /// A doorbell that the front end rings, and whether it has done so already.
    ///
    /// # Errors
    /// It is nothing that can be read without waiting.
    pub(crate) fn to_answer(fd: OwnedFd) -> Result<(Self, bool), Fault> {
        let bell = Self::new(fd)?;
        match bell.look() {
            Ok(_) => Ok((bell, true)),
            Err(Errno::AGAIN) => Ok((bell, false)),
            Err(errno) => Err(Fault::Descriptor { what: "read a doorbell", errno }),
        }
    }

    /// A doorbell that the front end answers.
    ///
    /// # Errors
    /// It cannot be kept from waiting.
    pub(crate) fn to_ring(fd: OwnedFd) -> Result<Self, Fault> {
        let what = "set up a doorbell (O_NONBLOCK)";
        let failed = |errno| Fault::Descriptor { what, errno };
        let flags = rustix::fs::fcntl_getfl(&fd).map_err(failed)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(failed)?;
        Self::new(fd)
    }

    fn new(fd: OwnedFd) -> Result<Self, Fault> {
        let is_socket = rustix::net::sockopt::socket_type(&fd).is_ok();
        Ok(Self { fd, is_socket })
    }

    /// Answers all rings so far; whether there were any.
    ///
    /// # Errors
    /// Nobody will ring any more.
    pub(crate) fn answer(&self) -> Result<bool, Fault> {
        let ended = |errno| Fault::Descriptor { what: "answer a doorbell", errno };
        match self.look() {
            Ok(0) => Err(ended(Errno::PIPE)),
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(ended(errno)),
        }
    }

    /// Rings.
    ///
    /// # Errors
    /// There is nobody to hear it. A doorbell that has rung too often to count is not one of them.
    pub(crate) fn ring(&self) -> Result<(), Errno> {
        let one = 1_u64.to_ne_bytes();
        let rung = if self.is_socket { send(&self.fd, &one) } else { rustix::io::write(&self.fd, &one) };
        match rung {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn look(&self) -> Result<usize, Errno> {
        // Room for many kicks of a stream, of which one is as good as all.
        let mut bytes = [0; 256];
        loop {
            let to = &mut [IoSliceMut::new(&mut bytes)];
            // Not by a flag of the descriptor's, which the front end could take away at the wrong moment.
            match rustix::io::preadv2(&self.fd, to, u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The channel on which this side sends messages of its own.
#[derive(Debug)]
pub(crate) struct Outward(OwnedFd);

impl Outward {
    /// Takes the descriptor that the front end sent for it.
    ///
    /// # Errors
    /// It is no stream socket.
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Fault> {
        let what = "use a descriptor as the channel for our requests";
        let failed = |errno| Fault::Descriptor { what, errno };
        match rustix::net::sockopt::socket_type(&fd).map_err(failed)? {
            SocketType::STREAM => Ok(Self(fd)),
            _ => Err(failed(Errno::PROTOTYPE)),
        }
    }

    /// Tells that a ring has used buffers.
    ///
    /// # Errors
    /// `EAGAIN`: no room now. Else there is nobody to hear it.
    pub(crate) fn call(&self, queue: u16) -> Result<(), Errno> {
        self.send(VRING_CALL, queue)
    }

    /// Tells that a ring is broken.
    ///
    /// # Errors
    /// As for [`Outward::call`].
    pub(crate) fn error(&self, queue: u16) -> Result<(), Errno> {
        self.send(VRING_ERR, queue)
    }

    fn send(&self, request: u32, queue: u16) -> Result<(), Errno> {
        let bytes = emit(request, false, &pair(u32::from(queue), 0));
        // Small enough that a stream socket takes all of it or nothing.
        match send(&self.0, &bytes) {
            Ok(len) if len == HEADER + 8 => Ok(()),
            Ok(_) => Err(Errno::MSGSIZE),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Outward {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The rings that the driver is to be called for: noted by the link, carried out by the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Due(Rc<[Cell<bool>; RINGS]>);

impl Due {
    /// The rings to be called for.
    pub(crate) fn queues(&self) -> impl Iterator<Item = u16> {
        (0..).zip(self.0.iter()).filter_map(|(queue, due)| due.get().then_some(queue))
    }

    /// The driver has been called for a ring.
    pub(crate) fn done(&self, queue: u16) {
        self.set(queue, false);
    }

    fn set(&self, queue: u16, is_due: bool) {
        if let Some(due) = self.0.get(usize::from(queue)) {
            due.set(is_due);
        }
    }
}

impl Notify for Due {
    fn notify(&self, queue: u16) {
        self.set(queue, true);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn doorbells_of_any_kind_are_answered_without_waiting() {
        let event = eventfd(0, EventfdFlags::empty()).unwrap();
        let (stream, datagram) = (UnixStream::pair().unwrap(), UnixDatagram::pair().unwrap());
        let pipe = rustix::pipe::pipe().unwrap();
        let pairs: [(OwnedFd, OwnedFd); 4] = [
            (event.try_clone().unwrap(), event),
            (stream.0.into(), stream.1.into()),
            (datagram.0.into(), datagram.1.into()),
            (pipe.1, pipe.0),
        ];
        for (far, near) in pairs {
            let far = Bell::to_ring(far).unwrap();
            // As a front end can at any moment.
            let flags = rustix::fs::fcntl_getfl(&near).unwrap();
            rustix::fs::fcntl_setfl(&near, flags.difference(OFlags::NONBLOCK)).unwrap();
            let (bell, _) = Bell::to_answer(near).unwrap();
            assert_eq!(bell.answer(), Ok(false));
            far.ring().unwrap();
            far.ring().unwrap();
            assert_eq!(bell.answer(), Ok(true));
            while bell.answer().unwrap() {}
        }
    }

    #[test]
    fn a_doorbell_that_is_full_is_rung_without_waiting() {
        let full = eventfd(0, EventfdFlags::empty()).unwrap();
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        Bell::to_ring(full).unwrap().ring().unwrap();
        let (pipe, _end) = (rustix::pipe::pipe().unwrap(), ());
        let bell = Bell::to_ring(pipe.1).unwrap();
        (0..100_000).for_each(|_| bell.ring().unwrap());
        drop(pipe.0);
        assert_eq!(bell.ring(), Err(Errno::PIPE));
    }

    #[test]
    fn what_is_no_doorbell_is_refused() {
        let folder = std::fs::File::open("/").unwrap();
        let fault = Bell::to_answer(folder.into()).unwrap_err();
        assert!(matches!(fault, Fault::Descriptor { what: "read a doorbell", .. }), "{fault}");
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(Outward::new(pipe).is_err());
        assert!(Outward::new(UnixDatagram::pair().unwrap().0.into()).is_err());
    }
}
