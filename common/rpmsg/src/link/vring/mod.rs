//! rpmsg over a pair of virtqueues, from both of virtio's sides.
//!
//! Queue 0 carries frames from the device to the driver, queue 1 from the driver to the device (Linux calls them
//! "input" and "output"). All buffers are the driver's. On a coprocessor the driver is rpmsg's host; in a
//! virtual machine the guest is.

mod device;
mod driver;
mod resume;
mod unreleased;

pub use device::Device;
pub use driver::{Buffers, Driver};
pub use resume::Resumable;
pub use unreleased::Unreleased;

/// Index of the queue that carries frames from the device to the driver.
pub const FROM_DEVICE: u16 = 0;

/// Index of the queue that carries frames from the driver to the device.
pub const TO_DEVICE: u16 = 1;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
