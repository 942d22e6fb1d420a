//! One table of the configuration as it was written, in a file or in variables, and the mistakes
//! that were found in it.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;

use super::keys::{example, known, owners};
use super::place::Place;
use super::suggestion::nearest;
use super::values::Fault;
use crate::failure::Failure;
use crate::redaction::Redactor;

/// The longest piece of a value that is shown, in characters.
const LONGEST: usize = 100;

/// A table, and every mistake that was found in it so far.
#[derive(Debug)]
pub(super) struct Table<'a> {
    origin: Origin<'a>,
    entries: Vec<Entry<'a>>,
    mistakes: Vec<Mistake>,
    /// How many mistakes there are beyond those that are told.
    untold: usize,
}

/// The most mistakes of one table that are told.
const MOST_MISTAKES: usize = 10;

/// Where a table is written.
#[derive(Clone, Debug)]
pub(super) enum Origin<'a> {
    /// In a file.
    File {
        file: &'a Path,
        /// The line of its header.
        line: usize,
        /// The header without its brackets.
        title: String,
    },
    /// In variables that stand for its keys.
    Variables {
        names: &'static [(&'static str, &'static str)],
        first: &'static str,
        /// Those that are set to nothing.
        empty: Vec<&'static str>,
    },
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) at: At,
    pub(super) value: Value<'a>,
}

impl Entry<'_> {
    /// The key as it was written: in backticks, or the variable that stands for it.
    pub(super) fn name(&self) -> String {
        match self.at {
            At::Line(_) => format!("`{}`", self.key),
            At::Variable(name) => name.to_owned(),
        }
    }
}

/// Where an entry is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Line(usize),
    Variable(&'static str),
}

/// A value, as far as any key has use for it.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
    List(Vec<Self>),
    Table,
    /// Of a type that no key has: its name with the article.
    Other(&'static str),
    /// A variable that is not UTF-8.
    NotText,
}

#[derive(Debug)]
struct Mistake {
    line: usize,
    failure: Failure,
    /// What it is about, where it is told behind another one.
    about: String,
}

impl<'a> Table<'a> {
    pub(super) const fn new(origin: Origin<'a>, entries: Vec<Entry<'a>>) -> Self {
        Self { origin, entries, mistakes: Vec::new(), untold: 0 }
    }

