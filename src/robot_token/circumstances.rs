//! What a rule comes to on this host now: whose token it is, and what a failure may depend on (R10,
//! R15).

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cache::attempt::Attempt;
use crate::cache::entry::EntryKey;
use crate::config::settings::{ProxyChoice, Rule, SecretPlace, SourceSpec};
use crate::digest::sha256;
use crate::failure::Failure;
use crate::files::Stamp;
use crate::http;
use crate::identity::{self, AtHand};
use crate::world::World;

/// What a rule comes to on this host now.
#[derive(Debug)]
pub struct Circumstances {
    /// The key of its entry.
    pub key: EntryKey,
    /// A digest of everything on this host that a failure may depend on (R15).
    pub(super) conditions: String,
    pub(super) at_hand: AtHand,
}

impl Circumstances {
    /// Looks at the files and variables of a rule. Fails where a secret or token at hand is missing
    /// or unreadable.
    pub fn of(world: &World, rule: &Rule) -> Result<Self, Failure> {
        // Before anything is read: what is mended while we ask is not what failed.
        let conditions = conditions(world, rule);
        let at_hand = identity::at_hand(world, &rule.identity.source.bearer())
            .map_err(|fault| fault.placed(&rule.identity.place))?;
        let key = EntryKey::of(rule, at_hand.key.clone());
        let token = at_hand.token.as_ref().map_or("", |token| token.raw().expose());
        let conditions = sha256(format!("{conditions}{key:?}{token}").as_bytes());
        Ok(Self { key, conditions, at_hand })
    }

    /// Whether a failure counts here: nothing that it may have depended on has changed since.
    pub fn are_those_of(&self, attempt: &Attempt) -> bool {
        self.conditions == attempt.conditions
    }
}

/// Everything on this host that a failure may depend on, but for what the source has at hand (R15):
/// a mended mistake must show at once.
fn conditions(world: &World, rule: &Rule) -> String {
    let files = files_of(rule).chain(http::root_files(world));
    let stamps: Vec<_> = files.map(|path| stamp(&path)).collect();
    let variables = [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ]
    .map(|name| world.environment.secret_bytes(name).map(|value| sha256(value.expose())));
    let connections = [&rule.connection, &rule.identity.connection].map(|connection| {
        let proxy = match &connection.proxy {
            ProxyChoice::Url(url) => url.0.as_str(),
            ProxyChoice::None => "none",
            ProxyChoice::FromEnvironment => "",
        };
        (&connection.ca_file, proxy, connection.allow_http_loopback)
    });
    let times = (rule.deadline, rule.exchange_timeout, rule.identity.timeout);
    format!("{:?}", (connections, times, stamps, variables))
}

/// The files that a rule depends on.
fn files_of(rule: &Rule) -> impl Iterator<Item = PathBuf> + '_ {
    let of_source = match &rule.identity.source {
        SourceSpec::ClientCredentials(settings) => match &settings.client_secret {
            SecretPlace::File(path) => Some(path.clone()),
            SecretPlace::Variable(_) | SecretPlace::Credential(_) => None,
        },
        SourceSpec::File(file) => Some(file.path.clone()),
        SourceSpec::Env(_) => None,
    };
    let of_connections = [&rule.connection.ca_file, &rule.identity.connection.ca_file];
    of_source.into_iter().chain(of_connections.into_iter().flatten().cloned())
}

fn stamp(path: &Path) -> Result<(Stamp, u32), io::ErrorKind> {
    let metadata = std::fs::metadata(path).map_err(|error| error.kind())?;
    Ok((Stamp::of(&metadata), metadata.mode()))
}
