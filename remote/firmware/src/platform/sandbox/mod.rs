//! The sandbox: firmware as a confined Linux process, observed by its main side.
//!
//! The boot stub maps the firmware's memories, the stack and the hand-over page ([`sidecore_wire::sandbox`]), and
//! enters the image with the page's address. From there on the kernel is asked for four things only: to read one
//! doorbell, to ring the other, to wait, and to end. There is no C library; what the compiler wants of one is in
//! `bytes`.

#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use core::time::Duration;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AccessError, AddressMap, DeviceAddr, MapError, Region, Word};
use sidecore_wire::Malformed;
use sidecore_wire::sandbox::{self as page, HandOver};

use super::{MainSide, Misbehaviour, Platform, duration, ticks};

pub mod bytes;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod machine;

/// About what going to sleep and being woken costs.
const PATIENCE: Duration = Duration::from_micros(50);

/// Where the sandbox may place memories; the image lies below, and a resource table names nothing above.
const PLACED: core::ops::Range<u64> = 0x2000_0000..0x1_0000_0000;

/// The sandbox's doorbells, clock and watchdog.
#[derive(Debug)]
pub struct Sandbox {
    page: Region,
    hand_over: HandOver,
    host_asleep: Word<u32>,
    remote_asleep: Word<u32>,
    watchdog_period_ms: Word<u32>,
    watchdog_count: Word<u32>,
    /// Ticks after which a waiting firmware feeds its watchdog; 0 while none is armed.
    feed_after: Cell<u64>,
    /// Counts the calls of `wait`.
    waits: Cell<u32>,
    frequency: u64,
}

/// Why a hand-over page was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandOverError {
    /// It is shorter than a page, or lies askew.
    Access(AccessError),
    /// It is not of a layout that this SDK knows.
    Malformed(Malformed),
}

impl Sandbox {
    /// Takes over what the boot stub left in the hand-over page.
    ///
    /// # Errors
    /// The region is no such page, or one of another version.
    pub fn adopt(region: &Region) -> Result<Self, HandOverError> {
        let bytes = region.read_array(0).map_err(HandOverError::Access)?;
        let hand_over = HandOver::parse(&bytes).map_err(HandOverError::Malformed)?;
        let word = |at| region.word(at).map_err(HandOverError::Access);
        Ok(Self {
            page: region.clone(),
            host_asleep: word(page::HOST_ASLEEP)?,
            remote_asleep: word(page::REMOTE_ASLEEP)?,
            watchdog_period_ms: word(page::WATCHDOG_PERIOD_MS)?,
            watchdog_count: word(page::WATCHDOG_COUNT)?,
            feed_after: Cell::new(0),
            waits: Cell::new(0),
            frequency: frequency(&hand_over),
            hand_over,
        })
    }

    /// Sleeps until the doorbell or for at most so many ticks; whether it rang.
    fn sleep(&self, span: Option<u64>) -> bool {
        let mut descriptor = PollFd { fd: self.hand_over.doorbell_in, events: POLLIN, answer: 0 };
        let span = span.map(|span| {
            let span = duration(span, self.frequency);
            Timespec {
                seconds: span.as_secs().min(MANY_SECONDS) as i64,
                nanoseconds: span.subsec_nanos().into(),
            }
        });
        let timeout = span.as_ref().map_or(ptr::null(), ptr::from_ref);
        let arguments =
            [ptr::from_mut(&mut descriptor).expose_provenance(), 1, timeout.expose_provenance(), 0, 0];
        // SAFETY: the call reads and writes the two structures on our stack and nothing else.
        let woken = unsafe { machine::system_call(machine::PPOLL, arguments) };
        if woken > 0 && descriptor.answer & POLLIN != 0 {
            self.take_doorbell();
        }
        woken > 0
    }

    /// A memory that the main side claims to share, if it is none of ours.
    fn shared_region(&self, start: u64, len: u64) -> Option<Region> {
        let end = start.checked_add(len)?;
        let HandOver { stack_top, stack_size, .. } = self.hand_over;
        let apart = end <= stack_top.saturating_sub(stack_size) || stack_top <= start;
        if start < PLACED.start || PLACED.end < end || !apart {
            return None;
        }
        let base = NonNull::new(ptr::with_exposed_provenance_mut(start as usize))?;
        // SAFETY: the boot stub's contract is that the memories of the hand-over page are mapped for good, readable
        // and writable; neither the image nor the stack, so no reference of ours, lies in this one.
        Some(unsafe { Region::from_raw(base, len as usize, ()) })
    }

