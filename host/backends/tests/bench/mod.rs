//! What the sandbox tests stand on: firmware written byte by byte, so that no compiler is needed, and a place for it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Tests; and each of them uses a part of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sidecore_backends::sandbox::{Config, Process, Role, Sandbox};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Access, Backend, Boot, Crash, Event, Memory};

pub mod code;

pub use code::Code;

/// Where code and data of the test images lie.
pub const TEXT: u64 = 0x1000_0000;
pub const DATA: u64 = 0x1010_0000;
/// How long anything may take on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for the sockets of one test, gone with it.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidecore-test-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn config(&self) -> Config {
        Config { runtime_dir: Some(self.0.clone()), ..config() }
    }

    /// A remote called `unique(name)`.
    pub fn named(&self, name: &str) -> Config {
        Config { name: Some(unique(name)), ..self.config() }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A name that no other run of these tests has.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// What the sockets of these remotes are called.
pub fn sockets<const N: usize>(names: [&str; N]) -> [String; N] {
    names.map(|name| format!("{}.sock", unique(name)))
}

pub fn config() -> Config {
    Config { warden: env!("CARGO_BIN_EXE_sidecore-warden").into(), ..Config::default() }
}

pub fn memory(name: &str, at: Option<u64>, len: u64, access: Access) -> Memory {
    Memory { name: name.to_owned(), at: at.map(DeviceAddr), len, align: 16, access }
}

/// Text at [`TEXT`], data at [`DATA`], 64 KiB each.
pub fn prepare(sandbox: &mut Sandbox) {
    let text = memory("text", Some(TEXT), 0x1_0000, Access::ReadExecute);
    let data = memory("data", Some(DATA), 0x1_0000, Access::ReadWrite);
    sandbox.prepare(&mut [text, data]).unwrap();
}

/// Loads and starts code that was made for the address of the hand-over page.
pub fn start(sandbox: &mut Sandbox, code: impl FnOnce(u64) -> Code) {
    let code = code(page(sandbox)).finish();
    sandbox.load(DeviceAddr(TEXT), &code).unwrap();
    sandbox.start(&Boot { entry: DeviceAddr(TEXT), table: Some((DeviceAddr(DATA), 0x100)) }).unwrap();
}

/// A remote that runs this code.
pub fn run(config: Config, code: impl FnOnce(u64) -> Code) -> Sandbox {
    let mut sandbox = Sandbox::new(config).unwrap();
    prepare(&mut sandbox);
    start(&mut sandbox, code);
    sandbox
}

/// Device address of the hand-over page: the last memory but one.
pub fn page(sandbox: &Sandbox) -> u64 {
    let windows: Vec<_> = sandbox.memories().windows().map(|window| window.start.0).collect();
    windows[windows.len() - 2]
}

pub fn load32(sandbox: &Sandbox, at: u64) -> u32 {
    sandbox.memories().resolve(DeviceAddr(at), 4).unwrap().load(0).unwrap()
}

pub fn store32(sandbox: &Sandbox, at: u64, value: u32) {
    sandbox.memories().resolve(DeviceAddr(at), 4).unwrap().store(0, value).unwrap();
}

/// The next event that is no kick.
pub fn end(sandbox: &mut Sandbox) -> Event {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match sandbox.wait(Some(PATIENCE), &mut || false).unwrap() {
            Some(Event::Kick) | None => {}
            Some(end) => return end,
        }
    }
    panic!("nothing happened to the remote");
}

pub fn crash(sandbox: &mut Sandbox) -> Crash {
    match end(sandbox) {
        Event::Crashed(crash) => crash,
        other => panic!("no crash but {other:?}"),
    }
}

/// Waits for something that another process does.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes of the remote `name`, or `unique(name)`, that are left: `(pid, "warden" or "remote")`.
pub fn processes(name: &str) -> Vec<(i32, String)> {
    let unique = unique(name);
    let all = Process::all().into_iter().filter(|process| process.remote == name || process.remote == unique);
    let word = |role| if role == Role::Warden { "warden" } else { "remote" }.to_owned();
    all.map(|process| (process.pid.as_raw_nonzero().get(), word(process.role))).collect()
}

/// The process number of a remote's `"warden"` or `"remote"`.
pub fn pid(name: &str, role: &str) -> i32 {
    let found = processes(name);
    found.iter().find(|(_, other)| other == role).unwrap_or_else(|| panic!("no {role} in {found:?}")).0
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The state letter of a process in `/proc`, `None` once it is gone.
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Children of this process that ended and were not reaped.
pub fn zombies() -> Vec<i32> {
    let me = std::process::id();
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    found.retain(|pid| *pid != me as i32 && state(*pid) == Some('Z'));
    found
}

/// Runs one test again in a process of its own, and says whether this is that process.
pub fn in_own_process(test: &str) -> bool {
    const OWN: &str = "SIDECORE_TEST_OWN_PROCESS";
    if std::env::var_os(OWN).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(OWN, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    false
}
