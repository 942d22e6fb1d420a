//! Every answer that Quay was recorded to give, with the text that explains it.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::config::settings::{TokenFile, TokenVariable};
use crate::http::testing::{NOW, Script, fault, reply, world};
use crate::jwt;
use crate::quay::testing::{
    ISSUER, good_claims, good_header, jwt as token_of, oidc_token, rule, rule_with, shown,
};
use crate::secret::Secret;

/// Explains an answer to a token with this header and these claims, without looking further.
fn explained(answer: &Response, header: &Value, claims: &Value) -> StepFailure {
    explain_for(&rule(), answer, &token_of(header, claims), &Script::of([]), Probe::Never)
}

fn explain_for(
    rule: &Rule,
    answer: &Response,
    token: &str,
    script: &Script,
    probe: Probe,
) -> StepFailure {
    let raw = Secret::new(token.to_owned());
    let unverified = jwt::peek(token).expect("a JWT");
    let presented = Presented { raw: &raw, unverified: &unverified };
    explain(&world(), script, rule, presented, answer, probe)
}

fn said(words: &str) -> Response {
    reply(400, &json!({"message": words}).to_string())
}

fn of_words(words: &str) -> String {
    shown(&explained(&said(words), &good_header(), &good_claims()))
}

fn with(mut document: Value, name: &str, value: Value) -> Value {
    document[name] = value;
    document
}

fn without(mut document: Value, name: &str) -> Value {
    document.as_object_mut().expect("an object").remove(name);
    document
}

