//! The device as front ends meet it: willing ones, one that nobody here wrote, and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod front_end;
mod guest;
mod hostile;
mod memory;
mod rings;
mod running;
mod third_party;
mod willing;
