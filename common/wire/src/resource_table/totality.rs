//! What holds for every byte string, and for every table that can be built.

use proptest::{collection::vec, prelude::*, sample::Index};
use std::{vec, vec::Vec};

use super::{
    tests::{golden, with_offsets},
    *,
};
use crate::status::Status;

#[test]
fn golden_table_with_any_one_byte_changed_has_an_answer() {
    let golden = golden();
    let mut bytes = golden.clone();
    for at in 0..golden.len() {
        for value in 0..=u8::MAX {
            bytes[at] = value;
            answer(&bytes);
        }
        bytes[at] = golden[at];
    }
}

/// Reads all that a reader can, and checks what must hold whatever the bytes are.
fn answer(bytes: &[u8]) {
    let Ok(table) = Table::parse(bytes) else { return };
    let count = table.header().count;
    assert!(16 + 4 * count as usize <= bytes.len());
    let mut claimed = vec![false; bytes.len()];
    claimed[..16 + 4 * count as usize].fill(true);
    let mut indices = 0..count;
    for entry in table.entries() {
        let index = indices.next().expect("no more entries than the count");
        let located = match entry {
            Ok(located) => located,
            Err(error) => {
                assert_eq!(error.entry, Some(index));
                continue;
            }
        };
        assert_eq!(located.index, index);
        let size = match located.entry {
            Entry::Carveout(_) | Entry::Devmem(_) => 56,
            Entry::Trace(_) => 48,
            Entry::Vdev(vdev) => {
                assert_eq!(vdev.vrings().count(), usize::from(vdev.num_of_vrings));
                vdev.size()
            }
            Entry::Vendor { bytes, .. } => 4 + bytes.len(),
            Entry::Unknown { .. } => 4,
        };
        let extent = &mut claimed[located.offset as usize..][..size];
        assert!(extent.iter().all(|&claimed| !claimed), "no byte belongs to two entries");
        extent.fill(true);
    }
    assert!(indices.is_empty(), "every entry is answered for");
    assert!(table.findings().count() <= 2 + 3 * count as usize);
}

#[derive(Clone, Debug)]
enum Part {
    Carveout([u32; 5], [u8; 32]),
    Devmem([u32; 5], [u8; 32]),
    Trace([u32; 3], [u8; 32]),
    Vdev([u32; 4], [u8; 3], Vec<[u32; 5]>, Vec<u8>),
    Vendor(u32, Vec<u8>),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        any::<([u32; 5], [u8; 32])>().prop_map(|(words, name)| Part::Carveout(words, name)),
        any::<([u32; 5], [u8; 32])>().prop_map(|(words, name)| Part::Devmem(words, name)),
        any::<([u32; 3], [u8; 32])>().prop_map(|(words, name)| Part::Trace(words, name)),
        (any::<([u32; 4], [u8; 3])>(), vec(any::<[u32; 5]>(), 0..5), vec(any::<u8>(), 0..20))
            .prop_map(|((words, bytes), vrings, config)| Part::Vdev(words, bytes, vrings, config)),
        (vendor::START..=vendor::END, vec(any::<u8>(), 0..20))
            .prop_map(|(kind, body)| Part::Vendor(kind, body)),
    ]
}

impl Part {
    fn carveout(&[da, pa, len, flags, reserved]: &[u32; 5], &name: &[u8; 32]) -> Carveout {
        Carveout { da, pa, len, flags, reserved, name: FixedName(name) }
    }

    fn devmem(&[da, pa, len, flags, reserved]: &[u32; 5], &name: &[u8; 32]) -> Devmem {
        Devmem { da, pa, len, flags, reserved, name: FixedName(name) }
    }

    fn trace(&[da, len, reserved]: &[u32; 3], &name: &[u8; 32]) -> Trace {
        Trace { da, len, reserved, name: FixedName(name) }
    }

    fn vring(&[da, align, num, notifyid, pa]: &[u32; 5]) -> Vring {
        Vring { da, align, num, notifyid, pa }
    }

