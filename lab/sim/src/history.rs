//! What was sent, what arrived, and whether that is what was promised.
//!
//! *Accepted*: the sender's call returned Ok. *In doubt*: the sender died in that call, so either will do. *Delivered*:
//! the receiver released it. What is accepted arrives once and in order; what a receiver had taken and not released when
//! it died arrives again and says so.

/// One direction of a channel, for one run of its link.
#[derive(Debug, Default)]
pub struct Lane {
    sent: Vec<Sent>,
    /// Position behind the last message that anybody has received.
    seen: usize,
    /// The same for the receiver that lives now.
    here: usize,
    /// What was released, by position.
    released: Vec<bool>,
    name: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: u32,
    in_doubt: bool,
}

impl Lane {
    /// Nothing was sent yet. `name` is for what a failure says.
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// A message is about to be sent: in doubt until it is [accepted](Self::accepted).
    pub fn offered(&mut self) -> u32 {
        let id = self.sent.last().map_or(0, |last| last.id + 1);
        self.sent.push(Sent { id, in_doubt: true });
        self.released.push(false);
        id
    }

    /// The last one that was offered is sent.
    pub fn accepted(&mut self) {
        self.sent.last_mut().into_iter().for_each(|last| last.in_doubt = false);
    }

    /// The last one that was offered could not be sent.
    pub fn refused(&mut self) {
        self.sent.pop();
        self.released.pop();
    }

    /// A message arrives. Answers its position.
    pub fn arrives(&mut self, id: u32, may_be_repeated: bool) -> usize {
        let name = self.name;
        let found = self.sent.iter().position(|sent| sent.id == id);
        let Some(at) = found else { panic!("{name}: message {id} was never sent") };
        assert!(at >= self.here, "{name}: message {id} after one that was sent later");
        assert!(!self.released[at], "{name}: message {id} was delivered already");
        if at < self.seen {
            assert!(may_be_repeated, "{name}: message {id} comes again and does not say so");
        } else {
            let lost = self.sent[self.seen..at].iter().find(|sent| !sent.in_doubt);
            assert!(lost.is_none(), "{name}: {lost:?} is lost: {id} came");
            self.seen = at + 1;
        }
        self.here = at + 1;
        at
    }

    /// A message is given back.
    pub fn released(&mut self, at: usize) {
        self.released[at] = true;
    }

    /// The receiver is another one from now on.
    pub fn receiver_died(&mut self) {
        self.here = 0;
    }

    /// Nothing is under way any more.
    pub fn is_quiet(&mut self) {
        let lost = self.sent[self.seen..].iter().find(|sent| !sent.in_doubt);
        assert!(lost.is_none(), "{}: {lost:?} never came", self.name);
    }

    /// Messages that were sent.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Messages that arrived.
    pub fn seen(&self) -> usize {
        self.seen
    }
}
