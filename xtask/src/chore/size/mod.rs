//! `cargo xtask size`: what a remote takes of a microcontroller, against the figures that are committed.
//!
//! Code and memory are what an image has more than one that only starts up: both begin in the same way, on the same
//! board. Stack is measured by an image that paints its own, under QEMU.

mod elf;
mod painted;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value, json};

use self::elf::Image;
use super::{
    Chore,
    images::{self, Toolchain},
};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "size",
    about: "Measure code, memory and stack of the smallest remote, and compare them with the committed figures",
    arguments,
    run: |arguments, report| {
        if arguments.get_flag("json") {
            return print_json();
        }
        let bless = arguments.get_flag("bless");
        report.step("size", |step| check(step, bless));
        Ok(())
    },
};

const TARGET: &str = "thumbv7em-none-eabihf";
const MANIFEST: &str = "remote/images/Cargo.toml";

/// The committed figures, by name.
const FIGURES: &str = "remote/images/footprint/figures.json";

/// By how much a figure may have grown: what another version of the compiler makes of the same source. In percent.
const MARGIN: u64 = 5;

/// The longest name of a figure.
const WIDTH: usize = 16;

fn arguments(command: Command) -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let bless = Arg::new("bless").long("bless").action(ArgAction::SetTrue);
    command
        .arg(json.help("Print JSON (schema sidecore.size/1) and compare nothing"))
        .arg(bless.conflicts_with("json").help("Write the figures down, to be committed"))
}

/// As a step of a longer chore, where there is a compiler for it.
pub(super) fn steps(report: &mut Report) {
    match Toolchain::of(TARGET) {
        Ok(_) => report.step("size", |step| check(step, false)),
        Err(error) => report.not_run("size", error),
    }
}

/// The figures of the smallest remote, and `full_text` and `full_ram` of one with all of the SDK.
type Figures = BTreeMap<String, u64>;

fn print_json() -> Result<()> {
    let (mut all, mut full) = (Map::new(), Map::new());
    all.insert("schema".to_owned(), json!("sidecore.size/1"));
    all.insert("target".to_owned(), json!(TARGET));
    for (name, value) in measure()? {
        match name.strip_prefix("full_") {
            Some(name) => full.insert(name.to_owned(), value.into()),
            None => all.insert(name, value.into()),
        };
    }
    all.insert("full".to_owned(), full.into());
    println!("{}", serde_json::to_string_pretty(&Value::Object(all))?);
    Ok(())
}

fn check(step: &mut Step, bless: bool) -> Result<()> {
    let measured = measure()?;
    if bless {
        let text = serde_json::to_string_pretty(&measured)? + "\n";
        return fs::write(source::root().join(FIGURES), text).context(FIGURES);
    }
    let committed: Figures = serde_json::from_str(&source::read(Path::new(FIGURES))?).context(FIGURES)?;
    println!("{:WIDTH$} {:>9} {:>9}", "", "measured", "committed");
    for (name, committed) in &committed {
        let Some(measured) = measured.get(name) else {
            step.not_run(format!("{name}: there is no QEMU to measure it in"));
            continue;
        };
        println!("{name:WIDTH$} {measured:>9} {committed:>9}");
        if *measured > committed + committed * MARGIN / 100 {
            step.fails(format_args!("{name} has grown from {committed} to {measured} bytes"));
        } else {
            step.passes();
        }
    }
    Ok(())
}

/// Builds the images and measures them. What needs QEMU is missing where there is none.
fn measure() -> Result<Figures> {
    build("sidecore-footprint")?;
    build("sidecore-images")?;
    let folder = images::directory()?.join(TARGET).join("firmware");
    let read = |name: &str| Image::read(&folder.join(name));
    let (empty, minimal, full) = (read("empty")?, read("minimal")?, read("echo")?);

    let forbidden: Vec<&str> = minimal.forbidden().collect();
    if !forbidden.is_empty() {
        bail!("a panic path or a heap is linked into the smallest remote: {}", forbidden.join(", "));
    }
    if full.forbidden().next().is_none() {
        bail!("no panic path is found where there is one, so that nothing is proved where none is found");
    }

    // Rings and buffers are a matter of how many there are.
    let shared = minimal.symbols.iter().find(|(name, _)| name.contains("sidecore_footprint6SHARED"));
    let (_, shared) = shared.context("the smallest remote has no memory to share")?;
    let mut ram = minimal.ram.saturating_sub(empty.ram + shared);
    let mut figures = Figures::new();
    let mut figure = |name: &str, value| figures.insert(name.to_owned(), value);
    if let Some(painted) = painted::run(&folder.join("stack"))? {
        figure("stack_send", painted.send);
        figure("stack_receive", painted.receive);
        // It is kept on the stack of `main`, for as long as the firmware runs.
        ram += painted.state;
    }
    figure("text", minimal.text.saturating_sub(empty.text));
    figure("ram", ram);
    // An endpoint is an address in read-only memory.
    figure("ram_per_endpoint", 0);
    figure("full_text", full.text.saturating_sub(empty.text));
    figure("full_ram", full.ram.saturating_sub(empty.ram));
    Ok(figures)
}

fn build(package: &str) -> Result<()> {
    let mut cargo = Toolchain::of(TARGET)?.cargo_build(TARGET, &[images::remapped()]);
    cargo.args(["--quiet", "--profile", "firmware", "--bins", "--package", package]);
    cargo.args(["--manifest-path", MANIFEST, "--target-dir"]).arg(images::directory()?);
    let status = cargo.status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("{package} does not build for {TARGET}");
    }
    Ok(())
}
