//! Signals as a descriptor, and a clean slate of them.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::Refused;

/// A signal that came out of the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// One or more children changed.
    Child,
    /// Somebody asks this process to end, by this signal.
    End(i32),
}

/// Some signals, taken from a descriptor instead of interrupting the program.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Takes `SIGCHLD` and the signals that ask a process to end (`SIGTERM`, `SIGINT`, `SIGHUP`, `SIGQUIT`) from now
    /// on. To be called while the process has one thread: others would still be interrupted.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn take() -> Result<Self, Refused> {
        // A starter that ignored it would have us ignore it too, and no child could be waited for then.
        // SAFETY: the default action is always allowed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        let mut set = empty_set();
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            // SAFETY: an initialised set.
            unsafe { libc::sigaddset(&mut set, signal) };
        }
        // SAFETY: an initialised set; the old mask is not asked for.
        let masked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
        if masked != 0 {
            return Err(Refused {
                operation: "block signals",
                errno: rustix::io::Errno::from_raw_os_error(masked),
            });
        }
        // SAFETY: an initialised set.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(Refused::last("take signals from a descriptor (signalfd)"));
        }
        // SAFETY: made just now, and nobody else knows the number.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that came, if there is one.
    pub fn next(&self) -> Option<Caught> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let len = rustix::io::read(&self.0, &mut info).ok()?;
        let number = info.first_chunk().filter(|_| len == info.len())?;
        let number = u32::from_ne_bytes(*number).cast_signed();
        Some(if number == libc::SIGCHLD { Caught::Child } else { Caught::End(number) })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets every signal do what it does in a fresh process, and blocks none.
pub(crate) fn reset() {
    for signal in 1..=64 {
        // SAFETY: the default action is always allowed; signals that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let set = empty_set();
    // SAFETY: an initialised set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, ptr::null_mut()) };
}

/// The name of a signal as people know it, `SIGSEGV` for 11; `signal 77` for one without.
pub fn signal_name(signal: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGSTOP, "SIGSTOP"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: valid for writes.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `sigemptyset` initialises all of it and cannot fail for a valid pointer.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(77), "signal 77");
    }

    #[test]
    fn a_signal_comes_out_of_the_descriptor() {
        // In a thread of its own, whose mask ends with it; sent to that thread alone.
        let thread = std::thread::spawn(|| {
            let signals = Signals::take().unwrap();
            assert_eq!(signals.next(), None);
            // SAFETY: always allowed.
            let me = unsafe { libc::pthread_self() };
            // SAFETY: the thread that calls is alive, and blocks the signal.
            unsafe { libc::pthread_kill(me, libc::SIGHUP) };
            (signals.next(), signals.next())
        });
        assert_eq!(thread.join().unwrap(), (Some(Caught::End(libc::SIGHUP)), None));
    }
}
