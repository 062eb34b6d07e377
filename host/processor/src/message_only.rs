//! Messages with a remote whose life is somebody else's.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::recovery::{Decision, Recovery};
use sidecore_remoteproc::{Backend, RemoteError};

use crate::processor::{Options, Processor};

/// A [`Processor`] for messages alone: memories are mapped, addresses translated, devices brought up, and nothing of it
/// can load, start or stop the remote. That is for its owner, who may do so at any time.
///
/// There is no mutable way to the processor in it, and all that rules a remote's life wants one:
///
/// ```compile_fail,E0596
/// fn stop<B: sidecore_remoteproc::Backend>(messages: &mut sidecore_processor::MessageOnly<B>) {
///     messages.stop();
/// }
/// ```
///
/// When the owner starts the remote anew, its devices are reset without us ([`Event::DeviceReset`]): endpoints are closed
/// for good, and [`attach_again`](Self::attach_again) takes up what there is now. When this is dropped the remote is let go,
/// and runs on.
///
/// [`Event::DeviceReset`]: crate::Event::DeviceReset
pub struct MessageOnly<B: Backend> {
    processor: Processor<B>,
}

impl<B: Backend> MessageOnly<B> {
    /// Takes up the messages of a remote that runs. `table` tells where its resource table lies where the backend does not
    /// know.
    ///
    /// # Errors
    /// As for [`Processor::attach`].
    pub fn attach(
        backend: B,
        options: Options,
        table: Option<(DeviceAddr, u32)>,
    ) -> Result<Self, RemoteError> {
        let mut processor = Processor::detached(backend, options);
        processor.attach(table)?;
        Ok(Self { processor })
    }

    /// Takes up the messages of the remote as it is now, after its owner has started it anew. Endpoints of before stay
    /// closed.
    ///
    /// # Errors
    /// As for [`Processor::attach`]; calling it again once the remote runs is in order.
    pub fn attach_again(&mut self) -> Result<(), RemoteError> {
        self.processor.attach_again()
    }

    /// Asks a policy how soon that is to be tried, and how often; the answer is in the remote's log, too.
    pub fn decide(&mut self, recovery: &mut Recovery, now: Duration) -> Decision {
        self.processor.decide(recovery, now)
    }
}

impl<B: Backend> Deref for MessageOnly<B> {
    type Target = Processor<B>;

    fn deref(&self) -> &Processor<B> {
        &self.processor
    }
}

impl<B: Backend> Drop for MessageOnly<B> {
    fn drop(&mut self) {
        // A remote that is gone already cannot be let go.
        let _ = self.processor.detach();
    }
}

impl<B: Backend> fmt::Debug for MessageOnly<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageOnly").field(&self.processor).finish()
    }
}
