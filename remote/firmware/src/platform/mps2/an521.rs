//! The board with two Cortex-M33 (application note AN521), all of it in the secure world. The code is in SSRAM 1, all
//! that is written and the window in the PSRAM. The first core releases the second one.

use core::ops::Range;

use super::Uart;
use crate::platform::register::Register;

/// The upper half of the PSRAM; the upper half of that for the second core.
pub(super) const WINDOW: Range<usize> =
    if SECOND { 0x80C0_0000..0x8100_0000 } else { 0x8080_0000..0x8100_0000 };

/// Where the other core's resource table lies, and the memory between the two.
pub(super) const SIBLING: [Range<usize>; 2] =
    [if SECOND { 0x8000_0000..0x8000_1000 } else { 0x8040_0000..0x8040_1000 }, 0x80C0_1000..0x8100_0000];

const SECOND: bool = cfg!(sidecore_second_core);

/// The processors' clock and the counter's, in Hz.
pub(super) const FREQUENCY: u64 = 20_000_000;

/// UART 1 or, for the second core, 2, by its secure address: 0 is everybody's console.
// SAFETY: addresses from the application note.
pub(super) const UART: Uart = unsafe { Uart::at(if SECOND { 0x5020_2000 } else { 0x5020_1000 }) };

/// The number of that UART's receive interrupt.
pub(super) const INTERRUPT: usize = if SECOND { 36 } else { 34 };

/// The counter of cycles in the FPGA's I/O block, by its secure address.
// SAFETY: as above.
pub(super) const COUNTER: Register = unsafe { Register::at(0x5030_2018) };

/// The other core's doorbell and ours: message handling unit 0 of the SSE-200 (its technical reference manual, 4.10).
#[derive(Debug)]
pub(super) struct Bell;

/// The number of its interrupt at either core.
pub(super) const BELL_INTERRUPT: usize = 6;

/// Written with 1: the core's interrupt becomes pending, and is taken back.
// SAFETY: as above; so below.
const SET: [Register; 2] = [unsafe { Register::at(0x5000_3004) }, unsafe { Register::at(0x5000_3014) }];
// SAFETY: as above.
const CLEAR: [Register; 2] = [unsafe { Register::at(0x5000_3008) }, unsafe { Register::at(0x5000_3018) }];

/// Where the second core finds its vectors.
// SAFETY: a register of the SSE-200's system control, by its secure address; so below.
const VECTORS: Register = unsafe { Register::at(0x5002_1114) };
/// Which cores wait at their reset.
// SAFETY: as above.
const WAIT: Register = unsafe { Register::at(0x5002_1118) };
/// The beginning of the second core's image, by its link script.
const SECOND_IMAGE: u32 = 0x1020_0000;

impl Bell {
    pub(super) fn start() {}

    pub(super) fn ring() {
        SET[1 - SECOND as usize].write(1);
    }

    /// Forgets it, and listens from now on.
    pub(super) fn listen() -> bool {
        Self::hush();
        false
    }

    /// It rang: takes it back.
    pub(super) fn hush() {
        CLEAR[SECOND as usize].write(1);
    }

    pub(super) fn release() {
        if !SECOND {
            VECTORS.write(SECOND_IMAGE);
            WAIT.write(0);
        }
    }
}
