//! Text that cannot act on whoever reads it. Whatever leaves the program for a person or a script is
//! one of the types here, so that no value, whoever chose it, moves a cursor, colours a screen, turns
//! a line around, hides in it or begins another one.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// Text of which every character is seen, but for line ends and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printable<'a>(Cow<'a, str>);

impl<'a> Printable<'a> {
    /// A text of any number of lines.
    pub fn lines(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        if is_plain(&text) {
            return Self(text);
        }
        let shown = replaced(&text, |character, shown| match character {
            '\n' | '\t' => shown.push(character),
            other => escape(other, shown),
        });
        Self(Cow::Owned(shown.into_owned()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a JsonLine> for Printable<'a> {
    fn from(json: &'a JsonLine) -> Self {
        Self(Cow::Borrowed(&json.0))
    }
}

/// One line with one value of JSON, its end included, in which whatever is not seen is escaped.
#[derive(Clone)]
pub struct JsonLine(String);

impl JsonLine {
    /// A value.
    pub fn of(value: &impl Serialize) -> Self {
        let mut text = serde_json::to_string(value).unwrap_or_default();
        if !is_plain(&text) {
            // Outside of strings there is nothing to escape.
            text = replaced(&text, escape_in_json).into_owned();
        }
        text.push('\n');
        Self(text)
    }

    /// An object of texts, which may be secrets: no copy of one is left behind. `before` is what
    /// stands before each value, from the end of the one before it.
    pub fn of_texts<const N: usize>(fields: [(&'static str, Text<'_>); N]) -> Self {
        const ROOM: usize = 64;
        let length: usize = fields.iter().map(|(_, value)| value.as_str().len()).sum();
        let mut text = String::with_capacity(ROOM + length);
        for (before, value) in fields {
            text.push_str(before);
            match value {
                Text::Plain(PlainText(plain)) => text.extend(["\"", plain, "\""]),
                Text::Any(value) => push(&mut text, value),
            }
        }
        text.push_str("}\n");
        Self(text)
    }

    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is to stand in JSON. What is known to be plain is not looked at again.
#[derive(Clone, Copy)]
pub enum Text<'a> {
    /// Text that stands there as it is.
    Plain(PlainText<'a>),
    /// Any other text.
    Any(&'a str),
}

impl<'a> Text<'a> {
    const fn as_str(self) -> &'a str {
        match self {
            Self::Plain(text) => text.expose(),
            Self::Any(text) => text,
        }
    }
}

impl<'a> From<PlainText<'a>> for Text<'a> {
    fn from(text: PlainText<'a>) -> Self {
        Self::Plain(text)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Any(text)
    }
}

/// It may hold a secret.
impl fmt::Debug for JsonLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JsonLine(****)")
    }
}

impl Zeroize for JsonLine {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// Text that stands as it is in a string of JSON and in the header of a request, as every token does:
/// visible ASCII characters without quotes and backslashes. It may be a secret.
#[derive(Clone, Copy)]
pub struct PlainText<'a>(&'a str);

impl<'a> PlainText<'a> {
    /// The text, if it is plain.
    pub fn of(text: &'a str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        text.bytes().fold(true, |all, byte| all & is_plain(byte)).then_some(Self(text))
    }

    /// The text itself.
    pub const fn expose(self) -> &'a str {
        self.0
    }
}

impl Serialize for PlainText<'_> {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(writer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for PlainText<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Self::of(<&str>::deserialize(reader)?).ok_or_else(|| D::Error::custom("not plain"))
    }
}

/// Appends a text as a string of JSON, with room behind it for the end of an answer: a string that
/// grows leaves a copy of the token behind. A text in which nothing needs an escape, as every token
/// is, is known by a look at all its bytes at once; to look at one after the other took half of the
/// time of an answer.
fn push(json: &mut String, text: &str) {
    const END: usize = 16;
    let is_plain = |byte: u8| is_seen(byte) && byte != b'"' && byte != b'\\';
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        json.reserve(text.len() + END);
        json.extend(["\"", text, "\""]);
    } else {
        let longest = 2 + 6 * text.len();
        let mut quoted = Zeroizing::new(Vec::with_capacity(longest));
        let written = serde_json::to_writer(&mut *quoted, text);
        json.reserve(longest + END);
        let quoted = written.ok().and_then(|()| std::str::from_utf8(&quoted).ok());
        for character in quoted.unwrap_or("\"\"").chars() {
            if is_unprintable(character) {
                escape_in_json(character, json);
            } else {
                json.push(character);
            }
        }
    }
}

