//! Deviations that are known of implementations in use, as the book's chapters name them.

/// A clause that an implementation is known not to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The clause.
    pub clause: &'static str,
    /// Linux, OpenAMP or rpmsg-lite.
    pub who: &'static str,
    /// What it does instead.
    pub what: &'static str,
}

/// The one that needs no resource table.
pub(crate) const RPMSG_LITE: &str = "rpmsg-lite";

/// All of them. A test holds them to the chapters.
pub const KNOWN: &[Known] = &[
    Known { clause: "MEM-1", who: "Linux", what: "uses the byte order of the processor that it runs on" },
    Known { clause: "MEM-3", who: "OpenAMP", what: "takes addresses as they come" },
    Known { clause: "MEM-3", who: "rpmsg-lite", what: "takes addresses as they come" },
    Known { clause: "MEM-4", who: "OpenAMP", what: "writes notes of its own into received headers" },
    Known { clause: "MEM-4", who: "rpmsg-lite", what: "as OpenAMP, and fills the used ring as a driver" },
    Known { clause: "MEM-5", who: "OpenAMP", what: "reads headers and descriptors in place" },
    Known { clause: "MEM-5", who: "rpmsg-lite", what: "as OpenAMP" },
    Known {
        clause: "MEM-6",
        who: "OpenAMP",
        what: "keeps index and hold count in the header's reserved word",
    },
    Known { clause: "MEM-6", who: "rpmsg-lite", what: "keeps the index there" },
    Known {
        clause: "TABLE-3",
        who: "OpenAMP",
        what: "does not look at the end of the table where it was given no memory region",
    },
    Known { clause: "TABLE-6", who: "rpmsg-lite", what: "has no table, see START-10" },
    Known {
        clause: "TABLE-7",
        who: "OpenAMP",
        what: "its device may set the status to 0, its driver writes 0x40",
    },
    Known {
        clause: "TABLE-8",
        who: "OpenAMP",
        what: "leaves the choice to its programs, whose examples end",
    },
    Known { clause: "TABLE-9", who: "OpenAMP", what: "takes any number" },
    Known {
        clause: "RING-3",
        who: "rpmsg-lite",
        what: "begins with a used index of n in ring 1, see START-10",
    },
    Known {
        clause: "RING-5",
        who: "OpenAMP",
        what: "as remote takes the first descriptor of a chain for all of it",
    },
    Known { clause: "RING-5", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "RING-6", who: "rpmsg-lite", what: "as host sets WRITE in both rings" },
    Known { clause: "RING-7", who: "OpenAMP", what: "believes the id" },
    Known { clause: "RING-7", who: "rpmsg-lite", what: "believes the id" },
    Known { clause: "RING-8", who: "OpenAMP", what: "goes on with what is in the slots" },
    Known { clause: "RING-8", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "RING-10", who: "OpenAMP", what: "believes the index" },
    Known { clause: "RING-10", who: "rpmsg-lite", what: "believes the index" },
    Known { clause: "RING-11", who: "OpenAMP", what: "reads the descriptor there" },
    Known { clause: "RING-11", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "START-1", who: "rpmsg-lite", what: "knows no status and takes the first kick for it" },
    Known { clause: "START-7", who: "OpenAMP", what: "goes on in the middle of the rings" },
    Known {
        clause: "START-4",
        who: "OpenAMP",
        what: "writes DRIVER_OK alone, kicks the vdev's number when it writes gfeatures and the status, and ring 0 never",
    },
    Known {
        clause: "START-9",
        who: "OpenAMP",
        what: "as remote relies on the event of whoever accepted it, and on one that it never moves itself",
    },
    Known { clause: "START-11", who: "rpmsg-lite", what: "kicks once" },
    Known { clause: "FEATURE-1", who: "rpmsg-lite", what: "has no features" },
    Known { clause: "FEATURE-2", who: "OpenAMP", what: "accepts all that is offered, EVENT_IDX among it" },
    Known {
        clause: "FEATURE-3",
        who: "OpenAMP",
        what: "as remote takes what stands in both words, and says nothing",
    },
    Known { clause: "FEATURE-7", who: "OpenAMP", what: "does not know the bit" },
    Known { clause: "MESSAGE-2", who: "rpmsg-lite", what: "takes the size that it was built with" },
    Known {
        clause: "MESSAGE-3",
        who: "OpenAMP",
        what: "writes the size of the buffer into both, which the MUST allows",
    },
    Known { clause: "MESSAGE-3", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "MESSAGE-6", who: "OpenAMP", what: "takes it for the buffer's capacity" },
    Known { clause: "MESSAGE-6", who: "rpmsg-lite", what: "passes it on as the size of the next buffer" },
    Known { clause: "MESSAGE-7", who: "Linux", what: "looks at the upper bound alone" },
    Known { clause: "MESSAGE-7", who: "OpenAMP", what: "takes buffers and frames of any length" },
    Known { clause: "MESSAGE-7", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "MESSAGE-8", who: "rpmsg-lite", what: "cannot give a buffer back that was not sent" },
    Known { clause: "MESSAGE-10", who: "rpmsg-lite", what: "leaves reserved as it finds it in the buffer" },
    Known { clause: "MESSAGE-11", who: "OpenAMP", what: "believes len" },
    Known { clause: "MESSAGE-11", who: "rpmsg-lite", what: "believes len" },
    Known { clause: "MESSAGE-12", who: "OpenAMP", what: "shortens the message and says nothing" },
    Known { clause: "ADDRESS-2", who: "rpmsg-lite", what: "gives addresses out from 1 on, 53 among them" },
    Known {
        clause: "ADDRESS-3",
        who: "OpenAMP",
        what: "has 128 of them (1024 to 1151) and gives the same out twice when they are used up",
    },
    Known { clause: "ADDRESS-3", who: "rpmsg-lite", what: "from 1 on" },
    Known { clause: "ADDRESS-4", who: "Linux", what: "takes the lowest that is free" },
    Known { clause: "ADDRESS-4", who: "rpmsg-lite", what: "as Linux" },
    Known {
        clause: "NS-2",
        who: "OpenAMP",
        what: "sends 32 characters without a NUL if it is told to, and behind a NUL whatever its memory held",
    },
    Known { clause: "NS-2", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "NS-3", who: "Linux", what: "takes any characters" },
    Known { clause: "NS-6", who: "rpmsg-lite", what: "announces when the application says so" },
    Known { clause: "NS-9", who: "OpenAMP", what: "does so for addresses from 1024 on alone" },
    Known { clause: "NS-9", who: "rpmsg-lite", what: "if the application does" },
    Known { clause: "NS-11", who: "Linux", what: "makes a device of each" },
    Known { clause: "NS-12", who: "Linux", what: "drivers match the exact name alone" },
    Known { clause: "NS-12", who: "OpenAMP", what: "as Linux" },
    Known { clause: "NS-12", who: "rpmsg-lite", what: "leaves names to the application" },
    Known {
        clause: "NOTIFY-1",
        who: "rpmsg-lite",
        what: "as remote looks at its own flag, and so kicks for everything",
    },
    Known {
        clause: "NOTIFY-3",
        who: "OpenAMP",
        what: "as host kicks with the number of the vdev when it sets DRIVER_OK",
    },
    Known {
        clause: "NOTIFY-5",
        who: "rpmsg-lite",
        what: "as host sets it once and for all, and waits for notifications",
    },
    Known { clause: "NOTIFY-6", who: "OpenAMP", what: "one kick, and then silence" },
    Known {
        clause: "NOTIFY-7",
        who: "rpmsg-lite",
        what: "only if built with `RL_ALLOW_CONSUMED_BUFFERS_NOTIFICATION`",
    },
    Known { clause: "NOTIFY-8", who: "rpmsg-lite", what: "as remote does not say so" },
    Known {
        clause: "RESET-1",
        who: "OpenAMP",
        what: "goes on receiving, and looks when it needs a transmit buffer",
    },
    Known { clause: "RESET-1", who: "rpmsg-lite", what: "knows no status" },
    Known {
        clause: "RESET-3",
        who: "OpenAMP",
        what: "looks when it needs a transmit buffer, and tells nobody",
    },
    Known { clause: "RESET-4", who: "OpenAMP", what: "goes on with its own indices" },
    Known { clause: "RESET-2", who: "OpenAMP", what: "looks at the status when it needs a transmit buffer" },
    Known { clause: "RESET-5", who: "OpenAMP", what: "goes on with its own indices" },
    Known { clause: "RESET-9", who: "OpenAMP", what: "goes on with its own indices" },
    Known { clause: "RESET-12", who: "OpenAMP", what: "goes on with its own indices" },
    Known { clause: "RESET-6", who: "OpenAMP", what: "as driver writes the bit itself" },
    Known { clause: "RESET-6", who: "rpmsg-lite", what: "has no such sign" },
    Known { clause: "RESET-7", who: "OpenAMP", what: "looks at the bit while it waits for DRIVER_OK alone" },
    Known { clause: "RESET-8", who: "Linux", what: "does not look at the bit behind a resource table" },
    Known { clause: "RESET-8", who: "OpenAMP", what: "does not look as host" },
    Known {
        clause: "RESET-11",
        who: "rpmsg-lite",
        what: "kicks once, and a remote whose link is up takes no notice",
    },
    Known { clause: "RESET-13", who: "OpenAMP", what: "goes on at once" },
    Known { clause: "RESET-13", who: "Linux", what: "goes on at once" },
    Known { clause: "RESET-17", who: "Linux", what: "does not know the bit" },
    Known { clause: "RESET-17", who: "OpenAMP", what: "does not know the bit" },
    Known { clause: "RESET-18", who: "OpenAMP", what: "does not know the bit" },
    Known { clause: "RESET-19", who: "Linux", what: "does not know the bit" },
    Known { clause: "RESET-19", who: "OpenAMP", what: "does not know the bit" },
    Known { clause: "ERROR-1", who: "OpenAMP", what: "does not look" },
    Known { clause: "ERROR-1", who: "rpmsg-lite", what: "as OpenAMP" },
    Known { clause: "ERROR-2", who: "OpenAMP", what: "does neither" },
    Known { clause: "ERROR-4", who: "OpenAMP", what: "takes all that is there in one callback" },
    Known { clause: "ERROR-4", who: "rpmsg-lite", what: "as OpenAMP" },
];

/// Those of one clause.
pub(crate) fn of(clause: &str) -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().filter(move |known| known.clause == clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chapters, and what they say of peers that deviate.
    fn book() -> Vec<(String, String, String)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/src/protocol");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut clause = String::new();
            for line in text.lines() {
                if let Some(id) = line.strip_prefix("### ") {
                    clause = id.to_owned();
                } else if let Some(list) = line.strip_prefix("- deviates: ") {
                    found.extend(list.split("; ").map(|one| {
                        let (who, what) = one.split_once(": ").unwrap();
                        (clause.clone(), who.to_owned(), what.to_owned())
                    }));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn what_is_known_is_what_the_chapters_say() {
        let mut ours: Vec<_> =
            KNOWN.iter().map(|known| (known.clause.into(), known.who.into(), known.what.into())).collect();
        ours.sort();
        assert_eq!(ours, book());
    }
}
