//! Messages with descriptors between processes: `SOCK_SEQPACKET` sockets.

#![allow(unsafe_code)]

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::{Refused, poll_until};

/// Most descriptors that one message carries.
const MAX_FDS: usize = 4;

/// One end of a connection that keeps message boundaries. Never sleeps but where it says so.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message that came.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the buffer that it fills.
    pub len: usize,
    /// Whether it was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// The descriptors that came with it, close-on-exec; at most four, more are closed.
    pub fds: Vec<OwnedFd>,
}

/// Who is at the other end, as the kernel saw it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process; 0 for one outside of our PID namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
}

impl Peer {
    /// Whether that is this process' own user, or root.
    pub fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn pair() -> Result<(Self, Self), Refused> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None);
        pair.map(|(a, b)| (Self(a), Self(b))).map_err(Refused::to("make a pair of sockets (socketpair)"))
    }

    /// The socket that this process was given as its standard input.
    ///
    /// # Errors
    /// It is no socket that keeps message boundaries.
    pub fn from_stdin() -> Result<Self, Refused> {
        let operation = "use the standard input as a socket";
        let stdin = std::io::stdin();
        let kind = rustix::net::sockopt::socket_type(&stdin).map_err(Refused::to(operation))?;
        if kind != SocketType::SEQPACKET {
            return Err(Refused { operation, errno: Errno::PROTOTYPE });
        }
        let fd = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(Refused::to(operation))?;
        // The end must be seen when this one is closed, so no copy may be left.
        let null = open_null()?;
        rustix::stdio::dup2_stdin(null).map_err(Refused::to(operation))?;
        Ok(Self(fd))
    }

    /// Connects to the listener `name` in the directory `dir`.
    ///
    /// # Errors
    /// `ENOENT`: no such name. `ECONNREFUSED`: its listener is gone. `EAGAIN`: its listener has no room now.
    pub fn connect(dir: BorrowedFd<'_>, name: &str) -> Result<Self, Refused> {
        let operation = "connect to a remote's socket (connect)";
        let fd = socket()?;
        let address = address(dir, name).map_err(Refused::to(operation))?;
        rustix::net::connect(&fd, &address).map_err(Refused::to(operation))?;
        Ok(Self(fd))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `EAGAIN`: the other end does not read. `EPIPE`, `ECONNRESET`: it is gone.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOBIG);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry(|| rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags)).map(drop)
    }

    /// Takes one message; `None` when the other end is closed (or sent an empty one, which nobody here does).
    ///
    /// # Errors
    /// `EAGAIN`: none is there. `ECONNRESET`: the other end went with messages of ours unread.
    pub fn receive(&self, to: &mut [u8]) -> Result<Option<Received>, Errno> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message =
            retry(|| rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(to)], &mut control, flags))?;
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        if message.bytes == 0 {
            return Ok(None);
        }
        let truncated = message.flags.contains(ReturnFlags::TRUNC);
        Ok(Some(Received { len: message.bytes, truncated, fds }))
    }

    /// Says that nothing more will come from this end; the other sees it as the end. Receiving goes on.
    pub fn finish(&self) {
        // The only refusal is that the other end is gone.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// Ends the connection for both ends, now: a copy of the descriptor that a process being started holds for a moment
    /// does not keep it open.
    pub fn hang_up(self) {
        // The only refusal is that the other end is gone.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    /// Sleeps until a message or the end is there; `false` when `deadline` is over before.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<bool, Refused> {
        Ok(poll_until(&mut [PollFd::new(&self.0, PollFlags::IN)], deadline)? > 0)
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// The system does not say.
    pub fn peer(&self) -> Result<Peer, Refused> {
        // Not by way of rustix, whose process numbers cannot be the 0 of a process that we cannot see.
        let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        let (fd, to) = (self.0.as_raw_fd(), ptr::from_mut(&mut credentials).cast());
        // SAFETY: `to` is valid for writes of `len` bytes, and any bytes are a `ucred`.
        let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &mut len) };
        if result != 0 {
            return Err(Refused::last("ask for a peer's credentials (SO_PEERCRED)"));
        }
        Ok(Peer { pid: credentials.pid, uid: credentials.uid })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// A named socket that others connect to.
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens as `name` in the directory `dir`, for this user alone.
    ///
    /// # Errors
    /// `EADDRINUSE`: the name exists. Else whatever forbids a file there.
    pub fn bind(dir: BorrowedFd<'_>, name: &str) -> Result<Self, Refused> {
        let operation = "make a remote's socket (bind)";
        let fd = socket()?;
        // The mode that the file will have; there is no moment at which others could connect.
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(Refused::to(operation))?;
        let address = address(dir, name).map_err(Refused::to(operation))?;
        rustix::net::bind(&fd, &address).map_err(Refused::to(operation))?;
        rustix::net::listen(&fd, 16).map_err(Refused::to("listen on a remote's socket (listen)"))?;
        Ok(Self(fd))
    }

    /// The next who wants to connect, if there is one.
    pub fn accept(&self) -> Option<Channel> {
        retry(|| rustix::net::accept_with(&self.0, FLAGS)).ok().map(Channel)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.0.as_raw_fd())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn socket() -> Result<OwnedFd, Refused> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)
        .map_err(Refused::to("make a socket (socket)"))
}

/// By way of the directory's descriptor: a socket's path may have 107 bytes, a directory's any number.
fn address(dir: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn open_null() -> Result<OwnedFd, Refused> {
    rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, Mode::empty())
        .map_err(Refused::to("open /dev/null"))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
