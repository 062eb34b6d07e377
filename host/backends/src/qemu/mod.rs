//! A remote with an instruction set of its own: a board that QEMU emulates, one process for each remote.
//!
//! QEMU is the distribution's, unmodified. Its machine's RAM is memory that the main side maps, too; a serial line of the
//! machine is the mailbox, whose bytes raise true interrupts; QMP is the reset line and the GDB port the debug port.
//! Every connection is a pair of sockets, so that no file and no socket lies anywhere, and QEMU dies with us, whatever
//! kills us. What makes a machine a board is data: [`Board`].
//!
//! What firmware finds when it starts is the board page ([`sidecore_wire::sandbox`]) at the beginning of the board's
//! window. A byte in the mailbox, either way, says "look at your rings"; one of [`LOOK_AT_PAGE`] from the firmware says
//! "look at the page": it is up, has ended or has crashed. A core that locks up is seen without its help.
//!
//! Semihosting is off unless it is asked for ([`Config::semihosting`]): it gives firmware this machine's files. Firmware
//! that calls for it in vain has crashed, and is told to have done that ([`CrashKind::SemihostingCall`]).

use std::cell::RefCell;
use std::ffi::OsString;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_mem::DeviceAddr;
use sidecore_os::{EventFd, Mapping, poll_until};
use sidecore_remoteproc::{BackendError, Boot, Crash, CrashKind, Event, MemoryMap};

pub use self::beside::Beside;
pub use self::board::{Board, Command, Core, Emulator as EmulatorOfBoard, Line, Named, Sibling, Span, Start};
pub use self::doorbell::QemuDoorbell;
pub use self::qmp::Version;

use self::console::{Console, LOOK};
use self::debug_port::DebugPort;
use self::emulator::{Emulator, explain};
use self::estate::Estate;
use self::qmp::Happening;
use self::trouble::{Trouble, lost, system};
use self::watchdog::Watchdog;
use crate::Kind;

mod backend;
mod beside;
mod board;
mod console;
mod crash;
mod debug_port;
mod doorbell;
mod emulator;
mod estate;
mod place;
mod qmp;
mod semihosting;
mod stream;
mod trouble;
mod watchdog;
mod words;

/// The row in the table of kinds.
pub const KIND: Kind = Kind {
    name: "qemu",
    help: "firmware for another instruction set, on a board that QEMU emulates (qemu:BOARD)",
};

/// A byte from the firmware that says "look at the page".
pub const LOOK_AT_PAGE: u8 = 0xff;

/// For so long a bell may go unanswered before QEMU is made to look at it, again and again.
const UNHEARD: Duration = Duration::from_millis(100);
/// After so many kicks without a look at the emulator there is one, so that kicks without end do not hide a crash.
const KICKS_WITHOUT_LOOK: u32 = 16;

/// How a board is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The board.
    pub board: Board,
    /// The emulator's program; `None` looks for the board's own.
    pub program: Option<PathBuf>,
    /// Where that is looked for, in the form of `PATH`; `None` takes that of this process.
    pub path: Option<OsString>,
    /// Call it a hang when the firmware computes for so long without feeding its watchdog, even if it made no promise.
    pub watchdog: Option<Duration>,
    /// Hold the core at its reset when it is started, for a debugger to let it run.
    pub held: bool,
    /// An image for the board's other core, which is started with the first or by it.
    pub beside: Option<Beside>,
    /// Answer the firmware's semihosting calls, as to a program with this command line: its console
    /// ([`Qemu::take_semihosting`]), its exit code, the time, and **this machine's files, of which it may read, write and
    /// remove whatever this process may**. Programs it cannot start. Nothing that it reads from the console comes.
    pub semihosting: Option<Vec<OsString>>,
}

impl Config {
    /// This board, with nothing special.
    #[must_use]
    pub fn new(board: Board) -> Self {
        let (program, path, watchdog, held, beside, semihosting) = (None, None, None, false, None, None);
        Self { board, program, path, watchdog, held, beside, semihosting }
    }
}

