use std::{format, string::String, vec::Vec};

use super::*;
use crate::{
    Fault, Malformed, config::RpmsgConfig, features, status::Status, testing::golden as hexadecimal,
};

/// A table with every kind of entry; its bytes agree with a C compiler's layout of packed structs.
pub(super) fn golden() -> Vec<u8> {
    hexadecimal(include_str!("../../golden/resource_table_v1.txt"))
}

fn name(text: &str) -> FixedName {
    FixedName::new(text).unwrap()
}

const BUFFER: Carveout = Carveout {
    da: 0x3810_0000,
    pa: ADDR_ANY,
    len: 256 << 10,
    flags: 3,
    reserved: 0,
    name: FixedName(*b"vdev0buffer\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
};

fn uart() -> Devmem {
    Devmem { da: 0x4902_0000, pa: 0x4802_0000, len: 4096, flags: 3, reserved: 0, name: name("uart3") }
}

fn trace() -> Trace {
    Trace { da: 0x1000_2000, len: 2048, reserved: 0, name: name("trace:cm4") }
}

const VRINGS: [Vring; 2] = [
    Vring { da: ADDR_ANY, align: 16, num: 8, notifyid: 1, pa: ADDR_ANY },
    Vring { da: 0x3800_1000, align: 4096, num: 256, notifyid: 2, pa: 0 },
];

fn rpmsg() -> VdevHeader {
    VdevHeader {
        id: vdev::ID_RPMSG,
        notifyid: 31,
        dfeatures: (features::F_NS | features::F_BUFSZ) as u32,
        gfeatures: features::F_NS as u32,
        config_len: 11,
        status: Status::ACKNOWLEDGE.with(Status::DRIVER).with(Status::DRIVER_OK),
        num_of_vrings: 2,
        reserved: [0; 2],
    }
}

fn network() -> VdevHeader {
    let dfeatures = (features::INDIRECT_DESC | features::EVENT_IDX) as u32;
    VdevHeader { id: vdev::ID_NET, notifyid: ADDR_ANY, dfeatures, ..VdevHeader::default() }
}

fn entries<'a>(table: &Table<'a>) -> Vec<Result<Located<Entry<'a>>, TableError>> {
    table.entries().collect()
}

fn error<T>(
    entry: impl Into<Option<u32>>,
    field: &'static str,
    value: u64,
    fault: Fault,
) -> Result<T, TableError> {
    Err(TableError { entry: entry.into(), malformed: Malformed { field, value, fault } })
}

/// A table with these offsets, `behind` bytes of zero (so, carveouts) behind them.
pub(super) fn with_offsets(offsets: &[u32], behind: usize) -> Vec<u8> {
    let mut bytes = Header::new(offsets.len() as u32).emit().to_vec();
    bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    bytes.resize(bytes.len() + behind, 0);
    bytes
}

#[test]
fn golden_table_parses_to_its_entries() {
    let bytes = golden();
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.header(), Header { version: 1, count: 7, reserved: [0, 0] });
    assert_eq!(table.bytes(), bytes);
    let entries: Vec<_> = table.entries().collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.iter().map(|located| located.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    let offsets: Vec<_> = entries.iter().map(|located| located.offset).collect();
    assert_eq!(offsets, [0x2C, 0x64, 0x9C, 0xCC, 0x11C, 0x128, 0x12C]);

    assert_eq!(entries[0].entry, Entry::Carveout(BUFFER));
    assert_eq!(entries[1].entry, Entry::Devmem(uart()));
    assert_eq!(entries[2].entry, Entry::Trace(trace()));
    let Entry::Vdev(vdev) = entries[3].entry else { panic!("{:?}", entries[3]) };
    assert_eq!(vdev.header(), rpmsg());
    assert!(vdev.vrings().eq(VRINGS));
    assert_eq!(RpmsgConfig::parse(vdev.config()), Ok(RpmsgConfig::new(512, 1024)));
    assert_eq!(entries[4].entry, Entry::Vendor { kind: 512, bytes: b"\x10\0\0\0spxn" });
    assert_eq!(entries[5].entry, Entry::Unknown { kind: 4 });
    let Entry::Vdev(vdev) = entries[6].entry else { panic!("{:?}", entries[6]) };
    assert_eq!(vdev.header(), network());
    assert_eq!((vdev.vrings().len(), vdev.config()), (0, &[][..]));

    assert_eq!(
        entries.iter().map(|located| located.entry.kind()).collect::<Vec<_>>(),
        [0, 1, 2, 3, 512, 4, 3]
    );
    assert_eq!(table.findings().collect::<Vec<_>>(), []);
}

