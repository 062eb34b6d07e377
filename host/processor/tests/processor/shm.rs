//! A peer in another process: here a thread that maps the same file, with OpenAMP's layout.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bench::ParseName as _;
use sidecore_backends::shm::{Config, Rings, Seat, Shm};
use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_os::{Lent, guard_bus_errors};
use sidecore_processor::{Ended, Event, Lost, Options, Processor, Responder, SendError};
use sidecore_remoteproc::{BackendError, RemoteError};
use sidecore_rpmsg::remote::attach;
use sidecore_rpmsg::{ADDR_ANY, Link as _, Rpmsg, Slot};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::{DeviceTransport as _, DriverTransport as _, table};
use sidecore_wire::features::{F_EPOCH, F_NS};
use sidecore_wire::resource_table::{Builder, VdevHeader, Vring, vdev};
use sidecore_wire::status::Status;

const LEN: u64 = 0x8_0000;
const SERVICE: &str = "rpmsg-openamp-demo-channel";
/// Ten times what anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// File and socket of a test, gone with it.
struct Place {
    file: PathBuf,
    socket: PathBuf,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let at =
            |suffix| PathBuf::from(format!("/dev/shm/sidecore-{}-{number}.{suffix}", std::process::id()));
        Self { file: at("shm"), socket: at("event") }
    }

    fn config(&self) -> Config {
        let (memory, socket) = (self.file.clone(), self.socket.clone());
        Config { memory, socket, patience: LONG, ..Config::openamp() }
    }

    fn processor(&self) -> Processor<Shm> {
        guard_bus_errors().unwrap();
        Processor::detached(Shm::new(self.config()).unwrap(), Options::new("peer"))
    }

    /// The file, with such a resource table.
    fn make(&self, table: &[u8]) -> File {
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(&self.file).unwrap();
        file.set_len(LEN).unwrap();
        file.write_all(table).unwrap();
        file
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn openamp_table() -> Vec<u8> {
    table_of(F_NS, &[])
}

fn table_of(features: u64, config: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 256];
    let mut builder = Builder::new(&mut bytes, 1).unwrap();
    let (id, dfeatures) = (vdev::ID_RPMSG, features as u32);
    let header = VdevHeader { id, dfeatures, num_of_vrings: 2, ..VdevHeader::default() };
    let ring = |da, notifyid| Vring { da, align: 0x1000, num: 256, notifyid, pa: 0 };
    builder.vdev(&header, &[ring(0x4000, 1), ring(0x8000, 2)], config).unwrap();
    builder.finish().to_vec()
}

