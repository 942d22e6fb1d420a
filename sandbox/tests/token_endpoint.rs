//! The token endpoint: both ways to authenticate, and every refusal.

mod common;

use common::{Https, basic, host_of};
use quayfed_sandbox::{AuthMethod, Client, Issuer, Sandbox, TokenShape, claims_of};
use serde_json::json;

const BAD_CREDENTIALS: &str = "Invalid client or Invalid client credentials";

fn ask(sandbox: &Sandbox, authorization: Option<&str>, form: &str) -> (u16, serde_json::Value) {
    let issuer = sandbox.issuer();
    let https = Https::new(sandbox);
    let reply = https.post_form(&host_of(&issuer.url()), issuer.token_path(), authorization, form);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("www-authenticate"), None);
    (reply.status, reply.json())
}

fn claims(reply: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    claims_of(reply["access_token"].as_str().expect("a token")).expect("claims")
}

#[test]
fn both_ways_of_authentication_get_a_token_of_the_default_shape() {
    let sandbox = Sandbox::start();
    sandbox.issuer().add_client(Client::new("builder", "s3cret"));
    let basic = basic("builder", "s3cret");
    for (authorization, form) in [
        (Some(basic.as_str()), "grant_type=client_credentials"),
        (None, "grant_type=client_credentials&client_id=builder&client_secret=s3cret"),
    ] {
        let (status, reply) = ask(&sandbox, authorization, form);
        assert_eq!(status, 200);
        assert_eq!(reply["expires_in"], 300);
        assert_eq!(reply["token_type"], "Bearer");
        assert_eq!(reply["scope"], "profile email");
        let claims = claims(&reply);
        assert_eq!(claims["iss"], sandbox.issuer().url());
        assert_eq!(claims["sub"], quayfed_sandbox::DEFAULT_SUBJECT);
        assert_eq!(claims["aud"], "quay");
        assert_eq!(claims["azp"], "builder");
        assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|issued| issued + 300));
    }
    let methods: Vec<_> = sandbox.issuer().token_requests().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, [Some(AuthMethod::ClientSecretBasic), Some(AuthMethod::ClientSecretPost)]);
}

#[test]
fn id_and_secret_are_form_decoded_in_the_header_and_in_the_form() {
    let sandbox = Sandbox::start();
    sandbox.issuer().add_client(Client::new("a client:1", "100% +sécret"));
    let encoded = ("a+client%3A1", "100%25%20%2Bs%C3%A9cret");
    let (status, _) =
        ask(&sandbox, Some(&basic(encoded.0, encoded.1)), "grant_type=client_credentials");
    assert_eq!(status, 200);
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        encoded.0, encoded.1
    );
    assert_eq!(ask(&sandbox, None, &form).0, 200);
}

#[test]
fn bad_client_credentials_are_refused_with_keycloaks_words() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    issuer.add_client(Client::new("builder", "s3cret"));
    issuer.add_client(Client::new("post", "s3cret").only(AuthMethod::ClientSecretPost));
    issuer.add_client(Client::new("basic", "s3cret").only(AuthMethod::ClientSecretBasic));
    let post_only = "Invalid method used to get client secret. Client requires method \
                     'client_secret_post' to obtain client secret from the request";
    let basic_only = "Invalid method used to get client secret. Client requires method \
                      'client_secret_basic' to obtain client secret from the header";
    let stray = "Unexpected error when authenticating client";
    for (pair, more, status, error, description) in [
        (Some(("builder", "wrong")), "", 401, "unauthorized_client", BAD_CREDENTIALS),
        (Some(("builder", "")), "", 401, "unauthorized_client", BAD_CREDENTIALS),
        (None, "&client_id=builder", 401, "unauthorized_client", BAD_CREDENTIALS),
        (Some(("nobody", "s3cret")), "", 401, "invalid_client", BAD_CREDENTIALS),
        (None, "", 401, "invalid_client", BAD_CREDENTIALS),
        (Some(("post", "s3cret")), "", 401, "unauthorized_client", post_only),
        (None, "&client_id=basic&client_secret=s3cret", 401, "unauthorized_client", basic_only),
        (Some(("builder", "100%")), "", 400, "unauthorized_client", stray),
    ] {
        let header = pair.map(|(id, secret)| basic(id, secret));
        let form = format!("grant_type=client_credentials{more}");
        let expected = json!({ "error": error, "error_description": description });
        assert_eq!(ask(&sandbox, header.as_deref(), &form), (status, expected), "{pair:?} {more}");
    }
}

