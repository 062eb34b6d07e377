//! The boot stub: turns a fresh process into the remote.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sidecore_os::{Channel, Entry, Placed, Protection, Refused, SharedMemory};
use sidecore_remoteproc::Access;

use super::protocol::{MAX_MESSAGE, Refusal, StubOrder, StubReport, Wire};

/// How long the warden may take to say what to do.
const ORDER_TIME: Duration = Duration::from_secs(20);

/// What the process does that the warden started as `sidecore: remote`. Standard input is the warden.
pub(super) fn run() -> ! {
    // What `ps` calls it. If it cannot, no matter.
    let _ = rustix::thread::set_name(c"sidecore-remote");
    let Ok(channel) = Channel::from_stdin() else { std::process::exit(1) };
    match prepare(&channel) {
        Ok((order, doorbells)) => {
            let [doorbell_in, doorbell_out, trace_bell] = doorbells;
            let entry = Entry {
                pc: order.entry,
                stack: order.plan.stack.at + order.plan.stack.len,
                argument: order.plan.hand_over.at,
                doorbell_in,
                doorbell_out,
                trace_bell,
                report: channel,
                landlock_required: order.strict,
            };
            sidecore_os::enter(entry, report)
        }
        Err(refusal) => {
            tell(&channel, &StubReport::Refused(refusal));
            std::process::exit(1)
        }
    }
}

/// Everything that is undone by a failure with the end of the process: maps the remote's memory.
fn prepare(channel: &Channel) -> Result<(StubOrder, [OwnedFd; 3]), Refusal> {
    let receive = "receive the warden's order";
    let mut bytes = [0; MAX_MESSAGE];
    channel.wait(Some(Instant::now() + ORDER_TIME))?;
    let received = channel.receive(&mut bytes).map_err(|errno| Refusal::new(receive, errno))?;
    let received = received.ok_or_else(|| Refusal::new(receive, "the warden is gone"))?;
    let order =
        StubOrder::decode(&bytes[..received.len]).map_err(|garbled| Refusal::new(receive, garbled))?;
    let [memory, doorbell_in, doorbell_out, trace_bell] =
        <[_; 4]>::try_from(received.fds).map_err(|_| Refusal::new(receive, "descriptors are missing"))?;
    // The debugger's seat kills us when the warden dies; this is for systems that refuse the seat.
    if !sidecore_os::die_with_parent(order.warden) {
        return Err(Refusal::new(receive, "the warden is gone"));
    }
    map(channel, &SharedMemory::adopt(memory)?, &order)?;
    Ok((order, [doorbell_in, doorbell_out, trace_bell]))
}

fn map(channel: &Channel, memory: &SharedMemory, order: &StubOrder) -> Result<(), Refusal> {
    let plan = &order.plan;
    for span in plan.spans() {
        let protection = match span.access {
            Access::Read => Protection::Read,
            Access::ReadExecute => Protection::ReadExecute,
            // `ReadWriteExecute` was refused by the layout and by the codec.
            Access::ReadWrite | Access::ReadWriteExecute => Protection::ReadWrite,
        };
        let refuse = |reason: String| {
            Refusal::new(
                format!("map memory {:?} at {:#x} of {:#x} bytes", span.name, span.at, span.len),
                reason,
            )
        };
        let (len, at) = (to_usize(span.len), to_usize(span.at));
        let placed = sidecore_os::place(memory, span.offset, len, at, protection);
        match placed.map_err(|refused| refuse(explain(refused)))? {
            Placed::Shared => {}
            Placed::Copied => {
                let finding = format!(
                    "this system lets nobody execute shared memory: {:?} is a copy, made at the start",
                    span.name
                );
                tell(channel, &StubReport::Finding(finding));
            }
        }
    }
    let guard = to_usize(plan.guard);
    let (bottom, top) = (to_usize(plan.stack.at), to_usize(plan.stack.at + plan.stack.len));
    for at in [bottom.saturating_sub(guard), top] {
        sidecore_os::guard(at, guard)
            .map_err(|refused| Refusal::new(format!("guard the stack at {at:#x}"), explain(refused)))?;
    }
    Ok(())
}

/// The last thing that is said before firmware runs, or that it will not.
fn report(channel: &Channel, result: Result<&[String], Refused>) {
    match result {
        Ok(findings) => {
            findings.iter().for_each(|finding| tell(channel, &StubReport::Finding(finding.clone())));
            tell(channel, &StubReport::Ready(()));
        }
        Err(refused) => tell(channel, &StubReport::Refused(refused.into())),
    }
}

fn tell(channel: &Channel, message: &StubReport) {
    // If the warden is gone there is nobody to tell, and this process ends with it.
    let _ = channel.send(&message.encode(), &[]);
}

fn explain(refused: Refused) -> String {
    use sidecore_os::Errno;
    match refused.errno {
        Errno::EXIST => "the boot stub itself lies there; link the image elsewhere".to_owned(),
        Errno::PERM => "the system maps nothing so low (vm.mmap_min_addr)".to_owned(),
        errno => errno.to_string(),
    }
}

/// Addresses and lengths that the layout kept far below 2^38.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
