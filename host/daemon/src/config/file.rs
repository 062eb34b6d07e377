//! One file, and what it changes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::value::{AbsolutePath, Argument, Seconds, Within};
use super::{
    Action, Config, ConfigError, Defaults, Glob, Limits, Logs, On, Origin, Origins, Remote, RemoteName,
    Restart, Rule, Start, Unit,
};
use crate::rules::{KINDS, STATES};

/// How long the command of a rule may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes from which on no firmware's file can have any meaning, and those that no machine should read at once.
const FIRMWARE: (u64, u64) = (4096, 4 << 30);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tables {
    limits: LimitsTable,
    logs: LogsTable,
    defaults: DefaultsTable,
    remote: Vec<RemoteTable>,
    rule: Vec<Spanned<RuleTable>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    remotes: Option<Spanned<Within<1, 4096>>>,
    endpoints: Option<Spanned<Within<1, 4096>>>,
    queue: Option<Spanned<Within<1, 65536>>>,
    firmware_bytes: Option<Spanned<Within<{ FIRMWARE.0 }, { FIRMWARE.1 }>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogsTable {
    keep: Option<Spanned<bool>>,
    directory: Option<Spanned<AbsolutePath>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DefaultsTable {
    on: Option<Spanned<On>>,
    watchdog: Option<Spanned<Seconds>>,
    restart: Option<Spanned<Restart>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteTable {
    name: Spanned<RemoteName>,
    firmware: Spanned<AbsolutePath>,
    arguments: Option<Spanned<Vec<Argument>>>,
    on: Option<Spanned<On>>,
    start: Option<Spanned<Start>>,
    watchdog: Option<Spanned<Seconds>>,
    restart: Option<Spanned<Restart>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleTable {
    remote: Option<Spanned<Glob>>,
    kind: Option<Spanned<Glob>>,
    service: Option<Spanned<Glob>>,
    state: Option<Spanned<Glob>>,
    run: Option<Spanned<Vec<Argument>>>,
    start_unit: Option<Spanned<Unit>>,
    timeout: Option<Spanned<Seconds>>,
}

/// Adds what a file says to a configuration, all of it or nothing.
pub(super) fn add(config: &mut Config, path: &Path, text: &[u8]) -> Result<(), ConfigError> {
    let source = Source { path: path.into(), text };
    let words = std::str::from_utf8(text).map_err(|error| {
        source.wrong(error.valid_up_to()..error.valid_up_to(), "this is no UTF-8".to_owned())
    })?;
    let tables: Tables = toml::from_str(words).map_err(|error| {
        let span = error.span().unwrap_or_default();
        source.wrong(span, error.message().trim_end().replace('\n', " "))
    })?;
    let rules = tables.rule.into_iter().map(|table| source.rule(table)).collect::<Result<Vec<_>, _>>()?;
    source.limits(&mut config.limits, tables.limits);
    source.logs(&mut config.logs, tables.logs);
    source.defaults(&mut config.defaults, tables.defaults);
    for table in tables.remote {
        let remote = source.remote(table);
        match config.remotes.iter_mut().find(|other| other.name == remote.name) {
            Some(other) => *other = remote,
            None => config.remotes.push(remote),
        }
    }
    config.rules.extend(rules);
    Ok(())
}

/// A file's text, for saying where something is.
struct Source<'t> {
    path: Arc<Path>,
    text: &'t [u8],
}

impl Source<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin { file: Arc::clone(&self.path), line }
    }

    fn wrong(&self, span: Range<usize>, what: String) -> ConfigError {
        ConfigError::Wrong { origin: self.origin(&span), what }
    }

    /// Takes a value, if there is one, and notes where it was said.
    fn take<T>(&self, value: Option<Spanned<T>>, key: &'static str, origins: &mut Origins) -> Option<T> {
        let value = value?;
        origins.insert(key, self.origin(&value.span()));
        Some(value.into_inner())
    }

    fn limits(&self, limits: &mut Limits, table: LimitsTable) {
        let Limits { remotes, endpoints, queue, firmware_bytes, origins } = limits;
        // They fit: the limits of each are those of its type.
        let set = |to: &mut u32, value: Option<u64>| *to = value.map_or(*to, |value| value as u32);
        set(remotes, self.take(table.remotes, "remotes", origins).map(|value| value.0));
        set(endpoints, self.take(table.endpoints, "endpoints", origins).map(|value| value.0));
        set(queue, self.take(table.queue, "queue", origins).map(|value| value.0));
        if let Some(bytes) = self.take(table.firmware_bytes, "firmware-bytes", origins) {
            *firmware_bytes = bytes.0;
        }
    }

    fn logs(&self, logs: &mut Logs, table: LogsTable) {
        if let Some(keep) = self.take(table.keep, "keep", &mut logs.origins) {
            logs.keep = keep;
        }
        if let Some(directory) = self.take(table.directory, "directory", &mut logs.origins) {
            logs.directory = Some(directory.0);
        }
    }

    fn defaults(&self, defaults: &mut Defaults, table: DefaultsTable) {
        if let Some(on) = self.take(table.on, "on", &mut defaults.origins) {
            defaults.on = on;
        }
        if let Some(watchdog) = self.take(table.watchdog, "watchdog", &mut defaults.origins) {
            defaults.watchdog = Some(watchdog.0);
        }
        if let Some(restart) = self.take(table.restart, "restart", &mut defaults.origins) {
            defaults.restart = restart;
        }
    }

    fn remote(&self, table: RemoteTable) -> Remote {
        let mut origins = Origins::new();
        origins.insert("name", self.origin(&table.name.span()));
        origins.insert("firmware", self.origin(&table.firmware.span()));
        let arguments = self.take(table.arguments, "arguments", &mut origins).unwrap_or_default();
        Remote {
            name: table.name.into_inner(),
            firmware: table.firmware.into_inner().0,
            arguments: arguments.into_iter().map(|argument| argument.0).collect(),
            on: self.take(table.on, "on", &mut origins),
            start: self.take(table.start, "start", &mut origins).unwrap_or_default(),
            watchdog: self.take(table.watchdog, "watchdog", &mut origins).map(|seconds| seconds.0),
            restart: self.take(table.restart, "restart", &mut origins),
            origins,
        }
    }

    fn rule(&self, table: Spanned<RuleTable>) -> Result<Rule, ConfigError> {
        let (whole, table) = (table.span(), table.into_inner());
        let action = match (table.run, table.start_unit) {
            (Some(run), None) => ("run", run.span(), Action::Run(self.command(run)?)),
            (None, Some(unit)) => ("start-unit", unit.span(), Action::StartUnit(unit.into_inner())),
            _ => return Err(self.wrong(whole, "a rule has either `run` or `start-unit`".to_owned())),
        };
        let is_any =
            [&table.remote, &table.kind, &table.service, &table.state].iter().any(|glob| glob.is_some());
        if !is_any {
            let what = "a rule says for which `remote`, `kind`, `service` or `state` it is; `kind = \"*\"` is for all";
            return Err(self.wrong(whole, what.to_owned()));
        }
        // One that is never met was meant otherwise.
        self.check_words(table.kind.as_ref(), "kind of event", KINDS)?;
        self.check_words(table.state.as_ref(), "state", STATES)?;
        let (key, span, action) = action;
        let mut origins = Origins::from([(key, self.origin(&span))]);
        Ok(Rule {
            remote: self.take(table.remote, "remote", &mut origins),
            kind: self.take(table.kind, "kind", &mut origins),
            service: self.take(table.service, "service", &mut origins),
            state: self.take(table.state, "state", &mut origins),
            action,
            timeout: self.take(table.timeout, "timeout", &mut origins).map_or(TIMEOUT, |seconds| seconds.0),
            origins,
        })
    }

    fn command(&self, run: Spanned<Vec<Argument>>) -> Result<Vec<String>, ConfigError> {
        let (span, arguments) = (run.span(), run.into_inner());
        let words: Vec<String> = arguments.into_iter().map(|argument| argument.0).collect();
        match words.first().map(String::as_str) {
            None | Some("") => Err(self.wrong(span, "`run` names no program".to_owned())),
            Some(program) if program.contains('/') && !program.starts_with('/') => {
                let what = format!("{program:?} is neither an absolute path nor the name of a program");
                Err(self.wrong(span, what))
            }
            Some(_) => Ok(words),
        }
    }

    fn check_words(
        &self,
        glob: Option<&Spanned<Glob>>,
        what: &str,
        words: &[&str],
    ) -> Result<(), ConfigError> {
        let Some(glob) = glob.filter(|glob| !words.iter().any(|word| glob.get_ref().matches(word))) else {
            return Ok(());
        };
        let what = format!("{:?} matches no {what}; there are {}", glob.get_ref().as_str(), words.join(", "));
        Err(self.wrong(glob.span(), what))
    }
}
