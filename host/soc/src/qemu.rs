//! QEMU: a process that ends with this one, and a folder for what it is made of.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sidecore_os::{End, Tied};

use crate::control::Control;
use crate::soc::SocError;

/// How long it may take to end by itself.
const ENDING: Duration = Duration::from_secs(2);
/// The same where it seems to have ended already.
const ENDED: Duration = Duration::from_secs(5);

/// A machine of QEMU's, on memory that it shares with us.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) program: &'a Path,
    /// What it is: QEMU's words for it.
    pub(crate) kind: &'a str,
    /// The type of its interrupt controller.
    pub(crate) controller: &'a str,
    pub(crate) memory: &'a OwnedFd,
    /// Bytes of the memory that it has, from the first one on.
    pub(crate) len: u64,
    /// Its console is our terminal.
    pub(crate) is_here: bool,
}

/// A machine that is held at its first instruction, and goes with this.
#[derive(Debug)]
pub(crate) struct Qemu {
    pub(crate) control: Control,
    program: Tied,
}

impl Qemu {
    /// Starts it; `more` makes further arguments, and may put files into the folder.
    pub(crate) fn spawn(
        machine: &Machine<'_>,
        more: impl FnOnce(&Path) -> io::Result<Vec<OsString>>,
    ) -> Result<Self, SocError> {
        let system = |what| move |error: io::Error| SocError::System { what, error };
        let folder = Folder::new().map_err(system("make a folder for QEMU's sockets"))?;
        // QEMU opens it again by the number that it has there.
        let memory = machine.memory.try_clone().map_err(system("hand the memory on"))?;
        let size = machine.len >> 20;
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let mut words: Vec<OsString> =
            vec!["-M".into(), format!("{},memory-backend=ram", machine.kind).into()];
        words.extend(["-m".into(), size.to_string().into(), "-object".into()]);
        words.push(format!("memory-backend-file,id=ram,size={size}M,mem-path={path},share=on").into());
        let plain = "-accel tcg -qtest-log /dev/null -S -nic none -display none -monitor none";
        words.extend(plain.split(' ').map(OsString::from));
        for socket in ["qmp", "qtest"] {
            let place = folder.0.join(socket);
            words.push(format!("-{socket}").into());
            words.push(format!("unix:{},server=on,wait=off", place.display()).into());
        }
        words.extend(more(&folder.0).map_err(system("write what QEMU is to read"))?);

        let spawn = if machine.is_here { Tied::spawn_here } else { Tied::spawn };
        let named = |error| SocError::Program { program: machine.program.to_owned(), error };
        let program =
            spawn(machine.program, &words, vec![memory]).map_err(|refused| named(refused.errno.into()))?;
        let mut alive = || program.ending().is_none();
        let control =
            Control::open(&folder.0, machine.controller, &mut alive).map_err(|lost| {
                match program.wait(Instant::now() + ENDED).map(|ending| ending.words.trim()) {
                    Some(words) if !words.is_empty() => named(io::Error::other(words.to_owned())),
                    _ => lost.into(),
                }
            })?;
        // It has read what it is made of, and its sockets are connected: nothing is left behind, whatever ends us.
        drop(folder);
        Ok(Self { control, program })
    }

    /// How it ended, if it did or is about to: its exit code.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.program.wait(Instant::now() + ENDED).map(|ending| match ending.how {
            End::Exited(code) => code,
            End::Killed(_) => 1,
        })
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has ended already if all went well. Else it is asked first, for it has the terminal to give back.
        self.program.terminate();
        self.program.wait(Instant::now() + ENDING);
        self.program.kill();
    }
}

/// A folder of our own, closed to others, that goes with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let base = if base.is_dir() { base } else { Path::new("/tmp").to_owned() };
        let mut number = 0;
        loop {
            let folder = base.join(format!("sidecore-soc-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it lies among what the system clears by itself.
        let _ = fs::remove_dir_all(&self.0);
    }
}
