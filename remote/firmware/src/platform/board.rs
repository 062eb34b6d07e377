//! A processor on a board: firmware that owns its core, beside a main side that shares memory with it.
//!
//! What all boards have in common. At an address that the board fixes lies a *window* of memory that both sides share.
//! Its first 4096 bytes are the page of [`sidecore_wire::sandbox`]: the main side lists there what it shares, the
//! firmware says how far it is and what went wrong. A page that nobody filled means the whole window behind it. Two
//! mailboxes carry bytes, each of which says "look": below 0x80 at the ring with this notify id, 0xFF at the page.

#![allow(unsafe_code)]

use core::cell::Cell;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::time::Duration;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AddressMap, DeviceAddr, MapError, Region};
use sidecore_wire::sandbox::{self as page, FAULT_WORDS};

use super::{Misbehaviour, Native, Platform, Sibling, ticks};

/// What a board has of its own: a mailbox, a clock, and a way to sleep.
pub trait Hardware {
    /// Addresses of the window that both sides share, the page first.
    const WINDOW: Range<usize>;
    /// Where the main side has the window, if it names buffers by its own addresses in place of this processor's.
    const SEEN_AT: Option<usize> = None;
    /// Where the other core's resource table lies, and the memory between the two.
    const SIBLING: Option<[Range<usize>; 2]> = None;

    /// Sets the devices up. Called once, before anything else.
    fn start() -> Self;

    /// Puts a byte into the mailbox. Where the mailbox is full it holds bytes that the main side has yet to see, and
    /// this one is dropped: whoever looks at them looks late enough.
    fn send(&self, byte: u8);

    /// Lets the other core begin.
    fn release_sibling(&self) {}

    /// Rings the other core.
    fn ring_sibling(&self) {}

    /// Forgets the doorbells, and listens for them from now on.
    fn listen(&self);

    /// Sleeps until a doorbell, which [`listen`](Self::listen) did not forget, or at most until this time; may
    /// return earlier. Whether one rang.
    fn sleep(&self, until: Option<u64>) -> bool;

    /// The time in ticks. Never goes back.
    fn now(&self) -> u64;

    /// Ticks in a second; not 0.
    fn frequency(&self) -> u64;

    /// Executes an instruction that does not exist.
    fn illegal_instruction() -> !;

    /// Stops the processor for good, whatever may come.
    fn off() -> !;
}

/// A byte in the mailbox that tells the main side to look at the page.
const LOOK_AT_PAGE: u8 = 0xFF;

/// For how long the rings are looked at before sleeping, where the main side can run meanwhile.
const PATIENCE: Duration = Duration::from_micros(50);

/// The platform of a board.
#[derive(Debug)]
pub struct Board<H> {
    hardware: H,
    page: Region,
    /// The main side has filled the page.
    is_filled: bool,
    /// Ticks after which a waiting firmware feeds its watchdog; 0 while none is armed.
    feed_after: Cell<u64>,
    /// Counts the calls of `wait`.
    waits: Cell<u32>,
}

impl<H: Hardware> Board<H> {
    fn start() -> Self {
        let page = page_region::<H>();
        let word = |at| page.load(at).unwrap_or(0_u32);
        let is_filled = word(page::MAGIC) == page::MAGIC_VALUE && word(page::VERSION) == page::VERSION_VALUE;
        Self { hardware: H::start(), page, is_filled, feed_after: Cell::new(0), waits: Cell::new(0) }
    }

    /// Shows the main side how far the firmware is.
    fn tell(&self, state: u32) {
        say(&self.page, state);
        self.hardware.send(LOOK_AT_PAGE);
    }

    /// Ends the firmware with an exit code.
    fn end(code: i32) -> ! {
        let page = page_region::<H>();
        store(&page, page::EXIT_CODE, code.cast_unsigned());
        last_word::<H>(&page, page::STATE_ENDED)
    }

