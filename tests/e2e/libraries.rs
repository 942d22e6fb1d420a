//! The client libraries that ask a helper by themselves: `scripts/install-libraries` puts them
//! into `.tools/libraries`, at the versions that `tests/e2e/libraries` pins.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::report::Report;
use crate::run::{Ran, Runs as _, which};
use crate::scene::{Diary, OTHER_ROBOT, ROBOT, Registry, Scene, Seat};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "client libraries",
    needs: &[Need::Program("docker-registry", "docker-registry")],
    run: play,
};

/// One client, and what is tried with it.
struct Library {
    /// The name of its folder in `tests/e2e/libraries` and in `.tools/libraries`.
    name: &'static str,
    version: fn(&Bench) -> String,
    operations: &'static [(&'static str, Operation)],
}

const WATCHED: &str = "quayfed-watched";

/// A robot that Quay does not know.
const NOBODY: &str = "acme+nobody";
const CAUSE: &str = "has no robot account `acme+nobody`";
const NOT_FOUND: &str = "credentials not found in native keychain";

type Operation = fn(&Bench) -> Result<(), String>;

const LIBRARIES: &[Library] = &[
    Library {
        name: "docker-py",
        version: |at| version(at.python(["-c", "import docker; print(docker.__version__)"])),
        operations: &[
            ("get", docker_py_gets),
            ("get: not found", docker_py_finds_nothing),
            ("get: an error", docker_py_shows_an_error),
            ("list", docker_py_lists),
            ("store and erase", docker_py_stores_and_erases),
            ("credHelpers and credsStore", docker_py_heeds_the_configuration),
        ],
    },
    Library {
        name: "docker_credential",
        version: |_| docker_credential_version(),
        operations: &[
            ("credHelpers and credsStore", docker_credential_gets),
            ("podman's auth.json", docker_credential_gets_for_podman),
            ("not found", docker_credential_finds_nothing),
            ("an error", docker_credential_shows_an_error),
        ],
    },
    Library {
        name: "crane",
        version: |at| version(at.crane(["version"])),
        operations: &[
            ("credHelpers: push, pull, ls, copy", crane_works_by_cred_helpers),
            ("credsStore: push, pull, ls", crane_works_by_creds_store),
            ("auth get", crane_tells_credentials),
            ("not found: anonymously", crane_goes_on_anonymously),
            ("not found: refused by the registry", crane_is_refused_without_a_rule),
            ("an error", crane_shows_an_error),
            ("auth login and logout", crane_logs_in_and_out),
        ],
    },
    Library {
        name: "oras",
        version: |at| version(at.oras(["version"])),
        operations: &[
            ("credHelpers: push, pull, tags, copy", oras_works_by_cred_helpers),
            ("credsStore: push, pull, tags", oras_works_by_creds_store),
            ("not found: anonymously", oras_goes_on_anonymously),
            ("not found: refused by the registry", oras_is_refused_without_a_rule),
            ("an error", oras_shows_an_error),
            ("login and logout", oras_logs_in_and_out),
        ],
    },
    Library {
        name: "testcontainers",
        version: |at| version(at.node(["-p", "require('testcontainers/package.json').version"])),
        operations: &[
            ("credHelpers and credsStore", testcontainers_gets),
            ("not found", testcontainers_finds_nothing),
            ("an error", testcontainers_hides_an_error),
        ],
    },
];

fn play(report: &mut Report) {
    let bench = Bench::new();
    for library in LIBRARIES {
        report.client(library.name, "");
        if let Some(reason) = why_not_installed(library.name) {
            report.skip("all of it", &reason);
            continue;
        }
        report.client(library.name, &(library.version)(&bench));
        for (name, operation) in library.operations {
            report.operation(name, || {
                bench.tidy_up();
                operation(&bench)
            });
        }
    }
}

fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/libraries").join(name)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/libraries").join(name)
}

