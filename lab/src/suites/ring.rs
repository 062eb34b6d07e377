//! What a virtqueue promises to those who keep its rules: the seam `virtio::{DriverQueue, DeviceQueue}`.
//!
//! The numbers in the names are clauses of the Virtual I/O Device specification, version 1.3. (They are those of
//! the split ring; the promises hold for any format.)

mod accounting;
mod notification;
mod threads;
mod transfer;

use std::sync::Arc;

use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_virtio::split;
use sidecore_virtio::{Buffer, DeviceQueue, Direction, DriverQueue, QueueError, RingFeatures};

use super::{Case, Row, cases};
use crate::rigs::{DATA_ADDR, Heap, Shared, Split};

/// Every ring format with every set of features that changes what it does.
pub const RINGS: &[Row<dyn Bench>] = &[
    Row { name: "split", bench: &SplitBench { event_index: false, indirect: false } },
    Row { name: "split_event_index", bench: &SplitBench { event_index: true, indirect: false } },
    Row { name: "split_indirect", bench: &SplitBench { event_index: false, indirect: true } },
    Row { name: "split_event_index_indirect", bench: &SplitBench { event_index: true, indirect: true } },
];

/// What all of them promise.
pub const CASES: &[Case<dyn Bench>] = cases![
    accounting::vring_2_7_13_a_descriptor_is_offered_only_by_who_holds_it,
    accounting::vring_2_7_13_acquire_takes_what_is_free_or_came_back,
    accounting::vring_2_7_13_what_is_not_filled_is_not_offered,
    accounting::vring_2_7_13_a_full_ring_takes_nothing_and_loses_nothing,
    accounting::vring_2_7_5_chains_free_all_their_descriptors,
    accounting::vring_2_7_5_3_an_indirect_chain_takes_one_descriptor,
    accounting::vring_2_7_6_a_chain_that_was_put_back_is_taken_again,
    accounting::vring_2_7_8_given_back_chains_are_no_longer_outstanding,
    notification::vring_2_7_7_a_wish_tells_what_came_meanwhile,
    notification::vring_2_7_7_nothing_new_raises_no_notification,
    notification::vring_2_7_7_notifications_are_sent_while_they_are_wanted,
    notification::vring_2_7_10_a_wish_is_answered_once_also_where_indices_wrap,
    notification::vring_2_7_10_a_wish_for_what_has_passed_is_not_answered,
    notification::vring_2_7_13_a_batch_is_told_of_once,
    threads::vring_2_7_7_no_wake_up_is_lost_between_threads,
    transfer::vring_2_7_4_a_single_buffer_is_neither_chain_nor_table_nor_of_the_other_direction,
    transfer::vring_2_7_4_who_takes_single_buffers_takes_nothing_else,
    transfer::vring_2_7_5_chains_arrive_in_order,
    transfer::vring_2_7_5_3_indirect_chains_arrive_in_order,
    transfer::vring_2_7_8_used_elements_name_chain_and_length_in_the_order_of_use,
    transfer::vring_2_7_13_buffers_are_filled_and_offered_in_one_step,
    transfer::vring_2_7_13_a_bound_descriptor_keeps_its_address_and_direction,
    transfer::vring_2_7_13_the_descriptors_of_a_chain_that_came_back_stand_alone,
    transfer::vring_2_7_13_indices_wrap_with_every_descriptor_in_use,
    transfer::vring_2_7_13_nothing_is_visible_before_it_is_published,
];

/// Makes rings of one format and set of features.
pub trait Bench: Sync {
    /// What both ends have negotiated.
    fn features(&self) -> RingFeatures;

    /// Both ends of a ring of `num` descriptors (a power of two), with 64 KiB for buffers.
    fn pair(&self, num: u16) -> Pair;
}

/// Both ends of a ring.
pub struct Pair {
    /// The driver's end.
    pub driver: Box<dyn DriverEnd>,
    /// The device's end.
    pub device: Box<dyn DeviceEnd>,
    /// Memory for buffers, from [`DATA_ADDR`] on.
    pub data: Shared,
    /// The ring's address space.
    pub map: AddressMap<Arc<Heap>>,
}

