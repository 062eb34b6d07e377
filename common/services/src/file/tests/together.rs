//! Both halves with each other, and each with somebody who says anything.

use super::*;

/// Asks by way of both halves.
fn call<'o>(
    client: &mut Client<2>,
    server: &mut Server<Shelf, 4>,
    request: Request<'_>,
    rooms: (usize, usize),
    out: &'o mut [u8],
) -> Result<Answer<'o>, Error> {
    let mut message = [0; 600];
    let (asked, message) = client.request(request, &mut message[..rooms.0]).unwrap();
    let answer = server.answer(message, &mut out[..rooms.1]).unwrap().unwrap();
    match client.receive(answer).unwrap() {
        Event::Answer { id, answer } if id == asked => answer,
        other => panic!("{other:?}"),
    }
}

fn greeted(files: &[(&str, Option<&[u8]>)]) -> (Client<2>, Server<Shelf, 4>) {
    let (mut client, mut server) = (Client::new(), Server::new(Shelf::with(files)));
    let mut out = [0; 32];
    client.receive(server.hello(&mut out).unwrap()).unwrap();
    server.answer(client.poll(&mut out).unwrap().unwrap(), &mut [0; 32]).unwrap();
    (client, server)
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let small = || prop_oneof![4 => Just(0u8), 4 => 0u8..4, 1 => any::<u8>()];
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("d"),
        Just("d/a"),
        Just("."),
        Just("../a"),
        Just("/a"),
        Just("")
    ];
    let numbers = (0u8..14, small(), any::<u16>(), vec(small(), 0..24));
    prop_oneof![
        numbers.prop_map(|(kind, status, id, rest)| {
            let [low, high] = id.to_le_bytes();
            [&[kind, status, low, high], &*rest].concat()
        }),
        (
            any::<u16>(),
            prop_oneof![Just(1u16), Just(2), Just(3), Just(6), Just(7), Just(0x41), any::<u16>()],
            name
        )
            .prop_map(|(id, flags, name)| {
                [&[2, 0], &id.to_le_bytes()[..], &flags.to_le_bytes(), &[0, 0], name.as_bytes()].concat()
            }),
        // Handles that may well be open.
        (3u8..9, any::<u16>(), 0u8..4, 1u8..4, vec(small(), 0..20)).prop_map(
            |(kind, id, slot, generation, rest)| {
                [&[kind, 0], &id.to_le_bytes()[..], &[slot, 0, generation, 0], &rest].concat()
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_file_is_copied_whole_whatever_fits_a_message(
        content in vec(any::<u8>(), 0..3000),
        rooms in (MIN_MESSAGE..600, MIN_MESSAGE..600),
        len in prop_oneof![1u32..100, Just(u32::MAX)],
    ) {
        let (mut client, mut server) = greeted(&[("from", Some(&content))]);
        let (mut out, mut message) = ([0; 600], [0; 600]);
        let open = |client: &mut _, server: &mut _, name, flags| {
            handle(call(client, server, Request::Open { path: path(name), flags }, rooms, &mut [0; 600]).unwrap())
        };
        let from = open(&mut client, &mut server, "from", Flags::READ);
        let to = open(&mut client, &mut server, "to", Flags::WRITE | Flags::CREATE);
        let mut position = 0;
        loop {
            let read = Request::Read { handle: from, offset: position, len };
            let Ok(Answer::Data(bytes)) = call(&mut client, &mut server, read, rooms, &mut out) else { panic!() };
            if bytes.is_empty() {
                break;
            }
            let mut bytes = bytes.to_vec();
            while !bytes.is_empty() {
                let (_, chunk) = client.write(to, position, &bytes, &mut message[..rooms.0]).unwrap();
                let answer = server.answer(chunk.message, &mut out[..rooms.1]).unwrap().unwrap();
                let Ok(Event::Answer { answer: Ok(Answer::Written(len)), .. }) = client.receive(answer) else { panic!() };
                position += u64::from(len);
                bytes.drain(..len as usize);
            }
        }
        let info = call(&mut client, &mut server, Request::Stat { handle: to }, rooms, &mut out);
        prop_assert_eq!(info, Ok(Answer::Info(Info { kind: Kind::File, size: content.len() as u64 })));
        let copy = open(&mut client, &mut server, "to", Flags::READ);
        let mut back = Vec::new();
        while back.len() < content.len() {
            let read = Request::Read { handle: copy, offset: back.len() as u64, len };
            let Ok(Answer::Data(bytes)) = call(&mut client, &mut server, read, rooms, &mut out) else { panic!() };
            back.extend_from_slice(bytes);
        }
        prop_assert_eq!(back, content);
    }

    #[test]
    fn a_directory_is_listed_whole_whatever_fits_a_message(
        names in proptest::collection::btree_set("[a-z]{1,18}", 0..40),
        room in MIN_MESSAGE..600,
    ) {
        let paths: Vec<_> = names.iter().map(|name| format!("d/{name}")).collect();
        let mut files: Vec<(&str, Option<&[u8]>)> = paths.iter().map(|path| (&**path, None)).collect();
        files.push(("d", None));
        let (mut client, mut server) = greeted(&files);
        let (mut out, rooms) = ([0; 600], (600, room));
        let flags = Flags::READ | Flags::DIRECTORY;
        let directory = handle(call(&mut client, &mut server, Request::Open { path: path("d"), flags }, rooms, &mut out).unwrap());
        let (mut seen, mut position) = (Vec::new(), 0);
        loop {
            let list = Request::List { handle: directory, position };
            let answer = call(&mut client, &mut server, list, rooms, &mut out);
            let Ok(Answer::Entries(entries)) = answer else { panic!("{answer:?}") };
            let Some(last) = entries.iter().last() else { break };
            position = last.next;
            seen.extend(entries.iter().map(|entry| entry.name.to_vec()));
        }
        prop_assert_eq!(seen, names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn a_remote_that_asks_for_anything_is_answered_each_time(
        messages in vec(request_bytes(), 0..80),
        room in MIN_MESSAGE..80,
    ) {
        let mut server = serving::<3>(&[("a", Some(b"content")), ("d", None), ("d/a", Some(b""))]);
        let mut out = [0; 80];
        for message in messages {
            match server.answer(&message, &mut out[..room]) {
                Ok(Some(answer)) => {
                    prop_assert!(answer.len() <= room);
                    prop_assert_eq!((answer[0], &answer[2..4]), (message[0] | 0x80, &message[2..4]));
                    let known = (2..=12).contains(&message[0]);
                    prop_assert_eq!(ToRemote::parse(answer).is_ok(), known, "{:?}", answer);
                }
                Ok(None) => panic!("a hello was taken twice"),
                Err(_) => prop_assert_eq!(message[0], 1),
            }
            prop_assert!(server.open_count() <= 3);
        }
    }

    #[test]
    fn any_bytes_at_all_are_answered_or_refused(messages in vec(vec(any::<u8>(), 0..40), 0..40)) {
        let mut server = serving::<3>(FILES);
        for message in messages {
            let refused = server.answer(&message, &mut [0; 32]).is_err();
            prop_assert_eq!(refused, message.len() < 4 || message[0] == 1);
        }
    }

    #[test]
    fn a_main_side_that_says_anything_gets_errors_and_nothing_else(
        messages in vec((0x81u8..0x8D, prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0u8..6, vec(any::<u8>(), 0..24)), 0..60),
    ) {
        let mut client = Client::<4>::new();
        let mut out = [0; 64];
        for (i, (kind, status, id, rest)) in messages.into_iter().enumerate() {
            let message = [&[kind, status, id, 0], &*rest].concat();
            let before = format!("{client:?}");
            match client.receive(&message) {
                Err(_) => prop_assert_eq!(format!("{client:?}"), before),
                Ok(Event::Started) => prop_assert_eq!(kind, 0x81),
                Ok(Event::Answer { answer, .. }) => {
                    prop_assert!(kind > 0x81);
                    if let Ok(Answer::Data(bytes)) = answer {
                        prop_assert!(bytes.len() <= 5);
                    }
                }
            }
            let _ = client.poll(&mut out);
            let handle = Handle(7);
            let request = match i % 3 {
                0 => Request::Read { handle, offset: 0, len: 5 },
                1 => Request::List { handle, position: 0 },
                _ => Request::Open { path: path("a"), flags: Flags::READ },
            };
            let _ = client.request(request, &mut out);
        }
    }
}
