//! The other end of a ping: a remote that announces [`CHANNEL`] gets every message back.

use std::collections::VecDeque;

use sidecore_services::PeerError;

use crate::service::{Offer, Serve};

/// The channel on which a remote asks to be echoed.
pub const CHANNEL: &str = "rpmsg-ping";

/// Answers that may wait for a transmit buffer; a remote that is so far ahead reads nothing.
const WAITING: usize = 256;

/// Offers to echo a remote's messages, on any number of channels. The main side speaks first (an empty message), so
/// that the remote learns its address.
#[must_use]
pub fn offer() -> Offer {
    Offer {
        channel: CHANNEL,
        open: Box::new(|| Some(Box::new(Echo { answers: VecDeque::from([Vec::new()]) }))),
    }
}

struct Echo {
    answers: VecDeque<Vec<u8>>,
}

impl Serve for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn receive(&mut self, message: &[u8]) -> Result<(), PeerError> {
        if self.answers.len() == WAITING {
            let why = "256 answers wait that the remote has not read";
            return Err(PeerError::OutOfTurn { message: "a message to echo", why });
        }
        self.answers.push_back(message.to_vec());
        Ok(())
    }

    fn transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, PeerError> {
        let Some(answer) = self.answers.pop_front() else { return Ok(None) };
        let Some(to) = out.get_mut(..answer.len()) else {
            // Buffers of the two directions can differ in size.
            let why = "it is longer than the remote's receive buffers";
            return Err(PeerError::OutOfTurn { message: "a message to echo", why });
        };
        to.copy_from_slice(&answer);
        Ok(Some(answer.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Box<dyn Serve> {
        (offer().open)().expect("echo is for everyone")
    }

    #[test]
    fn it_speaks_first_and_then_sends_back_what_comes_in_order() {
        let (mut echo, mut out) = (echo(), [0; 8]);
        assert_eq!(echo.transmit(&mut out), Ok(Some(0)));
        assert_eq!(echo.transmit(&mut out), Ok(None));
        echo.receive(b"one").unwrap();
        echo.receive(b"three").unwrap();
        assert_eq!((echo.transmit(&mut out), &out[..3]), (Ok(Some(3)), &b"one"[..]));
        assert_eq!((echo.transmit(&mut out), &out[..5]), (Ok(Some(5)), &b"three"[..]));
    }

    #[test]
    fn a_flood_and_an_answer_that_does_not_fit_are_refused_and_the_rest_goes_on() {
        let (mut echo, mut out) = (echo(), [0; 4]);
        let taken = (0..1000).filter(|_| echo.receive(b"x").is_ok()).count();
        assert_eq!(taken, WAITING - 1);
        while echo.transmit(&mut out) != Ok(None) {}
        echo.receive(b"too long").unwrap();
        echo.receive(b"fits").unwrap();
        assert!(echo.transmit(&mut out).is_err());
        assert_eq!((echo.transmit(&mut out), &out), (Ok(Some(4)), b"fits"));
    }
}
