//! What a test may rely on: isolation, records, keys, many connections, both TLS versions.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use common::{Https, Reply, basic, host_of};
use quayfed_sandbox::{
    DEFAULT_SUBJECT, EXCHANGE_PATH, Fault, HEALTH_PATH, KeyId, Sandbox, Times, TokenShape,
    claims_of,
};

fn exchange(sandbox: &Sandbox, robot: &str, shape: &TokenShape) -> Reply {
    exchange_token(sandbox, robot, &sandbox.issuer().mint(shape))
}

fn exchange_token(sandbox: &Sandbox, robot: &str, token: &str) -> Reply {
    let header = basic(robot, token);
    let https = Https::new(sandbox);
    https.get(&sandbox.quay().host(), EXCHANGE_PATH, Some(&header)).expect("a reply")
}

#[test]
fn a_robot_token_is_as_quays() {
    let sandbox = Sandbox::start();
    let reply = exchange(&sandbox, "acme+ci", &TokenShape::default());
    let token = reply.json()["token"].as_str().expect("a token").to_owned();
    let claims = claims_of(&token).expect("claims");
    assert_eq!(claims["iss"], "quay");
    assert_eq!(claims["aud"], sandbox.quay().host());
    assert_eq!(claims["sub"], "acme+ci");
    assert_eq!(claims["nbf"], claims["iat"]);
    assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|issued| issued + 3600));
    assert!((800..850).contains(&token.len()), "{} bytes", token.len());

    sandbox.quay().set_robot_token_life(Duration::from_secs(5));
    sandbox.quay().set_server_hostname("registry.example.com");
    let reply = exchange(&sandbox, "acme+ci", &TokenShape::default());
    let claims = claims_of(reply.json()["token"].as_str().expect("a token")).expect("claims");
    assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|issued| issued + 5));
    assert_eq!(claims["aud"], "registry.example.com");
}

#[test]
fn quay_fetches_discovery_and_keys_on_every_exchange() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    for count in 1..4 {
        assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, 200);
        assert_eq!(issuer.count(issuer.discovery_path()), count);
        assert_eq!(issuer.count(issuer.jwks_path()), count);
        assert_eq!(sandbox.quay().count(EXCHANGE_PATH), count);
    }
    sandbox.quay().forget_requests();
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), 0);
}

#[test]
fn what_is_sent_instead_of_a_robot_token_is_sent_once() {
    let sandbox = Sandbox::start();
    sandbox.quay().next_robot_token("no JWT".to_owned());
    let tokens = [(); 2]
        .map(|()| exchange(&sandbox, "acme+ci", &TokenShape::default()).json()["token"].clone());
    assert_eq!(tokens[0], "no JWT");
    assert!(claims_of(tokens[1].as_str().expect("a token")).is_some());
}

#[test]
fn a_key_that_was_rotated_away_is_unknown_and_one_that_was_kept_is_not() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    let first = issuer.mint(&TokenShape::default());
    let first_kid = issuer.current_kid();
    issuer.rotate_keys_keeping_old();
    assert_ne!(issuer.current_kid(), first_kid);
    assert_eq!(exchange_token(&sandbox, "acme+ci", &first).status, 200);
    assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, 200);

    issuer.rotate_keys();
    assert_eq!(exchange_token(&sandbox, "acme+ci", &first).status, 500);
    assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, 200);
    let other = TokenShape::default().kid(KeyId::Other(first_kid));
    assert_eq!(exchange(&sandbox, "acme+ci", &other).status, 500);
}

#[test]
fn bindings_can_be_added_and_removed() {
    let sandbox = Sandbox::start();
    let quay = sandbox.quay();
    let own = sandbox.issuer().url();
    quay.add_robot("other+new");
    let shape = TokenShape::default().subject("me");
    assert_eq!(exchange(&sandbox, "other+new", &shape).status, 400);
    quay.bind("other+new", &own, "me", Some(vec!["this".to_owned(), "quay".to_owned()]));
    assert_eq!(exchange(&sandbox, "other+new", &shape).status, 200);
    assert_eq!(exchange(&sandbox, "other+new", &shape.clone().audience("that")).status, 400);
    let list = serde_json::json!(["that", "this"]);
    assert_eq!(exchange(&sandbox, "other+new", &shape.clone().audience(list)).status, 200);
    quay.unbind("other+new", &own, "me");
    assert_eq!(exchange(&sandbox, "other+new", &shape).status, 400);
    quay.remove_robot("other+new");
    assert!(exchange(&sandbox, "other+new", &shape).body.contains("Could not find robot"));
}

