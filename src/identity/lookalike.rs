//! What is often found where a token should be, recognised, so that a person is told what it is.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::config::accepts;
use crate::config::settings::{Connection, JsonField};
use crate::http::compression_of;
use crate::jwt;

/// What was found instead of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lookalike {
    /// What it is, such as "a token in quotes".
    pub(super) what: String,
    /// What to do about it.
    pub(super) hint: String,
    /// Whether the key to change is `json_field`.
    pub(super) is_about_json: bool,
}

fn found(what: &str, hint: &str) -> Lookalike {
    Lookalike { what: what.to_owned(), hint: hint.to_owned(), is_about_json: false }
}

/// Recognises bytes that are not the text of a token.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<Lookalike> {
    const UTF_8: &str =
        "write it as UTF-8 without a byte order mark (PowerShell: `-Encoding ascii`)";
    if let Some(method) = compression_of(bytes) {
        return Some(found(&format!("compressed data ({method})"), "write it uncompressed"));
    }
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some(found("text with a byte order mark", UTF_8)),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some(found("text in UTF-16", UTF_8))
        }
        _ => None,
    }
}

/// Recognises a text that is no token, without white space around it.
pub(super) fn of_text(text: &str) -> Option<Lookalike> {
    let is_in_quotes =
        |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    let has_prefix = |prefix: &str| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if is_in_quotes('"') || is_in_quotes('\'') {
        return Some(found("a token in quotes", "write it without the quotes"));
    }
    if has_prefix("authorization:") || has_prefix("bearer ") {
        return Some(found(
            "a header",
            "write the token alone, without `Authorization:` and `Bearer`",
        ));
    }
    if text.starts_with(['{', '['])
        && let Ok(document) = serde_json::from_str(text)
    {
        return Some(json(&document));
    }
    if text.starts_with("-----BEGIN ") {
        return Some(found("a certificate or a key in PEM", "name what holds the token"));
    }
    if text.starts_with('<') {
        return Some(found(
            "a page (HTML or XML)",
            "whatever writes it was given an error or a login page: see where it gets the token",
        ));
    }
    if text.starts_with('$') {
        return Some(found(
            "the name of a variable that was not expanded",
            "see that whatever writes it knows that variable and expands it",
        ));
    }
    if text.lines().nth(1).is_some() {
        return Some(found("several lines", "write the token alone, on one line"));
    }
    if let Some((name, value)) = text.split_once('=')
        && jwt::peek(value.trim_matches(['"', '\''])).is_ok()
    {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return is_name.then(|| {
            found("an assignment", "write the value alone, without the name and the `=`")
        });
    }
    if is_base64_of_token(text) {
        return Some(found("a token in base64", "decode it: base64 -d"));
    }
    if text.starts_with('/') && !text.contains(' ') {
        return Some(found(
            "the path of a file",
            "write the token itself, or let a file be read: `source = \"file\"`, with its `path`",
        ));
    }
    None
}

fn is_base64_of_token(text: &str) -> bool {
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.is_some_and(|text| jwt::peek(text.trim()).is_ok())
}

/// JSON, with the path to the token in it where there is one.
fn json(document: &Value) -> Lookalike {
    let path = path_to_token(document, &mut Vec::new()).filter(|path| {
        accepts("json_field", path, &Connection::default())
            && JsonField(path.clone()).find(document).is_some()
    });
    let hint = match path {
        Some(path) => format!("say where in it the token is: `json_field = \"{path}\"`"),
        None => "say where in it the token is, such as `json_field = \"access_token\"`".to_owned(),
    };
    Lookalike { what: "JSON".to_owned(), hint, is_about_json: true }
}

/// The first text that is a JWT and no refresh token.
fn path_to_token(value: &Value, way: &mut Vec<String>) -> Option<String> {
    const DEEPEST: usize = 8;
    let mut within = |step: String, value: &Value| {
        if way.len() == DEEPEST {
            return None;
        }
        way.push(step);
        let path = path_to_token(value, way);
        way.pop();
        path
    };
    match value {
        Value::String(text) => jwt::peek(text.trim()).is_ok().then(|| way.join(".")),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, item)| within(at.to_string(), item))
        }
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "refresh_token")
            .find_map(|(name, value)| within(name.clone(), value)),
        _ => None,
    }
}
