//! How firmware ends, and what the command makes of it.

use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use crate::bench::{Place, elf, plain, sidecore};

/// The exit code and the standard error of `run crash` with these arguments.
fn crash(arguments: &[&str]) -> (i32, String) {
    let output =
        sidecore().args(["run", "--watchdog", "0.3", "crash", "--"]).args(arguments).output().unwrap();
    assert_eq!(output.stdout, b"");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_kind_of_end_has_the_exit_code_that_a_shell_would_give_it() {
    let ends: [(&[&str], i32); 9] = [
        (&["exit", "0"], 0),
        (&["exit", "3"], 3),
        (&["exit", "300"], 44),
        (&["fault"], 139),
        (&["stack"], 139),
        (&["illegal"], 132),
        (&["syscall"], 159),
        (&["panic"], 134),
        (&["abort"], 134),
    ];
    for (arguments, expected) in ends {
        let (code, stderr) = crash(arguments);
        assert_eq!(code, expected, "{arguments:?}: {stderr}");
        assert_eq!(stderr.is_empty(), code < 128, "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_hang_is_124_and_says_where() {
    let (code, stderr) = crash(&["hang"]);
    assert_eq!(code, 124);
    assert!(
        stderr.starts_with("sidecore: crash hangs: it did not feed its watchdog in time, at pc 0x"),
        "{stderr}"
    );
}

#[test]
fn a_report_has_address_place_and_registers_and_marks_what_the_firmware_says() {
    let (_, stderr) = crash(&["fault", "18193"]);
    assert!(stderr.contains("it accessed 0x4711, which it may not"), "{stderr}");
    for part in ["\n  address    0x4711\n", "\n  pc         0x1", "  in crash::", "\n  registers "] {
        assert!(stderr.contains(part), "{part:?}: {stderr}");
    }
    assert!(stderr.contains("the end of its trace:\n    crash: fault\n"), "{stderr}");
    assert!(!stderr.contains("own words"), "{stderr}");
    assert!(stderr.ends_with("  next: sidecore explain E0505\n"), "{stderr}");
    let (_, stderr) = crash(&["panic"]);
    assert!(stderr.contains("own words (not checked):\n    src/bin/crash.rs:"), "{stderr}");
}

#[test]
fn what_cannot_be_run_is_told_from_what_is_not_there_and_from_wrong_use() {
    let place = Place::new();
    let text = place.write("text", "#!/bin/sh\n");
    let empty = place.write("empty", "");
    let arm = place.write("arm", elf(1, 40));
    let odd = place.path().join(std::ffi::OsStr::from_bytes(b"odd\xff\x1b[2Jname"));
    std::fs::write(&odd, elf(2, 183)).unwrap();
    let foreign = if cfg!(target_arch = "x86_64") { 126 } else { 125 };
    for (image, code, part) in [
        (place.path().join("none").as_os_str(), 127, "E0601"),
        ("none".as_ref(), 127, "built in: hello"),
        ("\u{1b}[2J".as_ref(), 127, "E0601"),
        (place.path().as_os_str(), 126, "E0602"),
        (text.as_os_str(), 126, "e_ident begins with 23 21 2f 62"),
        (empty.as_os_str(), 126, "E0102"),
        (arm.as_os_str(), 126, "e_machine is 40 (Arm), 32-bit"),
        (odd.as_os_str(), foreign, "name"),
    ] {
        let output = sidecore().arg("run").arg(image).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{image:?}: {stderr}");
        assert!(stderr.starts_with("error[E") && stderr.contains(part), "{image:?}: {stderr}");
        assert!(!stderr.contains('\x1b'), "{image:?}: {stderr:?}");
    }
    for arguments in [&["run"][..], &["run", "--bad"], &["run", "hello", "--watchdog", "0"]] {
        assert_eq!(sidecore().args(arguments).output().unwrap().status.code(), Some(125), "{arguments:?}");
    }
    assert_eq!(sidecore().arg("nonsense").output().unwrap().status.code(), Some(2));
}

#[test]
fn arguments_go_through_byte_for_byte() {
    let odd = std::ffi::OsStr::from_bytes(b"\xff\x01 \"'\\");
    let output = sidecore().args(["run", "hello", "--", "", "-v", "--"]).arg(odd).output().unwrap();
    let expected = b"Hello from the remote, !\nHello from the remote, -v!\nHello from the remote, --!\n\
        Hello from the remote, \xff\x01 \"'\\!\n";
    assert_eq!(output.stdout, expected, "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success());
}

#[test]
fn arguments_above_the_limit_are_refused_before_anything_runs() {
    let argument = "x".repeat(100_000);
    let output = sidecore().args(["run", "hello", "--"]).args(vec![argument; 11]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error[E0604]"));
}

#[test]
fn input_goes_through_byte_for_byte() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for len in [0, 1, 255, 256, 257, bytes.len()] {
        let output = sidecore().args(["run", "cat"]).write_stdin(&bytes[..len]).output().unwrap();
        assert!(output.status.success() && output.stdout == bytes[..len], "{len} bytes");
    }
}

#[test]
fn input_that_the_firmware_does_not_read_stays_for_others() {
    let script = format!("{} run hello; cat", env!("CARGO_BIN_EXE_sidecore"));
    let shell =
        assert_cmd::Command::new("sh").args(["-c", &script]).write_stdin("for others").output().unwrap();
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), "Hello from the remote!\nfor others");
}

#[test]
fn it_works_with_no_home_no_runtime_directory_and_closed_streams() {
    let mut command = plain();
    command
        .args(["run", "hello"])
        .env("HOME", "/proc/nonexistent")
        .env("XDG_RUNTIME_DIR", "/proc/nonexistent");
    let output = command.current_dir("/").output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"Hello from the remote!\n"[..]));
    for redirection in [">&-", "2>&-", "<&-", "<&- >&- 2>&-"] {
        let script = format!("{} run hello {redirection}", env!("CARGO_BIN_EXE_sidecore"));
        let status =
            std::process::Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{redirection}");
    }
}

#[test]
fn output_that_nobody_reads_ends_it_as_a_broken_pipe_ends_a_program() {
    let place = Place::new();
    let input = place.write("input", vec![b'x'; 1 << 20]);
    let cat = ["run", "cat"];
    for arguments in [&cat[..], &["explain", "--list"], &["man"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = plain();
        command.args(arguments).stdin(std::fs::File::open(&input).unwrap()).stdout(writer);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &stderr[..]), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    for (arguments, code) in [(&["images"][..], 1), (&["run", "hello"], 125)] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = plain().args(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error[E0607]") && stderr.contains("No space left"), "{stderr}");
    }
}

#[test]
fn a_trace_is_shown_on_the_standard_error_while_the_firmware_runs() {
    let output = sidecore().args(["run", "--trace", "hello"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Hello from the remote!\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "hello: up\n");
}

#[test]
fn a_storm_of_any_kind_ends_and_is_outlived() {
    for kind in ["messages", "nobody", "names"] {
        let output = sidecore().args(["run", "storm", "--", kind, "20000"]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{kind}: {out}{err}");
        assert!(out.starts_with("20000 sent, "), "{kind}: {out}{err}");
    }
}
