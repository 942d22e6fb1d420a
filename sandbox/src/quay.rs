//! The registry: its state, and which endpoint answers what.

mod exchange;
pub(crate) mod pages;
mod v2;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::ClientConfig;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::fault::{Fault, Recorded, Times};
use crate::http::{Reply, Request};
use crate::keys::Algorithm;
use crate::keys::{self, Slot};
use crate::server::{Answer, Control, Listener, Service, lock};
use crate::tls::{self, ServerCertificate};
use crate::token::{Minter, SignedBy, TokenShape};

/// The path of the exchange: a federated robot's OIDC token for a robot token.
pub const EXCHANGE_PATH: &str = "/oauth2/federation/robot/token";

/// Where an instance tells how it is.
pub const HEALTH_PATH: &str = "/health/instance";

/// nginx reads a header line into 8 KiB. As measured, `len(robot) + 1 + len(token)` = 6123 passes
/// (a line of 8185 bytes), one more does not (8189).
const LONGEST_HEADER_LINE: usize = 8188;

/// A Quay release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.12, before the exchange existed.
    V3_12,
    /// 3.13, the first with the exchange.
    V3_13,
    /// 3.17.
    V3_17,
    /// The main branch on the way to 3.18: bindings may have audiences.
    V3_18,
}

/// A Quay at a port of its own, `localhost:PORT`.
pub struct Quay {
    service: Arc<Registry>,
    control: Arc<Control>,
    https: Listener,
    http: Listener,
}

/// What answers requests.
struct Registry {
    state: Mutex<State>,
    signing: Signing,
    trust: Arc<ClientConfig>,
}

