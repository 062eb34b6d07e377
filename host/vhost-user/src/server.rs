//! The socket, the wait, and one front end after the other.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sidecore_os::{EventFd, Refused, poll_until};
use sidecore_wire::features;

use crate::connection::{Connection, Input};
use crate::session::Session;
use crate::{Channel, Fault};

/// Messages that are taken before the rings get a turn.
const MESSAGES_A_TURN: usize = 32;

/// How often rings are looked at whose driver does not kick.
const LOOK: Duration = Duration::from_millis(1);

/// How long a front end that broke the rules keeps the next one waiting: it may be itself, at once and for ever.
const PAUSE: Duration = Duration::from_millis(10);

/// For how long a front end is served after its guest was told of the end. Whoever sees the connection close may look at
/// nothing that came before: User-Mode Linux reads its calls to the end and, finding that, handles none of them.
const PARTING: Duration = Duration::from_millis(500);

/// One rpmsg device at one socket, for one front end after the other.
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
    /// The socket's file, to be removed at the end.
    file: Option<(PathBuf, Stat)>,
    channels: Vec<Channel>,
    stop: Arc<EventFd>,
}

/// Ends [`Server::serve`] from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<EventFd>);

impl Stopper {
    /// Has the server tell its guest that the channels go, and return. For good: it serves nobody afterwards.
    pub fn stop(&self) {
        self.0.ring();
    }
}

/// Something that happened at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A front end came.
    Connected,
    /// The guest's driver is there and its rings are at work.
    Started {
        /// The features in use, those of vhost-user among them.
        features: u64,
        /// The driver used them before, and has only been standing still.
        is_resumed: bool,
    },
    /// The rings stand still: the front end took them away, changes something about them, or the guest started anew.
    Stopped,
    /// The front end asked for something in vain, and was told so.
    Refused {
        /// What it asked for.
        request: &'static str,
        /// Why.
        fault: Fault,
    },
    /// The rings are of no use until the driver is reset.
    Broken {
        /// Why.
        fault: Fault,
    },
    /// Answers were dropped that are longer than the guest's receive buffers.
    Dropped {
        /// How many since this was told last.
        count: u64,
    },
    /// The front end went, or was shown out.
    Disconnected {
        /// What it did wrong; nothing where it just went.
        fault: Option<Fault>,
    },
}

impl Event {
    /// Whether something went wrong.
    #[must_use]
    pub const fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Broken { .. }
                | Self::Dropped { .. }
                | Self::Disconnected { fault: Some(_) }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("a front end connected"),
            Self::Started { features, is_resumed } => {
                let how = if *is_resumed { "goes on" } else { "is up" };
                // The bit of vhost-user's own is none of the driver's.
                write!(f, "the guest's link {how} ({})", features::names(features & !(1 << 30)))
            }
            Self::Stopped => f.write_str("the guest's link stands still"),
            Self::Refused { request, fault } => write!(f, "refused {request}: {fault}"),
            Self::Broken { fault } => write!(f, "the guest's link is broken: {fault}"),
            Self::Dropped { count } => write!(f, "dropped {count} answers longer than the guest's buffers"),
            Self::Disconnected { fault: None } => f.write_str("the front end went"),
            Self::Disconnected { fault: Some(fault) } => write!(f, "the front end was disconnected: {fault}"),
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct BindError {
    what: &'static str,
    error: io::Error,
}

impl BindError {
    fn new(what: &'static str, error: impl Into<io::Error>) -> Self {
        Self { what, error: error.into() }
    }
}

impl Server {
    /// Makes a socket for front ends of this user. One that a process left behind which is gone is taken over.
    ///
    /// # Errors
    /// Somebody listens there already, there is something else of that name, the path has more than 107 bytes, or
    /// whatever else forbids it.
    pub fn bind(path: &Path, channels: Vec<Channel>) -> Result<Self, BindError> {
        let address = SocketAddrUnix::new(path).map_err(|errno| BindError::new("use the path", errno))?;
        clear(path, &address)?;
        let make = |errno: Errno| BindError::new("make a socket", errno);
        let listener = socket().map_err(make)?;
        // The mode that the file will have; there is no moment at which others could connect.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR).map_err(make)?;
        rustix::net::bind(&listener, &address).map_err(|errno| BindError::new("bind", errno))?;
        rustix::net::listen(&listener, 4).map_err(|errno| BindError::new("listen", errno))?;
        let stop = EventFd::new(false);
        let stop = stop.map_err(|refused| BindError::new(refused.operation, refused.errno))?;
        let file = rustix::fs::lstat(path).ok().map(|stat| (path.to_owned(), stat));
        Ok(Self { listener, file, channels, stop: Arc::new(stop) })
    }

