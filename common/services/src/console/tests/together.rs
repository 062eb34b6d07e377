//! Both halves with each other, and each with somebody who says anything.

use std::collections::VecDeque;

use super::*;

/// Turns that are taken in any order, each as long as it says.
#[derive(Clone, Debug)]
enum Turn {
    Print { stream: Stream, len: usize, room: usize },
    Read { len: usize },
    AskForArguments { room: usize },
    ClientPoll { room: usize },
    ServerPoll { room: usize },
    Type { len: usize, room: usize },
    WriteOut { len: usize },
    ToMain,
    ToRemote,
}

fn turn() -> impl Strategy<Value = Turn> {
    let room = || MIN_MESSAGE..200;
    prop_oneof![
        (any::<bool>(), 1usize..100, room()).prop_map(|(err, len, room)| Turn::Print {
            stream: if err { Stream::Err } else { Stream::Out },
            len,
            room
        }),
        (0usize..40).prop_map(|len| Turn::Read { len }),
        room().prop_map(|room| Turn::AskForArguments { room }),
        room().prop_map(|room| Turn::ClientPoll { room }),
        room().prop_map(|room| Turn::ServerPoll { room }),
        (0usize..100, room()).prop_map(|(len, room)| Turn::Type { len, room }),
        (0usize..100).prop_map(|len| Turn::WriteOut { len }),
        Just(Turn::ToMain),
        Just(Turn::ToRemote),
    ]
}

/// A console in use: what was printed, typed and given, and how much of it has come.
struct Bench {
    server: Server<Vec<u8>>,
    client: Client<32>,
    to_main: VecDeque<Vec<u8>>,
    to_remote: VecDeque<Vec<u8>>,
    window: usize,
    printed: Vec<(u8, u8)>,
    came: Vec<(u8, u8)>,
    waiting: usize,
    typed: Vec<u8>,
    read: Vec<u8>,
    arguments: Vec<u8>,
    next: u8,
}

impl Bench {
    fn new(arguments: &[u8], window: u32) -> Self {
        Self {
            server: Server::new(arguments.to_vec(), window).unwrap(),
            client: Client::new(),
            to_main: VecDeque::new(),
            to_remote: VecDeque::new(),
            window: window as usize,
            printed: Vec::new(),
            came: Vec::new(),
            waiting: 0,
            typed: Vec::new(),
            read: Vec::new(),
            arguments: Vec::new(),
            next: 0,
        }
    }

