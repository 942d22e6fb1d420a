//! podman, as root: against a registry behind the sandbox's `/v2/auth`, over TLS.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::report::Report;
use crate::run::{Ran, Runs as _, version_of};
use crate::scene::{Diary, OTHER_ROBOT, ROBOT, Registry, Scene, Seat, make_folder};
use crate::{Need, Part, apart};

pub(crate) const PART: Part = Part {
    name: "podman",
    needs: &[
        Need::Root,
        Need::Program("podman", "podman"),
        Need::Program("docker-registry", "docker-registry"),
    ],
    run: play,
};

fn play(report: &mut Report) {
    let bench = Bench::new();
    report.client("podman", &version_of("podman", &["--version"]));
    let play = |report: &mut Report, (name, operation): &Operation| {
        report.operation(name, || {
            bench.tidy_up();
            operation(&bench)
        });
    };
    for operation in OPERATIONS {
        play(report, operation);
    }
    match apart::why_not() {
        Some(reason) => report.skip(APART.0, &reason),
        None => play(report, &APART),
    }
}

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

const OPERATIONS: &[Operation] = &[
    ("push", push),
    ("pull", pull),
    ("list tags", list_tags),
    ("create, which pulls", create),
    ("build with FROM, and push", build),
    ("login with existing credentials", login_with_existing_credentials),
    ("login --get-login", tell_login),
    ("login as a user whom Quay refuses", login_as_somebody_whom_quay_refuses),
    ("login as another robot", login_as_another_robot),
    ("login as the same robot", login_as_the_same_robot),
    ("logout", logout),
    ("logout without REGISTRY_AUTH_FILE", logout_of_the_runtime_folder),
    (
        "logout without REGISTRY_AUTH_FILE, the helper named in the home",
        logout_where_the_home_names_the_helper,
    ),
    ("logout --all", logout_of_all),
    ("credHelpers in each place where podman looks", look_everywhere),
    ("credential-helpers in registries.conf", use_registries_conf),
    ("a registry by another name, and a mirror, in registries.conf", pull_by_another_name),
    ("login beside registries.conf shadows the helper", login_beside_registries_conf),
    ("another registry, anonymously", pull_from_another_registry),
    ("credHelpers shadows auths", shadow_auths),
    ("credHelpers with a path or a scheme, and credsStore, are not used", pass_over_other_keys),
    ("a helper that is not there", miss_the_helper),
    ("the robot token ends between two pulls", outlive_a_robot_token),
];

/// In /run, which must be ours alone.
const APART: Operation =
    ("logout without REGISTRY_AUTH_FILE and XDG_RUNTIME_DIR", logout_of_roots_runtime_folder);

const IN_THE_HOME: &str = "home/.config/containers/auth.json";

/// Where podman is tried: the helper under its own name and under a watched one.
struct Bench {
    scene: Scene,
    open: Registry,
    seat: Seat,
    diary: Diary,
    image: String,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let open = scene.start_open_registry();
        let seat = scene.seat("podman", None);
        let diary = seat.watch_helper();
        let image = scene.image("acme/app:1");
        Self { scene, open, seat, diary, image }
    }

    /// What an operation changed does not concern the next one.
    fn tidy_up(&self) {
        self.seat.set("REGISTRY_AUTH_FILE", self.seat.path("home/auth.json").display());
        self.seat.set("XDG_RUNTIME_DIR", self.seat.path("run").display());
        self.seat.unset("DOCKER_CONFIG");
        let _ = fs::remove_dir_all(self.seat.path("run/containers"));
        self.seat.make_folder("run/containers", 0o700);
        let _ = fs::remove_file(self.seat.path(IN_THE_HOME));
        self.seat.use_helper_for(&[(self.scene.host(), "quayfed-watched")]);
        self.seat.write_registries_conf("");
        self.diary.forget();
        self.scene.sandbox.quay().forget_requests();
    }

    fn podman<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command("podman", arguments)
    }

    /// Fails unless a logout makes the helper forget its token, and leaves the entry in this file.
    fn must_log_out_of(&self, file: &Path) -> Result<(), String> {
        let host = self.scene.host();
        self.seat.robot_token(host)?;
        let exchanges = self.scene.exchanges();
        let ran = self.podman(["logout", host]).succeed()?;
        let said = format!("Removed login credentials for {host}\n");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (&*said, ""));
        assert_eq!(self.diary.count("erase"), 1);
        assert_eq!(read_json(file)["credHelpers"][host], "quayfed-watched", "the entry stays");
        self.pull(&self.image).succeed()?;
        assert_eq!(self.scene.exchanges(), exchanges + 1, "the next pull gets a new token");
        Ok(())
    }

    /// Pulls an image that is not there yet.
    fn pull(&self, image: &str) -> Command {
        let _ = self.podman(["rmi", "--force", image]).run();
        self.podman(["pull", "--quiet", image])
    }
}

