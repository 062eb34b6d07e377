extern crate std;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use std::vec::Vec;

use crate::bench::alone;
use crate::{Either, join, race};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_pause_takes_its_time_and_not_much_more() {
    alone(|remote| {
        let machine = remote.machine();
        let start = machine.now();
        machine.pause(20 * MS).wait();
        let elapsed = machine.now() - start;
        assert!(elapsed >= 20 * MS && elapsed < 22 * MS, "{elapsed:?}");
    });
}

#[test]
fn now_gives_up_what_takes_time() {
    alone(|remote| {
        assert_eq!(remote.machine().pause(MS).now(), None);
        assert_eq!(remote.machine().pause(Duration::ZERO).now(), Some(()));
    });
}

#[test]
fn joined_tasks_sleep_side_by_side() {
    alone(|remote| {
        let machine = remote.machine();
        let order = RefCell::new(Vec::new());
        let slow = async {
            machine.pause(10 * MS).await;
            order.borrow_mut().push("slow");
            1
        };
        let fast = async {
            for _ in 0..3 {
                machine.pause(2 * MS).await;
                order.borrow_mut().push("fast");
            }
            2
        };
        let start = machine.now();
        assert_eq!(machine.block_on(join(slow, fast)), (1, 2));
        assert!(machine.now() - start < 15 * MS);
        assert_eq!(order.take(), ["fast", "fast", "fast", "slow"]);
    });
}

#[test]
fn a_race_is_won_by_whoever_is_first() {
    alone(|remote| {
        let machine = remote.machine();
        let winner = machine.block_on(race(machine.pause(5 * MS), machine.pause(3 * MS)));
        assert_eq!(winner, Either::Second(()));
    });
}

#[test]
fn a_time_limit_gives_up_and_a_result_in_time_does_not_wait_for_it() {
    alone(|remote| {
        let machine = remote.machine();
        assert_eq!(machine.pause(Duration::from_secs(100)).within(5 * MS).wait(), None);
        assert_eq!(machine.pause(5 * MS).within(Duration::from_secs(100)).wait(), Some(()));
        assert!(machine.now() < 20 * MS);
    });
}

#[test]
fn waiting_inside_of_a_task_leaves_the_others_their_alarms() {
    alone(|remote| {
        let machine = remote.machine();
        let start = machine.now();
        let inner = async { machine.pause(3 * MS).wait() };
        let outer = machine.pause(6 * MS);
        machine.block_on(join(inner, outer));
        let elapsed = machine.now() - start;
        assert!(elapsed >= 6 * MS && elapsed < 10 * MS, "{elapsed:?}");
    });
}

#[test]
fn a_future_that_wakes_itself_is_polled_again_without_anyone_ringing() {
    alone(|remote| {
        let polls = Cell::new(0);
        remote.machine().block_on(poll_fn(|context| {
            polls.set(polls.get() + 1);
            context.waker().wake_by_ref();
            if polls.get() < 1000 { Poll::Pending } else { Poll::Ready(()) }
        }));
        assert_eq!(polls.get(), 1000);
        assert!(remote.machine().now() < MS, "nobody slept");
    });
}

#[test]
fn a_task_woken_before_its_sibling_waits_is_not_forgotten() {
    alone(|remote| {
        let machine = remote.machine();
        let flag = Cell::new(false);
        let waker = RefCell::new(None);
        let sleeper = poll_fn(|context| {
            *waker.borrow_mut() = Some(context.waker().clone());
            if flag.get() { Poll::Ready(()) } else { Poll::Pending }
        });
        let other = async {
            machine.pause(2 * MS).await;
            flag.set(true);
            if let Some(waker) = waker.borrow_mut().take() {
                waker.wake();
            }
            // Uses up the wake-up for itself.
            machine.pause(2 * MS).wait();
        };
        let start = machine.now();
        machine.block_on(join(sleeper, other));
        assert!(machine.now() - start < 6 * MS);
    });
}

#[test]
fn looking_that_does_not_help_is_given_up_and_tried_again_now_and_then() {
    alone(|remote| {
        let machine = remote.machine();
        let polls = |machine: &crate::Machine<_>| {
            let polls = Cell::new(0);
            let count = poll_fn::<(), _>(|_| {
                polls.set(polls.get() + 1);
                Poll::Pending
            });
            machine.block_on(race(count, machine.pause(MS / 2)));
            polls.get()
        };
        // One poll before, one while the doorbell is armed, one for the time that has come: the rest is looking.
        let looks: Vec<u32> = (0..40).map(|_| polls(machine) - 3).collect();
        assert!(looks[0] > 0, "{looks:?}");
        assert!(looks[10..14].iter().all(|&looks| looks == 0), "{looks:?}");
        assert_eq!(looks.iter().skip(10).filter(|&&looks| looks > 0).count(), 2, "{looks:?}");
    });
}
