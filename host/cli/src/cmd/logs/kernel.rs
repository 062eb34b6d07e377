//! The traces of a remote processor that Linux drives: text in debugfs, in which nobody wrote times.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sidecore_backends::log::What;
use sidecore_backends::sysfs::{Remoteproc, SysfsError};

use super::{Args, Show, follow};
use crate::failure::{Outcome, printable};
use crate::kernel::{Follower, refused};

pub(super) fn run(args: &Args, remote: &Remoteproc, show: &mut Show<'_>) -> Outcome {
    let mut traces = Traces::default();
    // What began and did not end yet.
    let mut partial: BTreeMap<String, String> = BTreeMap::new();
    let is_plain = !args.json && args.since.is_none() && args.lines.is_none() && !args.follow;
    follow(args, show, |show| {
        let cannot = |error| refused(format!("cannot read the trace of {}", remote.id()), &error);
        if is_plain {
            return crate::output::print(&traces.news(remote).map_err(cannot)?);
        }
        let time = show.is_new.then(Timestamp::now);
        for (name, text) in traces.pieces(remote).map_err(cannot)? {
            let text = partial.remove(&name).unwrap_or_default() + &text;
            for line in text.split_inclusive('\n') {
                match line.strip_suffix('\n') {
                    Some(line) => show.take(time, name.clone(), What::Text(clean(line)))?,
                    // The rest is to come, or it was all.
                    None if args.follow => _ = partial.insert(name.clone(), line.to_owned()),
                    None => show.take(time, name.clone(), What::Text(clean(line)))?,
                }
            }
        }
        Ok(())
    })
}

/// The traces of a remote, as far as they were shown.
#[derive(Default)]
pub(in crate::cmd) struct Traces(BTreeMap<String, Follower>);

impl Traces {
    /// What is new in all of them, made printable.
    pub(in crate::cmd) fn news(&mut self, remote: &Remoteproc) -> Result<String, SysfsError> {
        let mut shown = String::new();
        for (_, text) in self.pieces(remote)? {
            // Whatever the firmware writes, lines end and nothing else moves the cursor.
            let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
                Some(line) => clean(line) + "\n",
                None => clean(line),
            });
            shown.extend(lines);
        }
        Ok(shown)
    }

    /// What is new in each, with its name.
    fn pieces(&mut self, remote: &Remoteproc) -> Result<Vec<(String, String)>, SysfsError> {
        let mut pieces = Vec::new();
        for name in remote.traces()? {
            let now = match remote.read_trace(&name) {
                Ok(now) => now,
                // It was stopped in between.
                Err(SysfsError::Refused { .. } | SysfsError::Gone { .. }) => continue,
                Err(error) => return Err(error),
            };
            let news = self.0.entry(name.clone()).or_default().news(&now);
            pieces.push((name, String::from_utf8_lossy(news).into_owned()));
        }
        Ok(pieces)
    }
}

fn clean(line: &str) -> String {
    printable(line.trim_end_matches(['\r', '\0']))
}
