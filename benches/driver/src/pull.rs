//! What a user feels: `skopeo copy` of a small image through the helper, beside the same with a
//! password in auth.json.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pairs::{Figure, Target, compare};
use crate::program::Program;
use crate::scene::{Endpoint, Home, ROBOT, Scene};
use crate::{Given, Result};

const PASSWORD: &str = "`skopeo copy` with a password in auth.json";
/// The size of the image's one layer, in bytes.
const LAYER: usize = 64 << 10;

/// A copy of the image, with the token in the cache and with nothing there.
pub fn pull(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    scene.sandbox.quay().permit(ROBOT, "acme/*", &["pull", "push"]);
    let registry = Registry::start(&scene)?;
    let home = scene.home("pull", &registry.host, Endpoint::Discovered)?;
    let get = home.warm_get(&given.helper, &registry.host)?;
    let answer: serde_json::Value = serde_json::from_str(&get.run()?.stdout)?;
    let token = answer["Secret"].as_str().ok_or("the helper gives no token")?;
    let bin = scene.path("bin");
    fs::create_dir(&bin)?;
    // By another process, which is not one that a child of this one could be forked from meanwhile.
    let program = bin.join("docker-credential-quayfed");
    Program::new(Path::new("/usr/bin/install")).argument(&given.helper).argument(program).run()?;

    let by_password = json!({"auths": {
        &registry.host: { "auth": STANDARD.encode(format!("{ROBOT}:{token}")) },
    }});
    let by_helper = json!({"credHelpers": { &registry.host: "quayfed" }});
    let copy = |name: &str, auth: &serde_json::Value| -> Result<Copy> {
        let file = scene.path(name);
        crate::scene::write_private(&file, auth.to_string().as_bytes())?;
        Ok(Copy { skopeo: skopeo(&scene, &home, &bin, &file)?, to: scene.path("copied") })
    };
    let (theirs, ours) = (copy("password.json", &by_password)?, copy("helper.json", &by_helper)?);
    let image = format!("docker://{}/acme/app:1", registry.host);
    theirs.skopeo.clone().argument(layout(&scene)?).argument(&image).run()?;

    let cached = compare(
        "`skopeo copy` of a small image, a token in the cache",
        PASSWORD,
        Target::AtMost(1.03),
        given.runs(200),
        || ours.of(&image),
        || theirs.of(&image),
    )?;
    let cold = compare(
        "`skopeo copy` of a small image, nothing in the cache",
        PASSWORD,
        Target::AtMost(1.3),
        given.runs(100),
        || {
            home.forget()?;
            ours.of(&image)
        },
        || theirs.of(&image),
    )?;
    Ok(vec![cached, cold])
}

/// How an image is copied to a folder.
struct Copy {
    skopeo: Program,
    to: PathBuf,
}

impl Copy {
    fn of(&self, image: &str) -> Result<Duration> {
        if self.to.exists() {
            fs::remove_dir_all(&self.to)?;
        }
        let to = format!("dir:{}", self.to.display());
        Ok(self.skopeo.clone().argument(image).argument(to).run()?.took)
    }
}

/// `skopeo copy` with its credentials in a file, and nothing of this machine's own settings. The
/// helper in PATH is that of a home.
fn skopeo(scene: &Scene, home: &Home, bin: &Path, auth_file: &Path) -> Result<Program> {
    let registries = scene.path("registries.conf");
    fs::write(&registries, "")?;
    let path = std::env::var("PATH")?;
    Ok(home
        .program(Path::new("/usr/bin/skopeo"))
        .with("PATH", format!("{}:{path}", bin.display()))
        .with("HOME", scene.path(""))
        .with("SSL_CERT_FILE", scene.bundle())
        .with("REGISTRY_AUTH_FILE", auth_file)
        .with("CONTAINERS_REGISTRIES_CONF", registries)
        .argument("--insecure-policy")
        .argument("copy")
        .argument("--quiet"))
}

/// An image of one small layer, as skopeo names it.
fn layout(scene: &Scene) -> Result<String> {
    let folder = scene.path("layout");
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let keep = |content: &[u8], kind: &str| -> Result<serde_json::Value> {
        let file = scene.path("blob");
        fs::write(&file, content)?;
        let sum = Program::new(Path::new("/usr/bin/sha256sum")).argument(&file).run()?.stdout;
        let digest = sum.split(' ').next().unwrap_or_default();
        fs::rename(&file, blobs.join(digest))?;
        let kind = format!("application/vnd.oci.image.{kind}");
        Ok(json!({
            "mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len(),
        }))
    };
    // Two blocks of zeros end an archive (tar(5)), which is empty then, and padded.
    let layer = keep(&vec![0; LAYER], "layer.v1.tar")?;
    let configuration = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let configuration = keep(configuration.to_string().as_bytes(), "config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration,
        "layers": [layer],
    });
    let manifest = keep(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    Ok(format!("oci:{}", folder.display()))
}

/// Debian's docker-registry, which serves whom the sandbox's `/v2/auth` has given a bearer token.
struct Registry {
    process: Child,
    host: String,
}

impl Registry {
    fn start(scene: &Scene) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (certificate, key) = scene.sandbox.server_certificate();
        let configuration = scene.path("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:{port}\n  tls: \
             {{certificate: {}, key: {}}}\nauth:\n  token:\n    realm: {}/v2/auth\n    service: \
             localhost:{port}\n    issuer: quay\n    rootcertbundle: {}\n",
            scene.path("images").display(),
            certificate.display(),
            key.display(),
            scene.sandbox.quay().url(),
            scene.sandbox.registry_cert_bundle().display(),
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new("/usr/bin/docker-registry");
        command.arg("serve").arg(&configuration).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|error| format!("docker-registry: {error}"))?;
        let mut registry = Self { process, host: format!("localhost:{port}") };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if registry.process.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                return Err("docker-registry does not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
