//! Vdev: a virtio device that the firmware offers, its rings and its buffers.
//!
//! Each ring and the buffers of an rpmsg device get a memory: that of the carveout `vdev0vring0`, `vdev0buffer` where
//! the table has one, the ring's fixed address, or wherever the backend places it. Rings' addresses are written back
//! (Linux `rproc_alloc_vring`, `rp_find_vq`), and notify ids where the table leaves them open or gives one twice.
//!
//! Linux numbers all rings anew and OpenAMP keeps what the table says; firmware that runs under both reads its ids
//! from the table, so keeping them is the common ground.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;
use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::features::F_BUFSZ;
use sidecore_wire::resource_table::vdev::{ID_RPMSG, offset};
use sidecore_wire::resource_table::{self as wire, ADDR_ANY, Located, Vring, vring};
use sidecore_wire::rpmsg;
use sidecore_wire::split::{Layout, LayoutError};

use super::carveout;
use super::error::{Fault, Place, PlanError};
use super::space::{Purpose, Rank, Spot};
use super::{Building, Placing};

/// A virtio device that the firmware offers, and where everything of it lies.
///
/// Its features, status and configuration are registers in the loaded table, which the virtio transport drives; none
/// of them is touched here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdev {
    /// Number of the device among the firmware's devices; its memories are named after it.
    pub index: u32,
    /// Virtio id: 7 for rpmsg.
    pub id: u32,
    /// Number by which the device itself is notified, as the table has it.
    pub notifyid: u32,
    /// Features that the firmware offers, bits 0 to 31.
    pub dfeatures: u32,
    /// Number of its entry in the table.
    pub entry: u32,
    /// Where its entry begins, in bytes from the beginning of the table.
    pub offset: u32,
    /// Device address of its entry; none if the table is not loaded, and then the firmware sees no status.
    pub at: Option<DeviceAddr>,
    /// Bytes of its configuration space.
    pub config_len: u32,
    /// Its rings, in order. Of an rpmsg device, ring 0 carries messages from the remote and ring 1 to it.
    pub vrings: Vec<VringPlace>,
    /// Where its buffers are, if it is an rpmsg device with two rings.
    pub buffers: Option<BufferPlace>,
}

/// A ring and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringPlace {
    /// Device address.
    pub at: DeviceAddr,
    /// Bytes of the ring.
    pub len: u32,
    /// Number of descriptors, a power of two.
    pub num: u16,
    /// Alignment of the used ring in bytes, a power of two.
    pub align: u32,
    /// Number by which the ring is notified; no other ring of the table has it.
    pub notifyid: u32,
}

/// The buffers of an rpmsg device, in one piece of memory: first those for messages from the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPlace {
    /// Device address of the first buffer.
    pub at: DeviceAddr,
    /// Bytes of all of them.
    pub len: u64,
    /// For messages from the remote.
    pub from_remote: PoolPlace,
    /// For messages to the remote.
    pub to_remote: PoolPlace,
}

/// The buffers of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPlace {
    /// Device address of the first buffer.
    pub at: DeviceAddr,
    /// Bytes of each, the message's header included: what was asked for, rounded up to a multiple of 8.
    pub size: u32,
    /// How many there are.
    pub count: u32,
}

/// How large the buffers of rpmsg devices are, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// For messages from the remote.
    pub from_remote: Pool,
    /// For messages to the remote.
    pub to_remote: Pool,
}

/// The buffers of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Bytes of each, the message's header included; `None` for what the firmware says in its configuration space
    /// (`VIRTIO_RPMSG_F_BUFSZ`), and 512 if it says nothing.
    pub size: Option<u32>,
    /// How many; `None` for as many as the ring has descriptors.
    pub count: Option<u32>,
}

impl Pool {
    /// Bytes of a buffer where nobody says otherwise, as in Linux and OpenAMP.
    pub const DEFAULT_SIZE: u32 = 512;
}

/// A device that is still to be placed.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    entry: u32,
    offset: u32,
    index: u32,
    header: wire::VdevHeader,
    rings: Vec<Ring>,
    buffers: Option<PlannedBuffers>,
}

#[derive(Clone, Debug)]
struct Ring {
    vring: Vring,
    layout: Layout,
    spot: Spot,
}

#[derive(Clone, Debug)]
struct PlannedBuffers {
    spot: Spot,
    from_remote: PoolPlan,
    to_remote: PoolPlan,
}

/// Size and number of the buffers of one direction, and how many bytes of memory they get.
#[derive(Clone, Copy, Debug)]
struct PoolPlan {
    size: u32,
    count: u32,
    len: u64,
}

/// Buffers follow each other on multiples of so many bytes.
const BUFFER_ALIGN: u64 = 8;
/// The second direction's buffers begin on a cache line of their own.
const POOL_ALIGN: u64 = 64;
/// Descriptors are 16 bytes and must not cross their own alignment (virtio 1.3, 2.7).
const RING_ALIGN: u32 = 16;
/// A ring that is too large has its alignment to blame from here on.
const LARGE_ALIGN: u32 = 65536;

