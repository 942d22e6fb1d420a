//! The life of a robot token, R12 to R18, on simulated clocks.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::time::Duration;

use quayfed::cache::Cache;
use quayfed::config::settings::Connection;
use quayfed::http::{Request, Response, Transport, TransportError};
use quayfed::protocol::Answer;
use quayfed::world::Clock as _;
use url::Url;

use crate::binary::folder_on_disk;
use crate::simulation::{
    CLIENT_CREDENTIALS, Does, HOST, Host, Scripted, SimulatedClock, failure, files_ending,
    oidc_token, seconds, token, write_private,
};

fn minutes(minutes: u64) -> Duration {
    seconds(60 * minutes)
}

#[test]
fn r12_a_token_is_answered_from_the_cache_until_it_is_due_and_renewed_before_it_ends() {
    let host = Host::new();
    let first = host.token();
    assert_eq!(host.scripted.asked(), (1, 1));
    host.clock.pass(minutes(29));
    assert_eq!(host.token(), first, "no hour is renewed before 50 % of it");
    assert_eq!(host.scripted.asked(), (1, 1));
    host.clock.pass(minutes(14));
    let second = host.token();
    assert_ne!(second, first, "every hour is renewed by 70 % of it");
    assert_eq!(host.scripted.asked(), (2, 2));
}

#[test]
fn r12_an_aging_token_is_answered_when_renewing_fails_and_the_user_hears_nothing() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(43));
    *host.scripted.quay.borrow_mut() = Does::Unreachable;
    let answer = host.get();
    assert_eq!(token(&answer), first);
    assert_eq!(answer.stderr().as_str(), "");
}

#[test]
fn r12_an_aging_token_is_worth_five_seconds_and_no_more() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(43));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(3600));
    let began = host.clock.boot();
    assert_eq!(host.token(), first);
    let took = host.clock.boot() - began;
    assert!(took <= seconds(5), "{took:?}");
}

#[test]
fn r12_a_short_token_is_worth_the_deadline_and_is_answered_if_that_fails() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(50));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(7));
    assert_ne!(host.token(), first, "seven seconds are too long for Aging, not for Short");
    host.clock.pass(minutes(50));
    let second = host.token();
    host.clock.pass(minutes(50));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    assert_eq!(host.token(), second);
}

#[test]
fn r12_a_spent_token_is_never_answered() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(3541));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    let cause = failure(&host.get());
    assert!(cause.contains("connection refused"), "{cause}");
}

#[test]
fn r12_min_validity_says_when_a_token_is_short() {
    let text = CLIENT_CREDENTIALS.replace("robot =", "min_validity = \"50m\"\nrobot =");
    let host = Host::with(&text, SimulatedClock::new());
    let first = host.token();
    host.clock.pass(minutes(11));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(6));
    assert_ne!(host.token(), first, "Short from 50 minutes left: the whole deadline is its");
}

#[test]
fn r12_a_token_of_any_life_is_used_to_its_measure() {
    for life in [20, 60, 300, 900, 7200, 86_400, 1_000_000] {
        let host = Host::new();
        host.scripted.robot_token_life.set(life);
        let first = host.token();
        host.clock.pass(seconds(life.min(86_400) * 45 / 100));
        assert_eq!(host.token(), first, "{life}: still Fresh");
        host.clock.pass(seconds(life.min(86_400) / 2));
        assert_ne!(host.token(), first, "{life}: long due");
    }
}

#[test]
fn r12_a_fleet_does_not_refresh_in_step() {
    // A thousand hosts get their first token in the same second and ask every half minute.
    let clock = SimulatedClock::new();
    let hosts: Vec<Host> =
        (0..1000).map(|_| Host::with(CLIENT_CREDENTIALS, clock.clone())).collect();
    for host in &hosts {
        host.token();
    }
    let mut refreshes = Vec::new();
    let mut before = 1000;
    for _ in 0..90 {
        clock.pass(seconds(30));
        for host in &hosts {
            host.token();
        }
        let asked: usize = hosts.iter().map(|host| host.scripted.asked().1).sum();
        refreshes.push(asked - before);
        before = asked;
    }
    let busiest = *refreshes.iter().max().expect("some");
    assert_eq!(refreshes.iter().sum::<usize>(), 1000, "each once within 45 minutes");
    // Spread evenly over 12 minutes, half a minute sees 42; in step it would see 1000.
    assert!(busiest < 90, "{busiest} of 1000 within half a minute: {refreshes:?}");
}

#[test]
fn r13_a_clock_that_went_back_ends_a_token_and_one_that_jumped_ahead_does_too() {
    for (wall, boot) in [(-6, 0), (0, -6), (3600, 0), (0, 3600)] {
        let host = Host::new();
        let first = host.token();
        host.clock.set_wall(wall);
        host.clock.set_boot(boot);
        assert_ne!(host.token(), first, "{wall} {boot}");
    }
    let host = Host::new();
    let first = host.token();
    host.clock.set_wall(-4);
    assert_eq!(host.token(), first, "five seconds are within what clocks may differ");
}

#[test]
fn r13_the_end_is_reckoned_from_before_the_request() {
    let host = Host::new();
    host.scripted.robot_token_life.set(100);
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(14));
    let first = host.token();
    // 100 s from before the 14 s of the request: Spent (10 s left) after 76 more.
    host.clock.pass(seconds(77));
    *host.scripted.quay.borrow_mut() = Does::Unreachable;
    failure(&host.get());
    assert!(!first.is_empty());
}

