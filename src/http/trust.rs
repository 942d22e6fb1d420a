//! The certificates that servers are trusted by: the system's, and `ca_file` for the one connection
//! that it is set for. There is no way to trust without them.
//!
//! What is read is what podman reads (Go's `crypto/x509`, rule R37), but no more of it than a server
//! needs: the system's bundle where `ca_file` does not suffice, its folders where both do not. More
//! roots never make a certificate that was accepted one that is not, so the order is one of cost.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::{ActiveKeyExchange, SupportedKxGroup, ring};
use rustls::{ClientConfig, Error, NamedGroup, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::ca_bundle::{Bundle, Flaw};
use super::witness::Verifier;
use super::{TransportError, TransportFault};
use crate::files::{self, InputError};
use crate::ownership::{Use, trust_fault};
use crate::world::World;

/// Where distributions keep the bundle, the first that can be read being the one (`root_linux.go`).
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where they keep single certificates: all of them are read.
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// The largest bundle that is read, in bytes; distributions' are about 220 KB.
const LARGEST: u64 = 8 << 20;

/// The system's certificates: `SSL_CERT_FILE` stands for the bundles, `SSL_CERT_DIR` for the
/// folders. They are read when they are asked for.
#[derive(Debug)]
pub(super) struct System {
    places: Places,
    bundle: OnceLock<Found>,
    all: OnceLock<Found>,
}

/// What was read of them.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) roots: RootCertStore,
    /// What could not be used, and where it stands: for whoever explains why nobody is trusted.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
struct Places {
    /// The bundle that `SSL_CERT_FILE` names.
    file: Option<PathBuf>,
    /// The folders that `SSL_CERT_DIR` names.
    folders: Option<Vec<PathBuf>>,
}

impl Places {
    fn of(world: &World) -> Self {
        let folders = world.environment.get("SSL_CERT_DIR");
        Self {
            file: world.environment.path("SSL_CERT_FILE"),
            folders: folders.map(|folders| std::env::split_paths(&folders).collect()),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let usual = || BUNDLES.iter().map(PathBuf::from).collect();
        self.file.clone().map_or_else(usual, |file| vec![file])
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.folders.clone().unwrap_or_else(|| FOLDERS.iter().map(PathBuf::from).collect())
    }
}

impl System {
    pub(super) fn of(world: &World) -> Self {
        Self { places: Places::of(world), bundle: OnceLock::new(), all: OnceLock::new() }
    }

    /// The bundle.
    pub(super) fn bundle(&self) -> &Found {
        self.bundle.get_or_init(|| {
            let mut found = Found { roots: RootCertStore::empty(), notes: Vec::new() };
            for file in self.places.files() {
                match read(&file) {
                    Ok(bytes) => {
                        found.add(&file, &bytes);
                        break;
                    }
                    // Of those that a distribution may have, most are not there.
                    Err(InputError::Absent) if self.places.file.is_none() => {}
                    Err(error) => found.notes.push(format!("`{}` {error}", file.display())),
                }
            }
            if self.places.file.is_some() {
                for note in &mut found.notes {
                    note.insert_str(0, "SSL_CERT_FILE: ");
                }
            }
            found
        })
    }

    /// The bundle and what is in the folders.
    pub(super) fn all(&self) -> &Found {
        self.all.get_or_init(|| {
            let mut found = self.bundle().clone();
            for folder in self.places.folders() {
                match files_in(&folder) {
                    Ok(files) => {
                        for file in files {
                            // Anything may lie there, such as a README.
                            if let Ok(bytes) = read(&file) {
                                found.add_some(&file, &bytes);
                            }
                        }
                    }
                    Err(error) if self.places.folders.is_some() => found.notes.push(format!(
                        "SSL_CERT_DIR: `{}` cannot be read ({})",
                        folder.display(),
                        files::describe(&error)
                    )),
                    Err(_) => {}
                }
            }
            found
        })
    }

    /// Whether there is any certificate at all.
    pub(super) fn has_any(&self) -> bool {
        !self.bundle().roots.is_empty() || !self.all().roots.is_empty()
    }
}

impl Found {
    fn add(&mut self, file: &Path, bytes: &[u8]) {
        let Bundle { anchors, flaws, .. } = Bundle::read(bytes);
        self.roots.extend(anchors);
        self.notes.extend(flaws.iter().map(|flaw| placed(file, flaw)));
    }

    /// What is in a file that need not be one of certificates.
    fn add_some(&mut self, file: &Path, bytes: &[u8]) {
        let Bundle { anchors, flaws, .. } = Bundle::read(bytes);
        for anchor in anchors {
            if !self.roots.roots.contains(&anchor) {
                self.roots.roots.push(anchor);
            }
        }
        let in_it = flaws.iter().filter(|flaw| flaw.line.is_some());
        self.notes.extend(in_it.map(|flaw| placed(file, flaw)));
    }
}

/// Where the system's roots are read from, for whoever has to notice that they have changed.
pub(super) fn root_files(world: &World) -> Vec<PathBuf> {
    let places = Places::of(world);
    places.files().into_iter().chain(places.folders()).collect()
}

/// The certificates that podman would trust a server by, those of some more files among them. Go
/// reads PEM line by line and passes over what it cannot read, so it may have fewer than we.
pub(super) fn of_podman(world: &World, files: &[PathBuf]) -> RootCertStore {
    let places = Places::of(world);
    let bundle = places.files().into_iter().find_map(|file| read(&file).ok());
    let folders = places.folders();
    let in_folders = folders.iter().flat_map(|folder| files_in(folder).unwrap_or_default());
    let others = in_folders.chain(files.iter().cloned()).filter_map(|file| read(&file).ok());
    let mut roots = RootCertStore::empty();
    for bytes in bundle.into_iter().chain(others) {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    }
    roots
}

/// The certificates of a `ca_file`, each of which must be usable: what an operator wrote down is
/// meant (rule R37).
pub(super) fn of_ca_file(world: &World, file: &Path) -> Result<RootCertStore, TransportError> {
    let fault = |kind, text: &str| TransportError { kind, text: format!("`ca_file`: {text}") };
    let input = files::read_input(file, LARGEST)
        .map_err(|error| fault(TransportFault::CaFile, &format!("`{}` {error}", file.display())))?;
    if let Some(failure) = trust_fault(world, file, &input.metadata, Use::Certificates) {
        let text = format!("{} ({})", failure.cause(), failure.hint());
        return Err(fault(TransportFault::UntrustedCaFile, &text));
    }
    let Bundle { anchors, flaws, private_keys } = Bundle::read(&input.bytes);
    if let Some(flaw) = flaws.first() {
        return Err(fault(TransportFault::CaFile, &placed(file, flaw)));
    }
    for line in private_keys {
        world.warn(format_args!(
            "`ca_file`: `{}:{line}` begins a private key, which does not belong there",
            file.display()
        ));
    }
    Ok(anchors.into_iter().collect())
}

fn placed(file: &Path, Flaw { line, what }: &Flaw) -> String {
    match line {
        Some(line) => format!("`{}:{line}` {what}", file.display()),
        None => format!("`{}` {what}", file.display()),
    }
}

/// The roots of a connection.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) ca_file: RootCertStore,
    pub(super) system: Arc<System>,
}

impl Roots {
    /// What `verify` says of as many roots as it needs to succeed; of all, where it does not.
    pub(super) fn verify(
        &self,
        verify: impl Fn(&RootCertStore) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.ca_file.is_empty() && verify(&self.ca_file).is_ok() {
            return Ok(());
        }
        if verify(&self.system.bundle().roots).is_ok() {
            return Ok(());
        }
        verify(&self.all())
    }

    /// All of them.
    pub(super) fn all(&self) -> RootCertStore {
        let mut all = self.ca_file.clone();
        all.extend(self.system.all().roots.roots.iter().cloned());
        all
    }
}

/// TLS 1.2 and 1.3 by ring, the only provider in the program, and this verifier. Where it watches,
/// what was agreed on with one server is not taken up again, not even with another port of the same
/// name: each has to present its certificates.
pub(super) fn tls(verifier: Verifier) -> Result<ClientConfig, TransportError> {
    let is_watched = verifier.is_watched();
    let mut provider = ring::default_provider();
    if verifier.is_curious() {
        provider.kx_groups.push(&OfferedAlone);
    }
    // Dangerous is a verifier that decides by itself: this one hands on what rustls's functions say.
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| super::setup(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    if is_watched {
        tls.resumption = Resumption::disabled();
    }
    Ok(tls)
}

/// The curve P-521 (RFC 8422), for a verifier that accepts nothing: without it a server of TLS 1.2
/// does not present a certificate with a key on that. It goes no further than the offer.
#[derive(Debug)]
struct OfferedAlone;

impl SupportedKxGroup for OfferedAlone {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Err(Error::General("it is only offered".to_owned()))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

fn read(file: &Path) -> Result<Vec<u8>, InputError> {
    files::read_input(file, LARGEST).map(|input| input.bytes)
}

/// The files of a folder, but for links within it: `c_rehash` makes one for each certificate.
fn files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let is_link_within = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.components().count() == 1)
    };
    Ok(paths.filter(|path| !is_link_within(path)).collect())
}

