//! Sources of OIDC tokens. Where the next source goes: one file in `identity/`, one variant of
//! [`SourceSpec`] with its settings, and the one arm in [`fetch`] that the compiler then asks for
//! (with one in [`at_hand`], where its tokens are told apart by something new).

mod client_credentials;
mod discovery;
mod grant;
mod lookalike;
mod refusal;
mod token_endpoint;
mod token_file;
mod token_variable;

use ring::hmac;
use url::Url;

use crate::config::place::AtKey;
use crate::config::settings::{Bearer, ClientAuth, Identity, JsonField, SecretPlace, SourceSpec};
use crate::deadline::Deadline;
use crate::digest::hex;
use crate::failure::{Failure, StepFailure};
use crate::http::Transport;
use crate::jwt::{self, NotAJwt, UnverifiedToken};
use crate::moment::Moment;
use crate::ownership::Readers;
use crate::secret::Secret;
use crate::world::World;
use lookalike::Lookalike;

/// An OIDC token that can be one: a JWT of three segments with readable header and claims and
/// without white space inside (rules R11 and R19). Nobody has verified its signature.
#[derive(Clone, Debug)]
pub struct IdToken {
    raw: Secret<String>,
    unverified: UnverifiedToken,
}

impl IdToken {
    /// Takes a token as its source gave it, without white space around it.
    pub fn parse(raw: Secret<String>) -> Result<Self, NotAJwt> {
        let unverified = jwt::peek(raw.expose())?;
        Ok(Self { raw, unverified })
    }

    /// The token itself.
    pub const fn raw(&self) -> &Secret<String> {
        &self.raw
    }

    /// What it says of itself.
    pub const fn unverified(&self) -> &UnverifiedToken {
        &self.unverified
    }
}

/// What an issuer's discovery document said, for the cache entry to keep for 24 hours. It counts
/// for this issuer and this client alone, and only under the client's own seal: the secret is sent
/// to the endpoint, and whoever can write an entry must not say where that is (R30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The issuer that was asked, as it is configured.
    pub issuer: String,
    /// Its token endpoint.
    pub token_endpoint: Url,
    /// How clients authenticate there, where the configuration does not say.
    pub client_auth: ClientAuth,
    /// When the document was read.
    pub read: Moment,
    /// What only the holder of the client's secret can make of all this.
    pub seal: Seal,
}

/// An HMAC-SHA256.
pub type Seal = [u8; 32];

/// What a source has at hand without asking the network (rules R10 and R11).
#[derive(Clone, Debug, Default)]
pub struct AtHand {
    /// What tells this bearer apart from others with the same settings; not a secret.
    pub key: Option<String>,
    /// The token, where the source holds one.
    pub token: Option<IdToken>,
}

/// An OIDC token with what was learnt on the way to it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The token.
    pub token: IdToken,
    /// What discovery said, now or earlier, where the source has it.
    pub discovered: Option<Discovered>,
}

/// Looks at what the source holds on this host. A secret or token that is missing, or a token that
/// is none, is a failure here, before anything is sent; an expired token is not.
pub fn at_hand(world: &World, bearer: &Bearer) -> Result<AtHand, AtKey> {
    let secret_key = |place: &SecretPlace| {
        let secret = client_credentials::read_secret(world, place, Readers::NotAsked)?;
        Ok(AtHand { key: Some(key_of_secret(&secret)), token: None })
    };
    match bearer {
        Bearer::Settings => Ok(AtHand::default()),
        Bearer::SecretVariable(name) => secret_key(&SecretPlace::Variable(name.clone())),
        Bearer::Credential(name) => secret_key(&SecretPlace::Credential(name.clone())),
        Bearer::TokenFile(settings) => token_file::read(world, settings).map(AtHand::of_token),
        Bearer::TokenVariable(settings) => {
            token_variable::read(world, settings).map(AtHand::of_token)
        }
    }
}

/// Looks whether a fetch could read the secret that it has to send; a source without one is fine.
pub fn check_secret(world: &World, identity: &Identity) -> Result<(), Failure> {
    match &identity.source {
        SourceSpec::ClientCredentials(settings) => {
            client_credentials::secret_to_send(world, identity, settings).map(|_| ())
        }
        SourceSpec::File(_) | SourceSpec::Env(_) => Ok(()),
    }
}

/// Whether a fetch asks somebody over the network.
pub const fn asks_network(source: &SourceSpec) -> bool {
    match source {
        SourceSpec::ClientCredentials(_) => true,
        SourceSpec::File(_) | SourceSpec::Env(_) => false,
    }
}

