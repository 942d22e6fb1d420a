//! The verbs of the protocol, by the two tables: what is read, what is written, how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use quayfed_sandbox::Sandbox;

use crate::binary::{Home, Ran, at_sandbox, configuration, on_a_terminal, program, start};
use crate::simulation::files_ending;

const TOML: &str = r#"
[registry."quay.example.com"]
robot = "acme+ci"
identity = "job"

[registry."quay.example.com:8443"]
robot = "acme+other"
identity = "job"

[registry."quay.example.com/org"]
robot = "org+ci"
identity = "job"

[registry."broken.example.com"]
robot = "Acme+CI"
identity = "job"

[identity.job]
source = "env"
variable = "JOB_TOKEN"
"#;

fn ran(code: i32, stdout: &str, stderr: &str) -> Ran {
    Ran { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn home() -> Home {
    let home = Home::new();
    home.configure(TOML);
    home
}

#[test]
fn get_without_a_server_says_so() {
    for input in ["", "\n", " \r\n"] {
        assert_eq!(home().get(input), ran(1, "no credentials server URL\n", ""), "{input:?}");
    }
}

#[test]
fn r3_a_server_that_is_not_ours_is_not_found_and_stderr_is_silent() {
    let home = home();
    for server in [
        "docker.io",
        "https://index.docker.io/v1/",
        "quay.example.com:443",
        "quay.example.com.evil.example",
        "user@quay.example.com",
        "quay.example.com?x",
        "quay.example.com/../x",
        "quäy.example.com",
        "other.example.com\n",
        "\u{a0}quay.example.com",
        "\u{b}quay.example.com",
    ] {
        let ran = home.get(server);
        assert!(ran.is_not_found(), "{server}: {ran:?}");
    }
}

#[test]
fn r2_more_than_64_kib_is_read_to_its_end_and_not_found() {
    let home = home();
    let mut command = home.helper("get");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    let written = std::io::Write::write_all(&mut stdin, &vec![b'a'; 1024 * 1024]);
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().expect("an end"));
    assert!(written.is_ok(), "the client's write must not break");
    assert!(ran.is_not_found(), "{ran:?}");
}

#[test]
fn r2_the_wait_for_standard_input_ends_after_25_seconds() {
    let home = home();
    let mut command = home.helper("get");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = std::time::Instant::now();
    let mut child = command.spawn().expect("started");
    let stdin = child.stdin.take();
    let status = child.wait().expect("an end");
    let took = began.elapsed().as_secs();
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().expect("output"));
    assert_eq!(status.code(), Some(1));
    assert_eq!(ran.stdout, "no server name on standard input within 25 s\n");
    assert!(!ran.stderr.contains("yet"), "it is no terminal: {ran:?}");
    assert!((24..60).contains(&took), "{took}");
}

