//! Quay's token server, `/v2/auth`: what a client does with a robot token. The helper itself never
//! asks it; this is for whoever wants to know whether a pull would work.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::Url;

use super::{authority, probe};
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::{Body, Request, Response, Retry500, Transport, send_by};
use crate::jwt;
use crate::protocol::PROGRAM;
use crate::secret::Secret;
use crate::server::Server;
use crate::world::World;

/// Where a registry sends clients for a token (Docker Registry v2 token authentication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The token server.
    pub realm: Url,
    /// The name that the registry has there.
    pub service: Option<String>,
}

impl Challenge {
    /// The host that robot tokens would be sent to, where it is neither the registry's own, nor that
    /// of `api_url`, nor `also`. A port counts: another one is another server.
    pub fn stranger(&self, rule: &Rule, also: Option<&Server>) -> Option<String> {
        let own = [Some(&rule.server), also].into_iter().flatten().filter_map(url_of);
        let is_known =
            own.chain([rule.api_url.clone()]).any(|known| is_same_server(&known, &self.realm));
        (!is_known).then(|| authority(&self.realm))
    }
}

fn url_of(server: &Server) -> Option<Url> {
    Url::parse(&format!("https://{}", server.host())).ok()
}

fn is_same_server(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

/// A repository, `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    name: String,
    registry: Option<Server>,
}

impl Repository {
    /// Parses the name of a repository, or of an image as clients pull it: `HOST/NAMESPACE/NAME:TAG`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let image = text.strip_prefix("docker://").unwrap_or(text);
        let image = image.split_once('@').map_or(image, |(image, _digest)| image);
        let (host, name) = match image.split_once('/') {
            // A namespace may have a dot in its name too.
            Some((host, rest))
                if rest.contains('/') && (host.contains(['.', ':']) || host == "localhost") =>
            {
                (Some(host), rest)
            }
            _ => (None, image),
        };
        let name = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => name,
        };
        let registry = host.map(Server::parse).transpose().map_err(|fault| {
            format!("its registry `{}` is not valid: it {}", host.unwrap_or_default(), fault.0)
        })?;
        let is_part = |part: &str| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part.bytes().all(is_fit)
        };
        if name.contains('/') && name.split('/').all(is_part) {
            Ok(Self { name: name.to_owned(), registry })
        } else {
            Err("write NAMESPACE/NAME, or an image as HOST/NAMESPACE/NAME:TAG".to_owned())
        }
    }

    /// The registry that it was named with.
    pub const fn registry(&self) -> Option<&Server> {
        self.registry.as_ref()
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// What a robot token asks for.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// A login and nothing else.
    Login,
    /// To pull from a repository.
    Pull(&'a Repository),
    /// To push to it too. Quay creates a repository that is asked for so and does not exist: only
    /// for one that [`exists`].
    PullAndPush(&'a Repository),
}

impl<'a> Scope<'a> {
    const fn repository(self) -> Option<&'a Repository> {
        match self {
            Self::Login => None,
            Self::Pull(repository) | Self::PullAndPush(repository) => Some(repository),
        }
    }

    fn as_parameter(self) -> Option<String> {
        match self {
            Self::Login => None,
            Self::Pull(repository) => Some(format!("repository:{}:pull", repository.name)),
            Self::PullAndPush(repository) => {
                Some(format!("repository:{}:pull,push", repository.name))
            }
        }
    }
}

/// What a robot token was given at `/v2/auth`.
#[derive(Debug)]
pub struct Login {
    bearer: Secret<String>,
    /// What it allows at the repository that was asked for.
    pub actions: Vec<String>,
}

impl Login {
    /// Whether it allows to pull.
    pub fn may_pull(&self) -> bool {
        self.actions.iter().any(|action| action == "pull" || action == "*")
    }
}

/// Why a robot token was given nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLoggedIn {
    /// The failure in words.
    pub failure: Failure,
    /// Whether Quay returned 500 without a reason of its own for that: so it answers a robot token
    /// that it does not accept.
    pub is_token_dead: bool,
}

