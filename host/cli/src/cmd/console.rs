//! `sidecore console`: the terminal on a remote's console.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::interrupts::Interrupts;
use crate::output::note;
use crate::raw::Raw;
use crate::remote;
use crate::target::{EXIT_CODES, Reach, failed};
use crate::terminal::write_through;

/// Be at a remote's console: what its firmware says, and what it is told; Ctrl-] leaves
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`
    remote: String,
    /// How long the console may be silent after the end of an input that is no terminal
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = remote::seconds)]
    linger: Duration,
    #[command(flatten)]
    reach: Reach,
}

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Bytes that are taken at once.
const PIECE: usize = 4096;

pub(crate) fn run(args: &Args) -> Outcome {
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    let processor = remotes.processor(&target)?;
    let console = processor.console();
    let console =
        console.map_err(|error| failed(format!("cannot open the console of {}", target.id()), &error))?;
    let is_terminal = io::stdin().is_terminal();
    // On a terminal Ctrl-C is the firmware's.
    let (wakes, woken) = rustix::pipe::pipe().map_err(|errno| cannot(&errno))?;
    let interrupts = Interrupts::catch_by(move || wake(&woken), !is_terminal)?;
    let raw = if is_terminal {
        let raw = Raw::new(io::stdin().as_fd(), &[], &[]).map_err(|error| cannot(&error))?;
        note(&format_args!("the console of {}; Ctrl-] leaves it", target.id()));
        Some(raw)
    } else {
        None
    };
    let ended = talk(&console, &wakes, is_terminal, args.linger);
    drop(raw);
    match ended.map_err(Failure::output)? {
        End::Left => {}
        End::Interrupted => return Ok(interrupts.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from)),
        End::Gone => note(&format_args!("the console of {} has ended", target.id())),
    }
    Ok(ExitCode::SUCCESS)
}

fn wake(woken: &OwnedFd) {
    // One that is full wakes as well.
    let _ = rustix::io::write(woken, &[0]);
}

/// Why nothing more is said.
enum End {
    Left,
    Gone,
    Interrupted,
}

/// Moves bytes both ways.
fn talk(console: &OwnedFd, wakes: &OwnedFd, is_terminal: bool, linger: Duration) -> io::Result<End> {
    let linger = Timespec::try_from(linger).map_err(io::Error::other)?;
    let mut from = File::from(console.try_clone()?);
    let mut to = File::from(console.try_clone()?);
    let mut is_open = true;
    let mut piece = [0; PIECE];
    loop {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(console, PollFlags::IN), PollFd::new(wakes, PollFlags::IN)];
        if is_open {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, (!is_open).then_some(&linger)) {
            Ok(0) => return Ok(End::Left),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[1] {
            return Ok(End::Interrupted);
        }
        if ready[0] {
            match again(from.read(&mut piece))? {
                Some(0) => return Ok(End::Gone),
                Some(len) => write_through(&mut io::stdout().lock(), &piece[..len])?,
                None => {}
            }
        }
        if ready.get(2) == Some(&true) {
            // Not by way of the standard library's buffer: what is in that cannot be waited for.
            let len = match rustix::io::read(&stdin, &mut piece) {
                Ok(len) => len,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(_) => 0,
            };
            let typed = &piece[..len];
            let leave = typed.iter().position(|byte| is_terminal && *byte == LEAVE);
            match write_through(&mut to, &typed[..leave.unwrap_or(len)]) {
                Ok(()) => {}
                // What it still said comes first.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => is_open = false,
                Err(error) => return Err(error),
            }
            if leave.is_some() {
                return Ok(End::Left);
            }
            is_open &= len > 0;
        }
    }
}

fn again(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(len) => Ok(Some(len)),
        Err(error) if [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock].contains(&error.kind()) => {
            Ok(None)
        }
        // The other end is gone, and has not read all.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

fn cannot(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(codes::TERMINAL, "cannot be at a console").because(why)
}
