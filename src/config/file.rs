//! A configuration file as it was written: TOML, its tables, and the line of everything in it.
//!
//! It is read expression by expression, each a header or a key with its value: the library takes
//! fifty times the size of a text for the parse of all of it at once. How the expressions make
//! tables together is known here, as far as our tables go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::keys::{self, Owner};
use super::suggestion;
use super::table::{At, Entry, Origin, Table, Value, quoted_host};
use crate::failure::Failure;
use crate::server::Server;

const REGISTRY: &str = "registry";
const IDENTITY: &str = "identity";

/// The longest expression, in bytes: one that is longer has a bracket or a quote that was not closed.
const LONGEST: usize = 64 << 10;
/// The most tables of a kind in one file.
const MOST_TABLES: usize = 20_000;
/// The most keys in one table; ours has two dozen.
const MOST_KEYS: usize = 100;
/// The most parts of a dotted key.
const MOST_PARTS: usize = 32;

/// The tables that one file has.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    /// A registry that is written twice has a mistake instead of a table.
    pub(super) registries: BTreeMap<Server, Result<Written<'a>, Failure>>,
    pub(super) identities: BTreeMap<&'a str, Written<'a>>,
}

/// A table that is written in a file, before anybody looks into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    document: &'a Document<'a>,
    kind: &'static str,
    table: &'a Named<'a>,
}

impl<'a> Written<'a> {
    pub(super) fn table(self) -> Table<'a> {
        self.document.table(self.kind, self.table)
    }
}

/// A file that is TOML, and whose tables are ours.
#[derive(Debug)]
pub(super) struct Document<'a> {
    path: &'a Path,
    registries: Kind<'a>,
    identities: Kind<'a>,
}

/// The tables of one kind, in the order in which they are written.
#[derive(Debug, Default)]
struct Kind<'a> {
    made: Option<Made>,
    line: usize,
    tables: Vec<Named<'a>>,
    places: BTreeMap<Cow<'a, str>, usize>,
    /// What stands in the place of a table.
    misuse: Option<Failure>,
}

/// A table with a name.
#[derive(Debug)]
struct Named<'a> {
    name: Cow<'a, str>,
    line: usize,
    made: Made,
    nodes: Vec<Node<'a>>,
}

/// How a table came to be, which says what may be added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// By the header of a table within it.
    Implied,
    /// By its own header.
    Header,
    /// By dotted keys of this section.
    Dotted(u32),
    /// As a value: nothing may be added.
    Inline,
}

/// A key and its value.
#[derive(Debug)]
struct Node<'a> {
    key: Cow<'a, str>,
    line: u32,
    value: NodeValue<'a>,
}

#[derive(Debug)]
enum NodeValue<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
    List(Vec<Self>),
    Table(Vec<Node<'a>>),
    Other(&'static str),
}

/// A part of a key, and its line.
type Key<'a> = (Cow<'a, str>, usize);

impl<'a> Document<'a> {
    /// Reads a file. The error is one that leaves nothing of it to be used (rule R33).
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Failure> {
        let mut reader = Reader {
            document: Self { path, registries: Kind::default(), identities: Kind::default() },
            section: Some(Vec::new()),
            number: 0,
            stranger: None,
        };
        let mut line = 1;
        for expression in Expressions::of(text) {
            reader.read(&expression, line)?;
            line += newlines(expression.text);
        }
        let Reader { document, stranger, .. } = reader;
        if let Some(failure) = stranger.or_else(|| document.registries.misuse.clone()) {
            return Err(failure);
        }
        for table in &document.registries.tables {
            document.server(table)?;
        }
        match document.identities.misuse.clone() {
            Some(failure) => Err(failure),
            None => Ok(document),
        }
    }

