//! The device status machine (3.1) as the device sees it: bits that the driver writes, and what they mean.

use core::fmt;

use sidecore_wire::status::Status;

/// What a new value of the status byte means to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that the device must act on.
    None,
    /// The driver goes through the first steps: it has noticed the device, or knows how to drive it.
    Progress,
    /// The driver has chosen features; the device may refuse by taking FEATURES_OK back.
    FeaturesChosen,
    /// DRIVER_OK: the rings are set up and may be used from now on.
    Started,
    /// The driver took everything back; rings and buffers are no longer the device's.
    Reset,
    /// The driver gave up on the device (FAILED).
    Failed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing new",
            Self::Progress => "driver found",
            Self::FeaturesChosen => "features chosen",
            Self::Started => "driver ready",
            Self::Reset => "reset",
            Self::Failed => "driver failed",
        })
    }
}

/// Compares the status that the device saw last with the one that it sees now. Total: a driver may write any
/// byte, skip steps (OpenAMP writes DRIVER_OK alone) and be seen late.
///
/// Taking DRIVER_OK back without writing zero is forbidden (3.1.1) and counts as a reset. NEEDS_RESET is the
/// device's own bit and its coming never a change; but where it is gone the driver has reset the device, however
/// soon it was ready again.
#[must_use]
pub const fn change(before: Status, now: Status) -> Change {
    let was_running = is_running(before);
    if now.contains(Status::FAILED) {
        return if before.contains(Status::FAILED) { Change::None } else { Change::Failed };
    }
    let was_cleared = before.contains(Status::NEEDS_RESET) && !now.contains(Status::NEEDS_RESET);
    if was_running && (!is_running(now) || was_cleared) || now.0 == 0 && before.0 != 0 {
        return Change::Reset;
    }
    if is_running(now) {
        return if was_running { Change::None } else { Change::Started };
    }
    let fresh = Status(now.0 & !before.0).without(Status::NEEDS_RESET);
    if fresh.contains(Status::FEATURES_OK) {
        Change::FeaturesChosen
    } else if fresh.0 != 0 {
        Change::Progress
    } else {
        Change::None
    }
}

/// Whether rings may be used under this status: DRIVER_OK and not FAILED. Only these bits are looked at.
#[must_use]
pub const fn is_running(status: Status) -> bool {
    status.contains(Status::DRIVER_OK) && !status.contains(Status::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_linux_and_of_openamp_both_start_the_device_once() {
        let linux = [0x01, 0x03, 0x0b, 0x0f, 0x0f];
        let openamp = [0x00, 0x04, 0x04];
        let mut changes = [Change::None; 5];
        let mut before = Status::RESET;
        for (at, now) in linux.into_iter().enumerate() {
            changes[at] = change(before, Status(now));
            before = Status(now);
        }
        use Change::*;
        assert_eq!(changes, [Progress, Progress, FeaturesChosen, Started, None]);
        before = Status::RESET;
        for (at, now) in openamp.into_iter().enumerate() {
            changes[at] = change(before, Status(now));
            before = Status(now);
        }
        assert_eq!(changes[..3], [None, Started, None]);
    }

    #[test]
    fn every_pair_of_bytes_has_an_answer_and_a_running_device_only_leaves_by_reset_or_failure() {
        for before in 0..=255 {
            for now in 0..=255 {
                let (before, now) = (Status(before), Status(now));
                let change = change(before, now);
                if is_running(before) && !is_running(now) {
                    assert!(matches!(change, Change::Reset | Change::Failed), "{before} -> {now}");
                }
                assert_eq!(
                    change == Change::Started,
                    !is_running(before) && is_running(now),
                    "{before} -> {now}"
                );
                if before == now {
                    assert_eq!(change, Change::None);
                }
                if is_running(before) && is_running(now) {
                    let cleared = before.0 & !now.0 & Status::NEEDS_RESET.0 != 0;
                    assert_eq!(change == Change::Reset, cleared, "{before} -> {now}");
                }
            }
        }
    }
}
