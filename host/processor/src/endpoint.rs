//! What an application does with a running remote: services, endpoints, messages.

use std::time::{Duration, Instant};

use sidecore_remoteproc::Backend;
use sidecore_rpmsg::{self as rpmsg, ADDR_ANY, Name};

use crate::device::Device;
use crate::error::{Lost, OpenError, ReceiveError, SendError};
use crate::message::Message;
use crate::port::Port;
use crate::processor::Processor;

/// An open endpoint of a processor. After it was closed, or the remote was stopped, every use says so; and once the remote
/// runs anew, for ever, that it is one of an earlier run ([`Lost::EarlierRun`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    run: u64,
    device: u32,
    inner: rpmsg::Endpoint,
}

impl Endpoint {
    /// Its address on the device's link.
    #[must_use]
    pub const fn addr(self) -> u32 {
        self.inner.addr()
    }

    /// Number of the device that it is on.
    #[must_use]
    pub const fn device(self) -> u32 {
        self.device
    }
}

/// A service that a remote has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Number of the device that it was announced on.
    pub device: u32,
    /// Its name, with an instance suffix where it has one.
    pub name: Name,
    /// Address of its endpoint at the remote.
    pub addr: u32,
}

/// An endpoint that a main side before this one had open, with what is still on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The endpoint, ready for use.
    pub endpoint: Endpoint,
    /// The service that it is bound to.
    pub service: Option<Name>,
}

impl<B: Backend> Processor<B> {
    /// The endpoints of a main side before this one that nobody has opened again. Their messages wait; to get them
    /// [open](Self::open) the service or the [address](Self::open_at), or [adopt](Self::adopt) the endpoint, and to be rid
    /// of them [close](Self::close) it.
    pub fn orphans(&self) -> Vec<Orphan> {
        let of = |device: &Device<B>| -> Vec<Orphan> {
            let ports = device.ports.borrow();
            let endpoint = |inner| Endpoint { run: self.run, device: device.index, inner };
            let orphan = |(inner, channel): (_, Option<(Name, u32)>)| Orphan {
                endpoint: endpoint(inner),
                service: channel.map(|(name, _)| name),
            };
            ports.orphans().map(orphan).collect()
        };
        self.devices.iter().flat_map(of).collect()
    }

    /// Takes an orphan over: it is an endpoint like any other from then on.
    pub fn adopt(&self, orphan: Endpoint) {
        if let Some(device) = self.find(orphan) {
            device.ports.borrow_mut().adopt(orphan.inner);
        }
    }

