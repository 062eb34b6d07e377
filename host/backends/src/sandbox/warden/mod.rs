//! The warden: one process a remote, which owns its memory, its doorbells, its debug seat and its end.
//!
//! One thread, one loop. Everything in it is bounded and nothing in it waits but the one `ppoll`, so that no client, no
//! peer and no remote can keep it from the others.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_mem::DeviceAddr;
use sidecore_os::{Caught, Channel, EventFd, Listener, Signals, Ticks, poll_until, signal_name};
use sidecore_remoteproc::{Boot, Event, Registers};

use self::estate::Estate;
use self::log::Log;
use self::remote::{Outcome, Remote};
use super::protocol::{Attached, Halted, MAX_MESSAGE, Refusal, Reply, Request, Setup, VERSION, Wire};
use super::runtime_dir;

mod crash;
mod estate;
mod log;
mod remote;
mod watchdog;

/// Those who connected and have not said yet what they want.
const MAX_KNOCKING: usize = 8;
/// How long they may take to say it.
const KNOCK_TIME: Duration = Duration::from_secs(2);
/// How long to leave the kernel alone that could not let us wait.
const RETRY_TIME: Duration = Duration::from_millis(10);
/// How long the main side may take to say who we are.
const SETUP_TIME: Duration = Duration::from_secs(20);

/// What the process does that the main side started as `sidecore: warden`. Standard input is the main side.
pub(super) fn run() -> ! {
    let ticks = Ticks::begin();
    sidecore_os::close_inherited();
    // What `ps` calls it. If it cannot, no matter.
    let _ = rustix::thread::set_name(c"sidecore-warden");
    let code = match Warden::new(ticks) {
        Some(mut warden) => {
            warden.serve();
            0
        }
        None => 1,
    };
    std::process::exit(code)
}

struct Warden {
    setup: Setup,
    ticks: Ticks,
    signals: Signals,
    /// The main side, while there is one.
    client: Option<Channel>,
    /// The client waits for an answer; nothing more is taken from it before.
    owes_answer: bool,
    listening: Option<(Listener, OwnedFd)>,
    knocking: Vec<(Channel, Instant)>,
    /// Whoever looks at the remote while it stands still, and whether they have been told that it does.
    viewer: Option<(Channel, bool)>,
    lease: Option<OwnedFd>,
    log: Option<Log>,
    estate: Option<Estate>,
    remote: Option<Remote>,
    boot: Option<Boot>,
    findings: Vec<String>,
    /// How the remote ended, until a main side shows that it knows by asking for something else.
    unclaimed: Option<Event>,
    /// Why to end, once there is a reason.
    over: Option<String>,
    /// Who asked for it, if somebody did that is not the main side.
    ended_by: Option<Channel>,
}

/// What there may be to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Stub,
    Client,
    Lease,
    Listener,
    Knocking(usize),
    Viewer,
    Trace,
}

impl Warden {
    fn new(ticks: Ticks) -> Option<Self> {
        let client = Channel::from_stdin().ok()?;
        // Neither a terminal's keys nor its end are meant for us; nor may we keep a file system busy.
        sidecore_os::new_session().ok()?;
        rustix::process::chdir("/").ok()?;
        let signals = Signals::take().ok()?;

        let mut bytes = [0; MAX_MESSAGE];
        client.wait(Some(Instant::now() + SETUP_TIME)).ok()?;
        let received = client.receive(&mut bytes).ok()??;
        let setup = Setup::decode(&bytes[..received.len]).ok().filter(|setup| setup.version == VERSION)?;
        let mut fds = received.fds.into_iter();
        let listening = if setup.listens { Some((Listener::from(fds.next()?), fds.next()?)) } else { None };
        let lease = if setup.leased { Some(fds.next()?) } else { None };
        let logs = if setup.logs { Some(fds.next()?) } else { None };
        let log = logs.map(|directory| Log::new(directory, &setup.name, &setup.firmware));
        Some(Self {
            setup,
            ticks,
            signals,
            client: Some(client),
            owes_answer: false,
            listening,
            knocking: Vec::new(),
            viewer: None,
            lease,
            log,
            estate: None,
            remote: None,
            boot: None,
            findings: Vec::new(),
            unclaimed: None,
            over: None,
            ended_by: None,
        })
    }