/// Announces the service and sends everything back, until it is told to end.
struct Peer {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(place: &Place) -> Self {
        guard_bus_errors().unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let (told, file) = (Arc::clone(&end), place.make(&openamp_table()));
        let listener = UnixListener::bind(&place.socket).unwrap();
        let thread = std::thread::spawn(move || {
            let region = Lent::map(file.as_fd(), 0, LEN).unwrap().region();
            let socket = listener.accept().unwrap().0;
            serve(&region, socket, &told);
        });
        Self { end, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn serve(region: &Region<Arc<Lent>>, mut socket: UnixStream, end: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let bell = socket.try_clone().unwrap();
    let registers = table::Device::new(region, 20).unwrap();
    let mut messages = None;
    while !end.load(Ordering::Relaxed) {
        if registers.poll() == Change::Started {
            let mut map = AddressMap::<_, 32>::new();
            map.insert(DeviceAddr(0), region.clone()).unwrap();
            let bell = bell.try_clone().unwrap();
            let kick = |_| move |_: u16| drop((&bell).write(&[1]));
            let (link, _) = attach(&registers, map, vec![Cell::new(0); 256], kick).unwrap();
            let rpmsg = Rpmsg::new(link, vec![Slot::new(); 4]);
            let endpoint = rpmsg.open(ADDR_ANY, ADDR_ANY).unwrap();
            rpmsg.announce(endpoint, &SERVICE.parse_name()).unwrap();
            messages = Some(rpmsg);
        }
        if let Some(rpmsg) = &messages {
            while let Ok(Some(event)) = rpmsg.poll() {
                if let sidecore_rpmsg::Event::Message(message) = event {
                    let mut payload = vec![0; message.len()];
                    message.read(0, &mut payload).unwrap();
                    message.reply(&payload).unwrap();
                }
            }
            if rpmsg.link().arm() {
                continue;
            }
        }
        match socket.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        }
    }
}

fn attach_error(processor: &mut Processor<Shm>) -> String {
    processor.attach(None).unwrap_err().to_string()
}

#[test]
fn a_peer_with_openamps_layout_is_attached_to_talked_with_and_missed_when_it_goes() {
    let place = Place::new();
    let mut peer = Peer::start(&place);
    let mut processor = place.processor();
    processor.attach(None).unwrap();
    let endpoint = processor.open(SERVICE, LONG).unwrap();
    for len in (0..=496).chain((0..2000).map(|turn| turn % 497)) {
        let payload = vec![len as u8; len];
        processor.send(endpoint, &payload, LONG).unwrap();
        assert_eq!(processor.receive(endpoint, Some(LONG)).unwrap().to_vec().unwrap(), payload);
    }
    let vdev = processor.remote().vdevs()[0].clone();
    assert_eq!(vdev.vrings.iter().map(|ring| ring.at.0).collect::<Vec<_>>(), [0x4000, 0x8000]);
    assert_eq!(vdev.buffers.unwrap().at, DeviceAddr(0x1_0000));
    peer.stop();
    while processor.ended().is_none() {
        assert!(processor.wait(Some(LONG)));
    }
    let Some(Ended::Lost(error)) = processor.ended() else { panic!("{:?}", processor.ended()) };
    assert_eq!(error.to_string(), "the peer is gone: it closed the socket");
    assert!(matches!(processor.try_send(endpoint, b"x"), Err(SendError::Lost(Lost::Ended(_)))));
}

#[test]
fn a_remote_without_a_table_that_hears_no_first_kick_is_kicked_again() {
    let place = Place::new();
    drop(place.make(&[]));
    let listener = UnixListener::bind(&place.socket).unwrap();
    guard_bus_errors().unwrap();
    let config = Config { table: None, ..place.config() };
    let mut processor = Processor::detached(Shm::new(config).unwrap(), Options::new("peer"));
    processor.attach(None).unwrap();
    let mut socket = listener.accept().unwrap().0;
    let mut kicks = 0;
    while kicks < 3 {
        processor.wait(Some(Duration::from_millis(10)));
        socket.set_nonblocking(true).unwrap();
        kicks += socket.read(&mut [0; 1]).unwrap_or(0);
    }
    // Who speaks is there.
    socket.write_all(&[1]).unwrap();
    while processor.wait(Some(Duration::from_millis(10))) {}
    while socket.read(&mut [0; 64]).is_ok() {}
    assert!(!processor.wait(Some(Duration::from_millis(300))));
    assert_eq!(socket.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn two_of_ours_meet_where_no_resource_table_says_what_lies_where() {
    let place = Place::new();
    guard_bus_errors().unwrap();
    let rings = Some(Rings { at: [0x400, 0], num: 4, align: 16 });
    let config = Config { table: None, rings, buffer: 64, free: 0x1000..0x2000, ..place.config() };
    let table = config.resource_table(F_NS as u32).unwrap();
    let seat = Seat::new(config.clone()).unwrap();
    let mut responder = Responder::new(seat, table, vec!["echo".parse().unwrap()]).unwrap();
    let stop = responder.stopper();
    let thread = std::thread::spawn(move || responder.serve(&mut |_| {}).unwrap());
    for _ in 0..3 {
        let mut processor = Processor::detached(Shm::new(config.clone()).unwrap(), Options::new("peer"));
        processor.attach(None).unwrap();
        let endpoint = processor.open("rpmsg-echo", LONG).unwrap();
        for len in (0..200).map(|turn| turn % 49) {
            processor.send(endpoint, &vec![len as u8; len], LONG).unwrap();
            let answer = processor.receive(endpoint, Some(LONG)).unwrap().to_vec().unwrap();
            assert_eq!(answer, vec![len as u8; len]);
        }
        assert!(matches!(processor.try_send(endpoint, &[0; 49]), Err(SendError::TooLong { max: 48, .. })));
        processor.detach().unwrap();
    }
    stop();
    thread.join().unwrap();
}

#[test]
fn a_main_side_that_attaches_gives_the_remote_time_to_let_go_of_the_rings_before() {
    let place = Place::new();
    let file = place.make(&openamp_table());
    let _listener = UnixListener::bind(&place.socket).unwrap();
    let memory = Lent::map(file.as_fd(), 0, LEN).unwrap().region();
    // The used index of the ring from the remote: what it wrote for the main side before.
    let used = memory.word::<u16>(0x4000 + 0x2000 + 2).unwrap();
    used.store(7);
    let registers = table::Driver::new(&memory, 20).unwrap();
    registers.set_status(Status(15));
    let attached = std::thread::spawn({
        let options = Options { quiesce: Duration::from_secs(2), ..Options::new("peer") };
        let mut processor = Processor::detached(Shm::new(place.config()).unwrap(), options);
        move || processor.attach(None).map(|()| processor).unwrap()
    });
    while registers.status() != Status::RESET {
        assert!(!attached.is_finished(), "no reset");
        std::thread::yield_now();
    }
    // A remote that looks every 100 ms.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((registers.status(), used.load()), (Status::RESET, 7));
    let _processor = attached.join().unwrap();
    assert_eq!((registers.status(), used.load()), (Status(7), 0));
}

#[test]
fn reset_19_a_main_side_that_attaches_goes_on_when_the_remote_says_that_it_has_let_go() {
    // Whether it says so, and how long the main side is ready to wait.
    for (tells, quiesce) in [(true, LONG), (false, Duration::from_millis(20))] {
        let place = Place::new();
        let file = place.make(&table_of(F_NS | F_EPOCH, &[0; 8]));
        let _listener = UnixListener::bind(&place.socket).unwrap();
        let memory = Lent::map(file.as_fd(), 0, LEN).unwrap().region();
        let used = memory.word::<u16>(0x4000 + 0x2000 + 2).unwrap();
        used.store(7);
        let device = table::Device::new(&memory, 20).unwrap();
        assert!(!device.acknowledge(), "nobody has reset it");
        memory.store(20 + vdev::offset::STATUS, 15_u8).unwrap();
        let attached = std::thread::spawn({
            let options = Options { quiesce, ..Options::new("peer") };
            let mut processor = Processor::detached(Shm::new(place.config()).unwrap(), options);
            move || processor.attach(None).map(|()| processor).unwrap()
        });
        if tells {
            while device.status() != Status::RESET {
                assert!(!attached.is_finished(), "no reset");
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!((device.status(), used.load()), (Status::RESET, 7), "it waits");
            assert!(device.acknowledge());
        }
        let processor = attached.join().unwrap();
        assert_eq!((device.status(), used.load()), (Status(7), 0));
        let told = std::iter::from_fn(|| processor.event())
            .any(|event| matches!(event, Event::ResetNotAcknowledged { device: 0, .. }));
        assert_ne!(told, tells);
    }
}

#[test]
fn a_peer_that_comes_late_is_waited_for_and_one_that_never_comes_is_named() {
    let place = Place::new();
    let mut processor = place.processor();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            Peer::start(&place)
        });
        processor.attach(None).unwrap();
        processor.open(SERVICE, LONG).unwrap();
        late.join().unwrap().stop();
    });

