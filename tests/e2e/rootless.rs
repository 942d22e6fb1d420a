//! podman as an ordinary user runs it. Its helpers run in its user namespace, where the user is uid
//! 0 and everybody else, root included, is the overflow uid (rule R24).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Report;
use crate::run::{PATH, Runs as _, version_of};
use crate::scene::{ROBOT, Scene, Seat, give, make_folder};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "rootless podman",
    needs: &[
        Need::Root,
        Need::Program("podman", "podman"),
        Need::Program("buildah", "buildah"),
        Need::Program("skopeo", "skopeo"),
        Need::Program("docker-registry", "docker-registry"),
        Need::Program("newuidmap", "uidmap"),
        Need::Apart,
    ],
    run: play,
};

/// The ordinary user, and one who has nothing to say to him.
const USER: u32 = 61_235;
const THIRD_USER: u32 = 61_236;
const USER_NAME: &str = "quayfed-e2e";
/// The user's subordinate ids.
const FIRST_SUBORDINATE: u32 = 1_623_500_000;

const SYSTEM: &str = "/etc/quayfed";
const SECRET: &str = "/etc/quayfed/client-secret";
const RUN: &str = "/run/quayfed";
const SECRET_IN_RUN: &str = "/run/quayfed/client-secret";

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

const OPERATIONS: &[Operation] = &[
    ("user namespaces work here", have_a_user_namespace),
    ("push, configuration in the home", push),
    ("pull, configuration in the home", pull),
    ("the helper runs in the user namespace", run_the_helper_inside),
    ("pull and push, all of it in /etc/quayfed", use_system_configuration),
    ("the secret in /etc/quayfed, for the user's group alone", read_a_secret_of_the_group),
    ("the secret in /etc/quayfed, for everybody", read_a_secret_for_everybody),
    ("the secret in /run/quayfed", read_a_secret_in_run),
    ("the secret in /run/quayfed, the configuration in the home", mix_home_and_run),
    ("a configuration of a third user", refuse_a_third_users_configuration),
    ("a secret of a third user", refuse_a_third_users_secret),
    ("a configuration of root outside of /etc/quayfed", refuse_roots_configuration_elsewhere),
    ("a configuration in /etc/quayfed that others can write", refuse_a_writable_configuration),
    ("a secret in /etc/quayfed that others can write", refuse_a_writable_secret),
    ("an /etc/quayfed or /run/quayfed that others can write to", refuse_a_writable_folder),
    ("a configuration in /etc/quayfed that belongs to a third user", meet_a_third_user_in_etc),
    ("a link in /etc/quayfed that leads out of it", refuse_a_link_that_leads_out),
    ("the cache below XDG_RUNTIME_DIR, shared with the user's own shell", share_the_cache),
    ("the cache in /dev/shm, shared with the user's own shell", share_the_cache_in_shared_memory),
    ("build with FROM, and push", build),
    ("login, logout", log_in_and_out),
];

const WITH_BUILDAH: &[Operation] = &[("pull, push, in the user namespace", |at| {
    let _ = at.seat.command("buildah", ["rmi", "--force", &at.image]).run();
    at.must_run_the_helper_inside("buildah", &["pull", "--quiet", &at.image])?;
    at.must_run_the_helper_inside("buildah", &["push", "--quiet", &at.image])
})];

const WITH_SKOPEO: &[Operation] = &[("inspect, outside of a user namespace", inspect_outside)];

fn play(report: &mut Report) {
    let bench = Bench::new();
    for (name, program, operations) in [
        ("rootless podman", "podman", OPERATIONS),
        ("rootless buildah", "buildah", WITH_BUILDAH),
        ("skopeo as a user", "skopeo", WITH_SKOPEO),
    ] {
        report.client(name, &version_of(program, &["--version"]));
        for (name, operation) in operations {
            report.operation(name, || {
                bench.tidy_up();
                operation(&bench)
            });
        }
    }
    // What root's folders hold would be everybody's configuration in the parts that follow.
    bench.tidy_up();
}

