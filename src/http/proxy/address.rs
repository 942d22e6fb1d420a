//! The address of a proxy as a variable says it, read as Go reads it (`net/url` and
//! `golang.org/x/net/http/httpproxy`): what podman could not use is not used here either, and what is
//! wrong with it is said (rule R36).

use std::fmt;

use url::Url;

/// Why a proxy's address cannot be used: the end of a sentence that begins with the variable. It
/// never repeats what may be part of a password, but for one character that must be encoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    Scheme(String),
    Character(char),
    Escape,
    WhiteSpace,
    NoHost,
    Host,
    Port,
    Otherwise,
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) if scheme.starts_with("socks") => write!(
                formatter,
                "names a SOCKS proxy (`{scheme}`), and only http and https proxies are supported"
            ),
            Self::Scheme(scheme) => write!(
                formatter,
                "has the scheme `{scheme}`, and only http and https proxies are supported"
            ),
            Self::Character(character) => {
                write!(formatter, "has a `{character}` in its user or password: write it as ")?;
                let mut bytes = [0; 4];
                let bytes = character.encode_utf8(&mut bytes).bytes();
                bytes.into_iter().try_for_each(|byte| write!(formatter, "%{byte:02X}"))
            }
            Self::Escape => formatter.write_str(
                "has a `%` that no two hexadecimal digits follow: write a percent sign as %25",
            ),
            Self::WhiteSpace => formatter.write_str("has white space in it"),
            Self::NoHost => formatter.write_str("does not name a host"),
            Self::Host => formatter.write_str("does not have a valid host"),
            Self::Port => formatter.write_str("does not have a valid port"),
            Self::Otherwise => formatter.write_str("is not a valid URL of a proxy"),
        }
    }
}

/// Reads `http://[USER[:PASSWORD]@]HOST[:PORT]`; without a scheme it is http.
pub(super) fn read(text: &str) -> Result<Url, Unusable> {
    let whole = Parts::of(text).filter(|it| !it.scheme.is_empty() && !it.host.is_empty());
    // Go tries everything else with `http://` before it, but what names a scheme already comes to a
    // proxy `http:` then.
    let parts = match whole {
        Some(parts) => parts,
        None if text.contains("://") => return Err(why(text)),
        None => Parts::of(&format!("http://{text}")).ok_or_else(|| why(text))?,
    };
    if !matches!(parts.scheme.as_str(), "http" | "https") {
        return Err(Unusable::Scheme(parts.scheme));
    }
    if parts.host.is_empty() || parts.host.starts_with(':') {
        return Err(Unusable::NoHost);
    }
    let user = parts.user.map(|user| format!("{user}@")).unwrap_or_default();
    Url::parse(&format!("{}://{user}{}", parts.scheme, parts.host)).map_err(|error| match error {
        url::ParseError::InvalidPort => Unusable::Port,
        _ => Unusable::Host,
    })
}

/// What is wrong with an address that Go cannot read.
fn why(text: &str) -> Unusable {
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (user_and_password, host) = after_scheme.rsplit_once('@').unwrap_or(("", after_scheme));
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let odd = user_and_password.chars().find(|&character| !is_plain(character));
    match odd {
        _ if text.contains(|it: char| it.is_whitespace() || it.is_control()) => {
            Unusable::WhiteSpace
        }
        Some(character) => Unusable::Character(character),
        None if unescape(user_and_password).is_none() => Unusable::Escape,
        None if host.is_empty() || host.starts_with(':') => Unusable::NoHost,
        None if host.starts_with('[') && !host.contains(']') => Unusable::Host,
        None if !has_valid_port(host) => Unusable::Port,
        None => Unusable::Otherwise,
    }
}

/// The parts of a URL that matter of a proxy.
struct Parts {
    scheme: String,
    /// User and password with their escapes.
    user: Option<String>,
    host: String,
}

impl Parts {
    /// By `url.Parse`; nothing where that fails.
    fn of(text: &str) -> Option<Self> {
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if text.chars().any(|character| character.is_ascii_control()) {
            return None;
        }
        unescape(fragment)?;
        let (scheme, rest) = scheme(text)?;
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        let mut parts = Self { scheme: scheme.to_lowercase(), user: None, host: String::new() };
        if !rest.starts_with('/') {
            let is_relative_with_colon = rest.split('/').next().is_some_and(|it| it.contains(':'));
            return (!scheme.is_empty() || !is_relative_with_colon).then_some(parts);
        }
        let has_authority = !scheme.is_empty() || !rest.starts_with("///");
        let Some(authority) = rest.strip_prefix("//").filter(|_| has_authority) else {
            unescape(rest)?;
            return Some(parts);
        };
        let (authority, path) =
            authority.find('/').map_or((authority, ""), |at| authority.split_at(at));
        unescape(path)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        parts.host = Self::host(host)?;
        if let Some(user) = user {
            unescape(user).filter(|_| user.chars().all(is_plain))?;
            parts.user = Some(user.to_owned());
        }
        Some(parts)
    }

