//! Chooses the platform by the target, puts its link script where the linker finds it, and tells images with what to
//! link.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// A platform of `src/platform/` as far as building for it goes.
struct Platform {
    /// Name of its module there.
    name: &'static str,
    /// Whether it is that of a target.
    matches: fn(&str) -> bool,
    /// Whether it is a processor on a board, with no operating system below.
    is_board: bool,
    /// Its link script in `link/`, and the name by which it is included or named to the linker.
    script: &'static str,
    installed: &'static str,
    /// Arguments for the linker driver with which an image is linked.
    link_arguments: &'static [&'static str],
}

const PLATFORMS: &[Platform] = &[
    Platform {
        name: "sandbox",
        matches: |target| {
            ["x86_64-unknown-linux-", "aarch64-unknown-linux-"].iter().any(|t| target.starts_with(t))
        },
        is_board: false,
        script: "sidecore-sandbox.x",
        installed: "sidecore-sandbox.x",
        // Our own entry and memory image, nothing of the C library, no dynamic linking, and a build id, by which a
        // crash dump finds its image again.
        link_arguments: &[
            "-nostartfiles",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-Tsidecore-sandbox.x",
            "-Wl,--build-id=sha1",
            "-Wl,-z,max-page-size=4096",
        ],
    },
    Platform {
        name: "mps2-an386",
        matches: |target| target == "thumbv7em-none-eabihf",
        is_board: true,
        script: "mps2-an386.x",
        installed: "memory.x",
        link_arguments: CORTEX_M,
    },
    Platform {
        name: "mps2-an521",
        matches: |target| target == "thumbv8m.main-none-eabihf",
        is_board: true,
        script: "mps2-an521.x",
        installed: "memory.x",
        link_arguments: CORTEX_M,
    },
    Platform {
        name: "riscv32-virt",
        matches: |target| target == "riscv32imac-unknown-none-elf",
        is_board: true,
        script: "riscv32-virt.x",
        installed: "memory.x",
        // riscv-rt's script, which leaves it to us to name ours.
        link_arguments: &["--nmagic", "--build-id=sha1", "-Tmemory.x", "-Tlink.x"],
    },
    Platform {
        name: "zcu102-r5",
        matches: |target| target == "armv7r-none-eabihf",
        is_board: true,
        script: "zcu102-r5.x",
        installed: "memory.x",
        // aarch32-rt's script, which includes ours.
        link_arguments: &["--nmagic", "--build-id=sha1", "-Tlink.x"],
    },
    Platform {
        name: "aarch64-virt",
        matches: |target| target == "aarch64-unknown-none",
        is_board: true,
        script: "aarch64-virt.x",
        installed: "aarch64-virt.x",
        link_arguments: &["--nmagic", "--build-id=sha1", "-Taarch64-virt.x"],
    },
];

/// cortex-m-rt's script, which includes ours, and no page alignment: nothing here has pages.
const CORTEX_M: &[&str] = &["--nmagic", "--build-id=sha1", "-Tlink.x"];

/// Scripts that several platforms include.
const INCLUDED: &[&str] = &["device.x", "sidecore-tables.x"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link");
    let names: Vec<String> = PLATFORMS.iter().map(|platform| format!("{:?}", platform.name)).collect();
    println!("cargo::rustc-check-cfg=cfg(sidecore_native)");
    println!("cargo::rustc-check-cfg=cfg(sidecore_platform, values({}))", names.join(", "));

    println!("cargo::rustc-check-cfg=cfg(sidecore_board)");

    let target = env::var("TARGET")?;
    let Some(platform) = PLATFORMS.iter().find(|platform| (platform.matches)(&target)) else {
        // The parts that need no platform still compile, for tests and documentation.
        return Ok(());
    };
    println!("cargo::rustc-cfg=sidecore_native");
    println!("cargo::rustc-cfg=sidecore_platform={:?}", platform.name);

    let (link, out) = (Path::new("link"), PathBuf::from(env::var("OUT_DIR")?));
    fs::copy(link.join(platform.script), out.join(platform.installed))?;
    if platform.is_board {
        println!("cargo::rustc-cfg=sidecore_board");
        for script in INCLUDED {
            fs::copy(link.join(script), out.join(script))?;
        }
    }
    // Dependents' binaries are linked with this search path too.
    println!("cargo::rustc-link-search={}", out.display());
    // Link arguments do not travel with a dependency, metadata does: an image's build script passes them on.
    println!("cargo::metadata=link_args={}", platform.link_arguments.join(" "));
    Ok(())
}
