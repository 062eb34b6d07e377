//! Unchecked access to shared memory: the hardware's, or loom's model of it.
//!
//! Both have the same functions; everything above them is written once.

#[cfg(not(loom))]
mod hardware;
#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub(crate) use hardware::Raw;
#[cfg(loom)]
pub(crate) use model::Raw;
