//! `status`: its screens, its JSON, its metrics; it only reads.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use quayfed::cache::Cache;
use quayfed::cache::attempt::Taken;
use quayfed::deadline::Deadline;
use quayfed::protocol::Answer;
use quayfed::terminal::Looks;
use quayfed::world::{Clock as _, Environment, World};
use quayfed_sandbox::{Need, Sandbox, TokenShape, lacks};
use serde_json::{Value, json};

use crate::binary::{Home, Ran, SECRET, at_sandbox, program, start, uid};
use crate::screens::{COLOURED, NARROW, PIPED, check, ran, without_colours};
use crate::scripts::{check_described, document};
use crate::simulation::{Does, Host, seconds};

/// Rules of one identity, then it.
fn configuration(registries: &[&str], more: &str) -> String {
    let mut rules = String::new();
    for registry in registries {
        rules.push_str("[registry.\"");
        rules.push_str(registry);
        rules.push_str("\"]\nrobot = \"acme+ci\"\nidentity = \"keycloak\"\n\n");
    }
    rules
        + more
        + "[identity.keycloak]\nsource = \"client-credentials\"\n\
           issuer = \"https://sso.example.com/realms/ci\"\nclient_id = \"build-host\"\n\
           client_secret_file = \"SECRET_FILE\"\n"
}

fn configure(host: &Host, text: &str) {
    host.configure(&text.replace("SECRET_FILE", &host.secret_file().display().to_string()));
}

/// A world without chance: what is drawn is always the same.
fn world(host: &Host) -> World {
    World { random: Box::new(|bytes| bytes.fill(0x80)), ..host.world() }
}

fn get(host: &Host, server: &str) -> Answer {
    host.get_in(&world(host), server)
}

/// A host after an hour, with a token in every state, and a rule in every other.
fn eventful_host() -> Host {
    let host = Host::new();
    let registries =
        ["quay.example.com", "quay.example.com/org", "mirror.example.com", "old.example.com"];
    configure(&host, &configuration(&[&registries[..], &["gone.example.com"]].concat(), ""));
    get(&host, "old.example.com");
    host.clock.pass(seconds(9 * 60));
    get(&host, "quay.example.com/org");
    host.clock.pass(seconds(6 * 60));
    get(&host, "mirror.example.com");
    get(&host, "gone.example.com");
    host.clock.pass(seconds(33 * 60));
    get(&host, "quay.example.com");
    host.clock.pass(seconds(9 * 60 + 40));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    get(&host, "mirror.example.com");
    host.clock.pass(seconds(60));
    get(&host, "mirror.example.com");
    host.clock.pass(seconds(40));
    let broken = "[registry.\"broken.example.com\"]\nrobot = \"Acme+CI\"\nidentity = \"keycloak\"\n\n\
                  [registry.\"ci.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\n\n\
                  [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n\n";
    configure(&host, &configuration(&[&registries[..], &["new.example.com"]].concat(), broken));
    host
}

/// What `status` draws, with the host's folder as a place that every host has.
fn drawn(host: &Host, looks: Looks, arguments: &[&str]) -> (u8, String) {
    let (code, screen) = ran(&world(host), looks, &[&["status"], arguments].concat());
    let screen = screen
        .replace(&host.cache.display().to_string(), "/run/user/1000/quayfed")
        .replace(&host.folder.path().display().to_string(), "~/.config/quayfed");
    (code.expect("no failure"), screen)
}

#[test]
fn what_is_cached_is_a_table() {
    let host = eventful_host();
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 1, "{screen}");
    check("status-eventful", &screen);
    let (_, plain) = drawn(&host, PIPED, &[]);
    assert_eq!(plain, without_colours(&screen));
    check("status-eventful-piped", &plain);
    check("status-eventful-narrow", &drawn(&host, NARROW, &[]).1);
}

