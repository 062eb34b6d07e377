//! What is done when something happens: commands and units, by the rules of the configuration.
//!
//! Events come from remotes, whose firmware nobody trusts. Nothing of theirs gets near a shell or a command line: a command
//! finds them in its environment. A storm of events costs itself: so many actions run at once and no more, those of one
//! remote one after the other in the order of its events, and of those that wait there is an end, too, behind which they are
//! counted and not done.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zbus::Connection;

use crate::config::{Action, Glob, Rule};

/// The kinds of events.
pub const KINDS: &[&str] = &[
    "added",
    "removed",
    "state",
    "crashed",
    "name-appeared",
    "name-gone",
    "lease",
    "endpoint-opened",
    "endpoint-closed",
    "job",
    "notice",
    "warning",
];

/// The states that a remote may be in.
pub const STATES: &[&str] = &["offline", "suspended", "running", "crashed", "attached", "detached"];

/// Actions that run at once.
const LANES: usize = 8;
/// Actions that wait behind one.
const QUEUE: usize = 64;
/// Bytes of a command's output that are told; what is more is counted.
const MAX_OUTPUT: usize = 16 << 10;
/// Bytes of a line that are told in one piece.
const MAX_LINE: usize = 1024;
/// How long what a command left behind may still say something.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long systemd may take to answer.
const SYSTEMD: Duration = Duration::from_secs(30);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in microseconds since 1970.
    pub time_us: u64,
    /// To which remote, by name.
    pub remote: String,
    /// Of which kind, see [`KINDS`].
    pub kind: String,
    /// What, in words.
    pub what: String,
    /// By the kind more: `state`, `service`, `device`, `address`, `code`.
    pub details: BTreeMap<String, String>,
}

/// Rules at work, until they are dropped: what waits then is not done, and commands are killed.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
    lanes: Vec<mpsc::Sender<Job>>,
    work: Arc<Work>,
    tasks: tokio::task::JoinSet<()>,
}

/// What is to be done.
#[derive(Debug)]
struct Job {
    rule: Arc<Rule>,
    event: Arc<Event>,
}

/// What all lanes share.
struct Work {
    /// Actions that there was no room for, since it was told.
    lost: AtomicUsize,
    systemd: OnceLock<Connection>,
    log: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Rule {
    /// Whether it is for this event.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let fits = |glob: &Option<Glob>, word: Option<&str>| {
            glob.as_ref().is_none_or(|glob| word.is_some_and(|word| glob.matches(word)))
        };
        let detail = |key| event.details.get(key).map(String::as_str);
        fits(&self.remote, Some(&event.remote))
            && fits(&self.kind, Some(&event.kind))
            && fits(&self.service, detail("service"))
            && fits(&self.state, detail("state"))
    }
}

