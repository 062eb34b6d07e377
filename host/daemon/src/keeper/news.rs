//! What a keeper tells its daemon without being asked.

use sidecore_processor::codes::{NOT_TAKEN, REMOTE_CRASHED};
use sidecore_processor::{Ended, Event};
use sidecore_remoteproc::recovery::Decision;

use super::Keeper;
use super::protocol::{News, Service};

impl Keeper {
    /// What a daemon has to know that knows nothing.
    pub(super) fn tell_everything(&mut self) {
        let Some(body) = &self.body else { return };
        self.desk.tell(News::Restarts(body.restarts));
        self.desk.tell(News::Lease(self.leases.mode()));
        for client in &self.clients {
            self.desk.tell(News::Opened(client.facts.clone()));
        }
        self.tell_firmware();
        self.tell_state();
    }

    /// The remote's state.
    pub(super) fn tell_state(&mut self) {
        let Some(body) = &self.body else { return };
        // Whoever has it to itself lets it run.
        let state = if self.expect_ours().is_err() { "running" } else { body.state() };
        self.desk.tell(News::State(state.to_owned()));
    }

    pub(super) fn tell_firmware(&mut self) {
        let Some(body) = &self.body else { return };
        self.desk.tell(News::Firmware(body.facts.clone()));
    }

    /// What happened to the remote, and to messages.
    pub(super) fn tell_events(&mut self) {
        let Some(body) = &mut self.body else { return };
        let events: Vec<_> = std::iter::from_fn(|| body.processor.event()).collect();
        for event in events {
            let news = match &event {
                Event::ServiceAnnounced { device, name, addr } => service(*device, name, *addr, true),
                Event::ServiceWithdrawn { device, name, addr } => service(*device, name, *addr, false),
                _ => {
                    let code = event.code().map(|code| code.to_string());
                    News::Happened { what: event.to_string(), code }
                }
            };
            self.desk.tell(news);
            let Event::Ended(ended) = &event else { continue };
            self.desk.tell(News::State(body.state().to_owned()));
            if let Ended::Crashed(_) = ended
                && let Some(decision) = body.crashed()
            {
                let given_up = !matches!(decision, Decision::Restart { .. });
                let code = given_up.then(|| REMOTE_CRASHED.to_string());
                self.desk.tell(News::Happened { what: format!("it is {decision}"), code });
            }
        }
        for client in &mut self.clients {
            let lost = client.take_lost();
            if lost > 0 {
                let what = format!(
                    "{} does not read: {lost} messages for its endpoint {:#x} are lost",
                    client.facts.client, client.facts.addr
                );
                self.desk.tell(News::Happened { what, code: Some(NOT_TAKEN.to_string()) });
            }
        }
    }
}

fn service(device: u32, name: &impl ToString, addr: u32, is_there: bool) -> News {
    News::Service { service: Service { device, name: name.to_string(), addr }, is_there }
}