    /// A memory that the main side claims to share, if it lies in the window behind the page.
    fn shared_region(start: u64, len: u64) -> Option<Region> {
        let end = start.checked_add(len)?;
        if start < (H::WINDOW.start + page::SIZE) as u64 || end > H::WINDOW.end as u64 {
            return None;
        }
        let base = NonNull::new(ptr::with_exposed_provenance_mut(start as usize))?;
        // SAFETY: the window is memory for good, and the link script keeps the image, so all references, out of it.
        Some(unsafe { Region::from_raw(base, len as usize, ()) })
    }

    /// Adds a shared memory at its addresses.
    fn insert<const N: usize>(
        map: &mut AddressMap<(), N>,
        start: u64,
        region: Region,
    ) -> Result<(), MapError> {
        if let Some(window) = H::SEEN_AT {
            let at = window as u64 + (start - H::WINDOW.start as u64);
            map.insert(DeviceAddr(at), region.clone())?;
        }
        map.insert(DeviceAddr(start), region)
    }

    /// A memory that the other core has, too.
    fn sibling_region(place: &Range<usize>) -> Option<Region> {
        let base = NonNull::new(ptr::with_exposed_provenance_mut(place.start))?;
        // SAFETY: memory for good, by the board's constants, and out of this core's image by its link script.
        Some(unsafe { Region::from_raw(base, place.end - place.start, ()) })
    }
}

impl<H: Hardware> Platform for Board<H> {
    fn ring(&self, notify_id: u32) {
        self.hardware.send(notify_id as u8 & 0x7F);
    }

    fn wait(&self, until: Option<u64>, ready: &mut dyn FnMut() -> bool) {
        loop {
            let wait = self.waits.get().wrapping_add(1);
            self.waits.set(wait);
            self.feed_watchdog();
            self.hardware.listen();
            let mut done = ready();
            // Where `ready` waited too it may have heard the doorbell that was ours.
            if !done && self.waits.get() != wait {
                continue;
            }
            let feed = Some(self.feed_after.get()).filter(|&feed| feed != 0);
            let fed = feed.map(|feed| self.now().saturating_add(feed));
            let end = until.map_or(fed, |until| Some(fed.map_or(until, |fed| fed.min(until))));
            done = done || self.hardware.sleep(end) || feed.is_none();
            if done || until.is_some_and(|until| until <= self.now()) {
                return self.feed_watchdog();
            }
        }
    }

    fn patience(&self) -> u64 {
        let is_alone = !self.is_filled || self.page.load(page::CPU_COUNT).unwrap_or(0_u32) <= 1;
        if is_alone { 0 } else { ticks(PATIENCE, self.hardware.frequency()) }
    }

    fn now(&self) -> u64 {
        self.hardware.now()
    }

    fn ticks_per_second(&self) -> u64 {
        self.hardware.frequency()
    }

    fn arm_watchdog(&self, period: Duration) {
        let milliseconds = period.as_nanos().div_ceil(1_000_000).max(1);
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        // Half a period, so that a late wake-up does not look like a hang.
        let half = Duration::from_millis(milliseconds.into()) / 2;
        self.feed_after.set(ticks(half, self.hardware.frequency()).max(1));
        self.feed_watchdog();
        store(&self.page, page::WATCHDOG_PERIOD_MS, milliseconds);
    }

    fn feed_watchdog(&self) {
        let count = self.page.load(page::WATCHDOG_COUNT).unwrap_or(0_u32);
        store(&self.page, page::WATCHDOG_COUNT, count.wrapping_add(1));
    }

    fn shared<const N: usize>(&self, map: &mut AddressMap<(), N>) -> Result<(), MapError> {
        if !self.is_filled {
            let start = (H::WINDOW.start + page::SIZE) as u64;
            return Self::insert(map, start, window::<H>());
        }
        for place in 0..page::MEMORIES_MAX {
            let at = page::MEMORIES + page::MEMORY_SIZE * place;
            // The page is long enough for all places, so nothing is missed by this.
            let Ok(start) = self.page.load(at) else { break };
            let Ok(len) = self.page.load(at + size_of::<u64>()) else { break };
            if len == 0 {
                break;
            }
            if let Some(region) = Self::shared_region(start, len) {
                Self::insert(map, start, region)?;
            }
        }
        Ok(())
    }

