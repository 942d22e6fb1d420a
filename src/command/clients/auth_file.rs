//! The `credHelpers` of an auth.json or config.json, changed in place: every other byte of the file
//! stays as it is.

use std::ops::Range;

use crate::failure::Failure;
use crate::server::Server;

/// The key under which both kinds of file name helpers.
const HELPERS: &str = "credHelpers";

/// A file that has been read.
#[derive(Debug)]
pub(in crate::command) struct AuthFile<'a> {
    text: &'a str,
    root: Object,
}

/// A login in such a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) struct Login {
    /// What it is for, as it is written: a host, or a host and a path.
    pub(in crate::command) name: String,
    /// Whether nothing is in it: `docker login` leaves such behind, and nobody uses them.
    pub(in crate::command) is_empty: bool,
}

impl<'a> AuthFile<'a> {
    /// Reads a text; one without anything in it counts as `{}`. `shown` is the name of the file.
    pub(in crate::command) fn parse(text: &'a str, shown: &str) -> Result<Self, Failure> {
        let text = if text.trim_ascii().is_empty() { "{}" } else { text };
        if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or(&said);
            return Err(Failure::new(
                format!("{shown}:{}: this is not JSON: {said}", error.line()),
                "correct it, or move it away: it was left as it is",
            ));
        }
        let start = after_space(text, 0);
        if !text[start..].starts_with('{') {
            return Err(no_object(shown, "the whole of it", &text[start..]));
        }
        let root = Object::at(text, start);
        let file = Self { text, root };
        for key in [HELPERS, "auths"] {
            if file.root.members.iter().filter(|member| member.key == key).count() > 1 {
                return Err(Failure::new(
                    format!("{shown}: `{key}` stands there twice"),
                    "make one of the two: it was left as it is",
                ));
            }
            if let Some(member) = file.root.member(key)
                && !text[member.value.clone()].starts_with('{')
            {
                let value = &text[member.value.clone()];
                return Err(no_object(shown, &format!("`{key}`"), value));
            }
        }
        Ok(file)
    }

    /// Each host for which a helper is named, with the helper.
    pub(in crate::command) fn helpers(&self) -> Vec<(String, String)> {
        self.strings_of(HELPERS)
    }

    /// The helper that is named for every host, of docker's alone.
    pub(in crate::command) fn store(&self) -> Option<String> {
        self.root.member("credsStore").and_then(|member| text_of(self.slice(&member.value)))
    }

    /// The logins that stand in the file itself.
    pub(in crate::command) fn logins(&self) -> Vec<Login> {
        let Some(logins) = self.object("auths") else { return Vec::new() };
        let login = |member: &Member| {
            let value = self.slice(&member.value);
            let is_empty = match serde_json::from_str(value) {
                Ok(serde_json::Value::Object(fields)) => fields
                    .values()
                    .all(|field| field.is_null() || field.as_str().is_some_and(str::is_empty)),
                _ => true,
            };
            Login { name: member.key.clone(), is_empty }
        };
        logins.members.iter().map(login).collect()
    }

    /// The names of the logins for a host that are in use: of the host, and of its paths.
    pub(in crate::command) fn logins_of(&self, host: &str) -> Vec<String> {
        let is_of_host = |name: &str| Server::parse(name).is_ok_and(|server| server.host() == host);
        let logins = self.logins().into_iter();
        logins.filter(|it| !it.is_empty && is_of_host(&it.name)).map(|it| it.name).collect()
    }

    /// The text with `helper` named for these hosts, whatever was named for them before.
    pub(in crate::command) fn with(&self, hosts: &[&str], helper: &str) -> String {
        let mut text = self.text.to_owned();
        for host in hosts {
            text = with_entry(&text, &quoted(host), &quoted(helper), host);
        }
        text
    }

    /// The text without the entries of these hosts, and without `credHelpers` where nothing is left
    /// in it.
    pub(in crate::command) fn without(&self, hosts: &[&str]) -> String {
        let mut text = self.text.to_owned();
        for host in hosts {
            let root = root_of(&text);
            let Some(helpers) = root.object(&text, HELPERS) else { continue };
            let Some(at) = helpers.members.iter().position(|member| member.key == *host) else {
                continue;
            };
            let span = helpers.span_of_removal(at);
            text.replace_range(span, "");
        }
        let root = root_of(&text);
        if let Some(at) = root.members.iter().position(|member| member.key == HELPERS)
            && root.object(&text, HELPERS).is_some_and(|helpers| helpers.members.is_empty())
        {
            text.replace_range(root.span_of_removal(at), "");
        }
        text
    }

    fn strings_of(&self, key: &str) -> Vec<(String, String)> {
        let Some(object) = self.object(key) else { return Vec::new() };
        let text = |member: &Member| text_of(self.slice(&member.value)).unwrap_or_default();
        object.members.iter().map(|member| (member.key.clone(), text(member))).collect()
    }

    fn object(&self, key: &str) -> Option<Object> {
        self.root.object(self.text, key)
    }

    fn slice(&self, span: &Range<usize>) -> &str {
        &self.text[span.clone()]
    }
}

