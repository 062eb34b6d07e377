//! `vhost-user`: sockets for virtual machines.

use std::io::{BufReader, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Stdio};

use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Place, ended, plain};

/// The command with sockets `one` and `two`, both ready.
fn serving(place: &Place, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut command = plain();
    command.arg("vhost-user").args(arguments);
    for name in ["one", "two"] {
        command.arg("--socket").arg(place.path().join(name));
    }
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    for _ in 0..2 {
        assert!(line(&mut stderr).ends_with(": ready for a front end\n"));
    }
    (child, stderr)
}

fn line(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

/// Sends a request with a payload of 64-bit numbers; `flags` 9 asks whether it worked.
fn request(socket: &UnixStream, number: u32, flags: u32, payload: &[u64], fds: &[BorrowedFd<'_>]) {
    let mut bytes = [number, flags, 8 * payload.len() as u32].map(u32::to_ne_bytes).concat();
    bytes.extend(payload.iter().flat_map(|word| word.to_ne_bytes()));
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn front_ends_come_and_go_until_somebody_stops_it() {
    let place = Place::new();
    let (mut child, mut stderr) = serving(&place, &["-v", "-s", "tty", "-s", "other=echo"]);
    for name in ["one", "two"] {
        drop(UnixStream::connect(place.path().join(name)).unwrap());
        assert!(line(&mut stderr).ends_with(&format!("/{name}: a front end connected\n")));
        assert!(line(&mut stderr).ends_with(&format!("/{name}: the front end went\n")));
    }
    let connected = UnixStream::connect(place.path().join("one")).unwrap();
    assert!(line(&mut stderr).ends_with("connected\n"));
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(ended(&mut child).code(), Some(130));
    assert_eq!((&connected).read(&mut [0]).unwrap(), 0);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "no socket is left");
}

#[test]
fn trouble_is_told_even_if_nothing_else_is() {
    let place = Place::new();
    let (mut child, mut stderr) = serving(&place, &[]);
    let socket = UnixStream::connect(place.path().join("two")).unwrap();
    request(&socket, 99, 1, &[], &[]);
    let told = line(&mut stderr);
    assert!(told.ends_with("/two: the front end was disconnected: there is no request 99 here\n"), "{told}");
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(ended(&mut child).code(), Some(143));
}

#[test]
fn memory_that_can_be_truncated_is_taken_for_the_command_is_guarded() {
    let place = Place::new();
    let (mut child, mut stderr) = serving(&place, &[]);
    let memory = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 0x1000).unwrap();
    let mut socket = UnixStream::connect(place.path().join("one")).unwrap();
    // SET_PROTOCOL_FEATURES: REPLY_ACK. SET_MEM_TABLE: one of a page.
    request(&socket, 16, 1, &[1 << 3], &[]);
    request(&socket, 5, 9, &[1, 0, 0x1000, 0, 0], &[memory.as_fd()]);
    let mut answer = [0xff; 20];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..], [0; 8], "it worked");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line(&mut stderr), "");
}
