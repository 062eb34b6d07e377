//! The files that make the daemon part of a system say what the code says.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use roxmltree::{Document, ParsingOptions};
use sidecore_dbus::{NAME, action};
use sidecored::config::Config;

/// A file below `system`, which is a system's root.
fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("system").join(path)).unwrap()
}

fn parse(text: &str) -> Document<'_> {
    // The types of documents are declared elsewhere, where nobody looks.
    Document::parse_with_options(text, ParsingOptions { allow_dtd: true, ..Default::default() }).unwrap()
}

/// The values of a key in a file of systemd's kind.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

const UNIT: &str = "usr/lib/systemd/system/sidecored.service";
const SESSION_UNIT: &str = "usr/lib/systemd/user/sidecored.service";

#[test]
fn polkit_knows_the_actions_that_the_daemon_asks_for_and_no_others() {
    let text = file("usr/share/polkit-1/actions/org.sidecore.sidecore1.policy");
    let document = parse(&text);
    let actions: Vec<_> = document.descendants().filter(|node| node.has_tag_name("action")).collect();
    let ids: Vec<_> = actions.iter().map(|action| action.attribute("id").unwrap()).collect();
    assert_eq!(ids, action::ALL);
    for action in actions {
        let id = action.attribute("id").unwrap();
        let text = |name| {
            let found = action.descendants().find(|node| node.has_tag_name(name));
            found.and_then(|node| node.text()).unwrap_or_else(|| panic!("{id} has no {name}"))
        };
        assert!(!text("description").is_empty() && !text("message").is_empty(), "{id}");
        // Nobody far away does anything unasked; who sits at the machine may look.
        let active = if id == action::INSPECT { "yes" } else { "auth_admin_keep" };
        let defaults = [text("allow_any"), text("allow_inactive"), text("allow_active")];
        assert_eq!(defaults, ["auth_admin_keep", "auth_admin_keep", active], "{id}");
        // Polkit answers root, and an action's owner, when others are asked about.
        assert_eq!(text("annotate"), "unix-user:sidecore", "{id}");
    }
    let rules = file("usr/share/polkit-1/rules.d/org.sidecore.sidecore1.rules");
    assert!(rules.contains(&format!("isInGroup(\"{}\")", action::GROUP)), "{rules}");
    let prefix = action::INSPECT.strip_suffix("inspect").unwrap();
    assert!(rules.contains(&format!("\"{prefix}\"")), "{rules}");
}

#[test]
fn every_method_asks_for_one_of_the_actions() {
    let mut methods: Vec<_> =
        action::METHODS.iter().map(|(interface, method, _)| (interface, method)).collect();
    methods.sort_unstable();
    methods.dedup();
    assert_eq!(methods.len(), action::METHODS.len(), "one is there twice");
    for (interface, method, action) in action::METHODS {
        assert!(action::ALL.contains(&action), "{interface}.{method}: {action}");
    }
}

#[test]
fn the_bus_starts_the_unit_and_lets_its_user_alone_have_the_name() {
    let (unit, session) = (file(UNIT), file(SESSION_UNIT));
    for (unit, activation) in [(&unit, "system-services"), (&session, "services")] {
        let activation = file(&format!("usr/share/dbus-1/{activation}/{NAME}.service"));
        assert_eq!(values(unit, "BusName"), [NAME]);
        assert_eq!(values(unit, "Type"), ["notify"]);
        assert_eq!(values(&activation, "Name"), [NAME]);
        assert_eq!(values(&activation, "Exec"), values(unit, "ExecStart"));
        assert_eq!(values(&activation, "User"), values(unit, "User"));
        assert_eq!(values(&activation, "SystemdService"), ["sidecored.service"]);
    }
    let user = values(&unit, "User")[0];
    let policy = file(&format!("usr/share/dbus-1/system.d/{NAME}.conf"));
    let document = parse(&policy);
    let owners: Vec<_> = document.descendants().filter(|node| node.has_attribute("own")).collect();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].attribute("own"), Some(NAME));
    assert_eq!(owners[0].parent().unwrap().attribute("user"), Some(user));
    assert!(file("usr/lib/sysusers.d/sidecore.conf").contains(&format!("\nu {user} ")));
    assert_eq!(values(&unit, "Group"), [action::GROUP]);
}

