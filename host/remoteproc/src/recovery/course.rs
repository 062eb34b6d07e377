//! The course that a recovery takes, as data: phases, happenings, and one table that says what follows from what.
//!
//! Nothing is done here, and no clock is read: [`follow`] answers with the next phase and the [`Step`]s that lead there.
//! What is waited for in a phase ([`Phase::waiting`]) has a time-out that is an argument of whoever waits, and the end of it
//! is a happening like any other.
//!
#![doc = include_str!("course.md")]

use alloc::string::String;
use core::fmt::{self, Write as _};

/// Where the recovery of a remote stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// There is nothing to recover from.
    #[default]
    Well,
    /// It crashed, and nothing has been decided.
    Crashed,
    /// A remedy is decided on; whoever was told of the crash may hold it back.
    Held,
    /// Nobody holds it back; it is put off by the policy.
    PutOff,
    /// The remote is being started, or attached to.
    Coming,
    /// It runs again; services have still to come back.
    Returning,
    /// It is left as it is.
    Left,
}

/// Something that happens to a remote that is recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// It crashed, its executor went, or its owner started it anew.
    Crash,
    /// The policy has a remedy.
    Remedy,
    /// The policy has none, or none any more.
    NoRemedy,
    /// All who were told of the crash have acknowledged it.
    Acknowledged,
    /// What is waited for took too long.
    TimeOut,
    /// It runs, and nothing of before is to come back.
    Up,
    /// It runs, and services are to come back.
    UpSilently,
    /// It could not be started, or attached to.
    Failed,
    /// All services are back.
    Back,
    /// It was started by hand.
    Started,
    /// It was stopped or given up by hand.
    Stopped,
}

/// What is to be done on the way to the next phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Tell clients of the crash.
    TellCrash,
    /// Keep in the log who has not acknowledged in time.
    NoteLate,
    /// Start the remote, or attach to it.
    Begin,
    /// Tell clients that it runs again.
    TellRestart,
    /// Tell those who wait for services that these do not come back.
    GiveUpServices,
    /// Tell clients that the remote stays as it is.
    TellLeft,
}

/// What is waited for in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// Clients, to acknowledge the crash: as long as whoever restarts is willing to.
    Acknowledgement,
    /// The time by which the policy puts the remedy off ([`Decision::Restart`](super::Decision::Restart)).
    Pause,
    /// Services, to come back: as long as the [remedy](super::Remedy::RestartSilently) says.
    Services,
}

/// The next phase of a recovery, and what must be done to get there: the whole table. What means nothing in a phase (it is
/// late, or early) changes nothing.
#[must_use]
pub const fn follow(phase: Phase, happening: Happening) -> (Phase, &'static [Step]) {
    use {Happening as H, Phase as P, Step as S};
    match (phase, happening) {
        (P::Well | P::Returning | P::Coming, H::Crash) => (P::Crashed, &[S::TellCrash]),

        (P::Crashed, H::Remedy) => (P::Held, &[]),
        (P::Crashed, H::NoRemedy) => (P::Left, &[S::TellLeft]),
        (P::Held, H::Acknowledged) => (P::PutOff, &[]),
        (P::Held, H::TimeOut) => (P::PutOff, &[S::NoteLate]),
        (P::PutOff, H::TimeOut) => (P::Coming, &[S::Begin]),

        (P::Coming, H::Up) => (P::Well, &[S::TellRestart]),
        (P::Coming, H::UpSilently) => (P::Returning, &[S::TellRestart]),
        (P::Coming, H::Failed | H::TimeOut) => (P::Crashed, &[]),
        (P::Returning, H::Back) => (P::Well, &[]),
        (P::Returning, H::TimeOut) => (P::Well, &[S::GiveUpServices]),

        // Whoever does something by hand has decided; a second decision takes the place of the first.
        (P::Crashed | P::Held | P::PutOff | P::Coming | P::Left, H::Started) => (P::Well, &[S::TellRestart]),
        (P::Crashed | P::Held | P::PutOff | P::Coming, H::Stopped) => (P::Left, &[S::TellLeft]),
        (P::Returning, H::Started | H::Stopped) => (P::Well, &[S::GiveUpServices]),
        (P::Held | P::PutOff, H::Remedy) => (P::Held, &[]),
        (P::Held | P::PutOff, H::NoRemedy) => (P::Left, &[S::TellLeft]),

        (P::Well, _)
        | (
            P::Crashed,
            H::Crash | H::Acknowledged | H::TimeOut | H::Up | H::UpSilently | H::Failed | H::Back,
        )
        | (P::Held, H::Crash | H::Up | H::UpSilently | H::Failed | H::Back)
        | (P::PutOff, H::Crash | H::Acknowledged | H::Up | H::UpSilently | H::Failed | H::Back)
        | (P::Coming, H::Remedy | H::NoRemedy | H::Acknowledged | H::Back)
        | (P::Returning, H::Remedy | H::NoRemedy | H::Acknowledged | H::Up | H::UpSilently | H::Failed)
        | (
            P::Left,
            H::Crash
            | H::Remedy
            | H::NoRemedy
            | H::Acknowledged
            | H::TimeOut
            | H::Up
            | H::UpSilently
            | H::Failed
            | H::Back
            | H::Stopped,
        ) => (phase, &[]),
    }
}

