//! Doorbells, and waiting for several descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

use crate::Refused;

/// A doorbell: any number of rings until it is answered count as one.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
    blocking: bool,
}

impl EventFd {
    /// A doorbell that nobody has rung. `blocking` is what plain reads of the descriptor do while nobody has; it is
    /// a property of the doorbell, not of this handle.
    ///
    /// # Errors
    /// No descriptors or no memory left.
    pub fn new(blocking: bool) -> Result<Self, Refused> {
        let mut flags = EventfdFlags::CLOEXEC;
        flags.set(EventfdFlags::NONBLOCK, !blocking);
        let fd = rustix::event::eventfd(0, flags).map_err(Refused::to("create a doorbell (eventfd)"))?;
        Ok(Self { fd, blocking })
    }

    /// Takes a descriptor that another process sent.
    ///
    /// # Errors
    /// The system does not say whether it blocks.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Refused> {
        let flags = rustix::fs::fcntl_getfl(&fd).map_err(Refused::to("look at a doorbell (F_GETFL)"))?;
        Ok(Self { fd, blocking: !flags.contains(rustix::fs::OFlags::NONBLOCK) })
    }

    /// Rings. Never sleeps on a nonblocking doorbell; on a blocking one only where 2^64 - 2 rings are unanswered.
    pub fn ring(&self) {
        // The only refusal is that so many rings are waiting that one more makes no difference.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Answers all rings so far; whether there were any. Never sleeps, unless the
    /// doorbell blocks and somebody else answers it at the same time.
    pub fn answer(&self) -> bool {
        let mut count = [0; 8];
        (!self.blocking || is_readable(&self.fd)) && rustix::io::read(&self.fd, &mut count).is_ok()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Descriptors that can be polled as one: readable while any of them is.
#[derive(Debug)]
pub struct Joined(OwnedFd);

impl Joined {
    /// Joins nothing yet.
    ///
    /// # Errors
    /// No descriptors or no memory left.
    pub fn new() -> Result<Self, Refused> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC);
        fd.map(Self).map_err(Refused::to("join descriptors (epoll_create1)"))
    }

    /// Adds one; it leaves by itself when its last copy is closed.
    ///
    /// # Errors
    /// It cannot be polled, or is in already.
    pub fn add(&self, fd: impl AsFd) -> Result<(), Refused> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
            .map_err(Refused::to("join descriptors (epoll_ctl)"))
    }

    /// Takes one out again. One that is not in is no error.
    pub fn remove(&self, fd: impl AsFd) {
        // Refusals: it is not in, or cannot be polled and so never was.
        let _ = epoll::delete(&self.0, fd);
    }
}

impl AsFd for Joined {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until one of `fds` is ready or `deadline` is over (`None`: for ever). Interruptions by signals are slept
/// through. Returns how many are ready, 0 when the time is over.
///
/// # Errors
/// The system has no memory for it.
pub fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<usize, Refused> {
    loop {
        let rest = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match rustix::event::poll(fds, rest.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.map_err(Refused::to("wait for descriptors (ppoll)")),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll_until(&mut fds, Some(Instant::now())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rings_is_answered_once() {
        for blocking in [true, false] {
            let bell = EventFd::new(blocking).unwrap();
            assert!(!bell.answer());
            bell.ring();
            bell.ring();
            assert!(bell.answer());
            assert!(!bell.answer());
        }
    }

    #[test]
    fn joined_descriptors_are_readable_while_one_of_them_is() {
        let (one, two) = (EventFd::new(false).unwrap(), EventFd::new(true).unwrap());
        let joined = Joined::new().unwrap();
        joined.add(&one).unwrap();
        joined.add(&two).unwrap();
        let ready = || poll_until(&mut [PollFd::new(&joined, PollFlags::IN)], Some(Instant::now())).unwrap();
        assert_eq!(ready(), 0);
        two.ring();
        assert_eq!(ready(), 1);
        joined.remove(&two);
        assert_eq!(ready(), 0);
        one.ring();
        assert_eq!(ready(), 1);
    }

    #[test]
    fn waiting_ends_with_the_deadline() {
        let bell = EventFd::new(false).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(poll_until(&mut [PollFd::new(&bell, PollFlags::IN)], Some(deadline)), Ok(0));
        assert!(Instant::now() >= deadline);
    }
}
