//! The exchange: `GET /oauth2/federation/robot/token` with the robot as user and the OIDC token as
//! password.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::verdict::{self, Probe};
use super::{Presented, quay_of};
use crate::cache::entry::LONGEST_TOKEN;
use crate::cache::freshness::LONGEST_LIFE;
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure};
use crate::http::{Body, Request, Response, Retry500, Transport, send_by};
use crate::jwt;
use crate::printable::PlainText;
use crate::secret::Secret;
use crate::world::World;

/// Where the exchange is, below `api_url`. A slash at its end would be another page.
const PATH: &str = "/oauth2/federation/robot/token";
/// The most that `ROBOT:TOKEN` may have in bytes: in base64 and with the header's name it then
/// fits the 8 KiB that nginx, in front of Quay, has for one header line.
const LONGEST_CREDENTIALS: usize = 6123;

/// What Quay gave for an OIDC token.
#[derive(Clone, Debug)]
pub struct RobotReply {
    /// The robot token.
    pub token: Secret<String>,
    /// Its life, from the moment of the request: `exp` − `iat`, at most 24 hours (rule R13).
    pub lifetime: Duration,
}

/// Lets the connection to the rule's Quay be made while the OIDC token is still being asked for.
pub fn connect_ahead(transport: &dyn Transport, rule: &Rule) {
    transport.connect_ahead(&url_of(rule), &rule.connection);
}

/// Exchanges an OIDC token for a token of the rule's robot, by `deadline`. A refusal is explained;
/// for that the issuer may be looked at, if `probe` allows it.
pub fn exchange(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    presented: Presented<'_>,
    deadline: Deadline,
    probe: Probe,
) -> Result<RobotReply, StepFailure> {
    check_length(rule, presented).map_err(StepFailure::local)?;
    let url = url_of(rule);
    let request = Request {
        url: &url,
        body: Body::None,
        authorization: Some(basic(world, rule, presented.raw)),
        connection: &rule.connection,
        timeout: Duration::ZERO,
    };
    let reply = send_by(world, transport, request, deadline, Retry500::Yes).map_err(|error| {
        verdict::explain_no_reply(world, transport, rule, presented, &error, probe)
    })?;
    if reply.status != 200 {
        return Err(verdict::explain(world, transport, rule, presented, &reply, probe));
    }
    read(world, rule, &reply).map_err(StepFailure::network)
}

/// The exchange of a rule's Quay.
pub(super) fn url_of(rule: &Rule) -> Url {
    let mut url = rule.api_url.clone();
    url.set_path(PATH);
    url
}

/// Whether a token is short enough to be presented.
pub(super) fn check_length(rule: &Rule, presented: Presented<'_>) -> Result<(), Failure> {
    let token = presented.raw.expose();
    let room = LONGEST_CREDENTIALS - rule.robot.as_str().len() - 1;
    if token.len() <= room {
        return Ok(());
    }
    let cause =
        format!("the OIDC token is too long for Quay: {} bytes, {room} at most", token.len());
    Err(Failure::new(cause, how_to_shorten(token)))
}

/// What to do about a token that is too long: the claim that takes most of it is named.
fn how_to_shorten(token: &str) -> String {
    let largest = jwt::largest_claim(token).map_or_else(
        || "let the provider put fewer claims into it".to_owned(),
        |(name, bytes)| {
            format!(
                "let the provider leave out what it does not need, `{name}` above all ({bytes} \
                 bytes)"
            )
        },
    );
    format!("{largest}; in Keycloak: client scopes, and `Full scope allowed` off")
}

/// The header by which the rule's robot presents a token.
pub(super) fn basic(world: &World, rule: &Rule, token: &Secret<String>) -> Secret<String> {
    let credentials = Secret::new(format!("{}:{}", rule.robot, token.expose()));
    let encoded = Secret::new(STANDARD.encode(credentials.expose()));
    // A gateway may repeat the header.
    world.redactor.remember(&encoded);
    Secret::new(format!("Basic {}", encoded.expose()))
}

