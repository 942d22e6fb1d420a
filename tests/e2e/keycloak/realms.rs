//! The realms that Keycloak imports, and the clients in them: each as a build host's client should
//! be, but for one thing.

use serde_json::{Map, Value, json};

/// The secret of every client. Each of its signs means something in a form or in a header.
pub(crate) const SECRET: &str = "s3cr3t of builder/+%";
/// What tokens of the realm `ci` live, in seconds.
pub(crate) const TOKEN_LIFE: u64 = 10;
/// The client that may do everything to the realm `ci`.
pub(crate) const ADMINISTRATOR: &str = "administrator";
/// What the realm `fronted` calls itself, wherever it is.
pub(crate) const FRONT: &str = "https://sso.example.com";

/// A client with what sets it apart, and with what sets its service account's user apart.
struct Client {
    realm: &'static str,
    id: &'static str,
    differs: Value,
    user_differs: Value,
}

fn clients() -> Vec<Client> {
    let client = |realm, id, differs| Client { realm, id, differs, user_differs: json!({}) };
    let attribute = |name: &str, value: &str| json!({ "attributes": { name: value } });
    let only = |method: &str| attribute("client.secret.authentication.allowed.method", method);
    vec![
        client("ci", "builder", json!({})),
        client("ci", "only-post", only("client_secret_post")),
        client("ci", "only-basic", only("client_secret_basic")),
        client("ci", "es256", attribute("access.token.signed.response.alg", "ES256")),
        client("ci", "light", attribute("client.use.lightweight.access.token.enabled", "true")),
        client(
            "ci",
            "no-subject",
            json!({
                "attributes": { "client_credentials.use_refresh_token": "true" },
                "defaultClientScopes": ["profile", "email"],
            }),
        ),
        Client {
            realm: "ci",
            id: "no-mapper",
            differs: json!({ "fullScopeAllowed": true, "protocolMappers": [] }),
            user_differs: json!({ "realmRoles": ["default-roles-ci"] }),
        },
        client("ci", "disabled", json!({ "enabled": false })),
        client("ci", "no-service-account", json!({ "serviceAccountsEnabled": false })),
        client("ci", "public", json!({ "publicClient": true, "serviceAccountsEnabled": false })),
        client("ci", "orphan", json!({})),
        client("ci", "switched", json!({})),
        client("ci", "rotated", json!({})),
        client("ci", "signed-jwt", json!({ "clientAuthenticatorType": "client-jwt" })),
        client("ci", "certificate", json!({ "clientAuthenticatorType": "client-x509" })),
        client("ci", "federated", json!({ "clientAuthenticatorType": "federated-jwt" })),
        Client {
            realm: "ci",
            id: "suspended",
            differs: json!({}),
            user_differs: json!({ "enabled": false }),
        },
        Client {
            realm: "ci",
            id: ADMINISTRATOR,
            differs: json!({ "fullScopeAllowed": true }),
            user_differs: json!({ "clientRoles": { "realm-management": ["realm-admin"] } }),
        },
        client("curves", "bent", json!({})),
        client("curves", "mended", attribute("access.token.signed.response.alg", "RS256")),
        client("fronted", "behind-a-front", json!({})),
        client("closed", "shut-out", json!({})),
    ]
}

/// The realms, as Keycloak imports and exports them.
pub(crate) fn all() -> [Value; 4] {
    [
        realm("ci", json!({ "accessTokenLifespan": TOKEN_LIFE })),
        realm("curves", json!({ "defaultSignatureAlgorithm": "ES256" })),
        realm("fronted", json!({ "attributes": { "frontendUrl": FRONT } })),
        realm("closed", json!({ "enabled": false })),
    ]
}

/// The `sub` of a client's tokens: the UUID of the user that is its service account.
pub(crate) fn subject_of(client: &str) -> String {
    format!("00000000-0000-4000-8000-{:012}", number_of(client))
}

/// What the administrators' API calls a client.
pub(crate) fn internal_id_of(client: &str) -> String {
    format!("00000000-0000-4000-9000-{:012}", number_of(client))
}

fn number_of(client: &str) -> usize {
    let at = clients().iter().position(|known| known.id == client);
    at.unwrap_or_else(|| panic!("no realm has the client `{client}`")) + 1
}

fn realm(name: &str, differs: Value) -> Value {
    let clients: Vec<Client> =
        clients().into_iter().filter(|client| client.realm == name).collect();
    let base = json!({
        "realm": name,
        "enabled": true,
        "users": clients.iter().filter_map(Client::user).collect::<Vec<_>>(),
        "clients": clients.iter().map(Client::document).collect::<Vec<_>>(),
    });
    with(base, differs)
}

impl Client {
    fn document(&self) -> Value {
        let base = json!({
            "id": internal_id_of(self.id),
            "clientId": self.id,
            "secret": SECRET,
            "serviceAccountsEnabled": true,
            "standardFlowEnabled": false,
            "fullScopeAllowed": false,
            "protocolMappers": [{
                "name": "audience of Quay",
                "protocol": "openid-connect",
                "protocolMapper": "oidc-audience-mapper",
                "config": { "included.custom.audience": "quay", "access.token.claim": "true" },
            }],
        });
        with(base, self.differs.clone())
    }

    /// Its service account's user, named so that `sub` is known.
    fn user(&self) -> Option<Value> {
        let base = json!({
            "id": subject_of(self.id),
            "username": format!("service-account-{}", self.id),
            "enabled": true,
            "serviceAccountClientId": self.id,
        });
        let has_one = self.document()["serviceAccountsEnabled"] == true;
        has_one.then(|| with(base, self.user_differs.clone()))
    }
}

/// One object over another.
fn with(base: Value, differs: Value) -> Value {
    let fields = |value| match value {
        Value::Object(fields) => fields,
        other => panic!("an object is wanted instead of {other}"),
    };
    let (base, differs): (Map<_, _>, Map<_, _>) = (fields(base), fields(differs));
    base.into_iter().chain(differs).collect()
}
