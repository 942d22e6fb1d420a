//! Runs the built program, as an ordinary user where the tests run as root: root passes every check
//! of owner and mode.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use crate::screens::left_on;
use quayfed_sandbox::{Client, Need, Sandbox, TokenShape, lacks};

/// A user id that nobody has: neither root nor `nobody`, which stands for everybody in a user
/// namespace.
const ORDINARY: u32 = 61_234;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user that programs are run as.
pub(crate) fn uid() -> u32 {
    if is_root() { ORDINARY } else { rustix::process::geteuid().as_raw() }
}

/// The program, in a place that every user can reach.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let path = folder.path().join("docker-credential-quayfed");
        // By another process: a child that is forked while this one has the copy open for writing
        // would keep it busy ("text file busy").
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_docker-credential-quayfed"))
            .arg(&path)
            .status();
        assert!(copied.is_ok_and(|status| status.success()));
        (folder, path)
    });
    path
}

/// A folder, open to its owner alone, that is not in memory, where this machine has one.
pub(crate) fn folder_on_disk() -> Option<tempfile::TempDir> {
    // TMPFS_MAGIC of statfs(2).
    let is_in_memory =
        |path: &Path| rustix::fs::statfs(path).is_ok_and(|status| status.f_type == 0x0102_1994);
    let usual = std::env::temp_dir();
    let places = [usual.as_path(), Path::new("/var/tmp"), Path::new(env!("CARGO_TARGET_TMPDIR"))];
    let place = places.into_iter().find(|place| !is_in_memory(place));
    if lacks(Need::Other("a /tmp or /var/tmp that is not in memory", place.is_some())) {
        return None;
    }
    let mut folder = tempfile::Builder::new();
    folder.permissions(fs::Permissions::from_mode(0o700));
    Some(folder.tempdir_in(place?).expect("a folder on disk"))
}

/// What is left on a terminal of `columns` columns at which somebody has typed something, by
/// script(1) of util-linux.
pub(crate) fn on_a_terminal(home: &Home, columns: usize, arguments: &str, typed: &str) -> String {
    let mut script = home.command("/usr/bin/script");
    script.env("SHELL", "/bin/sh").args(["--quiet", "--return", "--command"]);
    script.arg(format!("stty cols {columns}; {} {arguments}", program().display()));
    script.arg("/dev/null");
    let output = start(script, typed).wait_with_output().expect("an end");
    let text = String::from_utf8(output.stdout).expect("text").replace("\r\n", "\n");
    left_on(&text)
}

/// A user's home with a configuration and a cache of its own.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    uid: u32,
    variables: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ran {
    /// The token that was answered.
    pub(crate) fn token(&self) -> String {
        let answer: serde_json::Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|_| panic!("no credentials: {self:?}"));
        assert_eq!(self.code, Some(0), "{self:?}");
        answer["Secret"].as_str().expect("a secret").to_owned()
    }

    /// The cause of a failure, after checking that it has the form of one.
    pub(crate) fn cause(&self) -> &str {
        let cause = self.stdout.strip_suffix('\n').expect("a line");
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(!cause.contains('\n') && !cause.is_empty(), "{self:?}");
        assert!(
            self.stderr.starts_with(&format!("docker-credential-quayfed: {cause}\nhint: ")),
            "{self:?}"
        );
        cause
    }

    /// The hint of a failure.
    pub(crate) fn hint(&self) -> &str {
        self.cause();
        let hint = self.stderr.split_once("\nhint: ").expect("a hint").1;
        hint.lines().next().expect("a line")
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Some(1)
            && self.stdout == "credentials not found in native keychain\n"
            && self.stderr.is_empty()
    }
}

impl Home {
    /// The home of an ordinary user.
    pub(crate) fn new() -> Self {
        Self::of(uid())
    }

    pub(crate) fn of(uid: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("quayfed-home-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/dev/shm")
            .expect("a folder in memory");
        let home = Self { folder, uid, variables: Vec::new() };
        home.own(home.folder.path());
        for name in ["cache", ".config", ".config/quayfed"] {
            home.make_folder(name, 0o700);
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn make_folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        self.own(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
        path
    }

    /// Gives a file to the user.
    pub(crate) fn own(&self, path: &Path) {
        if is_root() {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.uid)).expect("owner set");
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        self.own(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
        path
    }

    /// Writes the user's configuration.
    pub(crate) fn configure(&self, text: &str) -> PathBuf {
        self.write(".config/quayfed/config.toml", text, 0o600)
    }

    /// Sets a variable for the runs to come; an empty value unsets it.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<str>) {
        self.variables.retain(|(other, _)| other != name);
        if !value.as_ref().is_empty() {
            self.variables.push((name.to_owned(), value.as_ref().to_owned()));
        }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// A command in this home, with nothing of the environment of the tests.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command.env("QUAYFED_CACHE_DIR", self.cache());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir("/");
        if is_root() && self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    pub(crate) fn helper(&self, verb: &str) -> Command {
        let mut command = self.command(program());
        command.arg(verb);
        command
    }

    pub(crate) fn run(&self, verb: &str, input: &str) -> Ran {
        let child = start(self.helper(verb), input);
        child.wait_with_output().expect("an end").into()
    }

    pub(crate) fn get(&self, server: &str) -> Ran {
        self.run("get", server)
    }
}

/// Starts a command and writes all of its standard input.
pub(crate) fn start(mut command: Command, input: &str) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    // A program that does not read its input breaks the write, which is its right.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child
}

pub(crate) const SECRET: &str = "s3cr3t of build host/+%";
pub(crate) const CLIENT: &str = "build-host";
pub(crate) const SUBJECT: &str = "service-account-of-build-host";

/// A home whose configuration leads to a sandbox, with the robot `acme+ci`.
pub(crate) fn at_sandbox(sandbox: &Sandbox) -> Home {
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    issuer.add_client(Client::new(CLIENT, SECRET).shape(TokenShape::default().subject(SUBJECT)));
    quay.bind("acme+ci", &issuer.url(), SUBJECT, None);
    let home = Home::new();
    home.write("secret", &format!("{SECRET}\n"), 0o600);
    home.write("ca.pem", &fs::read_to_string(sandbox.ca_file()).expect("a CA"), 0o644);
    home.configure(&configuration(sandbox, &home));
    home
}

/// The configuration of [`at_sandbox`].
pub(crate) fn configuration(sandbox: &Sandbox, home: &Home) -> String {
    format!(
        r#"
[registry."{host}"]
robot = "acme+ci"
identity = "sso"
ca_file = "{ca}"

[identity.sso]
source = "client-credentials"
issuer = "{issuer}"
client_id = "{CLIENT}"
client_secret_file = "{secret}"
ca_file = "{ca}"
"#,
        host = sandbox.quay().host(),
        ca = home.path("ca.pem").display(),
        issuer = sandbox.issuer().url(),
        secret = home.path("secret").display(),
    )
}
