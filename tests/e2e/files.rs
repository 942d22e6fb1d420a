//! The table of files that this program's reader is held to (`src/command/clients/cases.rs`), put
//! before podman and docker themselves: whom they ask, before and after `configure`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::{self, Case, Who};
use crate::report::Report;
use crate::run::{PATH, Ran, Runs as _, version_of, which};
use crate::scene::make_folder;
use crate::{Need, Part, apart};

pub(crate) const PART: Part = Part {
    name: "files",
    needs: &[Need::Root, Need::Program("podman", "podman"), Need::Program("docker", "docker.io")],
    run: play,
};

const HOST: &str = "h.example";

fn play(report: &mut Report) {
    let cases = cases::all();
    let podman = Client::Podman;
    report.client("podman", &version_of("podman", &["--version"]));
    let (mut differences, mut of_registries) = (0, 0);
    let mut play = |report: &mut Report, client: &Client| {
        report.operation("is asked whom the table says, and the helper after configure", || {
            let found = differing(&cases, client);
            differences += found.len();
            if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
        });
    };
    play(report, &podman);
    report.operation("goes by registries.conf as the table says, and after --system", || {
        make_folder(Path::new("/etc/containers"));
        let _covered = Covered::new("/etc/containers")?;
        let found: Vec<String> = cases::REGISTRIES
            .iter()
            .map(|case| (case, Some(case.1)))
            .chain(cases::REFUSED.iter().map(|case| (case, None)))
            .filter_map(|((text, who), reads)| {
                let text_of = |error| format!("{}\n  {error}", text.escape_debug());
                play_registries(text, *who, reads).map_err(text_of).err()
            })
            .collect();
        of_registries += found.len();
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    });
    // Debian's, and another one where there is one: they read their file by themselves.
    let dockers: BTreeSet<PathBuf> =
        [which("docker"), Some(PathBuf::from("/usr/bin/docker"))].into_iter().flatten().collect();
    let dockers: Vec<_> = dockers.into_iter().filter(|docker| docker.is_file()).collect();
    for docker in &dockers {
        let program = docker.display().to_string();
        report.client("docker", &version_of(&program, &["--version"]));
        play(report, &Client::Docker(docker.clone()));
    }
    let number = cases.len() + cases::REGISTRIES.len() + cases::REFUSED.len();
    let (with_docker, differences) = (cases.len() * dockers.len(), differences + of_registries);
    println!(
        "file formats: {number} cases, {number} compared with podman, {with_docker} with docker, \
         {differences} differences"
    );
}

enum Client {
    Podman,
    Docker(PathBuf),
}

/// What differs from the table, for each case one line.
fn differing(cases: &[Case], client: &Client) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(text) = play_case(case, client) {
                        let name = case.content.escape_ascii().to_string();
                        let name: String = name.chars().take(200).collect();
                        found.lock().expect("a list").push(format!("{name}\n  {text}"));
                    }
                }
            });
        }
    });
    found.into_inner().expect("a list")
}

fn play_case(case: &Case, client: &Client) -> Result<(), String> {
    let home = Home::new(client);
    home.write(&case.content);
    let wanted = match client {
        Client::Podman => case.podman,
        // It goes on as if nothing stood there.
        Client::Docker(_) if case.docker == Who::Fails => Who::Nobody,
        Client::Docker(_) => case.docker,
    };
    let before = home.asked(client)?;
    if before != wanted {
        return Err(format!("asks {before:?}, not {wanted:?}"));
    }
    // What a client has asked or written meanwhile is no part of the case.
    home.write(&case.content);
    let ran = home.configure(client)?;
    let report: serde_json::Value =
        serde_json::from_str(&ran.stdout).unwrap_or(serde_json::Value::Null);
    if ran.code != Some(0) {
        let is_left = fs::read(&home.file).is_ok_and(|content| content == case.content);
        let has_cause = !ran.stderr.trim().is_empty();
        return if is_left && has_cause {
            Ok(())
        } else {
            Err(format!("was not left alone: {ran}"))
        };
    }
    let is_there = report["files"][0]["entries"][0]["change"] == "none";
    let after = home.asked(client)?;
    match after {
        Who::Helper("quayfed") if !is_there || before == after => Ok(()),
        after => Err(format!("configure succeeded, and {after:?} is asked: {ran}")),
    }
}

