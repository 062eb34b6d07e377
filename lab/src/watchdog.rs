//! Ends tests that hang: a lost wake-up or an endless loop is a failure with a message, not a stuck build.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Does the work on a thread of its own and waits for it. A panic of the work goes on in the caller.
///
/// # Panics
/// The work takes longer than `limit`. Its thread is left behind and dies with the process.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    let worker = thread::spawn(move || {
        let result = work();
        // Nobody waits any more where the limit has passed; there is no one to tell.
        let _ = done.send(());
        result
    });
    if wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        panic!("hangs: not done within {limit:?}");
    }
    worker.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_gives_its_result() {
        assert_eq!(within(Duration::from_secs(60), || 7), 7);
    }

    #[test]
    #[should_panic(expected = "hangs: not done within 10ms")]
    fn work_that_hangs_is_a_failure() {
        within(Duration::from_millis(10), || {
            loop {
                thread::park();
            }
        });
    }

    #[test]
    #[should_panic(expected = "its own")]
    fn a_panic_of_the_work_is_passed_on() {
        within(Duration::from_secs(60), || panic!("its own"));
    }
}
