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
//! The NUL moves only once the text behind it is complete, so a reader never sees half of a write (one that is longer
//! than the buffer overwrites all of it in any case).
//!
//! Beside it lie the [words](TraceWords) of the buffer, in the resource table: how many bytes were ever written, so that a
//! reader that knows them sees exactly what it has missed, and how many it wants to be woken for. The trace never waits for
//! a reader.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

use sidecore_mem::Region;
use sidecore_mem::sync::{fence, full_fence};
use sidecore_wire::resource_table::TraceWords;

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
        writer.finish();
    }
}

/// The image's trace, published by its entry.
pub(crate) static TRACE: Published<Trace> = Published::new();

/// A trace buffer and how much was written to it.
pub struct Trace {
    memory: fn() -> Region,
    words: fn() -> Option<Region>,
    alert: fn(),
    /// Modulo 2^32; of a type that every core has.
    total: AtomicUsize,
}

impl Trace {
    /// A trace in this memory, which holds zeros and is a power of two long, with its [words](TraceWords) if there are
    /// any, and what wakes their reader.
    pub const fn new(memory: fn() -> Region, words: fn() -> Option<Region>, alert: fn()) -> Self {
        Self { memory, words, alert, total: AtomicUsize::new(0) }
    }

    /// Whoever writes a piece; one at a time.
    pub fn writer(&self) -> Writer<'_> {
        let began = self.total();
        Writer { trace: self, buffer: (self.memory)(), words: (self.words)(), began }
    }

    /// Bytes that were ever written, modulo 2^32.
    fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed) as u32
    }
}

/// Writes a piece of a trace: a line, or a frame.
pub struct Writer<'t> {
    trace: &'t Trace,
    buffer: Region,
    words: Option<Region>,
    /// What there was before the piece.
    began: u32,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

impl Writer<'_> {
    /// Writes some bytes of the piece.
    pub fn append(&mut self, bytes: &[u8]) {
        // What would be overwritten by the end of the same bytes, or has to make room for the NUL.
        let hidden = bytes.len().saturating_sub(self.buffer.len().saturating_sub(1));
        let Some((first, rest)) = bytes.get(hidden..).and_then(<[u8]>::split_first) else { return };
        let before = self.trace.total();
        let (start, end) = (before.wrapping_add(hidden as u32), before.wrapping_add(bytes.len() as u32));
        self.tell(TraceWords::CLAIMED_AT, end);
        // Whoever sees some of the bytes sees that they were claimed.
        fence(Ordering::Release);
        // The first byte is written last: until then the NUL of the text before stands in its place.
        self.put(start.wrapping_add(1), rest);
        self.put(end, &[0]);
        fence(Ordering::Release);
        self.put(start, &[*first]);
        // Whoever sees the new total sees the bytes.
        fence(Ordering::Release);
        self.tell(TraceWords::TOTAL_AT, end);
        self.trace.total.store(end as usize, Ordering::Relaxed);
    }

    /// Ends the piece: wakes the reader if it wants to be woken now.
    pub fn finish(self) {
        let Some(words) = &self.words else { return };
        // Against the reader's "say how much was read, then look at the total": either it sees ours, or we see here what
        // it said.
        full_fence();
        let word = |at| words.load::<u32>(at).unwrap_or(0);
        let (read, wake) = (word(TraceWords::READ_AT), word(TraceWords::WAKE_AT));
        let unread = |total: u32| total.wrapping_sub(read);
        let end = self.trace.total();
        if wake != 0 && unread(self.began) < wake && unread(end) >= wake {
            (self.trace.alert)();
        }
    }

    fn tell(&self, at: usize, word: u32) {
        if let Some(words) = &self.words {
            // The words are inside their entry and aligned.
            let _ = words.store(at, word);
        }
    }

    /// Writes bytes, fewer than the buffer has, from the one with this number on.
    fn put(&self, number: u32, bytes: &[u8]) {
        let at = number as usize & self.buffer.len().wrapping_sub(1);
        let (here, wrapped) = bytes.split_at(bytes.len().min(self.buffer.len().saturating_sub(at)));
        // Both parts lie inside the buffer by the arithmetic above.
        let _ = self.buffer.write(at, here);
        let _ = self.buffer.write(0, wrapped);
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
        let trace = Trace::new(|| MEMORY.region(), || None, || ());
        writeln!(trace.writer(), "one {}", 1).unwrap();
        writeln!(trace.writer(), "two").unwrap();
        assert!(contents(&MEMORY.region()).starts_with(b"one 1\ntwo\n\0\0"));
    }

    #[test]
    fn a_full_buffer_keeps_the_newest_text_in_order() {
        static MEMORY: Memory<64> = Memory::new();
        let trace = Trace::new(|| MEMORY.region(), || None, || ());
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
        let trace = Trace::new(|| MEMORY.region(), || None, || ());
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

    #[test]
    fn the_words_say_how_much_was_ever_written() {
        static MEMORY: Memory<16> = Memory::new();
        static WORDS: Memory<{ TraceWords::SIZE }> = Memory::new();
        let trace = Trace::new(|| MEMORY.region(), || Some(WORDS.region()), || ());
        let words = || [TraceWords::TOTAL_AT, TraceWords::CLAIMED_AT].map(|at| WORDS.region().load(at));
        for (len, total) in [(3, 3_u32), (0, 3), (20, 23), (1, 24), (500, 524)] {
            trace.writer().append(&[b'x'; 500][..len]);
            assert_eq!(words(), [Ok(total), Ok(total)]);
        }
        trace.total.store(u32::MAX as usize, Ordering::Relaxed);
        trace.writer().append(b"ab");
        assert_eq!(words(), [Ok(1_u32), Ok(1)]);
        assert_eq!(&contents(&MEMORY.region())[..2], b"b\0");
        assert_eq!(contents(&MEMORY.region())[15], b'a');
    }

    #[test]
    fn the_reader_is_woken_once_when_so_much_is_unread_as_it_said() {
        static MEMORY: Memory<16> = Memory::new();
        static WORDS: Memory<{ TraceWords::SIZE }> = Memory::new();
        static RUNG: AtomicUsize = AtomicUsize::new(0);
        let alert = || RUNG.store(RUNG.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let trace = Trace::new(|| MEMORY.region(), || Some(WORDS.region()), alert);
        let write = |len: usize| {
            let mut writer = trace.writer();
            // In two parts: they are one piece.
            writer.append(&[b'x'; 8][..1]);
            writer.append(&[b'x'; 8][..len - 1]);
            writer.finish();
            RUNG.load(Ordering::Relaxed)
        };
        assert_eq!(write(8), 0, "nobody wants to be woken");
        WORDS.region().store(TraceWords::READ_AT, 8_u32).unwrap();
        WORDS.region().store(TraceWords::WAKE_AT, 5_u32).unwrap();
        assert_eq!([write(4), write(2), write(8)], [0, 1, 1]);
        WORDS.region().store(TraceWords::READ_AT, 22_u32).unwrap();
        WORDS.region().store(TraceWords::WAKE_AT, 1_u32).unwrap();
        assert_eq!([write(2), write(2)], [2, 2]);
    }
}
