//! The daemon's end of the conversation with a keeper.

use std::collections::HashMap;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sidecore_os::{Channel, Child, Received};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};

use crate::keeper::NAME;
use crate::keeper::protocol::{Answer, Ask, Kind, MAX_MESSAGE, News, Refusal, Request, Said};

/// A keeper, as whoever asks it for something sees it.
#[derive(Debug)]
pub(crate) struct Link {
    channel: Channel,
    readable: Readable,
    asked: Mutex<Asked>,
}

/// When a channel can be read: the same socket once more, for the runtime has no type for packets in order.
#[derive(Debug)]
pub(crate) struct Readable(UnixDatagram);

impl Readable {
    pub(crate) fn new(channel: &Channel) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(channel.as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket).map(Self)
    }

    /// The next message; `None` at the end.
    pub(crate) async fn receive(&self, channel: &Channel, bytes: &mut [u8]) -> io::Result<Option<Received>> {
        self.0.async_io(Interest::READABLE, || Ok(channel.receive(bytes)?)).await
    }
}

/// What was asked and not answered yet, by number.
#[derive(Debug, Default)]
struct Asked {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
    is_over: bool,
}

type Answered = (Result<Answer, Refusal>, Option<OwnedFd>);

impl Link {
    /// Starts a keeper. What it tells comes by the receiver, which ends with it.
    pub(crate) fn start(name: &str) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<News>)> {
        let (ours, theirs) = Channel::pair()?;
        let child = Child::spawn(Path::new("/proc/self/exe"), NAME, &[name], theirs.into())?;
        // It does not end with us.
        Self::over(ours, Some(ManuallyDrop::new(child)))
    }

    /// Speaks with one that another daemon has started.
    pub(crate) fn find(channel: Channel) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<News>)> {
        Self::over(channel, None)
    }

    fn over(
        channel: Channel,
        child: Option<ManuallyDrop<Child>>,
    ) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<News>)> {
        // What a daemon before us had asked is answered by other numbers.
        let next = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let asked = Mutex::new(Asked { next, ..Asked::default() });
        let link = Arc::new(Self { readable: Readable::new(&channel)?, channel, asked });
        let (tell, news) = mpsc::channel(64);
        tokio::spawn(Arc::clone(&link).hear(tell, child));
        Ok((link, news))
    }

    /// The conversation, to be kept for the next daemon.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Asks for something; the answer may have a descriptor.
    pub(crate) async fn ask(
        &self,
        what: Ask,
        with: Option<&OwnedFd>,
    ) -> Result<(Answer, Option<OwnedFd>), Refusal> {
        let (number, answer) = self.expect_answer()?;
        let bytes = postcard::to_stdvec(&Request { number, what });
        let bytes = bytes.map_err(|error| lost(&error.to_string()))?;
        if bytes.len() > MAX_MESSAGE {
            self.asked().waiting.remove(&number);
            let why = format!("{} bytes of arguments: {MAX_MESSAGE} at most", bytes.len());
            return Err(Kind::NoRoom.because(why));
        }
        let fds: Vec<_> = with.into_iter().map(|fd| fd.as_fd()).collect();
        if let Err(errno) = self.channel.send(&bytes, &fds) {
            self.asked().waiting.remove(&number);
            return Err(lost(&errno.to_string()));
        }
        let (answer, fd) = answer.await.map_err(|_| lost("it is gone"))?;
        answer.map(|answer| (answer, fd))
    }

    /// Asks for something that is only done.
    pub(crate) async fn tell(&self, what: Ask, with: Option<&OwnedFd>) -> Result<(), Refusal> {
        self.ask(what, with).await.map(drop)
    }

    /// Has the keeper end, and the remote with it.
    pub(crate) fn end(&self) {
        let request = Request { number: 0, what: Ask::End };
        if let Ok(bytes) = postcard::to_stdvec(&request) {
            // One that is gone has ended.
            let _ = self.channel.send(&bytes, &[]);
        }
    }

    /// A number for a question, and where its answer comes.
    fn expect_answer(&self) -> Result<(u64, oneshot::Receiver<Answered>), Refusal> {
        let (tell, answer) = oneshot::channel();
        let mut asked = self.asked();
        if asked.is_over {
            return Err(lost("it is gone"));
        }
        asked.next += 1;
        let number = asked.next;
        asked.waiting.insert(number, tell);
        Ok((number, answer))
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Nothing in there is ever half done.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the keeper says until it is gone.
    async fn hear(self: Arc<Self>, tell: mpsc::Sender<News>, child: Option<ManuallyDrop<Child>>) {
        let mut bytes = vec![0; MAX_MESSAGE];
        loop {
            let Ok(Some(received)) = self.readable.receive(&self.channel, &mut bytes).await else { break };
            let fd = received.fds.into_iter().next();
            match postcard::from_bytes(&bytes[..received.len]) {
                Ok(Said::Answer { number, answer }) => {
                    let waiting = self.asked().waiting.remove(&number);
                    if let Some(waiting) = waiting {
                        // Who asked may have gone meanwhile; then the descriptor goes, too.
                        let _ = waiting.send((answer, fd));
                    }
                }
                Ok(Said::News(news)) => drop(tell.send(news).await),
                Err(_) => {}
            }
        }
        {
            let mut asked = self.asked();
            asked.is_over = true;
            asked.waiting.clear();
        }
        if let Some(mut child) = child {
            // It is gone, or will never answer again.
            child.kill();
            child.wait_end();
        }
    }
}

fn lost(why: &str) -> Refusal {
    Kind::Failed.because(format_args!("the remote's keeper cannot be asked: {why}"))
}
