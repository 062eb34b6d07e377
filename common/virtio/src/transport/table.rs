//! A resource table's vdev entry as the registers of a virtio device.
//!
//! Linux' remoteproc and OpenAMP use the entry in the *loaded* table this way (`drivers/remoteproc/
//! remoteproc_virtio.c`): the firmware offers features and rings in it, the main side writes the accepted
//! features, the rings' addresses and the status back. There is no register access to trap, so each side sees the
//! other's writes when it looks.

use core::cell::Cell;
use core::fmt;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AccessError, Region, Word};
use sidecore_wire::Malformed;
use sidecore_wire::config::{Epochs, RpmsgConfig};
use sidecore_wire::features::F_EPOCH;
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::resource_table::vring;
use sidecore_wire::resource_table::{VdevHeader, Vring};
use sidecore_wire::status::Status;

use super::{DeviceTransport, DriverTransport, NotOffered};
use crate::status::{Change, change, is_running};

/// The vdev entry in shared memory, its extent checked once.
#[derive(Clone, Debug)]
struct Registers<O> {
    entry: Region<O>,
    status: Word<u8, O>,
    rings: u8,
    config_len: usize,
    epochs: Option<EpochWords<O>>,
}

/// The words by which a reset is acknowledged, of a device that offers [`F_EPOCH`].
#[derive(Clone, Debug)]
struct EpochWords<O> {
    driver: Word<u32, O>,
    device: Word<u32, O>,
}

impl<O: Clone> Registers<O> {
    /// `table` is the loaded table and `at` the entry's offset in it. The counts are read here once and kept: a
    /// peer that changes them later changes nothing for us.
    fn new(table: &Region<O>, at: usize) -> Result<Self, RegisterError> {
        let header = VdevHeader::parse(&table.read_array(at)?);
        let rings = header.num_of_vrings;
        let config_len = header.config_len as usize;
        let fixed = offset::VRINGS + vring::SIZE * usize::from(rings);
        let len =
            fixed.checked_add(config_len).ok_or(RegisterError::ConfigLength { len: header.config_len })?;
        let entry = table.slice(at, len)?;
        let status = entry.word(offset::STATUS)?;
        let offered = u64::from(header.dfeatures) & F_EPOCH != 0;
        let epochs = Epochs::at(config_len).filter(|_| offered).and_then(|at| {
            // In a table that is not aligned a word may be seen half written; then there is no acknowledging.
            let driver = entry.word(fixed + at + Epochs::DRIVER).ok()?;
            Some(EpochWords { driver, device: entry.word(fixed + at + Epochs::DEVICE).ok()? })
        });
        Ok(Self { entry, status, rings, config_len, epochs })
    }
}

impl<O> Registers<O> {
    fn load(&self, at: usize) -> u32 {
        // Any alignment: tables with unaligned entries are shipped.
        self.entry.read_array(at).map_or(0, u32::from_le_bytes)
    }

    fn vring_at(&self, index: u8) -> Result<usize, RegisterError> {
        if index < self.rings {
            Ok(offset::VRINGS + vring::SIZE * usize::from(index))
        } else {
            Err(RegisterError::NoSuchRing { index, rings: self.rings })
        }
    }

    fn vring(&self, index: u8) -> Result<Vring, RegisterError> {
        Ok(Vring::parse(&self.entry.read_array(self.vring_at(index)?)?))
    }

    fn config_at(&self) -> usize {
        offset::VRINGS + vring::SIZE * usize::from(self.rings)
    }

    fn rpmsg_config(&self) -> Result<RpmsgConfig, RegisterError> {
        let short = RegisterError::ConfigLength { len: self.config_len as u32 };
        if self.config_len < RpmsgConfig::SIZE {
            return Err(short);
        }
        let bytes: [u8; RpmsgConfig::SIZE] = self.entry.read_array(self.config_at())?;
        RpmsgConfig::parse(&bytes).map_err(RegisterError::Config)
    }
}

