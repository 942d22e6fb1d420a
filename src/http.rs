//! HTTP requests. The only module that names reqwest; anything asynchronous stays inside it.

mod ahead;
mod attempts;
mod ca_bundle;
pub mod certificate;
pub mod discovery;
mod fault;
mod lookup;
mod proxy;
mod retry;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
mod trust;
pub mod witness;

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use rustls::RootCertStore;
use tokio::runtime::Runtime;
use url::{Origin, Url};

use crate::config::place::Place;
use crate::config::settings::{Connection, ProxyChoice};
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::files;
use crate::process::limits::{self, Limit};
use crate::secret::Secret;
use crate::world::World;
use ahead::{Ahead, AheadLayer, Way};
use lookup::{LookUp, Resolver};
use proxy::{Proxy, Route};
use trust::{Roots, System};
use witness::{Seen, Verifier};

pub use retry::{Retry500, retry_after, send_by, send_once_by, server_time};

/// The most that is read of a reply's body, in bytes.
const LONGEST_BODY: usize = 256 << 10;
/// The most time that is taken to find out why TLS found nothing in common.
const LONGEST_LOOK: Duration = Duration::from_secs(3);

/// Sends requests. The one edge between the program and the network.
pub trait Transport {
    /// Sends one request and reads its reply, within `request.timeout`; never retries, never
    /// follows a redirect.
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError>;

    /// Says that a request to this URL will follow others, so that a transport may connect to its
    /// server while they are sent. It fails in silence: the request itself tells.
    fn connect_ahead(&self, _url: &Url, _connection: &Connection) {}
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub url: &'a Url,
    /// `GET`, or `POST` of a form.
    pub body: Body,
    /// The Authorization header.
    pub authorization: Option<Secret<String>>,
    /// How the server is reached and trusted.
    pub connection: &'a Connection,
    /// The time for all of it, from the name lookup to the last byte of the reply.
    pub timeout: Duration,
}

/// What a request carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing: the request is a GET.
    None,
    /// A form (`application/x-www-form-urlencoded`), already encoded: the request is a POST.
    Form(Secret<String>),
}

/// A reply, its body cut off at 256 KiB.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The Location header.
    pub location: Option<String>,
    /// The Retry-After header.
    pub retry_after: Option<String>,
    /// The Date header: the server's clock.
    pub date: Option<String>,
    /// The WWW-Authenticate header.
    pub challenge: Option<String>,
    /// The Content-Encoding header: nothing is asked for in any.
    pub encoding: Option<String>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as a JSON object, if it is one, whatever its Content-Type claims.
    pub fn json(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What it is where it should be JSON and is not.
    pub fn instead_of_json(&self) -> &'static str {
        let named = self.encoding.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        match (named.as_str(), compression_of(&self.body)) {
            ("gzip" | "x-gzip", _) | (_, Some("gzip")) => "in gzip, which was not asked for",
            ("br", _) => "in brotli, which was not asked for",
            ("zstd", _) | (_, Some("zstd")) => "in zstd, which was not asked for",
            ("deflate", _) | (_, Some("deflate")) => "in deflate, which was not asked for",
            _ => "with something that is not JSON",
        }
    }

    /// Whether its body is compressed, though nobody asked for that.
    pub fn is_compressed(&self) -> bool {
        self.instead_of_json().ends_with("asked for")
    }

    /// The host that a redirect points to.
    pub fn redirects_to(&self) -> Option<String> {
        let location = self.location.as_deref()?;
        Some(Url::parse(location).ok()?.host_str()?.to_owned())
    }
}

/// The method by which bytes are compressed, as their beginning tells.
pub fn compression_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0x78, 0x9c | 0xda, ..] => Some("deflate"),
        _ => None,
    }
}

