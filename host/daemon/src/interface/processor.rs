//! `org.sidecore.Sidecore1.Processor`.

use std::sync::Arc;

use sidecore_dbus::{ADDRESS_ANY, Error, action};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedFd, OwnedObjectPath, interface};

use super::{Options, check_free, check_keys, error, number};
use crate::job;
use crate::keeper::protocol::{Answer, Ask, Mode};
use crate::remote::Remote;
use crate::serve::House;

/// A remote processor.
pub(crate) struct Processor {
    remote: Arc<Remote>,
    house: House,
}

impl Processor {
    pub(crate) fn new(remote: Arc<Remote>, house: House) -> Self {
        Self { remote, house }
    }
}

/// How long a service may take to be announced, in microseconds, where nothing is said.
const TIMEOUT: u64 = 5_000_000;

/// How many messages of the remote's may wait for a client, at most.
const MAX_QUEUE: u64 = 65_536;

#[interface(name = "org.sidecore.Sidecore1.Processor")]
impl Processor {
    /// Starts its firmware once more, from the beginning. Endpoints of the run before are closed.
    async fn start(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        self.remote.tell(Ask::Start).await.map_err(error)
    }

    /// Stops it at once. It can be started again.
    ///
    /// Option `force` (b): whoever has a lease; so for the methods that follow.
    async fn stop(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &["force"])?;
        check_free(&self.remote, &options).await?;
        self.remote.tell(Ask::Stop).await.map_err(error)
    }

    /// Stops it, and starts it from the beginning.
    async fn restart(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &["force"])?;
        check_free(&self.remote, &options).await?;
        self.remote.tell(Ask::Restart).await.map_err(error)
    }

    /// Lets it run on and forgets it; whoever wants may attach. Its endpoints are closed.
    async fn detach(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &["force"])?;
        check_free(&self.remote, &options).await?;
        self.remote.tell(Ask::Detach).await.map_err(error)?;
        self.remote.expect_end();
        Ok(())
    }

    /// Ends it, whatever it is doing, and gives its name back.
    async fn remove(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &["force"])?;
        check_free(&self.remote, &options).await?;
        self.remote.end();
        Ok(())
    }

    /// Opens an endpoint that is bound to a service, as soon as that is announced. Answers a socket that keeps message
    /// boundaries, the endpoint's address, and the bytes of the longest message. Closing the socket closes the endpoint.
    ///
    /// Options: `timeout` (t): microseconds to wait for the announcement; 5 seconds where it is not given. `queue` (u): messages
    /// of the remote's that may wait for this client besides what its socket holds, as the configuration has it where it is not given; what comes then
    /// is lost, counted and told.
    async fn open_endpoint(
        &self,
        service: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, u32, u32), Error> {
        self.house.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &["timeout", "queue"])?;
        let within_ms = number(&options, "timeout", TIMEOUT, u64::MAX)?.div_ceil(1000);
        let (queue, client) = (queue(&options)?, caller(&header));
        self.open(Ask::Open { service, within_ms, queue, client }).await
    }

    /// Opens an endpoint of a device at an address, for a peer's address; 0xFFFFFFFF for any address, and for the peer that
    /// writes first. Answers as OpenEndpoint does. Option `queue` as there.
    async fn open_endpoint_at(
        &self,
        device: u32,
        local: u32,
        peer: u32,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, u32, u32), Error> {
        self.house.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &["queue"])?;
        let known = |addr: u32| Some(addr).filter(|addr| *addr != ADDRESS_ANY);
        let (queue, client) = (queue(&options)?, caller(&header));
        self.open(Ask::OpenAt { device, local: known(local), peer: known(peer), queue, client }).await
    }

    /// The services that it has announced: device, name, address.
    async fn list_services(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<(u32, String, u32)>, Error> {
        self.house.check(&header, action::INSPECT).await?;
        match self.remote.ask(Ask::Services, None).await.map_err(error)? {
            (Answer::Services(services), _) => {
                let services = services.into_iter();
                Ok(services.map(|service| (service.device, service.name, service.addr)).collect())
            }
            _ => Err(Error::Failed("the keeper answered with no services".to_owned())),
        }
    }

    /// Takes the remote for the caller, until the socket that is answered is closed, by whomever and however. `shared`: it is not
    /// stopped meanwhile, but by force. `tied`: it ends with the socket. `exclusive`: all endpoints are closed, and the caller
    /// is its main side; the first packet on the socket brings the connection to its warden (`SCM_RIGHTS`).
    async fn lease(
        &self,
        mode: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedFd, Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        let modes = [Mode::Shared, Mode::Tied, Mode::Exclusive];
        let mode = modes.into_iter().find(|known| known.word() == mode).ok_or_else(|| {
            Error::BadOption(format!("the mode is {mode:?}, and not shared, tied or exclusive"))
        })?;
        self.socket(Ask::Lease { mode, client: caller(&header) }).await
    }

    /// Opens the firmware's console. Answers a stream socket: what it said last and says from now on, and what it is told.
    async fn open_console(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedFd, Error> {
        self.house.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &[])?;
        self.socket(Ask::Console).await
    }

    /// Writes its memory and registers to a file that is open for writing, as an ELF core file. Answers a job.
    async fn dump(
        &self,
        file: OwnedFd,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.house.check(&header, action::DUMP).await?;
        check_keys(&options, &[])?;
        job::dump(&self.house, &self.remote, file.into()).await
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        self.remote.name()
    }

    /// What it is doing, in the kernel's words.
    #[zbus(property)]
    pub(crate) fn state(&self) -> String {
        self.remote.known().state.clone()
    }

    /// What executes it: `sandbox`, or `qemu:BOARD`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> &str {
        &self.remote.load().on
    }

    /// Who has it: `none`, `shared`, `tied`, `exclusive`.
    #[zbus(property)]
    pub(crate) fn lease_mode(&self) -> String {
        let is_tied = self.remote.load().tied_to.is_some();
        match self.remote.known().lease {
            Mode::None if is_tied => Mode::Tied.word().to_owned(),
            mode => mode.word().to_owned(),
        }
    }

    /// How often it was started again since it was made.
    #[zbus(property)]
    pub(crate) fn restarts(&self) -> u64 {
        self.remote.known().restarts
    }

    /// Something happened; `is_warning`: somebody should look at it.
    #[zbus(signal)]
    async fn happened(emitter: &SignalEmitter<'_>, what: &str, is_warning: bool) -> zbus::Result<()>;

    /// A service was announced.
    #[zbus(signal)]
    async fn service_appeared(
        emitter: &SignalEmitter<'_>,
        device: u32,
        name: &str,
        address: u32,
    ) -> zbus::Result<()>;

    /// A service was withdrawn, or its remote ended.
    #[zbus(signal)]
    async fn service_gone(
        emitter: &SignalEmitter<'_>,
        device: u32,
        name: &str,
        address: u32,
    ) -> zbus::Result<()>;
}

impl Processor {
    async fn open(&self, ask: Ask) -> Result<(OwnedFd, u32, u32), Error> {
        match self.remote.ask(ask, None).await.map_err(error)? {
            (Answer::Endpoint(opened), Some(fd)) => Ok((fd.into(), opened.addr, opened.max_payload)),
            _ => Err(Error::Failed("the keeper answered with no endpoint".to_owned())),
        }
    }

    async fn socket(&self, ask: Ask) -> Result<OwnedFd, Error> {
        match self.remote.ask(ask, None).await.map_err(error)? {
            (Answer::Socket, Some(fd)) => Ok(fd.into()),
            _ => Err(Error::Failed("the keeper answered with no socket".to_owned())),
        }
    }
}

fn queue(options: &Options) -> Result<Option<u32>, Error> {
    if !options.contains_key("queue") {
        return Ok(None);
    }
    number(options, "queue", 0, MAX_QUEUE).map(|queue| u32::try_from(queue).ok())
}

/// Who asks, by the name on the bus.
fn caller(header: &Header<'_>) -> String {
    header.sender().map(ToString::to_string).unwrap_or_default()
}