#[test]
fn r13_a_token_that_is_spent_on_arrival_is_no_answer() {
    let host = Host::new();
    host.scripted.robot_token_life.set(10);
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(12));
    assert!(failure(&host.get()).contains("was spent before it could be used"));
}

#[test]
fn r13_another_boot_ends_a_token_where_the_cache_outlives_it() {
    let mut host = Host::new();
    let Some(disk) = folder_on_disk() else { return };
    host.cache = disk.path().to_owned();
    write_private(&host.folder.path().join("boot_id"), "first-boot\n");
    let first = host.token();
    assert_eq!(host.token(), first);
    write_private(&host.folder.path().join("boot_id"), "second-boot\n");
    let second = host.token();
    assert_ne!(second, first);
    fs::remove_file(host.folder.path().join("boot_id")).expect("removed");
    assert_ne!(host.token(), second, "without a boot id nothing on disk is believed");
}

#[test]
fn r14_when_quay_does_not_know_the_robot_the_entry_is_dropped() {
    let host = Host::new();
    host.token();
    host.clock.pass(minutes(43));
    let body = r#"{"message":"Could not find robot with specified username"}"#;
    *host.scripted.quay.borrow_mut() = Does::Refuse(400, body.to_owned(), None);
    let cause = failure(&host.get());
    assert!(cause.contains("acme+ci"), "{cause}");
    assert!(host.entries().is_empty());
}

#[test]
fn r14_after_any_other_refusal_what_lives_is_served_until_it_is_spent() {
    let host = Host::new();
    let first = host.token();
    let body = r#"{"message":"Robot does not have federated login configured"}"#;
    *host.scripted.quay.borrow_mut() = Does::Refuse(400, body.to_owned(), None);
    for minute in [43, 50, 58] {
        host.clock.pass(minutes(minute).saturating_sub(elapsed(&host)));
        assert_eq!(host.token(), first, "minute {minute}");
    }
    host.clock.pass(minutes(2));
    failure(&host.get());
}

fn elapsed(host: &Host) -> Duration {
    let world = host.world();
    let holdings = Cache::existing(&world).remove(0).holdings();
    let entry = holdings[0].entry.as_ref().expect("an entry");
    host.clock.boot() - entry.obtained.boot()
}

#[test]
fn r15_a_failure_bars_the_next_try_and_a_spent_token_waits_ten_seconds_at_most() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Refuse(429, "{}".to_owned(), Some("3000".into()));
    let cause = failure(&host.get());
    assert_eq!(host.scripted.asked(), (1, 0));
    host.clock.pass(seconds(9));
    assert_eq!(failure(&host.get()), cause, "the same failure, told again");
    assert_eq!(host.scripted.asked(), (1, 0), "and nobody was asked");
    host.clock.pass(seconds(2));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.token();
}

#[test]
fn r15_with_a_living_token_retry_after_is_obeyed() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(43));
    *host.scripted.provider.borrow_mut() = Does::Refuse(429, "{}".to_owned(), Some("240".into()));
    assert_eq!(host.token(), first);
    assert_eq!(host.scripted.asked(), (2, 1));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.clock.pass(seconds(230));
    assert_eq!(host.token(), first);
    assert_eq!(host.scripted.asked(), (2, 1));
    host.clock.pass(seconds(11));
    assert_ne!(host.token(), first);
}

#[test]
fn r15_failures_in_a_row_are_tried_more_and_more_rarely() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(43));
    *host.scripted.provider.borrow_mut() = Does::Refuse(401, "{}".to_owned(), None);
    for _ in 0..15 * 60 {
        assert_eq!(host.token(), first);
        host.clock.pass(seconds(1));
    }
    let tries = host.scripted.asked().0 - 1;
    assert!((2..=8).contains(&tries), "{tries} tries in a quarter of an hour");
}

#[test]
fn r15_a_mended_secret_shows_at_once() {
    let host = Host::new();
    let body = r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#;
    *host.scripted.provider.borrow_mut() = Does::Refuse(401, body.to_owned(), None);
    failure(&host.get());
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, 1);
    write_private(&host.secret_file(), "the-right-secret\n");
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.token();
}

#[test]
fn r15_an_unrelated_edit_keeps_the_record_and_a_related_one_drops_it() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Refuse(401, "{}".to_owned(), None);
    failure(&host.get());
    let text = fs::read_to_string(&host.configuration).expect("a file");
    let other =
        "\n[registry.\"other.example.com\"]\nrobot = \"acme+other\"\nidentity = \"keycloak\"\n";
    host.configure(&format!("# a comment\n{text}{other}"));
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, 1, "an unrelated edit changes nothing");
    host.configure(&text.replace("robot =", "exchange_timeout = \"14s\"\nrobot ="));
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, 2, "another setting of the rule is another try");
}

#[test]
fn r15_proxy_variables_are_part_of_what_failed() {
    let mut host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    failure(&host.get());
    let asked = host.scripted.asked().0;
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, asked);
    host.variables.push(("HTTPS_PROXY".into(), "http://proxy.example.com:3128".into()));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.token();
}

#[test]
fn r15_a_local_mistake_is_not_remembered() {
    let host = Host::new();
    fs::remove_file(host.secret_file()).expect("removed");
    failure(&host.get());
    let lock = files_ending(&host.cache, ".lock").remove(0);
    assert_eq!(fs::read(lock).expect("a lock file"), b"", "it costs nobody anything");
    write_private(&host.secret_file(), "s3cr3t\n");
    host.token();
}