#[test]
fn the_longest_header_that_passes_is_the_measured_one() {
    let sandbox = Sandbox::start();
    let robot = "acme+ci";
    for (sum, status) in [(6123, 200), (6124, 400)] {
        let length = sum - 1 - robot.len();
        let reply = exchange(&sandbox, robot, &TokenShape::default().length(length));
        assert_eq!(reply.status, status, "{sum}");
    }
}

#[test]
fn an_outage_of_the_issuer_fails_the_exchange() {
    let sandbox = Sandbox::start();
    let token = sandbox.issuer().mint(&TokenShape::default());
    sandbox.issuer().stop_listening();
    assert_eq!(exchange_token(&sandbox, "acme+ci", &token).status, 502);
    sandbox.quay().set_reverse_proxy(false);
    let header = basic("acme+ci", &token);
    let reply = Https::new(&sandbox).get(&sandbox.quay().host(), EXCHANGE_PATH, Some(&header));
    assert!(reply.is_none());
    sandbox.issuer().resume_listening();
    assert_eq!(exchange_token(&sandbox, "acme+ci", &token).status, 200);
}

#[test]
fn v2_auth_grants_what_is_asked_and_permitted() {
    let sandbox = Sandbox::start();
    let quay = sandbox.quay();
    quay.permit("acme+ci", "acme/app", &["pull", "push"]);
    quay.permit("acme+ci", "demo/*", &["pull"]);
    let header = basic("acme+ci", &quay.mint(&quay.robot_token_shape("acme+ci")));
    for (scope, actions) in [
        ("repository:acme/app:pull", vec!["pull"]),
        ("repository:acme/app:pull,push", vec!["push", "pull"]),
        ("repository:acme/app:pull,push,*", vec!["push", "pull"]),
        ("repository:demo/one:pull,push", vec!["pull"]),
        ("repository:acme/other:pull,push", vec![]),
    ] {
        let target = format!("/v2/auth?service=any.example:5000&scope={scope}");
        let reply = Https::new(&sandbox).get(&quay.host(), &target, Some(&header));
        let token = reply.expect("a reply").json()["token"].clone();
        let claims = claims_of(token.as_str().expect("a token")).expect("claims");
        assert_eq!(claims["aud"], "any.example:5000");
        assert_eq!(claims["access"][0]["actions"], serde_json::json!(actions), "{scope}");
    }
}

#[test]
fn sandboxes_side_by_side_share_nothing_that_shows() {
    let (one, other) = (Sandbox::start(), Sandbox::start());
    assert_ne!(one.quay().host(), other.quay().host());
    assert_ne!(one.ca_file(), other.ca_file());
    one.quay().fault("*", Fault::Close, Times::Always);
    assert_eq!(exchange(&other, "acme+ci", &TokenShape::default()).status, 200);
    assert_eq!(one.quay().requests().len(), 0);
    assert!(Https::new(&other).connect(&one.quay().host()).is_ok_and(|mut stream| {
        // The other's CA is not trusted: the handshake fails on first use.
        stream.write_all(b"x").and_then(|()| stream.flush()).is_err()
    }));
    let directory = one.directory().to_owned();
    let host = one.quay().host();
    drop(one);
    assert!(!directory.exists());
    assert!(Https::new(&other).connect(&host).is_err());
}

#[test]
fn both_tls_versions_are_spoken() {
    let sandbox = Sandbox::start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let https = Https::with_versions(&sandbox, &[version]);
        for host in [host_of(&sandbox.issuer().url()), sandbox.quay().host()] {
            assert!(https.get(&host, "/", None).is_some_and(|reply| reply.status == 404));
        }
    }
}