    /// Clears the doorbell that rang, so that the next sleep is one.
    fn take_doorbell(&self) {
        let mut count = 0_u64;
        let arguments = [
            self.hand_over.doorbell_in as usize,
            ptr::from_mut(&mut count).expose_provenance(),
            size_of::<u64>(),
            0,
            0,
        ];
        // SAFETY: the call writes the eight bytes of `count`. Its answer does not matter: a doorbell that cannot be
        // read is one that did not ring, and the caller looks at the rings in any case.
        let _ = unsafe { machine::system_call(machine::READ, arguments) };
    }
}

impl Platform for Sandbox {
    fn main_side(&self) -> MainSide {
        let word = |at| self.page.load::<u32>(at).unwrap_or_default();
        MainSide { is_there: word(page::MAIN_SIDE_GONE) == 0, count: word(page::MAIN_SIDES) }
    }

    fn ring(&self, _notify_id: u32) {
        // One doorbell stands for all rings: the main side looks at each.
        if self.host_asleep.load() == 0 {
            return;
        }
        ring_doorbell(self.hand_over.doorbell_out);
    }

    fn alert() {
        // Whoever reads the trace may be another than whoever sleeps, and this is rare.
        if let Some(base) = NonNull::new(PAGE.load(Ordering::Acquire)) {
            // SAFETY: only `enter` stores an address, that of the page, which stays mapped.
            let page = unsafe { Region::from_raw(base, page::SIZE, ()) };
            let bell: u32 = page.load(page::TRACE_BELL).unwrap_or(0);
            if bell != 0 {
                ring_doorbell(bell.cast_signed());
            }
        }
    }

    fn wait(&self, until: Option<u64>, ready: &mut dyn FnMut() -> bool) {
        loop {
            let wait = self.waits.get().wrapping_add(1);
            self.waits.set(wait);
            self.feed_watchdog();
            self.remote_asleep.store(1);
            // Against the main side's "publish, then look whether the remote sleeps": either it sees that we do, or we
            // see here what it published.
            full_fence();
            let mut done = ready();
            // Where `ready` waited too we count as awake again, and nobody would ring.
            if !done && self.waits.get() != wait {
                continue;
            }
            let now = self.now();
            let left = until.map(|until| until.saturating_sub(now));
            let feed = Some(self.feed_after.get()).filter(|&feed| feed != 0);
            let span = left.map_or(feed, |left| Some(left.min(feed.unwrap_or(left))));
            done = done || left == Some(0) || self.sleep(span);
            self.remote_asleep.store(0);
            if done || feed.is_none() {
                return self.feed_watchdog();
            }
        }
    }

