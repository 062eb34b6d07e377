//! Frames of the `defmt` crate in words, which the firmware's file has.
//!
//! The library that decodes them trusts frames: one that lies makes it end the process, or ask for all the memory there is. So
//! it works in a process of its own, whose end costs one frame.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use defmt_decoder::{DecodeError, Locations, Table};
use object::{Object as _, ObjectSection as _};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Resource, Rlimit, setrlimit};
use sidecore_os::poll_until;

/// What the process is called that decodes.
const NAME: &str = "sidecore: defmt";

/// How long it may take for a frame, the file included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it may end before its time.
const LIVES: u32 = 8;

/// Bytes of memory that it may have, beside twenty times the file.
const MEMORY: u64 = 1 << 30;

/// Decodes frames of one firmware.
pub(crate) struct Decoder {
    file: Vec<u8>,
    helper: Option<Helper>,
    lives: u32,
}

struct Helper {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Decoder {
    /// For the firmware in this file; none if it has no format strings.
    pub(crate) fn new(file: &[u8]) -> Option<Self> {
        is_wanted(file).then(|| Self { file: file.to_vec(), helper: None, lives: LIVES })
    }

    /// What a frame says: level, message, and its place in the source where the file has debug information; or why it makes
    /// no sense, with its bytes.
    pub(crate) fn decode(&mut self, frame: &[u8]) -> String {
        self.ask(frame).unwrap_or_else(|why| {
            let digits: String = frame.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
            let more = if frame.len() > 32 { "..." } else { "" };
            format!("-- a frame of {} bytes makes no sense ({why}): {digits}{more} --", frame.len())
        })
    }

    fn ask(&mut self, frame: &[u8]) -> Result<String, String> {
        if self.lives == 0 {
            return Err("too many before it made none".to_owned());
        }
        let answered = self.try_ask(frame);
        let (is_good, text) = answered.map_err(|error| {
            self.lives -= 1;
            self.helper = None;
            format!("its decoder gave up: {error}")
        })?;
        if is_good { Ok(text) } else { Err(text) }
    }

    fn try_ask(&mut self, frame: &[u8]) -> io::Result<(bool, String)> {
        let helper = match &mut self.helper {
            Some(helper) => helper,
            None => self.helper.insert(Helper::start(&self.file)?),
        };
        put(&mut helper.input, frame)?;
        let deadline = Instant::now() + PATIENCE;
        let ready = poll_until(&mut [PollFd::new(&helper.output, PollFlags::IN)], Some(deadline));
        if ready.is_ok_and(|ready| ready == 0) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let answer = take(&mut helper.output)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (first, text) = answer.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((*first == 1, String::from_utf8_lossy(text).into_owned()))
    }
}

impl Helper {
    fn start(file: &[u8]) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for us.
        let mut child = command.process_group(0).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut helper = Self { child, input, output };
        put(&mut helper.input, file)?;
        Ok(helper)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a file has format strings.
pub(crate) fn is_wanted(file: &[u8]) -> bool {
    object::File::parse(file)
        .is_ok_and(|elf| elf.section_by_name(".defmt").is_some_and(|section| section.size() > 0))
}

/// Decodes for another process if this one was started to, and never returns then.
pub(crate) fn hook() {
    if env::args_os().next().is_some_and(|name| name == NAME) {
        // Whoever asks sees that there is no answer.
        let _ = serve(&mut io::stdin().lock(), &mut io::stdout().lock());
        std::process::exit(0);
    }
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let Some(file) = take(input)? else { return Ok(()) };
    for (resource, most) in [(Resource::As, MEMORY + 20 * file.len() as u64), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let table = Table::parse(&file);
    let table =
        table.map_err(|error| error.to_string()).and_then(|table| table.ok_or("no strings".to_owned()));
    let locations = table.as_ref().ok().and_then(|table| table.get_locations(&file).ok());
    while let Some(frame) = take(input)? {
        let answer = match &table {
            Ok(table) => said(table, locations.as_ref(), &frame),
            Err(why) => Err(why.clone()),
        };
        let (first, text) = match &answer {
            Ok(text) => (1, text),
            Err(why) => (0, why),
        };
        put(output, &[&[first], text.as_bytes()].concat())?;
    }
    Ok(())
}

/// What a frame says.
fn said(table: &Table, locations: Option<&Locations>, frame: &[u8]) -> Result<String, String> {
    let mut decoder = table.new_stream_decoder();
    decoder.received(frame);
    decoder.received(&[0]);
    let frame = decoder.decode().map_err(|error| match error {
        DecodeError::UnexpectedEof => "it ends too early".to_owned(),
        DecodeError::Malformed => "it is malformed".to_owned(),
    })?;
    let mut text = String::new();
    if let Some(level) = frame.level() {
        let _ = write!(text, "{} ", level.as_str().to_uppercase());
    }
    let _ = write!(text, "{}", frame.display_message());
    if let Some(place) = locations.and_then(|locations| locations.get(&frame.index())) {
        let _ = write!(text, " ({}:{})", place.file.display(), place.line);
    }
    Ok(text)
}

/// Bytes that one side sends another.
fn put(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// As [`put`]; none at the end.
fn take(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    if let Err(error) = from.read_exact(&mut len) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let mut bytes = Vec::new();
    from.take(u32::from_le_bytes(len).into()).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
