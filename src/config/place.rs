//! Where a table of the configuration and each of its keys is written: what a hint names, so that
//! nobody has to look for the line to change.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where a table is written.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        file: PathBuf,
        /// The line of the table's header.
        line: usize,
        /// The keys that are written, each with its line.
        keys: Vec<(&'static str, usize)>,
    },
    /// In variables that stand for its keys.
    Variables {
        /// Every variable that there is, with its key.
        names: &'static [(&'static str, &'static str)],
        /// Those that are set.
        set: Vec<&'static str>,
        /// The one that the table begins with.
        first: &'static str,
    },
}

impl Place {
    /// The file that the table is written in.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { file, .. } => Some(file),
            Self::Variables { .. } => None,
        }
    }

    /// A key as a person finds it: `` `robot` in FILE:LINE ``, or the variable that stands for it.
    /// A key that is not written is one of the table.
    pub fn key(&self, key: &str) -> String {
        self.named(key, &format!("`{key}`"))
    }

    /// The one of these keys that is written, as a person finds it.
    pub fn key_of(&self, keys: &[&str]) -> String {
        self.key(keys.iter().find(|key| self.has(key)).unwrap_or(&keys[0]))
    }

    /// A key with the value that it should have, as a person would write it: `` `robot = "acme+ci"`
    /// in FILE:LINE ``, or `QUAYFED_ROBOT=acme+ci`.
    pub fn key_with(&self, key: &str, value: &str) -> String {
        match self.variable(key) {
            Some(variable) => format!("{variable}={value}"),
            None if key == "scopes" => self.named(key, &format!("`{key} = [\"{value}\"]`")),
            None => self.named(key, &format!("`{key} = \"{value}\"`")),
        }
    }

    fn named(&self, key: &str, shown: &str) -> String {
        match self {
            Self::File { file, keys, .. } => match keys.iter().find(|(name, _)| *name == key) {
                Some((_, line)) => format!("{shown} in {}:{line}", file.display()),
                None => format!("{shown} in the table at {self}"),
            },
            Self::Variables { .. } => self
                .variable(key)
                .map_or_else(|| format!("{shown} in a configuration file"), str::to_owned),
        }
    }

    /// Whether a key is written.
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::File { keys, .. } => keys.iter().any(|(name, _)| *name == key),
            Self::Variables { set, .. } => self.variable(key).is_some_and(|it| set.contains(&it)),
        }
    }

    /// The variable that stands for a key; of two, the one that is set.
    fn variable(&self, key: &str) -> Option<&'static str> {
        let Self::Variables { names, set, .. } = self else { return None };
        let all = || names.iter().filter(|(_, of)| *of == key).map(|(name, _)| *name);
        all().find(|name| set.contains(name)).or_else(|| all().next())
    }
}

/// The table: `FILE:LINE`, or the variable that it begins with.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, .. } => write!(formatter, "{}:{line}", file.display()),
            Self::Variables { first, .. } => formatter.write_str(first),
        }
    }
}

/// A failure at what a key names, told by somebody who does not know where the key is written.
#[derive(Debug)]
pub struct AtKey {
    /// The key.
    pub key: &'static str,
    /// The failure, its hint without the place.
    pub failure: Failure,
}

impl AtKey {
    /// The failure with the place of its key.
    pub fn placed(&self, place: &Place) -> Failure {
        let hint = format!("{} ({})", self.failure.hint(), place.key(self.key));
        Failure::new(self.failure.cause(), hint)
    }
}

#[cfg(test)]
impl Place {
    /// A table in `/etc/quayfed/config.toml` with these keys, one in each line below its header.
    pub(crate) fn example(line: usize, keys: &[&'static str]) -> Self {
        let keys = keys.iter().enumerate();
        Self::File {
            file: "/etc/quayfed/config.toml".into(),
            line,
            keys: keys.map(|(at, key)| (*key, line + 1 + at)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::rule_from_variables;
    use crate::config::testing::Desk;

    #[test]
    fn a_key_is_named_with_its_own_line_however_its_table_is_written() {
        for (written, robot, source) in [
            (
                "[registry.h]\n\n\nrobot = \"acme+ci\"\nidentity = \"k\"\n\n[identity]\n\nk.variable = \"T\"\n\nk.source = \"env\"",
                4,
                11,
            ),
            (
                "registry.h.identity = \"k\"\nregistry.h.robot = \"acme+ci\"\n[identity.k]\nvariable = \"T\"\nsource = \"env\"",
                2,
                5,
            ),
            (
                "registry = { h = { robot = \"acme+ci\", identity = \"k\" } }\n[identity]\nk = {\n  source = \"env\",\n  variable = \"T\",\n}",
                1,
                4,
            ),
        ] {
            let desk = Desk::new().with_user_file(written);
            let rule = desk.rule("h").expect("a rule");
            let shown = |text: String| desk.shortened_text(&text);
            let wanted = format!("`robot` in config.toml:{robot}");
            assert_eq!(shown(rule.place.key("robot")), wanted, "{written}");
            let wanted = format!("`source` in config.toml:{source}");
            assert_eq!(shown(rule.identity.place.key("source")), wanted, "{written}");
        }
    }

    #[test]
    fn a_key_that_is_not_written_is_named_with_the_line_of_its_table() {
        let desk = Desk::new().with_user_file(
            "[identity.k]\nsource = \"env\"\nvariable = \"T\"\n\n[registry.h]\nrobot = \"acme+ci\"\nidentity = \"k\"",
        );
        let place = desk.rule("h").expect("a rule").place;
        let shown = |text: String| desk.shortened_text(&text);
        assert_eq!(shown(place.key("ca_file")), "`ca_file` in the table at config.toml:5");
        assert_eq!(shown(place.key_of(&["api_url", "robot"])), "`robot` in config.toml:6");
        assert_eq!(
            shown(place.key_of(&["api_url", "ca_file"])),
            "`api_url` in the table at config.toml:5"
        );
        let wanted = "`on_error = \"anonymous\"` in the table at config.toml:5";
        assert_eq!(shown(place.key_with("on_error", "anonymous")), wanted);
    }

    #[test]
    fn a_key_of_variables_is_named_by_the_one_that_stands_for_it() {
        let desk = Desk::new().with_variables(&[
            ("QUAYFED_REGISTRY", "h"),
            ("QUAYFED_ROBOT", "acme+ci"),
            ("QUAYFED_TOKEN_VARIABLE", "CI_TOKEN"),
        ]);
        let made = rule_from_variables(&desk.world).expect("a registry");
        let rule = made.expect("a rule").1.expect("no mistake");
        assert_eq!(rule.place.key("robot"), "QUAYFED_ROBOT");
        assert_eq!(rule.place.key("ca_file"), "QUAYFED_CA_FILE");
        assert_eq!(rule.place.key("proxy"), "`proxy` in a configuration file");
        let place = &rule.identity.place;
        assert_eq!(place.key("variable"), "QUAYFED_TOKEN_VARIABLE");
        assert_eq!(place.key_of(&["path", "variable"]), "QUAYFED_TOKEN_VARIABLE");
        assert_eq!(place.key_with("issuer", "https://i"), "QUAYFED_ISSUER=https://i");
    }
}
