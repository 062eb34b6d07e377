//! Who wants to be told of a remote's crashes and restarts, and may hold a restart back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All who are told of one remote. A clone is the same; it can be given to other threads.
///
/// A crash is told to each before anything is done about it. A [restart](crate::Processor::restart) waits until each has
/// [acknowledged](Client::acknowledge) it or left, as long as whoever restarts is willing to, and is told to each when it
/// is done.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    all: Mutex<All>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct All {
    clients: BTreeMap<u64, Entry>,
    next: u64,
}

#[derive(Debug, Default)]
struct Entry {
    name: String,
    notices: VecDeque<Notice>,
    /// It has not acknowledged the crash.
    owes: bool,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The remote crashed. Its endpoints are of no use any more, or not before a silent restart; a restart waits for
    /// [`Client::acknowledge`].
    Crashed,
    /// It runs again, from the beginning: endpoints are opened anew.
    Restarted,
    /// It runs again, from the beginning: endpoints are what they were, and what it had not released is sent again.
    RestartedSilently,
    /// It crashed, and stays so.
    LeftCrashed,
}

/// Notices that wait for a client at most; the oldest ones are dropped for newer ones.
const WAITING: usize = 16;

impl Clients {
    /// Has somebody told from now on. The name is for those who ask whom a restart waits for.
    #[must_use = "who drops it leaves"]
    pub fn join(&self, name: &str) -> Client {
        let mut all = self.all();
        let id = all.next;
        all.next += 1;
        all.clients.insert(id, Entry { name: name.to_owned(), ..Entry::default() });
        Client { clients: self.clone(), id }
    }

    /// Those who have not acknowledged the last crash.
    #[must_use]
    pub fn owing(&self) -> Vec<String> {
        owing(&self.all())
    }

    pub(crate) fn crashed(&self) {
        self.tell(Notice::Crashed, true);
    }

    /// What became of it.
    pub(crate) fn settled(&self, notice: Notice) {
        self.tell(notice, false);
    }

    /// Waits until nobody owes anything, at most for `patience`. Answers who still does.
    pub(crate) fn wait(&self, patience: Duration) -> Vec<String> {
        let all = self.all();
        let waited = self.0.changed.wait_timeout_while(all, patience, |all| !owing(all).is_empty());
        owing(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn tell(&self, notice: Notice, owes: bool) {
        for client in self.all().clients.values_mut() {
            client.owes = owes;
            if client.notices.len() == WAITING {
                client.notices.pop_front();
            }
            client.notices.push_back(notice);
        }
        self.0.changed.notify_all();
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Nothing in here is left half done by a panic.
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owing(all: &All) -> Vec<String> {
    all.clients.values().filter(|client| client.owes).map(|client| client.name.clone()).collect()
}

/// One who is told. Dropping it leaves: nobody waits for it any more.
#[derive(Debug)]
pub struct Client {
    clients: Clients,
    id: u64,
}

impl Client {
    /// The oldest notice that was not taken yet.
    #[must_use]
    pub fn notice(&self) -> Option<Notice> {
        self.clients.all().clients.get_mut(&self.id)?.notices.pop_front()
    }

    /// The same, waiting for one as long as `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Notice> {
        let end = Instant::now() + timeout;
        let mut all = self.clients.all();
        loop {
            if let Some(notice) = all.clients.get_mut(&self.id)?.notices.pop_front() {
                return Some(notice);
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            let waited = self.clients.0.changed.wait_timeout(all, rest);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the remote be restarted, as far as this one is concerned.
    pub fn acknowledge(&self) {
        self.clients.all().clients.entry(self.id).and_modify(|client| client.owes = false);
        self.clients.0.changed.notify_all();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.all().clients.remove(&self.id);
        self.clients.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_waits_for_all_who_were_told_and_no_longer_than_it_is_willing_to() {
        let clients = Clients::default();
        let [first, second, third] = ["first", "second", "third"].map(|name| clients.join(name));
        assert!(clients.wait(Duration::ZERO).is_empty(), "nothing has crashed");
        clients.crashed();
        assert_eq!(first.notice(), Some(Notice::Crashed));
        first.acknowledge();
        drop(second);
        assert_eq!(clients.wait(Duration::from_millis(1)), ["third"]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(third.wait(Duration::from_secs(20)), Some(Notice::Crashed));
                third.acknowledge();
                assert_eq!(third.wait(Duration::from_secs(20)), Some(Notice::Restarted));
            });
            assert!(clients.wait(Duration::from_secs(20)).is_empty());
            clients.settled(Notice::Restarted);
        });
        assert_eq!((first.notice(), first.notice()), (Some(Notice::Restarted), None));
    }

    #[test]
    fn who_never_looks_has_the_last_notices_and_holds_nothing_back_after_a_restart() {
        let clients = Clients::default();
        let stuck = clients.join("stuck");
        for _ in 0..100 {
            clients.crashed();
            assert_eq!(clients.owing(), ["stuck"]);
            clients.settled(Notice::Restarted);
            assert!(clients.owing().is_empty());
        }
        clients.settled(Notice::LeftCrashed);
        let told: Vec<_> = std::iter::from_fn(|| stuck.notice()).collect();
        assert_eq!((told.len(), told.last()), (WAITING, Some(&Notice::LeftCrashed)));
        assert_eq!(stuck.wait(Duration::from_millis(1)), None);
    }
}
