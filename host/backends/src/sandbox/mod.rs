//! The sandbox: a remote processor on any Linux machine, with nothing installed.
//!
//! Firmware for this machine's instruction set, linked at fixed addresses, runs natively in a process that has its
//! memory, three doorbells and nothing else. Three processes take part, all of the same executable:
//!
//! - the **main side**, which holds a [`Sandbox`];
//! - a **warden** for each remote, which owns the memory, the doorbells, the debug seat, the watchdog and the end of
//!   the remote, and listens for main sides that want to attach;
//! - the **remote**, the warden's child: a boot stub maps the memory at its device addresses, gives everything else up
//!   and jumps to the firmware.
//!
//! So that the executable can be all three, its `main` begins with [`hook`]. Who outlives whom is chosen by
//! [`Lifetime`]; a remote never outlives its warden, and whoever dies first, the others clean up.
//!
//! What firmware finds when it starts is the hand-over page ([`sidecore_wire::sandbox`]) in the first argument register,
//! a stack, and all other registers zero; it may read [`Entry::DOORBELL_IN`], write [`Entry::DOORBELL_OUT`] and [`Entry::TRACE_BELL`], wait
//! with `poll`, `ppoll` and `futex`, and exit. Any other system call is a crash ([`CrashKind::ForbiddenCall`]).
//!
//! [`Entry::DOORBELL_IN`]: sidecore_os::Entry::DOORBELL_IN
//! [`Entry::DOORBELL_OUT`]: sidecore_os::Entry::DOORBELL_OUT
//! [`Entry::TRACE_BELL`]: sidecore_os::Entry::TRACE_BELL
//! [`CrashKind::ForbiddenCall`]: sidecore_remoteproc::CrashKind::ForbiddenCall

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{Channel, EventFd, Joined, Mapping, poll_until};
use sidecore_remoteproc::{Backend, BackendError, Boot, Event, Memory, MemoryMap, Standing, Waker};

pub use self::config::{Config, Confinement, Lifetime, Logged};
pub use self::estate::SandboxDoorbell;
pub use self::halted::Halted;
pub use self::processes::{Process, Role};

use self::client::{Client, lost, system};
use self::estate::Estate;
use self::layout::{Limits, lay_out};
use self::protocol::{Plan, Reply, Request, VERSION, Wire};
use self::runtime_dir::RuntimeDir;
use crate::Kind;

mod client;
mod config;
mod estate;
mod halted;
mod layout;
mod make;
mod processes;
mod protocol;
mod runtime_dir;
mod stub;
mod warden;

/// The sandbox's row in the table of kinds.
pub const KIND: Kind = Kind {
    name: "sandbox",
    help: "firmware for this machine's instruction set, run natively in a confined process",
};

/// What wardens are called, as argument 0.
const WARDEN_NAME: &str = "sidecore: warden";
/// What remotes are called.
const REMOTE_NAME: &str = "sidecore: remote";
/// After so many kicks without a look at the warden there is one, so that kicks without end do not hide a crash.
const KICKS_WITHOUT_LOOK: u32 = 16;

/// Makes this process a warden or a remote if it was started to be one, and never returns then. Otherwise it returns
/// at once. To be called first thing in `main`, before threads and files.
pub fn hook() {
    match std::env::args_os().next() {
        Some(name) if name == WARDEN_NAME => warden::run(),
        Some(name) if name == REMOTE_NAME => stub::run(),
        _ => {}
    }
}

/// A remote in the sandbox, from its main side.
pub struct Sandbox {
    name: String,
    memory_limit: u64,
    stack_size: u64,
    lifetime: Lifetime,
    /// Somebody else started it.
    attached: bool,
    /// `None` once the warden is lost or left.
    client: Option<Client>,
    /// Where to look for the warden's socket, and where it was made.
    asked_dir: Option<PathBuf>,
    dir: Option<RuntimeDir>,
    /// A connection to the warden over which somebody else has asked for us to be taken on.
    given: Option<Channel>,
    lease: Option<Channel>,
    state: State,
    /// Why, if the warden is.
    lost: String,
    memories: MemoryMap<Arc<Mapping>>,
    estate: Option<Estate>,
    boot: Option<Boot>,
    /// What is readable when something is to be done.
    joined: Joined,
    /// Rung by whoever ends a wait from another thread.
    waker: Arc<EventFd>,
    /// What else ends a wait.
    watched: Option<OwnedFd>,
    kicks: u32,
    /// Holds the remote while it is halted.
    halted: Option<Halted>,
    /// Findings about the runtime directory, then those of the start.
    findings: (Vec<String>, Vec<String>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has asked yet to take it over.
    Found,
    Offline,
    Prepared,
    Running,
    /// It ended by itself, and the caller knows.
    Halted,
    Detached,
    Lost,
}

impl Sandbox {
    /// What the remote is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the remote was started, once it was.
    pub fn boot(&self) -> Option<&Boot> {
        self.boot.as_ref()
    }