/// The main side's end: the driver of the device that the entry describes.
#[derive(Clone, Debug)]
pub struct Driver<O = ()> {
    registers: Registers<O>,
}

impl<O: Clone> Driver<O> {
    /// The vdev entry at offset `at` of the loaded table.
    ///
    /// # Errors
    /// The entry leaves the table.
    pub fn new(table: &Region<O>, at: usize) -> Result<Self, RegisterError> {
        Ok(Self { registers: Registers::new(table, at)? })
    }
}

impl<O> Driver<O> {
    /// Number of rings that the device has.
    pub fn rings(&self) -> u8 {
        self.registers.rings
    }

    /// One ring's entry as it is now.
    ///
    /// # Errors
    /// There is no such ring.
    pub fn vring(&self, index: u8) -> Result<Vring, RegisterError> {
        self.registers.vring(index)
    }

    /// The device's configuration, for a device that offers `VIRTIO_RPMSG_F_BUFSZ`.
    ///
    /// # Errors
    /// It is too short or no such configuration.
    pub fn rpmsg_config(&self) -> Result<RpmsgConfig, RegisterError> {
        self.registers.rpmsg_config()
    }

    /// Resets the device, and answers by what it is known that the device has let go of rings and buffers; `None` where it
    /// will not tell ([`F_EPOCH`] is not offered). Rings may be rung afterwards: a device that tells knows a reset from a
    /// start.
    pub fn reset(&self) -> Option<Reset> {
        let reset = self.registers.epochs.as_ref().map(|epochs| {
            let before = epochs.driver.load();
            // Whatever somebody may have left in the device's word must not look like its answer.
            let next = [1, 2].map(|step| before.wrapping_add(step));
            let epoch = if next[0] == epochs.device.load() { next[1] } else { next[0] };
            epochs.driver.store(epoch);
            Reset { epoch }
        });
        self.set_status(Status::RESET);
        reset
    }

    /// Whether the device has let go of rings and buffers since. What it wrote there is seen after this.
    pub fn is_acknowledged(&self, reset: Reset) -> bool {
        let device = self.registers.epochs.as_ref().map(|epochs| epochs.device.load());
        full_fence();
        device == Some(reset.epoch)
    }
}

/// A [reset](Driver::reset) that the device is to acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    epoch: u32,
}

impl<O> DriverTransport for Driver<O> {
    fn offered(&self) -> u64 {
        u64::from(self.registers.load(offset::DFEATURES))
    }

    fn accept(&self, features: u64) {
        let written = self.registers.entry.write(offset::GFEATURES, &(features as u32).to_le_bytes());
        debug_assert!(written.is_ok(), "the entry's extent was checked when the registers were made");
    }

    fn status(&self) -> Status {
        Status(self.registers.status.load())
    }

    fn set_status(&self, status: Status) {
        // Everything that the new status speaks of (features, rings) is seen before it, and it before what follows.
        full_fence();
        self.registers.status.store(status.0);
        full_fence();
    }
}

/// The firmware's end: the device that the entry describes.
#[derive(Debug)]
pub struct Device<O = ()> {
    registers: Registers<O>,
    offered: u64,
    seen: Cell<Status>,
}

impl<O: Clone> Device<O> {
    /// The vdev entry at offset `at` of the loaded table.
    ///
    /// # Errors
    /// The entry leaves the table.
    pub fn new(table: &Region<O>, at: usize) -> Result<Self, RegisterError> {
        let registers = Registers::new(table, at)?;
        let offered = u64::from(registers.load(offset::DFEATURES));
        Ok(Self { registers, offered, seen: Cell::new(Status::RESET) })
    }
}

impl<O> Device<O> {
    /// Number of rings that the device has.
    pub fn rings(&self) -> u8 {
        self.registers.rings
    }

