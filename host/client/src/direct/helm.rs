//! Being the main side of a remote from any number of threads.
//!
//! One mutex keeps the main side; whoever has it does what is to be done for all endpoints. A thread that waits alone does so
//! with the mutex, looks before it sleeps, and costs nothing that a [`Processor`] by itself would not. Whoever comes meanwhile
//! wakes it. Where several wait, or somebody polls descriptors, each waits for its endpoint's own descriptor without the
//! mutex: that is readable when the remote rang, for whoever is first to look, and when a message for this endpoint is there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_backends::sandbox::Sandbox;
use sidecore_os::{EventFd, Joined, poll_until};
use sidecore_processor::{Endpoint, Processor, Waker};

use super::events::Hub;
use crate::error::{Error, Result};

/// The main side of one remote.
pub(crate) struct Helm {
    deck: Mutex<Deck>,
    waker: Waker,
    /// Readable when the remote rang that was asked to.
    bell: OwnedFd,
    /// Threads that want the mutex and did not get it at once.
    coming: AtomicUsize,
    /// Somebody waits with the mutex.
    leading: AtomicBool,
    /// Threads that wait without it.
    outside: AtomicUsize,
    /// Somebody has an endpoint's descriptor, or listens to events.
    watched: AtomicBool,
    /// The remote was given up or removed from here. Endpoints of that time still say so.
    retired: AtomicBool,
}

/// What the mutex keeps.
pub(crate) struct Deck {
    pub(crate) processor: Processor<Sandbox>,
    ports: Vec<Arc<Port>>,
    /// Told when the remote has ended.
    end_signals: Vec<Weak<Signal>>,
    hub: Weak<Hub>,
    name: String,
    lasts: Lasts,
    /// It was started from here, and not found running: it can be started again.
    pub(crate) has_firmware: bool,
}

/// What becomes of a remote without this main side.
#[derive(Debug)]
pub(crate) enum Lasts {
    /// It runs on.
    Longer,
    /// It runs on, and whose it is then is known by the end of this socket.
    Leased(#[expect(dead_code, reason = "it says something by being closed")] OwnedFd),
    /// It ends, too.
    Tied,
}

/// One endpoint, and what it is waited for by.
pub(crate) struct Port {
    endpoint: Endpoint,
    signal: Signal,
}

/// A descriptor for one who waits beside others: whoever of them looks first takes the remote's ring, and tells the rest.
pub(crate) struct Signal {
    /// Rung while something is there for this one, as far as that was looked at.
    own: EventFd,
    is_rung: AtomicBool,
    /// That, and the remote's ring.
    joined: Joined,
}

/// How long one who waits for a buffer sleeps at most where others may be told of it in his place.
const BUFFER_LOOK: Duration = Duration::from_millis(2);

/// Looks after arming, while a remote sends and sends.
const TURNS: u32 = 8;

impl Helm {
    pub(crate) fn new(
        name: &str,
        processor: Processor<Sandbox>,
        lasts: Lasts,
        hub: &Arc<Hub>,
    ) -> Result<Arc<Self>> {
        let bell = processor.remote().backend().as_fd().try_clone_to_owned();
        let bell = bell.map_err(|error| Error::system("copy a descriptor", error))?;
        let waker = processor.waker();
        let (hub, name) = (Arc::downgrade(hub), name.to_owned());
        let deck = Deck {
            processor,
            ports: Vec::new(),
            end_signals: Vec::new(),
            hub,
            name,
            lasts,
            has_firmware: false,
        };
        Ok(Arc::new(Self {
            deck: Mutex::new(deck),
            waker,
            bell,
            coming: AtomicUsize::new(0),
            leading: AtomicBool::new(false),
            outside: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }))
    }

    /// Does something as the main side.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Deck) -> T) -> T {
        let mut deck = self.lock();
        let done = act(&mut deck);
        self.leave(deck);
        done
    }

