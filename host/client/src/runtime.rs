//! What the blocking half waits for the bus with.

use std::future::Future;

use crate::error::{Error, Result};

/// A runtime of one thread: whichever waits.
#[derive(Debug)]
pub(crate) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(Some).map(Self).map_err(|error| Error::system("make a runtime", error))
    }

    /// Waits for it here and now.
    pub(crate) fn run<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(Error::InsideRuntime);
        }
        self.0.as_ref().expect("it is taken when it is dropped").block_on(what)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Not by waiting for its tasks, which is not allowed in a task of another one.
        self.0.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}
