//! `refresh`: what is due, what is not, what has just failed, and several at once.

use std::time::{Duration, Instant};

use quayfed::cache::Cache;
use quayfed::cache::attempt::Taken;
use quayfed::cache::entry::EntryKey;
use quayfed::config::settings::Rule;
use quayfed::deadline::Deadline;
use quayfed::robot_token::{self, NotRenewed, Renew, Renewal};
use quayfed::server::Server;
use quayfed::world::Clock as _;
use quayfed_sandbox::{EXCHANGE_PATH, Fault, Sandbox, Times};

use crate::binary::{Home, Ran, at_sandbox, configuration, on_a_terminal};
use crate::screens::check;
use crate::scripts::check_described;
use crate::simulation::{Does, HOST, Host, seconds};

const HOUR: Duration = Duration::from_hours(1);

fn rule(host: &Host) -> Rule {
    let settings = quayfed::config::load(&host.world()).expect("a configuration").settings;
    let server = Server::parse(HOST).expect("a server");
    settings.rule_for(&server).expect("a rule").as_ref().expect("a sound one").clone()
}

fn renew(host: &Host, when: Renew) -> Result<Renewal, NotRenewed> {
    let (world, rule) = (host.world(), rule(host));
    let cache = Cache::open(&world).expect("a cache");
    let deadline = Deadline::after(host.clock.boot(), rule.deadline);
    robot_token::renew(&world, &host.scripted, &cache, &rule, deadline, when)
}

#[test]
fn a_token_is_renewed_once_it_is_due() {
    let host = Host::new();
    assert_eq!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(HOUR)), "none is cached");
    let first = host.token();
    host.clock.pass(seconds(29 * 60));
    let left = seconds(31 * 60);
    assert!(
        matches!(renew(&host, Renew::IfDue), Ok(Renewal::NotDue { left: it, .. }) if it == left)
    );
    assert_eq!(host.scripted.asked(), (1, 1));
    host.clock.pass(seconds(13 * 60 + 30));
    assert_eq!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(HOUR)), "Aging");
    assert_ne!(host.token(), first);
    host.clock.pass(seconds(46 * 60));
    assert_eq!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(HOUR)), "Short");
    host.clock.pass(seconds(60 * 60));
    assert_eq!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(HOUR)), "Spent");
    assert_eq!(host.scripted.asked(), (4, 4));
}

#[test]
fn force_renews_what_is_not_due() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(seconds(60));
    assert_eq!(renew(&host, Renew::Always), Ok(Renewal::Renewed(HOUR)));
    assert_ne!(host.token(), first);
    assert_eq!(host.scripted.asked(), (2, 2));
}

#[test]
fn r15_what_has_just_failed_is_not_tried_again_but_by_force() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(46 * 60));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    let failed = renew(&host, Renew::IfDue).expect_err("unreachable");
    assert!(failed.was_asked, "{failed:?}");
    assert!(failed.living.is_some_and(|left| left > seconds(13 * 60)), "{failed:?}");
    host.clock.pass(seconds(1));
    let asked = host.scripted.asked();
    let failed = renew(&host, Renew::IfDue).expect_err("barred");
    assert!(!failed.was_asked, "{failed:?}");
    assert_eq!(host.scripted.asked(), asked);
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    assert!(renew(&host, Renew::IfDue).is_err(), "still barred");
    assert_eq!(renew(&host, Renew::Always), Ok(Renewal::Renewed(HOUR)));
    assert!(matches!(renew(&host, Renew::IfDue), Ok(Renewal::NotDue { .. })));
}

#[test]
fn r15_a_refresh_has_more_time_than_the_early_try_of_a_get() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(43 * 60));
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(9));
    host.token();
    assert_eq!(host.scripted.asked(), (2, 2), "the get ran out of its 5 s");
    assert!(matches!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(_))));
}

#[test]
fn r16_whoever_is_asking_already_is_waited_for_even_by_force() {
    for when in [Renew::IfDue, Renew::Always] {
        let host = Host::new();
        host.token();
        host.clock.pass(seconds(46 * 60));
        let (world, rule) = (host.world(), rule(&host));
        let cache = Cache::open(&world).expect("a cache");
        let deadline = Deadline::after(host.clock.boot(), seconds(60));
        let Taken::Ours(turn) = cache.take_turn(&EntryKey::of(&rule, None), deadline) else {
            panic!("the lock is free")
        };
        let left = renew(&host, when).expect("no failure");
        assert_eq!(left, Renewal::LeftToOthers(seconds(14 * 60 - 24)));
        assert_eq!(host.scripted.asked(), (1, 1));
        turn.succeeded();
    }
}

