//! The `sidecore` command.

mod builtin;
mod cmd;
mod codes;
mod debugger;
mod defmt;
mod details;
mod failure;
mod image;
mod interrupts;
mod kernel;
mod message;
mod output;
mod raw;
mod remote;
mod report;
mod state;
mod symbols;
mod target;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    // This executable is also every warden and every sandboxed remote.
    sidecore_backends::sandbox::hook();
    // And what decodes frames of firmware.
    defmt::hook();
    // A file that may not grow (`ulimit -f`) is an error of whoever writes it, and not the end of everything. Where this
    // cannot be had it is as everywhere else.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    cmd::main()
}
