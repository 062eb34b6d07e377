//! The file service: what a remote may reach of the main side's files.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sidecore_services::PeerError;
use sidecore_services::file::server::Unanswered;
use sidecore_services::file::{Files, SERVICE, Server};

use crate::service::{Offer, Serve, ServiceEvent};

/// Requests that may wait for an answer: more than a remote has buffers for, as a rule.
const REQUESTS_MAX: usize = 256;

/// Offers files to a remote: to one channel at a time, since what stands behind them is counted for the remote as a whole.
/// Once that channel or its run of the remote has ended, the next may have them; what was open is closed.
pub fn offer<F>(files: F) -> Offer
where
    F: Files + Send + 'static,
    F::File: Send,
{
    let rack = Arc::new(Mutex::new(Some(files)));
    let open = move || {
        let files = rack.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (server, rack) = (Some(Server::<F>::new(files)), Arc::clone(&rack));
        let served = Served { server, rack, greeted: false, requests: VecDeque::new(), failed: None };
        Some(Box::new(served) as Box<dyn Serve>)
    };
    Offer { channel: SERVICE.channel, open: Box::new(open) }
}

struct Served<F: Files> {
    /// Until the files go back.
    server: Option<Server<F>>,
    /// Where the files are while no channel has them.
    rack: Arc<Mutex<Option<F>>>,
    /// Our hello was sent.
    greeted: bool,
    /// Not answered yet, oldest first: a request is served once there is room for its answer.
    requests: VecDeque<Box<[u8]>>,
    failed: Option<ServiceEvent>,
}

impl<F: Files> Drop for Served<F> {
    fn drop(&mut self) {
        *self.rack.lock().unwrap_or_else(PoisonError::into_inner) =
            self.server.take().map(Server::into_files);
    }
}

impl<F> Serve for Served<F>
where
    F: Files + Send,
    F::File: Send,
{
    fn name(&self) -> &'static str {
        SERVICE.name
    }

    fn receive(&mut self, message: &[u8]) -> Result<(), PeerError> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(PeerError::OutOfTurn { message: "a request", why: "256 of them wait for an answer" });
        }
        self.requests.push_back(message.into());
        Ok(())
    }

    fn transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, PeerError> {
        let Some(server) = &mut self.server else { return Ok(None) };
        if !self.greeted {
            self.greeted = true;
            return Ok(match server.hello(out) {
                Ok(hello) => Some(hello.len()),
                Err(no_room) => {
                    self.failed = Some(ServiceEvent::Failed { reason: no_room.to_string() });
                    None
                }
            });
        }
        while let Some(request) = self.requests.pop_front() {
            match server.answer(&request, out) {
                Ok(Some(answer)) => return Ok(Some(answer.len())),
                Ok(None) => {}
                Err(Unanswered::Peer(error)) => return Err(error),
                // The hello found no room either, and that was told.
                Err(Unanswered::NoRoom(_)) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn event(&mut self) -> Option<ServiceEvent> {
        self.failed.take()
    }
}
