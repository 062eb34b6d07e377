//! The machine, put together.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use sidecore_os::{Lent, Registers};
use sidecore_vhost_user::Channel;

use crate::control::{Control, Lost};
use crate::coprocessor::{Coprocessor, Crasher};
use crate::mailbox::Mailbox;

/// The machine's memory, by Linux' addresses.
pub(crate) const RAM: Range<u32> = 0x4000_0000..0x6000_0000;
/// Where the registers lie that Linux and the coprocessor share.
const SYSTEM: usize = 0x1020_0000;
const RESET: usize = 0x1021_0000;
const MAILBOX: usize = 0x1022_0000;
/// The interrupt of the coprocessor's watchdog.
const WATCHDOG: u32 = 202;
/// How long the coprocessor and the mailbox sleep when there is nothing to do: nobody wakes whoever waits for memory.
const LOOK: Duration = Duration::from_micros(50);
/// Looks without anything to do after which they are taken less often.
const IDLE_LOOKS: u32 = 20_000;
/// How long the sleep is then.
const IDLE_LOOK: Duration = Duration::from_millis(1);

/// What the machine is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kernel, for 32-bit Arm: `vmlinuz` of Debian's `linux-image-armmp`, for one.
    pub kernel: PathBuf,
    /// Its initial file system.
    pub initrd: PathBuf,
    /// More of its command line.
    pub append: String,
    /// Another device tree, as a blob, in place of [`tree`](crate::tree).
    pub tree: Option<PathBuf>,
    /// The coprocessor runs already when Linux comes, which finds it `detached`.
    pub running: bool,
    /// QEMU.
    pub program: PathBuf,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Linux started the coprocessor.
    Started {
        /// For the how-many-eth time.
        count: u32,
    },
    /// Linux stopped it.
    Stopped,
    /// It crashed, and its watchdog told Linux.
    Crashed,
    /// Its rings are of no use until it is started again.
    Broken {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { count } => write!(f, "Linux started the coprocessor ({count})"),
            Self::Stopped => f.write_str("Linux stopped the coprocessor"),
            Self::Crashed => f.write_str("the coprocessor crashed"),
            Self::Broken { why } => write!(f, "the link is broken: {why}"),
        }
    }
}

/// Why there is no machine, or none any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocError {
    /// QEMU cannot be run.
    #[error("{}: {error}", .program.display())]
    Program {
        /// Its program.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// QEMU went in the middle of something, or did not answer.
    #[error("{0}")]
    Lost(String),
    /// There is no memory, or no folder for sockets.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl From<Lost> for SocError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost.to_string())
    }
}

/// A machine that runs, its console on our standard input and output.
#[derive(Debug)]
pub struct Soc {
    qemu: Qemu,
    control: Control,
    mailbox: Mailbox,
    coprocessor: Coprocessor,
    crasher: Crasher,
}

impl Soc {
    /// Makes the machine, with this process as its coprocessor, and starts it.
    ///
    /// # Errors
    /// QEMU cannot be run or does not take the kernel; there is no memory.
    pub fn start(config: &Config, channels: Vec<Channel>, crasher: Crasher) -> Result<Self, SocError> {
        let system = |what| move |error: rustix::io::Errno| SocError::System { what, error: error.into() };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("sidecore-soc", flags).map_err(system("make the machine's memory"))?;
        let len = u64::from(RAM.end - RAM.start);
        ftruncate(&file, len).map_err(system("make the machine's memory"))?;
        let memory = Lent::map(file.as_fd(), 0, len)
            .map_err(|refused| SocError::System { what: refused.operation, error: refused.errno.into() })?;
        let registers = |at| Registers::new(&memory, at, 0x1000).expect("they are inside of the memory");
        let mailbox = Mailbox::new(registers(MAILBOX));
        let mut coprocessor = Coprocessor::new(&memory, registers(SYSTEM), registers(RESET), channels);

        if config.running {
            coprocessor.run_early();
        }
        let mut qemu = Qemu::spawn(config, &file)?;
        let folder = qemu.folder.clone();
        let mut control = Control::open(&folder, &mut || qemu.is_running())?;
        control.run()?;
        Ok(Self { qemu, control, mailbox, coprocessor, crasher })
    }

