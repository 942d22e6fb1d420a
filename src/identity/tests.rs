//! Every source with what it sends, and every refusal with the text that explains it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::discovery::SealingClient;
use super::*;
use crate::config::place::Place;
use crate::config::proposals::objection;
use crate::config::settings::{
    ClientAuth, ClientCredentials, Connection, Endpoint, TokenFile, TokenVariable,
};
use crate::failure::StepFailureKind;
use crate::http::testing::{Script, fault, reply, world_with};
use crate::http::{Response, TransportError, TransportFault};

const ISSUER: &str = "https://sso.example.com/realms/quayrealm";
const ENDPOINT: &str = "https://sso.example.com/realms/quayrealm/protocol/openid-connect/token";
const SECRET: &str = "s3cr3t +%&";

fn jwt(claims: &Value) -> String {
    let encode = |part: String| URL_SAFE_NO_PAD.encode(part);
    format!("{}.{}.c2ln", encode(json!({"alg": "RS256"}).to_string()), encode(claims.to_string()))
}

fn access_token() -> String {
    jwt(&json!({"iss": ISSUER, "sub": "s", "aud": "quay"}))
}

fn settings() -> ClientCredentials {
    ClientCredentials {
        endpoint: Endpoint::Given { token_endpoint: url(ENDPOINT), issuer: None },
        client_id: "build host".to_owned(),
        client_auth: None,
        client_secret: SecretPlace::Variable("CLIENT_SECRET".to_owned()),
        allow_readable_secret: false,
        audience: None,
        scopes: Vec::new(),
    }
}

