//! Clients: they hear of crashes, and let go of them late, never, or by leaving.

use sidecore_processor::{Client, Notice, Processor};

use crate::world::Survivor;
use sidecore_sim::luck::Luck;

/// A client, as we know it.
pub(super) struct Onlooker {
    name: String,
    /// `None` once it has left.
    client: Option<Client>,
    manner: Manner,
    /// When it lets go of the crash that it knows of.
    due: Option<u64>,
    /// Whether a crash was the last that it heard of.
    in_crash: bool,
}

/// What it does about a crash, after so many microseconds.
#[derive(Clone, Copy)]
enum Manner {
    Acknowledges(u64),
    Leaves(u64),
    /// Nothing, and it does not even look.
    Stuck,
}

impl Onlooker {
    pub(super) fn join(processor: &Processor<Survivor>, number: u64, luck: &mut Luck) -> Self {
        let name = format!("client {number}");
        let delay = luck.below(25_000);
        let manner = match luck.below(6) {
            0 => Manner::Stuck,
            1 => Manner::Leaves(delay),
            2 => Manner::Acknowledges(0),
            _ => Manner::Acknowledges(delay),
        };
        let client = processor.clients().join(&name);
        Self { name, client: Some(client), manner, due: None, in_crash: false }
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// When it lets go of a crash of that time: 0 where it has left before.
    pub(super) fn lets_go(&self, crashed: u64) -> u64 {
        match self.manner {
            _ if self.client.is_none() && self.due.is_none_or(|due| due < crashed) => 0,
            Manner::Acknowledges(delay) | Manner::Leaves(delay) => crashed + delay,
            Manner::Stuck => u64::MAX,
        }
    }

    pub(super) fn act(&mut self, now: u64) {
        let Some(client) = &self.client else { return };
        if let Manner::Stuck = self.manner {
            return;
        }
        while let Some(notice) = client.notice() {
            assert_eq!(self.in_crash, notice != Notice::Crashed, "{}: {notice:?} out of turn", self.name);
            self.in_crash = notice == Notice::Crashed;
            match self.manner {
                Manner::Acknowledges(delay) | Manner::Leaves(delay) if self.in_crash => {
                    self.due = Some(now + delay);
                }
                // It is over: whoever has not acknowledged need not any more.
                Manner::Acknowledges(_) => self.due = None,
                _ => {}
            }
        }
        if self.due.is_some_and(|due| due <= now) {
            match self.manner {
                Manner::Leaves(_) => self.client = None,
                _ => {
                    client.acknowledge();
                    self.due = None;
                }
            }
        }
    }
}