#[test]
fn the_screen_of_the_documents_has_a_bit_of_everything() {
    let host = Host::new();
    let registries = ["quay.example.com", "mirror.example.com", "new.example.com"];
    configure(&host, &configuration(&registries, ""));
    get(&host, "mirror.example.com");
    host.clock.pass(seconds(31 * 60));
    get(&host, "quay.example.com");
    host.clock.pass(seconds(11 * 60 + 40));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    get(&host, "mirror.example.com");
    host.clock.pass(seconds(20));
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 1, "{screen}");
    check("status", &screen);
}

#[test]
fn a_quiet_day_has_a_short_screen() {
    let host = Host::new();
    let registries = ["quay.example.com", "mirror.example.com", "new.example.com"];
    configure(&host, &configuration(&registries, ""));
    get(&host, "mirror.example.com");
    host.clock.pass(seconds(31 * 60));
    get(&host, "quay.example.com");
    host.clock.pass(seconds(12 * 60));
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 0, "{screen}");
    check("status-quiet", &screen);
    check("status-quiet-narrow", &drawn(&host, NARROW, &[]).1);
}

#[test]
fn where_nothing_is_configured_the_screen_says_how_to_begin() {
    let host = Host::new();
    host.configure("");
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 0);
    check("status-empty", &screen);
    assert!(!host.cache.exists(), "only reads");
}

/// A world where `QUAYFED_CACHE_DIR` names this path, and the runtime folder serves.
fn with_cache_dir(host: &Host, path: &Path, runtime: &Path) -> World {
    let environment = Environment::of([
        ("QUAYFED_CONFIG", host.configuration.as_path()),
        ("QUAYFED_CACHE_DIR", path),
        ("XDG_RUNTIME_DIR", runtime),
    ]);
    World { environment, ..world(host) }
}

#[test]
fn a_chosen_cache_folder_that_does_not_serve_is_told_with_what_serves_instead() {
    let host = Host::new();
    // As long as the path that takes its place on the screen.
    let runtime = tempfile::Builder::new().prefix("q").rand_bytes(4).tempdir_in("/dev/shm");
    let runtime = runtime.expect("a folder in memory");
    let chosen = runtime.path().join("shared");
    fs::create_dir(&chosen).expect("a folder");
    fs::set_permissions(&chosen, fs::Permissions::from_mode(0o755)).expect("mode set");
    let world = with_cache_dir(&host, &chosen, runtime.path());
    host.get_in(&world, "quay.example.com");
    host.clock.pass(seconds(60));
    let drawn = |looks, arguments: &[&str]| {
        let (code, screen) = ran(&world, looks, &[&["status"], arguments].concat());
        assert_eq!(code.expect("no failure"), 0, "a notice and no failure: {screen}");
        screen.replace(&runtime.path().display().to_string(), "/run/user/1000")
    };
    for (name, looks) in [("", COLOURED), ("-piped", PIPED), ("-narrow", NARROW)] {
        check(&format!("status-cache-in-vain{name}"), &drawn(looks, &[]));
    }
    let report: Value = serde_json::from_str(&drawn(PIPED, &["--json"])).expect("JSON");
    assert_eq!(
        report["cache_notice"],
        json!({
            "cause": "QUAYFED_CACHE_DIR does not serve: `/run/user/1000/shared` has mode 0755, \
                      not 0700; tokens are kept in /run/user/1000/quayfed instead",
            "hint": "make it yours alone (chmod 0700 /run/user/1000/shared), or unset \
                     QUAYFED_CACHE_DIR",
        })
    );
    let metric = format!("\nquayfed_cache_dir_unusable{{uid=\"{}\"}} 1\n", world.caller.uid());
    assert!(drawn(PIPED, &["--metrics"]).contains(&metric));
}