fn discovering() -> ClientCredentials {
    ClientCredentials { endpoint: Endpoint::Discovered { issuer: ISSUER.to_owned() }, ..settings() }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

#[allow(clippy::unnecessary_wraps, reason = "a script's items are results")]
fn json_reply(status: u16, body: &Value) -> Result<Response, TransportError> {
    Ok(reply(status, &body.to_string()))
}

fn given() -> Result<Response, TransportError> {
    json_reply(200, &json!({"access_token": access_token(), "expires_in": 300}))
}

fn document() -> Result<Response, TransportError> {
    json_reply(200, &json!({"issuer": ISSUER, "token_endpoint": ENDPOINT}))
}

fn identity_of(source: SourceSpec) -> Identity {
    let keys: &[&str] = match &source {
        SourceSpec::ClientCredentials(settings) => match settings.endpoint {
            Endpoint::Given { .. } => {
                &["source", "client_id", "client_secret_env", "token_endpoint"]
            }
            Endpoint::Discovered { .. } => &["source", "client_id", "client_secret_env", "issuer"],
        },
        SourceSpec::File(_) => &["source", "path"],
        SourceSpec::Env(_) => &["source", "variable"],
    };
    let place = Place::example(5, keys);
    Identity {
        name: "keycloak".to_owned(),
        source,
        connection: Connection::default(),
        timeout: Duration::from_secs(8),
        place,
    }
}

fn fetch_with(
    settings: ClientCredentials,
    discovered: Option<Discovered>,
    script: &Script,
) -> Result<Fetched, StepFailure> {
    let world = world_with(&[("CLIENT_SECRET", SECRET)]);
    let identity = identity_of(SourceSpec::ClientCredentials(settings));
    let deadline = Deadline::after(world.clock.boot(), identity.timeout);
    fetch(&world, script, &identity, discovered, AtHand::default(), deadline)
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// A token endpoint at which clients authenticate by Basic.
fn by_basic(token_endpoint: Url) -> (Url, ClientAuth) {
    (token_endpoint, ClientAuth::ClientSecretBasic)
}

/// What the client of [`discovering`] has kept of its issuer.
fn discovered(token_endpoint: Url) -> Discovered {
    let secret = secret(SECRET);
    let client = SealingClient { issuer: ISSUER, client_id: "build host", secret: &secret };
    client.sealed(by_basic(token_endpoint), Moment::new(Duration::ZERO, Duration::ZERO))
}

fn shown(failure: &Failure) -> String {
    assert!(!failure.cause().ends_with('.') && !failure.hint().ends_with('.'), "{failure:?}");
    assert!(!failure.cause().contains(SECRET), "{failure:?}");
    format!("{}\nhint: {}", failure.cause(), failure.hint())
}

/// What a person is told when the provider answers so.
fn told(settings: ClientCredentials, replies: Vec<Result<Response, TransportError>>) -> String {
    let failed = fetch_with(settings, None, &Script::of(replies)).expect_err("a failure");
    shown(&failed.failure)
}

fn refused(status: u16, body: &Value) -> String {
    told(settings(), vec![json_reply(status, body)])
}

mod requests {
    use super::*;

    #[test]
    fn identifier_and_secret_are_form_encoded_before_basic() {
        let script = Script::of([given()]);
        let fetched = fetch_with(settings(), None, &script).expect("a token");
        assert_eq!(fetched.token.raw().expose(), &access_token());
        assert_eq!(fetched.discovered, None);
        let asked = &script.asked()[0];
        assert_eq!((asked.url.as_str(), asked.timeout), (ENDPOINT, Duration::from_secs(8)));
        assert_eq!(asked.form.as_deref(), Some("grant_type=client_credentials"));
        let basic = asked.authorization.as_deref().and_then(|it| it.strip_prefix("Basic "));
        let credentials = STANDARD.decode(basic.expect("Basic")).expect("base64");
        assert_eq!(credentials, b"build+host:s3cr3t+%2B%25%26");
    }

    #[test]
    fn post_carries_the_client_in_the_form() {
        let script = Script::of([given()]);
        let settings =
            ClientCredentials { client_auth: Some(ClientAuth::ClientSecretPost), ..settings() };
        fetch_with(settings, None, &script).expect("a token");
        let asked = &script.asked()[0];
        assert_eq!(asked.authorization, None);
        assert_eq!(
            asked.form.as_deref(),
            Some(
                "grant_type=client_credentials&client_id=build+host\
                 &client_secret=s3cr3t+%2B%25%26"
            )
        );
    }

    /// A discovery document that lists these ways to authenticate.
    fn listing(methods: &Value) -> Result<Response, TransportError> {
        let mut document = json!({"issuer": ISSUER, "token_endpoint": ENDPOINT});
        if !methods.is_null() {
            document["token_endpoint_auth_methods_supported"] = methods.clone();
        }
        json_reply(200, &document)
    }

    /// Whether the secret went in the header, after checking that it went in one place.
    fn is_in_header(script: &Script, request: usize) -> bool {
        let asked = &script.asked()[request];
        let is_in_form = asked.form.as_ref().expect("a form").contains("client_secret=");
        assert!(asked.authorization.is_some() != is_in_form, "{asked:?}");
        asked.authorization.is_some()
    }

    #[test]
    fn r18_the_secret_goes_as_the_provider_lists_it_unless_the_configuration_says_how() {
        let (basic, post) = (ClientAuth::ClientSecretBasic, ClientAuth::ClientSecretPost);
        let both = json!(["client_secret_post", "private_key_jwt", "client_secret_basic"]);
        for (listed, configured, goes) in [
            (Value::Null, None, basic),
            (json!([]), None, basic),
            (json!("client_secret_post"), None, basic),
            (json!([7, "client_secret_post"]), None, post),
            (json!(["private_key_jwt", "client_secret_post"]), None, post),
            (json!(["private_key_jwt"]), None, basic),
            (both.clone(), None, basic),
            (json!(["client_secret_post"]), Some(basic), basic),
            (json!(["client_secret_basic"]), Some(post), post),
            (Value::Null, Some(post), post),
        ] {
            let settings = ClientCredentials { client_auth: configured, ..discovering() };
            let script = Script::of([listing(&listed), given()]);
            let fetched = fetch_with(settings.clone(), None, &script).expect("a token");
            assert_eq!(is_in_header(&script, 1), goes == basic, "{listed} {configured:?}");
            // What was kept of it is the same.
            let script = Script::of([given()]);
            fetch_with(settings, fetched.discovered, &script).expect("a token");
            assert_eq!(is_in_header(&script, 0), goes == basic, "kept: {listed} {configured:?}");
        }
        // Where the endpoint is given, nothing is discovered.
        let script = Script::of([given()]);
        fetch_with(settings(), None, &script).expect("a token");
        assert!(is_in_header(&script, 0));
    }

    #[test]
    fn r18_a_provider_that_wants_the_secret_in_another_way_now_costs_no_pull() {
        let refused = || json_reply(401, &json!({"error": "invalid_client"}));
        let post = json!(["client_secret_post"]);
        let script = Script::of([refused(), listing(&post), given()]);
        let fetched = fetch_with(discovering(), Some(discovered(url(ENDPOINT))), &script);
        let kept = fetched.expect("a token").discovered.expect("discovered");
        assert_eq!(kept.client_auth, ClientAuth::ClientSecretPost);
        assert!(is_in_header(&script, 0) && !is_in_header(&script, 2));
        // Where the configuration says how, there is no other way to try.
        let settings =
            ClientCredentials { client_auth: Some(ClientAuth::ClientSecretBasic), ..discovering() };
        let script = Script::of([refused(), listing(&post)]);
        fetch_with(settings, Some(discovered(url(ENDPOINT))), &script).expect_err("a failure");
        assert_eq!(script.count(), 2);
    }

    #[test]
    fn scopes_and_audience_are_asked_for_where_they_are_set() {
        let script = Script::of([given()]);
        let settings = ClientCredentials {
            scopes: vec!["openid".to_owned(), "api://app/.default".to_owned()],
            audience: Some("quay".to_owned()),
            ..settings()
        };
        fetch_with(settings, None, &script).expect("a token");
        assert_eq!(
            script.asked()[0].form.as_deref(),
            Some(
                "grant_type=client_credentials&scope=openid+api%3A%2F%2Fapp%2F.default\
                 &audience=quay"
            )
        );
    }

    #[test]
    fn r18_what_was_discovered_makes_a_refresh_one_request() {
        let script = Script::of([document(), given()]);
        let known = fetch_with(discovering(), None, &script).expect("a token").discovered;
        assert_eq!(script.asked()[0].url, format!("{ISSUER}/.well-known/openid-configuration"));
        let script = Script::of([given()]);
        let again = fetch_with(discovering(), known.clone(), &script).expect("a token");
        assert_eq!((script.count(), again.discovered), (1, known));
    }

    /// What was discovered when the endpoint was elsewhere.
    fn moved() -> Discovered {
        discovered(url("https://sso.example.com/before/token"))
    }

    #[test]
    fn r18_an_endpoint_that_has_moved_is_found_in_the_same_fetch() {
        for gone in [Ok(reply(404, "")), fault(TransportFault::Name), fault(TransportFault::Tls)] {
            let retried = matches!(&gone, Err(error) if error.kind == TransportFault::Name);
            let mut replies = vec![gone.clone(); 1 + usize::from(retried)];
            replies.extend([document(), given()]);
            let script = Script::of(replies);
            let fetched = fetch_with(discovering(), Some(moved()), &script).expect("a token");
            let found = fetched.discovered.expect("discovered");
            assert_eq!(found.token_endpoint, url(ENDPOINT));
            assert_eq!(script.asked().last().map(|asked| asked.url.clone()), Some(ENDPOINT.into()));
        }
    }

    #[test]
    fn r18_an_endpoint_that_has_not_moved_is_not_asked_again() {
        let known = discovered(url(ENDPOINT));
        let refusal = || json_reply(401, &json!({"error": "invalid_client"}));
        let told = |replies: Vec<Result<Response, TransportError>>| {
            let (script, count) = (Script::of(replies.clone()), replies.len());
            let failed = fetch_with(discovering(), Some(known.clone()), &script);
            assert_eq!(script.count(), count);
            shown(&failed.expect_err("a failure").failure)
        };
        let direct = told(vec![refusal(), document()]);
        assert!(direct.contains("`invalid_client`"), "{direct}");
        assert_eq!(told(vec![refusal(), Ok(reply(404, ""))]), direct, "the first failure is told");
    }

    #[test]
    fn r18_nobody_is_asked_where_the_endpoint_is_when_it_is_late_or_busy() {
        let mut busy = reply(429, "");
        busy.retry_after = Some("90".to_owned());
        for answer in [Ok(busy), fault(TransportFault::Timeout)] {
            let script = Script::of([answer]);
            fetch_with(discovering(), Some(moved()), &script).expect_err("a failure");
        }
    }

    #[test]
    fn r30_what_was_discovered_counts_only_as_its_client_has_kept_it() {
        let kept = moved();
        let (secret, other) = (secret(SECRET), secret("another secret"));
        let client = SealingClient { issuer: ISSUER, client_id: "build host", secret: &secret };
        let later = Moment::new(Duration::from_secs(1), Duration::ZERO);
        let evil = || by_basic(url("https://evil/"));
        let post = ClientAuth::ClientSecretPost;
        let forged: [(&str, Discovered); 8] = [
            (
                "another endpoint",
                Discovered { token_endpoint: url("https://evil/"), ..kept.clone() },
            ),
            ("another way to authenticate", Discovered { client_auth: post, ..kept.clone() }),
            ("no seal", Discovered { seal: [0; 32], ..kept.clone() }),
            ("a later reading", Discovered { read: later, ..kept.clone() }),
            (
                "another secret's",
                SealingClient { secret: &other, ..client }.sealed(evil(), kept.read),
            ),
            (
                "another client's",
                SealingClient { client_id: "x", ..client }.sealed(evil(), kept.read),
            ),
            (
                "another issuer's",
                SealingClient { issuer: "https://evil", ..client }.sealed(evil(), kept.read),
            ),
            ("another issuer's, renamed", {
                let client = SealingClient { issuer: "https://evil", ..client };
                let kept = client.sealed(evil(), kept.read);
                Discovered { issuer: ISSUER.to_owned(), ..kept }
            }),
        ];
        for (what, known) in forged {
            let script = Script::of([document(), given()]);
            fetch_with(discovering(), Some(known), &script).expect("a token");
            assert_eq!(script.asked()[1].url, ENDPOINT, "{what}");
        }
        let script = Script::of([given()]);
        fetch_with(discovering(), Some(kept.clone()), &script).expect("a token");
        assert_eq!(script.asked()[0].url, kept.token_endpoint.as_str(), "its own counts");
    }

    #[test]
    fn r18_the_provider_is_asked_once_more_after_503_and_not_after_500() {
        let failing = |status| Ok(reply(status, ""));
        let script = Script::of([failing(503), given()]);
        fetch_with(settings(), None, &script).expect("a token");
        let script = Script::of([failing(500)]);
        fetch_with(settings(), None, &script).expect_err("a failure");
    }

    #[test]
    fn r15_retry_after_is_handed_on() {
        let mut answer = reply(429, "");
        answer.retry_after = Some("90".to_owned());
        let failed = fetch_with(settings(), None, &Script::of([Ok(answer)])).expect_err("busy");
        assert_eq!(failed.retry_after, Some(Duration::from_secs(90)));
        assert_eq!(failed.kind, StepFailureKind::Network);
    }
}

mod refusals {
    use super::*;

    #[test]
    fn a_wrong_client_or_secret_is_told_apart_as_far_as_the_provider_does() {
        const WRONG: &str = "Invalid client or Invalid client credentials";
        let of = |status, error: &str, description: &str| {
            refused(status, &json!({"error": error, "error_description": description}))
        };
        let texts = [
            of(401, "invalid_client", WRONG),
            of(401, "unauthorized_client", WRONG),
            of(401, "unauthorized_client", "Client not enabled to retrieve service account"),
            of(401, "unauthorized_client", "Public client not allowed to retrieve service account"),
            of(401, "invalid_request", "User 'service-account-builder' disabled"),
            of(
                401,
                "unauthorized_client",
                "Invalid method used to get client secret. Client requires method \
                 'client_secret_post' to obtain client secret from the request",
            ),
            of(400, "invalid_client", "Parameter client_assertion_type is missing"),
            of(400, "invalid_client", "Missing client_id parameter"),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @r#"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (Invalid client or Invalid client credentials)
        hint: the client is unknown or disabled there, its secret is wrong, or it must authenticate by other means: compare `client_id` in /etc/quayfed/config.toml:7, and the secret in the variable CLIENT_SECRET (`client_secret_env` in /etc/quayfed/config.toml:8), with the provider's

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `unauthorized_client` (Invalid client or Invalid client credentials)
        hint: the secret is wrong: compare that in the variable CLIENT_SECRET (`client_secret_env` in /etc/quayfed/config.toml:8) with the provider's

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `unauthorized_client` (Client not enabled to retrieve service account)
        hint: switch the client's service accounts on (Keycloak: client, Capability config)

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `unauthorized_client` (Public client not allowed to retrieve service account)
        hint: switch the client's authentication and service accounts on (Keycloak: client, Capability config)

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_request` (User 'service-account-builder' disabled)
        hint: enable the user of the client's service account

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `unauthorized_client` (Invalid method used to get client secret. Client requires method 'client_secret_post' to obtain client secret from the request)
        hint: set `client_auth = "client_secret_post"` in the table at /etc/quayfed/config.toml:5

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (Parameter client_assertion_type is missing)
        hint: the client is set to a signed JWT: set its authenticator to client id and secret

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (Missing client_id parameter)
        hint: the client is set to a certificate: set its authenticator to client id and secret
        "#);
    }

    #[test]
    fn r44_another_issuer_is_proposed_only_as_the_configuration_takes_it() {
        let mut hints = String::new();
        for named in [
            "https://login.example.com/realms/quayrealm",
            "http://sso.example.com/realms/quayrealm",
            "http://127.0.0.1:8080/realms/quayrealm",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://login.microsoftonline.com/{tenant}/v2.0",
            "http://login.microsoftonline.com/{tenantid}/v2.0",
            "sso.example.com/realms/quayrealm",
            "https://sso.example.com/\" \nclient_id = \"x",
            "https://sso.example.com/\u{202e}",
            &format!("https://sso.example.com/{}", "a".repeat(300)),
        ] {
            let told = told(discovering(), vec![json_reply(200, &json!({"issuer": named}))]);
            let (cause, hint) = told.split_once("\nhint: ").expect("a hint");
            assert!(cause.contains("names the issuer `"), "{cause}");
            for setting in hint.split('`').skip(1).step_by(2).filter(|it| it.contains(" = ")) {
                assert_eq!(objection(setting), None, "{named}");
            }
            let named = named[..named.len().min(60)].escape_debug();
            writeln!(hints, "{named}: {hint}\n").expect("written");
        }
        insta::assert_snapshot!(hints, @r#"
        https://login.example.com/realms/quayrealm: if that is the provider that is meant, set `issuer = "https://login.example.com/realms/quayrealm"` in /etc/quayfed/config.toml:9: compared byte for byte, a slash at the end counts

        http://sso.example.com/realms/quayrealm: let the provider name itself by its https URL (Keycloak: `hostname` set to that, or `proxy-headers` where a proxy before it ends TLS)

        http://127.0.0.1:8080/realms/quayrealm: let the provider name itself by its https URL (Keycloak: `hostname` set to that, or `proxy-headers` where a proxy before it ends TLS)

        https://login.microsoftonline.com/{tenantid}/v2.0: that address is of all tenants: set `issuer = "https://login.microsoftonline.com/TENANT-ID/v2.0"` in /etc/quayfed/config.toml:9, with the ID of yours

        https://login.microsoftonline.com/{tenant}/v2.0: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        http://login.microsoftonline.com/{tenantid}/v2.0: let the provider name itself by its https URL (Keycloak: `hostname` set to that, or `proxy-headers` where a proxy before it ends TLS)

        sso.example.com/realms/quayrealm: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        https://sso.example.com/\" \nclient_id = \"x: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        https://sso.example.com/\u{202e}: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        https://sso.example.com/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`
        "#);
    }

    #[test]
    fn r44_a_reply_that_is_compressed_is_told_as_that() {
        let compressed = |encoding: Option<&str>, body: &[u8]| {
            let encoding = encoding.map(str::to_owned);
            Ok(Response { encoding, body: body.to_vec(), ..reply(200, "") })
        };
        let mut causes = String::new();
        for answer in [
            compressed(None, b"\x1f\x8b\x08\0"),
            compressed(Some("GZIP"), b"\0"),
            compressed(Some("br"), b"\x0b\x02\x80"),
            compressed(None, b"\x28\xb5\x2f\xfd\0"),
            compressed(Some("identity"), b"\0"),
            compressed(Some("x-\u{1b}[31m"), b"\0"),
        ] {
            writeln!(causes, "{}", told(settings(), vec![answer.clone()])).expect("written");
            writeln!(causes, "{}\n", told(discovering(), vec![answer])).expect("written");
        }
        insta::assert_snapshot!(causes, @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered in gzip, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered in gzip, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered in gzip, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered in gzip, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered in brotli, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered in brotli, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered in zstd, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered in zstd, which was not asked for
        hint: let the provider, or what stands before it, compress nothing that was not asked for

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 200 with something that is not JSON
        hint: it is not the provider's: correct `token_endpoint` in /etc/quayfed/config.toml:9
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is no discovery document (not JSON)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 200 with something that is not JSON
        hint: it is not the provider's: correct `token_endpoint` in /etc/quayfed/config.toml:9
        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is no discovery document (not JSON)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`
        ");
        // What says that it is compressed, and is not, is read.
        let body = json!({"access_token": access_token()}).to_string();
        let script = Script::of([compressed(Some("gzip"), body.as_bytes())]);
        fetch_with(settings(), None, &script).expect("a token");
    }

    #[test]
    fn r44_a_scope_that_entra_misses_is_proposed_as_the_configuration_takes_it() {
        let description = "AADSTS900144: The request body must contain the following parameter: \
                           'scope'. Trace ID: 0 Correlation ID: 0 Timestamp: 2026-11-24 06:00:00Z";
        let refusal = |body: Value| {
            let told = refused(400, &body);
            told.split_once("\nhint: ").expect("a hint").1.to_owned()
        };
        let hint = refusal(json!({
            "error": "invalid_request",
            "error_description": description,
            "error_codes": [900_144],
        }));
        insta::assert_snapshot!(hint, @r#"Entra needs a scope: set `scopes = ["APP-ID-URI/.default"]` in the table at /etc/quayfed/config.toml:5, with the App ID URI of the resource app"#);
        let said = json!({"error": "invalid_request", "error_description": description});
        assert_eq!(refusal(said), hint, "without its numbers");
        let setting = hint.split('`').nth(1).expect("a setting");
        assert_eq!(objection(setting), None);
    }

    #[test]
    fn r44_where_basic_is_refused_and_encoding_changes_the_secret_the_other_way_is_named() {
        let refused = |client_id: &str, secret: &str, client_auth| {
            let world = world_with(&[("CLIENT_SECRET", secret)]);
            let settings =
                ClientCredentials { client_id: client_id.to_owned(), client_auth, ..settings() };
            let identity = identity_of(SourceSpec::ClientCredentials(settings));
            let deadline = Deadline::after(world.clock.boot(), identity.timeout);
            let script = Script::of([json_reply(401, &json!({"error": "invalid_client"}))]);
            fetch(&world, &script, &identity, None, AtHand::default(), deadline)
                .expect_err("a refusal")
                .failure
                .hint()
                .to_owned()
        };
        let hint = refused("build-host", "s3cr3t~+%", None);
        insta::assert_snapshot!(hint, @r#"the client is unknown or disabled there, or its secret is wrong: compare `client_id` in /etc/quayfed/config.toml:7, and the secret in the variable CLIENT_SECRET (`client_secret_env` in /etc/quayfed/config.toml:8), with the provider's; if they match, it does not decode their special characters in the Authorization header: set `client_auth = "client_secret_post"`"#);
        assert_eq!(refused("build host", "s3cr3t", None), hint);
        assert_eq!(refused("build-host", "a/b", Some(ClientAuth::ClientSecretBasic)), hint);
        for (secret, client_auth) in
            [("s3cr3t-._*", None), ("s3cr3t~+%", Some(ClientAuth::ClientSecretPost))]
        {
            let hint = refused("build-host", secret, client_auth);
            assert!(!hint.contains("client_auth"), "{secret}: {hint}");
        }
    }

    #[test]
    fn a_wrong_url_or_realm_is_told() {
        let texts = [
            refused(404, &json!({"error": "Realm does not exist"})),
            refused(404, &json!({"error": "Unable to find matching target resource method"})),
            refused(
                403,
                &json!({"error": "access_denied", "error_description": "Realm not enabled"}),
            ),
            refused(
                403,
                &json!({"error": "invalid_request", "error_description": "HTTPS required"}),
            ),
            refused(405, &json!({"error": "HTTP 405 Method Not Allowed"})),
            refused(413, &json!({"error": "HTTP 413 Request Entity Too Large"})),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 404: Realm does not exist
        hint: correct the realm's name in the URL: upper and lower case count

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 404: Unable to find matching target resource method
        hint: the path is not the provider's: since Keycloak 17 there is no `/auth` before `/realms`

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `access_denied` (Realm not enabled)
        hint: the realm is switched off: an administrator of Keycloak can enable it

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_request` (HTTPS required)
        hint: use an https URL: the realm demands it

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 405: HTTP 405 Method Not Allowed
        hint: the URL is not a token endpoint: correct `token_endpoint` in /etc/quayfed/config.toml:9

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 413: HTTP 413 Request Entity Too Large
        hint: the request is too large: see `scopes` and the secret
        ");
    }

    #[test]
    fn a_request_that_the_provider_does_not_grant_is_told() {
        let scoped = ClientCredentials { scopes: vec!["nope".to_owned()], ..settings() };
        let scope = json!({"error": "invalid_scope", "error_description": "Invalid scopes: nope"});
        let texts = [
            told(scoped, vec![json_reply(400, &scope)]),
            refused(400, &json!({"error": "invalid_scope"})),
            refused(400, &json!({"error": "invalid_target"})),
            refused(
                400,
                &json!({
                    "error": "unsupported_grant_type",
                    "error_description": "Unsupported grant_type",
                }),
            ),
            refused(400, &json!({"error": "temporarily_unavailable"})),
            refused(400, &json!({"error": "made_up"})),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_scope` (Invalid scopes: nope)
        hint: correct `scopes` in the table at /etc/quayfed/config.toml:5 (`nope`), or give these scopes to the client

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_scope`
        hint: the provider wants a scope: set `scopes` in the table at /etc/quayfed/config.toml:5

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_target`
        hint: correct `audience` in the table at /etc/quayfed/config.toml:5, or let the client ask for it

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `unsupported_grant_type` (Unsupported grant_type)
        hint: the provider has no client credentials grant, or has it switched off

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `temporarily_unavailable`
        hint: the provider says that this passes: try again later

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `made_up`
        hint: see the provider's log, and the client there (`client_id` in /etc/quayfed/config.toml:7)
        ");
    }

    #[test]
    fn the_numbers_of_entra_are_explained() {
        let texts = [
            700_016_u64,
            500_011,
            7_000_215,
            7_000_222,
            70_011,
            501_051,
            90_002,
            900_382,
            1_002_012,
        ]
        .map(|number| {
            refused(
                401,
                &json!({
                    "error": "invalid_client",
                    "error_description": format!("AADSTS{number}: It did not work."),
                    "error_codes": [number],
                }),
            )
        });
        insta::assert_snapshot!(texts.join("\n\n"), @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS700016: It did not work.)
        hint: no such client in that tenant: compare `client_id` and the tenant in the URL

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS500011: It did not work.)
        hint: no such resource in that tenant: `scopes` must hold `APP-ID-URI/.default` of an app there

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS7000215: It did not work.)
        hint: the secret is wrong: its value is needed, not its ID

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS7000222: It did not work.)
        hint: the secret has expired: make a new one for the app registration

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS70011: It did not work.)
        hint: `scopes` must hold one `APP-ID-URI/.default`

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS501051: It did not work.)
        hint: assign the resource's app role to the client's service principal

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS90002: It did not work.)
        hint: no such tenant: compare the tenant in the URL with its ID at Entra

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS900382: It did not work.)
        hint: the tenant is in another cloud: take the URL of that cloud, such as that of Azure Government

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_client` (AADSTS1002012: It did not work.)
        hint: `scopes` must hold one `APP-ID-URI/.default`: client credentials take no other scope
        ");
    }

    #[test]
    fn an_answer_that_is_no_json_is_told_by_its_status_and_never_shown() {
        let of = |status: u16, location: Option<&str>| {
            let mut answer = reply(status, "<html>a page</html>");
            answer.location = location.map(str::to_owned);
            told(settings(), vec![Ok(answer.clone()), Ok(answer)])
        };
        let mut booting = reply(503, "Bootstrap in progress. Retry in 10 seconds.");
        booting.retry_after = Some("10".to_owned());
        let texts = [
            of(200, None),
            of(302, Some("https://login.example.com/?state=1")),
            of(404, None),
            of(405, None),
            of(413, None),
            of(429, None),
            of(500, None),
            told(settings(), vec![Ok(booting)]),
            of(403, None),
        ];
        let texts = texts.join("\n\n");
        assert!(!texts.contains('<'), "{texts}");
        insta::assert_snapshot!(texts, @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 200 with something that is not JSON
        hint: it is not the provider's: correct `token_endpoint` in /etc/quayfed/config.toml:9

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 302, a redirect to `login.example.com`, which is not followed
        hint: set `token_endpoint` in /etc/quayfed/config.toml:9 to where it really is

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` does not exist (404)
        hint: correct `token_endpoint` in /etc/quayfed/config.toml:9

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` takes no POST (405)
        hint: it is not a token endpoint: correct `token_endpoint` in /etc/quayfed/config.toml:9

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` finds the request too large (413)
        hint: see `scopes` in the table at /etc/quayfed/config.toml:5 and the secret in the variable CLIENT_SECRET (`client_secret_env` in /etc/quayfed/config.toml:8)

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` is asked too often (429)
        hint: try again later; see how many hosts share this client

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` cannot be used now (500)
        hint: the provider, or what stands before it, is down or starting: try again later

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` cannot be used now (503, and asks to wait 10 s)
        hint: the provider, or what stands before it, is down or starting: try again later

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 403 with something that is not the provider's
        hint: a gateway or login page answers in its place: check `token_endpoint` in /etc/quayfed/config.toml:9 and what stands before the provider
        ");
    }

    #[test]
    fn r11_a_200_without_a_token_that_quay_could_take_is_told() {
        let texts = [
            refused(200, &json!({"id_token": access_token()})),
            refused(200, &json!({"access_token": "opaque"})),
            refused(200, &json!({"access_token": "a.b.c.d.e"})),
            refused(200, &json!({"access_token": format!(" {}", access_token())})),
            refused(200, &json!({"error": "bad_verification_code"})),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` answered 200 without an `access_token`
        hint: see that it is the provider's: `token_endpoint` in /etc/quayfed/config.toml:9

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` gave a token that is opaque: it has no `.`, so it is not a JWT
        hint: ask the provider for JWT access tokens: Auth0 by `audience`, Zitadel by the service user's token type, Ory Hydra by `strategies.access_token`

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` gave a token that is encrypted: it has five segments (JWE), a JWT has three
        hint: turn the encryption of access tokens off at the provider

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` gave a token that has white space inside
        hint: let the provider issue its access tokens as JWTs

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `bad_verification_code`
        hint: see the provider's log, and the client there (`client_id` in /etc/quayfed/config.toml:7)
        ");
    }

    #[test]
    fn r21_a_provider_that_repeats_the_secret_does_not_make_it_seen() {
        let basic = STANDARD.encode("build+host:s3cr3t+%2B%25%26");
        let text = refused(
            400,
            &json!({
                "error": "invalid_request",
                "error_description": format!("got {SECRET} and {basic} and {}", access_token()),
            }),
        );
        insta::assert_snapshot!(text, @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` refused client `build host`: `invalid_request` (got [redacted] and [redacted] and [redacted])
        hint: see the provider's log, and the client there (`client_id` in /etc/quayfed/config.toml:7)
        ");
    }

    #[test]
    fn no_reply_at_all_is_told() {
        let of = |kind, count| {
            let replies = (0..count).map(|_| fault(kind)).collect();
            told(settings(), replies)
        };
        let texts = [of(TransportFault::Connect, 2), of(TransportFault::Timeout, 1)];
        insta::assert_snapshot!(texts.join("\n\n"), @"
        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` could not be reached: something happened
        hint: check host, port and firewall; where a proxy is needed, set `proxy` in the table at /etc/quayfed/config.toml:5 or HTTPS_PROXY

        the token endpoint `https://sso.example.com/realms/quayrealm/protocol/openid-connect/token` gave no answer within 8s
        hint: the server is slow, or a firewall drops the packets: QUAYFED_LOG=info tells the steps
        ");
    }
}

