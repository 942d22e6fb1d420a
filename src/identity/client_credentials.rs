//! The OAuth 2.0 client credentials grant (RFC 6749 section 4.4), the client with a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::discovery::{SealingClient, discover};
use super::grant::Grant;
use super::token_endpoint::request_token;
use super::{Discovered, Fetched};
use crate::config::place::AtKey;
use crate::config::settings::{ClientAuth, ClientCredentials, Endpoint, Identity, SecretPlace};
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::http::Transport;
use crate::ownership::{Readers, read_secret_file};
use crate::secret::Secret;
use crate::world::World;

/// Gets an access token from the provider, by `deadline`; discovery included, unless the endpoint
/// is given or was discovered before. One that was discovered before and fails may have moved, or
/// want the secret in another way: the issuer is asked how it is now, and another way is tried.
pub(super) fn fetch(
    world: &World,
    transport: &dyn Transport,
    identity: &Identity,
    settings: &ClientCredentials,
    discovered: Option<Discovered>,
    deadline: Deadline,
) -> Result<Fetched, StepFailure> {
    let secret = secret_to_send(world, identity, settings).map_err(StepFailure::local)?;
    let token_of = |endpoint: &Url, listed: ClientAuth| {
        let client_auth = settings.client_auth.unwrap_or(listed);
        let grant = Grant {
            identity,
            endpoint,
            client_id: &settings.client_id,
            client_auth,
            client_secret: &settings.client_secret,
            is_changed_by_encoding: is_changed_by_encoding(&settings.client_id, &secret),
            scopes: &settings.scopes,
            form: form(world, settings, client_auth, &secret),
            authorization: authorization(world, settings, client_auth, &secret),
        };
        request_token(world, transport, grant, deadline)
    };
    let issuer = match &settings.endpoint {
        Endpoint::Discovered { issuer } => issuer,
        Endpoint::Given { token_endpoint, .. } => {
            let token = token_of(token_endpoint, ClientAuth::default())?;
            return Ok(Fetched { token, discovered: None });
        }
    };
    let client = SealingClient { issuer, client_id: &settings.client_id, secret: &secret };
    let by = |found: Discovered| {
        let token = token_of(&found.token_endpoint, found.client_auth)?;
        Ok(Fetched { token, discovered: Some(found) })
    };
    let discover = || {
        let read = world.now();
        let way = discover(world, transport, identity, issuer, deadline)?;
        Ok(client.sealed(way, read))
    };
    let Some(known) = discovered.filter(|known| client.has_sealed(known)) else {
        return by(discover()?);
    };
    let failed = match by(known.clone()) {
        Err(failed) if failed.kind == StepFailureKind::Network && failed.retry_after.is_none() => {
            failed
        }
        fetched => return fetched,
    };
    match discover() {
        Ok(now) if is_another_way(settings, &now, &known) => by(now),
        _ => Err(failed),
    }
}

/// Whether a request that failed goes another way now.
fn is_another_way(settings: &ClientCredentials, now: &Discovered, before: &Discovered) -> bool {
    now.token_endpoint != before.token_endpoint
        || (settings.client_auth.is_none() && now.client_auth != before.client_auth)
}

/// Reads the client's secret where it is to be sent: its file must be fit for that, too.
pub(super) fn secret_to_send(
    world: &World,
    identity: &Identity,
    settings: &ClientCredentials,
) -> Result<Secret<String>, Failure> {
    let readers = if settings.allow_readable_secret { Readers::Anybody } else { Readers::NoOthers };
    read_secret(world, &settings.client_secret, readers)
        .map_err(|fault| fault.placed(&identity.place))
}

/// Reads the client's secret. From then on it is removed from whatever is shown.
pub(super) fn read_secret(
    world: &World,
    place: &SecretPlace,
    readers: Readers,
) -> Result<Secret<String>, AtKey> {
    let read = match place {
        SecretPlace::File(path) => read_secret_file(world, path, readers),
        SecretPlace::Variable(name) => {
            let fault = |what: &str| {
                Failure::new(
                    format!("the variable `{name}`, which should hold the client secret, {what}"),
                    "set it where podman or docker runs (sudo drops variables), or name another \
                     one",
                )
            };
            match world.environment.secret(name) {
                Ok(Some(secret)) => {
                    world.redactor.remember(&secret);
                    Ok(secret)
                }
                Ok(None) => Err(fault(world.environment.why_absent(name))),
                Err(_) => Err(fault("is not text")),
            }
        }
        SecretPlace::Credential(name) => match world.environment.path("CREDENTIALS_DIRECTORY") {
            Some(folder) => read_secret_file(world, &folder.join(name), readers),
            None => Err(Failure::new(
                format!("there is no systemd credential `{name}`: no $CREDENTIALS_DIRECTORY"),
                format!("run this in a unit that has `LoadCredential={name}:FILE`"),
            )),
        },
    };
    read.map_err(|failure| AtKey { key: place.key(), failure })
}

/// The form of the request, with the client in it where it is not in the header.
fn form(
    world: &World,
    settings: &ClientCredentials,
    client_auth: ClientAuth,
    secret: &Secret<String>,
) -> Secret<String> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if client_auth == ClientAuth::ClientSecretPost {
        form.append_pair("client_id", &settings.client_id);
        form.append_pair("client_secret", secret.expose());
        world.redactor.remember(&form_encoded(secret.expose()));
    }
    if !settings.scopes.is_empty() {
        form.append_pair("scope", &settings.scopes.join(" "));
    }
    if let Some(audience) = &settings.audience {
        form.append_pair("audience", audience);
    }
    Secret::new(form.finish())
}

/// The Authorization header: identifier and secret are form-encoded first, which is easy to
/// forget (RFC 6749 section 2.3.1).
fn authorization(
    world: &World,
    settings: &ClientCredentials,
    client_auth: ClientAuth,
    secret: &Secret<String>,
) -> Option<Secret<String>> {
    if client_auth != ClientAuth::ClientSecretBasic {
        return None;
    }
    let id = form_encoded(&settings.client_id);
    let credentials =
        Secret::new(format!("{}:{}", id.expose(), form_encoded(secret.expose()).expose()));
    let encoded = Secret::new(STANDARD.encode(credentials.expose()));
    world.redactor.remember(&encoded);
    Some(Secret::new(format!("Basic {}", encoded.expose())))
}

/// Whether Basic carries other characters than those of identifier and secret: there are providers
/// that do not decode them.
fn is_changed_by_encoding(client_id: &str, secret: &Secret<String>) -> bool {
    [client_id, secret.expose()].iter().any(|text| form_encoded(text).expose() != text)
}

fn form_encoded(text: &str) -> Secret<String> {
    Secret::new(byte_serialize(text.as_bytes()).collect())
}
