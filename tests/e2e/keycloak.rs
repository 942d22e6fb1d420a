//! Keycloak as the source of tokens: what it gives is exchanged, what it refuses is explained, and
//! what changes at it disturbs nobody.

mod explained;
mod foretold;
mod realms;
mod server;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quayfed_sandbox::{Fault, Times};
use serde_json::{Value, json};

use crate::by_hand::script;
use crate::report::Report;
use crate::run::{Ran, Runs as _, wait_until};
use crate::scene::{ROBOT, Scene, Seat};
use crate::{Need, Part};
use realms::{FRONT, SECRET, TOKEN_LIFE, internal_id_of, subject_of};
use server::Keycloak;

pub(crate) const PART: Part = Part {
    name: "Keycloak",
    needs: &[
        Need::Program("java", "default-jre-headless"),
        Need::Program("curl", "curl"),
        Need::Program("jq", "jq"),
        Need::Program("podman", "podman"),
        Need::Program("docker-registry", "docker-registry"),
    ],
    run: play,
};

/// How long its start may take: 15 s on a machine that has nothing else to do.
const START: Duration = Duration::from_mins(10);

fn play(report: &mut Report) {
    match server::installed_version() {
        Ok(version) => report.client("Keycloak", &version),
        Err(reason) => return report.skip("all of it", &reason),
    }
    let bench = Bench::new();
    if !report.operation("the helper waits with us until it has booted", || bench.boot()) {
        return;
    }
    for (name, operation) in GRANTS {
        report.operation(name, || operation(&bench));
    }
    explained::play(report, &bench);
    foretold::play(report, &bench);
    for (name, operation) in LIFE {
        report.operation(name, || operation(&bench));
    }
}

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

const GRANTS: &[Operation] = &[
    ("client_secret_basic, by discovery", |at| at.exchange("issuer", "client_secret_basic")),
    ("client_secret_post, by discovery", |at| at.exchange("issuer", "client_secret_post")),
    ("client_secret_basic, by endpoint", |at| at.exchange("token_endpoint", "client_secret_basic")),
    ("client_secret_post, by endpoint", |at| at.exchange("token_endpoint", "client_secret_post")),
    ("a client that takes one way alone, that way", only_the_right_way),
    ("a scope that it knows", ask_for_a_scope),
    ("the client scope `basic` mends a token without `sub`", mend_the_subject),
    ("RS256 for one client mends an ES256 realm", mend_a_realm),
    ("RS256 for a client that had ES256 mends it", mend_a_client),
    ("a boot that ends while the helper waits", outlast_a_boot),
    ("podman push and pull", push_and_pull),
    ("by hand, by docs/by-hand.sh", log_in_by_hand),
];

const LIFE: &[Operation] = &[
    ("a rotated client secret", rotate_the_secret),
    ("rotated signing keys", rotate_the_keys),
    ("Keycloak hangs while robot tokens live", outlast_a_hang),
    ("Keycloak is stopped while robot tokens live", outlast_a_stop),
];

