//! Logs in the systemd journal, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a datagram a line,
//! of fields `NAME=value`.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::{Record, What};

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal, as the log of one remote.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    remote: String,
    missed: u64,
}

/// Priorities of syslog(3).
const WARNING: u8 = 4;
const INFO: u8 = 6;

impl Journal {
    /// The journal that listens at this path, for the remote of this name.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(socket: &Path, remote: &str) -> io::Result<Journal> {
        let connected = UnixDatagram::unbound()?;
        connected.connect(socket)?;
        // Firmware never waits for its log, nor do we.
        connected.set_nonblocking(true)?;
        Ok(Journal { socket: connected, remote: remote.to_owned(), missed: 0 })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The journal does not take it, which is counted, and told with the next one that it takes.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let written = self.send(record);
        match written {
            Ok(()) => self.missed = 0,
            Err(_) => self.missed += 1,
        }
        written
    }

    fn send(&self, record: &Record) -> io::Result<()> {
        let (message, priority) = match &record.what {
            What::Text(text) => (text.clone(), INFO),
            What::Frame(_) | What::Lost(_) | What::Note(_) => {
                (record.what.to_string().trim_start().to_owned(), WARNING)
            }
        };
        let mut fields = vec![
            ("MESSAGE", message),
            ("PRIORITY", priority.to_string()),
            ("SYSLOG_IDENTIFIER", format!("sidecore/{}", self.remote)),
            ("SYSLOG_TIMESTAMP", format!("{:.6}", record.time)),
            ("SIDECORE_REMOTE", self.remote.clone()),
            ("SIDECORE_TRACE", record.trace.clone()),
        ];
        if let What::Lost(bytes) = record.what {
            fields.push(("SIDECORE_LOST", bytes.to_string()));
        }
        if self.missed > 0 {
            fields.push(("SIDECORE_MISSED", self.missed.to_string()));
        }
        let mut datagram = Vec::new();
        for (name, value) in fields {
            put(&mut datagram, name, &value);
        }
        self.socket.send(&datagram).map(drop)
    }
}

/// Appends a field; a value with ends of lines is told by its length.
fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::trace::{Line, Lost};

    use super::*;

    fn received(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let len = listener.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_line_is_a_datagram_of_fields() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        assert!(Journal::open(&path, "radio").is_err());
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path, "radio").unwrap();
        let record = Record::of("trace0", &Line::Text("hello = world".into()));
        journal.write(&record).unwrap();
        let stamp = format!("{:.6}", record.time);
        assert_eq!(
            received(&listener),
            format!(
                "MESSAGE=hello = world\nPRIORITY=6\nSYSLOG_IDENTIFIER=sidecore/radio\nSYSLOG_TIMESTAMP={stamp}\n\
                 SIDECORE_REMOTE=radio\nSIDECORE_TRACE=trace0\n"
            )
        );
        journal.write(&Record::of("trace0", &Line::Lost(Lost::Bytes(7)))).unwrap();
        let lost = received(&listener);
        assert!(lost.starts_with("MESSAGE=-- 7 bytes lost --\nPRIORITY=4\n"), "{lost}");
        assert!(lost.ends_with("SIDECORE_LOST=7\n"), "{lost}");
    }

    #[test]
    fn a_journal_that_takes_no_more_costs_its_lines_and_says_how_many() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path, "radio").unwrap();
        let record = Record::note("text");
        let mut taken = 0;
        while journal.write(&record).is_ok() {
            taken += 1;
        }
        assert!(journal.write(&record).is_err());
        (0..taken).for_each(|_| drop(received(&listener)));
        journal.write(&record).unwrap();
        assert!(received(&listener).ends_with("SIDECORE_MISSED=2\n"));
        journal.write(&record).unwrap();
        assert!(!received(&listener).contains("MISSED"));
    }

    #[test]
    fn values_of_several_lines_are_told_by_their_length() {
        let mut datagram = Vec::new();
        put(&mut datagram, "MESSAGE", "a\nb");
        assert_eq!(datagram, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
