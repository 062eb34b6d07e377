//! A remote as the daemon knows it: by what its keeper tells.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::keeper::protocol::{Answer, Ask, FirmwareFacts, Load, Mode, News, Opened, Refusal};
use crate::link::Link;

/// A remote, and how to reach whoever keeps it.
#[derive(Debug)]
pub(crate) struct Remote {
    load: Load,
    link: Mutex<Arc<Link>>,
    known: Mutex<Known>,
    is_served: AtomicBool,
    is_ending: AtomicBool,
}

/// What was told last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) state: String,
    pub(crate) lease: Mode,
    pub(crate) restarts: u64,
    pub(crate) firmware: FirmwareFacts,
    pub(crate) endpoints: BTreeMap<u64, Opened>,
    /// What was told before it was on the bus.
    pub(crate) early: Vec<News>,
}

impl Remote {
    pub(crate) fn new(load: Load, link: Arc<Link>) -> Arc<Self> {
        let known = Known { state: "offline".to_owned(), ..Known::default() };
        let (is_served, is_ending) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { load, link: Mutex::new(link), known: Mutex::new(known), is_served, is_ending })
    }

    pub(crate) fn name(&self) -> &str {
        &self.load.name
    }

    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// What is known of it.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in there is ever half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks its keeper for something; the answer may have a descriptor.
    pub(crate) async fn ask(
        &self,
        what: Ask,
        with: Option<&OwnedFd>,
    ) -> Result<(Answer, Option<OwnedFd>), Refusal> {
        self.link().ask(what, with).await
    }

    /// Asks for something that is only done.
    pub(crate) async fn tell(&self, what: Ask) -> Result<(), Refusal> {
        self.link().tell(what, None).await
    }

    /// Whether it is on the bus.
    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Acquire)
    }

    pub(crate) fn set_served(&self) {
        self.is_served.store(true, Ordering::Release);
    }

    /// Whether its client, which it ends with, is this one.
    pub(crate) fn is_tied_to(&self, client: &str) -> bool {
        self.load.tied_to.as_ref().is_some_and(|(_, tied_to)| tied_to == client)
    }

    /// Ends it, and its keeper.
    pub(crate) fn end(&self) {
        self.expect_end();
        self.link().end();
    }

    /// Its keeper ends next, as it should.
    pub(crate) fn expect_end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// Its keeper is gone: if it was not told to, another one takes the remote over, which runs on in its sandbox.
    pub(crate) async fn keep_again(&self) -> Option<mpsc::Receiver<News>> {
        let runs_on = self.is_served() && self.load.outlives && self.load.on == "sandbox";
        if !runs_on || self.is_ending.load(Ordering::Acquire) {
            return None;
        }
        let (link, news) = Link::start(self.name()).ok()?;
        // What it tells fits into the channel.
        link.tell(Ask::Attach(self.load.clone()), None).await.ok()?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        Some(news)
    }
}
