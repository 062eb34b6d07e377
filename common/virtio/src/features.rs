//! Feature negotiation (2.2): both sides' offers, and what a ring makes of the result.

use core::fmt;

use sidecore_wire::features;

/// What the negotiated features mean for a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFeatures {
    /// `VIRTIO_F_EVENT_IDX`: notifications are asked for by index, not by flag (2.7.10).
    pub event_index: bool,
    /// `VIRTIO_F_INDIRECT_DESC`: descriptors may point to tables of descriptors (2.7.5.3).
    pub indirect: bool,
}

impl RingFeatures {
    /// The ring's part of a negotiated set.
    #[must_use]
    pub const fn of(negotiated: u64) -> Self {
        Self {
            event_index: negotiated & features::EVENT_IDX != 0,
            indirect: negotiated & features::INDIRECT_DESC != 0,
        }
    }
}

/// The set that both sides go on with: what the device offers and the driver understands.
///
/// # Errors
/// A bit that the driver cannot do without (`required`) is not offered.
pub const fn negotiate(offered: u64, understood: u64, required: u64) -> Result<u64, NegotiationError> {
    let missing = required & !offered;
    if missing != 0 {
        return Err(NegotiationError { missing, offered });
    }
    Ok(offered & understood)
}

/// The device does not offer what the driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiationError {
    /// Bits that are needed and not offered.
    pub missing: u64,
    /// All that the device offers.
    pub offered: u64,
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, offered } = self;
        write!(f, "the device offers features {offered:#x} and lacks {missing:#x}, which the driver needs")
    }
}

impl core::error::Error for NegotiationError {}
