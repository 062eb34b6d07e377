//! Runs every clause against a peer.

use std::time::{Duration, Instant};

use sidecore_rpmsg::Name;
use sidecore_rpmsg::link::Sink;

use crate::as_host::AsHost;
use crate::as_remote::AsRemote;
use crate::clause::{Profile, Row, Test, pattern};
use crate::clauses::{HIDDEN, rows};
use crate::known::{self, RPMSG_LITE};
use crate::peer::{Peer, Role};
use crate::verdict::{Outcome, Stop, Verdict, not_shown};
use crate::watch::Watch;

/// Services that hosts in use look for.
pub const NAMES: &[&str] =
    &["rpmsg-openamp-demo-channel", "rpmsg-client-sample", "rpmsg-tty", "rpmsg-raw", "rpmsg-echo"];

/// How many times a peer may fail to come, one after the other, before it is given up.
const ABSENT_MAX: u32 = 3;
const NOT_MET: &str = "the peer was not met";

/// How the suite goes about.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long silence has to last to be one. The slowest peer decides.
    pub pace: Duration,
    /// The most that a clause may take, the peer's coming not counted.
    pub limit: Duration,
    /// How long a peer may take to come.
    pub patience: Duration,
    /// The remote's service that sends back what it gets; or, for a host, the service that it looks for.
    pub service: Option<String>,
    /// The clauses to run; none: all.
    pub only: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pace: Duration::from_millis(100),
            limit: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            service: None,
            only: Vec::new(),
        }
    }
}

/// What came of a clause.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// Its id in the book.
    pub clause: &'static str,
    /// What a peer that follows does.
    pub title: &'static str,
    /// What is said of this one.
    pub verdict: Verdict,
    /// Why, where it does not follow.
    pub reason: Option<String>,
    /// Implementations that are known to deviate from this clause, and how, where this one does; and where it cannot be
    /// shown for the kind of peer that it is.
    pub known: Vec<String>,
    /// The messages, and what else was done and seen, where it does not follow.
    pub trace: Vec<String>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// What came of all clauses.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Of this form of a report; it changes where a reader of an older one would be led astray.
    pub schema: u32,
    /// Who was tested.
    pub peer: String,
    /// Its role.
    pub role: Role,
    /// In the order of the book.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many clauses have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// What was found of a clause.
    #[must_use]
    pub fn finding(&self, clause: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.clause == clause)
    }
}

/// Runs the clauses that are for this peer's role. `tell` hears of each finding as it is made, and of clauses that show
/// themselves along the way at the end.
pub fn run(
    peer: &mut dyn Peer,
    options: &Options,
    sink: Option<Box<dyn Sink>>,
    tell: &mut dyn FnMut(&Finding),
) -> Report {
    let role = peer.role();
    let mut watch = Watch::default();
    if let Some(sink) = sink {
        watch.record_to(sink);
    }
    let is_wanted = |row: &&Row| {
        row.peer == role && (options.only.is_empty() || options.only.iter().any(|only| only == row.clause))
    };
    let mut findings: Vec<Finding> = Vec::new();
    if rows().filter(is_wanted).any(|row| matches!(row.test, Test::Watched)) {
        // Ordinary traffic, so that there is something to see.
        let _seen = session(peer, options, &mut watch, &TRAFFIC[usize::from(role == Role::Host)]);
    }
    let mut absent = 0_u32;
    for row in rows().filter(is_wanted) {
        if let Test::Watched = row.test {
            continue;
        }
        let began = Instant::now();
        let outcome = match (absent, row.profile(), peer.is_bare()) {
            (_, Profile::Registers, true) => not_shown("the peer has no resource table, and so no registers"),
            (_, Profile::Bare, false) => not_shown("the peer is behind a resource table"),
            (ABSENT_MAX.., ..) => {
                not_shown("the peer did not come for the clauses before, and was not waited for again")
            }
            _ => session(peer, options, &mut watch, &row.test),
        };
        // What it did on the way there counts as well.
        let broken = watch.seen(row.clause).broken;
        let outcome = outcome.and_then(|()| broken.map_or(Ok(()), |why| Err(Stop::Deviates(why))));
        let is_absent = matches!(&outcome, Err(Stop::NotShown(why)) if why.starts_with(NOT_MET));
        absent = if is_absent || absent >= ABSENT_MAX { absent + 1 } else { 0 };
        let finding = finding(row, peer.is_bare(), outcome, watch.trace(), began.elapsed());
        tell(&finding);
        findings.push(finding);
    }
    for row in rows().filter(is_wanted).filter(|row| matches!(row.test, Test::Watched)) {
        let seen = watch.seen(row.clause);
        let outcome = match (seen.broken, seen.kept) {
            (Some(why), _) => Err(Stop::Deviates(why)),
            (None, 0) => Err(Stop::NotShown("there was no occasion".to_owned())),
            (None, _) => Ok(()),
        };
        let finding = finding(row, peer.is_bare(), outcome, Vec::new(), Duration::ZERO);
        tell(&finding);
        findings.push(finding);
    }
    let place = |clause: &str| rows().position(|row| row.clause == clause);
    findings.sort_by_key(|finding| place(finding.clause));
    for (clause, why) in HIDDEN.iter().filter(|_| options.only.is_empty()) {
        findings.push(Finding {
            clause,
            title: "",
            verdict: Verdict::NotShown,
            reason: Some((*why).to_owned()),
            known: Vec::new(),
            trace: Vec::new(),
            milliseconds: 0,
        });
    }
    Report { schema: 1, peer: peer.name(), role, findings }
}

