use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use sidecore_wire::resource_table::{ADDR_ANY, Entry};

use super::*;
use crate::CrashKind;
use crate::codes::{self, Code};
use crate::coredump::Include;
use crate::firmware::Class;
use crate::testing::{DATA, Elf, Mock, TEXT, ring, table};

fn file() -> Vec<u8> {
    let table = table(|entries| {
        entries.rpmsg(&[ring(ADDR_ANY, 4, 0), ring(ADDR_ANY, 4, 1)]);
        entries.trace("log", DATA as u32 + 0x400, 64);
    });
    Elf::with_table(Class::Elf64, &table).build()
}

fn loaded() -> Remote<Mock> {
    let mut remote = Remote::new(Mock::new());
    load(&mut remote).unwrap();
    remote
}

fn load(remote: &mut Remote<Mock>) -> Result<(), RemoteError> {
    remote.load(&Firmware::parse(&file()).unwrap(), &Options::DEFAULT)
}

fn wait(remote: &mut Remote<Mock>) -> Result<Option<Event>, RemoteError> {
    remote.wait(None, &mut || false)
}

fn crash() -> Crash {
    Crash {
        kind: CrashKind::Fault { address: DeviceAddr(0xdead) },
        signal: 11,
        pc: Some(DeviceAddr(TEXT)),
        registers: None,
        allegation: Some("index out of bounds".into()),
    }
}

fn region(remote: &Remote<Mock>, at: u64, len: usize) -> Region {
    remote.backend().memories().resolve(DeviceAddr(at), len).unwrap()
}

