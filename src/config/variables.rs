//! The rule that variables make, for a CI job without a file.

use std::borrow::Cow;
use std::sync::Arc;

use super::keys::{self, Owner, SourceKind};
use super::meaning;
use super::settings::{Bearer, Identity, Rule};
use super::suggestion;
use super::table::{At, Entry, Origin, Table, Value, quoted_host};
use super::unusable::Unusable;
use crate::failure::Failure;
use crate::server::Server;
use crate::world::World;

/// How the name of every variable begins.
const PREFIX: &str = "QUAYFED_";
/// The variable that a rule begins with.
const REGISTRY: &str = "QUAYFED_REGISTRY";

/// The variable that says which source it is.
const SOURCE: &str = "QUAYFED_SOURCE";

/// Variables that stand for keys of a registry.
const REGISTRY_VARIABLES: &[(&str, &str)] = &[
    ("QUAYFED_ROBOT", "robot"),
    ("QUAYFED_API_URL", "api_url"),
    ("QUAYFED_CA_FILE", "ca_file"),
    ("QUAYFED_ON_ERROR", "on_error"),
];

/// Variables that stand for keys of an identity.
const IDENTITY_VARIABLES: &[(&str, &str)] = &[
    (SOURCE, "source"),
    (TOKEN, "variable"),
    ("QUAYFED_TOKEN_VARIABLE", "variable"),
    ("QUAYFED_TOKEN_FILE", "path"),
    ("QUAYFED_ISSUER", "issuer"),
    ("QUAYFED_TOKEN_ENDPOINT", "token_endpoint"),
    ("QUAYFED_CLIENT_ID", "client_id"),
    (CLIENT_SECRET, "client_secret_env"),
    ("QUAYFED_CLIENT_SECRET_FILE", "client_secret_file"),
    ("QUAYFED_AUDIENCE", "audience"),
    ("QUAYFED_SCOPES", "scopes"),
    ("QUAYFED_CA_FILE", "ca_file"),
];

/// These two hold what others name: a secret, which stays where it is.
const TOKEN: &str = "QUAYFED_TOKEN";
const CLIENT_SECRET: &str = "QUAYFED_CLIENT_SECRET";

/// Variables that have nothing to do with the rule.
const OTHER_VARIABLES: &[&str] =
    &[REGISTRY, "QUAYFED_CONFIG", "QUAYFED_CACHE_DIR", "QUAYFED_LOG", "QUAYFED_LOG_FILE"];

/// The names of all variables of ours.
pub fn variable_names() -> impl Iterator<Item = &'static str> {
    let pairs = REGISTRY_VARIABLES.iter().chain(IDENTITY_VARIABLES);
    pairs.map(|(name, _)| *name).chain(OTHER_VARIABLES.iter().copied())
}

/// The server that `QUAYFED_REGISTRY` names, and its rule or why it cannot be used.
pub type RuleOfVariables = (Server, Result<Rule, Failure>);

/// The rule of `QUAYFED_REGISTRY` and its companions, or none where that is not set, to be laid over
/// those of the files: it replaces the one of the same server. The error is that of
/// `QUAYFED_REGISTRY` itself. Boxed and made apart, since it would cost every `get` a page of stack.
pub fn rule_from_variables(world: &World) -> Result<Option<Box<RuleOfVariables>>, Failure> {
    let registry = world.environment.secret_bytes(REGISTRY);
    registry
        .map(|registry| rule_for(world, &String::from_utf8_lossy(registry.expose())))
        .transpose()
}

/// What is wrong with `QUAYFED_REGISTRY` itself, to be held against the servers that it names.
#[cold]
pub fn unusable_variables(world: &World, mistake: Failure) -> Unusable {
    let registry = world.environment.secret_bytes(REGISTRY);
    Unusable::with(mistake, registry.as_ref().map_or(b"", |registry| registry.expose()))
}

#[cold]
fn rule_for(world: &World, registry: &str) -> Result<Box<RuleOfVariables>, Failure> {
    let server = Server::parse(registry).map_err(|error| {
        Failure::new(
            format!(
                "{REGISTRY}: {} is no name of a registry: it {}",
                quoted_host(registry),
                error.0
            ),
            "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
        )
    })?;
    let table = table(world, REGISTRY_VARIABLES, REGISTRY);
    let rule = meaning::rule(table, &server, |_| Some(identity(world).map(Arc::new)));
    Ok(Box::new((server, rule)))
}

