//! Why a request had no reply, from the chain of errors that the libraries give, in a few words
//! and without the URL.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use super::attempts::{AllFailed, Waiting};
use super::lookup::NoThread;
use super::proxy::Route;
use super::{TransportError, TransportFault};
use crate::files::describe;
use crate::process::limits::Limit;

/// Explains a failed request by the way that it went.
pub(super) fn explain(error: &reqwest::Error, route: &Route) -> TransportError {
    let (kind, text) = classify(error);
    let chain = chain(error);
    // The library's error of a tunnel cannot be named, only read.
    let tunnel = chain
        .iter()
        .find_map(|error| error.to_string().strip_prefix("tunnel error: ").map(str::to_owned));
    match (tunnel.as_deref(), &route.proxy) {
        (None, _) | (_, None) => TransportError { kind, text },
        (Some("failed to create underlying connection"), Some(proxy)) => {
            TransportError { kind, text: format!("the proxy {proxy}: {text}") }
        }
        (Some("proxy authorization required"), Some(proxy)) => TransportError {
            kind: TransportFault::ProxyRefused,
            text: format!("the proxy {proxy} asks for a user and a password"),
        },
        (Some("unsuccessful"), Some(proxy)) => TransportError {
            kind: TransportFault::ProxyRefused,
            text: format!("the proxy {proxy} refused to connect to it"),
        },
        (Some(_), Some(proxy)) => TransportError {
            kind: TransportFault::Broken,
            text: format!("the proxy {proxy} closed the connection"),
        },
    }
}

/// The fault of a request that took longer than it was given, and what it waited for in the end.
pub(super) fn timeout(given: Duration, waiting: Option<Waiting>, route: &Route) -> TransportError {
    let what = match (waiting, &route.proxy) {
        (Some(Waiting::Name), None) => " (the name server did not answer)".to_owned(),
        (Some(Waiting::Name), Some(proxy)) => {
            format!(" (the name server did not answer for the proxy {proxy})")
        }
        (Some(Waiting::Addresses(count @ 2..)), None) => {
            format!(" from any of its {count} addresses")
        }
        (Some(Waiting::Addresses(count @ 2..)), Some(proxy)) => {
            format!(" through any of the {count} addresses of the proxy {proxy}")
        }
        (_, Some(proxy)) => format!(" through the proxy {proxy}"),
        (_, None) => String::new(),
    };
    let text = format!("{}{what}", no_answer(given));
    let kind = match waiting {
        Some(Waiting::Name) => TransportFault::NameServer,
        Some(Waiting::Addresses(_)) => TransportFault::NoConnection,
        None => TransportFault::Timeout,
    };
    TransportError { kind, text }
}

/// A time-out as one of the whole step, of which the request had only what was left.
pub(super) fn timeout_of_step(error: TransportError, given: Duration) -> TransportError {
    let text = error.text;
    let text = match text.split_once(NO_ANSWER).and_then(|(_, rest)| rest.split_once(' ')) {
        Some((_, what)) => format!("{} {what}", no_answer(given)),
        None => no_answer(given),
    };
    TransportError { text, ..error }
}

const NO_ANSWER: &str = "no answer within ";

fn no_answer(given: Duration) -> String {
    format!("{NO_ANSWER}{}", in_words(given))
}

