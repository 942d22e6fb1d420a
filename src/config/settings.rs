//! What the configuration means: rules for registries, each with the identity that it uses, and
//! every value in the type that it is used in.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::place::Place;
use super::unusable::Unusable;
use crate::failure::Failure;
use crate::robot::RobotName;
use crate::server::Server;

/// Every rule that the configuration has. A rule with a mistake in it keeps its place, so that no
/// shorter rule takes over what was meant for it.
#[derive(Debug, Default)]
pub struct Settings {
    /// By the server that a rule is for: the rule, or why it cannot be used.
    pub rules: BTreeMap<Server, Result<Rule, Failure>>,
    /// The files that cannot be used, the earlier first.
    pub unusable: Vec<Unusable>,
}

impl Settings {
    /// What is said for `server`: the rule with the longest path that covers it, or why there is
    /// none to be trusted. A file that cannot be used concerns each host that it names: a rule for it
    /// may stand there (rule R33).
    pub fn find(&self, server: &Server) -> Option<Result<&Rule, &Failure>> {
        match self.mistake_of_file(server) {
            Some(mistake) => Some(Err(mistake)),
            None => self.rule_for(server).map(Result::as_ref),
        }
    }

    /// Every rule by its server, as [`find`](Self::find) has it.
    pub fn all(&self) -> impl Iterator<Item = (&Server, Result<&Rule, &Failure>)> {
        self.rules
            .iter()
            .map(|(of, rule)| (of, self.mistake_of_file(of).map_or(rule.as_ref(), Err)))
    }

    fn mistake_of_file(&self, server: &Server) -> Option<&Failure> {
        let file = self.unusable.iter().find(|file| file.names(server.host()))?;
        Some(&file.failure)
    }

    /// Why a server that nothing is said for may have a rule all the same: a file could not be read.
    pub fn unread(&self) -> Option<&Failure> {
        self.unusable.iter().find(|file| file.is_unread()).map(|file| &file.failure)
    }

    /// A server with a rule that nearly covers `server`, which is under none: of the same host and port
    /// with another path, or of the same host with another port or none.
    pub fn near(&self, server: &Server) -> Option<&Server> {
        let name = |server: &Server| server.host_name().to_owned();
        let same_host = self.rules.keys().find(|of| of.host() == server.host());
        same_host.or_else(|| self.rules.keys().find(|of| name(of) == name(server)))
    }

    /// The rule with the longest path that covers `server`.
    pub fn rule_for(&self, server: &Server) -> Option<&Result<Rule, Failure>> {
        self.rules
            .iter()
            .filter(|(of, _)| of.covers(server))
            .max_by_key(|(of, _)| of.path().len())
            .map(|(_, rule)| rule)
    }
}

/// The most time for a `get`: whoever called it has given up by then.
pub const LONGEST_DEADLINE: Duration = Duration::from_mins(10);

/// How to get a robot token for a registry: one `[registry."HOST"]` table.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What the rule is for.
    pub server: Server,
    /// The robot account.
    pub robot: RobotName,
    /// Where the OIDC token comes from.
    pub identity: Arc<Identity>,
    /// Where Quay's exchange is: scheme, host and port alone.
    pub api_url: Url,
    /// How the registry is reached.
    pub connection: Connection,
    /// The time for a whole `get`.
    pub deadline: Duration,
    /// The time for the exchange, its retry included.
    pub exchange_timeout: Duration,
    /// What a token should still have, where it is set.
    pub min_validity: Option<Duration>,
    /// What a failed refresh means.
    pub on_error: OnError,
    /// Where the rule is written.
    pub place: Place,
}

/// How a server is reached and trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Certificates in PEM that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy to use.
    pub proxy: ProxyChoice,
    /// Whether `http` to a literal loopback address is allowed.
    pub allow_http_loopback: bool,
}

impl Connection {
    /// Whether anything may be sent to a URL (rule R19): by https, or by http to a literal loopback
    /// address where that is allowed.
    pub fn allows(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => true,
            "http" => self.allow_http_loopback && is_loopback(url),
            _ => false,
        }
    }
}

/// Whether a URL's host is a literal loopback address. A name such as `localhost` is none: it
/// means what a resolver makes of it.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        Some(Host::Domain(_)) | None => false,
    }
}

