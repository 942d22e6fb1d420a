//! docker: Debian's daemon, with Debian's client and with a newer one where this machine has it.
//!
//! The client asks the helper, the daemon pulls and pushes. The daemon takes any certificate of a
//! registry on loopback; its `BuildKit` does not, but speaks plain HTTP to one that is called
//! `localhost`. Therefore both registries go by another name here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::report::Report;
use crate::run::{KilledOnDrop, PATH, Ran, Runs as _, version_of, wait_until, which};
use crate::scene::{Diary, OTHER_ROBOT, ROBOT, Registry, Scene, Seat, make_folder};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "docker",
    needs: &[
        Need::Root,
        Need::Program("docker", "docker.io"),
        Need::Program("dockerd", "docker.io"),
        Need::Program("docker-registry", "docker-registry"),
        Need::Apart,
    ],
    run: play,
};

/// Debian's client, and one that was installed beside it. Where there is none, that is no skip.
fn clients() -> Vec<PathBuf> {
    let places = ["/usr/bin/docker", "/usr/local/bin/docker"].map(PathBuf::from);
    places.into_iter().filter(|place| place.is_file()).collect()
}

/// What both registries are called, at their own ports. The sandbox's certificate has it.
const NAME: &str = "quay.localhost";

const WATCHED: &str = "quayfed-watched";

fn play(report: &mut Report) {
    let mut bench = Bench::new();
    // Debian's client has it in itself: one that was installed beside it need not show it again.
    let mut is_buildkit_shown = false;
    for client in clients() {
        bench.client = client;
        report.client("docker", &bench.version());
        let of_buildkit = if bench.has_buildkit() { OPERATIONS_OF_BUILDKIT } else { &[] };
        is_buildkit_shown |= !of_buildkit.is_empty();
        for (name, operation) in OPERATIONS.iter().chain(of_buildkit) {
            report.operation(name, || {
                bench.tidy_up();
                operation(&bench)
            });
        }
    }
    if !is_buildkit_shown {
        report.skip("builds by BuildKit", "no client here has it, or its plugin `docker buildx`");
    }
}

type Operation = fn(&Bench) -> Result<(), String>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("push", push),
    ("pull", pull),
    ("a repository without permission", pull_without_permission),
    ("legacy build with FROM, and push", build_the_legacy_way),
    ("legacy build: every helper is asked", ask_every_helper_for_a_legacy_build),
    ("login with existing credentials", login_with_existing_credentials),
    ("login as a user whom Quay refuses", login_as_somebody_whom_quay_refuses),
    ("login as another robot", login_as_another_robot),
    ("login as the same robot", login_as_the_same_robot),
    ("logout", logout),
    ("credsStore: push and pull", use_creds_store),
    ("credsStore: logout", logout_with_creds_store),
    ("credsStore: login elsewhere", login_elsewhere_with_creds_store),
    ("credsStore: legacy build", build_the_legacy_way_with_creds_store),
    ("another registry, anonymously", pull_from_another_registry),
    ("a registry without a rule, anonymously", pull_anonymously_without_a_rule),
    ("credHelpers shadows auths", shadow_auths),
    ("credHelpers with a path or a scheme are not used", pass_over_other_keys),
    ("a helper that fails: pull", fail_a_pull),
    ("a helper that fails: push", fail_a_push),
    ("a helper that fails: legacy build", fail_a_legacy_build),
    ("a helper that fails: login", fail_a_login),
    ("a helper that is not there", miss_the_helper),
    ("the robot token ends between two pulls", outlive_a_robot_token),
];

const OPERATIONS_OF_BUILDKIT: &[(&str, Operation)] = &[
    ("BuildKit: build with FROM, and push", build_by_buildkit),
    ("BuildKit: credsStore", build_by_buildkit_with_creds_store),
    ("BuildKit: another registry, anonymously", build_by_buildkit_from_another_registry),
    ("BuildKit: a helper that fails", fail_buildkit),
];

