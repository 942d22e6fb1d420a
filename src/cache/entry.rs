//! An entry: one robot token, with everything that says what it is good for (R10, R13, R17).

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::freshness::{Freshness, Schedule};
use crate::cache::{Cache, checksum, escaped, sealed, suffix};
use crate::config::settings::Rule;
use crate::digest::sha256;
use crate::files::Reservation;
use crate::moment::Moment;
use crate::robot::RobotName;
use crate::secret::Secret;
use crate::server::Server;

/// The version of what is written; part of every entry's name, so that another version's entries
/// are not even looked at.
const FORMAT: u32 = 1;
/// Room for the largest robot token and all that stands beside it, in bytes.
const RESERVED: u64 = 32 * 1024;

/// What a cached token is good for. Two keys that differ in anything are two entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryKey {
    /// The rule's server.
    pub rule: Server,
    /// The robot.
    pub robot: RobotName,
    /// Where it was exchanged.
    pub api_url: String,
    /// A digest of all this and of the identity's settings.
    pub settings: String,
    /// What tells its bearer apart beyond the settings.
    pub bearer: Option<String>,
}

impl EntryKey {
    /// The key of what `rule` gives to this bearer.
    pub fn of(rule: &Rule, bearer: Option<String>) -> Self {
        Self {
            rule: rule.server.clone(),
            robot: rule.robot.clone(),
            api_url: rule.api_url.to_string(),
            settings: settings_digest(rule),
            bearer,
        }
    }

    fn name(&self, suffix: &str) -> String {
        let digest = self.settings.get(..32).unwrap_or(&self.settings);
        let bearer = self
            .bearer
            .as_ref()
            .map(|bearer| format!("-{:016x}", checksum(bearer.as_bytes())))
            .unwrap_or_default();
        format!("{}.{digest}{bearer}{suffix}", escaped(self.rule.host()))
    }

    /// What the names of its files begin with.
    pub fn stem(&self) -> String {
        self.name("")
    }

    /// The name of its lock file.
    pub(super) fn lock_name(&self) -> String {
        self.name(suffix::LOCK)
    }
}

/// A digest of the format, the rule, the robot, the API URL and the identity's settings without
/// secrets: hexadecimal SHA-256. Settings of the connection are not part of it: they say how a
/// token is fetched, not whose it is.
pub fn settings_digest(rule: &Rule) -> String {
    let parts = (
        FORMAT,
        rule.server.to_string(),
        rule.robot.as_str(),
        rule.api_url.as_str(),
        &rule.identity.source,
    );
    let text = serde_json::to_vec(&parts).unwrap_or_default();
    sha256(&text)
}

/// A robot token with what is known of its life.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The token.
    pub token: Secret<String>,
    /// How long it lives.
    pub lifetime: Duration,
    /// The moment right before it was asked for.
    pub obtained: Moment,
    /// Its factor within [`SPREAD`](super::freshness::SPREAD).
    pub spread: f64,
    /// What discovery said, and when.
    pub discovery: Option<KeptDiscovery>,
}

/// What an issuer's discovery document said, kept so that a refresh is two requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDiscovery {
    /// The issuer.
    pub issuer: String,
    /// Its token endpoint.
    pub token_endpoint: String,
    /// When it was read.
    pub read: Moment,
}

impl Entry {
    /// What is left of its life.
    pub fn left(&self, now: Moment) -> Duration {
        self.obtained.left(self.lifetime, now)
    }

    /// After how much time it is due to be renewed under a rule with this `min_validity`; zero once
    /// it is.
    pub fn due_in(&self, min_validity: Option<Duration>, now: Moment) -> Duration {
        let schedule = Schedule::of(self.lifetime, min_validity, self.spread);
        self.left(now).saturating_sub(schedule.aging)
    }

    /// What its age means for a rule with this `min_validity`.
    pub fn freshness(&self, min_validity: Option<Duration>, now: Moment) -> Freshness {
        Schedule::of(self.lifetime, min_validity, self.spread).freshness(self.left(now))
    }
}

/// An entry as it is written. It repeats what its name was made of.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    rule: String,
    robot: String,
    api_url: String,
    settings: String,
    bearer: Option<String>,
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    token: Secret<String>,
    lifetime_ms: u64,
    obtained: Moment,
    /// The boot that the boot clock belongs to, where a file outlives one.
    boot_id: Option<String>,
    spread: f64,
    discovery: Option<KeptDiscovery>,
}

impl Written {
    fn into_entry(self) -> Entry {
        Entry {
            token: self.token,
            lifetime: Duration::from_millis(self.lifetime_ms),
            obtained: self.obtained,
            spread: self.spread,
            discovery: self.discovery,
        }
    }
}

