//! Peers as they are met.

mod backend;
mod command;
mod shm;

pub use backend::{Bells, OfBackend, meet_remote};
pub use command::Command;
pub use shm::{ShmHost, ShmRemote};

use std::sync::Arc;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{AddressMap, DeviceAddr, Region};

/// Bytes by device address, in whatever memory.
pub(crate) struct Bytes<O, const N: usize>(pub(crate) AddressMap<O, N>);

impl<O: Clone, const N: usize> Bytes<O, N> {
    fn region(&self, at: u64, len: usize) -> Option<Region<O>> {
        self.0.resolve(DeviceAddr(at), len).ok()
    }

    pub(crate) fn read(&self, at: u64, to: &mut [u8]) -> bool {
        full_fence();
        self.region(at, to.len()).is_some_and(|region| region.read(0, to).is_ok())
    }

    pub(crate) fn write(&self, at: u64, from: &[u8]) -> bool {
        let written = self.region(at, from.len()).is_some_and(|region| region.write(0, from).is_ok());
        full_fence();
        written
    }

    pub(crate) fn load(&self, at: u64) -> Option<u16> {
        full_fence();
        let value = self.region(at, 2)?.load(0).ok();
        full_fence();
        value
    }

    pub(crate) fn store(&self, at: u64, value: u16) -> bool {
        full_fence();
        let stored = self.region(at, 2).is_some_and(|region| region.store(0, value).is_ok());
        full_fence();
        stored
    }

    pub(crate) fn load_byte(&self, at: u64) -> Option<u8> {
        full_fence();
        let value = self.region(at, 1)?.load(0).ok();
        full_fence();
        value
    }

    pub(crate) fn store_byte(&self, at: u64, value: u8) -> bool {
        full_fence();
        let stored = self.region(at, 1).is_some_and(|region| region.store(0, value).is_ok());
        full_fence();
        stored
    }
}

/// The parts of [`crate::Ground`] that are the same for all who have [`Bytes`].
macro_rules! bytes {
    () => {
        fn read(&self, at: u64, to: &mut [u8]) -> bool {
            self.bytes.read(at, to)
        }
        fn write(&self, at: u64, from: &[u8]) -> bool {
            self.bytes.write(at, from)
        }
        fn load(&self, at: u64) -> Option<u16> {
            self.bytes.load(at)
        }
        fn store(&self, at: u64, value: u16) -> bool {
            self.bytes.store(at, value)
        }
        fn load_byte(&self, at: u64) -> Option<u8> {
            self.bytes.load_byte(at)
        }
        fn store_byte(&self, at: u64, value: u8) -> bool {
            self.bytes.store_byte(at, value)
        }
    };
}
pub(crate) use bytes;

/// A file as memory, whose addresses are offsets, and a table that lies in it or elsewhere.
pub(crate) fn file<O>(region: Region<Arc<O>>, (table, at): (Region<Arc<O>>, DeviceAddr)) -> Bytes<Arc<O>, 2> {
    let mut map = AddressMap::new();
    let is_elsewhere = at.0 >= region.len() as u64;
    let inserted =
        map.insert(DeviceAddr(0), region).is_ok() && (!is_elsewhere || map.insert(at, table).is_ok());
    debug_assert!(inserted, "two windows apart from each other are always taken");
    Bytes(map)
}
