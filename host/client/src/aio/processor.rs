//! One remote, for tasks.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Endpoint, Events, aside};
use crate::daemon;
use crate::direct::{self, Direct, Places};
use crate::endpoint::Way;
use crate::error::{Error, Result};
use crate::options::{Info, LeaseMode, OpenOptions, Progress, Service};

/// A remote processor, as [`Processor`](crate::Processor).
#[derive(Clone)]
pub struct Processor {
    half: Half,
}

#[derive(Clone)]
enum Half {
    Daemon(daemon::Remote),
    Direct(Arc<Direct>, direct::Remote),
}

/// The same call in both halves; in the direct one it is done aside.
macro_rules! both {
    ($self:expr, $remote:ident => $call:expr) => {
        match &$self.half {
            Half::Daemon($remote) => $call.await,
            Half::Direct(_, remote) => {
                let $remote = remote.clone();
                aside(move || $call).await
            }
        }
    };
}

impl Processor {
    pub(super) fn through(remote: daemon::Remote) -> Self {
        Self { half: Half::Daemon(remote) }
    }

    pub(super) fn direct(direct: &Arc<Direct>, remote: direct::Remote) -> Self {
        Self { half: Half::Direct(Arc::clone(direct), remote) }
    }

    fn info(&self) -> &Info {
        match &self.half {
            Half::Daemon(remote) => &remote.info,
            Half::Direct(_, remote) => &remote.info,
        }
    }

    /// As [`Processor::name`](crate::Processor::name).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// As [`Processor::kind`](crate::Processor::kind).
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.info().kind
    }

    /// As [`Processor::state`](crate::Processor::state).
    ///
    /// # Errors
    /// As there.
    pub async fn state(&self) -> Result<String> {
        both!(self, remote => remote.state())
    }

    /// As [`Processor::start`](crate::Processor::start).
    ///
    /// # Errors
    /// As there.
    pub async fn start(&self) -> Result<()> {
        both!(self, remote => remote.start())
    }

    /// As [`Processor::stop`](crate::Processor::stop).
    ///
    /// # Errors
    /// As there.
    pub async fn stop(&self) -> Result<()> {
        both!(self, remote => remote.stop())
    }

    /// As [`Processor::restart`](crate::Processor::restart).
    ///
    /// # Errors
    /// As there.
    pub async fn restart(&self) -> Result<()> {
        both!(self, remote => remote.restart())
    }

    /// As [`Processor::detach`](crate::Processor::detach).
    ///
    /// # Errors
    /// As there.
    pub async fn detach(&self) -> Result<()> {
        both!(self, remote => remote.detach())
    }

    /// As [`Processor::remove`](crate::Processor::remove).
    ///
    /// # Errors
    /// As there.
    pub async fn remove(&self) -> Result<()> {
        both!(self, remote => remote.remove())
    }

    /// As [`Processor::services`](crate::Processor::services).
    ///
    /// # Errors
    /// As there.
    pub async fn services(&self) -> Result<Vec<Service>> {
        both!(self, remote => remote.services())
    }

    /// As [`Processor::open`](crate::Processor::open).
    ///
    /// # Errors
    /// As there.
    pub async fn open(&self, service: &str, options: OpenOptions) -> Result<Endpoint> {
        Endpoint::new(match &self.half {
            Half::Daemon(remote) => Way::Socket(remote.open(service, options).await?),
            Half::Direct(_, remote) => {
                let (remote, service) = (remote.clone(), service.to_owned());
                aside(move || remote.open(&service, options)).await?.into()
            }
        })
    }

    /// As [`Processor::open_at`](crate::Processor::open_at).
    ///
    /// # Errors
    /// As there.
    pub async fn open_at(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        options: OpenOptions,
    ) -> Result<Endpoint> {
        Endpoint::new(match &self.half {
            Half::Daemon(remote) => Way::Socket(remote.open_at(device, local, peer, options).await?),
            Half::Direct(_, remote) => {
                let remote = remote.clone();
                aside(move || remote.open_at(device, local, peer, options)).await?.into()
            }
        })
    }

    /// As [`Processor::events`](crate::Processor::events).
    ///
    /// # Errors
    /// As there.
    pub async fn events(&self) -> Result<Events> {
        match &self.half {
            Half::Daemon(remote) => remote.events().await.map(Events::through),
            Half::Direct(direct, _) => {
                direct::Events::open(direct, Some(self.name().to_owned())).map(Events::direct)
            }
        }
    }

    /// As [`Processor::dump`](crate::Processor::dump).
    ///
    /// # Errors
    /// As there.
    pub async fn dump(&self, file: &File, mut progress: impl FnMut(Progress) + Send) -> Result<()> {
        match &self.half {
            Half::Daemon(remote) => remote.dump(file, &mut progress).await,
            Half::Direct(_, remote) => {
                let file = file.try_clone().map_err(|error| Error::system("copy a descriptor", error))?;
                let (remote, (tell, mut told)) = (remote.clone(), tokio::sync::mpsc::unbounded_channel());
                let dumping = tokio::spawn(aside(move || {
                    remote.dump(&file, &mut |progress| {
                        // Who is told may have gone meanwhile.
                        let _ = tell.send(progress);
                    })
                }));
                while let Some(step) = told.recv().await {
                    progress(step);
                }
                dumping.await.map_err(|error| Error::system("dump a remote", error))?
            }
        }
    }

    /// As [`Processor::console`](crate::Processor::console).
    ///
    /// # Errors
    /// As there.
    pub async fn console(&self) -> Result<OwnedFd> {
        both!(self, remote => remote.console())
    }

    /// As [`Processor::log`](crate::Processor::log).
    ///
    /// # Errors
    /// As there.
    pub async fn log(&self) -> Result<File> {
        both!(self, remote => remote.log())
    }

    /// As [`Processor::lease`](crate::Processor::lease).
    ///
    /// # Errors
    /// As there.
    pub async fn lease(&self, mode: LeaseMode) -> Result<Lease> {
        let (held, processor) = match &self.half {
            Half::Daemon(remote) => {
                let socket = remote.lease(mode).await?;
                match mode {
                    LeaseMode::Exclusive => {
                        let (direct, name) = (Direct::new(Places::new()), self.name().to_owned());
                        let over =
                            move || direct.over(&name, socket).map(|remote| Self::direct(&direct, remote));
                        (None, aside(over).await?)
                    }
                    _ => (Some(socket), self.clone()),
                }
            }
            Half::Direct(_, remote) => {
                let remote = remote.clone();
                aside(move || remote.lease(mode)).await?;
                (None, self.clone())
            }
        };
        Ok(Lease::new(mode, processor, held))
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Processor").field(&self.info().qualified()).finish()
    }
}

/// As [`Lease`](crate::Lease), of a remote for tasks.
pub type Lease = crate::Lease<Processor>;
