//! `cargo xtask bench`: what a message costs here, beside what the machine allows.

mod callgrind;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value, json};

use self::callgrind::Cost;
use super::Chore;
use crate::source;

pub(crate) const CHORE: Chore = Chore {
    name: "bench",
    about: "Measure messages: instructions, fences, times between two processes, start and restart of a remote",
    arguments: |command| {
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
        command.arg(json.help("Print JSON (schema sidecore.bench/1), all for messages of 64 bytes"))
    },
    run: |matches: &ArgMatches, _| bench(matches.get_flag("json")),
};

/// How often a remote is started.
const STARTS: usize = 15;

fn bench(json: bool) -> Result<()> {
    eprintln!("Building …");
    let mut cargo = source::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "sidecore-bench", "--package", "sidecore"]);
    if !cargo.status().context("cargo cannot be run")?.success() {
        bail!("it does not build");
    }
    let programs = source::target_directory("Cargo.toml")?.join("release");

    eprintln!("Counting …");
    let counted = ["one-way", "batched", "one-way-any-length"]
        .map(|mode| callgrind::count(&programs.join("bench-instructions"), mode));
    eprintln!("Timing …");
    let times = times(&programs.join("bench-times"))?;
    let starts = starts(&programs.join("sidecore"))?;
    let restarts = restarts(&programs.join("bench-recovery"))?;

    if json {
        print_json(&counted, &times, starts, &restarts)
    } else {
        print_table(&counted, &times, starts, &restarts)
    }
}

/// One line of what `bench-times` prints, in nanoseconds.
struct Time {
    name: String,
    size: u32,
    median: f64,
    least: f64,
    most: f64,
}

fn times(program: &Path) -> Result<Vec<Time>> {
    let text = output(&mut Command::new(program))?;
    text.lines().map(|line| read_time(line).with_context(|| format!("{program:?} prints {line:?}"))).collect()
}

fn read_time(line: &str) -> Option<Time> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let size = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse().ok();
    Some(Time { name, size, median: number()?, least: number()?, most: number()? })
}

/// Milliseconds from the start of the command to the first answered message: median, least, most.
fn starts(program: &Path) -> Result<[f64; 3]> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let text =
            output(Command::new(program).args(["ping", "--count", "1", "--size", "64", "--json", "echo"]))?;
        let answer: Value = serde_json::from_str(&text).context("sidecore ping --json")?;
        let start = answer["start_ns"].as_f64().context("sidecore ping --json tells no start_ns")?;
        starts.push(start / 1e6);
    }
    starts.sort_by(f64::total_cmp);
    Ok([starts[STARTS / 2], starts[0], starts[STARTS - 1]])
}

