//! What a device's link is made of, found and checked.

use sidecore_mem::{MapError, Region};
use sidecore_remoteproc::resource::{PoolPlace, Vdev, VringPlace};
use sidecore_remoteproc::{Backend, Doorbell, MemoryMap};
use sidecore_rpmsg::host::{BringUpError, ResumeError};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_virtio::Notify;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::table::{self, RegisterError, Reset};
use sidecore_wire::resource_table::vdev::ID_RPMSG;
use sidecore_wire::split::Layout;

use crate::device::Room;
use crate::journal::{Section, Shape};

/// What a device's link is made of.
pub(crate) struct Ground<B: Backend> {
    pub(crate) index: u32,
    pub(crate) registers: table::Driver<B::Owner>,
    pub(crate) rings: [Parts<B::Owner>; 2],
    pub(crate) pools: [Buffers<B::Owner>; 2],
    pub(crate) bell: Bell<B>,
    pub(crate) journal: Option<Section<B::Owner>>,
    pub(crate) room: Room,
}

impl<B: Backend> Ground<B> {
    /// Finds all of it. A journal's section is taken off the front of `journal`.
    pub(crate) fn find(
        vdev: &Vdev,
        memories: &MemoryMap<B::Owner>,
        table: Option<&Region<B::Owner>>,
        journal: &mut Option<Region<B::Owner>>,
        doorbell: B::Doorbell,
        room: Room,
    ) -> Result<Self, DeviceError> {
        if vdev.id != ID_RPMSG {
            return Err(DeviceError::NoDriver { id: vdev.id });
        }
        let ([from, to, ..], Some(buffers)) = (&vdev.vrings[..], &vdev.buffers) else {
            return Err(DeviceError::Rings { count: vdev.vrings.len() });
        };
        let shape = Shape { num: [from.num, to.num], endpoints: room.endpoints, services: room.services };
        let section = journal.take().and_then(|journal| Section::split(&journal, shape));
        let section = section.map(|(section, rest)| {
            *journal = Some(rest);
            section
        });
        Ok(Self {
            index: vdev.index,
            registers: table::Driver::new(table.ok_or(DeviceError::NoTable)?, vdev.offset as usize)?,
            rings: [ring(memories, 0, from)?, ring(memories, 1, to)?],
            pools: [pool(memories, &buffers.from_remote)?, pool(memories, &buffers.to_remote)?],
            bell: Bell { doorbell, ids: [from.notifyid, to.notifyid] },
            journal: section,
            room,
        })
    }

    /// Whether another main side left the device in use.
    pub(crate) fn is_left_in_use(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.left_in_use().is_some())
    }

    /// Takes the device out of use: nobody resumes it any more, and the remote sees it reset. Answers what tells whether
    /// it has, if it will tell.
    pub(crate) fn withdraw(&self) -> Option<Reset> {
        self.journal.iter().for_each(Section::end);
        let reset = self.registers.reset();
        // One that does not know of epochs is not rung: rpmsg-lite takes its first bell for the start.
        if reset.is_some() {
            (0..2).for_each(|queue| self.bell.notify(queue));
        }
        reset
    }

    /// Whether the remote has let go of what there was before a reset.
    pub(crate) fn has_let_go(&self, reset: Option<Reset>) -> bool {
        reset.is_some_and(|reset| self.registers.is_acknowledged(reset))
    }
}

/// Storage for the drivers of both rings.
pub(crate) fn slots<O: Clone>(rings: &[Parts<O>; 2]) -> [Box<[split::Slot]>; 2] {
    rings.each_ref().map(|ring| vec![split::Slot::default(); ring.num().into()].into_boxed_slice())
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
    /// The journal's section does not hold what it should.
    #[error("journal: {0}")]
    Journal(#[from] sidecore_mem::AccessError),
    /// Features, rings or buffers are refused.
    #[error("{0}")]
    BringUp(#[from] BringUpError),
}

/// Why a device that another main side left in use was brought up anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotResumed {
    /// There is no journal, or none of this device as it is made up now.
    #[error("it left no journal that is of use here")]
    NoJournal,
    /// Journal and rings do not agree, or the device is out of order.
    #[error("{0}")]
    Link(#[from] ResumeError),
}
