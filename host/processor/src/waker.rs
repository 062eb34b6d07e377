//! Ending a wait from another thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sidecore_remoteproc as remoteproc;

/// Ends a [`Processor::wait`](crate::Processor::wait) from any thread; one that begins later returns at once. Any number of wake-ups may be
/// one.
#[derive(Clone)]
pub struct Waker {
    pub(crate) woken: Arc<AtomicBool>,
    pub(crate) backend: Option<remoteproc::Waker>,
}

impl Waker {
    /// Wakes the processor up.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        if let Some(backend) = &self.backend {
            backend();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("woken", &self.woken).finish_non_exhaustive()
    }
}
