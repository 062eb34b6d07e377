//! The main side's end of the conversation with a warden.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use sidecore_os::{Channel, Child, End, Errno, Refused, signal_name};
use sidecore_remoteproc::{BackendError, Event};

use super::protocol::{MAX_MESSAGE, Reply, Request, Wire};

/// How long a warden may take to answer. It does nothing that takes long, but the machine may be busy.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// How long it may take to end: to kill the remote and to reap it.
const END_TIME: Duration = Duration::from_secs(5);

/// A connection to a warden, and the warden itself where it is our child.
pub(super) struct Client {
    channel: Channel,
    child: Option<Child>,
    events: VecDeque<Event>,
    farewell: Option<String>,
    buffer: Box<[u8; MAX_MESSAGE]>,
}

impl Client {
    /// Speaks over this connection.
    pub(super) fn new(channel: Channel, child: Option<Child>) -> Self {
        Self { channel, child, events: VecDeque::new(), farewell: None, buffer: Box::new([0; MAX_MESSAGE]) }
    }

    /// Says something and waits for the answer, and the descriptors that come with it. [`Reply::Refused`] is an error
    /// already.
    pub(super) fn ask(&mut self, request: &Request) -> Result<(Reply, Vec<OwnedFd>), BackendError> {
        self.tell(&request.encode(), &[])?;
        self.answer()
    }

    /// Waits for the answer to what was asked by us, or for us.
    pub(super) fn answer(&mut self) -> Result<(Reply, Vec<OwnedFd>), BackendError> {
        let deadline = Instant::now() + ANSWER_TIME;
        loop {
            match self.next()? {
                Some((Reply::Ended(event), _)) => self.events.push_back(event),
                Some((Reply::Refused(refusal), _)) => return Err(refusal.into()),
                Some(answer) => return Ok(answer),
                None => {
                    let came = self.channel.wait(Some(deadline)).map_err(system)?;
                    if !came {
                        return Err(lost(format!("no answer within {} s", ANSWER_TIME.as_secs())));
                    }
                }
            }
        }
    }

    /// Says something that has no answer.
    pub(super) fn tell(&mut self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), BackendError> {
        match self.channel.send(message, fds) {
            Ok(()) => Ok(()),
            // What it said before it went may tell why.
            Err(Errno::PIPE | Errno::CONNRESET) => {
                while self.next()?.is_some() {}
                Err(self.gone())
            }
            Err(errno) => Err(lost(format!("it does not listen ({errno})"))),
        }
    }

    /// What is known to have happened to the remote.
    pub(super) fn known_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What happened to the remote, if something did. Never waits.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, BackendError> {
        if let Some(event) = self.known_event() {
            return Ok(Some(event));
        }
        match self.next()? {
            None => Ok(None),
            Some((Reply::Ended(event), _)) => Ok(Some(event)),
            Some(_) => Err(lost("it answered without being asked".to_owned())),
        }
    }

    /// Puts an event back, to come next.
    pub(super) fn put_back(&mut self, event: Event) {
        self.events.push_front(event);
    }

    /// Forgets what happened so far.
    pub(super) fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Closes the connection and waits until the warden, which ends by that, is gone. `false` if it was not in time; if
    /// it is our child, it was killed then.
    pub(super) fn end(mut self) -> bool {
        self.channel.finish();
        let deadline = Instant::now() + END_TIME;
        // Its last words, then the end.
        let ended = loop {
            if !self.channel.wait(Some(deadline)).unwrap_or(false) {
                break false;
            }
            if !matches!(self.channel.receive(&mut self.buffer[..]), Ok(Some(_)) | Err(Errno::AGAIN)) {
                break true;
            }
        };
        if let Some(mut child) = self.child {
            if !ended {
                child.kill();
            }
            child.wait_end();
        }
        ended
    }

    /// Closes the connection and lets the warden live. If it is our child, somebody has to reap it one day.
    pub(super) fn leave(self) {
        self.channel.hang_up();
        let Some(child) = self.child else { return };
        // Without a thread it stays a zombie until this process ends, which is better than killing it.
        let mut child = ManuallyDrop::new(child);
        let reaper = thread::Builder::new().name("sidecore-reaper".to_owned()).stack_size(64 << 10);
        let _ = reaper.spawn(move || {
            child.wait_end();
        });
    }

    /// The next message, if one is there.
    fn next(&mut self) -> Result<Option<(Reply, Vec<OwnedFd>)>, BackendError> {
        loop {
            let received = match self.channel.receive(&mut self.buffer[..]) {
                Ok(Some(received)) => received,
                Ok(None) | Err(Errno::CONNRESET) => return Err(self.gone()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(lost(format!("its connection failed ({errno})"))),
            };
            let reply = Reply::decode(&self.buffer[..received.len])
                .map_err(|garbled| lost(format!("it sent {garbled}")))?;
            if let Reply::Farewell(reason) = reply {
                self.farewell = Some(reason);
                continue;
            }
            return Ok(Some((reply, received.fds)));
        }
    }

    /// The connection is closed: what is known of the reason.
    fn gone(&mut self) -> BackendError {
        if let Some(reason) = &self.farewell {
            return lost(reason.clone());
        }
        // It closed the connection by dying, so this does not take long.
        let end = self.child.as_mut().and_then(Child::wait_end);
        lost(match end {
            Some(End::Killed(signal)) => format!("it was killed by {}", signal_name(signal)),
            Some(End::Exited(code)) => format!("it ended with code {code}"),
            None => "it closed the connection".to_owned(),
        })
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// The warden is lost.
pub(super) fn lost(reason: String) -> BackendError {
    BackendError::ExecutorLost { executor: "warden", reason }
}

/// The system refused something on the main side.
pub(super) fn system(refused: Refused) -> BackendError {
    BackendError::System { operation: refused.operation.to_owned(), reason: refused.errno.to_string() }
}
