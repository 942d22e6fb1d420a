//! A plan: what the configuration meant for one host, so that a cached `get` parses no TOML (R8,
//! R9).

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::entry::{KeyText, settings_digest};
use crate::cache::name::Name;
use crate::cache::seal::{FORMAT, checksum, failed, sealed, unsealed};
use crate::cache::{Cache, LARGEST};
use crate::config::fingerprint::Fingerprint;
use crate::config::search_path::SearchPath;
use crate::config::settings::{Bearer, Rule, Settings};
use crate::digest::is_hex;
use crate::failure::Failure;
use crate::files::describe;
use crate::printable::PlainText;
use crate::server::{Server, is_path_prefix, parts};
use crate::world::World;

/// The program's version: another one may have meant something else.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the configuration means for a host. What was read back is borrowed from its file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan<'a> {
    version: &'a str,
    /// The format, the search path and the host: its name is made of these bytes.
    key: &'a [u8],
    #[serde(borrow)]
    fingerprint: Fingerprint<'a>,
    #[serde(borrow)]
    rules: Vec<PlannedRule<'a>>,
}

/// What one rule of the host means.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlannedRule<'a> {
    /// Its server.
    #[serde(borrow)]
    pub rule: Cow<'a, str>,
    /// How to look up its token, or nothing for a rule with a mistake: the files tell which.
    #[serde(borrow)]
    pub lookup: Option<Lookup<'a>>,
}

/// What is needed to find the entry of a rule.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lookup<'a> {
    /// The robot.
    #[serde(borrow)]
    pub robot: Cow<'a, str>,
    #[serde(borrow)]
    api_url: Cow<'a, str>,
    #[serde(borrow)]
    settings: Cow<'a, str>,
    /// What tells its bearer apart.
    pub bearer: Bearer,
    min_validity_ms: Option<u64>,
}

impl Lookup<'_> {
    /// How to find the entry of `rule`.
    pub fn of(rule: &Rule) -> Lookup<'static> {
        Lookup {
            robot: rule.robot.to_string().into(),
            api_url: rule.api_url.to_string().into(),
            settings: settings_digest(rule).into(),
            bearer: rule.identity.source.bearer(),
            min_validity_ms: rule
                .min_validity
                .map(|least| u64::try_from(least.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn is_one(&self) -> bool {
        is_hex(&self.settings, 64) && PlainText::of(&self.robot).is_some()
    }

    /// What a token should still have, where the rule says so.
    pub fn min_validity(&self) -> Option<Duration> {
        self.min_validity_ms.map(Duration::from_millis)
    }

    /// The key of the entry for this bearer under the rule of the server `rule`.
    pub fn key<'k>(&'k self, rule: &'k str, bearer: Option<&'k str>) -> KeyText<'k> {
        KeyText {
            rule,
            robot: &self.robot,
            api_url: &self.api_url,
            settings: &self.settings,
            bearer,
        }
    }
}

impl PlannedRule<'_> {
    fn of(server: &Server, rule: &Result<Rule, Failure>) -> PlannedRule<'static> {
        PlannedRule { rule: server.to_string().into(), lookup: rule.as_ref().ok().map(Lookup::of) }
    }

    /// The path of its server; empty for the host itself.
    pub fn path(&self) -> &str {
        parts(&self.rule).1
    }
}

impl<'a> Plan<'a> {
    /// The rule with the longest path that covers `path` on the plan's host. What cannot have been
    /// written of it counts as a mistake, and the files tell (R31).
    pub fn into_rule_for(self, path: &str) -> Option<PlannedRule<'a>> {
        let rules = self.rules.into_iter().filter(|rule| is_path_prefix(rule.path(), path));
        let PlannedRule { rule, lookup } = rules.max_by_key(|rule| rule.path().len())?;
        Some(PlannedRule { rule, lookup: lookup.filter(Lookup::is_one) })
    }
}

