use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    config.add(Path::new("test.toml"), text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(config)
}

const WHOLE: &str = r#"
[limits]
remotes = 8
endpoints = 16
queue = 32
firmware-bytes = 1048576

[logs]
keep = false
directory = "/var/log/sidecore"

[defaults]
on = "qemu:mps2-an386"
watchdog = 2.5
restart = "on-crash:3,silent"

[[remote]]
name = "modem"
firmware = "/usr/lib/firmware/modem.elf"
arguments = ["--fast", "3"]
on = "sandbox"
start = "boot"
watchdog = 1
restart = "never"

[[rule]]
remote = "modem*"
kind = "name-appeared"
service = "rpmsg-tty"
run = ["logger", "it is there"]
timeout = 5

[[rule]]
state = "crashed"
start-unit = "mourn@.service"
"#;

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = parsed(WHOLE).unwrap();
    let Limits { remotes, endpoints, queue, firmware_bytes, .. } = config.limits;
    assert_eq!((remotes, endpoints, queue, firmware_bytes), (8, 16, 32, 1 << 20));
    assert!(!config.logs.keep);
    assert_eq!(config.logs.directory.as_deref(), Some(Path::new("/var/log/sidecore")));
    assert_eq!(config.defaults.on.as_str(), "qemu:mps2-an386");
    assert_eq!(config.defaults.watchdog, Some(Duration::from_millis(2500)));
    assert_eq!(config.defaults.restart.policy().most, 3);
    let [modem] = &config.remotes[..] else { panic!("{:?}", config.remotes) };
    assert_eq!((modem.name.as_str(), modem.start), ("modem", Start::Boot));
    assert_eq!((modem.arguments.len(), modem.watchdog), (2, Some(Duration::from_secs(1))));
    let [first, second] = &config.rules[..] else { panic!("{:?}", config.rules) };
    assert_eq!(first.action, Action::Run(vec!["logger".to_owned(), "it is there".to_owned()]));
    assert_eq!((first.timeout, second.timeout), (Duration::from_secs(5), Duration::from_secs(30)));
    let Action::StartUnit(unit) = &second.action else { panic!("{:?}", second.action) };
    assert_eq!(unit.of_remote("r5f-0.a"), "mourn@r5f\\x2d0.a.service");
    assert_eq!(config.defaults.origins["restart"].line, 15);
    assert_eq!(second.origins["start-unit"].line, 35);
}

#[test]
fn where_nothing_is_said_there_are_values_and_no_origins() {
    let config = parsed("").unwrap();
    assert_eq!(config, Config::default());
    let sections = config.sections();
    assert!(sections.iter().flat_map(|section| &section.settings).all(|setting| setting.origin.is_none()));
    assert_eq!(sections[0].settings[0].value, Some(toml::Value::Integer(64)));
}

