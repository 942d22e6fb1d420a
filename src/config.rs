//! The configuration: which files it is read from, what is written there, and what it means.
//!
//! [`search_path`] says which files, `reading` reads them and takes their [`fingerprint`], `file`
//! turns each into tables as written, `meaning` turns tables into [`settings`], with the `values`
//! of single keys. The rule of [`variables`] goes the same way from tables on. A mistake keeps its
//! place all the way down: file, line, key and value; what has none keeps the [`place`] of each
//! key, for whoever finds out later that its value is wrong.

mod file;
pub mod fingerprint;
mod keys;
mod meaning;
#[cfg(test)]
mod mistakes;
pub mod place;
#[cfg(test)]
pub(crate) mod proposals;
mod reading;
pub mod search_path;
pub mod settings;
pub mod suggestion;
mod table;
#[cfg(test)]
mod testing;
pub mod unusable;
mod values;
pub mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

pub use fingerprint::Fingerprint;
pub use keys::key_names;
pub use search_path::SearchPath;
pub use variables::{rule_from_variables, unusable_variables, variable_names};

use crate::failure::Failure;
use crate::world::World;
use file::Document;
use reading::Reading;
use settings::{Connection, Identity, Settings};
use table::Table;
use unusable::Unusable;
use values::{Fault, UrlUse};

/// What the files of the configuration say.
#[derive(Debug)]
pub struct Configuration {
    /// The rules, without the one that variables make.
    pub settings: Settings,
    /// What the files looked like when they were read.
    pub fingerprint: Fingerprint<'static>,
    /// What is odd without concerning any rule, to be told at `warn`.
    pub notices: Vec<String>,
}

/// Reads the files of the configuration. The error is that of a file that cannot be used as a whole;
/// any other mistake stands in the place of the rules that it concerns (rule R6).
pub fn load(world: &World) -> Result<Configuration, Failure> {
    let configuration = load_usable(world);
    match configuration.settings.unusable.first() {
        Some(file) => Err(file.failure.clone()),
        None => Ok(configuration),
    }
}

/// Reads the files of the configuration, for whoever can go on without those that cannot be used:
/// each concerns the registries that it names (rule R33).
pub fn load_usable(world: &World) -> Configuration {
    load_rules(world, None)
}

/// The same with the rules of one host alone.
pub fn load_usable_for(world: &World, host: &str) -> Configuration {
    load_rules(world, Some(host))
}

fn load_rules(world: &World, host: Option<&str>) -> Configuration {
    let Reading { files, fingerprint, mut unusable, .. } = match SearchPath::of(world) {
        Ok(search_path) => Reading::of(world, search_path),
        Err(failure) => {
            let settings =
                Settings { unusable: vec![Unusable::unread(failure)], ..Settings::default() };
            let fingerprint = Fingerprint::empty();
            return Configuration { settings, fingerprint, notices: Vec::new() };
        }
    };
    let mut documents = Vec::new();
    for (path, text) in &files {
        match Document::parse(path, text) {
            Ok(document) => documents.push(document),
            Err(failure) => unusable.push(Unusable::with(failure, text.as_bytes())),
        }
    }
    let Meaning { settings, mut notices, variables } = settings_of(&documents, unusable, host);
    notices.extend(variables::notices(world, &variables));
    Configuration { settings, fingerprint, notices }
}

/// Every rule there is, that of the variables laid over those of the files.
pub fn load_settings(world: &World) -> Result<Settings, Failure> {
    let mut settings = load(world)?.settings;
    settings.rules.extend(rule_from_variables(world)?.map(|rule| *rule));
    Ok(settings)
}

/// Every rule that can be used, that of the variables laid over those of the files, and what cannot.
pub fn load_usable_settings(world: &World) -> Settings {
    let mut settings = load_usable(world).settings;
    match rule_from_variables(world) {
        Ok(rule) => settings.rules.extend(rule.map(|rule| *rule)),
        Err(mistake) => settings.unusable.push(unusable_variables(world, mistake)),
    }
    settings
}

