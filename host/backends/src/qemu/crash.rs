//! What a remote on a board leaves behind: what its firmware wrote to the board page, and what its core's registers say.

use std::sync::Arc;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::Mapping;
use sidecore_remoteproc::{Crash, CrashKind, Event, Registers};
use sidecore_wire::sandbox as page;

use super::board::Core;

const SIGILL: u8 = 4;
const SIGABRT: u8 = 6;
const SIGSEGV: u8 = 11;

/// What the page says has become of the firmware, if that has come to its end. All of it is the firmware's own word; of
/// its crash nobody else knows the reason.
pub(super) fn told(core: Core, page: &Region<Arc<Mapping>>) -> Option<Event> {
    match page.load::<u32>(page::STATE).ok()? {
        page::STATE_ENDED => {
            Some(Event::Exited { code: page.load::<u32>(page::EXIT_CODE).ok()?.cast_signed() })
        }
        page::STATE_CRASHED => Some(Event::Crashed(crash(core, page))),
        _ => None,
    }
}

/// The same of the other core, whose crash is the whole board's.
pub(super) fn told_beside(core: Core, page: &Region<Arc<Mapping>>) -> Option<Event> {
    let mut event = told(core, page)?;
    if let Event::Crashed(crash) = &mut event {
        let words = crash.allegation.take().unwrap_or_default();
        crash.allegation = Some(format!("(the other core) {words}").trim_end().to_owned());
    }
    Some(event)
}

fn crash(core: Core, page: &Region<Arc<Mapping>>) -> Crash {
    let allegation = allegation(page);
    let valid = page.load::<u32>(page::FAULT_VALID).is_ok_and(|valid| valid != 0);
    let word = |index: usize| page.load::<u64>(page::FAULT + 8 * index).unwrap_or(0);
    let (kind, signal) = if valid { fault(core, word(3), word(4)) } else { (CrashKind::Abort, SIGABRT) };
    let pc = valid.then(|| DeviceAddr(word(0)));
    Crash { kind, signal, pc, registers: None, allegation }
}

/// What kind of fault it was.
fn fault(core: Core, cause: u64, address: u64) -> (CrashKind, u8) {
    let illegal = match core {
        // Armv7-M B3.2.15: the usage faults of CFSR but unaligned accesses and divisions by zero.
        Core::CortexM => cause & 0xf_0000 != 0,
        // Arm ARM D24.2.37, ESR_EL1.EC: unknown reason, illegal execution state.
        Core::Aarch64 => matches!(cause >> 26 & 0x3f, 0 | 0x0e),
        // Privileged specification, table 14.
        Core::Riscv32 => cause == 2,
        Core::CortexR => cause >> 32 == page::VECTOR_UNDEFINED,
    };
    if illegal {
        return (CrashKind::IllegalInstruction, SIGILL);
    }
    let gave_up = match core {
        // A breakpoint that nobody waits for (HFSR.DEBUGEVT leaves no trace in CFSR).
        Core::CortexM => cause == 0,
        Core::Riscv32 => cause == 3,
        Core::Aarch64 => cause >> 26 & 0x3f == 0x3c,
        Core::CortexR => false,
    };
    if gave_up {
        (CrashKind::Abort, SIGABRT)
    } else {
        (CrashKind::Fault { address: DeviceAddr(address) }, SIGSEGV)
    }
}

/// The firmware's panic record, made harmless: what is not printable is escaped, and there is little of it.
pub(super) fn allegation(page: &Region<Arc<Mapping>>) -> Option<String> {
    let len = page.load::<u32>(page::PANIC_LEN).ok()? as usize;
    let mut text = [0; page::PANIC_TEXT_END - page::PANIC_TEXT];
    let text = text.get_mut(..len).filter(|text| !text.is_empty())?;
    page.read(page::PANIC_TEXT, text).ok()?;
    let mut clean = String::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).trim_end().chars() {
        match c {
            '"' | '\'' | '\\' => clean.push(c),
            c => clean.extend(c.escape_debug()),
        }
    }
    Some(clean)
}

