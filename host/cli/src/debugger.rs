//! A debugger at a remote's debug port.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, thread};

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::remote::OURS;

/// Where debuggers of this user reach the debug port, and the debugger that was started here, if one was.
pub(crate) struct Debugger {
    address: SocketAddr,
    process: Option<u32>,
    child: Option<Child>,
}

/// Runs a debugger on this terminal to its end: the one that is asked for, or the first that there is.
pub(crate) fn run(asked: Option<&OsStr>, mut start: impl FnMut(&OsStr) -> io::Result<ExitStatus>) -> Outcome {
    let status = first(asked, &mut start)?;
    Ok(ExitCode::from(status.code().map_or(OURS, |code| code as u8)))
}

/// What the first of the debuggers makes of it that can be started.
fn first<T>(asked: Option<&OsStr>, start: &mut dyn FnMut(&OsStr) -> io::Result<T>) -> Result<T, Failure> {
    let mut last = None;
    for program in asked.map_or(PROGRAMS.iter().map(OsStr::new).collect(), |asked| vec![asked]) {
        match start(program) {
            Ok(started) => return Ok(started),
            Err(error) => last = Some((program, error)),
        }
    }
    let why = last.map_or_else(String::new, |(program, error)| format!("{}: {error}", program.display()));
    Err(Failure::new(codes::DEBUGGER, "cannot start a debugger").because(why).status(OURS))
}

/// Programs that debug every instruction set, in the order in which they are looked for.
const PROGRAMS: &[&str] = &["gdb-multiarch", "gdb"];

impl Debugger {
    /// Lets debuggers reach the port over TCP, one at a time, as often as they like. On an address of this machine
    /// alone only those of this user. `process`: which of the port's processes the remote is, where there are several.
    pub(crate) fn listen(port: OwnedFd, process: Option<u32>, at: SocketAddr) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            let what = format!("cannot listen for a debugger on {at}");
            Failure::new(codes::DEBUGGER, what).because(error).status(OURS)
        };
        let listener = TcpListener::bind(at).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let port = UnixStream::from(port);
        let (from, current) = (port.try_clone().map_err(cannot)?, Arc::new(Mutex::new(None)));
        let answered = Arc::clone(&current);
        let answer = thread::Builder::new().name("debug answers".to_owned());
        answer.spawn(move || answers(from, &answered)).map_err(cannot)?;
        let ask = thread::Builder::new().name("debug commands".to_owned());
        ask.spawn(move || commands(&listener, &port, &current)).map_err(cannot)?;
        Ok(Self { address, process, child: None })
    }

    /// Starts a debugger on this terminal: the one that is asked for, or the first that there is.
    pub(crate) fn start(&mut self, asked: Option<&OsStr>, image: &OsStr) -> Result<(), Failure> {
        let arguments = self.arguments(image);
        self.child = Some(first(asked, &mut |program| Command::new(program).args(&arguments).spawn())?);
        Ok(())
    }

    /// What a debugger is told, to have the image's symbols and this remote.
    pub(crate) fn arguments(&self, image: &OsStr) -> Vec<OsString> {
        let address = self.address;
        let Some(process) = self.process else {
            let target = format!("target remote {address}");
            return vec!["-q".into(), image.to_owned(), "-ex".into(), target.into()];
        };
        // It takes the first process by itself, which is of another instruction set than the image. Without questions,
        // and without looking there for a file on this machine.
        let mut arguments: Vec<OsString> = vec!["-q".into()];
        let commands = format!(
            "set confirm off\nset remote exec-file\ntarget extended-remote {address}\n\
             add-inferior\ninferior 2\nattach {process}"
        );
        for command in commands.lines() {
            arguments.extend(["-ex".into(), command.into()]);
        }
        let mut file = OsString::from("file \"");
        file.push(image);
        file.push("\"");
        arguments.extend(["-ex".into(), file, "-ex".into(), "set confirm on".into()]);
        arguments
    }

    /// The exit code of the debugger that was started here, once it has ended.
    pub(crate) fn exit_code(&mut self) -> Option<u8> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        Some(status.code().map_or(OURS, |code| code as u8))
    }

    /// Waits until the debugger that was started here has ended.
    pub(crate) fn wait(&mut self) {
        if let Some(child) = &mut self.child {
            // Refused only for what is no child of ours.
            let _ = child.wait();
        }
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type Current = Mutex<Option<TcpStream>>;

/// From debuggers to the port, until this process ends.
fn commands(listener: &TcpListener, port: &UnixStream, current: &Current) {
    for connection in listener.incoming() {
        let Ok(mut debugger) = connection else { continue };
        if !is_ours(&debugger) {
            continue;
        }
        let (Ok(answers), Ok(())) = (debugger.try_clone(), debugger.set_nodelay(true)) else { continue };
        *lock(current) = Some(answers);
        // Either end may be gone at any time; the next debugger is welcome all the same.
        let _ = io::copy(&mut debugger, &mut &*port);
        *lock(current) = None;
    }
}

/// From the port to whichever debugger is there, until the port is closed.
fn answers(mut port: UnixStream, current: &Current) {
    let mut some = [0; 4096];
    loop {
        match port.read(&mut some) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(len) => {
                let debugger = lock(current).as_ref().and_then(|debugger| debugger.try_clone().ok());
                // Nobody listens, or not any more.
                let _ = debugger.map(|mut debugger| debugger.write_all(&some[..len]));
            }
        }
    }
    let _ = lock(current).take().map(|debugger| debugger.shutdown(Shutdown::Both));
}

