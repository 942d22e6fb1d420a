//! Plays the recorded cases: each request is rebuilt from what the record says of it, sent to a
//! fresh sandbox, and the reply compared byte for byte.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Https, Reply, basic};
use quayfed_sandbox::{
    Algorithm, EXCHANGE_PATH, KeyId, Options, Sandbox, SignedBy, TokenShape, Version,
};
use serde_json::Value;

/// Cases at the exchange that do not match, with the reason. One that begins to match fails too.
const EXCHANGE_EXCEPTIONS: &[(&str, &str)] = &[];

/// Cases at `/v2/auth`, `/v2/` and `/v1/users/` that do not match, likewise.
const REGISTRY_EXCEPTIONS: &[(&str, &str)] = &[];

/// How much shorter than in reality the time-outs are.
const SHORT: Duration = Duration::from_millis(300);
const TWICE: Duration = Duration::from_millis(900);

struct Case {
    name: String,
    about: String,
    version: Version,
    method: String,
    path: String,
    robot: Option<String>,
    request_body: Option<String>,
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Case {
    fn is_exchange(&self) -> bool {
        self.path.starts_with(EXCHANGE_PATH)
    }

    fn is_registry(&self) -> bool {
        self.path.starts_with("/v2/") || self.path.starts_with("/v1/")
    }

    fn robot(&self) -> &str {
        self.robot.as_deref().unwrap_or_else(|| panic!("{}: no robot recorded", self.name))
    }

    /// The name without the release it was recorded with.
    fn short_name(&self) -> &str {
        let name = &self.name;
        name.strip_prefix("v3.13_").or_else(|| name.strip_prefix("v3.17_")).unwrap_or(name)
    }

    /// The port that the registry had.
    fn recorded_host(&self) -> &'static str {
        match self.version {
            Version::V3_12 => "localhost:8412",
            Version::V3_13 => "localhost:8413",
            Version::V3_17 => "localhost:8417",
            Version::V3_18 => "localhost:8443",
        }
    }
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/quay/replies.json");
    let text = fs::read_to_string(file).expect("the recorded replies");
    let list: Vec<Value> = serde_json::from_str(&text).expect("a JSON list");
    list.iter().map(case).collect()
}

fn case(recorded: &Value) -> Case {
    let text = |name: &str| recorded[name].as_str().map(str::to_owned);
    let headers: BTreeMap<String, String> =
        serde_json::from_value(recorded["headers"].clone()).expect("headers");
    Case {
        name: text("case").expect("a name"),
        about: text("about").expect("what it is about"),
        version: match text("quay").expect("a version").as_str() {
            "3.12" => Version::V3_12,
            "3.13" => Version::V3_13,
            "3.17" => Version::V3_17,
            "master (3.18)" => Version::V3_18,
            other => panic!("an unknown version {other}"),
        },
        method: text("method").expect("a method"),
        path: text("path").expect("a path"),
        robot: text("robot"),
        request_body: text("request_body"),
        status: recorded["status"].as_u64().map(|status| status.try_into().expect("a status")),
        headers,
        body: text("body").expect("a body"),
    }
}

/// A fresh sandbox, set up as the case's Quay was.
fn sandbox_for(case: &Case) -> Sandbox {
    let released = case.version < Version::V3_18;
    let sandbox = Sandbox::start_with(Options {
        version: case.version,
        reverse_proxy: !released,
        discovery_timeout: if case.robot.as_deref() == Some("acme+slowdisc") {
            SHORT
        } else {
            Duration::from_secs(5)
        },
        proxy_timeout: if case.robot.as_deref() == Some("acme+slowjwks") {
            SHORT
        } else {
            Duration::from_mins(1)
        },
        slow_discovery: TWICE,
        slow_jwks: TWICE,
        ..Options::default()
    });
    // Those were set up without TLS.
    sandbox.quay().set_url_scheme(if released { "http" } else { "https" });
    sandbox
}

/// The name of an issuer's path in the table of `tests/quay/README.md`, for the robots bound to
/// another than the default one.
fn issuer_of(sandbox: &Sandbox, robot: &str) -> String {
    let own = sandbox.issuer().url();
    match robot.strip_prefix("acme+") {
        Some("slash") => format!("{own}/slash/"),
        Some("noslashdisc") => format!("{own}/slash"),
        Some("http") => sandbox.issuer().http_url(),
        Some("badtls") => sandbox.issuer().bad_tls_url(),
        Some("noport") => "https://localhost:9".to_owned(),
        Some(name @ ("nodisc" | "badjson" | "nojwks" | "otheriss" | "slowdisc" | "slowjwks")) => {
            format!("{own}/{name}")
        }
        _ => own,
    }
}

