//! A sandbox whose main side this program is, or can be.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sidecore_backends::log;
use sidecore_backends::sandbox::{Config, Halted, Lifetime, Logged, Sandbox};
use sidecore_os::Channel;
use sidecore_processor::{Options, Processor, dumps};
use sidecore_remoteproc::coredump::Include;
use sidecore_remoteproc::{BackendError, Firmware, RemoteError};

use super::console::{self, Outlet};
use super::helm::{Helm, Lasts};
use super::rings::Rings;
use super::{Direct, events};
use crate::codes;
use crate::error::{Error, Result};
use crate::options::{LeaseMode, OpenOptions, Progress, Service, StartOptions};

/// What the name of a sandbox begins with where its kind is said, too.
pub(crate) const PREFIX: &str = "sandbox:";

/// The longest firmware file, in bytes.
const MAX_FIRMWARE: u64 = 256 << 20;

/// How long the connection of a lease may take to come; it is sent before the lease is.
const LEASE_TIME: Duration = Duration::from_secs(5);

/// A sandbox by its name.
#[derive(Clone)]
pub(crate) struct Boat {
    direct: Arc<Direct>,
    name: String,
    held: Arc<Held>,
}

/// What makes this program its main side, once it is.
#[derive(Default)]
struct Held(Mutex<Option<Crew>>);

/// The main side, and its console's other end.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) helm: Arc<Helm>,
    pub(crate) outlet: Outlet,
}

impl Boat {
    pub(crate) fn new(direct: &Arc<Direct>, name: &str) -> Self {
        Self { direct: Arc::clone(direct), name: name.to_owned(), held: Arc::default() }
    }

    /// One that is begun: its warden, its firmware, and the first run of that.
    pub(crate) fn start_new(
        direct: &Arc<Direct>,
        name: &str,
        file: &File,
        asked: &StartOptions,
    ) -> Result<Self> {
        if asked.on.as_deref().is_some_and(|on| on != "sandbox") {
            return Err(Error::unsupported("without a daemon firmware is started in the sandbox alone"));
        }
        let lifetime = match asked.lease {
            None => Lifetime::Detached,
            Some(LeaseMode::Tied) => Lifetime::Tied,
            Some(mode) => return Err(Error::BadOption { why: format!("lease is {mode}, and not tied") }),
        };
        if Sandbox::names(direct.places.runtime_dir.as_deref()).iter().any(|taken| taken == name) {
            return Err(Error::NameTaken { why: format!("there is a remote {PREFIX}{name} already") });
        }
        let bytes = read(file)?;
        let firmware = Firmware::parse(&bytes);
        let firmware = firmware.map_err(|error| Error::BadFirmware { why: error.to_string() })?;
        let log = direct.places.logs().filter(|directory| log::directory(directory).is_ok());
        let log = log.map(|directory| Logged { directory, firmware: asked.file.clone().unwrap_or_default() });
        let config = Config { lifetime, watchdog: asked.watchdog, log, ..config(direct, name) };
        let sandbox = Sandbox::new(config).map_err(|error| of_backend(&error))?;
        let arguments: Vec<&[u8]> = asked.arguments.iter().map(String::as_bytes).collect();
        let (mut processor, outlet) = processor(Processor::new, sandbox, name, &arguments)?;
        processor.load(&firmware).map_err(|error| Error::BadFirmware { why: error.to_string() })?;
        processor.start().map_err(|error| of_remote(&error))?;
        let boat = Self::new(direct, name);
        let is_tied = lifetime == Lifetime::Tied;
        let crew = boat.board(processor, outlet, if is_tied { Lasts::Tied } else { Lasts::Longer })?;
        crew.helm.with(|deck| deck.has_firmware = true);
        direct.hub.tell_all(&events::simple(name, "added", "it was made"));
        Ok(boat)
    }

    /// One that this program has a lease of: the first packet on the lease's socket brings the connection to its warden.
    pub(crate) fn over(direct: &Arc<Direct>, name: &str, lease: OwnedFd) -> Result<Self> {
        let nothing = |why: &dyn std::fmt::Display| Error::Failed {
            code: codes::FAILED,
            why: format!("the lease brought no connection to the remote: {why}"),
        };
        let lease = Channel::from(lease);
        if !lease.wait(Some(Instant::now() + LEASE_TIME))? {
            return Err(nothing(&"it did not come in time"));
        }
        let received = lease.receive(&mut [0; 64]).map_err(|errno| nothing(&errno))?;
        let connection = received.and_then(|received| received.fds.into_iter().next());
        let connection = connection.ok_or_else(|| nothing(&"there is none in it"))?;
        let sandbox = Sandbox::over(connection, config(direct, name)).map_err(|error| of_backend(&error))?;
        let boat = Self::new(direct, name);
        boat.take(sandbox, Some(lease.into()))?;
        Ok(boat)
    }

