//! Links the images as the SDK wants it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by the SDK's build script, unless the target has no platform; then `image!` says so.
    let arguments = env::var("DEP_SIDECORE_FIRMWARE_LINK_ARGS").unwrap_or_default();
    for argument in arguments.split_whitespace() {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    // The format strings of `defmt`, in a section that is not loaded. Behind the script that says where all else lies.
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg-bin=logs=-Tdefmt.x");
    }
}
