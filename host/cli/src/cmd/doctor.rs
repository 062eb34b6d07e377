//! `sidecore doctor`: what this machine offers, and what to do about the rest.

use std::fs;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use sidecore_backends::qemu::{self, Board};
use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_processor::Options;
use sidecore_remoteproc::Backend as _;
use sidecore_remoteproc::firmware::Machine;

use crate::builtin;
use crate::failure::Outcome;
use crate::image::Image;
use crate::output::{print, print_json};
use crate::remote::{self, Settings};

/// Check what this machine offers, and say what to do about the rest
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes:
  0  firmware can be run here, if with less comfort or confinement (`degraded`)
  1  something that is needed is missing")]
pub(crate) struct Args {
    /// Print JSON (schema sidecore.doctor/1)
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut checks =
        vec![machine(), kernel(), cpus(), seccomp(), executable_memory(), debug_seat(), runtime_dir()];
    checks.extend(sandbox());
    checks.push(boards());
    checks.push(terminal());
    let missing = checks.iter().any(|check| check.state == State::Missing);
    if args.json {
        print_json("sidecore.doctor/1", &Checks { ok: !missing, checks })?;
    } else {
        print(&checks.iter().map(Check::line).collect::<String>())?;
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Serialize)]
struct Checks {
    ok: bool,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Firmware runs, with less comfort or confinement.
    Degraded,
    /// Firmware does not run.
    Missing,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    fn degraded(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self { name, state: State::Degraded, found: found.into(), advice: Some(advice.to_owned()) }
    }

    fn missing(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        Self { name, state: State::Missing, found: found.into(), advice: Some(advice.to_owned()) }
    }

    fn line(&self) -> String {
        use anstyle::{AnsiColor, Style};
        let (word, color) = match self.state {
            State::Ok => ("ok", AnsiColor::Green),
            State::Degraded => ("degraded", AnsiColor::Yellow),
            State::Missing => ("missing", AnsiColor::Red),
        };
        let style = Style::new().bold().fg_color(Some(color.into()));
        let advice =
            self.advice.as_ref().map(|advice| format!("{:>24}{advice}\n", "next: ")).unwrap_or_default();
        format!("{style}{word:<8}{style:#}  {:<12}  {}\n{advice}", self.name, self.found)
    }
}

fn machine() -> Check {
    let arch = std::env::consts::ARCH;
    match Machine::NATIVE.filter(|machine| [Machine::X86_64, Machine::AARCH64].contains(machine)) {
        Some(_) => Check::ok("machine", format!("{arch}, {} built-in images", builtin::IMAGES.len())),
        None => Check::missing(
            "machine",
            format!("{arch}: no sandbox"),
            "The sandbox runs on x86_64 and aarch64.",
        ),
    }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < (5, 6) => Check::degraded(
            "kernel",
            format!("Linux {release}"),
            "Directories can be granted (--dir) from Linux 5.6 on.",
        ),
        (Some(_), Some(_)) => Check::ok("kernel", format!("Linux {release}")),
        _ => Check::degraded("kernel", "its release cannot be read", "Mount /proc."),
    }
}

fn cpus() -> Check {
    match sidecore_os::cpu_count() {
        1 => Check::degraded(
            "cpus",
            "1 may be used",
            "Messages take a context switch each way; allow this process a second CPU (taskset, cgroup).",
        ),
        count => Check::ok("cpus", format!("{count} may be used")),
    }
}

fn seccomp() -> Check {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("trap") => Check::ok("seccomp", "filters are there"),
        Ok(actions) => Check::missing(
            "seccomp",
            format!("its filters cannot trap ({})", actions.trim()),
            "Without a filter no firmware runs; use a kernel with CONFIG_SECCOMP_FILTER.",
        ),
        Err(error) => Check::degraded(
            "seccomp",
            format!("/proc/sys/kernel/seccomp cannot be read ({error})"),
            "Look at the sandbox check below: without seccomp filters no firmware runs.",
        ),
    }
}

