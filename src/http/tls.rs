//! Why TLS failed, in words: which certificate, and what of it cannot be verified here, as far as it
//! was presented. What rustls, webpki and ring say themselves is for programmers.

use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};

use super::TransportFault as Fault;
use super::certificate::{Certificate, Key, Name};
use super::witness::{Presented, Root};

/// The fault, and the end of a sentence that begins with the server.
pub(super) fn explain(error: &Error, presented: Option<&Presented>) -> (Fault, String) {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error, presented),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => (Fault::Tls, "the server does not speak TLS".to_owned()),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => (Fault::TlsVersion, TOO_OLD.to_owned()),
        other => (Fault::Tls, of_handshake(other).to_owned()),
    }
}

/// Whether nothing was presented because the server and this program have nothing in common: what
/// the server has can be found out by asking for everything.
pub(super) fn has_nothing_in_common(kind: Fault) -> bool {
    kind == Fault::TlsCommon
}

/// What is said of a server that presents its certificate only to who asks for everything.
pub(super) fn of_presented(presented: &Presented) -> (Fault, String) {
    odd_key(presented).or_else(|| odd_signature(presented)).unwrap_or_else(|| {
        let text =
            "the server ended TLS after its own certificate: it may ask for one of the client";
        (Fault::Tls, text.to_owned())
    })
}

/// What is said of a server that does not even then.
pub(super) const NO_CIPHER: &str = "the server offers no cipher that is supported here";

const TOO_OLD: &str = "the server speaks only versions of TLS that are older than 1.2";

fn of_alert(alert: AlertDescription) -> (Fault, String) {
    use AlertDescription as Alert;
    let said = match alert {
        Alert::ProtocolVersion => return (Fault::TlsVersion, TOO_OLD.to_owned()),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            let text =
                "the server has no cipher or kind of certificate in common with this program";
            return (Fault::TlsCommon, text.to_owned());
        }
        Alert::UnrecognisedName => {
            let text = "the server has no certificate for this name (unrecognized name)";
            return (Fault::CertificateName, text.to_owned());
        }
        Alert::CertificateRequired | Alert::BadCertificate | Alert::NoCertificate => {
            "the server asks for a certificate of the client"
        }
        Alert::AccessDenied => "the server denied access in the middle of TLS",
        Alert::InternalError => "the server reported an internal error in the middle of TLS",
        Alert::UserCanceled | Alert::CloseNotify => "the server closed the connection during TLS",
        Alert::NoApplicationProtocol => "the server does not speak HTTP/1.1 on this port",
        other => {
            let text = format!("the server ended TLS (alert {})", u8::from(other));
            return (Fault::Tls, text);
        }
    };
    (Fault::Tls, said.to_owned())
}

const fn of_handshake(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "the server presented no certificate",
        Error::DecryptError => "what the server sent cannot be decrypted",
        Error::PeerIncompatible(_) => "the server's TLS lacks something that is required here",
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerSentOversizedRecord => "the server breaks the rules of TLS",
        Error::FailedToGetRandomBytes => "this host gives no random numbers",
        Error::FailedToGetCurrentTime => "this host's clock cannot be read",
        _ => "TLS failed",
    }
}

