//! What a remote's process loses before firmware runs in it.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetError, RulesetStatus,
    Scope,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::Refused;

/// Takes away all access to files, networks and other processes, as far as the kernel's Landlock goes. Whether it was
/// enforced at all, and how far, in words.
pub(crate) fn landlock() -> (bool, String) {
    let newest = ABI::V9;
    let restricted = || -> Result<_, RulesetError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(newest))?
            .handle_access(AccessNet::from_all(newest))?
            .scope(Scope::from_all(newest))?;
        rules.create()?.restrict_self()
    };
    const ALONE: &str = "files and networks are kept away by seccomp alone";
    let status = match restricted() {
        Ok(status) => status,
        Err(error) => return (false, format!("Landlock failed ({error}): {ALONE}")),
    };
    let LandlockStatus::Available { effective_abi, kernel_abi } = status.landlock else {
        let reason = match status.landlock {
            LandlockStatus::NotEnabled => {
                "Landlock is switched off in this kernel (see its `lsm=` parameter)"
            }
            _ => "no Landlock in this kernel",
        };
        return (false, format!("{reason}: {ALONE}"));
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return (false, format!("Landlock is there but was not enforced: {ALONE}"));
    }
    let abi = kernel_abi.unwrap_or(effective_abi as i32);
    (true, format!("Landlock ABI {abi} enforced: no files, no networks"))
}

/// Forbids core files (the warden makes its own dumps), new descriptors, processes, files and locked memory.
pub(crate) fn limit(descriptors: u64) -> Result<(), Refused> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Nofile, descriptors),
        (Resource::Nproc, 0),
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit).map_err(Refused::to("limit resources (setrlimit)"))?;
    }
    Ok(())
}

/// The filter of a remote's system calls: reading one descriptor, writing two others, waiting, exiting, and closing a
/// fourth, which the boot stub does on its way out. All others raise SIGSYS; those of another instruction set kill.
///
/// Of `futex` only waiting and waking: the rest of it (priority inheritance, requeueing) has no use here and a
/// history.
pub(crate) fn filter(read: u64, write: [u64; 2], close: u64) -> Result<BpfProgram, Refused> {
    let operation = "build a filter of system calls (seccomp)";
    let built = || -> Result<BpfProgram, seccompiler::BackendError> {
        let equals = |argument, value| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
        };
        let futex = |command| {
            let flags = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u64;
            let operator = SeccompCmpOp::MaskedEq(!flags & u64::from(u32::MAX));
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, operator, command as u64)
                .and_then(|condition| SeccompRule::new(vec![condition]))
        };
        let mut rules = BTreeMap::from([
            (libc::SYS_read, vec![equals(0, read)?]),
            (libc::SYS_write, vec![equals(0, write[0])?, equals(0, write[1])?]),
            (libc::SYS_close, vec![equals(0, close)?]),
            (
                libc::SYS_futex,
                vec![
                    futex(libc::FUTEX_WAIT)?,
                    futex(libc::FUTEX_WAKE)?,
                    futex(libc::FUTEX_WAIT_BITSET)?,
                    futex(libc::FUTEX_WAKE_BITSET)?,
                ],
            ),
            (libc::SYS_ppoll, vec![]),
            (libc::SYS_exit, vec![]),
            (libc::SYS_exit_group, vec![]),
        ]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_poll, vec![]);
        // After a signal or a debugger's look the kernel has a wait with a timeout go on by itself.
        rules.insert(libc::SYS_restart_syscall, vec![]);
        let architecture = std::env::consts::ARCH.try_into()?;
        let rules = rules.into_iter().map(|(call, rules)| (wide(call), rules)).collect();
        SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, architecture)?.try_into()
    };
    built().map_err(|_| Refused { operation, errno: Errno::NOSYS })
}

/// A system call's number, which is narrower where words are.
fn wide(call: impl Into<i64>) -> i64 {
    call.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_short_enough_for_the_kernel() {
        let filter = filter(3, [4, 5], 6).unwrap();
        assert!((10..4096).contains(&filter.len()), "{}", filter.len());
    }
}
