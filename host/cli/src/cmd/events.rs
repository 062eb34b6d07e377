//! `sidecore events`: what happens to remotes, as it happens.

mod outside;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use sidecore_backends::log::What;
use sidecore_client::{Client, Detail, Error, Event};

use self::outside::Outside;
use super::logs::{moment, records};
use crate::codes;
use crate::details::Inspector;
use crate::failure::{Failure, Outcome, printable};
use crate::interrupts::Interrupts;
use crate::output::{self, note, print, print_json_line};
use crate::target::{Reach, Remotes, Target, failed};

/// Tell what happens to remotes: comings and goings, states, channels, warnings
#[derive(Debug, clap::Args)]
#[command(after_help = EVENTS)]
pub(crate) struct Args {
    /// Which one's, see `sidecore ps` [default: all]
    remote: Option<String>,
    /// Leave after so many events [default: at Ctrl-C]
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Begin with what the logs have since then: starts and ends
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    #[command(flatten)]
    reach: Reach,
    /// Print a JSON object a line (schema sidecore.events/1)
    #[arg(long)]
    pub(crate) json: bool,
}

const EVENTS: &str = "\
The daemon tells of all that happens to its remotes. Without one that is told which can be seen from outside: sandboxes that come, \
go, and what their logs say of them, and states and channels of what Linux drives.

Kinds of events: added, removed, state, crashed, name-appeared, name-gone, lease, endpoint-opened, endpoint-closed, job, \
notice, warning. TIME is as for `sidecore logs`.

REMOTE is the name of one of the daemon's, `sandbox:NAME`, `remoteprocN`, `linux:NAME`; or a name, or the beginning of one, \
that no other remote has.

Exit codes are those of `sidecore wait`; 125 where the daemon has gone.";

/// How often a look is taken whether somebody has had enough.
const SLICE: Duration = Duration::from_millis(100);
/// How often a silent daemon is looked after.
const SELDOM: Duration = Duration::from_secs(1);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
struct Happened {
    time: Timestamp,
    remote: String,
    kind: String,
    what: String,
    details: BTreeMap<String, serde_json::Value>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let now = Zoned::now();
    let since = args.since.as_deref().map(|text| moment(text, &now)).transpose();
    let since =
        since.map_err(|why| Failure::new(codes::LOGS, "cannot tell since when").because(why).status(2))?;
    let remotes = args.reach.remotes()?;
    let target = args.remote.as_deref().map(|typed| remotes.find(typed)).transpose()?;
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let mut told = Teller { args, told: 0 };
    match remotes.daemon().filter(|_| target.as_ref().is_none_or(|target| target.is_daemons)) {
        Some(daemon) => followed(daemon, &remotes, target.as_ref(), since, &interrupts, &mut told),
        None => {
            if !args.json {
                note(
                    &"no daemon: told is what can be seen from outside (`sidecored --session` is one for you alone)",
                );
            }
            watched(&remotes, target.as_ref(), since, &interrupts, &mut told)
        }
    }
}

/// Tells what the daemon tells.
fn followed(
    daemon: &Client,
    remotes: &Remotes,
    target: Option<&Target>,
    since: Option<Timestamp>,
    interrupts: &Interrupts,
    told: &mut Teller<'_>,
) -> Outcome {
    let cannot = |error: Error| failed("no more events come", &error);
    let events = match target {
        Some(target) => remotes.processor(target)?.events(),
        None => daemon.events(),
    };
    let mut events = events.map_err(cannot)?;
    let inspector = Inspector::new(daemon)?;
    past(remotes, target, since, told)?;
    let mut heard = Instant::now();
    while !told.is_enough() {
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        match events.wait(SLICE).map_err(cannot)? {
            Some(event) => {
                told.tell(&of(event))?;
                heard = Instant::now();
            }
            None if heard.elapsed() < SELDOM => {}
            None if inspector.is_there() => heard = Instant::now(),
            None => return Err(cannot(Error::BusGone { why: "the daemon has left it".to_owned() })),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what can be seen without a daemon.
fn watched(
    remotes: &Remotes,
    target: Option<&Target>,
    since: Option<Timestamp>,
    interrupts: &Interrupts,
    told: &mut Teller<'_>,
) -> Outcome {
    let mut outside = Outside::new(remotes, target.map(Target::id))?;
    past(remotes, target, since, told)?;
    while !told.is_enough() {
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        for happened in outside.look()? {
            if !told.is_enough() {
                told.tell(&happened)?;
            }
        }
        std::thread::sleep(SLICE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what logs have since a moment, of all that have one.
fn past(
    remotes: &Remotes,
    target: Option<&Target>,
    since: Option<Timestamp>,
    told: &mut Teller<'_>,
) -> Result<(), Failure> {
    let Some(since) = since else { return Ok(()) };
    let targets = match target {
        Some(target) => vec![target.clone()],
        None => remotes.all()?,
    };
    let mut past = Vec::new();
    for target in targets.iter().filter(|target| target.linux().is_none()) {
        // There need not be a log of each.
        let Ok(log) = remotes.processor(target)?.log() else { continue };
        let read = records(log, &mut |record| {
            if let What::Note(what) = record.what
                && record.time >= since
            {
                past.push(Happened::noted(&target.id(), record.time, what));
            }
        });
        read.map_err(|error| {
            Failure::new(codes::LOGS, format!("cannot read the log of {}", target.id())).because(error)
        })?;
    }
    past.sort_by_key(|happened| happened.time);
    for happened in past {
        if !told.is_enough() {
            told.tell(&happened)?;
        }
    }
    Ok(())
}

impl Happened {
    fn new(remote: &str, kind: &str, what: impl Into<String>) -> Self {
        Self {
            time: Timestamp::now(),
            remote: remote.to_owned(),
            kind: kind.to_owned(),
            what: what.into(),
            details: BTreeMap::new(),
        }
    }

    /// What a warden wrote into a log.
    fn noted(remote: &str, time: Timestamp, what: String) -> Self {
        Self { time, ..Self::new(remote, "notice", what) }
    }

    fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

fn of(event: Event) -> Happened {
    let detail = |detail| match detail {
        Detail::Text(text) => serde_json::Value::from(text),
        Detail::Number(number) => number.into(),
        other => other.to_string().into(),
    };
    Happened {
        // A clock before the year -9999 is none.
        time: Timestamp::try_from(event.time).unwrap_or_default(),
        remote: event.processor,
        kind: event.kind,
        what: event.what,
        details: event.details.into_iter().map(|(key, value)| (key, detail(value))).collect(),
    }
}

/// Tells events, and counts them.
struct Teller<'a> {
    args: &'a Args,
    told: u64,
}

impl Teller<'_> {
    fn is_enough(&self) -> bool {
        self.args.count.is_some_and(|count| self.told >= count)
    }

    fn tell(&mut self, happened: &Happened) -> Result<(), Failure> {
        self.told += 1;
        let Happened { time, remote, kind, what, details } = happened;
        if !self.args.json {
            let time = output::moment(*time);
            return print(&format!("{time} {} {} {}\n", printable(remote), printable(kind), printable(what)));
        }
        #[derive(Serialize)]
        struct Object<'a> {
            time: String,
            remote: &'a str,
            kind: &'a str,
            what: &'a str,
            details: &'a BTreeMap<String, serde_json::Value>,
        }
        print_json_line(
            "sidecore.events/1",
            &Object { time: format!("{time:.6}"), remote, kind, what, details },
        )
    }
}
