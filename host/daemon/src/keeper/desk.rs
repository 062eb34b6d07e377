//! A keeper's side of the conversation with daemons, which come and go.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use sidecore_os::{Channel, Errno, Listener};

use super::protocol::{Answer, MAX_MESSAGE, News, Refusal, Request, Said};
use crate::place::Place;

/// How soon to try again what the daemon had no room for.
const UNHEARD: Duration = Duration::from_millis(10);

/// Answers and news that wait for a daemon that does not listen. One that leaves more is treated as gone.
const MAX_UNSAID: usize = 4096;

/// Where daemons are spoken with.
pub(super) struct Desk {
    /// `None` while there is no daemon.
    daemon: Option<Channel>,
    /// Where the next one comes, and the name there.
    door: Option<(Listener, Place, String)>,
    /// What the daemon, which does not listen just now, has no room for, each with the socket that goes with it.
    unsaid: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
}

/// Something that was asked, and what came with it.
pub(super) type Heard = (Request, Option<OwnedFd>);

impl Desk {
    pub(super) fn new(daemon: Channel, poll: &OwnedFd) -> Result<Self, Errno> {
        watch(poll, &daemon)?;
        Ok(Self { daemon: Some(daemon), door: None, unsaid: VecDeque::new() })
    }

    /// Lets daemons find it by a name from now on.
    pub(super) fn open_door(&mut self, place: Place, name: &str, poll: &OwnedFd) -> io::Result<()> {
        let listener = place.listen(name)?;
        watch(poll, &listener)?;
        self.door = Some((listener, place, name.to_owned()));
        Ok(())
    }

    pub(super) fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// When to speak again, at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.unsaid.is_empty()).then(|| Instant::now() + UNHEARD)
    }

    /// What was asked meanwhile. A daemon that comes takes the place of the one before.
    pub(super) fn hear(&mut self, poll: &OwnedFd) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut bytes = [0; MAX_MESSAGE];
        while let Some(daemon) = &self.daemon {
            match daemon.receive(&mut bytes) {
                Ok(Some(received)) => {
                    if let Ok(request) = postcard::from_bytes(&bytes[..received.len]) {
                        heard.push((request, received.fds.into_iter().next()));
                    }
                }
                Err(Errno::AGAIN) => break,
                Ok(None) | Err(_) => self.lose_daemon(),
            }
        }
        let next = self.door.as_ref().and_then(|(listener, _, _)| listener.accept());
        if let Some(next) = next
            && next.peer().is_ok_and(|peer| peer.is_trusted())
            && watch(poll, &next).is_ok()
        {
            // What was asked before is nobody's any more.
            heard.clear();
            self.lose_daemon();
            self.daemon = Some(next);
        }
        heard
    }

    fn lose_daemon(&mut self) {
        self.daemon = None;
        self.unsaid.clear();
    }

    pub(super) fn answer(&mut self, number: u64, answer: Result<Answer, Refusal>, with: Option<OwnedFd>) {
        self.queue(&Said::Answer { number, answer }, with);
    }

    /// Tells some news. A daemon that comes later asks for them.
    pub(super) fn tell(&mut self, news: News) {
        self.queue(&Said::News(news), None);
    }

    fn queue(&mut self, said: &Said, with: Option<OwnedFd>) {
        if self.daemon.is_none() {
            return;
        }
        let mut bytes = postcard::to_stdvec(said).expect("there is memory for a few kilobytes");
        if bytes.len() > MAX_MESSAGE {
            let Said::Answer { number, .. } = said else { return };
            let answer = Err(super::Kind::NoRoom.because("the answer is too long"));
            let said = Said::Answer { number: *number, answer };
            bytes = postcard::to_stdvec(&said).expect("there is memory for a few bytes");
        }
        if self.unsaid.len() >= MAX_UNSAID {
            return self.lose_daemon();
        }
        self.unsaid.push_back((bytes, with));
    }

    /// Says what there is to say, as far as the daemon listens.
    pub(super) fn speak(&mut self) {
        while let (Some((bytes, with)), Some(daemon)) = (self.unsaid.front(), &self.daemon) {
            let fds: Vec<_> = with.iter().map(AsFd::as_fd).collect();
            match daemon.send(bytes, &fds) {
                Ok(()) => drop(self.unsaid.pop_front()),
                Err(Errno::AGAIN) => return,
                Err(_) => self.lose_daemon(),
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some((_, place, name)) = &self.door {
            place.forget(name);
        }
    }
}

/// Has waits end when there is something to read. Which one it was is of no interest.
fn watch(poll: &OwnedFd, fd: impl AsFd) -> Result<(), Errno> {
    epoll::add(poll, fd, EventData::new_u64(0), EventFlags::IN)
}
