//! The `sidecore` command.

mod builtin;
mod cmd;
mod codes;
mod debugger;
mod failure;
mod image;
mod interrupts;
mod kernel;
mod output;
mod remote;
mod report;
mod symbols;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    // This executable is also every warden and every sandboxed remote.
    sidecore_backends::sandbox::hook();
    cmd::main()
}