/// The instance key and its certificate.
struct Signing {
    /// Another one stands for another key: a token that does not name it is refused for that alone.
    kid: Mutex<String>,
    certificate_pem: String,
    certificate_der: Vec<u8>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, as in Quay")]
struct State {
    version: Version,
    reverse_proxy: bool,
    server_hostname: String,
    url_scheme: String,
    robots_disallowed: bool,
    readonly: bool,
    discovery_timeout: Duration,
    proxy_timeout: Duration,
    robot_token_life: Duration,
    next_robot_tokens: VecDeque<String>,
    /// Organizations and users: whether they are enabled.
    namespaces: BTreeMap<String, bool>,
    robots: BTreeMap<String, Robot>,
    repositories: BTreeSet<String>,
    namespaces_are_made_by_pushes: bool,
    database_is_away: bool,
}

#[derive(Clone)]
struct Robot {
    enabled: bool,
    static_token: String,
    federation: Vec<Binding>,
    permissions: Vec<(String, BTreeSet<String>)>,
    /// The namespaces in which it may create repositories.
    creates_in: BTreeSet<String>,
}

/// One entry of a robot's federation configuration.
#[derive(Clone)]
struct Binding {
    issuer: String,
    subject: String,
    audiences: Option<Vec<String>>,
}

impl Quay {
    pub(crate) fn start(
        certificate: &ServerCertificate,
        trust: Arc<ClientConfig>,
        options: &Options,
    ) -> io::Result<Self> {
        let key = keys::rsa(Slot::Quay);
        let (certificate_pem, certificate_der) = tls::self_signed_for_tokens(key.pkcs8())?;
        let kid = fingerprint(&key.components().0);
        let service = Arc::new(Registry {
            state: Mutex::new(State::new(options)),
            signing: Signing { kid: Mutex::new(kid), certificate_pem, certificate_der },
            trust,
        });
        let control = Arc::new(Control::default());
        let listen = |tls| {
            let service: Arc<dyn Service> = Arc::<Registry>::clone(&service);
            Listener::start(service, Arc::clone(&control), tls)
        };
        let https = listen(Some(Arc::clone(&certificate.config)))?;
        let http = listen(None)?;
        let quay = Self { service, control, https, http };
        quay.set_server_hostname(&quay.host());
        Ok(quay)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.service.state)
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.https.port())
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.host())
    }

    /// The same registry over plain HTTP, at another port.
    pub fn http_url(&self) -> String {
        format!("http://localhost:{}", self.http.port())
    }

    /// The release whose replies are given.
    pub fn set_version(&self, version: Version) {
        self.state().version = version;
    }

    /// Whether the reverse proxy stands in front.
    pub fn set_reverse_proxy(&self, present: bool) {
        self.state().reverse_proxy = present;
    }

    /// How long Quay waits for a discovery document.
    pub fn set_discovery_timeout(&self, timeout: Duration) {
        self.state().discovery_timeout = timeout;
    }

    /// How long the reverse proxy waits for Quay.
    pub fn set_proxy_timeout(&self, timeout: Duration) {
        self.state().proxy_timeout = timeout;
    }

    /// From `iat` to `exp` of the robot tokens to come, in whole seconds.
    pub fn set_robot_token_life(&self, life: Duration) {
        self.state().robot_token_life = life;
    }

    /// `SERVER_HOSTNAME`: the `aud` of robot tokens and the name in challenges. At first
    /// [`Quay::host`].
    pub fn set_server_hostname(&self, hostname: &str) {
        hostname.clone_into(&mut self.state().server_hostname);
    }

    /// `PREFERRED_URL_SCHEME`: the scheme of the realm in challenges. At first `https`.
    pub fn set_url_scheme(&self, scheme: &str) {
        scheme.clone_into(&mut self.state().url_scheme);
    }

    /// `ROBOTS_DISALLOW`. The exchange does not heed it.
    pub fn set_robots_disallow(&self, disallow: bool) {
        self.state().robots_disallowed = disallow;
    }

    /// `REGISTRY_STATE: readonly`. Neither the exchange nor `/v2/auth` heeds it.
    pub fn set_registry_readonly(&self, readonly: bool) {
        self.state().readonly = readonly;
    }

    /// Enables or disables an organization (or a user).
    pub fn set_organization_enabled(&self, name: &str, enabled: bool) {
        self.state().namespaces.insert(name.to_owned(), enabled);
    }

    /// Adds a user (not a robot). Nobody can log in as one.
    pub fn add_user(&self, name: &str) {
        self.state().namespaces.entry(name.to_owned()).or_insert(true);
    }

    /// Adds the robot `NAMESPACE+SHORTNAME`, and the organization where it is missing. A robot
    /// that is there already loses federation, permissions and static token.
    pub fn add_robot(&self, name: &str) {
        if let Some((namespace, _)) = name.split_once('+') {
            self.add_user(namespace);
        }
        self.state().robots.insert(name.to_owned(), Robot::new());
    }

    /// Deletes a robot.
    pub fn remove_robot(&self, name: &str) {
        self.state().robots.remove(name);
    }

    /// Enables or disables a robot's row.
    pub fn set_robot_enabled(&self, name: &str, enabled: bool) {
        self.with_robot(name, |robot| robot.enabled = enabled);
    }

    /// Adds a federation entry: tokens of this issuer and subject may be exchanged. `audiences`
    /// are heeded by 3.18 only.
    pub fn bind(&self, robot: &str, issuer: &str, subject: &str, audiences: Option<Vec<String>>) {
        let binding = Binding { issuer: issuer.to_owned(), subject: subject.to_owned(), audiences };
        self.with_robot(robot, |robot| robot.federation.push(binding));
    }

    /// Removes a robot's federation entries of this issuer and subject.
    pub fn unbind(&self, robot: &str, issuer: &str, subject: &str) {
        self.with_robot(robot, |robot| {
            robot.federation.retain(|entry| entry.issuer != issuer || entry.subject != subject);
        });
    }

    /// Removes all federation entries of a robot.
    pub fn clear_federation(&self, robot: &str) {
        self.with_robot(robot, |robot| robot.federation.clear());
    }

    /// Permits a robot actions (`pull`, `push`, `*`) on a repository `NAMESPACE/NAME`, which is made
    /// where it is missing. A `*` at the end stands for any rest, as for an administrator of the
    /// namespace: then nothing is made, and what is permitted is so for what is missing too.
    /// Replaces what was permitted for that very name.
    pub fn permit(&self, robot: &str, repository: &str, actions: &[&str]) {
        if !repository.ends_with('*') {
            self.add_repository(repository);
        }
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        self.with_robot(robot, |robot| {
            robot.permissions.retain(|(known, _)| known != repository);
            robot.permissions.push((repository.to_owned(), actions));
        });
    }

    /// Adds an empty repository `NAMESPACE/NAME`.
    pub fn add_repository(&self, name: &str) {
        self.state().repositories.insert(name.to_owned());
    }

    /// All repositories, those among them that a scope with `push` has made.
    pub fn repositories(&self) -> BTreeSet<String> {
        self.state().repositories.clone()
    }

    /// Lets a robot create repositories in a namespace, as a team with the role `creator` does.
    pub fn let_create(&self, robot: &str, namespace: &str) {
        self.with_robot(robot, |robot| robot.creates_in.insert(namespace.to_owned()));
    }

    /// `CREATE_NAMESPACE_ON_PUSH`: a push makes the namespace that is missing too.
    pub fn set_create_namespace_on_push(&self, create: bool) {
        self.state().namespaces_are_made_by_pushes = create;
    }

    /// The robot's static password, as Quay's own pages show it.
    pub fn static_token(&self, robot: &str) -> String {
        self.with_robot(robot, |robot| robot.static_token.clone())
    }

    /// Regenerates the robot's static password.
    pub fn regenerate_static_token(&self, robot: &str) {
        self.with_robot(robot, |robot| robot.static_token = static_token());
    }

    fn with_robot<T>(&self, name: &str, change: impl FnOnce(&mut Robot) -> T) -> T {
        let mut state = self.state();
        let robot = state.robots.get_mut(name);
        change(robot.unwrap_or_else(|| panic!("the sandbox has no robot `{name}`")))
    }

    /// Another signing key takes the place of the one there is: whatever that has signed is refused
    /// from now on.
    pub fn replace_signing_key(&self) {
        let mut kid = lock(&self.service.signing.kid);
        let last = if kid.ends_with('0') { '1' } else { '0' };
        kid.pop();
        kid.push(last);
    }

    /// Whether Quay's database is out of its reach.
    pub fn set_database_away(&self, away: bool) {
        self.state().database_is_away = away;
    }

    /// What the next exchange to succeed hands out in place of a robot token.
    pub fn next_robot_token(&self, raw: String) {
        self.state().next_robot_tokens.push_back(raw);
    }

    /// The shape of a robot token as the exchange would mint it now; for [`Quay::mint`].
    pub fn robot_token_shape(&self, robot: &str) -> TokenShape {
        self.state().robot_token_shape(robot)
    }

    /// Mints a token with the registry's key.
    pub fn mint(&self, shape: &TokenShape) -> String {
        self.service.signing.minter().mint(shape)
    }

    /// The PEM of the certificate in the `x5c` header of `/v2/auth`'s tokens.
    pub(crate) fn registry_certificate_pem(&self) -> &str {
        &self.service.signing.certificate_pem
    }

    /// Plans a fault for a path (`*` is any). Faults of a path are used up in the order planned.
    pub fn fault(&self, path: &str, fault: Fault, times: Times) {
        self.control.fault(path, fault, times);
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.control.clear_faults();
    }

    /// All requests since the start, or since they were forgotten.
    pub fn requests(&self) -> Vec<Recorded> {
        self.control.requests()
    }

    /// When each connection was accepted since the start, those over which no request came too.
    pub fn connections(&self) -> Vec<SystemTime> {
        self.control.connections()
    }

    /// How many requests a path (without query) got.
    pub fn count(&self, path: &str) -> usize {
        self.control.count(path)
    }

    /// Forgets all recorded requests.
    pub fn forget_requests(&self) {
        self.control.forget_requests();
    }

    /// Connections to both ports are refused from now on; open ones are closed.
    pub fn stop_listening(&self) {
        self.https.stop_listening();
        self.http.stop_listening();
    }

    /// Listens again, at the same ports.
    ///
    /// # Panics
    /// Where another process has taken a port meanwhile.
    pub fn resume_listening(&self) {
        for listener in [&self.https, &self.http] {
            listener.resume_listening().expect("listen at Quay's port again");
        }
    }
}

