extern crate std;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::string::String;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use embedded_io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use sidecore_services::file::server::Page;
use sidecore_services::{console, file};
use sidecore_wire::features::F_NS;

use crate::bench::{Bench, Main, run};
use crate::{Either, Error, Flags, Kind, LinkError, Remote, Stream, race};

/// Room for a payload in the bench's buffers.
const ROOM: usize = 112;

/// Messages of the main side that wait for a buffer.
#[derive(Default)]
struct Line {
    endpoint: Option<sidecore_rpmsg::Endpoint>,
    waiting: VecDeque<Vec<u8>>,
}

impl Line {
    /// Opens the channel once it was announced; gives what came on it.
    fn receive(&mut self, main: &mut Main, channel: &str) -> Vec<Vec<u8>> {
        if self.endpoint.is_none() {
            self.endpoint = main.probe(channel);
        }
        main.collect();
        main.received.drain(..).map(|(_, bytes)| bytes).collect()
    }

    fn flush(&mut self, main: &Main) {
        let (Some(host), Some(endpoint)) = (&main.host, self.endpoint) else { return };
        while let Some(message) = self.waiting.front() {
            if host.send(endpoint, message).is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// What a console's user saw.
#[derive(Default)]
struct Seen {
    out: Vec<u8>,
    err: Vec<u8>,
    code: Option<i32>,
}

/// A main side with a console: these arguments and this input, a window of so many bytes.
fn console(
    arguments: &[&str],
    input: &str,
    window: u32,
) -> (impl FnMut(&mut Main) + 'static, Rc<RefCell<Seen>>) {
    let mut block = Vec::new();
    for argument in arguments {
        console::Arguments::append(&mut block, argument.as_bytes()).unwrap();
    }
    let mut server = console::Server::new(block, window).unwrap();
    let (mut line, mut input) = (Line::default(), input.as_bytes().to_vec());
    let seen = Rc::new(RefCell::new(Seen::default()));
    let log = seen.clone();
    let script = move |main: &mut Main| {
        if main.host.is_none() {
            return main.start();
        }
        for message in line.receive(main, "sidecore-console") {
            let mut seen = log.borrow_mut();
            match server.receive(&message).unwrap() {
                console::server::Event::Output { stream, bytes } => {
                    let to = if stream == Stream::Out { &mut seen.out } else { &mut seen.err };
                    to.extend(bytes);
                    server.written(bytes.len());
                }
                console::server::Event::Exited { code } => seen.code = Some(code),
                _ => {}
            }
        }
        if line.endpoint.is_none() {
            return;
        }
        let mut out = [0; ROOM];
        while let Some(message) = server.poll(&mut out).unwrap() {
            line.waiting.push_back(message.to_vec());
        }
        if let Some(chunk) = server.input(&input, &mut out).unwrap() {
            line.waiting.push_back(chunk.message.to_vec());
            input.drain(..chunk.taken);
        }
        if input.is_empty()
            && let Some(message) = server.end_input(&mut out).unwrap()
        {
            line.waiting.push_back(message.to_vec());
        }
        line.flush(main);
    };
    (script, seen)
}

#[test]
fn a_console_prints_reads_knows_its_arguments_and_ends() {
    let input: String = (0..500).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    let long = "x".repeat(300);
    let arguments = ["one", "", long.as_str(), "four"];
    let (script, seen) = console(&arguments, &input, 100);
    let expected = input.clone();
    run(
        move |remote| {
            let connection = remote.connect().unwrap();
            let mut console = connection.console().wait().unwrap();
            let mut short = [0; 10];
            let error = console.arguments(&mut short).wait().unwrap_err();
            assert_eq!(error, Error::NoRoom { needed: 4 + 1 + 301 + 5, room: 10 });
            let mut memory = [0; 1024];
            let given = console.arguments(&mut memory).wait().unwrap();
            assert!(given.iter().eq(arguments.iter().map(|argument| argument.as_bytes())));

            let mut read: Vec<u8> = Vec::new();
            let mut piece = [0; 33];
            loop {
                match console.read(&mut piece).wait().unwrap() {
                    0 => break,
                    len => read.extend(&piece[..len]),
                }
            }
            assert_eq!(read, expected.as_bytes());
            assert_eq!(console.read(&mut piece).wait(), Ok(0));

            console.print(format_args!("{}-{:05}\n", "out", 7)).wait().unwrap();
            console.print_error("err").wait().unwrap();
            console.write(Stream::Out, &[0xFF, 0, b'\n']).wait().unwrap();
            console.exit(-3).wait().unwrap();
            connection.machine().pause(Duration::from_millis(20)).wait();
        },
        script,
    );
    let seen = seen.borrow();
    assert_eq!(seen.out, b"out-00007\n\xFF\0\n");
    assert_eq!((seen.err.as_slice(), seen.code), (&b"err"[..], Some(-3)));
}

#[test]
fn text_longer_than_any_buffer_arrives_whole() {
    let (script, seen) = console(&[], "", 64);
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut console = connection.console().wait().unwrap();
            for number in [1_u32, 511, 512, 513, 3000] {
                console.print(format_args!("<{:>1$}>", number, number as usize)).wait().unwrap();
            }
            console.write_all(b"the end\n").unwrap();
            connection.machine().pause(Duration::from_millis(50)).wait();
            console.exit(0).wait().unwrap();
            connection.machine().pause(Duration::from_millis(50)).wait();
        },
        script,
    );
    let mut expected = String::new();
    for number in [1_u32, 511, 512, 513, 3000] {
        expected += &std::format!("<{:>1$}>", number, number as usize);
    }
    expected += "the end\n";
    let seen = seen.borrow();
    assert_eq!(String::from_utf8(seen.out.clone()).unwrap(), expected);
    assert_eq!(seen.code, Some(0));
}

#[test]
fn a_console_that_nobody_serves_can_be_given_up() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            assert!(connection.console().within(Duration::from_millis(100)).wait().is_none());
        },
        |main| {
            if main.host.is_none() {
                main.start_with(F_NS);
            }
        },
    );
}

