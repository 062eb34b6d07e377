//! How remotes come to be: for clients, and because the configuration says so.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use sidecore_dbus::Error;
use sidecore_remoteproc::recovery::Remedy;
use sidecored::config::{self, On, Restart, Start};
use zbus::OwnedObjectPath;

use crate::interface::error;
use crate::interface::manager::Settings;
use crate::keeper::protocol::{Ask, Load};
use crate::link::Link;
use crate::notify;
use crate::remote::Remote;
use crate::serve::House;

impl House {
    /// A remote of this name, with what holds for all of which nothing else is said.
    pub(crate) fn usual(&self, name: String) -> Load {
        let Settings { runtime_dir, logs, outlives, limits, defaults } = self.settings().clone();
        let (restarts, silently) = restarts(&defaults.restart);
        Load {
            name,
            runtime_dir,
            logs,
            outlives,
            file: "firmware".to_owned(),
            on: defaults.on.as_str().to_owned(),
            watchdog_us: defaults.watchdog.map_or(0, |period| period.as_micros() as u64),
            restarts,
            silently,
            max_firmware: limits.firmware_bytes,
            max_endpoints: limits.endpoints,
            queue: limits.queue,
            path: std::env::var("PATH").unwrap_or_default(),
            is_idle: false,
            arguments: Vec::new(),
            tied_to: None,
        }
    }

    /// Has a keeper make a remote, and puts that on the bus.
    pub(crate) async fn make(
        &self,
        load: Load,
        ask: fn(Load) -> Ask,
        with: Option<OwnedFd>,
    ) -> Result<OwnedObjectPath, Error> {
        let failed = |error: anyhow::Error| Error::Failed(format!("no keeper can be started: {error:#}"));
        let (link, news) = Link::start(&load.name).map_err(failed)?;
        let remote = Remote::new(load.clone(), Arc::clone(&link));
        let most = self.settings().limits.remotes as usize;
        if let Err(error) = self.registry().add(Arc::clone(&remote), most) {
            link.end();
            return Err(error);
        }
        // What it tells before it answers is taken, too.
        tokio::spawn(self.clone().follow(Arc::clone(&remote), news));
        if let Err(refusal) = link.ask(ask(load), with.as_ref()).await {
            self.registry().forget(&remote);
            link.end();
            return Err(error(refusal));
        }
        notify::keep(remote.name(), link.channel());
        self.serve(&remote).await
    }

    /// Makes the remotes that the configuration names and that a daemon before us has not left. One that cannot be made is told
    /// of, and no reason not to make the others.
    pub(crate) async fn make_configured(&self, remotes: &[config::Remote]) {
        for configured in remotes {
            let name = configured.name.as_str();
            if self.registry().all().iter().any(|there| there.name() == name) {
                continue;
            }
            let made = match File::open(&configured.firmware) {
                Ok(file) => self.make(self.configured(configured), Ask::Load, Some(file.into())).await,
                Err(error) => Err(Error::BadFirmware(error.to_string())),
            };
            if let Err(error) = made {
                let firmware = configured.firmware.display();
                eprintln!("sidecored: the remote {name} of the configuration, firmware {firmware}: {error}");
            }
        }
    }

    fn configured(&self, remote: &config::Remote) -> Load {
        let usual = self.usual(remote.name.as_str().to_owned());
        let (restarts, silently) = remote.restart.as_ref().map_or((usual.restarts, usual.silently), restarts);
        Load {
            file: remote.firmware.display().to_string(),
            on: remote.on.as_ref().map_or(&*usual.on, On::as_str).to_owned(),
            arguments: remote.arguments.clone(),
            watchdog_us: remote.watchdog.map_or(usual.watchdog_us, |period| period.as_micros() as u64),
            restarts,
            silently,
            is_idle: remote.start == Start::Demand,
            ..usual
        }
    }
}

/// How often within a minute it is started again, and whether its endpoints stay open over that.
fn restarts(restart: &Restart) -> (u32, bool) {
    let policy = restart.policy();
    (policy.most, matches!(policy.remedy, Remedy::RestartSilently { .. }))
}
