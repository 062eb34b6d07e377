//! The board with a Cortex-M4F (application note AN386). The image and the window share the PSRAM. A second board may be
//! on the same PSRAM, with a cable from the one's UART 2 to the other's.

use core::ops::Range;

use super::Uart;
use crate::platform::register::Register;

/// The upper half of the PSRAM; the upper half of that for the second board.
pub(super) const WINDOW: Range<usize> =
    if SECOND { 0x21C0_0000..0x2200_0000 } else { 0x2180_0000..0x2200_0000 };

/// Where the other board's resource table lies, and the memory between the two.
pub(super) const SIBLING: [Range<usize>; 2] =
    [if SECOND { 0x2140_0000..0x2140_1000 } else { 0x2160_0000..0x2160_1000 }, 0x21C0_1000..0x2200_0000];

const SECOND: bool = cfg!(sidecore_second_core);

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

/// The other board's doorbell and ours: UART 2.
#[derive(Debug)]
pub(super) struct Bell;

/// The number of UART 2's receive interrupt.
pub(super) const BELL_INTERRUPT: usize = 4;

// SAFETY: as above.
const CABLE: Uart = unsafe { Uart::at(0x4000_6000) };

impl Bell {
    pub(super) fn start() {
        CABLE.start();
    }

    pub(super) fn ring() {
        CABLE.send(0);
    }

    /// Forgets it, and listens from now on.
    pub(super) fn listen() -> bool {
        CABLE.listen()
    }

    /// It rang: does not let it ring again before the next [`listen`](Self::listen).
    pub(super) fn hush() {
        CABLE.hush();
    }

    /// The other board has a switch of its own.
    pub(super) fn release() {}
}
