//! What the tables mean: each key, its default, and where it may stand.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::keys::{self, LATER_SOURCES, Owner, SourceKind};
use super::settings::{
    ClientCredentials, Connection, Endpoint, Identity, LONGEST_DEADLINE, Rule, SecretPlace,
    SourceSpec, TokenFile, TokenVariable,
};
use super::suggestion;
use super::table::{Entry, Table, Value, sounds_secret};
use super::values::{self, SECRET_PLACES, UrlUse};
use crate::failure::Failure;
use crate::server::Server;

/// The least time for a request, which a mistaken unit would fall short of.
const LEAST: Duration = Duration::from_millis(100);
/// Quay's tokens live an hour.
const LONGEST_VALIDITY: Duration = Duration::from_hours(24);

/// The rule that a registry's table makes. `identity` finds its identity, or adds to the table's
/// mistakes.
pub(super) fn rule(
    mut table: Table<'_>,
    server: &Server,
    identity: impl FnOnce(&mut Table<'_>) -> Option<Result<Arc<Identity>, Failure>>,
) -> Result<Rule, Failure> {
    let place = table.place();
    let robot = table.required("robot", values::robot);
    let identity = identity(&mut table);
    let connection = connection(&mut table);
    let api_url = api_url(&mut table, server, &connection);
    let mut time = |key| table.parsed(key, |text| values::duration(text, LEAST, LONGEST_DEADLINE));
    let deadline = time("deadline").unwrap_or(Duration::from_secs(25));
    let exchange_timeout = time("exchange_timeout").unwrap_or(Duration::from_secs(15));
    let min_validity = table.parsed("min_validity", |text| {
        values::duration(text, Duration::from_millis(1), LONGEST_VALIDITY)
    });
    let on_error = table.parsed("on_error", values::on_error).unwrap_or_default();
    check_keys(&mut table, &[Owner::Registry]);
    let all = robot.zip(api_url).zip(identity);
    let ((robot, api_url), identity) = table.finish(all)?;
    Ok(Rule {
        server: server.clone(),
        robot,
        identity: identity?,
        api_url,
        connection,
        deadline,
        exchange_timeout,
        min_validity,
        on_error,
        place,
    })
}

fn api_url(table: &mut Table<'_>, server: &Server, connection: &Connection) -> Option<Url> {
    if table.entry("api_url").is_some() {
        return table.parsed("api_url", |text| values::url(text, UrlUse::Api, connection));
    }
    let url = Url::parse(&format!("https://{}", server.host())).ok();
    if url.is_none() {
        table.mistake_of_all(
            format_args!(": `{}` cannot be the host of a URL", server.host()),
            "correct the name, or add `api_url`",
        );
    }
    url
}

fn connection(table: &mut Table<'_>) -> Connection {
    Connection {
        ca_file: table.parsed("ca_file", values::absolute_path),
        proxy: table.parsed("proxy", values::proxy).unwrap_or_default(),
        allow_http_loopback: table.flag("allow_http_loopback"),
    }
}

/// The identity that an identity's table makes.
pub(super) fn identity(mut table: Table<'_>, name: &str) -> Result<Identity, Failure> {
    let place = table.place();
    let connection = connection(&mut table);
    let timeout = table.parsed("timeout", |text| values::duration(text, LEAST, LONGEST_DEADLINE));
    let kinds = SourceKind::ALL.map(|kind| (kind.name(), kind));
    let kind = table.required("source", |text| values::one_of(text, &kinds, LATER_SOURCES));
    let source = match kind {
        None => None,
        Some(SourceKind::ClientCredentials) => {
            client_credentials(&mut table, &connection).map(SourceSpec::ClientCredentials)
        }
        Some(SourceKind::File) => token_file(&mut table).map(SourceSpec::File),
        Some(SourceKind::Env) => token_variable(&mut table).map(SourceSpec::Env),
    };
    check_identity_keys(&mut table, kind);
    Ok(Identity {
        name: name.to_owned(),
        source: table.finish(source)?,
        connection,
        timeout: timeout.unwrap_or(Duration::from_secs(8)),
        place,
    })
}

fn client_credentials(table: &mut Table<'_>, connection: &Connection) -> Option<ClientCredentials> {
    let endpoint = endpoint(table, connection);
    let client_id = table.required("client_id", values::filled);
    let client_auth = table.parsed("client_auth", values::client_auth);
    let client_secret = client_secret(table);
    let allow_readable_secret = table.flag("allow_readable_secret");
    let audience = table.parsed("audience", values::filled);
    let scopes = table.list("scopes", values::scope);
    Some(ClientCredentials {
        endpoint: endpoint?,
        client_id: client_id?,
        client_auth,
        client_secret: client_secret?,
        allow_readable_secret,
        audience,
        scopes,
    })
}

fn endpoint(table: &mut Table<'_>, connection: &Connection) -> Option<Endpoint> {
    if table.entry("issuer").is_none() && table.entry("token_endpoint").is_none() {
        table.missing("issuer", &["token_endpoint"]);
        return None;
    }
    let issuer = table.parsed("issuer", |text| {
        values::url(text, UrlUse::Issuer, connection).map(|_| text.to_owned())
    });
    if table.entry("token_endpoint").is_none() {
        return issuer.map(|issuer| Endpoint::Discovered { issuer });
    }
    table
        .parsed("token_endpoint", |text| values::url(text, UrlUse::TokenEndpoint, connection))
        .map(|token_endpoint| Endpoint::Given { token_endpoint, issuer })
}

fn client_secret(table: &mut Table<'_>) -> Option<SecretPlace> {
    let mut place = None;
    let mut first: Option<String> = None;
    for (key, parse) in SECRET_PLACES {
        let Some(entry) = table.entry(key).cloned() else {
            continue;
        };
        if let Some(first) = &first {
            table.mistake(
                &entry,
                format_args!(": there is {first} as well"),
                "keep the one that says where the secret is",
            );
        } else {
            first = Some(entry.name());
            place = table.parsed(key, parse);
        }
    }
    // Where it stands inline, that is the mistake.
    if first.is_none() && table.entry("client_secret").is_none() {
        let [(key, _), others @ ..] = SECRET_PLACES;
        table.missing(key, &others.map(|(key, _)| key));
    }
    place
}

fn token_file(table: &mut Table<'_>) -> Option<TokenFile> {
    let path = table.required("path", values::absolute_path);
    let json_field = table.parsed("json_field", values::json_field);
    Some(TokenFile { path: path?, json_field })
}

fn token_variable(table: &mut Table<'_>) -> Option<TokenVariable> {
    let variable = table.required("variable", values::variable_name);
    let json_field = table.parsed("json_field", values::json_field);
    Some(TokenVariable { variable: variable?, json_field })
}

/// Without a source no key can be said to belong to another one.
fn check_identity_keys(table: &mut Table<'_>, kind: Option<SourceKind>) {
    let kinds = kind.as_ref().map_or(SourceKind::ALL.as_slice(), std::slice::from_ref);
    let sources = kinds.iter().map(|kind| Owner::Source(*kind));
    check_keys(table, &[Owner::Identity].into_iter().chain(sources).collect::<Vec<_>>());
}

/// Finds the keys that do not belong into the table; `home` is what it may have keys of.
fn check_keys(table: &mut Table<'_>, home: &[Owner]) {
    let allowed = keys::keys_of(home);
    let strangers: Vec<Entry<'_>> =
        table.entries().iter().filter(|entry| !allowed.contains(&entry.key)).cloned().collect();
    for entry in &strangers {
        if table.is_full() {
            table.one_more();
            continue;
        }
        let (text, hint) = what_is_wrong_with(entry, home, &allowed);
        table.mistake(entry, text, hint);
    }
}

fn what_is_wrong_with(entry: &Entry<'_>, home: &[Owner], allowed: &[&str]) -> (String, String) {
    let nearest = suggestion::nearest(entry.key, allowed.iter().copied());
    match (keys::owners(entry.key).first(), home.last()) {
        (Some(_), Some(Owner::Source(kind))) if entry.key == "audience" => (
            format!(": the source `{}` cannot ask for one", kind.name()),
            "remove it, and ask for that audience where the token is issued".to_owned(),
        ),
        (Some(Owner::Source(kind)), Some(Owner::Source(own))) => (
            format!(": this belongs to the source `{}`, not to `{}`", kind.name(), own.name()),
            "remove it, or choose that source".to_owned(),
        ),
        (Some(owner), _) => (
            format!(": this belongs to {owner}"),
            "move it into such a table, or remove it".to_owned(),
        ),
        (None, _) if matches!(entry.value, Value::Table) => (
            ": there is no table within a table of this kind".to_owned(),
            "a name with dots in it stands in quotes, such as [identity.\"sso.example.com\"]"
                .to_owned(),
        ),
        (None, _)
            if entry.key == "client_secret" || nearest.is_none() && sounds_secret(entry.key) =>
        {
            (
                ": a secret must not be written in the configuration".to_owned(),
                "remove it and renew that secret; an identity names the file or the variable that \
                 a secret is in (`client_secret_file`, `client_secret_env`)"
                    .to_owned(),
            )
        }
        _ => (": there is no such key".to_owned(), suggestion::hint(entry.key, allowed)),
    }
}
