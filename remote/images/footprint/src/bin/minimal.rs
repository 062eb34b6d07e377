//! Messages and no life cycle: an echo, announced by the name service, over rings at places that both sides know.
#![no_std]
#![no_main]

use core::cell::Cell;

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, Platform};
use sidecore_mem::AddressMap;
use sidecore_rpmsg::{ADDR_ANY, Delivered, Link as _, Name, Rpmsg, Slot, remote::attach_bare};
use sidecore_virtio::Notify;
use sidecore_wire::resource_table::Vring;

bare! { main: main }

/// Buffers each way.
const BUFFERS: u16 = 8;

/// Bytes that each ring has.
const RING: u32 = 0x1000;

const ALIGN: u32 = 64;

fn main(platform: Native) -> i32 {
    let mut map = AddressMap::<(), 1>::new();
    if platform.shared(&mut map).is_err() {
        return 1;
    }
    let _ = serve(&platform, map);
    2
}

/// Serves until the link breaks.
fn serve(platform: &Native, map: AddressMap<(), 1>) -> Option<()> {
    let start = map.windows().next()?.start;
    let ring = |number: u32| Vring {
        da: start.0 as u32 + RING * number,
        align: ALIGN,
        num: BUFFERS.into(),
        notifyid: number + 1,
        pa: 0,
    };
    let cancelled = [const { Cell::new(0) }; BUFFERS as usize];
    let slots = [Slot::new()];
    // The first kick says that the rings are there.
    platform.wait(None, &mut || false);
    let link = attach_bare([ring(0), ring(1)], map, cancelled, Doorbell(platform)).ok()?;
    let rpmsg = Rpmsg::new(link, slots);
    let echo = rpmsg.open(ADDR_ANY, ADDR_ANY).ok()?;
    let name = Name::new("rpmsg-echo").ok()?;
    rpmsg.announce(echo, &name).ok()?;
    loop {
        let mut buffer = [0; 496];
        let delivered = rpmsg.deliver(|message| {
            if let Ok(payload) = message.copy_to(&mut buffer) {
                // An echo that finds no buffer is not sent.
                let _ = message.reply(payload);
            }
        });
        match delivered {
            Ok(Delivered::Nothing) => platform.wait(None, &mut || rpmsg.link().arm()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

struct Doorbell<'p>(&'p Native);

impl Notify for Doorbell<'_> {
    fn notify(&self, queue: u16) {
        self.0.ring(u32::from(queue) + 1);
    }
}
