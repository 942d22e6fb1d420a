//! Which proxy a request goes through: the one that is configured, or the one that the environment
//! names, as podman would choose it (rule R36). The client itself never looks into the environment.

mod address;
mod no_proxy;

use std::fmt;

use url::Url;

use super::{TransportError, TransportFault};
use crate::config::settings::ProxyChoice;
use crate::secret::Secret;
use crate::world::World;

/// How requests to a URL go: directly, or through a proxy.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) proxy: Option<Proxy>,
    /// Which variable may have meant a proxy that is not used, and why not: for whoever explains
    /// why the server was not reached without it.
    pub(super) passed_over: Option<String>,
}

/// A proxy for https.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// With its user and password.
    pub(super) url: Url,
    /// The variable that names it; nothing where the configuration does.
    pub(super) variable: Option<&'static str>,
}

impl Route {
    const DIRECT: Self = Self { proxy: None, passed_over: None };

    /// The way to a URL. The password of a proxy is removed from whatever is shown.
    pub(super) fn to(
        world: &World,
        choice: &ProxyChoice,
        url: &Url,
    ) -> Result<Self, TransportError> {
        // http is for the loopback, where no proxy belongs (rule R19).
        let route = match choice {
            _ if url.scheme() != "https" => Self::DIRECT,
            ProxyChoice::None => Self::DIRECT,
            ProxyChoice::Url(url) => {
                let is_http = matches!(url.0.scheme(), "http" | "https") && url.0.has_host();
                if !is_http {
                    let text = "the proxy in `proxy` is not an http or https proxy".to_owned();
                    return Err(TransportError { kind: TransportFault::ProxySetting, text });
                }
                let proxy = Proxy { url: url.0.clone(), variable: None };
                Self { proxy: Some(proxy), passed_over: None }
            }
            ProxyChoice::FromEnvironment => of_environment(world, url),
        };
        if let Some(password) = route.proxy.as_ref().and_then(|proxy| proxy.url.password()) {
            world.redactor.remember(&Secret::new(password.to_owned()));
            world.redactor.remember(&Secret::new(address::unescape(password).unwrap_or_default()));
        }
        Ok(route)
    }
}

impl Proxy {
    /// Host and port, never its user and password.
    pub(super) fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// As a person knows it: the end of "the proxy ", with where it was named.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` ({})", self.name(), self.variable.unwrap_or("`proxy`"))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn of_environment(world: &World, url: &Url) -> Route {
    let first = |names: [&'static str; 2]| {
        let value = |name| world.environment.secret_bytes(name);
        let (name, value) = names.into_iter().find_map(|name| Some((name, value(name)?)))?;
        Some((name, String::from_utf8_lossy(value.expose()).into_owned()))
    };
    let no_proxy = first(["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts).unwrap_or_default();
    if no_proxy::passes_by(&no_proxy, url) {
        return Route::DIRECT;
    }
    let passed_over = |text: String| {
        world.debug(format_args!("{text}"));
        Route { proxy: None, passed_over: Some(text) }
    };
    let Some((variable, value)) = first(["HTTPS_PROXY", "https_proxy"]) else {
        return match first(["ALL_PROXY", "all_proxy"]) {
            Some((name, _)) => passed_over(format!(
                "{name} is not used (as podman does not use it): HTTPS_PROXY names a proxy"
            )),
            None => Route::DIRECT,
        };
    };
    match address::read(&value) {
        Ok(url) => {
            let proxy = Proxy { url, variable: Some(variable) };
            Route { proxy: Some(proxy), passed_over: None }
        }
        Err(why) => passed_over(format!("no proxy was used, since {variable} {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;

    fn route(variables: &[(&str, &str)]) -> Route {
        let url = Url::parse("https://quay.example.com").expect("a URL");
        Route::to(&world_with(variables), &ProxyChoice::FromEnvironment, &url).expect("a route")
    }

    #[test]
    fn r36_proxy_variables_are_read_from_the_world_in_the_order_of_go() {
        for (variables, wanted) in [
            (&[("https_proxy", "b:1"), ("HTTPS_PROXY", "a:1")][..], Some("`a:1` (HTTPS_PROXY)")),
            (&[("https_proxy", "b:1"), ("HTTPS_PROXY", "")], Some("`b:1` (https_proxy)")),
            (&[("http_proxy", "c:1"), ("HTTP_PROXY", "c:1")], None),
            (
                &[("HTTPS_PROXY", "a:1"), ("NO_PROXY", "x"), ("no_proxy", "*")],
                Some("`a:1` (HTTPS_PROXY)"),
            ),
            (&[("HTTPS_PROXY", "a:1"), ("no_proxy", ".example.com")], None),
            (&[("HTTPS_PROXY", "https://a"), ("REQUEST_METHOD", "GET")], Some("`a` (HTTPS_PROXY)")),
        ] {
            let proxy = route(variables).proxy.map(|proxy| proxy.to_string());
            assert_eq!(proxy.as_deref(), wanted, "{variables:?}");
        }
    }

    #[test]
    fn r36_a_variable_that_cannot_be_used_is_passed_over_and_named() {
        for (variables, wanted) in [
            (
                &[("HTTPS_PROXY", "socks5://me:hunter2@proxy:1080")][..],
                Some(
                    "no proxy was used, since HTTPS_PROXY names a SOCKS proxy (`socks5`), and only \
                     http and https proxies are supported",
                ),
            ),
            (
                &[("https_proxy", "http://me:hunter#2@proxy:3128")],
                Some(
                    "no proxy was used, since https_proxy has a `#` in its user or password: write \
                     it as %23",
                ),
            ),
            (
                &[("all_proxy", "http://proxy:3128")],
                Some(
                    "all_proxy is not used (as podman does not use it): HTTPS_PROXY names a proxy",
                ),
            ),
            (&[("HTTPS_PROXY", "socks5://proxy"), ("NO_PROXY", "example.com")], None),
            (&[], None),
        ] {
            let route = route(variables);
            assert!(route.proxy.is_none());
            assert_eq!(route.passed_over.as_deref(), wanted, "{variables:?}");
        }
    }

    #[test]
    fn r21_a_proxys_password_is_never_shown() {
        let world = world_with(&[("HTTPS_PROXY", "http://me:hunter%232@proxy.example.com:3128")]);
        let url = Url::parse("https://quay.example.com").expect("a URL");
        let route = Route::to(&world, &ProxyChoice::FromEnvironment, &url).expect("a route");
        assert_eq!(format!("{route:?}").matches("hunter").count(), 0);
        assert_eq!(world.redactor.clean("hunter#2 hunter%232"), "[redacted] [redacted]");
    }

    #[test]
    fn a_configured_proxy_that_cannot_be_used_is_a_fault() {
        let proxy = Url::parse("socks5://proxy:1080").expect("a URL");
        let choice = ProxyChoice::Url(crate::config::settings::ProxyUrl(proxy));
        let url = Url::parse("https://quay.example.com").expect("a URL");
        let fault = Route::to(&world_with(&[]), &choice, &url).expect_err("a fault");
        let wanted = "the proxy in `proxy` is not an http or https proxy";
        assert_eq!((fault.kind, fault.text.as_str()), (TransportFault::ProxySetting, wanted));
    }
}
