//! A terminal whose keys come as they are pressed, until it is given back: at the end, at a signal, in a panic.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What the terminal was like, for whoever has to give it back.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

struct Saved {
    terminal: OwnedFd,
    was: Termios,
    /// What is written to it then.
    leave: &'static [u8],
}

/// A terminal without echo, lines and signals. Dropping it makes it what it was.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// `enter` is written to it now, and `leave` when it is given back.
    pub(crate) fn new(terminal: BorrowedFd<'_>, enter: &[u8], leave: &'static [u8]) -> io::Result<Self> {
        let was = tcgetattr(terminal)?;
        let mut raw = was.clone();
        raw.make_raw();
        // Lines of firmware end as lines of programs do.
        raw.output_modes = was.output_modes;
        *saved() = Some(Saved { terminal: terminal.try_clone_to_owned()?, was, leave });
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        // What was typed before is as good as what is typed now.
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        let raw = Self(());
        io::stdout().write_all(enter)?;
        io::stdout().flush()?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was, if it is not.
pub(crate) fn restore() {
    if let Some(Saved { terminal, was, leave }) = saved().take() {
        // It may be gone. Not by the standard output, which somebody may hold who was in the middle of drawing.
        let _ = rustix::io::write(rustix::stdio::stdout(), leave);
        let _ = tcsetattr(terminal.as_fd(), OptionalActions::Now, &was);
    }
}

fn saved() -> std::sync::MutexGuard<'static, Option<Saved>> {
    // Nothing in there is ever half done.
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}