impl Rules {
    /// Rules that are at work from now on; what they and their commands say goes to the standard error.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self::telling(rules, |line| eprintln!("{line}"))
    }

    /// Rules that are at work from now on; what they and their commands say goes there, line by line.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn telling(rules: Vec<Rule>, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let work = Arc::new(Work { lost: AtomicUsize::new(0), systemd: OnceLock::new(), log: Box::new(log) });
        let mut tasks = tokio::task::JoinSet::new();
        let mut lanes = Vec::new();
        // Without rules nothing ever comes.
        for _ in 0..if rules.is_empty() { 0 } else { LANES } {
            let (sender, jobs) = mpsc::channel(QUEUE);
            lanes.push(sender);
            tasks.spawn(drain(jobs, Arc::clone(&work)));
        }
        Self { rules: rules.into_iter().map(Arc::new).collect(), lanes, work, tasks }
    }

    /// Units are started by the systemd on this bus: the machine's, or a user's. Where there is none, rules that start units
    /// say so. Only the first call counts.
    pub fn start_units_on(&self, bus: Connection) {
        // Who has one keeps it.
        let _ = self.work.systemd.set(bus);
    }

    /// Has everything done that the rules have for this event. Never waits.
    pub fn offer(&self, event: &Event) {
        let mut met = self.rules.iter().filter(|rule| rule.matches(event)).peekable();
        if met.peek().is_none() {
            return;
        }
        let event = Arc::new(event.clone());
        for rule in met {
            let job = Job { rule: Arc::clone(rule), event: Arc::clone(&event) };
            let is_lost = self.lane(&event.remote).is_none_or(|lane| lane.try_send(job).is_err());
            if is_lost {
                self.work.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Actions that there was no room for, and of which nothing was said yet.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.work.lost.load(Ordering::Relaxed)
    }

    /// Where actions for this remote wait for each other.
    fn lane(&self, remote: &str) -> Option<&mpsc::Sender<Job>> {
        let mut hasher = DefaultHasher::new();
        remote.hash(&mut hasher);
        let lanes = self.lanes.len().max(1) as u64;
        self.lanes.get((hasher.finish() % lanes) as usize)
    }

    /// Does all that waits, and ends.
    pub async fn finish(mut self) {
        self.lanes.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Does one thing after the other.
async fn drain(mut jobs: mpsc::Receiver<Job>, work: Arc<Work>) {
    while let Some(Job { rule, event }) = jobs.recv().await {
        let lost = work.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            work.say(&format!("rules: {lost} actions were not done: too many events came at once"));
        }
        match &rule.action {
            Action::Run(words) => work.run(&rule, words, &event).await,
            Action::StartUnit(unit) => work.start(&rule, &unit.of_remote(&event.remote)).await,
        }
    }
}

impl Work {
    async fn run(&self, rule: &Rule, words: &[String], event: &Event) {
        let Some((program, arguments)) = words.split_first() else { return };
        let until = Instant::now() + rule.timeout;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment(event)).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What it starts can be ended with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return self.told(rule, &format!("{program} cannot be run: {error}")),
        };
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = async { tokio::join!(self.tell(rule, out), self.tell(rule, err)) };
        let ended = ended(&mut child, group, until);
        tokio::pin!(said, ended);
        let mut is_silent = false;
        let ended = loop {
            tokio::select! {
                ended = &mut ended => break ended,
                _ = &mut said, if !is_silent => is_silent = true,
            }
        };
        if !is_silent {
            // What it left running is not waited for.
            let _ = tokio::time::timeout(LAST_WORDS, said).await;
        }
        match ended {
            Some(Ok(status)) if status.success() => {}
            Some(Ok(status)) => self.told(rule, &format!("{program} ended with {status}")),
            Some(Err(error)) => self.told(rule, &format!("{program} cannot be waited for: {error}")),
            None => self.told(rule, &format!("{program} took longer than {:?} and was killed", rule.timeout)),
        }
    }

    /// Tells what comes, line by line, until its end.
    async fn tell(&self, rule: &Rule, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut line = Vec::new();
        let (mut told, mut untold) = (0, 0);
        let mut bytes = [0; 1024];
        while let Ok(len @ 1..) = from.read(&mut bytes).await {
            for byte in &bytes[..len] {
                if told >= MAX_OUTPUT {
                    untold += 1;
                    continue;
                }
                told += 1;
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= MAX_LINE {
                    self.told(rule, &printable(&line));
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.told(rule, &printable(&line));
        }
        if untold > 0 {
            self.told(rule, &format!("{untold} more bytes of output"));
        }
    }

    async fn start(&self, rule: &Rule, unit: &str) {
        let Some(bus) = self.systemd.get() else {
            return self.told(rule, &format!("{unit} cannot be started: there is no bus with systemd"));
        };
        let (name, path) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
        let interface = Some("org.freedesktop.systemd1.Manager");
        let arguments = (unit, "replace");
        let called = bus.call_method(Some(name), path, interface, "StartUnit", &arguments);
        match tokio::time::timeout(SYSTEMD, called).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.told(rule, &format!("{unit} cannot be started: {error}")),
            Err(_) => self.told(rule, &format!("{unit}: systemd does not answer")),
        }
    }

    /// Says something of a rule.
    fn told(&self, rule: &Rule, what: &str) {
        match rule.origins.values().map(|origin| (&origin.file, origin.line)).min() {
            Some((file, line)) => self.say(&format!("rule {}:{line}: {what}", file.display())),
            None => self.say(&format!("rule: {what}")),
        }
    }

    fn say(&self, line: &str) {
        (self.log)(line);
    }
}

/// Waits for the end of a command, or makes it; `None`: the latter.
async fn ended(child: &mut Child, mut group: Group, until: Instant) -> Option<io::Result<ExitStatus>> {
    match timeout_at(until, child.wait()).await {
        Ok(ended) => {
            // Its number is anybody's from now on.
            group.0 = None;
            Some(ended)
        }
        Err(_) => {
            drop(group);
            // It is dead, and takes no time to be waited for.
            let _ = child.wait().await;
            None
        }
    }
}

/// A command that was not waited for yet, and what it started: all of it ends with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // There may be nobody in it any more.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a command knows of an event.
fn environment(event: &Event) -> Vec<(String, String)> {
    let mut environment = vec![
        (
            "PATH".to_owned(),
            std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ),
        ("SIDECORE_TIME".to_owned(), event.time_us.to_string()),
        ("SIDECORE_REMOTE".to_owned(), event.remote.clone()),
        ("SIDECORE_KIND".to_owned(), event.kind.clone()),
        ("SIDECORE_WHAT".to_owned(), event.what.clone()),
    ];
    for key in ["service", "address", "device", "state", "code"] {
        if let Some(value) = event.details.get(key) {
            environment.push((format!("SIDECORE_{}", key.to_uppercase()), value.clone()));
        }
    }
    for (_, value) in &mut environment {
        // None can be handed on.
        value.retain(|c| c != '\0');
    }
    environment
}

/// Text without characters that would do something to a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests;
