//! The trace: a log in memory that the main side reads whenever it likes, even after a crash.
//!
//! The resource table names the buffer. Its format is Linux' plain one (`drivers/remoteproc/remoteproc_debugfs.c`): text
//! that a NUL ends. When the buffer is full the text goes on at its beginning, over what is oldest there, and the NUL
//! goes with it. So exactly one of two things holds, which a reader can tell apart at any moment:
//!
//! - Behind the first NUL there are only NULs: the text before it is all there ever was.
//! - Behind the first NUL there is text: it is the older part, the text before the NUL continues it, and what was
//!   older still is lost. The first line of the older part may lack its beginning.
//!
//! The NUL moves only once the text behind it is complete, so a reader never sees half of a write.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use sidecore_mem::Region;
use sidecore_mem::sync::fence;

use crate::platform::Published;

/// Writes one line to the trace, formatted as by `format!`.
///
/// Needs no connection to the main side and never waits. Does nothing before the image's entry has set the trace up.
///
/// ```
/// sidecore_firmware::trace!("{} messages", 12);
/// ```
#[macro_export]
macro_rules! trace {
    ($($argument:tt)*) => {
        $crate::__trace_line(::core::format_args!($($argument)*))
    };
}

/// Writes the text and a line feed to the image's trace.
pub fn trace_line(text: fmt::Arguments<'_>) {
    if let Some(trace) = TRACE.get() {
        let mut writer = trace.writer();
        // The buffer takes any text; an error can only come from the caller's own formatting.
        let _ = writer.write_fmt(text);
        let _ = writer.write_char('\n');
    }
}

/// The image's trace, published by its entry.
pub(crate) static TRACE: Published<Trace> = Published::new();

/// A trace buffer and the place in it where the next text goes.
pub struct Trace {
    memory: fn() -> Region,
    position: AtomicUsize,
}

impl Trace {
    /// A trace in this memory, which holds zeros.
    pub const fn new(memory: fn() -> Region) -> Self {
        Self { memory, position: AtomicUsize::new(0) }
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { trace: self, buffer: (self.memory)() }
    }
}

pub(crate) struct Writer<'t> {
    trace: &'t Trace,
    buffer: Region,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = self.buffer.len();
        // What would be overwritten by the end of the same text, or has to make room for the NUL.
        let hidden = text.len().saturating_sub(len.saturating_sub(1));
        let Some((first, rest)) = text.as_bytes().get(hidden..).and_then(<[u8]>::split_first) else {
            return Ok(());
        };
        // The first byte is written last: until then the NUL of the text before stands in its place.
        let start = self.trace.position.load(Ordering::Relaxed);
        let end = self.put(self.after(start, 1), rest);
        self.put(end, &[0]);
        fence(Ordering::Release);
        self.put(start, &[*first]);
        self.trace.position.store(end, Ordering::Relaxed);
        Ok(())
    }
}

impl Writer<'_> {
    /// Writes bytes, fewer than the buffer has, from a place on; gives the place behind them.
    fn put(&self, at: usize, bytes: &[u8]) -> usize {
        let (here, wrapped) = bytes.split_at(bytes.len().min(self.buffer.len().saturating_sub(at)));
        // Both parts lie inside the buffer by the arithmetic above.
        let _ = self.buffer.write(at, here);
        let _ = self.buffer.write(0, wrapped);
        self.after(at, bytes.len())
    }

    fn after(&self, at: usize, len: usize) -> usize {
        let len = at + len;
        if len < self.buffer.len() { len } else { len - self.buffer.len() }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use sidecore_mem::Memory;

    fn contents(region: &Region) -> Vec<u8> {
        let mut bytes = std::vec![0; region.len()];
        region.read(0, &mut bytes).unwrap();
        bytes
    }

    /// Reads a trace as the module's description says.
    fn read(region: &Region) -> String {
        let bytes = contents(region);
        let nul = bytes.iter().position(|&byte| byte == 0).unwrap();
        let (newer, older) = bytes.split_at(nul);
        let older: Vec<u8> = older.iter().copied().filter(|&byte| byte != 0).collect();
        String::from_utf8([&older, newer].concat()).unwrap()
    }

    #[test]
    fn text_is_ended_by_a_nul() {
        static MEMORY: Memory<64> = Memory::new();
        let trace = Trace::new(|| MEMORY.region());
        writeln!(trace.writer(), "one {}", 1).unwrap();
        writeln!(trace.writer(), "two").unwrap();
        assert!(contents(&MEMORY.region()).starts_with(b"one 1\ntwo\n\0\0"));
    }

    #[test]
    fn a_full_buffer_keeps_the_newest_text_in_order() {
        static MEMORY: Memory<64> = Memory::new();
        let trace = Trace::new(|| MEMORY.region());
        let mut all = String::new();
        for number in 0..200 {
            let line = format!("line {number}\n");
            trace.writer().write_str(&line).unwrap();
            all.push_str(&line);
            let kept = &all[all.len().saturating_sub(63)..];
            assert_eq!(read(&MEMORY.region()), kept);
        }
    }

    #[test]
    fn text_longer_than_the_buffer_keeps_its_end() {
        static MEMORY: Memory<64> = Memory::new();
        let trace = Trace::new(|| MEMORY.region());
        trace.writer().write_str("before").unwrap();
        for len in [62_usize, 63, 64, 65, 500] {
            let text: String = (0..len).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
            trace.writer().write_str(&text).unwrap();
            assert!(read(&MEMORY.region()).ends_with(&text[len.saturating_sub(63)..]));
        }
    }

    #[test]
    fn a_line_without_a_trace_is_dropped() {
        trace_line(format_args!("nobody listens"));
        assert!(TRACE.get().is_none());
    }
}