/// The Authorization header of a case at the exchange, the state changed where the case says so.
fn exchange_authorization(case: &Case, sandbox: &Sandbox) -> Option<String> {
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    let own = issuer.url();
    let usual = || {
        let issuer = issuer_of(sandbox, case.robot());
        TokenShape::default().issuer(&issuer)
    };
    let with = |shape: TokenShape| Some(basic(case.robot(), &issuer.mint(&shape)));
    let password = |password: &str| Some(basic(case.robot(), password));
    let audiences = || {
        quay.clear_federation("acme+multi");
        quay.bind("acme+multi", &own, "a", Some(vec!["quay".to_owned()]));
        quay.bind("acme+multi", &own, quayfed_sandbox::DEFAULT_SUBJECT, None);
        quay.bind("acme+multi", &format!("{own}/slash/"), "b", None);
    };
    let name = case.short_name();
    let name =
        name.strip_prefix("exchange_fail_").or(name.strip_prefix("exchange_")).unwrap_or(name);
    match name {
        // The header.
        "no_auth" => None,
        "basic_empty" => Some("Basic ".to_owned()),
        "basic_nocolon" => Some(format!("Basic {}", STANDARD.encode(case.robot()))),
        "basic_notb64" => Some("Basic !!!".to_owned()),
        "bearer" => Some(format!("Bearer {}", issuer.mint(&TokenShape::default()))),
        "ok_lowercase_scheme" => with(usual()).map(|header| header.replace("Basic", "basic")),
        // The password.
        "empty_password" | "empty" => password(""),
        "opaque" => password("an-opaque-token"),
        "garbage_jwt" => password("garbage.garbage.garbage"),
        "two_segments" => password("garbage.garbage"),
        "static_robot_token" => password(&quay.static_token(case.robot())),
        "token_newline" => password(&format!("{}\n", issuer.mint(&usual()))),
        "token_space" => password(&format!(" {}", issuer.mint(&usual()))),
        "own_robot_jwt" => password(&quay.mint(&quay.robot_token_shape(case.robot()))),
        // The token's header and signature.
        "alg_none" => with(usual().algorithm(Algorithm::None)),
        "es256" => with(usual().algorithm(Algorithm::Es256)),
        "hs256" => with(usual().algorithm(Algorithm::Hs256)),
        "rs512" => with(usual().algorithm(Algorithm::Rs512)),
        "ok_rs384" => with(usual().algorithm(Algorithm::Rs384)),
        "bad_signature" | "bad_sig" => with(usual().signed_by(SignedBy::AnotherKey)),
        "no_kid" => with(usual().kid(KeyId::Absent)),
        "unknown_kid" => with(usual().kid(KeyId::Other("not-in-the-key-set".to_owned()))),
        "ok_typ_atjwt" => with(usual().typ(Some("at+jwt"))),
        "ok_typ_none" => with(usual().typ(None)),
        // The token's claims.
        "expired" => with(usual().expired_for(60)),
        "ok_expired_20s" => with(usual().expired_for(20)),
        "iat_future" => with(usual().issued_offset(120)),
        "no_exp" => with(usual().without("exp")),
        "no_iat" => with(usual().without("iat")),
        "no_iss" => with(usual().without("iss")),
        "no_sub" => with(usual().without("sub")),
        "ok_no_aud" => with(usual().without("aud")),
        "ok_no_nbf" => with(usual().without("nbf")),
        "ok_nbf_future" | "nbf_future" => {
            let claims = quayfed_sandbox::claims_of(&issuer.mint(&usual())).expect("a token");
            with(usual().claim("nbf", claims["iat"].as_i64().expect("iat") + 3600))
        }
        "wrong_issuer" | "wrong_iss" => with(usual().issuer("https://idp.example.com")),
        "issuer_trailing_slash" => with(usual().issuer(&format!("{own}/"))),
        "slashcfg_noslash_token" => with(usual().issuer(&format!("{own}/slash"))),
        "glob_subject" => {
            quay.clear_federation(case.robot());
            quay.bind(case.robot(), &own, "repo:acme/*", None);
            with(usual())
        }
        "aud_quay" => {
            audiences();
            with(usual().audience("quay"))
        }
        "aud_other" => {
            audiences();
            with(usual().audience("another"))
        }
        // The federation.
        "cleared" => {
            quay.clear_federation(case.robot());
            with(usual())
        }
        "ok_restored" => {
            quay.clear_federation(case.robot());
            quay.bind(case.robot(), &own, quayfed_sandbox::DEFAULT_SUBJECT, None);
            with(usual())
        }
        // The state of the server.
        "state_org_disabled_exchange" => {
            quay.set_organization_enabled("acme", false);
            with(usual())
        }
        "state_robot_disabled_exchange" => {
            quay.set_robot_enabled(case.robot(), false);
            with(usual())
        }
        "state_robots_disallow_exchange" => {
            quay.set_robots_disallow(true);
            with(usual())
        }
        "state_registry_readonly_exchange" => {
            quay.set_registry_readonly(true);
            with(usual())
        }
        "state_other_server_hostname_exchange" => {
            quay.set_server_hostname("registry2.localhost:8443");
            with(usual())
        }
        // The robot, its issuer, the method or the path make the case; or nothing does.
        "non_robot_user"
        | "plain_user"
        | "oauthtoken_user"
        | "unknown_org"
        | "unknown_robot"
        | "upper_robot"
        | "non_ascii_robot"
        | "two_plus"
        | "no_federation"
        | "no_fed"
        | "wrong_subject"
        | "wrong_sub"
        | "discovery_404"
        | "disc404"
        | "discovery_notjson"
        | "discovery_other_issuer"
        | "disc_other_issuer"
        | "disc_issuer_slash_differs"
        | "jwks_500"
        | "http_issuer"
        | "idp_down"
        | "idp_untrusted_tls"
        | "slowdisc"
        | "slowjwks"
        | "slash_both"
        | "ok_slash_both"
        | "ok_multi"
        | "ok_user_robot"
        | "ok"
        | "query"
        | "trailing_slash_path"
        | "method_HEAD"
        | "method_OPTIONS"
        | "method_POST"
        | "method_PUT"
        | "state_normal_again_exchange"
        | "v3.12_exchange"
        | "v3.12_exchange_redirect_target" => with(usual()),
        size if size.starts_with("size_") => {
            let length = case.about.strip_prefix("OIDC token padded: ");
            let length = length.and_then(|rest| rest.strip_suffix(" bytes"));
            with(usual().length(length.expect("a length").parse().expect("a number")))
        }
        unknown => panic!("{}: how was the request `{unknown}` made?", case.name),
    }
}

