//! A remote processor that the guest's kernel drives, by the command that lies beside us.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::checks::{self, Check};
use crate::endpoint::{self, message};
use crate::log::Log;
use crate::wait;

/// In this order: one starts it, and the others find it running.
pub(crate) const CHECKS: &[Check] = &[
    ("it_is_listed_and_offline", listed),
    ("firmware_is_loaded_and_started", started),
    ("its_trace_can_be_read", trace),
    ("its_channels_echo_at_every_edge", one_edge),
    ("its_tty_echoes", checks::tty),
    ("its_endpoints_are_created_and_destroyed", checks::endpoints),
    ("messages_to_nobody_cost_nothing", nobody),
    ("the_command_pings_it", ping),
    ("it_stops_and_starts_twenty_times", cycles),
    ("crashes_with_messages_under_way_are_recovered", crashes),
    ("a_watchdog_s_crash_is_recovered", watchdog),
    ("without_recovery_it_stays_crashed", unrecovered),
    ("an_ordinary_user_is_told_what_is_missing", ordinary),
    ("it_stops", stopped),
    ("firmware_runs_as_a_program", programs),
    ("a_program_that_crashes_or_is_interrupted_leaves_it_offline", ends),
    ("the_kernel_has_nothing_to_complain_of", checks::calm),
];

/// The same for one that runs before the kernel does.
pub(crate) const RUNNING: &[Check] = &[
    ("one_that_runs_already_is_detached", detached),
    ("it_is_attached_and_detached_again", attached),
    ("it_stops", stopped),
    ("other_firmware_replaces_it", replaced),
    ("it_stops_again", stopped),
    ("firmware_that_was_given_is_found", given),
    ("the_kernel_has_nothing_to_complain_of", checks::calm),
];

const NODE: &str = "/sys/class/remoteproc/remoteproc0";
const FIRMWARE: &str = "/firmware.elf";

/// How often it crashes.
const CRASHES: usize = 40;

/// Whether the coprocessor is a process, which executes nothing of what is loaded.
fn is_process() -> bool {
    env::var_os("coprocessor").is_some_and(|kind| kind == "process")
}

