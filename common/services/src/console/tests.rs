use proptest::{collection::vec, prelude::*};
use std::{format, string::ToString, vec, vec::Vec};

use super::{
    client::{CallError, Event as Heard, Read, Session},
    protocol::{ARGUMENTS_MAX, ToMain, ToRemote},
    server::Event as Served,
    *,
};
use crate::{
    Chunk, Fault, Malformed, NoRoom, PeerError,
    testing::{By, play},
};

mod messages;
mod together;

fn block(arguments: &[&[u8]]) -> Vec<u8> {
    let mut block = Vec::new();
    for argument in arguments {
        Arguments::append(&mut block, argument).unwrap();
    }
    block
}

/// A server and a client that have said hello.
fn started(arguments: &[&[u8]], window: u32) -> (Server<Vec<u8>>, Client<16>) {
    let (mut server, mut client) = (Server::new(block(arguments), window).unwrap(), Client::new());
    let mut out = [0; 64];
    let hello = server.poll(&mut out).unwrap().unwrap();
    assert_eq!(client.receive(hello), Ok(Heard::Started));
    let hello = client.poll(&mut out).unwrap().unwrap();
    assert_eq!(server.receive(hello), Ok(Served::Started { version: 1 }));
    (server, client)
}

fn message(message: ToMain<'_>) -> Vec<u8> {
    let mut out = [0; 600];
    message.emit(&mut out).unwrap().to_vec()
}

fn answer(message: ToRemote<'_>) -> Vec<u8> {
    let mut out = [0; 600];
    message.emit(&mut out).unwrap().to_vec()
}

fn out_of_range(field: &'static str, value: u64, min: u64, max: u64) -> PeerError {
    Malformed { field, value, fault: Fault::OutOfRange { min, max } }.into()
}

/// The server refuses the message, and nothing has changed.
fn refused(server: &mut Server<Vec<u8>>, said: ToMain<'_>, error: PeerError) {
    let before = format!("{server:?}");
    assert_eq!(server.receive(&message(said)), Err(error), "{said:?}");
    assert_eq!(format!("{server:?}"), before, "{said:?}");
}

/// The client refuses the message, and nothing has changed.
fn unheard<const N: usize>(client: &mut Client<N>, said: ToRemote<'_>, error: PeerError) {
    let before = format!("{client:?}");
    assert_eq!(client.receive(&answer(said)), Err(error), "{said:?}");
    assert_eq!(format!("{client:?}"), before, "{said:?}");
}

#[test]
fn golden_dialogue_is_spoken_and_understood_by_both() {
    let mut server = Server::new(block(&[b"one", b"2"]), 64).unwrap();
    let mut client = Client::<16>::new();
    let (server, client) = (core::cell::RefCell::new(&mut server), core::cell::RefCell::new(&mut client));
    let speak = |i, _| {
        let (mut server, mut client, mut out) = (server.borrow_mut(), client.borrow_mut(), [0; 64]);
        let out = &mut out;
        match i {
            0 | 3 => server.poll(out).unwrap().unwrap(),
            1 => client.poll(out).unwrap().unwrap(),
            2 => client.request_arguments(0, out).unwrap(),
            4 => client.output(Stream::Out, b"name?\n", out).unwrap().unwrap().message,
            5 => {
                assert_eq!((server.input_room(), client.read(&mut [0; 20])), (0, Read::Wait));
                client.poll(out).unwrap().unwrap()
            }
            6 => server.input(b"Ada Lovelace\n", out).unwrap().unwrap().message,
            7 => {
                let mut name = [0; 20];
                assert_eq!((client.read(&mut name), &name[..13]), (Read::Bytes(13), &b"Ada Lovelace\n"[..]));
                client.poll(out).unwrap().unwrap()
            }
            8 => server.end_input(out).unwrap().unwrap(),
            9 => client.output(Stream::Err, b"hello-Ada-hello-hello-Ada\n", out).unwrap().unwrap().message,
            10 => {
                server.written(32);
                server.poll(out).unwrap().unwrap()
            }
            11 => client.exit(-2, out).unwrap(),
            _ => panic!("message {i} is not spoken here"),
        }
        .to_vec()
    };
    let hear = |i, by, bytes: &[u8]| {
        let (mut server, mut client) = (server.borrow_mut(), client.borrow_mut());
        match by {
            By::Main => {
                let heard = client.receive(bytes).unwrap();
                let expected = match i {
                    0 => Heard::Started,
                    3 => Heard::Arguments { offset: 0, bytes: b"one\x002\0" },
                    6 => Heard::Input,
                    8 => Heard::InputEnded,
                    _ => Heard::OutputRoom,
                };
                assert_eq!(heard, expected, "message {i}");
            }
            By::Remote => {
                let heard = server.receive(bytes).unwrap();
                let expected = match i {
                    1 => Served::Started { version: 1 },
                    2 => Served::ArgumentsWanted,
                    4 => Served::Output { stream: Stream::Out, bytes: b"name?\n" },
                    5 | 7 => Served::InputWanted,
                    9 => Served::Output { stream: Stream::Err, bytes: b"hello-Ada-hello-hello-Ada\n" },
                    _ => Served::Exited { code: -2 },
                };
                assert_eq!(heard, expected, "message {i}");
            }
        }
    };
    play(include_str!("../../golden/console.txt"), speak, hear);
    assert_eq!(server.borrow().exit_code(), Some(-2));
    assert_eq!(client.borrow_mut().read(&mut [0; 20]), Read::End);
    let session = Session { version: 1, arguments: 2, arguments_len: 6 };
    assert_eq!(client.borrow().session(), Some(session));
}