    /// The tables of the file: of the registries those of `host`, or all.
    pub(super) fn tables(&self, host: Option<&str>) -> Tables<'_> {
        let identities = self.identities.tables.iter();
        let identities = identities.map(|table| (&*table.name, self.written(IDENTITY, table)));
        Tables { registries: self.registries(host), identities: identities.collect() }
    }

    /// The names of the identities that registries of all hosts name.
    pub(super) fn used_identities(&self) -> impl Iterator<Item = &str> {
        self.registries.tables.iter().filter_map(|table| {
            let of_identity = |node: &&Node<'_>| node.key == IDENTITY;
            match &table.nodes.iter().find(of_identity)?.value {
                NodeValue::Text(name) => Some(&**name),
                _ => None,
            }
        })
    }

    fn written<'b>(&'b self, kind: &'static str, table: &'b Named<'a>) -> Written<'b> {
        Written { document: self, kind, table }
    }

    fn registries(&self, host: Option<&str>) -> BTreeMap<Server, Result<Written<'_>, Failure>> {
        let mut registries = BTreeMap::new();
        let mut firsts: BTreeMap<Server, &Named<'_>> = BTreeMap::new();
        for table in &self.registries.tables {
            // Every name was looked at when the file was read.
            let Ok(server) = self.server(table) else { continue };
            if host.is_some_and(|host| host != server.host()) {
                continue;
            }
            let made = match firsts.get(&server) {
                None => Ok(self.written(REGISTRY, table)),
                Some(first) => Err(self.failure(
                    table.line,
                    format_args!(
                        "[registry.\"{}\"] is the same registry as [registry.\"{}\"] in line {}",
                        table.name, first.name, first.line
                    ),
                    "keep one of the two tables",
                )),
            };
            firsts.entry(server.clone()).or_insert(table);
            registries.insert(server, made);
        }
        registries
    }

    fn server(&self, table: &Named<'_>) -> Result<Server, Failure> {
        self.check_quotes(table)?;
        Server::parse(&table.name).map_err(|error| {
            self.failure(
                table.line,
                format_args!(
                    "{} is no name of a registry: it {}",
                    quoted_host(&table.name),
                    error.0
                ),
                "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
            )
        })
    }

    /// `[registry.quay.example.com]` is a table `example` within a registry `quay`, and would leave
    /// the registry that was meant without its rule.
    fn check_quotes(&self, table: &Named<'_>) -> Result<(), Failure> {
        let mut name = table.name.to_string();
        let (mut inner, mut innermost) = (&table.nodes, None);
        while let Some((node, nodes)) = inner.iter().find_map(part_of_a_name) {
            name = format!("{name}.{}", node.key);
            (inner, innermost) = (nodes, Some(node));
        }
        let Some(innermost) = innermost else { return Ok(()) };
        Err(self.failure(
            innermost.line as usize,
            format_args!("[registry.{name}]: a name with dots in it stands in quotes"),
            format!("write [registry.\"{name}\"]"),
        ))
    }

    fn table<'b>(&'b self, kind: &str, table: &'b Named<'a>) -> Table<'b> {
        let name = &table.name;
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let title = if kind == IDENTITY && !name.is_empty() && name.chars().all(is_bare) {
            format!("{kind}.{name}")
        } else {
            format!("{kind}.\"{name}\"")
        };
        let entry = |node: &'b Node<'a>| Entry {
            key: &node.key,
            at: At::Line(node.line as usize),
            value: value_of(&node.value),
        };
        let entries = table.nodes.iter().map(entry).collect();
        Table::new(Origin::File { file: self.path, line: table.line, title }, entries)
    }

    fn failure(&self, line: usize, text: impl std::fmt::Display, hint: impl AsRef<str>) -> Failure {
        Failure::new(format!("{}:{line}: {text}", self.path.display()), hint)
    }
}