#[test]
fn a_message_that_breaks_the_rules_costs_nothing_but_itself() {
    let (mut script, seen) = console(&["a"], "", 1000);
    let mut turns = 0;
    run(
        |remote: Remote<'_, Bench>| {
            let connection = remote.connect().unwrap();
            let mut console = connection.console().wait().unwrap();
            let waiting = console.read(&mut [0; 4]).wait();
            assert_eq!(waiting, Ok(0));
            console.print("still here").wait().unwrap();
            connection.machine().pause(Duration::from_millis(20)).wait();
        },
        move |main| {
            turns += 1;
            if turns % 3 == 0
                && let Some(host) = &main.host
                && let Ok(rogue) = host.open(9999, sidecore_rpmsg::ADDR_ANY)
            {
                // The console's own endpoint at the remote is the first dynamic one.
                for nonsense in [&b""[..], b"\x80", b"\x82", &[0xFF; ROOM]] {
                    let _ = host.send_to(rogue, 1024, nonsense);
                }
                host.close(rogue);
            }
            script(main);
        },
    );
    assert_eq!(seen.borrow().out, b"still here");
}

#[test]
fn who_waits_for_input_may_be_asked_to_stop() {
    let (script, _) = console(&[], "x", 100);
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let machine = connection.machine();
            let mut console = connection.console().wait().unwrap();
            let (mut first, mut second) = ([0; 1], [0; 1]);
            assert_eq!(console.read(&mut first).wait(), Ok(1));
            let read = console.read(&mut second);
            let race = race(read, machine.pause(Duration::from_millis(5)));
            assert!(matches!(machine.block_on(race), Either::First(Ok(0)) | Either::Second(())));
        },
        script,
    );
}

/// Files in memory: names and contents, all in one directory.
#[derive(Default)]
struct Table(BTreeMap<Vec<u8>, Vec<u8>>);

