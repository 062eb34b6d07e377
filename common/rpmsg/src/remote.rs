//! Bringing a link up as rpmsg's remote, which on a coprocessor is virtio's device.
//!
//! A remote touches a vdev's rings only once it has seen DRIVER_OK; it looks at the status on every kick and on every
//! poll alike ([`table::Device::poll`]), so that neither a lost nor an early kick matters. When it answers
//! [`Change::Started`](sidecore_virtio::status::Change::Started), [`attach`] makes the link, and the remote announces
//! its services once. Only where a driver shows no status ([`attach_bare`]) is its first kick the condition.

use core::cell::Cell;
use core::fmt;

use sidecore_mem::{AccessError, AddressMap, DeviceAddr, MapError};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::table::{self, RegisterError};
use sidecore_virtio::transport::{DeviceTransport, NotOffered};
use sidecore_virtio::{Notify, RingFeatures};
use sidecore_wire::resource_table::Vring;
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

use crate::LinkError;
use crate::link::vring::{Device, FROM_DEVICE, TO_DEVICE};

/// The remote's link on split rings.
pub type RemoteLink<N, S, O, const W: usize> = Device<split::Device<O>, N, S, O, W>;

/// Makes the link of a vdev whose driver is ready, and answers it with the features in use.
///
/// `map` holds the memories that rings and buffers may lie in, by device address. `cancelled` has at least as many
/// words as queue 0 has descriptors. `notify` makes the doorbell out of the notify ids of the two queues, which are
/// only now known for sure.
///
/// # Errors
/// The driver accepted features that were not offered, its rings are not where they can be, or they are in use: the
/// firmware was started again and its driver was not told, so that it must be asked for a reset.
pub fn attach<N, S, O, const W: usize>(
    vdev: &table::Device<O>,
    map: AddressMap<O, W>,
    cancelled: S,
    notify: impl FnOnce([u32; 2]) -> N,
) -> Result<(RemoteLink<N, S, O, W>, u64), AttachError>
where
    N: Notify,
    S: AsRef<[Cell<u16>]>,
    O: Clone,
{
    let features = vdev.accepted()?;
    let ring_features = RingFeatures::of(features);
    let (from_device, to_device) = (vdev.vring(FROM_DEVICE as u8)?, vdev.vring(TO_DEVICE as u8)?);
    let mut tx = split::Device::new(place(&map, FROM_DEVICE, &from_device)?, ring_features);
    let mut rx = split::Device::new(place(&map, TO_DEVICE, &to_device)?, ring_features);
    for (queue, ring) in [(FROM_DEVICE, &tx), (TO_DEVICE, &rx)] {
        if ring.found() != 0 {
            return Err(AttachError::PeerRingInUse { queue, used: ring.found() });
        }
    }
    // Who has not even said that it knows how to drive the device has chosen no features, either (3.1.1): OpenAMP's
    // driver, which writes DRIVER_OK alone, accepts the event index wherever it is offered and never uses it.
    if ring_features.event_index && !vdev.status().contains(Status::DRIVER) {
        tx = tx.notifying_always();
        rx = rx.notifying_always();
    }
    let notify = notify([from_device.notifyid, to_device.notifyid]);
    Ok((Device::new(tx, rx, map, notify, cancelled)?, features))
}

/// Makes the link of a driver that has no registers, where both sides know beforehand where the rings are: rpmsg-lite's.
/// To be called at the driver's first kick, since nothing else tells that the rings are there. The notify ids of
/// `rings` are not looked at.
///
/// rpmsg-lite's driver marks all buffers as writable, and says of both queues that it wants no notification but
/// waits for one with each frame; so it is notified of each.
///
/// # Errors
/// The rings are not where they can be.
pub fn attach_bare<N, S, O, const W: usize>(
    rings: [Vring; 2],
    map: AddressMap<O, W>,
    cancelled: S,
    notify: N,
) -> Result<RemoteLink<N, S, O, W>, AttachError>
where
    N: Notify,
    S: AsRef<[Cell<u16>]>,
    O: Clone,
{
    let [from_device, to_device] = rings;
    let none = RingFeatures::default();
    let tx = split::Device::new(place(&map, FROM_DEVICE, &from_device)?, none).notifying_always();
    let rx = split::Device::new(place(&map, TO_DEVICE, &to_device)?, none).reading_writable();
    Ok(Device::new(tx, rx, map, notify, cancelled)?)
}

/// Finds a ring where the driver put it.
fn place<O: Clone, const W: usize>(
    map: &AddressMap<O, W>,
    queue: u16,
    vring: &Vring,
) -> Result<Parts<O>, AttachError> {
    let layout = u16::try_from(vring.num).ok().and_then(|num| Layout::new(num, vring.align).ok());
    let layout = layout.ok_or(AttachError::PeerRing { queue, num: vring.num, align: vring.align })?;
    let addr = DeviceAddr(u64::from(vring.da));
    let region = map.resolve(addr, layout.size() as usize);
    let region = region.map_err(|error| AttachError::PeerRingAddress { queue, error })?;
    Parts::contiguous(&region, &layout).map_err(|error| AttachError::PeerRingMemory { queue, error })
}

/// Why the link of a vdev could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// The driver accepted features that were not offered.
    NotOffered(NotOffered),
    /// The vdev entry is of no use.
    Register(RegisterError),
    /// A ring's number of descriptors or alignment is none that a ring can have.
    PeerRing {
        /// Index of the queue.
        queue: u16,
        /// Its number of descriptors.
        num: u32,
        /// Its alignment in bytes.
        align: u32,
    },
    /// A ring lies in no memory that is shared, or was not placed at all.
    PeerRingAddress {
        /// Index of the queue.
        queue: u16,
        /// Where it should be.
        error: MapError,
    },
    /// A ring is not aligned.
    PeerRingMemory {
        /// Index of the queue.
        queue: u16,
        /// What is wrong.
        error: AccessError,
    },
    /// A ring is in use: the driver knows nothing of this device's start, and goes on where another one was. Ask for
    /// a reset.
    PeerRingInUse {
        /// Index of the queue.
        queue: u16,
        /// What the used index says, where a driver that is ready begins with 0 (2.7.8).
        used: u16,
    },
    /// The storage for cancelled buffers is too small.
    Link(LinkError),
}

impl From<NotOffered> for AttachError {
    fn from(error: NotOffered) -> Self {
        Self::NotOffered(error)
    }
}

impl From<RegisterError> for AttachError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<LinkError> for AttachError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(error) => error.fmt(f),
            Self::Register(error) => error.fmt(f),
            Self::PeerRing { queue, num, align } => {
                write!(f, "queue {queue} has {num} descriptors and alignment {align}, which no ring can have")
            }
            Self::PeerRingAddress { queue, error } => write!(f, "queue {queue}: {error}"),
            Self::PeerRingMemory { queue, error } => write!(f, "queue {queue}: {error}"),
            Self::PeerRingInUse { queue, used } => {
                write!(f, "queue {queue} is in use already, up to {used}: its driver has not started anew")
            }
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
