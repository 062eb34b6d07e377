//! Two threads, real sleep.

use std::sync::Arc;
use std::thread;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::{Buffer, Direction};

use super::{Bench, DeviceEnd, DriverEnd, Pair};
use crate::rigs::{DATA_ADDR, Doorbell, Shared};

/// Messages for each set of features, over all its rings.
const MESSAGES: u64 = 200_000;

/// When an end says that it wants no notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suppression {
    /// Never; it asks again before it sleeps.
    Never,
    /// While it is awake.
    Awake,
}

/// Messages go one way and buffers the other, and each end sleeps when it has nothing to do: a wake-up that was
/// lost stops both, and the watchdog tells of it.
pub(super) fn vring_2_7_7_no_wake_up_is_lost_between_threads(bench: &dyn Bench) {
    let rounds = [1, 2, 16].into_iter().flat_map(|num| {
        [(1, Suppression::Never), (1, Suppression::Awake), (5, Suppression::Never), (5, Suppression::Awake)]
            .map(|(batch, suppression)| (num, batch, suppression))
    });
    for (num, batch, suppression) in rounds {
        stream(bench.pair(num), MESSAGES / 12, batch, suppression);
    }
}

fn stream(pair: Pair, messages: u64, batch: u64, suppression: Suppression) {
    let to_device = Arc::new(Doorbell::default());
    let to_driver = Arc::new(Doorbell::default());
    let bells = (to_device.clone(), to_driver.clone());
    let data = pair.data.clone();
    let device =
        thread::spawn(move || receive(&*pair.device, &pair.data, messages, suppression, &bells.0, &bells.1));
    send(&*pair.driver, &data, messages, batch, suppression, &to_device, &to_driver);
    device.join().expect("the device's assertions hold");
}

fn send(
    driver: &dyn DriverEnd,
    data: &Shared,
    messages: u64,
    batch: u64,
    suppression: Suppression,
    ring: &Doorbell,
    wait: &Doorbell,
) {
    let (mut sent, mut back) = (0, 0);
    while back < messages {
        let before = (sent, back);
        while let Some(used) = driver.pop_used().expect("a device that keeps the rules") {
            assert_eq!(u64::from(used.len), back & 0xffff, "answers come in order");
            driver.free(used.head).expect("held since it came back");
            back += 1;
        }
        let limit = messages.min(sent + batch);
        while sent < limit
            && let Some(head) = driver.reserve()
        {
            let at = 16 * usize::from(head);
            data.store(at, sent).expect("16 bytes for each descriptor");
            data.store(at + 8, !sent).expect("16 bytes for each descriptor");
            let addr = DeviceAddr(DATA_ADDR.0 + at as u64);
            driver
                .offer(head, Buffer { addr, len: 16, direction: Direction::ToDevice })
                .expect("just reserved");
            sent += 1;
        }
        if driver.publish() {
            ring.ring();
        }
        if (sent, back) != before {
            continue;
        }
        if !driver.enable_notifications() {
            wait.wait();
        }
        if suppression == Suppression::Awake {
            driver.disable_notifications();
        }
    }
}

fn receive(
    device: &dyn DeviceEnd,
    data: &Shared,
    messages: u64,
    suppression: Suppression,
    wait: &Doorbell,
    ring: &Doorbell,
) {
    let mut received: u64 = 0;
    while received < messages {
        if let Some(head) = device.pop_available().expect("a driver that keeps the rules") {
            let buffer = device.single(head, Direction::ToDevice).expect("one buffer to read");
            let at = usize::try_from(buffer.addr.0 - DATA_ADDR.0).expect("an offset");
            let message = (data.load::<u64>(at), data.load::<u64>(at + 8));
            assert_eq!(message, (Ok(received), Ok(!received)), "whole and in order");
            device.add_used(head, (received & 0xffff) as u32);
            received += 1;
            if device.publish() {
                ring.ring();
            }
            continue;
        }
        if !device.enable_notifications() {
            wait.wait();
        }
        if suppression == Suppression::Awake {
            device.disable_notifications();
        }
    }
}
