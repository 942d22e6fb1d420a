//! What a person reads when Keycloak, or Quay with a token of Keycloak's, gives nothing. The texts
//! are in `explained.txt`, each whole, with the ports replaced by names.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use quayfed_sandbox::{Fault, Times};
use serde_json::{Value, json};

use super::Bench;
use super::realms::{SECRET, internal_id_of, subject_of};
use crate::report::Report;

const EXPECTED: &str = include_str!("explained.txt");

/// A situation: the configuration of the helper, and what is done to the servers before.
struct Case {
    name: &'static str,
    /// The lines of the identity. KEYCLOAK, LOOPBACK and SANDBOX stand for URLs.
    identity: String,
    secret: &'static str,
    robot: &'static str,
    before: fn(&Bench) -> Result<(), String>,
}

impl Case {
    /// By discovery of the realm `ci`.
    fn new(name: &'static str, client: &str) -> Self {
        Self::at(name, "issuer = \"KEYCLOAK/realms/ci\"", client)
    }

    /// With a line that says where.
    fn at(name: &'static str, place: &str, client: &str) -> Self {
        let identity = format!("{place}\nclient_id = \"{client}\"");
        Self { name, identity, secret: SECRET, robot: "acme+ci", before: |_| Ok(()) }
    }

    /// With a token endpoint instead of an issuer.
    fn at_endpoint(name: &'static str, endpoint: &str, client: &str) -> Self {
        Self::at(name, &format!("token_endpoint = \"{endpoint}\""), client)
    }

    fn with(self, line: &str) -> Self {
        Self { identity: format!("{}\n{line}", self.identity), ..self }
    }

    fn secret(self, secret: &'static str) -> Self {
        Self { secret, ..self }
    }

    fn robot(self, robot: &'static str) -> Self {
        Self { robot, ..self }
    }

    fn before(self, before: fn(&Bench) -> Result<(), String>) -> Self {
        Self { before, ..self }
    }
}

const POST: &str = "client_auth = \"client_secret_post\"";

fn cases() -> Vec<Case> {
    let mut cases = about_tokens();
    cases.extend(about_clients());
    cases.extend(about_places());
    cases.extend(about_a_boot());
    cases
}

/// A token is given, and Quay does not take it.
fn about_tokens() -> Vec<Case> {
    vec![
        Case::new("no `sub`", "no-subject"),
        Case::new("no `aud`: a lightweight token", "light").robot("acme+strict"),
        Case::new("another `aud`: no audience mapper", "no-mapper").robot("acme+strict"),
        Case::new("ES256 by the client's setting", "es256"),
        Case::at("ES256 by the realm's", "issuer = \"KEYCLOAK/realms/curves\"", "bent"),
        Case::new("a `sub` that Quay does not know", "only-basic").robot("acme+strict"),
        Case::new("service accounts off and on again: another `sub`", "switched")
            .before(switch_service_accounts_off_and_on),
    ]
}

/// Keycloak refuses the client.
fn about_clients() -> Vec<Case> {
    vec![
        Case::new("wrong secret", "builder").secret("not-the-secret"),
        Case::new("wrong secret, in the form", "builder").secret("not-the-secret").with(POST),
        Case::new("unknown client", "nobody"),
        Case::new("disabled client", "disabled"),
        Case::new("service accounts off", "no-service-account"),
        Case::new("public client", "public"),
        Case::new("service account's user disabled", "suspended"),
        Case::new("service account's user deleted", "orphan").before(delete_the_user_of_orphan),
        Case::new("only client_secret_post", "only-post"),
        Case::new("only client_secret_basic", "only-basic").with(POST),
        Case::new("client of a signed JWT", "signed-jwt"),
        Case::new("client of a certificate", "certificate"),
        Case::new("client of a certificate, secret in the form", "certificate").with(POST),
        Case::new("client of a federated JWT", "federated"),
        Case::new("unknown scope", "builder").with("scopes = [\"quay\", \"nope\"]"),
    ]
}

/// The URL is not the right one.
fn about_places() -> Vec<Case> {
    let endpoint = |realm: &str| format!("KEYCLOAK/realms/{realm}/protocol/openid-connect/token");
    vec![
        Case::at("unknown realm", "issuer = \"KEYCLOAK/realms/nope\"", "builder"),
        Case::at_endpoint("unknown realm, by endpoint", &endpoint("nope"), "builder"),
        Case::at("realm in upper case", "issuer = \"KEYCLOAK/realms/CI\"", "builder"),
        Case::at_endpoint("realm in upper case, by endpoint", &endpoint("CI"), "builder"),
        Case::at("old /auth prefix", "issuer = \"KEYCLOAK/auth/realms/ci\"", "builder"),
        Case::at_endpoint(
            "old /auth prefix, by endpoint",
            "KEYCLOAK/auth/realms/ci/protocol/openid-connect/token",
            "builder",
        ),
        Case::at("no realm", "issuer = \"KEYCLOAK\"", "builder"),
        Case::at("realm disabled", "issuer = \"KEYCLOAK/realms/closed\"", "shut-out"),
        Case::at_endpoint("realm disabled, by endpoint", &endpoint("closed"), "shut-out"),
        Case::at("slash at the end", "issuer = \"KEYCLOAK/realms/ci/\"", "builder"),
        Case::at("another name of the host", "issuer = \"LOOPBACK/realms/ci\"", "builder"),
        Case::at_endpoint(
            "another name of the host, by endpoint",
            "LOOPBACK/realms/ci/protocol/openid-connect/token",
            "builder",
        )
        .robot("acme+loopback"),
        Case::at("frontendUrl", "issuer = \"KEYCLOAK/realms/fronted\"", "behind-a-front"),
        Case::at_endpoint("frontendUrl, by endpoint", &endpoint("fronted"), "behind-a-front")
            .robot("acme+fronted"),
        Case::at_endpoint(
            "another endpoint",
            "KEYCLOAK/realms/ci/protocol/openid-connect/certs",
            "builder",
        ),
        Case::at_endpoint(
            "the introspection endpoint",
            "KEYCLOAK/realms/ci/protocol/openid-connect/token/introspect",
            "builder",
        ),
    ]
}

