//! What is written: the measured part of docs/performance.md, and the plots beside it.

use std::fmt::Write as _;
use std::fs;

use crate::gates::{self, Count};
use crate::pairs::{Figure, Target, Unit, shown_time};
use crate::{Given, Result, machine, plot};

const BEGIN: &str = "<!-- `make bench` writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Replaces the measured part of the page, and the plots.
pub fn write(given: &Given, figures: &[Figure], counts: &[Count]) -> Result<()> {
    let page = fs::read_to_string(&given.page)?;
    let (before, rest) = page.split_once(BEGIN).ok_or("the page has no place for the results")?;
    let (_, after) = rest.split_once(END).ok_or("the results on the page do not end")?;
    let measured = measured(figures, counts)?;
    fs::create_dir_all(&given.plots)?;
    fs::write(
        given.plots.join("times.svg"),
        plot::times("Time of one run, median", &bars(figures)),
    )?;
    let ratios: Vec<&Figure> = figures
        .iter()
        .filter(|figure| figure.unit == Unit::Ratio && !matches!(figure.target, Target::None))
        .collect();
    fs::write(
        given.plots.join("targets.svg"),
        plot::targets(
            "Share of its target, median and quartiles: left of the line it is met",
            &ratios,
        ),
    )?;
    Ok(fs::write(&given.page, format!("{before}{BEGIN}{measured}{END}{after}"))?)
}

fn measured(figures: &[Figure], counts: &[Count]) -> Result<String> {
    let mut text = format!(
        "\nMeasured on {}. Load average at the end: {}.\n\n\
         | | against | median of the ratios | quartiles | runs | target | | medians |\n\
         |---|---|---|---|---|---|---|---|\n",
        machine::description(),
        machine::load()
    );
    for figure in figures {
        let medians = figure.medians.map_or_else(String::new, |(ours, theirs)| {
            format!("{} to {}", shown_time(ours), shown_time(theirs))
        });
        writeln!(
            text,
            "| {} | {} | **{}** | {} – {} | {} | {} | {} | {medians} |",
            figure.name,
            figure.against,
            figure.shown(figure.value.median),
            figure.shown(figure.value.low),
            figure.shown(figure.value.high),
            figure.runs,
            figure.shown_target(),
            match figure.target {
                Target::None => "",
                _ if figure.holds() => "met",
                _ => "**missed**",
            },
        )?;
    }
    write!(
        text,
        "\n![times](performance/times.svg)\n\n![targets](performance/targets.svg)\n\n\
         Counts, which `make bench-check` holds to these limits:\n\n\
         | | | limit |\n|---|---|---|\n{}\n",
        gates::rows(counts)
    )?;
    Ok(text)
}

/// One bar for each program, shortest first.
fn bars(figures: &[Figure]) -> Vec<(String, f64, bool)> {
    let mut bars: Vec<(String, f64, bool)> = Vec::new();
    for figure in figures.iter().filter(|figure| figure.unit == Unit::Ratio) {
        let Some((ours, theirs)) = figure.medians else { continue };
        if figure.name.starts_with("throughput") {
            continue;
        }
        let against = if figure.against.starts_with("a Rust program") {
            format!("the floor {}", figure.name.rsplit(' ').next().unwrap_or_default())
        } else if figure.name.contains("20 ms") {
            format!("{}, 20 ms away", figure.against)
        } else {
            figure.against.clone()
        };
        for (name, time, is_ours) in [(figure.name.clone(), ours, true), (against, theirs, false)] {
            if !bars.iter().any(|(known, ..)| *known == name) {
                bars.push((name, time, is_ours));
            }
        }
    }
    bars.sort_by(|one, other| one.1.total_cmp(&other.1));
    bars
}
