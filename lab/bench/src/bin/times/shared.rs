//! What the two processes share, and how they keep step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sidecore_bench::Pair;
use sidecore_mem::{Region, Word};
use sidecore_os::{EventFd, Mapping};
use sidecore_wire::sandbox as page;

/// What keeps shared memory mapped.
pub(crate) type Owner = Arc<Mapping>;

/// One process's view of what both share.
pub(crate) struct Shared {
    pub(crate) side: Side,
    /// Lines that the limits are measured on.
    pub(crate) field: Region<Owner>,
    /// The memory of the rings.
    pub(crate) rings: Region<Owner>,
    /// The words of a sandbox's hand-over page, for the doorbells.
    pub(crate) page: Region<Owner>,
    /// Rung for the host, and for the remote.
    pub(crate) bells: [EventFd; 2],
    meetings: [Word<u16, Owner>; 2],
    result: Region<Owner>,
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first one, which prints the results.
    Host,
    /// The one that it started.
    Remote,
}

/// Bytes that are shared.
pub(crate) const LEN: usize = RINGS + Pair::<()>::LEN;
const PAGE: usize = 4096;
const FIELD: usize = 8192;
const FIELD_LEN: usize = 8192;
const RINGS: usize = 16384;
/// Where the two say which meeting they came to, and the remote what it measured: apart from each other by more than a
/// line, for some processors fetch lines in pairs.
const MEETINGS: [usize; 2] = [0, 256];
const RESULT: usize = 512;

/// Longer than anything here takes: whoever waits so long waits for a process that is gone.
const PATIENCE: Duration = Duration::from_secs(20);

impl Shared {
    pub(crate) fn new(side: Side, region: &Region<Owner>, bells: [EventFd; 2]) -> Result<Self> {
        let [host, remote] = MEETINGS.map(|at| region.word(at));
        Ok(Self {
            side,
            field: region.slice(FIELD, FIELD_LEN)?,
            rings: region.slice(RINGS, Pair::<()>::LEN)?,
            page: region.slice(PAGE, page::SIZE)?,
            bells,
            meetings: [host?, remote?],
            result: region.slice(RESULT, 64)?,
        })
    }

    /// Waits until the other process has come as far.
    pub(crate) fn meet(&self) {
        let [host, remote] = &self.meetings;
        let (ours, theirs) = match self.side {
            Side::Host => (host, remote),
            Side::Remote => (remote, host),
        };
        let meeting = ours.load().wrapping_add(1);
        ours.store_release(meeting);
        // They may be one further already.
        spin(|| (theirs.load_acquire().wrapping_sub(meeting) <= 1).then_some(()));
    }

    /// Leaves what the remote measured to the host, or takes it.
    pub(crate) fn hand_over(&self, measured: Option<f64>) -> Result<f64> {
        if let Some(measured) = measured {
            self.result.store(0, measured.to_bits()).context("the place for results")?;
        }
        self.meet();
        let bits = self.result.load(0).context("the place for results")?;
        self.meet();
        Ok(f64::from_bits(bits))
    }
}

/// Asks again and again, without a break: the answer comes from the other process.
#[inline(always)]
pub(crate) fn spin<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let mut since = None;
    loop {
        for _ in 0..1 << 20 {
            if let Some(answer) = ask() {
                return answer;
            }
        }
        lose_patience(&mut since);
    }
}

/// Ends this process if it has waited for too long; asked every few milliseconds.
#[cold]
#[inline(never)]
fn lose_patience(since: &mut Option<Instant>) {
    if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
        eprintln!("bench-times: the other process does not answer");
        std::process::exit(1);
    }
}
