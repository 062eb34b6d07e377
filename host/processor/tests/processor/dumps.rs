//! Core dumps on disk: what is kept, what is not, and what is left of those who died.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sidecore_backends::sim::Step;
use sidecore_os::Mapping;
use sidecore_processor::Options;
use sidecore_processor::dumps::{Limits, Store};
use sidecore_remoteproc::coredump::{CoreDump, Include, Told};

use tempfile::TempDir;

use crate::bench::{TABLE, Vdev, processor};

/// A directory that goes with the test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self, limits: Limits) -> Store {
        Store::new(self.0.path().join("state/dumps"), limits)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("state/dumps")).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }
}

fn dump() -> CoreDump<Arc<Mapping>> {
    let processor = processor(&[Vdev::rpmsg(1)], Options::new("sim"), |_| Step::Sleep);
    processor.remote().core_dump(Include::All, &[("image", "blinky")]).unwrap()
}

fn bytes(dump: &CoreDump<Arc<Mapping>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(()) = dump.write(&mut |piece| {
        bytes.extend(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    bytes
}

fn older(store: &Store, id: &str, age: Duration) {
    let file = File::options().write(true).open(store.find(id).unwrap().path).unwrap();
    file.set_times(FileTimes::new().set_modified(SystemTime::now() - age)).unwrap();
}

#[test]
fn a_saved_dump_is_found_and_is_the_dump_byte_for_byte() {
    let place = Place::new();
    let store = place.store(Limits::DEFAULT);
    assert_eq!(store.list().unwrap().len(), 0, "no directory, no dumps");
    let dump = dump();
    let saved = store.save("blinky", &dump).unwrap();
    assert!(saved.stored.id.starts_with("blinky-2") && saved.removed.is_empty(), "{saved:?}");
    let mut read = Vec::new();
    store.find(&saved.stored.id).unwrap().open().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes(&dump));
    let told: Told = store.list().unwrap()[0].told().unwrap();
    assert_eq!(told.fact("image"), Some("blinky"));
    assert!(told.memories.iter().any(|memory| memory.at.0 == u64::from(TABLE) && memory.has_bytes));
    store.remove(&saved.stored).unwrap();
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn a_dump_is_what_the_memory_was_whatever_runs_afterwards() {
    let mut processor = processor(&[Vdev::rpmsg(1)], Options::new("sim"), |_| Step::Sleep);
    let before = processor.remote().memories().to_vec();
    let region = processor.remote().table_region().unwrap();
    let dump = processor.remote().core_dump(Include::All, &[]).unwrap();
    processor.start().unwrap();
    processor.stop().unwrap();
    region.store(0, 0xdead_beef_u32).unwrap();
    processor.start().unwrap();
    assert_eq!(processor.remote().memories().len(), before.len());
    let bytes = bytes(&dump);
    assert!(bytes.windows(4).any(|four| four == 0xdead_beef_u32.to_le_bytes()), "the old memory");
}

#[test]
fn names_are_made_harmless_and_dumps_of_one_second_are_told_apart() {
    let place = Place::new();
    let store = place.store(Limits::DEFAULT);
    let dump = dump();
    let ids: Vec<String> = ["../x y\u{1b}", "../x y\u{1b}", "", ".hidden"]
        .iter()
        .map(|name| store.save(name, &dump).unwrap().stored.id)
        .collect();
    assert!(ids[0].starts_with("_.._x_y_-2") && ids[0] != ids[1], "{ids:?}");
    assert!(ids[2].starts_with("_-2") && ids[3].starts_with("_.hidden-2"), "{ids:?}");
    assert_eq!(store.list().unwrap().len(), 4);
    assert_eq!(store.find("../dumps/x").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.find("none").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_oldest_dumps_go_where_there_are_too_many_or_they_are_too_old() {
    let place = Place::new();
    let dump = dump();
    let one = place.store(Limits::DEFAULT).save("a", &dump).unwrap().stored;
    older(&place.store(Limits::DEFAULT), &one.id, Duration::from_secs(60));
    let limits = Limits { bytes: 2 * one.bytes + one.bytes / 2, ..Limits::DEFAULT };
    let store = place.store(limits);
    let two = store.save("b", &dump).unwrap();
    assert_eq!(two.removed, [""; 0]);
    older(&store, &two.stored.id, Duration::from_secs(30));
    assert_eq!(store.save("c", &dump).unwrap().removed, [one.id]);
    let store = place.store(Limits { age: Duration::from_secs(10), ..limits });
    assert_eq!(store.save("d", &dump).unwrap().removed, [two.stored.id]);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn a_dump_that_does_not_fit_leaves_nothing() {
    let place = Place::new();
    let store = place.store(Limits { bytes: 100, ..Limits::DEFAULT });
    assert_eq!(store.save("a", &dump()).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(place.files(), [""; 0]);
    let nowhere = Store::new("/proc/dumps".into(), Limits::DEFAULT);
    assert!(nowhere.save("a", &dump()).is_err());
}

#[test]
fn what_writers_left_that_died_goes_and_what_is_being_written_stays() {
    let place = Place::new();
    let store = place.store(Limits::DEFAULT);
    fs::create_dir_all(store.directory()).unwrap();
    let [dead, living, fresh] =
        ["dead.part", "living.part", "fresh.part"].map(|name| store.directory().join(name));
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(60));
    File::create(&dead).unwrap().set_times(old).unwrap();
    let writing = File::create(&living).unwrap();
    writing.lock().unwrap();
    writing.set_times(old).unwrap();
    File::create(&fresh).unwrap();
    store.save("a", &dump()).unwrap();
    assert_eq!(place.files().len(), 3, "{:?}", place.files());
    assert!(!dead.exists() && living.exists() && fresh.exists());
}

#[test]
fn files_of_others_are_no_dumps() {
    let place = Place::new();
    let store = place.store(Limits::DEFAULT);
    fs::create_dir_all(store.directory()).unwrap();
    fs::write(store.directory().join("text.core.gz"), "not compressed").unwrap();
    fs::write(store.directory().join("notes.txt"), "mine").unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].told().is_err());
}
