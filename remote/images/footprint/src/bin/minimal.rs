//! Messages and no life cycle: an echo, announced by the name service, over rings at places that both sides know.
#![no_std]
#![no_main]

use core::cell::Cell;

use sidecore_firmware::{bare, platform::board::Bare};
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

fn main(bare: &Bare) {
    let (start, shared) = bare.shared();
    let mut map = AddressMap::<(), 1>::new();
    if map.insert(start, shared).is_err() {
        return;
    }
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
    bare.wait(|| false);
    let Ok(link) = attach_bare([ring(0), ring(1)], map, cancelled, Doorbell(bare)) else { return };
    let rpmsg = Rpmsg::new(link, slots);
    let Ok(echo) = rpmsg.open(ADDR_ANY, ADDR_ANY) else { return };
    let Ok(name) = Name::new("rpmsg-echo") else { return };
    if rpmsg.announce(echo, &name).is_err() {
        return;
    }
    loop {
        let mut buffer = [0; 496];
        let delivered = rpmsg.deliver(|message| {
            if let Ok(payload) = message.copy_to(&mut buffer) {
                // An echo that finds no buffer is not sent.
                let _ = message.reply(payload);
            }
        });
        match delivered {
            Ok(Delivered::Nothing) => bare.wait(|| rpmsg.link().arm()),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

struct Doorbell<'b>(&'b Bare);

impl Notify for Doorbell<'_> {
    fn notify(&self, queue: u16) {
        self.0.ring(queue as u8 + 1);
    }
}
