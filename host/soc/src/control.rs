//! QEMU's control sockets: QMP, and qtest for interrupts.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Bytes of the longest line that is read.
const LINE: usize = 1 << 20;
/// Lines that nobody asked for and that are read at a time.
const UNASKED: usize = 64;

/// QEMU went, or says what it never should.
#[derive(Debug, thiserror::Error)]
#[error("QEMU: {0}")]
pub(crate) struct Lost(pub(crate) String);

#[derive(Debug)]
pub(crate) struct Control {
    qmp: BufReader<UnixStream>,
    /// The part of QMP's next line that came.
    line: Vec<u8>,
    /// The machine was reset since that was looked at last.
    was_reset: bool,
    qtest: UnixStream,
    /// Orders of qtest that were not answered yet.
    orders: usize,
    /// The path of the interrupt controller in QEMU's tree of objects.
    controller: String,
}

impl Control {
    /// Connects to both sockets, which come in their own time. `controller` is the type of the interrupt controller.
    pub(crate) fn open(
        folder: &Path,
        controller: &str,
        alive: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Lost> {
        let qmp = connect(&folder.join("qmp"), alive)?;
        let qtest = connect(&folder.join("qtest"), alive)?;
        // Its answers are read whenever there are any, and never waited for.
        qtest.set_nonblocking(true).map_err(lost)?;
        qmp.set_read_timeout(Some(ANSWER)).map_err(lost)?;
        let qmp = BufReader::new(qmp);
        let mut control =
            Self { qmp, line: Vec::new(), was_reset: false, qtest, orders: 0, controller: String::new() };
        control.answer()?;
        control.ask("qmp_capabilities", &Value::Null)?;
        let objects = control.ask("qom-list", &json!({ "path": "/machine/unattached" }))?;
        let is_it = |object: &&Value| object["type"] == format!("child<{controller}>");
        let name = objects.as_array().and_then(|all| all.iter().find(is_it));
        let name = name.and_then(|object| object["name"].as_str());
        let name = name.ok_or_else(|| Lost(format!("it has no interrupt controller {controller}")))?;
        control.controller = format!("/machine/unattached/{name}");
        Ok(control)
    }

    /// Lets the machine run.
    pub(crate) fn run(&mut self) -> Result<(), Lost> {
        self.ask("cont", &Value::Null).map(drop)
    }

    /// Holds the machine.
    pub(crate) fn hold(&mut self) -> Result<(), Lost> {
        self.ask("stop", &Value::Null).map(drop)
    }

    /// Resets a machine that is held, its memory but for the device tree excepted.
    pub(crate) fn reset(&mut self) -> Result<(), Lost> {
        // Whatever was said of earlier resets is read with its answer.
        self.ask("query-status", &Value::Null)?;
        self.was_reset = false;
        self.ask("system_reset", &Value::Null)?;
        while !self.was_reset {
            self.answer()?;
        }
        Ok(())
    }

    /// Raises an interrupt for a moment.
    pub(crate) fn pulse(&mut self, interrupt: u32) -> Result<(), Lost> {
        let both = self.level(interrupt, 1) + &self.level(interrupt, 0);
        self.order(&both)
    }

    /// Raises an interrupt, and leaves it at that.
    pub(crate) fn raise(&mut self, interrupt: u32) -> Result<(), Lost> {
        self.order(&self.level(interrupt, 1))
    }

    /// Has the machine itself write bytes to its memory. Where code was, and only then, it forgets what it has made of it:
    /// what others write to its memory it does not see.
    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Lost> {
        let mut line = format!("write {at:#x} {:#x} 0x", bytes.len());
        for byte in bytes {
            line.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        line.push('\n');
        self.order(&line)
    }

    /// Waits until all orders of qtest are done.
    pub(crate) fn settle(&mut self) -> Result<(), Lost> {
        let end = Instant::now() + ANSWER;
        loop {
            self.drain()?;
            if self.orders == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Lost(format!("no answer within {ANSWER:?}")));
            }
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn level(&self, interrupt: u32, level: u32) -> String {
        format!("set_irq_in {} unnamed-gpio-in {interrupt} {level}\n", self.controller)
    }

    fn order(&mut self, lines: &str) -> Result<(), Lost> {
        self.drain()?;
        self.orders += lines.lines().count();
        let mut rest = lines.as_bytes();
        let end = Instant::now() + ANSWER;
        while !rest.is_empty() {
            match self.qtest.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
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
                Ok(0) => return Err(ended()),
                Ok(len) if answers[..len].windows(4).any(|word| word == b"FAIL") => {
                    return Err(Lost("it does not follow an order of qtest".to_owned()));
                }
                Ok(len) => {
                    let answered = answers[..len].iter().filter(|byte| **byte == b'\n').count();
                    self.orders = self.orders.saturating_sub(answered);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Reads what QMP says unasked, for QEMU keeps it until then: a machine may reset itself as often as it likes.
    pub(crate) fn listen(&mut self) -> Result<(), Lost> {
        self.qmp.get_ref().set_nonblocking(true).map_err(lost)?;
        let mut heard = Ok(());
        for _ in 0..UNASKED {
            match self.line() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(lost) => {
                    heard = Err(lost);
                    break;
                }
            }
        }
        self.qmp.get_ref().set_nonblocking(false).map_err(lost)?;
        heard
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, Lost> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        self.qmp.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(lost)?;
        loop {
            let line = self.answer()?;
            if let Some(error) = line.get("error") {
                return Err(Lost(format!("{command}: {}", error["desc"])));
            }
            if let Some(answer) = line.get("return") {
                return Ok(answer.clone());
            }
        }
    }

    /// The next line, which comes soon.
    fn answer(&mut self) -> Result<Value, Lost> {
        self.line()?.ok_or_else(|| Lost(format!("no answer within {ANSWER:?}")))
    }

    /// The next line, if it came within the stream's patience.
    fn line(&mut self) -> Result<Option<Value>, Lost> {
        let room = LINE.saturating_sub(self.line.len()) as u64;
        match (&mut self.qmp).take(room).read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) if self.line.len() < LINE => return Err(ended()),
            Ok(_) => return Err(Lost("it says more than fits into a line".to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(lost(error)),
        }
        let line = std::mem::take(&mut self.line);
        let value: Value = serde_json::from_slice(&line)
            .map_err(|error| Lost(format!("it says {:?}: {error}", String::from_utf8_lossy(&line))))?;
        self.was_reset |= value["event"] == "RESET";
        Ok(Some(value))
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
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => ended(),
        _ => Lost(error.to_string()),
    }
}

fn ended() -> Lost {
    Lost("it ended".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control over one who says this on QMP at once, and what it is told on qtest.
    fn control(says: &str) -> (Control, UnixStream, UnixStream) {
        let (qmp, mut theirs) = UnixStream::pair().unwrap();
        let (qtest, their_qtest) = UnixStream::pair().unwrap();
        qmp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        qtest.set_nonblocking(true).unwrap();
        theirs.write_all(says.as_bytes()).unwrap();
        let qmp = BufReader::new(qmp);
        let controller = "/pic".to_owned();
        let control = Control { qmp, line: Vec::new(), was_reset: false, qtest, orders: 0, controller };
        (control, theirs, their_qtest)
    }

    #[test]
    fn a_reset_is_over_when_it_is_said_to_be() {
        let says = "{\"event\": \"RESET\"}\n{\"return\": {}}\n{\"return\": {}}\n{\"event\": \"RESET\"}\n";
        let (mut control, _theirs, _) = control(says);
        control.reset().unwrap();
        // An earlier one does not count.
        let (mut control, _theirs, _) = super::tests::control(says.rsplit_once("{\"ev").unwrap().0);
        assert_eq!(control.reset().unwrap_err().to_string(), "QEMU: no answer within 20s");
    }

    #[test]
    fn a_line_may_come_in_pieces_and_nonsense_is_told() {
        let (mut control, mut theirs, _) = control("{\"event\": \"X\"}\n{\"ret");
        control.listen().unwrap();
        theirs.write_all(b"urn\": 1}\n").unwrap();
        assert_eq!(control.ask("a", &Value::Null).unwrap(), 1);
        theirs.write_all(b"hello\n").unwrap();
        assert!(control.listen().unwrap_err().to_string().contains("hello"));
        drop(theirs);
        assert_eq!(control.listen().unwrap_err().to_string(), "QEMU: it ended");
    }

    #[test]
    fn interrupts_are_orders_of_qtest_whose_answers_are_read() {
        let (mut control, _theirs, mut qtest) = control("");
        qtest.write_all(b"OK\n").unwrap();
        control.pulse(7).unwrap();
        control.raise(8).unwrap();
        let mut said = [0; 200];
        let len = qtest.read(&mut said).unwrap();
        let line = |interrupt, level| format!("set_irq_in /pic unnamed-gpio-in {interrupt} {level}\n");
        assert_eq!(str::from_utf8(&said[..len]).unwrap(), line(7, 1) + &line(7, 0) + &line(8, 1));
        qtest.write_all(b"FAIL Unknown device\n").unwrap();
        assert_eq!(control.drain().unwrap_err().to_string(), "QEMU: it does not follow an order of qtest");
        assert_eq!(control.orders, 3);
        // Answers may come in pieces.
        let (mut control, _theirs, mut qtest) = super::tests::control("");
        control.raise(8).unwrap();
        qtest.write_all(b"OK\nO").unwrap();
        let answer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            qtest.write_all(b"K\n").unwrap();
            let len = qtest.read(&mut said).unwrap();
            (said[..len].to_vec(), qtest)
        });
        control.write(0x9000_0000, &[0x0f, 0xa5]).unwrap();
        control.settle().unwrap();
        let (said, qtest) = answer.join().unwrap();
        assert!(said.ends_with(b"write 0x90000000 0x2 0x0fa5\n"));
        drop(qtest);
        assert_eq!(control.drain().unwrap_err().to_string(), "QEMU: it ended");
    }
}
