//! The suites of protocol, restarts and hostile remotes, over real firmware: in the sandbox, and on every board that this
//! machine has. Tests are named `PLACE::SUITE::CASE`; images are those of `cargo xtask images --all`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use sidecore_backends::Any;
use sidecore_backends::qemu::{self, Beside, Board, Qemu};
use sidecore_backends::sandbox::{self, Sandbox};
use sidecore_lab::watchdog;
use sidecore_processor::{Endpoint, Event, Options, Processor};
use sidecore_remoteproc::Firmware;

mod hostile;
mod many;
mod protocol;
mod restart;
mod silent;

/// How long anything may take on a machine that does other things too.
const SOON: Duration = Duration::from_secs(20);
/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(100);

/// Somewhere that firmware can be run.
#[derive(Clone)]
struct Place {
    name: String,
    images: PathBuf,
    /// `None`: the sandbox.
    board: Option<Board>,
}

/// A case, with its name and whether it is for boards alone.
type Case = (&'static str, fn(&Place), bool);

fn main() -> ExitCode {
    sandbox::hook();
    let arguments = Arguments::from_args();
    let everywhere = [protocol::CASES, restart::CASES, hostile::CASES].concat();
    let mut trials = Vec::new();
    for place in places(arguments.filter.as_deref().unwrap_or_default()) {
        let sandbox_alone =
            if place.board.is_none() { [many::CASES, silent::CASES].concat() } else { Vec::new() };
        for (name, case, boards_alone) in everywhere.iter().chain(&sandbox_alone) {
            if *boards_alone && place.board.is_none() {
                continue;
            }
            let (case, place) = (*case, place.clone());
            trials.push(Trial::test(format!("{}::{name}", place.name), move || {
                watchdog::within(LIMIT, move || case(&place));
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All places that there are here. What is missing for the others is said, unless tests of another place are wanted.
fn places(filter: &str) -> Vec<Place> {
    let program = std::env::current_exe().unwrap();
    let images = program.ancestors().nth(3).unwrap().join("images");
    let sandbox = images.join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).join("release");
    let mut places = vec![Place { name: "sandbox".to_owned(), images: sandbox, board: None }];
    let mut missing = Vec::new();
    for board in Board::all() {
        let images = images.join(&board.target).join("firmware");
        match qemu::check(&board) {
            Ok(_) => places.push(Place { name: board.name.clone(), images, board: Some(board) }),
            Err(error) => missing.push((board.name, error.to_string())),
        }
    }
    places.retain(|place| {
        let is_there = place.images.join("liar").exists();
        if !is_there {
            missing.push((place.name.clone(), "no images; cargo xtask images --all".to_owned()));
        }
        is_there
    });
    let wanted = filter.split_once("::").map(|(place, _)| place);
    for (name, why) in missing.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == name)) {
        eprintln!("not run: {name}: {why}");
    }
    places
}

impl Place {
    fn backend(&self) -> Any {
        match &self.board {
            None => Sandbox::new(sandbox::Config::default()).unwrap().into(),
            Some(board) => Qemu::new(qemu::Config::new(board.clone())).unwrap().into(),
        }
    }

    fn image(&self, name: &str) -> Vec<u8> {
        let path: &Path = &self.images.join(name);
        std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A board with these images on its two cores, that runs; `None` where there is one core.
    fn start_pair(&self, first: &str, other: &str) -> Option<Processor<Any>> {
        let board = self.board.clone().filter(|board| board.sibling.is_some())?;
        let images = self.images.ancestors().nth(2)?.join("core-1").join(&board.target).join("firmware");
        let other = std::fs::read(images.join(other)).unwrap();
        let beside = Some(Beside::new(&Firmware::parse(&other).unwrap()));
        let backend = Qemu::new(qemu::Config { beside, ..qemu::Config::new(board) }).unwrap();
        let mut processor = Processor::new(Any::from(backend), Options::new(first));
        processor.load(&Firmware::parse(&self.image(first)).unwrap()).unwrap();
        processor.start().unwrap();
        Some(processor)
    }

    /// A remote with this image, that runs.
    fn start(&self, image: &str) -> Remote {
        let mut processor = Processor::new(self.backend(), Options::new(image));
        processor.load(&Firmware::parse(&self.image(image)).unwrap()).unwrap();
        processor.start().unwrap();
        Remote { processor, events: RefCell::default() }
    }
}

/// A remote, and what it did.
struct Remote {
    processor: Processor<Any>,
    events: RefCell<Vec<Event>>,
}

impl Remote {
    fn open(&self, service: &str) -> Endpoint {
        self.processor.open(service, SOON).unwrap()
    }

    fn send(&self, endpoint: Endpoint, bytes: &[u8]) {
        self.processor.send(endpoint, bytes, SOON).unwrap();
    }

    fn receive(&self, endpoint: Endpoint) -> Vec<u8> {
        self.processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap()
    }

    /// Sends a message to whoever sends it back, and checks that.
    fn echo(&self, endpoint: Endpoint, bytes: &[u8]) {
        self.send(endpoint, bytes);
        assert_eq!(self.receive(endpoint), bytes);
    }

    /// Everything that happened so far.
    fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().extend(std::iter::from_fn(|| self.processor.event()));
        self.events.borrow().clone()
    }
}

/// A message of this length, different for each number.
fn message(len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + number * 7) as u8).collect()
}
