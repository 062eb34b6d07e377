//! Ctrl-C and its like: the first asks, the second does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{process, thread};

use sidecore_processor::Waker;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::codes;
use crate::failure::Failure;

/// Signals that ask the command to end. After the first there is time to stop the remote in good order; the second
/// ends this process at once, and the remote with it.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    /// The first that came.
    seen: Arc<AtomicI32>,
    dump: Arc<AtomicBool>,
}

impl Interrupts {
    /// Catches them from now on; `waker` is used when the first one comes. Without `keys` Ctrl-C is none of them: it is
    /// for somebody else on this terminal.
    pub(crate) fn catch(waker: Waker, keys: bool) -> Result<Self, Failure> {
        Self::catch_by(move || waker.wake(), keys)
    }

    /// As [`Interrupts::catch`]; `wake` is called when the first one comes.
    pub(crate) fn catch_by(wake: impl Fn() + Send + 'static, keys: bool) -> Result<Self, Failure> {
        let cannot =
            |error: std::io::Error| Failure::new(codes::SIGNALS, "cannot catch signals").because(error);
        if !keys {
            // Caught, and so the default again in every program that we start.
            signal_hook::flag::register(SIGINT, Arc::default()).map_err(cannot)?;
        }
        let signals = if keys { &[SIGTERM, SIGHUP, SIGINT][..] } else { &[SIGTERM, SIGHUP] };
        let mut signals = Signals::new(signals).map_err(cannot)?;
        let seen = Arc::new(AtomicI32::new(0));
        let first = Arc::clone(&seen);
        let watch = move || {
            for signal in signals.forever() {
                if first.compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    crate::raw::restore();
                    process::exit(128 + signal);
                }
                wake();
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(watch);
        thread.map_err(cannot)?;
        Ok(Self { seen, dump: Arc::default() })
    }

    /// Has SIGQUIT (Ctrl-\) ask for a dump from now on, and use `waker`.
    pub(crate) fn catch_dump(&self, waker: Waker) -> Result<(), Failure> {
        let cannot =
            |error: std::io::Error| Failure::new(codes::SIGNALS, "cannot catch signals").because(error);
        let (mut signals, wanted) = (Signals::new([SIGQUIT]).map_err(cannot)?, Arc::clone(&self.dump));
        let watch = move || {
            for _ in signals.forever() {
                wanted.store(true, Ordering::Release);
                waker.wake();
            }
        };
        let thread = thread::Builder::new().name("dump signal".to_owned()).spawn(watch);
        thread.map(drop).map_err(cannot)
    }

    /// Whether somebody has asked for a dump since the last time.
    pub(crate) fn dump_is_wanted(&self) -> bool {
        self.dump.swap(false, Ordering::AcqRel)
    }

    /// The exit code that the first of them asks for: 130 for Ctrl-C.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        let signal = self.seen.load(Ordering::Acquire);
        (signal != 0).then(|| (128 + signal) as u8)
    }
}
