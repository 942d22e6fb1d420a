//! A configuration file as it was written: TOML, its tables, and the line of everything in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Owner};
use super::suggestion;
use super::table::{At, Entry, Origin, Table, Value, quoted_host};
use crate::failure::Failure;
use crate::server::Server;

const REGISTRY: &str = "registry";
const IDENTITY: &str = "identity";

/// The tables that one file has.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    /// A registry that is written twice has a mistake instead of a table.
    pub(super) registries: BTreeMap<Server, Result<Table<'a>, Failure>>,
    pub(super) identities: BTreeMap<&'a str, Table<'a>>,
}

/// A file that is TOML.
#[derive(Debug)]
pub(super) struct Document<'a> {
    path: &'a Path,
    lines: Lines,
    root: DeTable<'a>,
}

type Key<'a> = Spanned<Cow<'a, str>>;

impl<'a> Document<'a> {
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Failure> {
        let lines = Lines::of(text);
        match DeTable::parse(text) {
            Ok(root) => {
                let document = Self { path, lines, root: root.into_inner() };
                document.check()?;
                Ok(document)
            }
            Err(error) => {
                let line = lines.at(&error.span().unwrap_or_default());
                Err(Failure::new(
                    format!("{}:{line}: this is not TOML: {}", path.display(), error.message()),
                    "correct that line: texts stand in double quotes, names of tables in brackets, each key once",
                ))
            }
        }
    }

