use super::*;

fn span(name: &str) -> Span {
    Span { name: name.to_owned(), at: 0x2000_0000, offset: 4096, len: 8192, access: Access::ReadExecute }
}

fn plan() -> Plan {
    Plan {
        total: 1 << 20,
        memories: vec![span("text"), span("grüße")],
        hand_over: span("page"),
        stack: span("stack"),
        guard: 4096,
    }
}

fn boot() -> Boot {
    Boot { entry: DeviceAddr(0x1000_0000), table: Some((DeviceAddr(0x1010_0000), 256)) }
}

fn crash(kind: CrashKind) -> Event {
    Event::Crashed(Crash {
        kind,
        signal: 11,
        pc: Some(DeviceAddr(7)),
        registers: Some(Registers { machine: 62, bytes: (0..216).map(|n| n as u8).collect() }),
        allegation: Some("src/main.rs:1: no".to_owned()),
    })
}

fn halted(ended: Option<Event>) -> Halted {
    let registers = Some(Registers { machine: 183, bytes: vec![3; 272] });
    Halted { plan: plan(), ended, pc: Some(DeviceAddr(7)), registers }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Prepare(plan()),
        Request::Start(boot()),
        Request::Stop(()),
        Request::Unprepare(()),
        Request::Detach(()),
        Request::Attach(VERSION),
        Request::Halt(VERSION),
        Request::End(VERSION),
    ]
}

fn replies() -> Vec<Reply> {
    let kinds = [
        CrashKind::Fault { address: DeviceAddr(u64::MAX) },
        CrashKind::IllegalInstruction,
        CrashKind::Abort,
        CrashKind::ForbiddenCall { number: 39 },
        CrashKind::Hang,
        CrashKind::Killed,
        CrashKind::Other,
    ];
    let findings = vec!["one".to_owned(), "two".to_owned()];
    let mut replies = vec![
        Reply::Done(()),
        Reply::Prepared(()),
        Reply::Started(findings.clone()),
        Reply::Attached(Attached { plan: plan(), boot: boot(), findings }),
        Reply::Refused(Refusal::new("try", "no")),
        Reply::Ended(Event::Exited { code: -1 }),
        Reply::Farewell("bye".to_owned()),
        Reply::Halted(halted(None)),
        Reply::Halted(halted(Some(crash(CrashKind::Hang)))),
    ];
    replies.extend(kinds.map(|kind| Reply::Ended(crash(kind))));
    replies
}

/// It survives the way, and every shorter or longer message is refused.
fn check<T: Wire + PartialEq + fmt::Debug>(message: &T) {
    let bytes = message.encode();
    assert!(bytes.len() < MAX_MESSAGE);
    assert_eq!(T::decode(&bytes).as_ref(), Ok(message));
    for len in 0..bytes.len() {
        assert!(T::decode(&bytes[..len]).is_err(), "{message:?} cut to {len} bytes");
    }
    assert_eq!(T::decode(&[&bytes[..], &[0]].concat()), Err(Garbled("length")));
}

#[test]
fn every_message_survives_the_way_and_none_survives_a_cut() {
    requests().iter().for_each(check);
    replies().iter().for_each(check);
    check(&StubOrder { warden: 7, strict: true, plan: plan(), entry: 1 });
    check(&StubReport::Finding("x".to_owned()));
    check(&StubReport::Ready(()));
    check(&StubReport::Refused(Refusal::new("try", "no")));
    let (listens, leased, outlives, strict) = (true, false, true, false);
    let (version, name, firmware, logs, watchdog_ms) = (VERSION, "a".to_owned(), "b".to_owned(), true, 1000);
    check(&Setup { version, name, listens, leased, logs, firmware, outlives, strict, watchdog_ms });
}

#[test]
fn changed_bytes_are_another_message_or_none_but_never_a_panic() {
    for bytes in requests().iter().map(Wire::encode).chain(replies().iter().map(Wire::encode)) {
        for at in 0..bytes.len() {
            for value in [0, 1, 2, 7, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Whatever it means, it is something that can be said.
                if let Ok(request) = Request::decode(&changed) {
                    assert_eq!(Request::decode(&request.encode()), Ok(request));
                }
                if let Ok(reply) = Reply::decode(&changed) {
                    assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
                }
            }
        }
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    // A list of 65535 findings, a text of 65535 bytes, and access that no sandbox gives.
    assert_eq!(Reply::decode(&[3, 0xff, 0xff]), Err(Garbled("count")));
    assert_eq!(Reply::decode(&[7, 0xff, 0xff, b'x']), Err(Garbled("text")));
    assert_eq!(Reply::decode(&[7, 1, 0, 0xff]), Err(Garbled("text")));
    assert_eq!(Access::decode(&[3]), Err(Garbled("access")));
    assert_eq!(Request::decode(&[0]), Err(Garbled("kind")));
    assert_eq!(Request::decode(&[]), Err(Garbled("length")));
}

#[test]
fn a_text_that_is_too_long_is_cut_where_a_character_ends() {
    let long = "ü".repeat(MAX_TEXT);
    let Ok(Reply::Farewell(cut)) = Reply::decode(&Reply::Farewell(long.clone()).encode()) else { panic!() };
    assert_eq!(cut.len(), MAX_TEXT);
    assert!(long.starts_with(&cut));
}
