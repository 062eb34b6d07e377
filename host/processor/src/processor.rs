//! A remote processor with everything that runs over it.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sidecore_remoteproc::resource::{self, Vdev};
use sidecore_remoteproc::{self as remoteproc, Backend, BackendError, Firmware, Remote, RemoteError};
use sidecore_rpmsg::{self as rpmsg, ADDR_ANY, Announcement, Name};

use crate::capture::{Capture, Tap};
use crate::device::{Device, Room};
use crate::error::{Lost, OpenError, ReceiveError, SendError};
use crate::event::{Ended, Event, Events, ServeError};
use crate::message::Message;
use crate::service::Offer;

/// How a processor is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the remote is called, in recordings.
    pub name: String,
    /// Limits and buffers for its firmware.
    pub firmware: resource::Options,
    /// Room for endpoints, services and waiting messages of each device.
    pub room: Room,
    /// Where its frames are recorded.
    pub capture: Option<Capture>,
    /// How long a wait looks at the rings before it sleeps, where there is more than one CPU.
    pub spin: Duration,
}

impl Options {
    /// Defaults for a remote of this name: nothing recorded, 50 microseconds of looking.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            firmware: resource::Options::DEFAULT,
            room: Room::DEFAULT,
            capture: None,
            spin: Duration::from_micros(50),
        }
    }
}

/// A remote processor as an application sees it: firmware goes in, services and endpoints come out.
///
/// It belongs to one thread at a time, and does everything inside of the application's own calls: there are no threads.
/// Whoever waits for a message ([`receive`](Self::receive)) keeps everything else going, too; an application with
/// nothing to do calls [`wait`](Self::wait). Endpoints are plain values, good for one run of the remote.
///
/// All devices of the firmware are independent: a link that the remote broke costs that link alone.
pub struct Processor<B: Backend> {
    remote: RefCell<Remote<B>>,
    devices: Vec<Device<B>>,
    events: Events,
    offers: RefCell<Vec<Offer>>,
    ended: RefCell<Option<Ended>>,
    /// How often the remote was started.
    run: u32,
    options: Options,
    woken: Arc<AtomicBool>,
    waker: Option<remoteproc::Waker>,
    capture_failed: Cell<bool>,
}

/// An open endpoint of a processor. After it was closed, or the remote was stopped, every use says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    run: u32,
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

impl<B: Backend> Processor<B> {
    /// A processor with no firmware.
    pub fn new(backend: B, options: Options) -> Self {
        Self {
            waker: backend.waker(),
            remote: RefCell::new(Remote::new(backend)),
            devices: Vec::new(),
            events: Events::default(),
            offers: RefCell::default(),
            ended: RefCell::default(),
            run: 0,
            options,
            woken: Arc::default(),
            capture_failed: Cell::default(),
        }
    }

    /// Loads firmware, in place of any that is there.
    ///
    /// # Errors
    /// As for [`Remote::load`].
    pub fn load(&mut self, firmware: &Firmware<'_>) -> Result<(), RemoteError> {
        self.remote.get_mut().load(firmware, &self.options.firmware)
    }

    /// Offers a service to the remote, for every channel of its name that the remote announces from now on.
    pub fn offer(&mut self, offer: Offer) {
        self.offers.get_mut().push(offer);
    }

    /// Starts the loaded firmware from the beginning and brings its devices up. A device that does not come up is an
    /// event ([`Event::DeviceFailed`]), and the remote goes on without it.
    ///
    /// # Errors
    /// As for [`Remote::start`].
    pub fn start(&mut self) -> Result<(), RemoteError> {
        self.remote.get_mut().start()?;
        self.devices.clear();
        self.events.clear();
        *self.ended.get_mut() = None;
        self.run = self.run.wrapping_add(1);
        let remote = self.remote.borrow();
        for vdev in remote.vdevs() {
            match self.bring_up(&remote, vdev) {
                Ok(device) => {
                    self.events.push(Event::DeviceUp { device: vdev.index, features: device.features });
                    self.devices.push(device);
                }
                Err(error) => self.events.push(Event::DeviceFailed { device: vdev.index, error }),
            }
        }
        Ok(())
    }

    /// Takes the devices back and stops the remote at once. Its memories stay as they are until it is started again.
    ///
    /// # Errors
    /// It does not run, or cannot be stopped.
    pub fn stop(&mut self) -> Result<(), RemoteError> {
        self.devices.iter().for_each(Device::reset);
        self.remote.get_mut().stop()?;
        self.end(Ended::Stopped);
        Ok(())
    }

