//! One remote, and what is done with it.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::client::Line;
use crate::daemon;
use crate::direct::{self, Direct, Places};
use crate::endpoint::{Endpoint, Way};
use crate::error::Result;
use crate::events::Events;
use crate::lease::Lease;
use crate::options::{Info, LeaseMode, OpenOptions, Progress, Service};

/// A remote processor.
///
/// Without a daemon, the first call that has to do with the remote itself (its services, endpoints, console, its life) makes
/// this program the main side of a sandbox, which there can be one of: its devices are reset, and it announces its services
/// anew. It is so until all that was made of this is dropped, clones and endpoints included; then the remote runs on by itself.
#[derive(Clone)]
pub struct Processor {
    half: Half,
}

#[derive(Clone)]
enum Half {
    Daemon(Line, daemon::Remote),
    Direct(Arc<Direct>, direct::Remote),
}

/// The same call in both halves; in that through the daemon it is waited for.
macro_rules! both {
    ($self:expr, $remote:ident => $call:expr) => {
        match &$self.half {
            Half::Daemon(line, $remote) => line.runtime.run($call),
            Half::Direct(_, $remote) => $call,
        }
    };
}

impl Processor {
    pub(crate) fn through(line: &Line, remote: daemon::Remote) -> Self {
        Self { half: Half::Daemon(line.clone(), remote) }
    }

    pub(crate) fn direct(direct: &Arc<Direct>, remote: direct::Remote) -> Self {
        Self { half: Half::Direct(Arc::clone(direct), remote) }
    }

    fn info(&self) -> &Info {
        match &self.half {
            Half::Daemon(_, remote) => &remote.info,
            Half::Direct(_, remote) => &remote.info,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// What executes it: `sandbox`, `qemu:BOARD`, `linux:remoteprocN`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.info().kind
    }

    /// What it is doing now, in the kernel's words: `offline`, `suspended`, `running`, `crashed`, `attached`, `detached`.
    ///
    /// # Errors
    /// It is there no more ([`Error::NotFound`](crate::Error::NotFound)), or nobody says.
    pub fn state(&self) -> Result<String> {
        both!(self, remote => remote.state())
    }

    /// Starts its firmware once more, from the beginning. Endpoints of the run before are of no use any more.
    ///
    /// # Errors
    /// [`Error::WrongState`](crate::Error::WrongState), [`Error::NotAuthorized`](crate::Error::NotAuthorized),
    /// [`Error::Leased`](crate::Error::Leased), [`Error::Failed`](crate::Error::Failed); so for all that is done to a remote.
    pub fn start(&self) -> Result<()> {
        both!(self, remote => remote.start())
    }

    /// Stops it at once. It can be started again; without a daemon, as long as this program is its main side.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn stop(&self) -> Result<()> {
        both!(self, remote => remote.stop())
    }

    /// Stops it, and starts it from the beginning.
    ///
    /// # Errors
    /// As of [`start`](Self::start); and, without a daemon, this program found it running and does not know its firmware:
    /// then it runs on.
    pub fn restart(&self) -> Result<()> {
        both!(self, remote => remote.restart())
    }

    /// Lets it run on without its main side; whoever wants may attach. Endpoints are closed.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn detach(&self) -> Result<()> {
        both!(self, remote => remote.detach())
    }

    /// Ends it, whatever it is doing, and gives its name back.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn remove(&self) -> Result<()> {
        both!(self, remote => remote.remove())
    }

    /// The services that it has announced.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn services(&self) -> Result<Vec<Service>> {
        both!(self, remote => remote.services())
    }

    /// Opens an endpoint that is bound to a service, as soon as that is announced.
    ///
    /// # Errors
    /// [`Error::NotAnnounced`](crate::Error::NotAnnounced), [`Error::NoRoom`](crate::Error::NoRoom), or as of
    /// [`start`](Self::start).
    pub fn open(&self, service: &str, options: OpenOptions) -> Result<Endpoint> {
        let way = match &self.half {
            Half::Daemon(line, remote) => Way::Socket(line.runtime.run(remote.open(service, options))?),
            Half::Direct(_, remote) => remote.open(service, options)?.into(),
        };
        Ok(Endpoint::new(way))
    }

    /// Opens an endpoint on a device, at address `local` (`None`: any), for address `peer` of the remote (`None`: the first that
    /// writes to it).
    ///
    /// # Errors
    /// There is no such device, the address is taken, or as of [`open`](Self::open).
    pub fn open_at(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        options: OpenOptions,
    ) -> Result<Endpoint> {
        let way = match &self.half {
            Half::Daemon(line, remote) => {
                Way::Socket(line.runtime.run(remote.open_at(device, local, peer, options))?)
            }
            Half::Direct(_, remote) => remote.open_at(device, local, peer, options)?.into(),
        };
        Ok(Endpoint::new(way))
    }

    /// What happens to it from now on.
    ///
    /// # Errors
    /// The bus is gone, or no descriptors are left.
    pub fn events(&self) -> Result<Events> {
        match &self.half {
            Half::Daemon(line, remote) => Events::through(line, line.runtime.run(remote.events())?),
            Half::Direct(direct, _) => {
                direct::Events::open(direct, Some(self.name().to_owned())).map(Events::direct)
            }
        }
    }

    /// Writes its memory and registers to a file that is open for writing, as an ELF core file, and tells how far that is. It
    /// stands still meanwhile.
    ///
    /// # Errors
    /// The file takes no more, or as of [`start`](Self::start). Part of the dump may be in the file then.
    pub fn dump(&self, file: &File, mut progress: impl FnMut(Progress) + Send) -> Result<()> {
        both!(self, remote => remote.dump(file, &mut progress))
    }

    /// Opens its console: a stream socket with what the firmware says from now on, and for what it is told.
    ///
    /// # Errors
    /// Somebody has it open already, or as of [`start`](Self::start).
    pub fn console(&self) -> Result<OwnedFd> {
        both!(self, remote => remote.console())
    }

    /// Opens the log of its traces, to be read from the beginning on; it grows while the remote runs.
    ///
    /// # Errors
    /// None is kept, or as of [`start`](Self::start).
    pub fn log(&self) -> Result<File> {
        both!(self, remote => remote.log())
    }

    /// Takes the remote for this client, until the lease is dropped.
    ///
    /// # Errors
    /// [`Error::Leased`](crate::Error::Leased), [`Error::Unsupported`](crate::Error::Unsupported), or as of
    /// [`start`](Self::start). Without a daemon there is [`LeaseMode::Exclusive`] alone.
    pub fn lease(&self, mode: LeaseMode) -> Result<Lease> {
        let (held, processor) = match &self.half {
            Half::Daemon(line, remote) => {
                let socket = line.runtime.run(remote.lease(mode))?;
                match mode {
                    LeaseMode::Exclusive => {
                        let direct = Direct::new(Places::new());
                        (None, Self::direct(&direct, direct.over(self.name(), socket)?))
                    }
                    _ => (Some(socket), self.clone()),
                }
            }
            Half::Direct(_, remote) => {
                remote.lease(mode)?;
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
