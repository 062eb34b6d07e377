//! The rings at work.

use std::cell::Cell;
use std::sync::Arc;

use sidecore_os::Lent;
use sidecore_rpmsg::link::vring::{Device as VringLink, FROM_DEVICE, TO_DEVICE};
use sidecore_rpmsg::remote::RemoteLink;
use sidecore_virtio::RingFeatures;

use crate::memory::{MEMORY_SLOTS, Memory};
use crate::ring::{Due, RINGS, Ring};
use crate::{Fault, Serving};

type Link = RemoteLink<Due, Box<[Cell<u16>]>, Arc<Lent>, MEMORY_SLOTS>;

/// The link to a driver, with what serves its channels.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) serving: Serving<Link>,
    /// Whether this driver has used its rings before.
    pub(crate) is_resumed: bool,
}

impl Device {
    /// Takes up the rings where they stand, with as many endpoints as there are channels.
    ///
    /// # Errors
    /// The rings are not where the front end says.
    pub(crate) fn start(
        rings: &[Ring; RINGS],
        memory: &Memory,
        features: u64,
        due: Due,
        channels: usize,
    ) -> Result<Self, Fault> {
        let features = RingFeatures::of(features);
        let [from_device, to_device] = rings;
        let tx = from_device.device(FROM_DEVICE, memory, features)?;
        let rx = to_device.device(TO_DEVICE, memory, features)?;
        let untouched = |ring: &Ring, queue| ring.base == 0 && ring.used_index(queue, memory) == Some(0);
        let is_resumed = !(untouched(from_device, FROM_DEVICE) && untouched(to_device, TO_DEVICE));
        let cancelled = vec![Cell::new(0); usize::from(from_device.num)].into_boxed_slice();
        let link = VringLink::new(tx, rx, memory.guest_map(), due, cancelled).map_err(Fault::Link)?;
        Ok(Self { serving: Serving::new(link, channels).map_err(Fault::Link)?, is_resumed })
    }
}
