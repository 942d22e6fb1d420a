//! What passes a proxy by: `NO_PROXY`, read as Go's `golang.org/x/net/http/httpproxy` reads it, and
//! so as podman, buildah, skopeo and docker do (rule R36). `tests/httpproxy` holds it to that module.

use std::net::{IpAddr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use url::{Host, Url};

/// Whether requests to a URL pass the proxy by: to this host, as ever, or as `no_proxy` says.
pub(super) fn passes_by(no_proxy: &str, url: &Url) -> bool {
    let target = Target::of(url);
    target.is_this_host() || no_proxy.split(',').any(|entry| covers(entry, &target))
}

/// Whom a request is for.
struct Target<'a> {
    /// The host, where it is a name.
    name: &'a str,
    /// The host, where it is an address.
    address: Option<IpAddr>,
    port: String,
}

impl<'a> Target<'a> {
    fn of(url: &'a Url) -> Self {
        let (name, address) = match url.host() {
            Some(Host::Domain(name)) => (name, None),
            Some(Host::Ipv4(address)) => ("", Some(IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => ("", Some(IpAddr::V6(address).to_canonical())),
            None => ("", None),
        };
        let port = url.port_or_known_default().map(|port| port.to_string()).unwrap_or_default();
        Self { name, address, port }
    }

    fn is_this_host(&self) -> bool {
        self.name == "localhost" || self.address.is_some_and(|address| address.is_loopback())
    }
}

/// Whether one entry of the list covers a target.
fn covers(entry: &str, target: &Target<'_>) -> bool {
    let entry = lower(entry.trim());
    if entry == "*" {
        return true;
    }
    if let Some(network) = Network::parse(&entry) {
        return target.address.is_some_and(|address| network.has(address));
    }
    let (host, port) = host_and_port(&entry).unwrap_or((entry.as_str(), ""));
    if !port.is_empty() && port != target.port {
        return false;
    }
    match (host.parse::<IpAddr>(), target.address) {
        (Ok(address), covered) => covered == Some(address.to_canonical()),
        (Err(_), Some(_)) => false,
        (Err(_), None) => !host.is_empty() && covers_name(host, target.name),
    }
}

/// `example.com` covers itself and all below it, `.example.com` and `*.example.com` what is below.
fn covers_name(host: &str, name: &str) -> bool {
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let (suffix, is_itself_covered) =
        if host.starts_with('.') { (host.to_owned(), false) } else { (format!(".{host}"), true) };
    let suffix = in_ascii(suffix);
    name.ends_with(&suffix) || is_itself_covered && name == &suffix[1..]
}

/// A name as it goes over the wire; one that is not valid as it is.
fn in_ascii(name: String) -> String {
    if name.is_ascii() {
        return name;
    }
    let (ascii, hyphens) = (AsciiDenyList::STD3, Hyphens::Check);
    match Uts46::new().to_ascii(name.as_bytes(), ascii, hyphens, DnsLength::Ignore) {
        Ok(ascii) => ascii.into_owned(),
        Err(_) => name,
    }
}

/// Character by character, as Go does: a final sigma is one like any other.
fn lower(text: &str) -> String {
    text.chars().filter_map(|character| character.to_lowercase().next()).collect()
}

/// `HOST:PORT` or `[HOST]:PORT`, as Go's `net.SplitHostPort` takes them apart.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (before, port) = text.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// `ADDRESS/LENGTH`.
struct Network {
    address: IpAddr,
    length: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u32 = length.parse().ok().filter(|_| is_number)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (length <= longest).then_some(Self { address, length })
    }

    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                self.length == 0 || (own.to_bits() ^ other.to_bits()) >> (32 - self.length) == 0
            }
            (IpAddr::V6(own), other) => {
                // Addresses of version 4 are in the network of version 6 that is made of such.
                let begin = Ipv6Addr::from_bits(masked(own.to_bits(), self.length));
                let is_of_version_4 = begin.to_ipv4_mapped().is_some();
                let other = match other {
                    IpAddr::V4(other) if is_of_version_4 => other.to_ipv6_mapped(),
                    IpAddr::V6(other) if !is_of_version_4 => other,
                    _ => return false,
                };
                masked(other.to_bits(), self.length) == begin.to_bits()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

fn masked(bits: u128, length: u32) -> u128 {
    bits & u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r36_what_passes_a_proxy_by_is_read_as_go_reads_it() {
        for (no_proxy, url, wanted) in [
            ("", "https://quay.example.com", false),
            // This host, as ever.
            ("", "https://localhost:8443", true),
            ("", "https://127.8.9.1", true),
            ("", "https://[::1]:8443", true),
            ("", "https://[::ffff:127.0.0.1]", true),
            ("", "https://quay.localhost", false),
            // A name covers itself and what is below; a dot or a star only what is below.
            ("example.com", "https://example.com", true),
            ("example.com", "https://quay.example.com", true),
            ("example.com", "https://myexample.com", false),
            (".example.com", "https://quay.example.com", true),
            (".example.com", "https://example.com", false),
            ("*.example.com", "https://a.quay.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*example.com", "https://quay.example.com", false),
            (" a, \tExample.COM ,b", "https://quay.example.com", true),
            ("a b", "https://b", false),
            ("*", "https://quay.example.com", true),
            ("a,*,b", "https://10.0.0.1", true),
            ("bücher.example", "https://quay.bücher.example", true),
            ("BÜCHER.example", "https://xn--bcher-kva.example", true),
            ("bü_cher.example", "https://bü_cher.example", false),
            // Ports.
            ("quay.example.com:8443", "https://quay.example.com:8443", true),
            ("quay.example.com:8443", "https://quay.example.com", false),
            ("quay.example.com:443", "https://quay.example.com", true),
            ("quay.example.com:", "https://quay.example.com:8443", true),
            (":8443", "https://quay.example.com:8443", false),
            // Addresses.
            ("10.0.0.1", "https://10.0.0.1:8443", true),
            ("10.0.0.1:443", "https://10.0.0.1:8443", false),
            ("10.0.0.1", "https://10.0.0.1.example.com", false),
            ("0.0.1", "https://10.0.0.1", false),
            ("2001:db8::1", "https://[2001:db8:0::1]", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]", true),
            ("[2001:db8::1]", "https://[2001:db8::1]", false),
            ("::ffff:10.0.0.1", "https://10.0.0.1", true),
            // Networks.
            ("10.0.0.0/8", "https://10.255.0.1", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("10.9.9.9/8", "https://10.0.0.1", true),
            ("0.0.0.0/0", "https://10.0.0.1", true),
            ("0.0.0.0/0", "https://[2001:db8::1]", false),
            ("0.0.0.0/0", "https://quay.example.com", false),
            ("10.0.0.0/33", "https://10.0.0.1", false),
            ("10.0.0.0/+8", "https://10.0.0.1", false),
            ("10.0.0.0/8:443", "https://10.0.0.1", false),
            ("2001:db8::/32", "https://[2001:db8:1::1]", true),
            ("::/0", "https://[2001:db8:1::1]", true),
            ("::/0", "https://10.0.0.1", false),
            ("::ffff:10.0.0.0/104", "https://10.1.1.1", true),
            ("::ffff:10.0.0.0/90", "https://10.0.0.0", false),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(passes_by(no_proxy, &url), wanted, "{no_proxy:?} {url}");
        }
    }
}
