//! Bringing a link up as rpmsg's host, which on a coprocessor is virtio's driver.
//!
//! The order is Linux' (`drivers/rpmsg/virtio_rpmsg_bus.c`): reset, features, rings cleared and filled, DRIVER_OK,
//! one kick of queue 0. The kick may reach the remote before it looks at the status, or get lost; a remote that looks
//! at the status on kicks and polls alike misses neither.

use core::fmt;

use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::{DriverTransport, StartError};
use sidecore_virtio::{Notify, QueueError, RingFeatures};
use sidecore_wire::features::{EVENT_IDX, F_BUFSZ, F_NS, INDIRECT_DESC};

use crate::LinkError;
use crate::link::vring::{Buffers, Driver, FROM_DEVICE};

/// The features that this implementation understands as a host.
pub const UNDERSTOOD: u64 = F_NS | F_BUFSZ | INDIRECT_DESC | EVENT_IDX;

/// The host's link on split rings.
pub type HostLink<S, N, O> = Driver<split::Driver<S, O>, N, O>;

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
    let features = transport.begin(understood & UNDERSTOOD, 0)?;
    let ring_features = RingFeatures::of(features);
    let [rx_ring, tx_ring] = rings;
    let [rx_slots, tx_slots] = slots;
    let [rx_buffers, tx_buffers] = buffers;
    let rx = split::Driver::new(rx_ring, ring_features, rx_slots)?;
    let tx = split::Driver::new(tx_ring, ring_features, tx_slots)?;
    let link = Driver::new(rx, tx, rx_buffers, tx_buffers, notify)?;
    transport.driver_ok();
    link.notifier().notify(FROM_DEVICE);
    Ok((link, features))
}

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