#[test]
fn r15_a_local_mistake_after_the_provider_was_asked_is_remembered() {
    let host = Host::with(CLIENT_CREDENTIALS, SimulatedClock::new());
    host.scripted.oidc_token_length.set(7000);
    for _ in 0..3 {
        assert!(failure(&host.get()).contains("too long"));
    }
    assert_eq!(host.scripted.asked(), (1, 0), "the provider is not asked again and again");
}

#[test]
fn r15_a_new_token_in_a_variable_is_tried_at_once() {
    let mut host = Host::with(FROM_VARIABLE, SimulatedClock::new());
    let now = host.clock.wall().as_secs();
    let body = r#"{"message":"Invalid token: Signature has expired"}"#;
    *host.scripted.quay.borrow_mut() = Does::Refuse(400, body.to_owned(), None);
    host.variables = vec![("JOB_TOKEN".into(), oidc_token("one", now - 7200))];
    failure(&host.get());
    failure(&host.get());
    assert_eq!(host.scripted.asked(), (0, 1));
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(0));
    host.variables = vec![("JOB_TOKEN".into(), oidc_token("one", now))];
    host.token();
}

#[test]
fn r15_a_mistake_that_is_mended_during_the_request_is_not_remembered_as_the_mended_one() {
    let host = Host::new();
    let body = r#"{"message":"Robot does not have federated login configured"}"#;
    *host.scripted.quay.borrow_mut() = Does::Refuse(400, body.to_owned(), None);
    let secret = host.secret_file();
    *host.scripted.meanwhile.borrow_mut() =
        Some(Box::new(move || write_private(&secret, "the-right-secret\n")));
    failure(&host.get());
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(0));
    host.token();
}

#[test]
fn r15_a_time_out_of_a_try_that_had_little_time_left_says_nothing_to_the_next() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(3));
    let world = host.world();
    // This one has waited for 23 of its 25 seconds.
    let began = host.clock.boot() - seconds(23);
    let transport = || Box::new(host.scripted.clone()) as Box<dyn Transport>;
    let answer = quayfed::helper::get(&world, transport, HOST, began);
    assert!(failure(&answer).contains("no answer"), "{answer:?}");
    host.token();
}

#[test]
fn r15_a_changed_ca_is_another_try() {
    let mut host = Host::new();
    let bundle = host.folder.path().join("bundle.pem");
    write_private(&bundle, "one");
    host.variables.push(("SSL_CERT_FILE".into(), bundle.display().to_string()));
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    failure(&host.get());
    let asked = host.scripted.asked().0;
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, asked);
    write_private(&bundle, "two");
    failure(&host.get());
    assert!(host.scripted.asked().0 > asked);
    // The same for the `ca_file` of a connection.
    let ca = host.folder.path().join("ca.pem");
    write_private(&ca, "one");
    let text = fs::read_to_string(&host.configuration).expect("a file");
    host.configure(&text.replace("robot =", &format!("ca_file = \"{}\"\nrobot =", ca.display())));
    failure(&host.get());
    let asked = host.scripted.asked().0;
    failure(&host.get());
    assert_eq!(host.scripted.asked().0, asked);
    write_private(&ca, "two");
    failure(&host.get());
    assert!(host.scripted.asked().0 > asked);
}

#[test]
fn r15_the_bar_is_an_eighth_of_the_tokens_own_life() {
    let host = Host::new();
    host.scripted.robot_token_life.set(160);
    let first = host.token();
    host.clock.pass(seconds(115));
    *host.scripted.provider.borrow_mut() = Does::Refuse(401, "{}".to_owned(), None);
    assert_eq!(host.token(), first);
    let asked = host.scripted.asked().0;
    host.clock.pass(seconds(14));
    assert_eq!(host.token(), first);
    assert_eq!(host.scripted.asked().0, asked, "barred");
    host.clock.pass(seconds(7));
    assert_eq!(host.token(), first);
    assert!(host.scripted.asked().0 > asked, "160 s / 8 have passed");
}

/// What a second `get` on the same cache finds in the middle of the first one's request.
fn second_get_during_the_first(
    host: &Host,
    with: impl FnOnce(&Host, Answer) + 'static,
) -> Rc<Host> {
    let other = Rc::new(Host::with(CLIENT_CREDENTIALS, host.clock.clone()));
    let (cache, configuration) = (host.cache.clone(), host.configuration.clone());
    let second = Rc::clone(&other);
    *host.scripted.meanwhile.borrow_mut() = Some(Box::new(move || {
        let mut world = second.world();
        world.environment = quayfed::world::Environment::of([
            ("QUAYFED_CONFIG", configuration.into_os_string()),
            ("QUAYFED_CACHE_DIR", cache.into_os_string()),
        ]);
        let answer = second.get_in(&world, HOST);
        with(&second, answer);
    }));
    other
}

#[test]
fn r12_an_aging_token_is_answered_without_waiting_for_whoever_renews_it() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(minutes(43));
    let seen = Rc::new(Cell::new(None));
    let tell = Rc::clone(&seen);
    let clock = host.clock.clone();
    let began = clock.boot();
    let other = second_get_during_the_first(&host, move |_, answer| {
        tell.set(Some((token(&answer), clock.boot() - began)));
    });
    host.token();
    assert_eq!(seen.take(), Some((first, seconds(0))));
    assert_eq!(other.scripted.asked(), (0, 0));
}

/// A host whose gets have less time than an exchange: no holder is overdue before they end.
fn with_ten_seconds() -> Host {
    let text = CLIENT_CREDENTIALS.replace("robot =", "deadline = \"10s\"\nrobot =");
    Host::with(&text, SimulatedClock::new())
}

