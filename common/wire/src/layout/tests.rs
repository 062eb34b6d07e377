use std::{string::String, vec::Vec};

use super::*;
use crate::{features::REGISTRY, testing::golden};

/// A golden record: its name and, for each field, name, value (if it is a number) and bytes.
type Golden<'a> = (&'a str, Vec<(&'a str, Option<u64>, Vec<u8>)>);

fn records() -> Vec<Golden<'static>> {
    let mut records: Vec<Golden<'_>> = Vec::new();
    for line in include_str!("../../golden/layouts.txt").lines() {
        let line = line.split('#').next().unwrap().trim_end();
        let mut words = line.split_whitespace();
        match (line.strip_prefix("    "), records.last_mut()) {
            (Some(_), Some((_, fields))) => {
                let (name, value) = (words.next().unwrap(), words.next().unwrap().parse().ok());
                fields.push((name, value, golden(&words.collect::<String>())));
            }
            _ if line.is_empty() => {}
            _ => records.push((line, Vec::new())),
        }
    }
    records
}

/// What `emit` makes of the golden values.
fn emitted() -> Vec<(Record, Vec<u8>)> {
    let name = |text| FixedName::new(text).unwrap();
    let header =
        Header { src: 1025, dst: 53, reserved: 0xDEAD_BEEF, len: 496, flags: 0x8002 }.emit().to_vec();
    let announcement = Announcement { name: Name::new("rpmsg-tty").unwrap(), addr: 1024, flags: 1 };
    let descriptor = Descriptor { addr: 0x1122_3344_5566_7788, len: 512, flags: 3, next: 263 };
    let table = table::Header { version: 1, count: 7, reserved: [0, 0x0102_0304] };
    let (da, pa, len, reserved) = (0x3810_0000, 0xFFFF_FFFF, 0x4_0000, 0x0A0B_0C0D);
    let carveout = Carveout { da, pa, len, flags: 3, reserved, name: name("vdev0buffer") };
    let devmem = Devmem { da, pa, len, flags: 3, reserved, name: name("uart3") };
    let trace = Trace { da: 0x1000_2000, len: 2048, reserved, name: name("trace:cm4") };
    let words =
        TraceWords { trace: 2, flags: 1, total: 0xFFFF_FFF0, claimed: 16, read: 0xFFFF_FF00, wake: 1024 };
    let vdev = VdevHeader {
        id: 7,
        notifyid: 31,
        dfeatures: 0x3000_0003,
        gfeatures: 0x2000_0001,
        config_len: 11,
        status: Status(7),
        num_of_vrings: 2,
        reserved: [0xA5, 0x5A],
    };
    let vring = Vring { da: 0x3800_1000, align: 4096, num: 256, notifyid: 2, pa: 0x4800_1000 };
    std::vec![
        (Header::LAYOUT, header),
        (Announcement::LAYOUT, announcement.emit().to_vec()),
        (Descriptor::LAYOUT, descriptor.emit().to_vec()),
        (UsedElement::LAYOUT, UsedElement { id: 255, len: 0x8000_0210 }.emit().to_vec()),
        (table::Header::LAYOUT, table.emit().to_vec()),
        (Carveout::LAYOUT, carveout.emit().to_vec()),
        (Devmem::LAYOUT, devmem.emit().to_vec()),
        (Trace::LAYOUT, trace.emit().to_vec()),
        (TraceWords::LAYOUT, words.emit().to_vec()),
        (VdevHeader::LAYOUT, vdev.emit().to_vec()),
        (Vring::LAYOUT, vring.emit().to_vec()),
        (RpmsgConfig::LAYOUT, RpmsgConfig::new(512, 80 << 10).emit().to_vec()),
        (Epochs::LAYOUT, Epochs { driver: 0x0102_0304, device: 0x0506_0708 }.emit().to_vec()),
    ]
}

#[test]
fn layouts_match_golden_bytes() {
    let (records, emitted) = (records(), emitted());
    assert_eq!(records.len(), emitted.len());
    for ((name, fields), (layout, bytes)) in records.iter().zip(&emitted) {
        assert_eq!(*name, layout.name);
        assert_eq!(
            fields.iter().flat_map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>(),
            *bytes,
            "{name}"
        );
    }
}

#[test]
fn fields_are_where_the_golden_bytes_have_them() {
    for ((name, fields), (layout, bytes)) in records().iter().zip(emitted()) {
        assert_eq!(fields.len(), layout.fields.len(), "{name}");
        for ((name, value, golden), field) in fields.iter().zip(layout.fields) {
            assert_eq!(*name, field.name);
            assert_eq!(bytes[field.at..field.end()], *golden, "{} of {}", field.name, layout.name);
            let is_number = !matches!(field.kind, Kind::Bytes(_));
            assert_eq!(value.is_some(), is_number, "{name}");
            let read =
                golden.iter().rev().fold(0, |value: u64, &byte| value.wrapping_shl(8) | u64::from(byte));
            assert!(value.is_none_or(|value| value == read), "{name}");
        }
    }
}

#[test]
fn fields_are_in_order_apart_and_inside() {
    for layout in ALL {
        for pair in layout.fields.windows(2) {
            assert!(pair[0].end() <= pair[1].at, "{} and {} of {}", pair[0].name, pair[1].name, layout.name);
        }
        assert!(layout.fields.last().is_some_and(|last| last.end() <= layout.size), "{}", layout.name);
        assert_eq!(layout.is_whole(), layout.name != "sandbox_page", "{}", layout.name);
    }
}

#[test]
fn names_are_words_of_c_and_no_two_are_equal() {
    let lower = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let mut names: Vec<String> = Vec::new();
    for layout in ALL {
        assert!(lower(layout.name), "{}", layout.name);
        names.push(std::format!("{}_SIZE", layout.name.to_uppercase()));
        for field in layout.fields {
            assert!(lower(field.name), "{}", field.name);
            names.push(std::format!("{}_{}_AT", layout.name, field.name).to_uppercase());
        }
    }
    names.extend(CONSTANTS.iter().map(|constant| String::from(constant.name)));
    names.extend(REGISTRY.iter().map(|row| String::from(row.name)));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    // Fields of one layout may have names that are words of the language; none is.
    let words = ["int", "long", "short", "char", "const", "register", "class", "new", "delete", "this"];
    assert!(ALL.iter().flat_map(|layout| layout.fields).all(|field| !words.contains(&field.name)));
}
