//! The front end of the crate `vhost`, which nobody here wrote.

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sidecore_vhost_user::Event;
use sidecore_wire::split::Layout;
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::{Frontend, VhostUserFrontend as _};
use vhost::{VhostBackend as _, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

use crate::guest::{GUEST, Guest, LEN, NUM, OFFSET, USER, rings_at};
use crate::running::{Running, until};

#[test]
fn the_rust_vmm_front_end_brings_the_device_up_stops_it_and_goes_on() {
    let running = Running::start(&["echo", "tty"]);
    // A guest without a front end of ours: that one talks to a socket that leads nowhere.
    let elsewhere = Running::start(&[]);
    let mut guest = Guest::new(&elsewhere.path(), 0);
    let bells = [(); 2].map(|()| (EventFd::new(0).unwrap(), EventFd::new(0).unwrap()));
    guest.kicks = [0, 1].map(|queue| copy(&bells[queue].0));
    guest.make_rings();

    let mut front_end = Frontend::connect(running.path(), 2).unwrap();
    front_end.set_owner().unwrap();
    let features = front_end.get_features().unwrap();
    front_end.set_features(features).unwrap();
    let offered = front_end.get_protocol_features().unwrap();
    let wanted = Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIGURE_MEM_SLOTS;
    assert!(offered.contains(wanted), "{offered:?}");
    front_end.set_protocol_features(wanted).unwrap();
    front_end.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
    assert_eq!(front_end.get_queue_num().unwrap(), 2);
    assert_eq!(front_end.get_max_mem_slots().unwrap(), 32);
    let memory = VhostUserMemoryRegionInfo {
        guest_phys_addr: GUEST,
        memory_size: LEN,
        userspace_addr: USER,
        mmap_offset: OFFSET,
        mmap_handle: guest.file.as_raw_fd(),
    };
    front_end.set_mem_table(&[memory]).unwrap();

    let layout = Layout::new(NUM, 64).unwrap();
    let set_up = |bases: [u16; 2]| {
        for (queue, (kick, call)) in bells.iter().enumerate() {
            let ring = USER + rings_at(queue);
            front_end.set_vring_num(queue, NUM).unwrap();
            let addresses = VringConfigData {
                queue_max_size: NUM,
                queue_size: NUM,
                flags: 0,
                desc_table_addr: ring,
                used_ring_addr: ring + u64::from(layout.used_flags()),
                avail_ring_addr: ring + u64::from(layout.available_flags()),
                log_addr: None,
            };
            front_end.set_vring_addr(queue, &addresses).unwrap();
            front_end.set_vring_base(queue, bases[queue]).unwrap();
            front_end.set_vring_call(queue, call).unwrap();
            front_end.set_vring_kick(queue, kick).unwrap();
        }
    };
    set_up([0, 0]);
    let mut other = front_end.clone();
    (0..2).for_each(|queue| other.set_vring_enable(queue, true).unwrap());
    guest.kick(0);
    let endpoint = guest.channel("rpmsg-echo");
    guest.channel("rpmsg-tty");
    until("a call", || bells[0].1.read().is_ok());
    (0..100_u32).for_each(|number| guest.round_trip(endpoint, &number.to_le_bytes()));

    let bases = [0, 1].map(|queue| front_end.get_vring_base(queue).unwrap() as u16);
    assert_eq!(bases, [102, 100]);
    set_up(bases);
    guest.round_trip(endpoint, b"as before");
    drop((front_end, other));
    running.heard("its end", |event| matches!(event, Event::Disconnected { .. }));
}

/// A copy of a doorbell of that crate's, by way of the system: its type lends no descriptor that is safe to use.
fn copy(bell: &EventFd) -> OwnedFd {
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&ourselves, bell.as_raw_fd(), PidfdGetfdFlags::empty()).unwrap()
}
