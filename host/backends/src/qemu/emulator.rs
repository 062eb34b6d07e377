//! One run of an emulator: found, started, spoken to, and its end explained.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sidecore_mem::DeviceAddr;
use sidecore_os::{End, SharedMemory, Tied};
use sidecore_remoteproc::{BackendError, Boot, Crash, Event, Standing};

use super::beside::Beside;
use super::board::{Board, Start};
use super::console::Console;
use super::crash::registers;
use super::debug_port::DebugPort;
use super::qmp::{ANSWER_TIME, Qmp, Version};
use super::semihosting::configuration;
use super::stream::Stream;
use super::trouble::{Trouble, lost, system};
use super::words::{complains, fatal, gave_up, in_words};

/// What a guest that executes arbitrary instructions does not need QEMU for: QEMU itself needs none of it either.
const CONFINED: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// How long an emulator that closed its connections may take to be gone.
const DYING_TIME: Duration = Duration::from_secs(5);

/// What a filter of system calls sends.
const SIGSYS: i32 = 31;
const SIGABRT: i32 = 6;

/// Bytes of a board's own console that are kept until somebody takes them.
const CONSOLE: usize = 64 << 10;
/// Bytes that are kept of what firmware writes by semihosting: more than the system takes while nobody looks.
const WRITTEN: usize = 4 << 20;

/// An emulator that runs, and everything that leads to it.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) program: Tied,
    pub(super) version: Version,
    pub(super) qmp: Qmp,
    /// `None` once a debugger has it.
    pub(super) debug_port: RefCell<Option<DebugPort>>,
    pub(super) mailbox: Stream,
    pub(super) console: Console,
    /// What firmware writes by semihosting, where that is answered.
    pub(super) semihosting: Console,
    /// Bytes of words that were its own, before the core ran.
    own_words: usize,
    /// Whether the system keeps it from starting programs and the like.
    pub(super) confined: bool,
    /// The other core, where that is a machine of its own.
    pub(super) second: Option<Box<(Board, Self)>>,
}

impl Emulator {
    /// Starts the board's emulator, its core held at the reset.
    pub(super) fn start(
        board: &Board,
        program: &Path,
        ram: &SharedMemory,
        boot: &Boot,
        beside: Option<&Beside>,
        semihosting: Option<&[OsString]>,
    ) -> Result<Self, BackendError> {
        let second = beside.and_then(|beside| Some((beside, board.second_machine()?)));
        let Some((beside, (second, line))) = second else {
            return Self::start_machine(board, program, ram, boot.entry, None, semihosting);
        };
        let ends = Stream::pair().map_err(|errno| system("join two machines (socketpair)", errno))?;
        let ends = [ends.0.into_fd(), ends.1];
        let [one, other] = ends.each_ref().map(|end| Some((line, end)));
        let mut first = Self::start_machine(board, program, ram, boot.entry, one, semihosting)?;
        let emulator = Self::start_machine(&second, program, ram, beside.entry(), other, None)?;
        first.second = Some(Box::new((second, emulator)));
        Ok(first)
    }

    fn start_machine(
        board: &Board,
        program: &Path,
        ram: &SharedMemory,
        entry: DeviceAddr,
        cable: Option<(u8, &OwnedFd)>,
        semihosting: Option<&[OsString]>,
    ) -> Result<Self, BackendError> {
        let mut differences = Differences::default();
        loop {
            if differences.no_seccomp && semihosting.is_some() {
                return Err(unfiltered(program));
            }
            match Self::try_start(board, program, ram, entry, cable, semihosting, differences) {
                Err(BackendError::ExecutorLost { reason, .. }) if differences.learn(&reason) => {}
                other => return other,
            }
        }
    }

    fn try_start(
        board: &Board,
        program: &Path,
        ram: &SharedMemory,
        entry: DeviceAddr,
        cable: Option<(u8, &OwnedFd)>,
        semihosting: Option<&[OsString]>,
        differences: Differences,
    ) -> Result<Self, BackendError> {
        let pair = || Stream::pair().map_err(|errno| system("connect to QEMU (socketpair)", errno));
        let ((qmp, to_qmp), (debug_port, to_debug_port), (mailbox, to_mailbox)) = (pair()?, pair()?, pair()?);
        mailbox.keep_short();
        let (console, to_console) = board.console.map(|_| pair()).transpose()?.unzip();
        let dup = |fd: BorrowedFd<'_>| {
            let dup = rustix::io::fcntl_dupfd_cloexec(fd, 3);
            dup.map_err(|errno| system("hand a descriptor to QEMU (F_DUPFD_CLOEXEC)", errno))
        };
        let ram = dup(ram.as_fd())?;

