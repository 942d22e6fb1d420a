//! The OIDC issuer: discovery, key set and token endpoint. One server hosts several issuers,
//! told apart by a path; some of them have a fault of their own.

mod token_endpoint;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::Options;
use crate::fault::{Fault, Recorded, Times};
use crate::http::{Reply, Request};
use crate::keys::Algorithm;
use crate::keys::{self, RsaKey, Slot};
use crate::server::{Answer, Control, Listener, Service, lock};
use crate::tls::{Authority, ServerCertificate};
use crate::token::{Minter, TokenShape};

pub use token_endpoint::{AuthMethod, Client, TokenRequest};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEY_SET: &str = "/protocol/openid-connect/certs";
const TOKEN: &str = "/protocol/openid-connect/token";

/// An OIDC issuer at a port of its own, `https://localhost:PORT`.
pub struct Issuer {
    state: Arc<State>,
    control: Arc<Control>,
    https: Listener,
    http: Listener,
    bad_tls: Listener,
}

struct State {
    url: Mutex<String>,
    /// Where the keys are served, if elsewhere than at `url`.
    url_of_keys: Mutex<Option<String>>,
    sites: Mutex<BTreeMap<String, Site>>,
    keys: Mutex<KeySet>,
    clients: Mutex<BTreeMap<String, Client>>,
    token_requests: Mutex<Vec<TokenRequest>>,
}

/// One issuer of the several at this server.
#[derive(Clone)]
struct Site {
    /// What the discovery document names as issuer: this, after the server's URL.
    names_itself: String,
    discovery: Serving,
    key_set: Serving,
}

/// How a document is served.
#[derive(Clone)]
enum Serving {
    Well,
    After(Duration),
    Instead(Reply),
}

/// The newest key signs.
struct KeySet {
    rotations: usize,
    keys: Vec<(String, Arc<RsaKey>)>,
    lists_ec_key: bool,
    /// Keys that nothing is signed with.
    others: Vec<Value>,
}

impl Issuer {
    pub(crate) fn start(certificate: &ServerCertificate, options: &Options) -> io::Result<Self> {
        let state = Arc::new(State {
            url: Mutex::default(),
            url_of_keys: Mutex::default(),
            sites: Mutex::new(recorded_sites(options)),
            keys: Mutex::new(KeySet::new()),
            clients: Mutex::default(),
            token_requests: Mutex::default(),
        });
        let control = Arc::new(Control::default());
        let listen = |tls| {
            let service: Arc<dyn Service> = Arc::<State>::clone(&state);
            Listener::start(service, Arc::clone(&control), tls)
        };
        let stranger = Authority::new("a CA that nobody trusts")?.certify(&[])?;
        let https = listen(Some(Arc::clone(&certificate.config)))?;
        let http = listen(None)?;
        let bad_tls = listen(Some(stranger.config))?;
        *lock(&state.url) = format!("https://localhost:{}", https.port());
        Ok(Self { state, control, https, http, bad_tls })
    }

    /// The default issuer, `https://localhost:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        lock(&self.state.url).clone()
    }

    /// The issuer reached over plain HTTP.
    pub fn http_url(&self) -> String {
        format!("http://localhost:{}", self.http.port())
    }

    /// The issuer at a port whose certificate no one trusts.
    pub fn bad_tls_url(&self) -> String {
        format!("https://localhost:{}", self.bad_tls.port())
    }

    /// The token endpoint of the default issuer.
    pub fn token_endpoint(&self) -> String {
        self.url() + TOKEN
    }

    /// The path of the token endpoint, for [`Issuer::fault`] and [`Issuer::count`].
    pub fn token_path(&self) -> &'static str {
        TOKEN
    }

    /// The path of the default issuer's discovery document.
    pub fn discovery_path(&self) -> &'static str {
        DISCOVERY
    }

    /// The path of the default issuer's key set.
    pub fn jwks_path(&self) -> &'static str {
        KEY_SET
    }

    /// Hosts a further issuer without faults at a path, `/realms/ci` for example, and returns
    /// its URL.
    pub fn add_issuer(&self, path: &str) -> String {
        let path = path.trim_end_matches('/').to_owned();
        lock(&self.state.sites).insert(path.clone(), Site::well(&path));
        self.url() + &path
    }

    /// Registers a client for `client_credentials`; one of the same id is replaced.
    pub fn add_client(&self, client: Client) {
        lock(&self.state.clients).insert(client.id().to_owned(), client);
    }

    /// Removes a client.
    pub fn remove_client(&self, id: &str) {
        lock(&self.state.clients).remove(id);
    }

    /// Mints a token of any shape; `iss` is [`Issuer::url`] unless the shape says otherwise.
    pub fn mint(&self, shape: &TokenShape) -> String {
        self.state.mint(shape)
    }

    /// A new signing key; the old one leaves the key set at once.
    pub fn rotate_keys(&self) {
        lock(&self.state.keys).rotate(false);
    }

    /// A new signing key; the old ones stay in the key set.
    pub fn rotate_keys_keeping_old(&self) {
        lock(&self.state.keys).rotate(true);
    }

    /// Lists a further key (RFC 7517) in the key set, whatever it is; nothing is signed with it.
    pub fn list_key(&self, key: Value) {
        lock(&self.state.keys).others.push(key);
    }

    /// The discovery documents name a plain HTTP URL as that of the keys (`jwks_uri`).
    pub fn serve_keys_over_http(&self) {
        *lock(&self.state.url_of_keys) = Some(self.http_url());
    }

    /// The `kid` that tokens are signed with now.
    pub fn current_kid(&self) -> String {
        lock(&self.state.keys).signing().0.clone()
    }

    /// What was asked at the token endpoint, in order, refusals among it.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        lock(&self.state.token_requests).clone()
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
        lock(&self.state.token_requests).clear();
    }

    /// Connections to all three ports are refused from now on; open ones are closed.
    pub fn stop_listening(&self) {
        for listener in [&self.https, &self.http, &self.bad_tls] {
            listener.stop_listening();
        }
    }

    /// Listens again, at the same ports.
    ///
    /// # Panics
    /// Where another process has taken a port meanwhile.
    pub fn resume_listening(&self) {
        for listener in [&self.https, &self.http, &self.bad_tls] {
            listener.resume_listening().expect("listen at the issuer's port again");
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.control.stop();
    }
}