impl Planned {
    pub(super) fn new(
        located: &Located<wire::Vdev<'_>>,
        index: u32,
        ids: &mut NotifyIds,
        carveouts: &[carveout::Planned],
        building: &mut Building<'_>,
    ) -> Result<Planned, PlanError> {
        let vdev = &located.entry;
        let place = |ring, field| Place { entry: located.index, kind: "vdev", ring, field };
        building.rings += u32::from(vdev.num_of_vrings);
        let limit = building.options.limits.rings;
        if building.rings > limit {
            let fault = Fault::TooMany { limit };
            return Err(place(None, "num_of_vrings").with(vdev.num_of_vrings.into(), fault));
        }

        let mut rings = Vec::with_capacity(vdev.num_of_vrings.into());
        for (vring, number) in vdev.vrings().zip(0_u8..) {
            let place = |field| place(Some(number), field);
            let layout = layout(&vring, building.options.limits.memory, place)?;
            let name = format!("vdev{index}vring{number}");
            let spot = ring_spot(&vring, layout, &name, place, carveouts, building)?;
            let notifyid = ids.assign(vring.notifyid);
            rings.push(Ring { vring: Vring { notifyid, ..vring }, layout, spot });
        }

        let buffers = match &rings[..] {
            [from, to, ..] if vdev.id == ID_RPMSG => {
                let nums = (from.layout.num(), to.layout.num());
                Some(PlannedBuffers::new(located, index, nums, carveouts, building)?)
            }
            _ => None,
        };
        let (entry, offset, header) = (located.index, located.offset, vdev.header());
        Ok(Planned { entry, offset, index, header, rings, buffers })
    }

    pub(super) fn place(&self, placing: &mut Placing<'_>) -> Result<Vdev, PlanError> {
        let mut vrings = Vec::with_capacity(self.rings.len());
        let mut at = self.offset + offset::VRINGS as u32;
        for ring in &self.rings {
            let da = placing.address(ring.spot, ring.layout.size().into())?;
            placing.write(at, &Vring { da, ..ring.vring }.emit());
            at += vring::SIZE as u32;
            vrings.push(VringPlace {
                at: DeviceAddr(da.into()),
                len: ring.layout.size(),
                num: ring.layout.num(),
                align: ring.vring.align,
                notifyid: ring.vring.notifyid,
            });
        }
        let buffers = self.buffers.as_ref().map(|buffers| buffers.place(placing)).transpose()?;
        let wire::VdevHeader { id, notifyid, dfeatures, config_len, .. } = self.header;
        Ok(Vdev {
            index: self.index,
            id,
            notifyid,
            dfeatures,
            entry: self.entry,
            offset: self.offset,
            at: placing.table.and_then(|table| table.checked_add(self.offset.into())),
            config_len,
            vrings,
            buffers,
        })
    }
}

