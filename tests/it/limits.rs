//! What a process may not have, and what it answers all the same (R34).

use std::fmt::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use quayfed::helper;
use quayfed::http::{HttpTransport, Transport};
use quayfed::log::Log;
use quayfed::redaction::Redactor;
use quayfed::world::{Caller, Clock, Environment, Places, SystemClock, UserNamespace, World};
use quayfed_sandbox::{EXCHANGE_PATH, Need, Sandbox, lacks};

use crate::binary::{Home, Ran, at_sandbox, program, start, uid};
use crate::simulation::{Host, Scripted, SimulatedClock, seconds, token};

/// The life of the tokens: Aging after 100 s, Short after 150 s.
const LIFE: Duration = seconds(200);

/// What there is before a `get`, by the age of the token.
const STATES: [(&str, Option<Duration>); 4] = [
    ("Fresh", Some(seconds(0))),
    ("Aging", Some(seconds(110))),
    ("Short", Some(seconds(155))),
    ("cold", None),
];

/// The clocks of the system, some time ago.
struct Ago(Duration);

impl Clock for Ago {
    fn wall(&self) -> Duration {
        SystemClock.wall() - self.0
    }

    fn boot(&self) -> Duration {
        SystemClock.boot().checked_sub(self.0).expect("a host that was booted minutes ago")
    }

    fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration);
    }
}

/// Puts a token of this age into the cache of a home, as a `get` did then. Its own factor, which says
/// when it is Aging, is the smallest.
fn keep_token(home: &Home, host: &str, age: Duration, scripted: Option<Scripted>) {
    let path = |name: &str| home.path(name).display().to_string();
    let variables = [
        ("QUAYFED_CONFIG", path(".config/quayfed/config.toml")),
        ("QUAYFED_CACHE_DIR", path("cache")),
    ];
    let namespace = UserNamespace { is_initial: true, uid_in_parent: uid(), overflow_uid: 65534 };
    let nowhere = || Path::new("/nowhere");
    let world = World {
        environment: Environment::of(variables),
        clock: Box::new(Ago(age)),
        random: Box::new(|bytes| bytes.fill(0)),
        caller: Caller::of(uid(), namespace),
        places: Places {
            system_configuration: nowhere().into(),
            user_configuration: None.into(),
            run: nowhere().into(),
            shared_memory: nowhere().into(),
            boot_id: nowhere().into(),
            home: None.into(),
            containers_configuration: nowhere().into(),
            containers_defaults: Path::new("/nowhere").into(),
            path_of_services: "".into(),
        },
        log: Log::silent(),
        redactor: Redactor::default(),
    };
    let transport = || match scripted {
        None => Box::new(HttpTransport::new(&world)) as Box<dyn Transport>,
        Some(scripted) => Box::new(scripted),
    };
    token(&helper::get(&world, transport, host, world.clock.boot()));
    for entry in std::fs::read_dir(home.cache()).expect("a folder") {
        home.own(&entry.expect("an entry").path());
    }
}

/// Runs the program under limits, as prlimit(1) of util-linux sets them.
fn under(limits: &[&str], home: &Home, arguments: &[&str], input: &str) -> Output {
    let mut command = home.command("/usr/bin/prlimit");
    command.args(limits).arg(program()).args(arguments);
    start(command, input).wait_with_output().expect("an end")
}

/// What came of a `get`, by what Quay was asked meanwhile.
fn outcome(output: Output, exchanges: usize) -> String {
    if let Some(signal) = output.status.signal() {
        return format!("killed by signal {signal}");
    }
    let ran = Ran::from(output);
    if ran.code == Some(0) {
        ran.token();
        assert_eq!(ran.stderr, "", "whoever has a token is told nothing");
        return if exchanges == 0 { "answered".to_owned() } else { "renewed".to_owned() };
    }
    if ran.stdout == "credentials not found in native keychain\n" {
        return format!(
            "not found, and on standard error:\n    {}",
            ran.stderr.trim_end().replace("\nhint", "\n    hint")
        );
    }
    format!("{}\n    hint: {}", ran.cause(), ran.hint())
}

/// A place where a robot token comes from.
struct Scene {
    home: Home,
    host: String,
    sandbox: Sandbox,
    /// Whether its names are in no file of this host.
    is_elsewhere: bool,
}

impl Scene {
    fn here() -> Self {
        let sandbox = Sandbox::start();
        sandbox.quay().set_robot_token_life(LIFE);
        let home = at_sandbox(&sandbox);
        Self { host: sandbox.quay().host(), home, sandbox, is_elsewhere: false }
    }

    fn elsewhere() -> Self {
        let scene = Self::here();
        let text = crate::simulation::CLIENT_CREDENTIALS;
        let secret = scene.home.path("secret").display().to_string();
        scene.home.configure(&text.replace("SECRET_FILE", &secret));
        Self { host: crate::simulation::HOST.to_owned(), is_elsewhere: true, ..scene }
    }

