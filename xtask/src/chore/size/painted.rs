//! The image that measures its own stack, run in QEMU.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sidecore_wire::sandbox as page;

/// Bytes of stack for sending and receiving, and of the memory that the remote keeps its state in.
pub(super) struct Measured {
    pub(super) send: u64,
    pub(super) receive: u64,
    pub(super) state: u64,
}

const QEMU: &str = "qemu-system-arm";

/// The board's memory and, in it, the page in which the firmware says how it ended.
const MEMORY: u64 = 16 << 20;
const PAGE: usize = 8 << 20;

/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the image; `None` where there is no QEMU.
///
/// # Errors
/// It ended with no such numbers, or did not end.
pub(super) fn run(image: &Path) -> Result<Option<Measured>> {
    if Command::new(QEMU).arg("--version").output().is_err() {
        return Ok(None);
    }
    let memory = Memory::new()?;
    let mut qemu = Command::new(QEMU);
    qemu.args(["-M", "mps2-an386,memory-backend=ram", "-global", "armv7m.init-nsvtor=0x21000000"]);
    let file = memory.0.display();
    qemu.arg("-object").arg(format!("memory-backend-file,id=ram,size={MEMORY},mem-path={file},share=on"));
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "null", "-serial", "null", "-kernel"]);
    let qemu = qemu.arg(image).stdin(Stdio::null()).spawn().with_context(|| QEMU.to_owned())?;
    let _running = Running(qemu);

    let start = Instant::now();
    while start.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(20));
        match memory.word(page::STATE)? {
            page::STATE_ENDED => return numbers(memory.word(page::EXIT_CODE)?).map(Some),
            page::STATE_CRASHED => bail!("{} crashed", image.display()),
            _ => {}
        }
    }
    bail!("{} did not end in {LIMIT:?}", image.display())
}

/// The three numbers in the exit code: 10 bits each.
fn numbers(code: u32) -> Result<Measured> {
    let number = |place: u32| u64::from(code >> (10 * place) & 0x3FF);
    if code >> 30 != 0 {
        bail!("the image that measures its stack failed");
    }
    Ok(Measured { send: number(2), receive: number(1), state: number(0) })
}

/// The file that is the board's memory; goes when it is dropped.
struct Memory(PathBuf);

impl Memory {
    fn new() -> Result<Self> {
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared.to_owned() } else { env::temp_dir() };
        let memory = Self(folder.join(format!("sidecore-size-{}", process::id())));
        let file = fs::File::create_new(&memory.0).with_context(|| memory.0.display().to_string())?;
        file.set_len(MEMORY)?;
        Ok(memory)
    }

    /// A word of the page.
    fn word(&self, at: usize) -> Result<u32> {
        let bytes = fs::read(&self.0).with_context(|| self.0.display().to_string())?;
        let word = bytes.get(PAGE + at..).and_then(|rest| rest.first_chunk());
        Ok(u32::from_le_bytes(*word.context("the board's memory became shorter")?))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// Ends the emulator when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_come_in_one_and_failures_are_none() {
        let Measured { send, receive, state } = numbers(72 << 20 | 80 << 10 | 124).unwrap();
        assert_eq!((send, receive, state), (72, 80, 124));
        assert!(numbers(u32::MAX).is_err());
    }
}