#[test]
fn r22_each_reason_why_a_chosen_cache_folder_does_not_serve_is_told_and_nothing_is_made() {
    let host = Host::new();
    let at = |name: &str| host.folder.path().join(name);
    fs::write(at("file"), "").expect("written");
    fs::create_dir(at("folder")).expect("a folder");
    fs::set_permissions(at("folder"), fs::Permissions::from_mode(0o700)).expect("mode set");
    symlink(at("folder"), at("link")).expect("linked");
    let notice = |path: &Path| {
        let report = json_of(&with_cache_dir(&host, path, &at("")));
        report["cache_notice"]["cause"].as_str().map(|cause| {
            let cause = cause.strip_prefix("QUAYFED_CACHE_DIR does not serve: ").expect(cause);
            let (fault, instead) = cause.rsplit_once("; ").expect(cause);
            let runtime = at("quayfed");
            assert_eq!(instead, format!("tokens are kept in {} instead", runtime.display()));
            assert!(!runtime.exists(), "only reads");
            fault.replace(&host.folder.path().display().to_string(), "/srv")
        })
    };
    for (path, wanted) in [
        (PathBuf::from("cache"), "`cache` is not an absolute path"),
        (at("file"), "`/srv/file` cannot be opened (not a directory)"),
        (at("link"), "`/srv/link` is a symbolic link"),
        (at("not/there"), "`/srv/not/there` does not exist, like its parent folder"),
    ] {
        assert_eq!(notice(&path).as_deref(), Some(wanted));
        let report = json_of(&with_cache_dir(&host, &path, &at("")));
        assert_eq!(
            report["cache_notice"]["hint"],
            "set QUAYFED_CACHE_DIR to the absolute path of a folder of yours (mode 0700), or unset \
             it"
        );
    }
    for serves in [at("folder"), at("to-be-made")] {
        assert_eq!(notice(&serves), None, "{}", serves.display());
        assert!(serves == at("folder") || !serves.exists(), "only reads");
    }
}

#[test]
fn r22_a_chosen_cache_folder_of_somebody_elses_is_told_and_one_that_is_read_only() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let status = |home: &Home| {
        let ran: Ran = home.helper("status").arg("--json").output().expect("run").into();
        let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let cause = report["cache_notice"]["cause"].as_str().expect("a notice").to_owned();
        cause.replace(&home.path("").display().to_string(), "~/")
    };
    home.make_folder("cache", 0o500);
    assert_eq!(
        status(&home),
        "QUAYFED_CACHE_DIR does not serve: `~/cache` cannot be written to (permission denied); \
         nothing is cached"
    );
    home.set("QUAYFED_CACHE_DIR", "/proc");
    home.set("XDG_RUNTIME_DIR", home.path("cache").to_str().expect("text"));
    // What serves instead is this machine's affair.
    let foreign = status(&home);
    let wanted = format!(
        "QUAYFED_CACHE_DIR does not serve: `/proc` belongs to uid 0, not to uid {}; ",
        uid()
    );
    assert!(foreign.starts_with(&wanted), "{foreign}");
    home.set("QUAYFED_CACHE_DIR", "/proc/quayfed");
    assert!(status(&home).contains("does not exist, and its parent folder belongs to uid 0; "));
}

