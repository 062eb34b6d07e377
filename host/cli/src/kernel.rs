//! The remote processors that Linux drives, as the commands want them.

use std::path::PathBuf;

use sidecore_backends::sandbox::Sandbox;
use sidecore_backends::sysfs::{RULE, Remoteproc, Roots, SysfsError};

use crate::codes;
use crate::failure::Failure;
use crate::output::note;

/// Where the kernel's files lie.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Place {
    /// Look for /sys, /dev and /lib/firmware below that directory
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

impl Place {
    pub(crate) fn roots(&self) -> Roots {
        self.root.as_deref().map_or_else(Roots::default, Roots::below)
    }

    /// Whether another place than this machine is looked at.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.root.is_some()
    }

    /// The sandboxes of this user; none where another place than this machine is looked at.
    pub(crate) fn sandboxes(&self) -> Vec<String> {
        if self.root.is_some() { Vec::new() } else { Sandbox::names(None) }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Remoteproc, Failure> {
        Remoteproc::find(&self.roots(), name).map_err(|error| refused(format!("cannot use {name}"), &error))
    }
}

/// What was to be done, and why the kernel would not; with the rule that helps, where one does.
pub(crate) fn refused(what: String, error: &SysfsError) -> Failure {
    if error.is_denied() {
        note(&format_args!("this rule in /etc/udev/rules.d/70-sidecore.rules helps:\n{RULE}"));
        return Failure::new(codes::KERNEL_RIGHTS, what).because(error);
    }
    Failure::new(codes::KERNEL_REMOTE, what).because(error)
}

/// What is new in a trace buffer that is looked at again and again.
#[derive(Default)]
pub(crate) struct Follower {
    seen: Vec<u8>,
}

impl Follower {
    /// The part of `now` that was not there at the last look: all of it, where it is no continuation.
    pub(crate) fn news<'a>(&mut self, now: &'a [u8]) -> &'a [u8] {
        let news = now.strip_prefix(&*self.seen).unwrap_or(now);
        self.seen = now.to_vec();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_tells_what_is_new_and_begins_anew_with_the_remote() {
        let mut follower = Follower::default();
        assert_eq!(follower.news(b"boot\n"), b"boot\n");
        assert_eq!(follower.news(b"boot\nready\n"), b"ready\n");
        assert_eq!(follower.news(b"boot\nready\n"), b"");
        assert_eq!(follower.news(b"again\n"), b"again\n");
    }
}
