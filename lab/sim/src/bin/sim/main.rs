//! The simulation of misfortune: `cargo xtask sim`.
//!
//! Both sides run in one thread, by a schedule that a seed decides: the remote is stepped, the main side sends, receives,
//! holds what it received, and dies at any store to memory that it shares with somebody (`--cfg mortal`); the next main
//! side goes on where it stood, and may die in that. Meanwhile the remote crashes and is started again, services come and
//! go, rings come late or without reason. What was promised is in `sidecore_sim::history`.
#![cfg_attr(not(mortal), allow(missing_docs))]

#[cfg(mortal)]
mod firmware;
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
            let run = std::panic::AssertUnwindSafe(|| schedule::run(seed, &mut tally));
            if std::panic::catch_unwind(run).is_err() {
                failed.push(seed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("schedules are caught")).collect()
    });
    let sum = |of: fn(&schedule::Tally) -> u64| results.iter().map(|(tally, _)| of(tally)).sum::<u64>();
    println!(
        "{schedules} schedules: {} deaths, {} links gone on in, {} restarts, {} messages delivered, {} of them again",
        sum(|tally| tally.deaths),
        sum(|tally| tally.resumed),
        sum(|tally| tally.restarts),
        sum(|tally| tally.messages),
        sum(|tally| tally.repeated),
    );
    let mut failed: Vec<u64> = results.iter().flat_map(|(_, failed)| failed.iter().copied()).collect();
    failed.sort_unstable();
    for seed in &failed {
        println!("failed: seed {seed} (cargo xtask sim --schedules 1 --seed {seed})");
    }
    std::process::ExitCode::from(u8::from(!failed.is_empty()))
}
