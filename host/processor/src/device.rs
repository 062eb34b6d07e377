//! One rpmsg device of a remote: its registers, its link, and who gets the messages.

use std::cell::{Cell, RefCell};

use sidecore_mem::{MapError, Region};
use sidecore_remoteproc::resource::{PoolPlace, Vdev, VringPlace};
use sidecore_remoteproc::{Backend, Doorbell, MemoryMap};
use sidecore_rpmsg::host::{self, BringUpError, HostLink, UNDERSTOOD};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::link::{Link as _, Tracer};
use sidecore_rpmsg::{Announcement, Directory, Endpoint, Entry, Header, LinkError, Rpmsg, Slot};
use sidecore_virtio::Notify;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::DriverTransport as _;
use sidecore_virtio::transport::table::{self, RegisterError};
use sidecore_wire::resource_table::vdev::ID_RPMSG;
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

use crate::capture::Tap;
use crate::event::{Event, Events};
use crate::port::{Parcel, Ports};

/// The link of a device: split rings, with someone looking at the frames where that was asked for.
pub(crate) type Link<B> = Tracer<HostLink<Box<[split::Slot]>, Bell<B>, <B as Backend>::Owner>, Tap>;
pub(crate) type Messages<B> = Rpmsg<Link<B>, Box<[Slot]>>;

/// How many of everything a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Endpoints that can be open at once.
    pub endpoints: u16,
    /// Announced services that are remembered.
    pub services: u16,
    /// Messages that wait at one endpoint for the application; those above are lost, and an event says so.
    pub waiting: u32,
}

impl Room {
    /// 64 endpoints, 64 services, 1024 messages.
    pub const DEFAULT: Self = Self { endpoints: 64, services: 64, waiting: 1024 };
}

impl Default for Room {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A device whose link is up, or was until the peer broke it.
pub(crate) struct Device<B: Backend> {
    pub(crate) index: u32,
    pub(crate) features: u64,
    /// The longest payload that can be sent, in bytes, and how many at once.
    pub(crate) max_payload: usize,
    pub(crate) transmit_buffers: u16,
    pub(crate) messages: Messages<B>,
    pub(crate) ports: RefCell<Ports<B>>,
    pub(crate) directory: RefCell<Directory<Box<[Entry]>>>,
    registers: table::Driver<B::Owner>,
    broken: Cell<Option<LinkError>>,
    reported: Cell<Dropped>,
    /// Frames that one poll takes before other devices get a turn: all that the ring can hold.
    turn: usize,
}

/// Frames that were dropped because nothing else could be done with them, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// No endpoint has the destination address.
    pub unknown_destination: u32,
    /// The frame is shorter than a header, or than its header claims.
    pub malformed: u32,
    /// An announcement of the wrong length, or with a name that is none.
    pub bad_announcement: u32,
}

/// Writes status 0 into the registers of an rpmsg device. Whether it has any; one that has none fails where it is
/// brought up.
pub(crate) fn withdraw<O: Clone>(vdev: &Vdev, table: Option<&Region<O>>) -> bool {
    let registers =
        table.filter(|_| vdev.id == ID_RPMSG).map(|table| table::Driver::new(table, vdev.offset as usize));
    let Some(Ok(registers)) = registers else { return false };
    registers.set_status(Status::RESET);
    true
}

