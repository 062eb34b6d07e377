//! What happens, as it happens.

use std::fmt;
use std::time::Duration;

use crate::client::Line;
use crate::endpoint::deadline;
use crate::error::{Error, Result};
use crate::options::Event;
use crate::{daemon, direct};

/// Tells what happens, oldest first. It is also an [`Iterator`], which waits for each and ends with the bus.
pub struct Events {
    source: Source,
}

enum Source {
    Daemon(Line, Box<daemon::Events>),
    Direct(direct::Events),
    Over,
}

impl Events {
    pub(crate) fn through(line: &Line, events: daemon::Events) -> Result<Self> {
        Ok(Self { source: Source::Daemon(line.clone(), Box::new(events)) })
    }

    pub(crate) fn direct(events: direct::Events) -> Self {
        Self { source: Source::Direct(events) }
    }

    /// The next one, waiting for it as long as `timeout` (`None`: for ever); `None`: nothing happened in that time.
    ///
    /// # Errors
    /// [`Error::BusGone`]: no more will come.
    pub fn wait(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Option<Event>> {
        let timeout = timeout.into();
        match &mut self.source {
            Source::Daemon(line, events) => line.runtime.run(async {
                match timeout {
                    None => events.next().await.map(Some),
                    Some(timeout) => match tokio::time::timeout(timeout, events.next()).await {
                        Ok(event) => event.map(Some),
                        Err(_) => Ok(None),
                    },
                }
            }),
            Source::Direct(events) => events.next(deadline(timeout)),
            Source::Over => Err(Error::BusGone { why: "it has been for a while".to_owned() }),
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.source, Source::Over) {
            return None;
        }
        let next = self.wait(None).transpose();
        if matches!(next, Some(Err(_))) {
            self.source = Source::Over;
        }
        next
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
