//! What of a device's main side outlives it, in memory that the backend keeps: see [`Backend::journal`].
//!
//! One section a device, one behind the other. It is of use as long as the device is in use, between the DRIVER_OK of the
//! main side that wrote it and its reset; `IN_USE` is written last and taken away first.
//!
//! ```text
//! byte 0   magic            u32    and the version of this layout
//!      4   in use           u32
//!      8   features         u64    in use on the link
//!     16   shape            4 u16  descriptors of both rings, room for endpoints, for services
//!     24   next             u32    the dynamic address to try first
//!     32   two ring journals       see [`Ledger`]
//!          endpoints               48 bytes each: used, address, peer, service's address, name
//!          services                40 bytes each: used, address, name
//! ```
//!
//! [`Backend::journal`]: sidecore_remoteproc::Backend::journal

use sidecore_mem::{AccessError, Region};
use sidecore_rpmsg::{Name, Service};
use sidecore_virtio::split::Ledger;

/// "SCJ" and the version.
const MAGIC: u32 = 0x014a_4353;
const IN_USE: u32 = 1;

const AT_IN_USE: usize = 4;
const AT_FEATURES: usize = 8;
const AT_SHAPE: usize = 16;
const AT_NEXT: usize = 24;
const AT_LEDGERS: usize = 32;
const ENDPOINT: usize = 48;
const SERVICE: usize = 40;

/// An endpoint that is open, or was when its main side died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) addr: u32,
    pub(crate) peer: u32,
    /// The service that it is bound to.
    pub(crate) channel: Option<(Name, u32)>,
    /// A service of ours answered there, whose state is gone.
    pub(crate) is_served: bool,
}

/// What a section has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Descriptors of the rings.
    pub(crate) num: [u16; 2],
    pub(crate) endpoints: u16,
    pub(crate) services: u16,
}

impl Shape {
    fn ledgers(self) -> [usize; 2] {
        self.num.map(Ledger::<()>::size)
    }

    fn endpoints_at(self) -> usize {
        AT_LEDGERS + self.ledgers().iter().sum::<usize>()
    }

    fn services_at(self) -> usize {
        self.endpoints_at() + usize::from(self.endpoints) * ENDPOINT
    }

    /// Bytes of the section, a multiple of 64.
    fn size(self) -> usize {
        (self.services_at() + usize::from(self.services) * SERVICE).next_multiple_of(64)
    }
}

/// The journal of one device.
#[derive(Debug)]
pub(crate) struct Section<O> {
    region: Region<O>,
    shape: Shape,
}

impl<O: Clone> Section<O> {
    /// The first section of `journal`, and what is behind it; `None` where there is no room for it.
    pub(crate) fn split(journal: &Region<O>, shape: Shape) -> Option<(Self, Region<O>)> {
        let size = shape.size();
        let region = journal.slice(0, size).ok()?;
        let rest = journal.slice(size, journal.len() - size).ok()?;
        Some((Self { region, shape }, rest))
    }

    /// The features in use, if another main side left the device in use.
    pub(crate) fn left_in_use(&self) -> Option<u64> {
        let words = self.region.load::<u32>(0).ok().zip(self.region.load::<u32>(AT_IN_USE).ok());
        let shape = self.region.load::<u64>(AT_SHAPE).ok();
        let is_ours = words == Some((MAGIC, IN_USE)) && shape == Some(self.shape_word());
        self.region.load(AT_FEATURES).ok().filter(|_| is_ours)
    }

    /// The rings' journals as they are.
    pub(crate) fn ledgers(&self) -> Result<[Ledger<O>; 2], AccessError> {
        let [rx, tx] = self.shape.ledgers();
        let [rx_num, tx_num] = self.shape.num;
        let rx_ledger = Ledger::open(&self.region.slice(AT_LEDGERS, rx)?, rx_num)?;
        Ok([rx_ledger, Ledger::open(&self.region.slice(AT_LEDGERS + rx, tx)?, tx_num)?])
    }
}

impl<O> Section<O> {
    /// The device is reset, or about to be.
    pub(crate) fn end(&self) {
        self.put(AT_IN_USE, 0);
    }

    /// The device is in use as of now, with nothing open.
    pub(crate) fn begin(&self, features: u64) {
        for at in self.endpoints().chain(self.services()) {
            self.put(at, 0);
        }
        self.put(AT_NEXT, 0);
        let _ = self.region.store(AT_SHAPE, self.shape_word());
        let _ = self.region.store(AT_FEATURES, features);
        self.put(0, MAGIC);
        self.put(AT_IN_USE, IN_USE);
    }

