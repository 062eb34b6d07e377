//! `sidecore config`: what the daemon is told to do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueHint;
use serde::Serialize;
use sidecored::config::{Config, Places, Section};

use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::output::{print, print_json};
use crate::remote::OURS;
use crate::target::{Bus, Reach};

/// Show what the daemon is told by its files, as it understands them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show all values, those that stand where nothing is said included
    #[command(after_help = AFTER)]
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Say of each value which line of which file has it
    #[arg(long)]
    origin: bool,
    /// Read the files of this directory alone
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
    /// Print JSON (schema sidecore.config/1)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

const AFTER: &str = "\
The system's daemon reads sidecored.toml and sidecored.toml.d/*.toml in /usr/lib/sidecore, /run/sidecore and /etc/sidecore: of files \
with the same name the last one, in the order of their names, the main file first. A session's daemon (--bus session) reads \
those in $XDG_CONFIG_HOME/sidecore. Without --bus it is the daemon that other verbs would ask; where there is none, the \
system's for root, and else the session's.

Exit codes:
  0    the files can be used
  125  one of them cannot: the error says which line";

impl Args {
    /// Whether a program reads our output.
    pub(crate) fn json(&self) -> bool {
        let Verb::Show(show) = &self.verb;
        show.json
    }
}

#[derive(Serialize)]
struct Whole {
    files: Vec<PathBuf>,
    sections: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    section: &'static str,
    settings: Vec<Value>,
}

#[derive(Serialize)]
struct Value {
    key: &'static str,
    value: Option<toml::Value>,
    /// Nothing: it is not said anywhere.
    file: Option<PathBuf>,
    line: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Verb::Show(args) = &args.verb;
    let places = places(args)?;
    let cannot = |error| {
        Failure::new(codes::CONFIGURATION, "the configuration cannot be used").because(error).status(OURS)
    };
    let config = Config::load(&places).map_err(cannot)?;
    let sections = config.sections();
    if args.json {
        let files = places.files().map_err(cannot)?;
        let sections = sections.into_iter().map(part).collect();
        print_json("sidecore.config/1", &Whole { files, sections })?;
    } else {
        print(&text(&sections, args.origin))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn places(args: &Show) -> Result<Places, Failure> {
    if let Some(directory) = &args.directory {
        return Ok(Places::of([directory]));
    }
    let is_systems = match args.reach.wanted()? {
        Some(Bus::Session) => false,
        Some(Bus::System) => true,
        Some(Bus::None) => rustix::process::geteuid().is_root(),
        None => match args.reach.remotes()?.daemon().map(sidecore_client::Client::way) {
            Some(sidecore_client::Way::Session) => false,
            Some(_) => true,
            None => rustix::process::geteuid().is_root(),
        },
    };
    Ok(if is_systems { Places::system() } else { Places::session() })
}

fn part(section: Section) -> Part {
    let value = |setting: sidecored::config::Setting| Value {
        key: setting.key,
        value: setting.value,
        line: setting.origin.as_ref().map(|origin| origin.line),
        file: setting.origin.map(|origin| origin.file.to_path_buf()),
    };
    Part { section: section.name, settings: section.settings.into_iter().map(value).collect() }
}

/// As a file that says the same.
fn text(sections: &[Section], with_origin: bool) -> String {
    let mut text = String::new();
    for section in sections {
        let between = if text.is_empty() { "" } else { "\n" };
        let (open, close) = if section.is_one_of_many { ("[[", "]]") } else { ("[", "]") };
        text.push_str(&format!("{between}{open}{}{close}\n", section.name));
        for setting in &section.settings {
            let line = match &setting.value {
                Some(value) => format!("{} = {}", setting.key, printable(&value.to_string())),
                // Whoever looks for it sees that it can be said.
                None => format!("# {} is not said", setting.key),
            };
            match (&setting.origin, with_origin && setting.value.is_some()) {
                (_, false) => text.push_str(&line),
                (Some(origin), true) => {
                    let file = printable(&origin.file.to_string_lossy());
                    text.push_str(&format!("{line:<40} # {file}:{}", origin.line));
                }
                (None, true) => text.push_str(&format!("{line:<40} # built in")),
            }
            text.push('\n');
        }
    }
    text
}
