//! Which proxy a connection goes through: the one that is configured, or the one that the
//! environment names. The client itself never looks into the environment.

use url::Url;

use super::{TransportError, TransportFault};
use crate::config::settings::ProxyChoice;
use crate::secret::Secret;
use crate::world::World;

/// A proxy for https, and for which hosts it is passed by (`NO_PROXY`, as curl and Go read it).
pub(super) struct Proxy {
    pub(super) url: Url,
    pub(super) passed_by: Option<String>,
}

impl Proxy {
    /// The proxy of a connection, if it has one. Its password is removed from whatever is shown.
    pub(super) fn of(world: &World, choice: &ProxyChoice) -> Result<Option<Self>, TransportError> {
        let proxy = match choice {
            ProxyChoice::None => None,
            ProxyChoice::Url(url) => {
                Some(Self { url: usable("`proxy`", url.0.as_str())?, passed_by: None })
            }
            ProxyChoice::FromEnvironment => of_environment(world),
        };
        if let Some(password) = proxy.as_ref().and_then(|proxy| proxy.url.password()) {
            world.redactor.remember(&Secret::new(password.to_owned()));
        }
        Ok(proxy)
    }

    /// The proxy as a person knows it: host and port, never its user and password.
    pub(super) fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

fn of_environment(world: &World) -> Option<Proxy> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|&name| Some((name, world.environment.secret_bytes(name)?)))
    };
    let named = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    let (name, value) = named?;
    // What the environment says is not said to us alone: a proxy that curl could use is passed over
    // where we cannot, since NO_PROXY may have meant this host anyway.
    let url = match usable(name, &String::from_utf8_lossy(value.expose())) {
        Ok(url) => url,
        Err(error) => {
            world.warn(format_args!("{}: going on without a proxy", error.text));
            return None;
        }
    };
    let passed_by = first(&["NO_PROXY", "no_proxy"])
        .map(|(_, hosts)| String::from_utf8_lossy(hosts.expose()).into_owned());
    Some(Proxy { url, passed_by })
}

/// A proxy's URL; a bare `HOST:PORT` means http, as it does to curl.
fn usable(place: &str, value: &str) -> Result<Url, TransportError> {
    let value = value.trim();
    let value = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let fault = |what: &str| {
        let text = format!("the proxy in {place} {what}");
        Err(TransportError { kind: TransportFault::ProxySetting, text })
    };
    match Url::parse(&value) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            fault(&format!("speaks `{}`, which is not supported", url.scheme()))
        }
        Ok(url) if url.host_str().is_some() => Ok(url),
        _ => fault("is no URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;

    fn from_environment(variables: &[(&str, &str)]) -> Result<Option<Proxy>, TransportError> {
        Proxy::of(&world_with(variables), &ProxyChoice::FromEnvironment)
    }

    #[test]
    fn r20_proxy_variables_are_read_from_the_world_https_before_all() {
        let proxy = from_environment(&[
            ("all_proxy", "http://all:1"),
            ("https_proxy", "proxy.example.com:3128"),
            ("no_proxy", "localhost,.example.com"),
            ("http_proxy", "http://never:1"),
        ]);
        let proxy = proxy.expect("usable").expect("a proxy");
        assert_eq!(proxy.url.as_str(), "http://proxy.example.com:3128/");
        assert_eq!(proxy.passed_by.as_deref(), Some("localhost,.example.com"));
        assert!(from_environment(&[("http_proxy", "http://never:1")]).expect("none").is_none());
    }

    #[test]
    fn a_proxys_password_is_never_shown() {
        let world = world_with(&[("HTTPS_PROXY", "http://me:hunter2@proxy.example.com:3128")]);
        let proxy = Proxy::of(&world, &ProxyChoice::FromEnvironment);
        assert_eq!(proxy.expect("usable").expect("a proxy").name(), "proxy.example.com:3128");
        assert_eq!(world.redactor.clean("said hunter2"), "said [redacted]");
    }

    #[test]
    fn a_configured_proxy_that_cannot_be_used_is_a_fault() {
        let url = Url::parse("socks5://proxy:1080").expect("a URL");
        let choice = ProxyChoice::Url(crate::config::settings::ProxyUrl(url));
        let fault = Proxy::of(&world_with(&[]), &choice).err().expect("a fault");
        let wanted = "the proxy in `proxy` speaks `socks5`, which is not supported";
        assert_eq!((fault.kind, fault.text.as_str()), (TransportFault::ProxySetting, wanted));
    }

    #[test]
    fn r20_a_proxy_of_the_environment_that_cannot_be_used_is_passed_over_and_told() {
        for (value, wanted) in [
            (
                "socks5://proxy:1080",
                "the proxy in ALL_PROXY speaks `socks5`, which is not supported: going on without \
                 a proxy",
            ),
            ("http://", "the proxy in ALL_PROXY is no URL: going on without a proxy"),
        ] {
            let mut world = world_with(&[("ALL_PROXY", value), ("NO_PROXY", "localhost")]);
            world.log = crate::log::Log::in_memory(crate::log::Level::Warn);
            let proxy = Proxy::of(&world, &ProxyChoice::FromEnvironment);
            assert!(proxy.expect("no fault").is_none());
            assert!(world.log.lines().concat().contains(wanted), "{:?}", world.log.lines());
        }
    }
}
