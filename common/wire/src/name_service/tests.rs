use proptest::prelude::*;
use std::{borrow::ToOwned, format, string::String, vec::Vec};

use super::*;
use crate::testing::bytes;

/// `rpmsg-tty` comes to address 1024.
const GOLDEN: [u8; 40] = [
    0x72, 0x70, 0x6D, 0x73, 0x67, 0x2D, 0x74, 0x74, 0x79, 0, 0, 0, 0, 0, 0, 0, // name
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0x00, 0x04, 0x00, 0x00, // addr
    0x00, 0x00, 0x00, 0x00, // flags
];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn wire(text: &[u8]) -> Name {
    let mut bytes = [0; Name::SIZE];
    bytes[..text.len()].copy_from_slice(text);
    Name::from_wire(bytes)
}

#[test]
fn announcement_matches_golden_bytes() {
    let announcement = Announcement { name: name("rpmsg-tty"), addr: 1024, flags: CREATE };
    assert_eq!(announcement.emit(), GOLDEN);
    assert_eq!(Announcement::parse(&GOLDEN), announcement);
    assert!(!announcement.is_destroy());

    let mut golden = GOLDEN;
    golden[36] = 1;
    let announcement = Announcement { flags: DESTROY, ..announcement };
    assert_eq!(announcement.emit(), golden);
    assert_eq!(Announcement::parse(&golden), announcement);
    assert!(announcement.is_destroy());
}

#[test]
fn destroy_is_bit_0_alone() {
    let announcement = |flags| Announcement { name: Name::default(), addr: 0, flags };
    assert!(announcement(0xFFFF_FFFF).is_destroy());
    assert!(announcement(0x8000_0001).is_destroy());
    assert!(!announcement(0xFFFF_FFFE).is_destroy());
    assert!(!announcement(2).is_destroy());
}

#[test]
fn name_of_32_bytes_loses_its_last() {
    let received = Name::from_wire([b'x'; 32]);
    assert_eq!(received, name(&"x".repeat(31)));
    assert_eq!(received.as_bytes(), [b'x'; 31]);
}

#[test]
fn names_that_look_alike_are_equal() {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(b"tty\0junk");
    assert_eq!(Name::from_wire(bytes), name("tty"));
}

#[test]
fn name_refuses_what_nobody_can_read() {
    assert_eq!(Name::new(""), Err(NameError::Empty));
    assert_eq!(Name::new(&"x".repeat(32)), Err(NameError::TooLong { len: 32 }));
    assert_eq!(Name::new("a\nb"), Err(NameError::Unprintable { at: 1, byte: b'\n' }));
    assert_eq!(Name::new("tty\0"), Err(NameError::Unprintable { at: 3, byte: 0 }));
    assert_eq!(Name::new("\x7F"), Err(NameError::Unprintable { at: 0, byte: 0x7F }));
    assert_eq!(Name::new("größe"), Err(NameError::Unprintable { at: 2, byte: 0xC3 }));
}

#[test]
fn name_accepts_31_bytes_and_every_printable_one() {
    let longest = "x".repeat(31);
    assert_eq!(name(&longest).as_str(), Some(&*longest));
    for printable in ' '..='~' {
        let text = String::from(printable);
        assert_eq!(name(&text).as_str(), Some(&*text));
    }
}

#[test]
fn name_errors_say_where_and_what() {
    assert_eq!(format!("{}", NameError::Empty), "the name is empty");
    assert_eq!(format!("{}", NameError::TooLong { len: 40 }), "the name has 40 bytes, at most 31 fit");
    assert_eq!(
        format!("{}", NameError::Unprintable { at: 3, byte: 7 }),
        "byte 3 of the name is 0x07, which is not printable ASCII"
    );
}

