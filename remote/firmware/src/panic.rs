//! What a panic leaves behind.

use core::fmt::Write as _;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::platform::Platform;
use crate::text::Text;
use crate::trace::trace_line;

/// Longest panic record in bytes.
const RECORD: usize = 512;

/// Writes `file:line: message` to the trace and to where the platform keeps such a record, and halts.
///
/// Bounded in time and room. A panic while the first one is being written halts with a record of its own.
pub fn panic<P: Platform>(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    if PANICKED.load(Ordering::Relaxed) {
        P::halt("panicked while it wrote the record of a panic");
    }
    PANICKED.store(true, Ordering::Relaxed);

    let mut record = Text::<RECORD>::new();
    // An error says that the text was cut, which the text itself shows.
    let _ = match info.location() {
        Some(place) => write!(record, "{}:{}: {}", place.file(), place.line(), info.message()),
        None => write!(record, "{}", info.message()),
    };
    trace_line(format_args!("panic: {}", record.as_str()));
    P::halt(record.as_str())
}
