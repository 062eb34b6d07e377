//! What the peer offers: its announcements, kept.

use core::fmt;

use sidecore_wire::name_service::{Announcement, Name};

/// The services that the peer has announced and not withdrawn, in storage that the caller gives.
///
/// A peer can announce without end; what does not fit is refused and counted, and what is there stays.
#[derive(Clone, Debug)]
pub struct Directory<S> {
    entries: S,
    refused: u32,
}

/// Room for one announced service.
pub type Entry = Option<Service>;

/// An announced service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, with an instance suffix where it has one.
    pub name: Name,
    /// The address of its endpoint at the peer.
    pub addr: u32,
}

impl<S: AsRef<[Entry]> + AsMut<[Entry]>> Directory<S> {
    /// An empty directory.
    pub fn new(mut entries: S) -> Self {
        entries.as_mut().fill(None);
        Self { entries, refused: 0 }
    }

    /// Takes an announcement in.
    ///
    /// # Errors
    /// It says nothing new, or there is no room: the directory is as it was.
    pub fn apply(&mut self, announcement: &Announcement) -> Result<(), DirectoryError> {
        let service = Service { name: announcement.name, addr: announcement.addr };
        let known = self.entries.as_ref().iter().position(|entry| *entry == Some(service));
        match (announcement.is_destroy(), known) {
            (false, Some(_)) => Err(DirectoryError::Known { service }),
            (true, None) => Err(DirectoryError::Unknown { service }),
            (true, Some(at)) => {
                self.put(at, None);
                Ok(())
            }
            (false, None) => match self.entries.as_ref().iter().position(Option::is_none) {
                Some(at) => {
                    self.put(at, Some(service));
                    Ok(())
                }
                None => {
                    self.refused = self.refused.saturating_add(1);
                    Err(DirectoryError::Full { capacity: self.entries.as_ref().len() })
                }
            },
        }
    }

    /// All services, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = Service> + '_ {
        self.entries.as_ref().iter().copied().flatten()
    }

    /// The services with this name, with or without an instance suffix (`rpmsg-tty`, `rpmsg-tty-1`).
    pub fn matching<'d>(&'d self, service: &'d str) -> impl Iterator<Item = Service> + 'd {
        self.services().filter(move |found| found.name.matches(service))
    }

    /// Announcements for which there was no room.
    pub const fn refused(&self) -> u32 {
        self.refused
    }

    fn put(&mut self, at: usize, entry: Entry) {
        if let Some(slot) = self.entries.as_mut().get_mut(at) {
            *slot = entry;
        }
    }
}

/// An announcement that changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The service is there already.
    Known {
        /// The service.
        service: Service,
    },
    /// A service that was never announced is withdrawn.
    Unknown {
        /// The service.
        service: Service,
    },
    /// There is no room for another.
    Full {
        /// How many services there is room for.
        capacity: usize,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { service } => {
                write!(f, "{} at {:#x} was announced twice", service.name, service.addr)
            }
            Self::Unknown { service } => {
                write!(f, "{} at {:#x} was withdrawn and never announced", service.name, service.addr)
            }
            Self::Full { capacity } => write!(f, "the peer announced more than {capacity} services"),
        }
    }
}

impl core::error::Error for DirectoryError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn announcement(name: &str, addr: u32, flags: u32) -> Announcement {
        Announcement { name: Name::new(name).expect("a valid name"), addr, flags }
    }

    #[test]
    fn names_come_and_go_and_duplicates_change_nothing() {
        let mut directory = Directory::new(vec![None; 4]);
        directory.apply(&announcement("rpmsg-tty", 1024, 0)).unwrap();
        directory.apply(&announcement("rpmsg-tty-1", 1025, 0)).unwrap();
        directory.apply(&announcement("echo", 1026, 0)).unwrap();
        let again = directory.apply(&announcement("echo", 1026, 0));
        assert!(matches!(again, Err(DirectoryError::Known { .. })));
        let found: Vec<u32> = directory.matching("rpmsg-tty").map(|service| service.addr).collect();
        assert_eq!(found, [1024, 1025]);
        directory.apply(&announcement("rpmsg-tty", 1024, 1)).unwrap();
        let gone = directory.apply(&announcement("rpmsg-tty", 1024, 1));
        assert!(matches!(gone, Err(DirectoryError::Unknown { .. })));
        assert_eq!(directory.services().count(), 2);
    }

    #[test]
    fn a_flood_is_counted_and_costs_nobody_their_place() {
        let mut directory = Directory::new(vec![None; 2]);
        directory.apply(&announcement("a", 1, 0)).unwrap();
        directory.apply(&announcement("b", 2, 0)).unwrap();
        for addr in 0..1000 {
            let error = directory.apply(&announcement("c", addr, 0)).unwrap_err();
            assert_eq!(error, DirectoryError::Full { capacity: 2 });
        }
        assert_eq!((directory.services().count(), directory.refused()), (2, 1000));
    }
}
