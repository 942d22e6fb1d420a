//! Where a client meets the helper: an OIDC issuer and a Quay (the sandbox), registries that hold
//! images, and seats at which programs are run with nothing of this machine's own settings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quayfed_sandbox::{Client, EXCHANGE_PATH, Options, Sandbox, TokenShape};
use tempfile::TempDir;

use crate::apart;
use crate::run::{KilledOnDrop, PATH, Runs as _, wait_until, which};

/// The robot that the helper is configured for. It may do everything below `acme/`.
pub(crate) const ROBOT: &str = "acme+ci";
/// Another robot of the same organization, which may pull there.
pub(crate) const OTHER_ROBOT: &str = "acme+other";

const CLIENT: &str = "build-host";
const CLIENT_SECRET: &str = "s3cr3t of build host/+%";
const SUBJECT: &str = "service-account-of-build-host";

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The sandbox, and a registry that trusts its `/v2/auth`.
pub(crate) struct Scene {
    registry: Registry,
    pub(crate) sandbox: Sandbox,
    client_secret: String,
    ca: PathBuf,
    folder: TempDir,
}

impl Scene {
    pub(crate) fn start() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("quayfed-e2e-").permissions(fs::Permissions::from_mode(0o755));
        let folder = match apart::folder() {
            Some(memory) => builder.tempdir_in(memory),
            None => builder.tempdir(),
        };
        let folder = folder.expect("a folder");
        let directory = make_folder(&folder.path().join("sandbox"));
        let sandbox =
            Sandbox::start_with(Options { directory: Some(directory), ..Options::default() });
        let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
        let shape = TokenShape::default().subject(SUBJECT);
        issuer.add_client(Client::new(CLIENT, CLIENT_SECRET).shape(shape));
        quay.bind(ROBOT, &issuer.url(), SUBJECT, None);
        quay.permit(ROBOT, "acme/*", &["pull", "push"]);
        quay.permit(OTHER_ROBOT, "acme/*", &["pull"]);
        let registry = Registry::start(&folder.path().join("quay"), &sandbox, Access::ByToken);
        // In a user namespace a `ca_file` of root's is known as such in the system's places alone.
        let ca = match (apart::folder(), folder.path().file_name()) {
            (Some(_), Some(name)) => {
                let place = Path::new("/etc").join(name).with_extension("pem");
                fs::copy(sandbox.ca_file(), &place).expect("the CA copied");
                place
            }
            _ => sandbox.ca_file().to_owned(),
        };
        Self { registry, sandbox, client_secret: CLIENT_SECRET.to_owned(), ca, folder }
    }

    /// The registry whose robot tokens the helper is to get: `localhost:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.registry.host
    }

    /// The name of an image there: `localhost:PORT/NAME`.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Another registry that asks nobody who he is.
    pub(crate) fn start_open_registry(&self) -> Registry {
        Registry::start(&self.folder.path().join("open"), &self.sandbox, Access::ByAnybody)
    }

    /// The CA of all servers here.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// How many robot tokens were handed out, or asked for in vain.
    pub(crate) fn exchanges(&self) -> usize {
        self.sandbox.quay().count(EXCHANGE_PATH)
    }

    /// A place for a user to run programs at, `None` for the user of the tests, with the helper
    /// configured in the user's home.
    pub(crate) fn seat(&self, name: &str, user: Option<u32>) -> Seat {
        let seat = self.bare_seat(name, user);
        let secret = seat.write("home/client-secret", self.client_secret(), 0o600);
        seat.configure(&self.configuration(ROBOT, &secret));
        seat
    }

    /// A place without a configuration of the helper.
    pub(crate) fn bare_seat(&self, name: &str, user: Option<u32>) -> Seat {
        Seat::new(self.folder.path().join(name), user, self.ca())
    }

    /// Of the client that the helper is at the issuer.
    pub(crate) fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// The configuration of the helper for [`Scene::host`].
    pub(crate) fn configuration(&self, robot: &str, secret: &Path) -> String {
        format!(
            r#"[registry."{host}"]
robot = "{robot}"
identity = "sso"
api_url = "{quay}"
ca_file = "{ca}"

[identity.sso]
source = "client-credentials"
issuer = "{issuer}"
client_id = "{CLIENT}"
client_secret_file = "{secret}"
ca_file = "{ca}"
"#,
            host = self.host(),
            quay = self.sandbox.quay().url(),
            issuer = self.sandbox.issuer().url(),
            ca = self.ca().display(),
            secret = secret.display(),
        )
    }
}

