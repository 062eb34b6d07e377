//! `sidecore status`: everything that is known of one remote.

use std::collections::VecDeque;
use std::process::ExitCode;

use jiff::{SpanRound, Timestamp, Unit};
use serde::Serialize;
use sidecore_backends::log::{Record, What};
use sidecore_client::Service;

use super::logs::{Traces, records};
use super::{channel, logs};
use crate::details::{Details, Inspector};
use crate::failure::{Failure, Outcome, printable};
use crate::output::{moment, print, print_json, size};
use crate::target::{EXIT_CODES, Reach, Remotes, Target};

/// Show what is known of one remote: its state, firmware, channels, endpoints, and what it said last
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`
    remote: String,
    /// Lines of its log that are shown
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON (schema sidecore.status/1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Status {
    remote: String,
    name: String,
    kind: String,
    /// Who has it: the daemon, Linux, or nobody.
    keeper: &'static str,
    state: String,
    /// When it was started last, where a log has that.
    since: Option<String>,
    #[serde(skip)]
    started: Option<Timestamp>,
    #[serde(flatten)]
    details: Details,
    /// Nothing: nobody knows.
    channels: Option<Vec<Channel>>,
    log: Vec<Line>,
}

#[derive(Serialize)]
struct Channel {
    name: String,
    device: u32,
    address: u32,
}

#[derive(Serialize)]
struct Line {
    time: Option<String>,
    text: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    let status = gather(args, &remotes, &target)?;
    if args.json {
        print_json("sidecore.status/1", &status)?;
    } else {
        print(&status.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(args: &Args, remotes: &Remotes, target: &Target) -> Result<Status, Failure> {
    let mut details = match remotes.daemon().filter(|_| target.is_daemons) {
        Some(daemon) => Inspector::new(daemon)?.all()?.remove(&target.name).unwrap_or_default(),
        None => Details::default(),
    };
    let channels = channel::known(remotes, target).transpose()?;
    let mut past = Past { most: args.lines, ..Past::default() };
    match target.linux() {
        Some(id) => {
            let remote = args.reach.place.find(id)?;
            details.firmware = remote.firmware().ok().filter(|name| !name.is_empty());
            // debugfs is not everybody's.
            let trace = Traces::default().news(&remote).unwrap_or_default();
            trace.lines().for_each(|line| past.keep(Line { time: None, text: line.to_owned() }));
        }
        // There need not be one.
        None => {
            if let Ok(log) = remotes.processor(target)?.log() {
                // What cannot be read any further ends there.
                let _ = records(log, &mut |record| past.take(record));
            }
        }
    }
    let is_live = ["running", "attached"].contains(&&*target.state);
    let started = past.started.filter(|_| is_live);
    let kept = || logs::kept_name(&target.name).filter(|_| target.kind == "sandbox");
    details.firmware = details.firmware.or(past.firmware).or_else(kept);
    let channel =
        |service: Service| Channel { name: service.name, device: service.device, address: service.address };
    Ok(Status {
        remote: target.id(),
        name: target.name.clone(),
        kind: target.kind.clone(),
        keeper: match (target.is_daemons, target.linux()) {
            (true, _) => "daemon",
            (false, Some(_)) => "linux",
            (false, None) => "nobody",
        },
        state: target.state.clone(),
        since: started.map(|time| format!("{time:.6}")),
        started,
        details,
        channels: channels.map(|services| services.into_iter().map(channel).collect()),
        log: past.lines.into(),
    })
}

/// What a log says of its remote.
#[derive(Default)]
struct Past {
    most: usize,
    firmware: Option<String>,
    started: Option<Timestamp>,
    lines: VecDeque<Line>,
}

impl Past {
    fn take(&mut self, record: Record) {
        if let What::Note(note) = &record.what
            && let Some(firmware) = note.strip_prefix("started")
        {
            self.started = Some(record.time);
            // Of a restart the warden does not know.
            self.firmware = Some(firmware.trim().to_owned())
                .filter(|firmware| !["", "its firmware"].contains(&&**firmware));
        }
        let text = format!("{}{}", record.trace, record.what);
        self.keep(Line { time: Some(moment(record.time)), text });
    }

    fn keep(&mut self, line: Line) {
        self.lines.push_back(line);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }
}

impl Status {
    fn text(&self) -> String {
        let Details { restarts, lease, firmware, size: bytes, build_id, endpoints } = &self.details;
        let mut rows: Vec<(&str, String)> = Vec::new();
        let state = match self.started {
            Some(time) => format!("{} since {}{}", self.state, moment(time), ago(time)),
            None => self.state.clone(),
        };
        rows.push(("state", state));
        let keeper = match self.keeper {
            "daemon" => "the daemon's",
            "linux" => "driven by Linux",
            _ => "nobody's, it stays by itself",
        };
        rows.push(("kind", format!("{}, {keeper}", self.kind)));
        if let Some(firmware) = firmware {
            let bytes = bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
            let id = build_id.as_ref().map(|id| format!(", build {id}")).unwrap_or_default();
            rows.push(("firmware", format!("{firmware}{bytes}{id}")));
        }
        rows.extend(restarts.map(|restarts| ("restarts", restarts.to_string())));
        rows.extend(lease.as_ref().map(|lease| ("lease", lease.clone())));
        match &self.channels {
            None => rows.push(("channels", "not known: nobody is its main side".to_owned())),
            Some(channels) if channels.is_empty() => rows.push(("channels", "none".to_owned())),
            Some(channels) => rows.extend(channels.iter().enumerate().map(|(at, channel)| {
                let Channel { name, device, address } = channel;
                (if at == 0 { "channels" } else { "" }, format!("{name} at {address} (vdev{device})"))
            })),
        }
        rows.extend(endpoints.iter().enumerate().map(|(at, endpoint)| {
            let service = if endpoint.service.is_empty() { "no service" } else { &endpoint.service };
            let words = format!(
                "{} for {service}: {} sent, {} received, {}",
                endpoint.address, endpoint.sent, endpoint.received, endpoint.client
            );
            (if at == 0 { "endpoints" } else { "" }, words)
        }));
        let mut text = format!("{}\n", printable(&self.remote));
        for (name, value) in rows {
            text.push_str(&format!("  {name:<10} {}\n", printable(&value)));
        }
        if !self.log.is_empty() {
            text.push('\n');
        }
        for Line { time, text: line } in &self.log {
            let time = time.as_ref().map(|time| format!("{time} ")).unwrap_or_default();
            text.push_str(&format!("{time}{}\n", printable(line)));
        }
        text
    }
}

/// How long ago something was, in words.
fn ago(time: Timestamp) -> String {
    let rounded = SpanRound::new().largest(Unit::Hour).smallest(Unit::Second);
    let span = (Timestamp::now() - time).round(rounded);
    span.map(|span| format!(", {span:#} ago")).unwrap_or_default()
}
