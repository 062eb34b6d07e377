//! The machine, put together.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use sidecore_os::{Lent, Registers};
use sidecore_remoteproc::Firmware;
use sidecore_vhost_user::Channel;

use crate::control::Lost;
use crate::coprocessor::{Core, Crasher, Process, Riscv32, Turn, riscv32};
use crate::mailbox::Mailbox;
use crate::orders::{Order, Orders};
use crate::qemu::{Machine, Qemu};
use crate::{initrd, tree};

/// The machine's memory, by Linux' addresses.
pub(crate) const RAM: Range<u32> = 0x4000_0000..0x6000_0000;
/// The part of it that is the coprocessor's, by Linux' addresses.
pub(crate) const OWN: Range<u32> = 0x5000_0000..0x5010_0000;
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
/// Looks without anything to do after which Linux is kicked once more: a kick is lost where Linux' driver empties a channel
/// that was filled anew since it looked, as registers that are memory let it.
const REPEAT_LOOKS: u32 = 100;
/// How long the sleep is when looks are taken less often.
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
    /// What Linux finds to load if nobody names another file, and under this name; for a process there is one anyway.
    pub firmware: Option<(String, Vec<u8>)>,
    /// The coprocessor runs that already when Linux comes, which finds it `detached`.
    pub running: bool,
    /// QEMU.
    pub program: PathBuf,
}

/// What executes the firmware.
#[derive(Debug)]
pub enum Coprocessor {
    /// This process, with these channels and a way to have it crash. It executes nothing of what Linux loads.
    Process(Vec<Channel>, Crasher),
    /// A 32-bit RISC-V core of another QEMU.
    Riscv32(PathBuf),
}

impl Coprocessor {
    /// What its addresses are above Linux', for [`tree`](crate::tree).
    #[must_use]
    pub const fn shift(&self) -> u32 {
        match self {
            Self::Process(..) => 0,
            Self::Riscv32(_) => riscv32::SHIFT,
        }
    }
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
    Crashed {
        /// What it died of.
        why: String,
    },
    /// Its firmware ended, and it does nothing more; Linux knows of no such thing.
    Ended {
        /// The exit code.
        code: i32,
    },
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
            Self::Crashed { why } => write!(f, "the coprocessor crashed: {why}"),
            Self::Ended { code } => write!(f, "the coprocessor's firmware ended with exit code {code}"),
            Self::Broken { why } => {
                write!(f, "the coprocessor is of no use until it is started again: {why}")
            }
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
    /// A file that it is made of cannot be read.
    #[error("{}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The firmware that is to run already cannot.
    #[error("the firmware cannot run: {0}")]
    Firmware(String),
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
    linux: Qemu,
    orders: Orders,
    mailbox: Mailbox,
    core: Box<dyn Core>,
    /// How often the coprocessor was started.
    starts: u32,
    /// The channels by which Linux was kicked, and will be kicked once more, one bit each.
    kicked: u32,
}

impl Soc {
    /// Makes the machine, and starts it.
    ///
    /// # Errors
    /// QEMU cannot be run or does not take the kernel; a file cannot be read; there is no memory; the firmware that is to
    /// run already cannot.
    pub fn start(config: &Config, coprocessor: Coprocessor) -> Result<Self, SocError> {
        let system = |what| move |error: rustix::io::Errno| SocError::System { what, error: error.into() };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("sidecore-soc", flags).map_err(system("make the machine's memory"))?;
        let len = u64::from(RAM.end - RAM.start);
        ftruncate(&file, len).map_err(system("make the machine's memory"))?;
        let memory = Lent::map(file.as_fd(), 0, len)
            .map_err(|refused| SocError::System { what: refused.operation, error: refused.errno.into() })?;
        let registers = |at| Registers::new(&memory, at, 0x1000).expect("they are inside of the memory");
        let mailbox = Mailbox::new(registers(MAILBOX));
        let orders = Orders::new(registers(SYSTEM), registers(RESET));

        let shift = coprocessor.shift();
        let firmware = match (&config.firmware, &coprocessor) {
            (None, Coprocessor::Process(..)) => Some((String::new(), crate::image())),
            (firmware, _) => firmware.clone(),
        };
        let (mut linux, mut core): (_, Box<dyn Core>) = match coprocessor {
            Coprocessor::Process(channels, crasher) => {
                let linux = boot(config, &file, shift, firmware.as_ref())?;
                (linux, Box::new(Process::new(&memory, channels, crasher)))
            }
            Coprocessor::Riscv32(program) => {
                let linux = boot(config, &file, shift, firmware.as_ref())?;
                let handed = file.try_clone().map_err(|error| SocError::System { what: "dup", error })?;
                (linux, Box::new(Riscv32::new(program, handed, &memory)?))
            }
        };
        let mut starts = 0;
        if config.running {
            let firmware = firmware.map(|(_, bytes)| bytes).unwrap_or_default();
            let table = load(&memory, &firmware, shift).map_err(SocError::Firmware)?;
            let mut trouble = None;
            starts = 1;
            core.start(starts, &mut |event| trouble = Some(event.to_string()));
            if let Some(trouble) = trouble {
                return Err(SocError::Firmware(trouble));
            }
            orders.say_running(table);
        }
        linux.control.run()?;
        Ok(Self { linux, orders, mailbox, core, starts, kicked: 0 })
    }

