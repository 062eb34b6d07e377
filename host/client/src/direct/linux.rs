//! A remote processor that Linux drives: what is left to a program is to say start and stop, and to open endpoints.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use sidecore_backends::sysfs::{self, Remoteproc, SysfsError};

use super::Places;
use crate::codes;
use crate::error::{Error, Result};
use crate::options::{Info, OpenOptions, Service};

/// The longest message that the kernel's buffers take, in bytes: 512 less the header.
const MAX_PAYLOAD: usize = 496;

/// Bytes of the longest message that a header can tell of.
const LONGEST: usize = 65536;

/// How often a buffer is asked for: the kernel does not tell when there is one.
const LOOK: Duration = Duration::from_millis(1);

/// All of them, with those that do not say what they are doing.
pub(crate) fn all(places: &Places) -> Result<Vec<Info>> {
    match Remoteproc::all(&places.roots) {
        Ok(all) => Ok(all.iter().map(info).collect()),
        Err(SysfsError::NoClass(_)) => Ok(Vec::new()),
        Err(error) => Err(of_sysfs(&error)),
    }
}

fn info(remote: &Remoteproc) -> Info {
    let name = remote.name().ok().filter(|name| !name.is_empty());
    Info {
        // Not every kernel has them.
        name: name.unwrap_or_else(|| remote.id().to_owned()),
        kind: format!("linux:{}", remote.id()),
        state: remote.state().map(|state| state.to_string()).unwrap_or_default(),
    }
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Driven {
    remote: Remoteproc,
    places: Places,
}

impl Driven {
    pub(crate) fn find(places: &Places, id: &str) -> Result<Self> {
        let remote = Remoteproc::find(&places.roots, id).map_err(|error| of_sysfs(&error))?;
        Ok(Self { remote, places: places.clone() })
    }

    pub(crate) fn state(&self) -> Result<String> {
        self.remote.state().map(|state| state.to_string()).map_err(|error| of_sysfs(&error))
    }

    pub(crate) fn start(&self) -> Result<()> {
        self.remote.start().map_err(|error| of_sysfs(&error))
    }

    pub(crate) fn stop(&self) -> Result<()> {
        self.remote.stop().map_err(|error| of_sysfs(&error))
    }

    pub(crate) fn restart(&self) -> Result<()> {
        if self.state()? != "offline" {
            self.stop()?;
        }
        self.start()
    }

    pub(crate) fn detach(&self) -> Result<()> {
        self.remote.detach().map_err(|error| of_sysfs(&error))
    }

    pub(crate) fn services(&self) -> Result<Vec<Service>> {
        let channels = self.remote.channels().map_err(|error| of_sysfs(&error))?;
        // The kernel does not number devices; all are of one remote.
        let of =
            |channel: sysfs::Channel| Service { device: 0, name: channel.name, address: channel.destination };
        Ok(channels.into_iter().map(of).collect())
    }

    pub(crate) fn open(&self, service: &str, asked: OpenOptions) -> Result<Node> {
        let endpoint = self.remote.open(service, asked.timeout).map_err(|error| of_sysfs(&error))?;
        Ok(Node { endpoint })
    }

    /// The first of its trace buffers, as the kernel has it.
    pub(crate) fn log(&self) -> Result<File> {
        let traces = self.remote.traces().map_err(|error| of_sysfs(&error))?;
        let first = traces.first().ok_or_else(|| Error::unsupported("the firmware has no trace buffer"))?;
        let folder = self.places.roots.debug.join("remoteproc").join(self.remote.id());
        let path = folder.join(first);
        File::open(&path).map_err(|error| Error::system(format!("open {}", path.display()), error))
    }
}

/// An endpoint of the kernel's.
pub(crate) struct Node {
    endpoint: sysfs::Endpoint,
}

impl Node {
    /// The kernel does not say which address it gave.
    pub(crate) fn address(&self) -> u32 {
        sidecore_dbus::ADDRESS_ANY
    }

    pub(crate) fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        if message.len() > MAX_PAYLOAD {
            return Err(Error::TooLong { len: message.len(), max: MAX_PAYLOAD });
        }
        match self.endpoint.try_send(message) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Full),
            Err(error) => Err(of_sysfs(&error)),
        }
    }

    pub(crate) fn send(&self, message: &[u8], deadline: Option<Instant>) -> Result<()> {
        loop {
            match self.try_send(message) {
                Err(Error::Full) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    thread::sleep(LOOK)
                }
                other => return other,
            }
        }
    }

    pub(crate) fn receive_into(&self, to: &mut [u8], deadline: Option<Instant>) -> Result<Option<usize>> {
        let rest =
            || deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        // What is not for ever is what an instant can hold.
        let within = rest().min(Duration::from_secs(365 * 24 * 60 * 60));
        self.endpoint.receive(to, within).map_err(|error| of_sysfs(&error))
    }

    pub(crate) fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        self.receive(Some(Instant::now()))
    }

    pub(crate) fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        self.receive_into(to, Some(Instant::now()))
    }

    pub(crate) fn receive(&self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>> {
        let mut room = vec![0; LONGEST];
        let len = self.receive_into(&mut room, deadline)?;
        Ok(len.map(|len| room[..len].to_vec()))
    }

    pub(crate) fn poll(&self, deadline: Option<Instant>) -> Result<bool> {
        use rustix::event::{PollFd, PollFlags};
        let mut fds = [PollFd::new(&self.endpoint, PollFlags::IN)];
        Ok(sidecore_os::poll_until(&mut fds, deadline)? > 0)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.endpoint.as_fd()
    }
}

/// What the kernel's refusal means for a client.
pub(crate) fn of_sysfs(error: &SysfsError) -> Error {
    let why = error.to_string();
    match error {
        SysfsError::NoClass(_) | SysfsError::NoSuch { .. } => Error::NotFound { why },
        SysfsError::Denied { .. } => Error::NotAuthorized { action: None, why },
        SysfsError::NoChannel { .. } => Error::NotAnnounced { why },
        SysfsError::NoControl { .. } => Error::Unsupported { why },
        SysfsError::Gone { .. } => Error::Ended { code: codes::ENDPOINT_ENDED, why },
        _ => Error::Failed { code: codes::FAILED, why },
    }
}