    /// What ends [`Server::serve`].
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Serves front ends until it is stopped, and says what happens. Others that connect meanwhile wait until the
    /// first one goes.
    ///
    /// # Errors
    /// The system has no memory or descriptors left. No front end can cause it alone.
    pub fn serve(&mut self, on_event: &mut dyn FnMut(&Event)) -> Result<(), Refused> {
        loop {
            let wanted =
                [PollFd::new(&*self.stop, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
            let [stop, _] = wait(wanted, None)?;
            if stop {
                return Ok(());
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fault = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => {
                    on_event(&Event::Connected);
                    let fault = self.converse(Connection::new(socket), on_event)?;
                    on_event(&Event::Disconnected { fault: fault.clone() });
                    fault
                }
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => None,
                Err(errno) => return Err(Refused { operation: "accept a front end (accept4)", errno }),
            };
            if fault.is_some() {
                wait([PollFd::new(&*self.stop, PollFlags::IN)], Some(Instant::now() + PAUSE))?;
            }
        }
    }

    /// Serves one front end until it goes, and answers what it did wrong, if anything.
    fn converse(
        &mut self,
        mut connection: Connection,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Option<Fault>, Refused> {
        let mut session = Session::new(&mut self.channels);
        let mut parting: Option<Instant> = None;
        loop {
            if parting.is_some_and(|end| Instant::now() >= end) {
                return Ok(None);
            }
            let ended = step(&mut connection, &mut session);
            session.events().for_each(|event| on_event(&event));
            let next = match ended {
                Ok(Step::Wait) if session.is_silent() => Some(Instant::now() + LOOK),
                Ok(Step::Wait) => None,
                Ok(Step::More) => Some(Instant::now()),
                Ok(Step::End) => return Ok(None),
                Err(fault) => return Ok(Some(fault)),
            };
            let toward = if connection.is_waiting() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let mut wanted = vec![PollFd::new(&connection, toward)];
            wanted.extend(session.kicks().map(|kick| PollFd::from_borrowed_fd(kick, PollFlags::IN)));
            wanted.extend(session.full().map(|full| PollFd::from_borrowed_fd(full, PollFlags::OUT)));
            let next = match parting {
                Some(end) => Some(next.map_or(end, |next| next.min(end))),
                None => {
                    wanted.push(PollFd::new(&*self.stop, PollFlags::IN));
                    next
                }
            };
            poll_until(&mut wanted, next)?;
            let is_stopped = wanted.last().is_some_and(|stop| !stop.revents().is_empty());
            if parting.is_none() && is_stopped {
                session.say_goodbye();
                parting = Some(Instant::now() + PARTING);
            }
        }
    }
}

/// What is to be done after a step.
enum Step {
    Wait,
    More,
    End,
}

/// Takes what the front end sent, then what the guest did. Neither keeps the other waiting for long.
fn step(connection: &mut Connection, session: &mut Session<'_>) -> Result<Step, Fault> {
    connection.flush()?;
    let mut more = true;
    for _ in 0..MESSAGES_A_TURN {
        match connection.receive()? {
            Input::Message(message) => {
                let request = message.header.request;
                // Answered before the rings are worked: the front end may be waiting under a lock.
                if let Some(payload) = session.handle(message)? {
                    connection.reply(request, &payload)?;
                }
            }
            Input::Nothing => {
                more = false;
                break;
            }
            Input::End => return Ok(Step::End),
        }
    }
    more |= session.turn()?;
    Ok(if more { Step::More } else { Step::Wait })
}

/// Waits for any of them, and tells which are ready.
fn wait<const N: usize>(
    mut wanted: [PollFd<'_>; N],
    deadline: Option<Instant>,
) -> Result<[bool; N], Refused> {
    poll_until(&mut wanted, deadline)?;
    Ok(wanted.map(|fd| !fd.revents().is_empty()))
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes a socket at which nobody listens any more.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let Ok(stat) = rustix::fs::lstat(path) else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(BindError::new("there is something that is no socket", Errno::EXIST));
    }
    let probe = socket().map_err(|errno| BindError::new("make a socket", errno))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            rustix::fs::unlink(path).map_err(|errno| BindError::new("remove the socket that was left", errno))
        }
        _ => Err(BindError::new("somebody listens there", Errno::ADDRINUSE)),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some((path, ours)) = &self.file else { return };
        // Unless it is somebody else's by now.
        let is_ours = |stat: Stat| (stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino);
        if rustix::fs::lstat(path.as_path()).is_ok_and(is_ours) {
            // Who cannot remove it leaves it: the next one takes it over.
            let _ = rustix::fs::unlink(path.as_path());
        }
    }
}
