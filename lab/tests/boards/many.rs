//! Many remotes in one process, with two devices each.

use std::sync::{Barrier, Mutex};
use std::time::Duration;

use sidecore_backends::sandbox::{Process, Role};
use sidecore_processor::{Ended, Endpoint, Event};
use sidecore_remoteproc::CrashKind;

use crate::{Case, Place, SOON, message};

/// For the sandbox, where a remote costs little.
pub(crate) const CASES: &[Case] =
    &[("many::sixty_four_sleep_when_idle_and_the_crash_of_one_disturbs_no_other", sixty_four, false)];

const REMOTES: usize = 64;
/// CPU time of all of their threads in a second of idleness, at most: a tenth of what one that polls takes.
const IDLE_CPU: Duration = Duration::from_millis(100);

fn sixty_four(place: &Place) {
    let remotes: Vec<_> = (0..REMOTES).map(|_| place.start("twins")).collect();
    let (all, idle) = (Barrier::new(REMOTES), Mutex::new(Duration::ZERO));
    std::thread::scope(|scope| {
        for (number, remote) in remotes.into_iter().enumerate() {
            let (all, idle) = (&all, &idle);
            scope.spawn(move || {
                // On a device each.
                let echoes = ["rpmsg-echo", "rpmsg-echo-beside"].map(|service| remote.open(service));
                assert_eq!(echoes.map(Endpoint::device), [0, 1]);
                let talk = || {
                    for round in 0..20 {
                        echoes.iter().for_each(|echo| remote.echo(*echo, &message(round * 20, number)));
                    }
                };
                talk();
                all.wait();
                let before = cpu();
                remote.processor.wait(Some(Duration::from_secs(1)));
                *idle.lock().unwrap() += cpu() - before;
                all.wait();
                if number == 0 {
                    kill(remote.processor.remote().backend().sandbox().unwrap().name());
                    while remote.processor.ended().is_none() {
                        assert!(remote.processor.wait(Some(SOON)), "its death is not noticed");
                    }
                    let is_it = |event: &Event| matches!(event, Event::Ended(Ended::Crashed(crash)) if crash.kind == CrashKind::Killed);
                    assert!(remote.events().iter().any(is_it), "{:?}", remote.events());
                    return;
                }
                talk();
                let is_end = |event: &Event| matches!(event, Event::Ended(_) | Event::LinkBroken { .. });
                assert!(!remote.events().iter().any(is_end), "{:?}", remote.events());
            });
        }
    });
    let idle = idle.into_inner().unwrap();
    assert!(idle < IDLE_CPU, "{REMOTES} idle remotes took {idle:?} of a second");
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Kills the process of a remote.
pub(crate) fn kill(name: &str) {
    Process::find(name, Role::Remote).unwrap().kill().unwrap();
}
