//! `sidecore attach`: a peer that runs already, and whose life is not ours to control.

mod named;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueHint;
use sidecore_backends::sandbox::{self, Sandbox};
use sidecore_backends::shm::{self, Seat, Shm};
use sidecore_os::guard_bus_errors;
use sidecore_processor::{Ended, Event, Options, Processor, Responder, Visit, discard, echo};
use sidecore_remoteproc::codes::Code;
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery, Remedy};
use sidecore_remoteproc::{Backend, BackendError};
use sidecore_rpmsg::{Name, ReadError};
use sidecore_vhost_user::Channel;
use sidecore_wire::features::F_NS;

use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::interrupts::Interrupts;
use crate::output::{note, print};
use crate::remote::{self, Place};
use crate::target::Reach;

/// Attach to a peer that runs already, show what it announces, and talk with it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without messages it stays attached until the peer goes or Ctrl-C is pressed, and tells on the standard error what the \
peer announces and takes back. With messages it sends one after the other to the service, prints each answer on a line \
of its own, tells the peer that its endpoint goes, and leaves.

With --role remote it is the other end: it makes file and socket, waits for main sides, one after the other, and serves \
them the channels that --service names, until Ctrl-C is pressed. A service goes by its own channel or, as CHANNEL=SERVICE, \
by another; `sidecore vhost-user --help` lists the services.

Examples:
  sidecore attach shm:openamp
  sidecore attach shm:openamp --service rpmsg-openamp-demo-channel one two
  sidecore attach shm:openamp --role remote --service rpmsg-openamp-demo-channel=echo
  sidecore attach sandbox:radio --service rpmsg-echo hello

A remote that `sidecore start sandbox:NAME` left running has one main side at a time. Where the last one was killed, this one \
goes on where it stood: answers that were under way come first.")]
pub(crate) struct Args {
    /// The peer: `shm:openamp`, a program of OpenAMP's generic Linux machine, `shm:rpmsg-lite`, one without a resource
    /// table, `shm:FILE.toml`, a place of your own, `sandbox:NAME`, which `sidecore start` left running, or the name of
    /// another remote, see `sidecore ps`
    #[arg(value_name = "PEER")]
    peer: Peer,
    /// The file that both map, where it is not the usual one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    memory: Option<PathBuf>,
    /// The socket that the peer listens at, where it is not the usual one
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Which end is ours
    #[arg(long, value_name = "ROLE", default_value = "host")]
    role: Role,
    /// The service that the messages are for; or, as remote, what main sides find, as often as you like [remote: echo]
    #[arg(short, long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// How long to wait for the peer, for the service, and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = remote::seconds)]
    timeout: Duration,
    /// Attach again when the peer goes, or its owner starts it anew: so many tries within a minute at most [default N: 5],
    /// later and later
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5", conflicts_with = "messages")]
    again: Option<u32>,
    /// Messages to send
    #[arg(value_name = "MESSAGE", requires = "services")]
    messages: Vec<OsString>,
    /// Tell, as remote, who comes and goes, too
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Whom to talk with.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A program that shares a file with us.
    Shared(Place),
    /// A sandboxed remote, by its name.
    Sandbox(String),
    /// Whatever remote is called so.
    Named(String),
}

