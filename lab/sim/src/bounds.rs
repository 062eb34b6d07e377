//! What a restart policy promises, said once more and as plainly as possible: for simulations to hold decisions to.

use std::time::Duration;

use sidecore_remoteproc::recovery::{Decision, Policy};

/// The crashes of one remote that it was started again after, and what that allows.
#[derive(Debug)]
pub struct Bounds {
    policy: Policy,
    restarted: Vec<Duration>,
}

impl Bounds {
    /// Nothing has crashed yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, restarted: Vec::new() }
    }

    /// What is to be decided about a crash at this time.
    pub fn crashed(&mut self, now: Duration) -> Decision {
        let Policy { remedy, most, within, pause, longest_pause } = self.policy;
        let recent = self.restarted.iter().filter(|at| now - **at < within).count() as u32;
        if most == 0 {
            return Decision::Leave;
        }
        if recent == most {
            return Decision::GiveUp { crashes: most + 1, within };
        }
        let mut after = Duration::ZERO;
        for number in 0..recent {
            after = if number == 0 { pause } else { after * 2 };
        }
        self.restarted.push(now);
        Decision::Restart { remedy, after: after.min(longest_pause), number: recent + 1, most }
    }

    /// However they are looked at: there were no more restarts in any stretch of time than there may be.
    ///
    /// # Panics
    /// There were.
    pub fn check(&self) {
        let Policy { most, within, .. } = self.policy;
        for first in &self.restarted {
            let together = self.restarted.iter().filter(|at| *at >= first && **at - *first < within);
            assert!(together.count() <= most as usize, "more than {most} restarts within {within:?}");
        }
    }
}
