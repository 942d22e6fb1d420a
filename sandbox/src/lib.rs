//! A local OIDC issuer and a Quay that behaves as recorded in `tests/quay/replies.json`.
//!
//! Both serve TLS on loopback, at free ports, with certificates of a CA that lives as long as
//! the [`Sandbox`]. Nothing is looked up by a case's name: each reply is computed from the
//! request, from the token it carries and from the state that a test has set. Quay fetches the
//! issuer's discovery document and key set over TLS on every exchange and checks real signatures.
//!
//! ```
//! use quayfed_sandbox::{Fault, Sandbox, Times};
//!
//! let sandbox = Sandbox::start();
//! sandbox.quay().fault("/oauth2/federation/robot/token", Fault::Reset, Times::Once);
//! assert!(sandbox.issuer().url().starts_with("https://localhost:"));
//! ```

mod client;
mod fault;
mod http;
mod issuer;
mod keys;
mod needs;
mod quay;
mod server;
mod silent;
mod tls;
mod token;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

pub use fault::{Fault, Recorded, Times};
pub use issuer::{AuthMethod, Client, Issuer, TokenRequest};
pub use keys::Algorithm;
pub use needs::{Need, lacks, nothing_may_be_skipped};
pub use quay::{EXCHANGE_PATH, HEALTH_PATH, Quay, Version};
pub use silent::Silent;
pub use tls::root;
pub use token::{KeyId, SignedBy, TokenShape, claims_of};

/// The subject of a default token, and the one that the default robots are bound to.
pub const DEFAULT_SUBJECT: &str = "repo:acme/app:ref:refs/heads/main";

/// How a sandbox is started. The default is what `tests/quay/README.md` describes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Quay release whose replies are given.
    pub version: Version,
    /// Whether the reverse proxy (nginx) stands in front of Quay: it turns an unreachable
    /// issuer into a 502 page, a slow one into a 504 page and a long header into a 400 page.
    pub reverse_proxy: bool,
    /// How long Quay waits for a discovery document (real: 5 s).
    pub discovery_timeout: Duration,
    /// How long the reverse proxy waits for Quay (real: 60 s).
    pub proxy_timeout: Duration,
    /// How late the issuer at `/slowdisc` serves its discovery document (recorded: 12 s).
    pub slow_discovery: Duration,
    /// How late the issuer at `/slowjwks` serves its key set (recorded: 90 s).
    pub slow_jwks: Duration,
    /// From `iat` to `exp` of a robot token (real: 3600 s, hard-coded).
    pub robot_token_life: Duration,
    /// What stands between the CA and the servers' certificate.
    pub chain: Chain,
    /// Where the PEM files are written; a temporary directory, removed on drop, where `None`.
    pub directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::V3_18,
            reverse_proxy: true,
            discovery_timeout: Duration::from_secs(5),
            proxy_timeout: Duration::from_mins(1),
            slow_discovery: Duration::from_secs(12),
            slow_jwks: Duration::from_secs(90),
            robot_token_life: Duration::from_hours(1),
            chain: Chain::Direct,
            directory: None,
        }
    }
}

/// What stands between the CA and the servers' certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Nothing.
    Direct,
    /// An intermediate CA, whose certificate the servers send.
    Whole,
    /// An intermediate CA, whose certificate the servers do not send.
    Broken,
}

/// Where the PEM files are.
struct Files {
    directory: PathBuf,
    ca: PathBuf,
    registry_bundle: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(directory: PathBuf) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            registry_bundle: directory.join("registry-bundle.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
            directory,
        }
    }
}

/// An issuer and a Quay that trusts it. Dropping it stops both servers.
pub struct Sandbox {
    issuer: Issuer,
    quay: Quay,
    files: Files,
    _temporary: Option<TempDir>,
}

impl Sandbox {
    /// Starts both servers with the robots and federation entries of `tests/quay/README.md`.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts both servers as `options` say.
    ///
    /// # Panics
    /// Where loopback has no free port, or the directory cannot be written.
    #[expect(clippy::needless_pass_by_value, reason = "a caller writes the options in place")]
    pub fn start_with(options: Options) -> Self {
        Self::try_start(&options).expect("start the sandbox")
    }

