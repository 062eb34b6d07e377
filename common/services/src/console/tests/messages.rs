//! The messages for themselves.

use super::*;

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Out), Just(Stream::Err)]
}

fn malformed(field: &'static str, value: u64, min: u64, max: u64) -> Malformed {
    Malformed { field, value, fault: Fault::OutOfRange { min, max } }
}

fn too_small(field: &'static str, value: u64, min: u64) -> Malformed {
    Malformed { field, value, fault: Fault::TooSmall { min } }
}

#[test]
fn messages_of_fixed_length_have_just_that() {
    let to_main = [
        (message(ToMain::InputLimit { total: 1 }), 16),
        (message(ToMain::ArgumentsRequest { offset: 1 }), 8),
        (message(ToMain::Exit { code: 1 }), 8),
    ];
    for (bytes, len) in to_main {
        let longer = Malformed { value: len + 1, ..malformed("message length", 0, len, len) };
        assert_eq!(ToMain::parse(&[&*bytes, b"x"].concat()), Err(longer));
        for cut in 0..bytes.len() {
            let Err(Malformed { field, value, fault }) = ToMain::parse(&bytes[..cut]) else {
                panic!("{cut}")
            };
            assert_eq!((field, value), ("message length", cut as u64));
            assert!(matches!(fault, Fault::Truncated { needed, present } if needed > present), "{fault:?}");
        }
    }
    let to_remote = [(answer(ToRemote::OutputLimit { total: 1 }), 16), (answer(ToRemote::InputEnd), 1)];
    for (bytes, len) in to_remote {
        let longer = Malformed { value: len + 1, ..malformed("message length", 0, len, len) };
        assert_eq!(ToRemote::parse(&[&*bytes, b"x"].concat()), Err(longer));
        for cut in 0..bytes.len() {
            assert!(ToRemote::parse(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn fields_have_their_ranges() {
    let kind = |kind| malformed("message kind", kind, 1, 5);
    assert_eq!(ToMain::parse(&[0; 40]), Err(kind(0)));
    assert_eq!(ToMain::parse(&[6; 40]), Err(kind(6)));
    assert_eq!(ToMain::parse(&[0x81; 40]), Err(kind(0x81)));
    assert_eq!(ToMain::parse(&[2, 0]), Err(malformed("stream", 0, 1, 2)));
    assert_eq!(ToMain::parse(&[2, 3]), Err(malformed("stream", 3, 1, 2)));
    assert_eq!(ToMain::parse(&[1, 0, 0, 0, 32, 0]), Err(too_small("version", 0, 1)));
    assert_eq!(ToMain::parse(&[1, 0, 1, 0, 31, 0]), Err(too_small("longest message", 31, 32)));
    assert!(ToMain::parse(&[1, 0, 1, 0, 32, 0]).is_ok());
    let max = ARGUMENTS_MAX as u32;
    let request = message(ToMain::ArgumentsRequest { offset: max });
    assert!(ToMain::parse(&request).is_ok());
    let request = message(ToMain::ArgumentsRequest { offset: max + 1 });
    let beyond = malformed("offset of arguments", u64::from(max) + 1, 0, max.into());
    assert_eq!(ToMain::parse(&request), Err(beyond));

    let kind = |kind| malformed("message kind", kind, 0x81, 0x85);
    assert_eq!(ToRemote::parse(&[1; 40]), Err(kind(1)));
    assert_eq!(ToRemote::parse(&[0x80; 40]), Err(kind(0x80)));
    assert_eq!(ToRemote::parse(&[0x86; 40]), Err(kind(0x86)));
    let hello = |arguments, arguments_len| {
        answer(ToRemote::Hello { version: 1, arguments_len, arguments, output_limit: 0 })
    };
    assert!(ToRemote::parse(&hello(4, 4)).is_ok());
    assert_eq!(ToRemote::parse(&hello(5, 4)), Err(malformed("number of arguments", 5, 0, 4)));
    assert_eq!(ToRemote::parse(&hello(5, max + 1)), Err(beyond));
}

#[test]
fn arguments_have_no_nul_and_an_end() {
    let mut bytes = block(&[b"a", b""]);
    assert_eq!(bytes, b"a\0\0");
    assert_eq!(Arguments::append(&mut bytes, b"b\0c"), Err(ArgumentsError::Nul { at: 1 }));
    assert_eq!(bytes, b"a\0\0");
    assert_eq!(Arguments::new(b"a"), Err(ArgumentsError::Unterminated));
    assert_eq!(Arguments::new(b"").unwrap().count(), 0);
    let mut longest = vec![b'x'; ARGUMENTS_MAX];
    longest[ARGUMENTS_MAX - 1] = 0;
    assert_eq!(Server::new(&*longest, 1).unwrap().exit_code(), None);
    longest.push(0);
    assert_eq!(Server::new(&*longest, 1).unwrap_err(), ArgumentsError::TooLong { len: ARGUMENTS_MAX + 1 });
    let texts = [
        (ArgumentsError::Nul { at: 1 }, "byte 1 of an argument is a NUL"),
        (ArgumentsError::Unterminated, "the last argument does not end with a NUL"),
        (
            ArgumentsError::TooLong { len: 1048577 },
            "the arguments have 1048577 bytes, at most 1048576 are allowed",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

proptest! {
    #[test]
    fn arguments_round_trip(list in vec(vec(1u8.., 0..20), 0..20)) {
        let list: Vec<&[u8]> = list.iter().map(|argument| &**argument).collect();
        let bytes = block(&list);
        let arguments = Arguments::new(&bytes).unwrap();
        prop_assert_eq!(arguments.count(), list.len());
        prop_assert_eq!(arguments.as_bytes(), &*bytes);
        prop_assert_eq!(arguments.iter().collect::<Vec<_>>(), list);
    }

    #[test]
    fn messages_round_trip(
        version in 1u16..,
        longest in 32u16..,
        total: u64,
        code: i32,
        offset in 0..=ARGUMENTS_MAX as u32,
        stream in stream(),
        bytes in vec(any::<u8>(), 0..500),
    ) {
        let bytes = &*bytes;
        for said in [
            ToMain::Hello { version, longest },
            ToMain::Output { stream, bytes },
            ToMain::InputLimit { total },
            ToMain::ArgumentsRequest { offset },
            ToMain::Exit { code },
        ] {
            let bytes = message(said);
            prop_assert_eq!(ToMain::parse(&bytes), Ok(said));
        }
        for said in [
            ToRemote::Hello { version, arguments_len: offset, arguments: offset / 2, output_limit: total },
            ToRemote::OutputLimit { total },
            ToRemote::Input { bytes },
            ToRemote::InputEnd,
            ToRemote::Arguments { offset, bytes },
        ] {
            let bytes = answer(said);
            prop_assert_eq!(ToRemote::parse(&bytes), Ok(said));
        }
    }

    #[test]
    fn any_bytes_have_one_meaning_or_none(first in prop_oneof![0u8..8, 0x7Eu8..0x88, any::<u8>()], rest in vec(any::<u8>(), 0..40)) {
        let bytes = [&[first], &*rest].concat();
        if let Ok(said) = ToMain::parse(&bytes) {
            prop_assert!(ToRemote::parse(&bytes).is_err());
            let bytes = message(said);
            prop_assert_eq!(ToMain::parse(&bytes), Ok(said));
        }
        if let Ok(said) = ToRemote::parse(&bytes) {
            let bytes = answer(said);
            prop_assert_eq!(ToRemote::parse(&bytes), Ok(said));
        }
    }

    #[test]
    fn a_message_is_written_whole_or_not_at_all(room in 0usize..40, bytes in vec(any::<u8>(), 0..40)) {
        let mut out = vec![0xAA; room];
        let needed = bytes.len() + 2;
        let result = ToMain::Output { stream: Stream::Err, bytes: &bytes }.emit(&mut out).map(<[u8]>::len);
        prop_assert_eq!(result, if needed <= room { Ok(needed) } else { Err(NoRoom { needed, room }) });
    }
}
