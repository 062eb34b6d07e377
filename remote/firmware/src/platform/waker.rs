//! What futures are polled with: a waker that raises one flag for the whole image.

#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{RawWaker, RawWakerVTable, Waker};

/// Somebody was woken since the last look. Everything is polled anyway, so who it was does not matter.
static WOKEN: AtomicBool = AtomicBool::new(false);

static VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, |_| wake(), |_| wake(), |_| ());
const RAW: RawWaker = RawWaker::new(ptr::null(), &VTABLE);

fn wake() {
    WOKEN.store(true, Ordering::Release);
}

/// The waker of all futures; may be used from interrupts and other threads.
pub(crate) fn waker() -> Waker {
    // SAFETY: no function of the table looks at the pointer, and the flag is safe to raise from anywhere.
    unsafe { Waker::from_raw(RAW) }
}

/// Whether the waker was used since the last call.
pub(crate) fn take_woken() -> bool {
    // Not one operation, which small cores lack: what is raised between the two is what the caller looks at next.
    let woken = WOKEN.load(Ordering::Acquire);
    if woken {
        WOKEN.store(false, Ordering::Release);
    }
    woken
}
