//! Every way in which Quay refuses, as a person meets it: cause and hint, whole, in one snapshot.

use std::fmt::Write as _;
use std::time::Duration;

use quayfed_sandbox::{
    Algorithm, EXCHANGE_PATH, Fault, KeyId, Options, Sandbox, SignedBy, Times, TokenShape, Version,
};

use serde_json::json;

use crate::binary::{Home, Ran};

/// The start of the page that nginx answers a header with that is over its limit.
const TOO_LARGE: &str =
    "<html>\n<head><title>400 Request Header Or Cookie Too Large</title></head>";

/// A situation: the robot, the token, and what is done to the sandbox before.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    pub(crate) robot: &'static str,
    pub(crate) token: fn(&Sandbox) -> String,
    pub(crate) before: fn(&Sandbox),
}

pub(crate) fn nothing(_: &Sandbox) {}

pub(crate) fn mint(sandbox: &Sandbox, shape: TokenShape) -> String {
    sandbox.issuer().mint(&shape)
}

pub(crate) fn good(sandbox: &Sandbox) -> String {
    mint(sandbox, TokenShape::default())
}

/// A token of the issuer that the sandbox's robot is bound to, at a path of the one server.
pub(crate) fn of_issuer(sandbox: &Sandbox, path: &str) -> String {
    let issuer = format!("{}/{path}", sandbox.issuer().url());
    mint(sandbox, TokenShape::default().issuer(&issuer))
}

pub(crate) const fn situation(
    name: &'static str,
    robot: &'static str,
    token: fn(&Sandbox) -> String,
    before: fn(&Sandbox),
) -> Situation {
    Situation { name, robot, token, before }
}