struct Bench {
    scene: Scene,
    seat: Seat,
    image: String,
}

impl Bench {
    fn new() -> Self {
        make_user();
        let scene = Scene::start();
        let seat = scene.seat("rootless", Some(USER));
        seat.unset("QUAYFED_CACHE_DIR");
        seat.set("XDG_RUNTIME_DIR", runtime_folder().display());
        // Tells where it runs, and is quayfed.
        seat.write_script(
            "docker-credential-quayfed-inside",
            "{ id -u; cat /proc/self/uid_map; stat -c %u /etc/passwd; } >\"$HOME/inside\"\nexec \
             docker-credential-quayfed \"$@\"",
        );
        let image = scene.image("acme/app:1");
        Self { scene, seat, image }
    }

    /// The configuration in the user's home, nothing in /etc and /run, and an empty cache.
    fn tidy_up(&self) {
        for folder in [SYSTEM, RUN] {
            let _ = fs::remove_dir_all(folder);
            give(&make_folder(Path::new(folder)), 0, 0o755);
        }
        self.seat.configure(&self.scene.configuration(ROBOT, &self.own_secret()));
        self.seat.use_helper_for(&[(self.scene.host(), "quayfed")]);
        self.seat.set("XDG_RUNTIME_DIR", runtime_folder().display());
        for cache in [runtime_folder().join("quayfed"), shared_memory()] {
            let _ = fs::remove_dir_all(cache);
        }
        self.scene.sandbox.quay().forget_requests();
    }

    fn own_secret(&self) -> PathBuf {
        self.seat.path("home/client-secret")
    }

    fn own_file(&self) -> PathBuf {
        self.seat.path("home/.config/quayfed/config.toml")
    }

    fn podman<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command("podman", arguments)
    }

    fn pull(&self) -> Command {
        let _ = self.podman(["rmi", "--force", &self.image]).run();
        self.podman(["pull", "--quiet", &self.image])
    }

    fn must_run_the_helper_inside(&self, client: &str, words: &[&str]) -> Result<(), String> {
        self.seat.use_helper_for(&[(self.scene.host(), "quayfed-inside")]);
        self.seat.command(client, words.iter().copied()).succeed()?;
        let (user, first) = (USER.to_string(), FIRST_SUBORDINATE.to_string());
        // Its own uid is 0, the map leads to the user, and /etc/passwd is everybody's.
        let wanted = ["0", "0", &user, "1", "1", &first, "65536", &overflow_uid()];
        assert_eq!(self.what_the_helper_saw()?, wanted);
        Ok(())
    }

    /// Its own uid, its map of uids, and the owner of /etc/passwd.
    fn what_the_helper_saw(&self) -> Result<Vec<String>, String> {
        let seen =
            fs::read_to_string(self.seat.path("home/inside")).map_err(|it| it.to_string())?;
        Ok(seen.split_whitespace().map(str::to_owned).collect())
    }

    /// Puts a secret of root's somewhere, and the configuration that names it into /etc/quayfed.
    fn configure_system(&self, secret: &str, owner: u32, group: u32, mode: u32) {
        fs::write(secret, self.scene.client_secret()).expect("a secret written");
        own(secret, owner, group, mode);
        self.write_system(&self.scene.configuration(ROBOT, Path::new(secret)));
    }

    fn write_system(&self, text: &str) {
        let _ = fs::remove_file(self.own_file());
        fs::write(system_file(), text).expect("a configuration written");
        give(&system_file(), 0, 0o644);
    }

    /// Fails unless the helper inside of podman and the one outside use the token of one another.
    fn must_share_a_cache(&self, folder: &Path) -> Result<(), String> {
        let host = self.scene.host();
        self.pull().succeed()?;
        self.seat.robot_token(host)?;
        assert_eq!(self.scene.exchanges(), 1, "podman's is used outside");
        let entries = entries_of(folder);
        assert_eq!(entries, [(USER, 0o100_600)], "in {}", folder.display());
        self.seat.forget(host)?;
        self.seat.robot_token(host)?;
        self.pull().succeed()?;
        assert_eq!(self.scene.exchanges(), 2, "the one from outside is used by podman");
        self.podman(["logout", host]).succeed()?;
        assert_eq!(entries_of(folder), [], "podman removes what was cached outside");
        Ok(())
    }

    /// The cause that the helper gives where a pull fails for it.
    fn refusal(&self) -> Result<String, String> {
        let ran = self.pull().fail()?;
        let (cause, _) = ran.cause_and_hint()?;
        ran.must_repeat(cause)?;
        assert_eq!(self.scene.exchanges(), 0, "nothing was asked of Quay");
        Ok(cause.to_owned())
    }

    /// Fails unless a pull fails for the owner of a file.
    fn must_refuse_the_owner_of(&self, path: &Path, mode: &str) -> Result<(), String> {
        let wanted = format!(
            "{} belongs to uid {} (mode {mode}), which in this user namespace stands for \
             everybody outside of it",
            path.display(),
            overflow_uid()
        );
        assert_eq!(self.refusal()?, wanted);
        Ok(())
    }

    /// Fails unless a pull fails because others can write to something.
    fn must_refuse_because_of(&self, path: &str) -> Result<(), String> {
        let cause = self.refusal()?;
        let wanted = format!(
            "who need not be the host's root: {path} can be written by others than its owner"
        );
        assert!(cause.ends_with(&wanted), "{cause}");
        Ok(())
    }
}

