//! Our host against a remote that was written from the protocol's chapters alone, in another language: `peers/remote.py`.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sidecore_backends::shm::{Config, Shm};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::{Mapping, SharedMemory, guard_bus_errors};
use sidecore_processor::{Options, Processor};
use sidecore_rpmsg::host::{HostLink, UNDERSTOOD, bring_up};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::{ADDR_ANY, Announcement, Endpoint, Event, Header, Link, Name, Rpmsg, SendError, Slot};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::{DriverTransport, table};
use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::{Builder, FixedName, Trace, VdevHeader, Vring, vdev};
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

const NUM: u16 = 8;
const SIZE: u32 = 128;
const PAYLOAD: usize = SIZE as usize - Header::SIZE;
const BASE: u64 = 0x3000_0000;
/// The table, two rings, two pools.
const TABLE: usize = 0x200;
const RINGS: [usize; 2] = [0x400, 0x800];
const POOLS: [usize; 2] = [0xC00, 0x1000];
const LEN: usize = 0x1400;
/// The notify ids: the second one is ours to choose.
const IDS: [u32; 2] = [5, 9];
const DEADLINE: Duration = Duration::from_secs(60);

type Memory = Region<Arc<Mapping>>;
type Host = Rpmsg<HostLink<Vec<split::Slot>, Box<dyn Fn(u16)>, Arc<Mapping>>, Vec<Slot>>;

/// The shared memory with a table in it, the doorbell, and the program at the other end.
struct Bench {
    file: SharedMemory,
    memory: Memory,
    /// Where the table's vdev entry lies.
    vdev: usize,
    bell: RefCell<UnixStream>,
    remote: RefCell<Option<Program>>,
}

