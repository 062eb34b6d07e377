//! What is seen along the way: every message, and clauses that show themselves whatever is tried.

use std::collections::BTreeMap;
use std::time::Instant;

use sidecore_rpmsg::Header;
use sidecore_rpmsg::link::{Sink, Toward};

/// Lines of a trace that are kept; the first ones, and a count of the others.
const LINES_MAX: usize = 40;

/// How often a clause was seen kept or broken.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Times that it was kept.
    pub kept: u32,
    /// The first time that it was not.
    pub broken: Option<String>,
}

/// Everything that was seen.
#[derive(Default)]
pub struct Watch {
    clauses: BTreeMap<&'static str, Seen>,
    trace: Vec<String>,
    more: usize,
    started: Option<Instant>,
    /// A rule was broken by us: what the peer does from then on shows nothing.
    is_off: bool,
    sink: Option<Box<dyn Sink>>,
}

impl Watch {
    /// Shows frames to `sink`, too.
    pub fn record_to(&mut self, sink: Box<dyn Sink>) {
        self.sink = Some(sink);
    }

    /// A clause shows itself once more, kept or not.
    pub fn see(&mut self, clause: &'static str, is_kept: bool, why: impl FnOnce() -> String) {
        if self.is_off {
            return;
        }
        let seen = self.clauses.entry(clause).or_default();
        if is_kept {
            seen.kept = seen.kept.saturating_add(1);
        } else if seen.broken.is_none() {
            let why = why();
            self.trace_line(format!("{clause}: {why}"));
            self.clauses.entry(clause).or_default().broken = Some(why);
        }
    }

    /// What was seen of a clause.
    #[must_use]
    pub fn seen(&self, clause: &str) -> Seen {
        self.clauses.get(clause).cloned().unwrap_or_default()
    }

    /// Nothing that is seen from now on shows anything, until the next [`Watch::begin`].
    pub fn look_away(&mut self) {
        self.is_off = true;
    }

    /// A new trace.
    pub fn begin(&mut self) {
        (self.is_off, self.more, self.started) = (false, 0, Some(Instant::now()));
        self.trace.clear();
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        let mut lines = self.trace.clone();
        if self.more > 0 {
            lines.push(format!("... and {} more", self.more));
        }
        lines
    }

    /// Adds a line to the trace.
    pub fn trace_line(&mut self, line: impl Into<String>) {
        if self.trace.len() >= LINES_MAX {
            self.more += 1;
            return;
        }
        let at = self.started.map_or(0, |started| started.elapsed().as_micros());
        self.trace.push(format!("{:>9.3} ms  {}", at as f64 / 1000.0, line.into()));
    }

    /// A frame passes.
    pub fn frame(&mut self, toward: Toward, header: &Header, payload: &[u8]) {
        let arrow = if toward == Toward::Peer { "to peer  " } else { "from peer" };
        let start: String = payload.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let rest = if payload.len() > 12 { ".." } else { "" };
        self.trace_line(format!(
            "{arrow} src {} dst {} len {} [{start}{rest}]",
            header.src, header.dst, header.len
        ));
        if let Some(sink) = &self.sink {
            let copy = |at: usize, to: &mut [u8]| {
                at.checked_add(to.len()).and_then(|end| payload.get(at..end)).is_some_and(|part| {
                    to.copy_from_slice(part);
                    true
                })
            };
            sink.frame(toward, header, payload.len(), &copy);
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("clauses", &self.clauses).finish_non_exhaustive()
    }
}
