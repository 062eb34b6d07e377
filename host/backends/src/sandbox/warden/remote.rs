//! The remote as its warden sees it: a child that boots, runs and ends.

use std::path::Path;
use std::time::{Duration, Instant};

use sidecore_os::{Change, Channel, Child, End, Entry, Origin, Refused, Stop, Ticks, cpu_count, signal_name};
use sidecore_remoteproc::{Access, Boot, Event, Registers};
use sidecore_wire::sandbox as page;

use super::super::REMOTE_NAME;
use super::super::protocol::{MAX_MESSAGE, Refusal, Setup, StubOrder, StubReport, Wire};
use super::Estate;
use super::crash::{self, SIGKILL};
use super::watchdog::{Look, Watchdog};

/// How long a boot stub may take.
const BOOT_TIME: Duration = Duration::from_secs(10);
/// How long a hung remote may take to stop for a look at its registers.
const STOP_TIME: Duration = Duration::from_secs(1);

/// A remote's process. It is killed and reaped when dropped.
pub(super) struct Remote {
    child: Child,
    phase: Phase,
    watchdog: Watchdog,
    /// What happened to the firmware before it was told that there is any.
    pending: Option<Change>,
    /// Whether job control holds it.
    held: bool,
    /// The last signal that somebody sent it.
    sent: Option<i32>,
    /// Since when it is being stopped because it hangs.
    hung: Option<Instant>,
    /// Whether it is to stand still for somebody who looks at it.
    halt: Halt,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Halt {
    No,
    /// It has been asked to, and comes to a stop.
    Asked,
    /// It does.
    Reached,
}

enum Phase {
    /// The boot stub runs, and reports here.
    Booting { channel: Channel, findings: Vec<String>, ready: bool, deadline: Instant },
    /// Firmware runs.
    Running,
    /// It was killed; what to say once it is reaped.
    Ending(Outcome),
}

/// Where a remote has come to.
pub(super) enum Outcome {
    /// Firmware runs, so confined.
    Started(Vec<String>),
    /// Firmware never ran. The remote is gone.
    NotStarted(Refusal),
    /// The remote ended by itself, and is gone.
    Ended(Event),
    /// It was stopped by us, and is gone.
    Stopped,
    /// It stands still, here and with these registers, until it may [go on](Remote::go_on).
    Halted(Option<u64>, Option<Registers>),
}

impl Remote {
    /// Starts a boot stub and tells it what to do.
    pub(super) fn boot(estate: &Estate, setup: &Setup, boot: &Boot, ticks: &Ticks) -> Result<Self, Refusal> {
        fill_page(estate, boot, ticks)?;
        // Rings for the remote that was here before.
        estate.doorbell_in.answer();
        estate.doorbell_out.answer();

        let (channel, stub) = Channel::pair()?;
        let mut child = Child::spawn(Path::new("/proc/self/exe"), REMOTE_NAME, &[&setup.name], stub.into())?;
        let mut findings = Vec::new();
        if let Err(refused) = child.trace() {
            findings.push(format!(
                "no debug seat ({refused}): crashes come without address and registers, and stops by job control may \
                 look like hangs"
            ));
        }
        let order = StubOrder {
            warden: rustix::process::getpid().as_raw_nonzero().get(),
            strict: setup.strict,
            plan: estate.plan.clone(),
            entry: boot.entry.0,
        };
        channel
            .send(&order.encode(), &estate.descriptors())
            .map_err(|errno| Refusal::new("order a boot", errno))?;
        let now = Instant::now();
        let phase = Phase::Booting { channel, findings, ready: false, deadline: now + BOOT_TIME };
        Ok(Self {
            child,
            phase,
            watchdog: Watchdog::new(now, setup.watchdog_ms),
            pending: None,
            held: false,
            sent: None,
            hung: None,
            halt: Halt::No,
        })
    }

    /// Whether firmware runs.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether there is, or will be, something to tell of it though nobody asks.
    pub(super) fn is_of_interest(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Ending(Outcome::Ended(_)))
    }

    /// Kills it, whatever it is doing.
    pub(super) fn stop(&mut self) {
        self.end_with(Outcome::Stopped);
    }

    /// Has firmware that runs stand still: [`Outcome::Halted`] follows, or its end.
    ///
    /// # Errors
    /// There is no debug seat to do that from.
    pub(super) fn halt(&mut self) -> Result<(), Refused> {
        if self.is_running() {
            self.child.interrupt()?;
            self.halt = Halt::Asked;
        }
        Ok(())
    }

    /// Lets it run on, whether it stands still already or not.
    pub(super) fn go_on(&mut self, estate: &Estate) {
        let before = std::mem::replace(&mut self.halt, Halt::No);
        // Nobody could feed a watchdog meanwhile.
        self.watchdog = self.watchdog.again(Instant::now());
        if before == Halt::Reached && self.is_running() {
            let resumed = if self.held { self.child.stay_stopped() } else { self.child.resume(0) };
            self.check_resumed(estate, resumed);
        }
    }

