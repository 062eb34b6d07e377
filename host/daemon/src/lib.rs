//! The daemon: remotes for all programs of a machine, over D-Bus.
//!
//! This library is what the daemon shares with whoever shows or checks what it is told to do: its [configuration](config),
//! and the [rules] in it.

pub mod config;
pub mod rules;