fn system_file() -> PathBuf {
    Path::new(SYSTEM).join("config.toml")
}

/// Where the helper keeps its cache when there is no runtime folder.
fn shared_memory() -> PathBuf {
    Path::new("/dev/shm").join(format!("quayfed-{USER}"))
}

fn overflow_uid() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").expect("the overflow uid");
    text.trim().to_owned()
}

/// Owner and mode of the robot tokens that are cached in a folder.
fn entries_of(folder: &Path) -> Vec<(u32, u32)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let tokens = files.filter(|file| file.path().extension().is_some_and(|it| it == "token"));
    tokens.flat_map(|file| file.metadata()).map(|it| (it.uid(), it.mode())).collect()
}

fn runtime_folder() -> PathBuf {
    Path::new("/run/user").join(USER.to_string())
}

fn own(path: impl AsRef<Path>, owner: u32, group: u32, mode: u32) {
    give(path.as_ref(), owner, mode);
    std::os::unix::fs::chown(path, None, Some(group)).expect("group set");
}

/// In the /etc that is ours alone.
fn make_user() {
    let id = USER.to_string();
    succeed_as_root(&["groupadd", "--gid", &id, USER_NAME]);
    succeed_as_root(&["useradd", "--no-create-home", "--uid", &id, "--gid", &id, USER_NAME]);
    for name in ["/etc/subuid", "/etc/subgid"] {
        let before = fs::read_to_string(name).unwrap_or_default();
        let lines = before.lines().filter(|line| !line.starts_with(USER_NAME));
        let text = format!("{USER_NAME}:{FIRST_SUBORDINATE}:65536");
        let text: String = lines.chain([&*text]).flat_map(|line| [line, "\n"]).collect();
        fs::write(name, text).expect("subordinate ids written");
    }
    give(&make_folder(&runtime_folder()), USER, 0o700);
}

fn succeed_as_root(words: &[&str]) {
    let mut command = Command::new(words[0]);
    command.env("PATH", PATH).args(&words[1..]);
    command.succeed().unwrap_or_else(|error| panic!("{error}"));
}

