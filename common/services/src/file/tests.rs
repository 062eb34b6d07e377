use core::cell::RefCell;
use proptest::{collection::vec, prelude::*};
use std::{collections::BTreeMap, format, string::ToString, vec, vec::Vec};

use super::{
    client::{CallError, Event, Session},
    protocol::{Answer, REQUESTS_MAX, Request, RequestError, ToMain, ToRemote, id_of},
    server::{Page, Unanswered},
    *,
};
use crate::{
    Chunk, Fault, Malformed, NoRoom, PeerError,
    testing::{By, play},
};

mod messages;
mod remote;
mod together;

/// Files in memory, by path; directories are those that files are in, and those with no content. Writes 100 bytes at
/// once at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shelf(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Shelf {
    fn with(files: &[(&str, Option<&[u8]>)]) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.as_bytes().to_vec(), bytes.map(<[u8]>::to_vec)));
        Self(files.collect())
    }

    fn file(&mut self, name: &[u8]) -> Result<&mut Vec<u8>, Error> {
        self.0.get_mut(name).ok_or(Error::NotFound)?.as_mut().ok_or(Error::IsDirectory)
    }
}

fn name(path: Path<'_>) -> Vec<u8> {
    path.components().collect::<Vec<_>>().join(&b'/')
}

impl Files for Shelf {
    type File = (Vec<u8>, Flags);

    fn open(&mut self, path: Path<'_>, flags: Flags) -> Result<Self::File, Error> {
        assert!(flags.are_valid());
        let name = name(path);
        if flags.has(Flags::CREATE) {
            self.0.entry(name.clone()).or_insert(Some(Vec::new()));
        }
        match flags.has(Flags::DIRECTORY) {
            true => self
                .0
                .get(&name)
                .ok_or(Error::NotFound)?
                .as_ref()
                .map_or(Ok(()), |_| Err(Error::NotDirectory))?,
            false => self.file(&name).map(drop)?,
        }
        Ok((name, flags))
    }

