//! What a machine writes for people.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::stream::Stream;

/// Bytes that are taken from it at once: a firmware that never stops writing does not keep us.
pub(super) const LOOK: usize = 4096;

/// The connections over which a machine writes, and what came over them and nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Console {
    from: Vec<Stream>,
    kept: RefCell<VecDeque<u8>>,
    most: usize,
}

impl Console {
    /// Of what nobody takes the last `most` bytes are kept.
    pub(super) fn new(from: Vec<Stream>, most: usize) -> Self {
        Self { from, kept: RefCell::default(), most }
    }

    /// The connections whose other ends are open.
    pub(super) fn streams(&self) -> &[Stream] {
        &self.from
    }

    /// Takes some of what has come, never waits: how many bytes.
    pub(super) fn hear(&mut self) -> usize {
        let kept = self.kept.get_mut();
        let mut all = 0;
        self.from.retain(|from| {
            let mut bytes = [0; LOOK];
            let heard = from.take(&mut bytes);
            kept.extend(&bytes[..heard.unwrap_or(0)]);
            all += heard.unwrap_or(0);
            heard.is_ok()
        });
        let superfluous = kept.len().saturating_sub(self.most);
        kept.drain(..superfluous);
        all
    }

    /// Takes all that has come, at most as much as is kept.
    pub(super) fn hear_out(&mut self) {
        for _ in 0..self.most.div_ceil(LOOK) {
            if self.hear() == 0 {
                break;
            }
        }
    }

    /// Adds text, as if it had come.
    pub(super) fn add(&mut self, text: &str) {
        self.kept.get_mut().extend(text.bytes());
    }

    /// What has come since the last time.
    pub(super) fn take(&self) -> Vec<u8> {
        self.kept.take().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_nobody_takes_the_last_is_kept_and_an_end_is_seen() {
        let (ours, theirs) = Stream::pair().unwrap();
        let mut console = Console::new(vec![ours], 5);
        rustix::io::write(&theirs, b"hello").unwrap();
        console.hear_out();
        rustix::io::write(&theirs, b"you").unwrap();
        assert_eq!(console.hear(), 3);
        assert_eq!((console.take(), console.take()), (b"loyou".to_vec(), Vec::new()));
        drop(theirs);
        assert_eq!(console.streams().len(), 1);
        assert_eq!(console.hear(), 0);
        assert!(console.streams().is_empty());
    }
}
