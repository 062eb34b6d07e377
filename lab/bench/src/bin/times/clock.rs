//! Times that do not mind being interrupted.

use std::time::Instant;

/// How the repetitions of one measurement are divided: each chunk is timed for itself, and the median counts. A chunk
/// during which the system ran something else is an outlier then, and the clock is read seldom enough.
pub(crate) struct Chunks;

impl Chunks {
    const WARM_UP: usize = 12;
    const COUNT: usize = 200;
    const LEN: usize = 64;
    /// All round trips of a measurement.
    pub(crate) const ROUND_TRIPS: usize = (Self::WARM_UP + Self::COUNT) * Self::LEN;
}

/// Nanoseconds that one `round_trip` takes.
#[inline(always)]
pub(crate) fn round_trips(mut round_trip: impl FnMut()) -> f64 {
    let mut chunks = Vec::with_capacity(Chunks::COUNT);
    for chunk in 0..Chunks::WARM_UP + Chunks::COUNT {
        let start = Instant::now();
        for _ in 0..Chunks::LEN {
            round_trip();
        }
        let nanoseconds = start.elapsed().as_nanos() as f64 / Chunks::LEN as f64;
        if chunk >= Chunks::WARM_UP {
            chunks.push(nanoseconds);
        }
    }
    median(&mut chunks)
}

/// The middle one, or between the two; not a number where there are none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len.is_multiple_of(2) => f64::midpoint(values[len / 2 - 1], values[len / 2]),
        len => values[len / 2],
    }
}
