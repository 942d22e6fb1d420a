//! skopeo and buildah, as root: they share podman's libraries, and ask more often.

use std::fs;
use std::process::Command;

use crate::report::Report;
use crate::run::{Ran, Runs as _, version_of};
use crate::scene::{Diary, OTHER_ROBOT, ROBOT, Registry, Scene, Seat};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "skopeo and buildah",
    needs: &[
        Need::Root,
        Need::Program("skopeo", "skopeo"),
        Need::Program("buildah", "buildah"),
        Need::Program("docker-registry", "docker-registry"),
    ],
    run: play,
};

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

const SKOPEO: &[Operation] = &[
    ("copy of a folder to the registry", copy_in),
    ("copy of an image to a folder", copy_out),
    ("inspect", inspect),
    ("inspect --config", inspect_configuration),
    ("list-tags", list_tags),
    ("copy within the registry", copy_within),
    ("copy to another registry, anonymous there", copy_to_another_registry),
    ("sync", sync),
    ("eight at once, and one exchange", inspect_eight_times),
    ("delete", delete),
    ("login with existing credentials", |at| login_with_existing_credentials(at, "skopeo")),
    ("login --get-login", |at| tell_login(at, "skopeo")),
    ("login as another robot", |at| login_as_another_robot(at, "skopeo")),
    ("logout", |at| logout(at, "skopeo")),
    ("logout --all", |at| logout_of_all(at, "skopeo")),
    ("credential-helpers in registries.conf", skopeo_uses_registries_conf),
];

const BUILDAH: &[Operation] = &[
    ("push of an image from scratch", push_from_scratch),
    ("pull", pull),
    ("from", make_container),
    ("build with FROM, and push", build),
    ("login with existing credentials", |at| login_with_existing_credentials(at, "buildah")),
    ("login --get-login", |at| tell_login(at, "buildah")),
    ("login as another robot", |at| login_as_another_robot(at, "buildah")),
    ("logout", |at| logout(at, "buildah")),
    ("logout --all", |at| logout_of_all(at, "buildah")),
    ("credential-helpers in registries.conf", buildah_uses_registries_conf),
];

fn play(report: &mut Report) {
    let bench = Bench::new();
    for (client, operations) in [("skopeo", SKOPEO), ("buildah", BUILDAH)] {
        report.client(client, &version_of(client, &["--version"]));
        for (name, operation) in operations {
            report.operation(name, || {
                bench.tidy_up();
                operation(&bench)
            });
        }
    }
}

/// Where the two are tried, with an image in a folder of skopeo's format.
struct Bench {
    scene: Scene,
    open: Registry,
    seat: Seat,
    diary: Diary,
    image: String,
    folder: String,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let open = scene.start_open_registry();
        let seat = scene.seat("skopeo", None);
        let diary = seat.watch_helper();
        let image = scene.image("acme/app:1");
        let folder = format!("dir:{}", seat.path("home/folder").display());
        Self { scene, open, seat, diary, image, folder }
    }

    fn tidy_up(&self) {
        self.seat.use_helper_for(&[(self.scene.host(), "quayfed-watched")]);
        self.seat.write_registries_conf("");
        self.diary.forget();
    }

    fn skopeo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command("skopeo", arguments)
    }

    fn buildah<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.seat.command("buildah", arguments)
    }

    /// As skopeo names it.
    fn remote(&self) -> String {
        format!("docker://{}", self.image)
    }
}