    /// The remote: its state, memories, traces and history. Not to be kept across calls that wait.
    pub fn remote(&self) -> Ref<'_, Remote<B>> {
        self.remote.borrow()
    }

    /// How the remote came to its end, if it is not running any more.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// The next thing that happened, oldest first.
    pub fn event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Takes what the remote sent, hands it to endpoints and services, and lets these answer. Never sleeps, and takes
    /// no more frames than the rings hold. Whether anything was there.
    pub fn poll(&self) -> bool {
        let mut any = false;
        for device in &self.devices {
            any |= device.poll(&self.events, &mut |device, announcement| self.serve(device, announcement));
        }
        any
    }

    /// Lets the remote do something: polls, and where there is nothing sleeps until the remote rings, ends or crashes,
    /// a [`Waker`] is used, or `timeout` is over (`None`: for ever). Returns after anything that happened; `false` when
    /// the time is over or the remote does not run.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.poll() || self.woken.swap(false, Ordering::Acquire) {
            return true;
        }
        if self.ended.borrow().is_some() {
            return false;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.spin(deadline) {
            return true;
        }
        if let Some(capture) = &self.options.capture {
            capture.flush();
        }
        loop {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = match self.waker {
                Some(_) => rest,
                None => Some(rest.unwrap_or(WAKER_SLICE).min(WAKER_SLICE)),
            };
            let happened = self.sleep(slice);
            if happened || self.ended.borrow().is_some() || self.woken.swap(false, Ordering::Acquire) {
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
        }
    }

    /// A handle that ends a [`wait`](Self::wait) from any thread.
    pub fn waker(&self) -> Waker {
        Waker { woken: Arc::clone(&self.woken), backend: self.waker.clone() }
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
    /// the announcement if need be.
    ///
    /// # Errors
    /// The service does not come within `timeout`, the remote ends, or there is no room for an endpoint.
    pub fn open(&self, service: &str, timeout: Duration) -> Result<Endpoint, OpenError> {
        let begin = Instant::now();
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
        self.open_on(device, local, peer, None)
    }

    /// Tells the remote that a service is at this endpoint.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn announce(&self, endpoint: Endpoint, service: &Name) -> Result<(), SendError> {
        let device = self.device(endpoint)?;
        let sent = device.messages.announce(endpoint.inner, service);
        sent.map_err(|error| SendError::of(endpoint.device, error))
    }

    /// Tells the remote that the service is no longer at this endpoint.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn withdraw(&self, endpoint: Endpoint, service: &Name) -> Result<(), SendError> {
        let device = self.device(endpoint)?;
        let sent = device.messages.withdraw(endpoint.inner, service);
        sent.map_err(|error| SendError::of(endpoint.device, error))
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
        let device = self.device(endpoint)?;
        device.messages.send(endpoint.inner, payload).map_err(|error| SendError::of(endpoint.device, error))
    }

    /// Sends a message to any address of the remote, copying it, if there is a buffer for it.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn try_send_to(&self, endpoint: Endpoint, dst: u32, payload: &[u8]) -> Result<(), SendError> {
        let device = self.device(endpoint)?;
        let sent = device.messages.send_to(endpoint.inner, dst, payload);
        sent.map_err(|error| SendError::of(endpoint.device, error))
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
            if rest.is_zero() {
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
        let device = self.device(endpoint)?;
        let sent = device.messages.send_all(endpoint.inner, payloads);
        sent.map_err(|error| SendError::of(endpoint.device, error))
    }

    /// Takes the oldest message that has come for an endpoint, if there is one. What came before an end is still there
    /// after it.
    ///
    /// # Errors
    /// There is none, and there will never be one.
    pub fn try_receive(&self, endpoint: Endpoint) -> Result<Option<Message<'_, B>>, Lost> {
        let device = self.find(endpoint).ok_or(Lost::Closed)?;
        let take = || {
            let parcel = device.ports.borrow_mut().take(endpoint.inner)?;
            Message::new(device, endpoint.inner, parcel)
        };
        if let Some(message) = take() {
            return Ok(Some(message));
        }
        self.poll();
        if let Some(message) = take() {
            return Ok(Some(message));
        }
        self.check(device, endpoint).map(|()| None)
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

    fn bring_up(&self, remote: &Remote<B>, vdev: &Vdev) -> Result<Device<B>, crate::DeviceError> {
        let tap = match &self.options.capture {
            Some(capture) => capture.tap(&format!("{}/vdev{}", self.options.name, vdev.index)),
            None => Tap::OFF,
        };
        let (backend, table) = (remote.backend(), remote.table_region());
        Device::bring_up(vdev, backend.memories(), table.as_ref(), backend.doorbell(), tap, self.options.room)
    }

    /// Looks at the rings for a while. Whether anything happened.
    fn spin(&self, deadline: Option<Instant>) -> bool {
        if self.options.spin.is_zero() || sidecore_os::cpu_count() < 2 {
            return false;
        }
        let end = Instant::now() + self.options.spin;
        let end = deadline.map_or(end, |deadline| end.min(deadline));
        loop {
            for _ in 0..32 {
                if self.poll() || self.woken.swap(false, Ordering::Acquire) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    /// Sleeps in the backend, at most for `timeout`. Whether anything happened.
    fn sleep(&self, timeout: Option<Duration>) -> bool {
        let mut ready = || {
            // All of them are armed, whatever the first ones say.
            let waiting = self.devices.iter().fold(false, |any, device| device.arm() | any);
            waiting || self.woken.load(Ordering::Acquire)
        };
        let waited = self.remote.borrow_mut().wait(timeout, &mut ready);
        self.devices.iter().for_each(Device::disarm);
        self.devices.iter().for_each(|device| device.look_at_status(&self.events));
        let ended = match waited {
            Ok(Some(remoteproc::Event::Exited { code })) => Ended::Exited { code },
            Ok(Some(remoteproc::Event::Crashed(crash))) => Ended::Crashed(crash),
            Ok(Some(_)) => {
                self.poll();
                return true;
            }
            Ok(None) => return self.poll(),
            Err(RemoteError::Backend(error)) => Ended::Lost(error),
            Err(error) => {
                Ended::Lost(BackendError::ExecutorLost { executor: "the remote", reason: error.to_string() })
            }
        };
        // The last words are in the rings; nothing is added to them any more.
        while self.poll() {}
        self.end(ended);
        true
    }

    fn end(&self, ended: Ended) {
        if let Some(capture) = &self.options.capture {
            capture.flush();
            if let Some(error) = capture.error().filter(|_| !self.capture_failed.replace(true)) {
                self.events.push(Event::CaptureEnded { error });
            }
        }
        self.events.push(Event::Ended(ended.clone()));
        *self.ended.borrow_mut() = Some(ended);
    }

    /// Opens the service that was offered for a channel, if there is one.
    fn serve(&self, device: &Device<B>, announcement: &Announcement) {
        let &Announcement { name, addr, .. } = announcement;
        let mut offers = self.offers.borrow_mut();
        let Some(offer) = offers.iter_mut().find(|offer| name.matches(offer.channel)) else { return };
        let opened = match device.messages.open(ADDR_ANY, addr) {
            Ok(endpoint) => match (offer.open)() {
                Some(service) => {
                    device.ports.borrow_mut().add(endpoint, Some((name, addr)), Some(service));
                    Ok(())
                }
                None => {
                    device.messages.close(endpoint);
                    Err(ServeError::InUse)
                }
            },
            Err(error) => Err(error.into()),
        };
        if let Err(error) = opened {
            self.events.push(Event::ServiceNotOpened { device: device.index, name, error });
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
        found.ports.borrow_mut().add(inner, channel, None);
        Ok(Endpoint { run: self.run, device, inner })
    }

    /// The device of an endpoint of this run.
    #[inline]
    fn find(&self, endpoint: Endpoint) -> Option<&Device<B>> {
        let found = self.devices.iter().find(|device| device.index == endpoint.device);
        found.filter(|_| endpoint.run == self.run)
    }

    /// The device of an endpoint that is good for sending.
    #[inline]
    fn device(&self, endpoint: Endpoint) -> Result<&Device<B>, Lost> {
        let device = self.find(endpoint).ok_or(Lost::Closed)?;
        self.check(device, endpoint).map(|()| device)
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

impl<B: Backend> fmt::Debug for Processor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("name", &self.options.name)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

/// How often a wait looks whether it was woken, where the backend cannot be woken by us.
const WAKER_SLICE: Duration = Duration::from_millis(10);

/// Ends a [`Processor::wait`] from any thread; one that begins later returns at once. Any number of wake-ups may be
/// one.
#[derive(Clone)]
pub struct Waker {
    woken: Arc<AtomicBool>,
    backend: Option<remoteproc::Waker>,
}

impl Waker {
    /// Wakes the processor up.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        if let Some(backend) = &self.backend {
            backend();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("woken", &self.woken).finish_non_exhaustive()
    }
}
