//! A program that dies with this process, whatever kills it.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::{IsTerminal as _, PipeReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};

use crate::child::end_with_parent;
use crate::{End, EventFd, Refused, poll_until};

/// Bytes that are kept of what a program says: the last ones.
const WORDS: usize = 16 << 10;

/// A program that runs for this process alone: it dies when this process does, even by `SIGKILL`, and when this handle
/// is dropped. What it writes to its standard output (unless that goes elsewhere) and error is kept, the end of it. It
/// leaves no core file.
#[derive(Debug)]
pub struct Tied {
    pid: Pid,
    /// Names the process for as long as we live, so that nobody else can be killed in its place.
    handle: OwnedFd,
    shared: Arc<Shared>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// By itself or by a signal.
    pub how: End,
    /// The last of what it wrote to its standard output and error; whatever bytes it liked, made text.
    pub words: String,
    /// How many bytes of words there were, those included that are not kept.
    pub said: usize,
}

#[derive(Debug)]
struct Shared {
    /// Rung once, never answered.
    ended: EventFd,
    ending: OnceLock<Ending>,
    /// Bytes of words so far.
    said: AtomicUsize,
}

impl Tied {
    /// Starts `program` in a process group of its own, in the root directory, with this process' environment; its
    /// standard input is empty. The descriptors `inherited` are open in it by the same numbers; of all others of ours
    /// none reaches it that is close-on-exec.
    ///
    /// # Errors
    /// The program cannot be executed, or there is no room for a process or thread.
    pub fn spawn(program: &Path, arguments: &[OsString], inherited: Vec<OwnedFd>) -> Result<Self, Refused> {
        Self::spawn_apart(program, arguments, inherited, None)
    }

    /// As [`spawn`](Self::spawn), but its standard output is `output`, where there is one.
    ///
    /// # Errors
    /// As of [`spawn`](Self::spawn).
    pub fn spawn_apart(
        program: &Path,
        arguments: &[OsString],
        inherited: Vec<OwnedFd>,
        output: Option<OwnedFd>,
    ) -> Result<Self, Refused> {
        let (words, writer) = io::pipe().map_err(|error| not_started(&error))?;
        let other_writer = writer.try_clone().map_err(|error| not_started(&error))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stderr(other_writer);
        command.stdout(output.map_or_else(|| Stdio::from(writer), Stdio::from));
        Self::start(command, words, Signal::KILL, inherited)
    }

