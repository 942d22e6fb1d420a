//! Files of the configuration that cannot be used, and which registries that concerns.

use crate::failure::Failure;

/// A file that cannot be used: it has a mistake that leaves nothing of it, cannot be trusted, or
/// cannot be read. It concerns the registries that it names (rule R33).
#[derive(Clone, Debug)]
pub struct Unusable {
    /// Why.
    pub failure: Failure,
    /// What is written in it, in lower case and also without what may stand between the letters of a
    /// name; nothing where it could not be read.
    content: Option<Vec<u8>>,
    /// Whether a name may stand there as another text than the one that is asked for.
    has_other_writing: bool,
}

impl Unusable {
    /// A file of which nothing is known.
    pub(super) const fn unread(failure: Failure) -> Self {
        Self { failure, content: None, has_other_writing: false }
    }

    /// A file with this content.
    pub(super) fn with(failure: Failure, bytes: &[u8]) -> Self {
        let mut content = bytes.to_ascii_lowercase();
        let unescaped = unescaped(&content);
        // White space and quotes may stand between the parts of a name, as in `[registry.a . "b"]`,
        // and a zero between all letters, where a file was saved as UTF-16.
        let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\"'\0".contains(byte);
        let bare: Vec<u8> = unescaped
            .as_ref()
            .unwrap_or(&content)
            .iter()
            .copied()
            .filter(|it| !is_between(it))
            .collect();
        for other in [unescaped, Some(bare)].into_iter().flatten() {
            if other != content {
                content.push(b'\n');
                content.extend(other);
            }
        }
        let has_other_writing = !bytes.is_ascii();
        Self { failure, content: Some(content), has_other_writing }
    }

    /// Whether it could not be read.
    pub const fn is_unread(&self) -> bool {
        self.content.is_none()
    }

    /// Whether a host, in lower case, occurs in what is written in it.
    pub fn names(&self, host: &str) -> bool {
        let Some(content) = &self.content else { return false };
        // An international name may stand there in its own letters.
        let is_of_other_letters =
            || self.has_other_writing && host.split('.').any(|label| label.starts_with("xn--"));
        occurs(host.as_bytes(), content) || is_of_other_letters()
    }

    /// Whether an identity of this name may be written in it.
    pub(super) fn may_name(&self, identity: &str) -> bool {
        let name = identity.to_ascii_lowercase();
        self.content.as_ref().is_none_or(|content| occurs(name.as_bytes(), content))
    }
}

fn occurs(wanted: &[u8], content: &[u8]) -> bool {
    !wanted.is_empty() && content.windows(wanted.len()).any(|window| window == wanted)
}

/// The text with the escapes of TOML's strings replaced by the ASCII letters that they stand for,
/// wherever they are; nothing where there is none. `text` is in lower case.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        if let (b'\\', Some((letter, length))) = (first, escape(behind)) {
            result.push(letter.to_ascii_lowercase());
            rest = &behind[length..];
        } else {
            result.push(*first);
            rest = behind;
        }
    }
    Some(result)
}

/// The letter that an escape behind its backslash stands for, and how long the escape is. `\U` is
/// in lower case here, so what begins like one is tried as the longer one first.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let digits = |length: usize| {
        let digits = std::str::from_utf8(text.get(1..=length)?).ok()?;
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?;
        let letter = u8::try_from(number).ok().filter(u8::is_ascii)?;
        Some((letter, 1 + length))
    };
    match text.first()? {
        b'x' => digits(2),
        b'u' => digits(8).or_else(|| digits(4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: impl AsRef<[u8]>, host: &str) -> bool {
        Unusable::with(Failure::new("cause", "hint"), text.as_ref()).names(host)
    }

    #[test]
    fn r33_a_file_names_a_host_however_it_is_written() {
        for text in [
            "[registry.\"quay.example.com\"]",
            "[registry.\"QUAY.Example.com/org\"]",
            "[registry.quay.example.com]",
            "[registry.quay . example\t. \"com\"]",
            "registry.\"quay\".'example'.com.robot = 1",
            r#"[registry."quay.ex\u0061mple.com"]"#,
            r#"[registry."quay.ex\U00000061mple.com"]"#,
            r#"[registry."quay.ex\x61mple\u002Ecom"]"#,
            "# quay.example.com",
            "api_url = \"https://quay.example.com:8443/\"",
        ] {
            assert!(names(text, "quay.example.com"), "{text}");
            assert!(!names(text, "docker.io"), "{text}");
        }
        for (text, host, is_named) in [
            ("[registry.\"quay.example.com:8443\"]", "quay.example.com:8443", true),
            ("[registry.\"quay.example.com:8443\"]", "quay.example.com", true),
            ("[registry.\"quay.example.com\"]", "quay.example.com:8443", false),
            ("[registry.\"quay.exämple.com\"]", "quay.xn--exmple-cua.com", true),
            ("[registry.\"quay.exämple.com\"]", "docker.io", false),
            ("[registry.\"quay.example.com\"]", "quay.xn--exmple-cua.com", false),
            (r#""C:\users""#, "c:", true),
            (r#""\u006""#, "docker.io", false),
            ("", "docker.io", false),
        ] {
            assert_eq!(names(text, host), is_named, "{text} {host}");
        }
        let utf_16 = "quay.example.com".encode_utf16();
        let little: Vec<u8> = utf_16.clone().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = utf_16.flat_map(u16::to_be_bytes).collect();
        assert!(names(little, "quay.example.com") && names(big, "quay.example.com"));
    }

    #[test]
    fn r33_a_file_that_could_not_be_read_names_nobody_and_may_have_any_identity() {
        let unread = Unusable::unread(Failure::new("cause", "hint"));
        assert!(!unread.names("docker.io") && unread.is_unread() && unread.may_name("sso"));
        let read = Unusable::with(Failure::new("cause", "hint"), b"[identity.SSO]");
        assert!(read.may_name("sso") && !read.may_name("keycloak") && !read.is_unread());
    }
}
