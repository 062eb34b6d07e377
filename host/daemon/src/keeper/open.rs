//! Endpoints: opened for clients, as soon as there is something to bind them to, and closed.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sidecore_os::Channel;
use sidecore_processor::Endpoint;

use super::client::Client;
use super::protocol::{Answer, Kind, News, Opened};
use super::{Keeper, Refused, no_remote};

/// An endpoint that waits for its service to be announced.
pub(super) struct Awaited {
    number: u64,
    service: String,
    pub(super) until: Instant,
    queue: Option<u32>,
    client: String,
}

/// The longest that a service is waited for.
const A_DAY: u64 = 24 * 60 * 60 * 1000;

impl Keeper {
    /// Opens an endpoint bound to a service as soon as that is announced.
    pub(super) fn await_service(
        &mut self,
        number: u64,
        service: String,
        within_ms: u64,
        queue: Option<u32>,
        client: String,
    ) -> Refused<()> {
        self.processor()?;
        self.check_room(&client)?;
        let until = Instant::now() + Duration::from_millis(within_ms.min(A_DAY));
        self.awaited.push(Awaited { number, service, until, queue, client });
        Ok(())
    }

    fn check_room(&self, client: &str) -> Refused<()> {
        let open = self.clients.iter().filter(|open| open.facts.client == client).count();
        let waiting = self.awaited.iter().filter(|awaited| awaited.client == client).count();
        let most = self.body.as_ref().map_or(0, |body| body.load.max_endpoints) as usize;
        if open + waiting >= most {
            let why = format_args!("{client} has {most} endpoints of it, and may have no more");
            return Err(Kind::NoRoom.because(why));
        }
        Ok(())
    }

    pub(super) fn answer_awaited(&mut self) {
        let Some(body) = &self.body else { return };
        let (processor, is_leased) = (&body.processor, self.expect_ours().is_err());
        let services = processor.services();
        let mut answers = Vec::new();
        self.awaited.retain(|awaited| {
            let found = services.iter().find(|found| found.name.matches(&awaited.service));
            let answer = match (found, processor.ended()) {
                _ if is_leased => Err(Kind::Leased.because("another process is its main side now")),
                (_, Some(ended)) => Err(Kind::WrongState.because(ended)),
                (Some(found), None) => {
                    let opened = processor.open_service(found).map_err(|error| Kind::NoRoom.because(error));
                    opened.map(|endpoint| (endpoint, found.name.to_string()))
                }
                (None, None) if Instant::now() >= awaited.until => {
                    let names: Vec<_> = services.iter().map(|found| found.name.to_string()).collect();
                    let why = format!("{} was not announced; there are {names:?}", awaited.service);
                    Err(Kind::NotAnnounced.because(why))
                }
                (None, None) => return true,
            };
            answers.push((awaited.number, answer, awaited.queue, awaited.client.clone()));
            false
        });
        for (number, answer, queue, client) in answers {
            let admitted =
                answer.and_then(|(endpoint, service)| self.admit(number, endpoint, service, queue, client));
            if let Err(refusal) = admitted {
                self.desk.answer(number, Err(refusal), None);
            }
        }
    }

    /// Makes a socket for an endpoint and answers with it.
    pub(super) fn admit(
        &mut self,
        number: u64,
        endpoint: Endpoint,
        service: String,
        queue: Option<u32>,
        client: String,
    ) -> Refused<()> {
        let made = self.check_room(&client).and_then(|()| self.make(endpoint, service, queue, client));
        let (opened, theirs) = made.inspect_err(|_| {
            if let Some(body) = &self.body {
                body.processor.close(endpoint);
            }
        })?;
        self.desk.tell(News::Opened(opened.clone()));
        self.desk.answer(number, Ok(Answer::Endpoint(opened)), Some(theirs));
        Ok(())
    }

    fn make(
        &mut self,
        endpoint: Endpoint,
        service: String,
        queue: Option<u32>,
        client: String,
    ) -> Refused<(Opened, OwnedFd)> {
        let (ours, theirs) = Channel::pair().map_err(|refused| Kind::NoRoom.because(refused))?;
        // Theirs is like any socket that a program is given.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(|errno| Kind::NoRoom.because(errno))?;
        let body = self.body.as_ref().ok_or_else(no_remote)?;
        let queue = queue.unwrap_or(body.load.queue);
        let max = body.processor.max_payload(endpoint).map_err(|lost| Kind::NoRoom.because(lost))?;
        self.next += 1;
        let opened = Opened {
            number: self.next,
            device: endpoint.device(),
            addr: endpoint.addr(),
            max_payload: max as u32,
            service,
            client,
        };
        let client = Client::new(ours, endpoint, opened.clone(), queue, &self.poll);
        self.clients.push(client.map_err(|errno| Kind::NoRoom.because(errno))?);
        Ok((opened, theirs.into()))
    }

    pub(super) fn client(&self, number: u64) -> Refused<&Client> {
        let found = self.clients.iter().find(|client| client.facts.number == number);
        found.ok_or_else(|| Kind::NotFound.because("that endpoint is closed"))
    }

    pub(super) fn close(&mut self, number: u64) -> Refused<()> {
        let endpoint = self.client(number)?.endpoint;
        if let Some(body) = &self.body {
            body.processor.close(endpoint);
        }
        self.clients.retain(|client| client.facts.number != number);
        self.desk.tell(News::Closed(number));
        Ok(())
    }

    /// Closes everybody's endpoints; they read the end.
    pub(super) fn close_all(&mut self) {
        for client in self.clients.drain(..) {
            if let Some(body) = &self.body {
                body.processor.close(client.endpoint);
            }
            self.desk.tell(News::Closed(client.facts.number));
        }
    }
}
