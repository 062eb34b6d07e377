//! A client that waits for what it asks for.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bus::Bus;
use crate::daemon;
use crate::direct::{self, Direct, Places};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::options::{Info, StartOptions, Way};
use crate::processor::Processor;
use crate::runtime::Runtime;

/// Reaches remote processors. Clones are the same client.
#[derive(Clone)]
pub struct Client {
    half: Half,
}

#[derive(Clone)]
pub(crate) enum Half {
    Daemon(Line),
    Direct(Arc<Direct>),
}

/// A daemon, and what its answers are waited for with.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) bus: Arc<Bus>,
    pub(crate) runtime: Arc<Runtime>,
}

impl Client {
    /// Through the daemon of the session's bus, else through that of the system's, else directly. [`way`](Self::way) says which.
    ///
    /// # Errors
    /// Only the system's: no memory or descriptors are left. A bus without a daemon is none.
    pub fn connect() -> Result<Self> {
        for connect in [Self::session, Self::system] {
            match connect() {
                Err(Error::NoDaemon { .. } | Error::BusGone { .. } | Error::NotAuthorized { .. }) => {}
                other => return other,
            }
        }
        Ok(Self::direct(None))
    }

    /// Through the daemon of the session's bus (`DBUS_SESSION_BUS_ADDRESS`, else `$XDG_RUNTIME_DIR/bus`).
    ///
    /// # Errors
    /// [`Error::NoDaemon`]: there is none, nor can the bus start one; or there is no bus.
    pub fn session() -> Result<Self> {
        Self::through(Way::Session, None)
    }

    /// Through the daemon of the system's bus.
    ///
    /// # Errors
    /// As of [`session`](Self::session).
    pub fn system() -> Result<Self> {
        Self::through(Way::System, None)
    }

    /// Through the daemon of the bus with this D-Bus address (`unix:path=/run/user/1000/bus`).
    ///
    /// # Errors
    /// As of [`session`](Self::session).
    pub fn bus(address: &str) -> Result<Self> {
        Self::through(Way::Bus, Some(address))
    }

    /// Without a daemon: sandboxes in this directory (`None`: the usual ones), and what Linux drives.
    #[must_use]
    pub fn direct(runtime_dir: Option<PathBuf>) -> Self {
        Self::direct_in(Places::new().runtime_dir(runtime_dir))
    }

    /// Without a daemon, with remotes looked for in places of one's own.
    #[must_use]
    pub fn direct_in(places: Places) -> Self {
        Self { half: Half::Direct(Direct::new(places)) }
    }

    fn through(way: Way, address: Option<&str>) -> Result<Self> {
        let runtime = Runtime::new()?;
        let bus = runtime.run(Bus::open(way, address))?;
        Ok(Self { half: Half::Daemon(Line { bus: Arc::new(bus), runtime: Arc::new(runtime) }) })
    }

    /// Which of them it is.
    #[must_use]
    pub fn way(&self) -> Way {
        match &self.half {
            Half::Daemon(line) => line.bus.way(),
            Half::Direct(_) => Way::Direct,
        }
    }

    /// The remotes that there are, by name.
    ///
    /// # Errors
    /// The daemon or the kernel does not say.
    pub fn processors(&self) -> Result<Vec<Info>> {
        match &self.half {
            Half::Daemon(line) => line.runtime.run(daemon::processors(&line.bus)),
            Half::Direct(direct) => direct.processors(),
        }
    }

    /// The remote that a name stands for: its exact name, `sandbox:NAME`, `linux:NAME`, `remoteprocN`.
    ///
    /// # Errors
    /// [`Error::NotFound`] with those that there are, or [`Error::Ambiguous`] with names that stand for one each.
    pub fn processor(&self, selector: &str) -> Result<Processor> {
        match &self.half {
            Half::Daemon(line) => {
                let remote = line.runtime.run(daemon::processor(&line.bus, selector))?;
                Ok(Processor::through(line, remote))
            }
            Half::Direct(direct) => {
                direct.processor(selector).map(|remote| Processor::direct(direct, remote))
            }
        }
    }

    /// Starts firmware, an ELF file, on a new remote of that name. Without a daemon it goes on when this program ends, unless
    /// [`StartOptions::lease`] ties it to that; and `main` has to begin with [`hook`](crate::hook).
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::BadFirmware`], [`Error::BadOption`], [`Error::NotAuthorized`], [`Error::NoRoom`],
    /// [`Error::Unsupported`] for what only a daemon can do, or [`Error::Failed`].
    pub fn start(&self, name: &str, firmware: &File, options: &StartOptions) -> Result<Processor> {
        match &self.half {
            Half::Daemon(line) => {
                let remote = line.runtime.run(daemon::start(&line.bus, name, firmware, options))?;
                Ok(Processor::through(line, remote))
            }
            Half::Direct(direct) => {
                direct.start(name, firmware, options).map(|remote| Processor::direct(direct, remote))
            }
        }
    }

    /// Takes a remote that runs already: the daemon becomes the main side of `sandbox:NAME`, or without a daemon this program
    /// does, now and not when it has to.
    ///
    /// # Errors
    /// There is none, somebody else is its main side ([`Error::Leased`]), or as of [`start`](Self::start).
    pub fn attach(&self, remote: &str) -> Result<Processor> {
        match &self.half {
            Half::Daemon(line) => {
                let remote = line.runtime.run(daemon::attach(&line.bus, remote))?;
                Ok(Processor::through(line, remote))
            }
            Half::Direct(direct) => direct.attach(remote).map(|remote| Processor::direct(direct, remote)),
        }
    }

    /// What happens to all remotes from now on. Without a daemon: to those whose main side this client is.
    ///
    /// # Errors
    /// The bus is gone, or no descriptors are left.
    pub fn events(&self) -> Result<Events> {
        match &self.half {
            Half::Daemon(line) => {
                Events::through(line, line.runtime.run(daemon::Events::open(&line.bus, None))?)
            }
            Half::Direct(direct) => direct::Events::open(direct, None).map(Events::direct),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.way())
    }
}