/// A folder with an empty one laid over it.
struct Covered(&'static str);

impl Covered {
    fn new(folder: &'static str) -> Result<Self, String> {
        let mut mount = Command::new("mount");
        mount.env("PATH", PATH).args(["-t", "tmpfs", "tmpfs", folder]);
        mount.succeed().map(|_| Self(folder))
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        let _ = Command::new("umount").env("PATH", PATH).arg(self.0).succeed();
    }
}

/// The file of all users, in this machine's /etc as only the tests see it. What this program reads
/// in it is nothing where it refuses it.
fn play_registries(text: &str, wanted: Who, reads: Option<Who>) -> Result<(), String> {
    const FOLDER: &str = "/etc/containers";
    let _ = fs::remove_dir_all(format!("{FOLDER}/registries.conf.d"));
    let file = format!("{FOLDER}/registries.conf");
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let client = Client::Podman;
    let home = Home::new(&client);
    home.write(b"{}");
    let before = home.asked(&client)?;
    if before != wanted && (reads.is_some() || before != Who::Fails) {
        return Err(format!("asks {before:?}, not {wanted:?}"));
    }
    home.write(b"{}");
    let program = Path::new(env!("CARGO_BIN_EXE_docker-credential-quayfed"));
    let ran = home.command(program).args(["configure", "--system", "--json"]).run()?;
    let left = fs::read(&file).map_err(|error| error.to_string())?;
    if ran.code != Some(0) {
        let is_left = left == text.as_bytes() && reads.is_none_or(|reads| reads == Who::Fails);
        return if is_left { Ok(()) } else { Err(format!("was not left alone: {ran}")) };
    }
    let after = home.asked(&client)?;
    let is_well = match wanted {
        // What comes before the helper stays before it.
        Who::Helper("other") => after == wanted,
        _ => after == Who::Helper("quayfed"),
    };
    if !is_well {
        return Err(format!("configure succeeded, and {after:?} is asked: {ran}"));
    }
    home.command(program).args(["configure", "--system", "--undo"]).succeed()?;
    let left = fs::read(&file).map_err(|error| error.to_string())?;
    let is_back = left == text.as_bytes() || text.contains("yfed");
    let own = format!("{FOLDER}/registries.conf.d/50-quayfed.conf");
    let is_back = (is_back || text.contains("[]")) && !Path::new(&own).exists();
    if is_back { Ok(()) } else { Err("--undo did not bring it back".to_owned()) }
}

/// A home with one file of one client's, and helpers that keep a diary.
struct Home {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Home {
    fn new(client: &Client) -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("quayfed-e2e-");
        let folder = match apart::folder() {
            Some(memory) => builder.tempdir_in(memory),
            None => builder.tempdir(),
        };
        let folder = folder.expect("a folder");
        let file = folder.path().join(match client {
            Client::Podman => ".config/containers/auth.json",
            Client::Docker(_) => ".docker/config.json",
        });
        for place in [file.parent().expect("a folder"), &folder.path().join("run")] {
            make_folder(place);
        }
        make_folder(&folder.path().join("bin"));
        let home = Self { folder, file };
        for name in ["quayfed", "other"] {
            let (diary, program) = (home.path("diary"), home.path("bin"));
            let program = program.join(format!("docker-credential-{name}"));
            let script = format!(
                "#!/bin/sh\necho {name} \"$1\" >>'{}'\nread -r server\necho \
                 '{{\"ServerURL\":\"{HOST}\",\"Username\":\"{name}\",\"Secret\":\"s\"}}'\n",
                diary.display()
            );
            fs::write(&program, script).expect("a program");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, content: &[u8]) {
        fs::write(&self.file, content).expect("a file");
        let _ = fs::remove_file(self.path("diary"));
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", format!("{}:{PATH}", self.path("bin").display()))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.folder.path());
        command
    }

    fn configure(&self, client: &Client) -> Result<Ran, String> {
        let whose = match client {
            Client::Podman => "containers",
            Client::Docker(_) => "docker",
        };
        let program = Path::new(env!("CARGO_BIN_EXE_docker-credential-quayfed"));
        self.command(program).args(["configure", HOST, "--json", "--only", whose]).run()
    }

    /// Whom a client asks for the host. None of them goes over the network for it.
    fn asked(&self, client: &Client) -> Result<Who, String> {
        let ran = match client {
            Client::Podman => {
                let podman = which("podman").expect("podman");
                self.command(&podman).args(["login", "--get-login", HOST]).run()?
            }
            // It looks for a login that it has before it asks for one, and needs no daemon for that.
            Client::Docker(docker) => self
                .command(docker)
                .env("DOCKER_HOST", "unix:///nonexistent")
                .args(["login", HOST])
                .run()?,
        };
        let diary = fs::read_to_string(self.path("diary")).unwrap_or_default();
        let asked = diary.lines().find_map(|line| line.strip_suffix(" get"));
        let who = match (asked, client) {
            (Some("quayfed"), _) => Who::Helper("quayfed"),
            (Some("other"), _) => Who::Helper("other"),
            (_, Client::Docker(_)) if ran.says("Authenticating with existing credentials") => {
                Who::Login
            }
            (_, Client::Docker(_)) => Who::Nobody,
            (_, Client::Podman) if ran.stdout.trim() == "u" => Who::Login,
            (_, Client::Podman) if ran.says("not logged into") => Who::Nobody,
            (_, Client::Podman) => Who::Fails,
        };
        let is_whole = match client {
            Client::Podman => ran.code.is_some(),
            Client::Docker(_) => ran.says("non TTY device"),
        };
        if is_whole { Ok(who) } else { Err(format!("an unexpected end: {ran}")) }
    }
}