/// The rules that one text makes, called `path` in what is wrong with it.
pub fn settings_in(path: &Path, text: &str) -> Result<Settings, Failure> {
    Ok(settings_of(&[Document::parse(path, text)?], Vec::new(), None).settings)
}

/// Whether a key may have this value, for whoever proposes what a server said or a file holds (rule
/// R44).
pub fn accepts(key: &str, value: &str, connection: &Connection) -> bool {
    let is_quotable = !value.contains(['"', '\\']) && !value.contains(char::is_control);
    is_quotable
        && match key {
            "issuer" => values::url(value, UrlUse::Issuer, connection).is_ok(),
            "json_field" => values::json_field(value).is_ok(),
            _ => false,
        }
}

/// The identities of the files by their names, whether a rule uses them or not: each, or why it
/// cannot be used.
pub fn identities(world: &World) -> Result<BTreeMap<String, Result<Identity, Failure>>, Failure> {
    let Reading { files, unusable, .. } = Reading::of(world, SearchPath::of(world)?);
    if let Some(file) = unusable.into_iter().next() {
        return Err(file.failure);
    }
    let mut identities = BTreeMap::new();
    for (path, text) in &files {
        let document = Document::parse(path, text)?;
        for (name, table) in document.tables(None).identities {
            identities.insert(name.to_owned(), meaning::identity(table.table(), name));
        }
    }
    Ok(identities)
}

/// What documents mean together.
struct Meaning {
    settings: Settings,
    /// The mistakes in identities that no rule uses.
    notices: Vec<String>,
    /// The variables that identities name.
    variables: Vec<String>,
}

