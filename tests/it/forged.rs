//! Files of the cache with a checksum that holds and a content that no helper writes (R31): whatever
//! stands there, nothing panics, and what is answered is sound or asked for anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quayfed::cache::Cache;
use quayfed::deadline::Deadline;
use quayfed::protocol::Answer;
use quayfed::robot_token::{self, Renew};
use quayfed::server::Server;
use quayfed::world::Clock as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::forging::{content, forge};
use crate::screens::{PIPED, ran};
use crate::simulation::{Does, HOST, Host, failure, files_ending, seconds, token};

/// Both clocks.
type Moment = (u64, u64);

/// Device, inode, size and times of a file.
type Stamp = (u64, u64, u64, i64, i64);

/// Issuer, token endpoint, how clients authenticate there, when it was read, and the seal.
type Discovery = (String, String, u32, Moment, [u8; 32]);

/// An entry as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// Rule, robot, API URL, settings, bearer.
    key: (String, String, String, String, Option<String>),
    token: String,
    lifetime_ms: u64,
    obtained: Moment,
    boot_id: Option<String>,
    spread: f64,
    discovery: Option<Discovery>,
}

/// A lock's file as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum LockState {
    Empty,
    HeldUntil(u64),
    Failed(Attempt),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Attempt {
    rule: String,
    robot: String,
    conditions: String,
    failed: Moment,
    bar_ms: u64,
    failures: u32,
    cause: String,
    hint: String,
    is_robot_unknown: bool,
    ran_out_of_aging_time: bool,
}