#[test]
fn name_from_the_wire_need_not_be_valid() {
    for bytes in [&b""[..], b"a\x1B[2Jb", b"gr\xC3\xB6\xC3\x9Fe", b"\xFF"] {
        let name = wire(bytes);
        assert!(!name.is_valid(), "{name}");
        assert_eq!(name.as_str(), None);
        assert_eq!(name.as_bytes(), bytes);
        assert_eq!(name.as_ref(), bytes);
    }
    assert_eq!(wire(b"rpmsg tty").as_str(), Some("rpmsg tty"));
}

#[test]
fn name_displays_harmlessly() {
    assert_eq!(format!("{}", wire(b"rpmsg-tty")), "rpmsg-tty");
    assert_eq!(format!("{}", wire(b"a\x1B[2J\\\xFFb")), r"a\x1b[2J\\\xffb");
    assert_eq!(format!("{}", Name::default()), "");
}

#[test]
fn name_matches_exactly_or_by_instance() {
    let cases: [(&str, &str, bool, Option<&[u8]>); 9] = [
        ("rpmsg-tty", "rpmsg-tty", true, None),
        ("rpmsg-tty-1", "rpmsg-tty", true, Some(b"1")),
        ("rpmsg-tty-a-b", "rpmsg-tty", true, Some(b"a-b")),
        ("rpmsg-tty--", "rpmsg-tty", true, Some(b"-")),
        ("rpmsg-tty-", "rpmsg-tty", false, None),
        ("rpmsg-ttys", "rpmsg-tty", false, None),
        ("rpmsg-tt", "rpmsg-tty", false, None),
        ("-1", "", false, None),
        ("x-1", "y", false, None),
    ];
    for (text, service, matches, instance) in cases {
        assert_eq!(name(text).matches(service), matches, "{text} for {service}");
        assert_eq!(name(text).instance(service), instance, "{text} for {service}");
    }
    assert!(!Name::default().matches(""));
}

/// The bytes that a `Display` was made from.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (first, rest) {
            (b'\\', [b'\\', behind @ ..]) => {
                rest = behind;
                b'\\'
            }
            (b'\\', [b'x', high, low, behind @ ..]) => {
                rest = behind;
                let digits = [*high, *low];
                u8::from_str_radix(core::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (&byte, _) => byte,
        });
    }
    bytes
}

proptest! {
    #[test]
    fn announcement_is_total_and_settles(bytes in bytes::<40>()) {
        let announcement = Announcement::parse(&bytes);
        let emitted = announcement.emit();
        prop_assert_eq!(Announcement::parse(&emitted), announcement);
        prop_assert_eq!(&emitted[32..], &bytes[32..]);
        let len = announcement.name.as_bytes().len();
        prop_assert!(len <= Name::MAX_LEN);
        prop_assert_eq!(&emitted[..len], &bytes[..len]);
        prop_assert!(emitted[len..32].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn name_displays_reversibly_in_printable_characters(bytes in bytes::<32>()) {
        let name = Name::from_wire(bytes);
        let text = format!("{name}");
        prop_assert!(text.chars().all(|c| (' '..='~').contains(&c)));
        prop_assert_eq!(unescape(&text), name.as_bytes());
    }

    #[test]
    fn name_is_valid_just_when_it_could_be_made(bytes in bytes::<32>(), printable in "[ -~]{0,34}") {
        let received = Name::from_wire(bytes);
        let made = core::str::from_utf8(received.as_bytes()).ok().and_then(|text| Name::new(text).ok());
        prop_assert_eq!(received.is_valid(), made == Some(received));
        match Name::new(&printable) {
            Ok(name) => prop_assert_eq!(name.as_str().map(str::to_owned), Some(printable)),
            Err(_) => prop_assert!(printable.is_empty() || printable.len() > 31),
        }
    }

    #[test]
    fn name_matches_every_prefix_before_a_dash(service in "[a-z-]{1,12}", instance in "[a-z0-9-]{1,12}") {
        let name = name(&format!("{service}-{instance}"));
        prop_assert!(name.matches(&service));
        prop_assert_eq!(name.instance(&service), Some(instance.as_bytes()));
    }
}
