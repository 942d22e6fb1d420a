//! What people see when something is wrong: our own line where the helper fails, and what Quay
//! says where it refuses the robot's token.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quayfed_sandbox::{SignedBy, TokenShape};
use serde_json::json;

use crate::report::Report;
use crate::run::{Ran, Runs as _, version_of};
use crate::scene::{OTHER_ROBOT, ROBOT, Registry, Scene, Seat};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "refusals",
    needs: &[
        Need::Root,
        Need::Program("podman", "podman"),
        Need::Program("skopeo", "skopeo"),
        Need::Program("buildah", "buildah"),
        Need::Program("docker-registry", "docker-registry"),
    ],
    run: play,
};

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

/// Played with each client.
const OPERATIONS: &[Operation] = &[
    ("a robot that does not exist", name_no_robot),
    ("an issuer that cannot be reached", lose_the_issuer),
    ("a mistake in the configuration", make_a_mistake),
    ("on_error = \"anonymous\"", go_on_anonymously),
    ("a repository without permission", lack_permission),
    ("an expired robot token", |at| at.is_refused_with_500(&at.expired())),
    ("a damaged robot token", |at| at.is_refused_with_500(&at.damaged())),
    ("a robot token signed by somebody else", |at| at.is_refused_with_500(&at.signed_elsewhere())),
    ("another robot's token", hand_out_another_robots_token),
    ("a disabled organization", disable_the_organization),
    ("robots that are disallowed", disallow_robots),
];

fn play(report: &mut Report) {
    let scene = Scene::start();
    let open = scene.start_open_registry();
    let seat = scene.seat("refusals", None);
    let mut bench = Bench { image: scene.image("acme/app:1"), scene, open, seat, client: "podman" };
    bench.tidy_up();
    bench.fill_registries().expect("images in both registries");
    for client in ["podman", "skopeo", "buildah"] {
        bench.client = client;
        report.client(client, &version_of(client, &["--version"]));
        for (name, operation) in OPERATIONS {
            report.operation(name, || {
                bench.tidy_up();
                operation(&bench)
            });
        }
    }
}

struct Bench {
    scene: Scene,
    open: Registry,
    seat: Seat,
    image: String,
    client: &'static str,
}

impl Bench {
    fn tidy_up(&self) {
        let quay = self.scene.sandbox.quay();
        quay.set_organization_enabled("acme", true);
        quay.set_robots_disallow(false);
        self.scene.sandbox.issuer().resume_listening();
        self.configure(|text| text);
        self.seat.use_helper_for(&[(self.scene.host(), "quayfed")]);
        self.seat.forget(self.scene.host()).expect("erase never fails");
    }

    fn configure(&self, change: impl FnOnce(String) -> String) {
        let secret = self.seat.path("home/client-secret");
        self.seat.configure(&change(self.scene.configuration(ROBOT, &secret)));
    }

    fn fill_registries(&self) -> Result<(), String> {
        self.seat.import(&self.image)?;
        let open = self.elsewhere();
        self.seat.command("podman", ["tag", &self.image, &open]).succeed()?;
        for image in [&self.image, &open] {
            self.seat.command("podman", ["push", "--quiet", image]).succeed()?;
        }
        Ok(())
    }

    /// An image in the registry that asks nobody.
    fn elsewhere(&self) -> String {
        format!("{}/somebody/app:1", self.open.host)
    }

    /// Pulls an image with the client whose turn it is.
    fn pull(&self, image: &str) -> Command {
        if self.client == "skopeo" {
            let (from, to) = (format!("docker://{image}"), self.seat.path("home/copy"));
            let to = format!("dir:{}", to.display());
            return self.seat.command("skopeo", ["copy", "--quiet", &from, &to]);
        }
        let _ = self.seat.command(self.client, ["rmi", "--force", image]).run();
        self.seat.command(self.client, ["pull", "--quiet", image])
    }

    /// The next robot token is this one.
    fn is_refused_with_500(&self, token: &str) -> Result<(), String> {
        self.scene.sandbox.quay().next_robot_token(token.to_owned());
        let ran = self.pull(&self.image).fail()?;
        ran.must_say(&["invalid status code from registry 500 (Internal Server Error)"])?;
        ran.must_not_say(&["docker-credential-quayfed", token])?;
        // Nothing tells the helper: it keeps what looks good, until somebody logs out.
        self.pull(&self.image).fail()?;
        self.seat.command(self.client, ["logout", self.scene.host()]).succeed()?;
        self.pull(&self.image).succeed().map(|_| ())
    }

    /// Pushes what [`Bench::pull`] would pull under another name.
    fn push_as(&self, image: &str) -> Command {
        let (from, to) = (format!("docker://{}", self.image), format!("docker://{image}"));
        if self.client == "skopeo" {
            return self.seat.command("skopeo", ["copy", "--quiet", &from, &to]);
        }
        let _ = self.pull(&self.image).run();
        self.seat.command(self.client, ["push", "--quiet", &self.image, &to])
    }

    /// Logs in, the password on standard input.
    fn login(&self, name: &str, password: &str) -> Result<Ran, String> {
        let words = ["login", "--username", name, "--password-stdin", self.scene.host()];
        self.seat.command(self.client, words).run_with_input(password)
    }

