//! `init`: a configuration from options, the mistakes in those, and its screens.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use quayfed::config;
use quayfed::config::settings::SourceSpec;
use quayfed::server::Server;
use quayfed::terminal::Looks;
use quayfed_sandbox::{Need, lacks};

use crate::binary::{Home, Ran};
use crate::configure::{failure, misuse};
use crate::screens::{self, COLOURED, NARROW, PIPED};
use crate::scripts::check_json;
use crate::simulation::Host;

const REGISTRY: [&str; 4] = ["--registry", "quay.example.com", "--robot", "acme+ci"];
const CLIENT: [&str; 6] = [
    "--issuer",
    "https://sso.example.com/realms/ci",
    "--client-id",
    "build-host",
    "--client-secret-file",
    "/nowhere/client-secret",
];

fn init(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.helper("init");
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("run").into()
}

/// The configuration that is written to standard output, and its one rule.
fn drafted(arguments: &[&str]) -> (String, config::settings::Rule) {
    let home = Home::new();
    let ran = init(&home, &[&REGISTRY, arguments, &["--output", "-"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let host = Host::new();
    host.configure(&ran.stdout);
    let configuration = config::load(&host.world()).expect("a configuration");
    assert_eq!(configuration.notices, Vec::<String>::new());
    let server = Server::parse("quay.example.com").expect("a server");
    let rule = configuration.settings.rules.get(&server).expect("a rule");
    (ran.stdout, rule.clone().expect("sound"))
}

#[test]
fn every_source_is_written_as_it_is_read() {
    let all = [
        &CLIENT[..],
        &["--audience", "quay", "--scopes", "openid,quay", "--ca-file", "/ca.pem"],
        &["--api-url", "https://api.example.com", "--identity", "sso \"1\""],
        &["--token-endpoint", "https://sso.example.com/token"],
    ]
    .concat();
    let (text, rule) = drafted(&all);
    let SourceSpec::ClientCredentials(settings) = &rule.identity.source else { panic!("{text}") };
    assert_eq!(settings.client_id, "build-host");
    assert_eq!(settings.audience.as_deref(), Some("quay"));
    assert_eq!(settings.scopes, ["openid", "quay"]);
    for scopes in ["openid quay", " openid, quay ", "openid  ,quay"] {
        let (text, rule) = drafted(&[&CLIENT[..], &["--scopes", scopes]].concat());
        let SourceSpec::ClientCredentials(settings) = &rule.identity.source else {
            panic!("{text}")
        };
        assert_eq!(settings.scopes, ["openid", "quay"], "{scopes}");
    }
    assert_eq!(rule.api_url.as_str(), "https://api.example.com/");
    assert_eq!(rule.connection.ca_file, rule.identity.connection.ca_file);
    assert_eq!(rule.identity.name, "sso \"1\"");
    let (_, rule) = drafted(&["--path", "/var/run/secrets/tokens/quay"]);
    assert!(matches!(rule.identity.source, SourceSpec::File(_)), "{rule:?}");
    assert_eq!(rule.identity.name, "file");
    let (_, rule) = drafted(&["--variable", "QUAY_TOKEN", "--json-field", "a.0"]);
    let SourceSpec::Env(variable) = &rule.identity.source else { panic!("{rule:?}") };
    assert_eq!(variable.json_field.as_ref().map(|field| field.0.as_str()), Some("a.0"));
}

#[test]
fn each_setting_that_is_shown_as_a_comment_is_sound() {
    for source in [&CLIENT[..], &["--path", "/token"], &["--variable", "T"]] {
        let (text, _) = drafted(source);
        let lines: Vec<&str> = text.lines().collect();
        let mut count = 0;
        for (number, line) in lines.iter().enumerate() {
            let Some(setting) = line.strip_prefix("# ").filter(|line| line.contains(" = ")) else {
                continue;
            };
            if setting.contains('`') {
                continue;
            }
            let mut changed = lines.clone();
            changed[number] = setting;
            let host = Host::new();
            host.configure(&changed.join("\n"));
            let loaded = config::load(&host.world()).expect("a configuration").settings;
            assert!(loaded.rules.values().all(Result::is_ok), "{setting}: {loaded:?}");
            count += 1;
        }
        assert!(count >= 5, "{text}");
    }
}

#[test]
fn a_mistake_is_told_by_its_option() {
    let good = [&REGISTRY[..], &CLIENT].concat();
    let home = Home::new();
    for (arguments, cause, hint) in [
        (vec![], "`--registry` is not given", "add it, such as --registry quay.example.com"),
        (
            vec!["--registry", "quay.example.com", "--variable", "T"],
            "`--robot` is not given",
            "add it, such as --robot acme+ci",
        ),
        (
            REGISTRY.to_vec(),
            "`--issuer` or `--token-endpoint` is not given",
            "add it, such as --issuer https://sso.example.com/realms/quay (then: `--client-id` is missing, `--client-secret-file` or `--client-secret-env` or `--client-secret-credential` is missing)",
        ),
        (
            [&REGISTRY[..], &CLIENT[..4]].concat(),
            "`--client-secret-file` or `--client-secret-env` or `--client-secret-credential` is \
             not given",
            "add it, such as --client-secret-file /etc/quayfed/client-secret",
        ),
        (
            vec!["--registry", "quay.example.com", "--robot", "Acme+ci", "--variable", "T"],
            "`--robot`: `Acme+ci` is no robot name: it has a character other than a-z, 0-9, `.`, \
             `_` and `-`",
            "did you mean `acme+ci`? Quay's robot names are NAMESPACE+NAME in lower case",
        ),
        (
            vec!["--registry", "ftp://h", "--robot", "acme+ci", "--variable", "T"],
            "`ftp://h` is no name of a registry: it has a scheme other than `https` and `http`",
            "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
        ),
        (
            [&good[..], &["--api-url", "quay.example.com"]].concat(),
            "`--api-url`: `quay.example.com` is no https URL",
            "did you mean `https://quay.example.com`?",
        ),
        (
            [&REGISTRY[..], &["--path", "token"]].concat(),
            "`--path`: `token` is no absolute path",
            "begin it with `/`: the program may be called in any folder",
        ),
        (
            [&REGISTRY[..], &["--path", "/token", "--variable", "T"]].concat(),
            "`--variable`: this belongs to the source `env`, not to `file`",
            "remove it, or choose that source",
        ),
        (
            [&REGISTRY[..], &["--variable", "$hunter2"]].concat(),
            "`--variable`: `$hunter2` is no name of a variable",
            "write the name alone, such as `QUAY_TOKEN`: letters, digits and `_`, without `$`",
        ),
        (
            [&REGISTRY[..], &["--source", "vault"]].concat(),
            "`--source`: `vault` is not supported by this version",
            "it supports `client-credentials`, `file`, `env`",
        ),
        (
            [&good[..], &["--client-secret-env", "SECRET"]].concat(),
            "`--client-secret-env`: there is `client_secret_file` as well",
            "keep the one that says where the secret is",
        ),
    ] {
        let ran = init(&home, &arguments);
        assert_eq!(misuse(&ran), (cause, hint), "{arguments:?}");
    }
    assert!(!home.path(".config/quayfed/config.toml").exists(), "nothing was written");
}

#[test]
fn r7_no_secret_is_taken_from_the_command_line() {
    let home = Home::new();
    for option in ["--client-secret", "--secret", "--password", "--token"] {
        for arguments in [vec![option, "hunter2"], vec![option]] {
            let ran = init(&home, &arguments);
            assert_eq!(
                misuse(&ran).0,
                format!("there is no `{option}`: everybody on this host can see the command lines")
            );
            assert!(!format!("{ran:?}").contains("hunter2"));
        }
    }
    let help = init(&home, &["--help"]).stdout;
    assert!(help.contains("No option takes a secret") && !help.contains("--password"), "{help}");
}

#[test]
fn a_file_is_written_once_and_replaced_by_force_alone() {
    let home = Home::new();
    fs::remove_dir(home.path(".config/quayfed")).expect("removed");
    let arguments = [&REGISTRY[..], &["--variable", "T"]].concat();
    let ran = init(&home, &arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let path = home.path(".config/quayfed/config.toml");
    let written = fs::read_to_string(&path).expect("text");
    let mode = |path| fs::metadata(path).expect("a file").mode() & 0o7777;
    assert_eq!((mode(path.clone()), mode(home.path(".config/quayfed"))), (0o600, 0o700));
    assert_eq!(home.run("list", "").stdout, "{\"quay.example.com\":\"acme+ci\"}\n");
    let other = [&REGISTRY[..], &["--variable", "OTHER"]].concat();
    let ran = init(&home, &other);
    assert!(failure(&ran).0.ends_with("config.toml is there already"), "{ran:?}");
    assert_eq!(
        failure(&ran).1,
        "nothing was changed; add to it by hand, write another file (--output) and name it by \
         QUAYFED_CONFIG, or replace it (--force)"
    );
    assert_eq!(fs::read_to_string(&path).expect("text"), written);
    let ran = init(&home, &[&other[..], &["--force"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(fs::read_to_string(&path).expect("text").contains("\"OTHER\""));
}

#[test]
fn a_file_elsewhere_is_told_to_be_read_by_nobody() {
    let mut home = Home::new();
    let output = home.path("other.toml");
    let output = output.to_str().expect("text");
    let arguments = [&REGISTRY[..], &["--variable", "T", "--output", output]].concat();
    let ran = init(&home, &arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("is none of the files that are read"), "{ran:?}");
    home.set("QUAYFED_CONFIG", home.path("chosen.toml").to_str().expect("text"));
    let ran = init(&home, &[&REGISTRY[..], &["--variable", "T"]].concat());
    assert!(home.path("chosen.toml").exists() && !ran.stdout.contains("Worth knowing"), "{ran:?}");
}

/// What is shown where the configuration is written to a user's own file, and what is written.
fn written(looks: Looks, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::Builder::new().prefix("qf-").tempdir_in("/dev/shm").expect("a folder");
    let host = Host::new();
    let mut world = host.world();
    world.environment = quayfed::world::Environment::default();
    world.places.user_configuration = Some(folder.path().join(".config")).into();
    world.places.system_configuration = folder.path().join("etc/quayfed").into();
    let output = folder.path().join(".config/quayfed/config.toml");
    let place = ["--output", output.to_str().expect("text")];
    let (result, screen) =
        screens::ran(&world, looks, &[&["init"], arguments, &CLIENT, &place].concat());
    assert_eq!(result, Ok(quayfed::command::WELL), "{screen}");
    let shown = folder.path().to_str().expect("text");
    (screen.replace(shown, "/home/ci-runner-01"), fs::read_to_string(&output).expect("text"))
}

#[test]
fn a_configuration_for_every_user_is_told_to_lack_a_secret_that_they_can_read() {
    let host = Host::new();
    let mut world = host.world();
    world.environment = quayfed::world::Environment::default();
    let output = world.places.system_configuration.join("config.toml");
    let secret = host.secret_file();
    let init = |mode: u32| {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).expect("a mode");
        let files = [&output, &secret].map(|path| path.to_str().expect("text"));
        let arguments = [
            &["init", "--json", "--output", files[0], "--client-secret-file", files[1]][..],
            &REGISTRY,
            &CLIENT[..4],
        ];
        screens::ran(&world, PIPED, &arguments.concat())
    };
    let (result, said) = init(0o600);
    assert_eq!(result, Ok(quayfed::command::WELL), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let (shown, uid) = (secret.display(), fs::metadata(&secret).expect("a file").uid());
    assert_eq!(
        report["notes"],
        serde_json::json!([{
            "text": format!(
                "only uid {uid} can read {shown} (mode 0600): pulls of other users would fail, \
                 until a group of theirs may read it"
            ),
            "command": format!("chgrp GROUP {shown}; chmod 0640 {shown}"),
            "in_the_way": null,
        }])
    );
    let told = init(0o600).0.expect_err("a file");
    assert_eq!(
        told.hint(),
        "nothing was changed; add to it by hand, write another file of the same folder's config.d \
         (--output), or replace it (--force)"
    );
    fs::remove_file(&output).expect("removed");
    let (_, said) = init(0o640);
    assert!(said.contains("\"notes\":[]"), "{said}");
}

#[test]
fn the_screens() {
    for (name, looks) in [("coloured", COLOURED), ("narrow", NARROW), ("piped", PIPED)] {
        let (screen, text) = written(looks, &REGISTRY);
        screens::check(&format!("init-{name}"), &screen);
        screens::check("init-written", &text);
    }
}

#[test]
fn a_script_is_told_what_was_written_and_what_is_to_be_done() {
    let arguments = ["--registry", "quay.example.com/acme", "--robot", "acme+ci", "--json"];
    check_json("init", "json-init", &written(COLOURED, &arguments).0);
    let ran = init(&Home::new(), &[&arguments[..], &CLIENT, &["--output", "-"]].concat());
    assert_eq!(misuse(&ran).0, "`--output -` and `--json` both ask for standard output");
}

/// What is on a terminal of root's in which a command runs as this user, by su(1), and somebody types.
fn typed_as(user: &str, command: &str, file: &Path, typed: &str) -> String {
    let mut script = Command::new("/usr/bin/script");
    script.args(["--quiet", "--return", "--command"]);
    let command = command.replace('\'', "'\\''");
    script.arg(format!("su -s /bin/sh - {user} -c '{command}'")).arg("/dev/null");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Whoever pastes sees the terminal first: what comes before `stty` would be shown. Behind it the
    // file is made.
    for _ in 0..600 {
        if file.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    stdin.write_all(typed.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("an end");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn r7_the_way_of_a_secret_into_its_file_shows_nothing_and_works_after_su_too() {
    if lacks(Need::Root) || lacks(Need::Program("script")) {
        return;
    }
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("README.md");
    let line = readme.lines().find(|line| line.contains("stty -echo")).expect("the way");
    let shown = line.strip_prefix("sudo ").expect("as root");
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("mode set");
    for user in ["root", "nobody"] {
        let file = folder.path().join(user);
        let path = file.display().to_string();
        let command = shown.replace("/etc/quayfed/client-secret", &path);
        assert_ne!(command, shown);
        let screen = typed_as(user, &command, &file, "hunter2/+ %$\"\n");
        assert!(!screen.contains("hunter2"), "{user}: {screen:?}");
        assert_eq!(fs::read_to_string(&file).expect(&screen), "hunter2/+ %$\"\n", "{user}");
        let mode = fs::metadata(&file).expect("a file").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{user}");
        // What init says is the same.
        let home = Home::new();
        let ran = init(
            &home,
            &[
                "--registry",
                "quay.example.com",
                "--robot",
                "acme+ci",
                "--issuer",
                "https://sso.example.com",
                "--client-id",
                "c",
                "--client-secret-file",
                "/etc/quayfed/client-secret",
            ],
        );
        let is_there = Path::new("/etc/quayfed/client-secret").exists();
        assert!(is_there || ran.stdout.contains(shown), "{ran:?}");
    }
}

#[test]
fn r46_a_ca_file_is_said_to_be_this_helpers_only() {
    let home = Home::new();
    let file = home.write("ca.pem", "", 0o644).display().to_string();
    let arguments = [&REGISTRY[..], &["--path", "/token", "--ca-file", &file, "--json"]].concat();
    let is_told = |ran: &Ran| {
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let notes = report["notes"].as_array().expect("notes").clone();
        let command = format!(
            "sudo install -D -m 0644 {file} /etc/containers/certs.d/quay.example.com/ca.crt"
        );
        notes.iter().any(|note| note["command"] == *command)
    };
    let ran = init(&home, &arguments);
    assert!(is_told(&ran), "{ran:?}");
    home.make_folder(".config/containers/certs.d/quay.example.com", 0o755);
    home.write(".config/containers/certs.d/quay.example.com/ca.crt", "", 0o644);
    let ran = init(&home, &[&arguments[..], &["--force"]].concat());
    assert!(!is_told(&ran), "{ran:?}");
}