#[test]
fn a_bad_form_is_refused_with_keycloaks_words() {
    let sandbox = Sandbox::start();
    sandbox.issuer().add_client(Client::new("builder", "s3cret"));
    let header = basic("builder", "s3cret");
    let grant = "grant_type=client_credentials";
    for (form, error, description) in [
        (format!("{grant}&scope=nope"), "invalid_scope", "Invalid scopes: nope"),
        ("grant_type=password".to_owned(), "unsupported_grant_type", "Unsupported grant_type"),
        ("scope=openid".to_owned(), "invalid_request", "Missing form parameter: grant_type"),
        (format!("{grant}&{grant}"), "invalid_request", "duplicated parameter"),
    ] {
        let expected = json!({ "error": error, "error_description": description });
        assert_eq!(ask(&sandbox, Some(&header), &form), (400, expected), "{form}");
    }
}

#[test]
fn what_is_no_form_post_is_refused_before_any_grant() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    issuer.add_client(Client::new("builder", "s3cret"));
    let https = Https::new(&sandbox);
    let host = host_of(&issuer.url());
    let path = issuer.token_path();

    let get = https.get(&host, path, None).expect("a reply");
    assert_eq!((get.status, get.json()), (405, json!({ "error": "HTTP 405 Method Not Allowed" })));

    let long = format!("grant_type=client_credentials&x={}", "x".repeat(100_000));
    let long = https.post_form(&host, path, None, &long);
    let too_large = json!({ "error": "HTTP 413 Request Entity Too Large" });
    assert_eq!((long.status, long.json()), (413, too_large));

    let headers = [("Content-Type", "application/json")];
    let body = r#"{"grant_type":"client_credentials"}"#;
    let json_body = https.send(&host, "POST", path, &headers, body).expect("a reply");
    assert_eq!(json_body.json()["error_description"], "Missing form parameter: grant_type");

    let elsewhere = https.post_form(&host, "/realms/none/protocol/openid-connect/token", None, "");
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn scope_and_audience_asked_for_are_recorded() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    issuer.add_client(Client::new("keycloak", "s").scope("quay"));
    issuer.add_client(Client::new("other", "s").scope("quay").grants_audience());
    let form = "grant_type=client_credentials&scope=openid+quay&audience=registry&client_secret=s";
    let mut audiences = Vec::new();
    for client in ["keycloak", "other"] {
        let (status, reply) = ask(&sandbox, None, &format!("{form}&client_id={client}"));
        assert_eq!((status, &reply["scope"]), (200, &json!("profile email openid quay")));
        audiences.push(claims(&reply)["aud"].clone());
    }
    assert_eq!(audiences, ["quay", "registry"]);
    for request in issuer.token_requests() {
        assert_eq!(request.scope.as_deref(), Some("openid quay"));
        assert_eq!(request.audience.as_deref(), Some("registry"));
        assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
        assert_eq!(request.status, 200);
    }
    assert_eq!(issuer.count(issuer.token_path()), 2);
    assert!(issuer.requests()[0].form().contains(&("audience".to_owned(), "registry".to_owned())));
    issuer.forget_requests();
    assert!(issuer.token_requests().is_empty());
}

#[test]
fn a_clients_tokens_have_the_shape_it_was_given() {
    let sandbox = Sandbox::start();
    let shape = TokenShape::default().subject("someone").without("aud").life(60);
    sandbox.issuer().add_client(Client::new("builder", "s").shape(shape));
    let form = "grant_type=client_credentials&client_id=builder&client_secret=s";
    let (_, reply) = ask(&sandbox, None, form);
    assert_eq!(reply["expires_in"], 60);
    let claims = claims(&reply);
    assert_eq!(claims["sub"], "someone");
    assert!(!claims.contains_key("aud"));
}

#[test]
fn an_issuer_under_a_path_names_itself_in_its_tokens() {
    let sandbox = Sandbox::start();
    let issuer: &Issuer = sandbox.issuer();
    issuer.add_client(Client::new("builder", "s"));
    let url = issuer.add_issuer("/realms/ci");
    let https = Https::new(&sandbox);
    let host = host_of(&url);
    let discovery = https.get(&host, "/realms/ci/.well-known/openid-configuration", None);
    let discovery = discovery.expect("a reply").json();
    assert_eq!(discovery["issuer"], url);
    let endpoint = discovery["token_endpoint"].as_str().expect("an endpoint");
    let path = endpoint.strip_prefix(&issuer.url()).expect("at this server");
    let form = "grant_type=client_credentials&client_id=builder&client_secret=s";
    let reply = https.post_form(&host, path, None, form);
    assert_eq!(claims(&reply.json())["iss"], url);
}
