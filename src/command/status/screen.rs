//! `status` for people: a table where it fits, one token beneath the other where it does not.

use super::{LastFailure, Life, Report, Row, Ruled, State};
use crate::cache::freshness::Freshness;
use crate::command::words::{failure, paragraph, wrapped};
use crate::moment::Moment;
use crate::printable::on_one_line;
use crate::protocol::PROGRAM;
use crate::quay::verdict::span;
use crate::terminal::{Terminal, Tone};

/// Below this width not even short names fit into a table, in columns.
const NARROWEST_TABLE: usize = 60;
const CELLS_OF_BAR: usize = 10;
const HEADINGS: [&str; 6] = ["REGISTRY", "ROBOT", "IDENTITY", "STATE", "LEFT", "RENEWED"];
const BETWEEN: &str = "  ";
const SPENT: State = State::Cached(Freshness::Spent);

/// Draws the report.
pub(super) fn draw(terminal: &mut Terminal, report: &Report) {
    let cache = match &report.cache {
        Some(path) => format!("cache: {path}"),
        None => "cache: none yet".to_owned(),
    };
    paragraph(terminal, Tone::Faint, &cache, "");
    if let Some(notice) = &report.cache_notice {
        paragraph(terminal, Tone::Warning, notice.cause(), "");
        paragraph(terminal, Tone::Faint, &format!("hint: {}", notice.hint()), "");
    }
    for unusable in &report.unusable {
        paragraph(terminal, Tone::Bad, unusable.cause(), "");
        paragraph(terminal, Tone::Faint, &format!("hint: {}", unusable.hint()), "");
    }
    if report.rows.is_empty() && !report.unusable.is_empty() {
        return;
    }
    if report.rows.is_empty() {
        terminal.line("Nothing is cached, and no registry is configured.");
        paragraph(terminal, Tone::Faint, &format!("to begin: {PROGRAM} init --help"), "");
        return;
    }
    let rows: Vec<(&Row, [Cell; 6])> =
        report.rows.iter().map(|row| (row, cells(row, report.now))).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let widest = rows.iter().map(|(_, cells)| cells[column].width()).max();
        widest.unwrap_or(0).max(HEADINGS[column].len())
    });
    let whole = widths.iter().sum::<usize>() + BETWEEN.len() * (widths.len() - 1);
    let width = terminal.looks().width;
    if width >= NARROWEST_TABLE && whole <= width {
        let headings = HEADINGS.map(|heading| Cell::of(Tone::Strong, heading));
        draw_line(terminal, &headings, &widths);
        for (row, cells) in &rows {
            draw_line(terminal, cells, &widths);
            draw_details(terminal, row, report.now);
        }
    } else {
        for (row, cells) in &rows {
            draw_stacked(terminal, cells);
            draw_details(terminal, row, report.now);
        }
    }
}

/// A piece of a line: texts in tones, side by side.
struct Cell(Vec<(Option<Tone>, String)>);

impl Cell {
    fn of(tone: impl Into<Option<Tone>>, text: impl Into<String>) -> Self {
        Self(vec![(tone.into(), text.into())])
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// In lines that fit, where it is one text.
    fn lines(&self, width: usize, terminal: &Terminal) -> Vec<String> {
        match self.0.as_slice() {
            [(tone, text)] => wrapped(text, width)
                .into_iter()
                .map(|line| Self::of(*tone, line).painted(terminal))
                .collect(),
            _ => vec![self.painted(terminal)],
        }
    }

    fn painted(&self, terminal: &Terminal) -> String {
        self.0
            .iter()
            .map(|(tone, text)| match tone {
                Some(tone) if !text.is_empty() => terminal.paint(*tone, text),
                _ => text.clone(),
            })
            .collect()
    }
}

fn cells(row: &Row, now: Moment) -> [Cell; 6] {
    let tone = tone_of(row.state);
    let identity = match &row.rule {
        Ruled::By { identity, .. } => Cell::of(None, on_one_line(identity)),
        Ruled::Broken(_) | Ruled::No => Cell::of(Tone::Faint, "-"),
    };
    let robot = match &row.robot {
        Some(robot) => Cell::of(None, robot),
        None => Cell::of(Tone::Faint, "-"),
    };
    let (left, renewed) = match &row.life {
        Some(life) => (left(life, tone), Cell::of(None, ago(life.obtained, now))),
        None if row.not_at_hand.is_some() => {
            (Cell::of(Tone::Faint, "nothing at hand"), Cell::of(None, ""))
        }
        None if row.state == State::NotCached => {
            (Cell::of(Tone::Faint, "not cached yet"), Cell::of(None, ""))
        }
        None => (Cell::of(None, ""), Cell::of(None, "")),
    };
    let state = match row.state {
        State::NotCached => Cell::of(Tone::Faint, "-"),
        state => Cell::of(tone, state.name()),
    };
    [Cell::of(Tone::Accent, row.registry.to_string()), robot, identity, state, left, renewed]
}

const fn tone_of(state: State) -> Tone {
    match state {
        State::Cached(Freshness::Fresh) => Tone::Good,
        State::Cached(Freshness::Aging | Freshness::Short) => Tone::Warning,
        State::Cached(Freshness::Spent) | State::Broken => Tone::Bad,
        State::NotCached => Tone::Faint,
    }
}

fn left(life: &Life, tone: Tone) -> Cell {
    let (left, lifetime) = (life.left.as_millis(), life.lifetime.as_millis().max(1));
    let cells = (left * CELLS_OF_BAR as u128).div_ceil(lifetime);
    let filled = usize::try_from(cells).unwrap_or(CELLS_OF_BAR).min(CELLS_OF_BAR);
    Cell(vec![
        (Some(tone), "█".repeat(filled)),
        (Some(Tone::Faint), "░".repeat(CELLS_OF_BAR - filled)),
        (None, format!(" {}", span(life.left.as_secs()))),
    ])
}

fn ago(then: Moment, now: Moment) -> String {
    match then.elapsed(now) {
        Some(passed) => format!("{} ago", span(passed.as_secs())),
        None => "by another clock".to_owned(),
    }
}

fn draw_line(terminal: &mut Terminal, cells: &[Cell; 6], widths: &[usize; 6]) {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, width) in cells.iter().zip(widths) {
        if cell.width() > 0 {
            line.push_str(&" ".repeat(owed));
            line.push_str(&cell.painted(terminal));
            owed = 0;
        }
        owed += width - cell.width() + BETWEEN.len();
    }
    terminal.line(line);
}

