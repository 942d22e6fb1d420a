//! A registry server as clients and the configuration name it: `HOST[:PORT][/PATH]`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A parsed server name. `host` is in lower case and keeps a port as it was written, so `host`
/// and `host:443` are two servers; `path` is the part behind the host, without a slash at either
/// end. The order is that of host, then path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    host: String,
    path: String,
}

/// Why a text names no server, as the end of a sentence that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAServer(pub &'static str);

impl Server {
    /// Parses what a client asked for. White space around it, a scheme `http` or `https` and one
    /// slash at its end are accepted; everything that could make two readers see two different
    /// hosts is refused.
    pub fn parse(text: &str) -> Result<Self, NotAServer> {
        let text = text.trim_ascii();
        if let Some(fault) = text.bytes().find_map(fault_of_byte) {
            return Err(NotAServer(fault));
        }
        let text = without_scheme(text)?;
        let text = text.strip_suffix('/').unwrap_or(text);
        let (authority, path) = parts(text);
        let host = parse_authority(authority)?;
        if authority.len() < text.len() {
            check_path(path)?;
        }
        Ok(Self { host, path: path.to_owned() })
    }

    /// The host in lower case, with the port where one was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without its port.
    pub fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            _ => &self.host,
        }
    }

    /// The path without slashes at its ends; empty for a bare host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether `other` is this server or lies beneath it, by whole path segments.
    pub fn covers(&self, other: &Self) -> bool {
        self.host == other.host && is_path_prefix(&self.path, &other.path)
    }
}

/// The host of a server as it is written, and its path, which is empty for a bare host. Looking at one
/// byte after the other is quickest for what is this short.
pub fn parts(server: &str) -> (&str, &str) {
    let slash = server.bytes().position(|byte| byte == b'/');
    let split = slash.and_then(|at| Some((server.get(..at)?, server.get(at + 1..)?)));
    split.unwrap_or((server, ""))
}

/// Whether `prefix` is `path` or stands before a `/` in it; the empty prefix covers every path.
pub fn is_path_prefix(prefix: &str, path: &str) -> bool {
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.host)?;
        if !self.path.is_empty() {
            write!(formatter, "/{}", self.path)?;
        }
        Ok(())
    }
}

const fn fault_of_byte(byte: u8) -> Option<&'static str> {
    match byte {
        b'?' => Some("has a `?`"),
        b'#' => Some("has a `#`"),
        b'\\' => Some("has a backslash"),
        b'%' => Some("has a `%`"),
        b' ' => Some("has a space inside"),
        0..=31 | 127 => Some("has a control character"),
        128..=255 => Some("has a character that is not ASCII"),
        _ => None,
    }
}

fn without_scheme(text: &str) -> Result<&str, NotAServer> {
    match text.split_once("://") {
        None => Ok(text),
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") =>
        {
            Ok(rest)
        }
        Some(_) => Err(NotAServer("has a scheme other than `https` and `http`")),
    }
}

fn parse_authority(authority: &str) -> Result<String, NotAServer> {
    if authority.contains('@') {
        return Err(NotAServer("has user information before the host"));
    }
    let authority = authority.to_ascii_lowercase();
    let (host, port) = split_port(&authority)?;
    if let Some(port) = port {
        let digits_only = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits_only || port.starts_with('0') || port.parse::<u16>().is_err() {
            return Err(NotAServer("has a port that is not a number from 1 to 65535"));
        }
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        address.parse::<Ipv6Addr>().map_err(|_| NotAServer("has a broken IPv6 address"))?;
    } else {
        check_host_name(host)?;
    }
    Ok(authority)
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), NotAServer> {
    let end_of_host = match authority.strip_prefix('[') {
        None => 0,
        Some(_) => authority.find(']').ok_or(NotAServer("has a broken IPv6 address"))?,
    };
    match authority[end_of_host..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let colon = end_of_host + colon;
            Ok((&authority[..colon], Some(&authority[colon + 1..])))
        }
    }
}

fn check_host_name(host: &str) -> Result<(), NotAServer> {
    if host.is_empty() {
        return Err(NotAServer("has no host"));
    }
    let is_fit =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let labels_are_fit = host
        .split('.')
        .all(|label| !label.is_empty() && label.len() <= 63 && label.bytes().all(is_fit));
    if !labels_are_fit || host.len() > 253 {
        return Err(NotAServer("has a host that is no host name"));
    }
    let looks_like_an_address = host
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if looks_like_an_address && host.parse::<Ipv4Addr>().is_err() {
        return Err(NotAServer("has a host that is no IPv4 address"));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), NotAServer> {
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(NotAServer("has an empty or dot segment in its path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Server::parse(text).ok().map(|server| server.to_string())
    }

    #[test]
    fn r3_every_form_that_clients_send_names_the_same_server() {
        for text in [
            "quay.example.com",
            "quay.example.com\n",
            " quay.example.com\r\n\r\n",
            "QUAY.Example.com",
            "https://quay.example.com",
            "http://quay.example.com/",
            "HTTPS://quay.example.com/",
            "quay.example.com/",
        ] {
            assert_eq!(parsed(text).as_deref(), Some("quay.example.com"), "{text:?}");
        }
    }

    #[test]
    fn r3_a_path_and_a_port_are_kept_as_written() {
        for (text, wanted) in [
            ("quay.example.com:443", "quay.example.com:443"),
            ("https://Quay.example.com:8443/Org/repo/", "quay.example.com:8443/Org/repo"),
            ("[2001:DB8::1]:8443/x", "[2001:db8::1]:8443/x"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(wanted), "{text:?}");
        }
    }

    #[test]
    fn r3_what_two_readers_could_read_differently_is_no_server() {
        for text in [
            "",
            " ",
            "/",
            "//",
            "https://",
            "user@quay.example.com",
            "user:pw@quay.example.com",
            "quay.example.com?x",
            "quay.example.com#x",
            "quay.example.com\\x",
            "quay%2eexample.com",
            "quay.exa mple.com",
            "quay.example.com\u{0}",
            "quay.example.com\nother",
            "quay.exämple.com",
            "quay.example.com//x",
            "quay.example.com/./x",
            "quay.example.com/../x",
            "quay.example.com/x//",
            "quay.example.com:",
            "quay.example.com:0",
            "quay.example.com:99999",
            "quay.example.com:08",
            "quay.example.com:44a",
            "quay.example.com:443:1",
            "ftp://quay.example.com",
            "https://https://quay.example.com",
            "quay..example.com",
            ".example.com",
            "example.com.",
            "[::1",
            "[::g]",
            "::1",
            "1.2.3",
            "1.2.3.999",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn r3_prefixes_match_whole_segments() {
        let server = |text: &str| Server::parse(text).expect("a server");
        for (rule, asked, covered) in [
            ("h", "h", true),
            ("h", "h/org/repo", true),
            ("h/org", "h/org", true),
            ("h/org", "h/org/repo", true),
            ("h/org", "h/organization", false),
            ("h/org", "h", false),
            ("h/org/repo", "h/org", false),
            ("h", "h:443", false),
            ("h:443", "h", false),
            ("h", "g", false),
        ] {
            assert_eq!(server(rule).covers(&server(asked)), covered, "{rule} {asked}");
        }
    }
}
