//! A value that must not be seen: nothing here can print, serialize or compare it by accident.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

/// A secret: reached only through [`Secret::expose`], wiped from memory on drop.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value into hiding.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place where a secret leaves its shelter: a request that
    /// is sent, the answer, the cache entry.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(****)")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
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

    #[test]
    fn debug_of_a_secret_shows_nothing_of_it() {
        let shown = format!("{:?}", Some(Secret::new("hunter2".to_owned())));
        assert_eq!(shown, "Some(Secret(****))");
    }
}
