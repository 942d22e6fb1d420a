//! An entry: one robot token, with everything that says what it is good for (R10, R13, R17).

use std::io;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cache::Cache;
use crate::cache::freshness::{Freshness, LONGEST_LIFE, SPREAD, Schedule};
use crate::cache::name::{Kind, Name};
use crate::cache::seal::{FORMAT, ROOM, checksum, failed, sealed, unsealed};
use crate::config::settings::{ClientAuth, Rule};
use crate::digest::sha256;
use crate::files::{Reservation, describe};
use crate::moment::Moment;
use crate::printable::PlainText;
use crate::robot::RobotName;
use crate::secret::Secret;
use crate::server::{Server, parts};

/// The longest robot token that is taken, in bytes (R21); Quay's have about 825.
pub const LONGEST_TOKEN: usize = 8 << 10;

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

    fn name(&self, kind: Kind) -> Name {
        self.text(&self.rule.to_string()).name(kind)
    }

    /// Itself as text. `rule` is that of its rule's server.
    fn text<'a>(&'a self, rule: &'a str) -> KeyText<'a> {
        KeyText {
            rule,
            robot: self.robot.as_str(),
            api_url: &self.api_url,
            settings: &self.settings,
            bearer: self.bearer.as_deref(),
        }
    }

    /// What the names of its files begin with.
    pub fn stem(&self) -> String {
        self.name(Kind::Entry).stem().to_owned()
    }

    /// The name of its lock file.
    pub(super) fn lock_name(&self) -> Name {
        self.name(Kind::Lock)
    }

    /// The name of the lock file of whoever is to take the lock's place.
    pub(super) fn next_lock_name(&self) -> Name {
        self.name(Kind::NextLock)
    }
}

/// An [`EntryKey`] as text, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyText<'a> {
    pub(super) rule: &'a str,
    pub(super) robot: &'a str,
    pub(super) api_url: &'a str,
    pub(super) settings: &'a str,
    pub(super) bearer: Option<&'a str>,
}

impl KeyText<'_> {
    fn name(&self, kind: Kind) -> Name {
        let (host, _) = parts(self.rule);
        let bearer = self.bearer.map(|bearer| checksum(bearer.as_bytes()));
        Name::of_entry(kind, host, self.settings, bearer)
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDiscovery {
    /// The issuer.
    pub issuer: String,
    /// Its token endpoint.
    pub token_endpoint: String,
    /// How clients authenticate there.
    pub client_auth: ClientAuth,
    /// When it was read.
    pub read: Moment,
    /// What tells its owner that nobody else has written it.
    pub seal: [u8; 32],
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

    /// After how much time it is Spent under a rule with this `min_validity`; zero once it is.
    pub fn spent_in(&self, min_validity: Option<Duration>, now: Moment) -> Duration {
        let schedule = Schedule::of(self.lifetime, min_validity, self.spread);
        self.left(now).saturating_sub(schedule.spent)
    }

    /// What its age means for a rule with this `min_validity`.
    pub fn freshness(&self, min_validity: Option<Duration>, now: Moment) -> Freshness {
        Schedule::of(self.lifetime, min_validity, self.spread).freshness(self.left(now))
    }
}

/// An entry as it is written. It repeats what its name was made of. What cannot have been written
/// makes all of it count as absent (R31).
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    key: KeyText<'a>,
    #[serde(borrow, deserialize_with = "token")]
    token: PlainText<'a>,
    #[serde(deserialize_with = "lifetime")]
    lifetime_ms: u64,
    obtained: Moment,
    /// The boot that the boot clock belongs to, where a file outlives one.
    boot_id: Option<&'a str>,
    #[serde(deserialize_with = "spread")]
    spread: f64,
    discovery: Option<WrittenDiscovery<'a>>,
}

/// A [`KeptDiscovery`] as it is written.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct WrittenDiscovery<'a> {
    issuer: &'a str,
    token_endpoint: &'a str,
    client_auth: ClientAuth,
    read: Moment,
    seal: [u8; 32],
}

