//! Many processes at once: one asks, all are answered (R15, R16).

use std::os::unix::fs::MetadataExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use quayfed_sandbox::{EXCHANGE_PATH, Fault, Recorded, Sandbox, Times};
use rustix::process::{Pid, Signal, kill_process};

use crate::binary::{Home, Ran, at_sandbox, start};

fn herd(home: &Home, host: &str, size: usize) -> Vec<Child> {
    (0..size).map(|_| start(home.helper("get"), host)).collect()
}

fn ends(children: Vec<Child>) -> Vec<Ran> {
    children.into_iter().map(|child| child.wait_with_output().expect("an end").into()).collect()
}

fn asked(sandbox: &Sandbox) -> (usize, usize) {
    let issuer = sandbox.issuer();
    // Whoever fails may ask Quay without a token who is down (R39): that is no exchange.
    let requests = sandbox.quay().requests();
    let exchanges = requests.iter().filter(|request| {
        request.path == EXCHANGE_PATH && request.header("authorization").is_some()
    });
    (issuer.count(issuer.token_path()), exchanges.count())
}

#[test]
fn two_hundred_cold_gets_at_once_make_one_token_request_and_one_exchange() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let began = Instant::now();
    let ran = ends(herd(&home, &sandbox.quay().host(), 200));
    println!("200 cold gets took {:?}, asked {:?}", began.elapsed(), asked(&sandbox));
    let mut tokens: Vec<String> = ran.iter().map(Ran::token).collect();
    assert_eq!(tokens.len(), 200);
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(asked(&sandbox), (1, 1));
}

#[test]
fn r16_a_herd_waits_for_a_slow_provider_and_a_slow_quay_and_asks_once() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let token_path = sandbox.issuer().token_path();
    sandbox.issuer().fault(token_path, Fault::Delay(Duration::from_secs(5)), Times::Always);
    sandbox.quay().fault(EXCHANGE_PATH, Fault::Delay(Duration::from_secs(10)), Times::Always);
    let mut children = herd(&home, &sandbox.quay().host(), 20);
    std::thread::sleep(Duration::from_secs(8));
    children.extend(herd(&home, &sandbox.quay().host(), 20));
    let ran = ends(children);
    let mut tokens: Vec<String> = ran.iter().map(Ran::token).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(asked(&sandbox), (1, 1));
}

#[test]
fn r16_a_failure_is_the_failure_of_all_who_waited_for_it() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    home.write("secret", "wrong", 0o600);
    let token_path = sandbox.issuer().token_path();
    sandbox.issuer().fault(token_path, Fault::Delay(Duration::from_secs(5)), Times::Always);
    let ran = ends(herd(&home, &sandbox.quay().host(), 20));
    let mut causes: Vec<&str> = ran.iter().map(Ran::cause).collect();
    causes.dedup();
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(asked(&sandbox), (1, 0));
}

/// A get that has taken the lock and now waits for the provider.
fn holder(sandbox: &Sandbox, home: &Home) -> Child {
    let token_path = sandbox.issuer().token_path();
    sandbox.issuer().fault(token_path, Fault::Hang, Times::Once);
    let holder = start(home.helper("get"), &sandbox.quay().host());
    let began = Instant::now();
    while sandbox.issuer().count(token_path) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the holder never asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    holder
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn r16_when_the_holder_dies_the_next_one_takes_over_at_once() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let mut holder = holder(&sandbox, &home);
    let waiters = herd(&home, &sandbox.quay().host(), 10);
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    kill_process(pid(&holder), Signal::KILL).expect("killed");
    let ran = ends(waiters);
    // Otherwise they would wait for its deadline, 25 s.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let mut tokens: Vec<String> = ran.iter().map(Ran::token).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(asked(&sandbox), (2, 1));
    holder.wait().expect("an end");
}

/// A configuration in which a holder is overdue soon.
fn with_short_steps(sandbox: &Sandbox, home: &Home) {
    let text = crate::binary::configuration(sandbox, home);
    let text = text.replacen("robot =", "exchange_timeout = \"6s\"\nrobot =", 1);
    home.configure(&(text + "timeout = \"6s\"\n"));
}

/// Which of the two questions a holder hangs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopsAt {
    Provider,
    Exchange,
}