/// What any peer is asked to do, for what shows itself along the way.
const TRAFFIC: [Test; 2] = [
    Test::Remote(|peer| {
        let to = peer.up()?;
        let max = peer.max_payload();
        (0..32).try_for_each(|turn| peer.echo(to, &pattern(usize::from(turn) * 15 % (max + 1), turn)))
    }),
    Test::Host(
        |_| {},
        |peer| {
            peer.up()?;
            peer.serve(300).map(drop)
        },
    ),
];

/// One session with the peer, met anew.
fn session(peer: &mut dyn Peer, options: &Options, watch: &mut Watch, test: &Test) -> Outcome {
    watch.begin();
    let mut table = peer.usual_table();
    if let Test::Host(change, _) = test {
        change(&mut table);
    }
    let met = peer.meet(&table.scene(), options.patience);
    let met = met.map_err(|why| Stop::NotShown(format!("{NOT_MET}: {why}")))?;
    let limits = [options.pace, options.limit];
    match test {
        Test::Remote(test) => {
            let mut host = AsHost::new(met, watch, options.service.clone(), limits)?;
            let outcome = test(&mut host);
            host.watch.look_away();
            host.set_status(0);
            outcome
        }
        Test::Host(_, test) => {
            let names = match &options.service {
                Some(name) => vec![name.as_str()],
                None => NAMES.to_vec(),
            };
            let names = names.into_iter().filter_map(|name| Name::new(name).ok()).collect();
            test(&mut AsRemote::new(met, table, watch, names, limits))
        }
        Test::Watched => Ok(()),
    }
}

fn finding(row: &Row, is_bare: bool, outcome: Outcome, trace: Vec<String>, took: Duration) -> Finding {
    let (verdict, reason) = match outcome {
        Ok(()) => (Verdict::Follows, None),
        Err(Stop::Deviates(what)) => (Verdict::Deviates, Some(what)),
        Err(Stop::NotShown(why)) => (Verdict::NotShown, Some(why)),
    };
    let is_of_kind = verdict == Verdict::Deviates || (is_bare && row.profile() == Profile::Registers);
    // Nobody else goes without a table.
    let known = known::of(row.clause).filter(|known| is_of_kind && (!is_bare || known.who == RPMSG_LITE));
    Finding {
        clause: row.clause,
        title: row.title,
        verdict,
        reason,
        known: known.map(|known| format!("{}: {}", known.who, known.what)).collect(),
        trace: if verdict == Verdict::Follows { Vec::new() } else { trace },
        milliseconds: took.as_millis() as u64,
    }
}