/// Why there was no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What kind of failure it was.
    pub kind: TransportFault,
    /// What happened, in words, without the URL: the end of a sentence such as "the token endpoint
    /// https://… could not be reached: "; of a time-out "no answer within 8s".
    pub text: String,
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The connection's `ca_file` cannot be used: nothing was sent.
    CaFile,
    /// The connection's `ca_file` can be changed by others: nothing was sent.
    UntrustedCaFile,
    /// The system's certificates cannot be used: nothing was sent.
    SystemRoots,
    /// The proxy that is set cannot be used: nothing was sent.
    ProxySetting,
    /// The client could not be set up otherwise: nothing was sent.
    Setup,
    /// A limit of this process does not allow it: nothing was sent.
    Limit(Limit),
    /// The URL's scheme is not allowed: nothing was sent.
    Insecure,
    /// The host's name could not be resolved.
    Name,
    /// No name server answered in time.
    NameServer,
    /// No name server said what the host's name means.
    NameServerFailed,
    /// The connection was refused or could not be made.
    Connect,
    /// The proxy was not reached, or gave no connection.
    ProxyConnect,
    /// No connection came about in time.
    NoConnection,
    /// The proxy answered, but did not connect.
    ProxyRefused,
    /// The certificate's issuer is not trusted.
    UntrustedIssuer,
    /// The certificate has expired or is not valid yet.
    CertificateDates,
    /// The certificate is for another name.
    CertificateName,
    /// The certificate is not one for servers.
    CertificateUse,
    /// The chain of certificates breaks a rule of its CAs.
    CertificateChain,
    /// A certificate is damaged, or not of X.509 version 3.
    CertificateForm,
    /// A certificate has a key or a signature that cannot be verified here.
    CertificateAlgorithm,
    /// A certificate has a critical extension that is not supported here.
    CertificateExtension,
    /// The server speaks no version of TLS that is supported here.
    TlsVersion,
    /// The server has no cipher, or no kind of certificate, that is supported here.
    TlsCommon,
    /// TLS failed otherwise.
    Tls,
    /// The time was over.
    Timeout,
    /// The connection broke after it was made.
    Broken,
}

impl TransportFault {
    /// Whether the fault is one that passes by itself: a connection failure.
    const fn is_worth_another_try(self) -> bool {
        matches!(
            self,
            Self::Name | Self::NameServerFailed | Self::Connect | Self::ProxyConnect | Self::Broken
        )
    }

    const fn step_failure_kind(self) -> StepFailureKind {
        match self {
            Self::CaFile
            | Self::UntrustedCaFile
            | Self::SystemRoots
            | Self::ProxySetting
            | Self::Setup
            | Self::Limit(_)
            | Self::Insecure => StepFailureKind::Local,
            Self::Timeout | Self::NameServer | Self::NoConnection => StepFailureKind::Timeout,
            _ => StepFailureKind::Network,
        }
    }

