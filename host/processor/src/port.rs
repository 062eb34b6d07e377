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
    /// Messages that may wait at one endpoint, where nothing else was said of it.
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
    /// A main side before this one opened it, and nobody here has asked for it yet.
    pub(crate) orphaned: bool,
    /// Its peer is whoever writes to it first.
    learns: bool,
    /// Its peer is known, or was never to be found out.
    bound: bool,
    /// The services that the application has announced at it.
    announced: Vec<Name>,
    service: Option<Box<dyn Serve>>,
    /// What the service wrote, while there is no buffer for it.
    outbox: Option<Vec<u8>>,
    queue: VecDeque<Parcel<B>>,
    /// Messages that may wait in it.
    limit: usize,
}

impl<B: Backend> Port<B> {
    /// Whether a service of ours answers there.
    pub(crate) fn is_served(&self) -> bool {
        self.service.is_some()
    }

    /// Whether a message waits there.
    pub(crate) fn waits(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// A received message that waits for the application.
pub(crate) enum Parcel<B: Backend> {
    /// In the buffer that it came in.
    InPlace {
        /// The buffer.
        held: Held<Link<B>>,
        /// A main side before this one had it already.
        again: bool,
    },
    /// Copied, since too many wait in place already.
    Copied {
        /// Where it came from.
        src: u32,
        /// The payload.
        payload: Box<[u8]>,
        /// A main side before this one had it already.
        again: bool,
    },
}

impl<B: Backend> Ports<B> {
    /// For a device of whose receive buffers `may_hold` may wait, and that can send `max` bytes at once.
    pub(crate) fn new(may_hold: usize, max: usize, limit: usize) -> Self {
        Self { ports: Vec::new(), held: 0, may_hold, limit, scratch: Vec::new(), max }
    }

    /// `learns`: its peer is whoever writes to it first.
    pub(crate) fn add(
        &mut self,
        endpoint: Endpoint,
        channel: Option<(Name, u32)>,
        service: Option<Box<dyn Serve>>,
        orphaned: bool,
        learns: bool,
    ) {
        self.ports.push(Port {
            endpoint,
            channel,
            withdrawn: false,
            orphaned,
            learns,
            bound: !learns,
            announced: Vec::new(),
            service,
            outbox: None,
            queue: VecDeque::new(),
            limit: self.limit,
        });
    }

    /// Lets so many messages wait at an endpoint.
    pub(crate) fn limit(&mut self, endpoint: Endpoint, messages: usize) {
        let found = self.ports.iter_mut().find(|port| port.endpoint == endpoint);
        found.into_iter().for_each(|port| port.limit = messages);
    }

    /// The endpoints that nobody has asked for yet, with their services.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = (Endpoint, Option<(Name, u32)>)> + '_ {
        let orphans = self.ports.iter().filter(|port| port.orphaned);
        orphans.map(|port| (port.endpoint, port.channel))
    }

    /// The endpoints that the application has open.
    pub(crate) fn taken(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.ports.iter().filter(|port| !port.orphaned && port.service.is_none()).map(|port| port.endpoint)
    }

    /// Somebody asks for an endpoint.
    pub(crate) fn adopt(&mut self, endpoint: Endpoint) {
        let found = self.ports.iter_mut().find(|port| port.endpoint == endpoint);
        found.into_iter().for_each(|port| port.orphaned = false);
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
        self.held -= port.queue.iter().filter(|parcel| matches!(parcel, Parcel::InPlace { .. })).count();
        Some(port.queue)
    }

    /// The oldest message that waits at an endpoint.
    pub(crate) fn take(&mut self, endpoint: Endpoint) -> Option<Parcel<B>> {
        let port = self.ports.iter_mut().find(|port| port.endpoint == endpoint)?;
        let parcel = port.queue.pop_front()?;
        self.held -= usize::from(matches!(parcel, Parcel::InPlace { .. }));
        Some(parcel)
    }

    /// Hands a message to its endpoint's service or queue. Whether the endpoint's peer is known by this message alone.
    pub(crate) fn deliver(
        &mut self,
        device: u32,
        message: Message<'_, Link<B>, Box<[Slot]>>,
        events: &Events,
    ) -> bool {
        let endpoint = message.endpoint();
        let Some(port) = self.ports.iter_mut().find(|port| port.endpoint == endpoint) else {
            // Endpoints and ports are opened and closed together.
            return false;
        };
        let is_new = !std::mem::replace(&mut port.bound, true);
        if let Some(service) = &mut port.service {
            let payload = copy(&message, &mut self.scratch);
            drop(message);
            if let Err(error) = service.receive(payload) {
                events.push(Event::ServiceMisused { device, service: service.name(), error, count: 1 });
            }
            return is_new;
        }
        if port.queue.len() >= port.limit {
            events.push(Event::MessagesLost { device, addr: endpoint.addr(), count: 1 });
        } else if self.held < self.may_hold {
            if let Some(held) = message.hold() {
                port.queue.push_back(Parcel::InPlace { held, again: false });
                self.held += 1;
            }
        } else {
            let payload = copy(&message, &mut self.scratch).into();
            port.queue.push_back(Parcel::Copied { src: message.src(), payload, again: false });
        }
        is_new
    }

    /// Hands a message to its endpoint's queue that a main side before this one had taken.
    pub(crate) fn deliver_again(&mut self, message: Message<'_, Link<B>, Box<[Slot]>>) {
        let endpoint = message.endpoint();
        let port = self.ports.iter_mut().find(|port| port.endpoint == endpoint);
        if let Some((port, held)) = port.and_then(|port| Some((port, message.hold()?))) {
            port.queue.push_back(Parcel::InPlace { held, again: true });
            self.held += 1;
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

/// What it takes to go on when the remote is started anew.
impl<B: Backend> Ports<B> {
    /// Has nothing wait in the buffers that it came in any more; `copy` gives one back.
    pub(crate) fn set_aside(&mut self, mut copy: impl FnMut(Held<Link<B>>) -> Option<(u32, Box<[u8]>)>) {
        for port in &mut self.ports {
            let parcels = std::mem::take(&mut port.queue).into_iter();
            let copied = parcels.filter_map(|parcel| match parcel {
                Parcel::InPlace { held, again } => {
                    copy(held).map(|(src, payload)| Parcel::Copied { src, payload, again })
                }
                copied @ Parcel::Copied { .. } => Some(copied),
            });
            port.queue = copied.collect();
        }
        self.held = 0;
    }

    /// The endpoints at which services of ours answer.
    pub(crate) fn served(&self) -> Vec<Endpoint> {
        self.ports.iter().filter(|port| port.is_served()).map(|port| port.endpoint).collect()
    }

    /// All that are open.
    pub(crate) fn all(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.ports.iter().map(|port| port.endpoint)
    }

    /// The endpoints that knew their peer by what it wrote alone: from now on they do not.
    pub(crate) fn unlearn(&mut self) -> Vec<Endpoint> {
        let learnt = self.ports.iter_mut().filter(|port| port.learns);
        let learnt = learnt.filter_map(|port| std::mem::take(&mut port.bound).then_some(port.endpoint));
        learnt.collect()
    }

    /// The service that endpoints are bound to is at another address. Answers the endpoints.
    pub(crate) fn rebind(&mut self, name: &Name, before: u32, now: u32) -> Vec<Endpoint> {
        let bound = self.ports.iter_mut().filter(|port| port.channel == Some((*name, before)));
        let rebound = bound.map(|port| {
            port.channel = Some((*name, now));
            port.endpoint
        });
        rebound.collect()
    }

    /// The application announced a service at an endpoint, or withdrew it.
    pub(crate) fn note_announced(&mut self, endpoint: Endpoint, name: &Name, is_there: bool) {
        let Some(port) = self.ports.iter_mut().find(|port| port.endpoint == endpoint) else { return };
        port.announced.retain(|announced| announced != name);
        if is_there {
            port.announced.push(*name);
        }
    }

    /// The services that the application has announced, and at which addresses.
    pub(crate) fn announced(&self) -> impl Iterator<Item = (Name, u32)> + '_ {
        self.ports.iter().flat_map(|port| port.announced.iter().map(|name| (*name, port.endpoint.addr())))
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