/// A plan as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    version: String,
    key: Vec<u8>,
    fingerprint: Vec<(String, Option<Stamp>)>,
    rules: Vec<(String, Option<Lookup>)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lookup {
    robot: String,
    api_url: String,
    settings: String,
    bearer: Bearer,
    min_validity_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Bearer {
    Settings,
    SecretVariable(String),
    Credential(String),
    TokenFile(String, Option<String>),
    TokenVariable(String, Option<String>),
}

/// What stands in a file, which is written as it was read: so the type above is that of the file.
fn decoded<T: Serialize + DeserializeOwned>(path: &Path) -> (u64, T) {
    let (format, bytes) = content(path);
    let value: T = postcard::from_bytes(&bytes).expect("the type of the file");
    assert_eq!(postcard::to_allocvec(&value).expect("bytes"), bytes);
    (format, value)
}

fn file(host: &Host, suffix: &str) -> PathBuf {
    files_ending(&host.cache, suffix).remove(0)
}

/// Everything that reads the cache, but `get`.
fn look_at_everything(host: &Host) {
    let world = host.world();
    for arguments in [&["status"][..], &["status", "--json"], &["status", "--metrics"], &["purge"]]
    {
        let (_, screen) = ran(&world, PIPED, arguments);
        assert!(!screen.contains("NaN") && !screen.contains('\u{1b}'), "{screen}");
    }
    let cache = Cache::open(&world).expect("a cache");
    let settings = quayfed::config::load(&world).expect("a configuration").settings;
    let server = Server::parse(HOST).expect("a server");
    let rule = settings.rule_for(&server).expect("a rule").as_ref().expect("a sound one");
    for when in [Renew::IfDue, Renew::Always] {
        let deadline = Deadline::after(host.clock.boot(), rule.deadline);
        let _ = robot_token::renew(&world, &host.scripted, &cache, rule, deadline, when);
    }
    assert!(matches!(quayfed::helper::erase(&world, HOST), Answer::Done));
}

type Change<T> = fn(&mut T);

#[test]
fn r31_each_field_of_an_entry_is_as_a_helper_writes_it_or_the_entry_is_absent() {
    const DAY: u64 = 24 * 3600 * 1000;
    let host = Host::new();
    let cases: &[(&str, bool, Change<Entry>)] = &[
        ("nothing is changed", true, |_| ()),
        ("the longest life", true, |it| it.lifetime_ms = DAY),
        ("a longer life", false, |it| it.lifetime_ms = DAY + 1),
        ("the longest number", false, |it| it.lifetime_ms = u64::MAX),
        ("no life", false, |it| it.lifetime_ms = 0),
        ("the earliest factor", true, |it| it.spread = 2.0 / 3.0),
        ("the latest factor", true, |it| it.spread = 14.0 / 15.0),
        ("no number", false, |it| it.spread = f64::NAN),
        ("infinity", false, |it| it.spread = f64::INFINITY),
        ("less than that", false, |it| it.spread = f64::NEG_INFINITY),
        ("a factor below", false, |it| it.spread = 0.5),
        ("a factor above", false, |it| it.spread = 1e300),
        ("the end of the wall clock", false, |it| it.obtained.0 = u64::MAX),
        ("the end of the boot clock", false, |it| it.obtained.1 = u64::MAX),
        ("the last year", false, |it| it.obtained.0 = 253_402_300_799_999),
        ("after it", false, |it| it.obtained.0 = 253_402_300_800_000),
        ("an hour ahead", false, |it| it.obtained.0 += 3_600_000),
        ("1970", false, |it| it.obtained = (0, 0)),
        ("an escape in the token", false, |it| it.token.push_str("\u{1b}[2J")),
        ("a line break in the token", false, |it| it.token.push('\n')),
        ("a NUL in the token", false, |it| it.token.push('\0')),
        ("a quote in the token", false, |it| it.token.push('"')),
        ("a backslash in the token", false, |it| it.token.push('\\')),
        ("a space in the token", false, |it| it.token.push(' ')),
        ("a letter that is not ASCII", false, |it| it.token.push('ä')),
        ("another direction", false, |it| it.token.push('\u{202e}')),
        ("no token", false, |it| it.token.clear()),
        ("what is no JWT", false, |it| it.token = "hunter2".to_owned()),
        ("the longest token", true, |it| it.token.push_str(&"A".repeat(8192 - it.token.len()))),
        ("a longer token", false, |it| it.token.push_str(&"A".repeat(8193 - it.token.len()))),
        ("another robot", false, |it| it.key.1 = "acme+other".to_owned()),
        ("another rule", false, |it| it.key.0 = "other.example.com".to_owned()),
        ("another API", false, |it| it.key.2 = "https://other.example.com/".to_owned()),
        ("a bearer", false, |it| it.key.4 = Some("[\"i\",\"s\",[]]".to_owned())),
        ("a boot of a cache in memory", true, |it| it.boot_id = Some("\0".repeat(1000))),
        ("no discovery", true, |it| it.discovery = None),
        ("an endpoint of long ago", true, |it| {
            it.discovery = Some((String::new(), "\0".repeat(5000), 0, (0, 0), [0; 32]));
        }),
    ];
    for (what, is_used, change) in cases {
        let first = host.token();
        let (format, genuine) = decoded::<Entry>(&file(&host, ".token"));
        let mut entry = genuine;
        change(&mut entry);
        let forged = || {
            forge(&file(&host, ".token"), format, &postcard::to_allocvec(&entry).expect("bytes"));
        };
        forged();
        let asked = host.scripted.asked().1;
        let answered = host.token();
        assert_eq!(host.scripted.asked().1 == asked, *is_used, "{what}");
        assert!(!is_used || answered.starts_with(&first), "{what}");
        for minutes in [0, 43, 10, 10] {
            host.clock.pass(seconds(60 * minutes));
            forged();
            host.token();
        }
        forged();
        look_at_everything(&host);
    }
}

#[test]
fn r31_each_field_of_a_record_is_as_a_helper_writes_it_or_nothing_is_remembered() {
    let cases: &[(&str, bool, Change<Attempt>)] = &[
        ("nothing is changed", true, |_| ()),
        ("the longest bar", true, |it| it.bar_ms = 3 * 3600 * 1000),
        ("a longer bar", false, |it| it.bar_ms = 3 * 3600 * 1000 + 1),
        ("the longest number", false, |it| it.bar_ms = u64::MAX),
        ("no bar", false, |it| it.bar_ms = 0),
        ("more failures than can be counted", true, |it| it.failures = u32::MAX),
        ("the end of the clock", false, |it| it.failed.0 = u64::MAX),
        ("an hour ahead", false, |it| it.failed.0 += 3_600_000),
        ("no cause", false, |it| it.cause.clear()),
        ("an escape in the cause", false, |it| it.cause = "\u{1b}[2Jx".to_owned()),
        ("two lines", false, |it| it.hint = "a\nb".to_owned()),
        ("another direction", false, |it| it.hint = "a\u{202e}b".to_owned()),
        ("a book", false, |it| it.hint = "a".repeat(10_000)),
        ("no robot", false, |it| it.robot = "\0".to_owned()),
        ("no rule", false, |it| it.rule = "a b".to_owned()),
        ("other conditions", false, |it| it.conditions.push('0')),
    ];
    for (what, is_obeyed, change) in cases {
        let host = Host::new();
        *host.scripted.provider.borrow_mut() = Does::Unreachable;
        failure(&host.get());
        let lock = file(&host, ".lock");
        let (format, LockState::Failed(mut attempt)) = decoded::<LockState>(&lock) else {
            panic!("no record")
        };
        change(&mut attempt);
        let forged = || {
            let state = LockState::Failed(attempt.clone());
            forge(&lock, format, &postcard::to_allocvec(&state).expect("bytes"));
        };
        forged();
        host.clock.pass(seconds(1));
        let asked = host.scripted.asked().0;
        failure(&host.get());
        assert_eq!(host.scripted.asked().0 == asked, *is_obeyed, "{what}");
        forged();
        look_at_everything(&host);
    }
}

#[test]
fn r31_nobody_is_believed_to_hold_a_lock_for_longer_than_a_deadline_can_be() {
    let host = Host::new();
    host.token();
    let lock = file(&host, ".lock");
    let format = content(&host.entries()[0]).0;
    let boot =
        |ahead: Duration| u64::try_from((host.clock.boot() + ahead).as_millis()).expect("ms");
    for until in [u64::MAX, boot(seconds(11 * 60)), boot(seconds(24 * 3600))] {
        assert!(matches!(quayfed::helper::erase(&host.world(), HOST), Answer::Done));
        let bytes = postcard::to_allocvec(&LockState::HeldUntil(until)).expect("bytes");
        forge(&lock, format, &bytes);
        let holder = std::fs::File::open(&lock).expect("a lock file");
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&holder, operation).expect("locked");
        let began = host.clock.boot();
        host.token();
        let took = host.clock.boot() - began;
        assert!(took < seconds(5), "{until}: {took:?}");
        assert!(!ran(&host.world(), PIPED, &["status"]).1.contains("being renewed"));
    }
}