/// A remote on a board that QEMU emulates, from its main side.
#[derive(Debug)]
pub struct Qemu {
    config: Config,
    program: PathBuf,
    state: State,
    estate: Option<Estate>,
    /// What is mapped while there is no estate: nothing.
    nothing: MemoryMap<Arc<Mapping>>,
    emulator: Option<Emulator>,
    doorbell: QemuDoorbell,
    watchdog: Watchdog,
    /// When QEMU was made to look at the mailbox last.
    nudged: Instant,
    /// The remote's end, to be told when its last kick was.
    end: Option<Event>,
    /// What the emulator that is gone left of its board's console, and of what was written by semihosting.
    left: RefCell<[Vec<u8>; 2]>,
    waker: Arc<EventFd>,
    kicks: u32,
    findings: Vec<String>,
    /// Where the resource table of the firmware that runs is.
    table: Option<(DeviceAddr, u32)>,
    /// The main side came later than the start.
    attached: bool,
}

/// Who has something to say.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Whoever wakes us.
    woken: bool,
    /// The firmware, in its mailbox.
    rung: bool,
    /// The emulator, or the system of its end.
    emulator: bool,
    /// The debug port, the console or semihosting.
    others: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Offline,
    Prepared,
    Running,
    Paused,
    /// It ended by itself, and the caller knows.
    Halted,
}

/// The emulator of a board on this machine, and its version: whether the board can be run here.
///
/// # Errors
/// There is none, or it is older than [`Version::LEAST`]. The error says which package to install.
pub fn check(board: &Board) -> Result<(PathBuf, Version), BackendError> {
    let program = emulator::find(&board.emulator.program, &board.emulator.package, None)?;
    let version = emulator::version(&program)?;
    Ok((program, version))
}

impl Qemu {
    /// A remote with no memory yet. Nothing is started.
    ///
    /// # Errors
    /// The board's emulator is not installed, or the board has no other core for the image beside.
    pub fn new(mut config: Config) -> Result<Self, BackendError> {
        if let Some(beside) = &config.beside {
            config.board = beside.join(config.board)?;
        }
        let named = &config.board.emulator;
        let program = config
            .program
            .clone()
            .map_or_else(|| emulator::find(&named.program, &named.package, config.path.as_deref()), Ok)?;
        let waker = EventFd::new(false).map_err(|refused| system(refused.operation, refused.errno))?;
        Ok(Self {
            watchdog: Watchdog::new(config.watchdog),
            config,
            program,
            state: State::Offline,
            estate: None,
            nothing: MemoryMap::new(),
            emulator: None,
            doorbell: QemuDoorbell::default(),
            nudged: Instant::now(),
            end: None,
            left: RefCell::default(),
            waker: Arc::new(waker),
            kicks: 0,
            findings: Vec::new(),
            table: None,
            attached: false,
        })
    }

    /// The board.
    pub fn board(&self) -> &Board {
        &self.config.board
    }

    /// The emulator's process number, while there is one.
    pub fn pid(&self) -> Option<i32> {
        self.emulator.as_ref().map(|emulator| emulator.program.pid())
    }

    /// Halts the core wherever it is, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// It does not run, or the emulator is lost.
    pub fn pause(&mut self) -> Result<(), BackendError> {
        self.expect_state("pause", State::Running)?;
        self.ask("stop")?;
        self.state = State::Paused;
        Ok(())
    }

    /// Lets the core go on.
    ///
    /// # Errors
    /// It is not paused, or the emulator is lost.
    pub fn resume(&mut self) -> Result<(), BackendError> {
        self.expect_state("resume", State::Paused)?;
        self.ask("cont")?;
        self.state = State::Running;
        Ok(())
    }

    /// Resets the machine and has the firmware begin anew with its memories as they are, but for a fresh board page.
    /// Whatever was agreed on with it is void: its rings have to be set up again.
    ///
    /// # Errors
    /// It does not run, or the emulator is lost.
    pub fn reset(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.expect_state("reset", State::Running)?;
        self.ask("stop")?;
        self.estate.as_ref().ok_or_else(nobody)?.fill_page(boot)?;
        self.watchdog = Watchdog::new(self.config.watchdog);
        let Self { emulator: Some(emulator), config, .. } = self else { return Err(nobody()) };
        let released = emulator.release(&config.board, false);
        self.keep(released)
    }