fn of_certificate(error: &CertificateError, presented: Option<&Presented>) -> (Fault, String) {
    use CertificateError as Certificate;
    let odd = |find: fn(&Presented) -> Option<(Fault, String)>| presented.and_then(find);
    match error {
        Certificate::UnknownIssuer => {
            (Fault::UntrustedIssuer, "the certificate is not trusted (unknown issuer)".to_owned())
        }
        // A key that is too short or of another kind makes no signature that could be verified.
        Certificate::BadSignature => odd(odd_key).unwrap_or_else(|| {
            let text = "the certificate is not trusted (not signed with the key of the CA that it \
                        names)";
            (Fault::UntrustedIssuer, text.to_owned())
        }),
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            (Fault::CertificateDates, "the certificate has expired".to_owned())
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            (Fault::CertificateDates, "the certificate is not valid yet".to_owned())
        }
        Certificate::NotValidForName => {
            (Fault::CertificateName, "the certificate is for another name".to_owned())
        }
        Certificate::NotValidForNameContext { presented, .. } => {
            (Fault::CertificateName, for_another_name(presented))
        }
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => (
            Fault::CertificateUse,
            format!("{} is not one for servers (extended key usage)", own(presented)),
        ),
        Certificate::UnsupportedSignatureAlgorithmContext { .. } => odd(odd_signature)
            .or_else(|| odd(odd_key))
            .or_else(|| odd(odd_pss))
            .unwrap_or_else(unsupported),
        Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            odd(odd_key).or_else(|| odd(odd_signature)).unwrap_or_else(unsupported)
        }
        Certificate::UnhandledCriticalExtension => {
            odd(odd_extension).unwrap_or_else(unknown_extension)
        }
        Certificate::BadEncoding => (Fault::CertificateForm, DAMAGED.to_owned()),
        Certificate::Other(OtherError(error)) => match error.downcast_ref::<webpki::Error>() {
            Some(error) => of_webpki(error, presented),
            None => (Fault::Tls, NOT_ACCEPTED.to_owned()),
        },
        // What nobody here asks for, such as lists of revoked certificates.
        _ => (Fault::Tls, NOT_ACCEPTED.to_owned()),
    }
}

const NOT_ACCEPTED: &str = "the certificate is not accepted";
const DAMAGED: &str = "a certificate that the server presents is damaged";

fn unsupported() -> (Fault, String) {
    let text = "a certificate is signed in a way that cannot be verified here";
    (Fault::CertificateAlgorithm, text.to_owned())
}

fn unknown_extension() -> (Fault, String) {
    let text = "a certificate has a critical extension that is not supported here";
    (Fault::CertificateExtension, text.to_owned())
}

/// What rustls hands on as it is.
fn of_webpki(error: &webpki::Error, presented: Option<&Presented>) -> (Fault, String) {
    use webpki::Error as Pki;
    let (kind, text) = match error {
        Pki::CaUsedAsEndEntity => (
            Fault::CertificateUse,
            "the server's certificate is a CA's own (self-signed), not one for servers".to_owned(),
        ),
        Pki::EmptyEkuExtension => (
            Fault::CertificateUse,
            format!("{} is not one for servers (extended key usage)", own(presented)),
        ),
        Pki::UnsupportedCriticalExtension => {
            return presented.and_then(odd_extension).unwrap_or_else(unknown_extension);
        }
        Pki::NameConstraintViolation => (
            Fault::CertificateChain,
            format!(
                "{} has a name that its CA must not certify (name constraints)",
                own(presented)
            ),
        ),
        Pki::PathLenConstraintViolated => (
            Fault::CertificateChain,
            "a CA in the chain must not certify another CA (path length)".to_owned(),
        ),
        Pki::EndEntityUsedAsCa => (
            Fault::CertificateChain,
            "a certificate in the chain is issued by one that is not a CA's".to_owned(),
        ),
        Pki::MaximumPathDepthExceeded
        | Pki::MaximumPathBuildCallsExceeded
        | Pki::MaximumSignatureChecksExceeded
        | Pki::MaximumNameConstraintComparisonsExceeded => (
            Fault::CertificateChain,
            "the server presents a chain of certificates that is too long".to_owned(),
        ),
        Pki::UnsupportedCertVersion => {
            let old = find(presented, |it| !it.form.is_of_version_3);
            let whose = old.map_or_else(|| "a certificate".to_owned(), of_subject);
            (Fault::CertificateForm, format!("{whose} is not of X.509 version 3"))
        }
        Pki::SignatureAlgorithmMismatch => (
            Fault::CertificateForm,
            "a certificate names two different algorithms for its signature".to_owned(),
        ),
        Pki::ExtensionValueInvalid
        | Pki::MalformedExtensions
        | Pki::MalformedNameConstraint
        | Pki::MalformedDnsIdentifier
        | Pki::InvalidNetworkMaskConstraint
        | Pki::InvalidCertValidity
        | Pki::InvalidSerialNumber => (Fault::CertificateForm, DAMAGED.to_owned()),
        _ => (Fault::Tls, NOT_ACCEPTED.to_owned()),
    };
    (kind, text)
}

