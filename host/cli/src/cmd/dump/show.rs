//! Dumps as people and programs read them.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use sidecore_processor::dumps::Stored;
use sidecore_remoteproc::coredump::Told;

use crate::failure::{Outcome, printable};
use crate::output::{lines, print, print_json, size, table};

pub(super) fn list(all: &[Stored], json: bool) -> Outcome {
    let rows: Vec<(&Stored, Option<Told>)> = all.iter().map(|stored| (stored, stored.told().ok())).collect();
    if json {
        let dumps = rows.iter().map(|(stored, told)| Document::new(stored, told.as_ref())).collect();
        print_json("sidecore.dumps/1", &Documents { dumps })?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        print("no dumps\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["dump", "age", "what happened", "size"]);
    for (stored, told) in &rows {
        let what = match told {
            Some(told) => happened(told),
            None => "it is no dump of sidecore's".to_owned(),
        };
        table.add_row([&printable(&stored.id), &age(stored.time), &printable(&what), &size(stored.bytes)]);
    }
    print(&lines(&table))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn info(stored: &Stored, told: &Told, json: bool) -> Outcome {
    if json {
        print_json("sidecore.dump/1", &Document::new(stored, Some(told)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to text succeeds.
        let _ = writeln!(text, "{:<11} {}", printable(key), printable(value));
    };
    line("dump", &stored.id);
    line("machine", &told.machine.to_string());
    line("build id", &hex(&told.build_id).unwrap_or_else(|| "none".to_owned()));
    line("registers", if told.has_registers { "yes" } else { "no" });
    for (key, value) in &told.facts {
        for (number, part) in value.split("\\n").filter(|part| !part.is_empty()).enumerate() {
            line(if number == 0 { key } else { "" }, part);
        }
    }
    text.push('\n');
    let mut table = table(&["memory", "size", "access", "bytes"]);
    for memory in &told.memories {
        let access =
            ["r", if memory.is_writable { "w" } else { "-" }, if memory.is_executable { "x" } else { "-" }];
        let has = if memory.has_bytes { "in the dump" } else { "in the firmware file" };
        table.add_row([&memory.at.to_string(), &size(memory.len), &access.concat(), has]);
    }
    print(&(text + &lines(&table)))?;
    Ok(ExitCode::SUCCESS)
}

/// A crash in a few words.
fn happened(told: &Told) -> String {
    let place = told.fact("place").map(|place| format!(" in {place}"));
    let at = || told.fact("pc").map(|pc| format!(" at {pc}"));
    let address = told.fact("address").map(|address| format!(" of {address}")).unwrap_or_default();
    let crash = told.fact("crash").or_else(|| told.fact("state")).unwrap_or("no crash");
    format!("{crash}{address}{}", place.or_else(at).unwrap_or_default())
}

fn age(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or(Duration::ZERO).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} d"),
    }
}

fn hex(bytes: &[u8]) -> Option<String> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (!digits.is_empty()).then_some(digits)
}

#[derive(Serialize)]
struct Documents {
    dumps: Vec<Document>,
}

#[derive(Serialize)]
struct Document {
    dump: String,
    file: String,
    compressed_bytes: u64,
    /// Seconds since 1970.
    time: Option<u64>,
    /// Null where the file is no dump of ours.
    told: Option<Contents>,
}

#[derive(Serialize)]
struct Contents {
    machine: String,
    build_id: Option<String>,
    registers: bool,
    facts: serde_json::Map<String, serde_json::Value>,
    memories: Vec<Memory>,
}

#[derive(Serialize)]
struct Memory {
    address: u64,
    len: u64,
    in_dump: bool,
    writable: bool,
    executable: bool,
}

impl Document {
    fn new(stored: &Stored, told: Option<&Told>) -> Self {
        let time = stored.time.duration_since(SystemTime::UNIX_EPOCH).ok();
        Self {
            dump: stored.id.clone(),
            file: stored.path.to_string_lossy().into_owned(),
            compressed_bytes: stored.bytes,
            time: time.map(|time| time.as_secs()),
            told: told.map(Contents::new),
        }
    }
}

impl Contents {
    fn new(told: &Told) -> Self {
        let memories = told.memories.iter().map(|memory| Memory {
            address: memory.at.0,
            len: memory.len,
            in_dump: memory.has_bytes,
            writable: memory.is_writable,
            executable: memory.is_executable,
        });
        Self {
            machine: told.machine.to_string(),
            build_id: hex(&told.build_id),
            registers: told.has_registers,
            facts: told.facts.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect(),
            memories: memories.collect(),
        }
    }
}
