//! Real deaths of real processes: `cargo xtask kill`.
//!
//! A client starts an echo in the sandbox, or attaches to it, sends numbered messages and takes the answers; it reports
//! each step by a pipe. At a random moment it is killed with SIGKILL, and the next one goes on; some detach, or are killed
//! in that. Now and then the remote or its warden is killed instead, which the client must be told. Meanwhile somebody
//! dumps the remote, and may be killed, too. What was promised is in `sidecore_sim::history`.

mod client;
mod dumper;

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sidecore_backends::sandbox::{Process, Role};
use sidecore_sim::history::Lane;
use sidecore_sim::luck::Luck;

use crate::client::{Mode, Record, Told};

/// How long a client may take to notice that its remote was killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a client may take to attach: a remote that was killed after a main side had detached cannot say any more that it
/// has let go of the rings, and is waited for.
const ATTACHES: Duration = Duration::from_millis(300);

/// What every round has in common.
struct Stage {
    image: PathBuf,
    folder: PathBuf,
    dumps: PathBuf,
    name: String,
    luck: Luck,
    lane: Lane,
    /// Where a message that arrived stands in the lane.
    places: HashMap<u32, usize>,
    next: u32,
    /// A remote runs that can be attached to.
    is_running: bool,
    /// The last main side has detached.
    is_left: bool,
    /// The remote or its warden was killed, and nobody has been told of it yet.
    is_doomed: bool,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    deaths: u32,
    resumed: u32,
    anew: u32,
    others: u32,
    left: u32,
    dumps: u32,
    half_dumps: u32,
    messages: usize,
    repeated: u32,
}

