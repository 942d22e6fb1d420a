//! What a test needs of the machine that it runs on, in every suite.
//!
//! ```
//! use quayfed_sandbox::{Need, lacks};
//!
//! if lacks(Need::Program("strace")) {
//!     return;
//! }
//! ```

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// The variable that says that nothing may be skipped: by tests that `root` runs, or an ordinary
/// `user`.
const NO_SKIP: &str = "QUAYFED_NO_SKIP";

/// What a machine, or the user who runs a test, may lack.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// Root's rights: files that belong to others, other users' processes.
    Root,
    /// A user to whom something is closed, as nothing is to root.
    OrdinaryUser,
    /// Root's right to mount.
    Mounts,
    /// A program on the PATH.
    Program(&'a str),
    /// Something else, said in a few words, which is there or not.
    Other(&'a str, bool),
}

/// Whether a test lacks what it needs to show its claim. It says so then, and fails where nothing
/// may be skipped.
#[track_caller]
pub fn lacks(need: Need<'_>) -> bool {
    if is_met(need) {
        return false;
    }
    let reason = match need {
        Need::Root => "it needs root".to_owned(),
        Need::OrdinaryUser => "it needs an ordinary user".to_owned(),
        Need::Mounts => "it needs root that may mount".to_owned(),
        Need::Program(program) => format!("it needs the program `{program}`"),
        Need::Other(thing, _) => format!("it needs {thing}"),
    };
    let mode = std::env::var(NO_SKIP).unwrap_or_default();
    assert!(may_skip(need, &mode), "{reason}, and {NO_SKIP} is `{mode}`");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Past the harness, which keeps to itself what a test prints that passes.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    true
}

/// Whether nothing may be skipped, as whoever runs the tests says.
pub fn nothing_may_be_skipped() -> bool {
    std::env::var_os(NO_SKIP).is_some_and(|mode| !mode.is_empty())
}

/// What the other of the two users shows may be skipped by one, since both run the tests then.
fn may_skip(need: Need<'_>, mode: &str) -> bool {
    match mode {
        "" => true,
        "root" => matches!(need, Need::OrdinaryUser),
        "user" => matches!(need, Need::Root | Need::Mounts),
        _ => panic!("{NO_SKIP} is `{mode}`; expected one of: root, user"),
    }
}

fn is_met(need: Need<'_>) -> bool {
    let is_root = || rustix::process::geteuid().is_root();
    match need {
        Need::Root => is_root(),
        Need::OrdinaryUser => !is_root(),
        Need::Mounts => is_root() && can_mount(),
        Need::Program(program) => is_there(program),
        Need::Other(_, is_there) => is_there,
    }
}

fn can_mount() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    unshare.stdout(Stdio::null()).stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(Path::new(program)).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_what_one_user_may_skip_the_other_must_show() {
        let needs = [
            Need::Root,
            Need::OrdinaryUser,
            Need::Mounts,
            Need::Program("strace"),
            Need::Other("a disk", false),
        ];
        let skipped = |mode| needs.map(|need| may_skip(need, mode));
        assert_eq!(skipped(""), [true; 5]);
        assert_eq!(skipped("root"), [false, true, false, false, false]);
        assert_eq!(skipped("user"), [true, false, true, false, false]);
    }

    #[test]
    fn r45_what_is_there_is_found_and_what_is_not_is_lacking() {
        assert!(is_met(Need::Program("sh")) && !is_met(Need::Program("no-such-program")));
        assert!(is_met(Need::Root) != is_met(Need::OrdinaryUser));
    }
}
