//! A sink: a remote that announces [`CHANNEL`] may send whatever it likes, and nothing comes back.

use sidecore_services::PeerError;

use crate::service::{Offer, Serve};

/// The channel on which a remote asks for someone who takes everything.
pub const CHANNEL: &str = "rpmsg-discard";

/// Offers to take a remote's messages and forget them, on any number of channels: for floods and for measurements. The
/// main side speaks first (an empty message), so that the remote learns its address.
#[must_use]
pub fn offer() -> Offer {
    Offer { channel: CHANNEL, open: Box::new(|| Some(Box::new(Discard { greeted: false }))) }
}

struct Discard {
    greeted: bool,
}

impl Serve for Discard {
    fn name(&self) -> &'static str {
        "discard"
    }

    fn receive(&mut self, _: &[u8]) -> Result<(), PeerError> {
        Ok(())
    }

    fn transmit(&mut self, _: &mut [u8]) -> Result<Option<usize>, PeerError> {
        let first = !self.greeted;
        self.greeted = true;
        Ok(first.then_some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_first_and_never_again() {
        let (mut discard, mut out) = ((offer().open)().unwrap(), [0; 8]);
        assert_eq!(discard.transmit(&mut out), Ok(Some(0)));
        for _ in 0..1000 {
            discard.receive(b"anything").unwrap();
            assert_eq!(discard.transmit(&mut out), Ok(None));
        }
    }
}
