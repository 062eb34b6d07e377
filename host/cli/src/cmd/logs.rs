//! `sidecore logs`: what a remote processor that Linux drives writes to its trace buffers.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use sidecore_backends::sysfs::{Remoteproc, SysfsError};

use crate::failure::{Outcome, printable};
use crate::interrupts::Interrupts;
use crate::kernel::{Follower, Place, refused};
use crate::output::print;

/// Show the trace of a remote processor that Linux drives
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The trace is the firmware's: a buffer that its resource table names. The kernel shows it in debugfs."
)]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name; see `sidecore ps`
    remote: String,
    /// Show what it writes from now on, too, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    place: Place,
}

/// How often a look is taken: nobody tells when firmware writes.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Args) -> Outcome {
    let remote = args.place.find(&args.remote)?;
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let mut traces = Traces::default();
    loop {
        let news = traces.news(&remote);
        print(&news.map_err(|error| refused(format!("cannot read the trace of {}", remote.id()), &error))?)?;
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        thread::sleep(LOOK);
    }
}

/// The traces of a remote, as far as they were shown.
#[derive(Default)]
pub(super) struct Traces(BTreeMap<String, Follower>);

impl Traces {
    /// What is new in all of them, made printable.
    pub(super) fn news(&mut self, remote: &Remoteproc) -> Result<String, SysfsError> {
        let mut shown = String::new();
        for name in remote.traces()? {
            let now = match remote.read_trace(&name) {
                Ok(now) => now,
                // It was stopped in between.
                Err(SysfsError::Refused { .. } | SysfsError::Gone { .. }) => continue,
                Err(error) => return Err(error),
            };
            let news = self.0.entry(name).or_default().news(&now);
            let text = String::from_utf8_lossy(news);
            // Whatever the firmware writes, lines end and nothing else moves the cursor.
            let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
                Some(line) => printable(line.trim_end_matches(['\r', '\0'])) + "\n",
                None => printable(line.trim_end_matches('\0')),
            });
            shown.extend(lines);
        }
        Ok(shown)
    }
}
