//! Virtqueues in both roles, feature negotiation, device status and the transports.
//!
//! Roles are types: [`split::Driver`] makes buffers available and takes them back used, [`split::Device`] is its
//! other end. Both keep all that they rely on in their own memory and check whatever they read from the ring,
//! so a peer that lies costs its own queue and nothing else (a [`QueueError`] that names it).
//!
//! Queues take `&self` and keep their state in cells: they belong to one thread at a time (`Send`, not `Sync`),
//! and several loans of one queue can be alive at once.
//!
//! Clause numbers are those of the Virtual I/O Device specification, version 1.3.
#![no_std]

mod error;
mod features;
mod queue;
pub mod split;
pub mod status;
pub mod transport;

pub use error::QueueError;
pub use features::{NegotiationError, RingFeatures, negotiate};
pub use queue::{Buffer, DeviceQueue, Direction, DriverQueue, Notify, Used};
