//! The board with two Cortex-M33 (application note AN521), all of it in the secure world. The code is in SSRAM 1, all
//! that is written and the window in the PSRAM.

use core::ops::Range;

use super::Uart;
use crate::platform::register::Register;

/// The upper half of the PSRAM.
pub(super) const WINDOW: Range<usize> = 0x8080_0000..0x8100_0000;

/// The processors' clock and the counter's, in Hz.
pub(super) const FREQUENCY: u64 = 20_000_000;

/// UART 1, by its secure address: 0 is everybody's console.
// SAFETY: addresses from the application note.
pub(super) const UART: Uart = unsafe { Uart::at(0x5020_1000) };

/// The number of UART 1's receive interrupt.
pub(super) const INTERRUPT: usize = 34;

/// The counter of cycles in the FPGA's I/O block, by its secure address.
// SAFETY: as above.
pub(super) const COUNTER: Register = unsafe { Register::at(0x5030_2018) };
