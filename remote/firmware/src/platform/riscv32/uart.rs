//! The machine by itself: its UART, of the 16550 kind, is the mailbox.

#![allow(unsafe_code)]

use core::ops::Range;

use crate::platform::register::Register;

pub(super) const WINDOW: Range<usize> = 0x8080_0000..0x8100_0000;
pub(super) const SEEN_AT: Option<usize> = None;
/// The UART's number at the PLIC.
pub(super) const SOURCE: u32 = 10;

/// The machine's one UART. Read: a byte that came. Written: one to be sent.
// SAFETY: a register of the machine, used by this platform alone; so below.
const DATA: Register<u8> = unsafe { Register::at(0x1000_0000) };
// SAFETY: as above.
const INTERRUPT_ENABLE: Register<u8> = unsafe { Register::at(0x1000_0001) };
// SAFETY: as above.
const FIFO_CONTROL: Register<u8> = unsafe { Register::at(0x1000_0002) };
// SAFETY: as above.
const LINE_CONTROL: Register<u8> = unsafe { Register::at(0x1000_0003) };
// SAFETY: as above.
const LINE_STATUS: Register<u8> = unsafe { Register::at(0x1000_0005) };

const INTERRUPT_RECEIVED: u8 = 1 << 0;
/// FIFOs on and empty; each byte that comes is told.
const FIFO_CLEAR: u8 = 0b111;
const EIGHT_BITS: u8 = 0b11;
const RECEIVED: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Bytes that are taken from the mailbox at a time. One is enough to know that the doorbell rang.
const TAKEN: usize = 16;

pub(super) fn start() {
    LINE_CONTROL.write(EIGHT_BITS);
    FIFO_CONTROL.write(FIFO_CLEAR);
    INTERRUPT_ENABLE.write(INTERRUPT_RECEIVED);
}

pub(super) fn send(byte: u8) {
    if LINE_STATUS.read() & TRANSMITTER_EMPTY != 0 {
        DATA.write(byte);
    }
}

/// Takes what came. What is left in the UART after that is pending at the PLIC again at once.
pub(super) fn forget() {
    for _ in 0..TAKEN {
        if LINE_STATUS.read() & RECEIVED == 0 {
            break;
        }
        DATA.read();
    }
}
