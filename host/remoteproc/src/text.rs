//! Text that others wrote, made safe to show.

use alloc::string::String;
use core::fmt::Write as _;

/// At most `limit` of the bytes, printable ASCII as it is, a backslash doubled, any other byte as `\xNN`; an ellipsis
/// where bytes were left out.
pub(crate) fn escape(bytes: &[u8], limit: usize) -> String {
    let mut text = String::new();
    for &byte in bytes.iter().take(limit) {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => push_hex(&mut text, byte),
        }
    }
    if bytes.len() > limit {
        text.push_str("...");
    }
    text
}

pub(crate) fn push_hex(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped_and_what_is_too_long_is_cut() {
        assert_eq!(escape(b".text", 8), ".text");
        assert_eq!(escape(b"\x1b[2J\\\xff", 16), "\\x1b[2J\\\\\\xff");
        assert_eq!(escape(b"abcdef", 3), "abc...");
    }
}
