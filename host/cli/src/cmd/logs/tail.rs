//! A log on disk, read from its oldest line on and followed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sidecore_backends::log::Record;

/// Bytes of a line that are read; a log has none that are longer.
const LINE: u64 = 64 << 10;

/// Reads the lines of a log, and of the one before it, and those that come.
pub(in crate::cmd) struct Tail {
    from: From,
    /// The file that is read, and how far.
    file: Option<(BufReader<File>, u64)>,
}

/// Where the file of the day is.
enum From {
    Path(PathBuf),
    /// Whoever keeps the log has it, and when he was asked last.
    Keeper(Box<dyn FnMut() -> io::Result<File>>, Instant),
}

/// How often a keeper is asked whether a new file was begun.
const ASKING: Duration = Duration::from_secs(1);

impl Tail {
    pub(in crate::cmd) fn new(path: PathBuf) -> Self {
        Self { from: From::Path(path), file: None }
    }

    /// Of a log that somebody else opens for us.
    pub(in crate::cmd) fn kept(open: impl FnMut() -> io::Result<File> + 'static) -> Self {
        Self { from: From::Keeper(Box::new(open), Instant::now()), file: None }
    }

    /// Whether there was no file at the last look.
    pub(in crate::cmd) fn is_missing(&self) -> bool {
        self.file.is_none()
    }

    /// Gives all lines that are there and were not given. What is no line of a log is left out.
    pub(in crate::cmd) fn read(&mut self, take: &mut dyn FnMut(Record)) -> io::Result<()> {
        if self.file.is_none() {
            if let From::Path(path) = &self.from
                && let Some((mut older, _)) = open(&older(path))?
            {
                drain(&mut older, &mut 0, take)?;
            }
            self.file = self.from.open()?;
        }
        loop {
            let Some((file, at)) = &mut self.file else { return Ok(()) };
            let is_whole = file.get_ref().metadata()?.len() >= *at;
            if is_whole {
                drain(file, at, take)?;
            }
            let ours = file.get_ref().metadata()?;
            let Some((device, number, new)) = self.from.current()? else { return Ok(()) };
            if is_whole && (device, number) == (ours.dev(), ours.ino()) {
                return Ok(());
            }
            // A new one was begun, and nothing more comes to the old one; or somebody emptied it.
            drain(file, at, take)?;
            self.file = match new {
                Some(new) => Some((BufReader::new(new), 0)),
                None => self.from.open()?,
            };
        }
    }
}

/// Device and number of the file of the day, and itself where that was opened to know them.
type Current = (u64, u64, Option<File>);

impl From {
    fn open(&mut self) -> io::Result<Option<(BufReader<File>, u64)>> {
        match self {
            Self::Path(path) => open(path),
            Self::Keeper(open, _) => open().map(|file| Some((BufReader::new(file), 0))),
        }
    }

    /// Which file is the day's; `None`: none, or it is not known now.
    fn current(&mut self) -> io::Result<Option<Current>> {
        match self {
            Self::Path(path) => match std::fs::symlink_metadata(path) {
                Ok(there) => Ok(Some((there.dev(), there.ino(), None))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Keeper(_, asked) if asked.elapsed() < ASKING => Ok(None),
            Self::Keeper(open, asked) => {
                *asked = Instant::now();
                let file = open()?;
                let there = file.metadata()?;
                Ok(Some((there.dev(), there.ino(), Some(file))))
            }
        }
    }
}

/// What a log's limit had put aside.
fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn open(path: &Path) -> io::Result<Option<(BufReader<File>, u64)>> {
    // A pipe of that name would keep us waiting.
    let opened = File::options().read(true).custom_flags(nonblocking()).open(path);
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(Some((BufReader::new(file), 0))),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// Gives the whole lines from `at` on, and leaves it behind the last one.
fn drain(file: &mut BufReader<File>, at: &mut u64, take: &mut dyn FnMut(Record)) -> io::Result<()> {
    file.seek(SeekFrom::Start(*at))?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let len = file.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") && (len as u64) < LINE {
            // It is being written, or the file ends so.
            return Ok(());
        }
        *at += len as u64;
        let text = String::from_utf8_lossy(&line);
        Record::parse(text.trim_end_matches('\n')).into_iter().for_each(&mut *take);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn texts(tail: &mut Tail) -> Vec<String> {
        let mut texts = Vec::new();
        tail.read(&mut |record| texts.push(record.what.to_string())).unwrap();
        texts
    }

    fn append(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    const STAMP: &str = "2026-11-21T20:15:00.123456Z";

    #[test]
    fn lines_are_given_once_across_a_change_of_files() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("radio.log");
        let mut tail = Tail::new(path.clone());
        assert!(texts(&mut tail).is_empty(), "there is none yet");
        append(&older(&path), &format!("{STAMP} t: 1\n"));
        append(&path, &format!("{STAMP} t: 2\n{STAMP} t: 3"));
        assert_eq!(texts(&mut tail), [": 1", ": 2"]);
        append(&path, &format!(" and\n{STAMP} t: 4\n"));
        assert_eq!(texts(&mut tail), [": 3 and", ": 4"]);
        assert!(texts(&mut tail).is_empty());
        // As the writer does at its limit.
        append(&path, &format!("{STAMP} t: 5\n"));
        fs::rename(&path, older(&path)).unwrap();
        assert_eq!(texts(&mut tail), [": 5"]);
        append(&older(&path), &format!("{STAMP} t: 6\n"));
        append(&path, &format!("{STAMP} t: 7\n"));
        assert_eq!(texts(&mut tail), [": 6", ": 7"]);
        File::create(&path).unwrap();
        assert!(texts(&mut tail).is_empty());
        append(&path, &format!("{STAMP} t: 8\n"));
        assert_eq!(texts(&mut tail), [": 8"]);
    }

    #[test]
    fn a_log_that_somebody_else_opens_is_followed_to_his_next_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("radio.log");
        append(&path, &format!("{STAMP} t: 1\n"));
        let opened = path.clone();
        let mut tail = Tail::kept(move || File::open(&opened));
        assert_eq!(texts(&mut tail), [": 1"]);
        append(&path, &format!("{STAMP} t: 2\n"));
        fs::rename(&path, older(&path)).unwrap();
        append(&path, &format!("{STAMP} t: 3\n"));
        let mut said = texts(&mut tail);
        let begin = Instant::now();
        while said.len() < 2 && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(50));
            said.extend(texts(&mut tail));
        }
        assert_eq!(said, [": 2", ": 3"]);
        fs::remove_file(&path).unwrap();
        std::thread::sleep(ASKING);
        assert!(tail.read(&mut |_| ()).is_err(), "he who keeps it is gone");
    }

    #[test]
    fn what_is_no_line_of_a_log_is_left_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("radio.log");
        fs::write(&path, [&[0xFF, b'\n', b'\n'][..], &vec![b'x'; 200_000], b"\n"].concat()).unwrap();
        append(&path, &format!("{STAMP} t: text\n"));
        let mut tail = Tail::new(path);
        assert_eq!(texts(&mut tail), [": text"]);
        fs::create_dir(place.path().join("folder.log")).unwrap();
        let error = Tail::new(place.path().join("folder.log")).read(&mut |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "it is no file");
    }
}