#[test]
fn r16_a_holder_that_wakes_late_undoes_nothing_of_what_its_successor_did() {
    let refusal = |text: &str| Does::Refuse(400, format!(r#"{{"message":"{text}"}}"#), None);
    for (what, late) in [
        ("a token", Does::Well(seconds(0))),
        ("a robot that is not known", refusal("Could not find robot with specified username")),
        ("a refusal", refusal("Robot does not have federated login configured")),
        ("a busy Quay", Does::Refuse(429, String::new(), Some("3000".to_owned()))),
        ("no time", Does::Well(seconds(3600))),
        ("no connection", Does::Unreachable),
    ] {
        // Cold, and with a token that is due.
        for minutes_before in [None, Some(43), Some(50)] {
            let host = Host::new();
            if let Some(before) = minutes_before {
                host.token();
                host.clock.pass(minutes(before));
            }
            *host.scripted.quay.borrow_mut() = late.clone();
            let seen = Rc::new(Cell::new(None));
            let (tell, clock) = (Rc::clone(&seen), host.clock.clone());
            let other = Rc::new(Host::with(CLIENT_CREDENTIALS, host.clock.clone()));
            let (cache, configuration) = (host.cache.clone(), host.configuration.clone());
            let second = Rc::clone(&other);
            *host.scripted.meanwhile.borrow_mut() = Some(Box::new(move || {
                // The holder is stopped for longer than it said that it would take.
                clock.pass(seconds(16));
                let mut world = second.world();
                world.environment = quayfed::world::Environment::of([
                    ("QUAYFED_CONFIG", configuration.into_os_string()),
                    ("QUAYFED_CACHE_DIR", cache.clone().into_os_string()),
                ]);
                let began = clock.boot();
                let got = token(&second.get_in(&world, HOST));
                let took = clock.boot() - began;
                assert!(took < seconds(1), "the place is taken at once: {took:?}");
                let entry = fs::read(&files_ending(&cache, ".token")[0]).expect("an entry");
                tell.set(Some((got, entry)));
            }));
            let answered = host.get();
            let (successors, entry) = seen.take().expect("a successor");
            assert_eq!(other.scripted.asked(), (1, 1), "{what}");
            let own = matches!(late, Does::Well(takes) if takes == seconds(0));
            assert!(own || token(&answered) == successors, "{what} {minutes_before:?}");
            let now = fs::read(&host.entries()[0]).expect("an entry");
            assert!(now == entry, "{what}, {minutes_before:?}: the successor's token stays");
            let lock = files_ending(&host.cache, ".lock").remove(0);
            assert_eq!(fs::read(lock).expect("a lock file"), b"", "{what}: nothing is remembered");
            let asked = host.scripted.asked();
            assert_eq!(host.token(), successors, "{what}");
            assert_eq!(host.scripted.asked(), asked);
        }
    }
}

#[test]
fn r16_the_place_of_a_holder_that_is_overdue_is_taken_by_whoever_finds_it_so() {
    // By an early try too, which waits for nobody: it would be left to the one who is stopped.
    for (before, budget) in [(Some(43), 5), (Some(50), 25), (None, 25)] {
        let host = Host::new();
        let first = before.map(|before| {
            let first = host.token();
            host.clock.pass(minutes(before));
            first
        });
        let world = host.world();
        let cache = Cache::open(&world).expect("a cache");
        let settings = quayfed::config::load(&world).expect("a configuration").settings;
        let server = quayfed::server::Server::parse(HOST).expect("a server");
        let rule = settings.rule_for(&server).expect("a rule").as_ref().expect("a sound one");
        let key = quayfed::cache::entry::EntryKey::of(rule, None);
        let until = quayfed::deadline::Deadline::after(host.clock.boot(), seconds(budget));
        let quayfed::cache::attempt::Taken::Ours(stopped) = cache.take_turn(&key, until) else {
            panic!("the lock is free")
        };
        if before == Some(43) {
            assert_eq!(Some(host.token()), first, "it is left to who is at it");
        }
        host.clock.pass(seconds(budget + 1));
        let asked = host.scripted.asked().1;
        let renewed = host.token();
        assert_ne!(Some(&renewed), first.as_ref());
        assert_eq!(host.scripted.asked().1, asked + 1);
        assert_eq!(files_ending(&host.cache, ".next"), [] as [std::path::PathBuf; 0]);
        // For good: at the next expiry nobody waits for it, and its end says nothing.
        host.clock.pass(minutes(50));
        let began = host.clock.boot();
        host.token();
        assert_eq!(host.clock.boot(), began, "{before:?}");
        stopped.abandoned();
        assert_eq!(files_ending(&host.cache, ".lock").len(), 1);
    }
}

#[test]
fn r16_a_waiter_looks_once_more_at_the_end_of_its_time() {
    // The one who waits finds, at its last look, what somebody without the lock has kept.
    let host = with_ten_seconds();
    let (cache, configuration) = (host.cache.clone(), host.configuration.clone());
    let seen = Rc::new(Cell::new(false));
    let tell = Rc::clone(&seen);
    let third = Rc::new(Host::with(CLIENT_CREDENTIALS, host.clock.clone()));
    let clock = host.clock.clone();
    let second = Rc::new(Host::with(CLIENT_CREDENTIALS, host.clock.clone()));
    let keeper = Rc::clone(&third);
    *host.scripted.meanwhile.borrow_mut() = Some(Box::new(move || {
        let environment = || {
            quayfed::world::Environment::of([
                ("QUAYFED_CONFIG", configuration.clone().into_os_string()),
                ("QUAYFED_CACHE_DIR", cache.clone().into_os_string()),
            ])
        };
        let mut world = second.world();
        world.environment = environment();
        let ends = clock.boot() + seconds(9);
        let (keeping, inside) = (Rc::clone(&keeper), environment());
        world.clock = Box::new(Watched {
            clock: clock.clone(),
            at: ends,
            then: RefCell::new(Some(Box::new(move || {
                // Nobody holds the lock of a file that is gone: this one goes its own way.
                let mut world = keeping.world();
                world.environment = inside;
                let cache = world.environment.path("QUAYFED_CACHE_DIR").expect("set");
                let lock = files_ending(&cache, ".lock");
                fs::remove_file(&lock[0]).expect("removed");
                token(&keeping.get_in(&world, HOST));
            }))),
        });
        let answer = second.get_in(&world, HOST);
        tell.set(matches!(answer, Answer::Credentials(_)) && second.scripted.asked() == (0, 0));
    }));
    host.token();
    assert!(seen.get());
}

/// A clock on which something happens at a moment.
struct Watched {
    clock: SimulatedClock,
    at: Duration,
    then: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl quayfed::world::Clock for Watched {
    fn wall(&self) -> Duration {
        self.clock.wall()
    }

    fn boot(&self) -> Duration {
        self.clock.boot()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
        if self.clock.boot() >= self.at
            && let Some(then) = self.then.borrow_mut().take()
        {
            then();
        }
    }
}

#[test]
fn r15_a_time_out_of_aging_binds_aging_alone() {
    let host = Host::new();
    let first = host.token();
    host.clock.pass(seconds(2560));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(6));
    assert_eq!(host.token(), first, "Aging: five seconds are not enough");
    assert_eq!(host.token(), first);
    assert_eq!(host.scripted.asked().0, 2, "and Aging does not try again at once");
    host.clock.pass(seconds(2710 - 2565));
    assert_ne!(host.token(), first, "Short has the time");
}

#[test]
fn r15_erase_clears_the_record() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Refuse(401, "{}".to_owned(), None);
    failure(&host.get());
    assert!(matches!(quayfed::helper::erase(&host.world(), HOST), Answer::Done));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.token();
}

#[test]
fn r10_an_unrelated_edit_loses_no_token_and_a_changed_robot_or_identity_finds_none() {
    let host = Host::new();
    let first = host.token();
    let text = fs::read_to_string(&host.configuration).expect("a file");
    for unrelated in [
        format!("# a comment\n\n\n{text}"),
        text.replace("robot =", "min_validity = \"20m\"\nrobot ="),
        text.replace("robot =", "deadline = \"20s\"\nrobot ="),
        text.replace("[identity.keycloak]", "[identity.sso]").replace("\"keycloak\"", "\"sso\""),
        format!("{text}timeout = \"7s\"\n"),
        format!(
            "{text}\n[registry.\"other.example.com\"]\nrobot = \"a1+b1\"\nidentity = \"keycloak\"\n"
        ),
    ] {
        host.configure(&unrelated);
        assert_eq!(host.token(), first, "{unrelated}");
    }
    for related in [
        text.replace("client_id = \"build-host\"", "client_id = \"other\""),
        format!("{text}audience = \"quay\"\n"),
        format!("{text}scopes = [\"x\"]\n"),
        text.replace("robot =", "api_url = \"https://quay-api.example.com\"\nrobot ="),
    ] {
        host.configure(&related);
        assert_ne!(host.token(), first, "{related}");
    }
    host.configure(&text.replace("acme+ci", "acme+other"));
    let asked = host.scripted.asked();
    host.get();
    assert_eq!(host.scripted.asked(), (asked.0 + 1, asked.1 + 1), "another robot is asked for");
    host.configure(&text);
    assert_eq!(host.token(), first, "and the first one's entry is still there");
}

const FROM_VARIABLE: &str = r#"
[registry."quay.example.com"]
robot = "acme+ci"
identity = "job"

[identity.job]
source = "env"
variable = "JOB_TOKEN"
"#;

#[test]
fn r10_jobs_that_share_a_user_neither_inherit_each_others_token_nor_throw_it_away() {
    let mut host = Host::with(FROM_VARIABLE, SimulatedClock::new());
    let now = host.clock.wall().as_secs();
    let mut as_job = |subject: &str| {
        host.variables = vec![("JOB_TOKEN".into(), oidc_token(subject, now))];
        host.token()
    };
    let (first, second) = (as_job("one"), as_job("two"));
    assert_ne!(first, second);
    for _ in 0..10 {
        assert_eq!(as_job("one"), first);
        assert_eq!(as_job("two"), second);
    }
    assert_eq!(host.scripted.asked(), (0, 2));
}

#[test]
fn r10_a_new_token_of_the_same_bearer_finds_the_entry_an_expired_one_too() {
    let mut host = Host::with(FROM_VARIABLE, SimulatedClock::new());
    let now = host.clock.wall().as_secs();
    host.variables = vec![("JOB_TOKEN".into(), oidc_token("one", now))];
    let first = host.token();
    for issued in [now + 200, now - 10_000] {
        host.variables = vec![("JOB_TOKEN".into(), oidc_token("one", issued))];
        assert_eq!(host.token(), first);
    }
}

#[test]
fn r11_a_job_that_lacks_the_token_its_neighbour_has_gets_none() {
    let mut host = Host::with(FROM_VARIABLE, SimulatedClock::new());
    let now = host.clock.wall().as_secs();
    host.variables = vec![("JOB_TOKEN".into(), oidc_token("one", now))];
    host.token();
    let asked = host.scripted.asked();
    for variables in [
        vec![],
        vec![("JOB_TOKEN".to_owned(), String::new())],
        vec![("JOB_TOKEN".to_owned(), "no-jwt".to_owned())],
        vec![("JOB_TOKEN".to_owned(), "a.b.c".to_owned())],
    ] {
        host.variables = variables;
        let cause = failure(&host.get());
        assert!(cause.contains("JOB_TOKEN"), "{cause}");
    }
    assert_eq!(host.scripted.asked(), asked, "nothing was sent");
}

#[test]
fn r10_jobs_with_different_secrets_in_a_variable_have_different_entries() {
    let text = CLIENT_CREDENTIALS
        .replace("client_secret_file = \"SECRET_FILE\"", "client_secret_env = \"JOB_SECRET\"");
    let mut host = Host::with(&text, SimulatedClock::new());
    let mut with_secret = |secret: &str| {
        host.variables = vec![("JOB_SECRET".into(), secret.into())];
        host.token()
    };
    let (first, second) = (with_secret("first secret"), with_secret("second secret"));
    assert_ne!(first, second);
    assert_eq!((with_secret("first secret"), with_secret("second secret")), (first, second));
    host.variables.clear();
    assert!(failure(&host.get()).contains("JOB_SECRET"));
    let names: Vec<String> = host.entries().iter().map(|path| path.display().to_string()).collect();
    assert!(!names.iter().any(|name| name.contains("secret")), "{names:?}");
}

#[test]
fn r11_a_token_file_is_read_at_every_get() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let text = FROM_VARIABLE
        .replace("source = \"env\"", "source = \"file\"")
        .replace("variable = \"JOB_TOKEN\"", &format!("path = \"{}\"", path.display()));
    let host = Host::with(&text, SimulatedClock::new());
    let now = host.clock.wall().as_secs();
    fs::write(&path, oidc_token("one", now) + "\n").expect("written");
    let first = host.token();
    fs::write(&path, oidc_token("two", now)).expect("written");
    assert_ne!(host.token(), first);
    fs::write(&path, format!("  {}\r\n", oidc_token("one", now))).expect("written");
    assert_eq!(host.token(), first);
    fs::remove_file(&path).expect("removed");
    assert!(failure(&host.get()).contains(path.to_str().expect("text")));
}