    fn read_at(&mut self, (name, _): &mut Self::File, offset: u64, to: &mut [u8]) -> Result<usize, Error> {
        let file = self.file(name)?;
        let rest = file.get(offset.min(file.len() as u64) as usize..).unwrap();
        let len = rest.len().min(to.len());
        to[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, (name, _): &mut Self::File, offset: u64, bytes: &[u8]) -> Result<usize, Error> {
        assert!(!bytes.is_empty());
        let bytes = &bytes[..bytes.len().min(100)];
        let end = usize::try_from(offset).unwrap() + bytes.len();
        if end > 10_000 {
            return Err(Error::NoSpace);
        }
        let file = self.file(name)?;
        file.resize(file.len().max(end), 0);
        file[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn stat(&mut self, (name, _): &mut Self::File) -> Result<Info, Error> {
        match self.0.get(name).ok_or(Error::NotFound)? {
            Some(file) => Ok(Info { kind: Kind::File, size: file.len() as u64 }),
            None => Ok(Info { kind: Kind::Directory, size: 0 }),
        }
    }

    fn sync(&mut self, _: &mut Self::File) -> Result<(), Error> {
        Ok(())
    }

    fn list(&mut self, (name, _): &mut Self::File, position: u64, page: &mut Page<'_>) -> Result<(), Error> {
        let beneath = [&**name, b"/"].concat();
        let names = self.0.iter().filter_map(|(path, file)| Some((path.strip_prefix(&*beneath)?, file)));
        for ((name, file), next) in names.zip(1u64..).skip(position.min(1000) as usize) {
            let kind = if file.is_some() { Kind::File } else { Kind::Directory };
            if !page.push(&Entry { next, kind, name }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_path(&mut self, path: Path<'_>) -> Result<Info, Error> {
        self.stat(&mut (name(path), Flags::READ))
    }

    fn remove(&mut self, path: Path<'_>) -> Result<(), Error> {
        self.0.remove(&name(path)).map(drop).ok_or(Error::NotFound)
    }

    fn rename(&mut self, from: Path<'_>, to: Path<'_>) -> Result<(), Error> {
        let file = self.0.remove(&name(from)).ok_or(Error::NotFound)?;
        self.0.insert(name(to), file);
        Ok(())
    }

    fn make_directory(&mut self, path: Path<'_>) -> Result<(), Error> {
        self.0.insert(name(path), None).map_or(Ok(()), |_| Err(Error::Exists))
    }
}

fn path(text: &str) -> Path<'_> {
    Path::new(text.as_bytes()).unwrap()
}

fn handle(answer: Answer<'_>) -> Handle {
    match answer {
        Answer::Opened(handle) => handle,
        other => panic!("{other:?}"),
    }
}

fn said(message: ToMain<'_>) -> Vec<u8> {
    let mut out = [0; 2100];
    message.emit(&mut out).unwrap().to_vec()
}

/// A server of a shelf that has been greeted.
fn serving<const HANDLES: usize>(files: &[(&str, Option<&[u8]>)]) -> Server<Shelf, HANDLES> {
    let mut server = Server::new(Shelf::with(files));
    assert_eq!(server.answer(&said(ToMain::Hello { version: 1, longest: u16::MAX }), &mut [0; 32]), Ok(None));
    server
}

/// Asks for something; the answer is borrowed from `out`.
fn ask<'o, F: Files, const HANDLES: usize>(
    server: &mut Server<F, HANDLES>,
    request: Request<'_>,
    out: &'o mut [u8],
) -> Result<Answer<'o>, Error> {
    let message = said(ToMain::Request { id: 0x1234, request });
    match ToRemote::parse(server.answer(&message, out).unwrap().unwrap()).unwrap() {
        ToRemote::Answer { id: 0x1234, to, answer } if to == request.kind() => answer,
        other => panic!("{other:?}"),
    }
}

fn open<const HANDLES: usize>(
    server: &mut Server<Shelf, HANDLES>,
    name: &str,
    flags: Flags,
) -> Result<Handle, Error> {
    ask(server, Request::Open { path: path(name), flags }, &mut [0; 32]).map(handle)
}

fn malformed(field: &'static str, value: u64, min: u64, max: u64) -> Malformed {
    Malformed { field, value, fault: Fault::OutOfRange { min, max } }
}

const FILES: &[(&str, Option<&[u8]>)] = &[("d", None), ("d/file", Some(b"0123456789"))];

#[test]
fn golden_dialogue_is_spoken_and_understood_by_both() {
    let (b, both) = (path("a/b"), Flags::READ | Flags::WRITE | Flags::CREATE);
    let (file, directory) = (Handle(0x1_0000), Handle(0x2_0000));
    let requests = [
        Request::Open { path: b, flags: both },
        Request::Write { handle: file, offset: 0, bytes: b"hello" },
        Request::Read { handle: file, offset: 1, len: 100 },
        Request::Stat { handle: file },
        Request::Sync { handle: file },
        Request::Close { handle: file },
        Request::Read { handle: file, offset: 0, len: 1 },
        Request::StatPath { path: path("a") },
        Request::Open { path: path("a"), flags: Flags::READ | Flags::DIRECTORY },
        Request::List { handle: directory, position: 0 },
        Request::List { handle: directory, position: 1 },
        Request::Rename { from: b, to: path("c") },
        Request::MakeDirectory { path: path("d") },
        Request::Remove { path: path("c") },
    ];
    let entries = Entries::parse(b"\x01\0\0\0\0\0\0\0\x01\x01b").unwrap();
    let answers = [
        Ok(Answer::Opened(file)),
        Ok(Answer::Written(5)),
        Ok(Answer::Data(b"ello")),
        Ok(Answer::Info(Info { kind: Kind::File, size: 5 })),
        Ok(Answer::Done),
        Ok(Answer::Done),
        Err(Error::BadHandle),
        Ok(Answer::Info(Info { kind: Kind::Directory, size: 0 })),
        Ok(Answer::Opened(directory)),
        Ok(Answer::Entries(entries)),
        Ok(Answer::Entries(Entries::default())),
        Ok(Answer::Done),
        Ok(Answer::Done),
        Ok(Answer::Done),
    ];
    let server = RefCell::new(Server::<Shelf, 2>::new(Shelf::with(&[("a", None)])));
    let client = RefCell::new(Client::<1>::new());
    let asked_for = RefCell::new(Vec::new());
    let (mut asked, mut told) = (requests.iter(), answers.iter());
    let speak = |i, by| {
        let (mut server, mut client, mut out) = (server.borrow_mut(), client.borrow_mut(), [0; 64]);
        match (i, by) {
            (0, _) => server.hello(&mut out).unwrap(),
            (1, _) => client.poll(&mut out).unwrap().unwrap(),
            (_, By::Remote) => client.request(*asked.next().unwrap(), &mut out).unwrap().1,
            (_, By::Main) => server.answer(&asked_for.borrow(), &mut out).unwrap().unwrap(),
        }
        .to_vec()
    };
    let hear = |i, by, bytes: &[u8]| match (i, by) {
        (0, _) => assert_eq!(client.borrow_mut().receive(bytes), Ok(Event::Started)),
        (1, _) => assert_eq!(server.borrow_mut().answer(bytes, &mut [0; 32]), Ok(None)),
        (_, By::Remote) => *asked_for.borrow_mut() = bytes.to_vec(),
        (_, By::Main) => match client.borrow_mut().receive(bytes).unwrap() {
            Event::Answer { answer, .. } => assert_eq!(answer, *told.next().unwrap(), "message {i}"),
            other => panic!("{other:?}"),
        },
    };
    play(include_str!("../../golden/file.txt"), speak, hear);
    assert_eq!((asked.count(), told.count()), (0, 0));
    assert_eq!(client.borrow().session(), Some(Session { version: 1, handles: 2, path_max: 1024 }));
    assert_eq!(server.borrow().open_count(), 1);
}

#[test]
fn only_so_many_can_be_open_and_a_closed_handle_stays_closed() {
    let mut server = serving::<2>(FILES);
    let first = open(&mut server, "d/file", Flags::READ).unwrap();
    let second = open(&mut server, "d", Flags::READ | Flags::DIRECTORY).unwrap();
    assert_eq!(open(&mut server, "d/file", Flags::READ), Err(Error::TooManyOpen));
    assert_eq!((first, second), (Handle(0x1_0000), Handle(0x1_0001)));
    let mut out = [0; 32];
    assert_eq!(ask(&mut server, Request::Close { handle: first }, &mut out), Ok(Answer::Done));
    assert_eq!(server.open_count(), 1);
    let third = open(&mut server, "d/file", Flags::READ).unwrap();
    assert_eq!(third, Handle(0x2_0000));
    for handle in [first, Handle(0), Handle(1), Handle(0x1_0002), Handle(0x3_0000), Handle(u32::MAX)] {
        for request in [
            Request::Close { handle },
            Request::Read { handle, offset: 0, len: 1 },
            Request::Write { handle, offset: 0, bytes: b"a" },
            Request::Stat { handle },
            Request::Sync { handle },
            Request::List { handle, position: 0 },
        ] {
            assert_eq!(ask(&mut server, request, &mut out), Err(Error::BadHandle), "{request}");
        }
    }
    assert_eq!(server.open_count(), 2);
    // What could not be opened takes no handle.
    assert_eq!(ask(&mut server, Request::Close { handle: second }, &mut out), Ok(Answer::Done));
    assert_eq!(open(&mut server, "none", Flags::READ), Err(Error::NotFound));
    assert_eq!(server.open_count(), 1);
}

#[test]
fn a_handle_is_good_for_what_it_was_opened_for() {
    let mut server = serving::<8>(FILES);
    let reads = open(&mut server, "d/file", Flags::READ).unwrap();
    let writes = open(&mut server, "d/file", Flags::WRITE).unwrap();
    let lists = open(&mut server, "d", Flags::READ | Flags::DIRECTORY).unwrap();
    let mut try_all = |handle| {
        [
            Request::Read { handle, offset: 8, len: 9 },
            Request::Write { handle, offset: 0, bytes: b"a" },
            Request::List { handle, position: 5 },
        ]
        .map(|request| ask(&mut server, request, &mut [0; 32]).map(|_| ()))
    };
    assert_eq!(try_all(reads), [Ok(()), Err(Error::NotOpenedFor), Err(Error::NotDirectory)]);
    assert_eq!(try_all(writes), [Err(Error::NotOpenedFor), Ok(()), Err(Error::NotDirectory)]);
    assert_eq!(try_all(lists), [Err(Error::IsDirectory), Err(Error::IsDirectory), Ok(())]);
    for bits in (0..=u16::MAX).filter(|&bits| !Flags::from_bits(bits).are_valid()) {
        assert_eq!(open(&mut server, "d/file", Flags::from_bits(bits)), Err(Error::BadFlags), "{bits:#x}");
    }
}

#[test]
fn reading_and_writing_end_where_positions_do() {
    let mut server = serving::<1>(FILES);
    let handle = open(&mut server, "d/file", Flags::READ | Flags::WRITE).unwrap();
    let mut out = [0; 32];
    let max = i64::MAX as u64;
    let read = |offset, len| Request::Read { handle, offset, len };
    assert_eq!(ask(&mut server, read(8, 100), &mut out), Ok(Answer::Data(b"89")));
    assert_eq!(ask(&mut server, read(10, 100), &mut out), Ok(Answer::Data(b"")));
    assert_eq!(ask(&mut server, read(0, 0), &mut out), Ok(Answer::Data(b"")));
    assert_eq!(ask(&mut server, read(max - 4, 4), &mut out), Ok(Answer::Data(b"")));
    for offset in [max - 3, max, max + 1, u64::MAX] {
        assert_eq!(ask(&mut server, read(offset, 4), &mut out), Err(Error::TooLarge), "{offset:#x}");
        let write = Request::Write { handle, offset, bytes: b"abcd" };
        assert_eq!(ask(&mut server, write, &mut out), Err(Error::TooLarge), "{offset:#x}");
    }
    let none = Request::Write { handle, offset: 0, bytes: b"" };
    assert_eq!(ask(&mut server, none, &mut out), Ok(Answer::Written(0)));
}

fn names<const HANDLES: usize>(
    server: &mut Server<Shelf, HANDLES>,
    list: Request<'_>,
    room: usize,
) -> Vec<Vec<u8>> {
    match ask(server, list, &mut vec![0; room]) {
        Ok(Answer::Entries(entries)) => entries.iter().map(|entry| entry.name.to_vec()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_are_as_long_as_the_buffer_for_them() {
    let mut server = serving::<2>(&[("d", None), ("d/one", None), ("d/two", None), ("f", Some(&[7; 100]))]);
    let handle = open(&mut server, "f", Flags::READ).unwrap();
    let read = Request::Read { handle, offset: 0, len: u32::MAX };
    assert_eq!(ask(&mut server, read, &mut [0; 32]), Ok(Answer::Data(&[7; 28])));
    assert_eq!(ask(&mut server, read, &mut [0; 300]), Ok(Answer::Data(&[7; 100])));
    let handle = open(&mut server, "d", Flags::READ | Flags::DIRECTORY).unwrap();
    let list = Request::List { handle, position: 0 };
    // Each takes 13 of the 28 bytes that are left.
    assert_eq!(names(&mut server, list, 32), [b"one", b"two"]);
    let mut out = [0; 31];
    let too_short = server.answer(&said(ToMain::Request { id: 1, request: list }), &mut out);
    assert_eq!(too_short, Err(Unanswered::NoRoom(NoRoom { needed: 32, room: 31 })));
    let long = "d/a-name-that-does-not-fit".to_string();
    let mut server = serving::<2>(&[("d", None), ("d/a", None), (&long, None), ("d/b", None)]);
    let handle = open(&mut server, "d", Flags::READ | Flags::DIRECTORY).unwrap();
    let list = |position| Request::List { handle, position };
    assert_eq!(names(&mut server, list(0), 32), [b"a"]);
    assert_eq!(ask(&mut server, list(1), &mut [0; 32]), Err(Error::NoRoom));
    assert_eq!(names(&mut server, list(1), 64), [&long.as_bytes()[2..], b"b"]);
    assert_eq!(ask(&mut server, list(3), &mut [0; 64]), Ok(Answer::Entries(Entries::default())));
}

#[test]
fn no_answer_is_longer_than_the_remote_takes() {
    let mut server = Server::<Shelf, 1>::new(Shelf::with(&[("f", Some(&[7; 600]))]));
    let mut client = Client::<1>::new().taking(100);
    let mut out = [0; 600];
    client.receive(server.hello(&mut out).unwrap()).unwrap();
    assert_eq!(server.answer(client.poll(&mut out).unwrap().unwrap(), &mut [0; 32]), Ok(None));
    let handle = open(&mut server, "f", Flags::READ).unwrap();
    let read = Request::Read { handle, offset: 0, len: 600 };
    assert_eq!(ask(&mut server, read, &mut out), Ok(Answer::Data(&[7; 96])));
}

#[test]
fn a_request_without_a_meaning_is_answered_all_the_same() {
    let mut server = serving::<1>(FILES);
    let long = [b'x'; Path::MAX_LEN + 1];
    let cases: [(&[u8], &[u8], Error); 14] = [
        (&[2], b"\x01\0\0\0", Error::BadPath),
        (&[2], b"\x01\0\0\0/etc/passwd", Error::BadPath),
        (&[2], b"\x01\0\0\0d/../../x", Error::BadPath),
        (&[2], b"\x01\0\0\0..", Error::BadPath),
        (&[2], b"\x01\0\0\0a\0b", Error::BadPath),
        (&[9, 10, 12], b"", Error::BadPath),
        (&[9, 10, 12], b"/", Error::BadPath),
        (&[9, 10, 12], b"a/..", Error::BadPath),
        (&[9, 10, 12], &long, Error::PathTooLong),
        (&[11], b"\x01\0\0\0a", Error::BadPath),
        (&[11], b"\x03\0\0\0ab", Error::Malformed),
        (&[2, 3, 4, 5, 6, 7, 8, 11], b"abc", Error::Malformed),
        (&[3, 4, 6, 7, 8], b"0123456789abcdefX", Error::Malformed),
        (&[0, 13, 0x7F, 0x80, 0x81, 0x82, 0xFF], b"0123456789abcdef", Error::Unsupported),
    ];
    for (kinds, rest, error) in cases {
        for &kind in kinds {
            let message = [&[kind, 0xFF, 0xCD, 0xAB], rest].concat();
            let expected = [kind | 0x80, error as u8, 0xCD, 0xAB];
            let mut out = [0; 32];
            let answer = server.answer(&message, &mut out);
            assert_eq!(answer, Ok(Some(&expected[..])), "{kind:#x} {}", rest.escape_ascii());
        }
    }
    assert_eq!(server.open_count(), 0);
}

#[test]
fn who_has_no_number_or_said_no_hello_is_told_apart() {
    let mut server = Server::<Shelf, 1>::new(Shelf::with(FILES));
    let mut out = [0; 32];
    let stat = Request::StatPath { path: path("d") };
    assert_eq!(ask(&mut server, stat, &mut out), Err(Error::NoHello));
    for cut in 0..4 {
        let error = server.answer(&[9, 0, 0, 0][..cut], &mut out).unwrap_err();
        let Unanswered::Peer(PeerError::Malformed(Malformed { field, value, .. })) = error else {
            panic!("{error}")
        };
        assert_eq!((field, value), ("message length", cut as u64));
    }
    let too_small = |field, value, min| {
        let malformed = Malformed { field, value, fault: Fault::TooSmall { min } };
        Err(Unanswered::Peer(malformed.into()))
    };
    assert_eq!(server.answer(&[1, 0, 0, 0, 32, 0], &mut out), too_small("version", 0, 1));
    assert_eq!(server.answer(&[1, 0, 1, 0, 31, 0], &mut out), too_small("longest message", 31, 32));
    assert_eq!(ask(&mut server, stat, &mut out), Err(Error::NoHello));
    // A later version's hello may say more.
    assert_eq!(server.answer(&[1, 0, 9, 0, 32, 0, 3], &mut out), Ok(None));
    let again = PeerError::OutOfTurn { message: "a hello", why: "there was one already" };
    assert_eq!(server.answer(&[1, 0, 1, 0, 32, 0], &mut out), Err(Unanswered::Peer(again)));
    assert!(ask(&mut server, stat, &mut out).is_ok());
}

#[test]
fn files_that_claim_too_much_are_not_believed() {
    struct Liar;
    impl Files for Liar {
        type File = ();
        fn open(&mut self, _: Path<'_>, _: Flags) -> Result<(), Error> {
            Ok(())
        }
        fn read_at(&mut self, _: &mut (), _: u64, to: &mut [u8]) -> Result<usize, Error> {
            to.fill(b'x');
            Ok(usize::MAX)
        }
        fn write_at(&mut self, _: &mut (), _: u64, _: &[u8]) -> Result<usize, Error> {
            Ok(usize::MAX)
        }
        fn stat(&mut self, _: &mut ()) -> Result<Info, Error> {
            Err(Error::Failed)
        }
        fn sync(&mut self, _: &mut ()) -> Result<(), Error> {
            Err(Error::Failed)
        }
        fn list(&mut self, _: &mut (), _: u64, page: &mut Page<'_>) -> Result<(), Error> {
            let entry = |name| Entry { next: 1, kind: Kind::Other, name };
            // None of these is a name, and behind what was refused nothing is taken.
            for name in [&[b'x'; 256][..], b"", b"a/b", b"a\0b", b"a"] {
                assert!(!page.push(&entry(name)));
            }
            Ok(())
        }
        fn stat_path(&mut self, _: Path<'_>) -> Result<Info, Error> {
            Err(Error::Failed)
        }
        fn remove(&mut self, _: Path<'_>) -> Result<(), Error> {
            Err(Error::Failed)
        }
        fn rename(&mut self, _: Path<'_>, _: Path<'_>) -> Result<(), Error> {
            Err(Error::Failed)
        }
        fn make_directory(&mut self, _: Path<'_>) -> Result<(), Error> {
            Err(Error::Failed)
        }
    }
    let mut server = Server::<Liar, 2>::new(Liar);
    server.answer(&[1, 0, 1, 0, 0, 2], &mut [0; 32]).unwrap();
    let mut out = [0; 600];
    let flags = Flags::READ | Flags::WRITE;
    let file = handle(ask(&mut server, Request::Open { path: path("f"), flags }, &mut out).unwrap());
    let read = Request::Read { handle: file, offset: 0, len: 5 };
    assert_eq!(ask(&mut server, read, &mut out), Ok(Answer::Data(b"xxxxx")));
    let write = Request::Write { handle: file, offset: 0, bytes: b"abc" };
    assert_eq!(ask(&mut server, write, &mut out), Ok(Answer::Written(3)));
    let flags = Flags::READ | Flags::DIRECTORY;
    let directory = handle(ask(&mut server, Request::Open { path: path("d"), flags }, &mut out).unwrap());
    let list = Request::List { handle: directory, position: 0 };
    assert_eq!(ask(&mut server, list, &mut out), Err(Error::NoRoom));
    assert_eq!(ask(&mut server, Request::Sync { handle: file }, &mut out), Err(Error::Failed));
}