#[test]
fn r14_a_robot_that_quay_does_not_know_loses_its_token() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(60));
    let said = r#"{"message":"Could not find robot with specified username"}"#;
    *host.scripted.quay.borrow_mut() = Does::Refuse(400, said.to_owned(), None);
    let failed = renew(&host, Renew::Always).expect_err("refused");
    assert_eq!(failed.living, None, "{failed:?}");
    assert!(host.entries().is_empty());
}

#[test]
fn r17_a_token_that_could_not_be_kept_is_not_renewed() {
    let host = Host::new();
    let cache = host.cache.clone();
    *host.scripted.meanwhile.borrow_mut() = Some(Box::new(move || {
        for entry in std::fs::read_dir(&cache).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().contains(".tmp-") {
                std::fs::remove_file(path).expect("removed");
            }
        }
    }));
    let failed = renew(&host, Renew::IfDue).expect_err("its file is gone");
    assert_eq!(
        failed.failure.cause(),
        "the new token of `acme+ci` for `quay.example.com` could not be written into the cache"
    );
    assert!(matches!(renew(&host, Renew::IfDue), Ok(Renewal::Renewed(_))));
}

/// A home with rules for the sandbox's Quay and for paths at it: each has a token of its own.
fn home_with_paths(sandbox: &Sandbox, paths: &[&str]) -> Home {
    let home = at_sandbox(sandbox);
    let text = configuration(sandbox, &home);
    let host = sandbox.quay().host();
    let rule = text.split("[identity").next().expect("a rule");
    let rules: String = paths
        .iter()
        .map(|path| {
            let keys = format!("api_url = \"{}\"\nrobot =", sandbox.quay().url());
            rule.replace(&host, &format!("{host}/{path}")).replacen("robot =", &keys, 1)
        })
        .collect();
    home.configure(&(text.clone() + &rules));
    home
}

fn refresh(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.helper("refresh");
    command.args(arguments).output().expect("run").into()
}

fn exchanges(sandbox: &Sandbox) -> usize {
    sandbox.quay().count(EXCHANGE_PATH)
}

/// A screen with the sandbox's host as one that every run has, as long as the real one.
fn normalized(text: &str, sandbox: &Sandbox) -> String {
    let host = sandbox.quay().host();
    let name = format!("{:x<1$}", "quay", host.len());
    let issuer = sandbox.issuer().url();
    let issuer_name = format!("https://{:x<1$}", "sso", issuer.len() - "https://".len());
    text.replace(&issuer, &issuer_name).replace(&host, &name)
}

