//! What a remote gets from the main side and the other way round: console, files.
//!
//! A service is a folder: `protocol` holds its messages (one rpmsg message each, little endian, the first byte says
//! which), `client` the remote's half and `server` the main side's. Both halves are state machines without I/O: they
//! take the bytes of a received message and write the bytes of the next one into a buffer of the caller, so they run
//! in firmware, on the main side, over any link, and under a fuzzer.
//!
//! How the halves meet is the same for all: the remote announces the service's [channel](Service::channel), and the
//! main side, which learns the remote's address from that, sends its hello first. The remote answers with its own.
//! Each names the highest version of the protocol that it speaks; both then speak the lower one.
//!
//! **A message that was written must be sent.** The state machine has moved on when it returns, so whoever may find
//! no transmit buffer gets the buffer first (`Rpmsg::reserve`) and has the message written then.
//!
//! Nobody believes the other: whatever a peer sends is a message, or a [`PeerError`] that costs nothing but that
//! message, and changes nothing.
#![no_std]

#[cfg(test)]
extern crate std;

mod bytes;
pub mod console;
mod error;
pub mod file;

#[cfg(test)]
mod testing;

pub use crate::{bytes::NoRoom, error::PeerError};
pub use sidecore_wire::{Fault, Malformed};

/// Bytes that a buffer for a service's messages needs: room for every message of fixed length, and for some data.
pub const MIN_MESSAGE: usize = 32;

/// Bytes of the longest message that a remote takes unless it says otherwise: what fits a buffer of rpmsg's usual size.
pub const USUAL_MESSAGE: u16 = 496;

/// What is known of a service without speaking to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The service's own name, that of its folder here and of its page in the book.
    pub name: &'static str,
    /// The name under which a remote announces that it wants the service.
    pub channel: &'static str,
    /// What it is for, in half a sentence.
    pub summary: &'static str,
}

/// All services, by name.
pub const SERVICES: &[Service] = &[console::SERVICE, file::SERVICE];

/// A piece of data was put into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that was written must be sent"]
pub struct Chunk<'o> {
    /// The message to send.
    pub message: &'o [u8],
    /// How many bytes of the data are in it. The rest goes into the next one.
    pub taken: usize,
}

#[cfg(test)]
mod tests {
    use sidecore_wire::name_service::Name;

    use super::*;

    #[test]
    fn services_are_in_order_and_none_is_there_twice() {
        assert!(SERVICES.is_sorted_by(|a, b| a.name < b.name));
        for (i, service) in SERVICES.iter().enumerate() {
            assert!(SERVICES[..i].iter().all(|other| other.channel != service.channel), "{service:?}");
            assert!(SERVICES[..i].iter().all(|other| other.summary != service.summary), "{service:?}");
        }
    }

    #[test]
    fn channels_are_names_that_no_other_channel_is_an_instance_of() {
        for service in SERVICES {
            let name = Name::new(service.channel).expect("a name that can be announced");
            for other in SERVICES {
                assert_eq!(name.matches(other.channel), service == other, "{service:?} and {other:?}");
            }
        }
    }

    #[test]
    fn every_service_has_a_golden_dialogue_that_the_main_side_opens() {
        for Service { name, .. } in SERVICES {
            let path = std::format!("{}/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).expect(&path);
            assert_eq!(
                testing::dialogue(&text).first().map(|message| message.0),
                Some(testing::By::Main),
                "{path}"
            );
        }
    }

    #[test]
    fn summaries_are_half_a_sentence() {
        for Service { name, summary, .. } in SERVICES {
            assert!(
                !summary.is_empty() && !summary.ends_with('.') && summary.len() <= 80,
                "{name}: {summary}"
            );
        }
    }
}