    fn serve(&mut self) {
        while self.over.is_none() {
            let mut rung = false;
            for source in self.wait() {
                match source {
                    Source::Signals => self.take_signals(),
                    Source::Client => self.hear_client(),
                    Source::Lease => self.over = Some("the lease ended".to_owned()),
                    Source::Listener => self.accept(),
                    Source::Knocking(index) => self.hear_knocking(index),
                    Source::Viewer => self.lose_viewer(),
                    Source::Trace => rung = self.answer_trace_bell(),
                    Source::Stub => {} // Heard below.
                }
            }
            self.knocking.retain(|(_, since)| since.elapsed() < KNOCK_TIME);
            if let (Some(log), Some(estate), Some(_)) = (&mut self.log, &self.estate, &self.remote) {
                log.look_if_due(estate, rung);
            }
            self.look_at_remote();
        }
        if self.remote.take().is_some() {
            self.end_log(&format!("ended, for {}", self.over.as_deref().unwrap_or("its warden ends")));
        }
        if let Some((_, dir)) = &self.listening {
            runtime_dir::remove(dir.as_fd(), &self.setup.name);
        }
        let reason = self.over.take().unwrap_or_default();
        self.tell(&Reply::Farewell(reason), false);
    }

    fn answer_trace_bell(&self) -> bool {
        self.estate.as_ref().and_then(|estate| estate.trace_bell.as_ref()).is_some_and(EventFd::answer)
    }

    /// The remote is gone: takes the rest of its traces.
    fn end_log(&mut self, how: &str) {
        if let (Some(log), Some(estate)) = (&mut self.log, &self.estate) {
            log.end(estate, how);
        }
    }