    fn vdev(words: &[u32; 4], bytes: &[u8; 3], vrings: &[[u32; 5]], config: &[u8]) -> VdevHeader {
        let [id, notifyid, dfeatures, gfeatures] = *words;
        let [status, reserved @ ..] = *bytes;
        VdevHeader {
            id,
            notifyid,
            dfeatures,
            gfeatures,
            config_len: config.len() as u32,
            status: Status(status),
            num_of_vrings: vrings.len() as u8,
            reserved,
        }
    }

    fn build(&self, builder: &mut Builder<'_>) -> Result<u32, BuildError> {
        match self {
            Part::Carveout(words, name) => builder.carveout(&Part::carveout(words, name)),
            Part::Devmem(words, name) => builder.devmem(&Part::devmem(words, name)),
            Part::Trace(words, name) => builder.trace(&Part::trace(words, name)),
            Part::Vdev(words, bytes, vrings, config) => {
                let header = Part::vdev(words, bytes, vrings, config);
                let vrings: Vec<_> = vrings.iter().map(Part::vring).collect();
                builder.vdev(&header, &vrings, config)
            }
            Part::Vendor(kind, body) => builder.entry(*kind, body),
        }
    }

    fn is(&self, entry: &Entry<'_>) -> bool {
        match (self, entry) {
            (Part::Carveout(words, name), Entry::Carveout(entry)) => *entry == Part::carveout(words, name),
            (Part::Devmem(words, name), Entry::Devmem(entry)) => *entry == Part::devmem(words, name),
            (Part::Trace(words, name), Entry::Trace(entry)) => *entry == Part::trace(words, name),
            (Part::Vdev(words, bytes, vrings, config), Entry::Vdev(entry)) => {
                entry.header() == Part::vdev(words, bytes, vrings, config)
                    && entry.vrings().eq(vrings.iter().map(Part::vring))
                    && entry.config() == config
            }
            // The builder fills up to a multiple of 4.
            (Part::Vendor(expected, body), Entry::Vendor { kind, bytes }) => {
                expected == kind && bytes.strip_prefix(&body[..]).is_some_and(|padding| padding.len() < 4)
            }
            _ => false,
        }
    }
}

proptest! {
    #[test]
    fn header_keeps_every_bit(bytes: [u8; 16]) {
        prop_assert_eq!(Header::parse(&bytes).emit(), bytes);
    }

    #[test]
    fn what_was_built_is_what_is_parsed(parts in vec(part(), 0..8), spare in 0..3u32) {
        let mut bytes = [0xFF; 4096];
        let mut builder = Builder::new(&mut bytes, parts.len() as u32 + spare).unwrap();
        let offsets: Vec<_> = parts.iter().map(|part| part.build(&mut builder).unwrap()).collect();
        let table = builder.finish();
        answer(table);
        let table = Table::parse(table).unwrap();
        prop_assert_eq!(table.entries().len(), parts.len());
        for ((entry, part), offset) in table.entries().zip(&parts).zip(offsets) {
            let located = entry.unwrap();
            prop_assert_eq!(located.offset, offset);
            prop_assert_eq!(offset % 4, 0);
            prop_assert!(part.is(&located.entry), "{:?} became {:?}", part, located);
        }
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in vec(any::<u8>(), 0..600)) {
        answer(&bytes);
    }

    #[test]
    fn any_offsets_and_types_have_an_answer(
        offsets in vec(0..400u32, 0..12),
        body in vec(prop_oneof![0..6u32, 127..130u32, any::<u32>()], 0..100),
    ) {
        let mut bytes = with_offsets(&offsets, 0);
        bytes.extend(body.iter().flat_map(|word| word.to_le_bytes()));
        answer(&bytes);
    }

    #[test]
    fn golden_table_with_several_bytes_changed_has_an_answer(
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
        len in any::<Index>(),
    ) {
        let mut bytes = golden();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(len.index(bytes.len() + 1));
        answer(&bytes);
    }
}