#[test]
fn r16_a_waiter_takes_the_holders_success_as_its_own() {
    let host = with_ten_seconds();
    // While this one asks Quay, nobody else may: a second get on the same cache waits for its own
    // simulated 10 s and gives up without asking.
    let other = Rc::new(Host::new());
    let asked_meanwhile = Rc::new(Cell::new(None));
    let (cache, configuration) = (host.cache.clone(), host.configuration.clone());
    let meanwhile = {
        let (other, asked) = (Rc::clone(&other), Rc::clone(&asked_meanwhile));
        move || {
            let mut world = other.world();
            world.environment = quayfed::world::Environment::of([
                ("QUAYFED_CONFIG", configuration.into_os_string()),
                ("QUAYFED_CACHE_DIR", cache.into_os_string()),
            ]);
            let cause = failure(&other.get_in(&world, HOST));
            asked.set(Some((other.scripted.asked(), cause.contains("another process"))));
        }
    };
    *host.scripted.meanwhile.borrow_mut() = Some(Box::new(meanwhile));
    host.token();
    assert_eq!(asked_meanwhile.take(), Some(((0, 0), true)));
}

#[test]
fn r17_an_entry_never_replaces_one_that_has_more_left() {
    let host = Host::new();
    host.scripted.robot_token_life.set(600);
    let cache = host.cache.clone();
    // While Quay answers with a short-lived token, somebody else keeps a long-lived one.
    let other = Rc::new(Host::new());
    let configuration = host.configuration.clone();
    let kept = Rc::new(Cell::new(String::new()));
    let meanwhile = {
        let (other, kept) = (Rc::clone(&other), Rc::clone(&kept));
        move || {
            let lock = files_ending(&cache, ".lock").remove(0);
            fs::remove_file(lock).expect("removed: the other one does not wait");
            let mut world = other.world();
            world.environment = quayfed::world::Environment::of([
                ("QUAYFED_CONFIG", configuration.into_os_string()),
                ("QUAYFED_CACHE_DIR", cache.into_os_string()),
            ]);
            world.clock = Box::new(other.clock.clone());
            kept.set(token(&other.get_in(&world, HOST)));
        }
    };
    other.clock.set_wall(0);
    *host.scripted.meanwhile.borrow_mut() = Some(Box::new(meanwhile));
    host.token();
    assert_eq!(host.token(), kept.take());
}

