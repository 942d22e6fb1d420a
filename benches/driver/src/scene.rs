//! What is measured in: an issuer and a Quay on loopback (the sandbox), and homes with a
//! configuration and a cache, all in memory.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quayfed_sandbox::{Client, EXCHANGE_PATH, Options, Sandbox, TokenShape};

use crate::Result;
use crate::program::Program;

/// The robot, and the client whose tokens are bound to it.
pub const ROBOT: &str = "acme+bench";
const CLIENT: &str = "bench";
const CLIENT_SECRET: &str = "a-secret-of-the-benchmark-alone";
/// The system's bundle, as the helper looks for it.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An issuer and a Quay, and a folder in memory for all that belongs to them.
pub struct Scene {
    pub sandbox: Sandbox,
    folder: tempfile::TempDir,
    /// The ports at which the two are reached.
    issuer_port: u16,
    quay_port: u16,
}

/// A user's configuration and cache.
pub struct Home {
    pub configuration: PathBuf,
    pub cache: PathBuf,
}

/// Whether the token endpoint is written down or discovered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Given,
    Discovered,
}

impl Scene {
    pub fn start() -> Result<Self> {
        Self::start_with(Duration::from_hours(1))
    }

    /// A Quay whose robot tokens live for so long.
    pub fn start_with(robot_token_life: Duration) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("quayfed-bench-").tempdir_in("/dev/shm")?;
        let options = Options {
            directory: Some(folder.path().to_owned()),
            robot_token_life,
            ..Options::default()
        };
        let sandbox = Sandbox::try_start(&options)?;
        let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
        quay.add_robot(ROBOT);
        quay.bind(ROBOT, &issuer.url(), CLIENT, None);
        let shape = TokenShape::default().subject(CLIENT);
        issuer.add_client(Client::new(CLIENT, CLIENT_SECRET).shape(shape));
        let issuer_port = port(&issuer.url())?;
        let quay_port = port(&quay.url())?;
        let scene = Self { sandbox, folder, issuer_port, quay_port };
        write_private(&scene.path("client-secret"), CLIENT_SECRET.as_bytes())?;
        let mut bundle = fs::read(SYSTEM_BUNDLE)?;
        bundle.extend(fs::read(scene.sandbox.ca_file())?);
        fs::write(scene.bundle(), bundle)?;
        Ok(scene)
    }

    /// The same servers behind relays that delay every byte.
    pub fn moved_away(mut self) -> Result<Self> {
        self.issuer_port = crate::relay::to(self.issuer_port)?;
        self.quay_port = crate::relay::to(self.quay_port)?;
        Ok(self)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The system's certificates and the sandbox's: what the helper loads in two parts, the
    /// second as `ca_file`, in one.
    pub fn bundle(&self) -> PathBuf {
        self.path("bundle.pem")
    }

    pub fn token_endpoint(&self) -> String {
        let path = self.sandbox.issuer().token_path();
        format!("https://localhost:{}{path}", self.issuer_port)
    }

    pub fn exchange(&self) -> String {
        format!("https://localhost:{}{EXCHANGE_PATH}", self.quay_port)
    }

    /// Requests that the two servers got since the last call.
    pub fn requests(&self) -> usize {
        let (issuer, quay) = (self.sandbox.issuer(), self.sandbox.quay());
        // Quay itself asks the issuer for its discovery document and its keys at each exchange.
        let of_quay = 2 * quay.count(EXCHANGE_PATH);
        let count = (issuer.requests().len() + quay.requests().len()).saturating_sub(of_quay);
        issuer.forget_requests();
        quay.forget_requests();
        count
    }

    /// A home whose configuration has this registry alone.
    pub fn home(&self, name: &str, registry: &str, endpoint: Endpoint) -> Result<Home> {
        self.home_with(name, &[registry.to_owned()], endpoint, "")
    }

    /// A home whose configuration has these registries; `settings` are further lines for each.
    pub fn home_with(
        &self,
        name: &str,
        registries: &[String],
        endpoint: Endpoint,
        settings: &str,
    ) -> Result<Home> {
        let home = Home {
            configuration: self.path(&format!("{name}.toml")),
            cache: self.path(&format!("{name}-cache")),
        };
        fs::DirBuilder::new().mode(0o700).create(&home.cache)?;
        let ca = self.sandbox.ca_file().display();
        let mut text = String::new();
        for registry in registries {
            let _ = write!(
                text,
                "[registry.\"{registry}\"]\nrobot = \"{ROBOT}\"\nidentity = \"keycloak\"\n\
                 api_url = \"https://localhost:{}\"\nca_file = \"{ca}\"\n{settings}\n",
                self.quay_port
            );
        }
        let endpoint = match endpoint {
            Endpoint::Given => format!("token_endpoint = \"{}\"", self.token_endpoint()),
            Endpoint::Discovered => format!("issuer = \"{}\"", self.sandbox.issuer().url()),
        };
        let _ = write!(
            text,
            "[identity.keycloak]\nsource = \"client-credentials\"\n{endpoint}\n\
             client_id = \"{CLIENT}\"\nclient_secret_file = \"{}\"\naudience = \"quay\"\n\
             ca_file = \"{ca}\"\n",
            self.path("client-secret").display()
        );
        write_private(&home.configuration, text.as_bytes())?;
        Ok(home)
    }

    /// A `get` as a CI job calls it, answered from the cache from now on: nothing chosen by a
    /// variable, and many variables that mean nothing to it.
    pub fn warm_get_of_job(&self, helper: &Path, registry: &str) -> Result<Program> {
        let private = |name: &str| -> Result<PathBuf> {
            let folder = self.path(name);
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder)?;
            Ok(folder)
        };
        let configuration = self.home("job", registry, Endpoint::Given)?.configuration;
        let folder = private("job/.config/quayfed")?;
        fs::rename(configuration, folder.join("config.toml"))?;
        let get = of_job(Program::new(helper))
            .with("HOME", self.path("job"))
            .with("XDG_RUNTIME_DIR", private("job/runtime")?);
        warm(get.argument("get").input(format!("{registry}\n")))
    }

    /// What `curl` reads to ask the provider: no secret stands on a command line.
    pub fn curl_for_oidc_token(&self) -> String {
        format!(
            "url = \"{}\"\nuser = \"{CLIENT}:{CLIENT_SECRET}\"\n\
             data = \"grant_type=client_credentials&audience=quay\"\n{}",
            self.token_endpoint(),
            self.curl_for_all()
        )
    }

    /// What `curl` reads to ask Quay.
    pub fn curl_for_robot_token(&self, oidc_token: &str) -> String {
        format!(
            "url = \"{}\"\nuser = \"{ROBOT}:{oidc_token}\"\n{}",
            self.exchange(),
            self.curl_for_all()
        )
    }

    fn curl_for_all(&self) -> String {
        format!("cacert = \"{}\"\nsilent\nfail\ntlsv1.3\n", self.bundle().display())
    }

    /// The vendor's script with its settings.
    pub fn script(&self, path: &Path) -> Program {
        Program::new(Path::new("/usr/bin/python3"))
            .argument(path)
            .with("TOKEN_ENDPOINT", self.token_endpoint())
            .with("EXCHANGE", self.exchange())
            .with("CLIENT_ID", CLIENT)
            .with("CLIENT_SECRET_FILE", self.path("client-secret"))
            .with("ROBOT", ROBOT)
            .with("CA_BUNDLE", self.bundle())
    }
}