    /// What the boot stub reports by, as long as it does.
    pub(super) fn channel(&self) -> Option<&Channel> {
        match &self.phase {
            Phase::Booting { channel, .. } => Some(channel),
            Phase::Running | Phase::Ending(_) => None,
        }
    }

    /// When [`Remote::step`] is due though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Booting { deadline, .. } => Some(*deadline),
            Phase::Running if self.halt == Halt::Reached => None,
            Phase::Running => Some(self.hung.map_or(self.watchdog.next(), |since| since + STOP_TIME)),
            Phase::Ending(_) => None,
        }
    }

    /// Looks at everything that may have happened to the remote; to be called until it says nothing. The remote is
    /// gone after any outcome but [`Outcome::Started`].
    pub(super) fn step(&mut self, estate: &Estate) -> Option<Outcome> {
        let now = Instant::now();
        if let Some(started) = self.hear_stub(now) {
            return Some(started);
        }
        loop {
            let change = match self.pending.take() {
                Some(change) => change,
                None => match self.child.next_change() {
                    Ok(Some(change)) => change,
                    Ok(None) => break,
                    // Nobody else can reap our children; if it happens all the same, the remote is gone.
                    Err(_) => Change::Ended(End::Killed(SIGKILL)),
                },
            };
            // It may have become firmware since the last look: whatever that does, the stub's end came before.
            if let Some(started) = self.hear_stub(now) {
                self.pending = Some(change);
                return Some(started);
            }
            match change {
                Change::Stopped(stop @ (Stop::Trap | Stop::JobControl))
                    if self.halt == Halt::Asked && self.hung.is_none() && self.is_running() =>
                {
                    self.halt = Halt::Reached;
                    self.held = stop == Stop::JobControl;
                    let (pc, registers) = crash::registers(&self.child);
                    return Some(Outcome::Halted(pc, registers));
                }
                Change::Stopped(stop) => self.stopped(estate, stop),
                Change::Continued => self.held = false,
                Change::Ended(end) => return Some(self.ended(estate, end)),
            }
        }
        if self.is_running() {
            self.look_at_watchdog(estate, now);
        }
        None
    }

    fn hear_stub(&mut self, now: Instant) -> Option<Outcome> {
        let Phase::Booting { channel, findings, ready, deadline } = &mut self.phase else { return None };
        let mut bytes = [0; MAX_MESSAGE];
        let refusal = loop {
            match channel.receive(&mut bytes) {
                Ok(Some(received)) => match StubReport::decode(&bytes[..received.len]) {
                    Ok(StubReport::Finding(finding)) => findings.push(finding),
                    Ok(StubReport::Ready(())) => *ready = true,
                    Ok(StubReport::Refused(refusal)) => break refusal,
                    Err(garbled) => break Refusal::new("boot the remote", garbled),
                },
                Ok(None) if *ready => {
                    let findings = std::mem::take(findings);
                    self.phase = Phase::Running;
                    self.watchdog = self.watchdog.again(now);
                    return Some(Outcome::Started(findings));
                }
                // Nothing yet; or it died, and its end tells more.
                Ok(None) | Err(_) if now < *deadline => return None,
                Ok(None) | Err(_) => {
                    let reason = format!("the boot stub did not finish within {} s", BOOT_TIME.as_secs());
                    break Refusal::new("boot the remote", reason);
                }
            }
        };
        self.end_with(Outcome::NotStarted(refusal));
        None
    }

    fn stopped(&mut self, estate: &Estate, stop: Stop) {
        if let Phase::Ending(_) = self.phase {
            return; // The kill is on its way.
        }
        let resumed = match stop {
            Stop::Signal { signal, origin: origin @ Origin::Fault { .. } } => {
                let crash = crash::at_signal(&self.child, estate, signal, origin);
                let outcome = if self.is_running() {
                    Outcome::Ended(Event::Crashed(crash))
                } else {
                    let at = crash.pc.map(|pc| format!(" at {pc}")).unwrap_or_default();
                    let reason = format!("the boot stub crashed with {}{at}", signal_name(signal));
                    Outcome::NotStarted(Refusal::new("boot the remote", reason))
                };
                return self.end_with(outcome);
            }
            Stop::JobControl | Stop::Trap if self.hung.is_some() => {
                let crash = crash::hang(&self.child, estate);
                return self.end_with(Outcome::Ended(Event::Crashed(crash)));
            }
            Stop::Signal { signal, origin: Origin::Outside } => {
                self.sent = Some(signal);
                self.child.resume(signal)
            }
            Stop::JobControl => {
                self.held = true;
                if self.child.is_traced() { self.child.stay_stopped() } else { Ok(()) }
            }
            Stop::Trap => {
                self.held = false;
                self.child.resume(0)
            }
        };
        self.check_resumed(estate, resumed);
    }

    fn check_resumed(&mut self, estate: &Estate, resumed: Result<(), Refused>) {
        if let Err(refused) = resumed {
            // It would stay stopped for ever.
            let reason = Refusal::new("let the remote run on", refused);
            let crash = crash::killed(estate, true, SIGKILL, None);
            self.end_with(if self.is_running() {
                Outcome::Ended(Event::Crashed(crash))
            } else {
                Outcome::NotStarted(reason)
            });
        }
    }

    fn ended(&mut self, estate: &Estate, end: End) -> Outcome {
        match std::mem::replace(&mut self.phase, Phase::Ending(Outcome::Stopped)) {
            Phase::Ending(outcome) => outcome,
            Phase::Running => Outcome::Ended(match end {
                End::Exited(code) => Event::Exited { code },
                End::Killed(signal) => {
                    Event::Crashed(crash::killed(estate, self.child.is_traced(), signal, self.sent))
                }
            }),
            Phase::Booting { .. } => {
                let reason = match end {
                    End::Exited(code) => format!("the boot stub ended with code {code}"),
                    End::Killed(signal) => format!("the boot stub was killed by {}", signal_name(signal)),
                };
                Outcome::NotStarted(Refusal::new("boot the remote", reason))
            }
        }
    }

    fn look_at_watchdog(&mut self, estate: &Estate, now: Instant) {
        if let Some(since) = self.hung {
            if now.saturating_duration_since(since) >= STOP_TIME {
                let crash = crash::hang(&self.child, estate);
                self.end_with(Outcome::Ended(Event::Crashed(crash)));
            }
            return;
        }
        if now < self.watchdog.next() || self.halt == Halt::Reached {
            return;
        }
        let word = |at| estate.page.load::<u32>(at).unwrap_or(0);
        let (period_ms, asleep) = (word(page::WATCHDOG_PERIOD_MS), word(page::REMOTE_ASLEEP) != 0);
        // Where it makes no difference the kernel is not asked: idle remotes are many.
        let matters = !asleep && self.watchdog.watches(period_ms);
        let look = Look {
            period_ms,
            count: word(page::WATCHDOG_COUNT),
            asleep,
            cpu_time: if matters && !self.held { self.child.cpu_time().ok() } else { None },
            blocked: matters && self.child.is_blocked(),
        };
        if self.watchdog.look(now, look) {
            if self.child.is_traced() && self.child.interrupt().is_ok() {
                self.hung = Some(now);
            } else {
                let crash = crash::hang(&self.child, estate);
                self.end_with(Outcome::Ended(Event::Crashed(crash)));
            }
        }
    }

    /// Kills it; the outcome is told once it is gone, so that its memory stands still then.
    fn end_with(&mut self, outcome: Outcome) {
        self.child.kill();
        self.phase = Phase::Ending(outcome);
    }
}

