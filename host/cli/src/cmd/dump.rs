//! `sidecore dump`: what crashed firmware left.

mod running;
mod show;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::ValueHint;
use sidecore_processor::dumps::{Limits, Store, Stored};
use sidecore_remoteproc::Firmware;
use sidecore_remoteproc::coredump::{Include, Told};

use super::attach::SANDBOX;
use crate::codes;
use crate::debugger;
use crate::failure::{Failure, Outcome, printable};
use crate::image::Image;
use crate::message::usage;
use crate::output::{note, print};
use crate::remote::OURS;
use crate::state;
use crate::target::{Reach, Remotes, Target};

/// List, look into and debug the core dumps of firmware that crashed (`run --dump`)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A DUMP is called as `list` calls it, or by the beginning of that; none is the newest.

Dumps lie in $XDG_STATE_HOME/sidecore/dumps (~/.local/state/sidecore/dumps): ELF core files that
gzip has compressed. Of more than 1 GiB the oldest ones go, and all that are older than 30 days.

Examples:
  sidecore run --dump fw.elf     keep a dump if it crashes
  sidecore dump info             what is known of the newest one
  sidecore dump gdb              a debugger, with the firmware's symbols
  sidecore dump save sandbox:radio
                                 one of a remote that runs, and runs on"
)]
pub(crate) struct Args {
    /// The directory of the dumps
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dumps: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List all dumps, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON (schema sidecore.dumps/1)
        #[arg(long)]
        json: bool,
    },
    /// Tell what is known of a crash, and which memories the dump has
    Info {
        /// The dump [default: the newest]
        dump: Option<String>,
        /// Print JSON (schema sidecore.dump/1)
        #[arg(long)]
        json: bool,
    },
    /// Write a dump as an ELF core file, for debuggers and other machines; or take one of a sandbox that runs
    Save {
        /// The dump [default: the newest], or a remote that runs, see `sidecore ps`: that is halted, dumped as it stands and
        /// runs on, whoever its main side is
        dump: Option<String>,
        /// The file, which must not be there yet [default: among the dumps, for a remote that runs]
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Which memories a dump of `sandbox:NAME` has: all, or those alone that its firmware may write
        #[arg(long, value_name = "WHICH", default_value = "all")]
        memory: Memories,
        #[command(flatten)]
        reach: Reach,
    },
    /// Look into a dump with a debugger
    Gdb {
        /// The dump [default: the newest]
        dump: Option<String>,
        /// The firmware file, where it is no longer at its place
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        image: Option<OsString>,
        /// The debugger [default: gdb-multiarch, or else gdb]
        #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
        gdb: Option<OsString>,
        /// Arguments for the debugger
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Remove dumps
    Rm {
        /// The dumps
        #[arg(id = "dump", value_name = "DUMP", required_unless_present_any = ["all", "older"])]
        ids: Vec<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Those that are older than so many days
        #[arg(long = "older-than", value_name = "DAYS", id = "older")]
        older: Option<u64>,
    },
}

/// Which memories a dump has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Memories {
    All,
    Writable,
}

