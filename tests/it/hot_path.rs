//! What a cached `get` does, and does not do: told by strace.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use quayfed_sandbox::{EXCHANGE_PATH, Need, Sandbox, lacks};

use crate::binary::{Home, Ran, at_sandbox, program, start, uid};

/// The system calls of a `get` in a user's home, as strace tells them; nothing without root: the
/// process is undumpable, so its own user cannot look into it.
fn traced(home: &Home, host: &str) -> Option<(Ran, Vec<String>)> {
    if lacks(Need::Root) || lacks(Need::Program("strace")) {
        return None;
    }
    let log = home.path("strace.log");
    let mut command = home.command("/usr/bin/strace");
    let user = uid().to_string();
    command.uid(0).gid(0).args(["-f", "-s", "256", "-o"]).arg(&log);
    command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(program()).arg("get");
    let ran = Ran::from(start(command, host).wait_with_output().expect("an end"));
    let text = fs::read_to_string(&log).expect("a log of strace");
    fs::remove_file(&log).expect("removed");
    let program = program().display().to_string();
    let began = |line: &&str| line.contains("execve(") && line.contains(&program);
    let skipped = text.lines().position(|line| began(&line)).expect("the program's own calls");
    let calls: Vec<String> = text.lines().skip(skipped).map(str::to_owned).collect();
    let last = calls.iter().rposition(|line| began(&line.as_str()));
    Some((ran, calls[last.expect("an execve")..].to_vec()))
}

/// A home with a token in the cache and a plan.
fn warm(sandbox: &Sandbox) -> Home {
    let home = at_sandbox(sandbox);
    let host = sandbox.quay().host();
    home.get(&host).token();
    std::thread::sleep(Duration::from_millis(2100));
    home.get(&host).token();
    home
}

#[test]
fn a_cached_get_opens_no_socket_starts_no_thread_and_reads_no_toml() {
    let sandbox = Sandbox::start();
    let home = warm(&sandbox);
    let Some((ran, calls)) = traced(&home, &sandbox.quay().host()) else { return };
    ran.token();
    for call in ["socket(", "connect(", "clone(", "clone3(", "fork(", "vfork(", "flock("] {
        assert!(!calls.iter().any(|line| line.contains(call)), "{call} in {calls:#?}");
    }
    let opened: Vec<_> = calls.iter().filter(|line| line.contains("open")).collect();
    assert!(!opened.iter().any(|line| line.contains(".toml")), "{opened:#?}");
    assert!(!opened.iter().any(|line| line.contains("O_CREAT")), "{opened:#?}");
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), 1);
    let mut counts = BTreeMap::<&str, usize>::new();
    for line in &calls {
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry(name).or_default() += 1;
        }
    }
    println!("a cached get: {} system calls {counts:?}", counts.values().sum::<usize>());
}

#[test]
fn strace_would_show_the_sockets_and_threads_of_a_cold_get() {
    // What the test above does not find must be there to be found.
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let Some((ran, calls)) = traced(&home, &sandbox.quay().host()) else { return };
    ran.token();
    for call in ["socket(", "connect(", "flock(", ".toml"] {
        assert!(calls.iter().any(|line| line.contains(call)), "{call}");
    }
}

#[test]
fn r8_a_server_that_is_not_ours_costs_no_more_than_one_that_is() {
    let sandbox = Sandbox::start();
    let home = warm(&sandbox);
    let Some((_, of_ours)) = traced(&home, &sandbox.quay().host()) else { return };
    assert!(home.get("docker.io").is_not_found());
    // Another one than the one that made the plan for all of them.
    let Some((ran, calls)) = traced(&home, "ghcr.io") else { return };
    assert!(ran.is_not_found(), "{ran:?}");
    println!("a get that is not ours: {} system calls, {}", calls.len(), of_ours.len());
    assert!(calls.len() <= of_ours.len(), "{calls:#?}");
    for call in ["socket(", "clone", "flock(", "O_CREAT"] {
        assert!(!calls.iter().any(|line| line.contains(call)), "{call} in {calls:#?}");
    }
    let opened: Vec<_> = calls.iter().filter(|line| line.contains("open")).collect();
    assert!(!opened.iter().any(|line| line.contains(".toml")), "{opened:#?}");
}

#[test]
fn r25_the_process_is_undumpable_before_it_reads_any_file() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let Some((_, calls)) = traced(&home, &sandbox.quay().host()) else { return };
    let at = |what: &str| {
        calls.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"))
    };
    let dumpable = at("PR_SET_DUMPABLE, SUID_DUMP_DISABLE");
    let core = calls
        .iter()
        .position(|line| line.contains("RLIMIT_CORE") && line.contains("rlim_max=0"))
        .expect("a core limit of 0");
    for what in [".toml", "/secret\"", "read(0"] {
        assert!(dumpable < at(what) && core < at(what), "{what}");
    }
    let lookups: Vec<_> = calls
        .iter()
        .filter(|line| line.contains("\"/etc/passwd\"") || line.contains("\"/etc/group\""))
        .collect();
    assert!(lookups.is_empty(), "no user is looked up by name: {lookups:#?}");
}
