//! The remote as its firmware sees it.

use core::time::Duration;

use crate::platform::{self, Native, Platform};

/// The processor that the firmware runs on, handed to its `main`.
#[derive(Debug)]
pub struct Remote<P = Native> {
    platform: P,
}

impl<P: Platform> Remote<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self { platform }
    }

    /// The machine underneath: clock, watchdog, doorbell.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// The time since some moment before the start.
    pub fn now(&self) -> Duration {
        platform::duration(self.platform.now(), self.platform.ticks_per_second())
    }
}
