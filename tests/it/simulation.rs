//! A world on simulated clocks, with a provider and a Quay that are scripted: for what takes hours.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quayfed::config::settings::Connection;
use quayfed::helper;
use quayfed::http::{Request, Response, Transport, TransportError, TransportFault};
use quayfed::log::{Level, Log};
use quayfed::protocol::Answer;
use quayfed::redaction::Redactor;
use quayfed::world::{Caller, Clock, Environment, Places, SystemClock, UserNamespace, World};
use url::Url;

/// Both clocks, moved by the test and by whoever waits.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedClock(Arc<Mutex<(Duration, Duration)>>);

impl SimulatedClock {
    pub(crate) fn new() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock after 1970");
        // A minute ahead, so that files written by the test are older than two seconds.
        Self(Arc::new(Mutex::new((wall + seconds(60), seconds(100_000)))))
    }

    /// The clocks of the system, some time ago.
    pub(crate) fn ago(age: Duration) -> Self {
        Self(Arc::new(Mutex::new((SystemClock.wall() - age, SystemClock.boot() - age))))
    }

    pub(crate) fn pass(&self, duration: Duration) {
        let mut clocks = self.0.lock().expect("no panic");
        clocks.0 += duration;
        clocks.1 += duration;
    }

    /// Sets the wall clock by some seconds, forwards or back.
    pub(crate) fn set_wall(&self, by: i64) {
        let mut clocks = self.0.lock().expect("no panic");
        clocks.0 = shifted(clocks.0, by);
    }

    /// Sets the boot clock by some seconds, as no real one ever is.
    pub(crate) fn set_boot(&self, by: i64) {
        let mut clocks = self.0.lock().expect("no panic");
        clocks.1 = shifted(clocks.1, by);
    }
}

fn shifted(clock: Duration, by: i64) -> Duration {
    let step = seconds(by.unsigned_abs());
    if by < 0 { clock.saturating_sub(step) } else { clock + step }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> Duration {
        self.0.lock().expect("no panic").0
    }

    fn boot(&self) -> Duration {
        self.0.lock().expect("no panic").1
    }

    fn sleep(&self, duration: Duration) {
        self.pass(duration);
    }
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the provider or Quay does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers as it should, after this long.
    Well(Duration),
    /// Answers with this status, body and Retry-After.
    Refuse(u16, String, Option<String>),
    /// Cannot be reached.
    Unreachable,
}

/// What somebody else does in the middle of a request.
pub(crate) type Meanwhile = Box<dyn FnOnce()>;

/// A provider and a Quay.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) clock: SimulatedClock,
    pub(crate) provider: Rc<RefCell<Does>>,
    pub(crate) quay: Rc<RefCell<Does>>,
    pub(crate) robot_token_life: Rc<Cell<u64>>,
    /// How long the provider's tokens are at least, in bytes.
    pub(crate) oidc_token_length: Rc<Cell<usize>>,
    pub(crate) asked_provider: Rc<Cell<usize>>,
    pub(crate) asked_discovery: Rc<Cell<usize>>,
    pub(crate) asked_quay: Rc<Cell<usize>>,
    /// Whom a connection may be made to ahead of its request, and how often the provider had been
    /// asked by then.
    pub(crate) ahead: Rc<RefCell<Vec<(String, usize)>>>,
    /// Done right before Quay answers: what another process does meanwhile.
    pub(crate) meanwhile: Rc<RefCell<Option<Meanwhile>>>,
}

impl Scripted {
    pub(crate) fn new(clock: SimulatedClock) -> Self {
        Self {
            clock,
            provider: Rc::new(RefCell::new(Does::Well(seconds(0)))),
            quay: Rc::new(RefCell::new(Does::Well(seconds(0)))),
            robot_token_life: Rc::new(Cell::new(3600)),
            oidc_token_length: Rc::default(),
            asked_provider: Rc::default(),
            asked_discovery: Rc::default(),
            asked_quay: Rc::default(),
            ahead: Rc::default(),
            meanwhile: Rc::default(),
        }
    }

    /// How often provider (its token endpoint) and Quay were asked.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.asked_provider.get(), self.asked_quay.get())
    }

    fn does(
        &self,
        does: &Does,
        request: &Request<'_>,
        good: impl FnOnce() -> String,
    ) -> Result<Response, TransportError> {
        match does {
            Does::Unreachable => Err(TransportError {
                kind: TransportFault::Connect,
                text: "connection refused".to_owned(),
            }),
            Does::Well(takes) if *takes >= request.timeout => {
                self.clock.pass(request.timeout);
                Err(TransportError { kind: TransportFault::Timeout, text: "no answer".to_owned() })
            }
            Does::Well(takes) => {
                self.clock.pass(*takes);
                Ok(reply(200, &good(), None))
            }
            Does::Refuse(status, body, retry_after) => {
                Ok(reply(*status, body, retry_after.clone()))
            }
        }
    }
}

fn reply(status: u16, body: &str, retry_after: Option<String>) -> Response {
    Response { status, retry_after, body: body.as_bytes().to_vec(), ..Response::default() }
}

