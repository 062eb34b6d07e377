//! QEMU's `virt` machine with a 32-bit RISC-V core, in machine mode.
//!
//! The mailbox is the machine's UART, or that of the system-on-chip whose coprocessor it is; its interrupt goes through
//! the PLIC, the alarm is the CLINT's timer. Interrupts are never taken: a pending one ends the sleep, and that is all
//! that they are for.

#![allow(unsafe_code)]

use core::ops::Range;

use riscv::register::{mcause, mepc, mie, mtval};
use riscv_rt::TrapFrame;

use super::board::{self, Hardware};
use super::register::Register;

#[cfg(sidecore_platform = "riscv32-soc")]
mod ipcc;
#[cfg(sidecore_platform = "riscv32-virt")]
mod uart;

#[cfg(sidecore_platform = "riscv32-soc")]
use ipcc as mailbox;
#[cfg(sidecore_platform = "riscv32-virt")]
use uart as mailbox;

// The addresses are those of QEMU's hw/riscv/virt.c.

// SAFETY: a register of the machine, used by this platform alone; so below.
const PRIORITY: Register = unsafe { Register::at(0x0C00_0000 + 4 * mailbox::SOURCE as usize) };
/// One bit for each source: the word that has the mailbox's.
// SAFETY: as above.
const ENABLED: Register = unsafe { Register::at(0x0C00_2000 + 4 * (mailbox::SOURCE as usize / 32)) };
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
    const WINDOW: Range<usize> = mailbox::WINDOW;
    const SEEN_AT: Option<usize> = mailbox::SEEN_AT;

    fn start() -> Self {
        mailbox::start();
        PRIORITY.write(1);
        THRESHOLD.write(0);
        ENABLED.write(1 << (mailbox::SOURCE % 32));
        // SAFETY: interrupts stay off as a whole.
        unsafe { mie::set_mext() };
        Self(())
    }

    fn send(&self, byte: u8) {
        mailbox::send(byte);
    }

    fn listen(&self) {
        mailbox::forget();
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