    /// The tables of the file.
    pub(super) fn tables(&self) -> Tables<'_> {
        Tables {
            registries: self.registries().unwrap_or_default(),
            identities: self.identities().unwrap_or_default(),
        }
    }

    /// Finds a mistake that leaves nothing of the file to be used.
    fn check(&self) -> Result<(), Failure> {
        if let Some((key, _)) = by_line(&self.root)
            .into_iter()
            .find(|(key, _)| ![REGISTRY, IDENTITY].contains(&key.get_ref().as_ref()))
        {
            let name = key.get_ref();
            return Err(self.failure(
                key,
                format_args!("`{name}`: there is no such table"),
                match suggestion::nearest(name, [REGISTRY, IDENTITY]) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "possible here: [registry.\"HOST\"] and [identity.NAME]".to_owned(),
                },
            ));
        }
        self.registries()?;
        self.identities()?;
        Ok(())
    }

    fn registries(&self) -> Result<BTreeMap<Server, Result<Table<'_>, Failure>>, Failure> {
        let mut registries = BTreeMap::new();
        let mut keys: BTreeMap<Server, &Key<'_>> = BTreeMap::new();
        for (key, table) in self.tables_of(REGISTRY)? {
            let name = key.get_ref();
            self.check_quotes(key, table)?;
            let server = Server::parse(name).map_err(|error| {
                self.failure(
                    key,
                    format_args!("{} is no name of a registry: it {}", quoted_host(name), error.0),
                    "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
                )
            })?;
            let table = match keys.get(&server) {
                None => Ok(self.table(REGISTRY, key, table)),
                Some(first) => Err(self.failure(
                    key,
                    format_args!(
                        "[registry.\"{name}\"] is the same registry as [registry.\"{}\"] in line {}",
                        first.get_ref(),
                        self.lines.at(&first.span())
                    ),
                    "keep one of the two tables",
                )),
            };
            keys.entry(server.clone()).or_insert(key);
            registries.insert(server, table);
        }
        Ok(registries)
    }

    fn identities(&self) -> Result<BTreeMap<&str, Table<'_>>, Failure> {
        let tables = self.tables_of(IDENTITY)?.into_iter();
        Ok(tables
            .map(|(key, table)| (key.get_ref().as_ref(), self.table(IDENTITY, key, table)))
            .collect())
    }

    /// The named tables of a kind, in the order in which they are written.
    fn tables_of(&self, kind: &str) -> Result<Vec<(&Key<'a>, &DeTable<'a>)>, Failure> {
        let Some((key, value)) = self.root.get_key_value(kind) else {
            return Ok(Vec::new());
        };
        let form = if kind == REGISTRY { "[registry.\"HOST\"]" } else { "[identity.NAME]" };
        let no_table = |key: &Key<'_>, name: &str, value: &DeValue<'_>| {
            self.failure(
                key,
                format_args!("`{name}` must be a table, not {}", type_of(value)),
                format!("write each as a table of its own: {form}"),
            )
        };
        let DeValue::Table(tables) = value.get_ref() else {
            return Err(no_table(key, kind, value.get_ref()));
        };
        by_line(tables)
            .into_iter()
            .map(|(key, value)| match value.get_ref() {
                DeValue::Table(table) => Ok((key, table)),
                other => Err(no_table(key, &format!("{kind}.{}", key.get_ref()), other)),
            })
            .collect()
    }

    /// `[registry.quay.example.com]` is a table `example` within a registry `quay`, and would leave
    /// the registry that was meant without its rule.
    fn check_quotes(&self, key: &Key<'_>, table: &DeTable<'_>) -> Result<(), Failure> {
        let mut name = key.get_ref().to_string();
        let (mut inner, mut innermost) = (table, None);
        while let Some((key, table)) = inner.iter().find_map(part_of_a_name) {
            name = format!("{name}.{}", key.get_ref());
            (inner, innermost) = (table, Some(key));
        }
        let Some(innermost) = innermost else { return Ok(()) };
        Err(self.failure(
            innermost,
            format_args!("[registry.{name}]: a name with dots in it stands in quotes"),
            format!("write [registry.\"{name}\"]"),
        ))
    }

    fn table<'b>(&'b self, kind: &str, key: &'b Key<'a>, table: &'b DeTable<'a>) -> Table<'b> {
        let name = key.get_ref();
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let title = if kind == IDENTITY && !name.is_empty() && name.chars().all(is_bare) {
            format!("{kind}.{name}")
        } else {
            format!("{kind}.\"{name}\"")
        };
        let line = self.lines.at(&key.span());
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                at: At::Line(self.lines.at(&key.span())),
                value: value_of(value.get_ref()),
            })
            .collect();
        Table::new(Origin::File { file: self.path, line, title }, entries)
    }

    fn failure(
        &self,
        key: &Key<'_>,
        text: impl std::fmt::Display,
        hint: impl AsRef<str>,
    ) -> Failure {
        let line = self.lines.at(&key.span());
        Failure::new(format!("{}:{line}: {text}", self.path.display()), hint)
    }
}

/// A table within a registry's, unless it was meant as the value of a key.
fn part_of_a_name<'b, 'a>(
    (key, value): (&'b Key<'a>, &'b Spanned<DeValue<'a>>),
) -> Option<(&'b Key<'a>, &'b DeTable<'a>)> {
    let DeValue::Table(table) = value.get_ref() else { return None };
    let is_key = |key: &Key<'_>| keys::owners(key.get_ref()).contains(&Owner::Registry);
    let holds_a_registry =
        || table.iter().any(|(key, value)| is_key(key) || value.get_ref().is_table());
    (!is_key(key) || holds_a_registry()).then_some((key, table))
}

/// The entries of a table in the order in which they are written.
fn by_line<'b, 'a>(table: &'b DeTable<'a>) -> Vec<(&'b Key<'a>, &'b Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Where each line ends.
#[derive(Debug)]
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect(),
        )
    }

    /// The number of the line in which a span begins, from 1.
    fn at(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|end| *end < span.start) + 1
    }
}

fn value_of<'b>(value: &'b DeValue<'_>) -> Value<'b> {
    match value {
        DeValue::String(text) => Value::Text(Cow::Borrowed(text)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Table(_) => Value::Table,
        other => Value::Other(type_of(other)),
    }
}

const fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