/// The same for a case at `/v2/auth`, `/v2/` or a repository.
fn registry_authorization(case: &Case, sandbox: &Sandbox) -> Option<String> {
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    let robot = case.robot.as_deref();
    let usual = || quay.robot_token_shape(robot.unwrap_or("acme+ci"));
    let with = |shape: TokenShape| Some(basic(case.robot(), &quay.mint(&shape)));
    let password = |password: &str| Some(basic(case.robot(), password));
    let name = case.short_name();
    let name = name.strip_prefix("v2auth_fail_").or(name.strip_prefix("v2auth_")).unwrap_or(name);
    match name {
        "anonymous_scope" | "no_auth" | "v2_challenge" | "v2_challenge_http" => None,
        "v2_bearer_robot_token" | "v2_bearer_tags_robot_token" => {
            Some(format!("Bearer {}", quay.mint(&usual())))
        }
        "v2_bearer_ok" => {
            let target = format!("/v2/auth?service={}", quay.host());
            let header = basic("acme+ci", &quay.mint(&usual()));
            let reply = Https::new(sandbox).get(&quay.host(), &target, Some(&header));
            let token = reply.expect("a reply").json()["token"].as_str().map(str::to_owned);
            Some(format!("Bearer {}", token.expect("a bearer token")))
        }
        "bad_signature" => with(usual().signed_by(SignedBy::AnotherKey)),
        "unknown_kid" => with(usual().kid(KeyId::Other("rotated-away".to_owned()))),
        "expired_robot_token" | "expired" => with(usual().expired_for(60)),
        "ok_expired_20s" => with(usual().expired_for(20)),
        "lifetime_over_3660" => with(usual().life(3700)),
        "wrong_aud" => with(usual().audience("other.example.com")),
        "wrong_robot" => with(usual().subject("acme+ci")),
        "truncated" => {
            let token = quay.mint(&usual());
            password(&token[..token.len() - 20])
        }
        "empty_password" => password(""),
        "opaque" => password("not-the-static-password"),
        "oidc_token_direct" | "oidc_direct" => password(&issuer.mint(&TokenShape::default())),
        "revoke_v2auth_after_federation_deleted" => {
            let header = with(usual());
            quay.clear_federation(case.robot());
            header
        }
        "revoke_v2auth_after_regenerate" => {
            let header = with(usual());
            quay.regenerate_static_token(case.robot());
            header
        }
        "revoke_v2auth_after_robot_deleted" => {
            let header = with(usual());
            quay.remove_robot(case.robot());
            header
        }
        "revoke_v2auth_after_robot_recreated" => {
            let header = with(usual());
            quay.remove_robot(case.robot());
            quay.add_robot(case.robot());
            header
        }
        "state_other_hostname_old_token" => {
            let header = with(usual());
            quay.set_server_hostname("registry2.localhost:8443");
            header
        }
        "state_other_server_hostname_v2auth" => {
            quay.set_server_hostname("registry2.localhost:8443");
            with(usual())
        }
        "state_org_disabled_v2auth" => {
            quay.set_organization_enabled("acme", false);
            with(usual())
        }
        "state_robot_disabled_v2auth" => {
            quay.set_robot_enabled(case.robot(), false);
            with(usual())
        }
        "state_robots_disallow_v2auth" => {
            quay.set_robots_disallow(true);
            with(usual())
        }
        "state_registry_readonly_v2auth" => {
            quay.set_registry_readonly(true);
            with(usual())
        }
        "ok"
        | "ok_account_param"
        | "ok_alias_host"
        | "ok_http_port"
        | "ok_login_noscope"
        | "ok_no_permission"
        | "non_robot_user"
        | "unknown_org"
        | "unknown_robot"
        | "post"
        | "v2_basic_direct"
        | "v1_users_basic"
        | "state_normal_again_v2auth" => with(usual()),
        unknown => panic!("{}: how was the request `{unknown}` made?", case.name),
    }
}