    /// Works the coprocessor and what is around it until the machine is turned off or `stop` is set; what QEMU's end was,
    /// if it ended.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn run(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(Event)) -> Result<Option<i32>, SocError> {
        let mut idle = 0_u32;
        let mut turn = Turn::default();
        while !stop.load(Ordering::Acquire) {
            let is_busy = match self.step(&mut turn, tell) {
                Ok(is_busy) => is_busy,
                // QEMU went: by itself, if it says so soon.
                Err(lost) => return self.linux.exit_code().map(Some).ok_or_else(|| lost.into()),
            };
            if is_busy {
                idle = 0;
                continue;
            }
            idle = idle.saturating_add(1);
            if idle == REPEAT_LOOKS {
                turn.again = std::mem::take(&mut self.kicked);
            }
            if idle.is_multiple_of(64) {
                self.core.idle(tell);
                if let Err(lost) = self.linux.control.drain() {
                    return self.linux.exit_code().map(Some).ok_or_else(|| lost.into());
                }
            }
            thread::sleep(if idle < IDLE_LOOKS { LOOK } else { IDLE_LOOK });
        }
        Ok(None)
    }

    /// Does once what everybody wants; whether anybody wanted anything.
    fn step(&mut self, turn: &mut Turn, tell: &mut dyn FnMut(Event)) -> Result<bool, Lost> {
        let ordered = self.orders.take();
        let stops = ordered.reset || ordered.then == Some(Order::Stop);
        if stops && self.core.stop(tell) {
            tell(Event::Stopped);
        }
        if ordered.reset {
            self.mailbox.reset();
            *turn = Turn::default();
        }
        if ordered.then == Some(Order::Start) {
            self.starts = self.starts.saturating_add(1);
            // Whatever takes time takes none of Linux', which would go on meanwhile in memory that is looked at.
            let waits = self.core.starts_slowly();
            if waits {
                self.linux.control.hold()?;
            }
            self.core.start(self.starts, tell);
            if waits {
                self.linux.control.run()?;
            }
            tell(Event::Started { count: self.starts });
        }
        let step = self.mailbox.step(*turn, &mut |interrupt| self.linux.control.pulse(interrupt))?;
        self.kicked |= turn.kicks | step.filled;
        *turn = self.core.turn(step.asked, tell);
        if turn.crashed {
            self.linux.control.pulse(WATCHDOG)?;
        }
        Ok(step.is_busy || turn.more || turn.kicks != 0)
    }
}

