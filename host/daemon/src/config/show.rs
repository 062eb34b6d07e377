//! A configuration as it is written.

use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::{Action, Config, Defaults, Glob, Limits, Logs, Origin, Origins, Remote, Rule};

/// A part of a configuration, in the order of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// `limits`, `remote`.
    pub name: &'static str,
    /// Whether there may be several of that name: `[[remote]]`.
    pub is_one_of_many: bool,
    /// What is said in it, or stands where nothing is said.
    pub settings: Vec<Setting>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What is set.
    pub key: &'static str,
    /// To what, as TOML has it; `None`: nothing is said, and there is no value that stands for that.
    pub value: Option<Value>,
    /// Where; `None`: nothing is said.
    pub origin: Option<Origin>,
}

impl Config {
    /// All that is set, for people and programs to look at.
    #[must_use]
    pub fn sections(&self) -> Vec<Section> {
        let one = |name, settings| Section { name, is_one_of_many: false, settings };
        let many = |name, settings| Section { name, is_one_of_many: true, settings };
        let mut sections = vec![
            one("limits", limits(&self.limits)),
            one("logs", logs(&self.logs)),
            one("defaults", defaults(&self.defaults)),
        ];
        sections.extend(self.remotes.iter().map(|each| many("remote", remote(each))));
        sections.extend(self.rules.iter().map(|each| many("rule", rule(each))));
        sections
    }
}

fn setting(origins: &Origins, key: &'static str, value: impl Into<Option<Value>>) -> Setting {
    Setting { key, value: value.into(), origin: origins.get(key).cloned() }
}

fn limits(Limits { remotes, endpoints, queue, firmware_bytes, origins }: &Limits) -> Vec<Setting> {
    vec![
        setting(origins, "remotes", number(*remotes)),
        setting(origins, "endpoints", number(*endpoints)),
        setting(origins, "queue", number(*queue)),
        setting(origins, "firmware-bytes", Value::Integer(firmware_bytes.cast_signed())),
    ]
}

fn logs(Logs { keep, directory, origins }: &Logs) -> Vec<Setting> {
    vec![
        setting(origins, "keep", Value::Boolean(*keep)),
        setting(origins, "directory", directory.as_deref().map(path)),
    ]
}

fn defaults(Defaults { on, watchdog, restart, origins }: &Defaults) -> Vec<Setting> {
    vec![
        setting(origins, "on", text(on.as_str())),
        setting(origins, "watchdog", watchdog.map(seconds)),
        setting(origins, "restart", text(restart.as_str())),
    ]
}

fn remote(remote: &Remote) -> Vec<Setting> {
    let Remote { name, firmware, arguments, on, start, watchdog, restart, origins } = remote;
    let arguments = (!arguments.is_empty()).then(|| texts(arguments));
    vec![
        setting(origins, "name", text(name.as_str())),
        setting(origins, "firmware", path(firmware)),
        setting(origins, "arguments", arguments),
        setting(origins, "on", on.as_ref().map(|on| text(on.as_str()))),
        setting(origins, "start", text(start.as_str())),
        setting(origins, "watchdog", watchdog.map(seconds)),
        setting(origins, "restart", restart.as_ref().map(|restart| text(restart.as_str()))),
    ]
}

fn rule(rule: &Rule) -> Vec<Setting> {
    let Rule { remote, kind, service, state, action, timeout, origins } = rule;
    let glob = |glob: &Option<Glob>| glob.as_ref().map(|glob| text(glob.as_str()));
    let action = match action {
        Action::Run(words) => setting(origins, "run", texts(words)),
        Action::StartUnit(unit) => setting(origins, "start-unit", text(unit.as_str())),
    };
    vec![
        setting(origins, "remote", glob(remote)),
        setting(origins, "kind", glob(kind)),
        setting(origins, "service", glob(service)),
        setting(origins, "state", glob(state)),
        action,
        setting(origins, "timeout", seconds(*timeout)),
    ]
}

fn number(number: u32) -> Value {
    Value::Integer(number.into())
}

fn seconds(time: Duration) -> Value {
    match time.subsec_nanos() {
        // At most a day.
        0 => Value::Integer(time.as_secs().cast_signed()),
        _ => Value::Float(time.as_secs_f64()),
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|each| text(each)).collect())
}

fn path(path: &Path) -> Value {
    // It was text.
    Value::String(path.to_string_lossy().into_owned())
}
