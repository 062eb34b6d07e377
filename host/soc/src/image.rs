//! The firmware that Linux loads for a coprocessor that is a process: nothing but a resource table.

use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::{Builder, FixedName, Trace, VdevHeader, Vring, vdev};
use sidecore_wire::status::Status;

/// Where the table lies, by the coprocessor's addresses and Linux'.
pub(crate) const TABLE: u32 = 0x5000_1000;
/// Bytes that it has.
pub(crate) const TABLE_LEN: usize = 0x100;
/// Where the trace lies.
pub(crate) const TRACE: u32 = 0x5000_2000;
/// Bytes that it has.
pub(crate) const TRACE_LEN: usize = 0x1000;

/// An ELF file with the resource table of an rpmsg device and a trace.
#[must_use]
pub fn image() -> Vec<u8> {
    let table = table();
    let names = b"\0.resource_table\0.shstrtab\0";
    // The header; a program header; three section headers; the table; the names.
    let (programs, sections) = (52_u32, 52 + 32_u32);
    let data = sections + 3 * 40;
    let names_at = data + TABLE_LEN as u32;
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    let half = |value: u16| value.to_le_bytes();
    // An executable for Arm; nobody executes it.
    [2, 40].iter().for_each(|value| put(&half(*value)));
    [1, TABLE, programs, sections, 0].iter().for_each(|value: &u32| put(&value.to_le_bytes()));
    [52, 32, 1, 40, 3, 2].iter().for_each(|value| put(&half(*value)));
    let len = TABLE_LEN as u32;
    // What is loaded: the table. Then the sections: none, the table's, the names'.
    let loaded = [1, data, TABLE, TABLE, len, len, 6, 4];
    let sections = [
        [0; 10],
        [1, 1, 3, TABLE, data, len, 0, 0, 4, 0],
        [17, 3, 0, 0, names_at, names.len() as u32, 0, 0, 1, 0],
    ];
    let words = loaded.iter().chain(sections.as_flattened());
    words.for_each(|word: &u32| put(&word.to_le_bytes()));
    put(&table);
    put(names);
    file
}

/// The resource table: an rpmsg device whose rings Linux places, and a trace.
pub(crate) fn table() -> Vec<u8> {
    let mut bytes = vec![0; TABLE_LEN];
    let ring = |notifyid| Vring { da: u32::MAX, align: 4096, num: 256, notifyid, ..Vring::default() };
    let header = VdevHeader {
        id: vdev::ID_RPMSG,
        notifyid: 0,
        dfeatures: F_NS as u32,
        gfeatures: 0,
        config_len: 0,
        status: Status::default(),
        num_of_vrings: 2,
        reserved: [0; 2],
    };
    let trace = Trace {
        da: TRACE,
        len: TRACE_LEN as u32,
        reserved: 0,
        name: FixedName::new("coprocessor").unwrap_or(FixedName::EMPTY),
    };
    let built = Builder::new(&mut bytes, 2).and_then(|mut builder| {
        builder.vdev(&header, &[ring(0), ring(1)], &[])?;
        builder.trace(&trace)?;
        Ok(builder.finish().len())
    });
    built.expect("two entries fit");
    bytes
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::Firmware;

    use super::*;

    #[test]
    fn the_image_is_firmware_with_a_table_where_the_coprocessor_looks() {
        let image = image();
        assert!(Firmware::parse(&image).is_ok());
        let table = table();
        assert!(image.windows(TABLE_LEN).any(|part| part == table));
        let parsed = sidecore_wire::resource_table::Table::parse(&table).unwrap();
        assert_eq!(parsed.entries().flatten().count(), 2);
    }
}