    /// What to do about it, with the keys of the table that says how the server is reached.
    #[allow(clippy::too_many_lines, reason = "one arm for each fault")]
    fn hint(self, place: &Place) -> String {
        let [ca_file, proxy, http] =
            ["ca_file", "proxy", "allow_http_loopback"].map(|it| place.key(it));
        match self {
            Self::CaFile => format!(
                "{ca_file} must name a readable file of CA certificates in PEM (BEGIN CERTIFICATE)"
            ),
            Self::UntrustedCaFile => format!(
                "whoever can change it says whom this host trusts: mend that, or let {ca_file} name \
                 a copy that only root or you can change"
            ),
            Self::SystemRoots => format!(
                "install the system's CA certificates (ca-certificates), or set SSL_CERT_FILE or \
                 {ca_file} to a bundle in PEM"
            ),
            Self::ProxySetting => {
                format!("set {proxy} to `\"http://HOST:PORT\"`, or to `\"none\"` for no proxy")
            }
            Self::Setup => "this host lacks something that every connection needs".to_owned(),
            Self::Limit(limit) => limit.hint().to_owned(),
            Self::Insecure => format!(
                "use https; http is for tests, to a literal 127.0.0.1 or [::1], with {http} set to \
                 true"
            ),
            Self::Name if cfg!(target_env = "musl") => {
                "check the host's name and this host's DNS: this static build asks /etc/hosts and \
                 /etc/resolv.conf alone, not the name service of the system"
                    .to_owned()
            }
            Self::Name => "check the host's name and this host's DNS".to_owned(),
            Self::Connect => format!(
                "check host, port and firewall; where a proxy is needed, set {proxy} or HTTPS_PROXY"
            ),
            Self::ProxyConnect if place.has("proxy") => format!(
                "check the proxy's host, port and scheme in {proxy}, or set that to `\"none\"`"
            ),
            Self::ProxyConnect => format!(
                "check the proxy's host, port and scheme in that variable; where none is needed, \
                 name the host in NO_PROXY, or set {proxy} to `\"none\"`"
            ),
            Self::ProxyRefused => format!(
                "allow the host at the proxy, write its password into {proxy}, or set that to \
                 `\"none\"`, or the host in NO_PROXY"
            ),
            Self::UntrustedIssuer if place.has("ca_file") => format!(
                "{ca_file} does not hold the CA of this certificate: add that CA's certificate in \
                 PEM, there or to the system's bundle"
            ),
            Self::UntrustedIssuer => format!(
                "set {ca_file} to the CA's certificate in PEM, or add it to the system's bundle"
            ),
            Self::CertificateDates => {
                "let the server's certificate be renewed, or set this host's clock right".to_owned()
            }
            Self::CertificateName => {
                "use the name that the certificate is for, or let the certificate be reissued"
                    .to_owned()
            }
            Self::CertificateUse => format!(
                "give the server a certificate of its own (CA:FALSE), and set {ca_file} to that of \
                 its CA"
            ),
            Self::CertificateChain => {
                "let the CA reissue the server's certificate, as its own rules allow".to_owned()
            }
            Self::CertificateForm => {
                "let the certificate be reissued, or the server send the right ones".to_owned()
            }
            Self::CertificateAlgorithm => {
                "let the certificate be reissued: RSA of 2048 to 8192 bits with SHA-256, SHA-384 or \
                 SHA-512, or ECDSA on P-256 or P-384 with SHA-256 or SHA-384"
                    .to_owned()
            }
            Self::CertificateExtension => {
                "let the certificate be reissued with that extension not critical, or without it"
                    .to_owned()
            }
            Self::TlsVersion => "let the server speak TLS 1.2 or 1.3".to_owned(),
            Self::TlsCommon => {
                "let the server offer TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305"
                    .to_owned()
            }
            Self::Tls => {
                "check that the port speaks https, with TLS 1.2 or 1.3 and a sound certificate"
                    .to_owned()
            }
            Self::NameServer | Self::NameServerFailed => {
                "check this host's name servers (/etc/resolv.conf) and the way to them".to_owned()
            }
            Self::NoConnection => format!(
                "the host is down, a firewall drops the packets, or nobody speaks TLS there: check \
                 host, port and firewall; where a proxy is needed, set {proxy} or HTTPS_PROXY"
            ),
            Self::Timeout => {
                "the server is slow, or a firewall drops the packets: QUAYFED_LOG=info tells the \
                 steps"
                    .to_owned()
            }
            Self::Broken => {
                "try again; if it stays so, look into the server's or proxy's log".to_owned()
            }
        }
    }
}

impl TransportError {
    /// The failure of the step that needed `server`, such as "the token endpoint `https://…`", as
    /// the table that is written at `place` says how to reach it.
    pub fn step_failure(&self, server: &str, place: &Place) -> StepFailure {
        let kind = self.kind.step_failure_kind();
        let happened = match kind {
            StepFailureKind::Local => "cannot be reached:",
            StepFailureKind::Timeout => "gave",
            _ if self.kind == TransportFault::Broken => "gave no complete reply:",
            _ => "could not be reached:",
        };
        let cause = format!("{server} {happened} {}", self.text);
        StepFailure { failure: Failure::new(cause, self.kind.hint(place)), kind, retry_after: None }
    }
}

/// The files and folders that the system's certificates are read from.
pub fn root_files(world: &World) -> Vec<PathBuf> {
    trust::root_files(world)
}

/// Looks whether the `ca_file` of a connection can be used; one without is fine.
pub fn check_ca_file(world: &World, connection: &Connection) -> Result<(), TransportError> {
    let file = connection.ca_file.as_deref();
    file.map_or(Ok(()), |file| trust::of_ca_file(world, file).map(drop))
}