/// The program counter, and the registers in the order of core notes, from what the debug port tells.
pub(super) fn registers(core: Core, told: &[u8]) -> (Option<DeviceAddr>, Option<Registers>) {
    let word = |index: usize| Some(u32::from_le_bytes(*told.get(4 * index..)?.first_chunk()?));
    let long = |index: usize| Some(u64::from_le_bytes(*told.get(8 * index..)?.first_chunk()?));
    let (pc, registers) = match core {
        // r0 to r15 and the status; `pr_reg` has the first register as it was at a system call behind them.
        Core::CortexM | Core::CortexR => {
            let bytes = told.get(..17 * 4).map(|bytes| [bytes, &[0; 4]].concat());
            (word(15).map(u64::from), bytes.map(|bytes| Registers { machine: 40, bytes }))
        }
        // x0 to x30, sp, pc, then 32 bits of status, which `pr_reg` has as 64.
        Core::Aarch64 => {
            let bytes = told.get(..33 * 8 + 4).map(|bytes| [bytes, &[0; 4]].concat());
            (long(32), bytes.map(|bytes| Registers { machine: 183, bytes }))
        }
        // x0 to x31, pc; `pr_reg` has the pc in the place of x0.
        Core::Riscv32 => {
            let pc = word(32);
            let bytes = pc.zip(told.get(4..32 * 4)).map(|(pc, rest)| [&pc.to_le_bytes(), rest].concat());
            (pc.map(u64::from), bytes.map(|bytes| Registers { machine: 243, bytes }))
        }
    };
    (pc.map(DeviceAddr), registers)
}

#[cfg(test)]
mod tests {
    use sidecore_os::SharedMemory;

    use super::*;

    fn page() -> Region<Arc<Mapping>> {
        SharedMemory::create("test", page::SIZE).unwrap().map().unwrap().region()
    }

    fn crash_of(core: Core, cause: u64) -> CrashKind {
        let page = page();
        page.store(page::STATE, page::STATE_CRASHED).unwrap();
        page.store(page::FAULT_VALID, 1_u32).unwrap();
        for (index, value) in [0x2100_0100, 0, 0, cause, 0xdead].into_iter().enumerate() {
            page.store(page::FAULT + 8 * index, value).unwrap();
        }
        match told(core, &page) {
            Some(Event::Crashed(crash)) => {
                assert_eq!(crash.pc, Some(DeviceAddr(0x2100_0100)));
                crash.kind
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_tells_of_an_exit_a_panic_and_faults() {
        let page = page();
        assert_eq!(told(Core::CortexM, &page), None);
        page.store(page::STATE, page::STATE_ENDED).unwrap();
        page.store(page::EXIT_CODE, (-3_i32).cast_unsigned()).unwrap();
        assert_eq!(told(Core::CortexM, &page), Some(Event::Exited { code: -3 }));
        page.store(page::STATE, page::STATE_CRASHED).unwrap();
        page.write(page::PANIC_TEXT, b"a.rs:1: \x1b[2J").unwrap();
        page.store(page::PANIC_LEN, 12_u32).unwrap();
        let Some(Event::Crashed(crash)) = told(Core::CortexM, &page) else { panic!("no crash") };
        assert_eq!(crash.kind, CrashKind::Abort);
        assert_eq!(crash.allegation.as_deref(), Some("a.rs:1: \\u{1b}[2J"));

        let fault = CrashKind::Fault { address: DeviceAddr(0xdead) };
        assert_eq!(crash_of(Core::CortexM, 0x8200), fault);
        assert_eq!(crash_of(Core::CortexM, 0x1_0000), CrashKind::IllegalInstruction);
        assert_eq!(crash_of(Core::Riscv32, 5), fault);
        assert_eq!(crash_of(Core::Riscv32, 2), CrashKind::IllegalInstruction);
        assert_eq!(crash_of(Core::Aarch64, 0x25 << 26), fault);
        assert_eq!(crash_of(Core::Aarch64, 0), CrashKind::IllegalInstruction);
        // What is in no region of the MPU has the status 0 (Arm ARM for v7, table B5-7).
        assert_eq!(crash_of(Core::CortexR, page::VECTOR_DATA_ABORT << 32), fault);
        assert_eq!(crash_of(Core::CortexR, page::VECTOR_UNDEFINED << 32), CrashKind::IllegalInstruction);
    }

    #[test]
    fn a_page_full_of_lies_is_harmless() {
        let page = page();
        for at in (0..page::SIZE).step_by(4) {
            page.store(at, u32::MAX).unwrap();
        }
        assert_eq!(told(Core::CortexM, &page), None);
        page.store(page::STATE, page::STATE_CRASHED).unwrap();
        let Some(Event::Crashed(crash)) = told(Core::CortexM, &page) else { panic!("no crash") };
        assert_eq!(crash.allegation, None);
    }

    #[test]
    fn registers_are_in_the_order_of_core_notes() {
        let told: Vec<u8> = (0..33_u32).flat_map(u32::to_le_bytes).collect();
        let (pc, registers_) = registers(Core::Riscv32, &told);
        assert_eq!(pc, Some(DeviceAddr(32)));
        assert_eq!(&registers_.unwrap().bytes[..8], [32, 0, 0, 0, 1, 0, 0, 0]);
        let (pc, arm) = registers(Core::CortexM, &told);
        assert_eq!((pc, arm.unwrap().bytes.len()), (Some(DeviceAddr(15)), 72));
        assert_eq!(registers(Core::Aarch64, &told[..16]), (None, None));
    }
}