    let nobody = Place::new();
    let config = Config { patience: Duration::from_millis(20), ..nobody.config() };
    let mut processor = Processor::detached(Shm::new(config).unwrap(), Options::new("nobody"));
    let error = attach_error(&mut processor);
    assert!(error.contains(nobody.socket.to_str().unwrap()), "{error}");
}

#[test]
fn a_file_that_is_none_too_short_or_without_a_table_is_refused() {
    let place = Place::new();
    let _listener = UnixListener::bind(&place.socket).unwrap();
    let config = Config { patience: Duration::from_millis(20), ..place.config() };
    let mut processor = Processor::detached(Shm::new(config).unwrap(), Options::new("peer"));
    assert!(attach_error(&mut processor).contains(place.file.to_str().unwrap()));
    let file = place.make(&[]);
    assert!(attach_error(&mut processor).contains("find the peer's resource table"));
    file.set_len(LEN - 1).unwrap();
    assert!(attach_error(&mut processor).contains("its file is shorter"));
    let mut table = openamp_table();
    // The count of entries.
    table[4] = 200;
    place.make(&table);
    let error = processor.attach(None).unwrap_err();
    assert!(matches!(error, RemoteError::Plan(_)), "{error}");
    let mut table = openamp_table();
    // The first ring's address.
    table[48..52].copy_from_slice(&0x7_f000_u32.to_le_bytes());
    place.make(&table);
    processor.attach(None).unwrap();
    assert!(matches!(processor.event(), Some(Event::DeviceFailed { device: 0, .. })));
}

#[test]
fn a_file_that_is_cut_short_costs_the_link_and_nothing_else() {
    let place = Place::new();
    let mut peer = Peer::start(&place);
    let mut processor = place.processor();
    processor.attach(None).unwrap();
    let endpoint = processor.open(SERVICE, LONG).unwrap();
    // The peer is ours, and would be hurt as well.
    peer.end.store(true, Ordering::Relaxed);
    let file = File::options().write(true).open(&place.file).unwrap();
    file.set_len(0x1000).unwrap();
    let mut result = Ok(());
    while result.is_ok() && processor.ended().is_none() {
        result = processor.send(endpoint, b"into the void", Duration::from_millis(50));
    }
    processor.wait(Some(LONG));
    assert!(matches!(processor.ended(), Some(Ended::Lost(BackendError::ExecutorLost { .. }))));
    peer.thread.take().into_iter().for_each(|thread| drop(thread.join()));
}
