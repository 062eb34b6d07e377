//! Chooses the platform by the target, puts its link script where the linker finds it, and tells images with what to
//! link.

use std::{env, error::Error, fs, path::PathBuf};

/// A platform of `src/platform/` as far as building for it goes.
struct Platform {
    /// Name of its module there.
    name: &'static str,
    /// Whether it is that of a target, by `target_os` and `target_arch`.
    matches: fn(&str, &str) -> bool,
    /// Its link script in `link/`.
    script: &'static str,
    /// Arguments for the linker driver with which an image is linked.
    link_arguments: &'static [&'static str],
}

const PLATFORMS: &[Platform] = &[Platform {
    name: "sandbox",
    matches: |os, arch| os == "linux" && ["x86_64", "aarch64"].contains(&arch),
    script: "sidecore-sandbox.x",
    // Our own entry and memory image, nothing of the C library, no dynamic linking, and a build id, by which a crash
    // dump finds its image again.
    link_arguments: &[
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-Tsidecore-sandbox.x",
        "-Wl,--build-id=sha1",
        "-Wl,-z,max-page-size=4096",
    ],
}];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link");
    let names: Vec<String> = PLATFORMS.iter().map(|platform| format!("{:?}", platform.name)).collect();
    println!("cargo::rustc-check-cfg=cfg(sidecore_native)");
    println!("cargo::rustc-check-cfg=cfg(sidecore_platform, values({}))", names.join(", "));

    let (os, arch) = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ARCH")?);
    let Some(platform) = PLATFORMS.iter().find(|platform| (platform.matches)(&os, &arch)) else {
        // The parts that need no platform still compile, for tests and documentation.
        return Ok(());
    };
    println!("cargo::rustc-cfg=sidecore_native");
    println!("cargo::rustc-cfg=sidecore_platform={:?}", platform.name);

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(PathBuf::from("link").join(platform.script), out.join(platform.script))?;
    // Dependents' binaries are linked with this search path too.
    println!("cargo::rustc-link-search={}", out.display());
    // Link arguments do not travel with a dependency, metadata does: an image's build script passes them on.
    println!("cargo::metadata=link_args={}", platform.link_arguments.join(" "));
    Ok(())
}
