//! The descriptors of one chain, one after the other.

use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_wire::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE};

use super::{Device, unpack};
use crate::{Buffer, DeviceQueue, Direction, QueueError};

/// The buffers of a chain that the device has taken, each descriptor copied once and checked.
///
/// Yields an error once and nothing after it.
#[derive(Debug)]
pub struct Walk<'q, O, const N: usize> {
    device: &'q Device<O>,
    map: &'q AddressMap<O, N>,
    head: u16,
    /// The table that the chain goes on in: the ring's own, or an indirect one with its number of descriptors.
    indirect: Option<(&'q Region<O>, usize, u16)>,
    next: Option<u16>,
    /// Descriptors that may still come before the chain must be a loop.
    left: u16,
    /// A buffer for the device to write has come: no other may follow (2.7.4.2).
    writable: bool,
}

impl<'q, O, const N: usize> Walk<'q, O, N> {
    pub(super) fn new(device: &'q Device<O>, head: u16, map: &'q AddressMap<O, N>) -> Self {
        Self { device, map, head, indirect: None, next: Some(head), left: device.num(), writable: false }
    }

    fn step(&mut self, index: u16) -> Result<Buffer, QueueError> {
        self.left = self.left.checked_sub(1).ok_or(QueueError::PeerChainLoop { head: self.head })?;
        let (addr, len, flags, next) = self.descriptor(index)?;
        if flags & DESC_INDIRECT != 0 {
            let first = self.enter(index, addr, len, flags)?;
            return self.step(first);
        }
        let bad = |field, value| QueueError::PeerBadDescriptor { index, field, value };
        let direction = if flags & DESC_WRITE != 0 { Direction::FromDevice } else { Direction::ToDevice };
        if self.writable && direction == Direction::ToDevice {
            return Err(bad("flags", u64::from(flags)));
        }
        self.writable = direction == Direction::FromDevice;
        if flags & DESC_NEXT != 0 {
            if next >= self.table_len() {
                return Err(bad("next", u64::from(next)));
            }
            self.next = Some(next);
        }
        Ok(Buffer { addr, len, direction })
    }

    /// Goes on in an indirect table (2.7.5.3): only from the ring's own table, only as the whole rest of a chain.
    fn enter(&mut self, index: u16, addr: DeviceAddr, len: u32, flags: u16) -> Result<u16, QueueError> {
        let bad = |field, value| QueueError::PeerBadDescriptor { index, field, value };
        let allowed = self.device.features().indirect && self.indirect.is_none() && flags & DESC_NEXT == 0;
        if !allowed {
            return Err(bad("flags", u64::from(flags)));
        }
        let count = len / 16;
        if !len.is_multiple_of(16) || count == 0 || count > u32::from(self.device.num()) {
            return Err(bad("len", u64::from(len)));
        }
        let located = self.map.locate(addr, len as usize).map_err(|_| bad("addr", addr.0))?;
        let region = self.map.region(located.window).ok_or(bad("addr", addr.0))?;
        self.indirect = Some((region, located.offset, count as u16));
        // The whole chain has at most as many buffers as the ring has descriptors (2.7.5.3.1), the table at most its own.
        self.left = (count as u16).min(self.left + 1);
        Ok(0)
    }

    /// Descriptors of the table that the chain is in.
    fn table_len(&self) -> u16 {
        self.indirect.map_or(self.device.num(), |(_, _, count)| count)
    }

    fn descriptor(&self, index: u16) -> Result<(DeviceAddr, u32, u16, u16), QueueError> {
        let Some((region, offset, _)) = self.indirect else { return Ok(self.device.descriptor(index)) };
        // Byte copies: an indirect table may lie at any address.
        let at = offset + 16 * usize::from(index);
        let addr = u64::from_le_bytes(region.read_array(at)?);
        let (len, flags, next) = unpack(u64::from_le_bytes(region.read_array(at + 8)?));
        Ok((DeviceAddr(addr), len, flags, next))
    }
}

impl<O, const N: usize> Iterator for Walk<'_, O, N> {
    type Item = Result<Buffer, QueueError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next.take()?;
        let item = self.step(index);
        if item.is_err() {
            self.next = None;
        }
        Some(item)
    }
}
