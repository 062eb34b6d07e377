//! Every input that fuzzing has found worth keeping, as an ordinary test.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sidecore_lab::fuzz::{TARGETS, Target};
use sidecore_lab::{hostile, watchdog};
use sidecore_remoteproc::Firmware;
use sidecore_remoteproc::resource::{Options, Plan};
use sidecore_wire::resource_table::Table;

/// For one input, in a build with all checks on.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn every_kept_input_passes() {
    for Target { name, run } in TARGETS {
        let files = files(&corpus().join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // A panic names its place, this its input.
            println!("{}", file.display());
            watchdog::within(LIMIT, move || run(&bytes));
        }
    }
}

/// A corpus, a binary and a row for each target, and no others.
#[test]
fn targets_binaries_and_corpora_are_the_same() {
    let rows: BTreeSet<String> = TARGETS.iter().map(|target| target.name.into()).collect();
    assert_eq!(rows.len(), TARGETS.len(), "a name is there twice");
    assert_eq!(stems(&corpus()), rows);
    assert_eq!(stems(&fuzz().join("targets")), rows);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &rows {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")), "{name}");
    }
}

/// Inputs that fuzzing began with, which keep all rules: else the corpora would prove little.
#[test]
fn seeds_get_all_the_way_through() {
    let seed = |name: &str| fs::read(corpus().join(name)).unwrap();
    let table = seed("resource_table/all_entries");
    assert_eq!(Table::parse(&table).unwrap().entries().map(Result::unwrap).count(), 5);
    for (name, vdevs) in [("elf64_x86_64", 1), ("elf32_arm", 1), ("elf64_aarch64_no_table", 0)] {
        let bytes = seed(&format!("elf/{name}"));
        let firmware = Firmware::parse(&bytes).unwrap();
        let plan = Plan::new(&firmware, &Options::DEFAULT).unwrap();
        let mut memories = plan.memories().to_vec();
        for (place, memory) in (0x2000..).zip(&mut memories) {
            memory.at.get_or_insert(sidecore_mem::DeviceAddr(place << 16));
        }
        let resources = plan.place(&memories).unwrap();
        assert_eq!(resources.vdevs.len(), vdevs, "{name}");
        assert!(resources.vdevs.iter().all(|vdev| vdev.vrings.len() == 2 && vdev.buffers.is_some()));
    }
    for features in ["01", "11"] {
        assert_eq!(hostile::play_driver(&seed(&format!("ring_driver/exchange_{features}"))), 4);
        assert_eq!(hostile::play_device(&seed(&format!("ring_device/exchange_{features}"))), 3);
    }
    for name in ["exchange", "exchange_event_index"] {
        assert_eq!(hostile::play_rpmsg(&seed(&format!("rpmsg/{name}"))), 8, "{name}");
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus() -> PathBuf {
    fuzz().join("corpus")
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn stems(folder: &Path) -> BTreeSet<String> {
    files(folder).iter().map(|file| file.file_stem().unwrap().to_str().unwrap().into()).collect()
}