fn main() -> ExitCode {
    sidecore_backends::sandbox::hook();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["client", mode, name, folder, image, next] => client::run(mode, name, folder, image, next),
        ["dump", name, folder, dumps] => dumper::run(name, folder, dumps),
        [rounds, seed, image] => rounds_of(rounds, seed, Path::new(image)),
        _ => Err(anyhow::anyhow!("usage: kill ROUNDS SEED IMAGE")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn rounds_of(rounds: &str, seed: &str, image: &Path) -> Result<()> {
    let (rounds, seed) = (rounds.parse::<u32>()?, seed.parse::<u64>()?);
    let pid = std::process::id();
    let folder = std::env::temp_dir().join(format!("sidecore-kill-{pid}"));
    fs::create_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&folder, permissions)?;
    let mut stage = Stage {
        image: image.to_owned(),
        folder,
        dumps: std::env::temp_dir().join(format!("sidecore-kill-{pid}-dumps")),
        name: format!("kill-{pid}"),
        luck: Luck::new(seed),
        lane: Lane::new("echo"),
        places: HashMap::new(),
        next: 0,
        is_running: false,
        is_left: false,
        is_doomed: false,
        tally: Tally::default(),
    };
    let mut done = (0..rounds)
        .try_for_each(|round| stage.round().with_context(|| format!("round {round} (seed {seed})")));
    if done.is_ok() {
        done = stage.end().context("the last round");
    }
    let left = || fs::read_dir(&stage.folder).map_or(0, Iterator::count);
    let begin = Instant::now();
    // The warden of the last client is on its way out.
    while done.is_ok() && left() > 0 && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let left = left();
    let alive = Process::of(&stage.name);
    // Ours, whatever comes out.
    alive.iter().for_each(|process| drop(process.kill()));
    fs::remove_dir_all(&stage.folder)?;
    let ended = dumper::end(&stage.dumps);
    done?;
    ended?;
    ensure!(left == 0 && alive.is_empty(), "something is left: {left} files, {alive:?}");
    let Tally { deaths, resumed, anew, others, left, dumps, half_dumps, messages, repeated } = stage.tally;
    println!(
        "{deaths} main sides killed, {resumed} went on where one died, {anew} began anew, {others} remotes and wardens \
         killed and told, {messages} messages delivered, {repeated} of them again"
    );
    println!(
        "{left} main sides detached, {dumps} whole dumps of a remote that ran, {half_dumps} came to nothing"
    );
    Ok(())
}

impl Stage {
    /// A client lives for a moment.
    fn round(&mut self) -> Result<()> {
        let mode = match self.is_running {
            false => Mode::Start,
            true if self.luck.once_in(4) => Mode::Leave,
            true => Mode::Attach,
        };
        let mut client = self.client(mode)?;
        let dumps = self.is_running && self.luck.once_in(3);
        let mut dumper = dumps.then(|| dumper::start(&self.name, &self.folder, &self.dumps)).transpose()?;
        if let Some(dumper) = dumper.as_mut().filter(|_| self.luck.once_in(2)) {
            // In the middle of it, more often than not.
            std::thread::sleep(Duration::from_micros(self.luck.below(12_000)));
            dumper.kill()?;
        }
        // Up to a few milliseconds more often than not, so that deaths in the attach come up.
        let short = self.luck.once_in(2);
        std::thread::sleep(Duration::from_micros(self.luck.below(if short { 8_000 } else { 40_000 })));
        let is_aimed_at = match self.luck.below(10) {
            0 if self.kill(Role::Remote) => false,
            1 if self.kill(Role::Warden) => false,
            _ => {
                client.kill()?;
                true
            }
        };
        self.is_doomed |= !is_aimed_at;
        *(if is_aimed_at { &mut self.tally.deaths } else { &mut self.tally.others }) += 1;
        if let Some(dumper) = dumper {
            let is_whole = dumper::check(dumper, &self.dumps)?;
            *(if is_whole { &mut self.tally.dumps } else { &mut self.tally.half_dumps }) += 1;
        }
        let told = self.hear(&mut client)?;
        self.lane.receiver_died();
        match told {
            Told::Lost => self.begin_anew(),
            Told::Left => {
                // It may have been too late to kill it.
                self.tally.left += 1;
                self.tally.deaths -= u32::from(is_aimed_at);
                self.is_left = true;
            }
            Told::Nothing | Told::Quiet => {}
        }
        Ok(())
    }

    /// Nothing new is sent; what is under way arrives.
    fn end(&mut self) -> Result<()> {
        // One more lives at least until it has said that the remote runs, or that it was killed if it was, however slow
        // the machine is.
        for patience in 1..200 {
            let mut client = self.client(if self.is_running { Mode::Attach } else { Mode::Start })?;
            std::thread::sleep(ATTACHES + Duration::from_millis(20 * patience));
            client.kill()?;
            let told = self.hear(&mut client)?;
            self.lane.receiver_died();
            match told {
                Told::Lost => self.begin_anew(),
                // What was killed may have been the remote before, on its way out; so many would have noticed.
                _ if self.is_running && (!self.is_doomed || patience > 10) => break,
                _ => {}
            }
        }
        let mut client = self.client(Mode::End)?;
        let told = self.hear(&mut client)?;
        ensure!(told == Told::Quiet, "the last client was told that the remote is gone");
        self.lane.is_quiet();
        self.tally.messages += self.lane.seen();
        Ok(())
    }

    /// Whoever was told that all is lost has been told.
    fn begin_anew(&mut self) {
        self.tally.messages += self.lane.seen();
        self.lane = Lane::new("echo");
        self.places.clear();
        (self.next, self.is_running, self.is_left, self.is_doomed) = (0, false, false, false);
    }

    fn client(&self, mode: Mode) -> Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["client", mode.word(), &self.name]).arg(&self.folder).arg(&self.image);
        command.arg(self.next.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().context("start a client")
    }

    /// Takes in what a client reported, to its end.
    fn hear(&mut self, client: &mut Child) -> Result<Told> {
        let mut pipe = client.stdout.take().context("a pipe")?;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        });
        let begin = Instant::now();
        while client.try_wait()?.is_none() {
            // The remote that was killed may have been the one of the round before, on its way out.
            if begin.elapsed() > PATIENCE {
                client.kill()?;
                self.tally.deaths += 1;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let status = client.wait()?;
        let bytes = reader.join().ok().context("a reader")??;
        let mut told = Told::Nothing;
        for record in bytes.chunks_exact(Record::SIZE) {
            match Record::parse(record)? {
                Record::Up { resumed: true } => {
                    ensure!(!self.is_left, "a client went on in a link that the one before gave back");
                    self.tally.resumed += 1;
                }
                Record::Up { resumed: false } => {
                    // It knows: what was under way is lost.
                    if self.is_running {
                        self.tally.anew += u32::from(!self.is_left);
                        self.begin_anew();
                    }
                    self.is_left = false;
                    self.is_running = true;
                }
                Record::Offered(id) => {
                    let expected = self.lane.offered();
                    ensure!(id == expected, "the client sends {id} in place of {expected}");
                    self.next = id + 1;
                }
                Record::Accepted => self.lane.accepted(),
                Record::Refused => {
                    self.lane.refused();
                    self.next -= 1;
                }
                Record::Got { id, again } => {
                    self.tally.repeated += u32::from(again);
                    let at = self.lane.arrives(id, again);
                    self.places.insert(id, at);
                }
                Record::Released(id) => {
                    let at = self.places.get(&id).context("a message was released that never came")?;
                    self.lane.released(*at);
                }
                Record::Told(what) => told = what,
            }
        }
        if !status.success() && std::os::unix::process::ExitStatusExt::signal(&status) != Some(9) {
            bail!("the client ended with {status}");
        }
        Ok(told)
    }

    /// Kills the warden or the remote; whether there was one.
    fn kill(&self, role: Role) -> bool {
        Process::find(&self.name, role).is_some_and(|process| process.kill().is_ok())
    }
}