/// The first certificate with a key by which nothing can be verified here, the root among them.
fn odd_key(presented: &Presented) -> Option<(Fault, String)> {
    let chain = presented.chain.iter().flatten().map(|it| (&it.subject, &it.form.key));
    let root = presented.root.iter().map(|Root { name, key }| (name, key));
    let (whose, key) = chain.chain(root).find_map(|(name, key)| Some((name, unusable(key)?)))?;
    let text = format!(
        "the certificate of {} has {key}, by which nothing can be verified here",
        shown(whose)
    );
    Some((Fault::CertificateAlgorithm, text))
}

/// The first certificate that is signed in a way that cannot be verified here. How a root that came
/// along is signed does not matter: nobody verifies that.
fn odd_signature(presented: &Presented) -> Option<(Fault, String)> {
    let how = |it: &Certificate| unverifiable(&it.form.signature);
    let (of, how) = signed(presented).find_map(|it| Some((it, how(it)?)))?;
    let text = format!("{} is signed by {how}, which cannot be verified here", of_subject(of));
    Some((Fault::CertificateAlgorithm, text))
}

/// The first certificate that is signed by RSASSA-PSS, where nothing else is in the way.
fn odd_pss(presented: &Presented) -> Option<(Fault, String)> {
    let of = signed(presented).find(|it| dotted(&it.form.signature) == PSS)?;
    let text = format!(
        "{} is signed by RSA-PSS with parameters that are not those of TLS, which cannot be \
         verified here",
        of_subject(of)
    );
    Some((Fault::CertificateAlgorithm, text))
}

fn signed(presented: &Presented) -> impl Iterator<Item = &Certificate> {
    presented.chain.iter().flatten().filter(|it| it.subject != it.issuer)
}

/// The first certificate with a critical extension that nobody here understands.
fn odd_extension(presented: &Presented) -> Option<(Fault, String)> {
    let extensions = |it: &Certificate| it.form.critical.iter().find_map(|of| unknown(of));
    let chain = presented.chain.iter().flatten();
    let (of, what) = chain.into_iter().find_map(|it| Some((it, extensions(it)?)))?;
    let text =
        format!("{} has a critical extension that is not supported here ({what})", of_subject(of));
    Some((Fault::CertificateExtension, text))
}

fn find(presented: Option<&Presented>, is: impl Fn(&Certificate) -> bool) -> Option<&Certificate> {
    presented?.chain.iter().flatten().find(|it| is(it))
}

/// The server's own certificate.
fn own(presented: Option<&Presented>) -> String {
    find(presented, |_| true).map_or_else(|| "the certificate".to_owned(), of_subject)
}

fn of_subject(certificate: &Certificate) -> String {
    format!("the certificate of {}", shown(&certificate.subject))
}

/// A name in backticks; whoever issued a certificate chose it.
fn shown(name: &Name) -> String {
    const LONGEST: usize = 64;
    match name.to_string() {
        name if name.is_empty() => "somebody without a name".to_owned(),
        name => format!("`{}`", name.chars().take(LONGEST).collect::<String>()),
    }
}

