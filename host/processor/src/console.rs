//! The console service: a remote's output, input and arguments, joined to whatever the application has for a console.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecore_services::console::server::Event;
use sidecore_services::console::{Arguments, ArgumentsError, SERVICE, Server, Stream};
use sidecore_services::{NoRoom, PeerError};

use crate::service::{Offer, Serve, ServiceEvent};

/// Bytes of output that a remote may be ahead of what the application has written out.
pub const OUTPUT_WINDOW: u32 = 64 * 1024;

/// What an application has for a console.
pub trait Console: Send {
    /// Takes output of the remote: any bytes. At most [`OUTPUT_WINDOW`] of them are given that
    /// [`written`](Self::written) has not counted yet, so an implementation that writes in its own time can keep them.
    ///
    /// # Errors
    /// Nobody can read the output any more. It is not called again.
    fn output(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()>;

    /// Bytes of output written out since the last call.
    fn written(&mut self) -> usize;

    /// Input for the remote, which takes at least one byte now. Before the first call nobody has asked for input, so
    /// none should be taken from whoever else might want it.
    fn input(&mut self, to: &mut [u8]) -> Input;
}

/// What there is of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// So many bytes.
    Bytes(usize),
    /// None now. When there is some, whoever has it wakes the processor up.
    Wait,
    /// None any more.
    End,
}

/// Offers a console to a remote: to one channel at a time, since there is one console. Once that channel or its run of the
/// remote has ended, the next may have it; input that was taken for a run that has ended goes to the next one.
///
/// # Errors
/// An argument holds a NUL, or all together are longer than 1 MiB.
pub fn offer(console: impl Console + 'static, arguments: &[&[u8]]) -> Result<Offer, ArgumentsError> {
    let mut bytes = Vec::new();
    for argument in arguments {
        Arguments::append(&mut bytes, argument)?;
    }
    // Refused now rather than when somebody asks for it.
    Server::new(&bytes[..], OUTPUT_WINDOW)?;
    let kept = Kept { console: Box::new(console), input: VecDeque::new(), input_over: false, broken: false };
    let rack: Rack = Arc::new(Mutex::new(Some(kept)));
    let open = move || {
        let server = Server::new(bytes.clone(), OUTPUT_WINDOW).ok()?;
        let kept = lock(&rack).take()?;
        let rack = Arc::clone(&rack);
        Some(Box::new(Served { server, kept: Some(kept), rack, events: VecDeque::new() }) as Box<dyn Serve>)
    };
    Ok(Offer { channel: SERVICE.channel, open: Box::new(open) })
}

/// Where the console is while no channel has it.
type Rack = Arc<Mutex<Option<Kept>>>;

fn lock(rack: &Rack) -> MutexGuard<'_, Option<Kept>> {
    rack.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What outlives a channel.
struct Kept {
    console: Box<dyn Console>,
    /// Taken from the console, and not sent yet.
    input: VecDeque<u8>,
    /// The console's input is at its end.
    input_over: bool,
    /// The console takes no more output.
    broken: bool,
}

struct Served {
    server: Server<Vec<u8>>,
    /// Until it goes back.
    kept: Option<Kept>,
    rack: Rack,
    events: VecDeque<ServiceEvent>,
}

impl Drop for Served {
    fn drop(&mut self) {
        *lock(&self.rack) = self.kept.take();
    }
}

impl Serve for Served {
    fn name(&self) -> &'static str {
        SERVICE.name
    }

    fn receive(&mut self, message: &[u8]) -> Result<(), PeerError> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        match self.server.receive(message)? {
            Event::Started { version } => self.events.push_back(ServiceEvent::Started { version }),
            Event::Output { stream, bytes } => {
                if kept.broken {
                    // Nobody reads it; the remote shall not wait for that.
                    self.server.written(bytes.len());
                } else if let Err(error) = kept.console.output(stream, bytes) {
                    kept.broken = true;
                    self.server.written(bytes.len());
                    let reason = format!("the output cannot be written: {error}");
                    self.events.push_back(ServiceEvent::Failed { reason });
                }
            }
            Event::InputWanted | Event::ArgumentsWanted => {}
            Event::Exited { code } => self.events.push_back(ServiceEvent::Finished { code }),
        }
        Ok(())
    }

    fn transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, PeerError> {
        let Some(kept) = &mut self.kept else { return Ok(None) };
        if !kept.broken {
            self.server.written(kept.console.written());
        }
        match kept.speak(&mut self.server, out) {
            Ok(len) => Ok(len),
            // Buffers that short carry no console.
            Err(no_room) => {
                if !kept.broken {
                    kept.broken = true;
                    self.events.push_back(ServiceEvent::Failed { reason: no_room.to_string() });
                }
                Ok(None)
            }
        }
    }

    fn event(&mut self) -> Option<ServiceEvent> {
        self.events.pop_front()
    }
}

impl Kept {
    fn speak(&mut self, server: &mut Server<Vec<u8>>, out: &mut [u8]) -> Result<Option<usize>, NoRoom> {
        if let Some(message) = server.poll(out)? {
            return Ok(Some(message.len()));
        }
        self.fetch(server.input_room());
        let waiting = self.input.make_contiguous();
        if waiting.is_empty() && self.input_over {
            return Ok(server.end_input(out)?.map(<[u8]>::len));
        }
        let Some(chunk) = server.input(waiting, out)? else { return Ok(None) };
        let (taken, len) = (chunk.taken, chunk.message.len());
        self.input.drain(..taken);
        Ok(Some(len))
    }

    /// Takes as much input as the remote wants, and no more: what it never asks for stays where it is.
    fn fetch(&mut self, room: u64) {
        let wanted = usize::try_from(room).unwrap_or(usize::MAX);
        if self.input_over || self.input.len() >= wanted {
            return;
        }
        let mut piece = [0; 4096];
        let room = piece.len().min(wanted - self.input.len());
        match self.console.input(&mut piece[..room]) {
            Input::Bytes(len) => self.input.extend(&piece[..len.min(room)]),
            Input::Wait => {}
            Input::End => self.input_over = true,
        }
    }
}
