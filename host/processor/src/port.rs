//! Who gets a device's messages: queues that the application reads, and services that answer by themselves.

use std::collections::VecDeque;

use sidecore_remoteproc::Backend;
use sidecore_rpmsg::{Endpoint, Held, LinkError, Message, Name, SendError, Slot};

use crate::device::{Link, Messages};
use crate::event::{Event, Events};
use crate::service::Serve;

/// All open endpoints of a device.
pub(crate) struct Ports<B: Backend> {
    ports: Vec<Port<B>>,
    /// Received buffers that wait in place, over all endpoints, and how many may. The rest stays with the remote, so
    /// that an application which reads one endpoint only does not take the air from all others.
    held: usize,
    may_hold: usize,
    /// Messages that may wait at one endpoint.
    limit: usize,
    scratch: Vec<u8>,
    /// The longest payload that can be sent, in bytes.
    max: usize,
}

/// One endpoint and what has come for it.
pub(crate) struct Port<B: Backend> {
    pub(crate) endpoint: Endpoint,
    /// The announced service that it is bound to, and that service's address.
    pub(crate) channel: Option<(Name, u32)>,
    /// The remote has withdrawn that service.
    pub(crate) withdrawn: bool,
    service: Option<Box<dyn Serve>>,
    /// What the service wrote, while there is no buffer for it.
    outbox: Option<Vec<u8>>,
    queue: VecDeque<Parcel<B>>,
}

/// A received message that waits for the application.
pub(crate) enum Parcel<B: Backend> {
    /// In the buffer that it came in.
    InPlace(Held<Link<B>>),
    /// Copied, since too many wait in place already.
    Copied {
        /// Where it came from.
        src: u32,
        /// The payload.
        payload: Box<[u8]>,
    },
}

impl<B: Backend> Ports<B> {
    /// For a device with `buffers` receive buffers that can send `max` bytes at once.
    pub(crate) fn new(buffers: usize, max: usize, limit: usize) -> Self {
        Self { ports: Vec::new(), held: 0, may_hold: buffers / 2, limit, scratch: Vec::new(), max }
    }

    pub(crate) fn add(
        &mut self,
        endpoint: Endpoint,
        channel: Option<(Name, u32)>,
        service: Option<Box<dyn Serve>>,
    ) {
        let (withdrawn, outbox, queue) = (false, None, VecDeque::new());
        self.ports.push(Port { endpoint, channel, withdrawn, service, outbox, queue });
    }

    pub(crate) fn get(&self, endpoint: Endpoint) -> Option<&Port<B>> {
        self.ports.iter().find(|port| port.endpoint == endpoint)
    }

    /// Forgets an endpoint and answers what still waited there. What its service has to tell is told.
    pub(crate) fn remove(
        &mut self,
        device: u32,
        endpoint: Endpoint,
        events: &Events,
    ) -> Option<VecDeque<Parcel<B>>> {
        let at = self.ports.iter().position(|port| port.endpoint == endpoint)?;
        let mut port = self.ports.swap_remove(at);
        if let Some(service) = &mut port.service {
            tell(device, &mut **service, events);
        }
        self.held -= port.queue.iter().filter(|parcel| matches!(parcel, Parcel::InPlace(_))).count();
        Some(port.queue)
    }

    /// The oldest message that waits at an endpoint.
    pub(crate) fn take(&mut self, endpoint: Endpoint) -> Option<Parcel<B>> {
        let port = self.ports.iter_mut().find(|port| port.endpoint == endpoint)?;
        let parcel = port.queue.pop_front()?;
        self.held -= usize::from(matches!(parcel, Parcel::InPlace(_)));
        Some(parcel)
    }

    /// Hands a message to its endpoint's service or queue.
    pub(crate) fn deliver(
        &mut self,
        device: u32,
        message: Message<'_, Link<B>, Box<[Slot]>>,
        events: &Events,
    ) {
        let endpoint = message.endpoint();
        let Some(port) = self.ports.iter_mut().find(|port| port.endpoint == endpoint) else {
            // Endpoints and ports are opened and closed together.
            return;
        };
        if let Some(service) = &mut port.service {
            let payload = copy(&message, &mut self.scratch);
            drop(message);
            if let Err(error) = service.receive(payload) {
                events.push(Event::ServiceMisused { device, service: service.name(), error, count: 1 });
            }
            return;
        }
        if port.queue.len() >= self.limit {
            events.push(Event::MessagesLost { device, addr: endpoint.addr(), count: 1 });
        } else if self.held < self.may_hold {
            if let Some(held) = message.hold() {
                port.queue.push_back(Parcel::InPlace(held));
                self.held += 1;
            }
        } else {
            let payload = copy(&message, &mut self.scratch).into();
            port.queue.push_back(Parcel::Copied { src: message.src(), payload });
        }
    }

    /// Lets every service send what it has to say, as far as buffers go. Whether anything was sent.
    pub(crate) fn serve(
        &mut self,
        device: u32,
        messages: &Messages<B>,
        events: &Events,
    ) -> Result<bool, LinkError> {
        let Self { ports, scratch, max, .. } = self;
        scratch.resize((*max).max(scratch.len()), 0);
        let mut any = false;
        for port in ports.iter_mut().filter(|port| !port.withdrawn) {
            let Some(service) = &mut port.service else { continue };
            // A remote that returns every buffer at once must not keep the others from their turn.
            for _ in 0..MESSAGES_A_TURN {
                let message = match &port.outbox {
                    Some(message) => &message[..],
                    None => match service.transmit(&mut scratch[..*max]) {
                        Ok(Some(len)) => &scratch[..len.min(*max)],
                        Ok(None) => break,
                        Err(error) => {
                            let service = service.name();
                            events.push(Event::ServiceMisused { device, service, error, count: 1 });
                            continue;
                        }
                    },
                };
                match messages.send(port.endpoint, message) {
                    Ok(()) => port.outbox = None,
                    Err(SendError::Link(error)) => return Err(error),
                    Err(_) if port.outbox.is_some() => break,
                    Err(_) => {
                        port.outbox = Some(message.to_vec());
                        break;
                    }
                }
                any = true;
            }
            tell(device, &mut **service, events);
        }
        Ok(any)
    }

    /// The remote withdrew a service: endpoints bound to it have nobody to talk to. Answers those that served it.
    pub(crate) fn withdraw(&mut self, name: &Name, addr: u32) -> Vec<Endpoint> {
        let mut served = Vec::new();
        for port in self.ports.iter_mut().filter(|port| port.channel == Some((*name, addr))) {
            port.withdrawn = true;
            if port.service.is_some() {
                served.push(port.endpoint);
            }
        }
        served
    }
}

/// Messages that one service sends in one turn.
const MESSAGES_A_TURN: usize = 32;

/// Passes on what a service has to tell.
fn tell(device: u32, service: &mut dyn Serve, events: &Events) {
    while let Some(event) = service.event() {
        events.push(Event::Service { device, service: service.name(), event });
    }
}

/// A private copy of a payload.
fn copy<'s, B: Backend>(message: &Message<'_, Link<B>, Box<[Slot]>>, scratch: &'s mut Vec<u8>) -> &'s [u8] {
    if scratch.len() < message.len() {
        scratch.resize(message.len(), 0);
    }
    // A link that cannot be read any more says so at the next poll.
    message.copy_to(scratch).unwrap_or_default()
}
