//! The throw-away CA and what it certifies. The cryptography is ring's, named at each place, so
//! that nothing is installed for the whole process.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};

/// The names in every server certificate.
const NAMES: [&str; 3] = ["localhost", "quay.localhost", "127.0.0.1"];

/// A CA of its own key.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A server's certificate and key.
pub(crate) struct ServerCertificate {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) config: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = ca_params(name)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: rcgen::Issuer::new(params, key),
        })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A CA below this one, with a key of its own.
    pub(crate) fn intermediate(&self, name: &str) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = ca_params(name)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: rcgen::Issuer::new(params, key),
        })
    }

    /// Certifies a new key for [`NAMES`]; `others` are the certificates that the server sends after
    /// its own.
    pub(crate) fn certify(&self, others: &[&Self]) -> io::Result<ServerCertificate> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = params("localhost", &NAMES)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let others_der = others.iter().map(|other| other.certificate.clone());
        let chain = std::iter::once(certificate.der().clone()).chain(others_der).collect();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(ServerCertificate {
            chain_pem: others.iter().fold(certificate.pem(), |pem, other| pem + &other.pem),
            key_pem: key.serialize_pem(),
            config: Arc::new(config),
        })
    }

    /// A client that trusts this CA and no other.
    pub(crate) fn client_config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(io::Error::other)?;
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

/// The certificate of a new CA, in PEM.
pub fn root(name: &str) -> io::Result<String> {
    Ok(Authority::new(name)?.pem)
}

/// A self-signed certificate of a token-signing key, as PEM and DER: what `x5c` carries and what
/// a registry holds as its `rootcertbundle`.
pub(crate) fn self_signed_for_tokens(pkcs8: &[u8]) -> io::Result<(String, Vec<u8>)> {
    let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)
        .map_err(io::Error::other)?;
    let certificate =
        params("quayfed sandbox tokens", &[])?.self_signed(&key).map_err(io::Error::other)?;
    Ok((certificate.pem(), certificate.der().to_vec()))
}

fn ca_params(name: &str) -> io::Result<CertificateParams> {
    let mut params = params(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_after += Duration::days(300);
    Ok(params)
}

fn params(common_name: &str, names: &[&str]) -> io::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    // Thirty days all day long: a few seconds later there are 29 left otherwise.
    params.not_after = now + Duration::days(30) + Duration::hours(12);
    Ok(params)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
