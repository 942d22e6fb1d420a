//! Quay's token server, `/v2/auth`: what a client does with a robot token. The helper itself never
//! asks it; this is for whoever wants to know whether a pull would work.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::Url;

use super::authority;
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::{Body, Request, Response, Retry500, Transport, send_by};
use crate::jwt;
use crate::secret::Secret;
use crate::world::World;

/// Where a registry sends clients for a token (Docker Registry v2 token authentication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The token server.
    pub realm: Url,
    /// The name that the registry has there.
    pub service: Option<String>,
}

/// A repository, `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// Parses the name of a repository.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_part = |part: &str| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part.bytes().all(is_fit)
        };
        if text.contains('/') && text.split('/').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is written NAMESPACE/NAME, without registry and tag".to_owned())
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Asks the registry of a rule where it wants clients to get a token, as each pull begins.
pub fn challenge(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    deadline: Deadline,
) -> Result<Challenge, Failure> {
    let registry = format!("the registry `{}`", rule.server.host());
    let url = Url::parse(&format!("https://{}/v2/", rule.server.host())).map_err(|_| {
        Failure::new(
            format!("`{}` cannot be the host of a URL", rule.server.host()),
            format!("correct the name in {}", rule.place),
        )
    })?;
    let request = request(&url, None, rule);
    let reply = send_by(world, transport, request, deadline, Retry500::No)
        .map_err(|error| error.step_failure(&registry, &rule.place).failure)?;
    let found = reply.challenge.as_deref().and_then(parse_challenge);
    let (cause, hint) = match (reply.status, found) {
        (401, Some(challenge)) if is_allowed(&challenge.realm, rule) => return Ok(challenge),
        (401, Some(challenge)) => (
            format!(
                "{registry} sends clients to `{}`, which is not https",
                world.redactor.clean(challenge.realm.as_str())
            ),
            "let Quay name itself with https: PREFERRED_URL_SCHEME and EXTERNAL_TLS_TERMINATION \
             in its configuration"
                .to_owned(),
        ),
        (500..=599, _) => unusable(&registry, reply.status),
        (200, _) => (
            format!("{registry} asks for no login"),
            format!("a Quay does: see that the name in {} is right", rule.place),
        ),
        (status, _) => (
            format!("{registry} answered {status} instead of asking for a token"),
            format!(
                "see that the name in {} is right, and what stands before the registry",
                rule.place
            ),
        ),
    };
    Err(Failure::new(cause, hint))
}

/// Presents a robot token as a client does, and gives the actions that are allowed at
/// `repository`.
pub fn log_in(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    challenge: &Challenge,
    token: &Secret<String>,
    repository: Option<&Repository>,
    deadline: Deadline,
) -> Result<Vec<String>, Failure> {
    let mut url = challenge.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("account", rule.robot.as_str());
        if let Some(service) = &challenge.service {
            query.append_pair("service", service);
        }
        if let Some(repository) = repository {
            query.append_pair("scope", &format!("repository:{}:pull,push", repository.0));
        }
    }
    let credentials = Secret::new(format!("{}:{}", rule.robot, token.expose()));
    let encoded = Secret::new(STANDARD.encode(credentials.expose()));
    world.redactor.remember(&encoded);
    let authorization = Secret::new(format!("Basic {}", encoded.expose()));
    let request = request(&url, Some(authorization), rule);
    let server = format!("the token server `{}{}`", authority(&url), url.path());
    let reply = send_by(world, transport, request, deadline, Retry500::No)
        .map_err(|error| error.step_failure(&server, &rule.place).failure)?;
    if reply.status != 200 {
        return Err(explain(world, rule, &server, &reply));
    }
    let json = reply.json().unwrap_or_default();
    let Some(bearer) = json.get("token").and_then(Value::as_str) else {
        return Err(no_quay(rule, &format!("{server} answered 200 without a `token`")));
    };
    world.redactor.remember(&Secret::new(bearer.to_owned()));
    Ok(repository.map_or_else(Vec::new, |repository| actions(bearer, repository)))
}

/// Where a robot token may go.
fn is_allowed(realm: &Url, rule: &Rule) -> bool {
    rule.connection.allows(realm)
}

fn request<'a>(url: &'a Url, authorization: Option<Secret<String>>, rule: &'a Rule) -> Request<'a> {
    let connection = &rule.connection;
    Request { url, body: Body::None, authorization, connection, timeout: Duration::ZERO }
}