/// Gets an OIDC token from the identity's source by `deadline`. `discovered` is what an earlier
/// fetch is said to have learnt, if it is not too old; `at_hand` is what [`at_hand`] said in this run. After a
/// failure the caller forgets what was discovered: the endpoint may have moved.
pub fn fetch(
    world: &World,
    transport: &dyn Transport,
    identity: &Identity,
    discovered: Option<Discovered>,
    at_hand: AtHand,
    deadline: Deadline,
) -> Result<Fetched, StepFailure> {
    let held = |read: Result<IdToken, AtKey>| {
        read.map(|token| Fetched { token, discovered: None })
            .map_err(|fault| StepFailure::local(fault.placed(&identity.place)))
    };
    match &identity.source {
        SourceSpec::ClientCredentials(settings) => {
            client_credentials::fetch(world, transport, identity, settings, discovered, deadline)
        }
        SourceSpec::File(settings) => {
            held(at_hand.token.map_or_else(|| token_file::read(world, settings), Ok))
        }
        SourceSpec::Env(settings) => {
            held(at_hand.token.map_or_else(|| token_variable::read(world, settings), Ok))
        }
    }
}

impl AtHand {
    fn of_token(token: IdToken) -> Self {
        Self { key: Some(key_of_token(token.unverified())), token: Some(token) }
    }
}

/// A token that a holder (such as "the file `/x`"), named by a key, holds as text or at a path in
/// JSON.
fn held_token(
    world: &World,
    (key, holder): (&'static str, &str),
    text: &str,
    json_field: Option<&JsonField>,
) -> Result<IdToken, AtKey> {
    const JSON_FIELD: &str = "json_field";
    let no_token = |at: &str, found: Lookalike| {
        let cause = format!("{holder} should hold the OIDC token{at}, but holds {}", found.what);
        let key = if found.is_about_json { JSON_FIELD } else { key };
        AtKey { key, failure: Failure::new(cause, found.hint) }
    };
    if let Some(found) = lookalike::of_bytes(text.as_bytes()) {
        return Err(no_token("", found));
    }
    let text = text.trim();
    let token = match json_field {
        None => Secret::new(text.to_owned()),
        Some(field) => {
            let fault = |what: &str, hint: &str| {
                let cause = format!("{holder} {what}, so `json_field` `{}` finds nothing", field.0);
                AtKey { key: JSON_FIELD, failure: Failure::new(cause, hint) }
            };
            let document: serde_json::Value = serde_json::from_str(text).map_err(|_| {
                fault("is not JSON", "leave `json_field` out where the whole text is the token")
            })?;
            let found = field.find(&document).ok_or_else(|| {
                fault("has no text there", "it is a path such as `access_token` or `svids.0.svid`")
            })?;
            Secret::new(found.trim().to_owned())
        }
    };
    world.redactor.remember(&token);
    // What is a token, as it is at nearly every `get`, is not looked at again.
    let fault = match jwt::peek(token.expose()) {
        Ok(unverified) => return Ok(IdToken { raw: token, unverified }),
        Err(fault) => fault,
    };
    Err(match (lookalike::of_text(token.expose()), json_field) {
        (Some(found), None) => no_token("", found),
        (Some(found), Some(field)) if !found.is_about_json => {
            no_token(&format!(" at `{}`", field.0), found)
        }
        _ => AtKey {
            key,
            failure: Failure::new(
                format!("the token in {holder} {fault}"),
                "Quay takes OIDC tokens alone: a JWT, as an issuer signs it",
            ),
        },
    })
}

/// The bearer of a token: its issuer, subject and audiences as a set, in JSON, so that no value
/// can be taken for two.
fn key_of_token(token: &UnverifiedToken) -> String {
    let claims = &token.claims;
    let mut audiences = claims.audiences.clone();
    audiences.sort();
    audiences.dedup();
    serde_json::json!([claims.iss, claims.sub, audiences]).to_string()
}

/// The bearer of a secret: HMAC-SHA256 with the secret as key over a fixed label, in hex. It tells
/// secrets apart without saying what they are; one that can be guessed can be guessed from it, and
/// so the cache that holds it is the caller's alone.
fn key_of_secret(secret: &Secret<String>) -> String {
    const LABEL: &[u8] = b"quayfed: which secret a cached token was obtained with";
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hex(hmac::sign(&key, LABEL).as_ref())
}

#[cfg(test)]
mod tests;
