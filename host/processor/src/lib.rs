//! A remote as an application sees it: firmware, rings, endpoints and services joined.
//!
//! ```text
//! Firmware ──► Remote (life cycle, on a Backend) ──► every rpmsg device: rings, link, messages
//!                                                        │ announcements ──► services, events
//!                                                        └ messages ──► endpoints, services
//! ```
//!
//! A [`Processor`] joins these. What it sees of the remote is checked below it; what it decides itself is who gets
//! which message, what waits where and how much of it, and what becomes an [`Event`].

pub mod capture;
pub mod codes;
pub mod console;
pub mod discard;
pub mod dumps;
pub mod echo;
pub mod files;
pub mod grants;

mod clients;
mod crash;
mod device;
mod endpoint;
mod error;
mod event;
mod gap;
mod go_on;
mod ground;
mod journal;
mod message;
mod message_only;
mod port;
mod processor;
mod recover;
mod responder;
mod service;
mod waker;

pub use capture::Capture;
pub use clients::{Client, Clients, Notice};
pub use crash::Summary;
pub use device::{Dropped, Room};
pub use endpoint::{Endpoint, Orphan, Service};
pub use error::{Lost, OpenError, ReceiveError, SendError};
pub use event::{Ended, Event, ServeError};
pub use ground::{DeviceError, NotResumed};
pub use message::Message;
pub use message_only::MessageOnly;
pub use processor::{Options, Processor};
pub use responder::{Responder, TableRefused, Visit};
pub use service::{Offer, Serve, ServiceEvent};
pub use waker::Waker;