#[test]
fn the_unit_keeps_what_remotes_need_to_go_on() {
    for unit in [file(UNIT), file(SESSION_UNIT)] {
        assert_eq!(values(&unit, "KillMode"), ["process"]);
        assert_eq!(values(&unit, "OOMPolicy"), ["continue"]);
        assert!(values(&unit, "FileDescriptorStoreMax")[0].parse::<u32>().unwrap() >= 1024);
        assert_eq!(values(&unit, "NoNewPrivileges"), ["yes"]);
    }
    assert_eq!(values(&file(UNIT), "RuntimeDirectoryPreserve"), ["yes"]);
    let tmpfiles = file("usr/lib/tmpfiles.d/sidecore.conf");
    assert!(tmpfiles.contains("d /run/sidecore     0700 sidecore sidecore -\n"), "{tmpfiles}");
}

#[test]
fn udev_has_the_rule_that_refusals_recommend() {
    assert_eq!(file("usr/lib/udev/rules.d/70-sidecore.rules"), sidecore_backends::sysfs::RULE);
}

#[test]
fn the_manual_page_is_the_one_that_was_looked_at() {
    let page = Command::new(env!("CARGO_BIN_EXE_sidecored")).arg("--man").output().unwrap();
    assert!(page.status.success());
    let known = include_str!("../man/sidecored.1");
    let how = "cargo run -p sidecored -- --man > host/daemon/man/sidecored.1";
    assert_eq!(String::from_utf8_lossy(&page.stdout), known, "where that is right: {how}");
}

#[test]
fn the_manual_has_every_key_of_the_configuration_and_an_example_that_is_one() {
    let page = include_str!("../man/sidecored.toml.5").replace("\\-", "-");
    let example =
        page.split(".SH EXAMPLE\n.nf\n").nth(1).and_then(|rest| rest.split(".fi\n").next()).unwrap();
    let mut config = Config::default();
    config.add(Path::new("example"), example.as_bytes()).unwrap();
    let unit = "[[rule]]\nkind = 'crashed'\nstart-unit = 'x.service'\n";
    config.add(Path::new("unit"), unit.as_bytes()).unwrap();
    for section in config.sections() {
        let name = if section.is_one_of_many {
            format!("[[{}]]", section.name)
        } else {
            format!("[{}]", section.name)
        };
        let part = page.split(&format!(".SH {name}\n")).nth(1).unwrap_or_else(|| panic!("no {name}"));
        let part = part.split("\n.SH ").next().unwrap();
        for setting in section.settings {
            assert!(part.contains(&format!("\\fB{}\\fR", setting.key)), "{name} has {}", setting.key);
        }
    }
    for kind in sidecored::rules::KINDS.iter().chain(sidecored::rules::STATES) {
        assert!(page.contains(&format!("\\fB{kind}\\fR")), "{kind}");
    }
}

#[test]
fn the_book_says_which_methods_ask_for_which_action() {
    let page = include_str!("../../../book/src/guide/install.md");
    for action in action::ALL {
        let name = action.rsplit('.').next().unwrap();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let cell = row.unwrap_or_else(|| panic!("no row for {name}")).split('|').nth(2).unwrap();
        let said: Vec<_> = cell
            .split(',')
            .map(|word| word.trim().trim_matches('`'))
            .filter(|word| !word.is_empty())
            .collect();
        let methods = action::METHODS.iter().filter(|(.., asked)| *asked == action);
        let known: Vec<_> = methods
            .map(|(interface, method, _)| format!("{}.{method}", interface.rsplit('.').next().unwrap()))
            .collect();
        assert_eq!(said, known, "{name}");
    }
}
