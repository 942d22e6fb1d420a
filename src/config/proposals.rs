//! What a hint proposes is accepted by the configuration (rule R44): whatever setting a text of
//! the program, its tests or its documents quotes is fed back to the parser.

use std::fs;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, key_names};
use super::testing::Desk;
use super::{accepts, variables};
use crate::config::settings::Connection;
use crate::server::Server;

/// Each table that a key may be at home in, its header first.
const REGISTRY: &[&str] =
    &["[registry.\"quay.example.com\"]", "robot = \"acme+ci\"", "identity = \"keycloak\""];
const IDENTITIES: [&[&str]; 3] = [
    &[
        "[identity.keycloak]",
        "source = \"client-credentials\"",
        "issuer = \"https://sso.example.com/realms/quay\"",
        "client_id = \"build-host\"",
        "client_secret_file = \"/etc/quayfed/client-secret\"",
    ],
    &["[identity.keycloak]", "source = \"file\"", "path = \"/var/run/secrets/tokens/quay\""],
    &["[identity.keycloak]", "source = \"env\"", "variable = \"QUAY_TOKEN\""],
];

/// What the configuration says against a setting such as `key = "value"`, wherever it stands. Words
/// in capitals stand for what a person would write.
pub(crate) fn objection(setting: &str) -> Option<String> {
    let setting = setting.replace("PORT", "3128");
    let key = setting.split_once(" = ").map_or("", |(key, _)| key);
    let mut objections = Vec::new();
    for identity in IDENTITIES {
        for is_of_identity in [false, true] {
            let table = |lines: &[&str], has_it: bool| {
                let is_replaced = |line: &str| {
                    let of = line.split_once(" = ").map_or("", |(of, _)| of);
                    let are_secrets = [of, key].iter().all(|it| it.starts_with("client_secret_"));
                    has_it && (of == key || are_secrets)
                };
                let kept = lines.iter().copied().filter(|line| !is_replaced(line));
                let added = has_it.then_some(setting.as_str());
                kept.chain(added).collect::<Vec<_>>().join("\n")
            };
            // A source is proposed together with its keys.
            let of_source = IDENTITIES.iter().find(|lines| lines[1] == setting);
            let text = match of_source {
                Some(lines) => format!("{}\n\n{}", table(REGISTRY, false), lines.join("\n")),
                None => format!(
                    "{}\n\n{}",
                    table(REGISTRY, !is_of_identity),
                    table(identity, is_of_identity)
                ),
            };
            match refusal_of(&text) {
                None => return None,
                Some(refusal) => objections.push(refusal),
            }
        }
    }
    Some(objections.join("; "))
}

/// What is wrong with a file that has a rule for `quay.example.com`.
fn refusal_of(text: &str) -> Option<String> {
    let desk = Desk::new().with_user_file(text);
    let configuration = match desk.load() {
        Ok(configuration) => configuration,
        Err(failure) => return Some(failure.cause().to_owned()),
    };
    let server = Server::parse("quay.example.com").expect("a server");
    match configuration.settings.rule_for(&server) {
        Some(Err(failure)) => Some(failure.cause().to_owned()),
        // One that names another identity is as good.
        Some(Ok(_)) => configuration.notices.first().cloned(),
        None => Some("no rule".to_owned()),
    }
}

/// The settings of known keys that a text quotes in backticks, and `VARIABLE=value`.
fn quoted(text: &str) -> Vec<String> {
    let text = text.replace("\\\"", "\"");
    let mut found = Vec::new();
    for line in text.lines() {
        // A source breaks its texts with a backslash at the end; such a piece is met whole in the
        // text that a test pins.
        for piece in line.split('`').skip(1).step_by(2) {
            let is_setting = piece.split_once(" = ").is_some_and(|(key, value)| {
                key_names().any(|name| name == key) && !value.is_empty()
            });
            let is_variable = piece.split_once('=').is_some_and(|(name, value)| {
                variables::variable_names().any(|it| it == name) && !value.is_empty()
            });
            let is_whole = !piece.contains(['{', '}', '…']) && !piece.contains("...");
            if (is_setting || is_variable) && is_whole {
                found.push(piece.to_owned());
            }
        }
    }
    found
}