#[test]
fn r31_what_cannot_stand_in_a_plan_is_looked_up_in_the_configuration() {
    let host = Host::new();
    let first = host.token();
    let plan = file(&host, ".plan");
    let (format, genuine) = decoded::<Plan>(&plan);
    let cases: &[(&str, Change<Lookup>)] = &[
        ("nothing is changed", |_| ()),
        ("a long validity", |it| it.min_validity_ms = Some(u64::MAX)),
        ("an escape in the robot", |it| it.robot.push('\u{1b}')),
        ("a path in the settings", |it| it.settings = "../../../../../../etc/passwd".to_owned()),
        ("no settings", |it| it.settings.clear()),
        ("settings that are not ASCII", |it| it.settings = "ä".repeat(40)),
        ("a variable", |it| it.bearer = Bearer::SecretVariable("A=\0".to_owned())),
        ("a credential", |it| it.bearer = Bearer::Credential("../x".to_owned())),
        ("a file", |it| it.bearer = Bearer::TokenFile("/dev/zero".to_owned(), None)),
        ("no file", |it| it.bearer = Bearer::TokenFile("\0".to_owned(), Some(".".to_owned()))),
        ("a token", |it| it.bearer = Bearer::TokenVariable(String::new(), None)),
    ];
    for (what, change) in cases {
        let mut forged = genuine.clone();
        change(forged.rules[0].1.as_mut().expect("a lookup"));
        forge(&plan, format, &postcard::to_allocvec(&forged).expect("bytes"));
        assert_eq!(host.token(), first, "{what}");
    }
    let cases: &[(&str, Change<Plan>)] = &[
        ("another version", |it| it.version.clear()),
        ("another key", |it| it.key.push(0)),
        ("a stamp of the future", |it| it.fingerprint[0].1 = Some((0, 0, 0, i64::MAX, i64::MAX))),
        ("a stamp of the past", |it| it.fingerprint[0].1 = Some((0, 0, 0, i64::MIN, i64::MIN))),
        ("a path that is none", |it| it.fingerprint.push(("\0".to_owned(), None))),
        ("a mistake", |it| it.rules[0].1 = None),
    ];
    for (what, change) in cases {
        let mut forged = genuine.clone();
        change(&mut forged);
        forge(&plan, format, &postcard::to_allocvec(&forged).expect("bytes"));
        assert_eq!(host.token(), first, "{what}");
    }
    assert_eq!(host.scripted.asked(), (1, 1));
}

