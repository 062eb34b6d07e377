//! A keeper: the process that is the main side of one remote, for any number of clients.
//!
//! Each client's endpoint is a socket that keeps message boundaries (`SOCK_SEQPACKET`): a packet is a message. The keeper
//! moves them between sockets and rings, one of each client in turn, so that nobody who floods takes the buffers of others.
//! The daemon speaks to it over a socket of its own; data never crosses the daemon, and the keeper goes on without one until
//! the next comes.

pub(crate) mod protocol;

mod bell;
mod body;
mod client;
mod consoles;
mod desk;
mod leases;
mod news;
mod open;
mod watched;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use sidecore_backends::Any;
use sidecore_backends::sandbox::Sandbox;
use sidecore_os::Channel;
use sidecore_processor::codes::REMOTE_CRASHED;
use sidecore_processor::{Ended, Processor};

use self::body::Body;
use self::client::{Client, Left};
use self::consoles::Consoles;
use self::desk::Desk;
use self::leases::Leases;
use self::open::Awaited;
use self::protocol::{Answer, Ask, Kind, Load, Mode, News, Refusal, Request, Service};
use crate::place::Place;

/// What keepers are called.
pub(crate) const NAME: &str = "sidecore: keeper";

/// How soon to try again to take a remote back whose lease ended.
const NOT_BACK: Duration = Duration::from_millis(100);

/// Makes this process a keeper if it was started to be one, and never returns then.
pub(crate) fn hook() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        // Nothing that is done to the daemon by its terminal is meant for keepers; nor may they keep a file system busy.
        let _ = sidecore_os::new_session();
        let _ = rustix::process::chdir("/");
        let done = Channel::from_stdin().ok().and_then(Keeper::new).map(Keeper::serve);
        process::exit(if done.is_some() { 0 } else { 1 });
    }
}

struct Keeper {
    desk: Desk,
    /// Everything that ends a wait: the daemon, and the clients' sockets.
    poll: OwnedFd,
    body: Option<Body>,
    clients: Vec<Client>,
    consoles: Consoles,
    leases: Leases,
    /// When to try to take the remote back from one who had it to itself.
    not_back: Option<Instant>,
    /// Services that somebody waits for.
    awaited: Vec<Awaited>,
    /// The number of the next endpoint.
    next: u64,
    is_over: bool,
}

type Refused<T> = Result<T, Refusal>;

/// An answer, and what comes with it; `None`: it is answered later.
type Obeyed = Refused<Option<(Answer, Option<OwnedFd>)>>;