impl file::Files for Table {
    type File = Vec<u8>;

    fn open(&mut self, path: file::Path<'_>, flags: Flags) -> Result<Vec<u8>, file::Error> {
        let name = path.as_bytes().to_vec();
        if flags.has(Flags::DIRECTORY) || flags.has(Flags::CREATE) {
            self.0.entry(name.clone()).or_default();
        }
        if self.0.contains_key(&name) { Ok(name) } else { Err(file::Error::NotFound) }
    }

    fn read_at(&mut self, file: &mut Vec<u8>, offset: u64, to: &mut [u8]) -> Result<usize, file::Error> {
        let rest = self.0[file].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(to.len());
        to[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, file: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> Result<usize, file::Error> {
        let contents = self.0.get_mut(file).unwrap();
        let end = offset as usize + bytes.len();
        contents.resize(contents.len().max(end), 0);
        contents[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn stat(&mut self, file: &mut Vec<u8>) -> Result<file::Info, file::Error> {
        Ok(file::Info { kind: Kind::File, size: self.0[file].len() as u64 })
    }

    fn sync(&mut self, _file: &mut Vec<u8>) -> Result<(), file::Error> {
        Ok(())
    }

    fn list(&mut self, _file: &mut Vec<u8>, position: u64, page: &mut Page<'_>) -> Result<(), file::Error> {
        for (number, name) in self.0.keys().enumerate().skip(position as usize) {
            let entry = file::Entry { next: number as u64 + 1, kind: Kind::File, name };
            if !page.push(&entry) {
                break;
            }
        }
        Ok(())
    }

    fn stat_path(&mut self, path: file::Path<'_>) -> Result<file::Info, file::Error> {
        let contents = self.0.get(path.as_bytes()).ok_or(file::Error::NotFound)?;
        Ok(file::Info { kind: Kind::File, size: contents.len() as u64 })
    }

    fn remove(&mut self, path: file::Path<'_>) -> Result<(), file::Error> {
        self.0.remove(path.as_bytes()).map(|_| ()).ok_or(file::Error::NotFound)
    }

    fn rename(&mut self, from: file::Path<'_>, to: file::Path<'_>) -> Result<(), file::Error> {
        let contents = self.0.remove(from.as_bytes()).ok_or(file::Error::NotFound)?;
        self.0.insert(to.as_bytes().to_vec(), contents);
        Ok(())
    }

    fn make_directory(&mut self, _path: file::Path<'_>) -> Result<(), file::Error> {
        Err(file::Error::ReadOnly)
    }
}

fn files() -> impl FnMut(&mut Main) + 'static {
    let mut server = file::Server::<_, 4>::new(Table::default());
    let mut line = Line::default();
    let mut greeted = false;
    move |main| {
        if main.host.is_none() {
            return main.start();
        }
        let mut out = vec![0; ROOM];
        for message in line.receive(main, "sidecore-file") {
            if let Some(answer) = server.answer(&message, &mut out).unwrap() {
                line.waiting.push_back(answer.to_vec());
            }
        }
        if line.endpoint.is_some() && !greeted {
            greeted = true;
            line.waiting.push_back(server.hello(&mut out).unwrap().to_vec());
        }
        line.flush(main);
    }
}

#[test]
fn files_are_written_read_listed_and_removed() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut files = connection.files().wait().unwrap();
            let bytes: Vec<u8> = (0..1000_u32).map(|i| (i * 7) as u8).collect();
            let handle = files.open(b"a", Flags::WRITE | Flags::READ | Flags::CREATE).wait().unwrap();
            files.write(handle, 0, &bytes).wait().unwrap();
            assert_eq!(files.info(handle).wait().unwrap().size, 1000);
            files.sync(handle).wait().unwrap();

            let mut read: Vec<u8> = Vec::new();
            let mut piece = [0; 200];
            loop {
                match files.read(handle, read.len() as u64, &mut piece).wait().unwrap() {
                    0 => break,
                    len => read.extend(&piece[..len]),
                }
            }
            assert_eq!(read, bytes);
            files.close(handle).wait().unwrap();
            let closed = files.read(handle, 0, &mut piece).wait();
            assert_eq!(closed, Err(Error::File(file::Error::BadHandle)));

            files.rename(b"a", b"b").wait().unwrap();
            assert_eq!(files.info_at(b"b").wait().unwrap().size, 1000);
            assert_eq!(files.info_at(b"a").wait(), Err(Error::File(file::Error::NotFound)));
            assert_eq!(files.make_directory(b"d").wait(), Err(Error::File(file::Error::ReadOnly)));
            files.remove(b"b").wait().unwrap();
            let missing = files.open(b"b", Flags::READ).wait();
            assert_eq!(missing, Err(Error::File(file::Error::NotFound)));
        },
        files(),
    );
}

