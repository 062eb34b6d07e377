//! `sidecore run`: firmware as if it were a program of this machine.

mod crash;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueHint;
use sidecore_backends::Any;
use sidecore_backends::qemu::Qemu;
use sidecore_processor::grants::{self, Grant, Grants};
use sidecore_processor::{
    Capture, Ended, Event, Options, Processor, ServiceEvent, console, discard, echo, files,
};
use sidecore_remoteproc::recovery::{Policy, Recovery, Remedy};
use sidecore_remoteproc::{Backend as _, CrashKind};

use self::traces::Traces;
use super::dump::Memories;
use super::gdb::Debug;
use crate::codes;
use crate::debugger::Debugger;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::kernel::Place;
use crate::output::note;
use crate::remote::{self, OURS, On, Settings};
use crate::terminal::{Terminal, Unwritten, write_through};

mod channels;
mod kernel;
mod traces;

/// Run firmware as if it were a program: its console on the terminal, its exit code ours
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes:
  the firmware's own, if it ended by itself
  124    it hangs: it did not feed its watchdog in time
  125    sidecore could not do what was asked
  126    the firmware cannot be run
  127    there is no such firmware
  128+n  it crashed as by signal n (139 for a bad memory access), or sidecore
         itself was asked to end by signal n (130 for Ctrl-C; a second Ctrl-C
         ends everything at once)")]
pub(crate) struct Args {
    /// The firmware: the path of an ELF file, or the name of a built-in image
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) image: OsString,
    /// A directory that the firmware may use, and where it finds it; `:ro` for reading only
    #[arg(long = "dir", value_name = "HOST[:GUEST][:ro]", value_hint = ValueHint::DirPath)]
    pub(super) dirs: Vec<OsString>,
    /// Record all rpmsg frames to a pcapng file (link type 147)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pcap: Option<PathBuf>,
    /// What executes the firmware: `sandbox`, a confined process on this machine; `qemu:BOARD`, see `sidecore boards`; or
    /// `remoteprocN`, which Linux drives, see `sidecore ps`
    #[arg(long, value_name = "KIND", default_value = "sandbox")]
    pub(super) on: On,
    /// The image of the board's other core, where it has two
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(super) beside: Option<OsString>,
    /// Answer the firmware's semihosting calls, on a board: its console, its exit code, the time, and THIS MACHINE'S FILES,
    /// to read, change and remove like you; only for firmware that you trust like a program of yours
    #[arg(long)]
    pub(super) semihosting: bool,
    /// Call it a hang when the firmware computes for so long without feeding its watchdog or waiting
    #[arg(long, value_name = "SECONDS", value_parser = remote::seconds)]
    pub(super) watchdog: Option<Duration>,
    /// Show the firmware's trace on the standard error while it runs
    #[arg(long)]
    pub(super) trace: bool,
    /// Keep what the firmware writes to its traces in a file, a line each with its time; or in the systemd journal, if it is
    /// called `journal`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) log: Option<OsString>,
    /// Keep a core dump if it crashes, for `sidecore dump`, in the usual place or in a directory; and whenever SIGQUIT
    /// (Ctrl-\) asks for one of it as it runs
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "", value_hint = ValueHint::DirPath)]
    pub(super) dump: Option<OsString>,
    /// Which memories a dump has: all, or those alone that the firmware may write, for the rest is in its file
    #[arg(long, value_name = "WHICH", default_value = "all", requires = "dump")]
    pub(super) dump_memory: Memories,
    /// Start it again when it crashes, so many times within a minute at most [default N: 5], later and later; `silent`: with
    /// endpoints as they are, and sending again what it had not released
    #[arg(long, value_name = "on-crash[:N][,silent]", value_parser = restarts)]
    pub(super) restart: Option<Policy>,
    /// Tell everything that happens on the standard error
    #[arg(short, long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) place: Place,
    /// Arguments for the firmware
    #[arg(last = true, value_name = "ARGS")]
    pub(super) args: Vec<OsString>,
    /// Whether it is held at its first instruction, and for whom.
    #[arg(skip)]
    pub(super) debug: Debug,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let On::Kernel(name) = &args.on {
        return kernel::run(args, name);
    }
    attend(args, |_| Ok(None))
}

