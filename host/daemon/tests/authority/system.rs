//! A bus of the type of the system's, and the daemon on it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sidecore_dbus::NAME;
use zbus::Connection;

use crate::SOON;

/// The daemon's user and group here.
pub(crate) const DAEMON: u32 = 64_990;
/// Users: one who is nobody in particular, and one whose second group is the daemon's.
pub(crate) const STRANGER: u32 = 64_991;
pub(crate) const MEMBER: u32 = 64_992;

/// Has `/etc/passwd`, `/etc/group` and `/run` of its own. The shell stays: that it dies with who started it would be forgotten
/// with a change of its user.
const ROOM: &str = r#"mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/group" /etc/group
mount --bind "$0/run" /run
"$@"; exit"#;

/// A bus of the type of the system's, with the policy that is installed, and a daemon that is its own user.
pub(crate) struct System {
    place: PathBuf,
    bus: Child,
    daemon: Child,
}

impl System {
    /// `None`: this takes root, and mounts.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: other users' calls are tested by root");
            return None;
        }
        let place = std::env::temp_dir().join(format!("sidecored-{name}-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        fs::create_dir_all(place.join("run/sidecore")).unwrap();
        for open in [&place, &place.join("run")] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(place.join("run/sidecore"), Some(DAEMON), Some(DAEMON)).unwrap();
        fs::set_permissions(place.join("run/sidecore"), fs::Permissions::from_mode(0o700)).unwrap();
        // The bus lets in nobody without a name.
        let users = [("sidecore", DAEMON), ("stranger", STRANGER), ("member", MEMBER)];
        for (file, rest) in [("passwd", "::/:/usr/sbin/nologin"), ("group", "")] {
            let mut all = fs::read_to_string(Path::new("/etc").join(file)).unwrap();
            if all.lines().any(|line| line.starts_with("sidecore:")) {
                all = all.replace("\nsidecore:", "\nother-sidecore:");
            }
            for (name, id) in users {
                let group = if file == "passwd" { format!("{id}:{id}") } else { format!("{id}:") };
                all.push_str(&format!("{name}:x:{group}{rest}\n"));
            }
            fs::write(place.join(file), all).unwrap();
        }
        if !room(&place, &["true"]).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: this machine lets us mount nothing");
            let _ = fs::remove_dir_all(&place);
            return None;
        }
        // The tree may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_sidecored"), place.join("sidecored")).unwrap();
        fs::write(place.join("bus.conf"), bus_conf(&place)).unwrap();
        let bus = room(&place, &["dbus-daemon", "--nofork", "--nopidfile"])
            .arg(format!("--config-file={}", place.join("bus.conf").display()))
            .spawn()
            .expect("there is a dbus-daemon (Debian: dbus)");
        let begin = Instant::now();
        while UnixStream::connect(place.join("bus")).is_err() {
            assert!(begin.elapsed() < SOON, "no bus");
            std::thread::sleep(Duration::from_millis(5));
        }
        let user = format!("--reuid={DAEMON}");
        let group = format!("--regid={DAEMON}");
        let program = place.join("sidecored");
        let daemon = room(&place, &["setpriv", &user, &group, "--clear-groups", "--no-new-privs", "--"])
            .arg(&program)
            .spawn()
            .unwrap();
        let system = Self { place, bus, daemon };
        let root = system.caller(0, &[]).await;
        let names = zbus::fdo::DBusProxy::new(&root).await.unwrap();
        let begin = Instant::now();
        while !names.name_has_owner(NAME.try_into().unwrap()).await.unwrap() {
            assert!(begin.elapsed() < SOON, "no daemon");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(system)
    }

    /// A connection of a user's, as the kernel and the bus see it.
    pub(crate) async fn caller(&self, user: u32, groups: &[u32]) -> Connection {
        const CONNECT: &str = "import socket, sys
bus = socket.socket(socket.AF_UNIX)
bus.connect(sys.argv[1])
socket.send_fds(socket.socket(fileno=0), [b'x'], [bus.fileno()])";
        let (ours, theirs) = UnixStream::pair().unwrap();
        let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
        let groups = if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={}", groups.join(","))
        };
        let status = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={user}"), groups])
            .args(["--", "/usr/bin/python3", "-c", CONNECT])
            .arg(self.place.join("bus"))
            .stdin(OwnedFd::from(theirs))
            .status();
        assert!(status.unwrap().success());
        let channel = sidecore_os::Channel::from(OwnedFd::from(ours));
        let received = channel.receive(&mut [0; 1]).unwrap().unwrap();
        let stream = UnixStream::from(received.fds.into_iter().next().unwrap());
        zbus::connection::Builder::unix_stream(stream).user_id(user).build().await.unwrap()
    }

    pub(crate) async fn stranger(&self) -> Connection {
        self.caller(STRANGER, &[]).await
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// A program in a room of its own. All that it starts ends with it.
fn room(place: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--", "sh", "-eu", "-c", ROOM]).arg(place).args(words);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", place.join("bus").display()));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The rules that every system's bus has, our own, and one for who plays polkit.
fn bus_conf(place: &Path) -> String {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/usr/share/dbus-1/system.d");
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <policy user="root"><allow own="org.freedesktop.PolicyKit1"/></policy>
  <include>{}</include>
</busconfig>
"#,
        place.join("bus").display(),
        policy.join(format!("{NAME}.conf")).display(),
    )
}
