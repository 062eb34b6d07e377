//! A remote processor that the guest's kernel drives, by the command that lies beside us.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

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
    ("it_stops", stopped),
    ("the_kernel_has_nothing_to_complain_of", checks::calm),
];

/// The same for one that runs before the kernel does.
pub(crate) const RUNNING: &[Check] = &[
    ("one_that_runs_already_is_detached", detached),
    ("it_is_attached_and_detached_again", attached),
    ("it_stops", stopped),
    ("other_firmware_replaces_it", replaced),
    ("it_stops_again", stopped),
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
