//! The state machines of the chapters are those of the code. A test and no step, so that the chores are built without
//! the machines.

use std::{collections::BTreeSet, fmt::Display};

use sidecore_remoteproc::lifecycle::{Action, Input, State, failed, step};
use sidecore_remoteproc::recovery::course::{Happening, Phase, follow};
use sidecore_virtio::status::{Change, change};
use sidecore_wire::status::Status;

use super::read;

/// A state of the status machine: its name, and whether a status is in it unless it is in an earlier one.
type Place = (&'static str, fn(Status) -> bool);

/// The states of the status machine, by what counts most; the last is all the rest.
const STATUS: &[Place] = &[
    ("FAILED", |status| status.contains(Status::FAILED)),
    ("DRIVER_OK, NEEDS_RESET", |status| status.contains(Status::DRIVER_OK.with(Status::NEEDS_RESET))),
    ("DRIVER_OK", |status| status.contains(Status::DRIVER_OK)),
    ("FEATURES_OK", |status| status.contains(Status::FEATURES_OK)),
    ("0", |status| status == Status::RESET),
    ("any other", |_| true),
];

#[test]
fn the_status_machine_in_the_book_is_that_of_the_code() {
    let state = |status| STATUS.iter().position(|(_, is)| is(status)).expect("the last one is any");
    let mut meanings = vec![vec![BTreeSet::new(); STATUS.len()]; STATUS.len()];
    for (before, now) in (0..=255).flat_map(|before| (0..=255).map(move |now| (before, now))) {
        let (before, now) = (Status(before), Status(now));
        let meaning = match change(before, now) {
            // Nothing that the remote acts on.
            Change::None | Change::Progress => "-".to_owned(),
            change => change.to_string(),
        };
        meanings[state(before)][state(now)].insert(meaning);
    }
    let mut table = head("seen last, and seen now:", STATUS.iter().map(|(name, _)| *name));
    for ((name, _), meanings) in STATUS.iter().zip(meanings) {
        let cells = meanings.into_iter().map(|meanings| Vec::from_iter(meanings).join(" or "));
        table += &row(name, cells);
    }
    assert_is("book/src/protocol/status.md", &table);
}

#[test]
fn the_life_cycle_in_the_book_is_that_of_the_code() {
    let mut table = head("state", ["input", "next", "what is done", "where that fails"].into_iter());
    for state in State::ALL {
        for input in Input::ALL {
            let Ok((next, actions)) = step(state, input) else { continue };
            if next == state && actions.is_empty() {
                continue;
            }
            let done: Vec<String> = actions.iter().map(ToString::to_string).collect();
            // Nothing can fail in taking back what others have written in their own memory.
            let can_fail = actions.iter().filter(|action| **action != Action::Reclaim);
            let fails: Vec<String> =
                can_fail.map(|action| format!("{action}: {}", failed(state, input, *action))).collect();
            let cells = [input.to_string(), next.to_string(), done.join(", "), fails.join(", ")];
            table += &row(state, cells.into_iter());
        }
    }
    assert_is("book/src/protocol/lifecycle.md", &table);
}

#[test]
fn the_course_of_a_recovery_in_the_book_is_that_of_the_code() {
    let mut table = head("phase", ["what happens", "next", "what is done"].into_iter());
    for phase in Phase::ALL {
        for happening in Happening::ALL {
            let (next, steps) = follow(phase, happening);
            if next == phase && steps.is_empty() {
                continue;
            }
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            table += &row(phase, [happening.to_string(), next.to_string(), steps.join(", ")].into_iter());
        }
    }
    assert_is("book/src/protocol/recovery.md", &table);
}

fn head<'a>(first: &str, rest: impl Iterator<Item = &'a str> + Clone) -> String {
    let line = row(first, rest.clone());
    line + &row("---", rest.map(|_| "---"))
}

fn row(first: impl Display, rest: impl Iterator<Item = impl Display>) -> String {
    rest.fold(format!("| {first} |"), |line, cell| format!("{line} {cell} |")) + "\n"
}

fn assert_is(path: &str, made: &str) {
    let there = read(path).unwrap_or_default();
    assert!(there == made, "{path} is stale. Copy this:\n{made}");
}
