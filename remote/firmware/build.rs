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
    /// The link script of firmware for the second core, where the board has one.
    second: Option<&'static str>,
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
        second: None,
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
        second: Some("mps2-an386-1.x"),
        installed: "memory.x",
        link_arguments: CORTEX_M,
    },
    Platform {
        name: "mps2-an521",
        matches: |target| target == "thumbv8m.main-none-eabihf",
        is_board: true,
        script: "mps2-an521.x",
        second: Some("mps2-an521-1.x"),
        installed: "memory.x",
        link_arguments: CORTEX_M,
    },
    Platform {
        name: "riscv32-virt",
        matches: |target| target == "riscv32imac-unknown-none-elf",
        is_board: true,
        script: "riscv32-virt.x",
        second: None,
        installed: "memory.x",
        // riscv-rt's script, which leaves it to us to name ours.
        link_arguments: &["--nmagic", "--build-id=sha1", "-Tmemory.x", "-Tlink.x"],
    },
    // The same core, with the memory and the mailbox of a system-on-chip whose coprocessor it is.
    Platform {
        name: "riscv32-soc",
        matches: |target| target == "riscv32imac-unknown-none-elf",
        is_board: true,
        script: "riscv32-soc.x",
        second: None,
        installed: "memory.x",
        link_arguments: &["--nmagic", "--build-id=sha1", "-Tmemory.x", "-Tlink.x"],
    },
    Platform {
        name: "zcu102-r5",
        matches: |target| target == "armv7r-none-eabihf",
        is_board: true,
        script: "zcu102-r5.x",
        second: Some("zcu102-r5-1.x"),
        installed: "memory.x",
        // aarch32-rt's script, which includes ours.
        link_arguments: &["--nmagic", "--build-id=sha1", "-Tlink.x"],
    },
    Platform {
        name: "aarch64-virt",
        matches: |target| target == "aarch64-unknown-none",
        is_board: true,
        script: "aarch64-virt.x",
        second: None,
        installed: "aarch64-virt.x",
        link_arguments: &["--nmagic", "--build-id=sha1", "-Taarch64-virt.x"],
    },
];

/// cortex-m-rt's script, which includes ours, and no page alignment: nothing here has pages.
const CORTEX_M: &[&str] = &["--nmagic", "--build-id=sha1", "-Tlink.x"];

/// Says for which core of a board with two an image is: `0`, as where it is not set, or `1`.
const CORE: &str = "SIDECORE_CORE";

/// Says for which board an image is, where there are several for its target: the name of a platform. The first one if it is
/// not set.
const BOARD: &str = "SIDECORE_BOARD";

/// Scripts that several platforms include.
const INCLUDED: &[&str] = &["device.x", "sidecore-tables.x"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link");
    let names: Vec<String> = PLATFORMS.iter().map(|platform| format!("{:?}", platform.name)).collect();
    println!("cargo::rustc-check-cfg=cfg(sidecore_native)");
    println!("cargo::rustc-check-cfg=cfg(sidecore_platform, values({}))", names.join(", "));

    println!("cargo::rustc-check-cfg=cfg(sidecore_board)");
    println!("cargo::rustc-check-cfg=cfg(sidecore_second_core)");
    println!("cargo::rerun-if-env-changed={CORE}");
    println!("cargo::rerun-if-env-changed={BOARD}");

    let target = env::var("TARGET")?;
    let mut platforms = PLATFORMS.iter().filter(|platform| (platform.matches)(&target)).peekable();
    if platforms.peek().is_none() {
        // The parts that need no platform still compile, for tests and documentation.
        return Ok(());
    }
    let board = env::var(BOARD).unwrap_or_default();
    let Some(platform) = platforms.find(|platform| board.is_empty() || platform.name == board) else {
        return Err(format!("{BOARD}={board}: {target} has no such board").into());
    };
    println!("cargo::rustc-cfg=sidecore_native");
    println!("cargo::rustc-cfg=sidecore_platform={:?}", platform.name);

    let script = match (env::var(CORE).as_deref(), platform.second) {
        (Err(_) | Ok("" | "0"), _) => platform.script,
        (Ok("1"), Some(script)) => {
            println!("cargo::rustc-cfg=sidecore_second_core");
            script
        }
        (Ok(core), _) => return Err(format!("{CORE}={core}: {} has no such core", platform.name).into()),
    };
    let (link, out) = (Path::new("link"), PathBuf::from(env::var("OUT_DIR")?));
    fs::copy(link.join(script), out.join(platform.installed))?;
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
