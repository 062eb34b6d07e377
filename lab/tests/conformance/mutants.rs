//! Peers that are wrong in one thing, each caught by the clause that it breaks.

use std::time::Duration;

use sidecore_conformance::{Options, Report, Role, Verdict, report, run};

use crate::rig::Thread;
use crate::{host, remote};

fn options(only: &[&str]) -> Options {
    Options {
        pace: Duration::from_millis(40),
        limit: Duration::from_secs(20),
        only: only.iter().map(|clause| (*clause).to_owned()).collect(),
        ..Options::default()
    }
}

fn test_remote(fault: remote::Fault, only: &[&str]) -> Report {
    let mut peer = Thread::new(Role::Remote, move |end, vdev| remote::Remote::live(end, vdev, fault));
    run(&mut peer, &options(only), None, &mut |_| {})
}

fn test_host(fault: host::Fault, only: &[&str]) -> Report {
    let mut peer = Thread::new(Role::Host, move |end, vdev| host::Host::live(end, vdev, fault));
    run(&mut peer, &options(only), None, &mut |_| {})
}

fn lines(report: &Report) -> String {
    let found = report.findings.iter().filter(|finding| finding.verdict == Verdict::Deviates);
    found.map(|finding| format!("{}\n", report::line(finding, true))).collect()
}

#[test]
fn a_remote_that_is_wrong_in_nothing_follows_every_clause() {
    let report = test_remote(remote::Fault::None, &[]);
    assert_eq!(report.count(Verdict::Deviates), 0, "{}", lines(&report));
    assert!(report.count(Verdict::Follows) > 70, "{}", report::summary(&report));
}

#[test]
fn a_host_that_is_wrong_in_nothing_follows_every_clause() {
    let report = test_host(host::Fault::None, &[]);
    assert_eq!(report.count(Verdict::Deviates), 0, "{}", lines(&report));
    assert!(report.count(Verdict::Follows) > 40, "{}", report::summary(&report));
}

/// The clause that a fault breaks finds it, and follows where there is none.
macro_rules! mutants {
    ($test:ident, $faults:ident: $($name:ident: $fault:ident breaks $clause:literal,)*) => {
        $(
            #[test]
            fn $name() {
                let report = $test($faults::Fault::$fault, &[$clause]);
                let finding = report.finding($clause).unwrap();
                assert_eq!(finding.verdict, Verdict::Deviates, "{}", report::line(finding, true));
                let report = $test($faults::Fault::None, &[$clause]);
                let finding = report.finding($clause).unwrap();
                assert_eq!(finding.verdict, Verdict::Follows, "{}", report::line(finding, true));
            }
        )*
    };
}

mutants! { test_remote, remote:
    a_remote_that_touches_rings_before_driver_ok: TouchesRingsEarly breaks "START-1",
    a_remote_that_compares_the_status_with_a_value: ComparesStatus breaks "START-5",
    a_remote_that_begins_in_rings_that_are_in_use: TakesRingsInUse breaks "START-7",
    a_remote_that_goes_round_the_ring_too_early: LosesSlots breaks "RING-2",
    a_remote_that_gives_a_buffer_back_twice: GivesBackTwice breaks "RING-9",
    a_remote_that_believes_the_available_index: BelievesIndex breaks "RING-10",
    a_remote_that_believes_a_head: BelievesHead breaks "RING-11",
    a_remote_that_takes_chains: TakesChains breaks "RING-5",
    a_remote_that_writes_into_what_it_received: WritesIntoBuffers breaks "MEM-4",
    a_remote_that_shows_what_is_not_written_yet: ShowsTooSoon breaks "MEM-7",
    a_remote_that_returns_buffers_with_length_0: ReturnsZero breaks "MESSAGE-5",
    a_remote_that_gives_back_what_it_did_not_use: GivesBackUnused breaks "MESSAGE-8",
    a_remote_that_writes_flags: WritesFlags breaks "MESSAGE-10",
    a_remote_that_believes_the_length_in_a_header: BelievesLength breaks "MESSAGE-11",
    a_remote_that_cuts_what_does_not_fit: Cuts breaks "MESSAGE-12",
    a_remote_that_gives_an_address_out_twice: DoublesAddress breaks "ADDRESS-3",
    a_remote_whose_announcements_are_too_long: LongAnnouncement breaks "NS-1",
    a_remote_that_announces_again: AnnouncesTwice breaks "NS-6",
    a_remote_that_speaks_first: SpeaksFirst breaks "NS-8",
    a_remote_that_takes_any_features: TakesAnyFeatures breaks "FEATURE-3",
    a_remote_that_never_kicks: NeverKicks breaks "NOTIFY-1",
    a_remote_that_kicks_for_no_returned_buffer: NeverKicksForBuffers breaks "NOTIFY-7",
    a_remote_that_wants_kicks_for_what_it_does_not_wait_for: WantsKicks breaks "NOTIFY-8",
    a_remote_that_goes_on_after_a_reset: IgnoresReset breaks "RESET-1",
    a_remote_that_does_not_see_cleared_rings: GoesOnAfterReset breaks "RESET-4",
    a_remote_that_breaks_off_in_silence: AsksForNothing breaks "ERROR-2",
    a_remote_that_acknowledges_no_reset: NeverAcknowledges breaks "RESET-18",
    a_remote_that_acknowledges_while_it_has_a_link: AcknowledgesInALink breaks "RESET-18",
    a_remote_that_loses_buffers_to_useless_frames: KeepsUselessFrames breaks "ERROR-3",
}

mutants! { test_host, host:
    a_host_that_skips_steps: SkipsSteps breaks "START-4",
    a_host_that_fills_ring_0_after_driver_ok: FillsLate breaks "MESSAGE-1",
    a_host_that_gives_up_on_silence: GivesUpOnSilence breaks "START-8",
    a_host_that_leaves_litter_in_the_rings: LeavesLitter breaks "RING-3",
    a_host_that_offers_a_buffer_twice: OffersTwice breaks "RING-4",
    a_host_that_marks_all_buffers_as_writable: MarksWritable breaks "RING-6",
    a_host_that_believes_an_id: BelievesId breaks "RING-7",
    a_host_that_believes_the_used_index: BelievesIndex breaks "RING-8",
    a_host_that_believes_the_length_of_a_returned_buffer: BelievesLength breaks "MESSAGE-6",
    a_host_that_accepts_everything: AcceptsAll breaks "FEATURE-2",
    a_host_that_writes_what_is_the_remotes: WritesFeatures breaks "TABLE-7",
    a_host_that_gives_up_in_silence: SaysNothingOfFailure breaks "ERROR-2",
    a_host_that_leaves_a_remote_no_time: GoesOnAtOnce breaks "RESET-13",
    a_host_that_does_not_number_its_resets: NumbersNoReset breaks "RESET-17",
    a_host_that_hears_no_acknowledgement: HeedsNoAcknowledgement breaks "RESET-19",
    a_host_that_does_not_hear_a_request_for_a_reset: IgnoresRequests breaks "RESET-8",
}