fn why_not_installed(name: &str) -> Option<String> {
    if installed(name).is_dir() {
        return None;
    }
    let log = fs::read_to_string(installed(&format!("{name}.log"))).unwrap_or_default();
    let reason = log.lines().last().unwrap_or("it has not been run");
    Some(format!("scripts/install-libraries has not installed it: {reason}"))
}

/// The first word of an answer that looks like a version.
fn version(mut command: Command) -> String {
    let text = command.run().map(|ran| ran.stdout).unwrap_or_default();
    let is_version = |word: &&str| word.trim_start_matches('v').starts_with(char::is_numeric);
    text.split_whitespace().find(is_version).unwrap_or("?").to_owned()
}

/// A crate has nothing to ask.
fn docker_credential_version() -> String {
    let manifest = fs::read_to_string(source("docker_credential").join("Cargo.toml"));
    let manifest = manifest.unwrap_or_default();
    let pin = manifest.lines().find_map(|line| line.strip_prefix("docker_credential = \"="));
    pin.unwrap_or("?").trim_end_matches('"').to_owned()
}

/// Where the clients are tried, with the helper under a watched name.
struct Bench {
    open: Registry,
    seat: Seat,
    diary: Diary,
    scene: Scene,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let open = scene.start_open_registry();
        let seat = scene.seat("libraries", None);
        let diary = seat.watch_helper();
        seat.make_folder("home/docker", 0o700);
        seat.set("DOCKER_CONFIG", seat.path("home/docker").display());
        seat.set("NODE_PATH", installed("testcontainers").join("node_modules").display());
        seat.set("PYTHONDONTWRITEBYTECODE", "1");
        Self { open, seat, diary, scene }
    }

    /// What an operation changed does not concern the next one.
    fn tidy_up(&self) {
        self.use_cred_helpers();
        self.configure_helper(ROBOT);
        self.seat.forget(self.scene.host()).unwrap_or_else(|error| panic!("{error}"));
        self.diary.forget();
        self.scene.sandbox.quay().forget_requests();
    }

    fn use_cred_helpers(&self) {
        self.configure_docker(&json!({ "credHelpers": { self.scene.host(): WATCHED } }));
    }

    fn use_creds_store(&self) {
        self.configure_docker(&json!({ "credsStore": WATCHED }));
    }

    fn configure_docker(&self, content: &Value) {
        self.seat.write("home/docker/config.json", &format!("{content}\n"), 0o600);
    }

    fn configure_helper(&self, robot: &str) {
        self.configure_helper_for(self.scene.host(), robot);
    }

    fn configure_helper_for(&self, host: &str, robot: &str) {
        let text = self.scene.configuration(robot, &self.seat.path("home/client-secret"));
        self.seat.configure(&text.replace(self.scene.host(), host));
    }

    /// A layer of one file, as a tarball.
    fn layer(&self) -> Result<String, String> {
        let folder = self.seat.make_folder("home/image", 0o700).display().to_string();
        self.seat.write("home/image/hello", "hello from quayfed\n", 0o644);
        let layer = self.seat.path("home/image.tar").display().to_string();
        self.seat.command("tar", ["-C", &folder, "-cf", &layer, "hello"]).succeed()?;
        Ok(layer)
    }

    fn python<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&installed("docker-py").join("bin/python"), arguments)
    }

    fn docker_py<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.python([]);
        command.arg(source("docker-py").join("store.py")).args(words);
        command
    }

    fn docker_credential<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let program = installed("docker_credential").join("bin/quayfed-e2e-docker-credential");
        self.command(&program, words)
    }

    fn crane<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&installed("crane").join("crane"), arguments)
    }

    fn oras<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&installed("oras").join("oras"), arguments)
    }

    fn node<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(&which("node").unwrap_or_else(|| "node".into()), arguments)
    }

    fn testcontainers(&self, server: &str) -> Command {
        let mut command = self.node([]);
        command.arg(source("testcontainers").join("auth.js")).arg(server);
        command
    }

    fn command<'a>(&self, program: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command(&program.display().to_string(), arguments)
    }
}