#[test]
fn a_connection_carries_several_requests() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut stream = Https::new(&sandbox).connect(&host).expect("a connection");
    for _ in 0..3 {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut received = Vec::new();
        while !received.ends_with(b"true") {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).expect("a reply");
            assert_ne!(count, 0, "the connection was closed");
            received.extend_from_slice(&part[..count]);
        }
    }
    assert_eq!(sandbox.quay().count("/v2/"), 3);
}

#[test]
fn connections_are_counted_with_those_over_which_nothing_is_asked() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let ask = || {
        let mut stream = Https::new(&sandbox).connect(&host).expect("a connection");
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        assert_ne!(stream.read(&mut [0; 4096]).expect("a reply"), 0);
    };
    ask();
    TcpStream::connect(host.replace("localhost", "127.0.0.1")).expect("a connection");
    ask();
    let requests = sandbox.quay().requests();
    let numbers: Vec<_> = requests.iter().map(|request| request.connection).collect();
    assert_eq!(numbers, [0, 2]);
    let accepted = sandbox.quay().connections();
    assert_eq!(accepted.len(), 3);
    assert!(accepted[0] <= requests[0].at && requests[0].at <= accepted[1]);
}

#[test]
fn three_hundred_connections_at_once_are_served() {
    const MANY: usize = 300;
    let sandbox = Sandbox::start();
    let https = Https::new(&sandbox);
    let host = sandbox.quay().host();
    let header = basic("acme+ci", &sandbox.issuer().mint(&TokenShape::default()));
    let all_connected = Barrier::new(MANY);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..MANY)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = https.connect(&host).expect("a connection");
                    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
                    all_connected.wait();
                    let request = format!(
                        "GET {EXCHANGE_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                         Authorization: {header}\r\n\r\n"
                    );
                    stream.write_all(request.as_bytes()).expect("sent");
                    let mut received = Vec::new();
                    stream.read_to_end(&mut received).expect("a reply");
                    common::parse(&received).expect("a reply").status
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().expect("a client"), 200);
        }
    });
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), MANY);
}

#[test]
fn a_record_has_what_was_sent_and_shows_no_credentials_when_printed() {
    let sandbox = Sandbox::start();
    let token = sandbox.issuer().mint(&TokenShape::default().subject(DEFAULT_SUBJECT));
    assert_eq!(exchange_token(&sandbox, "acme+ci", &token).status, 200);
    let recorded = sandbox.quay().requests().remove(0);
    assert_eq!((recorded.method.as_str(), recorded.path.as_str()), ("GET", EXCHANGE_PATH));
    assert_eq!(recorded.status, Some(200));
    let header = basic("acme+ci", &token);
    assert_eq!(recorded.header("authorization"), Some(header.as_str()));
    assert!(!format!("{recorded:?}").contains(&header));
}

/// The token that Quay gives for these scopes, and the actions in it.
fn bearer(sandbox: &Sandbox, robot: &str, scope: &str) -> (String, serde_json::Value) {
    let quay = sandbox.quay();
    let header = basic(robot, &quay.mint(&quay.robot_token_shape(robot)));
    let target = format!("/v2/auth?service={}&scope={scope}", quay.host());
    let reply = Https::new(sandbox).get(&quay.host(), &target, Some(&header));
    let token = reply.expect("a reply").json()["token"].as_str().expect("a token").to_owned();
    let actions = claims_of(&token).expect("claims")["access"][0]["actions"].clone();
    (format!("Bearer {token}"), actions)
}

#[test]
fn asking_for_push_creates_a_repository_and_asking_for_anything_else_does_not() {
    let sandbox = Sandbox::start();
    let quay = sandbox.quay();
    quay.let_create("acme+ci", "acme");
    let before = quay.repositories();
    let tags = |repository: &str, bearer: &str| {
        let target = format!("/v2/{repository}/tags/list");
        Https::new(&sandbox).get(&quay.host(), &target, Some(bearer)).expect("a reply").status
    };
    for actions in ["pull", "*", "pull,*"] {
        bearer(&sandbox, "acme+ci", &format!("repository:acme/new:{actions}"));
    }
    bearer(&sandbox, "acme+other", "repository:acme/new:pull,push");
    assert_eq!(quay.repositories(), before);
    let (token, actions) = bearer(&sandbox, "acme+ci", "repository:acme/new:pull,push");
    assert_eq!(actions, serde_json::json!(["push", "pull"]));
    assert!(quay.repositories().contains("acme/new"));
    assert_eq!((tags("acme/new", &token), tags("acme/app", &token)), (200, 401));

    // An administrator of a namespace may pull what is not there.
    quay.permit("acme+ci", "demo/*", &["pull", "push"]);
    let (token, actions) = bearer(&sandbox, "acme+ci", "repository:demo/none:pull");
    assert_eq!((actions, tags("demo/none", &token)), (serde_json::json!(["pull"]), 404));

    quay.set_create_namespace_on_push(true);
    bearer(&sandbox, "acme+ci", "repository:nobody/new:push");
    assert!(quay.repositories().contains("nobody/new"));
}

