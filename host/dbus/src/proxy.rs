//! The daemon's objects as a client calls them.
//!
//! Sizes are in bytes and times in microseconds, as unsigned 64-bit numbers; enumerations are lower-case words. Every method
//! that changes something ends in a dictionary of options whose unknown keys are errors.

use std::collections::HashMap;

use zbus::{Fd, OwnedFd, OwnedObjectPath, OwnedVariant, Variant};

/// The dictionary that methods end in.
pub type Options<'o> = HashMap<&'o str, Variant<'o>>;

/// Makes remotes, and tells of what happens to all of them.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Manager",
    default_service = "org.sidecore.Sidecore1",
    default_path = "/org/sidecore/Sidecore1"
)]
pub trait Manager {
    /// Starts firmware, an ELF file, on a new remote of that name. Answers the remote's object.
    ///
    /// Options: `on` (s): `sandbox`, as where nothing is said, or `qemu:BOARD`; `lease` (s): as [`ProcessorProxy::lease`]'s modes, and
    /// `none`; `arguments` (as): the firmware's; `watchdog` (t): microseconds without a sign of life that are a hang;
    /// `file` (s): what the firmware is called; `restart` (u): how often within a minute it is started again when it crashes,
    /// and `silently` (b): with its endpoints.
    fn start(&self, name: &str, firmware: &Fd<'_>, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Takes a remote that runs already, `sandbox:NAME`, and becomes its main side. Answers its object.
    fn attach(&self, remote: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// The objects of all remotes.
    fn list_processors(&self) -> zbus::Result<Vec<OwnedObjectPath>>;

    /// Something happened: when, in microseconds since 1970; to which remote, by name; which kind of event, in one word of
    /// `added`, `removed`, `state`, `name-appeared`, `name-gone`, `lease`, `endpoint-opened`, `endpoint-closed`, `job`, `notice`,
    /// `warning`; what, in words; and by the kind more (`state` (s); `service` (s), `device` (u), `address` (u); `code` (s)).
    #[zbus(signal)]
    fn event(
        &self,
        time: u64,
        processor: &str,
        kind: &str,
        what: &str,
        details: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
}

/// A remote processor.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Processor",
    default_service = "org.sidecore.Sidecore1",
    assume_defaults = false
)]
pub trait Processor {
    /// Starts its firmware once more, from the beginning. Endpoints of the run before are closed.
    fn start(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Stops it at once. It can be started again. Option `force` (b): whoever has a lease; so for the methods that follow.
    fn stop(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Stops it, and starts it from the beginning.
    fn restart(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Lets it run on and forgets it; whoever wants may attach. Its endpoints are closed.
    fn detach(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Ends it, whatever it is doing, and gives its name back.
    fn remove(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Opens an endpoint that is bound to a service, as soon as that is announced. Answers a socket that keeps message
    /// boundaries, the endpoint's address, and the bytes of the longest message. Closing the socket closes the endpoint.
    ///
    /// Option `timeout` (t): microseconds to wait for the announcement; 5 seconds where nothing is said. Option `queue` (u):
    /// messages of the remote's that may wait for this client, as the configuration has it where nothing is said.
    fn open_endpoint(&self, service: &str, options: Options<'_>) -> zbus::Result<(OwnedFd, u32, u32)>;

    /// Opens an endpoint of a device at an address, for a peer's address; [`crate::ADDRESS_ANY`] for any address, and for the
    /// peer that writes first. Answers as `OpenEndpoint` does. Option `queue` as there.
    fn open_endpoint_at(
        &self,
        device: u32,
        local: u32,
        peer: u32,
        options: Options<'_>,
    ) -> zbus::Result<(OwnedFd, u32, u32)>;

    /// The services that it has announced: device, name, address.
    fn list_services(&self) -> zbus::Result<Vec<(u32, String, u32)>>;

    /// Takes the remote for the caller, until the socket that is answered is closed, by whomever and however. `shared`: it is
    /// not stopped meanwhile, but by force. `tied`: it ends with the socket. `exclusive`: all endpoints are closed, and the
    /// caller is its main side; the first packet on the socket brings the connection to its warden (`SCM_RIGHTS`), over which
    /// the caller was asked for already.
    fn lease(&self, mode: &str, options: Options<'_>) -> zbus::Result<OwnedFd>;

    /// Opens the firmware's console. Answers a stream socket: what it said last and says from now on, and what it is told.
    fn open_console(&self, options: Options<'_>) -> zbus::Result<OwnedFd>;

    /// Writes its memory and registers to a file that is open for writing, as an ELF core file. Answers a job.
    fn dump(&self, file: &Fd<'_>, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Something happened; `is_warning`: somebody should look at it.
    #[zbus(signal)]
    fn happened(&self, what: &str, is_warning: bool) -> zbus::Result<()>;

    /// A service was announced.
    #[zbus(signal)]
    fn service_appeared(&self, device: u32, name: &str, address: u32) -> zbus::Result<()>;

    /// A service was withdrawn, or its remote ended.
    #[zbus(signal)]
    fn service_gone(&self, device: u32, name: &str, address: u32) -> zbus::Result<()>;

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;

    /// What it is doing, in the kernel's words.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;

    /// What executes it: `sandbox`, `qemu:BOARD`, `linux:remoteprocN`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> zbus::Result<String>;

    /// Who has it: `none`, `shared`, `tied`, `exclusive`.
    #[zbus(property)]
    fn lease_mode(&self) -> zbus::Result<String>;

    /// How often it was started again since it was made.
    #[zbus(property)]
    fn restarts(&self) -> zbus::Result<u64>;
}

/// A remote's firmware.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Firmware",
    default_service = "org.sidecore.Sidecore1",
    assume_defaults = false
)]
pub trait Firmware {
    /// Stops the remote and starts other firmware in its place.
    fn replace(&self, firmware: &Fd<'_>, options: Options<'_>) -> zbus::Result<()>;

    /// What its file is called.
    #[zbus(property)]
    fn file(&self) -> zbus::Result<String>;

    /// Bytes of its file.
    #[zbus(property)]
    fn size(&self) -> zbus::Result<u64>;

    /// The identity that its linker gave it, in hexadecimal digits, or nothing.
    #[zbus(property)]
    fn build_id(&self) -> zbus::Result<String>;
}

/// A remote's traces.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Trace",
    default_service = "org.sidecore.Sidecore1",
    assume_defaults = false
)]
pub trait Trace {
    /// The log of its traces, a file to be read from the beginning on; it grows while the remote runs.
    fn open_log(&self) -> zbus::Result<OwnedFd>;

    /// The names of its trace buffers.
    fn list(&self) -> zbus::Result<Vec<String>>;
}

/// An endpoint that a client has open.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Endpoint",
    default_service = "org.sidecore.Sidecore1",
    assume_defaults = false
)]
pub trait Endpoint {
    /// Closes it; its client reads the end.
    fn close(&self, options: Options<'_>) -> zbus::Result<()>;

    /// Number of its device.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> zbus::Result<u32>;

    /// Its own address.
    #[zbus(property(emits_changed_signal = "const"))]
    fn address(&self) -> zbus::Result<u32>;

    /// The service that it is bound to, or nothing.
    #[zbus(property(emits_changed_signal = "const"))]
    fn service(&self) -> zbus::Result<String>;

    /// Its client's unique name on the bus, or nothing where that left.
    #[zbus(property(emits_changed_signal = "const"))]
    fn client(&self) -> zbus::Result<String>;

    /// Messages from the client to the remote so far.
    #[zbus(property(emits_changed_signal = "false"))]
    fn sent(&self) -> zbus::Result<u64>;

    /// Messages from the remote to the client so far.
    #[zbus(property(emits_changed_signal = "false"))]
    fn received(&self) -> zbus::Result<u64>;

    /// Messages from the remote that the client did not take in time, and that are lost.
    #[zbus(property(emits_changed_signal = "false"))]
    fn lost(&self) -> zbus::Result<u64>;
}

/// Work that takes longer than a call. Its object goes a while after it ended.
#[zbus::proxy(
    interface = "org.sidecore.Sidecore1.Job",
    default_service = "org.sidecore.Sidecore1",
    assume_defaults = false
)]
pub trait Job {
    /// Gives it up.
    fn cancel(&self, options: Options<'_>) -> zbus::Result<()>;

    /// `running`, `done`, `failed` or `cancelled`.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;

    /// What it does, and how it ended, in words.
    #[zbus(property)]
    fn what(&self) -> zbus::Result<String>;

    /// Bytes that are done, and bytes in all where that is known; 0 where not.
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> zbus::Result<(u64, u64)>;
}
