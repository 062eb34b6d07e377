//! `org.sidecore.Sidecore1.Job`.

use std::sync::Arc;

use sidecore_dbus::{Error, action};
use zbus::interface;
use zbus::message::Header;

use super::{Options, check_keys};
use crate::job::Work;
use crate::serve::House;

/// Work that takes longer than a call.
pub(crate) struct Job {
    work: Arc<Work>,
    house: House,
}

impl Job {
    pub(crate) fn new(work: Arc<Work>, house: House) -> Self {
        Self { work, house }
    }
}

#[interface(name = "org.sidecore.Sidecore1.Job")]
impl Job {
    /// Gives it up.
    async fn cancel(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::DUMP).await?;
        check_keys(&options, &[])?;
        self.work.cancel()
    }

    /// `running`, `done`, `failed` or `cancelled`.
    #[zbus(property)]
    pub(crate) fn state(&self) -> &str {
        self.work.state().word()
    }

    /// What it does, and how it ended, in words.
    #[zbus(property)]
    pub(crate) fn what(&self) -> String {
        self.work.what()
    }

    /// Bytes that are done, and bytes in all where that is known; 0 where not.
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> (u64, u64) {
        (self.work.done(), 0)
    }
}
