//! Measures the stack that sending and receiving take: a remote and its host in one image, which take turns.
//!
//! Ends with three numbers of bytes as exit code, 10 bits each: sending, receiving, and what the remote's state takes.
#![no_std]
#![no_main]

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, stack_used};
use sidecore_footprint::{BUFFERS, ECHO, PLACES, SHARED};
use sidecore_mem::DeviceAddr;
use sidecore_rpmsg::link::vring::{self, Buffers};
use sidecore_rpmsg::small::Remote;
use sidecore_rpmsg::{Rpmsg, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::{Notify, RingFeatures};
use sidecore_wire::split::Layout;

bare! { main: main }

const SIZE: u32 = 512;
const POOL: usize = BUFFERS as usize * SIZE as usize;
const POOLS: [usize; 2] = [4096, 4096 + POOL];

const HOST: u32 = 1025;

const PAYLOAD: &[u8; 16] = b"sixteen bytes...";

fn main(_: Native) -> i32 {
    measure().unwrap_or(-1)
}

fn measure() -> Option<i32> {
    let shared = SHARED.region();
    let start = shared.pointer().addr().get() as u64;
    let layout = Layout::new(PLACES.num, PLACES.align).ok()?;
    let driver = |at: usize| {
        let parts = Parts::contiguous(&shared.slice(at, layout.size() as usize).ok()?, &layout).ok()?;
        let slots = <[split::Slot; BUFFERS as usize]>::default();
        split::Driver::new(parts, RingFeatures::default(), slots).ok()
    };
    let buffers = |at: usize| {
        let region = shared.slice(at, POOL).ok()?;
        Some(Buffers { region, addr: DeviceAddr(start + at as u64), size: SIZE })
    };
    let (rx, tx) = (driver(PLACES.to_host)?, driver(PLACES.to_remote)?);
    let host = vring::Driver::new(rx, tx, buffers(POOLS[0])?, buffers(POOLS[1])?, Silent).ok()?;
    let host = Rpmsg::new(host, [Slot::new()]);
    let theirs = host.open(HOST, ECHO).ok()?;
    let remote = Remote::new(shared.clone(), DeviceAddr(start), &PLACES, &[ECHO], Silent).ok()?;

    let mut sent = Err(sidecore_rpmsg::small::Error::Full);
    let send = stack_used(&mut || sent = remote.send(ECHO, HOST, PAYLOAD));
    sent.ok()?;

    host.send(theirs, PAYLOAD).ok()?;
    let (mut bytes, mut read) = ([0; PAYLOAD.len()], Ok(None));
    let receive = stack_used(&mut || read = remote.receive(|message| message.read(0, &mut bytes)));
    read.ok()???;
    let state = size_of_val(&remote);
    (&bytes == PAYLOAD).then_some((send << 20 | receive << 10 | state) as i32)
}

/// Nobody is asleep here.
struct Silent;

impl Notify for Silent {
    fn notify(&self, _: u16) {}
}
