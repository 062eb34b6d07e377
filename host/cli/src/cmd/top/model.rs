//! What is shown: a look at all remotes, and what has changed since the one before.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Instant;

use serde::Serialize;

use crate::cmd::channel::known;
use crate::cmd::logs;
use crate::cmd::logs::Traces;
use crate::cmd::logs::tail::Tail;
use crate::details::{Details, Endpoint, Inspector};
use crate::failure::{Failure, printable};
use crate::kernel::Place;
use crate::output::moment;
use crate::target::{Reach, Remotes, Target};

/// Lines that are kept of what a remote says.
const LINES: usize = 100;

/// All that is shown.
pub(super) struct Model {
    remotes: Remotes,
    place: Place,
    inspector: Option<Inspector>,
    /// By which way remotes are reached, in words.
    pub(super) way: String,
    pub(super) all: All,
    /// The messages of each remote at the last look, and when that was.
    before: (BTreeMap<String, (u64, u64)>, Option<Instant>),
    /// The name of the one that is selected: it stays selected when others come.
    selected: Option<String>,
    listener: Option<Listener>,
}

/// One look.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct All {
    pub(super) remotes: Vec<Row>,
}

/// A remote.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) remote: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) firmware: String,
    pub(super) restarts: Option<u64>,
    pub(super) lease: Option<String>,
    pub(super) channels: Vec<Channel>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Messages to the remote, and from it, of all endpoints that are open.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// The same for a second, since the last look.
    pub(super) sent_per_s: f64,
    pub(super) received_per_s: f64,
    #[serde(skip)]
    pub(super) target: Option<Target>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) device: u32,
    pub(super) address: u32,
}

/// Hears what one remote says.
struct Listener {
    remote: String,
    from: Heard,
    lines: VecDeque<String>,
}

enum Heard {
    Log(Tail),
    Kernel(Box<sidecore_backends::sysfs::Remoteproc>, Traces),
}

impl Model {
    pub(super) fn new(reach: &Reach) -> Result<Self, Failure> {
        let remotes = reach.remotes()?;
        let inspector = remotes.daemon().map(Inspector::new).transpose()?;
        let way = remotes.daemon().map_or_else(|| "no daemon".to_owned(), |daemon| daemon.way().to_string());
        Ok(Self {
            remotes,
            place: reach.place.clone(),
            inspector,
            way,
            all: All::default(),
            before: (BTreeMap::new(), None),
            selected: None,
            listener: None,
        })
    }

    /// Looks at all of them again.
    pub(super) fn look(&mut self) -> Result<&All, Failure> {
        let targets = self.remotes.all()?;
        let mut details = self.inspector.as_ref().map(Inspector::all).transpose()?.unwrap_or_default();
        let (now, seconds) = (Instant::now(), self.before.1.map(|then| then.elapsed().as_secs_f64()));
        let mut rows = Vec::new();
        let mut counts = BTreeMap::new();
        for target in targets {
            let details = details.remove(&target.name).filter(|_| target.is_daemons).unwrap_or_default();
            let mut row = self.row(target, details);
            counts.insert(row.remote.clone(), (row.sent, row.received));
            if let (Some(seconds), Some((sent, received))) = (seconds, self.before.0.get(&row.remote)) {
                // Endpoints that were closed take their counts with them.
                let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds.max(1e-3);
                (row.sent_per_s, row.received_per_s) = (rate(row.sent, *sent), rate(row.received, *received));
            }
            rows.push(row);
        }
        self.before = (counts, Some(now));
        self.all.remotes = rows;
        self.stay();
        Ok(&self.all)
    }

