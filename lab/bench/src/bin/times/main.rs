//! What messages cost between two processes, each on a processor of its own, and what the machine allows.
//!
//! Every measurement is made in every round, limits and messages by turns, so that a machine that is faster at one
//! moment than at the next is so for all of them; the median of the rounds counts. One line is printed for each:
//! name, payload in bytes, median, lowest and highest, in nanoseconds.

mod bell;
mod clock;
mod limits;
mod messages;
mod shared;

use std::os::fd::AsFd as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sidecore_os::{Channel, Child, EventFd, SharedMemory, die_with_parent};

use crate::clock::median;
use crate::messages::Sending::{Copied, InPlace, Varying};
use crate::shared::{LEN, Shared, Side};

/// Everything that is measured: its name, the sizes of payload, and how.
const PLAN: &[Measurement] = &[
    Measurement { name: "line_transfer", sizes: &[2], measure: |shared, _| limits::line(shared) },
    Measurement { name: "limit_round_trip", sizes: SIZES, measure: limits::copy },
    Measurement { name: "polled", sizes: SIZES, measure: |s, size| messages::polled(s, size, Copied) },
    Measurement {
        name: "polled_in_place",
        sizes: SIZES,
        measure: |s, size| messages::polled(s, size, InPlace),
    },
    Measurement {
        name: "polled_varying",
        sizes: SIZES,
        measure: |s, size| messages::polled(s, size, Varying),
    },
    Measurement { name: "doorbell_busy", sizes: SIZES, measure: messages::doorbell },
    Measurement { name: "single", sizes: SIZES, measure: |s, size| messages::throughput(s, size, Copied, 1) },
    Measurement {
        name: "single_in_place",
        sizes: SIZES,
        measure: |s, size| messages::throughput(s, size, InPlace, 1),
    },
    Measurement {
        name: "batched",
        sizes: SIZES,
        measure: |s, size| messages::throughput(s, size, Copied, 8),
    },
];

struct Measurement {
    name: &'static str,
    sizes: &'static [usize],
    /// Nanoseconds, at the host.
    measure: fn(&Shared, usize) -> Result<Option<f64>>,
}

/// Payloads in bytes; the last one fills a buffer.
const SIZES: &[usize] = &[16, 64, 256, 496];
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => host(),
        ["remote", cpu, parent] => remote(cpu, parent),
        _ => Err(anyhow::anyhow!("no arguments are taken")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-times: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn host() -> Result<()> {
    let cpus = sched_getaffinity(None).context("cannot ask for the processors")?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu));
    let (Some(ours), Some(theirs)) = (cpus.next(), cpus.next()) else {
        bail!(
            "two processors are needed, and this process may use one: nothing can be timed between two sides that never run at once"
        );
    };
    let memory = SharedMemory::create("bench", LEN)?;
    let bells = [EventFd::new(false)?, EventFd::new(false)?];
    let (channel, stdin) = Channel::pair()?;
    let program = std::env::current_exe().context("this program's own file")?;
    let parent = std::process::id().to_string();
    let _child =
        Child::spawn(&program, "bench-remote", &["remote", &theirs.to_string(), &parent], stdin.into())?;
    channel
        .send(b"bench", &[memory.as_fd(), bells[0].as_fd(), bells[1].as_fd()])
        .context("hand the memory over")?;
    pin(ours)?;
    let shared = Shared::new(Side::Host, &memory.map()?.region(), bells)?;
    let results = run(&shared)?;
    for (name, size, mut rounds) in results {
        let middle = median(&mut rounds);
        println!("{name} {size} {middle:.1} {:.1} {:.1}", rounds[0], rounds[rounds.len() - 1]);
    }
    Ok(())
}

fn remote(cpu: &str, parent: &str) -> Result<()> {
    if !die_with_parent(parent.parse()?) {
        bail!("nobody waits for the results");
    }
    pin(cpu.parse()?)?;
    let channel = Channel::from_stdin()?;
    channel.wait(None)?;
    let received = channel.receive(&mut [0; 16])?.context("nothing to share")?;
    let Ok([memory, host, remote]) = <[_; 3]>::try_from(received.fds) else { bail!("nothing to share") };
    let bells = [EventFd::adopt(host)?, EventFd::adopt(remote)?];
    let shared = Shared::new(Side::Remote, &SharedMemory::adopt(memory)?.map()?.region(), bells)?;
    run(&shared).map(drop)
}

/// Both sides do the same in the same order.
fn run(shared: &Shared) -> Result<Vec<(&'static str, usize, Vec<f64>)>> {
    let all =
        || PLAN.iter().flat_map(|measurement| measurement.sizes.iter().map(move |size| (measurement, *size)));
    let mut results: Vec<_> = all().map(|(measurement, size)| (measurement.name, size, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for ((measurement, size), (.., rounds)) in all().zip(&mut results) {
            shared.meet();
            rounds.extend((measurement.measure)(shared, size)?);
        }
    }
    shared.meet();
    Ok(results)
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("stay on processor {cpu}"))
}
