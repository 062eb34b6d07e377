//! The remote itself: how it is made, started, and brought back when it crashes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use sidecore_backends::Any;
use sidecore_backends::qemu::{self, Board, Qemu};
use sidecore_backends::sandbox::{Config, Lifetime, Logged, Sandbox};
use sidecore_os::Errno;
use sidecore_processor::{Ended, Options, Processor, Room, console};
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery, Remedy};
use sidecore_remoteproc::{Firmware, RemoteError};

use super::consoles::Consoles;
use super::protocol::{FirmwareFacts, Kind, Load, Refusal};
use super::{Refused, bell};

/// How long services may take to be announced again after a silent restart.
const BACK: Duration = Duration::from_secs(2);

/// Endpoints that all clients may have open together.
const ENDPOINTS: u16 = 4096;

/// A remote that is kept.
pub(super) struct Body {
    pub(super) load: Load,
    pub(super) processor: Processor<Any>,
    /// What it was started with; nothing is known of the firmware of one that was found running.
    file: Option<File>,
    pub(super) facts: FirmwareFacts,
    recovery: Recovery,
    since: Instant,
    /// When it is brought back, if it is.
    pub(super) due: Option<Instant>,
    pub(super) restarts: u64,
    /// Wakes a processor that cannot wait for anything but its remote.
    pub(super) bell: Option<bell::Bell>,
}

impl Body {
    /// Makes a remote with firmware, which is not started yet.
    pub(super) fn new(load: Load, file: File, consoles: &Consoles, poll: &OwnedFd) -> Refused<Self> {
        let any = match &*load.on {
            "sandbox" => Sandbox::new(sandbox(&load)).map(Any::from),
            on => {
                let board = on.strip_prefix("qemu:").and_then(Board::find);
                let board = board.ok_or_else(|| {
                    Kind::Unsupported.because(format_args!("{on:?} is nothing that executes firmware here"))
                })?;
                let watchdog = watchdog(&load);
                let path = Some(load.path.clone().into());
                Qemu::new(qemu::Config { watchdog, path, ..qemu::Config::new(board) }).map(Any::from)
            }
        };
        let any = any.map_err(|error| refusal(&error.into()))?;
        let mut body = Self::with(load, any, consoles, poll, Processor::new)?;
        let bytes = body.read(&file)?;
        body.replace(file, &bytes)?;
        Ok(body)
    }

    /// Takes over a sandbox that runs.
    pub(super) fn attach(load: Load, consoles: &Consoles, poll: &OwnedFd) -> Refused<Self> {
        let found = Sandbox::find(sandbox(&load));
        let found = found.map_err(|error| Kind::NotFound.because(with_code(&error.into())))?;
        let mut body = Self::with(load, Any::from(found), consoles, poll, Processor::detached)?;
        body.take_over().map_err(|error| refusal(&error))?;
        Ok(body)
    }

    fn with(
        load: Load,
        mut any: Any,
        consoles: &Consoles,
        poll: &OwnedFd,
        make: fn(Any, Options) -> Processor<Any>,
    ) -> Refused<Self> {
        let failed = |errno: Errno| Kind::Failed.because(errno);
        let watches = match &mut any {
            Any::Sandbox(sandbox) => {
                sandbox.watch(rustix::io::fcntl_dupfd_cloexec(poll, 3).map_err(failed)?);
                true
            }
            _ => false,
        };
        let room = Room { endpoints: ENDPOINTS, ..Room::DEFAULT };
        let mut processor = make(any, Options { room, ..Options::new(&load.name) });
        let bell = match watches {
            true => None,
            false => {
                let poll = rustix::io::fcntl_dupfd_cloexec(poll, 3).map_err(failed)?;
                Some(bell::Bell::new(poll, processor.waker()).map_err(|error| Kind::Failed.because(error))?)
            }
        };
        let arguments: Vec<&[u8]> = load.arguments.iter().map(String::as_bytes).collect();
        let console = console::offer(consoles.clone(), &arguments);
        processor.offer(console.map_err(|error| Kind::Failed.because(error))?);
        let policy = match (load.restarts, load.silently) {
            (0, _) => Policy::LEAVE,
            (most, false) => Policy::restart(most),
            (most, true) => Policy::of(Remedy::RestartSilently { within: BACK }, most),
        };
        let facts = FirmwareFacts { file: load.file.clone(), ..FirmwareFacts::default() };
        let (recovery, since) = (Recovery::new(policy), Instant::now());
        Ok(Self { load, processor, file: None, facts, recovery, since, due: None, restarts: 0, bell })
    }

