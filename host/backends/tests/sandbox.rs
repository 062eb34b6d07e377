//! The sandbox with willing firmware: it starts, rings, sleeps, ends, and starts again.
#![cfg(target_arch = "x86_64")]

mod bench;

use bench::*;
use sidecore_backends::sandbox::Sandbox;
use sidecore_remoteproc::{Backend, Event};

#[test]
fn firmware_exits_with_its_code() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| Code::new().store(DATA, 0x1234).exit(42));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 42 });
    assert_eq!(load32(&sandbox, DATA), 0x1234);
    println!("{:?}", sandbox.findings());
    sandbox.stop().unwrap();
    start(&mut sandbox, |_| Code::new().exit(7));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 7 });
    drop(sandbox);
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn a_remote_is_up_within_milliseconds() {
    let dir = Dir::new();
    let mut best = std::time::Duration::MAX;
    for _ in 0..20 {
        let began = std::time::Instant::now();
        let mut sandbox = Sandbox::new(dir.config()).unwrap();
        let t1 = began.elapsed();
        prepare(&mut sandbox);
        let t2 = began.elapsed();
        start(&mut sandbox, |page| {
            let code = Code::new().store(DATA, 1);
            let again = code.here();
            code.jump_if_zero(page + 4000, again).exit(0)
        });
        let up = began.elapsed();
        while load32(&sandbox, DATA) == 0 {}
        best = best.min(up);
        let t4 = began.elapsed();
        drop(sandbox);
        println!("{t1:?} {t2:?} {up:?} {t4:?} {:?}", began.elapsed());
    }
    assert!(best.as_millis() < 20, "{best:?}");
}
