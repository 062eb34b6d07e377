//! The messages for themselves.

use super::*;

fn a_path() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'/'), Just(b'.'), 1u8..], 1..60)
        .prop_filter("no path", |bytes| Path::new(bytes).is_ok())
}

fn told(message: ToRemote<'_>) -> Vec<u8> {
    let mut out = [0; 2100];
    message.emit(&mut out).unwrap().to_vec()
}

fn every_request<'r>(
    path: Path<'r>,
    other: Path<'r>,
    bytes: &'r [u8],
    numbers: (u32, u64, u32, u16),
) -> [Request<'r>; 11] {
    let (handle, offset, len, bits) = numbers;
    let (handle, flags) = (Handle(handle), Flags::from_bits(bits));
    [
        Request::Open { path, flags },
        Request::Close { handle },
        Request::Read { handle, offset, len },
        Request::Write { handle, offset, bytes },
        Request::Stat { handle },
        Request::Sync { handle },
        Request::List { handle, position: offset },
        Request::StatPath { path },
        Request::Remove { path },
        Request::Rename { from: path, to: other },
        Request::MakeDirectory { path },
    ]
}

#[test]
fn errors_are_numbered_and_say_different_things() {
    let mut said = Vec::new();
    for (error, status) in Error::ALL.into_iter().zip(1..) {
        assert_eq!(error as u8, status);
        let answer = ToRemote::Answer { id: 7, to: 3, answer: Err(error) };
        let bytes = told(answer);
        assert_eq!((bytes[1], ToRemote::parse(&bytes)), (status, Ok(answer)));
        assert!(!said.contains(&error.to_string()), "{error}");
        said.push(error.to_string());
        let longer = [&*bytes, b"x"].concat();
        assert_eq!(ToRemote::parse(&longer), Err(malformed("message length", 5, 4, 4)));
    }
    let unknown = said.len() as u8 + 1;
    assert_eq!(ToRemote::parse(&[0x83, unknown, 0, 0]), Err(malformed("status", unknown.into(), 0, 24)));
}

#[test]
fn answers_have_their_ranges() {
    for kind in [0x00, 0x03, 0x80, 0x8D, 0xFF] {
        assert_eq!(ToRemote::parse(&[kind; 20]), Err(malformed("message kind", kind.into(), 0x81, 0x8C)));
    }
    let version = Malformed { field: "version", value: 0, fault: Fault::TooSmall { min: 1 } };
    assert_eq!(ToRemote::parse(&[0x81, 0, 0, 0, 9, 0, 9, 0]), Err(version));
    for kind in [0, 4, 255] {
        let info = [0x86, 0, 1, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(ToRemote::parse(&info), Err(malformed("kind of file", kind.into(), 1, 3)));
    }
    let entry = |kind: u8, name: &[u8]| {
        [&[0x88, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, kind, name.len() as u8], name].concat()
    };
    assert_eq!(ToRemote::parse(&entry(0, b"a")), Err(malformed("kind of file", 0, 1, 3)));
    assert_eq!(ToRemote::parse(&entry(1, b"")), Err(malformed("length of a name", 0, 1, 255)));
    let field = "number of NULs and slashes in a name";
    assert_eq!(ToRemote::parse(&entry(1, b"a/\0")), Err(malformed(field, 2, 0, 0)));
    let good = entry(3, b"\xFF name");
    assert!(ToRemote::parse(&good).is_ok());
    for cut in 5..good.len() {
        assert!(ToRemote::parse(&good[..cut]).is_err(), "{cut}");
    }
    assert!(ToRemote::parse(&[&*good, b"x"].concat()).is_err());
}

#[test]
fn flags_go_together_in_26_ways() {
    let valid: Vec<u16> = (0..=u16::MAX).filter(|&bits| Flags::from_bits(bits).are_valid()).collect();
    // To read; to list; to write, or both, with any of CREATE, TRUNCATE and APPEND, and EXCLUSIVE with CREATE.
    assert_eq!(valid.len(), 1 + 1 + 2 * (8 + 4));
    let (read, write) = (Flags::READ, Flags::WRITE);
    for flags in [read, write, read | Flags::DIRECTORY, write | Flags::CREATE | Flags::EXCLUSIVE] {
        assert!(flags.are_valid(), "{flags:?}");
    }
    for flags in [
        Flags::default(),
        Flags::DIRECTORY,
        Flags::CREATE,
        read | Flags::CREATE,
        read | Flags::TRUNCATE,
        read | Flags::APPEND,
        write | Flags::EXCLUSIVE,
        write | Flags::DIRECTORY,
        read | Flags::from_bits(128),
    ] {
        assert!(!flags.are_valid(), "{flags:?}");
    }
    assert_eq!(format!("{:?}", read | write | Flags::APPEND), "Flags(READ | WRITE | APPEND)");
    assert_eq!(format!("{:?}", Flags::EXCLUSIVE | Flags::from_bits(0x300)), "Flags(EXCLUSIVE | 0x300)");
    assert_eq!(format!("{:?} {:?}", Flags::default(), Flags::from_bits(0x80)), "Flags(0x0) Flags(0x80)");
}

#[test]
fn paths_have_rules() {
    let longest = [b'x'; Path::MAX_LEN];
    assert!(Path::new(&longest).is_ok());
    let too_long = PathError::TooLong { len: 1025 };
    for (bytes, error, text) in [
        (&b""[..], PathError::Empty, "the path is empty"),
        (b"/", PathError::Absolute, "the path is absolute; paths begin at the granted directories"),
        (b"..", PathError::Parent { at: 0 }, "the path goes up (`..` at byte 0)"),
        (b"a//../b", PathError::Parent { at: 3 }, "the path goes up (`..` at byte 3)"),
        (b"a\0", PathError::Nul { at: 1 }, "byte 1 of the path is a NUL"),
        (&[b'x'; 1025], too_long, "the path has 1025 bytes, at most 1024 are allowed"),
    ] {
        assert_eq!(Path::new(bytes), Err(error));
        assert_eq!(error.to_string(), text);
        assert_eq!(error.answer(), if error == too_long { Error::PathTooLong } else { Error::BadPath });
    }
    for name in ["...", "a..", "..a", "a/...", ". .", "~", "a/."] {
        assert!(Path::new(name.as_bytes()).is_ok(), "{name}");
    }
    assert_eq!(path("./a//b/./c/").components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    assert_eq!(path(".").components().count(), 0);
    assert_eq!(Path::new(b"a\x1B[2J\xFF").unwrap().to_string(), r"a\x1b[2J\xff");
}

#[test]
fn requests_say_what_they_ask_for() {
    let all = every_request(path("a\n"), path("b"), b"xyz", (0x1_0002, 16, 9, 1));
    let said: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            r"open `a\n` (Flags(READ))",
            "close handle 0x10002",
            "read 9 bytes of handle 0x10002 from 16 on",
            "write 3 bytes to handle 0x10002 from 16 on",
            "stat handle 0x10002",
            "sync handle 0x10002",
            "list handle 0x10002 from 0x10 on",
            r"stat `a\n`",
            r"remove `a\n`",
            r"rename `a\n` to `b`",
            r"make directory `a\n`",
        ]
    );
    assert_eq!(RequestError::Unknown { kind: 0x7F }.to_string(), "there is no request 0x7f");
}

