//! The verbs, one file each.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::failure::Outcome;
use crate::remote::OURS;

mod attach;
mod boards;
mod channel;
mod completions;
mod config;
mod conformance;
mod console;
mod doctor;
mod dump;
mod events;
mod explain;
mod gdb;
mod images;
mod inspect;
mod logs;
mod man;
mod new;
mod ping;
mod ps;
mod recv;
mod restart;
mod run;
mod send;
mod soc;
mod start;
mod status;
mod stop;
mod top;
mod vhost_user;
mod wait;

/// Run, inspect and talk to the other processors of a system-on-chip
#[derive(Debug, Parser)]
#[command(name = "sidecore", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Environment:
  NO_COLOR         no colors, whatever the output is
  SIDECORE_BUS     whose daemon to ask for remotes: session, system or none
  XDG_RUNTIME_DIR  sockets of running remotes are made in sidecore/ below it
  XDG_STATE_HOME   logs and core dumps are kept in sidecore/ below it (~/.local/state)

Examples:
  sidecore run hello                 run a built-in image
  sidecore run fw.elf --dir . -- -v  run your own, with files and arguments
  sidecore start radio echo          start one that stays, here or in the daemon
  sidecore send radio rpmsg-echo hello --reply
                                     talk with it
  sidecore ping                      round trips to a remote, measured
  sidecore run fw.elf --on qemu:mps2-an386
                                     run it on a board that QEMU emulates
  sidecore inspect fw.elf            what is in a firmware file
  sidecore explain E0113             what an error means")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Ping(ping::Args),
    Attach(attach::Args),
    Ps(ps::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Detach(restart::Detach),
    Status(status::Args),
    Logs(logs::Args),
    Console(console::Args),
    Channel(channel::Args),
    Send(send::Args),
    Recv(recv::Args),
    Events(events::Args),
    Wait(wait::Args),
    Top(top::Args),
    Config(config::Args),
    Conformance(Box<conformance::Args>),
    Gdb(gdb::Args),
    Dump(dump::Args),
    Inspect(inspect::Args),
    Images(images::Args),
    Boards(boards::Args),
    New(new::Args),
    VhostUser(vhost_user::Args),
    Soc(soc::Args),
    Explain(explain::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    fn run(&self) -> Outcome {
        match self {
            Self::Run(args) => run::run(args),
            Self::Ping(args) => ping::run(args),
            Self::Attach(args) => attach::run(args),
            Self::Ps(args) => ps::run(args),
            Self::Start(args) => start::run(args),
            Self::Stop(args) => stop::run(args),
            Self::Restart(args) => restart::run(args),
            Self::Detach(args) => restart::detach(args),
            Self::Status(args) => status::run(args),
            Self::Logs(args) => logs::run(args),
            Self::Console(args) => console::run(args),
            Self::Channel(args) => channel::run(args),
            Self::Send(args) => send::run(args),
            Self::Recv(args) => recv::run(args),
            Self::Events(args) => events::run(args),
            Self::Wait(args) => wait::run(args),
            Self::Top(args) => top::run(args),
            Self::Config(args) => config::run(args),
            Self::Conformance(args) => conformance::run(args),
            Self::Gdb(args) => gdb::run(args),
            Self::Dump(args) => dump::run(args),
            Self::Inspect(args) => inspect::run(args),
            Self::Images(args) => images::run(args),
            Self::Boards(args) => boards::run(args),
            Self::New(args) => new::run(args),
            Self::VhostUser(args) => vhost_user::run(args),
            Self::Soc(args) => soc::run(args),
            Self::Explain(args) => explain::run(args),
            Self::Doctor(args) => doctor::run(args),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        }
    }

    /// Whether a program reads our output, and our errors.
    fn json(&self) -> bool {
        match self {
            Self::Ping(args) => args.json,
            Self::Ps(args) => args.json,
            Self::Status(args) => args.json,
            Self::Logs(args) => args.json,
            Self::Channel(args) => args.json(),
            Self::Send(args) => args.json,
            Self::Recv(args) => args.json,
            Self::Events(args) => args.json,
            Self::Top(args) => args.json,
            Self::Config(args) => args.json(),
            Self::Conformance(args) => args.json,
            Self::Dump(args) => args.json(),
            Self::Inspect(args) => args.json,
            Self::Images(args) => args.json,
            Self::Boards(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Run(_)
            | Self::Attach(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Detach(_)
            | Self::Console(_)
            | Self::Wait(_)
            | Self::Gdb(_)
            | Self::New(_)
            | Self::VhostUser(_)
            | Self::Soc(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.command.run().unwrap_or_else(|failure| failure.report(cli.command.json())),
        Err(error) => {
            // Help and versions come as errors, too, and go to the standard output. Nobody is left to tell of a refusal.
            let _ = error.print();
            match error.exit_code() {
                0 => ExitCode::SUCCESS,
                // The firmware's exit codes are none of ours.
                _ if is_run() => ExitCode::from(OURS),
                code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
            }
        }
    }
}

/// The whole command line as data, for completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

fn is_run() -> bool {
    std::env::args_os().nth(1).as_deref() == Some(OsStr::new("run"))
}
