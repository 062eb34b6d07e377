//! A server at work, and what it says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sidecore_vhost_user::{Event, Fault, Server, Stopper};

pub(crate) struct Running {
    folder: PathBuf,
    events: Arc<Mutex<Vec<Event>>>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// A server with these channels.
    pub(crate) fn start(channels: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        sidecore_os::guard_bus_errors().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sidecore-vhost-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let channels = channels.iter().map(|channel| channel.parse().unwrap()).collect();
        let mut server = Server::bind(&folder.join("socket"), channels).unwrap();
        let (stopper, events) = (server.stopper(), Arc::<Mutex<Vec<Event>>>::default());
        let said = Arc::clone(&events);
        let serve = move || server.serve(&mut |event| said.lock().unwrap().push(event.clone())).unwrap();
        let thread = Some(std::thread::spawn(serve));
        Self { folder, events, stopper, thread }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// All that it said so far.
    pub(crate) fn said(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until it has said something of this kind, and answers the first; what was said up to it is forgotten.
    #[track_caller]
    pub(crate) fn heard(&self, what: &str, mut is_it: impl FnMut(&Event) -> bool) -> Event {
        let mut found = None;
        until(&format!("{what}; said: {:?}", self.said()), || {
            let mut events = self.events.lock().unwrap();
            if let Some(at) = events.iter().position(&mut is_it) {
                found = events.drain(..=at).next_back();
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the front end was shown out, and answers why.
    #[track_caller]
    pub(crate) fn shown_out(&self) -> Fault {
        match self.heard("the end of the connection", |event| matches!(event, Event::Disconnected { .. })) {
            Event::Disconnected { fault: Some(fault) } => fault,
            other => panic!("{other}"),
        }
    }

    /// Waits until the rings are of no use, and answers why.
    #[track_caller]
    pub(crate) fn broken(&self) -> Fault {
        match self.heard("broken rings", |event| matches!(event, Event::Broken { .. })) {
            Event::Broken { fault } => fault,
            other => panic!("{other}"),
        }
    }

    /// Waits until a guest's link is up; whether it goes on where it stood.
    #[track_caller]
    pub(crate) fn started(&self) -> bool {
        let event = self.heard("a link", |event| matches!(event, Event::Started { .. }));
        matches!(event, Event::Started { is_resumed: true, .. })
    }

    pub(crate) fn stop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        // A test that fails is not made to panic twice.
        let ended = self.thread.take().map(JoinHandle::join);
        let left = std::fs::read_dir(&self.folder).map(Iterator::count);
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
        if !std::thread::panicking() {
            assert!(ended.is_none_or(|ended| ended.is_ok()), "the server died");
            assert_eq!(left.unwrap(), 0, "the socket is left");
        }
    }
}

/// Waits until something is true, as long as a busy machine may need.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
