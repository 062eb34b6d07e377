//! The remote as its firmware sees it.

use core::cell::Cell;
use core::fmt;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_rpmsg::Slot;
use sidecore_virtio::transport::table;
use sidecore_wire::resource_table::{Entry, FixedName, Table, vdev};

use crate::connection::{Connection, Storage, Wire};
use crate::mailbox::MailSlot;
use crate::platform::{Native, Platform, SharedMap};
use crate::resources::TABLE_MAX;
use crate::{Error, Machine};

/// The processor that the firmware runs on, handed to its `main`: not connected to the main side.
pub struct Remote<'s, P: Platform = Native> {
    base: Base<'s, P>,
}

impl<'s, P: Platform> Remote<'s, P> {
    pub(crate) const fn new(base: Base<'s, P>) -> Self {
        Self { base }
    }

    /// The machine underneath.
    pub const fn machine(&self) -> &'s Machine<P> {
        self.base.machine
    }

    /// The image's resource table, which the main side reads and writes, too.
    pub const fn table(&self) -> &'s Region {
        self.base.table
    }

    /// Waits until the main side's driver is there, and connects to it.
    ///
    /// # Errors
    /// Nothing that waiting helps against: [`Error::NoDevice`], [`Error::Device`].
    pub fn connect(self) -> Result<Connection<'s, P>, Error> {
        Connection::establish(self.base)
    }

    /// Hands `body` another remote beside this one: the image's second rpmsg device
    /// ([`Resources::rpmsg_beside`](crate::Resources::rpmsg_beside)), whose rings have so many entries at most. Both connect for
    /// themselves, and [`race`](crate::race) or [`join`](crate::join) serve both.
    pub fn beside<const TO_HOST: usize, const TO_REMOTE: usize, T>(
        self,
        body: impl for<'b> FnOnce(Self, Remote<'b, P>) -> T,
    ) -> T {
        let (machine, table) = (self.base.machine, self.base.table);
        let vdev = match self.second_device() {
            Some(at) => table::Device::new(table, at).map_err(Error::Device),
            None => Err(Error::NoDevice),
        };
        let storage = Storage::<P, TO_HOST, TO_REMOTE>::new();
        let Storage { cancelled, slots, mail } = &storage;
        body(self, Remote::new(Base { machine, table, vdev: &vdev, cancelled, slots, mail }))
    }

    /// Where in the table the second rpmsg device lies.
    fn second_device(&self) -> Option<usize> {
        let mut bytes = [0; TABLE_MAX];
        let bytes = bytes.get_mut(..self.base.table.len())?;
        self.base.table.read(0, bytes).ok()?;
        let table = Table::parse(bytes).ok()?;
        let devices = table.entries().flatten();
        let mut devices = devices
            .filter(|located| matches!(&located.entry, Entry::Vdev(vdev) if vdev.id == vdev::ID_RPMSG));
        Some(devices.nth(1)?.offset as usize)
    }

    /// The memory that the image asked for under this name ([`Resources::carveout`](crate::Resources::carveout)); `None`
    /// if it did not, or the main side has put it where nothing is shared.
    pub fn carveout(&self, name: &str) -> Option<Region> {
        let name = FixedName::new(name).ok()?;
        let mut bytes = [0; TABLE_MAX];
        let bytes = bytes.get_mut(..self.base.table.len())?;
        self.base.table.read(0, bytes).ok()?;
        let table = Table::parse(bytes).ok()?;
        let mut carveouts = table.entries().flatten().filter_map(|located| match located.entry {
            Entry::Carveout(carveout) if carveout.name == name => Some(carveout),
            _ => None,
        });
        let carveout = carveouts.next()?;
        let mut map = SharedMap::new();
        self.machine().platform().shared(&mut map).ok()?;
        map.resolve(DeviceAddr(carveout.da.into()), carveout.len as usize).ok()
    }
}

impl<P: Platform> fmt::Debug for Remote<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// What every connection of a remote stands on.
pub(crate) struct Base<'s, P: Platform> {
    pub(crate) machine: &'s Machine<P>,
    pub(crate) table: &'s Region,
    pub(crate) vdev: &'s Result<table::Device, Error>,
    pub(crate) cancelled: &'s [Cell<u16>],
    pub(crate) slots: &'s [Slot],
    pub(crate) mail: &'s [MailSlot<Wire<'s, P>>],
}

impl<P: Platform> Clone for Base<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Base<'_, P> {}