#[test]
fn nothing_works_before_both_hellos() {
    let (mut server, mut client) = (Server::new(Vec::new(), 10).unwrap(), Client::<16>::new());
    let early = |message, why| PeerError::OutOfTurn { message, why };
    let mut out = [0; 64];
    assert_eq!(client.output(Stream::Out, b"a", &mut out), Ok(None));
    assert_eq!(client.read(&mut [0; 4]), Read::Wait);
    assert_eq!(client.poll(&mut out), Ok(None));
    assert_eq!(client.request_arguments(0, &mut out), Err(CallError::NotStarted));
    assert_eq!(client.exit(0, &mut out), Err(CallError::NotStarted));
    unheard(
        &mut client,
        ToRemote::OutputLimit { total: 10 },
        early("an output limit", "there was no hello yet"),
    );
    unheard(&mut client, ToRemote::Input { bytes: b"a" }, early("input", "there was no hello yet"));
    unheard(&mut client, ToRemote::InputEnd, early("the end of input", "there was no hello yet"));
    refused(
        &mut server,
        ToMain::Hello { version: 1, longest: 32 },
        early("a hello", "the main side speaks first"),
    );

    let hello = server.poll(&mut out).unwrap().unwrap().to_vec();
    assert_eq!(server.poll(&mut out), Ok(None));
    assert_eq!(server.input(b"a", &mut out), Ok(None));
    assert_eq!(server.end_input(&mut out), Ok(None));
    for (said, name) in [
        (ToMain::Output { stream: Stream::Out, bytes: b"a" }, "output"),
        (ToMain::InputLimit { total: 1 }, "an input limit"),
        (ToMain::ArgumentsRequest { offset: 0 }, "a request for arguments"),
        (ToMain::Exit { code: 0 }, "an exit code"),
    ] {
        refused(&mut server, said, early(name, "there was no hello yet"));
    }

    assert_eq!(client.receive(&hello), Ok(Heard::Started));
    // The hello has to be sent first.
    assert!(!client.has_output_room());
    assert_eq!(client.output(Stream::Out, b"a", &mut out), Ok(None));
    assert_eq!(client.exit(0, &mut out), Err(CallError::NotStarted));
    assert_eq!(client.receive(&hello), Err(early("a hello", "there was one already")));
    server.receive(client.poll(&mut out).unwrap().unwrap()).unwrap();
    refused(
        &mut server,
        ToMain::Hello { version: 1, longest: 32 },
        early("a hello", "there was one already"),
    );
    assert!(client.has_output_room());
}

#[test]
fn the_lower_version_is_spoken() {
    let mut client = Client::<16>::new();
    let hello = ToRemote::Hello { version: 9, arguments_len: 0, arguments: 0, output_limit: 5 };
    // A later version's hello may say more.
    assert_eq!(client.receive(&[&*answer(hello), b"more"].concat()), Ok(Heard::Started));
    assert_eq!(client.session().unwrap().version, 1);
    let mut server = Server::new(Vec::new(), 10).unwrap();
    server.poll(&mut [0; 64]).unwrap();
    let hello = [&*message(ToMain::Hello { version: 7, longest: 32 }), b"more"].concat();
    assert_eq!(server.receive(&hello), Ok(Served::Started { version: 1 }));
}

