//! What an emulator says of itself, and of a core that cannot go on.

use sidecore_os::{End, Ending, signal_name};
use sidecore_remoteproc::{Crash, CrashKind};

use super::board::Core;
use super::crash::registers;

/// How an emulator ended.
pub(super) fn in_words(ending: &Ending) -> String {
    let how = match ending.how {
        End::Exited(code) => format!("it ended with code {code}"),
        End::Killed(signal) => format!("it was killed by {}", signal_name(signal)),
    };
    let words = reason(&ending.words).unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    if words.is_empty() { how } else { format!("{how}: {words}") }
}

/// Whether QEMU says in its own name that something is wrong.
pub(super) fn complains(words: &str) -> bool {
    words.lines().any(|line| line.starts_with("qemu-system-") && !line.contains("warning:"))
}

/// What QEMU says is wrong. Warnings come first, and the reason last; dumps of registers are for somebody else.
fn reason(words: &str) -> Option<&str> {
    words.lines().rev().find(|line| line.contains("qemu") && !line.contains("warning:"))
}

/// What QEMU says when the guest did what no machine could go on from.
pub(super) fn fatal(words: &str) -> Option<&str> {
    let mut said = words.lines().filter_map(|line| line.strip_prefix("qemu: "));
    said.find_map(|said| {
        said.strip_prefix("fatal: ").or(Some(said).filter(|said| said.starts_with(UNKNOWN_CALL)))
    })
}

/// What it says of a semihosting call with a number that is none.
const UNKNOWN_CALL: &str = "Unsupported SemiHosting SWI";

/// A core that cannot go on, from the registers that QEMU prints before it gives up.
pub(super) fn gave_up(why: &str, signal: i32, words: &str) -> Crash {
    let kind = match why {
        why if why.starts_with("Lockup") => CrashKind::LockUp,
        why if why.starts_with(UNKNOWN_CALL) => CrashKind::SemihostingCall,
        _ => CrashKind::Other,
    };
    let register = |name: &str| {
        let (_, rest) = words.split_once(name)?;
        u32::from_str_radix(rest.get(..8)?, 16).ok()
    };
    // Those of Cortex-M, in the order of its debug port.
    let names = (0..16).map(|number| format!("R{number:02}=")).chain(["XPSR=".to_owned()]);
    let values: Option<Vec<u32>> = names.map(|name| register(&name)).collect();
    let told: Vec<u8> = values.into_iter().flatten().flat_map(u32::to_le_bytes).collect();
    let (pc, registers) = registers(Core::CortexM, &told);
    Crash { kind, signal: signal as u8, pc, registers, allegation: None }
}

#[cfg(test)]
mod tests {
    use sidecore_mem::DeviceAddr;

    use super::*;

    const SIGABRT: i32 = 6;

    #[test]
    fn a_lock_up_tells_where() {
        let words = "qemu: fatal: Lockup: can't escalate 3 to HardFault (current priority -1)\n\n\
                     R00=00000004 R01=210000c0 R02=00000000 R03=00000000\n\
                     R04=00000000 R05=00000000 R06=00000000 R07=00000000\n\
                     R08=00000000 R09=00000000 R10=00000000 R11=00000000\n\
                     R12=00000000 R13=203ffee0 R14=fffffff9 R15=210001a4\n\
                     XPSR=00000003 ---- A handler\n";
        let crash = gave_up(fatal(words).unwrap(), SIGABRT, words);
        assert_eq!((crash.kind, crash.pc), (CrashKind::LockUp, Some(DeviceAddr(0x2100_01a4))));
        let registers = crash.registers.unwrap();
        assert_eq!((registers.bytes.len(), &registers.bytes[64..68]), (72, &[3, 0, 0, 0][..]));
        let crash = gave_up(fatal("qemu: Unsupported SemiHosting SWI 0xff\n").unwrap(), SIGABRT, "R00=4");
        assert_eq!((crash.kind, crash.pc), (CrashKind::SemihostingCall, None));
        assert_eq!(fatal("qemu-system-arm: warning: nic lan9118.0 has no peer\n"), None);
    }

    #[test]
    fn an_end_is_told_with_its_reason_and_nothing_that_a_terminal_obeys() {
        let words =
            "qemu-system-arm: warning: x\nqemu-system-arm: -M y: unsupported\x1b[2J machine\n".to_owned();
        let text = in_words(&Ending { how: End::Exited(1), words, said: 0 });
        assert_eq!(text, "it ended with code 1: qemu-system-arm: -M y: unsupported[2J machine");
        assert_eq!(
            in_words(&Ending { how: End::Killed(9), words: String::new(), said: 0 }),
            "it was killed by SIGKILL"
        );
    }
}
