use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::resource_table::{ADDR_ANY, VdevHeader, Vring};

use super::*;
use crate::codes::{self, Code};
use crate::firmware::Class;
use crate::testing::{DATA, Elf, Entries, RW, RX, TEXT, ring, rpmsg, table};
use crate::{Access, MAX_MEMORIES};

mod hostile;

fn plan_of(elf: &Elf, options: &Options) -> Result<Plan, PlanError> {
    let file = elf.build();
    Plan::new(&Firmware::parse(&file).unwrap(), options)
}

fn plan(fill: impl FnOnce(&mut Entries<'_>)) -> Result<Plan, PlanError> {
    plan_of(&Elf::with_table(Class::Elf32, &table(fill)), &Options::DEFAULT)
}

fn error(fill: impl FnOnce(&mut Entries<'_>)) -> String {
    plan(fill).unwrap_err().to_string()
}

/// Gives floating memories addresses from 0x2000_0000 on.
fn place(plan: &Plan) -> Resources {
    let mut memories = plan.memories().to_vec();
    let mut next = 0x2000_0000;
    for memory in memories.iter_mut().filter(|memory| memory.at.is_none()) {
        memory.at = Some(DeviceAddr(next));
        next += memory.len;
    }
    plan.place(&memories).unwrap()
}

fn shape(plan: &Plan) -> Vec<(&str, Option<u64>, u64, Access)> {
    let shape = |memory: &'_ Memory| (memory.at.map(|at| at.0), memory.len, memory.access);
    let named = plan.memories().iter().map(|memory| (memory.name.as_str(), shape(memory)));
    named.map(|(name, (at, len, access))| (name, at, len, access)).collect()
}

fn codes(plan: &Plan) -> Vec<Code> {
    plan.findings().iter().map(|finding| finding.code).collect()
}

fn any_rings(num: u32) -> [Vring; 2] {
    [ring(ADDR_ANY, num, 0), ring(ADDR_ANY, num, 1)]
}

/// STM32MP1: a trace, and an rpmsg device whose rings the host places.
#[test]
fn rings_and_buffers_without_an_address_get_memories_that_are_written_back() {
    let plan = plan(|entries| {
        entries.rpmsg(&any_rings(16));
        entries.trace("cm4_log", DATA as u32 + 0x200, 0x400);
    })
    .unwrap();
    let expected = vec![
        ("vdev0buffer", None, 0x4000, Access::ReadWrite),
        ("vdev0vring0", None, 0x1000, Access::ReadWrite),
        ("vdev0vring1", None, 0x1000, Access::ReadWrite),
        (".text", Some(TEXT), 0x1000, Access::ReadExecute),
        (".data", Some(DATA), 0x1000, Access::ReadWrite),
    ];
    assert_eq!(shape(&plan), expected);
    assert_eq!(codes(&plan), []);

    let resources = place(&plan);
    let [vdev] = &resources.vdevs[..] else { panic!("{resources:?}") };
    assert_eq!((vdev.index, vdev.id, vdev.dfeatures, vdev.entry), (0, 7, 1, 0));
    assert_eq!(vdev.at, Some(DeviceAddr(DATA + u64::from(vdev.offset))));
    let place = |at, notifyid| VringPlace { at: DeviceAddr(at), len: 438, num: 16, align: 16, notifyid };
    assert_eq!(vdev.vrings, [place(0x2000_4000, 0), place(0x2000_5000, 1)]);
    let pool = |at| PoolPlace { at: DeviceAddr(at), size: 512, count: 16 };
    let buffers = vdev.buffers.unwrap();
    assert_eq!((buffers.at, buffers.len), (DeviceAddr(0x2000_0000), 0x4000));
    assert_eq!((buffers.from_remote, buffers.to_remote), (pool(0x2000_0000), pool(0x2000_2000)));
    assert_eq!(resources.traces[0].at, DeviceAddr(DATA + 0x200));

    let table = resources.table.unwrap();
    assert_eq!(table.at, Some(DeviceAddr(DATA)));
    let table = Table::parse(&table.bytes).unwrap();
    let Entry::Vdev(entry) = table.entries().next().unwrap().unwrap().entry else { panic!() };
    let das: Vec<u32> = entry.vrings().map(|vring| vring.da).collect();
    assert_eq!(das, [0x2000_4000, 0x2000_5000]);
    assert_eq!((entry.status.0, entry.gfeatures), (0, 0));
}

/// Zynq and OpenAMP's examples: a carveout around the image, rings at fixed addresses.
#[test]
fn a_carveout_may_hold_segments_and_fixed_rings_lie_where_they_are_wanted() {
    let table = table(|entries| {
        entries.carveout("ELF_START", TEXT as u32, 0x4_0000);
        let rings = [ring(0x3ed4_0000, 256, 1), ring(0x3ed4_4000, 256, 2)];
        entries.vdev(&VdevHeader { notifyid: 31, ..rpmsg() }, &rings, &[]);
    });
    let elf = Elf::with_table(Class::Elf32, &table);
    let plan = plan_of(&elf, &Options::DEFAULT).unwrap();
    let expected = vec![
        ("vdev0buffer", None, 0x4_0000, Access::ReadWrite),
        (".text+ELF_START+.data", Some(TEXT), 0x4_0000, Access::ReadWriteExecute),
        ("vdev0vring0", Some(0x3ed4_0000), 0x2000, Access::ReadWrite),
        ("vdev0vring1", Some(0x3ed4_4000), 0x2000, Access::ReadWrite),
    ];
    assert_eq!(shape(&plan), expected);
    assert_eq!(codes(&plan), [codes::ACCESS_WIDENED]);
    let resources = place(&plan);
    assert_eq!(resources.carveouts[0].at, DeviceAddr(TEXT));
    let vdev = &resources.vdevs[0];
    assert_eq!(vdev.notifyid, 31);
    let ids: Vec<u32> = vdev.vrings.iter().map(|vring| vring.notifyid).collect();
    assert_eq!(ids, [1, 2]);
    let bytes = resources.table.unwrap().bytes;
    let table = Table::parse(&bytes).unwrap();
    let Entry::Carveout(entry) = table.entries().next().unwrap().unwrap().entry else { panic!() };
    assert_eq!((entry.da, entry.pa, entry.len), (TEXT as u32, TEXT as u32, 0x4_0000));
}

/// i.MX: a vendor entry beside the device; something unknown is skipped.
#[test]
fn vendor_entries_are_kept_and_unknown_ones_skipped() {
    let bytes = table(|entries| {
        entries.entry(128, b"NXP!");
        entries.rpmsg(&[ring(0x5540_0000, 256, 0), ring(0x5540_8000, 256, 1)]);
        entries.entry(77, b"what");
        entries.entry(512, b"last");
    });
    let file = Elf::with_table(Class::Elf32, &bytes).build();
    let firmware = Firmware::parse(&file).unwrap();
    let found: Vec<Code> = firmware.findings().iter().map(|finding| finding.code).collect();
    assert_eq!(found, [codes::ENTRY_VENDOR, codes::ENTRY_UNKNOWN, codes::ENTRY_VENDOR]);
    let resources = place(&Plan::new(&firmware, &Options::DEFAULT).unwrap());
    let vendor = |entry, kind, bytes: &[u8]| Vendor { entry, kind, bytes: bytes.to_vec() };
    assert_eq!(resources.vendors, [vendor(0, 128, b"NXP!"), vendor(3, 512, b"last")]);
    assert_eq!(resources.vdevs[0].vrings[1].at, DeviceAddr(0x5540_8000));
}

#[test]
fn carveouts_named_after_rings_and_buffers_are_their_places() {
    let plan = plan(|entries| {
        entries.rpmsg(&any_rings(8));
        entries.carveout("vdev0vring0", 0x3000_0000, 0x4000);
        entries.carveout("vdev0vring1", ADDR_ANY, 0x1000);
        entries.carveout("vdev0buffer", 0x3000_4000, 0x2000);
        entries.carveout("spare", ADDR_ANY, 100);
    })
    .unwrap();
    let names: Vec<&str> = plan.memories().iter().map(|memory| memory.name.as_str()).collect();
    let expected = [".text", ".data", "vdev0vring0", "vdev0buffer", "vdev0vring1", "spare"];
    assert_eq!(names, expected);
    let resources = place(&plan);
    let vdev = &resources.vdevs[0];
    assert_eq!(vdev.vrings[0].at, DeviceAddr(0x3000_0000));
    assert_eq!(vdev.vrings[1].at, DeviceAddr(0x2000_0000));
    assert_eq!(vdev.buffers.unwrap().at, DeviceAddr(0x3000_4000));
    let carveouts: Vec<u64> = resources.carveouts.iter().map(|carveout| carveout.at.0).collect();
    assert_eq!(carveouts, [0x3000_0000, 0x2000_0000, 0x3000_4000, 0x2000_1000]);
}

#[test]
fn a_named_carveout_must_have_room_and_an_address_where_the_ring_has_one() {
    let text = error(|entries| {
        entries.carveout("vdev0buffer", ADDR_ANY, 0x1fff);
        entries.rpmsg(&any_rings(8));
    });
    let expected =
        "resource table, entry 0 (carveout): len is 0x1fff: the set of buffers in it needs at least 8192";
    assert_eq!(text, expected);
    let text = error(|entries| {
        entries.carveout("vdev0vring1", ADDR_ANY, 100);
        entries.rpmsg(&any_rings(8));
    });
    assert!(
        text.starts_with("resource table, entry 0 (carveout): len is 0x64: the ring in it needs"),
        "{text}"
    );
    let text = error(|entries| {
        entries.carveout("vdev0vring0", ADDR_ANY, 0x1000);
        entries.rpmsg(&[ring(0x3000_0000, 8, 0), ring(ADDR_ANY, 8, 1)]);
    });
    let expected = "resource table, entry 1 (vdev): da of vring 0 is 0x30000000: the carveout of the ring's \
                    name has no fixed address";
    assert_eq!(text, expected);
    let text = error(|entries| {
        entries.carveout("vdev0vring0", 0x3000_0000, 0x1000);
        entries.rpmsg(&[ring(0x3000_0ff0, 8, 0), ring(ADDR_ANY, 8, 1)]);
    });
    assert!(text.contains("lies only partly inside vdev0vring0 at 0x30000000 to 0x30000fff"), "{text}");
}

#[test]
fn notify_ids_are_kept_where_given_and_unique_in_the_end() {
    let bytes = table(|entries| {
        let rings = [ring(ADDR_ANY, 4, 2), ring(ADDR_ANY, 4, 2), ring(ADDR_ANY, 4, ADDR_ANY)];
        entries.vdev(&VdevHeader { notifyid: 0, id: 3, ..rpmsg() }, &rings, &[]);
        entries.rpmsg(&[ring(ADDR_ANY, 4, 1), ring(ADDR_ANY, 4, ADDR_ANY)]);
    });
    let file = Elf::with_table(Class::Elf32, &bytes).build();
    let firmware = Firmware::parse(&file).unwrap();
    let found: Vec<String> = firmware.findings().iter().map(ToString::to_string).collect();
    let expected = [
        "warning[F0206]: entry 0: num_of_vrings is 3, of a device with id 3",
        "warning[F0205]: entry 0: notifyid of vring 1 is 2, as that of an earlier ring",
    ];
    assert_eq!(found, expected);
    let resources = place(&Plan::new(&firmware, &Options::DEFAULT).unwrap());
    let ids = |vdev: &Vdev| vdev.vrings.iter().map(|vring| vring.notifyid).collect::<Vec<u32>>();
    assert_eq!(ids(&resources.vdevs[0]), [2, 3, 4]);
    assert_eq!(ids(&resources.vdevs[1]), [1, 5]);
    assert_eq!(resources.vdevs[0].buffers, None, "only rpmsg devices have buffers of ours");
    let bytes = resources.table.unwrap().bytes;
    let table = Table::parse(&bytes).unwrap();
    let Entry::Vdev(entry) = table.entries().nth(1).unwrap().unwrap().entry else { panic!() };
    assert_eq!(entry.vrings().map(|vring| vring.notifyid).collect::<Vec<u32>>(), [1, 5]);
}

#[test]
fn buffer_sizes_come_from_the_options_the_firmware_or_custom() {
    let config = RpmsgConfig::new(100, 2048).emit();
    let sizes = |features: u32, config: &[u8], buffers: Buffers| {
        let header = VdevHeader { dfeatures: features, ..rpmsg() };
        let rings = [ring(ADDR_ANY, 8, 0), ring(ADDR_ANY, 4, 1)];
        let bytes = table(|entries| {
            entries.vdev(&header, &rings, config);
        });
        let options = Options { buffers, ..Options::DEFAULT };
        let plan = plan_of(&Elf::with_table(Class::Elf64, &bytes), &options).unwrap();
        let buffers = place(&plan).vdevs[0].buffers.unwrap();
        let (from, to) = (buffers.from_remote, buffers.to_remote);
        ((from.size, from.count), (to.size, to.count), to.at.0 - from.at.0, buffers.len)
    };
    let standard = Buffers::default();
    assert_eq!(sizes(1, &[], standard), ((512, 8), (512, 4), 4096, 4096 + 2048));
    assert_eq!(sizes(3, &config, standard), ((104, 8), (2048, 4), 832, 832 + 8192));
    // The same bit with something else behind it, as other stacks have it.
    assert_eq!(sizes(3, b"\x02\x00\x00\x00cpu name", standard).0, (512, 8));
    assert_eq!(sizes(1, &config, standard).0, (512, 8));
    let own = Pool { size: Some(64), count: Some(3) };
    let buffers = Buffers { from_remote: own, to_remote: Pool::default() };
    assert_eq!(sizes(3, &config, buffers), ((64, 3), (2048, 4), 192, 192 + 8192));
}

#[test]
fn buffer_sizes_that_lie_are_refused() {
    let text = |tx, rx| {
        error(|entries| {
            let header = VdevHeader { dfeatures: 2, ..rpmsg() };
            entries.vdev(&header, &any_rings(8), &RpmsgConfig::new(tx, rx).emit());
        })
    };
    let expected =
        "resource table, entry 0 (vdev): txbuf_size is 16: a message with its header needs at least 17";
    assert_eq!(text(16, 512), expected);
    let expected = "resource table, entry 0 (vdev): rxbuf_size is 4294967295: that needs 0x800000000 bytes, and \
                    the limit is 0x10000000";
    assert_eq!(text(512, u32::MAX), expected);
}

#[test]
fn entries_that_lie_are_refused_by_entry_field_and_value() {
    type Fill = fn(&mut Entries<'_>);
    let cases: &[(Fill, &str)] = &[
        (
            |entries| entries.carveout("x", 0x3000_0000, 0),
            "resource table, entry 0 (carveout): len is 0x0: must not be 0",
        ),
        (
            |entries| entries.carveout("x", 0xffff_f000, 0x1001),
            "resource table, entry 0 (carveout): da is 0xfffff000: 0x1001 bytes at 0xfffff000 run past 0xffffffff, \
             the last address",
        ),
        (
            |entries| entries.carveout("x", ADDR_ANY, 0x1000_0001),
            "resource table, entry 0 (carveout): len is 0x10000001: that needs 0x10000001 bytes, and the limit is \
             0x10000000",
        ),
        (
            |entries| entries.carveout("x", TEXT as u32 + 8, 0x4000),
            "resource table, entry 0 (carveout): da is 0x10000008: 0x10000008 to 0x10004007 overlaps .text at \
             0x10000000 to 0x1000003f",
        ),
        (
            |entries| {
                entries.carveout("a", 0x3000_0000, 0x1001);
                entries.carveout("b", 0x3000_1000, 0x1000);
            },
            "resource table, entry 1 (carveout): da is 0x30001000: 0x30001000 to 0x30001fff overlaps a at 0x30000000 \
             to 0x30001000",
        ),
        (
            |entries| entries.trace("x", DATA as u32, 0),
            "resource table, entry 0 (trace): len is 0x0: must not be 0",
        ),
        (
            |entries| entries.trace("x", TEXT as u32 + 0x20, 0x40),
            "resource table, entry 0 (trace): da is 0x10000020: 0x10000020 to 0x1000005f lies only partly inside \
             .text at 0x10000000 to 0x1000003f",
        ),
        (
            |entries| entries.trace("x", 0xffff_ff00, 0x1000),
            "resource table, entry 0 (trace): da is 0xffffff00: 0x1000 bytes at 0xffffff00 run past 0xffffffff, the \
             last address",
        ),
        (
            |entries| entries.rpmsg(&[ring(ADDR_ANY, 24, 0)]),
            "resource table, entry 0 (vdev): num of vring 0 is 24: must be a power of two from 1 to 32768",
        ),
        (
            |entries| entries.rpmsg(&[ring(ADDR_ANY, 65536, 0)]),
            "resource table, entry 0 (vdev): num of vring 0 is 65536: must be a power of two from 1 to 32768",
        ),
        (
            |entries| {
                let odd = Vring { align: 12, ..ring(ADDR_ANY, 8, 0) };
                entries.rpmsg(&[ring(ADDR_ANY, 8, 1), odd]);
            },
            "resource table, entry 0 (vdev): align of vring 1 is 0xc: must be a power of two of at least 4",
        ),
        (
            |entries| {
                let wide = Vring { align: 1 << 31, ..ring(ADDR_ANY, 8, 0) };
                entries.rpmsg(&[wide]);
            },
            "resource table, entry 0 (vdev): align of vring 0 is 0x80000000: that needs 0x80000046 bytes, and the \
             limit is 0x10000000",
        ),
        (
            |entries| entries.rpmsg(&[ring(0x3000_0008, 8, 0)]),
            "resource table, entry 0 (vdev): da of vring 0 is 0x30000008: must be a multiple of 0x10",
        ),
        (
            |entries| entries.rpmsg(&[ring(DATA as u32, 8, 0)]),
            "resource table, entry 0 (vdev): da of vring 0 is 0x10001000: 0x10001000 to 0x100010e5 overlaps .data at \
             0x10001000 to ",
        ),
        (
            |entries| entries.rpmsg(&[ring(0x3000_0000, 8, 0), ring(0x3000_00e0, 8, 1)]),
            "resource table, entry 0 (vdev): da of vring 1 is 0x300000e0: 0x300000e0 to 0x300001c5 overlaps \
             vdev0vring0 at 0x30000000 to 0x300000e5",
        ),
        (
            |entries| entries.rpmsg(&[ring(ADDR_ANY, 1, 0); 65]),
            "resource table, entry 0 (vdev): num_of_vrings is 65: all devices together have more than the limit of 64",
        ),
    ];
    for (fill, message) in cases {
        let text = error(fill);
        assert!(text.starts_with(message), "{text}");
    }
}

#[test]
fn devmem_is_checked_and_found() {
    let text = error(|entries| entries.devmem(0, 0xffff_ffff, 2));
    assert!(text.starts_with("resource table, entry 0 (devmem): pa is 0xffffffff: 0x2 bytes at"), "{text}");
    let text = error(|entries| entries.devmem(0, 0, 0));
    assert_eq!(text, "resource table, entry 0 (devmem): len is 0x0: must not be 0");
    let plan = plan(|entries| entries.devmem(0x4000_0000, 0x4800_0000, 0x1000)).unwrap();
    assert_eq!(plan.memories().len(), 2, "nothing is mapped for it");
    let resources = place(&plan);
    assert_eq!((resources.devmems[0].at.0, resources.devmems[0].physical.0), (0x4000_0000, 0x4800_0000));
}

#[test]
fn traces_outside_get_a_memory_and_those_without_an_address_are_placed() {
    let plan = plan(|entries| {
        entries.trace("", 0x3000_0010, 0x100);
        entries.trace("second", ADDR_ANY, 0x100);
    })
    .unwrap();
    assert_eq!(codes(&plan), [codes::TRACE_OUTSIDE]);
    assert_eq!(shape(&plan)[2], ("trace0", Some(0x3000_0000), 0x1000, Access::ReadWrite));
    let resources = place(&plan);
    assert_eq!(resources.traces[0].at, DeviceAddr(0x3000_0010));
    assert_eq!(resources.traces[1].at, DeviceAddr(0x2000_0000));
    let bytes = resources.table.unwrap().bytes;
    let Entry::Trace(entry) = Table::parse(&bytes).unwrap().entries().nth(1).unwrap().unwrap().entry else {
        panic!()
    };
    assert_eq!(entry.da, 0x2000_0000);
}

#[test]
fn segments_that_touch_and_agree_become_one_memory() {
    let elf = Elf::new(Class::Elf64)
        .segment(".text", TEXT, RX, b"x", 0x1001)
        .segment(".rodata", TEXT + 0x2000, RX, b"x", 8)
        .segment(".data", TEXT + 0x3000, RW, b"x", 8)
        .segment(".bss", TEXT + 0x3100, RW, b"", 8)
        .segment(".far", TEXT + 0x9000, RW, b"x", 8);
    let plan = plan_of(&elf, &Options::DEFAULT).unwrap();
    let expected = vec![
        (".text+.rodata", Some(TEXT), 0x3000, Access::ReadExecute),
        (".data+segment3", Some(TEXT + 0x3000), 0x1000, Access::ReadWrite),
        (".far", Some(TEXT + 0x9000), 0x1000, Access::ReadWrite),
    ];
    assert_eq!(shape(&plan), expected);
    assert_eq!(codes(&plan), []);

    let fine = plan_of(&elf, &Options { granule: 16, ..Options::DEFAULT }).unwrap();
    let lens: Vec<u64> = fine.memories().iter().map(|memory| memory.len).collect();
    assert_eq!(lens, [0x1010, 16, 16, 16, 16]);
}

#[test]
fn a_memory_with_more_than_segments_in_it_does_not_grow_by_touching() {
    let bytes = table(|entries| entries.rpmsg(&[ring(DATA as u32 + 0xc00, 8, 0), ring(ADDR_ANY, 8, 1)]));
    let mut elf = Elf::with_table(Class::Elf32, &bytes);
    elf.programs[1].memsz = 0x200;
    let elf = elf.segment(".more", DATA + 0x1000, RW, b"x", 1);
    let plan = plan_of(&elf, &Options::DEFAULT).unwrap();
    let names: Vec<&str> = plan.memories().iter().map(|memory| memory.name.as_str()).collect();
    assert_eq!(names, ["vdev0buffer", "vdev0vring1", ".text", ".data+vdev0vring0", ".more"]);
}

#[test]
fn segments_that_share_a_page_share_their_access() {
    let elf =
        Elf::new(Class::Elf32).segment(".text", TEXT, RX, b"x", 8).segment(".data", TEXT + 8, RW, b"x", 8);
    let plan = plan_of(&elf, &Options::DEFAULT).unwrap();
    assert_eq!(shape(&plan), [(".text+.data", Some(TEXT), 0x1000, Access::ReadWriteExecute)]);
    let expected =
        "warning[F0210]: .text+.data share pages at 0x10000000, but not their access: all of it is rwx";
    assert_eq!(plan.findings()[0].to_string(), expected);
}

#[test]
fn limits_hold_for_entries_memories_and_memory() {
    let bytes = table(|entries| {
        for _ in 0..9 {
            entries.rpmsg(&any_rings(4));
        }
    });
    let elf = Elf::with_table(Class::Elf32, &bytes);
    let limited =
        |limits| plan_of(&elf, &Options { limits, ..Options::DEFAULT }).map(|plan| plan.memories().len());
    assert_eq!(limited(Limits::DEFAULT), Ok(29), "nine devices fit");
    let error = limited(Limits { entries: 8, ..Limits::DEFAULT }).unwrap_err();
    assert_eq!(error.to_string(), "resource table: count is 9: more entries than the limit of 8");
    let error = limited(Limits { rings: 17, ..Limits::DEFAULT }).unwrap_err();
    assert!(error.to_string().starts_with("resource table, entry 8 (vdev): num_of_vrings is 2"), "{error}");
    let error = limited(Limits { memory: 0x8000, ..Limits::DEFAULT }).unwrap_err();
    assert_eq!(error.code(), codes::MEMORY_LIMIT);

    let error = plan(|entries| {
        for _ in 0..11 {
            entries.rpmsg(&any_rings(4));
        }
    });
    let expected = PlanError::TooManyMemories { count: 35, limit: MAX_MEMORIES };
    assert_eq!(error.unwrap_err(), expected);
}

#[test]
fn what_the_table_cannot_name_is_an_error() {
    let plan = plan(|entries| entries.rpmsg(&any_rings(4))).unwrap();
    for at in [None, Some(DeviceAddr(1 << 32)), Some(DeviceAddr(0xffff_fff0)), Some(DeviceAddr(u64::MAX))] {
        let mut memories = plan.memories().to_vec();
        memories.iter_mut().filter(|memory| memory.at.is_none()).for_each(|memory| memory.at = at);
        let error = plan.place(&memories).unwrap_err();
        assert_eq!(error.code(), codes::MEMORY_PLACED_HIGH);
    }
    assert!(plan.place(&[]).is_err());
}

#[test]
fn a_program_that_wants_an_interpreter_is_no_firmware() {
    let elf =
        Elf::new(Class::Elf64).segment(".text", TEXT, RX, b"x", 1).info(3, b"/lib64/ld-linux-x86-64.so.2\0");
    let error = plan_of(&elf, &Options::DEFAULT).unwrap_err();
    let expected = "PT_INTERP is \"/lib64/ld-linux-x86-64.so.2\": this is a program of an operating system and not \
                    firmware";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.code(), codes::ELF_INTERPRETER);
}

#[test]
fn odd_devices_are_found_but_nothing_is_counted_without_end() {
    let bytes = table(|entries| {
        let mut rings = [ring(ADDR_ANY, 24, 5); 255];
        rings[254].notifyid = 1;
        entries.rpmsg(&rings);
        entries.vdev(&VdevHeader { dfeatures: 2 | 1 << 16, ..rpmsg() }, &any_rings(8), &[]);
    });
    let file = Elf::with_table(Class::Elf32, &bytes).build();
    let firmware = Firmware::parse(&file).unwrap();
    let found: Vec<Code> = firmware.findings().iter().map(|finding| finding.code).collect();
    let expected = [
        codes::RING_COUNT,
        codes::RING_DIMENSIONS,
        codes::NOTIFY_ID_DUPLICATE,
        codes::NOTIFY_ID_DUPLICATE,
        codes::EPOCHS,
        codes::BUFFER_SIZES,
    ];
    assert_eq!(found, expected);
}
