//! Services that the main side runs for a remote.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use crate::bench::{ParseName as _, SOON, Side, Vdev, events, processor};
use sidecore_backends::sim::{Sim, Step};
use sidecore_processor::console::{self, Console, Input};
use sidecore_processor::{Event, Options, Processor, ServeError, ServiceEvent};
use sidecore_rpmsg::{ADDR_ANY, Endpoint};
use sidecore_services::console::client::Event as ConsoleEvent;
use sidecore_services::console::{Client, Stream};
use sidecore_wire::features::F_NS;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    shown: Vec<u8>,
    written: usize,
    input: VecDeque<u8>,
    asked: usize,
    full: bool,
}

impl Console for Screen {
    fn output(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.shown.extend(bytes);
        state.written += bytes.len();
        Ok(())
    }

    fn written(&mut self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().written)
    }

    fn input(&mut self, to: &mut [u8]) -> Input {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        let len = state.input.len().min(to.len());
        for (place, byte) in to.iter_mut().zip(state.input.drain(..len)) {
            *place = byte;
        }
        if len == 0 { Input::End } else { Input::Bytes(len) }
    }
}

/// Firmware with a console: prints its arguments, then its input in capitals, then exits. `reads`: whether it reads.
fn shouting(reads: bool) -> impl FnMut(&Side<'_>) -> Step {
    let mut client = Client::<16>::new();
    let mut endpoint: Option<Endpoint> = None;
    let mut pending: VecDeque<u8> = VecDeque::new();
    let (mut done, mut told) = (!reads, false);
    move |side| {
        let messages = side.messages(0);
        let mut out = [0; 64];
        let endpoint = *endpoint.get_or_insert_with(|| {
            let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
            messages.announce(endpoint, &"sidecore-console".parse_name()).unwrap();
            endpoint
        });
        while let Ok(Some(event)) = messages.poll() {
            let sidecore_rpmsg::Event::Message(message) = event else { continue };
            let mut payload = vec![0; message.len()];
            message.read(0, &mut payload).unwrap();
            drop(message);
            match client.receive(&payload).unwrap() {
                ConsoleEvent::Started => {
                    let hello = client.poll(&mut out).unwrap().unwrap();
                    messages.send(endpoint, hello).unwrap();
                    messages.send(endpoint, client.request_arguments(0, &mut out).unwrap()).unwrap();
                }
                ConsoleEvent::Arguments { bytes, .. } => {
                    pending.extend(bytes);
                    told = true;
                }
                _ => {}
            }
        }
        if client.session().is_none() {
            return Step::Sleep;
        }
        let mut byte = [0; 4];
        while !done {
            match client.read(&mut byte) {
                sidecore_services::console::client::Read::Bytes(len) => {
                    pending.extend(byte[..len].to_ascii_uppercase());
                }
                sidecore_services::console::client::Read::End => done = true,
                sidecore_services::console::client::Read::Wait => break,
            }
        }
        while let Some(limit) = client.poll(&mut out).unwrap() {
            messages.send(endpoint, limit).unwrap();
        }
        while let Some(chunk) = client.output(Stream::Out, pending.make_contiguous(), &mut out).unwrap() {
            if chunk.taken == 0 {
                break;
            }
            let taken = chunk.taken;
            messages.send(endpoint, chunk.message).unwrap();
            pending.drain(..taken);
        }
        if done && told && pending.is_empty() {
            messages.send(endpoint, client.exit(7, &mut out).unwrap()).unwrap();
            return Step::Exit(7);
        }
        Step::Sleep
    }
}

fn run(screen: &Screen, firmware: impl FnMut(&Side<'_>) -> Step + 'static) -> (Processor<Sim>, Vec<Event>) {
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], Options::new("sim"), firmware);
    processor.offer(console::offer(screen.clone(), &[b"one", b"two"]).unwrap());
    processor.start().unwrap();
    for _ in 0..100 {
        processor.wait(Some(SOON / 10));
        if processor.ended().is_some() {
            break;
        }
    }
    let events = events(&processor);
    (processor, events)
}

