//! What a server said, made fit for a person: short, printable, and free of secrets.

use std::cell::RefCell;

use crate::printable::{escape, is_unprintable};
use crate::secret::Secret;

/// The longest piece of a server's words that is shown, in characters.
const LONGEST: usize = 200;
/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// Knows every secret that this run has read, and removes them from what is shown.
#[derive(Debug, Default)]
pub struct Redactor {
    secrets: RefCell<Vec<Secret<String>>>,
}

impl Redactor {
    /// From now on this secret is removed from whatever is shown.
    pub fn remember(&self, secret: &Secret<String>) {
        if !secret.expose().is_empty() {
            let mut secrets = self.secrets.borrow_mut();
            secrets.push(secret.clone());
            // The longest first: a secret that holds another one goes as a whole.
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    /// At most 200 printable characters of what a server said, without any remembered secret and
    /// without anything that is shaped like a JWT.
    pub fn clean(&self, said: &str) -> String {
        let said = without_tokens(&self.without_secrets(said));
        let mut shown = String::new();
        for character in said.trim().chars().take(LONGEST) {
            match character {
                '\n' | '\r' | '\t' => shown.push(' '),
                other if is_unprintable(other) => escape(other, &mut shown),
                other => shown.push(other),
            }
        }
        if said.trim().chars().count() > LONGEST {
            shown.push('…');
        }
        shown
    }

    fn without_secrets(&self, said: &str) -> String {
        let secrets = self.secrets.borrow();
        let mut shown = String::with_capacity(said.len());
        let mut rest = said;
        while let Some(character) = rest.chars().next() {
            let secret = secrets.iter().find(|secret| rest.starts_with(secret.expose().as_str()));
            let length = if let Some(secret) = secret {
                shown.push_str(REDACTED);
                secret.expose().len()
            } else {
                shown.push(character);
                character.len_utf8()
            };
            rest = &rest[length..];
        }
        shown
    }
}

/// Replaces each run of base64url characters and dots that begins as a JWT does: `eyJ`.
fn without_tokens(said: &str) -> String {
    let is_token_character =
        |character: char| character.is_ascii_alphanumeric() || "-_.=".contains(character);
    let mut shown = String::with_capacity(said.len());
    let mut rest = said;
    while let Some(start) = rest.find("eyJ") {
        let length =
            rest[start..].find(|c: char| !is_token_character(c)).unwrap_or(rest.len() - start);
        shown.push_str(&rest[..start]);
        shown.push_str(if length > 12 { REDACTED } else { &rest[start..start + length] });
        rest = &rest[start + length..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_remembered_secrets_and_anything_like_a_jwt_are_removed() {
        let redactor = Redactor::default();
        redactor.remember(&Secret::new("s3cr3t".to_owned()));
        redactor.remember(&Secret::new("s3cr3t-and-more".to_owned()));
        assert_eq!(
            redactor
                .clean("bad s3cr3t-and-more, s3cr3t in eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0. end"),
            "bad [redacted], [redacted] in [redacted] end"
        );
    }

    #[test]
    fn r21_control_characters_and_reversed_text_do_not_reach_a_terminal() {
        let shown =
            Redactor::default().clean("a\u{1b}[2J\u{202e}b\u{2066}\u{200f}\u{feff}\r\nc\u{0}");
        assert_eq!(shown, "a\\u{1b}[2J\\u{202e}b\\u{2066}\\u{200f}\\u{feff}  c\\u{0}");
    }

    #[test]
    fn r21_at_most_200_characters_are_shown() {
        let shown = Redactor::default().clean(&"ä".repeat(500));
        assert_eq!(shown, format!("{}…", "ä".repeat(200)));
    }
}
