//! What only assembly can say, on x86-64.

use core::arch::{asm, x86_64::_rdtsc};

pub(super) const READ: usize = 0;
pub(super) const WRITE: usize = 1;
pub(super) const GET_PROCESS_ID: usize = 39;
pub(super) const EXIT_GROUP: usize = 231;
pub(super) const PPOLL: usize = 271;

/// Asks the kernel; returns its answer, a negative number for an error.
///
/// # Safety
/// What the call does to memory is sound.
pub(super) unsafe fn system_call(number: usize, arguments: [usize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let answer;
    // SAFETY: the caller answers for the call; the kernel changes only the registers named here.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// The time-stamp counter.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and Linux lets programs read it.
    unsafe { _rdtsc() }
}

/// The counter's frequency as the processor itself states it: not reliably, on this architecture.
pub(super) fn stated_frequency() -> u64 {
    0
}

/// Reads a byte and forgets it.
pub(super) fn read_anywhere(address: usize) {
    // SAFETY: for Rust the instruction does nothing: nothing is written, and what is read goes nowhere. Where there is
    // no memory the remote ends, which is what it asked for.
    unsafe { asm!("test byte ptr [{}], 0", in(reg) address, options(nostack, readonly)) };
}

/// Stops with an illegal instruction.
pub(super) fn trap() -> ! {
    // SAFETY: the instruction does nothing but raise the exception.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

/// Copies `blocks` times 64 bytes, lowest address first; each block is read before it is written.
///
/// # Safety
/// `blocks` is not 0, the bytes at `from` are readable and those at `to` writable.
pub(super) unsafe fn copy_up(to: *mut u8, from: *const u8, blocks: usize) {
    // SAFETY: the loop touches exactly the bytes of which the caller speaks.
    unsafe {
        asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// Copies `blocks` times 64 bytes that end at `to` and `from`, highest address first; each block is read before it
/// is written.
///
/// # Safety
/// `blocks` is not 0, the bytes before `from` are readable and those before `to` writable.
pub(super) unsafe fn copy_down(to: *mut u8, from: *const u8, blocks: usize) {
    // SAFETY: the loop touches exactly the bytes of which the caller speaks.
    unsafe {
        asm!(
            "2:",
            "sub {from}, 64",
            "sub {to}, 64",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "dec {blocks}",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// Writes `pattern` to `blocks` times 64 bytes.
///
/// # Safety
/// `blocks` is not 0 and the bytes at `to` are writable.
pub(super) unsafe fn fill(to: *mut u8, pattern: u64, blocks: usize) {
    // SAFETY: the loop touches exactly the bytes of which the caller speaks.
    unsafe {
        asm!(
            "2:",
            "mov [{to}], {pattern}",
            "mov [{to} + 8], {pattern}",
            "mov [{to} + 16], {pattern}",
            "mov [{to} + 24], {pattern}",
            "mov [{to} + 32], {pattern}",
            "mov [{to} + 40], {pattern}",
            "mov [{to} + 48], {pattern}",
            "mov [{to} + 56], {pattern}",
            "add {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            to = inout(reg) to => _,
            pattern = in(reg) pattern,
            blocks = inout(reg) blocks => _,
            options(nostack),
        );
    }
}