#[test]
fn no_message_is_longer_than_the_remote_takes() {
    let mut server = Server::new(block(&[&[b'x'; 100]]), 10).unwrap();
    let mut client = Client::<200>::new().taking(40);
    let mut out = [0; 600];
    client.receive(server.poll(&mut out).unwrap().unwrap()).unwrap();
    server.receive(client.poll(&mut out).unwrap().unwrap()).unwrap();
    server.receive(client.request_arguments(0, &mut out).unwrap()).unwrap();
    assert_eq!(server.poll(&mut out).unwrap().unwrap().len(), 40);
    assert_eq!(client.read(&mut [0]), Read::Wait);
    server.receive(client.poll(&mut out).unwrap().unwrap()).unwrap();
    let chunk = server.input(&[7; 100], &mut out).unwrap().unwrap();
    assert_eq!((chunk.message.len(), chunk.taken), (40, 39));
    // What no remote can mean is not said, and not heard.
    let hello = ToRemote::Hello { version: 1, arguments_len: 0, arguments: 0, output_limit: 5 };
    for (asked, said) in [(0, 32), (31, 32), (33, 33), (u16::MAX, u16::MAX)] {
        let mut client = Client::<16>::new().taking(asked);
        client.receive(&answer(hello)).unwrap();
        let hello = ToMain::parse(client.poll(&mut out).unwrap().unwrap());
        assert_eq!(hello, Ok(ToMain::Hello { version: 1, longest: said }));
    }
}

#[test]
fn output_waits_until_what_came_before_is_written_out() {
    let (mut server, mut client) = started(&[], 10);
    let mut out = [0; 64];
    let Chunk { message, taken } = client.output(Stream::Out, b"0123456789abc", &mut out).unwrap().unwrap();
    assert_eq!((message, taken), (&b"\x02\x010123456789"[..], 10));
    assert_eq!(server.receive(message), Ok(Served::Output { stream: Stream::Out, bytes: b"0123456789" }));
    assert_eq!(client.output(Stream::Out, b"abc", &mut out), Ok(None));
    // Less than half of the window is not worth a message.
    server.written(4);
    assert_eq!(server.poll(&mut out), Ok(None));
    // More than there was cannot have been written out.
    server.written(usize::MAX);
    let limit = server.poll(&mut out).unwrap().unwrap();
    assert_eq!(limit, answer(ToRemote::OutputLimit { total: 20 }));
    assert_eq!(client.receive(limit), Ok(Heard::OutputRoom));
    assert_eq!(server.poll(&mut out), Ok(None));
    assert_eq!(client.output(Stream::Err, b"abc", &mut out).unwrap().unwrap().taken, 3);
    // An old limit says nothing new.
    assert_eq!(client.receive(&answer(ToRemote::OutputLimit { total: 3 })), Ok(Heard::OutputRoom));
    assert!(client.has_output_room());
}

#[test]
fn a_limit_is_said_once_however_narrow_the_window() {
    for window in 0..4 {
        let (mut server, mut client) = started(&[], window);
        let mut out = [0; 64];
        assert_eq!(server.poll(&mut out), Ok(None));
        let chunk = client.output(Stream::Out, b"0123456789", &mut out).unwrap().unwrap();
        assert_eq!(chunk.taken as u32, window.max(1));
        server.receive(chunk.message).unwrap();
        server.written(chunk.taken);
        assert!(server.poll(&mut out).unwrap().is_some());
        assert_eq!(server.poll(&mut out), Ok(None));
    }
}

#[test]
fn output_beyond_the_limit_is_refused() {
    let (mut server, _) = started(&[], 10);
    let eleven = ToMain::Output { stream: Stream::Out, bytes: &[b'x'; 11] };
    refused(&mut server, eleven, out_of_range("total of output", 11, 0, 10));
    let ten = message(ToMain::Output { stream: Stream::Out, bytes: &[b'x'; 10] });
    assert!(server.receive(&ten).is_ok());
    let one = ToMain::Output { stream: Stream::Err, bytes: b"x" };
    refused(&mut server, one, out_of_range("total of output", 11, 0, 10));
}

