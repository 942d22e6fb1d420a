//! `doctor` and `identity`: each way to fail at the exchange and at `/v2/auth` that was recorded,
//! what was foretold against what Quay then says, and the screens.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quayfed::cli;
use quayfed::command;
use quayfed::helper;
use quayfed::http::{HttpTransport, Transport};
use quayfed::log::Log;
use quayfed::protocol::Answer;
use quayfed::redaction::Redactor;
use quayfed::terminal::Looks;
use quayfed::world::{Caller, Clock, Environment, Places, SystemClock, UserNamespace, World};
use quayfed_sandbox::{
    Algorithm, Chain, Fault, KeyId, Options, Sandbox, SignedBy, Times, TokenShape, Version,
};
use serde_json::{Value, json};

use crate::binary::{Home, Ran, SECRET, SUBJECT, at_sandbox, program};
use crate::explained::{
    SITUATIONS, Situation, good, home_for, mint, nothing, of_issuer, sandbox_for, situation,
    two_entries, without_times,
};
use crate::screens::{self, COLOURED, NARROW, PIPED, check};

/// Why a point of a forecast cannot be known from here: each name with the reason why nothing on
/// this host could tell. Some more, which no recorded reply leads to, are met in the unit tests of
/// `quay::forecast`: a time that is no number, a document without issuer, odd and short keys.
const UNKNOWNS: &[(&str, &str)] = &[
    ("federation", "robot account and federation are an administrator's to see"),
    ("reach", "Quay's network and trust are not this host's"),
    ("unreachable", "Quay gave no answer to a request without a token"),
    ("answer", "a failure without a token says nothing about one with a token"),
    ("clock", "Quay's clock is not known where Quay does not answer"),
    ("edge", "a few seconds decide, and Quay's clock is known to the second alone"),
    ("documents", "what bars this host from the issuer need not bar Quay"),
    ("slash", "Quay forgives another slash since 3.18, and its release is not known"),
    ("insecure-keys", "what comes by http proves nothing here, and Quay reads it"),
    ("behind", "another point has to be known first"),
];

