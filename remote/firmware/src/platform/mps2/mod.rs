//! Arm's MPS2 boards with a Cortex-M, as real ones and as QEMU has them.
//!
//! The mailbox is a UART of the CMSDK kind: its receive interrupt is the doorbell. The clock is the counter of the
//! FPGA's I/O block, the alarm the processor's SysTick; both count the same cycles. The other core, or another board on
//! the same memory, has a doorbell of its own.

#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::{NVIC, SCB, syst::SystClkSource};
use cortex_m_rt::{ExceptionFrame, exception};

use super::board::{self, Hardware};
use super::register::Register;

#[cfg(sidecore_platform = "mps2-an386")]
#[path = "an386.rs"]
mod numbers;
#[cfg(sidecore_platform = "mps2-an521")]
#[path = "an521.rs"]
mod numbers;

use numbers::{BELL_INTERRUPT, Bell, COUNTER, FREQUENCY, INTERRUPT, SIBLING, UART, WINDOW};

/// The registers of a CMSDK UART from its base on.
struct Uart {
    data: Register,
    state: Register,
    control: Register,
    /// Read: which interrupts there are. Written: which are cleared.
    interrupts: Register,
    divider: Register,
}

impl Uart {
    /// # Safety
    /// There is such a UART at this address, used by this platform alone.
    const unsafe fn at(base: usize) -> Self {
        // SAFETY: the caller's promise, here and below.
        let data = unsafe { Register::at(base) };
        // SAFETY: as above.
        let state = unsafe { Register::at(base + 0x4) };
        // SAFETY: as above.
        let control = unsafe { Register::at(base + 0x8) };
        // SAFETY: as above.
        let interrupts = unsafe { Register::at(base + 0xC) };
        // SAFETY: as above.
        let divider = unsafe { Register::at(base + 0x10) };
        Self { data, state, control, interrupts, divider }
    }

    fn start(&self) {
        self.divider.write(DIVIDER);
        self.control.write(TRANSMIT | RECEIVE | INTERRUPT_RECEIVE);
    }

    fn send(&self, byte: u8) {
        if self.state.read() & TRANSMITTER_FULL == 0 {
            self.data.write(byte.into());
        }
    }

    /// Takes what came and has the next byte interrupt. Whether there is more, for which no interrupt may come.
    fn listen(&self) -> bool {
        // First the interrupt, then the bytes: one that comes between is heard again, none is missed.
        self.control.write(TRANSMIT | RECEIVE | INTERRUPT_RECEIVE);
        self.interrupts.write(RECEIVED);
        for _ in 0..TAKEN {
            if self.state.read() & RECEIVER_FULL == 0 {
                return false;
            }
            self.data.read();
        }
        true
    }

    /// Lets no byte interrupt any more.
    fn hush(&self) {
        self.control.write(TRANSMIT | RECEIVE);
        self.interrupts.write(RECEIVED);
    }
}

const TRANSMITTER_FULL: u32 = 1 << 0;
const RECEIVER_FULL: u32 = 1 << 1;

const TRANSMIT: u32 = 1 << 0;
const RECEIVE: u32 = 1 << 1;
const INTERRUPT_RECEIVE: u32 = 1 << 3;

const RECEIVED: u32 = 1 << 1;

/// The smallest divider: the fastest mailbox.
const DIVIDER: u32 = 16;

/// Bytes that are taken from the mailbox at a time. One is enough to know that the doorbell rang.
const TAKEN: usize = 16;

/// The doorbell rang since it was forgotten.
static RANG: AtomicBool = AtomicBool::new(false);

/// An MPS2 board.
#[derive(Debug)]
pub struct Mps2 {
    /// The clock's upper half, and its lower one when it was read last.
    wraps: Cell<u32>,
    last: Cell<u32>,
}

impl Hardware for Mps2 {
    const WINDOW: core::ops::Range<usize> = WINDOW;

    const SIBLING: Option<[core::ops::Range<usize>; 2]> = Some(SIBLING);

    fn start() -> Self {
        UART.start();
        Bell::start();
        // SAFETY: the handlers need nothing but statics.
        unsafe { NVIC::unmask(Interrupt(INTERRUPT as u16)) };
        // SAFETY: as above.
        unsafe { NVIC::unmask(Interrupt(BELL_INTERRUPT as u16)) };
        Self { wraps: Cell::new(0), last: Cell::new(0) }
    }