/// Recorded ports in place of the sandbox's, and `<JWT>` in place of a token.
fn as_recorded(text: &str, case: &Case, sandbox: &Sandbox) -> String {
    let port = |host: &str| host.rsplit_once(':').expect("a port").1.to_owned();
    let recorded = case.recorded_host();
    let text = text
        .replace(&sandbox.quay().host(), recorded)
        .replace(&sandbox.issuer().url(), "https://localhost:9443")
        .replace(
            &format!("127.0.0.1:{}", port(&sandbox.quay().host())),
            &format!("127.0.0.1:{}", port(recorded)),
        );
    without_token(text)
}

/// Only what decodes as a JWT is taken for a token.
fn without_token(text: String) -> String {
    let token = serde_json::from_str::<Value>(&text).ok();
    let token = token.as_ref().and_then(|body| body["token"].as_str());
    match token.filter(|token| quayfed_sandbox::claims_of(token).is_some()) {
        Some(token) => text.replace(token, "<JWT>"),
        None => text,
    }
}

/// What differs between the recorded reply and this one; empty where nothing does.
fn differences(case: &Case, reply: Option<&Reply>, sandbox: &Sandbox) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, recorded: &str, now: &str| {
        if recorded != now {
            differences.push(format!("{what}: recorded {recorded:?}, now {now:?}"));
        }
    };
    let status = |status: Option<u16>| format!("{status:?}");
    compare("status", &status(case.status), &status(reply.map(|reply| reply.status)));
    let Some(reply) = reply else {
        compare("body", &case.body, "");
        return differences;
    };
    for name in ["content-type", "location", "allow", "www-authenticate"] {
        let recorded = case.headers.get(name).map(String::as_str).unwrap_or_default();
        let now = reply.header(name).unwrap_or_default();
        compare(name, recorded, &as_recorded(now, case, sandbox));
    }
    let unknown: Vec<&String> = case
        .headers
        .keys()
        .filter(|name| {
            !["content-type", "location", "allow", "www-authenticate"].contains(&name.as_str())
        })
        .collect();
    assert!(unknown.is_empty(), "{}: headers not compared: {unknown:?}", case.name);

    // The recorder ended each body with a newline of its own, and counted it.
    let now = as_recorded(&reply.body, case, sandbox) + "\n";
    match cut(&case.body) {
        Some((start, length)) => {
            let now_start: String = now.chars().take(start.chars().count()).collect();
            compare("start of the body", start, &now_start);
            compare("length", &length.to_string(), &now.chars().count().to_string());
        }
        None => compare("body", &case.body, &now),
    }
    differences
}

/// Start and total length of a body that was recorded cut.
fn cut(body: &str) -> Option<(&str, usize)> {
    let (start, length) = body.strip_suffix(" characters]")?.rsplit_once("…[")?;
    Some((start, length.parse().ok()?))
}