/// A document that grows.
struct Reader<'a> {
    document: Document<'a>,
    /// The table that keys belong to, by its header: none where nobody has use for it.
    section: Option<Vec<Key<'a>>>,
    number: u32,
    /// The first table that there is no such kind of.
    stranger: Option<Failure>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, expression: &Expression<'a>, line: usize) -> Result<(), Failure> {
        let text = expression.text;
        if text.len() > LONGEST {
            return Err(self.document.failure(
                line,
                format_args!("what begins here is longer than {} KiB", LONGEST >> 10),
                "close its bracket or quote, or write a table of its own for each registry",
            ));
        }
        if expression.dots >= MOST_PARTS {
            return Err(self.document.failure(
                line,
                format_args!("a key has more than {MOST_PARTS} parts"),
                "a name with dots in it stands in quotes, such as [registry.\"quay.example.com\"]",
            ));
        }
        let line_at = |at: usize| line + newlines(&text[..at.min(text.len())]);
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let span = error.span().unwrap_or_default();
                return Err(if error.message() == "duplicate key" {
                    let key = text.get(span.clone()).unwrap_or_default();
                    let first = text.get(..span.start).and_then(|before| before.rfind(key));
                    self.duplicate(key, line_at(span.start), first.map(line_at))
                } else {
                    self.document.failure(
                        line_at(span.start),
                        format_args!("this is not TOML: {}", error.message()),
                        "correct that line: quote strings, put names of tables in brackets, and \
                         write each key once",
                    )
                });
            }
        };
        let mut keys = Vec::new();
        let mut table = table;
        loop {
            let Some((key, value)) = table.into_iter().next() else {
                // A header, or nothing but a comment.
                return if keys.is_empty() { Ok(()) } else { self.header(keys, false) };
            };
            let key_line = line_at(key.span().start);
            keys.push((key.into_inner(), key_line));
            let is_last = !expression.is_header && keys.len() > expression.dots;
            match value.into_inner() {
                DeValue::Table(inner) if !is_last => table = inner,
                DeValue::Array(_) if expression.is_header => return self.header(keys, true),
                value => return self.assign(keys, node_value(value, &line_at)),
            }
        }
    }

    /// `[a.b]`, or `[[a.b]]`, which makes a list of tables.
    fn header(&mut self, keys: Vec<Key<'a>>, is_list: bool) -> Result<(), Failure> {
        self.number += 1;
        self.section = None;
        let Some((kind_name, kind_line)) = keys.first().cloned() else { return Ok(()) };
        let Some(kind) = self.document.kind(&kind_name) else {
            self.tell_stranger(&kind_name, kind_line);
            return Ok(());
        };
        let [_, rest @ ..] = &keys[..] else { return Ok(()) };
        let Some(((name, line), inner)) = rest.split_first() else {
            if is_list {
                let failure = no_table(&self.document, kind_line, &kind_name, "a list");
                self.misuse(&kind_name, failure);
                return Ok(());
            }
            if !matches!(kind.made, None | Some(Made::Implied)) {
                let first = kind.line;
                return Err(self.duplicate(&kind_name, kind_line, Some(first)));
            }
            kind.make(Made::Header, kind_line);
            self.section = Some(keys);
            return Ok(());
        };
        if kind.made == Some(Made::Inline) {
            let first = kind.line;
            return Err(self.duplicate(&kind_name, kind_line, Some(first)));
        }
        if kind.made.is_none() {
            kind.make(Made::Implied, kind_line);
        }
        let is_own = inner.is_empty();
        let made = if is_own { Made::Header } else { Made::Implied };
        match kind.find(name) {
            None => self.add(&kind_name, (name.clone(), *line), made, Vec::new())?,
            Some(table) if is_own && table.made == Made::Implied => table.made = Made::Header,
            Some(table) if is_own || table.made == Made::Inline => {
                let first = table.line;
                return Err(self.duplicate(name, *line, Some(first)));
            }
            Some(_) => {}
        }
        if is_list && is_own {
            let shown = format!("{kind_name}.{name}");
            let failure = no_table(&self.document, *line, &shown, "a list");
            self.misuse(&kind_name, failure);
            return Ok(());
        }
        if !is_own {
            let value =
                if is_list { NodeValue::Other("a list") } else { NodeValue::Table(Vec::new()) };
            self.put(&kind_name, name, inner, value)?;
        }
        self.section = (!is_list).then_some(keys);
        Ok(())
    }

    /// `a.b = value`, in the section that there is.
    fn assign(&mut self, keys: Vec<Key<'a>>, value: NodeValue<'a>) -> Result<(), Failure> {
        let Some(section) = &self.section else { return Ok(()) };
        let depth = section.len();
        let path: Vec<Key<'a>> = section.iter().cloned().chain(keys).collect();
        let [(kind_name, kind_line), rest @ ..] = &path[..] else { return Ok(()) };
        let number = self.number;
        let Some(kind) = self.document.kind(kind_name) else {
            self.tell_stranger(kind_name, *kind_line);
            return Ok(());
        };
        if depth == 0 {
            let made = if rest.is_empty() { Made::Inline } else { Made::Dotted(number) };
            if kind.made.is_some_and(|it| it != made || it == Made::Inline) {
                let first = kind.line;
                return Err(self.duplicate(kind_name, *kind_line, Some(first)));
            }
            if kind.made.is_none() {
                kind.make(made, *kind_line);
            }
        }
        match rest {
            [] => match value {
                NodeValue::Table(nodes) => nodes.into_iter().try_for_each(|node| {
                    self.add_value(kind_name, (node.key, node.line as usize), node.value)
                }),
                other => {
                    let failure = no_table(&self.document, *kind_line, kind_name, type_of(&other));
                    self.misuse(kind_name, failure);
                    Ok(())
                }
            },
            [name] => self.add_value(kind_name, name.clone(), value),
            [(name, line), inner @ ..] => {
                match kind.find(name) {
                    None => {
                        let key = (name.clone(), *line);
                        self.add(kind_name, key, Made::Dotted(number), Vec::new())?;
                    }
                    Some(table) if depth < 2 && table.made != Made::Dotted(number) => {
                        let first = table.line;
                        return Err(self.duplicate(name, *line, Some(first)));
                    }
                    Some(_) => {}
                }
                self.put(kind_name, name, inner, value)
            }
        }
    }

    /// Adds what is written as a value where a table with a name should be.
    fn add_value(
        &mut self,
        kind_name: &str,
        (name, line): Key<'a>,
        value: NodeValue<'a>,
    ) -> Result<(), Failure> {
        let first = self.document.kind(kind_name).and_then(|kind| Some(kind.find(&name)?.line));
        if let Some(first) = first {
            return Err(self.duplicate(&name, line, Some(first)));
        }
        match value {
            NodeValue::Table(nodes) if nodes.len() <= MOST_KEYS => {
                self.add(kind_name, (name, line), Made::Inline, nodes)
            }
            NodeValue::Table(_) => Err(self.too_many(line, "keys", MOST_KEYS)),
            other => {
                let shown = format!("{kind_name}.{name}");
                let failure = no_table(&self.document, line, &shown, type_of(&other));
                self.misuse(kind_name, failure);
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        kind_name: &str,
        (name, line): Key<'a>,
        made: Made,
        nodes: Vec<Node<'a>>,
    ) -> Result<(), Failure> {
        let Some(kind) = self.document.kind(kind_name) else { return Ok(()) };
        if kind.tables.len() >= MOST_TABLES {
            return Err(self.too_many(line, "tables of a kind", MOST_TABLES));
        }
        // What stands before is not added to any more, as far as a sound file goes.
        if let Some(last) = kind.tables.last_mut() {
            last.nodes.shrink_to_fit();
        }
        kind.places.insert(name.clone(), kind.tables.len());
        kind.tables.push(Named { name, line, made, nodes });
        Ok(())
    }

    fn put(
        &mut self,
        kind_name: &str,
        name: &str,
        path: &[Key<'a>],
        value: NodeValue<'a>,
    ) -> Result<(), Failure> {
        let table = self.document.kind(kind_name).and_then(|kind| kind.find(name));
        let Some(table) = table else { return Ok(()) };
        match put(&mut table.nodes, path, value) {
            Ok(()) => Ok(()),
            Err(NotPut::Twice { key, line, first }) => {
                Err(self.duplicate(&key, line, Some(first as usize)))
            }
            Err(NotPut::TooMany { line }) => Err(self.too_many(line, "keys", MOST_KEYS)),
        }
    }

    fn misuse(&mut self, kind_name: &str, failure: Failure) {
        if let Some(kind) = self.document.kind(kind_name) {
            kind.misuse.get_or_insert(failure);
        }
    }

    fn tell_stranger(&mut self, name: &str, line: usize) {
        let hint = match suggestion::nearest(name, [REGISTRY, IDENTITY]) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "expected one of: [registry.\"HOST\"], [identity.NAME]".to_owned(),
        };
        let text = format_args!("`{name}`: there is no such table");
        let failure = || self.document.failure(line, text, hint);
        if self.stranger.is_none() {
            self.stranger = Some(failure());
        }
    }

    fn duplicate(&self, key: &str, line: usize, first: Option<usize>) -> Failure {
        let first = first.map(|first| format!(", which is in line {first} already"));
        self.document.failure(
            line,
            format_args!("duplicate key `{key}`{}", first.unwrap_or_default()),
            "keep one of the two",
        )
    }

    fn too_many(&self, line: usize, what: &str, most: usize) -> Failure {
        self.document.failure(
            line,
            format_args!("there are more than {most} {what}"),
            "this is no configuration of ours, or it belongs into several files",
        )
    }
}

/// Why a value found no place.
enum NotPut<'a> {
    Twice { key: Cow<'a, str>, line: usize, first: u32 },
    TooMany { line: usize },
}

fn put<'a>(
    nodes: &mut Vec<Node<'a>>,
    path: &[Key<'a>],
    value: NodeValue<'a>,
) -> Result<(), NotPut<'a>> {
    let Some(((key, line), rest)) = path.split_first() else { return Ok(()) };
    let number = u32::try_from(*line).unwrap_or(u32::MAX);
    let count = nodes.len();
    match nodes.iter_mut().find(|node| node.key == *key) {
        None if count >= MOST_KEYS => Err(NotPut::TooMany { line: *line }),
        None => {
            let value = if rest.is_empty() {
                value
            } else {
                let mut inner = Vec::new();
                put(&mut inner, rest, value)?;
                NodeValue::Table(inner)
            };
            nodes.push(Node { key: key.clone(), line: number, value });
            Ok(())
        }
        Some(node) => match (&mut node.value, rest.is_empty(), &value) {
            (NodeValue::Table(inner), false, _) => put(inner, rest, value),
            // A table within one of ours is a mistake, however often it is written.
            (NodeValue::Table(_), true, NodeValue::Table(_)) => Ok(()),
            _ => Err(NotPut::Twice { key: key.clone(), line: *line, first: node.line }),
        },
    }
}

