//! Running the command, with an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sidecore_backends::sandbox::Process;

/// The command, with nothing of the user's in its environment.
pub(crate) fn sidecore() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::from_std(plain());
    // Ten times what anything here takes on a busy machine.
    command.timeout(Duration::from_secs(60));
    command
}

/// The same for tests that look after the process themselves.
pub(crate) fn plain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecore"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    // Tests that keep something say where.
    command.env("XDG_STATE_HOME", "/proc/nowhere");
    command
}

/// A directory that is there as long as this.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidecore-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until something is true, as long as a busy machine may need.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a program's end, as long as a busy machine may need; one that stays is killed and named.
#[track_caller]
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("process {} never ended", child.id());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes of remotes that this main side started: wardens and remotes carry its process number in their names.
pub(crate) fn remotes_of(main: u32) -> Vec<Process> {
    let name = format!("remote-{main}-");
    let mut all = Process::all();
    all.retain(|process| process.remote.starts_with(&name));
    all
}

/// A little-endian ELF file for any machine, with one segment of code and nothing else.
pub(crate) fn elf(class: u8, machine: u16) -> Vec<u8> {
    let mut file = b"\x7fELF".to_vec();
    file.extend([class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let wide = class == 2;
    let put = |file: &mut Vec<u8>, value: u32, wide: bool| {
        file.extend(value.to_le_bytes());
        if wide {
            file.extend([0; 4]);
        }
    };
    file.extend(2_u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    put(&mut file, 1, false);
    let (header, program) = if wide { (64, 56) } else { (52, 32) };
    for value in [0x1000, header, 0] {
        put(&mut file, value, wide);
    }
    put(&mut file, 0, false);
    for value in [header as u16, program, 1, if wide { 64 } else { 40 }, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    put(&mut file, 1, false);
    if wide {
        put(&mut file, 5, false);
    }
    for value in [0, 0x1000, 0x1000, 16, 16] {
        put(&mut file, value, wide);
    }
    if !wide {
        put(&mut file, 5, false);
    }
    put(&mut file, 4, wide);
    file
}