impl<B: Backend> Device<B> {
    /// Brings the device up as a driver does: features, rings, buffers, DRIVER_OK, first kick.
    pub(crate) fn bring_up(
        vdev: &Vdev,
        memories: &MemoryMap<B::Owner>,
        table: Option<&Region<B::Owner>>,
        doorbell: B::Doorbell,
        tap: Tap,
        room: Room,
    ) -> Result<Self, DeviceError> {
        if vdev.id != ID_RPMSG {
            return Err(DeviceError::NoDriver { id: vdev.id });
        }
        let ([from, to, ..], Some(buffers)) = (&vdev.vrings[..], &vdev.buffers) else {
            return Err(DeviceError::Rings { count: vdev.vrings.len() });
        };
        let registers = table::Driver::new(table.ok_or(DeviceError::NoTable)?, vdev.offset as usize)?;
        let rings = [ring(memories, 0, from)?, ring(memories, 1, to)?];
        let slots = [from, to].map(|ring| vec![split::Slot::default(); ring.num.into()].into_boxed_slice());
        let pools = [pool(memories, &buffers.from_remote)?, pool(memories, &buffers.to_remote)?];
        let max = (buffers.to_remote.size as usize).saturating_sub(Header::SIZE).min(usize::from(u16::MAX));
        let bell = Bell { doorbell, ids: [from.notifyid, to.notifyid] };
        let (link, features) = host::bring_up(&registers, UNDERSTOOD, rings, slots, pools, bell)?;
        let endpoints = vec![Slot::new(); room.endpoints.into()].into_boxed_slice();
        let entries: Box<[Entry]> = vec![None; room.services.into()].into();
        Ok(Self {
            index: vdev.index,
            features,
            max_payload: max,
            transmit_buffers: to.num,
            messages: Rpmsg::new(Tracer::new(link, tap), endpoints),
            ports: RefCell::new(Ports::new(usize::from(from.num), max, room.waiting as usize)),
            directory: RefCell::new(Directory::new(entries)),
            registers,
            broken: Cell::new(None),
            reported: Cell::default(),
            turn: usize::from(from.num),
        })
    }

    /// Why the link is of no use any more, if it is not.
    pub(crate) fn broken(&self) -> Option<LinkError> {
        self.broken.get()
    }

    /// Takes what the remote sent, hands it out, and lets the services answer. Whether anything was there.
    ///
    /// `announced` is asked what to do about a service that came.
    pub(crate) fn poll(&self, events: &Events, announced: &mut dyn FnMut(&Self, &Announcement)) -> bool {
        if self.broken.get().is_some() {
            return false;
        }
        let batch = self.messages.batch();
        let drained = self.messages.drain(self.turn, |event| match event {
            sidecore_rpmsg::Event::Message(message) => {
                self.ports.borrow_mut().deliver(self.index, message, events);
            }
            sidecore_rpmsg::Event::Announcement(announcement) => {
                if self.announcement(&announcement, events) {
                    announced(self, &announcement);
                }
            }
        });
        self.report_drops(events);
        let served = drained.and_then(|count| {
            let sent = self.ports.borrow_mut().serve(self.index, &self.messages, events)?;
            Ok(count > 0 || sent)
        });
        drop(batch);
        self.report_drops(events);
        served.unwrap_or_else(|error| {
            self.fail(error, events);
            true
        })
    }

    /// Closes an endpoint. What still waits there goes back to the remote unread.
    pub(crate) fn close(&self, endpoint: Endpoint, events: &Events) {
        let waiting = self.ports.borrow_mut().remove(self.index, endpoint, events);
        for parcel in waiting.into_iter().flatten() {
            if let Parcel::InPlace(held) = parcel {
                drop(self.messages.resume(held));
            }
        }
        self.messages.close(endpoint);
    }

    /// Asks for a notification of what comes; whether something is there already.
    pub(crate) fn arm(&self) -> bool {
        self.broken.get().is_none() && self.messages.link().arm()
    }

    pub(crate) fn disarm(&self) {
        if self.broken.get().is_none() {
            self.messages.link().disarm();
        }
    }

    /// Looks whether the remote asks for a reset, which it does where the device no longer works.
    pub(crate) fn look_at_status(&self, events: &Events) {
        if self.broken.get().is_none() && self.registers.status().contains(Status::NEEDS_RESET) {
            self.broken.set(Some(LinkError::Closed));
            events.push(Event::NeedsReset { device: self.index });
        }
    }

    /// Gives the link up: the peer broke its rules. The remote sees FAILED.
    pub(crate) fn fail(&self, error: LinkError, events: &Events) {
        if self.broken.replace(Some(error)).is_none() {
            self.registers.set_status(self.registers.status().with(Status::FAILED));
            events.push(Event::LinkBroken { device: self.index, error });
        }
    }

    /// Tells the remote that rings and buffers are no longer its own.
    pub(crate) fn reset(&self) {
        self.registers.set_status(Status::RESET);
    }