    /// The endpoints that are open and the application's: neither a service's nor an orphan.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let of = |device: &Device<B>| -> Vec<Endpoint> {
            let ports = device.ports.borrow();
            let endpoint = |inner| Endpoint { run: self.run, device: device.index, inner };
            ports.taken().map(endpoint).collect()
        };
        self.devices.iter().flat_map(of).collect()
    }

    /// The service that an endpoint is bound to.
    pub fn service_of(&self, endpoint: Endpoint) -> Option<Name> {
        let device = self.find(endpoint)?;
        let ports = device.ports.borrow();
        ports.get(endpoint.inner)?.channel.map(|(name, _)| name)
    }

    fn adopt_where(&self, fits: impl Fn(&Orphan) -> bool) -> Option<Endpoint> {
        let orphan = self.orphans().into_iter().find(fits)?;
        self.adopt(orphan.endpoint);
        Some(orphan.endpoint)
    }

    /// The services that the remote has announced and not withdrawn.
    pub fn services(&self) -> Vec<Service> {
        let of = |device: &Device<B>| -> Vec<Service> {
            let directory = device.directory.borrow();
            let all = directory.services();
            all.map(|service| Service { device: device.index, name: service.name, addr: service.addr })
                .collect()
        };
        self.devices.iter().flat_map(of).collect()
    }

    /// Opens an endpoint bound to an announced service of this name, or of this name with an instance suffix; waits for
    /// the announcement if need be. Where a main side before this one had one open, that one is taken over.
    ///
    /// # Errors
    /// The service does not come within `timeout`, the remote ends, or there is no room for an endpoint.
    pub fn open(&self, service: &str, timeout: Duration) -> Result<Endpoint, OpenError> {
        let begin = Instant::now();
        let is_it = |orphan: &Orphan| orphan.service.is_some_and(|name| name.matches(service));
        if let Some(endpoint) = self.adopt_where(is_it) {
            return Ok(endpoint);
        }
        loop {
            let services = self.services();
            if let Some(found) = services.iter().find(|found| found.name.matches(service)) {
                return self.open_service(found);
            }
            let rest = timeout.saturating_sub(begin.elapsed());
            if let Some(ended) = self.ended() {
                return Err(OpenError::Lost(Lost::Ended(ended)));
            }
            if rest.is_zero() {
                let announced = services.iter().map(|found| found.name).collect();
                return Err(OpenError::NotAnnounced {
                    service: service.to_owned(),
                    waited: timeout,
                    announced,
                });
            }
            self.wait(Some(rest));
        }
    }

    /// Opens an endpoint bound to a service that was announced.
    ///
    /// # Errors
    /// The device is of no use any more, or there is no room for an endpoint.
    pub fn open_service(&self, service: &Service) -> Result<Endpoint, OpenError> {
        self.open_on(service.device, None, Some(service.addr), Some((service.name, service.addr)))
    }

    /// Opens an endpoint on a device, at address `local` (`None`: a dynamic one) and bound to address `peer` of the
    /// remote (`None`: to the first that writes to it).
    ///
    /// # Errors
    /// There is no such device, the address is taken, or there is no room for an endpoint.
    pub fn open_at(&self, device: u32, local: Option<u32>, peer: Option<u32>) -> Result<Endpoint, OpenError> {
        let is_it = |orphan: &Orphan| {
            orphan.endpoint.device == device
                && Some(orphan.endpoint.addr()) == local
                && orphan.service.is_none()
        };
        if let Some(endpoint) = self.adopt_where(is_it) {
            return Ok(endpoint);
        }
        self.open_on(device, local, peer, None)
    }

    /// Tells the remote that a service is at this endpoint.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn announce(&self, endpoint: Endpoint, service: &Name) -> Result<(), SendError> {
        let device = self.device(endpoint)?;
        self.check_link(device, device.messages.announce(endpoint.inner, service))?;
        device.ports.borrow_mut().note_announced(endpoint.inner, service, true);
        Ok(())
    }

    /// Tells the remote that the service is no longer at this endpoint.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn withdraw(&self, endpoint: Endpoint, service: &Name) -> Result<(), SendError> {
        let device = self.device(endpoint)?;
        self.check_link(device, device.messages.withdraw(endpoint.inner, service))?;
        device.ports.borrow_mut().note_announced(endpoint.inner, service, false);
        Ok(())
    }

    /// Closes an endpoint. What still waits there goes back to the remote unread.
    pub fn close(&self, endpoint: Endpoint) {
        if let Some(device) = self.find(endpoint) {
            device.close(endpoint.inner, &self.events);
        }
    }

    /// The longest payload that can be sent from an endpoint, in bytes.
    ///
    /// # Errors
    /// The endpoint is of no use any more.
    pub fn max_payload(&self, endpoint: Endpoint) -> Result<usize, Lost> {
        Ok(self.device(endpoint)?.max_payload)
    }

    /// How many messages can be on their way to the remote at once; 0 where the endpoint is of no use any more.
    pub fn transmit_buffers(&self, endpoint: Endpoint) -> u16 {
        self.find(endpoint).map_or(0, |device| device.transmit_buffers)
    }

    /// Sends a message to the endpoint's peer, copying it, if there is a buffer for it.
    ///
    /// # Errors
    /// Nothing was sent: see [`SendError`].
    #[inline]
    pub fn try_send(&self, endpoint: Endpoint, payload: &[u8]) -> Result<(), SendError> {
        let device = self.device_for_sending(endpoint)?;
        if device.holds_back(endpoint.inner, ADDR_ANY) {
            return Err(SendError::Full);
        }
        self.check_link(device, device.messages.send(endpoint.inner, payload))
    }

    /// Sends a message to any address of the remote, copying it, if there is a buffer for it.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn try_send_to(&self, endpoint: Endpoint, dst: u32, payload: &[u8]) -> Result<(), SendError> {
        let device = self.device_for_sending(endpoint)?;
        if device.holds_back(endpoint.inner, dst) {
            return Err(SendError::Full);
        }
        self.check_link(device, device.messages.send_to(endpoint.inner, dst, payload))
    }

    /// Sends a message to the endpoint's peer, waiting for a buffer as long as `timeout`.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send); [`SendError::Full`] when the time is over.
    pub fn send(&self, endpoint: Endpoint, payload: &[u8], timeout: Duration) -> Result<(), SendError> {
        let begin = Instant::now();
        loop {
            match self.try_send(endpoint, payload) {
                Err(SendError::Full) => {}
                other => return other,
            }
            let rest = timeout.saturating_sub(begin.elapsed());
            // Nobody restarts a remote in here.
            if rest.is_zero() || self.ended.borrow().is_some() {
                return Err(SendError::Full);
            }
            self.wait(Some(rest));
        }
    }

    /// Sends many messages to the endpoint's peer, shown to it at once. Answers how many were sent: all of them,
    /// unless transmit buffers ran out.
    ///
    /// # Errors
    /// The first message that can never be sent: messages before it have been.
    pub fn try_send_all<'m>(
        &self,
        endpoint: Endpoint,
        payloads: impl IntoIterator<Item = &'m [u8]>,
    ) -> Result<usize, SendError> {
        let device = self.device_for_sending(endpoint)?;
        if device.holds_back(endpoint.inner, ADDR_ANY) {
            return Ok(0);
        }
        self.check_link(device, device.messages.send_all(endpoint.inner, payloads))
    }

    /// Takes the oldest message that has come for an endpoint, if there is one. What came before an end is still there
    /// after it.
    ///
    /// # Errors
    /// There is none, and there will never be one.
    pub fn try_receive(&self, endpoint: Endpoint) -> Result<Option<Message<'_, B>>, Lost> {
        let device = self.find(endpoint).ok_or_else(|| self.lost(endpoint))?;
        let take = || {
            let parcel = device.ports.borrow_mut().take(endpoint.inner)?;
            Message::new(device, endpoint.inner, parcel)
        };
        if let Some(message) = take() {
            return Ok(Some(message));
        }
        if self.poll() {
            // It may have been for others, who would sleep over it.
            self.unseen.set(true);
        }
        if let Some(message) = take() {
            return Ok(Some(message));
        }
        self.check(device, endpoint).map(|()| None)
    }

    /// Whether a message waits at an endpoint, or none will ever come: [`receive`](Self::receive) would not wait. Looks at
    /// nothing new; that is [`poll`](Self::poll)'s.
    pub fn is_ready(&self, endpoint: Endpoint) -> bool {
        let Some(device) = self.find(endpoint) else { return true };
        let waits = device.ports.borrow().get(endpoint.inner).is_some_and(Port::waits);
        waits || self.check(device, endpoint).is_err()
    }

    /// Lets so many messages wait at an endpoint, and not [`Room::waiting`](crate::Room::waiting): those above are lost, and
    /// an event says so.
    pub fn limit(&self, endpoint: Endpoint, messages: u32) {
        if let Some(device) = self.find(endpoint) {
            device.ports.borrow_mut().limit(endpoint.inner, messages as usize);
        }
    }

    /// Takes the oldest message for an endpoint, waiting for one as long as `timeout` (`None`: for ever).
    ///
    /// # Errors
    /// None came, or will ever come.
    pub fn receive(
        &self,
        endpoint: Endpoint,
        timeout: Option<Duration>,
    ) -> Result<Message<'_, B>, ReceiveError> {
        let begin = Instant::now();
        loop {
            if let Some(message) = self.try_receive(endpoint)? {
                return Ok(message);
            }
            let rest = timeout.map(|timeout| timeout.saturating_sub(begin.elapsed()));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return Err(ReceiveError::TimedOut { waited: timeout.unwrap_or_default() });
            }
            self.wait(rest);
        }
    }

    fn open_on(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        channel: Option<(Name, u32)>,
    ) -> Result<Endpoint, OpenError> {
        let found = self.devices.iter().find(|found| found.index == device);
        let found = found.ok_or(OpenError::NoDevice { device })?;
        if let Some(error) = found.broken() {
            return Err(OpenError::Lost(Lost::Link { device, error }));
        }
        let inner = found.messages.open(local.unwrap_or(ADDR_ANY), peer.unwrap_or(ADDR_ANY))?;
        found.ports.borrow_mut().add(inner, channel, None, false, peer.is_none());
        found.note_port(inner);
        Ok(Endpoint { run: self.run, device, inner })
    }

    /// The device of an endpoint of this run.
    #[inline]
    fn find(&self, endpoint: Endpoint) -> Option<&Device<B>> {
        let found = self.devices.iter().find(|device| device.index == endpoint.device);
        found.filter(|_| endpoint.run == self.run)
    }

    /// Why an endpoint has no device.
    #[cold]
    fn lost(&self, endpoint: Endpoint) -> Lost {
        if endpoint.run == self.run { Lost::Closed } else { Lost::EarlierRun }
    }

    /// The same, for messages: a remote that is about to be restarted silently takes none for now.
    #[inline]
    fn device_for_sending(&self, endpoint: Endpoint) -> Result<&Device<B>, SendError> {
        match self.device(endpoint) {
            Err(Lost::Ended(_)) if self.will_go_on() => Err(SendError::Full),
            other => Ok(other?),
        }
    }

    /// The device of an endpoint that is good for sending.
    #[inline]
    fn device(&self, endpoint: Endpoint) -> Result<&Device<B>, Lost> {
        let device = self.find(endpoint).ok_or_else(|| self.lost(endpoint))?;
        self.check(device, endpoint).map(|()| device)
    }

    /// Tells the remote and the application at once when something that was sent shows that a link is broken.
    #[inline]
    fn check_link<T>(&self, device: &Device<B>, sent: Result<T, rpmsg::SendError>) -> Result<T, SendError> {
        sent.map_err(|error| {
            if let rpmsg::SendError::Link(error) = error {
                device.fail(error, &self.events);
            }
            SendError::of(device.index, error)
        })
    }

    fn check(&self, device: &Device<B>, endpoint: Endpoint) -> Result<(), Lost> {
        if let Some(ended) = &*self.ended.borrow() {
            return Err(Lost::Ended(ended.clone()));
        }
        if let Some(error) = device.broken() {
            return Err(Lost::Link { device: device.index, error });
        }
        let ports = device.ports.borrow();
        let port = ports.get(endpoint.inner).ok_or(Lost::Closed)?;
        match port.channel {
            Some((service, _)) if port.withdrawn => Err(Lost::Withdrawn { service }),
            _ => Ok(()),
        }
    }
}