fn json_of(world: &World) -> Value {
    let (_, text) = ran(world, PIPED, &["status", "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn no_line_is_longer_than_the_terminal_is_wide() {
    let host = eventful_host();
    for width in 32..130 {
        let (_, screen) = drawn(&host, Looks { width, ..COLOURED }, &[]);
        // The replaced paths are shorter than the real ones.
        for line in without_colours(&screen).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_token_of_another_bearer_has_a_row_of_its_own() {
    let mut host = Host::new();
    host.configure(
        "[registry.\"quay.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\n\n\
         [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n",
    );
    let now = host.clock.wall().as_secs();
    let token = |subject: &str| crate::simulation::oidc_token(subject, now);
    host.variables = vec![("JOB_TOKEN".to_owned(), token("project:acme/app"))];
    get(&host, "quay.example.com");
    host.variables = vec![("JOB_TOKEN".to_owned(), token("project:acme/web"))];
    check("status-bearers", &drawn(&host, COLOURED, &[]).1);
    host.variables.clear();
    check("status-not-at-hand", &drawn(&host, COLOURED, &[]).1);
}

#[test]
fn a_secret_file_that_a_get_could_not_read_is_told_also_while_a_token_lives() {
    let host = Host::new();
    configure(&host, &configuration(&["quay.example.com", "new.example.com"], ""));
    get(&host, "quay.example.com");
    host.clock.pass(seconds(60));
    fs::remove_file(host.secret_file()).expect("removed");
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 1, "{screen}");
    check("status-no-secret", &screen);
    let not_at_hand = |host: &Host| {
        let report = json_of(&world(host));
        [0, 1].map(|row| report["tokens"][row]["not_at_hand"]["cause"].as_str().map(str::to_owned))
    };
    let missing = format!("the secret file {} does not exist", host.secret_file().display());
    assert_eq!(not_at_hand(&host), [Some(missing.clone()), Some(missing.clone())]);
    host.clock.pass(seconds(60 * 60));
    assert_eq!(not_at_hand(&host), [Some(missing.clone()), Some(missing)], "spent");
    crate::simulation::write_private(&host.secret_file(), "a secret of the build host\n");
    assert_eq!(not_at_hand(&host), [None, None]);
    crate::simulation::write_private(&host.secret_file(), "");
    let empty = not_at_hand(&host)[0].clone().expect("a cause");
    assert!(empty.ends_with("client-secret is empty"), "{empty}");
}

#[test]
fn a_renewal_on_its_way_is_told() {
    let host = Host::new();
    get(&host, "quay.example.com");
    host.clock.pass(seconds(60));
    let world = world(&host);
    let cache = Cache::open(&world).expect("a cache");
    let key = cache.holdings().remove(0).key.expect("a key");
    let deadline = Deadline::after(host.clock.boot(), seconds(25));
    let Taken::Ours(turn) = cache.take_turn(&key, deadline) else { panic!("the lock is free") };
    let is_told = || {
        let (_, text) = drawn(&host, PIPED, &["--json"]);
        assert_eq!(
            drawn(&host, PIPED, &[]).1.contains("being renewed now"),
            text.contains("true,\"last")
        );
        let report: Value = serde_json::from_str(&text).expect("JSON");
        report["tokens"][0]["being_renewed"].as_bool().expect("a truth value")
    };
    assert!(is_told());
    host.clock.pass(seconds(26));
    assert!(!is_told(), "whoever meant to be done by now does not count");
    turn.succeeded();
}

#[test]
fn what_has_changed_since_a_failure_is_told() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    get(&host, "quay.example.com");
    assert_eq!(drawn(&host, PIPED, &[]).0, 1);
    crate::simulation::write_private(&host.secret_file(), "another secret of the build host\n");
    let (code, screen) = drawn(&host, COLOURED, &[]);
    assert_eq!(code, 0, "{screen}");
    check("status-changed-since", &screen);
}

#[test]
fn the_json_is_version_1_and_each_field_is_described() {
    let host = eventful_host();
    let (code, text) = drawn(&host, PIPED, &["--json"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["version"], 1);
    let states: Vec<_> = report["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .map(|token| (token["registry"].as_str().expect("text"), token["state"].as_str()))
        .collect();
    assert_eq!(
        states,
        [
            ("broken.example.com", Some("broken")),
            ("ci.example.com", Some("none")),
            ("mirror.example.com", Some("aging")),
            ("new.example.com", Some("none")),
            ("old.example.com", Some("spent")),
            ("quay.example.com", Some("fresh")),
            ("quay.example.com/org", Some("short")),
            ("gone.example.com", Some("aging")),
        ]
    );
    let mirror = &report["tokens"][2];
    assert_eq!(mirror["last_failure"]["failures"], 2);
    assert_eq!(mirror["last_failure"]["next_try_in_seconds"], 21);
    assert_eq!(mirror["lifetime_seconds"], 3600);
    assert_eq!(report["tokens"][7]["configured"], false);
    check_described("status", &report);
}

#[test]
fn the_metrics_are_those_of_the_cache_whatever_the_configuration_is() {
    let host = eventful_host();
    let (code, text) = drawn(&host, PIPED, &["--metrics"]);
    assert_eq!(code, 0);
    host.configure("this is not TOML");
    let of_the_cache = |text: &str| -> Vec<String> {
        let is_of_rules = |line: &&str| {
            ["quayfed_configuration_", "quayfed_rule_"].iter().any(|it| line.starts_with(it))
        };
        text.lines().filter(|line| !is_of_rules(line)).map(str::to_owned).collect()
    };
    let (code, without_rules) = drawn(&host, PIPED, &["--metrics"]);
    assert_eq!((code, of_the_cache(&without_rules)), (0, of_the_cache(&text)));
    let (code, table) = drawn(&host, PIPED, &[]);
    assert!(code == 1 && table.contains("this is not TOML"), "{table}");
    // Who runs this, seconds since 1970 and digests differ from run to run.
    let uid = format!("uid=\"{}\"", world(&host).caller.uid());
    let mut shown = String::new();
    for line in text.lines() {
        let is_time = line.contains("timestamp_seconds{");
        let line = match line.split_once("entry=\"") {
            None => line.to_owned(),
            Some((before, rest)) => {
                let (_, value) = rest.split_once("\"} ").expect("a value");
                // The retries wait for a time that is not that of a whole second.
                let whole = value.split('.').next().expect("a number");
                let value = if is_time { "TIME" } else { whole };
                format!("{before}entry=\"DIGEST\"}} {value}")
            }
        };
        shown += &(line.replace(&uid, "uid=\"UID\"") + "\n");
    }
    insta::assert_snapshot!(shown);
    let description = document();
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().expect("a name");
        assert!(description.contains(&format!("`{name}`")), "`{name}` is not in docs/scripts.md");
    }
}

#[test]
fn the_metrics_are_such_as_a_strict_reader_takes() {
    let host = eventful_host();
    let (_, text) = drawn(&host, PIPED, &["--metrics"]);
    assert!(text.ends_with('\n'));
    let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, help) = help.strip_prefix("# HELP ").expect(help).split_once(' ').expect(help);
        assert!(families.insert(name) && help.ends_with('.'), "{name} {help}");
        assert_eq!(lines.next(), Some(&*format!("# TYPE {name} gauge")));
        let is_in_base_units = name.ends_with("_seconds")
            || name == "quayfed_renewal_failures"
            || name.ends_with("_unusable");
        assert!(is_in_base_units, "{name}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (of, value) = sample.rsplit_once(' ').expect(sample);
            assert!(of.starts_with(&format!("{name}{{uid=\"")) && of.ends_with("\"}"), "{sample}");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{sample}");
            assert!(series.insert(of), "{of} twice");
        }
    }
}

/// Says what Prometheus's own reader finds in the metrics: name, kind, number of samples.
const READ_BY_PROMETHEUS: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, len(family.samples))
";

