use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::config::Config;

fn rules(text: &str) -> Vec<Rule> {
    let mut config = Config::default();
    config.add(Path::new("r.toml"), text.as_bytes()).unwrap();
    config.rules
}

/// A rule that has a shell do something.
fn shell(rest: &str, script: &str) -> String {
    let script = script.replace('\\', "\\\\").replace('"', "\\\"");
    format!("[[rule]]\n{rest}\nrun = [\"sh\", \"-c\", \"{script}\"]\n")
}

fn event(remote: &str, kind: &str, details: &[(&str, &str)]) -> Event {
    let details = details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Event {
        time_us: 5,
        remote: remote.to_owned(),
        kind: kind.to_owned(),
        what: "it so happened".to_owned(),
        details,
    }
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn rules(&self, text: &str) -> Rules {
        let told = self.clone();
        let log =
            move |line: &str| told.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        Rules::telling(rules(text), log)
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tokio::test]
async fn a_command_is_run_with_the_event_in_its_environment_and_its_output_told() {
    let told = Told::default();
    let script = "echo $SIDECORE_REMOTE $SIDECORE_KIND $SIDECORE_SERVICE $SIDECORE_ADDRESS $SIDECORE_TIME; env | grep -c HOME; pwd >&2";
    let rules = told.rules(&shell("kind = 'name-*'", script));
    let hostile =
        event("radio", "name-appeared", &[("service", "a; rm -rf \"$(\u{1b}[2J\0"), ("address", "1024")]);
    rules.offer(&hostile);
    rules.offer(&event("radio", "state", &[("state", "crashed")]));
    rules.finish().await;
    let mut lines = told.lines();
    lines.sort();
    let said = "rule r.toml:2: radio name-appeared a; rm -rf \"$(\u{fffd}[2J 1024 5";
    assert_eq!(lines, ["rule r.toml:2: /", "rule r.toml:2: 0", said]);
}

#[test]
fn rules_are_for_what_they_name() {
    let matches = |rule: &str, event: &Event| rules(&shell(rule, "true"))[0].matches(event);
    let appeared = event("modem-1", "name-appeared", &[("service", "rpmsg-tty"), ("address", "1024")]);
    for rule in
        ["kind = '*'", "remote = 'modem-?'", "service = 'rpmsg-*'", "remote = '*1'\nkind = 'name-appeared'"]
    {
        assert!(matches(rule, &appeared), "{rule}");
    }
    for rule in [
        "kind = 'name-gone'",
        "remote = 'modem'",
        "service = 'tty'",
        "state = '*'",
        "remote = '*'\nkind = 'state'",
    ] {
        assert!(!matches(rule, &appeared), "{rule}");
    }
    let state = event("modem-1", "state", &[("state", "crashed")]);
    assert!(matches("state = 'crashed'", &state) && !matches("service = '*'", &state));
}

#[tokio::test]
async fn what_fails_is_told_with_the_rule() {
    let told = Told::default();
    let text =
        "[[rule]]\nkind = '*'\nrun = ['/no/such/program']\n".to_owned() + &shell("kind = '*'", "exit 3");
    let rules = told.rules(&text);
    rules.offer(&event("radio", "added", &[]));
    rules.finish().await;
    let lines = told.lines();
    assert!(lines[0].starts_with("rule r.toml:2: /no/such/program cannot be run: No such file"), "{lines:?}");
    assert_eq!(lines[1], "rule r.toml:5: sh ended with exit status: 3");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let (told, place) = (Told::default(), tempfile::tempdir().unwrap());
    let file = place.path().join("pid");
    let script = format!("trap '' TERM; sleep 600 & echo $! > {}; wait", file.display());
    let rules = told.rules(&shell("kind = '*'\ntimeout = 0.5", &script));
    let begin = std::time::Instant::now();
    rules.offer(&event("radio", "added", &[]));
    rules.finish().await;
    assert_eq!(told.lines(), ["rule r.toml:2: sh took longer than 500ms and was killed"]);
    assert!(begin.elapsed() < Duration::from_secs(60));
    let pid = std::fs::read_to_string(file).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    while !is_gone() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_running_is_neither_waited_for_nor_killed() {
    let (told, place) = (Told::default(), tempfile::tempdir().unwrap());
    let file = place.path().join("done");
    let script = format!("(sleep 1; touch {}) & echo begun", file.display());
    let rules = told.rules(&shell("kind = '*'", &script));
    rules.offer(&event("radio", "added", &[]));
    rules.finish().await;
    assert_eq!(told.lines(), ["rule r.toml:2: begun"]);
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn endless_output_is_counted_and_not_told() {
    let told = Told::default();
    let rules =
        told.rules(&shell("kind = '*'", "head -c 1000000 /dev/zero | tr '\\0' x; head -c 10 /dev/zero"));
    rules.offer(&event("radio", "added", &[]));
    rules.finish().await;
    let lines = told.lines();
    let told: usize = lines.iter().map(|line| line.matches('x').count()).sum();
    assert_eq!(told, MAX_OUTPUT);
    let untold = 1_000_010 - MAX_OUTPUT;
    assert_eq!(lines.last().unwrap(), &format!("rule r.toml:2: {untold} more bytes of output"));
}

#[tokio::test]
async fn actions_of_one_remote_come_in_the_order_of_its_events() {
    let told = Told::default();
    let rules = told.rules(&shell("kind = '*'", "echo $SIDECORE_ADDRESS"));
    for number in 0..20 {
        rules.offer(&event("radio", "notice", &[("address", &number.to_string())]));
    }
    rules.finish().await;
    let expected: Vec<String> = (0..20).map(|number| format!("rule r.toml:2: {number}")).collect();
    assert_eq!(told.lines(), expected);
}

#[tokio::test]
async fn a_storm_of_events_is_bounded_and_what_is_lost_is_counted() {
    let told = Told::default();
    let rules = told.rules(&shell("kind = '*'", "true"));
    // Nothing is done in between: nobody waits here.
    for _ in 0..10_000 {
        rules.offer(&event("radio", "notice", &[]));
    }
    assert_eq!(rules.lost(), 10_000 - QUEUE);
    for _ in 0..10_000 {
        rules.offer(&event("other", "notice", &[]));
    }
    let lost = rules.lost();
    assert!(lost == 20_000 - 2 * QUEUE || lost == 20_000 - QUEUE, "{lost}");
    rules.finish().await;
    assert_eq!(told.lines(), [format!("rules: {lost} actions were not done: too many events came at once")]);
}

#[tokio::test]
async fn commands_end_with_the_rules() {
    let (told, place) = (Told::default(), tempfile::tempdir().unwrap());
    let file = place.path().join("pid");
    let script = format!("echo $$ > {}; sleep 600", file.display());
    let rules = told.rules(&shell("kind = '*'", &script));
    rules.offer(&event("radio", "added", &[]));
    let pid = loop {
        match std::fs::read_to_string(&file) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    drop(rules);
    let stat = format!("/proc/{}/stat", pid.trim());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A bus that goes with its test.
struct Bus(std::process::Child);

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What answers as systemd does.
struct Systemd(mpsc::Sender<(String, String)>);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    async fn start_unit(&self, name: String, mode: String) -> zbus::fdo::Result<zbus::OwnedObjectPath> {
        if name.starts_with("no") {
            return Err(zbus::fdo::Error::Failed("Unit no.service not found.".to_owned()));
        }
        self.0.send((name, mode)).await.unwrap();
        Ok(zbus::OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/1").unwrap())
    }
}

#[tokio::test]
async fn units_are_started_by_systemd() {
    let place = tempfile::tempdir().unwrap();
    let address = format!("unix:path={}", place.path().join("bus").display());
    let bus = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--address"])
        .arg(&address)
        .spawn()
        .expect("there is a dbus-daemon (Debian: dbus)");
    let _bus = Bus(bus);
    let connected = || zbus::connection::Builder::address(address.as_str()).build();
    let client = loop {
        match connected().await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let (started, mut units) = mpsc::channel(4);
    let _systemd = zbus::connection::Builder::address(address.as_str())
        .serve_at("/org/freedesktop/systemd1", Systemd(started))
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap();
    let told = Told::default();
    let rules = told.rules(
        "[[rule]]\nkind = 'added'\nstart-unit = 'modem@.service'\n[[rule]]\nkind = 'removed'\nstart-unit = 'no.service'\n",
    );
    rules.offer(&event("ra/dio", "removed", &[]));
    while told.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rules.start_units_on(client);
    rules.offer(&event("radio-1", "added", &[]));
    rules.offer(&event("radio-1", "removed", &[]));
    rules.finish().await;
    assert_eq!(units.recv().await.unwrap(), ("modem@radio\\x2d1.service".to_owned(), "replace".to_owned()));
    let lines = told.lines();
    assert_eq!(lines[0], "rule r.toml:5: no.service cannot be started: there is no bus with systemd");
    assert!(
        lines[1].contains("r.toml:5: no.service cannot be started") && lines[1].contains("not found"),
        "{lines:?}"
    );
}
