//! `org.sidecore.Sidecore1.Processor`.

use std::sync::{Arc, Mutex, PoisonError};

use sidecore_dbus::{Error, action};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedFd, interface};

use super::{Options, check_keys, error};
use crate::authority::Authority;
use crate::keeper::protocol::{Answer, Ask};
use crate::link::Link;

/// A remote processor.
pub(crate) struct Processor {
    name: String,
    /// Not by way of the object's own lock, which calls that wait hold.
    state: Mutex<String>,
    link: Arc<Link>,
    authority: Arc<Authority>,
}

impl Processor {
    pub(crate) fn new(name: String, link: Arc<Link>, authority: Arc<Authority>) -> Self {
        Self { name, state: Mutex::new("running".to_owned()), link, authority }
    }

    pub(crate) fn set_state(&self, state: String) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// How long a service may take to be announced, in microseconds, where nothing is said.
const TIMEOUT: u64 = 5_000_000;

#[interface(name = "org.sidecore.Sidecore1.Processor")]
impl Processor {
    /// Starts its firmware once more, from the beginning. Endpoints of the run before are closed.
    async fn start(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        self.link.ask(Ask::Start, None).await.map(drop).map_err(error)
    }

    /// Stops it at once. It can be started again.
    async fn stop(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        self.link.ask(Ask::Stop, None).await.map(drop).map_err(error)
    }

    /// Ends it, whatever it is doing, and gives its name back.
    async fn remove(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        self.link.end();
        Ok(())
    }

    /// Opens an endpoint that is bound to a service, as soon as that is announced. Answers a socket that keeps message
    /// boundaries, the endpoint's address, and the bytes of the longest message. Closing the socket closes the endpoint.
    ///
    /// Option `timeout` (t): microseconds to wait for the announcement; 5 seconds where it is not given.
    async fn open_endpoint(
        &self,
        service: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, u32, u32), Error> {
        self.authority.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &["timeout"])?;
        let timeout = options.get("timeout").map_or(Ok(TIMEOUT), |value| u64::try_from(value.clone()));
        let timeout =
            timeout.map_err(|_| Error::BadOption("timeout is no unsigned 64-bit number".to_owned()))?;
        self.open(Ask::Open { service, within_ms: timeout.div_ceil(1000) }).await
    }

    /// Opens an endpoint of a device at an address, for a peer's address; 0xFFFFFFFF for any address, and for the peer that
    /// writes first. Answers as OpenEndpoint does.
    async fn open_endpoint_at(
        &self,
        device: u32,
        local: u32,
        peer: u32,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, u32, u32), Error> {
        self.authority.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &[])?;
        let known = |addr: u32| Some(addr).filter(|addr| *addr != u32::MAX);
        self.open(Ask::OpenAt { device, local: known(local), peer: known(peer) }).await
    }

    /// The services that it has announced: device, name, address.
    async fn list_services(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(u32, String, u32)>, Error> {
        self.authority.check(&header, action::INSPECT).await?;
        match self.link.ask(Ask::Services, None).await.map_err(error)? {
            (Answer::Services(services), _) => {
                let services = services.into_iter();
                Ok(services.map(|service| (service.device, service.name, service.addr)).collect())
            }
            _ => Err(Error::Failed("the keeper answered with no services".to_owned())),
        }
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// What it is doing, in the kernel's words.
    #[zbus(property)]
    fn state(&self) -> String {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something happened; `is_warning`: somebody should look at it.
    #[zbus(signal)]
    async fn happened(emitter: &SignalEmitter<'_>, what: &str, is_warning: bool) -> zbus::Result<()>;
}

impl Processor {
    async fn open(&self, ask: Ask) -> Result<(OwnedFd, u32, u32), Error> {
        match self.link.ask(ask, None).await.map_err(error)? {
            (Answer::Endpoint(opened), Some(fd)) => Ok((fd.into(), opened.addr, opened.max_payload)),
            _ => Err(Error::Failed("the keeper answered with no endpoint".to_owned())),
        }
    }
}
