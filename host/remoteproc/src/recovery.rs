//! What becomes of a remote that crashed: restarted, or left as it is, by a policy that is data.
//!
//! Linux restarts a crashed remote for ever and at once (`rproc_crash_handler_work`,
//! `drivers/remoteproc/remoteproc_core.c`). Here whoever keeps crashing is restarted less and less often, and in the end
//! not at all.

use alloc::collections::VecDeque;
use core::fmt;
use core::time::Duration;

pub mod course;

/// What is done about a crash, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done.
    pub remedy: Remedy,
    /// How often within [`Policy::within`], at most. 0: a crashed remote is left as it is.
    pub most: u32,
    /// The time over which crashes are counted.
    pub within: Duration,
    /// How long the second remedy of a series is put off; each further one twice as long. The first one is at once.
    pub pause: Duration,
    /// How long it is put off at most.
    pub longest_pause: Duration,
}

/// What is done about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The remote is started from the beginning. Endpoints of before are closed.
    Restart,
    /// It is started from the beginning with the same memories at the same addresses, and endpoints stay open: a service
    /// that is announced again is the one that they were bound to, and what the remote had not released is sent again.
    RestartSilently {
        /// How long services may take to be announced again; endpoints of those that are late are lost.
        within: Duration,
    },
    /// The remote is somebody else's, who starts it: it is given up, and attached to when it runs again.
    AttachAgain,
}

impl Policy {
    /// A crashed remote is left as it is.
    pub const LEAVE: Self = Self {
        most: 0,
        within: Duration::ZERO,
        pause: Duration::ZERO,
        longest_pause: Duration::ZERO,
        ..Self::restart(0)
    };

    /// Restarts, so many at most within a minute, put off by 100 ms up to 10 s.
    #[must_use]
    pub const fn restart(most: u32) -> Self {
        Self::of(Remedy::Restart, most)
    }

    /// The same with another remedy.
    #[must_use]
    pub const fn of(remedy: Remedy, most: u32) -> Self {
        Self {
            remedy,
            most,
            within: Duration::from_secs(60),
            pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// What is done about a crash, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The policy has no restarts: the remote is left as it is.
    Leave,
    /// It is started again, or attached to again.
    Restart {
        /// Which of both, and how.
        remedy: Remedy,
        /// Not before so long from now.
        after: Duration,
        /// Which one it is within the time that is looked at, from 1.
        number: u32,
        /// How many there may be.
        most: u32,
    },
    /// It crashed too often: it is left as it is.
    GiveUp {
        /// Crashes, this one included.
        crashes: u32,
        /// Within this time.
        within: Duration,
    },
}

impl Remedy {
    /// What a remote is of which it is told.
    const fn done(self) -> &'static str {
        match self {
            Self::Restart => "restarted",
            Self::RestartSilently { .. } => "restarted silently",
            Self::AttachAgain => "attached to again",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Restart | Self::RestartSilently { .. } => "restart",
            Self::AttachAgain => "attempt",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave => f.write_str("left as it is: no restarts are wanted"),
            Self::Restart { remedy, after, number, most } => {
                f.write_str(remedy.done())?;
                if !after.is_zero() {
                    write!(f, " in {after:?}")?;
                }
                write!(f, ": {} {number} of {most} at most", remedy.noun())
            }
            Self::GiveUp { crashes, within } => {
                write!(f, "given up: {crashes} crashes within {} s", within.as_secs())
            }
        }
    }
}

/// A policy, and the crashes that it has seen.
#[derive(Clone, Debug)]
pub struct Recovery {
    policy: Policy,
    /// When there were crashes, the last ones, [`Policy::most`] at most.
    crashes: VecDeque<Duration>,
}

impl Recovery {
    /// Nothing has crashed yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, crashes: VecDeque::new() }
    }

    /// Decides about a crash now; `now` is the time since any moment that stays the same, and never goes back.
    pub fn crashed(&mut self, now: Duration) -> Decision {
        let Policy { remedy, most, within, pause, longest_pause } = self.policy;
        if most == 0 {
            return Decision::Leave;
        }
        while self.crashes.front().is_some_and(|crash| now.saturating_sub(*crash) >= within) {
            self.crashes.pop_front();
        }
        let before = self.crashes.len() as u32;
        if before >= most {
            return Decision::GiveUp { crashes: before + 1, within };
        }
        self.crashes.push_back(now);
        let after = match before.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => pause.saturating_mul(1 << doublings.min(31)).min(longest_pause),
        };
        Decision::Restart { remedy, after, number: before + 1, most }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn restart(after: u32, number: u32) -> Decision {
        Decision::Restart { remedy: Remedy::Restart, after: after * MS, number, most: 4 }
    }

    #[test]
    fn restarts_are_put_off_longer_and_longer_until_it_is_given_up() {
        let policy =
            Policy { within: 1000 * MS, pause: 100 * MS, longest_pause: 150 * MS, ..Policy::restart(4) };
        let mut recovery = Recovery::new(policy);
        let decisions: [Decision; 5] = core::array::from_fn(|at| recovery.crashed(at as u32 * MS));
        let end = Decision::GiveUp { crashes: 5, within: 1000 * MS };
        assert_eq!(decisions, [restart(0, 1), restart(100, 2), restart(150, 3), restart(150, 4), end]);
        assert_eq!(recovery.crashed(500 * MS), end, "as often as it is asked");
    }

    #[test]
    fn crashes_of_long_ago_do_not_count() {
        let policy =
            Policy { within: 1000 * MS, pause: 100 * MS, longest_pause: 150 * MS, ..Policy::restart(4) };
        let mut recovery = Recovery::new(policy);
        for crash in 0..1000 {
            assert_eq!(recovery.crashed(crash * 1000 * MS), restart(0, 1));
        }
        assert_eq!(recovery.crashed(999_999 * MS), restart(100, 2));
        assert_eq!(recovery.crashed(1_000_500 * MS), restart(100, 2), "the first of both is forgotten");
    }

    #[test]
    fn a_policy_without_restarts_leaves_everything_as_it_is() {
        let mut recovery = Recovery::new(Policy::LEAVE);
        assert_eq!(recovery.crashed(Duration::MAX), Decision::Leave);
    }

    #[test]
    fn extreme_times_are_no_trouble() {
        let mut recovery =
            Recovery::new(Policy { most: u32::MAX, pause: Duration::MAX, ..Policy::restart(1) });
        for _ in 0..100 {
            assert!(
                matches!(recovery.crashed(Duration::MAX), Decision::Restart { after, .. } if after <= 10_000 * MS)
            );
        }
    }

    #[test]
    fn decisions_say_why() {
        assert_eq!(restart(0, 1).to_string(), "restarted: restart 1 of 4 at most");
        assert_eq!(restart(200, 3).to_string(), "restarted in 200ms: restart 3 of 4 at most");
        let [silently, attached] = [Remedy::RestartSilently { within: MS }, Remedy::AttachAgain]
            .map(|remedy| Recovery::new(Policy::of(remedy, 3)).crashed(MS).to_string());
        assert_eq!(silently, "restarted silently: restart 1 of 3 at most");
        assert_eq!(attached, "attached to again: attempt 1 of 3 at most");
        let end = Decision::GiveUp { crashes: 5, within: Duration::from_secs(60) };
        assert_eq!(end.to_string(), "given up: 5 crashes within 60 s");
    }
}
