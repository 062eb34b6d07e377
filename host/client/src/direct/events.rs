//! What happens to remotes whose main side is this program, for those of it who listen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};
use sidecore_os::{EventFd, poll_until};
use sidecore_processor::{Ended, Event as Happened};

use super::Direct;
use super::helm::Helm;
use crate::error::Result;
use crate::options::{Detail, Event};

/// Events that wait for one listener at most; the oldest ones go.
const WAITING: usize = 1024;

/// All who listen.
#[derive(Default)]
pub(crate) struct Hub {
    listeners: Mutex<Vec<Weak<Queue>>>,
    count: AtomicUsize,
}

struct Queue {
    /// That one alone.
    of: Option<String>,
    events: Mutex<VecDeque<Event>>,
    bell: EventFd,
}

/// One who listens.
pub(crate) struct Events {
    direct: Arc<Direct>,
    queue: Arc<Queue>,
}

impl Hub {
    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn tell(&self, processor: &str, happened: &Happened) {
        self.tell_all(&event(processor, happened));
    }

    pub(crate) fn tell_all(&self, event: &Event) {
        for queue in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            if queue.of.as_ref().is_none_or(|name| *name == event.processor) {
                let mut events = lock(&queue.events);
                if events.len() == WAITING {
                    events.pop_front();
                }
                events.push_back(event.clone());
                queue.bell.ring();
            }
        }
    }
}

impl Events {
    pub(crate) fn open(direct: &Arc<Direct>, of: Option<String>) -> Result<Self> {
        let queue = Arc::new(Queue { of, events: Mutex::default(), bell: EventFd::new(false)? });
        lock(&direct.hub.listeners).push(Arc::downgrade(&queue));
        direct.hub.count.fetch_add(1, Ordering::Relaxed);
        Ok(Self { direct: Arc::clone(direct), queue })
    }

    /// The next one; `None` when the time is over.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Result<Option<Event>> {
        self.wait(deadline)?;
        Ok(self.take())
    }

    /// The next one, if there is one.
    pub(crate) fn take(&self) -> Option<Event> {
        lock(&self.queue.events).pop_front()
    }

    /// Waits until there is one, or the time is over.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<()> {
        loop {
            self.queue.bell.answer();
            // One who listens is one who looks: there may be nobody else.
            let helms: Vec<Arc<Helm>> = self.direct.helms();
            for helm in &helms {
                helm.watch();
                helm.look();
            }
            if !lock(&self.queue.events).is_empty() {
                return Ok(());
            }
            let bells = helms.iter().map(|helm| PollFd::new(helm.bell(), PollFlags::IN));
            let mut fds: Vec<_> = bells.chain([PollFd::new(&self.queue.bell, PollFlags::IN)]).collect();
            if poll_until(&mut fds, deadline)? == 0 {
                return Ok(());
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        lock(&self.direct.hub.listeners).retain(|one| !std::ptr::eq(one.as_ptr(), &raw const *self.queue));
        self.direct.hub.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An event of the kind that has no main side behind it.
pub(crate) fn simple(processor: &str, kind: &str, what: &str) -> Event {
    Event {
        time: SystemTime::now(),
        processor: processor.to_owned(),
        kind: kind.to_owned(),
        what: what.to_owned(),
        details: BTreeMap::new(),
    }
}

fn event(processor: &str, happened: &Happened) -> Event {
    let text = |text: &dyn ToString| Detail::Text(text.to_string());
    let mut details = BTreeMap::new();
    let kind = match happened {
        Happened::ServiceAnnounced { device, name, addr }
        | Happened::ServiceWithdrawn { device, name, addr } => {
            details.insert("service".to_owned(), text(name));
            details.insert("device".to_owned(), Detail::Number((*device).into()));
            details.insert("address".to_owned(), Detail::Number((*addr).into()));
            if matches!(happened, Happened::ServiceAnnounced { .. }) { "name-appeared" } else { "name-gone" }
        }
        Happened::Ended(ended) => {
            details.insert("state".to_owned(), text(&state(ended)));
            "state"
        }
        _ if happened.code().is_some() => "warning",
        _ => "notice",
    };
    if let Some(code) = happened.code() {
        details.insert("code".to_owned(), text(&code));
    }
    Event { details, ..simple(processor, kind, &happened.to_string()) }
}

/// The state that an end leads to.
pub(crate) fn state(ended: &Ended) -> &'static str {
    match ended {
        Ended::Crashed(_) | Ended::Lost(_) => "crashed",
        Ended::Detached => "detached",
        _ => "offline",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in there is ever half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