/// A file with nothing but `helper` for these hosts, in the form that docker and podman write.
pub(in crate::command) fn new_file(hosts: &[&str], helper: &str) -> String {
    let entries: Vec<String> =
        hosts.iter().map(|host| format!("\t\t{}: {}", quoted(host), quoted(helper))).collect();
    format!("{{\n\t{}: {{\n{}\n\t}}\n}}\n", quoted(HELPERS), entries.join(",\n"))
}

/// The text with every value in it that may be a secret replaced by `…`: all texts but the names of
/// helpers.
pub(in crate::command) fn masked(text: &str) -> String {
    let start = after_space(text, 0);
    if !text[start..].starts_with('{') {
        return text.to_owned();
    }
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for member in Object::at(text, start).members {
        masked.push_str(&text[done..member.value.start]);
        let value = &text[member.value.clone()];
        if [HELPERS, "credsStore"].contains(&member.key.as_str()) {
            masked.push_str(value);
        } else {
            mask_into(&mut masked, value);
        }
        done = member.value.end;
    }
    masked.push_str(&text[done..]);
    masked
}

fn mask_into(masked: &mut String, value: &str) {
    let mut at = 0;
    while let Some(quote) = value[at..].find('"') {
        let start = at + quote;
        let end = end_of_string(value, start);
        masked.push_str(&value[at..start]);
        let is_key = value[after_space(value, end)..].starts_with(':');
        let is_shown = is_key || end - start == 2;
        masked.push_str(if is_shown { &value[start..end] } else { "\"…\"" });
        at = end;
    }
    masked.push_str(&value[at..]);
}

/// The text with one more entry.
fn with_entry(text: &str, key: &str, value: &str, host: &str) -> String {
    let root = root_of(text);
    let style = Style::of(text, &root);
    let mut text = text.to_owned();
    let Some(helpers) = root.object(&text, HELPERS) else {
        let block = style.block(key, value);
        root.append(&mut text, &style, 1, &quoted(HELPERS), &block);
        return text;
    };
    match helpers.member(host) {
        Some(member) => text.replace_range(member.value.clone(), value),
        None => helpers.append(&mut text, &style, 2, key, value),
    }
    text
}

/// How a file is laid out.
#[derive(Debug)]
struct Style {
    /// What stands before a key of the outermost object: a line end and spaces, or less.
    before_key: String,
    /// The colon with what is around it.
    colon: String,
}

impl Style {
    fn of(text: &str, root: &Object) -> Self {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        match root.members.last() {
            Some(last) => {
                let colon = text[last.key_span.end..last.value.start].to_owned();
                let before_key = before(text, last.key_span.start).to_owned();
                Self { before_key, colon }
            }
            None if text[root.inside()].contains('\n') => {
                Self { before_key: format!("{line_end}\t"), colon: ": ".to_owned() }
            }
            None => Self { before_key: String::new(), colon: ": ".to_owned() },
        }
    }

    /// What stands before a key at this depth, 1 being the outermost object's.
    fn before_key(&self, depth: usize) -> String {
        match self.before_key.rsplit_once('\n') {
            // Blank lines are not repeated.
            Some((lines, indent)) => {
                let line_end = if lines.ends_with('\r') { "\r\n" } else { "\n" };
                format!("{line_end}{}", indent.repeat(depth))
            }
            None if depth == 1 => self.before_key.clone(),
            None => String::new(),
        }
    }

    /// An object with one member, at depth 2.
    fn block(&self, key: &str, value: &str) -> String {
        let (before, colon) = (self.before_key(2), &self.colon);
        let after = if before.is_empty() { String::new() } else { self.before_key(1) };
        format!("{{{before}{key}{colon}{value}{after}}}")
    }
}

/// An object and where everything in it stands.
#[derive(Debug)]
struct Object {
    /// Behind its opening brace.
    start: usize,
    /// At its closing brace.
    end: usize,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    key: String,
    key_span: Range<usize>,
    value: Range<usize>,
}

impl Object {
    /// The object whose brace opens at `start` of a text that is known to be JSON.
    fn at(text: &str, start: usize) -> Self {
        let mut members = Vec::new();
        let mut at = after_space(text, start + 1);
        while text[at..].starts_with('"') {
            let key_span = at..end_of_string(text, at);
            let colon = after_space(text, key_span.end);
            let value = after_space(text, colon + 1);
            let value = value..end_of_value(text, value);
            at = after_space(text, value.end);
            if text[at..].starts_with(',') {
                at = after_space(text, at + 1);
            }
            let key = text_of(&text[key_span.clone()]).unwrap_or_default();
            members.push(Member { key, key_span, value });
        }
        Self { start: start + 1, end: at, members }
    }

