//! `status --json`: version 1 of its form, as docs/scripts.md describes it. Fields may be added
//! within a version; none is renamed or removed.

use std::time::Duration;

use serde::Serialize;

use super::{Report, Row, Ruled};
use crate::command::json::{Told, line};
use crate::log::timestamp;
use crate::moment::Moment;
use crate::printable::JsonLine;

const VERSION: u32 = 1;

/// The report as one line of JSON.
pub(super) fn of(report: &Report) -> JsonLine {
    let written = Status {
        version: VERSION,
        time: timestamp(report.now.wall()),
        cache: report.cache.as_deref(),
        cache_notice: report.cache_notice.as_ref().map(Told::of),
        unusable_files: report.unusable.iter().map(Told::of).collect(),
        tokens: report.rows.iter().map(|row| Token::of(row, report.now)).collect(),
    };
    line(&written)
}

#[derive(Serialize)]
struct Status<'a> {
    version: u32,
    time: String,
    cache: Option<&'a str>,
    cache_notice: Option<Told<'a>>,
    unusable_files: Vec<Told<'a>>,
    tokens: Vec<Token<'a>>,
}

#[derive(Serialize)]
struct Token<'a> {
    registry: String,
    robot: Option<&'a str>,
    configured: bool,
    identity: Option<&'a str>,
    place: Option<&'a str>,
    subject: Option<&'a str>,
    state: &'static str,
    renewed: Option<String>,
    expires: Option<String>,
    lifetime_seconds: Option<u64>,
    left_seconds: Option<u64>,
    due_in_seconds: Option<u64>,
    being_renewed: bool,
    last_failure: Option<LastFailure<'a>>,
    mistake: Option<Told<'a>>,
    not_at_hand: Option<Told<'a>>,
    unusable: bool,
}

#[derive(Serialize)]
struct LastFailure<'a> {
    failures: u32,
    time: String,
    cause: &'a str,
    hint: &'a str,
    counts: bool,
    next_try_in_seconds: u64,
}

impl<'a> Token<'a> {
    fn of(row: &'a Row, now: Moment) -> Self {
        let (identity, place, mistake) = match &row.rule {
            Ruled::By { identity, place } => (Some(&**identity), Some(&**place), None),
            Ruled::Broken(mistake) => (None, None, Some(Told::of(mistake))),
            Ruled::No => (None, None, None),
        };
        let life = row.life.as_ref();
        Self {
            registry: row.registry.to_string(),
            robot: row.robot.as_deref(),
            configured: !matches!(row.rule, Ruled::No),
            identity,
            place,
            subject: row.other_subject.as_deref(),
            state: row.state.name(),
            renewed: life.map(|life| timestamp(life.obtained.wall())),
            expires: life.map(|life| timestamp(now.wall() + life.left)),
            lifetime_seconds: life.map(|life| life.lifetime.as_secs()),
            left_seconds: life.map(|life| life.left.as_secs()),
            due_in_seconds: life.map(|life| life.due_in.as_secs()),
            being_renewed: row.is_being_renewed,
            last_failure: row.last_failure.as_ref().map(|last| LastFailure {
                failures: last.failures,
                time: timestamp(last.at.wall()),
                cause: last.failure.cause(),
                hint: last.failure.hint(),
                counts: last.counts,
                next_try_in_seconds: ceiling(last.next_try_in),
            }),
            mistake,
            not_at_hand: row.not_at_hand.as_ref().map(|it| Told::of(&it.failure)),
            unusable: row.is_unusable(),
        }
    }
}

fn ceiling(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::command::status::State;

    #[test]
    fn each_state_has_a_name_of_its_own() {
        use crate::cache::freshness::Freshness::{Aging, Fresh, Short, Spent};
        let mut names: Vec<_> = [Fresh, Aging, Short, Spent]
            .map(State::Cached)
            .into_iter()
            .chain([State::NotCached, State::Broken])
            .map(State::name)
            .collect();
        names.dedup();
        assert_eq!(names, ["fresh", "aging", "short", "spent", "none", "broken"]);
    }
}
