//! The life of a remote processor as data: states, inputs, and one table that says what follows from what.
//!
//! States have the names and numbers of Linux (`enum rproc_state`). Nothing is done here: [`step`] answers with the
//! next state and the [`Action`]s that lead there, and [`Remote`](crate::Remote) carries them out.
//!
#![doc = include_str!("lifecycle.md")]

use alloc::string::String;
use core::fmt;

use crate::codes::{self, Code};

/// What a remote processor is doing. The words are those of Linux' sysfs, and so are the numbers; 4, the kernel's
/// `deleted`, is nothing that a remote can be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// It does not run.
    Offline = 0,
    /// It sleeps and must be woken before it is talked to. As in Linux' core, no input leads here.
    Suspended = 1,
    /// It runs, and we started it.
    Running = 2,
    /// It crashed, and is as it was at that moment.
    Crashed = 3,
    /// It runs, and someone else started it.
    Attached = 5,
    /// It runs, and is not ours to stop.
    Detached = 6,
}

/// Something that happens to a remote, or is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Load firmware, in place of any that is there.
    Load,
    /// Start the firmware from the beginning.
    Start,
    /// Stop at once.
    Stop,
    /// Take over a remote that runs.
    Attach,
    /// Give it up and leave it running, or crashed: to whoever started it.
    Detach,
    /// It crashed.
    Crash,
    /// It ended by itself.
    Exit,
}

/// What is to be done on the way to the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Give the remote fresh memories and put the firmware there, unless that is how they are.
    Load,
    /// Let it run.
    Start,
    /// Stop it.
    Stop,
    /// Free what it holds of others' resources: it does not execute any more ([`held`](crate::held)).
    Reclaim,
    /// Take it over.
    Attach,
    /// Give it up.
    Detach,
}

/// The next state of a remote, and what must be done to get there: the whole machine.
///
/// What the remote did (crash, exit) is never refused, only late: then nothing follows from it.
///
/// # Errors
/// The state does not allow it.
pub const fn step(state: State, input: Input) -> Result<(State, &'static [Action]), Refused> {
    use {Action as A, Input as I, State as S};
    Ok(match (state, input) {
        (S::Offline, I::Load) => (S::Offline, &[A::Load]),
        (S::Offline, I::Start) => (S::Running, &[A::Load, A::Start]),
        (S::Offline, I::Crash | I::Exit) => (S::Offline, &[]),

        (S::Running | S::Attached | S::Suspended, I::Stop) => (S::Offline, &[A::Stop, A::Reclaim]),
        (S::Running | S::Attached | S::Suspended, I::Exit) => (S::Offline, &[A::Reclaim, A::Stop]),
        (S::Running | S::Attached | S::Suspended, I::Crash) => (S::Crashed, &[A::Reclaim]),
        (S::Running | S::Attached, I::Detach) => (S::Detached, &[A::Detach]),

        (S::Crashed, I::Load) => (S::Offline, &[A::Stop, A::Load]),
        (S::Crashed, I::Start) => (S::Running, &[A::Stop, A::Load, A::Start]),
        (S::Crashed, I::Stop) => (S::Offline, &[A::Stop]),
        (S::Crashed, I::Detach) => (S::Detached, &[A::Detach]),
        (S::Crashed, I::Crash | I::Exit) => (S::Crashed, &[]),

        (S::Detached, I::Attach) => (S::Attached, &[A::Attach]),
        (S::Detached, I::Crash | I::Exit) => (S::Detached, &[]),

        (S::Running | S::Attached | S::Suspended, I::Load | I::Start | I::Attach)
        | (S::Suspended, I::Detach)
        | (S::Offline, I::Attach | I::Stop | I::Detach)
        | (S::Crashed, I::Attach)
        | (S::Detached, I::Load | I::Start | I::Stop | I::Detach) => return Err(Refused { state, input }),
    })
}

/// The state in which a remote is when one of the actions of [`step`] has failed, or took longer than it may. All before it
/// were done, and none behind it.
///
/// How long a backend may take for an action is the backend's to say, for it depends on what executes the remote; each has a
/// limit.
#[must_use]
pub const fn failed(state: State, input: Input, action: Action) -> State {
    let (next, actions) = match step(state, input) {
        Ok(step) => step,
        Err(_) => return state,
    };
    // What the remote did is a fact, whether or not we can clean up after it.
    if matches!(input, Input::Crash | Input::Exit) {
        return next;
    }
    let mut done = 0;
    while done < actions.len() && actions[done] as u8 != action as u8 {
        if matches!(actions[done], Action::Stop) {
            return State::Offline;
        }
        done += 1;
    }
    state
}

/// The machine as a Mermaid state diagram, made from [`step`]; what is refused or without consequence is left out.
#[must_use]
pub fn diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> offline\n    [*] --> detached\n");
    for from in State::ALL {
        for to in State::ALL {
            push_edge(&mut text, from, to);
        }
    }
    text.push_str("```\n");
    text
}

/// One line for all inputs that lead from one state to another.
fn push_edge(text: &mut String, from: State, to: State) {
    let mut separator = "";
    for input in Input::ALL {
        let Ok((next, actions)) = step(from, input) else { continue };
        if next != to || actions.is_empty() && from == to {
            continue;
        }
        if separator.is_empty() {
            push(text, format_args!("    {from} --> {to}: "));
        }
        push(text, format_args!("{separator}{input}"));
        separator = ", ";
    }
    if !separator.is_empty() {
        text.push('\n');
    }
}

fn push(text: &mut String, part: fmt::Arguments<'_>) {
    fmt::Write::write_fmt(text, part).expect("writing to a string cannot fail");
}

