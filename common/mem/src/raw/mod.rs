//! Unchecked access to shared memory: the hardware's, or loom's model of it.
//!
//! Both have the same functions; everything above them is written once.

#[cfg(not(loom))]
mod hardware;
#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub(crate) use hardware::Raw;
#[cfg(all(not(loom), target_arch = "arm", target_os = "none", not(target_has_atomic = "64")))]
pub(crate) use hardware::touch_device;
#[cfg(loom)]
pub(crate) use model::Raw;