    /// As [`spawn`](Self::spawn), but on this process' standard input, output and error, and in its process group and
    /// directory. No words are kept. On a terminal it is asked to end (`SIGTERM`) when this process dies, for it may have
    /// modes of the terminal to give back.
    ///
    /// # Errors
    /// As of [`spawn`](Self::spawn).
    pub fn spawn_here(
        program: &Path,
        arguments: &[OsString],
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, Refused> {
        // The pipe's other end is closed, so that nothing is ever said.
        let (words, _) = io::pipe().map_err(|error| not_started(&error))?;
        let mut command = Command::new(program);
        command.args(arguments);
        let signal = if io::stdin().is_terminal() { Signal::TERM } else { Signal::KILL };
        Self::start(command, words, signal, inherited)
    }

    fn start(
        mut command: Command,
        words: PipeReader,
        signal: Signal,
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, Refused> {
        let parent = std::process::id() as i32;
        let prepare = move || prepare(parent, signal, &inherited).map_err(io::Error::from);
        // SAFETY: between fork and exec it makes system calls only: nothing is allocated, locked or freed.
        unsafe { command.pre_exec(prepare) };

        let shared = Arc::new(Shared {
            ended: EventFd::new(false)?,
            ending: OnceLock::new(),
            said: AtomicUsize::new(0),
        });
        let (tell, told) = sync_channel(1);
        let theirs = Arc::clone(&shared);
        // The kernel means the thread when it says "parent dies", so this one lives as long as the program.
        let keeper = thread::Builder::new().name("sidecore-keeper".to_owned()).stack_size(256 << 10);
        let kept = keeper.spawn(move || keep(command, words, &tell, &theirs));
        kept.map_err(|error| Refused { operation: "start a thread (clone)", errno: errno(&error) })?;
        let lost = io::Error::from(Errno::CHILD);
        let (pid, handle) = told.recv().unwrap_or(Err(lost)).map_err(|error| not_started(&error))?;
        Ok(Self { pid, handle, shared })
    }

    /// The program's process number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How the program ended, if it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.shared.ending.get()
    }

    /// Waits for the program to end, at most until `deadline`.
    pub fn wait(&self, deadline: Instant) -> Option<&Ending> {
        // Refused only where the system has no memory for it; then the answer is what is known.
        let _ = poll_until(&mut [PollFd::new(&self.shared.ended, PollFlags::IN)], Some(deadline));
        self.ending()
    }

    /// Asks the program to end, by `SIGTERM`.
    pub fn terminate(&self) {
        // The only refusal is that it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::TERM);
    }

    /// Kills the program and waits until it is gone.
    pub fn kill(&self) {
        if self.ending().is_none() {
            // The only refusal is that it is gone already.
            let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
            self.wait(Instant::now() + DYING);
        }
    }

    /// How many bytes of words there have been so far: what was said a moment ago may not be counted yet.
    pub fn said(&self) -> usize {
        self.shared.said.load(Ordering::Relaxed)
    }

    /// How long the program has run on CPUs, all threads together.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu_time(&self) -> Result<Duration, Refused> {
        crate::child::cpu_time(self.pid())
    }
}

/// How long a killed process may take to be gone: it may have much memory to give back on a busy machine.
const DYING: Duration = Duration::from_secs(10);

/// Readable once the program has ended.
impl AsFd for Tied {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the new process does before it becomes the program.
fn prepare(parent: i32, signal: Signal, inherited: &[OwnedFd]) -> Result<(), Errno> {
    if !end_with_parent(parent, signal) {
        return Err(Errno::SRCH);
    }
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    inherited.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()))
}

/// Starts the program, listens to it, and reaps it.
fn keep(
    mut command: Command,
    words: PipeReader,
    tell: &SyncSender<io::Result<(Pid, OwnedFd)>>,
    shared: &Shared,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return drop(tell.send(Err(error))),
    };
    // Our ends of what it inherited: the other ends must see when the program's are closed.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let opened = pid.ok_or(Errno::CHILD).and_then(|pid| {
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok((pid, handle.try_clone().map_err(|error| errno(&error))?, handle))
    });
    let handle = match opened {
        Ok((pid, handle, theirs)) => tell.send(Ok((pid, theirs))).ok().map(|()| handle),
        Err(errno) => tell.send(Err(errno.into())).ok().and(None),
    };
    let mut last = Vec::new();
    match handle {
        Some(handle) => listen(&words, &handle, &mut last, &shared.said),
        // Nobody wants it any more. It may be gone already.
        None => drop(child.kill()),
    }
    let how = child.wait().map_or(End::Exited(-1), end);
    let words = String::from_utf8_lossy(&last).into_owned();
    // This is the only place that sets it.
    let said = shared.said.load(Ordering::Relaxed);
    let _ = shared.ending.set(Ending { how, words, said });
    shared.ended.ring();
}

/// Keeps the last of what the program says, until it is gone.
fn listen(words: &PipeReader, process: &OwnedFd, last: &mut Vec<u8>, count: &AtomicUsize) {
    let mut open = true;
    loop {
        let fd = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [fd(process.as_fd()), fd(words.as_fd())];
        if poll_until(&mut fds[..1 + usize::from(open)], None).is_err() {
            return;
        }
        let [gone, said] = fds.map(|fd| !fd.revents().is_empty());
        if open && said {
            let mut some = [0; 4096];
            match rustix::io::read(words, &mut some) {
                Ok(len @ 1..) => {
                    last.extend_from_slice(&some[..len]);
                    count.fetch_add(len, Ordering::Relaxed);
                    let superfluous = last.len().saturating_sub(WORDS);
                    last.drain(..superfluous);
                }
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => open = false,
            }
        } else if gone {
            return;
        }
    }
}

