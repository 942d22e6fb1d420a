//! What others do: helpers that answer from a cache or a store, and what a script does without us.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::Result;
use crate::program::Program;
use crate::scene::Scene;

pub const ECR_HELPER: &str = "amazon-ecr-credential-helper, from its cache";
pub const PASS: &str = "docker-credential-pass";
pub const CURL: &str = "two `curl` calls that do the same";
pub const SCRIPT: &str = "the vendor's Python script with its token request";

/// Amazon's helper with an answer in its cache; it needs no network then.
pub struct EcrHelper(pub Program);

impl EcrHelper {
    pub fn seeded(scene: &Scene) -> Result<Self> {
        const ACCOUNT: &str = "123456789012";
        const REGION: &str = "us-east-1";
        const ACCESS_KEY: &str = "AKIABENCHMARKBENCHMA";
        let host = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com");
        let folder = scene.path("ecr");
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        // As ecr-login/cache/build.go makes it: the access key and then MD5's digest of nothing.
        let digest_of_nothing = b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e";
        let key = STANDARD.encode([ACCESS_KEY.as_bytes(), digest_of_nothing].concat());
        let cache = json!({
            "Registries": { format!("{REGION}-{key}-{ACCOUNT}"): {
                "AuthorizationToken": STANDARD.encode(format!("AWS:{}", "a".repeat(1900))),
                "RequestedAt": "2020-01-01T00:00:00Z",
                "ExpiresAt": "2999-01-01T00:00:00Z",
                "ProxyEndpoint": format!("https://{host}"),
                "Service": "ecr",
            }},
            "Version": "1.0",
        });
        crate::scene::write_private(&folder.join("cache.json"), cache.to_string().as_bytes())?;
        let program = Program::new(Path::new("/usr/bin/docker-credential-ecr-login"))
            .argument("get")
            .with("HOME", &folder)
            .with("AWS_ECR_CACHE_DIR", &folder)
            .with("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .with("AWS_SECRET_ACCESS_KEY", "none")
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .input(host);
        if program.run()?.stdout.contains("\"AWS\"") {
            Ok(Self(program))
        } else {
            Err("amazon-ecr-credential-helper does not answer from its cache".into())
        }
    }
}

/// The helper for `pass` with one entry, encrypted with a key without a passphrase.
pub struct Pass {
    get: Program,
    gnupg: PathBuf,
}

impl Pass {
    pub fn with_one_entry(scene: &Scene) -> Result<Self> {
        const SERVER: &str = "https://quay.example.com";
        const USER: &str = "bench@localhost";
        let gnupg = scene.path("gnupg");
        fs::DirBuilder::new().mode(0o700).create(&gnupg)?;
        let (home, store) = (scene.path("pass-home"), scene.path("pass"));
        fs::create_dir(&home)?;
        let program = |path: &str| {
            Program::new(Path::new(path))
                .with("GNUPGHOME", &gnupg)
                .with("HOME", &home)
                .with("PASSWORD_STORE_DIR", &store)
        };
        let gpg = [
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-gen-key",
            USER,
            "default",
            "default",
            "never",
        ];
        gpg.into_iter().fold(program("/usr/bin/gpg"), Program::argument).run()?;
        program("/usr/bin/pass").argument("init").argument(USER).run()?;
        let helper = program("/usr/bin/docker-credential-pass");
        let entry =
            json!({"ServerURL": SERVER, "Username": "acme+bench", "Secret": "a".repeat(900)});
        helper.clone().argument("store").input(entry.to_string()).run()?;
        let pass = Self { get: helper.argument("get").input(SERVER), gnupg };
        pass.get.run()?;
        Ok(pass)
    }

    pub fn get(&self) -> &Program {
        &self.get
    }
}

impl Drop for Pass {
    /// The agent that `gpg` has started ends with its folder.
    fn drop(&mut self) {
        let end = Program::new(Path::new("/usr/bin/gpgconf")).with("GNUPGHOME", &self.gnupg);
        if let Err(error) = end.argument("--kill").argument("all").run() {
            eprintln!("quayfed-bench: gpg-agent is left: {error}");
        }
    }
}

/// What a shell script does: one call for the provider's token, one for Quay's. Only the calls are
/// timed, not how a script would get the token out of the first answer.
pub struct Curl<'a>(pub &'a Scene);

impl Curl<'_> {
    pub fn twice(&self) -> Result<Duration> {
        let curl = Program::new(Path::new("/usr/bin/curl")).argument("--config").argument("-");
        let asked = curl.clone().input(self.0.curl_for_oidc_token()).run()?;
        let oidc_token = field(&asked.stdout, "access_token")?;
        let exchanged = curl.input(self.0.curl_for_robot_token(&oidc_token)).run()?;
        field(&exchanged.stdout, "token")?;
        Ok(asked.took + exchanged.took)
    }
}

fn field(json: &str, name: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    Ok(value[name].as_str().ok_or_else(|| format!("no `{name}` in the answer"))?.to_owned())
}
