//! Bringing a link up as rpmsg's host, which on a coprocessor is virtio's driver.
//!
//! The order is Linux' (`drivers/rpmsg/virtio_rpmsg_bus.c`): reset, features, rings cleared and filled, DRIVER_OK,
//! one kick of queue 0. The kick may reach the remote before it looks at the status, or get lost; a remote that looks
//! at the status on kicks and polls alike misses neither.

use core::fmt;

use sidecore_virtio::split::{self, Journal, Parts};
use sidecore_virtio::transport::{DriverTransport, StartError};
use sidecore_virtio::{Direction, Notify, QueueError, RingFeatures};
use sidecore_wire::features::{EVENT_IDX, F_BUFSZ, F_NS, INDIRECT_DESC};
use sidecore_wire::status::Status;

use crate::LinkError;
use crate::link::vring::{Buffers, Driver, FROM_DEVICE, Resumable, TO_DEVICE};

/// The features that this implementation understands as a host.
pub const UNDERSTOOD: u64 = F_NS | F_BUFSZ | INDIRECT_DESC | EVENT_IDX;

/// The host's link on split rings. `J` notes what changes hands: see [`resume`].
pub type HostLink<S, N, O, J = ()> = Driver<split::Driver<S, O, J>, N, O>;

/// Brings the device up and answers the link and the features in use.
///
/// `rings`, `slots` and `buffers` are those of queue 0 (remote to host) and queue 1 (host to remote), in this order.
/// `understood` is [`UNDERSTOOD`] or less of it: OpenAMP stops kicking where EVENT_IDX is in use.
///
/// # Errors
/// The device lacks or refuses features (its status is FAILED), or rings and buffers do not fit their memory.
pub fn bring_up<T, S, N, O>(
    transport: &T,
    understood: u64,
    rings: [Parts<O>; 2],
    slots: [S; 2],
    buffers: [Buffers<O>; 2],
    notify: N,
) -> Result<(HostLink<S, N, O>, u64), BringUpError>
where
    T: DriverTransport,
    S: AsRef<[split::Slot]>,
    N: Notify,
    O: Clone,
{
    bring_up_journaled(transport, understood, rings, slots, buffers, [(), ()], notify)
}

/// A link that is up, and the features in use.
type Up<S, N, O, J> = (HostLink<S, N, O, J>, u64);

/// As [`bring_up`], with a journal for each ring, which begins anew.
///
/// # Errors
/// As for [`bring_up`].
pub fn bring_up_journaled<T, S, N, O, J>(
    transport: &T,
    understood: u64,
    rings: [Parts<O>; 2],
    slots: [S; 2],
    buffers: [Buffers<O>; 2],
    journals: [J; 2],
    notify: N,
) -> Result<Up<S, N, O, J>, BringUpError>
where
    T: DriverTransport,
    S: AsRef<[split::Slot]>,
    N: Notify,
    O: Clone,
    J: Journal,
{
    let features = transport.begin(understood & UNDERSTOOD, 0)?;
    let ring_features = RingFeatures::of(features);
    let [rx_ring, tx_ring] = rings;
    let [rx_slots, tx_slots] = slots;
    let [rx_buffers, tx_buffers] = buffers;
    let [rx_journal, tx_journal] = journals;
    let rx = split::Driver::journaled(rx_ring, ring_features, rx_slots, rx_journal)?;
    let tx = split::Driver::journaled(tx_ring, ring_features, tx_slots, tx_journal)?;
    let link = Driver::new(rx, tx, rx_buffers, tx_buffers, notify)?;
    transport.driver_ok();
    link.notifier().notify(FROM_DEVICE);
    Ok((link, features))
}

/// Goes on in a link that another host, which is gone, had brought up with a journal: the remote notices nothing.
///
/// `features` are those that the other host had negotiated; `rings`, `slots` and `buffers` are as for [`bring_up`]. What
/// that host had sent is on its way, seen by the remote or not. What it had received and not released is to be delivered
/// again ([`Driver::left`]), before anything that comes. The caller ends with [`Driver::go_on`].
///
/// # Errors
/// The device is not running, or journal and rings do not agree: only [`bring_up`] helps. Nothing has been changed that
/// it could not deal with.
pub fn resume<T, S, N, O>(
    transport: &T,
    features: u64,
    rings: [Parts<O>; 2],
    slots: [S; 2],
    buffers: [Buffers<O>; 2],
    ledgers: [split::Ledger<O>; 2],
    notify: N,
) -> Result<Resumable<S, N, O>, ResumeError>
where
    T: DriverTransport,
    S: AsRef<[split::Slot]>,
    N: Notify,
    O: Clone,
{
    let status = transport.status();
    if !sidecore_virtio::status::is_running(status) {
        return Err(ResumeError::Status { status });
    }
    let ring_features = RingFeatures::of(features);
    let [rx_ring, tx_ring] = rings;
    let [rx_slots, tx_slots] = slots;
    let [rx_buffers, tx_buffers] = buffers;
    let [rx_ledger, tx_ledger] = ledgers;
    let resume = split::Driver::resume;
    let rx = resume(rx_ring, ring_features, Direction::FromDevice, rx_slots, rx_ledger)
        .map_err(|error| ResumeError::Ring { queue: FROM_DEVICE, error })?;
    let tx = resume(tx_ring, ring_features, Direction::ToDevice, tx_slots, tx_ledger)
        .map_err(|error| ResumeError::Ring { queue: TO_DEVICE, error })?;
    Driver::resume(rx, tx, rx_buffers, tx_buffers, notify).map_err(ResumeError::Link)
}

/// Why a link cannot be gone on in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeError {
    /// The device is not in use, or broken.
    Status {
        /// What it shows.
        status: Status,
    },
    /// A ring and its journal do not agree.
    Ring {
        /// Index of the queue.
        queue: u16,
        /// What is wrong.
        error: split::ResumeError,
    },
    /// The buffers do not fit their memory.
    Link(LinkError),
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status } => write!(f, "the device's status is {status}"),
            Self::Ring { queue, error } => write!(f, "ring {queue}: {error}"),
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ResumeError {}

/// Why a link did not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BringUpError {
    /// The device and we do not agree on features.
    Start(StartError),
    /// A ring does not fit its memory or storage.
    Queue(QueueError),
    /// The buffers do not fit their memory.
    Link(LinkError),
}

impl From<StartError> for BringUpError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<QueueError> for BringUpError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<LinkError> for BringUpError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Queue(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BringUpError {}