    /// The main side, which this becomes if it is not.
    pub(crate) fn crew(&self) -> Result<Crew> {
        if let Some(crew) = self.known() {
            *self.held() = Some(crew.clone());
            return Ok(crew);
        }
        let sandbox = Sandbox::find(config(&self.direct, &self.name)).map_err(|error| of_backend(&error))?;
        self.take(sandbox, None)
    }

    fn take(&self, sandbox: Sandbox, lease: Option<OwnedFd>) -> Result<Crew> {
        let (mut processor, outlet) = processor(Processor::detached, sandbox, &self.name, &[])?;
        processor.attach(None).map_err(|error| of_remote(&error))?;
        let lasts = lease.map_or(Lasts::Longer, Lasts::Leased);
        self.board(processor, outlet, lasts)
    }

    fn board(&self, processor: Processor<Sandbox>, outlet: Outlet, lasts: Lasts) -> Result<Crew> {
        let crew = Crew { helm: Helm::new(&self.name, processor, lasts, &self.direct.hub)?, outlet };
        self.direct.keep(&self.name, &crew);
        *self.held() = Some(crew.clone());
        Ok(crew)
    }

    pub(crate) fn state(&self) -> Result<String> {
        if let Some(crew) = self.known() {
            crew.helm.look();
            return Ok(crew.helm.with(|deck| deck.processor.remote().state().to_string()));
        }
        match Sandbox::names(self.direct.places.runtime_dir.as_deref()).contains(&self.name) {
            true => Ok("running".to_owned()),
            false => {
                Err(Error::NotFound { why: format!("there is no remote {PREFIX}{} any more", self.name) })
            }
        }
    }

    pub(crate) fn start(&self) -> Result<()> {
        self.crew()?.helm.with(|deck| deck.processor.start()).map_err(|error| of_remote(&error))
    }

    pub(crate) fn stop(&self) -> Result<()> {
        self.crew()?.helm.with(|deck| deck.processor.stop()).map_err(|error| of_remote(&error))
    }

    pub(crate) fn restart(&self) -> Result<()> {
        let crew = self.crew()?;
        if !crew.helm.with(|deck| deck.has_firmware) {
            let why = "it was found running, and its firmware is not known here: it can only be started anew";
            return Err(Error::WrongState { why: why.to_owned() });
        }
        let restarted = crew.helm.with(|deck| {
            if deck.processor.remote().state().is_live() {
                deck.processor.stop()?;
            }
            deck.processor.start()
        });
        restarted.map_err(|error| of_remote(&error))
    }

    /// Is its main side no more; endpoints are closed, and it runs on.
    pub(crate) fn detach(&self) -> Result<()> {
        let crew = self.crew()?;
        crew.helm.with(|deck| deck.processor.detach()).map_err(|error| of_remote(&error))?;
        self.forget();
        Ok(())
    }

