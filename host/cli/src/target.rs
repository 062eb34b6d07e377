//! Which remote is meant, and by which way it is reached: every verb that takes a remote asks here.

use std::env;

use sidecore_client::{Client, Error, Info, Places, Processor, Way, codes as client};

use crate::codes;
use crate::failure::{Failure, printable};
use crate::kernel::Place;
use crate::remote::OURS;

/// How remotes are reached.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Reach {
    /// Whose daemon to ask for remotes; `none`: do without [default: $SIDECORE_BUS, else the session's if there is one, else
    /// the system's, else none]
    #[arg(long, value_name = "BUS")]
    pub(crate) bus: Option<Bus>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where a daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bus {
    Session,
    System,
    None,
}

/// What the choice of a bus is in the environment.
const VARIABLE: &str = "SIDECORE_BUS";

/// There is no remote of that name.
pub(crate) const NOT_FOUND: u8 = 3;
/// Several remotes go by that name.
pub(crate) const AMBIGUOUS: u8 = 4;
/// It is not this user's to do.
pub(crate) const NOT_ALLOWED: u8 = 5;
/// Something did not happen in time.
pub(crate) const TIMED_OUT: u8 = 124;

/// What the exit codes of these verbs mean, for their help.
pub(crate) const EXIT_CODES: &str = "\
REMOTE is the name of one of the daemon's, `sandbox:NAME`, `remoteprocN`, `linux:NAME`; or a name, or the beginning of one, \
that no other remote has. `sidecore ps` lists them.

Exit codes:
  0    done
  1    the remote did not do what was asked, or ended
  2    the arguments cannot be used
  3    there is no such remote
  4    several remotes go by that name
  5    you may not do that
  124  it did not happen in time
  125  sidecore itself could not do what was asked";

impl Reach {
    /// The bus that is asked for; `None`: whichever there is.
    pub(crate) fn wanted(&self) -> Result<Option<Bus>, Failure> {
        if let Some(bus) = self.bus {
            return Ok(Some(bus));
        }
        match env::var(VARIABLE).as_deref() {
            Err(env::VarError::NotPresent) | Ok("") => Ok(None),
            Ok("session") => Ok(Some(Bus::Session)),
            Ok("system") => Ok(Some(Bus::System)),
            Ok("none") => Ok(Some(Bus::None)),
            other => {
                let why = format!("{VARIABLE} is {other:?}, and neither session, system nor none");
                Err(Failure::new(codes::USAGE, "it is not known which daemon to ask").because(why).status(2))
            }
        }
    }

    /// All remotes that can be reached so.
    pub(crate) fn remotes(&self) -> Result<Remotes, Failure> {
        let connected = match self.wanted()? {
            // Another machine's files have nothing to do with this machine's daemon.
            _ if self.place.is_elsewhere() => None,
            Some(Bus::None) => None,
            Some(Bus::Session) => Some(Client::session()),
            Some(Bus::System) => Some(Client::system()),
            None => Some(Client::connect()),
        };
        let connected = connected.transpose().map_err(|error| failed("cannot reach the daemon", &error))?;
        let daemon = connected.filter(|client| client.way() != Way::Direct);
        let direct = Client::direct_in(Places::new().roots(self.place.roots()));
        Ok(Remotes { daemon, direct, place: self.place.clone() })
    }
}

/// All remotes: the daemon's, sandboxes that were left running, those that Linux drives.
pub(crate) struct Remotes {
    daemon: Option<Client>,
    direct: Client,
    place: Place,
}

/// One remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `sandbox`, `qemu:BOARD`, `linux:remoteprocN`.
    pub(crate) kind: String,
    pub(crate) state: String,
    /// Whether it is the daemon's.
    pub(crate) is_daemons: bool,
}

impl Remotes {
    /// The daemon, where there is one.
    pub(crate) fn daemon(&self) -> Option<&Client> {
        self.daemon.as_ref()
    }

    pub(crate) fn direct(&self) -> &Client {
        &self.direct
    }

