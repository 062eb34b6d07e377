//! `sidecore send`: messages to a service of a remote, and its answers.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueHint;
use sidecore_client::{Endpoint, Error, OpenOptions};

use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::interrupts::Interrupts;
use crate::message::{Form, From, Peer, parse_hex, usage};
use crate::remote;
use crate::target::{EXIT_CODES, Reach, Target, failed};

/// Send messages to a service of a remote, and show its answers
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`
    remote: String,
    /// The service that the messages are for; none with --addr
    service: Option<String>,
    /// The message, or `-`: each line of the standard input is one
    data: Option<OsString>,
    #[command(flatten)]
    peer: Peer,
    /// The message is in hexadecimal digits, and so are the answers
    #[arg(long)]
    hex: bool,
    /// The message is what is in a file, all of it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Wait for so many answers to each message, and show them
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    reply: Option<u32>,
    /// How long to wait for the service, for room, and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = remote::seconds)]
    timeout: Duration,
    #[command(flatten)]
    reach: Reach,
    /// Show answers as they are, one behind the other
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Show answers as a JSON object a line (schema sidecore.send/1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Bytes of the longest message that there can be.
const LONGEST: u64 = 65535;

/// How often a look is taken whether somebody has had enough.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> Outcome {
    let (service, data) = what(args)?;
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    let processor = remotes.processor(&target)?;
    // What cannot be sent is said before anybody is disturbed.
    let one = match (&args.file, data) {
        (Some(path), _) => Some(file(path)?),
        (None, Some(data)) if data != "-" => Some(bytes(args, data.as_bytes(), "the message")?),
        _ => None,
    };
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let endpoint = args.peer.open(&processor, &target, service, OpenOptions::new().timeout(args.timeout))?;
    let from = From { schema: "sidecore.send/1", remote: &target.id(), service };
    let mut talk =
        Talk { args, target: &target, endpoint: &endpoint, from, interrupts: &interrupts, shown: 0 };
    if let Some(message) = one {
        return talk.exchange(&message);
    }
    let mut input = io::stdin().lock();
    for number in 1_u64.. {
        let Some(line) = line(&mut input, number)? else { break };
        let code = talk.exchange(&bytes(args, &line, &format!("line {number}"))?)?;
        if interrupts.exit_code().is_some() {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The service, and the message where it stands in the command line.
fn what(args: &Args) -> Result<(Option<&str>, Option<OsString>), Failure> {
    let service = args.service.as_deref();
    let (service, data) = match (args.peer.addr, &args.data) {
        (Some(_), Some(_)) => return Err(usage("with --addr there is no service")),
        // What comes first is the message then.
        (Some(_), None) => (None, service.map(OsString::from)),
        (None, data) => (service, data.clone()),
    };
    match (&args.file, &data) {
        (Some(_), Some(_)) => Err(usage("there is a message, and --file names another one")),
        (None, None) => Err(usage("there is no message: give it behind the service, or --file, or `-`")),
        _ if service.is_none() && args.peer.addr.is_none() => {
            Err(usage("there is neither a service nor --addr"))
        }
        _ => Ok((service, data)),
    }
}

fn bytes(args: &Args, text: &[u8], what: &str) -> Result<Vec<u8>, Failure> {
    if !args.hex {
        return Ok(text.to_vec());
    }
    parse_hex(text).map_err(|why| usage(format!("{what}: {why}")))
}

fn file(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    let shown = printable(&path.to_string_lossy());
    read.map_err(|error| {
        Failure::new(codes::USAGE, format!("cannot read {shown}")).because(error).status(2)
    })?;
    if bytes.len() as u64 > LONGEST {
        return Err(usage(format!("{shown} has more than {LONGEST} bytes, which no message has")));
    }
    Ok(bytes)
}

/// The next line of the standard input, without its end.
fn line(input: &mut impl io::BufRead, number: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    // Two digits and a blank for each byte, at most.
    let read = input.take(3 * LONGEST + 2).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::new(codes::USAGE, "cannot read the standard input").because(error))?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > 3 * LONGEST {
        return Err(usage(format!("line {number} is longer than any message")));
    }
    Ok(Some(line))
}

struct Talk<'a> {
    args: &'a Args,
    target: &'a Target,
    endpoint: &'a Endpoint,
    from: From<'a>,
    interrupts: &'a Interrupts,
    shown: u64,
}

impl Talk<'_> {
    /// Sends a message and shows what is answered.
    fn exchange(&mut self, message: &[u8]) -> Outcome {
        let sent =
            self.patiently(|slice| self.endpoint.send(message, slice), |error| matches!(error, Error::Full));
        match sent {
            Err(error) => return Err(failed(format!("cannot send to {}", self.target.id()), &error)),
            Ok(None) => return Ok(self.interrupted()),
            Ok(Some(())) => {}
        }
        let form = Form::of(self.args.hex, self.args.raw, self.args.json);
        for _ in 0..self.args.reply.unwrap_or(0) {
            let answer = self.patiently(
                |slice| self.endpoint.receive(slice),
                |error| matches!(error, Error::TimedOut { .. }),
            );
            match answer {
                Ok(Some(answer)) => form.show(&self.from, self.shown, &answer)?,
                Ok(None) => return Ok(self.interrupted()),
                Err(Error::TimedOut { .. }) => {
                    let error = Error::TimedOut { waited: self.args.timeout };
                    return Err(failed(format!("{} does not answer", self.target.id()), &error));
                }
                Err(error) => return Err(failed(format!("{} does not answer", self.target.id()), &error)),
            }
            self.shown += 1;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Tries for as long as was asked for; `None`: somebody has had enough.
    fn patiently<T>(
        &self,
        mut try_for: impl FnMut(Duration) -> sidecore_client::Result<T>,
        is_too_early: impl Fn(&Error) -> bool,
    ) -> sidecore_client::Result<Option<T>> {
        let end = Instant::now() + self.args.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match try_for(left.min(SLICE)) {
                Ok(done) => return Ok(Some(done)),
                Err(error) if !is_too_early(&error) || left.is_zero() => return Err(error),
                Err(_) if self.interrupts.exit_code().is_some() => return Ok(None),
                Err(_) => {}
            }
        }
    }

    fn interrupted(&self) -> ExitCode {
        self.interrupts.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_whatever_is_in_them() {
        let mut input = &b"one\n\n\xff\x00two\nlast"[..];
        let mut lines = Vec::new();
        while let Ok(Some(found)) = line(&mut input, 1) {
            lines.push(found);
        }
        assert_eq!(lines, [&b"one"[..], b"", b"\xff\x00two", b"last"]);
        let long = vec![b'x'; 3 * LONGEST as usize + 10];
        assert!(line(&mut &long[..], 7).unwrap_err().to_string().contains("line 7"));
    }
}