/// What a verb tells at a terminal, which `script` gives it (Debian: bsdutils, always there).
fn told_at_a_terminal(verb: &str) -> String {
    let home = home();
    let mut command = home.command("/usr/bin/script");
    command.args(["-qec", &format!("{} {verb}", program().display()), "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    // It is told after a second. Without a word it would end after 25 s, when its time is over.
    let mut told = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = String::new();
    while !lines.contains("hint: ") && told.read_line(&mut lines).is_ok_and(|length| length > 0) {}
    drop(child.stdin.take());
    told.read_to_string(&mut lines).expect("text");
    child.wait().expect("an end");
    lines.replace('\r', "")
}

#[test]
fn who_calls_a_verb_at_a_terminal_is_told_what_it_waits_for() {
    for verb in ["get", "erase"] {
        let told = told_at_a_terminal(verb);
        let wanted = format!(
            "docker-credential-quayfed: no server name on standard input yet\n\
             hint: clients write it; by hand: echo quay.example.com | docker-credential-quayfed \
             {verb}\n"
        );
        assert!(told.starts_with(&wanted), "{told}");
    }
    let told = told_at_a_terminal("store");
    let wanted = "docker-credential-quayfed: no credentials on standard input yet\n\
                  hint: clients write them, as `docker login` does\n";
    assert!(told.starts_with(wanted), "{told}");
}

#[test]
fn r3_every_form_of_a_server_is_answered_and_echoed_as_asked() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let mut tokens = Vec::new();
    for asked in [
        host.clone(),
        format!("{host}\n"),
        format!("{host}\r\n"),
        format!("  {host} \n\n"),
        format!("https://{host}"),
        format!("http://{host}"),
        format!("https://{host}/"),
        format!("{host}/"),
        format!("{host}/acme/app"),
        format!("https://{host}/v2/"),
        host.to_uppercase(),
    ] {
        let ran = home.get(&asked);
        tokens.push(ran.token());
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(answer["ServerURL"], asked.trim());
        assert_eq!(answer["Username"], "acme+ci");
        assert_eq!(ran.stderr, "");
        assert_eq!(ran.stdout.matches('\n').count(), 1);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "servers under the same rule share one token");
    assert_eq!(sandbox.quay().count("/oauth2/federation/robot/token"), 1);
}

#[test]
fn a_server_under_a_longer_rule_never_gets_the_shorter_rules_token() {
    let sandbox = Sandbox::start();
    sandbox.quay().add_robot("org+ci");
    sandbox.quay().bind("org+ci", &sandbox.issuer().url(), crate::binary::SUBJECT, None);
    let host = sandbox.quay().host();
    for order in [["", "/org"], ["/org", ""], ["/org/repo", ""], ["", "/org/repo"]] {
        let home = at_sandbox(&sandbox);
        let text = configuration(&sandbox, &home);
        let longer = text
            .split("[identity")
            .next()
            .expect("a rule")
            .replace(&host, &format!("{host}/org"))
            .replace("acme+ci", "org+ci");
        home.configure(&format!("{text}{longer}"));
        // Cold, then cached without a plan, then by the plan.
        for round in 0..3 {
            if round == 2 {
                std::thread::sleep(std::time::Duration::from_millis(2100));
                home.get(&host);
            }
            for path in order {
                let ran = home.get(&format!("{host}{path}"));
                let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
                let robot = if path.is_empty() { "acme+ci" } else { "org+ci" };
                assert_eq!(answer["Username"], robot, "{path:?}");
                let claims = quayfed_sandbox::claims_of(&ran.token()).expect("a token");
                assert_eq!(claims["sub"], robot, "{path:?}");
            }
            let ran = home.get(&format!("{host}/organization"));
            assert!(ran.stdout.contains("acme+ci"), "whole segments: {ran:?}");
        }
    }
}

#[test]
fn r3_a_bare_host_with_path_rules_alone_is_not_found() {
    let home = Home::new();
    home.configure(
        &TOML.replace("[registry.\"quay.example.com\"]", "[registry.\"quay.example.com/x\"]"),
    );
    assert!(home.get("quay.example.com").is_not_found());
    assert!(home.get("quay.example.com/other").is_not_found());
}

#[test]
fn r6_a_broken_longer_rule_beside_a_good_shorter_one_fails_alone() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let text = configuration(&sandbox, &home);
    home.configure(&format!(
        "{text}\n[registry.\"{host}/org\"]\nrobot = \"NO\"\nidentity = \"sso\"\n"
    ));
    for round in 0..3 {
        if round == 1 {
            std::thread::sleep(std::time::Duration::from_millis(2100));
        }
        home.get(&host).token();
        assert!(home.get(&format!("{host}/org/repo")).cause().contains("`NO`"));
        assert!(home.get("docker.io").is_not_found());
    }
    let listed = home.run("list", "");
    assert_eq!(listed.stdout, format!("{{\"{host}\":\"acme+ci\"}}\n"));
}

