//! A buffer that is text and nothing else, as Linux' debugfs shows it: what is new in it is told by comparing.

use alloc::vec::Vec;

use sidecore_mem::Region;

/// Looks at a buffer again and again, and tells what is new.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// What was told so far, byte for byte.
    told: Vec<u8>,
}

/// What is new in a buffer since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// This was appended.
    Appended(Vec<u8>),
    /// The firmware goes round in a circle: the buffer is as full as before or fuller, and something at its beginning was
    /// overwritten. First what was appended, then what was overwritten; it may have gone round more than once.
    Wrapped(Vec<u8>),
    /// The buffer was written anew, and this is all of it; something between may have been missed.
    Rewritten(Vec<u8>),
}

impl Plain {
    /// Looks at the buffer once more. Takes time and memory linear in the buffer's length, whatever is in it.
    pub(super) fn look<O: Clone>(&mut self, buffer: &Region<O>) -> Change {
        let Snapshot { bytes: mut now, circular } = snapshot(buffer);
        if now.len() < buffer.len() {
            // The rest of a character that is being written comes with the next look.
            now.truncate(now.len() - unfinished(&now));
        }
        // With its NUL at the very end, a circle looks like a buffer that has been filled once.
        let full = now.len() + 1 == buffer.len();
        let slides = circular || full && overlap(&self.told, &now) > 0;
        let change = if slides { slide(&self.told, &now) } else { compare(&self.told, &now) };
        self.told = now;
        change
    }
}

fn compare(before: &[u8], now: &[u8]) -> Change {
    let Some((old, appended)) = now.split_at_checked(before.len()) else {
        return Change::Rewritten(now.to_vec());
    };
    let differs = |(index, (old, before)): (usize, (&u8, &u8))| (old != before).then_some(index);
    let mut different = old.iter().zip(before).enumerate().filter_map(differs);
    match (different.next(), appended) {
        (None, []) => Change::Nothing,
        (None, appended) => Change::Appended(appended.to_vec()),
        (Some(first), appended) => {
            let last = different.next_back().unwrap_or(first);
            Change::Wrapped([appended, &old[first..=last]].concat())
        }
    }
}

/// What is new in a circle's text, whose older end may be gone.
fn slide(before: &[u8], now: &[u8]) -> Change {
    let (old, new) = now.split_at(overlap(before, now));
    match (old, new) {
        ([], _) => Change::Rewritten(new.to_vec()),
        (_, []) => Change::Nothing,
        _ => Change::Appended(new.to_vec()),
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
pub(super) struct Snapshot {
    /// The text, oldest first.
    pub(super) bytes: Vec<u8>,
    /// The text has gone round behind a NUL.
    circular: bool,
}

/// Copies what a buffer says now.
pub(super) fn snapshot<O: Clone>(buffer: &Region<O>) -> Snapshot {
    let len = buffer.len();
    let mut bytes = alloc::vec![0; len];
    buffer.read(0, &mut bytes).expect("the copy is as long as the buffer");
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
    Snapshot { bytes, circular }
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

#[cfg(test)]
mod tests;
