//! The remote's watchdog: a count in the hand-over page that firmware promises to keep moving.

use std::time::{Duration, Instant};

/// Least and most time between two looks at an armed watchdog.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// Firmware that arms its watchdog does so early: how long to look for it often, and how often then and later.
const EARLY: Duration = Duration::from_secs(1);
const EARLY_LOOK: Duration = Duration::from_millis(50);
const LATE_LOOK: Duration = Duration::from_millis(500);

/// What one look at the remote shows. The first three come from the remote itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// What firmware promises: one count at least in so many milliseconds; 0 for no promise.
    pub(super) period_ms: u32,
    /// Its count.
    pub(super) count: u32,
    /// Whether it waits, or is about to.
    pub(super) asleep: bool,
    /// How long the remote has run on a CPU, or `None` if somebody stopped it.
    pub(super) cpu_time: Option<Duration>,
    /// Whether it waits in the kernel, rather than runs or waits for a CPU.
    pub(super) blocked: bool,
}

/// Decides when silence has become a hang.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    began: Instant,
    /// The longest period that is allowed, in milliseconds; 0 for whatever firmware promises.
    longest_ms: u32,
    /// The count, when it was first seen, and the CPU time then; `None` while nothing is to be expected.
    counting: Option<(u32, Instant, Duration)>,
    next: Instant,
}

impl Watchdog {
    /// Watches from now on, with a period of `longest_ms` at most; 0 leaves it to firmware whether there is one.
    pub(super) fn new(now: Instant, longest_ms: u32) -> Self {
        Self { began: now, longest_ms, counting: None, next: now + EARLY_LOOK }
    }

