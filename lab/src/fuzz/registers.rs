//! A vdev entry in shared memory as the registers of a device, with both sides writing to it.

use sidecore_virtio::status::{Change, is_running};
use sidecore_virtio::transport::table::{Device, Driver};
use sidecore_virtio::transport::{DeviceTransport, DriverTransport};
use sidecore_wire::status::Status;

use crate::rigs::shared;
use crate::tape::Tape;

/// Plays the main side and the firmware on one vdev entry, as the bytes have it: first where the entry is and what the
/// table says, then calls and writes.
pub fn registers(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let (at, len) = (tape.below(64), 1 + tape.below(256));
    let table = shared(len);
    for byte in 0..len.min(96) {
        table.store(byte, tape.u8()).unwrap();
    }
    let (driver, device) = match (Driver::new(&table, at), Device::new(&table, at)) {
        (Ok(driver), Ok(device)) => (driver, device),
        (Err(error), Err(same)) => return assert_eq!((error.to_string(), error), (same.to_string(), same)),
        (driver, device) => panic!("{driver:?} and {device:?} do not agree"),
    };
    assert_eq!(driver.rings(), device.rings());
    let (offered, rings) = (driver.offered(), driver.rings());
    let mut before = Status::RESET;
    while !tape.is_at_end() {
        match tape.below(8) {
            0 => {
                let now = device.status();
                let change = device.poll();
                assert_eq!(change == Change::Started, !is_running(before) && is_running(now));
                // Who was reset and is ready again is told of both, one after the other.
                before = if change == Change::Reset { Status::RESET } else { now };
            }
            1 => match device.accepted() {
                Ok(accepted) => assert_eq!(accepted & !offered, 0),
                Err(error) => assert!(error.bits != 0 && error.bits & offered == 0),
            },
            2 => {
                let understood = tape.u64();
                if let Ok(features) = driver.begin(understood, tape.u8().into()) {
                    assert_eq!(features & !understood, 0);
                }
            }
            3 => driver.driver_ok(),
            4 => {
                let index = tape.u8();
                assert_eq!(driver.vring(index), device.vring(index));
                assert_eq!(driver.vring(index).is_ok(), index < rings, "as many rings as at the start");
            }
            5 => assert_eq!(driver.rpmsg_config(), device.rpmsg_config()),
            6 => device.set_needs_reset(),
            _ => table.store(tape.below(len), tape.u8()).unwrap(),
        }
    }
}