/// Rule R21: what is no token of this robot is not handed out.
fn read(world: &World, rule: &Rule, reply: &Response) -> Result<RobotReply, Failure> {
    let quay = quay_of(rule);
    let no_quay = |what: &str| {
        let hint = format!(
            "something else answers in Quay's place, such as a login page: check {}",
            rule.place.key("api_url")
        );
        Failure::new(format!("{quay} answered 200 {what}"), hint)
    };
    let Some(json) = reply.json() else {
        return Err(no_quay(reply.instead_of_json()));
    };
    let Some(token) = json.get("token").and_then(|token| token.as_str()) else {
        return Err(no_quay("without a `token`"));
    };
    let token = Secret::new(token.to_owned());
    world.redactor.remember(&token);
    let unusable = |what: &str| {
        let hint = "no token was handed out; show this to whoever runs that Quay";
        Failure::new(format!("the robot token from {quay} {what}"), hint)
    };
    if token.expose().len() > LONGEST_TOKEN {
        return Err(unusable(&format!("is longer than {LONGEST_TOKEN} bytes")));
    }
    let claims = jwt::peek(token.expose()).map_err(|fault| unusable(fault.0))?.claims;
    match claims.sub.as_deref() {
        Some(sub) if sub == rule.robot.as_str() => {}
        None => return Err(unusable("has no subject (`sub`)")),
        Some(other) => {
            let other = world.redactor.clean(other);
            return Err(unusable(&format!("is for `{other}`, not for `{}`", rule.robot)));
        }
    }
    if PlainText::of(token.expose()).is_none() {
        return Err(unusable("is not a JWT: its signature is not base64url"));
    }
    let lifetime = claims.exp.zip(claims.iat).and_then(|(exp, iat)| exp.checked_sub(iat));
    match lifetime.and_then(|seconds| u64::try_from(seconds).ok()) {
        None | Some(0) => Err(unusable("does not end after it begins (`exp`, `iat`)")),
        Some(seconds) => {
            let lifetime = Duration::from_secs(seconds).min(LONGEST_LIFE);
            Ok(RobotReply { token, lifetime })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::StepFailureKind;
    use crate::http::TransportFault;
    use crate::http::testing::{Script, fault, reply, world};
    use crate::quay::testing::{self, jwt, shown};

    fn exchange_with(script: &Script, token: &str) -> Result<RobotReply, StepFailure> {
        let world = world();
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(15));
        let raw = Secret::new(token.to_owned());
        let unverified = jwt::peek(token).expect("a JWT");
        let presented = Presented { raw: &raw, unverified: &unverified };
        exchange(&world, script, &testing::rule(), presented, deadline, Probe::Never)
    }

    fn answered(body: &str) -> Result<RobotReply, StepFailure> {
        let script = Script::of([Ok(reply(200, body))]);
        exchange_with(&script, &testing::oidc_token())
    }

    fn robot_token(claims: &serde_json::Value) -> String {
        json!({"token": jwt(&json!({"alg": "RS256"}), claims)}).to_string()
    }

    #[test]
    fn the_robot_and_the_token_are_sent_to_the_api_url_by_basic() {
        let body = robot_token(&json!({"sub": "fed_test+robot1", "iat": 100, "exp": 3700}));
        let script = Script::of([Ok(reply(200, &body))]);
        let given = exchange_with(&script, &testing::oidc_token()).expect("a token");
        assert_eq!(given.lifetime, Duration::from_hours(1));
        assert!(given.token.expose().starts_with("eyJ"));
        let asked = &script.asked()[0];
        assert_eq!(asked.url, "https://quay.example.com/oauth2/federation/robot/token");
        let credentials = asked.authorization.as_deref().and_then(|it| it.strip_prefix("Basic "));
        let credentials = STANDARD.decode(credentials.expect("Basic")).expect("base64");
        let wanted = format!("fed_test+robot1:{}", testing::oidc_token());
        assert_eq!(String::from_utf8(credentials).expect("text"), wanted);
        assert_eq!(asked.timeout, Duration::from_secs(15));
    }

    #[test]
    fn r13_a_life_of_more_than_24_hours_counts_as_24_hours() {
        let claims = json!({"sub": "fed_test+robot1", "iat": 0, "exp": 999_999_999});
        let given = answered(&robot_token(&claims)).expect("a token");
        assert_eq!(given.lifetime, Duration::from_hours(24));
    }

    #[test]
    fn r18_a_500_of_the_exchange_is_asked_once_more() {
        let body = robot_token(&json!({"sub": "fed_test+robot1", "iat": 0, "exp": 3600}));
        let script = Script::of([Ok(reply(500, "<html>")), Ok(reply(200, &body))]);
        exchange_with(&script, &testing::oidc_token()).expect("a token");
        assert_eq!(script.count(), 2);
    }

    #[test]
    fn r19_a_token_that_is_too_long_is_not_sent() {
        let claims = json!({"iss": "https://sso.example.com", "groups": "g".repeat(5000)});
        let script = Script::of([]);
        let failed = exchange_with(&script, &jwt(&json!({"alg": "RS256"}), &claims));
        let failed = failed.expect_err("a failure");
        assert_eq!(failed.kind, StepFailureKind::Local);
        insta::assert_snapshot!(shown(&failed), @"
        the OIDC token is too long for Quay: 6753 bytes, 6107 at most
        hint: let the provider leave out what it does not need, `groups` above all (5002 bytes); in Keycloak: client scopes, and `Full scope allowed` off
        ");
    }

    #[test]
    fn r21_a_reply_that_is_no_token_of_the_robot_is_refused() {
        let of = |claims: serde_json::Value| robot_token(&claims);
        let long = json!({"token": format!("eyJ{}", "x".repeat(9000))}).to_string();
        let replies = [
            ("<html>Log in</html>".to_owned()),
            (r#"{"access_token":"x"}"#.to_owned()),
            (r#"{"token":"opaque"}"#.to_owned()),
            long,
            of(json!({"sub": "fed_test+robot2", "iat": 0, "exp": 3600})),
            of(json!({"iat": 0, "exp": 3600})),
            of(json!({"sub": "fed_test+robot1", "iat": 3600, "exp": 3600})),
            of(json!({"sub": "fed_test+robot1", "exp": 3600})),
            of(json!({"sub": "fed_test+robot1", "iat": 0, "exp": 3600}))
                .replace("\"}", "\\u0007\"}"),
        ];
        let texts: Vec<String> =
            replies.iter().map(|body| shown(&answered(body).expect_err("refused"))).collect();
        insta::assert_snapshot!(texts.join("\n\n"), @"
        Quay at `quay.example.com` answered 200 with something that is not JSON
        hint: something else answers in Quay's place, such as a login page: check `api_url` in the table at /etc/quayfed/config.toml:1

        Quay at `quay.example.com` answered 200 without a `token`
        hint: something else answers in Quay's place, such as a login page: check `api_url` in the table at /etc/quayfed/config.toml:1

        the robot token from Quay at `quay.example.com` is opaque: it has no `.`, so it is not a JWT
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` is longer than 8192 bytes
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` is for `fed_test+robot2`, not for `fed_test+robot1`
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` has no subject (`sub`)
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` does not end after it begins (`exp`, `iat`)
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` does not end after it begins (`exp`, `iat`)
        hint: no token was handed out; show this to whoever runs that Quay

        the robot token from Quay at `quay.example.com` is not a JWT: its signature is not base64url
        hint: no token was handed out; show this to whoever runs that Quay
        ");
    }

    #[test]
    fn no_reply_at_all_is_explained() {
        let of = |kind| {
            let script = Script::of([fault(kind), fault(kind)]);
            shown(&exchange_with(&script, &testing::oidc_token()).expect_err("a failure"))
        };
        let texts = [
            of(TransportFault::Broken),
            of(TransportFault::Timeout),
            of(TransportFault::Name),
            of(TransportFault::UntrustedIssuer),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @"
        Quay at `quay.example.com` gave no complete reply: something happened
        hint: try again; a Quay without a proxy in front does so where it cannot reach the issuer `https://sso.example.com/realms/quayrealm`

        Quay at `quay.example.com` gave no answer within 15s
        hint: Quay asks the issuer `https://sso.example.com/realms/quayrealm` at every exchange, which may be what takes the time; `exchange_timeout` in the table at /etc/quayfed/config.toml:1 sets how long to wait

        Quay at `quay.example.com` could not be reached: something happened
        hint: check the host's name and this host's DNS

        Quay at `quay.example.com` could not be reached: something happened
        hint: set `ca_file` in the table at /etc/quayfed/config.toml:1 to the CA's certificate in PEM, or add it to the system's bundle
        ");
    }
}