impl State {
    /// Every state, by number.
    pub const ALL: [State; 6] =
        [Self::Offline, Self::Suspended, Self::Running, Self::Crashed, Self::Attached, Self::Detached];

    /// The word that Linux' sysfs has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Suspended => "suspended",
            Self::Running => "running",
            Self::Crashed => "crashed",
            Self::Attached => "attached",
            Self::Detached => "detached",
        }
    }

    /// Whether the remote executes, and is ours to listen to.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Attached)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Input {
    /// Every input.
    pub const ALL: [Input; 7] =
        [Self::Load, Self::Start, Self::Stop, Self::Attach, Self::Detach, Self::Crash, Self::Exit];
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Crash => "crash",
            Self::Exit => "exit",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reclaim => "reclaim",
            Self::Attach => "attach",
            Self::Detach => "detach",
        })
    }
}

/// The state of a remote does not allow what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the remote is.
    pub state: State,
    /// What was asked.
    pub input: Input,
}

impl Refused {
    /// The code that stands for this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        codes::REFUSED
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { state, input } = self;
        let hint = match (state, input) {
            (State::Offline, Input::Stop | Input::Detach) => "it does not run",
            (State::Detached, _) => "attach to it first",
            (_, Input::Attach) => "only a detached remote can be attached to",
            (State::Suspended, _) => "stop it first",
            (_, Input::Start) => "it runs already",
            _ => "stop it first",
        };
        write!(f, "cannot {input}: the remote is {state} ({hint})")
    }
}

impl core::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec::Vec;

    use super::*;

    fn reachable(from: &[State]) -> Vec<State> {
        let mut seen = from.to_vec();
        let mut next = 0;
        while let Some(&state) = seen.get(next) {
            next += 1;
            for input in Input::ALL {
                if let Ok((to, _)) = step(state, input)
                    && !seen.contains(&to)
                {
                    seen.push(to);
                }
            }
        }
        seen.sort();
        seen
    }

    #[test]
    fn every_state_but_suspended_is_reached_from_where_a_remote_begins() {
        let all_but_suspended: Vec<State> =
            State::ALL.into_iter().filter(|&state| state != State::Suspended).collect();
        assert_eq!(reachable(&[State::Offline, State::Detached]), all_but_suspended);
    }

    #[test]
    fn every_state_has_a_way_back_to_offline() {
        for state in State::ALL {
            assert!(reachable(&[state]).contains(&State::Offline), "{state}");
        }
    }

    #[test]
    fn what_the_remote_did_is_never_refused() {
        for state in State::ALL {
            for input in [Input::Crash, Input::Exit] {
                let (next, actions) = step(state, input).unwrap();
                assert!(!next.is_live(), "{state} {input}");
                assert!(!actions.contains(&Action::Load), "{state} {input}");
            }
        }
    }

    #[test]
    fn a_remote_starts_with_firmware_just_loaded_and_is_loaded_only_while_it_does_not_run() {
        for state in State::ALL {
            for input in Input::ALL {
                let Ok((next, actions)) = step(state, input) else { continue };
                for pair in actions.windows(2) {
                    assert!(pair[1] != Action::Start || pair[0] == Action::Load, "{state} {input}");
                }
                assert_eq!(actions.contains(&Action::Start), input == Input::Start);
                if actions.contains(&Action::Load) {
                    assert!(!state.is_live() && state != State::Detached, "{state} {input}");
                }
                if state.is_live() && next == State::Offline {
                    assert!(actions.contains(&Action::Stop), "{state} {input}");
                }
                // Once on the way out of every state in which it executes, unless it goes on executing.
                let ends = !matches!(next, State::Detached) && (state.is_live() || state == State::Suspended);
                let reclaims = actions.iter().filter(|action| **action == Action::Reclaim).count();
                assert_eq!(reclaims, usize::from(ends), "{state} {input}");
            }
        }
    }

    #[test]
    fn a_failure_leads_to_where_the_actions_before_it_led_and_there_is_a_way_out_of_there() {
        for state in State::ALL {
            for input in Input::ALL {
                let Ok((next, actions)) = step(state, input) else { continue };
                for (done, action) in actions.iter().enumerate() {
                    let after = failed(state, input, *action);
                    let was_stopped = actions[..done].contains(&Action::Stop);
                    let is_fact = matches!(input, Input::Crash | Input::Exit);
                    let expected = match (is_fact, was_stopped) {
                        (true, _) => next,
                        (false, true) => State::Offline,
                        (false, false) => state,
                    };
                    assert_eq!(after, expected, "{state} {input} {action}");
                    assert!(reachable(&[after]).contains(&State::Offline), "{state} {input} {action}");
                    // It never runs after a failure that did not run before it.
                    assert!(!after.is_live() || state.is_live(), "{state} {input} {action}");
                }
            }
        }
    }

    #[test]
    fn numbers_and_words_are_those_of_linux() {
        let numbers = State::ALL.map(|state| state as u8);
        assert_eq!(numbers, [0, 1, 2, 3, 5, 6]);
        let words = State::ALL.map(State::word);
        assert_eq!(words, ["offline", "suspended", "running", "crashed", "attached", "detached"]);
    }

    #[test]
    fn the_diagram_in_the_documentation_is_the_machine() {
        assert_eq!(include_str!("lifecycle.md"), diagram(), "copy this:\n{}", diagram());
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = step(State::Running, Input::Load).unwrap_err();
        assert_eq!(refused.to_string(), "cannot load: the remote is running (stop it first)");
        let refused = step(State::Offline, Input::Stop).unwrap_err();
        assert_eq!(refused.to_string(), "cannot stop: the remote is offline (it does not run)");
    }
}