impl<'a> Document<'a> {
    fn kind(&mut self, name: &str) -> Option<&mut Kind<'a>> {
        match name {
            REGISTRY => Some(&mut self.registries),
            IDENTITY => Some(&mut self.identities),
            _ => None,
        }
    }
}

impl<'a> Kind<'a> {
    const fn make(&mut self, made: Made, line: usize) {
        (self.made, self.line) = (Some(made), line);
    }

    fn find(&mut self, name: &str) -> Option<&mut Named<'a>> {
        self.tables.get_mut(*self.places.get(name)?)
    }
}

fn no_table(document: &Document<'_>, line: usize, name: &str, found: &str) -> Failure {
    let form = if name.starts_with(REGISTRY) { "[registry.\"HOST\"]" } else { "[identity.NAME]" };
    document.failure(
        line,
        format_args!("`{name}` must be a table, not {found}"),
        format!("write each as a table of its own: {form}"),
    )
}

/// One expression of TOML, with its line end.
struct Expression<'a> {
    text: &'a str,
    is_header: bool,
    /// The dots in its key.
    dots: usize,
}

/// The expressions of a text: each ends with its line, unless a bracket or a quote is open.
struct Expressions<'a> {
    text: &'a str,
    tokens: toml_parser::lexer::Lexer<'a>,
    start: usize,
}