fn token<'de: 'a, 'a, D: Deserializer<'de>>(reader: D) -> Result<PlainText<'a>, D::Error> {
    let token = PlainText::deserialize(reader)?;
    let is_one = token.expose().starts_with("eyJ") && token.expose().len() <= LONGEST_TOKEN;
    if is_one { Ok(token) } else { Err(D::Error::custom("no JWT")) }
}

fn lifetime<'de, D: Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    let milliseconds = u64::deserialize(reader)?;
    let is_one = (1..=LONGEST_LIFE.as_millis()).contains(&milliseconds.into());
    if is_one { Ok(milliseconds) } else { Err(D::Error::custom("no life")) }
}

fn spread<'de, D: Deserializer<'de>>(reader: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(reader)?;
    let is_one = (SPREAD.0..=SPREAD.1).contains(&factor);
    if is_one { Ok(factor) } else { Err(D::Error::custom("no factor")) }
}

impl Written<'_> {
    fn entry(&self) -> Entry {
        let owned = |written: WrittenDiscovery<'_>| KeptDiscovery {
            issuer: written.issuer.to_owned(),
            token_endpoint: written.token_endpoint.to_owned(),
            client_auth: written.client_auth,
            read: written.read,
            seal: written.seal,
        };
        Entry {
            token: Secret::new(self.token.expose().to_owned()),
            lifetime: self.lifetime(),
            obtained: self.obtained,
            spread: self.spread,
            discovery: self.discovery.map(owned),
        }
    }

    const fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime_ms)
    }
}

