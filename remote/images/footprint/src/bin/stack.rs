//! Measures the stack that sending and receiving take: a remote and its host in one image, which take turns.
//!
//! Ends with the two numbers of bytes as exit code, the one for sending in the upper 16 bits.
#![no_std]
#![no_main]

use core::cell::Cell;

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, stack_used};
use sidecore_mem::{AddressMap, DeviceAddr, Memory};
use sidecore_rpmsg::link::vring::{self, Buffers};
use sidecore_rpmsg::{Link as _, Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::{Notify, RingFeatures};
use sidecore_wire::split::Layout;

bare! { main: main }

const BUFFERS: u16 = 8;
const SIZE: u32 = 512;
const POOL: usize = BUFFERS as usize * SIZE as usize;

static SHARED: Memory<16384> = Memory::new();

fn main(_: Native) -> i32 {
    measure().unwrap_or(-1)
}

fn measure() -> Option<i32> {
    let shared = SHARED.region();
    let start = shared.pointer().addr().get() as u64;
    let layout = Layout::new(BUFFERS, 64).ok()?;
    let parts = |at: usize| Parts::contiguous(&shared.slice(at, layout.size() as usize).ok()?, &layout).ok();
    let buffers = |at: usize| {
        let region = shared.slice(at, POOL).ok()?;
        Some(Buffers { region, addr: DeviceAddr(start + at as u64), size: SIZE })
    };
    let features = RingFeatures::default();
    let slots = <[split::Slot; BUFFERS as usize]>::default;
    let rx = split::Driver::new(parts(0)?, features, slots()).ok()?;
    let tx = split::Driver::new(parts(1024)?, features, slots()).ok()?;
    let host = vring::Driver::new(rx, tx, buffers(4096)?, buffers(4096 + POOL)?, Silent).ok()?;
    let host = Rpmsg::new(host, [Slot::new()]);

    let mut map = AddressMap::<(), 1>::new();
    map.insert(DeviceAddr(start), shared.clone()).ok()?;
    let ring = |at| Some(split::Device::new(parts(at)?, features));
    let cancelled = [const { Cell::new(0) }; BUFFERS as usize];
    let remote = vring::Device::new(ring(0)?, ring(1024)?, map, Silent, cancelled).ok()?;
    let remote = Rpmsg::new(remote, [Slot::new()]);

    let ours = remote.open(1024, 1025).ok()?;
    let theirs = host.open(1025, 1024).ok()?;
    let mut went_well = true;
    let send = stack_used(&mut || went_well &= remote.send(ours, b"sixteen bytes...").is_ok());
    let _ = host.deliver(|_| ()).ok()?;
    host.send(theirs, b"sixteen bytes...").ok()?;
    let mut bytes = [0; 16];
    let receive = stack_used(&mut || {
        let read = remote.deliver(|message| went_well &= message.read(0, &mut bytes).is_ok());
        went_well &= read.is_ok();
    });
    let came = &bytes == b"sixteen bytes..." && !remote.link().is_closed();
    (went_well && came).then_some((send << 16 | receive) as i32)
}

/// Nobody is asleep here.
struct Silent;

impl Notify for Silent {
    fn notify(&self, _: u16) {}
}
