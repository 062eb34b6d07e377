use core::fmt::{self, Write as _};

/// Writes bytes that a peer chose so that a terminal or a log line cannot be made to do anything: printable ASCII as
/// it is, a backslash doubled, every other byte as `\xNN`. The bytes can be recovered from the text.
pub(crate) fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'\\' => f.write_str("\\\\")?,
            b if is_printable(b) => f.write_char(char::from(b))?,
            b => write!(f, "\\x{b:02x}")?,
        }
    }
    Ok(())
}

/// Whether the byte is printable ASCII, the blank included.
pub(crate) const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}
