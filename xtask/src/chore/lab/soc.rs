//! `sidecore soc`: a distribution's kernel and its own remoteproc, with a coprocessor of ours.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, builder::PossibleValuesParser, value_parser};

use super::{Need, archive::Archive, check, guest, judge::Judge, packages};
use crate::chore::{
    images::{self, Toolchain},
    release, test,
};
use crate::report::{Report, Step};

pub(super) fn command() -> clap::Command {
    let rounds = Arg::new("rounds").long("rounds").value_name("N").default_value("1");
    let shell = Arg::new("shell").long("shell").action(ArgAction::SetTrue);
    let coprocessor = Arg::new("coprocessor").long("coprocessor").value_name("KIND");
    let coprocessor = coprocessor.value_parser(PossibleValuesParser::new(COPROCESSORS));
    clap::Command::new("soc")
        .about("Boot Debian's Arm kernel on `sidecore soc`, and check from inside what its remoteproc does")
        .arg(rounds.value_parser(value_parser!(u32).range(1..=1000)).help("Boot it so many times"))
        .arg(coprocessor.help("With one kind of coprocessor only"))
        .arg(shell.conflicts_with("rounds").help("Check nothing: a shell on its console, until it is left"))
}

const NAME: &str = "Linux with a coprocessor";

/// What can be the coprocessor; the last one executes firmware.
const COPROCESSORS: [&str; 2] = ["process", RISCV32];
const RISCV32: &str = "riscv32";

/// The images for it, and the one that is started.
const TARGET: &str = "riscv32imac-unknown-none-elf";
const BOARD: &str = "riscv32-soc";
const FIRMWARE: &str = "drivers";
/// Those that lie beside it.
const IMAGES: &[&str] = &["hello", "cat", "copy", "crash", "echo"];

const RISCV32_NEEDS: &[Need] = &[Need { what: "qemu-system-riscv32", package: "qemu-system-misc" }];

const NEEDS: &[Need] = &[
    Need { what: "qemu-system-arm", package: "qemu-system-arm" },
    Need { what: "timeout", package: "coreutils" },
];

pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    able()?;
    let shell = arguments.get_flag("shell");
    let rounds = arguments.get_one("rounds").copied().unwrap_or(1);
    let chosen = arguments.get_one::<String>("coprocessor");
    let kinds: Vec<&'static str> = match chosen {
        Some(chosen) => COPROCESSORS.into_iter().filter(|kind| kind == chosen).collect(),
        None => kinds(report),
    };
    if kinds.contains(&RISCV32) {
        executes()?;
    }
    let mut rig = None;
    report.step(format!("{NAME}: its parts"), |step| {
        let parts = packages::parts(step)?;
        rig = Some(Rig::new(step, &parts, &kinds, true)?);
        Ok(())
    });
    match rig {
        Some(rig) if shell => rig.shell(kinds.last().copied().unwrap_or(RISCV32))?,
        Some(rig) => rig.check(report, &kinds, rounds),
        None => {}
    }
    Ok(())
}

pub(super) fn steps(report: &mut Report) {
    if let Err(error) = able() {
        return report.not_run(NAME, format!("{error:#}"));
    }
    let kinds = kinds(report);
    let mut parts = None;
    report.step(format!("{NAME}: its parts"), |step| {
        match packages::parts(step) {
            Ok(fetched) => parts = Some(Rig::new(step, &fetched, &kinds, false)?),
            Err(error) => step.not_run(format!("{error:#}")),
        }
        Ok(())
    });
    if let Some(rig) = parts {
        rig.check(report, &kinds, 1);
    }
}

/// The kinds of coprocessors that this machine has; of those that it has not it is said why.
fn kinds(report: &mut Report) -> Vec<&'static str> {
    let mut kinds = COPROCESSORS.to_vec();
    if let Err(error) = executes() {
        report.not_run(&title(RISCV32), format!("{error:#}"));
        kinds.retain(|kind| *kind != RISCV32);
    }
    kinds
}

/// Whether there can be one that executes something.
fn executes() -> Result<()> {
    check(RISCV32_NEEDS)?;
    Toolchain::of(TARGET).map(drop)
}

fn title(kind: &str) -> String {
    format!("{NAME}: {kind}")
}

fn able() -> Result<()> {
    check(NEEDS)?;
    check(guest::ARM_NEEDS)?;
    check(packages::NEEDS)
}

/// All that is booted, and a folder that goes with it.
struct Rig {
    sidecore: PathBuf,
    kernel: PathBuf,
    folder: PathBuf,
}