impl Keeper {
    fn new(daemon: Channel) -> Option<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let desk = Desk::new(daemon, &poll).ok()?;
        let (clients, awaited, leases) = (Vec::new(), Vec::new(), Leases::default());
        let (body, consoles, not_back) = (None, Consoles::default(), None);
        let (next, is_over) = (0, false);
        Some(Self { desk, poll, body, clients, consoles, leases, not_back, awaited, next, is_over })
    }

    fn serve(mut self) {
        while !self.is_over {
            for (Request { number, what }, fd) in self.desk.hear(&self.poll) {
                match self.obey(number, what, fd) {
                    Ok(None) => {}
                    Ok(Some((answer, with))) => self.desk.answer(number, Ok(answer), with),
                    Err(refusal) => self.desk.answer(number, Err(refusal), None),
                }
            }
            let outlives = self.body.as_ref().is_some_and(|body| body.load.outlives);
            if !self.desk.has_daemon() && !outlives {
                break;
            }
            let mut any = self.consoles.turn(&self.poll);
            any |= self.move_messages();
            self.take_leases_back();
            self.tell_events();
            self.bring_back();
            self.answer_awaited();
            self.desk.speak();
            if !any && !self.is_over {
                self.sleep();
            }
        }
        if let Some(body) = &mut self.body
            && body.processor.remote().state().is_live()
        {
            // There is nobody left to tell.
            let _ = body.processor.stop();
        }
        self.desk.speak();
    }

    /// Until somebody has something to say.
    fn sleep(&self) {
        let awaited = self.awaited.iter().map(|awaited| awaited.until);
        let due = self.body.as_ref().and_then(|body| body.due);
        let until = awaited.chain(self.desk.due()).chain(due).chain(self.not_back).min();
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.body.as_ref().filter(|body| body.processor.ended().is_none()) {
            Some(body) => {
                body.bell.iter().for_each(bell::Bell::arm);
                body.processor.wait(rest);
            }
            None => {
                let rest = rest.and_then(|rest| rustix::event::Timespec::try_from(rest).ok());
                let mut events = [std::mem::MaybeUninit::uninit(); 1];
                // Interruptions are as good as anything else that happened.
                let _ = epoll::wait(&self.poll, &mut events, rest.as_ref());
            }
        }
    }

    fn obey(&mut self, number: u64, what: Ask, fd: Option<OwnedFd>) -> Obeyed {
        let done = |done: Refused<()>| done.map(|()| Some((Answer::Done, None)));
        match what {
            Ask::Hello => {
                let known = self.body.as_ref().map(|body| body.load.clone());
                self.desk.answer(number, Ok(Answer::Known(known)), None);
                self.tell_everything();
                Ok(None)
            }
            Ask::Load(load) => done(self.load(load, fd)),
            Ask::Attach(load) => done(self.attach(load)),
            Ask::Replace { file } => done(self.replace(file, fd)),
            Ask::Start => done(self.start()),
            Ask::Stop => done(self.stop()),
            Ask::Restart => done(self.restart()),
            Ask::Detach => done(self.detach()),
            Ask::End => {
                self.is_over = true;
                done(Ok(()))
            }
            Ask::CheckFree => done(self.leases.check_free()),
            Ask::BreakLeases => done(self.break_leases()),
            Ask::Open { service, within_ms, queue, client } => {
                self.await_service(number, service, within_ms, queue, client).map(|()| None)
            }
            Ask::OpenAt { device, local, peer, queue, client } => {
                let opened = self.processor()?.open_at(device, local, peer);
                let endpoint = opened.map_err(|error| Kind::NoRoom.because(error))?;
                self.admit(number, endpoint, String::new(), queue, client).map(|()| None)
            }
            Ask::Close(number) => done(self.close(number)),
            Ask::Count(number) => {
                let counts = self.client(number)?.counts;
                let answer =
                    Answer::Counted { sent: counts.sent, received: counts.received, lost: counts.lost };
                Ok(Some((answer, None)))
            }
            Ask::Services => {
                let services = self.processor()?.services().into_iter();
                let services = services.map(|service| Service {
                    device: service.device,
                    name: service.name.to_string(),
                    addr: service.addr,
                });
                Ok(Some((Answer::Services(services.collect()), None)))
            }
            Ask::Console => {
                self.processor()?;
                let opened = self.consoles.open(&self.poll).map_err(|error| Kind::NoRoom.because(error))?;
                Ok(Some((Answer::Socket, Some(opened))))
            }
            Ask::Lease { mode, client } => Ok(Some((Answer::Socket, Some(self.lease(mode, client)?)))),
            Ask::Dump => done(self.dump(fd)),
        }
    }

    fn load(&mut self, load: Load, file: Option<OwnedFd>) -> Refused<()> {
        self.expect_nothing()?;
        let file = file.ok_or_else(|| Kind::BadFirmware.because("no firmware came with it"))?;
        let is_idle = load.is_idle;
        let body = Body::new(load, File::from(file), &self.consoles, &self.poll)?;
        self.keep(body)?;
        if is_idle {
            self.tell_firmware();
            return Ok(());
        }
        self.start()
    }

    fn attach(&mut self, load: Load) -> Refused<()> {
        self.expect_nothing()?;
        let body = Body::attach(load, &self.consoles, &self.poll)?;
        self.keep(body)?;
        self.tell_state();
        Ok(())
    }

    fn expect_nothing(&self) -> Refused<()> {
        match self.body {
            None => Ok(()),
            Some(_) => Err(Kind::WrongState.because("it has a remote already")),
        }
    }

    fn keep(&mut self, body: Body) -> Refused<()> {
        if body.load.outlives {
            let place = Place::open(&body.load.runtime_dir);
            let opened = place.and_then(|place| self.desk.open_door(place, &body.load.name, &self.poll));
            opened.map_err(|error| {
                Kind::Failed.because(format_args!("no daemon would find it again: {error}"))
            })?;
        }
        self.body = Some(body);
        Ok(())
    }

    fn replace(&mut self, name: String, file: Option<OwnedFd>) -> Refused<()> {
        let file = file.ok_or_else(|| Kind::BadFirmware.because("no firmware came with it"))?;
        let file = File::from(file);
        // What is no firmware takes nothing's place.
        let bytes = self.body.as_ref().ok_or_else(no_remote)?.read(&file)?;
        self.stop_if_live()?;
        let body = self.body.as_mut().ok_or_else(no_remote)?;
        body.load.file = name;
        body.replace(file, &bytes)?;
        self.start()
    }

    fn start(&mut self) -> Refused<()> {
        self.expect_ours()?;
        let body = self.body.as_mut().ok_or_else(no_remote)?;
        body.start(&self.consoles, &self.poll)?;
        // Their endpoints were the last run's.
        self.close_all();
        self.tell_state();
        self.tell_firmware();
        Ok(())
    }

    fn stop(&mut self) -> Refused<()> {
        self.expect_ours()?;
        let body = self.body.as_mut().ok_or_else(no_remote)?;
        body.due = None;
        if matches!(body.processor.ended(), Some(Ended::Detached)) {
            // Whoever had it to itself lost it with its warden.
            return Ok(());
        }
        body.processor.stop().map_err(|error| body::refusal(&error))
    }

    fn stop_if_live(&mut self) -> Refused<()> {
        let is_live = self.processor()?.remote().state().is_live();
        if is_live { self.stop() } else { Ok(()) }
    }

    fn restart(&mut self) -> Refused<()> {
        self.stop_if_live()?;
        self.start()?;
        if let Some(body) = &mut self.body {
            body.restarts += 1;
            self.desk.tell(News::Restarts(body.restarts));
        }
        Ok(())
    }

    fn detach(&mut self) -> Refused<()> {
        self.expect_ours()?;
        let body = self.body.as_mut().ok_or_else(no_remote)?;
        body.processor.detach().map_err(|error| body::refusal(&error))?;
        self.is_over = true;
        Ok(())
    }

    fn dump(&mut self, file: Option<OwnedFd>) -> Refused<()> {
        use sidecore_processor::dumps::write_plain;
        use sidecore_remoteproc::coredump::Include;
        let file = file.ok_or_else(|| Kind::Failed.because("no file came with it"))?;
        let file = File::from(file);
        let body = self.body.as_ref().ok_or_else(no_remote)?;
        let facts = [("remote", &*body.load.name), ("on", &*body.load.on), ("state", body.state())];
        let written = if body.processor.ended().is_some() {
            let remote = body.processor.remote();
            let dump = remote.core_dump(Include::default(), &facts);
            let dump =
                dump.map_err(|error| Kind::Failed.because(format_args!("error[{}]: {error}", error.code())));
            write_plain(&dump?, &file)
        } else {
            let dumped =
                body.processor.dump_running(Include::default(), &facts, |dump| write_plain(dump, &file));
            dumped.map_err(|error| body::refusal(&error))?
        };
        written.map_err(|error| Kind::Failed.because(format_args!("the dump cannot be written: {error}")))
    }

    fn lease(&mut self, mode: Mode, client: String) -> Refused<OwnedFd> {
        self.leases.check(mode)?;
        let mut connection = None;
        if mode == Mode::Exclusive {
            let body = self.body.as_mut().ok_or_else(no_remote)?;
            let unsupported = || {
                Kind::Unsupported.because("a board's main side is one process for ever; sandboxes change it")
            };
            let name = body.processor.remote().backend().sandbox().ok_or_else(unsupported)?.name().to_owned();
            if !body.processor.remote().state().is_live() {
                return Err(Kind::WrongState.because("it does not run"));
            }
            self.close_all();
            let body = self.body.as_mut().ok_or_else(no_remote)?;
            body.processor.detach().map_err(|error| body::refusal(&error))?;
            // Either there is somebody else now, or it is ours again at once.
            self.not_back = Some(Instant::now());
            let asked = Sandbox::ask_for(&name, Some(&body.load.runtime_dir));
            connection = Some(asked.map_err(|error| body::refusal(&error.into()))?);
        }
        let socket = self.leases.add(mode, client, connection, &self.poll)?;
        if mode == Mode::Exclusive {
            self.not_back = None;
        }
        self.desk.tell(News::Lease(self.leases.mode()));
        self.tell_state();
        Ok(socket)
    }

    fn break_leases(&mut self) -> Refused<()> {
        let was = self.leases.mode();
        self.leases.clear();
        if was == Mode::Exclusive {
            let load = &self.body.as_ref().ok_or_else(no_remote)?.load;
            // Nobody can be made to close a connection.
            let ended = Sandbox::end(&load.name, Some(&load.runtime_dir));
            ended.map_err(|error| body::refusal(&error.into()))?;
            self.not_back = None;
            self.desk.tell(News::State("offline".to_owned()));
        }
        if was != Mode::None {
            self.desk.tell(News::Lease(Mode::None));
        }
        Ok(())
    }

    /// Does what follows when a lease ends.
    fn take_leases_back(&mut self) {
        let ended = self.leases.take_ended();
        if ended.contains(&Mode::Tied) {
            self.is_over = true;
        }
        if ended.contains(&Mode::Exclusive) {
            self.not_back = Some(Instant::now());
        } else if !ended.is_empty() {
            self.desk.tell(News::Lease(self.leases.mode()));
        }
        let Some(body) =
            self.body.as_mut().filter(|_| self.not_back.is_some_and(|due| due <= Instant::now()))
        else {
            return;
        };
        match body.take_over() {
            Ok(()) => self.not_back = None,
            // Its lease ended, and it still has the warden's connection; or the remote was stopped by it.
            Err(error) => {
                let is_there = Sandbox::names(Some(&body.load.runtime_dir));
                self.not_back = is_there.contains(&body.load.name).then(|| Instant::now() + NOT_BACK);
                if self.not_back.is_some() {
                    return;
                }
                let what = format!("it did not come back from its lease: {error}");
                self.desk.tell(News::Happened { what, code: Some(error.code().to_string()) });
            }
        }
        self.desk.tell(News::Lease(self.leases.mode()));
        self.tell_state();
    }

    /// Moves messages both ways, one of each client in turn; whether there were any.
    fn move_messages(&mut self) -> bool {
        let Some(body) = &self.body else { return false };
        let processor = &body.processor;
        let mut any = processor.poll();
        let (poll, desk) = (&self.poll, &mut self.desk);
        // Another one is the first to find a free buffer each time.
        if !self.clients.is_empty() {
            self.clients.rotate_left(1);
        }
        self.clients.retain_mut(|client| match client.turn(processor) {
            Ok(moved) => {
                any |= moved;
                client.watch(poll);
                true
            }
            Err(Left) => {
                processor.close(client.endpoint);
                desk.tell(News::Closed(client.facts.number));
                false
            }
        });
        any
    }

    fn bring_back(&mut self) {
        let Some(body) = &mut self.body else { return };
        match body.bring_back() {
            None => {}
            Some(Ok(())) => {
                let (restarts, silently) = (body.restarts, body.load.silently);
                if !silently {
                    self.close_all();
                }
                self.desk.tell(News::Restarts(restarts));
                self.tell_state();
            }
            Some(Err(refusal)) => {
                let what = format!("it could not be started again: {}", refusal.why);
                self.desk.tell(News::Happened { what, code: Some(REMOTE_CRASHED.to_string()) });
            }
        }
    }

    /// An exclusive lease leaves nothing to be done here.
    fn expect_ours(&self) -> Refused<()> {
        match (self.leases.mode(), self.not_back) {
            (Mode::Exclusive, _) => Err(Kind::Leased.because("another process is its main side")),
            (_, Some(_)) => Err(Kind::Leased.because("another process is its main side still")),
            _ => Ok(()),
        }
    }

    fn processor(&self) -> Refused<&Processor<Any>> {
        self.expect_ours()?;
        self.body.as_ref().map(|body| &body.processor).ok_or_else(no_remote)
    }
}

fn no_remote() -> Refusal {
    Kind::WrongState.because("it was not started")
}