/// The proxy that requests go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyInUse {
    /// Host and port as a person knows them; never its user and password.
    pub name: String,
    /// Scheme, host and port.
    pub origin: Origin,
    /// The variable that names it; nothing where the configuration does.
    pub variable: Option<&'static str>,
}

/// How requests to a URL go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayTo {
    /// The proxy, if they go through one.
    pub proxy: Option<ProxyInUse>,
    /// Which variable may have meant a proxy that is not used, and why not.
    pub passed_over: Option<String>,
}

/// How requests to a URL go.
pub fn way_to(world: &World, connection: &Connection, url: &Url) -> Result<WayTo, TransportError> {
    let Route { proxy, passed_over } = Route::to(world, &connection.proxy, url)?;
    let proxy = proxy.map(|proxy| ProxyInUse {
        name: proxy.name(),
        origin: proxy.url.origin(),
        variable: proxy.variable,
    });
    Ok(WayTo { proxy, passed_over })
}

/// Sends requests by reqwest and rustls, one at a time. Clients are kept by how a server is
/// reached and trusted, so a connection serves again; one connection at most is made ahead.
pub struct HttpTransport<'w> {
    world: &'w World,
    seen: Arc<Seen>,
    is_watched: bool,
    runtime: OnceCell<Runtime>,
    system: OnceCell<Arc<System>>,
    clients: RefCell<Vec<Rc<Client>>>,
    ahead: RefCell<Option<Ahead>>,
    look_up: LookUp,
}

/// What tells one client from another, with the proxy that a URL leads through.
type ClientKey = (Option<PathBuf>, ProxyChoice);

struct Client {
    key: ClientKey,
    proxy: Option<Proxy>,
    http: reqwest::Client,
}

impl<'w> HttpTransport<'w> {
    /// A transport that has done nothing yet: certificates and runtime are made when needed.
    pub fn new(world: &'w World) -> Self {
        Self {
            world,
            seen: Arc::default(),
            is_watched: false,
            runtime: OnceCell::new(),
            system: OnceCell::new(),
            clients: RefCell::new(Vec::new()),
            ahead: RefCell::new(None),
            look_up: lookup::of_system(),
        }
    }

    /// A transport that tells `seen` what servers present as their certificates, for whoever shows
    /// that.
    pub fn seen_by(world: &'w World, seen: &Arc<Seen>) -> Self {
        let mut transport = Self::new(world);
        transport.seen = Arc::clone(seen);
        transport.is_watched = true;
        transport
    }

    /// The client by which a request may be sent, and the way that it goes.
    fn client_for(
        &self,
        url: &Url,
        connection: &Connection,
    ) -> Result<(Rc<Client>, Route), TransportError> {
        check_scheme(url, connection)?;
        let route = Route::to(self.world, &connection.proxy, url)?;
        let client = self.client(connection, route.proxy.as_ref())?;
        let needs_system = url.scheme() == "https" && connection.ca_file.is_none();
        if needs_system && !self.system().has_any() {
            let text = self.with_notes("no CA certificate was found on this host".to_owned());
            return Err(TransportError { kind: TransportFault::SystemRoots, text });
        }
        Ok((client, route))
    }

    fn client(
        &self,
        connection: &Connection,
        proxy: Option<&Proxy>,
    ) -> Result<Rc<Client>, TransportError> {
        let key = client_key(connection);
        let is_known = |it: &&Rc<Client>| it.key == key && it.proxy.as_ref() == proxy;
        if let Some(client) = self.clients.borrow().iter().find(is_known) {
            return Ok(Rc::clone(client));
        }
        if let Some((limit, text)) = limits::in_the_way() {
            return Err(TransportError { kind: TransportFault::Limit(limit), text });
        }
        let client = Rc::new(self.build(connection, proxy)?);
        self.clients.borrow_mut().push(Rc::clone(&client));
        Ok(client)
    }

