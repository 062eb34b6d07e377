//! From what the debug seat sees to what the main side is told.

use sidecore_mem::DeviceAddr;
use sidecore_os::{Child, Origin};
use sidecore_remoteproc::{Crash, CrashKind, Registers};
use sidecore_wire::sandbox as page;

use super::Estate;

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
pub(super) const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;

/// What happened to a remote that is stopped at a signal of its own making.
pub(super) fn at_signal(child: &Child, estate: &Estate, signal: i32, origin: Origin) -> Crash {
    let (pc, registers) = registers(child);
    let allegation = allegation(estate);
    let kind = match origin {
        Origin::Fault { call: Some(number), .. } => CrashKind::ForbiddenCall { number },
        Origin::Fault { address: Some(address), .. } if matches!(signal, SIGSEGV | SIGBUS) => {
            CrashKind::Fault { address: DeviceAddr(address) }
        }
        // x86 reports instructions for the kernel alone and addresses that cannot be with the same exception.
        Origin::Fault { .. } if signal == SIGSEGV && is_privileged(estate, pc) => {
            CrashKind::IllegalInstruction
        }
        Origin::Fault { .. } if matches!(signal, SIGILL | SIGTRAP) && allegation.is_some() => {
            CrashKind::Abort
        }
        Origin::Fault { .. } if signal == SIGILL => CrashKind::IllegalInstruction,
        _ => CrashKind::Other,
    };
    crash(kind, signal, pc, registers, allegation)
}

/// A remote that is stopped because its watchdog ran out.
pub(super) fn hang(child: &Child, estate: &Estate) -> Crash {
    let (pc, registers) = registers(child);
    crash(CrashKind::Hang, SIGKILL, pc, registers, allegation(estate))
}

/// A remote that was killed by a signal before anybody looked. `sent` is the last signal that came from outside.
pub(super) fn killed(estate: &Estate, traced: bool, signal: i32, sent: Option<i32>) -> Crash {
    let allegation = allegation(estate);
    let own = matches!(signal, SIGILL | SIGTRAP | SIGBUS | SIGFPE | SIGSEGV | SIGSYS) && sent != Some(signal);
    let kind = match signal {
        SIGILL | SIGTRAP if own && allegation.is_some() => CrashKind::Abort,
        SIGILL if own => CrashKind::IllegalInstruction,
        // With the seat these come as stops first, but for calls of another instruction set, which kill at once.
        _ if own && (!traced || signal == SIGSYS) => CrashKind::Other,
        _ => CrashKind::Killed,
    };
    crash(kind, signal, None, None, allegation)
}

fn crash(
    kind: CrashKind,
    signal: i32,
    pc: Option<u64>,
    registers: Option<Registers>,
    allegation: Option<String>,
) -> Crash {
    // What the signal would be on a processor, or in a program, that tells these apart by signals.
    let signal = match kind {
        CrashKind::Abort => SIGABRT,
        CrashKind::IllegalInstruction => SIGILL,
        _ => signal,
    };
    let signal = u8::try_from(signal).unwrap_or(0);
    Crash { kind, signal, pc: pc.map(DeviceAddr), registers, allegation }
}

/// The firmware's panic record, made harmless: what is not printable is escaped, and there is little of it.
fn allegation(estate: &Estate) -> Option<String> {
    let len = estate.page.load::<u32>(page::PANIC_LEN).ok()? as usize;
    let mut text = [0; page::PANIC_TEXT_END - page::PANIC_TEXT];
    let text = text.get_mut(..len).filter(|text| !text.is_empty())?;
    estate.page.read(page::PANIC_TEXT, text).ok()?;
    Some(sanitise(text))
}

fn sanitise(text: &[u8]) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).trim_end().chars() {
        match c {
            '"' | '\'' | '\\' => clean.push(c),
            c => clean.extend(c.escape_debug()),
        }
    }
    clean
}

/// Where a stopped remote stands, as far as that can be seen.
pub(super) fn registers(child: &Child) -> (Option<u64>, Option<Registers>) {
    let Ok(bytes) = child.registers() else { return (None, None) };
    let pc = PC.and_then(|at| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)));
    (pc, Some(Registers { machine: MACHINE, bytes }))
}

/// ELF `e_machine`, and where the program counter lies in `pr_reg`: x86 `struct user_regs_struct`, arm64
/// `struct user_pt_regs`, riscv `struct user_regs_struct` (each in asm/ptrace.h).
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};
const PC: Option<usize> = if cfg!(target_arch = "x86_64") {
    Some(16 * 8)
} else if cfg!(target_arch = "aarch64") {
    Some(32 * 8)
} else if cfg!(target_arch = "riscv64") {
    Some(0)
} else {
    None
};

/// Whether the instruction there is one that only a kernel may execute, by its first bytes (Intel SDM volume 2,
/// "#GP(0) if the current privilege level is not 0"); elsewhere than on x86 those have a signal of their own.
fn is_privileged(estate: &Estate, pc: Option<u64>) -> bool {
    let Some(pc) = pc.filter(|_| cfg!(target_arch = "x86_64")) else { return false };
    let mut code = [0; 2];
    let inside = |at: u64, len: u64| pc.checked_sub(at).filter(|offset| *offset < len);
    let found = estate.plan.spans().find_map(|span| Some((span, inside(span.at, span.len)?)));
    let Some((span, offset)) = found else { return false };
    let read = estate.memory.peek(span.offset + offset, &mut code);
    // hlt, cli, sti, in, out, ins, outs; mov to and from control and debug registers, invd, wbinvd, clts, wrmsr, rdmsr,
    // and the group of lgdt, lidt, lmsw and invlpg.
    read.is_ok_and(|len| len == code.len())
        && matches!(code, [0xf4 | 0xfa | 0xfb | 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f, _]
            | [0x0f, 0x01 | 0x06 | 0x08 | 0x09 | 0x20..=0x23 | 0x30 | 0x32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_record_cannot_speak_to_a_terminal() {
        assert_eq!(sanitise(b"src/main.rs:7: it's \"odd\"\n"), "src/main.rs:7: it's \"odd\"");
        assert_eq!(sanitise(b"\x1b[2J\x07two\nlines\xff"), "\\u{1b}[2J\\u{7}two\\nlines\u{fffd}");
        assert_eq!(sanitise("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(sanitise("grüße".as_bytes()), "grüße");
    }
}