/// Keycloak, the sandbox's Quay with robots for Keycloak's tokens, and one seat.
struct Bench {
    scene: Scene,
    keycloak: RefCell<Keycloak>,
    seat: Seat,
    image: String,
    caches: Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let keycloak = Keycloak::start(&scene);
        let seat = scene.bare_seat("ci", None);
        seat.use_helper_for(&[(scene.host(), "quayfed")]);
        let quay = scene.sandbox.quay();
        quay.clear_federation(ROBOT);
        for robot in ["acme+strict", "acme+loopback", "acme+fronted"] {
            quay.add_robot(robot);
        }
        let ci = keycloak.realm("ci");
        for client in
            ["builder", "only-post", "only-basic", "no-subject", "es256", "switched", "rotated"]
        {
            quay.bind(ROBOT, &ci, &subject_of(client), None);
        }
        for client in ["bent", "mended"] {
            quay.bind(ROBOT, &keycloak.realm("curves"), &subject_of(client), None);
        }
        for client in ["builder", "light", "no-mapper"] {
            quay.bind("acme+strict", &ci, &subject_of(client), Some(vec!["quay".to_owned()]));
        }
        let loopback = format!("{}/realms/ci", keycloak.loopback_url());
        quay.bind("acme+loopback", &loopback, &subject_of("builder"), None);
        let front = format!("{FRONT}/realms/fronted");
        quay.bind("acme+fronted", &front, &subject_of("behind-a-front"), None);
        let image = scene.image("acme/app:1");
        Self { scene, keycloak: RefCell::new(keycloak), seat, image, caches: Cell::new(0) }
    }

    /// Configures the helper for an identity with these lines, and with an empty cache: what was
    /// before does not concern it.
    fn use_identity(&self, lines: &str, secret: &str, robot: &str) {
        self.caches.set(self.caches.get() + 1);
        let cache = self.seat.make_folder(&format!("cache/{}", self.caches.get()), 0o700);
        self.seat.set("QUAYFED_CACHE_DIR", cache.display());
        let secret = self.seat.write("home/client-secret", secret, 0o600);
        self.seat.configure(&format!(
            r#"[registry."{host}"]
robot = "{robot}"
identity = "keycloak"
api_url = "{quay}"
ca_file = "{ca}"

[identity.keycloak]
source = "client-credentials"
{lines}
client_secret_file = "{secret}"
ca_file = "{ca}"
"#,
            host = self.scene.host(),
            quay = self.scene.sandbox.quay().url(),
            ca = self.scene.ca().display(),
            secret = secret.display(),
        ));
        self.scene.sandbox.quay().forget_requests();
    }

    /// The usual identity: a client of the realm `ci`, by discovery.
    fn use_client(&self, client: &str) {
        let issuer = self.keycloak.borrow().realm("ci");
        let lines = format!("issuer = \"{issuer}\"\nclient_id = \"{client}\"");
        self.use_identity(&lines, SECRET, ROBOT);
    }

    /// A `get`, with `QUAYFED_LOG` set.
    fn ask(&self, log: &str) -> Result<Ran, String> {
        self.seat.set("QUAYFED_LOG", log);
        let ran = self
            .seat
            .command("docker-credential-quayfed", ["get"])
            .run_with_input(self.scene.host());
        self.seat.unset("QUAYFED_LOG");
        ran
    }

    /// A `get` that must succeed, and say nothing besides.
    fn robot_token(&self) -> Result<String, String> {
        let ran = self.ask("")?;
        if ran.code != Some(0) || !ran.stderr.is_empty() {
            return Err(format!("it did not go quietly: {ran}"));
        }
        let answer: Value = serde_json::from_str(&ran.stdout).map_err(|error| error.to_string())?;
        assert_eq!(answer["Username"], ROBOT);
        answer["Secret"].as_str().map(str::to_owned).ok_or_else(|| "no secret".to_owned())
    }

    /// Asks Quay for a bearer token with a robot token.
    fn log_in(&self, robot_token: &str) -> Result<(), String> {
        let url = format!(
            "{}/v2/auth?service={}&scope=repository:acme/app:pull,push",
            self.scene.sandbox.quay().url(),
            self.scene.host()
        );
        let config = format!("url = \"{url}\"\nuser = \"{ROBOT}:{robot_token}\"\n");
        let arguments = ["--silent", "--show-error", "--fail", "--max-time", "10", "--config", "-"];
        let ran = self.seat.command("curl", arguments).succeed_with_input(&config)?;
        ran.must_say(&["\"token\""])
    }

    /// A token of Keycloak's, named in one of two ways and got in one of two, is worth a robot
    /// token that Quay takes.
    fn exchange(&self, by: &str, client_auth: &str) -> Result<(), String> {
        let keycloak = self.keycloak.borrow();
        let place = match by {
            "issuer" => keycloak.realm("ci"),
            _ => keycloak.token_endpoint("ci"),
        };
        let lines =
            format!("{by} = \"{place}\"\nclient_id = \"builder\"\nclient_auth = \"{client_auth}\"");
        self.use_identity(&lines, SECRET, ROBOT);
        let ran = self.ask("info")?;
        let realm = keycloak.realm("ci");
        let realm = realm.trim_start_matches("https://");
        let asked = |path: &str| ran.stderr.contains(&format!("{realm}/{path} answered 200"));
        assert!(asked("protocol/openid-connect/token"), "{ran}");
        assert_eq!(asked(".well-known/openid-configuration"), by == "issuer", "{ran}");
        assert_eq!(self.scene.exchanges(), 1);
        let robot_token = self.robot_token()?;
        assert_eq!(self.scene.exchanges(), 1, "from the cache");
        ran.must_not_say(&[SECRET])?;
        self.log_in(&robot_token)
    }

    fn pull(&self) -> Result<(), String> {
        let _ = self.seat.command("podman", ["rmi", "--force", &self.image]).run();
        self.seat.command("podman", ["pull", "--quiet", &self.image]).succeed().map(|_| ())
    }

    /// Asks until it is ready. All that the helper says until then are three things.
    fn boot(&self) -> Result<(), String> {
        let began = Instant::now();
        let mut said = BTreeSet::new();
        loop {
            // Before it listens there is nothing to learn by starting a process.
            wait_until("Keycloak's port", START, || {
                let mut keycloak = self.keycloak.borrow_mut();
                !keycloak.is_running() || keycloak.listens()
            });
            self.use_client("builder");
            let ran = self.ask("")?;
            if ran.code == Some(0) {
                break;
            }
            let keycloak = self.keycloak.borrow().log();
            if !self.keycloak.borrow_mut().is_running() || began.elapsed() > START {
                return Err(format!("Keycloak does not start: {ran}\n{keycloak}"));
            }
            said.insert(ran.stderr);
            std::thread::sleep(Duration::from_millis(200));
        }
        let issuer = self.keycloak.borrow().realm("ci");
        let unexpected: Vec<&String> = said
            .iter()
            .filter(|text| {
                ![
                    format!("the issuer `{issuer}` cannot be used now (503"),
                    format!("the issuer `{issuer}` could not be reached: connection refused"),
                ]
                .iter()
                .any(|known| text.contains(known.as_str()))
            })
            .collect();
        if unexpected.is_empty() { Ok(()) } else { Err(format!("it said: {unexpected:?}")) }
    }
}

