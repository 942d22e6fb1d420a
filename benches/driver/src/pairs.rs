//! Two ways of doing the same thing, timed by turns: whatever slows the machine down slows both.

use std::time::Duration;

use crate::Result;
use crate::statistics::Spread;

/// A figure of the report.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub against: String,
    pub unit: Unit,
    pub value: Spread,
    pub runs: usize,
    pub target: Target,
    /// The medians of both, in microseconds, where it is a ratio of times.
    pub medians: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Ratio,
    Seconds,
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Only shown: where the time goes.
    None,
}

impl Figure {
    pub fn holds(&self) -> bool {
        match self.target {
            Target::AtMost(most) => self.value.median <= most,
            Target::AtLeast(least) => self.value.median >= least,
            Target::None => true,
        }
    }

    pub fn line(&self) -> String {
        let Spread { low, median, high } = self.value;
        let medians = self
            .medians
            .map(|(ours, theirs)| format!(" ({} to {})", shown_time(ours), shown_time(theirs)))
            .unwrap_or_default();
        format!(
            "{} to {}: {} [{} to {}], {} runs, target {}{medians}",
            self.name,
            self.against,
            self.shown(median),
            self.shown(low),
            self.shown(high),
            self.runs,
            self.shown_target(),
        )
    }

    pub fn shown(&self, value: f64) -> String {
        match self.unit {
            Unit::Ratio if value >= 10.0 => format!("{value:.1}"),
            Unit::Ratio if value >= 0.2 => format!("{value:.2}"),
            Unit::Ratio => format!("{value:.3}"),
            Unit::Seconds => shown_time(value * 1e6),
        }
    }

    pub fn shown_target(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("≤ {}", self.shown(most)),
            Target::AtLeast(least) => format!("≥ {}", self.shown(least)),
            Target::None => String::new(),
        }
    }
}

/// A time in microseconds, in the unit that suits it.
pub fn shown_time(microseconds: f64) -> String {
    match microseconds {
        short if short < 1000.0 => format!("{short:.0} µs"),
        middle if middle < 1e6 => format!("{:.1} ms", middle / 1e3),
        long => format!("{:.2} s", long / 1e6),
    }
}

/// Times `ours` against `theirs`, `runs` times each, by turns, each going first every other time.
pub fn compare(
    name: &str,
    against: &str,
    target: Target,
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<Figure> {
    for _ in 0..2 + runs / 50 {
        ours()?;
        theirs()?;
    }
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for run in 0..runs {
        if run % 2 == 0 {
            our_times.push(ours()?);
            their_times.push(theirs()?);
        } else {
            their_times.push(theirs()?);
            our_times.push(ours()?);
        }
    }
    Ok(figure(name, against, target, &our_times, &their_times))
}

/// The figure of times that were taken by turns.
pub fn figure(
    name: &str,
    against: &str,
    target: Target,
    ours: &[Duration],
    theirs: &[Duration],
) -> Figure {
    let microseconds =
        |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e6).collect::<Vec<_>>();
    let (ours, theirs) = (microseconds(ours), microseconds(theirs));
    let all: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    Figure {
        name: name.to_owned(),
        against: against.to_owned(),
        unit: Unit::Ratio,
        value: Spread::of(&all),
        runs: all.len(),
        target,
        medians: Some((Spread::of(&ours).median, Spread::of(&theirs).median)),
    }
}
