//! What only assembly can say, on AArch64.

use core::arch::asm;

pub(super) const READ: usize = 63;
pub(super) const WRITE: usize = 64;
pub(super) const PPOLL: usize = 73;
pub(super) const EXIT_GROUP: usize = 94;
pub(super) const GET_PROCESS_ID: usize = 172;

/// Asks the kernel; returns its answer, a negative number for an error.
///
/// # Safety
/// What the call does to memory is sound.
pub(super) unsafe fn system_call(number: usize, arguments: [usize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let answer;
    // SAFETY: the caller answers for the call; the kernel changes only the register that holds the answer.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first => answer,
            in("x1") second,
            in("x2") third,
            in("x3") fourth,
            in("x4") fifth,
            options(nostack),
        );
    }
    answer
}

/// The virtual counter.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    let ticks;
    // SAFETY: Linux lets programs read the counter; reading it changes nothing.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

/// The counter's frequency in Hz, as the processor itself states it.
pub(super) fn stated_frequency() -> u64 {
    let frequency;
    // SAFETY: Linux lets programs read the register; reading it changes nothing.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, preserves_flags)) };
    frequency
}

/// Reads a byte and forgets it.
pub(super) fn read_anywhere(address: usize) {
    // SAFETY: for Rust the instruction does nothing: nothing is written, and what is read goes nowhere. Where there is
    // no memory the remote ends, which is what it asked for.
    unsafe { asm!("ldrb wzr, [{}]", in(reg) address, options(nostack, readonly, preserves_flags)) };
}

/// Stops with a breakpoint that no debugger set.
pub(super) fn trap() -> ! {
    // SAFETY: the instruction does nothing but raise the exception.
    unsafe { asm!("brk #1", options(noreturn, nomem, nostack)) }
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
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}, #32]",
            "add {from}, {from}, #64",
            "stp {a:q}, {b:q}, [{to}]",
            "stp {c:q}, {d:q}, [{to}, #32]",
            "add {to}, {to}, #64",
            "subs {blocks}, {blocks}, #1",
            "b.ne 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            a = out(vreg) _,
            b = out(vreg) _,
            c = out(vreg) _,
            d = out(vreg) _,
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
            "sub {from}, {from}, #64",
            "sub {to}, {to}, #64",
            "ldp {a:q}, {b:q}, [{from}]",
            "ldp {c:q}, {d:q}, [{from}, #32]",
            "stp {a:q}, {b:q}, [{to}]",
            "stp {c:q}, {d:q}, [{to}, #32]",
            "subs {blocks}, {blocks}, #1",
            "b.ne 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            a = out(vreg) _,
            b = out(vreg) _,
            c = out(vreg) _,
            d = out(vreg) _,
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
            "stp {pattern}, {pattern}, [{to}]",
            "stp {pattern}, {pattern}, [{to}, #16]",
            "stp {pattern}, {pattern}, [{to}, #32]",
            "stp {pattern}, {pattern}, [{to}, #48]",
            "add {to}, {to}, #64",
            "subs {blocks}, {blocks}, #1",
            "b.ne 2b",
            to = inout(reg) to => _,
            pattern = in(reg) pattern,
            blocks = inout(reg) blocks => _,
            options(nostack),
        );
    }
}