#[test]
fn golden_table_is_what_the_builder_lays_out() {
    let golden = golden();
    let mut bytes = [0xFF; 512];
    let mut builder = Builder::new(&mut bytes, 7).unwrap();
    assert_eq!(builder.carveout(&BUFFER), Ok(0x2C));
    assert_eq!(builder.devmem(&uart()), Ok(0x64));
    assert_eq!(builder.trace(&trace()), Ok(0x9C));
    let config = RpmsgConfig::new(512, 1024).emit();
    // The counts of the header that is passed do not matter.
    let rpmsg = VdevHeader { num_of_vrings: 77, config_len: 77, ..rpmsg() };
    assert_eq!(builder.vdev(&rpmsg, &VRINGS, &config), Ok(0xCC));
    assert_eq!(builder.entry(512, b"\x10\0\0\0spxn"), Ok(0x11C));
    assert_eq!(builder.entry(4, &[]), Ok(0x128));
    assert_eq!(builder.vdev(&network(), &[], &[]), Ok(0x12C));
    assert_eq!(builder.finish(), golden);
}

#[test]
fn golden_table_can_be_emitted_part_by_part() {
    const HEADER: [u8; Header::SIZE] = Header::new(7).emit();
    const CARVEOUT: [u8; Carveout::SIZE] = BUFFER.emit();
    let golden = golden();
    assert_eq!(HEADER, golden[..0x10]);
    assert_eq!(CARVEOUT, golden[0x2C..0x64]);
    assert_eq!(uart().emit(), golden[0x64..0x9C]);
    assert_eq!(trace().emit(), golden[0x9C..0xCC]);
    assert_eq!(rpmsg().emit(), golden[0xCC..0xE8]);
    assert_eq!(VRINGS[0].emit(), golden[0xE8..0xFC]);
    assert_eq!(VRINGS[1].emit(), golden[0xFC..0x110]);
}

#[test]
fn vdev_registers_are_where_the_offsets_say() {
    let entry = &golden()[0xCC..];
    let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
    let header = rpmsg();
    assert_eq!(word(vdev::offset::KIND), VdevHeader::KIND);
    assert_eq!(word(vdev::offset::ID), header.id);
    assert_eq!(word(vdev::offset::NOTIFYID), header.notifyid);
    assert_eq!(word(vdev::offset::DFEATURES), header.dfeatures);
    assert_eq!(word(vdev::offset::GFEATURES), header.gfeatures);
    assert_eq!(word(vdev::offset::CONFIG_LEN), header.config_len);
    assert_eq!(entry[vdev::offset::STATUS], header.status.0);
    assert_eq!(entry[vdev::offset::NUM_VRINGS], header.num_of_vrings);
    assert_eq!(entry[vdev::offset::RESERVED..][..2], header.reserved);
    for (index, expected) in VRINGS.iter().enumerate() {
        let at = vdev::offset::VRINGS + vring::SIZE * index;
        assert_eq!(word(at + vring::offset::DA), expected.da);
        assert_eq!(word(at + vring::offset::ALIGN), expected.align);
        assert_eq!(word(at + vring::offset::NUM), expected.num);
        assert_eq!(word(at + vring::offset::NOTIFYID), expected.notifyid);
        assert_eq!(word(at + vring::offset::PA), expected.pa);
    }
}

#[test]
fn table_without_entries_is_a_table() {
    let bytes = Header::new(0).emit();
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(entries(&table), []);
}

#[test]
fn trailing_bytes_are_allowed() {
    let bytes = with_offsets(&[20], 1000);
    assert!(entries(&Table::parse(&bytes).unwrap())[0].is_ok());
}

#[test]
fn table_of_another_version_is_refused() {
    let mut bytes = golden();
    bytes[0] = 2;
    assert_eq!(Table::parse(&bytes), error(None, "version", 2, Fault::Unsupported { supported: 1 }));
}

#[test]
fn count_is_checked_before_anything_is_looped() {
    let mut bytes = golden();
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let fault = Fault::OutOfRange { min: 0, max: 256 };
    assert_eq!(Table::parse(&bytes), error(None, "count", u32::MAX.into(), fault));

    bytes[4..8].copy_from_slice(&200u32.to_le_bytes());
    let fault = Fault::Truncated { needed: 816, present: bytes.len() as u64 };
    assert_eq!(Table::parse(&bytes), error(None, "count", 200, fault));

    let most: Vec<_> = (0..256).map(|i| 16 + 4 * 256 + 56 * i).collect();
    let bytes = with_offsets(&most, 56 * 256);
    assert!(Table::parse(&bytes).unwrap().entries().all(|entry| entry.is_ok()));
    assert!(Table::parse(&with_offsets(&[2000; 257], 4000)).is_err());
}

