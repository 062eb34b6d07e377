//! `sidecore ping`: round trips to a remote, measured and checked.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use sidecore_backends::Any;
use sidecore_processor::{Endpoint, OpenError, Options, Processor, ReceiveError, SendError};

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::output::{lines, note, print, print_json, table};
use crate::remote::{self, On, Settings};
use crate::target::Reach;

mod kernel;
mod running;

/// Measure round trips to a remote, by message size, and check every answer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The firmware announces an echo service and sends back every message that comes there. Latency is from just before a \
message is sent until its answer has been read; the first round trips of each size are not counted. With a window above \
1 latency includes waiting behind the messages before.")]
pub(crate) struct Args {
    /// The firmware: the path of an ELF file, or the name of a built-in image [default: echo; on `remoteprocN` what runs
    /// there]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    image: Option<OsString>,
    /// Round trips for each size
    #[arg(short, long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Payload sizes in bytes
    #[arg(short, long, value_name = "N[,N...]", value_delimiter = ',', default_value = "16,64,256,max")]
    size: Vec<Size>,
    /// Messages that are on their way at once
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    window: u32,
    /// As many messages on their way as the rings hold
    #[arg(long, conflicts_with = "window")]
    flood: bool,
    /// Name of the echo service
    #[arg(long, value_name = "NAME", default_value = "rpmsg-echo")]
    service: String,
    /// How long to wait for the service, and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = remote::seconds)]
    timeout: Duration,
    /// What executes the firmware: `sandbox`, a confined process on this machine; `qemu:BOARD`, see `sidecore boards`; or
    /// a remote that runs already, see `sidecore ps`
    #[arg(long, value_name = "KIND", default_value = "sandbox")]
    on: Where,
    /// The image of the board's other core, where it has two
    #[arg(long, value_name = "IMAGE", value_hint = clap::ValueHint::FilePath)]
    beside: Option<OsString>,
    #[command(flatten)]
    reach: Reach,
    /// Tell on the standard error what happens until the service is there, the firmware's trace included
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON (schema sidecore.ping/1), times in nanoseconds
    #[arg(long)]
    pub(crate) json: bool,
}

/// What answers.
#[derive(Clone, Debug)]
enum Where {
    /// Firmware that is started for this.
    On(On),
    /// A remote that runs already.
    Remote(String),
}

impl std::str::FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(on) => Ok(Self::On(on)),
            Err(why) if text.starts_with("qemu:") => Err(why),
            Err(_) => Ok(Self::Remote(text.to_owned())),
        }
    }
}