fn lock(current: &Current) -> MutexGuard<'_, Option<TcpStream>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the other end belongs to this user, as far as it is of this machine: a debug port is power over the remote.
fn is_ours(debugger: &TcpStream) -> bool {
    let (Ok(local), Ok(peer)) = (debugger.local_addr(), debugger.peer_addr()) else { return false };
    let (IpAddr::V4(ip), true) = (peer.ip(), local.ip().is_loopback()) else {
        return !local.ip().is_loopback();
    };
    // proc(5), /proc/net/tcp: the address as a number of this machine's byte order, the port; the user in field 8.
    let peer = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), peer.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let user =
        line.filter(|fields| fields.get(1) == Some(&&*peer)).find_map(|fields| fields.get(7)?.parse().ok());
    // Its files in /proc belong to a process' effective user.
    user.is_some() && user == fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debuggers_reach_the_port_one_after_the_other() {
        let (port, mut machine) = UnixStream::pair().unwrap();
        let debugger = Debugger::listen(port.into(), None, ([127, 0, 0, 1], 0).into()).unwrap();
        for round in 0..2_u8 {
            let mut gdb = TcpStream::connect(debugger.address).unwrap();
            gdb.write_all(&[b'?', round]).unwrap();
            let mut two = [0; 2];
            machine.read_exact(&mut two).unwrap();
            assert_eq!(two, [b'?', round]);
            machine.write_all(b"+").unwrap();
            let mut one = [0; 1];
            gdb.read_exact(&mut one).unwrap();
        }
        let mut gdb = TcpStream::connect(debugger.address).unwrap();
        gdb.write_all(b"?").unwrap();
        machine.read_exact(&mut [0; 1]).unwrap();
        drop(machine);
        assert_eq!(gdb.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_debugger_that_is_not_there_is_an_error() {
        let (port, _machine) = UnixStream::pair().unwrap();
        let mut debugger = Debugger::listen(port.into(), None, ([127, 0, 0, 1], 0).into()).unwrap();
        let failure = debugger.start(Some("/nonexistent/gdb".as_ref()), "fw.elf".as_ref()).unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/gdb"), "{failure}");
        assert_eq!(debugger.exit_code(), None);
    }
}