/// Which proxy a connection goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The one that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    #[default]
    FromEnvironment,
    /// None at all.
    None,
    /// This one; its URL may hold a password.
    Url(ProxyUrl),
}

/// The URL of a proxy, which may hold a password and so is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(pub Url);

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ProxyUrl({:?})", self.0.host_str())
    }
}

/// What a failed refresh means for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The `get` fails.
    #[default]
    Fail,
    /// The client goes on without credentials.
    Anonymous,
}

/// A source of OIDC tokens: one `[identity.NAME]` table.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name in the configuration.
    pub name: String,
    /// The source and its settings.
    pub source: SourceSpec,
    /// How the provider is reached.
    pub connection: Connection,
    /// The time for the provider, discovery and retry included.
    pub timeout: Duration,
    /// Where the identity is written.
    pub place: Place,
}

/// The sources of OIDC tokens with their settings, without any secret. Serialized, it is part of
/// what a cached token's name is made of: two settings that may give two identities must differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum SourceSpec {
    /// The OAuth 2.0 client credentials grant (RFC 6749 section 4.4).
    ClientCredentials(ClientCredentials),
    /// A file that something else keeps up to date.
    File(TokenFile),
    /// An environment variable.
    Env(TokenVariable),
}

/// What tells the bearer of a cached token apart, beyond the settings, without asking the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearer {
    /// The settings say it all.
    Settings,
    /// The secret in this variable: jobs of one user may each have their own.
    SecretVariable(String),
    /// The secret of a systemd credential: the name of one that must be there.
    Credential(String),
    /// The token in this file.
    TokenFile(TokenFile),
    /// The token in this variable.
    TokenVariable(TokenVariable),
}

impl SourceSpec {
    /// What tells the bearer of this source's tokens apart.
    pub fn bearer(&self) -> Bearer {
        match self {
            Self::ClientCredentials(settings) => match &settings.client_secret {
                SecretPlace::File(_) => Bearer::Settings,
                SecretPlace::Variable(name) => Bearer::SecretVariable(name.clone()),
                SecretPlace::Credential(name) => Bearer::Credential(name.clone()),
            },
            Self::File(file) => Bearer::TokenFile(file.clone()),
            Self::Env(variable) => Bearer::TokenVariable(variable.clone()),
        }
    }
}

/// Settings of the client credentials grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientCredentials {
    /// Where the token endpoint is.
    pub endpoint: Endpoint,
    /// The client's identifier.
    pub client_id: String,
    /// How the client proves who it is; unless it is set, as the provider lists it.
    pub client_auth: Option<ClientAuth>,
    /// Where its secret is.
    pub client_secret: SecretPlace,
    /// Whether a secret file may be readable by others.
    #[serde(skip)]
    pub allow_readable_secret: bool,
    /// The audience to ask for.
    pub audience: Option<String>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
}

/// Where a token endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// In the issuer's discovery document; the issuer as it was written, to the byte.
    Discovered {
        /// The issuer.
        issuer: String,
    },
    /// At this URL.
    Given {
        /// The token endpoint.
        token_endpoint: Url,
        /// The issuer, where it was written too.
        issuer: Option<String>,
    },
}

/// How a client authenticates at the token endpoint (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the Authorization header.
    #[default]
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

impl ClientAuth {
    /// Its name in the configuration and in an issuer's discovery document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretPlace {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
    /// In a systemd credential: a name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl SecretPlace {
    /// The key that says where a client's secret is.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "client_secret_file",
            Self::Variable(_) => "client_secret_env",
            Self::Credential(_) => "client_secret_credential",
        }
    }
}

/// Settings of a token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// The file.
    pub path: PathBuf,
    /// Where in it the token is, where it is JSON.
    pub json_field: Option<JsonField>,
}

/// Settings of a token variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenVariable {
    /// The name of the variable.
    pub variable: String,
    /// Where in it the token is, where it is JSON.
    pub json_field: Option<JsonField>,
}

/// A path into a JSON document: names and indexes with dots between, such as `svids.0.svid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonField(pub String);

impl JsonField {
    /// The text at this path.
    pub fn find<'a>(&self, document: &'a serde_json::Value) -> Option<&'a str> {
        self.0
            .split('.')
            .try_fold(document, |value, step| match value {
                serde_json::Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                other => other.get(step),
            })?
            .as_str()
    }
}
