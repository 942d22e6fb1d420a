//! The tests run in mount and process namespaces of their own, where this machine can have them:
//! there they write to /etc and /run as they like, and whatever they start ends with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::run::{PATH, Runs as _};
use crate::scene::is_root;

/// Set inside, to the folder in memory that is there for everything temporary.
const INSIDE: &str = "QUAYFED_E2E_APART";

/// A new mount namespace that nothing leaves, and a new process namespace whose first process ends
/// with the one outside, even if that is killed.
const APART: &[&str] = &[
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
];

/// Why the tests do not run apart.
pub(crate) fn why_not() -> Option<String> {
    if folder().is_some() {
        return None;
    }
    if !is_root() {
        return Some("a mount namespace of its own needs root".to_owned());
    }
    let reason = match command(Path::new("true")).run() {
        Ok(ran) => ran.stderr.trim().to_owned(),
        Err(error) => error,
    };
    Some(format!("a mount namespace of its own is not to be had here: {reason}"))
}

/// Where temporary folders are made.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Outside, where that is possible, the tests are run again inside, and the answer is their exit
/// code. Otherwise they are to be run here.
pub(crate) fn run_again_apart(arguments: &[String]) -> Option<ExitCode> {
    if let Some(folder) = folder() {
        make_this_machine_ours(&folder);
        return None;
    }
    if !is_root() || command(Path::new("true")).succeed().is_err() {
        return None;
    }
    // Not in /tmp: a user's home lies where only root can make folders.
    let folder = tempfile::Builder::new().prefix("quayfed-e2e-").tempdir_in("/var/lib").ok()?;
    let program = std::env::current_exe().ok()?;
    let status = command(&program).args(arguments).env(INSIDE, folder.path()).status().ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(APART[0]);
    command.args(&APART[1..]).arg(program);
    command
}

/// Lays something to write on over /etc and /run, and memory of our own over what processes share.
fn make_this_machine_ours(folder: &Path) {
    // As on a machine that was booted: rootless podman warns of anything else.
    let mut share = Command::new("mount");
    share.env("PATH", PATH).args(["--make-rshared", "/"]);
    share.succeed().unwrap_or_else(|error| panic!("{error}"));
    mount("tmpfs", folder, "mode=0755");
    // Files that a container engine has mounted there would not show through.
    let names = ["hosts", "resolv.conf", "hostname"].map(|name| Path::new("/etc").join(name));
    let mounted = names.map(|name| (fs::read(&name).ok(), name));
    for name in ["etc", "run"] {
        let (upper, work) = (folder.join(name), folder.join(format!(".{name}")));
        fs::create_dir(&upper).and_then(|()| fs::create_dir(&work)).expect("folders in memory");
        let (upper, work) = (upper.display(), work.display());
        let lower = format!("/{name}");
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        mount("overlay", Path::new(&lower), &options);
    }
    for (content, name) in mounted {
        if let Some(content) = content
            && fs::read(&name).ok().as_ref() != Some(&content)
        {
            fs::write(name, content).expect("a file in /etc written");
        }
    }
    fs::create_dir_all("/run/user").expect("a folder in /run");
    mount("tmpfs", Path::new("/run/user"), "mode=0755");
    mount("tmpfs", Path::new("/dev/shm"), "mode=1777");
}

fn mount(kind: &str, place: &Path, options: &str) {
    let mut mount = Command::new("mount");
    mount.env("PATH", PATH).args(["-t", kind, "-o", options, kind]).arg(place);
    mount.succeed().unwrap_or_else(|error| panic!("{error}"));
}
