//! A User-Mode Linux at the other end of `sidecore vhost-user`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::sched_getaffinity;

use super::{Need, archive::Archive, check, guest, judge::Judge, kernel};
use crate::{
    chore::{release, test},
    report::{Report, Step},
};

pub(super) fn command() -> clap::Command {
    let rounds = Arg::new("rounds").long("rounds").value_name("N").default_value("1");
    let measure = Arg::new("measure").long("measure").action(ArgAction::SetTrue);
    let source = Arg::new("source").long("source").value_name("PATH");
    clap::Command::new("linux")
        .about("Boot a User-Mode Linux against `sidecore vhost-user`, and check from inside what it finds")
        .arg(
            rounds
                .value_parser(value_parser!(u32).range(1..=1000))
                .help("Boot it so many times; every second time all runs on one CPU"),
        )
        .arg(measure.help("Also measure round trips through /dev/rpmsg0, with all on one CPU"))
        .arg(
            source
                .value_parser(value_parser!(PathBuf))
                .help("Build this kernel, an archive or a folder, in place of the newest in /usr/src"),
        )
}

/// What boots it.
const NEEDS: &[Need] = &[
    Need { what: "setarch", package: "util-linux" },
    Need { what: "taskset", package: "util-linux" },
    Need { what: "timeout", package: "coreutils" },
    Need { what: "/dev/shm", package: "mount (a tmpfs on /dev/shm)" },
];

pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    able()?;
    let from = match arguments.get_one::<PathBuf>("source") {
        Some(path) => path.clone(),
        None => kernel::newest_source()?,
    };
    let rounds = arguments.get_one("rounds").copied().unwrap_or(1);
    work(report, &from, rounds, arguments.get_flag("measure"));
    Ok(())
}

pub(super) fn steps(report: &mut Report) {
    match able().and_then(|()| kernel::newest_source()) {
        Ok(from) => work(report, &from, 2, false),
        Err(error) => report.not_run(NAME, format!("{error:#}")),
    }
}

const NAME: &str = "Linux as a guest";

/// Whether this machine can build and boot one.
fn able() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "a User-Mode Linux runs on x86_64 only");
    check(kernel::NEEDS)?;
    check(NEEDS)
}

fn work(report: &mut Report, from: &Path, rounds: u32, measure: bool) {
    let mut rig = None;
    report.step(format!("{NAME}: its kernel"), |step| {
        rig = Some(Rig::new(step, from, measure)?);
        Ok(())
    });
    let Some(rig) = rig else { return };
    report.step(NAME, |step| {
        (0..rounds).try_for_each(|round| rig.boot(step, Boot { one_cpu: round % 2 == 1, measure: None }))
    });
    if measure {
        let boot = Boot { one_cpu: true, measure: Some(20_000) };
        report.step(format!("{NAME}: measured"), |step| rig.boot(step, boot));
    }
}

/// What the guest finds; `lab/guest` knows of them.
const SERVICES: &[&str] = &["raw", "raw", "tty", "echo", "discard", "sample"];

/// All that is booted, and a folder that goes with it.
struct Rig {
    kernel: PathBuf,
    sidecore: PathBuf,
    folder: PathBuf,
}

/// One boot.
#[derive(Clone, Copy)]
struct Boot {
    one_cpu: bool,
    /// Round trips to be measured, in place of the checks.
    measure: Option<u32>,
}

impl Rig {
    fn new(step: &Step, from: &Path, measure: bool) -> Result<Self> {
        let kernel = kernel::build(step, from)?;
        let mut archive = Archive::new();
        archive.add("init", &guest::build(step)?);
        let sample = fs::read(&kernel.sample).with_context(|| kernel.sample.display().to_string())?;
        archive.add("rpmsg_client_sample.ko", &sample);

        let programs = if measure { release::programs(step) } else { test::programs(step) };
        let sidecore = programs?.join("sidecore");

        let folder = env::temp_dir().join(format!("sidecore-lab-{}", process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let rig = Self { kernel: kernel.program, sidecore, folder };
        fs::write(rig.archive(), archive.finish()).context("the guest's archive cannot be written")?;
        Ok(rig)
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    fn boot(&self, step: &mut Step, boot: Boot) -> Result<()> {
        let device = self.device(boot)?;
        let mut linux = pinned(boot)?;
        // Memory where it is asked for, on a tmpfs; and nobody waits for longer than this.
        linux.args(["timeout", "--kill-after=5", "180", "setarch", "x86_64", "-R"]).env("TMPDIR", "/dev/shm");
        linux.arg(&self.kernel).args(["mem=128M", "con0=null,fd:1", "con=null", "panic=-1"]);
        linux.arg(format!("initrd={}", self.archive().display()));
        linux.arg(format!("virtio_uml.device={}:7", device.socket.display()));
        linux.args(boot.measure.map(|count| format!("measure={count}")));

        let mut judge = Judge::default();
        let status = step.read(&mut linux, |line| {
            judge.hear(line);
            if line.trim_end() == "guest: withdraw the channels" {
                device.stop();
                judge.is_parting = true;
            }
            Ok(())
        })?;
        let words = device.end()?;
        if let Err(error) = judge.close(step, status) {
            print!("{words}");
            return Err(error);
        }
        Ok(())
    }

    /// The device side, once its socket is there.
    fn device(&self, boot: Boot) -> Result<Device> {
        let (socket, words) = (self.folder.join("rpmsg"), self.folder.join("words"));
        let said = fs::File::create(&words).context("what the device says cannot be kept")?;
        let mut sidecore = pinned(boot)?;
        sidecore.arg(&self.sidecore).args(["vhost-user", "--verbose", "--socket"]).arg(&socket);
        for service in SERVICES {
            sidecore.args(["--service", service]);
        }
        sidecore.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = sidecore.spawn().context("sidecore cannot be run")?;
        let mut device = Device { child, socket, words };
        let began = Instant::now();
        while !device.socket.exists() {
            if began.elapsed() > Duration::from_secs(20) || device.child.try_wait()?.is_some() {
                bail!("sidecore makes no socket: {}", fs::read_to_string(&device.words).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(device)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("{} stays: {error}", self.folder.display());
        }
    }
}

/// What begins a command that may be bound to one CPU.
fn pinned(boot: Boot) -> Result<Command> {
    let cpus = sched_getaffinity(None).context("the CPUs of this process")?;
    let all = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu));
    let list: Vec<String> = all.map(|cpu| cpu.to_string()).collect();
    let chosen = if boot.one_cpu { &list[list.len().saturating_sub(1)..] } else { &list };
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(chosen.join(","));
    Ok(command)
}

/// `sidecore vhost-user` at work; it does not outlive this.
struct Device {
    child: Child,
    socket: PathBuf,
    words: PathBuf,
}

impl Device {
    /// Has it withdraw its channels and end.
    fn stop(&self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // One that has ended already is seen when it is waited for.
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Ends it; what it said.
    fn end(mut self) -> Result<String> {
        self.stop();
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < Duration::from_secs(20), "sidecore does not end when it is asked to");
            thread::sleep(Duration::from_millis(5));
        }
        fs::read_to_string(&self.words).context("what the device said")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It has ended by itself if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
