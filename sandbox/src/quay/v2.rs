//! The registry's token server, `/v2/auth`, and what of `/v2/` tells whether a token is good.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Registry, State, Version, basic_credentials, json_line, pages, robot_namespace};
use crate::http::{Reply, Request};
use crate::keys::{self, Slot};
use crate::server::lock;
use crate::token::{self, Expected, Parsed};

/// Of a bearer token, in seconds.
const BEARER_LIFE: i64 = 3600;
/// `REGISTRY_JWT_AUTH_MAX_FRESH_S`.
const LONGEST_LIFE: i64 = 3660;

/// Why credentials are refused.
enum Refusal {
    /// 401, with Quay's words.
    Unauthorized(Option<String>),
    /// An exception that Quay does not catch.
    Exception,
}

impl Registry {
    pub(super) fn registry_auth(&self, request: &Request) -> Reply {
        let query = request.query();
        let scopes: Vec<&str> =
            query.iter().filter(|(name, _)| name == "scope").map(|(_, v)| v.as_str()).collect();
        let header = request.header("authorization").filter(|header| !header.is_empty());
        let robot = match header.map(|header| self.authenticated(header)).transpose() {
            Ok(robot) => robot,
            Err(Refusal::Unauthorized(text)) => return self.unauthorized(text.as_deref()),
            Err(Refusal::Exception) => return pages::internal_server_error(),
        };
        if robot.is_none() && scopes.iter().all(|scope| scope.is_empty()) {
            let text = "access to the requested resource is not authorized";
            return self.unauthorized(Some(text));
        }
        let mut access = Vec::new();
        for scope in scopes.iter().filter(|scope| !scope.is_empty()) {
            let Some((repository, asked)) = parse_scope(scope) else {
                let text = format!("Unable to decode repository and actions: {scope}");
                return error(400, "INVALID_REQUEST", Some(&text));
            };
            let actions = self.granted(robot.as_deref(), repository, &asked);
            access.push(json!({ "type": "repository", "name": repository, "actions": actions }));
        }
        let service = query.iter().find(|(name, _)| name == "service").map(|(_, v)| v.as_str());
        let now = token::now();
        let claims = Map::from_iter([
            ("iss".to_owned(), json!("quay")),
            ("aud".to_owned(), json!(service)),
            ("sub".to_owned(), json!(robot.as_deref().unwrap_or("(anonymous)"))),
            ("nbf".to_owned(), json!(now)),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now + BEARER_LIFE)),
            ("access".to_owned(), Value::Array(access)),
            ("context".to_owned(), json!({ "user": robot })),
        ]);
        let token = self.signing.registry_token(&claims);
        Reply::json(200, json_line(&json!({ "token": token })))
    }

    /// Push first, as Quay lists them. Asking for it makes what is missing, where the robot may do
    /// that; asking for anything else makes nothing.
    fn granted(&self, robot: Option<&str>, repository: &str, asked: &[&str]) -> Vec<&'static str> {
        let state = &mut *lock(&self.state);
        let Some(robot) = robot.and_then(|robot| state.robots.get_mut(robot)) else {
            return Vec::new();
        };
        let namespace = repository.split_once('/').map_or("", |(namespace, _)| namespace);
        if asked.contains(&"push") && !state.repositories.contains(repository) {
            let makes_namespace =
                state.namespaces_are_made_by_pushes && !state.namespaces.contains_key(namespace);
            let creates = robot.creates_in.contains(namespace) || makes_namespace;
            if creates {
                // Whoever creates a repository is its administrator.
                let all = BTreeSet::from(["pull", "push", "*"].map(str::to_owned));
                robot.permissions.push((repository.to_owned(), all));
            }
            if creates || robot.may(repository, "push") {
                state.namespaces.entry(namespace.to_owned()).or_insert(true);
                state.repositories.insert(repository.to_owned());
            }
        }
        ["push", "pull", "*"]
            .into_iter()
            .filter(|action| asked.contains(action) && robot.may(repository, action))
            .collect()
    }

    /// The robot whose credentials these are.
    fn authenticated(&self, header: &str) -> Result<String, Refusal> {
        let refused = |text: &str| Refusal::Unauthorized(Some(text.to_owned()));
        let (name, password) =
            basic_credentials(header).map_err(|_| Refusal::Unauthorized(None))?;
        let Some(namespace) = robot_namespace(&name) else {
            return Err(refused("Invalid Username or Password"));
        };
        let state = lock(&self.state);
        if state.database_is_away {
            return Err(Refusal::Exception);
        }
        if state.robots_disallowed {
            let text = "Robot account have been disabled. Please contact your administrator.";
            return Err(refused(text));
        }
        let Some(robot) = state.robots.get(&name) else {
            return Err(refused("Could not find robot with specified username"));
        };
        if let Some(token) = as_jwt(&password) {
            self.verify_own(&token, &state).map_err(|_| Refusal::Exception)?;
            if token.text("sub") != Some(&name) {
                return Err(refused("Token does not match robot"));
            }
        } else if password != robot.static_token {
            return Err(refused(&format!(
                "Could not find robot with username: {name} and supplied password."
            )));
        }
        if !state.namespaces.get(namespace).copied().unwrap_or(false) {
            return Err(refused(&format!("Robot {name} owner {namespace} is disabled")));
        }
        if !robot.enabled {
            return Err(refused("Specified credentials are invalid"));
        }
        Ok(name)
    }

    /// Verifies a token that this registry minted: a robot token or a bearer token.
    fn verify_own(&self, token: &Parsed<'_>, state: &State) -> Result<(), String> {
        match token.kid() {
            None => return Err("Missing kid header".to_owned()),
            Some(kid) if kid != self.signing.kid() => return Err("Unknown service key".to_owned()),
            Some(_) => {}
        }
        let (modulus, exponent) = keys::rsa(Slot::Quay).components();
        let expected = Expected {
            algorithms: &["RS256"],
            required: &["nbf", "iat", "exp"],
            issuer: "quay",
            audiences: Some(std::slice::from_ref(&state.server_hostname)),
            verify_not_before: true,
            longest_life: Some(LONGEST_LIFE),
        };
        token::verify(token, (&modulus, &exponent), &expected)?;
        match token.text("sub") {
            Some(_) => Ok(()),
            None => Err("Missing sub field in JWT".to_owned()),
        }
    }

    /// `/v2/`: whether a bearer token is good, and where to get one.
    pub(super) fn registry_root(&self, request: &Request) -> Reply {
        let challenge = lock(&self.state).challenge();
        let reply = match request.header("authorization") {
            None => html(401, "true".to_owned()),
            Some(header) => match self.bearer(header) {
                Ok(_) => html(200, "true".to_owned()),
                Err(text) => bearer_error(&text),
            },
        };
        challenged(reply, challenge)
    }

    /// `/v2/REPOSITORY/tags/list`: the sandbox holds no images, so a repository has no tags.
    pub(super) fn tags(&self, request: &Request, repository: &str) -> Reply {
        let challenge = lock(&self.state).challenge();
        let challenge = format!("{challenge},scope=\"repository:{repository}:pull\"");
        let unauthorized = "access to the requested resource is not authorized";
        match request.header("authorization").map(|header| self.bearer(header)) {
            None => challenged(error(401, "UNAUTHORIZED", Some(unauthorized)), challenge),
            Some(Err(text)) => challenged(bearer_error(&text), challenge),
            Some(Ok(claims)) if !may_pull(&claims, repository) => {
                challenged(error(401, "UNAUTHORIZED", Some(unauthorized)), challenge)
            }
            Some(Ok(_)) if lock(&self.state).repositories.contains(repository) => {
                Reply::json(200, json_line(&json!({ "name": repository, "tags": [] })))
            }
            Some(Ok(_)) => {
                error(404, "NAME_UNKNOWN", Some("repository name not known to registry"))
            }
        }
    }

    /// `/v1/users/`, the login of old clients.
    pub(super) fn v1_users(&self, request: &Request) -> Reply {
        match request.header("authorization").map(|header| self.authenticated(header)) {
            Some(Ok(name)) => {
                Reply::json(200, json_line(&json!({ "email": null, "username": name })))
            }
            Some(Err(Refusal::Exception)) => pages::internal_server_error(),
            _ => pages::not_found(Version::V3_18),
        }
    }

    /// The claims of a bearer token.
    fn bearer(&self, header: &str) -> Result<Map<String, Value>, String> {
        let malformed = || "Invalid bearer token format".to_owned();
        let encoded = header.strip_prefix("Bearer ").ok_or_else(malformed)?;
        let token = Parsed::new(encoded).ok_or_else(malformed)?;
        self.verify_own(&token, &lock(&self.state))?;
        match token.claims.get("access") {
            None | Some(Value::Array(_)) => Ok(token.claims),
            Some(_) => Err("Token contained invalid or malformed access grants".to_owned()),
        }
    }

    fn unauthorized(&self, message: Option<&str>) -> Reply {
        challenged(error(401, "UNAUTHORIZED", message), lock(&self.state).challenge())
    }
}