fn have_a_user_namespace(at: &Bench) -> Result<(), String> {
    let map = at.podman(["unshare", "cat", "/proc/self/uid_map"]).succeed()?;
    let words: Vec<&str> = map.stdout.split_whitespace().collect();
    let (user, first) = (USER.to_string(), FIRST_SUBORDINATE.to_string());
    assert_eq!(words, ["0", &*user, "1", "1", &*first, "65536"]);
    Ok(())
}

fn push(at: &Bench) -> Result<(), String> {
    at.seat.import(&at.image)?;
    at.podman(["push", "--quiet", &at.image]).succeed().map(|_| ())
}

fn pull(at: &Bench) -> Result<(), String> {
    at.pull().succeed()?.must_not_say(&["docker-credential-quayfed"])?;
    assert_eq!(at.scene.exchanges(), 1);
    Ok(())
}

fn run_the_helper_inside(at: &Bench) -> Result<(), String> {
    let _ = at.podman(["rmi", "--force", &at.image]).run();
    at.must_run_the_helper_inside("podman", &["pull", "--quiet", &at.image])
}

/// With root's configuration: there the helper knows its owner for root.
fn inspect_outside(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o640);
    at.seat.use_helper_for(&[(at.scene.host(), "quayfed-inside")]);
    let remote = format!("docker://{}", at.image);
    at.seat.command("skopeo", ["inspect", "--config", &remote]).succeed()?;
    let user = USER.to_string();
    assert_eq!(at.what_the_helper_saw()?, [&*user, "0", "0", "4294967295", "0"]);
    Ok(())
}

fn use_system_configuration(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o640);
    at.pull().succeed()?;
    at.podman(["push", "--quiet", &at.image]).succeed()?;
    assert_eq!(at.scene.exchanges(), 1);
    Ok(())
}

fn read_a_secret_of_the_group(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, 0, 0o600);
    let cause = at.refusal()?;
    assert_eq!(cause, format!("the secret file {SECRET} cannot be read (permission denied)"));
    own(SECRET, 0, USER, 0o640);
    at.pull().succeed().map(|_| ())
}

fn read_a_secret_for_everybody(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, 0, 0o644);
    let cause = at.refusal()?;
    assert!(cause.contains("can be read by everybody"), "{cause}");
    let text = at.scene.configuration(ROBOT, Path::new(SECRET));
    at.write_system(&(text + "allow_readable_secret = true\n"));
    at.pull().succeed().map(|_| ())
}

fn read_a_secret_in_run(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET_IN_RUN, 0, USER, 0o640);
    at.pull().succeed().map(|_| ())
}

fn mix_home_and_run(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET_IN_RUN, 0, USER, 0o640);
    fs::remove_file(system_file()).expect("removed");
    at.seat.configure(&at.scene.configuration(ROBOT, Path::new(SECRET_IN_RUN)));
    at.pull().succeed().map(|_| ())
}

fn refuse_a_third_users_configuration(at: &Bench) -> Result<(), String> {
    let file = at.own_file();
    give(&file, THIRD_USER, 0o644);
    at.must_refuse_the_owner_of(&file, "0644")
}

fn refuse_a_third_users_secret(at: &Bench) -> Result<(), String> {
    let secret = at.seat.write("home/secret-of-a-third-user", at.scene.client_secret(), 0o600);
    own(&secret, THIRD_USER, USER, 0o640);
    at.seat.configure(&at.scene.configuration(ROBOT, &secret));
    at.must_refuse_the_owner_of(&secret, "0640")
}

/// Root's files cannot be told from a third user's there.
fn refuse_roots_configuration_elsewhere(at: &Bench) -> Result<(), String> {
    let file = at.own_file();
    give(&file, 0, 0o644);
    at.must_refuse_the_owner_of(&file, "0644")?;
    let secret = at.own_secret();
    own(&secret, 0, USER, 0o640);
    at.seat.configure(&at.scene.configuration(ROBOT, &secret));
    let result = at.must_refuse_the_owner_of(&secret, "0640");
    give(&secret, USER, 0o600);
    result
}

