//! The asynchronous half, whichever way it goes.

use std::future::Future;
use std::time::Duration;

use sidecore_client::aio::{Client, Endpoint, Processor};
use sidecore_client::{Error, LeaseMode, OpenOptions, StartOptions, Way};

use crate::bench::{Bench, Half, SHORT, SOON, firmware};
use crate::tests;

tests! {
    TESTS:
    tasks_of_one_thread_talk_at_once_and_each_has_its_own_answers,
    a_wait_that_is_given_up_loses_nothing_and_one_that_times_out_says_so,
    a_task_that_floods_and_never_reads_starves_no_other,
    an_end_reaches_every_task_that_waits,
    what_a_client_does_with_remotes_it_does_from_tasks_too,
}

fn run(what: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * SOON, what).await.unwrap() });
}

async fn client(bench: &Bench) -> Client {
    match bench.half {
        Half::Daemon => Client::bus(&bench.address()).await.unwrap(),
        Half::Direct => Client::direct_in(bench.places()),
    }
}

async fn echo(bench: &Bench, client: &Client) -> Processor {
    let options = StartOptions::new().lease(LeaseMode::Tied);
    client.start(&bench.name("radio"), &firmware("echo"), &options).await.unwrap()
}

async fn open(processor: &Processor) -> Endpoint {
    processor.open("rpmsg-echo", OpenOptions::new().timeout(SOON)).await.unwrap()
}

async fn exchange(endpoint: &Endpoint, message: &[u8]) {
    endpoint.send(message, SOON).await.unwrap();
    assert_eq!(endpoint.receive(SOON).await.unwrap(), message);
}

fn tasks_of_one_thread_talk_at_once_and_each_has_its_own_answers(bench: &mut Bench) {
    run(async {
        let processor = echo(bench, &client(bench).await).await;
        let talk = |number: u32| {
            let processor = processor.clone();
            async move {
                let endpoint = open(&processor).await;
                let mut room = [0; 8];
                for round in 0..200_u32 {
                    let message = [number.to_le_bytes(), round.to_le_bytes()].concat();
                    endpoint.send(&message, None).await.unwrap();
                    assert_eq!(endpoint.receive_into(&mut room, None).await.unwrap(), 8);
                    assert_eq!(room[..], message);
                }
            }
        };
        let talks: Vec<_> = (0..8).map(|number| tokio::spawn(talk(number))).collect();
        for talk in talks {
            talk.await.unwrap();
        }
    });
}

fn a_wait_that_is_given_up_loses_nothing_and_one_that_times_out_says_so(bench: &mut Bench) {
    run(async {
        let processor = echo(bench, &client(bench).await).await;
        let endpoint = open(&processor).await;
        assert_eq!(endpoint.receive(SHORT).await, Err(Error::TimedOut { waited: SHORT }));
        assert_eq!(endpoint.try_receive(), Ok(None));
        for round in 0..200_u32 {
            endpoint.send(&round.to_le_bytes(), SOON).await.unwrap();
            // Sometimes before the answer, sometimes just then.
            let soon = Duration::from_micros(u64::from(round));
            let given_up = tokio::time::timeout(soon, endpoint.receive(None)).await;
            let answer = match given_up {
                Ok(answer) => answer,
                Err(_) => endpoint.receive(SOON).await,
            };
            assert_eq!(answer.unwrap(), round.to_le_bytes());
        }
        endpoint.send(&[9; 40], SOON).await.unwrap();
        let refused = endpoint.receive_into(&mut [0; 39], SOON).await;
        assert_eq!(refused, Err(Error::BufferTooSmall { len: 40, room: 39 }));
        assert_eq!(endpoint.receive(SOON).await.unwrap(), [9; 40]);
    });
}

fn a_task_that_floods_and_never_reads_starves_no_other(bench: &mut Bench) {
    run(async {
        let processor = echo(bench, &client(bench).await).await;
        let (flood, quiet) = (open(&processor).await, open(&processor).await);
        let flooding = tokio::spawn(async move {
            loop {
                match flood.send(b"flood", SHORT).await {
                    Ok(()) | Err(Error::Full) => tokio::task::yield_now().await,
                    Err(error) => break error,
                }
            }
        });
        for round in 0..200_u32 {
            exchange(&quiet, &round.to_le_bytes()).await;
        }
        processor.stop().await.unwrap();
        assert!(matches!(flooding.await.unwrap(), Error::Ended { .. }));
    });
}

fn an_end_reaches_every_task_that_waits(bench: &mut Bench) {
    run(async {
        let processor = echo(bench, &client(bench).await).await;
        let wait = |endpoint: Endpoint| async move { endpoint.receive(None).await };
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(tokio::spawn(wait(open(&processor).await)));
        }
        exchange(&open(&processor).await, b"hello").await;
        bench.kill_remote("radio");
        for waiting in waiting {
            let received = waiting.await.unwrap();
            assert!(matches!(received, Err(Error::Ended { .. })), "{received:?}");
        }
    });
}

fn what_a_client_does_with_remotes_it_does_from_tasks_too(bench: &mut Bench) {
    run(async {
        let client = client(bench).await;
        assert_eq!(client.way() == Way::Direct, bench.half == Half::Direct);
        let processor = echo(bench, &client).await;
        let listed = client.processors().await.unwrap();
        assert_eq!((listed.len(), &*listed[0].name), (1, processor.name()));
        let found = client.processor(&listed[0].qualified()).await.unwrap();
        assert_eq!((found.kind(), &*found.state().await.unwrap()), ("sandbox", "running"));
        let endpoint = open(&found).await;
        let services = processor.services().await.unwrap();
        assert_eq!(&*services[0].name, "rpmsg-echo");
        let at = found.open_at(0, None, Some(services[0].address), OpenOptions::new()).await.unwrap();
        exchange(&at, b"by its address").await;
        exchange(&endpoint, b"by its name").await;
        assert!(matches!(client.processor("nobody").await, Err(Error::NotFound { .. })));
        processor.remove().await.unwrap();
        while !client.processors().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}