/// What is odd about the variables without concerning any rule. Those that an identity of the
/// files names may have any name.
pub(super) fn notices(world: &World, named: &[String]) -> Vec<String> {
    let is_named = |name: &str| named.iter().any(|other| other == name);
    let companions = || REGISTRY_VARIABLES.iter().chain(IDENTITY_VARIABLES).map(|(name, _)| *name);
    let mut notices = Vec::new();
    let environment = &world.environment;
    if !environment.has(REGISTRY)
        && let Some(companion) = companions().find(|name| environment.has(name) && !is_named(name))
    {
        notices.push(format!("{companion} is set, but {REGISTRY} is not: it has no effect"));
    }
    let known: Vec<&'static str> = variable_names().collect();
    let mut unknown = environment.names();
    unknown.retain(|name| {
        name.starts_with(PREFIX) && !known.contains(&name.as_str()) && !is_named(name)
    });
    unknown.sort_unstable();
    let rest_of = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
    notices.extend(unknown.into_iter().map(|name| {
        let rest = &name[PREFIX.len()..];
        match suggestion::nearest(rest, known.iter().copied().map(rest_of)) {
            Some(meant) => format!("{name} has no meaning; did you mean {PREFIX}{meant}?"),
            None => format!("{name} has no meaning"),
        }
    }));
    notices
}

/// The variable that an identity reads.
pub(super) fn variable_of(identity: &Identity) -> Option<String> {
    match identity.source.bearer() {
        Bearer::SecretVariable(name) => Some(name),
        Bearer::TokenVariable(variable) => Some(variable.variable),
        Bearer::Settings | Bearer::Credential(_) | Bearer::TokenFile(_) => None,
    }
}

fn identity(world: &World) -> Result<Identity, Failure> {
    let table = table(world, IDENTITY_VARIABLES, REGISTRY);
    let mut entries = table.entries().to_vec();
    let first = match (told_source(table.entries())?, table.entry("source")) {
        (_, Some(_)) => SOURCE,
        (Some((first, kind)), None) => {
            let value = Value::Text(Cow::Borrowed(kind.name()));
            entries.push(Entry { key: "source", at: At::Variable(SOURCE), value });
            first
        }
        (None, None) => {
            return Err(Failure::new(
                format!("{REGISTRY} is set, but nothing says where its OIDC token comes from"),
                "set QUAYFED_TOKEN or QUAYFED_TOKEN_FILE, or QUAYFED_ISSUER with \
                 QUAYFED_CLIENT_ID and QUAYFED_CLIENT_SECRET",
            ));
        }
    };
    let empty = empty(world, IDENTITY_VARIABLES);
    let origin = Origin::Variables { names: IDENTITY_VARIABLES, first, empty };
    meaning::identity(Table::new(origin, entries), "variables")
}

/// The source that follows from what is set, and the first variable that it follows from.
fn told_source(entries: &[Entry<'_>]) -> Result<Option<(&'static str, SourceKind)>, Failure> {
    let mut telling =
        entries.iter().filter_map(|entry| match (entry.at, keys::owners(entry.key)) {
            _ if ["audience", "scopes"].contains(&entry.key) => None,
            (At::Variable(name), [Owner::Source(kind)]) => Some((name, *kind)),
            _ => None,
        });
    let Some((first, kind)) = telling.next() else { return Ok(None) };
    // What does not fit to a source that was said is found with the other keys.
    let is_said = entries.iter().any(|entry| entry.key == "source");
    // Only the client credentials grant is made of more than one variable.
    let is_another = |(_, other): &(&str, SourceKind)| {
        if *other == kind { kind == SourceKind::Env } else { !is_said }
    };
    match telling.find(is_another) {
        None => Ok(Some((first, kind))),
        Some((second, _)) => Err(Failure::new(
            format!("{first} and {second} are both set, and each names a token of its own"),
            format!("unset one of the two in the job that {REGISTRY} is set for"),
        )),
    }
}

fn table(
    world: &World,
    names: &'static [(&'static str, &'static str)],
    first: &'static str,
) -> Table<'static> {
    let environment = &world.environment;
    let value = |name: &'static str, key| match name {
        TOKEN | CLIENT_SECRET => environment.has(name).then(|| Value::Text(name.into())),
        _ => match environment.text(name) {
            Err(_) => Some(Value::NotText),
            Ok(text) => text.map(|text| {
                let scope = |scope: &str| Value::Text(scope.to_owned().into());
                match key {
                    "scopes" => Value::List(text.split_whitespace().map(scope).collect()),
                    _ => Value::Text(text.into()),
                }
            }),
        },
    };
    let entry =
        |&(name, key)| Some(Entry { key, at: At::Variable(name), value: value(name, key)? });
    let origin = Origin::Variables { names, first, empty: empty(world, names) };
    Table::new(origin, names.iter().filter_map(entry).collect())
}

