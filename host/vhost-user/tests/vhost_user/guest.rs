//! A guest's memory, and its driver: our own driver's end of the rings, with rpmsg in the host's role.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::Lent;
use sidecore_rpmsg::host::HostLink;
use sidecore_rpmsg::link::vring::{Buffers, Driver};
use sidecore_rpmsg::{ADDR_ANY, Announcement, Endpoint, Event, Rpmsg, Slot};
use sidecore_virtio::RingFeatures;
use sidecore_virtio::split::{self, Parts};
use sidecore_wire::features::EVENT_IDX;
use sidecore_wire::split::Layout;

use crate::front_end::*;
use crate::running::until;

/// Where the guest and the front end have the memory.
pub(crate) const GUEST: u64 = 0x4000_0000;
pub(crate) const USER: u64 = 0x7f00_1234_0000;
/// Its length in bytes, and where it begins in its file.
pub(crate) const LEN: u64 = 0x8_0000;
pub(crate) const OFFSET: u64 = 0x3000;
/// Descriptors of a ring, bytes of a buffer, and where they begin.
pub(crate) const NUM: u16 = 64;
pub(crate) const SIZE: u32 = 512;
const RINGS: [u64; 2] = [0x1_0000, 0x1_4000];
const POOLS: [u64; 2] = [0x2_0000, 0x4_0000];

type Kick = Box<dyn Fn(u16)>;
type Host = Rpmsg<HostLink<Box<[split::Slot]>, Kick, Arc<Lent>>, Vec<Slot>>;