    /// Takes an announcement in. Whether a service came.
    fn announcement(&self, announcement: &Announcement, events: &Events) -> bool {
        let applied = self.directory.borrow_mut().apply(announcement);
        let &Announcement { name, addr, .. } = announcement;
        let device = self.index;
        match applied {
            Ok(()) if announcement.is_destroy() => {
                let served = self.ports.borrow_mut().withdraw(&name, addr);
                served.into_iter().for_each(|endpoint| self.close(endpoint, events));
                events.push(Event::ServiceWithdrawn { device, name, addr });
                false
            }
            Ok(()) => {
                events.push(Event::ServiceAnnounced { device, name, addr });
                true
            }
            Err(error) => {
                events.push(Event::AnnouncementRefused { device, error, count: 1 });
                false
            }
        }
    }

    fn report_drops(&self, events: &Events) {
        let drops = self.messages.drops();
        let now = Dropped {
            unknown_destination: drops.unknown_destination.get(),
            malformed: drops.malformed.get(),
            bad_announcement: drops.bad_announcement.get(),
        };
        let before = self.reported.replace(now);
        if before != now {
            let new = Dropped {
                unknown_destination: now.unknown_destination - before.unknown_destination,
                malformed: now.malformed - before.malformed,
                bad_announcement: now.bad_announcement - before.bad_announcement,
            };
            events.push(Event::Dropped { device: self.index, frames: new });
        }
    }
}

impl<B: Backend> std::fmt::Debug for Device<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("index", &self.index)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

fn ring<O: Clone>(memories: &MemoryMap<O>, queue: u16, place: &VringPlace) -> Result<Parts<O>, DeviceError> {
    let layout = Layout::new(place.num, place.align).ok().ok_or(DeviceError::Layout {
        queue,
        num: place.num,
        align: place.align,
    })?;
    let region = memories.resolve(place.at, layout.size() as usize)?;
    Parts::contiguous(&region, &layout).map_err(|error| DeviceError::Ring { queue, error })
}

fn pool<O: Clone>(memories: &MemoryMap<O>, place: &PoolPlace) -> Result<Buffers<O>, DeviceError> {
    let len = place.size as usize * place.count as usize;
    Ok(Buffers { region: memories.resolve(place.at, len)?, addr: place.at, size: place.size })
}

/// Rings the remote for a queue, by the notify id of the ring.
pub(crate) struct Bell<B: Backend> {
    doorbell: B::Doorbell,
    ids: [u32; 2],
}

impl<B: Backend> Notify for Bell<B> {
    #[inline]
    fn notify(&self, queue: u16) {
        if let Some(id) = self.ids.get(usize::from(queue)) {
            self.doorbell.ring(*id);
        }
    }
}

/// Why a virtio device of a remote did not come up. The remote itself goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Nothing here drives devices of this kind.
    #[error("virtio id {id}: only rpmsg devices (7) have a driver here")]
    NoDriver {
        /// The device's virtio id.
        id: u32,
    },
    /// An rpmsg device has two rings.
    #[error("num_of_vrings is {count}: an rpmsg device has 2 rings")]
    Rings {
        /// How many the device has.
        count: usize,
    },
    /// The resource table is in no loaded segment, so the firmware would never see what is written into it.
    #[error("the resource table is in no loaded segment")]
    NoTable,
    /// The entry in the loaded table is not what it was in the file.
    #[error("{0}")]
    Registers(#[from] RegisterError),
    /// A ring cannot have these dimensions.
    #[error("ring {queue} has {num} descriptors and alignment {align:#x}, which no ring can have")]
    Layout {
        /// Index of the queue.
        queue: u16,
        /// Number of descriptors.
        num: u16,
        /// Alignment of the used ring in bytes.
        align: u32,
    },
    /// A ring is not aligned.
    #[error("ring {queue}: {error}")]
    Ring {
        /// Index of the queue.
        queue: u16,
        /// What is wrong.
        error: sidecore_mem::AccessError,
    },
    /// Rings or buffers lie in memory that the main side does not reach.
    #[error("{0}")]
    Memory(#[from] MapError),
    /// Features, rings or buffers are refused.
    #[error("{0}")]
    BringUp(#[from] BringUpError),
}
