//! The command as a user meets it: output, exit codes, signals, and what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod attach;
mod attach_remote;
mod bench;
mod boards;
mod conformance;
mod data;
mod dump;
mod ends;
mod everyday;
mod files;
mod golden;
mod kernel;
mod left_running;
mod logs;
mod restart;
mod semihosting;
mod signals;
mod systems;
mod terminal;
mod transcripts;
mod vhost_user;