fn draw_stacked(terminal: &mut Terminal, cells: &[Cell; 6]) {
    let widest = HEADINGS.iter().map(|heading| heading.len()).max().unwrap_or(0);
    let indent = BETWEEN.len() + widest + BETWEEN.len();
    let width = terminal.looks().width;
    for (heading, cell) in HEADINGS.iter().zip(cells) {
        if *heading == HEADINGS[0] {
            cell.lines(width, terminal).into_iter().for_each(|line| terminal.line(line));
            continue;
        }
        let mut margin = format!(
            "{BETWEEN}{}{}",
            terminal.paint(Tone::Faint, heading.to_lowercase()),
            " ".repeat(indent - BETWEEN.len() - heading.len())
        );
        if cell.width() == 0 {
            continue;
        }
        for line in cell.lines(width.saturating_sub(indent), terminal) {
            terminal.line(format!("{margin}{line}"));
            margin = " ".repeat(indent);
        }
    }
}

/// What stands beneath a row: what is not as it should be, and what follows from it.
fn draw_details(terminal: &mut Terminal, row: &Row, now: Moment) {
    if row.is_being_renewed {
        paragraph(terminal, Tone::Faint, "being renewed now", BETWEEN);
    }
    if let Some(subject) = &row.other_subject {
        let text = format!("for the subject `{subject}`, not for the token at hand here");
        paragraph(terminal, Tone::Faint, &text, BETWEEN);
    }
    if matches!(row.rule, Ruled::No) {
        paragraph(terminal, Tone::Faint, "no rule of the configuration uses it now", BETWEEN);
    }
    if let Ruled::Broken(mistake) = &row.rule {
        failure(terminal, mistake, BETWEEN);
    }
    if let Some(fault) = &row.not_at_hand {
        let is_living = |life: &Life| !life.left.is_zero() && row.state != SPENT;
        let (tone, text) = match (row.life.as_ref().is_some_and(is_living), fault.is_in_files) {
            (true, _) => (Tone::Warning, "once this token has expired, pulls from here will fail:"),
            (false, true) => (Tone::Bad, "a pull from here would fail:"),
            (false, false) => (Tone::Warning, "a pull from here would fail:"),
        };
        paragraph(terminal, tone, text, BETWEEN);
        failure(terminal, &fault.failure, BETWEEN);
    }
    if let Some(last) = &row.last_failure {
        let tone = if last.counts { Tone::Bad } else { Tone::Warning };
        paragraph(terminal, tone, &told(last, now), BETWEEN);
        failure(terminal, &last.failure, BETWEEN);
    }
}

fn told(last: &LastFailure, now: Moment) -> String {
    let times = match last.failures {
        1 => "failed once".to_owned(),
        2 => "failed twice".to_owned(),
        times => format!("failed {times} times in a row"),
    };
    let next = match (last.counts, last.next_try_in) {
        (false, _) => "something has changed on this host since then".to_owned(),
        (true, wait) if wait.is_zero() => "the next pull tries again".to_owned(),
        (true, wait) => format!("pulls try again in {}", span(wait.as_secs())),
    };
    format!("renewing {times}, {}; {next}:", ago(last.at, now))
}