    fn shape(&self) -> TokenShape {
        self.scene.sandbox.quay().robot_token_shape(ROBOT)
    }

    fn mint(&self, shape: &TokenShape) -> String {
        self.scene.sandbox.quay().mint(shape)
    }

    fn expired(&self) -> String {
        self.mint(&self.shape().expired_for(60))
    }

    fn damaged(&self) -> String {
        let mut token = self.mint(&self.shape());
        token.truncate(token.len() - 8);
        token
    }

    fn signed_elsewhere(&self) -> String {
        self.mint(&self.shape().signed_by(SignedBy::AnotherKey))
    }
}

/// The cause and the hint of a failed helper, after checking that the client shows them.
fn our_lines(ran: &Ran) -> Result<(&str, &str), String> {
    let lines = ran.cause_and_hint()?;
    ran.must_repeat(lines.0)?;
    Ok(lines)
}

fn name_no_robot(at: &Bench) -> Result<(), String> {
    at.configure(|text| text.replace(ROBOT, "acme+nobody"));
    let ran = at.pull(&at.image).fail()?;
    let (cause, hint) = our_lines(&ran)?;
    let quay = at.scene.sandbox.quay().host();
    assert_eq!(cause, format!("Quay at `{quay}` has no robot account `acme+nobody`"));
    assert!(hint.starts_with("create it in Quay (`acme`, Robot Accounts), or correct `robot` in "));
    Ok(())
}

/// While the helper fails, nobody can log in as somebody else either: these clients ask it first.
fn lose_the_issuer(at: &Bench) -> Result<(), String> {
    at.scene.sandbox.issuer().stop_listening();
    let ran = at.pull(&at.image).fail()?;
    let issuer = at.scene.sandbox.issuer().url();
    let wanted = format!("the issuer `{issuer}` could not be reached: connection refused");
    assert_eq!(our_lines(&ran)?.0, wanted);
    let password = at.scene.sandbox.quay().static_token(OTHER_ROBOT);
    let ran = at.login(OTHER_ROBOT, &password)?;
    assert_eq!(our_lines(&ran)?.0, wanted);
    Ok(())
}

fn make_a_mistake(at: &Bench) -> Result<(), String> {
    at.configure(|text| text.replace("robot =", "robbot ="));
    let ran = at.pull(&at.image).fail()?;
    let (cause, hint) = our_lines(&ran)?;
    let wanted = format!("registry.\"{}\".robbot: there is no such key", at.scene.host());
    assert!(cause.ends_with(&wanted), "{cause}");
    assert!(hint.starts_with("did you mean `robot`?"), "{hint}");
    at.pull(&at.elsewhere()).succeed().map(|_| ())
}

fn go_on_anonymously(at: &Bench) -> Result<(), String> {
    const GOES_ON: &str =
        "docker-credential-quayfed: going on without credentials (on_error = \"anonymous\")";
    at.scene.sandbox.issuer().stop_listening();
    at.configure(|text| {
        let text = text.replace("robot =", "on_error = \"anonymous\"\nrobot =");
        text.replace(at.scene.host(), &at.open.host)
    });
    at.seat.use_helper_for(&[(&at.open.host, "quayfed")]);
    let ran = at.pull(&at.elsewhere()).succeed()?;
    ran.must_say(&["could not be reached: connection refused\nhint: ", GOES_ON])
}

fn lack_permission(at: &Bench) -> Result<(), String> {
    let denied = "requested access to the resource is denied";
    let ran = at.pull(&at.scene.image("secret/app:1")).fail()?;
    ran.must_say(&[denied, "unauthorized: authentication required"])?;
    ran.must_not_say(&["docker-credential-quayfed"])?;
    at.push_as(&at.scene.image("secret/app:1")).fail()?.must_say(&[denied])
}

/// The helper hands it out to nobody; and Quay would refuse it.
fn hand_out_another_robots_token(at: &Bench) -> Result<(), String> {
    let quay = at.scene.sandbox.quay();
    let token = quay.mint(&quay.robot_token_shape(OTHER_ROBOT));
    quay.next_robot_token(token.clone());
    let ran = at.pull(&at.image).fail()?;
    let quay = quay.host();
    assert_eq!(
        our_lines(&ran)?.0,
        format!("the robot token from Quay at `{quay}` is for `{OTHER_ROBOT}`, not for `{ROBOT}`")
    );
    let auth = STANDARD.encode(format!("{ROBOT}:{token}"));
    at.seat.write_auth_file(&json!({ "auths": { at.scene.host(): { "auth": auth } } }));
    at.pull(&at.image)
        .fail()?
        .must_say(&["invalid username/password: unauthorized: Token does not match robot"])
}

fn disable_the_organization(at: &Bench) -> Result<(), String> {
    at.scene.sandbox.quay().set_organization_enabled("acme", false);
    at.pull(&at.image).fail()?.must_say(&[
        "invalid username/password: unauthorized: Robot acme+ci owner acme is disabled",
    ])
}

fn disallow_robots(at: &Bench) -> Result<(), String> {
    at.scene.sandbox.quay().set_robots_disallow(true);
    at.pull(&at.image).fail()?.must_say(&[
        "invalid username/password: unauthorized: Robot account have been disabled. Please contact \
         your administrator.",
    ])
}
