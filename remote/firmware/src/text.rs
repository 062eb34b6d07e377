//! Formatted text in a fixed room.

use core::fmt;

/// Up to `N` bytes of text. What does not fit is cut off, which `...` at its end shows; formatting ends there, so
/// that it takes no longer than its room, whatever is formatted.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
    cut: bool,
}

const CUT: &str = "...";

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        const { assert!(N >= CUT.len(), "the mark of a cut fits") };
        Self { bytes: [0; N], len: 0, cut: false }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only whole characters were written.
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or(CUT)
    }

    fn append(&mut self, text: &str) {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
        }
        self.len += text.len();
    }

    /// Shortens to whole characters that leave room for the mark, and adds it.
    fn cut(&mut self) {
        let room = self.as_str().floor_char_boundary(N - CUT.len());
        self.len = self.len.min(room);
        self.append(CUT);
        self.cut = true;
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        let fits = text.floor_char_boundary(N - self.len);
        self.append(text.get(..fits).unwrap_or_default());
        if fits < text.len() {
            self.cut();
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    #[test]
    fn text_that_fits_is_whole() {
        let mut text = Text::<8>::new();
        assert_eq!(text.as_str(), "");
        assert!(write!(text, "abcd:{}", 123).is_ok());
        assert_eq!(text.as_str(), "abcd:123");
    }

    #[test]
    fn text_that_does_not_fit_is_cut_visibly_and_between_characters() {
        let mut text = Text::<8>::new();
        assert!(write!(text, "abcde{:?}", Some(5)).is_err());
        assert_eq!(text.as_str(), "abcde...");
        assert!(text.write_str("more").is_err());
        assert_eq!(text.as_str(), "abcde...");

        let mut text = Text::<8>::new();
        assert!(text.write_str("abcdé fgh").is_err());
        assert_eq!(text.as_str(), "abcd...");

        let mut text = Text::<3>::new();
        assert!(text.write_str("€€").is_err());
        assert_eq!(text.as_str(), "...");
    }
}