/// Makes the machine that Linux runs on, and holds it.
fn boot(
    config: &Config,
    memory: &OwnedFd,
    shift: u32,
    firmware: Option<&(String, Vec<u8>)>,
) -> Result<Qemu, SocError> {
    let read = |path: &Path| fs::read(path).map_err(|error| SocError::Read { path: path.to_owned(), error });
    let tree = config.tree.as_deref().map_or_else(|| Ok(tree(shift)), read)?;
    let initrd = read(&config.initrd)?;
    let initrd = match firmware {
        Some((name, bytes)) => initrd::with_firmware(initrd, name, bytes),
        None => initrd,
    };
    let machine = Machine {
        program: &config.program,
        kind: "virt",
        controller: "arm_gic",
        memory,
        len: u64::from(RAM.end - RAM.start),
        is_here: true,
    };
    Qemu::spawn(&machine, |folder| {
        let (blob, archive) = (folder.join("tree"), folder.join("initrd"));
        fs::write(&blob, tree)?;
        fs::write(&archive, initrd)?;
        let append = format!("console=ttyAMA0 panic=-1 {} {}", initrd::PATH, config.append);
        // Ctrl-C is the guest's; on a terminal Ctrl-A is QEMU's, and Ctrl-A X the end.
        let mux = if io::stdin().is_terminal() { "on" } else { "off" };
        let console = format!("stdio,id=console,signal=off,mux={mux}");
        let mut words: Vec<OsString> = vec!["-chardev".into(), console.into()];
        words.extend(["-serial", "chardev:console", "-cpu", "cortex-a15", "-no-reboot"].map(OsString::from));
        words.extend(["-kernel".into(), config.kernel.clone().into(), "-initrd".into(), archive.into()]);
        words.extend(["-dtb".into(), blob.into(), "-append".into(), append.trim_end().into()]);
        Ok(words)
    })
}

/// Puts firmware where a boot loader would put it; where its resource table is, by the coprocessor's addresses.
fn load(memory: &Arc<Lent>, firmware: &[u8], shift: u32) -> Result<u32, String> {
    let firmware = Firmware::parse(firmware).map_err(|error| error.to_string())?;
    let region = memory.region();
    for segment in firmware.segments() {
        let outside = |()| {
            format!("segment {} at {:#x} lies in no memory of the coprocessor", segment.name, segment.at.0)
        };
        let at = place(segment.at.0, shift).ok_or(()).map_err(outside)?;
        let len = usize::try_from(segment.memsz).map_err(|_| outside(()))?;
        region.clear(at, len).and_then(|()| region.write(at, segment.bytes)).map_err(|_| outside(()))?;
    }
    let table = firmware.table_section().and_then(|table| u32::try_from(table.at?.0).ok());
    table.ok_or_else(|| "it has no resource table".to_owned())
}

/// Where an address of the coprocessor's lies in the memory's file, if it is one of its own memory.
fn place(address: u64, shift: u32) -> Option<usize> {
    let address = u32::try_from(address).ok()?.checked_sub(shift)?;
    OWN.contains(&address).then(|| offset(address))
}

/// Where an address of Linux' lies in the memory's file.
pub(crate) const fn offset(address: u32) -> usize {
    (address - RAM.start) as usize
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// So many bytes of memory as a machine's.
    pub(crate) fn memory(len: u64) -> Arc<Lent> {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, len).unwrap();
        Lent::map(file.as_fd(), 0, len).unwrap()
    }

    fn config(program: &str) -> Config {
        Config {
            kernel: "/dev/null".into(),
            initrd: "/dev/null".into(),
            append: String::new(),
            tree: None,
            firmware: None,
            running: false,
            program: program.into(),
        }
    }

    fn process() -> Coprocessor {
        Coprocessor::Process(Vec::new(), Crasher::default())
    }

    fn trouble(config: &Config) -> String {
        Soc::start(config, process()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_run_or_read_is_named() {
        assert!(trouble(&config("/nonexistent/qemu")).starts_with("/nonexistent/qemu: "));
        let error = trouble(&config("/bin/false"));
        assert!(error.starts_with("QEMU: "), "{error}");
        let missing = Config { initrd: "/nonexistent/initrd".into(), ..config("/bin/false") };
        assert!(trouble(&missing).starts_with("/nonexistent/initrd: "));
        let missing = Config { tree: Some("/nonexistent/tree".into()), ..config("/bin/false") };
        assert!(trouble(&missing).starts_with("/nonexistent/tree: "));
    }

    #[test]
    fn firmware_is_loaded_where_the_coprocessor_has_its_memory() {
        let memory = memory(0x1010_0000);
        assert_eq!(load(&memory, &crate::image(), 0), Ok(0x5000_1000));
        let mut table = vec![0; 0x100];
        memory.region().read(offset(0x5000_1000), &mut table).unwrap();
        assert_eq!(table, crate::image()[0xcc..0x1cc]);
        let error = load(&memory, &crate::image(), riscv32::SHIFT).unwrap_err();
        assert!(error.contains("at 0x50001000 lies in no memory of the coprocessor"), "{error}");
        assert!(load(&memory, b"no ELF file", 0).is_err());
    }
}