    fn build(
        &self,
        connection: &Connection,
        proxy: Option<&Proxy>,
    ) -> Result<Client, TransportError> {
        let verifier =
            Verifier::new(self.roots_of(connection)?, Arc::clone(&self.seen), self.is_watched);
        let http = self.client_by(verifier, proxy)?;
        Ok(Client { key: client_key(connection), proxy: proxy.cloned(), http })
    }

    fn client_by(
        &self,
        verifier: Verifier,
        proxy: Option<&Proxy>,
    ) -> Result<reqwest::Client, TransportError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("docker-credential-quayfed/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .http1_only()
            .tls_backend_preconfigured(trust::tls(verifier)?)
            .connector_layer(AheadLayer)
            .dns_resolver(Resolver(Arc::clone(&self.look_up)))
            // Without this the client would read the environment by itself.
            .no_proxy();
        let builder = match proxy {
            None => builder,
            Some(proxy) => builder.proxy(
                // For https alone: http is for the loopback, where no proxy belongs (rule R19).
                reqwest::Proxy::https(proxy.url.clone())
                    .map_err(|error| setup(&error.without_url()))?,
            ),
        };
        builder.build().map_err(|error| setup(&error.without_url()))
    }

    fn roots_of(&self, connection: &Connection) -> Result<Roots, TransportError> {
        let ca_file = connection.ca_file.as_deref();
        let ca_file = ca_file.map(|file| trust::of_ca_file(self.world, file)).transpose()?;
        Ok(Roots {
            ca_file: ca_file.unwrap_or_else(RootCertStore::empty),
            system: Arc::clone(self.system()),
        })
    }

    fn system(&self) -> &Arc<System> {
        self.system.get_or_init(|| Arc::new(System::of(self.world)))
    }

    /// Why nobody is trusted, with what of the system's certificates could not be used.
    fn with_notes(&self, text: String) -> String {
        const TOLD: usize = 2;
        let notes = &self.system().all().notes;
        let text = notes.iter().take(TOLD).fold(text, |text, note| format!("{text}; {note}"));
        match notes.len() {
            0..=TOLD => text,
            more => format!("{text}; and {} more", more - TOLD),
        }
    }

    fn runtime(&self) -> Result<&Runtime, TransportError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |error| match Limit::behind(&error) {
                Some(limit) => TransportError {
                    kind: TransportFault::Limit(limit),
                    text: files::describe(&error),
                },
                None => setup(&error),
            },
        )?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    fn explain(
        &self,
        error: &reqwest::Error,
        route: &Route,
        request: &Request<'_>,
        began: Duration,
    ) -> TransportError {
        let server = request.url.host_str().unwrap_or_default();
        let mut error = fault::explain(error, route, server, &self.seen);
        if tls::has_nothing_in_common(error.kind) {
            let taken = self.world.clock.boot().saturating_sub(began);
            let left = request.timeout.saturating_sub(taken).min(LONGEST_LOOK);
            if let Some((kind, text)) = self.look(request, route, left) {
                error = TransportError { kind, text };
            }
        }
        if error.kind == TransportFault::UntrustedIssuer {
            error.text = self.with_notes(error.text);
        }
        error
    }

    /// Connects once more to a server that presented nothing, asking for every kind of certificate,
    /// and tells what is wrong with the one that it has. Nothing is sent: no certificate is
    /// accepted.
    fn look(
        &self,
        request: &Request<'_>,
        route: &Route,
        left: Duration,
    ) -> Option<(TransportFault, String)> {
        let seen = Arc::new(Seen::default());
        let roots = self.roots_of(request.connection).ok()?;
        let verifier = Verifier::curious(roots, Arc::clone(&seen));
        let http = self.client_by(verifier, route.proxy.as_ref()).ok()?;
        let looking = http.head(request.url.clone()).send();
        let looked = async { tokio::time::timeout(left, looking).await };
        let error = self.runtime().ok()?.block_on(looked).ok()?.err()?;
        if let Some(presented) = seen.take() {
            return Some(tls::of_presented(&presented));
        }
        let server = request.url.host_str().unwrap_or_default();
        let is_the_same =
            tls::has_nothing_in_common(fault::explain(&error, route, server, &seen).kind);
        is_the_same.then(|| (TransportFault::TlsCommon, tls::NO_CIPHER.to_owned()))
    }

    fn begin(&self, url: &Url, connection: &Connection) -> Option<Ahead> {
        let (client, _) = self.client_for(url, connection).ok()?;
        let _context = self.runtime().ok()?.enter();
        Ahead::begin(&Way::to(&client.http, url), client_key(connection), self.world.clock.boot())
    }

    /// What was begun for a request, if it may still serve.
    fn begun_for(&self, request: &Request<'_>) -> Option<Ahead> {
        let client = client_key(request.connection);
        let ahead = self.ahead.borrow_mut().take_if(|ahead| ahead.is_for(request.url, &client))?;
        (!ahead.is_old(self.world.clock.boot())).then_some(ahead)
    }
}

