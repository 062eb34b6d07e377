//! The codes of this crate's errors: messages and endpoints (`E05`).

sidecore_remoteproc::codes! {
    error 501 ENDPOINT_CLOSED "endpoint-closed"
        "The endpoint was closed."
        "Open a new one.";
    error 502 SERVICE_WITHDRAWN "service-withdrawn"
        "The remote withdrew the service that the endpoint was bound to."
        "Wait until it is announced again, and open a new endpoint.";
    error 503 LINK_BROKEN "link-broken"
        "The remote broke the rules of its rings (or asked for a reset), so the device's link was closed."
        "This is a fault of the firmware: the message names what it wrote. Other devices and remotes go on; a restart \
         of the remote brings the link back.";
    error 504 REMOTE_ENDED "remote-ended"
        "The remote is no longer running: it ended by itself or was stopped."
        "Start it again; if it should not have ended, look at its trace.";
    error 505 REMOTE_CRASHED "remote-crashed"
        "The firmware crashed, or no longer fed its watchdog."
        "The report names the instruction (pc) and what it did: find the line with addr2line or a debugger, and read the \
         trace up to there. What the firmware itself says about the crash is its own word.";
    error 506 MESSAGE_TOO_LONG "message-too-long"
        "The message is longer than a buffer of the link takes."
        "Send less at once, or give the firmware larger buffers (VIRTIO_RPMSG_F_BUFSZ in its resource table).";
    error 507 RING_FULL "ring-full"
        "All transmit buffers are with the remote, which does not give them back."
        "Wait longer; if that does not help the firmware no longer reads its messages.";
    error 508 NO_PEER "no-peer"
        "The endpoint is bound to no address of the remote yet."
        "Wait for a message of the remote, or send to an address.";
    error 509 RECEIVE_TIMED_OUT "receive-timed-out"
        "No message came in time."
        "Wait longer, or look at the firmware's trace for why it does not answer.";
    error 510 NOT_ANNOUNCED "not-announced"
        "The firmware did not announce the service in time."
        "The message lists what it announced. Check the service's name, and that the firmware runs as far as that.";
    error 511 NO_DEVICE "no-device"
        "The firmware offers no such rpmsg device, or the device did not come up."
        "inspect shows the devices in the firmware's resource table; look for the event with the reason.";
    error 512 ENDPOINT_REFUSED "endpoint-refused"
        "The endpoint's address is taken or reserved, or there is no room for more endpoints."
        "Use another address, close endpoints that are no longer used, or make room for more.";
    error 513 DEVICE_UNKNOWN "device-unknown"
        "The firmware offers a virtio device that nothing here drives."
        "Fine if the firmware can do without; only rpmsg devices (virtio id 7) are driven so far.";
    error 514 DEVICE_DOWN "device-down"
        "A virtio device of the firmware could not be brought up."
        "The message names the field: correct the vdev entry of the resource table.";
    error 515 SERVICE_REFUSED "service-refused"
        "The firmware announced a service that changes nothing, that there is no room for, or that another channel has."
        "Announce each service once, withdraw those that are gone, and open one console and one file channel.";
    error 516 NONSENSE_DROPPED "nonsense-dropped"
        "The firmware sent frames or messages that nothing can be done with; they were dropped and counted."
        "This is a fault of the firmware: record the frames (run --pcap) and compare lengths, addresses and contents.";
    error 517 NOT_TAKEN "not-taken"
        "Messages or events came faster than the application took them, and some are lost."
        "Read every endpoint that is open and take the events, or close endpoints that nobody reads.";
    error 518 EARLIER_RUN "earlier-run"
        "The endpoint belongs to an earlier run of the remote, which was restarted or attached to again since."
        "It stays of no use: open the service again. What was on its way when the remote ended is lost, unless an event \
         says that the link was gone on in.";
    error 519 NOT_SENT_AGAIN "not-sent-again"
        "The remote crashed and was restarted silently, but whom these messages are for did not come back in time."
        "Have the firmware announce the same services after every start, or give it longer.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_no_name_is_that_of_another_crates_code() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        for (at, row) in TABLE.iter().enumerate() {
            let others = sidecore_remoteproc::codes::TABLE.iter().chain(&TABLE[..at]);
            assert!(
                others.clone().all(|other| other.name != row.name && other.code != row.code),
                "{}",
                row.name
            );
            assert!(row.summary.ends_with('.') && row.advice.ends_with('.'), "{}", row.name);
        }
    }
}
