//! Core dumps: `run --dump`, and what `dump` makes of them.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::bench::{Place, sidecore};
use crate::everyday::User;

/// A crash of a built-in image, dumped into a directory of the test's.
fn crashed(place: &Place, arguments: &[&str]) -> String {
    let dumps = place.path().join("dumps");
    let output = sidecore()
        .args(["run", "crash", &format!("--dump={}", dumps.display()), "--"])
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let id = stderr.rsplit_once("next: sidecore dump gdb ").unwrap_or_else(|| panic!("{stderr}")).1;
    id.trim_end().to_owned()
}

fn dump(place: &Place, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = sidecore();
    command.arg("dump").arg("--dumps").arg(place.path().join("dumps")).args(arguments);
    command
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let output = dump(place, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(place: &Place, arguments: &[&str]) -> String {
    let output = dump(place, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_crash_is_kept_told_listed_and_removed() {
    let place = Place::new();
    assert_eq!(text(&place, &["list"]), "no dumps\n");
    let id = crashed(&place, &["fault", "0"]);
    let info = json(&place, &["info", "--json"]);
    assert_eq!((&info["schema"], &info["dump"]), (&"sidecore.dump/1".into(), &id.as_str().into()));
    let facts = &info["told"]["facts"];
    assert_eq!(
        (&facts["crash"], &facts["address"], &facts["on"]),
        (&"fault".into(), &"0x0".into(), &"sandbox".into())
    );
    assert!(facts["place"].as_str().unwrap().starts_with("crash::"), "{info:#}");
    assert_eq!(info["told"]["registers"], true);
    let people = text(&place, &["info"]);
    assert!(people.contains("trace       crash: fault") && people.contains("in the dump"), "{people}");

    let second = crashed(&place, &["hang"]);
    let listed = json(&place, &["list", "--json"]);
    assert_eq!(listed["dumps"].as_array().unwrap().len(), 2);
    let shown = text(&place, &["ls"]);
    assert!(shown.contains(&second) && shown.contains("hang in crash::hang"), "{shown}");

    assert_eq!(text(&place, &["rm", &id]), format!("{id}\n"));
    assert_eq!(text(&place, &["rm", "--older-than", "1"]), "");
    assert_eq!(text(&place, &["rm", "--all"]), format!("{second}\n"));
    assert_eq!(text(&place, &["list"]), "no dumps\n");
}

#[test]
fn a_saved_dump_is_a_core_file_that_others_read() {
    let place = Place::new();
    crashed(&place, &["illegal"]);
    let core = place.path().join("core");
    text(&place, &["save", "-o", core.to_str().unwrap()]);
    let again = dump(&place, &["save", "-o", core.to_str().unwrap()]).output().unwrap();
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(1) && stderr.contains("File exists"), "{stderr}");
    let Ok(read) = Command::new("readelf").arg("-hln").arg(&core).output() else {
        eprintln!("not run: core files read by others: readelf: not installed; apt install binutils");
        return;
    };
    let read = String::from_utf8(read.stdout).unwrap();
    for part in ["CORE (Core file)", "NT_PRSTATUS", "NT_GNU_BUILD_ID", "LOAD"] {
        assert!(read.contains(part), "{part}: {read}");
    }
}

#[test]
fn a_debugger_shows_the_way_to_the_crash() {
    let place = Place::new();
    crashed(&place, &["hang"]);
    let mut command = dump(&place, &["gdb", "--", "-batch", "-ex", "bt", "-ex", "info registers"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("cannot start a debugger") {
        eprintln!("not run: debugging dumps: gdb: not installed; apt install gdb-multiarch");
        return;
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    for part in ["in crash::hang", "in sidecore_firmware::image::run", "in _start", "rip"] {
        assert!(stdout.contains(part) || part == "rip" && stdout.contains("x30"), "{part}: {stdout}{stderr}");
    }
    assert!(!stderr.contains("another build"), "{stderr}");

    let other = dump(&place, &["gdb", "--image", "hello", "--", "-batch"]).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("hello is another build"), "{other:?}");
    let gone = dump(&place, &["gdb", "--image", "/nonexistent/fw.elf", "--", "-batch"]).output().unwrap();
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no symbols: /nonexistent/fw.elf"), "{gone:?}");
}

#[test]
fn what_is_not_there_or_not_clear_is_said() {
    let place = Place::new();
    let refused = |arguments: &[&str], part: &str| {
        let output = dump(&place, arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("error[E0625]") && stderr.contains(part), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(1));
    };
    refused(&["info"], "there is no dump");
    let [one, two] = ["fault", "panic"].map(|how| crashed(&place, &[how]));
    refused(&["info", "crash-"], "it may be any of ");
    refused(&["rm", "nothing"], "begins so");
    assert!(text(&place, &["info", &one]).contains(&one) && text(&place, &["info", &two]).contains("abort"));
    fs::write(place.path().join("dumps/text.core.gz"), "no dump").unwrap();
    refused(&["info", "text"], "cannot read");
    assert!(text(&place, &["list"]).contains("it is no dump of sidecore's"));
}

#[test]
fn a_dump_that_cannot_be_kept_is_told_and_changes_nothing_else() {
    let output = sidecore().args(["run", "crash", "--dump=/proc/nowhere", "--", "panic"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(134));
    assert!(
        stderr.contains("  no dump[E0625]: cannot keep a dump: ") && stderr.contains("explain E0505"),
        "{stderr}"
    );
}

/// Mounts a file system of this size at the first argument, and runs the rest there.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$0" sidecore-test "$1" && dir="$1" && shift && "$@"; code=$?
ls -A "$dir" >&2; exit $code"#;

#[test]
fn a_full_disk_is_told_leaves_nothing_and_keeps_no_remote_from_being_started_again() {
    let place = Place::new();
    let dir = place.path().to_str().unwrap();
    let wrapped = |run: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "4k", dir]).args(run);
        command.output()
    };
    if !wrapped(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("not run: dumps on a full disk: this user may not mount anything");
        return;
    }
    let (program, dumps) = (env!("CARGO_BIN_EXE_sidecore"), format!("--dump={dir}"));
    let run = [program, "run", "--restart", "on-crash:2", &dumps, "crash", "--", "panic"];
    let output = wrapped(&run).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(134), "{stderr}");
    assert_eq!(
        stderr.matches("warning[E0625]: cannot keep a dump: No space left on device").count(),
        3,
        "{stderr}"
    );
    assert!(stderr.contains("restart 2 of 2") && stderr.contains("given up"), "{stderr}");
    assert!(!stderr.contains(".part") && !stderr.contains(".core"), "something is left: {stderr}");

    let plain = wrapped(&[program, "run", &dumps, "crash", "--", "panic"]).unwrap();
    let stderr = String::from_utf8(plain.stderr).unwrap();
    assert_eq!(plain.status.code(), Some(134), "{stderr}");
    assert!(stderr.contains("  no dump[E0625]: cannot keep a dump: No space left"), "{stderr}");
}

#[test]
fn a_dump_of_what_the_firmware_may_write_leaves_code_to_its_file() {
    let place = Place::new();
    let size = |memory: &str| {
        let dumps = format!("--dump={}", place.path().join("dumps").display());
        let run = ["run", "--dump-memory", memory, &dumps, "crash", "--", "fault", "0"];
        assert_eq!(sidecore().args(run).output().unwrap().status.code(), Some(139));
        let info = json(&place, &["info", "--json"]);
        let memories = info["told"]["memories"].as_array().unwrap().clone();
        for of in &memories {
            assert_eq!(of["in_dump"], memory == "all" || of["writable"] == true, "{info:#}");
        }
        info["compressed_bytes"].as_u64().unwrap()
    };
    let all = size("all");
    // The newest one is debugged below.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(size("writable") < all);
    let output = dump(&place, &["gdb", "--", "-batch", "-ex", "bt"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        stderr.contains("cannot start a debugger") || stdout.contains("sidecore_firmware"),
        "{stdout}{stderr}"
    );
    let alone = sidecore().args(["run", "--dump-memory", "all", "crash"]).output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--dump"), "{alone:?}");
}

#[test]
fn a_dump_of_the_daemons_remote_goes_among_the_users_own() {
    let user = User::with_daemon();
    user.done(&["start", "radio", "echo"]);
    let id = user.done(&["dump", "save", "radio"]);
    let id = id.trim_end();
    assert!(id.starts_with("radio-"), "{id}");
    assert!(user.done(&["dump", "list"]).contains(id));
    let told = user.done(&["dump", "info", "radio-"]);
    assert!(told.contains("remote      radio") && told.contains("registers   yes"), "{told}");
    let core = user.place.path().join("core");
    user.done(&["dump", "save", id, "-o", core.to_str().unwrap()]);
    let other = user.place.path().join("other");
    user.done(&["dump", "save", "radio", "-o", other.to_str().unwrap()]);
    let len = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(len(&core), len(&other), "as long as one that the daemon writes at once");
    user.fails(&["dump", "save", "radio", "--memory", "writable"], 2, "the daemon dumps all memories");
    // Where it cannot be kept, nothing is left of it.
    user.fails(&["dump", "--dumps", "/proc/nowhere", "save", "radio"], 125, "cannot dump radio");
}
