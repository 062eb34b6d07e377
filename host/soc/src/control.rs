//! QEMU's control sockets: QMP, and qtest for interrupts.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// QEMU went, or says what it never should.
#[derive(Debug, thiserror::Error)]
#[error("QEMU: {0}")]
pub(crate) struct Lost(pub(crate) String);

#[derive(Debug)]
pub(crate) struct Control {
    qmp: BufReader<UnixStream>,
    qtest: UnixStream,
    /// The path of the interrupt controller in QEMU's tree of objects.
    gic: String,
}

impl Control {
    /// Connects to both sockets, which come in their own time.
    pub(crate) fn open(folder: &Path, alive: &mut dyn FnMut() -> bool) -> Result<Self, Lost> {
        let qmp = connect(&folder.join("qmp"), alive)?;
        let qtest = connect(&folder.join("qtest"), alive)?;
        // Its answers are read whenever there are any, and never waited for.
        qtest.set_nonblocking(true).map_err(lost)?;
        qmp.set_read_timeout(Some(ANSWER)).map_err(lost)?;
        let mut control = Self { qmp: BufReader::new(qmp), qtest, gic: String::new() };
        control.line()?;
        control.ask("qmp_capabilities", &Value::Null)?;
        let objects = control.ask("qom-list", &json!({ "path": "/machine/unattached" }))?;
        let is_gic = |object: &&Value| object["type"] == "child<arm_gic>";
        let name =
            objects.as_array().and_then(|all| all.iter().find(is_gic)).and_then(|gic| gic["name"].as_str());
        let name = name.ok_or_else(|| Lost("it has no interrupt controller".to_owned()))?;
        control.gic = format!("/machine/unattached/{name}");
        Ok(control)
    }

    /// Lets the machine run.
    pub(crate) fn run(&mut self) -> Result<(), Lost> {
        self.ask("cont", &Value::Null).map(drop)
    }

    /// Raises a shared interrupt for a moment.
    pub(crate) fn pulse(&mut self, interrupt: u32) -> Result<(), Lost> {
        let line = |level: u32| format!("set_irq_in {} unnamed-gpio-in {interrupt} {level}\n", self.gic);
        let both = line(1) + &line(0);
        self.drain()?;
        let mut rest = both.as_bytes();
        let end = Instant::now() + ANSWER;
        while !rest.is_empty() {
            match self.qtest.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < end => {
                    self.drain()?;
                    thread::sleep(Duration::from_micros(50));
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// Reads the answers of qtest, for unread ones hold QEMU up.
    pub(crate) fn drain(&mut self) -> Result<(), Lost> {
        let mut answers = [0; 4096];
        loop {
            match self.qtest.read(&mut answers) {
                Ok(0) => return Err(Lost("it ended".to_owned())),
                Ok(len) if answers[..len].windows(4).any(|word| word == b"FAIL") => {
                    return Err(Lost("it knows no such interrupt".to_owned()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, Lost> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        self.qmp.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
        loop {
            let line = self.line()?;
            if let Some(error) = line.get("error") {
                return Err(Lost(format!("{command}: {}", error["desc"])));
            }
            if let Some(answer) = line.get("return") {
                return Ok(answer.clone());
            }
        }
    }

    fn line(&mut self) -> Result<Value, Lost> {
        let mut line = String::new();
        let len = (&mut self.qmp).take(1 << 20).read_line(&mut line).map_err(lost)?;
        match len {
            0 => Err(Lost("it ended".to_owned())),
            _ => serde_json::from_str(&line).map_err(|error| Lost(format!("it says {line:?}: {error}"))),
        }
    }
}

fn connect(path: &Path, alive: &mut dyn FnMut() -> bool) -> Result<UnixStream, Lost> {
    let end = Instant::now() + ANSWER;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if !alive() || Instant::now() > end => return Err(lost(error)),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn lost(error: std::io::Error) -> Lost {
    Lost(error.to_string())
}