fn refuse_a_writable_configuration(at: &Bench) -> Result<(), String> {
    for mode in [0o664, 0o646] {
        at.configure_system(SECRET, 0, USER, 0o640);
        own(system_file(), 0, THIRD_USER, mode);
        at.must_refuse_because_of("/etc/quayfed/config.toml")?;
    }
    Ok(())
}

fn refuse_a_writable_secret(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o660);
    at.must_refuse_because_of(SECRET)
}

fn refuse_a_writable_folder(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o640);
    own(SYSTEM, 0, THIRD_USER, 0o775);
    at.must_refuse_because_of(SYSTEM)?;
    give(Path::new(SYSTEM), 0, 0o755);
    at.configure_system(SECRET_IN_RUN, 0, USER, 0o640);
    own(RUN, 0, THIRD_USER, 0o775);
    at.must_refuse_because_of(RUN)
}

/// Only root can have put it there, so it is as good as root's. Outside of the namespace, where
/// owners can be told apart, it is refused.
fn meet_a_third_user_in_etc(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o640);
    give(&system_file(), THIRD_USER, 0o644);
    at.pull().succeed()?;
    let mut outside = at.seat.command("docker-credential-quayfed", ["get"]);
    let ran = outside.fail_with_input(at.scene.host())?;
    let wanted = format!(
        "/etc/quayfed/config.toml belongs to uid {THIRD_USER} (mode 0644), neither to root nor to \
         the user running this (uid {USER})"
    );
    assert_eq!(ran.cause_and_hint()?.0, wanted);
    Ok(())
}

fn refuse_a_link_that_leads_out(at: &Bench) -> Result<(), String> {
    at.configure_system(SECRET, 0, USER, 0o640);
    let outside = at.seat.write("home/outside.toml", "", 0o644);
    fs::copy(system_file(), &outside).expect("copied");
    give(&outside, THIRD_USER, 0o644);
    fs::remove_file(system_file()).expect("removed");
    std::os::unix::fs::symlink(&outside, system_file()).expect("a link");
    at.must_refuse_the_owner_of(&system_file(), "0644")
}

fn share_the_cache(at: &Bench) -> Result<(), String> {
    at.must_share_a_cache(&runtime_folder().join("quayfed"))
}

/// What somebody else has left behind in its place is passed over.
fn share_the_cache_in_shared_memory(at: &Bench) -> Result<(), String> {
    let foreign = runtime_folder().join("quayfed");
    give(&make_folder(&foreign), 0, 0o700);
    at.must_share_a_cache(&shared_memory())
}

fn build(at: &Bench) -> Result<(), String> {
    let built = at.scene.image("acme/built:1");
    let _ = at.podman(["rmi", "--force", &at.image]).run();
    let folder = at.seat.make_folder("home/context", 0o700);
    at.seat.write("home/context/more", "more\n", 0o644);
    let recipe = format!("FROM {}\nCOPY more /more\n", at.image);
    at.seat.write("home/context/Containerfile", &recipe, 0o644);
    at.podman(["build", "--quiet", "--tag", &built, &folder.display().to_string()]).succeed()?;
    at.podman(["push", "--quiet", &built]).succeed().map(|_| ())
}

fn log_in_and_out(at: &Bench) -> Result<(), String> {
    let host = at.scene.host();
    at.podman(["login", host]).succeed()?.must_say(&["Existing credentials are valid"])?;
    let ran = at.podman(["login", "--get-login", host]).succeed()?;
    assert_eq!(ran.stdout.trim(), ROBOT);
    for _ in 0..2 {
        at.podman(["logout", host]).succeed()?.must_say(&["Removed login credentials for"])?;
    }
    at.pull().succeed()?;
    assert_eq!(at.scene.exchanges(), 2);
    Ok(())
}
