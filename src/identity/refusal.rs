//! Why a token endpoint gives no token (RFC 6749 section 5.2), with what to change. The texts are
//! those of Keycloak and the numbers those of Entra, where the standard's codes say too little.

use serde_json::{Map, Value};

use super::discovery::UNASKED;
use super::grant::Grant;
use super::lookalike::Lookalike;
use crate::config::settings::{ClientAuth, SecretPlace};
use crate::failure::{Failure, StepFailure};
use crate::http::{Response, retry_after};
use crate::jwt::NotAJwt;
use crate::world::World;

/// Explains an answer without a token.
pub(super) fn explain(world: &World, grant: &Grant<'_>, reply: &Response) -> StepFailure {
    let json = reply.json();
    let refusal = json.as_ref().and_then(|json| Refusal::of(world, json));
    let failure = match &refusal {
        Some(refusal) => of_refusal(world, grant, reply.status, refusal),
        None => of_status(world, grant, reply),
    };
    let retry_after = retry_after(reply, world.clock.wall());
    StepFailure { retry_after, ..StepFailure::network(failure) }
}

/// A 200 without what was asked for.
pub(super) fn no_access_token(world: &World, grant: &Grant<'_>) -> StepFailure {
    StepFailure::network(Failure::new(
        format!("{} answered 200 without an `access_token`", grant.server(world)),
        format!("see that it is the provider's: {}", url_key(grant)),
    ))
}

/// Something that is recognised, and is no token.
pub(super) fn no_token(world: &World, grant: &Grant<'_>, found: &Lookalike) -> StepFailure {
    StepFailure::network(Failure::new(
        format!("{} gave {} as its `access_token`", grant.server(world), found.what),
        format!("see that it is the provider's: {}", url_key(grant)),
    ))
}

/// A token that cannot be presented to Quay, of so many segments with dots between.
pub(super) fn no_jwt(
    world: &World,
    grant: &Grant<'_>,
    fault: NotAJwt,
    segments: usize,
) -> StepFailure {
    let hint = match segments {
        1 => {
            "ask the provider for JWT access tokens: Auth0 by `audience`, Zitadel by the service \
             user's token type, Ory Hydra by `strategies.access_token`"
        }
        5 => "turn the encryption of access tokens off at the provider",
        _ => "let the provider issue its access tokens as JWTs",
    };
    let cause = format!("{} gave a token that {fault}", grant.server(world));
    StepFailure::network(Failure::new(cause, hint))
}

/// What a provider says in its JSON, made fit to be shown.
struct Refusal {
    error: String,
    description: String,
    /// Entra's numbers (`error_codes`).
    numbers: Vec<u64>,
}

impl Refusal {
    fn of(world: &World, json: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let numbers = json.get("error_codes").and_then(Value::as_array);
        Some(Self {
            error: world.redactor.clean(text("error")?),
            description: world.redactor.clean(text("error_description").unwrap_or_default()),
            numbers: numbers.into_iter().flatten().filter_map(Value::as_u64).collect(),
        })
    }