#[test]
fn a_configuration_that_is_shown_says_the_same_again() {
    let config = parsed(WHOLE).unwrap();
    let mut text = String::new();
    for section in config.sections() {
        let (open, close) = if section.is_one_of_many { ("[[", "]]") } else { ("[", "]") };
        text.push_str(&format!("{open}{}{close}\n", section.name));
        for Setting { key, value, .. } in section.settings {
            text.extend(value.map(|value| format!("{key} = {value}\n")));
        }
    }
    let mut again = parsed(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(again.sections().len(), config.sections().len());
    // Only the lines differ.
    again.limits.origins.clone_from(&config.limits.origins);
    assert_eq!(again.limits, config.limits);
    let values = |config: &Config| -> Vec<_> {
        let sections = config.sections().into_iter();
        sections.flat_map(|section| section.settings).map(|setting| (setting.key, setting.value)).collect()
    };
    assert_eq!(values(&again), values(&config));
}

#[test]
fn what_is_wrong_is_said_with_file_line_and_value() {
    let wrong = |text: &str, line: usize, what: &str| {
        let error = parsed(text).unwrap_err();
        assert!(error.starts_with(&format!("test.toml:{line}: ")) && error.contains(what), "{text}: {error}");
    };
    wrong("[limits]\nremots = 3\n", 2, "unknown field `remots`, expected one of `remotes`");
    wrong("\n[limit]\n", 2, "unknown field `limit`");
    wrong("[limits]\n\nremotes = 0\n", 3, "0 is not between 1 and 4096");
    wrong("[limits]\nqueue = -1\n", 2, "-1 is not between 1 and 65536");
    wrong("[limits]\nqueue = \"many\"\n", 2, "invalid type: string \"many\"");
    wrong("[limits]\nqueue = 1\nqueue = 2\n", 3, "duplicate key");
    wrong("[logs]\ndirectory = \"logs\"\n", 2, "\"logs\" is no absolute path");
    wrong("[defaults]\non = \"moon\"\n", 2, "\"moon\" is nothing that executes firmware");
    wrong("[defaults]\nwatchdog = 0\n", 2, "0 is not between 0.001 and 86400 seconds");
    wrong("[defaults]\nwatchdog = nan\n", 2, "not between 0.001 and 86400 seconds");
    wrong("[defaults]\nrestart = \"always\"\n", 2, "\"always\" is no policy");
    wrong("[defaults]\nrestart = \"on-crash:-1\"\n", 2, "is no policy");
    wrong("[[remote]]\nname = \"a/b\"\nfirmware = \"/f\"\n", 2, "\"a/b\" is no name");
    wrong("[[remote]]\nname = \"a\"\n", 1, "missing field `firmware`");
    wrong("[[remote]]\nname = \"a\"\nfirmware = \"f\"\n", 3, "\"f\" is no absolute path");
    wrong("[[remote]]\nname = \"a\"\nfirmware = \"/f\"\nstart = \"now\"\n", 4, "neither `boot` nor `demand`");
    wrong("[[rule]]\nkind = \"*\"\n", 1, "either `run` or `start-unit`");
    wrong(
        "[[rule]]\nkind = \"*\"\nrun = [\"a\"]\nstart-unit = \"a.service\"\n",
        1,
        "either `run` or `start-unit`",
    );
    wrong("[[rule]]\nrun = [\"a\"]\n", 1, "for which `remote`, `kind`, `service` or `state`");
    wrong(
        "[[rule]]\nkind = \"crash\"\nrun = [\"a\"]\n",
        2,
        "\"crash\" matches no kind of event; there are added,",
    );
    wrong("[[rule]]\nstate = \"dead\"\nrun = [\"a\"]\n", 2, "\"dead\" matches no state");
    wrong("[[rule]]\nkind = \"\"\nrun = [\"a\"]\n", 2, "is no pattern");
    wrong("[[rule]]\nkind = \"*\"\nrun = []\n", 3, "names no program");
    wrong("[[rule]]\nkind = \"*\"\nrun = [\"bin/a\"]\n", 3, "neither an absolute path nor");
    wrong("[[rule]]\nkind = \"*\"\nrun = [\"a\\u0000\"]\n", 3, "it has a NUL");
    wrong("[[rule]]\nkind = \"*\"\nstart-unit = \"../x.service\"\n", 3, "no unit's name");
    wrong("[[rule]]\nkind = \"*\"\nstart-unit = \"x\"\n", 3, "no unit's name");
    wrong("a = \n", 1, "");
    let mut config = Config::default();
    let error = config.add(Path::new("f"), b"\n\xff\n").unwrap_err();
    assert_eq!(error.to_string(), "f:2: this is no UTF-8");
}

#[test]
fn a_file_with_an_error_changes_nothing() {
    let mut config = parsed(WHOLE).unwrap();
    let before = config.clone();
    let text = b"[limits]\nremotes = 3\n[[remote]]\nname = 'x'\nfirmware = '/x'\n[[rule]]\nkind = 'nothing'\nrun = ['a']\n";
    config.add(Path::new("later.toml"), text).unwrap_err();
    assert_eq!(config, before);
}

#[test]
fn later_files_replace_values_and_remotes_and_add_rules() {
    let mut config = parsed(WHOLE).unwrap();
    let text = b"[limits]\nqueue = 99\n[[remote]]\nname = 'modem'\nfirmware = '/new'\n[[remote]]\nname = 'gps'\nfirmware = '/gps'\n\
        [[rule]]\nkind = '*'\nrun = ['a']\n";
    config.add(Path::new("later.toml"), text).unwrap();
    assert_eq!((config.limits.queue, config.limits.remotes), (99, 8));
    assert_eq!(&*config.limits.origins["queue"].file, Path::new("later.toml"));
    assert_eq!(&*config.limits.origins["remotes"].file, Path::new("test.toml"));
    let firmware: Vec<_> = config.remotes.iter().map(|remote| remote.firmware.to_str().unwrap()).collect();
    assert_eq!(firmware, ["/new", "/gps"]);
    assert!(config.remotes[0].arguments.is_empty(), "a remote is replaced as a whole");
    assert_eq!(config.rules.len(), 3);
}

#[test]
fn files_of_later_directories_count_and_the_names_give_the_order() {
    let place = tempfile::tempdir().unwrap();
    let [vendor, run, admin] = ["vendor", "run", "admin"].map(|name| place.path().join(name));
    let write = |directory: &Path, name: &str, text: &str| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let places = Places::of([&vendor, &run, &admin]);
    assert_eq!(Config::load(&places).unwrap(), Config::default(), "there is nothing");
    write(&vendor, FILE, "[limits]\nremotes = 1\nqueue = 1\n");
    write(&vendor, "sidecored.toml.d/10-a.toml", "[limits]\nremotes = 2\n");
    write(&vendor, "sidecored.toml.d/30-c.toml", "[limits]\nremotes = 3\n");
    write(&vendor, "sidecored.toml.d/.40-d.toml", "[limits]\nremotes = 4\n");
    write(&vendor, "sidecored.toml.d/40-d.toml~", "[limits]\nremotes = 4\n");
    assert_eq!(Config::load(&places).unwrap().limits.remotes, 3);
    write(&run, "sidecored.toml.d/20-b.toml", "[limits]\nendpoints = 5\n");
    write(&admin, "sidecored.toml.d/30-c.toml", "");
    let limits = Config::load(&places).unwrap().limits;
    assert_eq!((limits.remotes, limits.endpoints, limits.queue), (2, 5, 1));
    assert!(limits.origins["endpoints"].file.ends_with("run/sidecored.toml.d/20-b.toml"));
    write(&admin, FILE, "[limits]\nendpoints = 6\n");
    let limits = Config::load(&places).unwrap().limits;
    assert_eq!((limits.remotes, limits.endpoints, limits.queue), (2, 5, 256), "the main file is replaced");
    fs::remove_file(vendor.join("sidecored.toml.d/10-a.toml")).unwrap();
    symlink("/dev/null", admin.join("sidecored.toml.d/10-a.toml")).unwrap();
    assert_eq!(Config::load(&places).unwrap().limits.remotes, 64);
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_it() {
    let place = tempfile::tempdir().unwrap();
    let places = Places::of([place.path()]);
    let drop_ins = place.path().join(DROP_INS);
    let fails = |what: &str| {
        let error = Config::load(&places).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    fs::create_dir(&drop_ins).unwrap();
    let file = drop_ins.join("a.toml");
    fs::create_dir(&file).unwrap();
    fails("a.toml: ");
    fs::remove_dir(&file).unwrap();
    symlink("nowhere", &file).unwrap();
    fails("a.toml: No such file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, vec![b'\n'; MAX_FILE as usize + 1]).unwrap();
    fails("it has more than 1048576 bytes");
    fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    fails("it is no file");
    fs::remove_file(&file).unwrap();
    for number in 0..=MAX_FILES {
        fs::write(drop_ins.join(format!("{number}.toml")), "").unwrap();
    }
    fails("it has more than 1024 files");
}

#[test]
fn patterns_match_whole_words() {
    let matches = |glob: &str, word: &str| <Glob as value::Text>::of(glob).unwrap().matches(word);
    for (glob, word) in [
        ("a", "a"),
        ("*", ""),
        ("*", "abc"),
        ("a*c", "ac"),
        ("a*c", "abcbc"),
        ("?*", "ä"),
        ("*a*b*", "xxaxxbxx"),
        ("**", "a"),
        ("a**", "a"),
    ] {
        assert!(matches(glob, word), "{glob} {word}");
    }
    for (glob, word) in
        [("a", ""), ("a", "ab"), ("?", ""), ("?", "ab"), ("a*c", "acb"), ("*a", "ab"), ("a*b*c", "acb")]
    {
        assert!(!matches(glob, word), "{glob} {word}");
    }
    let begin = std::time::Instant::now();
    assert!(!matches(&"*a".repeat(120), &("a".repeat(100_000) + "b")));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Config::default().add(Path::new("f"), &text);
    }

    #[test]
    fn no_file_that_is_almost_good_makes_it_panic(
        changes in prop::collection::vec((0..WHOLE.len(), prop_oneof![any::<u8>(), Just(b'['), Just(b'"'), Just(b'\n'), Just(b'=')]), 1..8),
        cut in 0..WHOLE.len(),
    ) {
        let mut text = WHOLE.as_bytes().to_vec();
        for (at, byte) in changes {
            text[at] = byte;
        }
        text.truncate(text.len() - cut / 4);
        match Config::default().add(Path::new("f"), &text) {
            Err(ConfigError::Wrong { origin, .. }) => {
                let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
                prop_assert!((1..=lines).contains(&origin.line));
            }
            Err(error) => panic!("{error}"),
            Ok(()) => {}
        }
    }

    #[test]
    fn patterns_without_stars_match_themselves_and_those_with_one_in_front_and_behind_all_that_has_them(
        word in "[a-c]{1,6}", before in "[a-c]{0,6}", after in "[a-c]{0,6}",
    ) {
        let glob = <Glob as value::Text>::of(&word).unwrap();
        prop_assert!(glob.matches(&word));
        let long = format!("{before}{word}{after}");
        prop_assert_eq!(glob.matches(&long), long == word);
        let within = format!("*{word}*");
        prop_assert!(<Glob as value::Text>::of(&within).unwrap().matches(&long));
    }
}
