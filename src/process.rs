//! What the program does to its own process before it touches a secret, and what that is allowed.

pub mod limits;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes the process undumpable and its core limit 0 (R25): what it reads must not end up in a core
/// file, and no other process of the user may look into its memory. Where the kernel refuses, there
/// is nothing else to be done.
pub fn harden() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