/// What the name of a remote may begin with.
const KINDS: [&str; 3] = ["daemon:", "linux:", "qemu:"];

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(SANDBOX) {
            Some(name) => Ok(Self::Sandbox(name.to_owned())),
            None if text.starts_with("shm:") => text.parse().map(Self::Shared),
            None if !text.contains(':') || KINDS.iter().any(|kind| text.starts_with(kind)) => {
                Ok(Self::Named(text.to_owned()))
            }
            None => {
                Err("it is `shm:PLACE`, `sandbox:NAME`, or the name of a remote, see `sidecore ps`"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(place) => f.write_str(&place.name),
            Self::Sandbox(name) => write!(f, "{SANDBOX}{name}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// What the name of a sandboxed remote that was left running begins with.
pub(super) const SANDBOX: &str = "sandbox:";

/// An end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// The main side, which owns the buffers
    Host,
    /// The coprocessor's side, which announces services
    Remote,
}

pub(crate) fn run(args: &Args) -> Outcome {
    guard_bus_errors().map_err(|refused| failed(args, codes::SIGNALS, &refused))?;
    let usual = match &args.peer {
        Peer::Shared(place) => place.config.clone(),
        Peer::Named(typed) => return named::run(args, typed),
        Peer::Sandbox(name) => {
            if args.role == Role::Remote || args.memory.is_some() || args.socket.is_some() {
                return Err(usage("a sandboxed remote has a main side, and no file or socket of yours"));
            }
            let sandbox = find(name).map_err(|error| failed(args, error.code(), &error))?;
            return main_side(args, Processor::detached(sandbox, Options::new(name)));
        }
    };
    let config = shm::Config {
        memory: args.memory.clone().unwrap_or(usual.memory),
        socket: args.socket.clone().unwrap_or(usual.socket),
        patience: args.timeout,
        ..usual
    };
    if args.role == Role::Remote {
        return serve(args, config);
    }
    let shm = Shm::new(config).map_err(|error| failed(args, error.code(), &error))?;
    main_side(args, Processor::detached(shm, Options::new(&args.peer.to_string())))
}

/// A remote that `sidecore start` left running.
pub(super) fn find(name: &str) -> Result<Sandbox, BackendError> {
    Sandbox::find(sandbox::Config { name: Some(name.to_owned()), ..sandbox::Config::default() })
}

/// Is the main side of a peer.
fn main_side<B: Backend>(args: &Args, mut processor: Processor<B>) -> Outcome {
    let service = match (&args.services[..], args.messages.is_empty()) {
        ([], _) => None,
        ([service], false) => Some(service),
        (_, true) => return Err(usage("a main side needs messages for the service, or --role remote")),
        (_, false) => return Err(usage("messages are for one service")),
    };
    processor.offer(echo::offer());
    processor.offer(discard::offer());
    let interrupts = Interrupts::catch(processor.waker(), true)?;
    processor.attach(None).map_err(|error| failed(args, error.code(), &error))?;
    let code = match service {
        Some(service) => talk(args, &processor, service)?,
        None => stay(args, &mut processor, &interrupts)?,
    };
    if processor.remote().state().is_live() {
        processor.detach().map_err(|error| failed(args, error.code(), &error))?;
    }
    Ok(code)
}

/// Sends the messages, and prints what comes back.
fn talk<B: Backend>(args: &Args, processor: &Processor<B>, service: &str) -> Outcome {
    let opened = processor.open(service, args.timeout);
    let endpoint = opened.map_err(|error| failed(args, error.code(), &error))?;
    let show = |bytes: Result<Vec<u8>, ReadError>| -> Result<(), Failure> {
        let bytes = bytes.map_err(|error| failed(args, codes::CONSOLE, &error))?;
        // From a peer: nothing in it may steer the terminal.
        print(&format!("{}\n", String::from_utf8_lossy(&bytes).escape_debug()))
    };
    std::iter::from_fn(|| processor.event()).filter(|_| args.verbose).for_each(|event| note(&event));
    // Answers to a main side that was killed.
    while let Some(message) = processor.try_receive(endpoint).ok().flatten() {
        show(message.to_vec())?;
    }
    for message in &args.messages {
        let sent = processor.send(endpoint, message.as_bytes(), args.timeout);
        sent.map_err(|error| failed(args, error.code(), &error))?;
        let answer = processor.receive(endpoint, Some(args.timeout));
        show(answer.map_err(|error| failed(args, error.code(), &error))?.to_vec())?;
    }
    // OpenAMP's programs end when they hear this. A peer that is gone already hears of nothing.
    if let Ok(name) = Name::new(service) {
        let _ = processor.withdraw(endpoint, &name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Is the remote of main sides that come, until the user has seen enough.
fn serve(args: &Args, config: shm::Config) -> Outcome {
    if !args.messages.is_empty() {
        return Err(usage("a remote has no messages of its own; --role host sends some"));
    }
    let texts: Vec<&str> = match &args.services[..] {
        [] => vec!["echo"],
        services => services.iter().map(String::as_str).collect(),
    };
    let channels = texts.into_iter().map(str::parse::<Channel>).collect::<Result<_, _>>();
    let channels = channels.map_err(|error| usage(&error.to_string()))?;
    let path = config.memory.display().to_string();
    let table = config.resource_table(F_NS as u32).map_err(|error| failed(args, error.code(), &error))?;
    let seat = Seat::new(config).map_err(|error| failed(args, error.code(), &error))?;
    let responder = Responder::new(seat, table, channels);
    let mut responder = responder.map_err(|error| failed(args, codes::SHARED_PLACE, &error))?;
    let stop = responder.stopper();
    let interrupts = Interrupts::catch_by(move || stop(), true)?;
    let served = responder.serve(&mut |visit| {
        let is_trouble = matches!(
            visit,
            Visit::Refused { .. } | Visit::Broken { .. } | Visit::Dropped { .. } | Visit::GaveUp
        );
        if args.verbose || is_trouble || *visit == Visit::Ready {
            note(&format_args!("{}: {visit}", printable(&path)));
        }
    });
    served.map_err(|error| failed(args, error.code(), &error))?;
    Ok(interrupts.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn usage(why: &str) -> Failure {
    Failure::new(codes::ATTACH_USAGE, "cannot do both").because(why).status(2)
}

/// Tells what happens until the peer goes, and is not to be attached to again, or the user has seen enough.
fn stay<B: Backend>(args: &Args, processor: &mut Processor<B>, interrupts: &Interrupts) -> Outcome {
    let policy = args.again.map_or(Policy::LEAVE, |most| Policy::of(Remedy::AttachAgain, most));
    let (mut recovery, since) = (Recovery::new(policy), Instant::now());
    loop {
        let mut is_anew = false;
        for event in std::iter::from_fn(|| processor.event()) {
            is_anew |= matches!(event, Event::DeviceReset { .. });
            note(&event);
        }
        if let Some(code) = interrupts.exit_code() {
            return Ok(ExitCode::from(code));
        }
        let is_gone = matches!(processor.ended(), Some(Ended::Lost(_) | Ended::Crashed(_)));
        if args.again.is_some() && (is_anew || is_gone) {
            if !attach_again(args, processor, &mut recovery, since, interrupts) {
                return Ok(interrupts.exit_code().map_or(ExitCode::from(remote::OURS), ExitCode::from));
            }
            continue;
        }
        match processor.ended() {
            // As it should: nobody expects it to stay for ever.
            Some(Ended::Lost(_)) => return Ok(ExitCode::SUCCESS),
            Some(_) => return Ok(ExitCode::from(remote::OURS)),
            None => {
                processor.wait(None);
            }
        }
    }
}

/// Attaches again as often and as soon as the policy has it; whether that was of any use.
fn attach_again<B: Backend>(
    args: &Args,
    processor: &mut Processor<B>,
    recovery: &mut Recovery,
    since: Instant,
    interrupts: &Interrupts,
) -> bool {
    loop {
        let decision = processor.decide(recovery, since.elapsed());
        note(&format_args!("{} is {decision}", args.peer));
        let Decision::Restart { after, .. } = decision else { return false };
        let due = Instant::now() + after;
        while due > Instant::now() && interrupts.exit_code().is_none() {
            thread::sleep(due.saturating_duration_since(Instant::now()).min(INTERRUPT_LOOK));
        }
        if interrupts.exit_code().is_some() {
            return false;
        }
        match processor.restart(Duration::ZERO) {
            Ok(_) => return true,
            Err(error) => note(&format_args!("warning[{}]: {error}", error.code())),
        }
    }
}

/// How often a look is taken whether somebody wants an end of it.
const INTERRUPT_LOOK: Duration = Duration::from_millis(10);

fn failed(args: &Args, code: Code, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(code, format!("cannot talk with {}", args.peer)).because(why).status(remote::OURS)
}
