//! The token endpoint: the grant `client_credentials` (RFC 6749, 4.4), with the replies and the
//! refusals of Keycloak 26.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::State;
use crate::http::{self, Reply, Request};
use crate::server::lock;
use crate::token::TokenShape;

/// A body above this is refused (Keycloak's limit lies between 40 kB and 100 kB).
const LONGEST_BODY: usize = 64 * 1024;
const BAD_CREDENTIALS: &str = "Invalid client or Invalid client credentials";
/// The scopes that every token has, asked for or not.
const DEFAULT_SCOPE: &str = "profile email";

/// How a client shows who it is (OpenID Connect Core, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// In the `Authorization` header; id and secret form-encoded (RFC 6749, 2.3.1).
    ClientSecretBasic,
    /// In the form.
    ClientSecretPost,
}

impl AuthMethod {
    fn name(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// A client of the token endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    id: String,
    secret: String,
    only: Option<AuthMethod>,
    shape: TokenShape,
    scopes: BTreeSet<String>,
    grants_audience: bool,
}

impl Client {
    /// A client that may authenticate either way and gets default tokens with `azp` set.
    pub fn new(id: &str, secret: &str) -> Self {
        let scopes = ["openid", "profile", "email", "offline_access"];
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            only: None,
            shape: TokenShape::default(),
            scopes: scopes.map(str::to_owned).into(),
            grants_audience: false,
        }
    }

    /// The client's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Allows one method of authentication only.
    #[must_use]
    pub fn only(mut self, method: AuthMethod) -> Self {
        self.only = Some(method);
        self
    }

    /// The shape of this client's tokens; `azp` is added.
    #[must_use]
    pub fn shape(mut self, shape: TokenShape) -> Self {
        self.shape = shape;
        self
    }

    /// Knows this scope too.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scopes.insert(scope.to_owned());
        self
    }

    /// An `audience` in the request becomes the token's `aud`. Keycloak ignores the parameter,
    /// and so does a client without this; other issuers heed it.
    #[must_use]
    pub fn grants_audience(mut self) -> Self {
        self.grants_audience = true;
        self
    }
}

/// What was asked at the token endpoint. No secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The client, where the request named one.
    pub client_id: Option<String>,
    /// How it authenticated, where it did.
    pub method: Option<AuthMethod>,
    /// `grant_type`.
    pub grant_type: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `audience`.
    pub audience: Option<String>,
    /// The status of the reply.
    pub status: u16,
}

/// What the request says of the client.
struct Presented {
    id: String,
    secret: Option<String>,
    method: AuthMethod,
}

impl State {
    pub(super) fn token_endpoint(&self, path: &str, request: &Request) -> Reply {
        if request.method != "POST" {
            return http_error(405, "Method Not Allowed");
        }
        if request.body.len() > LONGEST_BODY {
            return http_error(413, "Request Entity Too Large");
        }
        let is_form = request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if is_form {
            http::parameters(&String::from_utf8_lossy(&request.body))
        } else {
            Vec::new()
        };
        let presented = presented(request, &form);
        let reply = self.grant(path, &form, presented.as_ref()).unwrap_or_else(|refusal| refusal);
        let presented = presented.ok().flatten();
        lock(&self.token_requests).push(TokenRequest {
            client_id: presented.as_ref().map(|presented| presented.id.clone()),
            method: presented
                .filter(|presented| presented.secret.is_some())
                .map(|presented| presented.method),
            grant_type: field(&form, "grant_type").map(str::to_owned),
            scope: field(&form, "scope").map(str::to_owned),
            audience: field(&form, "audience").map(str::to_owned),
            status: reply.status,
        });
        reply
    }