fn play(case: &Case) -> Vec<String> {
    let sandbox = sandbox_for(case);
    let quay = sandbox.quay().host();
    let https = Https::new(&sandbox);
    let authorization = if case.is_exchange() {
        exchange_authorization(case, &sandbox)
    } else {
        registry_authorization(case, &sandbox)
    };
    let target = case.path.replace(case.recorded_host(), &quay);
    let mut headers = Vec::new();
    if let Some(authorization) = &authorization {
        headers.push(("Authorization", authorization.as_str()));
    }
    // Where the record tells by which name the registry was called.
    let alias = match case.headers.get("location") {
        Some(_) => quay.replace("localhost", "127.0.0.1"),
        None if case.name == "v2auth_ok_alias_host" => format!("quay.{quay}"),
        None => quay.clone(),
    };
    headers.push(("Host", alias.as_str()));
    let body = case.request_body.clone().unwrap_or_default();
    if !body.is_empty() {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    let reply = https.send(&quay, &case.method, &target, &headers, &body);
    differences(case, reply.as_ref(), &sandbox)
}

/// Plays cases on a few threads: some of them wait.
fn play_all(cases: &[&Case]) -> BTreeMap<String, Vec<String>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let differences = play(case);
                    let mut results = results.lock().expect("the results");
                    results.insert(case.name.clone(), differences);
                }
            });
        }
    });
    results.into_inner().expect("the results")
}

/// Asserts that all match but the exceptions, and that those do not. Returns how many match.
fn assert_matches(cases: &[&Case], exceptions: &[(&str, &str)]) -> usize {
    let mut failures = Vec::new();
    let mut matching = 0;
    let results = play_all(cases);
    for (name, reason) in exceptions {
        assert!(results.contains_key(*name), "an exception for no case: {name} ({reason})");
    }
    for (name, differences) in results {
        let exception = exceptions.iter().find(|(known, _)| *known == name);
        match (differences.is_empty(), exception) {
            (true, None) => matching += 1,
            (false, Some(_)) => {}
            (true, Some((_, reason))) => {
                failures.push(format!("{name} matches now; it was an exception: {reason}"));
            }
            (false, None) => failures.push(format!("{name}: {}", differences.join("; "))),
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    matching
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are what one reads with --nocapture")]
fn replies_are_as_recorded() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");

    let exchange: Vec<&Case> = cases.iter().filter(|case| case.is_exchange()).collect();
    let registry: Vec<&Case> = cases.iter().filter(|case| case.is_registry()).collect();
    let others = cases.len() - exchange.len() - registry.len();
    assert_eq!((exchange.len(), registry.len(), others), (133, 51, 20));

    let exchange_matching = assert_matches(&exchange, EXCHANGE_EXCEPTIONS);
    assert!(exchange_matching >= 128, "only {exchange_matching} at the exchange");
    let registry_matching = assert_matches(&registry, REGISTRY_EXCEPTIONS);
    println!(
        "recorded replies: {exchange_matching} of {} at the exchange, {registry_matching} of {} \
         at /v2/ and /v1/, {others} of the management API not played",
        exchange.len(),
        registry.len(),
    );
}

#[test]
fn a_comparison_sees_each_difference() {
    let cases = cases();
    let find = |name: &str| cases.iter().find(|case| case.name == name).expect("the case");
    let sandbox = sandbox_for(find("exchange_fail_no_auth"));
    let reply = |status, content_type: &str, body: &str| Reply {
        status,
        headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
        body: body.to_owned(),
    };
    let json = "application/json";
    let good = reply(401, json, "{\"error\":\"No auth header\"}\n");
    let case = find("exchange_fail_no_auth");
    assert!(differences(case, Some(&good), &sandbox).is_empty());
    for (what, other) in [
        ("status", reply(400, json, "{\"error\":\"No auth header\"}\n")),
        ("content type", reply(401, "text/html", "{\"error\":\"No auth header\"}\n")),
        ("last byte", reply(401, json, "{\"error\":\"No auth header\"}")),
        ("more", reply(401, json, "{\"error\":\"No auth header\"}\n\n")),
    ] {
        assert!(!differences(case, Some(&other), &sandbox).is_empty(), "{what} not seen");
    }
    assert!(!differences(case, None, &sandbox).is_empty());

    let page = find("exchange_trailing_slash_path");
    let (start, length) = cut(&page.body).expect("a body that was cut");
    let rest = |length: usize| "x".repeat(length - start.chars().count() - 1);
    let html = "text/html; charset=utf-8";
    let good = reply(404, html, &format!("{start}{}", rest(length)));
    assert!(differences(page, Some(&good), &sandbox).is_empty());
    let longer = reply(404, html, &format!("{start}{}", rest(length + 1)));
    assert!(!differences(page, Some(&longer), &sandbox).is_empty());

    let token = find("exchange_ok");
    let no_token = reply(200, json, "{\"token\":\"abc\"}\n");
    assert!(!differences(token, Some(&no_token), &sandbox).is_empty());
}