    /// Where it is written.
    pub(super) fn place(&self) -> Place {
        match &self.origin {
            Origin::File { file, line, .. } => {
                let of = |entry: &Entry<'_>| match entry.at {
                    At::Line(line) => Some((known(entry.key)?, line)),
                    At::Variable(_) => None,
                };
                let keys = self.entries.iter().filter_map(of).collect();
                Place::File { file: file.to_path_buf(), line: *line, keys }
            }
            Origin::Variables { names, first, .. } => {
                let of = |entry: &Entry<'_>| match entry.at {
                    At::Variable(name) => Some(name),
                    At::Line(_) => None,
                };
                let set = self.entries.iter().filter_map(of).collect();
                Place::Variables { names, set, first }
            }
        }
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key that has text, parsed.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let entry = self.entry(key)?.clone();
        let Value::Text(text) = &entry.value else {
            self.wrong_type(&entry, "a string", "");
            return None;
        };
        parse(text).map_err(|fault| self.fault(&entry, text, &fault)).ok()
    }

    /// The value of a key that must be there, parsed.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        if self.entry(key).is_none() {
            self.missing(key, &[]);
        }
        self.parsed(key, parse)
    }

    /// The value of a key that switches something on.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.entry(key).cloned() {
            None => false,
            Some(Entry { value: Value::Flag(flag), .. }) => flag,
            Some(entry) => {
                self.wrong_type(&entry, "true or false", "");
                false
            }
        }
    }

    /// The values of a key that has a list of texts, each parsed.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key).cloned() else {
            return Vec::new();
        };
        let Value::List(items) = &entry.value else {
            self.wrong_type(&entry, "a list of strings", "");
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if let Value::Text(text) = item {
                match parse(text) {
                    Ok(value) => values.push(value),
                    Err(fault) => self.fault(&entry, text, &fault),
                }
            } else {
                let item = Entry { value: item.clone(), ..entry };
                self.wrong_type(&item, "a list of strings", "a list with ");
            }
        }
        values
    }

    /// Neither `key` is there nor one of `others`, which would do as well.
    pub(super) fn missing(&mut self, key: &str, others: &[&str]) {
        let keys = [&[key], others].concat();
        // A misspelt name is told as such, and is one mistake, not two.
        let is_misspelt = self.entries.iter().any(|entry| {
            owners(entry.key).is_empty() && nearest(entry.key, keys.iter().copied()).is_some()
        });
        if is_misspelt {
            return;
        }
        let (cause, hint, what) = match &self.origin {
            Origin::File { file, line, title } => {
                let names: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
                let what = names.join(" or ");
                (
                    format!("{}:{line}: {title} lacks {what}", file.display()),
                    format!("add a line such as `{key} = {}`", example(key)),
                    what,
                )
            }
            Origin::Variables { names, empty, .. } => {
                let variable = |key: &&str| names.iter().find(|(_, of)| of == key);
                let names: Vec<_> = keys.iter().filter_map(variable).map(|it| it.0).collect();
                let what = names.join(" or ");
                let cause = match names.iter().find(|name| empty.contains(name)) {
                    Some(name) => format!("{name} is set but empty"),
                    None => format!("QUAYFED_REGISTRY is set, but not {what}"),
                };
                (
                    cause,
                    format!("set {}, such as {}", names[0], example(key).trim_matches('"')),
                    what,
                )
            }
        };
        // The last: where a name is misspelt, that is what to tell.
        let about = format!("{what} is missing");
        self.mistakes.push(Mistake { line: usize::MAX, failure: Failure::new(cause, hint), about });
    }

    /// A mistake in an entry: `text` follows its place and name.
    pub(super) fn mistake(&mut self, entry: &Entry<'_>, text: impl Display, hint: impl AsRef<str>) {
        let cause = match (&self.origin, entry.at) {
            (Origin::File { file, title, .. }, At::Line(line)) => {
                format!("{}:{line}: {title}.{}{text}", file.display(), entry.key)
            }
            (_, At::Variable(name)) => format!("{name}{text}"),
            (_, At::Line(_)) => format!("{}{text}", entry.key),
        };
        let about = match entry.at {
            At::Line(line) => format!("{} in line {line}", entry.name()),
            At::Variable(name) => name.to_owned(),
        };
        let failure = Failure::new(cause, hint);
        self.mistakes.push(Mistake { line: self.order_of(entry), failure, about });
    }

    /// A mistake of the table as a whole: `text` follows its place and title.
    pub(super) fn mistake_of_all(&mut self, text: impl Display, hint: impl AsRef<str>) {
        let cause = match &self.origin {
            Origin::File { file, line, title } => {
                format!("{}:{line}: {title}{text}", file.display())
            }
            Origin::Variables { first, .. } => format!("{first}{text}"),
        };
        let about = "the table as a whole".to_owned();
        self.mistakes.push(Mistake { line: 0, failure: Failure::new(cause, hint), about });
    }

    /// Whether no more mistakes are told than there are.
    pub(super) const fn is_full(&self) -> bool {
        self.mistakes.len() >= MOST_MISTAKES
    }

    /// Counts a mistake that is not told.
    pub(super) const fn one_more(&mut self) {
        self.untold += 1;
    }

    /// The value that was made of the table if there is no mistake in it, else the first one, with
    /// what the others are about.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Failure> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        let mut others: Vec<_> =
            self.mistakes.iter().skip(1).map(|mistake| mistake.about.as_str()).collect();
        let untold = match self.untold {
            0 => None,
            more => Some(format!("{more} more")),
        };
        others.extend(untold.as_deref());
        let more = if others.is_empty() {
            String::new()
        } else {
            format!(" (then: {})", others.join(", "))
        };
        match (self.mistakes.first(), value) {
            (Some(Mistake { failure, .. }), _) => {
                Err(Failure::new(failure.cause(), failure.hint().to_owned() + &more))
            }
            (None, Some(value)) => Ok(value),
            (None, None) => Err(Failure::new(
                "the configuration cannot be used, and the program does not know why",
                "report this with the configuration, it is a bug",
            )),
        }
    }

    fn order_of(&self, entry: &Entry<'_>) -> usize {
        match entry.at {
            At::Line(line) => line,
            At::Variable(name) => {
                1 + self
                    .entries
                    .iter()
                    .take_while(|other| !matches!(other.at, At::Variable(of) if of == name))
                    .count()
            }
        }
    }

    fn fault(&mut self, entry: &Entry<'_>, value: &str, fault: &Fault) {
        let shown = shown(entry, value);
        self.mistake(entry, format_args!(": {shown} {}", fault.text), &fault.hint);
    }

    /// `within` stands before the type that was found.
    fn wrong_type(&mut self, entry: &Entry<'_>, wanted: &str, within: &str) {
        let found = match &entry.value {
            Value::NotText => {
                return self.mistake(entry, " is not UTF-8", "set it to text");
            }
            Value::Text(_) => "a string",
            Value::Flag(_) => "a boolean",
            Value::List(_) => "a list",
            Value::Table => "a table",
            Value::Other(kind) => kind,
        };
        let hint = format!("write it so: `{} = {}`", entry.key, example(entry.key));
        self.mistake(entry, format_args!(" must be {wanted}, not {within}{found}"), hint);
    }
}

/// A value in backticks, unless there is nothing to see or it may hold a secret (rule R7).
fn shown(entry: &Entry<'_>, value: &str) -> String {
    let variable = if let At::Variable(name) = entry.at { name } else { "" };
    let may_hold_a_password = entry.key == "proxy" || value.contains(['@', '?']);
    if value.is_empty()
        || may_hold_a_password
        || [entry.key, variable].into_iter().any(sounds_secret)
    {
        "the value".to_owned()
    } else {
        quoted(value)
    }
}

/// A value in backticks: printable, without anything like a token, and cut where it is long.
fn quoted(value: &str) -> String {
    let clean = Redactor::default().clean(value);
    let mut shown: String = clean.chars().take(LONGEST).collect();
    if shown.len() < clean.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The name of a registry in backticks, without the password that may stand before an `@`.
pub(super) fn quoted_host(name: &str) -> String {
    name.rsplit_once('@').map_or_else(|| quoted(name), |(_, host)| quoted(&format!("…@{host}")))
}

/// Whether somebody may have written a secret as the value of a key with this name.
pub(super) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.contains("token_endpoint")
        && ["secret", "token", "password"].iter().any(|word| name.contains(word))
}