impl Transport for Scripted {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        let path = request.url.path();
        let now = self.clock.wall().as_secs();
        if path.ends_with("/.well-known/openid-configuration") {
            self.asked_discovery.set(self.asked_discovery.get() + 1);
            return Ok(reply(
                200,
                r#"{"issuer":"https://sso.example.com/realms/ci","token_endpoint":"https://sso.example.com/token"}"#,
                None,
            ));
        }
        if path.ends_with("/oauth2/federation/robot/token") {
            self.asked_quay.set(self.asked_quay.get() + 1);
            let does = self.quay.borrow().clone();
            let life = self.robot_token_life.get();
            if let Some(meanwhile) = self.meanwhile.borrow_mut().take() {
                meanwhile();
            }
            return self.does(&does, request, || {
                let number = self.asked_quay.get();
                let claims = format!(
                    r#"{{"iss":"quay","sub":"{ROBOT}","iat":{now},"exp":{},"n":{number}}}"#,
                    now + life
                );
                format!(r#"{{"token":"{}"}}"#, jwt(&claims))
            });
        }
        self.asked_provider.set(self.asked_provider.get() + 1);
        let does = self.provider.borrow().clone();
        self.does(&does, request, || {
            let token = oidc_token("build-host", now);
            let padding = "A".repeat(self.oidc_token_length.get().saturating_sub(token.len()));
            format!(r#"{{"access_token":"{token}{padding}","expires_in":300}}"#)
        })
    }

    fn connect_ahead(&self, url: &Url, _connection: &Connection) {
        self.ahead.borrow_mut().push((url.to_string(), self.asked_provider.get()));
    }
}

pub(crate) const ROBOT: &str = "acme+ci";
pub(crate) const HOST: &str = "quay.example.com";

/// A token of the shape of a JWT, signed by nobody.
pub(crate) fn jwt(claims: &str) -> String {
    let header = r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#;
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

pub(crate) fn oidc_token(subject: &str, now: u64) -> String {
    jwt(&format!(
        r#"{{"iss":"https://sso.example.com/realms/ci","sub":"{subject}","aud":"quay","iat":{now},"exp":{}}}"#,
        now + 300
    ))
}

/// One host: a configuration, a cache in memory, clocks, and what it can reach.
pub(crate) struct Host {
    pub(crate) clock: SimulatedClock,
    pub(crate) scripted: Scripted,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) cache: PathBuf,
    pub(crate) configuration: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
}

pub(crate) const CLIENT_CREDENTIALS: &str = r#"
[registry."quay.example.com"]
robot = "acme+ci"
identity = "keycloak"

[identity.keycloak]
source = "client-credentials"
issuer = "https://sso.example.com/realms/ci"
client_id = "build-host"
client_secret_file = "SECRET_FILE"
"#;

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(CLIENT_CREDENTIALS, SimulatedClock::new())
    }

    pub(crate) fn with(configuration: &str, clock: SimulatedClock) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("quayfed-test-")
            .tempdir_in("/dev/shm")
            .expect("a folder in memory");
        let secret = folder.path().join("client-secret");
        write_private(&secret, "s3cr3t-of-the-build-host\n");
        let host = Self {
            scripted: Scripted::new(clock.clone()),
            clock,
            cache: folder.path().join("cache"),
            configuration: folder.path().join("config.toml"),
            variables: Vec::new(),
            folder,
        };
        host.configure(&configuration.replace("SECRET_FILE", &secret.display().to_string()));
        host
    }

    pub(crate) fn configure(&self, text: &str) {
        write_private(&self.configuration, text);
    }

    pub(crate) fn secret_file(&self) -> PathBuf {
        self.folder.path().join("client-secret")
    }

    pub(crate) fn world(&self) -> World {
        let mut variables = vec![
            ("QUAYFED_CONFIG".to_owned(), self.configuration.display().to_string()),
            ("QUAYFED_CACHE_DIR".to_owned(), self.cache.display().to_string()),
        ];
        variables.extend(self.variables.iter().cloned());
        let uid = rustix::process::geteuid().as_raw();
        let namespace = UserNamespace { is_initial: true, uid_in_parent: uid, overflow_uid: 65534 };
        World {
            environment: Environment::of(variables),
            clock: Box::new(self.clock.clone()),
            random: Box::new(|bytes| {
                rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
                    .expect("random bytes");
            }),
            caller: Caller::of(uid, namespace),
            places: Places {
                system_configuration: self.folder.path().join("etc").into(),
                user_configuration: None.into(),
                run: self.folder.path().join("run").into(),
                shared_memory: self.folder.path().join("shm").into(),
                boot_id: self.folder.path().join("boot_id").into(),
                home: None.into(),
                containers_configuration: PathBuf::from("/nowhere").into(),
                containers_defaults: PathBuf::from("/nowhere").into(),
                path_of_services: "".into(),
            },
            log: Log::in_memory(Level::Debug),
            redactor: Redactor::default(),
        }
    }

    pub(crate) fn get(&self) -> Answer {
        self.get_of(HOST)
    }

    pub(crate) fn get_of(&self, server: &str) -> Answer {
        let world = self.world();
        self.get_in(&world, server)
    }

    pub(crate) fn get_in(&self, world: &World, server: &str) -> Answer {
        let began = self.clock.boot();
        helper::get(world, || Box::new(self.scripted.clone()), server, began)
    }

    /// The token that a `get` answers with.
    pub(crate) fn token(&self) -> String {
        token(&self.get())
    }

    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        files_ending(&self.cache, ".token")
    }
}

pub(crate) fn files_ending(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .expect("a file to write");
    file.write_all(text.as_bytes()).expect("written");
}

pub(crate) fn token(answer: &Answer) -> String {
    match answer {
        Answer::Credentials(text) => {
            let answer: serde_json::Value =
                serde_json::from_str(text.expose().as_str()).expect("JSON");
            answer["Secret"].as_str().expect("a token").to_owned()
        }
        other => panic!("no credentials but {other:?}"),
    }
}

pub(crate) fn failure(answer: &Answer) -> String {
    match answer {
        Answer::Failed(failure) => failure.cause().to_owned(),
        other => panic!("no failure but {other:?}"),
    }
}
