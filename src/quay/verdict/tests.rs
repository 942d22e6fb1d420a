//! Every answer that Quay was recorded to give, with the text that explains it.

use std::path::Path;
use std::time::Duration;

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
    hint: in Quay, at the robot account's federation, add this issuer with subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e`: it is compared byte for byte, a slash at the end counts

    the federation of `fed_test+robot1` does not list the subject `8c1f2b1e-7b1a-4c56-9d0e-1f2a3b4c5d6e` for issuer `https://sso.example.com/realms/quayrealm`
    hint: in Quay, at the robot account's federation, add this subject: it is compared byte for byte, without wildcards; at Keycloak it changes when service accounts are switched off and on
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

    the OIDC token is signed with `RS512`; Quay takes RS256 and RS384 alone
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key (Keycloak: `Access token signature algorithm` of the client; SPIRE: `jwt_key_type`)

    the OIDC token is for the audience `account`, `api`, not for Quay's
    hint: let the provider put the federation's audience into `aud`: in Keycloak by an audience mapper (for lightweight tokens with `Add to lightweight access token`), elsewhere often by `audience` in the table at /etc/quayfed/config.toml:5

    the OIDC token has no audience (`aud`), and Quay's federation asks for one
    hint: let the provider put the federation's audience into `aud`: in Keycloak by an audience mapper (for lightweight tokens with `Add to lightweight access token`), elsewhere often by `audience` in the table at /etc/quayfed/config.toml:5

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer (`https://internal:8443/realms/quayrealm`)
    hint: correct the provider's public URL (in Keycloak `hostname`): `iss` and the document's `issuer` must be equal byte for byte, a slash at the end counts

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer
    hint: correct the provider's public URL (in Keycloak `hostname`): `iss` and the document's `issuer` must be equal byte for byte, a slash at the end counts

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
    hint: the provider has just issued it: its clock and this host's differ, or its tokens live too short

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

    Quay at `quay.example.com` says that `fed_test+robot1` is no robot account
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
        of(good_header(), with(good_claims(), "iss", json!("http://sso.example.com"))),
        of(good_header(), good_claims()),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the OIDC token is signed with `ES256`; Quay takes RS256 and RS384 alone
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key (Keycloak: `Access token signature algorithm` of the client; SPIRE: `jwt_key_type`)

    the OIDC token's issuer `http://sso.example.com` is not https, as Quay demands
    hint: let the provider issue its tokens under an https URL (in Keycloak `hostname`), and set that in the robot account's federation

    Quay at `quay.example.com` failed without a word (500)
    hint: it could not read discovery or keys of issuer `https://sso.example.com/realms/quayrealm`, or has no key `key-1` from it, or robot `fed_test+robot1` is disabled: its log tells
    ");
}

#[test]
fn a_500_without_a_word_is_explained_by_a_look_at_the_issuer() {
    const KEYS: &str = "https://sso.example.com/keys";
    let of = |replies: Vec<Result<Response, TransportError>>| {
        let script = Script::of(replies);
        let deadline = Deadline::after(world().clock.boot(), Duration::from_secs(10));
        let answer = reply(500, "<html>");
        let probe = Probe::WithinDeadline(deadline);
        let failed = explain_for(&rule(), &answer, &oidc_token(), &script, probe);
        for asked in script.asked() {
            assert!(asked.timeout <= Duration::from_secs(3));
            assert!(asked.authorization.is_none() && asked.form.is_none());
        }
        shown(&failed)
    };
    let json = |body: Value| Ok(reply(200, &body.to_string()));
    let document = || json(json!({"issuer": ISSUER, "jwks_uri": KEYS}));
    let keys = |kid: &str, kty: &str| json(json!({"keys": [{"kid": kid, "kty": kty}]}));
    let texts = [
        of(vec![Ok(reply(404, "<html>"))]),
        of(vec![Ok(reply(200, "<html>"))]),
        of(vec![json(json!({"issuer": "https://other.example.com"}))]),
        of(vec![fault(TransportFault::UntrustedIssuer)]),
        of(vec![json(json!({"issuer": ISSUER, "jwks_uri": "http://sso.example.com/keys"}))]),
        of(vec![document(), Ok(reply(403, "<html>"))]),
        of(vec![document(), Ok(reply(200, "<html>"))]),
        of(vec![document(), fault(TransportFault::Tls)]),
        of(vec![document(), keys("key-2", "RSA")]),
        of(vec![document(), keys("key-1", "EC")]),
        of(vec![document(), keys("key-1", "RSA")]),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    the issuer's discovery document `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answers 404
    hint: Quay reads this at every exchange: the provider must publish it there

    `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is no discovery document
    hint: Quay reads this at every exchange: the provider must publish it there

    the discovery document of issuer `https://sso.example.com/realms/quayrealm` names another issuer
    hint: correct the provider's public URL: the two must be equal byte for byte

    Quay at `quay.example.com` failed without a word (500)
    hint: the issuer `https://sso.example.com/realms/quayrealm` cannot be reached from this host either (something happened): see that Quay's host reaches it; Quay's log has the cause

    `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` has no https `jwks_uri`, so Quay finds no keys
    hint: Quay reads this at every exchange: the provider must publish it there

    the issuer's keys `https://sso.example.com/keys` answer 403
    hint: Quay reads this at every exchange: the provider must publish it there

    `https://sso.example.com/keys` is no set of keys (JWKS)
    hint: Quay reads this at every exchange: the provider must publish it there

    Quay at `quay.example.com` failed without a word (500)
    hint: the issuer's keys `https://sso.example.com/keys` cannot be read from this host either (something happened): see that Quay's host reads them; Quay's log has the cause

    the OIDC token is signed with the key `key-1`, which is not at `https://sso.example.com/keys`
    hint: get a new token, for keys change; if it stays so, the provider signs with a key that it does not publish

    the OIDC token is signed with a key of type `EC`; Quay takes RSA alone
    hint: let `https://sso.example.com/realms/quayrealm` sign with RS256 and an RSA key

    Quay at `quay.example.com` failed without a word (500); token, discovery and keys are in order from here
    hint: ask an administrator of Quay whether robot `fed_test+robot1` is disabled, and whether its host can read `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration`; its log has the cause
    ");
}

#[test]
fn nobody_is_asked_when_there_is_no_time_for_it() {
    let deadline = Deadline::after(world().clock.boot(), Duration::from_millis(300));
    let answer = reply(500, "<html>");
    let probe = Probe::WithinDeadline(deadline);
    let failed = explain_for(&rule(), &answer, &oidc_token(), &Script::of([]), probe);
    assert!(failed.failure.hint().ends_with("its log tells"), "{failed:?}");
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

    Quay at `quay.example.com` does not let the token be asked for (405)
    hint: something before Quay bars GET, or `api_url` in the table at /etc/quayfed/config.toml:1 is not Quay's

    Quay at `quay.example.com` is asked too often (429)
    hint: try again later; see how many hosts share this address

    Quay at `quay.example.com` cannot reach the issuer `https://sso.example.com/realms/quayrealm` (502), or is itself starting
    hint: if `https://quay.example.com` works otherwise: Quay's host must reach `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` within 5 s and trust its certificate

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
