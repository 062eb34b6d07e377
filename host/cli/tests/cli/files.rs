//! Files that a remote may reach, and files that the command writes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pcap_parser::traits::PcapReaderIterator as _;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};

use crate::bench::{Place, sidecore};

/// The exit code and the standard error of `run copy` with these directories and paths.
fn copy(dirs: &[String], from: &str, to: &str) -> (i32, String) {
    let mut command = sidecore();
    command.args(["run", "copy"]);
    for dir in dirs {
        command.args(["--dir", dir]);
    }
    let output = command.args(["--", from, to]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_granted_directory_can_be_read_and_written_under_its_guest_path() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    place.write("in", &bytes);
    let host = place.path().display();
    assert_eq!(copy(&[format!("{host}")], "in", "out"), (0, String::new()));
    assert_eq!(fs::read(place.path().join("out")).unwrap(), bytes);
    assert_eq!(copy(&[format!("{host}:data/here")], "data/here/in", "data/here/again"), (0, String::new()));
    assert_eq!(fs::read(place.path().join("again")).unwrap(), bytes);
}

#[test]
fn no_path_leads_out_of_what_was_granted_and_read_only_is_read_only() {
    let place = Place::new();
    let outside = place.write("secret", "outside");
    let inner = place.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("in"), "inside").unwrap();
    symlink(&outside, inner.join("link")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    let dir = inner.display().to_string();
    for from in ["../secret", "link", "up/secret", "/etc/passwd", outside.to_str().unwrap()] {
        let (code, stderr) = copy(std::slice::from_ref(&dir), from, "out");
        assert_eq!(code, 1, "{from}: {stderr}");
        assert!(!inner.join("out").exists(), "{from}");
    }
    let (code, _) = copy(&[format!("{dir}:x:ro")], "x/in", "x/out");
    assert_eq!(code, 1);
    assert!(!inner.join("out").exists());
    assert_eq!(copy(&[], "in", "out").0, 1);
}

#[test]
fn directories_that_cannot_be_granted_are_refused_before_anything_runs() {
    let place = Place::new();
    let file = place.write("file", "");
    for dir in ["", ":", "/proc/nonexistent", "/:a:b:ro:x", file.to_str().unwrap()] {
        let (code, stderr) = copy(&[dir.to_owned()], "in", "out");
        assert_eq!(code, 125, "{dir}: {stderr}");
        assert!(stderr.starts_with("error[E0605]"), "{dir}: {stderr}");
    }
}

#[test]
fn a_recording_can_be_read_by_others_and_holds_the_whole_conversation() {
    let place = Place::new();
    let file = place.path().join("frames.pcapng");
    let output = sidecore().args(["run", "hello", "--pcap"]).arg(&file).args(["--", "you"]).output().unwrap();
    assert!(output.status.success());
    let bytes = fs::read(&file).unwrap();
    let mut reader = PcapNGReader::new(1 << 16, &bytes[..]).unwrap();
    let (mut interfaces, mut said) = (0, Vec::new());
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                        assert_eq!(block.linktype.0, 147);
                        interfaces += 1;
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        said.extend_from_slice(&block.data[16..block.caplen as usize]);
                    }
                    _ => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(interfaces, 1);
    for part in [&b"sidecore-console\0"[..], b"you\0", b"Hello from the remote, "] {
        assert!(said.windows(part.len()).any(|window| window == part), "{}", String::from_utf8_lossy(part));
    }
    let output = sidecore().args(["run", "hello", "--pcap", "/proc/nonexistent/x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error[E0606]"));
}

#[test]
fn manual_pages_and_completions_cover_every_verb() {
    let place = Place::new();
    let dir = place.path().join("man/man1");
    assert!(sidecore().arg("man").arg(&dir).output().unwrap().status.success());
    let verbs = [
        "attach",
        "boards",
        "completions",
        "conformance",
        "doctor",
        "dump",
        "dump-gdb",
        "dump-info",
        "dump-list",
        "dump-rm",
        "dump-save",
        "explain",
        "gdb",
        "images",
        "inspect",
        "logs",
        "man",
        "new",
        "ping",
        "ps",
        "run",
        "soc",
        "start",
        "stop",
        "vhost-user",
        "channel",
        "channel-ls",
        "config",
        "config-show",
        "console",
        "detach",
        "events",
        "recv",
        "restart",
        "send",
        "status",
        "top",
        "wait",
    ];
    let mut expected: Vec<String> = verbs.iter().map(|verb| format!("sidecore-{verb}.1")).collect();
    expected.push("sidecore.1".to_owned());
    let mut pages: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    expected.sort();
    assert_eq!(pages, expected);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sidecore().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(verbs.iter().flat_map(|verb| verb.split('-')).all(|word| script.contains(word)), "{shell}");
    }
}

/// Where the manual pages are kept as they are made. `SIDECORE_BLESS=1` makes them so.
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/man");

#[test]
fn manual_pages_are_as_they_were() {
    let place = Place::new();
    let made = place.path().join("man");
    sidecore().arg("man").arg(&made).assert().success();
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    if std::env::var_os("SIDECORE_BLESS").is_some() {
        let _ = fs::remove_dir_all(PAGES);
        fs::create_dir(PAGES).unwrap();
        for name in names(&made) {
            fs::copy(made.join(&name), Path::new(PAGES).join(name)).unwrap();
        }
    }
    assert_eq!(names(&made), names(Path::new(PAGES)));
    for name in names(&made) {
        let [made, kept] =
            [&made, Path::new(PAGES)].map(|folder| fs::read_to_string(folder.join(&name)).unwrap());
        assert_eq!(made, kept, "{name:?}; SIDECORE_BLESS=1 keeps the new ones");
    }
}