fn may_pull(claims: &Map<String, Value>, repository: &str) -> bool {
    let granted = claims.get("access").and_then(Value::as_array).into_iter().flatten();
    granted.filter(|grant| grant["name"] == repository).any(|grant| {
        let actions = grant["actions"].as_array().into_iter().flatten();
        actions.into_iter().any(|action| action == "pull" || action == "*")
    })
}

/// A password that Quay takes for a token: one that decodes and says so in its header.
fn as_jwt(password: &str) -> Option<Parsed<'_>> {
    let token = Parsed::new(password)?;
    let typ = token.header.get("typ")?.as_str()?;
    typ.eq_ignore_ascii_case("jwt").then_some(token)
}

/// `repository:NAME:ACTION,ACTION`.
fn parse_scope(scope: &str) -> Option<(&str, Vec<&str>)> {
    let (repository, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    let named = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    let well_formed = !repository.is_empty()
        && repository.chars().all(named)
        && actions.iter().all(|action| ["push", "pull", "*"].contains(action));
    well_formed.then_some((repository, actions))
}

fn error(status: u16, code: &str, message: Option<&str>) -> Reply {
    let body = json!({ "errors": [{ "code": code, "detail": {}, "message": message }] });
    Reply::json(status, json_line(&body))
}

fn bearer_error(text: &str) -> Reply {
    html(401, format!("{{\"error\": {}}}", json!(text)))
}

fn html(status: u16, body: String) -> Reply {
    Reply::new(status, "text/html; charset=utf-8", body)
}

fn challenged(reply: Reply, challenge: String) -> Reply {
    reply
        .with("WWW-Authenticate", challenge)
        .with("Docker-Distribution-API-Version", "registry/2.0")
}
