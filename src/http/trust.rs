//! The certificates that servers are trusted by: the system's bundle, and `ca_file` for the one
//! connection that it is set for. There is no way to trust without them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::witness::Witness;
use super::{TransportError, TransportFault};
use crate::files::{self, InputError};
use crate::ownership::{Use, trust_fault};
use crate::world::World;

/// Where distributions keep the bundle, the first that exists being the one.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest bundle that is read, in bytes; distributions' are about 220 KB.
const LARGEST: u64 = 8 << 20;

/// The system's roots: `SSL_CERT_FILE`, else `SSL_CERT_DIR`, else the bundle of the distribution.
/// A certificate in them that cannot be used is passed over, as every TLS library does.
pub(super) fn system_roots(world: &World) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    let environment = &world.environment;
    if let Some(file) = environment.path("SSL_CERT_FILE") {
        let bytes = read(&file)
            .map_err(|error| fault(format!("SSL_CERT_FILE: `{}` {error}", file.display())))?;
        if add_usable(&mut roots, &bytes) == 0 {
            let text = format!("SSL_CERT_FILE: `{}` has no certificate in PEM", file.display());
            return Err(fault(text));
        }
    } else if let Some(folders) = environment.get("SSL_CERT_DIR") {
        for file in std::env::split_paths(&folders).flat_map(|folder| files_in(&folder)) {
            add_usable(&mut roots, &read(&file).unwrap_or_default());
        }
    } else if let Some(bytes) = BUNDLES.iter().find_map(|file| read(Path::new(file)).ok()) {
        add_usable(&mut roots, &bytes);
    }
    Ok(roots)
}

/// Where the system's roots are read from, for whoever has to notice that they have changed.
pub(super) fn root_files(world: &World) -> Vec<PathBuf> {
    let environment = &world.environment;
    if let Some(file) = environment.path("SSL_CERT_FILE") {
        vec![file]
    } else if let Some(folders) = environment.get("SSL_CERT_DIR") {
        std::env::split_paths(&folders).collect()
    } else {
        BUNDLES.iter().map(PathBuf::from).collect()
    }
}

/// Adds the certificates of a `ca_file`, each of which must be usable: what an operator wrote down
/// is meant (rule R20).
pub(super) fn add_ca_file(
    world: &World,
    roots: &mut RootCertStore,
    file: &Path,
) -> Result<(), TransportError> {
    let fault = |what: &str| TransportError {
        kind: TransportFault::CaFile,
        text: format!("`ca_file`: `{}` {what}", file.display()),
    };
    let input = files::read_input(file, LARGEST).map_err(|error| fault(&error.to_string()))?;
    if let Some(failure) = trust_fault(world, file, &input.metadata, Use::Certificates) {
        return Err(TransportError {
            kind: TransportFault::UntrustedCaFile,
            text: format!("`ca_file`: {} ({})", failure.cause(), failure.hint()),
        });
    }
    let bytes = input.bytes;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        count += 1;
        let usable = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !usable {
            return Err(fault(&format!("has a certificate (number {count}) that cannot be used")));
        }
    }
    if count == 0 { Err(fault("has no certificate in PEM")) } else { Ok(()) }
}

/// TLS 1.2 and 1.3 with these roots and ring, the only provider in the program.
pub(super) fn tls(roots: RootCertStore) -> Result<ClientConfig, TransportError> {
    let mut tls = builder()?.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The same before a witness. What was agreed on with one server is not taken up again, not even
/// with another port of the same name: each has to present its certificates.
pub(super) fn tls_before(witness: Witness) -> Result<ClientConfig, TransportError> {
    let verifier = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(witness));
    let mut tls = verifier.with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TransportError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError { kind: TransportFault::Tls, text: error.to_string() })
}

fn fault(text: String) -> TransportError {
    TransportError { kind: TransportFault::SystemRoots, text }
}

fn read(file: &Path) -> Result<Vec<u8>, InputError> {
    files::read_input(file, LARGEST).map(|input| input.bytes)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Adds what can be used of a file in PEM.
pub(super) fn add_file(roots: &mut RootCertStore, file: &Path) {
    add_usable(roots, &read(file).unwrap_or_default());
}

fn add_usable(roots: &mut RootCertStore, pem: &[u8]) -> usize {
    let certificates = CertificateDer::pem_slice_iter(pem).flatten();
    certificates.filter(|certificate| roots.add(certificate.clone()).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;

    #[test]
    fn r20_a_ca_file_that_is_missing_or_empty_or_damaged_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path
        };
        let world = world_with(&[]);
        let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for (path, wanted) in [
            (folder.path().join("absent"), "does not exist"),
            (folder.path().to_owned(), "is not a regular file"),
            (file("empty", ""), "has no certificate in PEM"),
            (file("damaged", damaged), "has a certificate (number 1) that cannot be used"),
        ] {
            let error =
                add_ca_file(&world, &mut RootCertStore::empty(), &path).expect_err("an error");
            assert_eq!(error.kind, TransportFault::CaFile);
            assert_eq!(error.text, format!("`ca_file`: `{}` {wanted}", path.display()));
        }
    }

    #[test]
    fn an_ssl_cert_file_that_cannot_be_read_is_an_error() {
        let error = system_roots(&world_with(&[("SSL_CERT_FILE", "/nowhere/bundle.pem")]));
        assert_eq!(
            error.expect_err("an error").text,
            "SSL_CERT_FILE: `/nowhere/bundle.pem` does not exist"
        );
    }
}
