//! Round trips to a remote that runs already: the daemon's, or a sandbox that stays.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sidecore_client::{Endpoint, Error, OpenOptions};

use super::{Args, Measured, Report, Size, fill, histogram, nanoseconds};
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::interrupts::Interrupts;
use crate::message::usage;
use crate::target::failed;

/// How often a look is taken whether somebody has had enough.
const SLICE: Duration = Duration::from_millis(100);

/// As many as the daemon keeps for a client that does not read.
const FLOOD: u32 = 64;

pub(super) fn run(args: &Args, typed: &str) -> Outcome {
    if args.image.is_some() || args.beside.is_some() {
        return Err(usage(format!("{typed} runs already, with firmware of its own")));
    }
    let began = Instant::now();
    let remotes = args.reach.remotes()?;
    let target = remotes.find(typed)?;
    let processor = remotes.processor(&target)?;
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let options = OpenOptions::new().timeout(args.timeout).queue(4096);
    let endpoint = processor.open(&args.service, options);
    let endpoint = endpoint.map_err(|error| failed(format!("cannot ping {}", target.id()), &error))?;
    let window = if args.flood { FLOOD } else { args.window };
    let name = target.id();
    let pinger = Pinger { args, name: &name, endpoint, interrupts, window };
    pinger.measure(1, 1)?;
    let start = began.elapsed();
    let max = pinger.endpoint.max_payload();
    let mut results = Vec::new();
    for size in &args.size {
        let size = match *size {
            Size::Max => max,
            Size::Bytes(size) if size <= max => size,
            Size::Bytes(size) => {
                let why = format!("at most {max} bytes fit the buffers of {name}");
                return Err(Failure::new(codes::PING_SIZE, format!("cannot send {size} bytes")).because(why));
            }
        };
        pinger.measure(size, (args.count / 10).clamp(1, 1000))?;
        results.push(pinger.measure(size, args.count)?.row(size, args.count));
    }
    let report =
        Report { image: &name, service: &args.service, start_ns: nanoseconds(start), window, results };
    report.tell(args.json)
}

struct Pinger<'a> {
    args: &'a Args,
    name: &'a str,
    endpoint: Endpoint,
    interrupts: Interrupts,
    window: u32,
}

impl Pinger<'_> {
    fn measure(&self, size: usize, count: u32) -> Result<Measured, Failure> {
        let mut latencies = histogram();
        let mut payload = vec![0; size];
        let mut answer = vec![0; self.endpoint.max_payload().max(size)];
        let mut sent_at = VecDeque::with_capacity(self.window as usize);
        let (mut sent, mut received) = (0, 0);
        let began = Instant::now();
        while received < count {
            while sent < count && sent - received < self.window {
                fill(&mut payload, sent);
                let now = Instant::now();
                match self.endpoint.try_send(&payload) {
                    Ok(()) => {}
                    Err(Error::Full) if sent > received => break,
                    Err(Error::Full) => self.patiently(|slice| self.endpoint.send(&payload, slice))?,
                    Err(error) => return Err(self.failed(&error)),
                }
                sent_at.push_back(now);
                sent += 1;
            }
            let length = self.patiently(|slice| self.endpoint.receive_into(&mut answer, slice))?;
            if let Some(then) = sent_at.pop_front() {
                latencies.saturating_record(nanoseconds(then.elapsed()).max(1));
            }
            fill(&mut payload, received);
            if answer[..length] != *payload {
                let what = format!("{} answered message {received} wrongly", self.name);
                let why = format!("{length} bytes came that are not the {size} sent");
                return Err(Failure::new(codes::PING_CORRUPT, what).because(why));
            }
            received += 1;
        }
        Ok(Measured { latencies, elapsed: began.elapsed() })
    }

    /// Waits as long as is asked for, or until somebody has had enough.
    fn patiently<T>(
        &self,
        mut try_for: impl FnMut(Duration) -> sidecore_client::Result<T>,
    ) -> Result<T, Failure> {
        let end = Instant::now() + self.args.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match try_for(left.min(SLICE)) {
                Ok(done) => return Ok(done),
                Err(Error::Full | Error::TimedOut { .. }) if !left.is_zero() => {}
                Err(Error::TimedOut { .. }) => {
                    return Err(self.failed(&Error::TimedOut { waited: self.args.timeout }));
                }
                Err(error) => return Err(self.failed(&error)),
            }
            if let Some(code) = self.interrupts.exit_code() {
                return Err(Failure::new(codes::STOPPED, "ping was interrupted").status(code));
            }
        }
    }

    fn failed(&self, error: &Error) -> Failure {
        failed(format!("{} does not answer", self.name), error)
    }
}
