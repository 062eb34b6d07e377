//! Dialogues as text: one message a line, who sends it, its bytes, and what it says behind `#`.

use std::vec::Vec;

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Main,
    Remote,
}

/// The messages of a dialogue. A line begins with `main` or `remote`, or goes on with the bytes of the one above.
/// Bytes are hexadecimal digits or, between quotes, ASCII.
pub(crate) fn dialogue(text: &str) -> Vec<(By, Vec<u8>)> {
    let mut messages: Vec<(By, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap().split_whitespace().peekable();
        let by = match words.peek() {
            None => continue,
            Some(&"main") => Some(By::Main),
            Some(&"remote") => Some(By::Remote),
            Some(_) => None,
        };
        if let Some(by) = by {
            words.next();
            messages.push((by, Vec::new()));
        }
        let (_, bytes) = messages.last_mut().expect("a dialogue begins with who speaks");
        for word in words {
            match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
                Some(text) => bytes.extend(text.bytes()),
                None => bytes.push(u8::from_str_radix(word, 16).expect("two hexadecimal digits")),
            }
        }
    }
    messages
}

/// Plays a dialogue: each message is to be what `speak` has its sender say, and then `hear` has the other one hear it.
/// The number counts the messages.
pub(crate) fn play(
    text: &str,
    mut speak: impl FnMut(usize, By) -> Vec<u8>,
    mut hear: impl FnMut(usize, By, &[u8]),
) {
    for (i, (by, bytes)) in dialogue(text).into_iter().enumerate() {
        assert_eq!(speak(i, by), bytes, "message {i}, by {by:?}");
        hear(i, by, &bytes);
    }
}