fn only_the_right_way(at: &Bench) -> Result<(), String> {
    let issuer = at.keycloak.borrow().realm("ci");
    for (client, client_auth) in
        [("only-post", "client_secret_post"), ("only-basic", "client_secret_basic")]
    {
        let lines = format!(
            "issuer = \"{issuer}\"\nclient_id = \"{client}\"\nclient_auth = \"{client_auth}\""
        );
        at.use_identity(&lines, SECRET, ROBOT);
        at.robot_token()?;
    }
    // Unless it is set, it is the way that Keycloak's discovery document lists: Basic among others.
    let lines = format!("issuer = \"{issuer}\"\nclient_id = \"only-basic\"");
    at.use_identity(&lines, SECRET, ROBOT);
    at.robot_token().map(|_| ())
}

fn ask_for_a_scope(at: &Bench) -> Result<(), String> {
    let issuer = at.keycloak.borrow().realm("ci");
    let lines =
        format!("issuer = \"{issuer}\"\nclient_id = \"builder\"\nscopes = [\"openid\", \"roles\"]");
    at.use_identity(&lines, SECRET, ROBOT);
    at.robot_token().map(|_| ())
}

fn mend_a_realm(at: &Bench) -> Result<(), String> {
    let issuer = at.keycloak.borrow().realm("curves");
    let lines = format!("issuer = \"{issuer}\"\nclient_id = \"mended\"");
    at.use_identity(&lines, SECRET, ROBOT);
    at.robot_token().map(|_| ())
}

