//! A dump of a remote that runs, and runs on.

use std::io::{self, Seek as _};
use std::path::Path;
use std::process::ExitCode;

use sidecore_backends::sandbox::Halted;
use sidecore_processor::dumps::{Saved, Store, write_plain};
use sidecore_remoteproc::Event;
use sidecore_remoteproc::coredump::Include;

use super::create;
use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::output::{note, print};
use crate::remote::OURS;
use crate::target::{Remotes, Target, failed};

/// Halts the remote, writes it to the file or among the dumps, and lets it go.
pub(super) fn save(store: &Store, name: &str, output: Option<&Path>, include: Include) -> Outcome {
    let what = format!("cannot dump sandbox:{}", printable(name));
    let halted = Halted::hold(name, None);
    let halted =
        halted.map_err(|error| Failure::new(error.code(), what.clone()).because(error).status(OURS))?;
    let pc = halted.pc().map(|pc| pc.to_string());
    let state = match halted.ended() {
        None if pc.is_some() => "running",
        None => "stopped",
        Some(Event::Exited { .. }) => "exited",
        Some(_) => "crashed",
    };
    let mut facts = vec![("remote", name), ("on", "sandbox"), ("state", state)];
    facts.extend(pc.as_deref().map(|pc| ("pc", pc)));
    let dump = halted.core_dump(include, &facts);
    let dump = dump.map_err(|error| Failure::new(error.code(), what.clone()).because(error).status(OURS))?;
    let lost = || {
        let why = "its warden was killed meanwhile, so that its memory may not be of one moment";
        Failure::new(codes::DUMP, what.clone()).because(why).status(OURS)
    };
    match output {
        Some(output) => {
            create(output, |file| write_plain(&dump, file))?;
            if !halted.is_held() {
                let _ = std::fs::remove_file(output);
                return Err(lost());
            }
        }
        None => {
            let saved = store.save(name, &dump);
            let saved =
                saved.map_err(|error| Failure::new(codes::DUMP, what.clone()).because(error).status(OURS))?;
            if !halted.is_held() {
                // Nothing to be done about one that cannot be removed; the answer is the same.
                let _ = store.remove(&saved.stored);
                return Err(lost());
            }
            return kept(&saved);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what it is called among the dumps.
fn kept(saved: &Saved) -> Outcome {
    print(&format!("{}\n", printable(&saved.stored.id)))?;
    note(&format_args!("next: sidecore dump gdb {} --image FIRMWARE", printable(&saved.stored.id)));
    Ok(ExitCode::SUCCESS)
}

/// Has the daemon write one of its remotes to the file, or to one that goes among the dumps.
pub(super) fn ask(store: &Store, remotes: &Remotes, target: &Target, output: Option<&Path>) -> Outcome {
    let what = || format!("cannot dump {}", target.id());
    let processor = remotes.processor(target)?;
    let Some(output) = output else {
        let lost = |error: io::Error| Failure::new(codes::DUMP, what()).because(error).status(OURS);
        let mut file = tempfile::tempfile().map_err(lost)?;
        processor.dump(&file, |_| ()).map_err(|error| failed(what(), &error))?;
        file.rewind().map_err(lost)?;
        return kept(&store.import(&target.name, file).map_err(lost)?);
    };
    let mut refused = None;
    let written = create(output, |file| {
        processor.dump(file, |_| ()).map_err(|error| {
            let words = io::Error::other(error.to_string());
            refused = Some(error);
            words
        })
    });
    match refused {
        Some(error) => Err(failed(what(), &error)),
        None => written.map(|()| ExitCode::SUCCESS),
    }
}