/// Sources, documents, and the texts that tests pin.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("SECURITY.md")];
    let mut folders: Vec<PathBuf> =
        ["src", "tests/it", "tests/e2e", "docs"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["rs", "snap", "txt", "md"].contains(&extension) {
                paths.push(path);
            }
        }
    }
    paths.retain(|path| !path.ends_with(file!()));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn r44_every_setting_that_a_text_quotes_is_accepted() {
    let mut settings = Vec::new();
    for (path, text) in texts() {
        settings.extend(quoted(&text).into_iter().map(|setting| (setting, path.clone())));
    }
    settings.sort();
    settings.dedup_by(|one, other| one.0 == other.0);
    let refused: Vec<String> = settings
        .iter()
        .filter_map(|(setting, path)| {
            let refusal = match setting.split_once('=') {
                Some((name, value)) if !name.ends_with(' ') => objection_to_variable(name, value),
                _ => objection(setting),
            };
            Some(format!("{}: `{setting}`: {}", path.display(), refusal?))
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(settings.len() > 15, "{settings:?}");
    for one in ["client_auth = \"client_secret_post\"", "json_field = \"access_token\""] {
        assert!(settings.iter().any(|(setting, _)| setting == one), "{one}: {settings:?}");
    }
}

/// What is said against a variable, beside the others that its rule needs.
fn objection_to_variable(name: &str, value: &str) -> Option<String> {
    let others = [
        ("QUAYFED_REGISTRY", "quay.example.com"),
        ("QUAYFED_ROBOT", "acme+ci"),
        ("QUAYFED_ISSUER", "https://sso.example.com/realms/quay"),
        ("QUAYFED_CLIENT_ID", "build-host"),
        ("QUAYFED_CLIENT_SECRET_FILE", "/etc/quayfed/client-secret"),
    ];
    let of_token = [others[0], others[1], ("QUAYFED_TOKEN_VARIABLE", "QUAY_TOKEN")];
    let mut objections = Vec::new();
    for beside in [&others[..], &of_token] {
        let is_other = |other: &&(&str, &str)| {
            let is_token = |it: &str| it.starts_with("QUAYFED_TOKEN");
            other.0 != name && !(is_token(other.0) && is_token(name))
        };
        let all: Vec<(&str, &str)> =
            beside.iter().filter(is_other).copied().chain([(name, value)]).collect();
        match variables::rule_from_variables(&Desk::new().with_variables(&all).world) {
            Ok(Some(_)) => return None,
            Ok(None) => objections.push("no rule".to_owned()),
            Err(failure) => objections.push(failure.cause().to_owned()),
        }
    }
    Some(objections.join("; "))
}

#[test]
fn r44_each_keys_example_is_accepted_and_what_is_refused_is_noticed() {
    for (key, _, example) in KEYS {
        assert_eq!(objection(&format!("{key} = {example}")), None);
    }
    for refused in [
        "issuer = \"http://sso.example.com/realms/quay\"",
        "issuer = \"https://login.microsoftonline.com/{tenantid}/v2.0\"",
        "scopes = \"openid\"",
        "client_auth = \"private_key_jwt\"",
        "deadline = 25",
    ] {
        assert!(objection(refused).is_some(), "{refused}");
    }
}

#[test]
fn r44_what_a_server_or_a_file_said_is_proposed_only_where_it_is_accepted() {
    for (key, value) in [
        ("issuer", "https://sso.example.com/realms/quay/"),
        ("issuer", "http://sso.example.com/realms/quay"),
        ("issuer", "https://login.microsoftonline.com/{tenantid}/v2.0"),
        ("issuer", "https://login.microsoftonline.com/TENANT-ID/v2.0"),
        ("issuer", "https://sso.example.com/\"x"),
        ("issuer", "https://sso.example.com/a\\b"),
        ("issuer", "https://sso.example.com/a?b"),
        ("issuer", "sso.example.com"),
        ("json_field", "svids.0.svid"),
        ("json_field", "a..b"),
        ("json_field", "a\"b"),
        ("json_field", "a\\b"),
        ("json_field", "a\nb"),
    ] {
        let is_accepted = objection(&format!("{key} = \"{value}\"")).is_none();
        let is_proposed = accepts(key, value, &Connection::default());
        assert!(is_accepted || !is_proposed, "{key} {value:?} is proposed, and refused");
    }
    assert!(accepts("issuer", "https://sso.example.com/realms/quay/", &Connection::default()));
    assert!(accepts("json_field", "svids.0.svid", &Connection::default()));
}
