//! What can be chosen about a sandboxed remote.

use std::path::PathBuf;
use std::time::Duration;

/// How a sandboxed remote is made. `Config::default()` is what `run` wants: a nameless remote that ends with the
/// process that started it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the remote is called, and attached to by: 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a
    /// dot. `None`: a name is made up, and a runtime directory that cannot be used is a finding instead of an error.
    pub name: Option<String>,
    /// The executable that becomes warden and remote: one whose `main` begins with [`hook`](super::hook).
    pub warden: PathBuf,
    /// Where the socket is made that others attach by. `None`: the first that can be used of
    /// `$XDG_RUNTIME_DIR/sidecore`, `/run/sidecore` (as root), `/tmp/sidecore-<uid>`.
    pub runtime_dir: Option<PathBuf>,
    /// Who outlives whom.
    pub lifetime: Lifetime,
    /// How much confinement there must be.
    pub confinement: Confinement,
    /// Bytes that all of the remote's memories may have together, stack and hand-over page included.
    pub memory_limit: u64,
    /// Bytes of the remote's stack.
    pub stack_size: u64,
    /// A watchdog that the firmware need not arm: it is a hang when it computes for so long (rounded up to
    /// milliseconds) and neither waits nor feeds it. A shorter period that the firmware promises counts instead.
    pub watchdog: Option<Duration>,
    /// Has the warden keep a log of the remote's traces ([`crate::log`]), whoever comes and goes. Nobody else drains them
    /// then.
    pub log: Option<Logged>,
}

/// The log of a remote's traces that its warden keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it lies, under the remote's [name](crate::log::file_name). Made if it is not there, for its owner alone.
    pub directory: PathBuf,
    /// What the log says of the firmware when it starts.
    pub firmware: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            warden: PathBuf::from("/proc/self/exe"),
            runtime_dir: None,
            lifetime: Lifetime::Tied,
            confinement: Confinement::BestEffort,
            memory_limit: 1 << 30,
            stack_size: 256 << 10,
            watchdog: None,
            log: None,
        }
    }
}

/// Who outlives whom. A remote never outlives its warden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// The remote ends with the main side that started it, however that ends.
    #[default]
    Tied,
    /// The remote, once started, goes on until somebody attaches and stops it. If it ends while nobody is attached,
    /// its warden keeps memory and report for the next who attaches.
    Detached,
    /// The remote ends when the last copy of its lease is closed ([`Sandbox::take_lease`](super::Sandbox::take_lease)),
    /// whoever holds it; main sides may come and go.
    Lease,
}

/// How much confinement there must be. Without the filter of system calls no remote ever runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// What the kernel gives; the rest is told by `findings`.
    #[default]
    BestEffort,
    /// A start without Landlock fails.
    Strict,
}
