//! `sidecore recv`: what a service of a remote sends.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sidecore_client::{Error, OpenOptions};

use crate::failure::Outcome;
use crate::interrupts::Interrupts;
use crate::message::{Form, From, Peer, usage};
use crate::remote;
use crate::target::{EXIT_CODES, Reach, failed};

/// Show the messages that a service of a remote sends
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`
    remote: String,
    /// The service; none with --addr or --local
    service: Option<String>,
    #[command(flatten)]
    peer: Peer,
    /// A message to send before, by which the remote learns where its own are to go
    #[arg(long, value_name = "DATA")]
    greet: Option<OsString>,
    /// Leave after so many messages [default: at the remote's end, or at Ctrl-C]
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How long to wait for each message [default: for ever], and for the service
    #[arg(long, value_name = "SECONDS", value_parser = remote::seconds)]
    timeout: Option<Duration>,
    /// Messages that may wait for us; through the daemon those above are lost
    #[arg(long, value_name = "N", default_value_t = OpenOptions::DEFAULT.queue)]
    queue: u32,
    #[command(flatten)]
    reach: Reach,
    /// Show hexadecimal digits
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    hex: bool,
    /// Show the messages as they are, one behind the other
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Show a JSON object a line (schema sidecore.recv/1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often a look is taken whether somebody has had enough.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> Outcome {
    let service = args.service.as_deref();
    match (service, args.peer.is_given()) {
        (Some(_), true) => return Err(usage("there is a service, and an address in its place")),
        (None, false) => return Err(usage("there is neither a service nor --addr nor --local")),
        _ => {}
    }
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    let processor = remotes.processor(&target)?;
    let mut options = OpenOptions::new().queue(args.queue);
    if let Some(timeout) = args.timeout {
        options = options.timeout(timeout);
    }
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let endpoint = args.peer.open(&processor, &target, service, options)?;
    if let Some(greeting) = &args.greet {
        let sent = endpoint.send(greeting.as_bytes(), options.timeout);
        sent.map_err(|error| failed(format!("cannot send to {}", target.id()), &error))?;
    }
    let form = Form::of(args.hex, args.raw, args.json);
    let from = From { schema: "sidecore.recv/1", remote: &target.id(), service };
    let (mut number, mut waited_since) = (0, Instant::now());
    while args.count.is_none_or(|count| number < count) {
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        let left = args.timeout.map(|timeout| timeout.saturating_sub(waited_since.elapsed()));
        match endpoint.receive(left.unwrap_or(SLICE).min(SLICE)) {
            Ok(message) => {
                form.show(&from, number, &message)?;
                (number, waited_since) = (number + 1, Instant::now());
            }
            Err(Error::TimedOut { .. }) if left.is_none_or(|left| !left.is_zero()) => {}
            Err(Error::TimedOut { .. }) => {
                let error = Error::TimedOut { waited: args.timeout.unwrap_or_default() };
                return Err(failed(format!("{} is silent", target.id()), &error));
            }
            Err(error) => return Err(failed(format!("no more comes of {}", target.id()), &error)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
