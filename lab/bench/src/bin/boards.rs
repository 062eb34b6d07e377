//! What messages cost on emulated boards, beside a bare exchange of the same bytes with the same core.
//!
//! `bench-boards bell|flag BOARD IMAGES`: with `bell` both ends sleep until a doorbell rings, on one processor; with `flag`
//! both look at memory, on a processor each. Either kind of exchange has a remote of its own; they take turns in rounds, so
//! that a machine that is slower at one moment is so for both. Printed are the medians of the rounds' medians in
//! nanoseconds, bare and by message, and the median, lowest and highest of the rounds' ratios.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sidecore_backends::qemu::{Board, Config, Qemu};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::Mapping;
use sidecore_processor::{Endpoint, Options, Processor};
use sidecore_remoteproc::{Access, Backend as _, Boot, Doorbell as _, Event, Firmware, Memory};

const ROUNDS: usize = 11;
/// Exchanges of a round; those of its first fifth are not counted.
const EXCHANGES: usize = 1500;
/// Bytes of a message.
const PAYLOAD: usize = 64;
/// How long one may take on a machine that does other things, too.
const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["bell", board, images] => measure(true, board, Path::new(images)),
        ["flag", board, images] => measure(false, board, Path::new(images)),
        _ => Err(anyhow!("usage: bench-boards bell|flag BOARD IMAGES")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-boards: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(asleep: bool, board: &str, images: &Path) -> Result<()> {
    let board = Board::find(board).with_context(|| format!("there is no board {board}"))?;
    if asleep {
        pin_to_one()?;
    }
    let mut bare = Bare::start(&board, images, asleep)?;
    let mut messages = Messages::start(&board, images, asleep)?;
    let (mut bares, mut rounds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // A remote that looks at memory has its processor to itself.
        rest(messages.pid()?, true)?;
        rest(bare.qemu.pid().context("the bare remote is gone")?, false)?;
        let one = median((0..EXCHANGES).map(|_| bare.exchange()).collect::<Result<_>>()?);
        rest(bare.qemu.pid().context("the bare remote is gone")?, true)?;
        rest(messages.pid()?, false)?;
        let other = median((0..EXCHANGES).map(|_| messages.exchange()).collect::<Result<_>>()?);
        bares.push(one);
        rounds.push(other);
        ratios.push(other / one);
    }
    let name = if asleep { "bell" } else { "flag" };
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ROUNDS - 1]);
    let middle = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[ROUNDS / 2]
    };
    let (bare, message) = (middle(bares), middle(rounds));
    println!("{name} {} {bare:.0} {message:.0} {:.2} {least:.2} {most:.2}", board.name, ratios[ROUNDS / 2]);
    Ok(())
}

/// Has an emulator do nothing, so that another one has the processor to itself.
fn rest(pid: i32, rest: bool) -> Result<()> {
    let pid = Pid::from_raw(pid).context("an emulator's number")?;
    kill_process(pid, if rest { Signal::STOP } else { Signal::CONT }).context("stop an emulator")
}

/// Sleeping and waking is slow at one moment and fast at the next where two processors share the work.
fn pin_to_one() -> Result<()> {
    let cpus = sched_getaffinity(None).context("the CPUs of this process")?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| cpus.is_set(*cpu)).context("no CPU")?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).context("one CPU for all")
}

fn median(times: Vec<Duration>) -> f64 {
    let mut counted: Vec<f64> = times[EXCHANGES / 5..].iter().map(|time| time.as_nanos() as f64).collect();
    counted.sort_by(f64::total_cmp);
    counted[counted.len() / 2]
}

fn image(images: &Path, name: &str) -> Result<Vec<u8>> {
    let path = images.join(name);
    fs::read(&path).with_context(|| format!("{}: cargo xtask images --all", path.display()))
}

/// The image `bare`, which says what it expects.
struct Bare {
    qemu: Qemu,
    memory: Region<std::sync::Arc<Mapping>>,
    asleep: bool,
    count: u16,
}