/// The rules that the documents make together, of one host or of all, a later table replacing an
/// earlier one of the same name whole.
fn settings_of(documents: &[Document<'_>], unusable: Vec<Unusable>, host: Option<&str>) -> Meaning {
    let (mut registries, mut identities) = (BTreeMap::new(), BTreeMap::new());
    for document in documents {
        let tables = document.tables(host);
        registries.extend(tables.registries);
        identities.extend(tables.identities);
    }
    let identities: Identities = identities
        .into_iter()
        .map(|(name, table)| (name, meaning::identity(table.table(), name).map(Arc::new)))
        .collect();
    let rules = registries
        .into_iter()
        .map(|(server, table)| {
            let rule = table.and_then(|table| {
                let identity = |table: &mut Table<'_>| identity_of(table, &identities, &unusable);
                meaning::rule(table.table(), &server, identity)
            });
            (server, rule)
        })
        .collect();
    let used: BTreeSet<&str> = documents.iter().flat_map(Document::used_identities).collect();
    let notices = identities
        .iter()
        .filter(|(name, _)| !used.contains(*name))
        .filter_map(|(_, identity)| Some(identity.as_ref().err()?.to_string()))
        .collect();
    let variables = identities
        .values()
        .flatten()
        .filter_map(|identity| variables::variable_of(identity))
        .collect();
    Meaning { settings: Settings { rules, unusable }, notices, variables }
}

type Identities<'a> = BTreeMap<&'a str, Result<Arc<Identity>, Failure>>;

/// The identity that a registry's table names.
fn identity_of(
    table: &mut Table<'_>,
    identities: &Identities<'_>,
    unusable: &[Unusable],
) -> Option<Result<Arc<Identity>, Failure>> {
    let identity = table.required("identity", |name| {
        identities.get(name).ok_or_else(|| {
            if let Some(file) = unusable.iter().find(|file| file.may_name(name)) {
                return Fault {
                    text: format!(
                        "may be an identity of a file that cannot be used: {}",
                        file.failure.cause()
                    ),
                    hint: file.failure.hint().to_owned(),
                };
            }
            let hint = match suggestion::nearest(name, identities.keys().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add a table [identity.{name}], or name one that there is"),
            };
            Fault { text: "is not the name of any identity".to_owned(), hint }
        })
    })?;
    Some(identity.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quayfed_sandbox::{Need, lacks};

    use super::SearchPath;
    use super::settings::{Connection, OnError, ProxyChoice, SourceSpec};
    use super::testing::{Desk, registry};
    use crate::server::Server;

    const IDENTITY: &str = "[identity.k]\nsource = \"env\"\nvariable = \"T\"\n";

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn robots(desk: &Desk) -> Vec<String> {
        let settings = desk.load().expect("settings").settings;
        settings
            .rules
            .iter()
            .map(|(server, rule)| match rule {
                Ok(rule) => format!("{server} {}", rule.robot),
                Err(failure) => format!("{server} ({})", desk.shortened(failure)),
            })
            .collect()
    }

    #[test]
    fn every_key_has_its_meaning_or_its_default() {
        let desk = Desk::new().with_user_file(
            r#"
            [registry."Quay.example.com:8443"]
            robot = "acme+ci"
            identity = "keycloak"
            [registry."full.example.com/org"]
            robot = "acme+ci"
            identity = "keycloak"
            api_url = "http://127.0.0.1:8080/"
            allow_http_loopback = true
            ca_file = "/ca.pem"
            proxy = "none"
            deadline = "1m"
            exchange_timeout = "500ms"
            min_validity = "1h"
            on_error = "anonymous"
            [identity.keycloak]
            source = "client-credentials"
            issuer = "https://sso.example.com/realms/r/"
            token_endpoint = "https://sso.example.com/token?x=1"
            client_id = "build"
            client_auth = "client_secret_post"
            client_secret_credential = "quay"
            audience = "quay"
            scopes = ["openid", "quay"]
            proxy = "http://user:hunter2@proxy:3128"
            "#,
        );
        let rule = desk.rule("quay.example.com:8443/org").expect("a rule");
        assert_eq!(desk.shortened_text(&rule.place.to_string()), "config.toml:2");
        assert_eq!(rule.api_url.as_str(), "https://quay.example.com:8443/");
        assert_eq!((rule.deadline, rule.exchange_timeout), (seconds(25), seconds(15)));
        assert_eq!((rule.min_validity, rule.on_error), (None, OnError::Fail));
        assert_eq!(rule.connection, Connection::default());
        assert_eq!(rule.identity.timeout, seconds(8));
        assert_eq!(
            format!("{:?}", rule.identity.connection.proxy),
            "Url(ProxyUrl(Some(\"proxy\")))"
        );
        insta::assert_snapshot!(
            serde_json::to_string(&rule.identity.source).expect("JSON"),
            @r#"{"source":"client-credentials","endpoint":{"given":{"token_endpoint":"https://sso.example.com/token?x=1","issuer":"https://sso.example.com/realms/r/"}},"client_id":"build","client_auth":"client_secret_post","client_secret":{"credential":"quay"},"audience":"quay","scopes":["openid","quay"]}"#
        );
        let rule = desk.rule("full.example.com/org").expect("a rule");
        assert_eq!(rule.api_url.as_str(), "http://127.0.0.1:8080/");
        assert_eq!((rule.deadline, rule.exchange_timeout), (seconds(60), seconds(1) / 2));
        assert_eq!((rule.min_validity, rule.on_error), (Some(seconds(3600)), OnError::Anonymous));
        let ca_file = Some("/ca.pem".into());
        let wanted = Connection { ca_file, proxy: ProxyChoice::None, allow_http_loopback: true };
        assert_eq!(rule.connection, wanted);
    }

    #[test]
    fn r4_a_later_table_replaces_an_earlier_one_whole() {
        let desk = Desk::new()
            .with_file(
                "etc/config.toml",
                &(registry("a", "acme+system") + "on_error = \"anonymous\"\n"),
            )
            .with_file("etc/config.d/10-k.toml", IDENTITY)
            .with_user_file(&registry("A", "acme+user"));
        let rule = desk.rule("a").expect("a rule");
        assert_eq!((rule.robot.as_str(), rule.on_error), ("acme+user", OnError::Fail));
        assert_eq!(desk.shortened_text(&rule.place.to_string()), "config.toml:1");
        assert_eq!(
            desk.shortened_text(&rule.identity.place.to_string()),
            "/etc/config.d/10-k.toml:1"
        );
    }

    #[test]
    fn r4_an_identity_is_replaced_for_the_rules_of_earlier_files_too() {
        let desk = Desk::new()
            .with_file(
                "etc/config.toml",
                &(registry("a", "acme+ci") + "[identity.k]\nbroken = 1\n"),
            )
            .with_user_file(IDENTITY);
        let rule = desk.rule("a").expect("what is replaced is not looked at");
        assert!(matches!(rule.identity.source, SourceSpec::Env(_)), "{rule:?}");
    }

    #[test]
    fn r4_drop_ins_are_read_in_the_order_of_their_names() {
        let desk = Desk::new()
            .with_file("etc/config.toml", IDENTITY)
            .with_file("etc/config.d/20.toml", &registry("a", "acme+twenty"))
            .with_file("etc/config.d/10.toml", &registry("a", "acme+ten"))
            .with_file("etc/config.d/Z.toml", &registry("b", "acme+upper"))
            .with_file("etc/config.d/a.toml", &registry("b", "acme+lower"))
            .with_file("etc/config.d/.90.toml", "not TOML")
            .with_file("etc/config.d/90.toml.rpmsave", "not TOML")
            .with_file("etc/config.d/90.conf", "not TOML");
        assert_eq!(robots(&desk), ["a acme+twenty", "b acme+lower"]);
    }

    #[test]
    fn r4_a_chosen_file_replaces_all_others_and_must_exist() {
        let desk = Desk::new().with_user_file("not TOML");
        let chosen = desk.path("chosen.toml");
        let chosen = chosen.to_str().expect("text");
        let desk = desk.with_variables(&[("QUAYFED_CONFIG", chosen)]);
        let failure = desk.shortened(&desk.load().expect_err("no file"));
        assert_eq!(failure.cause(), "QUAYFED_CONFIG names /chosen.toml, which does not exist");
        desk.write("chosen.toml", &(registry("a", "acme+ci") + IDENTITY));
        assert_eq!(robots(&desk), ["a acme+ci"]);
        let failure = desk.with_variables(&[("QUAYFED_CONFIG", "chosen.toml")]).load();
        assert_eq!(
            failure.expect_err("a relative path").cause(),
            "QUAYFED_CONFIG is `chosen.toml`, which is no absolute path"
        );
    }

    #[test]
    fn r5_what_does_not_exist_is_absent() {
        let mut desk = Desk::new();
        assert!(robots(&desk).is_empty());
        desk.write("file", "");
        desk.world.places.user_configuration = Some(desk.path("file")).into();
        assert!(robots(&desk).is_empty(), "a file stands where a folder should");
        desk.world.places.user_configuration = None.into();
        assert!(robots(&desk).is_empty());
    }

    #[test]
    fn r5_what_is_there_and_cannot_be_read_is_an_error() {
        let desk = Desk::new();
        std::fs::create_dir_all(desk.path("etc/config.toml")).expect("a folder");
        assert_eq!(
            desk.shortened(&desk.load().expect_err("a folder")).cause(),
            "/etc/config.toml is not a regular file"
        );
        let desk = Desk::new().with_file("etc/config.d", "");
        assert_eq!(
            desk.shortened(&desk.load().expect_err("a file")).cause(),
            "/etc/config.d cannot be read (not a directory)"
        );
        let desk = Desk::new().with_file("etc/config.d/a.toml", &"#".repeat(2 << 20 | 1));
        assert_eq!(
            desk.shortened(&desk.load().expect_err("a large file")).cause(),
            "/etc/config.d/a.toml is larger than 2048 KiB"
        );
        let desk = Desk::new();
        desk.write_bytes("user/quayfed/config.toml", b"# a\n# \xff\n");
        assert_eq!(
            desk.shortened(&desk.load().expect_err("not text")).cause(),
            "config.toml:2: this is not UTF-8"
        );
    }

    #[test]
    fn r5_a_folder_that_cannot_be_searched_hides_the_users_own_file_alone() {
        if lacks(Need::OrdinaryUser) {
            return;
        }
        let desk = Desk::new().with_user_file("not TOML").with_file("etc/config.toml", "");
        desk.set_mode("user", 0o600);
        let fingerprint = desk.load().expect("absent").fingerprint;
        let search_path = SearchPath::of(&desk.world).expect("a search path");
        assert!(fingerprint.still_holds(&desk.world, &search_path));
        desk.set_mode("user", 0o755);
        assert!(!fingerprint.still_holds(&desk.world, &search_path), "now it can be searched");
        desk.set_mode("user/quayfed/config.toml", 0o000);
        let failure = desk.shortened(&desk.load().expect_err("it is there"));
        assert_eq!(failure.cause(), "config.toml cannot be read (permission denied)");
        let uid = desk.world.caller.uid();
        assert_eq!(
            failure.hint(),
            format!(
                "let the user running this (uid {uid}) read it: it holds no secret (chmod a+r \
                 config.toml)"
            )
        );
        desk.set_mode("etc", 0o600);
        let failure = desk.shortened(&desk.load().expect_err("not the user's own"));
        assert_eq!(failure.cause(), "/etc/config.toml cannot be read (permission denied)");
        desk.set_mode("etc", 0o755);
    }

    #[test]
    fn r5_what_others_can_change_is_refused() {
        for (name, mode, wanted) in [
            ("etc/config.toml", 0o664, "/etc/config.toml can be written by others than its owner"),
            ("etc/config.d", 0o777, "/etc/config.d can be written by others than its owner"),
            ("etc/config.d/a.toml", 0o602, "/etc/config.d/a.toml can be written by others than"),
            ("user/quayfed/config.toml", 0o620, "config.toml can be written by others than its"),
        ] {
            let desk = Desk::new()
                .with_file("etc/config.toml", "")
                .with_file("etc/config.d/a.toml", "")
                .with_user_file("");
            assert!(desk.load().is_ok());
            desk.set_mode(name, mode);
            let failure = desk.shortened(&desk.load().expect_err(name));
            assert!(failure.cause().starts_with(wanted), "{failure}");
            assert!(failure.cause().contains(&format!("mode {mode:04o}")), "{failure}");
        }
    }

    /// What is said for each server, once the files are what they are.
    fn said(desk: &Desk, servers: &[&str]) -> Vec<String> {
        let settings = super::load_usable(&desk.world).settings;
        let said = |server: &&str| match settings.find(&Server::parse(server).expect("a server")) {
            Some(Ok(rule)) => format!("{server} {}", rule.robot),
            Some(Err(failure)) => format!("{server}: {}", desk.shortened(failure)),
            None => match settings.unread() {
                Some(failure) => format!("{server}? {}", desk.shortened(failure)),
                None => format!("{server} -"),
            },
        };
        servers.iter().map(said).collect()
    }

    #[test]
    fn r33_the_other_files_serve_the_registries_that_a_broken_one_does_not_name() {
        let broken = registry("broken.example.com", "acme+bb") + "[identity.of-broken]\n[oops]\n";
        let uses = |identity: &str| {
            registry("other.example.net", "acme+ii").replace("\"k\"", &format!("\"{identity}\""))
        };
        let desk = Desk::new()
            .with_file("etc/config.toml", &broken)
            .with_file("etc/config.d/a.toml", &registry("broken.example.com", "acme+dd"))
            .with_user_file(&(registry("h", "acme+ci") + IDENTITY + &uses("of-broken")));
        assert_eq!(
            said(
                &desk,
                &[
                    "h",
                    "broken.example.com",
                    "BROKEN.example.com/org",
                    "docker.io",
                    "other.example.net"
                ]
            ),
            [
                "h acme+ci",
                "broken.example.com: /etc/config.toml:5: `oops`: there is no such table",
                "BROKEN.example.com/org: /etc/config.toml:5: `oops`: there is no such table",
                "docker.io -",
                "other.example.net: config.toml:9: registry.\"other.example.net\".identity: `of-broken` may be an identity of a file \
                 that cannot be used: /etc/config.toml:5: `oops`: there is no such table",
            ]
        );
        // The name of an identity that stands nowhere is a mistake of its own.
        let desk = desk.with_user_file(&(IDENTITY.to_owned() + &uses("nowhere")));
        assert!(said(&desk, &["other.example.net"])[0].contains("is not the name of any identity"));
    }

    #[test]
    fn r33_a_file_that_cannot_be_read_leaves_what_the_others_have() {
        let desk = Desk::new().with_user_file(&(registry("h", "acme+ci") + IDENTITY));
        std::fs::create_dir_all(desk.path("etc/config.toml")).expect("a folder");
        assert_eq!(
            said(&desk, &["h", "docker.io"]),
            ["h acme+ci", "docker.io? /etc/config.toml is not a regular file"]
        );
    }

    #[test]
    fn r33_drop_ins_in_a_folder_that_others_can_write_to_are_asked_for_names_alone() {
        let desk = Desk::new()
            .with_file("etc/config.d/a.toml", &(registry("a", "acme+aa") + IDENTITY))
            .with_file("etc/config.d/b.toml", &registry("long.example.com", "acme+bb"))
            .with_user_file(&(registry("h", "acme+ci") + IDENTITY));
        desk.set_mode("etc/config.d", 0o777);
        let wanted = "/etc/config.d can be written by others than its owner (uid";
        let said = said(&desk, &["long.example.com", "docker.io"]);
        assert!(said[0].contains(wanted), "{said:?}");
        assert_eq!(said[1], "docker.io -");
    }

    #[test]
    fn r6_a_broken_rule_keeps_its_place_and_leaves_others_alone() {
        let desk = Desk::new()
            .with_user_file(&(registry("h", "acme+ci") + &registry("h/org", "Acme+ci") + IDENTITY));
        assert_eq!(desk.rule("h/other").expect("a rule").robot.as_str(), "acme+ci");
        assert!(desk.rule("h/org/repo").is_err());
    }

    #[test]
    fn r6_a_registry_that_is_written_twice_in_one_file_is_broken() {
        let desk = Desk::new().with_user_file(
            &(registry("h", "acme+ci")
                + &registry("H", "acme+ci")
                + &registry("g", "acme+ci")
                + IDENTITY),
        );
        assert_eq!(
            robots(&desk),
            [
                "g acme+ci",
                "h (config.toml:4: [registry.\"H\"] is the same registry as [registry.\"h\"] in line 1)"
            ]
        );
    }

    #[test]
    fn r6_a_mistake_in_an_identity_that_nobody_uses_is_noticed() {
        let desk = Desk::new().with_user_file(
            &(registry("h", "acme+ci") + IDENTITY + "[identity.x]\nsource = \"file\"\n"),
        );
        let configuration = desk.load().expect("settings");
        assert!(configuration.settings.rules.values().all(Result::is_ok));
        let notices: Vec<_> =
            configuration.notices.iter().map(|notice| desk.shortened_text(notice)).collect();
        assert_eq!(notices, ["config.toml:7: identity.x lacks `path`"]);
    }

    #[test]
    fn ten_thousand_registries_are_read() {
        let text: String =
            (0..10_000).map(|number| registry(&format!("h{number}"), "acme+ci")).collect();
        let desk = Desk::new().with_user_file(&(text + IDENTITY));
        let settings = desk.load().expect("settings").settings;
        assert_eq!(settings.rules.values().filter(|rule| rule.is_ok()).count(), 10_000);
        let server = Server::parse("h9999").expect("a server");
        let place = settings.rules[&server].as_ref().expect("a rule").place.clone();
        assert_eq!(desk.shortened_text(&place.to_string()), "config.toml:29998");
    }
}
