//! A keeper: the process that is the main side of one remote, for any number of clients.
//!
//! Each client's endpoint is a socket that keeps message boundaries (`SOCK_SEQPACKET`): a packet is a message. The keeper
//! moves them between sockets and rings, one of each client in turn, so that nobody who floods takes the buffers of others.
//! The daemon speaks to it over a socket of its own; data never crosses the daemon.

pub(crate) mod protocol;

mod client;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use sidecore_backends::Any;
use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_os::{Channel, Errno};
use sidecore_processor::{Ended, Endpoint, Event, Options, Processor};
use sidecore_remoteproc::{Firmware, RemoteError};

use self::client::{Client, Left};
use self::protocol::{Answer, Ask, Kind, MAX_MESSAGE, Opened, Refusal, Request, Said, Service};

/// What keepers are called.
pub(crate) const NAME: &str = "sidecore: keeper";

/// How soon to try again what the daemon had no room for.
const UNHEARD: Duration = Duration::from_millis(10);

/// The longest firmware file, in bytes.
const MAX_FIRMWARE: u64 = 256 << 20;

/// Makes this process a keeper if it was started to be one, and never returns then.
pub(crate) fn hook() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        let done = Channel::from_stdin().ok().and_then(Keeper::new).map(Keeper::serve);
        process::exit(if done.is_some() { 0 } else { 1 });
    }
}

struct Keeper {
    daemon: Channel,
    /// Everything that ends a wait: the daemon, and the clients' sockets.
    poll: OwnedFd,
    processor: Option<Processor<Any>>,
    clients: Vec<Client>,
    /// Services that somebody waits for.
    awaited: Vec<Awaited>,
    /// What the daemon, which does not listen just now, has no room for, each with the socket that goes with it.
    unsaid: VecDeque<(Vec<u8>, Option<Channel>)>,
    is_over: bool,
}

struct Awaited {
    number: u64,
    service: String,
    until: Instant,
}

type Refused<T> = Result<T, Refusal>;