/// A payload size, or the longest that fits.
#[derive(Clone, Copy, Debug)]
enum Size {
    Bytes(usize),
    Max,
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            _ => text.parse().map(Self::Bytes).map_err(|_| "not a number of bytes, nor `max`".to_owned()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let on = match &args.on {
        Where::On(On::Kernel(name)) => return kernel::run(args, name),
        Where::Remote(typed) => return running::run(args, typed),
        Where::On(on) => on.clone(),
    };
    let image = Image::open(args.image.as_deref().unwrap_or("echo".as_ref()))?;
    let began = Instant::now();
    let beside = args.beside.clone();
    let settings = Settings { on, beside, ..Settings::default() };
    let mut processor = remote::load(&image, settings, Options::new(&image.name))?;
    let interrupts = Interrupts::catch(processor.waker(), true)?;
    processor.start().map_err(|error| remote::remote(&image, &error))?;
    let opened = processor.open(&args.service, args.timeout);
    if args.verbose {
        describe(&processor);
    } else if opened.is_err() && !args.json {
        accuse(&processor);
    }
    let endpoint = opened.map_err(|error| not_open(&image, &error))?;
    let max = processor.max_payload(endpoint).map_err(|lost| not_open(&image, &lost.into()))?;
    let window = if args.flood { u32::from(processor.transmit_buffers(endpoint)) } else { args.window };
    let mut pinger =
        Pinger { args, image: &image, processor: &processor, interrupts: &interrupts, endpoint, window };

    // The first answer: the time that a user waits for a remote.
    pinger.measure(1, 1, None)?;
    let start = began.elapsed();
    let mut results = Vec::new();
    for size in &args.size {
        let size = match *size {
            Size::Max => max,
            Size::Bytes(size) if size <= max => size,
            Size::Bytes(size) => {
                let why = format!("at most {max} bytes fit the buffers of {}", image.name);
                return Err(Failure::new(codes::PING_SIZE, format!("cannot send {size} bytes")).because(why));
            }
        };
        results.push(pinger.row(size)?);
    }
    let report =
        Report { image: &image.name, service: &args.service, start_ns: nanoseconds(start), window, results };
    report.tell(args.json)
}

/// Says what led to an open service, and what the firmware says of it.
fn describe(processor: &Processor<Any>) {
    remote::describe(processor);
    std::iter::from_fn(|| processor.event()).for_each(|event| note(&event));
    if let Ok(trace) = processor.remote().read_trace(0) {
        trace.lines().for_each(|line| note(&format_args!("trace: {line}")));
    }
}

/// Says what may be why no service was opened: what went wrong, and what the firmware says last.
fn accuse(processor: &Processor<Any>) {
    let wrong = std::iter::from_fn(|| processor.event()).filter(|event| event.code().is_some());
    wrong.for_each(|event| note(&event));
    let Ok(trace) = processor.remote().read_trace(0) else { return };
    let lines = trace.lines().count();
    trace
        .lines()
        .skip(lines.saturating_sub(LAST_LINES))
        .for_each(|line| note(&format_args!("trace: {line}")));
}

struct Pinger<'a> {
    args: &'a Args,
    image: &'a Image,
    processor: &'a Processor<Any>,
    interrupts: &'a Interrupts,
    endpoint: Endpoint,
    window: u32,
}

/// What came of some round trips.
struct Measured {
    latencies: Histogram<u64>,
    elapsed: Duration,
}

/// Lines of a trace that tell why a service is not there.
const LAST_LINES: usize = 5;

/// Longest latency that is told from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("these are bounds that it can have")
}

impl Measured {
    fn row(&self, size: usize, count: u32) -> Row {
        let Self { latencies, elapsed } = self;
        let per_second = f64::from(count) / elapsed.as_secs_f64();
        Row {
            size,
            count,
            min_ns: latencies.min(),
            p50_ns: latencies.value_at_quantile(0.5),
            p90_ns: latencies.value_at_quantile(0.9),
            p99_ns: latencies.value_at_quantile(0.99),
            max_ns: latencies.max(),
            mean_ns: latencies.mean() as u64,
            round_trips_per_s: per_second as u64,
            bytes_per_s: (per_second * size as f64) as u64,
        }
    }
}

