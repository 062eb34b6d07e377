//! A peer in another process that nobody here started: memory in a file that both map, and a Unix stream socket as the
//! doorbell, one byte a kick.
//!
//! That is how OpenAMP's programs meet on Linux ([`Config::openamp`]): the remote's side makes file and socket, writes
//! the resource table and listens; the main side attaches, which is what this backend does. Device addresses are
//! offsets into the file. A process cannot be started, stopped or held from outside, so a peer is attached to and given
//! up, and that is all. A [`Seat`] is the other end of such a meeting: for who wants to be the remote.

use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{EventFd, Lent, poll_until};
use sidecore_remoteproc::{Backend, BackendError, Boot, Doorbell, Event, Memory, MemoryMap, Waker};
use sidecore_wire::resource_table::Header;

use crate::Kind;
use crate::room::find_room_within;

mod seat;

pub use seat::{Guest, Seat, openamp_table, table_at};

/// The row of peers in other processes in the table of kinds.
pub const KIND: Kind =
    Kind { name: "shm", help: "a peer in another process: a file as memory, a socket as doorbell" };

/// Where a peer is met, and what lies where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that both map. It must be memory: on a tmpfs, as all of `/dev/shm` is.
    pub memory: PathBuf,
    /// Bytes of it.
    pub len: u64,
    /// The socket that the peer listens at.
    pub socket: PathBuf,
    /// Where the resource table begins in the file.
    pub table: u64,
    /// Bytes that the table has at most.
    pub table_len: u32,
    /// Where in the file the buffers go, and whatever else the table gives no address.
    pub free: Range<u64>,
    /// How long the peer may take to be there, and to write its table.
    pub patience: Duration,
}

impl Config {
    /// As OpenAMP's example programs have it on Linux (`legacy_apps/system/linux/machine/generic/platform_info.c` of its
    /// system reference).
    #[must_use]
    pub fn openamp() -> Self {
        Self {
            memory: PathBuf::from("/dev/shm/openamp.shm"),
            len: 0x8_0000,
            socket: PathBuf::from("/tmp/openamp.event.0"),
            table: 0,
            table_len: 0x1000,
            free: 0x1_0000..0x5_0000,
            patience: Duration::from_secs(5),
        }
    }
}

/// A [`Config`] as people write it. What is not there is as with OpenAMP's programs.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    memory: Option<PathBuf>,
    len: Option<u64>,
    socket: Option<PathBuf>,
    table: Option<u64>,
    table_len: Option<u32>,
    free: Option<[u64; 2]>,
}

impl Config {
    /// Reads a place from TOML: `memory` and `socket` are paths, `len`, `table` and `table-len` numbers of bytes, `free`
    /// the first byte of the room for buffers and the one behind it. What is left out is as with [`Config::openamp`].
    ///
    /// # Errors
    /// A key that there is none of, a value of another type, or something that lies outside of the memory.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let usual = Self::openamp();
        let config = Self {
            memory: file.memory.unwrap_or(usual.memory),
            len: file.len.unwrap_or(usual.len),
            socket: file.socket.unwrap_or(usual.socket),
            table: file.table.unwrap_or(usual.table),
            table_len: file.table_len.unwrap_or(usual.table_len),
            free: file.free.map_or(usual.free, |[start, end]| start..end),
            patience: usual.patience,
        };
        let table_end = config.table.checked_add(u64::from(config.table_len));
        if table_end.is_none_or(|end| end > config.len) {
            return Err(format!("table: {:#x} is not in a memory of {:#x} bytes", config.table, config.len));
        }
        if config.free.start > config.free.end || config.free.end > config.len {
            return Err(format!("free: {:#x?} is not in a memory of {:#x} bytes", config.free, config.len));
        }
        Ok(config)
    }
}

/// A peer in another process.
pub struct Shm {
    config: Config,
    memories: MemoryMap<Arc<Lent>>,
    link: Option<Meeting>,
    /// Rung by whoever ends a wait from another thread.
    waker: Arc<EventFd>,
}

/// What there is while a peer is attached to.
struct Meeting {
    memory: Arc<Lent>,
    bell: ShmDoorbell,
}

