//! A table at a known address that is anything: a main side that attaches to a remote by an address may have the wrong one,
//! or the right one of a remote that has gone mad.

use std::time::Duration;

use sidecore_backends::sim::Sim;
use sidecore_mem::DeviceAddr;
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::{Backend as _, State};

use crate::bench::{SOON, TABLE, Vdev, echo, elf, processor};

/// Numbers that look random, the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// A remote whose main side has let it go, and the table as that left it.
fn let_go() -> (Processor<Sim>, Vec<u8>) {
    let vdevs = [Vdev::rpmsg(1), Vdev::rpmsg(1)];
    let options = Options { quiesce: Duration::ZERO, ..Options::new("mad") };
    let mut processor = processor(&vdevs, options, echo("echo"));
    processor.start().unwrap();
    processor.wait(Some(SOON));
    processor.detach().unwrap();
    let mut table = vec![0; table_len()];
    memory(&processor).read(0, &mut table).unwrap();
    (processor, table)
}

fn table_len() -> usize {
    let file = elf(&[Vdev::rpmsg(1), Vdev::rpmsg(1)], true);
    let firmware = sidecore_remoteproc::Firmware::parse(&file).unwrap();
    firmware.table_section().unwrap().bytes.len()
}

fn memory(processor: &Processor<Sim>) -> sidecore_mem::Region<std::sync::Arc<sidecore_os::Mapping>> {
    let remote = processor.remote();
    remote.backend().memories().resolve(DeviceAddr(TABLE.into()), 0x1000).unwrap()
}

#[test]
fn whatever_lies_at_a_known_address_is_a_table_or_an_error_that_names_the_field_and_the_remote_runs_on() {
    let (mut processor, table) = let_go();
    let mut noise = Noise(1);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut bytes = table.clone();
        match round % 3 {
            // Anything.
            0 => bytes.iter_mut().for_each(|byte| *byte = noise.next() as u8),
            // The right one, with a few bytes wrong.
            1 => (0..=noise.below(4)).for_each(|_| {
                let at = noise.below(bytes.len());
                bytes[at] = noise.next() as u8;
            }),
            // The right one, with a word that is a size, an offset or an address of note.
            _ => {
                let at = noise.below(bytes.len() / 4) * 4;
                let word = [0, 1, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX, TABLE, 0x1_0000][noise.below(8)];
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        memory(&processor).write(0, &bytes).unwrap();
        let len = [0, 1, 15, 16, bytes.len() as u32, 0x1000, u32::MAX][noise.below(7)];
        match processor.attach(Some((DeviceAddr(TABLE.into()), len))) {
            Ok(()) => {
                taken += 1;
                processor.poll();
                processor.detach().unwrap();
            }
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.len() > 10 && !text.contains("panick"), "{text}");
                assert_eq!(processor.remote().state(), State::Detached, "{text}");
            }
        }
    }
    assert!(taken > 100 && refused > 1000, "{taken} {refused}");
    // The remote itself was never touched: with its own table it is as before.
    memory(&processor).write(0, &table).unwrap();
    processor.attach(Some((DeviceAddr(TABLE.into()), table.len() as u32))).unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    processor.send(endpoint, b"still there", SOON).unwrap();
    assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"still there");
}

#[test]
fn the_error_of_a_bad_table_names_the_field_and_its_value() {
    let (mut processor, table) = let_go();
    let offset = u32::from_le_bytes(table[16..20].try_into().unwrap()) as usize;
    for (at, value, parts) in [
        (0, 2, ["version", "2"]),
        (4, 0x4000_0000, ["count", "1073741824"]),
        (16, 0xffff_fff0, ["entry 0: offset", "4294967280"]),
        (offset + 20, 0xffff_ff00, ["config_len", "4294967040"]),
        (offset + 24, 0xff00, ["num_of_vrings", "255"]),
    ] {
        let mut bytes = table.clone();
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        memory(&processor).write(0, &bytes).unwrap();
        let error = processor.attach(Some((DeviceAddr(TABLE.into()), bytes.len() as u32))).unwrap_err();
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{at}: {text}");
    }
}
