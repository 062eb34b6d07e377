//! A peer in another process that nobody here started: memory in a file that both map, and a Unix stream socket as the
//! doorbell, one byte a kick.
//!
//! That is how OpenAMP's programs meet on Linux ([`Config::openamp`]): the remote's side makes file and socket, writes
//! the resource table and listens; the main side attaches, which is what this backend does. Device addresses are
//! offsets into the file, but where the place has a base of its own: a board's RAM that is a file is such a place, and a
//! serial line of it such a socket. A peer without a resource table ([`Config::rpmsg_lite`]) is met the same way: where its rings are,
//! the configuration says, and it is kicked for the start until it speaks. A process cannot be started, stopped or held from outside, so a peer is attached to and given
//! up, and that is all. A [`Seat`] is the other end of such a meeting: for who wants to be the remote.

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{EventFd, Lent, poll_until};
use sidecore_remoteproc::{Backend, BackendError, Boot, Doorbell, Event, Memory, MemoryMap, Waker};
use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::Header;

use crate::Kind;
use crate::room::find_room_within;
use place::OwnTable;

mod place;
mod seat;

pub use place::{Config, Rings};
pub use seat::{Guest, Seat};

/// The row of peers in other processes in the table of kinds.
pub const KIND: Kind =
    Kind { name: "shm", help: "a peer in another process: a file as memory, a socket as doorbell" };

/// A peer in another process.
pub struct Shm {
    config: Config,
    memories: MemoryMap<Arc<Lent>>,
    link: Option<Meeting>,
    /// In the place of the resource table, where the peer has none.
    own: Option<OwnTable>,
    /// Rung by whoever ends a wait from another thread.
    waker: Arc<EventFd>,
}

/// What there is while a peer is attached to.
struct Meeting {
    memory: Arc<Lent>,
    bell: ShmDoorbell,
    /// When a peer that knows the start by a kick alone was kicked last, until it says something.
    reminded: Cell<Option<Instant>>,
}

impl Shm {
    /// A peer that is yet to be attached to.
    ///
    /// # Errors
    /// No descriptors left; or there is no table, and no room for the rings.
    pub fn new(config: Config) -> Result<Self, BackendError> {
        let waker = EventFd::new(false).map_err(|refused| system("make a doorbell", refused))?;
        let own = match config.table {
            Some(_) => None,
            None => Some(OwnTable::new(&config.resource_table(F_NS as u32)?)?),
        };
        Ok(Self { config, memories: MemoryMap::new(), link: None, own, waker: Arc::new(waker) })
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
        if let Some(at) = self.config.table {
            await_table(&memory.region(), at, deadline)?;
        }
        let reminded = Cell::new(self.own.is_some().then(Instant::now));
        Ok(Meeting { memory, bell: ShmDoorbell(Some(Arc::new(socket))), reminded })
    }
}

impl Meeting {
    /// Waits for a kick, or whatever else there is; kicks a peer meanwhile that may have missed the start.
    fn wait(&self, fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<(), BackendError> {
        let cannot = |refused| system("wait for the peer", refused);
        while let Some(last) = self.reminded.get() {
            let next = last + REMINDER;
            if deadline.is_some_and(|deadline| deadline < next) {
                break;
            }
            poll_until(fds, Some(next)).map_err(cannot)?;
            if fds.iter().any(|fd| !fd.revents().is_empty()) {
                return Ok(());
            }
            self.bell.ring(0);
            self.reminded.set(Some(Instant::now()));
        }
        poll_until(fds, deadline).map(drop).map_err(cannot)
    }
}

fn await_table(region: &Region<Arc<Lent>>, at: u64, deadline: Instant) -> Result<(), BackendError> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    while region.load::<u32>(at) != Ok(Header::VERSION) {
        if Instant::now() >= deadline {
            let reason = format!("no version {} at offset {at:#x} of it", Header::VERSION);
            return Err(system("find the peer's resource table", reason));
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// How often a peer that knows the start by a kick alone is kicked until it says something.
const REMINDER: Duration = Duration::from_millis(100);

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
        memories.insert(DeviceAddr(self.config.base), meeting.memory.region()).map_err(named)?;
        if let Some(own) = &self.own {
            memories.insert(OwnTable::AT, own.region()).map_err(named)?;
        }
        (self.memories, self.link) = (memories, Some(meeting));
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        match &self.own {
            Some(own) => Some((OwnTable::AT, own.len)),
            None => Some((DeviceAddr(self.config.base + self.config.table?), self.config.table_len)),
        }
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        let (base, Range { start, end }) = (self.config.base, self.config.free.clone());
        let (start, end) = (base + start, base + end);
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
        let meeting = self.meeting("wait")?;
        let Meeting { memory, bell: ShmDoorbell(Some(socket)), .. } = meeting else {
            return Err(BackendError::WrongState { operation: "wait", state: "detached" });
        };
        // Bytes that came earlier are a kick as good as any: what is armed for now may have come before.
        if ready() {
            return Ok(Some(Event::Kick));
        }
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&*self.waker, PollFlags::IN)];
        meeting.wait(&mut fds, deadline)?;
        let [rung, woken] = fds.map(|fd| !fd.revents().is_empty());
        if woken {
            self.waker.answer();
        }
        if rung {
            meeting.reminded.set(None);
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