fn copy_in(at: &Bench) -> Result<(), String> {
    let container = at.buildah(["from", "scratch"]).succeed()?.stdout;
    at.buildah(["commit", "--quiet", container.trim(), &at.folder]).succeed()?;
    at.skopeo(["copy", "--quiet", &at.folder, &at.remote()]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn copy_out(at: &Bench) -> Result<(), String> {
    let copy = format!("dir:{}", at.seat.path("home/copy").display());
    at.skopeo(["copy", "--quiet", &at.remote(), &copy]).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn inspect(at: &Bench) -> Result<(), String> {
    at.skopeo(["inspect", &at.remote()]).succeed()?.must_say(&["\"RepoTags\""])?;
    assert_eq!(at.diary.count("get"), 2);
    Ok(())
}

fn inspect_configuration(at: &Bench) -> Result<(), String> {
    at.skopeo(["inspect", "--config", &at.remote()]).succeed()?.must_say(&["\"history\""])?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn list_tags(at: &Bench) -> Result<(), String> {
    let repository = format!("docker://{}", at.scene.image("acme/app"));
    at.skopeo(["list-tags", &repository]).succeed()?.must_say(&["\"Tags\"", "\"1\""])?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn copy_within(at: &Bench) -> Result<(), String> {
    let copy = format!("docker://{}", at.scene.image("acme/copy:1"));
    at.skopeo(["copy", "--quiet", &at.remote(), &copy]).succeed()?;
    assert_eq!(at.diary.count("get"), 2);
    Ok(())
}

fn copy_to_another_registry(at: &Bench) -> Result<(), String> {
    let copy = format!("docker://{}/somebody/app:1", at.open.host);
    at.skopeo(["copy", "--quiet", &at.remote(), &copy]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    at.skopeo(["copy", "--quiet", &copy, &at.remote()]).succeed().map(|_| ())
}

/// Two tags.
fn sync(at: &Bench) -> Result<(), String> {
    let second = format!("docker://{}", at.scene.image("acme/app:2"));
    at.skopeo(["copy", "--quiet", &at.remote(), &second]).succeed()?;
    at.diary.forget();
    let repository = at.scene.image("acme/app");
    let destination = at.open.host.clone() + "/mirror";
    at.skopeo(["sync", "--src", "docker", "--dest", "docker", &repository, &destination])
        .succeed()?;
    let asked = at.diary.count("get");
    assert!((1..=7).contains(&asked), "{asked}");
    Ok(())
}

fn inspect_eight_times(at: &Bench) -> Result<(), String> {
    at.seat.forget(at.scene.host())?;
    let before = at.scene.exchanges();
    let remote = at.remote();
    let mut commands: Vec<Command> =
        (0..8).map(|_| at.skopeo(["inspect", "--config", &remote])).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            commands.iter_mut().map(|command| scope.spawn(|| command.succeed())).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    results.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(at.scene.exchanges(), before + 1);
    Ok(())
}

/// Whether deleting is permitted is Quay's own affair: the robot is asked for, and passed on.
fn delete(at: &Bench) -> Result<(), String> {
    at.scene.sandbox.quay().permit(ROBOT, "acme/gone", &["pull", "push", "*"]);
    let gone = format!("docker://{}", at.scene.image("acme/gone:1"));
    at.skopeo(["copy", "--quiet", &at.remote(), &gone]).succeed()?;
    at.skopeo(["delete", &gone]).succeed()?;
    at.skopeo(["inspect", &gone]).fail()?.must_say(&["manifest unknown"])
}

/// skopeo 1.9 does not heed `CONTAINERS_REGISTRIES_CONF`: a flag names the file, or it is the user's.
fn skopeo_uses_registries_conf(at: &Bench) -> Result<(), String> {
    use_registries_conf(at);
    let conf = at.seat.path("home/registries.conf").display().to_string();
    at.skopeo(["--registries-conf", &conf, "inspect", &at.remote()]).succeed()?;
    assert_eq!(at.diary.count("get"), 2);
    let of_user = at.seat.path("home/.config/containers/registries.conf");
    fs::copy(conf, &of_user).expect("copied");
    at.seat.unset("CONTAINERS_REGISTRIES_CONF");
    let result = at.skopeo(["inspect", &at.remote()]).succeed();
    at.seat.set("CONTAINERS_REGISTRIES_CONF", at.seat.path("home/registries.conf").display());
    fs::remove_file(of_user).expect("removed");
    result.map(|_| ())
}

fn use_registries_conf(at: &Bench) {
    at.seat.use_helper_for(&[]);
    at.seat.write_registries_conf(
        "credential-helpers = [\"containers-auth.json\", \"quayfed-watched\"]\n",
    );
}

fn login_with_existing_credentials(at: &Bench, client: &str) -> Result<(), String> {
    let ran = at.seat.command(client, ["login", at.scene.host()]).succeed()?;
    ran.must_say(&["Existing credentials are valid. Already logged in to"])
}

fn tell_login(at: &Bench, client: &str) -> Result<(), String> {
    let ran = at.seat.command(client, ["login", "--get-login", at.scene.host()]).succeed()?;
    assert_eq!(ran.stdout.trim(), ROBOT);
    Ok(())
}

fn login_as_another_robot(at: &Bench, client: &str) -> Result<(), String> {
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let words = ["login", "--username", OTHER_ROBOT, "--password-stdin", at.scene.host()];
    let ran: Ran = at.seat.command(client, words).fail_with_input(&password)?;
    let cause = format!("quayfed manages `{}` as `{ROBOT}`", at.scene.host());
    ran.must_say(&[
        &format!("docker-credential-quayfed: {cause}\nhint: "),
        &format!("out: `{cause}`"),
    ])?;
    ran.must_not_say(&["Login Succeeded", &password])
}

fn logout(at: &Bench, client: &str) -> Result<(), String> {
    let before = at.scene.exchanges();
    for _ in 0..2 {
        at.seat
            .command(client, ["logout", at.scene.host()])
            .succeed()?
            .must_say(&["Removed login credentials for"])?;
    }
    at.skopeo(["inspect", &at.remote()]).succeed()?;
    assert_eq!(at.scene.exchanges(), before + 1, "the next one gets a new token");
    Ok(())
}

fn logout_of_all(at: &Bench, client: &str) -> Result<(), String> {
    let ran = at.seat.command(client, ["logout", "--all"]).succeed()?;
    ran.must_say(&["Removed login credentials for all registries"])?;
    assert_eq!(at.seat.auth_file().get("credHelpers"), None);
    Ok(())
}

fn push_from_scratch(at: &Bench) -> Result<(), String> {
    let container = at.buildah(["from", "scratch"]).succeed()?.stdout;
    let container = container.trim();
    let hello = at.seat.write("home/hello", "hello from quayfed\n", 0o644);
    let hello = hello.display().to_string();
    at.buildah(["copy", "--quiet", container, &hello, "/hello"]).succeed()?;
    at.buildah(["commit", "--quiet", container, &at.image]).succeed()?;
    at.buildah(["push", "--quiet", &at.image]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn without_image(at: &Bench) {
    let _ = at.buildah(["rmi", "--force", &at.image]).run();
}

fn pull(at: &Bench) -> Result<(), String> {
    without_image(at);
    at.buildah(["pull", "--quiet", &at.image]).succeed()?.must_not_say(&["quayfed"])?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn make_container(at: &Bench) -> Result<(), String> {
    without_image(at);
    at.buildah(["from", "--quiet", &at.image]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    Ok(())
}

fn build(at: &Bench) -> Result<(), String> {
    without_image(at);
    let built = at.scene.image("acme/built:1");
    let folder = at.seat.make_folder("home/context", 0o700);
    at.seat.write("home/context/more", "more\n", 0o644);
    let recipe = format!("FROM {}\nCOPY more /more\n", at.image);
    at.seat.write("home/context/Containerfile", &recipe, 0o644);
    let folder = folder.display().to_string();
    at.buildah(["build", "--quiet", "--tag", &built, &folder]).succeed()?;
    assert_eq!(at.diary.count("get"), 1);
    at.buildah(["push", "--quiet", &built]).succeed().map(|_| ())
}

fn buildah_uses_registries_conf(at: &Bench) -> Result<(), String> {
    use_registries_conf(at);
    pull(at)
}
