//! The exchange: an OIDC token for a robot token, with Quay's checks in Quay's order.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{
    Binding, Registry, Robot, Version, basic_credentials, json_line, pages, robot_namespace,
};
use crate::client::{self, Failure};
use crate::http::{self, Reply, Request};
use crate::server::{Answer, lock};
use crate::token::{self, Expected, Parsed};

/// Where no reverse proxy sets a limit.
const NO_LIMIT: Duration = Duration::from_hours(24);

/// Why there is no robot token.
enum Refusal {
    /// 401: the header.
    Unauthorized(&'static str),
    /// 400: the token, the robot or its federation.
    BadRequest(String),
    /// An exception that Quay does not catch.
    Exception,
    /// Quay's worker dies of an issuer that it cannot reach.
    WorkerLost,
    /// The reverse proxy has waited long enough.
    ProxyTimeout,
}

impl Registry {
    pub(super) fn exchange(&self, request: &Request) -> Answer {
        match self.robot_token_for(request) {
            Ok(token) => Reply::json(200, json_line(&json!({ "token": token }))).into(),
            Err(Refusal::Unauthorized(text)) => {
                Reply::json(401, json_line(&json!({ "error": text }))).into()
            }
            Err(Refusal::BadRequest(text)) => {
                Reply::json(400, json_line(&json!({ "message": text }))).into()
            }
            Err(Refusal::Exception) => pages::internal_server_error().into(),
            Err(Refusal::WorkerLost) if lock(&self.state).reverse_proxy => {
                pages::quay_loading().into()
            }
            Err(Refusal::WorkerLost) => Answer::Close,
            Err(Refusal::ProxyTimeout) => pages::gateway_timeout().into(),
        }
    }

    fn robot_token_for(&self, request: &Request) -> Result<String, Refusal> {
        let begin = Instant::now();
        let header = request.header("authorization").filter(|header| !header.is_empty());
        let header = header.ok_or(Refusal::Unauthorized("No auth header"))?;
        let (name, oidc_token) = basic_credentials(header).map_err(Refusal::Unauthorized)?;
        if robot_namespace(&name).is_none() {
            return Err(Refusal::Unauthorized("Invalid robot"));
        }
        let robot = self.robot(&name)?;
        let token = Parsed::new(&oidc_token).ok_or(Refusal::Exception)?;
        let issuer = issuer_of(&token)?;
        let (subjects, audiences) = matching(&robot.federation, &issuer)?;
        self.verify(&token, &issuer, audiences, begin)?;
        if !token.text("sub").is_some_and(|subject| subjects.contains(&subject)) {
            return Err(bad_request("Token does not match robot"));
        }
        if !robot.enabled {
            return Err(Refusal::Exception);
        }
        let mut state = lock(&self.state);
        let next = state.next_robot_tokens.pop_front();
        let shape = state.robot_token_shape(&name);
        drop(state);
        Ok(next.unwrap_or_else(|| self.signing.minter().mint(&shape)))
    }

    fn robot(&self, name: &str) -> Result<Robot, Refusal> {
        let state = lock(&self.state);
        if state.database_is_away {
            return Err(Refusal::Exception);
        }
        let robot = state.robots.get(name).cloned();
        robot.ok_or_else(|| bad_request("Could not find robot with specified username"))
    }

    /// Discovery, key set, signature and claims.
    fn verify(
        &self,
        token: &Parsed<'_>,
        issuer: &str,
        audiences: Option<&[String]>,
        begin: Instant,
    ) -> Result<(), Refusal> {
        let (version, discovery_timeout, proxy_timeout) = {
            let state = lock(&self.state);
            let proxy_timeout = if state.reverse_proxy { state.proxy_timeout } else { NO_LIMIT };
            (state.version, state.discovery_timeout, proxy_timeout)
        };
        let invalid = |text: String| Refusal::BadRequest(format!("Invalid token: {text}"));
        let Some(kid) = token.kid() else {
            return Err(invalid("Missing `kid` header".to_owned()));
        };
        // Its library knows no extension.
        if token.header.contains_key("crit") {
            return Err(Refusal::Exception);
        }
        let discovery = self.discover(issuer, discovery_timeout)?;
        let named = match discovery.get("issuer") {
            Some(named) => named.as_str().unwrap_or_default(),
            None => issuer,
        };
        // The main branch looks at the issuer before it loads a key, and forgives a slash.
        let expected_issuer = if version >= Version::V3_18 {
            if issuer.trim_end_matches('/') != named.trim_end_matches('/') {
                let text = format!("Issuer '{issuer}' not in configured issuers: ['{named}']");
                return Err(invalid(text));
            }
            issuer
        } else {
            named
        };
        let left = proxy_timeout.saturating_sub(begin.elapsed());
        let (modulus, exponent) = self.load_key(&discovery, kid, left)?;
        let expected = Expected {
            algorithms: &["RS256", "RS384"],
            required: &["iat", "exp"],
            issuer: expected_issuer,
            audiences: audiences.filter(|_| version >= Version::V3_18),
            ..Expected::default()
        };
        token::verify(token, (&modulus, &exponent), &expected).map_err(invalid)
    }