/// Runs firmware; `debug` gets the started remote, held at its first instruction where that is wanted, and may have
/// somebody look at it.
pub(super) fn attend(
    args: &Args,
    debug: impl FnOnce(&Processor<Any>) -> Result<Option<Debugger>, Failure>,
) -> Outcome {
    let image = Image::open(&args.image)?;
    let traces = Traces::new(args.trace, args.log.as_deref(), &image)?;
    let grants = grants(&args.dirs)?;
    let mut options = Options::new(&image.name);
    options.capture = args.pcap.as_deref().map(capture).transpose()?;
    let (on, beside) = (args.on.clone(), args.beside.clone());
    let semihosting = args.semihosting.then(|| [slice::from_ref(&args.image), &args.args].concat());
    let (watchdog, held) = (args.watchdog, args.debug != Debug::No);
    let settings = Settings { on, watchdog, held, beside, semihosting };
    let mut processor = remote::load(&image, settings, options)?;
    let interrupts = Interrupts::catch(processor.waker(), args.debug != Debug::Here)?;

    let arguments: Vec<&[u8]> = args.args.iter().map(|argument| argument.as_bytes()).collect();
    let waker = processor.waker();
    let (terminal, unwritten) = Terminal::new(move || waker.wake());
    let console = console::offer(terminal, &arguments);
    let cannot =
        |error| Failure::new(codes::ARGUMENTS, "cannot pass the arguments on").because(error).status(OURS);
    processor.offer(console.map_err(cannot)?);
    processor.offer(files::offer(grants));
    processor.offer(echo::offer());
    processor.offer(discard::offer());

    if args.dump.is_some() && args.debug == Debug::No {
        interrupts.catch_dump(processor.waker())?;
    }
    processor.start().map_err(|error| remote::remote(&image, &error))?;
    let debugger = debug(&processor)?;
    Session::new(args, image, processor, traces, unwritten, debugger).attend(&interrupts)
}

/// A remote that runs, and what is to be told of it.
struct Session<'a> {
    args: &'a Args,
    image: Image,
    processor: Processor<Any>,
    traces: Option<Traces>,
    unwritten: Unwritten,
    debugger: Option<Debugger>,
    /// What happens again and again, with counts, until it is told.
    repeated: Vec<Event>,
    /// When some of that was told last.
    told: Option<Instant>,
    /// The exit code that the firmware said over its console, and when.
    finished: Option<(i32, Instant)>,
    recovery: Recovery,
    since: Instant,
    /// Number of the first entry of the remote's log that has not been told.
    described: u64,
    /// Dumps that are being written while the remote runs again.
    dumps: Vec<JoinHandle<()>>,
}

/// How long a firmware that has said its exit code may take to end by itself.
const GRACE: Duration = Duration::from_millis(500);
/// How often a look is taken whether the debugger has ended.
const DEBUGGER_LOOK: Duration = Duration::from_millis(50);
/// How often a crashed remote is restarted within a minute, where nothing else is said.
const RESTARTS: u32 = 5;
/// How long services may take to come back after a silent restart.
const BACK: Duration = Duration::from_secs(5);
/// How often the same thing is told.
const REPEAT: Duration = Duration::from_secs(1);

impl<'a> Session<'a> {
    fn new(
        args: &'a Args,
        image: Image,
        processor: Processor<Any>,
        traces: Option<Traces>,
        unwritten: Unwritten,
        debugger: Option<Debugger>,
    ) -> Self {
        // Whoever debugs it wants to see it as it is.
        let policy = args.restart.filter(|_| args.debug == Debug::No).unwrap_or(Policy::LEAVE);
        let mut session = Self {
            args,
            image,
            processor,
            traces,
            unwritten,
            debugger,
            repeated: Vec::new(),
            told: None,
            finished: None,
            recovery: Recovery::new(policy),
            since: Instant::now(),
            described: 0,
            dumps: Vec::new(),
        };
        session.begin();
        if session.processor.remote().table().is_none() && !args.semihosting {
            let name = &session.image.name;
            note(&format_args!(
                "{name} has no resource table: it runs, but there is no console and no channel to it"
            ));
        }
        session
    }

    /// Looks at a remote that was started just now.
    fn begin(&mut self) {
        if let Some(traces) = &mut self.traces {
            traces.begin(&self.processor, &self.image.name);
        }
        self.finished = None;
        if self.args.verbose {
            self.described = remote::describe_since(&self.processor, self.described);
            self.processor.remote().backend().findings().iter().for_each(note);
        }
    }