/// Where docker is tried, with the helper under a watched name.
struct Bench {
    _daemon: KilledOnDrop,
    client: PathBuf,
    seat: Seat,
    diary: Diary,
    _open: Registry,
    scene: Scene,
    /// The registry whose robot tokens the helper is to get.
    host: String,
    /// The registry that asks nobody who he is.
    open: String,
    image: String,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let open = scene.start_open_registry();
        let seat = scene.seat("docker", None);
        let diary = seat.watch_helper();
        seat.make_folder("home/docker", 0o700);
        seat.set("DOCKER_CONFIG", seat.path("home/docker").display());
        seat.set("DOCKER_HOST", format_args!("unix://{}", seat.path("run/docker.sock").display()));
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        fs::write("/etc/hosts", format!("{hosts}\n127.0.0.1 {NAME}\n")).expect("written");
        let [host, open_host] = [scene.host(), &open.host].map(by_name);
        for host in [&host, &open_host] {
            let folder = make_folder(&Path::new("/etc/docker/certs.d").join(host));
            fs::copy(scene.ca(), folder.join("ca.crt")).expect("the CA copied");
        }
        let client = clients().into_iter().next().expect("a client");
        Self {
            _daemon: start_daemon(&client, &scene, &seat),
            client,
            image: format!("{host}/acme/app:1"),
            seat,
            diary,
            _open: open,
            scene,
            host,
            open: open_host,
        }
    }

    /// What an operation changed does not concern the next one.
    fn tidy_up(&self) {
        self.configure_docker(&json!({ "credHelpers": { &self.host: WATCHED } }));
        self.configure_helper(ROBOT);
        self.seat.forget(&self.host).unwrap_or_else(|error| panic!("{error}"));
        self.diary.forget();
        self.scene.sandbox.quay().set_robot_token_life(Duration::from_hours(1));
        self.scene.sandbox.quay().forget_requests();
    }

    fn configure_docker(&self, content: &Value) {
        self.seat.write("home/docker/config.json", &format!("{content}\n"), 0o600);
    }

    fn docker_configuration(&self) -> Value {
        let text = fs::read_to_string(self.seat.path("home/docker/config.json")).expect("read");
        serde_json::from_str(&text).expect("JSON")
    }

    fn configure_helper(&self, robot: &str) {
        let secret = self.seat.path("home/client-secret");
        let configuration = self.scene.configuration(robot, &secret);
        self.seat.configure(&configuration.replace(self.scene.host(), &self.host));
    }

    /// The name of an image at the helper's registry.
    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command(&self.client.display().to_string(), arguments)
    }

    /// Pulls an image that is not there yet.
    fn pull(&self, image: &str) -> Command {
        self.remove(image);
        self.docker(["pull", image])
    }

    fn remove(&self, image: &str) {
        let _ = self.docker(["rmi", "--force", image]).run();
    }

    /// Makes an image of one file, which no base image is needed for.
    fn import(&self, image: &str) -> Result<(), String> {
        let layer = self.layer()?;
        self.docker(["import", &layer, image]).succeed().map(|_| ())
    }

    fn layer(&self) -> Result<String, String> {
        let folder = self.seat.make_folder("home/image", 0o700).display().to_string();
        self.seat.write("home/image/hello", "hello from quayfed\n", 0o644);
        let layer = self.seat.path("home/image.tar").display().to_string();
        self.seat.command("tar", ["-C", &folder, "-cf", &layer, "hello"]).succeed()?;
        Ok(layer)
    }

    /// Builds on an image that is not there yet.
    fn build(&self, by: &str, from: &str, image: &str) -> Command {
        self.remove(from);
        let folder = self.seat.make_folder("home/context", 0o700).display().to_string();
        self.seat.write("home/context/more", "more\n", 0o644);
        let recipe = format!("FROM {from}\nCOPY more /more\n");
        self.seat.write("home/context/Dockerfile", &recipe, 0o644);
        let mut build = self.docker(["build", "--no-cache", "--tag", image, &folder]);
        build.env("DOCKER_BUILDKIT", by);
        build
    }

    /// A client before 23 has `BuildKit` in itself, a later one as a plugin that may be missing.
    fn has_buildkit(&self) -> bool {
        let plugin = self.docker(["buildx", "version"]).succeed().is_ok();
        plugin || self.major_version() < 23
    }

    fn version(&self) -> String {
        version_of(&self.client.display().to_string(), &["--version"])
    }

    fn major_version(&self) -> u32 {
        let version = self.version();
        version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }

    /// What a person sees when the helper failed: its lines by way of standard error, and then,
    /// since docker before 29 goes on anonymously, a refusal that does not tell why.
    fn must_show_the_failure(&self, ran: &Ran, refusal: &str) -> Result<(), String> {
        ran.must_say(&[
            "docker-credential-quayfed: Quay at `",
            "has no robot account `acme+nobody`",
            "\nhint: ",
        ])?;
        if self.major_version() < 29 { ran.must_say(&[refusal]) } else { Ok(()) }
    }
}

