//! Where what is kept lies: the user's directory of state, or the machine's.

use std::env;
use std::path::PathBuf;

/// A directory of this name for what this command keeps: in `$XDG_STATE_HOME/sidecore`, `~/.local/state/sidecore`, or for
/// root without a home `/var/lib/sidecore`.
pub(crate) fn directory(name: &str) -> Option<PathBuf> {
    let path = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || path("HOME").map(|home| home.join(".local/state"));
    let root = || rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib"));
    let state = path("XDG_STATE_HOME").or_else(home).or_else(root)?;
    Some(state.join("sidecore").join(name))
}
