//! The emulator's debug port: the remote protocol of GDB (its manual, appendix "Remote Protocol"), as far as a loader and
//! a crash report need it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::stream::{Broken, Stream};
use super::trouble::Trouble;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// Bytes of memory in a packet: QEMU takes packets of 4096 characters.
const CHUNK: usize = 1920;
/// Bytes of the longest answer: registers of any core, twice as many digits, and room.
const ANSWER: usize = 64 << 10;

/// A connection to the debug port of a halted machine.
#[derive(Debug)]
pub(super) struct DebugPort {
    stream: Stream,
    buffer: Vec<u8>,
}

impl DebugPort {
    /// Speaks over this connection.
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Writes to the machine's memory, as the core sees it.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Trouble> {
        let mut at = at;
        for chunk in bytes.chunks(CHUNK) {
            let digits: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let answer = self.ask(&format!("M{at:x},{:x}:{digits}", chunk.len()))?;
            if answer != b"OK" {
                let text = String::from_utf8_lossy(&answer).into_owned();
                return Err(Trouble::Refused(format!("to write {} bytes at {at:#x}: {text}", chunk.len())));
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// The general registers of the first core, as its description lists them; of that of a process other than the
    /// first where the machine has several.
    pub(super) fn registers(&mut self, process: Option<u32>) -> Result<Vec<u8>, Trouble> {
        if let Some(process) = process {
            self.ask("qSupported:multiprocess+")?;
            // Its answer is why the process has stopped.
            self.tell(&format!("vAttach;{process:x}"))?;
            self.ask(&format!("Hgp{process:x}.0"))?;
        }
        // QEMU knows the order of the registers only once somebody has read the description.
        self.ask("qXfer:features:read:target.xml:0,ffb")?;
        let answer = self.ask("g")?;
        let digits = std::str::from_utf8(&answer).ok().filter(|text| text.is_ascii());
        let pairs = digits.map(|digits| digits.as_bytes().chunks_exact(2));
        let bytes = pairs.and_then(|pairs| {
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            pairs.map(byte).collect()
        });
        bytes.ok_or_else(|| Trouble::Nonsense("registers that are no numbers".into()))
    }

    /// Throws away what the machine says by itself; whether the port is still there. Never waits.
    pub(super) fn drain(&mut self) -> Result<(), Trouble> {
        self.buffer.clear();
        let mut some = [0; 4096];
        while self.stream.take(&mut some)? == some.len() {}
        Ok(())
    }

    /// The connection, for a debugger to go on with.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.stream.into_fd()
    }

    /// Sends a packet; the answer to it, which is no report.
    fn ask(&mut self, packet: &str) -> Result<Vec<u8>, Trouble> {
        let deadline = self.send(packet)?;
        loop {
            let answer = self.answer(deadline)?;
            // That it stopped or ended it says whenever it does.
            if !matches!(answer.first(), Some(b'T' | b'S' | b'W' | b'X')) {
                return Ok(answer);
            }
        }
    }

    /// Sends a packet that is answered with a report.
    fn tell(&mut self, packet: &str) -> Result<(), Trouble> {
        let deadline = self.send(packet)?;
        self.answer(deadline).map(drop)
    }

    fn send(&mut self, packet: &str) -> Result<Instant, Trouble> {
        self.drain()?;
        let deadline = Instant::now() + ANSWER_TIME;
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.stream.send(format!("${packet}#{sum:02x}").as_bytes(), deadline)?;
        Ok(deadline)
    }

    fn answer(&mut self, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        let answer = self.packet(deadline)?;
        self.stream.send(b"+", deadline)?;
        Ok(answer)
    }

    /// The next packet: between `$` and `#`, then two digits of a sum that a socket makes superfluous.
    fn packet(&mut self, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Some(start) = self.buffer.iter().position(|byte| *byte == b'$') {
                self.buffer.drain(..start);
                let end = self.buffer.iter().position(|byte| *byte == b'#');
                if let Some(end) = end.filter(|end| end + 2 < self.buffer.len()) {
                    let packet: Vec<u8> = self.buffer.drain(..end + 3).collect();
                    return Ok(packet[1..end].to_vec());
                }
            }
            if self.buffer.len() > ANSWER {
                return Err(Trouble::Nonsense("a packet without end on its debug port".into()));
            }
            let mut some = [0; 4096];
            let len = self.stream.receive(&mut some, deadline).map_err(|broken| match broken {
                Broken::Late => Trouble::Late { what: "an answer of its debug port", within: ANSWER_TIME },
                Broken::Closed => Trouble::Closed,
            })?;
            self.buffer.extend_from_slice(&some[..len]);
        }
    }
}

impl AsFd for DebugPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A port that answers so, and what it was sent.
    fn with_port<T>(answer: &'static [u8], ask: impl FnOnce(&mut DebugPort) -> T) -> (T, Vec<u8>) {
        let (ours, theirs) = Stream::pair().unwrap();
        let answering = thread::spawn(move || {
            let mut sent = vec![0; 8192];
            let len = rustix::io::read(&theirs, &mut sent).unwrap();
            rustix::io::write(&theirs, answer).unwrap();
            sent.truncate(len);
            // Until the other end has what it wants.
            while rustix::io::read(&theirs, &mut [0; 16]).is_ok_and(|len| len > 0) {}
            sent
        });
        let mut port = DebugPort::new(ours);
        let result = ask(&mut port);
        drop(port);
        (result, answering.join().unwrap())
    }

    #[test]
    fn memory_is_written_in_packets_with_their_sum() {
        let (result, sent) = with_port(b"+$T05thread:01;#07+$OK#9a", |port| port.write(0x10, &[0xab, 1]));
        assert_eq!(result, Ok(()));
        assert_eq!(sent, b"$M10,2:ab01#6a");
    }

    #[test]
    fn refusals_and_nonsense_are_told_apart() {
        let (result, _) = with_port(b"+$E14#aa", |port| port.write(0x5000_0000, &[0]));
        assert_eq!(result, Err(Trouble::Refused("to write 1 bytes at 0x50000000: E14".into())));
        let (result, _) = with_port(b"+$", |port| {
            port.stream.send(b"?", Instant::now()).unwrap();
            port.packet(Instant::now() + Duration::from_millis(50))
        });
        assert!(matches!(result, Err(Trouble::Late { .. })), "{result:?}");
    }
}
