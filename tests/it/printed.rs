//! Whatever is printed is seen as it is: names from the configuration, variables, arguments, files and
//! servers, in every place that a text leaves the program by.

use std::fs;
use std::path::Path;

use quayfed::printable::is_unprintable;
use quayfed::terminal::{Looks, Terminal, Tone};
use quayfed_sandbox::{Fault, Sandbox, Times, TokenShape};
use serde_json::json;

use crate::binary::{Home, Ran, at_sandbox, start};
use crate::screens::{COLOURED, PIPED, drawn, without_colours};

/// Of each kind of character that acts on a reader some, and words to find it by.
const EVIL: &str = "evil\u{1b}[8m\u{1b}]0;t\u{7}\u{8}\r\u{7f}\u{85}\u{9b}31m\u{2028}\u{2029}\u{202e}\
                    \u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{ad}\u{e0041}\nname";

/// The same as a string of TOML.
fn in_toml(text: &str) -> String {
    let escaped = |it: char| format!("\\U{:08X}", u32::from(it));
    let text: String = text
        .chars()
        .map(|it| if is_unprintable(it) { escaped(it) } else { it.to_string() })
        .collect();
    format!("\"{text}\"")
}

#[track_caller]
fn check_clean(what: &str, text: &str) {
    let found = text.chars().find(|it| is_unprintable(*it) && !['\n', '\t'].contains(it));
    assert_eq!(found, None, "{what}: {text:?}");
    assert!(!text.contains("evil\n") && !text.contains("\nname"), "{what}: {text:?}");
}

#[track_caller]
fn check_ran(what: &str, ran: &Ran) {
    check_clean(what, &ran.stdout);
    check_clean(what, &ran.stderr);
    if ran.stdout.starts_with(['{', '[']) {
        let json = serde_json::from_str::<serde_json::Value>(&ran.stdout);
        assert!(json.is_ok() && ran.stdout.lines().count() == 1, "{what}: {ran:?}");
    }
}

