//! The values of single keys, parsed from the text that was written.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::settings::{
    ClientAuth, Connection, JsonField, OnError, ProxyChoice, ProxyUrl, SecretPlace, is_loopback,
};
use super::suggestion;
use crate::robot::RobotName;

/// What is wrong with a value: the end of a sentence that begins with it, and what to do.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) hint: String,
}

impl Fault {
    fn new(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { text: text.into(), hint: hint.into() }
    }
}

type Parsed<T> = Result<T, Fault>;
type Parser<T> = fn(&str) -> Parsed<T>;

pub(super) fn robot(text: &str) -> Parsed<RobotName> {
    RobotName::parse(text).map_err(|error| {
        let form = "Quay's robot names are NAMESPACE+NAME in lower case";
        let hint = match error.meant {
            Some(meant) => format!("did you mean `{meant}`? {form}"),
            None => format!("{form}, as its page Robot Accounts shows them"),
        };
        Fault::new(format!("is no robot name: it {}", error.reason), hint)
    })
}

/// A duration of at least `least` and at most `most`: a whole number and its unit.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Parsed<Duration> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end_of_number);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    };
    let (Some(milliseconds), false) = (milliseconds, number.is_empty()) else {
        return Err(Fault::new(
            "is no duration",
            "write a whole number and its unit, such as \"500ms\", \"25s\", \"15m\" or \"1h\"",
        ));
    };
    // What has more digits than that is too long as well.
    let number = number.parse().unwrap_or(u64::MAX);
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    if duration < least {
        return Err(Fault::new("is too short", format!("the least is \"{}\"", in_words(least))));
    }
    if duration > most {
        return Err(Fault::new("is too long", format!("the most is \"{}\"", in_words(most))));
    }
    Ok(duration)
}

fn in_words(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (seconds, 0) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// What a URL is for, which says what may stand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlUse {
    /// Scheme, host and port of an API.
    Api,
    /// An issuer (OIDC Discovery 1.0 section 3): no query, no fragment.
    Issuer,
    /// A token endpoint (RFC 6749 section 3.2): no fragment.
    TokenEndpoint,
}

/// A URL that tokens or secrets are sent to: https, or http where rule R19 allows it.
pub(super) fn url(text: &str, of: UrlUse, connection: &Connection) -> Parsed<Url> {
    let has_space = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let is_strict = !text.contains(has_space) && !rest.starts_with('/');
    let parsed = Url::parse(text).ok().filter(|url| url.has_host() && is_strict);
    let (Some(url), "https" | "http") = (parsed, scheme) else {
        return Err(Fault::new("is no https URL", hint_for_url(text, of)));
    };
    if let Some((_, name)) = text.split_once('{') {
        let name = name.split('}').next().unwrap_or_default();
        return Err(Fault::new(
            "has a placeholder",
            format!(
                "replace `{{{name}}}` with its value: at Entra, `{{tenantid}}` with the tenant's ID"
            ),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new("has user information", "remove what stands before the `@`"));
    }
    if url.fragment().is_some() {
        return Err(Fault::new("has a fragment", "remove the `#` and what follows it"));
    }
    if url.query().is_some() && of != UrlUse::TokenEndpoint {
        return Err(Fault::new("has a query", "remove the `?` and what follows it"));
    }
    if url.path() != "/" && of == UrlUse::Api {
        return Err(Fault::new(
            "has a path",
            "write scheme, host and port alone: the path of the exchange is Quay's own",
        ));
    }
    match (url.scheme(), is_loopback(&url), connection.allow_http_loopback) {
        ("https", _, _) | (_, true, true) => Ok(url),
        (_, true, false) => Err(Fault::new(
            "is http, and `allow_http_loopback` is not set",
            "use https; for a test on this host set `allow_http_loopback = true` in the same table \
             of a configuration file",
        )),
        _ => Err(Fault::new(
            "is http, and a token or a secret would be sent there in the clear",
            "use https; http is possible to a literal 127.0.0.0/8 or [::1] alone, for tests",
        )),
    }
}

fn hint_for_url(text: &str, of: UrlUse) -> String {
    let meant = format!("https://{text}");
    let is_evident = !text.contains([':', '@', ' ', '\\']) && Url::parse(&meant).is_ok();
    match of {
        _ if is_evident && !text.is_empty() => format!("did you mean `{meant}`?"),
        UrlUse::Api => "write it as https://HOST[:PORT]".to_owned(),
        UrlUse::Issuer | UrlUse::TokenEndpoint => {
            "write it as https://HOST[:PORT][/PATH]".to_owned()
        }
    }
}

/// A proxy. Its URL may hold a password.
pub(super) fn proxy(text: &str) -> Parsed<ProxyChoice> {
    if text == "none" {
        return Ok(ProxyChoice::None);
    }
    let hint = "write a URL such as \"http://proxy.example.com:3128\", or \"none\"";
    if text.starts_with("socks") {
        return Err(Fault::new("is a SOCKS proxy, which is not supported", hint));
    }
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    match Url::parse(text) {
        Ok(url) if is_http && url.has_host() => Ok(ProxyChoice::Url(ProxyUrl(url))),
        _ => Err(Fault::new("is neither an http URL nor `none`", hint)),
    }
}

pub(super) fn absolute_path(text: &str) -> Parsed<PathBuf> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err(Fault::new(
            "is no absolute path",
            "begin it with `/`: the program may be called in any folder",
        ))
    }
}