    /// Looks at the status and tells what is new since the last look. To be called on every kick and on every
    /// poll alike, so that a lost kick loses nothing.
    ///
    /// A driver that resets and is ready again between two looks is seen where [`set_needs_reset`] had asked for it
    /// (its bit is gone): first as [`Change::Reset`], at the next look as [`Change::Started`].
    ///
    /// [`set_needs_reset`]: DeviceTransport::set_needs_reset
    pub fn poll(&self) -> Change {
        let now = self.status();
        // Whatever the driver wrote before the status is read after it.
        full_fence();
        let change = change(self.seen.get(), now);
        let is_back = change == Change::Reset && is_running(now);
        self.seen.set(if is_back { Status::RESET } else { now });
        change
    }

    /// Takes the driver for one that has yet to start, so that [`poll`](Self::poll) answers [`Change::Started`] again
    /// if it is ready. For a device that found its rings cleared
    /// ([`DeviceQueue::is_cleared`](crate::DeviceQueue::is_cleared)): a driver may reset and be ready again between
    /// two looks (Linux' resets in silence), and the status does not tell.
    pub fn start_over(&self) {
        self.seen.set(Status::RESET);
    }

    /// Tells the driver that rings and buffers of the link before are not touched any more, if it asks for that
    /// ([`F_EPOCH`]). To be called whenever no link is there, and before one is made; whether there was anything to tell.
    pub fn acknowledge(&self) -> bool {
        let Some(epochs) = &self.registers.epochs else { return false };
        let epoch = epochs.driver.load();
        if epochs.device.load() == epoch {
            return false;
        }
        // The last touch comes before the word that says so.
        full_fence();
        epochs.device.store(epoch);
        full_fence();
        true
    }

    /// One ring as the driver placed it; to be read after [`Change::Started`].
    ///
    /// # Errors
    /// There is no such ring.
    pub fn vring(&self, index: u8) -> Result<Vring, RegisterError> {
        self.registers.vring(index)
    }

    /// The configuration that this device shows.
    ///
    /// # Errors
    /// It is too short or no such configuration.
    pub fn rpmsg_config(&self) -> Result<RpmsgConfig, RegisterError> {
        self.registers.rpmsg_config()
    }
}

impl<O> DeviceTransport for Device<O> {
    fn accepted(&self) -> Result<u64, NotOffered> {
        let accepted = u64::from(self.registers.load(offset::GFEATURES));
        match accepted & !self.offered {
            0 => Ok(accepted),
            bits => Err(NotOffered { bits }),
        }
    }

    fn status(&self) -> Status {
        Status(self.registers.status.load())
    }

    fn set_needs_reset(&self) {
        // Read, then write: the byte has no atomic update that every bus between two processors honours. A driver
        // that resets at this very moment may find the bit again, and resets once more.
        self.registers.status.store(self.status().with(Status::NEEDS_RESET).0);
        // Remembered here, since the driver may have taken it away before the next look.
        self.seen.set(self.seen.get().with(Status::NEEDS_RESET));
        full_fence();
    }
}

/// Why a vdev entry cannot serve as registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The entry leaves the table, or its status byte cannot be reached.
    Access(AccessError),
    /// The length of the configuration space cannot be right.
    ConfigLength {
        /// Its length in bytes.
        len: u32,
    },
    /// The configuration is none that we know.
    Config(Malformed),
    /// There is no ring with this index.
    NoSuchRing {
        /// The index asked for.
        index: u8,
        /// How many rings there are.
        rings: u8,
    },
}

impl From<AccessError> for RegisterError {
    fn from(error: AccessError) -> Self {
        Self::Access(error)
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(error) => write!(f, "vdev entry: {error}"),
            Self::ConfigLength { len } => write!(f, "vdev entry: a configuration space of {len} bytes"),
            Self::Config(error) => write!(f, "vdev entry: configuration space: {error}"),
            Self::NoSuchRing { index, rings } => write!(f, "vdev entry: ring {index} of {rings}"),
        }
    }
}

impl core::error::Error for RegisterError {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