/// What the configuration means for every host that has no rule, in one plan: however many are asked
/// for, they take no more room.
#[derive(Debug, Serialize, Deserialize)]
struct PlanOfOthers<'a> {
    version: &'a str,
    /// The format and the search path: its name is made of these bytes.
    key: &'a [u8],
    #[serde(borrow)]
    fingerprint: Fingerprint<'a>,
    /// A digest of each host that has rules, one after the other.
    hosts: &'a [u8],
}

impl PlanOfOthers<'_> {
    /// Whether a host has no rule; one that only looks like one that has counts as that one.
    fn has_no_rule_for(&self, host: &str) -> bool {
        let digest = digest(host);
        self.hosts.chunks_exact(digest.len()).all(|of| of != digest)
    }
}

/// What tells a host from nearly every other one.
fn digest(host: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = checksum(host.as_bytes()).to_le_bytes();
    [a, b, c, d]
}

/// The content of a plan's file.
#[derive(Debug)]
pub struct PlanFile<'p> {
    search_path: &'p SearchPath,
    key: Vec<u8>,
    content: Vec<u8>,
}

impl PlanFile<'_> {
    /// The plan, if everything that it was made from is as it was.
    pub fn plan(&self, world: &World) -> Option<Plan<'_>> {
        let plan: Plan<'_> = unsealed(&self.content)?;
        let is_meant = plan.version == VERSION && plan.key == self.key;
        let holds = is_meant && plan.fingerprint.still_holds(world, self.search_path);
        (holds && plan.fingerprint.is_settled(world.clock.wall())).then_some(plan)
    }
}

impl Cache<'_> {
    /// The file of the plan for a host.
    pub fn plan_file<'p>(&self, host: &str, search_path: &'p SearchPath) -> Option<PlanFile<'p>> {
        let key = key(host, search_path)?;
        let content = self.folder.read(&name(host, &key), LARGEST)?;
        Some(PlanFile { search_path, key, content })
    }

    /// Whether no file has a rule for a host, as was found out once for all such hosts, if everything
    /// that it was found in is as it was.
    pub fn has_no_rule_for(&self, host: &str, search_path: &SearchPath) -> bool {
        let Some(key) = key(OTHERS, search_path) else { return false };
        let Some(content) = self.folder.read(&Name::of_other_hosts(checksum(&key)), LARGEST) else {
            return false;
        };
        let Some(plan) = unsealed::<PlanOfOthers<'_>>(&content) else { return false };
        let is_meant = plan.version == VERSION && plan.key == key;
        is_meant
            && plan.has_no_rule_for(host)
            && plan.fingerprint.still_holds(self.world, search_path)
            && plan.fingerprint.is_settled(self.world.clock.wall())
    }

    /// Removes the plan of a host that once had rules.
    pub fn drop_plan(&self, host: &str, search_path: &SearchPath) {
        if let Some(key) = key(host, search_path) {
            // One that stays is found not to hold again.
            let _ = self.folder.remove(&name(host, &key));
        }
    }

    /// Keeps the plan for a host out of what was read, or that for all hosts without rules where it
    /// is one of them; `has_rule` is one that has a rule elsewhere. Not so if a file that it was made
    /// from is so young that it may change again without a trace: two edits within one tick of the
    /// clock look the same. `read` is the wall clock from before the files were read.
    pub fn keep_plan(
        &self,
        host: &str,
        search_path: &SearchPath,
        fingerprint: Fingerprint<'_>,
        (settings, has_rule): (&Settings, Option<&str>),
        read: Duration,
    ) {
        if !fingerprint.is_settled(read) {
            self.world.debug("no plan is kept: the configuration has just changed");
            return;
        }
        let rules = settings.rules.iter().filter(|(server, _)| server.host() == host);
        let rules: Vec<_> = rules.map(|(server, rule)| PlannedRule::of(server, rule)).collect();
        let is_ours = !rules.is_empty() || has_rule == Some(host);
        let Some(key) = key(if is_ours { host } else { OTHERS }, search_path) else { return };
        let written = if is_ours {
            let plan = Plan { version: VERSION, key: &key, fingerprint, rules };
            self.write_plan(&plan, &name(host, &key))
        } else {
            self.drop_plan(host, search_path);
            // The order is that of hosts.
            let mut hosts: Vec<&str> = settings.rules.keys().map(Server::host).collect();
            hosts.dedup();
            let hosts: Vec<u8> = hosts.into_iter().flat_map(digest).collect();
            let plan = PlanOfOthers { version: VERSION, key: &key, fingerprint, hosts: &hosts };
            self.write_plan(&plan, &Name::of_other_hosts(checksum(&key)))
        };
        match written {
            Ok(()) => self.sweep(),
            Err(error) => self.world.debug(format_args!("no plan is kept: {error:#}")),
        }
    }

    fn write_plan(&self, plan: &impl Serialize, name: &Name) -> anyhow::Result<()> {
        let content = sealed(plan).map_err(|error| failed("a path is no text", error))?;
        let size = content.len() as u64;
        if size > LARGEST {
            return Err(failed("it would be too large", format_args!("{size} bytes")));
        }
        let room = self.folder.reserve(size, self.world.random_number());
        let room = room.map_err(|error| failed("no room", describe(&error)))?;
        let written = name.write(room, &content);
        written.map_err(|error| failed(format_args!("the plan `{name}`"), describe(&error)))
    }
}

