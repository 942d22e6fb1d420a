//! Why a request had no reply, from the chain of errors that the libraries give, in a few words
//! and without the URL.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::attempts::{AllFailed, Waiting};
use super::lookup::NoThread;
use super::proxy::Route;
use super::tls;
use super::witness::{Presented, Seen};
use super::{TransportError, TransportFault};
use crate::files::describe;
use crate::process::limits::Limit;

/// Explains a failed request by the way that it went, and by what was seen of a server of a name.
pub(super) fn explain(
    error: &reqwest::Error,
    route: &Route,
    server: &str,
    seen: &Seen,
) -> TransportError {
    let presented = |of: &str| seen.of(of.trim_start_matches('[').trim_end_matches(']'));
    let chain = chain(error);
    // The library's error of a tunnel cannot be named, only read.
    let tunnel = chain
        .iter()
        .find_map(|error| error.to_string().strip_prefix("tunnel error: ").map(str::to_owned));
    // Where the way to the proxy failed, it is the proxy's TLS.
    let whose = match (tunnel.as_deref(), &route.proxy) {
        (Some(TO_PROXY), Some(proxy)) => proxy.url.host_str().unwrap_or_default(),
        _ => server,
    };
    let (kind, text) = classify(error, || presented(whose));
    match (tunnel.as_deref(), &route.proxy) {
        (None, _) | (_, None) => TransportError { kind, text },
        (Some(TO_PROXY), Some(proxy)) => {
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

const TO_PROXY: &str = "failed to create underlying connection";

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

fn classify(
    error: &reqwest::Error,
    presented: impl FnOnce() -> Option<Presented>,
) -> (TransportFault, String) {
    let chain = chain(error);
    if let Some(error) = chain.iter().find_map(|error| error.downcast_ref::<rustls::Error>()) {
        return tls::explain(error, presented().as_ref());
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
    use super::*;

    #[test]
    fn a_duration_is_told_in_two_digits_or_so() {
        for (milliseconds, wanted) in
            [(8000, "8s"), (7_893, "7.9s"), (7_980, "8s"), (250, "250ms"), (15_000, "15s")]
        {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), wanted);
        }
    }
}