    /// All that there are: the daemon's first.
    pub(crate) fn all(&self) -> Result<Vec<Target>, Failure> {
        let cannot = |error: &Error| failed("cannot list the remotes", error);
        let of = |client: &Client| client.processors().map_err(|error| cannot(&error));
        let mut all = Vec::new();
        if let Some(daemon) = &self.daemon {
            all.extend(of(daemon)?.into_iter().map(|info| Target::new(info, true)));
        }
        for info in of(&self.direct)? {
            let target = Target::new(info, false);
            // What the daemon has is found from outside, too.
            let is_known = all.iter().any(|known: &Target| known.is_daemons && known.is_the_same_as(&target));
            // There is no sandbox in another machine's files.
            let is_ours = target.kind != "sandbox" || !self.place.is_elsewhere();
            if is_ours && !is_known {
                all.push(target);
            }
        }
        Ok(all)
    }

    /// The one that is meant.
    pub(crate) fn find(&self, typed: &str) -> Result<Target, Failure> {
        let all = self.all()?;
        self.select(&all, typed)?.cloned().ok_or_else(|| none(&all, typed))
    }

    /// The one that is meant, if there is one.
    pub(crate) fn look_for(&self, typed: &str) -> Result<Option<Target>, Failure> {
        Ok(self.select(&self.all()?, typed)?.cloned())
    }

    /// The one that has this name, and does not only begin with it.
    pub(crate) fn look_for_exactly(&self, typed: &str) -> Result<Option<Target>, Failure> {
        let all: Vec<Target> = self.all()?.into_iter().filter(|target| target.is_called(typed)).collect();
        Ok(self.select(&all, typed)?.cloned())
    }

    /// Why a name that stands for nobody does; `None` where the kernel has a better answer.
    pub(crate) fn nobody(&self, typed: &str) -> Option<Failure> {
        let all = self.all().ok()?;
        let is_kernels = ["remoteproc", "linux:"].iter().any(|kind| typed.starts_with(kind))
            || all.iter().any(|target| target.linux().is_some());
        (!is_kernels && !self.place.is_elsewhere()).then(|| none(&all, typed))
    }

    fn select<'t>(&self, all: &'t [Target], typed: &str) -> Result<Option<&'t Target>, Failure> {
        select(all, typed).map_err(|candidates| {
            let why = format!("it may be {}", candidates.join(" or "));
            let what = format!("{typed} is not one remote");
            Failure::new(client::REMOTE_AMBIGUOUS, what).because(why).status(AMBIGUOUS)
        })
    }

    /// The one that is meant, to do something with.
    pub(crate) fn processor(&self, target: &Target) -> Result<Processor, Failure> {
        let client =
            if target.is_daemons { self.daemon.as_ref().unwrap_or(&self.direct) } else { &self.direct };
        client
            .processor(&target.selector())
            .map_err(|error| failed(format!("cannot use {}", target.id()), &error))
    }
}

impl Target {
    fn new(info: Info, is_daemons: bool) -> Self {
        Self { name: info.name, kind: info.kind, state: info.state, is_daemons }
    }

    /// What it is called in lists: a name that stands for it, and for no other in most cases.
    pub(crate) fn id(&self) -> String {
        match self.linux() {
            Some(id) => id.to_owned(),
            None if self.is_daemons => self.name.clone(),
            None => self.selector(),
        }
    }

    /// The kernel's name for it, if Linux drives it.
    pub(crate) fn linux(&self) -> Option<&str> {
        self.kind.strip_prefix("linux:")
    }

    /// What its own client calls it.
    fn selector(&self) -> String {
        match &*self.kind {
            kind if kind.starts_with("linux:") => kind.to_owned(),
            "sandbox" => format!("sandbox:{}", self.name),
            _ => self.name.clone(),
        }
    }

    /// A name that stands for it whatever others are called.
    fn qualified(&self) -> String {
        if self.is_daemons { format!("daemon:{}", self.name) } else { self.selector() }
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        self.kind == other.kind && (self.name == other.name || self.linux().is_some())
    }

    fn is_called(&self, typed: &str) -> bool {
        self.is_meant(typed) || self.name == typed
    }

    /// Whether a name that says which kind is meant stands for it.
    fn is_meant(&self, typed: &str) -> bool {
        match typed.split_once(':') {
            Some(("daemon", name)) => self.is_daemons && self.name == name,
            Some(("sandbox", name)) => self.kind == "sandbox" && self.name == name,
            Some(("linux", name)) => self.linux().is_some_and(|id| id == name || self.name == name),
            Some(_) => self.kind == typed,
            None => self.linux() == Some(typed),
        }
    }
}