/// The table as a Mermaid state diagram, made from [`follow`]; what changes nothing is left out.
#[must_use]
pub fn diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> well\n");
    for phase in Phase::ALL {
        for happening in Happening::ALL {
            let (next, steps) = follow(phase, happening);
            if next == phase && steps.is_empty() {
                continue;
            }
            write!(text, "    {phase} --> {next}: {happening}").expect("writing to a string cannot fail");
            for (at, step) in steps.iter().enumerate() {
                let mark = if at == 0 { " / " } else { ", " };
                write!(text, "{mark}{step}").expect("writing to a string cannot fail");
            }
            text.push('\n');
        }
    }
    text.push_str("```\n");
    text
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 7] =
        [Self::Well, Self::Crashed, Self::Held, Self::PutOff, Self::Coming, Self::Returning, Self::Left];

    /// What is waited for in it; nothing where it ends by what its caller does at once.
    #[must_use]
    pub const fn waiting(self) -> Option<Waiting> {
        match self {
            Self::Held => Some(Waiting::Acknowledgement),
            Self::PutOff => Some(Waiting::Pause),
            Self::Returning => Some(Waiting::Services),
            // A start that takes too long is one that fails: the backend's own limits see to that.
            Self::Well | Self::Crashed | Self::Coming | Self::Left => None,
        }
    }
}

impl Happening {
    /// Everything that can happen.
    pub const ALL: [Self; 11] = [
        Self::Crash,
        Self::Remedy,
        Self::NoRemedy,
        Self::Acknowledged,
        Self::TimeOut,
        Self::Up,
        Self::UpSilently,
        Self::Failed,
        Self::Back,
        Self::Started,
        Self::Stopped,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "well",
            Self::Crashed => "crashed",
            Self::Held => "held",
            Self::PutOff => "put_off",
            Self::Coming => "coming",
            Self::Returning => "returning",
            Self::Left => "left",
        })
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Remedy => "remedy",
            Self::NoRemedy => "no remedy",
            Self::Acknowledged => "acknowledged",
            Self::TimeOut => "time-out",
            Self::Up => "up",
            Self::UpSilently => "up silently",
            Self::Failed => "failed",
            Self::Back => "back",
            Self::Started => "started by hand",
            Self::Stopped => "stopped by hand",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TellCrash => "tell of the crash",
            Self::NoteLate => "note who is late",
            Self::Begin => "begin",
            Self::TellRestart => "tell of the restart",
            Self::GiveUpServices => "give services up",
            Self::TellLeft => "tell that it stays so",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// Every phase that can come of one, by anything that can happen.
    fn reachable(from: Phase) -> Vec<Phase> {
        let mut seen = vec![from];
        let mut next = 0;
        while let Some(&phase) = seen.get(next) {
            next += 1;
            for happening in Happening::ALL {
                let (to, _) = follow(phase, happening);
                if !seen.contains(&to) {
                    seen.push(to);
                }
            }
        }
        seen.sort();
        seen
    }

    #[test]
    fn every_phase_is_reached_and_left() {
        for phase in Phase::ALL {
            assert_eq!(reachable(phase), Phase::ALL, "{phase}");
        }
    }

    #[test]
    fn whatever_is_waited_for_ends_by_its_time_out_alone() {
        for phase in Phase::ALL {
            let (next, _) = follow(phase, Happening::TimeOut);
            // A start, too, can take too long.
            let ends = phase.waiting().is_some() || phase == Phase::Coming;
            assert_eq!(next != phase, ends, "{phase}");
        }
    }

    #[test]
    fn on_every_course_each_crash_is_told_and_settled_once_and_nothing_begins_without_one() {
        // All courses, until they bring nothing new: the phase, and whether clients were told of a crash and not of its end.
        let mut courses = vec![(Phase::Well, false)];
        let mut at = 0;
        while let Some(&(phase, is_owed)) = courses.get(at) {
            at += 1;
            for happening in Happening::ALL {
                let (next, steps) = follow(phase, happening);
                let mut now_owed = is_owed;
                for step in steps {
                    match step {
                        // One that crashed as it came was told of before.
                        Step::TellCrash => {
                            assert!(!now_owed || phase == Phase::Coming, "{phase} {happening}");
                            now_owed = true;
                        }
                        Step::Begin | Step::NoteLate => assert!(now_owed, "{phase} {happening}"),
                        Step::TellRestart => {
                            assert!(now_owed || phase == Phase::Left, "{phase} {happening}");
                            now_owed = false;
                        }
                        Step::TellLeft => {
                            assert!(now_owed, "{phase} {happening}");
                            now_owed = false;
                        }
                        Step::GiveUpServices => assert_eq!(phase, Phase::Returning),
                    }
                }
                let quiet = matches!(next, Phase::Well | Phase::Returning | Phase::Left);
                assert!(!(quiet && now_owed), "{phase} {happening}");
                if !courses.contains(&(next, now_owed)) {
                    courses.push((next, now_owed));
                }
            }
        }
        assert!(courses.len() >= Phase::ALL.len());
    }

    #[test]
    fn the_diagram_in_the_documentation_is_the_table() {
        assert_eq!(include_str!("course.md"), diagram(), "copy this:\n{}", diagram());
    }
}