mod discovery {
    use super::*;

    #[test]
    fn each_way_in_which_discovery_fails_has_its_text() {
        let of = |answer: Result<Response, TransportError>| told(discovering(), vec![answer]);
        let mut redirect = reply(302, "");
        redirect.location = Some("https://login.example.com/x".to_owned());
        let texts = [
            of(Ok(reply(404, "<html>"))),
            of(json_reply(404, &json!({"error": "Realm does not exist"}))),
            of(Ok(redirect)),
            of(Ok(reply(429, "<html>"))),
            of(Ok(reply(403, "<html>"))),
            of(Ok(reply(200, "<html>"))),
            of(json_reply(200, &json!({"keys": []}))),
            of(json_reply(200, &json!({"issuer": format!("{ISSUER}/")}))),
            of(json_reply(200, &json!({"issuer": ISSUER}))),
            of(json_reply(
                200,
                &json!({"issuer": ISSUER, "token_endpoint": "http://sso.example.com/token"}),
            )),
            of(fault(TransportFault::UntrustedIssuer)),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @r#"
        there is no discovery document at `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` (404)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        there is no discovery document at `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` (404: Realm does not exist)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered 302, a redirect to `login.example.com`, which is not followed
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        the issuer `https://sso.example.com/realms/quayrealm` cannot be used now (429)
        hint: the provider is down, starting or busy: try again later

        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` answered 403 instead of 200
        hint: see what stands before the provider, such as a gateway or a login page

        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is no discovery document (not JSON)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` is no discovery document (no `issuer`)
        hint: correct `issuer` in /etc/quayfed/config.toml:9 (Keycloak: https://HOST/realms/REALM, case counts), or set `token_endpoint`

        the discovery document of `https://sso.example.com/realms/quayrealm` names the issuer `https://sso.example.com/realms/quayrealm/`
        hint: if that is the provider that is meant, set `issuer = "https://sso.example.com/realms/quayrealm/"` in /etc/quayfed/config.toml:9: compared byte for byte, a slash at the end counts

        the discovery document `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` names no token endpoint
        hint: set `token_endpoint` in the table at /etc/quayfed/config.toml:5

        the discovery document `https://sso.example.com/realms/quayrealm/.well-known/openid-configuration` names a token endpoint that is not https: `http://sso.example.com/token`
        hint: let the provider publish https URLs (Keycloak: `hostname`, `proxy-headers`)

        the issuer `https://sso.example.com/realms/quayrealm` could not be reached: something happened
        hint: set `ca_file` in the table at /etc/quayfed/config.toml:5 to the CA's certificate in PEM, or add it to the system's bundle
        "#);
    }

    #[test]
    fn r19_http_endpoints_are_taken_on_the_loopback_where_that_is_allowed() {
        let world = world_with(&[]);
        let issuer = "http://127.0.0.1:8080/realms/r";
        let endpoint = "http://127.0.0.1:8080/token";
        let body = json!({"issuer": issuer, "token_endpoint": endpoint});
        let mut identity = identity_of(SourceSpec::ClientCredentials(discovering()));
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(8));
        let discover = |identity: &Identity| {
            let script = Script::of([json_reply(200, &body)]);
            super::super::discovery::discover(&world, &script, identity, issuer, deadline)
        };
        assert!(discover(&identity).is_err());
        identity.connection.allow_http_loopback = true;
        assert_eq!(discover(&identity).expect("found"), by_basic(url(endpoint)));
    }
}

mod at_hand {
    use super::*;

