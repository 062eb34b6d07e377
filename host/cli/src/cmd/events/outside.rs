//! What happens to remotes as it looks from outside, with nobody who tells.

use std::collections::BTreeMap;

use sidecore_backends::log::What;

use super::Happened;
use crate::cmd::channel::known;
use crate::cmd::logs;
use crate::cmd::logs::tail::Tail;
use crate::failure::Failure;
use crate::target::{Remotes, Target};

/// Looks at remotes again and again, and tells the differences.
pub(super) struct Outside<'a> {
    remotes: &'a Remotes,
    /// That one alone.
    only: Option<String>,
    seen: BTreeMap<String, Seen>,
}

/// A remote at the last look.
struct Seen {
    state: String,
    channels: Vec<(String, u32)>,
    /// What its warden writes of it.
    log: Option<Tail>,
}

impl<'a> Outside<'a> {
    pub(super) fn new(remotes: &'a Remotes, only: Option<String>) -> Result<Self, Failure> {
        let mut outside = Self { remotes, only, seen: BTreeMap::new() };
        // What is so already did not happen.
        outside.look()?;
        Ok(outside)
    }

    /// What happened since the last look.
    pub(super) fn look(&mut self) -> Result<Vec<Happened>, Failure> {
        let mut targets: BTreeMap<String, Target> =
            self.remotes.all()?.into_iter().map(|target| (target.id(), target)).collect();
        targets.retain(|id, _| self.only.as_ref().is_none_or(|only| only == id));
        let mut happened = Vec::new();
        for (id, mut seen) in std::mem::take(&mut self.seen) {
            // The last words of one that is gone, too.
            read(&id, &mut seen, &mut happened);
            match targets.get(&id) {
                Some(_) => _ = self.seen.insert(id, seen),
                None => happened.push(Happened::new(&id, "removed", "it is gone")),
            }
        }
        for (id, target) in targets {
            let channels = channels(self.remotes, &target);
            match self.seen.get_mut(&id) {
                Some(seen) => compare(&id, seen, &target.state, channels, &mut happened),
                None => {
                    let mut seen = Seen { state: target.state.clone(), channels, log: log(&target) };
                    happened.push(Happened::new(&id, "added", format!("it is {}", target.state)));
                    // What the log has of other runs happened before.
                    read(&id, &mut seen, &mut Vec::new());
                    self.seen.insert(id, seen);
                }
            }
        }
        Ok(happened)
    }
}

fn compare(
    id: &str,
    seen: &mut Seen,
    state: &str,
    channels: Vec<(String, u32)>,
    happened: &mut Vec<Happened>,
) {
    if seen.state != state {
        let kind = if state == "crashed" { "crashed" } else { "state" };
        happened.push(Happened::new(id, kind, format!("it is {state}")).with("state", state));
        seen.state = state.to_owned();
    }
    let differences =
        |from: &[(String, u32)], to: &[(String, u32)], kind: &str, words: &str| -> Vec<Happened> {
            let new = to.iter().filter(|channel| !from.contains(channel));
            new.map(|(name, address)| {
                Happened::new(id, kind, format!("{name} {words} {address}"))
                    .with("service", name.as_str())
                    .with("address", *address)
            })
            .collect()
        };
    happened.extend(differences(&channels, &seen.channels, "name-gone", "was withdrawn at"));
    happened.extend(differences(&seen.channels, &channels, "name-appeared", "was announced at"));
    seen.channels = channels;
}

/// What a kernel knows. Those that do not say have none.
fn channels(remotes: &Remotes, target: &Target) -> Vec<(String, u32)> {
    let services = known(remotes, target).and_then(Result::ok).unwrap_or_default();
    services.into_iter().map(|service| (service.name, service.address)).collect()
}

fn log(target: &Target) -> Option<Tail> {
    (target.kind == "sandbox").then(|| logs::file(&target.name).map(Tail::new)).flatten()
}

fn read(id: &str, seen: &mut Seen, happened: &mut Vec<Happened>) {
    if let Some(log) = &mut seen.log {
        // One that cannot be read says nothing.
        let _ = log.read(&mut |record| {
            if let What::Note(what) = record.what {
                happened.push(Happened::noted(id, record.time, what));
            }
        });
    }
}