    fn discover(&self, issuer: &str, limit: Duration) -> Result<Map<String, Value>, Refusal> {
        if !issuer.starts_with("https://") {
            return Err(Refusal::Exception);
        }
        let slash = if issuer.ends_with('/') { "" } else { "/" };
        let url = format!("{issuer}{slash}.well-known/openid-configuration");
        let reply = client::get(&self.trust, &url, limit).map_err(|_| Refusal::WorkerLost)?;
        if !(200..300).contains(&reply.status) {
            return Err(Refusal::Exception);
        }
        serde_json::from_slice(&reply.body).map_err(|_| Refusal::Exception)
    }

    /// The RSA key of this `kid`: modulus and exponent.
    fn load_key(
        &self,
        discovery: &Map<String, Value>,
        kid: &str,
        limit: Duration,
    ) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let url = discovery.get("jwks_uri").and_then(Value::as_str).ok_or(Refusal::Exception)?;
        let reply = client::get(&self.trust, url, limit).map_err(|failure| match failure {
            Failure::TimedOut => Refusal::ProxyTimeout,
            Failure::Unreachable => Refusal::Exception,
        })?;
        if reply.status != 200 {
            return Err(Refusal::Exception);
        }
        rsa_key(&reply.body, kid).ok_or(Refusal::Exception)
    }
}

/// All keys are read before one is looked for: one that cannot be read spoils the others.
fn rsa_key(key_set: &[u8], kid: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let key_set: Value = serde_json::from_slice(key_set).ok()?;
    let keys = key_set.get("keys")?.as_array()?;
    if !keys.iter().all(is_readable) {
        return None;
    }
    let key = keys.iter().find(|key| key["kid"] == kid)?;
    if key["kty"] != "RSA" {
        return None;
    }
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    Some((number("n")?, number("e")?))
}

fn is_readable(key: &Value) -> bool {
    match key["kty"].as_str() {
        Some("RSA") => key["n"].is_string() && key["e"].is_string(),
        Some("EC" | "OKP" | "oct") => true,
        _ => false,
    }
}

/// The claim as Quay prints it: anything but a string will match no binding.
fn issuer_of(token: &Parsed<'_>) -> Result<String, Refusal> {
    let missing = || bad_request("Token does not contain issuer");
    match token.claims.get("iss").ok_or_else(missing)? {
        Value::String(issuer) if !issuer.is_empty() => Ok(issuer.clone()),
        Value::String(_) | Value::Null => Err(missing()),
        other => Ok(other.to_string()),
    }
}

/// The subjects bound to this issuer, and the audiences of the last such entry that has any.
fn matching<'a>(
    federation: &'a [Binding],
    issuer: &str,
) -> Result<(Vec<&'a str>, Option<&'a [String]>), Refusal> {
    if federation.is_empty() {
        return Err(bad_request("Robot does not have federated login configured"));
    }
    let entries: Vec<&Binding> = federation.iter().filter(|entry| entry.issuer == issuer).collect();
    if entries.is_empty() {
        return Err(Refusal::BadRequest(format!("issuer {issuer} not configured for this robot")));
    }
    let audiences = entries.iter().rev().find_map(|entry| entry.audiences.as_deref());
    let audiences = audiences.filter(|audiences| !audiences.is_empty());
    Ok((entries.iter().map(|entry| entry.subject.as_str()).collect(), audiences))
}

fn bad_request(text: &str) -> Refusal {
    Refusal::BadRequest(text.to_owned())
}

/// What 3.12 does with a path it knows only as a page of its web interface.
pub(super) fn redirect_to_a_slash(request: &Request) -> Reply {
    let host = http::header(&request.headers, "host").unwrap_or("localhost");
    let query = request.target.strip_prefix(request.path()).unwrap_or_default();
    pages::redirect(&format!("http://{host}{}/{query}", request.path()))
}
