//! A crash as people read it: facts first, what the firmware says about itself apart.

use std::fmt::{self, Write as _};

use sidecore_os::signal_name;
use sidecore_processor::Summary;
use sidecore_remoteproc::{Crash, CrashKind, Registers};

/// Lines of the trace that a report shows.
const TRACE_LINES: usize = 10;

/// A crash of a firmware called `image`, with the text of its trace buffer.
pub(crate) struct CrashReport<'r> {
    pub(crate) image: &'r str,
    pub(crate) crash: &'r Crash,
    /// Where the pc is, in the firmware's own terms.
    pub(crate) place: Option<String>,
    pub(crate) trace: Option<&'r str>,
}

impl fmt::Display for CrashReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, crash, place, trace } = self;
        match crash.kind {
            // The signal is ours: it stands still by that.
            CrashKind::Hang => writeln!(f, "{image} hangs: {}", Summary(crash))?,
            _ => writeln!(f, "{image} crashed: {} ({})", Summary(crash), signal_name(crash.signal.into()))?,
        }
        if let CrashKind::Fault { address } = crash.kind {
            writeln!(f, "  address    {address}")?;
        }
        if let Some(pc) = crash.pc {
            let place = place.as_ref().map(|place| format!("  in {place}")).unwrap_or_default();
            writeln!(f, "  pc         {pc}{place}")?;
        }
        if let Some(registers) = &crash.registers {
            put_registers(f, registers)?;
        }
        if let Some(allegation) = &crash.allegation {
            writeln!(f, "  the firmware's own words (not checked):")?;
            allegation.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        let lines: Vec<&str> = trace.map(|trace| trace.lines().collect()).unwrap_or_default();
        if !lines.is_empty() {
            writeln!(f, "  the end of its trace:")?;
            let skipped = lines.len().saturating_sub(TRACE_LINES);
            lines.iter().skip(skipped).try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// The registers in the order of `NT_PRSTATUS`, as far as they say something about firmware.
fn put_registers(f: &mut fmt::Formatter<'_>, registers: &Registers) -> fmt::Result {
    let named = named(registers);
    for (number, row) in named.chunks(4).enumerate() {
        let mut line = String::new();
        for (name, value) in row {
            write!(line, "{name:>4} {value:016x}  ")?;
        }
        let title = if number == 0 { "registers" } else { "" };
        writeln!(f, "  {title:<9}{}", line.trim_end())?;
    }
    Ok(())
}

/// General registers with their names; none for machines that are not known here.
pub(crate) fn named(registers: &Registers) -> Vec<(String, u64)> {
    let value = |index: usize| {
        let bytes = registers.bytes.get(8 * index..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let rows: Vec<(String, usize)> = match registers.machine {
        62 => X86_64.iter().map(|(name, index)| ((*name).to_owned(), *index)).collect(),
        183 => (0..31)
            .map(|n| (format!("x{n}"), n))
            .chain(AARCH64.map(|(name, n)| (name.to_owned(), n)))
            .collect(),
        _ => Vec::new(),
    };
    rows.into_iter().filter_map(|(name, index)| Some((name, value(index)?))).collect()
}

/// Where `struct user_regs_struct` has them.
const X86_64: [(&str, usize); 18] = [
    ("rax", 10),
    ("rbx", 5),
    ("rcx", 11),
    ("rdx", 12),
    ("rsi", 13),
    ("rdi", 14),
    ("rbp", 4),
    ("rsp", 19),
    ("r8", 9),
    ("r9", 8),
    ("r10", 7),
    ("r11", 6),
    ("r12", 3),
    ("r13", 2),
    ("r14", 1),
    ("r15", 0),
    ("rip", 16),
    ("efl", 18),
];

/// Where `struct user_pt_regs` has those with names.
const AARCH64: [(&str, usize); 3] = [("sp", 31), ("pc", 32), ("psr", 33)];

#[cfg(test)]
mod tests {
    use sidecore_mem::DeviceAddr;

    use super::*;

    fn crash() -> Crash {
        let bytes = (0..27_u64).flat_map(u64::to_le_bytes).collect();
        Crash {
            kind: CrashKind::Fault { address: DeviceAddr(8) },
            signal: 11,
            pc: Some(DeviceAddr(0x1000_0010)),
            registers: Some(Registers { machine: 62, bytes }),
            allegation: Some("src/main.rs:1: oh".to_owned()),
        }
    }

    #[test]
    fn a_report_tells_facts_and_allegations_apart() {
        let crash = crash();
        let trace: String = (0..20).map(|n| format!("line {n}\n")).collect();
        let place = Some("main+0x4".to_owned());
        let report = CrashReport { image: "crash", crash: &crash, place, trace: Some(&trace) }.to_string();
        assert!(
            report.starts_with(
                "crash crashed: it accessed 0x8, which it may not, at pc 0x10000010 (SIGSEGV)\n"
            )
        );
        assert!(report.contains("  pc         0x10000010  in main+0x4\n"));
        assert!(report.contains("registers rax 000000000000000a   rbx 0000000000000005"), "{report}");
        assert!(report.contains("not checked):\n    src/main.rs:1: oh\n"));
        assert!(report.contains("its trace:\n    line 10\n") && report.ends_with("    line 19\n"));
    }

    #[test]
    fn registers_of_other_machines_or_too_few_bytes_are_left_out() {
        assert!(named(&Registers { machine: 40, bytes: vec![0; 72] }).is_empty());
        assert_eq!(named(&Registers { machine: 183, bytes: vec![0; 20] }).len(), 2);
    }
}
