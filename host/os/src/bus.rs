//! The guard against SIGBUS: a mapped file that shrinks costs its mapping, and not the process.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::Refused;

/// Has the process survive accesses to [`Lent`](crate::Lent) memory whose file has become shorter than it was: such a
/// mapping is replaced by zeros, as a whole and for good, and says so ([`Lent::is_lost`](crate::Lent::is_lost)).
/// Every other SIGBUS goes where it went before. For programs, early in `main`; a second call does nothing.
///
/// # Errors
/// The system's.
pub fn guard_bus_errors() -> Result<(), Refused> {
    let mut found = Ok(());
    BEFORE.get_or_init(|| {
        let before = install();
        found = before.map(drop);
        before.ok()
    });
    found
}

/// Whether the guard is there.
pub(crate) fn is_guarded() -> bool {
    matches!(BEFORE.get(), Some(Some(_)))
}

/// What SIGBUS did before; nothing where the guard could not be installed.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// Mappings that can be guarded at a time.
const SLOTS: usize = 1024;

/// The guarded mappings, where a signal handler can read them.
static GUARDED: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// Held to take and to free slots; never by the handler.
static TAKEN: Mutex<()> = Mutex::new(());

struct Slot {
    base: AtomicUsize,
    /// 0 for a free slot.
    len: AtomicUsize,
    is_lost: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self { base: AtomicUsize::new(0), len: AtomicUsize::new(0), is_lost: AtomicBool::new(false) }
    }

    /// The mapping, if it is this one that holds the address. A slot that changes meanwhile belongs to no mapping that
    /// anybody accesses, and is not taken for another one: its length is read on both sides of its base.
    fn holds(&self, address: usize) -> Option<(usize, usize)> {
        let len = self.len.load(Ordering::SeqCst);
        let base = self.base.load(Ordering::SeqCst);
        let inside = address.wrapping_sub(base) < len && self.len.load(Ordering::SeqCst) == len;
        inside.then_some((base, len))
    }
}

/// A mapping's place in the table, which it leaves when this is dropped. To be dropped before the mapping goes.
#[derive(Debug)]
pub(crate) struct Guarded(usize);

impl Guarded {
    /// Enters the `len` bytes at `base`, both multiples of the page size.
    pub(crate) fn enter(base: usize, len: usize) -> Result<Self, Refused> {
        let _taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = GUARDED.iter().position(|slot| slot.len.load(Ordering::SeqCst) == 0);
        let free = free.ok_or(Refused { operation: "guard a mapping", errno: Errno::NOSPC })?;
        GUARDED[free].is_lost.store(false, Ordering::SeqCst);
        GUARDED[free].base.store(base, Ordering::SeqCst);
        GUARDED[free].len.store(len, Ordering::SeqCst);
        Ok(Self(free))
    }

    /// Whether an access found nothing behind the mapping, which has been zeros since.
    pub(crate) fn is_lost(&self) -> bool {
        GUARDED[self.0].is_lost.load(Ordering::SeqCst)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        GUARDED[self.0].len.store(0, Ordering::SeqCst);
    }
}

fn install() -> Result<libc::sigaction, Refused> {
    // SAFETY: all zeros are a `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = caught as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let mut before = MaybeUninit::uninit();
    // SAFETY: `action` is initialised and its handler does only what a handler may; `before` is valid for writes.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &action, before.as_mut_ptr()) };
    if result != 0 {
        return Err(Refused::last("catch SIGBUS (sigaction)"));
    }
    // SAFETY: written by the call, which succeeded.
    Ok(unsafe { before.assume_init() })
}

/// Calls nothing but what may be called in a signal handler, and takes no lock.
extern "C" fn caught(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `siginfo_t`.
    let info = unsafe { *info };
    // SAFETY: every bit pattern of the union's member is a pointer.
    let address = unsafe { info.si_addr() } as usize;
    let code = info.si_code;
    // Only a fault (codes above 0) has an address; who sends the signal by hand does not lead us to a mapping.
    let place = GUARDED.iter().filter(|_| code > 0).find_map(|slot| Some((slot, slot.holds(address)?)));
    if let Some((slot, (base, len))) = place {
        slot.is_lost.store(true, Ordering::SeqCst);
        // SAFETY: this thread's `errno`, put back below.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let before = unsafe { *errno };
        // SAFETY: the range is a mapping of `Lent`'s, whose regions make no references; its accesses may see any bytes.
        // It is in use by the access that faulted, so that nobody unmaps it meanwhile.
        let zeros = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(base),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        // SAFETY: as above.
        unsafe { *errno = before };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // None of ours, or nothing helps: what would have happened without us happens when the access is tried again.
    if let Some(Some(before)) = BEFORE.get() {
        // SAFETY: an action that was in force before.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
    } else {
        // SAFETY: the default action is always allowed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    if code <= 0 {
        // Sent by hand, so that it does not come again by itself.
        // SAFETY: always allowed.
        unsafe { libc::raise(signal) };
    }
}