#[test]
fn what_the_federation_lacks_is_named_in_the_words_of_its_form() {
    let words = [
        "Could not find robot with specified username",
        "Robot does not have federated login configured",
        "issuer https://sso.example.com/realms/quayrealm not configured for this robot",
        "Token does not match robot",
    ];
    insta::assert_snapshot!(words.map(of_words).join("\n\n"), @"
    Quay at `quay.example.com` has no robot account `fed_test+robot1`
    hint: create it in Quay (`fed_test`, Robot Accounts), or correct `robot` in /etc/quayfed/config.toml:2

    Quay at `quay.example.com` has no federation for the robot account `fed_test+robot1`
    hint: in Quay, at the robot account's federation, add issuer `https://sso.example.com/realms/quayrealm` and subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`

    the federation of `fed_test+robot1` does not list the issuer `https://sso.example.com/realms/quayrealm`
    hint: in Quay, at the robot account's federation, add this issuer with subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`: it is compared byte for byte, a trailing slash matters

    the federation of `fed_test+robot1` does not list the subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e` for issuer `https://sso.example.com/realms/quayrealm`
    hint: in Quay, at the robot account's federation, add this subject: it is compared byte for byte; wildcards are not supported; at Keycloak it changes when service accounts are switched off and on
    ");
}

#[test]
fn what_the_token_lacks_is_named() {
    let lacking = |words, header, claims| shown(&explained(&said(words), &header, &claims));
    let texts = [
        lacking("Token does not contain issuer", good_header(), without(good_claims(), "iss")),
        lacking("Token does not match robot", good_header(), without(good_claims(), "sub")),
        lacking(
            "Invalid token: Missing `kid` header",
            without(good_header(), "kid"),
            good_claims(),
        ),
        lacking(
            "Invalid token: Token is missing the \"exp\" claim",
            good_header(),
            without(good_claims(), "exp"),
        ),
        lacking(
            "issuer quay not configured for this robot",
            good_header(),
            with(good_claims(), "iss", json!("quay")),
        ),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the OIDC token has no issuer (`iss`)
    hint: it is not an OIDC access or ID token: take another one from the provider

    the OIDC token has no subject (`sub`)
    hint: let the provider put it in; in Keycloak the client scope `basic` does

    the OIDC token does not name the key that it is signed with (`kid`)
    hint: Quay needs that: let the provider put `kid` into the header

    the OIDC token has no `exp`
    hint: Quay needs it: let the provider put it in

    the token is a robot token of Quay's own, not an OIDC token
    hint: let identity `keycloak` (/etc/quayfed/config.toml:5) give the provider's token
    ");
}

#[test]
fn what_the_verification_found_is_named_with_the_value_at_fault() {
    let found = |words, header, claims| shown(&explained(&said(words), &header, &claims));
    let texts = [
        of_words("Invalid token: Signature verification failed"),
        found(
            "Invalid token: The specified alg value is not allowed",
            with(good_header(), "alg", json!("RS512")),
            good_claims(),
        ),
        found(
            "Invalid token: Audience doesn't match",
            good_header(),
            with(good_claims(), "aud", json!(["account", "api"])),
        ),
        found(
            "Invalid token: Audience doesn't match",
            good_header(),
            without(good_claims(), "aud"),
        ),
        of_words(
            "Invalid token: Issuer 'https://sso.example.com/realms/quayrealm' not in configured \
             issuers: ['https://internal:8443/realms/quayrealm']",
        ),
        of_words("Invalid token: Invalid issuer"),
        of_words("Invalid token: Something new"),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the OIDC token's signature is not by the key `key-1` that `https://sso.example.com/realms/quayrealm` publishes
    hint: get a new token; if it stays so, the token was changed on its way, or the provider signs with another key than it publishes under that name

    the OIDC token is signed with `RS512`; Quay accepts only RS256 and RS384
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key (Keycloak: `Access token signature algorithm` of the client; SPIRE: `jwt_key_type`)

    the OIDC token is for the audience `account`, `api`, which the federation of `fed_test+robot1` does not accept
    hint: let the provider put the federation's audience into `aud`: in Keycloak by an audience mapper (for lightweight tokens with `Add to lightweight access token`), elsewhere often by `audience` in the table at /etc/quayfed/config.toml:5; where several entries have this issuer, Quay heeds only the audiences of the last one that has any

    the OIDC token has no audience (`aud`), and Quay's federation asks for one
    hint: let the provider put the federation's audience into `aud`: in Keycloak by an audience mapper (for lightweight tokens with `Add to lightweight access token`), elsewhere often by `audience` in the table at /etc/quayfed/config.toml:5; where several entries have this issuer, Quay heeds only the audiences of the last one that has any

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer (`https://internal:8443/realms/quayrealm`)
    hint: correct the provider's public URL (in Keycloak `hostname`): `iss` and the document's `issuer` must be equal byte for byte, a trailing slash matters

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer
    hint: correct the provider's public URL (in Keycloak `hostname`): `iss` and the document's `issuer` must be equal byte for byte, a trailing slash matters

    Quay at `quay.example.com` does not accept the OIDC token: Something new
    hint: it was issued by `https://sso.example.com/realms/quayrealm` for subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`
    ");
}

#[test]
fn times_are_named_by_both_clocks_and_what_follows_depends_on_the_source() {
    const EXPIRED: &str = "Invalid token: Signature has expired";
    let token = |iat: u64, exp: u64| {
        let claims = with(with(good_claims(), "iat", json!(iat)), "exp", json!(exp));
        token_of(&good_header(), &claims)
    };
    let of = |source: Option<SourceSpec>, words, iat, exp| {
        let rule = source.map_or_else(rule, rule_with);
        shown(&explain_for(&rule, &said(words), &token(iat, exp), &Script::of([]), Probe::Never))
    };
    let file = TokenFile { path: "/run/secrets/oidc".into(), json_field: None };
    let variable = TokenVariable { variable: "QUAY_TOKEN".to_owned(), json_field: None };
    let texts = [
        of(None, EXPIRED, NOW - 1000, NOW - 245),
        of(None, EXPIRED, NOW - 10, NOW + 290),
        of(Some(SourceSpec::File(file)), EXPIRED, NOW - 90_000, NOW - 9000),
        of(Some(SourceSpec::Env(variable)), EXPIRED, NOW - 1000, NOW - 90),
        of(
            None,
            "Invalid token: Issued At claim (iat) cannot be in the future.",
            NOW + 125,
            NOW + 300,
        ),
        of(
            None,
            "Invalid token: Issued At claim (iat) cannot be in the future.",
            NOW - 3,
            NOW + 300,
        ),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the OIDC token has expired: it ended at 2026-11-24T05:55:55Z, 4 min ago by this host's clock (2026-11-24T06:00:00Z)
    hint: the provider has just issued it: its clock and this host's differ, or its tokens expire too soon

    Quay says that the OIDC token has expired, which ends at 2026-11-24T06:04:50Z (4 min from now by this host's clock, 2026-11-24T06:00:00Z)
    hint: the clocks of Quay and this host differ: set them right

    the OIDC token has expired: it ended at 2026-11-24T03:30:00Z, 2 h 30 min ago by this host's clock (2026-11-24T06:00:00Z)
    hint: the file `/run/secrets/oidc` is not kept up to date: look at what writes it

    the OIDC token has expired: it ended at 2026-11-24T05:58:30Z, 90 s ago by this host's clock (2026-11-24T06:00:00Z)
    hint: the variable QUAY_TOKEN was set too long ago: let the job get its token shortly before, or with a longer life

    the OIDC token was issued in the future, says Quay: at 2026-11-24T06:02:05Z, 2 min ahead of this host's clock (2026-11-24T06:00:00Z)
    hint: the clocks of the provider and Quay differ by more than 30 s: set them right

    the OIDC token was issued in the future, says Quay: at 2026-11-24T05:59:57Z, 3 s ago by this host's clock (2026-11-24T06:00:00Z)
    hint: the clocks of the provider and Quay differ by more than 30 s: set them right
    ");
}

#[test]
fn a_header_that_did_not_arrive_is_told() {
    let texts = ["No auth header", "Invalid robot"].map(|words| {
        let body = json!({"error": words}).to_string();
        let answer = reply(401, &body);
        shown(&explained(&answer, &good_header(), &good_claims()))
    });
    insta::assert_snapshot!(texts.join("\n\n"), @"
    Quay at `quay.example.com` did not get the Authorization header that was sent (401)
    hint: something on the way removes or changes it: look at gateways and proxies before Quay

    Quay at `quay.example.com` says that `fed_test+robot1` is not a robot account
    hint: correct `robot` in /etc/quayfed/config.toml:2: NAMESPACE+NAME
    ");
}

#[test]
fn r21_an_unknown_text_is_shown_cleaned() {
    let text = of_words(&format!("a\u{1b}[2J new text with {}", oidc_token()));
    insta::assert_snapshot!(text, @r"
    Quay at `quay.example.com` refused (400): a\u{1b}[2J new text with [redacted]
    hint: this answer is not known here; it was about robot `fed_test+robot1`, issuer `https://sso.example.com/realms/quayrealm`, subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`
    ");
}

#[test]
fn a_500_without_a_word_is_explained_by_the_token() {
    let of =
        |header: Value, claims: Value| shown(&explained(&reply(500, "<html>"), &header, &claims));
    let texts = [
        of(with(good_header(), "alg", json!("ES256")), good_claims()),
        of(with(good_header(), "crit", json!(["exp2"])), good_claims()),
        of(good_header(), with(good_claims(), "iss", json!("http://sso.example.com"))),
        of(good_header(), good_claims()),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the OIDC token is signed with `ES256`; Quay accepts only RS256 and RS384
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key (Keycloak: `Access token signature algorithm` of the client; SPIRE: `jwt_key_type`)

    the OIDC token's header demands extensions that Quay does not know (`crit`: `exp2`)
    hint: let `https://sso.example.com/realms/quayrealm` issue tokens without `crit` in their header

    the OIDC token's issuer `http://sso.example.com` is not https, as Quay demands
    hint: let the provider issue its tokens under an https URL (in Keycloak `hostname`), and set that in the robot account's federation

    Quay at `quay.example.com` returned 500 with no explanation
    hint: it could not read discovery or keys of issuer `https://sso.example.com/realms/quayrealm`, or has no key `key-1` from it, or robot `fed_test+robot1` is disabled, or its database is away: see its log
    ");
}

/// What was asked of whom: the path, and whether with the damaged token. No token that can be used was
/// sent, and what was sent went to the rule's API URL.
fn asked_of(script: &Script) -> Vec<String> {
    let (signed, signature) =
        oidc_token().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a JWT");
    let mut list = Vec::new();
    for asked in script.asked() {
        assert!(asked.timeout <= Duration::from_secs(3), "{asked:?}");
        assert!(asked.form.is_none());
        let path = asked.url.strip_prefix("https://quay.example.com");
        list.push(match &asked.authorization {
            None => path.unwrap_or(&asked.url).to_owned(),
            Some(header) => {
                let encoded = header.strip_prefix("Basic ").expect("Basic");
                let credentials =
                    String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("text");
                let zeros = "A".repeat(signature.len());
                assert_ne!(zeros, signature);
                assert_eq!(credentials, format!("fed_test+robot1:{signed}.{zeros}"));
                format!("{} with a damaged token", path.expect("the API URL"))
            }
        });
    }
    list
}

fn explained_by(
    answer: &Response,
    replies: Vec<Result<Response, TransportError>>,
) -> (String, Vec<String>) {
    let script = Script::of(replies);
    let deadline = Deadline::after(world().clock.boot(), Duration::from_secs(20));
    let probe = Probe::WithinDeadline(deadline);
    let failed = explain_for(&rule(), answer, &oidc_token(), &script, probe);
    (shown(&failed), asked_of(&script))
}

const KEYS: &str = "https://sso.example.com/keys";

#[expect(clippy::unnecessary_wraps, reason = "a script takes it so")]
fn answered(body: &Value) -> Result<Response, TransportError> {
    Ok(reply(200, &body.to_string()))
}

fn document() -> Result<Response, TransportError> {
    answered(&json!({"issuer": ISSUER, "jwks_uri": KEYS}))
}

fn keys(keys: &Value) -> Result<Response, TransportError> {
    answered(&json!({"keys": keys}))
}

fn key(kid: &str) -> Value {
    json!({"kid": kid, "kty": "RSA", "n": "AQAB", "e": "AQAB"})
}

#[expect(clippy::unnecessary_wraps, reason = "a script takes it so")]
fn health(database: bool) -> Result<Response, TransportError> {
    let body = json!({"data": {"services": {"auth": true, "database": database}}});
    Ok(reply(if database { 200 } else { 503 }, &body.to_string()))
}

#[test]
fn r39_a_500_without_a_word_is_decided_by_a_damaged_token_and_by_quays_health() {
    let silent = || Ok(reply(500, "<html>"));
    let sorry = |words: &str| Ok(said(words));
    let cases = [
        ("disabled", vec![sorry("Invalid token: Signature verification failed")]),
        ("database away", vec![silent(), health(false)]),
        ("issuer unread", vec![silent(), health(true), document(), keys(&json!([key("key-1")]))]),
        (
            "issuer unread, no health",
            vec![silent(), Ok(reply(404, "<html>")), document(), keys(&json!([key("key-1")]))],
        ),
        ("issuer unreachable", vec![Ok(reply(502, "<html>")), Ok(reply(502, "<html>"))]),
        (
            "federation changed meanwhile",
            vec![sorry("Robot does not have federated login configured")],
        ),
        ("undecided", vec![Ok(reply(429, "")), document(), keys(&json!([key("key-1")]))]),
        (
            "undecided, no reply",
            vec![fault(TransportFault::Timeout), fault(TransportFault::Timeout)],
        ),
        (
            "an accepted damaged token",
            vec![
                answered(&json!({"token": oidc_token()})),
                document(),
                keys(&json!([key("key-1")])),
            ],
        ),
    ];
    let told = cases.map(|(name, replies)| {
        let (text, asked) = explained_by(&reply(500, "<html>"), replies);
        format!("== {name}: {}\n{text}", asked.join(", "))
    });
    insta::assert_snapshot!(told.join("\n\n"), @r#"
    == disabled: /oauth2/federation/robot/token with a damaged token
    Quay at `quay.example.com` returned 500 with no explanation: the robot account `fed_test+robot1` is probably disabled
    hint: ask an administrator of Quay to enable `fed_test+robot1`: the issuer's keys are read, and what comes next fails; if it is enabled, see Quay's log

    == database away: /oauth2/federation/robot/token with a damaged token, /health/instance
    Quay at `quay.example.com` cannot reach its database
    hint: show this to whoever runs that Quay; `https://quay.example.com/health/instance` says so too (`"database": false`)

    == issuer unread: /oauth2/federation/robot/token with a damaged token, /health/instance, https://sso.example.com/realms/quayrealm/.well-known/openid-configuration, https://sso.example.com/keys
    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`, which this host can read
    hint: Quay reads `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` and the keys that it names at every exchange: check that from Quay's host; its log has the cause

    == issuer unread, no health: /oauth2/federation/robot/token with a damaged token, /health/instance, https://sso.example.com/realms/quayrealm/.well-known/openid-configuration, https://sso.example.com/keys
    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`, which this host can read
    hint: Quay reads `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` and the keys that it names at every exchange: check that from Quay's host; its log has the cause

    == issuer unreachable: /oauth2/federation/robot/token with a damaged token, /oauth2/federation/robot/token with a damaged token
    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502)
    hint: Quay itself works; its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

    == federation changed meanwhile: /oauth2/federation/robot/token with a damaged token
    Quay at `quay.example.com` has no federation for the robot account `fed_test+robot1`
    hint: in Quay, at the robot account's federation, add issuer `https://sso.example.com/realms/quayrealm` and subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`

    == undecided: /oauth2/federation/robot/token with a damaged token, https://sso.example.com/realms/quayrealm/.well-known/openid-configuration, https://sso.example.com/keys
    Quay at `quay.example.com` returned 500 with no explanation; token, discovery and keys are in order from here
    hint: ask an administrator of Quay whether robot `fed_test+robot1` is disabled, and whether its host can read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration`; its log has the cause

    == undecided, no reply: /oauth2/federation/robot/token with a damaged token, https://sso.example.com/realms/quayrealm/.well-known/openid-configuration
    Quay at `quay.example.com` returned 500 with no explanation
    hint: the issuer `https://sso.example.com/realms/quayrealm` cannot be reached from this host either (no answer within 3s): see that Quay's host reaches it; Quay's log has the cause

    == an accepted damaged token: /oauth2/federation/robot/token with a damaged token, https://sso.example.com/realms/quayrealm/.well-known/openid-configuration, https://sso.example.com/keys
    Quay at `quay.example.com` returned 500 with no explanation; token, discovery and keys are in order from here
    hint: ask an administrator of Quay whether robot `fed_test+robot1` is disabled, and whether its host can read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration`; its log has the cause
    "#);
}

#[test]
fn r39_a_502_is_decided_by_asking_without_a_token() {
    let none = || Ok(reply(401, r#"{"error":"No auth header"}"#));
    let loading = "<html><head><title>Quay Loading</title></head></html>";
    let down = || vec![Ok(reply(502, loading)), Ok(reply(502, loading))];
    let cases = [
        ("502, issuer", reply(502, loading), vec![none()]),
        ("502 of another page, issuer", reply(502, "<html>"), vec![none()]),
        ("502, Quay", reply(502, loading), down()),
        ("502, nobody", reply(502, loading), vec![fault(TransportFault::Timeout)]),
        ("502, not Quay", reply(502, loading), vec![Ok(reply(401, "<html>"))]),
        ("504, issuer", reply(504, "<html>"), vec![none()]),
        ("504, Quay", reply(504, "<html>"), down()),
    ];
    let told = cases.map(|(name, answer, replies)| {
        let (text, asked) = explained_by(&answer, replies);
        assert!(asked.iter().all(|path| path == "/oauth2/federation/robot/token"), "{asked:?}");
        format!("== {name}\n{text}")
    });
    insta::assert_snapshot!(told.join("\n\n"), @"
    == 502, issuer
    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502)
    hint: Quay itself works; its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

    == 502 of another page, issuer
    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502)
    hint: Quay itself works; its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

    == 502, Quay
    Quay at `quay.example.com` is down or starting: without a token it fails too (502)
    hint: try again later; if it stays so, show this to whoever runs that Quay

    == 502, nobody
    Quay at `quay.example.com` is down or starting: without a token it fails too (502)
    hint: try again later; if it stays so, show this to whoever runs that Quay

    == 502, not Quay
    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502), or is itself starting
    hint: if `https://quay.example.com` works otherwise: its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

    == 504, issuer
    Quay at `quay.example.com` waited too long for the issuer `https://sso.example.com/realms/quayrealm` (504)
    hint: see how fast the issuer's discovery document and keys are, from Quay's host

    == 504, Quay
    Quay at `quay.example.com` is down or starting: without a token it fails too (504)
    hint: try again later; if it stays so, show this to whoever runs that Quay
    ");
}

#[test]
fn r39_no_reply_at_all_is_decided_by_asking_without_a_token() {
    let none = || Ok(reply(401, r#"{"error":"No auth header"}"#));
    let of = |kind, seconds, replies: Vec<_>| {
        let world = world();
        let script = Script::of(replies);
        let raw = Secret::new(oidc_token());
        let unverified = jwt::peek(raw.expose()).expect("a JWT");
        let presented = Presented { raw: &raw, unverified: &unverified };
        let probe = Probe::WithinDeadline(Deadline::after(
            world.clock.boot(),
            Duration::from_secs(seconds),
        ));
        let Err(error) = fault(kind) else { panic!("a fault") };
        let failed = explain_no_reply(&world, &script, &rule(), presented, &error, probe);
        (shown(&failed), asked_of(&script).len())
    };
    let texts = [
        of(TransportFault::Broken, 10, vec![none()]),
        of(
            TransportFault::Broken,
            10,
            vec![fault(TransportFault::Broken), fault(TransportFault::Broken)],
        ),
        of(TransportFault::Timeout, 10, vec![none()]),
        of(TransportFault::Timeout, 10, vec![fault(TransportFault::Timeout)]),
        of(TransportFault::Timeout, 4, vec![]),
        of(TransportFault::Connect, 10, vec![]),
    ];
    let told: Vec<_> =
        texts.iter().map(|(text, asked)| format!("{text}\nasked: {asked}")).collect();
    insta::assert_snapshot!(told.join("\n\n"), @"
    Quay at `quay.example.com` gave no complete reply: something happened
    hint: Quay answers without a token, so it probably cannot reach the issuer: its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate
    asked: 1

    Quay at `quay.example.com` gave no complete reply: something happened
    hint: without a token it does not answer either: Quay, or what stands before it, is down or starting; try again later, and if it stays so, show this to whoever runs it
    asked: 2

    Quay at `quay.example.com` gave something happened
    hint: Quay answers at once without a token, so reading the issuer `https://sso.example.com/realms/quayrealm` takes the time; `exchange_timeout` in the table at /etc/quayfed/config.toml:1 sets how long to wait
    asked: 1

    Quay at `quay.example.com` gave something happened
    hint: without a token it does not answer either: Quay, or what stands before it, is down or starting; try again later, and if it stays so, show this to whoever runs it
    asked: 1

    Quay at `quay.example.com` gave something happened
    hint: Quay asks the issuer `https://sso.example.com/realms/quayrealm` at every exchange, which may be what takes the time; `exchange_timeout` in the table at /etc/quayfed/config.toml:1 sets how long to wait
    asked: 0

    Quay at `quay.example.com` could not be reached: something happened
    hint: check host, port and firewall; where a proxy is needed, set `proxy` in the table at /etc/quayfed/config.toml:1 or HTTPS_PROXY
    asked: 0
    ");
}

#[test]
fn r39_an_issuer_that_quay_cannot_read_is_looked_at_from_here() {
    let of = |mut replies: Vec<Result<Response, TransportError>>| {
        let mut all = vec![Ok(reply(500, "<html>")), health(true)];
        all.append(&mut replies);
        explained_by(&reply(500, "<html>"), all).0
    };
    let texts = [
        of(vec![Ok(reply(404, "<html>"))]),
        of(vec![Ok(reply(200, "<html>"))]),
        of(vec![answered(&json!({"issuer": "https://other.example.com"}))]),
        of(vec![fault(TransportFault::UntrustedIssuer)]),
        of(vec![answered(&json!({"issuer": ISSUER}))]),
        of(vec![answered(&json!({"issuer": ISSUER, "jwks_uri": "http://sso.example.com/keys"}))]),
        of(vec![document(), Ok(reply(403, "<html>"))]),
        of(vec![document(), Ok(reply(200, "<html>"))]),
        of(vec![document(), fault(TransportFault::Tls)]),
        of(vec![document(), keys(&json!([key("key-2")]))]),
        of(vec![document(), keys(&json!([{"kid": "key-1", "kty": "EC"}]))]),
        of(vec![document(), keys(&json!([key("key-1"), {"kty": "\u{1b}AKP"}]))]),
        of(vec![document(), keys(&json!([key("key-1")]))]),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @r#"
    the issuer's discovery document `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answers 404
    hint: Quay reads this at every exchange: the provider must publish it there

    `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is not a discovery document
    hint: Quay reads this at every exchange: the provider must publish it there

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer
    hint: correct the provider's public URL: the two must be equal byte for byte

    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`
    hint: the issuer `https://sso.example.com/realms/quayrealm` cannot be reached from this host either (something happened): see that Quay's host reaches it; Quay's log has the cause

    `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` names no URL of keys (`jwks_uri`), so Quay finds none
    hint: Quay reads this at every exchange: the provider must publish it there

    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`
    hint: the issuer's keys are at `http://sso.example.com/keys`, which Quay reads and this program does not, since anybody on the way could change them: look at them there

    the issuer's keys `https://sso.example.com/keys` answer 403
    hint: Quay reads this at every exchange: the provider must publish it there

    `https://sso.example.com/keys` is not a set of keys (JWKS)
    hint: Quay reads this at every exchange: the provider must publish it there

    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`
    hint: the issuer's keys `https://sso.example.com/keys` cannot be read from this host either (something happened): see that Quay's host reads them; Quay's log has the cause

    the OIDC token is signed with the key `key-1`, which is not at `https://sso.example.com/keys`
    hint: get a new token, for keys change; if it stays so, the provider signs with a key that it does not publish

    the OIDC token is signed with a key of type `EC`; Quay accepts only RSA
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key

    `https://sso.example.com/keys` holds a key of the unknown type `\u{1b}AKP`, so Quay reads no key there
    hint: let the provider publish only keys of the types RSA, EC, OKP and oct there, RSA keys with `n` and `e`

    Quay at `quay.example.com` cannot read the discovery document or keys of issuer `https://sso.example.com/realms/quayrealm`, which this host can read
    hint: Quay reads `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` and the keys that it names at every exchange: check that from Quay's host; its log has the cause
    "#);
}

#[test]
fn nobody_is_asked_when_there_is_no_time_for_it() {
    let deadline = Deadline::after(world().clock.boot(), Duration::from_millis(300));
    let answer = reply(500, "<html>");
    let probe = Probe::WithinDeadline(deadline);
    let failed = explain_for(&rule(), &answer, &oidc_token(), &Script::of([]), probe);
    assert!(failed.failure.hint().ends_with("see its log"), "{failed:?}");
}

#[test]
fn an_answer_that_is_no_word_of_quays_is_told_by_its_status() {
    let of = |status: u16, body: &str, location: Option<&str>| {
        let mut answer = reply(status, body);
        answer.location = location.map(str::to_owned);
        shown(&explained(&answer, &good_header(), &good_claims()))
    };
    let loading = "<html><head><title>Quay Loading</title></head></html>";
    let texts = [
        of(400, "<title>400 Request Header Or Cookie Too Large</title>", None),
        of(400, "<html>bad</html>", None),
        of(404, "<html>Quay</html>", None),
        of(308, "", Some("http://quay.example.com/oauth2/federation/robot/token/")),
        of(302, "", Some("https://login.example.com/?state=secret")),
        of(405, "<html>", None),
        of(429, "", None),
        of(502, loading, None),
        of(502, "<html>bad gateway</html>", None),
        of(503, "", None),
        of(504, "<html>", None),
        of(403, "<html>blocked</html>", None),
        of(407, "<html>", None),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    Quay at `quay.example.com` answered 400: an OIDC token of 251 bytes is too long for what stands before it
    hint: raise its limit for a header (nginx: `large_client_header_buffers`), or let the provider put fewer claims into the token

    Quay at `quay.example.com` answered 400 with a page that is not Quay's
    hint: a gateway, firewall or login page answers in its place: check `api_url` in the table at /etc/quayfed/config.toml:1 and what stands before Quay

    Quay at `quay.example.com` has no token exchange (404)
    hint: it came with Quay 3.13; or `api_url` in the table at /etc/quayfed/config.toml:1 is not Quay's

    Quay at `quay.example.com` has no token exchange (308)
    hint: it came with Quay 3.13; or `api_url` in the table at /etc/quayfed/config.toml:1 is not Quay's

    Quay at `quay.example.com` answered 302, a redirect to `login.example.com`, which is not followed
    hint: set `api_url` in the table at /etc/quayfed/config.toml:1 to Quay itself; a login page may stand before it

    Quay at `quay.example.com` does not allow the request for a token (405)
    hint: something before Quay does not allow GET, or `api_url` in the table at /etc/quayfed/config.toml:1 is not Quay's

    Quay at `quay.example.com` refuses more requests for now (429)
    hint: try again later; see how many hosts share this address

    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502), or is itself starting
    hint: if `https://quay.example.com` works otherwise: its host must read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

    Quay at `quay.example.com` cannot be used now (502)
    hint: Quay, or what stands before it, is down or starting: try again later

    Quay at `quay.example.com` cannot be used now (503)
    hint: Quay, or what stands before it, is down or starting: try again later

    Quay at `quay.example.com` waited too long for the issuer `https://sso.example.com/realms/quayrealm` (504)
    hint: see how fast the issuer's discovery document and keys are, from Quay's host

    Quay at `quay.example.com` answered 403 with a page that is not Quay's
    hint: a gateway, firewall or login page answers in its place: check `api_url` in the table at /etc/quayfed/config.toml:1 and what stands before Quay

    Quay at `quay.example.com` answered 407 with a page that is not Quay's
    hint: a gateway, firewall or login page answers in its place: check `api_url` in the table at /etc/quayfed/config.toml:1 and what stands before Quay
    ");
}

#[test]
fn r14_an_unknown_robot_is_a_kind_of_its_own() {
    let kind = |words| explained(&said(words), &good_header(), &good_claims()).kind;
    assert_eq!(kind(ROBOT_UNKNOWN), StepFailureKind::RobotUnknown);
    assert_eq!(kind("Token does not match robot"), StepFailureKind::Network);
}

#[test]
fn r15_retry_after_is_handed_on() {
    let mut answer = reply(429, "");
    answer.retry_after = Some("120".to_owned());
    let failed = explained(&answer, &good_header(), &good_claims());
    assert_eq!(failed.retry_after, Some(Duration::from_mins(2)));
}

/// No page and no `unknown` text for anything that was recorded from a real Quay.
#[test]
fn every_recorded_refusal_is_explained_and_no_page_is_shown() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quay/replies.json");
    let recorded: Value =
        serde_json::from_slice(&std::fs::read(path).expect("recorded")).expect("JSON");
    let mut count = 0;
    for case in recorded.as_array().expect("a list") {
        let text = |name: &str| case[name].as_str().unwrap_or_default();
        let status = u16::try_from(case["status"].as_u64().unwrap_or_default()).unwrap_or_default();
        let is_refusal = text("method") == "GET" && status != 200 && status != 0;
        if !is_refusal || !text("path").ends_with("/oauth2/federation/robot/token") {
            continue;
        }
        count += 1;
        let answer = reply(status, text("body"));
        let told = shown(&explained(&answer, &good_header(), &good_claims()));
        assert!(!told.contains('<') && !told.contains("is not known here"), "{case}: {told}");
        assert!(told.lines().next().is_some_and(|cause| cause.chars().count() < 200), "{told}");
    }
    assert!(count > 50, "{count}");
}

#[test]
fn r21_where_an_issuers_keys_are_is_shown_cleaned_and_cut() {
    let keys = format!("https://sso.example.com/{}/{}", oidc_token(), "k".repeat(20_000));
    let script = Script::of(vec![
        Ok(reply(500, "<html>")),
        Ok(reply(404, "<html>")),
        Ok(reply(200, &json!({"issuer": ISSUER, "jwks_uri": keys}).to_string())),
        Ok(reply(404, "<html>")),
    ]);
    let probe =
        Probe::WithinDeadline(Deadline::after(world().clock.boot(), Duration::from_secs(10)));
    let answer = reply(500, "<html>");
    let failed = explain_for(&rule(), &answer, &oidc_token(), &script, probe);
    assert!(failed.failure.cause().len() < 400, "{}", failed.failure.cause());
    assert!(!failed.failure.cause().contains("eyJ"), "{}", failed.failure.cause());
}

#[test]
fn a_time_at_the_end_of_all_numbers_is_told_too() {
    for date in [json!(i64::MIN), json!(i64::MAX), json!(-1e300), json!(1e300), json!(0)] {
        for words in ["Signature has expired", "Issued At claim (iat) cannot be in the future."] {
            let claims = with(with(good_claims(), "exp", date.clone()), "iat", date.clone());
            let answer = json!({"message": format!("Invalid token: {words}")}).to_string();
            let answer = reply(400, &answer);
            assert!(!shown(&explained(&answer, &good_header(), &claims)).is_empty());
        }
    }
}

#[test]
fn a_span_has_the_unit_that_a_person_would_choose() {
    for (seconds, wanted) in [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (299, "4 min"),
        (329, "5 min"),
        (330, "6 min"),
        (3569, "59 min"),
        (3598, "60 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (7199, "2 h"),
        (90_000, "25 h"),
        (200_000, "2 days"),
    ] {
        assert_eq!(span(seconds), wanted);
    }
}