    /// Has waits end while this descriptor is readable, too: an epoll instance of everything else that the caller waits for.
    pub fn watch(&mut self, fd: OwnedFd) {
        self.watched = Some(fd);
    }

    /// The lease of a remote with [`Lifetime::Lease`]: a descriptor to keep, to hand to a child or to send to another
    /// process. When its last copy is closed the remote ends. Until it is taken this sandbox holds it.
    pub fn take_lease(&mut self) -> Option<OwnedFd> {
        self.lease.take().map(Into::into)
    }

    /// Asks the remote to ring from now on, for callers who wait for [`AsFd::as_fd`] to become readable instead of
    /// calling [`Backend::wait`]. They look at the rings once more after this, and call `wait` when it is readable,
    /// which takes the request back.
    pub fn arm(&self) {
        if let Some(estate) = &self.estate {
            estate.arm();
        }
    }

    /// Takes that back.
    pub fn disarm(&self) {
        if let Some(estate) = &self.estate {
            estate.disarm();
        }
    }

    /// The remote's end comes next.
    fn put_back(&mut self, end: Event) {
        self.client.iter_mut().for_each(|client| client.put_back(end.clone()));
    }

    /// Asks the warden, and takes note if it is lost.
    fn ask(&mut self, request: &Request) -> Result<(Reply, Vec<OwnedFd>), BackendError> {
        let Some(client) = &mut self.client else { return Err(lost(self.lost.clone())) };
        let answer = client.ask(request);
        self.keep(answer)
    }

    /// An answer that is no use, as an error.
    fn confused(&mut self) -> BackendError {
        let error = lost("it gave an answer to another question".to_owned());
        self.keep::<()>(Err(error.clone())).err().unwrap_or(error)
    }

    /// Gives the warden up if it is lost: ends what is left of it and removes what it cannot remove itself.
    fn keep<T>(&mut self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(BackendError::ExecutorLost { reason, .. }) = &result {
            self.state = State::Lost;
            self.lost.clone_from(reason);
            // Dropping a child kills and reaps it.
            self.client = None;
            self.forget();
        }
        result
    }

    /// Removes what a warden that was killed has left.
    fn forget(&mut self) {
        if let Some(dir) = self.dir.take() {
            dir.forget(&self.name);
        }
    }

    fn expect_state(&self, operation: &'static str, expected: State) -> Result<(), BackendError> {
        if self.state == expected {
            return Ok(());
        }
        let state = match self.state {
            State::Found => "not attached",
            State::Offline => "offline",
            State::Prepared => "prepared",
            State::Running => "running",
            State::Halted => "halted",
            State::Detached => "detached",
            State::Lost => return Err(lost(self.lost.clone())),
        };
        Err(BackendError::WrongState { operation, state })
    }

    /// Takes what the warden sent.
    fn take_estate(&mut self, plan: &Plan, fds: Vec<OwnedFd>) -> Result<(), BackendError> {
        let (estate, memories) = Estate::take(plan, fds)?;
        self.joined.add(&estate.bell).map_err(system)?;
        (self.estate, self.memories) = (Some(estate), memories);
        Ok(())
    }