fn docker_py_gets(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let ran = at.docker_py(["get", host]).succeed()?;
    assert_eq!(ran.stderr, "");
    assert_eq!(
        json_of(&ran)?,
        json!({ "ServerURL": host, "Username": ROBOT, "Secret": at.seat.robot_token(host)? })
    );
    Ok(())
}

fn docker_py_finds_nothing(at: &Bench) -> Result<(), String> {
    let ran = at.docker_py(["get", &at.open.host]).fail()?;
    let text = "CredentialsNotFound: No matching credentials in docker-credential-quayfed";
    assert_eq!(ran.stderr.trim_end(), text);
    Ok(())
}

fn docker_py_shows_an_error(at: &Bench) -> Result<(), String> {
    at.configure_helper(NOBODY);
    let ran = at.docker_py(["get", at.scene.host()]).fail()?;
    ran.must_say(&[
        "StoreError: Credentials store docker-credential-quayfed exited with \"Quay at `",
        CAUSE,
        "\nhint: ",
    ])
}

fn docker_py_lists(at: &Bench) -> Result<(), String> {
    let ran = at.docker_py(["list"]).succeed()?;
    assert_eq!(json_of(&ran)?, json!({ at.scene.host(): ROBOT }));
    Ok(())
}

fn docker_py_stores_and_erases(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let password = at.seat.robot_token(host)?;
    at.docker_py(["store", host, ROBOT]).succeed_with_input(&password)?;
    let other = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let ran = at.docker_py(["store", host, OTHER_ROBOT]).fail_with_input(&other)?;
    ran.must_say(&["StoreError: ", &managed(host), "\nhint: "])?;
    at.docker_py(["erase", host]).succeed()?;
    at.docker_py(["erase", &at.open.host]).succeed()?;
    at.docker_py(["get", host]).succeed()?;
    assert_eq!(at.scene.exchanges(), 2, "one before and one after the erasure");
    Ok(())
}

/// As a `DockerClient` does before a pull and before a build.
fn docker_py_heeds_the_configuration(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let token = at.seat.robot_token(host)?;
    let found = json!({ "ServerAddress": host, "Username": ROBOT, "Password": token });
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        assert_eq!(json_of(&at.docker_py(["resolve", host]).succeed()?)?, found);
        assert_eq!(json_of(&at.docker_py(["resolve", &at.open.host]).succeed()?)?, Value::Null);
        assert_eq!(json_of(&at.docker_py(["all"]).succeed()?)?[host], found);
    }
    at.configure_helper(NOBODY);
    let ran = at.docker_py(["resolve", host]).fail()?;
    ran.must_say(&["DockerException: Credentials store error: ", CAUSE])
}

fn docker_credential_gets(at: &Bench) -> Result<(), String> {
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        must_be_the_robot(at, &at.docker_credential(["docker", at.scene.host()]).succeed()?)?;
    }
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (2, 1));
    Ok(())
}

fn docker_credential_gets_for_podman(at: &Bench) -> Result<(), String> {
    at.configure_docker(&json!({}));
    at.seat.use_helper_for(&[(at.scene.host(), WATCHED)]);
    must_be_the_robot(at, &at.docker_credential(["podman", at.scene.host()]).succeed()?)
}

fn docker_credential_finds_nothing(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    let ran = at.docker_credential(["docker", &at.open.host]).fail()?;
    let answer = json!({ "stdout": format!("{NOT_FOUND}\n"), "stderr": "" });
    assert_eq!(json_of(&ran)?, answer);
    Ok(())
}

fn docker_credential_shows_an_error(at: &Bench) -> Result<(), String> {
    at.configure_helper(NOBODY);
    let ran = at.docker_credential(["docker", at.scene.host()]).fail()?;
    let answer = json_of(&ran)?;
    let said = |stream: &str| answer[stream].as_str().unwrap_or_default().to_owned();
    assert!(said("stdout").contains(CAUSE), "{answer}");
    assert!(said("stderr").contains("\nhint: "), "{answer}");
    Ok(())
}