impl From<Failure> for NotLoggedIn {
    fn from(failure: Failure) -> Self {
        Self { failure, is_token_dead: false }
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
        (401, Some(challenge)) if rule.connection.allows(&challenge.realm) => return Ok(challenge),
        (401, Some(challenge)) => (
            format!(
                "{registry} sends clients to `{}`, which is not https",
                world.redactor.clean(challenge.realm.as_str())
            ),
            "let Quay name itself with https: PREFERRED_URL_SCHEME and EXTERNAL_TLS_TERMINATION \
             in its configuration; podman sends the robot token there all the same, unencrypted"
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

/// Why a robot token is not sent to a host that is a stranger.
pub fn not_sent_to(world: &World, rule: &Rule, stranger: &str) -> Failure {
    let (server, stranger) = (&rule.server, world.redactor.clean(stranger));
    Failure::new(
        format!(
            "the registry `{}` sends clients to `{stranger}` to log in, so no robot token was sent",
            server.host()
        ),
        format!(
            "podman and docker send it to any host that the registry names; if `{stranger}` belongs \
             to this Quay, run: {PROGRAM} doctor {server} --realm-host {stranger}"
        ),
    )
}

/// Presents a robot token as a client does. Whether the realm may have it is the caller's to judge,
/// by [`Challenge::stranger`].
pub fn log_in(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    challenge: &Challenge,
    token: &Secret<String>,
    scope: Scope<'_>,
    deadline: Deadline,
) -> Result<Login, NotLoggedIn> {
    let mut url = challenge.realm.clone();
    // Nobody's user and password stand in a URL that a token is sent to.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("account", rule.robot.as_str());
        if let Some(service) = &challenge.service {
            query.append_pair("service", service);
        }
        if let Some(scope) = scope.as_parameter() {
            query.append_pair("scope", &scope);
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
    if reply.status == 500
        && words_of(&reply).is_none()
        && probe::is_database_away(world, transport, rule, deadline)
    {
        return Err(probe::without_database(rule).into());
    }
    if reply.status != 200 {
        return Err(NotLoggedIn {
            failure: explain(world, rule, &server, &reply),
            is_token_dead: reply.status == 500 && words_of(&reply).is_none(),
        });
    }
    let json = reply.json().unwrap_or_default();
    let Some(bearer) = json.get("token").and_then(Value::as_str) else {
        return Err(no_quay(rule, &format!("{server} answered 200 without a `token`")).into());
    };
    let bearer = Secret::new(bearer.to_owned());
    world.redactor.remember(&bearer);
    let repository = scope.repository();
    let actions = repository.map_or_else(Vec::new, |it| actions(bearer.expose(), it));
    Ok(Login { bearer, actions })
}

/// Whether a repository exists that a login may pull from, by its tags; nothing where the registry
/// does not tell. Quay lets the administrator of a namespace pull what is not there.
pub fn exists(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    repository: &Repository,
    login: &Login,
    deadline: Deadline,
) -> Option<bool> {
    let mut url = url_of(&rule.server)?;
    url.set_path(&format!("/v2/{}/tags/list", repository.name));
    url.set_query(Some("n=1"));
    let authorization = Secret::new(format!("Bearer {}", login.bearer.expose()));
    let request = request(&url, Some(authorization), rule);
    let reply = send_by(world, transport, request, deadline, Retry500::No).ok()?;
    let code = || Some(reply.json()?.get("errors")?.get(0)?.get("code")?.as_str()?.to_owned());
    match reply.status {
        200 => Some(true),
        404 if code().is_some_and(|code| code == "NAME_UNKNOWN") => Some(false),
        _ => None,
    }
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
        .filter(|grant| grant["type"] == "repository" && grant["name"] == repository.name)
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
            "this Quay does not accept robot accounts".to_owned(),
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
            format!("check that it is a Quay of 3.13 or later, and the one of {}", key("api_url")),
        ),
        (status, Some(words)) => (
            format!("{server} refused ({status}): {}", world.redactor.clean(words)),
            format!("this answer is not known here; it was about the robot account `{robot}`"),
        ),
        (500, None) => (
            format!("{server} returned 500 with no explanation for the robot token"),
            format!(
                "Quay does so for a token that has expired or that another Quay gave: check that \
                 `{}` and {} are one Quay, whose hosts' clocks agree",
                rule.server.host(),
                key("api_url")
            ),
        ),
        (429, None) => (
            format!("{server} refuses more requests for now (429)"),
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
    use crate::http::TransportError;
    use crate::http::testing::{Script, reply, world};
    use crate::quay::testing::{self, rule};

    fn log_in_with(answer: Response) -> Result<Login, NotLoggedIn> {
        log_in_after(vec![Ok(answer)])
    }

    fn log_in_after(answers: Vec<Result<Response, TransportError>>) -> Result<Login, NotLoggedIn> {
        let world = world();
        let realm = Url::parse("https://quay.example.com/v2/auth").expect("a URL");
        let challenge = Challenge { realm, service: Some("quay.example.com".to_owned()) };
        let deadline = Deadline::after(world.clock.boot(), Duration::from_millis(900));
        let script = Script::of(answers);
        let token = Secret::new(testing::oidc_token());
        let repository = Repository::parse("acme/app").expect("a repository");
        let scope = Scope::Pull(&repository);
        let given = log_in(&world, &script, &rule(), &challenge, &token, scope, deadline);
        assert_eq!(
            script.asked()[0].url,
            "https://quay.example.com/v2/auth?account=fed_test%2Brobot1&service=quay.example.com\
             &scope=repository%3Aacme%2Fapp%3Apull"
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
        assert_eq!(given.expect("a login").actions, ["pull", "*"]);
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
    fn r38_a_robot_token_goes_to_no_host_but_the_registrys_and_that_of_api_url() {
        let stranger = |realm: &str, also: Option<&str>| {
            let challenge = Challenge { realm: Url::parse(realm).expect("a URL"), service: None };
            let mut rule = rule();
            rule.api_url = Url::parse("https://api.example.com:8443").expect("a URL");
            challenge
                .stranger(&rule, also.map(|also| Server::parse(also).expect("a server")).as_ref())
        };
        for (realm, also, wanted) in [
            ("https://quay.example.com/v2/auth", None, None),
            ("https://QUAY.example.com:443/anywhere", None, None),
            ("https://api.example.com:8443/v2/auth", None, None),
            ("https://api.example.com/v2/auth", None, Some("api.example.com")),
            ("https://quay.example.com:8443/v2/auth", None, Some("quay.example.com:8443")),
            (
                "https://quay.example.com.evil.example/v2/auth",
                None,
                Some("quay.example.com.evil.example"),
            ),
            ("https://quay.example.com@evil.example/v2/auth", None, Some("evil.example")),
            ("https://evil.example/quay.example.com", None, Some("evil.example")),
            ("https://evil.example/", Some("login.example.com"), Some("evil.example")),
            ("https://login.example.com/", Some("login.example.com"), None),
            (
                "https://login.example.com:444/",
                Some("login.example.com"),
                Some("login.example.com:444"),
            ),
            ("https://login.example.com:444/", Some("login.example.com:444"), None),
            ("https://[::1]:444/", None, Some("[::1]:444")),
        ] {
            assert_eq!(stranger(realm, also).as_deref(), wanted, "{realm} {also:?}");
        }
    }

    #[test]
    fn r38_only_a_registrys_own_word_tells_whether_a_repository_exists() {
        let unknown = |code| json!({"errors": [{"code": code, "message": "no"}]}).to_string();
        for (answer, wanted) in [
            (reply(200, r#"{"name":"acme/app","tags":[]}"#), Some(true)),
            (reply(404, &unknown("NAME_UNKNOWN")), Some(false)),
            (reply(404, &unknown("UNSUPPORTED")), None),
            (reply(404, "<html>nginx"), None),
            (reply(401, &unknown("UNAUTHORIZED")), None),
            (reply(302, ""), None),
            (reply(500, ""), None),
        ] {
            let world = world();
            let deadline = Deadline::after(world.clock.boot(), Duration::from_millis(900));
            let repository = Repository::parse("acme/app").expect("a repository");
            let login = Login { bearer: Secret::new("b".to_owned()), actions: Vec::new() };
            let script = Script::of([Ok(answer.clone())]);
            let found = exists(&world, &script, &rule(), &repository, &login, deadline);
            assert_eq!(found, wanted, "{answer:?}");
            let asked = &script.asked()[0];
            assert_eq!(asked.url, "https://quay.example.com/v2/acme/app/tags/list?n=1");
            assert_eq!(asked.authorization.as_deref(), Some("Bearer b"));
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
                let answers = [reply(status, text("body")), reply(200, "{}")].map(Ok).into();
                let failed = log_in_after(answers).expect_err("refused");
                assert_eq!(failed.is_token_dead, status == 500, "{case}");
                let failed = failed.failure;
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

        the token server `quay.example.com/v2/auth` returned 500 with no explanation for the robot token
        hint: Quay does so for a token that has expired or that another Quay gave: check that `quay.example.com` and `api_url` in the table at /etc/quayfed/config.toml:1 are one Quay, whose hosts' clocks agree

        the token server `quay.example.com/v2/auth` says that the token is of another robot account than `fed_test+robot1`
        hint: report this to whoever runs that Quay: it gave that token for this robot account

        the token server `quay.example.com/v2/auth` takes the robot token for a password of `fed_test+robot1`
        hint: check that it is a Quay of 3.13 or later, and the one of `api_url` in the table at /etc/quayfed/config.toml:1

        this Quay does not accept robot accounts
        hint: ask an administrator of Quay (ROBOTS_DISALLOW); the exchange does not look at that
        ");
    }

    #[test]
    fn a_repository_is_named_alone_or_as_an_image() {
        for (text, wanted) in [
            ("acme/app", Ok(("acme/app", None))),
            ("my.org/app", Ok(("my.org/app", None))),
            ("acme/app:v1", Ok(("acme/app", None))),
            ("quay.example.com/acme/app", Ok(("acme/app", Some("quay.example.com")))),
            ("quay:8443/acme/team/app:v1", Ok(("acme/team/app", Some("quay:8443")))),
            (
                "docker://quay.example.com/acme/app@sha256:0123",
                Ok(("acme/app", Some("quay.example.com"))),
            ),
            ("app", Err("write NAMESPACE/NAME, or an image as HOST/NAMESPACE/NAME:TAG")),
            ("acme/", Err("write NAMESPACE/NAME, or an image as HOST/NAMESPACE/NAME:TAG")),
            (
                "qu_ay.:x/acme/app",
                Err(
                    "its registry `qu_ay.:x` is not valid: it has a port that is not a number from 1 to 65535",
                ),
            ),
        ] {
            let parsed = Repository::parse(text);
            let parsed = parsed.as_ref().map(|it| (it.as_str(), it.registry().map(Server::host)));
            assert_eq!(parsed.map_err(String::as_str), wanted, "{text}");
        }
    }
}
