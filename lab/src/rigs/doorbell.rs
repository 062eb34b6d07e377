//! A doorbell between threads.

use std::sync::{Condvar, Mutex, PoisonError};

/// Rung by one thread, heard by another. It remembers one ring, as an eventfd or a pending interrupt does.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Doorbell {
    /// Wakes the sleeper, or the next one.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Sleeps until the bell has been rung since the last wait.
    pub fn wait(&self) {
        let guard = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rung = self.heard.wait_while(guard, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