#[cfg(test)]
impl System {
    /// A system with these roots.
    pub(super) fn holding(roots: RootCertStore) -> Self {
        let found = Found { roots, notes: Vec::new() };
        let places = Places { file: None, folders: None };
        Self { places, bundle: found.clone().into(), all: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::http::testing::world_with;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, content).expect("written");
            path
        }

        fn without(&self, text: &str) -> String {
            text.replace(&self.0.path().display().to_string(), "")
        }
    }

    fn root(name: &str) -> String {
        quayfed_sandbox::root(name).expect("a root")
    }

    #[test]
    fn r37_a_ca_file_that_is_missing_or_empty_or_damaged_is_an_error_that_names_file_and_line() {
        let folder = Folder::new();
        let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for (path, wanted) in [
            (folder.path("absent"), "`/absent` does not exist"),
            (folder.path("."), "`/.` is not a regular file"),
            (folder.write("empty", ""), "`/empty` is empty"),
            (
                folder.write("damaged", root("A root") + damaged),
                "`/damaged:LAST` begins a certificate that is damaged",
            ),
        ] {
            let error = of_ca_file(&world_with(&[]), &path).expect_err("an error");
            assert_eq!(error.kind, TransportFault::CaFile);
            let last = root("A root").lines().count() + 1;
            let wanted = format!("`ca_file`: {wanted}").replace("LAST", &last.to_string());
            assert_eq!(folder.without(&error.text), wanted);
        }
    }

    #[test]
    fn r37_a_private_key_in_a_ca_file_is_told_and_its_certificates_count() {
        let folder = Folder::new();
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let file = folder.write("both.pem", key.to_owned() + &root("A root"));
        let mut world = world_with(&[]);
        world.log = crate::log::Log::in_memory(crate::log::Level::Warn);
        assert_eq!(of_ca_file(&world, &file).expect("roots").len(), 1);
        let told = folder.without(&world.log.lines().concat());
        let wanted = "`ca_file`: `/both.pem:1` begins a private key, which does not belong there";
        assert!(told.contains(wanted), "{told}");
    }

    #[test]
    fn r37_the_variables_for_file_and_folders_are_read_together() {
        let folder = Folder::new();
        let file = folder.write("file.pem", root("Of the file"));
        folder.write("one/a.pem", root("Of a folder"));
        folder.write("one/README", "no certificate");
        symlink("a.pem", folder.path("one/0a1b2c3d.0")).expect("a link");
        let linked = folder.write("elsewhere.pem", root("Of a link"));
        folder.write("two/b.crt", root("Of another folder") + &root("Of the same file"));
        symlink(&linked, folder.path("two/c.pem")).expect("a link");
        let [one, two] = ["one", "two"].map(|name| folder.path(name).display().to_string());
        let file = file.display().to_string();
        let gone = folder.path("gone").display().to_string();
        let read = |file: &str, folders: &str| {
            let world = world_with(&[("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folders)]);
            let system = System::of(&world);
            let Found { roots, notes } = system.all();
            (system.bundle().roots.len(), roots.len(), folder.without(&notes.join("; ")))
        };
        assert_eq!(read(&file, &one), (1, 2, String::new()));
        assert_eq!(read(&file, &format!("{one}:{two}")), (1, 5, String::new()));
        let told = "SSL_CERT_FILE: `/gone` does not exist".to_owned();
        assert_eq!(read(&gone, &two), (0, 3, told));
        let told = "SSL_CERT_DIR: `/gone` cannot be read (no such file or directory)".to_owned();
        assert_eq!(read(&file, &gone), (1, 1, told));
        assert!(
            !System::of(&world_with(&[("SSL_CERT_FILE", &gone), ("SSL_CERT_DIR", &gone)]))
                .has_any()
        );
    }

    #[test]
    fn r37_an_odd_certificate_of_the_system_costs_itself_alone_and_is_noted() {
        let folder = Folder::new();
        let odd = root("Odd").replace(" CERTIFICATE", " TRUSTED CERTIFICATE");
        let file = folder.write("file.pem", odd + &root("Of the file")).display().to_string();
        folder.write("folder/cut.pem", &root("Cut")[..100]);
        let folders = folder.path("folder").display().to_string();
        let world = world_with(&[("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &folders)]);
        let system = System::of(&world);
        let Found { roots, notes } = system.all();
        assert_eq!(roots.len(), 1);
        insta::assert_snapshot!(folder.without(&notes.join("\n")), @"
        SSL_CERT_FILE: `/file.pem:1` is a TRUSTED CERTIFICATE, a form of OpenSSL's own: convert it with `openssl x509 -in FILE -out NEWFILE`
        `/folder/cut.pem:1` begins a CERTIFICATE that does not end (END CERTIFICATE)
        ");
    }
}
