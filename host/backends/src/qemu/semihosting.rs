//! Semihosting: instructions by which firmware asks whoever debugs it for a console, files, the time and its own end, and
//! which QEMU can answer.
//!
//! Sources: Arm's "Semihosting for AArch32 and AArch64" 3.0, section 3 (the instructions); "RISC-V Semihosting" 1.0,
//! section 2.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Crash, CrashKind};

use super::board::Core;

const SIGTRAP: u8 = 5;

/// The value of `-semihosting-config`: QEMU answers, as to a program with this command line, whose console is that
/// character device.
pub(super) fn configuration(command_line: &[OsString], console: &str) -> OsString {
    let mut configuration = format!("enable=on,target=native,chardev={console}").into_bytes();
    for word in command_line {
        configuration.extend(b",arg=");
        // A comma of its own is written twice.
        for byte in word.as_bytes() {
            configuration.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
        }
    }
    OsString::from_vec(configuration)
}

/// Says of a crash that it was such a call, if there is one where the core stood still. `half` reads memory.
pub(super) fn recognize(core: Core, crash: &mut Crash, half: impl Fn(u64) -> Option<u16>) {
    let interrupted = if core == Core::CortexM { interrupted(crash, &half) } else { None };
    let places = crash.pc.map(|pc| pc.0).into_iter().chain(interrupted);
    let Some(pc) = places.into_iter().find(|pc| is_call(core, *pc, &half)) else { return };
    (crash.kind, crash.signal, crash.pc) = (CrashKind::SemihostingCall, SIGTRAP, Some(DeviceAddr(pc)));
}

/// Whether there is such a call at this address.
fn is_call(core: Core, pc: u64, half: impl Fn(u64) -> Option<u16>) -> bool {
    let word = |at: u64| Some(u32::from(half(at)?) | u32::from(half(at.checked_add(2)?)?) << 16);
    match core {
        // bkpt 0xab
        Core::CortexM => half(pc) == Some(0xbeab),
        // svc 0xab and hlt 0x3c of Thumb, svc 0x123456 and hlt 0xf000 of Arm.
        Core::CortexR => {
            matches!(half(pc), Some(0xdfab | 0xbabc)) || matches!(word(pc), Some(0xef12_3456 | 0xe10f_0070))
        }
        // hlt 0xf000
        Core::Aarch64 => word(pc) == Some(0xd45e_0000),
        // slli x0, x0, 0x1f; ebreak; srai x0, x0, 7
        Core::Riscv32 => {
            let around = (pc.checked_sub(4).and_then(word), word(pc), pc.checked_add(4).and_then(word));
            around == (Some(0x01f0_1013), Some(0x0010_0073), Some(0x4070_5013))
        }
    }
}

/// Where a core was when it took the hard fault that it is still in: the seventh word of the frame on its stack (Armv7-M
/// ARM, B1.5.6), if nothing was put on top of that.
fn interrupted(crash: &Crash, half: impl Fn(u64) -> Option<u16>) -> Option<u64> {
    let bytes = &crash.registers.as_ref()?.bytes;
    let register = |index: usize| Some(u32::from_le_bytes(*bytes.get(4 * index..)?.first_chunk()?));
    let (stack, link, status) = (register(13)?, register(14)?, register(16)?);
    if status & 0x1ff != 3 || link >> 8 != 0xff_ffff {
        return None;
    }
    let at = u64::from(stack) + 24;
    Some(u64::from(half(at)?) | u64::from(half(at + 2)?) << 16)
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::Registers;

    use super::*;

    const AT: u64 = 0x2100_0100;

    fn crash(pc: Option<u64>, registers: Option<Registers>) -> Crash {
        Crash { kind: CrashKind::Abort, signal: 6, pc: pc.map(DeviceAddr), registers, allegation: None }
    }

    /// What is said of a core that stands at `pc` where memory begins with these words.
    fn said(core: Core, pc: u64, words: &[u32]) -> CrashKind {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let half = |at: u64| {
            let offset = usize::try_from(at.checked_sub(AT)?).ok()?;
            Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
        };
        let mut crash = crash(Some(pc), None);
        recognize(core, &mut crash, half);
        crash.kind
    }

    #[test]
    fn a_call_is_known_by_its_instruction_on_every_core() {
        let call = CrashKind::SemihostingCall;
        assert_eq!(said(Core::CortexM, AT + 2, &[0xbeab_bf00]), call);
        assert_eq!(said(Core::CortexM, AT, &[0xbeab_bf00]), CrashKind::Abort);
        assert_eq!(said(Core::CortexR, AT, &[0xef12_3456]), call);
        assert_eq!(said(Core::CortexR, AT + 2, &[0xdfab_0000]), call);
        assert_eq!(said(Core::Aarch64, AT, &[0xd45e_0000]), call);
        let three = [0x01f0_1013, 0x0010_0073, 0x4070_5013];
        assert_eq!(said(Core::Riscv32, AT + 4, &three), call);
        // A breakpoint like any other, and memory that there is not.
        assert_eq!(said(Core::Riscv32, AT, &[three[1], three[2]]), CrashKind::Abort);
        assert_eq!(said(Core::Riscv32, AT + 4, &three[..2]), CrashKind::Abort);
        for core in [Core::CortexM, Core::CortexR, Core::Aarch64, Core::Riscv32] {
            for pc in [0, 1, AT - 1, u64::MAX - 1, u64::MAX] {
                assert_eq!(said(core, pc, &three), CrashKind::Abort);
            }
        }
    }

    #[test]
    fn a_call_behind_a_hard_fault_is_found_on_the_stack() {
        let registers = |link: u32, status: u32| {
            let mut words = [0_u32; 18];
            (words[13], words[14], words[16]) = (0x2170_0000, link, status);
            Registers { machine: 40, bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect() }
        };
        let half = |at: u64| match at {
            0x2170_0018 => Some(0x0100),
            0x2170_001a => Some(0x2100),
            AT => Some(0xbeab),
            _ => None,
        };
        let found = |registers| {
            let mut crash = crash(None, Some(registers));
            recognize(Core::CortexM, &mut crash, half);
            crash.pc
        };
        assert_eq!(found(registers(0xffff_fff9, 0x100_0003)), Some(DeviceAddr(AT)));
        assert_eq!(found(registers(0x2100_0001, 0x100_0003)), None, "it called something since");
        assert_eq!(found(registers(0xffff_fff9, 0x100_0000)), None, "it is in no exception");
        assert_eq!(found(Registers { machine: 40, bytes: vec![0xff; 20] }), None);
    }

    #[test]
    fn words_of_a_command_line_are_words_whatever_is_in_them() {
        let words = ["fw.elf".into(), "a,b=c".into(), OsString::new()];
        assert_eq!(
            configuration(&words, "c"),
            "enable=on,target=native,chardev=c,arg=fw.elf,arg=a,,b=c,arg="
        );
    }
}