/// The program, which ends with this.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// `None` where there is no Python.
    fn new(test: &str) -> Option<Bench> {
        if !has_python(test) {
            return None;
        }
        let file = SharedMemory::create("python-remote", LEN).unwrap();
        let memory = file.map().unwrap().region();
        let mut bytes = [0; 256];
        let mut builder = Builder::new(&mut bytes, 2).unwrap();
        builder.trace(&Trace { da: 0, len: 0, reserved: 0, name: FixedName::EMPTY }).unwrap();
        let header = VdevHeader { id: vdev::ID_RPMSG, dfeatures: F_NS as u32, ..VdevHeader::default() };
        let ring = |notifyid| Vring { da: u32::MAX, align: 64, num: NUM.into(), notifyid, pa: 0 };
        let vdev = builder.vdev(&header, &[ring(IDS[0]), ring(u32::MAX)], &[]).unwrap();
        memory.write(TABLE, builder.finish()).unwrap();
        let (bell, remote) = start(&file);
        let vdev = TABLE + vdev as usize;
        Some(Bench { file, memory, vdev, bell: bell.into(), remote: Some(remote).into() })
    }

    fn driver(&self) -> table::Driver<Arc<Mapping>> {
        table::Driver::new(&self.memory, self.vdev).unwrap()
    }

    /// Brings a link up, in the place of any that is there.
    fn host(&self) -> Host {
        self.host_over(&self.driver())
    }

    fn host_over(&self, driver: &impl DriverTransport) -> Host {
        let layout = Layout::new(NUM, 64).unwrap();
        let at = |at: usize, len| self.memory.slice(at, len).unwrap();
        let pool = |place: usize| Buffers { region: at(place, 0x400), addr: da(place), size: SIZE };
        let slots = || vec![split::Slot::default(); NUM.into()];
        for (queue, place) in RINGS.into_iter().enumerate() {
            let ring = self.vdev + vdev::offset::VRINGS + 20 * queue;
            self.memory.store(ring, da(place).0 as u32).unwrap();
            self.memory.store(ring + 12, IDS[queue]).unwrap();
        }
        let bell = Rc::new(self.bell.borrow().try_clone().unwrap());
        // A doorbell that is full is one that has rung.
        let kick = move |queue: u16| drop((&*bell).write(&[IDS[usize::from(queue)] as u8]));
        let (link, features) = bring_up(
            driver,
            UNDERSTOOD,
            RINGS.map(|place| Parts::contiguous(&at(place, 0x400), &layout).unwrap()),
            [slots(), slots()],
            POOLS.map(pool),
            Box::new(kick) as Box<dyn Fn(u16)>,
        )
        .unwrap();
        assert_eq!(features & F_NS, F_NS);
        Rpmsg::new(link, vec![Slot::new(); 4])
    }

    /// Waits for what the remote does; sleeps in between as a host does, until it is kicked.
    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "the remote does not: {what}");
            let mut kicks = [0; 256];
            match self.bell.borrow_mut().read(&mut kicks) {
                Ok(0) => panic!("the remote is gone: {what}"),
                Ok(count) => {
                    let kicks = &kicks[..count];
                    assert!(kicks.iter().all(|id| IDS.contains(&u32::from(*id))), "{kicks:?}");
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                }
            }
        }
    }

    fn announcement(&self, host: &Host) -> Announcement {
        self.wait("announce", || match host.poll().unwrap() {
            Some(Event::Announcement(announcement)) => Some(announcement),
            Some(Event::Message(message)) => panic!("{message:?} before an announcement"),
            None => sleepy(host),
        })
    }

    fn message(&self, host: &Host) -> (u32, Vec<u8>) {
        self.wait("send", || match host.poll().unwrap() {
            Some(Event::Message(message)) => {
                let mut payload = vec![0; message.len()];
                message.read(0, &mut payload).unwrap();
                Some((message.src(), payload))
            }
            Some(Event::Announcement(announcement)) => panic!("{announcement:?}"),
            None => sleepy(host),
        })
    }

    /// A link that is up, with an endpoint bound to the remote's echo.
    fn connect(&self) -> (Host, Endpoint) {
        let host = self.host();
        let service = self.announcement(&host);
        assert_eq!((service.name, service.flags), (Name::new("rpmsg-echo").unwrap(), 0));
        let endpoint = host.open(ADDR_ANY, service.addr).unwrap();
        (host, endpoint)
    }

    fn echo(&self, host: &Host, endpoint: Endpoint, payload: &[u8]) {
        host.send(endpoint, payload).unwrap();
        let (src, answer) = self.message(host);
        assert_eq!((Some(src), &answer[..]), (host.peer(endpoint), payload));
    }

    fn needs_reset(&self) {
        let driver = self.driver();
        self.wait("ask for a reset", || driver.status().contains(Status::NEEDS_RESET).then_some(()));
    }
}

fn has_python(test: &str) -> bool {
    let found = Command::new("python3").arg("--version").output();
    if let Err(error) = &found {
        let _ = writeln!(io::stderr(), "not run: {test}: python3: {error}");
    }
    found.is_ok()
}

/// The program as it is started, without its arguments.
fn program() -> Command {
    let mut python = Command::new("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/remote.py"));
    python
}

fn da(place: usize) -> DeviceAddr {
    DeviceAddr(BASE + place as u64)
}

/// Nothing is there, and a kick is asked for; only then may one sleep.
fn sleepy<T>(host: &Host) -> Option<T> {
    if host.link().arm() {
        thread::yield_now();
    }
    None
}

fn start(file: &SharedMemory) -> (UnixStream, Program) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let remote = program()
        .args([BASE.to_string(), TABLE.to_string()])
        .stdin(file.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (ours, Program(remote))
}

#[test]
fn a_remote_from_the_book_echoes_messages_of_every_length() {
    let Some(bench) = Bench::new("python: lengths") else { return };
    let (host, endpoint) = bench.connect();
    for len in 0..=PAYLOAD {
        bench.echo(&host, endpoint, &vec![len as u8; len]);
    }
    let long = vec![0; PAYLOAD + 1];
    assert!(matches!(host.send(endpoint, &long), Err(SendError::TooLong { .. })));
    assert_eq!(host.drops().malformed.get() + host.drops().unknown_destination.get(), 0);
}