impl Home {
    /// A `get` in this home.
    pub fn get(&self, helper: &Path, registry: &str) -> Program {
        self.program(helper).argument("get").input(format!("{registry}\n"))
    }

    /// What is cached in this home.
    pub fn status(&self, helper: &Path) -> Program {
        self.program(helper).argument("status").argument("--json")
    }

    /// A program that sees this home.
    pub fn program(&self, program: &Path) -> Program {
        Program::new(program)
            .with("QUAYFED_CONFIG", &self.configuration)
            .with("QUAYFED_CACHE_DIR", &self.cache)
    }

    /// A `get` that is answered from the cache from now on.
    pub fn warm_get(&self, helper: &Path, registry: &str) -> Result<Program> {
        warm(self.get(helper, registry))
    }

    /// Removes whatever is cached.
    pub fn forget(&self) -> Result<()> {
        for entry in fs::read_dir(&self.cache)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// The file that the one cached token is in.
    pub fn entry(&self) -> Result<PathBuf> {
        let files = fs::read_dir(&self.cache)?.flatten().map(|entry| entry.path());
        let mut entries = files.filter(|path| path.extension().is_some_and(|it| it == "token"));
        Ok(entries.next().ok_or("nothing is cached")?)
    }
}

/// How many variables a CI job has.
const VARIABLES_OF_A_JOB: usize = 100;

/// The same program with as many variables as a CI job has.
pub fn of_job(program: Program) -> Program {
    (0..VARIABLES_OF_A_JOB).fold(program, |program, number| {
        program.with(&format!("CI_VARIABLE_{number}"), "a value of about thirty characters")
    })
}

/// Runs it until it is answered from the cache: a plan is kept only once the configuration is older
/// than 2 s.
fn warm(get: Program) -> Result<Program> {
    get.run()?;
    std::thread::sleep(Duration::from_millis(2100));
    get.run()?;
    Ok(get)
}

fn port(url: &str) -> Result<u16> {
    Ok(url.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("a URL without a port")?)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(content)?)
}