/// Whom a registry serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Those whom the sandbox's `/v2/auth` has given a bearer token.
    ByToken,
    ByAnybody,
}

/// Debian's docker-registry over TLS.
pub(crate) struct Registry {
    _process: KilledOnDrop,
    /// `localhost:PORT`.
    pub(crate) host: String,
}

impl Registry {
    fn start(folder: &Path, sandbox: &Sandbox, access: Access) -> Self {
        make_folder(folder);
        // Another process may take the port before the registry does.
        (0..5)
            .find_map(|_| Self::try_start(folder, sandbox, access))
            .unwrap_or_else(|| panic!("docker-registry ended: {}", log_of(folder)))
    }

    fn try_start(folder: &Path, sandbox: &Sandbox, access: Access) -> Option<Self> {
        let port = free_port();
        let host = format!("localhost:{port}");
        let configuration = folder.join("registry.yml");
        fs::write(&configuration, Self::configuration(folder, sandbox, access, port))
            .expect("a registry's configuration written");
        let mut command = Command::new(which("docker-registry").expect("docker-registry"));
        command.arg("serve").arg(&configuration).env_clear().env("PATH", PATH).current_dir("/");
        let mut process = KilledOnDrop::start(&mut command, &folder.join("log"))
            .expect("docker-registry started");
        wait_until("docker-registry", Duration::from_secs(20), || {
            !process.is_running() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        process.is_running().then_some(Self { _process: process, host })
    }

    fn configuration(folder: &Path, sandbox: &Sandbox, access: Access, port: u16) -> String {
        let (certificate, key) = sandbox.server_certificate();
        let auth = match access {
            Access::ByAnybody => String::new(),
            Access::ByToken => format!(
                "auth:\n  token:\n    realm: {}/v2/auth\n    service: localhost:{port}\n    \
                 issuer: quay\n    rootcertbundle: {}\n",
                sandbox.quay().url(),
                sandbox.registry_cert_bundle().display()
            ),
        };
        format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: \
             127.0.0.1:{port}\n  tls: {{certificate: {}, key: {}}}\n{auth}",
            folder.join("images").display(),
            certificate.display(),
            key.display(),
        )
    }
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// A port on loopback that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A place where one user runs programs: folders and variables that keep it apart from the rest of
/// this machine. Whatever is named here lies below one folder:
/// `home`, `bin`, `run`, `cache`, `storage`, `tmp`.
pub(crate) struct Seat {
    folder: PathBuf,
    user: Option<u32>,
    variables: RefCell<BTreeMap<String, String>>,
}

impl Seat {
    fn new(folder: PathBuf, user: Option<u32>, ca: &Path) -> Self {
        let seat = Self { folder, user, variables: RefCell::default() };
        for name in [
            "",
            "bin",
            "home",
            "home/.config",
            "home/.config/containers",
            "home/.config/quayfed",
            "run",
            "cache",
            "storage",
            "tmp",
        ] {
            seat.make_folder(name, 0o700);
        }
        let helper = seat.path("bin/docker-credential-quayfed");
        fs::copy(env!("CARGO_BIN_EXE_docker-credential-quayfed"), &helper).expect("copied");
        seat.own(&helper, 0o755);

        seat.set("HOME", seat.path("home").display());
        seat.set("PATH", format_args!("{}:{PATH}", seat.path("bin").display()));
        seat.set("LC_ALL", "C.UTF-8");
        seat.set("TMPDIR", seat.path("tmp").display());
        seat.set("SSL_CERT_FILE", ca.display());
        seat.set("XDG_RUNTIME_DIR", seat.path("run").display());
        seat.set("QUAYFED_CACHE_DIR", seat.path("cache").display());
        seat.set_up_containers();
        seat
    }

    /// What podman, skopeo and buildah read.
    fn set_up_containers(&self) {
        let storage = self.path("storage");
        let storage = storage.display();
        for (variable, name, text) in [
            (
                "CONTAINERS_STORAGE_CONF",
                "storage.conf",
                format!(
                    "[storage]\ndriver = \"vfs\"\ngraphroot = \"{storage}/graph\"\nrunroot = \
                     \"{storage}/run\"\n"
                ),
            ),
            (
                "CONTAINERS_CONF",
                "containers.conf",
                "[engine]\nevents_logger = \"file\"\ncgroup_manager = \"cgroupfs\"\n".to_owned(),
            ),
            ("CONTAINERS_REGISTRIES_CONF", "registries.conf", String::new()),
            ("REGISTRY_AUTH_FILE", "auth.json", "{}\n".to_owned()),
        ] {
            let path = self.write(&format!("home/{name}"), &text, 0o600);
            self.set(variable, path.display());
        }
        self.write(
            "home/.config/containers/policy.json",
            "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n",
            0o600,
        );
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn make_folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = make_folder(&self.path(name));
        self.own(&path, mode);
        path
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file written");
        self.own(&path, mode);
        path
    }

    /// Gives a file to the user of this seat.
    fn own(&self, path: &Path, mode: u32) {
        give(path, self.user.unwrap_or_else(|| rustix::process::geteuid().as_raw()), mode);
    }

    /// Writes the configuration of the helper.
    pub(crate) fn configure(&self, text: &str) -> PathBuf {
        self.write("home/.config/quayfed/config.toml", text, 0o600)
    }

    /// Writes `auth.json`: the helper's name for each of these registries.
    pub(crate) fn use_helper_for(&self, registries: &[(&str, &str)]) {
        let helpers: BTreeMap<_, _> = registries.iter().copied().collect();
        self.write_auth_file(&serde_json::json!({ "credHelpers": helpers }));
    }

    pub(crate) fn write_auth_file(&self, content: &serde_json::Value) {
        self.write("home/auth.json", &format!("{content}\n"), 0o600);
    }

    pub(crate) fn auth_file(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.path("home/auth.json")).expect("auth.json read");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) fn write_registries_conf(&self, text: &str) {
        self.write("home/registries.conf", text, 0o600);
    }

    /// Writes a program of this seat: a shell script.
    pub(crate) fn write_script(&self, name: &str, body: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{body}\n"), 0o755);
    }

    /// Writes a helper `quayfed-watched`, which is quayfed and keeps a diary of what it is asked.
    pub(crate) fn watch_helper(&self) -> Diary {
        let path = self.path("home/diary");
        let script =
            format!("echo \"$1\" >>'{}'\nexec docker-credential-quayfed \"$@\"", path.display());
        self.write_script("docker-credential-quayfed-watched", &script);
        Diary(path)
    }

    /// Sets a variable for the programs to come.
    pub(crate) fn set(&self, name: &str, value: impl std::fmt::Display) {
        self.variables.borrow_mut().insert(name.to_owned(), value.to_string());
    }

    pub(crate) fn unset(&self, name: &str) {
        self.variables.borrow_mut().remove(name);
    }

    /// A program, run by the user of this seat.
    pub(crate) fn command<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let own = self.path("bin").join(program);
        let path = if own.is_file() { Some(own) } else { which(program) };
        let mut command = Command::new(path.unwrap_or_else(|| program.into()));
        command.env_clear().envs(&*self.variables.borrow()).current_dir(self.path("home"));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.args(arguments);
        command
    }

