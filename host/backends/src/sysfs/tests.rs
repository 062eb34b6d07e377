//! Over a made tree, shaped as the kernel's is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A tree with one remote processor of a board, which goes with this.
struct Tree(PathBuf);

const NODE: &str = "sys/devices/platform/m4/remoteproc/remoteproc0";

impl Tree {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sidecore-sysfs-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let tree = Self(root);
        for folder in
            ["sys/class/remoteproc", "dev", "lib/firmware", "sys/kernel/debug/remoteproc/remoteproc0", NODE]
        {
            fs::create_dir_all(tree.0.join(folder)).unwrap();
        }
        symlink(
            "../../devices/platform/m4/remoteproc/remoteproc0",
            tree.0.join("sys/class/remoteproc/remoteproc0"),
        )
        .unwrap();
        for (attribute, value) in [("name", "m4\n"), ("state", "offline\n"), ("firmware", "rproc-m4-fw\n")] {
            tree.write(&format!("{NODE}/{attribute}"), value);
        }
        tree
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn roots(&self) -> Roots {
        Roots::below(&self.0)
    }

    fn remote(&self) -> Remoteproc {
        Remoteproc::find(&self.roots(), "m4").unwrap()
    }

    /// Announces a channel, as the kernel shows it.
    fn channel(&self, name: &str, address: u32) {
        let device = format!("virtio0.{name}.-1.{address}");
        let folder = format!("{NODE}/rproc-virtio.0.auto/virtio0/{device}");
        for (attribute, value) in [
            ("name", format!("{name}\n")),
            ("src", "0xffffffff\n".to_owned()),
            ("dst", format!("{address:#x}\n")),
        ] {
            self.write(&format!("{folder}/{attribute}"), &value);
        }
        let bus = self.0.join("sys/bus/rpmsg/devices");
        fs::create_dir_all(&bus).unwrap();
        symlink(self.0.join(folder), bus.join(device)).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn remotes_are_found_by_both_names() {
    let tree = Tree::new("names");
    fs::create_dir_all(tree.0.join("sys/class/remoteproc/remoteproc0x")).unwrap();
    let all = Remoteproc::all(&tree.roots()).unwrap();
    assert_eq!(all.iter().map(Remoteproc::id).collect::<Vec<_>>(), ["remoteproc0"]);
    assert_eq!(Remoteproc::find(&tree.roots(), "remoteproc0").unwrap(), tree.remote());
    let error = Remoteproc::find(&tree.roots(), "dsp").unwrap_err().to_string();
    assert_eq!(error, "there is no remote processor dsp (there are remoteproc0)");
    let nowhere = Roots::below(Path::new("/nonexistent"));
    assert!(matches!(Remoteproc::all(&nowhere), Err(SysfsError::NoClass(_))));
}

#[test]
fn states_are_the_kernel_s_and_nothing_else() {
    let tree = Tree::new("states");
    for word in ["offline", "suspended", "running", "crashed", "deleted", "attached", "detached"] {
        tree.write(&format!("{NODE}/state"), &format!("{word}\n"));
        assert_eq!(tree.remote().state().unwrap().to_string(), word);
    }
    for strange in ["", "Running\n", "\u{1b}[2J", &"x".repeat(100_000)] {
        tree.write(&format!("{NODE}/state"), strange);
        let error = tree.remote().state().unwrap_err();
        assert!(
            matches!(&error, SysfsError::Strange { value, .. } if value.chars().count() <= 40),
            "{error}"
        );
    }
}

#[test]
fn orders_are_what_the_kernel_reads() {
    let tree = Tree::new("orders");
    let remote = tree.remote();
    for (order, expected) in [
        (Remoteproc::start as fn(&_) -> _, "start"),
        (Remoteproc::stop, "stop"),
        (Remoteproc::detach, "detach"),
    ] {
        tree.write(&format!("{NODE}/state"), "");
        order(&remote).unwrap();
        assert_eq!(tree.read(&format!("{NODE}/state")), expected);
    }
}

#[test]
fn firmware_is_put_where_the_kernel_looks_under_a_harmless_name() {
    let tree = Tree::new("firmware");
    let name = tree.remote().install("../../etc/passwd\n", b"\x7fELF").unwrap();
    assert_eq!(name, "sidecore-remoteproc0-..-..-etc-passwd-");
    assert_eq!(fs::read(tree.0.join("lib/firmware").join(&name)).unwrap(), b"\x7fELF");
    assert_eq!(fs::read_dir(tree.0.join("lib/firmware")).unwrap().count(), 1);
    tree.write(&format!("{NODE}/firmware"), "");
    tree.remote().set_firmware(&name).unwrap();
    assert_eq!(tree.read(&format!("{NODE}/firmware")), name);
}

#[test]
fn traces_are_read_in_the_order_of_their_numbers() {
    let tree = Tree::new("traces");
    for name in ["trace10", "trace2", "tracex", "crash"] {
        tree.write(&format!("sys/kernel/debug/remoteproc/remoteproc0/{name}"), "boot\n");
    }
    let remote = tree.remote();
    assert_eq!(remote.traces().unwrap(), ["trace2", "trace10"]);
    assert_eq!(remote.read_trace("trace2").unwrap(), b"boot\n");
}

#[test]
fn channels_are_those_of_this_remote_alone() {
    let tree = Tree::new("channels");
    assert_eq!(tree.remote().channels().unwrap(), []);
    tree.channel("rpmsg-tty", 0x401);
    tree.channel("rpmsg-echo", 0x400);
    tree.channel("rpmsg_ctrl", 0);
    // Another remote's.
    tree.write("sys/devices/platform/dsp/virtio1.rpmsg-raw.-1.1/name", "rpmsg-raw\n");
    symlink(
        tree.0.join("sys/devices/platform/dsp/virtio1.rpmsg-raw.-1.1"),
        tree.0.join("sys/bus/rpmsg/devices/virtio1.rpmsg-raw.-1.1"),
    )
    .unwrap();
    let channels = tree.remote().channels().unwrap();
    let seen: Vec<_> = channels.iter().map(|channel| (&*channel.name, channel.destination)).collect();
    assert_eq!(seen, [("rpmsg-echo", 0x400), ("rpmsg-tty", 0x401)]);

    let error = tree.remote().open("rpmsg-raw", Duration::ZERO).unwrap_err().to_string();
    assert_eq!(error, "remoteproc0 announces no channel rpmsg-raw (it announces rpmsg-echo, rpmsg-tty)");
    let error = tree.remote().open("rpmsg-echo", Duration::ZERO).unwrap_err();
    assert_eq!(error, SysfsError::NoControl { remote: "remoteproc0".into() });
}

#[test]
fn whoever_is_refused_is_told_what_is_missing() {
    if rustix::process::geteuid().is_root() {
        eprintln!("not run: whoever_is_refused_is_told_what_is_missing: nothing is refused to root");
        return;
    }
    let tree = Tree::new("refused");
    let state = tree.0.join(NODE).join("state");
    fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    let error = tree.remote().start().unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("with mode 444"), "{error}");
    // A character device helps, where there is one that is for this user.
    tree.write("dev/remoteproc0", "");
    tree.remote().start().unwrap();
    assert_eq!(tree.read("dev/remoteproc0"), "start");
}
