//! The simulation of misfortune: `cargo xtask sim`.
//!
//! Both sides run in one thread, by a schedule that a seed decides: the remote is stepped, the main side sends, receives,
//! holds what it received, and dies at any store to memory that it shares with somebody (`--cfg mortal`); the next main
//! side goes on where it stood, and may die in that. Meanwhile the remote crashes and is started again, services come and
//! go, rings come late or without reason. What was promised is in `sidecore_sim::history`.
#![cfg_attr(not(mortal), allow(missing_docs))]

#[cfg(mortal)]
mod clock;
#[cfg(mortal)]
mod firmware;
#[cfg(mortal)]
mod fleet;
#[cfg(mortal)]
mod image;
#[cfg(mortal)]
mod schedule;
#[cfg(mortal)]
mod world;

#[cfg(not(mortal))]
fn main() {
    eprintln!(
        "built without `--cfg mortal`: nobody dies here. `cargo xtask sim` builds it as it is meant to be"
    );
    std::process::exit(2);
}

/// `sim SCHEDULES SEED`: as many schedules, of seeds from this one on.
#[cfg(mortal)]
fn main() -> std::process::ExitCode {
    use std::sync::atomic::{AtomicU64, Ordering};

    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(schedules)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: sim SCHEDULES SEED");
        return std::process::ExitCode::from(2);
    };
    // Deaths are part of it; what else panics is reported with its seed.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<sidecore_mem::mortal::Death>() {
            report(panic);
        }
    }));
    let before = open_files_and_memories();
    let next = AtomicU64::new(0);
    let work = || {
        let mut tally = schedule::Tally::default();
        let mut failed = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= schedules || failed.len() >= 3 {
                return (tally, failed);
            }
            let seed = seed.wrapping_add(number);
            let run = std::panic::AssertUnwindSafe(|| run(seed, &mut tally));
            match std::panic::catch_unwind(run) {
                Ok(trace) => tally.trace = tally.trace.wrapping_add(trace),
                Err(_) => failed.push(seed),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("schedules are caught")).collect()
    });
    let mut all = schedule::Tally::default();
    results.iter().for_each(|(tally, _)| all.add(tally));
    println!(
        "{schedules} schedules: {} deaths, {} links gone on in, {} restarts, {} messages delivered, {} of them again",
        all.deaths, all.resumed, all.restarts, all.messages, all.repeated,
    );
    let (kicks, fleet) = (all.kicks, all.fleet);
    println!("kicks: {} lost, {} late, {} early", kicks.lost, kicks.late, kicks.early);
    println!(
        "{} remotes beside each other: {} crashes, {} restarts, {} of them with clients that were stuck, {} given up; \
         {} of somebody else were not there yet",
        fleet.remotes, fleet.crashes, fleet.restarts, fleet.unacknowledged, fleet.given_up, fleet.attempts,
    );
    println!(
        "{} answers: after {} µs at most while another remote was recovering, after {} µs otherwise",
        fleet.answers, fleet.slowest_beside, fleet.slowest,
    );
    println!("trace {:016x}", all.trace);
    let mut failed: Vec<u64> = results.iter().flat_map(|(_, failed)| failed.iter().copied()).collect();
    failed.sort_unstable();
    for seed in &failed {
        println!("failed: seed {seed} (cargo xtask sim --schedules 1 --seed {seed})");
    }
    let mut is_fine = failed.is_empty();
    let after = open_files_and_memories();
    if after != before {
        println!("failed: files and memories that were open before and are now: {before:?}, {after:?}");
        is_fine = false;
    }
    // What a seed decides it decides every time.
    let differs = |seed: &u64| {
        let mut unused = schedule::Tally::default();
        run(*seed, &mut unused) != run(*seed, &mut unused)
    };
    let again = (0..if is_fine { schedules.min(64) } else { 0 }).map(|number| seed.wrapping_add(number));
    for seed in again.filter(differs) {
        println!("failed: seed {seed} does not do the same twice");
        is_fine = false;
    }
    std::process::ExitCode::from(u8::from(!is_fine))
}

/// A schedule of one remote whose main sides die, or of several. Answers its trace.
#[cfg(mortal)]
fn run(seed: u64, tally: &mut schedule::Tally) -> u64 {
    if seed.is_multiple_of(8) {
        fleet::run(seed, &mut tally.fleet, &mut tally.kicks)
    } else {
        schedule::run(seed, tally)
    }
}

/// What a process has of its system, in numbers: open files, and mapped memories of remotes.
#[cfg(mortal)]
fn open_files_and_memories() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    (files, maps.matches("memfd:sidecore").count())
}