fn write_secret<S: Serializer>(secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Cache<'_> {
    /// The entry for a key, Spent or not.
    pub fn entry(&self, key: &EntryKey) -> Option<Entry> {
        let written = self.written(&key.name(suffix::ENTRY))?;
        let is_of_key = written.settings == key.settings
            && written.bearer == key.bearer
            && written.rule == key.rule.to_string()
            && written.robot == key.robot.as_str()
            && written.api_url == key.api_url;
        is_of_key.then(|| written.into_entry())
    }

    /// The key and the entry in a file, where it stands under the name that its key makes.
    pub(super) fn entry_in(&self, name: &str) -> Option<(EntryKey, Entry)> {
        let written = self.written(name)?;
        let key = EntryKey {
            rule: Server::parse(&written.rule).ok()?,
            robot: RobotName::parse(&written.robot).ok()?,
            api_url: written.api_url.clone(),
            settings: written.settings.clone(),
            bearer: written.bearer.clone(),
        };
        (key.name(suffix::ENTRY) == name).then(|| (key, written.into_entry()))
    }

    /// What is written in a file, if it is of this format and of this boot.
    fn written(&self, name: &str) -> Option<Written> {
        let bytes = zeroize::Zeroizing::new(self.read(name)?);
        let written: Written = serde_json::from_slice(&bytes).ok()?;
        // The boot clock starts anew at a boot; a folder in memory is empty then.
        let is_of_this_boot = self.folder.is_in_memory()
            || (written.boot_id.is_some() && written.boot_id == self.world.boot_id());
        (written.format == FORMAT && is_of_this_boot).then_some(written)
    }

    /// Makes room for an entry before it is asked for.
    pub fn reserve_entry(&self) -> io::Result<Reservation<'_>> {
        self.folder.reserve(RESERVED, self.world.random_number())
    }

    /// Writes an entry into the room that was made for it, unless the one that is there has more
    /// left.
    pub fn keep_entry(
        &self,
        room: Reservation<'_>,
        key: &EntryKey,
        entry: &Entry,
    ) -> anyhow::Result<()> {
        let now = self.world.now();
        if self.entry(key).is_some_and(|other| other.left(now) > entry.left(now)) {
            self.world.debug("the entry that is there has more left, and stays");
            return Ok(());
        }
        self.write_entry(room, key, entry)
    }

    /// Writes an entry whatever is there.
    fn write_entry(
        &self,
        room: Reservation<'_>,
        key: &EntryKey,
        entry: &Entry,
    ) -> anyhow::Result<()> {
        let written = Written {
            format: FORMAT,
            rule: key.rule.to_string(),
            robot: key.robot.to_string(),
            api_url: key.api_url.clone(),
            settings: key.settings.clone(),
            bearer: key.bearer.clone(),
            token: entry.token.clone(),
            lifetime_ms: u64::try_from(entry.lifetime.as_millis()).unwrap_or(u64::MAX),
            obtained: entry.obtained,
            boot_id: if self.folder.is_in_memory() { None } else { self.world.boot_id() },
            spread: entry.spread,
            discovery: entry.discovery.clone(),
        };
        let json = zeroize::Zeroizing::new(serde_json::to_vec(&written)?);
        let content = zeroize::Zeroizing::new(sealed(&json));
        let name = key.name(suffix::ENTRY);
        room.write(&name, &content).with_context(|| format!("the entry `{name}`"))?;
        self.sweep();
        Ok(())
    }

    /// Forgets what discovery said, since the endpoint that it named failed.
    pub fn forget_discovery(&self, key: &EntryKey) {
        let Some(entry) = self.entry(key).filter(|entry| entry.discovery.is_some()) else { return };
        let entry = Entry { discovery: None, ..entry };
        let forgotten = self
            .reserve_entry()
            .context("no room")
            .and_then(|room| self.keep_entry(room, key, &entry));
        if let Err(error) = forgotten {
            self.world.debug(format_args!("discovery could not be forgotten: {error:#}"));
        }
    }

    /// Removes the entry for a key.
    pub fn drop_entry(&self, key: &EntryKey) {
        if let Err(error) = self.folder.remove(&key.name(suffix::ENTRY)) {
            self.world.warn(format_args!("the cached token could not be removed: {error}"));
        }
    }

    /// Removes the entries of all rules that `is_meant` says, and what their locks remember of
    /// failures. `host` is the rules' host.
    pub fn erase(&self, host: &str, is_meant: impl Fn(&Server) -> bool) {
        let prefix = format!("{}.", escaped(host));
        for name in self.folder.names().unwrap_or_default() {
            if !name.starts_with(&prefix) {
                continue;
            }
            if name.ends_with(suffix::ENTRY) {
                let rule = self.read(&name).and_then(|bytes| rule_inside(&bytes));
                if rule.is_some_and(|rule| is_meant(&rule)) {
                    let _ = self.folder.remove(&name);
                }
            } else if name.ends_with(suffix::LOCK) {
                self.clear_attempt(&name, &is_meant);
            }
        }
    }
}

/// The rule that is written in an entry or an attempt record.
pub(super) fn rule_inside(bytes: &[u8]) -> Option<Server> {
    #[derive(Deserialize)]
    struct OfRule {
        rule: String,
    }
    let of: OfRule = serde_json::from_slice(bytes).ok()?;
    Server::parse(&of.rule).ok()
}
