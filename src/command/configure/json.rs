//! `configure --json`: version 1 of its form.

use serde::Serialize;

use super::edit::{After, Deed, DeedKind};
use super::notes::Note;
use super::{Changed, EVERY_REGISTRY};
use crate::command::json::{Told, line};
use crate::failure::Failure;
use crate::printable::JsonLine;

const VERSION: u32 = 1;

/// What was done, or would be, with what keeps it from being all.
pub(super) fn of(
    is_dry_run: bool,
    files: &[Changed],
    notes: &[Note],
    failure: Option<&Failure>,
) -> JsonLine {
    line(&Report {
        version: VERSION,
        dry_run: is_dry_run,
        files: files.iter().map(File::of).collect(),
        notes,
        failure: failure.map(Told::of),
    })
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    dry_run: bool,
    files: Vec<File<'a>>,
    notes: &'a [Note],
    failure: Option<Told<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    whose: &'static str,
    change: &'static str,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    registry: Option<&'a str>,
    change: &'static str,
    was: Option<&'a str>,
}

impl<'a> File<'a> {
    fn of(file: &'a Changed) -> Self {
        Self {
            path: file.path.display().to_string(),
            whose: file.whose.name(),
            change: match file.outcome.after {
                After::Same => "none",
                After::Content(_) => "written",
                After::Gone => "removed",
            },
            entries: file.outcome.deeds.iter().map(Entry::of).collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn of(deed: &'a Deed) -> Self {
        Self {
            registry: Some(&*deed.what).filter(|what| *what != EVERY_REGISTRY),
            change: match deed.kind {
                DeedKind::Added => "added",
                DeedKind::Replaced(_) => "replaced",
                DeedKind::IsThere => "none",
                DeedKind::TakenAway => "removed",
            },
            was: match &deed.kind {
                DeedKind::Replaced(was) => Some(was),
                _ => None,
            },
        }
    }
}