fn service_events(events: &[Event]) -> Vec<&ServiceEvent> {
    let console = |event| match event {
        &Event::Service { service: "console", ref event, .. } => Some(event),
        _ => None,
    };
    events.iter().filter_map(console).collect()
}

#[test]
fn a_console_carries_arguments_output_input_and_the_exit_code() {
    let screen = Screen::default();
    screen.0.lock().unwrap().input.extend(b"quiet words, more than the remote takes at once");
    let (processor, events) = run(&screen, shouting(true));
    assert!(processor.ended().is_some());
    let state = screen.0.lock().unwrap();
    assert_eq!(state.shown, b"one\0two\0QUIET WORDS, MORE THAN THE REMOTE TAKES AT ONCE");
    let expected = [ServiceEvent::Started { version: 1 }, ServiceEvent::Finished { code: 7 }];
    assert_eq!(service_events(&events), expected.iter().collect::<Vec<_>>());
}

#[test]
fn input_that_nobody_asks_for_is_left_alone() {
    let screen = Screen::default();
    screen.0.lock().unwrap().input.extend(b"someone else's");
    let (processor, _) = run(&screen, shouting(false));
    assert!(processor.ended().is_some());
    let state = screen.0.lock().unwrap();
    assert_eq!((state.asked, state.input.len()), (0, 14));
}

#[test]
fn a_console_that_takes_no_output_is_told_once_and_does_not_stop_the_remote() {
    let screen = Screen::default();
    screen.0.lock().unwrap().full = true;
    let (processor, events) = run(&screen, shouting(true));
    assert!(processor.ended().is_some());
    let failed = |event: &&ServiceEvent| matches!(event, ServiceEvent::Failed { .. });
    assert_eq!(service_events(&events).into_iter().filter(failed).count(), 1, "{events:?}");
}

#[test]
fn there_is_one_console_and_a_second_channel_for_it_is_refused() {
    let screen = Screen::default();
    let (_, events) = run(&screen, |side| {
        if side.remote.steps < 2 {
            let endpoint = side.messages(0).open(ADDR_ANY, ADDR_ANY).unwrap();
            let name = ["sidecore-console", "sidecore-console-2"][side.remote.steps as usize];
            side.messages(0).announce(endpoint, &name.parse_name()).unwrap();
            return Step::Work;
        }
        while let Ok(Some(event)) = side.messages(0).poll() {
            drop(event);
        }
        Step::Sleep
    });
    let name = "sidecore-console-2".parse_name();
    let refused = Event::ServiceNotOpened { device: 0, name, error: ServeError::InUse };
    assert!(events.contains(&refused), "{events:?}");
}

#[test]
fn a_remote_that_talks_nonsense_to_a_service_is_told_of_once_with_a_count() {
    let screen = Screen::default();
    let (_, events) = run(&screen, |side| {
        let messages = side.messages(0);
        if side.remote.steps == 0 {
            let endpoint = messages.open(99, ADDR_ANY).unwrap();
            messages.announce(endpoint, &"sidecore-console".parse_name()).unwrap();
        }
        while let Ok(Some(event)) = messages.poll() {
            if let sidecore_rpmsg::Event::Message(message) = event {
                for _ in 0..5 {
                    message.reply(&[0xff; 9]).unwrap();
                }
            }
        }
        Step::Sleep
    });
    let misused = events.iter().find_map(|event| match event {
        Event::ServiceMisused { service: "console", count, .. } => Some(*count),
        _ => None,
    });
    assert_eq!(misused, Some(5), "{events:?}");
}

#[test]
fn arguments_with_a_nul_or_without_end_are_refused() {
    assert!(console::offer(Screen::default(), &[b"a\0b"]).is_err());
    let long = vec![b'x'; 1 << 20];
    assert!(console::offer(Screen::default(), &[&long]).is_err());
}
