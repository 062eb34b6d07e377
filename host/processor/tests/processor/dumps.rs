//! Core dumps on disk: what is kept, what is not, and what is left of those who died.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::SeekFrom;
use rustix::process::{Resource, Rlimit};
use sidecore_backends::sim::{Sim, Step};
use sidecore_mem::DeviceAddr;
use sidecore_os::{Extent, Mapping};
use sidecore_processor::dumps::{Limits, Store, write_plain};
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::coredump::{CoreDump, Include, Piece, Told};
use sidecore_remoteproc::{Backend as _, Firmware, Limits as FirmwareLimits};

use tempfile::TempDir;

use crate::bench::{TABLE, Vdev, elf, processor, simulated};

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
        match piece {
            Piece::Bytes(some) => bytes.extend(some),
            Piece::Zeros(len) => bytes.resize(bytes.len() + len as usize, 0),
        }
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
fn a_core_file_that_somebody_else_wrote_is_kept_byte_for_byte_and_its_zeros_cost_nothing() {
    let place = Place::new();
    let store = place.store(Limits::DEFAULT);
    let gap = 40 << 20;
    let mut core = bytes(&dump());
    core.extend(vec![0; gap]);
    core.extend(b"the last page is a short one");
    for len in [core.len(), core.len() - 100, 5000, 4096, 0] {
        let core = &core[..len];
        let stored = store.import("radio", core).unwrap().stored;
        let mut read = Vec::new();
        stored.open().unwrap().read_to_end(&mut read).unwrap();
        assert!(read == core, "{len} bytes, and read are {}", read.len());
        assert!(stored.bytes < 200_000, "{} bytes on disk", stored.bytes);
    }
    let small = place.store(Limits { bytes: 100, ..Limits::DEFAULT });
    let before = place.files().len();
    assert_eq!(small.import("radio", &core[..]).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(place.files().len(), before);
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

/// Runs a test of this file again in a process of its own, as `part` of it, whose output is answered.
fn again(test: &str, part: &str, place: &Place) -> Command {
    // A process that writes more than it may gets an error, and not the signal.
    let script = r#"trap "" XFSZ && exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("dumps::{test}"), "--nocapture"]);
    command.env(PART, part).env("SIDECORE_TEST_PLACE", place.0.path()).stdin(Stdio::null());
    command
}

const PART: &str = "SIDECORE_TEST_PART";

/// Where the process is part of a test that another one runs: the test's place.
fn part(name: &str) -> Option<Store> {
    let is_it = std::env::var(PART).is_ok_and(|part| part == name);
    let place = std::env::var_os("SIDECORE_TEST_PLACE").map(PathBuf::from);
    place.filter(|_| is_it).map(|place| Store::new(place.join("state/dumps"), Limits::DEFAULT))
}

/// A remote with so many bytes of memory, of which some mebibytes here and there are no zeros.
fn large(len: u32, mebibytes: u32) -> Processor<Sim> {
    let mut elf = elf(&[Vdev::rpmsg(1)], true);
    // p_memsz
    elf[52 + 20..][..4].copy_from_slice(&len.to_le_bytes());
    let limits = FirmwareLimits { memory: 4 << 30, ..FirmwareLimits::DEFAULT };
    let mut options = Options { spin: Duration::ZERO, ..Options::new("sim") };
    options.firmware.limits = limits;
    let mut processor = Processor::new(simulated(|_| Step::Sleep), options);
    processor.load(&Firmware::parse_within(&elf, &limits).unwrap()).unwrap();
    let mut noise = vec![0_u8; 1 << 20];
    let mut state = 1_u64;
    for number in 0..mebibytes {
        noise.iter_mut().for_each(|byte| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        });
        let at = DeviceAddr(u64::from(TABLE) + u64::from(number + 1) * u64::from(len / (mebibytes + 2)));
        let remote = processor.remote();
        remote.backend().memories().resolve(at, noise.len()).unwrap().write(0, &noise).unwrap();
    }
    processor
}

/// Bytes that this process has had at most (proc(5), `VmHWM`).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn gigabytes_are_dumped_in_little_memory_and_zeros_cost_nothing() {
    const LEN: u32 = 3 << 30;
    let place = Place::new();
    if let Some(store) = part("large") {
        let processor = large(LEN, 8);
        let (before, begin) = (peak(), Instant::now());
        let dump = processor.remote().core_dump(Include::All, &[]).unwrap();
        let stored = store.save("large", &dump).unwrap().stored;
        assert!(dump.len() > u64::from(LEN), "{}", dump.len());
        assert!(stored.bytes < 16 << 20, "{stored:?}");
        let plain = store.directory().join("plain");
        write_plain(&dump, &File::create_new(&plain).unwrap()).unwrap();
        let out = store.directory().join("out");
        stored.extract(&File::create_new(&out).unwrap()).unwrap();
        for file in [&plain, &out] {
            let metadata = fs::metadata(file).unwrap();
            assert_eq!(metadata.len(), dump.len());
            assert!(metadata.blocks() * 512 < 32 << 20, "no holes: {metadata:?}");
        }
        let growth = peak() - before;
        println!("{} bytes: {growth} bytes of memory, {:?}", dump.len(), begin.elapsed());
        assert!(growth < 4 << 20, "dumping took {growth} bytes");
        // Looking has made nothing of the memory's zeros.
        let region = processor.remote().table_region().unwrap();
        assert!(matches!(Mapping::extent(&region, region.len() - 1), Extent::Used(_)));
        return;
    }
    let output =
        again("gigabytes_are_dumped_in_little_memory_and_zeros_cost_nothing", "large", &place).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if text.contains("MemAvailable") {
        eprintln!("not run: dumps of gigabytes: this machine has too little memory");
        return;
    }
    assert!(output.status.success(), "{text}");
    let [plain, out] = ["plain", "out"].map(|name| parts(&place.0.path().join("state/dumps").join(name)));
    assert!(plain == out, "what was packed is not what was written");
}

