//! Trace buffers: text that the firmware writes into its own memory, read without its help.
//!
//! The format is that of Linux' debugfs: text from the beginning of the buffer up to the first NUL, with no offsets and
//! no wake-up. Firmware appends until the buffer is full, and then stops, begins again, or overwrites in a circle; a
//! [`TraceFollower`] tells these apart as far as the bytes allow. Firmware of ours goes round in a circle and lets a NUL
//! go ahead of it: text behind the first NUL that reaches to the buffer's end is then the older part.
//!
//! The text is the firmware's, so it is escaped: printable characters, line feeds and tabs stand for themselves, all else
//! as `\x1b` or `\u{202e}`. No work exceeds the length of the buffer.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use sidecore_mem::{AddressMap, DeviceAddr, MapError};

use crate::text::push_hex;

/// A trace buffer in the remote's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceBuffer {
    /// Number of its entry in the resource table.
    pub entry: u32,
    /// Its name, made printable.
    pub name: String,
    /// Device address.
    pub at: DeviceAddr,
    /// Length in bytes.
    pub len: u32,
}

/// What a trace buffer says now, oldest first, escaped.
///
/// # Errors
/// The buffer is not in one of the memories.
pub fn read_trace<O: Clone, const N: usize>(
    map: &AddressMap<O, N>,
    trace: &TraceBuffer,
) -> Result<String, MapError> {
    let Snapshot { bytes, .. } = snapshot(map, trace)?;
    let mut text = String::new();
    push_text(&mut text, &bytes);
    Ok(text)
}

/// Reads a trace buffer again and again, and tells what is new.
#[derive(Clone, Debug)]
pub struct TraceFollower {
    trace: TraceBuffer,
    /// What was told so far, byte for byte.
    told: Vec<u8>,
}

/// What is new in a trace buffer since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceChange {
    /// Nothing.
    Nothing,
    /// This was appended.
    Appended(String),
    /// The firmware goes round in a circle: the buffer is as full as before or fuller, and something at its beginning was
    /// overwritten. First what was appended, then what was overwritten; it may have gone round more than once.
    Wrapped(String),
    /// The buffer was written anew, and this is all of it; something between may have been missed.
    Rewritten(String),
}

impl TraceFollower {
    /// Follows a buffer from its beginning.
    #[must_use]
    pub fn new(trace: TraceBuffer) -> TraceFollower {
        TraceFollower { trace, told: Vec::new() }
    }

    /// The buffer that is followed.
    #[must_use]
    pub fn trace(&self) -> &TraceBuffer {
        &self.trace
    }

    /// Looks at the buffer once more. Takes time and memory linear in the buffer's length, whatever is in it.
    ///
    /// # Errors
    /// The buffer is not in one of the memories.
    pub fn poll<O: Clone, const N: usize>(
        &mut self,
        map: &AddressMap<O, N>,
    ) -> Result<TraceChange, MapError> {
        let Snapshot { bytes: mut now, circular } = snapshot(map, &self.trace)?;
        if now.len() < self.trace.len as usize {
            // The rest of a character that is being written comes with the next look.
            now.truncate(now.len() - unfinished(&now));
        }
        // With its NUL at the very end, a circle looks like a buffer that has been filled once.
        let full = now.len() + 1 == self.trace.len as usize;
        let slides = circular || full && overlap(&self.told, &now) > 0;
        let change = if slides { slide(&self.told, &now) } else { compare(&self.told, &now) };
        self.told = now;
        Ok(change)
    }
}

fn compare(before: &[u8], now: &[u8]) -> TraceChange {
    let mut text = String::new();
    let Some((old, appended)) = now.split_at_checked(before.len()) else {
        push_text(&mut text, now);
        return TraceChange::Rewritten(text);
    };
    let differs = |(index, (old, before)): (usize, (&u8, &u8))| (old != before).then_some(index);
    let mut different = old.iter().zip(before).enumerate().filter_map(differs);
    match (different.next(), appended) {
        (None, []) => TraceChange::Nothing,
        (None, appended) => {
            push_text(&mut text, appended);
            TraceChange::Appended(text)
        }
        (Some(first), appended) => {
            let last = different.next_back().unwrap_or(first);
            push_text(&mut text, appended);
            push_text(&mut text, &old[first..=last]);
            TraceChange::Wrapped(text)
        }
    }
}

/// What is new in a circle's text, whose older end may be gone.
fn slide(before: &[u8], now: &[u8]) -> TraceChange {
    let known = overlap(before, now);
    let (old, new) = now.split_at(known);
    let mut text = String::new();
    push_text(&mut text, new);
    match (old, new) {
        ([], _) => TraceChange::Rewritten(text),
        (_, []) => TraceChange::Nothing,
        _ => TraceChange::Appended(text),
    }
}

/// Length of the longest end of `before` that `now` begins with (Knuth, Morris and Pratt: linear whatever the bytes).
fn overlap(before: &[u8], now: &[u8]) -> usize {
    let mut borders: Vec<usize> = Vec::with_capacity(now.len());
    let step = |borders: &[usize], mut len: usize, byte: u8| {
        while len > 0 && now.get(len) != Some(&byte) {
            len = borders[len - 1];
        }
        len + usize::from(now.get(len) == Some(&byte))
    };
    for (index, &byte) in now.iter().enumerate() {
        let border = borders.last().map_or(0, |&last| step(&borders, last, byte));
        borders.push(if index == 0 { 0 } else { border });
    }
    before.iter().fold(0, |len, &byte| step(&borders, len, byte))
}

/// A private copy of a buffer's text.
struct Snapshot {
    /// The text, oldest first.
    bytes: Vec<u8>,
    /// The text has gone round behind a NUL.
    circular: bool,
}

fn snapshot<O: Clone, const N: usize>(
    map: &AddressMap<O, N>,
    trace: &TraceBuffer,
) -> Result<Snapshot, MapError> {
    let len = trace.len as usize;
    let region = map.resolve(trace.at, len)?;
    let mut bytes = alloc::vec![0; len];
    region.read(0, &mut bytes).expect("the region is as long as the buffer");
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(len);
    let circular = end < len && bytes.last().is_some_and(|&last| last != 0);
    if circular {
        bytes.rotate_left(end);
        let older = bytes.iter().position(|&byte| byte != 0).unwrap_or(0);
        bytes.drain(..older);
        bytes.retain(|&byte| byte != 0);
    } else {
        bytes.truncate(end);
    }
    Ok(Snapshot { bytes, circular })
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    let incomplete = |len: &usize| {
        let end = &tail[tail.len() - len..];
        core::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=tail.len()).rev().find(incomplete).unwrap_or(0)
}

fn push_text(text: &mut String, bytes: &[u8]) {
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
mod tests;