fn bytes(remote: &Remote<Mock>, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    region(remote, at, len).read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn loading_puts_segments_and_the_written_back_table_into_memory() {
    let remote = loaded();
    assert_eq!(remote.state(), State::Offline);
    assert_eq!(bytes(&remote, TEXT, 66), [&[0x90; 64][..], &[0, 0]].concat());
    let vdev = &remote.vdevs()[0];
    assert_eq!(vdev.vrings[0].at, DeviceAddr(0x2000_1000));

    let loaded = remote.resources().unwrap().table.clone().unwrap();
    assert_eq!(bytes(&remote, DATA, loaded.bytes.len()), loaded.bytes);
    assert_eq!(remote.table_region().unwrap().len(), loaded.bytes.len());
    let entry = remote.table().unwrap().entries().next().unwrap().unwrap().entry;
    let Entry::Vdev(entry) = entry else { panic!("{entry:?}") };
    assert_eq!(entry.vrings().next().unwrap().da, 0x2000_1000);
    assert_eq!(remote.memories().len(), 5);
    assert_eq!(remote.memories()[0].name, "vdev0buffer");
}

#[test]
fn a_remote_starts_at_the_entry_with_its_table_and_stops() {
    let mut remote = loaded();
    remote.start().unwrap();
    assert_eq!(remote.state(), State::Running);
    let len = remote.table_region().unwrap().len() as u32;
    let boot = Boot { entry: DeviceAddr(TEXT), table: Some((DeviceAddr(DATA), len)) };
    assert_eq!(remote.backend().boot, Some(boot));
    assert_eq!(
        remote.start().unwrap_err().to_string(),
        "cannot start: the remote is running (it runs already)"
    );
    remote.stop().unwrap();
    assert_eq!(remote.state(), State::Offline);
    assert_eq!(remote.stop().unwrap_err().code(), codes::REFUSED);
    assert_eq!(remote.backend().calls, ["prepare", "start", "stop"]);
}

#[test]
fn every_start_finds_fresh_memory() {
    let mut remote = loaded();
    remote.start().unwrap();
    region(&remote, DATA, 0x800).write(0, &[0xff; 0x800]).unwrap();
    region(&remote, 0x2000_1000, 16).write(0, &[0xff; 16]).unwrap();
    remote.stop().unwrap();
    assert_eq!(bytes(&remote, DATA, 4), [0xff; 4], "what the last run left can be looked at");
    remote.start().unwrap();
    let data = bytes(&remote, DATA, 0x800);
    let table = remote.resources().unwrap().table.clone().unwrap().bytes;
    let fresh = table.len().next_multiple_of(16);
    assert_eq!((&data[..table.len()], &data[fresh..fresh + 10]), (&table[..], &b"fresh data"[..]));
    assert!(data[fresh + 10..].iter().all(|&byte| byte == 0));
    assert_eq!(bytes(&remote, 0x2000_1000, 16), [0; 16]);
    let expected = ["prepare", "start", "stop", "unprepare", "prepare", "start"];
    assert_eq!(remote.backend().calls, expected);
}

#[test]
fn an_exit_leaves_the_remote_offline_with_its_code() {
    let mut remote = loaded();
    remote.start().unwrap();
    remote.backend.events.push_back(Ok(Event::Kick));
    remote.backend.events.push_back(Ok(Event::Exited { code: 3 }));
    assert_eq!(wait(&mut remote), Ok(Some(Event::Kick)));
    assert_eq!((remote.state(), remote.exit_code()), (State::Running, None));
    assert_eq!(wait(&mut remote), Ok(Some(Event::Exited { code: 3 })));
    assert_eq!((remote.state(), remote.exit_code()), (State::Offline, Some(3)));
    assert_eq!(wait(&mut remote), Err(RemoteError::NotRunning { state: State::Offline }));
    remote.start().unwrap();
    assert_eq!(remote.exit_code(), None);
}

#[test]
fn a_crash_is_kept_until_the_next_start_and_its_trace_can_be_read() {
    let mut remote = loaded();
    remote.start().unwrap();
    region(&remote, DATA + 0x400, 8).write(0, b"oh no\n").unwrap();
    remote.backend.events.push_back(Ok(Event::Crashed(crash())));
    wait(&mut remote).unwrap();
    assert_eq!((remote.state(), remote.crash()), (State::Crashed, Some(&crash())));
    assert_eq!(remote.backend().calls, ["prepare", "start"], "a crashed remote is left as it is");
    assert_eq!(remote.read_trace(0).unwrap(), "oh no\n");
    assert_eq!(remote.read_trace(1), Err(RemoteError::NoTrace { number: 1 }));
    remote.start().unwrap();
    assert_eq!((remote.state(), remote.crash()), (State::Running, None));
    assert_eq!(remote.read_trace(0).unwrap(), "");
    assert_eq!(remote.backend().calls[2..], ["stop", "unprepare", "prepare", "start"]);
}

#[test]
fn firmware_is_replaced_while_offline_and_after_a_crash_but_not_under_a_running_remote() {
    let mut remote = loaded();
    load(&mut remote).unwrap();
    assert_eq!(remote.backend().calls, ["prepare", "unprepare", "prepare"]);
    remote.start().unwrap();
    assert_eq!(load(&mut remote).unwrap_err().code(), codes::REFUSED);
    assert_eq!(remote.state(), State::Running);
    remote.backend.events.push_back(Ok(Event::Crashed(crash())));
    wait(&mut remote).unwrap();

    let other = Elf::new(Class::Elf64).segment(".text", 0x1100_0000, 5, &[7; 4], 4);
    let other = Elf { entry: 0x1100_0000, ..other }.build();
    remote.load(&Firmware::parse(&other).unwrap(), &Options::DEFAULT).unwrap();
    assert_eq!(remote.state(), State::Offline);
    assert_eq!((remote.vdevs().len(), remote.table().is_none()), (0, true));
    assert_eq!(bytes(&remote, 0x1100_0000, 4), [7; 4]);
    remote.start().unwrap();
    assert_eq!(remote.backend().boot, Some(Boot { entry: DeviceAddr(0x1100_0000), table: None }));
}

#[test]
fn firmware_that_asks_for_too_much_changes_nothing() {
    let mut remote = loaded();
    let bytes = table(|entries| entries.trace("x", DATA as u32, 0));
    let file = Elf::with_table(Class::Elf64, &bytes).build();
    let error = remote.load(&Firmware::parse(&file).unwrap(), &Options::DEFAULT).unwrap_err();
    assert_eq!(error.code(), codes::RESOURCE_ZERO);
    assert_eq!(remote.vdevs().len(), 1);
    remote.start().unwrap();
}

#[test]
fn a_crashed_remote_that_cannot_be_stopped_keeps_its_firmware() {
    let mut remote = loaded();
    remote.start().unwrap();
    remote.backend.events.push_back(Ok(Event::Crashed(crash())));
    wait(&mut remote).unwrap();
    remote.backend.fail = Some("stop");
    let other = Elf::new(Class::Elf64).segment(".text", TEXT, 5, &[7; 4], 4).build();
    let error = remote.load(&Firmware::parse(&other).unwrap(), &Options::DEFAULT).unwrap_err();
    assert_eq!((error.code(), remote.state()), (codes::BACKEND_SYSTEM, State::Crashed));
    assert_eq!(remote.vdevs().len(), 1);
    remote.start().unwrap();
    assert_eq!(bytes(&remote, TEXT, 4), [0x90; 4]);
}

#[test]
fn memories_that_cannot_be_had_again_are_asked_for_at_the_next_start() {
    let mut remote = loaded();
    remote.start().unwrap();
    remote.stop().unwrap();
    remote.backend.fail = Some("prepare");
    assert_eq!(remote.start().unwrap_err().code(), codes::BACKEND_SYSTEM);
    assert_eq!((remote.state(), remote.memories().len()), (State::Offline, 0));
    remote.start().unwrap();
    assert_eq!((remote.state(), remote.memories().len()), (State::Running, 5));

    // After a crash, too: it has been stopped by then.
    remote.backend.events.push_back(Ok(Event::Crashed(crash())));
    wait(&mut remote).unwrap();
    remote.backend.fail = Some("prepare");
    assert!(remote.start().is_err());
    assert_eq!(remote.state(), State::Offline);

    // New firmware that cannot be put there does not leave the old one half there.
    remote.backend.fail = Some("prepare");
    assert!(load(&mut remote).is_err());
    assert_eq!(remote.start(), Err(RemoteError::NoFirmware));
}

#[test]
fn what_the_backend_refuses_leaves_no_memories_behind() {
    let mut remote = Remote::new(Mock::new());
    remote.backend.fail = Some("prepare");
    assert_eq!(load(&mut remote).unwrap_err().to_string(), "prepare: no");
    assert_eq!(remote.start(), Err(RemoteError::NoFirmware));
    assert!(remote.memories().is_empty());

    let mut remote = Remote::new(Mock::placing_at(0xffff_0000));
    load(&mut remote).unwrap();
    let mut remote = Remote::new(Mock::placing_at(0xffff_f000));
    assert_eq!(load(&mut remote).unwrap_err().code(), codes::MEMORY_PLACED_HIGH);
    assert_eq!(remote.backend().calls, ["prepare", "unprepare"]);
    load(&mut Remote::new(Mock::new())).unwrap();
}

#[test]
fn a_start_that_fails_can_be_tried_again_from_the_beginning() {
    let mut remote = loaded();
    remote.backend.fail = Some("start");
    assert_eq!(remote.start().unwrap_err().code(), codes::BACKEND_SYSTEM);
    assert_eq!(remote.state(), State::Offline);
    remote.start().unwrap();
    assert_eq!(remote.state(), State::Running);
    assert_eq!(remote.backend().calls, ["prepare", "start", "unprepare", "prepare", "start"]);
}

#[test]
fn a_stop_that_fails_leaves_the_remote_running() {
    let mut remote = loaded();
    remote.start().unwrap();
    remote.backend.fail = Some("stop");
    assert!(remote.stop().is_err());
    assert_eq!(remote.state(), State::Running);
    remote.stop().unwrap();
}

#[test]
fn a_remote_whose_executor_is_gone_has_crashed_and_can_be_started_again() {
    let mut remote = loaded();
    remote.start().unwrap();
    let lost = BackendError::ExecutorLost { executor: "warden", reason: "killed".into() };
    remote.backend.events.push_back(Err(lost.clone()));
    assert_eq!(wait(&mut remote), Err(lost.into()));
    assert_eq!((remote.state(), remote.crash()), (State::Crashed, None));
    remote.start().unwrap();
}

#[test]
fn attaching_and_detaching_are_the_backends_to_refuse() {
    let mut remote = Remote::detached(Mock::new());
    assert_eq!(remote.state(), State::Detached);
    assert_eq!(
        remote.attach(&Found::default()).unwrap_err().to_string(),
        "this kind of remote cannot attach"
    );
    assert_eq!(load(&mut remote).unwrap_err().code(), codes::REFUSED);
    let mut remote = loaded();
    remote.start().unwrap();
    assert_eq!(remote.detach().unwrap_err().code(), codes::BACKEND_UNSUPPORTED);
    assert_eq!(remote.state(), State::Running);
}

#[test]
fn everything_that_happens_is_in_the_log_and_the_log_does_not_grow() {
    let mut remote = loaded();
    remote.start().unwrap();
    remote.backend.events.push_back(Ok(Event::Crashed(crash())));
    wait(&mut remote).unwrap();
    let log: Vec<String> = remote.log().entries().map(|entry| entry.what.to_string()).collect();
    let expected = [
        "firmware loaded: 5 memories, 0x5000 bytes",
        "load: offline -> offline",
        "start: offline -> running",
        "crashed: bad access to 0xdead (signal 11, pc 0x10000000); it says: index out of bounds",
        "crash: running -> crashed",
    ];
    assert_eq!(log, expected);
    let seen = remote.log().entries().last().unwrap().number + 1;
    remote.stop().unwrap();
    let new: Vec<String> = remote.log().since(seen).map(|entry| entry.what.to_string()).collect();
    assert_eq!(new, ["stop: crashed -> offline"]);

    for _ in 0..200 {
        remote.start().unwrap();
        remote.stop().unwrap();
    }
    let log: Vec<u64> = remote.log().entries().map(|entry| entry.number).collect();
    assert_eq!(log.len(), Log::CAPACITY);
    assert!(log[0] > 0 && log.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn findings_about_the_firmware_are_in_the_log() {
    let mut remote = Remote::new(Mock::new());
    let file = Elf::new(Class::Elf64).segment(".all", TEXT, 7, &[1], 1).build();
    remote.load(&Firmware::parse(&file).unwrap(), &Options::DEFAULT).unwrap();
    let found: Vec<Code> = remote
        .log()
        .entries()
        .filter_map(|entry| match &entry.what {
            What::Found(finding) => Some(finding.code),
            _ => None,
        })
        .collect();
    assert_eq!(found, [codes::SEGMENT_RWX, codes::NO_TABLE]);
}

#[test]
fn what_does_not_run_or_cannot_be_halted_is_not_dumped_as_it_runs() {
    let mut remote = loaded();
    let dumped = |remote: &mut Remote<Mock>| remote.dump_running(Include::All, &[], |dump| dump.len());
    let error = dumped(&mut remote).unwrap_err();
    assert_eq!(error, RemoteError::NotHalted { state: State::Offline });
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (codes::REFUSED, "cannot halt: the remote is offline")
    );
    remote.start().unwrap();
    let error = dumped(&mut remote).unwrap_err();
    assert_eq!(error, BackendError::Unsupported { operation: "halt" }.into());
    assert_eq!(remote.state(), State::Running);
    assert!(remote.core_dump(Include::All, &[]).is_ok());
}
