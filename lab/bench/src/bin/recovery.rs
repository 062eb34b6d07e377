//! How long it takes until a sandbox remote answers again that crashed, with an image of 1 MiB.
//!
//! `bench-recovery ECHO`: the image `echo` for this machine's sandbox, to which a segment is added that makes it so large.
//! Its process is sent SIGSEGV, as by a bad access; timed is from there until a message has come back: the crash noticed
//! and told, the decision, memories made and filled anew, the start, the announcement. Nothing is dumped. Plain restarts and
//! silent ones take turns. One line is printed for each: name, bytes of the image, median, least and most in nanoseconds.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use sidecore_backends::sandbox::{self, Process, Role, Sandbox};
use sidecore_processor::{Ended, Endpoint, Options, Processor};
use sidecore_remoteproc::Firmware;
use sidecore_remoteproc::recovery::{Policy, Recovery, Remedy};

/// Bytes of the image's segments, together.
const SIZE: usize = 1 << 20;
/// Where there is room for what makes it so large.
const ROOM: u64 = 0x1800_0000;
/// Crashes of either kind.
const CRASHES: usize = 100;
/// How long anything may take on a machine that does other things, too.
const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    sandbox::hook();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [echo] => measure(echo),
        _ => Err(anyhow::anyhow!("usage: bench-recovery ECHO")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-recovery: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(echo: &str) -> Result<()> {
    let image = enlarged(fs::read(echo).with_context(|| echo.to_owned())?)?;
    let sandbox = Sandbox::new(sandbox::Config::default())?;
    let mut processor = Processor::new(sandbox, Options::new("echo"));
    processor.load(&Firmware::parse(&image)?)?;
    processor.start()?;
    let mut endpoint = processor.open("rpmsg-echo", SOON)?;
    answered(&processor, endpoint)?;
    let kinds = [("restart", Remedy::Restart), ("restart_silent", Remedy::RestartSilently { within: SOON })];
    let mut times = kinds.map(|_| Vec::new());
    for _ in 0..CRASHES {
        for ((_, remedy), times) in kinds.iter().zip(&mut times) {
            let name = processor.remote().backend().name().to_owned();
            let pid = Process::find(&name, Role::Remote).context("it has no process")?.pid;
            let begin = Instant::now();
            kill_process(pid, Signal::SEGV)?;
            while processor.ended().is_none() {
                ensure!(processor.wait(Some(SOON)), "its crash is not noticed");
            }
            ensure!(matches!(processor.ended(), Some(Ended::Crashed(_))), "it did not crash");
            let mut recovery = Recovery::new(Policy::of(*remedy, 1));
            processor.decide(&mut recovery, Duration::ZERO);
            processor.restart(Duration::ZERO)?;
            if *remedy == Remedy::Restart {
                endpoint = processor.open("rpmsg-echo", SOON)?;
            }
            answered(&processor, endpoint)?;
            times.push(begin.elapsed());
        }
    }
    for ((name, _), mut times) in kinds.into_iter().zip(times) {
        times.sort();
        let [median, least, most] = [CRASHES / 2, 0, CRASHES - 1].map(|at| times[at].as_nanos());
        println!("{name} {SIZE} {median} {least} {most}");
    }
    Ok(())
}

fn answered(processor: &Processor<Sandbox>, endpoint: Endpoint) -> Result<()> {
    processor.send(endpoint, b"are you there?", SOON)?;
    let answer = processor.receive(endpoint, Some(SOON))?.to_vec()?;
    ensure!(answer == b"are you there?", "it answers {answer:?}");
    Ok(())
}

/// The file with a segment in place of its notes, which are for debuggers alone, so that all are [`SIZE`] together.
fn enlarged(mut file: Vec<u8>) -> Result<Vec<u8>> {
    const NOTE: u32 = 4;
    let word = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
    let kind = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let headers = word(32).context("no ELF file")? as usize;
    let at = (0..16).map(|number| headers + 56 * number).find(|at| kind(*at) == Some(NOTE));
    let at = at.context("it has no notes")?;
    let used: usize = Firmware::parse(&file)?.segments().iter().map(|segment| segment.bytes.len()).sum();
    let len = SIZE.checked_sub(used).context("it is larger already")?;
    let offset = file.len().next_multiple_of(4096);
    // Loaded, read only; offset, both addresses, both sizes, alignment.
    let mut header = [1_u32.to_le_bytes(), 4_u32.to_le_bytes()].concat();
    let words = [offset as u64, ROOM, ROOM, len as u64, len as u64, 4096];
    header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    file.get_mut(at..at + 56).context("no ELF file")?.copy_from_slice(&header);
    file.resize(offset + len, 0xa5);
    Ok(file)
}
