//! A Cortex-R5F of the Zynq UltraScale+ on Xilinx' board ZCU102, as QEMU has it.
//!
//! The mailbox is the second UART, of Cadence's kind. QEMU before version 10 has no interrupt controller for this core,
//! and nothing else that would wake it up: it looks at the mailbox where others sleep. The clock is the core's own
//! counter of cycles.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::cell::Cell;
use core::ops::Range;

use aarch32_cpu::pmsav7::{AccessPerms, Config, MemAttr, Mpu, Region, RegionSize};
use aarch32_rt::exception;
use sidecore_wire::sandbox as page;

use super::board::{self, Hardware};
use super::register::Register;

const SECOND: bool = cfg!(sidecore_second_core);

// The addresses and bits are those of the Zynq UltraScale+ register reference, module UART.

/// UART 1 or, for the second core, 0.
const UART: usize = if SECOND { 0xFF00_0000 } else { 0xFF01_0000 };

// SAFETY: a register of the chip, used by this platform alone; so below.
const CONTROL: Register = unsafe { Register::at(UART) };
// SAFETY: as above.
const MODE: Register = unsafe { Register::at(UART + 0x04) };
// SAFETY: as above.
const STATUS: Register = unsafe { Register::at(UART + 0x2C) };
/// Read: a byte that came. Written: one to be sent.
// SAFETY: as above.
const FIFO: Register = unsafe { Register::at(UART + 0x30) };

/// Receiver and transmitter emptied and on.
const ON: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4;
/// Eight bits, no parity.
const EIGHT_BITS: u32 = 0x20;
const RECEIVER_EMPTY: u32 = 1 << 1;
const TRANSMITTER_FULL: u32 = 1 << 4;

/// In the system control: exceptions come to 0xFFFF_0000, as they do out of reset on this chip.
const HIGH_VECTORS: u32 = 1 << 13;

/// Bytes that are taken from the mailbox at a time. One is enough to know that the doorbell rang.
const TAKEN: usize = 16;

/// The counter counts every 64th cycle of QEMU's, which are a nanosecond long.
const FREQUENCY: u64 = 1_000_000_000 / 64;
/// In the performance monitors' control: on, from 0, each 64th cycle.
const COUNT: u32 = 1 << 0 | 1 << 2 | 1 << 3;
const CYCLES: u32 = 1 << 31;

/// The board's real-time core.
#[derive(Debug)]
pub struct RealTime {
    /// The clock's upper half, and its lower one when it was read last.
    wraps: Cell<u32>,
    last: Cell<u32>,
    /// The count of the other core's rings when it was looked at last.
    heard: Cell<u32>,
}

/// The memory between the two cores, but for [`BELLS`].
const BETWEEN: Range<usize> = 0x00C0_2000..0x0100_0000;
/// How often each core was rung by the other, which alone writes there: a page of plain memory that both look at.
// SAFETY: words behind the second core's page that nothing else uses.
const BELLS: [Register; 2] = [unsafe { Register::at(0x00C0_1000) }, unsafe { Register::at(0x00C0_1040) }];

impl Hardware for RealTime {
    const WINDOW: Range<usize> = if SECOND { 0x00C0_0000..0x0100_0000 } else { 0x0080_0000..0x0100_0000 };
    const SIBLING: Option<[Range<usize>; 2]> =
        Some([if SECOND { 0x0040_0000..0x0040_1000 } else { 0x0060_0000..0x0060_1000 }, BETWEEN]);

    fn start() -> Self {
        let mut control: u32;
        // SAFETY: reads a register.
        unsafe {
            asm!("mrc p15, 0, {}, c1, c0, 0", out(reg) control, options(nomem, nostack, preserves_flags))
        };
        if !SECOND {
            control &= !HIGH_VECTORS;
        }
        // SAFETY: exceptions come to where the link script has put our vectors: at 0, or where they are out of reset.
        unsafe { asm!("mcr p15, 0, {}, c1, c0, 0", in(reg) control, options(nostack, preserves_flags)) };
        protect();
        MODE.write(EIGHT_BITS);
        CONTROL.write(ON);
        // SAFETY: the counters are used here alone.
        unsafe {
            asm!("mcr p15, 0, {}, c9, c12, 0", in(reg) COUNT, options(nomem, nostack, preserves_flags))
        };
        // SAFETY: as above.
        unsafe {
            asm!("mcr p15, 0, {}, c9, c12, 1", in(reg) CYCLES, options(nomem, nostack, preserves_flags))
        };
        Self { wraps: Cell::new(0), last: Cell::new(0), heard: Cell::new(0) }
    }

    fn send(&self, byte: u8) {
        if STATUS.read() & TRANSMITTER_FULL == 0 {
            FIFO.write(byte.into());
        }
        if SECOND {
            // The first core may be what has the part of the main side.
            self.ring_sibling();
        }
    }

    fn ring_sibling(&self) {
        let bell = BELLS[1 - SECOND as usize];
        bell.write(bell.read().wrapping_add(1));
    }

    fn listen(&self) {
        self.heard.set(BELLS[SECOND as usize].read());
        for _ in 0..TAKEN {
            if STATUS.read() & RECEIVER_EMPTY != 0 {
                break;
            }
            FIFO.read();
        }
    }