#[test]
fn r16_a_herd_behind_a_stopped_holder_sends_two_exchanges_at_most_and_never_again() {
    const SIZE: usize = 150;
    for stops_at in [StopsAt::Provider, StopsAt::Exchange] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        let host = sandbox.quay().host();
        with_short_steps(&sandbox, &home);
        let token_path = sandbox.issuer().token_path();
        let hang = Fault::Hang;
        match stops_at {
            StopsAt::Provider => sandbox.issuer().fault(token_path, hang, Times::Once),
            StopsAt::Exchange => sandbox.quay().fault(EXCHANGE_PATH, hang, Times::Once),
        }
        let mut holder = start(home.helper("get"), &host);
        let began = Instant::now();
        let is_there = || match stops_at {
            StopsAt::Provider => asked(&sandbox).0 == 1,
            StopsAt::Exchange => asked(&sandbox).1 == 1,
        };
        while !is_there() {
            assert!(began.elapsed() < Duration::from_secs(20), "the holder never asked");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process(pid(&holder), Signal::STOP).expect("stopped");
        let before = asked(&sandbox).1;
        let began = Instant::now();
        let ran = ends(herd(&home, &host, SIZE));
        let mut tokens: Vec<String> = ran.iter().map(Ran::token).collect();
        tokens.dedup();
        println!(
            "{SIZE} gets behind a holder that is stopped at its {stops_at:?}: {:?}, {} exchanges",
            began.elapsed(),
            asked(&sandbox).1
        );
        assert_eq!(tokens.len(), 1);
        assert_eq!(asked(&sandbox).1, before + 1, "one in the herd takes the holder's place");
        assert!(asked(&sandbox).1 <= 2);
        // At the next expiry the holder is still stopped, and has no place any more.
        for _ in 0..2 {
            for entry in crate::simulation::files_ending(&home.cache(), ".token") {
                std::fs::remove_file(entry).expect("removed");
            }
            let before = asked(&sandbox);
            let began = Instant::now();
            let mut tokens: Vec<String> =
                ends(herd(&home, &host, 30)).iter().map(Ran::token).collect();
            tokens.dedup();
            assert_eq!(tokens.len(), 1);
            assert_eq!(asked(&sandbox), (before.0 + 1, before.1 + 1));
            println!("at the next expiry: {:?}", began.elapsed());
        }
        // It wakes long after its time, and fails.
        let entry = crate::simulation::files_ending(&home.cache(), ".token").remove(0);
        let lock = crate::simulation::files_ending(&home.cache(), ".lock").remove(0);
        let read = |path: &std::path::Path| std::fs::read(path).expect("a file");
        let kept = read(&entry);
        kill_process(pid(&holder), Signal::CONT).expect("woken");
        holder.wait().expect("an end");
        assert_eq!((read(&entry), read(&lock)), (kept, Vec::new()));
        let before = asked(&sandbox).1;
        home.get(&host).token();
        assert_eq!(asked(&sandbox).1, before);
    }
}

#[test]
fn r16_a_holder_that_looks_into_why_quay_is_silent_keeps_its_place() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let text = crate::binary::configuration(&sandbox, &home);
    home.configure(&text.replacen("robot =", "exchange_timeout = \"2s\"\nrobot =", 1));
    sandbox.quay().fault(EXCHANGE_PATH, Fault::Hang, Times::Always);
    let ran = ends(herd(&home, &sandbox.quay().host(), 20));
    let mut causes: Vec<&str> = ran.iter().map(Ran::cause).collect();
    causes.dedup();
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(asked(&sandbox), (1, 1), "nobody else took its place");
    let asks_who_is_down = |request: &Recorded| {
        request.path == EXCHANGE_PATH && request.header("authorization").is_none()
    };
    assert!(sandbox.quay().requests().iter().any(asks_who_is_down), "without a token too");
}

#[test]
fn r16_when_the_holder_is_stopped_those_who_come_later_go_on_after_its_deadline() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    // A holder with a deadline of 6 s; the waiters have 25 s.
    let text = crate::binary::configuration(&sandbox, &home);
    home.configure(&text.replacen("robot =", "deadline = \"6s\"\nrobot =", 1));
    let began = Instant::now();
    let mut holder = holder(&sandbox, &home);
    kill_process(pid(&holder), Signal::STOP).expect("stopped");
    home.configure(&text);
    let ran = ends(herd(&home, &host, 5));
    let took = began.elapsed();
    for one in &ran {
        one.token();
    }
    assert_eq!(asked(&sandbox), (2, 1));
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(15), "{took:?}");
    kill_process(pid(&holder), Signal::KILL).expect("killed");
    holder.wait().expect("an end");
}

#[test]
fn r16_the_place_of_one_who_says_nothing_for_two_seconds_is_taken_for_good() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    home.get(&host).token();
    home.run("erase", &host);
    // Somebody holds the lock who is no helper: flock(1) of util-linux.
    let lock = crate::simulation::files_ending(&home.cache(), ".lock").remove(0);
    let place = std::fs::metadata(&lock).expect("a lock file").ino();
    let mut flock = home.command("/usr/bin/flock");
    flock.arg(&lock).args(["sleep", "30"]);
    let mut child = flock.spawn().expect("started");
    let file = std::fs::File::open(&lock).expect("a lock");
    let is_free = || {
        let free = file.try_lock().is_ok();
        file.unlock().expect("unlocked");
        free
    };
    while is_free() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (began, before) = (Instant::now(), asked(&sandbox).1);
    for ran in ends(herd(&home, &host, 20)) {
        ran.token();
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1500), "{took:?}");
    assert_eq!(asked(&sandbox).1, before + 1);
    let now = std::fs::metadata(&lock).expect("a lock file").ino();
    assert_ne!(now, place, "another file has the name of the one that is held");
    let _ = child.kill();
    child.wait().expect("an end");
}
