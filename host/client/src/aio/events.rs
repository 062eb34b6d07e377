//! What happens, for tasks.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aside;
use crate::error::Result;
use crate::options::Event;
use crate::{daemon, direct};

/// How long a thread waits at a time for those who may have lost interest meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Tells what happens, oldest first.
pub struct Events {
    source: Source,
}

enum Source {
    Daemon(Box<daemon::Events>),
    Direct(Arc<direct::Events>),
}

impl Events {
    pub(super) fn through(events: daemon::Events) -> Self {
        Self { source: Source::Daemon(Box::new(events)) }
    }

    pub(super) fn direct(events: direct::Events) -> Self {
        Self { source: Source::Direct(Arc::new(events)) }
    }

    /// The next one. Giving up the wait loses none.
    ///
    /// # Errors
    /// [`Error::BusGone`](crate::Error::BusGone): no more will come.
    pub async fn next(&mut self) -> Result<Event> {
        match &mut self.source {
            Source::Daemon(events) => events.next().await,
            Source::Direct(events) => loop {
                let waiting = Arc::clone(events);
                // It only waits there: what it took would be lost with a task that is given up.
                aside(move || waiting.wait(Some(Instant::now() + LOOK))).await?;
                if let Some(event) = events.take() {
                    return Ok(event);
                }
            },
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