    /// The board's debug port, for a debugger to speak with (GDB's remote protocol); once for each start. Without it a
    /// crash report has no registers.
    pub fn take_debug_port(&self) -> Option<OwnedFd> {
        self.emulator.as_ref()?.debug_port.take().map(DebugPort::into_fd)
    }

    /// What the board wrote to its own console since the last time: bytes of the firmware's. Of very many the last are
    /// kept.
    pub fn take_console(&self) -> Vec<u8> {
        let left = std::mem::take(&mut self.left.borrow_mut()[0]);
        [left, self.emulator.as_ref().map(|emulator| emulator.console.take()).unwrap_or_default()].concat()
    }

    /// What the firmware wrote to its console by semihosting since the last time: it is worth a look after every
    /// [`wait`](sidecore_remoteproc::Backend::wait). Of millions of bytes the last are kept.
    pub fn take_semihosting(&self) -> Vec<u8> {
        let left = std::mem::take(&mut self.left.borrow_mut()[1]);
        [left, self.emulator.as_ref().map(|emulator| emulator.semihosting.take()).unwrap_or_default()]
            .concat()
    }

    fn expect_state(&self, operation: &'static str, expected: State) -> Result<(), BackendError> {
        if self.state == expected {
            return Ok(());
        }
        let state = match self.state {
            State::Offline => "offline",
            State::Prepared => "prepared",
            State::Running => "running",
            State::Paused => "paused",
            State::Halted => "halted",
        };
        Err(BackendError::WrongState { operation, state })
    }

    fn ask(&mut self, command: &str) -> Result<(), BackendError> {
        let asked = self.emulator.as_mut().ok_or_else(nobody)?.ask(command);
        self.keep(asked)
    }

    /// Gives the emulator up if it is lost: without us nobody would end it.
    fn keep<T>(&mut self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(BackendError::ExecutorLost { .. }) = &result {
            self.halt();
        }
        result
    }

    /// Ends the emulator. The memories stay.
    fn halt(&mut self) {
        if let Some(emulator) = self.emulator.take() {
            *self.left.get_mut() = [emulator.console.take(), emulator.semihosting.take()];
        }
        self.doorbell = QemuDoorbell::default();
        if matches!(self.state, State::Running | State::Paused) {
            self.state = State::Halted;
        }
    }

    /// Sleeps until somebody has something to say, at most until the deadline, and says who; without one it only looks.
    fn poll(&self, deadline: Option<Instant>) -> Result<Said, BackendError> {
        let Some(emulator) = &self.emulator else { return Err(nobody()) };
        let nudge = self.doorbell.is_waiting().then(|| self.nudged + UNHEARD);
        let until = [deadline, nudge].into_iter().flatten().fold(self.watchdog.next(), Instant::min);
        let port = emulator.debug_port.borrow();
        let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![
            fd(self.waker.as_fd()),
            fd(emulator.mailbox.as_fd()),
            fd(emulator.qmp.as_fd()),
            fd(emulator.program.as_fd()),
        ];
        fds.extend(emulator.second.as_ref().map(|second| fd(second.1.program.as_fd())));
        let others = fds.len();
        fds.extend(port.as_ref().map(|port| fd(port.as_fd())));
        let consoles = [&emulator.console, &emulator.semihosting].into_iter();
        fds.extend(consoles.flat_map(Console::streams).map(|stream| fd(stream.as_fd())));
        poll_until(&mut fds, Some(until)).map_err(|refused| system(refused.operation, refused.errno))?;
        let said = |index: usize| !fds[index].revents().is_empty();
        let any = |mut range: Range<usize>| range.any(said);
        Ok(Said { woken: said(0), rung: said(1), emulator: any(2..others), others: any(others..fds.len()) })
    }