    /// Tries `attempt` until it has an answer or the time is over; waits for the remote between. `port`: whose descriptor to
    /// wait for, where others wait, too.
    pub(crate) fn until<T>(
        &self,
        port: &Port,
        deadline: Option<Instant>,
        is_for_buffer: bool,
        mut attempt: impl FnMut(&Deck) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut deck = self.lock();
        loop {
            let outcome = attempt(&deck);
            let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if is_over || !matches!(outcome, Ok(None)) {
                self.leave(deck);
                return outcome;
            }
            deck = self.wait(deck, port, deadline, is_for_buffer)?;
        }
    }

    /// Waits until the remote did something, without an endpoint.
    pub(crate) fn wait_for_news(&self, deadline: Option<Instant>) -> Result<()> {
        let deck = self.lock();
        if !self.is_shared() {
            drop(self.lead(deck, deadline));
            return Ok(());
        }
        self.outside.fetch_add(1, Ordering::SeqCst);
        self.leave(deck);
        // Somebody else may be first to look, and this one is not told.
        let look = Some(Instant::now() + BUFFER_LOOK);
        let waited =
            poll_until(&mut [PollFd::new(&self.bell, PollFlags::IN)], deadline.into_iter().chain(look).min());
        self.outside.fetch_sub(1, Ordering::SeqCst);
        self.look();
        Ok(waited.map(drop)?)
    }

