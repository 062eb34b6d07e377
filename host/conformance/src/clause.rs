//! The clauses of the book, each with what shows it.

use std::ops::Range;
use std::time::Duration;

use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::{ADDR_ANY, Builder, Carveout, FixedName, VdevHeader, Vring, vdev};

use crate::as_host::{AsHost, Liveness};
use crate::as_remote::{AsRemote, HostGoes};
use crate::peer::{Role, Scene};
use crate::ring::Ring;
use crate::verdict::{Outcome, deviates};

/// A clause and a role that a peer may play.
pub struct Row {
    /// Its id in the book.
    pub clause: &'static str,
    /// What a peer of this role does if it follows.
    pub title: &'static str,
    /// The role of the peer.
    pub peer: Role,
    /// What shows it.
    pub test: Test,
}

/// Peers that a clause is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// All.
    Any,
    /// Those behind a resource table: it is about their registers, or about what they do on account of them.
    Registers,
    /// Those that have none.
    Bare,
}

impl Row {
    /// The peers that it is about.
    #[must_use]
    pub fn profile(&self) -> Profile {
        match (self.clause.split_once('-').map_or("", |(chapter, _)| chapter), self.clause, self.peer) {
            (_, "START-10" | "START-11", _) => Profile::Bare,
            ("TABLE" | "START" | "FEATURE" | "RESET", ..) => Profile::Registers,
            (_, "NS-6" | "NOTIFY-6" | "ERROR-2", _) | (_, "MEM-3", Role::Host) => Profile::Registers,
            _ => Profile::Any,
        }
    }
}