    fn send(&self, byte: u8) {
        UART.send(byte);
        if cfg!(sidecore_second_core) {
            // The first core may be what has the part of the main side.
            Bell::ring();
        }
    }

    fn release_sibling(&self) {
        Bell::release();
    }

    fn ring_sibling(&self) {
        Bell::ring();
    }

    fn listen(&self) {
        RANG.store(false, Ordering::Relaxed);
        if UART.listen() | Bell::listen() {
            RANG.store(true, Ordering::Relaxed);
        }
    }

    fn sleep(&self, until: Option<u64>) -> bool {
        // A pending interrupt ends the sleep though it is masked; so none gets lost between the look and the sleep.
        cortex_m::interrupt::free(|_| {
            let now = self.now();
            let left = until.map_or(u64::MAX, |until| until.saturating_sub(now));
            if !RANG.load(Ordering::Relaxed) && left > 0 {
                // At the latest when the counter of 24 bits is at its end, which also keeps the clock going.
                set_alarm(left.min(u64::from(u32::MAX >> 8)) as u32);
                cortex_m::asm::dsb();
                cortex_m::asm::wfi();
                clear_alarm();
            }
        });
        RANG.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        let count = COUNTER.read();
        if count < self.last.replace(count) {
            self.wraps.set(self.wraps.get().wrapping_add(1));
        }
        u64::from(self.wraps.get()) << 32 | u64::from(count)
    }

    fn frequency(&self) -> u64 {
        FREQUENCY
    }

    fn illegal_instruction() -> ! {
        cortex_m::asm::udf()
    }

    fn off() -> ! {
        cortex_m::interrupt::disable();
        loop {
            cortex_m::asm::wfi();
        }
    }
}

/// An interrupt of this platform's, by its number.
#[derive(Clone, Copy)]
struct Interrupt(u16);

// SAFETY: only made of the board's constants; a value's number is always the same.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// Says that the doorbell rang, and listens no more: a main side that never stops ringing must not keep the firmware
/// from its work.
extern "C" fn on_mailbox() {
    UART.hush();
    RANG.store(true, Ordering::Relaxed);
}

/// The same for the other core's doorbell.
extern "C" fn on_bell() {
    Bell::hush();
    RANG.store(true, Ordering::Relaxed);
}

/// An entry of the vector table.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Vector {
    handler: extern "C" fn(),
    none: usize,
}

const VECTORS: usize = if INTERRUPT > BELL_INTERRUPT { INTERRUPT } else { BELL_INTERRUPT } + 1;

/// The interrupts' part of the vector table, where cortex-m-rt looks for it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".vector_table.interrupts")]
pub static __INTERRUPTS: [Vector; VECTORS] = {
    let mut vectors = [Vector { none: 0 }; VECTORS];
    vectors[INTERRUPT] = Vector { handler: on_mailbox };
    vectors[BELL_INTERRUPT] = Vector { handler: on_bell };
    vectors
};

/// Has SysTick interrupt after so many cycles, which fit its 24 bits and are not 0.
fn set_alarm(cycles: u32) {
    // SAFETY: SysTick is used here alone, by one thread of execution.
    let mut timer = unsafe { cortex_m::Peripherals::steal() }.SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(cycles);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// Stops SysTick and takes back the interrupt that it has asked for, which nobody handles.
fn clear_alarm() {
    // SAFETY: as in `set_alarm`.
    let mut timer = unsafe { cortex_m::Peripherals::steal() }.SYST;
    timer.disable_counter();
    timer.disable_interrupt();
    SCB::clear_pendst();
}

/// Every fault comes here, the finer ones being off.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: registers that can be read at any time.
    let scb = unsafe { &*SCB::PTR };
    let (cause, address) = (scb.cfsr.read(), scb.bfar.read());
    let stack = core::ptr::from_ref(frame).addr() as u64;
    board::crash::<Mps2>([
        frame.pc().into(),
        stack,
        frame.lr().into(),
        cause.into(),
        if cause & ADDRESS_VALID != 0 { address.into() } else { 0 },
    ])
}

/// Bits of the cause that say that the address register holds that of a bus fault, or of one of memory management.
const ADDRESS_VALID: u32 = 1 << 15 | 1 << 7;

/// The symbols of an image on the board.
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($run:expr) => {
        /// Called by the start-up code, once memory is set up.
        #[unsafe(export_name = "main")]
        extern "C" fn __sidecore_main() -> ! {
            // SAFETY: the start-up code calls it once, as the image's only thread of execution.
            unsafe { $crate::platform::board::enter($run) }
        }
    };
}
