//! Takes spinlocks and ends in the way that it is told: for tests of whoever takes them back.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Remote, Resources, Spinlocks, image};
use sidecore_images::{program, usage};

image! { main: main, resources: Resources::DEFAULT.carveout(Spinlocks::CARVEOUT, 4096) }

const USAGE: &str = "locks count | die NUMBER... | exit NUMBER";

/// Locks in the bank.
const COUNT: usize = 1024;

fn main(remote: Remote) -> Result<i32, Error> {
    let locks = Spinlocks::of(&remote);
    program(remote, |_, console, line| {
        let Some(locks) = &locks else { return usage(console, "locks: there is no bank") };
        let take = |at| locks.try_lock(line.number(at, COUNT)?);
        match line.at(0) {
            b"count" => {
                // Each twice: what is given back can be taken again.
                let count = |_| (0..COUNT).filter(|number| locks.try_lock(*number).is_some()).count();
                let [first, second] = [0, 1].map(count);
                Ok(i32::from((first, second) != (COUNT, COUNT)))
            }
            b"die" => {
                let held = [1, 2, 3].map(take);
                assert!(held.iter().all(Option::is_none), "with a lock");
                Ok(0)
            }
            b"exit" => {
                // It is the end of this image, and nobody gives the lock back.
                core::mem::forget(take(1));
                Ok(0)
            }
            _ => usage(console, USAGE),
        }
    })
}
