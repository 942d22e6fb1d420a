//! The program: builds the world of this process and hands it to the library.

use std::ffi::OsString;
use std::process::ExitCode;

use quayfed::world::World;
use quayfed::{internal_error, process, run};

/// musl's own asks the kernel for each page and gives it back at once: a sixth of the time of a
/// cached `get` (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    process::harden();
    internal_error::install();
    let world = World::of_process();
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads them")]
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(run(&world, &arguments))
}