    fn host(host: &str) -> Option<String> {
        if !has_valid_port(host) {
            return None;
        }
        // Only what is not ASCII may be escaped in a host.
        let bytes = host.as_bytes();
        let may_stand = |(at, &byte): (usize, &u8)| match byte {
            b'%' => bytes
                .get(at + 1)
                .is_some_and(|it| matches!(it, b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')),
            0x80.. => true,
            byte => byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte),
        };
        if !bytes.iter().enumerate().all(may_stand) {
            return None;
        }
        unescape(host)
    }
}

/// A scheme and what follows its colon; nothing where there is a colon without a scheme.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let is_in_scheme = |(at, byte): (usize, u8)| match byte {
        b'0'..=b'9' | b'+' | b'-' | b'.' => at > 0,
        byte => byte.is_ascii_alphabetic(),
    };
    let length = text.bytes().enumerate().take_while(|&it| is_in_scheme(it)).count();
    match text[length..].strip_prefix(':') {
        Some(_) if length == 0 => None,
        Some(rest) => Some((&text[..length], rest)),
        None => Some(("", text)),
    }
}

/// Whether what follows the host, behind a colon, is a number or nothing.
fn has_valid_port(host: &str) -> bool {
    let after = match host.rfind('[') {
        Some(_) => host.rfind(']').map(|at| &host[at + 1..]),
        None => Some(host.rfind(':').map_or("", |at| &host[at..])),
    };
    after.is_some_and(|after| {
        after.is_empty()
            || after.strip_prefix(':').is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()))
    })
}

/// Whether a character may stand in a user or password as it is.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(character)
}

/// Text without its escapes; nothing where a `%` begins none.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r36_a_proxy_is_read_with_and_without_a_scheme_and_with_a_user() {
        for (text, wanted) in [
            ("http://proxy.example.com:3128", "http://proxy.example.com:3128/"),
            ("proxy.example.com:3128", "http://proxy.example.com:3128/"),
            ("10.0.0.1:3128", "http://10.0.0.1:3128/"),
            ("proxy", "http://proxy/"),
            ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128/"),
            ("HTTPS://Proxy:443/", "https://proxy/"),
            ("http://proxy:3128/path?query#fragment", "http://proxy:3128/"),
            ("http://me@proxy", "http://me@proxy/"),
            ("me:p%40ss%23@proxy:1", "http://me:p%40ss%23@proxy:1/"),
            ("http://me:a@b@proxy", "http://me:a%40b@proxy/"),
            ("http://me:@proxy", "http://me@proxy/"),
        ] {
            let read = read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(read.as_str(), wanted, "{text}");
        }
    }

    #[test]
    fn r36_what_is_wrong_with_a_proxy_is_said_without_its_password() {
        let told = [
            "socks5://proxy:1080",
            "socks5h://me:hunter2@proxy:1080",
            "ftp://proxy",
            "http://me:hunter#2@proxy:3128",
            "http://me:hunter/2@proxy:3128",
            "http://me:hunter?2@proxy:3128",
            "http://me:hunter^2@proxy:3128",
            "http://me:hünter@proxy:3128",
            "http://me:hunter%2@proxy:3128",
            "http://",
            "http://:3128",
            ":3128",
            "http:///proxy",
            "http://proxy:port",
            "http://proxy:99999",
            "http://proxy:3128 ",
            "http://pro xy:3128",
            "http://me:hunter2@",
            "http://[2001:db8::1",
            "http://[nonsense]:3128",
        ]
        .map(|text| match read(text) {
            Err(why) => format!("{text}: {why}"),
            Ok(url) => format!("{text}: read as {url}"),
        });
        insta::assert_snapshot!(told.join("\n"), @"
        socks5://proxy:1080: names a SOCKS proxy (`socks5`), and only http and https proxies are supported
        socks5h://me:hunter2@proxy:1080: names a SOCKS proxy (`socks5h`), and only http and https proxies are supported
        ftp://proxy: has the scheme `ftp`, and only http and https proxies are supported
        http://me:hunter#2@proxy:3128: has a `#` in its user or password: write it as %23
        http://me:hunter/2@proxy:3128: has a `/` in its user or password: write it as %2F
        http://me:hunter?2@proxy:3128: has a `?` in its user or password: write it as %3F
        http://me:hunter^2@proxy:3128: has a `^` in its user or password: write it as %5E
        http://me:hünter@proxy:3128: has a `ü` in its user or password: write it as %C3%BC
        http://me:hunter%2@proxy:3128: has a `%` that no two hexadecimal digits follow: write a percent sign as %25
        http://: does not name a host
        http://:3128: does not name a host
        :3128: does not name a host
        http:///proxy: does not name a host
        http://proxy:port: does not have a valid port
        http://proxy:99999: does not have a valid port
        http://proxy:3128 : has white space in it
        http://pro xy:3128: has white space in it
        http://me:hunter2@: does not name a host
        http://[2001:db8::1: does not have a valid host
        http://[nonsense]:3128: does not have a valid host
        ");
    }
}
