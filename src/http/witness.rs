//! What servers present as their certificates, and what is made of it, for whoever explains that to
//! a person. Nothing is decided here: the answer is always that of rustls's own verifier.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::{Certificate, Name, last_of};
use super::trust;
use crate::world::World;

/// The certificates that a server presented.
#[derive(Clone, Debug)]
pub struct Presented {
    /// As they were sent, the server's own first; nothing for one that cannot be read.
    pub chain: Vec<Option<Certificate>>,
    /// What was made of them.
    pub trust: Trust,
    /// As it was sent, for whoever asks what others make of it.
    pub sent: Option<Sent>,
}

/// A chain as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The server's own first.
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    at: UnixTime,
}

impl Sent {
    /// Whether it is trusted by the system's certificates and those of some files in PEM, where one
    /// that cannot be used is passed over, as Go does.
    pub fn is_trusted_by(&self, world: &World, files: &[PathBuf]) -> bool {
        let mut roots = trust::system_roots(world).unwrap_or_else(|_| RootCertStore::empty());
        for file in files {
            trust::add_file(&mut roots, file);
        }
        let Some((own, others)) = self.chain.split_first() else { return false };
        verifier_by(Arc::new(roots)).is_some_and(|verifier| {
            verifier.verify_server_cert(own, others, &self.name, &[], self.at).is_ok()
        })
    }
}

/// What was made of a chain.
#[derive(Clone, Debug)]
pub enum Trust {
    /// It was accepted, by this root of the system's.
    System(Name),
    /// It was accepted, by this root of the connection's `ca_file`.
    CaFile(Name),
    /// It ends at this issuer, which was not sent and is trusted by nobody here.
    NotSent(Name),
    /// It ends at this issuer, which issued itself and is trusted by nobody here.
    SelfIssued(Name),
    /// It ends at an issuer of this name: one is trusted here, but has another key.
    OtherKey(Name),
    /// It was refused for something else.
    Refused,
}

/// What the last server presented that TLS was begun with.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Option<Presented>>);

impl Seen {
    /// Takes it; nothing where TLS was not begun anew since it was last asked.
    pub fn take(&self) -> Option<Presented> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, presented: Option<Presented>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = presented;
    }
}

/// Verifies as rustls does, and tells [`Seen`].
#[derive(Debug)]
pub(super) struct Witness {
    roots: Arc<RootCertStore>,
    verifier: Arc<WebPkiServerVerifier>,
    system_roots: Arc<RootCertStore>,
    /// By the system's roots alone, where it has any.
    system: Option<Arc<WebPkiServerVerifier>>,
    seen: Arc<Seen>,
}

impl Witness {
    /// For a connection with these roots, those of the system among them; nothing where there are
    /// none at all.
    pub(super) fn new(
        roots: RootCertStore,
        system: RootCertStore,
        seen: Arc<Seen>,
    ) -> Option<Self> {
        let roots = Arc::new(roots);
        let verifier = verifier_by(Arc::clone(&roots))?;
        let system_roots = Arc::new(system);
        let system = verifier_by(Arc::clone(&system_roots));
        Some(Self { roots, verifier, system_roots, system, seen })
    }

    fn trust(
        &self,
        chain: &[Option<Certificate>],
        is_systems: bool,
        error: Option<&Error>,
    ) -> Option<Trust> {
        let roots = if is_systems { &self.system_roots } else { &self.roots };
        let is_root = |name: &Name| {
            roots.roots.iter().any(|root| root.subject.as_ref() == name.der.as_slice())
        };
        let readable: Vec<Certificate> = chain.iter().flatten().cloned().collect();
        let last = last_of(&readable, is_root)?;
        let issuer = last.issuer.clone();
        Some(match error {
            None if is_systems => Trust::System(issuer),
            None => Trust::CaFile(issuer),
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                if is_root(&issuer) {
                    Trust::OtherKey(issuer)
                } else if issuer == last.subject {
                    Trust::SelfIssued(issuer)
                } else {
                    Trust::NotSent(issuer)
                }
            }
            Some(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Trust::OtherKey(issuer)
            }
            Some(_) => Trust::Refused,
        })
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let verified = by(&self.verifier);
        let is_systems = self.system.as_deref().is_some_and(|system| by(system).is_ok());
        let sent = std::iter::once(end_entity).chain(intermediates);
        let chain: Vec<_> = sent.map(|der| Certificate::read(der)).collect();
        let trust = self.trust(&chain, is_systems, verified.as_ref().err());
        let owned = |der: &CertificateDer<'_>| der.clone().into_owned();
        let sent = Sent {
            chain: std::iter::once(end_entity).chain(intermediates).map(owned).collect(),
            name: server_name.to_owned(),
            at: now,
        };
        self.seen.put(trust.map(|trust| Presented { chain, trust, sent: Some(sent) }));
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn verifier_by(roots: Arc<RootCertStore>) -> Option<Arc<WebPkiServerVerifier>> {
    let provider = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(roots, provider).build().ok()
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{Der, TrustAnchor};

    use super::*;
    use crate::http::certificate::testing::common;

    #[test]
    fn whoever_is_named_as_the_systems_root_is_one() {
        let roots = |names: &[&str]| {
            let of = |name: &&str| TrustAnchor {
                subject: common(name).der.into(),
                subject_public_key_info: Der::from_slice(&[]),
                name_constraints: None,
            };
            RootCertStore { roots: names.iter().map(of).collect() }
        };
        let both = roots(&["Corp Issuing", "Acme Root"]);
        let witness = Witness::new(both, roots(&["Acme Root"]), Arc::default()).expect("roots");
        let certificate = |subject, issuer| {
            Some(Certificate { subject: common(subject), issuer: common(issuer), ends: 0 })
        };
        // One that cannot be read is passed over.
        let chain =
            [certificate("leaf", "Corp Issuing"), None, certificate("Corp Issuing", "Acme Root")];
        let root = |is_systems| match witness.trust(&chain, is_systems, None) {
            Some(Trust::System(root)) => format!("{root} of the system"),
            Some(Trust::CaFile(root)) => format!("{root} of the file"),
            other => format!("{other:?}"),
        };
        assert_eq!(root(true), "Acme Root of the system");
        assert_eq!(root(false), "Corp Issuing of the file");
    }
}
