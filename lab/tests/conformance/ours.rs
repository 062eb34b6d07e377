//! Our real host and our real remote, at the place that OpenAMP's programs have.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidecore_backends::shm::{Config, Rings, Seat, Shm};
use sidecore_conformance::peers::{ShmHost, ShmRemote};
use sidecore_conformance::{Options, Report, Verdict, report, run};
use sidecore_os::guard_bus_errors;
use sidecore_processor::{Options as Naming, Processor, Responder};
use sidecore_wire::features::F_NS;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A place of this test's own.
pub(crate) fn place(name: &str) -> Config {
    guard_bus_errors().unwrap();
    let at = |end| PathBuf::from(format!("/dev/shm/sidecore-lab-{}-{name}.{end}", std::process::id()));
    Config { memory: at("shm"), socket: at("event"), patience: PATIENCE, ..Config::openamp() }
}

/// Runs `test` while a remote of ours serves at the place.
pub(crate) fn with_remote(config: Config, test: impl FnOnce()) {
    let table = config.resource_table(F_NS as u32).unwrap();
    let seat = Seat::new(config).unwrap();
    let mut responder = Responder::new(seat, table, vec!["echo".parse().unwrap()]).unwrap();
    let stop = responder.stopper();
    let thread = std::thread::spawn(move || responder.serve(&mut |_| {}).unwrap());
    test();
    stop();
    thread.join().unwrap();
}

/// Runs `test` while hosts of ours come to the place, one after the other, and talk to the echo that they find.
pub(crate) fn with_host(config: Config, test: impl FnOnce()) {
    with_patient_host(config, Duration::from_millis(20), test);
}

/// The same with hosts that wait for so long until somebody is there: for tests in which the first one has to stay, however
/// busy the machine is.
pub(crate) fn with_patient_host(config: Config, patience: Duration, test: impl FnOnce()) {
    let end = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&end);
    let thread = std::thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            let config = Config { patience, ..config.clone() };
            talk(Processor::detached(Shm::new(config).unwrap(), Naming::new("lab")), &is_over);
        }
    });
    test();
    end.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

fn talk(mut processor: Processor<Shm>, is_over: &AtomicBool) {
    let step = Duration::from_millis(20);
    // Nobody there, or a table of no use.
    if processor.attach(None).is_err() {
        return;
    }
    let mut number = 0_u32;
    let mut endpoint = None;
    while !is_over.load(Ordering::Relaxed) && processor.ended().is_none() {
        endpoint = endpoint.or_else(|| processor.open("rpmsg-echo", step).ok());
        let Some(endpoint) = endpoint else { continue };
        let message = vec![number as u8; 4 + number as usize % 400];
        if processor.send(endpoint, &message, step).is_ok() {
            number += 1;
            // An answer may be a long time coming, where the suite has a mind to it.
            let answer = processor.receive(endpoint, Some(Duration::from_millis(400)));
            drop(answer.map(|answer| answer.to_vec()));
        } else {
            processor.wait(Some(step));
        }
    }
    if processor.ended().is_none() {
        let _ = processor.detach();
    }
}

fn options() -> Options {
    Options { pace: Duration::from_millis(60), limit: PATIENCE, patience: PATIENCE, ..Options::default() }
}

fn assert_follows(report: &Report, at_least: usize) {
    let lines = |verdict| -> String {
        let found = report.findings.iter().filter(|finding| finding.verdict == verdict);
        found.map(|finding| format!("{}\n", report::line(finding, true))).collect()
    };
    assert_eq!(lines(Verdict::Deviates), "");
    let count = report.count(Verdict::Follows);
    assert!(count >= at_least, "{}\n{}", report::summary(report), lines(Verdict::NotShown));
}

#[test]
fn our_remote_follows_every_clause_that_can_be_shown() {
    let config = place("remote");
    with_remote(config.clone(), || {
        assert_follows(&run(&mut ShmRemote::new(config, None), &options(), None, &mut |_| {}), 75);
    });
}

/// A place where both sides know beforehand what lies where, with short rings of small buffers.
fn bare(name: &str) -> Config {
    let rings = Some(Rings { at: [0x2000, 0x2400], num: 8, align: 16 });
    Config { table: None, rings, buffer: 256, free: 0x4000..0x8000, ..place(name) }
}

#[test]
fn our_remote_follows_without_a_resource_table() {
    let config = bare("bare-remote");
    with_remote(config.clone(), || {
        assert_follows(&run(&mut ShmRemote::new(config, None), &options(), None, &mut |_| {}), 45);
    });
}

#[test]
fn our_host_follows_without_a_resource_table() {
    let config = bare("bare-host");
    with_host(config.clone(), || {
        let options = Options { service: Some("rpmsg-echo".to_owned()), ..options() };
        assert_follows(&run(&mut ShmHost::new(config, None), &options, None, &mut |_| {}), 30);
    });
}

#[test]
fn our_host_follows_where_rings_are_elsewhere_or_its_own_to_place() {
    let rings = Some(Rings { at: [0x6_0000, 0x5_8000], num: 64, align: 0x1000 });
    for (name, rings) in [("elsewhere", rings), ("anywhere", None)] {
        let config = Config { rings, table: Some(0x100), free: 0x1000..0x5_0000, ..place(name) };
        with_host(config.clone(), || {
            let only = ["RING-3", "RING-2", "TABLE-7", "TABLE-8", "TABLE-9", "RESET-11"].map(str::to_owned);
            let options =
                Options { service: Some("rpmsg-echo".to_owned()), only: only.to_vec(), ..options() };
            assert_follows(&run(&mut ShmHost::new(config, None), &options, None, &mut |_| {}), 6);
        });
    }
}

#[test]
fn our_host_follows_every_clause_that_can_be_shown() {
    let config = place("host");
    with_host(config.clone(), || {
        let options = Options { service: Some("rpmsg-echo".to_owned()), ..options() };
        assert_follows(&run(&mut ShmHost::new(config, None), &options, None, &mut |_| {}), 50);
    });
}