    /// Whether `error` is a code of the standard's form rather than a sentence.
    fn has_code(&self) -> bool {
        self.error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    fn says(&self, text: &str) -> bool {
        self.error.contains(text) || self.description.contains(text)
    }
}

fn of_refusal(world: &World, grant: &Grant<'_>, status: u16, refusal: &Refusal) -> Failure {
    let endpoint = grant.server(world);
    let mut cause = if refusal.has_code() {
        format!("{endpoint} refused client `{}`: `{}`", grant.client_id, refusal.error)
    } else {
        format!("{endpoint} answered {status}: {}", refusal.error)
    };
    if !refusal.description.is_empty() {
        cause = format!("{cause} ({})", refusal.description);
    }
    Failure::new(cause, hint_of(grant, status, refusal))
}

/// The key that says where the token endpoint is.
fn url_key(grant: &Grant<'_>) -> String {
    grant.identity.place.key_of(&["token_endpoint", "issuer"])
}

/// Where the client's secret is, and the key that says so.
fn secret(grant: &Grant<'_>) -> String {
    let key = grant.identity.place.key(grant.client_secret.key());
    match grant.client_secret {
        SecretPlace::File(path) => format!("`{}` ({key})", path.display()),
        SecretPlace::Variable(name) if *name == key => format!("the variable {name}"),
        SecretPlace::Variable(name) => format!("the variable {name} ({key})"),
        SecretPlace::Credential(name) => format!("the systemd credential `{name}` ({key})"),
    }
}

fn hint_of(grant: &Grant<'_>, status: u16, refusal: &Refusal) -> String {
    let place = &grant.identity.place;
    if refusal.numbers.contains(&900_144) || refusal.says("AADSTS900144") {
        let scopes = place.key_with("scopes", "APP-ID-URI/.default");
        return format!(
            "Entra needs a scope: set {scopes}, with the App ID URI of the resource app"
        );
    }
    let known = ENTRA.iter().find(|(number, _)| refusal.numbers.contains(number));
    if let Some((_, hint)) = known {
        return (*hint).to_owned();
    }
    let known = SENTENCES.iter().find(|(sentence, _)| refusal.says(sentence));
    if let Some((_, hint)) = known {
        return (*hint).to_owned();
    }
    if refusal.says("405 Method Not Allowed") {
        return format!("the URL is not a token endpoint: correct {}", url_key(grant));
    }
    if refusal.error == "unauthorized_client" && refusal.says(OF_KEYCLOAK) {
        return format!(
            "the secret is wrong: compare that in {} with the provider's",
            secret(grant)
        );
    }
    if refusal.says("Invalid method used") {
        let other = match grant.client_auth {
            ClientAuth::ClientSecretBasic => ClientAuth::ClientSecretPost,
            ClientAuth::ClientSecretPost => ClientAuth::ClientSecretBasic,
        };
        return format!("set {}", place.key_with("client_auth", other.name()));
    }
    match refusal.error.as_str() {
        "invalid_client"
            if grant.client_auth == ClientAuth::ClientSecretBasic
                && grant.is_changed_by_encoding
                && !refusal.says(OF_KEYCLOAK) =>
        {
            format!(
                "the client is unknown or disabled there, or its secret is wrong: compare {}, and \
                 the secret in {}, with the provider's; if they match, it does not decode their \
                 special characters in the Authorization header: set `client_auth = \"{}\"`",
                place.key("client_id"),
                secret(grant),
                ClientAuth::ClientSecretPost.name()
            )
        }
        "invalid_client" => format!(
            "the client is unknown or disabled there, its secret is wrong, or it must authenticate \
             by other means: compare {}, and the secret in {}, with the provider's",
            place.key("client_id"),
            secret(grant)
        ),
        "unauthorized_client" => format!(
            "the secret is wrong, or this client may not use the grant: compare the secret in {} \
             with the provider's, then see what the client is allowed",
            secret(grant)
        ),
        "invalid_scope" if grant.scopes.is_empty() => {
            format!("the provider wants a scope: set {}", place.key("scopes"))
        }
        "invalid_scope" => format!(
            "correct {} (`{}`), or give these scopes to the client",
            place.key("scopes"),
            grant.scopes.join("`, `")
        ),
        "invalid_target" => {
            format!("correct {}, or let the client ask for it", place.key("audience"))
        }
        "unsupported_grant_type" => {
            "the provider has no client credentials grant, or has it switched off".to_owned()
        }
        "temporarily_unavailable" | "server_error" => {
            "the provider says that this passes: try again later".to_owned()
        }
        _ => match status {
            404 => format!("correct {}", url_key(grant)),
            429 => "the provider is asked too often; the next try waits".to_owned(),
            500..=599 => "the provider failed; its log has the cause".to_owned(),
            _ => {
                format!("see the provider's log, and the client there ({})", place.key("client_id"))
            }
        },
    }
}

/// What Keycloak says of every client and secret that are wrong. It decodes what Basic carries.
const OF_KEYCLOAK: &str = "Invalid client or Invalid client cred";

/// Entra's numbers that are worth a hint. It decides by `error` alone; these only explain.
const ENTRA: [(u64, &str); 9] = [
    (90_002, "no such tenant: compare the tenant in the URL with its ID at Entra"),
    (
        900_382,
        "the tenant is in another cloud: take the URL of that cloud, such as that of Azure Government",
    ),
    (
        1_002_012,
        "`scopes` must hold one `APP-ID-URI/.default`: client credentials take no other scope",
    ),
    (700_016, "no such client in that tenant: compare `client_id` and the tenant in the URL"),
    (
        500_011,
        "no such resource in that tenant: `scopes` must hold `APP-ID-URI/.default` of an app there",
    ),
    (7_000_215, "the secret is wrong: its value is needed, not its ID"),
    (7_000_222, "the secret has expired: make a new one for the app registration"),
    (70_011, "`scopes` must hold one `APP-ID-URI/.default`"),
    (501_051, "assign the resource's app role to the client's service principal"),
];

/// What Keycloak writes where its codes say too little.
const SENTENCES: [(&str, &str); 11] = [
    (
        "Client not enabled to retrieve service account",
        "switch the client's service accounts on (Keycloak: client, Capability config)",
    ),
    (
        "Public client not allowed",
        "switch the client's authentication and service accounts on (Keycloak: client, Capability \
         config)",
    ),
    (
        "service account for the client does not exist",
        "the service account's user is gone: switch service accounts off and on; its new subject \
         belongs into the robot account's federation",
    ),
    ("User 'service-account-", "enable the user of the client's service account"),
    (
        "client_assertion_type is missing",
        "the client is set to a signed JWT: set its authenticator to client id and secret",
    ),
    (
        "Missing client_id parameter",
        "the client is set to a certificate: set its authenticator to client id and secret",
    ),
    ("Realm does not exist", "correct the realm's name in the URL: upper and lower case count"),
    (
        "Unable to find matching target resource method",
        "the path is not the provider's: since Keycloak 17 there is no `/auth` before `/realms`",
    ),
    ("Realm not enabled", "the realm is switched off: an administrator of Keycloak can enable it"),
    ("HTTPS required", "use an https URL: the realm demands it"),
    ("413 Request Entity Too Large", "the request is too large: see `scopes` and the secret"),
];

/// An answer without JSON: a page, a line, or nothing. No page is ever shown.
fn of_status(world: &World, grant: &Grant<'_>, reply: &Response) -> Failure {
    let (status, url) = (reply.status, url_key(grant));
    let endpoint = grant.server(world);
    let (cause, hint) = match status {
        200 if reply.is_compressed() => {
            (format!("{endpoint} answered {}", reply.instead_of_json()), UNASKED.to_owned())
        }
        200 => (
            format!("{endpoint} answered 200 {}", reply.instead_of_json()),
            format!("it is not the provider's: correct {url}"),
        ),
        300..=399 => {
            let host = world.redactor.clean(&reply.redirects_to().unwrap_or_default());
            (
                format!(
                    "{endpoint} answered {status}, a redirect to `{host}`, which is not followed"
                ),
                format!("set {url} to where it really is"),
            )
        }
        404 => (format!("{endpoint} does not exist (404)"), format!("correct {url}")),
        405 => (
            format!("{endpoint} takes no POST (405)"),
            format!("it is not a token endpoint: correct {url}"),
        ),
        413 => (
            format!("{endpoint} finds the request too large (413)"),
            format!(
                "see {} and the secret in {}",
                grant.identity.place.key("scopes"),
                secret(grant)
            ),
        ),
        429 => (
            format!("{endpoint} is asked too often (429)"),
            "try again later; see how many hosts share this client".to_owned(),
        ),
        500..=599 => {
            let wait = retry_after(reply, world.clock.wall())
                .map(|wait| format!(", and asks to wait {} s", wait.as_secs()));
            (
                format!("{endpoint} cannot be used now ({status}{})", wait.unwrap_or_default()),
                "the provider, or what stands before it, is down or starting: try again later"
                    .to_owned(),
            )
        }
        _ => (
            format!("{endpoint} answered {status} with something that is not the provider's"),
            format!(
                "a gateway or login page answers in its place: check {url} and what \
                 stands before the provider"
            ),
        ),
    };
    Failure::new(cause, hint)
}