fn mend_the_subject(at: &Bench) -> Result<(), String> {
    at.use_client("no-subject");
    at.ask("")?.must_say(&["no subject (`sub`)"])?;
    let keycloak = at.keycloak.borrow();
    let scopes = keycloak.administer("GET", "/client-scopes", &Value::Null)?;
    let basic = scopes.as_array().into_iter().flatten().find(|scope| scope["name"] == "basic");
    let basic = basic.and_then(|scope| scope["id"].as_str()).ok_or("no client scope `basic`")?;
    let client = internal_id_of("no-subject");
    let path = format!("/clients/{client}/default-client-scopes/{basic}");
    keycloak.administer("PUT", &path, &Value::Null)?;
    at.use_client("no-subject");
    at.robot_token()?;
    keycloak.administer("DELETE", &path, &Value::Null).map(|_| ())
}

fn mend_a_client(at: &Bench) -> Result<(), String> {
    at.use_client("es256");
    at.ask("")?.must_say(&["is signed with `ES256`"])?;
    let set = |algorithm: &str| {
        let client = format!("/clients/{}", internal_id_of("es256"));
        let attributes = json!({ "access.token.signed.response.alg": algorithm });
        let change = json!({ "clientId": "es256", "attributes": attributes });
        at.keycloak.borrow().administer("PUT", &client, &change)
    };
    set("RS256")?;
    at.use_client("es256");
    at.robot_token()?;
    set("ES256").map(|_| ())
}

/// As Keycloak answers until it is ready, the sandbox does once.
fn outlast_a_boot(at: &Bench) -> Result<(), String> {
    let issuer = at.scene.sandbox.issuer();
    let lines = format!("issuer = \"{}\"\nclient_id = \"build-host\"", issuer.url());
    at.use_identity(&lines, at.scene.client_secret(), ROBOT);
    let (quay, subject) = (at.scene.sandbox.quay(), "service-account-of-build-host");
    quay.bind(ROBOT, &issuer.url(), subject, None);
    let headers = [("Content-Type", "text/plain"), ("Retry-After", "1")];
    let fault = Fault::Respond {
        status: 503,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: b"Bootstrap in progress. Retry in 1 seconds.".to_vec(),
    };
    issuer.fault(issuer.token_path(), fault, Times::Once);
    let began = Instant::now();
    let answered = at.robot_token();
    quay.unbind(ROBOT, &issuer.url(), subject);
    answered?;
    assert!(began.elapsed() >= Duration::from_secs(1), "as Retry-After says");
    Ok(())
}

fn push_and_pull(at: &Bench) -> Result<(), String> {
    at.use_client("builder");
    at.seat.import(&at.image)?;
    at.seat.command("podman", ["push", "--quiet", &at.image]).succeed()?;
    at.pull()?;
    assert_eq!(at.scene.exchanges(), 1, "one for both");
    Ok(())
}

fn log_in_by_hand(at: &Bench) -> Result<(), String> {
    let seat = at.scene.bare_seat("by-hand", None);
    let secret = seat.write("home/client-secret", SECRET, 0o600);
    seat.set("QUAY", at.scene.sandbox.quay().host());
    let issuer = at.keycloak.borrow().realm("ci");
    let ran = script(&seat, at.scene.host(), ROBOT, &issuer, "builder", &secret).succeed()?;
    ran.must_say(&["Login Succeeded!"])?;
    seat.command("podman", ["pull", "--quiet", &at.image]).succeed().map(|_| ())
}

/// Robot tokens of this life from now on, the first of them got.
fn begin_a_life(at: &Bench, client: &str, seconds: u64) -> Result<(Instant, String), String> {
    at.scene.sandbox.quay().set_robot_token_life(Duration::from_secs(seconds));
    at.use_client(client);
    let began = Instant::now();
    Ok((began, at.robot_token()?))
}