/// Numbers that are the same at every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("a number"))
            .expect("small")
    }

    /// Something that was written, or something like it, or nothing like it.
    fn damaged(&mut self, genuine: &[u8]) -> Vec<u8> {
        let mut bytes = genuine.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes = (0..self.below(300)).map(|_| self.next().to_le_bytes()[0]).collect(),
                1 => bytes.truncate(at),
                2 => drop(bytes.splice(at..at, [0xff; 9].into_iter().chain([1]))),
                3 => drop(bytes.splice(at..(at + 8).min(bytes.len()), self.next().to_le_bytes())),
                4 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                5 if !bytes.is_empty() => bytes[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
                6 => drop(bytes.splice(at..(at + 8).min(bytes.len()), f64::NAN.to_le_bytes())),
                _ => {
                    let end = (at + self.below(40)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes
    }
}

#[test]
fn r31_whatever_stands_in_a_file_with_a_checksum_that_holds_nothing_panics() {
    let host = Host::new();
    host.token();
    *host.scripted.provider.borrow_mut() = Does::Unreachable;
    host.clock.pass(seconds(50 * 60));
    host.token();
    let files = [".token", ".lock", ".plan"].map(|suffix| {
        let path = file(&host, suffix);
        let (format, bytes) = content(&path);
        (path, format, bytes)
    });
    *host.scripted.provider.borrow_mut() = Does::Well(Duration::ZERO);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..1500 {
        for (path, format, genuine) in &files {
            let bytes =
                if numbers.below(3) == 0 { genuine.clone() } else { numbers.damaged(genuine) };
            crate::simulation::write_private(path, "");
            forge(path, *format, &bytes);
        }
        // What a record says may be a failure, and a plan may say "not found": whoever can forge
        // one may say so.
        match host.get() {
            answer @ Answer::Credentials(_) => {
                let token = token(&answer);
                assert!(token.starts_with("eyJ") && token.len() <= 8192, "round {round}");
                assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "round {round}");
            }
            Answer::Failed(failure) => assert!(!failure.cause().is_empty(), "round {round}"),
            answer => assert_eq!(answer.exit_code(), 1, "round {round}"),
        }
        host.clock.pass(seconds(60 * [0, 1, 30, 61][numbers.below(4)]));
        if round % 10 == 0 {
            look_at_everything(&host);
        }
    }
}
