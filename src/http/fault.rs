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
        (None, None) => without_proxy(TransportError { kind, text }, route),
        (None, _) | (_, None) => TransportError { kind, text },
        (Some(TO_PROXY), Some(proxy)) => TransportError {
            kind: match kind {
                TransportFault::Connect | TransportFault::Name | TransportFault::Tls => {
                    TransportFault::ProxyConnect
                }
                other => other,
            },
            text: format!("the proxy {proxy}: {text}"),
        },
        (Some("proxy authorization required"), Some(proxy)) => TransportError {
            kind: TransportFault::ProxyRefused,
            text: format!("the proxy {proxy} asks for a user and a password"),
        },
        (Some("unsuccessful"), Some(proxy)) => TransportError {
            kind: TransportFault::ProxyRefused,
            text: format!("the proxy {proxy} refused to connect to it, or is not an HTTP proxy"),
        },
        (Some(_), Some(proxy)) => TransportError {
            kind: TransportFault::ProxyConnect,
            text: format!("the proxy {proxy} closed the connection"),
        },
    }
}

/// A server that was not reached without a proxy, with what may have meant one.
fn without_proxy(error: TransportError, route: &Route) -> TransportError {
    use TransportFault as Fault;
    let may_need_one = matches!(
        error.kind,
        Fault::Name
            | Fault::NameServer
            | Fault::NameServerFailed
            | Fault::Connect
            | Fault::NoConnection
            | Fault::Broken
            | Fault::Timeout
    );
    match &route.passed_over {
        Some(why) if may_need_one => {
            TransportError { text: format!("{}; {why}", error.text), ..error }
        }
        _ => error,
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
    let error = TransportError { kind, text };
    if route.proxy.is_none() { without_proxy(error, route) } else { error }
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
        return of_lookup(io);
    }
    if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) && error.is_connect() {
        return (TransportFault::Broken, "the connection was closed during TLS".to_owned());
    }
    if error.is_connect() || error.is_timeout() {
        let text = io.map_or_else(|| "no connection".to_owned(), of_io);
        let tried = chain.iter().find_map(|error| error.downcast_ref::<AllFailed>());
        let tried = tried.map(|all| format!(" ({} addresses tried)", all.tried));
        return (TransportFault::Connect, text + &tried.unwrap_or_default());
    }
    let text = match io {
        // The library's error of a reply that cannot be parsed cannot be named, only read.
        _ if chain.iter().any(|error| error.to_string().starts_with("invalid HTTP")) => {
            "it was not HTTP".to_owned()
        }
        Some(error) => of_io(error),
        None => "the connection was closed".to_owned(),
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

/// What getaddrinfo said, by glibc or musl: whether the name does not exist, or nobody could say.
fn of_lookup(error: Option<&io::Error>) -> (TransportFault, String) {
    let said = error.map(describe).unwrap_or_default();
    let said = said.strip_prefix("failed to lookup address information: ").unwrap_or(&said);
    match said {
        "name or service not known"
        | "name does not resolve"
        | "name has no usable address"
        | "no address associated with hostname"
        | "" => (TransportFault::Name, "no such host".to_owned()),
        "temporary failure in name resolution" | "try again" => {
            (TransportFault::NameServerFailed, "no name server answered for its name".to_owned())
        }
        "non-recoverable failure in name resolution" | "non-recoverable error" => (
            TransportFault::NameServerFailed,
            "the name server refused to look up its name".to_owned(),
        ),
        other => {
            (TransportFault::NameServerFailed, format!("its name cannot be looked up ({other})"))
        }
    }
}

/// An error of the system in its words; one that a library made, in ours.
pub(super) fn of_io(error: &io::Error) -> String {
    if error.raw_os_error().is_some() {
        return describe(error);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed",
        io::ErrorKind::TimedOut => "it took too long",
        _ => "the connection failed",
    }
    .to_owned()
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

    #[test]
    fn r36_a_name_server_that_does_not_answer_is_told_from_a_name_that_does_not_exist() {
        use TransportFault::{Name, NameServerFailed};
        for (said, wanted) in [
            ("Name or service not known", Name),
            ("Name does not resolve", Name),
            ("No address associated with hostname", Name),
            ("Temporary failure in name resolution", NameServerFailed),
            ("Try again", NameServerFailed),
            ("Non-recoverable failure in name resolution", NameServerFailed),
            ("Non-recoverable error", NameServerFailed),
        ] {
            let text = format!("failed to lookup address information: {said}");
            let (kind, text) = of_lookup(Some(&io::Error::other(text)));
            assert_eq!(kind, wanted, "{said}");
            assert!(!text.contains(&said.to_lowercase()), "{text}");
        }
    }

    #[test]
    fn r36_what_may_have_meant_a_proxy_is_named_where_a_server_is_not_reached_without_it() {
        let passed_over =
            Some("no proxy was used, since HTTPS_PROXY has white space in it".to_owned());
        let route = Route { proxy: None, passed_over };
        let timeout = timeout(Duration::from_secs(8), None, &route);
        let wanted =
            "no answer within 8s; no proxy was used, since HTTPS_PROXY has white space in it";
        assert_eq!(timeout.text, wanted);
        let untrusted = TransportError {
            kind: TransportFault::UntrustedIssuer,
            text: "not trusted".to_owned(),
        };
        assert_eq!(without_proxy(untrusted.clone(), &route), untrusted);
    }
}