fn must_be_the_robot(at: &Bench, ran: &Ran) -> Result<(), String> {
    assert_eq!(ran.stderr, "");
    let token = at.seat.robot_token(at.scene.host())?;
    assert_eq!(json_of(ran)?, json!({ "username": ROBOT, "password": token }));
    Ok(())
}

fn crane_works_by_cred_helpers(at: &Bench) -> Result<(), String> {
    crane_works(at)?;
    let (image, copied) = (at.scene.image("acme/crane:1"), at.scene.image("acme/crane-copied:1"));
    at.crane(["copy", &image, &copied]).succeed()?;
    Ok(())
}

fn crane_works_by_creds_store(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    crane_works(at)
}

fn crane_works(at: &Bench) -> Result<(), String> {
    let (image, again) = (at.scene.image("acme/crane:1"), at.scene.image("acme/crane:2"));
    let tarball = at.seat.path("home/crane.tar").display().to_string();
    let layer = at.layer()?;
    at.crane(["append", "--new_layer", &layer, "--new_tag", &image]).succeed()?;
    at.crane(["pull", &image, &tarball]).succeed()?;
    at.crane(["push", &tarball, &again]).succeed()?;
    let ran = at.crane(["ls", &at.scene.image("acme/crane")]).succeed()?;
    let tags: BTreeSet<&str> = ran.stdout.lines().collect();
    assert_eq!(tags, BTreeSet::from(["1", "2"]));
    ran.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (4, 1));
    Ok(())
}

fn crane_tells_credentials(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let token = at.seat.robot_token(host)?;
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        let ran = at.crane(["auth", "get", host]).succeed()?;
        assert_eq!(json_of(&ran)?, json!({ "Username": ROBOT, "Secret": token }));
    }
    let ran = at.crane(["auth", "get", &at.open.host]).fail()?;
    assert_eq!((ran.stdout.trim_end(), ran.stderr.as_str()), (NOT_FOUND, ""));
    Ok(())
}

fn crane_goes_on_anonymously(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    let image = format!("{}/somebody/crane:1", at.open.host);
    at.crane(["append", "--new_layer", &at.layer()?, "--new_tag", &image]).succeed()?;
    let ran = at.crane(["ls", &format!("{}/somebody/crane", at.open.host)]).succeed()?;
    ran.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get") > 0, at.scene.exchanges()), (true, 0));
    Ok(())
}

/// Where credentials are asked for, the refusal is the registry's.
fn crane_is_refused_without_a_rule(at: &Bench) -> Result<(), String> {
    at.configure_helper_for("quay.example.com", ROBOT);
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        let ran = at.crane(["ls", &at.scene.image("acme/crane")]).fail()?;
        ran.must_say(&["authentication required"])?;
        ran.must_not_say(&["quayfed", NOT_FOUND])?;
    }
    assert!(at.diary.count("get") >= 2);
    Ok(())
}

fn crane_shows_an_error(at: &Bench) -> Result<(), String> {
    at.configure_helper(NOBODY);
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        let ran = at.crane(["ls", &at.scene.image("acme/crane")]).fail()?;
        ran.must_say(&[CAUSE, "\nhint: ", "error getting credentials"])?;
    }
    Ok(())
}

fn crane_logs_in_and_out(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let words = ["auth", "login", "--username", OTHER_ROBOT, "--password-stdin", host];
    at.crane(words).fail_with_input(&password)?.must_say(&[&managed(host), "\nhint: "])?;
    at.crane(["auth", "logout", host]).succeed()?;
    assert!(at.diary.count("erase") > 0);
    at.crane(["ls", &at.scene.image("acme/crane")]).succeed().map(|_| ())
}

/// Otherwise oras speaks plain HTTP to `localhost`.
const TLS: &str = "--plain-http=false";

fn oras_works_by_cred_helpers(at: &Bench) -> Result<(), String> {
    oras_works(at)?;
    let (from, to) = (at.scene.image("acme/oras:1"), at.scene.image("acme/oras-copied:1"));
    at.oras(["cp", "--from-plain-http=false", "--to-plain-http=false", &from, &to])
        .succeed()
        .map(|_| ())
}