/// What the registry answers to those who are not permitted.
const DENIED: &str = "denied: requested access to the resource is denied";

/// How `BuildKit` is chosen, and how not.
const LEGACY: &str = "0";
const BUILDKIT: &str = "1";

/// Debian's daemon, everything of it below the folder of the seat.
fn start_daemon(client: &Path, scene: &Scene, seat: &Seat) -> KilledOnDrop {
    let debian = Path::new("/usr/sbin/dockerd");
    let program =
        if debian.is_file() { debian.to_owned() } else { which("dockerd").expect("dockerd") };
    let configuration = seat.write("home/daemon.json", "{}\n", 0o600);
    let log = seat.path("home/daemon.log");
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("SSL_CERT_FILE", scene.ca()).current_dir("/");
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
    command.args(["--storage-driver=vfs"]);
    for (option, path) in [
        ("config-file", configuration),
        ("data-root", seat.path("storage/docker")),
        ("exec-root", seat.path("run/docker")),
        ("pidfile", seat.path("run/docker.pid")),
    ] {
        command.arg(format!("--{option}={}", path.display()));
    }
    let socket = seat.path("run/docker.sock");
    command.arg(format!("--host=unix://{}", socket.display()));
    let mut daemon = KilledOnDrop::start(&mut command, &log).expect("dockerd started");
    wait_until("dockerd", Duration::from_mins(1), || {
        assert!(daemon.is_running(), "dockerd ended: {}", last_lines(&log));
        seat.command(&client.display().to_string(), ["version"]).succeed().is_ok()
    });
    daemon
}

fn by_name(host: &str) -> String {
    host.replace("localhost", NAME)
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn push(at: &Bench) -> Result<(), String> {
    at.import(&at.image)?;
    at.docker(["push", &at.image]).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (1, 1));
    Ok(())
}

fn pull(at: &Bench) -> Result<(), String> {
    at.pull(&at.image).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (1, 1));
    at.pull(&at.image).succeed()?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (2, 1), "from the cache");
    Ok(())
}

fn pull_without_permission(at: &Bench) -> Result<(), String> {
    let ran = at.pull(&at.image("other/app:1")).fail()?;
    ran.must_say(&["pull access denied for", DENIED])
}

fn build_the_legacy_way(at: &Bench) -> Result<(), String> {
    let built = at.image("acme/built:1");
    let ran = at.build(LEGACY, &at.image, &built).succeed()?;
    ran.must_say(&["Step 1/2 : FROM", "Successfully tagged"])?;
    ran.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.diary.count("list")), (1, 0));
    at.docker(["push", &built]).succeed()?;
    at.pull(&built).succeed().map(|_| ())
}

fn build_the_legacy_way_with_creds_store(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    at.build(LEGACY, &at.image, &at.image("acme/built:2")).succeed()?;
    assert_eq!((at.diary.count("get"), at.diary.count("list")), (1, 1));
    Ok(())
}

fn ask_every_helper_for_a_legacy_build(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credHelpers": { &at.host: WATCHED, &at.open: WATCHED } }));
    at.build(LEGACY, &at.image, &at.image("acme/built:8")).succeed()?;
    assert_eq!((at.diary.count("get"), at.diary.count("list")), (2, 0));
    Ok(())
}

fn login_with_existing_credentials(at: &Bench) -> Result<(), String> {
    let ran = at.docker(["login", &at.host]).succeed()?;
    ran.must_say(&["Authenticating with existing credentials", "Login Succeeded"])?;
    assert_eq!((at.diary.count("get"), at.diary.count("store")), (1, 1));
    ran.must_not_say(&["quayfed", "config.json"])
}

/// Logs in, the password on standard input.
fn login(at: &Bench, host: &str, name: &str, password: &str) -> Result<Ran, String> {
    at.docker(["login", "--username", name, "--password-stdin", host]).run_with_input(password)
}

fn login_as_somebody_whom_quay_refuses(at: &Bench) -> Result<(), String> {
    let ran = login(at, &at.host, "somebody", "wrong")?;
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.must_say(&["Error response from daemon", "unauthorized"])?;
    assert_eq!(at.diary.count("store"), 0);
    Ok(())
}