/// Every way out of the program for a configuration that is there: arguments and standard input.
const EXITS: &[(&[&str], &str)] = &[
    (&["get"], "quay.example.com"),
    (&["get"], "quay.example.com/org"),
    (&["store"], r#"{"ServerURL":"quay.example.com","Username":"x","Secret":"y"}"#),
    (&["erase"], "quay.example.com"),
    (&["list"], ""),
    (&["status"], ""),
    (&["status", "--json"], ""),
    (&["status", "--metrics"], ""),
    (&["refresh"], ""),
    (&["refresh", "--json"], ""),
    (&["doctor", "quay.example.com"], ""),
    (&["doctor", "--json", "quay.example.com"], ""),
    (&["identity"], ""),
    (&["identity", "--json"], ""),
    (&["configure", "--dry-run"], ""),
    (&["configure", "--dry-run", "--json"], ""),
    (&["purge", "--yes"], ""),
    (&["purge", "--yes", "--json"], ""),
];

fn run(home: &Home, arguments: &[&str], input: &str) -> Ran {
    let mut command = home.helper(arguments[0]);
    command.args(&arguments[1..]);
    start(command, input).wait_with_output().expect("an end").into()
}

/// Runs everything in a home, with a log on standard error and one in a file, and says how often the
/// evil name was shown.
fn everything(what: &str, home: &mut Home) -> usize {
    let log = home.path("log");
    home.set("QUAYFED_LOG", "debug");
    let mut shown = 0;
    for file in ["", log.to_str().expect("text")] {
        home.set("QUAYFED_LOG_FILE", file);
        for (arguments, input) in EXITS {
            let ran = run(home, arguments, input);
            check_ran(&format!("{what}: {arguments:?}"), &ran);
            shown += usize::from(format!("{ran:?}").contains("evil"));
        }
    }
    check_clean(what, &fs::read_to_string(&log).unwrap_or_default());
    shown
}

const RULE: &str = "[registry.\"quay.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"i\"\n";
const IDENTITY: &str = "[identity.i]\nsource = \"file\"\npath = \"/nonexistent\"\n";

#[test]
fn r42_no_name_of_a_configuration_acts_on_whoever_reads_it() {
    let evil = in_toml(EVIL);
    let client = format!(
        "{RULE}[identity.i]\nsource = \"client-credentials\"\nclient_secret_env = \"S\"\n\
         client_id = \"c\"\n"
    );
    for (what, configuration) in [
        (
            "registry",
            format!("[registry.{evil}]\nrobot = \"a+b\"\nidentity = \"i\"\n{RULE}{IDENTITY}"),
        ),
        (
            "path of a registry",
            format!(
                "[registry.{}]\nrobot = \"a+b\"\nidentity = \"i\"\n{RULE}{IDENTITY}",
                in_toml(&format!("quay.example.com/{EVIL}"))
            ),
        ),
        ("robot", RULE.replace("\"acme+ci\"", &evil) + IDENTITY),
        (
            "identity",
            RULE.replace("\"i\"", &evil)
                + &IDENTITY.replace("identity.i", &format!("identity.{evil}")),
        ),
        ("identity that is not there", RULE.replace("\"i\"", &evil) + IDENTITY),
        ("key", format!("{RULE}{evil} = 1\n{IDENTITY}")),
        ("value", format!("{RULE}on_error = {evil}\n{IDENTITY}")),
        (
            "path",
            RULE.to_owned()
                + &IDENTITY.replace("/nonexistent", &format!("/{}", evil.trim_matches('"'))),
        ),
        ("variable", format!("{RULE}[identity.i]\nsource = \"env\"\nvariable = {evil}\n")),
        ("source", RULE.to_owned() + &IDENTITY.replace("\"file\"", &evil)),
        ("ca_file", format!("{RULE}ca_file = {evil}\n{IDENTITY}")),
        ("api_url", format!("{RULE}api_url = {evil}\n{IDENTITY}")),
        ("issuer", format!("{client}issuer = {evil}\n")),
        (
            "host of the issuer",
            format!("{client}issuer = {}\n", in_toml(&format!("https://{EVIL}/"))),
        ),
        ("client", client.replace("\"c\"", &evil) + "token_endpoint = \"https://127.0.0.1:1/\"\n"),
        ("syntax", format!("{RULE}{EVIL}")),
    ] {
        let mut home = Home::new();
        home.configure(&configuration);
        let shown = everything(what, &mut home);
        // TOML is told by its line.
        assert!(shown > 0 || what == "syntax", "{what} is shown nowhere");
    }
}

#[test]
fn r42_no_variable_or_file_name_acts_on_whoever_reads_it() {
    for variable in [
        "QUAYFED_REGISTRY",
        "QUAYFED_ROBOT",
        "QUAYFED_TOKEN_FILE",
        "QUAYFED_TOKEN_VARIABLE",
        "QUAYFED_API_URL",
        "QUAYFED_CA_FILE",
        "QUAYFED_CACHE_DIR",
        "QUAYFED_ON_ERROR",
        "QUAYFED_SOURCE",
        "SSL_CERT_FILE",
        "HTTPS_PROXY",
        "REGISTRY_AUTH_FILE",
        "DOCKER_CONFIG",
        "CONTAINERS_REGISTRIES_CONF",
        "PATH",
    ] {
        let mut home = Home::new();
        for (name, value) in [
            ("QUAYFED_REGISTRY", "quay.example.com"),
            ("QUAYFED_ROBOT", "acme+ci"),
            ("QUAYFED_TOKEN_FILE", "/nonexistent"),
        ] {
            home.set(name, value);
        }
        if variable == "QUAYFED_TOKEN_VARIABLE" || variable == "QUAYFED_SOURCE" {
            home.set("QUAYFED_TOKEN_FILE", "");
        }
        home.set(variable, format!("/{EVIL}"));
        let shown = everything(variable, &mut home);
        let is_shown = ![
            "HTTPS_PROXY",
            "SSL_CERT_FILE",
            "QUAYFED_TOKEN_VARIABLE",
            "CONTAINERS_REGISTRIES_CONF",
        ]
        .contains(&variable);
        assert!(shown > 0 || !is_shown, "{variable} is shown nowhere");
    }
    // A log that is not to be had says so itself.
    let mut home = Home::new();
    for (name, value) in
        [("QUAYFED_LOG", EVIL.to_owned()), ("QUAYFED_LOG_FILE", format!("/{EVIL}"))]
    {
        home.set(name, value);
        let ran = home.get("quay.example.com");
        check_ran(name, &ran);
        assert!(ran.stderr.contains("evil"), "{ran:?}");
    }
    // A configuration in a folder of that name.
    let mut home = Home::new();
    let folder = home.make_folder(EVIL, 0o700);
    let file = home.write(&format!("{EVIL}/{EVIL}"), &format!("{RULE}{IDENTITY}"), 0o600);
    home.set("QUAYFED_CONFIG", file.to_str().expect("text"));
    assert!(everything("file name", &mut home) > 5);
    home.set("QUAYFED_CONFIG", folder.to_str().expect("text"));
    assert!(everything("folder", &mut home) > 5);
}

#[test]
fn r42_no_argument_or_input_acts_on_whoever_reads_it() {
    let option = format!("--{EVIL}");
    let value = format!("--registry={EVIL}");
    for arguments in [
        &[EVIL][..],
        &["get", EVIL],
        &["help", EVIL],
        &["status", EVIL],
        &["status", &option],
        &["doctor", EVIL],
        &["doctor", "--repository", EVIL],
        &["identity", EVIL],
        &["configure", EVIL],
        &["configure", "--only", EVIL],
        &["completions", EVIL],
        &["refresh", "--jobs", EVIL],
        &["init", &value, "--robot", "acme+ci"],
        &["init", "--registry", "quay", "--robot", "acme+ci", "--output", EVIL, "--path", "/t"],
        &["init", "--registry", "quay", "--robot", "acme+ci", "--identity", EVIL, "--path", EVIL],
        &[
            "init",
            "--registry",
            "quay",
            "--robot",
            "acme+ci",
            "--identity",
            EVIL,
            "--path",
            "/t",
            "--json",
        ],
        &[
            "init",
            "--registry",
            "quay",
            "--robot",
            "acme+ci",
            "--identity",
            EVIL,
            "--path",
            "/t",
            "--output",
            "-",
        ],
    ] {
        let ran = run(&Home::new(), arguments, "");
        check_ran(&format!("{arguments:?}"), &ran);
        let is_shown = format!("{ran:?}").contains("evil");
        assert!(is_shown || ["get", "identity"].contains(&arguments[0]), "{arguments:?}: {ran:?}");
    }
    for verb in ["get", "erase", "store"] {
        for input in [
            EVIL.to_owned(),
            format!("quay.example.com/{EVIL}"),
            json!({"ServerURL": "quay.example.com", "Username": EVIL}).to_string(),
        ] {
            let mut home = Home::new();
            home.configure(&format!("{RULE}{IDENTITY}"));
            home.set("QUAYFED_LOG", "debug");
            check_ran(verb, &home.run(verb, &input));
        }
    }
}

#[test]
fn r42_what_stands_in_clients_files_does_not_act_on_whoever_reads_it() {
    let auth = json!({"credHelpers": {"quay.example.com": EVIL, EVIL: "quayfed"},
                      "auths": {EVIL: {"auth": "eDp5"}}, "credsStore": EVIL, EVIL: EVIL});
    let toml = format!("credential-helpers = [{}]\n{} = = 1", in_toml(EVIL), in_toml(EVIL));
    for auth in [auth.to_string(), format!("{auth:#}"), EVIL.to_owned()] {
        let mut home = Home::new();
        home.configure(&format!("{RULE}{IDENTITY}"));
        for folder in [".docker", ".config/containers"] {
            home.make_folder(folder, 0o700);
        }
        home.write(".docker/config.json", &auth, 0o600);
        home.write(".config/containers/auth.json", &auth, 0o600);
        everything("auth.json", &mut home);
        for arguments in [&["configure", "--force"][..], &["configure", "--undo"]] {
            check_ran("configure", &run(&home, arguments, ""));
        }
        home.write(".config/containers/registries.conf", &toml, 0o600);
        everything("registries.conf", &mut home);
    }
}

#[test]
fn r42_nothing_that_a_server_says_acts_on_whoever_reads_it() {
    let sandbox = Sandbox::start();
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    let said = |status, name: &str| {
        let body = json!({"error": EVIL, "error_description": EVIL, "message": EVIL, name: EVIL});
        Fault::respond(status, "application/json", body.to_string())
    };
    let discovered = json!({"issuer": issuer.url(), "token_endpoint": EVIL, "jwks_uri": EVIL});
    let discovered = Fault::respond(200, "application/json", discovered.to_string());
    let host = quay.host();
    let mut home = at_sandbox(&sandbox);
    let check = |what: &str, home: &mut Home, is_shown: bool| {
        home.set("QUAYFED_LOG", "debug");
        let mut shown = Vec::new();
        for arguments in [
            &["get"][..],
            &["doctor", &host],
            &["doctor", "--json", &host],
            &["identity"],
            &["identity", "--json"],
            &["refresh", "--force"],
            &["refresh", "--force", "--json"],
            &["status"],
            &["status", "--json"],
            &["status", "--metrics"],
            &["purge", "--yes"],
        ] {
            let ran = run(home, arguments, &host);
            check_ran(&format!("{what}: {arguments:?}"), &ran);
            shown.push(format!("{ran:?}"));
        }
        let shown = shown.join("\n");
        assert_eq!(shown.contains("evil"), is_shown, "{what}: {shown}");
    };
    for (what, path, fault) in [
        ("refusal of a client", issuer.token_path(), said(400, "x")),
        ("failure of the provider", issuer.token_path(), said(500, "x")),
        ("token", issuer.token_path(), said(200, "access_token")),
        ("discovery", issuer.discovery_path(), said(200, "issuer")),
        ("token endpoint", issuer.discovery_path(), discovered),
    ] {
        issuer.fault(path, fault, Times::Always);
        check(what, &mut home, true);
        issuer.clear_faults();
    }
    for (what, fault) in [
        ("refusal of Quay", said(400, "x")),
        ("401 of Quay", said(401, "x")),
        ("a reply", said(200, "token")),
    ] {
        quay.fault(quayfed_sandbox::EXCHANGE_PATH, fault, Times::Always);
        check(what, &mut home, what != "a reply");
        quay.clear_faults();
    }
    quay.fault("/v2/auth", said(401, "x"), Times::Always);
    check("login", &mut home, false);
    quay.clear_faults();
    // Tokens, whose claims anybody may have written.
    let configuration = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("text");
    let (rule, _) = configuration.split_once("[identity.sso]").expect("an identity");
    let of_file = "[identity.sso]\nsource = \"file\"\npath = \"";
    let token = home.path("token");
    home.configure(&format!("{rule}{of_file}{}\"\n", token.display()));
    let shape = TokenShape::default;
    for (what, shape) in [
        ("subject", shape().subject(EVIL)),
        ("issuer", shape().issuer(EVIL)),
        ("audience", shape().claim("aud", EVIL)),
        ("claim", shape().claim(EVIL, EVIL)),
        ("type", shape().typ(Some(EVIL))),
    ] {
        home.write("token", &issuer.mint(&shape), 0o600);
        check(what, &mut home, true);
    }
    home.write("token", EVIL, 0o600);
    check("no token", &mut home, false);
}

#[test]
fn r42_only_the_colours_of_a_terminal_are_its_own() {
    let forged = "\u{1b}[32mgreen\u{1b}[0m";
    let write = |looks: Looks| {
        drawn(looks, |terminal: &mut Terminal| {
            let painted = terminal.paint(Tone::Bad, format_args!("bad {EVIL}"));
            terminal.line(format_args!("{painted} {forged} {EVIL}"));
            let painted = terminal.paint(Tone::Bad, "bad");
            terminal.write(&format!("{painted}\t{forged}\n"));
            terminal.progress(format_args!("{forged} {EVIL}"));
            terminal.end_progress();
        })
        .1
    };
    let shown = write(COLOURED);
    let bad = "\u{1b}[1m\u{1b}[31m";
    let taken_away = "\r\u{1b}[K";
    assert_eq!(shown.matches(bad).count(), 2, "{shown:?}");
    let left = shown.replace(bad, "").replace("\u{1b}[0m", "").replace(taken_away, "");
    check_clean("a terminal", &left);
    assert_eq!(shown.matches("\u{1b}[0m").count(), 2, "{shown:?}");
    assert_eq!(left.matches("\\u{1b}[32mgreen").count(), 3, "{left}");
    let piped = write(PIPED);
    check_clean("a pipe", &piped);
    assert_eq!(
        without_colours(&shown).replace(taken_away, "").lines().next(),
        piped.lines().next()
    );
}

#[test]
fn r42_bytes_leave_the_program_in_three_places() {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    crate::floors::sources(&root, &mut files);
    for path in files {
        let name = path.strip_prefix(&root).expect("below").display().to_string();
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]").next().expect("code");
        for way in ["io::stdout", "io::stderr", "io::write(", "print!(", "println!("] {
            let is_exit = ["protocol.rs", "terminal.rs", "log.rs"].contains(&name.as_str());
            assert!(is_exit || !code.contains(way), "{way} in {name}");
        }
    }
}
