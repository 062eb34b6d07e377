//! Messages and no life cycle: an echo, announced by the name service, over rings at places that both sides know.
#![no_std]
#![no_main]

use core::cell::Cell;

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, Platform as _};
use sidecore_mem::{AddressMap, DeviceAddr, Memory};
use sidecore_rpmsg::link::vring;
use sidecore_rpmsg::{ADDR_ANY, Delivered, Link as _, Name, Rpmsg, Slot};
use sidecore_virtio::split::{Device, Parts};
use sidecore_virtio::{Notify, RingFeatures};
use sidecore_wire::split::Layout;

bare! { main: main }

/// Buffers each way.
const BUFFERS: u16 = 8;

/// Where the rings lie in the shared memory; the main side puts its buffers behind them.
const RINGS: [usize; 2] = [0, 1024];

/// What both sides share.
static SHARED: Memory<16384> = Memory::new();

const ECHO: u32 = 1024;

fn main(platform: Native) -> i32 {
    // The first kick says that the rings are there.
    platform.wait(None, &mut || false);
    match serve(&platform) {
        Some(()) => 0,
        None => 1,
    }
}

/// Serves until the link breaks.
fn serve(platform: &Native) -> Option<()> {
    let shared = SHARED.region();
    let ring = |at: usize| {
        let layout = Layout::new(BUFFERS, 64).ok()?;
        let parts = Parts::contiguous(&shared.slice(at, layout.size() as usize).ok()?, &layout).ok()?;
        Some(Device::new(parts, RingFeatures::default()))
    };
    let (tx, rx) = (ring(RINGS[0])?, ring(RINGS[1])?);
    let mut map = AddressMap::<(), 1>::new();
    map.insert(DeviceAddr(shared.pointer().addr().get() as u64), shared.clone()).ok()?;
    let cancelled = [const { Cell::new(0) }; BUFFERS as usize];
    let link = vring::Device::new(tx, rx, map, Doorbell(platform), cancelled).ok()?;
    let rpmsg = Rpmsg::new(link, [Slot::new()]);
    let echo = rpmsg.open(ECHO, ADDR_ANY).ok()?;
    rpmsg.announce(echo, &Name::new("rpmsg-echo").ok()?).ok()?;
    loop {
        let delivered = rpmsg.deliver(|message| {
            let Ok(mut answer) = rpmsg.reserve_to(echo, message.src()) else { return };
            let mut piece = [0; 16];
            let mut at = 0;
            while at < message.len() {
                let Some(piece) = piece.get_mut(..message.len() - at) else { return };
                if message.read(at, piece).is_err() || answer.append(piece).is_err() {
                    return;
                };
                at += piece.len();
            }
            let _ = answer.send();
        });
        match delivered.ok()? {
            Delivered::Nothing => platform.wait(None, &mut || rpmsg.link().arm()),
            _ => {}
        }
    }
}

struct Doorbell<'p>(&'p Native);

impl Notify for Doorbell<'_> {
    fn notify(&self, queue: u16) {
        self.0.ring(u32::from(queue) + 1);
    }
}