/// What Keycloak answers until it is ready, played by the sandbox.
fn about_a_boot() -> Vec<Case> {
    vec![
        Case::at("still booting", "issuer = \"SANDBOX\"", "build-host").before(|at| {
            boot(at, at.scene.sandbox.issuer().discovery_path(), "1");
            Ok(())
        }),
        Case::at_endpoint(
            "still booting, by endpoint",
            "SANDBOX/protocol/openid-connect/token",
            "build-host",
        )
        .before(|at| {
            boot(at, at.scene.sandbox.issuer().token_path(), "1");
            Ok(())
        }),
        Case::at_endpoint(
            "still booting, for longer",
            "SANDBOX/protocol/openid-connect/token",
            "build-host",
        )
        .before(|at| {
            boot(at, at.scene.sandbox.issuer().token_path(), "10");
            Ok(())
        }),
    ]
}

fn boot(at: &Bench, path: &str, seconds: &str) {
    let headers = [("Content-Type", "text/plain"), ("Retry-After", seconds)];
    let fault = Fault::Respond {
        status: 503,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: format!("Bootstrap in progress. Retry in {seconds} seconds.").into(),
    };
    let issuer = at.scene.sandbox.issuer();
    issuer.clear_faults();
    issuer.fault(path, fault, Times::Always);
}

fn delete_the_user_of_orphan(at: &Bench) -> Result<(), String> {
    let user = format!("/users/{}", subject_of("orphan"));
    at.keycloak.borrow().administer("DELETE", &user, &Value::Null).map(|_| ())
}

fn switch_service_accounts_off_and_on(at: &Bench) -> Result<(), String> {
    let client = format!("/clients/{}", internal_id_of("switched"));
    for on in [false, true] {
        let change = json!({ "clientId": "switched", "serviceAccountsEnabled": on });
        at.keycloak.borrow().administer("PUT", &client, &change)?;
    }
    Ok(())
}

/// Plays all cases, and sees that no text is left over.
pub(super) fn play(report: &mut Report, at: &Bench) {
    let told = RefCell::new(BTreeSet::new());
    for case in cases() {
        report.operation(&format!("explained: {}", case.name), || {
            told.borrow_mut().insert(case.name);
            let said = meet(at, &case)?;
            match expected().find(|(name, _)| *name == case.name) {
                Some((_, wanted)) if wanted == said => Ok(()),
                Some((_, wanted)) => Err(format!("said:\n{said}\nwanted:\n{wanted}")),
                None => Err(format!("explained.txt lacks:\n== {}\n{said}\n", case.name)),
            }
        });
    }
    report.operation("explained.txt has nothing else", || {
        let names: BTreeSet<&str> = expected().map(|(name, _)| name).collect();
        assert_eq!(names, *told.borrow());
        Ok(())
    });
}

fn expected() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = EXPECTED.split("== ").skip(1);
    sections.filter_map(|section| section.split_once('\n')).map(|(name, text)| (name, text.trim()))
}

fn meet(at: &Bench, case: &Case) -> Result<String, String> {
    (case.before)(at)?;
    at.use_identity(&at.with_urls(&case.identity), case.secret, case.robot);
    let ran = at.ask("").map_err(|error| format!("not run: {error}"));
    at.scene.sandbox.issuer().clear_faults();
    let ran = ran?;
    if ran.code == Some(0) {
        return Err("a token was given".to_owned());
    }
    ran.must_not_say(&["<html", "eyJ", case.secret])?;
    Ok(at.with_names(ran.stderr.trim()))
}

impl Bench {
    /// Names in place of what differs from run to run.
    fn with_names(&self, text: &str) -> String {
        let keycloak = self.keycloak.borrow();
        let (issuer, quay) = (self.scene.sandbox.issuer().url(), self.scene.sandbox.quay().url());
        let configuration = self.seat.path("home/.config/quayfed");
        let secret = self.seat.path("home/client-secret");
        let shown = |path: &Path| path.display().to_string();
        let mut text = text.to_owned();
        for (value, name) in [
            (keycloak.url().as_str(), "https://KEYCLOAK"),
            (&keycloak.loopback_url(), "https://LOOPBACK"),
            (&issuer, "https://SANDBOX"),
            (&quay, "https://QUAY-API"),
            (quay.trim_start_matches("https://"), "QUAY-API"),
            (self.scene.host(), "QUAY"),
            (&shown(&configuration), "~"),
            (&shown(&secret), "CLIENT-SECRET"),
            ("docker-credential-quayfed: ", ""),
        ] {
            text = text.replace(value, name);
        }
        without_identifiers(&text)
    }

    fn with_urls(&self, text: &str) -> String {
        let keycloak = self.keycloak.borrow();
        text.replace("KEYCLOAK", &keycloak.url())
            .replace("LOOPBACK", &keycloak.loopback_url())
            .replace("SANDBOX", &self.scene.sandbox.issuer().url())
    }
}

/// Replaces each UUID between backticks that is none of ours by `UUID`.
fn without_identifiers(text: &str) -> String {
    let is_random = |part: &str| {
        part.len() == 36
            && part.split('-').map(str::len).eq([8, 4, 4, 4, 12])
            && !part.starts_with("00000000-")
    };
    let parts: Vec<&str> =
        text.split('`').map(|part| if is_random(part) { "UUID" } else { part }).collect();
    parts.join("`")
}
