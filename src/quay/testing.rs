//! A rule, and tokens to present, for unit tests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::config::place::Place;
use crate::config::settings::{
    ClientCredentials, Connection, Endpoint, Identity, OnError, Rule, SecretPlace, SourceSpec,
};
use crate::failure::StepFailure;
use crate::http::testing::NOW;
use crate::robot::RobotName;
use crate::server::Server;

/// The rule of the README's first example.
pub(crate) fn rule() -> Rule {
    rule_with(SourceSpec::ClientCredentials(ClientCredentials {
        endpoint: Endpoint::Discovered { issuer: ISSUER.to_owned() },
        client_id: "build-host".to_owned(),
        client_auth: None,
        client_secret: SecretPlace::File("/etc/quayfed/client-secret".into()),
        allow_readable_secret: false,
        audience: None,
        scopes: Vec::new(),
    }))
}

/// The same with another source.
pub(crate) fn rule_with(source: SourceSpec) -> Rule {
    Rule {
        server: Server::parse("quay.example.com").expect("a server"),
        robot: RobotName::parse("fed_test+robot1").expect("a robot"),
        identity: Identity {
            name: "keycloak".to_owned(),
            source,
            connection: Connection::default(),
            timeout: Duration::from_secs(8),
            place: Place::example(5, &IDENTITY_KEYS),
        }
        .into(),
        api_url: Url::parse("https://quay.example.com").expect("a URL"),
        connection: Connection::default(),
        deadline: Duration::from_secs(25),
        exchange_timeout: Duration::from_secs(15),
        min_validity: None,
        on_error: OnError::Fail,
        place: Place::example(1, &["robot", "identity"]),
    }
}

const IDENTITY_KEYS: [&str; 4] = ["source", "issuer", "client_id", "client_secret_file"];

pub(crate) const ISSUER: &str = "https://sso.example.com/realms/quayrealm";

/// A token that Quay accepts, five minutes long.
pub(crate) fn oidc_token() -> String {
    jwt(&good_header(), &good_claims())
}

pub(crate) fn good_header() -> Value {
    json!({"alg": "RS256", "kid": "key-1", "typ": "JWT"})
}

pub(crate) fn good_claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e",
        "aud": "quay",
        "iat": NOW - 10,
        "exp": NOW + 290,
    })
}

/// A JWT with a signature of no worth.
pub(crate) fn jwt(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.c2ln", encode(header), encode(claims))
}

/// A failure as a person sees it.
pub(crate) fn shown(failed: &StepFailure) -> String {
    let (cause, hint) = (failed.failure.cause(), failed.failure.hint());
    assert!(!cause.ends_with('.') && !hint.ends_with('.'), "a full stop: {failed:?}");
    format!("{cause}\nhint: {hint}")
}
