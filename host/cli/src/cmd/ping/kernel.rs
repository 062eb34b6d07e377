//! Round trips to a remote processor that Linux drives.

use std::collections::VecDeque;
use std::time::Instant;

use sidecore_backends::sysfs::{Endpoint, State};

use super::{Args, Measured, Report, Size, fill, histogram, nanoseconds};
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::kernel::refused;
use crate::output::note;

/// The longest payload of Linux' buffers, which no one can ask for.
const MAX: usize = 496;

pub(super) fn run(args: &Args, name: &str) -> Outcome {
    let began = Instant::now();
    let remote = args.reach.place.find(name)?;
    let failed = |error| refused(format!("cannot ping {}", remote.id()), &error);
    let interrupts = Interrupts::catch_by(|| (), true)?;
    if let Some(image) = &args.image {
        let image = Image::open(image)?;
        image.firmware()?;
        if remote.state().map_err(failed)? != State::Offline {
            remote.stop().map_err(failed)?;
        }
        let installed = remote.install(&image.name, &image.bytes).map_err(failed)?;
        remote.set_firmware(&installed).map_err(failed)?;
        remote.start().map_err(failed)?;
    }
    let endpoint = remote.open(&args.service, args.timeout).map_err(failed)?;
    if args.verbose {
        note(&format_args!("{} answers at {}", remote.id(), endpoint.path().display()));
    }
    let window = if args.flood { 64 } else { args.window };
    let pinger = Pinger { args, name: remote.id(), endpoint, interrupts, window };
    pinger.measure(1, 1)?;
    let start = began.elapsed();
    let mut results = Vec::new();
    for size in &args.size {
        let size = match *size {
            Size::Max => MAX,
            Size::Bytes(size) => size,
        };
        pinger.measure(size, (args.count / 10).clamp(1, 1000))?;
        results.push(pinger.measure(size, args.count)?.row(size, args.count));
    }
    let report =
        Report { image: remote.id(), service: &args.service, start_ns: nanoseconds(start), window, results };
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
        let failed = |error| refused(format!("{} does not answer", self.name), &error);
        let mut latencies = histogram();
        // With room for more than can come, so that what is too long is seen.
        let (mut payload, mut answer) = (vec![0; size], vec![0; size.max(MAX) + 1]);
        let mut sent_at = VecDeque::with_capacity(self.window as usize);
        let (mut sent, mut received) = (0, 0);
        let began = Instant::now();
        while received < count {
            while sent < count && sent - received < self.window {
                fill(&mut payload, sent);
                sent_at.push_back(Instant::now());
                self.endpoint.send(&payload).map_err(failed)?;
                sent += 1;
            }
            let length = self.endpoint.receive(&mut answer, self.args.timeout).map_err(failed)?;
            if let Some(code) = self.interrupts.exit_code() {
                return Err(Failure::new(codes::STOPPED, "ping was interrupted").status(code));
            }
            let Some(length) = length else {
                let why = format!("no answer to message {received} in {:?}", self.args.timeout);
                return Err(
                    Failure::new(codes::KERNEL_REMOTE, format!("{} does not answer", self.name)).because(why)
                );
            };
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
}
