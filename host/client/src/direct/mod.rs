//! Remotes without a daemon: sandboxes whose main side this program is, and what Linux drives.

mod console;
mod events;
mod helm;
mod linux;
mod rings;
mod sandbox;

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sidecore_backends::sandbox::Sandbox;
use sidecore_backends::sysfs::Roots;

use self::console::Outlet;
pub(crate) use self::events::Events;
use self::events::Hub;
use self::helm::Helm;
use self::linux::Driven;
pub(crate) use self::linux::Node;
pub(crate) use self::rings::Rings;
use self::sandbox::{Boat, Crew};
use crate::error::{Error, Result};
use crate::options::{Info, LeaseMode, OpenOptions, Progress, Service, StartOptions};
use crate::select::select;

/// Where remotes are looked for without a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// Where the sockets of sandboxes are. `None`: `$XDG_RUNTIME_DIR/sidecore`, `/run/sidecore` (as root) and
    /// `/tmp/sidecore-<uid>`.
    pub runtime_dir: Option<PathBuf>,
    /// Where the logs of sandboxes are. `None`: `sidecore/logs` in `$XDG_STATE_HOME`, `~/.local/state`, or for root without a
    /// home `/var/lib`.
    pub logs: Option<PathBuf>,
    /// Where the kernel's files are.
    pub roots: Roots,
}

impl Places {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sandboxes have their sockets there.
    #[must_use]
    pub fn runtime_dir(mut self, directory: Option<PathBuf>) -> Self {
        self.runtime_dir = directory;
        self
    }

    /// Sandboxes have their logs there.
    #[must_use]
    pub fn logs_in(mut self, directory: PathBuf) -> Self {
        self.logs = Some(directory);
        self
    }

    /// The kernel has its files there.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    fn logs(&self) -> Option<PathBuf> {
        if let Some(logs) = &self.logs {
            return Some(logs.clone());
        }
        let path = |name| env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let home = || path("HOME").map(|home| home.join(".local/state"));
        let root = || rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib"));
        Some(path("XDG_STATE_HOME").or_else(home).or_else(root)?.join("sidecore/logs"))
    }
}

/// All that is reached without a daemon.
pub(crate) struct Direct {
    places: Places,
    hub: Arc<Hub>,
    /// Those whose main side this is, by name.
    crews: Mutex<HashMap<String, (Weak<Helm>, Outlet)>>,
}

/// One remote.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) info: Info,
    what: What,
}

#[derive(Clone)]
enum What {
    Sandbox(Boat),
    Linux(Box<Driven>),
}

/// An endpoint.
pub(crate) enum Endpoint {
    Rings(Rings),
    Node(Node),
}

impl Direct {
    pub(crate) fn new(places: Places) -> Arc<Self> {
        Arc::new(Self { places, hub: Arc::default(), crews: Mutex::default() })
    }

    pub(crate) fn processors(&self) -> Result<Vec<Info>> {
        let mut all = linux::all(&self.places)?;
        for name in Sandbox::names(self.places.runtime_dir.as_deref()) {
            let crew = self.crew(&name);
            let state = crew.map(|crew| crew.helm.with(|deck| deck.processor.remote().state().to_string()));
            all.push(sandbox(name, state.unwrap_or_else(|| "running".to_owned())));
        }
        all.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
        Ok(all)
    }

    pub(crate) fn processor(self: &Arc<Self>, selector: &str) -> Result<Remote> {
        let info = select(&self.processors()?, selector)?.clone();
        let what = match info.kind.strip_prefix("linux:") {
            Some(id) => What::Linux(Box::new(Driven::find(&self.places, id)?)),
            None => What::Sandbox(Boat::new(self, &info.name)),
        };
        Ok(Remote { info, what })
    }

    pub(crate) fn start(
        self: &Arc<Self>,
        name: &str,
        firmware: &File,
        asked: &StartOptions,
    ) -> Result<Remote> {
        let name = name.strip_prefix(sandbox::PREFIX).unwrap_or(name);
        let boat = Boat::start_new(self, name, firmware, asked)?;
        Ok(Remote { info: sandbox(name.to_owned(), "running".to_owned()), what: What::Sandbox(boat) })
    }

    /// Becomes a sandbox's main side now, and not when it has to.
    pub(crate) fn attach(self: &Arc<Self>, selector: &str) -> Result<Remote> {
        let remote = self.processor(selector)?;
        match &remote.what {
            What::Sandbox(boat) => boat.crew().map(drop)?,
            What::Linux(driven) if driven.state()? == "detached" => driven.start()?,
            What::Linux(_) => {}
        }
        Ok(remote)
    }