/// `Bearer realm="…",service="…"` (RFC 9110 section 11.6.1, RFC 6750 section 3).
fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, parameters) = header.split_once(' ')?;
    let parameter = |name: &str| {
        let start = format!("{name}=\"");
        let at = parameters.find(&start)? + start.len();
        parameters[at..].split('"').next().map(str::to_owned)
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = Url::parse(&parameter("realm")?).ok()?;
    Some(Challenge { realm, service: parameter("service") })
}

/// The actions that a bearer token of the registry gives.
fn actions(bearer: &str, repository: &Repository) -> Vec<String> {
    let Some(Value::Array(access)) = jwt::claim(bearer, "access") else { return Vec::new() };
    access
        .iter()
        .filter(|grant| grant["type"] == "repository" && grant["name"] == repository.0)
        .filter_map(|grant| grant["actions"].as_array())
        .flatten()
        .filter_map(|action| action.as_str().map(str::to_owned))
        .collect()
}

fn explain(world: &World, rule: &Rule, server: &str, reply: &Response) -> Failure {
    let robot = &rule.robot;
    let key = |key| rule.place.key(key);
    let said = words_of(reply);
    let (cause, hint) = match (reply.status, said.as_deref()) {
        (_, Some(words)) if words.ends_with("is disabled") && words.contains(" owner ") => (
            format!(
                "the owner of the robot account `{robot}`, `{}`, is disabled",
                robot.namespace()
            ),
            "an administrator of Quay can enable it; the exchange does not look at that".to_owned(),
        ),
        (_, Some(words)) if words.starts_with("Robot account have been disabled") => (
            "this Quay lets no robot account in".to_owned(),
            "ask an administrator of Quay (ROBOTS_DISALLOW); the exchange does not look at that"
                .to_owned(),
        ),
        (_, Some("Could not find robot with specified username")) => (
            format!("{server} does not know the robot account `{robot}`"),
            format!("was it deleted just now? create it again, or correct {}", key("robot")),
        ),
        (_, Some("Specified credentials are invalid")) => (
            format!("the robot account `{robot}` is disabled"),
            "an administrator of Quay can enable it".to_owned(),
        ),
        (_, Some("Token does not match robot")) => (
            format!("{server} says that the token is of another robot account than `{robot}`"),
            "report this to whoever runs that Quay: it gave that token for this robot account"
                .to_owned(),
        ),
        (_, Some(words)) if words.contains("and supplied password") => (
            format!("{server} takes the robot token for a password of `{robot}`"),
            format!("see that it is a Quay of 3.13 or later, and the one of {}", key("api_url")),
        ),
        (status, Some(words)) => (
            format!("{server} refused ({status}): {}", world.redactor.clean(words)),
            format!("this answer is not known here; it was about the robot account `{robot}`"),
        ),
        (500, None) => (
            format!("{server} failed at the robot token without a word (500)"),
            format!(
                "it does so for a token that has expired or that another Quay gave: see that \
                 `{}` and {} are one Quay, whose hosts' clocks agree",
                rule.server.host(),
                key("api_url")
            ),
        ),
        (429, None) => (
            format!("{server} is asked too often (429)"),
            "try again later; see how many hosts share this address".to_owned(),
        ),
        (500..=599, None) => unusable(server, reply.status),
        (status, None) => return no_quay(rule, &format!("{server} answered {status} with a page")),
    };
    Failure::new(cause, hint)
}

/// What Quay says in the form of the registry's errors.
fn words_of(reply: &Response) -> Option<String> {
    let json = reply.json()?;
    let words = json.get("errors")?.get(0)?.get("message")?;
    words.as_str().map(str::to_owned)
}

fn unusable(server: &str, status: u16) -> (String, String) {
    (
        format!("{server} cannot be used now ({status})"),
        "Quay, or what stands before it, is down or starting: try again later".to_owned(),
    )
}

