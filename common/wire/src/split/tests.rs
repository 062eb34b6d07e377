use proptest::prelude::*;
use std::format;

use super::*;
use crate::testing::bytes;

#[test]
fn descriptor_matches_golden_bytes() {
    let golden = [
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // addr
        0x00, 0x02, 0x00, 0x00, // len 512
        0x03, 0x00, // flags
        0x07, 0x01, // next 263
    ];
    let descriptor =
        Descriptor { addr: 0x1122_3344_5566_7788, len: 512, flags: DESC_NEXT | DESC_WRITE, next: 263 };
    assert_eq!(descriptor.emit(), golden);
    assert_eq!(Descriptor::parse(&golden), descriptor);
}

#[test]
fn used_element_matches_golden_bytes() {
    let golden = [0xFF, 0x00, 0x00, 0x00, 0x10, 0x02, 0x00, 0x80];
    let element = UsedElement { id: 255, len: 0x8000_0210 };
    assert_eq!(element.emit(), golden);
    assert_eq!(UsedElement::parse(&golden), element);
}

/// Offsets that `vring_init` and `vring_size` of Linux's `linux/virtio_ring.h` computed.
#[test]
fn layout_agrees_with_linux() {
    //      num, align, avail flags, ring, used_event, used flags, ring, avail_event, size
    let linux = [
        (256, 4096, 0x1000, 0x1004, 0x1204, 0x2000, 0x2004, 0x2804, 10246),
        (8, 16, 0x80, 0x84, 0x94, 0xA0, 0xA4, 0xE4, 230),
        (16, 4, 0x100, 0x104, 0x124, 0x128, 0x12C, 0x1AC, 430),
        (2, 4096, 0x20, 0x24, 0x28, 0x1000, 0x1004, 0x1014, 4118),
        (1, 4, 0x10, 0x14, 0x16, 0x18, 0x1C, 0x24, 38),
        (32768, 65536, 0x80000, 0x80004, 0x90004, 0xA0000, 0xA0004, 0xE0004, 917_510),
    ];
    for (num, align, available, available_ring, used_event, used, used_ring, available_event, size) in linux {
        let layout = Layout::new(num, align).unwrap();
        assert_eq!(layout.num(), num);
        assert_eq!(layout.descriptors(), 0);
        assert_eq!(layout.available_flags(), available);
        assert_eq!(layout.available_index(), available + 2);
        assert_eq!(layout.available_ring(), available_ring);
        assert_eq!(layout.used_event(), used_event);
        assert_eq!(layout.used_flags(), used);
        assert_eq!(layout.used_index(), used + 2);
        assert_eq!(layout.used_ring(), used_ring);
        assert_eq!(layout.available_event(), available_event);
        assert_eq!(layout.size(), size);
    }
}

#[test]
fn layout_takes_just_the_powers_of_two() {
    for num in 0..=u16::MAX {
        let expected = if num.count_ones() == 1 { Ok(num) } else { Err(LayoutError::Num(num)) };
        assert_eq!(Layout::new(num, 16).map(|layout| layout.num()), expected);
    }
    for align in (0..32).map(|bit| 1u32 << bit) {
        let expected = if align >= 4 { Ok(8) } else { Err(LayoutError::Align(align)) };
        assert_eq!(Layout::new(8, align).map(|layout| layout.num()), expected);
    }
    for align in [0, 3, 5, 6, 12, 4095, 4097, u32::MAX] {
        assert_eq!(Layout::new(8, align), Err(LayoutError::Align(align)));
    }
}

#[test]
fn layout_does_not_overflow_at_its_greatest() {
    let layout = Layout::new(Layout::MAX_NUM, 1 << 31).unwrap();
    assert_eq!(layout.used_flags(), 1 << 31);
    assert_eq!(layout.size(), (1 << 31) + 6 + 8 * 32768);
}

#[test]
fn layout_errors_name_the_value() {
    assert_eq!(
        format!("{}", LayoutError::Num(6)),
        "num of the ring is 6 (0x6): must be a power of two from 1 to 32768"
    );
    assert_eq!(
        format!("{}", LayoutError::Align(24)),
        "align of the ring is 24 (0x18): must be a power of two of at least 4"
    );
}

/// Virtio 1.3, 2.7.7.2: all windows of less than 40, from indices around the wrap.
#[test]
fn need_event_is_membership_in_the_window() {
    for old in [0u16, 1, 127, 0x7FFF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF] {
        for moved in 0..40u16 {
            let new = old.wrapping_add(moved);
            for ahead in -45..45i16 {
                let event = old.wrapping_add_signed(ahead);
                let passed = (0..moved).any(|step| old.wrapping_add(step) == event);
                assert_eq!(need_event(event, new, old), passed, "event {event}, new {new}, old {old}");
            }
        }
    }
}

proptest! {
    #[test]
    fn need_event_holds_for_windows_of_any_length(event: u16, new: u16, old: u16) {
        let passed = u32::from(event.wrapping_sub(old)) < u32::from(new.wrapping_sub(old));
        prop_assert_eq!(need_event(event, new, old), passed);
    }

    #[test]
    fn layout_parts_are_in_order_aligned_and_apart(num_bit in 0..16u32, align_bit in 2..32u32) {
        let (num, align) = (1u16 << num_bit, 1u32 << align_bit);
        let layout = Layout::new(num, align).unwrap();
        let slots = u32::from(num);
        prop_assert_eq!(layout.available_flags(), layout.descriptors() + 16 * slots);
        prop_assert_eq!(layout.available_index(), layout.available_flags() + 2);
        prop_assert_eq!(layout.available_ring(), layout.available_index() + 2);
        prop_assert_eq!(layout.used_event(), layout.available_ring() + 2 * slots);
        let gap = layout.used_flags() - (layout.used_event() + 2);
        prop_assert!(gap < align);
        prop_assert_eq!(layout.used_flags() % align, 0);
        prop_assert_eq!(layout.used_index(), layout.used_flags() + 2);
        prop_assert_eq!(layout.used_ring(), layout.used_index() + 2);
        prop_assert_eq!(layout.available_event(), layout.used_ring() + 8 * slots);
        prop_assert_eq!(layout.size(), layout.available_event() + 2);
    }

    #[test]
    fn descriptor_keeps_every_bit(bytes in bytes::<16>()) {
        prop_assert_eq!(Descriptor::parse(&bytes).emit(), bytes);
    }

    #[test]
    fn used_element_keeps_every_bit(bytes in bytes::<8>()) {
        prop_assert_eq!(UsedElement::parse(&bytes).emit(), bytes);
    }
}