    /// Is the coprocessor until the machine is turned off or `stop` is set; what QEMU's end was, if it ended.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn run(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Option<i32>, SocError> {
        let mut idle = 0_u32;
        let mut kicks = 0;
        while !stop.load(Ordering::Acquire) {
            if self.coprocessor.obey(tell) {
                self.mailbox.reset();
                kicks = 0;
            }
            let asked = match self.mailbox.step(kicks, &mut |interrupt| self.control.pulse(interrupt)) {
                Ok(asked) => asked,
                Err(lost) => return self.ended(lost),
            };
            let turn = self.coprocessor.turn(tell);
            kicks = turn.kicks;
            if self.crasher.take() {
                self.coprocessor.crash();
                tell(Event::Crashed);
                if let Err(lost) = self.control.pulse(WATCHDOG) {
                    return self.ended(lost);
                }
            }
            if asked != 0 || turn.more || kicks != 0 {
                idle = 0;
                continue;
            }
            idle = idle.saturating_add(1);
            if idle.is_multiple_of(64)
                && let Err(lost) = self.control.drain()
            {
                return self.ended(lost);
            }
            thread::sleep(if idle < IDLE_LOOKS { LOOK } else { IDLE_LOOK });
        }
        Ok(None)
    }

    /// QEMU went: by itself, if it says so soon.
    fn ended(&mut self, lost: Lost) -> Result<Option<i32>, SocError> {
        for _ in 0..1000 {
            if let Ok(Some(status)) = self.qemu.child.try_wait() {
                return Ok(Some(status.code().unwrap_or(1)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(lost.into())
    }
}

/// QEMU, and a folder for its sockets; both go with this.
#[derive(Debug)]
struct Qemu {
    child: Child,
    folder: PathBuf,
}

impl Qemu {
    fn spawn(config: &Config, memory: &OwnedFd) -> Result<Self, SocError> {
        let system = |what| move |error: io::Error| SocError::System { what, error };
        let folder = folder().map_err(system("make a folder for QEMU's sockets"))?;
        let blob = folder.join("tree");
        fs::write(&blob, crate::tree()).map_err(system("write the device tree"))?;
        // QEMU opens it again by that name.
        rustix::io::fcntl_setfd(memory, FdFlags::empty())
            .map_err(|error| SocError::System { what: "hand the memory on", error: error.into() })?;

        let mut command = Command::new(&config.program);
        let size = u64::from(RAM.end - RAM.start) >> 20;
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        command.args(["-M", "virt,memory-backend=ram", "-cpu", "cortex-a15", "-m", &size.to_string()]);
        command
            .arg("-object")
            .arg(format!("memory-backend-file,id=ram,size={size}M,mem-path={path},share=on"));
        command.args(["-accel", "tcg", "-qtest-log", "/dev/null", "-S", "-no-reboot", "-nic", "none"]);
        // Ctrl-C is the guest's.
        command.args(["-display", "none", "-monitor", "none", "-chardev", "stdio,id=console,signal=off"]);
        command.args(["-serial", "chardev:console"]);
        for socket in ["qmp", "qtest"] {
            let place = folder.join(socket);
            command.arg(format!("-{socket}")).arg(format!("unix:{},server=on,wait=off", place.display()));
        }
        command.arg("-kernel").arg(&config.kernel).arg("-initrd").arg(&config.initrd);
        command.arg("-dtb").arg(config.tree.as_ref().unwrap_or(&blob));
        command.arg("-append").arg(format!("console=ttyAMA0 panic=-1 {}", config.append).trim_end());
        let spawned = command.stdin(Stdio::inherit()).spawn();
        match spawned {
            Ok(child) => Ok(Self { child, folder }),
            Err(error) => {
                // It is empty but for the tree.
                let _ = fs::remove_dir_all(&folder);
                Err(SocError::Program { program: config.program.clone(), error })
            }
        }
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has ended already if all went well. Else it is asked first, for it has the terminal to give back.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()).filter(|_| self.is_running()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        for _ in 0..200 {
            if !self.is_running() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder of our own, closed to others.
fn folder() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let base = if base.is_dir() { base } else { Path::new("/tmp").to_owned() };
    let mut number = 0;
    loop {
        let folder = base.join(format!("sidecore-soc-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// So many bytes of memory as a machine's.
    pub(crate) fn memory(len: u64) -> Arc<Lent> {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, len).unwrap();
        Lent::map(file.as_fd(), 0, len).unwrap()
    }

    #[test]
    fn what_cannot_be_run_is_named_and_leaves_nothing() {
        let config = Config {
            kernel: "kernel".into(),
            initrd: "initrd".into(),
            append: String::new(),
            tree: None,
            running: false,
            program: "/nonexistent/qemu".into(),
        };
        let error = Soc::start(&config, Vec::new(), Crasher::default()).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/qemu: "), "{error}");
        let config = Config { program: "/bin/false".into(), ..config };
        let error = Soc::start(&config, Vec::new(), Crasher::default()).unwrap_err();
        assert!(matches!(error, SocError::Lost(_)), "{error}");
    }
}
