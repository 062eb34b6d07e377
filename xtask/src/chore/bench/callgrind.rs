//! Instructions and fences of a message: valgrind counts, objdump tells which instructions are fences.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{output, scratch};

/// What one message costs.
pub(super) struct Cost {
    /// Instructions.
    pub(super) instructions: f64,
    /// Instructions among them that wait for all earlier accesses: `mfence`, locked ones, `xchg` with memory.
    pub(super) fences: f64,
}

/// Messages of the two runs whose difference is taken.
const COUNTS: [u64; 2] = [20_000, 40_000];

/// Counts one mode of `bench-instructions`: the difference of two runs is free of start-up costs.
pub(super) fn count(program: &Path, mode: &str) -> Result<Cost> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        bail!("valgrind is not installed (apt-get install valgrind)");
    }
    let fences = fences(program)?;
    let mut runs = [(0, 0); 2];
    for (run, count) in runs.iter_mut().zip(COUNTS) {
        *run = self::run(program, mode, count, &fences)?;
    }
    let [(first, first_fences), (second, second_fences)] = runs;
    let messages = (COUNTS[1] - COUNTS[0]) as f64;
    let each = |first: u64, second: u64| second.saturating_sub(first) as f64 / messages;
    Ok(Cost { instructions: each(first, second), fences: each(first_fences, second_fences) })
}

/// All instructions of a run, and those at the addresses of fences. Callgrind counts addresses from each object's first
/// byte, as objdump does; what other objects count at the same ones is start-up, and falls out of the difference.
fn run(program: &Path, mode: &str, count: u64, fences: &[u64]) -> Result<(u64, u64)> {
    let file = scratch("callgrind.out")?;
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", "--dump-instr=yes"]);
    command.arg(format!("--callgrind-out-file={}", file.display()));
    output(command.arg(program).arg(mode).arg(count.to_string()))?;
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    fs::remove_file(&file).with_context(|| file.display().to_string())?;
    let counts = counts(&text);
    let fenced = fences.iter().filter_map(|address| counts.get(address)).sum();
    Ok((counts.values().sum(), fenced))
}

/// How often each instruction was executed, by address: the cost lines of callgrind's format, whose addresses may be
/// relative to the line before (`+4`, `-12`, `*`). The line behind `calls=` counts the callee again.
fn counts(text: &str) -> HashMap<u64, u64> {
    let mut counts = HashMap::new();
    let (mut address, mut is_callee) = (0_u64, false);
    for line in text.lines() {
        if line.starts_with("calls=") {
            is_callee = true;
            continue;
        }
        let mut words = line.split(' ');
        let (Some(position), Some(_line)) = (words.next(), words.next()) else { continue };
        let next = match position.as_bytes() {
            [b'0', b'x', ..] => u64::from_str_radix(&position[2..], 16).ok(),
            [b'+', ..] => position[1..].parse().ok().map(|step: u64| address.wrapping_add(step)),
            [b'-', ..] => position[1..].parse().ok().map(|step: u64| address.wrapping_sub(step)),
            b"*" => Some(address),
            _ => None,
        };
        let Some(next) = next else { continue };
        address = next;
        let cost = words.next().map_or(Some(0), |cost| cost.parse().ok());
        if let Some(cost) = cost.filter(|_| !is_callee) {
            *counts.entry(address).or_default() += cost;
        }
        is_callee = false;
    }
    counts
}

/// Where the program's fences are, from its first byte.
fn fences(program: &Path) -> Result<Vec<u64>> {
    let mut command = Command::new("objdump");
    let text = output(command.args(["--disassemble", "--no-show-raw-insn"]).arg(program))?;
    Ok(text.lines().filter_map(fence).collect())
}

fn fence(line: &str) -> Option<u64> {
    let (address, instruction) = line.trim_start().split_once(":\t")?;
    let mut words = instruction.split_whitespace();
    let is_fence = match words.next()? {
        "mfence" | "lock" => true,
        name if name.starts_with("xchg") => words.any(|operand| operand.contains('(')),
        // AArch64: full barriers.
        "dmb" | "dsb" => {
            words.next().is_some_and(|domain| !domain.ends_with("ld") && !domain.ends_with("st"))
        }
        _ => false,
    };
    is_fence.then(|| u64::from_str_radix(address, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_added_by_address_and_callees_are_not_counted_twice() {
        let text = "fn=(1) f\n0x1000 5 3\n+4 6 2\n* 7 1\ncalls=1 0x2000 9\n+2 8 99\n-6 5 1\n\nsummary: 7\n";
        let counts = counts(text);
        assert_eq!(counts.get(&0x1000), Some(&4));
        assert_eq!(counts.get(&0x1004), Some(&3));
        assert_eq!(counts.values().sum::<u64>(), 7);
    }

    #[test]
    fn fences_are_known_by_their_names_and_operands() {
        assert_eq!(fence("   1f3a0:\tlock orl $0x0,-0x40(%rsp)"), Some(0x1f3a0));
        assert_eq!(fence("   10:\tmfence"), Some(0x10));
        assert_eq!(fence("   11:\txchg   %eax,(%rdi)"), Some(0x11));
        assert_eq!(fence("   12:\txchg   %ax,%ax"), None);
        assert_eq!(fence("   13:\tdmb\tish"), Some(0x13));
        assert_eq!(fence("   14:\tdmb\tishld"), None);
        assert_eq!(fence("0000000000001000 <main>:"), None);
    }
}