#[test]
fn a_remote_from_the_book_gets_all_messages_of_a_full_ring_in_their_order() {
    let Some(bench) = Bench::new("python: full ring") else { return };
    let (host, endpoint) = bench.connect();
    let (mut sent, mut received) = (0_u32, 0_u32);
    while received < 3000 {
        while sent < 3000 {
            match host.send(endpoint, &sent.to_le_bytes()) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let (_, payload) = bench.message(&host);
        assert_eq!(payload, received.to_le_bytes());
        received += 1;
    }
}

#[test]
fn a_remote_from_the_book_waits_for_driver_ok_whatever_kicks_come_before() {
    let Some(bench) = Bench::new("python: early kicks") else { return };
    let before: Vec<u8> = contents(&bench);
    for id in [IDS[0], 77, IDS[1], 0] {
        bench.bell.borrow_mut().write_all(&[id as u8]).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(contents(&bench), before, "nothing was written");
    let (host, endpoint) = bench.connect();
    bench.echo(&host, endpoint, b"late");
}

fn contents(bench: &Bench) -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    bench.memory.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_remote_from_the_book_drops_what_is_of_no_use_and_goes_on() {
    let Some(bench) = Bench::new("python: frames of no use") else { return };
    let (host, endpoint) = bench.connect();
    for turn in 0..20_u8 {
        host.send_to(endpoint, 4711, b"for nobody").unwrap();
        host.send_to(endpoint, ADDR_ANY, b"for nobody").unwrap();
        host.send_to(endpoint, 53, &[b'x'; 39]).unwrap();
        bench.echo(&host, endpoint, &[turn]);
    }
}

#[test]
fn a_remote_from_the_book_speaks_first_to_a_service_of_ours() {
    let Some(bench) = Bench::new("python: our services") else { return };
    let (host, endpoint) = bench.connect();
    for name in ["rpmsg-greet", "rpmsg-greet-2", "rpmsg-greeting", "rpmsg-greet-"] {
        let service = host.open(ADDR_ANY, ADDR_ANY).unwrap();
        host.announce(service, &Name::new(name).unwrap()).unwrap();
        // Known already: nothing new.
        host.announce(service, &Name::new(name).unwrap()).unwrap();
        if name == "rpmsg-greet" || name == "rpmsg-greet-2" {
            assert_eq!(bench.message(&host).1, b"hello", "{name}");
            host.send(service, b"for nobody").unwrap();
        }
        host.withdraw(service, &Name::new(name).unwrap()).unwrap();
        host.close(service);
        bench.echo(&host, endpoint, b"nothing else came");
    }
}

#[test]
fn a_remote_from_the_book_comes_back_after_any_reset() {
    let Some(bench) = Bench::new("python: resets") else { return };
    for turn in 0..12_u8 {
        let (host, endpoint) = bench.connect();
        for i in 0..turn {
            bench.echo(&host, endpoint, &[turn, i]);
        }
        if turn % 3 == 0 {
            bench.driver().set_status(Status::RESET);
            thread::sleep(Duration::from_millis(60));
        } else if turn % 3 == 1 {
            // In mid-traffic.
            host.send(endpoint, b"lost").unwrap();
        }
        // Else ready again before the remote looks, most of the time.
    }
}

/// A driver that accepts what was not offered.
struct Greedy(table::Driver<Arc<Mapping>>);

impl DriverTransport for Greedy {
    fn offered(&self) -> u64 {
        self.0.offered()
    }

    fn accept(&self, features: u64) {
        self.0.accept(features | 1 << 29);
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn set_status(&self, status: Status) {
        self.0.set_status(status);
    }
}

#[test]
fn a_remote_from_the_book_asks_for_a_reset_where_rules_are_broken() {
    let Some(bench) = Bench::new("python: broken rules") else { return };
    let layout = Layout::new(NUM, 64).unwrap();
    let ring = |at: u32| RINGS[1] + at as usize;
    for turn in 0..5 {
        let (host, endpoint) = bench.connect();
        bench.echo(&host, endpoint, b"well");
        // The next entry of queue 1, which a plain message would use.
        match turn {
            0 => bench.memory.store(ring(layout.available_index()), 1000_u16).unwrap(),
            1 => {
                bench.memory.store(ring(layout.available_ring() + 2), 8_u16).unwrap();
                bench.memory.store(ring(layout.available_index()), 2_u16).unwrap();
            }
            _ => {
                // Descriptor 1: outside of the memory, writable, too short.
                let (at, value) = [(16, u32::MAX), (28, 2 << 16 | 2), (24, 15)][turn - 2];
                host.send(endpoint, b"x").map(|()| bench.message(&host)).unwrap();
                bench.memory.store(ring(16), da(POOLS[1]).0).unwrap();
                bench.memory.store(ring(24), 20_u32).unwrap();
                bench.memory.store(ring(28), 0_u32).unwrap();
                bench.memory.store(ring(at), value).unwrap();
                bench.memory.store(ring(layout.available_ring() + 4), 1_u16).unwrap();
                bench.memory.store(ring(layout.available_index()), 3_u16).unwrap();
            }
        }
        bench.bell.borrow_mut().write_all(&[IDS[1] as u8]).unwrap();
        bench.needs_reset();
        assert!(bench.driver().status().contains(Status::DRIVER_OK), "the other bits stay");
    }
    let _host = bench.host_over(&Greedy(bench.driver()));
    bench.needs_reset();
    let (host, endpoint) = bench.connect();
    bench.echo(&host, endpoint, b"well again");
}

#[test]
fn a_remote_from_the_book_that_is_restarted_alone_asks_for_a_reset() {
    let Some(bench) = Bench::new("python: restart") else { return };
    for _ in 0..2 {
        let (host, endpoint) = bench.connect();
        bench.echo(&host, endpoint, b"before");
        drop(bench.remote.take());
        let (bell, remote) = start(&bench.file);
        bench.bell.replace(bell);
        bench.remote.replace(Some(remote));
        bench.needs_reset();
    }
    let (host, endpoint) = bench.connect();
    bench.echo(&host, endpoint, b"after");
}

/// As people do it: the main side attaches to a peer in another process.
#[test]
fn our_main_side_attaches_to_a_remote_from_the_book_and_misses_it_when_it_goes() {
    if !has_python("python: attach") {
        return;
    }
    guard_bus_errors().unwrap();
    let at = |end| PathBuf::from(format!("/dev/shm/sidecore-book-{}.{end}", std::process::id()));
    let (file, socket) = (at("shm"), at("event"));
    let remote = Program(program().args([&file, &socket]).spawn().unwrap());
    let config =
        Config { memory: file.clone(), socket: socket.clone(), patience: DEADLINE, ..Config::openamp() };
    let mut processor = Processor::detached(Shm::new(config).unwrap(), Options::new("book"));
    let attached = processor.attach(None);
    let removed = [file, socket].map(std::fs::remove_file);
    attached.unwrap();
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    let endpoint = processor.open("rpmsg-echo", DEADLINE).unwrap();
    for len in 0..=496 {
        let payload = vec![len as u8; len];
        processor.send(endpoint, &payload, DEADLINE).unwrap();
        assert_eq!(processor.receive(endpoint, Some(DEADLINE)).unwrap().to_vec().unwrap(), payload);
    }
    drop(remote);
    while processor.ended().is_none() {
        assert!(processor.wait(Some(DEADLINE)));
    }
}