        let mut arguments = Arguments::default();
        for fixed in ["-nodefaults", "-no-user-config", "-S"] {
            arguments.push(fixed);
        }
        arguments.pair("-display", "none");
        if !differences.no_seccomp {
            arguments.pair("-sandbox", CONFINED);
        }
        if differences.wants_audio {
            arguments.pair("-audio", "none");
        }
        let (len, fd) = (board.ram.len, arguments.inherit(ram));
        let memory = format!("memory-backend-file,id=ram,size={len},mem-path=/proc/self/fd/{fd},share=on");
        arguments.pair("-object", memory);
        arguments.pair("-m", format!("{len}B"));
        arguments.pair("-M", format!("{},memory-backend=ram", board.emulator.machine));
        board.emulator.arguments.iter().for_each(|argument| arguments.push(argument));
        if let Start::Cpu(cpu) = board.start {
            arguments.pair("-device", format!("loader,addr={:#x},cpu-num={cpu}", entry.0));
        }
        arguments.connect("qmp", to_qmp);
        arguments.pair("-mon", "chardev=qmp,mode=control");
        arguments.connect("debug", to_debug_port);
        arguments.pair("-gdb", "chardev:debug");
        arguments.connect("mailbox", to_mailbox);
        if let Some(to_console) = to_console {
            arguments.connect("console", to_console);
        }
        let (mut written, mut output) = (Vec::new(), None);
        if let Some(command_line) = semihosting {
            // Some calls write to the character device; files of the name `:tt` are QEMU's own standard streams.
            let ((device, to_device), (standard, to_standard)) = (pair()?, pair()?);
            written.extend([device, standard]);
            output = Some(to_standard);
            arguments.connect("semihosting", to_device);
            arguments.pair("-semihosting-config", configuration(command_line, "semihosting"));
        }
        if let Some((_, end)) = cable {
            arguments.connect("cable", dup(end.as_fd())?);
        }
        let console_line = board.console.map(|console| console.line);
        let cable_line = cable.map(|(line, _)| line);
        for line in 0..=board.mailbox.line.max(console_line.unwrap_or(0)).max(cable_line.unwrap_or(0)) {
            arguments.pair(
                "-serial",
                match line {
                    line if line == board.mailbox.line => "chardev:mailbox",
                    line if Some(line) == console_line => "chardev:console",
                    line if Some(line) == cable_line => "chardev:cable",
                    _ => "null",
                },
            );
        }

