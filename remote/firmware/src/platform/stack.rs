//! How much stack something takes.

#![allow(unsafe_code)]

use core::arch::asm;
use core::ptr;

/// Bytes of stack that [`stack_used`] looks at.
pub const PAINTED: usize = 4096;

/// What no return address or usual number is.
const PAINT: u32 = 0xA5C3_96E1;

/// Bytes of stack that a call takes, found by painting what lies below the caller's; at most [`PAINTED`], which have to
/// be there.
///
/// Interrupts that come meanwhile count too.
#[inline(never)]
pub fn stack_used(call: &mut dyn FnMut()) -> usize {
    let top: usize;
    // SAFETY: copies a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, rsp", out(reg) top, options(nomem, nostack, preserves_flags));
        #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
        asm!("mov {}, sp", out(reg) top, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {}, sp", out(reg) top, options(nomem, nostack, preserves_flags));
    }
    let word = |number: usize| ptr::with_exposed_provenance_mut::<u32>(top - size_of::<u32>() * number);
    for number in 1..=PAINTED / size_of::<u32>() {
        // SAFETY: below the stack pointer nothing is in use, and the caller has so much stack left. (A function that
        // calls another one keeps nothing below, on x86-64 too.)
        unsafe { word(number).write_volatile(PAINT) };
    }
    call();
    let touched = (1..=PAINTED / size_of::<u32>()).rev().find(|&number| {
        // SAFETY: as above.
        let found = unsafe { word(number).read_volatile() };
        found != PAINT
    });
    touched.map_or(0, |number| size_of::<u32>() * number)
}