    /// Ends it; its name is free then, and endpoints that are open say that it was stopped.
    pub(crate) fn remove(&self) -> Result<()> {
        let crew = self.crew()?;
        let stopped = crew.helm.with(|deck| {
            let is_live = deck.processor.remote().state().is_live();
            if is_live { deck.processor.stop() } else { Ok(()) }
        });
        stopped.map_err(|error| of_remote(&error))?;
        let ended = Sandbox::end(&self.name, self.direct.places.runtime_dir.as_deref());
        self.forget();
        match ended.map_err(|error| of_backend(&error)) {
            // It ended with its firmware, or lies where only those who lent it can look.
            Ok(()) | Err(Error::NotFound { .. }) => {
                self.direct.hub.tell_all(&events::simple(&self.name, "removed", "it was removed"));
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) fn services(&self) -> Result<Vec<Service>> {
        let crew = self.crew()?;
        crew.helm.look();
        let services = crew.helm.with(|deck| deck.processor.services());
        let of = |service: sidecore_processor::Service| Service {
            device: service.device,
            name: service.name.to_string(),
            address: service.addr,
        };
        Ok(services.into_iter().map(of).collect())
    }

    pub(crate) fn open(&self, service: &str, asked: OpenOptions) -> Result<Rings> {
        Rings::open(&self.crew()?.helm, service, asked)
    }

    pub(crate) fn open_at(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        asked: OpenOptions,
    ) -> Result<Rings> {
        Rings::open_at(&self.crew()?.helm, device, local, peer, asked)
    }

    pub(crate) fn console(&self) -> Result<OwnedFd> {
        let crew = self.crew()?;
        console::open(&crew.helm, &crew.outlet)
    }

    pub(crate) fn log(&self) -> Result<File> {
        let directory = self.direct.places.logs();
        let directory = directory.ok_or_else(|| Error::unsupported("there is no directory of logs"))?;
        let path = directory.join(log::file_name(&self.name));
        File::open(&path).map_err(|error| Error::system(format!("open {}", path.display()), error))
    }

    /// Whoever its main side is: its warden halts it for so long.
    pub(crate) fn dump(&self, file: &File, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let halted = Halted::hold(&self.name, self.direct.places.runtime_dir.as_deref());
        let halted = halted.map_err(|error| of_backend(&error))?;
        let facts = [("remote", &*self.name), ("on", "sandbox")];
        let failed = |error: &dyn std::fmt::Display| Error::Failed {
            code: sidecore_remoteproc::codes::NO_DUMP,
            why: error.to_string(),
        };
        let dump = halted.core_dump(Include::default(), &facts).map_err(|error| failed(&error))?;
        progress(Progress { done: 0, total: Some(dump.len()) });
        dumps::write_plain(&dump, file).map_err(|error| Error::system("write a core dump", error))?;
        if !halted.is_held() {
            return Err(failed(
                &"its warden was killed meanwhile, so that its memory may not be of one moment",
            ));
        }
        progress(Progress { done: dump.len(), total: Some(dump.len()) });
        Ok(())
    }

    /// The main side, if this program is that already: by this handle, or by another of the same client.
    fn known(&self) -> Option<Crew> {
        let held = self.held().clone();
        held.filter(|crew| !crew.helm.is_retired()).or_else(|| self.direct.crew(&self.name))
    }

    fn forget(&self) {
        self.direct.forget(&self.name);
        self.held().take().into_iter().for_each(|crew| crew.helm.retire());
    }

    fn held(&self) -> MutexGuard<'_, Option<Crew>> {
        // Nothing in there is ever half done.
        self.held.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config(direct: &Direct, name: &str) -> Config {
    Config {
        name: Some(name.to_owned()),
        runtime_dir: direct.places.runtime_dir.clone(),
        ..Config::default()
    }
}

fn processor(
    make: fn(Sandbox, Options) -> Processor<Sandbox>,
    sandbox: Sandbox,
    name: &str,
    arguments: &[&[u8]],
) -> Result<(Processor<Sandbox>, Outlet)> {
    // Messages for an endpoint that nobody reads are put aside, so that the others have buffers. A main side that can be gone
    // on after could not do that.
    let mut processor = make(sandbox, Options { resume: false, ..Options::new(name) });
    let outlet = Outlet::default();
    let offer = sidecore_processor::console::offer(outlet.clone(), arguments);
    processor.offer(offer.map_err(|error| Error::BadOption { why: format!("arguments: {error}") })?);
    Ok((processor, outlet))
}

fn read(file: &File) -> Result<Vec<u8>> {
    let bad = |why: String| Error::BadFirmware { why: format!("the firmware {why}") };
    let metadata = file.metadata().map_err(|error| bad(format!("cannot be read: {error}")))?;
    // Nobody knows when a pipe ends.
    if !metadata.is_file() {
        return Err(bad("is no file".to_owned()));
    }
    if metadata.len() > MAX_FIRMWARE {
        return Err(bad(format!("has {} bytes: {MAX_FIRMWARE} at most", metadata.len())));
    }
    let mut bytes = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0);
    read.map_err(|error| bad(format!("cannot be read: {error}")))?;
    Ok(bytes)
}

/// What a backend's error means for a client.
pub(crate) fn of_backend(error: &BackendError) -> Error {
    let why = error.to_string();
    match error {
        BackendError::System { reason, .. } if reason.contains("is its main side") => Error::Leased { why },
        BackendError::System { reason, .. } if reason == "no such remote" => Error::NotFound { why },
        BackendError::WrongState { .. } => Error::WrongState { why },
        BackendError::Unsupported { .. } => Error::Unsupported { why },
        error => Error::Failed { code: error.code(), why },
    }
}

pub(crate) fn of_remote(error: &RemoteError) -> Error {
    let why = error.to_string();
    match error {
        RemoteError::Backend(error) => of_backend(error),
        RemoteError::Firmware(_) | RemoteError::Plan(_) => Error::BadFirmware { why },
        RemoteError::Refused(_) | RemoteError::NoFirmware | RemoteError::NotRunning { .. } => {
            Error::WrongState { why }
        }
        error => Error::Failed { code: error.code(), why },
    }
}
