//! The source of a rule's OIDC tokens: what it is, and what a token of it says of itself.

use crate::config::settings::{Endpoint, Identity, SecretPlace, SourceSpec};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::Transport;
use crate::identity::{self, IdToken};
use crate::jwt;
use crate::quay::verdict::{instant, span};
use crate::world::World;

/// Gets an OIDC token as a `get` does, without anything that was kept.
pub(in crate::command) fn fetch(
    world: &World,
    transport: &dyn Transport,
    identity: &Identity,
) -> Result<IdToken, Failure> {
    let at_hand = identity::at_hand(world, &identity.source.bearer())
        .map_err(|fault| fault.placed(&identity.place))?;
    let deadline = Deadline::after(world.clock.boot(), identity.timeout);
    identity::fetch(world, transport, identity, None, at_hand, deadline)
        .map(|fetched| fetched.token)
        .map_err(|failed| failed.failure)
}

/// A source in words.
pub(in crate::command) fn describe(identity: &Identity) -> String {
    match &identity.source {
        SourceSpec::ClientCredentials(settings) => {
            let at = match &settings.endpoint {
                Endpoint::Discovered { issuer } => issuer.clone(),
                Endpoint::Given { token_endpoint, .. } => {
                    let mut shown = token_endpoint.clone();
                    shown.set_query(None);
                    shown.to_string()
                }
            };
            let secret = match &settings.client_secret {
                SecretPlace::File(path) => format!("the file {}", path.display()),
                SecretPlace::Variable(name) => format!("the variable {name}"),
                SecretPlace::Credential(name) => format!("the systemd credential {name}"),
            };
            format!("the client `{}` at {at}, its secret in {secret}", settings.client_id)
        }
        SourceSpec::File(file) => format!("the file {}", file.path.display()),
        SourceSpec::Env(variable) => format!("the variable {}", variable.variable),
    }
}

/// When a token begins and ends.
pub(in crate::command) fn times(issued: Option<i64>, end: Option<i64>) -> String {
    let of = |time: Option<i64>| time.map_or_else(|| "at no time".to_owned(), instant);
    let lives = issued.zip(end).map(|(issued, end)| end.saturating_sub(issued));
    let lives =
        lives.map(|life| format!(" (lives {})", span(life.unsigned_abs()))).unwrap_or_default();
    format!("issued {}, ends {}{lives}", of(issued), of(end))
}

/// Header and registered claims of a token, and the names of its other claims: their values
/// are nobody's business.
pub(super) fn header_and_claims(world: &World, token: &IdToken) -> Vec<String> {
    const REGISTERED: [&str; 5] = ["iss", "sub", "aud", "iat", "exp"];
    let clean = |text: &str| world.redactor.clean(text);
    let unverified = token.unverified();
    let (header, claims) = (&unverified.header, &unverified.claims);
    let of = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), clean);
    let raw = token.raw().expose();
    let mut lines = vec![
        format!(
            "header: alg {}, kid {}, typ {}",
            of(&header.alg),
            of(&header.kid),
            of(&header.typ)
        ),
        format!("issuer: {}", of(&claims.iss)),
        format!("subject: {}", of(&claims.sub)),
        match &claims.audiences[..] {
            [] => "audience: none".to_owned(),
            several => format!("audience: {}", clean(&several.join(", "))),
        },
        times(claims.iat, claims.exp),
    ];
    let others: Vec<String> = jwt::claim_names(raw)
        .into_iter()
        .filter(|name| !REGISTERED.contains(&name.as_str()))
        .collect();
    if !others.is_empty() {
        lines.push(format!("other claims: {}", clean(&others.join(", "))));
    }
    lines.push(format!("{} bytes", raw.len()));
    lines
}
