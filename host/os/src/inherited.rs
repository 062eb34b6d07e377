//! Descriptors that this process was started with.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// One taker at a time.
static TAKING: Mutex<()> = Mutex::new(());

/// Takes the descriptor with this number, which whoever started this process left open in it; close-on-exec from now on.
///
/// `None`: nothing is open there, it is one of the standard three, or this process opened it itself. That is told by its
/// flag, for Rust opens everything close-on-exec, which nothing inherited can be; so the same one is not taken twice.
#[must_use]
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: asks about a number; one that is not open is refused.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number <= 2 || flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    // SAFETY: sets a flag of a descriptor that is open, and nobody else's.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    // SAFETY: open, and inherited, so nobody in this program owns it; the flag keeps a second owner from coming.
    (set == 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn only_what_was_inherited_is_taken_and_once() {
        let own = std::fs::File::open("/dev/null").unwrap();
        assert!(inherited(own.as_raw_fd()).is_none());
        for number in [-1, 0, 1, 2, RawFd::MAX] {
            assert!(inherited(number).is_none(), "{number}");
        }
        // As it looks when another program left it open.
        rustix::io::fcntl_setfd(&own, FdFlags::empty()).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(own);
        let taken = inherited(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(inherited(number).is_none());
        assert_eq!(rustix::io::fcntl_getfd(&taken), Ok(FdFlags::CLOEXEC));
    }
}