pub(crate) const SITUATIONS: &[Situation] = &[
    situation("robot unknown", "acme+ghost", good, nothing),
    situation("organization unknown", "ghost+ci", good, nothing),
    situation("no federation", "acme+nofed", good, nothing),
    situation(
        "issuer not configured",
        "acme+ci",
        |sandbox| mint(sandbox, TokenShape::default().issuer("https://idp.example.com")),
        nothing,
    ),
    situation(
        "issuer with a slash too many",
        "acme+ci",
        |sandbox| {
            let issuer = format!("{}/", sandbox.issuer().url());
            mint(sandbox, TokenShape::default().issuer(&issuer))
        },
        nothing,
    ),
    situation("no issuer", "acme+ci", |s| mint(s, TokenShape::default().without("iss")), nothing),
    situation("another subject", "acme+other", good, nothing),
    situation("no subject", "acme+ci", |s| mint(s, TokenShape::default().without("sub")), nothing),
    situation("expired", "acme+ci", |s| mint(s, TokenShape::default().expired_for(600)), nothing),
    situation(
        "bad signature",
        "acme+ci",
        |sandbox| mint(sandbox, TokenShape::default().signed_by(SignedBy::AnotherKey)),
        nothing,
    ),
    situation("no kid", "acme+ci", |s| mint(s, TokenShape::default().kid(KeyId::Absent)), nothing),
    situation(
        "HS256",
        "acme+ci",
        |s| mint(s, TokenShape::default().algorithm(Algorithm::Hs256)),
        nothing,
    ),
    situation(
        "alg none",
        "acme+ci",
        |s| mint(s, TokenShape::default().algorithm(Algorithm::None)),
        nothing,
    ),
    situation(
        "RS512",
        "acme+ci",
        |s| mint(s, TokenShape::default().algorithm(Algorithm::Rs512)),
        nothing,
    ),
    situation(
        "ES256",
        "acme+ci",
        |s| mint(s, TokenShape::default().algorithm(Algorithm::Es256)),
        nothing,
    ),
    situation("no exp", "acme+ci", |s| mint(s, TokenShape::default().without("exp")), nothing),
    situation("no iat", "acme+ci", |s| mint(s, TokenShape::default().without("iat")), nothing),
    situation(
        "iat ahead",
        "acme+ci",
        |s| mint(s, TokenShape::default().issued_offset(150)),
        nothing,
    ),
    situation(
        "another audience",
        "acme+ci",
        |sandbox| mint(sandbox, TokenShape::default().audience("other")),
        |sandbox| {
            let issuer = sandbox.issuer().url();
            sandbox.quay().clear_federation("acme+ci");
            let subject = quayfed_sandbox::DEFAULT_SUBJECT;
            sandbox.quay().bind("acme+ci", &issuer, subject, Some(vec!["quay".to_owned()]));
        },
    ),
    situation(
        "discovery names another issuer",
        "acme+otheriss",
        |s| of_issuer(s, "otheriss"),
        nothing,
    ),
    situation(
        "discovery names another issuer, 3.17",
        "acme+otheriss",
        |s| of_issuer(s, "otheriss"),
        |sandbox| sandbox.quay().set_version(Version::V3_17),
    ),
    situation(
        "kid not among the keys",
        "acme+ci",
        |sandbox| mint(sandbox, TokenShape::default().kid(KeyId::Other("rotated-away".to_owned()))),
        nothing,
    ),
    situation(
        "http issuer",
        "acme+http",
        |sandbox| {
            let issuer = sandbox.issuer().http_url();
            mint(sandbox, TokenShape::default().issuer(&issuer))
        },
        nothing,
    ),
    situation("discovery 404", "acme+nodisc", |s| of_issuer(s, "nodisc"), nothing),
    situation("discovery not JSON", "acme+badjson", |s| of_issuer(s, "badjson"), nothing),
    situation("keys 500", "acme+nojwks", |s| of_issuer(s, "nojwks"), nothing),
    situation(
        "an extension that must be known",
        "acme+ci",
        |s| mint(s, TokenShape::default().header("crit", json!(["exp2"]))),
        nothing,
    ),
    situation("a key of an unknown type", "acme+ci", good, |s| {
        s.issuer().list_key(json!({"kty": "AKP", "kid": "other", "pub": "AA"}));
    }),
    situation("a key without a type", "acme+ci", good, |s| {
        s.issuer().list_key(json!({"kid": "other"}));
    }),
    situation("an RSA key without n", "acme+ci", good, |s| {
        s.issuer().list_key(json!({"kty": "RSA", "kid": "other", "e": "AQAB"}));
    }),
    situation("an RSA key without e", "acme+ci", good, |s| {
        s.issuer().list_key(json!({"kty": "RSA", "kid": "other", "n": "AQAB"}));
    }),
    situation("two entries of one issuer, the audience of the first", "acme+ci", good, |s| {
        two_entries(s, ["quay", "other"]);
    }),
    situation("database away", "acme+ci", good, |s| s.quay().set_database_away(true)),
    situation("robot disabled", "acme+ci", good, |s| s.quay().set_robot_enabled("acme+ci", false)),
    situation(
        "issuer refuses connections",
        "acme+noport",
        |sandbox| mint(sandbox, TokenShape::default().issuer("https://localhost:9")),
        nothing,
    ),
    situation(
        "issuer not trusted by Quay",
        "acme+badtls",
        |sandbox| {
            let issuer = sandbox.issuer().bad_tls_url();
            mint(sandbox, TokenShape::default().issuer(&issuer))
        },
        nothing,
    ),
    situation("discovery slow", "acme+slowdisc", |s| of_issuer(s, "slowdisc"), nothing),
    situation("keys hang", "acme+slowjwks", |s| of_issuer(s, "slowjwks"), nothing),
    situation("Quay is down behind its proxy", "acme+ci", good, |sandbox| {
        sandbox.quay().fault(EXCHANGE_PATH, Fault::quay_loading(), Times::Always);
    }),
    situation("Quay does not listen", "acme+ci", good, |s| s.quay().stop_listening()),
    situation("Quay 3.12", "acme+ci", good, |s| s.quay().set_version(Version::V3_12)),
    situation("no Quay at all", "acme+ci", good, |sandbox| {
        sandbox.quay().fault(
            EXCHANGE_PATH,
            Fault::respond(404, "text/html", "<html>nginx"),
            Times::Always,
        );
    }),
    situation("too many requests", "acme+ci", good, |sandbox| {
        let headers = vec![("Retry-After".to_owned(), "120".to_owned())];
        let fault = Fault::Respond { status: 429, headers, body: Vec::new() };
        sandbox.quay().fault(EXCHANGE_PATH, fault, Times::Always);
    }),
    situation("header too large", "acme+ci", good, |sandbox| {
        sandbox.quay().fault(
            EXCHANGE_PATH,
            Fault::respond(400, "text/html", TOO_LARGE),
            Times::Always,
        );
    }),
    situation("431", "acme+ci", good, |sandbox| {
        sandbox.quay().fault(EXCHANGE_PATH, Fault::respond(431, "text/html", ""), Times::Always);
    }),
    situation(
        "token too long",
        "acme+ci",
        |s| mint(s, TokenShape::default().length(7000)),
        nothing,
    ),
    situation("opaque token", "acme+ci", |_| "c0ffee".to_owned(), nothing),
    situation("encrypted token", "acme+ci", |_| "a.b.c.d.e".to_owned(), nothing),
    situation("a refusal that nobody has seen yet", "acme+ci", good, |sandbox| {
        let said = "{\"message\":\"Invalid token: \\u001b[31mthe moon is full\"}";
        sandbox.quay().fault(
            EXCHANGE_PATH,
            Fault::respond(400, "application/json", said),
            Times::Always,
        );
    }),
];