/// What a key is, where ring does not verify by it (`SignatureVerificationAlgorithm`s of
/// `rustls::crypto::ring`).
fn unusable(key: &Key) -> Option<String> {
    Some(match key {
        Key::Rsa(2048..=8192) | Key::Unknown => return None,
        Key::Rsa(bits) => format!("an RSA key of {bits} bits"),
        Key::Ec(curve) => match dotted(curve).as_str() {
            "1.2.840.10045.3.1.7" | "1.3.132.0.34" => return None,
            "1.3.132.0.35" => "an ECDSA key on P-521".to_owned(),
            "1.3.132.0.10" => "an ECDSA key on secp256k1".to_owned(),
            "1.3.36.3.3.2.8.1.1.7" => "an ECDSA key on brainpoolP256r1".to_owned(),
            "1.3.36.3.3.2.8.1.1.11" => "an ECDSA key on brainpoolP384r1".to_owned(),
            other => format!("an ECDSA key on the curve {other}"),
        },
        Key::Other(of) => match dotted(of).as_str() {
            "1.3.101.112" => return None,
            "1.3.101.113" => "an Ed448 key".to_owned(),
            "1.2.840.10040.4.1" => "a DSA key".to_owned(),
            "1.2.840.113549.1.1.10" => "an RSA key that is for PSS alone".to_owned(),
            other => format!("a key of the algorithm {other}"),
        },
    })
}

/// RSASSA-PSS: of three parameters, ring verifies it.
const PSS: &str = "1.2.840.113549.1.1.10";

/// How a certificate is signed, where ring does not verify that.
fn unverifiable(algorithm: &[u8]) -> Option<String> {
    let named = match dotted(algorithm).as_str() {
        // RSA with SHA-256, SHA-384, SHA-512 and PSS; ECDSA with SHA-256 and SHA-384; Ed25519.
        "1.2.840.113549.1.1.11"
        | "1.2.840.113549.1.1.12"
        | "1.2.840.113549.1.1.13"
        | "1.2.840.10045.4.3.2"
        | "1.2.840.10045.4.3.3"
        | "1.3.101.112"
        | PSS
        | "" => return None,
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.113" => "Ed448",
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => "DSA",
        other => return Some(format!("the algorithm {other}")),
    };
    Some(named.to_owned())
}

/// What an extension is, where webpki does not know it.
fn unknown(extension: &[u8]) -> Option<String> {
    let extension = dotted(extension);
    let named = match extension.as_str() {
        "2.5.29.15"
        | "2.5.29.17"
        | "2.5.29.19"
        | "2.5.29.30"
        | "2.5.29.31"
        | "2.5.29.37"
        | "1.3.6.1.4.1.11129.2.4.2" => return None,
        "2.5.29.18" => "issuer alternative name",
        "2.5.29.32" => "certificate policies",
        "2.5.29.33" => "policy mappings",
        "2.5.29.36" => "policy constraints",
        "2.5.29.54" => "inhibit any policy",
        "1.3.6.1.5.5.7.1.1" => "authority information access",
        "1.3.6.1.5.5.7.1.3" => "qualified certificate statements",
        "1.3.6.1.5.5.7.1.24" => "TLS feature",
        other => return Some(other.to_owned()),
    };
    Some(format!("{named}, {extension}"))
}