fn layout(vring: &Vring, limit: u64, place: impl Fn(&'static str) -> Place) -> Result<Layout, PlanError> {
    let num = u16::try_from(vring.num);
    let num = num.map_err(|_| place("num").with(vring.num.into(), Fault::RingNum))?;
    let layout = Layout::new(num, vring.align).map_err(|error| match error {
        LayoutError::Align(align) => place("align").with(align.into(), Fault::RingAlign),
        _ => place("num").with(num.into(), Fault::RingNum),
    })?;
    let needed = u64::from(layout.size());
    if needed > limit {
        let (field, value) =
            if vring.align > LARGE_ALIGN { ("align", vring.align) } else { ("num", vring.num) };
        return Err(place(field).with(value.into(), Fault::TooLarge { needed, limit }));
    }
    Ok(layout)
}

fn ring_spot(
    vring: &Vring,
    layout: Layout,
    name: &str,
    place: impl Fn(&'static str) -> Place,
    carveouts: &[carveout::Planned],
    building: &mut Building<'_>,
) -> Result<Spot, PlanError> {
    let len = u64::from(layout.size());
    let align = vring.align.max(RING_ALIGN);
    let carveout = carveouts.iter().find(|carveout| carveout.is_called(name));
    let da = match (vring.da, carveout) {
        (ADDR_ANY, None) => return Ok(building.space.float(name.into(), len, align.into(), Rank::Ring)),
        (ADDR_ANY, Some(carveout)) => {
            check_room(carveout, "the ring in it", len)?;
            let Spot::Fixed(da) = carveout.spot else { return Ok(carveout.spot) };
            da
        }
        (_, Some(carveout)) if !matches!(carveout.spot, Spot::Fixed(_)) => {
            return Err(place("da").with(vring.da.into(), Fault::Elsewhere));
        }
        (da, Some(carveout)) => {
            check_room(carveout, "the ring in it", len)?;
            da
        }
        (da, None) => da,
    };
    if da % align != 0 {
        return Err(place("da").with(da.into(), Fault::Misaligned { align: align.into() }));
    }
    let fixed = building.space.fix(name, da, len, Purpose::Exclusive);
    fixed.map_err(|fault| place("da").with(da.into(), fault))
}

/// Whether the carveout that is there for something has room for it.
fn check_room(carveout: &carveout::Planned, purpose: &'static str, needed: u64) -> Result<(), PlanError> {
    let len = u64::from(carveout.located.entry.len);
    if len >= needed {
        return Ok(());
    }
    Err(carveout::place(carveout.located.index, "len").with(len, Fault::TooSmall { purpose, needed }))
}

impl PlannedBuffers {
    fn new(
        located: &Located<wire::Vdev<'_>>,
        index: u32,
        nums: (u16, u16),
        carveouts: &[carveout::Planned],
        building: &mut Building<'_>,
    ) -> Result<PlannedBuffers, PlanError> {
        let Buffers { from_remote, to_remote } = building.options.buffers;
        let config = config(&located.entry);
        let entry = located.index;
        let limit = building.options.limits.memory;
        let from_size = config.map(|config| config.txbuf_size);
        let to_size = config.map(|config| config.rxbuf_size);
        let from_remote = PoolPlan::new(from_remote, from_size, nums.0, limit, entry, "txbuf_size")?;
        let to_remote = PoolPlan::new(to_remote, to_size, nums.1, limit, entry, "rxbuf_size")?;

        let len = from_remote.len.saturating_add(to_remote.len);
        let name = format!("vdev{index}buffer");
        let spot = match carveouts.iter().find(|carveout| carveout.is_called(&name)) {
            None => building.space.float(name, len, POOL_ALIGN, Rank::Buffers),
            Some(carveout) => {
                check_room(carveout, "the set of buffers in it", len)?;
                match carveout.spot {
                    Spot::Fixed(da) => {
                        let fixed = building.space.fix(&name, da, len, Purpose::Exclusive);
                        let place = carveout::place(carveout.located.index, "da");
                        fixed.map_err(|fault| place.with(da.into(), fault))?
                    }
                    floating @ Spot::Floating(_) => floating,
                }
            }
        };
        Ok(PlannedBuffers { spot, from_remote, to_remote })
    }

    fn place(&self, placing: &Placing<'_>) -> Result<BufferPlace, PlanError> {
        let len = self.from_remote.len + self.to_remote.len;
        let at = DeviceAddr(placing.address(self.spot, len)?.into());
        let second = DeviceAddr(at.0 + self.from_remote.len);
        let pool = |at, plan: PoolPlan| PoolPlace { at, size: plan.size, count: plan.count };
        Ok(BufferPlace {
            at,
            len,
            from_remote: pool(at, self.from_remote),
            to_remote: pool(second, self.to_remote),
        })
    }
}

impl PoolPlan {
    fn new(
        pool: Pool,
        configured: Option<u32>,
        num: u16,
        limit: u64,
        entry: u32,
        field: &'static str,
    ) -> Result<PoolPlan, PlanError> {
        let size = pool.size.or(configured).unwrap_or(Pool::DEFAULT_SIZE);
        let count = pool.count.unwrap_or(num.into());
        let place = Place { entry, kind: "vdev", ring: None, field };
        let least = rpmsg::Header::SIZE as u64 + 1;
        if u64::from(size) < least {
            let fault = Fault::TooSmall { purpose: "a message with its header", needed: least };
            return Err(place.with(size.into(), fault));
        }
        // Every message's header is aligned, whatever the firmware asks for.
        let each = u64::from(size).next_multiple_of(BUFFER_ALIGN);
        let needed = each * u64::from(count);
        match u32::try_from(each) {
            Ok(each) if needed <= limit => {
                Ok(PoolPlan { size: each, count, len: needed.next_multiple_of(POOL_ALIGN) })
            }
            _ => Err(place.with(size.into(), Fault::TooLarge { needed, limit })),
        }
    }
}

/// The buffer sizes that the firmware offers. Other stacks use the same feature bit for other things: what does not
/// read as a configuration is none, which a finding says.
fn config(vdev: &wire::Vdev<'_>) -> Option<RpmsgConfig> {
    let offered = u64::from(vdev.dfeatures) & F_BUFSZ != 0;
    offered.then(|| RpmsgConfig::parse(vdev.config()).ok()).flatten()
}

/// Hands out notify ids: those that the table gives, each once, and free ones for the rest.
pub(super) struct NotifyIds {
    /// Given by the table, to a ring or to a device.
    reserved: BTreeSet<u32>,
    assigned: BTreeSet<u32>,
}

impl NotifyIds {
    pub(super) fn new(entries: &[Located<wire::Entry<'_>>]) -> NotifyIds {
        let mut reserved = BTreeSet::new();
        for located in entries {
            if let wire::Entry::Vdev(vdev) = &located.entry {
                reserved.insert(vdev.notifyid);
                reserved.extend(vdev.vrings().map(|vring| vring.notifyid));
            }
        }
        NotifyIds { reserved, assigned: BTreeSet::new() }
    }

    fn assign(&mut self, wanted: u32) -> u32 {
        let mut id = wanted;
        if wanted == ADDR_ANY || self.assigned.contains(&wanted) {
            let taken = |id: &u32| self.reserved.contains(id) || self.assigned.contains(id);
            // There are fewer rings and devices than numbers, by far.
            id = (0..ADDR_ANY).find(|id| !taken(id)).unwrap_or(wanted);
        }
        self.assigned.insert(id);
        id
    }
}
