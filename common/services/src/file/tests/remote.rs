//! The remote's half for itself.

use super::*;

fn told(message: ToRemote<'_>) -> Vec<u8> {
    let mut out = [0; 600];
    message.emit(&mut out).unwrap().to_vec()
}

fn started<const REQUESTS: usize>() -> Client<REQUESTS> {
    let mut client = Client::new();
    let hello = told(ToRemote::Hello { version: 3, handles: 2, path_max: 100 });
    // A later version's hello may say more.
    assert_eq!(client.receive(&[&*hello, b"more"].concat()), Ok(Event::Started));
    let mut out = [0; 32];
    assert_eq!(client.poll(&mut out), Ok(Some(&b"\x01\0\x01\0\xF0\x01"[..])));
    assert_eq!(client.poll(&mut out), Ok(None));
    assert_eq!(client.session(), Some(Session { version: 1, handles: 2, path_max: 100 }));
    client
}

/// The number on the wire.
fn number(message: &[u8]) -> u16 {
    id_of(message).unwrap().1
}

fn unheard<const REQUESTS: usize>(client: &mut Client<REQUESTS>, said: ToRemote<'_>, error: PeerError) {
    let before = format!("{client:?}");
    assert_eq!(client.receive(&told(said)), Err(error), "{said:?}");
    assert_eq!(format!("{client:?}"), before, "{said:?}");
}

const NOBODY: PeerError =
    PeerError::OutOfTurn { message: "an answer", why: "no request on its way has its number" };

#[test]
fn nothing_is_asked_for_before_both_hellos() {
    let mut client = Client::<2>::new();
    let stat = Request::Stat { handle: Handle(1) };
    let mut out = [0; 32];
    assert_eq!(client.poll(&mut out), Ok(None));
    assert_eq!(client.request(stat, &mut out), Err(CallError::NotStarted));
    unheard(&mut client, ToRemote::Answer { id: 0, to: 3, answer: Ok(Answer::Done) }, NOBODY);
    let hello = ToRemote::Hello { version: 1, handles: 1, path_max: 1 };
    assert_eq!(client.receive(&told(hello)), Ok(Event::Started));
    assert_eq!(client.request(stat, &mut out), Err(CallError::NotStarted));
    assert_eq!(client.poll(&mut out[..5]), Err(NoRoom { needed: 6, room: 5 }));
    assert!(client.poll(&mut out).unwrap().is_some());
    unheard(&mut client, hello, PeerError::OutOfTurn { message: "a hello", why: "there was one already" });
    assert!(client.request(stat, &mut out).is_ok());
}

#[test]
fn requests_on_their_way_have_different_numbers_and_a_bound() {
    let mut client = started::<3>();
    let mut out = [0; 32];
    let stat = Request::Stat { handle: Handle(1) };
    let (stuck, message) = client.request(stat, &mut out).unwrap();
    let stuck_number = number(message);
    let done = |id| told(ToRemote::Answer { id, to: 6, answer: Err(Error::Failed) });
    // One is never answered, while all the numbers go by.
    for _ in 0..70_000 {
        let (first, message) = client.request(stat, &mut out).unwrap();
        let one = number(message);
        let (second, message) = client.request(stat, &mut out).unwrap();
        let two = number(message);
        assert!(one != two && one != stuck_number && two != stuck_number);
        assert_eq!(client.request(stat, &mut out), Err(CallError::TooManyRequests { max: 3 }));
        // Answers come in any order.
        assert_eq!(client.receive(&done(two)), Ok(Event::Answer { id: second, answer: Err(Error::Failed) }));
        assert_eq!(client.receive(&done(two)), Err(NOBODY));
        assert_eq!(client.receive(&done(one)), Ok(Event::Answer { id: first, answer: Err(Error::Failed) }));
    }
    let late = done(stuck_number);
    assert_eq!(client.receive(&late), Ok(Event::Answer { id: stuck, answer: Err(Error::Failed) }));
}

#[test]
fn as_many_requests_as_there_may_be_find_numbers() {
    let mut client = started::<REQUESTS_MAX>();
    let mut out = [0; 32];
    for _ in 0..REQUESTS_MAX {
        client.request(Request::Stat { handle: Handle(1) }, &mut out).unwrap();
    }
    let error = client.request(Request::Stat { handle: Handle(1) }, &mut out).unwrap_err();
    assert_eq!(error, CallError::TooManyRequests { max: REQUESTS_MAX });
}

