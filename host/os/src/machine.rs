//! What the processor and the system tell about themselves.

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// CPUs on which this process may run (its affinity mask); at least 1. With 1, spinning keeps the other side from
/// running.
pub fn cpu_count() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1))
}

/// The time-stamp counter against the clock: begin early, ask late, wait for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    began: Instant,
    ticks: u64,
}

impl Ticks {
    /// Begins to measure.
    pub fn begin() -> Self {
        // Both read at one moment: of a few pairs the one that took least, for we may be interrupted in between.
        let pair = |_| {
            let before = counter();
            let began = Instant::now();
            (counter().wrapping_sub(before), Self { began, ticks: before })
        };
        let best = (0..4).map(pair).min_by_key(|(took, _)| *took);
        best.map_or(Self { began: Instant::now(), ticks: 0 }, |(_, pair)| pair)
    }

    /// The counter's frequency in Hz; 0 where there is none that code without rights can read and that runs evenly.
    /// What the processor does not tell is measured since `begin`, over a millisecond at least, to some 100 ppm.
    pub fn frequency(&self) -> u64 {
        if let Some(told) = told_frequency() {
            return told;
        }
        while self.began.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        let now = Self::begin();
        let ticks = u128::from(now.ticks.wrapping_sub(self.ticks));
        let elapsed = now.began.duration_since(self.began).as_nanos().max(1);
        u64::try_from(ticks * 1_000_000_000 / elapsed).unwrap_or(0)
    }
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: every x86_64 has it, and Linux lets every process read it unless that asked otherwise.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// `Some(0)` where the counter does not run evenly: Intel SDM 17.17.1, CPUID 8000_0007h EDX bit 8.
#[cfg(target_arch = "x86_64")]
fn told_frequency() -> Option<u64> {
    let cpuid = |leaf| core::arch::x86_64::__cpuid(leaf);
    let even = cpuid(0x8000_0000).eax >= 0x8000_0007 && cpuid(0x8000_0007).edx & 1 << 8 != 0;
    (!even).then_some(0)
}

#[cfg(target_arch = "aarch64")]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets every process read the virtual counter.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
fn told_frequency() -> Option<u64> {
    let hertz: u64;
    // SAFETY: Linux lets every process read it.
    unsafe { core::arch::asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack)) };
    Some(hertz)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn told_frequency() -> Option<u64> {
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_cpu_is_allowed() {
        assert!(cpu_count() >= 1);
    }

    #[test]
    fn the_counter_has_one_frequency() {
        let early = Ticks::begin();
        let late = Ticks::begin();
        let (one, two) = (early.frequency(), late.frequency());
        // Measured over a millisecond on a machine that does other things too: within a few per cent.
        assert!(one.abs_diff(two) <= one / 20, "{one} Hz, {two} Hz");
    }
}