    /// Starts both servers as `options` say, or says why that was not possible.
    pub fn try_start(options: &Options) -> io::Result<Self> {
        let (directory, temporary) = if let Some(directory) = &options.directory {
            (directory.clone(), None)
        } else {
            let temporary = tempfile::Builder::new().prefix("quayfed-sandbox-").tempdir()?;
            (temporary.path().to_path_buf(), Some(temporary))
        };
        let files = Files::new(directory);
        let authority = tls::Authority::new("quayfed sandbox CA")?;
        let intermediate = authority.intermediate("quayfed sandbox intermediate CA")?;
        let certificate = match options.chain {
            Chain::Direct => authority.certify(&[])?,
            Chain::Whole => intermediate.certify(&[&intermediate])?,
            Chain::Broken => intermediate.certify(&[])?,
        };
        fs::write(&files.ca, authority.pem())?;
        fs::write(&files.certificate, &certificate.chain_pem)?;
        write_private(&files.key, certificate.key_pem.as_bytes())?;

        let issuer = Issuer::start(&certificate, options)?;
        let quay = Quay::start(&certificate, Arc::new(authority.client_config()?), options)?;
        fs::write(&files.registry_bundle, quay.registry_certificate_pem())?;

        let sandbox = Self { issuer, quay, files, _temporary: temporary };
        sandbox.set_up_as_recorded();
        Ok(sandbox)
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The registry.
    pub fn quay(&self) -> &Quay {
        &self.quay
    }

    /// The directory of the PEM files.
    pub fn directory(&self) -> &Path {
        &self.files.directory
    }

    /// The PEM of the CA that signed both servers' certificates.
    pub fn ca_file(&self) -> &Path {
        &self.files.ca
    }

    /// The PEM file that a `docker-registry` needs as `auth.token.rootcertbundle` to accept the
    /// bearer tokens of [`Quay`]'s `/v2/auth`.
    pub fn registry_cert_bundle(&self) -> &Path {
        &self.files.registry_bundle
    }

    /// Certificate chain and private key, PEM, for `localhost`, `quay.localhost` and 127.0.0.1:
    /// for another server that is to be trusted by way of [`Sandbox::ca_file`].
    pub fn server_certificate(&self) -> (PathBuf, PathBuf) {
        (self.files.certificate.clone(), self.files.key.clone())
    }

    fn set_up_as_recorded(&self) {
        let (issuer, quay) = (&self.issuer, &self.quay);
        let own = issuer.url();
        let slash = format!("{own}/slash/");
        quay.add_user("admin");
        for robot in ["acme+ci", "acme+revoke", "admin+mine"] {
            quay.add_robot(robot);
            quay.bind(robot, &own, DEFAULT_SUBJECT, None);
        }
        quay.add_robot("acme+multi");
        quay.bind("acme+multi", &own, "a", None);
        quay.bind("acme+multi", &own, DEFAULT_SUBJECT, None);
        quay.bind("acme+multi", &slash, "b", None);
        quay.add_robot("acme+other");
        quay.bind("acme+other", &own, "someone-else", None);
        quay.add_robot("acme+nofed");
        for (robot, bound_issuer) in [
            ("acme+slash", slash),
            ("acme+http", issuer.http_url()),
            ("acme+noport", "https://localhost:9".to_owned()),
            ("acme+noslashdisc", format!("{own}/slash")),
            ("acme+badtls", issuer.bad_tls_url()),
        ] {
            quay.add_robot(robot);
            quay.bind(robot, &bound_issuer, DEFAULT_SUBJECT, None);
        }
        for name in ["nodisc", "badjson", "nojwks", "otheriss", "slowdisc", "slowjwks"] {
            let robot = format!("acme+{name}");
            quay.add_robot(&robot);
            quay.bind(&robot, &format!("{own}/{name}"), DEFAULT_SUBJECT, None);
        }
        quay.permit("acme+ci", "acme/app", &["pull", "push"]);
    }
}

/// Writes a file that only its owner may read, from the first byte on.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}
