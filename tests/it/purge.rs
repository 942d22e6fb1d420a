//! `purge`: it shows, asks, and removes what is ours.

use std::fs;

use quayfed::cache::Cache;
use quayfed::cache::attempt::Taken;
use quayfed::cache::entry::EntryKey;
use quayfed::deadline::Deadline;
use quayfed::server::Server;
use quayfed::terminal::Looks;
use quayfed::world::Clock as _;

use crate::binary::{Home, on_a_terminal};
use crate::screens::{COLOURED, PIPED, check, ran};
use crate::scripts::check_json;
use crate::simulation::{HOST, Host, files_ending, seconds, write_private};

fn drawn(host: &Host, looks: Looks, arguments: &[&str]) -> (Result<u8, String>, String) {
    let (code, screen) = ran(&host.world(), looks, &[&["purge"], arguments].concat());
    let screen = screen.replace(&host.cache.display().to_string(), "/run/user/1000/quayfed");
    (code.map_err(|failure| failure.cause().to_owned()), screen)
}

fn names(host: &Host) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(&host.cache)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_would_go_is_shown_and_without_a_yes_nothing_goes() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(120));
    let before = names(&host);
    let (ended, screen) = drawn(&host, PIPED, &[]);
    let cause = "nothing is removed: standard input is no terminal, so nobody can be asked";
    assert_eq!(ended, Err(cause.to_owned()));
    assert_eq!(names(&host), before);
    check("purge-piped", &screen);
    let (ended, screen) = drawn(&host, COLOURED, &["--yes"]);
    assert_eq!(ended, Ok(0));
    check("purge", &screen);
    assert!(names(&host).is_empty());
    let (ended, screen) = drawn(&host, COLOURED, &["--yes"]);
    assert_eq!((ended, screen.as_str()), (Ok(0), "Nothing is cached.\n"));
    host.token();
}

#[test]
fn a_script_is_told_what_there_is_and_what_was_removed() {
    let host = Host::new();
    host.token();
    let (ended, told) = drawn(&host, COLOURED, &["--json"]);
    assert_eq!(ended, Err("nothing is removed: with `--json` nobody is asked".to_owned()));
    check_json("purge", "json-purge-without-yes", &told);
    let (ended, told) = drawn(&host, PIPED, &["--json", "--yes"]);
    assert_eq!(ended, Ok(0));
    check_json("purge", "json-purge", &told);
    let (ended, told) = drawn(&host, PIPED, &["--json"]);
    assert_eq!((ended, told.as_str()), (Ok(0), "{\"version\":1,\"caches\":[]}\n"));
}

#[test]
fn whether_somebody_can_be_asked_is_told_by_standard_input() {
    const QUESTION: &str = "Remove all of this? [y/N] ";
    const NOBODY: &str = "docker-credential-quayfed: nothing is removed: standard input is no \
                          terminal, so nobody can be asked\nhint: add `--yes` to do it without \
                          asking\n";
    let home = Home::new();
    for (redirections, typed, wanted, stays) in [
        ("</dev/null", "", NOBODY, true),
        ("</dev/null >/dev/null", "", NOBODY, true),
        ("", "n\n", QUESTION, true),
        ("", "\n", "Nothing is removed.\n", true),
        (">/dev/null", "n\n", QUESTION, true),
        (">/dev/null", "yes\n", QUESTION, false),
        ("", "y\n", "removed: 1 temporary file\n", false),
    ] {
        let file = home.write("cache/.tmp-quayfed-0123456789abcdef", "", 0o600);
        let screen = on_a_terminal(&home, 80, &format!("purge {redirections}"), typed);
        assert!(screen.contains(wanted), "{redirections}: {screen}");
        assert_eq!(file.exists(), stays, "{redirections}: {screen}");
    }
}

#[test]
fn r29_files_of_others_stay() {
    const FOLDER: &str = "h.0123456789abcdef0123456789abcdef.quayfed.token";
    let host = Host::new();
    host.token();
    let others = ["poetry.lock", "api.token", "floor.plan", ".tmp-notes", "README"];
    for name in others {
        write_private(&host.cache.join(name), "");
    }
    fs::create_dir(host.cache.join(FOLDER)).expect("a folder");
    write_private(&host.cache.join(".tmp-quayfed-0123456789abcdef"), "");
    let (ended, screen) = drawn(&host, PIPED, &["--yes"]);
    assert_eq!(ended, Ok(0), "{screen}");
    let mut wanted: Vec<_> = others.map(str::to_owned).to_vec();
    wanted.push(FOLDER.to_owned());
    wanted.sort();
    assert_eq!(names(&host), wanted);
}

#[test]
fn r16_what_somebody_is_renewing_stays() {
    let host = Host::new();
    host.token();
    let world = host.world();
    let cache = Cache::open(&world).expect("a cache");
    let settings = quayfed::config::load(&world).expect("a configuration").settings;
    let server = Server::parse(HOST).expect("a server");
    let rule = settings.rule_for(&server).expect("a rule").as_ref().expect("a sound one");
    let deadline = Deadline::after(host.clock.boot(), seconds(25));
    let Taken::Ours(turn) = cache.take_turn(&EntryKey::of(rule, None), deadline) else {
        panic!("the lock is free")
    };
    let room = cache.reserve_entry().expect("room");
    let (ended, screen) = drawn(&host, COLOURED, &["--yes"]);
    assert_eq!(ended, Ok(1));
    check("purge-in-use", &screen);
    assert_eq!(host.entries().len(), 1);
    assert_eq!(names(&host).iter().filter(|name| name.starts_with(".tmp-")).count(), 1);
    drop(room);
    turn.succeeded();
    assert_eq!(drawn(&host, PIPED, &["--yes"]).0, Ok(0));
    assert!(names(&host).is_empty());
}

#[test]
fn every_place_that_may_have_served_is_emptied_unless_one_is_chosen() {
    let host = Host::new();
    let runtime = host.folder.path().join("runtime");
    let shared = host.folder.path().join("shm");
    for folder in [&runtime, &shared] {
        fs::create_dir(folder).expect("a folder");
    }
    let world_with = |variable: Option<&str>| {
        let mut world = host.world();
        let configuration = host.configuration.display().to_string();
        let mut variables = vec![("QUAYFED_CONFIG", configuration)];
        variables.extend(variable.map(|name| (name, runtime.display().to_string())));
        world.environment = quayfed::world::Environment::of(variables);
        world
    };
    let uid = rustix::process::geteuid().as_raw();
    let (one, other) = (runtime.join("quayfed"), shared.join(format!("quayfed-{uid}")));
    for variable in [Some("XDG_RUNTIME_DIR"), None] {
        host.get_in(&world_with(variable), HOST);
    }
    assert_eq!(files_ending(&one, ".token").len(), 1);
    assert_eq!(files_ending(&other, ".token").len(), 1);
    let (ended, _) = ran(&world_with(Some("XDG_RUNTIME_DIR")), PIPED, &["purge", "--yes"]);
    assert_eq!(ended, Ok(0));
    assert!(files_ending(&one, ".token").is_empty() && files_ending(&other, ".token").is_empty());
}
