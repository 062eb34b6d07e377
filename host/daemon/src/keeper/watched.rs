//! A descriptor that ends the keeper's waits, for as long as there is something to do when it does.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use sidecore_os::Errno;

/// Which one it was is of no interest: all of them have a turn.
const ANYBODY: EventData = EventData::new_u64(0);

/// What is waited for on a descriptor; nothing while its end could not be acted on, or would be told again and again.
#[derive(Debug, Default)]
pub(super) struct Watched(Option<EventFlags>);

impl Watched {
    /// Waits for something to read.
    pub(super) fn new(poll: &OwnedFd, fd: impl AsFd) -> Result<Self, Errno> {
        epoll::add(poll, fd, ANYBODY, EventFlags::IN)?;
        Ok(Self(Some(EventFlags::IN)))
    }

    /// Waits for this from now on.
    pub(super) fn set(&mut self, poll: &OwnedFd, fd: impl AsFd, wanted: Option<EventFlags>) {
        let changed = match (self.0, wanted) {
            (before, now) if before == now => return,
            (None, Some(now)) => epoll::add(poll, fd, ANYBODY, now),
            (Some(_), Some(now)) => epoll::modify(poll, fd, ANYBODY, now),
            (_, None) => epoll::delete(poll, fd),
        };
        if changed.is_ok() {
            self.0 = wanted;
        }
    }
}