    fn file_of(path: PathBuf, json_field: Option<&str>) -> Bearer {
        let json_field = json_field.map(|field| JsonField(field.to_owned()));
        Bearer::TokenFile(TokenFile { path, json_field })
    }

    fn variable(json_field: Option<&str>) -> Bearer {
        let json_field = json_field.map(|field| JsonField(field.to_owned()));
        Bearer::TokenVariable(TokenVariable { variable: "QUAY_TOKEN".to_owned(), json_field })
    }

    fn key(bearer: &Bearer, variables: &[(&str, &str)]) -> Result<Option<String>, Failure> {
        let place = Place::example(5, &["source", "path", "variable", "client_secret_env"]);
        at_hand(&world_with(variables), bearer)
            .map(|at_hand| at_hand.key)
            .map_err(|fault| fault.placed(&place))
    }

    #[test]
    fn r10_a_token_is_told_apart_by_issuer_subject_and_audiences_as_a_set() {
        let of = |aud: Value| {
            let token = jwt(&json!({"iss": "i", "sub": "s", "aud": aud, "exp": 1}));
            key(&variable(None), &[("QUAY_TOKEN", &token)]).expect("a token").expect("a key")
        };
        assert_eq!(of(json!(["b", "a", "b"])), r#"["i","s",["a","b"]]"#);
        assert_eq!(of(json!("a")), of(json!(["a"])));
    }

    #[test]
    fn r10_a_secret_is_told_apart_by_a_digest_that_does_not_say_it() {
        let of = |secret: &str| {
            let bearer = Bearer::SecretVariable("CLIENT_SECRET".to_owned());
            key(&bearer, &[("CLIENT_SECRET", secret)]).expect("a secret").expect("a key")
        };
        assert_eq!(of("one").len(), 64);
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
        assert_eq!(key(&Bearer::Settings, &[]), Ok(None));
    }

    #[test]
    fn r10_a_systemd_credential_is_told_apart_by_its_content() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("quay"), "hunter2\n").expect("written");
        let bearer = Bearer::Credential("quay".to_owned());
        let path = folder.path().to_str().expect("text");
        let of_credential = key(&bearer, &[("CREDENTIALS_DIRECTORY", path)]);
        let of_variable =
            key(&Bearer::SecretVariable("S".to_owned()), &[("S", "hunter2")]).expect("a secret");
        assert_eq!(of_credential, Ok(of_variable));
    }

