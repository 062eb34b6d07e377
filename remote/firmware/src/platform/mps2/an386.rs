//! The board with a Cortex-M4F (application note AN386). The image and the window share the PSRAM.

use core::ops::Range;

use super::Uart;
use crate::platform::register::Register;

/// The upper half of the PSRAM.
pub(super) const WINDOW: Range<usize> = 0x2180_0000..0x2200_0000;

/// The processor's clock and the counter's, in Hz.
pub(super) const FREQUENCY: u64 = 25_000_000;

/// UART 1: 0 is everybody's console.
// SAFETY: addresses from the application note.
pub(super) const UART: Uart = unsafe { Uart::at(0x4000_5000) };

/// The number of UART 1's receive interrupt.
pub(super) const INTERRUPT: usize = 2;

/// The counter of cycles in the FPGA's I/O block.
// SAFETY: as above.
pub(super) const COUNTER: Register = unsafe { Register::at(0x4002_8018) };
