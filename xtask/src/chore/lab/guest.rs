//! The guest's programs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Need, directory};
use crate::{report::Step, source};

/// What builds them for 32-bit Arm: a compiler with its sources, and what links.
pub(super) const ARM_NEEDS: &[Need] = &[
    Need { what: "/usr/bin/rustc", package: "rustc-web" },
    Need { what: "/usr/bin/cargo", package: "cargo-web" },
    Need { what: "arm-linux-gnueabihf-gcc", package: "gcc-arm-linux-gnueabihf" },
    Need { what: "/usr/arm-linux-gnueabihf/lib/libc.a", package: "libc6-dev-armhf-cross" },
];

/// Builds the one for this machine, with all that it needs inside, for it is alone; its bytes.
pub(super) fn build(step: &Step) -> Result<Vec<u8>> {
    let target = source::host()?;
    let folder: PathBuf = directory()?.join("guest");
    let mut cargo = source::cargo();
    cargo.args(["build", "--quiet", "--release", "--package", "sidecore-guest", "--target", &target]);
    cargo.arg("--target-dir").arg(&folder).env("CARGO_PROFILE_RELEASE_STRIP", "true");
    // It stands above what concerns a single target, and takes precedence over flags that are meant for others.
    step.run(cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static"))?;
    let program = folder.join(target).join("release/sidecore-guest");
    fs::read(&program).with_context(|| program.display().to_string())
}

/// Where the ones for 32-bit Arm are: the guest's, and the `sidecore` command. What is not to be as fast as it is released
/// is built in less time.
pub(super) fn build_for_arm(step: &Step, released: bool) -> Result<[PathBuf; 2]> {
    const TARGET: &str = "armv7-unknown-linux-gnueabihf";
    let folder = directory()?.join(if released { "guest-released" } else { "guest" });
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.current_dir(source::root());
    // What cargo set for us is its own compiler's.
    for name in ["RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    cargo.env("RUSTC", "/usr/bin/rustc").env("CARGO_PROFILE_RELEASE_STRIP", "true");
    // Nobody waits for what these programs could be faster but who measures them.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", if released { "3" } else { "0" });
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    // The standard library is built of the distribution's sources, which is no everyday's use.
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER", "arm-linux-gnueabihf-gcc");
    cargo.env("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.args(["build", "--quiet", "--release", "--package", "sidecore-guest", "--package", "sidecore"]);
    cargo.args(["--target", TARGET, "-Zbuild-std=std,panic_abort", "--target-dir"]).arg(&folder);
    step.run(&mut cargo)?;
    let program = |name: &str| -> PathBuf { Path::new(&folder).join(TARGET).join("release").join(name) };
    Ok([program("sidecore-guest"), program("sidecore")])
}