/// Situations in which a token is good, and such that differ from those of `explained`.
const MORE: &[Situation] = &[
    situation("good", "acme+ci", good, nothing),
    situation("RS384", "acme+ci", |s| mint(s, shape().algorithm(Algorithm::Rs384)), nothing),
    situation("typ at+jwt", "acme+ci", |s| mint(s, shape().typ(Some("at+jwt"))), nothing),
    situation("no typ", "acme+ci", |s| mint(s, shape().typ(None)), nothing),
    situation("no audience", "acme+ci", |s| mint(s, shape().without("aud")), nothing),
    situation(
        "nbf in an hour",
        "acme+ci",
        |s| mint(s, shape().claim("nbf", 4_000_000_000_i64)),
        nothing,
    ),
    situation("several entries", "acme+multi", good, nothing),
    situation("a user's robot", "admin+mine", good, nothing),
    situation(
        "expired within the leeway",
        "acme+ci",
        |s| mint(s, shape().expired_for(15)),
        nothing,
    ),
    situation("3.13", "acme+ci", good, |s| s.quay().set_version(Version::V3_13)),
    situation("slash at both", "acme+slash", |s| of_issuer(s, "slash/"), nothing),
    situation(
        "slash in discovery alone, 3.18",
        "acme+noslashdisc",
        |s| of_issuer(s, "slash"),
        nothing,
    ),
    situation(
        "slash in discovery alone, 3.17",
        "acme+noslashdisc",
        |s| of_issuer(s, "slash"),
        |s| {
            s.quay().set_version(Version::V3_17);
        },
    ),
    situation("slash in the federation alone", "acme+slash", |s| of_issuer(s, "slash"), nothing),
    situation("keys at http", "acme+ci", good, |s| s.issuer().serve_keys_over_http()),
    situation("odd keys beside the RSA key", "acme+ci", good, |s| {
        for key in [
            json!({"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "AA"}),
            json!({"kty": "EC", "kid": "b", "crv": "P-521", "x": "AA", "y": "AA"}),
            json!({"kty": "EC", "kid": "c", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            json!({"kty": "oct", "kid": "d", "k": "AA"}),
        ] {
            s.issuer().list_key(key);
        }
    }),
    situation("two entries of one issuer, the audience of the last", "acme+ci", good, |s| {
        two_entries(s, ["other", "quay"]);
    }),
    situation("expired a minute ago", "acme+ci", |s| mint(s, shape().expired_for(60)), nothing),
    situation(
        "Quay's own robot token",
        "acme+ci",
        |s| s.quay().mint(&s.quay().robot_token_shape("acme+ci")),
        nothing,
    ),
    situation(
        "a wildcard in the federation",
        "acme+other",
        |s| mint(s, shape()),
        |s| s.quay().bind("acme+other", &s.issuer().url(), "repo:acme/*", None),
    ),
    situation(
        "issuer refuses connections, no proxy before Quay",
        "acme+noport",
        |s| mint(s, shape().issuer("https://localhost:9")),
        |s| s.quay().set_reverse_proxy(false),
    ),
];

fn shape() -> TokenShape {
    TokenShape::default()
}

/// What is at fault in each situation, by the name of the point that the forecast has for it;
/// nothing where Quay gives a token, or where no token can be presented.
const AT_FAULT: &[(&str, &[&str])] = &[
    (
        "federation",
        &[
            "robot unknown",
            "organization unknown",
            "no federation",
            "issuer not configured",
            "issuer with a slash too many",
            "another subject",
            "another audience",
            "robot disabled",
            "two entries of one issuer, the audience of the first",
            // Federation and robot account are read from it.
            "database away",
            "slash in the federation alone",
            "a wildcard in the federation",
        ],
    ),
    ("issuer", &["no issuer", "http issuer", "Quay's own robot token"]),
    ("subject", &["no subject"]),
    ("end", &["expired", "expired a minute ago", "no exp"]),
    ("issue-time", &["no iat", "iat ahead"]),
    ("signature", &["bad signature"]),
    ("key-name", &["no kid"]),
    ("algorithm", &["HS256", "alg none", "RS512", "ES256"]),
    ("extensions", &["an extension that must be known"]),
    (
        "documents",
        &[
            "discovery names another issuer",
            "discovery names another issuer, 3.17",
            "discovery 404",
            "discovery not JSON",
            "keys 500",
            "a key of an unknown type",
            "a key without a type",
            "an RSA key without n",
            "an RSA key without e",
            "slash in discovery alone, 3.17",
        ],
    ),
    ("key", &["kid not among the keys"]),
    (
        "reach",
        &[
            "issuer refuses connections",
            "issuer refuses connections, no proxy before Quay",
            "issuer not trusted by Quay",
            "discovery slow",
            "keys hang",
        ],
    ),
    (
        "exchange",
        &[
            "Quay is down behind its proxy",
            "Quay does not listen",
            "Quay 3.12",
            "no Quay at all",
            "too many requests",
            "header too large",
            "431",
            "a refusal that nobody has seen yet",
        ],
    ),
    ("length", &["token too long"]),
    ("no token", &["opaque token", "encrypted token"]),
];

/// The recorded refusals of the exchange that the helper can meet, and in which situation; a `*`
/// stands for any release.
const RECORDED: &[(&str, &str)] = &[
    ("fail_alg_none", "alg none"),
    ("fail_bad_signature bad_sig", "bad signature"),
    ("fail_cleared fail_no_federation no_fed", "no federation"),
    ("fail_discovery_404 disc404", "discovery 404"),
    ("fail_discovery_notjson", "discovery not JSON"),
    ("fail_discovery_other_issuer", "discovery names another issuer"),
    ("disc_other_issuer", "discovery names another issuer, 3.17"),
    ("disc_issuer_slash_differs", "slash in discovery alone, 3.17"),
    ("fail_es256 es256", "ES256"),
    ("fail_expired expired", "expired a minute ago"),
    ("fail_glob_subject", "a wildcard in the federation"),
    ("fail_hs256", "HS256"),
    ("fail_http_issuer http_issuer", "http issuer"),
    ("fail_iat_future", "iat ahead"),
    ("fail_idp_down", "issuer refuses connections"),
    ("idp_down", "issuer refuses connections, no proxy before Quay"),
    ("fail_idp_untrusted_tls", "issuer not trusted by Quay"),
    ("fail_issuer_trailing_slash", "issuer with a slash too many"),
    ("fail_jwks_500", "keys 500"),
    ("fail_no_exp", "no exp"),
    ("fail_no_iat no_iat", "no iat"),
    ("fail_no_iss", "no issuer"),
    ("fail_no_kid no_kid", "no kid"),
    ("fail_no_sub", "no subject"),
    ("fail_own_robot_jwt", "Quay's own robot token"),
    ("fail_rs512 rs512", "RS512"),
    ("fail_slashcfg_noslash_token", "slash in the federation alone"),
    ("fail_slowdisc", "discovery slow"),
    ("fail_slowjwks", "keys hang"),
    ("fail_unknown_kid unknown_kid", "kid not among the keys"),
    ("fail_unknown_org", "organization unknown"),
    ("fail_unknown_robot unknown_robot", "robot unknown"),
    ("fail_wrong_issuer wrong_iss", "issuer not configured"),
    ("fail_wrong_subject wrong_sub", "another subject"),
    ("aud_other", "another audience"),
    ("size_5000 size_5500 size_6000 size_7000 size_9000 size_20000 size_40000", "token too long"),
    ("state_robot_disabled", "robot disabled"),
    ("v3.12", "Quay 3.12"),
];

/// The recorded refusals that the helper cannot meet, by what keeps it from that.
const NEVER_MET: &[(&str, &str)] = &[
    (
        "the header is always there, Basic, and of a robot",
        "fail_basic_empty fail_basic_nocolon fail_basic_notb64 fail_bearer fail_no_auth no_auth \
         fail_non_robot_user fail_oauthtoken_user plain_user",
    ),
    (
        "what is no JWT is not sent",
        "fail_empty_password fail_garbage_jwt fail_opaque fail_static_robot_token \
         fail_token_newline fail_token_space fail_two_segments opaque empty",
    ),
    (
        "what is no robot's name is a mistake in the configuration",
        "fail_non_ascii_robot fail_two_plus fail_upper_robot",
    ),
    ("the path is the exchange's", "trailing_slash_path exchange_redirect_target"),
];

fn replies() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quay/replies.json");
    serde_json::from_slice(&fs::read(path).expect("recorded")).expect("JSON")
}

/// The home of a situation, its clients set up.
fn set_up(home: &mut Home, host: &str) {
    let folder = program().parent().expect("a folder").display().to_string();
    home.set("PATH", format!("{folder}:/usr/bin:/bin"));
    home.make_folder(".config/containers", 0o755);
    let helpers = json!({"credHelpers": {host: "quayfed"}}).to_string();
    home.write(".config/containers/auth.json", &helpers, 0o600);
    // podman trusts the registry as well.
    let certificates = home.make_folder(&format!(".config/containers/certs.d/{host}"), 0o755);
    fs::copy(home.path("ca.pem"), certificates.join("ca.crt")).expect("copied");
}

fn ask(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(program());
    command.args(arguments).stdin(Stdio::null());
    let ran: Ran = command.output().expect("an end").into();
    let text = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!text.contains("eyJ") && !text.contains(SECRET), "a secret: {text}");
    assert!(!text.contains("<html"), "a page: {text}");
    ran
}

fn doctor(home: &Home, arguments: &[&str]) -> (Ran, Value) {
    let ran = ask(home, &[&["doctor", "--json"], arguments].concat());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(report["version"], 1);
    let would_pull = report["would_pull"].as_bool().expect("a word");
    assert_eq!(ran.code, Some(i32::from(!would_pull)), "{ran:?}");
    (ran, report)
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

#[test]
fn no_forecast_is_wrong_and_what_is_unknown_is_unknown_for_a_reason() {
    let mut whole: BTreeMap<String, usize> = BTreeMap::new();
    let mut points: BTreeMap<String, usize> = BTreeMap::new();
    let mut reasons = BTreeSet::new();
    let mut told = String::new();
    for situation in SITUATIONS.iter().chain(MORE) {
        let name = situation.name;
        let sandbox = sandbox_for(situation);
        let host = sandbox.quay().host();
        let mut home = home_for(situation, &sandbox);
        set_up(&mut home, &host);
        let (_, report) = doctor(&home, &[]);
        let answered = home.get(&host);
        let at_fault = AT_FAULT.iter().find(|(_, names)| names.contains(&name));
        let at_fault = at_fault.map(|(point, _)| *point);
        assert_eq!(answered.code == Some(0), at_fault.is_none(), "{name}: {answered:?}");
        assert_eq!(report["would_pull"], at_fault.is_none(), "{name}: {report:#}");
        let forecast = &report["forecast"];
        if at_fault == Some("no token") {
            assert!(forecast.is_null() && step(&report, "token")["result"] == "failed");
            continue;
        }
        let verdict = forecast["verdict"].as_str().expect("a verdict").to_owned();
        for point in forecast["points"].as_array().expect("points") {
            let (about, verdict) = (point["about"].as_str(), point["verdict"].as_str());
            let (about, verdict) = (about.expect("a point"), verdict.expect("a verdict"));
            match verdict {
                "accept" => assert_ne!(Some(about), at_fault, "{name}: a wrong accept"),
                // A key of another kind is as wrong as the algorithm that it is for.
                "refuse" if (name, about) == ("ES256", "key") => {}
                "refuse" => assert_eq!(Some(about), at_fault, "{name}: a wrong refuse"),
                _ => {
                    let reason = point["reason"].as_str().expect("a reason").to_owned();
                    assert!(UNKNOWNS.iter().any(|(known, _)| *known == reason), "{reason}");
                    reasons.insert(reason);
                }
            }
            *points.entry(verdict.to_owned()).or_default() += 1;
        }
        if verdict == "refuse" {
            let foretold =
                without_times(step(&report, "forecast")["cause"].as_str().expect("a cause"));
            let answered = without_times(answered.cause());
            let shorter = foretold.len().min(answered.len());
            assert!(
                foretold == answered || name.ends_with("3.17") && foretold[..shorter] == answered,
                "{name}: foretold {foretold:?}, answered {answered:?}"
            );
            assert_eq!(step(&report, "exchange")["result"], "skipped", "{name}");
        }
        writeln!(told, "{verdict:<7} {name}").expect("written");
        *whole.entry(verdict).or_default() += 1;
    }
    let listed: BTreeSet<String> = UNKNOWNS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(reasons, listed, "each is met");
    let counts = format!("whole: {whole:?}\npoints: {points:?}\nreasons: {reasons:?}\n\n{told}");
    insta::assert_snapshot!(counts);
}

#[test]
fn every_recorded_refusal_of_the_exchange_is_met_or_cannot_be() {
    let situations: Vec<&str> = SITUATIONS.iter().chain(MORE).map(|it| it.name).collect();
    let has = |names: &str, case: &str| names.split_whitespace().any(|name| case == name);
    for (_, situation) in RECORDED {
        assert!(situations.contains(situation), "{situation}");
    }
    for case in replies() {
        let path = case["path"].as_str().unwrap_or_default();
        if case["method"] != "GET" || !path.contains("/oauth2/federation/") || case["status"] == 200
        {
            continue;
        }
        let name = case["case"].as_str().expect("a name");
        let short = name.strip_prefix("exchange_").unwrap_or_else(|| {
            let (release, rest) = name.split_once("_exchange").unwrap_or((name, ""));
            if rest.len() < 2 { release } else { &rest[1..] }
        });
        let is_met = RECORDED.iter().any(|(names, _)| has(names, short));
        let is_never_met = NEVER_MET
            .iter()
            .any(|(_, names)| has(names, short) || has(names, &format!("exchange_{short}")));
        assert!(is_met != is_never_met, "{name} ({short}): {is_met} {is_never_met}");
    }
}

type Change = fn(&Sandbox);

/// What goes wrong at `/v2/auth` although the exchange went well.
const AT_V2_AUTH: &[(&str, Change)] = &[
    ("organization disabled", |s| s.quay().set_organization_enabled("acme", false)),
    ("robots disallowed", |s| s.quay().set_robots_disallow(true)),
    ("robot token expired", |s| give(s, |shape| shape.expired_for(600))),
    ("robot token lives too long", |s| give(s, |shape| shape.life(4000))),
    ("robot token of another Quay", |s| give(s, |shape| shape.audience("other.example.com"))),
    ("robot token of a rotated key", |s| give(s, |it| it.kid(KeyId::Other("gone".to_owned())))),
    ("robot token with a bad signature", |s| give(s, |it| it.signed_by(SignedBy::AnotherKey))),
    ("robot token cut short", |s| {
        let mut token = s.quay().mint(&s.quay().robot_token_shape("acme+ci"));
        token.truncate(token.len() - 20);
        s.quay().next_robot_token(token);
    }),
    ("robot disabled meanwhile", |s| replay(s, "state_robot_disabled_v2auth")),
    ("robot deleted meanwhile", |s| replay(s, "revoke_v2auth_after_robot_deleted")),
    ("organization deleted meanwhile", |s| replay(s, "v2auth_fail_unknown_org")),
    ("token of another robot", |s| replay(s, "v2auth_fail_wrong_robot")),
    ("taken for a password", |s| replay(s, "v2auth_fail_opaque")),
    ("POST alone", |s| replay(s, "v2auth_post")),
    ("nothing there", |s| fault(s, Fault::respond(404, "text/html", "<html>nginx"))),
    ("too many requests", |s| fault(s, Fault::respond(429, "text/html", ""))),
    ("Quay is down behind its proxy", |s| fault(s, Fault::quay_loading())),
    ("closed connection", |s| fault(s, Fault::Close)),
    ("no token in the reply", |s| fault(s, Fault::respond(200, "application/json", "{}"))),
    ("a realm with http", |s| s.quay().set_url_scheme("http")),
    ("no permission", |s| s.quay().permit("acme+ci", "acme/app", &[])),
    ("push alone", |s| s.quay().permit("acme+ci", "acme/app", &["push"])),
];

const V2_AUTH: &str = "/v2/auth";

fn fault(sandbox: &Sandbox, fault: Fault) {
    sandbox.quay().fault(V2_AUTH, fault, Times::Always);
}

/// Answers as a real Quay was recorded to.
fn replay(sandbox: &Sandbox, name: &str) {
    let replies = replies();
    let case = replies.iter().find(|case| case["case"] == name).expect("recorded");
    let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let kind = text(&case["headers"]["content-type"]);
    fault(sandbox, Fault::respond(status, &kind, text(&case["body"])));
}

fn give(sandbox: &Sandbox, change: impl FnOnce(TokenShape) -> TokenShape) {
    let quay = sandbox.quay();
    quay.next_robot_token(quay.mint(&change(quay.robot_token_shape("acme+ci"))));
}

#[test]
fn every_way_to_fail_at_v2_auth_is_explained() {
    let mut told = String::new();
    for (name, before) in AT_V2_AUTH {
        let sandbox = Sandbox::start();
        let host = sandbox.quay().host();
        let mut home = at_sandbox(&sandbox);
        set_up(&mut home, &host);
        before(&sandbox);
        let (ran, report) = doctor(&home, &[&host, "--repository", "acme/app"]);
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert_eq!(step(&report, "exchange")["result"], "passed", "{name}: {report:#}");
        assert_ne!(report["forecast"]["verdict"], "refuse", "{name}");
        let is_failed = |name: &&str| step(&report, name)["result"] == "failed";
        let at = ["registry", "login", "repository"].into_iter().find(is_failed);
        let at = at.unwrap_or_else(|| panic!("{name}: {report:#}"));
        let text = |key: &str| {
            step(&report, at)[key].as_str().unwrap_or_else(|| panic!("{report:#}")).to_owned()
        };
        let text = format!("== {name} ({at})\n{}\nhint: {}\n", text("cause"), text("hint"));
        let home = home.path("").display().to_string();
        writeln!(told, "{}", text.replace(&host, "QUAY").replace(&home, "~/")).expect("written");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn actions_are_told_and_nothing_in_the_cache_is_changed() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    set_up(&mut home, &host);
    home.get(&host).token();
    let content = || {
        let entries = fs::read_dir(home.cache()).expect("a cache");
        let files = entries.map(|entry| entry.expect("an entry").path());
        files.map(|file| (fs::read(&file).expect("read"), file)).collect::<BTreeSet<_>>()
    };
    let before = content();
    let (_, report) = doctor(&home, &["--repository", "acme/app"]);
    assert_eq!(report["would_pull"], true, "{report:#}");
    let title = step(&report, "repository")["title"].as_str().expect("a title");
    assert_eq!(title, "Repository `acme/app`: push, pull");
    assert_eq!(content(), before);
    assert_eq!(sandbox.quay().count(quayfed_sandbox::EXCHANGE_PATH), 3, "get, forecast, exchange");
}

#[test]
fn a_misuse_is_told_as_one() {
    let home = Home::new();
    for arguments in
        [&["doctor", "--repository", "app"][..], &["doctor", "a", "b"], &["identity", "--nonsense"]]
    {
        assert_eq!(ask(&home, arguments).code, Some(2), "{arguments:?}");
    }
    let ran = ask(&home, &["doctor", "bad host"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
    let told = "error: invalid value 'bad host' for '[REGISTRY]': it has a space inside; write \
                HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com\n";
    assert!(ran.stderr.starts_with(told), "{ran:?}");
}

#[test]
fn identity_gives_what_quays_api_takes() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let ran = ask(&home, &["identity", "--json"]);
    let entries: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(entries, json!([{"issuer": sandbox.issuer().url(), "subject": SUBJECT}]));
    assert_eq!((ran.code, sandbox.quay().requests().len()), (Some(0), 0));
    let unknown = ask(&home, &["identity", "other"]);
    assert_eq!(unknown.code, Some(1));
    let told = "`other` is the name of no identity\nhint: there is only `sso`\n";
    assert!(unknown.stderr.ends_with(told), "{unknown:?}");
    let more = "[identity.job]\nsource = \"env\"\nvariable = \"T\"\n";
    home.configure(&(crate::binary::configuration(&sandbox, &home) + more));
    let unknown = ask(&home, &["identity", "other"]);
    assert!(unknown.stderr.ends_with("\nhint: there are `job`, `sso`\n"), "{unknown:?}");
}

#[test]
fn an_identity_without_a_rule_can_be_asked_for() {
    let sandbox = Sandbox::start();
    let mut home = Home::new();
    home.configure("[identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n");
    home.set("JOB_TOKEN", sandbox.issuer().mint(&shape()));
    assert_eq!(ask(&home, &["identity"]).code, Some(0));
    home.set("JOB_TOKEN", sandbox.issuer().mint(&shape().without("sub")));
    let ran = ask(&home, &["identity", "job", "--json"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("(`sub`)"), "{ran:?}");
}

/// A sandbox with a home whose clients are set up, and in whose cache a token is.
fn with_a_cached_token() -> (Sandbox, String, Home) {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    set_up(&mut home, &host);
    home.get(&host).token();
    (sandbox, host, home)
}

#[test]
fn r38_no_repository_is_created_and_what_cannot_be_known_without_that_is_said_to_be_so() {
    let cases: &[(&str, &str, Change, Value)] = &[
        (
            "it exists",
            "acme/app",
            |_| {},
            json!({"name": "acme/app", "exists": true, "pull": true, "push": true}),
        ),
        (
            "it exists, to pull alone",
            "acme/app",
            |s| s.quay().permit("acme+ci", "acme/app", &["pull"]),
            json!({"name": "acme/app", "exists": true, "pull": true, "push": false}),
        ),
        (
            "the robot may create it",
            "acme/new",
            |s| s.quay().let_create("acme+ci", "acme"),
            json!({"name": "acme/new", "exists": null, "pull": false, "push": null}),
        ),
        (
            "the robot administers the namespace",
            "acme/new",
            |s| s.quay().permit("acme+ci", "acme/*", &["pull", "push", "*"]),
            json!({"name": "acme/new", "exists": false, "pull": true, "push": null}),
        ),
        (
            "a push makes the namespace too",
            "nobody/new",
            |s| s.quay().set_create_namespace_on_push(true),
            json!({"name": "nobody/new", "exists": null, "pull": false, "push": null}),
        ),
        (
            "the registry does not tell its tags",
            "acme/app",
            |s| {
                let page = Fault::respond(404, "text/html", "<html>nginx");
                s.quay().fault("/v2/acme/app/tags/list", page, Times::Always);
            },
            json!({"name": "acme/app", "exists": null, "pull": true, "push": null}),
        ),
    ];
    for (name, repository, set, wanted) in cases {
        let (sandbox, host, home) = with_a_cached_token();
        set(&sandbox);
        let before = sandbox.quay().repositories();
        let (_, report) = doctor(&home, &[&host, "--repository", repository]);
        assert_eq!(sandbox.quay().repositories(), before, "{name}");
        assert_eq!(report["repository"], *wanted, "{name}: {report:#}");
        let has_unknown = step(&report, "repository")["details"].as_array().expect("details");
        let says_so = has_unknown.iter().any(|detail| {
            detail["mark"] == "unknown"
                && detail["text"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("whether it may push: not asked"))
        });
        assert_eq!(says_so, wanted["push"].is_null(), "{name}: {report:#}");
        let pulls = wanted["pull"] == true && wanted["exists"] != false;
        assert_eq!(report["would_pull"], pulls, "{name}: {report:#}");
    }
}

#[test]
fn r38_no_robot_token_goes_to_a_host_that_the_registry_names_unless_somebody_says_so() {
    let (sandbox, host, mut home) = with_a_cached_token();
    let other = Sandbox::start();
    sandbox.quay().set_server_hostname(&other.quay().host());
    let (ran, report) = doctor(&home, &[&host]);
    assert_eq!(other.quay().connections().len(), 0, "{report:#}");
    assert_eq!(ran.code, Some(1));
    let realm = format!("https://{}/v2/auth", other.quay().host());
    assert_eq!(report["realm"], json!(realm));
    let registry = step(&report, "registry");
    let named = [other.quay().host(), host.clone()];
    let [stranger, host_shown] = &named;
    assert_eq!(
        registry["cause"],
        format!(
            "the registry `{host_shown}` sends clients to `{stranger}` to log in, so no robot token \
             was sent"
        )
    );
    assert_eq!(
        registry["hint"],
        format!(
            "podman and docker send it to any host that the registry names; if `{stranger}` belongs \
             to this Quay, run: docker-credential-quayfed doctor {host_shown} --realm-host {stranger}"
        )
    );
    for name in ["cached-token", "login"] {
        assert_eq!(step(&report, name)["result"], "skipped", "{name}");
    }
    assert_eq!(step(&report, "exchange")["result"], "passed");
    let said = ask(&home, &["doctor", &host]).stdout;
    assert!(
        said.contains(&format!("Whether a pull from `{host}` works is not known: see the")),
        "{said}"
    );
    // Where a client would not even ask, a pull would fail whatever the realm is.
    home.write(".config/containers/auth.json", "{}", 0o600);
    let said = ask(&home, &["doctor", &host]).stdout;
    assert!(said.contains(&format!("A pull from `{host}` would fail: see the")), "{said}");
    set_up(&mut home, &host);
    doctor(&home, &[&host, "--realm-host", stranger]);
    assert_ne!(other.quay().connections().len(), 0);

    // The same Quay by another name, as SERVER_HOSTNAME may have it.
    let alias = host.replace("localhost", "127.0.0.1");
    sandbox.quay().set_server_hostname(&alias);
    assert_eq!(doctor(&home, &[&host]).1["would_pull"], false);
    let (ran, report) = doctor(&home, &[&host, "--realm-host", &alias, "--repository", "acme/app"]);
    assert_eq!(ran.code, Some(1), "the cached token is for the other name: {report:#}");
    home.run("erase", &host);
    let (ran, report) = doctor(&home, &[&host, "--realm-host", &alias, "--repository", "acme/app"]);
    assert_eq!(ran.code, Some(0), "{report:#}");
    let ran = ask(&home, &["doctor", &host, "--realm-host", "https://a.example/v2"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn r38_a_cached_token_that_quay_no_longer_accepts_fails_the_pull_and_erase_mends_it() {
    let (sandbox, host, home) = with_a_cached_token();
    let (_, report) = doctor(&home, &[&host]);
    assert_eq!(step(&report, "cached-token")["result"], "passed");
    assert_eq!((&report["would_pull"], &report["would_renew"]), (&json!(true), &json!(true)));
    sandbox.quay().replace_signing_key();
    let (ran, report) = doctor(&home, &[&host]);
    let cached = step(&report, "cached-token");
    assert_eq!((ran.code, &cached["result"]), (Some(1), &json!("failed")), "{report:#}");
    assert_eq!(
        cached["hint"],
        format!(
            "Quay's signing key or host name was probably replaced; to remove the token, run: \
             echo {host} | docker-credential-quayfed erase"
        )
    );
    let cause = without_times(cached["cause"].as_str().expect("a cause"));
    assert!(
        cause.starts_with(
            "the registry no longer accepts the cached robot token, though it lasts until TIME (in "
        ),
        "{cause}"
    );
    assert_eq!((&report["would_renew"], &report["pulls_until"]), (&json!(true), &Value::Null));
    home.run("erase", &host);
    let (_, report) = doctor(&home, &[&host]);
    assert_eq!(
        step(&report, "cached-token")["title"],
        "Cached token: none, so the next pull gets a new one"
    );
    assert_eq!(report["would_pull"], true);
    home.get(&host).token();
    assert_eq!(step(&doctor(&home, &[&host]).1, "cached-token")["result"], "passed");
}

#[test]
fn r38_with_a_living_token_and_no_way_to_a_new_one_pulls_work_until_it_ends() {
    let breaks: &[(&str, &str, Change)] = &[
        ("provider down", "token", |s| s.issuer().stop_listening()),
        ("federation gone", "exchange", |s| s.quay().clear_federation("acme+ci")),
        ("exchange down", "exchange", |s| {
            s.quay().fault(quayfed_sandbox::EXCHANGE_PATH, Fault::quay_loading(), Times::Always);
        }),
    ];
    for (name, at, change) in breaks {
        let (sandbox, host, home) = with_a_cached_token();
        change(&sandbox);
        let (ran, report) = doctor(&home, &[&host, "--repository", "acme/app"]);
        assert_eq!(ran.code, Some(0), "{name}: {report:#}");
        assert_eq!((&report["would_pull"], &report["would_renew"]), (&json!(true), &json!(false)));
        assert_eq!(step(&report, at)["result"], "failed", "{name}");
        let until = without_times(report["pulls_until"].as_str().expect("a time"));
        assert_eq!(until, "TIME", "{name}");
        assert_eq!(report["repository"]["push"], true, "{name}: {report:#}");
        home.get(&host).token();
        let said = without_times(&ask(&home, &["doctor", &host]).stdout).replace(['\n', ' '], "");
        let wanted = format!("Pullsfrom`{host}`workwiththecachedtokenuntilTIME(in");
        assert!(said.contains(&wanted), "{name}: {said}");
        // Nothing of this helps where the registry itself is away.
        sandbox.quay().fault("/v2/auth", Fault::quay_loading(), Times::Always);
        assert_eq!(doctor(&home, &[&host]).0.code, Some(1), "{name}");
    }
}

#[test]
fn r38_a_dead_token_that_is_due_is_renewed_by_the_next_pull_where_that_can_be() {
    let mut desk = Desk::with_a_cached_token();
    desk.sandbox.quay().replace_signing_key();
    let report = |desk: &Desk| -> (u8, Value) {
        let (code, screen) = desk.screen(PIPED, &["doctor", "--json"]);
        (code, serde_json::from_str(&screen).expect("JSON"))
    };
    let (code, fresh) = report(&desk);
    assert_eq!(
        (code, &step(&fresh, "cached-token")["result"]),
        (command::FAILED, &json!("failed"))
    );
    desk.later = Duration::from_mins(50);
    let (code, due) = report(&desk);
    let cached = step(&due, "cached-token");
    assert_eq!((code, &cached["result"]), (command::WELL, &json!("unknown")), "{due:#}");
    assert!(cached["cause"].is_string());
    desk.sandbox.quay().clear_federation("acme+ci");
    assert_eq!(report(&desk).0, command::FAILED);
    desk.later = Duration::from_hours(1);
    let (_, expired) = report(&desk);
    let title = &step(&expired, "cached-token")["title"];
    assert_eq!(title, "Cached token: expired, so the next pull gets a new one");
}

#[test]
fn r39_what_lies_behind_a_silent_reply_is_asked_for_only_where_nothing_is_answered() {
    let cases: &[(&str, Change, [&str; 3])] = &[
        (
            "robot disabled",
            |s| s.quay().set_robot_enabled("acme+ci", false),
            ["the token", "the token", "a damaged token"],
        ),
        ("issuer down", |s| s.issuer().stop_listening(), ["the token", "the token", "nothing"]),
    ];
    for (name, change, asked) in cases {
        let desk = Desk::new();
        change(&desk.sandbox);
        assert!(matches!(desk.get(), Answer::Failed(_)), "{name}");
        assert_eq!(desk.sent(), asked, "{name}");

        // Where a token lives, its pull goes on: nobody waits for an explanation.
        let mut desk = Desk::with_a_cached_token();
        desk.later = Duration::from_mins(50);
        desk.sandbox.quay().forget_requests();
        change(&desk.sandbox);
        assert!(matches!(desk.get(), Answer::Credentials(_)), "{name}");
        assert_eq!(desk.sent(), ["the token"; 2], "{name}");
    }
}

/// Wall time as it is, and a boot clock that ticks whenever somebody looks: so that the time of
/// each step is the same in every run.
struct TickingClock {
    ticked: Cell<u64>,
    later: Duration,
}

impl Clock for TickingClock {
    fn wall(&self) -> Duration {
        SystemClock.wall()
    }

    fn boot(&self) -> Duration {
        self.ticked.set(self.ticked.get() + 7);
        Duration::from_millis(1_000_000 + self.ticked.get()) + self.later
    }

    fn sleep(&self, duration: Duration) {
        let slept = u64::try_from(duration.as_millis()).expect("a short time");
        self.ticked.set(self.ticked.get() + slept);
    }
}

/// A folder with everything that a walk looks at.
struct Desk {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// How much later it is by the boot clock.
    later: Duration,
}

impl Desk {
    fn new() -> Self {
        Self::at(Sandbox::start())
    }

    /// One that has got a token before. Its cache is not in memory, and so counts for one boot.
    fn with_a_cached_token() -> Self {
        let desk = Self::new();
        desk.write("boot_id", "5e7b8a4c-0000-0000-0000-000000000000\n", 0o644);
        let answer = desk.get();
        assert!(matches!(answer, Answer::Credentials(_)), "{answer:?}");
        desk
    }

    fn get(&self) -> Answer {
        let world = self.world();
        let transport = || -> Box<dyn Transport> { Box::new(HttpTransport::new(&world)) };
        let host = self.sandbox.quay().host();
        helper::get(&world, transport, &host, world.clock.boot())
    }

    /// What the exchange was sent as passwords.
    fn sent(&self) -> Vec<&'static str> {
        let token =
            &self.variables.iter().find(|(name, _)| name == "JOB_TOKEN").expect("a token").1;
        let of = |header: Option<&str>| {
            let Some(header) = header else { return "nothing" };
            let encoded = header.strip_prefix("Basic ").expect("Basic");
            let credentials = STANDARD.decode(encoded).expect("base64");
            if credentials == format!("acme+ci:{token}").into_bytes() {
                "the token"
            } else {
                "a damaged token"
            }
        };
        let requests = self.sandbox.quay().requests();
        let exchanges = requests.iter().filter(|it| it.path == quayfed_sandbox::EXCHANGE_PATH);
        exchanges.map(|request| of(request.header("authorization"))).collect()
    }

    /// With this between the servers' certificate and the CA.
    fn behind(chain: Chain) -> Self {
        Self::at(Sandbox::start_with(Options { chain, ..Options::default() }))
    }

    fn at(sandbox: Sandbox) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("q")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .expect("a folder");
        let desk = Self { sandbox, folder, variables: Vec::new(), later: Duration::ZERO };
        for name in ["cache", "bin"] {
            fs::create_dir(desk.path(name)).expect("a folder");
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(desk.path(name), mode).expect("mode set");
        }
        let own = std::env::current_exe().expect("a program");
        symlink(own, desk.path("bin/docker-credential-quayfed")).expect("linked");
        let ca = fs::read_to_string(desk.sandbox.ca_file()).expect("a CA");
        desk.write("ca.pem", &ca, 0o644);
        let host = desk.sandbox.quay().host();
        desk.write(&format!(".config/containers/certs.d/{host}/ca.crt"), &ca, 0o644);
        let helpers = json!({"credHelpers": {host: "quayfed"}}).to_string();
        desk.write(".config/containers/auth.json", &helpers, 0o600);
        desk.configure("acme+ci");
        desk.with("JOB_TOKEN", &desk_token(&shape()))
    }

    fn configure(&self, robot: &str) {
        let (host, ca) = (self.sandbox.quay().host(), self.path("ca.pem"));
        let ca = ca.display();
        let text = format!(
            "[registry.\"{host}\"]\nrobot = \"{robot}\"\nidentity = \"job\"\nca_file = \"{ca}\"\n\n\
             [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\nca_file = \"{ca}\"\n",
        );
        self.write(".config/quayfed/config.toml", &text, 0o600);
    }

    fn with(mut self, name: &str, value: &dyn Fn(&Sandbox) -> String) -> Self {
        self.variables.retain(|(other, _)| other != name);
        let value = value(&self.sandbox);
        self.variables.push((name.to_owned(), value));
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
    }

    fn world(&self) -> World {
        let uid = rustix::process::geteuid().as_raw();
        let namespace = UserNamespace { is_initial: true, uid_in_parent: uid, overflow_uid: 65534 };
        let own = [
            ("PATH".to_owned(), self.path("bin").display().to_string()),
            ("QUAYFED_CACHE_DIR".to_owned(), self.path("cache").display().to_string()),
        ];
        World {
            environment: Environment::of(self.variables.iter().cloned().chain(own)),
            clock: Box::new(TickingClock { ticked: Cell::new(0), later: self.later }),
            random: Box::new(|bytes| bytes.fill(0x80)),
            caller: Caller::of(uid, namespace),
            places: Places {
                system_configuration: self.path("etc/quayfed").into(),
                user_configuration: Some(self.path(".config")).into(),
                run: self.path("run").into(),
                shared_memory: self.path("shm").into(),
                boot_id: self.path("boot_id").into(),
                home: Some(self.folder.path().to_owned()).into(),
                containers_configuration: self.path("etc/containers").into(),
                containers_defaults: self.path("usr/share/containers").into(),
                path_of_services: "".into(),
            },
            log: Log::silent(),
            redactor: Redactor::default(),
        }
    }

    /// The screen of a command, with its exit code; what differs from run to run is replaced by
    /// something of the same length.
    fn screen(&self, looks: Looks, arguments: &[&str]) -> (u8, String) {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let cli::Command::ForPeople(command) = cli::parse(&arguments) else {
            panic!("no command: {arguments:?}")
        };
        let world = self.world();
        let (ran, screen) = screens::drawn(looks, |terminal| {
            command::run(&world, terminal, &command, cli::parser())
        });
        let (code, screen) = match ran {
            Ok(code) => (code, screen),
            Err(failure) => {
                let told = format!("{screen}{}\nhint: {}\n", failure.cause(), failure.hint());
                (command::FAILED, told)
            }
        };
        let (issuer, quay) = (self.sandbox.issuer().url(), self.sandbox.quay().host());
        let folder = self.folder.path().display().to_string();
        let replaced = without_progress(&screen)
            .replace(&issuer.replace("https://", ""), "sso.example.com")
            .replace(&quay, "quay.acme.cloud")
            .replace(&folder, "/home/devops")
            .replace("(in 58 min)", "(in 59 min)");
        // A narrow screen breaks a long path wherever its line ends.
        let broken_at = |name: &str, at: usize| format!("{}\n    {}", &name[..at], &name[at..]);
        let replaced = (1..quay.len()).fold(replaced, |screen, at| {
            screen.replace(&broken_at(&quay, at), &broken_at("quay.acme.cloud", at))
        });
        (code, with_one_time(&replaced))
    }
}

/// What stays on the screen: not what the next line replaced.
fn without_progress(screen: &str) -> String {
    screen.split("\r\u{1b}[K").step_by(2).collect()
}

fn desk_token(shape: &TokenShape) -> impl Fn(&Sandbox) -> String + use<> {
    let shape = shape.clone();
    move |sandbox| sandbox.issuer().mint(&shape)
}

/// Every RFC 3339 time replaced by one and the same.
fn with_one_time(text: &str) -> String {
    const TIME: &str = "2026-11-24T06:00:00Z";
    let is_time = |piece: &[u8]| {
        piece.iter().zip(TIME.bytes()).all(|(byte, model)| {
            if model.is_ascii_digit() { byte.is_ascii_digit() } else { *byte == model }
        })
    };
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len().saturating_sub(TIME.len() - 1) {
        if is_time(&bytes[at..at + TIME.len()]) {
            bytes[at..at + TIME.len()].copy_from_slice(TIME.as_bytes());
        }
    }
    String::from_utf8(bytes).expect("text")
}

#[test]
fn the_screens_of_a_pull_that_works() {
    let desk = Desk::new();
    let arguments = &["doctor", "--repository", "acme/app"];
    for (name, looks) in [("pass", COLOURED), ("pass_narrow", NARROW), ("pass_piped", PIPED)] {
        let (code, screen) = desk.screen(looks, arguments);
        check(&format!("doctor_{name}"), &screen);
        assert_eq!(code, command::WELL, "{screen}");
    }
}

#[test]
fn the_screens_of_pulls_that_would_fail() {
    let desk = Desk::new();
    desk.configure("acme+nofed");
    let mut screens = Vec::new();
    for (name, looks) in [("no_federation", COLOURED), ("no_federation_piped", PIPED)] {
        screens.push((name, desk.screen(looks, &["doctor"])));
    }
    let desk = Desk::new().with("JOB_TOKEN", &desk_token(&shape().algorithm(Algorithm::Rs512)));
    for (name, looks) in [("refusal", COLOURED), ("refusal_narrow", NARROW)] {
        screens.push((name, desk.screen(looks, &["doctor"])));
    }
    let desk = Desk::new().with("JOB_TOKEN", &desk_token(&shape().expired_for(600)));
    screens.push(("expired", desk.screen(COLOURED, &["doctor"])));
    let desk = Desk::new();
    desk.write(".config/containers/auth.json", "{}", 0o600);
    screens.push(("not_set_up", desk.screen(COLOURED, &["doctor"])));
    desk.write(".config/quayfed/config.toml", "[registry]\n", 0o600);
    screens.push(("not_configured", desk.screen(COLOURED, &["doctor"])));
    for (name, (code, screen)) in screens {
        check(&format!("doctor_{name}"), &screen);
        assert_eq!(code, command::FAILED, "{screen}");
    }
}

#[test]
fn the_screens_of_cached_tokens() {
    let living =
        Desk::with_a_cached_token().with("JOB_TOKEN", &desk_token(&shape().expired_for(600)));
    let (code, screen) = living.screen(COLOURED, &["doctor"]);
    check("doctor_cached_alone", &screen);
    assert_eq!(code, command::WELL, "{screen}");
    let dead = Desk::with_a_cached_token();
    dead.sandbox.quay().replace_signing_key();
    let (code, screen) = dead.screen(COLOURED, &["doctor"]);
    check("doctor_cached_dead", &screen);
    assert_eq!(code, command::FAILED, "{screen}");
}

#[test]
fn the_screens_of_certificates() {
    let desk = Desk::behind(Chain::Whole);
    let (code, screen) = desk.screen(COLOURED, &["doctor"]);
    check("doctor_chain", &screen);
    assert_eq!(code, command::WELL, "{screen}");
    let desk = Desk::behind(Chain::Broken);
    let mut screens = Vec::new();
    for (name, looks) in [("chain_broken", COLOURED), ("chain_broken_narrow", NARROW)] {
        screens.push((name, desk.screen(looks, &["doctor"])));
    }
    let desk = Desk::new();
    let other = fs::read_to_string(Sandbox::start().ca_file()).expect("a CA");
    desk.write("ca.pem", &other, 0o644);
    screens.push(("chain_other_key", desk.screen(COLOURED, &["doctor"])));
    for (name, (code, screen)) in screens {
        check(&format!("doctor_{name}"), &screen);
        assert_eq!(code, command::FAILED, "{screen}");
    }
}

#[test]
fn the_screens_of_identity() {
    let desk = Desk::new();
    for (name, looks) in [("", COLOURED), ("_narrow", NARROW), ("_piped", PIPED)] {
        let (code, screen) = desk.screen(looks, &["identity"]);
        check(&format!("identity{name}"), &screen);
        assert_eq!(code, command::WELL, "{screen}");
    }
    check("identity_json", &desk.screen(PIPED, &["identity", "--json"]).1);
    let two = "[identity.a]\nsource = \"env\"\nvariable = \"A\"\n\
               [identity.b]\nsource = \"env\"\nvariable = \"B\"\n";
    desk.write(".config/quayfed/config.toml", two, 0o600);
    let (code, screen) = desk.screen(COLOURED, &["identity"]);
    check("identity_which", &screen);
    assert_eq!(code, command::MISUSED, "{screen}");
}

#[test]
fn it_has_to_be_said_which_of_several_registries_is_meant_and_what_is_replaced_is_told() {
    let desk = Desk::new();
    let other = "[registry.\"other.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\n";
    desk.write("etc/quayfed/config.toml", other, 0o644);
    let host = desk.sandbox.quay().host();
    let replaced = format!("[registry.\"{host}\"]\nrobot = \"acme+old\"\nidentity = \"job\"\n");
    desk.write("etc/quayfed/config.d/10-old.toml", &replaced, 0o644);
    let (code, screen) = desk.screen(PIPED, &["doctor"]);
    assert_eq!(code, command::MISUSED);
    let said: BTreeSet<&str> = screen.lines().collect();
    assert_eq!(
        said,
        BTreeSet::from([
            "Several registries are configured; say which:",
            "  docker-credential-quayfed doctor other.example.com",
            "  docker-credential-quayfed doctor quay.acme.cloud",
            "  docker-credential-quayfed doctor --all",
        ])
    );
    let (code, report) = desk.screen(PIPED, &["doctor", "--json"]);
    assert_eq!(code, command::MISUSED);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["registry"], &report["would_pull"]), (&Value::Null, &false.into()));
    let cause = report["steps"][0]["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("several registries are configured: `"), "{cause}");
    let (code, screen) = desk.screen(PIPED, &["doctor", &host]);
    assert_eq!(code, command::WELL, "{screen}");
    assert!(
        screen.contains(
            "replaced by it: the rule in\n    /home/devops/etc/quayfed/config.d/10-old.toml"
        ) || screen
            .contains("replaced by it: the rule in /home/devops/etc/quayfed/config.d/10-old"),
        "{screen}"
    );
    let (code, screen) = desk.screen(PIPED, &["doctor", "quay.example.com"]);
    assert_eq!(code, command::FAILED);
    assert!(screen.contains("no rule covers `quay.example.com`"), "{screen}");
}

#[test]
fn what_one_client_lacks_is_shown_and_does_not_fail_the_pull_of_the_other() {
    let desk = Desk::new();
    desk.write(".docker/config.json", r#"{"credsStore": "desktop"}"#, 0o600);
    let (code, screen) = desk.screen(PIPED, &["doctor"]);
    assert_eq!(code, command::WELL, "{screen}");
    assert!(
        screen.contains("? docker\n    for `quay.acme.cloud` the helper `desktop` is"),
        "{screen}"
    );
}

#[test]
fn a_login_that_keeps_podman_from_the_helper_fails_the_pull_whatever_docker_does() {
    let desk = Desk::new();
    let host = desk.sandbox.quay().host();
    desk.write(
        ".docker/config.json",
        &format!(r#"{{"credHelpers": {{"{host}": "quayfed"}}}}"#),
        0o600,
    );
    desk.write(
        ".config/containers/auth.json",
        &format!(r#"{{"auths": {{"{host}": {{"auth": "YTpi"}}}}}}"#),
        0o600,
    );
    let (code, screen) = desk.screen(PIPED, &["doctor"]);
    assert_eq!(code, command::FAILED, "{screen}");
    assert!(screen.contains("✗ podman, buildah, skopeo"), "{screen}");
}

#[test]
fn a_validity_that_no_token_has_is_told_with_the_line_of_its_key() {
    let desk = Desk::new();
    let path = desk.path(".config/quayfed/config.toml");
    let text = fs::read_to_string(path).expect("a configuration");
    let text = text.replace("\n\n", "\nmin_validity = \"2h\"\n\n");
    desk.write(".config/quayfed/config.toml", &text, 0o600);
    let (code, screen) = desk.screen(PIPED, &["doctor"]);
    assert_eq!(code, command::WELL, "{screen}");
    assert!(
        screen.contains(
            "? `min_validity` in /home/devops/.config/quayfed/config.toml:5 asks for 7200\n      s, \
             more than it lives"
        ),
        "{screen}"
    );
}

#[test]
fn without_a_place_for_a_cache_a_pull_works_all_the_same() {
    let desk = Desk::new();
    fs::set_permissions(desk.path("cache"), fs::Permissions::from_mode(0o755)).expect("mode set");
    let (code, screen) = desk.screen(PIPED, &["doctor"]);
    assert_eq!(code, command::WELL, "{screen}");
    assert!(screen.contains("? Cache directory: none can be used"), "{screen}");
    assert!(screen.contains(" has mode 0755, not\n    0700; nothing is cached\n"), "{screen}");
}

#[test]
fn a_chosen_cache_folder_that_does_not_serve_deserves_a_look() {
    let desk = Desk::new();
    fs::set_permissions(desk.path("cache"), fs::Permissions::from_mode(0o755)).expect("mode set");
    // As long as the path that takes its place on the screen.
    let runtime = tempfile::Builder::new().prefix("q").rand_bytes(4).tempdir_in("/dev/shm");
    let runtime = runtime.expect("a folder in memory");
    let path = runtime.path().display().to_string();
    let desk = desk.with("XDG_RUNTIME_DIR", &|_| path.clone());
    for (name, looks) in [("", COLOURED), ("_narrow", NARROW), ("_piped", PIPED)] {
        let (code, screen) = desk.screen(looks, &["doctor"]);
        assert_eq!(code, command::WELL, "{screen}");
        let screen = screen.replace(&path, "/run/user/1000");
        check(&format!("doctor_cache_in_vain{name}"), cache_step(&screen));
    }
    let (_, report) = desk.screen(PIPED, &["doctor", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let step = report["steps"].as_array().expect("steps").iter().find(|it| it["name"] == "cache");
    let step = step.expect("the step");
    assert_eq!((&step["result"], step["cause"].is_string()), (&json!("unknown"), true), "{step}");
}

/// What a screen says of the cache directory.
fn cache_step(screen: &str) -> &str {
    let line_with = |text: &str| {
        let at = screen.find(text).expect(text);
        screen[..at].rfind('\n').map_or(0, |end| end + 1)
    };
    &screen[line_with("Cache directory")..line_with("Registry: ")]
}

/// What happens to a home in which a pull works.
type Spoil = fn(&mut Home, &str);

#[test]
fn r46_doctor_is_never_green_where_podman_fails() {
    let registries_conf = |home: &Home, text: &str| {
        home.write(".config/containers/registries.conf", text, 0o644);
    };
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let cases: &[(&str, &str, &str, Spoil)] = &[
        ("the CA is ours alone", "client-trust", "is trusted by this helper only", |home, host| {
            fs::remove_dir_all(home.path(&format!(".config/containers/certs.d/{host}")))
                .expect("gone");
        }),
        ("another CA", "client-trust", "is trusted by this helper only", |home, host| {
            let file = format!(".config/containers/certs.d/{host}/ca.crt");
            home.write(&file, "no certificate", 0o644);
        }),
        (
            "another program",
            "program",
            "which is another program or version than this one (",
            |home, _| {
                home.make_folder("first", 0o755);
                home.write("first/docker-credential-quayfed", "#!/bin/sh\nexit 1\n", 0o755);
                let folder = program().parent().expect("a folder").display().to_string();
                home.set("PATH", format!("{}:{folder}", home.path("first").display()));
            },
        ),
        ("blocked", "podman", "do not go to `HOST`: it is blocked in ", |home, host| {
            let text = format!("[[registry]]\nlocation = \"{host}\"\nblocked = true\n");
            home.write(".config/containers/registries.conf", &text, 0o644);
        }),
        ("elsewhere", "podman", "go to `new.example.com` (`location` in ", |home, host| {
            let text =
                format!("[[registry]]\nprefix = \"{host}\"\nlocation = \"new.example.com/x\"\n");
            home.write(".config/containers/registries.conf", &text, 0o644);
        }),
    ];
    let home_of = || {
        let mut home = at_sandbox(&sandbox);
        set_up(&mut home, &host);
        home
    };
    let (ran, _) = doctor(&home_of(), &[&host]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (name, at, cause, spoil) in cases {
        let mut home = home_of();
        spoil(&mut home, &host);
        let (ran, report) = doctor(&home, &[&host]);
        assert_eq!(ran.code, Some(1), "{name}: {report:#}");
        let failed: Vec<_> = report["steps"].as_array().expect("steps").iter().collect();
        let failed: Vec<_> = failed.into_iter().filter(|it| it["result"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{name}: {report:#}");
        assert_eq!(failed[0]["name"], *at, "{name}");
        let told = failed[0]["cause"].as_str().expect("a cause").replace(&host, "HOST");
        assert!(told.contains(cause), "{name}: {told}");
        // Cause and hint stand at the end again.
        let screen = ask(&home, &["doctor", &host]).stdout;
        let end = screen.rsplit_once("\nA pull from ").expect("an end").1;
        let end = end.replace("\n  ", " ");
        let hint = failed[0]["hint"].as_str().expect("a hint");
        assert!(end.contains(&format!("hint: {hint}")), "{name}: {end}");
    }
    // What is no obstacle.
    for (name, details, text) in [
        ("a mirror without a rule", 2, "[[registry.mirror]]\nlocation = \"m.example.com\"\n"),
        ("not verified", 1, "insecure = true\n"),
    ] {
        let home = home_of();
        registries_conf(&home, &format!("[[registry]]\nlocation = \"{host}\"\n{text}"));
        if name == "not verified" {
            let folder = home.path(&format!(".config/containers/certs.d/{host}"));
            fs::remove_dir_all(folder).expect("gone");
        }
        let (ran, report) = doctor(&home, &[&host]);
        assert_eq!(ran.code, Some(0), "{name}: {report:#}");
        let told = step(&report, "podman")["details"].as_array().map(Vec::len);
        assert_eq!(told, Some(details), "{name}");
    }
}

#[test]
fn r46_all_registries_are_looked_at_in_one_go() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    set_up(&mut home, &host);
    let (ran, report) = doctor(&home, &["--all"]);
    assert_eq!((ran.code, report["registries"].as_array().map(Vec::len)), (Some(0), Some(1)));
    assert_eq!(report["registries"][0]["registry"], json!(host));
    let screen = ask(&home, &["doctor", "--all"]).stdout;
    assert!(screen.ends_with("\nPulls work from 1 of 1.\n"), "{screen}");
    let text = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("text");
    let broken = "[registry.\"a.example.com\"]\nrobot = \"Acme\"\nidentity = \"sso\"\n";
    home.configure(&format!("{text}\n{broken}"));
    let (ran, report) = doctor(&home, &["--all"]);
    assert_eq!(ran.code, Some(1));
    let would_pull: Vec<_> = report["registries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["would_pull"])
        .collect();
    assert_eq!(would_pull, [false, true]);
    let ran = ask(&home, &["doctor", "--all"]);
    let end = "\nPulls would fail from 1 of 2: `a.example.com`.\n";
    assert!(ran.code == Some(1) && ran.stdout.ends_with(end), "{ran:?}");
    let ran = ask(&home, &["doctor"]);
    assert!(ran.code == Some(2) && ran.stdout.ends_with(" doctor --all\n"), "{ran:?}");
    assert_eq!(ask(&home, &["doctor", "--all", &host]).code, Some(2));
}

#[test]
fn r46_what_was_open_is_answered_by_the_exchange() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    set_up(&mut home, &host);
    let (_, report) = doctor(&home, &[&host]);
    let details = step(&report, "exchange")["details"].clone();
    assert_eq!(
        details,
        json!([{"mark": "passed",
                "text": "so these are in order too: discovery and keys from Quay, federation"}])
    );
    sandbox.quay().clear_federation("acme+ci");
    let (_, report) = doctor(&home, &[&host]);
    assert_eq!(step(&report, "exchange")["details"], json!([]));
}

#[test]
fn an_image_says_which_registry_and_repository_are_meant() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    set_up(&mut home, &host);
    let image = format!("{host}/acme/app:v1");
    let (ran, report) = doctor(&home, &["--repository", &image]);
    assert_eq!((ran.code, &report["repository"]["name"]), (Some(0), &json!("acme/app")));
    assert_eq!(report["registry"], json!(host));
    let ran = ask(&home, &["doctor", "other.example.com", "--repository", &image]);
    assert_eq!(
        (ran.code, ran.stderr),
        (
            Some(2),
            format!(
                "docker-credential-quayfed: `--repository` names an image of `{host}`, and the \
                 registry to walk to is `other.example.com`\nhint: leave one of the two out\n"
            )
        )
    );
}

#[test]
fn a_rule_that_nearly_fits_is_named_and_a_host_that_moved_is_told() {
    let mut home = Home::new();
    home.configure(
        "[registry.\"quay.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"i\"\n\
         [registry.\"path.example.com/org\"]\nrobot = \"acme+ci\"\nidentity = \"i\"\n\
         [identity.i]\nsource = \"env\"\nvariable = \"T\"\n",
    );
    for (asked, near) in [
        ("quay.example.com:8443", Some("quay.example.com")),
        ("path.example.com", Some("path.example.com/org")),
        ("path.example.com/other/app", Some("path.example.com/org")),
        ("elsewhere.example.com", None),
    ] {
        let (_, report) = doctor(&home, &[asked]);
        let hint = step(&report, "configuration")["hint"].as_str().expect("a hint").to_owned();
        let cause = &step(&report, "configuration")["cause"];
        assert_eq!(
            *cause,
            format!("no rule covers `{asked}`, so clients go on without credentials")
        );
        assert_eq!(
            hint,
            near.map_or_else(
                || "there are rules for `path.example.com/org`, `quay.example.com`".to_owned(),
                |near| format!(
                    "there is a rule for `{near}`, and host, port and path count: write one for \
                     `{asked}`, or name that"
                )
            )
        );
        home.set("QUAYFED_LOG", "debug");
        for _ in 0..2 {
            let ran = home.get(asked);
            let told = match near {
                None => format!("debug: no rule covers `{asked}`\n"),
                Some(near) => format!(
                    "debug: no rule covers `{asked}`; there is one for `{near}`, and host, port and \
                     path count\n"
                ),
            };
            assert!(ran.stderr.contains(&told), "{ran:?}");
        }
        home.set("QUAYFED_LOG", "");
        assert!(home.get(asked).is_not_found());
    }
    // The entry of a host that has moved away.
    home.write("ca.pem", "", 0o644);
    set_up(&mut home, "old.example.com");
    let helpers = json!({"credHelpers": {"old.example.com": "quayfed", "quay.example.com": "quayfed",
                                          "path.example.com": "quayfed", "g": "gcloud"}});
    home.write(".config/containers/auth.json", &helpers.to_string(), 0o600);
    let (_, report) = doctor(&home, &["quay.example.com"]);
    let file = home.path(".config/containers/auth.json").display().to_string();
    let details = step(&report, "podman")["details"].clone();
    assert_eq!(
        details[1],
        json!({"mark": "unknown", "text": format!(
            "{file} names the helper for old.example.com too, and no rule covers that: \
             docker-credential-quayfed configure --undo old.example.com")})
    );
    let ran = ask(&home, &["configure", "--only", "podman"]);
    let said = ran.stdout.replace("\n    ", " ");
    assert!(
        said.contains("names the helper for old.example.com too")
            && said.contains("configure --undo old.example.com")
            && said.ends_with("No file needs a change.\n"),
        "{ran:?}"
    );
    assert!(!home.path(".docker/config.json").exists());
}
