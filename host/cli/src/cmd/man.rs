//! `sidecore man`: the manual pages, made from the same text as the help.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap_mangen::Man;

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::output::print;

/// Write the manual pages: all of them into a directory, or the first to the standard output
#[derive(Debug, clap::Args)]
#[command(after_help = "For example:
  sidecore man | man -l -
  sidecore man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// The directory for sidecore.1, sidecore-run.1 and so on; it is made if it is not there
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let command = super::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(Failure::output)?;
        print(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    write_pages(command, dir).map_err(|error| {
        Failure::new(codes::WRITE_FILE, format!("cannot write manual pages to {}", dir.display()))
            .because(error)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: clap::Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir)
}