impl Bare {
    fn start(board: &Board, images: &Path, asleep: bool) -> Result<Self> {
        let bytes = image(images, "bare")?;
        let firmware = Firmware::parse(&bytes)?;
        let at = DeviceAddr(board.window.at + 4096);
        let memory = |name: &str, at, len| Memory {
            name: name.into(),
            at: Some(at),
            len,
            align: 4,
            access: Access::ReadWrite,
        };
        let mut memories: Vec<Memory> = firmware
            .segments()
            .iter()
            .map(|segment| memory(&segment.name, segment.at, segment.memsz))
            .collect();
        memories.push(memory("shared", at, 4096));
        let mut qemu = Qemu::new(Config::new(board.clone()))?;
        qemu.prepare(&mut memories)?;
        for segment in firmware.segments().iter().filter(|segment| !segment.bytes.is_empty()) {
            qemu.load(segment.at, segment.bytes)?;
        }
        let memory = qemu.memories().resolve(at, 4096).map_err(|error| anyhow!("{error}"))?;
        memory.store(4, u32::from(asleep)).map_err(|error| anyhow!("{error}"))?;
        qemu.start(&Boot { entry: firmware.entry(), table: None })?;
        let mut bare = Self { qemu, memory, asleep, count: 0 };
        bare.exchange()?;
        Ok(bare)
    }

    fn exchange(&mut self) -> Result<Duration> {
        let wrong = |error| anyhow!("{error}");
        let (theirs, ours) =
            (self.memory.word::<u16>(0).map_err(wrong)?, self.memory.word::<u16>(128).map_err(wrong)?);
        self.count = self.count.wrapping_add(1);
        let mut payload = [self.count as u8; PAYLOAD];
        let start = Instant::now();
        self.memory.write(64, &payload).map_err(wrong)?;
        theirs.store_release(self.count);
        if self.asleep {
            self.qemu.doorbell().ring(0);
        }
        while ours.load_acquire() != self.count {
            if self.asleep {
                let mut ready = || ours.load_acquire() == self.count;
                match self.qemu.wait(Some(SOON), &mut ready)? {
                    Some(Event::Kick) => {}
                    other => bail!("the bare remote: {other:?}"),
                }
            } else {
                ensure!(start.elapsed() < SOON, "the bare remote does not answer");
                std::hint::spin_loop();
            }
        }
        self.memory.read(192, &mut payload).map_err(wrong)?;
        let time = start.elapsed();
        ensure!(payload == [self.count as u8; PAYLOAD], "another payload");
        Ok(time)
    }
}

/// The image `echo`, or `busy` that never sleeps, and our whole main side.
struct Messages {
    processor: Processor<Qemu>,
    echo: Endpoint,
    count: u8,
}

impl Messages {
    fn start(board: &Board, images: &Path, asleep: bool) -> Result<Self> {
        let mut options = Options::new("echo");
        // Longer than any answer takes; when nothing comes it sleeps, and hears the emulator.
        options.spin = if asleep { Duration::ZERO } else { Duration::from_millis(1) };
        let mut processor = Processor::new(Qemu::new(Config::new(board.clone()))?, options);
        let bytes = image(images, if asleep { "echo" } else { "busy" })?;
        processor.load(&Firmware::parse(&bytes)?)?;
        processor.start()?;
        let echo = processor.open("rpmsg-echo", SOON)?;
        Ok(Self { processor, echo, count: 0 })
    }

    fn pid(&self) -> Result<i32> {
        self.processor.remote().backend().pid().context("the remote is gone")
    }

    fn exchange(&mut self) -> Result<Duration> {
        self.count = self.count.wrapping_add(1);
        let mut payload = [self.count; PAYLOAD];
        let start = Instant::now();
        self.processor.send(self.echo, &payload, SOON)?;
        let answer = self.processor.receive(self.echo, Some(SOON))?;
        answer.read(0, &mut payload).map_err(|error| anyhow!("{error}"))?;
        drop(answer);
        let time = start.elapsed();
        ensure!(payload == [self.count; PAYLOAD], "another answer");
        Ok(time)
    }
}
