//! Firmware on a remote, as every command that runs some wants it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sidecore_backends::Any;
use sidecore_backends::qemu::{self, Board, Qemu};
use sidecore_backends::sandbox::{self, Sandbox};
use sidecore_backends::shm;
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::firmware::Machine;
use sidecore_remoteproc::held::Spinlocks;
use sidecore_remoteproc::{Backend as _, BackendError, Firmware, RemoteError};

use crate::codes;
use crate::failure::Failure;
use crate::image::{CANNOT_RUN, Image};
use crate::output::note;

/// What executes the firmware.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum On {
    /// A confined process on this machine.
    #[default]
    Sandbox,
    /// A board that QEMU emulates.
    Qemu(Box<Board>),
    /// A remote processor that Linux drives, by either of its names.
    Kernel(String),
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox => f.write_str("sandbox"),
            Self::Qemu(board) => write!(f, "qemu:{}", board.name),
            Self::Kernel(name) => f.write_str(name),
        }
    }
}

impl FromStr for On {
    type Err = String;

    /// `sandbox`, `qemu:BOARD`, `qemu:FILE.toml`, `remoteprocN`, or `linux:NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "sandbox" => Ok(Self::Sandbox),
            Some(("qemu", board)) => find_board(board).map(|board| Self::Qemu(Box::new(board))),
            Some(("linux", name)) => Ok(Self::Kernel(name.to_owned())),
            None if text.starts_with("remoteproc") => Ok(Self::Kernel(text.to_owned())),
            _ => Err("it is `sandbox`, `qemu:BOARD` or `remoteprocN`; `sidecore boards` lists the boards, `sidecore ps` \
                      the remote processors that Linux drives"
                .to_owned()),
        }
    }
}

/// The built-in board of this name, or the one in this file.
fn find_board(name: &str) -> Result<Board, String> {
    let path = Path::new(name);
    if !name.contains('/') && path.extension() != Some(OsStr::new("toml")) {
        return Board::find(name).ok_or_else(|| {
            let names: Vec<String> = Board::all().map(|board| board.name).collect();
            format!("there is no board {name}; there are {}, or the path of a board's file", names.join(", "))
        });
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    Board::parse(&text).map_err(|error| format!("{name}: {error}"))
}

/// Where a peer in another process is met.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) config: shm::Config,
}

impl FromStr for Place {
    type Err = String;

    /// `shm:openamp`, `shm:rpmsg-lite`, or `shm:FILE.toml`.
    fn from_str(text: &str) -> Result<Self, String> {
        let place =
            text.strip_prefix("shm:").ok_or("it is `shm:openamp`, `shm:rpmsg-lite` or `shm:FILE.toml`")?;
        let config = match place {
            "openamp" => shm::Config::openamp(),
            "rpmsg-lite" => shm::Config::rpmsg_lite(),
            path => {
                let file = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                shm::Config::parse(&file).map_err(|error| format!("{path}: {error}"))?
            }
        };
        Ok(Self { name: text.to_owned(), config })
    }
}

/// The exit code for what is our fault and not the firmware's.
pub(crate) const OURS: u8 = 125;

/// How an image is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// What executes it.
    pub(crate) on: On,
    /// When to call it a hang.
    pub(crate) watchdog: Option<Duration>,
    /// Whether the core is held at its first instruction, for a debugger.
    pub(crate) held: bool,
    /// The image of the board's other core.
    pub(crate) beside: Option<OsString>,
    /// Whether its semihosting calls are answered, as to which command line.
    pub(crate) semihosting: Option<Vec<OsString>>,
}

/// Makes a remote and loads the image on it. It is not started yet.
pub(crate) fn load(image: &Image, settings: Settings, options: Options) -> Result<Processor<Any>, Failure> {
    let firmware = image.firmware()?;
    let any = make(image, &firmware, settings)?;
    let mut processor = Processor::new(any, options);
    processor.load(&firmware).map_err(|error| remote(image, &error))?;
    let has_locks = processor.remote().memories().iter().any(|memory| memory.name == Spinlocks::MEMORY);
    if has_locks {
        processor.register(Box::new(Spinlocks::in_memory(Spinlocks::MEMORY, Spinlocks::REMOTE)));
    }
    Ok(processor)
}

