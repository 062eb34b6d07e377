//! `sidecore run`: firmware as if it were a program of this machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sidecore_backends::sandbox::Sandbox;
use sidecore_processor::{Capture, Ended, Event, Options, Processor, ServiceEvent, console};
use sidecore_remoteproc::CrashKind;

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::remote::{self, OURS, On};
use crate::terminal::Terminal;

/// Run firmware as if it were a program: its console on the terminal, its exit code ours
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes:
  the firmware's own, if it ended by itself
  124  it hung: it did not feed its watchdog in time
  125  sidecore could not do what was asked
  126  the firmware cannot be run
  127  there is no such firmware
  128+n  it crashed as by signal n (139 for a bad memory access), or sidecore was ended by signal n (130 for Ctrl-C)")]
pub(crate) struct Args {
    /// The firmware: the path of an ELF file, or the name of a built-in image
    image: OsString,
    /// Record all rpmsg frames to a pcapng file
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// What executes the firmware
    #[arg(long, value_name = "KIND", default_value = "sandbox")]
    on: On,
    /// Tell everything that happens on the standard error
    #[arg(short, long)]
    verbose: bool,
    /// Arguments for the firmware
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let image = Image::open(&args.image)?;
    let mut options = Options::new(&image.name);
    options.capture = args.pcap.as_deref().map(capture).transpose()?;
    let mut processor = remote::load(&image, args.on, options)?;
    let arguments: Vec<&[u8]> = args.args.iter().map(|argument| argument.as_bytes()).collect();
    let console = console::offer(Terminal::new(processor.waker()), &arguments);
    processor.offer(console.map_err(|error| {
        Failure::new(codes::ARGUMENTS, "cannot pass the arguments on").because(error).status(OURS)
    })?);
    let interrupts = Interrupts::catch(processor.waker())?;
    processor.start().map_err(|error| remote::remote(&image, &error))?;
    let ended = attend(&mut processor, &interrupts, args)?;
    Ok(ended)
}

/// Lets the remote run to its end.
fn attend(processor: &mut Processor<Sandbox>, interrupts: &Interrupts, args: &Args) -> Outcome {
    let mut finished: Option<(i32, Instant)> = None;
    loop {
        // A firmware that said its exit code has a moment to end by itself.
        let patience = finished.map(|(_, since)| GRACE.saturating_sub(since.elapsed()));
        processor.wait(patience);
        while let Some(event) = processor.event() {
            match &event {
                Event::Service { event: ServiceEvent::Finished { code }, .. } => {
                    finished = Some((*code, Instant::now()));
                }
                Event::Service { event: ServiceEvent::Failed { .. }, service: "console", .. } => {
                    stop(processor);
                    return Err(Failure::Unread);
                }
                _ => {}
            }
            if args.verbose || is_warning(&event) {
                let mut err = anstream::stderr().lock();
                let _ = writeln!(err, "sidecore: {event}");
            }
        }
        if let Some(ended) = processor.ended() {
            return Ok(exit_code(&ended, finished.map(|(code, _)| code)));
        }
        if let Some(code) = interrupts.exit_code() {
            stop(processor);
            return Ok(ExitCode::from(code));
        }
        if let Some((code, since)) = finished
            && since.elapsed() >= GRACE
        {
            stop(processor);
            return Ok(ExitCode::from(code as u8));
        }
    }
}

const GRACE: Duration = Duration::from_millis(500);

fn stop(processor: &mut Processor<Sandbox>) {
    // Whatever cannot be stopped ends with this process, which is next.
    let _ = processor.stop();
}

fn exit_code(ended: &Ended, finished: Option<i32>) -> ExitCode {
    ExitCode::from(match ended {
        // As a shell sees it: the low eight bits.
        Ended::Exited { code } => finished.unwrap_or(*code) as u8,
        Ended::Crashed(crash) if crash.kind == CrashKind::Hang => 124,
        Ended::Crashed(crash) => 128 | crash.signal,
        Ended::Stopped | Ended::Lost(_) => OURS,
    })
}

fn is_warning(event: &Event) -> bool {
    !matches!(
        event,
        Event::DeviceUp { .. }
            | Event::ServiceAnnounced { .. }
            | Event::ServiceWithdrawn { .. }
            | Event::Service { .. }
            | Event::Ended(Ended::Exited { .. })
    )
}

fn capture(path: &Path) -> Result<Capture, Failure> {
    let capture = File::create(path).and_then(|file| Capture::new(BufWriter::new(file)));
    capture.map_err(|error| {
        Failure::new(codes::CAPTURE, format!("cannot record to {}", path.display()))
            .because(error)
            .status(OURS)
    })
}