/// From the crash of a remote with an image of 1 MiB to the next answered message, in nanoseconds.
fn restarts(program: &Path) -> Result<Vec<Time>> {
    let mut images = Command::new(std::env::current_exe().context("this program's own file")?);
    output(images.arg("images"))?;
    let echo = super::images::directory()?.join(source::host()?).join("release/echo");
    let text = output(Command::new(program).arg(echo))?;
    text.lines().map(|line| read_time(line).with_context(|| format!("{program:?} prints {line:?}"))).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The median of one measurement at one size.
fn median(times: &[Time], name: &str, size: u32) -> Option<f64> {
    times.iter().find(|time| time.name == name && time.size == size).map(|time| time.median)
}

fn print_json(
    counted: &[Result<Cost>; 3],
    times: &[Time],
    starts: [f64; 3],
    restarts: &[Time],
) -> Result<()> {
    let mut keys = Map::new();
    keys.insert("schema".into(), "sidecore.bench/1".into());
    for (name, cost) in ["one_way", "batched"].into_iter().zip(counted) {
        let cost = cost.as_ref();
        let round = |number: f64| json!((number * 100.0).round() / 100.0);
        let value = |part: fn(&Cost) -> f64| cost.map_or(Value::Null, |cost| round(part(cost)));
        keys.insert(format!("{name}_instructions"), value(|cost| cost.instructions));
        keys.insert(format!("{name}_fences"), value(|cost| cost.fences));
        if let Err(error) = cost {
            keys.insert(format!("{name}_not_counted"), format!("{error:#}").into());
        }
    }
    let time = |name, size| median(times, name, size).map_or(Value::Null, |time| json!(time));
    let rate = |name| median(times, name, 64).map_or(Value::Null, |time| json!((1e9 / time).round()));
    keys.insert("round_trip_polled_ns".into(), time("polled", 64));
    keys.insert("limit_round_trip_ns".into(), time("limit_round_trip", 64));
    keys.insert("limit_line_transfer_ns".into(), time("line_transfer", 2));
    keys.insert("doorbell_busy_ns".into(), time("doorbell_busy", 64));
    keys.insert("throughput_single_per_s".into(), rate("single"));
    keys.insert("throughput_batched_per_s".into(), rate("batched"));
    keys.insert("start_ms".into(), json!(starts[0]));
    for Time { name, median, most, .. } in restarts {
        keys.insert(format!("{name}_ms"), json!(median / 1e6));
        keys.insert(format!("{name}_most_ms"), json!(most / 1e6));
    }
    println!("{}", serde_json::to_string_pretty(&Value::Object(keys))?);
    Ok(())
}

fn print_table(
    counted: &[Result<Cost>; 3],
    times: &[Time],
    starts: [f64; 3],
    restarts: &[Time],
) -> Result<()> {
    println!("One way, 64 bytes, one thread, both ends       instructions    fences");
    let rows = ["each published for itself", "eight a publication", "of a length not known to the compiler"];
    for (row, cost) in rows.into_iter().zip(counted) {
        match cost {
            Ok(Cost { instructions, fences }) => println!("  {row:<44} {instructions:>12.1} {fences:>9.2}"),
            Err(error) => println!("  {row:<44} not counted: {error:#}"),
        }
    }
    println!("\nTwo processes, a processor each             bytes    median     least      most  ns");
    for Time { name, size, median, least, most } in times {
        let what = ROWS.iter().find(|(row, _)| row == name).map_or(&**name, |(_, what)| what);
        println!("  {what:<41} {size:>5} {median:>9.1} {least:>9.1} {most:>9.1}");
    }
    let ratio = |name, limit, limit_size| Some(median(times, name, 64)? / median(times, limit, limit_size)?);
    println!("\nIn the machine's own measure, 64 bytes");
    for (what, name, limit, size) in [
        ("polled round trip, of a copy and a flag each way", "polled", "limit_round_trip", 64),
        ("busy doorbell round trip, of a polled one", "doorbell_busy", "polled", 64),
        ("message published for itself, of a line transfer", "single", "line_transfer", 2),
        ("message of a batch of eight, of a line transfer", "batched", "line_transfer", 2),
    ] {
        match ratio(name, limit, size) {
            Some(ratio) => println!("  {what:<52} {ratio:>6.2}"),
            None => println!("  {what:<52} not measured"),
        }
    }
    let [middle, least, most] = starts;
    println!("\nA sandbox remote's first answered message after {middle:.1} ms ({least:.1} to {most:.1})");
    for Time { name, median, least, most, .. } in restarts {
        let [median, least, most] = [median, least, most].map(|time| time / 1e6);
        let how = if name == "restart" { "restarted" } else { "restarted silently" };
        println!(
            "After its crash, {how}, with an image of 1 MiB: again after {median:.1} ms ({least:.1} to {most:.1})"
        );
    }
    Ok(())
}

/// What the names of `bench-times` mean.
const ROWS: &[(&str, &str)] = &[
    ("line_transfer", "limit: one line transfer"),
    ("limit_round_trip", "limit: copy and flag each way"),
    ("polled", "round trip, polled"),
    ("polled_in_place", "round trip, polled, in place"),
    ("polled_varying", "round trip, polled, lengths vary"),
    ("doorbell_busy", "round trip, doorbell, both awake"),
    ("single", "message, published for itself"),
    ("single_in_place", "message, published for itself, in place"),
    ("batched", "message, eight a publication"),
];

/// Where callgrind may leave its files.
fn scratch(name: &str) -> Result<PathBuf> {
    Ok(source::target_directory("Cargo.toml")?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_times_is_read_and_any_other_is_not() {
        let time = read_time("polled 64 520.5 500.0 700.1").unwrap();
        assert_eq!((&*time.name, time.size, time.median, time.most), ("polled", 64, 520.5, 700.1));
        assert!(read_time("polled 64 520.5").is_none());
        assert!(read_time("polled x 1 2 3").is_none());
    }
}
