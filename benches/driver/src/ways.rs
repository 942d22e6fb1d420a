//! One `get` at a time: cached and cold, against the floor and against what others do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::pairs::{Figure, Target, compare};
use crate::peers::{self, Curl, EcrHelper, Pass};
use crate::program::Program;
use crate::scene::{self, Endpoint, Home, Scene};
use crate::{Given, Result};

pub const REGISTRY: &str = "quay.example.com";
pub const FLOOR: &str = "a Rust program that reads stdin, reads one file and prints";
/// What the floor reads and prints, in bytes.
const ANSWER: usize = 2560;

impl Given {
    /// So many runs, or the share of them that was asked for.
    pub fn runs(&self, usual: usize) -> usize {
        (usual * self.runs.unwrap_or(100) / 100).max(4)
    }
}

/// The floor, with what it reads in the folder of the scene.
pub fn floor(scene: &Scene, path: &Path) -> Result<Program> {
    let answer = scene.path("answer");
    fs::write(&answer, "a".repeat(ANSWER))?;
    Ok(Program::new(path).argument(&answer).input(format!("{REGISTRY}\n")))
}

fn time(program: &Program) -> Result<Duration> {
    Ok(program.run()?.took)
}

/// A cached `get` against the floor of the same libc.
pub fn cached(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let home = scene.home("one", REGISTRY, Endpoint::Given)?;
    let mut figures = Vec::new();
    for (libc, helper, floor_path, most) in [
        ("musl", &given.helper, &given.floor, 1.8),
        ("glibc", &given.helper_glibc, &given.floor_glibc, 1.15),
    ] {
        let (get, floor) = (home.warm_get(helper, REGISTRY)?, floor(&scene, floor_path)?);
        figures.push(compare(
            &format!("a cached `get` ({libc})"),
            FLOOR,
            Target::AtMost(most),
            given.runs(1000),
            || time(&get),
            || time(&floor),
        )?);
    }
    let (get, floor) = (
        scene.warm_get_of_job(&given.helper, REGISTRY)?,
        scene::of_job(floor(&scene, &given.floor)?),
    );
    figures.push(compare(
        "a cached `get` from the usual places, in a job with 100 variables (musl)",
        FLOOR,
        Target::None,
        given.runs(1000),
        || time(&get),
        || time(&floor),
    )?);
    Ok(figures)
}

/// What of a cached `get` is the start of a program of this size.
pub fn start(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let floor = floor(&scene, &given.floor)?;
    let version = Program::new(&given.helper).argument("version");
    Ok(vec![compare(
        "`version`, the start alone (musl)",
        FLOOR,
        Target::None,
        given.runs(1000),
        || time(&version),
        || time(&floor),
    )?])
}

/// How many registries and entries there are where there are many.
const MANY: usize = 10_000;

/// A home with many registries configured and as many entries cached. The entries are copies of
/// one: a `get` opens the one that it looks for by name.
pub fn crowded_home(scene: &Scene, helper: &Path) -> Result<Home> {
    let registries: Vec<String> =
        (0..MANY).map(|number| format!("quay-{number}.example.com")).collect();
    let home = scene.home_with(
        "many",
        &[&registries[..], &[REGISTRY.to_owned()]].concat(),
        Endpoint::Given,
        "",
    )?;
    home.get(helper, REGISTRY).run()?;
    let entry = home.entry()?;
    let content = fs::read(&entry)?;
    let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for registry in registries {
        let copy = home.cache.join(name.replace(REGISTRY, &registry));
        scene::write_private(&copy, &content)?;
    }
    Ok(home)
}

/// A cached `get` among many.
pub fn flat(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let one = scene.home("one", REGISTRY, Endpoint::Given)?.warm_get(&given.helper, REGISTRY)?;
    let many = crowded_home(&scene, &given.helper)?.warm_get(&given.helper, REGISTRY)?;
    Ok(vec![compare(
        "a cached `get` among 10,000 registries and entries",
        "one with a single registry and entry",
        Target::AtMost(1.1),
        given.runs(600),
        || time(&many),
        || time(&one),
    )?])
}

/// A cached `get` against what other helpers do from their caches.
pub fn cached_against_peers(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let home = scene.home("one", REGISTRY, Endpoint::Given)?;
    let get = home.warm_get(&given.helper, REGISTRY)?;
    let ecr = EcrHelper::seeded(&scene)?;
    let pass = Pass::with_one_entry(&scene)?;
    Ok(vec![
        compare(
            "a cached `get`",
            peers::ECR_HELPER,
            Target::AtMost(0.10),
            given.runs(300),
            || time(&get),
            || time(&ecr.0),
        )?,
        compare(
            "a cached `get`",
            peers::PASS,
            Target::AtMost(0.03),
            given.runs(200),
            || time(&get),
            || time(pass.get()),
        )?,
    ])
}

/// A `get` with nothing in the cache, not even a plan.
fn cold_get(home: &Home, helper: &Path) -> Result<Duration> {
    home.forget()?;
    time(&home.get(helper, REGISTRY))
}

/// A cold `get` against what a script does.
pub fn cold(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let home = scene.home("cold", REGISTRY, Endpoint::Given)?;
    let script = scene.script(&given.script);
    Ok(vec![
        compare(
            "a cold `get`",
            peers::CURL,
            Target::AtMost(0.12),
            given.runs(200),
            || cold_get(&home, &given.helper),
            || Curl(&scene).twice(),
        )?,
        compare(
            "a cold `get`",
            peers::SCRIPT,
            Target::AtMost(0.05),
            given.runs(100),
            || cold_get(&home, &given.helper),
            || time(&script),
        )?,
    ])
}

/// The same from afar.
pub fn distant(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?.moved_away()?;
    let home = scene.home("cold", REGISTRY, Endpoint::Given)?;
    Ok(vec![compare(
        "a cold `get`, 20 ms away",
        peers::CURL,
        Target::AtMost(0.78),
        given.runs(100),
        || cold_get(&home, &given.helper),
        || Curl(&scene).twice(),
    )?])
}
