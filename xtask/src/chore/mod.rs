//! One file for each chore, and the table of them all.

mod bench;
mod ci;
mod demo;
mod deny;
mod dist;
mod docs;
mod files;
mod fuzz;
mod images;
mod kill;
mod lab;
mod layers;
mod loom;
mod ordinary;
mod prose;
mod protocol;
mod release;
mod sim;
mod size;
mod test;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::report::Report;

/// Every chore, in the order of the help. To add one: a file, and its row.
pub(crate) const CHORES: &[Chore] = &[
    demo::CHORE,
    test::CHORE,
    images::CHORE,
    lab::CHORE,
    bench::CHORE,
    size::CHORE,
    loom::CHORE,
    sim::CHORE,
    kill::CHORE,
    fuzz::CHORE,
    ordinary::CHORE,
    layers::CHORE,
    files::CHORE,
    docs::CHORE,
    deny::CHORE,
    dist::CHORE,
    prose::CHORE,
    protocol::CHORE,
    ci::CHORE,
];

/// Something that `cargo xtask` does.
pub(crate) struct Chore {
    /// What is typed.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// Adds the arguments.
    pub(crate) arguments: fn(Command) -> Command,
    /// Does it. What can fail on its own is a step of the report; an error means that the chore itself had to give up.
    pub(crate) run: fn(&ArgMatches, &mut Report) -> Result<()>,
}

/// An argument that is a number.
fn number(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Arg {
    let argument = Arg::new(name).long(name).value_name(value).default_value(default).help(help);
    argument.value_parser(value_parser!(u64))
}

/// What was given for it.
fn given(arguments: &ArgMatches, name: &str) -> u64 {
    *arguments.get_one(name).expect("it has a default")
}

/// For chores without arguments.
fn none(command: Command) -> Command {
    command
}