fn empty(world: &World, names: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    names.iter().map(|(name, _)| *name).filter(|name| world.environment.is_empty(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::settings::{Endpoint, SecretPlace, SourceSpec};
    use crate::config::testing::Desk;

    const BASE: [(&str, &str); 2] =
        [("QUAYFED_REGISTRY", "Quay.example.com"), ("QUAYFED_ROBOT", "acme+ci")];

    fn rule(variables: &[(&str, &str)]) -> Result<Rule, Failure> {
        rule_of(&Desk::new().with_variables(&[&BASE, variables].concat()))
    }

    fn rule_of(desk: &Desk) -> Result<Rule, Failure> {
        rule_from_variables(&desk.world).expect("a registry").expect("a rule").1
    }

    #[test]
    fn r4_a_rule_is_made_of_variables_alone() {
        let made = rule(&[
            ("QUAYFED_TOKEN", "hunter2"),
            ("QUAYFED_API_URL", "https://api.example.com"),
            ("QUAYFED_CA_FILE", "/ca.pem"),
            ("QUAYFED_ON_ERROR", "anonymous"),
        ])
        .expect("a rule");
        assert_eq!(made.server.to_string(), "quay.example.com");
        assert_eq!(made.api_url.as_str(), "https://api.example.com/");
        assert_eq!([&made.place, &made.identity.place].map(ToString::to_string), [REGISTRY, TOKEN]);
        assert_eq!(made.connection.ca_file, Some(PathBuf::from("/ca.pem")));
        assert_eq!(made.identity.connection.ca_file, Some(PathBuf::from("/ca.pem")));
        assert!(!format!("{made:?}").contains("hunter2"));
    }

    #[test]
    fn r4_the_source_follows_from_what_is_set() {
        let source =
            |variables: &[(&str, &str)]| rule(variables).expect("a rule").identity.source.clone();
        for (name, value, variable) in [
            ("QUAYFED_TOKEN", "hunter2", "QUAYFED_TOKEN"),
            ("QUAYFED_TOKEN_VARIABLE", "CI_TOKEN", "CI_TOKEN"),
        ] {
            let Bearer::TokenVariable(found) = source(&[(name, value)]).bearer() else {
                panic!("{name}");
            };
            assert_eq!(found.variable, variable);
        }
        let SourceSpec::File(file) = source(&[("QUAYFED_TOKEN_FILE", "/token")]) else {
            panic!("a file");
        };
        assert_eq!(file.path, PathBuf::from("/token"));
        let SourceSpec::ClientCredentials(settings) = source(&[
            ("QUAYFED_SOURCE", "client-credentials"),
            ("QUAYFED_ISSUER", "https://sso.example.com/"),
            ("QUAYFED_CLIENT_ID", "build"),
            ("QUAYFED_CLIENT_SECRET", "hunter2"),
            ("QUAYFED_AUDIENCE", "quay"),
            ("QUAYFED_SCOPES", "openid  quay"),
        ]) else {
            panic!("client credentials");
        };
        let issuer = "https://sso.example.com/".to_owned();
        assert_eq!(settings.endpoint, Endpoint::Discovered { issuer });
        assert_eq!(settings.client_secret, SecretPlace::Variable(CLIENT_SECRET.to_owned()));
        assert_eq!(settings.scopes, ["openid", "quay"]);
    }

    #[test]
    fn r6_a_variable_that_is_set_to_nothing_is_called_empty() {
        let desk = Desk::new().with_variables(&[
            ("QUAYFED_REGISTRY", "quay.example.com"),
            ("QUAYFED_ROBOT", ""),
            ("QUAYFED_TOKEN", "x"),
        ]);
        let failure = rule_of(&desk).expect_err("no robot");
        assert_eq!(
            (failure.cause(), failure.hint()),
            ("QUAYFED_ROBOT is set but empty", "set QUAYFED_ROBOT, such as acme+ci")
        );
    }

    const ISSUER: (&str, &str) = ("QUAYFED_ISSUER", "https://sso.example.com");
    const CLIENT_ID: (&str, &str) = ("QUAYFED_CLIENT_ID", "c");

    type Variables = &'static [(&'static str, &'static str)];

    /// Variables, and what is wrong with them.
    const MISTAKES: &[(Variables, &str, &str)] = &[
        (
            &[],
            "QUAYFED_REGISTRY is set, but nothing says where its OIDC token comes from",
            "set QUAYFED_TOKEN or QUAYFED_TOKEN_FILE, or QUAYFED_ISSUER with QUAYFED_CLIENT_ID and QUAYFED_CLIENT_SECRET",
        ),
        (
            &[("QUAYFED_ROBOT", "Acme+ci"), ("QUAYFED_TOKEN", "x")],
            "QUAYFED_ROBOT: `Acme+ci` is no robot name: it has a character other than a-z, 0-9, `.`, `_` and `-`",
            "did you mean `acme+ci`? Quay's robot names are NAMESPACE+NAME in lower case",
        ),
        (
            &[("QUAYFED_API_URL", "http://127.0.0.1"), ("QUAYFED_TOKEN", "x")],
            "QUAYFED_API_URL: `http://127.0.0.1` is http, and `allow_http_loopback` is not set",
            "use https; for a test on this host set `allow_http_loopback = true` in the same table of a configuration file",
        ),
        (
            &[("QUAYFED_TOKEN", "hunter2"), ("QUAYFED_TOKEN_FILE", "/t")],
            "QUAYFED_TOKEN and QUAYFED_TOKEN_FILE are both set, and each names a token of its own",
            "unset one of the two in the job that QUAYFED_REGISTRY is set for",
        ),
        (
            &[("QUAYFED_TOKEN", "hunter2"), ("QUAYFED_TOKEN_VARIABLE", "X")],
            "QUAYFED_TOKEN and QUAYFED_TOKEN_VARIABLE are both set, and each names a token of its own",
            "unset one of the two in the job that QUAYFED_REGISTRY is set for",
        ),
        (
            &[("QUAYFED_TOKEN", "hunter2"), ISSUER],
            "QUAYFED_TOKEN and QUAYFED_ISSUER are both set, and each names a token of its own",
            "unset one of the two in the job that QUAYFED_REGISTRY is set for",
        ),
        (
            &[("QUAYFED_SOURCE", "env"), ("QUAYFED_TOKEN", "x"), ISSUER],
            "QUAYFED_ISSUER: this belongs to the source `client-credentials`, not to `env`",
            "remove it, or choose that source",
        ),
        (
            &[("QUAYFED_SOURCE", "file")],
            "QUAYFED_REGISTRY is set, but not QUAYFED_TOKEN_FILE",
            "set QUAYFED_TOKEN_FILE, such as /var/run/secrets/tokens/quay",
        ),
        (
            &[("QUAYFED_SOURCE", "command")],
            "QUAYFED_SOURCE: `command` is not supported by this version",
            "it supports `client-credentials`, `file`, `env`",
        ),
        (
            &[("QUAYFED_SOURCE", "files"), ("QUAYFED_TOKEN_FILE", "/t")],
            "QUAYFED_SOURCE: `files` is not a possible value",
            "did you mean `file`?",
        ),
        (
            &[("QUAYFED_TOKEN_VARIABLE", "$hunter2")],
            "QUAYFED_TOKEN_VARIABLE: the value is no name of a variable",
            "write the name alone, such as `QUAY_TOKEN`: letters, digits and `_`, without `$`",
        ),
        (
            &[("QUAYFED_TOKEN_FILE", "hunter2")],
            "QUAYFED_TOKEN_FILE: the value is no absolute path",
            "begin it with `/`: the program may be called in any folder",
        ),
        (
            &[("QUAYFED_TOKEN", "x"), ("QUAYFED_AUDIENCE", "quay")],
            "QUAYFED_AUDIENCE: the source `env` cannot ask for one",
            "remove it, and ask for that audience where the token is issued",
        ),
        (
            &[ISSUER, CLIENT_ID],
            "QUAYFED_REGISTRY is set, but not QUAYFED_CLIENT_SECRET_FILE or QUAYFED_CLIENT_SECRET",
            "set QUAYFED_CLIENT_SECRET_FILE, such as /etc/quayfed/client-secret",
        ),
        (
            &[CLIENT_ID],
            "QUAYFED_REGISTRY is set, but not QUAYFED_ISSUER or QUAYFED_TOKEN_ENDPOINT",
            "set QUAYFED_ISSUER, such as https://sso.example.com/realms/quay (then: QUAYFED_CLIENT_SECRET_FILE or QUAYFED_CLIENT_SECRET is missing)",
        ),
        (
            &[
                ISSUER,
                CLIENT_ID,
                ("QUAYFED_CLIENT_SECRET", "hunter2"),
                ("QUAYFED_CLIENT_SECRET_FILE", "/s"),
            ],
            "QUAYFED_CLIENT_SECRET: there is QUAYFED_CLIENT_SECRET_FILE as well",
            "keep the one that says where the secret is",
        ),
        (
            &[("QUAYFED_TOKEN", "x"), ("QUAYFED_CA_FILE", "ca.pem")],
            "QUAYFED_CA_FILE: `ca.pem` is no absolute path",
            "begin it with `/`: the program may be called in any folder",
        ),
    ];

    #[test]
    fn r6_a_mistake_in_a_variable_is_told_by_its_name() {
        for (variables, cause, hint) in MISTAKES {
            let mut all = variables.to_vec();
            all.extend(BASE);
            let desk = Desk::new().with_variables(&all);
            let failure = rule_of(&desk).expect_err("a mistake");
            assert_eq!((failure.cause(), failure.hint()), (*cause, *hint), "{variables:?}");
            assert!(!failure.cause().contains("hunter2") && !failure.hint().contains("hunter2"));
        }
    }

    #[test]
    fn r6_a_robot_that_is_not_set_is_told() {
        let desk = Desk::new().with_variables(&[BASE[0], ("QUAYFED_TOKEN", "x")]);
        let failure = rule_of(&desk).expect_err("a mistake");
        assert_eq!(failure.cause(), "QUAYFED_REGISTRY is set, but not QUAYFED_ROBOT");
        assert_eq!(failure.hint(), "set QUAYFED_ROBOT, such as acme+ci");
    }

    #[test]
    fn r6_a_registry_that_cannot_be_parsed_fails_all() {
        let desk = Desk::new().with_variables(&[("QUAYFED_REGISTRY", "user:hunter2@quay")]);
        assert_eq!(
            rule_from_variables(&desk.world).expect_err("no name").cause(),
            "QUAYFED_REGISTRY: `…@quay` is no name of a registry: it has user information before \
             the host"
        );
    }

    #[test]
    fn a_variable_that_an_identity_names_is_not_noticed() {
        let desk = Desk::new()
            .with_user_file(
                "[registry.a]\nrobot = \"acme+ci\"\nidentity = \"k\"\n\
                 [registry.b]\nrobot = \"acme+ci\"\nidentity = \"l\"\n\
                 [identity.k]\nsource = \"env\"\nvariable = \"QUAYFED_TOKEN\"\n\
                 [identity.l]\nsource = \"env\"\nvariable = \"QUAYFED_TOKEN_OF_B\"\n",
            )
            .with_variables(&[("QUAYFED_TOKEN", "x"), ("QUAYFED_TOKEN_OF_B", "x")]);
        assert_eq!(desk.load().expect("settings").notices, Vec::<String>::new());
    }

    #[test]
    fn without_the_registry_there_is_no_rule_but_a_notice() {
        let desk = Desk::new().with_variables(&[
            ("QUAYFED_ROBOT", "acme+ci"),
            ("QUAYFED_REGISTY", "quay.example.com"),
            ("QUAYFED_COLOUR", "red"),
            ("QUAYFED_LOG", "debug"),
        ]);
        assert!(rule_from_variables(&desk.world).expect("no mistake").is_none());
        assert_eq!(
            desk.load().expect("settings").notices,
            [
                "QUAYFED_ROBOT is set, but QUAYFED_REGISTRY is not: it has no effect",
                "QUAYFED_COLOUR has no meaning",
                "QUAYFED_REGISTY has no meaning; did you mean QUAYFED_REGISTRY?",
            ]
        );
    }
}