/// An object identifier as people write it (X.690 section 8.19); nothing where it is none.
fn dotted(identifier: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in identifier {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Names as rustls presents them: `DnsName("example.com")`, `IpAddress(127.0.0.1)`.
fn for_another_name(presented: &[String]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = presented
        .iter()
        .take(SHOWN)
        .map(|name| {
            let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
            inner.trim_end_matches(')').trim_matches('"')
        })
        .collect();
    match names[..] {
        [] => "the certificate is for no host name at all".to_owned(),
        _ => format!("the certificate is for other names (`{}`)", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{InvalidMessage, PeerMisbehaved};

    use super::*;

    /// tests/it/tls.rs has what a real server presents.
    #[test]
    fn r37_what_tls_fails_at_is_told_apart_and_never_in_a_librarys_words() {
        use CertificateError as Certificate;
        let certificate = Error::InvalidCertificate;
        let pki = |error: webpki::Error| {
            Error::InvalidCertificate(Certificate::Other(OtherError(Arc::new(error))))
        };
        let told = [
            certificate(Certificate::UnknownIssuer),
            certificate(Certificate::Expired),
            certificate(Certificate::NotValidYet),
            certificate(Certificate::NotValidForName),
            certificate(Certificate::BadSignature),
            certificate(Certificate::BadEncoding),
            certificate(Certificate::UnhandledCriticalExtension),
            certificate(Certificate::InvalidPurpose),
            certificate(Certificate::Revoked),
            certificate(Certificate::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: Vec::new(),
                supported_algorithms: Vec::new(),
            }),
            pki(webpki::Error::PathLenConstraintViolated),
            pki(webpki::Error::EndEntityUsedAsCa),
            pki(webpki::Error::MaximumPathDepthExceeded),
            pki(webpki::Error::UnsupportedCertVersion),
            pki(webpki::Error::MalformedExtensions),
            pki(webpki::Error::IssuerNotCrlSigner),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::AlertReceived(AlertDescription::ProtocolVersion),
            Error::AlertReceived(AlertDescription::UnrecognisedName),
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Error::AlertReceived(AlertDescription::DecodeError),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
            Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedKxGroup),
            Error::DecryptError,
            Error::General("Debug { of: Library }".to_owned()),
        ]
        .map(|error| {
            let (kind, text) = explain(&error, None);
            format!("{kind:?}: {text}")
        });
        insta::assert_snapshot!(told.join("\n"), @"
        UntrustedIssuer: the certificate is not trusted (unknown issuer)
        CertificateDates: the certificate has expired
        CertificateDates: the certificate is not valid yet
        CertificateName: the certificate is for another name
        UntrustedIssuer: the certificate is not trusted (not signed with the key of the CA that it names)
        CertificateForm: a certificate that the server presents is damaged
        CertificateExtension: a certificate has a critical extension that is not supported here
        CertificateUse: the certificate is not one for servers (extended key usage)
        Tls: the certificate is not accepted
        CertificateAlgorithm: a certificate is signed in a way that cannot be verified here
        CertificateChain: a CA in the chain must not certify another CA (path length)
        CertificateChain: a certificate in the chain is issued by one that is not a CA's
        CertificateChain: the server presents a chain of certificates that is too long
        CertificateForm: a certificate is not of X.509 version 3
        CertificateForm: a certificate that the server presents is damaged
        Tls: the certificate is not accepted
        Tls: the server does not speak TLS
        TlsCommon: the server has no cipher or kind of certificate in common with this program
        TlsVersion: the server speaks only versions of TLS that are older than 1.2
        CertificateName: the server has no certificate for this name (unrecognized name)
        Tls: the server asks for a certificate of the client
        Tls: the server ended TLS (alert 50)
        TlsVersion: the server speaks only versions of TLS that are older than 1.2
        Tls: the server's TLS lacks something that is required here
        Tls: the server breaks the rules of TLS
        Tls: what the server sent cannot be decrypted
        Tls: TLS failed
        ");
    }

    #[test]
    fn an_object_identifier_is_shown_as_people_write_it() {
        for (bytes, wanted) in [
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b][..], "1.2.840.113549.1.1.11"),
            (&[0x55, 0x1d, 0x20], "2.5.29.32"),
            (&[0x60, 0x86, 0x48], "2.16.840"),
            (&[0xff; 40], ""),
            (&[], ""),
        ] {
            assert_eq!(dotted(bytes), wanted);
        }
    }

    #[test]
    fn certificates_for_other_names_are_named() {
        let presented = ["DnsName(\"a.example.com\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        assert_eq!(
            for_another_name(&presented),
            "the certificate is for other names (`a.example.com`, `10.0.0.1`)"
        );
    }
}
