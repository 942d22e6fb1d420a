//! What the `[[registry]]` tables of a registries.conf make of a host (containers-registries.conf(5)):
//! they decide before any helper is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Value;

use super::registries_files::in_use;
use crate::world::World;

#[derive(Default, Deserialize)]
struct Conf {
    #[serde(default)]
    registry: Vec<Registry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Registry {
    prefix: String,
    location: String,
    blocked: bool,
    insecure: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Mirror {
    location: String,
}

/// Where podman goes for a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::command) struct Way {
    /// The file that says all of this.
    pub(in crate::command) file: PathBuf,
    /// Whether podman refuses to go there.
    pub(in crate::command) is_blocked: bool,
    /// Whether its certificate is not looked at.
    pub(in crate::command) is_insecure: bool,
    /// The host that is asked instead.
    pub(in crate::command) other_host: Option<String>,
    /// The hosts that are asked before.
    pub(in crate::command) mirrors: Vec<String>,
}

/// Where podman, buildah and skopeo go for a host; nothing where no file says anything of it.
pub(in crate::command) fn way_to(world: &World, host: &str) -> Option<Way> {
    let mut tables: BTreeMap<String, (PathBuf, Registry)> = BTreeMap::new();
    for file in in_use(world) {
        // A file that is no TOML fails podman as a whole, which is told where its helpers are read.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let read = toml::from_str(&text).map(|table| lowered(Value::Table(table)));
        let conf: Conf = read.ok().and_then(|it| it.try_into().ok()).unwrap_or_default();
        for table in conf.registry {
            let prefix = if table.prefix.is_empty() { &table.location } else { &table.prefix };
            tables.insert(prefix.clone(), (file.clone(), table));
        }
    }
    let covering = tables.into_iter().filter(|(prefix, _)| covers(prefix, host));
    let (prefix, (file, table)) = covering.max_by_key(|(prefix, _)| prefix.len())?;
    let of = |location: &str| location.split('/').next().unwrap_or_default().to_owned();
    let other = of(&table.location);
    let is_other = !other.is_empty() && other != host && other != of(&prefix);
    Some(Way {
        file,
        is_blocked: table.blocked,
        is_insecure: table.insecure,
        other_host: is_other.then_some(other),
        mirrors: table.mirror.iter().map(|mirror| of(&mirror.location)).collect(),
    })
}

/// With every key in lower case: podman compares them without regard to it.
fn lowered(value: Value) -> Value {
    match value {
        Value::Table(table) => {
            let lowered = table.into_iter().map(|(key, it)| (key.to_lowercase(), lowered(it)));
            Value::Table(lowered.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(lowered).collect()),
        other => other,
    }
}

/// Whether a table is for everything at a host.
fn covers(prefix: &str, host: &str) -> bool {
    match prefix.strip_prefix('*') {
        Some(domain) => domain.starts_with('.') && host.ends_with(domain),
        None => host.strip_prefix(prefix).is_some_and(|it| it.is_empty() || it.starts_with(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;

    fn way(text: &str, host: &str) -> Option<Way> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("registries.conf"), text).expect("written");
        let mut world = world_with(&[]);
        world.places.containers_configuration = folder.path().to_owned().into();
        world.places.home = Some(folder.path().join("home")).into();
        way_to(&world, host)
    }

    #[test]
    fn r46_what_the_tables_of_registries_conf_make_of_a_host_is_known() {
        let blocked = "[[registry]]\nlocation = \"quay\"\nblocked = true\n";
        for (text, host, wanted) in [
            ("", "quay", None),
            (blocked, "quay", Some((true, None, vec![]))),
            (blocked, "quay:8443", Some((true, None, vec![]))),
            (blocked, "quay.example.com", None),
            (
                "[[registry]]\nprefix = \"quay/org\"\nlocation = \"quay/org\"\nblocked = true\n",
                "quay",
                None,
            ),
            (
                "[[registry]]\nprefix = \"*.example.com\"\nblocked = true\n",
                "quay.example.com",
                Some((true, None, vec![])),
            ),
            (
                "[[registry]]\nprefix = \"quay\"\nlocation = \"new:5000/x\"\n",
                "quay",
                Some((false, Some("new:5000"), vec![])),
            ),
            (
                "[[registry]]\nlocation = \"quay\"\n[[registry.mirror]]\nlocation = \"m:1/a\"\n",
                "quay",
                Some((false, None, vec!["m:1"])),
            ),
            (
                "[[Registry]]\nLocation = \"quay\"\nBLOCKED = true\n",
                "quay",
                Some((true, None, vec![])),
            ),
            ("= 1", "quay", None),
        ] {
            let found = way(text, host);
            let found = found.as_ref().map(|way| {
                let mirrors: Vec<&str> = way.mirrors.iter().map(String::as_str).collect();
                (way.is_blocked, way.other_host.as_deref(), mirrors)
            });
            assert_eq!(found, wanted, "{host}: {text}");
        }
    }
}