fn push(at: &Bench) -> Result<(), String> {
    at.seat.import(&at.image)?;
    at.podman(["push", "--quiet", &at.image]).succeed()?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (1, 1));
    Ok(())
}

fn pull(at: &Bench) -> Result<(), String> {
    let pulled = at.pull(&at.image).succeed()?;
    pulled.must_not_say(&["quayfed"])?;
    assert_eq!((at.diary.count("get"), at.scene.exchanges()), (1, 0), "from the cache");
    Ok(())
}

fn list_tags(at: &Bench) -> Result<(), String> {
    let repository = at.scene.image("acme/app");
    at.podman(["search", "--list-tags", &repository]).succeed()?.must_say(&["acme/app  1"])
}

fn create(at: &Bench) -> Result<(), String> {
    at.podman(["create", "--pull", "always", &at.image, "/hello"]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn build(at: &Bench) -> Result<(), String> {
    let built = at.scene.image("acme/built:1");
    let _ = at.podman(["rmi", "--force", &at.image]).run();
    let folder = at.seat.make_folder("home/context", 0o700);
    at.seat.write("home/context/more", "more\n", 0o644);
    at.seat.write(
        "home/context/Containerfile",
        &format!("FROM {}\nCOPY more /more\n", at.image),
        0o644,
    );
    at.podman(["build", "--quiet", "--tag", &built, &folder.display().to_string()]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    at.podman(["push", "--quiet", &built]).succeed()?;
    at.pull(&built).succeed().map(|_| ())
}

fn login_with_existing_credentials(at: &Bench) -> Result<(), String> {
    let ran = at.podman(["login", at.scene.host()]).succeed()?;
    ran.must_say(&["Existing credentials are valid. Already logged in to"])?;
    assert_eq!(at.diary.count("store"), 0);
    Ok(())
}

fn tell_login(at: &Bench) -> Result<(), String> {
    let ran = at.podman(["login", "--get-login", at.scene.host()]).succeed()?;
    assert_eq!(ran.stdout.trim(), ROBOT);
    Ok(())
}

/// Logs in, the password on standard input.
fn login(at: &Bench, name: &str, password: &str) -> Result<Ran, String> {
    at.podman(["login", "--username", name, "--password-stdin", at.scene.host()])
        .run_with_input(password)
}

fn login_as_somebody_whom_quay_refuses(at: &Bench) -> Result<(), String> {
    let ran = login(at, "somebody", "wrong")?;
    assert_eq!(ran.code, Some(125), "{ran}");
    ran.must_say(&["invalid username/password"])?;
    assert_eq!(at.diary.count("store"), 0);
    Ok(())
}

fn login_as_another_robot(at: &Bench) -> Result<(), String> {
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let ran = login(at, OTHER_ROBOT, &password)?;
    assert_eq!(ran.code, Some(125), "{ran}");
    let host = at.scene.host();
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
    let password = at.seat.robot_token(at.scene.host())?;
    let ran = login(at, ROBOT, &password)?;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "Login Succeeded!"), "{ran}");
    assert_eq!(at.diary.count("store"), 1);
    assert!(!at.seat.auth_file().to_string().contains(&password));
    Ok(())
}

fn logout(at: &Bench) -> Result<(), String> {
    let ran = at.podman(["logout", at.scene.host()]).succeed()?;
    ran.must_say(&["Removed login credentials for"])?;
    assert_eq!(at.diary.count("erase"), 1);
    at.pull(&at.image).succeed()?;
    assert_eq!(at.scene.exchanges(), 1, "the next pull gets a new token");
    at.podman(["logout", at.scene.host()]).succeed()?;
    at.podman(["logout", at.scene.host()]).succeed().map(|_| ())
}

/// podman logs out of the file in its runtime folder alone, wherever it found the helper.
fn logout_of_the_runtime_folder(at: &Bench) -> Result<(), String> {
    let content = at.seat.auth_file();
    at.seat.unset("REGISTRY_AUTH_FILE");
    let file = at.seat.write("run/containers/auth.json", &content.to_string(), 0o600);
    at.must_log_out_of(&file)?;
    at.podman(["logout", "--all"]).succeed()?;
    assert_eq!(read_json(&file).get("credHelpers"), None);
    Ok(())
}

/// As root does without a login: by sudo, or in a service.
fn logout_of_roots_runtime_folder(at: &Bench) -> Result<(), String> {
    let content = at.seat.auth_file();
    at.seat.unset("REGISTRY_AUTH_FILE");
    at.seat.unset("XDG_RUNTIME_DIR");
    let file = Path::new("/run/containers/0/auth.json");
    make_folder(file.parent().expect("a folder"));
    fs::write(file, content.to_string()).expect("written");
    let result = at.must_log_out_of(file);
    fs::remove_file(file).expect("removed");
    result
}

/// podman does not even ask the helper, blames docker, and ends with exit code 0.
fn logout_where_the_home_names_the_helper(at: &Bench) -> Result<(), String> {
    let (host, content) = (at.scene.host(), at.seat.auth_file());
    at.seat.unset("REGISTRY_AUTH_FILE");
    let file = at.seat.write(IN_THE_HOME, &content.to_string(), 0o600);
    at.seat.robot_token(host)?;
    let exchanges = at.scene.exchanges();
    for words in [["logout", host], ["logout", "--all"]] {
        let ran = at.podman(words).succeed()?;
        let said = match words[1] {
            "--all" => "Removed login credentials for all registries\n".to_owned(),
            _ => format!(
                "Not logged into {host} with current tool. Existing credentials were established \
                 via docker login. Please use docker logout instead.\n"
            ),
        };
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (&*said, ""));
    }
    assert_eq!(at.diary.count("erase"), 0);
    assert_eq!(read_json(&file), content, "as it was");
    at.pull(&at.image).succeed()?;
    assert_eq!(at.scene.exchanges(), exchanges, "the token is still cached");
    let file = file.display().to_string();
    at.podman(["logout", "--authfile", &file, host])
        .succeed()?
        .must_say(&["Removed login credentials for"])?;
    assert_eq!(at.diary.count("erase"), 1);
    Ok(())
}