#[test]
fn an_answer_has_to_be_one_to_what_was_asked() {
    let mut client = started::<2>();
    let mut out = [0; 32];
    let handle = Handle(1);
    let read = client.request(Request::Read { handle, offset: 0, len: 3 }, &mut out).unwrap();
    let (read, read_id) = (number(read.1), read.0);
    let write = client.request(Request::Write { handle, offset: 0, bytes: b"abc" }, &mut out).unwrap();
    let (write, write_id) = (number(write.1), write.0);
    let answer = |id, to, answer| ToRemote::Answer { id, to, answer };
    unheard(&mut client, answer(99, 4, Ok(Answer::Data(b""))), NOBODY);
    let other = malformed("request answered", 5, 4, 4).into();
    unheard(&mut client, answer(read, 5, Ok(Answer::Written(1))), other);
    unheard(&mut client, answer(read, 5, Err(Error::Failed)), other);
    let long = malformed("bytes read", 4, 0, 3).into();
    unheard(&mut client, answer(read, 4, Ok(Answer::Data(b"abcd"))), long);
    for len in [0, 4] {
        let wrong = malformed("bytes written", len, 1, 3).into();
        unheard(&mut client, answer(write, 5, Ok(Answer::Written(len as u32))), wrong);
    }
    for (message, id) in [
        (answer(read, 4, Ok(Answer::Data(b""))), read_id),
        (answer(write, 5, Ok(Answer::Written(3))), write_id),
    ] {
        let ToRemote::Answer { answer, .. } = message else { panic!("{message:?}") };
        assert_eq!(client.receive(&told(message)), Ok(Event::Answer { id, answer }));
    }
    // None written of none is all there was.
    let none = client.request(Request::Write { handle, offset: 0, bytes: b"" }, &mut out).unwrap();
    let message = answer(number(none.1), 5, Ok(Answer::Written(0)));
    assert!(client.receive(&told(message)).is_ok());
}

#[test]
fn what_does_not_fit_is_not_asked_for() {
    let mut client = started::<1>();
    let before = format!("{client:?}");
    let flags = Flags::READ | Flags::CREATE;
    let mut out = [0; 32];
    let open = client.request(Request::Open { path: path("a"), flags }, &mut out);
    assert_eq!(open, Err(CallError::BadFlags { flags }));
    let no_room = |needed, room| CallError::NoRoom(NoRoom { needed, room });
    let remove = client.request(Request::Remove { path: path("0123456789") }, &mut out[..13]);
    assert_eq!(remove, Err(no_room(14, 13)));
    for room in 0..17 {
        assert_eq!(client.write(Handle(1), 0, b"abc", &mut out[..room]), Err(no_room(17, room)));
    }
    assert_eq!(format!("{client:?}"), before);
    let (id, Chunk { message, taken }) = client.write(Handle(1), 0, b"abc", &mut out[..18]).unwrap();
    assert_eq!((message.len(), taken), (18, 2));
    let three = ToRemote::Answer { id: number(message), to: 5, answer: Ok(Answer::Written(3)) };
    unheard(&mut client, three, malformed("bytes written", 3, 1, 2).into());
    let two = ToRemote::Answer { id: number(&out[..18]), to: 5, answer: Ok(Answer::Written(2)) };
    assert_eq!(client.receive(&told(two)), Ok(Event::Answer { id, answer: Ok(Answer::Written(2)) }));
    assert_eq!(client.write(Handle(1), 0, b"", &mut out[..16]).unwrap().1.taken, 0);
}

#[test]
fn errors_say_what_was_wrong() {
    let flags = Flags::READ | Flags::CREATE;
    for (error, text) in [
        (CallError::NotStarted, "the main side has not answered on the files' channel yet"),
        (CallError::TooManyRequests { max: 3 }, "3 requests are on their way, and no more can be"),
        (CallError::BadFlags { flags }, "Flags(READ | CREATE) do not go together"),
    ] {
        assert_eq!(error.to_string(), text);
    }
    let peer = Unanswered::Peer(NOBODY).to_string();
    assert_eq!(peer, "an answer is out of turn: no request on its way has its number");
    let short = Unanswered::NoRoom(NoRoom { needed: 32, room: 1 }).to_string();
    assert_eq!(short, "the message has 32 bytes, the buffer for it 1");
}