    /// What the helper itself answers to `get`.
    pub(crate) fn robot_token(&self, host: &str) -> Result<String, String> {
        let ran = self.command("docker-credential-quayfed", ["get"]).succeed_with_input(host)?;
        let answer: serde_json::Value =
            serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran}"))?;
        answer["Secret"].as_str().map(str::to_owned).ok_or_else(|| format!("no secret: {ran}"))
    }

    /// Makes the helper forget its robot token.
    pub(crate) fn forget(&self, host: &str) -> Result<(), String> {
        self.command("docker-credential-quayfed", ["erase"]).succeed_with_input(host).map(|_| ())
    }

    /// Makes an image of one file, which no base image is needed for.
    pub(crate) fn import(&self, image: &str) -> Result<(), String> {
        let folder = self.make_folder("home/image", 0o700);
        self.write("home/image/hello", "hello from quayfed\n", 0o644);
        let tarball = self.path("home/image.tar");
        let (folder, tarball) = (folder.display().to_string(), tarball.display().to_string());
        self.command("tar", ["-C", &folder, "-cf", &tarball, "hello"]).succeed()?;
        self.command("podman", ["import", "--quiet", &tarball, image]).succeed().map(|_| ())
    }
}

/// What a watched helper was asked.
pub(crate) struct Diary(PathBuf);

impl Diary {
    pub(crate) fn count(&self, verb: &str) -> usize {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter(|line| *line == verb).count()
    }

    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A folder with its parents.
pub(crate) fn make_folder(path: &Path) -> PathBuf {
    fs::create_dir_all(path).expect("a folder");
    path.to_owned()
}

/// Gives a file to a user and a group of the same number.
pub(crate) fn give(path: &Path, user: u32, mode: u32) {
    if is_root() {
        chown(path, Some(user), Some(user)).expect("owner set");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode set");
}
