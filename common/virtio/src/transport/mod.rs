//! How a driver and a device agree on features, rings and status: one file for each transport.

pub mod table;

use core::fmt;

use sidecore_wire::features::VERSION_1;
use sidecore_wire::status::Status;

use crate::{NegotiationError, negotiate};

/// The driver's view of a device's registers.
pub trait DriverTransport {
    /// The features that the device offers.
    fn offered(&self) -> u64;

    /// Tells the device which features are in use.
    fn accept(&self, features: u64);

    /// The status byte as it is now.
    fn status(&self) -> Status;

    /// Writes the status byte. Zero resets the device.
    fn set_status(&self, status: Status);

    /// Goes from reset to the point where rings are set up (3.1.1, steps 1 to 6) and answers the features in use.
    ///
    /// FEATURES_OK belongs to `VIRTIO_F_VERSION_1`; a legacy device, which is what a resource table without that
    /// bit describes, is not asked (3.1.2).
    ///
    /// # Errors
    /// The device lacks a required feature or refuses the chosen set; its status is FAILED then.
    fn begin(&self, understood: u64, required: u64) -> Result<u64, StartError> {
        self.set_status(Status::RESET);
        self.set_status(Status::ACKNOWLEDGE);
        let found = Status::ACKNOWLEDGE.with(Status::DRIVER);
        self.set_status(found);
        let features = match negotiate(self.offered(), understood, required) {
            Ok(features) => features,
            Err(error) => {
                self.set_status(found.with(Status::FAILED));
                return Err(StartError::Features(error));
            }
        };
        self.accept(features);
        if features & VERSION_1 == 0 {
            return Ok(features);
        }
        self.set_status(found.with(Status::FEATURES_OK));
        if self.status().contains(Status::FEATURES_OK) {
            return Ok(features);
        }
        self.set_status(found.with(Status::FAILED));
        Err(StartError::FeaturesRefused { features })
    }

    /// Tells the device that its rings may be used (3.1.1, step 8). Kick its queues afterwards.
    fn driver_ok(&self) {
        self.set_status(self.status().with(Status::DRIVER_OK));
    }
}

/// The device's view of its registers.
pub trait DeviceTransport {
    /// The features that the driver accepted.
    ///
    /// # Errors
    /// It accepted some that were not offered.
    fn accepted(&self) -> Result<u64, NotOffered>;

    /// The status byte as it is now.
    fn status(&self) -> Status;

    /// Tells the driver that only a reset helps (2.1.2).
    fn set_needs_reset(&self);
}

/// Why a device could not be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// It lacks a feature that the driver needs.
    Features(NegotiationError),
    /// It took FEATURES_OK back.
    FeaturesRefused {
        /// The set that it was given.
        features: u64,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(error) => error.fmt(f),
            Self::FeaturesRefused { features } => write!(f, "the device refuses the features {features:#x}"),
        }
    }
}

impl core::error::Error for StartError {}

/// The driver accepted features that the device never offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOffered {
    /// The bits in question.
    pub bits: u64,
}

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the driver accepted features {:#x}, which were never offered", self.bits)
    }
}

impl core::error::Error for NotOffered {}