    /// The same, from now on.
    pub(super) fn again(&self, now: Instant) -> Self {
        Self::new(now, self.longest_ms)
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether there is anything to watch over, of firmware that promises this.
    pub(super) fn watches(&self, promised: u32) -> bool {
        self.period_ms(promised) != 0
    }

    /// Takes a look into account; whether the remote hangs.
    ///
    /// It does if the count stood still for a period in which the remote neither said that it waits nor was stopped,
    /// and in which it ran on a CPU for half of the time: the machine may be too busy to let it run. Or, if it promised
    /// to count, if it is blocked after such a period: it waits where it did not mean to. Firmware that promised nothing
    /// may wait wherever it likes.
    pub(super) fn look(&mut self, now: Instant, look: Look) -> bool {
        let period_ms = self.period_ms(look.period_ms);
        self.next = now + self.interval(now, period_ms);
        let waits = look.asleep || (look.blocked && look.period_ms == 0);
        let Some(cpu_time) = look.cpu_time.filter(|_| period_ms != 0 && !waits) else {
            self.counting = None;
            return false;
        };
        let (count, since, cpu_then) = *self.counting.get_or_insert((look.count, now, cpu_time));
        if count != look.count {
            self.counting = Some((look.count, now, cpu_time));
            return false;
        }
        let period = Duration::from_millis(period_ms.into());
        let (silent, ran) = (now.saturating_duration_since(since), cpu_time.saturating_sub(cpu_then));
        silent >= period && (ran >= period / 2 || look.blocked)
    }

    fn period_ms(&self, promised: u32) -> u32 {
        match (promised, self.longest_ms) {
            (period, 0) | (0, period) => period,
            (promised, longest) => promised.min(longest),
        }
    }

    fn interval(&self, now: Instant, period_ms: u32) -> Duration {
        if period_ms != 0 {
            return Duration::from_millis(u64::from(period_ms) / 4).clamp(LOOKS.0, LOOKS.1);
        }
        if now.saturating_duration_since(self.began) < EARLY { EARLY_LOOK } else { LATE_LOOK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        began: Instant,
        watchdog: Watchdog,
    }

    impl Bench {
        fn new() -> Self {
            let began = Instant::now();
            Self { began, watchdog: Watchdog::new(began, 0) }
        }

        /// A look at `ms`, at a remote with a period of 100 ms that has run for `ran` ms.
        fn look(&mut self, ms: u64, count: u32, asleep: bool, ran: Option<u64>) -> bool {
            let cpu_time = ran.map(Duration::from_millis);
            let look = Look { period_ms: 100, count, asleep, cpu_time, blocked: false };
            self.watchdog.look(self.began + Duration::from_millis(ms), look)
        }
    }

    #[test]
    fn a_count_that_stands_still_for_a_period_is_a_hang() {
        let mut bench = Bench::new();
        assert!(!bench.look(0, 7, false, Some(0)));
        assert!(!bench.look(99, 7, false, Some(99)));
        assert!(bench.look(100, 7, false, Some(100)));
    }

    #[test]
    fn a_count_that_moves_is_none_even_if_it_wraps() {
        let mut bench = Bench::new();
        for (ms, count) in [(0, u32::MAX), (90, 0), (180, 1), (270, 2)] {
            assert!(!bench.look(ms, count, false, Some(ms)));
        }
    }

    #[test]
    fn a_period_may_be_imposed_and_the_shorter_one_counts() {
        let look = |period_ms| Look {
            period_ms,
            count: 0,
            asleep: false,
            cpu_time: Some(Duration::from_secs(9)),
            blocked: false,
        };
        let began = Instant::now();
        for (promised, imposed, hangs) in [(0, 0, false), (0, 50, true), (1000, 50, true), (50, 1000, true)] {
            let mut watchdog = Watchdog::new(began, imposed);
            assert!(!watchdog.look(began, look(promised)));
            let second = Look { cpu_time: Some(Duration::from_secs(10)), ..look(promised) };
            assert_eq!(
                watchdog.look(began + Duration::from_millis(60), second),
                hangs,
                "{promised} {imposed}"
            );
        }
    }

    #[test]
    fn a_remote_that_waits_or_is_stopped_does_not_hang() {
        let mut bench = Bench::new();
        assert!(!bench.look(0, 7, false, Some(0)));
        assert!(!bench.look(1000, 7, true, Some(0)));
        assert!(!bench.look(2000, 7, false, Some(0)), "silence begins when it wakes up");
        assert!(!bench.look(3000, 7, false, None));
        assert!(!bench.look(4000, 7, false, Some(0)), "or runs on");
        assert!(bench.look(4400, 7, false, Some(50)));
    }

    #[test]
    fn a_remote_that_gets_no_cpu_has_all_the_time() {
        let mut bench = Bench::new();
        assert!(!bench.look(0, 7, false, Some(0)));
        assert!(!bench.look(9999, 7, false, Some(49)));
        assert!(bench.look(10_000, 7, false, Some(50)));
    }

    #[test]
    fn a_remote_that_is_blocked_hangs_if_it_promised_to_count() {
        let began = Instant::now();
        for (promised, imposed, hangs) in [(50, 0, true), (50, 50, true), (0, 50, false)] {
            let mut watchdog = Watchdog::new(began, imposed);
            let cpu_time = Some(Duration::ZERO);
            let look = Look { period_ms: promised, count: 0, asleep: false, cpu_time, blocked: true };
            assert!(!watchdog.look(began, look));
            assert_eq!(watchdog.look(began + Duration::from_millis(60), look), hangs, "{promised} {imposed}");
        }
    }

    #[test]
    fn looks_are_as_far_apart_as_the_period_allows() {
        let mut watchdog = Watchdog::new(Instant::now(), 0);
        let now = watchdog.next() + EARLY;
        let mut next = |period_ms| {
            let look =
                Look { period_ms, count: 0, asleep: false, cpu_time: Some(Duration::ZERO), blocked: false };
            watchdog.look(now, look);
            watchdog.next() - now
        };
        assert_eq!([next(1), next(100), next(u32::MAX)], [LOOKS.0, Duration::from_millis(25), LOOKS.1]);
        assert_eq!(next(0), LATE_LOOK);
    }
}