    fn member(&self, key: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.key == key)
    }

    /// The object that a member is.
    fn object(&self, text: &str, key: &str) -> Option<Self> {
        let value = &self.member(key)?.value;
        text[value.clone()].starts_with('{').then(|| Self::at(text, value.start))
    }

    fn inside(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Adds a member at the end, laid out as its neighbours are, or as the file is.
    fn append(&self, text: &mut String, style: &Style, depth: usize, key: &str, value: &str) {
        let colon = &style.colon;
        let Some(last) = self.members.last() else {
            let before = style.before_key(depth);
            let is_closed_in_its_line = !text[self.inside()].contains('\n');
            let after = if before.contains('\n') && is_closed_in_its_line {
                style.before_key(depth - 1)
            } else {
                String::new()
            };
            text.insert_str(self.start, &format!("{before}{key}{colon}{value}{after}"));
            return;
        };
        let own = before(text, last.key_span.start);
        let between = match own.rfind('\n') {
            // Its own line end and spaces, without the blank lines before it.
            Some(at) => own[own[..at].rfind('\n').map_or(0, |earlier| earlier + 1)..].to_owned(),
            None if own.is_empty() && colon.len() > 1 => " ".to_owned(),
            None => own.to_owned(),
        };
        text.insert_str(last.value.end, &format!(",{between}{key}{colon}{value}"));
    }

    /// What to cut out to be without a member.
    fn span_of_removal(&self, at: usize) -> Range<usize> {
        let member = &self.members[at];
        match (at.checked_sub(1), self.members.get(at + 1)) {
            (Some(previous), _) => self.members[previous].value.end..member.value.end,
            (None, Some(next)) => member.key_span.start..next.key_span.start,
            (None, None) => self.start..member.value.end,
        }
    }
}

fn root_of(text: &str) -> Object {
    Object::at(text, after_space(text, 0))
}

/// The white space that ends at `at`.
fn before(text: &str, at: usize) -> &str {
    &text[text[..at].trim_end_matches([' ', '\t', '\r', '\n']).len()..at]
}

fn after_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len()
}

