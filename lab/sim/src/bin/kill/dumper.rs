//! Somebody who dumps the remote while it runs, and expects to be killed; and what is left of that.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sidecore_backends::sandbox::Halted;
use sidecore_processor::dumps::{Limits, Store};
use sidecore_remoteproc::coredump::Include;

/// Dumps the remote once, as it stands. A remote that is not there, or a warden that dies meanwhile, is an error.
pub(crate) fn run(name: &str, folder: &str, dumps: &str) -> Result<()> {
    let halted = Halted::hold(name, Some(Path::new(folder)))?;
    let dump = halted.core_dump(Include::All, &[])?;
    let store = store(Path::new(dumps));
    let saved = store.save("kill", &dump)?;
    if !halted.is_held() {
        store.remove(&saved.stored)?;
    }
    ensure!(halted.is_held(), "the warden was killed meanwhile");
    Ok(())
}

pub(crate) fn start(name: &str, folder: &Path, dumps: &Path) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["dump", name]).args([folder, dumps]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).spawn().context("start a dumper")
}

/// Whether a dump was made. What is there is whole, whatever became of its writer.
pub(crate) fn check(dumper: Child, dumps: &Path) -> Result<bool> {
    let output = dumper.wait_with_output()?;
    let is_killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        is_killed || output.status.success() || output.status.code() == Some(1) && !said.is_empty(),
        "the dumper ended with {} and said {said:?}",
        output.status
    );
    let store = store(dumps);
    let all = store.list()?;
    ensure!(all.len() == 1 || !output.status.success() && all.is_empty(), "{} dumps are there", all.len());
    for stored in &all {
        let told = stored.told().with_context(|| stored.id.clone())?;
        // One that was killed before it stood still has none.
        let is_killed = told.fact("crash") == Some("killed");
        ensure!(told.has_registers || is_killed, "{} has no registers", stored.id);
        // To its end, with its check sum.
        io::copy(&mut stored.open()?, &mut io::sink()).with_context(|| stored.id.clone())?;
        store.remove(stored)?;
    }
    Ok(!all.is_empty())
}

/// Nothing is left but what the killed were writing, which the next who saves something removes.
pub(crate) fn end(dumps: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dumps) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        ensure!(Path::new(&name).extension().is_some_and(|end| end == "part"), "{} is left", name.display());
    }
    fs::remove_dir_all(dumps)?;
    Ok(())
}

fn store(dumps: &Path) -> Store {
    Store::new(dumps.to_owned(), Limits::DEFAULT)
}
