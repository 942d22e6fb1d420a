//! JSON as Go's `encoding/json` reads it, which podman and docker read their files by, with the
//! place of each value.
//!
//! Go is laxer than Rust's libraries. A key names a field without regard to case, objects of two
//! equal keys are merged, and what is not UTF-8, or half of a surrogate pair, stands for U+FFFD.

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::de::{Deserialize, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::failure::Failure;

/// A text of JSON.
#[derive(Clone, Debug)]
pub(super) struct Json {
    /// Each byte as one character, so that each is kept and has a place, whatever it is.
    text: String,
}

/// A key of an object and its value.
#[derive(Debug)]
pub(super) struct Member {
    /// What the key stands for.
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Where a string stands, its quotes included.
#[derive(Debug)]
pub(super) struct StringPlace {
    pub(super) span: Range<usize>,
    pub(super) is_key: bool,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    List,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

impl Json {
    /// Reads the whole of a text. `shown` is the name of its file.
    pub(super) fn parse(bytes: &[u8], shown: &str) -> Result<Self, Failure> {
        match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) if is_too_deep(bytes) => Err(Failure::new(
                format!("{shown}: lists and objects stand more than {DEEPEST} deep in each other"),
                LEFT,
            )),
            Ok(_) => Ok(Self::of(bytes)),
            Err(error) => Err(mistake(bytes, &error, shown)),
        }
    }

    /// Reads the first value of a text, whatever follows it, as docker does; nothing where there is
    /// no value.
    pub(super) fn parse_first(bytes: &[u8], shown: &str) -> Result<Option<Self>, Failure> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
        match values.next() {
            None => Ok(None),
            Some(Ok(_)) => Self::parse(&bytes[..values.byte_offset()], shown).map(Some),
            Some(Err(error)) => Err(mistake(bytes, &error, shown)),
        }
    }

    /// An object without anything in it.
    pub(super) fn empty() -> Self {
        Self::of(b"{}")
    }

    fn of(bytes: &[u8]) -> Self {
        Self { text: bytes.iter().copied().map(char::from).collect() }
    }

    /// The bytes that it was read from, or what an edit has made of them.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        bytes_of(&self.text)
    }

    /// The bytes at a place.
    pub(super) fn bytes(&self, span: &Range<usize>) -> Vec<u8> {
        bytes_of(&self.text[span.clone()])
    }

    /// The text, each byte as one character.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Puts an ASCII text in the place of another.
    pub(super) fn replace(&mut self, span: Range<usize>, text: &str) {
        self.text.replace_range(span, text);
    }

    /// Where the outermost value stands.
    pub(super) fn root(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_start_matches(SPACE).len();
        start..self.text.trim_end_matches(SPACE).len()
    }

    /// What kind of value stands at a place.
    pub(super) fn kind(&self, value: &Range<usize>) -> Kind {
        match self.text.as_bytes().get(value.start) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The members of the object at a place, in their order; none of what is no object.
    pub(super) fn members(&self, value: &Range<usize>) -> Vec<Member> {
        let text = &self.text[value.clone()];
        let place = |raw: &RawValue| {
            let start = raw.get().as_ptr().addr() - self.text.as_ptr().addr();
            start..start + raw.get().len()
        };
        let member = |(key, value): (&RawValue, &RawValue)| Member {
            key: decoded(key.get()),
            key_span: place(key),
            value: place(value),
        };
        let members: Result<Members<'_>, _> = serde_json::from_str(text);
        members.map(|it| it.0.into_iter().map(member).collect()).unwrap_or_default()
    }

    /// Every string, the keys of objects among them.
    pub(super) fn strings(&self) -> Vec<StringPlace> {
        let (text, mut strings, mut at) = (&*self.text, Vec::new(), 0);
        while let Some(start) = text[at..].find('"').map(|found| at + found) {
            let mut is_escaped = false;
            let end = text[start + 1..].find(|letter| {
                let ends = letter == '"' && !is_escaped;
                is_escaped = letter == '\\' && !is_escaped;
                ends
            });
            at = end.map_or(text.len(), |end| start + 1 + end + 1);
            let is_key = text[at..].trim_start_matches(SPACE).starts_with(':');
            strings.push(StringPlace { span: start..at, is_key });
        }
        strings
    }

    /// The text that the string at a place stands for.
    pub(super) fn string(&self, value: &Range<usize>) -> Option<String> {
        (self.kind(value) == Kind::String).then(|| decoded(&self.text[value.clone()]))
    }
}

/// The white space of JSON.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// How deep values may stand in each other for Go.
const DEEPEST: usize = 10_000;

/// What to do about a mistake.
pub(super) const LEFT: &str = "correct it, or move it away: it was left as it is";

/// Whether a key names a field, as Go compares them: two letters outside ASCII are other forms of
/// `k` and `s`.
pub(super) fn names(key: &str, field: &str) -> bool {
    let plain = |letter: char| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(plain).eq(field.chars().map(plain))
}

fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut is_in_string, mut is_escaped) = (0_usize, false, false);
    bytes.iter().any(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b'{' | b'[' if !is_in_string => depth += 1,
            b'}' | b']' if !is_in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

fn mistake(bytes: &[u8], error: &serde_json::Error, shown: &str) -> Failure {
    const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Failure::new(
            format!("{shown} begins with a byte order mark, which neither podman nor docker reads"),
            "save it as UTF-8 without a byte order mark: it was left as it is",
        );
    }
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    Failure::new(format!("{shown}:{}: this is not JSON: {said}", error.line()), LEFT)
}

/// A text as a string of JSON, in ASCII.
pub(super) fn quoted(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut ascii = String::with_capacity(quoted.len());
    for letter in quoted.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}

/// What a string stands for whose every byte is one character.
fn decoded(string: &str) -> String {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    let string = bytes_of(string);
    // As bytes, it refuses no half of a surrogate pair.
    let bytes = serde_json::Deserializer::from_slice(&string).deserialize_bytes(Bytes);
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The members of an object as they are written, equal keys and all.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
