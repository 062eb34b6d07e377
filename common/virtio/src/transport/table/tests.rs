extern crate std;

use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use sidecore_mem::{Memory, Region};
use sidecore_wire::features::{EVENT_IDX, F_BUFSZ, F_EPOCH, F_NS};

use super::*;

/// A table's worth of memory with one vdev entry at offset 20: two rings, a configuration of `config` bytes.
fn table(dfeatures: u32, rings: u8, config: u32) -> Region {
    let memory: &'static Memory<256> = Box::leak(Box::default());
    let region = memory.region();
    for (at, value) in [(0, 3), (4, 7), (8, 31), (12, dfeatures), (16, 0), (20, config)] {
        region.store(20 + at, value).unwrap();
    }
    region.store(20 + 25, rings).unwrap();
    region
}

#[test]
fn both_ends_agree_on_features_and_status_through_the_entry() {
    let table = table((F_NS | EVENT_IDX) as u32, 2, 0);
    let driver = Driver::new(&table, 20).unwrap();
    let device = Device::new(&table, 20).unwrap();
    assert_eq!(device.poll(), Change::None);
    assert_eq!(driver.begin(F_NS | F_BUFSZ, F_NS), Ok(F_NS));
    assert_eq!(device.poll(), Change::Progress);
    driver.driver_ok();
    assert_eq!(device.poll(), Change::Started);
    assert_eq!(device.poll(), Change::None);
    assert_eq!(device.accepted(), Ok(F_NS));
    // What Linux leaves in the byte of a legacy device: no FEATURES_OK.
    assert_eq!(table.load::<u8>(44), Ok(7));
    driver.set_status(Status::RESET);
    assert_eq!(device.poll(), Change::Reset);
}

#[test]
fn who_starts_over_is_told_once_more_that_the_driver_is_ready() {
    let table = table(F_NS as u32, 2, 0);
    let driver = Driver::new(&table, 20).unwrap();
    let device = Device::new(&table, 20).unwrap();
    for _ in 0..2 {
        // Reset and ready again between two looks: the status is what it was.
        driver.begin(F_NS, 0).unwrap();
        driver.driver_ok();
        assert_eq!(device.poll(), Change::Started);
        assert_eq!(device.poll(), Change::None);
        device.start_over();
    }
    driver.begin(F_NS, 0).unwrap();
    assert_eq!(device.poll(), Change::Progress);
}

#[test]
fn a_missing_feature_fails_the_device() {
    let table = table(0, 2, 0);
    let driver = Driver::new(&table, 20).unwrap();
    let error = driver.begin(F_NS, F_NS).unwrap_err();
    assert_eq!(error.to_string(), "the device offers features 0x0 and lacks 0x1, which the driver needs");
    assert!(driver.status().contains(Status::FAILED));
}

#[test]
fn features_that_were_never_offered_are_named() {
    let table = table(F_NS as u32, 2, 0);
    let device = Device::new(&table, 20).unwrap();
    // The driver rewrites the offer and accepts it: the device remembers its own.
    table.store(32, u32::MAX).unwrap();
    table.store(36, 0x11_u32).unwrap();
    assert_eq!(device.accepted(), Err(NotOffered { bits: 0x10 }));
}

#[test]
fn needs_reset_is_seen_by_the_driver_and_survives_its_reading() {
    let table = table(1, 2, 0);
    let driver = Driver::new(&table, 20).unwrap();
    let device = Device::new(&table, 20).unwrap();
    driver.driver_ok();
    assert_eq!(device.poll(), Change::Started);
    device.set_needs_reset();
    assert_eq!(device.poll(), Change::None);
    assert!(driver.status().contains(Status::NEEDS_RESET));
}

#[test]
fn a_driver_that_resets_between_two_looks_is_seen_where_that_was_asked_for() {
    let table = table(F_NS as u32, 2, 0);
    let driver = Driver::new(&table, 20).unwrap();
    let device = Device::new(&table, 20).unwrap();
    for looks_meanwhile in [false, true] {
        driver.begin(F_NS, 0).unwrap();
        driver.driver_ok();
        assert_eq!(device.poll(), Change::Started);
        device.set_needs_reset();
        if looks_meanwhile {
            assert_eq!(device.poll(), Change::None);
        }
        driver.begin(F_NS, 0).unwrap();
        driver.driver_ok();
        assert_eq!(device.poll(), Change::Reset);
        assert_eq!(device.poll(), Change::Started);
        assert_eq!(device.poll(), Change::None);
        driver.set_status(Status::RESET);
        assert_eq!(device.poll(), Change::Reset);
        assert_eq!(device.poll(), Change::None);
    }
}