proptest! {
    #[test]
    fn messages_round_trip(
        names in (a_path(), a_path()),
        bytes in vec(any::<u8>(), 0..500),
        numbers: (u32, u64, u32, u16),
        id: u16,
        version in 1u16..,
    ) {
        let (path, other) = (Path::new(&names.0).unwrap(), Path::new(&names.1).unwrap());
        for request in every_request(path, other, &bytes, numbers) {
            let message = said(ToMain::Request { id, request });
            prop_assert_eq!(id_of(&message), Ok((request.kind(), id)));
            prop_assert_eq!(ToMain::parse(&message), Ok(ToMain::Request { id, request }));
        }
        let longest = id.max(32);
        let hello = said(ToMain::Hello { version, longest });
        prop_assert_eq!(ToMain::parse(&hello), Ok(ToMain::Hello { version, longest }));
        let hello = ToRemote::Hello { version, handles: numbers.3, path_max: id };
        let message = told(hello);
        prop_assert_eq!(ToRemote::parse(&message), Ok(hello));
        let kind = [Kind::File, Kind::Directory, Kind::Other][usize::from(id % 3)];
        for (to, answer) in [
            (2, Answer::Opened(Handle(numbers.0))),
            (3, Answer::Done),
            (4, Answer::Data(&bytes)),
            (5, Answer::Written(numbers.2)),
            (6, Answer::Info(Info { kind, size: numbers.1 })),
            (7, Answer::Done),
            (8, Answer::Entries(Entries::default())),
            (9, Answer::Info(Info { kind, size: numbers.1 })),
            (10, Answer::Done),
            (11, Answer::Done),
            (12, Answer::Done),
        ] {
            let answer = ToRemote::Answer { id, to, answer: Ok(answer) };
            let message = told(answer);
            prop_assert_eq!(ToRemote::parse(&message), Ok(answer));
        }
    }

    #[test]
    fn any_bytes_have_one_meaning_or_none(
        first in prop_oneof![0u8..14, 0x80u8..0x8E, any::<u8>()],
        status in prop_oneof![Just(0u8), any::<u8>()],
        rest in vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..60),
    ) {
        let bytes = [&[first, status], &*rest].concat();
        if let Ok(message) = ToMain::parse(&bytes) {
            prop_assert!(ToRemote::parse(&bytes).is_err());
            let again = said(message);
            prop_assert_eq!(ToMain::parse(&again), Ok(message));
        }
        if let Ok(message) = ToRemote::parse(&bytes) {
            let again = told(message);
            prop_assert_eq!(ToRemote::parse(&again), Ok(message));
        }
    }

    #[test]
    fn a_path_is_what_its_rules_say(bytes in vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), Just(0)], 0..12)) {
        let text = core::str::from_utf8(&bytes).unwrap();
        let fine = !text.is_empty()
            && !text.starts_with('/')
            && !text.contains('\0')
            && text.split('/').all(|name| name != "..");
        prop_assert_eq!(Path::new(&bytes).is_ok(), fine);
    }
}
