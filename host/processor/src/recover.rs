//! What is done about a remote that crashed.

use std::collections::BTreeMap;
use std::time::Duration;

use sidecore_remoteproc::recovery::{Decision, Recovery, Remedy};
use sidecore_remoteproc::{Backend, RemoteError};

use crate::clients::{Clients, Notice};
use crate::device::Device;
use crate::event::{Ended, Event};
use crate::processor::Processor;

impl<B: Backend> Processor<B> {
    /// Those who are told when the remote crashes and when it is restarted, and may hold the latter back. They may live in
    /// any thread.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Asks a policy what becomes of a remote that crashed; the answer is in the remote's log, too. To follow it,
    /// [`restart`](Self::restart) the remote when that is due.
    ///
    /// After a [plain](Remedy::Restart) restart endpoints of the run that crashed stay closed for good. Is it to be a
    /// [silent](Remedy::RestartSilently) one, then messages can be sent as before: until the remote is there again the
    /// answer is [`SendError::Full`](crate::SendError::Full).
    pub fn decide(&mut self, recovery: &mut Recovery, now: Duration) -> Decision {
        let decision = self.remote.get_mut().decide(recovery, now);
        match decision {
            Decision::Restart { remedy, .. } => self.remedy.set(Some(remedy)),
            _ => {
                self.remedy.set(None);
                self.clients.settled(Notice::LeftCrashed);
            }
        }
        decision
    }

    /// Does what was [decided](Self::decide) about a remote that crashed (without a decision: starts it) as soon as all
    /// [clients](Self::clients) have acknowledged that, or `patience` is over. Answers those who have not; the remote's log has
    /// them, too. Nothing else goes on meanwhile.
    ///
    /// After a silent restart all endpoints stay open, at their addresses, with what had come for them. The firmware knows
    /// nothing of the run before: what it announces again is what endpoints were bound to, and what it had not released is
    /// sent again in order ([`Event::DeviceRestarted`] says how much), so that it may see messages that the run before had
    /// taken and not released, and cannot be told which: rpmsg has no place to say so. Its own services (console, files)
    /// begin anew.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart(&mut self, patience: Duration) -> Result<Vec<String>, RemoteError> {
        let late = self.clients.wait(patience);
        if !late.is_empty() {
            self.remote.get_mut().not_acknowledged(late.clone());
        }
        match self.remedy.get() {
            Some(Remedy::RestartSilently { within }) if self.will_go_on() => self.go_on(within)?,
            _ => self.start()?,
        }
        Ok(late)
    }

    /// Whether a silent restart has been decided on and is still to come.
    pub(crate) fn will_go_on(&self) -> bool {
        let is_silent = matches!(self.remedy.get(), Some(Remedy::RestartSilently { .. }));
        is_silent && matches!(&*self.ended.borrow(), Some(Ended::Crashed(_) | Ended::Lost(_)))
    }

    /// Starts the remote with the endpoints that there are.
    fn go_on(&mut self, within: Duration) -> Result<(), RemoteError> {
        self.devices.iter().for_each(Device::set_aside);
        self.remote.get_mut().start()?;
        self.remedy.set(None);
        *self.ended.get_mut() = None;
        let before = std::mem::take(&mut self.devices).into_iter();
        let mut carried: BTreeMap<_, _> =
            before.map(|device| (device.index, device.carry(within, &self.events))).collect();
        for (vdev, ground) in self.grounds() {
            let (tap, keep) = (self.tap(vdev), self.options.resume);
            let device = ground.and_then(|ground| match carried.remove(&vdev) {
                Some(carried) => Device::bring_up_again(ground, tap, keep, carried, &self.events),
                None => {
                    let device = Device::bring_up(ground, tap, keep)?;
                    self.events.push(Event::DeviceUp { device: vdev, features: device.features });
                    Ok(device)
                }
            });
            match device {
                Ok(device) => self.devices.push(device),
                Err(error) => self.events.push(Event::DeviceFailed { device: vdev, error }),
            }
        }
        self.clients.settled(Notice::RestartedSilently);
        Ok(())
    }
}