#[test]
fn store_succeeds_for_the_configured_robot_alone_and_stores_nothing() {
    let home = home();
    let store = |server: &str, user: &str| {
        home.run(
            "store",
            &format!(r#"{{"ServerURL":"{server}","Username":"{user}","Secret":"pw"}}"#),
        )
    };
    assert_eq!(store("quay.example.com", "acme+ci"), ran(0, "", ""));
    assert_eq!(store("https://quay.example.com/", "acme+ci"), ran(0, "", ""));
    let other = store("quay.example.com", "alice");
    assert_eq!(other.cause(), "quayfed manages `quay.example.com` as `acme+ci`");
    assert_eq!(
        other.hint(),
        "to log in as `alice`, remove `quay.example.com` from `credHelpers` first"
    );
    let foreign = store("docker.io", "alice");
    assert!(foreign.cause().starts_with("quayfed keeps no credentials"));
    assert!(foreign.hint().contains("`credsStore`"));
    assert!(store("broken.example.com", "alice").cause().contains("`Acme+CI`"));
    assert_eq!(store("", "x"), ran(1, "no credentials server URL\n", ""));
    assert_eq!(store("quay.example.com", ""), ran(1, "no credentials username\n", ""));
    let cached = std::fs::read_dir(home.cache()).expect("a folder").count();
    assert_eq!(cached, 0);
}

#[test]
fn store_refuses_what_is_no_object_and_accepts_a_newline_and_unknown_keys() {
    let home = home();
    for input in ["", "x", "[]", "{\"ServerURL\":7}"] {
        let ran = home.run("store", input);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{input}: {ran:?}");
    }
    let input = "{\"ServerURL\":\"quay.example.com\",\"Username\":\"acme+ci\",\"Secret\":\"s\",\"More\":1}\n";
    assert_eq!(home.run("store", input), ran(0, "", ""));
}

#[test]
fn erase_never_fails_and_is_idempotent() {
    let home = home();
    for input in ["quay.example.com", "docker.io", "", "no server?", "http://quay.example.com\n"] {
        for _ in 0..2 {
            assert_eq!(home.run("erase", input), ran(0, "", ""), "{input:?}");
        }
    }
    home.configure("not = [toml");
    assert_eq!(home.run("erase", "quay.example.com"), ran(0, "", ""));
    assert_eq!(home.run("erase", &"x".repeat(100_000)), ran(0, "", ""));
}

#[test]
fn r17_erase_forgets_the_rule_and_those_beneath_and_no_other() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let text = configuration(&sandbox, &home);
    let rule = text.split("[identity").next().expect("a rule");
    let longer = |path: &str| rule.replace(&host, &format!("{host}{path}"));
    home.configure(&format!("{text}{}{}", longer("/org"), longer("/org/deep")));
    let paths = ["", "/org", "/org/deep"];
    let fill = || paths.map(|path| home.get(&format!("{host}{path}")).token());
    let count = || sandbox.quay().count("/oauth2/federation/robot/token");
    fill();
    assert_eq!(count(), 3);
    for (erased, lost) in [("/org", 2), ("", 3), ("/org/deep/repo", 1), ("/elsewhere", 1)] {
        let before = count();
        assert_eq!(home.run("erase", &format!("{host}{erased}")).code, Some(0));
        fill();
        assert_eq!(count() - before, lost, "{erased}");
    }
}

#[test]
fn r17_erase_forgets_a_token_that_only_another_version_can_read() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    home.get(&host).token();
    let entry = files_ending(&home.cache(), ".token").remove(0);
    let mut bytes = std::fs::read(&entry).expect("an entry");
    bytes[0] ^= 1;
    std::fs::write(&entry, bytes).expect("written");
    let of_others = entry.with_file_name(format!("{}.notes.token", host.replace(':', "_3a")));
    std::fs::write(&of_others, "not ours").expect("written");
    assert_eq!(home.run("erase", &host).code, Some(0));
    assert!(!entry.exists() && of_others.exists());
}

#[test]
fn list_tells_the_bare_hosts_that_can_be_read_without_reading_standard_input() {
    let home = home();
    let wanted = "{\"quay.example.com\":\"acme+ci\",\"quay.example.com:8443\":\"acme+other\"}\n";
    assert_eq!(home.run("list", "unused"), ran(0, wanted, ""));
    // Standard input stays open: list must not wait for its end.
    let mut command = home.helper("list");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let stdin = child.stdin.take();
    let ended = child.wait().expect("an end");
    drop(stdin);
    assert_eq!(ended.code(), Some(0));
    home.configure("not = [toml");
    assert_eq!(home.run("list", ""), ran(0, "{}\n", ""));
}

#[test]
fn version_is_told_in_the_form_of_the_other_helpers() {
    let home = home();
    let wanted = format!("docker-credential-quayfed (quayfed) v{}\n", env!("CARGO_PKG_VERSION"));
    for verb in ["version", "--version", "-v"] {
        assert_eq!(home.run(verb, ""), ran(0, &wanted, ""));
    }
}

