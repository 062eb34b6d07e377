//! A log on disk: of bounded size, and never a reason to stop.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::Record;

/// Bytes of a log after which a new one is begun. The one before is kept, so twice as many lie on disk.
pub const LIMIT: u64 = 8 << 20;

/// The name of a remote's log, in the directory of logs.
#[must_use]
pub fn file_name(remote: &str) -> String {
    format!("{remote}.log")
}

/// A log that is written: `FILE`, and what came before it in `FILE.1`.
///
/// What cannot be written, for the disk is full or the file not ours, is counted, and told in the log as soon as it can be.
/// No line is written in part.
#[derive(Debug)]
pub struct LogFile {
    directory: OwnedFd,
    name: String,
    limit: u64,
    /// The file and its length, while it is open.
    file: Option<(File, u64)>,
    /// Lines that could not be written, and why the first one could not.
    missed: Option<(u64, String)>,
}

impl LogFile {
    /// A log of this name in a directory, continued if it is there. Nothing is opened before the first line.
    #[must_use]
    pub fn new(directory: OwnedFd, name: String, limit: u64) -> LogFile {
        LogFile { directory, name, limit, file: None, missed: None }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It cannot be written, and is counted as missed.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let missed = self.missed.as_ref().map(|(lines, why)| {
            Record::note(format_args!("{lines} lines could not be written: {why}")).to_string() + "\n"
        });
        let written = self.append(format!("{}{record}\n", missed.unwrap_or_default()).as_bytes());
        match &written {
            Ok(()) => self.missed = None,
            Err(error) => self.missed.get_or_insert((0, error.to_string())).0 += 1,
        }
        written
    }

    /// How many lines are missing at the end of the log, and why.
    #[must_use]
    pub fn missed(&self) -> Option<(u64, &str)> {
        self.missed.as_ref().map(|(lines, why)| (*lines, &**why))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut file, mut len) = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if len > 0 && len + bytes.len() as u64 > self.limit {
            let old = format!("{}.1", self.name);
            rustix::fs::renameat(&self.directory, &self.name, &self.directory, &old)?;
            (file, len) = self.open()?;
        }
        if let Err(error) = file.write_all(bytes) {
            // Not half a line. If that cannot be undone either, the reader skips it.
            let _ = file.set_len(len);
            return Err(error);
        }
        self.file = Some((file, len + bytes.len() as u64));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Without waiting for whoever might read a pipe of that name.
        let flags = flags | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(self.directory.as_fd(), &*self.name, flags, mode)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok((file, metadata.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::log::What;

    fn log(directory: &Path, limit: u64) -> LogFile {
        let directory = File::open(directory).unwrap().into();
        LogFile::new(directory, "radio.log".into(), limit)
    }

    fn texts(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let records = text.lines().map(|line| Record::parse(line).unwrap_or_else(|| panic!("{line:?}")));
        records.map(|record| record.what.to_string()).collect()
    }

    fn line(number: u32) -> Record {
        Record::now("trace0", What::Text(format!("line {number}")))
    }

    #[test]
    fn a_log_is_continued_and_begun_anew_at_its_limit() {
        let place = tempfile::tempdir().unwrap();
        let (now, before) = (place.path().join("radio.log"), place.path().join("radio.log.1"));
        log(place.path(), 1000).write(&line(0)).unwrap();
        let mut log = log(place.path(), 1000);
        for number in 1..100 {
            log.write(&line(number)).unwrap();
        }
        let lens = [&now, &before].map(|path| fs::metadata(path).unwrap().len());
        assert!(lens.iter().all(|len| (1..=1000).contains(len)), "{lens:?}");
        let kept = [texts(&before), texts(&now)].concat();
        let first = 100 - kept.len();
        assert!(kept.into_iter().eq((first..100).map(|number| format!(": line {number}"))));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_later() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("radio.log");
        fs::create_dir(&path).unwrap();
        let mut log = log(place.path(), 1000);
        assert!(log.write(&line(1)).is_err());
        assert!(log.write(&line(2)).is_err());
        assert_eq!(log.missed().map(|(lines, _)| lines), Some(2));
        fs::remove_dir(&path).unwrap();
        log.write(&line(3)).unwrap();
        assert_eq!(log.missed(), None);
        let texts = texts(&path);
        assert!(texts[0].starts_with(" -- 2 lines could not be written: "), "{texts:?}");
        assert_eq!(texts[1..], [": line 3"]);
    }

    #[test]
    fn a_full_disk_leaves_no_half_line() {
        // What writes beyond the limit of this size fails, as on a full disk.
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", place.path().join("radio.log")).unwrap();
        let mut log = log(place.path(), 1000);
        // A link is not followed, wherever it leads.
        assert!(log.write(&line(1)).is_err());
        assert!(log.file.is_none());
        let full = File::options().write(true).open("/dev/full").unwrap();
        log.file = Some((full, 0));
        let error = log.write(&line(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.missed().map(|(lines, _)| lines), Some(2));
    }
}
