//! `lab/wireshark/sidecore.lua` reads what we record.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidecore_processor::Capture;
use sidecore_rpmsg::link::{Sink as _, Toward};
use sidecore_rpmsg::{Announcement, Header, Name};

const FIELDS: &[&str] = &[
    "rpmsg.src",
    "rpmsg.dst",
    "rpmsg.len",
    "rpmsg.service",
    "rpmsg_ns.name",
    "rpmsg_ns.addr",
    "rpmsg_ns.gone",
    "sidecore.kind",
    "sidecore.from_host",
    "_ws.expert.message",
];

/// Records frames as `sidecore run --pcap` does.
fn record(path: &Path, frames: &[(Toward, Header, Vec<u8>)]) {
    let capture = Capture::new(File::create(path).unwrap()).unwrap();
    let tap = capture.tap("lab/0");
    for (toward, header, payload) in frames {
        tap.frame(*toward, header, payload.len(), &|at, to| {
            to.copy_from_slice(&payload[at..at + to.len()]);
            true
        });
    }
    capture.flush();
}

fn frame(src: u32, dst: u32, payload: &[u8]) -> (Toward, Header, Vec<u8>) {
    let toward = if src < 1100 { Toward::Us } else { Toward::Peer };
    (toward, Header { src, dst, reserved: 0, len: payload.len() as u16, flags: 0 }, payload.to_vec())
}

#[test]
fn what_we_record_is_shown_field_by_field() {
    if let Err(error) = Command::new("tshark").arg("--version").output() {
        writeln!(std::io::stderr(), "not run: dissector: tshark: {error}").unwrap();
        return;
    }
    let name = |text| Name::new(text).unwrap();
    let say = |name, addr, flags| Announcement { name, addr, flags }.emit();
    let mut frames = vec![
        frame(1024, 53, &say(name("rpmsg-echo"), 1024, 0)),
        frame(1025, 53, &say(name("sidecore-console"), 1025, 0)),
        frame(1100, 1024, b"hello"),
        frame(1100, 1025, &[0x81, 1, 0]),
        frame(1025, 1100, &[0x02]),
        frame(1024, 1100, b""),
        frame(1024, 53, &[0; 39]),
        frame(1024, 53, &say(name("rpmsg-echo"), 1024, 1)),
        frame(1024, 1100, b"four"),
        frame(1024, 1100, b"bits"),
    ];
    frames[8].1.len = 60_000;
    frames[9].1.flags = 1;
    let path = std::env::temp_dir().join(format!("sidecore-dissector-{}.pcapng", std::process::id()));
    record(&path, &frames);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("wireshark/sidecore.lua");
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-X")
        .arg(format!("lua_script:{}", script.display()))
        .arg("-r")
        .arg(&path)
        .args(["-T", "fields"]);
    tshark.args(["-E", "separator=;"]).args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = tshark.output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let flag = |line: &str| line.replace("True", "1").replace("False", "0");
    let lines: Vec<String> = said.lines().map(flag).collect();
    let wanted = [
        "1024;53;40;;rpmsg-echo;1024;0;;;",
        "1025;53;40;;sidecore-console;1025;0;;;",
        "1100;1024;5;rpmsg-echo;;;;;;",
        "1100;1025;3;sidecore-console;;;;0x81;1;",
        "1025;1100;1;sidecore-console;;;;0x02;0;",
        "1024;1100;0;;;;;;;",
        "1024;53;39;;;;;;;An announcement has 40 bytes",
        "1024;53;40;;rpmsg-echo;1024;1;;;",
        "1024;1100;60000;rpmsg-echo;;;;;;Header claims more than the frame has",
        "1024;1100;4;rpmsg-echo;;;;;;Reserved or flags are not 0",
    ];
    assert_eq!(lines, wanted, "{}", String::from_utf8_lossy(&output.stderr));
}