    fn keep_token(&self, age: Duration) {
        let scripted = self.is_elsewhere.then(|| {
            let scripted = Scripted::new(SimulatedClock::ago(age));
            scripted.robot_token_life.set(LIFE.as_secs());
            scripted
        });
        keep_token(&self.home, &self.host, age, scripted);
    }

    /// What a `get` with such a token comes to.
    fn get_with(&self, age: Option<Duration>, get: impl FnOnce(&Home, &str) -> Output) -> String {
        self.home.run("erase", &self.host);
        if let Some(age) = age {
            self.keep_token(age);
        }
        let exchanges = || self.sandbox.quay().count(EXCHANGE_PATH);
        let before = exchanges();
        let outcome = outcome(get(&self.home, &self.host), exchanges() - before);
        for entry in std::fs::read_dir(self.home.cache()).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            assert!(!name.starts_with(".tmp"), "{name} is left behind");
        }
        // Nothing else is either, but for what is remembered of a provider that was asked (R15).
        if !self.is_elsewhere {
            self.home.run("erase", &self.host);
            self.home.get(&self.host).token();
        }
        outcome
    }
}

/// The least that the program starts in and answers from the cache, of those that are tried.
fn least(scene: &Scene, option: &str, sizes: impl IntoIterator<Item = u64>) -> String {
    scene.keep_token(Duration::ZERO);
    let answers = |limit: &String| {
        under(&[limit.as_str()], &scene.home, &["get"], &scene.host).status.success()
    };
    sizes.into_iter().map(|size| format!("{option}={size}")).find(answers).expect("a limit")
}

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn r34_every_limit_leaves_a_living_token_and_ends_a_cold_get_with_an_answer_or_its_own_name() {
    let (here, elsewhere) = (Scene::here(), Scene::elsewhere());
    // From here on a plan counts.
    std::thread::sleep(Duration::from_millis(2100));
    here.home.get(&here.host).token();
    let address_space = least(&here, "--as", (1..128).map(|step| step * 4 * MEBIBYTE));
    println!(
        "a cached get works with {address_space} ({} MiB)",
        least_in_mebibytes(&address_space)
    );
    let rest = "--memlock=0 --msgqueue=0 --sigpending=0 --locks=0 --rss=0 --rttime=1 --cpu=5";
    let rows = [
        ("nothing", &here, ""),
        ("processes", &here, "--nproc=1"),
        ("processes, names in DNS", &elsewhere, "--nproc=1"),
        ("file size 0", &here, "--fsize=0"),
        ("file size 100", &here, "--fsize=100"),
        ("open files 4", &here, "--nofile=4"),
        ("open files 5", &here, "--nofile=5"),
        ("open files 8", &here, "--nofile=8"),
        ("open files 16", &here, "--nofile=16"),
        ("address space", &here, &address_space),
        ("data 4 MiB", &here, "--data=4194304"),
        ("stack 128 KiB", &here, "--stack=131072"),
        ("the rest", &here, rest),
    ];
    let (mut table, mut told) = (String::new(), Vec::new());
    for (limit, scene, options) in rows {
        let options: Vec<&str> = options.split_ascii_whitespace().collect();
        let _ = write!(table, "{limit:<24}");
        for (_, age) in STATES {
            let outcome = scene.get_with(age, |home, host| under(&options, home, &["get"], host));
            let said = without_figures(scene, outcome);
            let cell = if said.contains('\n') {
                let place = told.iter().position(|known| *known == said).unwrap_or(told.len());
                if place == told.len() {
                    told.push(said);
                }
                format!("fails [{}]", place + 1)
            } else {
                said
            };
            let _ = write!(table, " {cell:<10}");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    for (place, said) in told.iter().enumerate() {
        let _ = writeln!(table, "[{}] {said}", place + 1);
    }
    println!("{:<24} {}", "limit", STATES.map(|(name, _)| format!("{name:<10}")).join(" "));
    println!("{table}");
    insta::assert_snapshot!(table);
}

fn least_in_mebibytes(option: &str) -> u64 {
    let bytes = option.split_once('=').and_then(|(_, bytes)| bytes.parse::<u64>().ok());
    bytes.expect("a number") / MEBIBYTE
}

/// A text without what differs from run to run: ports, folders, and how much memory a build takes.
fn without_figures(scene: &Scene, text: String) -> String {
    let text = text
        .replace(&scene.host, "QUAY")
        .replace(&scene.sandbox.issuer().url(), "ISSUER")
        .replace(&scene.home.path("").display().to_string(), "HOME/");
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if let (true, Some(figure)) = (word.starts_with("KiB"), words.last_mut()) {
            *figure = format!("{}N", figure.trim_end_matches(char::is_numeric));
        }
        words.push(word.to_owned());
    }
    words.join(" ")
}

#[test]
fn r34_a_container_at_its_limit_of_processes_is_answered_too() {
    if lacks(Need::Root) {
        return;
    }
    let scene = Scene::here();
    let group = PidsGroup::new();
    if lacks(Need::Other("a control group for processes", group.is_some())) {
        return;
    }
    let PidsGroup(group) = group.as_ref().expect("a group");
    for (state, age) in STATES {
        let outcome = scene.get_with(age, |home, host| {
            let user = uid().to_string();
            let mut command = home.command("/bin/sh");
            command.uid(0).gid(0).args(["-c", "echo $$ >\"$0\" && exec setpriv \"$@\""]);
            command.arg(group.join("cgroup.procs"));
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
            command.arg(program()).arg("get");
            start(command, host).wait_with_output().expect("an end")
        });
        assert_eq!(outcome, if state == "Fresh" { "answered" } else { "renewed" }, "{state}");
    }
}

/// A control group with room for one process.
struct PidsGroup(PathBuf);

impl PidsGroup {
    fn new() -> Option<Self> {
        let name = format!("quayfed-test-{}", std::process::id());
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].into_iter().find_map(|hierarchy| {
            let group = Self(Path::new(hierarchy).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join("pids.max"), "1").ok()?;
            Some(group)
        })
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn r34_a_log_file_that_may_not_grow_costs_the_log() {
    let mut scene = Scene::here();
    let log = scene.home.path("log");
    scene.home.set("QUAYFED_LOG_FILE", log.to_str().expect("text"));
    for (state, age) in STATES {
        let outcome = scene.get_with(age, |home, host| under(&["--fsize=0"], home, &["get"], host));
        assert_eq!(outcome, if state == "Fresh" { "answered" } else { "renewed" }, "{state}");
    }
}

#[test]
fn r34_no_command_is_killed_by_a_limit_or_ends_in_a_panic() {
    let scene = Scene::here();
    let host = scene.host.as_str();
    let commands: [(&[&str], &str); 11] = [
        (&["refresh", "--force"], ""),
        (&["refresh", "--force", "--json", "--jobs", "8"], ""),
        (&["doctor", host], ""),
        (&["identity"], ""),
        (&["status"], ""),
        (&["status", "--metrics"], ""),
        (&["configure", host], ""),
        (&["configure", "--undo", host], ""),
        (&["list"], ""),
        (&["erase"], host),
        (&["purge", "--yes"], ""),
    ];
    for limit in ["--nproc=1", "--fsize=0", "--fsize=300", "--nofile=7", "--data=4194304"] {
        for (arguments, input) in commands {
            scene.home.get(host).token();
            let output = under(&[limit], &scene.home, arguments, input);
            let what = format!("{limit} {arguments:?}: {output:?}");
            assert_eq!(output.status.signal(), None, "{what}");
            for stream in [&output.stdout, &output.stderr] {
                let text = String::from_utf8_lossy(stream);
                assert!(!text.contains("internal error") && !text.contains("panicked"), "{what}");
            }
            if limit == "--nproc=1" && !matches!(arguments[0], "doctor") {
                assert!(output.status.success(), "{what}");
            }
        }
    }
}

#[test]
fn r34_a_refresh_without_threads_renews_every_rule_in_turn() {
    let scene = Scene::here();
    let more = ["one", "two", "three"].map(|path| {
        format!(
            "[registry.\"{}/{path}\"]\nrobot = \"acme+ci\"\nidentity = \"sso\"\nca_file = \"{}\"\n",
            scene.host,
            scene.home.path("ca.pem").display()
        )
    });
    let text = crate::binary::configuration(&scene.sandbox, &scene.home);
    scene.home.configure(&(more.concat() + &text));
    let ran = Ran::from(under(&["--nproc=1"], &scene.home, &["refresh"], ""));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.ends_with("4 rules: 4 renewed\n"), "{ran:?}");
}

#[test]
fn r34_a_living_token_is_answered_even_where_the_program_itself_fails() {
    const CHILD: &str = "QUAYFED_TEST_FAILS";
    const NAME: &str = "limits::r34_a_living_token_is_answered_even_where_the_program_itself_fails";
    if let Some(age) = std::env::var_os(CHILD) {
        quayfed::internal_error::install();
        let age = age.to_string_lossy().parse().expect("seconds");
        let host =
            Host::with(crate::simulation::CLIENT_CREDENTIALS, SimulatedClock::ago(Duration::ZERO));
        host.token();
        host.clock.pass(seconds(age));
        *host.scripted.meanwhile.borrow_mut() = Some(Box::new(|| panic!("a mistake")));
        host.get();
        unreachable!("the panic has ended the program");
    }
    for (age, has_answer) in [("2600", true), ("3000", true), ("3580", false)] {
        let this = std::env::current_exe().expect("this program");
        let mut child = Command::new(this);
        child.args([NAME, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, age);
        let ran = Ran::from(child.stdin(Stdio::null()).output().expect("an end"));
        assert_eq!(ran.stdout.contains("\"Secret\":\"eyJ"), has_answer, "{age}: {ran:?}");
        assert_eq!(ran.code, Some(i32::from(!has_answer)), "{age}: {ran:?}");
        assert!(ran.stderr.contains("docker-credential-quayfed: internal error at "), "{ran:?}");
    }
}
