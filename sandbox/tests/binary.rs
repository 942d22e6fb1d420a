//! The program: its files and their modes, its demo client, and how it stops.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

struct Running {
    child: Child,
    directory: PathBuf,
}

impl Running {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quayfed-sandbox"));
        command.arg("--dir").arg(directory).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("start the program");
        let begin = Instant::now();
        while !directory.join("env").exists() {
            assert!(begin.elapsed() < Duration::from_secs(30), "no env file");
            assert!(child.try_wait().expect("its state").is_none(), "it ended");
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, directory: directory.to_owned() }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.directory.join("env")).expect("the env file");
        let pairs = text.lines().map(|line| line.split_once('=').expect("NAME=value"));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("send a signal");
    }

    /// Whether it ended well within a few seconds.
    fn ends_well(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status.success();
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_files_are_there_with_their_modes_once_env_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path(), &[]);
    let environment = running.environment();
    let mode = |name: &str| {
        let metadata = fs::metadata(Path::new(&environment[name])).expect("the file");
        assert!(metadata.len() > 0, "{name} is empty");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("SANDBOX_CLIENT_SECRET_FILE"), 0o600);
    assert_eq!(mode("SANDBOX_SERVER_KEY"), 0o600);
    for name in ["SANDBOX_CA", "SANDBOX_REGISTRY_BUNDLE", "SANDBOX_SERVER_CERTIFICATE"] {
        assert_eq!(mode(name) & 0o444, 0o444, "{name}");
    }
    let expected =
        ["ca.pem", "client-secret", "env", "registry-bundle.pem", "server.key", "server.pem"];
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, expected);
    assert!(environment["SANDBOX_TOKEN_ENDPOINT"].starts_with(&environment["SANDBOX_ISSUER"]));
    assert_eq!(environment["SANDBOX_PID"], running.child.id().to_string());
}

#[test]
fn sigterm_sigint_and_the_end_of_stdin_stop_it() {
    for signal in [Some(Signal::TERM), Some(Signal::INT), None] {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: &[&str] = if signal.is_none() { &["--until-stdin-closes"] } else { &[] };
        let mut running = Running::start(directory.path(), arguments);
        match signal {
            Some(signal) => running.signal(signal),
            None => drop(running.child.stdin.take()),
        }
        assert!(running.ends_well(), "{signal:?}");
    }
}

#[test]
fn the_end_of_stdin_alone_does_not_stop_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(directory.path(), &[]);
    drop(running.child.stdin.take());
    thread::sleep(Duration::from_millis(300));
    assert!(running.child.try_wait().expect("its state").is_none());
}

#[test]
fn the_demo_client_gets_a_robot_token_of_the_life_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path(), &["--robot-token-life", "90"]);
    let environment = running.environment();
    let secret = fs::read_to_string(&environment["SANDBOX_CLIENT_SECRET_FILE"]).expect("a secret");
    let https = common::Https::with_ca(Path::new(&environment["SANDBOX_CA"]));
    let issuer = common::host_of(&environment["SANDBOX_ISSUER"]);
    let path = environment["SANDBOX_TOKEN_ENDPOINT"].strip_prefix(&environment["SANDBOX_ISSUER"]);
    let client = common::basic(&environment["SANDBOX_CLIENT_ID"], &secret);
    let form = "grant_type=client_credentials";
    let reply = https.post_form(&issuer, path.expect("a path"), Some(&client), form);
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    for robot in ["demo+builder", "acme+ci"] {
        let header = common::basic(robot, &token);
        let quay = &environment["SANDBOX_QUAY"];
        let reply = https.get(quay, quayfed_sandbox::EXCHANGE_PATH, Some(&header));
        let token = reply.expect("a reply").json()["token"].as_str().expect("a token").to_owned();
        let claims = quayfed_sandbox::claims_of(&token).expect("claims");
        assert_eq!(claims["sub"], robot);
        assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|issued| issued + 90));
    }

    running.signal(Signal::USR1);
    let begin = Instant::now();
    while https.connect(&issuer).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(10), "the issuer still listens");
        thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::USR2);
    while https.connect(&issuer).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the issuer does not come back");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (arguments, text) in [
        (&[][..], "`--dir` is missing"),
        (&["--dir"][..], "`--dir` needs a value"),
        (&["--dir", "x", "--quay-version", "2.0"][..], "no recorded Quay version `2.0`"),
        (&["--wat"][..], "unknown argument `--wat`"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_quayfed-sandbox"))
            .args(arguments)
            .output()
            .expect("run the program");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{text}");
    }
}
