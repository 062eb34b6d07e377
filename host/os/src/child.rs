//! A child process: spawned, traced, looked at, killed, reaped.

#![allow(unsafe_code)]

use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::Refused;

/// A child of this process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    end: Option<End>,
    traced: bool,
}

/// Something that happened to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stopped and waits for [`Child::resume`] (or [`Child::stay_stopped`]).
    Stopped(Stop),
    /// It runs on after a stop by job control; an untraced child alone.
    Continued,
    /// It is gone, and reaped.
    Ended(End),
}

/// Why a child stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal is about to be delivered to it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Where the signal comes from.
        origin: Origin,
    },
    /// Job control stopped it (`SIGSTOP` and its like).
    JobControl,
    /// We asked ([`Child::interrupt`]), or job control lets it run on.
    Trap,
}

/// Where a signal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The child's own instruction.
    Fault {
        /// The address that it accessed; for an instruction that may not be executed, the instruction's own. `None`
        /// where the processor does not tell.
        address: Option<u64>,
        /// The number of the system call that seccomp trapped.
        call: Option<u64>,
    },
    /// Another process, or the kernel on someone's behalf.
    Outside,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Child {
    /// Starts `program` with `name` as its argument 0 and no environment; its standard input is `stdin`, the others
    /// are `/dev/null`. No other descriptor reaches it, if all of ours are close-on-exec.
    ///
    /// # Errors
    /// The program cannot be executed, or there is no room for a process.
    pub fn spawn(program: &Path, name: &str, arguments: &[&str], stdin: OwnedFd) -> Result<Self, Refused> {
        let operation = "start a process (execve)";
        let mut command = Command::new(program);
        command.arg0(name).args(arguments).env_clear();
        command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Refused {
            operation,
            errno: Errno::from_io_error(&error).unwrap_or(Errno::INVAL),
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(Refused { operation, errno: Errno::CHILD })?;
        Ok(Self { pid, end: None, traced: false })
    }

    /// The child's process number, its own until the child was reaped.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Takes the debugger's seat: signals and stops of the child come to us first, and it dies with us. It need not
    /// be stopped for that, and is not.
    ///
    /// # Errors
    /// `EPERM`: the system lets nobody trace (Yama, a container's policy), or somebody else does.
    pub fn trace(&mut self) -> Result<(), Refused> {
        let options = libc::PTRACE_O_EXITKILL as usize;
        // SAFETY: no memory of ours is involved.
        unsafe { self.ptrace(libc::PTRACE_SEIZE, 0, options, "trace a process (PTRACE_SEIZE)") }?;
        self.traced = true;
        Ok(())
    }

    /// Whether we have the debugger's seat.
    pub fn is_traced(&self) -> bool {
        self.traced
    }

    /// What happened to the child since the last time, without waiting.
    ///
    /// # Errors
    /// Somebody else reaped it.
    pub fn next_change(&mut self) -> Result<Option<Change>, Refused> {
        if self.end.is_some() {
            return Ok(None);
        }
        let mut options = WaitOptions::NOHANG;
        // An untraced child's stops are seen only if asked for.
        options.set(WaitOptions::UNTRACED | WaitOptions::CONTINUED, !self.traced);
        loop {
            match rustix::process::waitpid(Some(self.pid), options) {
                Ok(None) => return Ok(None),
                Ok(Some((_, status))) => {
                    if let Some(change) = self.change(status)? {
                        return Ok(Some(change));
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Refused { operation: "wait for a process (wait4)", errno }),
            }
        }
    }

    /// Waits until the child is gone; it was killed or asked to end before.
    pub fn wait_end(&mut self) -> Option<End> {
        while self.end.is_none() {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => self.end = end(status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => break, // Reaped by somebody else: gone all the same.
            }
        }
        self.end
    }

    /// Lets a stopped child run on, and delivers `signal` to it (0 for none). One that died meanwhile is no error.
    ///
    /// # Errors
    /// The child is not stopped.
    pub fn resume(&self, signal: i32) -> Result<(), Refused> {
        let signal = usize::try_from(signal).unwrap_or(0);
        // SAFETY: no memory of ours is involved.
        dead_or(unsafe { self.ptrace(libc::PTRACE_CONT, 0, signal, "let a process run on (PTRACE_CONT)") })
    }

    /// Leaves a child that job control stopped as it is; the next change comes when it may run on.
    ///
    /// # Errors
    /// The child is not stopped.
    pub fn stay_stopped(&self) -> Result<(), Refused> {
        // SAFETY: no memory of ours is involved.
        dead_or(unsafe { self.ptrace(libc::PTRACE_LISTEN, 0, 0, "keep a process stopped (PTRACE_LISTEN)") })
    }

    /// Stops the child whatever it does; the change that comes is [`Stop::Trap`].
    ///
    /// # Errors
    /// The child is not traced.
    pub fn interrupt(&self) -> Result<(), Refused> {
        // SAFETY: no memory of ours is involved.
        dead_or(unsafe { self.ptrace(libc::PTRACE_INTERRUPT, 0, 0, "stop a process (PTRACE_INTERRUPT)") })
    }

    /// The general registers of a stopped child in the order of ELF core notes (`NT_PRSTATUS`).
    ///
    /// # Errors
    /// The child is not stopped.
    pub fn registers(&self) -> Result<Vec<u8>, Refused> {
        // More than any architecture's; the system says how much of it is used.
        let mut room = [0_u64; 128];
        let mut io = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: size_of_val(&room) };
        let (note, to) = (libc::NT_PRSTATUS as usize, (&raw mut io).addr());
        // SAFETY: `io` names memory that is ours and that any bytes may be written to.
        unsafe { self.ptrace(libc::PTRACE_GETREGSET, note, to, "read registers (PTRACE_GETREGSET)") }?;
        let len = io.iov_len.min(size_of_val(&room));
        Ok(room.iter().flat_map(|word| word.to_ne_bytes()).take(len).collect())
    }

    /// Kills the child, whatever it is doing. It still has to be waited for.
    pub fn kill(&self) {
        if self.end.is_none() {
            // Not reaped, so the number is the child's. It may be dead already.
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }

    /// How long the child has run on a CPU.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu_time(&self) -> Result<Duration, Refused> {
        cpu_time(self.pid())
    }

    /// Whether the child waits in the kernel for something, rather than runs or waits for a CPU.
    pub fn is_blocked(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // proc(5): the state follows the name, which is in brackets and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['S', 'D']))
    }

    fn change(&mut self, status: WaitStatus) -> Result<Option<Change>, Refused> {
        if let Some(end) = end(status) {
            self.end = Some(end);
            return Ok(Some(Change::Ended(end)));
        }
        if status.continued() {
            return Ok(Some(Change::Continued));
        }
        let Some(signal) = status.stopping_signal() else { return Ok(None) };
        // The event of a seized child lies above the signal (ptrace(2)).
        let event = status.as_raw() >> 16;
        if !self.traced {
            return Ok(Some(Change::Stopped(Stop::JobControl)));
        }
        if event == 0 {
            let Some(origin) = self.origin()? else { return Ok(None) };
            return Ok(Some(Change::Stopped(Stop::Signal { signal, origin })));
        }
        let trap = signal == libc::SIGTRAP;
        Ok(Some(Change::Stopped(if trap { Stop::Trap } else { Stop::JobControl })))
    }

    /// Where the signal comes from that is about to be delivered; `None` if the child was killed meanwhile.
    fn origin(&self) -> Result<Option<Origin>, Refused> {
        /// sigaction(2): what seccomp raises.
        const SYS_SECCOMP: i32 = 1;
        /// Raised by the kernel without a reason of its own: for SIGSEGV, a fault whose address is not known.
        const SI_KERNEL: i32 = 0x80;
        let mut info = [0_u64; 16];
        let to = (&raw mut info).addr();
        // SAFETY: 128 bytes, as `siginfo_t` has, that any bytes may be written to.
        let got =
            unsafe { self.ptrace(libc::PTRACE_GETSIGINFO, 0, to, "look at a signal (PTRACE_GETSIGINFO)") };
        match got {
            Err(Refused { errno: Errno::SRCH, .. }) => return Ok(None),
            other => other?,
        }
        // asm-generic/siginfo.h: int signo, errno, code; then, 8-byte aligned, the fields of the kind: for faults the
        // address, for SIGSYS the address of the call and its number.
        let word = |index: usize| info[index / 2].to_ne_bytes().as_chunks().0[index % 2];
        let (signal, code) = (i32::from_ne_bytes(word(0)), i32::from_ne_bytes(word(2)));
        let fault = match signal {
            _ if code <= 0 => Origin::Outside,
            libc::SIGSYS if code == SYS_SECCOMP => {
                let call = u64::from(u32::from_ne_bytes(word(6)));
                Origin::Fault { address: None, call: Some(call) }
            }
            libc::SIGSEGV if code == SI_KERNEL => Origin::Fault { address: None, call: None },
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE => {
                Origin::Fault { address: Some(info[2]), call: None }
            }
            libc::SIGTRAP => Origin::Fault { address: None, call: None },
            _ => Origin::Outside,
        };
        Ok(Some(fault))
    }

    /// # Safety
    /// Where the request writes through `data`, it is the address of memory of the kind that it wants.
    unsafe fn ptrace(
        &self,
        request: libc::c_uint,
        address: usize,
        data: usize,
        operation: &'static str,
    ) -> Result<(), Refused> {
        // SAFETY: the caller's promise.
        let result = unsafe { libc::ptrace(request, self.pid(), address, data) };
        if result < 0 { Err(Refused::last(operation)) } else { Ok(()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        self.wait_end();
    }
}

/// Lets a stub or warden begin on its own: it dies when its parent does (which has to be single-threaded: the
/// kernel means the thread), if `parent` is still its parent; `false` if that is gone already.
pub fn die_with_parent(parent: i32) -> bool {
    end_with_parent(parent, Signal::KILL)
}

/// As [`die_with_parent`], by another signal.
pub(crate) fn end_with_parent(parent: i32, signal: Signal) -> bool {
    let set = rustix::process::set_parent_process_death_signal(Some(signal)).is_ok();
    set && rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent)
}

/// A session of its own, which no terminal's keys and no hang-up reach.
///
/// # Errors
/// The process leads a process group already.
pub fn new_session() -> Result<(), Refused> {
    rustix::process::setsid().map(drop).map_err(Refused::to("begin a session (setsid)"))
}

/// Closes the descriptors that this process inherited beyond standard input, output and error, so that it keeps nothing
/// of its starter's open. What it opened itself stays: that is close-on-exec, which nothing inherited can be.
pub fn close_inherited() {
    for fd in open_descriptors().unwrap_or_default().into_iter().filter(|fd| *fd > 2) {
        // SAFETY: asks about a number; one that is not open is refused.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: not close-on-exec, so inherited: Rust opens nothing without that flag, and nobody in this
            // program knows the number.
            unsafe { libc::close(fd) };
        }
    }
}

/// How long the process has run on CPUs, all threads together.
pub(crate) fn cpu_time(pid: i32) -> Result<Duration, Refused> {
    let operation = "ask for a process' CPU time (clock_gettime)";
    let mut clock = 0;
    // SAFETY: `clock` is valid for writes.
    let result = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    if result != 0 {
        return Err(Refused { operation, errno: Errno::from_raw_os_error(result) });
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(Refused::last(operation));
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0)))
}

/// The numbers of this process' open descriptors, and of one that is closed again.
pub(crate) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let names = fs::read_dir("/proc/self/fd")?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Whether this process has one thread.
pub(crate) fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

fn end(status: WaitStatus) -> Option<End> {
    let killed = status.terminating_signal().map(End::Killed);
    status.exit_status().map(End::Exited).or(killed)
}

fn dead_or(result: Result<(), Refused>) -> Result<(), Refused> {
    match result {
        Err(Refused { errno: Errno::SRCH, .. }) => Ok(()),
        other => other,
    }
}
