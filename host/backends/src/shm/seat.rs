//! The remote's side of a meeting: it makes file and socket, writes the resource table, and listens for main sides.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sidecore_mem::{AddressMap, DeviceAddr, MapError, Region};
use sidecore_os::{EventFd, Lent, poll_until};
use sidecore_remoteproc::{BackendError, Waker};

use super::place::OwnTable;
use super::{Config, ShmDoorbell, check_owner, check_peer, drain, lost, system};

/// A place at which main sides meet a remote, one after the other: a file that is memory, and a socket.
///
/// A socket that was left behind is taken over, as is a file that is this user's own: a main side may have made it
/// already and be waiting for the socket, as OpenAMP's do. Both are removed at the end, if they are still ours.
#[derive(Debug)]
pub struct Seat {
    config: Config,
    memory: Arc<Lent>,
    /// Locked, so that no other remote sits here; and what it was, to be removed at the end.
    file: (OwnedFd, Stat),
    waker: Arc<EventFd>,
    /// In the place of the resource table, where main sides know of none.
    own: Option<OwnTable>,
    /// Whom to listen for, where nobody is there.
    listener: Option<Listener>,
}

impl Seat {
    /// Makes the file, as long as the configuration says and all zeros.
    ///
    /// # Errors
    /// There is something else under its name, or somebody else's file; no memory, or no descriptors left.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        if config.base != 0 {
            return Err(BackendError::Unsupported { operation: "be a remote at a place with a base" });
        }
        let path = config.memory.display();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::open(&config.memory, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| system(&format!("make {path}"), error))?;
        check_owner(&file, &config.memory)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| system("look at the shared file", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(system(&format!("make {path}"), "there is something that is no file"));
        }
        // Before anything of it is changed: another remote may be at work here. A lock of records, for main sides take the
        // other kind (flock) while they look at the file, as those of OpenAMP do.
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| system(&format!("take {path}"), "another remote sits there"))?;
        if u64::try_from(stat.st_size).is_ok_and(|size| size < config.len) {
            rustix::fs::ftruncate(&file, config.len)
                .map_err(|error| system(&format!("size {path}"), error))?;
        }
        let memory = Lent::map(file.as_fd(), 0, config.len)
            .map_err(|refused| system(&format!("map {path}"), refused))?;
        let waker = EventFd::new(false).map_err(|refused| system("make a doorbell", refused))?;
        Ok(Self { config, memory, file: (file, stat), waker: Arc::new(waker), own: None, listener: None })
    }

    /// All of the memory.
    #[must_use]
    pub fn region(&self) -> Region<Arc<Lent>> {
        self.memory.region()
    }

    /// The memory as a remote sees it: device addresses are offsets.
    ///
    /// # Errors
    /// None that can happen: it is one window, and the first.
    pub fn map<const W: usize>(&self) -> Result<AddressMap<Arc<Lent>, W>, MapError> {
        let mut map = AddressMap::new();
        map.insert(DeviceAddr(0), self.memory.region())?;
        Ok(map)
    }

    /// Where it is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Ends a wait from another thread, for one time.
    #[must_use]
    pub fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || waker.ring())
    }

    /// The resource table, and where it lies: in the memory, or where there is none for main sides, in memory of our own.
    ///
    /// # Errors
    /// [`Seat::open`] was not called before.
    pub fn table(&self) -> Result<(Region<Arc<Lent>>, DeviceAddr), BackendError> {
        match (&self.own, self.config.table) {
            (Some(own), _) => Ok((own.region(), OwnTable::AT)),
            (None, Some(at)) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let region = self.memory.region();
                let part = region.slice(at, region.len().saturating_sub(at));
                let part = part.map_err(|error| system("find the resource table", error))?;
                Ok((part, DeviceAddr(at as u64)))
            }
            (None, None) => Err(BackendError::WrongState { operation: "find the table", state: "closed" }),
        }
    }

    /// Clears the memory and writes the table; then makes the socket, so that main sides find both.
    ///
    /// # Errors
    /// The table does not fit; the file was cut short; somebody listens at the socket, or it is no socket, or
    /// whatever else forbids one there.
    pub fn open(&mut self, table: &[u8]) -> Result<(), BackendError> {
        self.open_with(table, &[])
    }

    /// As [`Seat::open`], with bytes at other places of the memory, as if somebody had left them there.
    ///
    /// # Errors
    /// As for [`Seat::open`]; or they leave the memory.
    pub fn open_with(&mut self, table: &[u8], litter: &[(u64, Vec<u8>)]) -> Result<(), BackendError> {
        self.listener = None;
        // Nobody can come before it listens; and whoever listens there now keeps the memory as it is.
        let listener = Listener::bind(&self.config.socket)?;
        let region = self.memory.region();
        let cleared = region.clear(0, region.len());
        cleared.map_err(|error| system("clear the shared file", error))?;
        self.own = None;
        match self.config.table.map(usize::try_from) {
            None => self.own = Some(OwnTable::new(table)?),
            Some(_) if table.len() > self.config.table_len as usize => {
                let reason = format!("it has {} bytes, its place {}", table.len(), self.config.table_len);
                return Err(system("write the resource table", reason));
            }
            Some(at) => {
                let written = region.write(at.unwrap_or(usize::MAX), table);
                written.map_err(|error| system("write the resource table", error))?;
            }
        }
        for (at, bytes) in litter {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            region.write(at, bytes).map_err(|error| system("write into the shared file", error))?;
        }
        self.check_memory()?;
        rustix::net::listen(&listener.fd, 4).map_err(|error| system("listen for main sides", error))?;
        self.listener = Some(listener);
        Ok(())
    }

    /// The next main side, and nobody is listened for any more: the memory is for one. `None` where `timeout` is over,
    /// or the waker woke.
    ///
    /// # Errors
    /// [`Seat::open`] was not called before, or the system has no memory for it.
    pub fn accept(&mut self, timeout: Option<Duration>) -> Result<Option<Guest>, BackendError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let Some(listener) = &self.listener else {
            return Err(BackendError::WrongState { operation: "accept", state: "closed" });
        };
        loop {
            let mut fds =
                [PollFd::new(&listener.fd, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)];
            poll_until(&mut fds, deadline).map_err(|refused| system("wait for a main side", refused))?;
            let [came, woken] = fds.map(|fd| !fd.revents().is_empty());
            if woken {
                self.waker.answer();
            }
            if woken || !came {
                return Ok(None);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&listener.fd, flags) {
                // Somebody else's: shown out, and the next one may be better.
                Ok(socket) if check_peer(&socket, &self.config.socket).is_err() => {}
                Ok(socket) => {
                    self.listener = None;
                    return Ok(Some(Guest {
                        memory: Arc::clone(&self.memory),
                        socket: Arc::new(socket),
                        waker: Arc::clone(&self.waker),
                    }));
                }
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                Err(error) => return Err(system("accept a main side", error)),
            }
        }
    }

    fn check_memory(&self) -> Result<(), BackendError> {
        if self.memory.is_lost() { Err(lost("its file was cut short under us")) } else { Ok(()) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        remove_ours(&self.config.memory, &self.file.1);
    }
}

