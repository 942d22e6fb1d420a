//! Proxies as podman chooses them (R36): held to Go's own `golang.org/x/net/http/httpproxy`, which
//! `scripts/install-httpproxy` builds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use quayfed::config::settings::Connection;
use quayfed::http::way_to;
use quayfed::world::{Environment, World};
use quayfed_sandbox::{Need, lacks};
use url::{Host, Origin, Url};

const CASES: usize = 1000;
/// Another one is as good: the cases that differ are printed whole.
const SEED: u64 = 0x5eed_2026;

fn oracle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/httpproxy/httpproxy")
}

/// Variables and a URL.
type Case = (BTreeMap<&'static str, String>, Url);

#[test]
fn r36_a_proxy_is_chosen_as_gos_httpproxy_chooses_it() {
    if lacks(Need::Other("what scripts/install-httpproxy builds", oracle().exists())) {
        return;
    }
    let mut random = Random(SEED);
    let cases: Vec<Case> = (0..CASES).map(|_| case(&mut random)).collect();
    let questions = cases.iter().fold(String::new(), |mut text, (variables, url)| {
        let _ = writeln!(text, "{}", serde_json::json!({"variables": variables, "url": url}));
        text
    });
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(questions.as_bytes()).expect("written");
    file.rewind().expect("at its beginning");
    let ran = Command::new(oracle()).stdin(file).output().expect("an end");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let answers = String::from_utf8(ran.stdout).expect("text");
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), CASES);
    let mut counted = BTreeMap::new();
    let mut differing = Vec::new();
    for ((variables, url), &wanted) in cases.iter().zip(&answers) {
        let ours = ours(variables, url);
        // What Go cannot read it goes without, and what it makes nonsense of no pull survives: both
        // are passed over here.
        let is_the_same = match wanted {
            "direct" => ours == "direct" || ours == "unusable",
            wanted => ours == wanted,
        };
        if !is_the_same {
            differing.push(format!("{variables:?} {url}: Go says {wanted}, we say {ours}"));
        }
        *counted.entry(wanted.split(' ').next().unwrap_or_default()).or_insert(0) += 1;
    }
    println!("no_proxy: {CASES} cases {counted:?}, {} differences", differing.len());
    assert!(differing.is_empty(), "seed {SEED:#x}\n{}", differing.join("\n"));
    // The cases are worth something only where both answers are frequent.
    assert!(counted["direct"] > CASES / 5 && counted["http"] > CASES / 5, "{counted:?}");
}

fn ours(variables: &BTreeMap<&'static str, String>, url: &Url) -> String {
    let mut world = World::of_process();
    world.environment = Environment::of(variables.iter());
    let way = way_to(&world, &Connection::default(), url).expect("a way");
    match (way.proxy, way.passed_over) {
        (Some(proxy), _) => match proxy.origin {
            Origin::Tuple(scheme, Host::Ipv6(host), port) => format!("{scheme} {host} {port}"),
            Origin::Tuple(scheme, host, port) => format!("{scheme} {host} {port}"),
            Origin::Opaque(_) => panic!("no proxy"),
        },
        (None, Some(_)) => "unusable".to_owned(),
        (None, None) => "direct".to_owned(),
    }
}

/// Numbers that are the same in every run (Steele, Lea and Flood: `SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end as u64).expect("small")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const HOSTS: &[&str] = &[
    "quay.example.com",
    "Quay.Example.COM",
    "a.quay.example.com",
    "example.com",
    "myexample.com",
    "quay.example.com.",
    "quay",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "quay.localhost",
    "localhost.example.com",
    "127.0.0.1",
    "127.255.0.9",
    "126.0.0.1",
    "10.0.0.1",
    "10.0.1.255",
    "192.168.7.7",
    "0.0.0.0",
    "1.10.0.0.1.example.com",
    "[::1]",
    "[::2]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[2001:db8::1]",
    "[2001:DB8:0:0::1]",
    "[2001:db8:1::7]",
    "bücher.example",
    "quay.Bücher.example",
    "xn--bcher-kva.example",
    "straße.example",
    "ΟΔΟΣ.example",
    "quay_1.example.com",
    "qu--ay.example.com",
];

/// Entries of `NO_PROXY` besides those that are made of the URL's own host.
const ENTRIES: &[&str] = &[
    "*",
    "**",
    "*.*",
    "*.",
    ".",
    "..",
    "",
    " ",
    "com",
    ".com",
    "example.com",
    ".example.com",
    "*.example.com",
    "*example.com",
    "EXAMPLE.com",
    "quay.example.com",
    "quay.example.com.",
    "https://quay.example.com",
    "quay.example.com/v2",
    "a b",
    "example.com;quay",
    "local",
    "localhost",
    ".localhost",
    "10.0.0.1",
    "10.0.0.01",
    "010.0.0.1",
    "10.0.0",
    "0.0.1",
    ".0.0.1",
    "0.1",
    "10.0.0.*",
    "10.0.0.0/8",
    "10.0.0.0/08",
    "10.0.0.1/32",
    "10.0.0.1/24",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/",
    "10.0.0.0/8:443",
    "10/8",
    "0.0.0.0/0",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "::/0",
    "::1",
    "::1/128",
    "[::1]",
    "[::1]:443",
    "[]",
    "[]:443",
    "[10.0.0.1]:443",
    "[example.com]:443",
    "2001:db8::1",
    "2001:db8::/32",
    "2001:DB8::1/64",
    "2001:db8::1/129",
    "[2001:db8::/32]",
    "[2001:db8::1]",
    "[2001:db8::1]:8443",
    "[2001:db8::1",
    "2001:db8::1]:443",
    "2001:db8:0:0:0:0:0:1",
    "2001:db8::1%eth0",
    "::ffff:10.0.0.1",
    "::ffff:10.0.0.0/104",
    "::ffff:10.0.0.0/90",
    "::ffff:0:0/96",
    "::10.0.0.1",
    ":443",
    ":",
    "bücher.example",
    "*.bücher.example",
    "BÜCHER.example",
    "xn--bcher-kva.example",
    ".straße.example",
    "strasse.example",
    "οδοσ.example",
    "bü_cher.example",
    "bü--cher.example",
    "büch er",
    "ｅxample.com",
    "quay_1.example.com",
    "\u{a0}example.com\u{3000}",
    "\texample.com\n",
];

