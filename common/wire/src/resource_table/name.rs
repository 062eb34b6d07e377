use core::fmt;

use crate::{
    name_service::{self, NameError},
    text,
};

/// The name of an entry: 32 bytes, kept exactly as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedName(pub [u8; FixedName::SIZE]);

impl FixedName {
    /// Bytes in an entry.
    pub const SIZE: usize = 32;

    /// No name: all NULs.
    pub const EMPTY: FixedName = FixedName([0; Self::SIZE]);

    /// Makes a name.
    ///
    /// # Errors
    /// The text is empty, longer than 31 bytes (Linux wants a NUL behind it), or holds a byte that is not printable
    /// ASCII.
    pub const fn new(name: &str) -> Result<FixedName, NameError> {
        match name_service::pad(name) {
            Ok(bytes) => Ok(FixedName(bytes)),
            Err(error) => Err(error),
        }
    }

    /// The bytes before the first NUL: 0 to 32 of them, any values.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap_or(Self::SIZE);
        self.0.get(..len).unwrap_or(&self.0)
    }

    /// Whether there is a NUL; without one, readers in C run past the end.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.0.contains(&0)
    }
}

impl fmt::Display for FixedName {
    /// All 32 bytes but for the NULs at the end: printable ASCII as it is, a backslash doubled, any other byte (a NUL
    /// inside, too) as `\xNN`. The bytes can be recovered from the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        text::escape(self.0.get(..len).unwrap_or(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn fixed(text: &[u8]) -> FixedName {
        let mut bytes = [0; FixedName::SIZE];
        bytes[..text.len()].copy_from_slice(text);
        FixedName(bytes)
    }

    #[test]
    fn name_is_made_at_compile_time_by_the_rules_of_channels() {
        const NAME: Result<FixedName, NameError> = FixedName::new("vdev0buffer");
        assert_eq!(NAME, Ok(fixed(b"vdev0buffer")));
        assert_eq!(FixedName::new(&"x".repeat(32)), Err(NameError::TooLong { len: 32 }));
    }

    #[test]
    fn name_displays_all_of_its_bytes() {
        assert_eq!(format!("{}", FixedName::EMPTY), "");
        assert_eq!(format!("{}", fixed(b"trace:cm4")), "trace:cm4");
        assert_eq!(format!("{}", fixed(b"tty\0junk\n\\")), r"tty\x00junk\x0a\\");
        assert_eq!(format!("{}", fixed(&[b'x'; 32])), "x".repeat(32));
    }

    #[test]
    fn name_ends_at_the_first_nul_if_there_is_one() {
        assert_eq!(fixed(b"tty\0junk").as_bytes(), b"tty");
        assert!(fixed(&[b'x'; 31]).is_terminated());
        assert!(!fixed(&[b'x'; 32]).is_terminated());
        assert_eq!(fixed(&[b'x'; 32]).as_bytes(), [b'x'; 32]);
    }
}