#[test]
fn r17_leftovers_are_removed_at_most_sixteen_at_a_time() {
    let host = Host::new();
    host.token();
    let old = std::time::SystemTime::now() - Duration::from_hours(72);
    let make = |name: &str| {
        let path = host.cache.join(name);
        write_private(&path, "");
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(old).expect("an old file");
    };
    for number in 0..20 {
        make(&format!(".tmp-quayfed-{number:016x}"));
        make(&format!("h{number}.example.com.{:032x}.quayfed.token", 1));
        make(&format!("h{number}.example.com.{:032x}.quayfed.lock", 1));
    }
    make("somebody-elses-file");
    let leftovers = || fs::read_dir(&host.cache).expect("a folder").count();
    let before = leftovers();
    host.clock.pass(minutes(50));
    host.token();
    assert_eq!(leftovers(), before - 16);
    for _ in 0..5 {
        host.clock.pass(minutes(50));
        host.token();
    }
    assert!(host.cache.join("somebody-elses-file").exists());
    assert!(files_ending(&host.cache, ".token").len() == 1, "only the living entry is left");
}

#[test]
fn r18_what_discovery_said_is_kept_for_a_day_and_dropped_when_the_endpoint_fails() {
    let host = Host::new();
    host.token();
    assert_eq!(host.scripted.asked_discovery.get(), 1);
    for _ in 0..26 {
        host.clock.pass(minutes(50));
        host.token();
    }
    assert_eq!(host.scripted.asked_discovery.get(), 1, "for 21 hours a refresh is two requests");
    for _ in 0..5 {
        host.clock.pass(minutes(50));
        host.token();
    }
    assert_eq!(host.scripted.asked_discovery.get(), 2, "after a day it is asked again");
    host.clock.pass(minutes(50));
    *host.scripted.provider.borrow_mut() = Does::Refuse(404, "{}".to_owned(), None);
    host.token();
    assert_eq!(host.scripted.asked_discovery.get(), 3, "the endpoint may have moved");
    host.clock.pass(minutes(9));
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(0));
    host.token();
    assert_eq!(host.scripted.asked_discovery.get(), 4, "what failed is not believed");
}