fn login_as_another_robot(at: &Bench) -> Result<(), String> {
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let ran = login(at, &at.host, OTHER_ROBOT, &password)?;
    assert_eq!(ran.code, Some(1), "{ran}");
    let host = &at.host;
    let cause = format!("quayfed manages `{host}` as `{ROBOT}`");
    ran.must_say(&[
        &format!(
            "docker-credential-quayfed: {cause}\nhint: to log in as `{OTHER_ROBOT}`, remove \
             `{host}` from `credHelpers` first\n"
        ),
        &format!("out: `{cause}`"),
    ])?;
    ran.must_not_say(&["Login Succeeded", &password])?;
    at.pull(&at.image).succeed().map(|_| ())
}

fn login_as_the_same_robot(at: &Bench) -> Result<(), String> {
    let password = at.seat.robot_token(&at.host)?;
    let ran = login(at, &at.host, ROBOT, &password)?;
    assert_eq!(ran.code, Some(0), "{ran}");
    ran.must_say(&["Login Succeeded"])?;
    ran.must_not_say(&["WARNING"])?;
    assert_eq!(at.diary.count("store"), 1);
    assert!(!at.docker_configuration().to_string().contains(&password));
    Ok(())
}

fn logout(at: &Bench) -> Result<(), String> {
    at.pull(&at.image).succeed()?;
    let before = at.scene.exchanges();
    let ran = at.docker(["logout", &at.host]).succeed()?;
    ran.must_say(&["Removing login credentials for"])?;
    ran.must_not_say(&["WARNING", "quayfed"])?;
    assert_eq!(at.diary.count("erase"), 2);
    at.pull(&at.image).succeed()?;
    assert_eq!(at.scene.exchanges() - before, 1, "the next pull gets a new token");
    at.docker(["logout", &at.host]).succeed()?;
    at.docker(["logout", &at.host]).succeed().map(|_| ())
}

fn logout_with_creds_store(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    let ran = at.docker(["logout", &at.host]).succeed()?;
    ran.must_not_say(&["WARNING", "quayfed"])?;
    assert_eq!(at.diary.count("erase"), 4, "twice the host, and with http:// and https://");
    Ok(())
}

fn use_creds_store(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    at.pull(&at.image).succeed()?.must_not_say(&["quayfed"])?;
    at.docker(["push", &at.image]).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.diary.count("list")), (2, 0));
    Ok(())
}

fn login_elsewhere_with_creds_store(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    let ran = login(at, &at.open, "somebody", "secret")?;
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.must_say(&["Error saving credentials", "credHelpers", "credsStore", "hint: "])?;
    ran.must_not_say(&["Login Succeeded"])
}

fn pull_from_another_registry(at: &Bench) -> Result<(), String> {
    let image = format!("{}/somebody/app:1", at.open);
    at.docker(["tag", &at.image, &image]).succeed()?;
    for (content, asked) in [
        (json!({ "credHelpers": { &at.host: WATCHED } }), 0),
        (json!({ "credHelpers": { &at.open: WATCHED } }), 1),
        (json!({ "credsStore": WATCHED }), 1),
    ] {
        at.configure_docker(&content);
        at.docker(["push", &image]).succeed()?.must_not_say(&["quayfed"])?;
        at.diary.forget();
        at.pull(&image).succeed()?.must_not_say(&["quayfed"])?;
        assert_eq!(at.diary.count("get"), asked, "{content}");
    }
    assert_eq!(at.scene.exchanges(), 0);
    Ok(())
}

/// Where credentials would be needed, the refusal is the registry's, and the helper is silent.
fn pull_anonymously_without_a_rule(at: &Bench) -> Result<(), String> {
    let text = at.scene.configuration(ROBOT, &at.seat.path("home/client-secret"));
    at.seat.configure(&text.replace(at.scene.host(), "quay.example.com"));
    for content in
        [json!({ "credHelpers": { &at.host: WATCHED } }), json!({ "credsStore": WATCHED })]
    {
        at.configure_docker(&content);
        at.diary.forget();
        let ran = at.pull(&at.image).fail()?;
        ran.must_say(&[DENIED])?;
        ran.must_not_say(&["quayfed", "keychain"])?;
        assert_eq!(at.diary.count("get"), 1, "{content}");
    }
    Ok(())
}