/// A duration to two digits or so: `8s`, `7.9s`, `250ms`.
pub(super) fn in_words(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let tenths = (milliseconds + 50) / 100;
    match (tenths / 10, tenths % 10) {
        (0, _) => format!("{milliseconds}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, tenth) => format!("{seconds}.{tenth}s"),
    }
}

fn classify(error: &reqwest::Error) -> (TransportFault, String) {
    let chain = chain(error);
    if let Some(error) = chain.iter().find_map(|error| error.downcast_ref::<rustls::Error>()) {
        return of_tls(error);
    }
    let io = chain.iter().rev().find_map(|error| error.downcast_ref::<io::Error>());
    if let Some(limit) = io.and_then(Limit::behind) {
        return (TransportFault::Limit(limit), io.map(describe).unwrap_or_default());
    }
    if let Some(error) = chain.iter().find_map(|error| error.downcast_ref::<NoThread>()) {
        return (TransportFault::Limit(Limit::Processes), error.to_string());
    }
    if error.is_dns() {
        return (TransportFault::Name, of_lookup(io));
    }
    if error.is_connect() || error.is_timeout() {
        let text = io.map_or_else(|| "no connection".to_owned(), describe);
        let tried = chain.iter().find_map(|error| error.downcast_ref::<AllFailed>());
        let tried = tried.map(|all| format!(" ({} addresses tried)", all.tried));
        return (TransportFault::Connect, text + &tried.unwrap_or_default());
    }
    let text = match io {
        // The library's error of a reply that cannot be parsed cannot be named, only read.
        _ if chain.iter().any(|error| error.to_string().starts_with("invalid HTTP")) => {
            "it was not HTTP".to_owned()
        }
        Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => describe(error),
        _ => "the connection was closed".to_owned(),
    };
    (TransportFault::Broken, text)
}

/// The error and its sources, outermost first. An `io::Error` that wraps another error says so
/// only when asked.
fn chain(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut chain: Vec<&(dyn Error + 'static)> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        chain.push(error);
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    chain
}

fn of_tls(error: &rustls::Error) -> (TransportFault, String) {
    let rustls::Error::InvalidCertificate(error) = error else {
        let text = match error {
            rustls::Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
            rustls::Error::AlertReceived(alert) => format!("the server ended TLS ({alert:?})"),
            other => format!("TLS failed ({other})"),
        };
        return (TransportFault::Tls, text);
    };
    match error {
        CertificateError::UnknownIssuer => (
            TransportFault::UntrustedIssuer,
            "the certificate is not trusted (unknown issuer)".to_owned(),
        ),
        CertificateError::BadSignature => (
            TransportFault::UntrustedIssuer,
            "the certificate is not trusted (not signed with the key of the CA that it names)"
                .to_owned(),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (TransportFault::CertificateDates, "the certificate has expired".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (TransportFault::CertificateDates, "the certificate is not valid yet".to_owned())
        }
        CertificateError::NotValidForName => {
            (TransportFault::CertificateName, "the certificate is for another name".to_owned())
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            (TransportFault::CertificateName, for_another_name(presented))
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            TransportFault::CertificateUse,
            "the server's certificate is a CA's own (self-signed), not one for servers".to_owned(),
        ),
        other => (TransportFault::Tls, format!("the certificate is not accepted ({other})")),
    }
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

/// What getaddrinfo said, by glibc or musl.
fn of_lookup(error: Option<&io::Error>) -> String {
    let said = error.map(describe).unwrap_or_default();
    let said = said.strip_prefix("failed to lookup address information: ").unwrap_or(&said);
    match said {
        "name or service not known"
        | "name does not resolve"
        | "name has no usable address"
        | "no address associated with hostname"
        | "" => "no such host".to_owned(),
        other => format!("its name cannot be looked up ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, Error as TlsError, InvalidMessage};

    use super::*;

    #[test]
    fn what_tls_fails_at_is_told_apart() {
        use CertificateError as Certificate;
        let certificate = TlsError::InvalidCertificate;
        let told = [
            certificate(Certificate::UnknownIssuer),
            certificate(Certificate::Expired),
            certificate(Certificate::NotValidYet),
            certificate(Certificate::NotValidForName),
            certificate(Certificate::BadSignature),
            certificate(Certificate::BadEncoding),
            TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
            TlsError::AlertReceived(AlertDescription::HandshakeFailure),
            TlsError::DecryptError,
        ]
        .map(|error| {
            let (kind, text) = of_tls(&error);
            format!("{kind:?}: {text}")
        });
        insta::assert_snapshot!(told.join("\n"), @"
        UntrustedIssuer: the certificate is not trusted (unknown issuer)
        CertificateDates: the certificate has expired
        CertificateDates: the certificate is not valid yet
        CertificateName: the certificate is for another name
        UntrustedIssuer: the certificate is not trusted (not signed with the key of the CA that it names)
        Tls: the certificate is not accepted (BadEncoding)
        Tls: the server does not speak TLS
        Tls: the server ended TLS (HandshakeFailure)
        Tls: TLS failed (cannot decrypt peer's message)
        ");
    }

    #[test]
    fn a_duration_is_told_in_two_digits_or_so() {
        for (milliseconds, wanted) in
            [(8000, "8s"), (7_893, "7.9s"), (7_980, "8s"), (250, "250ms"), (15_000, "15s")]
        {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), wanted);
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
