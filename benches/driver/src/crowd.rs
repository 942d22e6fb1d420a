//! Many at once: throughput, a herd of cold `get`s, and one that tries to renew in vain.

use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use quayfed_sandbox::{Fault, Times};

use crate::pairs::{Figure, Target, Unit, figure};
use crate::peers::{self, EcrHelper};
use crate::program::{Program, Running};
use crate::scene::{Endpoint, Scene};
use crate::statistics::Spread;
use crate::ways::{FLOOR, REGISTRY, floor};
use crate::{Given, Result};

/// How many processes are in flight.
const CROWD: usize = 200;

/// What a run takes of the time until all of at least so many have ended, about `CROWD` of them in
/// flight at any time. They are started by `benches/crowd`, once for each processor.
fn per_run(given: &Given, scene: &Scene, program: &Program, runs: usize) -> Result<Duration> {
    let input = scene.path("input");
    fs::write(&input, program.what_it_reads())?;
    let launchers = thread::available_parallelism()?.get().min(CROWD);
    let (runs_of_each, crowd_of_each) = (runs.div_ceil(launchers), CROWD.div_ceil(launchers));
    let number = |number: usize| OsString::from(number.to_string());
    let launcher = program.under(&[
        given.crowd.clone().into(),
        input.clone().into(),
        number(runs_of_each),
        number(crowd_of_each),
    ]);
    let began = Instant::now();
    thread::scope(|scope| {
        let run = || launcher.run_unheard(&input).map_err(|error| error.to_string());
        let lanes: Vec<_> = (0..launchers).map(|_| scope.spawn(run)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "a lane has panicked")?)
    })?;
    Ok(began.elapsed() / u32::try_from(runs_of_each * launchers)?)
}

/// From the start of the first of `CROWD` runs to the end of the last.
fn at_once(program: &Program) -> Result<Duration> {
    let began = Instant::now();
    let running: Vec<Running> = (0..CROWD).map(|_| program.start()).collect::<Result<_>>()?;
    running.into_iter().try_for_each(|running| running.end().map(drop))?;
    Ok(began.elapsed())
}

/// Cached `get`s per second, with many in flight.
pub fn throughput(given: &Given) -> Result<Vec<Figure>> {
    const OURS: usize = 4000;
    const THEIRS: usize = 400;
    let scene = Scene::start()?;
    let home = scene.home("one", REGISTRY, Endpoint::Given)?;
    let get = home.warm_get(&given.helper, REGISTRY)?;
    let ecr = EcrHelper::seeded(&scene)?;
    let floor = floor(&scene, &given.floor)?;
    let (mut ours, mut floors, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..given.runs(12) {
        ours.push(per_run(given, &scene, &get, OURS)?);
        theirs.push(per_run(given, &scene, &ecr.0, THEIRS)?);
        floors.push(per_run(given, &scene, &floor, OURS)?);
    }
    // More is better: the ratio of throughputs is that of times, turned over.
    let turned = |name: &str, against: &str, target, times: &[Duration], others: &[Duration]| {
        let figure = figure(name, against, target, others, times);
        Figure { medians: figure.medians.map(|(theirs, times)| (times, theirs)), ..figure }
    };
    let (of_gets, of_floor) =
        ("throughput of cached `get`s, 200 in flight", "throughput of the floor, 200 in flight");
    // The peer's own time varies by a tenth from run to run; the floor's does not.
    Ok(vec![
        turned(of_gets, FLOOR, Target::AtLeast(0.85), &ours, &floors),
        turned(of_gets, peers::ECR_HELPER, Target::None, &ours, &theirs),
        turned(of_floor, peers::ECR_HELPER, Target::None, &floors, &theirs),
    ])
}

/// A herd of cold `get`s, against one cold `get` and as many cached ones.
pub fn herd(given: &Given) -> Result<Vec<Figure>> {
    let scene = Scene::start()?;
    let home = scene.home("herd", REGISTRY, Endpoint::Given)?;
    let get = home.warm_get(&given.helper, REGISTRY)?;
    let (mut herds, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..given.runs(30) {
        home.forget()?;
        scene.requests();
        herds.push(at_once(&get)?);
        let requests = scene.requests();
        if requests != 2 {
            return Err(format!("a herd of cold gets has made {requests} requests").into());
        }
        home.forget()?;
        let one = get.run()?.took;
        sums.push(one + at_once(&get)?);
    }
    Ok(vec![figure(
        "a herd of 200 cold `get`s",
        "one cold `get` and then 200 cached ones",
        Target::AtMost(1.5),
        &herds,
        &sums,
    )])
}

/// A token is Aging and the provider hangs: how long the one waits that tries, and the others.
pub fn aging(given: &Given) -> Result<Vec<Figure>> {
    const LIFE: Duration = Duration::from_secs(30);
    const SPENT: u64 = 3;
    let scene = Scene::start_with(LIFE)?;
    // Each token is due after its own share of its life. Of several, one is due early enough that
    // five seconds later it still lives.
    let registries: Vec<String> =
        (0..16).map(|number| format!("quay-{number}.example.com")).collect();
    let settings = format!("min_validity = \"{SPENT}s\"\n");
    let home = scene.home_with("aging", &registries, Endpoint::Given, &settings)?;
    thread::sleep(Duration::from_millis(2100));
    let mut earliest = (u64::MAX, Instant::now(), String::new());
    for registry in &registries {
        home.forget()?;
        home.get(&given.helper, registry).run()?;
        let due_in = due_in(&home.status(&given.helper).run()?.stdout)?;
        if due_in < earliest.0 {
            earliest = (due_in, Instant::now(), registry.clone());
            fs::copy(home.entry()?, scene.path("earliest"))?;
            fs::write(scene.path("name"), home.entry()?.display().to_string())?;
        }
    }
    let (due_in, since, registry) = earliest;
    home.forget()?;
    fs::rename(scene.path("earliest"), fs::read_to_string(scene.path("name"))?)?;
    let get = home.get(&given.helper, &registry);
    get.run()?;
    scene.sandbox.issuer().fault(scene.sandbox.issuer().token_path(), Fault::Hang, Times::Always);
    // Seconds are told without what is behind the point.
    let due = since + Duration::from_secs(due_in) + Duration::from_millis(1200);
    thread::sleep(due.saturating_duration_since(Instant::now()));
    scene.requests();
    let trying = get.start()?;
    thread::sleep(Duration::from_millis(200));
    let others: Vec<f64> =
        (0..given.runs(100)).map(|_| Ok(get.run()?.took.as_secs_f64())).collect::<Result<_>>()?;
    let tried = trying.end()?.took.as_secs_f64();
    let seconds = |name: &str, against: &str, values: Vec<f64>, most| Figure {
        name: name.to_owned(),
        against: against.to_owned(),
        unit: Unit::Seconds,
        value: Spread::of(&values),
        runs: values.len(),
        target: Target::AtMost(most),
        medians: None,
    };
    if tried < 4.0 {
        return Err(format!("the token was not Aging: the first get took {tried} s").into());
    }
    let slowest = others.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        seconds("the one `get` that tries", "a provider that hangs", vec![tried], 5.1),
        seconds("the slowest of the other `get`s", "a provider that hangs", vec![slowest], 0.1),
    ])
}

/// After how many seconds the one token that is cached is due, as `status --json` tells it.
fn due_in(status: &str) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_str(status)?;
    let tokens = status["tokens"].as_array().ok_or("no tokens")?;
    let due = tokens.iter().find_map(|token| token["due_in_seconds"].as_u64());
    Ok(due.ok_or("no token is cached")?)
}