        let program_at = program;
        let program = Tied::spawn_apart(program, &arguments.words, arguments.inherited, output)
            .map_err(|refused| system(format!("start {}", program_at.display()), refused.errno))?;
        let (qmp, version) = match Qmp::open(qmp) {
            Ok(opened) => opened,
            Err(trouble) => return Err(too_old(program_at).unwrap_or_else(|| explain(&program, trouble))),
        };
        if !version.works() {
            return Err(outdated(program_at, &version));
        }
        let debug_port = RefCell::new(Some(DebugPort::new(debug_port)));
        let confined = !differences.no_seccomp;
        let (console, semihosting) =
            (Console::new(console.into_iter().collect(), CONSOLE), Console::new(written, WRITTEN));
        Ok(Self {
            program,
            version,
            qmp,
            debug_port,
            mailbox,
            console,
            semihosting,
            own_words: 0,
            confined,
            second: None,
        })
    }

    /// Has the core begin at its reset, with what was loaded; it runs unless it is to be `held`.
    pub(super) fn release(&mut self, board: &Board, held: bool) -> Result<(), BackendError> {
        if let Some(second) = &mut self.second {
            let (board, emulator) = &mut **second;
            emulator.release(board, false)?;
        }
        for command in &board.emulator.commands {
            self.ask_this(&command.execute, Value::Object(command.arguments.clone()))?;
        }
        self.ask_this("system_reset", Value::Null)?;
        self.own_words = self.program.said();
        if held {
            return Ok(());
        }
        match self.ask_this("cont", Value::Null) {
            // The core is so fast in locking up that there is nobody left to answer: that is an end to be told.
            Err(_) if self.event_of_end().is_ok() => Ok(()),
            other => other,
        }
    }

    /// Puts bytes into a memory that is not ours.
    pub(super) fn load(&mut self, at: u64, bytes: &[u8]) -> Result<(), BackendError> {
        let Some(port) = self.debug_port.get_mut() else {
            return Err(BackendError::WrongState { operation: "load", state: "in a debugger's hands" });
        };
        let loaded = port.write(at, bytes);
        loaded.map_err(|trouble| explain(&self.program, trouble))
    }

    /// Has a command carried out by all machines; what cannot be is an error that tells why.
    pub(super) fn ask(&mut self, command: &str) -> Result<(), BackendError> {
        if let Some(second) = &mut self.second {
            second.1.ask_this(command, Value::Null)?;
        }
        self.ask_this(command, Value::Null)
    }

    fn ask_this(&mut self, command: &str, arguments: Value) -> Result<(), BackendError> {
        let answered = self.qmp.ask(command, arguments, &mut self.semihosting).map(drop);
        answered.map_err(|trouble| explain(&self.program, trouble))
    }

    /// Halts the machine: whatever came to its end does nothing more.
    pub(super) fn quiet(&mut self) {
        // Refused only by an emulator that is going or gone, which halts its machine, too.
        let _ = self.qmp.ask("stop", Value::Null, &mut self.semihosting);
        if let Some(second) = &mut self.second {
            second.1.quiet();
        }
    }

    /// Halts the machine and looks at the registers, as far as that is possible.
    pub(super) fn post_mortem(&mut self, board: &Board, crash: &mut Crash) {
        self.quiet();
        let standing = self.standing(board);
        crash.pc = crash.pc.or(standing.pc);
        crash.registers = standing.registers;
    }

    /// The registers of a machine that is halted, as far as that is possible.
    pub(super) fn standing(&mut self, board: &Board) -> Standing {
        let process = board.emulator.debug_process;
        let port = self.debug_port.get_mut().as_mut();
        let Some(Ok(bytes)) = port.map(|port| port.registers(process)) else { return Standing::default() };
        let (pc, registers) = registers(board.core, &bytes);
        Standing { pc, registers }
    }

    /// What firmware that ended wrote to its standard error by semihosting, which lies among the emulator's own words.
    pub(super) fn standard_error(&self) -> String {
        let Some(ending) = self.program.ending() else { return String::new() };
        let forgotten = ending.said.saturating_sub(ending.words.len());
        let from = self.own_words.saturating_sub(forgotten);
        // A line that was its own is so to its end.
        let begin = ending.words.get(..from).map_or(0, |own| own.rfind('\n').map_or(0, |end| end + 1));
        let since = ending.words.get(begin..).unwrap_or_default();
        since.split_inclusive('\n').filter(|line| !line.starts_with("qemu")).collect()
    }

    /// The emulator that has ended by itself, this one or the second.
    pub(super) fn ended(&self) -> Option<&Self> {
        let second = self.second.as_deref().map(|(_, emulator)| emulator);
        [Some(self), second].into_iter().flatten().find(|emulator| emulator.program.ending().is_some())
    }

    /// What became of the remote, now that its emulator has ended.
    pub(super) fn event_of_end(&self) -> Result<Event, BackendError> {
        let Some(ending) = self.program.wait(Instant::now() + DYING_TIME) else {
            return Err(lost("it closed its connections, but is still there"));
        };
        match (ending.how, fatal(&ending.words)) {
            // Words are what QEMU says when something is wrong; a firmware that turns its machine off, or ends by
            // semihosting, makes it say none.
            (End::Exited(code), None) if !complains(&ending.words) => Ok(Event::Exited { code }),
            (End::Killed(SIGABRT), Some(why)) => Ok(Event::Crashed(gave_up(why, SIGABRT, &ending.words))),
            // The firmware had it do what its filter of system calls denies, as to start a program by semihosting.
            (End::Killed(SIGSYS), None) => Ok(Event::Crashed(gave_up("", SIGSYS, &ending.words))),
            _ => Err(lost(in_words(ending))),
        }
    }
}

/// The emulator of a board on this machine.
pub(super) fn find(program: &str, package: &str, path: Option<&OsStr>) -> Result<PathBuf, BackendError> {
    if program.starts_with('/') {
        return Ok(program.into());
    }
    // A process without an environment looks where one with the usual one does, as execvp(3).
    let ours = || std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let path = path.map_or_else(ours, OsStr::to_owned);
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    // A relative entry would mean another directory for the program that we start.
    let directories = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(program)).find(executable).ok_or_else(|| {
        let reason = format!("not installed; on Debian and Ubuntu: apt install {package}");
        BackendError::ExecutorMissing { program: program.to_owned(), reason }
    })
}

