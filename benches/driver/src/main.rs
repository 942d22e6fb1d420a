//! Measures the helper against its floor and its peers. `measure` writes a table and plots into
//! docs/performance.md; `check` fails where a figure that does not depend on the machine's mood is
//! worse than it should be.
//!
//! Order of reading: this file, [`scene`] (what is measured in), [`pairs`] (how), [`ways`] (a
//! cached and a cold `get`), [`crowd`] (many at once), [`pull`] (what a user feels), [`gates`]
//! (counts), [`page`] (what is written).

mod crowd;
mod gates;
mod machine;
mod page;
mod pairs;
mod peers;
mod plot;
mod program;
mod pull;
mod relay;
mod scene;
mod statistics;
mod tracing;
mod ways;

use std::path::PathBuf;
use std::process::ExitCode;

use pairs::Figure;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: quayfed-bench check NAME=PATH...
       quayfed-bench measure NAME=PATH... [runs=PERCENT] [only=WORD]

  helper, helper-glibc   the helper's release builds (static musl, glibc)
  floor, floor-glibc     benches/floor, built the same ways
  crowd                  benches/crowd (static musl)
  script                 benches/peers/robot_token.py
  page, plots            what is written: docs/performance.md, docs/performance
";

/// What was built, and where the results go.
#[derive(Debug, Default)]
struct Given {
    helper: PathBuf,
    helper_glibc: PathBuf,
    floor: PathBuf,
    floor_glibc: PathBuf,
    crowd: PathBuf,
    script: PathBuf,
    page: PathBuf,
    plots: PathBuf,
    /// How many of the usual runs, in percent.
    runs: Option<usize>,
    /// Only the parts whose name has this in it; nothing is written then.
    only: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((verb, rest)) if verb == "check" => given(rest).and_then(|given| check(&given)),
        Some((verb, rest)) if verb == "measure" => given(rest).and_then(|given| measure(&given)),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quayfed-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn given(arguments: &[String]) -> Result<Given> {
    let mut given = Given::default();
    for argument in arguments {
        let (name, value) = argument.split_once('=').ok_or(USAGE)?;
        let path = || std::path::absolute(value);
        match name {
            "helper" => given.helper = path()?,
            "helper-glibc" => given.helper_glibc = path()?,
            "floor" => given.floor = path()?,
            "floor-glibc" => given.floor_glibc = path()?,
            "crowd" => given.crowd = path()?,
            "script" => given.script = path()?,
            "page" => given.page = path()?,
            "plots" => given.plots = path()?,
            "runs" => given.runs = Some(value.parse()?),
            "only" => given.only = Some(value.to_owned()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(given)
}

/// The figures that do not depend on the machine's mood, against their limits.
fn check(given: &Given) -> Result<bool> {
    let counts = gates::count(given)?;
    print!("{}", gates::table(&counts));
    let broken: Vec<_> = counts.iter().filter(|count| !count.holds()).collect();
    for count in &broken {
        eprintln!("quayfed-bench: {} is {}, {}", count.name, count.value, count.limit());
    }
    Ok(broken.is_empty())
}

/// Everything, pairwise and interleaved.
fn measure(given: &Given) -> Result<bool> {
    type Part = (&'static str, fn(&Given) -> Result<Vec<Figure>>);
    let parts: &[Part] = &[
        ("cached", ways::cached),
        ("start", ways::start),
        ("flat", ways::flat),
        ("peers", ways::cached_against_peers),
        ("throughput", crowd::throughput),
        ("cold", ways::cold),
        ("distant", ways::distant),
        ("herd", crowd::herd),
        ("aging", crowd::aging),
        ("pull", pull::pull),
    ];
    let is_wanted =
        |name: &str| given.only.as_ref().is_none_or(|word| name.contains(word.as_str()));
    let mut figures = Vec::new();
    for (name, part) in parts.iter().filter(|(name, _)| is_wanted(name)) {
        eprintln!("measuring: {name}");
        let found = part(given)?;
        for figure in &found {
            eprintln!("  {}", figure.line());
        }
        figures.extend(found);
    }
    if let Some(word) = &given.only {
        let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
        let none = || format!("no part has `{word}` in its name; there are {}", names.join(", "));
        return if figures.is_empty() { Err(none().into()) } else { Ok(true) };
    }
    eprintln!("counting");
    let counts = gates::count(given)?;
    page::write(given, &figures, &counts)?;
    let missed: Vec<_> = figures.iter().filter(|figure| !figure.holds()).collect();
    for figure in &missed {
        eprintln!("quayfed-bench: missed: {}", figure.line());
    }
    Ok(missed.is_empty() && counts.iter().all(gates::Count::holds))
}
