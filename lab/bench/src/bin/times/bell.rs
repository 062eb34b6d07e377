//! Doorbells as a sandbox has them: an eventfd each way, rung only while the other side says that it sleeps.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags};
use sidecore_mem::{Word, sync};
use sidecore_os::{EventFd, poll_until};
use sidecore_rpmsg::Link;
use sidecore_virtio::Notify;
use sidecore_wire::sandbox as page;

use crate::messages::Wait;
use crate::shared::{Owner, Shared, Side};

/// Rings for the other side.
pub(crate) struct Bell<'s> {
    asleep: Word<u32, Owner>,
    event: &'s EventFd,
}

impl<'s> Bell<'s> {
    /// The doorbell of the other side.
    pub(crate) fn of_peer(shared: &'s Shared) -> Result<Self> {
        let [host, remote] = &shared.bells;
        let (asleep, event) = match shared.side {
            Side::Host => (page::REMOTE_ASLEEP, remote),
            Side::Remote => (page::HOST_ASLEEP, host),
        };
        Ok(Self { asleep: shared.page.word(asleep)?, event })
    }
}

impl Notify for Bell<'_> {
    #[inline(always)]
    fn notify(&self, _queue: u16) {
        if self.asleep.load() != 0 {
            self.event.ring();
        }
    }
}

/// Waits for our own: looks for a while, then sleeps.
pub(crate) struct Waiter<'s> {
    asleep: Word<u32, Owner>,
    event: &'s EventFd,
}

/// As long as main side and firmware look before they sleep.
const SPIN: Duration = Duration::from_micros(50);
const LOOKS: usize = 256;

impl<'s> Waiter<'s> {
    pub(crate) fn new(shared: &'s Shared) -> Result<Self> {
        let [host, remote] = &shared.bells;
        let (asleep, event) = match shared.side {
            Side::Host => (page::HOST_ASLEEP, host),
            Side::Remote => (page::REMOTE_ASLEEP, remote),
        };
        Ok(Self { asleep: shared.page.word(asleep)?, event })
    }

    #[cold]
    fn sleep<T>(&self, look: &mut impl FnMut() -> Option<T>) -> Option<T> {
        self.asleep.store(1);
        // Against the other side's "publish, then see whether we sleep".
        sync::full_fence();
        let found = look();
        if found.is_none() {
            // A wait that fails is one that ends early.
            let _ = poll_until(
                &mut [PollFd::new(self.event, PollFlags::IN)],
                Some(Instant::now() + Duration::from_secs(1)),
            );
            self.event.answer();
        }
        self.asleep.store(0);
        found
    }
}

impl Wait for Waiter<'_> {
    #[inline(always)]
    fn wait<L: Link, T>(&self, link: &L, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            // Every time, and not only before sleeping: so every message comes with a notification that is wanted.
            let _look_anyway = link.arm();
            let mut since = None;
            loop {
                for _ in 0..LOOKS {
                    if let Some(found) = look() {
                        return found;
                    }
                }
                if since.get_or_insert_with(Instant::now).elapsed() > SPIN {
                    break;
                }
            }
            if let Some(found) = self.sleep(&mut look) {
                return found;
            }
        }
    }
}