/// Asks an emulator for its version.
pub(super) fn version(program: &Path) -> Result<Version, BackendError> {
    let operation = || format!("ask {} for its version", program.display());
    let run = Tied::spawn(program, &["--version".into()], Vec::new());
    let run = run.map_err(|refused| system(operation(), refused.errno))?;
    let Some(ending) = run.wait(Instant::now() + ANSWER_TIME) else {
        let seconds = ANSWER_TIME.as_secs();
        return Err(system(operation(), format!("it said nothing within {seconds} s")));
    };
    let version = Version::parse(&ending.words).ok_or_else(|| system(operation(), in_words(ending)))?;
    if version.works() { Ok(version) } else { Err(outdated(program, &version)) }
}

/// The error of an emulator that is too old to understand us, if that is what is wrong with it.
fn too_old(program: &Path) -> Option<BackendError> {
    version(program).err().filter(|error| matches!(error, BackendError::ExecutorMissing { .. }))
}

fn outdated(program: &Path, version: &Version) -> BackendError {
    let (major, minor) = Version::LEAST;
    let reason = format!("it is QEMU {version}; {major}.{minor} or newer is needed");
    BackendError::ExecutorMissing { program: program.display().to_string(), reason }
}

/// The error of an emulator that cannot be kept from starting programs for firmware that asks for that by semihosting.
fn unfiltered(program: &Path) -> BackendError {
    let reason = "it was built without a filter of system calls (seccomp), so that semihosting would let firmware start \
                  programs on this machine";
    BackendError::ExecutorMissing { program: program.display().to_string(), reason: reason.to_owned() }
}

/// Trouble with an emulator, and what is known of its end if it has one.
pub(super) fn explain(program: &Tied, trouble: Trouble) -> BackendError {
    let ending = match trouble {
        Trouble::Closed => program.wait(Instant::now() + DYING_TIME),
        _ => program.ending(),
    };
    lost(ending.map_or_else(|| trouble.to_string(), in_words))
}

/// What differs between versions and builds of QEMU, learned from how the last start failed.
#[derive(Clone, Copy, Debug, Default)]
struct Differences {
    /// Some distributions build it without.
    no_seccomp: bool,
    /// From version 8.2 on, machines with sound want to be told that there is none; until then they cannot be.
    wants_audio: bool,
}

impl Differences {
    /// Whether there is something new to be tried after this failure.
    fn learn(&mut self, reason: &str) -> bool {
        let known = [(&mut self.no_seccomp, "-sandbox"), (&mut self.wants_audio, "no default audio driver")];
        let new = known.into_iter().find(|(known, sign)| !**known && reason.contains(sign));
        new.map(|(known, _)| *known = true).is_some()
    }
}

/// A command line, and the descriptors that it speaks of.
#[derive(Default)]
struct Arguments {
    words: Vec<OsString>,
    inherited: Vec<OwnedFd>,
}

impl Arguments {
    fn push(&mut self, word: impl Into<OsString>) {
        self.words.push(word.into());
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.push(option);
        self.push(value);
    }

    /// The number by which the emulator knows the descriptor.
    fn inherit(&mut self, fd: OwnedFd) -> i32 {
        let number = fd.as_raw_fd();
        self.inherited.push(fd);
        number
    }

    fn connect(&mut self, id: &str, fd: OwnedFd) {
        let fd = self.inherit(fd);
        self.pair("-chardev", format!("socket,id={id},fd={fd}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_learned_once() {
        let mut differences = Differences::default();
        let audio = "it ended with code 1: qemu-system-aarch64: no default audio driver available";
        assert!(differences.learn(audio) && !differences.learn(audio));
        assert!(differences.learn("-sandbox on: -sandbox support is not enabled in this QEMU binary"));
        assert!(!differences.learn("it was killed by SIGKILL"));
    }

    #[test]
    fn what_is_not_installed_is_told_with_its_package() {
        let error = find("qemu-system-nonexistent", "qemu-system-misc", None).unwrap_err();
        assert!(error.to_string().contains("apt install qemu-system-misc"), "{error}");
    }

    #[test]
    fn a_program_that_is_no_emulator_is_refused() {
        let error = version(Path::new("/bin/true")).unwrap_err();
        assert!(error.to_string().contains("version"), "{error}");
    }
}