impl Keeper {
    fn new(daemon: Channel) -> Option<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        epoll::add(&poll, &daemon, epoll::EventData::new_u64(0), epoll::EventFlags::IN).ok()?;
        let (clients, awaited, unsaid) = (Vec::new(), Vec::new(), VecDeque::new());
        Some(Self { daemon, poll, processor: None, clients, awaited, unsaid, is_over: false })
    }

    fn serve(mut self) {
        while !self.is_over {
            self.hear_daemon();
            let any = self.move_messages();
            self.tell_events();
            self.answer_awaited();
            self.speak();
            if !any {
                self.sleep();
            }
        }
    }

    /// Until somebody has something to say.
    fn sleep(&self) {
        let again = (!self.unsaid.is_empty()).then(|| Instant::now() + UNHEARD);
        let until = self.awaited.iter().map(|awaited| awaited.until).chain(again).min();
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.processor.as_ref().filter(|processor| processor.ended().is_none()) {
            Some(processor) => {
                processor.wait(rest);
            }
            None => {
                let rest = rest.and_then(|rest| rustix::event::Timespec::try_from(rest).ok());
                let mut events = [std::mem::MaybeUninit::uninit(); 1];
                // Interruptions are as good as anything else that happened.
                let _ = epoll::wait(&self.poll, &mut events, rest.as_ref());
            }
        }
    }

    fn hear_daemon(&mut self) {
        let mut bytes = [0; MAX_MESSAGE];
        loop {
            let received = match self.daemon.receive(&mut bytes) {
                Ok(Some(received)) => received,
                Err(Errno::AGAIN) => return,
                Ok(None) | Err(_) => {
                    self.is_over = true;
                    return;
                }
            };
            let Ok(request) = postcard::from_bytes::<Request>(&bytes[..received.len]) else { continue };
            let number = request.number;
            if let Some(answer) = self.obey(request, received.fds.into_iter().next()).transpose() {
                self.answer(number, answer);
            }
        }
    }

    /// `None`: it is answered later, or has been.
    fn obey(&mut self, request: Request, fd: Option<OwnedFd>) -> Refused<Option<Answer>> {
        match request.what {
            Ask::Load { name, runtime_dir } => self.load(&name, runtime_dir, fd).map(|()| Some(Answer::Done)),
            Ask::Start => self.start().map(|()| Some(Answer::Done)),
            Ask::Stop => {
                let processor = self.processor.as_mut().ok_or_else(no_remote)?;
                processor.stop().map_err(|error| refusal(&error))?;
                Ok(Some(Answer::Done))
            }
            Ask::Services => {
                let services = self.processor()?.services().into_iter();
                let services = services.map(|service| Service {
                    device: service.device,
                    name: service.name.to_string(),
                    addr: service.addr,
                });
                Ok(Some(Answer::Services(services.collect())))
            }
            Ask::Open { service, within_ms } => {
                self.processor()?;
                let until = Instant::now() + Duration::from_millis(within_ms.min(24 * 60 * 60 * 1000));
                self.awaited.push(Awaited { number: request.number, service, until });
                Ok(None)
            }
            Ask::OpenAt { device, local, peer } => {
                let opened = self.processor()?.open_at(device, local, peer);
                let endpoint =
                    opened.map_err(|error| Refusal { kind: Kind::NoRoom, why: error.to_string() })?;
                self.admit(request.number, endpoint).map(|()| None)
            }
        }
    }

    fn load(&mut self, name: &str, runtime_dir: PathBuf, file: Option<OwnedFd>) -> Refused<()> {
        let bad = |why: String| Refusal { kind: Kind::BadFirmware, why };
        let failed = |why: String| Refusal { kind: Kind::Failed, why };
        if self.processor.is_some() {
            return Err(Refusal { kind: Kind::WrongState, why: "it was started already".to_owned() });
        }
        let file = file.ok_or_else(|| bad("no firmware came with it".to_owned()))?;
        let bytes = read(&std::fs::File::from(file)).map_err(|why| bad(format!("the firmware {why}")))?;
        let firmware = Firmware::parse(&bytes).map_err(|error| bad(error.to_string()))?;
        let (name, runtime_dir) = (Some(name.to_owned()), Some(runtime_dir));
        let config = Config { name: name.clone(), runtime_dir, ..Config::default() };
        let mut sandbox = Sandbox::new(config).map_err(|error| failed(error.to_string()))?;
        let watched = rustix::io::fcntl_dupfd_cloexec(&self.poll, 3);
        sandbox.watch(watched.map_err(|errno| failed(errno.to_string()))?);
        let mut processor = Processor::new(Any::from(sandbox), Options::new(&name.unwrap_or_default()));
        processor.load(&firmware).map_err(|error| refusal(&error))?;
        self.processor = Some(processor);
        self.start()
    }

    fn start(&mut self) -> Refused<()> {
        let processor = self.processor.as_mut().ok_or_else(no_remote)?;
        processor.start().map_err(|error| refusal(&error))?;
        // Their endpoints were the last run's.
        self.clients.clear();
        self.queue(&Said::State("running".to_owned()), None);
        Ok(())
    }

    fn processor(&self) -> Refused<&Processor<Any>> {
        self.processor.as_ref().ok_or_else(no_remote)
    }

    /// Moves messages both ways, one of each client in turn; whether there were any.
    fn move_messages(&mut self) -> bool {
        let Some(processor) = &self.processor else { return false };
        processor.poll();
        let mut any = false;
        let poll = &self.poll;
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
                false
            }
        });
        any
    }

    fn tell_events(&mut self) {
        let Some(processor) = &self.processor else { return };
        let events: Vec<_> = std::iter::from_fn(|| processor.event()).collect();
        for event in events {
            let is_warning = event.code().is_some();
            self.tell(&Said::Happened { what: event.to_string(), is_warning });
            if let Event::Ended(ended) = &event {
                self.queue(&Said::State(state(ended).to_owned()), None);
            }
        }
    }

    fn answer_awaited(&mut self) {
        let Some(processor) = &self.processor else { return };
        let services = processor.services();
        let mut answers = Vec::new();
        self.awaited.retain(|awaited| {
            let found = services.iter().find(|found| found.name.matches(&awaited.service));
            let answer = match (found, processor.ended()) {
                (Some(found), _) => processor
                    .open_service(found)
                    .map_err(|error| Refusal { kind: Kind::NoRoom, why: error.to_string() }),
                (None, Some(ended)) => Err(Refusal { kind: Kind::WrongState, why: ended.to_string() }),
                (None, None) if Instant::now() >= awaited.until => {
                    let names: Vec<_> = services.iter().map(|found| found.name.to_string()).collect();
                    let why = format!("{} was not announced; there are {names:?}", awaited.service);
                    Err(Refusal { kind: Kind::NotAnnounced, why })
                }
                (None, None) => return true,
            };
            answers.push((awaited.number, answer));
            false
        });
        for (number, answer) in answers {
            if let Err(refusal) = answer.and_then(|endpoint| self.admit(number, endpoint)) {
                self.answer(number, Err(refusal));
            }
        }
    }

    /// Makes a socket for an endpoint and answers with it.
    fn admit(&mut self, number: u64, endpoint: Endpoint) -> Refused<()> {
        let failed = |why: String| Refusal { kind: Kind::NoRoom, why };
        let (ours, theirs) = Channel::pair().map_err(|refused| failed(refused.to_string()))?;
        // Theirs is like any socket that a program is given.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(|errno| failed(errno.to_string()))?;
        let max = self.processor()?.max_payload(endpoint).map_err(|lost| failed(lost.to_string()))?;
        let opened = Opened { device: endpoint.device(), addr: endpoint.addr(), max_payload: max as u32 };
        let client =
            Client::new(ours, endpoint, max, &self.poll).map_err(|errno| failed(errno.to_string()))?;
        self.clients.push(client);
        let answer = Said::Answer { number, answer: Ok(Answer::Endpoint(opened)) };
        self.queue(&answer, Some(theirs));
        Ok(())
    }

    fn answer(&mut self, number: u64, answer: Refused<Answer>) {
        self.queue(&Said::Answer { number, answer }, None);
    }

    /// Says what must not be missed.
    fn queue(&mut self, said: &Said, with: Option<Channel>) {
        let bytes = postcard::to_stdvec(said).expect("there is memory for a few kilobytes");
        self.unsaid.push_back((bytes, with));
    }

    /// Says what there is to say, as far as the daemon listens.
    fn speak(&mut self) {
        while let Some((bytes, with)) = self.unsaid.pop_front() {
            let fds: Vec<_> = with.iter().map(AsFd::as_fd).collect();
            match self.daemon.send(&bytes, &fds) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return self.unsaid.push_front((bytes, with)),
                Err(_) => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    /// Tells some news; where the daemon does not listen they are missed.
    fn tell(&mut self, news: &Said) {
        let bytes = postcard::to_stdvec(news).expect("there is memory for a few kilobytes");
        if bytes.len() <= MAX_MESSAGE && self.unsaid.is_empty() {
            // An end is seen when it is listened to.
            let _ = self.daemon.send(&bytes, &[]);
        }
    }
}

/// Reads a whole file from its beginning, wherever others who have it open stand.
fn read(file: &std::fs::File) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = file.metadata().map_err(cannot)?;
    // Nobody knows when a pipe ends.
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > MAX_FIRMWARE {
        return Err(format!("has {} bytes: {MAX_FIRMWARE} at most", metadata.len()));
    }
    let mut bytes = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(cannot)?;
    Ok(bytes)
}

fn state(ended: &Ended) -> &'static str {
    match ended {
        Ended::Crashed(_) | Ended::Lost(_) => "crashed",
        Ended::Detached => "detached",
        _ => "offline",
    }
}

fn no_remote() -> Refusal {
    Refusal { kind: Kind::WrongState, why: "it was not started".to_owned() }
}

fn refusal(error: &RemoteError) -> Refusal {
    Refusal { kind: Kind::Failed, why: format!("error[{}]: {error}", error.code()) }
}