/// Notes where requests go.
struct Noting(Scripted, Rc<RefCell<Vec<String>>>);

impl Transport for Noting {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        self.1.borrow_mut().push(request.url.to_string());
        self.0.send(request)
    }

    fn connect_ahead(&self, url: &Url, connection: &Connection) {
        self.0.connect_ahead(url, connection);
    }
}

/// Where the requests of a `get` go.
fn asked_by_get(host: &Host) -> Vec<String> {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let transport =
        || Box::new(Noting(host.scripted.clone(), Rc::clone(&asked))) as Box<dyn Transport>;
    token(&quayfed::helper::get(&host.world(), transport, HOST, host.clock.boot()));
    asked.take()
}

#[test]
fn r30_an_endpoint_that_another_has_written_into_an_entry_is_not_sent_the_secret() {
    const EXCHANGE: &str = "https://quay.example.com/oauth2/federation/robot/token";
    let of_issuer = |path: &str| format!("https://sso.example.com/{path}");
    let host = Host::new();
    host.token();
    host.clock.pass(minutes(50));
    assert_eq!(asked_by_get(&host), [&*of_issuer("token"), EXCHANGE], "its own is kept");
    // Aging, Short and Spent, by whoever can write into the cache.
    for wait in [43, 50, 60] {
        host.clock.pass(minutes(wait));
        crate::forging::replace(
            &host.entries()[0],
            "sso.example.com/token",
            "bad.example.com/token",
        );
        let discovery = of_issuer("realms/ci/.well-known/openid-configuration");
        let asked = asked_by_get(&host);
        assert_eq!(asked, [&*discovery, &*of_issuer("token"), EXCHANGE], "after {wait} minutes");
    }
    // An entry of another secret: its endpoint does not count here.
    write_private(&host.secret_file(), "another-secret\n");
    host.clock.pass(minutes(50));
    assert_eq!(asked_by_get(&host).len(), 3);
}

#[test]
fn r18_the_provider_has_eight_seconds_and_the_whole_has_twenty_five() {
    let host = Host::new();
    *host.scripted.provider.borrow_mut() = Does::Well(seconds(3600));
    *host.scripted.quay.borrow_mut() = Does::Well(seconds(3600));
    let began = host.clock.boot();
    failure(&host.get());
    assert!(host.clock.boot() - began <= seconds(8));
    let other = Host::new();
    *other.scripted.provider.borrow_mut() = Does::Well(seconds(7));
    *other.scripted.quay.borrow_mut() = Does::Well(seconds(3600));
    let began = other.clock.boot();
    failure(&other.get());
    assert!(other.clock.boot() - began <= seconds(7 + 15));
}

#[test]
fn quay_is_connected_to_before_the_provider_is_asked_and_only_where_one_is() {
    let host = Host::new();
    let exchange = format!("https://{HOST}/oauth2/federation/robot/token");
    host.token();
    host.token();
    assert_eq!(*host.scripted.ahead.borrow(), [(exchange.clone(), 0)], "a cached get needs none");
    host.clock.pass(minutes(43));
    host.token();
    assert_eq!(*host.scripted.ahead.borrow(), [(exchange.clone(), 0), (exchange, 1)]);
    let mut host = Host::with(FROM_VARIABLE, SimulatedClock::new());
    let token = oidc_token("one", host.clock.wall().as_secs());
    host.variables.push(("JOB_TOKEN".into(), token));
    host.token();
    assert_eq!((host.scripted.asked(), host.scripted.ahead.borrow().len()), ((0, 1), 0));
}

#[test]
fn r8_a_cached_get_reads_the_plan_and_not_the_configuration() {
    let host = Host::new();
    host.token();
    let world = host.world();
    token(&host.get_in(&world, HOST));
    let lines = world.log.lines();
    assert!(
        lines.iter().any(|line| line.contains("as it was when the plan was made")),
        "{lines:?}"
    );
    assert_eq!(fs::metadata(host.cache).expect("a folder").mode() & 0o777, 0o700);
}

