//! A hostile remote, for tests of whoever is at its other end: announces `rpmsg-liar`, sends back what comes there, and
//! where the first byte of a message is one of [`LIES`], does what that stands for instead.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{Connection, Endpoint, Error, Remote, SharedMap, image, trace};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_wire::resource_table::{Vring, vdev, vring};
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

image! { main: main }

/// Where `image!` puts the device in the table of an image with a trace and nothing else before it.
const DEVICE: usize = sidecore_firmware::Resources::DEFAULT.rpmsg_at().unwrap();

/// What a byte stands for.
const LIES: [fn(&Liar<'_, '_>); 8] = [
    // The index of what was sent jumps.
    |liar| liar.show(None, 0x7000),
    // A buffer that there is not.
    |liar| liar.show(Some([0x7fff_ffff, 16]), 1),
    // A frame longer than any buffer.
    |liar| liar.show(Some([0, u32::MAX]), 1),
    // A frame shorter than a header.
    |liar| liar.show(Some([0, 3]), 1),
    // All of the table is ones: counts, addresses, features, status.
    |liar| fill(liar.table, |_| 0xff),
    // All of the table is zeros.
    |liar| fill(liar.table, |_| 0),
    // Noise in all that is shared, without end.
    |liar| liar.noise(),
    // Frames to the name service that are no announcements, and messages to nobody.
    |liar| liar.babble(),
];

struct Liar<'l, 's> {
    table: &'l Region,
    shared: &'l SharedMap,
    connection: &'l Connection<'s>,
    endpoint: &'l Endpoint<'l, 's>,
}

fn main(mut remote: Remote) -> Result<(), Error> {
    let table = remote.table().clone();
    loop {
        let connection = remote.connect()?;
        match serve(&table, &connection) {
            // Found out: it begins again, as honestly as before.
            Err(Error::Link(_)) => remote = connection.disconnect(),
            other => return other,
        }
    }
}

fn serve(table: &Region, connection: &Connection<'_>) -> Result<(), Error> {
    let Ok(shared) = connection.shared() else { return Ok(()) };
    let endpoint = connection.open("rpmsg-liar").wait()?;
    let liar = Liar { table, shared: &shared, connection, endpoint: &endpoint };
    loop {
        let message = endpoint.receive().wait()?;
        let (src, mut bytes) = (message.src(), [0; 496]);
        let bytes = message.copy_to(&mut bytes)?;
        drop(message);
        match bytes.first().and_then(|lie| LIES.get(usize::from(*lie))) {
            Some(lie) => {
                trace!("liar: {}", bytes.first().unwrap_or(&0));
                lie(&liar);
            }
            None => endpoint.send_to(src, bytes).wait()?,
        }
    }
}

impl Liar<'_, '_> {
    /// The ring to the main side, and where its used part begins.
    fn ring(&self) -> Option<(Region, usize, Layout)> {
        let bytes = self.table.read_array::<{ vring::SIZE }>(DEVICE + vdev::offset::VRINGS).ok()?;
        let ring = Vring::parse(&bytes);
        let layout = Layout::new(u16::try_from(ring.num).ok()?, ring.align).ok()?;
        let region = self.shared.resolve(DeviceAddr(ring.da.into()), layout.size() as usize).ok()?;
        Some((region, layout.used_flags() as usize, layout))
    }

    /// Puts an element into the used ring, and moves its index on.
    fn show(&self, element: Option<[u32; 2]>, by: u16) {
        let Some((ring, used, layout)) = self.ring() else { return };
        let index: u16 = ring.load(used + 2).unwrap_or(0);
        if let Some([head, len]) = element {
            let at = used + 4 + 8 * usize::from(index % layout.num());
            let _ = ring.store(at, head);
            let _ = ring.store(at + 4, len);
        }
        let _ = ring.store(used + 2, index.wrapping_add(by));
        // What the SDK would write next would be the truth.
        while self.is_believed() {
            self.connection.machine().pause(Duration::from_millis(50)).wait();
        }
    }

    /// Whether the driver goes on, as the status says.
    fn is_believed(&self) -> bool {
        let status = Status(self.table.load(DEVICE + vdev::offset::STATUS).unwrap_or(0));
        status.contains(Status::DRIVER_OK) && !status.contains(Status::FAILED)
    }

    fn noise(&self) {
        let mut state = 0x9e37_79b9_u32;
        let mut noise = move |_: usize| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        loop {
            for window in self.shared.windows() {
                fill(&window.region, &mut noise);
            }
            fill(self.table, &mut noise);
            self.connection.machine().feed_watchdog();
        }
    }

    fn babble(&self) {
        const NAME_SERVICE: u32 = 53;
        let mut bytes = [0; 64];
        for round in 0..200_u32 {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = (round as usize * 89 + at * 57) as u8;
            }
            let some = bytes.get(..round as usize % 64).unwrap_or_default();
            // What is refused was too wild even for our own side.
            let _ = self.endpoint.send_to(NAME_SERVICE, some).wait();
            let _ = self.endpoint.send_to(3000 + round, some).wait();
        }
    }
}

fn fill(region: &Region, mut with: impl FnMut(usize) -> u8) {
    for at in 0..region.len() {
        let _ = region.store(at, with(at));
    }
}