/// Makes what executes the image, which has to be for such a machine.
pub(crate) fn make(image: &Image, firmware: &Firmware<'_>, settings: Settings) -> Result<Any, Failure> {
    let Settings { on, watchdog, held, beside, semihosting } = settings;
    let any = match on {
        On::Sandbox if beside.is_some() => {
            let why = "the sandbox has one core; of the boards, those of which the book says so have two";
            return Err(Failure::new(codes::ARGUMENTS, "cannot run an image beside")
                .because(why)
                .status(OURS));
        }
        On::Sandbox if semihosting.is_some() => {
            let why = "the sandbox has none; boards have (--on qemu:BOARD)";
            let failure = Failure::new(codes::ARGUMENTS, "cannot answer semihosting calls");
            return Err(failure.because(why).status(OURS));
        }
        On::Sandbox => {
            let natives: Vec<Machine> = Machine::NATIVE.into_iter().collect();
            firmware.check_machine(&natives).map_err(|error| image.refused(&error))?;
            let config = sandbox::Config { watchdog, ..sandbox::Config::default() };
            Sandbox::new(config).map(Any::from)
        }
        On::Qemu(board) => {
            firmware.check_machine(&[board.machine()]).map_err(|error| image.refused_by(&error, &board))?;
            let other = beside.map(|beside| Image::open(&beside)).transpose()?;
            let beside = other.as_ref().map(|image| image.beside(&board)).transpose()?;
            let config = qemu::Config { watchdog, held, beside, semihosting, ..qemu::Config::new(*board) };
            Qemu::new(config).map(Any::from)
        }
        // Those who can work with one have looked before.
        On::Kernel(name) => {
            let what = format!("cannot do this on {name}, which Linux drives");
            return Err(Failure::new(codes::KERNEL_OPTION, what).status(OURS));
        }
    };
    any.map_err(|error| backend(&error))
}

/// Says how it came to run, and how it is confined.
pub(crate) fn describe(processor: &Processor<Any>) {
    describe_since(processor, 0);
    processor.remote().backend().findings().iter().for_each(note);
}

/// Says what happened to it from the log's entry with this number on. Answers the number of the one to come.
pub(crate) fn describe_since(processor: &Processor<Any>, number: u64) -> u64 {
    let remote = processor.remote();
    remote.log().since(number).for_each(|entry| note(&entry.what));
    remote.log().entries().last().map_or(0, |entry| entry.number + 1)
}

/// Prints what the board's own console says, which is no business of the firmware's user: on the standard error.
pub(crate) fn tell_console(processor: &Processor<Any>) {
    use std::io::Write as _;
    let remote = processor.remote();
    let Some(text) = remote.backend().qemu().map(Qemu::take_console).filter(|text| !text.is_empty()) else {
        return;
    };
    // As for notes.
    let _ = std::io::stderr().lock().write_all(&text);
}

/// Why firmware was not loaded or started: its own fault (it cannot be run) or ours.
pub(crate) fn remote(image: &Image, error: &RemoteError) -> Failure {
    match error {
        RemoteError::Backend(error) => backend(error),
        error => {
            Failure::new(error.code(), format!("cannot run {}", image.name)).because(error).status(CANNOT_RUN)
        }
    }
}

pub(crate) fn backend(error: &BackendError) -> Failure {
    let status = match error {
        BackendError::Memory { .. }
        | BackendError::MemoryRefused { .. }
        | BackendError::Unsupported { .. } => CANNOT_RUN,
        _ => OURS,
    };
    Failure::new(error.code(), "cannot make a remote").because(error).status(status)
}

/// Reads a time from the command line.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (Duration::from_millis(1)..=Duration::from_secs(86400)).contains(&time) => Ok(time),
        _ => Err("must be between 0.001 and 86400 seconds".to_owned()),
    }
}
