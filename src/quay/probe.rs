//! What lies behind the answers of Quay's that do not say a word, found by asking (rule R39): Quay
//! without a token, Quay with a token that nobody can use, Quay's own health; and the issuer from this
//! host, since Quay reads the same two public documents at every exchange. A token that can be used
//! is sent nowhere.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::exchange::{basic, url_of};
use super::{Presented, quay_of};
use crate::config::settings::{Connection, Rule};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::discovery::{DiscoveryFault, read_document};
use crate::http::{
    Body, Request, Response, Retry500, Transport, TransportError, send_by, send_once_by,
};
use crate::jwt::UnverifiedToken;
use crate::secret::Secret;
use crate::world::World;

/// The time for each of the two documents: Quay itself waits 5 s for the first.
const TIME_FOR_ONE: Duration = Duration::from_secs(3);
/// What must be left for a look to be worth it.
const WORTHWHILE: Duration = Duration::from_millis(500);

/// What an issuer looks like from here.
#[derive(Debug)]
pub(super) enum Finding {
    /// Its discovery document is at fault.
    Discovery(DiscoveryFault),
    /// The document does not say where the keys are.
    NoKeysNamed,
    /// The keys are where this host does not read them, since anybody on the way could change them.
    KeysInsecure(Url),
    /// One of the keys is such that Quay reads none of them; what it is, in words.
    KeysSpoilt(Url, String),
    /// There was no reply from where the keys are.
    KeysNoReply(Url, TransportError),
    /// The keys were refused, with this status.
    KeysRefused(Url, u16),
    /// What should be the keys is no JWK set (RFC 7517 section 5).
    KeysUnreadable(Url),
    /// The key that the token names is not among them.
    KeyMissing(Url),
    /// The key that the token names is of this type instead of RSA.
    KeyNotRsa(String),
    /// Nothing is wrong, seen from here.
    AllWell,
}

/// Looks at the issuer that a token names, if it is an https URL and there is time before
/// `deadline`.
pub(super) fn look(
    world: &World,
    transport: &dyn Transport,
    connection: &Connection,
    token: &UnverifiedToken,
    deadline: Deadline,
) -> Option<Finding> {
    let issuer = token.claims.iss.as_deref().filter(|issuer| issuer.starts_with("https://"))?;
    Some(match read_keys(world, transport, connection, issuer, deadline)? {
        Ok(Published { at, keys }) => {
            of_key(&keys, token.header.kid.as_deref()).unwrap_or(Finding::KeyMissing(at))
        }
        Err(finding) => finding,
    })
}

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Where they are.
    pub(super) at: Url,
    /// Each as it stands there (RFC 7517 section 4).
    pub(super) keys: Vec<Value>,
}

/// Reads an issuer's keys by way of its discovery document, if there is time before `deadline`.
pub(super) fn read_keys(
    world: &World,
    transport: &dyn Transport,
    connection: &Connection,
    issuer: &str,
    deadline: Deadline,
) -> Option<Result<Published, Finding>> {
    let within = || within(world, deadline);
    let document = match read_document(world, transport, issuer, connection, within()?) {
        Ok(document) => document,
        Err(fault) => return Some(Err(Finding::Discovery(fault))),
    };
    let at = document.jwks_uri.and_then(|uri| Url::parse(&uri).ok());
    let Some(at) = at.filter(|url| matches!(url.scheme(), "https" | "http")) else {
        return Some(Err(Finding::NoKeysNamed));
    };
    if !connection.allows(&at) {
        return Some(Err(Finding::KeysInsecure(at)));
    }
    let request = Request {
        url: &at,
        body: Body::None,
        authorization: None,
        connection,
        timeout: Duration::ZERO,
    };
    let reply = match send_by(world, transport, request, within()?, Retry500::No) {
        Ok(reply) if reply.status == 200 => reply,
        Ok(reply) => return Some(Err(Finding::KeysRefused(at, reply.status))),
        Err(error) => return Some(Err(Finding::KeysNoReply(at, error))),
    };
    Some(match reply.json().and_then(|mut document| document.remove("keys")) {
        Some(Value::Array(keys)) => match keys.iter().find_map(spoils_the_others) {
            Some(what) => Err(Finding::KeysSpoilt(at, what)),
            None => Ok(Published { at, keys }),
        },
        _ => Err(Finding::KeysUnreadable(at)),
    })
}

/// Where an instance of Quay tells how it is; nobody needs to log in for that.
const HEALTH: &str = "/health/instance";

