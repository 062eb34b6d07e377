//! The resource table as it lies in a file.

use sidecore_wire::resource_table::{Entry, Table, Vdev};

/// Reads a table. Every entry is answered for, none shares a byte with another, and what was read is what is there.
pub fn resource_table(bytes: &[u8]) {
    let table = match Table::parse(bytes) {
        Ok(table) => table,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let count = table.header().count;
    assert_eq!(table.header().emit(), bytes[..16]);
    let mut claimed = vec![false; bytes.len()];
    claimed[..16 + 4 * count as usize].fill(true);
    let mut answered = 0;
    for entry in table.entries() {
        let index = answered;
        answered += 1;
        let located = match entry {
            Ok(located) => located,
            Err(error) => {
                assert_eq!(error.entry, Some(index));
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        assert_eq!(located.index, index);
        let there = &bytes[located.offset as usize..];
        let size = match located.entry {
            Entry::Carveout(entry) => same(&entry.emit(), there),
            Entry::Devmem(entry) => same(&entry.emit(), there),
            Entry::Trace(entry) => same(&entry.emit(), there),
            Entry::Vdev(entry) => vdev(&entry, there),
            Entry::Vendor { kind, bytes } => same(&[&kind.to_le_bytes(), bytes].concat(), there),
            Entry::Unknown { kind } => same(&kind.to_le_bytes(), there),
        };
        for byte in &mut claimed[located.offset as usize..][..size] {
            assert!(!std::mem::replace(byte, true), "a byte of entry {index} belongs to another, too");
        }
    }
    assert_eq!(answered, count);
    for finding in table.findings() {
        assert!(!finding.to_string().is_empty());
    }
}

fn vdev(entry: &Vdev<'_>, there: &[u8]) -> usize {
    let mut end = same(&entry.header().emit(), there);
    assert_eq!(entry.vrings().len(), usize::from(entry.num_of_vrings));
    for vring in entry.vrings() {
        end += same(&vring.emit(), &there[end..]);
    }
    assert_eq!(entry.config().len(), entry.config_len as usize);
    end += same(entry.config(), &there[end..]);
    assert_eq!(entry.size(), end);
    end
}

/// Checks that this is what the bytes begin with, and answers its length.
fn same(emitted: &[u8], there: &[u8]) -> usize {
    assert_eq!(emitted, &there[..emitted.len()]);
    emitted.len()
}
