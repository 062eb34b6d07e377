//! Floors and sides: the one table of who may import whom.
//!
//! - A crate imports only from floors below its own. Crates of one floor do not know each other, with the exceptions
//!   that [`NEIGHBOURS`] names.
//! - What runs on one side never imports what runs on the other; what runs on both imports neither.
//! - Dependencies of tests and of build scripts obey the same rules: a test that needs both sides lives in `lab`.

use std::{cmp::Ordering, path::Path};

/// The floors, the lowest first. A row is a folder of the tree, with all the packages in it. Rooms to come have their
/// floor already.
const FLOORS: &[&[&str]] = &[
    &["common/mem", "common/wire", "host/os", "host/dbus"],
    &["common/virtio", "host/sdt"],
    &["common/rpmsg", "host/remoteproc"],
    &["common/services", "host/backends", "host/vhost-user"],
    &["host/processor", "host/conformance", "remote/firmware"],
    &["host/client", "host/daemon", "host/soc", "remote/images"],
    &["host/cli", "capi"],
    &["lab", "xtask"],
];

/// Who imports from its own floor, and whom.
const NEIGHBOURS: &[(&str, &str)] = &[("host/os", "common/mem")];

/// A package that imports another, both by their folders.
pub(super) struct Edge<'a> {
    pub(super) from: &'a Path,
    pub(super) to: &'a Path,
    /// As cargo names it; nothing for an ordinary dependency.
    pub(super) kind: Option<&'a str>,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Room {
    floor: usize,
    folder: &'static str,
}

/// Where something of the tree runs, which its first folder says.
enum Side {
    /// Firmware and main side alike.
    Common,
    Host,
    Remote,
    /// What builds and tests both.
    Above,
}

/// The room of a package.
///
/// # Errors
/// It has none.
pub(super) fn room(folder: &Path) -> Result<Room, String> {
    let rooms =
        FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)));
    rooms
        .filter(|(_, room)| folder.starts_with(room))
        .map(|(floor, folder)| Room { floor, folder })
        .next()
        .ok_or_else(|| {
            format!("{} stands on no floor: give it one in xtask/src/chore/layers/edges.rs", folder.display())
        })
}

/// Whether an import is allowed.
///
/// # Errors
/// It is not; the reason names the edge.
pub(super) fn check(edge: &Edge<'_>) -> Result<(), String> {
    let (from, to) = (room(edge.from)?, room(edge.to)?);
    if from.folder == to.folder || NEIGHBOURS.contains(&(from.folder, to.folder)) {
        return Ok(());
    }
    let reason = match (from.side(), to.side()) {
        (Side::Common, Side::Host | Side::Remote) => "what runs on both sides imports nothing of one",
        (Side::Host, Side::Remote) | (Side::Remote, Side::Host) => "host and remote never import each other",
        _ => match from.floor.cmp(&to.floor) {
            Ordering::Less => "imports only go downwards",
            Ordering::Equal => "crates of one floor do not know each other",
            Ordering::Greater => return Ok(()),
        },
    };
    let kind = edge.kind.map(|kind| format!("{kind}-dependency, ")).unwrap_or_default();
    Err(format!(
        "{} (floor {}) must not import {} ({kind}floor {}): {reason}",
        edge.from.display(),
        from.floor,
        edge.to.display(),
        to.floor,
    ))
}

impl Room {
    fn side(&self) -> Side {
        match self.folder.split('/').next() {
            Some("common") => Side::Common,
            Some("host") => Side::Host,
            Some("remote") => Side::Remote,
            _ => Side::Above,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn edge(from: &str, to: &str) -> Result<(), String> {
        check(&Edge { from: Path::new(from), to: Path::new(to), kind: None })
    }

    /// The reason why an edge is wrong.
    fn wrong(from: &str, to: &str) -> String {
        let message = edge(from, to).expect_err("a wrong edge");
        assert!(message.contains(from) && message.contains(to), "the edge is named: {message}");
        message.rsplit(": ").next().expect("a reason").to_owned()
    }

    #[test]
    fn downwards_is_right() {
        for (from, to) in [
            ("common/virtio", "common/mem"),
            ("common/services", "common/rpmsg"),
            ("host/backends", "host/remoteproc"),
            ("host/processor", "common/services"),
            ("remote/firmware", "common/services"),
            ("remote/images", "remote/firmware"),
            ("host/cli", "host/processor"),
            ("lab", "host/processor"),
            ("lab", "remote/firmware"),
        ] {
            assert_eq!(edge(from, to), Ok(()));
        }
    }

    #[test]
    fn upwards_is_wrong() {
        assert_eq!(wrong("common/mem", "common/virtio"), "imports only go downwards");
        assert_eq!(wrong("host/remoteproc", "host/backends"), "imports only go downwards");
        assert_eq!(wrong("host/processor", "lab"), "imports only go downwards");
    }

    #[test]
    fn neighbours_do_not_know_each_other() {
        let reason = "crates of one floor do not know each other";
        assert_eq!(wrong("common/wire", "common/mem"), reason);
        assert_eq!(wrong("host/os", "common/wire"), reason);
        assert_eq!(wrong("host/backends", "common/services"), reason);
        assert_eq!(wrong("lab", "xtask"), reason);
    }

    #[test]
    fn one_neighbour_is_allowed_in_one_direction() {
        assert_eq!(edge("host/os", "common/mem"), Ok(()));
        // The other way is a matter of sides before it is one of floors.
        assert_eq!(wrong("common/mem", "host/os"), "what runs on both sides imports nothing of one");
    }

    #[test]
    fn sides_never_import_each_other() {
        assert_eq!(wrong("remote/firmware", "host/os"), "host and remote never import each other");
        assert_eq!(wrong("host/cli", "remote/images"), "host and remote never import each other");
        assert_eq!(wrong("host/cli", "remote/firmware"), "host and remote never import each other");
        assert_eq!(wrong("common/services", "host/os"), "what runs on both sides imports nothing of one");
    }

    #[test]
    fn rpmsg_and_remoteproc_do_not_know_each_other() {
        assert_eq!(wrong("host/remoteproc", "common/rpmsg"), "crates of one floor do not know each other");
        assert_eq!(
            wrong("common/rpmsg", "host/remoteproc"),
            "what runs on both sides imports nothing of one"
        );
    }

    #[test]
    fn a_dependency_of_tests_is_an_import() {
        let edge = Edge { from: Path::new("host/cli"), to: Path::new("remote/firmware"), kind: Some("dev") };
        let message = check(&edge).expect_err("a wrong edge");
        assert!(message.contains("remote/firmware (dev-dependency"), "{message}");
    }

    #[test]
    fn a_package_without_a_floor_is_refused() {
        assert!(edge("common/libmetal", "common/mem").is_err());
        assert!(edge("host/cli", "host/clip").is_err(), "no row by half its name");
        assert!(room(Path::new("")).is_err());
    }

    #[test]
    fn packages_within_a_room_are_one() {
        assert_eq!(edge("lab/fuzz", "lab"), Ok(()));
        assert_eq!(edge("lab/fuzz", "common/wire"), Ok(()));
    }

    #[test]
    fn no_room_stands_on_two_floors() {
        let rooms: Vec<_> = FLOORS.concat();
        assert_eq!(rooms.iter().collect::<HashSet<_>>().len(), rooms.len());
    }
}