impl Transport for HttpTransport<'_> {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        let at = self.world.clock.boot();
        let (client, route) = self.client_for(request.url, request.connection)?;
        let sending = send(&client.http, request)?;
        let (way, begun) = (Way::to(&client.http, request.url), self.begun_for(request));
        let (own, ahead) = (way.attempts(), begun.as_ref().map(Ahead::attempts));
        let sending = ahead::over(begun, way, sending);
        let sent = self.runtime()?.block_on(async {
            // Made inside: a timer belongs to a runtime.
            tokio::time::timeout(request.timeout, sending).await
        });
        if let Ok(reply) = sent {
            return reply.map_err(|error| self.explain(&error, &route, request, at));
        }
        let attempts = if own.have_begun() { own } else { ahead.unwrap_or(own) };
        Err(fault::timeout(request.timeout, attempts.waiting(), &route))
    }

    fn connect_ahead(&self, url: &Url, connection: &Connection) {
        *self.ahead.borrow_mut() = self.begin(url, connection);
    }
}

impl std::fmt::Debug for HttpTransport<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

fn client_key(connection: &Connection) -> ClientKey {
    (connection.ca_file.clone(), connection.proxy.clone())
}

/// Rule R19, before anything is sent.
fn check_scheme(url: &Url, connection: &Connection) -> Result<(), TransportError> {
    if connection.allows(url) {
        return Ok(());
    }
    let text = format!("`{}` is not allowed there", url.scheme());
    Err(TransportError { kind: TransportFault::Insecure, text })
}

/// The request on its way. What cannot be sent at all is found out before it begins.
fn send(
    client: &reqwest::Client,
    request: &Request<'_>,
) -> Result<impl Future<Output = reqwest::Result<Response>> + use<>, TransportError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(authorization) = &request.authorization {
        let mut value =
            HeaderValue::from_str(authorization.expose()).map_err(|error| setup(&error))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let sending = match &request.body {
        Body::None => client.get(request.url.clone()),
        Body::Form(form) => client
            .post(request.url.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.expose().clone()),
    };
    let sending = sending.headers(headers).send();
    Ok(async move { read(sending.await?).await })
}

async fn read(mut reply: reqwest::Response) -> reqwest::Result<Response> {
    let text = |name: header::HeaderName| {
        reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut response = Response {
        status: reply.status().as_u16(),
        location: text(header::LOCATION),
        retry_after: text(header::RETRY_AFTER),
        date: text(header::DATE),
        challenge: text(header::WWW_AUTHENTICATE),
        encoding: text(header::CONTENT_ENCODING),
        body: Vec::new(),
    };
    while let Some(chunk) = reply.chunk().await? {
        let room = LONGEST_BODY - response.body.len();
        response.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(response)
}

/// What a library says of it is for programmers, but for an error of the system behind it.
fn setup(error: &(dyn std::error::Error + 'static)) -> TransportError {
    let behind = std::iter::successors(Some(error), |error| error.source());
    let io = behind.filter_map(|error| error.downcast_ref::<std::io::Error>()).last();
    let why = io.map(|error| format!(" ({})", fault::of_io(error))).unwrap_or_default();
    let text = format!("the connection cannot be set up{why}");
    TransportError { kind: TransportFault::Setup, text }
}

#[cfg(test)]
mod tests;