#[test]
fn all_that_is_due_is_renewed_and_then_nothing_is() {
    let sandbox = Sandbox::start();
    let home = home_with_paths(&sandbox, &["one", "two"]);
    let ran = refresh(&home, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    check("refresh-piped", &normalized(&ran.stdout, &sandbox));
    assert_eq!(exchanges(&sandbox), 3);
    let ran = refresh(&home, &["--system"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(exchanges(&sandbox), 3);
    let path = format!("{}/one/app", sandbox.quay().host());
    assert_eq!(refresh(&home, &["--force", &path]).code, Some(0));
    assert_eq!(exchanges(&sandbox), 4, "the one that is named");
    assert_eq!(refresh(&home, &["--all", "--force"]).code, Some(0));
    assert_eq!(exchanges(&sandbox), 7);
    let ran = refresh(&home, &["other.example.com"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("`other.example.com` is under none of the"), "{ran:?}");
}

#[test]
fn several_are_renewed_at_a_time_and_no_more_than_are_allowed() {
    let sandbox = Sandbox::start();
    let home = home_with_paths(&sandbox, &["one", "two", "three"]);
    let delay = Duration::from_secs(3);
    sandbox.quay().fault(EXCHANGE_PATH, Fault::Delay(delay), Times::Always);
    for (jobs, at_least, at_most) in [("4", delay, delay * 4), ("1", delay * 4, delay * 20)] {
        let began = Instant::now();
        assert_eq!(refresh(&home, &["--force", "--jobs", jobs]).code, Some(0));
        let took = began.elapsed();
        assert!(took >= at_least && took < at_most, "{jobs}: {took:?}");
    }
}

#[test]
fn a_failure_is_told_to_a_timer_and_what_is_of_elsewhere_is_passed_over() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let job = "[registry.\"ci.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\n\n\
               [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n\n";
    home.configure(&(configuration(&sandbox, &home) + job));
    let ran = refresh(&home, &["--system"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(refresh(&home, &["ci.example.com"]).code, Some(1), "it was named");
    sandbox.quay().clear_federation("acme+ci");
    let ran = refresh(&home, &["--force"]);
    assert_eq!(ran.code, Some(1));
    check("refresh-failed-piped", &normalized(&ran.stdout, &sandbox));
    let broken = "[registry.\"broken.example.com\"]\nrobot = \"Acme+CI\"\nidentity = \"job\"\n";
    let of_quay = configuration(&sandbox, &home);
    let mistake = broken.replace("broken", "another");
    home.configure(&(of_quay + job + broken + &mistake));
    let summary = |ran: &Ran| ran.stdout.lines().last().map(str::to_owned);
    let ran = refresh(&home, &[]);
    assert_eq!(
        summary(&ran).as_deref(),
        Some("4 rules: 2 left as they are, 2 with a mistake"),
        "{ran:?}"
    );
    std::fs::remove_dir_all(home.cache()).expect("removed");
    home.make_folder("cache", 0o700);
    assert_eq!(
        summary(&refresh(&home, &[])).as_deref(),
        Some("4 rules: 1 left as it is, 1 failed, 2 with a mistake")
    );
    assert_eq!(
        summary(&refresh(&home, &[])).as_deref(),
        Some("4 rules: 1 left as it is, 1 not tried, 2 with a mistake")
    );
    home.configure(&(job.to_owned() + broken));
    let ran = refresh(&home, &["--system"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("broken.example.com"), "{ran:?}");
    home.configure("");
    let ran = refresh(&home, &["--system"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn r33_what_a_file_has_that_cannot_be_used_is_not_renewed_and_the_rest_is() {
    let sandbox = Sandbox::start();
    let mut home = home_with_paths(&sandbox, &[]);
    let host = sandbox.quay().host();
    let good = std::fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("text");
    home.configure("[registry.\"broken.example.com\"]\nnot TOML");
    let file = home.path(".config/quayfed/config.toml").display().to_string();
    let ran = refresh(&home, &["--system"]);
    assert!(ran.code == Some(1) && ran.stderr.contains(&format!("{file}:2: ")), "{ran:?}");
    // Beside a rule of variables, which is no file's.
    assert!(good.contains(&host));
    home.set("QUAYFED_REGISTRY", &host);
    home.set("QUAYFED_ROBOT", "acme+ci");
    home.set("QUAYFED_CA_FILE", home.path("ca.pem").to_str().expect("text"));
    home.set("QUAYFED_ISSUER", sandbox.issuer().url());
    home.set("QUAYFED_CLIENT_ID", crate::binary::CLIENT);
    home.set("QUAYFED_CLIENT_SECRET", crate::binary::SECRET);
    let ran = refresh(&home, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("renewed") && ran.stdout.contains(&format!("{file}:2: ")),
        "{ran:?}"
    );
}

#[test]
fn a_script_is_told_how_it_went_with_each_rule() {
    let sandbox = Sandbox::start();
    let home = home_with_paths(&sandbox, &["one"]);
    let rules = "\n[registry.\"ci.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\n\n\
                 [registry.\"broken.example.com\"]\nrobot = \"Acme+CI\"\nidentity = \"job\"\n\n\
                 [identity.job]\nsource = \"env\"\nvariable = \"JOB_TOKEN\"\n";
    let host = sandbox.quay().host();
    assert_eq!(refresh(&home, &[&format!("{host}/one")]).code, Some(0));
    let path = home.path(".config/quayfed/config.toml");
    home.configure(&(std::fs::read_to_string(path).expect("text") + rules));
    let folder = home.path("").display().to_string();
    let told = |arguments: &[&str]| {
        let ran = refresh(&home, &[&["--json"], arguments].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
        let told = normalized(&ran.stdout, &sandbox).replace(&folder, "/home/ci/");
        // What is left depends on how fast this is.
        ["left", "due_in"].iter().fold(told, |told, what| {
            let name = format!("\"{what}_seconds\":");
            let mut pieces = told.split(&name);
            let first = pieces.next().expect("a piece").to_owned();
            pieces.fold(first, |told, piece| {
                let number = piece.trim_start_matches(|letter: char| letter.is_ascii_digit());
                told + &name + if number == piece { "" } else { "SECONDS" } + number
            })
        })
    };
    let first = told(&[]);
    sandbox.quay().clear_federation("acme+ci");
    let second = told(&["--force"]);
    for (name, told) in [("json-refresh", first), ("json-refresh-failed", second)] {
        check(name, &told);
        check_described(
            "refresh",
            &serde_json::from_str(&told.replace("SECONDS", "1")).expect("JSON"),
        );
    }
    home.configure("");
    assert_eq!(
        refresh(&home, &["--json"]).stdout,
        "{\"version\":1,\"rules\":[],\"unusable_files\":[]}\n"
    );
}

#[test]
fn on_a_terminal_it_has_colours_and_fits() {
    let sandbox = Sandbox::start();
    let home = home_with_paths(&sandbox, &["one"]);
    let screen = on_a_terminal(&home, 80, "refresh", "");
    check("refresh", &normalized(&screen, &sandbox));
    sandbox.quay().clear_federation("acme+ci");
    on_a_terminal(&home, 80, "refresh --force", "");
    let screen = on_a_terminal(&home, 48, "refresh --force", "");
    check("refresh-failed-narrow", &normalized(&screen, &sandbox));
}
