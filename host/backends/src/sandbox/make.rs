//! How a sandbox comes to be: with a warden of its own, or by finding one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sidecore_os::{Channel, Child, Entry, EventFd, Joined, Listener};
use sidecore_remoteproc::{BackendError, MemoryMap};

use super::client::{Client, system};
use super::protocol::{Request, Setup, VERSION, Wire};
use super::runtime_dir::{self, RuntimeDir};
use super::{Config, Confinement, Lifetime, Sandbox, State, WARDEN_NAME};

impl Sandbox {
    /// Makes a remote, with no memory yet: starts its warden.
    ///
    /// # Errors
    /// The warden cannot be started; the name is bad or taken; the runtime directory cannot be used although a name or
    /// a lifetime asks for it.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        if !Entry::SUPPORTED {
            return Err(BackendError::Unsupported { operation: "run firmware of this instruction set" });
        }
        let name = config.name.clone().unwrap_or_else(next_name);
        let mut sandbox = Self::bare(name, &config, State::Offline)?;
        let needs_dir = config.name.is_some() || config.lifetime != Lifetime::Tied;
        let opened = RuntimeDir::open(config.runtime_dir.as_deref());
        let listening = opened.and_then(|mut dir| dir.listen(&sandbox.name).map(|listener| (dir, listener)));
        let listener = match listening {
            Ok((dir, listener)) => {
                sandbox.dir = Some(dir);
                Some(listener)
            }
            Err(error) if needs_dir => return Err(error),
            Err(error) => {
                sandbox.findings.0.push(format!("nobody can attach: {error}"));
                None
            }
        };
        let started = sandbox.start_warden(&config, listener);
        if started.is_err() {
            // Nobody listens there any more.
            sandbox.client = None;
            sandbox.forget();
        }
        started.map(|()| sandbox)
    }

    /// The names of all remotes of this user that can be found, in order: those that were left running, and those that a
    /// main side has. `runtime_dir` is as in [`Config`].
    #[must_use]
    pub fn names(runtime_dir: Option<&Path>) -> Vec<String> {
        RuntimeDir::names(runtime_dir)
    }

    /// Finds a remote that some main side left running, by `config.name`. The next thing to do is
    /// [`attach`](sidecore_remoteproc::Backend::attach). Of the rest of `config` the runtime directory and the limits
    /// matter.
    ///
    /// # Errors
    /// There is no such remote, or it belongs to another user.
    pub fn find(config: Config) -> Result<Self, BackendError> {
        let name =
            config.name.clone().ok_or(BackendError::Unsupported { operation: "be found without a name" })?;
        // Whoever attaches takes nothing away by leaving; the warden knows whether a lease ends the remote.
        let config = Config { lifetime: Lifetime::Detached, ..config };
        let sandbox = Self::bare(name, &config, State::Found)?;
        // A look; wardens do not wait long for those who connect.
        RuntimeDir::connect(sandbox.asked_dir.as_deref(), &sandbox.name)?.1.hang_up();
        Ok(sandbox)
    }

    /// A remote that some main side left running, by a connection to its warden that somebody else [asked for](Self::ask_for):
    /// the warden may be in a directory that is closed to us. The next thing to do is
    /// [`attach`](sidecore_remoteproc::Backend::attach). `config.name` is what it is called here; of the rest the limits matter.
    ///
    /// # Errors
    /// The name is missing or bad, or the descriptor is no socket that keeps message boundaries.
    pub fn over(connection: OwnedFd, config: Config) -> Result<Self, BackendError> {
        let name = config.name.clone().ok_or(BackendError::Unsupported { operation: "be without a name" })?;
        let kind = rustix::net::sockopt::socket_type(&connection);
        if kind != Ok(rustix::net::SocketType::SEQPACKET) {
            let reason = kind.map_or_else(|errno| errno.to_string(), |_| "it is of another kind".to_owned());
            return Err(BackendError::System {
                operation: "use the connection to a warden".to_owned(),
                reason,
            });
        }
        let config = Config { lifetime: Lifetime::Detached, ..config };
        let mut sandbox = Self::bare(name, &config, State::Found)?;
        sandbox.given = Some(connection.into());
        Ok(sandbox)
    }

    /// Asks the warden of a remote that some main side left running to be taken on as its main side, on behalf of another
    /// process: whoever is given this connection has it as soon as it looks. Closing it lets the remote run on.
    ///
    /// # Errors
    /// There is no such remote, or it belongs to another user. That it has a main side already is told over the connection.
    pub fn ask_for(name: &str, runtime_dir: Option<&Path>) -> Result<OwnedFd, BackendError> {
        let (_, channel) = RuntimeDir::connect(runtime_dir, name)?;
        channel
            .send(&Request::Attach(VERSION).encode(), &[])
            .map_err(|errno| super::client::lost(format!("it does not listen ({errno})")))?;
        Ok(channel.into())
    }

    /// Ends a remote and its warden, whoever is its main side.
    ///
    /// # Errors
    /// There is no such remote, or it belongs to another user; the warden does not end.
    pub fn end(name: &str, runtime_dir: Option<&Path>) -> Result<(), BackendError> {
        let (_, channel) = RuntimeDir::connect(runtime_dir, name)?;
        let mut client = Client::new(channel, None);
        client.tell(&Request::End(VERSION).encode(), &[])?;
        match client.end() {
            true => Ok(()),
            false => Err(super::client::lost("it does not end".to_owned())),
        }
    }

    /// Without a warden.
    fn bare(name: String, config: &Config, state: State) -> Result<Self, BackendError> {
        runtime_dir::check_name(&name)?;
        let joined = Joined::new().map_err(system)?;
        let waker = EventFd::new(false).map_err(system)?;
        joined.add(&waker).map_err(system)?;
        Ok(Self {
            name,
            memory_limit: config.memory_limit,
            stack_size: config.stack_size,
            lifetime: config.lifetime,
            attached: false,
            client: None,
            asked_dir: config.runtime_dir.clone(),
            dir: None,
            given: None,
            lease: None,
            state,
            lost: String::new(),
            memories: MemoryMap::new(),
            estate: None,
            boot: None,
            joined,
            waker: Arc::new(waker),
            kicks: 0,
            halted: None,
            watched: None,
            findings: Default::default(),
        })
    }

    fn start_warden(&mut self, config: &Config, listener: Option<Listener>) -> Result<(), BackendError> {
        let mut warden_lease = None;
        if config.lifetime == Lifetime::Lease {
            let (ours, theirs) = Channel::pair().map_err(system)?;
            (self.lease, warden_lease) = (Some(ours), Some(theirs));
        }
        let log = config.log.as_ref().map(|log| crate::log::directory(&log.directory)).transpose();
        let log = log.map_err(|error| BackendError::System {
            operation: "open the directory of logs".to_owned(),
            reason: error.to_string(),
        })?;
        let setup = Setup {
            version: VERSION,
            name: self.name.clone(),
            listens: listener.is_some(),
            leased: warden_lease.is_some(),
            logs: log.is_some(),
            firmware: config.log.as_ref().map(|log| log.firmware.clone()).unwrap_or_default(),
            outlives: config.lifetime != Lifetime::Tied,
            strict: config.confinement == Confinement::Strict,
            watchdog_ms: config.watchdog.map_or(0, milliseconds),
        };
        let (channel, stdin) = Channel::pair().map_err(system)?;
        let child = Child::spawn(&config.warden, WARDEN_NAME, &[&self.name], stdin.into());
        let child = child.map_err(|refused| BackendError::System {
            operation: format!("start the warden {}", config.warden.display()),
            reason: refused.errno.to_string(),
        })?;
        let mut client = Client::new(channel, Some(child));
        self.joined.add(&client).map_err(system)?;
        let listening = listener.as_ref().zip(self.dir.as_ref());
        let listening = listening.into_iter().flat_map(|(listener, dir)| [listener.as_fd(), dir.as_fd()]);
        let fds = listening.chain(warden_lease.as_ref().map(AsFd::as_fd));
        let fds: Vec<_> = fds.chain(log.as_ref().map(AsFd::as_fd)).collect();
        client.tell(&setup.encode(), &fds)?;
        self.client = Some(client);
        Ok(())
    }
}

/// A duration in milliseconds, rounded up, and 1 at least.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
}

/// A name for a remote that has none: unique among those of this process, and so on this machine for as long as the
/// process lives.
fn next_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("remote-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