#[test]
fn an_entry_that_leaves_its_table_is_refused() {
    assert!(matches!(Driver::new(&table(1, 200, 0), 20), Err(RegisterError::Access(_))));
    assert!(Driver::new(&table(1, 2, u32::MAX), 20).is_err());
    assert!(Device::new(&table(1, 2, 0), 240).is_err());
    assert!(Device::new(&table(1, 2, 0), usize::MAX).is_err());
}

#[test]
fn counts_that_change_after_the_first_look_change_nothing() {
    let table = table(1, 2, 11);
    let driver = Driver::new(&table, 20).unwrap();
    table.store(45, 255_u8).unwrap();
    table.store(40, u32::MAX).unwrap();
    assert_eq!(driver.rings(), 2);
    assert!(driver.vring(1).is_ok());
    assert_eq!(driver.vring(2), Err(RegisterError::NoSuchRing { index: 2, rings: 2 }));
}

#[test]
fn the_buffer_sizes_are_read_from_the_configuration_behind_the_rings() {
    let table = table((F_NS | F_BUFSZ) as u32, 2, 11);
    let config = RpmsgConfig::new(1024, 2048);
    table.write(20 + 28 + 40, &config.emit()).unwrap();
    assert_eq!(Driver::new(&table, 20).unwrap().rpmsg_config(), Ok(config));
    table.store(20 + 20, 10_u32).unwrap();
    assert_eq!(Driver::new(&table, 20).unwrap().rpmsg_config(), Err(RegisterError::ConfigLength { len: 10 }));
}

/// A device with epochs, these ones.
fn epochs(driver: u32, device: u32) -> Region {
    let table = table(F_EPOCH as u32, 2, 8);
    table.write(20 + 28 + 40, &Epochs { driver, device }.emit()).unwrap();
    table
}

#[test]
fn reset_17_a_device_acknowledges_every_reset_once_and_with_its_number() {
    for (before, left) in [(0, 0), (0, 1), (u32::MAX, 0), (u32::MAX - 1, u32::MAX), (7, 9)] {
        let table = epochs(before, left);
        let driver = Driver::new(&table, 20).unwrap();
        let device = Device::new(&table, 20).unwrap();
        let mut resets = Vec::new();
        for _ in 0..3 {
            driver.begin(0, 0).unwrap();
            driver.driver_ok();
            let reset = driver.reset().unwrap();
            assert_eq!(driver.status(), Status::RESET);
            assert!(!driver.is_acknowledged(reset), "{before} {left}: nobody did");
            assert!(device.acknowledge());
            assert!(driver.is_acknowledged(reset));
            assert!(!device.acknowledge(), "once");
            assert!(resets.iter().all(|reset| !driver.is_acknowledged(*reset)), "not an earlier one");
            resets.push(reset);
        }
    }
}

#[test]
fn reset_18_nothing_is_acknowledged_where_it_was_not_offered_or_has_no_room_or_is_not_aligned() {
    let unaligned = table(F_EPOCH as u32, 2, 9);
    for table in
        [table(F_NS as u32, 2, 8), table(F_EPOCH as u32, 2, 7), table(F_EPOCH as u32, 2, 0), unaligned]
    {
        let before = table.read_array::<256>(0).unwrap();
        let driver = Driver::new(&table, 20).unwrap();
        let device = Device::new(&table, 20).unwrap();
        assert_eq!(driver.reset(), None);
        assert!(!device.acknowledge());
        assert_eq!(table.read_array::<256>(0).unwrap(), before);
    }
}

#[test]
fn table_7_each_side_writes_its_own_registers_alone() {
    let table = table(F_NS as u32, 2, 11);
    let contents = || table.read_array::<256>(0).unwrap();
    let changed =
        |before: &[u8; 256]| -> Vec<usize> { (0..256).filter(|&at| before[at] != contents()[at]).collect() };
    let driver = Driver::new(&table, 20).unwrap();
    let device = Device::new(&table, 20).unwrap();
    let before = contents();
    driver.begin(F_NS, F_NS).unwrap();
    driver.driver_ok();
    assert_eq!(changed(&before), [20 + offset::GFEATURES, 20 + offset::STATUS]);

    let before = contents();
    assert_eq!(device.poll(), Change::Started);
    assert_eq!(device.accepted(), Ok(F_NS));
    assert_eq!(changed(&before), []);
    device.set_needs_reset();
    assert_eq!(changed(&before), [20 + offset::STATUS]);
    assert_eq!(contents()[20 + offset::STATUS] ^ before[20 + offset::STATUS], Status::NEEDS_RESET.0);
}