    fn grant(
        &self,
        path: &str,
        form: &[(String, String)],
        presented: Result<&Option<Presented>, &Reply>,
    ) -> Result<Reply, Reply> {
        let names: BTreeSet<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
        if names.len() < form.len() {
            return Err(error(400, "invalid_request", "duplicated parameter"));
        }
        match field(form, "grant_type") {
            Some("client_credentials") => {}
            Some(_) => {
                return Err(error(400, "unsupported_grant_type", "Unsupported grant_type"));
            }
            None => {
                let text = "Missing form parameter: grant_type";
                return Err(error(400, "invalid_request", text));
            }
        }
        let client = self.authenticate(presented.map_err(Clone::clone)?.as_ref())?;
        let mut scope = DEFAULT_SCOPE.to_owned();
        if let Some(asked) = field(form, "scope").filter(|asked| !asked.is_empty()) {
            if !asked.split(' ').all(|one| client.scopes.contains(one)) {
                let text = format!("Invalid scopes: {asked}");
                return Err(error(400, "invalid_scope", &text));
            }
            for one in asked.split(' ').filter(|one| !DEFAULT_SCOPE.split(' ').any(|s| s == *one)) {
                scope = format!("{scope} {one}");
            }
        }
        let mut shape = client.shape.clone().claim("azp", client.id.as_str());
        if !path.is_empty() {
            shape = shape.issuer(&format!("{}{path}", lock(&self.url)));
        }
        if client.grants_audience
            && let Some(audience) = field(form, "audience")
        {
            shape = shape.audience(audience);
        }
        let body = json!({
            "access_token": self.mint(&shape),
            "expires_in": shape.lifetime(),
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": scope,
        });
        Ok(Reply::json(200, body.to_string())
            .with("Cache-Control", "no-store")
            .with("Pragma", "no-cache"))
    }

    fn authenticate(&self, presented: Option<&Presented>) -> Result<Client, Reply> {
        let unknown = || error(401, "invalid_client", BAD_CREDENTIALS);
        let presented = presented.ok_or_else(unknown)?;
        let client = lock(&self.clients).get(&presented.id).cloned().ok_or_else(unknown)?;
        if let Some(only) = client.only.filter(|only| *only != presented.method) {
            let from = match only {
                AuthMethod::ClientSecretPost => "from the request",
                AuthMethod::ClientSecretBasic => "from the header",
            };
            let name = only.name();
            let text = format!(
                "Invalid method used to get client secret. Client requires method '{name}' to \
                 obtain client secret {from}"
            );
            return Err(error(401, "unauthorized_client", &text));
        }
        if presented.secret.as_ref() != Some(&client.secret) {
            return Err(error(401, "unauthorized_client", BAD_CREDENTIALS));
        }
        Ok(client)
    }
}

/// A `client_id` in the form beats the one in the header, as Keycloak has it.
fn presented(request: &Request, form: &[(String, String)]) -> Result<Option<Presented>, Reply> {
    let form_id = field(form, "client_id").map(str::to_owned);
    let Some((scheme, encoded)) =
        request.header("authorization").and_then(|value| value.split_once(' '))
    else {
        return Ok(form_id.map(|id| Presented {
            id,
            secret: field(form, "client_secret").map(str::to_owned),
            method: AuthMethod::ClientSecretPost,
        }));
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let text = STANDARD.decode(encoded.trim()).ok().and_then(|text| String::from_utf8(text).ok());
    let Some((id, secret)) = text.as_deref().and_then(|text| text.split_once(':')) else {
        return Ok(None);
    };
    let stray = || {
        let text = "Unexpected error when authenticating client";
        error(400, "unauthorized_client", text)
    };
    Ok(Some(Presented {
        id: form_id.map_or_else(|| http::form_decode(id).ok_or_else(stray), Ok)?,
        secret: Some(http::form_decode(secret).ok_or_else(stray)?),
        method: AuthMethod::ClientSecretBasic,
    }))
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn error(status: u16, code: &str, description: &str) -> Reply {
    let body = json!({ "error": code, "error_description": description });
    Reply::json(status, body.to_string()).with("Cache-Control", "no-store")
}

fn http_error(status: u16, text: &str) -> Reply {
    Reply::json(status, json!({ "error": format!("HTTP {status} {text}") }).to_string())
}