#[test]
fn input_waits_until_the_remote_reads() {
    let (mut server, mut client) = started(&[], 10);
    let mut out = [0; 64];
    assert_eq!((server.input_room(), server.input(b"abc", &mut out)), (0, Ok(None)));
    assert_eq!(client.poll(&mut out), Ok(None));
    assert_eq!(client.read(&mut []), Read::Bytes(0));
    assert_eq!(client.poll(&mut out), Ok(None));

    assert_eq!(client.read(&mut [0; 1]), Read::Wait);
    server.receive(client.poll(&mut out).unwrap().unwrap()).unwrap();
    assert_eq!((server.input_room(), client.poll(&mut out)), (16, Ok(None)));
    // An old limit says nothing new.
    assert_eq!(server.receive(&message(ToMain::InputLimit { total: 3 })), Ok(Served::InputWanted));
    assert_eq!(server.input_room(), 16);
    assert_eq!(server.input(b"", &mut out), Ok(None));
    let Chunk { message, taken } = server.input(&[7; 20], &mut out).unwrap().unwrap();
    assert_eq!((taken, server.input_room()), (16, 0));
    assert_eq!(client.receive(message), Ok(Heard::Input));
    let mut some = [0; 7];
    assert_eq!((client.read(&mut some), some), (Read::Bytes(7), [7; 7]));
    assert_eq!(client.poll(&mut out), Ok(None), "less than half of the room");
    assert_eq!(client.read(&mut some), Read::Bytes(7));
    server.receive(client.poll(&mut out).unwrap().unwrap()).unwrap();
    assert_eq!(server.input_room(), 14);

    // The end needs no room, and comes behind what is there.
    assert_eq!(client.receive(server.end_input(&mut out).unwrap().unwrap()), Ok(Heard::InputEnded));
    assert_eq!((server.end_input(&mut out), server.input_room()), (Ok(None), 0));
    assert_eq!((client.read(&mut some), client.read(&mut some)), (Read::Bytes(2), Read::End));
    assert_eq!(client.poll(&mut out), Ok(None));
}

#[test]
fn input_beyond_the_limit_or_behind_the_end_is_refused() {
    let (_, mut client) = started(&[], 10);
    unheard(&mut client, ToRemote::Input { bytes: b"a" }, out_of_range("total of input", 1, 0, 0));
    assert_eq!(client.read(&mut [0; 1]), Read::Wait);
    client.poll(&mut [0; 64]).unwrap();
    unheard(&mut client, ToRemote::Input { bytes: &[0; 17] }, out_of_range("total of input", 17, 0, 16));
    assert_eq!(client.receive(&answer(ToRemote::InputEnd)), Ok(Heard::InputEnded));
    let late = |message| PeerError::OutOfTurn { message, why: "the input has ended" };
    unheard(&mut client, ToRemote::Input { bytes: b"a" }, late("input"));
    unheard(&mut client, ToRemote::InputEnd, late("the end of input"));
}

#[test]
fn a_console_without_a_buffer_has_no_input() {
    let mut client = Client::<0>::new();
    assert_eq!(client.read(&mut [0; 1]), Read::End);
    let hello = ToRemote::Hello { version: 1, arguments_len: 0, arguments: 0, output_limit: 5 };
    client.receive(&answer(hello)).unwrap();
    client.poll(&mut [0; 64]).unwrap().unwrap();
    assert_eq!(client.poll(&mut [0; 64]), Ok(None));
    unheard(&mut client, ToRemote::Input { bytes: b"a" }, out_of_range("total of input", 1, 0, 0));
}

#[test]
fn arguments_come_in_pieces_and_only_to_who_asked() {
    let long = vec![b'x'; 100];
    let (mut server, mut client) = started(&[&long, b"", b"\xFF"], 10);
    let mut out = [0; 40];
    let nobody = PeerError::OutOfTurn { message: "arguments", why: "nobody asked for them" };
    unheard(&mut client, ToRemote::Arguments { offset: 0, bytes: b"a" }, nobody);
    let mut got = Vec::new();
    while got.len() < client.session().unwrap().arguments_len as usize {
        let offset = got.len() as u32;
        let request = client.request_arguments(offset, &mut out).unwrap();
        assert_eq!(server.receive(request), Ok(Served::ArgumentsWanted));
        let again = Err(CallError::AskedAlready { offset });
        assert_eq!(client.request_arguments(offset, &mut out), again);
        let why = "the one before was not answered yet";
        let error = PeerError::OutOfTurn { message: "a request for arguments", why };
        refused(&mut server, ToMain::ArgumentsRequest { offset: 0 }, error);

        let other = ToRemote::Arguments { offset: offset + 1, bytes: b"a" };
        let there = u64::from(offset);
        unheard(&mut client, other, out_of_range("offset of arguments", there + 1, there, there));
        let (empty, rest) = (ToRemote::Arguments { offset, bytes: b"" }, 104 - there);
        unheard(&mut client, empty, out_of_range("length of arguments", 0, 1, rest));
        let long = ToRemote::Arguments { offset, bytes: &[1; 105] };
        unheard(&mut client, long, out_of_range("length of arguments", 105, 1, rest));

        let piece = server.poll(&mut out).unwrap().unwrap();
        assert!(piece.len() <= 40);
        let Heard::Arguments { bytes, .. } = client.receive(piece).unwrap() else { panic!("{piece:?}") };
        got.extend_from_slice(bytes);
    }
    let arguments: Vec<&[u8]> = Arguments::new(&got).unwrap().iter().collect();
    assert_eq!(arguments, [&long[..], b"", b"\xFF"]);
    // At the end there is nothing, which is an answer; beyond it there is none.
    server.receive(client.request_arguments(104, &mut out).unwrap()).unwrap();
    let end = server.poll(&mut out).unwrap().unwrap();
    assert_eq!(client.receive(end), Ok(Heard::Arguments { offset: 104, bytes: b"" }));
    let beyond = CallError::BeyondArguments { offset: 105, len: 104 };
    assert_eq!(client.request_arguments(105, &mut out), Err(beyond));
    let error = out_of_range("offset of arguments", 105, 0, 104);
    refused(&mut server, ToMain::ArgumentsRequest { offset: 105 }, error);
}