    fn sleep(&self, until: Option<u64>) -> bool {
        loop {
            if STATUS.read() & RECEIVER_EMPTY == 0 || BELLS[SECOND as usize].read() != self.heard.get() {
                return true;
            }
            if until.is_some_and(|until| until <= self.now()) {
                return false;
            }
            core::hint::spin_loop();
        }
    }

    fn now(&self) -> u64 {
        let count: u32;
        // SAFETY: reads a register.
        unsafe {
            asm!("mrc p15, 0, {}, c9, c13, 0", out(reg) count, options(nomem, nostack, preserves_flags))
        };
        if count < self.last.replace(count) {
            self.wraps.set(self.wraps.get().wrapping_add(1));
        }
        u64::from(self.wraps.get()) << 32 | u64::from(count)
    }

    fn frequency(&self) -> u64 {
        FREQUENCY
    }

    fn illegal_instruction() -> ! {
        // SAFETY: an instruction that the architecture promises not to have. It ends in `crash`.
        unsafe { asm!("udf #0", options(noreturn)) }
    }

    fn off() -> ! {
        loop {
            // SAFETY: sleeps with interrupts off.
            unsafe { asm!("cpsid if", "wfi", options(nomem, nostack, preserves_flags)) };
        }
    }
}

/// What the core may access, of the 4 GiB that it can name: the chip answers reads of most of the rest with zeros.
/// Of regions that overlap the last one counts.
const REGIONS: [Region; 7] = [
    // The images' code and constants.
    Region {
        access_perms: AccessPerms::ReadOnly,
        no_exec: false,
        ..region(0x0000_0000, RegionSize::_4M, MemAttr::WriteBackWriteAlloc { shareable: false })
    },
    // The second core's exception vectors.
    Region {
        access_perms: AccessPerms::ReadOnly,
        no_exec: false,
        enabled: SECOND,
        ..region(0xFFFF_0000, RegionSize::_64K, MemAttr::WriteBackWriteAlloc { shareable: false })
    },
    // Data and stacks.
    region(0x0040_0000, RegionSize::_4M, MemAttr::WriteBackWriteAlloc { shareable: false }),
    // The resource tables of both cores, into which their hosts write.
    region(0x0040_0000, RegionSize::_4K, MemAttr::NonCacheable { shareable: true }),
    region(0x0060_0000, RegionSize::_4K, MemAttr::NonCacheable { shareable: true }),
    // The window. Nothing keeps this core's cache and the main side's the same.
    region(0x0080_0000, RegionSize::_8M, MemAttr::NonCacheable { shareable: true }),
    // Both UARTs.
    region(0xFF00_0000, RegionSize::_128K, MemAttr::Device { shareable: true }),
];

const fn region(base: usize, size: RegionSize, mem_attr: MemAttr) -> Region {
    Region {
        base: core::ptr::without_provenance_mut(base),
        size,
        subregion_mask: 0,
        enabled: true,
        no_exec: true,
        mem_attr,
        access_perms: AccessPerms::ReadWrite,
    }
}

/// Everything outside of [`REGIONS`] is a fault from now on.
fn protect() {
    // SAFETY: the only one; it is used once.
    let mut mpu = unsafe { Mpu::new() };
    let config = Config { background_config: false, iregions: &[], dregions: &REGIONS };
    if mpu.configure(&config).is_ok() {
        mpu.enable();
    }
}

// The first instruction, in the place of aarch32-rt's, which takes cores with a number other than 0 for secondary ones.
// In QEMU this one has number 4, behind the Cortex-A53s. Each core of this chip has firmware of its own.
global_asm!(
    r#"
    .section .text._start, "ax"
    .arm
    .global _start
    .type _start, %function
_start:
    bl _asm_init_segments
    mov r0, #0
    b _asm_core_start
"#
);

#[exception(Undefined)]
fn on_undefined(addr: usize) -> ! {
    // No status register tells of it.
    board::crash::<RealTime>([addr as u64, 0, 0, page::VECTOR_UNDEFINED << 32, 0])
}

#[exception(PrefetchAbort)]
fn on_prefetch_abort(addr: usize) -> ! {
    let (status, address): (u32, u32);
    // SAFETY: reads a register.
    unsafe { asm!("mrc p15, 0, {}, c5, c0, 1", out(reg) status, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mrc p15, 0, {}, c6, c0, 2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    board::crash::<RealTime>([
        addr as u64,
        0,
        0,
        page::VECTOR_PREFETCH_ABORT << 32 | u64::from(status),
        address.into(),
    ])
}

#[exception(DataAbort)]
fn on_data_abort(addr: usize) -> ! {
    let (status, address): (u32, u32);
    // SAFETY: reads a register.
    unsafe { asm!("mrc p15, 0, {}, c5, c0, 0", out(reg) status, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mrc p15, 0, {}, c6, c0, 0", out(reg) address, options(nomem, nostack, preserves_flags)) };
    board::crash::<RealTime>([
        addr as u64,
        0,
        0,
        page::VECTOR_DATA_ABORT << 32 | u64::from(status),
        address.into(),
    ])
}

/// The symbols of firmware on the board.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($run:expr) => {
        /// Called by the start-up code, once memory is set up.
        #[unsafe(no_mangle)]
        extern "C" fn kmain() -> ! {
            // SAFETY: the start-up code calls it once, as the image's only thread of execution.
            unsafe { $crate::platform::board::enter($run) }
        }
    };
}
