//! Remote processors that Linux drives, over a made tree: what is read of the kernel's files, and what is written there.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::bench::{Place, plain};

const NODE: &str = "sys/devices/m4/remoteproc/remoteproc0";

/// A tree with one remote processor that is offline and has a trace and a channel.
fn board() -> Place {
    let place = Place::new();
    let root = place.path();
    let channel = format!("{NODE}/rproc-virtio.0.auto/virtio0/virtio0.rpmsg-tty.-1.1024");
    let debug = "sys/kernel/debug/remoteproc/remoteproc0";
    for folder in
        [NODE, &channel, debug, "sys/class/remoteproc", "sys/bus/rpmsg/devices", "dev", "lib/firmware"]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (file, content) in [
        (format!("{NODE}/name"), "m4\n"),
        (format!("{NODE}/state"), "offline\n"),
        (format!("{NODE}/firmware"), "rproc-m4-fw\n"),
        (format!("{channel}/name"), "rpmsg-tty\n"),
        (format!("{channel}/src"), "0xffffffff\n"),
        (format!("{channel}/dst"), "0x400\n"),
        (format!("{debug}/trace0"), "boot\n\u{1b}[2Jready"),
    ] {
        fs::write(root.join(file), content).unwrap();
    }
    symlink(root.join(NODE), root.join("sys/class/remoteproc/remoteproc0")).unwrap();
    symlink(root.join(&channel), root.join("sys/bus/rpmsg/devices/virtio0.rpmsg-tty.-1.1024")).unwrap();
    place
}

/// The exit code, the standard output and the standard error.
fn said(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let output = plain().args(arguments).arg("--root").arg(place.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn remotes_are_listed_with_their_channels() {
    let place = board();
    let (code, text, _) = said(&place, &["ps"]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((code, &row[..]), (0, &["remoteproc0", "m4", "offline", "rproc-m4-fw", "rpmsg-tty"][..]));
    let (_, text, _) = said(&place, &["ps", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], "sidecore.ps/1");
    assert_eq!(json["remotes"][0]["channels"][0]["address"], 1024);
}

#[test]
fn a_kernel_without_any_is_no_error() {
    let (code, text, error) = said(&Place::new(), &["ps"]);
    assert_eq!((code, text.lines().count()), (0, 1));
    assert!(error.contains("this kernel drives no remote processors"), "{error}");
}

#[test]
fn orders_reach_the_kernel_and_firmware_its_folder() {
    let place = board();
    let root = place.path();
    let image = root.join("fw.elf");
    fs::write(&image, b"no ELF").unwrap();
    let (code, _, error) = said(&place, &["start", "m4", image.to_str().unwrap()]);
    assert!(code != 0 && fs::read_dir(root.join("lib/firmware")).unwrap().count() == 0, "{error}");

    let (code, _, error) = said(&place, &["start", "remoteproc0", "rproc-other-fw"]);
    assert_eq!(code, 0, "{error}");
    assert!(fs::read_to_string(root.join(NODE).join("firmware")).unwrap().starts_with("rproc-other-fw"));
    assert!(fs::read_to_string(root.join(NODE).join("state")).unwrap().starts_with("start"));
    let (code, _, error) = said(&place, &["stop", "m4"]);
    assert_eq!(code, 0, "{error}");
    assert!(fs::read_to_string(root.join(NODE).join("state")).unwrap().starts_with("stop"));
}

#[test]
fn a_trace_cannot_move_the_cursor() {
    let (code, text, _) = said(&board(), &["logs", "m4"]);
    assert_eq!((code, &*text), (0, "boot\n\u{fffd}[2Jready"));
}

#[test]
fn what_is_not_there_is_named() {
    let place = board();
    let (code, _, error) = said(&place, &["stop", "dsp"]);
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error[E0621]: cannot use dsp") && error.contains("there are remoteproc0"),
        "{error}"
    );
    let (code, _, error) = said(&place, &["ping", "--on", "remoteproc0", "--timeout", "0.05"]);
    assert_eq!(code, 1);
    assert!(error.contains("announces no channel rpmsg-echo (it announces rpmsg-tty)"), "{error}");
    let (code, _, error) = said(&place, &["run", "hello", "--on", "remoteproc0", "--watchdog", "1"]);
    assert_eq!(code, 125);
    assert!(error.starts_with("error[E0623]") && error.contains("--watchdog"), "{error}");
}

#[test]
fn the_rule_can_be_had_as_it_is_installed() {
    let (code, text, _) = said(&Place::new(), &["ps", "--rule"]);
    assert_eq!(code, 0);
    assert!(text.lines().all(|line| line.starts_with(['#', 'S'])), "{text}");
}