impl<'a> Expressions<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, tokens: Source::new(text).lex(), start: 0 }
    }
}

impl<'a> Iterator for Expressions<'a> {
    type Item = Expression<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start;
        let (mut depth, mut dots, mut has_value) = (0usize, 0, false);
        let mut is_header = None;
        for token in self.tokens.by_ref() {
            let is_end = match token.kind() {
                TokenKind::Newline => depth == 0,
                TokenKind::Eof => true,
                TokenKind::Whitespace | TokenKind::Comment => false,
                kind => {
                    let is_header = *is_header.get_or_insert(kind == TokenKind::LeftSquareBracket);
                    match kind {
                        TokenKind::Dot if !has_value => dots += 1,
                        TokenKind::Equals => has_value = true,
                        TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket
                            if has_value && !is_header =>
                        {
                            depth += 1;
                        }
                        TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                            depth = depth.saturating_sub(1);
                        }
                        _ => {}
                    }
                    false
                }
            };
            if is_end {
                self.start = token.span().end();
                let text = &self.text[start..self.start];
                let is_header = is_header.unwrap_or_default();
                return (!text.is_empty()).then_some(Expression { text, is_header, dots });
            }
        }
        None
    }
}

/// A table within a registry's, unless it was meant as the value of a key.
fn part_of_a_name<'b, 'a>(node: &'b Node<'a>) -> Option<(&'b Node<'a>, &'b Vec<Node<'a>>)> {
    let NodeValue::Table(nodes) = &node.value else { return None };
    let is_key = |key: &str| keys::owners(key).contains(&Owner::Registry);
    let holds_a_registry =
        || nodes.iter().any(|node| is_key(&node.key) || matches!(node.value, NodeValue::Table(_)));
    (!is_key(&node.key) || holds_a_registry()).then_some((node, nodes))
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn node_value<'a>(value: DeValue<'a>, line_at: &impl Fn(usize) -> usize) -> NodeValue<'a> {
    match value {
        DeValue::String(text) => NodeValue::Text(text),
        DeValue::Boolean(flag) => NodeValue::Flag(flag),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|item| node_value(item.into_inner(), line_at));
            NodeValue::List(items.collect())
        }
        DeValue::Table(table) => {
            let node = |(key, value): (toml::Spanned<Cow<'a, str>>, toml::Spanned<DeValue<'a>>)| {
                let line = u32::try_from(line_at(key.span().start)).unwrap_or(u32::MAX);
                let value = node_value(value.into_inner(), line_at);
                Node { key: key.into_inner(), line, value }
            };
            let mut nodes: Vec<_> = table.into_iter().map(node).collect();
            nodes.sort_by_key(|node| node.line);
            NodeValue::Table(nodes)
        }
        DeValue::Integer(_) => NodeValue::Other("an integer"),
        DeValue::Float(_) => NodeValue::Other("a number with a point"),
        DeValue::Datetime(_) => NodeValue::Other("a date"),
    }
}