/// The blocks of a file that are not zero; holes are not read for that.
fn parts(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let (file, mut parts, mut at) = (File::open(path).unwrap(), Vec::new(), 0);
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
        let mut bytes = vec![0; (at - data) as usize];
        file.read_exact_at(&mut bytes, data).unwrap();
        let blocks = (data..).step_by(4096).zip(bytes.chunks(4096));
        let blocks = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        parts.extend(blocks.map(|(at, block)| (at, block.to_vec())));
    }
    parts
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    if let Some(store) = part("full") {
        let processor = large(64 << 20, 8);
        let dump = processor.remote().core_dump(Include::All, &[]).unwrap();
        for bytes in [0, 100, 4096, 1 << 20] {
            let limit = Rlimit { current: Some(bytes), maximum: None };
            rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
            let error = store.save("full", &dump).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
            assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 0, "{bytes}");
        }
        let limit = Rlimit { current: None, maximum: None };
        rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
        store.save("full", &dump).unwrap();
        return;
    }
    let output = again("a_full_disk_is_an_error_and_leaves_nothing", "full", &place).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(place.files().len(), 1);
}

#[test]
fn whoever_is_killed_while_writing_leaves_no_dump() {
    let place = Place::new();
    if let Some(store) = part("killed") {
        let processor = large(256 << 20, 200);
        let dump = processor.remote().core_dump(Include::All, &[]).unwrap();
        let saved = store.save("killed", &dump);
        println!("{saved:?}");
        return;
    }
    fs::create_dir_all(place.0.path().join("state/dumps")).unwrap();
    let mut command = again("whoever_is_killed_while_writing_leaves_no_dump", "killed", &place);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let size = || {
        let part = place.files().into_iter().find(|name| name.ends_with(".part"))?;
        fs::metadata(place.0.path().join("state/dumps").join(part)).ok().map(|metadata| metadata.len())
    };
    while size().is_none_or(|size| size < 1 << 20) {
        assert!(begin.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let store = place.store(Limits::DEFAULT);
    assert_eq!(store.list().unwrap().len(), 0, "half a dump is no dump");
    let [rest] = &place.files()[..] else { panic!("{:?}", place.files()) };
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(60));
    File::options().write(true).open(store.directory().join(rest)).unwrap().set_times(old).unwrap();
    let saved = store.save("next", &dump()).unwrap();
    assert_eq!(place.files(), [format!("{}.core.gz", saved.stored.id)], "what was left is gone");
}

#[test]
fn a_remote_that_is_started_again_and_again_while_it_is_dumped_is_dumped_whole() {
    let place = Place::new();
    let mut processor = large(32 << 20, 24);
    // What was loaded and never ran is what runs first.
    processor.start().unwrap();
    processor.stop().unwrap();
    let dump = processor.remote().core_dump(Include::All, &[]).unwrap();
    let (expected, store) = (bytes(&dump), place.store(Limits::DEFAULT));
    let writer = std::thread::spawn(move || store.save("again", &dump).unwrap().stored);
    while !writer.is_finished() {
        processor.start().unwrap();
        processor.stop().unwrap();
    }
    drop(processor);
    let mut read = Vec::new();
    writer.join().unwrap().open().unwrap().read_to_end(&mut read).unwrap();
    assert!(read == expected, "the dump is of the run that was dumped");
}