fn read_json(file: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("JSON")
}

fn logout_of_all(at: &Bench) -> Result<(), String> {
    let ran = at.podman(["logout", "--all"]).succeed()?;
    ran.must_say(&["Removed login credentials for all registries"])?;
    let left = at.seat.auth_file();
    assert_eq!(left.get("credHelpers"), None, "{left}");
    assert_eq!(at.diary.count("erase"), 1);
    at.pull(&at.image).fail()?.must_say(&["unauthorized"])
}

fn look_everywhere(at: &Bench) -> Result<(), String> {
    let content = at.seat.auth_file().to_string();
    at.seat.unset("REGISTRY_AUTH_FILE");
    let results = [
        "run/containers/auth.json",
        "home/.config/containers/auth.json",
        "home/.docker/config.json",
        "home/chosen/config.json",
    ]
    .map(|name| {
        at.diary.forget();
        if name.contains("/chosen/") {
            at.seat.set("DOCKER_CONFIG", at.seat.path("home/chosen").display());
        }
        let (folder, _) = name.rsplit_once('/').expect("a folder");
        at.seat.make_folder(folder, 0o700);
        let file = at.seat.write(name, &content, 0o600);
        let ran = at.pull(&at.image).succeed();
        fs::remove_file(file).expect("removed");
        ran.map(|_| (name, at.diary.count("get")))
    });
    for result in results {
        let (name, asked) = result?;
        assert_eq!(asked, 1, "{name}");
    }
    Ok(())
}

fn use_registries_conf(at: &Bench) -> Result<(), String> {
    at.seat.use_helper_for(&[]);
    at.seat.write_registries_conf(
        "credential-helpers = [\"containers-auth.json\", \"quayfed-watched\"]\n",
    );
    at.pull(&at.image).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    at.podman(["push", "--quiet", &at.image]).succeed()?;
    let ran = at.podman(["login", "--get-login", at.scene.host()]).succeed()?;
    assert_eq!(ran.stdout.trim(), ROBOT);
    at.podman(["logout", at.scene.host()]).succeed()?;
    assert!(at.diary.count("erase") > 0);
    at.podman(["logout", "--all"]).succeed()?;
    at.pull(&at.image).succeed().map(|_| ())
}

