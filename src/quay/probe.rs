//! A look at the issuer from this host, for the answers of Quay's that do not say a word: Quay
//! reads the same two public documents at every exchange. No token is sent along.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::quay_of;
use crate::config::settings::{Connection, Rule};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::discovery::{DiscoveryFault, read_document};
use crate::http::{Body, Request, Retry500, Transport, TransportError, send_by};
use crate::jwt::UnverifiedToken;
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
    let Some(at) = at.filter(|url| url.scheme() == "https") else {
        return Some(Err(Finding::NoKeysNamed));
    };
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
        Some(Value::Array(keys)) => Ok(Published { at, keys }),
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
    let reply = send_by(world, transport, request, by, Retry500::No).ok();
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

fn of_key(set: &[Value], kid: Option<&str>) -> Option<Finding> {
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    let key = set.iter().find(|key| text(key, "kid").as_deref() == kid)?;
    Some(match text(key, "kty") {
        Some(kty) if kty != "RSA" => Finding::KeyNotRsa(kty),
        _ => Finding::AllWell,
    })
}
