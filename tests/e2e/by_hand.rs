//! The documented way without the helper, `docs/by-hand.sh`, beside the helper: both at the same
//! registry, each at a seat of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quayfed_sandbox::{EXCHANGE_PATH, TokenShape};
use serde_json::json;

use crate::report::Report;
use crate::run::{Ran, Runs as _, version_of};
use crate::scene::{ROBOT, Scene, Seat};
use crate::{Need, Part};

pub(crate) const PART: Part = Part {
    name: "by hand",
    needs: &[
        Need::Program("curl", "curl"),
        Need::Program("jq", "jq"),
        Need::Program("podman", "podman"),
        Need::Program("docker-registry", "docker-registry"),
    ],
    run: play,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
/// The name of the scene's client at the sandbox's issuer.
const CLIENT: &str = "build-host";

fn play(report: &mut Report) {
    let bench = Bench::new();
    report.client("docs/by-hand.sh", &version_of("podman", &["--version"]));
    for (name, operation) in OPERATIONS {
        report.operation(name, || operation(&bench));
    }
}

type Operation = (&'static str, fn(&Bench) -> Result<(), String>);

const OPERATIONS: &[Operation] = &[
    ("the page shows the script's steps as they are", show_the_steps),
    ("log in, push and pull", log_in),
    ("no secret is an argument", hide_secrets),
    ("the exchange wants Basic, not Bearer", bear_a_token),
    ("the password stands in auth.json, and not with the helper", look_for_the_password),
    ("the robot token ends: a new login by hand, nothing with the helper", outlive_a_robot_token),
    ("the issuer is away: no login by hand, a pull with the helper", miss_the_issuer),
    ("a wrong secret: a number by hand, cause and hint with the helper", mistake_the_secret),
    ("a robot that Quay does not know: the same", mistake_the_robot),
];

/// The script, run at a seat; QUAY is set there where it is needed.
pub(crate) fn script(
    seat: &Seat,
    registry: &str,
    robot: &str,
    issuer: &str,
    client: &str,
    secret: &Path,
) -> Command {
    let secret = secret.display().to_string();
    let arguments = [registry, robot, issuer, client, &secret];
    seat.command(&format!("{FOLDER}/by-hand.sh"), arguments)
}

struct Bench {
    scene: Scene,
    /// A seat without the helper's configuration, whose curl, jq and podman keep a diary.
    by_hand: Seat,
    helped: Seat,
    image: String,
}

impl Bench {
    fn new() -> Self {
        let scene = Scene::start();
        let by_hand = scene.bare_seat("by-hand", None);
        by_hand.write("home/client-secret", &format!("{}\n", scene.client_secret()), 0o600);
        for program in ["curl", "jq", "podman"] {
            let real = crate::run::which(program).expect("a program that is needed");
            let diary = by_hand.path("home/arguments");
            by_hand.write_script(
                program,
                &format!(
                    "printf '{program} %s\\n' \"$*\" >>'{}'\nexec {} \"$@\"",
                    diary.display(),
                    real.display()
                ),
            );
        }
        let helped = scene.seat("helped", None);
        helped.use_helper_for(&[(scene.host(), "quayfed")]);
        let image = scene.image("acme/app:1");
        Self { scene, by_hand, helped, image }
    }

    /// Runs the script for a robot, as the scene's client.
    fn run(&self, robot: &str, secret: &Path) -> Result<Ran, String> {
        self.by_hand.set("QUAY", self.scene.sandbox.quay().host());
        let issuer = self.scene.sandbox.issuer().url();
        script(&self.by_hand, self.scene.host(), robot, &issuer, CLIENT, secret).run()
    }

    fn log_in(&self) -> Result<(), String> {
        let ran = self.run(ROBOT, &self.by_hand.path("home/client-secret"))?;
        if ran.code != Some(0) {
            return Err(format!("it failed: {ran}"));
        }
        ran.must_say(&["Login Succeeded!"])
    }

    fn pull_at(&self, seat: &Seat) -> Result<Ran, String> {
        let _ = seat.command("podman", ["rmi", "--force", &self.image]).run();
        seat.command("podman", ["pull", "--quiet", &self.image]).run()
    }

    fn must_pull(&self, seat: &Seat) -> Result<(), String> {
        match self.pull_at(seat)? {
            ran if ran.code == Some(0) => Ok(()),
            ran => Err(format!("it failed: {ran}")),
        }
    }

    /// The password that podman keeps for the registry.
    fn kept_password(&self) -> Result<String, String> {
        let file = self.by_hand.auth_file();
        let encoded = file["auths"][self.scene.host()]["auth"].as_str().unwrap_or_default();
        let text = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).map_err(|error| error.to_string())?;
        let password = text.strip_prefix(&format!("{ROBOT}:"));
        password.map(str::to_owned).ok_or_else(|| format!("no password in {file}"))
    }
}

fn show_the_steps(_: &Bench) -> Result<(), String> {
    let read = |name: &str| {
        let path = format!("{FOLDER}/{name}");
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let (page, script) = (read("by-hand.md")?, read("by-hand.sh")?);
    let shown: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(shown.len(), 4, "one for each step");
    match shown.iter().find(|step| !script.contains(**step)) {
        Some(step) => Err(format!("this is not in the script:\n{step}")),
        None => Ok(()),
    }
}

fn log_in(at: &Bench) -> Result<(), String> {
    at.log_in()?;
    assert_eq!(at.scene.exchanges(), 1);
    at.by_hand.import(&at.image)?;
    at.by_hand.command("podman", ["push", "--quiet", &at.image]).succeed()?;
    at.must_pull(&at.by_hand)?;
    at.must_pull(&at.helped)
}

fn hide_secrets(at: &Bench) -> Result<(), String> {
    let path = at.by_hand.path("home/arguments");
    let told = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    for program in ["curl --silent", "jq -er", "podman login"] {
        assert!(told.contains(program), "{told}");
    }
    for secret in [at.scene.client_secret(), "eyJ", "s3cr3t"] {
        assert!(!told.contains(secret), "`{secret}` is in: {told}");
    }
    Ok(())
}

fn bear_a_token(at: &Bench) -> Result<(), String> {
    let (issuer, quay) = (at.scene.sandbox.issuer(), at.scene.sandbox.quay());
    let token = issuer.mint(&TokenShape::default().subject("service-account-of-build-host"));
    let url = format!("url = \"{}{EXCHANGE_PATH}\"\n", quay.url());
    for (way, status) in [
        (format!("header = \"Authorization: Bearer {token}\""), "401"),
        (format!("user = \"{ROBOT}:{token}\""), "200"),
    ] {
        let arguments = ["--silent", "--output", "/dev/null", "--config", "-"];
        let config = format!("{url}{way}\nwrite-out = \"%{{http_code}}\"\n");
        let ran = at.by_hand.command("curl", arguments).succeed_with_input(&config)?;
        assert_eq!(ran.stdout, status, "{}", &way[..20]);
    }
    Ok(())
}

fn look_for_the_password(at: &Bench) -> Result<(), String> {
    assert!(at.kept_password()?.starts_with("eyJ"));
    let helped = at.helped.auth_file();
    assert_eq!(helped.get("auths"), None, "{helped}");
    Ok(())
}

fn outlive_a_robot_token(at: &Bench) -> Result<(), String> {
    const LIFE: Duration = Duration::from_secs(4);
    let (quay, host) = (at.scene.sandbox.quay(), at.scene.host());
    // What is in auth.json an hour later; this test does not take one.
    let ended = quay.mint(&quay.robot_token_shape(ROBOT).expired_for(60));
    let auth = STANDARD.encode(format!("{ROBOT}:{ended}"));
    at.by_hand.write_auth_file(&json!({ "auths": { host: { "auth": auth } } }));
    let ran = at.pull_at(&at.by_hand)?;
    assert_ne!(ran.code, Some(0), "the password has ended: {ran}");
    ran.must_say(&["invalid status code from registry 500"])?;
    at.log_in()?;
    at.must_pull(&at.by_hand)?;

    at.helped.forget(host)?;
    quay.set_robot_token_life(LIFE);
    quay.forget_requests();
    at.must_pull(&at.helped)?;
    std::thread::sleep(LIFE);
    at.must_pull(&at.helped)?;
    assert_eq!(at.scene.exchanges(), 2);
    quay.set_robot_token_life(Duration::from_hours(1));
    at.helped.forget(host)?;
    at.must_pull(&at.helped)
}

fn miss_the_issuer(at: &Bench) -> Result<(), String> {
    let issuer = at.scene.sandbox.issuer();
    issuer.stop_listening();
    let (ran, pulled) = (at.log_in(), at.must_pull(&at.helped));
    issuer.resume_listening();
    assert!(ran.is_err(), "there is nobody to log in at");
    pulled
}

fn mistake_the_secret(at: &Bench) -> Result<(), String> {
    let wrong = at.by_hand.write("home/wrong-secret", "not-the-secret\n", 0o600);
    let ran = at.run(ROBOT, &wrong)?;
    assert_ne!(ran.code, Some(0), "{ran}");
    assert_eq!(ran.stderr, "curl: (22) The requested URL returned error: 401\n");
    at.helped.write("home/client-secret", "not-the-secret\n", 0o600);
    at.helped.forget(at.scene.host())?;
    let told = at.pull_at(&at.helped);
    at.helped.write("home/client-secret", at.scene.client_secret(), 0o600);
    let told = told?;
    assert_ne!(told.code, Some(0), "{told}");
    told.must_say(&[
        "refused client `build-host`: `unauthorized_client`",
        "hint: the secret is wrong: compare that in",
    ])?;
    told.must_not_say(&["not-the-secret"])
}

fn mistake_the_robot(at: &Bench) -> Result<(), String> {
    let secret = at.by_hand.path("home/client-secret");
    let ran = at.run("acme+nobody", &secret)?;
    assert_ne!(ran.code, Some(0), "{ran}");
    assert_eq!(ran.stderr, "curl: (22) The requested URL returned error: 400\n");
    let secret = at.helped.path("home/client-secret");
    at.helped.configure(&at.scene.configuration("acme+nobody", &secret));
    let told = at.pull_at(&at.helped)?;
    assert_ne!(told.code, Some(0), "{told}");
    told.must_say(&["has no robot account `acme+nobody`", "hint: create it in Quay"])
}
