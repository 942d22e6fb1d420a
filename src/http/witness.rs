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

use super::certificate::{Certificate, Key, Name, last_of};
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
    /// The root that is trusted here and named as the issuer of its end, with its key.
    pub(crate) root: Option<Root>,
}

/// A root that is trusted.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(super) name: Name,
    pub(super) key: Key,
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

    /// What the server of this name presented.
    pub(super) fn of(&self, name: &str) -> Option<Presented> {
        self.seen().iter().find(|(of, _)| of == name).map(|(_, presented)| presented.clone())
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
    is_curious: bool,
    /// What was accepted last: the server has yet to show that it has the key.
    accepted: Mutex<Option<Sent>>,
}

impl Verifier {
    pub(super) fn new(roots: Roots, seen: Arc<Seen>, is_watched: bool) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let accepted = Mutex::default();
        Self { roots, algorithms, seen, is_watched, is_curious: false, accepted }
    }

    /// One that accepts nothing. It asks for every kind of signature, so that a server whose
    /// certificate cannot be verified here presents it nevertheless, and can be told why.
    pub(super) fn curious(roots: Roots, seen: Arc<Seen>) -> Self {
        Self { is_curious: true, ..Self::new(roots, seen, true) }
    }

    fn tell(&self, sent: &Sent, is_systems: bool, error: Option<&Error>) {
        let chain: Vec<_> = sent.chain.iter().map(|der| Certificate::read(der)).collect();
        let root = self.root(&chain);
        let trust = self.trust(&chain, is_systems, error);
        let presented =
            trust.map(|trust| Presented { chain, trust, sent: Some(sent.clone()), root });
        self.seen.put(&sent.name, presented);
    }

    /// Hands on what came of a server's signature by the key of its certificate.
    fn signed<T>(&self, by: &CertificateDer<'_>, verified: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &verified {
            let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sent) = accepted.as_ref().filter(|sent| sent.chain.first() == Some(by)) {
                self.tell(sent, false, Some(error));
            }
        }
        verified
    }

    /// The trusted root that is named as the issuer of a chain's end.
    fn root(&self, chain: &[Option<Certificate>]) -> Option<Root> {
        let roots = self.roots.all();
        let of = |name: &Name| {
            roots.roots.iter().find(|root| root.subject.as_ref() == name.der.as_slice())
        };
        let readable: Vec<Certificate> = chain.iter().flatten().cloned().collect();
        let last = last_of(&readable, |name| of(name).is_some())?;
        let key = Key::read(of(&last.issuer)?.subject_public_key_info.as_ref());
        Some(Root { name: last.issuer.clone(), key })
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    pub(super) const fn is_curious(&self) -> bool {
        self.is_curious
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
        let owned = |der: &CertificateDer<'_>| der.clone().into_owned();
        let sent = Sent {
            chain: std::iter::once(end_entity).chain(intermediates).map(owned).collect(),
            name: server_name.to_owned(),
            at: now,
        };
        if self.is_watched || verified.is_err() {
            let is_systems = by(&self.roots.system.all().roots).is_ok();
            self.tell(&sent, is_systems, verified.as_ref().err());
        }
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        if self.is_curious {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        verified.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls12_signature(message, certificate, signed, &self.algorithms);
        self.signed(certificate, verified)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = verify_tls13_signature(message, certificate, signed, &self.algorithms);
        self.signed(certificate, verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        if self.is_curious {
            schemes.extend([
                SignatureScheme::ECDSA_NISTP521_SHA512,
                SignatureScheme::ED448,
                // RSASSA-PSS of a key that is for nothing else (RFC 8446 section 4.2.3).
                SignatureScheme::Unknown(0x0809),
                SignatureScheme::Unknown(0x080a),
                SignatureScheme::Unknown(0x080b),
                SignatureScheme::ECDSA_SHA1_Legacy,
                SignatureScheme::RSA_PKCS1_SHA1,
            ]);
        }
        schemes
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
    use crate::http::certificate::Form;
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
            Some(Certificate {
                subject: common(subject),
                issuer: common(issuer),
                ends: 0,
                form: Form::default(),
            })
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