    /// Lets the remote run to its end.
    fn attend(mut self, interrupts: &Interrupts) -> Outcome {
        loop {
            let grace = self.finished.map(|(_, since)| GRACE.saturating_sub(since.elapsed()));
            let look = self.traces.as_ref().and_then(Traces::patience);
            let debugger = self.debugger.as_ref().map(|_| DEBUGGER_LOOK);
            let again = self.told.filter(|_| !self.repeated.is_empty()).map(|_| REPEAT);
            self.processor.wait([grace, look, debugger, again].into_iter().flatten().min());
            self.follow_trace();
            self.put_semihosting()?;
            if self.args.verbose {
                remote::tell_console(&self.processor);
            }
            while let Some(event) = self.processor.event() {
                self.take(&event)?;
            }
            self.tell_repeated();
            if interrupts.dump_is_wanted() && self.processor.ended().is_none() {
                self.dump_running();
            }
            if let Some(ended) = self.processor.ended() {
                self.traces.iter_mut().for_each(|traces| traces.end(&ended));
                if matches!(ended, Ended::Crashed(_)) && self.restart(interrupts)? {
                    continue;
                }
                // What it was is to be looked at, as long as its user likes.
                self.debugger.iter_mut().for_each(Debugger::wait);
                self.dumps.drain(..).for_each(|dump| drop(dump.join()));
                let code = interrupts.exit_code().unwrap_or_else(|| self.exit_code(&ended));
                return Ok(ExitCode::from(code));
            }
            if let Some(code) = interrupts.exit_code().or_else(|| self.debugger.as_mut()?.exit_code()) {
                self.stop();
                return Ok(ExitCode::from(code));
            }
            if let Some((code, since)) = self.finished
                && since.elapsed() >= GRACE
            {
                self.stop();
                return Ok(ExitCode::from(code as u8));
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Service { service: "console", event: ServiceEvent::Finished { code }, .. } => {
                self.finished = Some((*code, Instant::now()));
            }
            Event::Service { service: "console", event: ServiceEvent::Failed { reason }, .. } => {
                self.stop();
                return Err(match self.unwritten.take() {
                    Some(error) => Failure::output(error).status(OURS),
                    None => Failure::new(codes::CONSOLE, "there is no console").because(reason).status(OURS),
                });
            }
            Event::Ended(Ended::Crashed(crash)) => {
                self.told = None;
                self.tell_repeated();
                self.report(crash);
            }
            Event::Ended(ended) => {
                self.told = None;
                self.tell_repeated();
                if self.args.verbose || matches!(ended, Ended::Lost(_)) {
                    tell(event);
                }
            }
            event if event.is_repeatable() => self.repeat(event),
            event if self.args.verbose || is_warning(event) => tell(event),
            _ => {}
        }
        Ok(())
    }

    fn repeat(&mut self, event: &Event) {
        if !self.repeated.iter_mut().any(|untold| untold.merge(event)) {
            self.repeated.push(event.clone());
        }
    }

    /// Tells what happened again and again: at once the first time, and then once a second.
    fn tell_repeated(&mut self) {
        if !self.repeated.is_empty() && self.told.is_none_or(|told| told.elapsed() >= REPEAT) {
            self.repeated.drain(..).for_each(|event| tell(&event));
            self.told = Some(Instant::now());
        }
    }

    fn follow_trace(&mut self) {
        if let Some(traces) = &mut self.traces {
            traces.look(&self.processor);
        }
    }

    /// What the firmware writes by semihosting is its output.
    fn put_semihosting(&mut self) -> Result<(), Failure> {
        let remote = self.processor.remote();
        let bytes = remote.backend().qemu().map(Qemu::take_semihosting).unwrap_or_default();
        drop(remote);
        let written = if bytes.is_empty() { Ok(()) } else { write_through(&mut io::stdout().lock(), &bytes) };
        written.map_err(|error| {
            self.stop();
            Failure::output(error).status(OURS)
        })
    }

    fn stop(&mut self) {
        // Whatever cannot be stopped ends with this process, which is next.
        let _ = self.processor.stop();
        self.follow_trace();
        self.traces.iter_mut().for_each(|traces| traces.end(&Ended::Stopped));
    }

    fn exit_code(&self, ended: &Ended) -> u8 {
        match ended {
            // As a shell sees it: the low eight bits.
            Ended::Exited { code } => self.finished.map_or(*code, |(code, _)| code) as u8,
            Ended::Crashed(crash) if crash.kind == CrashKind::Hang => 124,
            Ended::Crashed(crash) => 128 | crash.signal,
            Ended::Stopped | Ended::Detached | Ended::Lost(_) => OURS,
        }
    }
}

/// `on-crash` or `on-crash:N`, and `,silent` behind it.
fn restarts(text: &str) -> Result<Policy, String> {
    let (when, remedy) = match text.strip_suffix(",silent") {
        Some(when) => (when, Remedy::RestartSilently { within: BACK }),
        None => (text, Remedy::Restart),
    };
    let most = match when.strip_prefix("on-crash") {
        Some("") => Ok(RESTARTS),
        Some(rest) => rest.strip_prefix(':').unwrap_or_default().parse().map_err(|_| ()),
        None => Err(()),
    };
    let policy = most.map(|most| Policy::of(remedy, most));
    policy.map_err(|()| "it is neither on-crash nor on-crash:N, with or without ,silent behind it".to_owned())
}

/// Tells of an event, with the code that explains it.
fn tell(event: &Event) {
    match event.code() {
        Some(code) => note(&format_args!("warning[{code}]: {event}")),
        None => note(event),
    }
}

/// What is worth telling although nobody asked.
fn is_warning(event: &Event) -> bool {
    !matches!(
        event,
        Event::DeviceUp { .. }
            | Event::ServiceAnnounced { .. }
            | Event::ServiceWithdrawn { .. }
            | Event::Service { .. }
    )
}

fn grants(dirs: &[OsString]) -> Result<Grants, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Failure::new(codes::GRANT, "cannot grant a directory").because(why).status(OURS)
    };
    let granted: Result<Vec<Grant>, _> = dirs.iter().map(|dir| Grant::parse(dir)).collect();
    let granted = granted.map_err(|error| cannot(&error))?;
    Grants::open(granted, grants::Limits::default()).map_err(|error| cannot(&error))
}

pub(super) fn capture(path: &Path) -> Result<Capture, Failure> {
    let capture = File::create(path).and_then(|file| Capture::new(BufWriter::new(file)));
    capture.map_err(|error| {
        Failure::new(codes::CAPTURE, format!("cannot record to {}", path.display()))
            .because(error)
            .status(OURS)
    })
}
