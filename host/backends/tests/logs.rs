//! The log that a warden keeps of its remote's traces.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod bench;

use std::fs;

use bench::*;
use sidecore_backends::log::{Record, file_name};
use sidecore_backends::sandbox::{Config, Lifetime, Logged, Sandbox};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Backend, Event};
use sidecore_wire::features::VENDOR_ENTRY_TYPE;
use sidecore_wire::resource_table::{Builder, FixedName, Trace, TraceWords};

/// Where the text goes.
const TEXT_AT: u64 = DATA + 0x1000;
const LEN: u32 = 64;

/// A table with a trace and its words; and where these are.
fn table(rings: bool) -> (Vec<u8>, u64) {
    let mut bytes = [0; 256];
    let mut builder = Builder::new(&mut bytes, 2).unwrap();
    let name = FixedName::new("log:a b").unwrap();
    builder.trace(&Trace { da: TEXT_AT as u32, len: LEN, reserved: 0, name }).unwrap();
    let words = TraceWords { flags: rings.into(), ..TraceWords::default() }.emit();
    let at = builder.entry(VENDOR_ENTRY_TYPE, &words[4..]).unwrap();
    (builder.finish().to_vec(), DATA + u64::from(at))
}

fn logged(dir: &Dir, name: &str, lifetime: Lifetime) -> Config {
    let log = Some(Logged { directory: dir.path().join("logs"), firmware: "a test".to_owned() });
    Config { log, lifetime, ..dir.named(name) }
}

/// A remote with this table, which runs this code.
fn run_with(config: Config, table: &[u8], code: Code) -> Sandbox {
    let mut sandbox = Sandbox::new(config).unwrap();
    prepare(&mut sandbox);
    sandbox.load(DeviceAddr(DATA), table).unwrap();
    start(&mut sandbox, |_| code);
    sandbox
}

/// What the log says, without times.
fn said(dir: &Dir, name: &str) -> Vec<String> {
    let path = dir.path().join("logs").join(file_name(&unique(name)));
    let text = fs::read_to_string(path).unwrap_or_default();
    let records = text.lines().map(|line| Record::parse(line).unwrap_or_else(|| panic!("{line:?}")));
    records.map(|record| format!("{}{}", record.trace, record.what)).collect()
}

/// Says four bytes at a place of the trace, and the count behind them.
fn say(code: Code, words: u64, at: u64, text: [u8; 4], total: u32) -> Code {
    let code = code.store(words + TraceWords::CLAIMED_AT as u64, total);
    let code = code.store(TEXT_AT + at, u32::from_le_bytes(text));
    code.store(words + TraceWords::TOTAL_AT as u64, total)
}

#[test]
fn the_last_words_of_firmware_that_crashes_are_kept_though_nobody_is_there() {
    let dir = Dir::new();
    let (table, words) = table(true);
    let code = say(Code::new(), words, 0, *b"one\n", 4);
    // Half a line, and a gap before it.
    let code = say(code, words, 60, *b"end!", 128);
    let sandbox = run_with(logged(&dir, "crashes", Lifetime::Detached), &table, code.trap());
    drop(sandbox);
    until("it ends", || said(&dir, "crashes").last().is_some_and(|line| line.contains("crashed")));
    let said = said(&dir, "crashes");
    // Its warden keeps it for whoever asks.
    let mut left = Sandbox::find(dir.named("crashes")).unwrap();
    left.attach().unwrap();
    left.stop().unwrap();
    drop(left);
    assert_eq!(said[0], "remote -- started a test --");
    let told: usize = said.iter().filter_map(|line| line.strip_prefix("log_a_b: ")).map(str::len).sum();
    let ends = said.iter().filter(|line| line.starts_with("log_a_b: ") && line.ends_with("end!"));
    assert!(ends.count() == 1 && told > 0, "{said:?}");
    assert!(
        said.iter().any(|line| line.starts_with("log_a_b -- ") && line.ends_with(" bytes lost --")),
        "{said:?}"
    );
    assert!(said.last().unwrap().starts_with("remote -- crashed with SIGILL at 0x"), "{said:?}");
}

#[test]
fn a_remote_that_rings_is_read_at_once_and_one_that_does_not_soon() {
    for (name, rings) in [("rings", true), ("silent", false)] {
        let dir = Dir::new();
        let (table, words) = table(rings);
        let code = say(Code::new(), words, 0, *b"one\n", 4);
        // As the SDK rings: eight bytes to the third descriptor.
        let code = code.store(DATA + 0x200, 1).store(DATA + 0x204, 0);
        let code = if rings { code.call(code::nr::WRITE, [5, DATA + 0x200, 8]) } else { code };
        let again = code.here();
        let code = code.increment(DATA + 0x208).jump(again);
        let mut sandbox = run_with(logged(&dir, name, Lifetime::Tied), &table, code);
        until("it is read", || said(&dir, name).contains(&"log_a_b: one".to_owned()));
        sandbox.stop().unwrap();
        assert_eq!(said(&dir, name).last().map(String::as_str), Some("remote -- stopped --"));
    }
}

#[test]
fn words_and_tables_that_lie_cost_no_more_than_the_log() {
    let dir = Dir::new();
    let (table, words) = table(true);
    // Counts that jump, go back and contradict each other, as fast as can be, with the bell rung all the while.
    let code = Code::new().store(DATA + 0x200, 1).store(DATA + 0x204, 0);
    let again = code.here();
    let mut code = code;
    for (total, claimed) in [(7, 3), (0xFFFF_FFFF, 0), (0x8000_0000, 0x8000_0001), (1, 0xFFFF_0000)] {
        code = code.store(words + TraceWords::TOTAL_AT as u64, total);
        code = code.store(words + TraceWords::CLAIMED_AT as u64, claimed);
        code = code.call(code::nr::WRITE, [5, DATA + 0x200, 8]);
    }
    let mut sandbox = run_with(logged(&dir, "liar", Lifetime::Tied), &table, code.jump(again));
    until("it is found out", || said(&dir, "liar").iter().any(|line| line.contains("went back")));
    sandbox.stop().unwrap();
    let size =
        fs::read_dir(dir.path().join("logs")).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(size.sum::<u64>() <= 2 * sidecore_backends::log::LIMIT);

    let mut garbage = table;
    garbage[16..].fill(0xFF);
    let mut sandbox = run_with(logged(&dir, "garbage", Lifetime::Tied), &garbage, Code::new().exit(3));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 3 });
    until("it ends", || said(&dir, "garbage").len() == 2);
    assert_eq!(said(&dir, "garbage"), ["remote -- started a test --", "remote -- exited with code 3 --"]);
}
