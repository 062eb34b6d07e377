//! `sidecore logs`: what remotes write to their traces, as it was kept or as the kernel has it.

mod kernel;
mod since;
pub(super) mod tail;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use sidecore_backends::log::{Record, What, file_name};
use sidecore_remoteproc::trace::Line;

pub(super) use kernel::Traces;
pub(super) use since::moment;

use super::attach::SANDBOX;
use crate::codes;
use crate::defmt::Decoder;
use crate::failure::{Failure, Outcome, printable};
use crate::interrupts::Interrupts;
use crate::output::print;
use crate::state;
use crate::target::{Reach, Remotes, Target};

/// Show what a remote said: the traces of a sandbox that was started, or of a remote processor that Linux drives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Traces are the firmware's: buffers that its resource table names. The log of `sandbox:NAME` is kept from `sidecore start` on \
in $XDG_STATE_HOME/sidecore/logs (~/.local/state/sidecore/logs), of at most 16 MiB, and stays when the remote is gone. Each \
line has the time at which it was read, which is soon after it was written; what was overwritten before is counted.

Of a remote processor that Linux drives the kernel shows the text in debugfs, without times: lines that come while --follow \
waits for them have one.

TIME is as for journalctl: `2026-11-21 20:15`, `20:15`, `today`, `yesterday`, `10min ago`, `-1h30m`, `@SECONDS`.")]
pub(crate) struct Args {
    /// Which one: one of the daemon's; `sandbox:NAME`; or `remoteproc0`, or its name, see `sidecore ps`
    remote: String,
    /// Show what comes from now on, too, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Show nothing that is older
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Show only the last so many lines of what is there
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Print a JSON object a line (schema sidecore.logs/1)
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How often a look is taken: nobody tells when a log grows.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Args) -> Outcome {
    let now = Zoned::now();
    let since = args.since.as_deref().map(|text| since::moment(text, &now)).transpose();
    let since =
        since.map_err(|why| Failure::new(codes::LOGS, "cannot tell since when").because(why).status(2))?;
    let zone = now.time_zone().clone();
    let mut show = Show { args, since, zone, kept: VecDeque::new(), is_new: false, decoder: None };
    let remotes = args.reach.remotes()?;
    let place = &args.reach.place;
    match (remotes.look_for(&args.remote)?, args.remote.strip_prefix(SANDBOX)) {
        (Some(target), _) if target.is_daemons => kept(args, &remotes, &target, &mut show),
        (Some(target), _) => match target.linux() {
            Some(id) => kernel::run(args, &place.find(id)?, &mut show),
            None => sandbox(args, &target.name, &mut show),
        },
        // It may have left a log.
        (None, Some(name)) => sandbox(args, name, &mut show),
        (None, None) if file(&args.remote).is_some_and(|log| log.exists()) => {
            sandbox(args, &args.remote, &mut show)
        }
        (None, None) if let Some(failure) = remotes.nobody(&args.remote) => Err(failure),
        (None, None) => kernel::run(args, &place.find(&args.remote)?, &mut show),
    }
}

/// Shows the log that the daemon keeps.
fn kept(args: &Args, remotes: &Remotes, target: &Target, show: &mut Show<'_>) -> Outcome {
    let cannot =
        |error| Failure::new(codes::LOGS, format!("cannot read the log of {}", target.id())).because(error);
    let processor = remotes.processor(target)?;
    let mut tail = tail::Tail::kept(move || processor.log().map_err(io::Error::other));
    follow(args, show, |show| {
        let mut shown = Ok(());
        let read = tail.read(&mut |record| {
            if shown.is_ok() {
                shown = show.take(Some(record.time), record.trace, record.what);
            }
        });
        shown.and(read.map_err(cannot))
    })
}

/// Gives all lines of a log that somebody has opened.
pub(super) fn records(log: File, take: &mut dyn FnMut(Record)) -> io::Result<()> {
    tail::Tail::kept(move || log.try_clone()).read(take)
}

/// Shows the log that a warden keeps.
fn sandbox(args: &Args, name: &str, show: &mut Show<'_>) -> Outcome {
    let path = file(name).ok_or_else(|| {
        Failure::new(codes::LOGS, "there is no place for logs")
            .because("there is neither $XDG_STATE_HOME nor $HOME")
    })?;
    let cannot = |error| Failure::new(codes::LOGS, format!("cannot read {}", path.display())).because(error);
    show.decoder = fs::read(firmware(&path)).ok().and_then(|file| Decoder::new(&file));
    let mut tail = tail::Tail::new(path.clone());
    follow(args, show, |show| {
        let mut shown = Ok(());
        let read = tail.read(&mut |record| {
            if shown.is_ok() {
                shown = show.take(Some(record.time), record.trace, record.what);
            }
        });
        shown?;
        match read {
            // The remote is there and has said nothing yet, or it never was.
            Ok(())
                if tail.is_missing() && !args.reach.place.sandboxes().iter().any(|other| other == name) =>
            {
                Err(Failure::new(codes::LOGS, format!("{} has no log", args.remote))
                    .because(format!("there is no {}", path.display())))
            }
            Ok(()) => Ok(()),
            Err(error) => Err(cannot(error)),
        }
    })
}

