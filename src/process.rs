//! What the program does to its own process before it touches a secret, and what that is allowed.

pub mod limits;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, setrlimit,
};

/// Makes the process undumpable and its core limit 0 (R25): what it reads must not end up in a core
/// file, and no other process of the user may look into its memory. Where the kernel refuses, there
/// is nothing else to be done.
pub fn harden() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// From now on a write beyond the limit of a file's size (`ulimit -f`) is an error, as any other is
/// (R34): the kernel would kill the process by SIGXFSZ. Whoever is going to write calls it.
#[cold]
pub fn outlive_file_size_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // That the signal came is told by the write.
        let came = Arc::new(AtomicBool::new(false));
        let _ = signal_hook::flag::register(Signal::XFSZ.as_raw(), came);
    });
}