impl Pinger<'_> {
    fn row(&mut self, size: usize) -> Result<Row, Failure> {
        let count = self.args.count;
        // Caches, and the remote's own warming up.
        self.measure(size, (count / 10).clamp(1, 1000), None)?;
        let progress = progress(&format!("{size} bytes"), count);
        let measured = self.measure(size, count, Some(&progress));
        progress.finish_and_clear();
        Ok(measured?.row(size, count))
    }

    /// `count` round trips with a window of messages on their way.
    fn measure(&self, size: usize, count: u32, progress: Option<&ProgressBar>) -> Result<Measured, Failure> {
        // Of a fixed size: one that grows would be measured too.
        let mut latencies = histogram();
        let (mut payload, mut answer) = (vec![0; size], vec![0; size]);
        let mut sent_at = std::collections::VecDeque::with_capacity(self.window as usize);
        let (mut sent, mut received) = (0, 0);
        let began = Instant::now();
        while received < count {
            while sent < count && sent - received < self.window {
                fill(&mut payload, sent);
                let now = Instant::now();
                match self.processor.try_send(self.endpoint, &payload) {
                    Ok(()) => {}
                    Err(SendError::Full) if sent > received => break,
                    Err(error) => return Err(self.failed(error.code(), &error)),
                }
                sent_at.push_back(now);
                sent += 1;
            }
            let message = self.processor.receive(self.endpoint, Some(self.args.timeout));
            let message = message.map_err(|error| self.unanswered(&error))?;
            fill(&mut payload, received);
            let whole = message.len() == size && message.read(0, &mut answer).is_ok();
            drop(message);
            if let Some(then) = sent_at.pop_front() {
                latencies.saturating_record(nanoseconds(then.elapsed()).max(1));
            }
            if !whole || answer != payload {
                return Err(self.corrupt(received, &payload, &answer, whole));
            }
            received += 1;
            if received % 256 == 0 {
                progress.inspect(|progress| progress.set_position(received.into()));
                if let Some(code) = self.interrupts.exit_code() {
                    return Err(Failure::new(codes::STOPPED, "ping was interrupted").status(code));
                }
            }
        }
        Ok(Measured { latencies, elapsed: began.elapsed() })
    }

    fn unanswered(&self, error: &ReceiveError) -> Failure {
        match self.interrupts.exit_code() {
            Some(code) => Failure::new(codes::STOPPED, "ping was interrupted").status(code),
            None => self.failed(error.code(), error),
        }
    }

    fn failed(&self, code: sidecore_remoteproc::codes::Code, why: &dyn std::fmt::Display) -> Failure {
        Failure::new(code, format!("{} does not answer", self.image.name)).because(why)
    }

    fn corrupt(&self, number: u32, expected: &[u8], got: &[u8], whole: bool) -> Failure {
        let what = format!("{} answered message {number} wrongly", self.image.name);
        let why = match expected.iter().zip(got).position(|(a, b)| a != b) {
            _ if !whole => format!("the answer does not have the {} bytes that were sent", expected.len()),
            Some(at) => format!("byte {at} is {:#04x} and was {:#04x}", got[at], expected[at]),
            None => "it is another message's".to_owned(),
        };
        Failure::new(codes::PING_CORRUPT, what).because(why)
    }
}

/// A payload that tells which message it is, and where each byte belongs.
fn fill(payload: &mut [u8], number: u32) {
    let seed = number.wrapping_mul(0x9e37_79b9).to_le_bytes();
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte = seed[at % 4] ^ at as u8;
    }
}

fn not_open(image: &Image, error: &OpenError) -> Failure {
    Failure::new(error.code(), format!("cannot ping {}", image.name)).because(error)
}

fn progress(what: &str, count: u32) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{prefix:>12} {bar:40} {pos}/{len}");
    let bar = ProgressBar::with_draw_target(Some(count.into()), target).with_prefix(what.to_owned());
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Report<'a> {
    image: &'a str,
    service: &'a str,
    /// From the command's beginning to the first answer.
    start_ns: u64,
    window: u32,
    results: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    size: usize,
    count: u32,
    min_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    max_ns: u64,
    mean_ns: u64,
    round_trips_per_s: u64,
    /// Payload, in one direction.
    bytes_per_s: u64,
}

impl Report<'_> {
    fn tell(&self, json: bool) -> Outcome {
        if json {
            print_json("sidecore.ping/1", self)?;
        } else {
            print(&self.text())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self) -> String {
        let mut table = table(&["bytes", "min", "p50", "p90", "p99", "max", "round trips/s", "MB/s"]);
        for row in &self.results {
            let times = [row.min_ns, row.p50_ns, row.p90_ns, row.p99_ns, row.max_ns].map(time);
            let rate = [row.round_trips_per_s.to_string(), format!("{:.1}", row.bytes_per_s as f64 / 1e6)];
            table.add_row([row.size.to_string()].into_iter().chain(times).chain(rate));
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        let count = self.results.first().map_or(0, |row| row.count);
        let window =
            if self.window == 1 { "one at a time".to_owned() } else { format!("{} at once", self.window) };
        format!(
            "{} ({}): first answer after {}; {count} round trips of each size, {window}, every answer checked\n{}",
            self.image,
            self.service,
            time(self.start_ns),
            lines(&table)
        )
    }
}

/// A time as people read it.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}
