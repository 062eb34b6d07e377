//! `sidecore completions`: completions for a shell.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::failure::Outcome;
use crate::output::print;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "For example:
  sidecore completions bash > ~/.local/share/bash-completion/completions/sidecore
  sidecore completions zsh  > ~/.zfunc/_sidecore
  sidecore completions fish > ~/.config/fish/completions/sidecore.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "sidecore", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
