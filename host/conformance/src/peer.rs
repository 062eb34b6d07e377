//! The seam to a peer: the memory that is shared with it, its doorbells, and how it is met anew.

use std::time::Duration;

use sidecore_wire::resource_table::Vring;

use crate::clause::Table;

/// A side of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Virtio's driver, which owns the buffers.
    Host,
    /// Virtio's device, which announces services.
    Remote,
}

/// What ended a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A kick, or several.
    Kick,
    /// The time was over.
    Time,
    /// The peer is gone, and how that was seen.
    Gone(String),
}

/// Memory shared with a peer, by device address, and the doorbells. Nothing here believes anything: addresses that lie
/// in no shared memory are answered with `None` or `false`.
pub trait Ground {
    /// Copies bytes out.
    fn read(&self, at: u64, to: &mut [u8]) -> bool;
    /// Copies bytes in.
    fn write(&self, at: u64, from: &[u8]) -> bool;
    /// Reads a 16-bit word in one access, behind a full fence.
    fn load(&self, at: u64) -> Option<u16>;
    /// Writes a 16-bit word in one access, between full fences.
    fn store(&self, at: u64, value: u16) -> bool;
    /// Reads a byte in one access, behind a full fence.
    fn load_byte(&self, at: u64) -> Option<u8>;
    /// Writes a byte in one access, between full fences.
    fn store_byte(&self, at: u64, value: u8) -> bool;
    /// Rings the peer.
    fn kick(&self, notifyid: u32);
    /// Sleeps until the peer rings, or for `timeout`.
    fn wait(&mut self, timeout: Duration) -> Woken;
    /// Writes a 16-bit word as [`Ground::store`] does and rings the peer, at a moment at which what the peer does next has to
    /// reach us as a kick, and sleeps until it does or for `timeout`.
    fn show_and_wait(&mut self, at: u64, value: u16, notifyid: u32, timeout: Duration) -> Woken {
        self.store(at, value);
        self.kick(notifyid);
        self.wait(timeout)
    }
}

/// A peer that was met, and where everything lies.
pub struct Met {
    /// The memory and the doorbells.
    pub ground: Box<dyn Ground>,
    /// Whether the peer has no resource table and no status: both sides know beforehand where the rings are, and the host's
    /// first kick is the start. What stands at `vdev` is seen by us alone then.
    pub is_bare: bool,
    /// Device address of the resource table, where the memory holds it.
    pub table: Option<u64>,
    /// Device address of the vdev entry.
    pub vdev: u64,
    /// The rings, as the table places them. As the remote's side, of no meaning before DRIVER_OK.
    pub rings: [Vring; 2],
    /// For the host's side: where the buffers of each ring go, and how many bytes there are.
    pub pools: [(u64, u64); 2],
    /// For the host's side: bytes of each buffer, header included.
    pub buffer: u32,
}

/// What a peer that is a host is to find, byte for byte; peers that are remotes bring their own.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The resource table.
    pub table: Vec<u8>,
    /// Offset of the rpmsg device's entry in it.
    pub vdev: usize,
    /// What lies elsewhere in the memory beforehand, by device address.
    pub litter: Vec<(u64, Vec<u8>)>,
}

/// Somebody to run the suite against.
pub trait Peer {
    /// The role that the peer plays; ours is the other.
    fn role(&self) -> Role;

    /// Meets the peer, started anew if that is in our hands. What was met before has been dropped.
    ///
    /// # Errors
    /// It does not come, or what it brings is of no use. The message says what was tried.
    fn meet(&mut self, scene: &Scene, patience: Duration) -> Result<Met, String>;

    /// What the peer is, for the report.
    fn name(&self) -> String;

    /// Whether it has no resource table.
    fn is_bare(&self) -> bool {
        false
    }

    /// The table that a host finds, before a clause changes it.
    fn usual_table(&self) -> Table {
        Table::default()
    }
}