    /// The bytes of firmware in a file, if that is what they are.
    pub(super) fn read(&self, file: &File) -> Refused<Vec<u8>> {
        let bad = |why: String| Kind::BadFirmware.because(why);
        let bytes = read(file, self.load.max_firmware).map_err(|why| bad(format!("the firmware {why}")))?;
        Firmware::parse(&bytes).map_err(|error| bad(error.to_string()))?;
        Ok(bytes)
    }

    /// Loads other firmware, which is in that file.
    pub(super) fn replace(&mut self, file: File, bytes: &[u8]) -> Refused<()> {
        let firmware = Firmware::parse(bytes).map_err(|error| Kind::BadFirmware.because(error))?;
        self.processor.load(&firmware).map_err(|error| refusal(&error))?;
        let build_id = firmware.build_id().unwrap_or_default();
        let traces = self.processor.remote().traces().iter().map(|trace| trace.name.to_string()).collect();
        self.facts = FirmwareFacts {
            file: self.load.file.clone(),
            size: bytes.len() as u64,
            build_id: build_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            traces,
        };
        self.file = Some(file);
        Ok(())
    }

    /// Starts it from the beginning.
    pub(super) fn start(&mut self, consoles: &Consoles, poll: &OwnedFd) -> Refused<()> {
        self.due = None;
        consoles.begin_anew();
        match self.processor.start() {
            // Its warden went: with a new one it starts as well.
            Err(RemoteError::Backend(error)) if self.processor.remote().state().is_live() => {
                Err(refusal(&RemoteError::Backend(error)))
            }
            Err(error) => match self.file.take() {
                Some(file) => {
                    let (load, restarts) = (self.load.clone(), self.restarts);
                    *self = Self::new(load, file, consoles, poll)?;
                    self.restarts = restarts;
                    self.processor.start().map_err(|error| refusal(&error))
                }
                None => Err(refusal(&error)),
            },
            done => done.map_err(|error| refusal(&error)),
        }
    }

    /// Becomes its main side again, or for the first time. Endpoints of a main side that died are closed.
    pub(super) fn take_over(&mut self) -> Result<(), RemoteError> {
        self.processor.attach(None)?;
        for orphan in self.processor.orphans() {
            self.processor.adopt(orphan.endpoint);
            self.processor.close(orphan.endpoint);
        }
        Ok(())
    }

    /// It crashed: whether it is brought back, in words, and when.
    pub(super) fn crashed(&mut self) -> Option<Decision> {
        if self.load.restarts == 0 {
            return None;
        }
        let decision = self.processor.decide(&mut self.recovery, self.since.elapsed());
        if let Decision::Restart { after, .. } = decision {
            self.due = Some(Instant::now() + after);
        }
        Some(decision)
    }

    /// Brings it back if that is due. Whether it was.
    pub(super) fn bring_back(&mut self) -> Option<Refused<()>> {
        self.due.filter(|due| *due <= Instant::now())?;
        self.due = None;
        let done = self.processor.restart(Duration::ZERO);
        if done.is_ok() {
            self.restarts += 1;
        }
        Some(done.map(drop).map_err(|error| refusal(&error)))
    }

    /// Its state, in the kernel's words.
    pub(super) fn state(&self) -> &'static str {
        match self.processor.ended() {
            None => "running",
            Some(Ended::Crashed(_) | Ended::Lost(_)) => "crashed",
            Some(Ended::Detached) => "detached",
            Some(_) => "offline",
        }
    }
}

fn sandbox(load: &Load) -> Config {
    let log = load.logs.clone().map(|directory| Logged { directory, firmware: load.file.clone() });
    Config {
        name: Some(load.name.clone()),
        runtime_dir: Some(load.runtime_dir.clone()),
        // So that a remote goes on where its keeper died.
        lifetime: if load.outlives { Lifetime::Detached } else { Lifetime::Tied },
        watchdog: watchdog(load),
        log,
        ..Config::default()
    }
}

fn watchdog(load: &Load) -> Option<Duration> {
    (load.watchdog_us > 0).then(|| Duration::from_micros(load.watchdog_us))
}

/// Reads a whole file from its beginning, wherever others who have it open stand.
fn read(file: &File, most: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = file.metadata().map_err(cannot)?;
    // Nobody knows when a pipe ends.
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.len() > most {
        return Err(format!("has {} bytes: {most} at most", metadata.len()));
    }
    let mut bytes = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(cannot)?;
    Ok(bytes)
}

/// Why a remote did not do it, with the code that explains it.
pub(super) fn refusal(error: &RemoteError) -> Refusal {
    Kind::Failed.because(with_code(error))
}

fn with_code(error: &RemoteError) -> String {
    format!("error[{}]: {error}", error.code())
}
