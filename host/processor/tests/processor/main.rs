//! A processor on a simulated remote: messages, services, recordings, and remotes that break the rules.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod bench;
mod capture;
mod dumps;
mod found;
mod hostile;
mod many;
mod messages;
mod resume;
mod services;
mod shm;
mod silent;
