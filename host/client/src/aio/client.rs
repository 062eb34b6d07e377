//! A client for tasks.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Events, Processor, aside};
use crate::bus::Bus;
use crate::daemon;
use crate::direct::{self, Direct, Places};
use crate::error::{Error, Result};
use crate::options::{Info, StartOptions, Way};

/// Reaches remote processors, as [`Client`](crate::Client) does. Clones are the same client.
#[derive(Clone)]
pub struct Client {
    half: Half,
}

#[derive(Clone)]
enum Half {
    Daemon(Arc<Bus>),
    Direct(Arc<Direct>),
}

impl Client {
    /// As [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    /// As there.
    pub async fn connect() -> Result<Self> {
        for way in [Way::Session, Way::System] {
            match Self::through(way, None).await {
                Err(Error::NoDaemon { .. } | Error::BusGone { .. } | Error::NotAuthorized { .. }) => {}
                other => return other,
            }
        }
        Ok(Self::direct(None))
    }

    /// As [`Client::session`](crate::Client::session).
    ///
    /// # Errors
    /// As there.
    pub async fn session() -> Result<Self> {
        Self::through(Way::Session, None).await
    }

    /// As [`Client::system`](crate::Client::system).
    ///
    /// # Errors
    /// As there.
    pub async fn system() -> Result<Self> {
        Self::through(Way::System, None).await
    }

    /// As [`Client::bus`](crate::Client::bus).
    ///
    /// # Errors
    /// As there.
    pub async fn bus(address: &str) -> Result<Self> {
        Self::through(Way::Bus, Some(address)).await
    }

    /// As [`Client::direct`](crate::Client::direct).
    #[must_use]
    pub fn direct(runtime_dir: Option<PathBuf>) -> Self {
        Self::direct_in(Places::new().runtime_dir(runtime_dir))
    }

    /// As [`Client::direct_in`](crate::Client::direct_in).
    #[must_use]
    pub fn direct_in(places: Places) -> Self {
        Self { half: Half::Direct(Direct::new(places)) }
    }

    async fn through(way: Way, address: Option<&str>) -> Result<Self> {
        Ok(Self { half: Half::Daemon(Arc::new(Bus::open(way, address).await?)) })
    }

    /// Which of them it is.
    #[must_use]
    pub fn way(&self) -> Way {
        match &self.half {
            Half::Daemon(bus) => bus.way(),
            Half::Direct(_) => Way::Direct,
        }
    }

    /// As [`Client::processors`](crate::Client::processors).
    ///
    /// # Errors
    /// As there.
    pub async fn processors(&self) -> Result<Vec<Info>> {
        match &self.half {
            Half::Daemon(bus) => daemon::processors(bus).await,
            Half::Direct(direct) => {
                let direct = Arc::clone(direct);
                aside(move || direct.processors()).await
            }
        }
    }

    /// As [`Client::processor`](crate::Client::processor).
    ///
    /// # Errors
    /// As there.
    pub async fn processor(&self, selector: &str) -> Result<Processor> {
        match &self.half {
            Half::Daemon(bus) => daemon::processor(bus, selector).await.map(Processor::through),
            Half::Direct(direct) => {
                let (direct, selector) = (Arc::clone(direct), selector.to_owned());
                aside(move || direct.processor(&selector).map(|remote| Processor::direct(&direct, remote)))
                    .await
            }
        }
    }

    /// As [`Client::start`](crate::Client::start).
    ///
    /// # Errors
    /// As there.
    pub async fn start(&self, name: &str, firmware: &File, options: &StartOptions) -> Result<Processor> {
        match &self.half {
            Half::Daemon(bus) => daemon::start(bus, name, firmware, options).await.map(Processor::through),
            Half::Direct(direct) => {
                let firmware =
                    firmware.try_clone().map_err(|error| Error::system("copy a descriptor", error))?;
                let (direct, name, options) = (Arc::clone(direct), name.to_owned(), options.clone());
                let start = move || {
                    direct.start(&name, &firmware, &options).map(|remote| Processor::direct(&direct, remote))
                };
                aside(start).await
            }
        }
    }

    /// As [`Client::attach`](crate::Client::attach).
    ///
    /// # Errors
    /// As there.
    pub async fn attach(&self, remote: &str) -> Result<Processor> {
        match &self.half {
            Half::Daemon(bus) => daemon::attach(bus, remote).await.map(Processor::through),
            Half::Direct(direct) => {
                let (direct, remote) = (Arc::clone(direct), remote.to_owned());
                aside(move || direct.attach(&remote).map(|remote| Processor::direct(&direct, remote))).await
            }
        }
    }

    /// As [`Client::events`](crate::Client::events).
    ///
    /// # Errors
    /// As there.
    pub async fn events(&self) -> Result<Events> {
        match &self.half {
            Half::Daemon(bus) => daemon::Events::open(bus, None).await.map(Events::through),
            Half::Direct(direct) => direct::Events::open(direct, None).map(Events::direct),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.way())
    }
}
