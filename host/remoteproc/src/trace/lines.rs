//! What a drain gives, as lines that can be shown.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use super::TraceBuffer;
use super::drain::{Look, Lost, Trouble};
use crate::text::push_hex;

/// What the buffer is called that holds frames of the `defmt` crate.
const DEFMT: &str = "defmt";

/// Bytes after which a line is ended that does not end.
const LINE_MAX: usize = 4096;

/// A line of a trace, or what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line that the firmware wrote, without its end, escaped.
    Text(String),
    /// A frame of the `defmt` crate, in its rzcobs encoding, without its end.
    Frame(Vec<u8>),
    /// Bytes were overwritten before they were read. What the line before and the line behind lack is counted, too.
    Lost(Lost),
    /// The firmware breaks the rules of the buffer's words.
    Trouble(Trouble),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Text(text) => f.write_str(text),
            Line::Frame(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Line::Lost(lost) => write!(f, "-- {lost} --"),
            Line::Trouble(trouble) => write!(f, "-- {trouble} --"),
        }
    }
}

/// Makes lines of what a drain gives, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// A line whose end has not come yet.
    partial: Vec<u8>,
    /// They are frames.
    frames: bool,
}

impl Lines {
    /// Lines of this buffer: of text, or frames where it is called `defmt` and has words.
    #[must_use]
    pub fn of(trace: &TraceBuffer) -> Lines {
        Lines { partial: Vec::new(), frames: trace.name == DEFMT && trace.words.is_some() }
    }

    /// The lines that are complete with this look. One that is longer than 4096 bytes is broken into several.
    pub fn take(&mut self, look: Look) -> Vec<Line> {
        let mut lines = Vec::new();
        if look.lost != Lost::Nothing || look.trouble.is_some() {
            // What began before the gap does not go on behind it.
            lines.extend(self.end());
        }
        lines.extend(look.trouble.map(Line::Trouble));
        lines.extend(Some(look.lost).filter(|lost| *lost != Lost::Nothing).map(Line::Lost));
        let end = if self.frames { 0 } else { b'\n' };
        for piece in look.bytes.split_inclusive(|&byte| byte == end) {
            self.partial.extend_from_slice(piece);
            if self.partial.ends_with(&[end]) {
                lines.extend(self.end());
            }
            while self.partial.len() > LINE_MAX {
                let rest = self.partial.split_off(LINE_MAX);
                lines.extend(self.end());
                self.partial = rest;
            }
        }
        lines
    }

    /// The line that has begun, where no more will come.
    pub fn end(&mut self) -> Option<Line> {
        let mut bytes = core::mem::take(&mut self.partial);
        if self.frames {
            bytes.pop_if(|byte| *byte == 0);
            return Some(Line::Frame(bytes)).filter(|line| *line != Line::Frame(Vec::new()));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut text = String::new();
        push_text(&mut text, line.strip_suffix(b"\r").unwrap_or(line));
        (!bytes.is_empty()).then_some(Line::Text(text))
    }
}

/// Appends text of the firmware's: printable characters, line feeds and tabs as themselves, all else escaped.
pub(super) fn push_text(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\r' if characters.peek() == Some(&'\n') => {}
                '\n' | '\t' => text.push(character),
                '\\' => text.push_str("\\\\"),
                hidden if is_hidden(hidden) => push_hidden(text, hidden),
                visible => text.push(visible),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_hex(text, byte));
    }
}

/// Control characters, and those that turn the direction of text, are invisible, or end a line.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

fn push_hidden(text: &mut String, character: char) {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => push_hex(text, byte),
        _ => write!(text, "{}", character.escape_unicode()).expect("writing to a string cannot fail"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use sidecore_mem::DeviceAddr;

    use super::*;

    fn bytes(bytes: &[u8]) -> Look {
        Look { bytes: bytes.to_vec(), lost: Lost::Nothing, trouble: None }
    }

    fn text(text: &str) -> Line {
        Line::Text(text.into())
    }

    #[test]
    fn lines_are_told_when_they_are_complete() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(bytes(b"one\ntw")), [text("one")]);
        assert_eq!(lines.take(bytes(b"o\r\n\n\x1b[2Jthree")), [text("two"), text("")]);
        assert_eq!(lines.end(), Some(text("\\x1b[2Jthree")));
        assert_eq!(lines.end(), None);
    }

    #[test]
    fn a_gap_ends_the_line_before_it() {
        let mut lines = Lines::default();
        lines.take(bytes(b"half of"));
        let gap = Look { bytes: b"the other half\n".to_vec(), lost: Lost::Bytes(7), trouble: None };
        assert_eq!(lines.take(gap), [text("half of"), Line::Lost(Lost::Bytes(7)), text("the other half")]);
        assert_eq!(alloc::format!("{}", Line::Lost(Lost::Bytes(7))), "-- 7 bytes lost --");
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let mut lines = Lines::default();
        let told = lines.take(bytes(&vec![b'x'; 10_000]));
        let lens = told.iter().map(|line| alloc::format!("{line}").len());
        assert!(lens.eq([LINE_MAX, LINE_MAX]));
        assert_eq!(lines.end().map(|line| alloc::format!("{line}").len()), Some(10_000 - 2 * LINE_MAX));
    }

    #[test]
    fn a_buffer_of_frames_gives_frames_whatever_is_in_them() {
        let words = Some(crate::trace::Words { at: DeviceAddr(0), rings: false });
        let trace = TraceBuffer { entry: 0, name: DEFMT.into(), at: DeviceAddr(0), len: 64, words };
        let mut lines = Lines::of(&trace);
        let frame = |bytes: &[u8]| Line::Frame(bytes.to_vec());
        assert_eq!(lines.take(bytes(b"\0\x03\n~\0\0\xff")), [frame(b"\x03\n~")]);
        let gap = Look { bytes: b"rest\0".to_vec(), lost: Lost::Bytes(3), trouble: None };
        assert_eq!(lines.take(gap), [frame(b"\xff"), Line::Lost(Lost::Bytes(3)), frame(b"rest")]);
        assert_eq!((alloc::format!("{}", frame(b"\x03\xff")), lines.end()), ("03ff".into(), None));
        // Without words there is no telling where it begins.
        let mut plain = Lines::of(&TraceBuffer { words: None, ..trace });
        assert_eq!(plain.take(bytes(b"text\n")), [text("text")]);
    }
}
