//! Hands the linker the order of functions and constants of a release (src/order.ld). It changes
//! nothing but speed.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
#![allow(clippy::disallowed_methods, reason = "this is how cargo speaks to a build script")]

use std::env;

/// Linkers that do not read such a script, or are not called by way of a C compiler.
const OTHER_LINKERS: [&str; 4] = ["mold", "gold", "rust-lld", "ld.lld"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/order.ld");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let linker = variable("CARGO_ENCODED_RUSTFLAGS") + &variable("RUSTC_LINKER");
    let reads_it = !OTHER_LINKERS.iter().any(|other| linker.contains(other));
    if variable("PROFILE") != "release" || variable("CARGO_CFG_TARGET_OS") != "linux" || !reads_it {
        return;
    }
    let order = variable("CARGO_MANIFEST_DIR") + "/src/order.ld";
    // Not `-Wl,`, which would split a path at a comma.
    for argument in ["-Xlinker", "-T", "-Xlinker", &order] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
