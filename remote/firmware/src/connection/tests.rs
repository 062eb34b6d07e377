extern crate std;

use std::time::Duration;
use std::vec::Vec;

use sidecore_rpmsg::{ADDR_ANY, LinkError, Name, SendError};
use sidecore_wire::features::{EVENT_IDX, F_NS};
use sidecore_wire::resource_table::vring;
use sidecore_wire::status::Status;

use crate::bench::{Main, NUM, alone, run, text};
use crate::{Error, join};

const NUM_AT: usize = vring::offset::NUM;
const DA_AT: usize = vring::offset::DA;

const CHANNEL: &str = "rpmsg-echo";

/// The main side: brings the device up, opens the channel, and then does what `then` says, once in each turn.
fn peer(mut then: impl FnMut(&mut Main, sidecore_rpmsg::Endpoint)) -> impl FnMut(&mut Main) {
    let mut endpoint = None;
    move |main| {
        if main.host.is_none() {
            main.start();
            return;
        }
        endpoint = endpoint.or_else(|| main.probe(CHANNEL));
        if let Some(endpoint) = endpoint {
            then(main, endpoint);
        }
    }
}

#[test]
fn a_channel_is_announced_and_messages_go_both_ways() {
    let mut turn = 0_u32;
    let script = peer(move |main, endpoint| {
        main.collect();
        if turn > 0 {
            let (from, bytes) = main.received.pop_front().unwrap();
            assert_eq!((from, bytes), (endpoint, std::format!("pong {}", turn - 1).into_bytes()));
        }
        main.send(endpoint, std::format!("ping {turn}").as_bytes());
        turn += 1;
    });
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let echo = connection.open(CHANNEL).wait().unwrap();
            assert_eq!(echo.peer(), None);
            for turn in 0..100 {
                let message = echo.receive().wait().unwrap();
                assert_eq!(text(&message), std::format!("ping {turn}"));
                let mut outgoing = echo.reserve().wait().unwrap();
                outgoing.append(b"pong ").unwrap();
                outgoing.append(std::format!("{turn}").as_bytes()).unwrap();
                outgoing.send().unwrap();
            }
            assert_eq!(echo.peer(), Some(1024));
        },
        script,
    );
}

#[test]
fn nothing_is_touched_before_the_driver_is_ready_and_each_link_is_announced_once() {
    let mut turns = 0;
    let script = move |main: &mut Main| {
        turns += 1;
        main.collect();
        match turns {
            // Long before: the remote looks now and then, and says nothing.
            1..=50 => assert_eq!(main.status(), Status::RESET),
            51 => main.start(),
            60 | 80 => {
                let names: Vec<_> = main.announced.iter().map(|announced| announced.name).collect();
                assert_eq!(names, [Name::new(CHANNEL).unwrap()]);
                main.reset();
            }
            70 => main.start(),
            _ => {}
        }
    };
    run(
        |mut remote| {
            for _ in 0..2 {
                let connection = remote.connect().unwrap();
                let echo = connection.open(CHANNEL).wait().unwrap();
                echo.bind(7);
                assert_eq!(echo.receive().wait().unwrap_err(), LinkError::Closed);
                assert_eq!(echo.send(b"late").wait(), Err(SendError::Link(LinkError::Closed)));
                drop(echo);
                remote = connection.disconnect();
            }
        },
        script,
    );
}

#[test]
fn messages_for_several_endpoints_keep_their_order_whoever_is_read_first() {
    let mut sent = 0_u8;
    let script = move |main: &mut Main| {
        if main.host.is_none() {
            return main.start();
        }
        let host = main.host.as_ref().unwrap();
        // As many as fit, to both endpoints in turns.
        while sent < 200 {
            let Ok(endpoint) = host.open(9000 + u32::from(sent), ADDR_ANY) else { return };
            let result = host.send_to(endpoint, 2000 + u32::from(sent % 2), &[sent]);
            host.close(endpoint);
            match result {
                Ok(()) => sent += 1,
                Err(error) => return assert_eq!(error, SendError::Full),
            }
        }
    };
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let endpoints = [2000, 2001].map(|addr| connection.open_at(addr, 1).unwrap());
            let mut next = [0_u8, 1];
            let mut kept = Vec::new();
            for turn in 0..200_u32 {
                // The odd ones are read in bursts.
                let which = usize::from(turn % 4 > 1);
                let message = endpoints[which].receive().wait().unwrap();
                let mut byte = [0];
                message.read(0, &mut byte).unwrap();
                assert_eq!(byte[0], next[which]);
                next[which] += 2;
                kept.push(message);
                if kept.len() == usize::from(NUM) / 2 {
                    kept.swap(0, 1);
                    kept.clear();
                }
            }
            assert_eq!(next, [200, 201]);
        },
        script,
    );
}