/// Whether a byte is a character of ASCII that is seen, or a blank.
const fn is_seen(byte: u8) -> bool {
    byte.wrapping_sub(b' ') < 0x7f - b' '
}

/// Whether a text is of ASCII and has nothing in it that is not seen, but for line ends.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| all & (is_seen(byte) || byte == b'\n'))
}

/// A text that is to stay on one line: whatever is not seen is escaped as Rust does, a line end as
/// `\n`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    replaced(text, escape)
}

/// A value on one line, without white space at its ends.
pub fn on_one_line(text: &str) -> String {
    one_line(text.trim()).into_owned()
}

fn replaced(text: &str, replace: fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(is_unprintable) else { return Cow::Borrowed(text) };
    let mut shown = text[..first].to_owned();
    for character in text[first..].chars() {
        if is_unprintable(character) {
            replace(character, &mut shown);
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// A character as Rust writes it: `\n`, `\u{202e}`.
pub fn escape(character: char, shown: &mut String) {
    shown.extend(character.escape_default());
}

fn escape_in_json(character: char, json: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(json, "\\u{unit:04x}");
    }
}

/// Whether a character is not seen as itself: it controls a terminal, changes the order in which a
/// line is read, or takes no room (Unicode's categories Cc and Cf, line and paragraph separators,
/// and what is ignorable by default).
pub const fn is_unprintable(character: char) -> bool {
    matches!(
        character,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_plain_that_needs_no_escape_anywhere() {
        for (text, is_plain) in [
            ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln-_", true),
            ("", true),
            ("a b", false),
            ("a\"b", false),
            ("a\\b", false),
            ("a\nb", false),
            ("a\u{7f}b", false),
            ("a\u{1b}[31m", false),
            ("\u{e4}", false),
            ("\u{202e}", false),
        ] {
            assert_eq!(PlainText::of(text).is_some(), is_plain, "{text:?}");
        }
    }

    /// Every character of Unicode that acts on a reader, in a text between letters.
    fn evil() -> impl Iterator<Item = char> {
        ('\0'..=char::MAX).filter(|character| is_unprintable(*character))
    }

    #[test]
    fn r42_every_control_and_every_bidirectional_character_is_known() {
        for character in ('\0'..=char::MAX).filter(|character| character.is_control()) {
            assert!(is_unprintable(character), "{character:?}");
        }
        let bidirectional = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                             \u{2066}\u{2067}\u{2068}\u{2069}";
        let invisible = "\u{ad}\u{200b}\u{200c}\u{200d}\u{2028}\u{2029}\u{2060}\u{feff}\u{fff9}\
                         \u{e0001}\u{e0041}\u{e01ef}\u{fe0f}\u{3164}";
        for character in bidirectional.chars().chain(invisible.chars()) {
            assert!(is_unprintable(character), "{character:?}");
        }
        // Rust's own table has what joins others and what is not assigned too; where it would print
        // a character as it is, nothing is hidden.
        for character in "aß日本→✓█ é€😀".chars() {
            assert!(!is_unprintable(character), "{character:?}");
        }
    }

    #[test]
    fn r42_no_form_of_a_text_has_a_character_that_is_not_seen() {
        for character in evil() {
            let text = format!("a{character}b");
            let lines = Printable::lines(text.as_str());
            let is_kept = ['\n', '\t'].contains(&character);
            assert_eq!(lines.as_str().contains(is_unprintable), is_kept, "{character:?}");
            assert_eq!(lines.as_str() == text, is_kept, "{character:?}");
            assert!(!on_one_line(&text).contains(is_unprintable), "{character:?}");
        }
        assert_eq!(on_one_line("a\nb\u{1b}[31m\u{202e}\td\r\n"), "a\\nb\\u{1b}[31m\\u{202e}\\td");
        assert_eq!(on_one_line(" ä\\n "), "ä\\n");
    }

    #[test]
    fn r42_json_keeps_its_meaning_and_shows_everything() {
        let others = ['"', '\\', 'a', 'ä', '\u{ffff}', '\u{10ffff}', '😀'];
        for character in evil().chain(others) {
            let text = format!("a{character}b");
            for line in [
                JsonLine::of(&text),
                JsonLine::of_texts([
                    ("{\"a\":", text.as_str().into()),
                    (",\"b\":", text.as_str().into()),
                ]),
            ] {
                let json = line.as_str().strip_suffix('\n').expect("a line end");
                assert!(!json.contains(is_unprintable), "{character:?}: {json}");
                let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
                let value = if value.is_object() { &value["b"] } else { &value };
                assert_eq!(value, &text, "{character:?}");
            }
        }
    }
}