/// The log of the sandbox of this name; none where there is no place for it, or the name is none.
pub(super) fn file(name: &str) -> Option<PathBuf> {
    Some(state::directory("logs")?.join(file_name(&name.replace('/', "_"))))
}

/// Where the firmware is kept whose frames are in this log: they say nothing without it.
pub(super) fn firmware(log: &Path) -> PathBuf {
    log.with_extension("elf")
}

/// Where the name of that firmware is kept.
pub(super) fn firmware_name(log: &Path) -> PathBuf {
    log.with_extension("firmware")
}

/// What the firmware of a sandbox that stays is called.
pub(super) fn kept_name(name: &str) -> Option<String> {
    let kept = fs::read_to_string(firmware_name(&file(name)?)).ok()?;
    Some(kept.chars().take(MAX_NAME).collect())
}

/// Characters of a firmware's name that are told.
const MAX_NAME: usize = 255;

/// Shows what `look` finds, once or until somebody has seen enough.
fn follow(
    args: &Args,
    show: &mut Show<'_>,
    mut look: impl FnMut(&mut Show<'_>) -> Result<(), Failure>,
) -> Outcome {
    let interrupts = Interrupts::catch_by(|| (), true)?;
    loop {
        look(show)?;
        show.flush()?;
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        thread::sleep(LOOK);
    }
}

/// Shows lines, as they are asked for.
struct Show<'a> {
    args: &'a Args,
    since: Option<Timestamp>,
    zone: TimeZone,
    /// Those that may be the last of what is there.
    kept: VecDeque<String>,
    /// Whether what was there has been shown.
    is_new: bool,
    /// Of firmware that logs by `defmt`.
    decoder: Option<Decoder>,
}

impl Show<'_> {
    /// Takes a line; one whose time is not known is older than any moment.
    fn take(&mut self, time: Option<Timestamp>, trace: String, what: What) -> Result<(), Failure> {
        if self.since.is_some_and(|since| time.is_none_or(|time| time < since)) {
            return Ok(());
        }
        let what = match (what, &mut self.decoder) {
            (What::Frame(frame), Some(decoder)) => What::Text(decoder.decode(&frame)),
            (what, _) => what,
        };
        let line = match self.args.json {
            true => self.json(time, &trace, what)?,
            false => self.text(time, &trace, &what),
        };
        match self.args.lines {
            Some(most) if !self.is_new => {
                self.kept.push_back(line);
                if self.kept.len() > most {
                    self.kept.pop_front();
                }
                Ok(())
            }
            _ => print(&line),
        }
    }

    /// All that was there has been taken; what comes now is new.
    fn flush(&mut self) -> Result<(), Failure> {
        self.is_new = true;
        std::mem::take(&mut self.kept).iter().try_for_each(|line| print(line))
    }

    fn text(&self, time: Option<Timestamp>, trace: &str, what: &What) -> String {
        let line = printable(&format!("{trace}{what}"));
        match time {
            Some(time) => {
                let time = time.to_zoned(self.zone.clone());
                format!("{} {line}\n", time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z"))
            }
            None => format!("{line}\n"),
        }
    }

    fn json(&self, time: Option<Timestamp>, trace: &str, what: What) -> Result<String, Failure> {
        #[derive(Serialize)]
        struct Object<'a> {
            schema: &'static str,
            time: Option<String>,
            remote: &'a str,
            trace: &'a str,
            #[serde(flatten)]
            what: Said,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "lowercase")]
        enum Said {
            Text(String),
            Frame(String),
            Lost(u64),
            Note(String),
        }
        let what = match what {
            What::Text(text) => Said::Text(text),
            What::Frame(bytes) => Said::Frame(Line::Frame(bytes).to_string()),
            What::Lost(bytes) => Said::Lost(bytes),
            What::Note(note) => Said::Note(note),
        };
        let time = time.map(|time| format!("{time:.6}"));
        let line = Object { schema: "sidecore.logs/1", time, remote: &self.args.remote, trace, what };
        let text = serde_json::to_string(&line).map_err(|error| Failure::output(error.into()))?;
        Ok(text + "\n")
    }
}