/// Asks until the token is this old: each answer is the same, and nothing is said.
fn must_keep(at: &Bench, began: Instant, token: &str, age: Duration) -> Result<(), String> {
    while began.elapsed() < age {
        let kept = at.robot_token().map_err(|error| format!("{:?}: {error}", began.elapsed()))?;
        assert_eq!(kept, token, "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn rotate_the_secret(at: &Bench) -> Result<(), String> {
    let (began, first) = begin_a_life(at, "rotated", 16)?;
    let keycloak = at.keycloak.borrow();
    let path = format!("/clients/{}/client-secret", internal_id_of("rotated"));
    let made = keycloak.administer("POST", &path, &Value::Null)?;
    let secret = made["value"].as_str().ok_or("no new secret")?;
    if keycloak.access_token("rotated", SECRET).is_ok() {
        return Err("the old secret still works".to_owned());
    }
    // An early renewal is due after 8 to 11.2 s, and fails; nobody hears of it.
    must_keep(at, began, &first, Duration::from_secs(12))?;
    at.seat.write("home/client-secret", secret, 0o600);
    let second = at.robot_token()?;
    assert_ne!(second, first, "with the new secret the next renewal works");
    assert_eq!(at.scene.exchanges(), 2);
    at.log_in(&second)
}

fn rotate_the_keys(at: &Bench) -> Result<(), String> {
    let key_of = |token: &str| token.split('.').next().unwrap_or_default().to_owned();
    at.use_client("builder");
    at.robot_token()?;
    let keycloak = at.keycloak.borrow();
    let before = key_of(&keycloak.access_token("builder", SECRET)?);
    let component = json!({
        "name": "the next key",
        "providerId": "rsa-generated",
        "providerType": "org.keycloak.keys.KeyProvider",
        "config": { "priority": ["200"], "algorithm": ["RS256"] },
    });
    keycloak.administer("POST", "/components", &component)?;
    let after = key_of(&keycloak.access_token("builder", SECRET)?);
    assert_ne!(before, after, "the header names another key");
    at.use_client("builder");
    at.robot_token().and_then(|token| at.log_in(&token))
}

/// It takes connections and does not answer. With `min_validity` a token is due after a third of
/// its life, and what is left then is more than the time-outs.
fn outlast_a_hang(at: &Bench) -> Result<(), String> {
    at.scene.sandbox.quay().set_robot_token_life(Duration::from_secs(36));
    at.use_client("builder");
    let path = at.seat.path("home/.config/quayfed/config.toml");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    at.seat.configure(&text.replacen("robot =", "min_validity = \"18s\"\nrobot =", 1));
    let began = Instant::now();
    let first = at.robot_token()?;
    let keycloak = at.keycloak.borrow();
    keycloak.freeze();
    let kept = must_keep(at, began, &first, Duration::from_secs(TOKEN_LIFE + 9));
    keycloak.thaw();
    kept?;
    // A failed try bars the next one for an eighth of the life.
    let mut second = first.clone();
    wait_until("a renewal", Duration::from_secs(10), || {
        second = at.robot_token().unwrap_or_default();
        second != first
    });
    at.log_in(&second)
}

fn outlast_a_stop(at: &Bench) -> Result<(), String> {
    let (began, first) = begin_a_life(at, "builder", 30)?;
    at.keycloak.borrow().kill();
    let mut pulls = 0;
    while began.elapsed() < Duration::from_secs(TOKEN_LIFE + 13) {
        at.pull().map_err(|error| format!("after {:?}: {error}", began.elapsed()))?;
        pulls += 1;
    }
    assert!(pulls > 2, "{pulls}");
    assert_eq!(at.robot_token()?, first);
    at.use_client("builder");
    at.ask("")?.must_say(&["could not be reached: connection refused"])
}