    #[test]
    fn a_token_is_found_with_white_space_around_it_or_within_json() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = access_token();
        for (content, field) in [
            (format!(" {token}\r\n"), None),
            (json!({"svids": [{"svid": token}]}).to_string(), Some("svids.0.svid")),
        ] {
            std::fs::write(&path, content).expect("written");
            let found = at_hand(&world_with(&[]), &file_of(path.clone(), field)).expect("found");
            assert_eq!(found.token.expect("a token").raw().expose(), &token);
        }
    }

    /// What is found where a token should be: what it is, `json_field`, and the content.
    fn lookalikes() -> [(&'static str, Option<&'static str>, Vec<u8>); 25] {
        let token = access_token();
        let mut utf_16 = vec![0xff, 0xfe];
        utf_16.extend(token.encode_utf16().flat_map(u16::to_le_bytes));
        let text = |text: String| text.into_bytes();
        [
            ("in double quotes", None, text(format!("\"{token}\"\n"))),
            ("in single quotes", None, text(format!("'{token}'"))),
            ("a scheme before it", None, text(format!("bearer {token}"))),
            ("a header", None, text(format!("Authorization: Bearer {token}"))),
            ("a provider's reply", None, text(json!({"access_token": token}).to_string())),
            ("a reply with an opaque token", None, text(json!({"access_token": "x"}).to_string())),
            (
                "deep in JSON",
                None,
                text(json!({"refresh_token": token, "svids": [{"svid": token}]}).to_string()),
            ),
            ("a name with a dot in it", None, text(json!({"a.b": token}).to_string())),
            ("a name that TOML would want escaped", None, text(json!({"a\"b": token}).to_string())),
            (
                "JSON at the path",
                Some("data"),
                text(json!({"data": json!({"t": 1}).to_string()}).to_string()),
            ),
            (
                "quotes at the path",
                Some("t"),
                text(json!({"t": format!("\"{token}\"")}).to_string()),
            ),
            ("PEM", None, text("-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned())),
            ("a page", None, text("<!DOCTYPE html><html>login".to_owned())),
            ("a variable's name", None, text("${CI_JOB_JWT}".to_owned())),
            ("two tokens", None, text(format!("{token}\n{token}"))),
            ("broken into lines", None, text(format!("{}\r\n{}", &token[..9], &token[9..]))),
            ("an assignment", None, text(format!("QUAY_TOKEN={token}"))),
            ("base64", None, text(STANDARD.encode(&token))),
            ("base64 in the URL alphabet", None, text(URL_SAFE_NO_PAD.encode(&token))),
            ("a path", None, text("/var/run/secrets/tokens/quay".to_owned())),
            ("a byte order mark", None, text(format!("\u{feff}{token}"))),
            ("a byte order mark before JSON", Some("t"), text("\u{feff}{}".to_owned())),
            ("UTF-16", None, utf_16),
            ("gzip", None, b"\x1f\x8b\x08\0\0\0".to_vec()),
            ("bytes", None, vec![0x80, 0x81]),
        ]
    }

    #[test]
    fn r11_what_stands_where_a_token_should_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let mut told = String::new();
        for (what, field, content) in lookalikes() {
            std::fs::write(&path, &content).expect("written");
            let of_file = shown(&key(&file_of(path.clone(), field), &[]).expect_err(what));
            let of_file = of_file.replace(&path.display().to_string(), "/run/token");
            assert!(!of_file.contains("eyJ"), "{what}: {of_file}");
            // A variable that holds the same is told in the same words.
            if let Ok(value) = String::from_utf8(content) {
                let fault = key(&variable(field), &[("QUAY_TOKEN", &value)]).expect_err(what);
                let same =
                    of_file.replace("the file `/run/token`", "the variable `QUAY_TOKEN`").replace(
                        "(`path` in /etc/quayfed/config.toml:7)",
                        "(`variable` in /etc/quayfed/config.toml:8)",
                    );
                assert_eq!(shown(&fault), same, "{what}");
            }
            // Whoever follows the hint is not refused.
            for setting in of_file.split('`').skip(1).step_by(2).filter(|it| it.contains(" = ")) {
                assert_eq!(objection(setting), None, "{what}");
            }
            writeln!(told, "{what}: {of_file}\n").expect("written");
        }
        insta::assert_snapshot!(told, @r#"
        in double quotes: the file `/run/token` should hold the OIDC token, but holds a token in quotes
        hint: write it without the quotes (`path` in /etc/quayfed/config.toml:7)

        in single quotes: the file `/run/token` should hold the OIDC token, but holds a token in quotes
        hint: write it without the quotes (`path` in /etc/quayfed/config.toml:7)

        a scheme before it: the file `/run/token` should hold the OIDC token, but holds a header
        hint: write the token alone, without `Authorization:` and `Bearer` (`path` in /etc/quayfed/config.toml:7)

        a header: the file `/run/token` should hold the OIDC token, but holds a header
        hint: write the token alone, without `Authorization:` and `Bearer` (`path` in /etc/quayfed/config.toml:7)

        a provider's reply: the file `/run/token` should hold the OIDC token, but holds JSON
        hint: say where in it the token is: `json_field = "access_token"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        a reply with an opaque token: the file `/run/token` should hold the OIDC token, but holds JSON
        hint: say where in it the token is, such as `json_field = "access_token"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        deep in JSON: the file `/run/token` should hold the OIDC token, but holds JSON
        hint: say where in it the token is: `json_field = "svids.0.svid"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        a name with a dot in it: the file `/run/token` should hold the OIDC token, but holds JSON
        hint: say where in it the token is, such as `json_field = "access_token"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        a name that TOML would want escaped: the file `/run/token` should hold the OIDC token, but holds JSON
        hint: say where in it the token is, such as `json_field = "access_token"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        JSON at the path: the token in the file `/run/token` is opaque: it has no `.`, so it is not a JWT
        hint: Quay takes OIDC tokens alone: a JWT, as an issuer signs it (`path` in /etc/quayfed/config.toml:7)

        quotes at the path: the file `/run/token` should hold the OIDC token at `t`, but holds a token in quotes
        hint: write it without the quotes (`path` in /etc/quayfed/config.toml:7)

        PEM: the file `/run/token` should hold the OIDC token, but holds a certificate or a key in PEM
        hint: name what holds the token (`path` in /etc/quayfed/config.toml:7)

        a page: the file `/run/token` should hold the OIDC token, but holds a page (HTML or XML)
        hint: whatever writes it was given an error or a login page: see where it gets the token (`path` in /etc/quayfed/config.toml:7)

        a variable's name: the file `/run/token` should hold the OIDC token, but holds the name of a variable that was not expanded
        hint: see that whatever writes it knows that variable and expands it (`path` in /etc/quayfed/config.toml:7)

        two tokens: the file `/run/token` should hold the OIDC token, but holds several lines
        hint: write the token alone, on one line (`path` in /etc/quayfed/config.toml:7)

        broken into lines: the file `/run/token` should hold the OIDC token, but holds several lines
        hint: write the token alone, on one line (`path` in /etc/quayfed/config.toml:7)

        an assignment: the file `/run/token` should hold the OIDC token, but holds an assignment
        hint: write the value alone, without the name and the `=` (`path` in /etc/quayfed/config.toml:7)

        base64: the file `/run/token` should hold the OIDC token, but holds a token in base64
        hint: decode it: base64 -d (`path` in /etc/quayfed/config.toml:7)

        base64 in the URL alphabet: the file `/run/token` should hold the OIDC token, but holds a token in base64
        hint: decode it: base64 -d (`path` in /etc/quayfed/config.toml:7)

        a path: the file `/run/token` should hold the OIDC token, but holds the path of a file
        hint: write the token itself, or let a file be read: `source = "file"`, with its `path` (`path` in /etc/quayfed/config.toml:7)

        a byte order mark: the file `/run/token` should hold the OIDC token, but holds text with a byte order mark
        hint: write it as UTF-8 without a byte order mark (PowerShell: `-Encoding ascii`) (`path` in /etc/quayfed/config.toml:7)

        a byte order mark before JSON: the file `/run/token` should hold the OIDC token, but holds text with a byte order mark
        hint: write it as UTF-8 without a byte order mark (PowerShell: `-Encoding ascii`) (`path` in /etc/quayfed/config.toml:7)

        UTF-16: the file `/run/token` should hold the OIDC token, but holds text in UTF-16
        hint: write it as UTF-8 without a byte order mark (PowerShell: `-Encoding ascii`) (`path` in /etc/quayfed/config.toml:7)

        gzip: the file `/run/token` should hold the OIDC token, but holds compressed data (gzip)
        hint: write it uncompressed (`path` in /etc/quayfed/config.toml:7)

        bytes: the file `/run/token` is not text
        hint: name the file that holds the token (`path` in /etc/quayfed/config.toml:7)
        "#);
    }

    #[test]
    fn r11_what_is_missing_or_no_token_is_told_before_anything_is_sent() {
        let in_variable = |field: Option<&str>, value: &str| {
            shown(&key(&variable(field), &[("QUAY_TOKEN", value)]).expect_err("a failure"))
        };
        let secret = Bearer::SecretVariable("CLIENT_SECRET".to_owned());
        let texts = [
            shown(&key(&file_of("/nowhere/token".into(), None), &[]).expect_err("a failure")),
            shown(&key(&file_of("/dev/null".into(), None), &[]).expect_err("a failure")),
            shown(&key(&variable(None), &[]).expect_err("a failure")),
            in_variable(None, "opaque"),
            in_variable(None, "two words.x.y"),
            in_variable(None, r#"{"access_token":"x"}"#),
            in_variable(Some("access_token"), "not JSON"),
            in_variable(Some("access_token"), r#"{"token":"x"}"#),
            shown(&key(&secret, &[]).expect_err("a failure")),
            shown(&key(&Bearer::Credential("quay".to_owned()), &[]).expect_err("a failure")),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @r#"
        the token file `/nowhere/token` does not exist
        hint: see that whatever writes it has run, or correct its path (`path` in /etc/quayfed/config.toml:7)

        the token file `/dev/null` is not a regular file
        hint: name the file that holds the token (`path` in /etc/quayfed/config.toml:7)

        the variable `QUAY_TOKEN`, which should hold the OIDC token, is not set
        hint: let the job have it, and see that it reaches podman or docker: sudo drops variables (`variable` in /etc/quayfed/config.toml:8)

        the token in the variable `QUAY_TOKEN` is opaque: it has no `.`, so it is not a JWT
        hint: Quay takes OIDC tokens alone: a JWT, as an issuer signs it (`variable` in /etc/quayfed/config.toml:8)

        the token in the variable `QUAY_TOKEN` has white space inside
        hint: Quay takes OIDC tokens alone: a JWT, as an issuer signs it (`variable` in /etc/quayfed/config.toml:8)

        the variable `QUAY_TOKEN` should hold the OIDC token, but holds JSON
        hint: say where in it the token is, such as `json_field = "access_token"` (`json_field` in the table at /etc/quayfed/config.toml:5)

        the variable `QUAY_TOKEN` is not JSON, so `json_field` `access_token` finds nothing
        hint: leave `json_field` out where the whole text is the token (`json_field` in the table at /etc/quayfed/config.toml:5)

        the variable `QUAY_TOKEN` has no text there, so `json_field` `access_token` finds nothing
        hint: it is a path such as `access_token` or `svids.0.svid` (`json_field` in the table at /etc/quayfed/config.toml:5)

        the variable `CLIENT_SECRET`, which should hold the client secret, is not set
        hint: set it where podman or docker runs (sudo drops variables), or name another one (`client_secret_env` in /etc/quayfed/config.toml:9)

        there is no systemd credential `quay`: no $CREDENTIALS_DIRECTORY
        hint: run this in a unit that has `LoadCredential=quay:FILE` (`client_secret_credential` in the table at /etc/quayfed/config.toml:5)
        "#);
    }

    #[test]
    fn r11_a_held_token_is_taken_as_it_was_read_and_an_expired_one_too() {
        let token = jwt(&json!({"iss": "i", "sub": "s", "exp": 1}));
        let world = world_with(&[("QUAY_TOKEN", &token)]);
        let settings = TokenVariable { variable: "QUAY_TOKEN".to_owned(), json_field: None };
        let identity = identity_of(SourceSpec::Env(settings));
        let held = at_hand(&world, &identity.source.bearer()).expect("at hand");
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(8));
        for held in [held, AtHand::default()] {
            let fetched = fetch(&world, &Script::of([]), &identity, None, held, deadline);
            assert_eq!(fetched.expect("a token").token.raw().expose(), &token);
        }
    }

    #[test]
    fn no_debug_output_shows_a_token() {
        let world = world_with(&[("QUAY_TOKEN", &access_token())]);
        let held = at_hand(&world, &variable(None)).expect("at hand");
        assert!(!format!("{held:?}").contains("c2ln"));
    }
}