/// The one that is meant; or the names of all that may be.
fn select<'t>(all: &'t [Target], typed: &str) -> Result<Option<&'t Target>, Vec<String>> {
    let begins = |target: &Target| {
        !typed.is_empty()
            && [&target.name, &target.id(), &target.qualified()].iter().any(|name| name.starts_with(typed))
    };
    let ways: [&dyn Fn(&Target) -> bool; 3] =
        [&|target| target.is_meant(typed), &|target| target.name == typed, &begins];
    for way in ways {
        let found: Vec<&Target> = all.iter().filter(|target| way(target)).collect();
        match found[..] {
            [] => {}
            [found] => return Ok(Some(found)),
            _ => return Err(found.iter().map(|target| target.qualified()).collect()),
        }
    }
    Ok(None)
}

fn none(all: &[Target], typed: &str) -> Failure {
    let names: Vec<String> = all.iter().map(Target::id).collect();
    let why = match &names[..] {
        [] => "there is none; `sidecore start NAME FIRMWARE` makes one".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Failure::new(client::REMOTE_NOT_FOUND, format!("there is no remote {typed}"))
        .because(why)
        .status(NOT_FOUND)
}

/// What a client's error means for whoever called us.
pub(crate) fn failed(what: impl Into<String>, error: &Error) -> Failure {
    let status = match error {
        Error::NotFound { .. } => NOT_FOUND,
        Error::Ambiguous { .. } => AMBIGUOUS,
        Error::NotAuthorized { .. } => NOT_ALLOWED,
        Error::TimedOut { .. } | Error::NotAnnounced { .. } | Error::Full => TIMED_OUT,
        Error::BadOption { .. } => 2,
        Error::BadFirmware { .. } => crate::image::CANNOT_RUN,
        Error::NoDaemon { .. }
        | Error::BusGone { .. }
        | Error::NoAnswer { .. }
        | Error::InsideRuntime
        | Error::System { .. } => OURS,
        _ => 1,
    };
    Failure::new(error.code(), what).because(without_code(&error.to_string())).status(status)
}

/// The daemon's words, without the code that they begin with: it is ours then, too.
fn without_code(why: &str) -> String {
    let rest = why.strip_prefix("error[E").and_then(|rest| rest.split_once("]: "));
    printable(rest.map_or(why, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Target> {
        [
            ("radio", "sandbox", true),
            ("modem", "qemu:mps2-an386", true),
            ("m4", "linux:remoteproc0", false),
            ("m4", "linux:remoteproc1", false),
            ("dsp", "linux:remoteproc2", false),
            ("radar", "sandbox", false),
            ("modem", "sandbox", false),
        ]
        .map(|(name, kind, is_daemons)| Target {
            name: name.to_owned(),
            kind: kind.to_owned(),
            state: "running".to_owned(),
            is_daemons,
        })
        .to_vec()
    }

    fn found(typed: &str) -> Result<Option<String>, Vec<String>> {
        select(&all(), typed).map(|found| found.map(Target::qualified))
    }

    #[test]
    fn a_name_or_its_beginning_is_enough_where_no_other_remote_has_it() {
        for (typed, meant) in [
            ("radio", "daemon:radio"),
            ("sandbox:radio", "daemon:radio"),
            ("daemon:modem", "daemon:modem"),
            ("sandbox:modem", "sandbox:modem"),
            ("qemu:mps2-an386", "daemon:modem"),
            ("remoteproc1", "linux:remoteproc1"),
            ("linux:remoteproc0", "linux:remoteproc0"),
            ("linux:dsp", "linux:remoteproc2"),
            ("dsp", "linux:remoteproc2"),
            ("ds", "linux:remoteproc2"),
            ("rada", "sandbox:radar"),
            ("sandbox:rada", "sandbox:radar"),
        ] {
            assert_eq!(found(typed), Ok(Some(meant.to_owned())), "{typed}");
        }
    }

    #[test]
    fn where_several_are_meant_each_has_a_name_that_stands_for_it() {
        for typed in ["m4", "linux:m4", "modem", "rad", "r", "sandbox:", "mode"] {
            let candidates = found(typed).unwrap_err();
            assert!(candidates.len() > 1, "{typed}");
            for candidate in candidates {
                assert_eq!(found(&candidate), Ok(Some(candidate)));
            }
        }
    }

    #[test]
    fn where_none_is_meant_none_is_found() {
        for typed in
            ["", "x", "Radio", "radioo", "sandbox:radioo", "linux:radio", "remoteproc9", "a:b:c", "\u{1b}[2J"]
        {
            assert_eq!(found(typed), Ok(None), "{typed}");
        }
    }
}
