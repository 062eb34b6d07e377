//! The coprocessor of the system-on-chip that `sidecore soc` is: its mailbox is that of an STM32MP1 (IPCC).
//!
//! Source: the STM32MP1's reference manual (RM0436, chapter 11). Linux is processor 1, and this is processor 2; both have
//! the same registers. What stands for them is memory, which the system-on-chip empties as soon as it sees what is written
//! there. So where hardware wants a bit written, here one is set beside those that are not yet seen.

#![allow(unsafe_code)]
#![allow(clippy::disallowed_types, reason = "registers want exchanges, which messages do without")]

use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::platform::register::Register;

/// A page that is this processor's, then what Linux keeps for rings and buffers.
pub(super) const WINDOW: Range<usize> = 0x900F_F000..0x9019_0000;
/// The rings are where this processor has them, but buffers where Linux has them.
pub(super) const SEEN_AT: Option<usize> = Some(0x500F_F000);
/// The interrupt of what came.
pub(super) const SOURCE: u32 = 50;

/// Channels that Linux filled and that were not emptied.
// SAFETY: a register of the machine, used by this platform alone.
const TO_US: Register = unsafe { Register::at(0x9022_000C) };
/// Written: in the lower half channels that are emptied, in the upper half those that are filled for Linux.
const SET_CLEAR: usize = 0x9022_0018;
/// The channels that there are.
const CHANNELS: u8 = 6;

pub(super) fn start() {}

/// Fills the channel that has the number of the ring.
pub(super) fn send(byte: u8) {
    // Whoever is to look at the page does so by itself.
    if byte < CHANNELS {
        set(1 << (16 + byte));
    }
}

/// Empties the channels.
pub(super) fn forget() {
    let came = TO_US.read() & 0xFFFF;
    if came != 0 {
        set(came);
    }
}

fn set(bits: u32) {
    let register = ptr::with_exposed_provenance_mut(SET_CLEAR);
    // SAFETY: a word of memory that is always there, aligned, and accessed by everybody with single accesses.
    let register = unsafe { AtomicU32::from_ptr(register) };
    register.fetch_or(bits, Ordering::SeqCst);
}