fn value_of<'b>(value: &'b NodeValue<'_>) -> Value<'b> {
    match value {
        NodeValue::Text(text) => Value::Text(Cow::Borrowed(text)),
        NodeValue::Flag(flag) => Value::Flag(*flag),
        NodeValue::List(items) => Value::List(items.iter().map(value_of).collect()),
        NodeValue::Table(_) => Value::Table,
        NodeValue::Other(kind) => Value::Other(kind),
    }
}

const fn type_of(value: &NodeValue<'_>) -> &'static str {
    match value {
        NodeValue::Text(_) => "a string",
        NodeValue::Flag(_) => "a boolean",
        NodeValue::List(_) => "a list",
        NodeValue::Table(_) => "a table",
        NodeValue::Other(kind) => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts within our tables, in every way that TOML has of making one twice or not.
    const FORMS: &[&str] = &[
        "[registry.h]\n[registry.g]\n[identity.k]",
        "[registry.h]\n[registry.h]",
        "[registry.h]\n[registry.\"h\"]",
        "[registry.h]\n[identity.h]",
        "[registry]\n[registry.h]",
        "[registry.h]\n[registry]",
        "[registry]\n[registry]",
        "[registry]\n[identity]\n[registry]",
        "[registry]\nh.robot = \"a\"\nh.identity = \"k\"\n",
        "[registry]\nh.robot = \"a\"\nh.robot = \"k\"\n",
        "[registry]\nh.robot = \"a\"\n[registry.h]\n",
        "[registry]\nh.robot = \"a\"\n[registry.g]\n",
        "[registry.h]\nrobot = \"a\"\n[registry]\nh.identity = \"k\"\n",
        "[registry.h]\nrobot = \"a\"\n[registry]\ng.identity = \"k\"\n",
        "registry.h.robot = \"a\"\nregistry.g.robot = \"a\"\nregistry.h.identity = \"k\"\n",
        "registry.h.robot = \"a\"\n[registry.h]\n",
        "registry.h.robot = \"a\"\n[registry.g]\n",
        "registry.h.robot = \"a\"\n[registry]\n",
        "registry.h.robot = \"a\"\nregistry = {}\n",
        "registry = {}\nregistry.h.robot = \"a\"\n",
        "registry = {}\nregistry = {}\n",
        "registry = {}\n[registry.h]\n",
        "registry = {}\n[registry]\n",
        "registry = { h = { robot = \"a\" }, g = {} }\nidentity.k = {}",
        "registry = { h = {}, h = {} }\n",
        "registry = {\n  h = {\n    robot = \"a\",\n  },\n}\n",
        "registry.h = {}\nregistry.g = {}\n",
        "registry.h = {}\nregistry.h = {}\n",
        "registry.h = {}\nregistry.h.robot = \"a\"\n",
        "registry.h = {}\n[registry.h]\n",
        "[registry]\nh = {}\n[registry.h]\n",
        "[registry]\nh = {}\nh.robot = \"a\"\n",
        "[registry.h]\nrobot = \"a\"\nrobot = \"b\"\n",
        "[registry.h]\nrobot = \"a\"\n\"robot\" = \"b\"\n",
        "[registry.h]\nrobot = \"a\"\n\"rob\\u006ft\" = \"b\"\n",
        "[registry.h]\nrobot = \"\"\"\n[registry.h]\n\"\"\"\n",
        "[registry.h]\nrobot = '''\n[registry.h]\nrobot = 1'''\n",
        "[registry.h]\nrobot = [\n  \"[registry.h]\", # [registry.h]\n  [1]\n]\n[registry.g]",
        "\u{feff}[registry.h]\r\nrobot = \"a\"\r\n\r\n# end",
        "[registry.h] # a comment\n# another\n\n[ registry . g ]\n robot\t=\t\"a\"",
        "",
        "# \u{1}",
        "[registry.h]\nrobot = \"a\" identity = \"k\"",
        "[registry.h]]",
        "[registry.h",
        "[registry.h]\nrobot = [",
        "[registry.h]\nrobot = \"a",
        "[registry.h]\nrobot = \"\"\"a",
        "[registry.h]\nrobot",
        "[registry.h]\n= 1",
        "robot\rregistry.h.robot = 1",
    ];

    #[test]
    fn r4_a_text_read_in_pieces_is_sound_where_it_is_as_a_whole() {
        let path = Path::new("f");
        let mut broken = 0;
        for text in FORMS {
            let whole = DeTable::parse(text);
            let pieces = Document::parse(path, text);
            assert_eq!(pieces.is_ok(), whole.is_ok(), "{text}\n{whole:?}\n{pieces:?}");
            let (Ok(whole), Ok(pieces)) = (whole, pieces) else {
                broken += 1;
                continue;
            };
            // The same tables with the same keys.
            let names = |kind: &str| {
                let mut names = Vec::new();
                let tables = whole.get_ref().get(kind).and_then(|it| it.get_ref().as_table());
                for (name, table) in tables.into_iter().flatten() {
                    let table = table.get_ref().as_table().expect("a table");
                    names.push((name.get_ref().to_string(), table.len()));
                }
                names.sort();
                names
            };
            for (kind, found) in [(REGISTRY, &pieces.registries), (IDENTITY, &pieces.identities)] {
                let mut found: Vec<_> =
                    found.tables.iter().map(|it| (it.name.to_string(), it.nodes.len())).collect();
                found.sort();
                assert_eq!(found, names(kind), "{text}");
            }
        }
        assert!(broken > 20 && broken < FORMS.len() - 15, "{broken}");
    }

    #[test]
    fn r4_what_would_take_much_memory_is_refused_where_it_begins() {
        let path = Path::new("f");
        let said = |text: &str| Document::parse(path, text).expect_err("refused").to_string();
        let long = format!("\n[registry.h]\nrobot = [\n{}", "1,\n".repeat(30_000));
        assert_eq!(said(&long), "f:3: what begins here is longer than 64 KiB");
        let deep = format!("registry{}", ".a".repeat(10_000));
        for text in [format!("[{deep}]"), format!("\n\n{deep} = 1")] {
            assert!(said(&text).ends_with(": a key has more than 32 parts"), "{}", said(&text));
        }
        let lines = |most: usize, line: &dyn Fn(usize) -> String| {
            (0..most).map(line).collect::<Vec<_>>().concat()
        };
        let keys = lines(101, &|number| format!("k{number} = 1\n"));
        assert_eq!(said(&format!("[registry.h]\n{keys}")), "f:102: there are more than 100 keys");
        let tables = lines(20_001, &|number| format!("[identity.k{number}]\n"));
        assert_eq!(said(&tables), "f:20001: there are more than 20000 tables of a kind");
    }
}
