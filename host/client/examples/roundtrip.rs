//! What a round trip costs by each of the ways to a remote, in one run.
//!
//! ```text
//! cargo xtask images
//! cargo build --release -p sidecored
//! cargo run --release -p sidecore-client --example roundtrip [BYTES]
//! ```
//!
//! There are remotes that send back what they get, in the sandbox. The ways take turns, so that what else the machine does meets
//! all of them. A bus and a daemon of its own are started for those that need one.

#![allow(clippy::unwrap_used)] // A measurement.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_client::{Client, Endpoint, Error, LeaseMode, OpenOptions, Places, StartOptions};
use sidecore_os::poll_until;
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::Firmware;

const SOON: Duration = Duration::from_secs(20);
/// Round trips in a turn, and turns.
const TRIPS: u32 = 2000;
const TURNS: usize = 31;

/// What it is called, and a round trip by it.
type Way = (&'static str, Box<dyn FnMut()>);

fn main() {
    sidecore_client::hook();
    let bytes = std::env::args().nth(1).map_or(64, |bytes| bytes.parse().unwrap());
    let message = vec![7; bytes];
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    let processor = bare();
    let bare = processor.open("rpmsg-echo", SOON).unwrap();

    let direct = Client::direct_in(Places::new().runtime_dir(Some(place.path().join("direct"))));
    let (one, two) = (start(&direct, "one"), start(&direct, "two"));
    let daemon = Daemon::new(place.path());
    let client = Client::bus(&daemon.address).unwrap();
    let shared = start(&client, "shared");
    let leased = client.start("leased", &File::open(echo()).unwrap(), &StartOptions::new()).unwrap();
    let lease = match leased.lease(LeaseMode::Exclusive) {
        Ok(lease) => Some(lease.processor().open("rpmsg-echo", OpenOptions::new()).unwrap()),
        Err(Error::Unsupported { why }) => {
            eprintln!("no exclusive lease: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    };

    let mut room = [0; 1024];
    let mut ways: Vec<Way> = Vec::new();
    {
        let (message, mut room) = (message.clone(), room);
        ways.push((
            "a processor by itself (sidecore-processor)",
            Box::new(move || {
                processor.try_send(bare, &message).unwrap();
                let answer = processor.receive(bare, Some(SOON)).unwrap();
                answer.read(0, &mut room[..answer.len()]).unwrap();
            }),
        ));
    }
    let mut add = |name, endpoint: Endpoint| {
        let (message, mut room) = (message.clone(), room);
        let trip = move || {
            endpoint.send(&message, SOON).unwrap();
            endpoint.receive_into(&mut room, SOON).unwrap();
        };
        ways.push((name, Box::new(trip)));
    };
    add("the client, direct", one);
    lease.into_iter().for_each(|endpoint| add("the client, by an exclusive lease of the daemon's", endpoint));
    add("the client, shared: by the daemon's keeper", shared);
    let message = message.clone();
    let polled = move || {
        two.send(&message, SOON).unwrap();
        while two.try_receive_into(&mut room).unwrap().is_none() {
            poll_until(&mut [PollFd::new(&two, PollFlags::IN)], Some(Instant::now() + SOON)).unwrap();
        }
    };
    ways.push(("the client, direct, with poll on its descriptor", Box::new(polled)));
    report(&mut ways);
    drop(ways);
    // Keepers outlive their daemon, and what nobody has a lease on its clients.
    for info in client.processors().unwrap() {
        client.processor(&info.name).unwrap().remove().unwrap();
    }
    drop(daemon);
}

fn report(ways: &mut [Way]) {
    let mut times = vec![Vec::new(); ways.len()];
    for turn in 0..TURNS {
        for (times, (_, trip)) in times.iter_mut().zip(&mut *ways) {
            let begin = Instant::now();
            (0..TRIPS).for_each(|_| trip());
            // The first one warms up.
            if turn > 0 {
                times.push(begin.elapsed() / TRIPS);
            }
        }
    }
    let quickest: Vec<f64> = times
        .iter_mut()
        .map(|times| {
            times.sort();
            // What else the machine does makes turns slower, and never quicker.
            times[0].as_nanos() as f64
        })
        .collect();
    println!(
        "CPUs: {}; the quickest of {} turns of {TRIPS} round trips",
        sidecore_os::cpu_count(),
        TURNS - 1
    );
    for (time, (name, _)) in quickest.iter().zip(ways) {
        println!("{:>9.2} us {:>6.2}x  {name}", time / 1000.0, time / quickest[0]);
    }
}

/// A main side without anything around it.
fn bare() -> Processor<Sandbox> {
    let file = fs::read(echo()).unwrap();
    let sandbox = Sandbox::new(Config::default()).unwrap();
    let mut processor = Processor::new(sandbox, Options::new("bare"));
    processor.load(&Firmware::parse(&file).unwrap()).unwrap();
    processor.start().unwrap();
    processor
}

fn start(client: &Client, name: &str) -> Endpoint {
    let options = StartOptions::new().lease(LeaseMode::Tied);
    let processor = client.start(name, &File::open(echo()).unwrap(), &options).unwrap();
    processor.open("rpmsg-echo", OpenOptions::new()).unwrap()
}

/// A bus with a daemon.
struct Daemon {
    address: String,
    processes: [Child; 2],
}

impl Daemon {
    fn new(place: &Path) -> Self {
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:path={}", place.join("bus").display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a dbus-daemon (Debian: dbus)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim_end().to_owned();
        let program = built("sidecored");
        let daemon = Command::new(&program)
            .arg("--session")
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .env("XDG_RUNTIME_DIR", place)
            .env("XDG_STATE_HOME", place)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}: `cargo build -p sidecored` makes it", program.display())
            });
        let begin = Instant::now();
        while Client::bus(&address).is_err() {
            assert!(begin.elapsed() < SOON, "no daemon");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, processes: [daemon, bus] }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn echo() -> PathBuf {
    built(&format!("../images/{}-unknown-linux-gnu/release/echo", std::env::consts::ARCH))
}

/// This program is in `examples` beside it.
fn built(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name)
}
