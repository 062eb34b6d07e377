//! The codes of this crate's errors: clients and the daemon (`E07`).

sidecore_remoteproc::codes! {
    error 701 NO_DAEMON "no-daemon"
        "There is no daemon on that bus, or no bus."
        "Start one (sidecored, or sidecored --session), or do without: remotes of your own are reached directly.";
    error 702 BUS_GONE "bus-gone"
        "The bus went away in the middle of a call; whether that was done nobody knows."
        "Call again: the connection is made anew then. Endpoints that are open go on, they do not need the bus.";
    error 703 NOT_AUTHORIZED "not-authorized"
        "The caller may not do that."
        "The message names the polkit action that is asked for; where there is no polkit, be root or join the group sidecore.";
    error 704 NAME_TAKEN "name-taken"
        "There is a remote of that name already."
        "Choose another name, or remove that remote.";
    error 705 BAD_FIRMWARE "bad-firmware"
        "The firmware cannot be run."
        "The message has the reason; `sidecore inspect FIRMWARE` shows what is in the file.";
    error 706 BAD_OPTION "bad-option"
        "An option is not known, or its value cannot be used."
        "The message names it, and those that there are.";
    error 707 WRONG_STATE "wrong-state"
        "The remote does not allow that in the state that it is in."
        "Look at its state; start it, or stop it first.";
    error 708 NO_ROOM "no-room"
        "There is no room for more."
        "Close endpoints or remove remotes that are no longer used.";
    error 709 REMOTE_NOT_FOUND "remote-not-found"
        "There is no remote of that name."
        "The message lists those that there are.";
    error 710 REMOTE_AMBIGUOUS "remote-ambiguous"
        "Several remotes go by that name."
        "Say which with one of the names that the message lists.";
    error 711 LEASED "leased"
        "Another client has the remote to itself."
        "Wait until it gives the remote back.";
    error 712 NOT_SUPPORTED "not-supported"
        "That kind of remote, or that way to it, cannot do this."
        "The message has the reason.";
    error 713 FAILED "failed"
        "The remote, or what executes it, refused."
        "The message has the reason.";
    error 714 ENDPOINT_ENDED "endpoint-ended"
        "The endpoint came to its end: the remote was stopped or crashed, or the service was withdrawn."
        "Look at the remote's state and events, and open the service again when it is there.";
    error 715 BUFFER_TOO_SMALL "buffer-too-small"
        "The message is longer than the buffer for it. It was not lost: it is received next."
        "Receive it with a longer buffer; no message has more than 65535 bytes.";
    error 716 EMPTY_MESSAGE "empty-message"
        "A message without a byte cannot be sent through the daemon: it would be the endpoint's end."
        "Send a byte, or be the remote's main side (an exclusive lease).";
    error 717 INSIDE_RUNTIME "inside-runtime"
        "A call that waits was made in an asynchronous task."
        "Use the asynchronous half there (sidecore_client::aio).";
    error 718 CLIENT_SYSTEM "client-system"
        "The system refused something that the client needs."
        "The message has the system's reason.";
    error 719 NO_ANSWER "no-answer"
        "The daemon has not answered."
        "It may be stuck, or stopped by a debugger: look at its log (journalctl -u sidecored).";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_no_name_is_that_of_another_crates_code() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code));
        let below = sidecore_remoteproc::codes::TABLE.iter().chain(sidecore_processor::codes::TABLE);
        for (at, row) in TABLE.iter().enumerate() {
            let mut others = below.clone().chain(&TABLE[..at]);
            assert!(others.all(|other| other.name != row.name && other.code != row.code), "{}", row.name);
            assert!(row.summary.ends_with('.') && row.advice.ends_with('.'), "{}", row.name);
        }
    }
}