    fn fresh(&mut self, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|i| self.next.wrapping_add(i as u8)).collect();
        self.next = self.next.wrapping_add(len as u8);
        bytes
    }

    fn take(&mut self, turn: &Turn) {
        let mut out = [0; 200];
        match *turn {
            Turn::Print { stream, len, room } => {
                let bytes = self.fresh(len);
                if let Some(chunk) = self.client.output(stream, &bytes, &mut out[..room]).unwrap() {
                    assert!(chunk.taken > 0 && chunk.message.len() <= room);
                    self.printed.extend(bytes[..chunk.taken].iter().map(|&byte| (stream as u8, byte)));
                    self.to_main.push_back(chunk.message.to_vec());
                }
            }
            Turn::Read { len } => {
                if let Read::Bytes(len) = self.client.read(&mut out[..len]) {
                    self.read.extend_from_slice(&out[..len]);
                }
            }
            Turn::AskForArguments { room } => {
                let offset = self.arguments.len() as u32;
                match self.client.request_arguments(offset, &mut out[..room]) {
                    Ok(message) => self.to_main.push_back(message.to_vec()),
                    Err(CallError::NotStarted | CallError::AskedAlready { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Turn::ClientPoll { room } => {
                let message = self.client.poll(&mut out[..room]).unwrap();
                self.to_main.extend(message.map(<[u8]>::to_vec));
            }
            Turn::ServerPoll { room } => {
                let message = self.server.poll(&mut out[..room]).unwrap();
                self.to_remote.extend(message.map(<[u8]>::to_vec));
            }
            Turn::Type { len, room } => {
                let bytes = self.fresh(len);
                if let Some(chunk) = self.server.input(&bytes, &mut out[..room]).unwrap() {
                    assert!(chunk.taken > 0 && chunk.message.len() <= room);
                    self.typed.extend_from_slice(&bytes[..chunk.taken]);
                    self.to_remote.push_back(chunk.message.to_vec());
                }
            }
            Turn::WriteOut { len } => {
                let len = len.min(self.waiting);
                self.server.written(len);
                self.waiting -= len;
            }
            Turn::ToMain => {
                let Some(message) = self.to_main.pop_front() else { return };
                if let Served::Output { stream, bytes } = self.server.receive(&message).unwrap() {
                    self.waiting += bytes.len();
                    self.came.extend(bytes.iter().map(|&byte| (stream as u8, byte)));
                }
            }
            Turn::ToRemote => {
                let Some(message) = self.to_remote.pop_front() else { return };
                if let Heard::Arguments { offset, bytes } = self.client.receive(&message).unwrap() {
                    assert_eq!(offset as usize, self.arguments.len());
                    self.arguments.extend_from_slice(bytes);
                }
            }
        }
        assert!(self.waiting <= self.window);
    }

    /// Lets everything arrive, and everybody do what they are there for, often enough for all that there can be.
    fn settle(&mut self) {
        let turns = [
            Turn::ServerPoll { room: MIN_MESSAGE },
            Turn::ToRemote,
            Turn::ClientPoll { room: MIN_MESSAGE },
            Turn::ToMain,
            Turn::WriteOut { len: usize::MAX },
            Turn::Read { len: 40 },
            Turn::AskForArguments { room: MIN_MESSAGE },
        ];
        (0..500).for_each(|_| turns.iter().for_each(|turn| self.take(turn)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_doubled_or_stuck(
        window in 1u32..100,
        arguments in vec(vec(1u8.., 0..60), 0..6),
        turns in vec(turn(), 0..400),
    ) {
        let arguments = block(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>());
        let mut bench = Bench::new(&arguments, window);
        turns.iter().for_each(|turn| bench.take(turn));
        bench.settle();
        prop_assert_eq!(&bench.came, &bench.printed);
        prop_assert_eq!(&bench.read, &bench.typed);
        prop_assert_eq!(&bench.arguments, &arguments);
        // Whatever has happened, more can be printed and typed.
        let (printed, typed) = (bench.printed.len(), bench.typed.len());
        bench.take(&Turn::Print { stream: Stream::Out, len: 1, room: MIN_MESSAGE });
        bench.take(&Turn::Type { len: 1, room: MIN_MESSAGE });
        prop_assert_eq!((bench.printed.len(), bench.typed.len()), (printed + 1, typed + 1));
    }

    #[test]
    fn a_remote_that_says_anything_gets_errors_and_nothing_else(
        messages in vec((1u8..7, vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..24)), 0..60),
    ) {
        let mut server = Server::new(b"argument\0".to_vec(), 20).unwrap();
        let mut out = [0; MIN_MESSAGE];
        server.poll(&mut out).unwrap();
        let mut room = 20;
        for (first, rest) in messages {
            let message = [&[first], &*rest].concat();
            let before = format!("{server:?}");
            match server.receive(&message) {
                Ok(Served::Output { bytes, .. }) => {
                    prop_assert!(bytes.len() <= room);
                    room -= bytes.len();
                }
                Ok(_) => {}
                Err(_) => prop_assert_eq!(format!("{server:?}"), before),
            }
            let mut sent = 0;
            while let Some(message) = server.poll(&mut out).unwrap() {
                ToRemote::parse(message).unwrap();
                sent += 1;
            }
            prop_assert!(sent <= 2, "one answer to a request, and one limit");
        }
    }

    #[test]
    fn a_main_side_that_says_anything_gets_errors_and_nothing_else(
        messages in vec((0x81u8..0x87, vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..24)), 0..60),
        reads in any::<bool>(),
    ) {
        let mut client = Client::<16>::new();
        let mut out = [0; MIN_MESSAGE];
        for (first, rest) in messages {
            let message = [&[first], &*rest].concat();
            let before = format!("{client:?}");
            if client.receive(&message).is_err() {
                prop_assert_eq!(format!("{client:?}"), before);
            }
            if reads {
                let _ = client.read(&mut [0; 5]);
            }
            let _ = client.request_arguments(0, &mut out);
            let _ = client.output(Stream::Out, &[7; 40], &mut out);
            while let Some(message) = client.poll(&mut out).unwrap() {
                ToMain::parse(message).unwrap();
            }
        }
    }
}
