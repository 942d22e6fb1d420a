//! A Keycloak of our own, on loopback over TLS, and what an administrator does to it.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::realms::{self, ADMINISTRATOR, SECRET};
use crate::run::{KilledOnDrop, PATH, Runs as _};
use crate::scene::{Scene, free_port, make_folder};

/// Where `scripts/install-keycloak` puts it.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/keycloak");
/// In place of `kc.sh`'s own: for a server that lives for two minutes, compiling Java well and
/// collecting garbage beside it cost more than they give.
const JAVA_OPTIONS: &str = "-Xms256m -Xmx512m -XX:MetaspaceSize=128m -XX:+UseSerialGC \
                            -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8";

/// The one option of curl's that takes no value: an answer of 400 and above is a failure.
const FAIL: &str = "fail-with-body";

/// Keycloak with the [`realms`] imported.
pub(crate) struct Keycloak {
    process: KilledOnDrop,
    folder: PathBuf,
    ca: PathBuf,
    port: u16,
}

/// Its version, or why there is none.
pub(crate) fn installed_version() -> Result<String, String> {
    let text = fs::read_to_string(Path::new(INSTALLED).join("version.txt"))
        .map_err(|_| "no Keycloak in .tools (scripts/install-keycloak puts it there)".to_owned())?;
    Ok(text.split_whitespace().last().unwrap_or("?").to_owned())
}

impl Keycloak {
    /// Starts it, and does not wait for it to be ready.
    pub(crate) fn start(scene: &Scene) -> Self {
        let folder = scene.bare_seat("keycloak", None).make_folder("server", 0o700);
        for name in ["lib", "conf", "providers", "themes"] {
            symlink(Path::new(INSTALLED).join(name), folder.join(name)).expect("a link");
        }
        make_folder(&folder.join("bin"));
        let program = folder.join("bin/kc.sh");
        fs::copy(Path::new(INSTALLED).join("bin/kc.sh"), &program).expect("copied");
        let imports = make_folder(&folder.join("data/import"));
        for realm in realms::all() {
            let name = realm["realm"].as_str().expect("a realm's name");
            fs::write(imports.join(format!("{name}.json")), realm.to_string()).expect("written");
        }
        let (certificate, key) = scene.sandbox.server_certificate();
        let port = free_port();
        let mut command = Command::new(program);
        command
            .args(["start", "--optimized", "--import-realm", "--cache=local"])
            .arg(format!("--hostname=https://localhost:{port}"))
            .arg("--http-host=127.0.0.1")
            .arg(format!("--https-port={port}"))
            .arg(format!("--https-certificate-file={}", certificate.display()))
            .arg(format!("--https-certificate-key-file={}", key.display()))
            .env_clear()
            .env("PATH", PATH)
            .env("JAVA_OPTS", JAVA_OPTIONS)
            .current_dir(&folder);
        let process = KilledOnDrop::start(&mut command, &folder.join("log")).expect("started");
        Self { process, folder, ca: scene.ca().to_owned(), port }
    }

    /// `https://localhost:PORT`, which its tokens say too.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The same server by another name, which its tokens do not say.
    pub(crate) fn loopback_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The issuer that a realm is.
    pub(crate) fn realm(&self, name: &str) -> String {
        format!("{}/realms/{name}", self.url())
    }

    pub(crate) fn token_endpoint(&self, realm: &str) -> String {
        format!("{}/protocol/openid-connect/token", self.realm(realm))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub(crate) fn listens(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    /// The end of what it logs.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// From now on it takes connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Its end.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.process.0.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.expect("a process group"), signal).expect("a signal sent");
    }

    /// An access token, got without the helper.
    pub(crate) fn access_token(&self, client: &str, secret: &str) -> Result<String, String> {
        let reply = self.ask(&[
            ("url", &self.token_endpoint("ci")),
            ("data", "grant_type=client_credentials"),
            ("data-urlencode", &format!("client_id={client}")),
            ("data-urlencode", &format!("client_secret={secret}")),
        ])?;
        let token = reply["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| format!("no token for `{client}`: {reply}"))
    }

    /// A request to the administrators' API, below the realm `ci`.
    pub(crate) fn administer(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let token = self.access_token(ADMINISTRATOR, SECRET)?;
        self.ask(&[
            ("url", &format!("{}/admin/realms/ci{path}", self.url())),
            ("request", method),
            (FAIL, ""),
            ("header", &format!("Authorization: Bearer {token}")),
            ("header", "Content-Type: application/json"),
            ("data", &if body.is_null() { String::new() } else { body.to_string() }),
        ])
    }

    /// Asks by curl, which gets everything on its standard input: arguments are public. The answer
    /// is JSON or nothing.
    fn ask(&self, options: &[(&str, &str)]) -> Result<Value, String> {
        let ca = self.ca.display();
        let mut config = format!("silent\nshow-error\nmax-time = 20\ncacert = \"{ca}\"\n");
        for (name, value) in options {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let line = match *name {
                FAIL => format!("{FAIL}\n"),
                _ => format!("{name} = \"{value}\"\n"),
            };
            config.push_str(&line);
        }
        let mut curl = Command::new("curl");
        curl.env_clear().env("PATH", PATH).args(["--disable", "--config", "-"]);
        let ran = curl.succeed_with_input(&config)?;
        if ran.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran}"))
    }
}
