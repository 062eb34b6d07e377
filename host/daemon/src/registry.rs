//! The remotes that there are, and whose they are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidecore_dbus::Error;

use crate::link::Link;

/// All remotes, by name.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Known>>);

/// One remote.
#[derive(Debug)]
struct Known {
    /// `None` while it is being made.
    link: Option<Arc<Link>>,
    /// The client that it ends with, by its unique name on the bus.
    tied_to: Option<String>,
}

/// A name that is taken. Dropping it gives the name back, unless a remote got it.
#[derive(Debug)]
pub(crate) struct Reserved<'r> {
    registry: &'r Registry,
    name: &'r str,
}

impl Registry {
    /// Takes a name.
    ///
    /// # Errors
    /// It is taken.
    pub(crate) fn reserve<'r>(
        &'r self,
        name: &'r str,
        tied_to: Option<String>,
    ) -> Result<Reserved<'r>, Error> {
        match self.all().entry(name.to_owned()) {
            Entry::Occupied(_) => Err(Error::NameTaken(format!("there is a remote {name} already"))),
            Entry::Vacant(vacant) => {
                vacant.insert(Known { link: None, tied_to });
                Ok(Reserved { registry: self, name })
            }
        }
    }

    /// The names of all that were made.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = self.all();
        all.iter().filter(|(_, known)| known.link.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// A remote is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.all().remove(name);
    }

    /// A client is gone from the bus, and with it what was tied to it.
    pub(crate) fn client_left(&self, client: &str) {
        let all = self.all();
        let tied = all.values().filter(|known| known.tied_to.as_deref() == Some(client));
        tied.filter_map(|known| known.link.as_ref()).for_each(|link| link.end());
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // Nothing in there is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// The remote is made.
    pub(crate) fn fill(self, link: Arc<Link>) {
        if let Some(known) = self.registry.all().get_mut(self.name) {
            known.link = Some(link);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut all = self.registry.all();
        if all.get(self.name).is_some_and(|known| known.link.is_none()) {
            all.remove(self.name);
        }
    }
}