#[test]
fn r8_what_is_not_ours_takes_the_same_room_however_much_of_it_is_asked_for() {
    let mut host = Host::new();
    let world = host.world();
    host.token();
    let files = || fs::read_dir(&host.cache).expect("a folder").count();
    let before = files();
    for number in 0..300 {
        for server in [format!("r{number}.example.com"), format!("{HOST}:{number}/org/app")] {
            assert_eq!(host.get_in(&world, &server).exit_code(), 1);
        }
    }
    assert_eq!(files(), before + 1, "one plan for all of them");
    let is_read_of = |world: &quayfed::world::World| {
        let told = "as it was when the plan was made";
        !world.log.lines().iter().any(|line| line.contains(told))
    };
    let asks = |server: &str| {
        let world = host.world();
        let answer = host.get_in(&world, server);
        (answer.exit_code() == 0, is_read_of(&world))
    };
    assert_eq!(asks("another.example.com"), (false, false), "by the plan");
    assert_eq!(asks(HOST), (true, false), "by its own");
    // One that was not ours has a rule now, and the one that had has none: at once.
    let text = fs::read_to_string(&host.configuration).expect("a file");
    host.configure(&text.replace(HOST, "r7.example.com"));
    assert_eq!(asks("r7.example.com"), (true, true));
    assert_eq!(asks("r7.example.com"), (true, false));
    assert_eq!(asks(HOST), (false, true));
    assert_eq!(asks(HOST), (false, false));
    assert_eq!(files_ending(&host.cache, ".plan").len(), 2, "its own plan is gone");
    // A rule of variables has a plan of its own too, and what is not ours then is not found.
    let variables = [("QUAYFED_REGISTRY", "r8.example.com"), ("QUAYFED_ROBOT", "acme+ci")];
    host.variables.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    host.variables
        .push(("QUAYFED_TOKEN".to_owned(), oidc_token("one", world.clock.wall().as_secs())));
    let asks = |server: &str| {
        let world = host.world();
        let answer = host.get_in(&world, server);
        (answer.exit_code() == 0, is_read_of(&world))
    };
    assert_eq!(asks("r8.example.com"), (true, true));
    assert_eq!(asks("r8.example.com"), (true, false));
    assert_eq!(asks("r9.example.com"), (false, false));
    assert_eq!(asks("r7.example.com"), (true, false));
}

#[test]
fn r9_a_configuration_that_has_just_changed_is_read_again() {
    let host = Host::new();
    // The clocks as they are now: the file is younger than two seconds.
    host.clock.set_wall(-60);
    host.token();
    assert!(files_ending(&host.cache, ".plan").is_empty());
    host.clock.pass(seconds(3));
    host.token();
    assert_eq!(files_ending(&host.cache, ".plan").len(), 1);
    host.clock.set_wall(-30);
    let world = host.world();
    host.get_in(&world, HOST);
    let lines = world.log.lines();
    assert!(
        !lines.iter().any(|line| line.contains("the plan was made")),
        "a stamp from the future"
    );
}

#[test]
fn the_log_says_how_fresh_the_cached_token_is() {
    let host = Host::new();
    host.token();
    host.clock.pass(seconds(50 * 60));
    let world = host.world();
    host.get_in(&world, HOST);
    let wanted = "info: `quay.example.com` as `acme+ci`: the cached token is short, 600 s left\n";
    let lines = world.log.lines();
    assert!(lines.iter().any(|line| line.ends_with(wanted)), "{lines:?}");
}

/// A world without any cache directory of its own choice, whose places are in `folder`.
fn world_of_places(host: &Host, folder: &std::path::Path) -> quayfed::world::World {
    let mut world = host.world();
    world.environment = quayfed::world::Environment::of([(
        "QUAYFED_CONFIG",
        host.configuration.clone().into_os_string(),
    )]);
    world.places.run = folder.join("run").into();
    world.places.shared_memory = folder.join("shm").into();
    for place in ["run", "shm"] {
        fs::create_dir_all(folder.join(place)).expect("a folder");
    }
    world
}

#[test]
fn r22_nothing_is_made_on_a_disk() {
    let host = Host::new();
    let Some(disk) = folder_on_disk() else { return };
    for _ in 0..2 {
        token(&host.get_in(&world_of_places(&host, disk.path()), HOST));
    }
    assert_eq!(host.scripted.asked(), (2, 2), "nothing was cached");
    for place in ["run", "shm"] {
        let left = fs::read_dir(disk.path().join(place)).expect("a folder").count();
        assert_eq!(left, 0, "{place}: an image layer would have kept it");
    }
}

#[test]
fn r22_root_of_the_host_has_a_folder_of_its_own_and_others_have_theirs_in_shared_memory() {
    let host = Host::new();
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder");
    for _ in 0..2 {
        token(&host.get_in(&world_of_places(&host, memory.path()), HOST));
    }
    assert_eq!(host.scripted.asked(), (1, 1));
    let uid = rustix::process::geteuid().as_raw();
    let of_root = memory.path().join("run/quayfed/root");
    let of_user = memory.path().join(format!("shm/quayfed-{uid}"));
    let place = if uid == 0 { &of_root } else { &of_user };
    assert_eq!(files_ending(place, ".token").len(), 1);
    assert_eq!(fs::metadata(place).expect("a folder").mode() & 0o7777, 0o700);
    if uid == 0 {
        let shared = fs::metadata(memory.path().join("run/quayfed")).expect("a folder");
        assert_eq!(shared.mode() & 0o7777, 0o755);
        assert!(!of_user.exists());
    }
}
