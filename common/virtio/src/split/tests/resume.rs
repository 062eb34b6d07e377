//! A device that takes up a ring which another one before it worked on.

use super::*;

/// Buffers to and fro until both indices have come `rounds` further.
fn turn(driver: &Driver<Box<[Slot]>>, device: &Device, rounds: u32) {
    for _ in 0..rounds {
        let head = driver.add(&[buffer(0x1000, 16)]).unwrap();
        let _ = driver.publish();
        assert_eq!(device.pop_available(), Ok(Some(head)));
        device.add_used(head, 0);
        let _ = device.publish();
        assert_eq!(driver.pop_used().unwrap().map(|used| used.head), Some(head));
        driver.free(head).unwrap();
    }
}

#[test]
fn a_ring_goes_on_where_it_stood_still_whatever_its_index() {
    let Pair { driver, mut device, parts } = pair(4, FULL);
    let mut base = 0_u16;
    for rounds in [1, 3, 65_530, 2, 65_536, 7] {
        turn(&driver, &device, rounds);
        base = base.wrapping_add(rounds as u16);
        device = Device::resume(parts.clone(), FULL, base).unwrap();
        assert_eq!((device.outstanding(), device.pop_available()), (0, Ok(None)));
    }
    // A full ring is no jump.
    let heads: Vec<u16> = (0..4).map(|_| driver.add(&[buffer(0x1000, 16)]).unwrap()).collect();
    let _ = driver.publish();
    let device = Device::resume(parts, FULL, base).unwrap();
    assert_eq!(std::iter::from_fn(|| device.pop_available().unwrap()).collect::<Vec<_>>(), heads);
    assert_eq!(device.outstanding(), 4);
}

#[test]
fn entries_that_were_taken_and_never_given_back_are_left_out() {
    let Pair { driver, device, parts } = pair(4, PLAIN);
    let lost = driver.add(&[buffer(0x1000, 16)]).unwrap();
    let kept = driver.add(&[buffer(0x2000, 16)]).unwrap();
    let _ = driver.publish();
    assert_eq!(device.pop_available(), Ok(Some(lost)));
    let device = Device::resume(parts, PLAIN, 1).unwrap();
    assert_eq!(device.pop_available(), Ok(Some(kept)));
    device.add_used(kept, 0);
    assert!(device.publish());
    assert_eq!(driver.pop_used().unwrap().map(|used| used.head), Some(kept));
}

#[test]
fn a_base_outside_of_the_ring_is_refused() {
    let Pair { driver, device, parts } = pair(4, PLAIN);
    turn(&driver, &device, 2);
    for base in [1, 7, 0, u16::MAX] {
        let error = Device::resume(parts.clone(), PLAIN, base).unwrap_err();
        assert_eq!(error, QueueError::PeerIndexJump { ours: 2, theirs: base, limit: 4 });
    }
    assert!(Device::resume(parts, PLAIN, 6).is_ok());
}
