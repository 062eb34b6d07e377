//! `sidecore wait`: until a remote is in a state, or has announced a channel.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use sidecore_client::{Error, Events, Processor};

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::interrupts::Interrupts;
use crate::remote;
use crate::target::{EXIT_CODES, Reach, Remotes, TIMED_OUT, Target, failed};

/// Wait until a remote runs, has stopped or crashed, or has announced a channel
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`; it need not be there yet
    remote: String,
    /// What to wait for: `running`, `offline` (or gone), `crashed`, or `channel:NAME`
    #[arg(long = "for", value_name = "WHAT", default_value = "running")]
    what: What,
    /// How long to wait at most [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = remote::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug)]
enum What {
    Running,
    Offline,
    Crashed,
    Channel(String),
}

impl FromStr for What {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("channel:")) {
            ("running", _) => Ok(Self::Running),
            ("offline", _) => Ok(Self::Offline),
            ("crashed", _) => Ok(Self::Crashed),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Channel(name.to_owned())),
            _ => Err("it is `running`, `offline`, `crashed` or `channel:NAME`"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("it runs"),
            Self::Offline => f.write_str("it is offline"),
            Self::Crashed => f.write_str("it has crashed"),
            Self::Channel(name) => write!(f, "it has announced {name}"),
        }
    }
}

/// How often a look is taken where nobody tells.
const LOOK: Duration = Duration::from_millis(50);
/// The same where the daemon tells, which may yet lose an event.
const SELDOM: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> Outcome {
    let remotes = args.reach.remotes()?;
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let end = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // From before the first look on: nothing falls between.
    let events = remotes.daemon().map(|daemon| daemon.events()).transpose();
    let mut events = events.map_err(|error| failed("cannot wait for events", &error))?;
    let mut attached = None;
    loop {
        let target = remotes.look_for(&args.remote)?;
        if is_so(args, &remotes, target.as_ref(), &mut attached)? {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(too_late(args, target.as_ref()));
        }
        rest(&mut events, left, &interrupts)?;
    }
}

fn is_so(
    args: &Args,
    remotes: &Remotes,
    target: Option<&Target>,
    attached: &mut Option<Processor>,
) -> Result<bool, Failure> {
    let Some(target) = target else { return Ok(matches!(args.what, What::Offline)) };
    let is_live = ["running", "attached"].contains(&&*target.state);
    match &args.what {
        What::Running => Ok(is_live),
        What::Offline => Ok(target.state == "offline"),
        What::Crashed => Ok(target.state == "crashed"),
        What::Channel(_) if !is_live => Ok(false),
        What::Channel(wanted) => {
            // One without a main side gets one for so long.
            let processor = match attached.take() {
                Some(processor) => processor,
                None => remotes.processor(target)?,
            };
            let services = match processor.services() {
                Ok(services) => services,
                // It went while we looked.
                Err(Error::NotFound { .. }) => return Ok(false),
                Err(error) => {
                    return Err(failed(format!("cannot list the channels of {}", target.id()), &error));
                }
            };
            *attached = Some(processor);
            Ok(services.iter().any(|service| service.name == *wanted))
        }
    }
}

/// Until something may have changed.
fn rest(events: &mut Option<Events>, left: Option<Duration>, interrupts: &Interrupts) -> Result<(), Failure> {
    let Some(events) = events else {
        thread::sleep(left.map_or(LOOK, |left| left.min(LOOK)));
        return Ok(());
    };
    let until = Instant::now() + left.map_or(SELDOM, |left| left.min(SELDOM));
    while Instant::now() < until && interrupts.exit_code().is_none() {
        let slice = until.saturating_duration_since(Instant::now()).min(LOOK);
        let event = events.wait(slice).map_err(|error| failed("cannot wait for events", &error))?;
        if event.is_some() {
            break;
        }
    }
    Ok(())
}

fn too_late(args: &Args, target: Option<&Target>) -> Failure {
    let why = match target {
        Some(target) => format!(
            "{} is {}, and {:?} is over before {}",
            target.id(),
            target.state,
            waited(args),
            args.what
        ),
        None => format!("there is no such remote, and {:?} is over before {}", waited(args), args.what),
    };
    Failure::new(codes::WAITED, format!("waited for {} in vain", args.remote)).because(why).status(TIMED_OUT)
}

fn waited(args: &Args) -> Duration {
    args.timeout.unwrap_or_default()
}