impl Drop for Quay {
    fn drop(&mut self) {
        self.control.stop();
    }
}

impl Robot {
    fn new() -> Self {
        Self {
            enabled: true,
            static_token: static_token(),
            federation: Vec::new(),
            permissions: Vec::new(),
            creates_in: BTreeSet::new(),
        }
    }

    fn may(&self, repository: &str, action: &str) -> bool {
        self.permissions.iter().any(|(pattern, actions)| {
            let named = match pattern.strip_suffix('*') {
                Some(start) => repository.starts_with(start),
                None => pattern == repository,
            };
            named && actions.contains(action)
        })
    }
}

/// 64 characters, as Quay's own.
fn static_token() -> String {
    const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bytes = [0; 64];
    SystemRandom::new().fill(&mut bytes).expect("random bytes");
    bytes.iter().map(|&byte| char::from(CHARACTERS[usize::from(byte) % CHARACTERS.len()])).collect()
}

/// A service key's `kid`: 64 hexadecimal digits.
fn fingerprint(modulus: &[u8]) -> String {
    use std::fmt::Write as _;

    let digest = ring::digest::digest(&ring::digest::SHA256, modulus);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl State {
    fn new(options: &Options) -> Self {
        Self {
            version: options.version,
            reverse_proxy: options.reverse_proxy,
            server_hostname: String::new(),
            url_scheme: "https".to_owned(),
            robots_disallowed: false,
            readonly: false,
            discovery_timeout: options.discovery_timeout,
            proxy_timeout: options.proxy_timeout,
            robot_token_life: options.robot_token_life,
            next_robot_tokens: VecDeque::new(),
            namespaces: BTreeMap::new(),
            robots: BTreeMap::new(),
            repositories: BTreeSet::new(),
            namespaces_are_made_by_pushes: false,
            database_is_away: false,
        }
    }

    fn robot_token_shape(&self, robot: &str) -> TokenShape {
        let context = json!({
            "version": 2,
            "entity_kind": "robot",
            "entity_reference": robot,
            "kind": "user",
            "user": robot,
            "com.apostille.root": "$disabled",
        });
        TokenShape::default()
            .subject(robot)
            .audience(self.server_hostname.as_str())
            .claim("nbf", crate::token::now())
            // An object where a list belongs: the reason why `/v2/` refuses a robot token.
            .claim("access", json!({}))
            .claim("context", context)
            .life(i64::try_from(self.robot_token_life.as_secs()).unwrap_or(i64::MAX))
    }

    /// The realm and service that a client is sent to for a token.
    fn challenge(&self) -> String {
        let (scheme, host) = (&self.url_scheme, &self.server_hostname);
        format!("Bearer realm=\"{scheme}://{host}/v2/auth\",service=\"{host}\"")
    }
}

impl Signing {
    fn kid(&self) -> String {
        lock(&self.kid).clone()
    }

    fn minter(&self) -> Minter {
        Minter {
            key: keys::rsa(Slot::Quay),
            kid: self.kid(),
            ec_kid: self.kid(),
            issuer: "quay".to_owned(),
        }
    }

    /// A bearer token for the registry itself, with the certificate that a `docker-registry`
    /// looks for.
    fn registry_token(&self, claims: &Map<String, Value>) -> String {
        let header = Map::from_iter([
            ("alg".to_owned(), json!("RS256")),
            ("typ".to_owned(), json!("JWT")),
            ("kid".to_owned(), json!(self.kid())),
            ("x5c".to_owned(), json!([STANDARD.encode(&self.certificate_der)])),
        ]);
        self.minter().sign(Algorithm::Rs256, SignedBy::Own, &header, claims)
    }
}

impl Service for Registry {
    fn answer(&self, request: &Request, _: &Control) -> Answer {
        let (version, reverse_proxy) = {
            let state = lock(&self.state);
            (state.version, state.reverse_proxy)
        };
        if reverse_proxy && request.longest_header_line() > LONGEST_HEADER_LINE {
            return pages::header_too_large().into();
        }
        let path = request.path();
        if path == EXCHANGE_PATH {
            return match (version, request.method.as_str()) {
                (Version::V3_12, _) => exchange::redirect_to_a_slash(request).into(),
                (_, "GET" | "HEAD") => self.exchange(request),
                (_, method) => without_handler(method, "HEAD, GET, OPTIONS").into(),
            };
        }
        if path == "/v2/auth" {
            return match request.method.as_str() {
                "GET" | "HEAD" => self.registry_auth(request).into(),
                method => without_handler(method, "GET, HEAD, OPTIONS").into(),
            };
        }
        if path == "/v2/" {
            return self.registry_root(request).into();
        }
        if let Some(repository) =
            path.strip_prefix("/v2/").and_then(|rest| rest.strip_suffix("/tags/list"))
        {
            return self.tags(request, repository).into();
        }
        if path == "/v1/users/" {
            return self.v1_users(request).into();
        }
        if path == HEALTH_PATH {
            return self.health().into();
        }
        pages::not_found(version).into()
    }
}

impl Registry {
    /// How this instance is, by Quay's own checks; nobody needs to log in for that.
    fn health(&self) -> Reply {
        let is_away = lock(&self.state).database_is_away;
        let status = if is_away { 503 } else { 200 };
        let services = json!({
            "auth": !is_away,
            "database": !is_away,
            "disk_space": true,
            "registry_gunicorn": true,
            "service_key": !is_away,
            "web_gunicorn": true,
        });
        let body = json!({"data": {"services": services}, "status_code": status});
        Reply::json(status, json_line(&body))
    }
}

/// The answer to a method that an endpoint has no handler for.
fn without_handler(method: &str, allowed: &str) -> Reply {
    let reply = match method {
        "OPTIONS" => Reply::new(200, "text/html; charset=utf-8", Vec::new()),
        _ => pages::method_not_allowed(),
    };
    reply.with("Allow", allowed)
}

/// Splits a Basic header as Quay does, or says with Quay's words why not.
fn basic_credentials(header: &str) -> Result<(String, String), &'static str> {
    let parts: Vec<&str> = header.split(' ').filter(|part| !part.is_empty()).collect();
    let [scheme, encoded] = parts[..] else {
        return Err("Invalid basic auth header");
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err("Invalid basic auth header");
    }
    let decoded = lenient_base64(encoded).ok_or("Could not parse basic auth header")?;
    let Some(colon) = decoded.iter().position(|&byte| byte == b':') else {
        return Err("Unexpected number of credentials found in basic auth header");
    };
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| "Could not parse basic auth header")
    };
    Ok((text(&decoded[..colon])?, text(&decoded[colon + 1..])?))
}

