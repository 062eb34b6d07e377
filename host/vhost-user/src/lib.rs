//! rpmsg for virtual machines: a vhost-user device of virtio id 7.
//!
//! A virtual machine monitor that speaks vhost-user (the *front end*: QEMU, a User-Mode Linux, cloud-hypervisor, ...)
//! connects to the socket of a [`Server`] and lends it the guest's memory. In there lie the rings of the guest's
//! driver, which this crate works as the device: `common/virtio`'s device end of split rings, with `common/rpmsg` in the
//! role of the remote. The guest finds [`Channel`]s announced, each with a service behind it.
//!
//! ```text
//! guest     virtio_rpmsg_bus ─ rings and buffers in the guest's memory ══╗
//! front end vhost-user ── socket: memory, rings, kicks ──┐               ║
//!                                                     session ── link (device) ── rpmsg ── services
//! ```
//!
//! Neither the guest nor the front end is trusted. Whatever they do ends a link or a connection, by a [`Fault`] that
//! names the field and the value, and the next front end is served. Nothing here waits for a peer in the middle of
//! anything: a message that never ends, answers that nobody reads and doorbells that nobody answers cost nothing but
//! their connection. Memory that can be truncated is used only in processes that called
//! [`sidecore_os::guard_bus_errors`]; without it, such memory is refused.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `message` | the messages as they lie on the socket |
//! | `connection` | whole messages off a stream, answers onto it |
//! | `memory` | the memory that the front end lends, by both of its addresses |
//! | `ring` | what the front end said about a ring, and its doorbells |
//! | `session` | the requests of one front end, one after the other |
//! | `device` | the rings at work |
//! | `serving` | channels on a link: announcements, messages, answers |
//! | `service` | what a guest finds at the other end of a channel |
//! | `server` | the socket, the wait, one front end after the other |
//!
//! The protocol is QEMU's `docs/interop/vhost-user.rst`. It is written out here, for the crate `vhost` (0.18) refuses
//! what is needed most: kicks as messages, the device status, and the longer memory table of User-Mode Linux. As a front
//! end that nobody here wrote, it tests this one.

mod connection;
mod device;
mod fault;
mod memory;
mod message;
mod ring;
mod server;
mod service;
mod serving;
mod session;

pub use fault::Fault;
pub use memory::MEMORY_SLOTS;
pub use server::{BindError, Event, Server, Stopper};
pub use service::{Channel, ChannelError, SERVICES, Serve, Service};
pub use serving::{Serving, Talk};