    fn sibling(&self) -> Option<Sibling> {
        let [table, memory] = H::SIBLING?;
        let at = DeviceAddr(memory.start as u64);
        Some(Sibling { table: Self::sibling_region(&table)?, memory: Self::sibling_region(&memory)?, at })
    }

    fn release_sibling(&self) {
        // Whatever the other core is to find is there before it.
        full_fence();
        self.hardware.release_sibling();
    }

    fn ring_sibling(&self) {
        self.hardware.ring_sibling();
    }

    fn exit(&self, code: i32) -> ! {
        Self::end(code)
    }

    fn misbehave(&self, how: Misbehaviour) -> ! {
        if let Misbehaviour::BadAccess(address) = how {
            let address = ptr::with_exposed_provenance::<u8>(address as usize);
            // SAFETY: none, on purpose: a fault is what was asked for, and a byte read in vain does no harm.
            unsafe { address.read_volatile() };
        }
        // Nothing is forbidden on a bare machine, so every other misbehaviour is this one; also where the address was
        // a good one.
        H::illegal_instruction()
    }

    fn halt(record: &str) -> ! {
        let page = page_region::<H>();
        let room = page::PANIC_TEXT_END - page::PANIC_TEXT;
        let text = record.as_bytes().get(..record.len().min(room)).unwrap_or_default();
        // A page is long enough for both; there is nobody left to tell if it were not.
        let _ = page.write(page::PANIC_TEXT, text);
        store(&page, page::PANIC_LEN, text.len() as u32);
        last_word::<H>(&page, page::STATE_CRASHED)
    }
}

/// Runs firmware: the first and last function of firmware that the start-up code calls.
///
/// # Safety
/// Called once, with memory set up, and nothing else runs on this core but the handlers of the platform.
pub unsafe fn enter(run: impl FnOnce(Native) -> i32) -> ! {
    let board = Native::start();
    board.tell(page::STATE_UP);
    Native::end(run(board))
}

/// Ends the firmware as crashed, with what the processor says of it: program counter, stack pointer, return address,
/// cause and faulting address. For handlers of faults.
pub(super) fn crash<H: Hardware>(words: [u64; FAULT_WORDS]) -> ! {
    let page = page_region::<H>();
    for (place, word) in words.into_iter().enumerate() {
        // The page is long enough for all words.
        let _ = page.store(page::FAULT + size_of::<u64>() * place, word);
    }
    store(&page, page::FAULT_VALID, 1);
    last_word::<H>(&page, page::STATE_CRASHED)
}

/// Shows the main side how it ended, with the devices in whatever state they are.
fn last_word<H: Hardware>(page: &Region, state: u32) -> ! {
    say(page, state);
    H::start().send(LOOK_AT_PAGE);
    H::off()
}

/// Writes the state behind everything that it speaks of.
fn say(page: &Region, state: u32) {
    full_fence();
    store(page, page::STATE, state);
    full_fence();
}

fn store(page: &Region, at: usize, word: u32) {
    // All places are inside the page and aligned; there is nobody to tell if one were not.
    let _ = page.store(at, word);
}

/// The window behind the page.
fn window<H: Hardware>() -> Region {
    let start = H::WINDOW.start + page::SIZE;
    let base = NonNull::new(ptr::with_exposed_provenance_mut(start)).unwrap_or(NonNull::dangling());
    // SAFETY: as in `shared_region`; no board's window begins at 0.
    unsafe { Region::from_raw(base, H::WINDOW.end - start, ()) }
}

fn page_region<H: Hardware>() -> Region {
    let base = NonNull::new(ptr::with_exposed_provenance_mut(H::WINDOW.start)).unwrap_or(NonNull::dangling());
    // SAFETY: as in `shared_region`; no board's window begins at 0.
    unsafe { Region::from_raw(base, page::SIZE, ()) }
}