/// As Python's `b64decode`: what is not of the alphabet is passed over; only the padding counts.
fn lenient_base64(encoded: &str) -> Option<Vec<u8>> {
    let mut alphabet: Vec<u8> = encoded
        .bytes()
        .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        .collect();
    let padding = encoded.bytes().filter(|&byte| byte == b'=').count();
    match alphabet.len() % 4 {
        1 => return None,
        rest @ (2 | 3) if padding < 4 - rest => return None,
        rest @ (2 | 3) => alphabet.resize(alphabet.len() + 4 - rest, b'='),
        _ => {}
    }
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    engine.decode(alphabet).ok()
}

/// The user part of a robot's name, as Quay tells a robot from a user: by the plus sign.
fn robot_namespace(name: &str) -> Option<&str> {
    name.split_once('+').map(|(namespace, _)| namespace)
}

/// JSON as Quay's framework writes it: nothing but ASCII, a newline at the end.
fn json_line(value: &Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if character.is_ascii() {
            line.push(character);
        } else {
            use std::fmt::Write as _;

            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::basic_credentials;

    #[test]
    fn a_basic_header_is_split_as_quay_splits_it() {
        let invalid = Err("Invalid basic auth header");
        let number = Err("Unexpected number of credentials found in basic auth header");
        let unparsed = Err("Could not parse basic auth header");
        let pair = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        for (header, expected) in [
            ("Basic", invalid.clone()),
            ("Bearer abc", invalid.clone()),
            ("Basic a b", invalid),
            ("Basic !!!", number.clone()),
            ("Basic bm9jb2xvbg==", number),
            ("Basic bm9jb2xvbg", unparsed),
            ("basic  YTpiOmM=", pair("a", "b:c")),
            ("Basic YTo=", pair("a", "")),
        ] {
            assert_eq!(basic_credentials(header), expected, "{header}");
        }
    }
}
