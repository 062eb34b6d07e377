//! The standard streams as a remote's console: bytes go through as they are.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sidecore_processor::console::{Console, Input};
use sidecore_services::console::Stream;

/// Tells whoever serves the console that there is something to look at.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The standard output, error and input.
pub(crate) struct Terminal {
    written: usize,
    stdin: Option<Arc<Stdin>>,
    wake: Wake,
    unwritten: Unwritten,
}

/// Why output could not be written, if it could not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwritten(Arc<Mutex<Option<io::Error>>>);

impl Unwritten {
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Terminal {
    /// `wake` is called when input comes. The standard input is left alone until the remote asks for some.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> (Self, Unwritten) {
        let unwritten = Unwritten::default();
        (Self { written: 0, stdin: None, wake: Arc::new(wake), unwritten: unwritten.clone() }, unwritten)
    }
}

impl Console for Terminal {
    fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let written = match stream {
            Stream::Out => write_through(&mut io::stdout().lock(), bytes),
            Stream::Err => write_through(&mut io::stderr().lock(), bytes),
        };
        self.written += bytes.len();
        written.map_err(|error| {
            let kind = error.kind();
            *self.unwritten.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            kind.into()
        })
    }

    fn written(&mut self) -> usize {
        std::mem::take(&mut self.written)
    }

    fn input(&mut self, to: &mut [u8]) -> Input {
        let stdin = self.stdin.get_or_insert_with(|| Stdin::open(self.wake.clone()));
        stdin.take(to)
    }
}

/// Writes all of it, also where whoever shares the terminal has made it nonblocking.
pub(crate) fn write_through(to: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}

/// The standard input, read by a thread of its own in pieces: one piece whenever all before it was taken and more is
/// wanted. What the remote never asks for stays where it is.
struct Stdin {
    state: Mutex<State>,
    wanted: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    wanted: bool,
    over: bool,
}

const PIECE: usize = 4096;

impl Stdin {
    fn open(wake: Wake) -> Arc<Self> {
        let stdin = Arc::new(Self { state: Mutex::default(), wanted: Condvar::new() });
        let reader = Arc::clone(&stdin);
        let thread = thread::Builder::new().name("stdin".to_owned()).spawn(move || reader.read(&*wake));
        if thread.is_err() {
            stdin.lock().over = true;
        }
        stdin
    }

    fn take(&self, to: &mut [u8]) -> Input {
        let mut state = self.lock();
        if state.bytes.is_empty() {
            if state.over {
                return Input::End;
            }
            state.wanted = true;
            self.wanted.notify_one();
            return Input::Wait;
        }
        let len = state.bytes.len().min(to.len());
        for (place, byte) in to.iter_mut().zip(state.bytes.drain(..len)) {
            *place = byte;
        }
        Input::Bytes(len)
    }

    fn read(&self, wake: &dyn Fn()) {
        let mut piece = [0; PIECE];
        loop {
            let asked = self.wanted.wait_while(self.lock(), |state| !state.wanted);
            drop(asked.unwrap_or_else(PoisonError::into_inner));
            let len = match io::stdin().lock().read(&mut piece) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                // An input that cannot be read (a directory, a lost terminal) is one with nothing in it.
                Err(_) => 0,
            };
            let mut state = self.lock();
            state.wanted = false;
            state.over = len == 0;
            state.bytes.extend(&piece[..len]);
            let over = state.over;
            drop(state);
            wake();
            if over {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