/// Tells the firmware what it must know.
fn fill_page(estate: &Estate, boot: &Boot, ticks: &Ticks) -> Result<(), Refusal> {
    let plan = &estate.plan;
    let hand_over = page::HandOver {
        table_da: boot.table.map_or(0, |(at, _)| at.0),
        table_len: boot.table.map_or(0, |(_, len)| len),
        tick_hz: ticks.frequency(),
        cpu_count: cpu_count(),
        doorbell_in: Entry::DOORBELL_IN,
        doorbell_out: Entry::DOORBELL_OUT,
        trace_bell: Entry::TRACE_BELL,
        stack_top: plan.stack.at + plan.stack.len,
        stack_size: plan.stack.len,
        memories_count: u32::try_from(plan.memories.len()).unwrap_or(u32::MAX),
    };
    estate
        .page
        .write(0, &hand_over.emit())
        .map_err(|error| Refusal::new("fill the hand-over page", error))?;
    estate
        .page
        .store(page::MAIN_SIDES, 1_u32)
        .map_err(|error| Refusal::new("count the main side in the hand-over page", error))?;
    // What rings and buffers may lie in: the firmware reaches for nothing else.
    let shared = plan.memories.iter().filter(|span| span.access == Access::ReadWrite);
    for (number, span) in shared.take(page::MEMORIES_MAX).enumerate() {
        let at = page::MEMORIES + page::MEMORY_SIZE * number;
        let written = estate.page.store(at, span.at).and_then(|()| estate.page.store(at + 8, span.len));
        written.map_err(|error| Refusal::new("list the memories in the hand-over page", error))?;
    }
    // The stub's way in needs a stack that begins with zeros, and a remote of before may have left others.
    let top = estate.stack.len().saturating_sub(64);
    estate.stack.clear(top, 64).map_err(|error| Refusal::new("clear the stack", error))
}