#[test]
fn the_metrics_are_read_by_prometheus_itself() {
    let python = |program: &str| {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", program]);
        python
    };
    let library = python("import prometheus_client").output();
    let is_there = library.is_ok_and(|output| output.status.success());
    if lacks(Need::Other("python3-prometheus-client", is_there)) {
        return;
    }
    let (_, text) = drawn(&eventful_host(), PIPED, &["--metrics"]);
    let read = start(python(READ_BY_PROMETHEUS), &text).wait_with_output().expect("an end");
    let ran = Ran::from(read);
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let mut written = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => written.push((family, 0)),
            None if line.starts_with('#') => {}
            None => written.last_mut().expect("a family").1 += 1,
        }
    }
    let written: Vec<_> = written.iter().map(|(family, of)| format!("{family} {of}")).collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), written);
}

#[test]
fn status_changes_nothing_and_shows_no_secret() {
    let host = eventful_host();
    let stamps = || -> BTreeSet<_> {
        fs::read_dir(&host.cache)
            .expect("a folder")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("metadata");
                (entry.file_name(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
            })
            .collect()
    };
    let asked = host.scripted.asked();
    let before = stamps();
    let world = host.world();
    let holdings = Cache::existing(&world).remove(0).holdings();
    let tokens: Vec<&String> = holdings
        .iter()
        .filter_map(|holding| Some(holding.entry.as_ref()?.token.expose()))
        .collect();
    assert_eq!(tokens.len(), 5);
    for arguments in [&[][..], &["--json"], &["--metrics"]] {
        let (_, text) = drawn(&host, COLOURED, arguments);
        assert!(!text.contains("eyJ") && !text.contains("s3cr3t"), "{text}");
        assert!(!tokens.iter().any(|token| text.contains(token.as_str())), "{text}");
    }
    assert_eq!(stamps(), before);
    assert_eq!(host.scripted.asked(), asked);
}

