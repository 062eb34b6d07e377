//! The polkit actions that methods ask for. Where there is no polkit, root and the members of one group may do everything.

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