    /// A remote that the daemon has lent out.
    pub(crate) fn over(self: &Arc<Self>, name: &str, lease: OwnedFd) -> Result<Remote> {
        let boat = Boat::over(self, name, lease)?;
        Ok(Remote { info: sandbox(name.to_owned(), "running".to_owned()), what: What::Sandbox(boat) })
    }

    /// The main sides that this is.
    fn helms(&self) -> Vec<Arc<Helm>> {
        self.crews().values().filter_map(|(helm, _)| helm.upgrade()).collect()
    }

    fn crew(&self, name: &str) -> Option<Crew> {
        let crews = self.crews();
        let (helm, outlet) = crews.get(name)?;
        Some(Crew { helm: helm.upgrade()?, outlet: outlet.clone() })
    }

    fn keep(&self, name: &str, crew: &Crew) {
        let mut crews = self.crews();
        crews.retain(|_, (helm, _)| helm.strong_count() > 0);
        crews.insert(name.to_owned(), (Arc::downgrade(&crew.helm), crew.outlet.clone()));
    }

    fn forget(&self, name: &str) {
        self.crews().remove(name);
    }

    fn crews(&self) -> MutexGuard<'_, HashMap<String, (Weak<Helm>, Outlet)>> {
        // Nothing in there is ever half done.
        self.crews.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sandbox(name: String, state: String) -> Info {
    Info { name, kind: "sandbox".to_owned(), state }
}

/// The same call on whichever it is.
macro_rules! on {
    ($remote:expr, $one:ident => $call:expr) => {
        match &$remote.what {
            What::Sandbox($one) => $call,
            What::Linux($one) => $call,
        }
    };
}

impl Remote {
    pub(crate) fn state(&self) -> Result<String> {
        on!(self, one => one.state())
    }

    pub(crate) fn start(&self) -> Result<()> {
        on!(self, one => one.start())
    }

    pub(crate) fn stop(&self) -> Result<()> {
        on!(self, one => one.stop())
    }

    pub(crate) fn restart(&self) -> Result<()> {
        on!(self, one => one.restart())
    }

    pub(crate) fn detach(&self) -> Result<()> {
        on!(self, one => one.detach())
    }

    pub(crate) fn remove(&self) -> Result<()> {
        match &self.what {
            What::Sandbox(boat) => boat.remove(),
            What::Linux(_) => {
                Err(Error::unsupported("what Linux drives is there as long as Linux says so; stop it"))
            }
        }
    }

    pub(crate) fn services(&self) -> Result<Vec<Service>> {
        on!(self, one => one.services())
    }

    pub(crate) fn open(&self, service: &str, asked: OpenOptions) -> Result<Endpoint> {
        match &self.what {
            What::Sandbox(boat) => boat.open(service, asked).map(Endpoint::Rings),
            What::Linux(driven) => driven.open(service, asked).map(Endpoint::Node),
        }
    }

    pub(crate) fn open_at(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        asked: OpenOptions,
    ) -> Result<Endpoint> {
        match &self.what {
            What::Sandbox(boat) => boat.open_at(device, local, peer, asked).map(Endpoint::Rings),
            What::Linux(_) => Err(Error::unsupported("the kernel opens endpoints of services alone")),
        }
    }

    pub(crate) fn console(&self) -> Result<OwnedFd> {
        match &self.what {
            What::Sandbox(boat) => boat.console(),
            What::Linux(_) => Err(Error::unsupported("the kernel does not serve consoles")),
        }
    }

    pub(crate) fn log(&self) -> Result<File> {
        on!(self, one => one.log())
    }

    pub(crate) fn dump(&self, file: &File, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        match &self.what {
            What::Sandbox(boat) => boat.dump(file, progress),
            What::Linux(_) => {
                Err(Error::unsupported("the kernel makes dumps of crashes alone (devcoredump)"))
            }
        }
    }

    /// Without a daemon whoever uses a sandbox has it to himself.
    pub(crate) fn lease(&self, mode: LeaseMode) -> Result<()> {
        match (&self.what, mode) {
            (What::Sandbox(boat), LeaseMode::Exclusive) => boat.crew().map(drop),
            (What::Sandbox(_), _) => Err(Error::unsupported(format!(
                "without a daemon a remote is its main side's alone: exclusive, not {mode}"
            ))),
            (What::Linux(_), _) => Err(Error::unsupported("what Linux drives is everybody's who may use it")),
        }
    }
}