/// What happens to a home in which a pull works.
type Spoil = fn(&Home);

#[test]
fn r47_a_pull_that_would_fail_for_the_configuration_or_its_files_is_told_to_who_watches() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let replaced = |home: &Home, from: &str, to: &str| {
        let text = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("text");
        assert!(text.contains(from), "{from}");
        home.configure(&text.replacen(from, to, 1));
    };
    let spoilt: &[(&str, Spoil)] = &[
        ("no secret file", |home| fs::remove_file(home.path("secret")).expect("gone")),
        ("an empty secret file", |home| drop(home.write("secret", "", 0o600))),
        ("a secret file for everybody", |home| drop(home.write("secret", SECRET, 0o644))),
        ("a secret file for nobody", |home| drop(home.write("secret", SECRET, 0o000))),
        ("no CA file", |home| fs::remove_file(home.path("ca.pem")).expect("gone")),
        ("no CA in the file", |home| drop(home.write("ca.pem", "none", 0o644))),
    ];
    let of = |home: &Home| {
        let json = home.command(program()).args(["status", "--json"]).output().expect("run");
        let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        let metrics = home.command(program()).args(["status", "--metrics"]).output().expect("run");
        assert!(metrics.status.success());
        let text = String::from_utf8(metrics.stdout).expect("text");
        let line = format!("quayfed_rule_unusable{{uid=\"{}\",registry=\"{host}\"}} ", uid());
        let gauge = text.lines().find_map(|it| it.strip_prefix(&line)).expect("a gauge");
        (json.status.code(), report["tokens"][0]["unusable"].clone(), gauge.to_owned())
    };
    let sound = (Some(0), json!(false), "0".to_owned());
    let unusable = (Some(1), json!(true), "1".to_owned());
    for (name, spoil) in spoilt {
        for has_token in [false, true] {
            let home = at_sandbox(&sandbox);
            if has_token {
                home.get(&host).token();
            }
            assert_eq!(of(&home), sound, "{name}");
            spoil(&home);
            assert_eq!(of(&home), unusable, "{name}");
            if !has_token {
                home.get(&host).cause();
            }
        }
    }
    let home = at_sandbox(&sandbox);
    replaced(&home, "acme+ci", "Acme+CI");
    assert_eq!(of(&home), unusable, "a mistake");
    let home = at_sandbox(&sandbox);
    let text = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("text");
    let (rule, _) = text.split_once("[identity.sso]").expect("an identity");
    let token = home.write("token", &sandbox.issuer().mint(&TokenShape::default()), 0o600);
    home.configure(&format!(
        "{rule}[identity.sso]\nsource = \"file\"\npath = \"{}\"\n",
        token.display()
    ));
    assert_eq!(of(&home), sound);
    fs::remove_file(&token).expect("gone");
    assert_eq!(of(&home), unusable, "no token file");
    // A variable is another process's to have.
    home.configure(&format!("{rule}[identity.sso]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n"));
    assert_eq!(of(&home), sound, "a variable that is not set");
    // All of it.
    home.configure("= 1");
    let metrics = home.command(program()).args(["status", "--metrics"]).output().expect("run");
    let text = String::from_utf8(metrics.stdout).expect("text");
    let line = format!("\nquayfed_configuration_unusable{{uid=\"{}\"}} 1\n", uid());
    assert!(text.contains(&line), "{text}");
    let status = home.command(program()).arg("status").status().expect("run");
    assert_eq!(status.code(), Some(1));
}