impl Shm {
    /// A peer that is yet to be attached to.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        let waker = EventFd::new(false).map_err(|refused| system("make a doorbell", refused))?;
        Ok(Self { config, memories: MemoryMap::new(), link: None, waker: Arc::new(waker) })
    }

    fn meeting(&self, operation: &'static str) -> Result<&Meeting, BackendError> {
        self.link.as_ref().ok_or(BackendError::WrongState { operation, state: "detached" })
    }

    /// Opens socket and file as soon as the peer has made them.
    fn meet(&self) -> Result<Meeting, BackendError> {
        let deadline = Instant::now() + self.config.patience;
        // The socket is there last, and the table before it.
        let socket = patiently(deadline, || connect(&self.config.socket))
            .map_err(|error| system(&format!("connect to {}", self.config.socket.display()), error))?;
        check_peer(&socket, &self.config.socket)?;
        let path = self.config.memory.display();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = patiently(deadline, || rustix::fs::open(&self.config.memory, flags, Mode::empty()))
            .map_err(|error| system(&format!("open {path}"), error))?;
        check_owner(&file, &self.config.memory)?;
        let memory = Lent::map(file.as_fd(), 0, self.config.len)
            .map_err(|refused| system(&format!("map {path}"), refused))?;
        self.await_table(&memory.region(), deadline)?;
        Ok(Meeting { memory, bell: ShmDoorbell(Some(Arc::new(socket))) })
    }

    fn await_table(&self, region: &Region<Arc<Lent>>, deadline: Instant) -> Result<(), BackendError> {
        let at = usize::try_from(self.config.table).unwrap_or(usize::MAX);
        while region.load::<u32>(at) != Ok(Header::VERSION) {
            if Instant::now() >= deadline {
                let reason = format!("no version {} at offset {at:#x} of it", Header::VERSION);
                return Err(system("find the peer's resource table", reason));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

/// How often the peer is looked for.
const STEP: Duration = Duration::from_millis(2);

/// Tries again for as long as what is wanted is not there.
fn patiently<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) if Instant::now() < deadline => {
                std::thread::sleep(STEP);
            }
            done => return done,
        }
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Whoever made the socket is another user: what looks like the peer may be anybody.
fn check_peer(socket: &OwnedFd, path: &Path) -> Result<(), BackendError> {
    let peer =
        rustix::net::sockopt::socket_peercred(socket).map_err(|error| system("ask who listens", error))?;
    check_user(peer.uid.as_raw(), path)
}

fn check_owner(file: &OwnedFd, path: &Path) -> Result<(), BackendError> {
    let stat = rustix::fs::fstat(file).map_err(|error| system("look at the shared file", error))?;
    check_user(stat.st_uid, path)
}

fn check_user(uid: u32, path: &Path) -> Result<(), BackendError> {
    let ours = rustix::process::geteuid().as_raw();
    if uid == ours || uid == 0 {
        return Ok(());
    }
    let reason = format!("{} is user {uid}'s, and we are user {ours}", path.display());
    Err(system("trust the peer", reason))
}

fn system(operation: &str, reason: impl ToString) -> BackendError {
    BackendError::System { operation: operation.to_owned(), reason: reason.to_string() }
}

fn lost(reason: &str) -> BackendError {
    BackendError::ExecutorLost { executor: "the peer", reason: reason.to_owned() }
}

fn unsupported<T>(operation: &'static str) -> Result<T, BackendError> {
    Err(BackendError::Unsupported { operation })
}

impl Backend for Shm {
    type Owner = Arc<Lent>;
    type Doorbell = ShmDoorbell;

    fn prepare(&mut self, _: &mut [Memory]) -> Result<(), BackendError> {
        unsupported("load firmware")
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        &self.memories
    }

    fn start(&mut self, _: &Boot) -> Result<(), BackendError> {
        unsupported("start")
    }

    /// A peer that is gone has stopped; another one cannot be made to.
    fn stop(&mut self) -> Result<(), BackendError> {
        if self.link.is_some() { unsupported("stop") } else { Ok(()) }
    }

    fn unprepare(&mut self) {
        let _given_up = self.detach();
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        if self.link.is_some() {
            return Err(BackendError::WrongState { operation: "attach", state: "attached" });
        }
        let meeting = self.meet()?;
        let mut memories = MemoryMap::new();
        let named = |error| BackendError::Memory { name: "shared file".to_owned(), error };
        memories.insert(DeviceAddr(0), meeting.memory.region()).map_err(named)?;
        (self.memories, self.link) = (memories, Some(meeting));
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        Some((DeviceAddr(self.config.table), self.config.table_len))
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        let Range { start, end } = self.config.free;
        let mut taken: Vec<(u64, u64)> =
            memories.iter().filter_map(|memory| Some((memory.at?.0, memory.len))).collect();
        for memory in memories.iter_mut().filter(|memory| memory.at.is_none()) {
            let Some(at) = find_room_within(start, end, &taken, memory.len, memory.align, 0) else {
                return Err(BackendError::MemoryRefused {
                    name: memory.name.clone(),
                    at: None,
                    len: memory.len,
                    reason: format!("no room for it is left between {start:#x} and {end:#x}"),
                });
            };
            taken.push((at, memory.len));
            memory.at = Some(DeviceAddr(at));
        }
        Ok(())
    }

    fn detach(&mut self) -> Result<(), BackendError> {
        self.meeting("detach")?;
        self.link = None;
        Ok(())
    }

    fn doorbell(&self) -> Self::Doorbell {
        self.link.as_ref().map_or(ShmDoorbell(None), |meeting| meeting.bell.clone())
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let Meeting { memory, bell: ShmDoorbell(Some(socket)) } = self.meeting("wait")? else {
            return Err(BackendError::WrongState { operation: "wait", state: "detached" });
        };
        // Bytes that came earlier are a kick as good as any: what is armed for now may have come before.
        if ready() {
            return Ok(Some(Event::Kick));
        }
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)];
        poll_until(&mut fds, deadline).map_err(|refused| system("wait for the peer", refused))?;
        let [rung, woken] = fds.map(|fd| !fd.revents().is_empty());
        if woken {
            self.waker.answer();
        }
        let gone = if memory.is_lost() {
            Some(lost("its file was cut short under us"))
        } else if rung && !drain(socket) {
            Some(lost("it closed the socket"))
        } else {
            None
        };
        match gone {
            None => Ok((rung || woken).then_some(Event::Kick)),
            Some(error) => {
                self.link = None;
                Err(error)
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        let waker = Arc::clone(&self.waker);
        Some(Arc::new(move || waker.ring()))
    }
}

/// Takes the kicks that came, all of which are one; `false` where the peer is gone. A flood has to wait its turn.
fn drain(socket: &OwnedFd) -> bool {
    let mut bytes = [0_u8; 4096];
    match rustix::net::recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
        Ok((0, _)) => false,
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

/// Rings a peer: one byte through the socket. Nothing happens once the peer is given up.
#[derive(Clone, Debug)]
pub struct ShmDoorbell(Option<Arc<OwnedFd>>);

impl Doorbell for ShmDoorbell {
    fn ring(&self, _notify_id: u32) {
        if let Some(socket) = &self.0 {
            // One that does not fit joins those that the peer has not looked at; a peer that is gone hears of nothing.
            let _ = rustix::net::send(socket, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_toml_and_what_is_left_out_is_as_usual() {
        let config =
            Config::parse("memory = \"/dev/shm/x\"\nlen = 0x1000\ntable-len = 256\nfree = [512, 4096]")
                .unwrap();
        let usual = Config::openamp();
        assert_eq!((config.len, config.table_len, config.free), (0x1000, 256, 512..4096));
        assert_eq!((config.socket, config.table), (usual.socket, 0));
        assert_eq!(Config::parse("").unwrap(), Config::openamp());
    }

    #[test]
    fn a_place_that_cannot_be_is_refused_by_name() {
        for (text, part) in [
            ("len = 16", "table: 0x0"),
            ("table = 0x7ffff", "table: 0x7ffff"),
            ("table = 0xffffffffffffff", "table"),
            ("free = [10, 5]", "free"),
            ("free = [0, 0x80001]", "free"),
            ("size = 1", "size"),
            ("len = -1", "len"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
