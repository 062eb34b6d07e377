//! Firmware on a remote processor that Linux drives.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sidecore_backends::sysfs::{Remoteproc, State, SysfsError};
use sidecore_os::EventFd;
use sidecore_processor::{ServiceEvent, console, discard, echo, files};

use super::channels::{Channels, News};
use super::{Args, grants};
use crate::cmd::logs::Traces;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::kernel::refused;
use crate::output::{eprint, note};
use crate::remote::OURS;
use crate::terminal::Terminal;

/// How often its state, its channels and its trace are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long Linux may take to start one again that crashed, so that it can be stopped.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long it is offline at most while it recovers.
const SETTLING: Duration = Duration::from_millis(500);
/// The exit code for a crash: as by SIGABRT, for Linux does not say of what.
const CRASHED: u8 = 128 + 6;

/// Loads and starts it, serves its console and files, and stops it when it is done or we are asked to end.
pub(super) fn run(args: &Args, name: &str) -> Outcome {
    let given = [
        (args.pcap.is_some(), "--pcap"),
        (args.log.is_some(), "--log"),
        (args.watchdog.is_some(), "--watchdog"),
        (args.dump.is_some(), "--dump"),
        (args.restart.is_some(), "--restart"),
        (args.beside.is_some(), "--beside"),
    ];
    if let Some((_, option)) = given.into_iter().find(|(given, _)| *given) {
        let what = format!("cannot run {} on {name}", args.image.display());
        let why = format!("there is no {option} for a remote processor that Linux drives");
        return Err(Failure::new(codes::KERNEL_OPTION, what).because(why).status(OURS));
    }
    let remote = args.place.find(name)?;
    let image = Image::open(&args.image)?;
    image.firmware()?;
    let what = format!("cannot run {} on {}", image.name, remote.id());
    let failed = |error| refused(what.clone(), &error).status(OURS);

    let bell = Arc::new(
        EventFd::new(false)
            .map_err(|error| Failure::new(codes::KERNEL_REMOTE, what.clone()).because(error).status(OURS))?,
    );
    let (input, asked) = (Arc::clone(&bell), Arc::clone(&bell));
    let (terminal, unwritten) = Terminal::new(move || input.ring());
    let arguments: Vec<&[u8]> = args.args.iter().map(|argument| argument.as_bytes()).collect();
    let console = console::offer(terminal, &arguments).map_err(|error| {
        Failure::new(codes::ARGUMENTS, "cannot pass the arguments on").because(error).status(OURS)
    })?;
    let offers = vec![console, files::offer(grants(&args.dirs)?), echo::offer(), discard::offer()];

    let state = remote.state().map_err(failed)?;
    if !matches!(state, State::Offline) {
        let why = format!("it is {state}; `sidecore stop {}` makes room", remote.id());
        return Err(Failure::new(codes::KERNEL_REMOTE, what).because(why).status(OURS));
    }
    let interrupts = Interrupts::catch_by(move || asked.ring(), true)?;
    let installed = remote.install(&image.name, &image.bytes).map_err(failed)?;
    remote.set_firmware(&installed).map_err(failed)?;
    remote.start().map_err(failed)?;
    if args.verbose {
        note(&format_args!("{} runs {installed}", remote.id()));
    }
    let mut session = Session {
        args,
        remote: &remote,
        channels: Channels::new(offers),
        traces: args.trace.then(Traces::default),
        finished: None,
        failure: None,
        is_gone: false,
    };
    let ended = session.attend(&bell, &interrupts).map_err(failed)?;
    session.follow_trace();
    let (code, state) = match ended {
        Ended::Asked(code) => (code, State::Running),
        // As a shell sees it: the low eight bits.
        Ended::Finished(code) => (code as u8, State::Running),
        Ended::Crashed => (CRASHED, State::Crashed),
        Ended::Left => return Ok(ExitCode::SUCCESS),
    };
    if state == State::Crashed {
        note(&format_args!("{} crashed: Linux' log says more", remote.id()));
        return recovered(&remote).map(|()| code.into()).map_err(failed);
    }
    remote.stop().map_err(failed)?;
    match session.failure {
        None => Ok(code.into()),
        Some(reason) => Err(match unwritten.take() {
            Some(error) => Failure::output(error).status(OURS),
            None => Failure::new(codes::CONSOLE, "there is no console").because(reason).status(OURS),
        }),
    }
}

