//! QEMU's `virt` machine with a 32-bit RISC-V core, in machine mode.
//!
//! The mailbox is the machine's UART, of the 16550 kind; its interrupt goes through the PLIC, the alarm is the CLINT's
//! timer. Interrupts are never taken: a pending one ends the sleep, and that is all that they are for.

#![allow(unsafe_code)]

use core::ops::Range;

use riscv::register::{mcause, mepc, mie, mtval};
use riscv_rt::TrapFrame;

use super::board::{self, Hardware};
use super::register::Register;

// The addresses are those of QEMU's hw/riscv/virt.c.

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

/// The UART's number at the PLIC.
const SOURCE: u32 = 10;
// SAFETY: as above.
const PRIORITY: Register = unsafe { Register::at(0x0C00_0000 + 4 * SOURCE as usize) };
// SAFETY: as above.
const ENABLED: Register = unsafe { Register::at(0x0C00_2000) };
// SAFETY: as above.
const THRESHOLD: Register = unsafe { Register::at(0x0C20_0000) };
/// Read: the number of what is pending, taken. Written: it is done.
// SAFETY: as above.
const CLAIM: Register = unsafe { Register::at(0x0C20_0004) };

// SAFETY: as above.
const ALARM_LOW: Register = unsafe { Register::at(0x0200_4000) };
// SAFETY: as above.
const ALARM_HIGH: Register = unsafe { Register::at(0x0200_4004) };
// SAFETY: as above.
const TIME_LOW: Register = unsafe { Register::at(0x0200_BFF8) };
// SAFETY: as above.
const TIME_HIGH: Register = unsafe { Register::at(0x0200_BFFC) };

/// The CLINT's clock in Hz.
const FREQUENCY: u64 = 10_000_000;

/// QEMU's RISC-V machine.
#[derive(Debug)]
pub struct Virt(());

impl Hardware for Virt {
    const WINDOW: Range<usize> = 0x8080_0000..0x8100_0000;

    fn start() -> Self {
        LINE_CONTROL.write(EIGHT_BITS);
        FIFO_CONTROL.write(FIFO_CLEAR);
        INTERRUPT_ENABLE.write(INTERRUPT_RECEIVED);
        PRIORITY.write(1);
        THRESHOLD.write(0);
        ENABLED.write(1 << SOURCE);
        // SAFETY: interrupts stay off as a whole.
        unsafe { mie::set_mext() };
        Self(())
    }

    fn send(&self, byte: u8) {
        if LINE_STATUS.read() & TRANSMITTER_EMPTY != 0 {
            DATA.write(byte);
        }
    }

    fn listen(&self) {
        // What is left in the UART after that is pending at the PLIC again at once.
        for _ in 0..TAKEN {
            if LINE_STATUS.read() & RECEIVED == 0 {
                break;
            }
            DATA.read();
        }
        let pending = CLAIM.read();
        if pending != 0 {
            CLAIM.write(pending);
        }
    }

    fn sleep(&self, until: Option<u64>) -> bool {
        if let Some(until) = until {
            if until <= self.now() {
                return false;
            }
            set_alarm(until);
            // SAFETY: interrupts stay off as a whole.
            unsafe { mie::set_mtimer() };
        }
        riscv::asm::wfi();
        // SAFETY: as above.
        unsafe { mie::clear_mtimer() };
        riscv::register::mip::read().mext()
    }

    fn now(&self) -> u64 {
        loop {
            let (high, low) = (TIME_HIGH.read(), TIME_LOW.read());
            if TIME_HIGH.read() == high {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    fn frequency(&self) -> u64 {
        FREQUENCY
    }

    fn illegal_instruction() -> ! {
        // SAFETY: an instruction that the architecture promises not to have. It ends in `crash`.
        unsafe { core::arch::asm!("unimp", options(noreturn)) }
    }

    fn off() -> ! {
        // SAFETY: interrupts stay off as a whole, and now none ends a sleep.
        unsafe { mie::write(mie::Mie::from_bits(0)) };
        loop {
            riscv::asm::wfi();
        }
    }
}

/// Has the timer's interrupt pending from this time on.
fn set_alarm(ticks: u64) {
    // The upper half at its greatest first, so that no time in between is an early one.
    ALARM_HIGH.write(u32::MAX);
    ALARM_LOW.write(ticks as u32);
    ALARM_HIGH.write((ticks >> 32) as u32);
}

/// Every exception comes here.
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn on_exception(frame: &TrapFrame) -> ! {
    let stack = core::ptr::from_ref(frame).addr();
    let words = [mepc::read(), stack, frame.ra, mcause::read().bits(), mtval::read()];
    board::crash::<Virt>(words.map(|word| word as u64))
}

/// The symbols of firmware on the machine.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($run:expr) => {
        /// Called by the start-up code, once memory is set up.
        #[unsafe(export_name = "main")]
        fn __sidecore_main(_: usize, _: usize, _: usize) -> ! {
            // SAFETY: the start-up code calls it once, as the image's only thread of execution.
            unsafe { $crate::platform::board::enter($run) }
        }
    };
}
