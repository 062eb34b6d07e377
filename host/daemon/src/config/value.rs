//! Values that have to look in some way.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use sidecore_remoteproc::recovery::{Policy, Remedy};

/// The name of a remote: 1 to 64 letters, digits, `-`, `_` and `.`, and no `.` in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteName(String);

/// What executes a remote: `sandbox`, `qemu:BOARD`, or `linux:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On(String);

/// What becomes of a remote that crashes: `never`, `on-crash`, `on-crash:N`, the latter two with or without `,silent` behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    text: String,
    policy: Policy,
}

/// When a remote is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the daemon.
    Boot,
    /// When somebody asks for it.
    #[default]
    Demand,
}

/// A pattern for a whole word: `*` is any number of characters, `?` one, everything else itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

/// The name of a systemd unit, which may be a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(String);

/// How often a crashed remote is restarted within a minute, where nothing else is said.
const RESTARTS: u32 = 5;
/// How long services may take to come back after a silent restart.
const BACK: Duration = Duration::from_secs(5);
/// Bytes of the longest pattern.
const MAX_GLOB: usize = 256;
/// Bytes of the longest name that systemd takes.
const MAX_UNIT: usize = 255;

/// A value that is written as text.
pub(super) trait Text: Sized {
    /// # Errors
    /// It is none; the reason says what would be.
    fn of(text: &str) -> Result<Self, String>;
}

macro_rules! texts {
    ($($name:ident)*) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::of(&text).map_err(|why| de::Error::custom(format!("{text:?} {why}")))
            }
        }
    )* };
}

texts!(RemoteName On Restart Start Glob Unit AbsolutePath Argument);

impl Text for RemoteName {
    fn of(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if (1..=64).contains(&text.len()) && text.chars().all(good) && !text.starts_with('.') {
            return Ok(Self(text.to_owned()));
        }
        Err("is no name: 1 to 64 letters, digits, `-`, `_` and `.`, and no `.` in front".to_owned())
    }
}

impl RemoteName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for On {
    fn of(text: &str) -> Result<Self, String> {
        let is_good = match text.split_once(':') {
            None => text == "sandbox",
            Some(("qemu" | "linux", name)) => !name.is_empty() && !name.contains('\0'),
            Some(_) => false,
        };
        is_good.then(|| Self(text.to_owned())).ok_or_else(|| {
            "is nothing that executes firmware: `sandbox`, `qemu:BOARD` or `linux:NAME`".to_owned()
        })
    }
}

impl On {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for On {
    fn default() -> Self {
        Self("sandbox".to_owned())
    }
}

impl Text for Restart {
    fn of(text: &str) -> Result<Self, String> {
        let policy = match text {
            "never" => Some(Policy::LEAVE),
            _ => {
                let (when, remedy) = match text.strip_suffix(",silent") {
                    Some(when) => (when, Remedy::RestartSilently { within: BACK }),
                    None => (text, Remedy::Restart),
                };
                let most = when.strip_prefix("on-crash").and_then(|rest| match rest.strip_prefix(':') {
                    Some(number) => number.parse().ok(),
                    None => rest.is_empty().then_some(RESTARTS),
                });
                most.map(|most| Policy::of(remedy, most))
            }
        };
        let why = "is no policy: `never`, `on-crash`, `on-crash:N`, the latter two with or without `,silent` behind";
        policy.map(|policy| Self { text: text.to_owned(), policy }).ok_or_else(|| why.to_owned())
    }
}

impl Restart {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it means.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { text: "never".to_owned(), policy: Policy::LEAVE }
    }
}

impl Text for Start {
    fn of(text: &str) -> Result<Self, String> {
        match text {
            "boot" => Ok(Self::Boot),
            "demand" => Ok(Self::Demand),
            _ => Err("is neither `boot` nor `demand`".to_owned()),
        }
    }
}

impl Start {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Demand => "demand",
        }
    }
}

impl Text for Glob {
    fn of(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("is no pattern: it matches nothing".to_owned()),
            1..=MAX_GLOB => Ok(Self(text.to_owned())),
            len => Err(format!("is no pattern: it has {len} bytes, {MAX_GLOB} at most")),
        }
    }
}

impl Glob {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of a word is as the pattern has it. Takes as many steps as the product of the lengths, at most.
    #[must_use]
    pub fn matches(&self, word: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), word.chars());
        // Where to go on when it turns out that the last `*` stands for one character more.
        let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let (before, mut next) = (pattern.clone(), rest.clone());
            match (pattern.next(), rest.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    rest = next.clone();
                    again = next.next().is_some().then_some((before, next));
                }
                (Some('?'), Some(_)) => {}
                (Some(wanted), Some(found)) if wanted == found => {}
                _ => match again.take() {
                    Some((then_pattern, then_rest)) => (pattern, rest) = (then_pattern, then_rest),
                    None => return false,
                },
            }
        }
    }
}

impl Text for Unit {
    fn of(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let kinds = ["service", "target", "socket", "timer", "path", "mount", "slice", "scope"];
        let is_good = match text.rsplit_once('.') {
            Some((name, kind)) => !name.is_empty() && !name.starts_with('@') && kinds.contains(&kind),
            None => false,
        };
        if is_good && text.chars().all(good) && text.len() <= MAX_UNIT {
            return Ok(Self(text.to_owned()));
        }
        Err("is no unit's name, such as `modem.service`".to_owned())
    }
}

impl Unit {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is started for a remote: of a template the instance with its name.
    #[must_use]
    pub fn of_remote(&self, remote: &str) -> String {
        match self.0.split_once("@.") {
            Some((name, kind)) => format!("{name}@{}.{kind}", escaped(remote)),
            None => self.0.clone(),
        }
    }
}

/// As systemd-escape(1) does it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' => escaped.push(char::from(byte)),
            b'.' if at > 0 => escaped.push('.'),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

/// A path that means the same for everybody.
#[derive(Clone, Debug)]
pub(super) struct AbsolutePath(pub(super) std::path::PathBuf);

impl Text for AbsolutePath {
    fn of(text: &str) -> Result<Self, String> {
        match Path::new(text).is_absolute() && !text.contains('\0') {
            true => Ok(Self(text.into())),
            false => Err("is no absolute path".to_owned()),
        }
    }
}

/// An argument of a program.
#[derive(Clone, Debug)]
pub(super) struct Argument(pub(super) String);

impl Text for Argument {
    fn of(text: &str) -> Result<Self, String> {
        match text.contains('\0') {
            false => Ok(Self(text.to_owned())),
            true => Err("is no argument: it has a NUL".to_owned()),
        }
    }
}

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let fits = u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        fits.map(Self).ok_or_else(|| de::Error::custom(format!("{number} is not between {MIN} and {MAX}")))
    }
}

/// A time in seconds, from a millisecond to a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl Visitor<'_> for Numbers {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                match Duration::try_from_secs_f64(seconds) {
                    Ok(time) if (Duration::from_millis(1)..=Duration::from_secs(86400)).contains(&time) => {
                        Ok(Seconds(time))
                    }
                    _ => Err(E::custom(format!("{seconds} is not between 0.001 and 86400 seconds"))),
                }
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                self.visit_f64(seconds as f64)
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}