fn executable_memory() -> Check {
    match fs::read_to_string("/proc/sys/vm/memfd_noexec").map(|policy| policy.trim().to_owned()).as_deref() {
        Ok("2") => Check::degraded(
            "memfd",
            "vm.memfd_noexec is 2: shared memory is not executable",
            "Firmware code is copied instead of shared; sysctl vm.memfd_noexec=1 allows sharing it.",
        ),
        Ok(policy) => {
            Check::ok("memfd", format!("vm.memfd_noexec is {policy}: shared memory may be executable"))
        }
        // Kernels before 6.3 have no such policy.
        Err(_) => Check::ok("memfd", "shared memory may be executable"),
    }
}

fn debug_seat() -> Check {
    let advice = "Crashes come without address and registers; sysctl kernel.yama.ptrace_scope=1 allows them.";
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .map(|scope| scope.trim().to_owned())
        .as_deref()
    {
        Ok(scope @ ("2" | "3")) => Check::degraded(
            "ptrace",
            format!("kernel.yama.ptrace_scope is {scope}: children cannot be watched"),
            advice,
        ),
        Ok(scope) => {
            Check::ok("ptrace", format!("kernel.yama.ptrace_scope is {scope}: children can be watched"))
        }
        Err(_) => Check::ok("ptrace", "children can be watched"),
    }
}

/// Whether others could attach to a remote: makes one with a name, which needs the directory.
fn runtime_dir() -> Check {
    let config = Config { name: Some(format!("doctor-{}", std::process::id())), ..Config::default() };
    match Sandbox::new(config) {
        Ok(_) => Check::ok("sockets", "remotes can be attached to"),
        Err(error) => Check::degraded(
            "sockets",
            error.to_string(),
            "Nobody can attach to running remotes; set XDG_RUNTIME_DIR to a directory of your own (mode 700).",
        ),
    }
}

/// Runs a built-in image and has it answer a message, which is the proof of all the rest.
fn sandbox() -> Vec<Check> {
    let began = Instant::now();
    let started = Image::open("echo".as_ref()).and_then(|image| {
        let mut processor = remote::load(&image, Settings::default(), Options::new("doctor"))?;
        processor.start().map_err(|error| remote::remote(&image, &error))?;
        Ok(processor)
    });
    let missing = |why: &dyn std::fmt::Display| {
        Check::missing(
            "sandbox",
            why.to_string(),
            "The reason says what failed; `sidecore ping -v` says more.",
        )
    };
    let processor = match started {
        Ok(processor) => processor,
        Err(failure) => return vec![missing(&failure)],
    };
    let mut checks: Vec<Check> =
        processor.remote().backend().findings().into_iter().map(confinement).collect();
    let answered =
        processor.open("rpmsg-echo", PATIENCE).map_err(|error| error.to_string()).and_then(|endpoint| {
            processor.send(endpoint, b"doctor", PATIENCE).map_err(|error| error.to_string())?;
            processor.receive(endpoint, Some(PATIENCE)).map(drop).map_err(|error| error.to_string())
        });
    checks.push(match answered {
        Ok(()) => {
            let took = began.elapsed().as_secs_f64() * 1e3;
            Check::ok("sandbox", format!("a remote answered its first message after {took:.1} ms"))
        }
        Err(why) => missing(&why),
    });
    checks
}

/// How many of the boards can be run here.
fn boards() -> Check {
    let (mut runs, mut all) = (0, 0);
    for board in Board::all() {
        all += 1;
        runs += u32::from(qemu::check(&board).is_ok());
    }
    let found = format!("{runs} of {all} can be emulated");
    if runs == all {
        return Check::ok("boards", found);
    }
    Check::degraded("boards", found, "`sidecore boards` says which, and what to install for the others.")
}

/// How long a remote may take to answer, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a remote was found to be confined by, or not.
fn confinement(finding: String) -> Check {
    if finding.starts_with("Landlock ABI") {
        return Check::ok("confinement", finding);
    }
    Check::degraded("confinement", finding, "Firmware runs all the same; see the message.")
}

fn terminal() -> Check {
    let is = |terminal| if terminal { "a terminal" } else { "no terminal" };
    let out = is(std::io::stdout().is_terminal());
    let err = is(std::io::stderr().is_terminal());
    let color = if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        ", NO_COLOR is set"
    } else {
        ""
    };
    Check::ok("terminal", format!("standard output: {out}, standard error: {err}{color}"))
}