fn shadow_auths(at: &Bench) -> Result<(), String> {
    let host = &at.host;
    at.configure_docker(&json!({
        "credHelpers": { host: WATCHED },
        "auths": { host: { "auth": "c29tZWJvZHk6d3Jvbmc=" } },
    }));
    at.pull(&at.image).succeed().map(|_| ())
}

fn pass_over_other_keys(at: &Bench) -> Result<(), String> {
    let host = &at.host;
    for key in [format!("{host}/acme"), format!("https://{host}")] {
        at.configure_docker(&json!({ "credHelpers": { &key: WATCHED } }));
        at.pull(&at.image).fail()?.must_say(&[DENIED])?;
        assert_eq!(at.diary.count("get"), 0, "{key}");
    }
    Ok(())
}

fn fail_a_pull(at: &Bench) -> Result<(), String> {
    at.configure_helper("acme+nobody");
    let ran = at.pull(&at.image).fail()?;
    at.must_show_the_failure(&ran, DENIED)
}

fn fail_a_push(at: &Bench) -> Result<(), String> {
    at.import(&at.image)?;
    at.configure_helper("acme+nobody");
    let ran = at.docker(["push", &at.image]).fail()?;
    at.must_show_the_failure(&ran, DENIED)
}

fn fail_a_legacy_build(at: &Bench) -> Result<(), String> {
    at.configure_helper("acme+nobody");
    let ran = at.build(LEGACY, &at.image, &at.image("acme/built:3")).fail()?;
    at.must_show_the_failure(&ran, DENIED)
}

fn fail_a_login(at: &Bench) -> Result<(), String> {
    at.configure_helper("acme+nobody");
    let ran = at.docker(["login", &at.host]).fail()?;
    at.must_show_the_failure(&ran, "Cannot perform an interactive login from a non TTY")
}

fn miss_the_helper(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credHelpers": { &at.host: "nowhere" } }));
    let ran = at.pull(&at.image).fail()?;
    if at.major_version() < 29 { ran.must_say(&[DENIED]) } else { ran.must_say(&["nowhere"]) }
}

fn build_by_buildkit(at: &Bench) -> Result<(), String> {
    let built = at.image("acme/built:4");
    at.build(BUILDKIT, &at.image, &built).succeed()?.must_not_say(&["quayfed"])?;
    must_have_been_asked_by_buildkit(at);
    at.docker(["push", &built]).succeed()?;
    at.pull(&built).succeed().map(|_| ())
}

fn build_by_buildkit_with_creds_store(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    at.build(BUILDKIT, &at.image, &at.image("acme/built:5")).succeed()?;
    must_have_been_asked_by_buildkit(at);
    Ok(())
}

/// It asks more than once for one image: how often is its own affair.
fn must_have_been_asked_by_buildkit(at: &Bench) {
    assert!(at.diary.count("get") > 0);
    assert_eq!((at.diary.count("list"), at.scene.exchanges()), (0, 1));
}

fn build_by_buildkit_from_another_registry(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({ "credsStore": WATCHED }));
    let from = format!("{}/somebody/app:1", at.open);
    let ran = at.build(BUILDKIT, &from, &at.image("acme/built:6")).succeed()?;
    ran.must_not_say(&["quayfed"])
}

/// Unlike a pull, a build by `BuildKit` ends there and tells the cause.
fn fail_buildkit(at: &Bench) -> Result<(), String> {
    at.configure_helper("acme+nobody");
    let ran = at.build(BUILDKIT, &at.image, &at.image("acme/built:7")).fail()?;
    ran.must_say(&[
        "docker-credential-quayfed: Quay at `",
        "\nhint: ",
        "error getting credentials - err: exit status 1, out: `Quay at `",
        "has no robot account `acme+nobody`",
    ])
}

fn outlive_a_robot_token(at: &Bench) -> Result<(), String> {
    const LIFE: Duration = Duration::from_secs(10);
    let (quay, host) = (at.scene.sandbox.quay(), &at.host);
    quay.set_robot_token_life(LIFE);
    at.pull(&at.image).succeed()?;
    let first = at.seat.robot_token(host)?;
    assert_eq!(at.scene.exchanges(), 1);
    std::thread::sleep(LIFE);
    at.pull(&at.image).succeed()?;
    assert_ne!(at.seat.robot_token(host)?, first);
    assert_eq!(at.scene.exchanges(), 2);
    Ok(())
}