impl From<Memories> for Include {
    fn from(memories: Memories) -> Self {
        match memories {
            Memories::All => Self::All,
            Memories::Writable => Self::Writable,
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let store = store(args.dumps.as_deref())?;
    match &args.verb {
        Verb::List { json } => show::list(&all(&store)?, *json),
        Verb::Info { dump, json } => {
            let stored = find(&store, dump.as_deref())?;
            show::info(&stored, &told(&stored)?, *json)
        }
        Verb::Save { dump, output, memory, reach } => match (dump.as_deref().unwrap_or_default(), output) {
            (remote, output) if remote.starts_with(SANDBOX) => {
                running::save(&store, &remote[SANDBOX.len()..], output.as_deref(), (*memory).into())
            }
            (remote, output) if let Some((remotes, target)) = meant(&store, reach, remote)? => {
                match target.is_daemons {
                    true if *memory != Memories::All => {
                        Err(usage("the daemon dumps all memories: --memory is for `sandbox:NAME`"))
                    }
                    true => running::ask(&store, &remotes, &target, output.as_deref()),
                    false => running::save(&store, &target.name, output.as_deref(), (*memory).into()),
                }
            }
            (_, Some(output)) => save(&find(&store, dump.as_deref())?, output),
            (_, None) => {
                let why = "--output FILE says where; without it only a remote that runs can be saved";
                Err(Failure::new(codes::DUMP, "it is not known where to write the dump")
                    .because(why)
                    .status(2))
            }
        },
        Verb::Gdb { dump, image, gdb, args } => {
            let stored = find(&store, dump.as_deref())?;
            debug(&stored, image.as_ref(), gdb.as_ref(), args)
        }
        Verb::Rm { ids, all, older } => remove(&store, ids, *all, *older),
    }
}

impl Args {
    /// Whether a program reads our output.
    pub(crate) fn json(&self) -> bool {
        matches!(self.verb, Verb::List { json: true } | Verb::Info { json: true, .. })
    }
}

/// The remote that is meant, and not a dump: a whole name comes before the beginning of one, and then dumps come first.
fn meant(store: &Store, reach: &Reach, typed: &str) -> Result<Option<(Remotes, Target)>, Failure> {
    let dumps = all(store).unwrap_or_default();
    if typed.is_empty() || dumps.iter().any(|stored| stored.id == typed) {
        return Ok(None);
    }
    let remotes = reach.remotes()?;
    // A remote's dumps begin with its name.
    let target = match remotes.look_for_exactly(typed)? {
        None if dumps.iter().any(|stored| stored.id.starts_with(typed)) => None,
        None => remotes.look_for(typed)?,
        named => named,
    };
    Ok(target.map(|target| (remotes, target)))
}

/// The dumps of this user, or those in a directory.
pub(crate) fn store(directory: Option<&Path>) -> Result<Store, Failure> {
    let directory = directory.map(Path::to_owned).or_else(|| state::directory("dumps"));
    let nowhere = || {
        let why = "there is neither $XDG_STATE_HOME nor $HOME; name a directory";
        Failure::new(codes::DUMP, "there is no place for dumps").because(why).status(OURS)
    };
    Ok(Store::new(directory.ok_or_else(nowhere)?, Limits::DEFAULT))
}

fn all(store: &Store) -> Result<Vec<Stored>, Failure> {
    let what = || format!("cannot look for dumps in {}", shown(store.directory()));
    store.list().map_err(|error| Failure::new(codes::DUMP, what()).because(error))
}

/// The dump that is meant.
fn find(store: &Store, id: Option<&str>) -> Result<Stored, Failure> {
    let all = all(store)?;
    let place = shown(store.directory());
    let Some(id) = id else {
        let none = || Failure::new(codes::DUMP, "there is no dump").because(format!("{place} has none"));
        return all.into_iter().next().ok_or_else(none);
    };
    let mut meant: Vec<Stored> = all.into_iter().filter(|stored| stored.id.starts_with(id)).collect();
    if let Some(exact) = meant.iter().position(|stored| stored.id == id) {
        return Ok(meant.swap_remove(exact));
    }
    let failure = Failure::new(codes::DUMP, format!("there is no dump {}", printable(id)));
    match meant.len() {
        0 => Err(failure.because(format!("none in {place} begins so; `sidecore dump list` has all"))),
        1 => Ok(meant.swap_remove(0)),
        _ => {
            let ids: Vec<&str> = meant.iter().map(|stored| &*stored.id).collect();
            Err(failure.because(format!("it may be any of {}", printable(&ids.join(", ")))))
        }
    }
}

fn told(stored: &Stored) -> Result<Told, Failure> {
    stored.told().map_err(|error| unreadable(stored, &error))
}

fn save(stored: &Stored, output: &Path) -> Outcome {
    create(output, |file| stored.extract(file))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a file that was not there, whole or not at all.
fn create(output: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Failure> {
    let written = File::create_new(output).and_then(|file| write(&file));
    written.map_err(|error| {
        if error.kind() != ErrorKind::AlreadyExists {
            // A part of a dump is none.
            let _ = std::fs::remove_file(output);
        }
        Failure::new(codes::DUMP, format!("cannot write {}", shown(output))).because(error)
    })
}

fn debug(
    stored: &Stored,
    image: Option<&OsString>,
    gdb: Option<&OsString>,
    arguments: &[OsString],
) -> Outcome {
    let told = told(stored)?;
    let cannot = |error: io::Error| {
        Failure::new(codes::DUMP, format!("cannot unpack {}", printable(&stored.id))).because(error)
    };
    let place = tempfile::Builder::new().prefix("sidecore-dump-").tempdir().map_err(cannot)?;
    let core = place.path().join("core");
    File::create_new(&core).and_then(|file| stored.extract(&file)).map_err(cannot)?;

    let mut all: Vec<OsString> = vec!["-q".into()];
    let known = told.fact("file").map(OsString::from);
    match image.or(known.as_ref()).map(|name| (name, Image::open(name))) {
        Some((_, Ok(image))) => {
            let same = Firmware::parse(&image.bytes)
                .is_ok_and(|firmware| firmware.build_id().unwrap_or_default() == told.build_id);
            if !same {
                let name = &image.name;
                note(&format_args!("{name} is another build than the one that crashed: lines may be wrong"));
            }
            // A built-in image is no file, and a file may be replaced while it is debugged.
            let elf = place.path().join(&image.name);
            std::fs::write(&elf, &image.bytes).map_err(cannot)?;
            all.push(elf.into());
        }
        Some((name, Err(failure))) => {
            note(&format_args!("no symbols: {}: {failure}; --image names the file", shown(Path::new(name))));
        }
        None => note(&"no symbols: it is not known which firmware file it was; --image names it"),
    }
    all.extend(["-ex".into(), "set confirm off".into(), "-ex".into()]);
    let mut load = OsString::from("core-file ");
    load.push(&core);
    all.push(load);
    all.extend(arguments.iter().cloned());
    debugger::run(gdb.map(|gdb| &**gdb), |program| Command::new(program).args(&all).status())
}

fn remove(store: &Store, ids: &[String], everything: bool, older: Option<u64>) -> Outcome {
    let mut gone = Vec::new();
    for id in ids {
        gone.push(find(store, Some(id))?);
    }
    let limit = older.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
    let is_older =
        |stored: &Stored| limit.is_some_and(|limit| stored.time.elapsed().is_ok_and(|age| age > limit));
    if everything || older.is_some() {
        gone.extend(all(store)?.into_iter().filter(|stored| everything || is_older(stored)));
    }
    for stored in &gone {
        match store.remove(stored) {
            // Named twice, or somebody was faster.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let what = format!("cannot remove {}", shown(&stored.path));
                return Err(Failure::new(codes::DUMP, what).because(error));
            }
            _ => {}
        }
        print(&format!("{}\n", printable(&stored.id)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(stored: &Stored, error: &io::Error) -> Failure {
    Failure::new(codes::DUMP, format!("cannot read {}", shown(&stored.path))).because(error)
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