/// What shows a clause.
pub enum Test {
    /// A session in which we are the host.
    Remote(fn(&mut AsHost<'_>) -> Outcome),
    /// A session in which we are the remote, at a table.
    Host(fn(&mut Table), fn(&mut AsRemote<'_>) -> Outcome),
    /// All sessions: it shows itself along the way.
    Watched,
}

/// A clause that a remote follows or not.
pub(crate) const fn remote(
    clause: &'static str,
    title: &'static str,
    test: fn(&mut AsHost<'_>) -> Outcome,
) -> Row {
    Row { clause, title, peer: Role::Remote, test: Test::Remote(test) }
}

/// A clause that a host follows or not, at the usual table.
pub(crate) const fn host(
    clause: &'static str,
    title: &'static str,
    test: fn(&mut AsRemote<'_>) -> Outcome,
) -> Row {
    Row { clause, title, peer: Role::Host, test: Test::Host(|_| {}, test) }
}

/// A clause that a host follows or not, at a table of its own.
pub(crate) const fn host_at(
    clause: &'static str,
    title: &'static str,
    table: fn(&mut Table),
    test: fn(&mut AsRemote<'_>) -> Outcome,
) -> Row {
    Row { clause, title, peer: Role::Host, test: Test::Host(table, test) }
}

/// A clause that shows itself along the way.
pub(crate) const fn watched(clause: &'static str, title: &'static str, peer: Role) -> Row {
    Row { clause, title, peer, test: Test::Watched }
}

/// The table that a host finds. As it is at first it is that of OpenAMP's programs.
#[derive(Clone, Debug)]
pub struct Table {
    /// The version.
    pub version: u32,
    /// The features that are offered.
    pub features: u32,
    /// The rings.
    pub rings: [Vring; 2],
    /// The configuration space.
    pub config: Vec<u8>,
    /// An entry of an unknown type before the device's.
    pub has_stranger: bool,
    /// What is added to the offset of the device's entry.
    pub astray: u32,
    /// A carveout for ring 0, which has no address of its own then.
    pub carveout: bool,
    /// What is left in the rings.
    pub litter: bool,
    /// Where rings may come to lie that are the host's to place.
    pub free: Range<u64>,
    /// The status that is left from an earlier life.
    pub status: u8,
}

impl Default for Table {
    fn default() -> Self {
        let ring = |da, notifyid| Vring { da, align: 0x1000, num: 256, notifyid, pa: 0 };
        Self {
            version: 1,
            features: F_NS as u32,
            rings: [ring(0x4000, 1), ring(0x8000, 2)],
            config: Vec::new(),
            has_stranger: false,
            astray: 0,
            carveout: false,
            litter: false,
            free: 0..0,
            status: 0,
        }
    }
}

impl Table {
    /// Where the carveout for ring 0 is: where the ring would be, or in the room for rings.
    #[must_use]
    pub fn carveout_at(&self) -> u32 {
        match self.rings[0].da {
            ADDR_ANY => self.free.start.next_multiple_of(0x1000) as u32,
            da => da,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn scene(&self) -> Scene {
        let mut bytes = [0; 512];
        let mut rings = self.rings;
        if self.carveout {
            rings[0].da = ADDR_ANY;
        }
        let built = Builder::new(&mut bytes, 3).and_then(|mut builder| {
            if self.carveout {
                let len = Ring::new(&self.rings[0]).map_or(0, |ring| ring.layout.size());
                let name = FixedName::new("vdev0vring0").unwrap_or_default();
                builder.carveout(&Carveout { da: self.carveout_at(), len, name, ..Carveout::default() })?;
            }
            // Of a type that nobody has: between those of Linux and the vendors'.
            if self.has_stranger {
                builder.entry(100, &[0xAA; 12])?;
            }
            let header = VdevHeader {
                id: vdev::ID_RPMSG,
                dfeatures: self.features,
                status: sidecore_wire::status::Status(self.status),
                ..VdevHeader::default()
            };
            let at = builder.vdev(&header, &rings, &self.config)?;
            Ok((builder.finish().to_vec(), at as usize))
        });
        let (mut table, vdev) = built.unwrap_or_default();
        if let Some(version) = table.get_mut(..4) {
            version.copy_from_slice(&self.version.to_le_bytes());
        }
        if self.astray > 0
            && let Some(offset) = table.get_mut(16..20)
        {
            offset.copy_from_slice(&(vdev as u32 + self.astray).to_le_bytes());
        }
        let litter = self.rings.iter().filter(|_| self.litter).map(|ring| match ring.da {
            u32::MAX => (self.free.start, vec![0x5A; self.free.end.saturating_sub(self.free.start) as usize]),
            da => (u64::from(da), vec![0x5A; Ring::new(ring).map_or(0, |ring| ring.layout.size() as usize)]),
        });
        Scene { table, vdev, litter: litter.collect() }
    }
}

/// A rule was broken: the peer has to stop using the link.
pub(crate) fn refused(peer: &mut AsHost<'_>, to: u32, what: &str) -> Outcome {
    match peer.still_answers(to) {
        Liveness::Silent | Liveness::AsksForReset => Ok(()),
        Liveness::Answers => deviates(format!("went on as if nothing were after {what}")),
        Liveness::Gone => deviates(format!("died of {what}")),
        Liveness::Wild => deviates(format!("gives back what it does not have after {what}")),
    }
}

/// As [`refused`], by a host.
pub(crate) fn host_refuses(peer: &mut AsRemote<'_>, what: &str) -> Outcome {
    match peer.goes_on() {
        HostGoes::GivesUp | HostGoes::Resets | HostGoes::Silent => Ok(()),
        HostGoes::On => deviates(format!("went on as if nothing were after {what}")),
        HostGoes::Away => deviates(format!("died of {what}")),
        HostGoes::Wild => deviates(format!("gives out what it does not have after {what}")),
    }
}

/// A table of no use: the host must not bring the device up.
pub(crate) fn stays_down(peer: &mut AsRemote<'_>, what: &str) -> Outcome {
    let limit: Duration = 3 * peer.pace;
    match peer.await_start(limit) {
        Ok(()) => deviates(format!("brought the device up with {what}")),
        Err(crate::verdict::Stop::Deviates(_)) => deviates(format!("set DRIVER_OK with {what}")),
        Err(crate::verdict::Stop::NotShown(_)) => Ok(()),
    }
}

/// Payload that tells when it is cut, mixed up or another's.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}
