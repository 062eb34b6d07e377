//! A remote that promised to count and does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sidecore_mem::Region;
use sidecore_os::{Mapping, Tied};
use sidecore_wire::sandbox as page;

/// Looks whether the firmware keeps the promise that it made on the board page.
///
/// Only time counts in which the emulator really ran: on a busy machine it may not for long, and a firmware that sleeps
/// is not computing. A core that does nothing but wait costs next to nothing; the limit of it is [`AWAKE`].
#[derive(Debug)]
pub(super) struct Watchdog {
    /// The shortest period that is believed in, for firmware that made no promise: `None` for no watchdog then.
    default: Option<Duration>,
    count: u32,
    /// When the count was seen to change, and how long the emulator had run until then.
    since: Option<(Instant, Duration)>,
    next: Instant,
}

/// Of the time in question the emulator has to have run for this part, in percent.
const AWAKE: u32 = 50;
/// How often a look is taken whether there is a promise: nobody rings when one is made.
const UNPROMISED: Duration = Duration::from_millis(200);
/// Shorter promises than this one are taken for it: nobody looks more often.
const SHORTEST: Duration = Duration::from_millis(20);

impl Watchdog {
    pub(super) fn new(default: Option<Duration>) -> Self {
        Self { default, count: 0, since: None, next: Instant::now() }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the promise is broken, as of now.
    pub(super) fn bites(&mut self, page: &Region<Arc<Mapping>>, program: &Tied) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        let period = self.period(page);
        self.next = now + period.map_or(UNPROMISED, |period| period / 4);
        let Some(period) = period else {
            self.since = None;
            return false;
        };
        let (Ok(count), Ok(ran)) = (page.load::<u32>(page::WATCHDOG_COUNT), program.cpu_time()) else {
            return false;
        };
        match self.since {
            Some((since, then)) if count == self.count => {
                let (passed, ran) = (now - since, ran.saturating_sub(then));
                passed >= period && ran * 100 >= period * AWAKE
            }
            _ => {
                self.count = count;
                self.since = Some((now, ran));
                false
            }
        }
    }

    fn period(&self, page: &Region<Arc<Mapping>>) -> Option<Duration> {
        let promised = page.load::<u32>(page::WATCHDOG_PERIOD_MS).unwrap_or(0);
        let promised = (promised != 0).then(|| Duration::from_millis(promised.into()));
        promised.or(self.default).map(|period| period.max(SHORTEST))
    }
}