    /// Takes what was said; an end is kept. Whether the remote rang, or wrote something for its user.
    fn listen(&mut self, said: Said) -> Result<bool, BackendError> {
        let (Some(emulator), Some(estate)) = (&mut self.emulator, &self.estate) else { return Err(nobody()) };
        let board = &self.config.board;
        let mut bytes = [0; LOOK];
        let rung = if said.rung { emulator.mailbox.take(&mut bytes) } else { Ok(0) };
        let (rung, mut hung_up) = (rung.unwrap_or(0), rung.is_err());
        let mut written = 0;
        let is_told = bytes[..rung].contains(&LOOK_AT_PAGE);
        if is_told {
            self.end = crash::told(board.core, &estate.page);
            match &mut self.end {
                Some(Event::Crashed(crash)) => emulator.post_mortem(board, crash),
                Some(_) => emulator.quiet(),
                None => {}
            }
        }
        if rung > 0 {
            self.doorbell.answered();
        }
        // Bytes that we sent before the line was open lie in it until QEMU looks again; not all firmware tells us that it
        // has opened it.
        let is_unheard = self.doorbell.is_waiting() && self.nudged.elapsed() >= UNHEARD;
        if is_told || is_unheard {
            self.nudged = Instant::now();
            match emulator.qmp.nudge() {
                Ok(()) => {}
                Err(Trouble::Closed) => hung_up = true,
                Err(trouble) => return Err(explain(&emulator.program, trouble)),
            }
        }
        if said.others {
            // One that is closed is of no use any more.
            let port = emulator.debug_port.get_mut();
            port.take_if(|port| port.drain().is_err());
            emulator.console.hear();
            written = emulator.semihosting.hear();
        }
        if hung_up && self.end.is_none() {
            self.end = Some(emulator.event_of_end()?);
        }
        if said.emulator && self.end.is_none() {
            self.end = match emulator.qmp.happening() {
                Ok(None) => emulator.ended().map(Emulator::event_of_end).transpose()?,
                Ok(Some(Happening::Shutdown)) | Err(Trouble::Closed) => Some(emulator.event_of_end()?),
                Ok(Some(Happening::Reset)) => {
                    let mut crash = plain(CrashKind::Reset, 6);
                    crash.allegation = crash::allegation(&estate.page);
                    emulator.quiet();
                    Some(Event::Crashed(crash))
                }
                Err(trouble) => return Err(explain(&emulator.program, trouble)),
            };
        }
        if let (None, Some(page)) = (&self.end, &estate.second_page)
            && let Some(end @ Event::Crashed(_)) = crash::told_beside(board.core, page)
        {
            emulator.quiet();
            self.end = Some(end);
        }
        if self.end.is_none() && self.watchdog.bites(&estate.page, &emulator.program) {
            let mut crash = plain(CrashKind::Hang, 9);
            emulator.post_mortem(board, &mut crash);
            self.end = Some(Event::Crashed(crash));
        }
        Ok(rung > 0 || written > 0)
    }

    /// The remote's end, if it has come to it.
    fn take_end(&mut self) -> Option<Event> {
        let mut end = self.end.take()?;
        self.state = State::Halted;
        let Self { emulator: Some(emulator), estate: Some(estate), config, .. } = self else {
            return Some(end);
        };
        // Nothing is added to its last words any more.
        emulator.console.hear_out();
        emulator.semihosting.hear_out();
        if matches!(end, Event::Exited { .. }) && config.semihosting.is_some() {
            let words = emulator.standard_error();
            emulator.semihosting.add(&words);
        }
        if let (Event::Crashed(crash), None) = (&mut end, &config.semihosting) {
            semihosting::recognize(config.board.core, crash, |at| estate.half(&config.board, at));
        }
        Some(end)
    }
}

/// A crash of which there is nothing more to say yet.
fn plain(kind: CrashKind, signal: u8) -> Crash {
    Crash { kind, signal, pc: None, registers: None, allegation: None }
}

/// There is no emulator, or no memory, in a state that has one: it was lost before.
fn nobody() -> BackendError {
    lost("it was given up after an earlier error")
}