impl Site {
    fn well(path: &str) -> Self {
        Self { names_itself: path.to_owned(), discovery: Serving::Well, key_set: Serving::Well }
    }
}

/// The issuers that `tests/quay/README.md` names.
fn recorded_sites(options: &Options) -> BTreeMap<String, Site> {
    let plain = |status, body: &str| Serving::Instead(Reply::new(status, "text/plain", body));
    let discovery = |path, discovery| Site { discovery, ..Site::well(path) };
    let key_set = |path, key_set| Site { key_set, ..Site::well(path) };
    let named = |path, name: &str| Site { names_itself: name.to_owned(), ..Site::well(path) };
    BTreeMap::from([
        (String::new(), Site::well("")),
        ("/slash".to_owned(), named("/slash", "/slash/")),
        ("/otheriss".to_owned(), named("/otheriss", "/somethingelse")),
        ("/nodisc".to_owned(), discovery("/nodisc", plain(404, "not found"))),
        ("/badjson".to_owned(), discovery("/badjson", plain(200, "this is not JSON"))),
        ("/slowdisc".to_owned(), discovery("/slowdisc", Serving::After(options.slow_discovery))),
        ("/nojwks".to_owned(), key_set("/nojwks", plain(500, "no keys"))),
        ("/slowjwks".to_owned(), key_set("/slowjwks", Serving::After(options.slow_jwks))),
    ])
}

impl KeySet {
    fn new() -> Self {
        let mut keys =
            Self { rotations: 0, keys: Vec::new(), lists_ec_key: false, others: Vec::new() };
        keys.rotate(false);
        keys
    }

    fn rotate(&mut self, keep_old: bool) {
        if !keep_old {
            self.keys.clear();
        }
        let key = keys::rsa(Slot::Issuer(self.rotations));
        self.rotations += 1;
        self.keys.push((format!("sandbox-key-{}", self.rotations), key));
    }

    fn signing(&self) -> &(String, Arc<RsaKey>) {
        self.keys.last().expect("an issuer has a key")
    }

    fn document(&self) -> Value {
        let mut keys: Vec<Value> = self.keys.iter().rev().map(|(kid, key)| key.jwk(kid)).collect();
        if self.lists_ec_key {
            keys.push(keys::ec().jwk(EC_KID));
        }
        keys.extend(self.others.iter().cloned());
        json!({ "keys": keys })
    }
}

const EC_KID: &str = "sandbox-ec-key";

impl State {
    fn mint(&self, shape: &TokenShape) -> String {
        let mut keys = lock(&self.keys);
        keys.lists_ec_key |= shape.algorithm_used() == Algorithm::Es256;
        let (kid, key) = keys.signing().clone();
        drop(keys);
        let issuer = lock(&self.url).clone();
        Minter { key, kid, ec_kid: EC_KID.to_owned(), issuer }.mint(shape)
    }

    fn discovery_document(&self, path: &str, site: &Site) -> Value {
        let url = lock(&self.url).clone();
        let endpoint = |name: &str| format!("{url}{path}{name}");
        let keys = lock(&self.url_of_keys).clone().unwrap_or_else(|| url.clone());
        json!({
            "issuer": format!("{url}{}", site.names_itself),
            "authorization_endpoint": endpoint("/protocol/openid-connect/auth"),
            "token_endpoint": endpoint(TOKEN),
            "jwks_uri": format!("{keys}{path}{KEY_SET}"),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "RS384", "RS512", "ES256"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post"],
            "scopes_supported": ["openid", "profile", "email"],
        })
    }
}

impl Service for State {
    fn answer(&self, request: &Request, control: &Control) -> Answer {
        for (suffix, serve) in [
            (DISCOVERY, State::discovery as fn(&Self, &str, &Site, &Request, &Control) -> Answer),
            (KEY_SET, State::key_set),
            (TOKEN, State::token),
        ] {
            let Some(path) = request.path().strip_suffix(suffix) else {
                continue;
            };
            let Some(site) = lock(&self.sites).get(path).cloned() else {
                break;
            };
            return serve(self, path, &site, request, control);
        }
        let body = json!({ "error": "Unable to find matching target resource method" });
        Reply::json(404, body.to_string()).into()
    }
}

impl State {
    fn discovery(&self, path: &str, site: &Site, _: &Request, control: &Control) -> Answer {
        serve_document(&site.discovery, control, || self.discovery_document(path, site))
    }

    fn key_set(&self, _: &str, site: &Site, _: &Request, control: &Control) -> Answer {
        serve_document(&site.key_set, control, || lock(&self.keys).document())
    }

    fn token(&self, path: &str, _: &Site, request: &Request, _: &Control) -> Answer {
        self.token_endpoint(path, request).into()
    }
}

fn serve_document(serving: &Serving, control: &Control, document: impl Fn() -> Value) -> Answer {
    match serving {
        Serving::Instead(reply) => return reply.clone().into(),
        Serving::After(duration) => {
            if !control.sleep(*duration) {
                return Answer::Close;
            }
        }
        Serving::Well => {}
    }
    Reply::json(200, document().to_string()).into()
}
