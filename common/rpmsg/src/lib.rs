//! Channels and endpoints over links, in both rpmsg roles.
//!
//! A [`link::Link`] carries whole frames to the peer and back; [`Rpmsg`] puts endpoints, addresses and the name
//! service on it. What runs below may be a pair of virtqueues (`link::vring`, both virtio roles), or a
//! test bench; what runs above never learns which.
//!
//! Like the queues below it, an [`Rpmsg`] belongs to one thread at a time and takes `&self`: received messages and
//! reserved buffers are loans that may be alive side by side, and each goes home by itself when it is dropped.
//! Endpoints live in storage that the caller gives; there is no heap and no clock.
//!
//! What bringing a link up takes differs by role: [`host`] and [`remote`].
#![no_std]

mod endpoint;
mod error;
pub mod host;
pub mod link;
mod loan;
mod name_service;
pub mod remote;
mod rpmsg;
pub mod small;

pub use endpoint::{Endpoint, Slot};
pub use error::{OpenError, ReadError, SendError};
pub use link::{Link, LinkError};
pub use loan::{Held, Message, Outgoing};
pub use name_service::{Directory, DirectoryError, Entry, Service};
pub use rpmsg::{Batch, Delivered, Drops, Event, Rpmsg};
pub use sidecore_wire::name_service::{Announcement, Name};
pub use sidecore_wire::rpmsg::{ADDR_ANY, FIRST_DYNAMIC_ADDR, Header, NAME_SERVICE_ADDR};
