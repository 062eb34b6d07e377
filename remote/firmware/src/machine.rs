//! The machine as firmware uses it: time, the watchdog, and waiting.

use core::cell::Cell;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::operation::{Operation, operation};
use crate::platform::{self, MainSide, Misbehaviour, Native, Platform};

/// The machine that the firmware runs on. One thread of execution uses it; tasks are futures.
#[derive(Debug)]
pub struct Machine<P = Native> {
    platform: P,
    /// Whoever finds nothing to do has the main side ring when that changes, for we are about to sleep.
    arming: Cell<bool>,
    /// The earliest time, in ticks, at which someone wants to look again though nobody rang.
    alarm: Cell<Option<u64>>,
    /// Calls of [`Machine::block_on`], one inside of the other.
    depth: Cell<u32>,
    spin: Spin,
}

impl<P: Platform> Machine<P> {
    pub(crate) const fn new(platform: P) -> Self {
        Self {
            platform,
            arming: Cell::new(false),
            alarm: Cell::new(None),
            depth: Cell::new(0),
            spin: Spin::new(),
        }
    }

    /// The time since some moment before the start.
    pub fn now(&self) -> Duration {
        platform::duration(self.platform.now(), self.platform.ticks_per_second())
    }

    /// Does nothing for a while.
    pub fn pause(&self, duration: Duration) -> Operation<'_, impl Future<Output = ()>, P> {
        let end = self.ticks_after(duration);
        operation(self, move || if self.is_over(end) { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Promises to wait for something, or to call [`Machine::feed_watchdog`], at least once in every `period` from now
    /// on. Breaking the promise is a hang, upon which the main side acts.
    pub fn arm_watchdog(&self, period: Duration) {
        self.platform.arm_watchdog(period);
    }

    /// Keeps the promise of [`Machine::arm_watchdog`] in the middle of a computation.
    pub fn feed_watchdog(&self) {
        self.platform.feed_watchdog();
    }

    /// Whether there is a main side, and how many there have been. One that dies takes nothing along: messages wait for
    /// the next one, and whoever would rather not say more until then can know.
    pub fn main_side(&self) -> MainSide {
        self.platform.main_side()
    }

    /// Waits until the main side is gone or another one is there: until [`main_side`](Self::main_side) is no longer what
    /// it was. For ever where nobody tells the remote.
    pub fn main_side_changed(&self, from: MainSide) -> Operation<'_, impl Future<Output = MainSide>, P> {
        operation(self, move || {
            let now = self.platform.main_side();
            if now == from { Poll::Pending } else { Poll::Ready(now) }
        })
    }

    /// Ends the firmware at once with an exit code, from wherever that is.
    pub fn exit(&self, code: i32) -> ! {
        self.platform.exit(code)
    }

    /// Ends the firmware at once as crashed, for this reason.
    pub fn abort(&self, reason: &str) -> ! {
        P::halt(reason)
    }

    /// Breaks a rule of the machine on purpose, for tests of whoever watches over the firmware.
    pub fn misbehave(&self, how: Misbehaviour) -> ! {
        self.platform.misbehave(how)
    }

    /// Runs a future, and whatever it is joined of, to its end, asleep while there is nothing to do. All waiting of an
    /// image comes down to this; it may be used inside of a future, which then keeps its siblings waiting.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let waker = platform::waker();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut poll = || {
            self.alarm.set(None);
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            }
        };

        let outer = (self.arming.take(), self.alarm.take());
        let depth = self.depth.get();
        self.depth.set(depth.saturating_add(1));
        let output = loop {
            if let Some(output) = self.look(&mut poll) {
                break output;
            }
            let mut output = None;
            let until = self.alarm.get();
            self.arming.set(true);
            self.platform.wait(until, &mut || {
                output = poll();
                let earlier = self.alarm.get().is_some_and(|alarm| until.is_none_or(|until| alarm < until));
                output.is_some() || platform::take_woken() || earlier
            });
            self.arming.set(false);
            if let Some(output) = output {
                break output;
            }
        };
        self.arming.set(outer.0);
        self.alarm.set(outer.1);
        self.depth.set(depth);
        if depth > 0 {
            // Whom the waker was for before we took that is not known; they all have another look.
            waker.wake();
        }
        output
    }

    /// Polls as long as that is likely to be cheaper than sleeping.
    fn look<T>(&self, poll: &mut impl FnMut() -> Option<T>) -> Option<T> {
        if let Some(output) = poll() {
            return Some(output);
        }
        let limit = self.spin.limit(self.platform.patience());
        let start = self.platform.now();
        loop {
            if !platform::take_woken() && self.platform.now().wrapping_sub(start) >= limit {
                self.spin.failed(limit);
                return None;
            }
            core::hint::spin_loop();
            if let Some(output) = poll() {
                self.spin.succeeded();
                return Some(output);
            }
        }
    }

    pub(crate) const fn platform(&self) -> &P {
        &self.platform
    }

    pub(crate) fn is_arming(&self) -> bool {
        self.arming.get()
    }

    /// The time in ticks after so long a time from now.
    pub(crate) fn ticks_after(&self, duration: Duration) -> u64 {
        let ticks = platform::ticks(duration, self.platform.ticks_per_second());
        self.platform.now().saturating_add(ticks)
    }

    /// Whether a time has come; if not, whoever asks is polled again when it has.
    pub(crate) fn is_over(&self, ticks: u64) -> bool {
        let over = self.platform.now() >= ticks;
        if !over {
            self.look_again(ticks);
        }
        over
    }

    /// Has everybody polled again at this time at the latest.
    pub(crate) fn look_again(&self, ticks: u64) {
        self.alarm.set(Some(self.alarm.get().map_or(ticks, |alarm| alarm.min(ticks))));
    }
}

/// How long looking for work is worth it, learnt from how it went before.
///
/// Where the main side answers at once, looking is much faster than sleeping. Where it does not, or has to wait for the
/// very processor that we look on, looking only delays both.
#[derive(Debug)]
struct Spin {
    /// Ticks; at most the platform's patience.
    limit: Cell<u64>,
    looks: Cell<u32>,
}

impl Spin {
    /// One look in so many gets the platform's whole patience, or nobody would find out that times have changed.
    const PROBE: u32 = 16;

    const fn new() -> Self {
        Self { limit: Cell::new(u64::MAX), looks: Cell::new(0) }
    }

    /// For how long to look this time.
    fn limit(&self, patience: u64) -> u64 {
        let looks = self.looks.get().wrapping_add(1);
        self.looks.set(looks);
        if looks.is_multiple_of(Self::PROBE) { patience } else { patience.min(self.limit.get()) }
    }

    fn succeeded(&self) {
        self.limit.set(u64::MAX);
    }

    fn failed(&self, limit: u64) {
        self.limit.set(self.limit.get().min(limit) / 2);
    }
}

#[cfg(test)]
mod tests;
