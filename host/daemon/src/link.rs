//! The daemon's end of the conversation with a keeper.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecore_os::{Channel, Child};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};

use crate::keeper::NAME;
use crate::keeper::protocol::{Answer, Ask, Kind, MAX_MESSAGE, Refusal, Request, Said};

/// A keeper, as whoever asks it for something sees it.
#[derive(Debug)]
pub(crate) struct Link {
    channel: Channel,
    /// The same socket, for waiting: the runtime has no type for packets in order.
    readiness: UnixDatagram,
    asked: Mutex<Asked>,
}

/// What was asked and not answered yet, by number.
#[derive(Debug, Default)]
struct Asked {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
}

impl Asked {
    /// The number of a question whose answer goes there.
    fn expect(&mut self, tell: oneshot::Sender<Answered>) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, tell);
        self.next
    }
}

type Answered = (Result<Answer, Refusal>, Option<OwnedFd>);

/// What a keeper tells without being asked.
#[derive(Debug)]
pub(crate) enum News {
    /// The remote's state.
    State(String),
    /// Something happened.
    Happened {
        /// In words.
        what: String,
        /// Whether somebody should look at it.
        is_warning: bool,
    },
}

impl Link {
    /// Starts a keeper. What it tells comes by the receiver, which ends with it.
    pub(crate) fn start(name: &str) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<News>)> {
        let (ours, theirs) = Channel::pair()?;
        let child = Child::spawn(Path::new("/proc/self/exe"), NAME, &[name], theirs.into())?;
        let readiness = std::os::unix::net::UnixDatagram::from(ours.as_fd().try_clone_to_owned()?);
        readiness.set_nonblocking(true)?;
        let (channel, readiness) = (ours, UnixDatagram::from_std(readiness)?);
        let link = Arc::new(Self { channel, readiness, asked: Mutex::default() });
        let (tell, news) = mpsc::channel(64);
        tokio::spawn(Arc::clone(&link).hear(tell, child));
        Ok((link, news))
    }

    /// Asks for something; the answer may have a descriptor.
    pub(crate) async fn ask(
        &self,
        what: Ask,
        with: Option<&OwnedFd>,
    ) -> Result<(Answer, Option<OwnedFd>), Refusal> {
        let (tell, answer) = oneshot::channel();
        let number = self.asked().expect(tell);
        let bytes = postcard::to_stdvec(&Request { number, what });
        let bytes = bytes.map_err(|error| lost(&error.to_string()))?;
        if bytes.len() > MAX_MESSAGE {
            self.asked().waiting.remove(&number);
            let why = format!("{} bytes of arguments: {MAX_MESSAGE} at most", bytes.len());
            return Err(Refusal { kind: Kind::NoRoom, why });
        }
        let fds: Vec<_> = with.into_iter().map(|fd| fd.as_fd()).collect();
        if let Err(errno) = self.channel.send(&bytes, &fds) {
            self.asked().waiting.remove(&number);
            return Err(lost(&errno.to_string()));
        }
        let (answer, fd) = answer.await.map_err(|_| lost("it is gone"))?;
        answer.map(|answer| (answer, fd))
    }

    /// Has the keeper end, and the remote with it.
    pub(crate) fn end(&self) {
        self.channel.finish();
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Nothing in there is ever half done.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the keeper says until it is gone.
    async fn hear(self: Arc<Self>, tell: mpsc::Sender<News>, mut child: Child) {
        let mut bytes = vec![0; MAX_MESSAGE];
        loop {
            let received =
                self.readiness.async_io(Interest::READABLE, || Ok(self.channel.receive(&mut bytes)?)).await;
            let Ok(Some(received)) = received else { break };
            let fd = received.fds.into_iter().next();
            match postcard::from_bytes(&bytes[..received.len]) {
                Ok(Said::Answer { number, answer }) => {
                    if let Some(waiting) = self.asked().waiting.remove(&number) {
                        // Who asked may have gone meanwhile; then the descriptor goes, too.
                        let _ = waiting.send((answer, fd));
                    }
                }
                Ok(Said::State(state)) => drop(tell.send(News::State(state)).await),
                Ok(Said::Happened { what, is_warning }) => {
                    drop(tell.send(News::Happened { what, is_warning }).await);
                }
                Err(_) => {}
            }
        }
        self.asked().waiting.clear();
        child.kill();
        child.wait_end();
    }
}

fn lost(why: &str) -> Refusal {
    Refusal { kind: Kind::Failed, why: format!("the remote's keeper cannot be asked: {why}") }
}
