//! Peers that run already: here a thread that maps the same file, as OpenAMP's programs do.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_os::{Lent, guard_bus_errors};
use sidecore_rpmsg::remote::attach;
use sidecore_rpmsg::{ADDR_ANY, Announcement, Event, Name, Rpmsg, Slot};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::{Builder, VdevHeader, Vring, vdev};

use crate::bench::sidecore;

const LEN: u64 = 0x8_0000;

/// File and socket of a peer, gone with it.
struct Peer {
    file: PathBuf,
    socket: PathBuf,
    thread: Option<JoinHandle<Vec<Announcement>>>,
}

impl Peer {
    /// One that announces `echo` and sends back in capitals what comes there, until it has answered `answers` times.
    fn start(name: &str, answers: usize) -> Self {
        guard_bus_errors().unwrap();
        let at =
            |suffix| PathBuf::from(format!("/dev/shm/sidecore-cli-{}-{name}.{suffix}", std::process::id()));
        let (file, socket) = (at("shm"), at("event"));
        let memory = make(&file);
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || serve(&memory, listener.accept().unwrap().0, answers));
        Self { file, socket, thread: Some(thread) }
    }

    fn attach(&self) -> assert_cmd::Command {
        let mut command = sidecore();
        command.args(["attach", "shm:openamp", "--memory"]).arg(&self.file).arg("--socket").arg(&self.socket);
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The file, with OpenAMP's resource table.
fn make(path: &PathBuf) -> File {
    let mut file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(LEN).unwrap();
    let mut bytes = [0; 256];
    let mut builder = Builder::new(&mut bytes, 1).unwrap();
    let header =
        VdevHeader { id: vdev::ID_RPMSG, dfeatures: F_NS as u32, num_of_vrings: 2, ..VdevHeader::default() };
    let ring = |da, notifyid| Vring { da, align: 0x1000, num: 256, notifyid, pa: 0 };
    builder.vdev(&header, &[ring(0x4000, 1), ring(0x8000, 2)], &[]).unwrap();
    file.write_all(builder.finish()).unwrap();
    file
}

/// What it heard from the name service at last.
fn serve(file: &File, mut socket: UnixStream, answers: usize) -> Vec<Announcement> {
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let region = Lent::map(file.as_fd(), 0, LEN).unwrap().region();
    let registers = table::Device::new(&region, 20).unwrap();
    let mut messages = None;
    let (mut answered, mut heard, mut is_over) = (0, Vec::new(), false);
    while answered < answers {
        if registers.poll() == Change::Started {
            let mut map = AddressMap::<_, 32>::new();
            map.insert(DeviceAddr(0), region.clone()).unwrap();
            let bell = socket.try_clone().unwrap();
            let kick = |_| move |_: u16| drop((&bell).write(&[1]));
            let rpmsg = attach(&registers, map, vec![Cell::new(0); 256], kick).unwrap().0;
            let rpmsg = Rpmsg::new(rpmsg, vec![Slot::new(); 4]);
            let endpoint = rpmsg.open(ADDR_ANY, ADDR_ANY).unwrap();
            rpmsg.announce(endpoint, &Name::new("echo").unwrap()).unwrap();
            messages = Some(rpmsg);
        }
        if let Some(rpmsg) = &messages {
            while let Ok(Some(event)) = rpmsg.poll() {
                let message = match event {
                    Event::Message(message) => message,
                    Event::Announcement(announcement) => {
                        heard.push(announcement);
                        continue;
                    }
                };
                let mut payload = vec![0; message.len()];
                message.read(0, &mut payload).unwrap();
                message.reply(&payload.to_ascii_uppercase()).unwrap();
                answered += 1;
            }
        }
        if is_over {
            break;
        }
        // A kick, or the time for another look.
        is_over = matches!(socket.read(&mut [0; 64]), Ok(0));
    }
    heard
}

#[test]
fn messages_go_to_a_peers_service_and_the_answers_are_printed() {
    let mut peer = Peer::start("messages", usize::MAX);
    let output = peer.attach().args(["--service", "echo", "one", "two\u{1b}[31m"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "ONE\nTWO\\u{1b}[31M\n");
    assert_eq!(output.status.code(), Some(0));
    // Programs of OpenAMP's end when they are told so.
    let heard = peer.thread.take().unwrap().join().unwrap();
    let [told] = &heard[..] else { panic!("{heard:?}") };
    assert!(told.is_destroy() && told.name.as_str() == Some("echo"), "{told:?}");
}

#[test]
fn a_service_that_is_not_announced_is_named() {
    let peer = Peer::start("nobody", usize::MAX);
    let output = peer.attach().args(["--timeout", "0.3", "--service", "nothing", "x"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error[E0510]: cannot talk with shm:openamp\n"), "{error}");
    assert!(error.contains("nothing") && error.contains("echo"), "{error}");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn what_a_peer_announces_is_told_until_it_goes() {
    let peer = Peer::start("goes", 0);
    let output = peer.attach().output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.ends_with("sidecore: the peer is gone: it closed the socket\n"), "{told}");
    assert_eq!((output.status.code(), output.stdout), (Some(0), vec![]));
}

#[test]
fn a_peer_that_went_is_attached_to_again_as_often_as_is_allowed() {
    let peer = Peer::start("again", 0);
    let output = peer.attach().args(["--again=2", "--timeout", "0.2"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for part in [
        "sidecore: the peer is gone: it closed the socket\n",
        "sidecore: shm:openamp is attached to again: attempt 1 of 2 at most\nsidecore: warning[E",
        "sidecore: shm:openamp is attached to again in 100ms: attempt 2 of 2 at most\n",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told.ends_with("sidecore: shm:openamp is given up: 3 crashes within 60 s\n"), "{told}");
    assert_eq!((output.status.code(), output.stdout), (Some(125), vec![]));
}

#[test]
fn a_peer_that_is_not_there_and_one_of_no_known_kind_are_refused() {
    let output = sidecore()
        .args(["attach", "shm:openamp", "--timeout", "0.05", "--socket", "/dev/shm/no-such-socket"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("connect to /dev/shm/no-such-socket"), "{error}");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(sidecore().args(["attach", "else:where"]).output().unwrap().status.code(), Some(2));
    assert_eq!(sidecore().args(["attach", "elsewhere"]).output().unwrap().status.code(), Some(3));
}
