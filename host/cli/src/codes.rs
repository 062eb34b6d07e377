//! The codes of the command's own errors (`E06`), and all codes that it can explain.

use sidecore_remoteproc::codes::{Code, Explanation};

sidecore_remoteproc::codes! {
    error 601 IMAGE_NOT_FOUND "image-not-found"
        "There is no such firmware file, and no built-in image of that name."
        "Give the path of an ELF file, or one of the names that `sidecore images` lists.";
    error 602 IMAGE_UNREADABLE "image-unreadable"
        "The firmware file cannot be read."
        "The message has the system's reason: check that it is a file, and yours to read.";
    error 603 IMAGE_TOO_LARGE "image-too-large"
        "The firmware file is larger than any that would be loaded."
        "Check that the path names the firmware and no device or disk image; strip debug information (strip -g).";
    error 604 ARGUMENTS "arguments"
        "The arguments for the firmware cannot be passed on."
        "All of them together have at most 1 MiB, and none holds a NUL.";
    error 605 GRANT "grant"
        "A directory cannot be granted to the remote."
        "Use --dir HOST[:GUEST][:ro] with a directory that exists; the firmware finds it at GUEST, or as its top \
         directory where no GUEST is given.";
    error 606 CAPTURE "capture"
        "The frames cannot be recorded to that file."
        "The message has the system's reason: check the path given to --pcap.";
    error 607 OUTPUT "output"
        "The standard output takes no more."
        "The message has the system's reason; a full disk is the usual one.";
    error 608 UNKNOWN_CODE "unknown-code"
        "There is no such error code."
        "`sidecore explain --list` shows all of them.";
    error 609 PING_CORRUPT "ping-corrupt"
        "An answer was not what had been sent."
        "Something between the two sides loses, mixes up or changes messages: record the frames (run --pcap) and \
         compare.";
    error 610 SIGNALS "signals"
        "Signals such as Ctrl-C cannot be caught."
        "The message has the system's reason.";
    error 611 WRITE_FILE "write-file"
        "A file cannot be written."
        "The message has the system's reason: check the path.";
    error 612 PING_SIZE "ping-size"
        "A message of that size cannot be sent."
        "The message says what fits the link's buffers; give --size less, or the firmware larger buffers.";
    error 613 STOPPED "stopped"
        "The remote was stopped before it had done its work."
        "Nothing, if that was you.";
    error 614 CONSOLE "console"
        "The firmware's console cannot be served."
        "Give the firmware buffers of at least 48 bytes: its console's messages do not fit the ones that it has.";
    error 615 DEBUGGER "debugger"
        "The remote cannot be debugged."
        "Boards have a debug port (--on qemu:BOARD); the debugger is gdb-multiarch: apt install gdb-multiarch.";
    error 616 PROJECT "project"
        "The firmware project cannot be made."
        "The message has the reason: give a directory that is not there yet, and the SDK's tree with --sdk.";
    error 617 VHOST_SOCKET "vhost-socket"
        "The socket for virtual machines cannot be made."
        "The message has the reason: give a path of at most 107 bytes in a directory of yours at which nobody listens.";
    error 618 VHOST_SERVE "vhost-serve"
        "Virtual machines cannot be served."
        "The message has the system's reason; too few open files (ulimit -n) is the usual one.";
    error 619 SHARED_PLACE "shared-place"
        "The place where main sides meet a remote cannot be made."
        "The message has the reason: an rpmsg device with two rings has to be in the table that lies there.";
    error 620 ATTACH_USAGE "attach-usage"
        "The arguments of attach do not go together."
        "A main side (--role host) sends messages to one --service; a remote (--role remote) serves what --service names.";
    error 621 KERNEL_REMOTE "kernel-remote"
        "A remote processor that Linux drives does not do what was asked."
        "`sidecore ps` lists them with their states; why firmware was refused stands in the kernel's log (dmesg).";
    error 622 KERNEL_RIGHTS "kernel-rights"
        "The remote processors that Linux drives are not this user's to use."
        "Be root; or put the rule that `sidecore ps --rule` prints into /etc/udev/rules.d/70-sidecore.rules, make the \
         group (groupadd -r sidecore), join it (usermod -aG sidecore USER), and start anew. Traces are debugfs': mount -o \
         remount,gid=sidecore,mode=750 /sys/kernel/debug.";
    error 623 KERNEL_OPTION "kernel-option"
        "An option does not go with a remote processor that Linux drives."
        "Leave the option out: the kernel does these things, or nobody.";
    error 624 CONFORMANCE "conformance"
        "The protocol suite cannot be run against that peer."
        "The message has the reason. A host can be met by shm alone; an image is always a remote.";
    error 625 DUMP "dump"
        "A core dump cannot be kept, found or read."
        "The message has the reason; `sidecore dump list` has the dumps that are there.";
    error 626 SOC "soc"
        "The system-on-chip cannot be run."
        "The message has the reason. It is QEMU's: apt install qemu-system-arm qemu-system-misc; the kernel is one for 32-bit Arm.";
    error 627 LOGS "logs"
        "A log of traces cannot be kept, found or read."
        "The message has the reason; `sidecore start sandbox:NAME` keeps one, and so does `sidecore run --log FILE`.";
    error 628 USAGE "usage"
        "The arguments do not go together, or one of them cannot be used."
        "The message has the reason; `sidecore help` and the verb's name show what there is.";
    error 629 TERMINAL "terminal"
        "The terminal cannot be used as is wanted."
        "The message has the reason; `sidecore top --once` and a pipe want no terminal.";
    error 630 CONFIGURATION "configuration"
        "The daemon's configuration cannot be read, or says something that has no meaning."
        "The message has the file, the line and the reason; `sidecore config show --origin` shows which files count.";
    error 631 WAITED "waited"
        "What was waited for did not come about."
        "`sidecore status REMOTE` shows what it is doing, and what it said last.";
}

/// The tables of all crates.
const TABLES: &[&[Explanation]] = &[
    sidecore_remoteproc::codes::TABLE,
    sidecore_processor::codes::TABLE,
    TABLE,
    sidecore_client::codes::TABLE,
];

/// Every code that there is.
pub(crate) fn all() -> impl Iterator<Item = &'static Explanation> {
    TABLES.iter().copied().flatten()
}

/// The explanation of a code.
pub(crate) fn explanation(code: Code) -> Option<&'static Explanation> {
    all().find(|row| row.code == code)
}

/// The explanation of a code or name as people type it.
pub(crate) fn find(wanted: &str) -> Option<&'static Explanation> {
    sidecore_remoteproc::codes::find(TABLES, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_name_stands_for_one_thing_and_is_explained() {
        let rows: Vec<_> = all().collect();
        for (at, row) in rows.iter().enumerate() {
            assert!(
                rows[..at].iter().all(|other| other.code != row.code && other.name != row.name),
                "{}",
                row.name
            );
            assert!(row.summary.ends_with('.') && row.advice.ends_with('.'), "{}", row.name);
            assert_eq!(find(&row.code.to_string()).map(|found| found.name), Some(row.name));
        }
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
    }
}
