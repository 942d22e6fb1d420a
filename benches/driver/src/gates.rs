//! Figures that do not depend on the machine's mood: counts, and what they may be at most. Each
//! limit leaves some room above what was measured, for another compiler or another kernel; that of
//! instructions is the target itself.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use crate::scene::{Endpoint, Scene};
use crate::tracing::{Calls, Image, instructions, memory_and_faults, memory_and_faults_of_a_run};
use crate::ways::{REGISTRY, crowded_home, floor};
use crate::{Given, Result};

/// A count with its limits.
#[derive(Clone, Debug)]
pub struct Count {
    pub name: &'static str,
    pub value: f64,
    pub least: f64,
    pub most: f64,
}

impl Count {
    pub fn holds(&self) -> bool {
        (self.least..=self.most).contains(&self.value)
    }

    pub fn limit(&self) -> String {
        if self.least > 0.0 { format!("= {}", self.most) } else { format!("≤ {}", self.most) }
    }

    fn shown(&self) -> String {
        if self.value.fract() == 0.0 {
            format!("{}", self.value)
        } else {
            format!("{:.2}", self.value)
        }
    }
}

fn at_most(name: &'static str, value: f64, most: f64) -> Count {
    Count { name, value, least: 0.0, most }
}

fn exactly(name: &'static str, value: f64, wanted: f64) -> Count {
    Count { name, value, least: wanted, most: wanted }
}

/// Counts everything.
pub fn count(given: &Given) -> Result<Vec<Count>> {
    let mut counts = cached(given)?;
    counts.extend(cold(given)?);
    let image = Image::of(&given.helper)?;
    counts.push(at_most("size of the binary, MB", image.megabytes, 6.0));
    counts.push(at_most("relocations at the start", image.relocations as f64, 4_300.0));
    let is_bound = f64::from(u8::from(image.is_bound_at_start));
    counts.push(exactly("bound at the start (1: RELRO covers all addresses)", is_bound, 1.0));
    let is_random = f64::from(u8::from(image.is_position_independent));
    counts.push(exactly("position-independent (1: addresses are random)", is_random, 1.0));
    Ok(counts)
}

fn cached(given: &Given) -> Result<Vec<Count>> {
    let scene = Scene::start()?;
    let home = scene.home("one", REGISTRY, Endpoint::Given)?;
    let get = home.warm_get(&given.helper, REGISTRY)?;
    let many = crowded_home(&scene, &given.helper)?.warm_get(&given.helper, REGISTRY)?;
    let of_job = scene.warm_get_of_job(&given.helper, REGISTRY)?;
    let floor = floor(&scene, &given.floor)?;
    scene.requests();
    let log = scene.path("calls");
    let (calls, floor_calls) = (Calls::of(&get, &log)?, Calls::of(&floor, &log)?);
    let (executed, executed_by_floor) = (instructions(&get)?, instructions(&floor)?);
    let (executed_among_many, executed_in_job) = (instructions(&many)?, instructions(&of_job)?);
    let calls_in_job = Calls::of(&of_job, &log)?;
    let strangers = ["socket(", "connect(", "socketpair(", ".toml\", O_"];
    let (memory, faults) = memory_and_faults(&get)?;
    let (_, floor_faults) = memory_and_faults(&floor)?;
    let sockets = calls.with(&["socket(", "connect(", "socketpair("]);
    let threads = calls.with(&["clone(", "clone3(", "fork(", "vfork("]);
    let locks = calls.with(&["flock(", "F_SETLK", "F_OFD_SETLK"]);
    Ok(vec![
        at_most("cached `get`: system calls", calls.count() as f64, 46.0),
        at_most("the floor: system calls", floor_calls.count() as f64, 38.0),
        at_most("cached `get`: instructions", executed, 90_000.0),
        at_most("the floor: instructions", executed_by_floor, 22_000.0),
        at_most(
            "cached `get` in a job with 100 variables: instructions",
            executed_in_job,
            125_000.0,
        ),
        at_most("cached `get` in a job: system calls", calls_in_job.count() as f64, 50.0),
        exactly(
            "cached `get` in a job: sockets, and TOML files opened",
            calls_in_job.with(&strangers) as f64,
            0.0,
        ),
        at_most(
            "cached `get` among 10,000 registries: instructions, to one",
            executed_among_many / executed,
            1.05,
        ),
        at_most("cached `get`: page faults", faults, 62.0),
        at_most("the floor: page faults", floor_faults, 50.0),
        exactly("cached `get`: sockets", sockets as f64, 0.0),
        exactly("cached `get`: threads", threads as f64, 0.0),
        exactly("cached `get`: locks", locks as f64, 0.0),
        exactly("cached `get`: TOML files opened", calls.with(&[".toml\", O_"]) as f64, 0.0),
        exactly("cached `get`: requests", scene.requests() as f64, 0.0),
        at_most("cached `get`: peak memory, MB", memory, 2.5),
    ])
}

fn cold(given: &Given) -> Result<Vec<Count>> {
    // A token is Spent for its last tenth.
    const LIFE: Duration = Duration::from_secs(2);
    let scene = Scene::start_with(LIFE)?;
    let home = scene.home("cold", REGISTRY, Endpoint::Discovered)?;
    let get = home.get(&given.helper, REGISTRY);
    let (memory, _) = memory_and_faults_of_a_run(&get)?;
    let first = scene.requests();
    thread::sleep(LIFE);
    let calls = Calls::of(&get, &scene.path("calls"))?;
    let second = scene.requests();
    Ok(vec![
        exactly("cold `get`: requests, the first time", first as f64, 3.0),
        exactly("cold `get`: requests, from then on", second as f64, 2.0),
        at_most("cold `get`: connections", calls.with(&["SOCK_STREAM"]) as f64, 2.0),
        at_most("cold `get`: peak memory, MB", memory, 8.0),
    ])
}

/// The counts as text.
pub fn table(counts: &[Count]) -> String {
    let mut text = String::new();
    for count in counts {
        let verdict = if count.holds() { "" } else { "   <-- too many" };
        let _ =
            writeln!(text, "{:<62} {:>10}   {}{verdict}", count.name, count.shown(), count.limit());
    }
    text
}

/// The counts as rows of Markdown.
pub fn rows(counts: &[Count]) -> String {
    counts.iter().fold(String::new(), |mut text, count| {
        let _ = writeln!(text, "| {} | {} | {} |", count.name, count.shown(), count.limit());
        text
    })
}