/// Whether Quay says that its database is away, if there is time before `deadline`: then it returns
/// a bare 500 for whatever needs it. Who says anything else, or nothing, is not known to be so.
pub(super) fn is_database_away(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    deadline: Deadline,
) -> bool {
    let Some(by) = within(world, deadline) else { return false };
    let mut url = rule.api_url.clone();
    url.set_path(HEALTH);
    let request = Request {
        url: &url,
        body: Body::None,
        authorization: None,
        connection: &rule.connection,
        timeout: Duration::ZERO,
    };
    let reply = send_once_by(world, transport, request, by).ok();
    let told = reply.filter(|reply| reply.status == 503).and_then(|reply| reply.json());
    let services = told.as_ref().and_then(|told| told.get("data")?.get("services"));
    services.is_some_and(|services| services.get("database") == Some(&Value::Bool(false)))
}

/// What a database that is away means.
pub(super) fn without_database(rule: &Rule) -> Failure {
    let mut url = rule.api_url.clone();
    url.set_path(HEALTH);
    Failure::new(
        format!("{} cannot reach its database", quay_of(rule)),
        format!("show this to whoever runs that Quay; `{url}` says so too (`\"database\": false`)"),
    )
}

/// The time for one more request, if there is enough before `deadline`.
fn within(world: &World, deadline: Deadline) -> Option<Deadline> {
    let now = world.clock.boot();
    (deadline.left(now) >= WORTHWHILE).then(|| deadline.min(Deadline::after(now, TIME_FOR_ONE)))
}

/// What it is about a key that makes Quay read none of its set, where it is such a one.
fn spoils_the_others(key: &Value) -> Option<String> {
    let key = key.as_object()?;
    match key.get("kty").and_then(Value::as_str) {
        None => Some("a key without a type (`kty`)".to_owned()),
        Some("RSA") => {
            let missing = ["n", "e"].into_iter().find(|name| !key.contains_key(*name))?;
            Some(format!("an RSA key without `{missing}`"))
        }
        Some("EC" | "OKP" | "oct") => None,
        Some(other) => Some(format!("a key of the unknown type `{other}`")),
    }
}

/// Whether Quay works, asked for the exchange without a token, which it refuses before it looks at
/// anything else; nothing where there is no time for that before `deadline`, or where the answer is
/// not Quay's.
pub(super) fn works(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    deadline: Deadline,
) -> Option<bool> {
    match ask_exchange(world, transport, rule, None, within(world, deadline)?) {
        Ok(reply) if says_no_header(&reply) => Some(true),
        Ok(reply) => (reply.status >= 500).then_some(false),
        Err(_) => Some(false),
    }
}

/// What Quay alone says to whoever presents nothing, and only where it has the exchange.
pub(super) fn says_no_header(reply: &Response) -> bool {
    let says =
        |json: &serde_json::Map<_, _>| json.get("error").is_some_and(|it| it == "No auth header");
    reply.status == 401 && reply.json().as_ref().is_some_and(says)
}

/// What Quay says of the token with another signature, if there is time before `deadline`: by that
/// it is seen whether it reads the issuer's keys.
pub(super) fn try_damaged(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    presented: Presented<'_>,
    deadline: Deadline,
) -> Option<Response> {
    let damaged = damaged(presented.raw)?;
    let by = within(world, deadline)?;
    ask_exchange(world, transport, rule, Some(&damaged), by).ok()
}

/// The token with a signature that no key has made, as long as its own: zeros, which to any RSA
/// exponent are zeros again, and so never a padded digest. Nothing where it would be the same.
fn damaged(token: &Secret<String>) -> Option<Secret<String>> {
    let (signed, signature) = token.expose().rsplit_once('.')?;
    let damaged = Secret::new(format!("{signed}.{}", "A".repeat(signature.len())));
    (damaged.expose() != token.expose()).then_some(damaged)
}

fn ask_exchange(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    token: Option<&Secret<String>>,
    by: Deadline,
) -> Result<Response, TransportError> {
    let request = Request {
        url: &url_of(rule),
        body: Body::None,
        authorization: token.map(|token| basic(world, rule, token)),
        connection: &rule.connection,
        timeout: Duration::ZERO,
    };
    send_by(world, transport, request, by, Retry500::No)
}

fn of_key(set: &[Value], kid: Option<&str>) -> Option<Finding> {
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    let key = set.iter().find(|key| text(key, "kid").as_deref() == kid)?;
    Some(match text(key, "kty") {
        Some(kty) if kty != "RSA" => Finding::KeyNotRsa(kty),
        _ => Finding::AllWell,
    })
}
