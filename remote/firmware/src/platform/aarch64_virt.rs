//! QEMU's `virt` machine with a 64-bit Arm core, at exception level 1 and with its memory management off.
//!
//! The mailbox is the machine's UART, a PL011; its interrupt and the virtual timer's, which is the alarm, go through a
//! GICv2. Interrupts are never taken: a pending one ends the sleep, and that is all that they are for.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::ops::Range;

use super::board::{self, Hardware};
use super::register::Register;

// The addresses are those of QEMU's hw/arm/virt.c.

/// The machine's one UART. Read: a byte that came. Written: one to be sent.
// SAFETY: a register of the machine, used by this platform alone; so below.
const DATA: Register = unsafe { Register::at(0x0900_0000) };
// SAFETY: as above.
const FLAGS: Register = unsafe { Register::at(0x0900_0018) };
// SAFETY: as above.
const LINE_CONTROL: Register = unsafe { Register::at(0x0900_002C) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(0x0900_0030) };
// SAFETY: as above.
const INTERRUPTS: Register = unsafe { Register::at(0x0900_0038) };

const RECEIVER_EMPTY: u32 = 1 << 4;
const TRANSMITTER_FULL: u32 = 1 << 5;
/// Eight bits, no FIFO: each byte that comes is told.
const EIGHT_BITS: u32 = 0b11 << 5;
const ON: u32 = 1 << 0 | 1 << 8 | 1 << 9;
const INTERRUPT_RECEIVED: u32 = 1 << 4;

/// Bytes that are taken from the mailbox at a time. One is enough to know that the doorbell rang.
const TAKEN: usize = 16;

/// The numbers of the UART's and the virtual timer's interrupts.
const MAILBOX: usize = 33;
const ALARM: usize = 27;

// SAFETY: as above.
const DISTRIBUTOR_CONTROL: Register = unsafe { Register::at(0x0800_0000) };
// SAFETY: as above.
const PENDING: Register = unsafe { Register::at(0x0800_0200 + 4 * (MAILBOX / 32)) };
// SAFETY: as above.
const ENABLE_MAILBOX: Register = unsafe { Register::at(0x0800_0100 + 4 * (MAILBOX / 32)) };
// SAFETY: as above.
const ENABLE_ALARM: Register = unsafe { Register::at(0x0800_0100 + 4 * (ALARM / 32)) };
// SAFETY: as above.
const TARGET_MAILBOX: Register<u8> = unsafe { Register::at(0x0800_0800 + MAILBOX) };
// SAFETY: as above.
const CORE_CONTROL: Register = unsafe { Register::at(0x0801_0000) };
// SAFETY: as above.
const CORE_MASK: Register = unsafe { Register::at(0x0801_0004) };

/// QEMU's Arm machine.
#[derive(Debug)]
pub struct Virt(());

impl Hardware for Virt {
    const WINDOW: Range<usize> = 0x4080_0000..0x4100_0000;

    fn start() -> Self {
        CONTROL.write(0);
        LINE_CONTROL.write(EIGHT_BITS);
        INTERRUPTS.write(INTERRUPT_RECEIVED);
        CONTROL.write(ON);
        TARGET_MAILBOX.write(1);
        ENABLE_MAILBOX.write(1 << (MAILBOX % 32));
        ENABLE_ALARM.write(1 << (ALARM % 32));
        DISTRIBUTOR_CONTROL.write(1);
        CORE_MASK.write(0xFF);
        CORE_CONTROL.write(1);
        Self(())
    }

    fn send(&self, byte: u8) {
        if FLAGS.read() & TRANSMITTER_FULL == 0 {
            DATA.write(byte.into());
        }
    }

    fn listen(&self) {
        // What is left in the UART after that is pending still.
        for _ in 0..TAKEN {
            if FLAGS.read() & RECEIVER_EMPTY != 0 {
                break;
            }
            DATA.read();
        }
    }

    fn sleep(&self, until: Option<u64>) -> bool {
        if let Some(until) = until {
            if until <= self.now() {
                return false;
            }
            // SAFETY: the timer is used here alone.
            unsafe { asm!("msr cntv_cval_el0, {}", in(reg) until, options(nomem, nostack, preserves_flags)) };
            // SAFETY: as above.
            unsafe { asm!("msr cntv_ctl_el0, {}", in(reg) 1_u64, options(nomem, nostack, preserves_flags)) };
        }
        // SAFETY: sleeps until an interrupt is pending, which one that is now ends at once.
        unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
        // SAFETY: the timer is used here alone.
        unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nomem, nostack, preserves_flags)) };
        PENDING.read() & 1 << (MAILBOX % 32) != 0
    }

    fn now(&self) -> u64 {
        let ticks;
        // SAFETY: reads a register.
        unsafe {
            asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags))
        };
        ticks
    }

    fn frequency(&self) -> u64 {
        let frequency: u64;
        // SAFETY: reads a register.
        unsafe {
            asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, preserves_flags));
        };
        frequency.max(1)
    }

    fn illegal_instruction() -> ! {
        // SAFETY: an instruction that the architecture promises not to have. It ends in `crash`.
        unsafe { asm!("udf #0", options(noreturn)) }
    }

    fn off() -> ! {
        // Nothing that is pending is told any more.
        CORE_CONTROL.write(0);
        loop {
            // SAFETY: does nothing but sleep.
            unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
        }
    }
}

// The first instruction, and the table of exceptions: all of them end the firmware.
global_asm!(
    r#"
    .section .text._start, "ax"
    .global _start
_start:
    ldr x0, =__stack_top
    mov sp, x0
    ldr x0, =sidecore_vectors
    msr vbar_el1, x0
    // Vector registers are used by any code.
    mov x0, #(3 << 20)
    msr cpacr_el1, x0
    isb
    ldr x0, =__bss_start
    ldr x1, =__bss_end
0:  cmp x0, x1
    b.hs 1f
    stp xzr, xzr, [x0], #16
    b 0b
1:  ldr x0, =__data_start
    ldr x1, =__data_end
    ldr x2, =__data_load
2:  cmp x0, x1
    b.hs 3f
    ldp x3, x4, [x2], #16
    stp x3, x4, [x0], #16
    b 2b
3:  bl sidecore_main
4:  wfi
    b 4b

    .balign 2048
sidecore_vectors:
    .rept 16
    .balign 128
    b sidecore_exception
    .endr

sidecore_exception:
    mov x0, sp
    mov x1, x30
    // A stack that is known to be good.
    ldr x2, =__stack_top
    mov sp, x2
    // Debuggers find no caller on it, and look for none.
    mov x30, xzr
    b sidecore_on_exception
"#
);

/// Every exception comes here.
#[unsafe(no_mangle)]
extern "C" fn sidecore_on_exception(stack: u64, link: u64) -> ! {
    let (place, cause, address): (u64, u64, u64);
    // SAFETY: reads registers.
    unsafe { asm!("mrs {}, elr_el1", out(reg) place, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mrs {}, esr_el1", out(reg) cause, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mrs {}, far_el1", out(reg) address, options(nomem, nostack, preserves_flags)) };
    board::crash::<Virt>([place, stack, link, cause, address])
}

/// The symbols of firmware on the machine.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($run:expr) => {
        /// Called by the start-up code, once memory is set up.
        #[unsafe(no_mangle)]
        extern "C" fn sidecore_main() -> ! {
            // SAFETY: the start-up code calls it once, as the image's only thread of execution.
            unsafe { $crate::platform::board::enter($run) }
        }
    };
}