/// What stands for all hosts that have no rule, in the place of a host.
const OTHERS: &str = "";

/// What a plan is the plan of; nothing where a path is not UTF-8.
fn key(host: &str, search_path: &SearchPath) -> Option<Vec<u8>> {
    const ROOM: usize = 256;
    postcard::to_extend(&(FORMAT, search_path, host), Vec::with_capacity(ROOM)).ok()
}

/// The name of a host's plan with this key.
fn name(host: &str, key: &[u8]) -> Name {
    Name::of_plan(host, checksum(key))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::settings::{TokenFile, TokenVariable};
    use crate::digest::hex;

    fn chosen(path: &[u8]) -> SearchPath {
        SearchPath::Chosen(PathBuf::from(OsStr::from_bytes(path)))
    }

    #[test]
    fn r8_what_is_written_changes_only_with_its_format() {
        let fingerprint = r#"[["/a", [1, 2, 3, 4, 5]], ["/b", null]]"#;
        let key = key("h", &chosen(b"/a")).expect("a key");
        let bearers = [
            Bearer::Settings,
            Bearer::SecretVariable("V".to_owned()),
            Bearer::Credential("c".to_owned()),
            Bearer::TokenFile(TokenFile { path: PathBuf::from("/t"), json_field: None }),
            Bearer::TokenVariable(TokenVariable { variable: "T".to_owned(), json_field: None }),
        ];
        let rules = bearers.map(|bearer| PlannedRule {
            rule: "h/p".into(),
            lookup: Some(Lookup {
                robot: "a+b".into(),
                api_url: "u".into(),
                settings: "s".into(),
                bearer,
                min_validity_ms: Some(1),
            }),
        });
        let plan = Plan {
            version: "v",
            key: &key,
            fingerprint: serde_json::from_str(fingerprint).expect("a fingerprint"),
            rules: rules.into(),
        };
        let shown = (FORMAT, hex(&sealed(&plan).expect("bytes")));
        let wanted = "23f39102ada274e70176070400022f61016802022f6101010203080a022f62000503682f70010361\
                      2b620175017300010103682f700103612b6201750173010156010103682f700103612b6201750173\
                      020163010103682f700103612b620175017303022f7400010103682f700103612b62017501730401\
                      54000101";
        assert_eq!(shown, (4, wanted.to_owned()), "a change needs another FORMAT");
    }

    #[test]
    fn r8_what_is_written_of_other_hosts_changes_only_with_its_format() {
        let fingerprint = serde_json::from_str(r#"[["/a", null]]"#).expect("a fingerprint");
        let hosts = ["h", "i"].map(digest).concat();
        let plan = PlanOfOthers { version: "v", key: b"k", fingerprint, hosts: &hosts };
        assert!(plan.has_no_rule_for("j") && !plan.has_no_rule_for("i"));
        let shown = (FORMAT, hex(&sealed(&plan).expect("bytes")));
        let wanted = "e3c3c3b696889df10176016b01022f6100081a1380096e02f997";
        assert_eq!(shown, (4, wanted.to_owned()), "a change needs another FORMAT");
    }

    fn usual(config_home: Option<&str>, home: Option<&str>) -> SearchPath {
        SearchPath::Usual {
            system: Path::new("/etc/quayfed").into(),
            config_home: config_home.map(PathBuf::from),
            home: home.map(PathBuf::from),
        }
    }

    #[test]
    fn r8_a_key_changes_only_with_its_format() {
        let shown = (FORMAT, hex(&key("h", &usual(Some("/c"), Some("/h"))).expect("a key")));
        let wanted = "04010c2f6574632f7175617966656401022f6301022f680168";
        assert_eq!(shown, (4, wanted.to_owned()), "a change needs another FORMAT");
    }

    #[test]
    fn r9_a_plan_is_that_of_its_own_host_and_search_path() {
        let world = World::of_process();
        let others = [
            ("i", usual(Some("/c"), Some("/h"))),
            ("h", usual(Some("/h"), Some("/c"))),
            ("h", usual(Some("/c"), Some("/i"))),
            ("h", usual(Some("/d"), Some("/h"))),
            ("h", usual(None, Some("/h"))),
            ("h", usual(Some("/c"), None)),
            ("h", chosen(b"/c")),
        ];
        let own = usual(Some("/c"), Some("/h"));
        let key_of_plan = key("h", &own).expect("a key");
        let fingerprint = Fingerprint::empty();
        let plan = Plan { version: VERSION, key: &key_of_plan, fingerprint, rules: Vec::new() };
        let content = sealed(&plan).expect("bytes");
        let is_taken = |host: &str, search_path: &SearchPath| {
            let key = key(host, search_path).expect("a key");
            PlanFile { search_path, key, content: content.to_vec() }.plan(&world).is_some()
        };
        assert!(is_taken("h", &own));
        for (host, search_path) in &others {
            assert!(!is_taken(host, search_path), "{host}, {search_path:?}");
        }
    }

    #[test]
    fn r31_a_rule_that_cannot_have_been_written_is_a_mistake() {
        let digest = "0123456789abcdef".repeat(4);
        let is_one = |robot: &str, settings: &str| {
            let lookup = Lookup {
                robot: robot.to_owned().into(),
                api_url: "https://h/".into(),
                settings: settings.to_owned().into(),
                bearer: Bearer::Settings,
                min_validity_ms: Some(u64::MAX),
            };
            let rules = vec![PlannedRule { rule: "h".into(), lookup: Some(lookup) }];
            let fingerprint = Fingerprint::empty();
            let plan = Plan { version: VERSION, key: b"k", fingerprint, rules };
            plan.into_rule_for("").expect("a rule").lookup.is_some()
        };
        assert!(is_one("acme+ci", &digest));
        assert!(!is_one("acme+ci\u{1b}[2J", &digest));
        assert!(!is_one("acme+ci", "../../../../../../etc/shadow"), "it makes a file's name");
        assert!(!is_one("acme+ci", &digest.to_uppercase()));
        assert!(!is_one("acme+ci", &digest[1..]));
    }

    #[test]
    fn r9_a_search_path_that_is_not_utf_8_has_no_plan() {
        assert!(key("h", &chosen(b"/a")).is_some_and(|key| name("h", &key).is_for("h")));
        assert_eq!(key("h", &chosen(b"/\xff")), None);
        let home = Some(PathBuf::from(OsStr::from_bytes(b"/\xff")));
        let system = Path::new("/etc/quayfed").into();
        assert_eq!(key("h", &SearchPath::Usual { system, config_home: None, home }), None);
    }
}
