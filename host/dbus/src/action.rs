//! The polkit actions that methods ask for. Where there is no polkit, root and the members of one group may do everything.

use crate::{ENDPOINT, FIRMWARE, JOB, MANAGER, PROCESSOR, TRACE};

/// The group whose members may do everything where there is no polkit.
pub const GROUP: &str = "sidecore";

/// To see which remotes there are, their services, states, traces and events.
pub const INSPECT: &str = "org.sidecore.sidecore1.inspect";
/// To start, stop, restart, lease and remove remotes.
pub const LIFECYCLE: &str = "org.sidecore.sidecore1.lifecycle";
/// To bring firmware.
pub const LOAD_FIRMWARE: &str = "org.sidecore.sidecore1.load-firmware";
/// To open and to close endpoints, and the console.
pub const OPEN_ENDPOINT: &str = "org.sidecore.sidecore1.open-endpoint";
/// To read a remote's memory.
pub const DUMP: &str = "org.sidecore.sidecore1.dump";
/// To hold a remote's core and to change its memory.
pub const DEBUG: &str = "org.sidecore.sidecore1.debug";

/// All of them.
pub const ALL: [&str; 6] = [INSPECT, LIFECYCLE, LOAD_FIRMWARE, OPEN_ENDPOINT, DUMP, DEBUG];

/// What each method asks for: interface, method, action. Whoever may bring firmware may start and
/// stop remotes with it. Properties and signals ask for nothing.
pub const METHODS: [(&str, &str, &str); 19] = [
    (MANAGER, "Start", LOAD_FIRMWARE),
    (MANAGER, "Attach", LIFECYCLE),
    (MANAGER, "ListProcessors", INSPECT),
    (PROCESSOR, "Start", LIFECYCLE),
    (PROCESSOR, "Stop", LIFECYCLE),
    (PROCESSOR, "Restart", LIFECYCLE),
    (PROCESSOR, "Detach", LIFECYCLE),
    (PROCESSOR, "Remove", LIFECYCLE),
    (PROCESSOR, "OpenEndpoint", OPEN_ENDPOINT),
    (PROCESSOR, "OpenEndpointAt", OPEN_ENDPOINT),
    (PROCESSOR, "ListServices", INSPECT),
    (PROCESSOR, "Lease", LIFECYCLE),
    (PROCESSOR, "OpenConsole", OPEN_ENDPOINT),
    (PROCESSOR, "Dump", DUMP),
    (FIRMWARE, "Replace", LOAD_FIRMWARE),
    (TRACE, "OpenLog", INSPECT),
    (TRACE, "List", INSPECT),
    (ENDPOINT, "Close", OPEN_ENDPOINT),
    (JOB, "Cancel", DUMP),
];