fn end(status: ExitStatus) -> End {
    status.signal().map_or(End::Exited(status.code().unwrap_or(-1)), End::Killed)
}

fn not_started(error: &io::Error) -> Refused {
    Refused { operation: "start a program (execve)", errno: errno(error) }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, inherited: Vec<OwnedFd>) -> Tied {
        Tied::spawn(Path::new("/bin/sh"), &["-c".into(), script.into()], inherited).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_programs_end_and_last_words_are_known() {
        let program = shell("echo out; echo err >&2; exit 3", Vec::new());
        let ending = program.wait(soon()).unwrap();
        assert_eq!(ending.how, End::Exited(3));
        assert_eq!(ending.words, "out\nerr\n");
    }

    #[test]
    fn a_standard_output_of_its_own_is_not_kept() {
        let (reader, writer) = io::pipe().unwrap();
        let words: Vec<OsString> = vec!["-c".into(), "echo out; echo err >&2".into()];
        let program =
            Tied::spawn_apart(Path::new("/bin/sh"), &words, Vec::new(), Some(writer.into())).unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "out\n");
        assert_eq!(program.wait(soon()).unwrap().words, "err\n");
    }

    #[test]
    fn of_many_words_the_last_are_kept() {
        let program = shell("i=0; while [ $i -lt 9000 ]; do echo $i; i=$((i+1)); done", Vec::new());
        let ending = program.wait(soon()).unwrap();
        assert_eq!(ending.words.len(), WORDS);
        assert!(ending.words.ends_with("8999\n"));
        assert_eq!((ending.said, program.said()), (10 * 2 + 90 * 3 + 900 * 4 + 8000 * 5, ending.said));
    }

    #[test]
    fn a_dropped_program_is_killed_and_reaped() {
        let program = shell("exec sleep 1000", Vec::new());
        let pid = Pid::from_raw(program.pid()).unwrap();
        let shared = Arc::clone(&program.shared);
        drop(program);
        assert_eq!(shared.ending.get().unwrap().how, End::Killed(9));
        assert_eq!(rustix::process::test_kill_process(pid), Err(Errno::SRCH));
    }

    #[test]
    fn a_program_inherits_what_it_is_given_and_leaves_no_core() {
        let (reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        use std::os::fd::AsRawFd;
        let program = shell(&format!("ulimit -c >&{}; kill -6 $$", writer.as_raw_fd()), vec![writer]);
        let text = io::read_to_string(reader).unwrap();
        assert_eq!(text, "0\n");
        assert_eq!(program.wait(soon()).unwrap().how, End::Killed(6));
    }

    #[test]
    fn a_program_here_has_our_directory_and_group_and_can_be_asked_to_end() {
        let here = std::env::current_dir().unwrap();
        let group = rustix::process::getpgrp().as_raw_nonzero();
        let script = format!(
            "trap 'exit 4' TERM; [ \"$PWD\" = '{}' ] && [ $(cut -d' ' -f5 /proc/$$/stat) = {group} ] || exit 3
             while :; do sleep 0.01; done",
            here.display()
        );
        let program =
            Tied::spawn_here(Path::new("/bin/sh"), &["-c".into(), script.into()], Vec::new()).unwrap();
        assert!(program.wait(Instant::now() + Duration::from_millis(300)).is_none());
        program.terminate();
        let ending = program.wait(soon()).unwrap();
        assert_eq!((ending.how, &*ending.words), (End::Exited(4), ""));
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let refused = Tied::spawn(Path::new("/nonexistent"), &[], Vec::new()).unwrap_err();
        assert_eq!(refused.errno, Errno::NOENT);
    }
}