#[test]
fn a_key_that_cannot_be_read_spoils_the_others() {
    for (key, status) in [
        (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), 200),
        (serde_json::json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), 200),
        (serde_json::json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}), 200),
        (serde_json::json!({"kty": "oct", "k": "AA"}), 200),
        (serde_json::json!({"kty": "AKP", "pub": "AA"}), 500),
        (serde_json::json!({"kid": "x"}), 500),
        (serde_json::json!({"kty": "RSA", "e": "AQAB"}), 500),
        (serde_json::json!({"kty": "RSA", "n": "AQAB"}), 500),
    ] {
        let sandbox = Sandbox::start();
        sandbox.issuer().list_key(key.clone());
        assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, status, "{key}");
    }
}

#[test]
fn keys_are_read_over_http_and_no_critical_extension_is_known() {
    let sandbox = Sandbox::start();
    let critical = TokenShape::default().header("crit", serde_json::json!(["exp2"]));
    assert_eq!(exchange(&sandbox, "acme+ci", &critical).status, 500);
    sandbox.issuer().serve_keys_over_http();
    assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, 200);
}

#[test]
fn the_last_audiences_of_one_issuers_entries_count_for_all() {
    let sandbox = Sandbox::start();
    let (quay, own) = (sandbox.quay(), sandbox.issuer().url());
    quay.clear_federation("acme+ci");
    for (subject, audience) in [("one", Some("first")), ("two", Some("last")), ("three", None)] {
        quay.bind("acme+ci", &own, subject, audience.map(|audience| vec![audience.to_owned()]));
    }
    for (subject, audience, status) in
        [("one", "first", 400), ("one", "last", 200), ("two", "last", 200), ("three", "last", 200)]
    {
        let shape = TokenShape::default().subject(subject).audience(audience);
        assert_eq!(exchange(&sandbox, "acme+ci", &shape).status, status, "{subject} {audience}");
    }
}

#[test]
fn without_its_database_quay_says_so_and_fails_at_every_token() {
    let sandbox = Sandbox::start();
    let quay = sandbox.quay();
    let https = Https::new(&sandbox);
    let health = || https.get(&quay.host(), HEALTH_PATH, None).expect("a reply");
    assert_eq!(health().json()["data"]["services"]["database"], true);
    let robot = basic("acme+ci", &quay.mint(&quay.robot_token_shape("acme+ci")));
    quay.set_database_away(true);
    assert_eq!(
        (health().status, &health().json()["data"]["services"]["database"]),
        (503, &false.into())
    );
    assert_eq!(exchange(&sandbox, "acme+ci", &TokenShape::default()).status, 500);
    assert_eq!(https.get(&quay.host(), "/v2/auth", Some(&robot)).expect("a reply").status, 500);
    assert_eq!(https.get(&quay.host(), EXCHANGE_PATH, None).expect("a reply").status, 401);
}

#[test]
fn what_a_replaced_key_has_signed_is_refused() {
    let sandbox = Sandbox::start();
    let quay = sandbox.quay();
    let https = Https::new(&sandbox);
    let status = |token: &str| {
        let header = basic("acme+ci", token);
        https.get(&quay.host(), "/v2/auth", Some(&header)).expect("a reply").status
    };
    let before = quay.mint(&quay.robot_token_shape("acme+ci"));
    assert_eq!(status(&before), 200);
    quay.replace_signing_key();
    let after = quay.mint(&quay.robot_token_shape("acme+ci"));
    assert_eq!((status(&before), status(&after)), (500, 200));
}