/// Where the string ends that begins at `start`, its quotes included.
fn end_of_string(text: &str, start: usize) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().enumerate().skip(start + 1).find(|(_, byte)| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Where the value ends that begins at `start`.
fn end_of_value(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => {
                at += 1;
                let is_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                if depth == 0 && bytes.get(at).is_some_and(is_scalar) {
                    continue;
                }
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// The text that a string of JSON stands for.
fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn no_object(shown: &str, what: &str, value: &str) -> Failure {
    let kind = match value.as_bytes().first() {
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    };
    Failure::new(
        format!("{shown}: {what} must be an object, not {kind}"),
        "correct it, or move it away: it was left as it is",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, hosts: &[&str]) -> String {
        AuthFile::parse(text, "F").expect("a file").with(hosts, "quayfed")
    }

    fn without(text: &str, hosts: &[&str]) -> String {
        AuthFile::parse(text, "F").expect("a file").without(hosts)
    }

    #[test]
    fn an_entry_is_laid_out_as_the_file_is() {
        for (text, wanted) in [
            ("{}", r#"{"credHelpers": {"h": "quayfed"}}"#),
            ("{}\n", "{\"credHelpers\": {\"h\": \"quayfed\"}}\n"),
            ("{\n}\n", "{\n\t\"credHelpers\": {\n\t\t\"h\": \"quayfed\"\n\t}\n}\n"),
            (r#"{"a":1}"#, r#"{"a":1,"credHelpers":{"h":"quayfed"}}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "credHelpers": {"h": "quayfed"}}"#),
            (r#"{ "a": 1 }"#, r#"{ "a": 1, "credHelpers": {"h": "quayfed"} }"#),
            (
                "{\n  \"a\": {\n    \"b\": []\n  }\n}\n",
                "{\n  \"a\": {\n    \"b\": []\n  },\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}\n",
            ),
            (
                "{\r\n\t\"a\": null\r\n}",
                "{\r\n\t\"a\": null,\r\n\t\"credHelpers\": {\r\n\t\t\"h\": \"quayfed\"\r\n\t}\r\n}",
            ),
            (
                r#"{"credHelpers": {"g": "gcloud"}, "a": -1.5e3}"#,
                r#"{"credHelpers": {"g": "gcloud", "h": "quayfed"}, "a": -1.5e3}"#,
            ),
            (
                "{\n\t\"credHelpers\": {\n\t\t\"g\": \"gcloud\"\n\t}\n}",
                "{\n\t\"credHelpers\": {\n\t\t\"g\": \"gcloud\",\n\t\t\"h\": \"quayfed\"\n\t}\n}",
            ),
            (
                r#"{"x": "a \" } , b", "y": "\\", "z": [{"k": "]"}, true]}"#,
                r#"{"x": "a \" } , b", "y": "\\", "z": [{"k": "]"}, true], "credHelpers": {"h": "quayfed"}}"#,
            ),
        ] {
            let changed = with(text, &["h"]);
            assert_eq!(changed, wanted, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(&changed).is_ok(), "{changed}");
            assert_eq!(with(&changed, &["h"]), changed, "a second time");
            assert_eq!(without(&changed, &["h"]), text, "{changed}");
            let several = with(text, &["h", "i:1", "j"]);
            assert_eq!(without(&several, &["i:1", "h", "j"]), text, "{several}");
        }
    }

    #[test]
    fn an_empty_block_is_filled_in_place() {
        for (text, wanted) in [
            (r#"{"credHelpers": {}, "a": 1}"#, r#"{"credHelpers": {"h": "quayfed"}, "a": 1}"#),
            (
                "{\n  \"a\": 1,\n  \"credHelpers\": {}\n}",
                "{\n  \"a\": 1,\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}",
            ),
            (
                "{\n  \"credHelpers\": {\n  }\n}",
                "{\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}",
            ),
        ] {
            assert_eq!(with(text, &["h"]), wanted);
        }
    }

    #[test]
    fn only_the_entries_that_are_named_are_taken_away() {
        let text = r#"{"credHelpers": {"a": "quayfed", "b": "gcloud", "c": "quayfed"}, "z": 1}"#;
        let without_ours = r#"{"credHelpers": {"b": "gcloud"}, "z": 1}"#;
        assert_eq!(without(text, &["a", "c", "none"]), without_ours);
        assert_eq!(without(text, &["a", "b", "c"]), r#"{"z": 1}"#);
        assert_eq!(without(without_ours, &["a"]), without_ours);
    }

    #[test]
    fn another_helper_is_replaced_in_its_place() {
        let text = r#"{"credHelpers":{"h":"gcloud","i":"x"}}"#;
        assert_eq!(with(text, &["h"]), r#"{"credHelpers":{"h":"quayfed","i":"x"}}"#);
    }

    #[test]
    fn a_new_file_is_what_docker_would_write() {
        let text = new_file(&["a", "b"], "quayfed");
        assert_eq!(
            text,
            "{\n\t\"credHelpers\": {\n\t\t\"a\": \"quayfed\",\n\t\t\"b\": \"quayfed\"\n\t}\n}\n"
        );
        assert_eq!(with(&new_file(&["a"], "quayfed"), &["b"]), text);
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        for (text, wanted) in [
            ("{", "F:1: this is not JSON: EOF while parsing an object"),
            ("{\n\"a\": hunter2}", "F:2: this is not JSON: expected value"),
            ("{} x", "F:1: this is not JSON: trailing characters"),
            ("\u{feff}{}", "F:1: this is not JSON: expected value"),
            ("[]", "F: the whole of it must be an object, not a list"),
            (r#"{"credHelpers": null}"#, "F: `credHelpers` must be an object, not null"),
            (r#"{"auths": "x"}"#, "F: `auths` must be an object, not a string"),
            (r#"{"credHelpers": {}, "credHelpers": {}}"#, "F: `credHelpers` stands there twice"),
        ] {
            assert_eq!(AuthFile::parse(text, "F").expect_err(text).cause(), wanted);
        }
    }

    #[test]
    fn what_else_is_in_a_file_is_known() {
        let text = r#"{"auths": {"h": {}, "h/org": {"auth": "eDp5"}, "g": {"auth": ""}},
            "credsStore": "pass", "credHelpers": {"h": "quayfed"}}"#;
        let file = AuthFile::parse(text, "F").expect("a file");
        assert_eq!(file.store().as_deref(), Some("pass"));
        assert_eq!(file.helpers(), [("h".to_owned(), "quayfed".to_owned())]);
        let logins = file.logins();
        let logins: Vec<_> = logins.iter().map(|it| (it.name.as_str(), it.is_empty)).collect();
        assert_eq!(logins, [("h", true), ("h/org", false), ("g", true)]);
        assert_eq!(AuthFile::parse(" \n", "F").expect("a file").helpers(), []);
    }

    #[test]
    fn no_secret_is_left_in_what_is_shown() {
        let text = r#"{"auths": {"h": {"auth": "hunter2", "n": ["hunter2", 3]}}, "x": "hunter2\"",
 "credHelpers": {"h": "gcloud"}, "e": ""}"#;
        assert_eq!(
            masked(text),
            r#"{"auths": {"h": {"auth": "…", "n": ["…", 3]}}, "x": "…",
 "credHelpers": {"h": "gcloud"}, "e": ""}"#
        );
    }
}
