//! What is done about a remote that crashed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sidecore_remoteproc::held::Held;
use sidecore_remoteproc::recovery::course::{Happening, Phase, Step, follow};
use sidecore_remoteproc::recovery::{Decision, Recovery, Remedy};
use sidecore_remoteproc::{Backend, RemoteError, State};

use crate::clients::{Clients, Notice};
use crate::device::Device;
use crate::event::Event;
use crate::processor::Processor;

impl<B: Backend> Processor<B> {
    /// Those who are told when the remote crashes and when it is restarted, and may hold the latter back. They may live in
    /// any thread.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Has something taken back whenever the remote ends: see [`held`](sidecore_remoteproc::held).
    pub fn register(&mut self, held: Box<dyn Held<B::Owner>>) {
        self.remote.get_mut().register(held);
    }

    /// Asks a policy what becomes of a remote that crashed; the answer is in the remote's log, too. To follow it,
    /// [`restart`](Self::restart) the remote when that is due.
    ///
    /// After a [plain](Remedy::Restart) restart endpoints of the run that crashed stay closed for good. Is it to be a
    /// [silent](Remedy::RestartSilently) one, then messages can be sent as before: until the remote is there again the
    /// answer is [`SendError::Full`](crate::SendError::Full).
    pub fn decide(&mut self, recovery: &mut Recovery, now: Duration) -> Decision {
        if matches!(self.phase.get(), Phase::Well | Phase::Returning) {
            // Its owner started it anew, which is a crash to those who use it.
            self.happen(Happening::Crash);
        }
        let decision = self.remote.get_mut().decide(recovery, now);
        match decision {
            Decision::Restart { remedy, .. } => {
                self.remedy.set(Some(remedy));
                self.happen(Happening::Remedy);
            }
            _ => {
                self.remedy.set(None);
                self.happen(Happening::NoRemedy);
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
    /// A remote that is somebody else's is [attached](Self::attach) to again. Is it not there yet, then that is an error, and
    /// to be [decided](Self::decide) on anew: so the policy says how often and how soon it is tried. It is for a remote that
    /// crashed or went, and for one that its owner started anew ([`Event::DeviceReset`]).
    ///
    /// # Errors
    /// As for [`start`](Self::start) and [`attach`](Self::attach).
    pub fn restart(&mut self, patience: Duration) -> Result<Vec<String>, RemoteError> {
        let late = self.clients.wait(patience);
        self.happen(if late.is_empty() { Happening::Acknowledged } else { Happening::TimeOut });
        if self.phase.get() != Phase::PutOff {
            // Nothing was decided on: it is started by hand.
            return self.start().map(|()| late);
        }
        // Whoever calls has seen to the pause.
        self.happen(Happening::TimeOut);
        let remedy = self.remedy.get().unwrap_or(Remedy::Restart);
        let (done, up) = match remedy {
            Remedy::RestartSilently { within } => (self.go_on(within), Happening::UpSilently),
            Remedy::AttachAgain => (self.attach_again(), Happening::Up),
            _ => (self.start_anew(), Happening::Up),
        };
        self.happen(if done.is_ok() { up } else { Happening::Failed });
        done.map(|()| late)
    }

    /// Goes on in the table of [`course`](sidecore_remoteproc::recovery::course), and does what follows.
    pub(crate) fn happen(&self, happening: Happening) {
        let (next, steps) = follow(self.phase.replace(Phase::Well), happening);
        self.phase.set(next);
        for step in steps {
            match step {
                Step::TellCrash => self.clients.crashed(),
                Step::NoteLate => self.remote.borrow_mut().not_acknowledged(self.clients.owing()),
                // By whoever knows of the remedy, at once.
                Step::Begin => {}
                Step::TellRestart if next == Phase::Returning => {
                    self.clients.settled(Notice::RestartedSilently);
                }
                Step::TellRestart => self.clients.settled(Notice::Restarted),
                Step::TellLeft => self.clients.settled(Notice::LeftCrashed),
                Step::GiveUpServices => {
                    self.devices.iter().for_each(|device| device.give_up_waiting(&self.events));
                }
            }
        }
    }

    /// Whether all have come back after a silent restart, or are given up now; whether anything came of it.
    pub(crate) fn look_who_is_back(&self) -> bool {
        let until = self.devices.iter().filter_map(Device::gives_up_at).min();
        match until {
            Some(until) if until > Instant::now() => return false,
            Some(_) => self.happen(Happening::TimeOut),
            None => self.happen(Happening::Back),
        }
        until.is_some()
    }

    /// Starts the remote with nothing of the run before.
    pub(crate) fn start_anew(&mut self) -> Result<(), RemoteError> {
        self.remote.get_mut().start()?;
        self.begin(false);
        Ok(())
    }

    /// Takes up what there is now, of a remote that is somebody else's.
    pub(crate) fn attach_again(&mut self) -> Result<(), RemoteError> {
        if matches!(self.remote.get_mut().state(), State::Running | State::Attached | State::Crashed) {
            // Nobody goes on in these rings, whoever is at the other end now.
            self.devices.iter().for_each(Device::reset);
            self.remote.get_mut().detach()?;
        }
        let table = self.remote.get_mut().found().table;
        self.attach(table)
    }

    /// Whether a silent restart has been decided on and is still to come.
    pub(crate) fn will_go_on(&self) -> bool {
        let is_silent = matches!(self.remedy.get(), Some(Remedy::RestartSilently { .. }));
        is_silent && matches!(self.phase.get(), Phase::Held | Phase::PutOff | Phase::Coming)
    }

    /// Starts the remote with the endpoints that there are.
    fn go_on(&mut self, within: Duration) -> Result<(), RemoteError> {
        self.devices.iter().for_each(Device::set_aside);
        self.remote.get_mut().start()?;
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
        Ok(())
    }
}