#[test]
fn a_sender_without_a_buffer_waits_for_one_and_loses_nothing_that_comes_meanwhile() {
    let mut turns = 0;
    let mut received = Vec::new();
    let script = peer(move |main, endpoint| {
        turns += 1;
        if turns <= usize::from(NUM) {
            main.send(endpoint, b"meanwhile");
        }
        if turns % 10 == 0 {
            main.collect();
            received.extend(main.received.drain(..).map(|(_, bytes)| bytes[0]));
            assert!(received.iter().copied().eq((0..).take(received.len())));
            if received.len() == 100 {
                main.reset();
            }
        }
    });
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let echo = connection.open(CHANNEL).wait().unwrap();
            let first = echo.receive().wait().unwrap();
            assert_eq!(text(&first), "meanwhile");
            drop(first);
            for i in 0..100 {
                echo.send(&[i]).wait().unwrap();
            }
            for _ in 1..NUM {
                assert_eq!(text(&echo.receive().wait().unwrap()), "meanwhile");
            }
            assert_eq!(echo.receive().wait().unwrap_err(), LinkError::Closed);
        },
        script,
    );
}

#[test]
fn a_message_that_is_too_long_is_an_error_and_not_cut() {
    let script = peer(|main, endpoint| {
        main.send(endpoint, b"hello");
    });
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let echo = connection.open(CHANNEL).wait().unwrap();
            drop(echo.receive().wait());
            let error = SendError::TooLong { len: 113, max: 112 };
            assert_eq!(echo.send(&[0; 113]).wait(), Err(error));
            assert_eq!(echo.send(&[0; 112]).wait(), Ok(()));
        },
        script,
    );
}

#[test]
fn a_driver_that_starts_anew_between_two_looks_gets_a_new_link_without_being_asked() {
    let mut restarts = 0;
    let script = move |main: &mut Main| {
        main.collect();
        if main.host.is_none() {
            main.start();
        } else if restarts < 3 && !main.announced.is_empty() {
            main.reset();
            main.start();
            restarts += 1;
        }
        assert!(!main.status().contains(Status::NEEDS_RESET));
    };
    let ((), main) = run(
        |mut remote| {
            for _ in 0..3 {
                let connection = remote.connect().unwrap();
                let echo = connection.open(CHANNEL).wait().unwrap();
                assert_eq!(echo.receive().wait().unwrap_err(), LinkError::Closed);
                drop(echo);
                remote = connection.disconnect();
            }
            remote.connect().unwrap().open(CHANNEL).wait().unwrap();
        },
        script,
    );
    main.borrow_mut().collect();
    let came = main.borrow().announced.iter().filter(|announced| !announced.is_destroy()).count();
    assert_eq!(came, 1, "announced once on the last link");
}

#[test]
fn a_main_side_that_breaks_the_rules_is_named_and_asked_to_reset() {
    let mut broken = false;
    let script = peer(move |main, _| {
        if !broken {
            main.break_ring();
            broken = true;
        } else {
            assert!(main.status().contains(Status::NEEDS_RESET));
            main.reset();
        }
    });
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let echo = connection.open(CHANNEL).wait().unwrap();
            let error = echo.receive().wait().unwrap_err();
            assert!(error.is_peer(), "{error}");
            drop(echo);
            // And then everything begins anew.
            let connection = connection.disconnect().connect().unwrap();
            connection.open(CHANNEL).wait().unwrap();
        },
        script,
    );
}

#[test]
fn rings_that_the_image_has_no_room_for_or_cannot_reach_are_refused_until_they_are_right() {
    let lies = [
        (0, NUM_AT, 2 * u32::from(NUM)),
        (1, NUM_AT, 2 * u32::from(NUM)),
        (1, DA_AT, 0x1000_0000),
        (0, DA_AT, !0),
    ];
    let mut lies = lies.into_iter();
    let script = move |main: &mut Main| {
        if main.host.is_none() {
            main.start();
            if let Some((ring, field, value)) = lies.next() {
                main.set_ring(ring, field, value);
            }
        } else if main.status().contains(Status::NEEDS_RESET) {
            main.reset();
            for ring in [0, 1] {
                main.set_ring(ring, NUM_AT, NUM.into());
            }
        }
    };
    let ((), main) = run(
        |remote| {
            remote.connect().unwrap();
        },
        script,
    );
    assert!(!main.borrow().status().contains(Status::NEEDS_RESET));
}

#[test]
fn who_disconnects_from_a_link_that_is_up_asks_for_a_reset() {
    let script = |main: &mut Main| {
        if main.status().contains(Status::NEEDS_RESET) {
            main.reset();
        } else if main.host.is_none() {
            main.start();
        }
    };
    let ((), main) = run(
        |remote| {
            let connection = remote.connect().unwrap().disconnect().connect().unwrap();
            connection.disconnect();
        },
        script,
    );
    assert!(main.borrow().status().contains(Status::NEEDS_RESET));
}