const PORTS: &[&str] = &["443", "8443", "0443", "80", "", "443:443", "https"];

const PROXIES: &[&str] = &[
    "http://proxy.example.com:3128",
    "proxy.example.com:3128",
    "proxy",
    "10.1.2.3:8080",
    "[2001:db8::99]:3128",
    "http://[2001:db8::99]:3128/",
    "https://proxy.example.com:8443",
    "https://proxy.example.com",
    "HTTP://Proxy.Example.com:3128/path?query#fragment",
    "http://me:secret@proxy:3128",
    "http://me@proxy:3128",
    "me:p%40ss%23@proxy:3128",
    "http://me:a@b@proxy:3128",
    "http://me:pa#ss@proxy:3128",
    "http://me:pa/ss@proxy:3128",
    "http://me:12/ss@proxy:3128",
    "http://me:pa?ss@proxy:3128",
    "http://me:pa^ss@proxy:3128",
    "http://me:pa ss@proxy:3128",
    "http://me:pä@proxy:3128",
    "http://me:100%@proxy:3128",
    "me:pa#ss@proxy:3128",
    "socks5://proxy:1080",
    "socks5h://me:secret@proxy:1080",
    "socks4://proxy",
    "ftp://proxy:21",
    "http://",
    "http://:3128",
    ":3128",
    "/proxy",
    "//proxy:3128",
    "///proxy",
    "*",
    "?",
    "#",
    "http:///proxy",
    "http://proxy:port",
    "proxy:port",
    "http://proxy:",
    "http://proxy:3128 ",
    " http://proxy:3128",
    "proxy :3128",
    "http://proxy\t:3128",
    "http://proxy/%zz",
    "http://proxy/#%zz",
    "http://[2001:db8::99",
    "1http://proxy",
    "-",
];

fn case(random: &mut Random) -> Case {
    let host = random.of(HOSTS);
    let scheme = if random.is_one_in(12) { "http" } else { "https" };
    let port = random.of(&["", "", ":443", ":8443", ":80"]);
    let url = Url::parse(&format!("{scheme}://{host}{port}/v2/")).expect("a URL");
    let mut variables = BTreeMap::new();
    let mut set = |name, value: String| {
        variables.insert(name, value);
    };
    for name in ["HTTPS_PROXY", "https_proxy"] {
        if random.is_one_in(if name == "HTTPS_PROXY" { 6 } else { 3 }) {
            // One that is set to nothing counts as not set.
            set(name, random.of(&["", PROXIES[0]]).to_owned());
        } else if name == "HTTPS_PROXY" || random.is_one_in(4) {
            let common = if random.is_one_in(3) { PROXIES } else { &PROXIES[..5] };
            set(name, random.of(common).to_owned());
        }
    }
    for name in ["HTTP_PROXY", "ALL_PROXY", "all_proxy", "REQUEST_METHOD"] {
        if random.is_one_in(8) && (name != "HTTP_PROXY" || scheme == "https") {
            set(name, "http://other:1".to_owned());
        }
    }
    for name in ["NO_PROXY", "no_proxy"] {
        if !random.is_one_in(3) {
            set(name, no_proxy(random, &url, host));
        }
    }
    (variables, url)
}

fn no_proxy(random: &mut Random, url: &Url, host: &str) -> String {
    let count = random.below(4);
    let entries: Vec<String> = (0..count).map(|_| entry(random, url, host)).collect();
    let separator = random.of(&[",", ",", ", ", " ,\t", ",,", " "]);
    entries.join(separator)
}

fn entry(random: &mut Random, url: &Url, host: &str) -> String {
    let own = if random.is_one_in(2) { url.host_str().unwrap_or(host) } else { host };
    let bare = own.trim_start_matches('[').trim_end_matches(']');
    let part_of_own = bare.split_once('.').map_or(bare, |(_, rest)| rest);
    let name = match random.below(6) {
        0 => own,
        1 => bare,
        2 => part_of_own,
        _ => random.of(ENTRIES),
    };
    let before = if random.is_one_in(3) { random.of(&[".", "*.", "*", " ", "x"]) } else { "" };
    let port = if random.is_one_in(4) { format!(":{}", random.of(PORTS)) } else { String::new() };
    format!("{before}{name}{port}")
}