fn oras_works_by_creds_store(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    oras_works(at)
}

fn oras_works(at: &Bench) -> Result<(), String> {
    let artifact = at.scene.image("acme/oras:1");
    at.seat.write("home/artifact", "hello from quayfed\n", 0o644);
    let folder = at.seat.make_folder("home/pulled", 0o700).display().to_string();
    at.oras(["push", TLS, &artifact, "artifact"]).succeed()?;
    at.oras(["pull", TLS, "--output", &folder, &artifact]).succeed()?;
    let ran = at.oras(["repo", "tags", TLS, &at.scene.image("acme/oras")]).succeed()?;
    assert_eq!(ran.stdout.trim(), "1");
    ran.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (3, 1));
    Ok(())
}

fn oras_goes_on_anonymously(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    at.seat.write("home/artifact", "hello from quayfed\n", 0o644);
    let artifact = format!("{}/somebody/oras:1", at.open.host);
    at.oras(["push", TLS, &artifact, "artifact"]).succeed()?;
    at.oras(["manifest", "fetch", TLS, &artifact]).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!(at.scene.exchanges(), 0);
    Ok(())
}

/// Where credentials are asked for, the refusal is the registry's.
fn oras_is_refused_without_a_rule(at: &Bench) -> Result<(), String> {
    at.configure_helper_for("quay.example.com", ROBOT);
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        let ran = at.oras(["repo", "tags", TLS, &at.scene.image("acme/oras")]).fail()?;
        ran.must_say(&["authentication required"])?;
        ran.must_not_say(&["quayfed", NOT_FOUND])?;
    }
    assert!(at.diary.count("get") >= 2);
    Ok(())
}

fn oras_shows_an_error(at: &Bench) -> Result<(), String> {
    at.configure_helper(NOBODY);
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        let ran = at.oras(["repo", "tags", TLS, &at.scene.image("acme/oras")]).fail()?;
        ran.must_say(&[CAUSE, "\nhint: "])?;
    }
    Ok(())
}

fn oras_logs_in_and_out(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let words = ["login", TLS, "--username", OTHER_ROBOT, "--password-stdin", host];
    at.oras(words).fail_with_input(&password)?.must_say(&[&managed(host), "\nhint: "])?;
    at.oras(["logout", host]).succeed()?;
    assert!(at.diary.count("erase") > 0);
    at.oras(["repo", "tags", TLS, &at.scene.image("acme/oras")]).succeed().map(|_| ())
}

fn testcontainers_gets(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    let token = at.seat.robot_token(host)?;
    let found = json!({ "username": ROBOT, "password": token, "registryAddress": host });
    for configure in [Bench::use_cred_helpers, Bench::use_creds_store] {
        configure(at);
        assert_eq!(json_of(&at.testcontainers(host).succeed()?)?, found);
    }
    assert_eq!(at.diary.count("get"), 2);
    Ok(())
}

fn testcontainers_finds_nothing(at: &Bench) -> Result<(), String> {
    at.use_creds_store();
    assert_eq!(json_of(&at.testcontainers(&at.open.host).succeed()?)?, Value::Null);
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

/// It takes every failure for "not found", and keeps the helper's standard error to itself.
fn testcontainers_hides_an_error(at: &Bench) -> Result<(), String> {
    at.configure_helper(NOBODY);
    let ran = at.testcontainers(at.scene.host()).succeed()?;
    assert_eq!(json_of(&ran)?, Value::Null);
    assert_eq!(at.diary.count("get"), 1);
    ran.must_not_say(&["quayfed"])
}

/// The first line of an answer.
fn json_of(ran: &Ran) -> Result<Value, String> {
    let line = ran.stdout.lines().next().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| format!("{error}: {ran}"))
}

fn managed(host: &str) -> String {
    format!("quayfed manages `{host}` as `{ROBOT}`")
}