#[test]
fn nothing_follows_the_exit_code() {
    let (mut server, mut client) = started(&[], 10);
    let mut out = [0; 64];
    assert_eq!(client.read(&mut [0; 1]), Read::Wait);
    let exit = client.exit(i32::MIN, &mut out).unwrap();
    assert_eq!(server.receive(exit), Ok(Served::Exited { code: i32::MIN }));
    assert_eq!(server.exit_code(), Some(i32::MIN));
    assert_eq!(client.exit(1, &mut out), Err(CallError::Exited));
    assert_eq!(client.output(Stream::Out, b"a", &mut out), Err(CallError::Exited));
    assert_eq!(client.request_arguments(0, &mut out), Err(CallError::Exited));
    assert_eq!(client.poll(&mut out), Ok(None));
    assert!(!client.has_output_room());
    let late = PeerError::OutOfTurn { message: "an exit code", why: "the remote has exited" };
    refused(&mut server, ToMain::Exit { code: 0 }, late);
    assert_eq!(server.poll(&mut out), Ok(None));
    assert_eq!(server.input(b"a", &mut out), Ok(None));
    assert_eq!((server.end_input(&mut out), server.input_room()), (Ok(None), 0));
    assert_eq!(server.exit_code(), Some(i32::MIN));
}

#[test]
fn a_short_buffer_is_an_error_and_changes_nothing() {
    let short = Err(NoRoom { needed: 32, room: 31 });
    let out = &mut [0; 31];
    let mut new = Server::new(Vec::new(), 10).unwrap();
    assert_eq!(new.poll(out), short.map(Some));
    assert!(new.poll(&mut [0; 32]).unwrap().is_some());
    let (mut server, mut client) = started(&[b"a"], 10);
    let before = format!("{server:?} {client:?}");
    assert_eq!(server.input(b"a", out), Err(NoRoom { needed: 32, room: 31 }));
    assert_eq!(server.end_input(out), short.map(Some));
    let no_room = |needed, room| CallError::NoRoom(NoRoom { needed, room });
    assert_eq!(client.output(Stream::Out, b"a", out), Err(no_room(32, 31)));
    assert_eq!(client.request_arguments(0, &mut out[..7]), Err(no_room(8, 7)));
    assert_eq!(client.exit(0, &mut out[..7]), Err(no_room(8, 7)));
    assert_eq!(format!("{server:?} {client:?}"), before);
}

#[test]
fn errors_say_what_was_wrong() {
    let no_room = CallError::NoRoom(NoRoom { needed: 8, room: 7 });
    let cases = [
        (no_room.to_string(), "the message has 8 bytes, the buffer for it 7"),
        (CallError::Exited.to_string(), "the exit code was sent already"),
        (
            CallError::BeyondArguments { offset: 9, len: 8 }.to_string(),
            "byte 9 of the arguments was asked for, but they have 8",
        ),
        (
            PeerError::OutOfTurn { message: "input", why: "the input has ended" }.to_string(),
            "input is out of turn: the input has ended",
        ),
        (
            out_of_range("total of output", 11, 0, 10).to_string(),
            "total of output is 11 (0xb): must be between 0 and 10",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, expected);
    }
}
