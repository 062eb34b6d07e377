//! The asynchronous half of the library: types of the same names as those that wait, for tasks of a tokio runtime.
//!
//! Calls to the daemon are tasks' work; what a direct client asks of the system, and does not take long, is done on a thread for
//! such work. Messages are sent and received at once where that can be, and otherwise as soon as a descriptor says so.

mod client;
mod endpoint;
mod events;
mod processor;

pub use client::Client;
pub use endpoint::Endpoint;
pub use events::Events;
pub use processor::{Lease, Processor};

use crate::error::Result;

/// Does something that may take a while where that holds nobody up.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(crate::Error::system("work beside the tasks", error)),
        },
    }
}