    /// Sleeps until something is to be done.
    fn wait(&self) -> Vec<Source> {
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(stub) = self.remote.as_ref().and_then(Remote::channel) {
            add(Source::Stub, stub.as_fd(), PollFlags::IN);
        }
        if let Some(client) = &self.client {
            let flags = if self.owes_answer { PollFlags::RDHUP } else { PollFlags::IN | PollFlags::RDHUP };
            add(Source::Client, client.as_fd(), flags);
        }
        if let Some((viewer, _)) = &self.viewer {
            // They have nothing more to say but that they go.
            add(Source::Viewer, viewer.as_fd(), PollFlags::IN | PollFlags::RDHUP);
        }
        if let Some(bell) = self.estate.as_ref().and_then(|estate| estate.trace_bell.as_ref()) {
            add(Source::Trace, bell.as_fd(), PollFlags::IN);
        }
        if let Some(lease) = &self.lease {
            add(Source::Lease, lease.as_fd(), PollFlags::RDHUP);
        }
        // From the last on, so that the numbers stay true while some leave; the listener behind them for the same reason.
        for (index, (peer, _)) in self.knocking.iter().enumerate().rev() {
            add(Source::Knocking(index), peer.as_fd(), PollFlags::IN | PollFlags::RDHUP);
        }
        if let Some((listener, _)) = &self.listening {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        let expiry = self.knocking.iter().map(|(_, since)| *since + KNOCK_TIME).min();
        let log = self.log.as_ref().and_then(Log::deadline);
        let deadlines = self.remote.as_ref().and_then(Remote::deadline).into_iter().chain(expiry).chain(log);
        let deadline = deadlines.min();
        if poll_until(&mut fds, deadline).is_err() {
            // The kernel has no memory for it just now. What became ready stays so.
            std::thread::sleep(RETRY_TIME);
            return Vec::new();
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        sources.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(source, _)| source).collect()
    }

    fn take_signals(&mut self) {
        while let Some(caught) = self.signals.next() {
            match caught {
                Caught::Child => {} // Looked at in every round.
                Caught::End(signal) => {
                    self.over = Some(format!("it was told to end by {}", signal_name(signal)))
                }
            }
        }
    }

    fn look_at_remote(&mut self) {
        while let (Some(remote), Some(estate)) = (&mut self.remote, &self.estate) {
            match remote.step(estate) {
                None => return,
                Some(Outcome::Started(findings)) => {
                    // Somebody may have asked while it booted.
                    if matches!(self.viewer, Some((_, false))) && remote.halt().is_err() {
                        self.viewer = None;
                    }
                    self.findings.clone_from(&findings);
                    self.tell(&Reply::Started(findings), true);
                }
                Some(Outcome::NotStarted(refusal)) => {
                    self.remote = None;
                    self.show(None, None, None);
                    self.end_log(&format!("it could not be started: {}", refusal.reason));
                    self.tell(&Reply::Refused(refusal), true);
                }
                Some(Outcome::Halted(pc, registers)) => self.show(None, pc, registers),
                Some(Outcome::Stopped) => {
                    self.remote = None;
                    self.show(None, None, None);
                    self.end_log("stopped");
                    self.tell(&Reply::Done(()), true);
                }
                Some(Outcome::Ended(event)) => {
                    self.remote = None;
                    self.end_log(&log::described(&event));
                    self.unclaimed = Some(event.clone());
                    self.show(Some(event.clone()), None, None);
                    self.tell(&Reply::Ended(event), false);
                }
            }
        }
    }

    fn hear_client(&mut self) {
        let Some(client) = &self.client else { return };
        if self.owes_answer {
            return self.lose_client(); // It went away instead of waiting.
        }
        let mut bytes = [0; MAX_MESSAGE];
        let received = match client.receive(&mut bytes) {
            Ok(Some(received)) => received,
            Err(sidecore_os::Errno::AGAIN) => return,
            Ok(None) | Err(_) => return self.lose_client(),
        };
        self.owes_answer = true;
        match Request::decode(&bytes[..received.len]) {
            Ok(request) => {
                if let Err(refusal) = self.obey(request) {
                    self.tell(&Reply::Refused(refusal), true);
                }
            }
            Err(garbled) => {
                self.tell(&Reply::Refused(Refusal::new("understand the main side", garbled)), true)
            }
        }
    }

    /// Does what the client asks, or begins to. Whoever ends it answers.
    fn obey(&mut self, request: Request) -> Result<(), Refusal> {
        let state = |operation, reason| Err(Refusal::new(operation, reason));
        match request {
            Request::Prepare(_) if self.estate.is_some() => state("prepare", "the remote has memory already"),
            Request::Prepare(plan) => {
                let estate = Estate::new(plan, self.log.is_some())?;
                self.tell_with(&Reply::Prepared(()), &estate.descriptors_and_journal());
                self.estate = Some(estate);
                Ok(())
            }
            Request::Start(_) if self.remote.is_some() => state("start", "the remote runs"),
            Request::Start(boot) => {
                let Some(estate) = &self.estate else { return state("start", "the remote has no memory") };
                self.unclaimed = None;
                if let Some(log) = &mut self.log {
                    log.begin(estate, &boot);
                }
                let booted = Remote::boot(estate, &self.setup, &boot, &self.ticks);
                if let (Err(refusal), Some(log)) = (&booted, &mut self.log) {
                    log.end(estate, &format!("it could not be started: {}", refusal.reason));
                }
                (self.remote, self.boot) = (Some(booted?), Some(boot));
                Ok(())
            }
            Request::Stop(()) => {
                self.unclaimed = None;
                match &mut self.remote {
                    Some(remote) => remote.stop(),
                    None => self.tell(&Reply::Done(()), true),
                }
                Ok(())
            }
            Request::Unprepare(()) if self.remote.is_some() => state("unprepare", "the remote runs"),
            Request::Unprepare(()) => {
                (self.estate, self.boot, self.unclaimed) = (None, None, None);
                self.tell(&Reply::Done(()), true);
                Ok(())
            }
            Request::Detach(()) if !self.is_running() => state("detach", "the remote does not run"),
            Request::Detach(()) if self.listening.is_none() => state(
                "detach",
                "the remote has no socket in a runtime directory, so nobody could attach to it",
            ),
            Request::Detach(()) => {
                self.setup.outlives = true;
                self.tell(&Reply::Done(()), true);
                Ok(())
            }
            Request::Attach(_) => state("attach", "this is attached already"),
            Request::Halt(_) => state("halt", "only those who are not its main side ask for that"),
            Request::End(_) => state("end", "only those who are not its main side ask for that"),
        }
    }

    fn accept(&mut self) {
        let Some((listener, _)) = &self.listening else { return };
        for _ in 0..MAX_KNOCKING {
            let Some(peer) = listener.accept() else { return };
            // The socket is for this user alone, but it may have been handed on.
            if !peer.peer().is_ok_and(|peer| peer.is_trusted()) {
                continue;
            }
            // Whoever said nothing for longest goes.
            if self.knocking.len() == MAX_KNOCKING {
                self.knocking.remove(0);
            }
            self.knocking.push((peer, Instant::now()));
        }
    }

    fn hear_knocking(&mut self, index: usize) {
        let mut bytes = [0; MAX_MESSAGE];
        let (peer, _) = self.knocking.remove(index);
        let Ok(Some(received)) = peer.receive(&mut bytes) else { return };
        let version = match Request::decode(&bytes[..received.len]) {
            Ok(Request::Attach(version)) => version,
            Ok(Request::Halt(version)) => return self.halt(peer, version),
            // Whatever a version has learnt since, this is said in the same way.
            Ok(Request::End(_)) => {
                self.over = Some("somebody else ended it".to_owned());
                // It is closed when all is over.
                self.ended_by = Some(peer);
                return;
            }
            _ => return,
        };
        let refusal = match (&self.client, &self.estate, &self.boot) {
            _ if version != VERSION => format!("its warden speaks version {VERSION}, not {version}"),
            (Some(client), ..) => {
                let pid = client.peer().map_or(0, |peer| peer.pid);
                format!("process {pid} is its main side; there can be one at a time")
            }
            (None, Some(estate), Some(boot)) => {
                let trouble = self.log.as_ref().and_then(Log::trouble);
                let attached = Attached {
                    plan: estate.plan.clone(),
                    boot: boot.clone(),
                    findings: self.findings.iter().cloned().chain(trouble).collect(),
                };
                let reply = Reply::Attached(attached).encode();
                let sent = peer.send(&reply, &estate.descriptors_and_journal());
                if sent.is_ok() {
                    estate.tell_of_main_side(true);
                    self.client = Some(peer);
                    self.owes_answer = false;
                    if let Some(event) = self.unclaimed.clone() {
                        self.tell(&Reply::Ended(event), false);
                    }
                }
                return;
            }
            (None, ..) => "it has not been started".to_owned(),
        };
        // It may have gone; then it does not matter.
        let _ = peer.send(&Reply::Refused(Refusal::new("attach to the remote", refusal)).encode(), &[]);
    }

    /// Has the remote stand still for somebody.
    fn halt(&mut self, peer: Channel, version: u32) {
        let refusal = if version != VERSION {
            format!("its warden speaks version {VERSION}, not {version}")
        } else if self.viewer.is_some() {
            "somebody looks at it already".to_owned()
        } else if self.estate.is_none() || self.boot.is_none() {
            "it has not been started".to_owned()
        } else if let Some(Err(refused)) = self.remote.as_mut().map(Remote::halt) {
            format!("there is no debug seat to hold it from ({refused})")
        } else {
            self.viewer = Some((peer, false));
            if self.remote.is_none() {
                self.show(self.unclaimed.clone(), None, None);
            }
            return;
        };
        // It may have gone; then it does not matter.
        let _ = peer.send(&Reply::Refused(Refusal::new("halt the remote", refusal)).encode(), &[]);
    }

    /// Shows the remote to whoever waits for it to stand still.
    fn show(&mut self, ended: Option<Event>, pc: Option<u64>, registers: Option<Registers>) {
        let (Some((viewer, is_told)), Some(estate)) = (&mut self.viewer, &self.estate) else { return };
        if std::mem::replace(is_told, true) {
            return;
        }
        let halted = Halted { plan: estate.plan.clone(), ended, pc: pc.map(DeviceAddr), registers };
        if viewer.send(&Reply::Halted(halted).encode(), &[estate.memory.as_fd()]).is_err() {
            self.lose_viewer();
        }
    }

    fn lose_viewer(&mut self) {
        self.viewer = None;
        if let (Some(remote), Some(estate)) = (&mut self.remote, &self.estate) {
            remote.go_on(estate);
        }
    }

    fn tell(&mut self, reply: &Reply, is_answer: bool) {
        self.owes_answer &= !is_answer;
        self.send(reply, &[]);
    }

    fn tell_with(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        self.owes_answer = false;
        self.send(reply, fds);
    }

    fn send(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let Some(client) = &self.client else { return };
        if client.send(&reply.encode(), fds).is_err() {
            // It is gone, or asks and asks and does not listen.
            self.lose_client();
        }
    }

    fn lose_client(&mut self) {
        self.client = None;
        self.owes_answer = false;
        let of_interest =
            self.remote.as_ref().is_some_and(Remote::is_of_interest) || self.unclaimed.is_some();
        let lives_on = self.setup.outlives && of_interest;
        self.estate.iter().for_each(|estate| estate.tell_of_main_side(false));
        if !lives_on && self.over.is_none() {
            self.over = Some("the main side is gone".to_owned());
        }
    }

    fn is_running(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::is_running)
    }
}