impl Rig {
    /// With the command as it is released, or as the tests have built it.
    fn new(step: &mut Step, parts: &packages::Parts, kinds: &[&str], released: bool) -> Result<Self> {
        let programs = if released { release::programs(step) } else { test::programs(step) };
        let sidecore = programs?.join("sidecore");
        let [guest, command] = guest::build_for_arm(step, released)?;

        let folder = env::temp_dir().join(format!("sidecore-soc-lab-{}", process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let rig = Self { sidecore, kernel: parts.kernel.clone(), folder };
        for kind in kinds {
            let built = match *kind {
                RISCV32 => Some(images::build_for_board(step, TARGET, BOARD)?),
                _ => None,
            };
            let firmware = rig.firmware(kind);
            match &built {
                Some(built) => drop(fs::copy(built.join(FIRMWARE), &firmware).context(FIRMWARE)?),
                None => {
                    step.run(Command::new(&rig.sidecore).args(["soc", "--write-firmware"]).arg(&firmware))?;
                }
            }
            let mut soc = Command::new(&rig.sidecore);
            soc.args(["soc", "--coprocessor", kind, "--write-tree"]).arg(rig.tree(kind));
            step.run(&mut soc)?;
            let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
            let mut archive = Archive::new();
            for folder in ["bin", "lib", "lib/firmware", "modules", "images", "tmp", "etc"] {
                archive.folder(folder);
            }
            archive.add("init", &read(&guest)?);
            archive.add("bin/sidecore", &read(&command)?);
            archive.add("bin/busybox", &read(&parts.busybox)?);
            archive.add("firmware.elf", &read(&firmware)?);
            archive.add("etc/group", b"root:x:0:\nsidecore:x:1000:\n");
            for (image, built) in IMAGES.iter().flat_map(|image| Some((image, built.as_ref()?))) {
                archive.add(&format!("images/{image}"), &read(&built.join(image))?);
            }
            for (number, module) in parts.modules.iter().enumerate() {
                archive.add(&format!("modules/{number:02}.ko"), &read(module)?);
            }
            fs::write(rig.archive(kind), archive.finish())
                .context("the guest's archive cannot be written")?;
        }
        Ok(rig)
    }

    fn archive(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("initrd-{kind}"))
    }

    fn firmware(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("firmware-{kind}.elf"))
    }

    fn tree(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("tree-{kind}"))
    }

    fn check(&self, report: &mut Report, kinds: &[&str], rounds: u32) {
        for kind in kinds {
            report.step(title(kind), |step| {
                (0..rounds).try_for_each(|_| {
                    self.boot(step, kind, &[], "soc=1 loglevel=3")?;
                    let tree = self.tree(kind);
                    let options = [OsStr::new("--running"), OsStr::new("--tree"), tree.as_os_str()];
                    self.boot(step, kind, &options, "soc=running loglevel=3")
                })
            });
        }
        report.step(format!("{NAME}: its end"), |step| {
            kinds.iter().try_for_each(|kind| {
                step.passes();
                self.kill(kind)
            })
        });
    }

    /// Kills it while it runs, and sees its emulators go, too.
    fn kill(&self, kind: &str) -> Result<()> {
        let mut soc = Command::new(&self.sidecore);
        let soc = self.arguments(&mut soc, kind, "shell=1").stdin(Stdio::piped()).stdout(Stdio::null());
        // What it leaves while it begins goes with us.
        let mut soc = soc.env("XDG_RUNTIME_DIR", &self.folder).spawn().context("sidecore cannot be run")?;
        let expected = if kind == RISCV32 { 2 } else { 1 };
        let mut emulators = Vec::new();
        let begun = wait(|| {
            emulators = children(soc.id());
            emulators.len() == expected
        });
        soc.kill().and_then(|()| soc.wait()).context("sidecore cannot be killed")?;
        if !begun {
            bail!("{} emulators run in place of {expected}", emulators.len());
        }
        let runs = |process: &&u32| Path::new("/proc").join(process.to_string()).exists();
        if !wait(|| emulators.iter().filter(runs).count() == 0) {
            bail!("of the emulators {emulators:?} some run on");
        }
        Ok(())
    }

    fn boot(&self, step: &mut Step, kind: &str, options: &[&OsStr], append: &str) -> Result<()> {
        let mut soc = Command::new("timeout");
        // Nobody waits for longer than this.
        soc.args(["--kill-after=5", "300"]).arg(&self.sidecore);
        // What the kernel says is read inside, where it cannot come between the words of others.
        let mut judge = Judge::default();
        let status = step.read(self.arguments(&mut soc, kind, append).args(options), |line| {
            judge.hear(line);
            Ok(())
        })?;
        judge.close(step, status)
    }

    fn shell(&self, kind: &str) -> Result<()> {
        let mut soc = Command::new(&self.sidecore);
        let soc = self.arguments(&mut soc, kind, "shell=1 loglevel=3");
        let status = soc.status().context("sidecore cannot be run")?;
        if !status.success() {
            bail!("sidecore soc ended with {status}");
        }
        Ok(())
    }

    fn arguments<'c>(&self, command: &'c mut Command, kind: &str, append: &str) -> &'c mut Command {
        command.args(["soc", "--coprocessor", kind, "--kernel"]).arg(&self.kernel);
        command.arg("--initrd").arg(self.archive(kind)).arg("--firmware").arg(self.firmware(kind));
        command.arg("--append").arg(format!("coprocessor={kind} {append}"))
    }
}

/// Waits for something that comes soon; whether it came.
fn wait(mut came: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if came() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that one has started, by any of its threads.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect()
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("{} stays: {error}", self.folder.display());
        }
    }
}