/// A main side that came to a [`Seat`].
#[derive(Debug)]
pub struct Guest {
    memory: Arc<Lent>,
    socket: Arc<OwnedFd>,
    waker: Arc<EventFd>,
}

impl Guest {
    /// What rings it.
    #[must_use]
    pub fn doorbell(&self) -> ShmDoorbell {
        ShmDoorbell(Some(Arc::clone(&self.socket)))
    }

    /// Sleeps until it kicks, the waker wakes, or `timeout` is over; whether it kicked.
    ///
    /// # Errors
    /// It is gone ([`BackendError::ExecutorLost`]): it closed the socket, or cut the file short.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, BackendError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut fds = [PollFd::new(&*self.socket, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)];
        poll_until(&mut fds, deadline).map_err(|refused| system("wait for the main side", refused))?;
        let [rung, woken] = fds.map(|fd| !fd.revents().is_empty());
        if woken {
            self.waker.answer();
        }
        if self.memory.is_lost() {
            return Err(lost("its file was cut short under us"));
        }
        if rung && !drain(&self.socket) {
            return Err(lost("it closed the socket"));
        }
        Ok(rung)
    }
}

/// A socket that main sides connect to.
#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    path: std::path::PathBuf,
    stat: Option<Stat>,
}

impl Listener {
    fn bind(path: &Path) -> Result<Self, BackendError> {
        let what = format!("make a socket at {}", path.display());
        let cannot = |error: Errno| system(&what, error);
        let address = SocketAddrUnix::new(path).map_err(cannot)?;
        clear(path, &address).map_err(|reason| system(&what, reason))?;
        let fd = stream().map_err(cannot)?;
        // The mode that the file will have; there is no moment at which others could connect.
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(cannot)?;
        rustix::net::bind(&fd, &address).map_err(cannot)?;
        Ok(Self { fd, path: path.to_owned(), stat: rustix::fs::lstat(path).ok() })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(stat) = &self.stat {
            remove_ours(&self.path, stat);
        }
    }
}

fn stream() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes a socket at which nobody listens any more, if it is ours to remove.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), String> {
    let Ok(stat) = rustix::fs::lstat(path) else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err("there is something that is no socket".to_owned());
    }
    let ours = rustix::process::geteuid().as_raw();
    if stat.st_uid != ours {
        return Err(format!("the socket there is user {}'s, and we are user {ours}", stat.st_uid));
    }
    let probe = stream().map_err(|error| error.to_string())?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path).map_err(|error| error.to_string()),
        _ => Err("somebody listens there".to_owned()),
    }
}

/// Removes a file unless it is somebody else's by now.
fn remove_ours(path: &Path, ours: &Stat) {
    let is_ours = |stat: Stat| (stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino);
    if rustix::fs::lstat(path).is_ok_and(is_ours) {
        // Who cannot remove it leaves it: the next one takes it over.
        let _ = rustix::fs::unlink(path);
    }
}
