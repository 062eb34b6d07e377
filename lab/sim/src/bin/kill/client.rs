//! A main side that expects to be killed, and reports what it does before and after it does it.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sidecore_backends::sandbox::{Config, Lifetime, Sandbox};
use sidecore_processor::{Event, OpenError, Options, Processor, SendError};
use sidecore_remoteproc::Firmware;

/// What a client is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Start the remote.
    Start,
    /// Attach to it.
    Attach,
    /// Attach to it, talk for a moment, and detach from it.
    Leave,
    /// Attach to it, send nothing, take what there is, and stop it.
    End,
}

impl Mode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Attach => "attach",
            Self::Leave => "leave",
            Self::End => "end",
        }
    }
}

/// What a client knows at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was killed before it knew anything.
    Nothing,
    /// The remote is gone.
    Lost,
    /// It has detached from the remote, which runs on.
    Left,
    /// Nothing more came, and the remote is stopped.
    Quiet,
}

/// What a client reports: a byte and a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    Up { resumed: bool },
    Offered(u32),
    Accepted,
    Refused,
    Got { id: u32, again: bool },
    Released(u32),
    Told(Told),
}

impl Record {
    pub(crate) const SIZE: usize = 5;

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let (kind, number) = bytes.split_first().context("a record")?;
        let number = u32::from_le_bytes(number.try_into()?);
        Ok(match kind {
            b'U' => Self::Up { resumed: number != 0 },
            b'O' => Self::Offered(number),
            b'A' => Self::Accepted,
            b'F' => Self::Refused,
            b'G' => Self::Got { id: number, again: false },
            b'H' => Self::Got { id: number, again: true },
            b'R' => Self::Released(number),
            b'L' => Self::Told(Told::Lost),
            b'D' => Self::Told(Told::Left),
            b'Q' => Self::Told(Told::Quiet),
            other => bail!("no record begins with {other}"),
        })
    }

    /// One system call, so that a record is there or is not.
    fn write(self) -> Result<()> {
        let (kind, number) = match self {
            Self::Up { resumed } => (b'U', u32::from(resumed)),
            Self::Offered(id) => (b'O', id),
            Self::Accepted => (b'A', 0),
            Self::Refused => (b'F', 0),
            Self::Got { id, again } => (if again { b'H' } else { b'G' }, id),
            Self::Released(id) => (b'R', id),
            Self::Told(Told::Left) => (b'D', 0),
            Self::Told(Told::Quiet) => (b'Q', 0),
            Self::Told(_) => (b'L', 0),
        };
        let mut bytes = [kind; Self::SIZE];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        let mut out = std::io::stdout().lock();
        // The line buffer would keep what has no line's end.
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(())
    }
}

/// How long a client of [`Mode::End`] waits for more.
const QUIET: Duration = Duration::from_millis(400);
/// Turns of a client of [`Mode::Leave`].
const TURNS: u32 = 5;
const LONG: Duration = Duration::from_secs(20);

pub(crate) fn run(mode: &str, name: &str, folder: &str, image: &str, next: &str) -> Result<()> {
    let modes = [Mode::Start, Mode::Attach, Mode::Leave, Mode::End];
    let mode = modes.into_iter().find(|known| known.word() == mode).context("no such mode")?;
    let config = Config {
        name: Some(name.to_owned()),
        runtime_dir: Some(PathBuf::from(folder)),
        lifetime: Lifetime::Detached,
        ..Config::default()
    };
    let Some(processor) = up(mode, config, image)? else {
        return Record::Told(Told::Lost).write();
    };
    let resumed =
        std::iter::from_fn(|| processor.event()).any(|event| matches!(event, Event::DeviceResumed { .. }));
    Record::Up { resumed }.write()?;
    // On a link that began anew so do the numbers.
    let next = if resumed { next.parse()? } else { 0 };
    let told = talk(&processor, mode, next)?;
    let mut processor = processor;
    let done = match told {
        Told::Quiet => processor.stop(),
        Told::Left => processor.detach(),
        Told::Nothing | Told::Lost => Ok(()),
    };
    if done.is_err() && told == Told::Left {
        // Its warden may be killed at any moment.
        return Record::Told(Told::Lost).write();
    }
    done?;
    drop(processor);
    Record::Told(told).write()
}

/// The remote, or nothing where there is none any more.
fn up(mode: Mode, config: Config, image: &str) -> Result<Option<Processor<Sandbox>>> {
    let options = Options::new("kill");
    let begin = Instant::now();
    if mode == Mode::Start {
        let bytes = std::fs::read(image).with_context(|| image.to_owned())?;
        loop {
            // A client that was killed before it said so may have started it.
            match Sandbox::new(config.clone()) {
                Ok(sandbox) => {
                    let mut processor = Processor::new(sandbox, options);
                    // Its warden may be killed at any moment, too.
                    let started = processor.load(&Firmware::parse(&bytes)?).and_then(|()| processor.start());
                    return Ok(started.is_ok().then_some(processor));
                }
                Err(error) if begin.elapsed() > LONG => return Err(error.into()),
                Err(_) => {}
            }
            if let Ok(sandbox) = Sandbox::find(config.clone()) {
                let mut processor = Processor::detached(sandbox, options.clone());
                if processor.attach(None).is_ok() {
                    return Ok(Some(processor));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let Ok(sandbox) = Sandbox::find(config) else { return Ok(None) };
    let mut processor = Processor::detached(sandbox, options);
    // The warden may not have seen yet that its main side is gone.
    loop {
        match processor.attach(None) {
            Ok(()) => return Ok(Some(processor)),
            Err(error) if error.to_string().contains("is its main side") && begin.elapsed() < LONG => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(_) => return Ok(None),
        }
    }
}

fn talk(processor: &Processor<Sandbox>, mode: Mode, mut next: u32) -> Result<Told> {
    let endpoint = match processor.open("rpmsg-echo", LONG) {
        Ok(endpoint) => endpoint,
        Err(OpenError::Lost(_)) => return Ok(Told::Lost),
        Err(error) => return Err(error.into()),
    };
    let mut heard = Instant::now();
    for turn in 0.. {
        if mode == Mode::Leave && turn == TURNS {
            return Ok(Told::Left);
        }
        for _ in 0..if mode == Mode::End { 0 } else { 5 } {
            Record::Offered(next).write()?;
            match processor.try_send(endpoint, &next.to_le_bytes()) {
                Ok(()) => {
                    Record::Accepted.write()?;
                    next += 1;
                }
                Err(SendError::Full) => {
                    Record::Refused.write()?;
                    break;
                }
                Err(SendError::Lost(_)) => {
                    Record::Refused.write()?;
                    return Ok(Told::Lost);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut kept = Vec::new();
        for turn in 0..8 {
            let message = match processor.try_receive(endpoint) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return Ok(Told::Lost),
            };
            let mut id = [0; 4];
            message.read(0, &mut id)?;
            let id = u32::from_le_bytes(id);
            Record::Got { id, again: message.may_be_repeated() }.write()?;
            heard = Instant::now();
            if turn % 3 == 0 {
                kept.push((id, message));
            } else {
                drop(message);
                Record::Released(id).write()?;
            }
        }
        for (id, message) in kept.into_iter().rev() {
            drop(message);
            Record::Released(id).write()?;
        }
        if mode == Mode::End && heard.elapsed() > QUIET {
            return Ok(Told::Quiet);
        }
        processor.wait(Some(Duration::from_millis(1)));
    }
    Ok(Told::Nothing)
}