#[test]
fn a_directory_is_listed_in_as_many_pieces_as_it_takes() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut files = connection.files().wait().unwrap();
            let directory = files.open(b".", Flags::READ | Flags::DIRECTORY).wait().unwrap();
            for number in 0..30 {
                let name = std::format!("file-{number:03}");
                let handle = files.open(name.as_bytes(), Flags::WRITE | Flags::CREATE).wait().unwrap();
                files.close(handle).wait().unwrap();
            }
            let mut names = Vec::new();
            let mut position = 0;
            while let Some(next) = {
                let each = |entry: crate::Entry<'_>| names.push(entry.name.to_vec());
                files.list(directory, position, each).wait().unwrap()
            } {
                position = next;
            }
            assert_eq!((names.len(), names[1].as_slice()), (31, &b"file-000"[..]));
        },
        files(),
    );
}

#[test]
fn a_file_is_a_reader_and_writer_with_a_position() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut files = connection.files().wait().unwrap();
            let handle = files.open(b"f", Flags::WRITE | Flags::READ | Flags::CREATE).wait().unwrap();
            let mut file = files.file(handle);
            file.write_all(b"hello world").unwrap();
            file.flush().unwrap();
            assert_eq!(file.seek(SeekFrom::End(-5)), Ok(6));
            let mut word = [0; 5];
            file.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"world");
            assert_eq!(file.seek(SeekFrom::Current(-11)), Ok(0));
            let error = file.seek(SeekFrom::Current(-1)).unwrap_err();
            assert_eq!(
                (error, embedded_io::Error::kind(&error)),
                (Error::BadPosition, ErrorKind::InvalidInput)
            );
        },
        files(),
    );
}

#[test]
fn paths_that_break_a_rule_are_refused_here() {
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut files = connection.files().wait().unwrap();
            for path in [&b""[..], b"/etc/passwd", b"a/../../b", b"a\0b"] {
                assert!(matches!(files.open(path, Flags::READ).wait(), Err(Error::Path(_))), "{path:?}");
                assert!(matches!(files.remove(path).wait(), Err(Error::Path(_))));
                assert!(matches!(files.rename(b"a", path).wait(), Err(Error::Path(_))));
            }
            let error = files.open(b"a", Flags::TRUNCATE).wait().unwrap_err();
            assert!(matches!(error, Error::FileCall(file::client::CallError::BadFlags { .. })));
        },
        files(),
    );
}

#[test]
fn a_link_that_goes_down_ends_what_waits_for_an_answer() {
    let mut script = files();
    let mut turns = 0;
    run(
        |remote| {
            let connection = remote.connect().unwrap();
            let mut files = connection.files().wait().unwrap();
            let error = loop {
                if let Err(error) = files.info_at(b"x").wait()
                    && error != Error::File(file::Error::NotFound)
                {
                    break error;
                }
            };
            assert_eq!(error, Error::Link(LinkError::Closed));
        },
        move |main| {
            turns += 1;
            if turns == 50 {
                main.reset()
            } else if turns < 50 {
                script(main)
            }
        },
    );
}