#[test]
fn no_verb_is_answered_with_the_usage_and_an_unknown_one_by_its_name() {
    let home = home();
    let none = Ran::from(start(home.command(program()), "").wait_with_output().expect("an end"));
    assert_eq!(none.code, Some(1));
    assert_eq!(
        none.stdout.lines().next(),
        Some("Usage: docker-credential-quayfed <store|get|erase|list|version>")
    );
    assert_eq!(
        home.run("stauts", ""),
        ran(
            1,
            "docker-credential-quayfed: unknown action: stauts\n",
            "docker-credential-quayfed: unknown command `stauts`\nhint: did you mean `status`?\n"
        )
    );
    assert_eq!(home.run("help", "").code, Some(0));
}

#[test]
fn a_verb_with_anything_behind_it_is_answered_with_the_usage_and_told_what_is_wrong() {
    let home = home();
    let usage = Ran::from(start(home.command(program()), "").wait_with_output().expect("an end"));
    for (arguments, cause, hint) in [
        (
            ["get", "quay.example.com"],
            "`get` takes no arguments",
            "the server comes on standard input: \
             `echo quay.example.com | docker-credential-quayfed get`",
        ),
        (
            ["erase", "--json"],
            "`erase` takes no arguments",
            "the server comes on standard input: \
             `echo quay.example.com | docker-credential-quayfed erase`",
        ),
        (
            ["list", "--json"],
            "`list` takes no arguments",
            "`docker-credential-quayfed help list` says how to call it",
        ),
    ] {
        let stderr = format!("docker-credential-quayfed: {cause}\nhint: {hint}\n");
        assert_eq!(with_arguments(&home, arguments), ran(1, &usage.stdout, &stderr));
    }
}

#[test]
fn help_for_what_is_no_command_is_answered_with_the_one_that_was_meant() {
    let home = home();
    for (word, hint) in [
        ("docter", "did you mean `doctor`?"),
        ("nonsense", "`docker-credential-quayfed help` says which there are"),
    ] {
        let stderr = format!("docker-credential-quayfed: unknown command `{word}`\nhint: {hint}\n");
        assert_eq!(with_arguments(&home, ["help", word]), ran(2, "", &stderr));
    }
}

fn with_arguments(home: &Home, arguments: [&str; 2]) -> Ran {
    let mut command = home.helper(arguments[0]);
    command.arg(arguments[1]);
    Ran::from(start(command, "").wait_with_output().expect("an end"))
}

#[test]
fn r26_output_that_cannot_be_written_is_a_failure() {
    let home = home();
    let mut command = home.helper("list");
    command.stdout(std::fs::File::options().write(true).open("/dev/full").expect("/dev/full"));
    assert_eq!(command.status().expect("an end").code(), Some(1));
    // The reader is gone.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = home.helper("list");
    command.stdout(writer);
    assert_eq!(command.status().expect("an end").code(), Some(1));
}

#[test]
fn r42_a_dumb_terminal_sees_no_escape_code_and_an_old_locale_no_sign_of_utf8() {
    let mut home = Home::new();
    home.configure(
        "[registry.\"quay.example.com\"]\nrobot = \"Ä\"\nidentity = \"i\"\n\
         [identity.i]\nsource = \"env\"\nvariable = \"T\"\n",
    );
    home.set("TERM", "xterm");
    home.set("LANG", "C.UTF-8");
    let shown = on_a_terminal(&home, 80, "doctor", "");
    assert!(shown.contains("\u{1b}[31m✗\u{1b}[0m"), "{shown:?}");
    home.set("TERM", "dumb");
    let shown = on_a_terminal(&home, 80, "doctor", "");
    assert!(shown.contains("\n✗ ") && !shown.contains(['\u{1b}', '\r']), "{shown:?}");
    home.set("LANG", "C");
    let shown = on_a_terminal(&home, 80, "doctor", "");
    assert!(shown.contains("\nx ") && shown.is_ascii(), "{shown:?}");
    assert!(shown.contains("\\u{c4}"), "{shown:?}");
    let json = home.command(program()).args(["doctor", "--json"]).output().expect("run");
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(report.to_string().contains('Ä'), "{report}");
}