pub(crate) struct Guest {
    pub(crate) front_end: FrontEnd,
    pub(crate) file: OwnedFd,
    pub(crate) memory: Region<Arc<Lent>>,
    pub(crate) kicks: [OwnedFd; 2],
    pub(crate) calls: [OwnedFd; 2],
    pub(crate) errors: [OwnedFd; 2],
    /// The guest's end of the channel on which the device sends requests.
    pub(crate) outward: Option<UnixStream>,
    pub(crate) protocol: u64,
    pub(crate) host: Option<Host>,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Guest {
    /// A guest whose front end has connected, agreed on features and lent its memory.
    pub(crate) fn new(path: &std::path::Path, protocol: u64) -> Self {
        Self::with_file(path, protocol, file(MemfdFlags::ALLOW_SEALING, OFFSET + LEN))
    }

    pub(crate) fn with_file(path: &std::path::Path, protocol: u64, file: OwnedFd) -> Self {
        let memory = Lent::map(file.as_fd(), OFFSET, LEN).unwrap().region();
        let front_end = FrontEnd::connect(path);
        front_end.agree(protocol);
        let bells = || [(); 2].map(|()| eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
        let outward = (protocol & BACKEND_REQ != 0).then(|| {
            let (here, there) = UnixStream::pair().unwrap();
            front_end.send(SET_BACKEND_REQ_FD, &[], &[there.as_fd()]);
            here.set_read_timeout(Some(std::time::Duration::from_secs(40))).unwrap();
            here
        });
        let (kicks, calls, errors) = (bells(), bells(), bells());
        let (host, endpoints) = (None, Vec::new());
        let guest =
            Self { front_end, file, memory, kicks, calls, errors, outward, protocol, host, endpoints };
        guest.lend();
        guest
    }

    /// Tells the device of the memory.
    pub(crate) fn lend(&self) {
        // With room for one more, as User-Mode Linux does it.
        let mut payload = table(&[[GUEST, LEN, USER, OFFSET]]);
        payload.extend([0; 32]);
        self.front_end.send(SET_MEM_TABLE, &payload, &[self.file.as_fd()]);
    }

    /// The driver makes its rings anew, and fills them.
    pub(crate) fn make_rings(&mut self) {
        let at = |at: u64, len: u64| self.memory.slice(at as usize, len as usize).unwrap();
        let layout = Layout::new(NUM, 64).unwrap();
        let features = RingFeatures::of(EVENT_IDX);
        let [rx, tx] = RINGS.map(|ring| {
            let parts = Parts::contiguous(&at(ring, 0x4000), &layout).unwrap();
            parts.clear();
            let slots = vec![split::Slot::default(); usize::from(NUM)].into_boxed_slice();
            split::Driver::new(parts, features, slots).unwrap()
        });
        let [rx_pool, tx_pool] = POOLS.map(|pool| Buffers {
            region: at(pool, 0x2_0000),
            addr: DeviceAddr(GUEST + pool),
            size: SIZE,
        });
        let kick: Kick = if self.protocol & INBAND != 0 {
            let front_end = FrontEnd(self.front_end.0.try_clone().unwrap());
            // The driver holds a lock and waits until the device has taken notice.
            Box::new(move |queue| assert!(front_end.is_done(VRING_KICK, &pair(u32::from(queue), 0), &[])))
        } else {
            let kicks = [0, 1].map(|queue| self.kicks[queue].try_clone().unwrap());
            Box::new(move |queue| {
                rustix::io::write(&kicks[usize::from(queue)], &1_u64.to_ne_bytes()).unwrap();
            })
        };
        let link = Driver::new(rx, tx, rx_pool, tx_pool, kick).unwrap();
        self.host = Some(Rpmsg::new(link, vec![Slot::new(); 8]));
        self.endpoints.clear();
    }

    /// Tells the device where the rings are, from which entry on, and that it may work them.
    pub(crate) fn tell_rings(&self, bases: [u32; 2]) {
        for (queue, base) in bases.into_iter().enumerate() {
            let number = queue as u64;
            if self.protocol & INBAND == 0 {
                self.front_end.send(SET_VRING_CALL, &words(&[number]), &[self.calls[queue].as_fd()]);
            }
            self.front_end.send(SET_VRING_ERR, &words(&[number]), &[self.errors[queue].as_fd()]);
            self.front_end.send(SET_VRING_NUM, &pair(queue as u32, u32::from(NUM)), &[]);
            self.front_end.send(SET_VRING_BASE, &pair(queue as u32, base), &[]);
            self.front_end.send(SET_VRING_ADDR, &addresses(queue as u32, USER), &[]);
        }
        for queue in 0..2 {
            if self.protocol & INBAND == 0 {
                let kick = [self.kicks[queue].as_fd()];
                self.front_end.send(SET_VRING_KICK, &words(&[queue as u64]), &kick);
            }
            self.front_end.send(SET_VRING_ENABLE, &pair(queue as u32, 1), &[]);
        }
    }

    /// The driver is ready, and says so.
    pub(crate) fn driver_ok(&self) {
        if self.protocol & STATUS != 0 {
            self.front_end.send(SET_STATUS, &words(&[15]), &[]);
        }
        self.kick(0);
    }

    /// All of it.
    pub(crate) fn boot(path: &std::path::Path, protocol: u64) -> Self {
        let mut guest = Self::new(path, protocol);
        guest.make_rings();
        guest.tell_rings([0, 0]);
        guest.driver_ok();
        guest
    }

    pub(crate) fn kick(&self, queue: u16) {
        use sidecore_virtio::Notify as _;
        self.host().link().notifier().notify(queue);
    }

    pub(crate) fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    /// The next announcement.
    #[track_caller]
    pub(crate) fn announcement(&self) -> Announcement {
        let mut found = None;
        until("an announcement", || {
            match self.host().poll().unwrap() {
                Some(Event::Announcement(announcement)) => found = Some(announcement),
                Some(Event::Message(message)) => panic!("{message:?}"),
                None => {
                    let _ = sidecore_rpmsg::Link::arm(self.host().link());
                }
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Takes the next announcement, and opens a channel to it.
    #[track_caller]
    pub(crate) fn channel(&mut self, name: &str) -> Endpoint {
        let announcement = self.announcement();
        assert_eq!(announcement.name.as_str(), Some(name));
        assert!(!announcement.is_destroy());
        let endpoint = self.host().open(ADDR_ANY, announcement.addr).unwrap();
        self.endpoints.push(endpoint);
        endpoint
    }

    /// The next message, and the endpoint that it is for.
    #[track_caller]
    pub(crate) fn message(&self) -> (Endpoint, Vec<u8>) {
        let mut found = None;
        until("a message", || {
            match self.host().poll().unwrap() {
                Some(Event::Message(message)) => {
                    let mut bytes = vec![0; message.len()];
                    message.read(0, &mut bytes).unwrap();
                    found = Some((message.endpoint(), bytes));
                }
                Some(Event::Announcement(announcement)) => panic!("{announcement:?}"),
                None => {
                    let _ = sidecore_rpmsg::Link::arm(self.host().link());
                }
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a message and wants it back.
    #[track_caller]
    pub(crate) fn round_trip(&self, endpoint: Endpoint, payload: &[u8]) {
        self.host().send(endpoint, payload).unwrap();
        assert_eq!(self.message(), (endpoint, payload.to_vec()));
    }

    /// Whether a doorbell was rung since the last time.
    pub(crate) fn was_rung(bell: &OwnedFd) -> bool {
        rustix::io::read(bell, &mut [0; 8]).is_ok()
    }
}

/// A memory that is a file.
pub(crate) fn file(flags: MemfdFlags, len: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("guest", flags | MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, len).unwrap();
    file
}

/// Where a ring begins in the memory.
pub(crate) fn rings_at(queue: usize) -> u64 {
    RINGS[queue]
}

/// The payload of SET_VRING_ADDR for a ring that the guest makes, in memory that begins at `user`.
pub(crate) fn addresses(queue: u32, user: u64) -> Vec<u8> {
    let layout = Layout::new(NUM, 64).unwrap();
    let ring = user + RINGS[queue as usize];
    let (used, available) =
        (ring + u64::from(layout.used_flags()), ring + u64::from(layout.available_flags()));
    [pair(queue, 0), words(&[ring, used, available, u64::MAX])].concat()
}
