//! What the service manager is told, and what it keeps: readiness, status, signs of life, descriptors.
//!
//! Without a service manager (no `NOTIFY_SOCKET` in the environment) none of it does anything. Nothing here waits.

use std::env;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// The first descriptor that a service manager hands over.
const FIRST: RawFd = 3;
/// How many it hands over at most: more than a machine has remotes.
const MOST: RawFd = 4096;

/// The daemon serves; `status` in words.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives signs of life for as long as it is polled, at twice the rate that the service manager asks for, if it does. To be
/// polled by the loop that has to be alive.
pub(crate) async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut turns = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        turns.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// Has the service manager keep a copy of a descriptor beyond this process' life, under a name of printable ASCII without
/// a colon, 255 bytes at most. It keeps it even when the other side hangs up, until it is [removed](remove).
pub(crate) fn keep(name: &str, descriptor: impl AsFd) {
    let states = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    // Where it cannot be told, the next daemon finds keepers by their sockets.
    let _ = sd_notify::notify_with_fds(&states, &[descriptor.as_fd()]);
}

/// Has it close what it keeps under a name.
pub(crate) fn remove(name: &str) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// What the service manager kept and now hands back, with names. Each is handed out once, so this is for the beginning.
pub(crate) fn inherited() -> Vec<(String, OwnedFd)> {
    let read = |name| env::var(name).ok();
    let named = |name| read(name).and_then(|value| value.parse::<u32>().ok());
    if named("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = named("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0).min(MOST);
    let names = read("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let descriptors = (FIRST..FIRST + count).map(sidecore_os::inherited);
    names.zip(descriptors).filter_map(|(name, descriptor)| Some((name, descriptor?))).collect()
}

/// One that does not listen is no reason to do anything else.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
