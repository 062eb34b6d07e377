//! A remote's console as a descriptor.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags};
use sidecore_os::poll_until;
use sidecore_processor::console::{Console, Input};
use sidecore_services::console::Stream;

use super::helm::{Helm, Signal};
use crate::error::{Error, Result};

/// Where the console's other end is put. What is said while there is none is lost, as from a terminal that is switched off.
#[derive(Clone, Default)]
pub(crate) struct Outlet(Arc<Mutex<Option<Plug>>>);

struct Plug {
    /// No other has it.
    number: usize,
    stream: UnixStream,
    /// Output that the stream has no room for.
    waiting: Vec<u8>,
    written: usize,
    is_input_over: bool,
}

/// The next plug's.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Opens it: a stream socket.
pub(crate) fn open(helm: &Arc<Helm>, outlet: &Outlet) -> Result<OwnedFd> {
    let failed = |error: io::Error| Error::system("open a console", error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let watched = ours.try_clone().map_err(failed)?;
    let end = helm.end_signal()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    {
        let mut plug = outlet.lock();
        if plug.as_ref().is_some_and(|plug| !plug.is_gone()) {
            return Err(Error::WrongState { why: "the console is open already".to_owned() });
        }
        *plug = Some(Plug { number, stream: ours, waiting: Vec::new(), written: 0, is_input_over: false });
    }
    let (helm, outlet) = (Arc::clone(helm), outlet.clone());
    let carrier = thread::Builder::new().name("sidecore-console".to_owned());
    // Who reads a descriptor makes no calls of ours, by which the remote would be looked after.
    let carrier = carrier.spawn(move || carry(&helm, &end, &outlet, number, &watched));
    carrier.map_err(failed)?;
    Ok(theirs.into())
}

/// Keeps the remote going until the other end is closed, or the remote ends.
fn carry(helm: &Helm, end: &Signal, outlet: &Outlet, number: usize, stream: &UnixStream) {
    helm.watch();
    loop {
        helm.look();
        let is_over = helm.with(|deck| deck.processor.ended().is_some());
        let (is_full, is_input_over) = {
            let mut place = outlet.lock();
            // Another one may be there already.
            let Some(plug) = place.as_mut().filter(|plug| plug.number == number) else { return };
            plug.flush();
            let is_full = !plug.waiting.is_empty();
            if plug.is_gone() || is_over && !is_full {
                *place = None;
                return;
            }
            (is_full, plug.is_input_over)
        };
        let mut wanted = if is_full { PollFlags::OUT } else { PollFlags::empty() };
        if !is_input_over {
            wanted |= PollFlags::IN;
        }
        let mut fds = [PollFd::new(stream, wanted), PollFd::new(end.joined(), PollFlags::IN)];
        if poll_until(&mut fds[..], None).is_err() {
            return;
        }
    }
}

impl Outlet {
    fn lock(&self) -> MutexGuard<'_, Option<Plug>> {
        // Nothing in there is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plug {
    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    self.written += written;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.written += self.waiting.len();
                    self.waiting.clear();
                }
            }
        }
    }

    /// Whether the other end is closed.
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        let looked = poll_until(&mut fds, Some(std::time::Instant::now()));
        looked.is_ok_and(|_| fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }
}

impl Console for Outlet {
    fn output(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        // At most a window of them, which is counted when it is away.
        if let Some(plug) = &mut *self.lock() {
            plug.waiting.extend_from_slice(bytes);
            plug.flush();
        }
        Ok(())
    }

    fn written(&mut self) -> usize {
        self.lock().as_mut().map_or(usize::MAX, |plug| {
            plug.flush();
            std::mem::take(&mut plug.written)
        })
    }

    fn input(&mut self, to: &mut [u8]) -> Input {
        let mut plug = self.lock();
        let Some(plug) = plug.as_mut().filter(|plug| !plug.is_input_over) else { return Input::Wait };
        loop {
            match plug.stream.read(to) {
                // Who opens the console next has input again.
                Ok(0) => {
                    plug.is_input_over = true;
                    return Input::Wait;
                }
                Ok(len) => return Input::Bytes(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Input::Wait,
            }
        }
    }
}