/// A driver, and what every format has beyond the seam.
pub trait DriverEnd: DriverQueue + Send {
    /// Descriptors that can still be reserved.
    fn free_count(&self) -> u16;

    /// [`DriverQueue::offer_next`], which is for sized types alone.
    ///
    /// # Errors
    /// As there.
    fn fill_next(&self, fill: &mut dyn FnMut(u16) -> Option<u32>) -> Result<bool, QueueError>;

    /// Gives a chain by a table in memory of the caller's.
    ///
    /// # Errors
    /// As [`DriverQueue::add`], and where the table is too short.
    fn add_indirect(
        &self,
        chain: &[Buffer],
        table: &Region<Arc<Heap>>,
        at: DeviceAddr,
    ) -> Result<u16, QueueError>;
}

/// A device, and what every format has beyond the seam.
pub trait DeviceEnd: DeviceQueue + Send {
    /// All buffers of a chain that was taken.
    ///
    /// # Errors
    /// The driver broke a rule.
    fn walk(&self, head: u16, map: &AddressMap<Arc<Heap>>) -> Result<Vec<Buffer>, QueueError>;

    /// Puts the chain that was taken last back.
    ///
    /// # Errors
    /// No chain is out.
    fn undo_pop(&self, head: u16) -> Result<(), QueueError>;

    /// Chains taken and not given back.
    fn outstanding(&self) -> u16;
}

struct SplitBench {
    event_index: bool,
    indirect: bool,
}

impl Bench for SplitBench {
    fn features(&self) -> RingFeatures {
        RingFeatures { event_index: self.event_index, indirect: self.indirect }
    }

    fn pair(&self, num: u16) -> Pair {
        let rig = Split::new(num, self.features(), 0x1_0000);
        Pair {
            driver: Box::new(rig.driver()),
            device: Box::new(rig.device()),
            map: rig.map(),
            data: rig.data,
        }
    }
}

impl<S: AsRef<[split::Slot]> + Send> DriverEnd for split::Driver<S, Arc<Heap>> {
    fn free_count(&self) -> u16 {
        self.free_count()
    }

    fn fill_next(&self, fill: &mut dyn FnMut(u16) -> Option<u32>) -> Result<bool, QueueError> {
        DriverQueue::offer_next(self, fill)
    }

    fn add_indirect(
        &self,
        chain: &[Buffer],
        table: &Region<Arc<Heap>>,
        at: DeviceAddr,
    ) -> Result<u16, QueueError> {
        self.add_indirect(chain, table, at)
    }
}

impl DeviceEnd for split::Device<Arc<Heap>> {
    fn walk(&self, head: u16, map: &AddressMap<Arc<Heap>>) -> Result<Vec<Buffer>, QueueError> {
        self.walk(head, map).collect()
    }

    fn undo_pop(&self, head: u16) -> Result<(), QueueError> {
        self.undo_pop(head)
    }

    fn outstanding(&self) -> u16 {
        self.outstanding()
    }
}

/// A buffer that the driver writes.
const fn readable(offset: u64, len: u32) -> Buffer {
    Buffer { addr: DeviceAddr(DATA_ADDR.0 + offset), len, direction: Direction::ToDevice }
}

/// A buffer that the device writes.
const fn writable(offset: u64, len: u32) -> Buffer {
    Buffer { addr: DeviceAddr(DATA_ADDR.0 + offset), len, direction: Direction::FromDevice }
}

impl Pair {
    /// Sends a chain across and back: the driver holds its head afterwards.
    fn round_trip(&self, chain: &[Buffer]) -> u16 {
        let head = self.driver.add(chain).expect("room in the ring");
        let _ = self.driver.publish();
        assert_eq!(self.device.pop_available(), Ok(Some(head)));
        self.device.add_used(head, 0);
        let _ = self.device.publish();
        assert_eq!(
            self.driver.pop_used().expect("a device that keeps the rules").map(|used| used.head),
            Some(head)
        );
        head
    }
}