#[test]
fn offset_into_the_header_or_the_offsets_is_refused() {
    for offset in [0, 4, 16, 23] {
        let bytes = with_offsets(&[24, offset], 200);
        assert_eq!(Table::parse(&bytes), error(1, "offset", offset.into(), Fault::TooSmall { min: 24 }));
    }
    assert!(Table::parse(&with_offsets(&[24, 24], 200)).is_ok());
}

#[test]
fn offset_that_leaves_no_room_for_a_type_is_refused() {
    for (offset, needed) in [(77, 81), (80, 84), (u32::MAX, 0x1_0000_0003)] {
        let bytes = with_offsets(&[offset], 60);
        let fault = Fault::Truncated { needed, present: 80 };
        assert_eq!(Table::parse(&bytes), error(0, "offset", offset.into(), fault));
    }
    assert!(Table::parse(&with_offsets(&[76], 60)).is_ok());
}

#[test]
fn entry_that_the_table_cuts_short_is_an_error_of_its_own() {
    let bytes = with_offsets(&[24, 80], 56 + 55);
    let table = Table::parse(&bytes).unwrap();
    let entries = entries(&table);
    assert!(entries[0].is_ok());
    assert_eq!(entries[1], error(1, "offset", 80, Fault::Truncated { needed: 56, present: 55 }));
}

#[test]
fn entry_that_runs_into_another_is_an_error_of_its_own() {
    let bytes = with_offsets(&[24, 76], 200);
    let table = Table::parse(&bytes).unwrap();
    let entries = entries(&table);
    assert_eq!(entries[0], error(0, "offset", 24, Fault::Overlap { entry: 1, needed: 56, present: 52 }));
    assert!(entries[1].is_ok());
}

#[test]
fn entries_at_the_same_place_are_errors_both() {
    let bytes = with_offsets(&[28, 28, 84], 200);
    let table = Table::parse(&bytes).unwrap();
    let entries = entries(&table);
    assert_eq!(entries[0], error(0, "offset", 28, Fault::Overlap { entry: 1, needed: 4, present: 0 }));
    assert_eq!(entries[1], error(1, "offset", 28, Fault::Overlap { entry: 0, needed: 4, present: 0 }));
    assert!(entries[2].is_ok());
}

#[test]
fn entries_may_come_in_any_order() {
    let bytes = with_offsets(&[140, 84, 28], 168);
    let table = Table::parse(&bytes).unwrap();
    let offsets: Vec<_> = table.entries().map(|entry| entry.unwrap().offset).collect();
    assert_eq!(offsets, [140, 84, 28]);
}

#[test]
fn vdev_whose_rings_or_configuration_run_into_another_says_which() {
    let mut bytes = golden();
    bytes[0xCC + vdev::offset::NUM_VRINGS] = 3;
    let fault = Fault::Overlap { entry: 4, needed: 88, present: 80 };
    assert_eq!(entries(&Table::parse(&bytes).unwrap())[3], error(3, "num_of_vrings", 3, fault));

    let mut bytes = golden();
    bytes[0xCC + vdev::offset::CONFIG_LEN] = 13;
    let fault = Fault::Overlap { entry: 4, needed: 81, present: 80 };
    let table = Table::parse(&bytes).unwrap();
    let all = entries(&table);
    assert_eq!(all[3], error(3, "config_len", 13, fault));
    assert_eq!(all.iter().filter(|entry| entry.is_ok()).count(), 6);
}

#[test]
fn vendor_entry_reaches_to_the_next_entry_or_the_end() {
    let mut bytes = [0; 128];
    let mut builder = Builder::new(&mut bytes, 2).unwrap();
    builder.entry(128, b"abc").unwrap();
    builder.entry(400, b"defgh").unwrap();
    let mut bytes = builder.finish().to_vec();
    bytes.extend(b"trailing");
    let table = Table::parse(&bytes).unwrap();
    let entries: Vec<_> = table.entries().map(|entry| entry.unwrap().entry).collect();
    assert_eq!(entries[0], Entry::Vendor { kind: 128, bytes: b"abc\0" });
    assert_eq!(entries[1], Entry::Vendor { kind: 400, bytes: b"defghtrailing" });
}

#[test]
fn every_undefined_type_is_skipped_and_not_fatal() {
    for kind in [4, 5, 127, 513, 0x7FFF_FFFF, u32::MAX] {
        let mut bytes = [0; 32];
        let mut builder = Builder::new(&mut bytes, 1).unwrap();
        builder.entry(kind, &[]).unwrap();
        let table = builder.finish();
        let entry = Table::parse(table).unwrap().entries().next().unwrap().unwrap();
        assert_eq!(entry, Located { index: 0, offset: 20, entry: Entry::Unknown { kind } });
        assert_eq!(entry.entry.kind(), kind);
    }
}

