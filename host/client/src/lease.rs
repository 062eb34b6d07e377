//! Having a remote.

use std::os::fd::OwnedFd;

use crate::options::LeaseMode;
use crate::processor::Processor;

/// Has a remote for a client. Dropping it gives the remote back, or where it is [tied](LeaseMode::Tied) ends it.
///
/// With an exclusive lease its [`processor`](Self::processor) is the remote itself, whose main side this program is: endpoints
/// that are opened there reach its rings with nobody between. They hold the lease, too.
#[derive(Debug)]
#[must_use = "dropping it gives the remote back"]
pub struct Lease<P = Processor> {
    mode: LeaseMode,
    processor: P,
    /// Closing it says that the lease is over.
    _held: Option<OwnedFd>,
}

impl<P> Lease<P> {
    pub(crate) fn new(mode: LeaseMode, processor: P, held: Option<OwnedFd>) -> Self {
        Self { mode, processor, _held: held }
    }

    /// In which way the client has it.
    #[must_use]
    pub fn mode(&self) -> LeaseMode {
        self.mode
    }

    /// The remote, by the shortest way that the lease gives.
    #[must_use]
    pub fn processor(&self) -> &P {
        &self.processor
    }
}