    /// Sleeps until the warden or the remote has something to say, armed all the while; `None` for neither in time.
    fn sleep(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, BackendError> {
        loop {
            let (Some(client), Some(estate)) = (&mut self.client, &self.estate) else {
                return Err(lost(self.lost.clone()));
            };
            let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            // The waker twice where there is nothing else to watch.
            let watched = self.watched.as_ref().map_or(self.waker.as_fd(), AsFd::as_fd);
            let fds = [client.as_fd(), estate.bell.as_fd(), self.waker.as_fd(), watched];
            let mut fds = fds.map(fd);
            let ready = poll_until(&mut fds, deadline).map_err(system)?;
            let [warden, rung, woken, watched] = fds.map(|fd| !fd.revents().is_empty());
            let woken = woken || watched;
            if warden {
                let event = client.next_event();
                if let Some(event) = self.keep(event)? {
                    return Ok(Some(event));
                }
            }
            if woken {
                self.waker.answer();
            }
            if rung || woken {
                return Ok(Some(Event::Kick));
            }
            if ready == 0 {
                return Ok(None);
            }
        }
    }
}

impl Backend for Sandbox {
    type Owner = Arc<Mapping>;
    type Doorbell = SandboxDoorbell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.expect_state("prepare", State::Offline)?;
        let limits = Limits {
            page: sidecore_os::page_size() as u64,
            total: self.memory_limit,
            stack: self.stack_size,
        };
        let mut placed = memories.to_vec();
        let plan = lay_out(&mut placed, &limits)?;
        let request = Request::Prepare(plan);
        let (reply, fds) = self.ask(&request)?;
        let (Reply::Prepared(()), Request::Prepare(plan)) = (reply, request) else {
            return Err(self.confused());
        };
        let taken = self.take_estate(&plan, fds);
        if let Err(error) = self.keep(taken) {
            // The warden has memory that we cannot use.
            if self.state != State::Lost {
                self.ask(&Request::Unprepare(()))?;
            }
            return Err(error);
        }
        memories.clone_from_slice(&placed);
        self.state = State::Prepared;
        Ok(())
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        &self.memories
    }

    fn journal(&self) -> Option<Region<Self::Owner>> {
        let is_outlived = self.attached || self.lifetime != Lifetime::Tied;
        self.estate.as_ref().filter(|_| is_outlived).map(|estate| estate.journal.clone())
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.expect_state("start", State::Prepared)?;
        match self.ask(&Request::Start(boot.clone()))? {
            (Reply::Started(findings), _) => {
                self.findings.1 = findings;
                self.boot = Some(boot.clone());
                self.state = State::Running;
                Ok(())
            }
            _ => Err(self.confused()),
        }
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        if self.state != State::Halted {
            self.expect_state("stop", State::Running)?;
        }
        match self.ask(&Request::Stop(()))? {
            (Reply::Done(()), _) => {
                self.client.iter_mut().for_each(Client::forget_events);
                self.state = State::Prepared;
                Ok(())
            }
            _ => Err(self.confused()),
        }
    }

    fn unprepare(&mut self) {
        if matches!(self.state, State::Running | State::Halted) {
            // What can be said against it is that the warden is lost, and the remote with it.
            let _ = self.stop();
        }
        if self.state == State::Prepared && self.ask(&Request::Unprepare(())).is_ok() {
            self.state = State::Offline;
        }
        if let Some(estate) = self.estate.take() {
            self.joined.remove(&estate.bell);
        }
        self.memories = MemoryMap::new();
        self.boot = None;
        self.findings.1.clear();
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        if self.state != State::Detached {
            self.expect_state("attach", State::Found)?;
        }
        let (client, dir, answer) = match self.given.take() {
            Some(channel) => {
                let mut client = Client::new(channel, None);
                let answer = client.answer()?;
                (client, None, answer)
            }
            None => {
                let (dir, channel) = RuntimeDir::connect(self.asked_dir.as_deref(), &self.name)?;
                let mut client = Client::new(channel, None);
                let answer = client.ask(&Request::Attach(VERSION))?;
                (client, Some(dir), answer)
            }
        };
        let (Reply::Attached(attached), fds) = answer else {
            return Err(lost("it gave an answer to another question".to_owned()));
        };
        // What was joined for the time before may have the same number as what came now.
        let joined = Joined::new().map_err(system)?;
        joined.add(&self.waker).map_err(system)?;
        self.joined = joined;
        self.take_estate(&attached.plan, fds)?;
        self.joined.add(&client).map_err(system)?;
        (self.client, self.dir) = (Some(client), dir);
        self.findings.1 = attached.findings;
        self.boot = Some(attached.boot);
        (self.state, self.attached) = (State::Running, true);
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        self.boot.as_ref()?.table
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        match &self.estate {
            Some(estate) => estate.place(memories),
            None => Err(lost(self.lost.clone())),
        }
    }

