//! Verifies servers as rustls does, and notes what they present and what is made of it, for whoever
//! explains that to a person. Nothing is decided here: the answer is always that of rustls's own
//! functions.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::{Certificate, Name, last_of};
use super::trust::{self, Roots};
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
    /// Whether podman would trust it: by the system's certificates and those of some files in PEM.
    pub fn is_trusted_by(&self, world: &World, files: &[PathBuf]) -> bool {
        let Some((own, others)) = self.chain.split_first() else { return false };
        let roots = trust::of_podman(world, files);
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify(own, others, &self.name, self.at, &roots, &algorithms).is_ok()
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

/// What servers presented that TLS was begun with, the last of each.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Vec<(String, Presented)>>);

impl Seen {
    /// Takes what the last server presented; nothing where TLS was not begun anew since this was
    /// last asked.
    pub fn take(&self) -> Option<Presented> {
        let mut seen = self.seen();
        let (_, last) = seen.pop()?;
        seen.clear();
        Some(last)
    }

    fn put(&self, name: &ServerName<'_>, presented: Option<Presented>) {
        let name = name.to_str().into_owned();
        let mut seen = self.seen();
        seen.retain(|(of, _)| *of != name);
        seen.extend(presented.map(|presented| (name, presented)));
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<(String, Presented)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verifies as rustls does, by the roots of a connection, and tells [`Seen`]: what was refused, and
/// everything where it watches.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Roots,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Arc<Seen>,
    is_watched: bool,
}

impl Verifier {
    pub(super) fn new(roots: Roots, seen: Arc<Seen>, is_watched: bool) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { roots, algorithms, seen, is_watched }
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    fn trust(
        &self,
        chain: &[Option<Certificate>],
        is_systems: bool,
        error: Option<&Error>,
    ) -> Option<Trust> {
        let roots =
            if is_systems { self.roots.system.all().roots.clone() } else { self.roots.all() };
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

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |roots: &RootCertStore| {
            verify(end_entity, intermediates, server_name, now, roots, &self.algorithms)
        };
        let verified = self.roots.verify(by);
        if self.is_watched || verified.is_err() {
            let is_systems = by(&self.roots.system.all().roots).is_ok();
            let sent = std::iter::once(end_entity).chain(intermediates);
            let chain: Vec<_> = sent.map(|der| Certificate::read(der)).collect();
            let trust = self.trust(&chain, is_systems, verified.as_ref().err());
            let owned = |der: &CertificateDer<'_>| der.clone().into_owned();
            let sent = Sent {
                chain: std::iter::once(end_entity).chain(intermediates).map(owned).collect(),
                name: server_name.to_owned(),
                at: now,
            };
            let sent = Some(sent);
            self.seen.put(server_name, trust.map(|trust| Presented { chain, trust, sent }));
        }
        verified.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// As rustls's own verifier does, without what it only does for lists of revoked certificates.
fn verify(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
    roots: &RootCertStore,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let certificate = ParsedCertificate::try_from(own)?;
    verify_server_cert_signed_by_trust_anchor(&certificate, roots, others, now, algorithms.all)?;
    verify_server_name(&certificate, name)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{Der, TrustAnchor};

    use super::*;
    use crate::http::certificate::testing::common;
    use crate::http::trust::System;

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
        let system = Arc::new(System::holding(roots(&["Acme Root"])));
        let roots = Roots { ca_file: roots(&["Corp Issuing"]), system };
        let verifier = Verifier::new(roots, Arc::default(), true);
        let certificate = |subject, issuer| {
            Some(Certificate { subject: common(subject), issuer: common(issuer), ends: 0 })
        };
        // One that cannot be read is passed over.
        let chain =
            [certificate("leaf", "Corp Issuing"), None, certificate("Corp Issuing", "Acme Root")];
        let root = |is_systems| match verifier.trust(&chain, is_systems, None) {
            Some(Trust::System(root)) => format!("{root} of the system"),
            Some(Trust::CaFile(root)) => format!("{root} of the file"),
            other => format!("{other:?}"),
        };
        assert_eq!(root(true), "Acme Root of the system");
        assert_eq!(root(false), "Corp Issuing of the file");
    }
}