    fn patience(&self) -> u64 {
        if self.hand_over.cpu_count <= 1 { 0 } else { ticks(PATIENCE, self.frequency) }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        machine::ticks()
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u64 {
        self.frequency
    }

    fn arm_watchdog(&self, period: Duration) {
        let milliseconds = period.as_nanos().div_ceil(1_000_000).max(1);
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        // Half a period, so that a late wake-up does not look like a hang.
        let half = Duration::from_millis(milliseconds.into()) / 2;
        self.feed_after.set(ticks(half, self.frequency).max(1));
        self.feed_watchdog();
        self.watchdog_period_ms.store(milliseconds);
    }

    #[inline]
    fn feed_watchdog(&self) {
        self.watchdog_count.store(self.watchdog_count.load().wrapping_add(1));
    }

    fn shared<const N: usize>(&self, map: &mut AddressMap<(), N>) -> Result<(), MapError> {
        for place in 0..page::MEMORIES_MAX {
            let at = page::MEMORIES + page::MEMORY_SIZE * place;
            // The page is long enough for all places, so nothing is missed by this.
            let Ok(start) = self.page.load(at) else { break };
            let Ok(len) = self.page.load(at + size_of::<u64>()) else { break };
            if len == 0 {
                break;
            }
            if let Some(region) = self.shared_region(start, len) {
                map.insert(DeviceAddr(start), region)?;
            }
        }
        Ok(())
    }

    fn exit(&self, code: i32) -> ! {
        exit(code)
    }

    fn misbehave(&self, how: Misbehaviour) -> ! {
        match how {
            Misbehaviour::BadAccess(address) => machine::read_anywhere(address as usize),
            Misbehaviour::IllegalInstruction => {}
            Misbehaviour::ForbiddenCall => {
                // SAFETY: the call does nothing to memory, allowed or not.
                unsafe { machine::system_call(machine::GET_PROCESS_ID, [0; 5]) };
            }
        }
        // Also where nobody minded.
        machine::trap()
    }

    fn halt(record: &str) -> ! {
        if let Some(base) = NonNull::new(PAGE.load(Ordering::Acquire)) {
            // SAFETY: only `enter` stores an address, that of the page, which stays mapped.
            leave_record(&unsafe { Region::from_raw(base, page::SIZE, ()) }, record);
        }
        machine::trap()
    }
}

/// Wakes whoever listens to the doorbell with this number.
fn ring_doorbell(descriptor: i32) {
    let count = 1_u64;
    let arguments = [descriptor as usize, ptr::from_ref(&count).expose_provenance(), size_of::<u64>(), 0, 0];
    // SAFETY: the call reads the eight bytes of `count`. It fails only when nobody is left to be woken.
    let _ = unsafe { machine::system_call(machine::WRITE, arguments) };
}

/// The hand-over page, for whoever has no platform at hand.
static PAGE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Puts a panic record, shortened to its room, into the hand-over page.
fn leave_record(page: &Region, record: &str) {
    let room = page::PANIC_TEXT_END - page::PANIC_TEXT;
    let text = &record.as_bytes()[..record.len().min(room)];
    // A page is long enough for both; there is nobody left to tell if it were not.
    let _ = page.write(page::PANIC_TEXT, text);
    let _ = page.store(page::PANIC_LEN, text.len() as u32);
}

/// Runs firmware: the first and last function of a sandbox remote.
///
/// # Safety
/// `hand_over` is the address of a hand-over page that stays mapped, readable and writable and that nobody in this
/// image refers to; called once.
pub unsafe fn enter(hand_over: usize, run: impl FnOnce(Sandbox) -> i32) -> ! {
    let Some(base) = NonNull::new(ptr::with_exposed_provenance_mut(hand_over)) else { machine::trap() };
    // SAFETY: the caller's promise.
    let page = unsafe { Region::from_raw(base, page::SIZE, ()) };
    let Ok(platform) = Sandbox::adopt(&page) else { machine::trap() };
    PAGE.store(base.as_ptr(), Ordering::Release);
    exit(run(platform))
}

/// Ends the process.
fn exit(code: i32) -> ! {
    // SAFETY: the call does nothing to memory, and the kernel does not return from it.
    unsafe { machine::system_call(machine::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    machine::trap()
}

/// Ticks in a second: what the warden measured, what the processor says, or what we can measure in a moment.
fn frequency(hand_over: &HandOver) -> u64 {
    [hand_over.tick_hz, machine::stated_frequency()].into_iter().find(|&hz| hz != 0).unwrap_or_else(measure)
}

/// Counts the ticks of a hundredth of a second.
fn measure() -> u64 {
    let span = Timespec { seconds: 0, nanoseconds: 10_000_000 };
    let start = machine::ticks();
    // SAFETY: the call reads the structure on our stack and nothing else.
    unsafe { machine::system_call(machine::PPOLL, [0, 0, ptr::from_ref(&span).expose_provenance(), 0, 0]) };
    machine::ticks().wrapping_sub(start).saturating_mul(100).max(1)
}

/// `struct pollfd` of Linux.
#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    answer: i16,
}

const POLLIN: i16 = 1;

/// `struct __kernel_timespec` of Linux.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Longer than anyone waits, and far from the kernel's own limit.
const MANY_SECONDS: u64 = 1 << 32;

/// The symbols of a sandbox image: its entry, and what the compiler takes from a C library otherwise.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($run:expr) => {
        /// Entered by the boot stub, with the address of the hand-over page.
        #[unsafe(no_mangle)]
        extern "C" fn _start(hand_over: usize) -> ! {
            // SAFETY: the boot stub's contract.
            unsafe { $crate::platform::sandbox::enter(hand_over, $run) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
            // SAFETY: the C function's contract.
            unsafe { $crate::platform::sandbox::bytes::copy(to, from, len) };
            to
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
            // SAFETY: the C function's contract.
            unsafe { $crate::platform::sandbox::bytes::shift(to, from, len) };
            to
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
            // SAFETY: the C function's contract.
            unsafe { $crate::platform::sandbox::bytes::fill(to, byte as u8, len) };
            to
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
            // SAFETY: the C function's contract.
            unsafe { $crate::platform::sandbox::bytes::compare(left, right, len) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
            // SAFETY: the C function's contract.
            unsafe { $crate::platform::sandbox::bytes::compare(left, right, len) }
        }

        /// The prebuilt `core` names it in its unwinding tables, which the link script drops.
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}
    };
}

#[cfg(test)]
mod tests;