#[test]
fn a_main_side_without_the_name_service_hears_no_names() {
    let script = |main: &mut Main| {
        if main.host.is_none() {
            main.start_with(EVENT_IDX);
        }
    };
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            assert_eq!(connection.features(), EVENT_IDX);
            assert_eq!(connection.open(CHANNEL).wait().unwrap_err(), Error::NoNameService);
        },
        script,
    );
}

#[test]
fn a_dropped_endpoint_is_withdrawn_and_its_mail_goes_back() {
    let mut turns = 0;
    let script = peer(move |main, endpoint| {
        turns += 1;
        if turns == 1 {
            for _ in 0..NUM {
                main.send(endpoint, b"unread");
            }
        }
        main.collect();
        if main.announced.iter().any(|announced| announced.is_destroy()) {
            for _ in 0..NUM {
                main.send(endpoint, b"for nobody");
            }
            main.announced.clear();
        }
    });
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let other = connection.open_at(5, 6).unwrap();
            let echo = connection.open(CHANNEL).wait().unwrap();
            assert!(other.receive().within(Duration::from_millis(10)).wait().is_none());
            drop(echo);
            assert!(other.receive().within(Duration::from_millis(10)).wait().is_none());
            assert_eq!(connection.rpmsg().drops().unknown_destination.get(), u32::from(NUM));
        },
        script,
    );
}

#[test]
fn services_of_the_main_side_are_found_by_name() {
    let mut turns = 0;
    let script = move |main: &mut Main| {
        turns += 1;
        if turns == 1 {
            return main.start();
        }
        let host = main.host.as_ref().unwrap();
        if turns == 5 {
            let endpoint = host.open(77, ADDR_ANY).unwrap();
            host.announce(endpoint, &Name::new("storage-2").unwrap()).unwrap();
        }
    };
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            assert_eq!(connection.service("storage").wait(), Ok(77));
            assert_eq!(connection.service("nothing").within(Duration::from_millis(5)).wait(), None);
        },
        script,
    );
}

#[test]
fn announcements_without_end_keep_nobody_from_the_clock() {
    let script = |main: &mut Main| {
        if main.host.is_none() {
            return main.start();
        }
        let host = main.host.as_ref().unwrap();
        let Ok(endpoint) = host.open(ADDR_ANY, ADDR_ANY) else { return };
        while host.announce(endpoint, &Name::new("flood").unwrap()).is_ok() {}
        host.close(endpoint);
    };
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let endpoint = connection.open_at(5, 6).unwrap();
            assert!(endpoint.receive().within(Duration::from_millis(200)).wait().is_none());
        },
        script,
    );
}

#[test]
fn two_tasks_are_served_by_one_link() {
    let mut turn = 0_u32;
    let script = move |main: &mut Main| {
        if main.host.is_none() {
            return main.start();
        }
        let host = main.host.as_ref().unwrap();
        turn += 1;
        let endpoint = host.open(100, ADDR_ANY).unwrap();
        host.send_to(endpoint, 10 + turn % 2, b"x").unwrap();
        host.close(endpoint);
    };
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let [a, b] = [10, 11].map(|addr| connection.open_at(addr, 100).unwrap());
            let count = async |endpoint: &crate::Endpoint<'_, '_, _>, limit| {
                let mut count = 0;
                while count < limit && endpoint.receive().await.is_ok() {
                    count += 1;
                }
                count
            };
            let both = join(count(&a, 20), count(&b, 20));
            assert_eq!(connection.machine().block_on(both), (20, 20));
        },
        script,
    );
}

#[test]
fn a_carveout_is_found_once_it_was_placed() {
    run(
        |remote| {
            assert!(remote.carveout("frames").is_none());
            remote.machine().pause(Duration::from_millis(5)).wait();
            assert_eq!(remote.carveout("frames").unwrap().len(), 64);
            assert!(remote.carveout("frame").is_none());
        },
        |main| {
            if main.host.is_none() {
                main.start();
            }
        },
    );
}

#[test]
fn an_image_without_a_device_is_told_so() {
    use crate::image::start;
    alone(|remote| {
        let table = remote.table();
        let error =
            start::<_, _, 0, 0>(remote.machine(), table, None, |remote| remote.connect().unwrap_err());
        assert_eq!(error, Error::NoDevice);
        let error =
            start::<_, _, 0, 0>(remote.machine(), table, Some(4000), |remote| remote.connect().unwrap_err());
        assert!(matches!(error, Error::Device(_)));
    });
}

#[test]
fn features_are_those_that_the_image_offers() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            assert_eq!(connection.features(), F_NS | EVENT_IDX);
        },
        peer(|_, _| ()),
    );
}