impl Cache<'_> {
    /// What `make` makes of the token for a key, if it is not worse than `worst` under a rule with
    /// this `min_validity`. The token is not copied on the way: each copy would have to be wiped.
    pub fn with_token<T>(
        &self,
        key: KeyText<'_>,
        min_validity: Option<Duration>,
        worst: Freshness,
        make: impl FnOnce(PlainText<'_>) -> T,
    ) -> Option<T> {
        let bytes = self.read(&key.name(Kind::Entry))?;
        let written = self.written(&bytes).filter(|written| written.key == key)?;
        let left = written.obtained.left(written.lifetime(), self.world.now());
        let schedule = Schedule::of(written.lifetime(), min_validity, written.spread);
        (schedule.freshness(left) <= worst).then(|| make(written.token))
    }

    /// The entry for a key, Spent or not.
    pub fn entry(&self, key: &EntryKey) -> Option<Entry> {
        let rule = key.rule.to_string();
        let key = key.text(&rule);
        let bytes = self.read(&key.name(Kind::Entry))?;
        let written = self.written(&bytes).filter(|written| written.key == key)?;
        Some(written.entry())
    }

    /// The key and the entry in a file, where it stands under the name that its key makes.
    pub(super) fn entry_in(&self, name: &Name) -> Option<(EntryKey, Entry)> {
        let bytes = self.read(name)?;
        let written = self.written(&bytes)?;
        let key = EntryKey {
            rule: Server::parse(written.key.rule).ok()?,
            robot: RobotName::parse(written.key.robot).ok()?,
            api_url: written.key.api_url.to_owned(),
            settings: written.key.settings.to_owned(),
            bearer: written.key.bearer.map(str::to_owned),
        };
        (key.name(Kind::Entry) == *name).then(|| (key, written.entry()))
    }

    /// What was written, if it is of this boot.
    fn written<'a>(&self, bytes: &'a [u8]) -> Option<Written<'a>> {
        let written: Written<'a> = unsealed(bytes)?;
        // The boot clock starts anew at a boot; a folder in memory is empty then.
        let is_of_this_boot = self.folder.is_in_memory()
            || written.boot_id.is_some_and(|id| self.world.boot_id().as_deref() == Some(id));
        is_of_this_boot.then_some(written)
    }

    /// Makes room for an entry before it is asked for.
    pub fn reserve_entry(&self) -> io::Result<Reservation<'_>> {
        self.folder.reserve(ROOM as u64, self.world.random_number())
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
        let rule = key.rule.to_string();
        let boot_id = if self.folder.is_in_memory() { None } else { self.world.boot_id() };
        let content = sealed(&Written {
            key: key.text(&rule),
            token: PlainText::of(entry.token.expose())
                .ok_or_else(|| failed("the token", "not plain text"))?,
            lifetime_ms: u64::try_from(entry.lifetime.as_millis()).unwrap_or(u64::MAX),
            obtained: entry.obtained,
            boot_id: boot_id.as_deref(),
            spread: entry.spread,
            discovery: entry.discovery.as_ref().map(|kept| WrittenDiscovery {
                issuer: &kept.issuer,
                token_endpoint: &kept.token_endpoint,
                client_auth: kept.client_auth,
                read: kept.read,
                seal: kept.seal,
            }),
        })?;
        let name = key.name(Kind::Entry);
        let written = name.write(room, &content);
        written.map_err(|error| failed(format_args!("the entry `{name}`"), describe(&error)))?;
        self.sweep();
        Ok(())
    }

    /// Forgets what discovery said, since the endpoint that it named failed.
    pub fn forget_discovery(&self, key: &EntryKey, useless: &KeptDiscovery) {
        let entry = self.entry(key).filter(|entry| entry.discovery.as_ref() == Some(useless));
        let Some(entry) = entry else { return };
        let entry = Entry { discovery: None, ..entry };
        let forgotten = self
            .reserve_entry()
            .map_err(|error| failed("no room", describe(&error)))
            .and_then(|room| self.keep_entry(room, key, &entry));
        if let Err(error) = forgotten {
            self.world.debug(format_args!("discovery could not be forgotten: {error:#}"));
        }
    }

    /// Removes the entry for a key.
    pub fn drop_entry(&self, key: &EntryKey) {
        if let Err(error) = self.folder.remove(&key.name(Kind::Entry)) {
            self.world.warn(format_args!("the cached token could not be removed: {error}"));
        }
    }

    /// Removes the entries of all rules that `is_meant` says, and what their locks remember of
    /// failures. `host` is the rules' host.
    pub fn erase(&self, host: &str, is_meant: impl Fn(&Server) -> bool) {
        for name in self.folder.names().iter().filter(|name| name.is_for(host)) {
            match name.kind() {
                Kind::Entry => {
                    // One of an earlier boot too, and one that only another version can read: they
                    // count as absent elsewhere, and may hold a token that lives.
                    let rule = self.read(name).and_then(|bytes| {
                        Server::parse(unsealed::<Written<'_>>(&bytes)?.key.rule).ok()
                    });
                    if rule.is_none_or(|rule| is_meant(&rule)) {
                        let _ = self.folder.remove(name);
                    }
                }
                Kind::Lock => self.clear_attempt(name, &is_meant),
                Kind::NextLock | Kind::Plan | Kind::Temporary => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    #[test]
    fn r10_what_is_written_changes_only_with_its_format() {
        let moment = Moment::new(Duration::from_hours(500_000), Duration::from_mins(5));
        let written = Written {
            key: KeyText {
                rule: "h/org",
                robot: "acme+ci",
                api_url: "https://h/",
                settings: "5e77",
                bearer: Some("b"),
            },
            token: PlainText::of("eyJ.o.k").expect("plain text"),
            lifetime_ms: 3_600_000,
            obtained: moment,
            boot_id: None,
            spread: 0.75,
            discovery: Some(WrittenDiscovery {
                issuer: "i",
                token_endpoint: "e",
                client_auth: ClientAuth::ClientSecretPost,
                read: moment,
                seal: [7; 32],
            }),
        };
        let shown = (FORMAT, hex(&sealed(&written).expect("bytes")));
        let wanted = "b41b1ece489cc57e05682f6f72670761636d652b63690a68747470733a2f2f682f04356537370101\
                      620765794a2e6f2e6b80dddb0180a0f1c2b134e0a71200000000000000e83f01016901650180a0f1\
                      c2b134e0a7120707070707070707070707070707070707070707070707070707070707070707";
        assert_eq!(shown, (4, wanted.to_owned()), "a change needs another FORMAT");
    }
}