    /// Has descriptors be what they say from now on.
    pub(crate) fn watch(&self) {
        if !self.watched.swap(true, Ordering::SeqCst) {
            self.with(|_| ());
        }
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Looks at what the remote did, and tells all who wait for it.
    pub(crate) fn look(&self) {
        self.with(|deck| deck.processor.wait(Some(Duration::ZERO)));
    }

    /// Readable when the remote rang, once it [is watched](Self::watch).
    pub(crate) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// A place for an endpoint.
    pub(crate) fn port(&self, deck: &mut Deck, endpoint: Endpoint) -> Result<Arc<Port>> {
        let port = Arc::new(Port { endpoint, signal: self.signal()? });
        deck.ports.push(Arc::clone(&port));
        Ok(port)
    }

    /// Readable when the remote rang, once it [is watched](Self::watch), and from its end on.
    pub(crate) fn end_signal(&self) -> Result<Arc<Signal>> {
        let signal = Arc::new(self.signal()?);
        self.with(|deck| {
            deck.end_signals.retain(|signal| signal.strong_count() > 0);
            deck.end_signals.push(Arc::downgrade(&signal));
        });
        Ok(signal)
    }

    fn signal(&self) -> Result<Signal> {
        let (own, joined) = (EventFd::new(false)?, Joined::new()?);
        joined.add(&own)?;
        joined.add(&self.bell)?;
        Ok(Signal { own, is_rung: AtomicBool::new(false), joined })
    }

    fn wait<'h>(
        &'h self,
        mut deck: MutexGuard<'h, Deck>,
        port: &Port,
        deadline: Option<Instant>,
        is_for_buffer: bool,
    ) -> Result<MutexGuard<'h, Deck>> {
        if !self.is_shared() {
            deck = self.lead(deck, deadline);
            if !self.is_shared() {
                return Ok(deck);
            }
        }
        self.outside.fetch_add(1, Ordering::SeqCst);
        self.leave(deck);
        let look = is_for_buffer.then(|| Instant::now() + BUFFER_LOOK);
        let deadline = deadline.into_iter().chain(look).min();
        let waited = poll_until(&mut [PollFd::new(port.joined(), PollFlags::IN)], deadline);
        let deck = self.lock();
        self.outside.fetch_sub(1, Ordering::SeqCst);
        // Takes what the remote rang for, and the ring.
        deck.processor.wait(Some(Duration::ZERO));
        waited?;
        Ok(deck)
    }

    /// Waits with the mutex, until somebody comes.
    fn lead<'h>(&'h self, deck: MutexGuard<'h, Deck>, deadline: Option<Instant>) -> MutexGuard<'h, Deck> {
        self.leading.store(true, Ordering::SeqCst);
        // Who comes after this look sees that somebody is to be woken.
        if !self.is_shared() {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            deck.processor.wait(rest);
        }
        self.leading.store(false, Ordering::SeqCst);
        deck
    }

    /// Whether others want the mutex, or wait without it.
    fn is_shared(&self) -> bool {
        self.coming.load(Ordering::SeqCst) > 0 || self.outside.load(Ordering::SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Deck> {
        if let Ok(deck) = self.deck.try_lock() {
            return deck;
        }
        self.coming.fetch_add(1, Ordering::SeqCst);
        if self.leading.load(Ordering::SeqCst) {
            self.waker.wake();
        }
        // A panic with the mutex leaves a processor that is as good as its own checks make it.
        let deck = self.deck.lock().unwrap_or_else(PoisonError::into_inner);
        self.coming.fetch_sub(1, Ordering::SeqCst);
        deck
    }

    /// Gives the mutex back, with everything as those expect it who wait for descriptors.
    fn leave(&self, deck: MutexGuard<'_, Deck>) {
        if self.watched.load(Ordering::SeqCst) || self.outside.load(Ordering::SeqCst) > 0 {
            deck.settle();
        }
    }
}

impl Deck {
    /// Ends an endpoint.
    pub(crate) fn close(&mut self, port: &Arc<Port>) {
        self.processor.close(port.endpoint);
        self.ports.retain(|one| !Arc::ptr_eq(one, port));
    }

    /// Rings for those endpoints that have something, and has the remote ring for what comes.
    fn settle(&self) {
        for _ in 0..TURNS {
            // What it rang for so far is looked at, which takes the ring back.
            let has_rung = self.has_rung();
            if has_rung {
                self.processor.wait(Some(Duration::ZERO));
            }
            self.tell();
            if self.processor.ended().is_some() {
                return;
            }
            if has_rung {
                continue;
            }
            self.processor.remote().backend().arm();
            if !self.processor.arm() {
                return;
            }
            self.processor.disarm();
            self.processor.poll();
        }
        // There is always more. Whoever waits looks for himself.
        self.processor.waker().wake();
    }

    fn has_rung(&self) -> bool {
        let remote = self.processor.remote();
        let mut fds = [PollFd::new(remote.backend(), PollFlags::IN)];
        poll_until(&mut fds, Some(Instant::now())).is_ok_and(|ready| ready > 0)
    }

    fn tell(&self) {
        self.ports.iter().for_each(|port| port.signal.ring(self.processor.is_ready(port.endpoint)));
        let has_ended = self.processor.ended().is_some();
        self.end_signals.iter().filter_map(Weak::upgrade).for_each(|signal| signal.ring(has_ended));
        if let Some(hub) = self.hub.upgrade().filter(|hub| hub.is_heard()) {
            std::iter::from_fn(|| self.processor.event()).for_each(|event| hub.tell(&self.name, &event));
        }
    }
}

impl Port {
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(crate) fn joined(&self) -> &Joined {
        self.signal.joined()
    }
}

impl Signal {
    pub(crate) fn joined(&self) -> &Joined {
        &self.joined
    }

    fn ring(&self, is_ready: bool) {
        // Only those who have the mutex do this.
        if self.is_rung.swap(is_ready, Ordering::Relaxed) != is_ready {
            if is_ready {
                self.own.ring();
            } else {
                self.own.answer();
            }
        }
    }
}

/// Leaves the remote running for the next main side, where it is not one that ends with this.
impl Drop for Deck {
    fn drop(&mut self) {
        if !matches!(self.lasts, Lasts::Tied) && self.processor.remote().state().is_live() {
            // What can be said against it is that its warden is gone, and the remote with it.
            let _ = self.processor.detach();
        }
    }
}