/// What the command says on its standard output.
fn sidecore(arguments: &[&str]) -> Result<String> {
    let output = Command::new("/bin/sidecore").args(arguments).output().context("/bin/sidecore")?;
    if !output.status.success() {
        bail!("sidecore {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn state() -> String {
    fs::read_to_string(format!("{NODE}/state")).unwrap_or_default().trim().to_owned()
}

fn state_is(wanted: &str) -> Result<()> {
    wait::until(&format!("the state does not become {wanted}, it is {}", state()), || {
        (state() == wanted).then_some(())
    })
}

/// It runs, and answers on a channel that was announced since.
fn alive() -> Result<()> {
    state_is("running")?;
    wait::until("it does not answer", || {
        endpoint::raw(1).ok()?.first()?.echoes(b"are you there?").is_ok().then_some(())
    })
}

fn listed(_: &mut Log) -> Result<()> {
    wait::until("there is no remote processor", || fs::exists(NODE).ok()?.then_some(()))?;
    let text = sidecore(&["ps"])?;
    ensure!(
        text.lines().nth(1).is_some_and(|row| row.contains("remoteproc0") && row.contains("offline")),
        "{text}"
    );
    Ok(())
}

fn started(_: &mut Log) -> Result<()> {
    sidecore(&["start", "remoteproc0", FIRMWARE])?;
    alive()?;
    let text = sidecore(&["ps", "--json"])?;
    ensure!(text.contains("\"running\"") && text.contains("\"rpmsg-echo\""), "{text}");
    Ok(())
}

fn trace(_: &mut Log) -> Result<()> {
    let text = sidecore(&["logs", "remoteproc0"])?;
    let expected = if is_process() { "coprocessor: start 1\n" } else { "drivers: up\n" };
    ensure!(text.contains(expected), "{text:?}");
    Ok(())
}

fn one_edge(_: &mut Log) -> Result<()> {
    checks::echo_at_every_edge(1)
}

fn nobody(log: &mut Log) -> Result<()> {
    checks::nobody(log)
}

fn ping(_: &mut Log) -> Result<()> {
    let arguments = ["ping", "--on", "remoteproc0", "--count", "4000", "--size", "0,1,32,495,max"];
    print!(
        "measured: {}",
        sidecore(&arguments)?.replace('\n', "\nmeasured: ").trim_end_matches("measured: ")
    );
    // One that is ours goes with the command.
    ensure!(endpoint::nodes().len() == 1, "{:?} are left", endpoint::nodes());
    Ok(())
}

fn cycles(_: &mut Log) -> Result<()> {
    for _ in 0..20 {
        sidecore(&["stop", "remoteproc0"])?;
        ensure!(state() == "offline", "{}", state());
        sidecore(&["start", "remoteproc0"])?;
        ensure!(state() == "running", "{}", state());
    }
    alive()
}

fn crash() -> Result<()> {
    fs::write("/sys/kernel/debug/remoteproc/remoteproc0/crash", "3").context("debugfs crash")
}

fn crashes(log: &mut Log) -> Result<()> {
    for round in 0..CRASHES {
        let endpoints = endpoint::raw(1)?;
        let recovered = log.count("remote processor m4 is now up");
        for number in 0..16 {
            endpoints[0].send(&message(number, 100))?;
        }
        crash()?;
        drop(endpoints);
        log.said("remote processor m4 is now up", recovered + 1).with_context(|| format!("crash {round}"))?;
        alive().with_context(|| format!("crash {round}"))?;
    }
    println!("measured: {CRASHES} crashes with messages under way, {CRASHES} recoveries");
    Ok(())
}

fn watchdog(log: &mut Log) -> Result<()> {
    let seen = log.count("crash detected in m4: type watchdog");
    let endpoint = endpoint::Endpoint::create(endpoint::address("rpmsg-crash")?)?;
    endpoint.send(b"now")?;
    log.said("crash detected in m4: type watchdog", seen + 1)?;
    drop(endpoint);
    alive()
}

fn unrecovered(_: &mut Log) -> Result<()> {
    fs::write(format!("{NODE}/recovery"), "disabled")?;
    crash()?;
    state_is("crashed")?;
    let text = sidecore(&["ps"])?;
    ensure!(text.contains("crashed"), "{text}");
    fs::write(format!("{NODE}/recovery"), "recover")?;
    alive()?;
    fs::write(format!("{NODE}/recovery"), "enabled").context("recovery")
}

fn stopped(_: &mut Log) -> Result<()> {
    sidecore(&["stop", "remoteproc0"])?;
    state_is("offline")?;
    ensure!(sidecore(&["stop", "remoteproc0"]).is_err(), "it can be stopped twice");
    Ok(())
}

fn detached(_: &mut Log) -> Result<()> {
    wait::until("there is no remote processor", || fs::exists(NODE).ok()?.then_some(()))?;
    state_is("detached")?;
    let text = sidecore(&["ps"])?;
    ensure!(text.contains("detached"), "{text}");
    Ok(())
}

fn attached(_: &mut Log) -> Result<()> {
    for _ in 0..3 {
        sidecore(&["start", "remoteproc0"])?;
        state_is("attached")?;
        wait::until("it does not answer", || {
            endpoint::raw(1).ok()?.first()?.echoes(b"are you there?").is_ok().then_some(())
        })?;
        sidecore(&["stop", "--detach", "remoteproc0"])?;
        state_is("detached")?;
        ensure!(endpoint::nodes().is_empty(), "channels stay: {:?}", endpoint::nodes());
    }
    sidecore(&["start", "remoteproc0"])?;
    state_is("attached")
}

fn replaced(_: &mut Log) -> Result<()> {
    sidecore(&["start", "remoteproc0", FIRMWARE])?;
    alive()?;
    let text = sidecore(&["ps"])?;
    ensure!(text.contains("sidecore-remoteproc0-firmware.elf"), "{text}");
    Ok(())
}

/// By the name that the kernel's driver has for it.
fn given(_: &mut Log) -> Result<()> {
    sidecore(&["start", "remoteproc0", "rproc-m4-fw"])?;
    alive()?;
    sidecore(&["stop", "remoteproc0"]).map(drop)
}

/// Somebody's number, and that of the group in `/etc/group`.
const USER: u32 = 1000;

/// What the command says to an ordinary user on its standard error, and whether it did as it was told.
fn as_user(arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new("/bin/sidecore");
    let output = command.args(arguments).uid(USER).gid(USER).output().context("/bin/sidecore")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn ordinary(_: &mut Log) -> Result<()> {
    let rule = sidecore(&["ps", "--rule"])?;
    let orders: [&[&str]; 4] = [
        &["stop", "remoteproc0"],
        &["start", "remoteproc0", FIRMWARE],
        &["ping", "--on", "remoteproc0", "--count", "1"],
        &["logs", "remoteproc0"],
    ];
    for order in orders {
        let (done, told) = as_user(order)?;
        ensure!(!done && told.contains(&rule), "{order:?}: {told}");
        let why = if order[0] == "start" { "for root to put there" } else { "belongs to 0:root" };
        ensure!(told.contains(why), "{order:?}: {told}");
    }
    ensure!(as_user(&["ps"])?.0, "an ordinary user cannot see what there is");

    // As the rule has it; there is nobody here who follows it.
    for attribute in ["state", "firmware", "recovery", "coredump"] {
        let path = format!("{NODE}/{attribute}");
        chown(&path, None, Some(USER)).with_context(|| path.clone())?;
        fs::set_permissions(&path, Permissions::from_mode(0o664)).with_context(|| path.clone())?;
    }
    for order in [&["stop", "remoteproc0"][..], &["start", "remoteproc0", "rproc-m4-fw"]] {
        let (done, told) = as_user(order)?;
        ensure!(done, "{order:?}: {told}");
    }
    // The group is there, and this user's, but the file is not its.
    let (_, told) = as_user(&["ping", "--on", "remoteproc0", "--count", "1"])?;
    ensure!(told.contains("/dev/rpmsg"), "{told}");
    alive()
}

/// Runs an image as a program: its exit code, and its output.
fn program(image: &str, options: &[&str], arguments: &[&str], input: &[u8]) -> Result<(i32, Vec<u8>)> {
    let image = format!("/images/{image}");
    let mut command = Command::new("/bin/sidecore");
    command.args(["run", &image, "--on", "remoteproc0"]).args(options).arg("--").args(arguments);
    fs::write("/tmp/input", input)?;
    let output = command.stdin(File::open("/tmp/input")?).stderr(Stdio::inherit()).output()?;
    ensure!(state() == "offline", "after {image} it is {}", state());
    Ok((output.status.code().unwrap_or(-1), output.stdout))
}

fn programs(_: &mut Log) -> Result<()> {
    if is_process() {
        return Ok(());
    }
    let (code, output) = program("hello", &[], &["you", "and you"], b"")?;
    let text = String::from_utf8_lossy(&output);
    ensure!(
        code == 0 && text == "Hello from the remote, you!\nHello from the remote, and you!\n",
        "{code} {text}"
    );

    let input = message(1, 100_000);
    let (code, output) = program("cat", &[], &[], &input)?;
    ensure!(code == 0 && output == input, "cat ended with {code}, {} bytes came", output.len());

    fs::create_dir_all("/tmp/files")?;
    fs::write("/tmp/files/one", &input)?;
    let copy = ["data/one", "data/two"];
    let (code, _) = program("copy", &["--dir", "/tmp/files:data"], &copy, b"")?;
    ensure!(code == 0 && fs::read("/tmp/files/two")? == input, "copy ended with {code}");
    fs::remove_file("/tmp/files/two")?;
    let (code, _) = program("copy", &["--dir", "/tmp/files:data:ro"], &copy, b"")?;
    ensure!(code != 0 && !fs::exists("/tmp/files/two")?, "copy wrote where it may only read: {code}");
    Ok(())
}

fn ends(_: &mut Log) -> Result<()> {
    if is_process() {
        return Ok(());
    }
    let (code, _) = program("crash", &[], &["exit", "7"], b"")?;
    ensure!(code == 7, "it ended with {code} in place of 7");
    for how in ["illegal", "panic"] {
        let (code, _) = program("crash", &[], &[how], b"")?;
        ensure!(code == 134, "it ended with {code} by {how}");
    }
    let mut child =
        Command::new("/bin/sidecore").args(["run", "/images/echo", "--on", "remoteproc0"]).spawn()?;
    endpoint::address("rpmsg-echo")?;
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT)?;
    let code = child.wait()?.code();
    ensure!(code == Some(130) && state() == "offline", "{code:?}, {}", state());
    Ok(())
}