fn no_quay(rule: &Rule, cause: &str) -> Failure {
    Failure::new(
        cause,
        format!(
            "something else answers in Quay's place: see what stands before `{}`",
            rule.server.host()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::http::testing::{Script, reply, world};
    use crate::quay::testing::{self, rule};

    fn log_in_with(answer: Response) -> Result<Vec<String>, Failure> {
        let world = world();
        let realm = Url::parse("https://quay.example.com/v2/auth").expect("a URL");
        let challenge = Challenge { realm, service: Some("quay.example.com".to_owned()) };
        let deadline = Deadline::after(world.clock.boot(), Duration::from_millis(900));
        let script = Script::of([Ok(answer)]);
        let token = Secret::new(testing::oidc_token());
        let repository = Repository::parse("acme/app").expect("a repository");
        let repository = Some(&repository);
        let given = log_in(&world, &script, &rule(), &challenge, &token, repository, deadline);
        assert_eq!(
            script.asked()[0].url,
            "https://quay.example.com/v2/auth?account=fed_test%2Brobot1&service=quay.example.com\
             &scope=repository%3Aacme%2Fapp%3Apull%2Cpush"
        );
        given
    }

    #[test]
    fn the_actions_of_the_repository_are_read_from_the_bearer_token() {
        let access = json!([
            {"type": "repository", "name": "acme/other", "actions": ["push"]},
            {"type": "repository", "name": "acme/app", "actions": ["pull", "*"]},
        ]);
        let token = testing::jwt(&json!({"alg": "RS256"}), &json!({"access": access}));
        let body = json!({"token": token}).to_string();
        let given = log_in_with(reply(200, &body));
        assert_eq!(given.expect("a login"), ["pull", "*"]);
    }

    #[test]
    fn a_challenge_is_read_in_any_order() {
        let wanted = Challenge {
            realm: Url::parse("https://q/v2/auth").expect("a URL"),
            service: Some("q".to_owned()),
        };
        for header in [
            r#"Bearer realm="https://q/v2/auth",service="q""#,
            r#"bearer service="q", realm="https://q/v2/auth", scope="a:b:c""#,
        ] {
            assert_eq!(parse_challenge(header), Some(wanted.clone()));
        }
        for header in ["Basic realm=\"q\"", "Bearer", "Bearer realm=\"q\"", ""] {
            assert_eq!(parse_challenge(header), None, "{header}");
        }
    }

    #[test]
    fn a_repository_has_a_namespace_and_no_tag() {
        assert!(Repository::parse("acme/app.x/y_z-1").is_ok());
        for text in ["", "app", "/app", "acme/", "acme/app:1", "acme//app", "a b/c"] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }

    /// No page and no `unknown` text for anything that was recorded from a real Quay.
    #[test]
    fn every_recorded_refusal_is_explained_and_no_page_is_shown() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quay/replies.json");
        let recorded: Value =
            serde_json::from_slice(&std::fs::read(path).expect("recorded")).expect("JSON");
        let mut told = std::collections::BTreeSet::new();
        for case in recorded.as_array().expect("a list") {
            let text = |name: &str| case[name].as_str().unwrap_or_default();
            let status = u16::try_from(case["status"].as_u64().unwrap_or_default()).unwrap_or(0);
            let is_refusal = text("path").starts_with("/v2/auth") && status != 200;
            // Without credentials, or with those of nobody, the program never asks.
            let is_ours = !["v2auth_no_auth", "v2auth_fail_non_robot_user"].contains(&text("case"));
            if is_refusal && is_ours {
                let failed = log_in_with(reply(status, text("body"))).expect_err("refused");
                let line = format!("{}\nhint: {}", failed.cause(), failed.hint());
                assert!(!line.contains('<') && !line.contains("is not known here"), "{line}");
                told.insert(line);
            }
        }
        let told: Vec<String> = told.into_iter().collect();
        insta::assert_snapshot!(told.join("\n\n"), @"
        the owner of the robot account `fed_test+robot1`, `fed_test`, is disabled
        hint: an administrator of Quay can enable it; the exchange does not look at that

        the robot account `fed_test+robot1` is disabled
        hint: an administrator of Quay can enable it

        the token server `quay.example.com/v2/auth` answered 405 with a page
        hint: something else answers in Quay's place: see what stands before `quay.example.com`

        the token server `quay.example.com/v2/auth` does not know the robot account `fed_test+robot1`
        hint: was it deleted just now? create it again, or correct `robot` in /etc/quayfed/config.toml:2

        the token server `quay.example.com/v2/auth` failed at the robot token without a word (500)
        hint: it does so for a token that has expired or that another Quay gave: see that `quay.example.com` and `api_url` in the table at /etc/quayfed/config.toml:1 are one Quay, whose hosts' clocks agree

        the token server `quay.example.com/v2/auth` says that the token is of another robot account than `fed_test+robot1`
        hint: report this to whoever runs that Quay: it gave that token for this robot account

        the token server `quay.example.com/v2/auth` takes the robot token for a password of `fed_test+robot1`
        hint: see that it is a Quay of 3.13 or later, and the one of `api_url` in the table at /etc/quayfed/config.toml:1

        this Quay lets no robot account in
        hint: ask an administrator of Quay (ROBOTS_DISALLOW); the exchange does not look at that
        ");
    }
}
