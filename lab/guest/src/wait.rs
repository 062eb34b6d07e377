//! Waiting for what the kernel does in its own time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// For how long anything may take. A busy machine is slow, and nothing here is an assertion about time.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if began.elapsed() > LIMIT {
            bail!("in {} s: {what}", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// [`LIMIT`] as `poll` takes it.
pub(crate) fn limit() -> rustix::event::Timespec {
    rustix::event::Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 }
}
