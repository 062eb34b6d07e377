//! The memory that the front end lends, by the guest's addresses and by the front end's own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_os::Lent;

use crate::Fault;
use crate::message::Lending;

/// Most memories that a front end can lend at a time.
pub const MEMORY_SLOTS: usize = 32;

/// The guest's memory, by the addresses that stand in descriptors.
pub(crate) type GuestMap = AddressMap<Arc<Lent>, MEMORY_SLOTS>;

/// All that the front end lends at the moment.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    lent: Vec<(Lending, Arc<Lent>)>,
}

impl Memory {
    /// Takes a new table, in place of all that was there.
    ///
    /// # Errors
    /// One of them cannot be used, or two of them overlap: all stays as it is.
    pub(crate) fn replace(&mut self, table: &[Lending], files: Vec<OwnedFd>) -> Result<(), Fault> {
        let (request, count, wanted) = ("SET_MEM_TABLE", files.len(), table.len());
        if count != wanted {
            return Err(Fault::Descriptors { request, count, wanted });
        }
        let mut new = Self::default();
        for (lending, file) in table.iter().zip(&files) {
            new.insert(lending, file)?;
        }
        *self = new;
        Ok(())
    }

    /// Takes one more.
    ///
    /// # Errors
    /// It cannot be used, overlaps another one, or is one too many: all stays as it is.
    pub(crate) fn add(&mut self, lending: &Lending, files: &[OwnedFd]) -> Result<(), Fault> {
        let [file] = files else {
            return Err(Fault::Descriptors { request: "ADD_MEM_REG", count: files.len(), wanted: 1 });
        };
        self.insert(lending, file)
    }

    /// Gives one back. Where it began in its file does not matter: the protocol has it so.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn remove(&mut self, lending: &Lending) -> Result<(), Fault> {
        let Lending { guest, len, user, .. } = *lending;
        let mut rows = self.lent.iter();
        let found = rows.position(|(row, _)| (row.guest, row.len, row.user) == (guest, len, user));
        let found = found.ok_or(Fault::NoSuchMemory { guest, len })?;
        self.lent.remove(found);
        Ok(())
    }

    /// The guest's memory, by the guest's addresses.
    pub(crate) fn guest_map(&self) -> GuestMap {
        let mut map = GuestMap::new();
        for (lending, lent) in &self.lent {
            let inserted = map.insert(DeviceAddr(lending.guest), lent.region());
            debug_assert!(inserted.is_ok(), "checked when it came: {inserted:?}");
        }
        map
    }

    /// Bytes by the front end's address.
    pub(crate) fn user(&self, address: u64, len: usize) -> Option<Region<Arc<Lent>>> {
        self.lent.iter().find_map(|(lending, lent)| {
            let at = usize::try_from(address.checked_sub(lending.user)?).ok()?;
            lent.region().slice(at, len).ok()
        })
    }

    /// The first memory whose file was truncated, which an access noticed.
    pub(crate) fn lost(&self) -> Option<Fault> {
        let (lending, _) = self.lent.iter().find(|(_, lent)| lent.is_lost())?;
        Some(Fault::MemoryLost { guest: lending.guest })
    }

    fn insert(&mut self, lending: &Lending, file: &OwnedFd) -> Result<(), Fault> {
        let Lending { guest, len, offset, .. } = *lending;
        let number = self.lent.len();
        let lent = Lent::map(file.as_fd(), offset, len);
        let lent = lent.map_err(|refused| Fault::Memory { number, guest, len, offset, refused })?;
        self.lent.push((*lending, lent));
        let checked = self.check();
        if checked.is_err() {
            self.lent.pop();
        }
        checked
    }

    /// Whether all of them have a place in both address spaces.
    fn check(&self) -> Result<(), Fault> {
        for (space, is_user) in [("the guest's", false), ("the front end's", true)] {
            let mut map = GuestMap::new();
            for (number, (lending, lent)) in self.lent.iter().enumerate() {
                let address = if is_user { lending.user } else { lending.guest };
                let inserted = map.insert(DeviceAddr(address), lent.region());
                inserted.map_err(|error| Fault::MemoryMap { number, space, error })?;
            }
        }
        Ok(())
    }
}
