//! The remotes that there are, by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecore_dbus::Error;

use crate::remote::Remote;

/// All remotes, those included that are being made.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Arc<Remote>>>);

impl Registry {
    /// One more, of `most`.
    ///
    /// # Errors
    /// Its name is taken; there are too many.
    pub(crate) fn add(&self, remote: Arc<Remote>, most: usize) -> Result<(), Error> {
        let mut all = self.lock();
        if all.len() >= most {
            return Err(Error::NoRoom(format!("there are {most} remotes, and no more may be")));
        }
        match all.entry(remote.name().to_owned()) {
            Entry::Occupied(_) => {
                Err(Error::NameTaken(format!("there is a remote {} already", remote.name())))
            }
            Entry::Vacant(vacant) => {
                vacant.insert(remote);
                Ok(())
            }
        }
    }

    /// A remote is gone. Another one that has its name meanwhile stays.
    pub(crate) fn forget(&self, remote: &Arc<Remote>) {
        let mut all = self.lock();
        if all.get(remote.name()).is_some_and(|there| Arc::ptr_eq(there, remote)) {
            all.remove(remote.name());
        }
    }

    /// All that were made.
    pub(crate) fn all(&self) -> Vec<Arc<Remote>> {
        self.lock().values().filter(|remote| remote.is_served()).cloned().collect()
    }

    /// A client is gone from the bus, and with it what was tied to it.
    pub(crate) fn client_left(&self, client: &str) {
        self.lock().values().filter(|remote| remote.is_tied_to(client)).for_each(|remote| remote.end());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Remote>>> {
        // Nothing in there is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
