//! What the guest's kernel and the device are held to.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sidecore_os::{RPMSG_ADDRESS_ANY, RpmsgEndpoint};

use crate::endpoint::{self, Endpoint, PAYLOAD, address, message};
use crate::log::Log;
use crate::wait;

/// Something that is tried.
pub(crate) type Check = (&'static str, fn(&mut Log) -> Result<()>);

/// In this order: the last one ends the device.
pub(crate) const CHECKS: &[Check] = &[
    ("the_device_is_online", online),
    ("channels_have_devices_that_echo_at_every_edge", edges),
    ("a_tty_echoes_whatever_is_written", tty),
    ("the_sample_client_runs_to_its_end", sample),
    ("endpoints_are_created_and_destroyed", endpoints),
    ("channels_are_created_and_released", channels),
    ("messages_to_nobody_cost_nothing", nobody),
    ("a_flood_that_nobody_answers_passes", flood),
    ("many_channels_talk_at_once", many),
    ("the_kernel_has_nothing_to_complain_of", calm),
    ("channels_go_when_they_are_withdrawn", withdrawn),
];

/// Does all, and says what came of each. Whether all went well.
pub(crate) fn run(checks: &[Check], log: &mut Log) -> bool {
    let mut failed = 0;
    for (name, check) in checks {
        match check(log) {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED: {error:#}");
            }
        }
    }
    if failed > 0 {
        log.tail().for_each(|line| println!("kernel: {line}"));
    }
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {outcome}. {} passed; {failed} failed", checks.len() - failed);
    failed == 0
}

fn online(log: &mut Log) -> Result<()> {
    log.said("rpmsg host is online", 1)
}

fn edges(_: &mut Log) -> Result<()> {
    echo_at_every_edge(2)
}

/// Over so many channels with devices.
pub(crate) fn echo_at_every_edge(channels: usize) -> Result<()> {
    let sizes =
        [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 255, 256, 257, 479, 480, 481, 494, 495, PAYLOAD];
    for endpoint in endpoint::raw(channels)? {
        for size in sizes {
            endpoint.echoes(&message(size, size))?;
        }
        for size in [PAYLOAD + 1, 512, 513, 4096] {
            let refused = endpoint.send(&message(size, size)).err().and_then(|error| error.raw_os_error());
            ensure!(refused == Some(Errno::MSGSIZE.raw_os_error()), "{size} bytes: error {refused:?}");
        }
        // What was refused left nothing behind.
        endpoint.echoes(b"after that")?;
    }
    Ok(())
}

pub(crate) fn tty(_: &mut Log) -> Result<()> {
    let path = Path::new("/dev/ttyRPMSG0");
    wait::until("no /dev/ttyRPMSG0", || path.exists().then_some(()))?;
    let mut tty = File::options().read(true).write(true).open(path)?;
    let mut modes = tcgetattr(&tty)?;
    modes.make_raw();
    tcsetattr(&tty, OptionalActions::Now, &modes)?;
    for length in [1, 16, PAYLOAD, PAYLOAD + 1, 2000] {
        let sent = message(length, length);
        tty.write_all(&sent)?;
        let mut back = vec![0; length];
        tty.read_exact(&mut back)?;
        ensure!(back == sent, "{length} bytes came back changed");
    }
    Ok(())
}

fn sample(log: &mut Log) -> Result<()> {
    const MODULE: &str = "rpmsg_client_sample";
    for round in 1..=2 {
        let file = File::open(format!("/{MODULE}.ko")).context(MODULE)?;
        finit_module(&file, &CString::default(), 0).context("the module is not taken")?;
        log.said("goodbye!", round)?;
        let messages = log.count("incoming msg");
        ensure!(messages == 100 * round, "{messages} messages came in {round} runs");
        delete_module(&CString::new(MODULE)?, 0).context("the module does not go")?;
    }
    Ok(())
}

pub(crate) fn endpoints(_: &mut Log) -> Result<()> {
    let echo = address("rpmsg-echo")?;
    for round in 0..20 {
        let first = Endpoint::create(echo)?;
        let second = Endpoint::create(echo)?;
        first.echoes(&message(round, 100))?;
        second.echoes(&message(round, PAYLOAD))?;
        first.destroy()?;
        second.echoes(b"the other one went")?;
        second.destroy()?;
    }
    // With a message under way that nobody will take.
    let endpoint = Endpoint::create(echo)?;
    endpoint.send(b"late")?;
    endpoint.destroy()?;
    let endpoint = Endpoint::create(echo)?;
    endpoint.echoes(b"another one's")?;
    endpoint.destroy()
}

fn channels(_: &mut Log) -> Result<()> {
    let echo = address("rpmsg-echo")?;
    let control = endpoint::control()?;
    // One with an address of its own is announced to the remote, too.
    for source in [RPMSG_ADDRESS_ANY, 700] {
        let before = endpoint::nodes();
        let channel = RpmsgEndpoint::new("rpmsg-raw", source, echo)?;
        channel.create_channel(&control)?;
        let node = wait::until("no device of the channel that was created", || {
            endpoint::nodes().into_iter().find(|node| !before.contains(node))
        })?;
        let path = Path::new("/dev").join(node.file_name().unwrap_or_default());
        wait::until("no node of the channel that was created", || path.exists().then_some(()))?;
        Endpoint::open(&path)?.echoes(b"made on demand")?;
        channel.release_channel(&control)?;
        wait::until("the released channel has its node", || (!path.exists()).then_some(()))?;
    }
    Ok(())
}

pub(crate) fn nobody(_: &mut Log) -> Result<()> {
    let astray = Endpoint::create(0x7fff_fff0)?;
    for number in 0..1000 {
        astray.send(&message(number, number % 497))?;
    }
    astray.destroy()?;
    endpoint::raw(1)?.iter().try_for_each(|endpoint| endpoint.echoes(b"still there"))
}

fn flood(_: &mut Log) -> Result<()> {
    let sink = Endpoint::create(address("rpmsg-discard")?)?;
    for number in 0..5000 {
        sink.send(&message(number, number % 497))?;
    }
    sink.destroy()?;
    endpoint::raw(1)?.iter().try_for_each(|endpoint| endpoint.echoes(b"still there"))
}

fn many(_: &mut Log) -> Result<()> {
    let echo = address("rpmsg-echo")?;
    let mut talking = endpoint::raw(2)?;
    let announced = talking.len();
    for _ in 0..6 {
        talking.push(Endpoint::create(echo)?);
    }
    let outcomes: Vec<Result<()>> = thread::scope(|scope| {
        let start =
            |(seed, endpoint): (usize, &'_ Endpoint)| -> Result<()> { endpoint.converses(seed * 1000, 300) };
        let threads: Vec<_> =
            talking.iter().enumerate().map(|talker| scope.spawn(move || start(talker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a panic")))).collect()
    });
    outcomes.into_iter().collect::<Result<Vec<()>>>()?;
    talking.drain(announced..).try_for_each(Endpoint::destroy)
}

/// What a kernel says of itself when it is broken.
const TROUBLE: &[&str] = &[
    "BUG: ",
    "WARNING: ",
    "Oops",
    "Call Trace",
    "Call trace",
    "nobody cared",
    "while atomic",
    "blocked for more than",
];

pub(crate) fn calm(log: &mut Log) -> Result<()> {
    TROUBLE.iter().try_for_each(|trouble| {
        let count = log.count(trouble);
        ensure!(count == 0, "the kernel says `{trouble}` {count} times");
        Ok(())
    })
}

/// Asks for the end of all channels by a word on the console, and sees them go.
fn withdrawn(log: &mut Log) -> Result<()> {
    let endpoints = endpoint::raw(2)?;
    println!("guest: withdraw the channels");
    log.said("destroying channel", CHANNELS)?;
    for Endpoint { path, .. } in &endpoints {
        wait::until("a withdrawn channel has its node", || (!path.exists()).then_some(()))?;
    }
    let left = fs::read_dir("/sys/class/tty").into_iter().flatten().flatten();
    if left.into_iter().any(|tty| tty.file_name().to_string_lossy().starts_with("ttyRPMSG")) {
        bail!("the tty stays");
    }
    // Whoever has one open is told.
    let error = endpoints[0].send(b"anybody?").err().and_then(|error| error.raw_os_error());
    ensure!(error.is_some(), "a message to a channel that went was sent");
    Ok(())
}

/// Those that the device is started with: two `raw`, `tty`, `echo`, `discard` and `sample`.
const CHANNELS: usize = 6;