pub(super) fn variable_name(text: &str) -> Parsed<String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.chars().all(is_fit)
        && !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
    {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            "is no name of a variable",
            "write the name alone, such as `QUAY_TOKEN`: letters, digits and `_`, without `$`",
        ))
    }
}

pub(super) fn credential_name(text: &str) -> Parsed<String> {
    if text.contains(['/', '\0']) || matches!(text, "" | "." | "..") {
        Err(Fault::new(
            "is no name of a systemd credential",
            "write the name that stands in LoadCredential=, without any folder",
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// The keys that name a place of the client secret, each with its parser.
pub(super) const SECRET_PLACES: [(&str, Parser<SecretPlace>); 3] = [
    ("client_secret_file", |text| absolute_path(text).map(SecretPlace::File)),
    ("client_secret_env", |text| variable_name(text).map(SecretPlace::Variable)),
    ("client_secret_credential", |text| credential_name(text).map(SecretPlace::Credential)),
];

pub(super) fn filled(text: &str) -> Parsed<String> {
    if text.trim().is_empty() {
        Err(Fault::new("is empty", "give it a value, or remove it"))
    } else {
        Ok(text.to_owned())
    }
}

/// One scope (RFC 6749 section 3.3).
pub(super) fn scope(text: &str) -> Parsed<String> {
    if !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    {
        Ok(text.to_owned())
    } else {
        Err(Fault::new("is no scope", "write each scope as an item of its own, without spaces"))
    }
}

pub(super) fn json_field(text: &str) -> Parsed<JsonField> {
    if text.split('.').any(str::is_empty) {
        Err(Fault::new(
            "is no path into JSON",
            "write names and indexes with dots between, such as `access_token` or `svids.0.svid`",
        ))
    } else {
        Ok(JsonField(text.to_owned()))
    }
}

pub(super) fn on_error(text: &str) -> Parsed<OnError> {
    one_of(text, &[("fail", OnError::Fail), ("anonymous", OnError::Anonymous)], "")
}

pub(super) fn client_auth(text: &str) -> Parsed<ClientAuth> {
    let methods = [ClientAuth::ClientSecretBasic, ClientAuth::ClientSecretPost];
    one_of(
        text,
        &methods.map(|method| (method.name(), method)),
        "client_secret_jwt federated none private_key_jwt tls_client_auth",
    )
}

/// One of a few words; `elsewhere` has those that have a meaning, but not to this version.
pub(super) fn one_of<T: Copy>(text: &str, possible: &[(&str, T)], elsewhere: &str) -> Parsed<T> {
    if let Some((_, value)) = possible.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = possible.iter().map(|(name, _)| *name).collect();
    Err(if elsewhere.split(' ').any(|name| name == text) {
        Fault::new(
            "is not supported by this version",
            format!("it supports {}", suggestion::listed(&names)),
        )
    } else {
        Fault::new("is not a possible value", suggestion::hint(text, &names))
    })
}