/// The helper is asked for the registry in use, not for the one that is named.
fn pull_by_another_name(at: &Bench) -> Result<(), String> {
    let ours = at.scene.image("acme");
    for (conf, image) in [
        (
            format!("[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"{ours}\"\n"),
            "registry.invalid/team/app:1",
        ),
        (
            format!(
                "[[registry]]\nlocation = \"localhost:1/team\"\n[[registry.mirror]]\nlocation = \
                 \"{ours}\"\n"
            ),
            "localhost:1/team/app:1",
        ),
    ] {
        at.seat.write_registries_conf(&conf);
        at.diary.forget();
        at.pull(image).succeed()?;
        assert_eq!(at.diary.count("get"), 1, "{image}");
    }
    Ok(())
}

fn login_beside_registries_conf(at: &Bench) -> Result<(), String> {
    at.seat.use_helper_for(&[]);
    at.seat.write_registries_conf(
        "credential-helpers = [\"containers-auth.json\", \"quayfed-watched\"]\n",
    );
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let ran = login(at, OTHER_ROBOT, &password)?;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "Login Succeeded!"), "{ran}");
    let entry = &at.seat.auth_file()["auths"][at.scene.host()]["auth"];
    assert!(entry.is_string(), "stored as plain text");
    let ran = at.podman(["login", "--get-login", at.scene.host()]).succeed()?;
    assert_eq!(ran.stdout.trim(), OTHER_ROBOT);
    Ok(())
}

fn pull_from_another_registry(at: &Bench) -> Result<(), String> {
    let image = format!("{}/somebody/app:1", at.open.host);
    at.podman(["tag", &at.image, &image]).succeed()?;
    at.podman(["push", "--quiet", &image]).succeed()?;
    at.pull(&image).succeed()?;
    assert_eq!(at.diary.count("get"), 0, "the helper is not asked");
    for (way, helpers, conf) in [
        ("credHelpers", vec![(at.open.host.as_str(), "quayfed-watched")], ""),
        ("registries.conf", vec![], "credential-helpers = [\"quayfed-watched\"]\n"),
    ] {
        at.seat.use_helper_for(&helpers);
        at.seat.write_registries_conf(conf);
        at.diary.forget();
        let ran = at.pull(&image).succeed()?;
        ran.must_not_say(&["quayfed"])?;
        assert_eq!(at.diary.count("get"), 1, "{way}");
    }
    assert_eq!(at.scene.exchanges(), 0);
    Ok(())
}

fn shadow_auths(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    at.seat.write_auth_file(&json!({
        "credHelpers": { host: "quayfed-watched" },
        "auths": { host: { "auth": "c29tZWJvZHk6d3Jvbmc=" } },
    }));
    at.pull(&at.image).succeed().map(|_| ())
}

fn pass_over_other_keys(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    for content in [
        json!({ "credHelpers": { format!("{host}/acme"): "quayfed-watched" } }),
        json!({ "credHelpers": { format!("https://{host}"): "quayfed-watched" } }),
        json!({ "credsStore": "quayfed-watched" }),
    ] {
        at.seat.write_auth_file(&content);
        at.pull(&at.image).fail()?.must_say(&["unauthorized"])?;
        assert_eq!(at.diary.count("get"), 0, "{content}");
    }
    Ok(())
}

/// Debian's podman goes on: "resolves to executable in current directory".
fn miss_the_helper(at: &Bench) -> Result<(), String> {
    at.seat.use_helper_for(&[(at.scene.host(), "nowhere")]);
    at.pull(&at.image).fail()?.must_say(&[
        "error getting credentials - err: docker-credential-nowhere resolves to executable in \
         current directory",
    ])
}

fn outlive_a_robot_token(at: &Bench) -> Result<(), String> {
    const LIFE: Duration = Duration::from_secs(10);
    let (quay, host) = (at.scene.sandbox.quay(), at.scene.host());
    at.seat.forget(host)?;
    quay.set_robot_token_life(LIFE);
    at.pull(&at.image).succeed()?;
    let first = at.seat.robot_token(host)?;
    assert_eq!(at.scene.exchanges(), 1);
    std::thread::sleep(LIFE);
    at.pull(&at.image).succeed()?;
    assert_ne!(at.seat.robot_token(host)?, first);
    assert_eq!(at.scene.exchanges(), 2);
    quay.set_robot_token_life(Duration::from_hours(1));
    at.seat.forget(host)
}
