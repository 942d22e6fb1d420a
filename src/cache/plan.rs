//! A plan: what the configuration meant for one host, so that a cached `get` parses no TOML (R8,
//! R9).

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cache::entry::{EntryKey, settings_digest};
use crate::cache::seal::{FORMAT, checksum, sealed, unsealed};
use crate::cache::{Cache, escaped, suffix};
use crate::config::fingerprint::Fingerprint;
use crate::config::search_path::SearchPath;
use crate::config::settings::{Bearer, Rule, Settings};
use crate::failure::Failure;
use crate::robot::RobotName;
use crate::server::{Server, is_path_prefix};

/// The program's version: another one may have meant something else.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the configuration means for a host.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    version: String,
    host: String,
    fingerprint: Fingerprint,
    rules: Vec<PlannedRule>,
}

/// What one rule of the host means.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PlannedRule {
    /// Its path; empty for the host itself.
    path: String,
    /// How to look up its token, or nothing for a rule with a mistake: the files tell which.
    lookup: Option<Lookup>,
}

/// What is needed to find the entry of a rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lookup {
    robot: String,
    api_url: String,
    settings: String,
    /// What tells its bearer apart.
    pub bearer: Bearer,
    min_validity_ms: Option<u64>,
}

impl Lookup {
    /// How to find the entry of `rule`.
    pub fn of(rule: &Rule) -> Self {
        Self {
            robot: rule.robot.to_string(),
            api_url: rule.api_url.to_string(),
            settings: settings_digest(rule),
            bearer: rule.identity.source.bearer(),
            min_validity_ms: rule
                .min_validity
                .map(|least| u64::try_from(least.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// What a token should still have, where the rule says so.
    pub fn min_validity(&self) -> Option<Duration> {
        self.min_validity_ms.map(Duration::from_millis)
    }

    /// The key of the entry for this bearer under the rule of `server`.
    pub fn into_key(self, server: Server, bearer: Option<String>) -> Option<EntryKey> {
        Some(EntryKey {
            rule: server,
            robot: RobotName::parse(&self.robot).ok()?,
            api_url: self.api_url,
            settings: self.settings,
            bearer,
        })
    }
}

impl PlannedRule {
    fn of(server: &Server, rule: &Result<Rule, Failure>) -> Self {
        Self { path: server.path().to_owned(), lookup: rule.as_ref().ok().map(Lookup::of) }
    }
}

impl Plan {
    /// The plan for `host` out of what was read.
    pub fn of(host: &str, fingerprint: Fingerprint, settings: &Settings) -> Self {
        let rules = settings
            .rules
            .iter()
            .filter(|(server, _)| server.host() == host)
            .map(|(server, rule)| PlannedRule::of(server, rule))
            .collect();
        Self { version: VERSION.to_owned(), host: host.to_owned(), fingerprint, rules }
    }

    /// The rule with the longest path that covers `server`, and how to look up its token unless it
    /// has a mistake.
    pub fn into_rule_for(self, server: &Server) -> Option<(Server, Option<Lookup>)> {
        let rule = self
            .rules
            .into_iter()
            .filter(|rule| self.host == server.host() && is_path_prefix(&rule.path, server.path()))
            .max_by_key(|rule| rule.path.len())?;
        Some((server.beneath_host(&rule.path), rule.lookup))
    }
}

impl Cache<'_> {
    /// The plan for a host, if everything that it was made from is as it was.
    pub fn plan(&self, host: &str, search_path: &SearchPath) -> Option<Plan> {
        let plan: Plan = unsealed(&self.read(&name(host, search_path)?)?)?;
        let is_meant = plan.version == VERSION && plan.host == host;
        let holds = is_meant && plan.fingerprint.still_holds(search_path);
        (holds && plan.fingerprint.is_settled(self.world.clock.wall())).then_some(plan)
    }

    /// Keeps a plan, unless a file that it was made from is so young that it may change again
    /// without a trace: two edits within one tick of the clock look the same. `read` is the wall
    /// clock from before the files were read.
    pub fn keep_plan(&self, plan: &Plan, search_path: &SearchPath, read: Duration) {
        if !plan.fingerprint.is_settled(read) {
            self.world.debug("no plan is kept: the configuration has just changed");
            return;
        }
        let Some(name) = name(&plan.host, search_path) else { return };
        match self.write_plan(plan, &name) {
            Ok(()) => self.sweep(),
            Err(error) => self.world.debug(format_args!("no plan is kept: {error:#}")),
        }
    }

    fn write_plan(&self, plan: &Plan, name: &str) -> anyhow::Result<()> {
        let content = sealed(plan).context("a path is no text")?;
        let size = content.len() as u64;
        let room = self.folder.reserve(size, self.world.random_number()).context("no room")?;
        room.write(name, &content).with_context(|| format!("the plan `{name}`"))
    }
}

/// The name of a host's plan; nothing where a path is not UTF-8.
fn name(host: &str, search_path: &SearchPath) -> Option<String> {
    let key = postcard::to_allocvec(&(FORMAT, search_path, host)).ok()?;
    Some(format!("{}.{:016x}{}", escaped(host), checksum(&key), suffix::PLAN))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::config::settings::{TokenFile, TokenVariable};
    use crate::digest::hex;

    fn chosen(path: &[u8]) -> SearchPath {
        SearchPath::Chosen(PathBuf::from(OsStr::from_bytes(path)))
    }

    #[test]
    fn r8_what_is_written_changes_only_with_its_format() {
        let fingerprint = serde_json::json!({
            "search_path": {"chosen": "/a"},
            "stamps": [["/a", [1, 2, 3, 4, 5]], ["/b", null]],
        });
        let bearers = [
            Bearer::Settings,
            Bearer::SecretVariable("V".to_owned()),
            Bearer::Credential("c".to_owned()),
            Bearer::TokenFile(TokenFile { path: PathBuf::from("/t"), json_field: None }),
            Bearer::TokenVariable(TokenVariable { variable: "T".to_owned(), json_field: None }),
        ];
        let rules = bearers.map(|bearer| PlannedRule {
            path: "p".to_owned(),
            lookup: Some(Lookup {
                robot: "a+b".to_owned(),
                api_url: "u".to_owned(),
                settings: "s".to_owned(),
                bearer,
                min_validity_ms: Some(1),
            }),
        });
        let plan = Plan {
            version: "v".to_owned(),
            host: "h".to_owned(),
            fingerprint: serde_json::from_value(fingerprint).expect("a fingerprint"),
            rules: rules.into(),
        };
        let shown = (FORMAT, hex(&sealed(&plan).expect("bytes")));
        let wanted = "982251760cb5209f0176016800022f6102022f6101010203080a022f6200050170010361\
                      2b620175017300010101700103612b6201750173010156010101700103612b620175017302\
                      0163010101700103612b620175017303022f7400010101700103612b620175017304015400\
                      0101";
        assert_eq!(shown, (2, wanted.to_owned()), "a change needs another FORMAT");
    }

    #[test]
    fn r9_a_search_path_that_is_not_utf_8_has_no_plan() {
        assert!(name("h", &chosen(b"/a")).is_some_and(|name| name.starts_with("h.")));
        assert_eq!(name("h", &chosen(b"/\xff")), None);
    }
}
