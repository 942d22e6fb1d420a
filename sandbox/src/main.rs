//! The sandbox as a program, for the demo: it writes what a script needs into a directory and
//! runs until it is told to stop.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quayfed_sandbox::{Client, Options, Sandbox, TokenShape, Version};
use ring::rand::{SecureRandom as _, SystemRandom};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

const USAGE: &str = "\
usage: quayfed-sandbox --dir DIR [options]

Starts an OIDC issuer and a Quay on loopback. Once both answer, DIR/env holds NAME=value lines.

  --dir DIR               where ca.pem, registry-bundle.pem, server.pem, server.key,
                          client-secret and env are written
  --quay-version VERSION  3.12, 3.13, 3.17 or 3.18 (3.18)
  --robot-token-life S    seconds from iat to exp of a robot token (3600)
  --no-reverse-proxy      Quay without nginx in front
  --until-stdin-closes    stop at the end of standard input too

SIGTERM and SIGINT stop it. SIGUSR1 stops the issuer only, SIGUSR2 starts it again.
";

/// The robot of the demo, and the client whose tokens are bound to it.
const ROBOT: &str = "demo+builder";
const CLIENT: &str = "build-host";

struct Arguments {
    directory: PathBuf,
    until_stdin_closes: bool,
    options: Options,
}

enum Event {
    Stop,
    IssuerDown,
    IssuerUp,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a person started this program")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("quayfed-sandbox: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ready = |directory: &Path| {
        println!("quayfed-sandbox: ready, see {}/env", directory.display());
    };
    match run(arguments, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quayfed-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None` where only the usage is asked for.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Arguments>, String> {
    let mut arguments = arguments;
    let mut directory = None;
    let mut until_stdin_closes = false;
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("`{}` needs a value", argument.display()));
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--dir") => directory = Some(PathBuf::from(value()?)),
            Some("--until-stdin-closes") => until_stdin_closes = true,
            Some("--no-reverse-proxy") => options.reverse_proxy = false,
            Some("--quay-version") => options.version = version(&value()?)?,
            Some("--robot-token-life") => {
                let value = value()?;
                let seconds = value.to_str().and_then(|value| value.parse().ok());
                let seconds =
                    seconds.ok_or_else(|| format!("`{}` is no number", value.display()))?;
                options.robot_token_life = Duration::from_secs(seconds);
            }
            _ => return Err(format!("unknown argument `{}`", argument.display())),
        }
    }
    let directory = directory.ok_or("`--dir` is missing")?;
    let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
    options.directory = Some(directory.clone());
    Ok(Some(Arguments { directory, until_stdin_closes, options }))
}

fn version(name: &OsString) -> Result<Version, String> {
    match name.to_str() {
        Some("3.12") => Ok(Version::V3_12),
        Some("3.13") => Ok(Version::V3_13),
        Some("3.17") => Ok(Version::V3_17),
        Some("3.18") => Ok(Version::V3_18),
        _ => Err(format!("no recorded Quay version `{}`", name.display())),
    }
}

fn run(arguments: Arguments, ready: impl FnOnce(&Path)) -> Result<(), Box<dyn Error>> {
    let Arguments { directory, until_stdin_closes, options } = arguments;
    fs::create_dir_all(&directory)?;
    let env_file = directory.join("env");
    match fs::remove_file(&env_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let (sender, events) = mpsc::channel();
    forward_signals(sender.clone())?;

    let sandbox = Sandbox::try_start(&options)?;
    let secret_file = directory.join("client-secret");
    set_up_demo(&sandbox, &secret_file)?;
    write_atomically(&env_file, &environment(&sandbox, &secret_file))?;
    ready(&directory);

    if until_stdin_closes {
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = sender.send(Event::Stop);
        });
    }
    for event in events {
        match event {
            Event::Stop => break,
            Event::IssuerDown => sandbox.issuer().stop_listening(),
            Event::IssuerUp => sandbox.issuer().resume_listening(),
        }
    }
    Ok(())
}

fn forward_signals(sender: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGUSR2])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGUSR1 => Event::IssuerDown,
                SIGUSR2 => Event::IssuerUp,
                _ => Event::Stop,
            };
            let _ = sender.send(event);
        }
    });
    Ok(())
}

/// The robots, the client and its secret that the demo uses.
fn set_up_demo(sandbox: &Sandbox, secret_file: &Path) -> io::Result<()> {
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    quay.add_robot(ROBOT);
    for robot in [ROBOT, "acme+ci"] {
        quay.bind(robot, &issuer.url(), CLIENT, None);
    }
    quay.permit(ROBOT, "demo/*", &["pull", "push"]);

    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
    let secret = URL_SAFE_NO_PAD.encode(random);
    issuer.add_client(Client::new(CLIENT, &secret).shape(TokenShape::default().subject(CLIENT)));
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(secret_file)?;
    file.write_all(secret.as_bytes())
}

fn environment(sandbox: &Sandbox, secret_file: &Path) -> String {
    let (certificate, key) = sandbox.server_certificate();
    let path = |path: &Path| quoted(&path.display().to_string());
    [
        ("SANDBOX_PID", std::process::id().to_string()),
        ("SANDBOX_ISSUER", sandbox.issuer().url()),
        ("SANDBOX_TOKEN_ENDPOINT", sandbox.issuer().token_endpoint()),
        ("SANDBOX_QUAY", sandbox.quay().host()),
        ("SANDBOX_CA", path(sandbox.ca_file())),
        ("SANDBOX_REGISTRY_BUNDLE", path(sandbox.registry_cert_bundle())),
        ("SANDBOX_SERVER_CERTIFICATE", path(&certificate)),
        ("SANDBOX_SERVER_KEY", path(&key)),
        ("SANDBOX_CLIENT_ID", CLIENT.to_owned()),
        ("SANDBOX_CLIENT_SECRET_FILE", path(secret_file)),
        ("SANDBOX_ROBOT", ROBOT.to_owned()),
    ]
    .map(|(name, value)| format!("{name}={value}\n"))
    .concat()
}

/// As a shell reads it, whatever characters the path has.
fn quoted(value: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:".contains(character);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

fn write_atomically(path: &Path, content: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, path)
}