/// Stops a remote that crashed: Linux starts it again first, unless its recovery is disabled.
fn recovered(remote: &Remoteproc) -> Result<(), SysfsError> {
    let end = Instant::now() + RECOVERY;
    let mut offline = 0;
    loop {
        // Linux does one thing after the other, so that this waits for a recovery that is under way.
        let Err(refused) = remote.stop() else { return Ok(()) };
        match remote.state()? {
            // It is also in the middle of a recovery that began just now, for which the next order waits.
            State::Offline if offline < 2 => {
                offline += 1;
                thread::sleep(LOOK);
            }
            State::Offline | State::Deleted | State::Detached => return Ok(()),
            _ if Instant::now() < end => thread::sleep(LOOK),
            State::Crashed => {
                note(&format_args!("its recovery is disabled, so that {} stays as it is", remote.id()));
                return Ok(());
            }
            _ => return Err(refused),
        }
    }
}

/// How a run ended.
enum Ended {
    /// We were asked to end, with this exit code.
    Asked(u8),
    /// The firmware is done.
    Finished(i32),
    /// It crashed.
    Crashed,
    /// Somebody else stopped it, or its end is the kernel's doing.
    Left,
}

/// A remote that runs.
struct Session<'a> {
    args: &'a Args,
    remote: &'a Remoteproc,
    channels: Channels,
    traces: Option<Traces>,
    /// The exit code that the firmware said over its console.
    finished: Option<i32>,
    /// Why there is no console.
    failure: Option<String>,
    /// An endpoint went.
    is_gone: bool,
}

impl Session<'_> {
    /// Serves the firmware to its end.
    fn attend(&mut self, bell: &EventFd, interrupts: &Interrupts) -> Result<Ended, SysfsError> {
        let mut looked: Option<Instant> = None;
        loop {
            let mut news = Vec::new();
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                self.follow_trace();
                match self.remote.state()? {
                    State::Crashed | State::Offline | State::Deleted | State::Detached => return self.end(),
                    _ => self.channels.look(self.remote, &mut |piece| news.push(piece))?,
                }
            }
            self.channels.work(&mut |piece| news.push(piece));
            news.into_iter().for_each(|piece| self.take(piece));
            if let Some(code) = self.finished {
                return Ok(Ended::Finished(code));
            }
            if self.failure.is_some() {
                return Ok(Ended::Asked(OURS));
            }
            // All endpoints go when it stops or crashes.
            if self.is_gone {
                return self.end();
            }
            if let Some(code) = interrupts.exit_code() {
                return Ok(Ended::Asked(code));
            }
            self.channels.wait(bell, LOOK);
        }
    }

    /// Whether it crashed or was stopped: it is offline for a moment, too, while Linux has it recover.
    fn end(&self) -> Result<Ended, SysfsError> {
        let end = Instant::now() + SETTLING;
        loop {
            match self.remote.state()? {
                State::Deleted | State::Detached => return Ok(Ended::Left),
                State::Offline if Instant::now() < end => thread::sleep(LOOK),
                State::Offline => return Ok(Ended::Left),
                _ => return Ok(Ended::Crashed),
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Service { service: "console", event: ServiceEvent::Finished { code } } => {
                self.finished = Some(code);
            }
            News::Service { service: "console", event: ServiceEvent::Failed { reason } } => {
                self.failure = Some(reason);
            }
            News::Service { service, event } => {
                if self.args.verbose || matches!(event, ServiceEvent::Failed { .. }) {
                    note(&format_args!("{service}: {event}"));
                }
            }
            News::Wrong { service, why } => note(&format_args!("warning: {service}: {why}")),
            News::Unserved { channel, why } => {
                note(&format_args!("warning: the channel {channel} cannot be served: {why}"));
            }
            News::Gone => self.is_gone = true,
        }
    }

    fn follow_trace(&mut self) {
        let Some(traces) = &mut self.traces else { return };
        match traces.news(self.remote) {
            Ok(text) => eprint(&text),
            Err(error) => {
                note(&format_args!("its trace cannot be shown: {error}"));
                self.traces = None;
            }
        }
    }
}
