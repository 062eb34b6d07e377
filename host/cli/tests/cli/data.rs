//! Output for programs: every document is JSON and says its schema.

use serde_json::Value;

use crate::bench::{Place, elf, sidecore};

/// The document that a command prints, and its exit code.
fn document(arguments: &[&str]) -> (Value, i32) {
    let output = sidecore().args(arguments).arg("--json").output().unwrap();
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
    (document, output.status.code().unwrap())
}

#[test]
fn every_document_says_its_schema() {
    let sizes = ["ping", "-c", "200", "--size", "1,max", "--flood"];
    for arguments in
        [&["images"][..], &["explain", "E0113"], &["explain", "--list"], &["inspect", "hello"], &sizes]
    {
        let (document, code) = document(arguments);
        assert_eq!(document["schema"], format!("sidecore.{}/1", arguments[0]));
        assert_eq!(code, 0, "{arguments:?}");
    }
}

#[test]
fn a_machine_that_runs_these_tests_is_well() {
    let (document, code) = document(&["doctor"]);
    assert_eq!((&document["schema"], &document["ok"], code), (&"sidecore.doctor/1".into(), &true.into(), 0));
    let checks = document["checks"].as_array().unwrap();
    let state = |name: &str| &checks.iter().find(|check| check["name"] == name).unwrap()["state"];
    for name in ["machine", "sandbox"] {
        assert_eq!(state(name), "ok", "{document}");
    }
    for check in checks {
        assert_eq!(check["advice"].is_null(), check["state"] == "ok", "{check}");
    }
}

#[test]
fn errors_are_documents_too() {
    let output = sidecore().args(["inspect", "/etc", "--json"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(126), 0));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["schema"], &error["code"]), (&"sidecore.error/1".into(), &"E0602".into()));
    for key in ["what", "why", "next"] {
        assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }
}

#[test]
fn pings_are_counted_checked_and_in_order() {
    let (document, _) = document(&["ping", "echo", "-c", "500", "-s", "0,64", "-w", "8"]);
    assert_eq!((&document["window"], &document["image"]), (&8.into(), &"echo".into()));
    assert!(document["start_ns"].as_u64().unwrap() > 0);
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|row| row["size"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 64]);
    for row in results {
        let times = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"].map(|key| row[key].as_u64().unwrap());
        assert!(times[0] > 0 && times.is_sorted(), "{row}");
        assert_eq!(row["count"], 500);
    }
}

#[test]
fn a_ping_that_cannot_be_says_why() {
    for (arguments, code) in [
        (&["ping", "echo", "-s", "497"][..], "E0612"),
        (&["ping", "hello", "--timeout", "0.2"], "E0510"),
        (&["ping", "echo", "--service", "nobody", "--timeout", "0.2"], "E0510"),
        (&["ping", "nowhere"], "E0601"),
    ] {
        let output = sidecore().args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // What the firmware says last comes before.
        let (said, error) = stderr.split_at(stderr.find("error[").unwrap_or_default());
        assert!(error.starts_with(&format!("error[{code}]")), "{arguments:?}: {stderr}");
        assert_eq!(said, if arguments[1] == "hello" { "sidecore: trace: hello: up\n" } else { said });
        assert!(!output.status.success());
    }
}

#[test]
fn firmware_of_any_machine_is_inspected() {
    let place = Place::new();
    for (class, machine, name) in [(1, 40, "Arm"), (1, 243, "RISC-V"), (2, 183, "AArch64"), (1, 94, "Xtensa")]
    {
        let file = place.write("firmware", elf(class, machine));
        let (document, code) = document(&["inspect", file.to_str().unwrap()]);
        assert_eq!((&document["machine"], &document["machine_name"]), (&machine.into(), &name.into()));
        assert_eq!(document["segments"][0]["address"], 0x1000);
        assert_eq!(code, 0);
    }
}

#[test]
fn an_image_of_ours_has_what_it_says() {
    let (document, _) = document(&["inspect", "echo"]);
    let table = &document["resource_table"];
    let kinds: Vec<_> = table["entries"].as_array().unwrap().iter().map(|entry| &entry["type"]).collect();
    assert_eq!(kinds, ["trace", "trace-words", "vdev"]);
    assert_eq!(table["entries"][2]["rings"].as_array().unwrap().len(), 2);
    assert_eq!(document["runs_here"], true);
    assert_eq!(document["findings"].as_array().unwrap().len(), 0);
}
