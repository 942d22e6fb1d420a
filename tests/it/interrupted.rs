//! Calls of the system that a signal interrupts (R34).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use quayfed_sandbox::{EXCHANGE_PATH, Need, Sandbox, lacks};
use rustix::process::{Pid, Signal, kill_process};

use crate::binary::{Home, Ran, at_sandbox, program, start, uid};

/// How strace tells of a call that it has let fail.
const INJECTED: &str = "EINTR (Interrupted system call) (INJECTED)";

/// A `get` under strace, with what else that is told; its calls.
fn traced(home: &Home, host: &str, options: &[String]) -> (Ran, Vec<String>) {
    let log = home.path("strace.log");
    let mut command = home.command("/usr/bin/strace");
    let user = uid().to_string();
    command.uid(0).gid(0).args(options).arg("-o").arg(&log);
    command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(program()).arg("get");
    let ran = Ran::from(start(command, host).wait_with_output().expect("an end"));
    let text = fs::read_to_string(&log).expect("a log of strace");
    (ran, text.lines().map(str::to_owned).collect())
}

#[test]
fn r34_a_call_that_is_interrupted_is_made_again() {
    if lacks(Need::Root) || lacks(Need::Program("strace")) {
        return;
    }
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    // The calls that are ours alone: the loader and the C library know no interruption.
    let (_, calls) = traced(&at_sandbox(&sandbox), &host, &["-etrace=openat".to_owned()]);
    let opened = calls.iter().filter(|line| line.contains("openat(")).enumerate();
    let ours = opened.filter(|(_, line)| !line.contains("AT_FDCWD"));
    let openat = ours.map(|(place, _)| format!("openat:error=EINTR:when={}", place + 1));
    let openat: Vec<String> = openat.collect();
    assert!(openat.len() > 4, "{calls:#?}");
    let every_second = ["open", "ppoll", "fallocate"];
    let every_second = every_second.map(|call| format!("{call}:error=EINTR:when=1+2"));
    for call in every_second.into_iter().chain(openat) {
        let home = at_sandbox(&sandbox);
        let before = sandbox.quay().count(EXCHANGE_PATH);
        let name = call.split(':').next().expect("a name");
        let options = [format!("-etrace={name}"), format!("-einject={call}")];
        let (ran, calls) = traced(&home, &host, &options);
        ran.token();
        assert_eq!(ran.stderr, "", "{call}");
        let interrupted = calls.iter().filter(|line| line.ends_with(INJECTED)).count();
        println!("{call}: {interrupted} of {} calls were interrupted", calls.len());
        assert!(interrupted > 0, "{calls:#?}");
        // It is cached as ever.
        home.get(&host).token();
        assert_eq!(sandbox.quay().count(EXCHANGE_PATH), before + 1, "{call}: {calls:#?}");
    }
}

#[test]
fn r34_a_wait_that_cannot_be_is_told_and_reads_nothing_without_a_deadline() {
    if lacks(Need::Root) || lacks(Need::Program("strace")) {
        return;
    }
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let options = ["-etrace=ppoll".to_owned(), "-einject=ppoll:error=ENOMEM".to_owned()];
    let (ran, _) = traced(&home, &sandbox.quay().host(), &options);
    assert_eq!(ran.cause(), "standard input cannot be waited for (cannot allocate memory)");
    assert_eq!(
        ran.hint(),
        "raise the limit on open files (`ulimit -n`, in a systemd unit `LimitNOFILE=`)"
    );
}

#[test]
fn r34_no_storm_of_signals_holds_a_wait_longer_than_its_deadline() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let log = home.path("log");
    home.set("QUAYFED_LOG_FILE", log.to_str().expect("text"));
    let mut command = home.helper("get");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let _never_written_to = child.stdin.take().expect("a pipe");
    let began = Instant::now();
    // Whoever writes a file handles SIGXFSZ before.
    while !log.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "no log");
        std::thread::sleep(Duration::from_millis(2));
    }
    while child.try_wait().expect("a state").is_none() {
        if began.elapsed() > Duration::from_secs(90) {
            child.kill().expect("killed");
            panic!("it waits for its input without a deadline");
        }
        kill_process(Pid::from_child(&child), Signal::XFSZ).expect("sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = Ran::from(child.wait_with_output().expect("an end"));
    assert_eq!(ran.cause(), "no server name on standard input within 25 s");
    assert!(began.elapsed() >= Duration::from_secs(24));
}
