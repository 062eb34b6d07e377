//! Messages and no life cycle: an echo, announced by the name service, over rings at places that both sides know.
#![no_std]
#![no_main]

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, Platform as _};
use sidecore_footprint::{ECHO, PLACES, SHARED, announcement};
use sidecore_mem::DeviceAddr;
use sidecore_rpmsg::NAME_SERVICE_ADDR;
use sidecore_rpmsg::small::{Message, Remote};
use sidecore_virtio::Notify;

bare! { main: main }

/// What the remote tells its host first.
static ANNOUNCEMENT: [u8; 40] = announcement();

fn main(platform: Native) -> i32 {
    match serve(&platform) {
        Some(()) => 0,
        None => 1,
    }
}

/// Serves until the link breaks.
fn serve(platform: &Native) -> Option<()> {
    let shared = SHARED.region();
    let start = DeviceAddr(shared.pointer().addr().get() as u64);
    let remote = Remote::new(shared, start, &PLACES, &[ECHO], Doorbell(platform)).ok()?;
    // The first kick says that the host has set the rings up.
    platform.wait(None, &mut || remote.arm());
    remote.send(ECHO, NAME_SERVICE_ADDR, &ANNOUNCEMENT).ok()?;
    loop {
        if remote.receive(|message| echo(&remote, message)).ok()?.is_none() {
            platform.wait(None, &mut || remote.arm());
        }
    }
}

/// Sends a message back, a piece at a time from buffer to buffer; one that finds no buffer is lost.
fn echo(remote: &Remote<'_, Doorbell<'_>>, message: &Message<'_>) {
    let _ = remote.send_in_place(ECHO, message.src(), message.len(), |answer| {
        let mut piece = [0; 16];
        let mut at = 0;
        while at < message.len() {
            let len = piece.len().min(message.len() - at);
            let piece = piece.get_mut(..len)?;
            message.read(at, piece)?;
            answer.write(at, piece)?;
            at += len;
        }
        Some(())
    });
}

struct Doorbell<'p>(&'p Native);

impl Notify for Doorbell<'_> {
    fn notify(&self, queue: u16) {
        self.0.ring(u32::from(queue) + 1);
    }
}