    /// Notes an endpoint that was opened, or what became of its peer. `next` is the dynamic address that comes next.
    pub(crate) fn keep_port(&self, port: &Port, next: u32) {
        let of_it = |at: &usize| self.get(*at) != 0 && self.get(at + 4) == port.addr;
        let is_free = |at: &usize| self.get(*at) == 0;
        // There are as many as endpoints can be open.
        let Some(at) = self.endpoints().find(of_it).or_else(|| self.endpoints().find(is_free)) else {
            return;
        };
        self.put(at + 8, port.peer);
        if self.get(at) == 0 {
            let (name, addr) = port.channel.unwrap_or((Name::default(), u32::MAX));
            self.put(at + 4, port.addr);
            self.put(at + 12, addr);
            self.put_name(at + 16, &name);
            self.put(AT_NEXT, next);
            self.put(at, if port.is_served { SERVED } else { OPEN });
        }
    }

    /// Notes that an endpoint was closed.
    pub(crate) fn forget_port(&self, addr: u32) {
        let of_it = |at: &usize| self.get(*at) != 0 && self.get(at + 4) == addr;
        if let Some(at) = self.endpoints().find(of_it) {
            self.put(at, 0);
        }
    }

    /// The dynamic address to try first.
    pub(crate) fn next(&self) -> u32 {
        self.get(AT_NEXT)
    }

    /// The endpoints that were open.
    pub(crate) fn ports(&self) -> Vec<Port> {
        let used = self.endpoints().filter(|at| self.get(*at) != 0);
        let port = |at| {
            let (addr, peer, service) = (self.get(at + 4), self.get(at + 8), self.get(at + 12));
            let channel = self.name(at + 16).map(|name| (name, service));
            Port { addr, peer, channel, is_served: self.get(at) == SERVED }
        };
        used.map(port).collect()
    }

    /// Notes a service that was announced.
    pub(crate) fn keep_service(&self, name: &Name, addr: u32) {
        if let Some(at) = self.services().find(|at| self.get(*at) == 0) {
            self.put(at + 4, addr);
            self.put_name(at + 8, name);
            self.put(at, OPEN);
        }
    }

    /// Notes that a service was withdrawn.
    pub(crate) fn forget_service(&self, name: &Name, addr: u32) {
        let of_it =
            |at: &usize| self.get(*at) != 0 && self.get(at + 4) == addr && self.name(at + 8) == Some(*name);
        if let Some(at) = self.services().find(of_it) {
            self.put(at, 0);
        }
    }

    /// The services that were announced.
    pub(crate) fn announced(&self) -> Vec<Service> {
        let used = self.services().filter(|at| self.get(*at) != 0);
        used.filter_map(|at| Some(Service { name: self.name(at + 8)?, addr: self.get(at + 4) })).collect()
    }

    fn endpoints(&self) -> impl Iterator<Item = usize> + use<O> {
        let begin = self.shape.endpoints_at();
        (0..usize::from(self.shape.endpoints)).map(move |index| begin + index * ENDPOINT)
    }

    fn services(&self) -> impl Iterator<Item = usize> + use<O> {
        let begin = self.shape.services_at();
        (0..usize::from(self.shape.services)).map(move |index| begin + index * SERVICE)
    }

    fn shape_word(&self) -> u64 {
        let Shape { num: [rx, tx], endpoints, services } = self.shape;
        [services, endpoints, tx, rx].into_iter().fold(0, |word, part| word << 16 | u64::from(part))
    }

    fn name(&self, at: usize) -> Option<Name> {
        let name = Name::from_wire(self.region.read_array(at).ok()?);
        name.is_valid().then_some(name)
    }

    fn put_name(&self, at: usize, name: &Name) {
        let mut bytes = [0; Name::SIZE];
        bytes.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
        let written = self.region.write(at, &bytes);
        debug_assert!(written.is_ok(), "offsets lie in the section");
    }

    /// All offsets lie in the section, which was sliced to fit.
    fn get(&self, at: usize) -> u32 {
        self.region.load(at).unwrap_or_default()
    }

    fn put(&self, at: usize, value: u32) {
        let stored = self.region.store(at, value);
        debug_assert!(stored.is_ok(), "offsets lie in the section");
    }
}

/// An entry is in use: by an endpoint of the application's, or a service.
const OPEN: u32 = 1;
/// By an endpoint at which a service of ours answers.
const SERVED: u32 = 2;