#[test]
fn oddities_are_findings_and_not_errors() {
    let mut bytes = golden();
    bytes[12] = 9; // the second reserved word of the header
    bytes[0x2C + 20] = 1; // reserved of the carveout
    bytes[0x64 + 24..0x64 + 56].fill(b'u'); // name of the devmem
    bytes[0x9C + 13] = 2; // reserved of the trace
    bytes[0xCC + 27] = 3; // reserved of the vdev
    bytes[0x2C - 4] += 2; // offset of the last vdev, which now begins within the old one
    bytes.extend([0; 32]);
    let table = Table::parse(&bytes).unwrap();
    let texts: Vec<_> = table.findings().map(|finding| format!("{finding}")).collect();
    assert_eq!(
        texts,
        [
            "reserved is 9 (0x9): not zero; Linux refuses it",
            "entry 6: offset is 302 (0x12e): not a multiple of 4; firmware that accesses its table by words may fault",
            "entry 0: reserved is 1 (0x1): not zero; Linux refuses it",
            "entry 1: name is 32 (0x20): no NUL within its bytes; readers in C run past its end",
            "entry 2: reserved is 512 (0x200): not zero; Linux refuses it",
            "entry 3: reserved is 768 (0x300): not zero; Linux refuses it",
        ]
    );
}

#[test]
fn errors_name_entry_field_and_value() {
    let text = |bytes: &[u8]| -> String {
        Table::parse(bytes).map_or_else(
            |error| format!("{error}"),
            |table| table.entries().filter_map(Result::err).map(|error| format!("{error}")).collect(),
        )
    };
    assert_eq!(text(&[0; 15]), "resource table: length is 15 (0xf): needs 16 bytes, but there are 15");
    let bytes = with_offsets(&[8], 60);
    assert_eq!(text(&bytes), "resource table, entry 0: offset is 8 (0x8): must be at least 20");
    let bytes = with_offsets(&[24, 76], 200);
    let expected =
        "resource table, entry 0: offset is 24 (0x18): needs 56 bytes, but entry 1 begins after 52";
    assert_eq!(text(&bytes), expected);
}

#[test]
fn golden_table_cut_at_every_byte_has_an_answer() {
    let golden = golden();
    for len in 0..golden.len() {
        match Table::parse(&golden[..len]) {
            // The last entry begins at 0x12C, and its type must fit.
            Err(_) => assert!(len < 0x130),
            Ok(table) => {
                assert!(len >= 0x130);
                let entries = entries(&table);
                assert!(entries[..6].iter().all(Result::is_ok));
                let fault = Fault::Truncated { needed: 28, present: len as u64 - 0x12C };
                assert_eq!(entries[6], error(6, "offset", 0x12C, fault));
            }
        }
    }
}

#[test]
fn builder_refuses_what_does_not_fit_and_changes_nothing() {
    let mut bytes = [0; 16 + 4 + 48];
    let present = bytes.len();
    let refused = Builder::new(&mut bytes, 14).map(drop);
    assert_eq!(refused, Err(BuildError::NoRoom { needed: 72, present }));
    assert!(Builder::new(&mut bytes, u32::MAX).is_err());

    let mut builder = Builder::new(&mut bytes, 1).unwrap();
    assert_eq!(builder.carveout(&BUFFER), Err(BuildError::NoRoom { needed: 76, present }));
    assert_eq!(builder.vdev(&rpmsg(), &[VRINGS[0]; 256], &[]), Err(BuildError::TooManyVrings { count: 256 }));
    assert_eq!(builder.trace(&trace()), Ok(20));
    assert_eq!(builder.entry(128, &[]), Err(BuildError::TooManyEntries { capacity: 1 }));
    let table = Table::parse(builder.finish()).unwrap();
    assert_eq!(entries(&table), [Ok(Located { index: 0, offset: 20, entry: Entry::Trace(trace()) })]);
}

#[test]
fn builder_errors_say_what_is_missing() {
    let text = |error: BuildError| format!("{error}");
    assert_eq!(
        text(BuildError::NoRoom { needed: 72, present: 68 }),
        "the resource table needs 72 bytes, but there are 68"
    );
    assert_eq!(
        text(BuildError::TooManyEntries { capacity: 1 }),
        "the resource table was begun for 1 entries, and all are taken"
    );
    assert_eq!(text(BuildError::TooManyVrings { count: 256 }), "a vdev has at most 255 rings, not 256");
}