    fn row(&self, target: Target, details: Details) -> Row {
        // Those that do not say have none.
        let services = known(&self.remotes, &target).and_then(Result::ok).unwrap_or_default();
        let firmware = match target.linux().map(|id| self.place.find(id)) {
            Some(Ok(remote)) => remote.firmware().unwrap_or_default(),
            _ => details.firmware.unwrap_or_default(),
        };
        let channels = services.into_iter();
        Row {
            remote: target.id(),
            kind: target.kind.clone(),
            state: target.state.clone(),
            firmware,
            restarts: details.restarts,
            lease: details.lease,
            channels: channels
                .map(|service| Channel {
                    name: service.name,
                    device: service.device,
                    address: service.address,
                })
                .collect(),
            sent: details.endpoints.iter().map(|endpoint| endpoint.sent).sum(),
            received: details.endpoints.iter().map(|endpoint| endpoint.received).sum(),
            endpoints: details.endpoints,
            target: Some(target),
            ..Row::default()
        }
    }

    /// Which one is selected.
    pub(super) fn position(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.all.remotes.iter().position(|row| row.remote == *selected)
    }

    /// Selects another one, so many further down.
    pub(super) fn select(&mut self, by: isize) {
        let last = self.all.remotes.len().saturating_sub(1);
        let at = self.position().unwrap_or(0).saturating_add_signed(by).min(last);
        self.selected = self.all.remotes.get(at).map(|row| row.remote.clone());
        self.stay();
    }

    /// Has one selected, and listens to it.
    fn stay(&mut self) {
        if self.position().is_none() {
            self.selected = self.all.remotes.first().map(|row| row.remote.clone());
        }
        if self.listener.as_ref().map(|listener| &listener.remote) != self.selected.as_ref() {
            let row = self.position().and_then(|at| self.all.remotes.get(at));
            self.listener = row.and_then(|row| self.listen_to(row));
        }
    }

    fn listen_to(&self, row: &Row) -> Option<Listener> {
        let target = row.target.as_ref()?;
        let from = match target.linux() {
            Some(id) => Heard::Kernel(Box::new(self.place.find(id).ok()?), Traces::default()),
            None if target.is_daemons => {
                let processor = self.remotes.processor(target).ok()?;
                Heard::Log(Tail::kept(move || processor.log().map_err(io::Error::other)))
            }
            None => Heard::Log(Tail::new(logs::file(&target.name)?)),
        };
        Some(Listener { remote: row.remote.clone(), from, lines: VecDeque::new() })
    }

    /// Takes what the selected one has said meanwhile; whether that is anything.
    pub(super) fn listen(&mut self) -> bool {
        self.listener.as_mut().is_some_and(Listener::take)
    }

    /// What the selected one said last.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.listener.iter().flat_map(|listener| &listener.lines).map(String::as_str)
    }
}

impl Listener {
    fn take(&mut self) -> bool {
        let lines = &mut self.lines;
        let mut is_any = false;
        let mut keep = |line: String| {
            is_any = true;
            lines.push_back(line);
            if lines.len() > LINES {
                lines.pop_front();
            }
        };
        match &mut self.from {
            // One that cannot be read says nothing.
            Heard::Log(tail) => {
                let _ = tail.read(&mut |record| {
                    let time = moment(record.time);
                    // The time of day is enough.
                    let time = time.get(11..23).unwrap_or(&time);
                    keep(printable(&format!("{time} {}{}", record.trace, record.what)));
                });
            }
            Heard::Kernel(remote, traces) => {
                let news = traces.news(remote).unwrap_or_default();
                news.lines().for_each(|line| keep(printable(line)));
            }
        }
        is_any
    }
}

#[cfg(test)]
impl Model {
    /// One that shows this, and reaches nobody.
    pub(super) fn of(remotes: Vec<Row>, lines: &[&str]) -> Self {
        let reach = Reach { bus: Some(crate::target::Bus::None), ..Reach::default() };
        let mut model = Self::new(&reach).unwrap();
        model.all.remotes = remotes;
        model.stay();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let remote = model.selected.clone().unwrap_or_default();
        let from = Heard::Log(Tail::new("/proc/nowhere".into()));
        model.listener = Some(Listener { remote, from, lines });
        model
    }
}
