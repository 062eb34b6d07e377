//! The chores, which are also the CI.

mod chore;
mod libtest;
mod report;
mod source;

use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

use crate::{
    chore::{CHORES, Chore},
    report::Report,
};

fn main() -> ExitCode {
    let matches = command().get_matches();
    let Some((name, arguments)) = matches.subcommand() else {
        unreachable!("clap demands a chore");
    };
    let chore =
        CHORES.iter().find(|chore| chore.name == name).expect("clap knows the chores of the table only");
    let mut report = Report::new(matches.get_flag("verbose"));
    let outcome = (chore.run)(arguments, &mut report);
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    match report.finish() && outcome.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The command line, made of the table of chores.
fn command() -> Command {
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("CHORE")
        .subcommand_help_heading("Chores")
        .disable_help_subcommand(true)
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("Also name every test that passes"),
        )
        .subcommands(
            CHORES
                .iter()
                .map(|Chore { name, about, arguments, .. }| arguments(Command::new(*name).about(*about))),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        // Panics on doubled chores and arguments.
        command().debug_assert();
    }
}