/// Binds the robot twice to one issuer, for two audiences; the default subject to the first.
pub(crate) fn two_entries(sandbox: &Sandbox, [first, last]: [&str; 2]) {
    let (quay, issuer) = (sandbox.quay(), sandbox.issuer().url());
    quay.clear_federation("acme+ci");
    for (subject, audience) in [(quayfed_sandbox::DEFAULT_SUBJECT, first), ("another", last)] {
        quay.bind("acme+ci", &issuer, subject, Some(vec![audience.to_owned()]));
    }
}

/// The sandbox of a situation. One of slowness has a Quay that is impatient: what takes minutes at a
/// real one takes seconds. In all others nobody's patience can end on a busy machine.
pub(crate) fn sandbox_for(situation: &Situation) -> Sandbox {
    let is_about_slowness = ["discovery slow", "keys hang"].contains(&situation.name);
    Sandbox::start_with(if is_about_slowness {
        Options {
            discovery_timeout: Duration::from_secs(2),
            proxy_timeout: Duration::from_secs(4),
            slow_discovery: Duration::from_secs(30),
            slow_jwks: Duration::from_secs(30),
            ..Options::default()
        }
    } else {
        Options::default()
    })
}

/// A home with a token in a variable, for the robot of a situation.
pub(crate) fn home_for(situation: &Situation, sandbox: &Sandbox) -> Home {
    let host = sandbox.quay().host();
    let mut home = Home::new();
    let ca = std::fs::read_to_string(sandbox.ca_file()).expect("a CA");
    let ca = home.write("ca.pem", &ca, 0o644);
    home.configure(&format!(
        "[registry.\"{host}\"]\nrobot = \"{}\"\nidentity = \"job\"\nca_file = \"{ca}\"\n\n\
         [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\nca_file = \"{ca}\"\n",
        situation.robot,
        ca = ca.display()
    ));
    home.set("JOB_TOKEN", (situation.token)(sandbox));
    (situation.before)(sandbox);
    home
}

fn meet(situation: &Situation) -> String {
    let sandbox = sandbox_for(situation);
    let home = home_for(situation, &sandbox);
    let host = sandbox.quay().host();
    let ran = home.get(&host);
    assert!(
        !ran.stderr.contains('<') && !ran.stderr.contains("eyJ"),
        "{}: {ran:?}",
        situation.name
    );
    normalized(&ran, &sandbox, &home)
}

/// Cause and hint with ports, paths and times replaced by what they stand for.
fn normalized(ran: &Ran, sandbox: &Sandbox, home: &Home) -> String {
    let mut text = format!("{}\nhint: {}", ran.cause(), ran.hint());
    let home = home.path("").display().to_string();
    for (value, name) in [
        (home.as_str(), "~/"),
        (&sandbox.issuer().bad_tls_url(), "https://UNTRUSTED"),
        (&sandbox.issuer().url(), "https://ISSUER"),
        (&sandbox.issuer().http_url(), "http://ISSUER"),
        (&sandbox.quay().url(), "https://QUAY"),
        (&sandbox.quay().host(), "QUAY"),
        (&sandbox.issuer().current_kid(), "KID"),
    ] {
        text = text.replace(value, name);
    }
    without_times(&text)
}

/// Replaces each RFC 3339 time by `TIME`, and how many seconds ago something was by `AGE`: between
/// two looks a second may pass.
pub(crate) fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let text = without_ages(text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find('T').filter(|_| rest.contains("20")) {
        let is_time = at >= 10
            && rest.is_char_boundary(at - 10)
            && rest[at - 10..at].chars().all(|c| c.is_ascii_digit() || c == '-')
            && rest[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        if is_time {
            let end = rest[at..].find('Z').map_or(rest.len(), |end| at + end + 1);
            shown.push_str(&rest[..at - 10]);
            shown.push_str("TIME");
            rest = &rest[end..];
        } else {
            shown.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
        }
    }
    shown + rest
}

fn without_ages(text: &str) -> String {
    let mut pieces = text.split(" s ago");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |before, after| {
        let words = before.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let age = if words.len() < before.len() { "AGE ago" } else { " s ago" };
        format!("{words}{age}{after}")
    })
}

#[test]
fn r45_two_looks_at_one_thing_differ_in_no_time() {
    let look = |time: &str, age: &str| {
        without_times(&format!("it ended at 2026-11-24T06:00:{time}Z, {age} s ago; Tuesdays ago"))
    };
    assert_eq!(look("59", "9"), look("00", "61"));
    assert_eq!(look("59", "9"), "it ended at TIME, AGE ago; Tuesdays ago");
    assert_eq!(without_times("60 min ago, some s ago"), "60 min ago, some s ago");
}

#[test]
fn every_refusal_is_explained() {
    let mut told = String::new();
    for situation in SITUATIONS {
        writeln!(told, "== {} ({})\n{}\n", situation.name, situation.robot, meet(situation))
            .expect("written");
    }
    insta::assert_snapshot!(told);
}