    /// Gives the remote up and leaves it running, whatever its lifetime was; a lease has to be taken before.
    fn detach(&mut self) -> Result<(), BackendError> {
        if matches!(self.state, State::Halted | State::Lost) && self.attached {
            // Its owner's to look after; there is nothing to be said to its warden.
            self.client.take().into_iter().for_each(Client::leave);
            self.state = State::Detached;
            return Ok(());
        }
        self.expect_state("detach", State::Running)?;
        if self.lease.is_some() {
            return Err(BackendError::WrongState { operation: "detach", state: "leased to this main side" });
        }
        match self.ask(&Request::Detach(()))? {
            (Reply::Done(()), _) => {
                self.client.take().into_iter().for_each(Client::leave);
                self.state = State::Detached;
                Ok(())
            }
            _ => Err(self.confused()),
        }
    }

    /// Through the runtime directory, as anybody else would: one without a socket there cannot be halted.
    fn halt(&mut self) -> Result<Standing, BackendError> {
        self.expect_state("halt", State::Running)?;
        let halted = Halted::hold(&self.name, self.asked_dir.as_deref())?;
        let standing = halted.standing();
        self.halted = Some(halted);
        Ok(standing)
    }

    fn resume(&mut self) -> Result<(), BackendError> {
        match self.halted.take() {
            Some(_) => Ok(()),
            None => Err(BackendError::WrongState { operation: "resume", state: "not halted" }),
        }
    }

    fn doorbell(&self) -> Self::Doorbell {
        self.estate.as_ref().map(|estate| estate.doorbell.clone()).unwrap_or_default()
    }

    /// Does not spin: whoever knows what to look at does so before, if more than one CPU is allowed
    /// ([`sidecore_os::cpu_count`]).
    ///
    /// What the remote rang for before it ended comes first, as one last kick.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        self.expect_state("wait", State::Running)?;
        if let Some(end) = self.client.as_mut().and_then(Client::known_event) {
            self.state = State::Halted;
            return Ok(Some(end));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.arm();
        if ready() {
            self.disarm();
            self.kicks = self.kicks.wrapping_add(1);
            if self.kicks.is_multiple_of(KICKS_WITHOUT_LOOK)
                && let Some(client) = &mut self.client
            {
                let event = client.next_event();
                self.keep(event)?.into_iter().for_each(|event| self.put_back(event));
            }
            return Ok(Some(Event::Kick));
        }
        let came = self.sleep(deadline);
        self.disarm();
        let rung = self.estate.as_ref().is_some_and(|estate| estate.bell.answer());
        match came? {
            Some(Event::Kick) => Ok(Some(Event::Kick)),
            None => Ok(rung.then_some(Event::Kick)),
            Some(end) if rung => {
                self.put_back(end);
                Ok(Some(Event::Kick))
            }
            Some(end) => {
                self.state = State::Halted;
                Ok(Some(end))
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        let waker = Arc::clone(&self.waker);
        Some(Arc::new(move || waker.ring()))
    }

    fn findings(&self) -> Vec<String> {
        [&self.findings.0[..], &self.findings.1[..]].concat()
    }
}

/// Readable when [`Backend::wait`] would not sleep: something happened to the remote, or it rang. It only rings when
/// asked to ([`Sandbox::arm`]).
impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.joined.as_fd()
    }
}

/// Ends the remote and its warden, unless it is to outlive this main side and runs.
impl Drop for Sandbox {
    fn drop(&mut self) {
        let stays = self.state == State::Running && self.lifetime != Lifetime::Tied && self.lease.is_none();
        self.lease.take().into_iter().for_each(Channel::hang_up);
        let Some(mut client) = self.client.take() else { return }; // It was left or lost.
        if stays {
            return client.leave();
        }
        if self.state == State::Halted {
            // Its end is known here and need not be kept for others. If the warden is gone, so is the remote.
            let _ = client.tell(&Request::Stop(()).encode(), &[]);
        }
        if !client.end() {
            self.forget();
        }
    }
}
