//! A remote that stands still for somebody who looks at it, whoever its main side is.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use sidecore_mem::{DeviceAddr, Region, Window};
use sidecore_os::{Mapping, SharedMemory, poll_until};
use sidecore_remoteproc::coredump::{CoreDump, CoreDumpError, Include, Subject};
use sidecore_remoteproc::firmware::Machine;
use sidecore_remoteproc::{BackendError, Event, Memory, Standing};

use super::client::{Client, lost, system};
use super::estate::slice;
use super::protocol::{self, Reply, Request, Span, VERSION};
use super::runtime_dir::RuntimeDir;

/// A remote in the sandbox that is held where it is, as long as this lives: its main side, if it has one, notices only that
/// it is slow. One that has crashed or ended and whose warden is still there is shown as it was then.
///
/// A main side can stop it all the same, and memory that it writes (buffers and rings) changes as it does.
pub struct Halted {
    client: Client,
    told: protocol::Halted,
    windows: Vec<Window<Arc<Mapping>>>,
}

impl Halted {
    /// Halts the remote of this name. `runtime_dir` is as in [`Config`](super::Config).
    ///
    /// # Errors
    /// There is no such remote, it belongs to another user, it has not been started, somebody else holds it already, or
    /// its warden has no debug seat. It runs on then.
    pub fn hold(name: &str, runtime_dir: Option<&Path>) -> Result<Self, BackendError> {
        let (_, channel) = RuntimeDir::connect(runtime_dir, name)?;
        let mut client = Client::new(channel, None);
        let confused = || lost("it gave an answer to another question".to_owned());
        let (Reply::Halted(told), fds) = client.ask(&Request::Halt(VERSION))? else { return Err(confused()) };
        let [memory] = <[_; 1]>::try_from(fds).map_err(|_| confused())?;
        let memory = SharedMemory::adopt(memory).and_then(|memory| memory.map()).map_err(system)?;
        let region: Region<_> = memory.region();
        let window = |span: &Span| {
            let region = slice(&region, span.offset, span.len)?;
            Ok(Window { start: DeviceAddr(span.at), region })
        };
        let windows = told.plan.spans().map(window).collect::<Result<_, BackendError>>()?;
        Ok(Self { client, told, windows })
    }

    /// How it ended, if it had ended already.
    pub fn ended(&self) -> Option<&Event> {
        self.told.ended.as_ref()
    }

    /// The address of the instruction that comes next, where the remote stood still before it ended.
    pub fn pc(&self) -> Option<DeviceAddr> {
        self.told.pc
    }

    /// That, and its registers.
    pub(super) fn standing(&self) -> Standing {
        Standing { pc: self.told.pc, registers: self.told.registers.clone() }
    }

    /// All of it as a core dump, to be written as long as this lives; `facts` are added to what is known of it.
    ///
    /// # Errors
    /// It is not known what kind of processor this machine is.
    pub fn core_dump(
        &self,
        include: Include,
        facts: &[(&str, &str)],
    ) -> Result<CoreDump<Arc<Mapping>>, CoreDumpError> {
        let crash = match &self.told.ended {
            Some(Event::Crashed(crash)) => Some(crash),
            _ => None,
        };
        let subject = Subject {
            machine: Machine::NATIVE.ok_or(CoreDumpError::NoMachine)?,
            flags: 0,
            build_id: None,
            crash,
            registers: self.told.registers.as_ref(),
            facts,
        };
        let memory = |span: &Span| Memory {
            name: span.name.clone(),
            at: Some(DeviceAddr(span.at)),
            len: span.len,
            align: 1,
            access: span.access,
        };
        let memories: Vec<_> = self.told.plan.spans().map(memory).collect();
        CoreDump::new(&subject, &self.windows, &memories, include)
    }

    /// Whether it has stood still since it was halted: its warden, and so the remote, was not killed meanwhile.
    pub fn is_held(&self) -> bool {
        let mut fds = [PollFd::new(&self.client, PollFlags::RDHUP)];
        poll_until(&mut fds, Some(Instant::now())).is_ok_and(|gone| gone == 0)
    }
}

impl std::fmt::Debug for Halted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Halted")
            .field("pc", &self.told.pc)
            .field("ended", &self.told.ended)
            .finish_non_exhaustive()
    }
}
