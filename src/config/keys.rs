//! Every key of the configuration: where it may stand, and how it is written.

use std::fmt;

/// What a key may be a key of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Every `[registry."HOST"]`.
    Registry,
    /// Every `[identity.NAME]`.
    Identity,
    /// An `[identity.NAME]` with this source.
    Source(SourceKind),
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry => formatter.write_str("a registry, [registry.\"HOST\"]"),
            Self::Identity | Self::Source(_) => formatter.write_str("an identity, [identity.NAME]"),
        }
    }
}

/// The sources of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    ClientCredentials,
    File,
    Env,
}

impl SourceKind {
    pub(super) const ALL: [Self; 3] = [Self::ClientCredentials, Self::File, Self::Env];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client-credentials",
            Self::File => "file",
            Self::Env => "env",
        }
    }
}

/// Sources that later versions may have.
pub(super) const LATER_SOURCES: &str = "authorization-code aws azure azure-devops \
    azure-managed-identity buildkite circleci command device-code entra forgejo gcp github \
    github-actions gitlab google-cloud jwt-bearer kubernetes managed-identity spiffe \
    token-exchange url vault";

const REGISTRY: &[Owner] = &[Owner::Registry];
const IDENTITY: &[Owner] = &[Owner::Identity];
const BOTH: &[Owner] = &[Owner::Registry, Owner::Identity];
const CLIENT: &[Owner] = &[Owner::Source(SourceKind::ClientCredentials)];
const FILE: &[Owner] = &[Owner::Source(SourceKind::File)];
const ENV: &[Owner] = &[Owner::Source(SourceKind::Env)];
const FILE_AND_ENV: &[Owner] = &[Owner::Source(SourceKind::File), Owner::Source(SourceKind::Env)];

/// The name of each key, its owners, and an example of its value.
pub(super) const KEYS: &[(&str, &[Owner], &str)] = &[
    ("robot", REGISTRY, r#""acme+ci""#),
    ("identity", REGISTRY, r#""keycloak""#),
    ("api_url", REGISTRY, r#""https://quay.example.com""#),
    ("deadline", REGISTRY, r#""25s""#),
    ("exchange_timeout", REGISTRY, r#""15s""#),
    ("min_validity", REGISTRY, r#""15m""#),
    ("on_error", REGISTRY, r#""fail""#),
    ("ca_file", BOTH, r#""/etc/pki/example-ca.pem""#),
    ("proxy", BOTH, r#""http://proxy.example.com:3128""#),
    ("allow_http_loopback", BOTH, "true"),
    ("source", IDENTITY, r#""client-credentials""#),
    ("timeout", IDENTITY, r#""8s""#),
    ("issuer", CLIENT, r#""https://sso.example.com/realms/quay""#),
    ("token_endpoint", CLIENT, r#""https://sso.example.com/oauth2/token""#),
    ("client_id", CLIENT, r#""build-host""#),
    ("client_auth", CLIENT, r#""client_secret_basic""#),
    ("client_secret_file", CLIENT, r#""/etc/quayfed/client-secret""#),
    ("client_secret_env", CLIENT, r#""QUAY_CLIENT_SECRET""#),
    ("client_secret_credential", CLIENT, r#""quay-client-secret""#),
    ("allow_readable_secret", CLIENT, "true"),
    ("audience", CLIENT, r#""quay""#),
    ("scopes", CLIENT, r#"["openid"]"#),
    ("path", FILE, r#""/var/run/secrets/tokens/quay""#),
    ("variable", ENV, r#""QUAY_TOKEN""#),
    ("json_field", FILE_AND_ENV, r#""access_token""#),
];

/// The names of all keys.
pub fn key_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, ..)| *key)
}

/// The keys that may stand where all of `owners` are at home.
pub(super) fn keys_of(owners: &[Owner]) -> Vec<&'static str> {
    let is_at_home = |of: &[Owner]| of.iter().any(|owner| owners.contains(owner));
    KEYS.iter().filter(|(_, of, _)| is_at_home(of)).map(|(key, ..)| *key).collect()
}

/// A key by its own name.
pub(super) fn known(key: &str) -> Option<&'static str> {
    KEYS.iter().map(|(name, ..)| *name).find(|name| *name == key)
}

/// What a key is a key of; nothing where there is no such key.
pub(super) fn owners(key: &str) -> &'static [Owner] {
    KEYS.iter().find(|(name, ..)| *name == key).map_or(&[], |(_, owners, _)| owners)
}

/// A value of a key, to show how it is written.
pub(super) fn example(key: &str) -> &'static str {
    KEYS.iter().find(|(name, ..)| *name == key).map_or("…", |(.., example)| example)
}
